//! The inbox: nothing acknowledged is lost, nothing is worked on twice at once.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use domain::metadata::Actor;
use storage::{Access, Storage};
use webhook_ingest::inbox::{
    Asked, Delivery, DeliveryFilter, DeliveryKey, KEPT_STEPS, MOST_POSTPONED, NewDelivery, Origin, Outcome,
    Redrive, Redriven, Selection, Step, StepKind, Stored, Why,
};

use super::{Place, clock, noon, on_both, seconds};

const LEASE: Duration = Duration::from_secs(30);

on_both! {
    a_delivery_is_kept_byte_for_byte,
    a_delivery_that_comes_again_is_counted_and_compared,
    deliveries_that_come_at_once_are_new_once,
    a_delivery_is_durable_when_store_returns,
    deliveries_are_claimed_in_the_order_of_their_arrival,
    a_claimed_delivery_is_given_to_nobody_else_before_its_lease_is_over,
    no_two_workers_get_the_same_delivery,
    a_released_delivery_is_taken_by_the_next_one_as_if_it_had_not_been_claimed,
    a_settled_delivery_is_not_claimed_again,
    a_postponed_delivery_is_taken_again_when_it_is_due,
    a_settled_delivery_is_not_postponed,
    a_lease_of_a_clock_that_has_been_set_back_is_over,
    a_postponement_of_a_clock_that_has_been_set_back_is_over,
    moments_of_a_delivery_are_kept_to_the_microsecond_whenever_they_are,
    a_delivery_is_redriven_by_its_id_whatever_became_of_it,
    deliveries_set_aside_are_redriven_by_code_and_payer,
    failed_deliveries_are_redriven_together,
    what_is_new_is_claimed_before_what_is_looked_at_again,
    deliveries_are_listed_latest_first_by_outcome_and_page,
    deliveries_are_listed_by_what_is_known_of_them,
    deliveries_are_redriven_some_at_a_time_until_all_were,
    every_step_of_a_delivery_is_kept_with_who_asked_for_it_and_why,
    no_step_is_taken_that_cannot_be_kept,
    a_delivery_that_is_looked_at_for_ever_keeps_its_latest_steps_and_what_people_asked_for,
    pending_deliveries_are_counted,
    deliveries_are_found_by_how_their_ids_and_what_they_concern_begin,
    who_reads_a_body_is_among_its_steps_once_an_hour,
    no_read_pushes_out_what_people_asked_for,
}

fn delivery(id: &str) -> NewDelivery {
    NewDelivery {
        id: id.to_owned(),
        event_type: "customer.subscription.updated".to_owned(),
        created: Some(noon() - seconds(5)),
        customer: Some("cus_1".to_owned()),
        concerns: None,
        body: format!("{{\"id\":\"{id}\"}}").into_bytes(),
        received_at: noon(),
        origin: Origin::Webhook,
    }
}

fn why(code: &str) -> Why {
    Why { code: code.to_owned(), detail: format!("It is {code}.") }
}

fn asked() -> Asked {
    Asked { at: noon(), actor: Actor::system(), why: "a test".to_owned() }
}

fn asked_by_staff(why: &str) -> Asked {
    Asked { actor: Actor::staff(&"mem_sue".into()), why: why.to_owned(), ..asked() }
}

async fn store(storage: &Storage, ids: &[&str]) {
    for id in ids {
        assert_eq!(storage.inbox.store(delivery(id)).await.unwrap(), Stored::New);
    }
}

async fn get(storage: &Storage, id: &str) -> Delivery {
    storage.inbox.get(id).await.unwrap().unwrap()
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.id.as_str()).collect()
}

