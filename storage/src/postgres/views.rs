//! Views in `PostgreSQL`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::grant::Given;
use domain::ids::{CustomerId, GrantId, MemberId, SubscriptionId};
use domain::ports::StoreError;
use domain::subscription::Standing;
use fail::fail_point;
use projections::parked::{ParkedStream, StreamId};
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, DirectoryRow, IdKind, Promotion, SaveError, ViewState, ViewStore,
};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{Postgres, limit, number, position};
use crate::range::range_of;

const CHECKPOINT: &str = "SELECT position, generation, revision FROM projections WHERE name = $1";
/// One statement, so that the checkpoint and the parked streams are of one moment.
const STATE: &str = "SELECT projections.position, projections.generation, revision, \
                     parked.aggregate_type, parked.aggregate_id, parked.position, parked.why \
                     FROM projections LEFT JOIN parked_streams AS parked USING (generation) WHERE name = $1";
const NEW_GENERATION: &str = "INSERT INTO generations (projection) VALUES ($1) RETURNING generation";
const INTRODUCE: &str = "INSERT INTO projections (name, position, generation, revision) VALUES ($1, 0, $2, 0) \
                         ON CONFLICT DO NOTHING";
const BEGIN: &str = "INSERT INTO projections (name, position, generation, revision) VALUES ($1, 0, $2, 0) \
                     ON CONFLICT (name) DO UPDATE SET position = 0, generation = excluded.generation, \
                     revision = projections.revision + 1 RETURNING revision";
/// Also holds up whoever else would move it, until the rows are saved too.
const MOVE_CHECKPOINT: &str = "UPDATE projections SET position = $4, revision = revision + 1 \
                               WHERE name = $1 AND generation = $2 AND revision = $3 RETURNING revision";
const SAVE_MEMBERS: &str = "INSERT INTO directory_members (generation, member, registered_at, position) \
                            SELECT $1, * FROM unnest($2::text[], $3::timestamptz[], $4::bigint[]) \
                            ON CONFLICT (generation, member) DO UPDATE SET registered_at = excluded.registered_at, \
                            position = excluded.position";
const SAVE_CUSTOMERS: &str = "INSERT INTO directory_customers (generation, customer, member, linked, position) \
                              SELECT $1, * FROM unnest($2::text[], $3::text[], $4::boolean[], $5::bigint[]) \
                              ON CONFLICT (generation, customer, member) DO UPDATE SET linked = excluded.linked, \
                              position = excluded.position";
const SAVE_SUBSCRIPTIONS: &str = "INSERT INTO directory_subscriptions (generation, subscription, customer, standing, position) \
                                  SELECT $1, * FROM unnest($2::text[], $3::text[], $4::jsonb[], $5::bigint[]) \
                                  ON CONFLICT (generation, subscription) DO UPDATE SET customer = excluded.customer, \
                                  standing = excluded.standing, position = excluded.position";
const SAVE_GRANTS: &str = "INSERT INTO directory_grants \
                           (generation, grant_id, member, plan, starts_at, ends_at, revoked, position) \
                           SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], \
                           $6::timestamptz[], $7::boolean[], $8::bigint[]) \
                           ON CONFLICT (generation, grant_id) DO UPDATE SET member = excluded.member, \
                           plan = excluded.plan, starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
                           revoked = excluded.revoked, position = excluded.position";
const SAVE_CHECKOUTS: &str = "INSERT INTO directory_checkouts (generation, checkout, member, position) \
                              SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[]) \
                              ON CONFLICT (generation, checkout) DO UPDATE SET member = excluded.member, \
                              position = excluded.position";
const CURE: &str =
    "DELETE FROM parked_streams WHERE generation = $1 AND aggregate_type = $2 AND aggregate_id = $3";
const PARK: &str = "INSERT INTO parked_streams (generation, aggregate_type, aggregate_id, position, why) \
                    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (generation, aggregate_type, aggregate_id) \
                    DO UPDATE SET position = excluded.position, why = excluded.why";
/// In one order, so that two who promote never wait for each other in a circle.
const BOTH: &str =
    "SELECT name, position, generation FROM projections WHERE name IN ($1, $2) ORDER BY name FOR UPDATE";
