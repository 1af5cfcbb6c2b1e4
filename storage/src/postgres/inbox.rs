//! The inbox in `PostgreSQL`. Several processes may claim; each step is one statement.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ports::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;
use webhook_ingest::inbox::{
    Backlog, Delivery, DeliveryFilter, Inbox, MOST_POSTPONED, NewDelivery, Origin, Outcome, Redrive, Stored,
    Why,
};

use super::error::store_error;
use super::{Postgres, limit};

macro_rules! columns {
    () => {
        "inbox.id, event_type, created_at, customer, body, received_at, times_received, outcome, why_code, why_detail, \
         attempts, settled_at, inbox.arrival, origin"
    };
}

const STORE: &str = "INSERT INTO inbox (id, event_type, created_at, customer, body, received_at, concerns, origin) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT (id) DO UPDATE SET times_received = inbox.times_received + 1 \
                     RETURNING times_received = 1 AS new, body = $5 AS same_body";
const CLAIM: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT arrival FROM inbox WHERE outcome = 'pending' \
     AND (due_at IS NULL OR due_at <= $1 OR due_at > $4) \
     AND (claimed_until IS NULL OR claimed_until <= $1 OR claimed_until > $5) \
     ORDER BY redriven, arrival LIMIT $3 FOR UPDATE SKIP LOCKED) \
     UPDATE inbox SET claimed_until = $2, attempts = attempts + 1 FROM due WHERE inbox.arrival = due.arrival RETURNING ",
    columns!()
);
const SETTLE: &str = "UPDATE inbox SET outcome = $2, why_code = $3, why_detail = $4, settled_at = $5, \
                      due_at = NULL, claimed_until = NULL WHERE id = $1";
const POSTPONE: &str = "UPDATE inbox SET why_code = $2, why_detail = $3, due_at = $4, claimed_until = NULL \
                        WHERE id = $1 AND outcome = 'pending'";
const RELEASE: &str = "UPDATE inbox SET claimed_until = NULL, attempts = greatest(attempts - 1, 0) \
                       WHERE id = ANY($1) AND outcome = 'pending' AND claimed_until IS NOT NULL";
/// Some of those after an arrival, since all of them at once may take longer than a statement may.
macro_rules! redrive {
    ($which:literal) => {
        concat!(
            "WITH due AS (SELECT arrival FROM inbox WHERE arrival > $1 AND ",
            $which,
            " ORDER BY arrival LIMIT 1000), done AS (\
             UPDATE inbox SET outcome = 'pending', redriven = true, why_code = NULL, why_detail = NULL, attempts = 0, \
             settled_at = NULL, due_at = NULL FROM due WHERE inbox.arrival = due.arrival RETURNING inbox.arrival) \
             SELECT count(*), max(arrival) FROM done"
        )
    };
}
const REDRIVE_ONE: &str = redrive!("id = $2");
const REDRIVE_FAILED: &str = redrive!("outcome = 'failed'");
const REDRIVE_SET_ASIDE: &str = redrive!("outcome IN ('parked', 'ignored') AND why_code = $2");
const REDRIVE_SET_ASIDE_OF: &str =
    redrive!("outcome IN ('parked', 'ignored') AND why_code = $2 AND (customer = $3 OR concerns = $3)");
const GET: &str = concat!("SELECT ", columns!(), " FROM inbox WHERE id = $1");
const LIST: &str =
    concat!("SELECT ", columns!(), " FROM inbox WHERE arrival < $1 ORDER BY arrival DESC LIMIT $2");
const LIST_OUTCOME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM inbox WHERE outcome = $3 AND arrival < $1 ORDER BY arrival DESC LIMIT $2"
);
const ARRIVAL: &str = "SELECT arrival FROM inbox WHERE id = $1";
const PENDING: &str = "SELECT count(*) FROM inbox WHERE outcome = 'pending'";
const BACKLOG: &str = "SELECT (SELECT count(*) FROM inbox WHERE outcome = 'pending'), \
                       (SELECT count(*) FROM inbox WHERE outcome = 'parked'), \
                       (SELECT count(*) FROM inbox WHERE outcome = 'failed'), \
                       (SELECT min(coalesce(due_at, received_at)) FROM inbox WHERE outcome = 'pending' \
                        AND (due_at <= $1 OR (due_at IS NULL AND NOT redriven)))";

