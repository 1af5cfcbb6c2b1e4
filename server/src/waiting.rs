//! A service whose database is not there yet: it lives, says so, refuses everything else for now, and goes on by itself.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::clock::Clock;
use serde_json::json;
use storage::{Access, OpenError, Storage};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::Limits;
use crate::refusal::request_id;
use crate::serve::{Signals, serve};

/// How long opening may take before somebody has to be told.
const HEAD_START: Duration = Duration::from_secs(1);
/// How often the database is tried.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the log says that it is still not there.
const REMINDER: Duration = Duration::from_secs(30);
/// How long those whom it answers have to go when it is.
const GOODBYE: Duration = Duration::from_secs(1);
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const POSITION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("membership-position"), HeaderValue::from_static("p-0"));

/// What became of the wait.
pub(crate) enum Waited {
    /// The store is open.
    Open(Box<Storage>),
    /// The process was asked to stop.
    Stopped,
    /// Something is wrong that will not go by.
    Failed(OpenError),
}

/// Opens the store, and answers on the listener when that takes its time.
pub(crate) async fn open(
    listener: TcpListener,
    url: &str,
    clock: &Arc<dyn Clock>,
    limits: Limits,
    signals: &mut Signals,
) -> io::Result<Waited> {
    let opening = async {
        tokio::select! {
            opened = keep_trying(url, clock) => {
                opened.map_or_else(Waited::Failed, |storage| Waited::Open(Box::new(storage)))
            }
            _ = signals.next() => Waited::Stopped,
        }
    };
    let mut opening = pin!(opening);
    if let Ok(waited) = timeout(HEAD_START, &mut opening).await {
        return Ok(waited);
    }
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (over, told) = oneshot::channel::<Infallible>();
    let until_over = async move { drop(told.await) };
    // A connection that is kept alive would go on to be refused.
    let limits = Limits { drain: GOODBYE, ..limits };
    let answering = tokio::spawn(serve(listener, router(), limits, until_over));
    let waited = opening.await;
    drop(over);
    answering.await.map_err(io::Error::other)?;
    Ok(waited)
}

async fn keep_trying(url: &str, clock: &Arc<dyn Clock>) -> Result<Storage, OpenError> {
    let (begun, mut said) = (Instant::now(), None::<(String, Instant)>);
    loop {
        let why = match storage::open(url, Access::Write, clock.clone()).await {
            Err(error) if error.may_pass() => error.to_string(),
            opened => {
                if said.is_some() {
                    tracing::info!(waited = ?begun.elapsed(), "the database is there");
                }
                return opened;
            }
        };
        if said.as_ref().is_none_or(|(last, at)| *last != why || at.elapsed() > REMINDER) {
            tracing::warn!(why, "DATABASE_URL: waiting for the database; everything but /healthz gets 503");
            said = Some((why, Instant::now()));
        }
        sleep(PAUSE).await;
    }
}

fn router() -> Router {
    Router::new().route("/healthz", get(api::health::live)).fallback(refuse)
}

async fn refuse(headers: HeaderMap) -> Result<Infallible, Response> {
    let made_up =
        || HeaderValue::try_from(request_id()).unwrap_or_else(|_| HeaderValue::from_static("req_0"));
    let id = headers
        .get(REQUEST_ID)
        .filter(|id| id.len() <= 128 && id.to_str().is_ok())
        .cloned()
        .unwrap_or_else(made_up);
    let problem = json!({
        "type": "urn:membership:problem:not_ready", "title": "Not ready", "status": 503, "code": "not_ready",
        "detail": "Not ready: store: the database cannot be opened yet, and is tried again; the log of the service \
                   says why. Ask again shortly.",
        "request_id": id.to_str().unwrap_or_default(),
        "checks": [{ "name": "store", "ok": false, "detail": "the database cannot be opened yet" }],
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (header::RETRY_AFTER, RETRY_AFTER),
        (REQUEST_ID, id),
        POSITION,
    ];
    Err((StatusCode::SERVICE_UNAVAILABLE, headers, problem.to_string()).into_response())
}
