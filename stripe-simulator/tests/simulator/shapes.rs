//! The simulator's objects beside Stripe's own: every field that Stripe has is there and of the same type.
//!
//! Null is taken for any type on either side, since which fields are null differs from object to object. The payloads
//! are not part of this repository: where their folder is absent the comparison is skipped, and says so.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::*;

/// Fields of the corpus that are left out on purpose.
const LEFT_OUT: [&str; 4] = [
    // Where a subscription was before basil; the generated fixture still names it, real invoices do not.
    "invoice.subscription",
    // What an account that allows several quantities of a line would have.
    "item.adjustable_quantity",
    "item.metadata",
    // Only when something failed.
    "charge.source",
];

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where they run")]
    let told = std::env::var("STRIPE_EVENT_CORPUS").unwrap_or_else(|_| "../shared/stripe-events".to_owned());
    let folder = root.join(told);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: {} is not there; set STRIPE_EVENT_CORPUS to the folder of payloads",
        folder.display()
    );
    None
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is missing or of another type in `ours`.
fn differences(at: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(theirs), Value::Object(ours)) if !at.ends_with("metadata") => {
            for (key, value) in theirs {
                let at = format!("{at}.{key}");
                match ours.get(key) {
                    _ if LEFT_OUT.contains(&at.as_str()) => {}
                    None => found.push(format!("{at} is missing")),
                    Some(own) => differences(&at, value, own, found),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(theirs), Some(ours)) = (theirs.first(), ours.first()) {
                differences(&format!("{at}[]"), theirs, ours, found);
            }
        }
        _ if kind(theirs) == kind(ours) => {}
        _ => found.push(format!("{at} is {} instead of {}", kind(ours), kind(theirs))),
    }
}

fn compared(name: &str, theirs: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differences(name, theirs, ours, &mut found);
    found
}

/// One object of every kind, as lived as possible.
fn objects() -> Vec<(&'static str, Value)> {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.change_plan(&subscription, PRO).unwrap();
    world.stripe.change_plan_at_period_end(&subscription, BASIC).unwrap();
    world.stripe.cancel_at_period_end(&subscription, true).unwrap();
    world.stripe.pause_collection(&subscription, Some(("void", Some(START + DAY)))).unwrap();
    world.stripe.refund(&subscription, Some(100)).unwrap();
    let dispute = world.stripe.dispute(&subscription, false).unwrap();
    let held = world.get(&format!("/v1/subscriptions/{subscription}"));
    let customer = held["customer"].as_str().unwrap().to_owned();
    let portal =
        world.stripe.call("POST", "/v1/billing_portal/sessions", &format!("customer={customer}")).unwrap();
    let first = |world: &mut World, path: &str| world.get(path)["data"][0].clone();
    let session = world.stripe.checkout(PRO_YEAR, "mem_eve", 0).unwrap();
    let session = world.get(&format!("/v1/checkout/sessions/{session}?expand[]=line_items"));
    vec![
        ("customer", world.get(&format!("/v1/customers/{customer}"))),
        ("product", world.get("/v1/products/prod_basic")),
        ("price", world.get("/v1/prices/price_basic_month")),
        ("payment_method", first(&mut world, "/v1/payment_methods")),
        ("invoice", first(&mut world, "/v1/invoices")),
        ("payment_intent", first(&mut world, "/v1/payment_intents")),
        ("charge", first(&mut world, "/v1/charges")),
        ("refund", first(&mut world, "/v1/refunds")),
        ("dispute", world.get(&format!("/v1/disputes/{dispute}"))),
        ("invoice_payment", first(&mut world, "/v1/invoice_payments")),
        ("subscription_schedule", first(&mut world, "/v1/subscription_schedules")),
        ("event", first(&mut world, "/v1/events")),
        ("item", session["line_items"]["data"][0].clone()),
        ("checkout.session", session),
        ("billing_portal.session", portal),
        ("subscription_item", held["items"]["data"][0].clone()),
        ("plan", held["items"]["data"][0]["plan"].clone()),
        ("subscription", held),
    ]
}

