//! Rebuilds of the directory inside a running service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{RebuildReport, RebuildState};
use async_trait::async_trait;
use domain::clock::Clock;
use domain::ports::{Position, StoreError};
use projections::rebuild::rebuild;
use storage::Storage;

/// Runs one at a time.
pub(crate) struct Rebuilds {
    storage: Arc<Storage>,
    clock: Arc<dyn Clock>,
    last: Arc<Mutex<Option<RebuildReport>>>,
}

impl Rebuilds {
    pub(crate) fn new(storage: Arc<Storage>, clock: Arc<dyn Clock>) -> Self {
        Self { storage, clock, last: Arc::default() }
    }
}

#[async_trait]
impl api::Rebuilds for Rebuilds {
    async fn start(&self) -> Result<Option<RebuildReport>, StoreError> {
        if !self.storage.writable {
            let why = "this process only reads; the one that writes to the store can rebuild it";
            return Err(StoreError::ReadOnly(why.to_owned()));
        }
        let begun = RebuildReport {
            state: RebuildState::Running,
            position: Position::START,
            head: self.storage.feed.head().await?,
            started_at: self.clock.now(),
            finished_at: None,
            detail: None,
        };
        {
            let mut last = lock(&self.last);
            if last.as_ref().is_some_and(|last| last.state == RebuildState::Running) {
                return Ok(None);
            }
            *last = Some(begun.clone());
        }
        tokio::spawn(run(self.storage.clone(), self.clock.clone(), self.last.clone()));
        Ok(Some(begun))
    }

    fn last(&self) -> Option<RebuildReport> {
        lock(&self.last).clone()
    }
}

async fn run(storage: Arc<Storage>, clock: Arc<dyn Clock>, last: Arc<Mutex<Option<RebuildReport>>>) {
    let tell = |position| {
        if let Some(report) = lock(&last).as_mut() {
            report.position = position;
        }
    };
    let done = rebuild(storage.feed.as_ref(), storage.views.clone(), tell).await;
    let mut last = lock(&last);
    let Some(report) = last.as_mut() else { return };
    report.finished_at = Some(clock.now());
    match done {
        Ok(rebuilt) => {
            tracing::info!(position = %rebuilt.position, "directory rebuilt");
            report.position = rebuilt.position;
            report.state = RebuildState::Done;
            let parked = rebuilt.parked.len();
            report.detail = (parked > 0).then(|| format!("{parked} streams stand still in it"));
        }
        Err(error) => {
            tracing::error!(%error, "directory not rebuilt; the live one is as it was");
            report.state = RebuildState::Failed;
            report.detail = Some(error.to_string());
        }
    }
}

fn lock(last: &Mutex<Option<RebuildReport>>) -> MutexGuard<'_, Option<RebuildReport>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}
