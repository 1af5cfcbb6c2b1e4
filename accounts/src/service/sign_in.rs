//! Signing in, and staying so.

use chrono::TimeDelta;
use domain::account::{AccountCommand, RevokedBecause, Role, SecondFactor};
use domain::ids::{MemberId, SessionId};
use domain::metadata::{Actor, Context};
use metrics::counter;

use super::{Accounts, CHALLENGE_LIFE, FREE, MOST_IN_A_ROW, TRIES_FROM_ONE, hidden, network};
use crate::access_token::{Access, BadAccessToken};
use crate::answers::{Login, Renewed, SignedIn};
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::parts::Origin;
use crate::password::{Compared, Password};
use crate::refresh::{Presented, has_expired};
use crate::secrets::{RefreshToken, bytes, hash, secret};
use crate::store::{AccountRecord, Change, Device, Hash, Rotation, SessionRecord, TokenKind, Which, Whose};
use crate::throttle::{Counter, Rule};

/// What a browser calls itself is kept to this length.
const LONGEST_DEVICE: usize = 200;
/// Whoever was not the one to spend a refresh token looks again; once is enough, unless the session is renewed again meanwhile.
const LOOKS: usize = 8;

/// What is counted when somebody signs in, and what of it a sign-in clears.
struct Attempts {
    counters: Vec<Counter>,
    cleared: Vec<String>,
}

impl Attempts {
    /// A device that she has used before has a counter of its own, so that nobody else can use it up.
    fn of(email_lower: &str, origin: &Origin, device: Option<&Hash>) -> Self {
        let (whose, from) = (hidden(email_lower), network(origin));
        let delays = Rule::Delays { free: FREE };
        if let (Some(_), Some(secret)) = (device, &origin.device) {
            let key = format!("device:{whose}:{}", hidden(secret));
            return Self { counters: vec![Counter { key: key.clone(), rule: delays }], cleared: vec![key] };
        }
        let pair = format!("pair:{whose}:{from}");
        let account = format!("account:{whose}");
        let counters = vec![
            Counter { key: pair.clone(), rule: delays },
            Counter { key: account.clone(), rule: Rule::Consecutive { most: MOST_IN_A_ROW } },
            from_one(origin),
        ];
        Self { counters, cleared: vec![pair, account] }
    }
}

/// What somebody has shown who she is with, beside a password or in place of one.
#[derive(Default)]
pub(super) struct Proof {
    /// A code.
    pub(super) second_factor: Option<SecondFactor>,
    /// A provider's word.
    pub(super) provider: Option<String>,
}

/// The counter of all sign-ins that are tried from a network.
pub(super) fn from_one(origin: &Origin) -> Counter {
    let rule = Rule::Within { most: TRIES_FROM_ONE, window: TimeDelta::minutes(15) };
    Counter { key: format!("from:{}", network(origin)), rule }
}

/// The counter that only a reset, or a sign-in from elsewhere, clears.
pub(super) fn in_a_row(email_lower: &str) -> String {
    format!("account:{}", hidden(email_lower))
}

impl Accounts {
    /// Signs in with a password.
    pub async fn login(&self, email: &str, password: &str, origin: &Origin) -> Result<Login, AccountError> {
        let login = self.try_login(email, password, origin).await;
        let outcome = match &login {
            Ok(Login::SignedIn(_)) => "signed_in",
            Ok(Login::SecondFactorRequired { .. }) => "second_factor_required",
            Err(AccountError::WrongCredentials | AccountError::InvalidEmail) => "wrong",
            Err(AccountError::Throttled { .. } | AccountError::Exhausted) => "throttled",
            Err(AccountError::Locked(_)) => "locked",
            Err(AccountError::Busy) => "busy",
            Err(_) => "failed",
        };
        counter!("membership_sign_ins_total", "outcome" => outcome).increment(1);
        login
    }

    /// Does the same, one hash above all, whether the address is known or not.
    async fn try_login(&self, email: &str, password: &str, origin: &Origin) -> Result<Login, AccountError> {
        let email = Email::parse(email)?;
        let turn = self.inner.hasher.turn().await?;
        let store = &self.inner.parts.store;
        let account = store.account(&Whose::Email(email.lower.clone())).await?;
        let account = account.filter(|account| account.opened_at.is_some());
        let device = self.known_device(account.as_ref().map(|account| &account.member), origin).await?;
        let attempts = Attempts::of(&email.lower, origin, device.as_ref());
        if let Err(refused) = self.attempt(attempts.counters).await {
            self.note_refused(account.as_ref(), origin);
            return Err(refused);
        }
        let held = account.as_ref().and_then(|account| account.password.as_deref());
        let (compared, typed) = turn.compare(Password::typed(password), held).await?;
        let rehashed = match (compared, typed) {
            (Compared::Wrong, _) => return Err(AccountError::WrongCredentials),
            (Compared::RightAndOutdated, Some(typed)) => {
                Some(turn.hash(typed, self.inner.parts.random.as_ref()).await?)
            }
            _ => None,
        };
        turn.end();
        let Some(mut account) = account else { return Err(AccountError::WrongCredentials) };
        if let (Some(to), Some(from)) = (rehashed, account.password.clone()) {
            let change = Change::Rehashed { from, to: to.clone() };
            if store.change_account(&account.member, change, None).await? {
                account.password = Some(to);
            }
        }
        self.go_on(&account, None, origin).await
    }

