//! Who may ask: service tokens and their scopes, staff that is signed in, and one extractor per scope.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use accounts::policy::{Deed, Doer, Target, may};
use accounts::{AccountError, AccountView, ServiceCaller};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use domain::account::Role;
use domain::ids::MemberId;
use domain::metadata::Actor;
use projections::access_index::NotThere;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::error::ApiError;
use crate::shell::Asked;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// Something a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Ask for access decisions.
    AccessRead,
    /// Read what support reads.
    SupportRead,
    /// Do what support does.
    SupportWrite,
    /// Make members and link their payers.
    MembersWrite,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::AccessRead, Self::SupportRead, Self::SupportWrite, Self::MembersWrite];

    /// The scope as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessRead => "access.read",
            Self::SupportRead => "support.read",
            Self::SupportWrite => "support.write",
            Self::MembersWrite => "members.write",
        }
    }

    /// Reads a scope.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tokens other back ends ask with. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct ServiceTokens(Arc<[Known]>);

impl fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceTokens({})", self.0.len())
    }
}

struct Known {
    hash: [u8; 32],
    caller: Caller,
}

/// Who asks: another back end, known by its token, or somebody of the staff.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Actor,
    /// What the rules about staff know her as.
    doer: Doer,
    scopes: Arc<[Scope]>,
}

impl Caller {
    /// One whose token was made while the service runs. Scopes that this version does not know allow nothing.
    fn made(made: &ServiceCaller) -> Self {
        let scopes = made.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
        Self { actor: Actor::service(&made.name), doer: Doer::Service, scopes }
    }

    /// Whether it is somebody of the staff, and no back end.
    pub fn is_staff(&self) -> bool {
        self.actor.is_staff()
    }

    /// The name its events carry.
    pub fn actor(&self) -> Actor {
        self.actor.clone()
    }

    /// What the rules about staff know her as.
    pub fn doer(&self) -> Doer {
        self.doer
    }

    /// Refuses whoever does not keep accounts.
    pub fn keeps_accounts(&self) -> Result<(), ApiError> {
        Ok(may(self.doer, Deed::KeepAccounts, Target::NOBODY)?)
    }
}

/// Why a list of tokens cannot be used. Never says what the entry holds: any part of it may be a token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "entry {entry}: {problem}; expected name:scope+scope:token, such as shop:access.read+members.write:a-long-random-token"
)]
pub struct BadServiceTokens {
    entry: usize,
    problem: &'static str,
}

impl ServiceTokens {
    /// Reads `name:scope+scope:token,…`. An empty text is an empty list.
    pub fn parse(text: &str) -> Result<Self, BadServiceTokens> {
        let mut known: Vec<Known> = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        for (index, entry) in text.split(',').enumerate() {
            let bad = |problem| BadServiceTokens { entry: index + 1, problem };
            let next = Known::parse(entry.trim()).map_err(bad)?;
            if known.iter().any(|known| known.hash == next.hash) {
                return Err(bad("its token was given before"));
            }
            known.push(next);
        }
        Ok(Self(known.into()))
    }

    /// Who has this token. Takes as long for any token.
    fn find(&self, token: &str) -> Option<&Caller> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let same = |known: &Known| bool::from(known.hash.ct_eq(&hash));
        self.0.iter().fold(None, |found, known| if same(known) { Some(&known.caller) } else { found })
    }
}

impl Known {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let mut parts = entry.splitn(3, ':');
        let (Some(name), Some(scopes), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("it does not have three parts");
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err("its name is not made of letters, digits, '-', '_' and '.'");
        }
        let scopes =
            scopes.split('+').map(Scope::parse).collect::<Option<Vec<_>>>().ok_or(
                "its scopes are not among access.read, support.read, support.write and members.write",
            )?;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("its token is not made of printable characters without spaces");
        }
        let caller = Caller { actor: Actor::service(name), doer: Doer::Service, scopes: scopes.into() };
        Ok(Self { hash: Sha256::digest(token.as_bytes()).into(), caller })
    }
}

/// A scope as a type, so that a handler's signature says what it needs.
pub trait Needs {
    /// The scope.
    const SCOPE: Scope;
}

/// Needs `access.read`.
pub struct AccessRead;

/// Needs `support.read`.
pub struct SupportRead;

/// Needs `support.write`.
pub struct SupportWrite;

/// Needs `members.write`.
pub struct MembersWrite;

impl Needs for AccessRead {
    const SCOPE: Scope = Scope::AccessRead;
}

impl Needs for SupportRead {
    const SCOPE: Scope = Scope::SupportRead;
}

impl Needs for SupportWrite {
    const SCOPE: Scope = Scope::SupportWrite;
}

impl Needs for MembersWrite {
    const SCOPE: Scope = Scope::MembersWrite;
}

/// A caller who has the scope `N`: by a token, or, for what support does, as somebody of the staff who is signed in.
pub struct Allowed<N> {
    /// Who asks.
    pub caller: Caller,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<ApiState> for Allowed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = match bearer(parts) {
            Some(token) => of_token(state, token, N::SCOPE)?,
            None => of_staff(state, parts, N::SCOPE).await?,
        };
        Ok(Self { caller, needs: PhantomData })
    }
}

fn of_token(state: &ApiState, token: &str, scope: Scope) -> Result<Caller, ApiError> {
    let caller = caller(state, token).ok_or(ApiError::Unauthenticated)?;
    if caller.scopes.contains(&scope) { Ok(caller) } else { Err(ApiError::MissingScope(scope)) }
}

