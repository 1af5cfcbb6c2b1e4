//! Who signs in with which provider: whatever two ask for at once, one gets, and nobody is locked out.

use std::sync::Arc;

use accounts::identities::{FirstSignIn, Flow, IdentityRecord, Linked, OpenedWith, Unlinked};
use accounts::store::{
    Change, Device, Hash, News, Opened, Opening, SessionRecord, TokenKind, TokenRecord, Whose,
};
use domain::account::Lock;
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::ports::PersonRecord;
use storage::Storage;

use super::{Place, noon, on_both, seconds};

on_both! {
    a_flow_is_used_once_in_its_browser_and_until_it_ends,
    of_first_sign_ins_with_one_identity_at_once_one_opens_an_account,
    of_first_sign_ins_with_one_address_at_once_one_opens_an_account,
    an_address_that_somebody_has_opens_no_account,
    what_waits_for_the_address_by_letter_counts_no_more,
    an_identity_is_linked_to_one_member_however_many_ask,
    an_identity_is_linked_only_while_the_session_lives_that_asks,
    an_unlinked_identity_leaves_no_challenge_open,
    an_identity_is_listed_and_noted_when_it_is_used,
    the_last_way_in_stays_however_many_are_unlinked_at_once,
    a_password_is_a_way_in_and_a_provider_that_is_gone_is_none,
    a_deleted_account_leaves_no_identity_and_takes_none,
    flows_that_count_no_more_are_removed_and_no_others,
}

const ISSUER: &str = "https://id.example";
const ADA: &str = "ada@example.com";

fn hash(number: u8) -> Hash {
    [number; 32]
}

fn news(id: &str) -> News {
    News { id: id.to_owned(), text: format!("text of {id}"), at: noon() }
}

fn flow(number: u8) -> Flow {
    Flow {
        state: hash(number),
        browser: hash(100),
        provider: "id".to_owned(),
        return_to: "https://learn.example/x".to_owned(),
        link: number.is_multiple_of(2).then(|| ("mem_ada".into(), "ses_1".into())),
        expires_at: noon() + seconds(i64::from(number)),
    }
}

fn identity(member: &str, subject: &str) -> IdentityRecord {
    IdentityRecord {
        id: format!("idn_{subject}").into(),
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        member: member.into(),
        provider: "id".to_owned(),
        email: Some("ada@id.example".to_owned()),
        linked_at: noon(),
        used_at: None,
        asked_in: Some(session_of(member)),
    }
}

fn session_of(member: &str) -> SessionId {
    format!("ses_of_{member}").into()
}

/// Opens an account for somebody, who signs in.
async fn signed_in(storage: &Storage, member: &str, email: &str, password: Option<&str>) {
    let store = &storage.account_store;
    store.open_account(opening(member, email, password)).await.unwrap();
    let account = store.account(&Whose::Member(member.into())).await.unwrap().unwrap();
    let number = member.bytes().fold(0, u8::wrapping_add);
    let session = SessionRecord {
        id: session_of(member),
        member: member.into(),
        family: hash(number),
        current: hash(100),
        previous: None,
        salt: hash(0),
        generation: 1,
        seen: 0,
        created_at: noon(),
        rotated_at: noon(),
        expires_at: noon() + seconds(7_200),
        device: None,
        network: None,
    };
    assert!(store.begin_session(&account, session, Device::New(hash(number)), &[]).await.unwrap());
}

fn first(member: &str, subject: &str) -> FirstSignIn {
    FirstSignIn {
        identity: identity(member, subject),
        email: "Ada@Example.com".to_owned(),
        email_lower: ADA.to_owned(),
    }
}

fn opening(member: &str, email: &str, password: Option<&str>) -> Opening {
    let (token, password) = (None, password.map(str::to_owned));
    let (email, email_lower) = (email.to_owned(), email.to_owned());
    Opening { token, member: member.into(), email, email_lower, password, verified: true, now: noon() }
}

fn issuers() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

fn member(id: &str) -> MemberId {
    id.into()
}

