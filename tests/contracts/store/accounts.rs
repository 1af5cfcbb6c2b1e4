//! What people sign in with: whatever two ask for at once, one gets.

use std::sync::Arc;

use accounts::AccountStore;
use accounts::identities::{FirstSignIn, IdentityRecord, OpenedWith};
use accounts::store::{
    AccountRecord, Change, Device, EmailChange, EndedSession, Hash, News, Opened, Opening, Rotation,
    ServiceTokenRecord, SessionRecord, TokenKind, TokenRecord, Which, Whose, is_last_owner,
};
use accounts::throttle::{Counter, Rule};
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{Lock, RevokedBecause, Role};
use domain::ids::{MemberId, SessionId};
use domain::ports::PersonRecord;

use super::{Place, noon, on_both, seconds};

on_both! {
    an_account_is_opened_with_its_address_and_read_by_either,
    who_is_known_already_opens_an_account_as_the_same_member,
    of_registrations_of_one_address_that_are_confirmed_at_once_one_opens_the_account,
    a_token_is_spent_once_however_many_ask,
    a_token_counts_until_it_ends_and_only_for_what_it_is,
    a_token_is_tried_so_often_and_not_more,
    registrations_are_found_by_address_the_latest_first,
    another_password_ends_sessions_devices_and_letters_but_what_is_kept,
    a_password_is_hashed_again_only_where_it_is_still_the_same,
    a_session_does_not_begin_with_a_password_or_rights_that_are_others_by_now,
    a_second_factor_leaves_no_session_that_began_without_it,
    of_too_many_sessions_those_unused_for_longest_end,
    fewer_rights_end_all_sessions_and_more_end_none,
    a_locked_account_begins_no_session_until_the_lock_ends_or_is_taken_off,
    the_last_owner_who_can_sign_in_stays_one,
    an_owner_who_comes_through_a_provider_is_one_who_can_sign_in,
    of_owners_who_take_each_others_rights_at_once_one_is_left,
    accounts_are_listed_in_pages_and_by_role,
    who_was_invited_shows_once_that_the_address_is_hers,
    a_refresh_token_is_spent_once_however_many_ask,
    a_refresh_token_that_was_lost_is_replaced_once_and_only_while_nothing_of_it_was_seen,
    what_was_seen_only_goes_up,
    sessions_are_ended_one_or_others_or_all_and_told_until_they_are_forgotten,
    an_address_is_given_to_one_of_those_who_ask_at_once,
    an_address_that_somebody_has_is_not_given_away,
    a_second_factor_is_set_up_used_and_removed_once,
    a_backup_code_is_used_once_however_many_ask,
    a_deleted_account_leaves_nothing_personal_and_is_told_until_it_is_forgotten,
    an_account_is_told_until_the_log_knows_of_it,
    news_are_kept_with_the_change_they_tell_of_and_with_no_other,
    of_attempts_at_once_none_is_left_uncounted,
    an_attempt_that_one_counter_refuses_is_counted_on_none,
    devices_are_known_for_their_member_and_the_oldest_forgotten,
    service_tokens_are_kept_listed_and_revoked_once,
    what_counts_no_more_is_removed_in_batches_and_nothing_else,
}

const ADA: &str = "mem_ada";

fn hash(number: u8) -> Hash {
    [number; 32]
}

fn ada() -> MemberId {
    ADA.into()
}

fn token(number: u8, kind: TokenKind) -> TokenRecord {
    TokenRecord {
        hash: hash(number),
        kind,
        member: Some(ada()),
        email: Some("Ada@Example.com".to_owned()),
        password: Some(format!("hash {number}")),
        created_at: noon() + seconds(number.into()),
        expires_at: noon() + seconds(3_600),
        tries: 0,
    }
}

fn opening(member: &str, token: Option<Hash>) -> Opening {
    Opening {
        token,
        member: member.into(),
        email: "Ada@Example.com".to_owned(),
        email_lower: "ada@example.com".to_owned(),
        password: Some("secret".to_owned()),
        verified: true,
        now: noon(),
    }
}

fn session(number: u8) -> SessionRecord {
    SessionRecord {
        id: format!("ses_{number}").into(),
        member: ada(),
        family: hash(number),
        current: hash(100),
        previous: None,
        salt: hash(0),
        generation: 1,
        seen: 0,
        created_at: noon() + seconds(number.into()),
        rotated_at: noon(),
        expires_at: noon() + seconds(7_200),
        device: Some("Firefox".to_owned()),
        network: Some("203.0.113.0/24".to_owned()),
    }
}

fn news(id: &str) -> News {
    News { id: id.to_owned(), text: format!("text of {id}"), at: noon() }
}

fn later() -> DateTime<Utc> {
    noon() + TimeDelta::days(1)
}

/// A store in which Ada has an account.
async fn with_ada(place: &Place) -> Arc<dyn AccountStore> {
    let store = place.open().await.account_store;
    assert_eq!(store.open_account(opening(ADA, None)).await.unwrap(), Opened::New(ada()));
    store
}

async fn read(store: &Arc<dyn AccountStore>) -> AccountRecord {
    store.account(&Whose::Member(ada())).await.unwrap().expect("she is known")
}

async fn begin(store: &Arc<dyn AccountStore>, number: u8) {
    let (account, device) = (read(store).await, Device::New(hash(number)));
    assert!(store.begin_session(&account, session(number), device, &[]).await.unwrap());
}

async fn change(store: &Arc<dyn AccountStore>, change: Change) -> bool {
    store.change_account(&ada(), change, None).await.unwrap()
}

fn password(to: &str) -> Change {
    Change::Password { hash: to.to_owned(), keep: None, keep_device: None }
}