const REPLACE: &str = "INSERT INTO projections (name, position, generation, revision) VALUES ($1, $2, $3, 0) \
                       ON CONFLICT (name) DO UPDATE SET position = excluded.position, \
                       generation = excluded.generation, revision = projections.revision + 1";
const FORGET: &str = "DELETE FROM projections WHERE name = $1";
const ORPHAN: &str = "SELECT generation FROM generations WHERE generation NOT IN (SELECT generation FROM projections) \
                      ORDER BY generation LIMIT 1";
const SWEEP: [&str; 5] = [
    "DELETE FROM directory_members WHERE generation = $1 AND member IN \
     (SELECT member FROM directory_members WHERE generation = $1 ORDER BY member LIMIT $2)",
    "DELETE FROM directory_customers WHERE generation = $1 AND (customer, member) IN \
     (SELECT customer, member FROM directory_customers WHERE generation = $1 ORDER BY customer, member LIMIT $2)",
    "DELETE FROM directory_subscriptions WHERE generation = $1 AND subscription IN \
     (SELECT subscription FROM directory_subscriptions WHERE generation = $1 ORDER BY subscription LIMIT $2)",
    "DELETE FROM directory_grants WHERE generation = $1 AND grant_id IN \
     (SELECT grant_id FROM directory_grants WHERE generation = $1 ORDER BY grant_id LIMIT $2)",
    "DELETE FROM directory_checkouts WHERE generation = $1 AND checkout IN \
     (SELECT checkout FROM directory_checkouts WHERE generation = $1 ORDER BY checkout LIMIT $2)",
];
const SWEEP_PARKED: &str = "DELETE FROM parked_streams WHERE generation = $1";
const SWEPT: &str = "DELETE FROM generations WHERE generation = $1";
/// How many rows of a table are removed at once: more would hold up others.
const SWEPT_AT_ONCE: i64 = 5_000;
const CUSTOMERS_OF: &str = "SELECT customer FROM directory_customers \
                            WHERE generation = (SELECT generation FROM projections WHERE name = $1) AND member = $2 AND linked \
                            ORDER BY customer";
const CUSTOMERS_EVER_OF: &str = "SELECT customer FROM directory_customers \
                                 WHERE generation = (SELECT generation FROM projections WHERE name = $1) AND member = $2 \
                                 ORDER BY customer";
const GRANTS_OF: &str = "SELECT grant_id FROM directory_grants \
                         WHERE generation = (SELECT generation FROM projections WHERE name = $1) AND member = $2 \
                         ORDER BY grant_id";
/// By a range, which an index answers whatever somebody types; `LIKE` would see wildcards in it.
const FIND_MEMBERS: &str = "SELECT member, member FROM directory_members \
                            WHERE generation = (SELECT generation FROM projections WHERE name = $1) \
                            AND member >= $2 AND member < $3 ORDER BY member LIMIT $4";
const FIND_CUSTOMERS: &str = "SELECT customer, member FROM directory_customers \
                              WHERE generation = (SELECT generation FROM projections WHERE name = $1) \
                              AND customer >= $2 AND customer < $3 AND linked ORDER BY customer LIMIT $4";
const FIND_SUBSCRIPTIONS: &str = "SELECT subscription, member FROM directory_subscriptions AS subscriptions \
                                  JOIN directory_customers AS customers USING (generation, customer) \
                                  WHERE generation = (SELECT generation FROM projections WHERE name = $1) \
                                  AND subscription >= $2 AND subscription < $3 AND linked \
                                  ORDER BY subscription LIMIT $4";
const FIND_GRANTS: &str = "SELECT grant_id, member FROM directory_grants \
                           WHERE generation = (SELECT generation FROM projections WHERE name = $1) \
                           AND grant_id >= $2 AND grant_id < $3 ORDER BY grant_id LIMIT $4";
const FIND_CHECKOUTS: &str = "SELECT checkout, member FROM directory_checkouts \
                              WHERE generation = (SELECT generation FROM projections WHERE name = $1) \
                              AND checkout >= $2 AND checkout < $3 ORDER BY checkout LIMIT $4";