async fn a_delivery_is_kept_byte_for_byte(place: Place) {
    let storage = place.open().await;
    let body = vec![0, 159, 146, 150, b'\r', b'\n', 255];
    let arrived = NewDelivery {
        body: body.clone(),
        created: None,
        customer: None,
        origin: Origin::Backfill,
        ..delivery("evt_1")
    };
    assert_eq!(storage.inbox.store(arrived).await.unwrap(), Stored::New);
    let kept = Delivery {
        id: "evt_1".to_owned(),
        event_type: "customer.subscription.updated".to_owned(),
        created: None,
        customer: None,
        body,
        received_at: noon(),
        origin: Origin::Backfill,
        times_received: 1,
        outcome: Outcome::Pending,
        why: None,
        attempts: 0,
        settled_at: None,
        erased_at: None,
    };
    assert_eq!(get(&storage, "evt_1").await, kept);
    store(&storage, &["evt_2"]).await;
    let second = get(&storage, "evt_2").await;
    assert_eq!((second.created, second.customer), (Some(noon() - seconds(5)), Some("cus_1".to_owned())));
    assert_eq!(storage.inbox.get("evt_3").await.unwrap(), None);
}

async fn a_delivery_that_comes_again_is_counted_and_compared(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    let again = storage.inbox.store(delivery("evt_1")).await.unwrap();
    assert_eq!(again, Stored::Duplicate { same_body: true });
    let other = NewDelivery { body: b"{}".to_vec(), received_at: noon() + seconds(9), ..delivery("evt_1") };
    assert_eq!(storage.inbox.store(other).await.unwrap(), Stored::Duplicate { same_body: false });
    let kept = get(&storage, "evt_1").await;
    assert_eq!((kept.times_received, kept.body, kept.received_at), (3, delivery("evt_1").body, noon()));
}

async fn deliveries_that_come_at_once_are_new_once(place: Place) {
    let storage = Arc::new(place.open().await);
    let storing: Vec<_> = (0..20)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.inbox.store(delivery("evt_1")).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for one in storing {
        new += usize::from(one.await.unwrap() == Stored::New);
    }
    assert_eq!(new, 1);
    assert_eq!(get(&storage, "evt_1").await.times_received, 20);
}

/// What is in the files is what a power cut leaves; what another connection sees has been committed.
async fn a_delivery_is_durable_when_store_returns(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    let after = match &place {
        Place::Sqlite(_) => {
            let copy = Place::sqlite();
            fs::copy(place.file(), copy.file()).unwrap();
            fs::copy(place.file().with_extension("db-wal"), copy.file().with_extension("db-wal")).unwrap();
            get(&copy.open().await, "evt_1").await
        }
        Place::Postgres(_) => get(&place.open().await, "evt_1").await,
    };
    assert_eq!(after, get(&storage, "evt_1").await);
}

async fn deliveries_are_claimed_in_the_order_of_their_arrival(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_c", "evt_a", "evt_d", "evt_b"]).await;
    storage.inbox.store(delivery("evt_c")).await.unwrap();
    let first = storage.inbox.claim(noon(), LEASE, 3).await.unwrap();
    assert_eq!(ids(&first), ["evt_c", "evt_a", "evt_d"]);
    assert!(first.iter().all(|claimed| claimed.attempts == 1 && claimed.outcome == Outcome::Pending));
    let rest = storage.inbox.claim(noon(), LEASE, 3).await.unwrap();
    assert_eq!(ids(&rest), ["evt_b"]);
    assert!(storage.inbox.claim(noon(), LEASE, 3).await.unwrap().is_empty());
}

async fn a_claimed_delivery_is_given_to_nobody_else_before_its_lease_is_over(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    assert_eq!(storage.inbox.claim(noon(), LEASE, 1).await.unwrap().len(), 1);
    assert!(storage.inbox.claim(noon() + seconds(29), LEASE, 1).await.unwrap().is_empty());
    let again = storage.inbox.claim(noon() + seconds(30), LEASE, 1).await.unwrap();
    assert_eq!((ids(&again), again[0].attempts), (vec!["evt_1"], 2));
}

