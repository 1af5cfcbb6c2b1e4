//! Letters go out beside requests, and one that has to wait holds up no other.

use std::time::{Duration, Instant};

use super::{EMAIL, SLOW, World, origin};
use crate::store::{Place, on_both};

/// More than are sent at once.
const WAITING: usize = 12;

on_both! {
    letters_that_have_to_be_tried_again_hold_up_no_other,
}

async fn letters_that_have_to_be_tried_again_hold_up_no_other(place: Place) {
    let world = World::at(&place).await;
    let forget = async |email: &str| {
        world.create(email).await.unwrap();
        world.accounts.forgot_password(email, &origin("req_forgot")).await.unwrap();
    };
    for number in 0..WAITING {
        forget(&format!("{number}{SLOW}")).await;
    }
    forget(EMAIL).await;
    let begun = Instant::now();
    while world.outside.sent.lock().unwrap().is_empty() {
        // The others wait for six minutes.
        assert!(begun.elapsed() < Duration::from_mins(1), "one that can be sent is sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*world.outside.sent.lock().unwrap(), [EMAIL]);
    assert!(!world.accounts.letters_sent(Duration::ZERO).await, "the others are not forgotten");
}