/// What each of so many gets who ask at once.
async fn at_once<T, F>(count: u8, ask: impl Fn(u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let asking: Vec<_> = (0..count).map(|number| tokio::spawn(ask(number))).collect();
    let mut answers = Vec::new();
    for one in asking {
        answers.push(one.await.unwrap());
    }
    answers
}

async fn an_account_is_opened_with_its_address_and_read_by_either(place: Place) {
    let store = with_ada(&place).await;
    let account = read(&store).await;
    assert_eq!(account.email.as_deref(), Some("Ada@Example.com"));
    assert_eq!((account.opened_at, account.signed_in_at), (Some(noon()), None));
    assert_eq!((account.password.as_deref(), account.role), (Some("secret"), Role::Member));
    assert!(!account.announced && account.totp.is_none() && account.backup_codes == 0);
    let by_email = store.account(&Whose::Email("ada@example.com".to_owned())).await.unwrap();
    assert!(by_email == Some(account));
    assert!(store.account(&Whose::Member("mem_bob".into())).await.unwrap().is_none());
    let again = Opening { password: Some("other".to_owned()), ..opening("mem_bob", None) };
    assert_eq!(store.open_account(again).await.unwrap(), Opened::Held(ada()));
    assert_eq!(read(&store).await.password.as_deref(), Some("secret"), "it stays as it was");
}

async fn who_is_known_already_opens_an_account_as_the_same_member(place: Place) {
    let storage = place.open().await;
    let (member, email) = (ada(), Some("ADA@example.com".to_owned()));
    let record = PersonRecord { member, email, external_id: None, created_at: noon() };
    storage.people.create(record).await.unwrap();
    let store = storage.account_store;
    assert_eq!(read(&store).await.opened_at, None);
    assert_eq!(store.open_account(opening("mem_bob", None)).await.unwrap(), Opened::New(ada()));
    assert_eq!(read(&store).await.opened_at, Some(noon()));
}

async fn of_registrations_of_one_address_that_are_confirmed_at_once_one_opens_the_account(place: Place) {
    let store = place.open().await.account_store;
    for number in 0..8 {
        store
            .add_token(TokenRecord { member: None, ..token(number, TokenKind::Registration) })
            .await
            .unwrap();
    }
    let opened = at_once(8, |number| {
        let store = store.clone();
        async move {
            let opening = opening(&format!("mem_{number}"), Some(hash(number)));
            store.open_account(opening).await.unwrap()
        }
    })
    .await;
    let new = opened.iter().filter(|opened| matches!(opened, Opened::New(_))).count();
    let spent = opened.iter().filter(|opened| **opened == Opened::Spent).count();
    assert_eq!((new, spent), (1, 7), "one opens it, and with that the others' tokens are worth nothing");
    assert!(store.registrations("ada@example.com", noon()).await.unwrap().is_empty());
}

async fn a_token_is_spent_once_however_many_ask(place: Place) {
    let store = place.open().await.account_store;
    let record = token(1, TokenKind::Reset);
    store.add_token(record.clone()).await.unwrap();
    let got = at_once(8, |_| {
        let store = store.clone();
        async move { store.take_token(&hash(1), TokenKind::Reset, noon()).await.unwrap() }
    })
    .await;
    let got: Vec<_> = got.into_iter().flatten().collect();
    assert!(got == [record]);
}

async fn a_token_counts_until_it_ends_and_only_for_what_it_is(place: Place) {
    let store = place.open().await.account_store;
    let record = token(1, TokenKind::Reset);
    store.add_token(record.clone()).await.unwrap();
    let (before, end) = (record.expires_at - TimeDelta::microseconds(1), record.expires_at);
    assert!(store.token(&hash(1), before).await.unwrap() == Some(record.clone()));
    assert!(store.token(&hash(1), end).await.unwrap().is_none());
    assert!(store.take_token(&hash(1), TokenKind::Reset, end).await.unwrap().is_none());
    assert!(store.take_token(&hash(1), TokenKind::Challenge, before).await.unwrap().is_none());
    assert!(store.take_token(&hash(1), TokenKind::Reset, before).await.unwrap() == Some(record));
    assert!(store.token(&hash(1), before).await.unwrap().is_none());
}

async fn a_token_is_tried_so_often_and_not_more(place: Place) {
    let store = place.open().await.account_store;
    store.add_token(token(1, TokenKind::Challenge)).await.unwrap();
    let tried = at_once(8, |_| {
        let store = store.clone();
        async move { store.try_token(&hash(1), 5, noon()).await.unwrap().is_some() }
    })
    .await;
    assert_eq!(tried.into_iter().filter(|tried| *tried).count(), 5);
    assert_eq!(store.token(&hash(1), noon()).await.unwrap().unwrap().tries, 5);
}

async fn registrations_are_found_by_address_the_latest_first(place: Place) {
    let store = place.open().await.account_store;
    for (number, kind) in [(1, TokenKind::Registration), (2, TokenKind::Void), (3, TokenKind::Registration)] {
        store.add_token(token(number, kind)).await.unwrap();
    }
    let found = store.registrations("ada@example.com", noon()).await.unwrap();
    assert_eq!(found.iter().map(|token| token.hash).collect::<Vec<_>>(), [hash(3), hash(1)]);
    assert!(store.registrations("ada@example.com", later()).await.unwrap().is_empty());
    assert!(store.registrations("bob@example.com", noon()).await.unwrap().is_empty());
}

async fn another_password_ends_sessions_devices_and_letters_but_what_is_kept(place: Place) {
    let store = with_ada(&place).await;
    for number in 1..=3 {
        begin(&store, number).await;
    }
    for (number, kind) in [(1, TokenKind::Reset), (2, TokenKind::Challenge), (3, TokenKind::NewEmail)] {
        store.add_token(token(number, kind)).await.unwrap();
    }
    let (keep, keep_device) = (Some("ses_2".into()), Some(hash(2)));
    assert!(change(&store, Change::Password { hash: "new".to_owned(), keep, keep_device }).await);
    assert_eq!(read(&store).await.password.as_deref(), Some("new"));
    let sessions = store.sessions(&ada()).await.unwrap();
    assert_eq!(sessions.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["ses_2"]);
    let ended = store.ended_sessions(Some(&ada()), 9).await.unwrap();
    assert!(ended.len() == 2 && ended.iter().all(|ended| ended.why == RevokedBecause::PasswordChanged));
    for number in 1..=3 {
        assert_eq!(store.knows_device(&ada(), &hash(number)).await.unwrap(), number == 2);
        assert!(store.token(&hash(number), noon()).await.unwrap().is_none());
    }
    let nobody = store.change_account(&"mem_bob".into(), password("new"), None).await.unwrap();
    assert!(!nobody);
}

async fn a_password_is_hashed_again_only_where_it_is_still_the_same(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    let rehashed = |from: &str| Change::Rehashed { from: from.to_owned(), to: "again".to_owned() };
    assert!(!change(&store, rehashed("another")).await);
    assert!(change(&store, rehashed("secret")).await);
    assert_eq!(read(&store).await.password.as_deref(), Some("again"));
    assert_eq!(store.sessions(&ada()).await.unwrap().len(), 1, "nothing ends for it");
}

async fn a_session_does_not_begin_with_a_password_or_rights_that_are_others_by_now(place: Place) {
    let store = with_ada(&place).await;
    let looked_at = read(&store).await;
    let begin = async |account: &AccountRecord, number| {
        store.begin_session(account, session(number), Device::New(hash(number)), &[]).await.unwrap()
    };
    assert!(change(&store, password("new")).await);
    assert!(!begin(&looked_at, 1).await);
    let looked_at = read(&store).await;
    assert!(change(&store, role(Role::Support)).await);
    assert!(!begin(&looked_at, 2).await);
    assert!(store.sessions(&ada()).await.unwrap().is_empty());
    assert!(!store.knows_device(&ada(), &hash(1)).await.unwrap(), "nothing was done");
    assert!(begin(&read(&store).await, 3).await);
    let looked_at = read(&store).await;
    assert_eq!(looked_at.signed_in_at, Some(noon() + seconds(3)));
    assert!(change(&store, Change::Deleted(noon())).await);
    assert!(!begin(&looked_at, 4).await);
}

fn confirmed(secret: Vec<u8>, step: i64) -> Change {
    Change::TotpConfirmed { secret, step, backup_codes: vec![hash(1), hash(2)], keep: "ses_2".into() }
}

async fn a_second_factor_leaves_no_session_that_began_without_it(place: Place) {
    let store = with_ada(&place).await;
    for number in 1..=3 {
        begin(&store, number).await;
    }
    let before = read(&store).await;
    assert!(change(&store, Change::TotpSecret(vec![1])).await);
    assert!(!change(&store, confirmed(vec![2], 7)).await);
    assert_eq!(store.sessions(&ada()).await.unwrap().len(), 3, "nothing was done");
    assert!(change(&store, confirmed(vec![1], 7)).await);
    assert_eq!(store.sessions(&ada()).await.unwrap(), [session(2)]);
    assert_eq!(store.ended_sessions(Some(&ada()), 9).await.unwrap().len(), 2, "the log is to be told");
    let begin = async |account: &AccountRecord, number| {
        store.begin_session(account, session(number), Device::New(hash(number)), &[]).await.unwrap()
    };
    assert!(!begin(&before, 4).await, "no code was asked for");
    let with_code = read(&store).await;
    assert!(begin(&with_code, 5).await);
    assert!(change(&store, Change::TotpRemoved).await);
    assert!(!begin(&with_code, 6).await);
    assert_eq!(store.sessions(&ada()).await.unwrap(), [session(5), session(2)]);
}

async fn of_too_many_sessions_those_unused_for_longest_end(place: Place) {
    let store = with_ada(&place).await;
    let account = read(&store).await;
    for number in 1..=50 {
        begin(&store, number).await;
    }
    assert!(store.rotate(rotation(100, 101)).await.unwrap(), "the first is in use");
    assert!(store.ended_sessions(None, 9).await.unwrap().is_empty());
    begin(&store, 51).await;
    // Its clock is behind, and it lives all the same.
    let early =
        SessionRecord { created_at: noon() - seconds(9), rotated_at: noon() - seconds(9), ..session(52) };
    assert!(store.begin_session(&account, early, Device::New(hash(52)), &[]).await.unwrap());
    let lives = async |number| store.session(&hash(number)).await.unwrap().is_some();
    assert!(lives(1).await && !lives(2).await && !lives(3).await && lives(4).await && lives(52).await);
    assert_eq!(store.sessions(&ada()).await.unwrap().len(), 50);
    assert_eq!(store.ended_sessions(Some(&ada()), 9).await.unwrap().len(), 2, "the log is to be told");
}

async fn fewer_rights_end_all_sessions_and_more_end_none(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    assert!(change(&store, role(Role::Support)).await);
    let (held, held_role) = store.session(&hash(1)).await.unwrap().unwrap();
    assert_eq!((held, held_role), (session(1), Role::Support));
    assert!(change(&store, role(Role::Member)).await);
    assert_eq!(store.session(&hash(1)).await.unwrap(), None);
    let why = RevokedBecause::RoleChanged;
    let ended = EndedSession { member: ada(), id: "ses_1".into(), why };
    assert_eq!(store.ended_sessions(None, 9).await.unwrap(), [ended]);
    assert!(!store.change_account(&"mem_bob".into(), role(Role::Support), None).await.unwrap());
}

fn role(role: Role) -> Change {
    Change::Role { role, now: noon() }
}

fn locked(until: Option<DateTime<Utc>>) -> Change {
    Change::Locked { lock: Lock { until }, now: noon() }
}

async fn a_locked_account_begins_no_session_until_the_lock_ends_or_is_taken_off(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    let looked_at = read(&store).await;
    for (number, kind) in (1..).zip([TokenKind::Reset, TokenKind::Challenge, TokenKind::NewEmail]) {
        store.add_token(token(number, kind)).await.unwrap();
    }
    let until = Some(noon() + seconds(5));
    assert!(change(&store, locked(until)).await);
    assert_eq!(read(&store).await.lock, Some(Lock { until }));
    assert_eq!(store.session(&hash(1)).await.unwrap(), None);
    let ended = EndedSession { member: ada(), id: "ses_1".into(), why: RevokedBecause::Locked };
    assert_eq!(store.ended_sessions(None, 9).await.unwrap(), [ended]);
    for number in 1..=3 {
        assert!(store.token(&hash(number), noon()).await.unwrap().is_none(), "a letter on its way counts");
    }
    // What was looked at before the lock lets nobody in, nor does what is looked at after it. A session has the second of its
    // number.
    for (account, number, begins) in
        [(&looked_at, 4, false), (&read(&store).await, 4, false), (&read(&store).await, 5, true)]
    {
        let device = Device::New(hash(number));
        let begun = store.begin_session(account, session(number), device, &[]).await.unwrap();
        assert_eq!(begun, begins, "{number}");
    }
    assert!(change(&store, locked(None)).await);
    let account = read(&store).await;
    assert!(!store.begin_session(&account, session(9), Device::New(hash(9)), &[]).await.unwrap());
    assert!(change(&store, Change::Unlocked).await);
    assert!(!change(&store, Change::Unlocked).await, "there is no lock any more");
    begin(&store, 9).await;
    assert!(!store.change_account(&"mem_bob".into(), locked(None), None).await.unwrap());
    assert!(change(&store, locked(None)).await);
    assert!(change(&store, Change::Deleted(noon())).await);
    store.forget_account(&ada()).await.unwrap();
    assert_eq!(store.open_account(opening("mem_ada2", None)).await.unwrap(), Opened::New("mem_ada2".into()));
}

/// Opens an account with this role for somebody of this name.
async fn with_role(store: &Arc<dyn AccountStore>, name: &str, to: Role, verified: bool) -> MemberId {
    let (email, email_lower) = (format!("{name}@example.com"), format!("{name}@example.com"));
    let opening = Opening { email, email_lower, verified, ..opening(&format!("mem_{name}"), None) };
    let Opened::New(member) = store.open_account(opening).await.unwrap() else {
        panic!("{name} was there already")
    };
    assert!(store.change_account(&member, role(to), None).await.unwrap());
    member
}

/// What takes an owner's rights.
fn takes_rights() -> [Change; 4] {
    [role(Role::Member), role(Role::Support), locked(None), Change::Deleted(noon())]
}

async fn the_last_owner_who_can_sign_in_stays_one(place: Place) {
    let store = place.open().await.account_store;
    let ada = with_role(&store, "ada", Role::Owner, true).await;
    with_role(&store, "invited", Role::Owner, false).await;
    with_role(&store, "support", Role::Support, true).await;
    // Her address is known to be hers, and there is nothing she could show.
    let email = "bare@example.com".to_owned();
    let bare =
        Opening { email: email.clone(), email_lower: email, password: None, ..opening("mem_bare", None) };
    store.open_account(bare).await.unwrap();
    let bare = MemberId::from("mem_bare");
    assert!(store.change_account(&bare, role(Role::Owner), None).await.unwrap());
    let shut = with_role(&store, "shut", Role::Owner, true).await;
    let until = Some(noon() + seconds(60));
    assert!(store.change_account(&shut, locked(until), None).await.unwrap(), "there is another");
    for take in takes_rights() {
        assert!(!store.change_account(&ada, take, None).await.unwrap());
    }
    assert!(store.change_account(&ada, role(Role::Owner), None).await.unwrap(), "she stays what she is");
    // Once the other's lock has ended there are two.
    let after = Change::Role { role: Role::Member, now: noon() + seconds(60) };
    assert!(store.change_account(&ada, after, None).await.unwrap());
    for take in takes_rights() {
        let now = noon() + seconds(60);
        let take = match take {
            Change::Role { role, .. } => Change::Role { role, now },
            Change::Locked { lock, .. } => Change::Locked { lock, now },
            _ => Change::Deleted(now),
        };
        assert!(!store.change_account(&shut, take, None).await.unwrap());
    }
}

async fn an_owner_who_comes_through_a_provider_is_one_who_can_sign_in(place: Place) {
    let storage = place.open().await;
    let store = &storage.account_store;
    let ada = with_role(store, "ada", Role::Owner, true).await;
    let identity = IdentityRecord {
        id: "idn_1".into(),
        issuer: "https://id.example".to_owned(),
        subject: "4711".to_owned(),
        member: "mem_bob".into(),
        provider: "id".to_owned(),
        email: None,
        linked_at: noon(),
        used_at: None,
        asked_in: None,
    };
    let (email, bob) = ("bob@example.com".to_owned(), identity.member.clone());
    let first = FirstSignIn { identity, email_lower: email.clone(), email };
    assert_eq!(storage.identities.open_with(first, news("n")).await.unwrap(), OpenedWith::New);
    assert!(store.change_account(&bob, role(Role::Owner), None).await.unwrap());
    let listed = store.accounts(Some(Role::Owner), None, 9).await.unwrap();
    assert!(listed.iter().all(AccountRecord::has_way_in));
    assert!(store.change_account(&ada, role(Role::Member), None).await.unwrap(), "he is another");
    for take in takes_rights() {
        assert!(!store.change_account(&bob, take, None).await.unwrap());
    }
}

async fn of_owners_who_take_each_others_rights_at_once_one_is_left(place: Place) {
    let store = place.open().await.account_store;
    let mut last: Option<MemberId> = None;
    for (round, take) in takes_rights().into_iter().cycle().take(12).enumerate() {
        let mut owners = Vec::new();
        for number in 0..3 {
            owners.push(with_role(&store, &format!("owner{round}x{number}"), Role::Owner, true).await);
        }
        if let Some(last) = last {
            assert!(store.change_account(&last, role(Role::Member), None).await.unwrap());
        }
        // What each of them is told who only looks before she does it: she is not the last.
        let seen = store.accounts(Some(Role::Owner), None, 99).await.unwrap();
        let seen: Vec<_> =
            seen.iter().map(|held| (held.member.clone(), held.has_way_in(), held.lock)).collect();
        assert!(owners.iter().all(|owner| !is_last_owner(owner, &seen, noon())));
        let asked = owners.clone();
        let done = at_once(3, |number| {
            let (store, take) = (store.clone(), take.clone());
            let owner = asked[usize::from(number)].clone();
            async move { store.change_account(&owner, take, None).await.unwrap() }
        })
        .await;
        assert_eq!(done.iter().filter(|done| **done).count(), 2, "round {round}");
        last = owners.into_iter().zip(done).find_map(|(owner, done)| (!done).then_some(owner));
    }
}

async fn accounts_are_listed_in_pages_and_by_role(place: Place) {
    let storage = place.open().await;
    let record = PersonRecord { member: "mem_0".into(), email: None, external_id: None, created_at: noon() };
    storage.people.create(record).await.unwrap();
    let store = storage.account_store;
    for (name, to) in [("d", Role::Support), ("a", Role::Owner), ("c", Role::Member), ("b", Role::Support)] {
        with_role(&store, name, to, true).await;
    }
    let ids = async |role, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(MemberId::from);
        let found = store.accounts(role, after.as_ref(), limit).await.unwrap();
        found.into_iter().map(|account| account.member.to_string()).collect()
    };
    assert_eq!(ids(None, None, 9).await, ["mem_a", "mem_b", "mem_c", "mem_d"], "who has none is not listed");
    assert_eq!(ids(None, None, 2).await, ["mem_a", "mem_b"]);
    assert_eq!(ids(None, Some("mem_b"), 9).await, ["mem_c", "mem_d"]);
    assert_eq!(ids(Some(Role::Support), None, 9).await, ["mem_b", "mem_d"]);
    assert_eq!(ids(Some(Role::Support), Some("mem_b"), 9).await, ["mem_d"]);
    let listed = store.accounts(Some(Role::Owner), None, 9).await.unwrap();
    let alone = store.account(&Whose::Member("mem_a".into())).await.unwrap();
    assert!(listed.into_iter().next() == alone, "as it is read alone");
    assert!(store.change_account(&"mem_b".into(), Change::Deleted(noon()), None).await.unwrap());
    assert_eq!(ids(Some(Role::Support), None, 9).await, ["mem_d"], "who is gone is not listed");
}

