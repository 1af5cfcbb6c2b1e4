//! The same store, with the time of every operation measured and its failures counted. One place for both databases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::ports::{EventFeed, Page, People, PersonRecord, PersonStored, Position, Recorded, StoreError};
use metrics::{counter, histogram};
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, Promotion, SaveError, ViewState, ViewStore,
};
use tracing::{Instrument, Span, debug_span};
use webhook_ingest::inbox::{
    Asked, Backlog, Delivery, DeliveryFilter, Inbox, NewDelivery, Outcome, Redrive, Redriven, Selection,
    Step, Stored, Why,
};
use webhook_ingest::notebook::{Notebook, Unused};

/// A store that is measured.
pub(crate) struct Measured<B>(pub(crate) Arc<B>);

/// Errors that say in a word what kind they are.
pub(crate) trait Kind {
    fn kind(&self) -> &'static str;
}

impl Kind for StoreError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Corrupt(_) => "corrupt",
            Self::ReadOnly(_) => "read_only",
        }
    }
}

impl Kind for SaveError {
    fn kind(&self) -> &'static str {
        match self {
            Self::CheckpointMoved(_) => "checkpoint_moved",
            Self::Store(error) => error.kind(),
        }
    }
}

/// Runs an operation in a span of its own, measures it, and counts what went wrong.
pub(crate) async fn measured<T, E: Kind>(
    operation: &'static str,
    work: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, E> {
    let begun = Instant::now();
    // By itself, a look at the log that finds nothing new is no trace.
    let span = if Span::current().is_none() { Span::none() } else { debug_span!("store", operation) };
    let done = work.instrument(span).await;
    histogram!("membership_store_operation_duration_seconds", "operation" => operation)
        .record(begun.elapsed());
    if let Err(error) = &done {
        counter!("membership_store_errors_total", "operation" => operation, "kind" => error.kind())
            .increment(1);
    }
    done
}

#[async_trait]
impl<B: EventFeed> EventFeed for Measured<B> {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        measured("feed_read", self.0.read(after, limit)).await
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        measured("stream_read", self.0.read_stream(aggregate_type, id)).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        measured("head", self.0.head()).await
    }

    async fn changed(&self, at_most: Duration) {
        self.0.changed(at_most).await;
    }
}

#[async_trait]
impl<B: Inbox> Inbox for Measured<B> {
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError> {
        measured("inbox_store", self.0.store(delivery)).await
    }

    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        measured("inbox_claim", self.0.claim(now, lease, limit)).await
    }

    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_settle", self.0.settle(id, outcome, why, now)).await
    }

    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_postpone", self.0.postpone(id, why, due, now)).await
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        measured("inbox_release", self.0.release(ids)).await
    }

    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError> {
        measured("inbox_redrive", self.0.redrive(which, asked)).await
    }

    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError> {
        measured("inbox_redrive", self.0.redrive_some(of, after, at_most, asked)).await
    }

    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError> {
        measured("inbox_steps", self.0.steps(id)).await
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        measured("inbox_get", self.0.get(id)).await
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        measured("inbox_list", self.0.list(filter)).await
    }

    async fn pending(&self) -> Result<u64, StoreError> {
        measured("inbox_count", self.0.pending()).await
    }

    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError> {
        measured("inbox_count", self.0.backlog(now)).await
    }
}

#[async_trait]
impl<B: Notebook> Notebook for Measured<B> {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        measured("note_read", self.0.note(name)).await
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        measured("note_write", self.0.write_note(name, text)).await
    }

    async fn remove_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        measured("note_write", self.0.remove_note(name, text)).await
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, StoreError> {
        measured("note_read", self.0.notes(prefix, limit)).await
    }

    async fn not_in_inbox(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        measured("inbox_missing", self.0.not_in_inbox(ids)).await
    }

    async fn unused_of(&self, customer: &CustomerId) -> Result<Vec<Unused>, StoreError> {
        measured("inbox_unused", self.0.unused_of(customer)).await
    }

    async fn subscriptions_after(
        &self,
        after: Option<&SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        measured("subscriptions_listed", self.0.subscriptions_after(after, limit)).await
    }
}

#[async_trait]
impl<B: ViewStore> ViewStore for Measured<B> {
    async fn checkpoint(&self, view: &str) -> Result<Checkpoint, StoreError> {
        measured("view_state", self.0.checkpoint(view)).await
    }

    async fn state(&self, view: &str) -> Result<ViewState, StoreError> {
        measured("view_state", self.0.state(view)).await
    }

    async fn save(&self, view: &str, from: Checkpoint, change: Change) -> Result<Checkpoint, SaveError> {
        measured("view_save", self.0.save(view, from, change)).await
    }

    async fn begin(&self, view: &str) -> Result<Checkpoint, StoreError> {
        measured("view_begin", self.0.begin(view)).await
    }

    async fn promote(&self, built: &str, generation: u64, live: &str) -> Result<Promotion, StoreError> {
        measured("view_promote", self.0.promote(built, generation, live)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        measured("view_sweep", self.0.sweep()).await
    }

    async fn customers_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        measured("view_read", self.0.customers_of(view, member)).await
    }

    async fn subscriptions_of(
        &self,
        view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        measured("view_read", self.0.subscriptions_of(view, customers)).await
    }

    async fn registered_at(
        &self,
        view: &str,
        member: &MemberId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        measured("view_read", self.0.registered_at(view, member)).await
    }

    async fn dump(&self, view: &str) -> Result<DirectoryDump, StoreError> {
        measured("view_dump", self.0.dump(view)).await
    }
}

#[async_trait]
impl<B: People> People for Measured<B> {
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError> {
        measured("people_create", self.0.create(record)).await
    }

    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError> {
        measured("people_read", self.0.get(member)).await
    }

    async fn list(&self, after: Option<&MemberId>, limit: usize) -> Result<Vec<PersonRecord>, StoreError> {
        measured("people_read", self.0.list(after, limit)).await
    }
}
