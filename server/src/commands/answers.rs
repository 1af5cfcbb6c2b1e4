//! `explain`, `timeline`, `state`, `diff`, `flips`: answers from the log, read-only, beside a running service or without one.

use std::process::ExitCode;

use api::support::diff::DiffBody;
use api::support::explain::ExplanationBody;
use api::support::flips::FlipBody;
use api::support::state::StateBody;
use api::support::timeline::{TimelineEntryBody, TimelineGroupBody};
use api::support::{DeliveriesSeen, deliveries_seen};
use chrono::{DateTime, Utc};
use domain::clock::{Clock, SystemClock};
use domain::ids::MemberId;
use domain::ports::Position;
use projections::past::{AsOf, Filter};
use storage::Access;

use super::{Failure, open, print, print_json};
use crate::config::Settings;

/// Which moment a question is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    /// What was true then; now, where it is not said.
    pub(crate) at: Option<DateTime<Utc>>,
    /// What was recorded by then.
    pub(crate) known_at: Option<DateTime<Utc>>,
    /// How much of the log.
    pub(crate) position: Option<Position>,
}

impl When {
    fn as_of(self) -> AsOf {
        let Self { at, known_at, position } = self;
        AsOf { at: at.unwrap_or_else(|| SystemClock.now()), known_at, position }
    }
}

/// `explain`
pub(crate) async fn explain(
    settings: &Settings,
    member: &str,
    video: &str,
    when: When,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let explained = app.past.explain(&member, video, when.as_of()).await;
    app.shutdown().await;
    let explanation = explained?;
    if json {
        print_json(&ExplanationBody::from(&explanation))?;
    } else {
        print(explanation.text().trim_end())?;
    }
    Ok(ExitCode::from(u8::from(!explanation.decision.allowed)))
}

/// `timeline`
pub(crate) async fn timeline(
    settings: &Settings,
    member: &str,
    group: bool,
    filter: &Filter,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let chronicle = app.past.chronicle(&member).await;
    let deliveries = match &chronicle {
        Ok(chronicle) if group => deliveries_seen(app.deliveries().as_ref(), chronicle).await,
        _ => Ok(DeliveriesSeen::default()),
    };
    app.shutdown().await;
    let (chronicle, deliveries) = (chronicle?, deliveries?);
    for (payer, before) in &deliveries.earlier {
        tracing::warn!(%payer, before, "of this payer only the latest deliveries are told; others came before");
    }
    if group {
        let groups = chronicle.story(deliveries.seen, filter, SystemClock.now()).groups;
        if json {
            let groups: Vec<_> = groups.into_iter().map(TimelineGroupBody::from).collect();
            return print_json(&groups);
        }
        return print_all(groups.iter().map(projections::past::Group::text));
    }
    let entries = chronicle.entries().into_iter().filter(|entry| filter.takes_entry(entry));
    if json {
        let entries: Vec<_> = entries.map(|entry| TimelineEntryBody::from(&entry)).collect();
        return print_json(&entries);
    }
    print_all(entries.map(|entry| entry.text()))
}

/// `state`
pub(crate) async fn state(
    settings: &Settings,
    member: &str,
    when: When,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let state = app.past.state(&member, when.as_of()).await;
    app.shutdown().await;
    let state = state?;
    if json {
        return print_json(&StateBody::from(&state));
    }
    print_all([state.text().trim_end()])
}

/// `diff`
pub(crate) async fn diff(
    settings: &Settings,
    member: &str,
    from: DateTime<Utc>,
    to: Option<DateTime<Utc>>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let to = to.unwrap_or_else(|| SystemClock.now());
    let diff = app.past.diff(&member, AsOf::at(from), AsOf::at(to)).await;
    app.shutdown().await;
    let diff = diff?;
    if json {
        return print_json(&DiffBody::from(&diff));
    }
    print_all([diff.text().trim_end()])
}

/// `flips`
pub(crate) async fn flips(
    settings: &Settings,
    member: &str,
    video: &str,
    when: When,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = parse(member)?;
    let app = open(settings, Access::WriteOrRead).await?;
    let flips = app.past.flips(&member, video, when.as_of()).await;
    app.shutdown().await;
    let flips = flips?;
    if json {
        let flips: Vec<_> = flips.iter().map(FlipBody::from).collect();
        return print_json(&flips);
    }
    print_all(flips.iter().map(projections::past::Flip::text))
}

fn print_all(lines: impl IntoIterator<Item = impl std::fmt::Display>) -> Result<ExitCode, Failure> {
    for line in lines {
        print(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn parse(member: &str) -> Result<MemberId, Failure> {
    MemberId::parse(member).map_err(|error| Failure::Usage(error.to_string()))
}
