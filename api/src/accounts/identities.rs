//! Signing in with providers that speak OpenID Connect, and what links them to an account.
//!
//! A browser that comes back from a provider is sent on to the page that it began at, whatever came of it: what is to be told
//! there is the query's `sign_in`. Only what was never begun in this browser is answered with a problem.

use std::time::Duration;

use ::accounts::{AccountError, Arrival, Arrived, Departure, IdentityView, Login, Outcome};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::ids::IdentityId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::welcome_to;
use crate::error::{ApiError, Problem};
use crate::extract::{Body, Ids, List, Params};
use crate::position::AnsweredAt;
use crate::sign_in::{SignIn, Visit};
use crate::state::ApiState;
use crate::viewer::Viewer;

/// A provider that people can sign in with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct ProviderBody {
    /// Always `provider`.
    #[schema(example = "provider")]
    object: &'static str,
    /// Its name, for the addresses of this API.
    #[schema(example = "google")]
    name: String,
    /// Its own name.
    #[schema(example = "https://accounts.google.com")]
    issuer: String,
}

/// Where she goes on when she is back from a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Going {
    /// A path of this service, or an address of an origin in `LEARN_ORIGINS`. It is asked with `sign_in=` in its query:
    /// `signed_in`, `linked`, `second_factor_required`, or the code of what went wrong.
    #[schema(max_length = 1000, example = "/learn")]
    return_to: String,
}

/// The same, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Linking {
    /// As for signing in.
    #[schema(max_length = 1000, example = "/learn/account")]
    return_to: String,
    /// The present password. Who has none leaves it out, and has to have signed in within the last ten minutes.
    #[schema(format = Password)]
    password: Option<String>,
}

/// The password, to show again who she is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlinking {
    /// The present password. Who has none leaves it out, and has to have signed in within the last ten minutes.
    #[schema(format = Password)]
    password: Option<String>,
}

/// Where a browser is to go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Departure)]
pub struct DepartureBody {
    /// Always `departure`.
    #[schema(example = "departure")]
    object: &'static str,
    /// The provider's page. Go there with the whole window, not with a script.
    url: String,
    /// Until when she has to be back.
    expires_at: DateTime<Utc>,
}

/// What a provider sends a browser back with.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Back {
    /// What the browser was sent there with.
    state: Option<String>,
    /// Worth a signed token.
    code: Option<String>,
    /// Why there is none.
    error: Option<String>,
    /// The provider's own name, where it tells it.
    iss: Option<String>,
}

/// What somebody signs in with beside her password.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub struct IdentityBody {
    /// Always `identity`.
    #[schema(example = "identity")]
    object: &'static str,
    /// Its id.
    #[schema(value_type = String, example = "idn_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    id: IdentityId,
    /// The provider's name.
    #[schema(example = "google")]
    provider: String,
    /// Whether the provider can still be signed in with here.
    usable: bool,
    /// Her address there when it was linked.
    #[schema(required = true)]
    email: Option<String>,
    /// Since when.
    linked_at: DateTime<Utc>,
    /// When she last came with it.
    #[schema(required = true)]
    used_at: Option<DateTime<Utc>>,
}

impl From<IdentityView> for IdentityBody {
    fn from(view: IdentityView) -> Self {
        let IdentityView { id, provider, usable, email, linked_at, used_at } = view;
        Self { object: "identity", id, provider, usable, email, linked_at, used_at }
    }
}

/// The whole address of a page of ours.
pub fn page(sign_in: &SignIn, return_to: &str) -> Result<String, ApiError> {
    sign_in.origins.page(return_to).ok_or(ApiError::Invalid {
        field: "return_to",
        why:
            "it has to be a path of this service, such as /learn, or an address of an origin in LEARN_ORIGINS"
                .into(),
    })
}

/// Has the browser keep what shows, when it comes back, that it is the one that was sent.
pub fn sent(sign_in: &SignIn, departure: &Departure, now: DateTime<Utc>) -> HeaderMap {
    let mut set = HeaderMap::new();
    let keep = (departure.expires_at - now).to_std().unwrap_or_default();
    sign_in.cookies.give_flow(&mut set, &departure.browser, keep);
    set
}

