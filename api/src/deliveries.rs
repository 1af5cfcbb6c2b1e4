//! What came in from the billing provider, and what became of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead, SupportWrite};
use crate::cursor::could_be_an_id;
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, cursor, limit};
use crate::position::AnsweredAt;
use crate::state::{ApiState, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord};

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// Only those with this outcome.
    outcome: Option<DeliveryOutcome>,
    /// How many, 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A delivery of the billing provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    /// Always `delivery`.
    #[schema(example = "delivery")]
    object: &'static str,
    /// The provider's event id.
    id: String,
    /// The event type.
    #[serde(rename = "type")]
    #[schema(example = "customer.subscription.updated")]
    event_type: String,
    /// The provider's time of the event.
    #[schema(required = true)]
    created: Option<DateTime<Utc>>,
    /// The payer it speaks of.
    #[schema(required = true)]
    customer: Option<String>,
    /// When it first arrived.
    received_at: DateTime<Utc>,
    /// How it first came.
    origin: DeliveryOrigin,
    /// How many times it arrived.
    times_received: u32,
    /// What became of it.
    outcome: DeliveryOutcome,
    /// Why: a stable code.
    #[schema(required = true, example = "unknown_customer")]
    reason: Option<String>,
    /// Why: a sentence.
    #[schema(required = true)]
    detail: Option<String>,
    /// How many times carrying it out was begun.
    attempts: u32,
    /// When its outcome was set.
    #[schema(required = true)]
    settled_at: Option<DateTime<Utc>>,
}

impl From<DeliveryRecord> for DeliveryBody {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            object: "delivery",
            id: record.id,
            event_type: record.event_type,
            created: record.created,
            customer: record.customer,
            received_at: record.received_at,
            origin: record.origin,
            times_received: record.times_received,
            outcome: record.outcome,
            reason: record.reason,
            detail: record.detail,
            attempts: record.attempts,
            settled_at: record.settled_at,
        }
    }
}

/// List deliveries.
///
/// What the billing provider delivered and what became of it, latest arrival first.
#[utoipa::path(
    get, path = "/v1/support/deliveries", operation_id = "listDeliveries", tag = "Support",
    params(DeliveriesQuery),
    security(("bearer" = ["support.read"])),
    responses((status = 200, description = "A page of deliveries", body = List<DeliveryBody>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Params(query): Params<DeliveriesQuery>,
) -> Result<Response, ApiError> {
    let limit = limit(query.limit.as_deref())?;
    let before = cursor(query.cursor.as_deref())?;
    let filter = DeliveryFilter { outcome: query.outcome, before, limit: limit + 1 };
    let records = state.deliveries.list(filter).await?;
    let page = List::page(records, limit, |record| record.id.clone(), DeliveryBody::from);
    // Asked after the list was read, so that it is not before what the listed deliveries did.
    let answered_at = AnsweredAt(state.feed.head().await?);
    Ok((answered_at, Json(page)).into_response())
}

/// A delivery that is looked at again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryReplay)]
pub struct Replay {
    /// Always `delivery_replay`.
    #[schema(example = "delivery_replay")]
    object: &'static str,
    /// The provider's event id.
    delivery: String,
    /// Always `pending`.
    outcome: DeliveryOutcome,
}

/// Look at a delivery again.
///
/// Whatever became of it before. Telling the same twice changes nothing.
#[utoipa::path(
    post, path = "/v1/support/deliveries/{event}/replay", operation_id = "replayDelivery", tag = "Support",
    params(("event" = String, Path, description = "The provider's event id")),
    security(("bearer" = ["support.write"])),
    responses(
        (status = 202, description = "It waits to be looked at", body = Replay),
        (status = 404, description = "`unknown_delivery`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replay(
    State(state): State<ApiState>,
    _: Allowed<SupportWrite>,
    Ids(event): Ids<String>,
) -> Result<Response, ApiError> {
    if !could_be_an_id(&event) || !state.deliveries.replay(&event).await? {
        return Err(ApiError::UnknownDelivery(event));
    }
    let replay = Replay { object: "delivery_replay", delivery: event, outcome: DeliveryOutcome::Pending };
    Ok((StatusCode::ACCEPTED, Json(replay)).into_response())
}
