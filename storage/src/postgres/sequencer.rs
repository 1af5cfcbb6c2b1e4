//! Publishes how far the log is complete.
//!
//! Positions are drawn in one order and become visible in another, so a reader of `position > last` would pass by events
//! of a transaction still open. Every insert holds the position lock, shared, from before it draws until it is visible.
//! This task reads the last drawn number, gets the lock alone for an instant, and then knows that everything up to that
//! number is settled: visible or never to come. Several may run at once; the watermark never goes back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use migrations::POSITION_LOCK;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Error, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connections::ANSWER;
use super::error::is;
use crate::head::{self, Head, Publisher};

/// How often it looks for the events of other processes.
const POLL: Duration = Duration::from_millis(10);
/// Getting the lock alone makes writers wait, so it is asked for no more often than this.
const GAP: Duration = Duration::from_millis(3);
/// The longest a round may take before its connection is given up.
const ROUND: Duration = ANSWER;
/// How long failing is part of life, such as a restart of the database.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Writers queue behind a request for the lock, so it is withdrawn when a transaction stands in its way for long, and
/// made again after they had time to get through.
const LIMITS: [(&str, &str); 1] = [("lock_timeout", "500ms")];
const WITHDRAWN: Duration = Duration::from_millis(100);
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// `last_value` is 1 before the first number is drawn, which `is_called` tells.
const DRAWN: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END, (SELECT position FROM watermark WHERE id = 1) \
                     FROM events_position_seq";
/// A statement by itself is a transaction by itself: the lock is let go of as it ends, whatever happens to us.
const DRAIN: &str = "SELECT pg_advisory_xact_lock($1)";
const PUBLISH: &str =
    "UPDATE watermark SET position = greatest(position, $1) WHERE id = 1 RETURNING position";

/// The task, and what it tells.
pub(super) struct Sequencer {
    kick: Arc<Notify>,
    head: Head,
    trouble: watch::Receiver<Option<(Instant, String)>>,
    task: JoinHandle<()>,
}

impl Sequencer {
    /// Starts it on a connection of its own.
    pub(super) fn start(options: PgConnectOptions) -> Self {
        let kick = Arc::new(Notify::new());
        let (publisher, head) = head::head(0);
        let (report, trouble) = watch::channel(None);
        let task = Task { options: options.options(LIMITS), kick: Arc::clone(&kick), publisher, report };
        Self { kick, head, trouble, task: tokio::spawn(task.run()) }
    }

    /// Says that something was appended.
    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    /// The watermark.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Why the watermark has not been looked after for a while, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.borrow();
        let (since, why) = trouble.as_ref()?;
        (since.elapsed() > PATIENCE).then(|| why.clone())
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Task {
    options: PgConnectOptions,
    kick: Arc<Notify>,
    publisher: Publisher,
    report: watch::Sender<Option<(Instant, String)>>,
}

impl Task {
    /// Never ends by itself: an error costs a connection and a pause.
    async fn run(self) {
        let mut pause = POLL;
        loop {
            let Err(why) = self.follow(&mut pause).await;
            self.troubled(&why.to_string());
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn troubled(&self, why: &str) {
        if self.report.borrow().is_none() {
            tracing::warn!(why, "the watermark stands still; trying again");
            self.report.send_replace(Some((Instant::now(), why.to_owned())));
        }
    }

    async fn follow(&self, pause: &mut Duration) -> Result<Infallible, Error> {
        let mut connection = in_time(PgConnection::connect_with(&self.options)).await?;
        loop {
            let begun = Instant::now();
            let advanced = match in_time(round(&mut connection)).await {
                Ok(advanced) => advanced,
                Err(why) if is(&why, LOCK_NOT_AVAILABLE) => {
                    self.troubled("a transaction that appends events does not end");
                    sleep(WITHDRAWN).await;
                    continue;
                }
                Err(why) => return Err(why),
            };
            if self.report.send_replace(None).is_some() {
                tracing::info!("the watermark moves again");
            }
            *pause = POLL;
            self.publisher.publish(advanced);
            tokio::select! {
                () = sleep(POLL) => {}
                () = self.kick.notified() => sleep_until(begun + GAP).await,
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ROUND, work).await.unwrap_or(Err(Error::PoolTimedOut))
}

/// Three statements, each with a snapshot of its own: what was drawn, the wait for it, the new watermark.
async fn round(connection: &mut PgConnection) -> Result<i64, Error> {
    let (drawn, watermark): (i64, i64) = sqlx::query_as(DRAWN).fetch_one(&mut *connection).await?;
    if drawn <= watermark {
        return Ok(watermark);
    }
    fail_point!("sequencer::drawn");
    sqlx::query(DRAIN).bind(POSITION_LOCK).execute(&mut *connection).await?;
    fail_point!("sequencer::drained");
    let published = sqlx::query_scalar(PUBLISH).bind(drawn).fetch_one(&mut *connection).await;
    fail_point!("sequencer::published");
    published
}