/// What each of so many gets who ask at once.
async fn at_once<T, F>(storage: &Arc<Storage>, count: u8, ask: impl Fn(Arc<Storage>, u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let asking: Vec<_> = (0..count).map(|number| tokio::spawn(ask(storage.clone(), number))).collect();
    let mut answers = Vec::new();
    for one in asking {
        answers.push(one.await.unwrap());
    }
    answers
}

async fn a_flow_is_used_once_in_its_browser_and_until_it_ends(place: Place) {
    let storage = Arc::new(place.open().await);
    let store = &storage.identities;
    for number in [1, 2] {
        store.add_flow(flow(number)).await.unwrap();
    }
    assert_eq!(store.take_flow(&hash(1), &hash(101), noon()).await.unwrap(), None, "of another browser");
    assert_eq!(store.take_flow(&hash(1), &hash(100), noon() + seconds(1)).await.unwrap(), None, "too late");
    let took = at_once(&storage, 8, |storage, _| async move {
        storage.identities.take_flow(&hash(2), &hash(100), noon()).await.unwrap()
    });
    let took: Vec<Flow> = took.await.into_iter().flatten().collect();
    assert_eq!(took, [flow(2)]);
    assert_eq!(store.take_flow(&hash(1), &hash(100), noon()).await.unwrap(), Some(flow(1)));
}

async fn of_first_sign_ins_with_one_identity_at_once_one_opens_an_account(place: Place) {
    let storage = Arc::new(place.open().await);
    let opened = at_once(&storage, 8, |storage, number| async move {
        let first = first(&format!("mem_{number}"), "4711");
        (number, storage.identities.open_with(first, news(&format!("n{number}"))).await.unwrap())
    });
    let opened = opened.await;
    let new: Vec<u8> =
        opened.iter().filter(|(_, opened)| *opened == OpenedWith::New).map(|(n, _)| *n).collect();
    assert_eq!(new.len(), 1, "{opened:?}");
    let hers = member(&format!("mem_{}", new[0]));
    let held = OpenedWith::Held(hers.clone());
    assert_eq!(opened.iter().filter(|(_, opened)| *opened == held).count(), 7, "{opened:?}");
    assert_eq!((place.count("accounts").await, place.count("people").await), (1, 1));
    let account = storage.account_store.account(&Whose::Email(ADA.to_owned())).await.unwrap().unwrap();
    assert_eq!((account.member, account.opened_at, account.password), (hers, Some(noon()), None));
    assert_eq!(account.email.as_deref(), Some("Ada@Example.com"));
    assert_eq!(storage.account_store.news(noon() + seconds(1), 9).await.unwrap().len(), 1);
}

async fn of_first_sign_ins_with_one_address_at_once_one_opens_an_account(place: Place) {
    let storage = Arc::new(place.open().await);
    let opened = at_once(&storage, 8, |storage, number| async move {
        let first = first(&format!("mem_{number}"), &format!("subject {number}"));
        storage.identities.open_with(first, news(&format!("n{number}"))).await.unwrap()
    });
    let opened = opened.await;
    assert_eq!(opened.iter().filter(|opened| **opened == OpenedWith::New).count(), 1, "{opened:?}");
    assert_eq!(opened.iter().filter(|opened| **opened == OpenedWith::Taken).count(), 7, "{opened:?}");
    assert_eq!((place.count("accounts").await, place.count("account_identities").await), (1, 1));
}

async fn an_address_that_somebody_has_opens_no_account(place: Place) {
    let storage = place.open().await;
    let record = PersonRecord {
        member: member("mem_known"),
        email: Some(ADA.to_owned()),
        external_id: None,
        created_at: noon(),
    };
    storage.people.create(record).await.unwrap();
    let opened = storage.identities.open_with(first("mem_new", "4711"), news("n")).await.unwrap();
    assert_eq!(opened, OpenedWith::Taken);
    assert_eq!((place.count("accounts").await, place.count("account_identities").await), (0, 0));
    assert!(storage.account_store.news(noon() + seconds(1), 9).await.unwrap().is_empty());
}

async fn what_waits_for_the_address_by_letter_counts_no_more(place: Place) {
    let storage = place.open().await;
    let token = TokenRecord {
        hash: hash(1),
        kind: TokenKind::Registration,
        member: None,
        email: Some("Ada@example.com".to_owned()),
        password: Some("of somebody else".to_owned()),
        created_at: noon(),
        expires_at: noon() + seconds(3_600),
        tries: 0,
    };
    storage.account_store.add_token(token).await.unwrap();
    let opened = storage.identities.open_with(first("mem_ada", "4711"), news("n")).await.unwrap();
    assert_eq!(opened, OpenedWith::New);
    let late = Opening { token: Some(hash(1)), ..opening("mem_eve", ADA, Some("of somebody else")) };
    assert_eq!(storage.account_store.open_account(late).await.unwrap(), Opened::Spent);
}

async fn an_identity_is_linked_to_one_member_however_many_ask(place: Place) {
    let storage = Arc::new(place.open().await);
    for number in 0..4 {
        let (who, email) = (format!("mem_{number}"), format!("{number}@example.com"));
        signed_in(&storage, &who, &email, Some("p")).await;
    }
    let linked = at_once(&storage, 4, |storage, number| async move {
        let id = IdentityId::from(format!("idn_{number}"));
        let identity = IdentityRecord { id, ..identity(&format!("mem_{number}"), "4711") };
        storage.identities.link_identity(identity, news(&format!("n{number}"))).await.unwrap()
    });
    let linked = linked.await;
    assert_eq!(linked.iter().filter(|linked| **linked == Linked::Done).count(), 1, "{linked:?}");
    assert_eq!(linked.iter().filter(|linked| **linked == Linked::Taken).count(), 3, "{linked:?}");
    let holder = storage.identities.use_identity(ISSUER, "4711", noon()).await.unwrap().unwrap();
    let again = IdentityRecord { id: "idn_again".into(), ..identity(holder.as_str(), "4711") };
    assert_eq!(storage.identities.link_identity(again, news("again")).await.unwrap(), Linked::Held);
    let nobody = identity("mem_nobody", "4712");
    assert_eq!(storage.identities.link_identity(nobody, news("nobody")).await.unwrap(), Linked::NoAccount);
    assert_eq!(storage.account_store.news(noon() + seconds(1), 9).await.unwrap().len(), 1);
}

async fn an_identity_is_linked_only_while_the_session_lives_that_asks(place: Place) {
    let storage = place.open().await;
    for (who, email) in [("mem_ada", ADA), ("mem_bob", "bob@example.com"), ("mem_eve", "eve@example.com")] {
        signed_in(&storage, who, email, Some("p")).await;
    }
    let link = async |identity| storage.identities.link_identity(identity, news("n")).await.unwrap();
    let password = Change::Password { hash: "other".to_owned(), keep: None, keep_device: None };
    let locked = Change::Locked { lock: Lock { until: None }, now: noon() };
    for (who, change) in [("mem_ada", password), ("mem_bob", locked)] {
        assert!(storage.account_store.change_account(&who.into(), change, None).await.unwrap());
        assert_eq!(link(identity(who, who)).await, Linked::SessionEnded);
    }
    let of_another = IdentityRecord { asked_in: Some(session_of("mem_ada")), ..identity("mem_eve", "e") };
    assert_eq!(link(of_another).await, Linked::SessionEnded);
    let of_none = IdentityRecord { asked_in: None, ..identity("mem_eve", "e") };
    assert_eq!(link(of_none).await, Linked::SessionEnded);
    assert_eq!(place.count("account_identities").await, 0);
    assert_eq!(link(identity("mem_eve", "e")).await, Linked::Done);
}

async fn an_unlinked_identity_leaves_no_challenge_open(place: Place) {
    let storage = place.open().await;
    let store = &storage.account_store;
    signed_in(&storage, "mem_ada", ADA, Some("p")).await;
    storage.identities.link_identity(identity("mem_ada", "a"), news("n")).await.unwrap();
    let tokens = [
        (1, "mem_ada", TokenKind::Challenge),
        (2, "mem_ada", TokenKind::Reset),
        (3, "mem_bob", TokenKind::Challenge),
    ];
    for (number, who, kind) in tokens {
        let token = TokenRecord {
            hash: hash(number),
            kind,
            member: Some(who.into()),
            email: None,
            password: None,
            created_at: noon(),
            expires_at: noon() + seconds(3_600),
            tries: 0,
        };
        store.add_token(token).await.unwrap();
    }
    let ada = member("mem_ada");
    let unlinked = storage.identities.unlink_identity(&ada, &"idn_a".into(), &issuers(), news("u")).await;
    assert_eq!(unlinked.unwrap(), Unlinked::Done);
    for (number, counts) in [(1, false), (2, true), (3, true)] {
        assert_eq!(store.token(&hash(number), noon()).await.unwrap().is_some(), counts, "{number}");
    }
}

async fn an_identity_is_listed_and_noted_when_it_is_used(place: Place) {
    let storage = place.open().await;
    signed_in(&storage, "mem_ada", ADA, None).await;
    let store = &storage.identities;
    let later = IdentityRecord { linked_at: noon() + seconds(1), email: None, ..identity("mem_ada", "a") };
    for identity in [later.clone(), identity("mem_ada", "b")] {
        store.link_identity(identity.clone(), news(identity.id.as_str())).await.unwrap();
    }
    let kept = [identity("mem_ada", "b"), later].map(|linked| IdentityRecord { asked_in: None, ..linked });
    assert!(store.identities(&member("mem_ada")).await.unwrap() == kept);
    let at = noon() + seconds(5);
    assert_eq!(store.use_identity(ISSUER, "b", at).await.unwrap(), Some(member("mem_ada")));
    assert_eq!(store.identities(&member("mem_ada")).await.unwrap()[0].used_at, Some(at));
    for (issuer, subject) in [(ISSUER, "c"), ("https://other.example", "b"), (ISSUER, "B")] {
        assert_eq!(store.use_identity(issuer, subject, at).await.unwrap(), None, "{issuer} {subject}");
    }
    assert!(store.identities(&member("mem_bob")).await.unwrap().is_empty());
}

async fn the_last_way_in_stays_however_many_are_unlinked_at_once(place: Place) {
    let storage = Arc::new(place.open().await);
    signed_in(&storage, "mem_ada", ADA, None).await;
    for number in 0..4 {
        let identity = identity("mem_ada", &number.to_string());
        storage.identities.link_identity(identity, news(&format!("n{number}"))).await.unwrap();
    }
    let unlinked = at_once(&storage, 4, |storage, number| async move {
        let (who, id) = (member("mem_ada"), format!("idn_{number}").into());
        let news = news(&format!("u{number}"));
        storage.identities.unlink_identity(&who, &id, &issuers(), news).await.unwrap()
    });
    let unlinked = unlinked.await;
    assert_eq!(unlinked.iter().filter(|done| **done == Unlinked::Done).count(), 3, "{unlinked:?}");
    assert_eq!(unlinked.iter().filter(|done| **done == Unlinked::LastWayIn).count(), 1, "{unlinked:?}");
    assert_eq!(place.count("account_identities").await, 1);
}

async fn a_password_is_a_way_in_and_a_provider_that_is_gone_is_none(place: Place) {
    let storage = place.open().await;
    let (store, ada) = (&storage.identities, member("mem_ada"));
    signed_in(&storage, "mem_ada", ADA, None).await;
    let elsewhere = IdentityRecord { issuer: "https://gone.example".to_owned(), ..identity("mem_ada", "b") };
    for identity in [identity("mem_ada", "a"), elsewhere] {
        store.link_identity(identity.clone(), news(identity.id.as_str())).await.unwrap();
    }
    let unlink = async |id: &str| {
        store.unlink_identity(&ada, &id.into(), &issuers(), news(&format!("u {id}"))).await.unwrap()
    };
    assert_eq!(unlink("idn_a").await, Unlinked::LastWayIn);
    assert_eq!(unlink("idn_c").await, Unlinked::Unknown);
    let bob = store.unlink_identity(&member("mem_bob"), &"idn_a".into(), &issuers(), news("bob")).await;
    assert_eq!(bob.unwrap(), Unlinked::Unknown, "it is not his");
    let password = Change::Password { hash: "p".to_owned(), keep: None, keep_device: None };
    storage.account_store.change_account(&ada, password, None).await.unwrap();
    assert_eq!(unlink("idn_a").await, Unlinked::Done);
    assert_eq!(unlink("idn_b").await, Unlinked::Done);
}

async fn a_deleted_account_leaves_no_identity_and_takes_none(place: Place) {
    let storage = place.open().await;
    let ada = member("mem_ada");
    storage.identities.open_with(first("mem_ada", "4711"), news("n")).await.unwrap();
    storage.identities.add_flow(flow(2)).await.unwrap();
    assert!(storage.account_store.change_account(&ada, Change::Deleted(noon()), None).await.unwrap());
    assert_eq!((place.count("account_identities").await, place.count("account_flows").await), (0, 0));
    let linked = storage.identities.link_identity(identity("mem_ada", "4711"), news("again")).await.unwrap();
    assert_eq!(linked, Linked::NoAccount);
    storage.account_store.forget_account(&ada).await.unwrap();
    let again = storage.identities.open_with(first("mem_new", "4711"), news("new")).await.unwrap();
    assert_eq!(again, OpenedWith::New, "whoever comes again is somebody new");
}

async fn flows_that_count_no_more_are_removed_and_no_others(place: Place) {
    let storage = place.open().await;
    for number in 1..=5 {
        storage.identities.add_flow(flow(number)).await.unwrap();
    }
    let now = noon() + seconds(3);
    assert!(storage.identities.sweep_flows(now).await.unwrap());
    assert!(!storage.identities.sweep_flows(now).await.unwrap());
    assert_eq!(place.count("account_flows").await, 2);
}
