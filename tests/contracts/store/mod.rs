//! What every store must do.

mod access;
mod accounts;
mod commands;
mod erasures;
mod feed;
mod followers;
mod idempotency;
mod identities;
mod inbox;
mod notebook;
mod payers;
mod people;
mod remarks;
mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::clock::{Clock, MovableClock};
use domain::member::{Checkout, MemberCommand, MemberEvent};
use domain::metadata::{Actor, Context};
use domain::ports::{Executed, Position, Recorded};
use sqlx::{Connection, Executor, PgConnection};
use storage::{Access, OpenError, Storage};
use tempfile::TempDir;
use tests::postgres::{Database, database};

/// Makes a test of each function for each database.
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Place::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Place::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// Where a test has its store.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(database().await)
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite://{}", self.file().display()),
            Self::Postgres(database) => database.url.clone(),
        }
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("membership.db"),
            Self::Postgres(_) => panic!("not a file"),
        }
    }

    async fn try_open(&self, access: Access) -> Result<Storage, OpenError> {
        storage::open(&self.url(), access, clock()).await
    }

    async fn open(&self) -> Storage {
        self.try_open(Access::Write).await.unwrap()
    }

    /// Runs a statement past the store.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.file()).unwrap();
                connection.execute_batch(sql).map_err(|why| why.to_string())
            }
            Self::Postgres(database) => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                connection.execute(sql).await.map(|_| ()).map_err(|why| why.to_string())
            }
        }
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.file()).unwrap();
                connection.query_row(&sql, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres(database) => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                sqlx::query_scalar(&sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }
}

/// Noon of the day the clock of these tests stands at.
fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00.123456Z".parse().unwrap()
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(MovableClock::standing_at(noon()))
}

fn seconds(count: i64) -> chrono::TimeDelta {
    chrono::TimeDelta::seconds(count)
}

fn context() -> Context {
    Context::asked_by(Actor::system(), "req_1", noon())
}

fn checkout(session: &str) -> MemberCommand {
    MemberCommand::RecordCheckout(Checkout {
        session: session.to_owned(),
        customer: "cus_1".into(),
        subscription: None,
        payment_status: None,
        at: noon(),
    })
}

async fn register(storage: &Storage, member: &str) -> Executed<MemberEvent> {
    storage.members.execute(member, MemberCommand::Register, context()).await.unwrap()
}

/// Follows the feed as a projection does, until it has seen so many events.
async fn follow(storage: &Storage, count: usize) -> Vec<Recorded> {
    let following = async {
        let (mut seen, mut at) = (Vec::new(), Position::START);
        while seen.len() < count {
            let page = storage.feed.read(at, 100).await.unwrap();
            if page.events.is_empty() {
                storage.feed.changed(Duration::from_secs(1)).await;
            }
            assert!(page.next >= at, "the feed goes back from {at} to {}", page.next);
            at = page.next;
            seen.extend(page.events);
        }
        seen
    };
    tokio::time::timeout(Duration::from_mins(1), following).await.expect("the events appear")
}
