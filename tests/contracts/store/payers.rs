//! Who payers are, beside the log.

use domain::ports::{Erasure, PayerKey, PayerRecord, PayerTold, Payers};
use storage::Storage;
use webhook_ingest::inbox::{NewDelivery, Origin, Outcome, Why};

use super::{Place, context, noon, on_both, seconds};

on_both! {
    what_is_told_of_a_payer_is_kept_as_it_was_told,
    what_is_older_never_takes_the_place_of_what_is_newer,
    every_order_in_which_a_payer_is_told_of_ends_alike,
    payers_are_found_by_any_words_of_their_names_however_they_are_written,
    payers_are_found_by_how_an_id_or_address_begins,
    a_name_that_is_no_longer_so_finds_nobody,
    nothing_that_is_typed_is_a_wildcard_or_breaks_the_question,
    of_the_payers_of_an_erased_member_nothing_is_kept_or_kept_again,
    a_payer_that_is_told_with_the_name_of_an_erased_member_is_forgotten,
    what_was_carried_out_for_a_payer_before_an_erased_member_is_named_is_gone_and_what_waits_is_not,
    a_payer_is_kept_again_for_a_member_and_never_for_one_who_was_erased,
    payments_are_found_by_how_their_ids_begin,
}

fn told(customer: &str, name: &str, email: &str, at: i64) -> PayerTold {
    PayerTold {
        customer: customer.into(),
        name: Some(name.to_owned()),
        email: Some(email.to_owned()),
        is_whole: true,
        at: noon() + seconds(at),
        names: Vec::new(),
    }
}

fn record(customer: &str, name: Option<&str>, email: Option<&str>) -> PayerRecord {
    let (name, email) = (name.map(str::to_owned), email.map(str::to_owned));
    PayerRecord { customer: customer.into(), name, email }
}

async fn get(payers: &dyn Payers, customer: &str) -> Option<PayerRecord> {
    payers.get(&[customer.into()]).await.unwrap().pop()
}

async fn find(payers: &dyn Payers, key: PayerKey, text: &str) -> Vec<String> {
    let found = payers.find(key, text, 9).await.unwrap();
    found.into_iter().map(|found| found.customer.to_string()).collect()
}

async fn what_is_told_of_a_payer_is_kept_as_it_was_told(place: Place) {
    let payers = place.open().await.payers;
    payers.tell(told("cus_ada", "Ada Lovelace", "Ada@Example.com", 0)).await.unwrap();
    let ada = record("cus_ada", Some("Ada Lovelace"), Some("Ada@Example.com"));
    assert_eq!(get(payers.as_ref(), "cus_ada").await, Some(ada.clone()));
    assert_eq!(get(payers.as_ref(), "cus_bob").await, None);
    // What says nothing of a name leaves it; what is whole says that there is none.
    let only_email = PayerTold { name: None, is_whole: false, ..told("cus_ada", "", "new@example.com", 1) };
    payers.tell(only_email).await.unwrap();
    let changed = PayerRecord { email: Some("new@example.com".to_owned()), ..ada };
    assert_eq!(get(payers.as_ref(), "cus_ada").await, Some(changed));
    payers.tell(PayerTold { name: None, email: None, ..told("cus_ada", "", "", 2) }).await.unwrap();
    assert_eq!(get(payers.as_ref(), "cus_ada").await, None);
    assert_eq!(find(payers.as_ref(), PayerKey::Id, "cus_").await, [""; 0]);
}

async fn what_is_older_never_takes_the_place_of_what_is_newer(place: Place) {
    let payers = place.open().await.payers;
    payers.tell(told("cus_ada", "Ada Lovelace", "ada@example.com", 10)).await.unwrap();
    let lovelace = get(payers.as_ref(), "cus_ada").await;
    payers.tell(told("cus_ada", "Ada Byron", "byron@example.com", 9)).await.unwrap();
    let none = PayerTold { name: None, email: None, ..told("cus_ada", "", "", 9) };
    payers.tell(none).await.unwrap();
    assert_eq!(get(payers.as_ref(), "cus_ada").await, lovelace, "an older event changes nothing");
    assert_eq!(find(payers.as_ref(), PayerKey::Name, "byron").await, [""; 0]);
    // The control: the very same is taken in where it is newer.
    payers.tell(told("cus_ada", "Ada Byron", "byron@example.com", 11)).await.unwrap();
    assert_eq!(
        get(payers.as_ref(), "cus_ada").await,
        Some(record("cus_ada", Some("Ada Byron"), Some("byron@example.com")))
    );
}