async fn who_was_invited_shows_once_that_the_address_is_hers(place: Place) {
    let store = place.open().await.account_store;
    let invited = Opening { verified: false, password: None, ..opening(ADA, None) };
    store.open_account(invited).await.unwrap();
    assert!(change(&store, Change::Announced).await);
    assert!(!read(&store).await.verified);
    assert!(change(&store, Change::Verified).await);
    let account = read(&store).await;
    assert!(account.verified && !account.announced, "the log is to be told");
    assert!(!change(&store, Change::Verified).await);
}

fn rotation(from: u8, to: u8) -> Rotation {
    let now = noon() + seconds(60);
    Rotation { session: "ses_1".into(), from: hash(from), to: hash(to), salt: hash(to), lost: false, now }
}

async fn a_refresh_token_is_spent_once_however_many_ask(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    let spent = at_once(8, |number| {
        let store = store.clone();
        async move { store.rotate(rotation(100, 101 + number)).await.unwrap() }
    })
    .await;
    assert_eq!(spent.iter().filter(|spent| **spent).count(), 1);
    let winner = hash(101 + u8::try_from(spent.iter().position(|spent| *spent).unwrap()).unwrap());
    let (held, _) = store.session(&hash(1)).await.unwrap().unwrap();
    let rotated = SessionRecord {
        current: winner,
        previous: Some(hash(100)),
        salt: winner,
        generation: 2,
        rotated_at: noon() + seconds(60),
        ..session(1)
    };
    assert_eq!(held, rotated);
    store.end_sessions(&ada(), Which::All, RevokedBecause::SignedOut).await.unwrap();
    assert!(!store.rotate(Rotation { from: winner, ..rotation(0, 1) }).await.unwrap(), "it has ended");
}

