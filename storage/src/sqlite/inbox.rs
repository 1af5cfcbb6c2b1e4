//! The inbox in `SQLite`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId};
use domain::metadata::Actor;
use domain::ports::StoreError;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};
use webhook_ingest::inbox::{
    Asked, Backlog, Delivery, DeliveryFilter, DeliveryKey, ERASED_MEMBER, Inbox, KEPT_STEPS, MOST_COUNTED,
    MOST_POSTPONED, NewDelivery, ONE_READ, Origin, Outcome, Redrive, Redriven, Selection, Step, StepKind,
    Stored, Why,
};

use super::error::store_error;
use super::{Sqlite, micros, moment};
use crate::range::range_of;

macro_rules! columns {
    () => {
        columns!("body")
    };
    ($body:literal) => {
        concat!(
            "id, event_type, created_at, customer, ",
            $body,
            ", received_at, times_received, outcome, why_code, why_detail, \
             attempts, settled_at, arrival, origin, erased_at"
        )
    };
}

const STORE: &str = "INSERT INTO inbox (id, event_type, created_at, customer, body, received_at, concerns, origin) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                     ON CONFLICT (id) DO UPDATE SET times_received = times_received + 1 \
                     RETURNING times_received = 1, erased_at IS NOT NULL OR body = ?5";
const CLAIM: &str = concat!(
    "UPDATE inbox SET claimed_until = ?2, attempts = attempts + 1 WHERE arrival IN (SELECT arrival FROM inbox \
     WHERE outcome = 'pending' AND (due_at IS NULL OR due_at <= ?1 OR due_at > ?4) \
     AND (claimed_until IS NULL OR claimed_until <= ?1 OR claimed_until > ?5) \
     ORDER BY redriven, arrival LIMIT ?3) RETURNING ",
    columns!()
);
const SETTLE: &str = "UPDATE inbox SET outcome = ?2, why_code = ?3, why_detail = ?4, settled_at = ?5, \
                      due_at = NULL, claimed_until = NULL WHERE id = ?1";
/// What speaks of somebody who was erased is not kept any longer.
const ERASE: &str = "UPDATE inbox SET body = x'', \
                     why_detail = CASE why_code WHEN 'erased_member' THEN why_detail ELSE '' END, \
                     erased_at = coalesce(erased_at, ?2) WHERE id = ?1 \
                     AND (erased_at IS NOT NULL OR why_code = 'erased_member' OR customer IN (SELECT id FROM erased_ids) \
                     OR concerns IN (SELECT id FROM erased_ids))";
/// What it concerns is hers too: disputes name nothing else.
const ERASE_CONCERNED: &str = "INSERT INTO erased_ids (id, member) SELECT concerns, member FROM inbox \
                               JOIN erased_ids ON erased_ids.id = customer \
                               WHERE inbox.id = ?1 AND concerns IS NOT NULL ON CONFLICT (id) DO NOTHING";
const FORGET_PAYER: &str = "INSERT INTO erased_ids (id, member) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
const FORGET_NAME: &str = "DELETE FROM payers WHERE customer = ?1";
/// What was carried out. What waits is emptied when it is settled, and what may count once a catalogue sells it is kept.
const FORGET_BODIES: &str = "UPDATE inbox SET body = x'', erased_at = ?2, \
                             why_detail = CASE WHEN why_code IS NULL THEN NULL ELSE '' END \
                             WHERE customer = ?1 AND erased_at IS NULL AND why_code IS NOT 'unmapped_product' \
                             AND outcome IN ('applied', 'no_change', 'stale', 'ignored')";
const EMPTY_STEPS: &str = "UPDATE delivery_steps SET detail = NULL WHERE detail IS NOT NULL \
                            AND arrival IN (SELECT arrival FROM inbox WHERE customer = ?1 AND erased_at IS NOT NULL)";
const ERASED: &str = "SELECT 1 FROM erasures WHERE member = ?1";
const KEEP_PAYER: &str = "DELETE FROM erased_ids WHERE id = ?1 \
                          OR id IN (SELECT concerns FROM inbox WHERE customer = ?1 AND concerns IS NOT NULL)";
const SOLVE: &str = "UPDATE inbox SET outcome = 'applied', why_code = 'applied', why_detail = 'its payer is linked', \
                     settled_at = ?2 WHERE customer = ?1 AND outcome = 'parked' AND why_code = 'erased_member'";
const SOLVED: &str = "INSERT INTO delivery_steps (arrival, at, step, code, detail) \
                      SELECT arrival, ?2, 'applied', 'applied', 'its payer is linked' FROM inbox \
                      WHERE customer = ?1 AND outcome = 'parked' AND why_code = 'erased_member'";
