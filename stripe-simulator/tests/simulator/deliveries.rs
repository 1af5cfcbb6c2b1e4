//! Webhooks: signed, in order, once; and with faults lost, doubled, shuffled, late and old.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stripe_simulator::{ApiFaults, Faults, Progress, SignedDelivery};

use super::support::*;

/// HMAC-SHA256 by the book (RFC 2104), so that the simulator's own is not checked by itself.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    hex::encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

/// The timestamp, and whether a secret made one of the signatures.
fn verified(delivery: &SignedDelivery, secret: &str) -> (i64, bool) {
    let mut fields = delivery.signature.split(',').map(|field| field.split_once('=').unwrap());
    let (name, at) = fields.next().unwrap();
    assert_eq!(name, "t");
    let expected = hmac(secret.as_bytes(), format!("{at}.{}", delivery.body).as_bytes());
    (at.parse().unwrap(), fields.any(|(scheme, value)| scheme == "v1" && value == expected))
}

#[test]
fn every_delivery_is_signed_over_its_exact_body() {
    let (mut world, _) = World::member(BASIC, GOOD, 0);
    let deliveries = world.stripe.take_deliveries(1_700_000_000);
    assert!(deliveries.len() > 10);
    for delivery in &deliveries {
        assert_eq!(verified(delivery, SECRET), (1_700_000_000, true));
        assert!(!verified(delivery, "whsec_other").1);
    }
    let mut changed = deliveries[0].clone();
    changed.body.push(' ');
    assert!(!verified(&changed, SECRET).1);
}

#[test]
fn a_rolled_secret_signs_beside_the_new_one_for_as_long_as_asked() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.take_deliveries(0);
    let now = world.stripe.now();
    world.stripe.outbox.roll_secret("whsec_new", now, HOUR);
    world.stripe.refund(&subscription, Some(1)).unwrap();
    let both = &world.stripe.take_deliveries(5)[0];
    assert!(verified(both, SECRET).1 && verified(both, "whsec_new").1);
    world.stripe.advance(HOUR);
    world.stripe.refund(&subscription, Some(1)).unwrap();
    let one = &world.stripe.take_deliveries(5)[0];
    assert!(!verified(one, SECRET).1 && verified(one, "whsec_new").1);
}

#[test]
fn without_faults_every_event_arrives_once_and_in_order() {
    let (mut world, _) = World::member(BASIC, DECLINED_LATER, 0);
    world.stripe.advance(60 * DAY);
    let sent: Vec<_> = world.stripe.take_deliveries(0).into_iter().map(|delivery| delivery.event).collect();
    let happened: Vec<_> = world.stripe.events().iter().map(|event| event.id.clone()).collect();
    assert!(happened.ends_with(&sent) && sent.len() > 30);
}

fn sent_with(faults: Faults) -> (Vec<String>, Vec<String>) {
    let mut world = World::new();
    world.stripe.set_faults(faults);
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    world.stripe.pay(&session, GOOD).unwrap();
    world.stripe.advance(90 * DAY);
    let happened = world.news().into_iter().map(|event| event.id).collect();
    (world.stripe.take_deliveries(0).into_iter().map(|delivery| delivery.event).collect(), happened)
}

#[test]
fn faults_lose_double_and_shuffle_by_their_seed() {
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids.dedup();
        ids
    };
    let (sent, happened) = sent_with(Faults { drop: 0.5, seed: Some(3), ..Faults::default() });
    assert!(sent.len() < happened.len() && !sent.is_empty(), "{} of {}", sent.len(), happened.len());
    let (sent, happened) = sent_with(Faults { duplicate: 1.0, ..Faults::default() });
    assert_eq!(sent.len(), 2 * happened.len());
    let shuffled = Faults { shuffle: true, seed: Some(9), ..Faults::default() };
    let (sent, happened) = sent_with(shuffled.clone());
    assert_ne!(sent, happened);
    assert_eq!(sorted(sent.clone()), sorted(happened));
    assert_eq!(sent_with(shuffled).0, sent, "the same seed, the same disorder");
    let (lost, _) = sent_with(Faults { drop: 1.0, ..Faults::default() });
    assert!(lost.is_empty());
}

