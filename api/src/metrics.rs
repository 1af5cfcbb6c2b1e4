//! What can be measured from outside?

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::state::ApiState;

/// What is measured.
///
/// Prometheus' text format. Open to whoever can reach this address, as the health checks are: it holds counts and times,
/// and nothing about any person.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "Operations",
    responses((status = 200, description = "Counters, gauges and histograms", body = String, content_type = "text/plain")),
)]
pub async fn scrape(State(state): State<ApiState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.probe.metrics().await)
}
