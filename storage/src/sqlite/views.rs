//! Views in `SQLite`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::grant::Given;
use domain::ids::{CustomerId, GrantId, MemberId, SubscriptionId};
use domain::ports::StoreError;
use fail::fail_point;
use projections::parked::{ParkedStream, StreamId};
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, DirectoryRow, IdKind, Promotion, SaveError, ViewState, ViewStore,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::store_error;
use super::{Sqlite, micros, moment, number, position};
use crate::range::range_of;

const CHECKPOINT: &str = "SELECT position, generation, revision FROM projections WHERE name = ?1";
/// One statement, so that the checkpoint and the parked streams are of one moment.
const STATE: &str = "SELECT projections.position, projections.generation, revision, \
                     parked.aggregate_type, parked.aggregate_id, parked.position, parked.why \
                     FROM projections LEFT JOIN parked_streams AS parked USING (generation) WHERE name = ?1";
const NEW_GENERATION: &str = "INSERT INTO generations (projection) VALUES (?1) RETURNING generation";
const BEGIN: &str = "INSERT INTO projections (name, position, generation, revision) VALUES (?1, 0, ?2, 0) \
                     ON CONFLICT (name) DO UPDATE SET position = 0, generation = excluded.generation, \
                     revision = projections.revision + 1 RETURNING revision";
const MOVE_CHECKPOINT: &str = "UPDATE projections SET position = ?4, revision = revision + 1 \
                               WHERE name = ?1 AND generation = ?2 AND revision = ?3 RETURNING revision";
const SAVE_MEMBER: &str = "INSERT INTO directory_members (generation, member, registered_at, position) VALUES (?1, ?2, ?3, ?4) \
                           ON CONFLICT (generation, member) DO UPDATE SET registered_at = excluded.registered_at, \
                           position = excluded.position";
const SAVE_CUSTOMER: &str = "INSERT INTO directory_customers (generation, customer, member, linked, position) \
                             VALUES (?1, ?2, ?3, ?4, ?5) \
                             ON CONFLICT (generation, customer, member) DO UPDATE SET linked = excluded.linked, \
                             position = excluded.position";
const SAVE_SUBSCRIPTION: &str = "INSERT INTO directory_subscriptions (generation, subscription, customer, standing, position) \
                                 VALUES (?1, ?2, ?3, ?4, ?5) \
                                 ON CONFLICT (generation, subscription) DO UPDATE SET customer = excluded.customer, \
                                 standing = excluded.standing, position = excluded.position";
const SAVE_GRANT: &str = "INSERT INTO directory_grants \
                          (generation, grant_id, member, plan, starts_at, ends_at, revoked, position) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                          ON CONFLICT (generation, grant_id) DO UPDATE SET member = excluded.member, \
                          plan = excluded.plan, starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
                          revoked = excluded.revoked, position = excluded.position";
const SAVE_CHECKOUT: &str = "INSERT INTO directory_checkouts (generation, checkout, member, position) VALUES (?1, ?2, ?3, ?4) \
                             ON CONFLICT (generation, checkout) DO UPDATE SET member = excluded.member, \
                             position = excluded.position";
const CURE: &str =
    "DELETE FROM parked_streams WHERE generation = ?1 AND aggregate_type = ?2 AND aggregate_id = ?3";
const PARK: &str = "INSERT INTO parked_streams (generation, aggregate_type, aggregate_id, position, why) \
                    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (generation, aggregate_type, aggregate_id) \
                    DO UPDATE SET position = excluded.position, why = excluded.why";
const ONE: &str = "SELECT position, generation FROM projections WHERE name = ?1";
const REPLACE: &str = "INSERT INTO projections (name, position, generation, revision) VALUES (?1, ?2, ?3, 0) \
                       ON CONFLICT (name) DO UPDATE SET position = excluded.position, \
                       generation = excluded.generation, revision = projections.revision + 1";
const FORGET: &str = "DELETE FROM projections WHERE name = ?1";
const ORPHAN: &str = "SELECT generation FROM generations WHERE generation NOT IN (SELECT generation FROM projections) \
                      ORDER BY generation LIMIT 1";
