//! The store in one `SQLite` file. One thread with one connection makes every change ([`writer`]); all other connections
//! only read ([`readers`]). So the order of positions is the order of commits, and two connections never write and
//! checkpoint at once, which `SQLite` before 3.51.3 does not survive.

mod accounts;
mod erasures;
mod error;
mod events;
mod idempotency;
mod identities;
mod inbox;
mod lock;
mod notebook;
mod payers;
mod people;
mod readers;
mod remarks;
mod views;
mod writer;

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use domain::ports::{Position, StoreError};
use migrations::SQLITE_VERSION;
use rusqlite::Connection;

use self::error::store_error;
pub(crate) use self::lock::lock_file;
use self::lock::{Lock, Locked};
use self::readers::Readers;
pub(crate) use self::readers::connect;
use self::writer::{Undone, Writer};
use crate::{Access, OpenError};

const JOURNAL: &str = "PRAGMA journal_mode = WAL";
/// `FULL` makes a commit survive a power cut; `fullfsync` does on a Mac.
const DURABLE: &str = "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; \
                       PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384";
/// What is deleted is overwritten, so that whoever was erased is not found in the file.
const SECURE: &str = "PRAGMA secure_delete = ON";
/// For what is made again if the power fails.
const DRAFT: &str = "PRAGMA synchronous = OFF";
const VERSION: &str = "PRAGMA user_version";
/// Whoever held a lease was a process that wrote here, and there is no other than this.
const RELEASE_LEASES: &str = "UPDATE inbox SET claimed_until = NULL WHERE outcome = 'pending' AND claimed_until IS NOT NULL; \
                              UPDATE idempotency SET claimed_until = begun_at WHERE status IS NULL";
const HEAD: &str = "SELECT coalesce(max(position), 0) FROM events";

/// A store in one file.
pub(crate) struct Sqlite {
    writer: Result<Writer, String>,
    readers: Readers,
}

impl Sqlite {
    pub(crate) async fn open(path: &str, access: Access) -> Result<Self, OpenError> {
        if path.is_empty() || path.contains(['?', ':']) {
            return Err(OpenError::Url(format!("{path:?} is not a plain file name")));
        }
        let path = PathBuf::from(path);
        let store = path.display().to_string();
        tokio::task::spawn_blocking(move || open(&path, access)).await.unwrap_or_else(|why| {
            Err(OpenError::Unusable { store, why: why.to_string(), remedy: "try again" })
        })
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writer.is_ok()
    }

    /// How many changes wait for the writer, if it is ours.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.writer.as_ref().ok().map(Writer::queued)
    }

    pub(crate) async fn healthy(&self) -> Result<(), StoreError> {
        if let Ok(writer) = &self.writer {
            writer.write(|_| Ok(())).await?;
            if let Some(why) = writer.trouble() {
                return Err(StoreError::Unavailable(why));
            }
        }
        self.readers.read(|connection| head(connection)).await.map(|_| ())
    }

    pub(crate) async fn shutdown(&self) {
        self.readers.close().await;
        if let Ok(writer) = &self.writer {
            writer.stop().await;
        }
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().map_err(|why| StoreError::ReadOnly(why.clone()))
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let job =
            |transaction: &writer::Transaction<'_>| change(transaction.connection).map_err(Undone::from);
        self.writer()?.write(job).await.map_err(StoreError::from)
    }
}

fn open(path: &Path, access: Access) -> Result<Sqlite, OpenError> {
    let unusable =
        |why: String, remedy| OpenError::Unusable { store: path.display().to_string(), why, remedy };
    // A question makes no store and changes no tables: an empty store would answer that nobody is known.
    if !access.has_to_write() {
        check(path)?;
    }
    if access == Access::Read {
        let why = format!("{} was opened for reading; open it for writing to change it", path.display());
        return Ok(open_for_reading(path, why));
    }
    create(path)
        .map_err(|why| unusable(why.to_string(), "see that the folder exists and may be written to"))?;
    let locked = Lock::take(path).map_err(|why| {
        unusable(why.to_string(), "see that the folder may be written to and can lock files")
    })?;
    match locked {
        Locked::Mine(lock) => open_for_writing(path, lock, access),
        Locked::Taken { pid } => {
            let refusal = OpenError::Locked { path: path.to_owned(), pid };
            if access.has_to_write() {
                return Err(refusal);
            }
            Ok(open_for_reading(path, refusal.to_string()))
        }
    }
}

fn open_for_writing(path: &Path, lock: Lock, access: Access) -> Result<Sqlite, OpenError> {
    let store = || path.display().to_string();
    let unusable = |why: rusqlite::Error| OpenError::Unusable {
        store: store(),
        why: why.to_string(),
        remedy: "see that it is a database of this service and that its disk works",
    };
    let mut connection = Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(readers::BUSY_TIMEOUT).map_err(unusable)?;
    connection.query_row(JOURNAL, [], |_| Ok(())).map_err(unusable)?;
    connection.execute_batch(DURABLE).map_err(unusable)?;
    connection.query_row(SECURE, [], |_| Ok(())).map_err(unusable)?;
    if access == Access::Draft {
        connection.execute_batch(DRAFT).map_err(unusable)?;
    }
    if version(&connection).map_err(unusable)? > SQLITE_VERSION {
        return Err(OpenError::Newer { store: store() });
    }
    migrations::sqlite()
        .to_latest(&mut connection)
        .map_err(|why| OpenError::Migration { store: store(), why: why.to_string() })?;
    connection.execute_batch(RELEASE_LEASES).map_err(unusable)?;
    let end = connection.query_row(HEAD, [], |row| row.get(0)).map_err(unusable)?;
    let writer = Writer::start(connection, lock, end).map_err(|why| OpenError::Unusable {
        store: store(),
        why: why.to_string(),
        remedy: "see that the machine is not out of threads",
    })?;
    Ok(Sqlite { writer: Ok(writer), readers: Readers::new(path) })
}

fn open_for_reading(path: &Path, why_read_only: String) -> Sqlite {
    Sqlite { writer: Err(why_read_only), readers: Readers::new(path) }
}

/// Whether the file is there and its tables are those of this release.
fn check(path: &Path) -> Result<(), OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let store = || path.display().to_string();
    let found = readers::connect(path).and_then(|connection| version(&connection));
    let found = found.map_err(|why| OpenError::Unusable {
        store: store(),
        why: why.to_string(),
        remedy: "see that it is a database of this service and that its folder may be written to",
    })?;
    match found.cmp(&SQLITE_VERSION) {
        std::cmp::Ordering::Less => Err(OpenError::Older { store: store() }),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { store: store() }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// Makes an empty file, readable by its owner only since it will hold e-mail addresses, unless there is one.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row(VERSION, [], |row| row.get(0))
}

fn head(connection: &Connection) -> Result<Position, StoreError> {
    let end: i64 = connection
        .prepare_cached(HEAD)
        .and_then(|mut head| head.query_row([], |row| row.get(0)))
        .map_err(store_error)?;
    Ok(position(end))
}

/// Positions come from a column that counts up from 1.
fn position(number: i64) -> Position {
    Position::new(number.unsigned_abs())
}

fn number(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

fn micros(moment: DateTime<Utc>) -> i64 {
    moment.timestamp_micros()
}

fn moment(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::Corrupt(format!("{micros} is not a moment")))
}
