//! What long work remembers, in `SQLite`.

use async_trait::async_trait;
use domain::ids::{CustomerId, SubscriptionId};
use domain::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use webhook_ingest::inbox::Outcome;
use webhook_ingest::notebook::{Notebook, Unused};

use super::Sqlite;
use super::error::store_error;

const NOTE: &str = "SELECT text FROM notes WHERE name = ?1";
const WRITE: &str =
    "INSERT INTO notes (name, text) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET text = excluded.text";
const REMOVE: &str = "DELETE FROM notes WHERE name = ?1 AND text = ?2";
const NOTES: &str =
    "SELECT name, text FROM notes WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name LIMIT ?2";
const NOT_IN_INBOX: &str = "SELECT asked.value FROM json_each(?1) AS asked \
                            WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.id = asked.value) ORDER BY asked.key";
const UNUSED: &str = "SELECT id, event_type, outcome, why_code FROM inbox \
                      WHERE customer = ?1 AND outcome IN ('pending', 'parked', 'failed') ORDER BY arrival DESC LIMIT 20";
const SUBSCRIPTIONS: &str = "SELECT DISTINCT aggregate_id FROM events \
                             WHERE aggregate_type = 'subscription' AND aggregate_id > ?1 ORDER BY aggregate_id LIMIT ?2";

#[async_trait]
impl Notebook for Sqlite {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        let read = move |connection: &Connection| {
            connection.prepare_cached(NOTE)?.query_row([name], |row| row.get(0)).optional()
        };
        self.readers.read(move |connection| read(connection).map_err(store_error)).await
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.write(move |connection| execute(connection, WRITE, [name, text])).await
    }

    async fn remove_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.write(move |connection| execute(connection, REMOVE, [name, text])).await
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, StoreError> {
        let (prefix, limit) = (prefix.to_owned(), most(limit));
        let note = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.readers.read(move |connection| rows(connection, NOTES, params![prefix, limit], note)).await
    }

    async fn not_in_inbox(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        let ids = serde_json::json!(ids).to_string();
        self.readers.read(move |connection| rows(connection, NOT_IN_INBOX, [ids], |row| row.get(0))).await
    }

    async fn unused_of(&self, customer: &CustomerId) -> Result<Vec<Unused>, StoreError> {
        let customer = customer.clone();
        let unused = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: Vec<(String, String, String, Option<String>)> = self
            .readers
            .read(move |connection| rows(connection, UNUSED, [customer.as_str()], unused))
            .await?;
        let unused = |(id, event_type, outcome, code): (_, _, String, _)| {
            let outcome = Outcome::parse(&outcome)
                .ok_or_else(|| StoreError::Corrupt(format!("{outcome:?} is not an outcome")))?;
            Ok(Unused { id, event_type, outcome, code })
        };
        found.into_iter().map(unused).collect()
    }

    async fn subscriptions_after(
        &self,
        after: Option<&SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let id = |row: &Row<'_>| row.get::<_, String>(0).map(SubscriptionId::from);
        let limit = most(limit);
        self.readers.read(move |connection| rows(connection, SUBSCRIPTIONS, params![after, limit], id)).await
    }
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    done.map(|_| ()).map_err(store_error)
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(values, read).map_err(store_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(store_error)
}
