//! The inbox in `SQLite`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use webhook_ingest::inbox::{
    Backlog, Delivery, DeliveryFilter, Inbox, MOST_POSTPONED, NewDelivery, Origin, Outcome, Redrive, Stored,
    Why,
};

use super::error::store_error;
use super::{Sqlite, micros, moment};

macro_rules! columns {
    () => {
        "id, event_type, created_at, customer, body, received_at, times_received, outcome, why_code, why_detail, \
         attempts, settled_at, arrival, origin"
    };
}

const STORE: &str = "INSERT INTO inbox (id, event_type, created_at, customer, body, received_at, concerns, origin) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                     ON CONFLICT (id) DO UPDATE SET times_received = times_received + 1 \
                     RETURNING times_received = 1, body = ?5";
const CLAIM: &str = concat!(
    "UPDATE inbox SET claimed_until = ?2, attempts = attempts + 1 WHERE arrival IN (SELECT arrival FROM inbox \
     WHERE outcome = 'pending' AND (due_at IS NULL OR due_at <= ?1 OR due_at > ?4) \
     AND (claimed_until IS NULL OR claimed_until <= ?1 OR claimed_until > ?5) \
     ORDER BY redriven, arrival LIMIT ?3) RETURNING ",
    columns!()
);
const SETTLE: &str = "UPDATE inbox SET outcome = ?2, why_code = ?3, why_detail = ?4, settled_at = ?5, \
                      due_at = NULL, claimed_until = NULL WHERE id = ?1";
const POSTPONE: &str = "UPDATE inbox SET why_code = ?2, why_detail = ?3, due_at = ?4, claimed_until = NULL \
                        WHERE id = ?1 AND outcome = 'pending'";
const RELEASE: &str = "UPDATE inbox SET claimed_until = NULL, attempts = max(attempts - 1, 0) \
                       WHERE id = ?1 AND outcome = 'pending' AND claimed_until IS NOT NULL";
macro_rules! redrive {
    ($which:literal) => {
        concat!(
            "UPDATE inbox SET outcome = 'pending', redriven = 1, why_code = NULL, why_detail = NULL, attempts = 0, \
             settled_at = NULL, due_at = NULL WHERE ",
            $which
        )
    };
}
const REDRIVE_ONE: &str = redrive!("id = ?1");
const REDRIVE_FAILED: &str = redrive!("outcome = 'failed'");
const REDRIVE_SET_ASIDE: &str = redrive!("outcome IN ('parked', 'ignored') AND why_code = ?1");
const REDRIVE_SET_ASIDE_OF: &str =
    redrive!("outcome IN ('parked', 'ignored') AND why_code = ?1 AND (customer = ?2 OR concerns = ?2)");
const GET: &str = concat!("SELECT ", columns!(), " FROM inbox WHERE id = ?1");
const LIST: &str =
    concat!("SELECT ", columns!(), " FROM inbox WHERE arrival < ?1 ORDER BY arrival DESC LIMIT ?2");
const LIST_OUTCOME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM inbox WHERE outcome = ?3 AND arrival < ?1 ORDER BY arrival DESC LIMIT ?2"
);
const ARRIVAL: &str = "SELECT arrival FROM inbox WHERE id = ?1";
const PENDING: &str = "SELECT count(*) FROM inbox WHERE outcome = 'pending'";
const BACKLOG: &str = "SELECT (SELECT count(*) FROM inbox WHERE outcome = 'pending'), \
                       (SELECT count(*) FROM inbox WHERE outcome = 'parked'), \
                       (SELECT count(*) FROM inbox WHERE outcome = 'failed'), \
                       (SELECT min(coalesce(due_at, received_at)) FROM inbox WHERE outcome = 'pending' \
                        AND (due_at <= ?1 OR (due_at IS NULL AND redriven = 0)))";

