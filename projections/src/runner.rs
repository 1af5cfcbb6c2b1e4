//! Follows the log and hands it to a projection, page by page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::persist::EventUpcaster;
use domain::events::{Event, UnreadableEvent, upcasters};
use domain::ports::{EventFeed, Position, Recorded, StoreError};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{Instrument, debug_span};

use crate::view_store::ViewStore;

const PAGE: usize = 1_000;
const IDLE: Duration = Duration::from_millis(500);
const WATCH: Duration = Duration::from_millis(20);
const PAUSE_AFTER_AN_ERROR: Duration = Duration::from_millis(250);

/// Why a projection did not go on.
#[derive(Debug, Error)]
pub enum ProjectionError {
    /// The log or the view cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be read. Skipping it would make wrong answers, so the projection stands still.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// Another process carried the same view on; this one goes on from where that one is.
    #[error("another process moved the checkpoint")]
    Moved,
}

/// A fold of the log with a checkpoint.
#[async_trait]
pub trait Projection: Send {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// How far it has read.
    async fn checkpoint(&mut self) -> Result<Position, ProjectionError>;

    /// Takes events in and moves the checkpoint to `next`, both or neither.
    async fn apply(&mut self, events: &[(Recorded, Event)], next: Position) -> Result<(), ProjectionError>;
}

/// How far a projection has come, for those who wait for it.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The same as in `changes`, for readers that must not take its lock.
    applied: Arc<AtomicU64>,
    standing_still: Arc<AtomicBool>,
    changes: watch::Receiver<Option<Position>>,
}

/// The other end of [`Progress`].
#[derive(Debug)]
pub struct Report {
    applied: Arc<AtomicU64>,
    standing_still: Arc<AtomicBool>,
    changes: watch::Sender<Option<Position>>,
}

/// No catching up yet.
const NOTHING: u64 = u64::MAX;

/// A pair that tells how far a projection has come. Nothing is told until it has caught up once.
pub fn progress() -> (Report, Progress) {
    let (sender, changes) = watch::channel(None);
    let applied = Arc::new(AtomicU64::new(NOTHING));
    let standing_still = Arc::new(AtomicBool::new(false));
    (
        Report { applied: applied.clone(), standing_still: standing_still.clone(), changes: sender },
        Progress { applied, standing_still, changes },
    )
}

impl Report {
    /// Everything up to `at` can be seen from now on.
    pub fn reached(&self, at: Position) {
        self.standing_still.store(false, Ordering::Release);
        self.applied.store(at.get(), Ordering::Release);
        self.changes.send_replace(Some(at));
    }

    /// The log or the view cannot be read or written now.
    pub fn stands_still(&self) {
        self.standing_still.store(true, Ordering::Release);
    }
}

impl Progress {
    /// Whether it cannot go on at present: what it has applied grows old.
    pub fn is_standing_still(&self) -> bool {
        self.standing_still.load(Ordering::Acquire)
    }

    /// What has been applied; nothing before the first catching up.
    pub fn applied(&self) -> Option<Position> {
        let applied = self.applied.load(Ordering::Acquire);
        (applied != NOTHING).then(|| Position::new(applied))
    }

    /// Waits, at most `at_most`, until `position` has been applied, and says whether it has.
    pub async fn wait_for(&self, position: Position, at_most: Duration) -> bool {
        let reached = |applied: &Option<Position>| applied.is_some_and(|applied| applied >= position);
        if reached(&self.applied()) {
            return true;
        }
        let mut changes = self.changes.clone();
        tokio::time::timeout(at_most, changes.wait_for(reached)).await.is_ok_and(|waited| waited.is_ok())
    }
}

/// Tells how far somebody else's process has brought a view, for a process that may only read.
pub async fn watch_checkpoint(views: Arc<dyn ViewStore>, name: &'static str, report: Report) {
    loop {
        match views.checkpoint(name).await {
            Ok(at) => report.reached(at),
            Err(error) => {
                report.stands_still();
                tracing::warn!(projection = name, %error, "checkpoint not read");
            }
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Reads everything that is there now, and returns how far that is.
pub async fn catch_up(
    feed: &dyn EventFeed,
    projection: &mut dyn Projection,
) -> Result<Position, ProjectionError> {
    let upcasters = upcasters();
    let mut at = projection.checkpoint().await?;
    loop {
        let next = match step(feed, projection, at, &upcasters).await {
            Err(ProjectionError::Moved) => projection.checkpoint().await?,
            other => other?,
        };
        if next == at {
            return Ok(at);
        }
        at = next;
    }
}

/// Follows the log until the task is dropped. An error is logged and tried again: the projection stands still meanwhile.
pub async fn follow(feed: Arc<dyn EventFeed>, mut projection: impl Projection, report: Report) {
    let mut failing = false;
    loop {
        match catch_up(feed.as_ref(), &mut projection).await {
            Ok(at) => {
                failing = false;
                report.reached(at);
                feed.changed(IDLE).await;
            }
            Err(error) => {
                if !failing {
                    tracing::error!(projection = projection.name(), %error, "projection stands still");
                }
                failing = true;
                report.stands_still();
                tokio::time::sleep(PAUSE_AFTER_AN_ERROR).await;
            }
        }
    }
}

async fn step(
    feed: &dyn EventFeed,
    projection: &mut dyn Projection,
    at: Position,
    upcasters: &[Box<dyn EventUpcaster>],
) -> Result<Position, ProjectionError> {
    let page = feed.read(at, PAGE).await?;
    if page.next == at {
        return Ok(at);
    }
    let events = page
        .events
        .into_iter()
        .map(|recorded| Event::read(&recorded, upcasters).map(|event| (recorded, event)))
        .collect::<Result<Vec<_>, _>>()?;
    let span = debug_span!("apply", projection = projection.name(), events = events.len(), to = %page.next);
    projection.apply(&events, page.next).instrument(span).await?;
    Ok(page.next)
}
