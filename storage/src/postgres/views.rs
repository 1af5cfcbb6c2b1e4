//! Views in `PostgreSQL`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::ports::{Position, StoreError};
use domain::subscription::Standing;
use fail::fail_point;
use projections::view_store::{DirectoryDump, DirectoryRow, SaveError, ViewStore};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{Postgres, number, position};

const CHECKPOINT: &str = "SELECT position FROM projections WHERE name = $1";
const INTRODUCE: &str = "INSERT INTO projections (name, position) VALUES ($1, 0) ON CONFLICT DO NOTHING";
/// Also holds up whoever else would move it, until the rows are saved too.
const MOVE_CHECKPOINT: &str = "UPDATE projections SET position = $3 WHERE name = $1 AND position = $2";
const RESET_CHECKPOINT: &str = "UPDATE projections SET position = 0 WHERE name = $1";
const SAVE_MEMBERS: &str = "INSERT INTO directory_members (member, registered_at, position) \
                            SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bigint[]) \
                            ON CONFLICT (member) DO UPDATE SET registered_at = excluded.registered_at, position = excluded.position";
const SAVE_CUSTOMERS: &str = "INSERT INTO directory_customers (customer, member, position) \
                              SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) \
                              ON CONFLICT (customer) DO UPDATE SET member = excluded.member, position = excluded.position";
const SAVE_SUBSCRIPTIONS: &str = "INSERT INTO directory_subscriptions (subscription, customer, standing, position) \
                                  SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[]) \
                                  ON CONFLICT (subscription) DO UPDATE SET customer = excluded.customer, \
                                  standing = excluded.standing, position = excluded.position";
const EMPTY: [&str; 3] = [
    "DELETE FROM directory_members",
    "DELETE FROM directory_customers",
    "DELETE FROM directory_subscriptions",
];
const CUSTOMERS_OF: &str = "SELECT customer FROM directory_customers WHERE member = $1 ORDER BY customer";
const SUBSCRIPTIONS_OF: &str =
    "SELECT subscription FROM directory_subscriptions WHERE customer = ANY($1) ORDER BY subscription";
const REGISTERED_AT: &str = "SELECT registered_at FROM directory_members WHERE member = $1";
const MEMBERS: &str = "SELECT member, registered_at, position FROM directory_members ORDER BY member";
const CUSTOMERS: &str = "SELECT customer, member, position FROM directory_customers ORDER BY customer";
const SUBSCRIPTIONS: &str =
    "SELECT subscription, standing, position FROM directory_subscriptions ORDER BY subscription";
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// What goes through a whole table may take longer than a request.
const TAKE_TIME: &str = "SET LOCAL statement_timeout = '10min'";
const LONG: Duration = Duration::from_mins(11);

#[async_trait]
impl ViewStore for Postgres {
    async fn checkpoint(&self, projection: &str) -> Result<Position, StoreError> {
        self.connections.call(checkpoint(&self.connections.pool(), projection)).await
    }

    async fn save(
        &self,
        projection: &str,
        from: Position,
        to: Position,
        rows: Vec<DirectoryRow>,
    ) -> Result<(), SaveError> {
        let save = self.save_rows(projection, from, to, Rows::new(rows));
        let saved = self.connections.call(save).await?;
        if saved { Ok(()) } else { Err(SaveError::CheckpointMoved(projection.to_owned())) }
    }

    async fn reset(&self, projection: &str) -> Result<(), StoreError> {
        self.connections.call_for(LONG, self.empty(projection)).await
    }

    async fn customers_of(&self, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let pool = self.connections.pool();
        let ids = sqlx::query_scalar::<_, String>(CUSTOMERS_OF).bind(member.as_str()).fetch_all(&pool);
        Ok(self.connections.call(ids).await?.into_iter().map(CustomerId::from).collect())
    }

    async fn subscriptions_of(&self, customers: &[CustomerId]) -> Result<Vec<SubscriptionId>, StoreError> {
        let customers: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let pool = self.connections.pool();
        let ids = sqlx::query_scalar::<_, String>(SUBSCRIPTIONS_OF).bind(customers).fetch_all(&pool);
        Ok(self.connections.call(ids).await?.into_iter().map(SubscriptionId::from).collect())
    }

    async fn registered_at(&self, member: &MemberId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let pool = self.connections.pool();
        self.connections
            .call(sqlx::query_scalar(REGISTERED_AT).bind(member.as_str()).fetch_optional(&pool))
            .await
    }

    async fn dump(&self, projection: &str) -> Result<DirectoryDump, StoreError> {
        self.connections.call_for(LONG, self.dump_all(projection)).await
    }
}

