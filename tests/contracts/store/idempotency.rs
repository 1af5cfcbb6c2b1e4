//! Commands under a key: each is somebody's at any time, and answered alike until it is forgotten.

use std::time::Duration;

use domain::idempotency::{Attempt, Begun, IdempotencyStore, KeptAnswer, KeyedCommand};
use tokio::task::JoinSet;

use super::{Place, noon, on_both, seconds};

const LEASE: Duration = Duration::from_mins(1);
const KEEP: Duration = Duration::from_hours(24);

on_both! {
    of_all_who_begin_at_once_one_may,
    what_was_answered_is_kept_until_its_time_is_over,
    a_key_stands_for_one_command,
    a_claim_runs_out_and_who_had_it_cannot_write_any_more,
    what_may_have_been_done_in_part_is_tried_again_at_once_as_the_same,
    what_was_not_done_leaves_nothing_behind,
    only_what_has_been_kept_for_long_enough_is_deleted_and_never_more_than_asked,
}

fn command(id: u8) -> KeyedCommand {
    KeyedCommand { id: [id; 32], fingerprint: [1; 32] }
}

fn answer() -> KeptAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    KeptAnswer { status: 201, headers, body: vec![0, 1, 255] }
}

async fn begin_at(store: &dyn IdempotencyStore, command: &KeyedCommand, at: i64) -> Begun {
    store.begin(command, noon() + seconds(at), LEASE, KEEP).await.unwrap()
}

async fn claim_at(store: &dyn IdempotencyStore, command: &KeyedCommand, at: i64) -> Attempt {
    match begin_at(store, command, at).await {
        Begun::Mine(attempt) => attempt,
        other => panic!("not to be had: {other:?}"),
    }
}

async fn of_all_who_begin_at_once_one_may(place: Place) {
    let store = place.open().await.idempotency;
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        tries.spawn(async move { begin_at(store.as_ref(), &command(1), 0).await });
    }
    let begun = tries.join_all().await;
    let mine = begun.iter().filter(|begun| matches!(begun, Begun::Mine(_))).count();
    let running = begun.iter().filter(|begun| **begun == Begun::Running).count();
    assert_eq!((mine, running), (1, 19), "{begun:?}");
    claim_at(store.as_ref(), &command(2), 0).await;
}

async fn what_was_answered_is_kept_until_its_time_is_over(place: Place) {
    let store = place.open().await.idempotency;
    let attempt = claim_at(store.as_ref(), &command(1), 0).await;
    assert_eq!(attempt.first_begun_at, noon());
    assert!(store.finish(&[1; 32], attempt, answer(), noon() + KEEP).await.unwrap());
    // A lease is of no importance any more.
    let almost = i64::try_from(KEEP.as_secs()).unwrap() - 1;
    assert_eq!(begin_at(store.as_ref(), &command(1), almost).await, Begun::Finished(answer()));
    let anew = claim_at(store.as_ref(), &command(1), almost + 1).await;
    assert_eq!(anew.first_begun_at, noon() + KEEP, "another command, which makes other ids");
    assert_eq!(begin_at(store.as_ref(), &command(1), almost + 2).await, Begun::Running);
}

async fn a_key_stands_for_one_command(place: Place) {
    let store = place.open().await.idempotency;
    let other = KeyedCommand { fingerprint: [2; 32], ..command(1) };
    let attempt = claim_at(store.as_ref(), &command(1), 0).await;
    assert_eq!(begin_at(store.as_ref(), &other, 0).await, Begun::Different);
    assert_eq!(begin_at(store.as_ref(), &other, 3_600).await, Begun::Different, "also when nobody is at it");
    store.finish(&[1; 32], attempt, answer(), noon() + KEEP).await.unwrap();
    assert_eq!(begin_at(store.as_ref(), &other, 0).await, Begun::Different);
}

async fn a_claim_runs_out_and_who_had_it_cannot_write_any_more(place: Place) {
    let store = place.open().await.idempotency;
    let slow = claim_at(store.as_ref(), &command(1), 0).await;
    assert_eq!(begin_at(store.as_ref(), &command(1), 59).await, Begun::Running);
    let second = claim_at(store.as_ref(), &command(1), 60).await;
    assert_eq!(second.first_begun_at, slow.first_begun_at, "it makes the same ids");
    let late = KeptAnswer { status: 500, ..answer() };
    assert!(!store.finish(&[1; 32], slow, late, noon() + KEEP).await.unwrap());
    store.release(&[1; 32], slow).await.unwrap();
    store.withdraw(&[1; 32], slow).await.unwrap();
    assert_eq!(begin_at(store.as_ref(), &command(1), 61).await, Begun::Running);
    assert!(store.finish(&[1; 32], second, answer(), noon() + KEEP).await.unwrap());
    assert_eq!(begin_at(store.as_ref(), &command(1), 62).await, Begun::Finished(answer()));
}

async fn what_may_have_been_done_in_part_is_tried_again_at_once_as_the_same(place: Place) {
    let store = place.open().await.idempotency;
    let first = claim_at(store.as_ref(), &command(1), 0).await;
    store.release(&[1; 32], first).await.unwrap();
    let again = claim_at(store.as_ref(), &command(1), 1).await;
    assert_eq!(again.first_begun_at, noon());
    assert_ne!(again.number, first.number);
}

async fn what_was_not_done_leaves_nothing_behind(place: Place) {
    let store = place.open().await.idempotency;
    let first = claim_at(store.as_ref(), &command(1), 0).await;
    store.withdraw(&[1; 32], first).await.unwrap();
    let other = KeyedCommand { fingerprint: [2; 32], ..command(1) };
    assert_eq!(claim_at(store.as_ref(), &other, 5).await.first_begun_at, noon() + seconds(5));
}

async fn only_what_has_been_kept_for_long_enough_is_deleted_and_never_more_than_asked(place: Place) {
    let store = place.open().await.idempotency;
    for (id, until) in [(1, 10), (2, 20), (3, 30)] {
        let attempt = claim_at(store.as_ref(), &command(id), 0).await;
        store.finish(&[id; 32], attempt, answer(), noon() + seconds(until)).await.unwrap();
    }
    claim_at(store.as_ref(), &command(4), 0).await;
    assert_eq!(store.prune(noon() + seconds(9), 10).await.unwrap(), 0);
    assert_eq!(store.prune(noon() + seconds(20), 1).await.unwrap(), 1);
    assert_eq!(store.prune(noon() + seconds(20), 10).await.unwrap(), 1);
    assert_eq!(begin_at(store.as_ref(), &command(3), 20).await, Begun::Finished(answer()));
    assert_eq!(begin_at(store.as_ref(), &command(4), 20).await, Begun::Running);
    assert_eq!(place.count("idempotency").await, 2);
}
