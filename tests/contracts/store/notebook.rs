//! What long work remembers, and what it looks up on its way.

use domain::subscription::{Kind, Observation, Status, SubscriptionCommand, Terms};
use webhook_ingest::inbox::{NewDelivery, Origin, Outcome, Why};
use webhook_ingest::notebook::Unused;

use super::{Place, context, noon, on_both};

on_both! {
    a_note_is_kept_changed_and_removed_only_as_it_was_read,
    notes_are_found_by_how_their_names_begin,
    events_that_never_came_are_told_in_the_order_asked,
    deliveries_of_a_payer_that_told_nothing_are_found_latest_first,
    subscriptions_of_the_log_are_listed_by_id_and_page,
}

async fn a_note_is_kept_changed_and_removed_only_as_it_was_read(place: Place) {
    let notes = place.open().await.notebook;
    assert_eq!(notes.note("backfill").await.unwrap(), None);
    notes.write_note("backfill", "one").await.unwrap();
    notes.write_note("backfill", "two").await.unwrap();
    notes.remove_note("backfill", "one").await.unwrap();
    assert_eq!(notes.note("backfill").await.unwrap(), Some("two".to_owned()));
    notes.remove_note("backfill", "two").await.unwrap();
    assert_eq!(notes.note("backfill").await.unwrap(), None);
}

async fn notes_are_found_by_how_their_names_begin(place: Place) {
    let notes = place.open().await.notebook;
    for name in ["look:sub_2", "look:sub_1", "look", "Look:sub_3", "look%sub_4"] {
        notes.write_note(name, "why").await.unwrap();
    }
    let names = |notes: Vec<(String, String)>| notes.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(notes.notes("look:", 10).await.unwrap()), ["look:sub_1", "look:sub_2"]);
    assert_eq!(names(notes.notes("look:", 1).await.unwrap()), ["look:sub_1"]);
}

fn delivery(id: &str, customer: &str) -> NewDelivery {
    NewDelivery {
        id: id.to_owned(),
        event_type: "customer.subscription.updated".to_owned(),
        created: None,
        customer: Some(customer.to_owned()),
        concerns: None,
        body: b"{}".to_vec(),
        received_at: noon(),
        origin: Origin::Webhook,
    }
}

async fn events_that_never_came_are_told_in_the_order_asked(place: Place) {
    let storage = place.open().await;
    for id in ["evt_1", "evt_3"] {
        storage.inbox.store(delivery(id, "cus_1")).await.unwrap();
    }
    let asked = ["evt_4", "evt_3", "evt_2", "evt_1"].map(str::to_owned);
    assert_eq!(storage.notebook.not_in_inbox(&asked).await.unwrap(), ["evt_4", "evt_2"]);
    assert_eq!(storage.notebook.not_in_inbox(&[]).await.unwrap(), [""; 0]);
}

async fn deliveries_of_a_payer_that_told_nothing_are_found_latest_first(place: Place) {
    let storage = place.open().await;
    let outcomes = [
        ("evt_1", "cus_1", Outcome::Parked),
        ("evt_2", "cus_1", Outcome::Applied),
        ("evt_3", "cus_2", Outcome::Failed),
        ("evt_4", "cus_1", Outcome::Failed),
        ("evt_5", "cus_1", Outcome::Ignored),
    ];
    for (id, customer, outcome) in outcomes {
        storage.inbox.store(delivery(id, customer)).await.unwrap();
        let why = Why { code: "a_code".to_owned(), detail: "It is so.".to_owned() };
        storage.inbox.settle(id, outcome, Some(why), noon()).await.unwrap();
    }
    storage.inbox.store(delivery("evt_6", "cus_1")).await.unwrap();
    let unused = |id: &str, outcome, code: Option<&str>| Unused {
        id: id.to_owned(),
        event_type: "customer.subscription.updated".to_owned(),
        outcome,
        code: code.map(str::to_owned),
    };
    let expected = [
        unused("evt_6", Outcome::Pending, None),
        unused("evt_4", Outcome::Failed, Some("a_code")),
        unused("evt_1", Outcome::Parked, Some("a_code")),
    ];
    assert_eq!(storage.notebook.unused_of(&"cus_1".into()).await.unwrap(), expected);
}

async fn subscriptions_of_the_log_are_listed_by_id_and_page(place: Place) {
    let storage = place.open().await;
    for (id, source) in [("sub_b", "evt_1"), ("sub_A", "evt_2"), ("sub_a", "evt_3"), ("sub_b", "evt_4")] {
        let terms = Terms::new("cus_1".into(), Status::Active);
        let observation = Observation::new(source.into(), noon(), Kind::Changed, terms);
        let command = SubscriptionCommand::Observe(Box::new(observation));
        storage.subscriptions.execute(id, command, context()).await.unwrap();
    }
    let first = storage.notebook.subscriptions_after(None, 2).await.unwrap();
    assert_eq!(first, ["sub_A".into(), "sub_a".into()]);
    let rest = storage.notebook.subscriptions_after(first.last(), 2).await.unwrap();
    assert_eq!(rest, ["sub_b".into()]);
}
