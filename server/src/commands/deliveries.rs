//! `deliveries list`, `show` and `replay`.

use std::fmt::Write as _;
use std::process::ExitCode;

use api::deliveries::{DeliveryBody, HistoryBody};
use api::{DeliveryFilter, DeliveryOutcome, DeliveryRecord, DeliverySelection, DeliveryStep};
use serde_json::json;
use storage::Access;

use super::{Failure, open, operator, print, print_json};
use crate::app::kept;
use crate::cli::DeliveriesArgs;
use crate::config::Settings;

/// As many are looked at again in one step.
const PAGE: usize = 500;

impl DeliveriesArgs {
    pub(crate) fn selection(self, outcome: Option<DeliveryOutcome>) -> DeliverySelection {
        let Self { reason, event_type, customer, received_from, received_until } = self;
        DeliverySelection { outcome, reason, event_type, customer, received_from, received_until }
    }
}

/// `deliveries list`
pub(crate) async fn list(
    settings: &Settings,
    of: DeliverySelection,
    before: Option<String>,
    limit: usize,
    json: bool,
) -> Result<ExitCode, Failure> {
    let app = open(settings, Access::WriteOrRead).await?;
    let listed = app.deliveries().list(DeliveryFilter { of, before, limit }).await;
    app.shutdown().await;
    for record in listed? {
        if json {
            print(json!(DeliveryBody::from(record)))?;
        } else {
            print(line(&record))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `deliveries show`
pub(crate) async fn show(settings: &Settings, event: &str, json: bool) -> Result<ExitCode, Failure> {
    let app = open(settings, Access::WriteOrRead).await?;
    let found = app.deliveries().get(event).await;
    app.shutdown().await;
    let (record, steps) = found?.ok_or_else(|| unknown(event))?;
    if json {
        return print_json(&HistoryBody::from((record, steps)));
    }
    print(line(&record))?;
    for DeliveryStep { at, step, actor, reason, detail } in steps {
        let mut told = format!("  {}  {step}", at.format("%Y-%m-%d %H:%M:%S"));
        for (before, part) in [(" by ", actor), (" ", reason), (": ", detail)] {
            if let Some(part) = part {
                let _ = write!(told, "{before}{part}");
            }
        }
        print(told)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `deliveries replay EVENT`
pub(crate) async fn replay(
    settings: &Settings,
    event: &str,
    why: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let why = sentence(why)?;
    let app = open(settings, Access::Write).await?;
    let deliveries = app.deliveries();
    let known = deliveries.replay(event, operator(), &why).await?;
    app.worker.drain().await?;
    let now = deliveries.get(event).await?;
    app.shutdown().await;
    let (record, steps) = now.filter(|_| known).ok_or_else(|| unknown(event))?;
    if json {
        return print_json(&HistoryBody::from((record, steps)));
    }
    print(line(&record))?;
    Ok(ExitCode::SUCCESS)
}

/// `deliveries replay --outcome …`
pub(crate) async fn replay_some(
    settings: &Settings,
    of: DeliverySelection,
    limit: usize,
    why: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let why = sentence(why)?;
    if of.outcome == Some(DeliveryOutcome::Pending) {
        let what = "--outcome: what is pending is looked at anyway; name another outcome";
        return Err(Failure::Usage(what.to_owned()));
    }
    let app = open(settings, Access::Write).await?;
    let deliveries = app.deliveries();
    let (mut replayed, mut left, mut after) = (0, 0, None);
    while replayed < limit as u64 {
        let at_most = PAGE.min(limit - usize::try_from(replayed).unwrap_or(limit));
        let done = deliveries.replay_some(of.clone(), after, at_most, operator(), &why).await?;
        app.worker.drain().await?;
        (replayed, left, after) = (replayed + done.count, done.left, done.last);
        if left == 0 || after.is_none() {
            break;
        }
    }
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({
            "object": "deliveries_replay", "replayed": replayed, "left": left, "last": after,
        }));
    }
    print(format_args!("{replayed} deliveries looked at again, {left} left"))?;
    Ok(ExitCode::SUCCESS)
}

fn line(record: &DeliveryRecord) -> String {
    let DeliveryRecord { id, event_type, customer, received_at, outcome, reason, detail, .. } = record;
    let (at, outcome) = (received_at.format("%Y-%m-%d %H:%M:%S"), kept(*outcome));
    let (customer, reason) = (customer.as_deref().unwrap_or("-"), reason.as_deref().unwrap_or("-"));
    let detail = detail.as_deref().unwrap_or_default();
    format!("{at}  {id}  {event_type}  {customer}  {outcome}  {reason}  {detail}").trim_end().to_owned()
}

fn sentence(why: &str) -> Result<String, Failure> {
    let bad = || Failure::Usage(format!("--why: {}", api::deliveries::A_LINE));
    api::deliveries::sentence(why).ok_or_else(bad)
}

fn unknown(event: &str) -> Failure {
    Failure::Usage(format!(
        "no delivery has the id {event:?}; `membership deliveries list` lists those that came in"
    ))
}
