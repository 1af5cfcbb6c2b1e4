//! Signing in and out with forms. They are under the path that the renewing cookie is sent to; the pages are not, so that what
//! renews a session goes to no page.

use accounts::{AccountError, Login};
use api::accounts::identities::{page, sent};
use api::accounts::{logout, welcome_to, welcome_with};
use api::error::ApiError;
use api::extract::is_path;
use api::sign_in::Visit;
use api::viewer::Viewer;
use api::{ApiState, SignIn};
use askama::Template;
use axum::extract::State;
use axum::http::header::{LOCATION, REFRESH};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use domain::account::Role;

use crate::desk::Frame;
use crate::form::Fields;
use crate::page::{Page, refused};
use crate::second_factor;

/// Takes an address and a password.
pub(crate) const SIGN_IN: &str = "/v1/auth/console/sign-in";
/// Takes the code of a second factor.
pub(crate) const SECOND_FACTOR: &str = "/v1/auth/console/second-factor";
/// Sends the browser to a provider.
pub(crate) const PROVIDER: &str = "/v1/auth/console/provider";
/// Ends the session.
pub(crate) const SIGN_OUT: &str = "/v1/auth/console/sign-out";
/// Lets a session go on whose access cookie has expired.
pub(crate) const RENEW: &str = "/v1/auth/console/renew";

const HOME: &str = "/console";
const DOOR: &str = "/console/sign-in";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'p> {
    frame: Frame,
    to: &'p str,
    email: &'p str,
    mistake: Option<String>,
    signed_out: bool,
    providers: Vec<&'p str>,
}

impl<'p> SignInPage<'p> {
    fn new(sign_in: &'p SignIn, to: &'p str, email: &'p str, mistake: Option<String>) -> Self {
        let providers = sign_in.accounts.providers().iter().map(|provider| provider.name.as_str()).collect();
        Self { frame: Frame::bare(), to, email, mistake, signed_out: false, providers }
    }
}

#[derive(Template)]
#[template(path = "departing.html")]
struct DepartingPage<'p> {
    frame: Frame,
    provider: &'p str,
    url: &'p str,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage<'p> {
    frame: Frame,
    to: &'p str,
    challenge: &'p str,
    mistake: Option<String>,
}

/// Where to go on: a page of the console, and nothing else.
pub(crate) fn destination(to: Option<&str>) -> &str {
    to.filter(|to| is_path(to) && to.starts_with(HOME) && !to.starts_with(DOOR)).unwrap_or(HOME)
}

/// What signs people in, where anybody does.
pub(crate) fn door(state: &ApiState) -> Result<&SignIn, ApiError> {
    state.sign_in.as_ref().ok_or(ApiError::SignInNotConfigured)
}

/// The page to sign in at.
pub(crate) async fn show(
    State(state): State<ApiState>,
    viewer: Option<Viewer>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let sign_in = door(&state)?;
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let to = destination(query.filled("to"));
    let signed_out = query.filled("signed_out").is_some();
    // What came of it, for a browser that is back from a provider.
    let mistake = match query.filled("sign_in") {
        Some("signed_in") if viewer.is_some() => return Ok(Redirect::to(to).into_response()),
        Some("second_factor_required") => {
            // The browser keeps the challenge itself.
            let page = SecondFactorPage { frame: Frame::bare(), to, challenge: "", mistake: None };
            return Ok(Page(page).into_response());
        }
        told => told.map(|code| in_words(code).to_owned()),
    };
    Ok(Page(SignInPage { signed_out, ..SignInPage::new(sign_in, to, "", mistake) }).into_response())
}

/// Why a provider has signed nobody in.
fn in_words(code: &str) -> &'static str {
    match code {
        "email_known" => {
            "There is an account with your address here already. Sign in with its password, then link the provider to it."
        }
        "email_not_verified" => {
            "The provider does not say that your address was confirmed there. Confirm it there first."
        }
        "account_locked" => "Your account is locked. Ask whoever runs this service about it.",
        "provider_unavailable" => {
            "The provider does not answer as it should. Try again in a minute, or use your password."
        }
        _ => "The provider has signed nobody in. Try again, or use your password.",
    }
}

