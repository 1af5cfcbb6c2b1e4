//! Who is signed in, where only the store knows, and what asking it costs.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use accounts::identities::{
    FirstSignIn, Flow, IdentityRecord, IdentityStore, Linked, NoProviders, OpenedWith, Unlinked,
};
use accounts::store::{
    AccountRecord, Change, Device, EmailChange, EndedSession, Hash, News, Opened, Opening, Rotation,
    ServiceTokenRecord, SessionRecord, TokenKind, TokenRecord, Which, Whose,
};
use accounts::throttle::{Counter, Refused};
use accounts::{
    AccountStore, Accounts, Keys, Letter, MailError, Mailer, Origin, Parts, Paying, Settings, SignedIn,
    SystemRandom,
};
use async_trait::async_trait;
use axum::http::Method;
use chrono::{DateTime, Utc};
use domain::account::{Account, AccountCommand, AccountEvent, RevokedBecause, Role};
use domain::clock::MovableClock;
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::metadata::{Actor, Context};
use domain::ports::{CommandBus, CommandError, Executed, Position, StoreError};

use super::stores::Stores;
use super::story::moment;
use super::world::{Answer, World};
use crate::rate_limit::{Rate, Rates};
use crate::sign_in::{Renewals, SignIn};
use crate::{CookieStyle, Origins};

const SESSIONS: &str = "/v1/auth/sessions";
const BOBS_TIMELINE: &str = "/v1/support/members/mem_bob/timeline";

/// An account of somebody of the staff and her one session.
#[derive(Default)]
struct Desk {
    session: Mutex<Option<SessionRecord>>,
    ended: AtomicBool,
    asked: AtomicUsize,
    told: Mutex<Vec<String>>,
}

macro_rules! desk {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $value:expr;)*) => {
        #[async_trait]
        impl AccountStore for Desk {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                Ok($value)
            })*

            async fn account(&self, whose: &Whose) -> Result<Option<AccountRecord>, StoreError> {
                let Whose::Member(member) = whose else { return Ok(None) };
                let at = moment("2026-01-01T00:00:00Z");
                Ok(Some(AccountRecord {
                    member: member.clone(),
                    email: None,
                    opened_at: Some(at),
                    password: None,
                    role: Role::Support,
                    verified: true,
                    announced: true,
                    lock: None,
                    signed_in_at: Some(at),
                    totp: None,
                    backup_codes: 0,
                    has_identity: false,
                }))
            }

            async fn begin_session(
                &self,
                _: &AccountRecord,
                session: SessionRecord,
                _: Device,
                _: &[String],
            ) -> Result<bool, StoreError> {
                *self.session.lock().unwrap() = Some(session);
                Ok(true)
            }

            async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError> {
                self.asked.fetch_add(1, Ordering::SeqCst);
                let held = self.session.lock().unwrap().clone().filter(|held| held.family == *family);
                Ok(held.filter(|_| !self.ended.load(Ordering::SeqCst)).map(|held| (held, Role::Support)))
            }
        }
    };
}

