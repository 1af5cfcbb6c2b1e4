//! Who is signed in: reads the cookies of a request, renews them where that is due, and refuses what a page of another
//! origin asks.
//!
//! An access check costs one HMAC and one look-up in the index of ended sessions. Only a renewal asks the store, once in ten
//! minutes and session; the answer to the same request carries the new cookies, so that no page ever asks twice.

use std::sync::Arc;
use std::time::Duration;

use accounts::{AccountError, Accounts, Origin, Renewed, SignedIn};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use crate::client_address;
use crate::cookies::{CookieStyle, Cookies, Held};
use crate::error::ApiError;
use crate::origins::{Origins, by_token, depends};
use crate::position;
use crate::shell::Asked;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// How many sessions are renewed at once. Each may wait for the store in the slot of an access check.
const RENEWALS: usize = 32;
/// As much as is kept of what a browser calls itself.
const LONGEST_USER_AGENT: usize = 300;
/// How long a browser is known again, which is as long as browsers keep anything.
const DEVICE: Duration = Duration::from_hours(24 * 365);
/// These spend or end the refresh token that a request carries themselves.
const OWN_WAY: [&str; 7] = [
    "/v1/auth/login",
    "/v1/auth/login/second-factor",
    "/v1/auth/logout",
    "/v1/auth/refresh",
    "/v1/auth/console/sign-in",
    "/v1/auth/console/second-factor",
    "/v1/auth/console/sign-out",
];

/// Whether a route spends or ends the refresh token of a request itself.
fn goes_its_own_way(path: &str) -> bool {
    let of_provider = path.strip_prefix("/v1/auth/providers/");
    OWN_WAY.contains(&path) || of_provider.is_some_and(|rest| rest.ends_with("/callback"))
}

/// How people sign in.
#[derive(Clone)]
pub struct SignIn {
    /// What keeps accounts.
    pub accounts: Accounts,
    /// How cookies are named and written.
    pub cookies: CookieStyle,
    /// Whose pages may ask with them.
    pub origins: Origins,
    /// Whether letters can be sent.
    pub letters: bool,
    /// Whether staff has to have a second factor.
    pub strict_staff: bool,
    /// Whether anybody on this machine may sign in as anybody: in the demo.
    pub one_click: bool,
    /// How many more sessions may be renewed at this moment.
    pub renewals: Renewals,
}

/// So many renewals at once.
#[derive(Debug, Clone)]
pub struct Renewals(Arc<Semaphore>);

impl Default for Renewals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RENEWALS)))
    }
}

impl SignIn {
    /// What needs a letter can be asked for.
    pub(crate) fn with_letters(&self) -> Result<&Self, ApiError> {
        if self.letters { Ok(self) } else { Err(ApiError::MailNotConfigured) }
    }

