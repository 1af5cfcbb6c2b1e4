//! Who is a member, and how does it stand with her now?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use projections::past::AsOf;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::StateBody;
use super::{PayerBody, payers_of};
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, member};
use crate::position::AnsweredAt;
use crate::state::ApiState;

/// Everything about a member that one look answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberProfile)]
pub struct ProfileBody<'p> {
    /// Always `member_profile`.
    #[schema(example = "member_profile")]
    object: &'static str,
    /// Her id.
    #[schema(example = "mem_ada")]
    id: &'p str,
    /// Her e-mail address; null where none is known or she was erased.
    #[schema(required = true)]
    email: Option<&'p str>,
    /// Her id at the site that asked for her.
    #[schema(required = true)]
    external_id: Option<&'p str>,
    /// Who her payers are, as the billing provider has it.
    payers: Vec<PayerBody>,
    /// When she was made.
    created_at: DateTime<Utc>,
    /// On how many devices she is signed in; null where people cannot sign in.
    #[schema(required = true)]
    sessions: Option<usize>,
    /// How it stands with her now.
    state: StateBody<'p>,
}

/// Show a member.
///
/// Who she is and how it stands with her now.
#[utoipa::path(
    get, path = "/v1/support/members/{member}", operation_id = "showMemberProfile", tag = "Support",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "Who she is and how it stands with her", body = ProfileBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn profile(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let person = state.people.get(&chronicle.member).await?;
    let sessions = match &state.accounts {
        Some(accounts) => Some(accounts.sessions(&chronicle.member).await?.len()),
        None => None,
    };
    let held = chronicle.state(AsOf::at(state.now()));
    let profile = ProfileBody {
        object: "member_profile",
        id: chronicle.member.as_str(),
        email: person.as_ref().and_then(|person| person.email.as_deref()),
        external_id: person.as_ref().and_then(|person| person.external_id.as_deref()),
        payers: payers_of(&state, &held).await?,
        created_at: person.as_ref().map_or(chronicle.registered_at, |person| person.created_at),
        sessions,
        state: StateBody::from(&held),
    };
    Ok((AnsweredAt(chronicle.position), Json(profile)).into_response())
}