async fn no_two_workers_get_the_same_delivery(place: Place) {
    let storage = Arc::new(place.open().await);
    for number in 0..100 {
        store(&storage, &[&format!("evt_{number}")]).await;
    }
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                loop {
                    let some = storage.inbox.claim(noon(), LEASE, 3).await.unwrap();
                    if some.is_empty() {
                        return claimed;
                    }
                    claimed.extend(some.into_iter().map(|delivery| delivery.id));
                }
            })
        })
        .collect();
    let (mut distinct, mut all) = (BTreeSet::new(), 0);
    for worker in workers {
        let claimed = worker.await.unwrap();
        all += claimed.len();
        distinct.extend(claimed);
    }
    // One that finds all others locked may stop early; the rest is then taken by the others.
    assert_eq!((all, distinct.len()), (100, 100));
}

async fn a_released_delivery_is_taken_by_the_next_one_as_if_it_had_not_been_claimed(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2", "evt_3", "evt_4"]).await;
    storage.inbox.claim(noon(), LEASE, 3).await.unwrap();
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon()).await.unwrap();
    let given_back: Vec<String> = ["evt_1", "evt_2", "evt_4"].map(str::to_owned).into();
    storage.inbox.release(&given_back).await.unwrap();

    let claimed = storage.inbox.claim(noon(), LEASE, 9).await.unwrap();
    assert_eq!(ids(&claimed), ["evt_2", "evt_4"], "evt_3 is still somebody's");
    assert_eq!(claimed.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(get(&storage, "evt_1").await.outcome, Outcome::Applied, "what is settled stays so");
}

async fn a_settled_delivery_is_not_claimed_again(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2"]).await;
    storage.inbox.claim(noon(), LEASE, 2).await.unwrap();
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon() + seconds(1)).await.unwrap();
    let parked = Some(why("unknown_customer"));
    storage.inbox.settle("evt_2", Outcome::Parked, parked.clone(), noon() + seconds(2)).await.unwrap();
    assert!(storage.inbox.claim(noon() + seconds(9_999), LEASE, 2).await.unwrap().is_empty());

    let first = get(&storage, "evt_1").await;
    assert_eq!(
        (first.outcome, first.why, first.settled_at),
        (Outcome::Applied, None, Some(noon() + seconds(1)))
    );
    let second = get(&storage, "evt_2").await;
    assert_eq!((second.outcome, second.why, second.attempts), (Outcome::Parked, parked, 1));

    storage.inbox.store(delivery("evt_1")).await.unwrap();
    assert_eq!(get(&storage, "evt_1").await.outcome, Outcome::Applied, "a duplicate changes nothing");
}

async fn a_postponed_delivery_is_taken_again_when_it_is_due(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    storage.inbox.postpone("evt_1", why("store_unavailable"), noon() + seconds(5), noon()).await.unwrap();
    let waiting = get(&storage, "evt_1").await;
    assert_eq!((waiting.outcome, waiting.why), (Outcome::Pending, Some(why("store_unavailable"))));
    assert!(storage.inbox.claim(noon() + seconds(4), LEASE, 1).await.unwrap().is_empty());
    let again = storage.inbox.claim(noon() + seconds(5), LEASE, 1).await.unwrap();
    assert_eq!((ids(&again), again[0].attempts), (vec!["evt_1"], 2));
}

async fn a_lease_of_a_clock_that_has_been_set_back_is_over(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    // A little ahead of ours is another process, which works on it.
    assert!(storage.inbox.claim(noon() - seconds(29), LEASE, 1).await.unwrap().is_empty());
    let yesterday = noon() - seconds(86_400);
    assert_eq!(ids(&storage.inbox.claim(yesterday, LEASE, 1).await.unwrap()), ["evt_1"]);
    assert!(storage.inbox.claim(yesterday, LEASE, 1).await.unwrap().is_empty(), "it is leased again");
}

async fn a_postponement_of_a_clock_that_has_been_set_back_is_over(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    storage.inbox.postpone("evt_1", why("error"), noon() + MOST_POSTPONED, noon()).await.unwrap();
    assert!(storage.inbox.claim(noon() - seconds(599), LEASE, 1).await.unwrap().is_empty());
    let yesterday = noon() - seconds(86_400);
    assert_eq!(ids(&storage.inbox.claim(yesterday, LEASE, 1).await.unwrap()), ["evt_1"]);
}

