//! Commands under a key, in `PostgreSQL`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::idempotency::{Attempt, Begun, IdempotencyStore, KeptAnswer, KeyedCommand};
use domain::ports::StoreError;

use super::{Postgres, limit};
use crate::answer::{read, written};

/// Waits for one who begins the same at the same time, and then sees what she wrote.
const BEGIN: &str = "INSERT INTO idempotency AS held (id, fingerprint, attempt, begun_at, claimed_until, kept_until) \
    VALUES ($1, $2, 1, $3, $4, $5) \
    ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, attempt = held.attempt + 1, \
        begun_at = CASE WHEN held.kept_until <= excluded.begun_at THEN excluded.begun_at ELSE held.begun_at END, \
        claimed_until = excluded.claimed_until, kept_until = excluded.kept_until, status = NULL, headers = NULL, body = NULL \
    WHERE held.kept_until <= excluded.begun_at \
        OR (held.status IS NULL AND held.fingerprint = excluded.fingerprint AND held.claimed_until <= excluded.begun_at) \
    RETURNING attempt, begun_at";
const HELD: &str = "SELECT fingerprint, status, headers, body FROM idempotency WHERE id = $1";
const FINISH: &str = "UPDATE idempotency SET status = $3, headers = $4, body = $5, kept_until = $6 \
                      WHERE id = $1 AND attempt = $2 AND status IS NULL";
const RELEASE: &str =
    "UPDATE idempotency SET claimed_until = begun_at WHERE id = $1 AND attempt = $2 AND status IS NULL";
const WITHDRAW: &str = "DELETE FROM idempotency WHERE id = $1 AND attempt = $2 AND status IS NULL";
/// Rows that another process deletes just now are left to it.
const PRUNE: &str = "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE kept_until <= $1 \
                     ORDER BY kept_until LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// What is held: the fingerprint, and the answer if there is one.
type Held = (Vec<u8>, Option<i32>, Option<String>, Option<Vec<u8>>);

#[async_trait]
impl IdempotencyStore for Postgres {
    async fn begin(
        &self,
        command: &KeyedCommand,
        now: DateTime<Utc>,
        lease: Duration,
        keep: Duration,
    ) -> Result<Begun, StoreError> {
        let pool = self.connections.pool();
        let begin = sqlx::query_as::<_, (i64, DateTime<Utc>)>(BEGIN)
            .bind(command.id.as_slice())
            .bind(command.fingerprint.as_slice())
            .bind(now)
            .bind(now + lease)
            .bind(now + keep);
        if let Some((number, first_begun_at)) = self.connections.call(begin.fetch_optional(&pool)).await? {
            return Ok(Begun::Mine(Attempt { number, first_begun_at }));
        }
        let held = sqlx::query_as::<_, Held>(HELD).bind(command.id.as_slice());
        let held = self.connections.call(held.fetch_optional(&pool)).await?;
        // It was withdrawn between the two: whoever asks again finds it free.
        let Some((fingerprint, status, headers, body)) = held else { return Ok(Begun::Running) };
        if fingerprint != command.fingerprint {
            return Ok(Begun::Different);
        }
        let Some(status) = status else { return Ok(Begun::Running) };
        read(status.into(), headers.as_deref(), body).map(Begun::Finished)
    }

    async fn finish(
        &self,
        id: &[u8; 32],
        attempt: Attempt,
        answer: KeptAnswer,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let finish = sqlx::query(FINISH)
            .bind(id.as_slice())
            .bind(attempt.number)
            .bind(i32::from(answer.status))
            .bind(written(&answer.headers))
            .bind(answer.body)
            .bind(until);
        let done = self.connections.call(finish.execute(&self.connections.pool())).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn release(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        let release = sqlx::query(RELEASE).bind(id.as_slice()).bind(attempt.number);
        self.connections.call(release.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn withdraw(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        let withdraw = sqlx::query(WITHDRAW).bind(id.as_slice()).bind(attempt.number);
        self.connections.call(withdraw.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn prune(&self, now: DateTime<Utc>, at_most: usize) -> Result<u64, StoreError> {
        let prune = sqlx::query(PRUNE).bind(now).bind(limit(at_most));
        let done = self.connections.call(prune.execute(&self.connections.pool())).await?;
        Ok(done.rows_affected())
    }
}
