//! A command that comes again with the same `Idempotency-Key` is not carried out again, but answered as before.
//!
//! As in the IETF's draft of that header and in Stripe's API. A key belongs to whoever sent it, a method and a path. What is
//! answered is kept with the store's own durability, except answers that say that nothing was done or that it is not known
//! what was. When the process is killed between the command and its answer, the claim runs out and the command is carried out
//! again: each of ours then finds what it did before, and makes the same ids, which come from [`IdSource`].
//!
//! A kept answer is sealed with the key that its caller sent, which is stored nowhere. What sets cookies or must not be stored
//! (`Cache-Control: no-store`) is not kept at all, `/v1/auth/…` is left alone, and so is what somebody signed out asks: no
//! command is open to her, and nothing is kept for strangers.

mod seal;

use std::convert::Infallible;
use std::panic::resume_unwind;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::idempotency::{Attempt, Begun, KeptAnswer, KeyedCommand};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use self::seal::Seal;
use crate::asker::Asker;
use crate::error::{ApiError, Pending};
use crate::extract::unread;
use crate::position;
use crate::shell::{Asked, write_problem};
use crate::state::ApiState;

/// The header that carries a key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_hours(25);
/// How long whoever began a command is taken to be at it: far longer than any takes that is not lost.
const LEASE: Duration = Duration::from_mins(1);
const LONGEST_KEY: usize = 255;
/// Larger answers are not kept; no command of ours has one.
const LARGEST_ANSWER: u64 = 64 * 1024;
const HEADERS: [HeaderName; 4] = [CONTENT_TYPE, ETAG, LOCATION, position::HEADER];

/// What new ids are made of: the same at every attempt at one command, so that one which was interrupted is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdSource {
    /// When the command came first.
    pub at: DateTime<Utc>,
    /// Bits that no other command has.
    pub bits: [u8; 10],
}

impl FromRequestParts<ApiState> for IdSource {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        let made_up = || Self { at: state.now(), bits: (state.random)() };
        Ok(parts.extensions.get().copied().unwrap_or_else(made_up))
    }
}

/// Carries commands out once for each key.
pub(crate) async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    match claim(&state, request).await {
        Ok(Claimed::Unkeyed(request)) => next.run(request).await,
        Ok(Claimed::Answered(answer)) => answer,
        Ok(Claimed::Mine(claim, request)) => {
            // To its end, also when the caller gives up: she comes back for the answer.
            let work = carry_out(state, claim, request, next).in_current_span();
            tokio::spawn(work).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
        }
        Err(error) => error.into_response(),
    }
}

/// What is to be done with a request.
enum Claimed {
    /// It is none of our business.
    Unkeyed(Request),
    /// It was answered before.
    Answered(Response),
    /// It is to be carried out.
    Mine(Claim, Request),
}

/// A command that is being carried out.
struct Claim {
    id: [u8; 32],
    attempt: Attempt,
    seal: Seal,
}

async fn claim(state: &ApiState, request: Request) -> Result<Claimed, ApiError> {
    if !is_a_command(request.method(), request.uri().path()) || is_a_preview(request.uri()) {
        return Ok(Claimed::Unkeyed(request));
    }
    let Some(key) = key(request.headers())? else { return Ok(Claimed::Unkeyed(request)) };
    let (parts, body) = request.into_parts();
    let asker = Asker::of(&parts, state);
    if matches!(asker, Asker::SignedOut(_)) {
        return Ok(Claimed::Unkeyed(Request::from_parts(parts, body)));
    }
    let whole = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(whole, state).await.map_err(|error| unread(&error))?;
    let (command, seal) = command(&asker, &parts, &key, &body);
    let now = state.now();
    match state.idempotency.begin(&command, now, LEASE, KEPT_FOR).await? {
        Begun::Mine(attempt) => {
            let mut request = Request::from_parts(parts, Body::from(body));
            let mut bits = [0; 10];
            bits.copy_from_slice(&command.id[..10]);
            request.extensions_mut().insert(IdSource { at: attempt.first_begun_at, bits });
            Ok(Claimed::Mine(Claim { id: command.id, attempt, seal }, request))
        }
        Begun::Running => Err(ApiError::IdempotencyKeyInUse),
        Begun::Finished(answer) => replay(answer, &seal).map(Claimed::Answered),
        Begun::Different => Err(ApiError::IdempotencyKeyReused),
    }
}

/// Whether keys mean something here.
pub(crate) fn is_a_command(method: &Method, path: &str) -> bool {
    let ours = path.starts_with("/v1/") || path.starts_with("/console/");
    !method.is_safe() && ours && !path.starts_with("/v1/auth/")
}

/// What only asks for what would be done has no key: the same one is for doing it.
fn is_a_preview(uri: &Uri) -> bool {
    (uri.path().starts_with("/v1/support/members/") || uri.path() == "/v1/support/accounts")
        && uri.query().is_some_and(|query| query.contains("preview=true"))
}

/// The key of a request. In quotes, as the draft writes it, it is the same one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.to_str().ok().map(str::trim);
    let bare = key.map(|key| key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key));
    let good =
        |key: &&str| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let key = bare.filter(good).filter(|_| keys.next().is_none()).ok_or(ApiError::BadIdempotencyKey)?;
    Ok(Some(key.to_owned()))
}