async fn moments_of_a_delivery_are_kept_to_the_microsecond_whenever_they_are(place: Place) {
    let storage = place.open().await;
    let moments = [
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:59:59.000001Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    for (number, text) in moments.into_iter().enumerate() {
        let (id, moment) = (format!("evt_{number}"), text.parse().unwrap());
        let told = NewDelivery { created: Some(moment), received_at: moment, ..delivery(&id) };
        storage.inbox.store(told).await.unwrap();
        storage.inbox.settle(&id, Outcome::Applied, None, moment).await.unwrap();
        let kept = get(&storage, &id).await;
        assert_eq!(
            (kept.created, kept.received_at, kept.settled_at),
            (Some(moment), moment, Some(moment)),
            "{text}"
        );
    }
}

async fn a_settled_delivery_is_not_postponed(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon()).await.unwrap();
    storage.inbox.postpone("evt_1", why("late"), noon(), noon()).await.unwrap();
    let settled = get(&storage, "evt_1").await;
    assert_eq!((settled.outcome, settled.why), (Outcome::Applied, None));
}

async fn a_delivery_is_redriven_by_its_id_whatever_became_of_it(place: Place) {
    let storage = place.open().await;
    for outcome in Outcome::ALL {
        let id = format!("evt_{outcome}");
        store(&storage, &[&id]).await;
        storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
        storage.inbox.settle(&id, outcome, Some(why("code")), noon()).await.unwrap();
        assert_eq!(storage.inbox.redrive(Redrive::Id(id.clone()), asked()).await.unwrap(), 1);
        let redriven = get(&storage, &id).await;
        assert_eq!((redriven.outcome, redriven.why, redriven.settled_at), (Outcome::Pending, None, None));
        let claimed = storage.inbox.claim(noon(), LEASE, 9).await.unwrap();
        assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id.as_str()], 1), "its attempts begin anew");
    }
    assert_eq!(storage.inbox.redrive(Redrive::Id("evt_none".to_owned()), asked()).await.unwrap(), 0);
}

async fn failed_deliveries_are_redriven_together(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2", "evt_3"]).await;
    for (id, outcome) in [("evt_1", Outcome::Failed), ("evt_2", Outcome::Applied), ("evt_3", Outcome::Failed)]
    {
        storage.inbox.settle(id, outcome, Some(why("code")), noon()).await.unwrap();
    }
    assert_eq!(storage.inbox.redrive(Redrive::Failed, asked()).await.unwrap(), 2);
    assert_eq!(ids(&storage.inbox.claim(noon(), LEASE, 9).await.unwrap()), ["evt_1", "evt_3"]);
}

async fn what_is_new_is_claimed_before_what_is_looked_at_again(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_old"]).await;
    storage.inbox.settle("evt_old", Outcome::Parked, Some(why("code")), noon()).await.unwrap();
    store(&storage, &["evt_new"]).await;
    storage.inbox.redrive(Redrive::Id("evt_old".to_owned()), asked()).await.unwrap();
    assert_eq!(ids(&storage.inbox.claim(noon(), LEASE, 1).await.unwrap()), ["evt_new"]);
    assert_eq!(ids(&storage.inbox.claim(noon(), LEASE, 1).await.unwrap()), ["evt_old"]);
}

