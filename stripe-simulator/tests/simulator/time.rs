//! Time: where it stops on the way, and that the same calls give the same history.

use std::collections::BTreeSet;

use super::support::*;

#[test]
fn one_long_step_is_the_same_as_many_short_ones() {
    let run = |step: i64| {
        let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 14);
        world.stripe.change_plan_at_period_end(&subscription, PRO).unwrap();
        for _ in 0..(120 * DAY / step) {
            world.stripe.advance(step);
        }
        world.news()
    };
    assert_eq!(run(120 * DAY), run(6 * HOUR));
}

#[test]
fn a_year_and_a_half_of_renewals_keeps_to_the_last_day_of_the_month() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.advance(540 * DAY);
    let invoices = world.get(&format!("/v1/invoices?subscription={subscription}&limit=100"));
    assert_eq!(invoices["data"].as_array().unwrap().len(), 18);
    let days: BTreeSet<_> = invoices["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|invoice| chrono_day(invoice["lines"]["data"][0]["period"]["start"].as_i64().unwrap()))
        .collect();
    assert_eq!(days, BTreeSet::from([28, 29, 30, 31]), "29 February 2028 is among them");
}

fn chrono_day(moment: i64) -> u32 {
    use chrono::Datelike;
    chrono::DateTime::from_timestamp(moment, 0).unwrap().day()
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_gives_others() {
    let run = |seed| {
        let mut stripe = stripe_simulator::Simulator::new(START, seed, SECRET);
        let session = stripe.checkout(BASIC, "mem_ada", 0).unwrap();
        stripe.pay(&session, GOOD).unwrap();
        stripe.advance(100 * DAY);
        (stripe.events().to_vec(), stripe.take_deliveries(START))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn what_was_true_can_be_asked_for_any_moment() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 14);
    world.stripe.advance(100 * DAY);
    let status = |at| world.stripe.truth(&subscription, at).map(|truth| truth.status.clone());
    assert_eq!(status(START - 1), None);
    assert_eq!(status(START).as_deref(), Some("trialing"));
    assert_eq!(status(START + 14 * DAY).as_deref(), Some("active"), "the period rolls before it is paid");
    assert_eq!(status(START + 14 * DAY + HOUR).as_deref(), Some("past_due"));
    assert_eq!(status(START + 29 * DAY + HOUR).as_deref(), Some("canceled"));
    let trial = world.stripe.truth(&subscription, START + DAY).unwrap();
    assert_eq!(trial.paid_until, Some(START + 14 * DAY));
}

#[test]
fn nobody_can_hold_time_up() {
    let mut world = World::new();
    for (place, card) in [GOOD, DECLINED_LATER, DEBIT].into_iter().enumerate() {
        for trial in [0, 2, 30] {
            let customer = world.stripe.customer(&format!("{place}-{trial}@example.com")).unwrap();
            // A card that is declined from the start leaves an incomplete subscription, which is fine here.
            let made = world.stripe.subscribe(&customer, BASIC, card, trial);
            assert!(made.is_ok(), "{made:?}");
        }
    }
    world.stripe.advance(800 * DAY);
    assert_eq!(world.stripe.now(), START + 800 * DAY);
    let events = world.news();
    assert!(events.windows(2).all(|pair| pair[0].created <= pair[1].created), "in order of time");
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), events.len());
}
