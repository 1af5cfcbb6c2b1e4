//! The inbox in `PostgreSQL`. Several processes may claim; each step is one statement.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId};
use domain::metadata::Actor;
use domain::ports::StoreError;
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};
use webhook_ingest::inbox::{
    Asked, Backlog, Delivery, DeliveryFilter, DeliveryKey, Inbox, KEPT_STEPS, MOST_COUNTED, MOST_POSTPONED,
    NewDelivery, ONE_READ, Origin, Outcome, Redrive, Redriven, Selection, Step, StepKind, Stored, Why,
};

use super::error::store_error;
use super::{Postgres, limit};
use crate::range::range_of;

macro_rules! columns {
    () => {
        columns!("body")
    };
    ($body:literal) => {
        concat!(
            "inbox.id, event_type, created_at, customer, ",
            $body,
            ", received_at, times_received, outcome, why_code, why_detail, \
             attempts, settled_at, inbox.arrival, origin, erased_at"
        )
    };
}

const STORE: &str = "INSERT INTO inbox (id, event_type, created_at, customer, body, received_at, concerns, origin) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT (id) DO UPDATE SET times_received = inbox.times_received + 1 \
                     RETURNING times_received = 1 AS new, inbox.erased_at IS NOT NULL OR body = $5 AS same_body";
const CLAIM: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT arrival FROM inbox WHERE outcome = 'pending' \
     AND (due_at IS NULL OR due_at <= $1 OR due_at > $4) \
     AND (claimed_until IS NULL OR claimed_until <= $1 OR claimed_until > $5) \
     ORDER BY redriven, arrival LIMIT $3 FOR UPDATE SKIP LOCKED) \
     UPDATE inbox SET claimed_until = $2, attempts = attempts + 1 FROM due WHERE inbox.arrival = due.arrival RETURNING ",
    columns!()
);
/// What speaks of somebody who was erased is not kept any longer.
const SETTLE: &str = "WITH erased AS (SELECT arrival FROM inbox WHERE id = $1 AND (erased_at IS NOT NULL OR $3 = 'erased_member' \
                      OR customer IN (SELECT id FROM erased_ids) OR concerns IN (SELECT id FROM erased_ids))), \
                      settled AS (UPDATE inbox SET outcome = $2, why_code = $3, settled_at = $5, \
                      due_at = NULL, claimed_until = NULL, \
                      why_detail = CASE WHEN $3 <> 'erased_member' AND EXISTS (SELECT 1 FROM erased) THEN '' ELSE $4 END, \
                      body = CASE WHEN EXISTS (SELECT 1 FROM erased) THEN '' ELSE body END, \
                      erased_at = CASE WHEN EXISTS (SELECT 1 FROM erased) THEN coalesce(erased_at, $5) END \
                      WHERE id = $1 RETURNING arrival), \
                      concerned AS (INSERT INTO erased_ids (id, member) SELECT concerns, erased_ids.member FROM inbox \
                      JOIN erased_ids ON erased_ids.id = customer WHERE inbox.id = $1 AND concerns IS NOT NULL \
                      ON CONFLICT (id) DO NOTHING) \
                      INSERT INTO delivery_steps (arrival, at, step, code, detail) \
                      SELECT arrival, $5, $2, $3, CASE WHEN $3 <> 'erased_member' AND EXISTS (SELECT 1 FROM erased) THEN NULL ELSE $4 END FROM settled";
const FORGET_PAYER: &str = "INSERT INTO erased_ids (id, member) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
/// What is told of her at this moment is either there to be deleted or finds her marked.
const WAIT_FOR_PAYERS: &str = "LOCK TABLE payers IN SHARE ROW EXCLUSIVE MODE";
const FORGET_NAME: &str = "DELETE FROM payers WHERE customer = $1";
/// What was carried out. What waits is emptied when it is settled, and what may count once a catalogue sells it is kept.
const FORGET_BODIES: &str = "UPDATE inbox SET body = '', erased_at = $2, \
                             why_detail = CASE WHEN why_code IS NULL THEN NULL ELSE '' END \
                             WHERE customer = $1 AND erased_at IS NULL AND why_code IS DISTINCT FROM 'unmapped_product' \
                             AND outcome IN ('applied', 'no_change', 'stale', 'ignored')";
