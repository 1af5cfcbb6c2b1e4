//! Signing in with a provider, over a real store and with a provider that says what it is told to.

use std::sync::{Arc, Mutex};

use accounts::identities::{
    Answer, Claims, FirstSignIn, Flow, IdentityRecord, IdentityStore, Linked, OpenedWith, Provider,
    ProviderError, Providers, Request, Unlinked,
};
use accounts::store::{Hash, News};
use accounts::{AccountError, Arrival, Departure, Login, Outcome, Parts, SignedIn};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{IdentityId, MemberId};
use domain::ports::StoreError;

use super::{Cut, EMAIL, PASSWORD, World, origin};
use crate::store::{Place, on_both};

on_both! {
    two_first_sign_ins_at_once_are_of_one_member,
    a_flow_counts_for_ten_minutes,
    a_link_that_the_log_could_not_be_told_of_is_told_later_and_once,
    who_has_no_password_links_and_unlinks_only_soon_after_a_sign_in,
    whoever_came_with_an_identity_is_out_when_it_is_unlinked,
    an_address_that_could_not_be_asked_for_stops_nobody_who_is_known,
    the_code_is_spent_with_what_only_this_browser_can_show,
    an_answer_counts_once_and_in_no_other_browser,
    flows_that_any_browser_may_use_are_noticed,
    flows_that_count_again_are_noticed,
}

/// A provider.
struct Id {
    list: Vec<Provider>,
    claims: Mutex<Claims>,
    /// The state and the challenge of the browsers that were sent, and the verifiers that came.
    sent: Mutex<Vec<(String, String)>>,
    verifiers: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Providers for Id {
    fn list(&self) -> &[Provider] {
        &self.list
    }

    async fn authorize(&self, _provider: &str, request: Request<'_>) -> Result<String, ProviderError> {
        self.sent.lock().unwrap().push((request.state.to_owned(), request.nonce.to_owned()));
        Ok(request.state.to_owned())
    }

    async fn identify(&self, _provider: &str, answer: Answer<'_>) -> Result<Claims, ProviderError> {
        self.verifiers.lock().unwrap().push((answer.verifier.to_owned(), answer.nonce.to_owned()));
        Ok(self.claims.lock().unwrap().clone())
    }
}

/// Flows without one of their protections.
struct Loose {
    store: Arc<dyn IdentityStore>,
    flows: Mutex<Vec<Flow>>,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    AnyBrowser,
    Again,
}

#[async_trait]
impl IdentityStore for Loose {
    async fn add_flow(&self, flow: Flow) -> Result<(), StoreError> {
        self.flows.lock().unwrap().push(flow.clone());
        self.store.add_flow(flow).await
    }