    /// What is left to do once a password was right, or a provider has vouched for her: a code is asked for, or a session begins.
    pub(super) async fn go_on(
        &self,
        account: &AccountRecord,
        provider: Option<&str>,
        origin: &Origin,
    ) -> Result<Login, AccountError> {
        self.admitted(account)?;
        if account.has_second_factor() {
            let secret = secret(self.inner.parts.random.as_ref())?;
            // What is kept is a hash of all of it, so the name behind the dot cannot be made another.
            let challenge = provider.map_or(secret.clone(), |provider| format!("{secret}.{provider}"));
            let of = (Some(account.member.clone()), None, None);
            let kept = self.keep_token(challenge, TokenKind::Challenge, CHALLENGE_LIFE, of).await?;
            let (challenge, expires_at) = kept;
            return Ok(Login::SecondFactorRequired { challenge, expires_at });
        }
        let proof = Proof { second_factor: None, provider: provider.map(str::to_owned) };
        let signed_in = self.sign_in_with(account, proof, origin, Vec::new()).await?;
        Ok(Login::SignedIn(Box::new(signed_in)))
    }

    /// Signs in after a right password, or a provider's word, and a right code where one is asked for.
    pub(super) async fn sign_in_with(
        &self,
        account: &AccountRecord,
        proof: Proof,
        origin: &Origin,
        mut cleared: Vec<String>,
    ) -> Result<SignedIn, AccountError> {
        let device = self.known_device(Some(&account.member), origin).await?;
        let email_lower = account.email.as_deref().unwrap_or_default().to_lowercase();
        cleared.extend(Attempts::of(&email_lower, origin, device.as_ref()).cleared);
        let actor = Actor::member(&account.member);
        self.begin(account, proof, origin, device, &cleared, actor).await
    }

    /// Signs a member in without a password: for the demo's links.
    pub async fn sign_in_as(
        &self,
        member: &MemberId,
        actor: Actor,
        origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        let account = self.open_account_of(member).await?;
        let device = self.known_device(Some(member), origin).await?;
        self.begin(&account, Proof::default(), origin, device, &[], actor).await
    }

    async fn known_device(
        &self,
        member: Option<&MemberId>,
        origin: &Origin,
    ) -> Result<Option<Hash>, AccountError> {
        let (Some(member), Some(device)) = (member, origin.device.as_deref().map(hash)) else {
            return Ok(None);
        };
        Ok(self.inner.parts.store.knows_device(member, &device).await?.then_some(device))
    }

    /// Whether somebody who has shown who she is may sign in. Every way of signing in ends in [`Self::begin`], which asks this
    /// first; the store asks once more in the commit that begins the session.
    fn admitted(&self, account: &AccountRecord) -> Result<(), AccountError> {
        let lock = account.lock.filter(|lock| lock.holds(self.now()));
        lock.map_or(Ok(()), |lock| Err(AccountError::Locked(lock)))
    }

    async fn begin(
        &self,
        account: &AccountRecord,
        proof: Proof,
        origin: &Origin,
        known: Option<Hash>,
        cleared: &[String],
        actor: Actor,
    ) -> Result<SignedIn, AccountError> {
        self.admitted(account)?;
        let (member, now) = (&account.member, self.now());
        let random = self.inner.parts.random.as_ref();
        let context = self.context(actor, &origin.request_id);
        if !account.announced {
            self.announce(member, context.clone()).await?;
        }
        let id = SessionId::generate(now, bytes(random)?);
        let refresh = RefreshToken::first(random)?;
        let device = origin.user_agent.as_ref().map(|agent| agent.chars().take(LONGEST_DEVICE).collect());
        let session = SessionRecord {
            id: id.clone(),
            member: member.clone(),
            family: refresh.family(),
            current: refresh.hash(),
            previous: None,
            salt: [0; 32],
            generation: 1,
            seen: 0,
            created_at: now,
            rotated_at: now,
            expires_at: now + self.inner.settings.session_life,
            device,
            network: origin.address.map(|_| network(origin)),
        };
        let new_device = known.is_none().then(|| secret(random)).transpose()?;
        // First the history: a session that it does not tell of is worse than one that it tells of and that never began.
        let Proof { second_factor, provider } = proof;
        let (session_id, is_new) = (id.clone(), new_device.is_some());
        let command =
            AccountCommand::SignIn { session: session_id, new_device: is_new, second_factor, provider };
        let position = self.tell(member, command, context.clone()).await?;
        let used = known.map(Device::Known).or_else(|| new_device.as_deref().map(hash).map(Device::New));
        let (device, session_expires_at) = (session.device.clone(), session.expires_at);
        let used = used.unwrap_or(Device::Known([0; 32]));
        if !self.inner.parts.store.begin_session(account, session, used, cleared).await? {
            return Err(AccountError::WrongCredentials);
        }
        // One more than a member may have has ended another, of which the log is told; in the background, if that fails now.
        if let Err(error) = self.finish_ended(Some(member), &context).await {
            tracing::warn!(%error, "the end of older sessions is told a little later");
        }
        let role = account.role;
        let access = Access { member: member.clone(), session: id.clone(), role };
        let (access_token, access_expires_at) = self.inner.tokens.make(&access, 1, now)?;
        // At the very first sign-in every device is new, and no news.
        if let (Some(_), Some(_), Some(email)) = (&new_device, account.signed_in_at, &account.email) {
            self.post(email, Letter::NewDevice { device, at: now });
        }
        Ok(SignedIn {
            member: member.clone(),
            session: id,
            role,
            access_token,
            access_expires_at,
            refresh_token: refresh.text(),
            session_expires_at,
            device: new_device,
            position,
        })
    }