#[test]
fn what_is_delayed_waits_for_its_time_or_a_flush() {
    let mut world = World::new();
    world.stripe.set_faults(Faults { delay: Some(HOUR), ..Faults::default() });
    let customer = world.stripe.customer("ada@example.com").unwrap();
    assert!(world.stripe.take_deliveries(0).is_empty());
    world.stripe.advance(HOUR);
    assert_eq!(world.stripe.take_deliveries(0).len(), 1);
    world.stripe.call("POST", &format!("/v1/customers/{customer}"), "name=Ada").unwrap();
    let now = world.stripe.now();
    assert_eq!(world.stripe.outbox.flush(now), 1);
    assert_eq!(world.stripe.take_deliveries(0).len(), 1);
}

#[test]
fn ties_put_actions_of_a_minute_into_one_second() {
    for (ties, seconds) in [(true, 1), (false, 3)] {
        let mut world = World::new();
        world.stripe.set_faults(Faults { ties, ..Faults::default() });
        world.stripe.advance(100);
        for name in ["Ada", "Eve", "Joy"] {
            world.stripe.customer(name).unwrap();
            world.stripe.advance(7);
        }
        let mut created: Vec<_> = world.news().iter().map(|event| event.created).collect();
        created.dedup();
        assert_eq!(created.len(), seconds, "ties: {ties}");
    }
}

#[test]
fn a_delivery_that_fails_is_tried_for_three_days_and_the_next_go_on() {
    let mut world = World::new();
    world.stripe.customer("ada@example.com").unwrap();
    world.stripe.customer("eve@example.com").unwrap();
    let (start, mut tries) = (world.stripe.now(), 0);
    let first = world.stripe.outbox.next(start, 0).unwrap();
    assert!(world.stripe.outbox.next(start, 0).is_none(), "one at a time");
    world.stripe.outbox.settle(first.number, start, Ok(500));
    let second = world.stripe.outbox.next(start, 0).unwrap();
    assert_ne!(second.event, first.event, "a failure does not hold up what follows");
    world.stripe.outbox.settle(second.number, start, Ok(200));
    while let Some(due) = world.stripe.outbox.next_due() {
        world.stripe.advance_to(due);
        let again = world.stripe.outbox.next(due, due).unwrap();
        assert_eq!((&again.event, &again.body), (&first.event, &first.body), "the same event and body");
        assert_ne!(again.signature, first.signature, "with a new signature");
        world.stripe.outbox.settle(again.number, due, Err("refused".to_owned()));
        tries += 1;
    }
    assert!(tries > 8 && world.stripe.now() - start <= 3 * DAY);
    let all = world.stripe.deliveries();
    let progress: Vec<_> = all.iter().map(|delivery| delivery.progress).collect();
    assert_eq!(progress, [Progress::GivenUp, Progress::Delivered]);
    assert_eq!(all[0].json()["attempts"][1]["error"], "refused");
}

#[test]
fn faults_are_read_as_people_write_them() {
    let faults: Faults = serde_json::from_value(
        json!({"drop":0.05,"duplicate":0.2,"shuffle":true,"delay":"1h","api_version":"2025-03-31.basil","seed":1}),
    )
    .unwrap();
    assert_eq!((faults.delay, faults.mistake()), (Some(HOUR), None));
    let wrong = |faults: Value| {
        serde_json::from_value::<Faults>(faults)
            .map_err(|error| error.to_string())
            .and_then(|faults| faults.mistake().map_or(Ok(()), Err))
    };
    assert!(wrong(json!({ "drop": 2 })).unwrap_err().contains("between 0 and 1"));
    assert!(wrong(json!({ "delay": "soon" })).is_err());
    assert!(wrong(json!({ "api_version": "newest" })).unwrap_err().contains("2025-03-31.basil"));
    assert!(wrong(json!({ "dorp": 0.1 })).unwrap_err().contains("dorp"));
    assert!(wrong(json!({ "api": { "status": 200 } })).is_err());
    let fine = Faults { api: ApiFaults { status: Some(429), ..ApiFaults::default() }, ..Faults::default() };
    assert_eq!(fine.mistake(), None);
}

#[test]
fn deliveries_wait_for_ten_years_at_most() {
    let mistake = |faults: Value| serde_json::from_value::<Faults>(faults).unwrap().mistake();
    assert_eq!(mistake(json!({ "delay": "10years", "api": { "delay": "24h", "rate": 1.0 } })), None);
    for wrong in [
        json!({ "delay": i64::MAX }),
        json!({ "delay": "11years" }),
        json!({ "api": { "delay": i64::MAX } }),
        json!({ "api": { "rate": 1.5 } }),
    ] {
        assert!(mistake(wrong.clone()).is_some(), "{wrong}");
    }
}
