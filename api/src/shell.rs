//! What all answers share, whatever router they come from: a request id, a position, errors as problems.

use std::any::Any;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use domain::ports::Position;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Span;

use crate::admission::Admission;
use crate::error::{ApiError, Pending};
use crate::observe::{noted, observe};
use crate::position;
use crate::state::ApiState;

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST_REQUEST_ID: usize = 128;

/// Puts around all of `router`, which may hold other routes than the API's, what all answers share, and lets in what
/// `admission` has room for.
pub fn serve_shell(router: Router, state: ApiState, admission: Arc<Admission>) -> Router {
    // As a service of its own: a layer of the router would not see the `Allow` header, which is added outside of layers.
    let shared = state.sign_in.as_ref().map(|sign_in| sign_in.origins.shared());
    let let_in = from_fn_with_state((state.clone(), admission), answer);
    let seen = from_fn_with_state(state, observe);
    let answered = (let_in, CatchPanicLayer::custom(panicked)).layer(noted(router));
    let shared = shared.map(|shared| shared.layer(answered.clone()));
    // What no page of another origin asks is answered as if there were none.
    let answered = service_fn(move |request: Request| {
        let shared = shared.clone().filter(|_| request.headers().contains_key(ORIGIN));
        let answered = answered.clone();
        async move {
            match shared {
                Some(mut shared) => shared.call(request).await,
                None => answered.oneshot(request).await,
            }
        }
    });
    Router::new().fallback_service(seen.layer(answered))
}

/// What the shell found out about a request before its handler sees it.
#[derive(Debug, Clone)]
pub struct Asked {
    request_id: HeaderValue,
    applied: Option<Position>,
}

impl Asked {
    /// Names the request in logs, events and problems.
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// What the index had applied when the request came in; an error as long as it has never caught up.
    pub fn applied(&self) -> Result<Position, ApiError> {
        self.applied.ok_or(ApiError::NotReady)
    }

    fn of(request: &Parts, state: &ApiState) -> Self {
        let request_id = request
            .headers
            .get(REQUEST_ID)
            .filter(|id| is_sane(id))
            .cloned()
            .unwrap_or_else(|| new_id(state));
        Self { request_id, applied: state.index_progress.applied() }
    }
}

impl FromRequestParts<ApiState> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self::of(parts, state)))
    }
}

async fn answer(
    State((state, admission)): State<(ApiState, Arc<Admission>)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    state.proxies.resolve(&mut parts);
    let waited = position::wait(&state, &admission, &parts).await;
    // Read before anything is looked up, so that the answer is never older than the position it names.
    let asked = Asked::of(&parts, &state);
    Span::current().record("request_id", asked.request_id());
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let answered = match waited {
        Ok(()) => {
            parts.headers.insert(REQUEST_ID, asked.request_id.clone());
            parts.extensions.insert(asked.clone());
            admission.run(Request::from_parts(parts, body), next).await
        }
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    if response.status().is_client_error() || response.status().is_server_error() {
        response = as_problem(response, &method, &uri, asked.request_id());
    }
    position::stamp(&mut response, asked.applied.unwrap_or(Position::START));
    response.headers_mut().insert(REQUEST_ID, asked.request_id);
    response
}

/// Writes an error as a problem, also one that no handler of ours made. Others' own structured answers stay.
fn as_problem(mut response: Response, method: &Method, uri: &Uri, request_id: &str) -> Response {
    let pending = match Pending::take(&mut response, request_id) {
        Some(pending) => pending,
        None if is_structured(&response) => return response,
        None => {
            let mut made = foreign(&response, method, uri).into_response();
            let Some(pending) = Pending::take(&mut made, request_id) else { return response };
            pending
        }
    };
    write_problem(&mut response, &pending, request_id);
    response
}

/// Makes an answer the problem that it was to become.
pub(crate) fn write_problem(response: &mut Response, pending: &Pending, request_id: &str) {
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = Body::from(pending.body(request_id));
}

fn foreign(response: &Response, method: &Method, uri: &Uri) -> ApiError {
    let path = uri.path().to_owned();
    match response.status() {
        StatusCode::NOT_FOUND => ApiError::NoSuchPath(path),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok());
            let (method, allow) = (method.clone(), allow.unwrap_or_default().to_owned());
            ApiError::MethodNotAllowed { method, path, allow }
        }
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        status => ApiError::Other(status),
    }
}

fn is_structured(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| !content_type.starts_with("text/plain"))
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::Panicked(said.unwrap_or_else(|| "a panic without a message".to_owned())).into_response()
}

fn is_sane(id: &HeaderValue) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

/// An id no other request has: where this process began, and a count. Asking the kernel for bits each time would cost
/// more than an access check does.
fn new_id(state: &ApiState) -> HeaderValue {
    static PROCESS: OnceLock<String> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| hex::encode((state.random)()));
    let id = format!("req_{process}{:06x}", COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("req_0"))
}
