//! What the simulator says was true, beside its events.

use stripe_simulator::{Driven, DunningEnd, Reversed};

use super::support::*;

fn reversed(world: &World, subscription: &str) -> Reversed {
    world.stripe.truth(subscription, world.stripe.now()).unwrap().reversed
}

#[test]
fn a_payment_that_is_given_back_is_so_until_the_bank_sends_it_back_or_the_next_is_made() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.refund(&subscription, Some(100)).unwrap();
    assert!(!reversed(&world, &subscription).refunded, "a part of it");
    world.stripe.advance(DAY);
    let rest = world.stripe.refund(&subscription, None).unwrap();
    assert!(reversed(&world, &subscription).refunded);
    world.stripe.fail_refund(&rest).unwrap();
    assert!(!reversed(&world, &subscription).refunded);
    world.stripe.advance(DAY);
    world.stripe.refund(&subscription, None).unwrap();
    world.stripe.advance(31 * DAY);
    assert!(!reversed(&world, &subscription).refunded, "the next month is paid");
}

#[test]
fn a_dispute_is_one_until_it_is_won_and_a_lost_one_until_something_is_paid() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let dispute = world.stripe.dispute(&subscription, true).unwrap();
    assert_eq!(reversed(&world, &subscription), Reversed::default(), "an inquiry is none");
    world.stripe.move_dispute(&dispute, "needs_response").unwrap();
    let disputed = Reversed { disputed: true, ..Reversed::default() };
    assert_eq!(reversed(&world, &subscription), disputed);
    let during = world.stripe.now();
    world.stripe.advance(DAY);
    world.stripe.move_dispute(&dispute, "lost").unwrap();
    assert_eq!(reversed(&world, &subscription), Reversed { lost: true, ..Reversed::default() });
    world.stripe.advance(31 * DAY);
    assert_eq!(reversed(&world, &subscription), Reversed::default());
    assert_eq!(world.stripe.truth(&subscription, during).unwrap().reversed, disputed, "it was so then");
}

#[test]
fn what_is_owed_is_owed_since_its_first_attempt_failed() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
    world.stripe.settings().dunning_end = DunningEnd::PastDue;
    world.stripe.advance(28 * DAY + HOUR);
    let owed_since =
        |world: &World| world.stripe.truth(&subscription, world.stripe.now()).unwrap().owed_since;
    let first = Some(START + 28 * DAY + HOUR);
    assert_eq!(owed_since(&world), first);
    world.stripe.advance(4 * DAY);
    assert_eq!(owed_since(&world), first, "a retry does not move it");
    world.stripe.advance(31 * DAY);
    assert_eq!(owed_since(&world), first, "nor does another invoice");
    let customer = world.get(&format!("/v1/subscriptions/{subscription}"))["customer"].clone();
    let customer = customer.as_str().unwrap();
    let open = world.get(&format!("/v1/invoices?customer={customer}&status=open"));
    let oldest = open["data"][1]["id"].as_str().unwrap();
    world.stripe.set_card(customer, GOOD).unwrap();
    world.stripe.call("POST", &format!("/v1/invoices/{oldest}/pay"), "").unwrap();
    assert_eq!(world.status(&subscription), "past_due");
    assert_eq!(owed_since(&world), Some(START + 59 * DAY + HOUR), "the second is owed still");
}

#[test]
fn an_older_invoice_that_fails_says_nothing_about_the_subscription() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
    world.stripe.advance(28 * DAY + HOUR);
    assert_eq!(world.status(&subscription), "past_due");
    let customer = world.get(&format!("/v1/subscriptions/{subscription}"))["customer"].clone();
    world.stripe.set_card(customer.as_str().unwrap(), GOOD).unwrap();
    world.stripe.change_plan(&subscription, PRO).unwrap();
    assert_eq!(world.status(&subscription), "active", "the latest invoice is paid");
    world.stripe.set_card(customer.as_str().unwrap(), DECLINED_LATER).unwrap();
    world.stripe.advance(4 * DAY);
    let failed = world.news().iter().filter(|event| event.kind == "invoice.payment_failed").count();
    assert_eq!((failed, world.status(&subscription).as_str()), (2, "active"));
}

#[test]
fn a_pause_of_collection_and_a_scheduled_end_are_true_until_they_are_taken_back() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let period_end = START + 28 * DAY;
    world.stripe.pause_collection(&subscription, Some(("void", None))).unwrap();
    world.stripe.cancel_in_portal(&subscription).unwrap();
    let truth = |world: &World| {
        let truth = world.stripe.truth(&subscription, world.stripe.now()).unwrap();
        (truth.paused_until, truth.cancels_at)
    };
    assert_eq!(truth(&world), (Some(period_end), Some(period_end)));
    world.stripe.cancel_at_period_end(&subscription, false).unwrap();
    world.stripe.advance(40 * DAY);
    assert_eq!(truth(&world), (Some(period_end), None), "the period that ran when it was paused");
    world.stripe.pause_collection(&subscription, None).unwrap();
    assert_eq!(truth(&world), (None, None));
}

#[test]
fn what_follows_a_pause_in_its_second_does_not_move_it() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let period_end = START + 28 * DAY;
    world.stripe.pause_collection(&subscription, Some(("void", None))).unwrap();
    let form = format!("trial_end={}&proration_behavior=none", START + 40 * DAY);
    world.stripe.call("POST", &format!("/v1/subscriptions/{subscription}"), &form).unwrap();
    let truth = world.stripe.truth(&subscription, START).unwrap();
    assert_eq!((truth.status.as_str(), truth.paused_until), ("trialing", Some(period_end)));
}

#[test]
fn what_happens_without_events_is_neither_delivered_nor_listed_and_is_true_all_the_same() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.take_deliveries(START);
    world.stripe.without_events(|stripe| stripe.cancel(&subscription)).unwrap();
    assert_eq!(world.status(&subscription), "canceled");
    assert!(world.news().is_empty() && world.stripe.take_deliveries(START).is_empty());
    world.stripe.customer("bea@example.com").unwrap();
    assert_eq!(world.story(), ["customer.created"], "what comes after is told again");
    assert_eq!(world.stripe.take_deliveries(START).len(), 1);
}

#[tokio::test]
async fn a_test_that_drives_it_moves_the_time_that_its_api_tells() {
    let (world, subscription) = World::member(BASIC, GOOD, 0);
    let driven = Driven::open(world.stripe).await.unwrap();
    driven.with(|stripe| stripe.advance(40 * DAY)).await;
    let url = format!("http://{}/v1/subscriptions/{subscription}", driven.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).bearer_auth("sk_test_x").send().await.unwrap();
    assert_eq!(answer.headers()["date"], "Fri, 12 Mar 2027 12:00:00 GMT");
    let held: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(held["status"], "active");
    assert!(driven.with(|stripe| stripe.take_deliveries(START).len() > 10).await);
}
