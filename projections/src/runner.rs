//! Follows the log and hands it to a projection, page by page.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use cqrs_es::persist::EventUpcaster;
use domain::events::upcasters;
use domain::ports::{EventFeed, Position, StoreError};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{Instrument, debug_span};

use crate::parked::{Batch, ParkedStream, ParkedStreams, StreamId};
use crate::view_store::{ViewState, ViewStore};

const PAGE: usize = 1_000;
const IDLE: Duration = Duration::from_millis(500);
const WATCH: Duration = Duration::from_millis(20);
const PAUSE_AFTER_AN_ERROR: Duration = Duration::from_millis(250);
/// How often parked streams are read again unasked: what they stood still for may have gone.
const AGAIN: Duration = Duration::from_mins(1);
/// How many of them, before the log is looked at again.
const AT_ONCE: usize = 50;
/// A follower that is well looks for the end of the log many times a second. Who has not seen it for longer than this
/// answers from what may have been overtaken, and has to say so.
const FRESH: Duration = Duration::from_secs(3);

/// Why a projection did not go on.
#[derive(Debug, Error)]
pub enum ProjectionError {
    /// The log or the view cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process carried the same view on; this one goes on from where that one is.
    #[error("another process moved the checkpoint")]
    Moved,
    /// Another process has begun to build the same view anew, which ends this build.
    #[error("another rebuild of {0} was begun or finished meanwhile")]
    Overtaken(String),
}

/// A fold of the log with a checkpoint.
#[async_trait]
pub trait Projection: Send {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// How far it has read. Also finds out what others did to it.
    async fn checkpoint(&mut self) -> Result<Position, ProjectionError>;

    /// The streams that stand still in it, as of the checkpoint.
    fn parked(&self) -> &ParkedStreams;

    /// Takes a batch in and moves the checkpoint to `next`, both or neither.
    async fn apply(&mut self, batch: Batch, next: Position) -> Result<(), ProjectionError>;
}

/// How far a projection has come, for those who wait for it.
#[derive(Debug, Clone)]
pub struct Progress {
    told: Arc<Told>,
    changes: watch::Receiver<Option<Position>>,
}

/// The other end of [`Progress`].
#[derive(Debug)]
pub struct Report {
    told: Arc<Told>,
    changes: watch::Sender<Option<Position>>,
}

/// What readers that must not wait look at.
#[derive(Debug)]
struct Told {
    /// The same as in `changes`, without its lock.
    applied: AtomicU64,
    standing_still: AtomicBool,
    /// When everything that was in the log had been applied, in milliseconds after `began`.
    fresh_at: AtomicU64,
    began: Instant,
    parked: ArcSwap<ParkedStreams>,
    /// Parked streams are to be read again.
    redrive: AtomicBool,
}

/// No catching up yet.
const NOTHING: u64 = u64::MAX;

/// A pair that tells how far a projection has come. Nothing is told until it has caught up once.
pub fn progress() -> (Report, Progress) {
    let (sender, changes) = watch::channel(None);
    let told = Arc::new(Told {
        applied: AtomicU64::new(NOTHING),
        standing_still: AtomicBool::new(false),
        fresh_at: AtomicU64::new(0),
        began: Instant::now(),
        parked: ArcSwap::default(),
        redrive: AtomicBool::new(false),
    });
    (Report { told: told.clone(), changes: sender }, Progress { told, changes })
}

impl Report {
    /// Everything up to `at` can be seen from now on, and `at` was the end of the log at the moment `asked` or later.
    pub fn reached(&self, at: Position, asked: Instant) {
        let since = asked.saturating_duration_since(self.told.began);
        self.told.fresh_at.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        self.told.standing_still.store(false, Ordering::Release);
        self.applied(at);
    }

    /// Everything up to `at` can be seen from now on, and more is to come. Not told before the first catching up.
    fn passed(&self, at: Position) {
        if self.told.applied.load(Ordering::Acquire) != NOTHING {
            self.applied(at);
        }
    }