const SUBSCRIPTIONS_OF: &str = "SELECT subscription FROM directory_subscriptions \
                                WHERE generation = (SELECT generation FROM projections WHERE name = $1) AND customer = ANY($2) \
                                ORDER BY subscription";
const REGISTERED_AT: &str = "SELECT registered_at FROM directory_members \
                             WHERE generation = (SELECT generation FROM projections WHERE name = $1) AND member = $2";
const MEMBERS: &str =
    "SELECT member, registered_at, position FROM directory_members WHERE generation = $1 ORDER BY member";
const CUSTOMERS: &str = "SELECT customer, member, linked, position FROM directory_customers WHERE generation = $1 ORDER BY customer, member";
const SUBSCRIPTIONS: &str = "SELECT subscription, standing, position FROM directory_subscriptions WHERE generation = $1 ORDER BY subscription";
const GRANTS: &str = "SELECT grant_id, member, plan, starts_at, ends_at, revoked, position FROM directory_grants \
                      WHERE generation = $1 ORDER BY grant_id";
const CHECKOUTS: &str =
    "SELECT checkout, member, position FROM directory_checkouts WHERE generation = $1 ORDER BY checkout";
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// What goes through a whole table may take longer than a request.
const TAKE_TIME: &str = "SET LOCAL statement_timeout = '10min'";
const LONG: Duration = Duration::from_mins(11);

#[async_trait]
impl ViewStore for Postgres {
    async fn checkpoint(&self, view: &str) -> Result<Checkpoint, StoreError> {
        let pool = self.connections.pool();
        let found = sqlx::query_as(CHECKPOINT).bind(view).fetch_optional(&pool);
        let found: Option<(i64, i64, i64)> = self.connections.call(found).await?;
        Ok(found.map(|(at, generation, revision)| checkpoint(at, generation, revision)).unwrap_or_default())
    }

    async fn state(&self, view: &str) -> Result<ViewState, StoreError> {
        self.connections.call(state(&self.connections.pool(), view)).await
    }

    async fn save(&self, view: &str, from: Checkpoint, change: Change) -> Result<Checkpoint, SaveError> {
        let saved = self.connections.call(self.save_change(view, from, change)).await?;
        saved.ok_or_else(|| SaveError::CheckpointMoved(view.to_owned()))
    }

    async fn begin(&self, view: &str) -> Result<Checkpoint, StoreError> {
        self.connections.call(self.begin_view(view)).await
    }

    async fn promote(&self, built: &str, generation: u64, live: &str) -> Result<Promotion, StoreError> {
        self.connections.call(self.replace_view(built, signed(generation), live)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        self.connections.call(self.sweep_some()).await
    }

    async fn customers_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let query = sqlx::query_scalar::<_, String>(CUSTOMERS_OF).bind(view).bind(member.as_str());
        let ids = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        Ok(ids.into_iter().map(CustomerId::from).collect())
    }

