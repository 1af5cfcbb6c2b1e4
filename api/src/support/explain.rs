//! Why was an answer what it was?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, PlanId, SourceEventId};
use domain::metadata::Actor;
use domain::ports::Position;
use projections::past::{ExplainedSource, Explanation, PlanVerdict, PolicyInForce, SourceKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::as_of;
use super::flips::FlipBody;
use crate::auth::{Allowed, SupportRead};
use crate::decision::{AccessDecision, AccessReason};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, Params, member};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

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
    /// Only the events up to this place of the log. A live decision has `at` and `position`: with both, it is made again.
    #[param(example = "p-1f")]
    position: Option<String>,
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
    /// Up to which place of the log its events count; null when all do.
    #[serde(serialize_with = "position::maybe")]
    #[schema(value_type = Option<String>, required = true, example = "p-1f")]
    up_to: Option<Position>,
    /// What opens this video, in words.
    #[schema(example = "Basic or Pro open Projections.")]
    rule: &'e str,
    /// The revision of the catalogue that was in force, with its rules of access.
    #[schema(required = true)]
    policy: Option<PolicyBody<'e>>,
    /// Everything that was tried.
    sources: Vec<SourceBody<'e>>,
    /// What each plan of the catalogue says about the video, best plan first.
    other_plans: Vec<PlanVerdictBody<'e>>,
    /// The nearest moment, at or before the one asked about, at which the answer had turned.
    #[schema(required = true)]
    before: Option<FlipBody<'e>>,
    /// The nearest moment after it at which the answer turns, by what is known.
    #[schema(required = true)]
    after: Option<FlipBody<'e>>,
    /// The provider event that last told the same again.
    #[schema(required = true)]
    confirmed_by: Option<&'e str>,
    /// The explanation as support reads it.
    text: String,
}

/// A revision of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyInForce)]
pub struct PolicyBody<'e> {
    /// Which revision it is, from 1.
    revision: usize,
    /// The event that completed it.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// Since when it is in force.
    since: DateTime<Utc>,
    /// Who applied it.
    #[schema(value_type = String, example = "operator")]
    actor: &'e Actor,
    /// What it follows from.
    cause: &'e str,
    /// How long access goes on after the first failed attempt to collect a renewal, in seconds.
    past_due_grace_seconds: u64,
}

/// What a plan says about a video.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanVerdict)]
pub struct PlanVerdictBody<'e> {
    /// The plan.
    plan: &'e str,
    /// What it is called.
    name: &'e str,
    /// Whether it opens the video.
    opens: bool,
    /// Whether she had it, good or not.
    held: bool,
    /// The same in words.
    sentence: &'e str,
}

impl<'e> From<&'e PolicyInForce> for PolicyBody<'e> {
    fn from(policy: &'e PolicyInForce) -> Self {
        Self {
            revision: policy.revision,
            position: policy.position,
            since: policy.since,
            actor: &policy.actor,
            cause: &policy.cause,
            past_due_grace_seconds: policy.policy.past_due_grace_seconds,
        }
    }
}

impl<'e> From<&'e PlanVerdict> for PlanVerdictBody<'e> {
    fn from(PlanVerdict { plan, name, opens, held, sentence }: &'e PlanVerdict) -> Self {
        Self { plan: plan.as_str(), name, opens: *opens, held: *held, sentence }
    }
}

/// One thing that might have opened the video.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedSource)]
pub struct SourceBody<'e> {
    /// What kind of thing: `subscription` or `grant`.
    #[schema(example = "subscription")]
    kind: &'static str,
    /// Its id.
    #[schema(example = "sub_1")]
    id: &'e str,
    /// The subscription, where it is one.
    #[schema(required = true)]
    subscription: Option<&'e str>,
    /// Who pays for it, if somebody does.
    #[schema(required = true)]
    customer: Option<&'e str>,
    /// Where it stood, in one word: a subscription's is the provider's, a grant is `granted`, `to_come`, `ended` or
    /// `revoked`.
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
    /// The decision in words.
    message: &'e str,
    /// Since when it runs.
    #[schema(required = true)]
    starts_at: Option<DateTime<Utc>>,
    /// Its end, past or to come, if one is known.
    #[schema(required = true)]
    ends_at: Option<DateTime<Utc>>,
    /// Who gave it, where it was given.
    #[schema(value_type = Option<String>, required = true, example = "staff:mem_grace")]
    giver: Option<&'e Actor>,
    /// Why it was given, in words of staff.
    #[schema(required = true)]
    remark: Option<&'e str>,
}

impl<'e> From<&'e ExplainedSource> for SourceBody<'e> {
    fn from(source: &'e ExplainedSource) -> Self {
        let decision = &source.decision;
        let id = source.id.as_str();
        Self {
            kind: source.kind.as_str(),
            id,
            subscription: matches!(source.kind, SourceKind::Subscription).then_some(id),
            customer: source.customer.as_ref().map(CustomerId::as_str),
            status: &source.status,
            decides: source.decides,
            allowed: decision.allowed,
            reason: decision.reason.into(),
            plan: decision.plan.as_ref().map(PlanId::as_str),
            until: decision.until,
            message: &source.sentence,
            starts_at: source.from,
            ends_at: source.until,
            giver: source.giver.as_ref(),
            remark: source.remark.as_deref(),
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
    Params(ExplainQuery { video, at, known_at, position }): Params<ExplainQuery>,
) -> Result<Response, ApiError> {
    let as_of = as_of(&state, at.as_deref(), known_at.as_deref(), position.as_deref())?;
    let explanation = state.history()?.explain(&member(&id)?, &video, as_of).await?;
    let answered_at = AnsweredAt(explanation.position);
    Ok((answered_at, Json(ExplanationBody::from(&explanation))).into_response())
}

impl<'e> From<&'e Explanation> for ExplanationBody<'e> {
    fn from(explanation: &'e Explanation) -> Self {
        Self {
            object: "explanation",
            decision: AccessDecision::explained(explanation),
            known_at: explanation.as_of.known_at,
            up_to: explanation.as_of.position,
            rule: &explanation.rule,
            policy: explanation.policy.as_ref().map(PolicyBody::from),
            other_plans: explanation.other_plans.iter().map(PlanVerdictBody::from).collect(),
            before: explanation.before.as_ref().map(FlipBody::from),
            after: explanation.after.as_ref().map(FlipBody::from),
            sources: explanation.sources.iter().map(SourceBody::from).collect(),
            confirmed_by: explanation.confirmed_by.as_ref().map(SourceEventId::as_str),
            text: explanation.text(),
        }
    }
}
