//! The store in a `PostgreSQL` database. Several processes may use one: the log's order comes from the watermark that the
//! [`sequencer`] keeps, work is shared by leases, and nothing is remembered in the process.

mod accounts;
mod connections;
mod erasures;
mod error;
mod events;
mod history;
mod idempotency;
mod identities;
mod inbox;
mod notebook;
mod payers;
mod people;
mod remarks;
mod sequencer;
mod views;

use std::time::Duration;

use domain::ports::{Position, StoreError};
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use self::connections::Connections;
pub(crate) use self::error::is;
use self::history::History;
use self::sequencer::Sequencer;
use crate::{Access, OpenError, Vitals};

/// How long opening waits for the database.
const CONNECT: Duration = Duration::from_secs(5);
/// A writer that stands still holds up everybody's reading, so the database ends it.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "4s"),
    ("idle_in_transaction_session_timeout", "5s"),
    // A connection that comes back is rolled back to be safe, and mostly there is nothing to roll back.
    ("client_min_messages", "error"),
];
const READ_ONLY: [(&str, &str); 1] = [("default_transaction_read_only", "on")];

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";
const STANDBY: &str = "it is a standby, which takes no changes";
const REMEDY: &str = "see that the server runs and that host, user, password and database are right";
/// The tables of no release at all.
pub(crate) const UNDEFINED_TABLE: &str = "42P01";

/// A store in one database.
pub(crate) struct Postgres {
    connections: Connections,
    history: History,
    sequencer: Option<Sequencer>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, access: Access) -> Result<Self, OpenError> {
        let options = url.parse::<PgConnectOptions>().map_err(|why| OpenError::Url(why.to_string()))?;
        let options = options.application_name("membership");
        let store = format!("{} on {}", options.get_database().unwrap_or("the database"), options.get_host());
        let unusable = |why: sqlx::Error| unusable(&store, &why, REMEDY);
        let connect = timeout(CONNECT, PgConnection::connect_with(&options)).await;
        let mut connection = connect.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(unusable)?;
        let standby = is_standby(&mut connection).await.map_err(unusable)?;
        if standby && access.has_to_write() {
            return Err(OpenError::Unreachable { store, why: STANDBY.to_owned() });
        }
        let writable = access != Access::Read && !standby;
        if access.has_to_write() {
            migrate(&mut connection, &store).await?;
        } else {
            check(&mut connection, &store).await?;
        }
        connection.close().await.map_err(unusable)?;

        let options = options.options(LIMITS);
        let pool_options = if writable { options.clone() } else { options.clone().options(READ_ONLY) };
        let connections = Connections::new(pool_options, writable);
        connections.pool().acquire().await.map_err(unusable)?;
        let sequencer = writable.then(|| Sequencer::start(options));
        Ok(Self { connections, history: History::new(), sequencer })
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.connections.is_writable()
    }

    pub(crate) fn vitals(&self) -> Vitals {
        let pool = self.connections.pool();
        let idle = pool.num_idle();
        Vitals::Postgres {
            used: usize::try_from(pool.size()).unwrap_or_default().saturating_sub(idle),
            idle,
            troubled: self.sequencer.as_ref().and_then(Sequencer::trouble).is_some(),
        }
    }

    pub(crate) async fn healthy(&self) -> Result<(), StoreError> {
        let pool = self.connections.pool();
        let standby = self.connections.call(sqlx::query_scalar(IS_STANDBY).fetch_one(&pool)).await?;
        if standby && self.is_writable() {
            self.connections.look_for_another();
            return Err(StoreError::ReadOnly(STANDBY.to_owned()));
        }
        if let Some(why) = self.connections.trouble() {
            return Err(StoreError::Unavailable(why));
        }
        match self.sequencer.as_ref().and_then(Sequencer::trouble) {
            Some(why) => Err(StoreError::Unavailable(format!("the log does not advance: {why}"))),
            None => Ok(()),
        }
    }

    pub(crate) async fn rewritten(&self) {
        self.history.rewritten().await;
    }

    pub(crate) async fn shutdown(&self) {
        if let Some(sequencer) = &self.sequencer {
            sequencer.stop();
        }
        self.connections.close().await;
    }
}

async fn is_standby(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(IS_STANDBY).fetch_one(connection).await
}

/// A store that cannot be opened, where nothing is wrong with what it holds.
fn unusable(store: &str, why: &sqlx::Error, remedy: &'static str) -> OpenError {
    let (store, told) = (store.to_owned(), why.to_string());
    if error::is_passing(why) {
        OpenError::Unreachable { store, why: told }
    } else {
        OpenError::Unusable { store, why: told, remedy }
    }
}

async fn migrate(connection: &mut PgConnection, store: &str) -> Result<(), OpenError> {
    let failed = |why: MigrateError| match &why {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)
            if error::is_passing(cause) =>
        {
            OpenError::Unreachable { store: store.to_owned(), why: why.to_string() }
        }
        _ => OpenError::Migration { store: store.to_owned(), why: why.to_string() },
    };
    migrations::postgres().await.map_err(failed)?.run(connection).await.map_err(failed)
}

async fn check(connection: &mut PgConnection, store: &str) -> Result<(), OpenError> {
    let applied = match sqlx::query_scalar::<_, i64>(APPLIED).fetch_all(connection).await {
        Ok(applied) => applied,
        Err(why) if error::is(&why, UNDEFINED_TABLE) => Vec::new(),
        Err(why) => return Err(unusable(store, &why, "see that the user may read the tables")),
    };
    let needed = migrations::postgres()
        .await
        .map_err(|why| OpenError::Migration { store: store.to_owned(), why: why.to_string() })?;
    if needed.iter().all(|migration| applied.contains(&migration.version)) {
        Ok(())
    } else {
        Err(OpenError::Older { store: store.to_owned() })
    }
}

/// Positions come from a column that counts up from 1.
fn position(number: i64) -> Position {
    Position::new(number.unsigned_abs())
}

fn number(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