    fn applied(&self, at: Position) {
        self.told.applied.store(at.get(), Ordering::Release);
        self.changes.send_replace(Some(at));
    }

    /// These streams stand still.
    pub fn parked(&self, parked: &ParkedStreams) {
        if **self.told.parked.load() != *parked {
            self.told.parked.store(Arc::new(parked.clone()));
        }
    }

    /// The log or the view cannot be read or written now.
    pub fn stands_still(&self) {
        self.told.standing_still.store(true, Ordering::Release);
    }
}

impl Progress {
    /// How long ago everything that was in the log had been applied; nothing before the first catching up.
    pub fn age(&self) -> Option<Duration> {
        self.applied()?;
        let fresh_at = Duration::from_millis(self.told.fresh_at.load(Ordering::Acquire));
        Some(self.told.began.elapsed().saturating_sub(fresh_at))
    }

    /// The age, when it has to be told beside every answer: what has been applied may have been overtaken.
    pub fn degraded(&self) -> Option<Duration> {
        let standing_still = self.told.standing_still.load(Ordering::Acquire);
        self.age().filter(|age| standing_still || *age > FRESH)
    }

    /// The streams that stand still, each because one of its events cannot be read.
    pub fn parked(&self) -> Arc<ParkedStreams> {
        self.told.parked.load_full()
    }

    /// Has the parked streams read again from their first events, now instead of within a minute.
    pub fn redrive(&self) {
        self.told.redrive.store(true, Ordering::Release);
    }