/// What is stored of a command, from which nobody can tell the key, and what its answer is sealed with.
fn command(asker: &Asker, parts: &Parts, key: &str, body: &[u8]) -> (KeyedCommand, Seal) {
    let (kind, name) = match asker {
        Asker::Service(name) => ("service", name.clone()),
        Asker::Member(member) => ("member", member.to_string()),
        Asker::SignedOut(address) => ("address", address.to_string()),
    };
    let hash_for = |use_of_it: &str, asked_for: &[u8]| {
        let whose = [use_of_it, kind, &name, parts.method.as_str(), parts.uri.path(), key].map(str::as_bytes);
        hash(whose.into_iter().chain([asked_for]))
    };
    let query = parts.uri.query().unwrap_or_default();
    let fingerprint = hash_for("fingerprint", &hash([query.as_bytes(), body]));
    (KeyedCommand { id: hash_for("id", &[]), fingerprint }, Seal(hash_for("seal", &[])))
}

/// A hash of all parts, each with its length, so that none runs into the next.
pub(crate) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

async fn carry_out(state: ApiState, claim: Claim, request: Request, next: Next) -> Response {
    let Claim { id, attempt, seal } = claim;
    let request_id =
        request.extensions().get().map(|asked: &Asked| asked.request_id().to_owned()).unwrap_or_default();
    // A task of its own, so that a panic in it does not keep the claim.
    let handled = tokio::spawn(next.run(request).in_current_span()).await;
    let (response, answer) = match handled {
        Ok(response) => kept(response, &seal, &request_id).await,
        Err(error) => {
            settled(state.idempotency.release(&id, attempt).await);
            resume_unwind(error.into_panic())
        }
    };
    match answer {
        Keep::Answer(answer) => {
            let kept = state.idempotency.finish(&id, attempt, answer, state.now() + KEPT_FOR).await;
            // The one who took the claim over does the same once more and keeps her answer.
            if matches!(kept, Ok(false)) {
                tracing::warn!("a command took so long that it was begun by another request too");
            }
            settled(kept.map(|_| ()));
        }
        Keep::Claimable => settled(state.idempotency.release(&id, attempt).await),
        Keep::Nothing => settled(state.idempotency.withdraw(&id, attempt).await),
    }
    response
}

/// The answer holds all the same: without it being kept, the claim runs out by itself.
fn settled(done: Result<(), domain::ports::StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "what was answered to a command under a key is not kept");
    }
}

/// What is to be kept of an answer.
enum Keep {
    /// All that matters.
    Answer(KeptAnswer),
    /// Nothing but that it may have been done in part.
    Claimable,
    /// Nothing at all: nothing was done.
    Nothing,
}

/// Decides what is kept, and reads or writes the body for that.
async fn kept(mut response: Response, seal: &Seal, request_id: &str) -> (Response, Keep) {
    use StatusCode as S;
    let status = response.status();
    if matches!(status, S::UNAUTHORIZED | S::FORBIDDEN | S::REQUEST_TIMEOUT | S::TOO_MANY_REQUESTS) {
        return (response, Keep::Nothing);
    }
    let headers = response.headers();
    if status.is_server_error() || headers.contains_key(RETRY_AFTER) || holds_secrets(headers) {
        return (response, Keep::Claimable);
    }
    if let Some(problem) = response.extensions_mut().remove::<Pending>() {
        write_problem(&mut response, &problem, request_id);
    }
    let (parts, body) = response.into_parts();
    let fits = HttpBody::size_hint(&body).exact().is_some_and(|size| size <= LARGEST_ANSWER);
    if !fits {
        tracing::error!("an answer is too large to be kept under its key");
        return (Response::from_parts(parts, body), Keep::Claimable);
    }
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return (ApiError::Panicked(error.to_string()).into_response(), Keep::Claimable),
    };
    let header = |name: &HeaderName| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    };
    let headers = HEADERS.iter().filter_map(header).collect();
    let keep = match seal.close(body.to_vec()) {
        Ok(body) => Keep::Answer(KeptAnswer { status: status.as_u16(), headers, body }),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be sealed");
            Keep::Claimable
        }
    };
    (Response::from_parts(parts, Body::from(body)), keep)
}

fn holds_secrets(headers: &HeaderMap) -> bool {
    let said = headers.get_all(CACHE_CONTROL).iter().filter_map(|said| said.to_str().ok());
    headers.contains_key(SET_COOKIE)
        || said.flat_map(|said| said.split(',')).any(|one| one.trim() == "no-store")
}

fn replay(answer: KeptAnswer, seal: &Seal) -> Result<Response, ApiError> {
    let unreadable = |what: &str| ApiError::Store(domain::ports::StoreError::Corrupt(what.to_owned()));
    let status =
        StatusCode::from_u16(answer.status).map_err(|_| unreadable("a kept answer has no status"))?;
    let body = seal.open(answer.body).map_err(|_| unreadable("a kept answer's seal"))?;
    let mut response = (status, Body::from(body)).into_response();
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|_| unreadable("a kept answer's header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| unreadable("a kept answer's header"))?;
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