fn departing(state: &ApiState, sign_in: &SignIn, departure: Departure) -> Response {
    let set = sent(sign_in, &departure, state.now());
    let Departure { url, expires_at, .. } = departure;
    (set, Json(DepartureBody { object: "departure", url, expires_at })).into_response()
}

/// Who else may say who somebody is.
///
/// All that the operator has set, in that order; none where there are none.
#[utoipa::path(
    get, path = "/v1/auth/providers", operation_id = "listProviders", tag = "Accounts",
    responses((status = 200, description = "All of them; `has_more` is always false", body = List<ProviderBody>)),
)]
pub async fn providers(State(state): State<ApiState>) -> Result<Json<List<ProviderBody>>, ApiError> {
    let all = state.sign_in()?.accounts.providers().to_vec();
    let shown = |provider: ::accounts::Provider| ProviderBody {
        object: "provider",
        name: provider.name,
        issuer: provider.issuer,
    };
    let count = all.len();
    Ok(Json(List::page(all, count, |provider| provider.name.clone(), shown)))
}

/// Begin to sign in with a provider.
///
/// Go to `url` with the whole window. The provider sends the browser back to this service, which signs her in and sends it on to
/// `return_to`. Who comes for the first time gets an account, if the provider vouches for her address and nobody has it here.
#[utoipa::path(
    post, path = "/v1/auth/providers/{provider}/start", operation_id = "startProviderSignIn", tag = "Accounts",
    params(("provider" = String, Path, description = "The provider's name")),
    request_body = Going,
    responses(
        (status = 200, description = "Where to go", body = DepartureBody),
        (status = 404, description = "`unknown_provider`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`providers_not_configured` or `sign_in_not_configured`: an operator has to set something first", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`provider_unavailable`: it does not answer; ask again in a minute. Else as everywhere", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn start(
    State(state): State<ApiState>,
    visit: Visit,
    Ids(provider): Ids<String>,
    Body(Going { return_to }): Body<Going>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let return_to = page(sign_in, &return_to)?;
    let departure = sign_in.accounts.depart(&provider, &return_to, &visit.origin).await?;
    Ok(departing(&state, sign_in, departure))
}

/// Begin to link a provider to the account.
///
/// As signing in with it; when she is back, she can sign in with it from then on.
#[utoipa::path(
    post, path = "/v1/auth/providers/{provider}/link", operation_id = "startProviderLink", tag = "Accounts",
    params(("provider" = String, Path, description = "The provider's name")),
    security(("session" = [])),
    request_body = Linking,
    responses(
        (status = 200, description = "Where to go", body = DepartureBody),
        (status = 401, description = "`not_signed_in`; `wrong_credentials`; `sign_in_again`: without a password, she has to have signed in within the last ten minutes", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_provider`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`providers_not_configured` or `sign_in_not_configured`: an operator has to set something first; `no_account`: the account was deleted meanwhile", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`provider_unavailable`: it does not answer; ask again in a minute. Else as everywhere", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn link(
    State(state): State<ApiState>,
    Viewer { member, session, .. }: Viewer,
    visit: Visit,
    Ids(provider): Ids<String>,
    Body(Linking { return_to, password }): Body<Linking>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let return_to = page(sign_in, &return_to)?;
    let (who, password) = ((&member, &session), password.as_deref());
    let departure = sign_in.accounts.depart_to_link(who, &provider, password, &return_to, &visit.origin);
    Ok(departing(&state, sign_in, departure.await?))
}

/// Come back from a provider.
///
/// Where providers send browsers; no page asks it itself. Sends the browser on to the page that it began at, with `sign_in=` in the
/// query: `signed_in` and `linked` where it worked; `second_factor_required`: send a code to `POST /v1/auth/login/second-factor`,
/// without a challenge, which the browser keeps; else a code: `email_known`, `email_not_verified`, `identity_taken`,
/// `session_ended`, `sign_in_denied`, `provider_answer_refused`, `provider_unavailable`, `account_locked`, `wrong_credentials`.
#[utoipa::path(
    get, path = "/v1/auth/providers/{provider}/callback", operation_id = "finishProviderSignIn", tag = "Accounts",
    params(("provider" = String, Path, description = "The provider's name"), Back),
    responses(
        (status = 303, description = "On to the page that it began at"),
        (status = 400, description = "`bad_flow`: it was begun in another browser, more than ten minutes ago, or has been used", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_provider`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`providers_not_configured` or `sign_in_not_configured`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn callback(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    Ids(provider): Ids<String>,
    Params(Back { state: sent, code, error, iss }): Params<Back>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let browser = visit.flow.clone().unwrap_or_default();
    let arrival = Arrival {
        provider: &provider,
        state: sent.as_deref().unwrap_or_default(),
        code: code.as_deref().filter(|_| error.is_none()),
        issuer: iss.as_deref(),
        browser: &browser,
    };
    let Arrived { return_to, outcome } = sign_in.accounts.arrive(arrival, &visit.origin).await?;
    let on = |word: &str| Redirect::to(&asked_with(&return_to, word)).into_response();
    let mut response = match outcome {
        Ok(Outcome::Login(Login::SignedIn(signed_in))) => {
            let to = asked_with(&return_to, "signed_in");
            welcome_to(&to, &state, sign_in, before, visit, *signed_in).await?
        }
        Ok(Outcome::Login(Login::SecondFactorRequired { challenge, expires_at })) => {
            let mut response = on("second_factor_required");
            let keep = (expires_at - state.now()).to_std().unwrap_or_default();
            sign_in.cookies.give_challenge(response.headers_mut(), &challenge, keep);
            response
        }
        Ok(Outcome::Linked(position)) => (AnsweredAt(position), on("linked")).into_response(),
        Err(AccountError::Store(error)) => return Err(error.into()),
        Err(error) => on(ApiError::from(error).code()),
    };
    sign_in.cookies.give_flow(response.headers_mut(), "", Duration::ZERO);
    Ok(response)
}

/// A page with what is to be told there.
fn asked_with(page: &str, word: &str) -> String {
    let joined = if page.contains('?') { '&' } else { '?' };
    format!("{page}{joined}sign_in={word}")
}

/// What she signs in with beside her password.
///
/// The oldest first.
#[utoipa::path(
    get, path = "/v1/auth/identities", operation_id = "listIdentities", tag = "Accounts",
    security(("session" = [])),
    responses((status = 200, description = "All of them; `has_more` is always false", body = List<IdentityBody>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
) -> Result<Json<List<IdentityBody>>, ApiError> {
    let all = state.sign_in()?.accounts.identities(&member).await?;
    let count = all.len();
    Ok(Json(List::page(all, count, |view| view.id.to_string(), IdentityBody::from)))
}

/// Unlink a provider from the account.
///
/// Refused where it is the only way in: choose a password first, or link another provider.
#[utoipa::path(
    post, path = "/v1/auth/identities/{id}/unlink", operation_id = "unlinkIdentity", tag = "Accounts",
    params(("id" = String, Path, description = "The identity's id")),
    security(("session" = [])),
    request_body = Unlinking,
    responses(
        (status = 204, description = "It signs her in no more"),
        (status = 401, description = "`not_signed_in`; `wrong_credentials`; `sign_in_again`: without a password, she has to have signed in within the last ten minutes", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_identity`: no identity of hers has this id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`last_way_in`: she could not sign in any more", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn unlink(
    State(state): State<ApiState>,
    Viewer { member, session, .. }: Viewer,
    visit: Visit,
    Ids(id): Ids<String>,
    Body(Unlinking { password }): Body<Unlinking>,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    let identity = IdentityId::from(id);
    // What could not be an id is nobody's, and no store is asked about it.
    identity.uuid().ok_or(AccountError::NoIdentity)?;
    let unlinked =
        accounts.unlink((&member, &session), &identity, password.as_deref(), &visit.origin).await?;
    Ok((StatusCode::NO_CONTENT, AnsweredAt(unlinked), ()).into_response())
}