desk! {
    fn accounts(_role: Option<Role>, _after: Option<&MemberId>, _limit: usize) -> Vec<AccountRecord> = Vec::new();
    fn open_account(_opening: Opening) -> Opened = Opened::Spent;
    fn change_account(_member: &MemberId, _change: Change, _news: Option<News>) -> bool = true;
    fn change_email(_m: &MemberId, _t: &Hash, _to: &str, _lower: &str, _news: News) -> EmailChange = EmailChange::Spent;
    fn news(_before: DateTime<Utc>, _limit: usize) -> Vec<(MemberId, News)> = Vec::new();
    fn forget_news(_id: &str) -> () = ();
    fn unfinished_accounts(_before: DateTime<Utc>, _limit: usize) -> Vec<(MemberId, bool)> = Vec::new();
    fn forget_account(_member: &MemberId) -> () = ();
    fn add_token(_token: TokenRecord) -> () = ();
    fn token(_hash: &Hash, _now: DateTime<Utc>) -> Option<TokenRecord> = None;
    fn registrations(_lower: &str, _now: DateTime<Utc>) -> Vec<TokenRecord> = Vec::new();
    fn take_token(_hash: &Hash, _kind: TokenKind, _now: DateTime<Utc>) -> Option<TokenRecord> = None;
    fn try_token(_hash: &Hash, _at_most: u32, _now: DateTime<Utc>) -> Option<TokenRecord> = None;
    fn rotate(_rotation: Rotation) -> bool = true;
    fn mark_seen(_seen: &[(SessionId, u32)]) -> () = ();
    fn sessions(_member: &MemberId) -> Vec<SessionRecord> = Vec::new();
    fn end_sessions(_m: &MemberId, _which: Which, _why: RevokedBecause) -> Vec<SessionId> = Vec::new();
    fn ended_sessions(_member: Option<&MemberId>, _limit: usize) -> Vec<EndedSession> = Vec::new();
    fn forget_sessions(_sessions: &[SessionId]) -> () = ();
    fn knows_device(_member: &MemberId, _device: &Hash) -> bool = false;
    fn attempt(_counters: Vec<Counter>, _now: DateTime<Utc>) -> Result<(), Refused> = Ok(());
    fn clear(_keys: &[String]) -> () = ();
    fn add_service_token(_token: ServiceTokenRecord) -> () = ();
    fn service_tokens() -> Vec<ServiceTokenRecord> = Vec::new();
    fn revoke_service_token(_id: &str, _now: DateTime<Utc>) -> bool = false;
    fn sweep(_now: DateTime<Utc>) -> bool = false;
}

/// Nobody signs in with a provider.
#[async_trait]
impl IdentityStore for Desk {
    async fn add_flow(&self, _: Flow) -> Result<(), StoreError> {
        Ok(())
    }

    async fn take_flow(&self, _: &Hash, _: &Hash, _: DateTime<Utc>) -> Result<Option<Flow>, StoreError> {
        Ok(None)
    }

    async fn use_identity(&self, _: &str, _: &str, _: DateTime<Utc>) -> Result<Option<MemberId>, StoreError> {
        Ok(None)
    }

    async fn identities(&self, _: &MemberId) -> Result<Vec<IdentityRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn open_with(&self, _: FirstSignIn, _: News) -> Result<OpenedWith, StoreError> {
        Ok(OpenedWith::Taken)
    }

    async fn link_identity(&self, _: IdentityRecord, _: News) -> Result<Linked, StoreError> {
        Ok(Linked::NoAccount)
    }

    async fn unlink_identity(
        &self,
        _: &MemberId,
        _: &IdentityId,
        _: &[String],
        _: News,
    ) -> Result<Unlinked, StoreError> {
        Ok(Unlinked::Unknown)
    }

