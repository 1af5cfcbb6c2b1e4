//! Fills the gaps that lost deliveries leave: reads Stripe's own list of events back to where it was read before, and puts
//! those that never came into the inbox, where they go the way of all deliveries.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::BillingError;
use domain::clock::Clock;
use domain::ports::StoreError;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::inbox::{Inbox, Origin};
use crate::notebook::Notebook;
use crate::provider::Provider;
use crate::routes::delivery;
use crate::stripe::Envelope;
use crate::stripe::translate::is_handled;

/// Where the notebook has how far the list has been read.
const NOTE: &str = "backfill";
/// Stripe's list reaches back so far.
const HORIZON: TimeDelta = TimeDelta::days(30);
/// Read again each time, since an event may come into the list a little after its own time.
const OVERLAP: TimeDelta = TimeDelta::hours(1);
/// Between two pages, so that Stripe's limits are for those who buy.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// What a backfill works with.
pub struct Backfill {
    /// Where events that never came are put.
    pub inbox: Arc<dyn Inbox>,
    /// Where it is remembered how far the list has been read.
    pub notebook: Arc<dyn Notebook>,
    /// Stripe.
    pub provider: Arc<dyn Provider>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
}

/// What a backfill did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// Back to this moment.
    pub since: DateTime<Utc>,
    /// How many events were read.
    pub read: u64,
    /// How many of them had never come.
    pub stored: u64,
    /// Stripe no longer lists everything that was made since the list was last read; only comparing subscriptions helps.
    pub reaches_back_too_little: bool,
}

impl Backfilled {
    fn and(self, next: &Self) -> Self {
        Self {
            since: self.since.min(next.since),
            read: self.read + next.read,
            stored: self.stored + next.stored,
            reaches_back_too_little: self.reaches_back_too_little || next.reaches_back_too_little,
        }
    }
}

/// Why a backfill stopped. The next one goes on where it was.
#[derive(Debug, Error)]
pub enum BackfillError {
    /// Stripe could not be asked.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the notebook says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Read {
    /// Every event made up to here is in the inbox.
    through: Option<DateTime<Utc>>,
    /// A run that has not come to its end.
    run: Option<Run>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    /// The moment of its first page, by Stripe's clock.
    began: Option<DateTime<Utc>>,
    /// The last event read; the list is read from its newest end.
    after: Option<String>,
    done: Backfilled,
}

impl Backfill {
    /// Reads the list back to `since`, or to where it was read before, and says now and then how far it is.
    pub async fn run(
        &self,
        since: Option<DateTime<Utc>>,
        mut progress: impl FnMut(&Backfilled) + Send,
    ) -> Result<Backfilled, BackfillError> {
        let interrupted =
            self.read().await?.run.filter(|run| since.is_none_or(|since| run.done.since == since));
        let mut before = None;
        if let Some(run) = interrupted {
            let done = self.go_on(run, &mut progress).await?;
            if since.is_some() {
                return Ok(done);
            }
            before = Some(done);
        }
        // What was made since an interrupted run began is still to be read.
        let through = self.read().await?.through;
        let horizon = self.clock.now() - HORIZON;
        let wanted = since.unwrap_or_else(|| through.map_or(horizon, |through| through - OVERLAP));
        let run = Run {
            began: None,
            after: None,
            done: Backfilled {
                since: wanted,
                read: 0,
                stored: 0,
                reaches_back_too_little: wanted < horizon && (since.is_some() || through.is_some()),
            },
        };
        let done = self.go_on(run, &mut progress).await?;
        Ok(match before {
            Some(before) => before.and(&done),
            None => done,
        })
    }

    async fn go_on(
        &self,
        mut run: Run,
        progress: &mut (impl FnMut(&Backfilled) + Send),
    ) -> Result<Backfilled, BackfillError> {
        loop {
            let page = match self.provider.events(run.done.since, run.after.as_deref()).await {
                // The event that was last read may be too old to be listed by now.
                Err(BillingError::Refused { .. }) if run.after.is_some() => {
                    run.after = None;
                    continue;
                }
                page => page?,
            };
            run.began.get_or_insert(page.asked.as_of);
            let last = self.keep(&page.objects, &mut run.done).await?;
            progress(&run.done);
            let goes_on = page.has_more && last.is_some() && last != run.after;
            run.after = last;
            let mut read = self.read().await?;
            if goes_on {
                read.run = Some(run.clone());
                self.write(&read).await?;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let horizon = self.clock.now() - HORIZON;
            // A run that began later than another ended leaves a gap, and has not read everything.
            let joins = run.done.since <= read.through.unwrap_or(horizon + OVERLAP);
            read =
                Read { through: if joins { read.through.max(run.began) } else { read.through }, run: None };
            self.write(&read).await?;
            return Ok(run.done);
        }
    }

    /// Puts what never came into the inbox, oldest first, and says which event was the last of the page.
    async fn keep(
        &self,
        page: &[Box<serde_json::value::RawValue>],
        done: &mut Backfilled,
    ) -> Result<Option<String>, StoreError> {
        let mut told = Vec::new();
        let mut last = None;
        for event in page {
            done.read += 1;
            let Ok(envelope) = Envelope::read(event.get().as_bytes()) else { continue };
            if is_handled(envelope.plain_type()) {
                told.push((envelope.id.clone(), event));
            }
            last = Some(envelope.id);
        }
        let ids: Vec<String> = told.iter().map(|(id, _)| id.clone()).collect();
        let missing = if ids.is_empty() { ids } else { self.notebook.not_in_inbox(&ids).await? };
        for (_, event) in told.iter().rev().filter(|(id, _)| missing.contains(id)) {
            let body = event.get().as_bytes().to_vec();
            self.inbox.store(delivery(body, self.clock.now(), Origin::Backfill)).await?;
            done.stored += 1;
        }
        if !missing.is_empty() {
            self.wake.notify_one();
        }
        Ok(last)
    }

    async fn read(&self) -> Result<Read, StoreError> {
        let note = self.notebook.note(NOTE).await?;
        let read = note.map(|note| serde_json::from_str(&note)).transpose();
        read.map(Option::unwrap_or_default)
            .map_err(|error| StoreError::Corrupt(format!("the note {NOTE:?}: {error}")))
    }

    async fn write(&self, read: &Read) -> Result<(), StoreError> {
        let text = serde_json::to_string(read).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.notebook.write_note(NOTE, &text).await
    }
}
