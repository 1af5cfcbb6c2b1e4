//! The store in a `PostgreSQL` database. Several processes may use one: the log's order comes from the watermark that the
//! [`sequencer`] keeps, work is shared by leases, and nothing is remembered in the process.

mod error;
mod events;
mod inbox;
mod notebook;
mod people;
mod sequencer;
mod views;

use std::time::Duration;

use domain::ports::{Position, StoreError};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use self::error::store_error;
use self::sequencer::Sequencer;
use crate::{Access, OpenError};

/// How many connections a process uses at most, beside the sequencer's.
const CONNECTIONS: u32 = 16;
/// How long a caller waits for one of them; longer means the database is down or overloaded.
const ACQUIRE: Duration = Duration::from_secs(1);
/// How long opening waits for the database.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that has rested longer is asked whether it still works before it is used.
const RESTED: Duration = Duration::from_millis(250);
/// A writer that stands still holds up everybody's reading, so the database ends it.
const LIMITS: [(&str, &str); 2] =
    [("statement_timeout", "10s"), ("idle_in_transaction_session_timeout", "5s")];
const READ_ONLY: [(&str, &str); 1] = [("default_transaction_read_only", "on")];

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
const ALIVE: &str = "SELECT 1";
/// The tables of no release at all.
const UNDEFINED_TABLE: &str = "42P01";

/// A store in one database.
pub(crate) struct Postgres {
    pool: PgPool,
    events: PostgresEventRepository,
    sequencer: Option<Sequencer>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, access: Access) -> Result<Self, OpenError> {
        let options = url.parse::<PgConnectOptions>().map_err(|why| OpenError::Url(why.to_string()))?;
        let options = options.application_name("membership");
        let store = format!("{} on {}", options.get_database().unwrap_or("the database"), options.get_host());
        let unusable = |why: sqlx::Error| OpenError::Unusable {
            store: store.clone(),
            why: why.to_string(),
            remedy: "see that the server runs and that host, user, password and database are right",
        };
        let connect = timeout(CONNECT, PgConnection::connect_with(&options)).await;
        let mut connection = connect.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(unusable)?;
        if access == Access::Write {
            migrate(&mut connection, &store).await?;
        } else {
            check(&mut connection, &store).await?;
        }
        connection.close().await.map_err(unusable)?;

        let writable = access != Access::Read;
        let options = options.options(LIMITS);
        let pool_options = if writable { options.clone() } else { options.clone().options(READ_ONLY) };
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
            .connect_with(pool_options)
            .await
            .map_err(unusable)?;
        Ok(Self {
            events: PostgresEventRepository::new(pool.clone()),
            sequencer: writable.then(|| Sequencer::start(options)),
            pool,
        })
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.sequencer.is_some()
    }

    pub(crate) async fn healthy(&self) -> Result<(), StoreError> {
        sqlx::query(ALIVE).execute(&self.pool).await.map_err(store_error)?;
        match self.sequencer.as_ref().and_then(Sequencer::trouble) {
            Some(why) => Err(StoreError::Unavailable(format!("the log does not advance: {why}"))),
            None => Ok(()),
        }
    }

    pub(crate) async fn shutdown(&self) {
        if let Some(sequencer) = &self.sequencer {
            sequencer.stop();
        }
        self.pool.close().await;
    }
}

async fn migrate(connection: &mut PgConnection, store: &str) -> Result<(), OpenError> {
    let failed = |why: sqlx::migrate::MigrateError| OpenError::Migration {
        store: store.to_owned(),
        why: why.to_string(),
    };
    migrations::postgres().await.map_err(failed)?.run(connection).await.map_err(failed)
}

async fn check(connection: &mut PgConnection, store: &str) -> Result<(), OpenError> {
    let applied = match sqlx::query_scalar::<_, i64>(APPLIED).fetch_all(connection).await {
        Ok(applied) => applied,
        Err(why) if error::is(&why, UNDEFINED_TABLE) => Vec::new(),
        Err(why) => {
            return Err(OpenError::Unusable {
                store: store.to_owned(),
                why: why.to_string(),
                remedy: "see that the user may read the tables",
            });
        }
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