async fn deliveries_set_aside_are_redriven_by_code_and_payer(place: Place) {
    let storage = place.open().await;
    for (id, customer, outcome, code) in [
        ("evt_1", Some("cus_1"), Outcome::Parked, "unknown_customer"),
        ("evt_2", Some("cus_2"), Outcome::Ignored, "unknown_customer"),
        ("evt_3", None, Outcome::Parked, "unknown_customer"),
        ("evt_4", Some("cus_1"), Outcome::Parked, "unknown_price"),
        ("evt_5", Some("cus_1"), Outcome::Failed, "unknown_customer"),
    ] {
        let arrived = NewDelivery { customer: customer.map(ToOwned::to_owned), ..delivery(id) };
        storage.inbox.store(arrived).await.unwrap();
        storage.inbox.settle(id, outcome, Some(why(code)), noon()).await.unwrap();
    }
    let parked = |customer: Option<&str>| Redrive::SetAside {
        code: "unknown_customer".to_owned(),
        of: customer.map(ToOwned::to_owned),
    };
    assert_eq!(storage.inbox.redrive(parked(Some("cus_1")), asked()).await.unwrap(), 1);
    let claimed = storage.inbox.claim(noon(), LEASE, 9).await.unwrap();
    assert_eq!(ids(&claimed), ["evt_1"]);
    assert_eq!(storage.inbox.redrive(parked(None), asked()).await.unwrap(), 2);
    let claimed = storage.inbox.claim(noon(), LEASE, 9).await.unwrap();
    assert_eq!(ids(&claimed), ["evt_2", "evt_3"]);

    let refund = NewDelivery { customer: None, concerns: Some("pi_1".to_owned()), ..delivery("evt_6") };
    storage.inbox.store(refund).await.unwrap();
    storage.inbox.settle("evt_6", Outcome::Parked, Some(why("unknown_payment")), noon()).await.unwrap();
    let waiting =
        |of: &str| Redrive::SetAside { code: "unknown_payment".to_owned(), of: Some(of.to_owned()) };
    assert_eq!(storage.inbox.redrive(waiting("pi_2"), asked()).await.unwrap(), 0);
    assert_eq!(storage.inbox.redrive(waiting("pi_1"), asked()).await.unwrap(), 1);
}

async fn deliveries_are_listed_latest_first_by_outcome_and_page(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]).await;
    for id in ["evt_2", "evt_3", "evt_5"] {
        storage.inbox.settle(id, Outcome::Applied, None, noon()).await.unwrap();
    }
    let list = async |outcome, before: Option<&str>, limit| {
        let of = Selection { outcome, ..Selection::default() };
        let filter = DeliveryFilter { of, before: before.map(ToOwned::to_owned), limit };
        let found = storage.inbox.list(filter).await.unwrap();
        found.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 9).await, ["evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]);
    assert_eq!(list(None, None, 2).await, ["evt_5", "evt_4"]);
    assert_eq!(list(None, Some("evt_4"), 2).await, ["evt_3", "evt_2"]);
    assert_eq!(list(Some(Outcome::Applied), None, 2).await, ["evt_5", "evt_3"]);
    assert_eq!(list(Some(Outcome::Applied), Some("evt_3"), 2).await, ["evt_2"]);
    assert_eq!(list(Some(Outcome::Failed), None, 9).await, [""; 0]);
    assert_eq!(list(None, Some("evt_none"), 9).await, [""; 0]);
}

/// Deliveries that differ in one thing each, and what to find each by.
async fn different(storage: &Storage) -> Vec<(&'static str, Selection)> {
    let usual = delivery("evt_usual");
    let arrivals = [
        usual.clone(),
        NewDelivery { id: "evt_type".to_owned(), event_type: "invoice.paid".to_owned(), ..usual.clone() },
        NewDelivery { id: "evt_payer".to_owned(), customer: Some("cus_2".to_owned()), ..usual.clone() },
        NewDelivery { id: "evt_nobody".to_owned(), customer: None, ..usual.clone() },
        NewDelivery { id: "evt_early".to_owned(), received_at: noon() - seconds(9), ..usual.clone() },
        NewDelivery { id: "evt_late".to_owned(), received_at: noon() + seconds(9), ..usual.clone() },
        NewDelivery { id: "evt_code".to_owned(), ..usual.clone() },
        NewDelivery { id: "evt_failed".to_owned(), ..usual.clone() },
    ];
    for arrived in arrivals {
        let id = arrived.id.clone();
        storage.inbox.store(arrived).await.unwrap();
        let outcome = if id == "evt_failed" { Outcome::Failed } else { Outcome::Parked };
        let code = if id == "evt_code" { "other" } else { "code" };
        storage.inbox.settle(&id, outcome, Some(why(code)), noon()).await.unwrap();
    }
    store(storage, &["evt_new"]).await;
    let all = Selection::default;
    vec![
        ("evt_type", Selection { event_types: vec!["invoice.paid".to_owned(), "x".to_owned()], ..all() }),
        ("evt_payer", Selection { customer: Some("cus_2".to_owned()), ..all() }),
        ("evt_early", Selection { received_until: Some(noon()), ..all() }),
        ("evt_late", Selection { received_from: Some(noon() + seconds(9)), ..all() }),
        ("evt_code", Selection { reason: Some("other".to_owned()), ..all() }),
        ("evt_failed", Selection { outcome: Some(Outcome::Failed), ..all() }),
    ]
}

