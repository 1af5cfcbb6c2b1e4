//! May this member watch this video, now or then?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::MemberId;
use domain::ports::Position;
use projections::access_index::{Checked, NotThere};
use projections::past::AsOf;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{AccessRead, Allowed};
use crate::decision::{AccessDecision, Degraded, Question};
use crate::error::{ApiError, Problem};
use crate::extract::{Body, Ids, Params, member, moment};
use crate::observe;
use crate::position::{self, AnsweredAt};
use crate::shell::Asked;
use crate::state::ApiState;

const MOST_CHECKS: usize = 200;

/// Which moment.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MomentQuery {
    /// What was true at this moment (RFC 3339), with all that is known now. Now when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    at: Option<String>,
}

/// May this member watch this video?
///
/// Without `at` the answer comes from memory, also while the log cannot be read: then it has `degraded`, and the header
/// `Membership-Degraded` has the same seconds. With `at` the member's history is read, and the answer names the events
/// that decided it.
#[utoipa::path(
    get, path = "/v1/members/{member}/access/videos/{video}", operation_id = "checkAccess", tag = "Access",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("video" = String, Path, description = "The video's id in the catalogue"),
        MomentQuery,
    ),
    security(("bearer" = ["access.read"])),
    responses(
        (status = 200, description = "The decision, yes or no", body = AccessDecision),
        (status = 404, description = "`unknown_member` or `unknown_video`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn check(
    State(state): State<ApiState>,
    _: Allowed<AccessRead>,
    asked: Asked,
    Ids((id, video)): Ids<(String, String)>,
    Params(MomentQuery { at }): Params<MomentQuery>,
) -> Result<Response, ApiError> {
    let position = asked.applied()?;
    if let Some(at) = at {
        let as_of = AsOf::at(moment("at", &at)?);
        let explanation = state.history()?.explain(&member(&id)?, &video, as_of).await?;
        let answered_at = AnsweredAt(explanation.position);
        return Ok((answered_at, Json(AccessDecision::explained(&explanation))).into_response());
    }
    let member = member(&id)?;
    let (at, degraded) = (state.now(), Degraded::of(&state.index_progress));
    let decision = decide(&state, (&member, &video), at, position, degraded)?;
    Ok((degraded, Json(decision)).into_response())
}

fn decide<'q>(
    state: &ApiState,
    (member, video): (&'q MemberId, &'q str),
    at: DateTime<Utc>,
    position: Position,
    degraded: Option<Degraded>,
) -> Result<AccessDecision<'q>, ApiError> {
    match state.index.check(member, video, at) {
        Ok(Checked { decision, message }) => {
            observe::decided(&decision);
            let question = Question { member: Some(member), video, at, position, degraded };
            Ok(AccessDecision::new(question, decision, message))
        }
        Err(NotThere::Member) => Err(ApiError::UnknownMember(member.to_string())),
        Err(NotThere::Video) => Err(ApiError::UnknownVideo(video.to_owned())),
    }
}

/// Many questions at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessChecks {
    /// The questions.
    #[schema(min_items = 1, max_items = 200)]
    checks: Vec<CheckItem>,
}

/// One question of many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccessCheckItem)]
pub struct CheckItem {
    /// The member.
    #[schema(example = "mem_ada")]
    member: String,
    /// The video.
    #[schema(example = "projections")]
    video: String,
}

/// The answers to many questions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessCheck)]
pub struct CheckedItems<'d> {
    /// Always `access_check`.
    #[schema(example = "access_check")]
    object: &'static str,
    /// How much of the log all answers know of, at least.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The answers, in the order of the questions.
    decisions: Vec<CheckedItem<'d>>,
}

/// One answer of many.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AccessCheckResult)]
pub enum CheckedItem<'d> {
    /// A decision.
    Decision(AccessDecision<'d>),
    /// The member or the video is not known.
    Error(AccessError<'d>),
}

/// A question among many that has no answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessError<'d> {
    /// Always `access_error`.
    #[schema(example = "access_error")]
    object: &'static str,
    /// The member.
    member: &'d str,
    /// The video.
    video: &'d str,
    /// `unknown_member` or `unknown_video`.
    code: &'static str,
    /// What is wrong, in words.
    detail: String,
}

/// May these members watch these videos?
///
/// Up to 200 questions, answered in order and from one position. An unknown member or video fails its own question only.
/// While the log cannot be read, every decision has `degraded`, and the header `Membership-Degraded` has the same seconds.
#[utoipa::path(
    post, path = "/v1/access/check", operation_id = "checkAccessBatch", tag = "Access",
    security(("bearer" = ["access.read"])),
    request_body = AccessChecks,
    responses((status = 200, description = "One answer for each question", body = CheckedItems)),
)]
pub async fn check_many(
    State(state): State<ApiState>,
    _: Allowed<AccessRead>,
    asked: Asked,
    Body(AccessChecks { checks }): Body<AccessChecks>,
) -> Result<Response, ApiError> {
    let position = asked.applied()?;
    if !(1..=MOST_CHECKS).contains(&checks.len()) {
        let why = format!("it has {} items, and 1 to {MOST_CHECKS} are answered at once", checks.len());
        return Err(ApiError::Invalid { field: "checks", why: why.into() });
    }
    let (at, degraded) = (state.now(), Degraded::of(&state.index_progress));
    let members: Vec<_> = checks.iter().map(|item| member(&item.member)).collect();
    let asked = checks.iter().zip(&members);
    let decisions =
        asked.map(|(item, member)| item.answer(&state, member.as_ref(), at, position, degraded)).collect();
    Ok((degraded, Json(CheckedItems { object: "access_check", position, decisions })).into_response())
}

impl CheckItem {
    fn answer<'d>(
        &'d self,
        state: &ApiState,
        member: Result<&'d MemberId, &ApiError>,
        at: DateTime<Utc>,
        position: Position,
        degraded: Option<Degraded>,
    ) -> CheckedItem<'d> {
        let Self { member: id, video } = self;
        let refused = |error: &ApiError| {
            let (code, detail) = (error.code(), error.to_string());
            CheckedItem::Error(AccessError { object: "access_error", member: id, video, code, detail })
        };
        match member.map(|member| decide(state, (member, video), at, position, degraded)) {
            Ok(Ok(decision)) => CheckedItem::Decision(decision),
            Ok(Err(error)) => refused(&error),
            Err(error) => refused(error),
        }
    }
}
