//! Signing in with a provider.
//!
//! An identity is what a provider calls somebody: its own name and its word for her. An address is no identity. It opens an
//! account where nobody has it and the provider vouches for it; it never joins two.
//!
//! Of what the browser keeps and what goes to the provider and back (`state`) neither alone is worth anything: who has seen the
//! one lacks the other. What the code is spent with and what the signed token has to hold follow from both, so nothing that is
//! kept here tells them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{AccountCommand, RevokedBecause};
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::ports::Position;
use hmac::{Hmac, KeyInit, Mac};
use metrics::counter;
use sha2::{Digest, Sha256};

use super::sign_in::from_one;
use super::{Accounts, network};
use crate::answers::Login;
use crate::email::Email;
use crate::error::AccountError;
use crate::identities::{
    Answer, Claims, FirstSignIn, Flow, IdentityRecord, Linked, OpenedWith, Provider, ProviderError, Request,
    Unlinked,
};
use crate::letters::Letter;
use crate::news;
use crate::parts::Origin;
use crate::refresh::has_expired;
use crate::secrets::{bytes, hash, secret};
use crate::store::{AccountRecord, Which};
use crate::throttle::Counter;

/// How long somebody may take at a provider.
const FLOW_LIFE: TimeDelta = TimeDelta::minutes(10);
/// How long after a sign-in somebody without a password counts as having just shown who she is.
const FRESH: TimeDelta = TimeDelta::minutes(10);
/// Addresses of others are kept to this length.
const LONGEST_EMAIL: usize = 254;

/// A browser is to be sent to a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Departure {
    /// Where to.
    pub url: String,
    /// What the browser is to keep in a cookie until it comes back.
    pub browser: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// What a browser brings back from a provider.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// The provider that it says it comes from.
    pub provider: &'a str,
    /// What it was sent there with.
    pub state: &'a str,
    /// What the provider gave it; none where the provider, or she, said no.
    pub code: Option<&'a str>,
    /// Whom the provider says it is.
    pub issuer: Option<&'a str>,
    /// What the browser kept.
    pub browser: &'a str,
}

/// Somebody is back from a provider.
pub struct Arrived {
    /// The page where she goes on.
    pub return_to: String,
    /// What came of it.
    pub outcome: Result<Outcome, AccountError>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is clear who she is.
    Login(Login),
    /// She can sign in with the provider from now on.
    Linked(Position),
}

/// An identity as it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityView {
    /// Its id.
    pub id: IdentityId,
    /// The provider, by its present name in the settings; by the one it had when it is not there any more.
    pub provider: String,
    /// Whether the provider is still there.
    pub usable: bool,
    /// Her address there when it was linked.
    pub email: Option<String>,
    /// Since when.
    pub linked_at: DateTime<Utc>,
    /// When she last came with it.
    pub used_at: Option<DateTime<Utc>>,
}

/// What only the browser that was sent can show, from its secret and the state.
fn derived(browser: &str, purpose: &str, state: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(browser.as_bytes()).expect("a key may have any length");
    mac.update(purpose.as_bytes());
    mac.update(state.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

impl From<ProviderError> for AccountError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable(why) => Self::ProviderUnavailable(why),
            ProviderError::Refused(why) => Self::ProviderRefused(why),
        }
    }
}

impl Accounts {
    /// The providers that people can sign in with.
    pub fn providers(&self) -> &[Provider] {
        self.inner.parts.providers.list()
    }

    fn provider(&self, name: &str) -> Result<&Provider, AccountError> {
        let providers = self.providers();
        if providers.is_empty() {
            return Err(AccountError::NoProviders);
        }
        providers.iter().find(|provider| provider.name == name).ok_or(AccountError::UnknownProvider)
    }

    fn redirect_uri(&self, provider: &Provider) -> String {
        // One of its own for each, so that no provider is taken for another.
        format!("{}/v1/auth/providers/{}/callback", self.inner.settings.issuer, provider.name)
    }

