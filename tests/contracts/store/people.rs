//! Personal data beside the log.

use std::sync::Arc;

use domain::ids::MemberId;
use domain::ports::{PersonKey, PersonRecord, PersonStored};

use super::{Place, noon, on_both, seconds};

on_both! {
    a_record_is_kept_as_it_was_given,
    a_record_with_a_known_external_id_is_not_made_again,
    a_record_of_a_known_member_is_not_made_again,
    an_email_address_belongs_to_one_member_however_it_is_written,
    members_without_an_address_or_external_id_do_not_collide,
    of_those_who_ask_at_once_one_creates_the_record,
    records_are_listed_by_member_and_page,
    records_are_found_by_how_an_address_or_external_id_begins,
}

fn person(member: &str, email: Option<&str>, external_id: Option<&str>) -> PersonRecord {
    PersonRecord {
        member: member.into(),
        email: email.map(ToOwned::to_owned),
        external_id: external_id.map(ToOwned::to_owned),
        created_at: noon(),
    }
}

async fn a_record_is_kept_as_it_was_given(place: Place) {
    let people = place.open().await.people;
    let ada = person("mem_ada", Some("Ada@Example.com"), Some("42"));
    assert_eq!(people.create(ada.clone()).await.unwrap(), PersonStored::Created);
    assert_eq!(people.get(&"mem_ada".into()).await.unwrap(), Some(ada));
    assert_eq!(people.get(&"mem_bob".into()).await.unwrap(), None);
}

async fn a_record_with_a_known_external_id_is_not_made_again(place: Place) {
    let people = place.open().await.people;
    let ada = person("mem_ada", Some("ada@example.com"), Some("42"));
    people.create(ada.clone()).await.unwrap();
    let again = PersonRecord {
        created_at: noon() + seconds(9),
        ..person("mem_other", Some("new@example.com"), Some("42"))
    };
    assert_eq!(people.create(again).await.unwrap(), PersonStored::Existing(ada.clone()));
    let same_in_all = person("mem_other", Some("ada@example.com"), Some("42"));
    assert_eq!(people.create(same_in_all).await.unwrap(), PersonStored::Existing(ada));
    assert_eq!(people.get(&"mem_other".into()).await.unwrap(), None);
}

async fn a_record_of_a_known_member_is_not_made_again(place: Place) {
    let people = place.open().await.people;
    let ada = person("mem_ada", None, Some("42"));
    let bob = person("mem_bob", None, Some("43"));
    people.create(ada.clone()).await.unwrap();
    people.create(bob.clone()).await.unwrap();
    let again = person("mem_ada", Some("ada@example.com"), None);
    assert_eq!(people.create(again).await.unwrap(), PersonStored::Existing(ada));
    let both = person("mem_ada", None, Some("43"));
    assert_eq!(
        people.create(both).await.unwrap(),
        PersonStored::Existing(bob),
        "the external id is what was asked by"
    );
}

async fn an_email_address_belongs_to_one_member_however_it_is_written(place: Place) {
    let people = place.open().await.people;
    people.create(person("mem_ada", Some("Ada@Example.com"), None)).await.unwrap();
    people.create(person("mem_ole", Some("ØLE@example.com"), None)).await.unwrap();
    for (email, owner) in [("aDA@example.COM", "mem_ada"), ("øle@example.com", "mem_ole")] {
        let stored = people.create(person("mem_bob", Some(email), Some("43"))).await.unwrap();
        assert_eq!(stored, PersonStored::EmailTaken(owner.into()), "{email}");
    }
    assert_eq!(people.get(&"mem_bob".into()).await.unwrap(), None);
}

async fn members_without_an_address_or_external_id_do_not_collide(place: Place) {
    let people = place.open().await.people;
    for member in ["mem_ada", "mem_bob", "mem_eve"] {
        assert_eq!(people.create(person(member, None, None)).await.unwrap(), PersonStored::Created);
    }
}

async fn of_those_who_ask_at_once_one_creates_the_record(place: Place) {
    let storage = Arc::new(place.open().await);
    let asking: Vec<_> = (0..16)
        .map(|number| {
            let storage = Arc::clone(&storage);
            let record = person(&format!("mem_{number}"), Some("ada@example.com"), Some("42"));
            tokio::spawn(async move { storage.people.create(record).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for one in asking {
        match one.await.unwrap() {
            PersonStored::Created => created += 1,
            PersonStored::Existing(record) => assert_eq!(record.external_id.as_deref(), Some("42")),
            refused => panic!("{refused:?}"),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(storage.people.list(None, 99).await.unwrap().len(), 1);
}

async fn records_are_listed_by_member_and_page(place: Place) {
    let people = place.open().await.people;
    for member in ["mem_b", "mem_A", "mem_a", "mem_-", "mem_1"] {
        people.create(person(member, None, None)).await.unwrap();
    }
    let list = async |after: Option<&str>, limit| {
        let after = after.map(MemberId::from);
        let found = people.list(after.as_ref(), limit).await.unwrap();
        found.into_iter().map(|person| person.member.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        list(None, 9).await,
        ["mem_-", "mem_1", "mem_A", "mem_a", "mem_b"],
        "by bytes, as ids compare"
    );
    assert_eq!(list(None, 2).await, ["mem_-", "mem_1"]);
    assert_eq!(list(Some("mem_1"), 2).await, ["mem_A", "mem_a"]);
    assert_eq!(list(Some("mem_b"), 2).await, [""; 0]);
}

async fn records_are_found_by_how_an_address_or_external_id_begins(place: Place) {
    let people = place.open().await.people;
    for (member, email, external_id) in [
        ("mem_1", Some("Ada@Example.com"), Some("User_1")),
        ("mem_2", Some("adam@example.com"), Some("user_2")),
        ("mem_3", Some("a%da@example.com"), Some("user%3")),
        ("mem_4", Some("\u{d8}le@example.com"), None),
        ("mem_5", None, None),
    ] {
        people.create(person(member, email, external_id)).await.unwrap();
    }
    let find = async |key, prefix: &str, limit| {
        let found = people.find(key, prefix, limit).await.unwrap();
        found.into_iter().map(|person| person.member.to_string()).collect::<Vec<_>>()
    };
    let (email, external_id) = (PersonKey::Email, PersonKey::ExternalId);
    assert_eq!(find(email, "ADA", 9).await, ["mem_1", "mem_2"], "letters count alike in both sizes");
    assert_eq!(find(email, "ada", 1).await, ["mem_1"], "no more than asked for, in order");
    assert_eq!(find(email, "\u{f8}L", 9).await, ["mem_4"]);
    assert_eq!(find(external_id, "user", 9).await, ["mem_3", "mem_2"], "ids are compared letter by letter");
    assert_eq!(find(external_id, "User_", 9).await, ["mem_1"]);
    for (typed, found) in
        [("a%", vec!["mem_3"]), ("%", vec![]), ("_da", vec![]), ("a*", vec![]), ("'", vec![])]
    {
        assert_eq!(find(email, typed, 9).await, found, "{typed} has no wildcards");
    }
    assert_eq!(find(external_id, "user%", 9).await, ["mem_3"]);
}