const SWEEP: [&str; 5] = [
    "DELETE FROM directory_members WHERE generation = ?1 AND member IN \
     (SELECT member FROM directory_members WHERE generation = ?1 ORDER BY member LIMIT ?2)",
    "DELETE FROM directory_customers WHERE generation = ?1 AND (customer, member) IN \
     (SELECT customer, member FROM directory_customers WHERE generation = ?1 ORDER BY customer, member LIMIT ?2)",
    "DELETE FROM directory_subscriptions WHERE generation = ?1 AND subscription IN \
     (SELECT subscription FROM directory_subscriptions WHERE generation = ?1 ORDER BY subscription LIMIT ?2)",
    "DELETE FROM directory_grants WHERE generation = ?1 AND grant_id IN \
     (SELECT grant_id FROM directory_grants WHERE generation = ?1 ORDER BY grant_id LIMIT ?2)",
    "DELETE FROM directory_checkouts WHERE generation = ?1 AND checkout IN \
     (SELECT checkout FROM directory_checkouts WHERE generation = ?1 ORDER BY checkout LIMIT ?2)",
];
const SWEEP_PARKED: &str = "DELETE FROM parked_streams WHERE generation = ?1";
const SWEPT: &str = "DELETE FROM generations WHERE generation = ?1";
/// How many rows of a table are removed at once: whoever else writes waits meanwhile.
const SWEPT_AT_ONCE: i64 = 2_000;
/// Named, the index keeps SQLite from walking all payers in the order of their ids to save itself a look at their rows.
pub(super) const CUSTOMERS_OF: &str = "SELECT customer FROM directory_customers INDEXED BY directory_customers_member \
                            WHERE generation = (SELECT generation FROM projections WHERE name = ?1) AND member = ?2 AND linked \
                            ORDER BY customer";
const CUSTOMERS_EVER_OF: &str = "SELECT customer FROM directory_customers \
                                 WHERE generation = (SELECT generation FROM projections WHERE name = ?1) AND member = ?2 \
                                 ORDER BY customer";
const GRANTS_OF: &str = "SELECT grant_id FROM directory_grants \
                         WHERE generation = (SELECT generation FROM projections WHERE name = ?1) AND member = ?2 \
                         ORDER BY grant_id";
/// By a range, which an index answers whatever somebody types; `LIKE` would see wildcards in it.
const FIND_MEMBERS: &str = "SELECT member, member FROM directory_members \
                            WHERE generation = (SELECT generation FROM projections WHERE name = ?1) \
                            AND member >= ?2 AND member < ?3 ORDER BY member LIMIT ?4";
const FIND_CUSTOMERS: &str = "SELECT customer, member FROM directory_customers \
                              WHERE generation = (SELECT generation FROM projections WHERE name = ?1) \
                              AND customer >= ?2 AND customer < ?3 AND linked ORDER BY customer LIMIT ?4";
const FIND_SUBSCRIPTIONS: &str = "SELECT subscription, member FROM directory_subscriptions AS subscriptions \
                                  JOIN directory_customers AS customers USING (generation, customer) \
                                  WHERE generation = (SELECT generation FROM projections WHERE name = ?1) \
                                  AND subscription >= ?2 AND subscription < ?3 AND linked \
                                  ORDER BY subscription LIMIT ?4";
const FIND_GRANTS: &str = "SELECT grant_id, member FROM directory_grants \
                           WHERE generation = (SELECT generation FROM projections WHERE name = ?1) \
                           AND grant_id >= ?2 AND grant_id < ?3 ORDER BY grant_id LIMIT ?4";
const FIND_CHECKOUTS: &str = "SELECT checkout, member FROM directory_checkouts \
                              WHERE generation = (SELECT generation FROM projections WHERE name = ?1) \
                              AND checkout >= ?2 AND checkout < ?3 ORDER BY checkout LIMIT ?4";
// The plus keeps SQLite from walking all subscriptions in the order of their ids to save itself the sorting of a few.
const SUBSCRIPTIONS_OF: &str = "SELECT subscription FROM directory_subscriptions \
                                WHERE generation = (SELECT generation FROM projections WHERE name = ?1) AND customer IN (SELECT value FROM json_each(?2)) \
                                ORDER BY +subscription";
const REGISTERED_AT: &str = "SELECT registered_at FROM directory_members \
                             WHERE generation = (SELECT generation FROM projections WHERE name = ?1) AND member = ?2";
