//! Forgetting a member: nothing of hers is left beside the log, and what is delivered about her later is not kept.

use domain::ids::RemarkId;
use domain::metadata::Actor;
use domain::ports::{Erased, Erasure, PersonRecord, PersonStored};
use storage::Storage;
use webhook_ingest::inbox::{Asked, Delivery, NewDelivery, Origin, Outcome, Redrive, Selection, Stored, Why};

use super::remarks::remark;
use super::{Place, noon, on_both, seconds};

on_both! {
    what_is_kept_of_a_member_is_deleted_and_of_others_stays,
    bodies_of_deliveries_about_her_are_emptied_and_their_rows_stay,
    a_delivery_that_comes_later_is_emptied_when_it_is_settled,
    what_was_emptied_is_never_looked_at_again,
    of_somebody_who_was_erased_no_word_is_kept_again,
}

const CANARY: &[u8] = b"{\"card_holder\":\"Ada Canary\"}";

fn erasure() -> Erasure {
    Erasure {
        member: "mem_ada".into(),
        ids: vec!["cus_ada".to_owned(), "in_ada".to_owned()],
        deliveries: vec!["evt_named".to_owned()],
        at: noon(),
    }
}

async fn store(storage: &Storage, id: &str, customer: Option<&str>, concerns: Option<&str>) -> Stored {
    let delivery = NewDelivery {
        id: id.to_owned(),
        event_type: "invoice.paid".to_owned(),
        created: None,
        customer: customer.map(str::to_owned),
        concerns: concerns.map(str::to_owned),
        body: CANARY.to_vec(),
        received_at: noon(),
        origin: Origin::Webhook,
    };
    storage.inbox.store(delivery).await.unwrap()
}

async fn settle(storage: &Storage, id: &str) {
    let why = Why { code: "applied".to_owned(), detail: "Ada Canary".to_owned() };
    storage.inbox.settle(id, Outcome::Applied, Some(why), noon() + seconds(1)).await.unwrap();
}

async fn get(storage: &Storage, id: &str) -> Delivery {
    storage.inbox.get(id).await.unwrap().unwrap()
}

/// Whether nothing of a delivery but its row is left.
async fn is_empty(storage: &Storage, id: &str) -> bool {
    let held = get(storage, id).await;
    let steps = storage.inbox.steps(id).await.unwrap();
    let silent = held.why.is_none_or(|why| why.detail.is_empty() && why.code == "applied");
    held.body.is_empty()
        && held.erased_at.is_some()
        && silent
        && steps.iter().all(|step| step.detail.is_none())
}

fn person(member: &str, email: &str) -> PersonRecord {
    let (email, external_id) = (Some(email.to_owned()), Some(member.to_owned()));
    PersonRecord { member: member.into(), email, external_id, created_at: noon() }
}

async fn what_is_kept_of_a_member_is_deleted_and_of_others_stays(place: Place) {
    let storage = place.open().await;
    for (member, email) in [("mem_ada", "ada@example.com"), ("mem_bob", "bob@example.com")] {
        storage.people.create(person(member, email)).await.unwrap();
        storage.remarks.put(remark(&format!("rmk_{member}"), member, "Words.")).await.unwrap();
    }
    let erased = storage.erasures.erase(erasure()).await.unwrap();
    assert_eq!(erased, Erased { deliveries: 0, remarks: 1 });
    assert_eq!(storage.people.get(&"mem_ada".into()).await.unwrap(), None);
    assert_eq!(
        storage.people.get(&"mem_bob".into()).await.unwrap(),
        Some(person("mem_bob", "bob@example.com"))
    );
    let ids: [RemarkId; 2] = ["rmk_mem_ada".into(), "rmk_mem_bob".into()];
    assert_eq!(storage.remarks.get(&ids).await.unwrap().len(), 1);
    assert_eq!(storage.erasures.erase(erasure()).await.unwrap(), Erased::default(), "asked again");
    let again = storage.people.create(person("mem_new", "ada@example.com")).await.unwrap();
    assert_eq!(again, PersonStored::Created, "her address is free");
}