async fn every_order_in_which_a_payer_is_told_of_ends_alike(place: Place) {
    let payers = place.open().await.payers;
    let tellings = |customer: &str| {
        [
            told(customer, "Ada", "ada@example.com", 0),
            PayerTold { name: None, is_whole: false, ..told(customer, "", "bills@example.com", 5) },
            told(customer, "Ada Byron", "byron@example.com", 3),
            // Of the same moment, another name.
            told(customer, "Ada King", "byron@example.com", 3),
        ]
    };
    let mut customers = Vec::new();
    for order in 0..24_usize {
        let customer = format!("cus_{order:02}");
        let mut left = Vec::from(tellings(&customer));
        let mut rest = order;
        while !left.is_empty() {
            let telling = left.remove(rest % left.len());
            rest /= left.len() + 1;
            // Each comes twice.
            payers.tell(telling.clone()).await.unwrap();
            payers.tell(telling).await.unwrap();
        }
        customers.push(customer);
    }
    for customer in customers {
        let ended = record(&customer, Some("Ada King"), Some("bills@example.com"));
        assert_eq!(get(payers.as_ref(), &customer).await, Some(ended));
    }
    assert_eq!(payers.find(PayerKey::Name, "king", 99).await.unwrap().len(), 24);
    assert_eq!(payers.find(PayerKey::Name, "byron", 99).await.unwrap().len(), 0);
}

async fn payers_are_found_by_any_words_of_their_names_however_they_are_written(place: Place) {
    let payers = place.open().await.payers;
    for (customer, name) in [
        ("cus_1", "\u{c9}milie du Ch\u{e2}telet"),
        ("cus_2", "Emil Noether"),
        ("cus_3", "S\u{f8}ren O\u{2019}Hara"),
        ("cus_4", "Anna Annas"),
        ("cus_5", "\u{5c71}\u{7530} \u{592a}\u{90ce}"),
    ] {
        payers.tell(told(customer, name, "x@example.com", 0)).await.unwrap();
    }
    for (typed, found) in [
        ("emil", vec!["cus_2", "cus_1"]),
        ("EMILIE", vec!["cus_1"]),
        ("e\u{301}mi CHAT", vec!["cus_1"]),
        ("chatelet emi", vec!["cus_1"]),
        ("emil noe du", vec![]),
        ("soren o'h", vec!["cus_3"]),
        ("ohara", vec!["cus_3"]),
        ("ann", vec!["cus_4"]),
        ("\u{592a}", vec!["cus_5"]),
        ("telet", vec![]),
    ] {
        assert_eq!(find(payers.as_ref(), PayerKey::Name, typed).await, found, "{typed}");
    }
    let first = payers.find(PayerKey::Name, "e", 1).await.unwrap();
    assert_eq!(first.len(), 1, "no more than asked for");
}

async fn payers_are_found_by_how_an_id_or_address_begins(place: Place) {
    let payers = place.open().await.payers;
    for (customer, email) in
        [("cus_a1", "Ada@Example.com"), ("cus_a2", "adam@example.com"), ("cus_b", "bob@x.y")]
    {
        payers.tell(told(customer, "Ada", email, 0)).await.unwrap();
    }
    assert_eq!(find(payers.as_ref(), PayerKey::Id, "cus_a").await, ["cus_a1", "cus_a2"]);
    assert_eq!(find(payers.as_ref(), PayerKey::Email, "ADA").await, ["cus_a1", "cus_a2"]);
    assert_eq!(find(payers.as_ref(), PayerKey::Email, "ada@").await, ["cus_a1"]);
}

