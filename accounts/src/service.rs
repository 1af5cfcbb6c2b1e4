//! The service: what its parts share. What people ask for is in the modules below it, one per errand.

mod background;
mod credentials;
pub(crate) mod identities;
mod people;
mod registration;
mod roles;
mod second_factors;
mod sessions;
mod sign_in;
mod staff;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::AccountCommand;
use domain::ids::{MemberId, SessionId};
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::Position;
use metrics::counter;
use tokio::sync::{mpsc, watch};

pub use self::background::Background;
use crate::access_token::Tokens;
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::news;
use crate::parts::{Origin, Parts, Settings};
use crate::password::{Compared, Hasher, Password};
use crate::refresh::{Presented, judge};
use crate::secrets::{hash, secret};
use crate::service_tokens::ServiceCaller;
use crate::store::{AccountRecord, Change, Hash, SessionRecord, TokenKind, TokenRecord, Whose};
use crate::throttle::{Counter, Refused, Rule};

/// How many letters may wait to be sent, and as many again may wait to be tried again.
const LETTERS: usize = 1_024;
/// How many notes of access tokens that were seen, and of refused sign-ins, may wait. What does not fit is noted the next time.
const NOTES: usize = 4_096;
/// Wrong passwords that cost no wait.
const FREE: u32 = 5;
/// Wrong passwords in a row, from wherever, before only a known device or a reset helps.
const MOST_IN_A_ROW: u32 = 100;
/// Letters of one kind to one address in an hour, asked for from one network.
const LETTERS_TO_ONE: u32 = 5;
/// Letters to one address in an hour: more than somebody can use up from one network.
const LETTERS_IN_ALL: u32 = 30;
/// Letters asked for from one network in an hour.
const LETTERS_FROM_ONE: u32 = 60;
/// Sign-ins tried from one network in a quarter of an hour.
const TRIES_FROM_ONE: u32 = 300;
/// How long the link of a registration, or of another address, counts.
const LINK_LIFE: TimeDelta = TimeDelta::hours(24);
/// How long the link to choose a password counts. ASVS 6.5.5 asks for ten minutes, which letters often take; ADR 8.
const RESET_LIFE: TimeDelta = TimeDelta::hours(1);
/// How long a second factor is waited for.
const CHALLENGE_LIFE: TimeDelta = TimeDelta::minutes(10);
/// How often a code may be tried before the password is asked for again.
const CODES: u32 = 5;

/// The accounts of this service. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

/// In which session who was read; and what, where that is recorded by itself.
type Read = (SessionId, MemberId, Option<String>);

struct Inner {
    parts: Parts,
    settings: Settings,
    tokens: Tokens,
    hasher: Hasher,
    /// What to make of a refresh token; replaced only by the tests that show what it is good for.
    judge: fn(&SessionRecord, &Hash, DateTime<Utc>) -> Presented,
    /// The generations of access tokens that were seen, by session.
    seen: papaya::HashMap<u128, u32>,
    seen_notes: mpsc::Sender<(SessionId, u32)>,
    refused_notes: mpsc::Sender<(MemberId, Context)>,
    letters: mpsc::Sender<(String, Letter)>,
    /// How many letters have been queued and not dealt with.
    unsent: watch::Sender<usize>,
    /// When staff last looked at a member in a session, and at what where that is told by itself, so that most looks cost
    /// nothing.
    reads: Mutex<HashMap<Read, DateTime<Utc>>>,
    service_tokens: ArcSwap<HashMap<Hash, Arc<ServiceCaller>>>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

impl Accounts {
    /// The service, and what goes on beside it.
    pub fn new(parts: Parts, settings: Settings) -> (Self, Background) {
        Self::judging(parts, settings, judge)
    }

