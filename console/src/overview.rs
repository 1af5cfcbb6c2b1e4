//! The first page: the search box, and what needs somebody.

use std::collections::BTreeMap;

use api::error::ApiError;
use api::{ApiState, DeliveryFilter, DeliveryOutcome, DeliverySelection};
use askama::Template;
use axum::extract::State;

use crate::desk::{Desk, Frame};
use crate::drift::Findings;
use crate::health::Report;
use crate::page::Page;

/// How many parked deliveries are counted by their reasons.
const COUNTED: usize = 1_000;
/// How many findings of drift are shown.
const SHOWN: usize = 5;

/// Deliveries that wait for the same thing.
struct Waiting {
    outcome: &'static str,
    words: &'static str,
    reason: String,
    count: usize,
    example: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    waiting: Vec<Waiting>,
    counted_all: bool,
    findings: Findings,
    report: Report,
    paying_twice: usize,
}

/// The first page.
pub(crate) async fn show(State(state): State<ApiState>, desk: Desk) -> Result<Page<impl Template>, ApiError> {
    let (mut waiting, mut counted_all) = (Vec::new(), true);
    for (outcome, name, words) in
        [(DeliveryOutcome::Failed, "failed", "failed"), (DeliveryOutcome::Parked, "parked", "parked")]
    {
        let of = DeliverySelection { outcome: Some(outcome), ..DeliverySelection::default() };
        let records = state.deliveries.list(DeliveryFilter { of, before: None, limit: COUNTED }).await?;
        counted_all &= records.len() < COUNTED;
        let mut reasons: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for record in records {
            let (count, example) = reasons.entry(record.reason.unwrap_or_default()).or_default();
            *count += 1;
            *example = record.detail.unwrap_or_default();
        }
        let grouped = reasons.into_iter().map(|(reason, (count, example))| Waiting {
            outcome: name,
            words,
            reason,
            count,
            example,
        });
        waiting.extend(grouped);
    }
    let mut findings = Findings::of(&state, None).await?;
    // What is still wrong comes first.
    findings.found.sort_by_key(|finding| finding.repaired);
    findings.found.truncate(SHOWN);
    Ok(Page(OverviewPage {
        frame: desk.at("/console"),
        waiting,
        counted_all,
        findings,
        report: Report::of(&state).await,
        paying_twice: state.index.paying_twice(),
    }))
}