async fn bodies_of_deliveries_about_her_are_emptied_and_their_rows_stay(place: Place) {
    let storage = place.open().await;
    store(&storage, "evt_hers", Some("cus_ada"), Some("pi_ada")).await;
    store(&storage, "evt_dispute", None, Some("pi_ada")).await;
    store(&storage, "evt_invoice", None, Some("in_ada")).await;
    store(&storage, "evt_named", None, None).await;
    store(&storage, "evt_bobs", Some("cus_bob"), Some("pi_bob")).await;
    for id in ["evt_hers", "evt_dispute", "evt_invoice", "evt_named", "evt_bobs"] {
        settle(&storage, id).await;
    }
    assert_eq!(storage.erasures.erase(erasure()).await.unwrap().deliveries, 4);
    for id in ["evt_hers", "evt_dispute", "evt_invoice", "evt_named"] {
        assert!(is_empty(&storage, id).await, "{id}: {:?}", get(&storage, id).await);
        assert_eq!(get(&storage, id).await.outcome, Outcome::Applied);
    }
    assert_eq!(get(&storage, "evt_bobs").await.body, CANARY);
    let again = store(&storage, "evt_hers", Some("cus_ada"), None).await;
    assert_eq!(again, Stored::Duplicate { same_body: true }, "nobody can tell any more");
    assert!(is_empty(&storage, "evt_hers").await, "what comes again does not come back");
}

async fn a_delivery_that_comes_later_is_emptied_when_it_is_settled(place: Place) {
    let storage = place.open().await;
    store(&storage, "evt_seen", Some("cus_ada"), Some("pi_ada")).await;
    store(&storage, "evt_waits", Some("cus_ada"), None).await;
    settle(&storage, "evt_seen").await;
    storage.erasures.erase(erasure()).await.unwrap();
    assert_eq!(get(&storage, "evt_waits").await.body, CANARY, "it still has to be carried out");
    store(&storage, "evt_later", Some("cus_ada"), None).await;
    store(&storage, "evt_later_dispute", None, Some("pi_ada")).await;
    for id in ["evt_waits", "evt_later", "evt_later_dispute"] {
        settle(&storage, id).await;
        assert!(is_empty(&storage, id).await, "{id}: {:?}", get(&storage, id).await);
    }
    store(&storage, "evt_bobs", Some("cus_bob"), None).await;
    settle(&storage, "evt_bobs").await;
    assert_eq!(get(&storage, "evt_bobs").await.body, CANARY, "only hers");
}

async fn what_was_emptied_is_never_looked_at_again(place: Place) {
    let storage = place.open().await;
    store(&storage, "evt_hers", Some("cus_ada"), None).await;
    let why = Why { code: "unknown_customer".to_owned(), detail: "cus_ada".to_owned() };
    storage.inbox.settle("evt_hers", Outcome::Parked, Some(why), noon()).await.unwrap();
    let asked = || Asked { at: noon(), actor: Actor::operator(), why: "Ada Canary asked".to_owned() };
    let which = || Redrive::Id("evt_hers".to_owned());
    assert_eq!(storage.inbox.redrive(which(), asked()).await.unwrap(), 1, "as long as it is whole");
    settle(&storage, "evt_hers").await;
    storage.erasures.erase(erasure()).await.unwrap();
    assert_eq!(storage.inbox.redrive(which(), asked()).await.unwrap(), 0);
    let all = storage.inbox.redrive_some(Selection::default(), None, 100, asked()).await.unwrap();
    assert_eq!((all.count, all.left), (0, 0));
    assert!(is_empty(&storage, "evt_hers").await);
}

async fn of_somebody_who_was_erased_no_word_is_kept_again(place: Place) {
    let storage = place.open().await;
    storage.erasures.erase(erasure()).await.unwrap();
    storage.remarks.put(remark("rmk_1", "mem_ada", "Words.")).await.unwrap();
    assert_eq!(storage.remarks.get(&["rmk_1".into()]).await.unwrap(), []);
}