    fn judging(
        parts: Parts,
        settings: Settings,
        judge: fn(&SessionRecord, &Hash, DateTime<Utc>) -> Presented,
    ) -> (Self, Background) {
        let Settings { keys, issuer, audience, access_life, hashing, .. } = settings.clone();
        let (letters, waiting_letters) = mpsc::channel(LETTERS);
        let (seen_notes, waiting_seen) = mpsc::channel(NOTES);
        let (refused_notes, waiting_refused) = mpsc::channel(NOTES);
        let inner = Inner {
            parts,
            settings,
            tokens: Tokens::new(keys, issuer, audience, access_life),
            hasher: Hasher::new(hashing),
            judge,
            seen: papaya::HashMap::new(),
            seen_notes,
            refused_notes,
            letters,
            unsent: watch::Sender::new(0),
            reads: Mutex::default(),
            service_tokens: ArcSwap::default(),
        };
        let accounts = Self { inner: Arc::new(inner) };
        let background = Background::new(accounts.clone(), waiting_letters, waiting_seen, waiting_refused);
        (accounts, background)
    }

    /// Waits until all letters have been sent, at most so long; false when some were not.
    pub async fn letters_sent(&self, at_most: Duration) -> bool {
        let mut unsent = self.inner.unsent.subscribe();
        let sent = unsent.wait_for(|unsent| *unsent == 0);
        tokio::time::timeout(at_most, sent).await.is_ok_and(|sent| sent.is_ok())
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.parts.clock.now()
    }

    fn context(&self, actor: Actor, request_id: &str) -> Context {
        Context::asked_by(actor, request_id, self.now())
    }

    fn by_herself(&self, member: &MemberId, origin: &Origin) -> Context {
        self.context(Actor::member(member), &origin.request_id)
    }

    /// Has something recorded in the history of an account.
    async fn tell(
        &self,
        member: &MemberId,
        command: AccountCommand,
        context: Context,
    ) -> Result<Position, AccountError> {
        Ok(self.inner.parts.accounts.execute(member.as_str(), command, context).await?.position)
    }

    /// Changes an account and has it recorded; none where the account is not as the change needs it. What was changed and could
    /// not be recorded is an error all the same, and is recorded in the background.
    async fn change(
        &self,
        member: &MemberId,
        change: Change,
        command: AccountCommand,
        context: Context,
    ) -> Result<Option<Position>, AccountError> {
        let news = news::of(&command, &context, self.inner.parts.random.as_ref())?;
        let id = news.id.clone();
        if !self.inner.parts.store.change_account(member, change, Some(news)).await? {
            return Ok(None);
        }
        self.tell_news(member, &id, command, context).await.map(Some)
    }

    async fn tell_news(
        &self,
        member: &MemberId,
        id: &str,
        command: AccountCommand,
        context: Context,
    ) -> Result<Position, AccountError> {
        let position = self.tell(member, command, context).await?;
        self.inner.parts.store.forget_news(id).await?;
        Ok(position)
    }

    /// Has the log know of a member and her account, and says whether it had not known the member. What she was invited to is
    /// not shown to be hers by that.
    async fn announce(&self, member: &MemberId, context: Context) -> Result<(bool, Position), AccountError> {
        let registered = self
            .inner
            .parts
            .members
            .execute(member.as_str(), MemberCommand::Register, context.clone())
            .await?;
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        let is_invited = account.is_some_and(|account| account.opened_at.is_some() && !account.verified);
        let command = if is_invited { AccountCommand::Invite } else { AccountCommand::Open };
        let opened = self.tell(member, command, context).await?;
        self.inner.parts.store.change_account(member, Change::Announced, None).await?;
        Ok((!registered.events.is_empty(), opened.max(registered.position)))
    }

    /// Has a letter sent, some time soon.
    fn post(&self, to: &str, letter: Letter) {
        let name = letter.name();
        self.inner.unsent.send_modify(|unsent| *unsent += 1);
        if self.inner.letters.try_send((to.to_owned(), letter)).is_err() {
            self.inner.unsent.send_modify(|unsent| *unsent -= 1);
            counter!("membership_letters_total", "letter" => name, "outcome" => "dropped").increment(1);
            tracing::error!(letter = name, "a letter was not sent: too many wait already");
        }
    }