const MEMBERS: &str =
    "SELECT member, registered_at, position FROM directory_members WHERE generation = ?1 ORDER BY member";
const CUSTOMERS: &str = "SELECT customer, member, linked, position FROM directory_customers WHERE generation = ?1 ORDER BY customer, member";
const SUBSCRIPTIONS: &str = "SELECT subscription, standing, position FROM directory_subscriptions WHERE generation = ?1 ORDER BY subscription";
const GRANTS: &str = "SELECT grant_id, member, plan, starts_at, ends_at, revoked, position FROM directory_grants \
                      WHERE generation = ?1 ORDER BY grant_id";
const CHECKOUTS: &str =
    "SELECT checkout, member, position FROM directory_checkouts WHERE generation = ?1 ORDER BY checkout";

#[async_trait]
impl ViewStore for Sqlite {
    async fn checkpoint(&self, view: &str) -> Result<Checkpoint, StoreError> {
        let view = view.to_owned();
        let read = |row: &Row<'_>| Ok(checkpoint(row.get(0)?, row.get(1)?, row.get(2)?));
        let found = self.readers.read(move |connection| one(connection, CHECKPOINT, [view], read)).await?;
        Ok(found.unwrap_or_default())
    }

    async fn state(&self, view: &str) -> Result<ViewState, StoreError> {
        let view = view.to_owned();
        self.readers.read(move |connection| state(connection, &view)).await
    }

    async fn save(&self, view: &str, from: Checkpoint, change: Change) -> Result<Checkpoint, SaveError> {
        let name = view.to_owned();
        let saved = self.write(move |connection| save_change(connection, &name, from, change)).await?;
        saved.ok_or_else(|| SaveError::CheckpointMoved(view.to_owned()))
    }

    async fn begin(&self, view: &str) -> Result<Checkpoint, StoreError> {
        let view = view.to_owned();
        self.write(move |connection| begin(connection, &view)).await
    }

    async fn promote(&self, built: &str, generation: u64, live: &str) -> Result<Promotion, StoreError> {
        let (built, live) = (built.to_owned(), live.to_owned());
        self.write(move |connection| promote(connection, &built, signed(generation), &live)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        self.write(sweep).await
    }

    async fn customers_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let (view, member) = (view.to_owned(), member.clone());
        let read = move |connection: &mut Connection| ids(connection, CUSTOMERS_OF, [&view, member.as_str()]);
        self.readers.read(read).await
    }

    async fn customers_ever_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let (view, member) = (view.to_owned(), member.clone());
        let read =
            move |connection: &mut Connection| ids(connection, CUSTOMERS_EVER_OF, [&view, member.as_str()]);
        self.readers.read(read).await
    }

    async fn grants_of(&self, view: &str, member: &MemberId) -> Result<Vec<GrantId>, StoreError> {
        let (view, member) = (view.to_owned(), member.clone());
        let read = move |connection: &mut Connection| ids(connection, GRANTS_OF, [&view, member.as_str()]);
        self.readers.read(read).await
    }

    async fn find(
        &self,
        view: &str,
        kind: IdKind,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, MemberId)>, StoreError> {
        let (view, [from, to]) = (view.to_owned(), range_of(prefix));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<_>> {
            let mut statement = connection.prepare_cached(finding(kind))?;
            let found = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?.into()));
            statement.query_map(params![view, from, to, limit], found)?.collect()
        };
        self.readers.read(move |connection| read(connection).map_err(store_error)).await
    }

    async fn subscriptions_of(
        &self,
        view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        let (view, customers) = (view.to_owned(), serde_json::json!(customers).to_string());
        self.readers.read(move |connection| ids(connection, SUBSCRIPTIONS_OF, [view, customers])).await
    }

    async fn registered_at(
        &self,
        view: &str,
        member: &MemberId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let (view, member) = (view.to_owned(), member.clone());
        let read = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(REGISTERED_AT)?;
            statement.query_row([&view, member.as_str()], |row| row.get(0)).optional()
        };
        let found = self.readers.read(move |connection| read(connection).map_err(store_error)).await?;
        found.map(moment).transpose()
    }

    async fn dump(&self, view: &str) -> Result<DirectoryDump, StoreError> {
        let view = view.to_owned();
        self.readers.read(move |connection| dump(connection, &view)).await
    }
}

