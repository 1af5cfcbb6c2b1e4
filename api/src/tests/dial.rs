//! Progress that a test turns by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{EventFeed, Page, Position, Recorded, StoreError};
use projections::parked::{Batch, ParkedStreams};
use projections::runner::{Progress, Projection, ProjectionError, follow, progress};
use tokio::sync::Notify;

/// How far a projection is said to have come; it can be turned.
#[derive(Default)]
pub(super) struct Dial {
    at: AtomicU64,
    turned: Notify,
    fault: Mutex<Option<Fault>>,
}

/// What is wrong with the log behind a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It says that it cannot be read.
    Fails,
    /// It never answers.
    Hangs,
}

impl Dial {
    pub(super) fn set(&self, position: u64) {
        self.at.store(position, Ordering::SeqCst);
        self.turned.notify_one();
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
        self.turned.notify_one();
    }

    pub(super) async fn progress(self: &Arc<Self>, running: bool) -> Progress {
        let (report, progress) = progress();
        if running {
            tokio::spawn(follow(Arc::clone(self) as Arc<dyn EventFeed>, Nothing::default(), report));
            assert!(progress.wait_for(Position::START, Duration::from_mins(1)).await);
        }
        progress
    }
}

#[async_trait]
impl EventFeed for Dial {
    async fn read(&self, _after: Position, _limit: usize) -> Result<Page, StoreError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            None => {}
            Some(Fault::Fails) => return Err(StoreError::Unavailable("down".to_owned())),
            Some(Fault::Hangs) => std::future::pending().await,
        }
        Ok(Page { events: Vec::new(), next: Position::new(self.at.load(Ordering::SeqCst)) })
    }

    async fn read_stream(&self, _kind: &str, _id: &str) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(self.at.load(Ordering::SeqCst)))
    }

    async fn changed(&self, at_most: Duration) {
        drop(tokio::time::timeout(at_most, self.turned.notified()).await);
    }
}

#[derive(Default)]
struct Nothing(ParkedStreams);

#[async_trait]
impl Projection for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    async fn checkpoint(&mut self) -> Result<Position, ProjectionError> {
        Ok(Position::START)
    }

    fn parked(&self) -> &ParkedStreams {
        &self.0
    }

    async fn apply(&mut self, _: Batch, _: Position) -> Result<(), ProjectionError> {
        Ok(())
    }
}