    /// Sends a browser to a provider, to sign in. The caller has made sure that `return_to` is a page of ours.
    pub async fn depart(
        &self,
        provider: &str,
        return_to: &str,
        origin: &Origin,
    ) -> Result<Departure, AccountError> {
        self.send(provider, return_to, None, origin).await
    }

    /// The same, to link what the provider calls her to the account of whoever is signed in. She shows with her password that it is
    /// she; who has none, by having signed in just now.
    pub async fn depart_to_link(
        &self,
        (member, session): (&MemberId, &SessionId),
        provider: &str,
        password: Option<&str>,
        return_to: &str,
        origin: &Origin,
    ) -> Result<Departure, AccountError> {
        self.provider(provider)?;
        self.proven_lately(member, session, password).await?;
        self.send(provider, return_to, Some((member.clone(), session.clone())), origin).await
    }

    async fn send(
        &self,
        provider: &str,
        return_to: &str,
        link: Option<(MemberId, SessionId)>,
        origin: &Origin,
    ) -> Result<Departure, AccountError> {
        let provider = self.provider(provider)?;
        let key = format!("flows-from:{}", network(origin));
        self.attempt(vec![Counter { key, rule: from_one(origin).rule }]).await?;
        let random = self.inner.parts.random.as_ref();
        let (state, browser) = (secret(random)?, secret(random)?);
        let verifier = derived(&browser, "verifier", &state);
        let request = Request {
            state: &state,
            nonce: &derived(&browser, "nonce", &state),
            challenge: &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)),
            redirect_uri: &self.redirect_uri(provider),
        };
        let url = self.inner.parts.providers.authorize(&provider.name, request).await?;
        let expires_at = self.now() + FLOW_LIFE;
        let flow = Flow {
            state: hash(&state),
            browser: hash(&browser),
            provider: provider.name.clone(),
            return_to: return_to.to_owned(),
            link,
            expires_at,
        };
        self.inner.parts.identities.add_flow(flow).await?;
        Ok(Departure { url, browser, expires_at })
    }

    /// Takes a browser in that comes back from a provider. Before it is clear that it is one that was sent, nothing is known of
    /// where it should go on, and the error is the whole answer.
    pub async fn arrive(&self, arrival: Arrival<'_>, origin: &Origin) -> Result<Arrived, AccountError> {
        let provider = self.provider(arrival.provider)?;
        self.attempt(vec![from_one(origin)]).await?;
        let (state, browser) = (hash(arrival.state), hash(arrival.browser));
        let flow = self.inner.parts.identities.take_flow(&state, &browser, self.now()).await?;
        let flow = flow.filter(|flow| flow.provider == provider.name).ok_or(AccountError::BadFlow)?;
        let outcome = self.arrived(provider, &flow, arrival, origin).await;
        let counted = match &outcome {
            Ok(Outcome::Login(Login::SignedIn(_))) => Some("signed_in"),
            Ok(Outcome::Login(Login::SecondFactorRequired { .. })) => Some("second_factor_required"),
            Ok(Outcome::Linked(_)) => None,
            Err(AccountError::Locked(_)) if flow.link.is_none() => Some("locked"),
            Err(AccountError::Store(_) | AccountError::ProviderUnavailable(_)) => Some("failed"),
            Err(_) => flow.link.is_none().then_some("refused"),
        };
        if let Some(outcome) = counted {
            counter!("membership_sign_ins_total", "outcome" => outcome).increment(1);
        }
        if let Err(AccountError::ProviderUnavailable(why) | AccountError::ProviderRefused(why)) = &outcome {
            tracing::warn!(provider = provider.name, why, "nobody was signed in");
        }
        Ok(Arrived { return_to: flow.return_to, outcome })
    }

    async fn arrived(
        &self,
        provider: &Provider,
        flow: &Flow,
        arrival: Arrival<'_>,
        origin: &Origin,
    ) -> Result<Outcome, AccountError> {
        let answer = Answer {
            code: arrival.code.ok_or(AccountError::SignInDenied)?,
            issuer: arrival.issuer,
            verifier: &derived(arrival.browser, "verifier", arrival.state),
            nonce: &derived(arrival.browser, "nonce", arrival.state),
            redirect_uri: &self.redirect_uri(provider),
        };
        let claims = self.inner.parts.providers.identify(&provider.name, answer).await?;
        match &flow.link {
            Some((member, session)) => {
                self.link(provider, claims, member, session, origin).await.map(Outcome::Linked)
            }
            None => self.sign_in_through(provider, claims, origin).await.map(Outcome::Login),
        }
    }

    async fn sign_in_through(
        &self,
        provider: &Provider,
        claims: Claims,
        origin: &Origin,
    ) -> Result<Login, AccountError> {
        let identities = &self.inner.parts.identities;
        let held = identities.use_identity(&claims.issuer, &claims.subject, self.now()).await?;
        let member = match held {
            Some(member) => member,
            None => self.open_through(provider, claims, origin).await?,
        };
        let account = self.open_account_of(&member).await?;
        self.go_on(&account, Some(&provider.name), origin).await
    }

    /// Opens an account for somebody who comes for the first time.
    async fn open_through(
        &self,
        provider: &Provider,
        claims: Claims,
        origin: &Origin,
    ) -> Result<MemberId, AccountError> {
        if let Some(failed) = claims.email_failed {
            return Err(failed.into());
        }
        let email = claims.email.as_deref().filter(|_| claims.email_verified);
        let email = Email::parse(email.unwrap_or_default()).map_err(|_| AccountError::EmailNotVerified)?;
        let member = MemberId::generate(self.now(), bytes(self.inner.parts.random.as_ref())?);
        let identity = self.identity(provider, claims, &member)?;
        let (command, context) = (told(&identity), self.by_herself(&member, origin));
        let news = news::of(&command, &context, self.inner.parts.random.as_ref())?;
        let id = news.id.clone();
        let first = FirstSignIn { identity, email: email.written, email_lower: email.lower };
        match self.inner.parts.identities.open_with(first, news).await? {
            OpenedWith::Taken => Err(AccountError::EmailKnown),
            // She came twice at once.
            OpenedWith::Held(member) => Ok(member),
            OpenedWith::New => {
                self.announce(&member, context.clone()).await?;
                self.tell_news(&member, &id, command, context).await?;
                Ok(member)
            }
        }
    }

    fn identity(
        &self,
        provider: &Provider,
        claims: Claims,
        member: &MemberId,
    ) -> Result<IdentityRecord, AccountError> {
        let now = self.now();
        Ok(IdentityRecord {
            id: IdentityId::generate(now, bytes(self.inner.parts.random.as_ref())?),
            issuer: claims.issuer,
            subject: claims.subject,
            member: member.clone(),
            provider: provider.name.clone(),
            email: claims.email.map(|email| email.chars().take(LONGEST_EMAIL).collect()),
            linked_at: now,
            used_at: None,
            asked_in: None,
        })
    }

    async fn link(
        &self,
        provider: &Provider,
        claims: Claims,
        member: &MemberId,
        session: &SessionId,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        // The access token may have ended while she was there, the session may not.
        let (now, idle) = (self.now(), self.inner.settings.idle_life);
        let sessions = self.inner.parts.store.sessions(member).await?;
        let lives = sessions.iter().any(|held| held.id == *session && !has_expired(held, idle, now));
        if !lives {
            return Err(AccountError::SessionEnded);
        }
        let account = self.open_account_of(member).await?;
        let identity =
            IdentityRecord { asked_in: Some(session.clone()), ..self.identity(provider, claims, member)? };
        let (command, context) = (told(&identity), self.by_herself(member, origin));
        let news = news::of(&command, &context, self.inner.parts.random.as_ref())?;
        let id = news.id.clone();
        match self.inner.parts.identities.link_identity(identity, news).await? {
            Linked::Taken => Err(AccountError::IdentityTaken),
            Linked::NoAccount => Err(AccountError::NoAccount),
            Linked::SessionEnded => Err(AccountError::SessionEnded),
            Linked::Held => Ok(Position::START),
            Linked::Done => {
                if let Some(email) = account.email {
                    self.post(&email, Letter::IdentityLinked { provider: provider.name.clone() });
                }
                self.tell_news(member, &id, command, context).await
            }
        }
    }

    /// What a member signs in with beside her password, the oldest first.
    pub async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityView>, AccountError> {
        let identities = self.inner.parts.identities.identities(member).await?;
        Ok(identities.into_iter().map(|identity| self.shown(identity)).collect())
    }

    fn shown(&self, identity: IdentityRecord) -> IdentityView {
        let IdentityRecord { id, issuer, provider, email, linked_at, used_at, .. } = identity;
        let present = self.providers().iter().find(|present| present.issuer == issuer);
        let usable = present.is_some();
        let provider = present.map_or(provider, |present| present.name.clone());
        IdentityView { id, provider, usable, email, linked_at, used_at }
    }

    /// Unlinks an identity of hers, unless it is her only way in. She shows that it is she as for linking one. Her other sessions
    /// end: whoever came with the identity is not to stay.
    pub async fn unlink(
        &self,
        (member, session): (&MemberId, &SessionId),
        identity: &IdentityId,
        password: Option<&str>,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        let account = self.proven_lately(member, session, password).await?;
        let (held, others): (Vec<_>, Vec<_>) =
            self.identities(member).await?.into_iter().partition(|held| held.id == *identity);
        let provider = held.into_iter().next().ok_or(AccountError::NoIdentity)?.provider;
        if account.password.is_none() && !others.iter().any(|other| other.usable) {
            return Err(AccountError::LastWayIn);
        }
        let issuers: Vec<String> = self.providers().iter().map(|provider| provider.issuer.clone()).collect();
        let command =
            AccountCommand::UnlinkIdentity { identity: identity.clone(), provider: provider.clone() };
        let context = self.by_herself(member, origin);
        let news = news::of(&command, &context, self.inner.parts.random.as_ref())?;
        let id = news.id.clone();
        let end_others = || {
            let which = Which::AllBut(session.clone());
            self.end(member, which, RevokedBecause::Revoked, context.clone())
        };
        // Before, so that none is left where it is cut off here: she asks again. And after, for one that begins meanwhile.
        end_others().await?;
        match self.inner.parts.identities.unlink_identity(member, identity, &issuers, news).await? {
            Unlinked::Unknown => Err(AccountError::NoIdentity),
            Unlinked::LastWayIn => Err(AccountError::LastWayIn),
            Unlinked::Done => {
                if let Some(email) = account.email {
                    self.post(&email, Letter::IdentityUnlinked { provider });
                }
                let (_, ended) = end_others().await?;
                Ok(ended.max(self.tell_news(member, &id, command, context).await?))
            }
        }
    }

    /// The account of somebody who shows again that it is she: with her password, or by a sign-in of the last minutes where she
    /// has none.
    async fn proven_lately(
        &self,
        member: &MemberId,
        session: &SessionId,
        password: Option<&str>,
    ) -> Result<AccountRecord, AccountError> {
        let account = self.open_account_of(member).await?;
        if password.is_some() || account.password.is_some() {
            return self.proven(member, password.unwrap_or_default()).await;
        }
        let (now, sessions) = (self.now(), self.inner.parts.store.sessions(member).await?);
        let fresh = sessions.iter().any(|held| held.id == *session && now - held.created_at < FRESH);
        fresh.then_some(account).ok_or(AccountError::SignInAgain)
    }
}

/// What the log is told of an identity that is linked.
fn told(identity: &IdentityRecord) -> AccountCommand {
    AccountCommand::LinkIdentity { identity: identity.id.clone(), provider: identity.provider.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_depends_on_the_browser_the_state_and_what_it_is_for() {
        let verifier = derived("browser", "verifier", "state");
        assert_eq!(verifier.len(), 43, "as short as the standard allows");
        assert_eq!(verifier, derived("browser", "verifier", "state"));
        for other in [
            derived("another", "verifier", "state"),
            derived("browser", "nonce", "state"),
            derived("browser", "verifier", "another"),
        ] {
            assert_ne!(verifier, other);
        }
    }
}