async fn deliveries_are_listed_by_what_is_known_of_them(place: Place) {
    let storage = place.open().await;
    for (only, of) in different(&storage).await {
        let filter = DeliveryFilter { of, before: None, limit: 9 };
        assert_eq!(ids(&storage.inbox.list(filter).await.unwrap()), [only]);
    }
    let of = Selection {
        outcome: Some(Outcome::Parked),
        customer: Some("cus_1".to_owned()),
        received_from: Some(noon()),
        ..Selection::default()
    };
    let page = |before: Option<&str>| {
        let filter = DeliveryFilter { of: of.clone(), before: before.map(str::to_owned), limit: 2 };
        storage.inbox.list(filter)
    };
    let listed = page(None).await.unwrap();
    assert!(listed.iter().all(|delivery| delivery.body.is_empty()), "a list has no bodies");
    assert_eq!(ids(&page(None).await.unwrap()), ["evt_code", "evt_late"]);
    assert_eq!(ids(&page(Some("evt_late")).await.unwrap()), ["evt_type", "evt_usual"]);
}

async fn deliveries_are_redriven_some_at_a_time_until_all_were(place: Place) {
    let storage = place.open().await;
    for (only, of) in different(&storage).await {
        let redriven = storage.inbox.redrive_some(of, None, 9, asked()).await.unwrap();
        assert_eq!(redriven, Redriven { count: 1, left: 0, last: Some(only.to_owned()) });
        storage.inbox.settle(only, Outcome::Applied, None, noon()).await.unwrap();
    }
    let parked = Selection { outcome: Some(Outcome::Parked), ..Selection::default() };
    let some = async |after: Option<&str>, at_most| {
        let after = after.map(str::to_owned);
        storage.inbox.redrive_some(parked.clone(), after, at_most, asked()).await.unwrap()
    };
    let nobody = Redriven { count: 1, left: 0, last: Some("evt_nobody".to_owned()) };
    assert_eq!(some(None, 1).await, Redriven { count: 1, left: 1, last: Some("evt_usual".to_owned()) });
    // What is parked once more is not looked at once more by who goes on.
    storage.inbox.settle("evt_usual", Outcome::Parked, Some(why("code")), noon()).await.unwrap();
    assert_eq!(some(Some("evt_usual"), 1).await, nobody);
    assert_eq!(some(Some("evt_nobody"), 1).await, Redriven::default());
    assert_eq!(some(Some("evt_none"), 1).await, Redriven::default());
    assert_eq!(some(None, 9).await, Redriven { count: 1, left: 0, last: Some("evt_usual".to_owned()) });
    let everything = storage.inbox.redrive_some(Selection::default(), None, 9, asked()).await.unwrap();
    assert_eq!(everything.count, 6, "what is pending is left out");
}

