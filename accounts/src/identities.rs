//! What the service needs to have people sign in with providers that speak OpenID Connect: a store beside that of accounts, and
//! somebody who speaks to the providers.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::ports::StoreError;
use thiserror::Error;

use crate::store::{Hash, News};

/// Somebody was sent to a provider. Used once, in the browser that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// SHA-256 of what the provider is to send back.
    pub state: Hash,
    /// SHA-256 of what the browser keeps.
    pub browser: Hash,
    /// The provider, by its name.
    pub provider: String,
    /// The page where she goes on.
    pub return_to: String,
    /// Whose account the identity is to be linked to, and the session that this was asked in; none to sign in.
    pub link: Option<(MemberId, SessionId)>,
    /// Until when it counts.
    pub expires_at: DateTime<Utc>,
}

/// By what a provider knows somebody. Issuer and subject say who it is, and nothing else does.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    /// By which the log and she name it.
    pub id: IdentityId,
    /// The provider, by its own name.
    pub issuer: String,
    /// Whom it means, in its own words.
    pub subject: String,
    /// Who she is here.
    pub member: MemberId,
    /// The name of the provider in the settings when it was linked.
    pub provider: String,
    /// Her address there when it was linked, for her to tell one from another.
    pub email: Option<String>,
    /// Since when.
    pub linked_at: DateTime<Utc>,
    /// When she last came with it.
    pub used_at: Option<DateTime<Utc>>,
    /// The session that she asks in to have it linked; it is not kept with it.
    pub asked_in: Option<SessionId>,
}

/// An account that is opened by somebody whose address a provider vouches for.
#[derive(Clone)]
pub struct FirstSignIn {
    /// By what she is known there; its member is who she will be here.
    pub identity: IdentityRecord,
    /// Her address as the provider writes it.
    pub email: String,
    /// The same in small letters.
    pub email_lower: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenedWith {
    /// The account is new, and the identity hers.
    New,
    /// The identity is somebody's already; nothing was done.
    Held(MemberId),
    /// Somebody here has the address already; nothing was done.
    Taken,
}

/// What became of linking an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// It is hers.
    Done,
    /// It was hers before.
    Held,
    /// It is somebody else's.
    Taken,
    /// She has no account.
    NoAccount,
    /// The session that she asked in has ended, as by a lock or by another password.
    SessionEnded,
}

/// What became of unlinking one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlinked {
    /// It is nobody's.
    Done,
    /// It was not hers.
    Unknown,
    /// Without it she could not sign in; nothing was done.
    LastWayIn,
}

/// Where it is kept who signs in with what. Each method does all of what it says, or nothing.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Keeps who was sent to a provider.
    async fn add_flow(&self, flow: Flow) -> Result<(), StoreError>;

    /// Spends a flow of this browser: of those who ask, one gets it. One of another browser stays.
    async fn take_flow(
        &self,
        state: &Hash,
        browser: &Hash,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, StoreError>;

    /// Whose an identity is, noting that she came with it.
    async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberId>, StoreError>;

    /// A member's identities, the oldest first.
    async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityRecord>, StoreError>;

    /// Opens an account without a password for somebody whom nobody here knows, neither by this identity nor by this address, and
    /// keeps the news of the link. What waits to open one for the address by letter counts no more.
    async fn open_with(&self, first: FirstSignIn, news: News) -> Result<OpenedWith, StoreError>;

    /// Links an identity to a member who has an account, and keeps the news of it, if the session that she asks in still lives.
    async fn link_identity(&self, identity: IdentityRecord, news: News) -> Result<Linked, StoreError>;

    /// Unlinks an identity of a member and keeps the news of it, unless she has neither a password nor another identity of one of
    /// these issuers. In the same moment her open challenges count no more.
    async fn unlink_identity(
        &self,
        member: &MemberId,
        identity: &IdentityId,
        issuers: &[String],
        news: News,
    ) -> Result<Unlinked, StoreError>;

    /// Removes some of the flows that count no more at `now`; false when nothing was left to remove.
    async fn sweep_flows(&self, now: DateTime<Utc>) -> Result<bool, StoreError>;
}

/// A provider that people can sign in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the settings.
    pub name: String,
    /// Its own name, a URL.
    pub issuer: String,
}

/// What a browser is sent to a provider with.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Comes back with the answer.
    pub state: &'r str,
    /// Comes back in the signed token.
    pub nonce: &'r str,
    /// SHA-256 of what the code can be spent with, in base64.
    pub challenge: &'r str,
    /// Where it is sent back to.
    pub redirect_uri: &'r str,
}

/// What a browser comes back with.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// Worth a signed token, once.
    pub code: &'a str,
    /// Who says so, where the provider tells it beside the code.
    pub issuer: Option<&'a str>,
    /// What the code can be spent with.
    pub verifier: &'a str,
    /// What the token has to hold.
    pub nonce: &'a str,
    /// Where it was sent back to.
    pub redirect_uri: &'a str,
}

/// What a provider says of somebody, and has signed for this service, for this very request.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who says so.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
    /// Her address.
    pub email: Option<String>,
    /// Whether the provider vouches for the address being hers.
    pub email_verified: bool,
    /// Why her address is not known, where the provider could not be asked for it.
    pub email_failed: Option<ProviderError>,
}

/// Never what it says: that is personal.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims of {}", self.issuer)
    }
}

/// Why a provider does not tell who somebody is. The texts hold nothing secret and nothing personal.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ProviderError {
    /// It cannot be reached, or does not do what it should; another attempt may help.
    #[error("{0}")]
    Unavailable(String),
    /// What it says is not to be believed.
    #[error("{0}")]
    Refused(String),
}

/// Speaks to providers. Names are those of [`Self::list`]; another is an error like a provider that is not there.
#[async_trait]
pub trait Providers: Send + Sync {
    /// All of them, in the order of the settings.
    fn list(&self) -> &[Provider];

    /// Where a browser is to be sent.
    async fn authorize(&self, provider: &str, request: Request<'_>) -> Result<String, ProviderError>;

    /// Who came back.
    async fn identify(&self, provider: &str, answer: Answer<'_>) -> Result<Claims, ProviderError>;
}

/// Nobody to sign in with.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProviders;

#[async_trait]
impl Providers for NoProviders {
    fn list(&self) -> &[Provider] {
        &[]
    }

    async fn authorize(&self, _provider: &str, _request: Request<'_>) -> Result<String, ProviderError> {
        Err(ProviderError::Unavailable("there is none".to_owned()))
    }

    async fn identify(&self, _provider: &str, _answer: Answer<'_>) -> Result<Claims, ProviderError> {
        Err(ProviderError::Unavailable("there is none".to_owned()))
    }
}
