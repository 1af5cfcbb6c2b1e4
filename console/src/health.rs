//! How far the read models are, and whether everything that has to run runs.

use std::time::Duration;

use api::ApiState;
use api::error::ApiError;
use askama::Template;
use axum::extract::State;
use domain::ports::StoreError;
use projections::runner::Progress;
use tokio::time::timeout;

use crate::desk::{Desk, Frame};
use crate::page::Page;

pub(crate) const PATH: &str = "/console/health";
/// How long the store may take to answer while it still counts as reachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that has to work.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    pub(crate) says: String,
}

/// A stream that stands still.
pub(crate) struct Parked {
    pub(crate) stream: String,
    pub(crate) position: String,
    pub(crate) why: String,
}

/// How the service is.
pub(crate) struct Report {
    pub(crate) checks: Vec<Check>,
    pub(crate) parked: Vec<Parked>,
}

impl Report {
    /// Whether nobody has to see to anything.
    pub(crate) fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    pub(crate) async fn of(state: &ApiState) -> Self {
        let waiting = answered(state.probe.deliveries_waiting()).await;
        let (store, head) = tokio::join!(answered(state.probe.store()), answered(state.feed.head()));
        let reachable = store.is_some() && head.is_some();
        let head = head.map(domain::ports::Position::get);
        let parked = state.parked_streams();
        let check = |name, ok, says: String| Check { name, ok, says };
        let worker = state.probe.worker_alive();
        let waiting = match waiting {
            Some(waiting) if worker => {
                check("Deliveries", true, format!("{waiting} waiting, and looked at in turn"))
            }
            Some(waiting) => {
                check("Deliveries", false, format!("{waiting} waiting, and nobody looks at them"))
            }
            None => check("Deliveries", false, "the store does not say how many wait".to_owned()),
        };
        let stripe = state.learner.billing.is_some();
        let stripe = if stripe {
            "there is a key to ask with; whether it answers is seen when it is asked"
        } else {
            "there is no key: nothing is compared, and what webhooks do not tell is not known"
        };
        let streams = match parked.len() {
            0 => "none stands still".to_owned(),
            1 => "1 stands still".to_owned(),
            many => format!("{many} stand still"),
        };
        let store =
            if reachable { "answers and takes changes" } else { "does not answer, or takes no changes" };
        let checks = vec![
            check("Store", reachable, store.to_owned()),
            follows("Access index", &state.index_progress, head),
            follows("Member directory", &state.directory_progress, head),
            waiting,
            check("Streams", parked.is_empty(), streams),
            check("Stripe", state.learner.billing.is_some(), stripe.to_owned()),
        ];
        let parked = parked.iter().map(|parked| Parked {
            stream: parked.stream.to_string(),
            position: parked.position.to_string(),
            why: parked.why.clone(),
        });
        Self { checks, parked: parked.collect() }
    }
}

fn follows(name: &'static str, progress: &Progress, head: Option<u64>) -> Check {
    let Some(applied) = progress.applied() else {
        return Check { name, ok: false, says: "is still reading the log".to_owned() };
    };
    let behind = head.map_or(0, |head| head.saturating_sub(applied.get()));
    let age = progress.age().unwrap_or_default().as_secs();
    if progress.degraded().is_some() {
        let says = format!("at {applied}, and cannot go on reading the log; what it knows is {age} s old");
        return Check { name, ok: false, says };
    }
    let says = if behind == 0 {
        format!("at {applied}, the end of the log")
    } else {
        format!("at {applied}, {behind} positions before the end of the log, which it knew {age} s ago")
    };
    Check { name, ok: true, says }
}

async fn answered<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store does not answer the console");
            None
        }
        Err(_) => None,
    }
}

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    report: Report,
}

/// How everything is.
pub(crate) async fn show(State(state): State<ApiState>, desk: Desk) -> Result<Page<impl Template>, ApiError> {
    let report = Report::of(&state).await;
    Ok(Page(HealthPage { frame: desk.at(PATH), report }))
}
