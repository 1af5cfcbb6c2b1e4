//! The connections of one process, and how long anybody waits for one of them.
//!
//! A network that swallows packets, or a machine that is gone without a word, leaves a connection waiting for a quarter of
//! an hour, and the pool with it, even while it takes a connection back. So a call that is not answered in time gives all
//! connections up: new ones go where the address leads now, and whatever hangs is left to the operating system.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cqrs_es::persist::PersistenceError;
use domain::ports::StoreError;
use postgres_es::PostgresEventRepository;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Error, Executor, PgPool};
use tokio::time::{Instant, timeout};

use super::error::{is, is_read_only, of_the_log, store_error};
use crate::trouble::Trouble;

/// How many connections a process uses at most, beside the sequencer's.
const CONNECTIONS: u32 = 16;
/// How long a caller waits for one of them; longer means the database is down or overloaded.
const ACQUIRE: Duration = Duration::from_secs(1);
/// How long a call may take. The database ends a statement of its own accord before that, so it is silence that comes to it.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// A connection that has rested longer is asked whether it still works before it is used.
const RESTED: Duration = Duration::from_millis(250);
/// Whatever waits for a synchronous standby cannot be ended from here, so connections are not given up faster than this.
const GAP: Duration = Duration::from_secs(10);
/// How often another server is looked for while this one takes no changes.
const ANOTHER: Duration = Duration::from_secs(1);

const DISK_FULL: &str = "53100";

pub(super) struct Connections {
    options: PgConnectOptions,
    writable: bool,
    current: RwLock<Current>,
    opened: Instant,
    /// Milliseconds from then to the last answer.
    answered: AtomicU64,
    trouble: Trouble,
}

struct Current {
    pool: PgPool,
    events: Arc<PostgresEventRepository>,
    since: Instant,
}

impl Current {
    fn new(options: &PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, resting| {
                Box::pin(async move {
                    if resting.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            // Whoever gave up in the midst of a BEGIN leaves a transaction behind that sqlx does not know of, and the next
            // one's acknowledged work would be lost with it.
            .after_release(|connection, _| {
                Box::pin(async move { connection.execute("ROLLBACK").await.map(|_| true) })
            })
            .connect_lazy_with(options.clone());
        let events = Arc::new(PostgresEventRepository::new(pool.clone()));
        Self { pool, events, since: Instant::now() }
    }
}

impl Connections {
    /// None is made before it is needed.
    pub(super) fn new(options: PgConnectOptions, writable: bool) -> Self {
        let current = RwLock::new(Current::new(&options));
        Self {
            options,
            writable,
            current,
            opened: Instant::now(),
            answered: AtomicU64::new(0),
            trouble: Trouble::default(),
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn pool(&self) -> PgPool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).pool.clone()
    }

    pub(super) fn events(&self) -> Arc<PostgresEventRepository> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).events)
    }

    /// Does something that takes no longer than a request may.
    pub(super) async fn call<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoreError> {
        self.call_for(ANSWER, work).await
    }

    /// Does something that may take this long.
    pub(super) async fn call_for<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, StoreError> {
        let result = timeout(limit, work).await.unwrap_or_else(|_| Err(self.silent()));
        self.learn(result.as_ref().err());
        result.map_err(store_error)
    }

    /// The same for what postgres-es does.
    pub(super) async fn call_the_log<T>(
        &self,
        work: impl Future<Output = Result<T, PersistenceError>>,
    ) -> Result<T, PersistenceError> {
        let silent = |_| Err(PersistenceError::ConnectionError(Box::new(self.silent())));
        let result = timeout(ANSWER, work).await.unwrap_or_else(silent);
        self.learn(result.as_ref().err().and_then(of_the_log));
        result
    }

    /// This server takes no changes: the one that did is elsewhere now, perhaps already at the same address.
    pub(super) fn look_for_another(&self) {
        self.renew(ANOTHER, "this server takes no changes");
    }

    /// Why something could not be done just now, if so: no room, or no answer, as while a synchronous standby is gone.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.recent()
    }

    /// Waits for calls under way and ends all connections.
    pub(super) async fn close(&self) {
        if timeout(ANSWER, self.pool().close()).await.is_err() {
            tracing::warn!("connections to the database did not end and are left to the operating system");
        }
    }

    fn silent(&self) -> Error {
        let why = "the database did not answer in time";
        self.trouble.note(why.to_owned());
        self.renew(GAP, why);
        Error::Io(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    fn learn(&self, failure: Option<&Error>) {
        match failure {
            None => self.answered.store(self.millis(), Ordering::Relaxed),
            Some(error) if self.writable && is_read_only(error) => self.look_for_another(),
            Some(error) if is(error, DISK_FULL) => self.trouble.note(error.to_string()),
            // Connections that hang while the pool takes them back are nobody's call.
            Some(Error::PoolTimedOut) if self.without_an_answer() > ANSWER => {
                self.renew(GAP, "no connection to be had");
            }
            Some(_) => {}
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn without_an_answer(&self) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(self.answered.load(Ordering::Relaxed)))
    }

    /// Gives up all connections, unless those that there are were made within `gap`.
    fn renew(&self, gap: Duration, why: &'static str) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.since.elapsed() < gap || current.pool.is_closed() {
            return;
        }
        let old = std::mem::replace(&mut *current, Current::new(&self.options));
        drop(current);
        tracing::warn!(why, "connections to the database are made anew");
        while let Some(idle) = old.pool.try_acquire() {
            drop(idle.detach());
        }
        // From here on it keeps none that comes back.
        drop(old.pool.close());
    }
}