const EMPTY_STEPS: &str = "UPDATE delivery_steps SET detail = NULL WHERE detail IS NOT NULL \
                            AND arrival IN (SELECT arrival FROM inbox WHERE customer = $1 AND erased_at IS NOT NULL)";
const KEEP_PAYER: &str = "WITH living AS (SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE member = $3)), \
                          kept AS (DELETE FROM erased_ids WHERE EXISTS (SELECT 1 FROM living) AND (id = $1 \
                          OR id IN (SELECT concerns FROM inbox WHERE customer = $1 AND concerns IS NOT NULL))), \
                          solved AS (UPDATE inbox SET outcome = 'applied', why_code = 'applied', \
                          why_detail = 'its payer is linked', settled_at = $2 \
                          WHERE customer = $1 AND outcome = 'parked' AND why_code = 'erased_member' \
                          AND EXISTS (SELECT 1 FROM living) RETURNING arrival) \
                          INSERT INTO delivery_steps (arrival, at, step, code, detail) \
                          SELECT arrival, $2, 'applied', 'applied', 'its payer is linked' FROM solved";
const POSTPONE: &str = "WITH postponed AS (UPDATE inbox SET why_code = $2, why_detail = $3, due_at = $4, \
                        claimed_until = NULL WHERE id = $1 AND outcome = 'pending' RETURNING arrival) \
                        INSERT INTO delivery_steps (arrival, at, step, code, detail) \
                        SELECT arrival, $5, 'postponed', $2, $3 FROM postponed";
const RELEASE: &str = "UPDATE inbox SET claimed_until = NULL, attempts = greatest(attempts - 1, 0) \
                       WHERE id = ANY($1) AND outcome = 'pending' AND claimed_until IS NOT NULL";
/// So many at once, since all of them may take longer than a statement may.
const CHUNK: usize = 1_000;
const REDRIVEN: &str = "), done AS (UPDATE inbox SET outcome = 'pending', redriven = true, why_code = NULL, \
                        why_detail = NULL, attempts = 0, settled_at = NULL, due_at = NULL FROM due \
                        WHERE inbox.arrival = due.arrival RETURNING inbox.arrival, inbox.id), \
                        told AS (INSERT INTO delivery_steps (arrival, at, step, actor, detail) \
                        SELECT arrival, ";
/// What people asked for is kept apart from what the service did by itself, or starts would push it out.
const FORGET_STEPS: &str = "DELETE FROM delivery_steps USING (SELECT number AS old FROM (SELECT number, \
                            row_number() OVER (PARTITION BY arrival, coalesce(actor, 'system') = 'system', step = 'read' \
                            ORDER BY number DESC) AS place FROM delivery_steps WHERE arrival = ANY($1)) AS placed \
                            WHERE place > $2) AS forgotten WHERE number = old";
const STEPS: &str = "SELECT at, step, actor, code, detail FROM delivery_steps \
                     WHERE arrival = (SELECT arrival FROM inbox WHERE id = $1) ORDER BY number";