/// Staff may do what support does, once it has proved itself with a second factor too. What it reads of a member is
/// recorded before it is shown.
async fn of_staff(state: &ApiState, parts: &mut Parts, scope: Scope) -> Result<Caller, ApiError> {
    let Some(viewer) = parts.extensions.get::<Viewer>().cloned() else {
        return Err(ApiError::Unauthenticated);
    };
    if !matches!(scope, Scope::SupportRead | Scope::SupportWrite) {
        return Err(ApiError::Unauthenticated);
    }
    let account = account_of_staff(state, &viewer).await?;
    if state.sign_in()?.strict_staff && !account.second_factor.enabled {
        return Err(ApiError::SecondFactorRequired);
    }
    // A form that is shown once more, with what was wrong with it, shows of her what its page does.
    let is_shown = parts.method.is_safe() || parts.uri.path().starts_with("/console/");
    if is_shown && let Some((member, what)) = read_of_a_member(parts).await {
        let request = parts.extensions.get::<Asked>().map(Asked::request_id).unwrap_or_default();
        record_read(state, &viewer, &member, &what, request).await?;
    }
    let (actor, doer) = (Actor::staff(&viewer.member), Doer::Staff(account.role.min(viewer.role)));
    Ok(Caller { actor, doer, scopes: Arc::new([scope]) })
}

/// The account of somebody of the staff, whether it has a second factor or not. The account and not the token: rights that were
/// taken away, a lock, and a second factor, count at once.
pub async fn account_of_staff(state: &ApiState, viewer: &Viewer) -> Result<AccountView, ApiError> {
    let account = state.sign_in()?.accounts.account(&viewer.member).await?.ok_or(ApiError::NotSignedIn)?;
    // Not as if she were not signed in: the console would send her to sign in, and back, for ever.
    if let Some(lock) = account.lock {
        return Err(AccountError::Locked(lock).into());
    }
    if account.role.min(viewer.role) < Role::Support { Err(ApiError::NotStaff) } else { Ok(account) }
}

/// Records that somebody of the staff looks at something of a member's, before it is shown.
pub async fn record_read(
    state: &ApiState,
    viewer: &Viewer,
    member: &MemberId,
    what: &str,
    request: &str,
) -> Result<(), ApiError> {
    // Before the index has caught up nobody is a member to it, and nothing would be recorded.
    state.index_progress.applied().ok_or(ApiError::NotReady)?;
    if state.index.check(member, "", state.now()) != Err(NotThere::Member) {
        let Viewer { member: staff, session, .. } = viewer;
        state.sign_in()?.accounts.record_staff_read(staff, session, member, what, request).await?;
    }
    Ok(())
}

/// Whose data a request reads, and which: what the route makes of the path, however it is written.
async fn read_of_a_member(parts: &mut Parts) -> Option<(MemberId, String)> {
    let what = parts.extensions.get::<MatchedPath>()?.as_str().split_once("/members/{member}")?.1;
    let what = if what.is_empty() { "member" } else { what.trim_start_matches('/') }.to_owned();
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    let (_, member) = parameters.iter().find(|(name, _)| *name == "member")?;
    Some((MemberId::parse(member).ok()?, what))
}

/// Whether a request comes from somebody we know, whatever she may do.
pub(crate) fn is_known(parts: &Parts, state: &ApiState) -> bool {
    match bearer(parts) {
        Some(token) => caller(state, token).is_some(),
        None => state.sign_in.as_ref().is_some_and(|sign_in| sign_in.knows(&parts.headers)),
    }
}

/// The back end that a token is of.
fn caller(state: &ApiState, token: &str) -> Option<Caller> {
    let made = || state.accounts.as_ref()?.find_service_token(token).map(|made| Caller::made(&made));
    state.tokens.find(token).cloned().or_else(made)
}

/// Which back end a request comes from, if its token is known.
pub(crate) fn service(parts: &Parts, state: &ApiState) -> Option<Actor> {
    bearer(parts).and_then(|token| caller(state, token)).map(|caller| caller.actor)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-sixteen:and-more";

    #[test]
    fn a_token_finds_its_service_and_scopes() {
        let tokens = ServiceTokens::parse(&format!(
            "shop:access.read+members.write:{TOKEN}, other:support.read:0123456789abcdef"
        ))
        .unwrap();
        let caller = tokens.find(TOKEN).unwrap();
        assert_eq!(caller.actor(), Actor::service("shop"));
        assert_eq!(*caller.scopes, [Scope::AccessRead, Scope::MembersWrite]);
        assert!(tokens.find("a-token-of-sixteen:and-mor").is_none());
        assert!(tokens.find("").is_none());
    }

    #[test]
    fn no_tokens_is_a_list_too() {
        assert!(ServiceTokens::parse(" ").unwrap().find(TOKEN).is_none());
    }

    #[test]
    fn a_bad_entry_is_named_by_its_number_and_never_shown() {
        let secret = "hush-hush-hush-hush";
        for bad in [
            secret.to_owned(),
            format!("shop:{secret}"),
            format!("{secret}!:access.read:short"),
            format!("shop:{secret}:access.read"),
            "shop:access.read:".to_owned(),
            format!("shop:access.read:{secret},shop:access.read:{secret}"),
            format!("shop:access.read:{secret} {secret}"),
            format!("shop:access.read:{secret},"),
        ] {
            let message = ServiceTokens::parse(&bad).err().unwrap().to_string();
            assert!(message.starts_with("entry ") && !message.contains(secret), "{message}");
        }
    }
}