#[async_trait]
impl Inbox for Sqlite {
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError> {
        self.write(move |connection| store(connection, &delivery).map_err(store_error)).await
    }

    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (until, latest_due, latest_until) = (now + lease, now + MOST_POSTPONED * 2, now + lease * 2);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let change = move |connection: &Connection| {
            let moments = [latest_due, latest_until].map(micros);
            select(connection, CLAIM, params![micros(now), micros(until), limit, moments[0], moments[1]])
        };
        self.write(change).await
    }

    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        let change = move |connection: &Connection| {
            let (code, detail) = why.map(|why| (why.code, why.detail)).unzip();
            execute(connection, SETTLE, params![id, outcome.as_str(), code, detail, micros(now)])
        };
        self.write(change).await.map(|_| ())
    }

    async fn postpone(&self, id: &str, why: Why, due: DateTime<Utc>) -> Result<(), StoreError> {
        let id = id.to_owned();
        let change = move |connection: &Connection| {
            execute(connection, POSTPONE, params![id, why.code, why.detail, micros(due)])
        };
        self.write(change).await.map(|_| ())
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            ids.iter().try_for_each(|id| execute(connection, RELEASE, [id]).map(drop))
        })
        .await
    }

    async fn redrive(&self, which: Redrive) -> Result<u64, StoreError> {
        let change = move |connection: &Connection| match which {
            Redrive::Id(id) => execute(connection, REDRIVE_ONE, [id]),
            Redrive::Failed => execute(connection, REDRIVE_FAILED, []),
            Redrive::SetAside { code, of: None } => execute(connection, REDRIVE_SET_ASIDE, [code]),
            Redrive::SetAside { code, of: Some(of) } => execute(connection, REDRIVE_SET_ASIDE_OF, [code, of]),
        };
        self.write(change).await
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        let id = id.to_owned();
        let found = self.readers.read(move |connection| select(connection, GET, [id])).await;
        found.map(|deliveries| deliveries.into_iter().next())
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        self.readers.read(move |connection| list(connection, &filter)).await
    }

    async fn pending(&self) -> Result<u64, StoreError> {
        let count = |connection: &Connection| {
            connection.prepare_cached(PENDING)?.query_row([], |row| row.get::<_, i64>(0))
        };
        let counted = self.readers.read(move |connection| count(connection).map_err(store_error)).await;
        counted.map(i64::unsigned_abs)
    }

    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError> {
        let (counts, since) = self
            .readers
            .read(move |connection| backlog(connection, micros(now)).map_err(store_error))
            .await?;
        let [pending, parked, failed] = counts.map(i64::unsigned_abs);
        Ok(Backlog { pending, parked, failed, waiting_since: since.map(moment).transpose()? })
    }
}

fn backlog(connection: &Connection, now: i64) -> rusqlite::Result<([i64; 3], Option<i64>)> {
    let mut statement = connection.prepare_cached(BACKLOG)?;
    statement.query_row([now], |row| Ok(([row.get(0)?, row.get(1)?, row.get(2)?], row.get(3)?)))
}

fn store(connection: &Connection, delivery: &NewDelivery) -> rusqlite::Result<Stored> {
    let mut statement = connection.prepare_cached(STORE)?;
    let values = params![
        delivery.id,
        delivery.event_type,
        delivery.created.map(micros),
        delivery.customer,
        delivery.body,
        micros(delivery.received_at),
        delivery.concerns,
        delivery.origin.as_str(),
    ];
    statement.query_row(values, |row| {
        Ok(match (row.get(0)?, row.get(1)?) {
            (true, _) => Stored::New,
            (false, same_body) => Stored::Duplicate { same_body },
        })
    })
}

fn list(connection: &mut Connection, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let before = match &filter.before {
        None => i64::MAX,
        Some(id) => {
            let known = connection.query_row(ARRIVAL, [id], |row| row.get(0)).optional();
            match known.map_err(store_error)? {
                Some(arrival) => arrival,
                None => return Ok(Vec::new()),
            }
        }
    };
    match filter.outcome {
        None => select(connection, LIST, params![before, limit]),
        Some(outcome) => select(connection, LIST_OUTCOME, params![before, limit, outcome.as_str()]),
    }
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<u64, StoreError> {
    let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    changed.map(|rows| rows as u64).map_err(store_error)
}

/// The deliveries a statement finds; those of a change, which come in no order, in the order of their arrival.
fn select(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<Delivery>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let mut rows = statement.query(values).map_err(store_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        found.push(delivery(row)?);
    }
    drop(rows);
    if !statement.readonly() {
        found.sort_by_key(|(arrival, _)| *arrival);
    }
    Ok(found.into_iter().map(|(_, delivery)| delivery).collect())
}

fn delivery(row: &Row<'_>) -> Result<(i64, Delivery), StoreError> {
    let micros =
        |column: usize| row.get::<_, Option<i64>>(column).map_err(store_error)?.map(moment).transpose();
    let outcome: String = row.get(7).map_err(store_error)?;
    let origin: String = row.get(13).map_err(store_error)?;
    let why = match (row.get(8).map_err(store_error)?, row.get(9).map_err(store_error)?) {
        (Some(code), Some(detail)) => Some(Why { code, detail }),
        _ => None,
    };
    let delivery = Delivery {
        id: row.get(0).map_err(store_error)?,
        event_type: row.get(1).map_err(store_error)?,
        created: micros(2)?,
        customer: row.get(3).map_err(store_error)?,
        body: row.get(4).map_err(store_error)?,
        received_at: moment(row.get(5).map_err(store_error)?)?,
        origin: Origin::parse(&origin)
            .ok_or_else(|| StoreError::Corrupt(format!("{origin:?} is not an origin")))?,
        times_received: row.get(6).map_err(store_error)?,
        outcome: Outcome::parse(&outcome)
            .ok_or_else(|| StoreError::Corrupt(format!("{outcome:?} is not an outcome")))?,
        why,
        attempts: row.get(10).map_err(store_error)?,
        settled_at: micros(11)?,
    };
    Ok((row.get(12).map_err(store_error)?, delivery))
}
