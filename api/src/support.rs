//! What happened to a member, and why was an answer what it was?

pub mod search;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::metadata::Actor;
use domain::ports::Position;
use projections::past::{AsOf, ExplainedSource, Explanation};
use projections::timeline::TimelineEntry;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead};
use crate::decision::{AccessDecision, AccessReason};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, cursor, limit, member, moment};
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

/// What to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// The video's id in the catalogue.
    video: String,
    /// What was true at this moment (RFC 3339). Now when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    at: Option<String>,
    /// Only what this service had learned by this moment (RFC 3339). Everything when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    known_at: Option<String>,
}

/// A decision with its proof.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationBody<'e> {
    /// Always `explanation`.
    #[schema(example = "explanation")]
    object: &'static str,
    /// The decision, with the events that decided it.
    decision: AccessDecision<'e>,
    /// Until when what this service had learned counts; null when everything does.
    #[schema(required = true)]
    known_at: Option<DateTime<Utc>>,
    /// Everything that was tried.
    sources: Vec<SourceBody<'e>>,
    /// The provider event that last told the same again.
    #[schema(required = true)]
    confirmed_by: Option<&'e str>,
    /// The explanation as support reads it.
    text: String,
}

/// One thing that might have opened the video.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedSource)]
pub struct SourceBody<'e> {
    /// The subscription.
    subscription: &'e str,
    /// Who pays for it.
    customer: &'e str,
    /// Where it stood, in the provider's word.
    #[schema(example = "active")]
    status: &'e str,
    /// Whether the answer is this one's.
    decides: bool,
    /// What would have been decided with it alone.
    allowed: bool,
    /// Why.
    reason: AccessReason,
    /// The plan it stood for.
    #[schema(required = true)]
    plan: Option<&'e str>,
    /// Until when its yes would have held.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
}

impl<'e> SourceBody<'e> {
    fn new(source: &'e ExplainedSource, decides: bool) -> Self {
        let ExplainedSource { subscription, standing, decision } = source;
        Self {
            subscription: subscription.as_str(),
            customer: standing.terms.customer.as_str(),
            status: standing.terms.status.as_str(),
            decides,
            allowed: decision.allowed,
            reason: decision.reason.into(),
            plan: decision.plan.as_ref().map(domain::ids::PlanId::as_str),
            until: decision.until,
        }
    }
}

/// Why could she watch it, or why not?
///
/// `at` asks what was true at a moment, `known_at` what this service knew at a moment; both default to now.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/explain", operation_id = "explainAccess", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), ExplainQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The decision and what it rests on", body = ExplanationBody),
        (status = 404, description = "`unknown_member` or `unknown_video`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn explain(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(ExplainQuery { video, at, known_at }): Params<ExplainQuery>,
) -> Result<Response, ApiError> {
    let at = at.map(|at| moment("at", &at)).transpose()?;
    let known_at = known_at.map(|known_at| moment("known_at", &known_at)).transpose()?;
    let as_of = AsOf { at: at.unwrap_or_else(|| state.now()), known_at };
    let explanation = state.history()?.explain(&member(&id)?, &video, as_of).await?;
    let answered_at = AnsweredAt(explanation.position);
    Ok((answered_at, Json(ExplanationBody::from(&explanation))).into_response())
}

impl<'e> From<&'e Explanation> for ExplanationBody<'e> {
    fn from(explanation: &'e Explanation) -> Self {
        let decides = |index| explanation.decision.source == Some(index);
        let sources = explanation.sources.iter().enumerate();
        Self {
            object: "explanation",
            decision: AccessDecision::explained(explanation),
            known_at: explanation.as_of.known_at,
            sources: sources.map(|(index, source)| SourceBody::new(source, decides(index))).collect(),
            confirmed_by: explanation.confirmed_by.as_ref().map(domain::ids::SourceEventId::as_str),
            text: explanation.text(),
        }
    }
}
