//! How far the read models are, and which streams stand still in them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ports::Position;
use projections::parked::ParkedStream;
use projections::runner::Progress;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Allowed, SupportRead, SupportWrite};
use crate::error::{ApiError, Problem};
use crate::extract::List;
use crate::position;
use crate::state::{ApiState, RebuildReport, RebuildState};

const MOST_SHOWN: usize = 100;

/// A read model of this node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Projection)]
pub struct ProjectionBody {
    /// Always `projection`.
    #[schema(example = "projection")]
    object: &'static str,
    /// `access_index` answers access checks, `directory` finds what belongs to a member.
    #[schema(example = "directory")]
    name: &'static str,
    /// What it has applied; null before it has caught up for the first time.
    #[schema(required = true, example = "p-1f")]
    position: Option<String>,
    /// How many seconds ago it last knew of the whole log; null before the first time.
    #[schema(required = true)]
    age_seconds: Option<u64>,
    /// How many streams stand still in it because an event cannot be read.
    parked: usize,
    /// The first 100 of them.
    #[schema(max_items = 100)]
    parked_streams: Vec<ParkedStreamBody>,
    /// The last rebuild that this node began; null when it began none. The index is rebuilt by a restart.
    #[schema(required = true)]
    rebuild: Option<RebuildBody>,
}

/// A rebuild of a read model beside the live one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rebuild)]
pub struct RebuildBody {
    /// Always `rebuild`.
    #[schema(example = "rebuild")]
    object: &'static str,
    /// Where it stands.
    state: RebuildState,
    /// How far it has read.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The end of the log when it began.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    head: Position,
    /// How much of that it has read, from 0 to 100.
    percent: u64,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended.
    #[schema(required = true)]
    finished_at: Option<DateTime<Utc>>,
    /// What is to be known of its end.
    #[schema(required = true)]
    detail: Option<String>,
}

impl From<RebuildReport> for RebuildBody {
    fn from(report: RebuildReport) -> Self {
        let RebuildReport { state, position, head, started_at, finished_at, detail } = report;
        let percent = (position.get() * 100).checked_div(head.get()).unwrap_or(100).min(100);
        Self { object: "rebuild", state, position, head, percent, started_at, finished_at, detail }
    }
}

/// A stream that stands still: answers keep to what was known of it before an event that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedStream)]
pub struct ParkedStreamBody {
    /// The stream.
    #[schema(example = "subscription/sub_1")]
    stream: String,
    /// The event that cannot be read.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The event and what is wrong with it.
    why: String,
}

impl From<&ParkedStream> for ParkedStreamBody {
    fn from(ParkedStream { stream, position, why }: &ParkedStream) -> Self {
        Self { stream: stream.to_string(), position: *position, why: why.clone() }
    }
}

impl ProjectionBody {
    fn new(name: &'static str, progress: &Progress, rebuild: Option<RebuildReport>) -> Self {
        let parked = progress.parked();
        Self {
            object: "projection",
            name,
            position: progress.applied().map(|applied| applied.to_string()),
            age_seconds: progress.age().map(|age| age.as_secs()),
            parked: parked.len(),
            parked_streams: parked.iter().take(MOST_SHOWN).map(ParkedStreamBody::from).collect(),
            rebuild: rebuild.map(RebuildBody::from),
        }
    }
}

/// How far are the read models?
///
/// Also names the streams that stand still in each, and why: an event that this version cannot read parks its stream, and
/// everything else goes on.
#[utoipa::path(
    get, path = "/v1/support/projections", operation_id = "listProjections", tag = "Support",
    security(("bearer" = ["support.read"])),
    responses((status = 200, description = "The read models of this node", body = List<ProjectionBody>)),
)]
pub async fn list(State(state): State<ApiState>, _: Allowed<SupportRead>) -> Json<List<ProjectionBody>> {
    let models = vec![
        ProjectionBody::new("access_index", &state.index_progress, None),
        ProjectionBody::new("directory", &state.directory_progress, state.rebuilds.last()),
    ];
    Json(List::page(models, usize::MAX, |model| model.name.to_owned(), |model| model))
}

/// Parked streams that are read again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redrive)]
pub struct RedriveBody {
    /// Always `redrive`.
    #[schema(example = "redrive")]
    object: &'static str,
    /// How many streams stand still now.
    parked_streams: usize,
}

/// Read parked streams again.
///
/// From their first events, at this node, now instead of within a minute. Of use once the event is repaired; a new version
/// of the service does it by itself.
#[utoipa::path(
    post, path = "/v1/support/projections/redrive", operation_id = "redriveParkedStreams", tag = "Support",
    security(("bearer" = ["support.write"])),
    responses((status = 202, description = "They are read again", body = RedriveBody)),
)]
pub async fn redrive(State(state): State<ApiState>, _: Allowed<SupportWrite>) -> Result<Response, ApiError> {
    let parked_streams = state.parked_streams().len();
    state.index_progress.redrive();
    state.directory_progress.redrive();
    Ok((StatusCode::ACCEPTED, Json(RedriveBody { object: "redrive", parked_streams })).into_response())
}

/// Rebuild the directory.
///
/// A new one is built from the first event beside the live one, which serves meanwhile and is then replaced at once. One
/// that fails changes nothing. `GET /v1/support/projections` shows how far it is.
#[utoipa::path(
    post, path = "/v1/support/projections/directory/rebuild", operation_id = "rebuildDirectory", tag = "Support",
    security(("bearer" = ["support.write"])),
    responses(
        (status = 202, description = "It has begun", body = RebuildBody),
        (status = 409, description = "`rebuild_running`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn rebuild(State(state): State<ApiState>, _: Allowed<SupportWrite>) -> Result<Response, ApiError> {
    let begun = state.rebuilds.start().await?.ok_or(ApiError::RebuildRunning)?;
    Ok((StatusCode::ACCEPTED, Json(RebuildBody::from(begun))).into_response())
}
