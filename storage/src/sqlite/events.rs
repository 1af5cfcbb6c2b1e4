//! The log in `SQLite`.

use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use domain::ids::MemberId;
use domain::metadata::Metadata;
use domain::ports::{EventFeed, Page, Position, Recorded, StoreError};
use rusqlite::{Connection, Row, params};
use serde_json::Value;
use tokio::time::sleep;

use super::error::{is_taken, store_error};
use super::writer::{Transaction, Undone};
use super::{Sqlite, head, number, position};
use crate::command_bus::{EventLog, NotAppended, unsupported};

const APPEND: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const STREAM: &str = "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata \
                      FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2 ORDER BY sequence";
const PAGE: &str = "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata \
                    FROM events WHERE position > ?1 ORDER BY position LIMIT ?2";
const POSITION: &str =
    "SELECT position FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND sequence = ?3";

const ERASED: &str = "SELECT 1 FROM erasures WHERE member = ?1";

/// How often another process looks for what this one cannot be told of.
const POLL: Duration = Duration::from_millis(50);

struct Stored {
    position: i64,
    event: SerializedEvent,
    /// Why payload or metadata are no JSON, if so.
    garbled: Option<String>,
}

#[async_trait]
impl EventFeed for Sqlite {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        // In the writing process the end of the log is known, and asking for what follows it costs nothing.
        if let Ok(writer) = &self.writer
            && position(writer.head().position()) == after
        {
            return Ok(Page { events: Vec::new(), next: after });
        }
        self.readers.read(move |connection| page(connection, after, limit)).await
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        let (aggregate_type, id) = (aggregate_type.to_owned(), id.to_owned());
        let stored = self.readers.read(move |connection| stream(connection, &aggregate_type, &id)).await?;
        Ok(stored.into_iter().map(recorded).collect())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.readers.read(|connection| head(connection)).await
    }

    async fn changed(&self, at_most: Duration) {
        match &self.writer {
            Ok(writer) => writer.head().changed(at_most).await,
            Err(_) => sleep(at_most.min(POLL)).await,
        }
    }
}

impl EventLog for Sqlite {
    async fn append<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        about: Option<&MemberId>,
    ) -> Result<Position, NotAppended> {
        let (events, whose) = (events.to_vec(), about.cloned());
        let writer = self.writer().map_err(NotAppended::Store)?;
        let change = move |transaction: &Transaction<'_>| {
            not_erased(transaction.connection, whose.as_ref())?;
            append(transaction, A::TYPE, &events)
        };
        match (writer.write(change).await, about) {
            (Ok(last), _) => Ok(position(last)),
            (Err(Undone::Erased), Some(member)) => Err(NotAppended::Erased(member.clone())),
            (Err(Undone::Conflict), _) => Err(NotAppended::Conflict),
            (Err(undone), _) => Err(NotAppended::Store(undone.into())),
        }
    }

    async fn position_of(
        &self,
        aggregate_type: &str,
        id: &str,
        sequence: usize,
    ) -> Result<Position, StoreError> {
        let (aggregate_type, id) = (aggregate_type.to_owned(), id.to_owned());
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(POSITION)?;
            statement.query_row(params![aggregate_type, id, sequence], |row| row.get(0))
        };
        let found = self.readers.read(move |connection| read(connection).map_err(store_error)).await;
        found.map(position)
    }

    fn meaning(error: PersistenceError) -> StoreError {
        match error {
            PersistenceError::ConnectionError(cause) => match cause.downcast::<StoreError>() {
                Ok(error) => *error,
                Err(cause) => StoreError::Unavailable(cause.to_string()),
            },
            other => StoreError::Corrupt(other.to_string()),
        }
    }
}

impl PersistedEventRepository for Sqlite {
    async fn get_events<A: Aggregate>(&self, id: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let wanted = id.to_owned();
        let stored = self.readers.read(move |connection| stream(connection, A::TYPE, &wanted)).await;
        let whole = |Stored { position, event, garbled }| match garbled {
            None => Ok(event),
            Some(why) => {
                let why = format!("event {} of {} {id} (at {position}): {why}", event.sequence, A::TYPE);
                Err(persistence_error(StoreError::Corrupt(why)))
            }
        };
        stored.map_err(persistence_error)?.into_iter().map(whole).collect()
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

fn not_erased(connection: &Connection, about: Option<&MemberId>) -> Result<(), Undone> {
    let Some(member) = about else { return Ok(()) };
    let erased = connection.prepare_cached(ERASED)?.exists([member.as_str()])?;
    if erased { Err(Undone::Erased) } else { Ok(()) }
}

fn append(
    transaction: &Transaction<'_>,
    aggregate_type: &str,
    events: &[SerializedEvent],
) -> Result<i64, Undone> {
    let mut insert = transaction.connection.prepare_cached(APPEND)?;
    let mut last = 0;
    for event in events {
        let inserted = insert.insert(params![
            aggregate_type,
            event.aggregate_id,
            event.sequence,
            event.event_type,
            event.event_version,
            event.payload.to_string(),
            event.metadata.to_string(),
        ]);
        last = inserted.map_err(|error| if is_taken(&error) { Undone::Conflict } else { error.into() })?;
    }
    transaction.appended(last);
    Ok(last)
}

/// The events and the end of the log as of one moment.
fn page(connection: &mut Connection, after: Position, limit: usize) -> Result<Page, StoreError> {
    let snapshot = connection.transaction().map_err(store_error)?;
    let stored = {
        let mut statement = snapshot.prepare_cached(PAGE).map_err(store_error)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![number(after), limit], stored).map_err(store_error)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(store_error)?
    };
    let next = match stored.last() {
        Some(last) => position(last.position),
        None if limit == 0 => after,
        None => head(&snapshot)?,
    };
    Ok(Page { events: stored.into_iter().map(recorded).collect(), next })
}

fn stream(connection: &mut Connection, aggregate_type: &str, id: &str) -> Result<Vec<Stored>, StoreError> {
    let mut statement = connection.prepare_cached(STREAM).map_err(store_error)?;
    let rows = statement.query_map(params![aggregate_type, id], stored).map_err(store_error)?;
    rows.collect::<Result<_, _>>().map_err(store_error)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let mut garbled = None;
    let mut json = |column: usize, what: &str| -> rusqlite::Result<Value> {
        let read = serde_json::from_slice(row.get_ref(column)?.as_bytes()?);
        Ok(read.unwrap_or_else(|why| {
            garbled = Some(format!("its {what}: {why}"));
            Value::Null
        }))
    };
    let event = SerializedEvent {
        aggregate_type: row.get(1)?,
        aggregate_id: row.get(2)?,
        sequence: row.get(3)?,
        event_type: row.get(4)?,
        event_version: row.get(5)?,
        payload: json(6, "payload")?,
        metadata: json(7, "metadata")?,
    };
    Ok(Stored { position: row.get(0)?, event, garbled })
}

fn recorded(Stored { position: at, event, mut garbled }: Stored) -> Recorded {
    let metadata = serde_json::from_value(event.metadata).unwrap_or_else(|why| {
        garbled.get_or_insert_with(|| format!("its metadata: {why}"));
        Metadata::unknown()
    });
    Recorded {
        position: position(at),
        metadata,
        aggregate_type: event.aggregate_type,
        aggregate_id: event.aggregate_id,
        sequence: event.sequence as u64,
        event_type: event.event_type,
        event_version: event.event_version,
        payload: event.payload,
        garbled,
    }
}

fn persistence_error(error: StoreError) -> PersistenceError {
    PersistenceError::ConnectionError(Box::new(error))
}