const POSTPONE: &str = "UPDATE inbox SET why_code = ?2, why_detail = ?3, due_at = ?4, claimed_until = NULL \
                        WHERE id = ?1 AND outcome = 'pending'";
const RELEASE: &str = "UPDATE inbox SET claimed_until = NULL, attempts = max(attempts - 1, 0) \
                       WHERE id = ?1 AND outcome = 'pending' AND claimed_until IS NOT NULL";
const REDRIVE: &str = "UPDATE inbox SET outcome = 'pending', redriven = 1, why_code = NULL, why_detail = NULL, \
                       attempts = 0, settled_at = NULL, due_at = NULL WHERE arrival = ?1";
/// As many deliveries are redriven in one transaction, so that those who wait for the writer wait for no more.
const CHUNK: usize = 1_000;
const SET_ASIDE_OF: &str = "arrival IN (SELECT arrival FROM inbox \
                            WHERE outcome IN ('parked', 'ignored') AND why_code = ?1 AND customer = ?2 \
                            UNION SELECT arrival FROM inbox \
                            WHERE outcome IN ('parked', 'ignored') AND why_code = ?1 AND concerns = ?2)";
const STEP: &str = "INSERT INTO delivery_steps (arrival, at, step, actor, code, detail) \
                    SELECT arrival, ?2, ?3, ?4, ?5, ?6 FROM inbox WHERE id = ?1";
/// What people asked for is kept apart from what the service did by itself, or starts would push it out.
const FORGET_STEPS: &str = "DELETE FROM delivery_steps WHERE number IN (SELECT number FROM (SELECT number, \
                            row_number() OVER (PARTITION BY coalesce(actor, 'system') = 'system', step = 'read' \
                            ORDER BY number DESC) AS place FROM delivery_steps WHERE arrival = ?1) WHERE place > ?2)";
const STEPS: &str = "SELECT at, step, actor, code, detail FROM delivery_steps \
                     WHERE arrival = (SELECT arrival FROM inbox WHERE id = ?1) ORDER BY number";
const GET: &str = concat!("SELECT ", columns!(), " FROM inbox WHERE id = ?1");
/// Bodies are large, and whoever looks at many deliveries looks at no body.
const LIST: &str = concat!("SELECT ", columns!("x''"), " FROM inbox");
const FIND_BY_ID: &str =
    concat!("SELECT ", columns!("x''"), ", id FROM inbox WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3");