    /// Whether a request carries an access token that counts, without a look at anything.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let token = self.cookies.read(headers).access.one();
        token.is_some_and(|token| self.accounts.authenticate(token).is_ok())
    }

    /// Finds out who asks. What the browser is to keep from now on goes into `set`.
    async fn enter(&self, state: &ApiState, parts: &mut Parts, set: &mut HeaderMap) -> Result<(), ApiError> {
        let cookies = self.cookies.read(&parts.headers);
        self.origins.allow(parts, cookies.any())?;
        let access = cookies.access.one().and_then(|token| self.accounts.authenticate(token).ok());
        // Before the index has caught up it does not know which sessions have ended, and the store has to say.
        let viewer = match access.filter(|_| state.index_progress.applied().is_some()) {
            Some(access) => {
                let viewer = Viewer { member: access.member, session: access.session, role: access.role };
                let ended = state.index.session_is_revoked(&viewer.session);
                if ended {
                    self.cookies.take_away(set);
                }
                (!ended).then_some(viewer)
            }
            _ if goes_its_own_way(parts.uri.path()) => None,
            _ => {
                let viewer = self.renew(state, parts, cookies, set).await?;
                if viewer.is_some() {
                    // Until now it was a stranger's request, which does not get to wait.
                    position::reach(state, parts).await?;
                }
                viewer
            }
        };
        if let Some(viewer) = viewer {
            parts.extensions.insert(viewer);
        }
        Ok(())
    }

    async fn renew(
        &self,
        state: &ApiState,
        parts: &Parts,
        cookies: Cookies<'_>,
        set: &mut HeaderMap,
    ) -> Result<Option<Viewer>, ApiError> {
        let Held::One(token) = cookies.refresh else {
            if cookies.refresh == Held::Several {
                tracing::info!("several refresh cookies came with one request; none was used");
            }
            return Ok(None);
        };
        // A made-up token costs as much as a real one, and comes by no other limit before.
        state.rates.ask_as_stranger(parts, set)?;
        let _place = self.renewals.0.try_acquire().map_err(|_| ApiError::Overloaded)?;
        match self.accounts.refresh(token, &origin(parts, &cookies)).await {
            Ok(renewed) => {
                self.give_renewed(set, &renewed, state.now());
                Ok(Some(Viewer { member: renewed.member, session: renewed.session, role: renewed.role }))
            }
            Err(AccountError::SessionEnded) => {
                self.cookies.take_away(set);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn give_renewed(&self, set: &mut HeaderMap, renewed: &Renewed, now: DateTime<Utc>) {
        self.cookies.give_access(set, &renewed.access_token, left(renewed.access_expires_at, now));
        self.cookies.give_refresh(set, &renewed.refresh_token, left(renewed.session_expires_at, now));
    }

    pub(crate) fn give(&self, set: &mut HeaderMap, signed_in: &SignedIn, now: DateTime<Utc>) {
        self.cookies.give_access(set, &signed_in.access_token, left(signed_in.access_expires_at, now));
        self.cookies.give_refresh(set, &signed_in.refresh_token, left(signed_in.session_expires_at, now));
        if let Some(device) = &signed_in.device {
            self.cookies.give_device(set, device, DEVICE);
        }
    }
}

fn left(until: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (until - now).to_std().unwrap_or_default()
}

/// Where a request comes from, as accounts want to know it.
fn origin(parts: &Parts, cookies: &Cookies<'_>) -> Origin {
    let asked = parts.extensions.get::<Asked>();
    let address = client_address::of(parts).0;
    let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    Origin {
        request_id: asked.map(|asked| asked.request_id().to_owned()).unwrap_or_default(),
        address: (!address.is_unspecified()).then_some(address),
        user_agent: agent.map(|agent| agent.chars().take(LONGEST_USER_AGENT).collect()),
        device: cookies.device.one().map(str::to_owned),
        registration: cookies.registration.one().map(str::to_owned),
    }
}

/// Reads the cookies of every request that comes without a service token.
pub(crate) async fn identify(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let Some(sign_in) = state.sign_in.clone() else { return next.run(request).await };
    let by_token = by_token(request.headers());
    let secret = request.uri().path().starts_with("/v1/auth/");
    let (mut parts, body) = request.into_parts();
    let mut set = HeaderMap::new();
    // What says who asks with a token is a program's, and its cookies, if it has any, do not count.
    let entered = if by_token { Ok(()) } else { sign_in.enter(&state, &mut parts, &mut set).await };
    let personal = parts.extensions.get::<Viewer>().is_some();
    let mut response = match entered {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    // A handler that gives or takes cookies has the last word.
    if !headers.contains_key(SET_COOKIE) {
        headers.extend(set);
    }
    if secret || headers.contains_key(SET_COOKIE) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else if personal && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    depends(headers);
    response
}

/// What a route of accounts has to know of the request.
pub struct Visit {
    /// Where it comes from.
    pub origin: Origin,
    /// The refresh token it carries.
    pub refresh: Option<String>,
    /// What the browser keeps that was sent to a provider.
    pub flow: Option<String>,
    /// What the browser keeps in which a provider has vouched for somebody of whom a code is asked too.
    pub challenge: Option<String>,
}

impl FromRequestParts<ApiState> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let cookies = state.sign_in()?.cookies.read(&parts.headers);
        let [refresh, flow, challenge] =
            [cookies.refresh, cookies.flow, cookies.challenge].map(|held| held.one().map(str::to_owned));
        Ok(Self { origin: origin(parts, &cookies), refresh, flow, challenge })
    }
}