impl Postgres {
    async fn save_rows(
        &self,
        projection: &str,
        from: Position,
        to: Position,
        rows: Rows,
    ) -> sqlx::Result<bool> {
        let mut transaction = self.connections.pool().begin().await?;
        if from == Position::START {
            sqlx::query(INTRODUCE).bind(projection).execute(&mut *transaction).await?;
        }
        let moved = sqlx::query(MOVE_CHECKPOINT).bind(projection).bind(number(from)).bind(number(to));
        if moved.execute(&mut *transaction).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        fail_point!("views::saving");
        rows.save(&mut transaction).await?;
        fail_point!("postgres::committing");
        transaction.commit().await?;
        Ok(true)
    }

    async fn empty(&self, projection: &str) -> sqlx::Result<()> {
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(TAKE_TIME).execute(&mut *transaction).await?;
        sqlx::query(RESET_CHECKPOINT).bind(projection).execute(&mut *transaction).await?;
        for table in EMPTY {
            sqlx::query(table).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn dump_all(&self, projection: &str) -> sqlx::Result<DirectoryDump> {
        let mut snapshot = self.connections.pool().begin_with(ONE_MOMENT).await?;
        sqlx::query(TAKE_TIME).execute(&mut *snapshot).await?;
        let members: Vec<(String, DateTime<Utc>, i64)> =
            sqlx::query_as(MEMBERS).fetch_all(&mut *snapshot).await?;
        let customers: Vec<(String, String, i64)> =
            sqlx::query_as(CUSTOMERS).fetch_all(&mut *snapshot).await?;
        let subscriptions: Vec<(String, Json<Standing>, i64)> =
            sqlx::query_as(SUBSCRIPTIONS).fetch_all(&mut *snapshot).await?;
        let members = members.into_iter().map(|(member, registered_at, at)| DirectoryRow::Member {
            member: member.into(),
            registered_at,
            position: position(at),
        });
        let customers = customers.into_iter().map(|(customer, member, at)| DirectoryRow::Customer {
            customer: customer.into(),
            member: member.into(),
            position: position(at),
        });
        let subscriptions =
            subscriptions.into_iter().map(|(subscription, standing, at)| DirectoryRow::Subscription {
                subscription: subscription.into(),
                standing: Box::new(standing.0),
                position: position(at),
            });
        Ok(DirectoryDump {
            checkpoint: checkpoint(&mut *snapshot, projection).await?,
            rows: members.chain(customers).chain(subscriptions).collect(),
        })
    }
}

/// The last row of each id, in the order of ids, so that two who save never wait for each other in a circle.
#[derive(Default)]
struct Rows {
    members: BTreeMap<MemberId, (DateTime<Utc>, i64)>,
    customers: BTreeMap<CustomerId, (MemberId, i64)>,
    subscriptions: BTreeMap<SubscriptionId, (Box<Standing>, i64)>,
}

impl Rows {
    fn new(rows: Vec<DirectoryRow>) -> Self {
        let mut sorted = Self::default();
        for row in rows {
            match row {
                DirectoryRow::Member { member, registered_at, position } => {
                    sorted.members.insert(member, (registered_at, number(position)));
                }
                DirectoryRow::Customer { customer, member, position } => {
                    sorted.customers.insert(customer, (member, number(position)));
                }
                DirectoryRow::Subscription { subscription, standing, position } => {
                    sorted.subscriptions.insert(subscription, (standing, number(position)));
                }
            }
        }
        sorted
    }

    async fn save(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if !self.members.is_empty() {
            let ids: Vec<&str> = self.members.keys().map(MemberId::as_str).collect();
            let (registered_at, positions): (Vec<_>, Vec<_>) = self.members.values().copied().unzip();
            let save = sqlx::query(SAVE_MEMBERS).bind(ids).bind(registered_at).bind(positions);
            save.execute(&mut *connection).await?;
        }
        if !self.customers.is_empty() {
            let ids: Vec<&str> = self.customers.keys().map(CustomerId::as_str).collect();
            let (members, positions): (Vec<_>, Vec<_>) =
                self.customers.values().map(|(member, at)| (member.as_str(), *at)).unzip();
            let save = sqlx::query(SAVE_CUSTOMERS).bind(ids).bind(members).bind(positions);
            save.execute(&mut *connection).await?;
        }
        if !self.subscriptions.is_empty() {
            let ids: Vec<&str> = self.subscriptions.keys().map(SubscriptionId::as_str).collect();
            let standings = || self.subscriptions.values().map(|(standing, _)| standing);
            let customers: Vec<&str> = standings().map(|standing| standing.terms.customer.as_str()).collect();
            let json: Vec<Json<&Standing>> = standings().map(|standing| Json(&**standing)).collect();
            let positions: Vec<i64> = self.subscriptions.values().map(|(_, at)| *at).collect();
            let save = sqlx::query(SAVE_SUBSCRIPTIONS).bind(ids).bind(customers).bind(json).bind(positions);
            save.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

async fn checkpoint(executor: impl PgExecutor<'_>, projection: &str) -> sqlx::Result<Position> {
    let known = sqlx::query_scalar(CHECKPOINT).bind(projection).fetch_optional(executor).await?;
    Ok(known.map_or(Position::START, position))
}
