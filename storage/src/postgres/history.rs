//! Notices a log that is no longer the one that was read: a standby was promoted that had not got the last events, or an
//! older copy was restored. New events then take positions that were read already, and whoever follows would pass them by.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::ports::StoreError;
use tokio::sync::watch;

/// The last event that was read, by its position and the moment it was inserted.
pub(super) type Mark = Option<(i64, DateTime<Utc>)>;

pub(super) struct History {
    last: Mutex<Mark>,
    rewritten: watch::Sender<bool>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(None), rewritten: watch::channel(false).0 }
    }

    /// What to look for in the log.
    pub(super) fn last(&self) -> Mark {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what was looked for with what the log holds there. Once it has lost something it stays an error: nothing
    /// tells how much more of what this process knows is not so.
    pub(super) fn compare(&self, looked_for: Mark, found: Option<DateTime<Utc>>) -> Result<(), StoreError> {
        if let Some((position, inserted_at)) = looked_for
            && found != Some(inserted_at)
        {
            let first = !self.rewritten.send_replace(true);
            if first {
                tracing::error!(position, "the log has lost an event that was read from it");
            }
        }
        if *self.rewritten.borrow() {
            let why = "the log has lost events that were read from it; this process has to start again";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(())
    }

    /// Remembers an event that was read.
    pub(super) fn read(&self, position: i64, inserted_at: DateTime<Utc>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|(before, _)| before < position) {
            *last = Some((position, inserted_at));
        }
    }

    /// Returns when something was lost.
    pub(super) async fn rewritten(&self) {
        // The sender is ours, so that waiting ends only so.
        drop(self.rewritten.subscribe().wait_for(|rewritten| *rewritten).await);
    }
}
