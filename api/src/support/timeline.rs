//! What happened to a member?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::metadata::Actor;
use domain::ports::Position;
use projections::timeline::TimelineEntry;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, cursor, limit, member};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

/// One thing that happened to a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
pub struct TimelineEntryBody {
    /// Always `timeline_entry`.
    #[schema(example = "timeline_entry")]
    object: &'static str,
    /// Its place in the log.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The stream it belongs to.
    #[schema(example = "subscription/sub_1")]
    stream: String,
    /// Its stored name.
    event_type: String,
    /// When it was true.
    occurred_at: DateTime<Utc>,
    /// When this service learned it.
    recorded_at: DateTime<Utc>,
    /// Who made it happen.
    #[schema(value_type = String, example = "stripe")]
    actor: Actor,
    /// What it follows from: the provider's event id or a request id.
    cause: String,
    /// What happened, in words.
    sentence: String,
    /// The entry as one line.
    text: String,
}

impl From<&TimelineEntry> for TimelineEntryBody {
    fn from(entry: &TimelineEntry) -> Self {
        Self {
            object: "timeline_entry",
            position: entry.position,
            stream: entry.stream.clone(),
            event_type: entry.event_type.clone(),
            occurred_at: entry.occurred_at,
            recorded_at: entry.recorded_at,
            actor: entry.actor.clone(),
            cause: entry.cause.clone(),
            sentence: entry.sentence.clone(),
            text: entry.text(),
        }
    }
}

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// How many, 1 to 100. All of it when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A member's history.
///
/// Everything that happened to her, her payers and her subscriptions, in the order it was true, in plain words.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/timeline", operation_id = "showTimeline", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), TimelineQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The history, oldest first", body = List<TimelineEntryBody>),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn timeline(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(page): Params<TimelineQuery>,
) -> Result<Response, ApiError> {
    let most = page.limit.as_deref().map(|asked| limit(Some(asked))).transpose()?;
    let after = cursor(page.cursor.as_deref())?;
    let mut entries = state.history()?.timeline(&member(&id)?).await?;
    if let Some(after) = after {
        let seen = entries.iter().position(|entry| entry.position.to_string() == after);
        entries.drain(..=seen.ok_or(ApiError::BadCursor)?);
    }
    let most = most.unwrap_or(entries.len());
    let entry = |entry: TimelineEntry| TimelineEntryBody::from(&entry);
    let page = List::page(entries, most, |entry| entry.position.to_string(), entry);
    let answered_at = AnsweredAt(state.feed.head().await?);
    Ok((answered_at, Json(page)).into_response())
}