    async fn sweep_flows(&self, _: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl CommandBus<Account> for Desk {
    async fn execute(
        &self,
        id: &str,
        command: AccountCommand,
        _context: Context,
    ) -> Result<Executed<AccountEvent>, CommandError<Infallible>> {
        if matches!(command, AccountCommand::RecordStaffRead { .. }) {
            self.told.lock().unwrap().push(id.to_owned());
        }
        Ok(Executed { events: Vec::new(), position: Position::START })
    }
}

#[async_trait]
impl Mailer for Desk {
    async fn send(&self, _to: &str, _letter: &Letter) -> Result<(), MailError> {
        Ok(())
    }
}

#[async_trait]
impl Paying for Desk {
    async fn is_paying(&self, _member: &MemberId) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// A service somebody of whose staff is signed in.
struct Signed {
    world: World,
    desk: Arc<Desk>,
    tokens: SignedIn,
}

impl Signed {
    async fn to(caught_up: bool, rates: Rates) -> Self {
        let desk = Arc::new(Desk::default());
        let parts = Parts {
            store: desk.clone(),
            identities: desk.clone(),
            providers: Arc::new(NoProviders),
            accounts: desk.clone(),
            members: Arc::new(Stores::default()),
            clock: Arc::new(MovableClock::standing_at(moment("2026-11-22T10:00:00Z"))),
            random: Arc::new(SystemRandom),
            mailer: desk.clone(),
            paying: desk.clone(),
        };
        let keys = Keys::parse("one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let (accounts, _) = Accounts::new(parts, Settings::new(keys, "https://learn.test"));
        let origin = Origin::default();
        let tokens = accounts.sign_in_as(&"mem_staff".into(), Actor::operator(), &origin).await.unwrap();
        let sign_in = SignIn {
            accounts,
            cookies: CookieStyle::new(false),
            origins: Origins::new("https://learn.test", &[]),
            letters: false,
            strict_staff: false,
            one_click: false,
            renewals: Renewals::default(),
        };
        Self { world: World::signing_in(caught_up, rates, sign_in).await, desk, tokens }
    }

    async fn ask(&self, method: Method, path: &str, cookies: &str) -> Answer {
        self.world.with(&[("cookie", cookies)], method, path, "").await
    }

    fn both(&self) -> String {
        format!("access={}; refresh={}", self.tokens.access_token, self.tokens.refresh_token)
    }

    fn asked(&self) -> usize {
        self.desk.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn until_the_index_has_caught_up_the_store_says_whether_a_session_lives() {
    let signed = Signed::to(false, Rates::OFF).await;
    let access = format!("access={}", signed.tokens.access_token);
    signed.ask(Method::GET, SESSIONS, &access).await.problem(401, "not_signed_in");
    let alive = signed.ask(Method::GET, SESSIONS, &signed.both()).await;
    assert_eq!((alive.status.as_u16(), signed.asked()), (200, 1), "{}", alive.text);
    signed.desk.ended.store(true, Ordering::SeqCst);
    signed.ask(Method::GET, SESSIONS, &signed.both()).await.problem(401, "not_signed_in");
}

#[tokio::test]
async fn once_the_index_has_caught_up_no_store_is_asked_who_is_signed_in() {
    let signed = Signed::to(true, Rates::OFF).await;
    let answer = signed.ask(Method::GET, SESSIONS, &signed.both()).await;
    assert_eq!((answer.status.as_u16(), signed.asked()), (200, 0), "{}", answer.text);
}

#[tokio::test]
async fn what_staff_reads_is_recorded_however_it_is_asked_for() {
    for method in [Method::GET, Method::HEAD] {
        let signed = Signed::to(true, Rates::OFF).await;
        signed.world.stores.subscribe("mem_bob", "basic", "2025-02-01T00:00:00Z");
        signed.ask(method.clone(), BOBS_TIMELINE, &signed.both()).await;
        assert_eq!(*signed.desk.told.lock().unwrap(), ["mem_bob"], "{method}");
    }
}

#[tokio::test]
async fn staff_reads_nobody_before_it_can_be_told_who_is_a_member() {
    let signed = Signed::to(false, Rates::OFF).await;
    signed.ask(Method::GET, BOBS_TIMELINE, &signed.both()).await.problem(503, "not_ready");
    signed.world.get(BOBS_TIMELINE).await.problem(404, "unknown_member");
}

#[tokio::test]
async fn tokens_that_are_made_up_ask_the_store_no_oftener_than_strangers_may() {
    let signed = Signed::to(true, Rates { signed_out: Some(Rate::new(1, 4)), ..Rates::OFF }).await;
    let made_up = format!("refresh={}", "A".repeat(64));
    let mut refused = Vec::new();
    for _ in 0..20 {
        let answer = signed.ask(Method::GET, SESSIONS, &made_up).await;
        if answer.status.as_u16() == 429 {
            refused.push(answer);
        }
    }
    assert!((1..20).contains(&signed.asked()), "{} times", signed.asked());
    for answer in refused {
        assert!(answer.header("ratelimit").starts_with("\"signed-out\";r=0;t="), "{:?}", answer.headers);
        assert!(!answer.header("ratelimit-policy").is_empty());
        answer.problem(429, "rate_limited");
    }
    let known = signed.ask(Method::GET, SESSIONS, &signed.both()).await;
    assert_eq!(known.status.as_u16(), 200, "who is known is not held up");
}

#[tokio::test]
async fn what_cannot_be_a_refresh_token_is_not_asked_about() {
    let signed = Signed::to(true, Rates::OFF).await;
    for shape in ["", "x", &"A".repeat(63), &"A".repeat(65), &"!".repeat(64)] {
        let refused = signed.ask(Method::GET, SESSIONS, &format!("refresh={shape}")).await;
        refused.problem(401, "not_signed_in");
    }
    assert_eq!(signed.asked(), 0);
}
