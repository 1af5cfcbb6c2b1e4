//! The one thread that writes. Changes that wait at the same time share one commit: each runs in a savepoint of its own,
//! and everyone is answered after the commit has reached the disk.

use std::cell::Cell;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use domain::ports::StoreError;
use fail::fail_point;
use metrics::histogram;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::store_error;
use super::lock::Lock;
use crate::head::{self, Head, Publisher};
use crate::trouble::Trouble;

/// How many changes may wait; more are held back at their callers.
const QUEUE: usize = 1_024;
/// How many changes share a commit at most.
const BATCH: usize = 256;
/// How long a caller waits for a place in the queue.
const WAIT: Duration = Duration::from_secs(1);
const STATEMENTS: usize = 64;

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const SAVEPOINT: &str = "SAVEPOINT job";
const RELEASE: &str = "RELEASE job";
const ROLLBACK_TO: &str = "ROLLBACK TO job";
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Why a change was not made; nothing of it was kept.
#[derive(Debug)]
pub(super) enum Undone {
    /// Somebody else has appended to the same stream.
    Conflict,
    /// It is for somebody who was erased.
    Erased,
    /// The store could not do it.
    Store(StoreError),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Undone {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(store_error(error))
    }
}

impl From<Undone> for StoreError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Conflict => Self::Unavailable("somebody else changed it at the same time".to_owned()),
            Undone::Erased => Self::Unavailable("it is for somebody who was erased".to_owned()),
            Undone::Store(error) => error,
        }
    }
}

/// What a change is made with.
pub(super) struct Transaction<'a> {
    /// The only connection that can write.
    pub(super) connection: &'a Connection,
    head: &'a Cell<i64>,
}

impl Transaction<'_> {
    /// Notes an appended event, so that followers are woken after the commit.
    pub(super) fn appended(&self, position: i64) {
        self.head.set(position);
    }
}

trait Job: Send {
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    fn answer(self: Box<Self>, committed: Result<(), String>);
}

struct Change<T, F> {
    work: Option<F>,
    result: Option<Result<T, Undone>>,
    caller: oneshot::Sender<Result<T, Undone>>,
}

impl<T, F> Job for Change<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, Undone> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        self.result = self.work.take().map(|change| change(transaction));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<(), String>) {
        let failed = |why| Err(Undone::Store(StoreError::Unavailable(why)));
        let answer = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => failed("it was not begun".to_owned()),
            (Err(why), _) => failed(why),
        };
        // A caller that has gone away does not need an answer.
        self.caller.send(answer).ok();
    }
}

enum Message {
    Run(Box<dyn Job>),
    Checkpoint(oneshot::Sender<()>),
    Stop,
}

/// Hands changes to the thread.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Message>>,
    head: Head,
    trouble: Trouble,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on the connection. The lock is let go of when the thread has ended.
    pub(super) fn start(connection: Connection, lock: Lock, end: i64) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (publisher, head) = head::head(end);
        let trouble = Trouble::default();
        let noted = trouble.clone();
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let thread = Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            run(&connection, queue, &publisher, end, &noted);
            checkpoint(&connection);
            drop(connection);
            drop(lock);
        })?;
        Ok(Self { jobs: Some(jobs), head, trouble, thread: Mutex::new(Some(thread)) })
    }

    /// The last committed position.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Why a change was not written just now, if so, as when the disk is full.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.recent()
    }

    /// How many changes wait.
    pub(super) fn queued(&self) -> usize {
        self.jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
    }

    /// Makes a change. Durable when it returns.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Undone> + Send + 'static,
    ) -> Result<T, Undone> {
        let unavailable = |why: &str| Undone::Store(StoreError::Unavailable(why.to_owned()));
        let jobs = self.jobs.as_ref().ok_or_else(|| unavailable("it is closed"))?;
        let (caller, answer) = oneshot::channel();
        let job = Change { work: Some(change), result: None, caller };
        timeout(WAIT, jobs.send(Message::Run(Box::new(job))))
            .await
            .map_err(|_| unavailable("too many changes wait to be written"))?
            .map_err(|_| unavailable("it is closed"))?;
        answer.await.unwrap_or_else(|_| Err(unavailable("it was closed before this was written")))
    }

    /// Has everything that is committed written to the database itself, and the write-ahead log emptied, unless somebody reads
    /// from it for long: then the next one does.
    pub(super) async fn checkpoint(&self) {
        let Some(jobs) = &self.jobs else { return };
        let (caller, done) = oneshot::channel();
        if jobs.send(Message::Checkpoint(caller)).await.is_ok() {
            // An error says that the thread has ended, which makes one too.
            done.await.ok();
        }
    }

    /// Writes what is queued, then ends the thread.
    pub(super) async fn stop(&self) {
        if let Some(jobs) = &self.jobs {
            // An error says that the thread has ended already.
            jobs.send(Message::Stop).await.ok();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer had panicked");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer had panicked");
        }
    }
}

fn run(
    connection: &Connection,
    mut queue: mpsc::Receiver<Message>,
    publisher: &Publisher,
    end: i64,
    trouble: &Trouble,
) {
    let head = Cell::new(end);
    let mut stopping = false;
    while !stopping {
        let (mut batch, mut checkpoints) = (Vec::new(), Vec::new());
        let mut next = queue.blocking_recv();
        stopping = next.is_none();
        while let Some(message) = next.take() {
            match message {
                Message::Run(job) => batch.push(job),
                Message::Checkpoint(caller) => checkpoints.push(caller),
                Message::Stop => {
                    stopping = true;
                    queue.close();
                }
            }
            if batch.len() < BATCH {
                next = queue.try_recv().ok();
            }
        }
        if !batch.is_empty() {
            write(connection, &head, publisher, trouble, batch);
        }
        if !checkpoints.is_empty() {
            checkpoint(connection);
        }
        for caller in checkpoints {
            // A caller that has gone away does not need an answer.
            caller.send(()).ok();
        }
    }
}

fn checkpoint(connection: &Connection) {
    if let Err(why) = connection.query_row(CHECKPOINT, [], |_| Ok(())) {
        tracing::warn!(%why, "the write-ahead log stays beside the database until the next start");
    }
}

/// Makes these changes and answers them.
fn write(
    connection: &Connection,
    head: &Cell<i64>,
    publisher: &Publisher,
    trouble: &Trouble,
    mut batch: Vec<Box<dyn Job>>,
) {
    histogram!("membership_sqlite_commit_changes").record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
    let before = head.get();
    let committed = commit(connection, head, &mut batch);
    if let Err(why) = &committed {
        tracing::error!(%why, changes = batch.len(), "nothing of this batch was written");
        trouble.note(why.to_string());
        head.set(before);
    } else {
        publisher.publish(head.get());
    }
    for job in batch {
        job.answer(committed.as_ref().copied().map_err(ToString::to_string));
    }
}

/// Runs all jobs and commits what they did, or nothing.
fn commit(connection: &Connection, head: &Cell<i64>, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let step = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    let transaction = Transaction { connection, head };
    let done = step(BEGIN).and_then(|_| {
        fail_point!("sqlite::begun");
        for job in batch {
            let before = head.get();
            step(SAVEPOINT)?;
            if !job.run(&transaction) {
                // A full disk or an I/O error ends the whole transaction; then this fails, and with it the batch.
                step(ROLLBACK_TO)?;
                head.set(before);
            }
            step(RELEASE)?;
        }
        fail_point!("sqlite::committing");
        step(COMMIT)
    });
    fail_point!("sqlite::committed");
    if done.is_err() && !connection.is_autocommit() {
        step(ROLLBACK)?;
    }
    done.map(|_| ())
}