    async fn take_flow(
        &self,
        state: &Hash,
        browser: &Hash,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, StoreError> {
        let known = self.flows.lock().unwrap().iter().find(|flow| flow.state == *state).cloned();
        match (self.fault, known) {
            (Fault::AnyBrowser, Some(flow)) => self.store.take_flow(state, &flow.browser, now).await,
            (Fault::Again, Some(flow)) => Ok(Some(flow).filter(|flow| flow.browser == *browser)),
            _ => self.store.take_flow(state, browser, now).await,
        }
    }

    async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberId>, StoreError> {
        self.store.use_identity(issuer, subject, now).await
    }

    async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityRecord>, StoreError> {
        self.store.identities(member).await
    }

    async fn open_with(&self, first: FirstSignIn, news: News) -> Result<OpenedWith, StoreError> {
        self.store.open_with(first, news).await
    }

    async fn link_identity(&self, identity: IdentityRecord, news: News) -> Result<Linked, StoreError> {
        self.store.link_identity(identity, news).await
    }

    async fn unlink_identity(
        &self,
        member: &MemberId,
        identity: &IdentityId,
        issuers: &[String],
        news: News,
    ) -> Result<Unlinked, StoreError> {
        self.store.unlink_identity(member, identity, issuers, news).await
    }

    async fn sweep_flows(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.store.sweep_flows(now).await
    }
}

async fn world(place: &Place) -> (World, Arc<Id>) {
    faulty(place, Fault::None).await
}

async fn faulty(place: &Place, fault: Fault) -> (World, Arc<Id>) {
    let provider = Provider { name: "id".to_owned(), issuer: "https://id.example".to_owned() };
    let claims = Claims {
        issuer: provider.issuer.clone(),
        subject: "4711".to_owned(),
        email: Some(EMAIL.to_owned()),
        email_verified: true,
        email_failed: None,
    };
    let (list, claims) = (vec![provider], Mutex::new(claims));
    let id = Arc::new(Id { list, claims, sent: Mutex::default(), verifiers: Mutex::default() });
    let loose = |store| Arc::new(Loose { store, flows: Mutex::default(), fault });
    let change =
        |parts: Parts| Parts { providers: id.clone(), identities: loose(parts.identities.clone()), ..parts };
    (World::of(place, change).await, id)
}

async fn depart(world: &World) -> Departure {
    world.accounts.depart("id", "https://learn.example/x", &origin("req_depart")).await.unwrap()
}

async fn arrive(world: &World, departure: &Departure) -> Result<Outcome, AccountError> {
    let Departure { url: state, browser, .. } = departure;
    let arrival = Arrival { provider: "id", state, code: Some("code"), issuer: None, browser };
    world.accounts.arrive(arrival, &origin("req_arrive")).await?.outcome
}

async fn sign_in(world: &World) -> SignedIn {
    match arrive(world, &depart(world).await).await.unwrap() {
        Outcome::Login(Login::SignedIn(signed_in)) => *signed_in,
        _ => panic!("no code is asked for"),
    }
}

async fn two_first_sign_ins_at_once_are_of_one_member(place: Place) {
    let (world, _) = world(&place).await;
    let world = Arc::new(world);
    let mut departures = Vec::new();
    for _ in 0..6 {
        departures.push(depart(&world).await);
    }
    let arriving = departures.into_iter().map(|departure| {
        let world = world.clone();
        tokio::spawn(async move { arrive(&world, &departure).await.is_ok() })
    });
    for arrived in arriving.collect::<Vec<_>>() {
        assert!(arrived.await.unwrap(), "whoever comes second is the same");
    }
    assert_eq!((place.count("accounts").await, place.count("account_identities").await), (1, 1));
    let member: MemberId = sign_in(&world).await.member;
    let told = world.told(&member).await;
    let count = |name: &str| told.iter().filter(|told| *told == name).count();
    assert_eq!(
        (count("AccountRegistered"), count("IdentityLinked"), count("SignedIn")),
        (1, 1, 7),
        "{told:?}"
    );
}

async fn a_flow_counts_for_ten_minutes(place: Place) {
    let (world, _) = world(&place).await;
    let (soon, late) = (depart(&world).await, depart(&world).await);
    world.pass(599);
    assert!(arrive(&world, &soon).await.is_ok());
    world.pass(1);
    assert!(matches!(arrive(&world, &late).await, Err(AccountError::BadFlow)));
    world.accounts.tidy().await.unwrap();
    assert_eq!(place.count("account_flows").await, 0);
}

async fn a_link_that_the_log_could_not_be_told_of_is_told_later_and_once(place: Place) {
    let (world, _) = world(&place).await;
    let departure = depart(&world).await;
    world.cut_the_line(Cut::Everybodys);
    assert!(matches!(arrive(&world, &departure).await, Err(AccountError::Store(_))));
    world.cut_the_line(Cut::Nobodys);
    world.pass(61);
    for _ in 0..2 {
        world.accounts.tidy().await.unwrap();
    }
    let signed_in = sign_in(&world).await;
    let told = world.told(&signed_in.member).await;
    assert_eq!(told, ["AccountRegistered", "EmailVerified", "IdentityLinked", "SignedIn"]);
    let history = world.history(&signed_in.member).await;
    assert_eq!(history[2].metadata.correlation_id, "req_arrive", "as if it had been told at once");
    assert_eq!(history[3].payload["provider"], "id");
    let text = format!("{:?}", history.iter().map(|event| &event.payload).collect::<Vec<_>>());
    assert!(!text.contains("4711") && !text.contains(EMAIL), "{text}");
}

async fn who_has_no_password_links_and_unlinks_only_soon_after_a_sign_in(place: Place) {
    let (world, id) = world(&place).await;
    let here = sign_in(&world).await;
    let (who, asked) = ((&here.member, &here.session), origin("req_link"));
    let page = "https://learn.example/x";
    let link = || world.accounts.depart_to_link(who, "id", None, page, &asked);
    id.claims.lock().unwrap().subject = "4712".to_owned();
    let departure = link().await.unwrap();
    assert!(matches!(arrive(&world, &departure).await, Ok(Outcome::Linked(_))));
    let held = world.accounts.identities(&here.member).await.unwrap();
    assert_eq!(held.len(), 2);
    world.pass(600);
    assert!(matches!(link().await, Err(AccountError::SignInAgain)));
    let unlink = |of| world.accounts.unlink(of, &held[0].id, None, &asked);
    assert!(matches!(unlink(who).await, Err(AccountError::SignInAgain)));
    let again = sign_in(&world).await;
    assert!(matches!(unlink(who).await, Err(AccountError::SignInAgain)), "the session itself has to be new");
    unlink((&again.member, &again.session)).await.unwrap();
    // From when she has a password it is asked for.
    let member = world.create(EMAIL).await.unwrap();
    assert_eq!(member, here.member);
    let newest = match world.accounts.login(EMAIL, PASSWORD, &origin("req_login")).await.unwrap() {
        Login::SignedIn(newest) => newest,
        Login::SecondFactorRequired { .. } => panic!("no code is asked for"),
    };
    let who = (&newest.member, &newest.session);
    let without = world.accounts.unlink(who, &held[1].id, None, &asked).await;
    assert!(matches!(without, Err(AccountError::WrongCredentials)));
    world.accounts.unlink(who, &held[1].id, Some(PASSWORD), &asked).await.unwrap();
}

async fn whoever_came_with_an_identity_is_out_when_it_is_unlinked(place: Place) {
    let (world, _) = world(&place).await;
    let theirs = sign_in(&world).await;
    let member = world.create(EMAIL).await.unwrap();
    let (another, hers) = (sign_in(&world).await, world.sign_in(EMAIL, PASSWORD).await.unwrap());
    assert!(member == theirs.member && member == another.member && member == hers.member);
    let held = world.accounts.identities(&member).await.unwrap();
    let who = (&member, &hers.session);
    world.accounts.unlink(who, &held[0].id, Some(PASSWORD), &origin("req_unlink")).await.unwrap();
    let left = world.accounts.sessions(&member).await.unwrap();
    assert_eq!(left.iter().map(|left| &left.id).collect::<Vec<_>>(), [&hers.session]);
    let told = world.told(&member).await;
    assert!(told[told.len() - 2..].iter().any(|told| told == "SessionRevoked"), "{told:?}");
    // What is refused ends nothing.
    world.sign_in(EMAIL, PASSWORD).await.unwrap();
    let unknown = world.accounts.unlink(who, &held[0].id, Some(PASSWORD), &origin("req_again")).await;
    assert!(matches!(unknown, Err(AccountError::NoIdentity)));
    assert_eq!(world.accounts.sessions(&member).await.unwrap().len(), 2);
}

async fn an_address_that_could_not_be_asked_for_stops_nobody_who_is_known(place: Place) {
    let (world, id) = world(&place).await;
    let known = id.claims.lock().unwrap().clone();
    let failed = Some(ProviderError::Unavailable("down".to_owned()));
    let untold = Claims { email: None, email_verified: false, email_failed: failed, ..known.clone() };
    *id.claims.lock().unwrap() = untold.clone();
    let first = arrive(&world, &depart(&world).await).await;
    assert!(matches!(first, Err(AccountError::ProviderUnavailable(_))), "not that it does not vouch for it");
    *id.claims.lock().unwrap() = known;
    let member = sign_in(&world).await.member;
    *id.claims.lock().unwrap() = untold;
    assert_eq!(sign_in(&world).await.member, member);
}

async fn the_code_is_spent_with_what_only_this_browser_can_show(place: Place) {
    let (world, id) = world(&place).await;
    for _ in 0..2 {
        sign_in(&world).await;
    }
    let (sent, verifiers) = (id.sent.lock().unwrap(), id.verifiers.lock().unwrap());
    assert_ne!(sent[0].0, sent[1].0);
    assert_ne!(verifiers[0].0, verifiers[1].0);
    for ((_, asked), (_, shown)) in sent.iter().zip(verifiers.iter()) {
        assert_eq!(asked, shown, "the token has to hold what the browser was sent with");
    }
}

/// Whether an answer counts in a browser that was not sent for it, and whether it counts a second time in the one that was.
async fn attacked(world: &World) -> (bool, bool) {
    let (mine, hers) = (depart(world).await, depart(world).await);
    let planted = Departure { browser: hers.browser.clone(), ..mine.clone() };
    let elsewhere = arrive(world, &planted).await;
    assert!(elsewhere.is_ok() || matches!(elsewhere, Err(AccountError::BadFlow)));
    arrive(world, &hers).await.unwrap();
    let again = arrive(world, &hers).await;
    assert!(again.is_ok() || matches!(again, Err(AccountError::BadFlow)));
    (elsewhere.is_ok(), again.is_ok())
}

async fn an_answer_counts_once_and_in_no_other_browser(place: Place) {
    assert_eq!(attacked(&world(&place).await.0).await, (false, false));
}

async fn flows_that_any_browser_may_use_are_noticed(place: Place) {
    assert_eq!(attacked(&faulty(&place, Fault::AnyBrowser).await.0).await, (true, false));
}

async fn flows_that_count_again_are_noticed(place: Place) {
    assert_eq!(attacked(&faulty(&place, Fault::Again).await.0).await, (false, true));
}
