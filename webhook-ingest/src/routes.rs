//! `POST /webhooks/stripe`: verify, store, acknowledge.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::{DateTime, Utc};
use domain::clock::Clock;
use fail::fail_point;
use futures_util::StreamExt;
use futures_util::future::ready;
use metrics::{Counter, counter};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::inbox::{Inbox, NewDelivery, Origin, Stored};
use crate::stripe::Envelope;
use crate::stripe::signature::{BadSignature, Secrets, verify};

/// The largest body that is taken, in bytes. Stripe's are a few kilobytes, large invoices some hundred.
pub const MOST_BYTES: usize = 1024 * 1024;

/// How long the rest of a body that is too large is read and dropped.
const POLITENESS: Duration = Duration::from_secs(1);

/// Why a request is not taken, in a word each.
pub const REASONS: [&str; 7] = [
    "too_large",
    "cut_off",
    "signature_missing",
    "signature_malformed",
    "signature_no_match",
    "signature_too_old",
    "store_unavailable",
];

/// What the route works with.
#[derive(Clone)]
pub struct Intake {
    /// Where deliveries are kept.
    pub inbox: Arc<dyn Inbox>,
    /// Who may have signed.
    pub secrets: Secrets,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
}

/// The webhook route.
pub fn router(intake: Intake) -> Router {
    // A secret that never signs has to be seen not to.
    intake.secrets.places().for_each(|place| used(place).absolute(0));
    Router::new().route("/webhooks/stripe", post(receive)).with_state(intake)
}

async fn receive(State(intake): State<Intake>, headers: HeaderMap, body: Body) -> Response {
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let refuse = |refusal: Refusal| {
        counter!("membership_webhooks_refused_total", "reason" => refusal.reason()).increment(1);
        refusal.into_response(request_id.as_deref())
    };
    let body = match read(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refuse(refusal),
    };
    let now = intake.clock.now();
    let mut signatures = headers.get_all("stripe-signature").iter();
    let checked = match (signatures.next().and_then(|value| value.to_str().ok()), signatures.next()) {
        (Some(signature), None) => verify(&intake.secrets, signature, &body, now),
        _ => Err(BadSignature::Missing),
    };
    match checked {
        Ok(signers) => signers.into_iter().for_each(|place| used(place).increment(1)),
        Err(bad) => {
            tracing::warn!(reason = %bad, "webhook refused");
            return refuse(Refusal::BadSignature(bad));
        }
    }
    fail_point!("webhook::verified");
    let delivery = delivery(body, now, Origin::Webhook);
    let id = delivery.id.clone();
    match intake.inbox.store(delivery).await {
        Ok(stored) => {
            fail_point!("webhook::stored");
            intake.wake.notify_one();
            let duplicate = matches!(stored, Stored::Duplicate { .. });
            let label = if duplicate { "true" } else { "false" };
            counter!("membership_deliveries_received_total", "duplicate" => label).increment(1);
            tracing::info!(delivery = id, duplicate, "delivery stored");
            axum::Json(json!({ "object": "webhook_receipt", "received": true, "duplicate": duplicate }))
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "webhook not stored");
            refuse(Refusal::Unavailable)
        }
    }
}

/// How many webhooks a secret signed, by its place in the settings.
fn used(place: usize) -> Counter {
    counter!("membership_webhook_secret_used_total", "secret" => place.to_string())
}

/// Reads the body, unless it is larger than the limit.
async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut fits = announced.is_none_or(|length: usize| length <= MOST_BYTES);
    let (mut kept, mut chunks) = (Vec::new(), body.into_data_stream());
    while fits {
        let Some(chunk) = chunks.next().await else { return Ok(kept) };
        kept.extend_from_slice(&chunk.map_err(|_| Refusal::CutOff)?);
        fits = kept.len() <= MOST_BYTES;
    }
    // A client that is still writing when the connection is closed does not see the answer, so the rest is let in.
    drop(timeout(POLITENESS, chunks.take_while(|chunk| ready(chunk.is_ok())).for_each(|_| ready(()))).await);
    Err(Refusal::TooLarge)
}

/// A body as it is kept. One that is not an event is kept too: whoever signed it meant to tell us something.
pub fn delivery(body: Vec<u8>, received_at: DateTime<Utc>, origin: Origin) -> NewDelivery {
    match Envelope::read(&body) {
        Ok(event) => NewDelivery {
            customer: event.customer().map(|customer| customer.to_string()),
            concerns: event.concerns(),
            id: event.id,
            event_type: event.event_type,
            created: event.created,
            body,
            received_at,
            origin,
        },
        Err(_) => NewDelivery {
            id: format!("sha256:{}", hex::encode(Sha256::digest(&body))),
            event_type: String::new(),
            created: None,
            customer: None,
            concerns: None,
            body,
            received_at,
            origin,
        },
    }
}

enum Refusal {
    TooLarge,
    CutOff,
    BadSignature(BadSignature),
    Unavailable,
}

impl Refusal {
    /// In a word, for counting.
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::CutOff => "cut_off",
            Self::BadSignature(BadSignature::Missing) => "signature_missing",
            Self::BadSignature(BadSignature::Malformed) => "signature_malformed",
            Self::BadSignature(BadSignature::NoMatch) => "signature_no_match",
            Self::BadSignature(BadSignature::TooOld) => "signature_too_old",
            Self::Unavailable => "store_unavailable",
        }
    }

    fn into_response(self, request_id: Option<&str>) -> Response {
        let (status, code, title, detail) = match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "Body too large",
                format!("the body is larger than {MOST_BYTES} bytes"),
            ),
            Self::CutOff => (
                StatusCode::BAD_REQUEST,
                "cut_off",
                "Body cut off",
                "the body ended before it was whole; deliver it again".to_owned(),
            ),
            Self::BadSignature(bad) => {
                (StatusCode::BAD_REQUEST, "bad_signature", "Bad signature", bad.to_string())
            }
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Store unavailable",
                "the delivery could not be stored; deliver it again later".to_owned(),
            ),
        };
        let problem = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(),
            "detail": detail, "code": code, "request_id": request_id,
        });
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string())
                .into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}
