//! `backfill` and `reconcile`: asks Stripe for what webhooks did not tell.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use domain::billing::BillingError;
use serde_json::json;
use storage::Access;
use webhook_ingest::backfill::BackfillError;
use webhook_ingest::reconcile::{Finding, ReconcileError, Reconciled};

use super::progress::Counter;
use super::{Failure, open, print, print_json};
use crate::config::Settings;

/// How many findings are told one by one.
const MOST_TOLD: usize = 1_000;

impl From<BillingError> for Failure {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::NotConfigured => Self::Usage(
                "STRIPE_SECRET_KEY: is missing, so Stripe cannot be asked; for example sk_test_… from Stripe's dashboard"
                    .to_owned(),
            ),
            BillingError::Refused { .. } => Self::Usage(error.to_string()),
            BillingError::Unavailable(_) | BillingError::RateLimited { .. } => {
                Self::Unavailable(format!("{error}; the next run goes on where this one was"))
            }
        }
    }
}

impl From<BackfillError> for Failure {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::Billing(error) => error.into(),
            BackfillError::Store(error) => error.into(),
        }
    }
}

impl From<ReconcileError> for Failure {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Billing(error) => error.into(),
            ReconcileError::Store(error) => error.into(),
            ReconcileError::Other(what) => Self::Unavailable(what),
        }
    }
}

/// `backfill`
pub(crate) async fn backfill(
    settings: &Settings,
    since: Option<DateTime<Utc>>,
    json: bool,
) -> Result<ExitCode, Failure> {
    keyed(settings)?;
    let app = open(settings, Access::Write).await?;
    let backfill = app.backfill().ok_or(BillingError::NotConfigured)?;
    let mut progress = Counter::new("events");
    let done = backfill.run(since, |done| progress.reached(done.read)).await;
    progress.finish();
    let done = done?;
    app.worker.drain().await?;
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({
            "object": "backfill", "since": done.since, "read": done.read, "stored": done.stored,
            "reaches_back_too_little": done.reaches_back_too_little,
        }));
    }
    print(format!(
        "{} events read back to {}, {} of them had never come",
        done.read, done.since, done.stored
    ))?;
    if done.reaches_back_too_little {
        print("Stripe keeps events for 30 days only: run membership reconcile for what is older")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `reconcile`
pub(crate) async fn reconcile(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    keyed(settings)?;
    let app = open(settings, Access::Write).await?;
    app.caught_up().await?;
    let mut progress = Counter::new("subscriptions");
    let done = app.worker.reconcile(|done| progress.reached(done.compared + done.foreign)).await;
    progress.finish();
    let done = done?;
    // What was linked on the way may have been waited for.
    app.worker.drain().await?;
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        let Reconciled { compared, differing, repaired, left, foreign, findings, unlinked } = &done;
        print_json(&json!({
            "object": "reconciliation", "compared": compared, "differing": differing, "repaired": repaired,
            "left": left, "foreign": foreign, "findings": findings, "unlinked": unlinked,
        }))?;
    } else {
        for line in lines(&done) {
            print(line)?;
        }
    }
    Ok(if done.left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Nothing is opened, and no table made, where nobody can be asked.
fn keyed(settings: &Settings) -> Result<(), Failure> {
    settings.billing()?.map(|_| ()).ok_or_else(|| BillingError::NotConfigured.into())
}

fn lines(done: &Reconciled) -> Vec<String> {
    let mut lines: Vec<_> = done.findings.iter().take(MOST_TOLD).map(finding).collect();
    lines.extend(done.unlinked.iter().take(MOST_TOLD).map(|unlinked| {
        format!("{}  belongs to nobody known here: {}", unlinked.subscription, unlinked.why)
    }));
    lines.push(format!(
        "{} subscriptions compared: {} differed, {} put right, {} left; {} belong to nobody known here, {} sell nothing of the catalogue",
        done.compared,
        done.differing,
        done.repaired,
        done.left,
        done.unlinked.len(),
        done.foreign
    ));
    lines
}

fn finding(finding: &Finding) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let differences: Vec<_> = finding
        .differences
        .iter()
        .map(|difference| {
            let (known, found) = (shown(&difference.known), shown(&difference.found));
            format!("{}: known {known}, at Stripe {found}", difference.what)
        })
        .collect();
    let repaired = if finding.repaired { "put right" } else { "LEFT: compare it in Stripe's dashboard" };
    format!("{}  {}  {repaired}", finding.subscription, differences.join("; "))
}
