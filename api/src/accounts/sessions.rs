//! Where somebody is signed in, and ending that.

use ::accounts::SessionView;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::SessionId;
use serde::Serialize;
use utoipa::ToSchema;

use super::goodbye;
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List};
use crate::position::AnsweredAt;
use crate::sign_in::Visit;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionBody {
    /// Always `session`.
    #[schema(example = "session")]
    object: &'static str,
    /// Its id.
    #[schema(value_type = String, example = "ses_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    /// Since when.
    created_at: DateTime<Utc>,
    /// When it was last renewed.
    last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    expires_at: DateTime<Utc>,
    /// What the browser calls itself.
    #[schema(required = true)]
    device: Option<String>,
    /// The network it began in.
    #[schema(required = true, example = "203.0.113.0/24")]
    network: Option<String>,
}

impl SessionBody {
    fn new(view: SessionView, current: &SessionId) -> Self {
        let SessionView { id, created_at, last_used_at, expires_at, device, network } = view;
        let current = id == *current;
        Self { object: "session", id, current, created_at, last_used_at, expires_at, device, network }
    }
}

/// How many sessions were ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionsEnded {
    /// Always `sessions_ended`.
    #[schema(example = "sessions_ended")]
    object: &'static str,
    /// So many.
    count: usize,
}

/// Where she is signed in.
///
/// All sessions that live, the latest first.
#[utoipa::path(
    get, path = "/v1/auth/sessions", operation_id = "listSessions", tag = "Accounts",
    security(("session" = [])),
    responses((status = 200, description = "All of them; `has_more` is always false", body = List<SessionBody>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    Viewer { member, session, .. }: Viewer,
) -> Result<Json<List<SessionBody>>, ApiError> {
    let sessions = state.sign_in()?.accounts.sessions(&member).await?;
    let all = sessions.len();
    Ok(Json(List::page(sessions, all, |view| view.id.to_string(), |view| SessionBody::new(view, &session))))
}

/// End all other sessions.
#[utoipa::path(
    delete, path = "/v1/auth/sessions", operation_id = "endOtherSessions", tag = "Accounts",
    security(("session" = [])),
    responses((status = 200, description = "How many there were", body = SessionsEnded)),
)]
pub async fn end_others(
    State(state): State<ApiState>,
    viewer: Viewer,
    visit: Visit,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    let (actor, request) = (viewer.actor(), &visit.origin.request_id);
    let (count, position) =
        accounts.revoke_other_sessions(&viewer.member, Some(&viewer.session), actor, request).await?;
    Ok((AnsweredAt(position), Json(SessionsEnded { object: "sessions_ended", count })).into_response())
}

/// End a session.
///
/// Ending the one that asks is signing out.
#[utoipa::path(
    delete, path = "/v1/auth/sessions/{id}", operation_id = "endSession", tag = "Accounts",
    params(("id" = String, Path, description = "The session's id")),
    security(("session" = [])),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "`unknown_session`: no session of hers has this id", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn end(
    State(state): State<ApiState>,
    viewer: Viewer,
    visit: Visit,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let (session, request) = (SessionId::from(id), &visit.origin.request_id);
    // What could not be an id is nobody's, and no store is asked about it.
    session.uuid().ok_or(::accounts::AccountError::NoSession)?;
    let position = sign_in.accounts.revoke_session(&viewer.member, &session, viewer.actor(), request).await?;
    if session == viewer.session {
        return Ok(goodbye(sign_in, Some(position)));
    }
    Ok((StatusCode::NO_CONTENT, AnsweredAt(position), ()).into_response())
}