    /// Has it recorded, beside the request, that sign-ins are refused.
    fn note_refused(&self, account: Option<&AccountRecord>, origin: &Origin) {
        if let Some(account) = account {
            let context: Context = self.by_herself(&account.member, origin);
            // One that does not fit is one of many.
            self.inner.refused_notes.try_send((account.member.clone(), context)).ok();
        }
    }

    /// Spends a refresh token. [`AccountError::SessionEnded`] means that the cookies are to be removed.
    pub async fn refresh(&self, refresh_token: &str, origin: &Origin) -> Result<Renewed, AccountError> {
        let token = RefreshToken::parse(refresh_token).ok_or(AccountError::SessionEnded)?;
        let store = &self.inner.parts.store;
        for _ in 0..LOOKS {
            let now = self.now();
            let found = store.session(&token.family()).await?;
            let Some((session, role)) = found else { return Err(AccountError::SessionEnded) };
            if has_expired(&session, self.inner.settings.idle_life, now) {
                return Err(AccountError::SessionEnded);
            }
            let presented = (self.inner.judge)(&session, &token.hash(), now);
            match presented {
                Presented::Present | Presented::Lost => {
                    let salt = bytes(self.inner.parts.random.as_ref())?;
                    let next = token.next(&salt);
                    let (from, to, lost) = (session.current, next.hash(), presented == Presented::Lost);
                    let rotation = Rotation { session: session.id.clone(), from, to, salt, lost, now };
                    if store.rotate(rotation).await? {
                        let generation = session.generation.saturating_add(u32::from(!lost));
                        return self.renewed(&session, role, &next, generation);
                    }
                }
                Presented::JustSpent => {
                    return self.renewed(&session, role, &token.next(&session.salt), session.generation);
                }
                Presented::Reused => return self.end_stolen(&session, origin).await,
            }
        }
        Err(AccountError::Contended("the session".to_owned()))
    }

    fn renewed(
        &self,
        session: &SessionRecord,
        role: Role,
        next: &RefreshToken,
        generation: u32,
    ) -> Result<Renewed, AccountError> {
        let access = Access { member: session.member.clone(), session: session.id.clone(), role };
        let (access_token, access_expires_at) = self.inner.tokens.make(&access, generation, self.now())?;
        Ok(Renewed {
            member: access.member,
            session: access.session,
            role,
            access_token,
            access_expires_at,
            refresh_token: next.text(),
            session_expires_at: session.expires_at,
        })
    }

    async fn end_stolen<T>(&self, session: &SessionRecord, origin: &Origin) -> Result<T, AccountError> {
        let (member, now) = (&session.member, self.now());
        counter!("membership_refresh_reuse_total").increment(1);
        tracing::warn!(session = %session.id, "a refresh token was used twice; the session is ended");
        let context = self.context(Actor::system(), &origin.request_id);
        let which = Which::One(session.id.clone());
        let (ended, _) = self.end(member, which, RevokedBecause::ReuseDetected, context).await?;
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        if let Some(email) = account.and_then(|account| account.email).filter(|_| ended > 0) {
            self.post(&email, Letter::SessionStolen { at: now });
        }
        Err(AccountError::SessionEnded)
    }

    /// Reads an access token that a browser sent. No I/O. Whether its session was revoked is to be asked of the access index.
    pub fn authenticate(&self, access_token: &str) -> Result<Access, BadAccessToken> {
        let (access, generation) = self.inner.tokens.read(access_token, self.now())?;
        self.note_seen(&access.session, generation);
        Ok(access)
    }

    /// Remembers that what a refresh token was worth is in use. Once for each, as a rule: it costs a write in the background.
    fn note_seen(&self, session: &SessionId, generation: u32) {
        let Some(key) = session.uuid().map(|uuid| uuid.as_u128()) else { return };
        let seen = self.inner.seen.pin();
        let known = seen.get(&key).is_some_and(|seen| *seen >= generation);
        if !known && self.inner.seen_notes.try_send((session.clone(), generation)).is_ok() {
            seen.insert(key, generation);
        }
    }
}