async fn a_name_that_is_no_longer_so_finds_nobody(place: Place) {
    let payers = place.open().await.payers;
    payers.tell(told("cus_ada", "Ada Byron", "ada@example.com", 0)).await.unwrap();
    payers.tell(told("cus_ada", "Ada Lovelace", "ada@example.com", 1)).await.unwrap();
    assert_eq!(find(payers.as_ref(), PayerKey::Name, "byron").await, [""; 0]);
    assert_eq!(find(payers.as_ref(), PayerKey::Name, "ada love").await, ["cus_ada"]);
    assert_eq!(place.count("payer_words").await, 2);
}

async fn nothing_that_is_typed_is_a_wildcard_or_breaks_the_question(place: Place) {
    let payers = place.open().await.payers;
    payers.tell(told("cus_ada", "Ada Lovelace", "ada@example.com", 0)).await.unwrap();
    for typed in ["%", "_", "*", "'", "\"", "a%", "_da", ";--", ""] {
        assert_eq!(
            find(payers.as_ref(), PayerKey::Name, typed).await.len(),
            usize::from(typed == "a%"),
            "{typed}"
        );
    }
    for typed in ["%", "_", "'", "a%"] {
        assert_eq!(find(payers.as_ref(), PayerKey::Email, typed).await, [""; 0], "{typed}");
    }
    let endless = "ada ".repeat(99) + &"word ".repeat(99);
    assert_eq!(find(payers.as_ref(), PayerKey::Name, &endless).await, [""; 0]);
}

fn erasure(ids: &[&str]) -> Erasure {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Erasure { member: "mem_ada".into(), ids, deliveries: Vec::new(), at: noon() }
}

async fn of_the_payers_of_an_erased_member_nothing_is_kept_or_kept_again(place: Place) {
    let storage = place.open().await;
    let payers = storage.payers.as_ref();
    payers.tell(told("cus_ada", "Ada Lovelace", "ada@example.com", 0)).await.unwrap();
    payers.tell(told("cus_bob", "Bob Lovelace", "bob@example.com", 0)).await.unwrap();
    storage.erasures.erase(erasure(&["cus_ada"])).await.unwrap();
    assert_eq!(get(payers, "cus_ada").await, None);
    assert_eq!(find(payers, PayerKey::Name, "love").await, ["cus_bob"], "others stay");
    let later = || told("cus_ada", "Ada Lovelace", "ada@example.com", 99);
    payers.tell(later()).await.unwrap();
    assert_eq!(get(payers, "cus_ada").await, None, "a late event brings nothing back");
    assert_eq!(find(payers, PayerKey::Email, "ada@").await, [""; 0]);
    // The control: without the mark of her erasure it would.
    place.execute("DELETE FROM erased_ids").await.unwrap();
    payers.tell(later()).await.unwrap();
    assert!(get(payers, "cus_ada").await.is_some());
}

async fn a_payer_that_is_told_with_the_name_of_an_erased_member_is_forgotten(place: Place) {
    let storage = place.open().await;
    let payers = storage.payers.as_ref();
    payers.tell(told("cus_new", "Ada Lovelace", "ada@example.com", 0)).await.unwrap();
    storage.erasures.erase(erasure(&[])).await.unwrap();
    assert!(get(payers, "cus_new").await.is_some(), "nobody knows whose it is");
    let named =
        || PayerTold { names: vec!["mem_ada".to_owned()], ..told("cus_new", "Ada", "ada@example.com", 9) };
    payers.tell(named()).await.unwrap();
    assert_eq!(get(payers, "cus_new").await, None);
    assert_eq!(place.count("payers").await + place.count("payer_words").await, 0);
    place.execute("DELETE FROM erasures").await.unwrap();
    payers.tell(named()).await.unwrap();
    assert!(get(payers, "cus_new").await.is_some(), "the control: without the mark it is kept");
}