async fn a_refresh_token_that_was_lost_is_replaced_once_and_only_while_nothing_of_it_was_seen(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    assert!(store.rotate(rotation(100, 101)).await.unwrap());
    let lost = |from, to| Rotation { lost: true, now: noon() + seconds(120), ..rotation(from, to) };
    let replaced = at_once(8, |number| {
        let store = store.clone();
        async move { store.rotate(lost(101, 102 + number)).await.unwrap() }
    })
    .await;
    assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1);
    let winner = 102 + u8::try_from(replaced.iter().position(|replaced| *replaced).unwrap()).unwrap();
    let (held, _) = store.session(&hash(1)).await.unwrap().unwrap();
    let expected = SessionRecord {
        current: hash(winner),
        previous: Some(hash(100)),
        salt: hash(winner),
        generation: 2,
        rotated_at: noon() + seconds(120),
        ..session(1)
    };
    assert_eq!(held, expected);
    store.mark_seen(&[("ses_1".into(), 2)]).await.unwrap();
    assert!(!store.rotate(lost(winner, 200)).await.unwrap(), "it arrived");
    assert!(store.rotate(rotation(winner, 200)).await.unwrap());
    assert!(store.rotate(lost(200, 201)).await.unwrap());
    store.end_sessions(&ada(), Which::All, RevokedBecause::SignedOut).await.unwrap();
    assert!(!store.rotate(lost(201, 202)).await.unwrap(), "it has ended");
}

