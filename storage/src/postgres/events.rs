//! The log in `PostgreSQL`: postgres-es reads and appends streams, the ordered feed is ours.

use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use domain::ids::MemberId;
use domain::metadata::Metadata;
use domain::ports::{EventFeed, Page, Position, Recorded, StoreError};
use fail::fail_point;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::sleep;

use super::erasures::ERASURE_LOCK;
use super::error::{is, store_error};
use super::{Postgres, limit, number, position};
use crate::command_bus::{EventLog, NotAppended, unsupported};

/// One statement, so that the watermark, the events and the last one read before are of one snapshot.
const PAGE: &str = "SELECT watermark.position AS watermark, \
                    (SELECT recorded_at FROM events WHERE position = $3) AS known_at, page.* \
                    FROM watermark LEFT JOIN LATERAL (\
                    SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
                    recorded_at FROM events WHERE position > $1 AND position <= watermark.position ORDER BY position LIMIT $2\
                    ) AS page ON true WHERE watermark.id = 1 ORDER BY page.position";
const STREAM: &str = "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata \
                      FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence";
/// `last_value` is 1 before the first number is drawn, which `is_called` tells. A standby knows it only in steps of 32, ahead
/// of what was drawn; its log ends at the watermark.
const HEAD: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT position FROM watermark WHERE id = 1) \
                    WHEN is_called THEN last_value ELSE 0 END FROM events_position_seq";
const POSITION: &str =
    "SELECT position FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3";

/// Held, shared, until the commit by whoever appends for a member, and alone by whoever erases her.
const BESIDE_ERASURES: &str = "SELECT pg_advisory_xact_lock_shared($1, hashtext($2))";
const ERASED: &str = "SELECT EXISTS (SELECT 1 FROM erasures WHERE member = $1)";
/// As postgres-es writes them.
const INSERT: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
const TAKEN: &str = "23505";

/// How often a process that only reads looks.
const POLL: Duration = Duration::from_millis(20);

#[async_trait]
impl EventFeed for Postgres {
    async fn read(&self, after: Position, at_most: usize) -> Result<Page, StoreError> {
        let known = self.history.last();
        let page = sqlx::query(PAGE).bind(number(after)).bind(limit(at_most)).bind(known.map(|(at, _)| at));
        let rows = self.connections.call(page.fetch_all(&self.connections.pool())).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("the watermark is missing".to_owned()))?;
        self.history.compare(known, first.try_get("known_at").map_err(store_error)?)?;
        let watermark = position(first.try_get("watermark").map_err(store_error)?);
        let empty = first.try_get::<Option<i64>, _>("position").map_err(store_error)?.is_none();
        let events = if empty { Vec::new() } else { recorded(&rows)? };
        if let (false, Some(last)) = (empty, rows.last()) {
            let read = |row: &PgRow| Ok((row.try_get("position")?, row.try_get("recorded_at")?));
            let (at, inserted_at) = read(last).map_err(store_error)?;
            self.history.read(at, inserted_at);
        }
        let next = match events.last() {
            Some(last) if events.len() == at_most => last.position,
            None if at_most == 0 => after,
            // Behind it, as after a failover to a standby that had not heard of it yet, nobody goes back.
            _ => watermark.max(after),
        };
        Ok(Page { events, next })
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        let stream = sqlx::query(STREAM).bind(aggregate_type).bind(id);
        recorded(&self.connections.call(stream.fetch_all(&self.connections.pool())).await?)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let pool = self.connections.pool();
        self.connections.call(sqlx::query_scalar(HEAD).fetch_one(&pool)).await.map(position)
    }

    async fn changed(&self, at_most: Duration) {
        match &self.sequencer {
            Some(sequencer) => sequencer.head().changed(at_most).await,
            None => sleep(at_most.min(POLL)).await,
        }
    }
}

