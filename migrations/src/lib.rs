//! The tables of the store, as SQL files, embedded. `README.md` says how they may change.

use std::borrow::Cow;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use rusqlite_migration::{M, Migrations};
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};

/// The `PostgreSQL` advisory lock that every insert into `events` holds, shared, until its commit.
pub const POSITION_LOCK: i64 = 7_236_837_246_119;

/// The number and name of each `PostgreSQL` file, and its text.
const POSTGRES: [(i64, &str, &str); 17] = [
    (20_261_122_090_000, "events create", include_str!("../postgres/20261122090000_events_create.sql")),
    (20_261_122_090_100, "inbox create", include_str!("../postgres/20261122090100_inbox_create.sql")),
    (20_261_122_090_200, "people create", include_str!("../postgres/20261122090200_people_create.sql")),
    (20_261_122_090_300, "views create", include_str!("../postgres/20261122090300_views_create.sql")),
    (
        20_261_122_100_000,
        "views generations",
        include_str!("../postgres/20261122100000_views_generations.sql"),
    ),
    (20_261_122_170_000, "inbox concerns", include_str!("../postgres/20261122170000_inbox_concerns.sql")),
    (20_261_122_180_000, "notes create", include_str!("../postgres/20261122180000_notes_create.sql")),
    (20_261_122_180_100, "inbox origin", include_str!("../postgres/20261122180100_inbox_origin.sql")),
    (20_261_122_190_000, "accounts create", include_str!("../postgres/20261122190000_accounts_create.sql")),
    (
        20_261_122_191_000,
        "idempotency create",
        include_str!("../postgres/20261122191000_idempotency_create.sql"),
    ),
    (
        20_261_122_193_000,
        "delivery_steps create",
        include_str!("../postgres/20261122193000_delivery_steps_create.sql"),
    ),
    (
        20_261_122_200_000,
        "views more create",
        include_str!("../postgres/20261122200000_views_more_create.sql"),
    ),
    (20_261_122_201_000, "remarks create", include_str!("../postgres/20261122201000_remarks_create.sql")),
    (20_261_122_201_100, "erasures create", include_str!("../postgres/20261122201100_erasures_create.sql")),
    (20_261_123_100_000, "payers create", include_str!("../postgres/20261123100000_payers_create.sql")),
    (20_261_123_110_000, "accounts locks", include_str!("../postgres/20261123110000_accounts_locks.sql")),
    (
        20_261_123_120_000,
        "identities create",
        include_str!("../postgres/20261123120000_identities_create.sql"),
    ),
];

/// The text of each `SQLite` file. Its place in this list is the number `SQLite` remembers, so the list only ever grows.
const SQLITE: [&str; 17] = [
    include_str!("../sqlite/20261122090000_events_create.sql"),
    include_str!("../sqlite/20261122090100_inbox_create.sql"),
    include_str!("../sqlite/20261122090200_people_create.sql"),
    include_str!("../sqlite/20261122090300_views_create.sql"),
    include_str!("../sqlite/20261122100000_views_generations.sql"),
    include_str!("../sqlite/20261122170000_inbox_concerns.sql"),
    include_str!("../sqlite/20261122180000_notes_create.sql"),
    include_str!("../sqlite/20261122180100_inbox_origin.sql"),
    include_str!("../sqlite/20261122190000_accounts_create.sql"),
    include_str!("../sqlite/20261122191000_idempotency_create.sql"),
    include_str!("../sqlite/20261122193000_delivery_steps_create.sql"),
    include_str!("../sqlite/20261122200000_views_more_create.sql"),
    include_str!("../sqlite/20261122201000_remarks_create.sql"),
    include_str!("../sqlite/20261122201100_erasures_create.sql"),
    include_str!("../sqlite/20261123100000_payers_create.sql"),
    include_str!("../sqlite/20261123110000_accounts_locks.sql"),
    include_str!("../sqlite/20261123120000_identities_create.sql"),
];

/// The version of the `SQLite` tables once all migrations have run: `SQLite`'s `user_version`.
pub const SQLITE_VERSION: usize = SQLITE.len();

#[derive(Debug)]
struct Embedded;

impl MigrationSource<'static> for Embedded {
    fn resolve(
        self,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Migration>, Box<dyn Error + Send + Sync>>> + Send>> {
        Box::pin(async {
            let migration = |(version, name, sql)| {
                Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
            };
            Ok(POSTGRES.into_iter().map(migration).collect())
        })
    }
}

/// The migrations of `PostgreSQL`. One that a newer release has run already is no error: during a rolling update the old
/// release may start again on the new tables.
pub async fn postgres() -> Result<Migrator, MigrateError> {
    let mut migrator = Migrator::new(Embedded).await?;
    migrator.set_ignore_missing(true);
    Ok(migrator)
}

/// The migrations of `SQLite`.
pub fn sqlite() -> Migrations<'static> {
    Migrations::new(SQLITE.into_iter().map(M::up).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sqlite_migrations_run() {
        assert_eq!(sqlite().validate(), Ok(()));
    }

    #[test]
    fn the_lock_in_the_migration_is_the_one_the_sequencer_takes() {
        assert!(POSTGRES[0].2.contains(&POSITION_LOCK.to_string()));
    }
}
