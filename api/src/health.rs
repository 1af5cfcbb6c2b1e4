//! Does the process serve, and is it ready to answer?

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ports::{Position, StoreError};
use projections::parked::ParkedStreams;
use projections::runner::Progress;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::error::{ApiError, Problem};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

/// How long a store may take to answer while it still counts as reachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process serves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `health`.
    #[schema(example = "health")]
    object: &'static str,
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Does the process serve?
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "Operations",
    responses((status = 200, description = "It does", body = Health)),
)]
pub async fn live() -> Json<Health> {
    Json(Health { object: "health", status: "ok" })
}

/// Whether the service is ready, and how far it is. When it is not, the same fields stand in a problem, whose `status`
/// is the HTTP status.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Always `readiness`.
    #[schema(example = "readiness")]
    object: &'static str,
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// What the index has applied.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The end of the log; null when it could not be asked.
    #[schema(required = true)]
    head: Option<String>,
    /// How many positions the index is behind the end of the log; null when that could not be asked.
    #[schema(required = true)]
    lag: Option<u64>,
    /// How many seconds ago the index last knew of the whole log; null before the first time.
    #[schema(required = true)]
    age_seconds: Option<u64>,
    /// How many deliveries of the billing provider wait to be looked at; null when the store could not be asked.
    #[schema(required = true)]
    deliveries_waiting: Option<u64>,
    /// How many streams stand still because an event cannot be read; everything else goes on.
    parked_streams: usize,
    /// What was looked at.
    checks: Vec<Check>,
}

/// One thing that has to work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessCheck)]
pub struct Check {
    /// Its name.
    #[schema(example = "store")]
    name: &'static str,
    /// Whether it works.
    ok: bool,
    /// Whether the service is not ready while it does not work.
    required: bool,
    /// What is wrong.
    #[schema(value_type = Option<String>, required = true)]
    detail: Option<Cow<'static, str>>,
}

/// How many parked streams a report names.
const NAMED: usize = 3;

impl Check {
    fn of(name: &'static str, ok: bool, otherwise: &'static str) -> Self {
        Self { name, ok, required: true, detail: (!ok).then_some(otherwise.into()) }
    }

    /// No reason to leave the balancer: all nodes would, for one member's event.
    fn nothing_parked(parked: &ParkedStreams) -> Self {
        let named: Vec<_> = parked
            .iter()
            .take(NAMED)
            .map(|parked| format!("{} at {}", parked.stream, parked.position))
            .collect();
        let more = parked.len().saturating_sub(NAMED);
        let detail = format!(
            "an event of each cannot be read, so they stand still: {}{}; see GET /v1/support/projections",
            named.join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() }
        );
        let ok = parked.is_empty();
        Self { name: "parked_streams", ok, required: false, detail: (!ok).then_some(detail.into()) }
    }

    fn follows(name: &'static str, progress: &Progress) -> Self {
        if progress.degraded().is_some() {
            return Self::of(name, false, "it cannot go on reading the log, and what it knows grows old");
        }
        Self::of(name, progress.applied().is_some(), "it is still reading the log")
    }
}

/// Is the service ready?
///
/// It is once the index and the directory have caught up, while they can go on, the store answers, deliveries are being
/// looked at and the process has not been asked to stop. A check that is not `required` may fail while the service is
/// ready; somebody has to see to it.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readiness", tag = "Operations",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "`not_ready`: `detail` names the checks that fail, and the fields of the report follow", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn ready(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let (report, head) = look(&state).await;
    if report.checks.iter().all(|check| check.ok || !check.required) {
        return Ok((AnsweredAt(head), Json(report)).into_response());
    }
    let failing =
        report.checks.iter().filter_map(|check| Some(format!("{}: {}", check.name, check.detail.as_ref()?)));
    let failing = failing.collect::<Vec<_>>().join("; ");
    let Ok(Value::Object(mut report)) = serde_json::to_value(&report) else {
        return Err(ApiError::NotReady);
    };
    // A problem's own status is the HTTP status.
    report.remove("status");
    Err(ApiError::Unready { failing, report })
}

async fn look(state: &ApiState) -> (Readiness, Position) {
    // First what waits, then the head: nothing waiting then means that the head is past all that had come.
    let waiting = answered(state.probe.deliveries_waiting()).await;
    let (store, head) = tokio::join!(answered(state.probe.store()), answered(state.feed.head()));
    let applied = state.index_progress.applied();
    let position = applied.unwrap_or(Position::START);
    let reachable = store.is_some() && head.is_some() && waiting.is_some();
    let parked = state.parked_streams();
    let checks = vec![
        Check::of("store", reachable, "it does not answer, or takes no changes"),
        Check::follows("access_index", &state.index_progress),
        Check::follows("directory", &state.directory_progress),
        Check::of("worker", state.probe.worker_alive(), "deliveries are not being looked at"),
        Check::of("process", !state.probe.stopping(), "it is stopping"),
        Check::nothing_parked(&parked),
    ];
    let report = Readiness {
        object: "readiness",
        status: "ready",
        position,
        head: head.map(|head| head.to_string()),
        lag: head.map(|head| head.get().saturating_sub(position.get())),
        age_seconds: state.index_progress.age().map(|age| age.as_secs()),
        deliveries_waiting: waiting,
        parked_streams: parked.len(),
        checks,
    };
    (report, head.unwrap_or(position))
}

async fn answered<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "store does not answer a readiness check");
            None
        }
        Err(_) => {
            tracing::warn!("store does not answer a readiness check in time");
            None
        }
    }
}
