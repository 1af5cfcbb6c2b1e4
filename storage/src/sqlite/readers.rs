//! The connections that read. They never block the writer, nor it them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ports::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::store_error;

/// How many reads run at once.
const CONNECTIONS: u32 = 4;
/// How long a read waits for its turn.
const WAIT: Duration = Duration::from_secs(5);
/// How long `SQLite` waits for a lock, which only recovery after a crash holds for long.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENTS: usize = 64;

pub(super) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            turns: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            idle: Arc::default(),
        }
    }

    /// Runs a read away from the threads that must not block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let turn = timeout(WAIT, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| unavailable("too many reads at once"))?
            .map_err(|_| unavailable("it is closed"))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let done = spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&path).map_err(store_error)?,
            };
            let result = read(&mut connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(turn);
            result
        });
        done.await.unwrap_or_else(|why| Err(StoreError::Unavailable(why.to_string())))
    }

    /// Waits for the reads that run and closes their connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.turns.acquire_many(CONNECTIONS).await {
            self.turns.close();
            all.forget();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that can do nothing but read; not even move the log into the file when it is the last one to close.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