const FIND_BY_CONCERNS: &str = concat!(
    "SELECT ",
    columns!("x''"),
    ", concerns FROM inbox WHERE arrival IN (SELECT max(arrival) FROM inbox WHERE concerns >= ?1 AND concerns < ?2 \
     GROUP BY concerns ORDER BY concerns LIMIT ?3) ORDER BY concerns"
);
const NOTE_READ: &str = "INSERT INTO delivery_steps (arrival, at, step, actor) SELECT arrival, ?2, 'read', ?3 FROM inbox \
                         WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery_steps AS read \
                         WHERE read.arrival = inbox.arrival AND step = 'read' AND actor = ?3 AND at > ?4 AND at <= ?2)";
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
            let (code, detail) = why.as_ref().map(|why| (&why.code, &why.detail)).unzip();
            execute(connection, SETTLE, params![id, outcome.as_str(), code, detail, micros(now)])?;
            let erased = execute(connection, ERASE, params![id, micros(now)])? > 0;
            if erased {
                execute(connection, ERASE_CONCERNED, [&id])?;
            }
            let is_told = !erased || code.is_some_and(|code| code == ERASED_MEMBER);
            let detail = detail.filter(|_| is_told);
            let kind = StepKind::Settled(outcome).as_str();
            execute(connection, STEP, params![id, micros(now), kind, None::<String>, code, detail])?;
            Ok(erased)
        };
        if self.write(change).await? {
            // Its body is in the write-ahead log too.
            self.writer()?.checkpoint().await;
        }
        Ok(())
    }

    async fn forget_payer(
        &self,
        payer: &CustomerId,
        erased: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (payer, erased) = (payer.clone(), erased.clone());
        let change = move |connection: &Connection| {
            execute(connection, FORGET_PAYER, params![payer.as_str(), erased.as_str()])?;
            execute(connection, FORGET_NAME, [payer.as_str()])?;
            execute(connection, FORGET_BODIES, params![payer.as_str(), micros(now)])?;
            execute(connection, EMPTY_STEPS, [payer.as_str()]).map(|_| ())
        };
        self.write(change).await?;
        // What is gone is in the write-ahead log too.
        self.writer()?.checkpoint().await;
        Ok(())
    }

    async fn keep_payer(
        &self,
        payer: &CustomerId,
        member: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (payer, member) = (payer.clone(), member.clone());
        let change = move |connection: &Connection| {
            let mut erased = connection.prepare_cached(ERASED).map_err(store_error)?;
            if erased.exists([member.as_str()]).map_err(store_error)? {
                return Ok(());
            }
            execute(connection, KEEP_PAYER, [payer.as_str()])?;
            execute(connection, SOLVED, params![payer.as_str(), micros(now)])?;
            execute(connection, SOLVE, params![payer.as_str(), micros(now)]).map(|_| ())
        };
        self.write(change).await
    }

    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        let change = move |connection: &Connection| {
            let values = params![id, why.code, why.detail, micros(due)];
            if execute(connection, POSTPONE, values)? == 0 {
                return Ok(0);
            }
            let kind = StepKind::Postponed.as_str();
            let values = params![id, micros(now), kind, None::<String>, why.code, why.detail];
            execute(connection, STEP, values)
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

    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError> {
        let asked = Arc::new(asked);
        let mut count = 0;
        for which in Condition::of(which).map(Arc::new) {
            let mut after = Some(0);
            while let Some(last) = after {
                let (which, asked) = (which.clone(), asked.clone());
                let change = move |connection: &Connection| {
                    let due = due(connection, &which, last, CHUNK)?;
                    redrive(connection, &due, &asked).map(|()| due)
                };
                let done = self.write(change).await?;
                count += done.len() as u64;
                after = done.last().filter(|_| done.len() == CHUNK).map(|(arrival, _)| *arrival);
            }
        }
        Ok(count)
    }

    /// What is looked for may be rare among very many, so that is not done by the one who writes, for whom others wait.
    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError> {
        let which = Arc::new(Condition::settled(&of));
        let wanted = which.clone();
        let find = move |connection: &mut Connection| {
            let Some(after) = arrival(connection, after.as_deref(), 0)? else { return Ok(None) };
            due(connection, &wanted, after, at_most.min(CHUNK)).map(|due| Some((after, due)))
        };
        let Some((after, due)) = self.readers.read(find).await? else { return Ok(Redriven::default()) };
        let (end, last) = due.last().map_or((after, None), |(arrival, id)| (*arrival, Some(id.clone())));
        let done = due.len() as u64;
        self.write(move |connection| redrive(connection, &due, &asked)).await?;
        let left = self.readers.read(move |connection| count(connection, &which, end)).await?;
        Ok(Redriven { count: done, left, last })
    }

    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError> {
        let id = id.to_owned();
        self.readers.read(move |connection| steps(connection, &id)).await
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        let id = id.to_owned();
        let found = self.readers.read(move |connection| select(connection, GET, [id])).await;
        found.map(|deliveries| deliveries.into_iter().next())
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        self.readers.read(move |connection| list(connection, &filter)).await
    }

    async fn find(
        &self,
        key: DeliveryKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>, StoreError> {
        let sql = match key {
            DeliveryKey::Id => FIND_BY_ID,
            DeliveryKey::Concerns => FIND_BY_CONCERNS,
        };
        let ([from, to], limit) = (range_of(prefix), i64::try_from(limit).unwrap_or(i64::MAX));
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
                let mut rows = statement.query(params![from, to, limit]).map_err(store_error)?;
                let mut found = Vec::new();
                while let Some(row) = rows.next().map_err(store_error)? {
                    found.push((row.get(15).map_err(store_error)?, delivery(row)?.1));
                }
                Ok(found)
            })
            .await
    }

    async fn note_read(&self, id: &str, actor: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        let (id, actor) = (id.to_owned(), actor.to_string());
        let change = move |connection: &Connection| {
            execute(connection, NOTE_READ, params![id, micros(now), actor, micros(now - ONE_READ)])
        };
        self.write(change).await.map(drop)
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
    let Some(before) = arrival(connection, filter.before.as_deref(), i64::MAX)? else {
        return Ok(Vec::new());
    };
    let mut which = Condition::default();
    which.also("arrival < ", before);
    which.among(&filter.of);
    let sql = format!("{LIST} WHERE {} ORDER BY arrival DESC LIMIT {limit}", which.sql());
    select(connection, &sql, params_from_iter(which.values))
}

/// When a delivery arrived among the others; `otherwise` when none is named, nothing when there is none.
fn arrival(connection: &Connection, id: Option<&str>, otherwise: i64) -> Result<Option<i64>, StoreError> {
    let Some(id) = id else { return Ok(Some(otherwise)) };
    connection.query_row(ARRIVAL, [id], |row| row.get(0)).optional().map_err(store_error)
}