    /// What has been applied; nothing before the first catching up.
    pub fn applied(&self) -> Option<Position> {
        let applied = self.told.applied.load(Ordering::Acquire);
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
    let mut state = ViewState::default();
    loop {
        let asked = Instant::now();
        match state.refresh(views.as_ref(), name).await {
            Ok(()) => {
                report.parked(&state.parked);
                report.reached(state.checkpoint.position, asked);
            }
            Err(error) => {
                report.stands_still();
                tracing::warn!(projection = name, %error, "checkpoint not read");
            }
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// A page that was applied.
pub(crate) struct Step {
    pub(crate) next: Position,
    /// When the page was asked for, if it was the last one then.
    end_at: Option<Instant>,
}

/// Reads everything that is there now, and returns how far that is: a log that grows all the time has no end to wait for.
/// `tell` hears of every page.
pub(crate) async fn read_on(
    feed: &dyn EventFeed,
    projection: &mut dyn Projection,
    mut tell: impl FnMut(&Step, &ParkedStreams) + Send,
) -> Result<Position, ProjectionError> {
    let upcasters = upcasters();
    let mut at = projection.checkpoint().await?;
    loop {
        match step(feed, projection, at, &upcasters).await {
            Ok(step) => {
                tell(&step, projection.parked());
                at = step.next;
                if step.end_at.is_some() {
                    return Ok(at);
                }
            }
            Err(ProjectionError::Moved) => at = projection.checkpoint().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Follows the log until the task is dropped. An error is logged and tried again: the projection stands still meanwhile.
pub async fn follow(feed: Arc<dyn EventFeed>, mut projection: impl Projection, report: Report) {
    let (mut failing, mut redriver, mut end) = (false, Redriver::default(), None);
    loop {
        let done = match end_at_start(feed.as_ref(), &mut end).await {
            Ok(end) => {
                let tell = |step: &Step, parked: &ParkedStreams| {
                    report.parked(parked);
                    match step.end_at.filter(|_| step.next >= end) {
                        Some(asked) => report.reached(step.next, asked),
                        None => report.passed(step.next),
                    }
                };
                read_on(feed.as_ref(), &mut projection, tell).await.map(drop)
            }
            Err(error) => Err(error),
        };
        let done = match done {
            Ok(()) => {
                let asked = report.told.redrive.swap(false, Ordering::AcqRel);
                redriver.redrive(feed.as_ref(), &mut projection, asked).await
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                failing = false;
                report.parked(projection.parked());
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

/// Where the log ended at first: a feed may hand out what was appended before this start a little later than it is asked
/// for the first time, and until then nothing has been caught up with.
async fn end_at_start(feed: &dyn EventFeed, end: &mut Option<Position>) -> Result<Position, ProjectionError> {
    match *end {
        Some(end) => Ok(end),
        None => Ok(*end.insert(feed.head().await?)),
    }
}

/// Reads parked streams again: each when it is first seen, since this process may be of a newer version than the one that
/// parked it, and all of them when asked to and now and then.
#[derive(Default)]
struct Redriver {
    /// What this process has tried: the event that could not be read, and in which round.
    tried: HashMap<StreamId, (Position, u64)>,
    round: u64,
    began: Option<Instant>,
}

impl Redriver {
    async fn redrive(
        &mut self,
        feed: &dyn EventFeed,
        projection: &mut dyn Projection,
        asked: bool,
    ) -> Result<(), ProjectionError> {
        if projection.parked().is_empty() {
            self.tried.clear();
            return Ok(());
        }
        if asked || self.began.is_none_or(|began| began.elapsed() > AGAIN) {
            self.round += 1;
            self.began = Some(Instant::now());
        }
        let due = |parked: &&ParkedStream| {
            self.tried.get(&parked.stream).is_none_or(|tried| *tried != (parked.position, self.round))
        };
        let due: Vec<ParkedStream> = projection.parked().iter().filter(due).take(AT_ONCE).cloned().collect();
        for parked in due {
            match read_again(feed, projection, &parked).await {
                // Somebody else is at it, too; what is left comes up again.
                Err(ProjectionError::Moved) => return Ok(()),
                other => other?,
            }
            match projection.parked().get(&parked.stream) {
                None => {
                    tracing::info!(projection = projection.name(), stream = %parked.stream, "stream goes on");
                }
                Some(parked) => {
                    let tried = self.tried.insert(parked.stream.clone(), (parked.position, self.round));
                    if tried.is_none_or(|(position, _)| position != parked.position) {
                        alarm(projection.name(), parked);
                    }
                }
            }
        }
        Ok(())
    }
}

fn alarm(projection: &str, ParkedStream { stream, position, why }: &ParkedStream) {
    tracing::error!(
        projection, %stream, %position, why,
        "stream parked: an event cannot be read, and nothing later of this stream counts until it can"
    );
}

/// Folds a parked stream again up to the checkpoint.
async fn read_again(
    feed: &dyn EventFeed,
    projection: &mut dyn Projection,
    parked: &ParkedStream,
) -> Result<(), ProjectionError> {
    let at = projection.checkpoint().await?;
    let StreamId { aggregate_type, aggregate_id } = &parked.stream;
    let mut stream = feed.read_stream(aggregate_type, aggregate_id).await?;
    stream.retain(|recorded| recorded.position <= at);
    let Some(parked) = projection.parked().get(&parked.stream) else { return Ok(()) };
    match Batch::again(parked, stream, &upcasters()) {
        Some(batch) => projection.apply(batch, at).await,
        None => Ok(()),
    }
}

async fn step(
    feed: &dyn EventFeed,
    projection: &mut dyn Projection,
    at: Position,
    upcasters: &[Box<dyn EventUpcaster>],
) -> Result<Step, ProjectionError> {
    let asked = Instant::now();
    let page = feed.read(at, PAGE).await?;
    let step = Step { next: page.next, end_at: (page.events.len() < PAGE).then_some(asked) };
    if page.next > at {
        let span =
            debug_span!("apply", projection = projection.name(), events = page.events.len(), to = %page.next);
        let batch = Batch::read(page.events, projection.parked(), upcasters);
        projection.apply(batch, page.next).instrument(span).await?;
    }
    Ok(step)
}

#[cfg(test)]
mod tests;
