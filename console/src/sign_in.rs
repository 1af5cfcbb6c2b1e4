//! Signing in and out with forms. They are under the path that the renewing cookie is sent to; the pages are not, so that what
//! renews a session goes to no page.

use accounts::{AccountError, Login};
use api::accounts::{logout, welcome_to, welcome_with};
use api::error::ApiError;
use api::extract::is_path;
use api::sign_in::Visit;
use api::viewer::Viewer;
use api::{ApiState, SignIn};
use askama::Template;
use axum::extract::State;
use axum::http::header::LOCATION;
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
pub(crate) async fn show(State(state): State<ApiState>, uri: Uri) -> Result<Response, ApiError> {
    door(&state)?;
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let to = destination(query.filled("to"));
    let signed_out = query.filled("signed_out").is_some();
    Ok(Page(SignInPage { frame: Frame::bare(), to, email: "", mistake: None, signed_out }).into_response())
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
            let page =
                second_factor::begun(sign_in, &signed_in.member, fields.text("password"), &visit.origin, to)
                    .await?;
            welcome_with(page, &state, sign_in, before, visit, *signed_in).await
        }
        Ok(Login::SignedIn(signed_in)) => welcome_to(to, &state, sign_in, before, visit, *signed_in).await,
        Ok(Login::SecondFactorRequired { challenge, .. }) => {
            let page = SecondFactorPage { frame: Frame::bare(), to, challenge: &challenge, mistake: None };
            Ok(Page(page).into_response())
        }
        Err(error) => again(error, |mistake| {
            let mistake = Some(mistake);
            Page(SignInPage { frame: Frame::bare(), to, email, mistake, signed_out: false }).into_response()
        }),
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
    let (to, challenge) = (destination(fields.filled("to")), fields.text("challenge"));
    let code = fields.filled("code").unwrap_or_default();
    match sign_in.accounts.login_second_factor(challenge, code, &visit.origin).await {
        Ok(signed_in) => welcome_to(to, &state, sign_in, before, visit, signed_in).await,
        Err(error @ AccountError::BadToken) => again(error, |_| {
            let mistake = Some(
                "That took too long, or was tried too often. Begin again with your password.".to_owned(),
            );
            Page(SignInPage { frame: Frame::bare(), to, email: "", mistake, signed_out: false })
                .into_response()
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