/// Sends the browser to a provider. By a page in between: these pages' forms may lead to no other host, also not by a redirect.
pub(crate) async fn through_provider(
    State(state): State<ApiState>,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let sign_in = door(&state)?;
    let (to, provider) = (destination(fields.filled("to")), fields.filled("provider").unwrap_or_default());
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    let back = page(sign_in, &format!("{DOOR}?{query}"))?;
    match sign_in.accounts.depart(provider, &back, &visit.origin).await {
        Ok(departure) => {
            let url = departure.url.as_str();
            let leave = HeaderValue::try_from(format!("0; url={url}"));
            let leave = leave
                .map_err(|_| AccountError::ProviderUnavailable("its address cannot be written".to_owned()))?;
            let page = Page(DepartingPage { frame: Frame::bare(), provider, url });
            Ok((sent(sign_in, &departure, state.now()), [(REFRESH, leave)], page).into_response())
        }
        Err(error) => {
            again(error, |mistake| Page(SignInPage::new(sign_in, to, "", Some(mistake))).into_response())
        }
    }
}

/// Takes an address and a password, as slowly and with the same answers as the API does.
pub(crate) async fn sign_in(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let sign_in = door(&state)?;
    let (to, email) = (destination(fields.filled("to")), fields.filled("email").unwrap_or_default());
    match sign_in.accounts.login(email, fields.text("password"), &visit.origin).await {
        // Whoever was let in with a password alone has nothing else: of the staff, she sets it up with the same password.
        Ok(Login::SignedIn(signed_in)) if sign_in.strict_staff && signed_in.role >= Role::Support => {
            let (member, password) = (&signed_in.member, fields.text("password"));
            match second_factor::begun(sign_in, member, password, &visit.origin, to).await {
                Ok(page) => welcome_with(page, &state, sign_in, before, visit, *signed_in).await,
                // The session has begun: she goes on at the page that asks for the password again.
                Err(error) => {
                    tracing::warn!(%error, "a second factor could not be begun at once");
                    let query =
                        form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
                    let page = format!("{}?{query}", second_factor::SET_UP);
                    welcome_to(&page, &state, sign_in, before, visit, *signed_in).await
                }
            }
        }
        Ok(Login::SignedIn(signed_in)) => welcome_to(to, &state, sign_in, before, visit, *signed_in).await,
        Ok(Login::SecondFactorRequired { challenge, .. }) => {
            let page = SecondFactorPage { frame: Frame::bare(), to, challenge: &challenge, mistake: None };
            Ok(Page(page).into_response())
        }
        Err(error) => {
            again(error, |mistake| Page(SignInPage::new(sign_in, to, email, Some(mistake))).into_response())
        }
    }
}

/// Takes the code of a second factor.
pub(crate) async fn second_factor(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let sign_in = door(&state)?;
    let (to, kept) = (destination(fields.filled("to")), visit.challenge.clone().unwrap_or_default());
    let challenge = fields.text("challenge");
    let shown = if challenge.is_empty() { kept.as_str() } else { challenge };
    let code = fields.filled("code").unwrap_or_default();
    match sign_in.accounts.login_second_factor(shown, code, &visit.origin).await {
        Ok(signed_in) => welcome_to(to, &state, sign_in, before, visit, signed_in).await,
        Err(error @ AccountError::BadToken) => again(error, |_| {
            let mistake = Some(
                "That took too long, or was tried too often. Begin again with your password.".to_owned(),
            );
            Page(SignInPage::new(sign_in, to, "", mistake)).into_response()
        }),
        Err(error) => again(error, |mistake| {
            let mistake = Some(mistake);
            Page(SecondFactorPage { frame: Frame::bare(), to, challenge, mistake }).into_response()
        }),
    }
}

/// The form once more, with what was wrong. What is nobody's mistake is an error like any other.
pub(crate) fn again(
    error: AccountError,
    form: impl FnOnce(String) -> Response,
) -> Result<Response, ApiError> {
    let error = ApiError::from(error);
    if !matches!(error, ApiError::Account(_) | ApiError::Invalid { .. }) {
        return Err(error);
    }
    let form = form(error.to_string());
    Ok(refused(error, form))
}

/// Ends the session.
pub(crate) async fn sign_out(
    State(state): State<ApiState>,
    viewer: Option<Viewer>,
    visit: Visit,
) -> Result<Response, ApiError> {
    logout(State(state), viewer, visit).await.map(left)
}

/// An answer that took the cookies away, as one that leads to where somebody signs in.
pub(crate) fn left(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console/sign-in?signed_out=1"));
    response
}

/// Comes here with the renewing cookie, which has been used when this is asked, and goes back to where it came from with a new
/// access cookie; a form with all that it sent.
pub(crate) async fn renew(method: Method, viewer: Option<Viewer>, uri: Uri) -> Redirect {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let to = destination(query.filled("to"));
    if viewer.is_some() {
        return if method.is_safe() { Redirect::to(to) } else { Redirect::temporary(to) };
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    Redirect::to(&format!("{DOOR}?{query}"))
}