async fn every_step_of_a_delivery_is_kept_with_who_asked_for_it_and_why(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2"]).await;
    assert_eq!(storage.inbox.steps("evt_1").await.unwrap(), []);
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    storage.inbox.postpone("evt_1", why("error"), noon() + seconds(5), noon()).await.unwrap();
    storage.inbox.settle("evt_1", Outcome::Parked, Some(why("code")), noon() + seconds(6)).await.unwrap();
    storage.inbox.postpone("evt_1", why("late"), noon(), noon()).await.unwrap();
    storage.inbox.redrive(Redrive::Id("evt_1".to_owned()), asked_by_staff("it fits now")).await.unwrap();
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon() + seconds(7)).await.unwrap();
    let of = Selection { outcome: Some(Outcome::Applied), ..Selection::default() };
    storage.inbox.redrive_some(of, None, 1, asked_by_staff("once more")).await.unwrap();

    let step = |at, kind, why: Option<Why>| {
        let (code, detail) = why.map(|why| (why.code, why.detail)).unzip();
        Step { at, kind, actor: None, code, detail }
    };
    let redriven = |why: &str| Step {
        actor: Some("staff:mem_sue".to_owned()),
        detail: Some(why.to_owned()),
        ..step(noon(), StepKind::Redriven, None)
    };
    let expected = [
        step(noon(), StepKind::Postponed, Some(why("error"))),
        step(noon() + seconds(6), StepKind::Settled(Outcome::Parked), Some(why("code"))),
        redriven("it fits now"),
        step(noon() + seconds(7), StepKind::Settled(Outcome::Applied), None),
        redriven("once more"),
    ];
    assert_eq!(storage.inbox.steps("evt_1").await.unwrap(), expected);
    assert_eq!(storage.inbox.steps("evt_2").await.unwrap(), []);
    assert_eq!(storage.inbox.steps("evt_none").await.unwrap(), []);
}

async fn no_step_is_taken_that_cannot_be_kept(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    storage.inbox.settle("evt_2", Outcome::Parked, Some(why("code")), noon()).await.unwrap();
    place.execute("ALTER TABLE delivery_steps RENAME TO hidden").await.unwrap();
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon()).await.unwrap_err();
    storage.inbox.postpone("evt_1", why("error"), noon(), noon()).await.unwrap_err();
    storage.inbox.redrive(Redrive::Id("evt_2".to_owned()), asked()).await.unwrap_err();
    let parked = Selection { outcome: Some(Outcome::Parked), ..Selection::default() };
    storage.inbox.redrive_some(parked, None, 9, asked()).await.unwrap_err();
    place.execute("ALTER TABLE hidden RENAME TO delivery_steps").await.unwrap();
    let (first, second) = (get(&storage, "evt_1").await, get(&storage, "evt_2").await);
    assert_eq!((first.outcome, first.why), (Outcome::Pending, None));
    assert_eq!((second.outcome, second.why), (Outcome::Parked, Some(why("code"))));
    storage.inbox.settle("evt_1", Outcome::Applied, None, noon()).await.unwrap();
    assert_eq!(storage.inbox.steps("evt_1").await.unwrap().len(), 1);
}

async fn a_delivery_that_is_looked_at_for_ever_keeps_its_latest_steps_and_what_people_asked_for(
    place: Place,
) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2"]).await;
    storage.inbox.settle("evt_2", Outcome::Parked, Some(why("code")), noon()).await.unwrap();
    let again = |asked| storage.inbox.redrive(Redrive::Id("evt_1".to_owned()), asked);
    again(asked_by_staff("please")).await.unwrap();
    for round in 0..100 {
        for _ in 0..3 {
            storage.inbox.postpone("evt_1", why("error"), noon(), noon()).await.unwrap();
        }
        storage.inbox.settle("evt_1", Outcome::Parked, Some(why("code")), noon()).await.unwrap();
        again(Asked { why: format!("round {round}"), ..asked() }).await.unwrap();
    }
    let steps = storage.inbox.steps("evt_1").await.unwrap();
    assert_eq!(steps.len(), KEPT_STEPS as usize + 1);
    assert_eq!(steps[0].detail.as_deref(), Some("please"));
    assert_eq!(steps.last().unwrap().detail.as_deref(), Some("round 99"));
    assert_eq!(storage.inbox.steps("evt_2").await.unwrap().len(), 1, "each has its own");
}

