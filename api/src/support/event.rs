//! One event of a member's, and what it changed.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ports::Position;
use projections::past::OneEvent;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::diff::ChangeBody;
use super::timeline::TimelineEntryBody;
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, member};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

/// One event of a member's, with everything the log holds of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberEvent)]
pub struct EventBody<'e> {
    /// Always `event`.
    #[schema(example = "event")]
    object: &'static str,
    /// What happened.
    entry: TimelineEntryBody,
    /// Its place in its own stream, from 1.
    sequence: u64,
    /// The version of its shape.
    #[schema(example = "1")]
    event_version: &'e str,
    /// What it says, as stored.
    payload: &'e Value,
    /// What joins everything that follows from one first cause.
    correlation_id: &'e str,
    /// How it stood before it, by what this service knew then.
    before: &'e str,
    /// How it stood after it.
    after: &'e str,
    /// What it changed.
    changes: Vec<ChangeBody<'e>>,
    /// What else follows from the same cause.
    siblings: Vec<TimelineEntryBody>,
    /// The member's event before it, in the order of the log.
    #[serde(serialize_with = "position::maybe")]
    #[schema(value_type = Option<String>, required = true, example = "p-1e")]
    previous: Option<Position>,
    /// The member's event after it.
    #[serde(serialize_with = "position::maybe")]
    #[schema(value_type = Option<String>, required = true, example = "p-20")]
    next: Option<Position>,
    /// The delivery that it follows from, byte for byte as text, while its body is kept; null when it is not kept any
    /// more, or where it follows from something else.
    #[schema(required = true)]
    delivery_body: Option<String>,
    /// When the delivery first arrived, where it follows from one.
    #[schema(required = true)]
    delivered_at: Option<DateTime<Utc>>,
}

/// Show an event.
///
/// One event of a member's by its place in the log: what it says, what it changed, what else follows from its cause.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/events/{position}", operation_id = "showEvent", tag = "Support",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("position" = String, Path, description = "Its place in the log, such as `p-1f`"),
    ),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The event", body = EventBody),
        (status = 404, description = "`unknown_member` or `unknown_event`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn event(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportRead>,
    Ids((id, place)): Ids<(String, String)>,
) -> Result<Response, ApiError> {
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let unknown = || ApiError::UnknownEvent(place.chars().take(80).collect());
    let event = Position::parse(&place).and_then(|place| chronicle.event(place)).ok_or_else(unknown)?;
    let delivery = state.deliveries.get(&event.entry.cause).await?;
    let body = match &delivery {
        Some(_) => state.deliveries.read_body(&event.entry.cause, &caller.actor()).await?,
        None => None,
    };
    let body = EventBody {
        delivery_body: body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        delivered_at: delivery.map(|(delivery, _)| delivery.received_at),
        ..EventBody::from(&event)
    };
    Ok((AnsweredAt(chronicle.position), Json(body)).into_response())
}

impl<'e> From<&'e OneEvent> for EventBody<'e> {
    fn from(event: &'e OneEvent) -> Self {
        Self {
            object: "event",
            entry: TimelineEntryBody::from(&event.entry),
            sequence: event.sequence,
            event_version: &event.event_version,
            payload: &event.payload,
            correlation_id: &event.metadata.correlation_id,
            before: &event.before,
            after: &event.after,
            changes: event.changes.iter().map(ChangeBody::from).collect(),
            siblings: event.siblings.iter().map(TimelineEntryBody::from).collect(),
            previous: event.previous,
            next: event.next,
            delivery_body: None,
            delivered_at: None,
        }
    }
}