#[async_trait]
impl Inbox for Postgres {
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError> {
        let kept = sqlx::query_as(STORE)
            .bind(delivery.id)
            .bind(delivery.event_type)
            .bind(delivery.created)
            .bind(delivery.customer)
            .bind(delivery.body)
            .bind(delivery.received_at)
            .bind(delivery.concerns)
            .bind(delivery.origin.as_str());
        let (new, same_body) = self.connections.call(kept.fetch_one(&self.connections.pool())).await?;
        Ok(if new { Stored::New } else { Stored::Duplicate { same_body } })
    }

    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        at_most: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let claim = sqlx::query(CLAIM).bind(now).bind(now + lease).bind(limit(at_most));
        let claim = claim.bind(now + MOST_POSTPONED * 2).bind(now + lease * 2);
        let rows = self.connections.call(claim.fetch_all(&self.connections.pool())).await?;
        let mut claimed = rows
            .iter()
            .map(|row| Ok((row.try_get::<i64, _>("arrival").map_err(store_error)?, delivery(row)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        claimed.sort_by_key(|(arrival, _)| *arrival);
        Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
    }

    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (code, detail) = why.map(|why| (why.code, why.detail)).unzip();
        let settle = sqlx::query(SETTLE).bind(id).bind(outcome.as_str()).bind(code).bind(detail).bind(now);
        self.connections.call(settle.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn postpone(&self, id: &str, why: Why, due: DateTime<Utc>) -> Result<(), StoreError> {
        let postpone = sqlx::query(POSTPONE).bind(id).bind(why.code).bind(why.detail).bind(due);
        self.connections.call(postpone.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        let release = sqlx::query(RELEASE).bind(ids);
        self.connections.call(release.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn redrive(&self, which: Redrive) -> Result<u64, StoreError> {
        let (mut count, mut after) = (0, 0_i64);
        loop {
            let some = match &which {
                Redrive::Id(id) => sqlx::query_as(REDRIVE_ONE).bind(after).bind(id),
                Redrive::Failed => sqlx::query_as(REDRIVE_FAILED).bind(after),
                Redrive::SetAside { code, of: None } => {
                    sqlx::query_as(REDRIVE_SET_ASIDE).bind(after).bind(code)
                }
                Redrive::SetAside { code, of: Some(of) } => {
                    sqlx::query_as(REDRIVE_SET_ASIDE_OF).bind(after).bind(code).bind(of)
                }
            };
            let (done, last): (i64, Option<i64>) =
                self.connections.call(some.fetch_one(&self.connections.pool())).await?;
            count += done.unsigned_abs();
            match last {
                Some(last) => after = last,
                None => return Ok(count),
            }
        }
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        let pool = self.connections.pool();
        let row = self.connections.call(sqlx::query(GET).bind(id).fetch_optional(&pool)).await?;
        row.as_ref().map(delivery).transpose()
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let before = match filter.before {
            None => i64::MAX,
            Some(id) => {
                let pool = self.connections.pool();
                let known = sqlx::query_scalar(ARRIVAL).bind(id).fetch_optional(&pool);
                match self.connections.call(known).await? {
                    Some(arrival) => arrival,
                    None => return Ok(Vec::new()),
                }
            }
        };
        let list = match filter.outcome {
            None => sqlx::query(LIST).bind(before).bind(limit(filter.limit)),
            Some(outcome) => {
                sqlx::query(LIST_OUTCOME).bind(before).bind(limit(filter.limit)).bind(outcome.as_str())
            }
        };
        let rows = self.connections.call(list.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(delivery).collect()
    }

    async fn pending(&self) -> Result<u64, StoreError> {
        let pool = self.connections.pool();
        let counted = self.connections.call(sqlx::query_scalar(PENDING).fetch_one(&pool)).await;
        counted.map(i64::unsigned_abs)
    }

    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError> {
        let counted = sqlx::query_as::<_, (i64, i64, i64, Option<DateTime<Utc>>)>(BACKLOG).bind(now);
        let (pending, parked, failed, waiting_since) =
            self.connections.call(counted.fetch_one(&self.connections.pool())).await?;
        let [pending, parked, failed] = [pending, parked, failed].map(i64::unsigned_abs);
        Ok(Backlog { pending, parked, failed, waiting_since })
    }
}

fn delivery(row: &PgRow) -> Result<Delivery, StoreError> {
    let count = |column: &str| row.try_get::<i32, _>(column).map(i32::unsigned_abs).map_err(store_error);
    let outcome: String = row.try_get("outcome").map_err(store_error)?;
    let origin: String = row.try_get("origin").map_err(store_error)?;
    let code = row.try_get("why_code").map_err(store_error)?;
    let detail = row.try_get("why_detail").map_err(store_error)?;
    Ok(Delivery {
        id: row.try_get("id").map_err(store_error)?,
        event_type: row.try_get("event_type").map_err(store_error)?,
        created: row.try_get("created_at").map_err(store_error)?,
        customer: row.try_get("customer").map_err(store_error)?,
        body: row.try_get("body").map_err(store_error)?,
        received_at: row.try_get("received_at").map_err(store_error)?,
        origin: Origin::parse(&origin)
            .ok_or_else(|| StoreError::Corrupt(format!("{origin:?} is not an origin")))?,
        times_received: count("times_received")?,
        outcome: Outcome::parse(&outcome)
            .ok_or_else(|| StoreError::Corrupt(format!("{outcome:?} is not an outcome")))?,
        why: Option::zip(code, detail).map(|(code, detail)| Why { code, detail }),
        attempts: count("attempts")?,
        settled_at: row.try_get("settled_at").map_err(store_error)?,
    })
}