impl EventLog for Postgres {
    async fn append<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        about: Option<&MemberId>,
    ) -> Result<Position, NotAppended> {
        if let Some(member) = about {
            self.append_unless_erased(A::TYPE, events, member).await?;
        } else {
            let persisted = self.connections.events();
            let persisted = self.connections.call_the_log(persisted.persist::<A>(events, None)).await;
            persisted.map_err(|error| match error {
                PersistenceError::OptimisticLockError => NotAppended::Conflict,
                error => NotAppended::Store(Self::meaning(error)),
            })?;
        }
        fail_point!("postgres::appended");
        if let Some(sequencer) = &self.sequencer {
            sequencer.kick();
        }
        match events.last() {
            Some(last) => {
                let found = self.position_of(A::TYPE, &last.aggregate_id, last.sequence).await;
                found.map_err(NotAppended::Store)
            }
            None => Ok(Position::START),
        }
    }

    async fn position_of(
        &self,
        aggregate_type: &str,
        id: &str,
        sequence: usize,
    ) -> Result<Position, StoreError> {
        let place = sqlx::query_scalar(POSITION).bind(aggregate_type).bind(id).bind(limit(sequence));
        self.connections.call(place.fetch_one(&self.connections.pool())).await.map(position)
    }

    fn meaning(error: PersistenceError) -> StoreError {
        match error {
            PersistenceError::ConnectionError(cause) | PersistenceError::UnknownError(cause) => {
                match cause.downcast::<sqlx::Error>() {
                    Ok(error) => store_error(*error),
                    Err(cause) => match cause.downcast::<StoreError>() {
                        Ok(error) => *error,
                        Err(cause) => StoreError::Unavailable(cause.to_string()),
                    },
                }
            }
            other => StoreError::Corrupt(other.to_string()),
        }
    }
}

impl PersistedEventRepository for Postgres {
    async fn get_events<A: Aggregate>(&self, id: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.connections.call_the_log(self.connections.events().get_events::<A>(id)).await
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        if snapshot.is_some() {
            return unsupported("snapshots");
        }
        self.append::<A>(events, None).await?;
        Ok(())
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        _id: &str,
        _last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        unsupported("snapshots")
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        _id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        unsupported("snapshots")
    }

    async fn stream_events<A: Aggregate>(&self, _id: &str) -> Result<ReplayStream, PersistenceError> {
        unsupported("replay streams")
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        unsupported("replay streams")
    }
}

impl Postgres {
    /// Appends in one transaction with the look at whether the member was erased; whoever erases her waits for its end.
    async fn append_unless_erased(
        &self,
        aggregate_type: &str,
        events: &[SerializedEvent],
        member: &MemberId,
    ) -> Result<(), NotAppended> {
        let work = async {
            let mut transaction = self.connections.pool().begin().await?;
            let wait = sqlx::query(BESIDE_ERASURES).bind(ERASURE_LOCK).bind(member.as_str());
            wait.execute(&mut *transaction).await?;
            let erased = sqlx::query_scalar(ERASED).bind(member.as_str());
            if erased.fetch_one(&mut *transaction).await? {
                return Ok(Err(NotAppended::Erased(member.clone())));
            }
            for event in events {
                let insert = sqlx::query(INSERT)
                    .bind(aggregate_type)
                    .bind(&event.aggregate_id)
                    .bind(limit(event.sequence))
                    .bind(&event.event_type)
                    .bind(&event.event_version)
                    .bind(&event.payload)
                    .bind(&event.metadata);
                match insert.execute(&mut *transaction).await {
                    Err(error) if is(&error, TAKEN) => return Ok(Err(NotAppended::Conflict)),
                    done => done?,
                };
            }
            transaction.commit().await?;
            Ok(Ok(()))
        };
        self.connections.call(work).await.map_err(NotAppended::Store)?
    }
}

fn recorded(rows: &[PgRow]) -> Result<Vec<Recorded>, StoreError> {
    let read = |row: &PgRow| -> sqlx::Result<Recorded> {
        let metadata: Value = row.try_get("metadata")?;
        let (metadata, garbled) = match serde_json::from_value(metadata) {
            Ok(metadata) => (metadata, None),
            Err(why) => (Metadata::unknown(), Some(format!("its metadata: {why}"))),
        };
        Ok(Recorded {
            position: position(row.try_get("position")?),
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get::<i64, _>("sequence")?.unsigned_abs(),
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            payload: row.try_get("payload")?,
            metadata,
            garbled,
        })
    };
    rows.iter().map(|row| read(row).map_err(store_error)).collect()
}