async fn what_was_seen_only_goes_up(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    let seen = async |seen: &[u32]| {
        let seen: Vec<_> = seen.iter().map(|seen| (SessionId::from("ses_1"), *seen)).collect();
        store.mark_seen(&seen).await.unwrap();
        store.session(&hash(1)).await.unwrap().unwrap().0.seen
    };
    assert_eq!(seen(&[1, 3, 2]).await, 3);
    assert_eq!(seen(&[2]).await, 3);
    assert_eq!(seen(&[]).await, 3);
}

async fn sessions_are_ended_one_or_others_or_all_and_told_until_they_are_forgotten(place: Place) {
    let store = with_ada(&place).await;
    for number in 1..=4 {
        begin(&store, number).await;
    }
    let end = async |which, why| store.end_sessions(&ada(), which, why).await.unwrap();
    let live = async || {
        let sessions = store.sessions(&ada()).await.unwrap();
        sessions.into_iter().map(|session| session.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(live().await, ["ses_4", "ses_3", "ses_2", "ses_1"]);
    assert_eq!(end(Which::One("ses_9".into()), RevokedBecause::Revoked).await, []);
    assert_eq!(end(Which::One("ses_1".into()), RevokedBecause::SignedOut).await, ["ses_1".into()]);
    assert_eq!(end(Which::One("ses_1".into()), RevokedBecause::Revoked).await, [], "it ended before");
    let others = end(Which::AllBut("ses_3".into()), RevokedBecause::Revoked).await;
    assert_eq!(others, ["ses_2".into(), "ses_4".into()]);
    assert_eq!(live().await, ["ses_3"]);
    assert_eq!(store.end_sessions(&"mem_bob".into(), Which::All, RevokedBecause::Revoked).await.unwrap(), []);
    assert_eq!(end(Which::All, RevokedBecause::ByStaff).await, ["ses_3".into()]);

    store.forget_sessions(&["ses_2".into(), "ses_3".into()]).await.unwrap();
    let mut told = store.ended_sessions(None, 9).await.unwrap();
    told.sort_by(|one, other| one.id.cmp(&other.id));
    let ended = |id: &str, why| EndedSession { member: ada(), id: id.into(), why };
    assert_eq!(told, [ended("ses_1", RevokedBecause::SignedOut), ended("ses_4", RevokedBecause::Revoked)]);
    assert_eq!(store.ended_sessions(None, 1).await.unwrap().len(), 1);
    assert_eq!(store.ended_sessions(Some(&"mem_bob".into()), 9).await.unwrap(), []);
    begin(&store, 5).await;
    store.forget_sessions(&["ses_5".into()]).await.unwrap();
    assert_eq!(live().await, ["ses_5"], "only what has ended is forgotten");
}

async fn an_address_is_given_to_one_of_those_who_ask_at_once(place: Place) {
    let store = place.open().await.account_store;
    for number in 0..8 {
        let (email, email_lower) = (format!("{number}@example.com"), format!("{number}@example.com"));
        let opening = Opening { email, email_lower, ..opening(&format!("mem_{number}"), None) };
        store.open_account(opening).await.unwrap();
        let email = Some("New@Example.com".to_owned());
        store.add_token(TokenRecord { email, ..token(number, TokenKind::NewEmail) }).await.unwrap();
    }
    let given = at_once(8, |number| {
        let (store, member) = (store.clone(), MemberId::from(format!("mem_{number}")));
        let news = news(&number.to_string());
        async move {
            let (email, lower) = ("New@Example.com", "new@example.com");
            store.change_email(&member, &hash(number), email, lower, news).await.unwrap()
        }
    })
    .await;
    let done: Vec<usize> = (0..8).filter(|number| given[*number] == EmailChange::Done).collect();
    let taken = given.iter().filter(|given| **given == EmailChange::Taken).count();
    assert_eq!((done.len(), taken), (1, 7));
    let holder = store.account(&Whose::Email("new@example.com".to_owned())).await.unwrap().unwrap();
    assert_eq!(holder.member.as_str(), format!("mem_{}", done[0]));
    assert_eq!(holder.email.as_deref(), Some("New@Example.com"));
    assert_eq!(store.news(later(), 99).await.unwrap().len(), 1, "the others have no news");
}

async fn an_address_that_somebody_has_is_not_given_away(place: Place) {
    let store = with_ada(&place).await;
    let change = async |member: &str, number| {
        let (news, email) = (news(&format!("{member}{number}")), "ada@example.com");
        store.change_email(&member.into(), &hash(number), email, email, news).await.unwrap()
    };
    let (email, email_lower) = ("bob@example.com".to_owned(), "bob@example.com".to_owned());
    store.open_account(Opening { email, email_lower, ..opening("mem_bob", None) }).await.unwrap();
    store.add_token(token(1, TokenKind::NewEmail)).await.unwrap();
    assert_eq!(change("mem_bob", 1).await, EmailChange::Taken);
    assert_eq!(change("mem_ada", 1).await, EmailChange::Done, "she may write her own in another way");
    assert_eq!(change("mem_ada", 1).await, EmailChange::Spent);
    store.add_token(token(2, TokenKind::Reset)).await.unwrap();
    assert_eq!(change("mem_ada", 2).await, EmailChange::Spent, "it is good for something else");
}

async fn a_second_factor_is_set_up_used_and_removed_once(place: Place) {
    let store = with_ada(&place).await;
    let confirm = |step| confirmed(vec![2, 3], step);
    assert!(!change(&store, confirm(7)).await, "there is no secret yet");
    assert_eq!(read(&store).await.backup_codes, 0);
    assert!(change(&store, Change::TotpSecret(vec![1])).await);
    assert!(change(&store, Change::TotpSecret(vec![2, 3])).await);
    assert!(!change(&store, Change::TotpStep(6)).await, "it is not confirmed");
    assert!(!change(&store, confirmed(vec![1], 6)).await, "the code was one of another secret");
    assert!(change(&store, confirm(7)).await);
    assert!(!change(&store, confirm(8)).await);
    assert!(!change(&store, Change::TotpSecret(vec![9])).await);
    let totp = read(&store).await.totp.unwrap();
    assert_eq!((totp.secret, totp.confirmed, totp.last_step), (vec![2, 3], true, 7));
    assert!(!change(&store, Change::TotpStep(7)).await, "no code counts twice");
    let used = at_once(8, |_| {
        let store = store.clone();
        async move { store.change_account(&ada(), Change::TotpStep(8), None).await.unwrap() }
    })
    .await;
    assert_eq!(used.iter().filter(|used| **used).count(), 1);
    assert!(change(&store, Change::TotpRemoved).await);
    assert!(!change(&store, Change::TotpRemoved).await);
    let account = read(&store).await;
    assert!(account.totp.is_none() && account.backup_codes == 0);
}

async fn a_backup_code_is_used_once_however_many_ask(place: Place) {
    let store = with_ada(&place).await;
    assert!(change(&store, Change::BackupCodes(vec![hash(8), hash(9)])).await);
    assert!(change(&store, Change::BackupCodes(vec![hash(1), hash(2), hash(3)])).await);
    assert!(!change(&store, Change::BackupCodeUsed(hash(8))).await, "it was replaced");
    let used = at_once(8, |_| {
        let store = store.clone();
        async move { store.change_account(&ada(), Change::BackupCodeUsed(hash(1)), None).await.unwrap() }
    })
    .await;
    assert_eq!(used.iter().filter(|used| **used).count(), 1);
    assert_eq!(read(&store).await.backup_codes, 2);
    let codes = Change::BackupCodes(vec![hash(1)]);
    assert!(!store.change_account(&"mem_bob".into(), codes, None).await.unwrap());
}

async fn a_deleted_account_leaves_nothing_personal_and_is_told_until_it_is_forgotten(place: Place) {
    let store = with_ada(&place).await;
    begin(&store, 1).await;
    store.add_token(token(1, TokenKind::Reset)).await.unwrap();
    store.add_token(TokenRecord { member: None, ..token(2, TokenKind::Void) }).await.unwrap();
    change(&store, Change::BackupCodes(vec![hash(1)])).await;
    change(&store, Change::Announced).await;
    store.forget_account(&ada()).await.unwrap();
    assert!(change(&store, Change::Deleted(noon())).await, "only a deleted account is forgotten");
    assert!(!change(&store, Change::Deleted(noon())).await);
    let account = read(&store).await;
    assert!(account.email.is_none() && account.password.is_none() && account.opened_at.is_none());
    assert!(store.account(&Whose::Email("ada@example.com".to_owned())).await.unwrap().is_none());
    assert!(!store.knows_device(&ada(), &hash(1)).await.unwrap());
    for table in ["account_tokens", "account_backup_codes", "account_devices"] {
        assert_eq!(place.count(table).await, 0, "{table}");
    }
    let ended = store.ended_sessions(None, 9).await.unwrap();
    assert_eq!(ended.first().map(|ended| ended.why), Some(RevokedBecause::AccountDeleted));
    assert_eq!(store.unfinished_accounts(later(), 9).await.unwrap(), [(ada(), true)]);
    store.forget_account(&ada()).await.unwrap();
    assert_eq!(store.unfinished_accounts(later(), 9).await.unwrap(), []);
    assert_eq!(place.count("accounts").await, 0);
    assert_eq!(store.open_account(opening("mem_bob", None)).await.unwrap(), Opened::New("mem_bob".into()));
}

async fn an_account_is_told_until_the_log_knows_of_it(place: Place) {
    let store = with_ada(&place).await;
    assert_eq!(store.unfinished_accounts(noon(), 9).await.unwrap(), [], "somebody is about to tell");
    assert_eq!(store.unfinished_accounts(later(), 9).await.unwrap(), [(ada(), false)]);
    assert!(change(&store, Change::Announced).await);
    assert!(read(&store).await.announced);
    assert_eq!(store.unfinished_accounts(later(), 9).await.unwrap(), []);
}

async fn news_are_kept_with_the_change_they_tell_of_and_with_no_other(place: Place) {
    let store = with_ada(&place).await;
    let change = async |change, id: &str, at| {
        store.change_account(&ada(), change, Some(News { at, ..news(id) })).await.unwrap()
    };
    assert!(change(password("new"), "two", noon() + seconds(2)).await);
    assert!(change(role(Role::Support), "one", noon() + seconds(1)).await);
    assert!(!change(Change::TotpStep(1), "none", noon()).await);
    let told = async |before| {
        let news = store.news(before, 9).await.unwrap();
        assert!(news.iter().all(|(member, _)| *member == ada()));
        news.into_iter().map(|(_, news)| news.id).collect::<Vec<_>>()
    };
    assert_eq!(told(later()).await, ["one", "two"]);
    assert_eq!(told(noon() + seconds(2)).await, ["one"]);
    assert_eq!(
        store.news(later(), 1).await.unwrap(),
        [(ada(), News { at: noon() + seconds(1), ..news("one") })]
    );
    store.forget_news("one").await.unwrap();
    assert_eq!(told(later()).await, ["two"]);
}

fn counter(key: &str, most: u32) -> Counter {
    Counter { key: key.to_owned(), rule: Rule::Consecutive { most } }
}

async fn of_attempts_at_once_none_is_left_uncounted(place: Place) {
    let store = place.open().await.account_store;
    let allowed = at_once(12, |number| {
        let store = store.clone();
        // In either order, so that two could wait for each other.
        let mut counters = vec![counter("a", 8), counter("b", 99)];
        if number % 2 == 0 {
            counters.reverse();
        }
        async move { store.attempt(counters, noon()).await.unwrap().is_ok() }
    })
    .await;
    assert_eq!(allowed.iter().filter(|allowed| **allowed).count(), 8);
}

async fn an_attempt_that_one_counter_refuses_is_counted_on_none(place: Place) {
    let store = place.open().await.account_store;
    let attempt = async |counters| store.attempt(counters, noon()).await.unwrap().is_ok();
    assert!(attempt(vec![counter("a", 1)]).await);
    assert!(!attempt(vec![counter("b", 1), counter("a", 1)]).await);
    assert!(attempt(vec![counter("b", 1)]).await, "it was not counted before");
    store.clear(&["a".to_owned(), "unknown".to_owned()]).await.unwrap();
    assert!(attempt(vec![counter("a", 1)]).await);
    assert!(!attempt(vec![counter("b", 1)]).await);
    assert!(attempt(Vec::new()).await);
}

async fn devices_are_known_for_their_member_and_the_oldest_forgotten(place: Place) {
    let store = with_ada(&place).await;
    store.attempt(vec![counter("a", 1)], noon()).await.unwrap().unwrap();
    for number in 1..=51 {
        begin(&store, number).await;
    }
    let knows = async |number| store.knows_device(&ada(), &hash(number)).await.unwrap();
    assert!(!knows(1).await && knows(2).await && knows(51).await);
    assert!(!store.knows_device(&"mem_bob".into(), &hash(2)).await.unwrap());
    let account = read(&store).await;
    let clear = ["a".to_owned()];
    assert!(store.begin_session(&account, session(52), Device::Known(hash(2)), &clear).await.unwrap());
    begin(&store, 53).await;
    assert!(knows(2).await && !knows(3).await, "what was used last is kept");
    assert!(store.attempt(vec![counter("a", 1)], noon()).await.unwrap().is_ok(), "it was forgotten");
}

async fn service_tokens_are_kept_listed_and_revoked_once(place: Place) {
    let store = place.open().await.account_store;
    let token = |id: &str, number: u8| ServiceTokenRecord {
        id: id.to_owned(),
        name: "shop".to_owned(),
        scopes: vec!["access.read".to_owned(), "members.write".to_owned()],
        hash: hash(number),
        created_at: noon() + seconds(number.into()),
        created_by: "operator".to_owned(),
        revoked_at: None,
    };
    store.add_service_token(token("tok_2", 2)).await.unwrap();
    store.add_service_token(token("tok_1", 1)).await.unwrap();
    assert_eq!(store.service_tokens().await.unwrap(), [token("tok_1", 1), token("tok_2", 2)]);
    assert!(store.revoke_service_token("tok_1", noon()).await.unwrap());
    assert!(store.revoke_service_token("tok_1", later()).await.unwrap());
    assert!(!store.revoke_service_token("tok_9", noon()).await.unwrap());
    let revoked = ServiceTokenRecord { revoked_at: Some(noon()), ..token("tok_1", 1) };
    assert_eq!(store.service_tokens().await.unwrap(), [revoked, token("tok_2", 2)]);
}

async fn what_counts_no_more_is_removed_in_batches_and_nothing_else(place: Place) {
    let store = with_ada(&place).await;
    for number in 0..3 {
        begin(&store, number).await;
    }
    let which = Which::One("ses_0".into());
    store.end_sessions(&ada(), which, RevokedBecause::SignedOut).await.unwrap();
    store.add_token(token(1, TokenKind::Reset)).await.unwrap();
    store.attempt(vec![counter("a", 9)], noon()).await.unwrap().unwrap();
    let left = async || {
        let mut left = Vec::new();
        for table in ["account_tokens", "account_sessions", "account_counters", "account_devices"] {
            left.push(place.count(table).await);
        }
        left
    };
    assert!(!store.sweep(noon()).await.unwrap());
    assert_eq!(left().await, [1, 3, 1, 3]);
    assert!(store.sweep(later()).await.unwrap());
    assert_eq!(left().await, [0, 1, 1, 3], "what the log is still to be told of is kept");
    assert!(store.sweep(noon() + TimeDelta::days(401)).await.unwrap());
    assert_eq!(left().await, [0, 1, 0, 0]);
    assert!(!store.sweep(noon() + TimeDelta::days(401)).await.unwrap());

    let old = "INSERT INTO account_counters SELECT 'old ' || n, 1, %, % FROM numbers";
    let (numbers, moment) = match &place {
        Place::Sqlite(_) => (
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500) ",
            "0",
        ),
        Place::Postgres(_) => {
            ("WITH numbers AS (SELECT n FROM generate_series(1, 2500) AS n) ", "to_timestamp(0)")
        }
    };
    place.execute(&format!("{numbers}{}", old.replace('%', moment))).await.unwrap();
    assert!(store.sweep(noon()).await.unwrap());
    assert_eq!(place.count("account_counters").await, 1_500, "so many at once and no more");
}
