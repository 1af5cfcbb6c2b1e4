//! Views in `SQLite`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::ports::{Position, StoreError};
use fail::fail_point;
use projections::view_store::{DirectoryDump, DirectoryRow, SaveError, ViewStore};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::store_error;
use super::{Sqlite, micros, moment, number, position};

const CHECKPOINT: &str = "SELECT position FROM projections WHERE name = ?1";
const SET_CHECKPOINT: &str = "INSERT INTO projections (name, position) VALUES (?1, ?2) \
                              ON CONFLICT (name) DO UPDATE SET position = excluded.position";
const SAVE_MEMBER: &str = "INSERT INTO directory_members (member, registered_at, position) VALUES (?1, ?2, ?3) \
                           ON CONFLICT (member) DO UPDATE SET registered_at = excluded.registered_at, position = excluded.position";
const SAVE_CUSTOMER: &str = "INSERT INTO directory_customers (customer, member, position) VALUES (?1, ?2, ?3) \
                             ON CONFLICT (customer) DO UPDATE SET member = excluded.member, position = excluded.position";
const SAVE_SUBSCRIPTION: &str = "INSERT INTO directory_subscriptions (subscription, customer, standing, position) VALUES (?1, ?2, ?3, ?4) \
                                 ON CONFLICT (subscription) DO UPDATE SET customer = excluded.customer, \
                                 standing = excluded.standing, position = excluded.position";
const EMPTY: &str =
    "DELETE FROM directory_members; DELETE FROM directory_customers; DELETE FROM directory_subscriptions";
const CUSTOMERS_OF: &str = "SELECT customer FROM directory_customers WHERE member = ?1 ORDER BY customer";
const SUBSCRIPTIONS_OF: &str = "SELECT subscription FROM directory_subscriptions \
                                WHERE customer IN (SELECT value FROM json_each(?1)) ORDER BY subscription";
const REGISTERED_AT: &str = "SELECT registered_at FROM directory_members WHERE member = ?1";
const MEMBERS: &str = "SELECT member, registered_at, position FROM directory_members ORDER BY member";
const CUSTOMERS: &str = "SELECT customer, member, position FROM directory_customers ORDER BY customer";
const SUBSCRIPTIONS: &str =
    "SELECT subscription, standing, position FROM directory_subscriptions ORDER BY subscription";

#[async_trait]
impl ViewStore for Sqlite {
    async fn checkpoint(&self, projection: &str) -> Result<Position, StoreError> {
        let projection = projection.to_owned();
        self.readers.read(move |connection| checkpoint(connection, &projection)).await
    }

    async fn save(
        &self,
        projection: &str,
        from: Position,
        to: Position,
        rows: Vec<DirectoryRow>,
    ) -> Result<(), SaveError> {
        let name = projection.to_owned();
        let change = move |connection: &Connection| {
            if checkpoint(connection, &name)? != from {
                return Ok(false);
            }
            for row in rows {
                save(connection, row)?;
            }
            fail_point!("views::saving");
            execute(connection, SET_CHECKPOINT, params![name, number(to)])?;
            Ok(true)
        };
        if self.write(change).await? {
            Ok(())
        } else {
            Err(SaveError::CheckpointMoved(projection.to_owned()))
        }
    }

    async fn reset(&self, projection: &str) -> Result<(), StoreError> {
        let projection = projection.to_owned();
        let change = move |connection: &Connection| {
            connection.execute_batch(EMPTY).map_err(store_error)?;
            execute(connection, SET_CHECKPOINT, params![projection, number(Position::START)])
        };
        self.write(change).await
    }

    async fn customers_of(&self, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let member = member.clone();
        self.readers.read(move |connection| ids(connection, CUSTOMERS_OF, [member.as_str()])).await
    }

    async fn subscriptions_of(&self, customers: &[CustomerId]) -> Result<Vec<SubscriptionId>, StoreError> {
        let customers = serde_json::json!(customers).to_string();
        self.readers.read(move |connection| ids(connection, SUBSCRIPTIONS_OF, [customers])).await
    }

    async fn registered_at(&self, member: &MemberId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let member = member.clone();
        let read = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(REGISTERED_AT)?;
            statement.query_row([member.as_str()], |row| row.get(0)).optional()
        };
        let found = self.readers.read(move |connection| read(connection).map_err(store_error)).await?;
        found.map(moment).transpose()
    }

    async fn dump(&self, projection: &str) -> Result<DirectoryDump, StoreError> {
        let projection = projection.to_owned();
        self.readers.read(move |connection| dump(connection, &projection)).await
    }
}

fn checkpoint(connection: &Connection, projection: &str) -> Result<Position, StoreError> {
    let mut statement = connection.prepare_cached(CHECKPOINT).map_err(store_error)?;
    let known = statement.query_row([projection], |row| row.get(0)).optional().map_err(store_error)?;
    Ok(known.map_or(Position::START, position))
}

fn save(connection: &Connection, row: DirectoryRow) -> Result<(), StoreError> {
    match row {
        DirectoryRow::Member { member, registered_at, position } => {
            let values = params![member.as_str(), micros(registered_at), number(position)];
            execute(connection, SAVE_MEMBER, values)
        }
        DirectoryRow::Customer { customer, member, position } => {
            let values = params![customer.as_str(), member.as_str(), number(position)];
            execute(connection, SAVE_CUSTOMER, values)
        }
        DirectoryRow::Subscription { subscription, standing, position } => {
            let json =
                serde_json::to_string(&standing).map_err(|why| StoreError::Corrupt(why.to_string()))?;
            let customer = standing.terms.customer.as_str();
            let values = params![subscription.as_str(), customer, json, number(position)];
            execute(connection, SAVE_SUBSCRIPTION, values)
        }
    }
}

fn dump(connection: &mut Connection, projection: &str) -> Result<DirectoryDump, StoreError> {
    let snapshot = connection.transaction().map_err(store_error)?;
    let mut rows = Vec::new();
    select(&snapshot, MEMBERS, &mut rows, |row| {
        Ok(DirectoryRow::Member {
            member: text(row, 0)?.into(),
            registered_at: moment(row.get(1).map_err(store_error)?)?,
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    select(&snapshot, CUSTOMERS, &mut rows, |row| {
        Ok(DirectoryRow::Customer {
            customer: text(row, 0)?.into(),
            member: text(row, 1)?.into(),
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    select(&snapshot, SUBSCRIPTIONS, &mut rows, |row| {
        let subscription = text(row, 0)?;
        let standing = serde_json::from_str(&text(row, 1)?)
            .map_err(|why| StoreError::Corrupt(format!("the standing of {subscription}: {why}")))?;
        Ok(DirectoryRow::Subscription {
            subscription: subscription.into(),
            standing: Box::new(standing),
            position: position(row.get(2).map_err(store_error)?),
        })
    })?;
    Ok(DirectoryDump { checkpoint: checkpoint(&snapshot, projection)?, rows })
}

fn text(row: &Row<'_>, column: usize) -> Result<String, StoreError> {
    row.get(column).map_err(store_error)
}

fn select(
    connection: &Connection,
    sql: &str,
    found: &mut Vec<DirectoryRow>,
    read: impl Fn(&Row<'_>) -> Result<DirectoryRow, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
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

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    done.map(|_| ()).map_err(store_error)
}
