//! What all pages share: how they are written, what a browser may do with them, and errors as pages.

use api::BODY_LIMIT;
use api::error::{ApiError, Pending};
use api::extract::is_path;
use api::idempotency::IDEMPOTENCY_KEY;
use api::shell::REQUEST_ID;
use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::desk::Frame;
use crate::form::Fields;
use crate::second_factor::SET_UP;
use crate::sign_in::RENEW;

/// Nothing but our own stylesheet and script, nothing written into the page, and nobody frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const HTML: &str = "text/html; charset=utf-8";
const REQUEST: &str = "the request";

/// A page that is made of its template.
pub(crate) struct Page<T>(pub(crate) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => ([(CONTENT_TYPE, HTML)], html).into_response(),
            Err(error) => ApiError::Panicked(format!("a page cannot be written: {error}")).into_response(),
        }
    }
}

/// A form once more, with what was wrong: a page with the status and the headers of an error.
pub(crate) fn refused(error: ApiError, form: impl IntoResponse) -> Response {
    let refusal = error.into_response();
    let mut page = form.into_response();
    *page.status_mut() = refusal.status();
    let mut headers = refusal.headers().clone();
    headers.remove(CONTENT_TYPE);
    page.headers_mut().extend(headers);
    page
}

/// What went wrong, as a page.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'p> {
    frame: Frame,
    title: &'p str,
    detail: &'p str,
    request: &'p str,
    what: What,
}

/// What a page of a problem offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Nothing,
    /// Another account may be let in.
    SignOut,
    /// A second factor has to be set up first.
    SecondFactor,
}

/// Makes errors pages, here where an answer that is kept under its key is still one of ours.
pub(crate) async fn as_page(request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    asked.shown(next.run(request).await)
}

/// What is around all of it: the key of a form becomes the request's, refusals become pages, and browsers are told what a page
/// may do.
pub(crate) async fn around(request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let mut response = match keyed(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response = asked.shown(response);
    let headers = response.headers_mut();
    let said: [(HeaderName, &'static str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in said {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What has to be known of a request to show what went wrong with it.
struct Asked {
    method: Method,
    uri: Uri,
    request_id: String,
    by_token: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            request_id: id.unwrap_or(REQUEST).to_owned(),
            by_token: request.headers().contains_key(AUTHORIZATION),
        }
    }

    /// An error as a page; what is one already, and what is none, as it is.
    fn shown(&self, mut response: Response) -> Response {
        let status = response.status();
        if let Some(problem) = Pending::take(&mut response, &self.request_id) {
            if matches!(problem.code, "unauthenticated" | "not_signed_in") && !self.by_token {
                return self.led_to(RENEW, response.headers());
            }
            // A form that was sent stays: what was typed into it is not lost on the way.
            if problem.code == "second_factor_required" && self.method.is_safe() {
                return self.led_to(SET_UP, response.headers());
            }
            return self.problem(response, &problem);
        }
        let has_body = response.headers().contains_key(CONTENT_TYPE);
        if has_body || !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        // A refusal of the router's own.
        let error = match status {
            StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed {
                method: self.method.clone(),
                path: self.uri.path().to_owned(),
                allow: String::new(),
            },
            status => ApiError::Other(status),
        };
        let mut made = error.into_response();
        match Pending::take(&mut made, &self.request_id) {
            Some(problem) => self.problem(response, &problem),
            None => response,
        }
    }

    fn problem(&self, mut response: Response, problem: &Pending) -> Response {
        let (title, detail, what) = words(problem);
        let page = ProblemPage { frame: Frame::bare(), title, detail, request: &self.request_id, what };
        let Ok(html) = page.render() else { return response };
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(WWW_AUTHENTICATE);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
        *response.body_mut() = Body::from(html);
        response
    }

    /// Leads to `door`, which leads back: where a session is renewed, or begun, since the cookie that renews is not sent to pages;
    /// or where a second factor is set up. What a form sent goes along.
    fn led_to(&self, door: &str, given: &HeaderMap) -> Response {
        let to = self.uri.path_and_query().map_or("/console", |path| path.as_str());
        let to = if is_path(to) { to } else { "/console" };
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
        let door = format!("{door}?{query}");
        let mut response =
            if self.method.is_safe() { Redirect::to(&door) } else { Redirect::temporary(&door) }
                .into_response();
        // Cookies that are taken away, if there are any.
        response.headers_mut().extend(given.clone());
        response
    }
}

/// The words of a problem for somebody at the console, where the API's are for programs.
fn words(problem: &Pending) -> (&str, &str, What) {
    match problem.code {
        "forbidden" => (
            "This is for staff",
            "You are signed in, but this account is not one of the staff's. Sign out and sign in with one that has the role \
             support or owner; its owner gives that with `membership account role`.",
            What::SignOut,
        ),
        "second_factor_required" => (
            "Set up a second factor first",
            "What is shown here is about people, so a password alone is not enough.",
            What::SecondFactor,
        ),
        "unknown_member" => (
            "Unknown member",
            "No member has this id. Search for her by her e-mail address, or by any id of Stripe's.",
            What::Nothing,
        ),
        "unknown_delivery" => (
            "Unknown delivery",
            "No delivery has this id. Stripe may not have sent it, or it never came.",
            What::Nothing,
        ),
        "no_such_path" => ("No such page", "There is no page at this address.", What::Nothing),
        "not_ready" => (
            "Not ready",
            "The service has just started and is still reading its log. Try again in a moment.",
            What::Nothing,
        ),
        "idempotency_key_in_use" => (
            "Being done",
            "This form is being carried out at this moment. Try again in a moment.",
            What::Nothing,
        ),
        "idempotency_key_reused" => (
            "Sent before",
            "This form was sent before with other contents. Open it again, so that both count.",
            What::Nothing,
        ),
        _ => (problem.title, &problem.detail, What::Nothing),
    }
}

/// A form carries the key of its command in a field, since it cannot send headers.
async fn keyed(request: Request) -> Result<Request, ApiError> {
    let is_a_form = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www"));
    if request.method().is_safe() || !is_a_form || request.headers().contains_key(IDEMPOTENCY_KEY) {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| ApiError::TooLarge)?;
    if let Some(key) = Fields::read(&body).filled("key").and_then(|key| HeaderValue::try_from(key).ok()) {
        parts.headers.insert(IDEMPOTENCY_KEY, key);
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}