    /// Whether a letter may go to an address. Asking for too many from one network is an error.
    async fn may_write_to(
        &self,
        email: &Email,
        kind: TokenKind,
        origin: &Origin,
    ) -> Result<bool, AccountError> {
        let within = |most| Rule::Within { most, window: TimeDelta::hours(1) };
        let (whose, from) = (hidden(&email.lower), network(origin));
        let asked = Counter { key: format!("letters-from:{from}"), rule: within(LETTERS_FROM_ONE) };
        self.attempt(vec![asked]).await?;
        // So that no stranger keeps her from getting hers.
        let pair = format!("letters-to:{whose}:{}:{from}", kind.as_str());
        let to = vec![
            Counter { key: pair, rule: within(LETTERS_TO_ONE) },
            Counter { key: format!("letters-to:{whose}"), rule: within(LETTERS_IN_ALL) },
        ];
        Ok(self.inner.parts.store.attempt(to, self.now()).await?.is_ok())
    }

    async fn attempt(&self, counters: Vec<Counter>) -> Result<(), AccountError> {
        match self.inner.parts.store.attempt(counters, self.now()).await? {
            Ok(()) => Ok(()),
            Err(Refused { retry_after: Some(retry_after) }) => Err(AccountError::Throttled { retry_after }),
            Err(Refused { retry_after: None }) => Err(AccountError::Exhausted),
        }
    }

    /// Keeps a new token and gives its text.
    async fn new_token(
        &self,
        kind: TokenKind,
        life: TimeDelta,
        of: (Option<MemberId>, Option<String>, Option<String>),
    ) -> Result<(String, DateTime<Utc>), AccountError> {
        self.keep_token(secret(self.inner.parts.random.as_ref())?, kind, life, of).await
    }

    /// Keeps a token of this text, which nobody can guess.
    async fn keep_token(
        &self,
        token: String,
        kind: TokenKind,
        life: TimeDelta,
        of: (Option<MemberId>, Option<String>, Option<String>),
    ) -> Result<(String, DateTime<Utc>), AccountError> {
        let now = self.now();
        let (member, email, password) = of;
        let expires_at = now + life;
        let record = TokenRecord {
            hash: hash(&token),
            kind,
            member,
            email,
            password,
            created_at: now,
            expires_at,
            tries: 0,
        };
        self.inner.parts.store.add_token(record).await?;
        Ok((token, expires_at))
    }

    /// The open account of a member.
    async fn open_account_of(&self, member: &MemberId) -> Result<AccountRecord, AccountError> {
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        account.filter(|account| account.opened_at.is_some()).ok_or(AccountError::NoAccount)
    }

    /// The account of a member who is signed in and shows that it is she who asks.
    async fn proven(&self, member: &MemberId, password: &str) -> Result<AccountRecord, AccountError> {
        let turn = self.inner.hasher.turn().await?;
        let key = format!("proof:{member}");
        self.attempt(vec![Counter { key: key.clone(), rule: Rule::Delays { free: FREE } }]).await?;
        let account = self.open_account_of(member).await?;
        let (compared, _) = turn.compare(Password::typed(password), account.password.as_deref()).await?;
        turn.end();
        if compared == Compared::Wrong {
            return Err(AccountError::WrongCredentials);
        }
        self.inner.parts.store.clear(&[key]).await?;
        Ok(account)
    }

    /// A password somebody wants to have, if it can be one.
    fn chosen(&self, password: &str, email: &str) -> Result<Password, AccountError> {
        Ok(Password::chosen(password, email, &self.inner.settings.service_name)?)
    }

    /// The hash of a chosen password.
    async fn hashed(&self, password: Password) -> Result<String, AccountError> {
        let turn = self.inner.hasher.turn().await?;
        turn.hash(password, self.inner.parts.random.as_ref()).await
    }
}

/// What stands for something personal in the name of a counter.
fn hidden(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&hash(text)[..16])
}

/// The network a request comes from: what one person, or one customer of a provider, commonly has.
fn network(origin: &Origin) -> String {
    match origin.address.map(|address| address.to_canonical()) {
        Some(std::net::IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(std::net::IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{:x}::/56", d & 0xff00)
        }
        None => "unknown".to_owned(),
    }
}