#[test]
fn every_field_of_the_newest_shapes_is_there_and_of_the_same_type() {
    let Some(corpus) = corpus() else { return };
    let resources = read(&corpus.join("fixtures3.json"))["resources"].take();
    let mut found = Vec::new();
    for (name, ours) in objects() {
        let theirs = &resources[name];
        assert!(theirs.is_object(), "{name} is in the corpus");
        // What an event carries depends on its type.
        let theirs = if name == "event" {
            let mut theirs = theirs.clone();
            theirs["data"]["object"] = Value::Null;
            theirs
        } else {
            theirs.clone()
        };
        found.extend(compared(name, &theirs, &ours));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn real_clover_objects_have_no_field_that_is_missing_here() {
    let Some(corpus) = corpus() else { return };
    let objects = objects();
    let ours = |name: &str| objects.iter().find(|(kind, _)| *kind == name).unwrap().1.clone();
    let mut seen = 0;
    for entry in fs::read_dir(corpus.join("2025-clover-objects")).unwrap() {
        let theirs = read(&entry.unwrap().path());
        let name = theirs["object"].as_str().unwrap().to_owned();
        let found = compared(&name, &theirs, &ours(&name));
        assert!(found.is_empty(), "{found:#?}");
        seen += 1;
    }
    assert!(seen >= 9, "the folder has its objects");
}

#[test]
fn a_missing_and_a_mistyped_field_would_be_noticed() {
    let theirs = json!({ "a": 1, "b": { "c": "x" }, "d": [{ "e": true }] });
    let ours = json!({ "b": { "c": 2 }, "d": [{}] });
    let expected = ["x.a is missing", "x.b.c is number instead of string", "x.d[].e is missing"];
    assert_eq!(compared("x", &theirs, &ours), expected);
}

/// What every event has to be, whatever it tells of.
pub(crate) fn assert_valid(event: &Value) {
    let kind = event["type"].as_str().unwrap();
    assert!(event["id"].as_str().unwrap().starts_with("evt_"), "{kind}");
    assert_eq!(event["object"], "event");
    assert!(
        event["created"].is_i64() && event["livemode"] == false && event["pending_webhooks"].is_u64(),
        "{kind}"
    );
    assert!(event["request"].is_object() && event["api_version"].is_string(), "{kind}");
    let object = &event["data"]["object"];
    let named = object["object"].as_str().unwrap();
    let expected = match kind.rsplit_once('.').unwrap().0 {
        "customer.subscription" => "subscription",
        "charge.dispute" => "dispute",
        "charge.refund" => "refund",
        family => family,
    };
    assert_eq!(named, expected, "{kind}");
    assert!(object["id"].is_string() || kind == "invoice.upcoming", "{kind}");
    let told = event["data"].get("previous_attributes").is_some();
    if kind.ends_with(".updated")
        && kind != "charge.refund.updated"
        && kind != "subscription_schedule.updated"
    {
        assert!(told, "{kind} says what was before");
    }
    for (key, was) in event["data"]["previous_attributes"].as_object().into_iter().flatten() {
        assert_ne!(object.get(key), Some(was), "{kind}: {key} is told as changed and is the same");
    }
}

/// An eventful life, with everything that can be told of it.
fn life() -> World {
    let mut world = World::new();
    for card in
        [GOOD, DECLINED, DECLINED_LATER, ASKS_ONCE, ASKS_ALWAYS, DEBIT, DEBIT_FAILS, "4000000000000259"]
    {
        for trial in [0, 7] {
            let session = world.stripe.checkout(BASIC, "mem_ada", trial).unwrap();
            if world.stripe.pay(&session, card) == Ok(true) {
                world.stripe.authenticate(&session, true).unwrap();
            }
            let Some((_, subscription)) = world.stripe.bought(&session) else { continue };
            world.stripe.advance(10 * DAY);
            world.stripe.change_plan(&subscription, PRO).ok();
            world.stripe.change_plan_at_period_end(&subscription, BASIC).ok();
            world.stripe.refund(&subscription, Some(1)).ok();
            world.stripe.advance(80 * DAY);
            world.stripe.cancel_in_portal(&subscription).ok();
        }
    }
    world.stripe.advance(100 * DAY);
    world
}

#[test]
fn every_event_of_a_full_life_is_valid_in_every_version() {
    let mut world = life();
    for event in world.news() {
        assert_valid(&event.body);
    }
    for version in ["2025-03-31.basil", "2024-06-20", "2020-08-27"] {
        let mut world = World::new();
        world.stripe.set_faults(stripe_simulator::Faults {
            api_version: Some(version.to_owned()),
            ..stripe_simulator::Faults::default()
        });
        let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
        world.stripe.pay(&session, DECLINED_LATER).unwrap();
        world.stripe.advance(60 * DAY);
        for delivery in world.stripe.take_deliveries(START) {
            let event: Value = serde_json::from_str(&delivery.body).unwrap();
            assert_eq!(event["api_version"], version);
            assert_valid(&event);
            assert_old(&event, version);
        }
    }
}

/// What a version did not have yet is not there, and what moved later is where it was.
fn assert_old(event: &Value, version: &str) {
    let object = &event["data"]["object"];
    let before_basil = version < "2025-03-31";
    match object["object"].as_str().unwrap() {
        "subscription" => {
            assert!(object.get("billing_mode").is_none() && object.get("billing_schedules").is_none());
            assert_eq!(object["current_period_end"].is_i64(), before_basil);
            assert_eq!(object["items"]["data"][0]["current_period_end"].is_i64(), !before_basil);
            let previous = event["data"]["previous_attributes"].as_object();
            let rolled = previous.is_some_and(|previous| previous.contains_key("latest_invoice"));
            if before_basil && rolled {
                assert!(event["data"]["previous_attributes"]["current_period_end"].is_i64());
            }
        }
        "invoice" => {
            assert_eq!(object["subscription"].is_string(), before_basil);
            assert_eq!(object["parent"].is_object(), !before_basil);
            let line = &object["lines"]["data"][0];
            assert_eq!(
                (line["price"].is_object(), line["pricing"].is_object()),
                (before_basil, !before_basil)
            );
        }
        "charge" | "payment_intent" => assert_eq!(object["invoice"].is_string(), before_basil),
        _ => {}
    }
}

#[test]
fn an_invoice_says_who_paid_when_it_was_finalized() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let customer =
        world.get(&format!("/v1/subscriptions/{subscription}"))["customer"].as_str().unwrap().to_owned();
    let mut named = |name: &str| {
        world.stripe.call("POST", &format!("/v1/customers/{customer}"), &format!("name={name}")).unwrap();
        let invoices = world.get(&format!("/v1/invoices?customer={customer}"));
        (
            invoices["data"][0]["customer_name"].clone(),
            world.get(&format!("/v1/customers/{customer}"))["name"].clone(),
        )
    };
    let (on_invoice, now) = named("Ada+Lovelace");
    assert_eq!((on_invoice, now), (Value::Null, "Ada Lovelace".into()), "a later name is not on it");
}
