//! When did an answer turn, and what turned it?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::PlanId;
use projections::past::{Flip, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::as_of;
use crate::auth::{Allowed, SupportRead};
use crate::decision::{AccessReason, DecidingEventBody};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, member};
use crate::position::AnsweredAt;
use crate::state::ApiState;

/// Of which video.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlipsQuery {
    /// The video's id in the catalogue.
    video: String,
    /// Only what this service had learned by this moment (RFC 3339). Everything when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    known_at: Option<String>,
}

/// A moment at which an answer turns from no to yes or back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Flip)]
pub struct FlipBody<'f> {
    /// Always `flip`.
    #[schema(example = "flip")]
    object: &'static str,
    /// The first moment of the new answer.
    at: DateTime<Utc>,
    /// What was answered until then.
    from: VerdictBody<'f>,
    /// What is answered from then on.
    to: VerdictBody<'f>,
    /// The event that did it, or that set the end which did.
    #[schema(required = true)]
    event: Option<DecidingEventBody>,
    /// Nothing happened at that moment: an end that was set before had come.
    by_time: bool,
    /// The flip as one line.
    text: String,
}

/// An answer with its words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct VerdictBody<'f> {
    /// Yes or no.
    allowed: bool,
    /// Why; null where the catalogue of that moment had no such video.
    #[schema(required = true)]
    reason: Option<AccessReason>,
    /// The plan the reason speaks of.
    #[schema(required = true)]
    plan: Option<&'f str>,
    /// Until when a yes holds, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// The answer in words: the ones that the member reads.
    message: &'f str,
}

impl<'f> From<&'f Verdict> for VerdictBody<'f> {
    fn from(Verdict { allowed, reason, plan, until, sentence }: &'f Verdict) -> Self {
        let (reason, plan) = (reason.map(AccessReason::from), plan.as_ref().map(PlanId::as_str));
        Self { allowed: *allowed, reason, plan, until: *until, message: sentence }
    }
}

impl<'f> From<&'f Flip> for FlipBody<'f> {
    fn from(flip: &'f Flip) -> Self {
        Self {
            object: "flip",
            at: flip.at,
            from: VerdictBody::from(&flip.from),
            to: VerdictBody::from(&flip.to),
            event: flip.event.clone().map(DecidingEventBody::from),
            by_time: flip.by_time,
            text: flip.text(),
        }
    }
}

/// When did the answer turn?
///
/// Every moment at which the answer for a video turned from no to yes or back, and will turn by what is known, oldest
/// first, with the one event that did it.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/flips", operation_id = "listFlips", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), FlipsQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The moments, oldest first", body = List<FlipBody>),
        (status = 404, description = "`unknown_member` or `unknown_video`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn flips(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(FlipsQuery { video, known_at }): Params<FlipsQuery>,
) -> Result<Response, ApiError> {
    let as_of = as_of(&state, None, known_at.as_deref(), None)?;
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let flips = chronicle.flips(&video, as_of)?;
    let list = List::page(flips.iter().collect(), usize::MAX, |_| String::new(), FlipBody::from);
    Ok((AnsweredAt(chronicle.position), Json(list)).into_response())
}