fn finding(kind: IdKind) -> &'static str {
    match kind {
        IdKind::Member => FIND_MEMBERS,
        IdKind::Customer => FIND_CUSTOMERS,
        IdKind::Subscription => FIND_SUBSCRIPTIONS,
        IdKind::Grant => FIND_GRANTS,
        IdKind::Checkout => FIND_CHECKOUTS,
    }
}

fn state(connection: &Connection, view: &str) -> Result<ViewState, StoreError> {
    let mut statement = connection.prepare_cached(STATE).map_err(store_error)?;
    let mut rows = statement.query([view]).map_err(store_error)?;
    let (mut known, mut parked) = (Checkpoint::default(), Vec::new());
    while let Some(row) = rows.next().map_err(store_error)? {
        let number = |column| row.get(column).map_err(store_error);
        known = checkpoint(number(0)?, number(1)?, number(2)?);
        if let Some(aggregate_type) = row.get(3).map_err(store_error)? {
            let stream = StreamId { aggregate_type, aggregate_id: text(row, 4)? };
            parked.push(ParkedStream { stream, position: position(number(5)?), why: text(row, 6)? });
        }
    }
    Ok(ViewState { checkpoint: known, parked: parked.into_iter().collect() })
}

fn save_change(
    connection: &Connection,
    view: &str,
    from: Checkpoint,
    change: Change,
) -> Result<Option<Checkpoint>, StoreError> {
    let from = match from.generation {
        0 if state(connection, view)?.checkpoint == from => begin(connection, view)?,
        _ => from,
    };
    let generation = signed(from.generation);
    let values = params![view, generation, signed(from.revision), number(change.to)];
    let Some(revision) = one(connection, MOVE_CHECKPOINT, values, |row| row.get(0))? else {
        return Ok(None);
    };
    fail_point!("views::saving");
    for StreamId { aggregate_type, aggregate_id } in &change.cured {
        execute(connection, CURE, params![generation, aggregate_type, aggregate_id])?;
    }
    for ParkedStream { stream, position, why } in &change.parked {
        let StreamId { aggregate_type, aggregate_id } = stream;
        execute(connection, PARK, params![generation, aggregate_type, aggregate_id, number(*position), why])?;
    }
    for row in change.rows {
        save(connection, generation, row)?;
    }
    Ok(Some(checkpoint(number(change.to), generation, revision)))
}

fn begin(connection: &Connection, view: &str) -> Result<Checkpoint, StoreError> {
    let generation = one(connection, NEW_GENERATION, [view], |row| row.get(0))?.unwrap_or_default();
    let revision = one(connection, BEGIN, params![view, generation], |row| row.get(0))?.unwrap_or_default();
    Ok(checkpoint(0, generation, revision))
}