async fn settled(storage: &Storage, id: &str, outcome: Outcome, code: &str) {
    let delivery = NewDelivery {
        id: id.to_owned(),
        event_type: "customer.created".to_owned(),
        created: Some(noon()),
        customer: Some("cus_new".to_owned()),
        concerns: Some(format!("in_of_{id}")),
        body: b"{\"name\":\"Ada Lovelace\"}".to_vec(),
        received_at: noon(),
        origin: Origin::Webhook,
    };
    storage.inbox.store(delivery).await.unwrap();
    let why = Why { code: code.to_owned(), detail: "Ada Lovelace".to_owned() };
    storage.inbox.settle(id, outcome, Some(why), noon()).await.unwrap();
}

async fn body(storage: &Storage, id: &str) -> usize {
    storage.inbox.get(id).await.unwrap().unwrap().body.len()
}

async fn what_was_carried_out_for_a_payer_before_an_erased_member_is_named_is_gone_and_what_waits_is_not(
    place: Place,
) {
    let storage = place.open().await;
    let payers = storage.payers.as_ref();
    payers.tell(told("cus_new", "Ada Lovelace", "ada@example.com", 0)).await.unwrap();
    settled(&storage, "evt_ignored", Outcome::Ignored, "no_member_named").await;
    settled(&storage, "evt_unsold", Outcome::Ignored, "unmapped_product").await;
    settled(&storage, "evt_parked", Outcome::Parked, "unknown_customer").await;
    storage.erasures.erase(erasure(&[])).await.unwrap();
    assert!(body(&storage, "evt_ignored").await > 0, "nobody knew whose it is");
    storage.inbox.forget_payer(&"cus_new".into(), &"mem_ada".into(), noon()).await.unwrap();
    assert_eq!(get(payers, "cus_new").await, None);
    assert_eq!(body(&storage, "evt_ignored").await, 0);
    assert!(body(&storage, "evt_unsold").await > 0, "it counts once a catalogue sells it");
    assert!(body(&storage, "evt_parked").await > 0, "it is yet to be carried out");
    let told_of_it = "delivery_steps WHERE detail = 'Ada Lovelace' AND arrival = \
                      (SELECT arrival FROM inbox WHERE id = 'evt_ignored')";
    assert_eq!(place.count(told_of_it).await, 0);
}

async fn a_payer_is_kept_again_for_a_member_and_never_for_one_who_was_erased(place: Place) {
    let storage = place.open().await;
    let payers = storage.payers.as_ref();
    settled(&storage, "evt_1", Outcome::Applied, "applied").await;
    storage.erasures.erase(erasure(&["cus_new", "in_of_evt_1"])).await.unwrap();
    let again = || told("cus_new", "Bob Lovelace", "bob@example.com", 9);
    storage.inbox.keep_payer(&"cus_new".into(), &"mem_ada".into(), noon()).await.unwrap();
    payers.tell(again()).await.unwrap();
    assert_eq!(get(payers, "cus_new").await, None, "it is hers who was erased");
    assert_eq!(place.count("erased_ids").await, 2);
    // The control: of somebody who was not erased it is kept, and what she pays for is too.
    storage.inbox.keep_payer(&"cus_new".into(), &"mem_bob".into(), noon()).await.unwrap();
    payers.tell(again()).await.unwrap();
    assert!(get(payers, "cus_new").await.is_some());
    assert_eq!(place.count("erased_ids").await, 0);
}

async fn pay(storage: &Storage, id: &str) {
    let purpose = domain::payment::Purpose {
        invoice: "in_1".into(),
        subscription: "sub_1".into(),
        at: noon(),
        source: "evt_1".into(),
    };
    let command = domain::payment::PaymentCommand::Attribute(purpose);
    storage.payments.execute(id, command, context()).await.unwrap();
}

async fn payments_are_found_by_how_their_ids_begin(place: Place) {
    let storage = place.open().await;
    for id in ["in_1B", "in_1a", "in_1A", "in_2", "pi_1"] {
        pay(&storage, id).await;
    }
    let find = async |prefix: &str, limit| storage.payers.payments(prefix, limit).await.unwrap();
    assert_eq!(find("in_1", 9).await, ["in_1A", "in_1B", "in_1a"]);
    assert_eq!(find("in_", 2).await, ["in_1A", "in_1B"]);
    assert_eq!(find("pi_1", 9).await, ["pi_1"]);
    assert_eq!(find("in_%", 9).await, [""; 0]);
}
