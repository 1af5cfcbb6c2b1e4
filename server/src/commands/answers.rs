//! `explain` and `timeline`: answers from the log, read-only, beside a running service or without one.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use domain::clock::{Clock, SystemClock};
use domain::ids::MemberId;
use projections::past::AsOf;
use storage::Access;

use super::{Failure, open, print, print_json};
use crate::config::Settings;

/// `explain`
pub(crate) async fn explain(
    settings: &Settings,
    member: &str,
    video: &str,
    at: Option<DateTime<Utc>>,
    known_at: Option<DateTime<Utc>>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let as_of = AsOf { at: at.unwrap_or_else(|| SystemClock.now()), known_at, position: None };
    let explained = app.past.explain(&member, video, as_of).await;
    app.shutdown().await;
    let explanation = explained?;
    if json {
        print_json(&api::support::explain::ExplanationBody::from(&explanation))?;
    } else {
        print(explanation.text().trim_end())?;
    }
    Ok(ExitCode::from(u8::from(!explanation.decision.allowed)))
}

/// `timeline`
pub(crate) async fn timeline(settings: &Settings, member: &str, json: bool) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let timeline = app.past.timeline(&member).await;
    app.shutdown().await;
    let timeline = timeline?;
    if json {
        let entries: Vec<_> = timeline.iter().map(api::support::timeline::TimelineEntryBody::from).collect();
        return print_json(&entries);
    }
    for entry in timeline {
        print(entry.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn parse(member: &str) -> Result<MemberId, Failure> {
    MemberId::parse(member).map_err(|error| Failure::Usage(error.to_string()))
}
