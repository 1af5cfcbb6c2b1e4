//! Commands under a key, in `SQLite`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::idempotency::{Attempt, Begun, IdempotencyStore, KeptAnswer, KeyedCommand};
use domain::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::store_error;
use super::{Sqlite, micros, moment};
use crate::answer::{read, written};

const BEGIN: &str = "INSERT INTO idempotency (id, fingerprint, attempt, begun_at, claimed_until, kept_until) \
    VALUES (?1, ?2, 1, ?3, ?4, ?5) \
    ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, attempt = attempt + 1, \
        begun_at = CASE WHEN kept_until <= excluded.begun_at THEN excluded.begun_at ELSE begun_at END, \
        claimed_until = excluded.claimed_until, kept_until = excluded.kept_until, status = NULL, headers = NULL, body = NULL \
    WHERE kept_until <= excluded.begun_at \
        OR (status IS NULL AND fingerprint = excluded.fingerprint AND claimed_until <= excluded.begun_at) \
    RETURNING attempt, begun_at";
const HELD: &str = "SELECT fingerprint, status, headers, body FROM idempotency WHERE id = ?1";
const FINISH: &str = "UPDATE idempotency SET status = ?3, headers = ?4, body = ?5, kept_until = ?6 \
                      WHERE id = ?1 AND attempt = ?2 AND status IS NULL";
const RELEASE: &str =
    "UPDATE idempotency SET claimed_until = begun_at WHERE id = ?1 AND attempt = ?2 AND status IS NULL";
const WITHDRAW: &str = "DELETE FROM idempotency WHERE id = ?1 AND attempt = ?2 AND status IS NULL";
const PRUNE: &str = "DELETE FROM idempotency WHERE id IN \
                     (SELECT id FROM idempotency WHERE kept_until <= ?1 ORDER BY kept_until LIMIT ?2)";

/// What is held: the fingerprint, and the answer if there is one.
type Held = ([u8; 32], Option<i64>, Option<String>, Option<Vec<u8>>);

#[async_trait]
impl IdempotencyStore for Sqlite {
    async fn begin(
        &self,
        command: &KeyedCommand,
        now: DateTime<Utc>,
        lease: Duration,
        keep: Duration,
    ) -> Result<Begun, StoreError> {
        let command = command.clone();
        self.write(move |connection| begin(connection, &command, now, now + lease, now + keep)).await
    }

    async fn finish(
        &self,
        id: &[u8; 32],
        attempt: Attempt,
        answer: KeptAnswer,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let id = *id;
        let change = move |connection: &Connection| {
            let (status, headers) = (i64::from(answer.status), written(&answer.headers));
            let values = params![id, attempt.number, status, headers, answer.body, micros(until)];
            execute(connection, FINISH, values).map(|changed| changed == 1)
        };
        self.write(change).await
    }

    async fn release(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        let id = *id;
        self.write(move |connection| execute(connection, RELEASE, params![id, attempt.number])).await?;
        Ok(())
    }

    async fn withdraw(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        let id = *id;
        self.write(move |connection| execute(connection, WITHDRAW, params![id, attempt.number])).await?;
        Ok(())
    }

    async fn prune(&self, now: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let deleted =
            self.write(move |connection| execute(connection, PRUNE, params![micros(now), limit])).await?;
        Ok(deleted as u64)
    }
}

fn begin(
    connection: &Connection,
    command: &KeyedCommand,
    now: DateTime<Utc>,
    claimed_until: DateTime<Utc>,
    kept_until: DateTime<Utc>,
) -> Result<Begun, StoreError> {
    let times = (micros(now), micros(claimed_until), micros(kept_until));
    let values = params![command.id, command.fingerprint, times.0, times.1, times.2];
    let begun = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let begun = query(connection, BEGIN, values, begun)?;
    if let Some((number, first)) = begun {
        return Ok(Begun::Mine(Attempt { number, first_begun_at: moment(first)? }));
    }
    let held = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let held: Option<Held> = query(connection, HELD, params![command.id], held)?;
    // One transaction at a time: what was in the way is still there.
    let Some((fingerprint, status, headers, body)) = held else { return Ok(Begun::Running) };
    if fingerprint != command.fingerprint {
        return Ok(Begun::Different);
    }
    let Some(status) = status else { return Ok(Begun::Running) };
    read(status, headers.as_deref(), body).map(Begun::Finished)
}

fn query<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    statement.query_row(values, read).optional().map_err(store_error)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(store_error)
}
