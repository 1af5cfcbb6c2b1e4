//! What is otherwise with a member at another moment?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use projections::past::{AsOf, Change, Diff};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::state::StateBody;
use super::timeline::TimelineEntryBody;
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, Params, member, moment};
use crate::position::AnsweredAt;
use crate::state::ApiState;

/// Which moments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// What was true at this moment (RFC 3339)…
    #[param(format = DateTime, example = "2026-11-01T10:00:00Z")]
    from: String,
    /// …and at this one. Now when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    to: Option<String>,
    /// Of the first moment only what this service had learned by this one. Everything when left out.
    #[param(format = DateTime)]
    known_from: Option<String>,
    /// Of the second moment only what it had learned by this one. Everything when left out.
    #[param(format = DateTime)]
    known_to: Option<String>,
}

/// What is otherwise with a member at another moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberDiff)]
pub struct DiffBody<'d> {
    /// Always `member_diff`.
    #[schema(example = "member_diff")]
    object: &'static str,
    /// How it stood at first.
    from: StateBody<'d>,
    /// How it stood then.
    to: StateBody<'d>,
    /// What is otherwise.
    changes: Vec<ChangeBody<'d>>,
    /// What happened between the two moments, oldest first.
    between: Vec<TimelineEntryBody>,
    /// What is about the time until the first moment and was learned after it, oldest first.
    learned_later: Vec<TimelineEntryBody>,
    /// What that changed in how it stood at the first moment.
    corrections: Vec<ChangeBody<'d>>,
    /// The same in one sentence.
    #[schema(example = "2 events arrived later that changed this.")]
    sentence: &'d str,
}

/// Something that is otherwise.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StateChange)]
pub struct ChangeBody<'d> {
    /// What.
    #[schema(example = "status of sub_1")]
    what: &'d str,
    /// How it was; null when it was not there.
    #[schema(required = true)]
    before: Option<&'d str>,
    /// How it is; null when it is no longer there.
    #[schema(required = true)]
    after: Option<&'d str>,
}

impl<'d> From<&'d Change> for ChangeBody<'d> {
    fn from(Change { what, before, after }: &'d Change) -> Self {
        Self { what, before: before.as_deref(), after: after.as_deref() }
    }
}

/// What changed?
///
/// How it stood with her at two moments, what happened between them, and what was learned too late to be known at the
/// first.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/diff", operation_id = "compareMemberStates", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), DiffQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "What is otherwise", body = DiffBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn diff(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(DiffQuery { from, to, known_from, known_to }): Params<DiffQuery>,
) -> Result<Response, ApiError> {
    let read = |name, text: Option<String>| text.map(|text| moment(name, &text)).transpose();
    let (known_from, known_to) = (read("known_from", known_from)?, read("known_to", known_to)?);
    let from = AsOf { known_at: known_from, ..AsOf::at(moment("from", &from)?) };
    let to = AsOf { known_at: known_to, ..AsOf::at(read("to", to)?.unwrap_or_else(|| state.now())) };
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let diff = chronicle.diff(from, to);
    Ok((AnsweredAt(chronicle.position), Json(DiffBody::from(&diff))).into_response())
}

impl<'d> From<&'d Diff> for DiffBody<'d> {
    fn from(diff: &'d Diff) -> Self {
        Self {
            object: "member_diff",
            from: StateBody::from(&diff.from),
            to: StateBody::from(&diff.to),
            changes: diff.changes.iter().map(ChangeBody::from).collect(),
            between: diff.between.iter().map(TimelineEntryBody::from).collect(),
            learned_later: diff.learned_later.iter().map(TimelineEntryBody::from).collect(),
            corrections: diff.corrections.iter().map(ChangeBody::from).collect(),
            sentence: &diff.sentence,
        }
    }
}