async fn pending_deliveries_are_counted(place: Place) {
    let storage = place.open().await;
    assert_eq!(storage.inbox.pending().await.unwrap(), 0);
    store(&storage, &["evt_1", "evt_2", "evt_3"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    storage.inbox.settle("evt_2", Outcome::Ignored, None, noon()).await.unwrap();
    assert_eq!(storage.inbox.pending().await.unwrap(), 2, "a claimed one is pending still");
}

/// The only process that writes to the file is the one that starts: whoever had a lease is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_a_dead_process_are_released_when_sqlite_is_opened() {
    let place = Place::sqlite();
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    storage.inbox.claim(noon(), LEASE, 1).await.unwrap();
    drop(storage);
    let again = storage::open(&place.url(), Access::Write, clock()).await.unwrap();
    assert_eq!(again.inbox.claim(noon(), LEASE, 1).await.unwrap().len(), 1);
}

async fn deliveries_are_found_by_how_their_ids_and_what_they_concern_begin(place: Place) {
    let inbox = place.open().await.inbox;
    for (id, concerns) in
        [("evt_1B", Some("in_1")), ("evt_1a", Some("in_1")), ("evt_2", Some("in_2")), ("evt_3", None)]
    {
        let concerns = concerns.map(str::to_owned);
        inbox.store(NewDelivery { concerns, ..delivery(id) }).await.unwrap();
    }
    let find = async |key, prefix: &str, limit| {
        let found = inbox.find(key, prefix, limit).await.unwrap();
        assert!(found.iter().all(|(_, held)| held.body.is_empty()), "nobody looks at bodies here");
        found.into_iter().map(|(key, held)| format!("{key} {}", held.id)).collect::<Vec<_>>()
    };
    assert_eq!(find(DeliveryKey::Id, "evt_1", 9).await, ["evt_1B evt_1B", "evt_1a evt_1a"]);
    assert_eq!(find(DeliveryKey::Id, "evt_", 2).await, ["evt_1B evt_1B", "evt_1a evt_1a"]);
    assert_eq!(find(DeliveryKey::Id, "evt_%", 9).await, [""; 0]);
    assert_eq!(
        find(DeliveryKey::Concerns, "in_", 9).await,
        ["in_1 evt_1a", "in_2 evt_2"],
        "the latest of each"
    );
    assert_eq!(find(DeliveryKey::Concerns, "in_", 1).await, ["in_1 evt_1a"]);
}

async fn who_reads_a_body_is_among_its_steps_once_an_hour(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1", "evt_2"]).await;
    let [sue, tom] = ["mem_sue", "mem_tom"].map(|member| Actor::staff(&member.into()));
    for (who, after) in [(&sue, 0), (&sue, 3_599), (&tom, 60), (&sue, 3_600), (&sue, 3_700)] {
        storage.inbox.note_read("evt_1", who, noon() + seconds(after)).await.unwrap();
    }
    let steps = storage.inbox.steps("evt_1").await.unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| (step.kind, step.actor.as_deref().unwrap(), step.at)).collect();
    let read = |who, after| (StepKind::Read, who, noon() + seconds(after));
    assert_eq!(told, [read("staff:mem_sue", 0), read("staff:mem_tom", 60), read("staff:mem_sue", 3_600)]);
    assert_eq!(storage.inbox.steps("evt_2").await.unwrap(), []);
    storage.inbox.note_read("evt_none", &sue, noon()).await.unwrap();
}

async fn no_read_pushes_out_what_people_asked_for(place: Place) {
    let storage = place.open().await;
    store(&storage, &["evt_1"]).await;
    let redrive = async |why: &str| {
        storage.inbox.redrive(Redrive::Id("evt_1".to_owned()), asked_by_staff(why)).await.unwrap();
    };
    redrive("the first").await;
    let sue = Actor::staff(&"mem_sue".into());
    for hour in 0..i64::from(KEPT_STEPS) + 5 {
        storage.inbox.note_read("evt_1", &sue, noon() + seconds(hour * 3_600)).await.unwrap();
    }
    redrive("the second").await;
    let steps = storage.inbox.steps("evt_1").await.unwrap();
    let asked: Vec<_> = steps.iter().filter_map(|step| step.detail.as_deref()).collect();
    assert_eq!(asked, ["the first", "the second"]);
    assert_eq!(steps.iter().filter(|step| step.kind == StepKind::Read).count(), KEPT_STEPS as usize);
}