/// A condition that is put together; its values are in the order in which it names them.
#[derive(Default)]
struct Condition {
    parts: Vec<String>,
    values: Vec<Value>,
}

impl Condition {
    fn also(&mut self, part: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.parts.push(format!("{part}?{}", self.values.len()));
    }

    fn is(&mut self, part: &str) {
        self.parts.push(part.to_owned());
    }

    fn sql(&self) -> String {
        self.parts.join(" AND ")
    }

    fn among(&mut self, of: &Selection) {
        if let Some(outcome) = of.outcome {
            self.also("outcome = ", outcome.as_str().to_owned());
        }
        for (part, text) in [("why_code = ", &of.reason), ("customer = ", &of.customer)] {
            if let Some(text) = text {
                self.also(part, text.clone());
            }
        }
        let moments = [("received_at >= ", of.received_from), ("received_at < ", of.received_until)];
        for (part, moment) in moments {
            if let Some(moment) = moment {
                self.also(part, micros(moment));
            }
        }
        if !of.event_types.is_empty() {
            let first = self.values.len();
            self.values.extend(of.event_types.iter().cloned().map(Value::from));
            let places: Vec<_> = (first + 1..=self.values.len()).map(|place| format!("?{place}")).collect();
            self.parts.push(format!("event_type IN ({})", places.join(", ")));
        }
    }

    /// In parts, each of which an index gives in the order of arrival.
    fn of(which: Redrive) -> impl Iterator<Item = Self> {
        let mut parts = [Self::default(), Self::default()];
        match which {
            Redrive::Id(id) => parts[0].also("id = ", id),
            Redrive::Failed => parts[0].is("outcome = 'failed'"),
            Redrive::SetAside { code, of: Some(of) } => {
                parts[0].values.extend([Value::from(code), Value::from(of)]);
                parts[0].is(SET_ASIDE_OF);
            }
            Redrive::SetAside { code, of: None } => {
                for (part, outcome) in parts.iter_mut().zip(["outcome = 'parked'", "outcome = 'ignored'"]) {
                    part.is(outcome);
                    part.also("why_code = ", code.clone());
                }
            }
        }
        parts.into_iter().filter(|part| !part.parts.is_empty())
    }

    fn settled(of: &Selection) -> Self {
        let mut this = Self::default();
        this.is("outcome <> 'pending'");
        this.among(of);
        this
    }
}

/// The first ones after an arrival.
fn due(
    connection: &Connection,
    which: &Condition,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, String)>, StoreError> {
    let sql = which.sql();
    let sql = format!(
        "SELECT arrival, id FROM inbox WHERE {sql} AND erased_at IS NULL AND arrival > {after} \
         ORDER BY arrival LIMIT {limit}"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let rows = statement.query_map(params_from_iter(&which.values), |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).map_err(store_error)
}

fn redrive(connection: &Connection, due: &[(i64, String)], asked: &Asked) -> Result<(), StoreError> {
    for (arrival, id) in due {
        execute(connection, REDRIVE, [arrival])?;
        let (actor, why) = (asked.actor.to_string(), asked.why.as_str());
        let kind = StepKind::Redriven.as_str();
        execute(connection, STEP, params![id, micros(asked.at), kind, actor, None::<String>, why])?;
        execute(connection, FORGET_STEPS, params![arrival, KEPT_STEPS])?;
    }
    Ok(())
}

/// How many there are after an arrival, up to [`MOST_COUNTED`].
fn count(connection: &Connection, which: &Condition, after: i64) -> Result<u64, StoreError> {
    let sql = which.sql();
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM inbox WHERE {sql} AND erased_at IS NULL AND arrival > {after} \
         LIMIT {MOST_COUNTED})"
    );
    let counted = connection.query_row(&sql, params_from_iter(&which.values), |row| row.get::<_, i64>(0));
    counted.map(i64::unsigned_abs).map_err(store_error)
}

fn steps(connection: &Connection, id: &str) -> Result<Vec<Step>, StoreError> {
    let mut statement = connection.prepare_cached(STEPS).map_err(store_error)?;
    let mut rows = statement.query([id]).map_err(store_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        let kind: String = row.get(1).map_err(store_error)?;
        found.push(Step {
            at: moment(row.get(0).map_err(store_error)?)?,
            kind: StepKind::parse(&kind)
                .ok_or_else(|| StoreError::Corrupt(format!("{kind:?} is not a step")))?,
            actor: row.get(2).map_err(store_error)?,
            code: row.get(3).map_err(store_error)?,
            detail: row.get(4).map_err(store_error)?,
        });
    }
    Ok(found)
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
        erased_at: micros(14)?,
    };
    Ok((row.get(12).map_err(store_error)?, delivery))
}