    async fn customers_ever_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let query = sqlx::query_scalar::<_, String>(CUSTOMERS_EVER_OF).bind(view).bind(member.as_str());
        let ids = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        Ok(ids.into_iter().map(CustomerId::from).collect())
    }

    async fn grants_of(&self, view: &str, member: &MemberId) -> Result<Vec<GrantId>, StoreError> {
        let query = sqlx::query_scalar::<_, String>(GRANTS_OF).bind(view).bind(member.as_str());
        let ids = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        Ok(ids.into_iter().map(GrantId::from).collect())
    }

    async fn find(
        &self,
        view: &str,
        kind: IdKind,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<(String, MemberId)>, StoreError> {
        let [from, to] = range_of(prefix);
        let query = sqlx::query_as::<_, (String, String)>(finding(kind)).bind(view).bind(from).bind(to);
        let query = query.bind(limit(at_most));
        let found = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        Ok(found.into_iter().map(|(id, member)| (id, member.into())).collect())
    }

    async fn subscriptions_of(
        &self,
        view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        let customers: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let query = sqlx::query_scalar::<_, String>(SUBSCRIPTIONS_OF).bind(view).bind(customers);
        let ids = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        Ok(ids.into_iter().map(SubscriptionId::from).collect())
    }

    async fn registered_at(
        &self,
        view: &str,
        member: &MemberId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(REGISTERED_AT).bind(view).bind(member.as_str());
        self.connections.call(query.fetch_optional(&self.connections.pool())).await
    }

    async fn dump(&self, view: &str) -> Result<DirectoryDump, StoreError> {
        self.connections.call_for(LONG, self.dump_all(view)).await
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

impl Postgres {
    async fn save_change(
        &self,
        view: &str,
        from: Checkpoint,
        change: Change,
    ) -> sqlx::Result<Option<Checkpoint>> {
        let mut transaction = self.connections.pool().begin().await?;
        let generation = match from.generation {
            0 => {
                let generation = new_generation(&mut transaction, view).await?;
                let introduce = sqlx::query(INTRODUCE).bind(view).bind(generation);
                if introduce.execute(&mut *transaction).await?.rows_affected() == 0 {
                    transaction.rollback().await?;
                    return Ok(None);
                }
                generation
            }
            known => signed(known),
        };
        let moved = sqlx::query_scalar(MOVE_CHECKPOINT)
            .bind(view)
            .bind(generation)
            .bind(signed(from.revision))
            .bind(number(change.to));
        let Some(revision) = moved.fetch_optional(&mut *transaction).await? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        for StreamId { aggregate_type, aggregate_id } in &change.cured {
            let cure = sqlx::query(CURE).bind(generation).bind(aggregate_type).bind(aggregate_id);
            cure.execute(&mut *transaction).await?;
        }
        for ParkedStream { stream, position, why } in &change.parked {
            let park = sqlx::query(PARK).bind(generation).bind(&stream.aggregate_type);
            let park = park.bind(&stream.aggregate_id).bind(number(*position)).bind(why);
            park.execute(&mut *transaction).await?;
        }
        fail_point!("views::saving");
        Rows::new(change.rows).save(generation, &mut transaction).await?;
        fail_point!("postgres::committing");
        transaction.commit().await?;
        Ok(Some(checkpoint(number(change.to), generation, revision)))
    }

    async fn begin_view(&self, view: &str) -> sqlx::Result<Checkpoint> {
        let mut transaction = self.connections.pool().begin().await?;
        let generation = new_generation(&mut transaction, view).await?;
        let begin = sqlx::query_scalar(BEGIN).bind(view).bind(generation);
        let revision = begin.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(checkpoint(0, generation, revision))
    }

    async fn replace_view(&self, built: &str, generation: i64, live: &str) -> sqlx::Result<Promotion> {
        let mut transaction = self.connections.pool().begin().await?;
        let both: Vec<(String, i64, i64)> =
            sqlx::query_as(BOTH).bind(built).bind(live).fetch_all(&mut *transaction).await?;
        let found = |name: &str| both.iter().find(|(found, ..)| found == name);
        let Some((_, to, _)) = found(built).filter(|(.., found)| *found == generation) else {
            return Ok(Promotion::Gone);
        };
        if found(live).is_some_and(|(_, held, _)| held > to) {
            return Ok(Promotion::Behind);
        }
        sqlx::query(FORGET).bind(built).execute(&mut *transaction).await?;
        sqlx::query(REPLACE).bind(live).bind(to).bind(generation).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Promotion::Done(position(*to)))
    }

    async fn sweep_some(&self) -> sqlx::Result<bool> {
        let pool = self.connections.pool();
        let Some(orphan) = sqlx::query_scalar::<_, i64>(ORPHAN).fetch_optional(&pool).await? else {
            return Ok(false);
        };
        let mut swept = 0;
        for table in SWEEP {
            let sweep = sqlx::query(table).bind(orphan).bind(SWEPT_AT_ONCE);
            swept += sweep.execute(&pool).await?.rows_affected();
        }
        if swept == 0 {
            sqlx::query(SWEEP_PARKED).bind(orphan).execute(&pool).await?;
            sqlx::query(SWEPT).bind(orphan).execute(&pool).await?;
        }
        Ok(true)
    }

    async fn dump_all(&self, view: &str) -> sqlx::Result<DirectoryDump> {
        let mut snapshot = self.connections.pool().begin_with(ONE_MOMENT).await?;
        sqlx::query(TAKE_TIME).execute(&mut *snapshot).await?;
        let ViewState { checkpoint, parked } = state(&mut *snapshot, view).await?;
        let generation = signed(checkpoint.generation);
        let members: Vec<(String, DateTime<Utc>, i64)> =
            sqlx::query_as(MEMBERS).bind(generation).fetch_all(&mut *snapshot).await?;
        let customers: Vec<(String, String, bool, i64)> =
            sqlx::query_as(CUSTOMERS).bind(generation).fetch_all(&mut *snapshot).await?;
        let subscriptions: Vec<(String, Json<Standing>, i64)> =
            sqlx::query_as(SUBSCRIPTIONS).bind(generation).fetch_all(&mut *snapshot).await?;
        let grants: Vec<GrantRow> = sqlx::query_as(GRANTS).bind(generation).fetch_all(&mut *snapshot).await?;
        let checkouts: Vec<(String, String, i64)> =
            sqlx::query_as(CHECKOUTS).bind(generation).fetch_all(&mut *snapshot).await?;
        let members = members.into_iter().map(|(member, registered_at, at)| DirectoryRow::Member {
            member: member.into(),
            registered_at,
            position: position(at),
        });
        let customers = customers.into_iter().map(|(customer, member, linked, at)| DirectoryRow::Customer {
            customer: customer.into(),
            member: member.into(),
            linked,
            position: position(at),
        });
        let subscriptions =
            subscriptions.into_iter().map(|(subscription, standing, at)| DirectoryRow::Subscription {
                subscription: subscription.into(),
                standing: Box::new(standing.0),
                position: position(at),
            });
        let grants = grants.into_iter().map(|(grant, member, plan, from, until, revoked, at)| {
            let given = Given { member: member.into(), plan: plan.into(), from, until };
            DirectoryRow::Grant { grant: grant.into(), given, revoked, position: position(at) }
        });
        let checkouts = checkouts.into_iter().map(|(session, member, at)| DirectoryRow::Checkout {
            session,
            member: member.into(),
            position: position(at),
        });
        Ok(DirectoryDump {
            checkpoint: checkpoint.position,
            parked,
            rows: members.chain(customers).chain(subscriptions).chain(grants).chain(checkouts).collect(),
        })
    }
}

/// The last row of each id, in the order of ids, so that two who save never wait for each other in a circle.
#[derive(Default)]
struct Rows {
    members: BTreeMap<MemberId, (DateTime<Utc>, i64)>,
    customers: BTreeMap<(CustomerId, MemberId), (bool, i64)>,
    subscriptions: BTreeMap<SubscriptionId, (Box<Standing>, i64)>,
    grants: BTreeMap<GrantId, (Given, bool, i64)>,
    checkouts: BTreeMap<String, (MemberId, i64)>,
}

impl Rows {
    fn new(rows: Vec<DirectoryRow>) -> Self {
        let mut sorted = Self::default();
        for row in rows {
            match row {
                DirectoryRow::Member { member, registered_at, position } => {
                    sorted.members.insert(member, (registered_at, number(position)));
                }
                DirectoryRow::Customer { customer, member, linked, position } => {
                    sorted.customers.insert((customer, member), (linked, number(position)));
                }
                DirectoryRow::Subscription { subscription, standing, position } => {
                    sorted.subscriptions.insert(subscription, (standing, number(position)));
                }
                DirectoryRow::Grant { grant, given, revoked, position } => {
                    sorted.grants.insert(grant, (given, revoked, number(position)));
                }
                DirectoryRow::Checkout { session, member, position } => {
                    sorted.checkouts.insert(session, (member, number(position)));
                }
            }
        }
        sorted
    }

    async fn save(&self, generation: i64, connection: &mut PgConnection) -> sqlx::Result<()> {
        if !self.members.is_empty() {
            let ids: Vec<&str> = self.members.keys().map(MemberId::as_str).collect();
            let (registered_at, positions): (Vec<_>, Vec<_>) = self.members.values().copied().unzip();
            let save =
                sqlx::query(SAVE_MEMBERS).bind(generation).bind(ids).bind(registered_at).bind(positions);
            save.execute(&mut *connection).await?;
        }
        if !self.customers.is_empty() {
            let (ids, members): (Vec<_>, Vec<_>) =
                self.customers.keys().map(|(customer, member)| (customer.as_str(), member.as_str())).unzip();
            let (linked, positions): (Vec<_>, Vec<_>) = self.customers.values().copied().unzip();
            let save = sqlx::query(SAVE_CUSTOMERS)
                .bind(generation)
                .bind(ids)
                .bind(members)
                .bind(linked)
                .bind(positions);
            save.execute(&mut *connection).await?;
        }
        if !self.subscriptions.is_empty() {
            let ids: Vec<&str> = self.subscriptions.keys().map(SubscriptionId::as_str).collect();
            let standings = || self.subscriptions.values().map(|(standing, _)| standing);
            let customers: Vec<&str> = standings().map(|standing| standing.terms.customer.as_str()).collect();
            let json: Vec<Json<&Standing>> = standings().map(|standing| Json(&**standing)).collect();
            let positions: Vec<i64> = self.subscriptions.values().map(|(_, at)| *at).collect();
            let save = sqlx::query(SAVE_SUBSCRIPTIONS)
                .bind(generation)
                .bind(ids)
                .bind(customers)
                .bind(json)
                .bind(positions);
            save.execute(&mut *connection).await?;
        }
        if !self.grants.is_empty() {
            let ids: Vec<&str> = self.grants.keys().map(GrantId::as_str).collect();
            let given = || self.grants.values().map(|(given, ..)| given);
            let save = sqlx::query(SAVE_GRANTS)
                .bind(generation)
                .bind(ids)
                .bind(given().map(|given| given.member.as_str()).collect::<Vec<_>>())
                .bind(given().map(|given| given.plan.as_str()).collect::<Vec<_>>())
                .bind(given().map(|given| given.from).collect::<Vec<_>>())
                .bind(given().map(|given| given.until).collect::<Vec<_>>())
                .bind(self.grants.values().map(|(_, revoked, _)| *revoked).collect::<Vec<_>>())
                .bind(self.grants.values().map(|(.., at)| *at).collect::<Vec<_>>());
            save.execute(&mut *connection).await?;
        }
        if !self.checkouts.is_empty() {
            let ids: Vec<&str> = self.checkouts.keys().map(String::as_str).collect();
            let (members, positions): (Vec<_>, Vec<_>) =
                self.checkouts.values().map(|(member, at)| (member.as_str(), *at)).unzip();
            let save = sqlx::query(SAVE_CHECKOUTS).bind(generation).bind(ids).bind(members).bind(positions);
            save.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

type GrantRow = (String, String, String, DateTime<Utc>, Option<DateTime<Utc>>, bool, i64);

type StateRow = (i64, i64, i64, Option<String>, Option<String>, Option<i64>, Option<String>);

async fn state(executor: impl PgExecutor<'_>, view: &str) -> sqlx::Result<ViewState> {
    let rows: Vec<StateRow> = sqlx::query_as(STATE).bind(view).fetch_all(executor).await?;
    let known = rows.first().map(|(at, generation, revision, ..)| checkpoint(*at, *generation, *revision));
    let parked = |(_, _, _, aggregate_type, aggregate_id, at, why): StateRow| {
        let stream = StreamId { aggregate_type: aggregate_type?, aggregate_id: aggregate_id? };
        Some(ParkedStream { stream, position: position(at?), why: why? })
    };
    Ok(ViewState {
        checkpoint: known.unwrap_or_default(),
        parked: rows.into_iter().filter_map(parked).collect(),
    })
}

async fn new_generation(connection: &mut PgConnection, view: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(NEW_GENERATION).bind(view).fetch_one(connection).await
}

fn checkpoint(at: i64, generation: i64, revision: i64) -> Checkpoint {
    let (generation, revision) = (generation.unsigned_abs(), revision.unsigned_abs());
    Checkpoint { position: position(at), generation, revision }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
