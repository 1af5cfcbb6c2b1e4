//! Keeps what is known equal to what Stripe knows without waiting for webhooks: reads Stripe's list of events for those that
//! never came, compares all subscriptions, and looks where a delivery was not clear.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ports::StoreError;
use tokio::time::{Instant, sleep_until, timeout};
use webhook_ingest::backfill::Backfill;
use webhook_ingest::reconcile::{ReconcileError, Reconciled};
use webhook_ingest::worker::Worker;

/// What waits for a look waits so long at most, and what failed is tried again after it.
const TICK: Duration = Duration::from_secs(30);
/// Where the notebook has when all subscriptions were last compared.
const COMPARED: &str = "reconciled";

/// When Stripe is asked of our own accord; never, where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// For events that never came. The first time at once, since something may have come while nobody listened.
    pub backfill: Option<Duration>,
    /// For all subscriptions.
    pub reconcile: Option<Duration>,
}

/// Asks until the task is dropped.
pub async fn run(worker: Arc<Worker>, backfill: Backfill, schedule: Schedule) {
    let (mut next_backfill, mut next_reconcile) = (Instant::now(), Instant::now());
    loop {
        if let Some(every) = schedule.backfill
            && Instant::now() >= next_backfill
        {
            next_backfill = Instant::now() + if fill(&backfill).await { every } else { every.min(TICK) };
        }
        if let Some(every) = schedule.reconcile
            && Instant::now() >= next_reconcile
        {
            next_reconcile = Instant::now() + compare(&worker, every).await;
        }
        if let Err(error) = worker.settle_wishes().await {
            tracing::warn!(%error, "how members' wishes ended is found out later");
        }
        if let Err(error) = worker.look_at_what_waits().await {
            tracing::warn!(%error, "looks at the billing provider wait");
            // Whatever wakes us meanwhile waits for the same.
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
        }
        let next = [schedule.backfill.map(|_| next_backfill), schedule.reconcile.map(|_| next_reconcile)];
        let next = next.into_iter().flatten().min().map_or(TICK, |next| next - Instant::now());
        let _ = timeout(next.min(TICK), worker.looks.notified()).await;
    }
}

/// Whether the list of events was read to its end.
async fn fill(backfill: &Backfill) -> bool {
    match backfill.run(None, |_| {}).await {
        Ok(done) => {
            tracing::info!(read = done.read, stored = done.stored, since = %done.since, "the billing provider's events were read");
            if done.reaches_back_too_little {
                tracing::error!(
                    "events older than 30 days are listed no more; membership reconcile finds what they would have told"
                );
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the billing provider's events were not read to their end; tried again soon");
            false
        }
    }
}

/// Compares, unless this or another process has done so within `every`; says after what time to come again.
async fn compare(worker: &Worker, every: Duration) -> Duration {
    let now = worker.clock.now();
    let last = compared_at(worker).await.ok().flatten();
    if let Some(age) = last.and_then(|last| (now - last).to_std().ok()).filter(|age| *age < every) {
        return every.saturating_sub(age);
    }
    match compare_now(worker).await {
        Ok(done) => {
            tracing::info!(
                compared = done.compared,
                differing = done.differing,
                repaired = done.repaired,
                left = done.left,
                unlinked = done.unlinked.len(),
                "subscriptions were compared with the billing provider"
            );
            every
        }
        Err(error) => {
            tracing::warn!(%error, "subscriptions were not all compared; gone on with soon");
            TICK.min(every)
        }
    }
}

/// When all subscriptions were last compared.
pub(crate) async fn compared_at(worker: &Worker) -> Result<Option<DateTime<Utc>>, StoreError> {
    let note = worker.notebook.note(COMPARED).await?;
    Ok(note.and_then(|note| note.parse().ok()))
}

async fn compare_now(worker: &Worker) -> Result<Reconciled, ReconcileError> {
    let began = worker.clock.now();
    let done = worker.reconcile(|_| {}).await?;
    worker.notebook.write_note(COMPARED, &began.to_rfc3339()).await?;
    Ok(done)
}