fn promote(
    connection: &Connection,
    built: &str,
    generation: i64,
    live: &str,
) -> Result<Promotion, StoreError> {
    let find =
        |view: &str| one(connection, ONE, [view], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let Some((to, _)) = find(built)?.filter(|(_, found)| *found == generation) else {
        return Ok(Promotion::Gone);
    };
    if find(live)?.is_some_and(|(held, _)| held > to) {
        return Ok(Promotion::Behind);
    }
    execute(connection, FORGET, [built])?;
    execute(connection, REPLACE, params![live, to, generation])?;
    Ok(Promotion::Done(position(to)))
}

fn sweep(connection: &Connection) -> Result<bool, StoreError> {
    let Some(orphan) = one(connection, ORPHAN, [], |row| row.get::<_, i64>(0))? else { return Ok(false) };
    let mut swept = 0;
    for table in SWEEP {
        let sweep = connection.prepare_cached(table);
        swept += sweep.and_then(|mut sweep| sweep.execute([orphan, SWEPT_AT_ONCE])).map_err(store_error)?;
    }
    if swept == 0 {
        execute(connection, SWEEP_PARKED, [orphan])?;
        execute(connection, SWEPT, [orphan])?;
    }
    Ok(true)
}

fn checkpoint(at: i64, generation: i64, revision: i64) -> Checkpoint {
    let (generation, revision) = (generation.unsigned_abs(), revision.unsigned_abs());
    Checkpoint { position: position(at), generation, revision }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn save(connection: &Connection, generation: i64, row: DirectoryRow) -> Result<(), StoreError> {
    match row {
        DirectoryRow::Member { member, registered_at, position } => {
            let values = params![generation, member.as_str(), micros(registered_at), number(position)];
            execute(connection, SAVE_MEMBER, values)
        }
        DirectoryRow::Customer { customer, member, linked, position } => {
            let values = params![generation, customer.as_str(), member.as_str(), linked, number(position)];
            execute(connection, SAVE_CUSTOMER, values)
        }
        DirectoryRow::Subscription { subscription, standing, position } => {
            let json =
                serde_json::to_string(&standing).map_err(|why| StoreError::Corrupt(why.to_string()))?;
            let customer = standing.terms.customer.as_str();
            let values = params![generation, subscription.as_str(), customer, json, number(position)];
            execute(connection, SAVE_SUBSCRIPTION, values)
        }
        DirectoryRow::Grant { grant, given, revoked, position } => {
            let Given { member, plan, from, until } = given;
            let values = params![
                generation,
                grant.as_str(),
                member.as_str(),
                plan.as_str(),
                micros(from),
                until.map(micros),
                revoked,
                number(position)
            ];
            execute(connection, SAVE_GRANT, values)
        }
        DirectoryRow::Checkout { session, member, position } => {
            let values = params![generation, session, member.as_str(), number(position)];
            execute(connection, SAVE_CHECKOUT, values)
        }
    }
}

fn dump(connection: &mut Connection, view: &str) -> Result<DirectoryDump, StoreError> {
    let snapshot = connection.transaction().map_err(store_error)?;
    let ViewState { checkpoint, parked } = state(&snapshot, view)?;
    let generation = signed(checkpoint.generation);
    let mut rows = Vec::new();
    select(&snapshot, MEMBERS, generation, &mut rows, |row| {
        Ok(DirectoryRow::Member {
            member: text(row, 0)?.into(),
            registered_at: moment(row.get(1).map_err(store_error)?)?,
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    select(&snapshot, CUSTOMERS, generation, &mut rows, |row| {
        Ok(DirectoryRow::Customer {
            customer: text(row, 0)?.into(),
            member: text(row, 1)?.into(),
            linked: row.get(2).map_err(store_error)?,
            position: position(row.get(3).map_err(store_error)?),
        })
    })?;
    select(&snapshot, SUBSCRIPTIONS, generation, &mut rows, |row| {
        let subscription = text(row, 0)?;
        let standing = serde_json::from_str(&text(row, 1)?)
            .map_err(|why| StoreError::Corrupt(format!("the standing of {subscription}: {why}")))?;
        Ok(DirectoryRow::Subscription {
            subscription: subscription.into(),
            standing: Box::new(standing),
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    select(&snapshot, GRANTS, generation, &mut rows, |row| {
        let until: Option<i64> = row.get(4).map_err(store_error)?;
        Ok(DirectoryRow::Grant {
            grant: text(row, 0)?.into(),
            given: Given {
                member: text(row, 1)?.into(),
                plan: text(row, 2)?.into(),
                from: moment(row.get(3).map_err(store_error)?)?,
                until: until.map(moment).transpose()?,
            },
            revoked: row.get(5).map_err(store_error)?,
            position: position(row.get(6).map_err(store_error)?),
        })
    })?;
    select(&snapshot, CHECKOUTS, generation, &mut rows, |row| {
        Ok(DirectoryRow::Checkout {
            session: text(row, 0)?,
            member: text(row, 1)?.into(),
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    Ok(DirectoryDump { checkpoint: checkpoint.position, parked, rows })
}

fn text(row: &Row<'_>, column: usize) -> Result<String, StoreError> {
    row.get(column).map_err(store_error)
}

fn select(
    connection: &Connection,
    sql: &str,
    generation: i64,
    found: &mut Vec<DirectoryRow>,
    read: impl Fn(&Row<'_>) -> Result<DirectoryRow, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let mut rows = statement.query([generation]).map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        found.push(read(row)?);
    }
    Ok(())
}

fn ids<T: From<String>>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(values, |row| row.get::<_, String>(0)).map_err(store_error)?;
    rows.map(|row| row.map(T::from).map_err(store_error)).collect()
}

fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let found =
        connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(values, read).optional());
    found.map_err(store_error)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    done.map(|_| ()).map_err(store_error)
}