const GET: &str = concat!("SELECT ", columns!(), " FROM inbox WHERE id = $1");
/// Bodies are large, and whoever looks at many deliveries looks at no body.
const LIST: &str = concat!("SELECT ", columns!("''::bytea AS body"), " FROM inbox WHERE arrival < ");
const FIND_BY_ID: &str = concat!(
    "SELECT ",
    columns!("''::bytea AS body"),
    ", inbox.id AS key FROM inbox WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3"
);
const FIND_BY_CONCERNS: &str = concat!(
    "SELECT ",
    columns!("''::bytea AS body"),
    ", concerns AS key FROM inbox WHERE arrival IN (SELECT max(arrival) FROM inbox WHERE concerns >= $1 AND concerns < $2 \
     GROUP BY concerns ORDER BY concerns LIMIT $3) ORDER BY concerns"
);
const NOTE_READ: &str = "INSERT INTO delivery_steps (arrival, at, step, actor) SELECT arrival, $2, 'read', $3 FROM inbox \
                         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM delivery_steps AS read \
                         WHERE read.arrival = inbox.arrival AND step = 'read' AND actor = $3 AND at > $4 AND at <= $2)";
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

    async fn forget_payer(
        &self,
        payer: &CustomerId,
        erased: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.connections.call(self.forget_payer_in(payer.as_str(), erased.as_str(), now)).await
    }

    async fn keep_payer(
        &self,
        payer: &CustomerId,
        member: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let keep = sqlx::query(KEEP_PAYER).bind(payer.as_str()).bind(now).bind(member.as_str());
        self.connections.call(keep.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let postpone = sqlx::query(POSTPONE).bind(id).bind(why.code).bind(why.detail).bind(due).bind(now);
        self.connections.call(postpone.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        let release = sqlx::query(RELEASE).bind(ids);
        self.connections.call(release.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError> {
        let (mut count, mut after) = (0, 0);
        loop {
            let done = self.redrive_after(after, CHUNK, &asked, |sql| of_redrive(sql, &which)).await?;
            count += done.len();
            match done.last() {
                Some((last, _)) if done.len() == CHUNK => after = *last,
                _ => return Ok(count as u64),
            }
        }
    }

    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError> {
        let Some(after) = self.arrival(after, 0).await? else { return Ok(Redriven::default()) };
        let done = self.redrive_after(after, at_most.min(CHUNK), &asked, |sql| settled(sql, &of)).await?;
        let mut sql = QueryBuilder::new(
            "SELECT count(*) FROM (SELECT 1 FROM inbox WHERE erased_at IS NULL AND arrival > ",
        );
        sql.push_bind(done.last().map_or(after, |(last, _)| *last));
        settled(&mut sql, &of);
        sql.push(" LIMIT ").push_bind(limit(MOST_COUNTED)).push(") AS counted");
        let left: i64 = {
            let pool = self.connections.pool();
            self.connections.call(sql.build_query_scalar().fetch_one(&pool)).await?
        };
        let last = done.last().map(|(_, id)| id.clone());
        Ok(Redriven { count: done.len() as u64, left: left.unsigned_abs(), last })
    }

    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError> {
        let pool = self.connections.pool();
        let rows = self.connections.call(sqlx::query(STEPS).bind(id).fetch_all(&pool)).await?;
        rows.iter().map(step).collect()
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        let pool = self.connections.pool();
        let row = self.connections.call(sqlx::query(GET).bind(id).fetch_optional(&pool)).await?;
        row.as_ref().map(delivery).transpose()
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let Some(before) = self.arrival(filter.before, i64::MAX).await? else { return Ok(Vec::new()) };
        let mut sql = QueryBuilder::new(LIST);
        sql.push_bind(before);
        among(&mut sql, &filter.of);
        sql.push(" ORDER BY arrival DESC LIMIT ").push_bind(limit(filter.limit));
        let pool = self.connections.pool();
        let rows = self.connections.call(sql.build().fetch_all(&pool)).await?;
        rows.iter().map(delivery).collect()
    }

    async fn find(
        &self,
        key: DeliveryKey,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<(String, Delivery)>, StoreError> {
        let sql = match key {
            DeliveryKey::Id => FIND_BY_ID,
            DeliveryKey::Concerns => FIND_BY_CONCERNS,
        };
        let [from, to] = range_of(prefix);
        let find = sqlx::query(sql).bind(from).bind(to).bind(limit(at_most));
        let rows = self.connections.call(find.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(|row| Ok((row.try_get("key").map_err(store_error)?, delivery(row)?))).collect()
    }

    async fn note_read(&self, id: &str, actor: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        let note = sqlx::query(NOTE_READ).bind(id).bind(now).bind(actor.to_string()).bind(now - ONE_READ);
        self.connections.call(note.execute(&self.connections.pool())).await.map(drop)
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

impl Postgres {
    async fn forget_payer_in(&self, payer: &str, erased: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(FORGET_PAYER).bind(payer).bind(erased).execute(&mut *transaction).await?;
        sqlx::query(FORGET_BODIES).bind(payer).bind(now).execute(&mut *transaction).await?;
        sqlx::query(EMPTY_STEPS).bind(payer).execute(&mut *transaction).await?;
        sqlx::query(WAIT_FOR_PAYERS).execute(&mut *transaction).await?;
        sqlx::query(FORGET_NAME).bind(payer).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// When a delivery arrived among the others; `otherwise` when none is named, nothing when there is none.
    async fn arrival(&self, id: Option<String>, otherwise: i64) -> Result<Option<i64>, StoreError> {
        let Some(id) = id else { return Ok(Some(otherwise)) };
        let pool = self.connections.pool();
        self.connections.call(sqlx::query_scalar(ARRIVAL).bind(id).fetch_optional(&pool)).await
    }

    /// Those that were redriven: the first ones after an arrival of those that `which` leaves.
    async fn redrive_after(
        &self,
        after: i64,
        at_most: usize,
        asked: &Asked,
        which: impl Fn(&mut QueryBuilder<'_, sqlx::Postgres>) + Send,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let mut sql = QueryBuilder::new(
            "WITH due AS (SELECT arrival FROM inbox WHERE erased_at IS NULL AND arrival > ",
        );
        sql.push_bind(after);
        which(&mut sql);
        sql.push(" ORDER BY arrival LIMIT ").push_bind(limit(at_most)).push(REDRIVEN);
        sql.push_bind(asked.at).push(", 'redriven', ").push_bind(asked.actor.to_string());
        sql.push(", ")
            .push_bind(&asked.why)
            .push(" FROM done) SELECT arrival, id FROM done ORDER BY arrival");
        let pool = self.connections.pool();
        let done: Vec<(i64, String)> = self.connections.call(sql.build_query_as().fetch_all(&pool)).await?;
        let arrivals: Vec<i64> = done.iter().map(|(arrival, _)| *arrival).collect();
        let forget = sqlx::query(FORGET_STEPS).bind(&arrivals).bind(i64::from(KEPT_STEPS));
        self.connections.call(forget.execute(&pool)).await?;
        Ok(done)
    }
}

fn of_redrive(sql: &mut QueryBuilder<'_, sqlx::Postgres>, which: &Redrive) {
    match which {
        Redrive::Id(id) => drop(sql.push(" AND id = ").push_bind(id.clone())),
        Redrive::Failed => drop(sql.push(" AND outcome = 'failed'")),
        Redrive::SetAside { code, of } => {
            sql.push(" AND outcome IN ('parked', 'ignored') AND why_code = ").push_bind(code.clone());
            if let Some(of) = of {
                sql.push(" AND (customer = ").push_bind(of.clone());
                sql.push(" OR concerns = ").push_bind(of.clone()).push(")");
            }
        }
    }
}

fn settled(sql: &mut QueryBuilder<'_, sqlx::Postgres>, of: &Selection) {
    sql.push(" AND outcome <> 'pending'");
    among(sql, of);
}

fn among(sql: &mut QueryBuilder<'_, sqlx::Postgres>, of: &Selection) {
    if let Some(outcome) = of.outcome {
        sql.push(" AND outcome = ").push_bind(outcome.as_str());
    }
    for (part, text) in [(" AND why_code = ", &of.reason), (" AND customer = ", &of.customer)] {
        if let Some(text) = text {
            sql.push(part).push_bind(text.clone());
        }
    }
    let moments = [(" AND received_at >= ", of.received_from), (" AND received_at < ", of.received_until)];
    for (part, moment) in moments {
        if let Some(moment) = moment {
            sql.push(part).push_bind(moment);
        }
    }
    if !of.event_types.is_empty() {
        sql.push(" AND event_type = ANY(").push_bind(of.event_types.clone()).push(")");
    }
}

fn step(row: &PgRow) -> Result<Step, StoreError> {
    let kind: String = row.try_get("step").map_err(store_error)?;
    Ok(Step {
        at: row.try_get("at").map_err(store_error)?,
        kind: StepKind::parse(&kind).ok_or_else(|| StoreError::Corrupt(format!("{kind:?} is not a step")))?,
        actor: row.try_get("actor").map_err(store_error)?,
        code: row.try_get("code").map_err(store_error)?,
        detail: row.try_get("detail").map_err(store_error)?,
    })
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
        erased_at: row.try_get("erased_at").map_err(store_error)?,
    })
}
