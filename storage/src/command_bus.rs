//! Carries out commands on any log that cqrs-es can read and append to: load, decide, append, try again on a conflict.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use domain::clock::Clock;
use domain::events::{Dated, upcast};
use domain::ids::MemberId;
use domain::metadata::{Context, Metadata};
use domain::ports::{CommandBus, CommandError, Executed, Position, StoreError};
use fail::fail_point;
use metrics::counter;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, debug_span};

use crate::Upcasters;
use crate::measured::measured;

/// How often a command is carried out again after somebody else changed its aggregate.
const RETRIES: u32 = 10;
/// The longest pause between two of those.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// Commands on aggregates whose ids fall on the same turn wait for each other in this process.
const TURNS: usize = 256;
/// How long a command waits for its turn; longer means that the store does not answer those before it.
const TURN: Duration = Duration::from_secs(5);

/// Why events were not appended.
pub(crate) enum NotAppended {
    /// Somebody else has appended to the same stream.
    Conflict,
    /// They are for somebody who was erased.
    Erased(MemberId),
    /// The store could not do it.
    Store(StoreError),
}

impl From<NotAppended> for PersistenceError {
    fn from(why: NotAppended) -> Self {
        match why {
            NotAppended::Conflict => Self::OptimisticLockError,
            NotAppended::Erased(member) => Self::UnknownError(format!("{member} was erased").into()),
            NotAppended::Store(error) => Self::ConnectionError(Box::new(error)),
        }
    }
}

/// A log that also knows positions, which cqrs-es does not.
pub(crate) trait EventLog: PersistedEventRepository + 'static {
    /// Appends events of one aggregate, all or none, and says where the last of them is. None, where they are for a member who
    /// was erased: what is appended for her is there before she is marked as erased, or never.
    fn append<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        about: Option<&MemberId>,
    ) -> impl Future<Output = Result<Position, NotAppended>> + Send;

    /// Where an event is.
    fn position_of(
        &self,
        aggregate_type: &str,
        id: &str,
        sequence: usize,
    ) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// What an error of this log means.
    fn meaning(error: PersistenceError) -> StoreError;
}

/// The error of the methods of cqrs-es that must not be used.
pub(crate) fn unsupported<T>(what: &str) -> Result<T, PersistenceError> {
    let why = format!("{what} of cqrs-es are not used: they lose events; read the feed instead");
    Err(PersistenceError::UnknownError(why.into()))
}

/// A bus over one log.
pub(crate) struct Bus<L> {
    log: Arc<L>,
    clock: Arc<dyn Clock>,
    upcasters: Upcasters,
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
}

struct Loaded<A> {
    aggregate: A,
    sequence: usize,
}

impl<L: EventLog> Bus<L> {
    pub(crate) fn new(log: &Arc<L>, clock: &Arc<dyn Clock>, upcasters: &Upcasters) -> Self {
        Self {
            log: Arc::clone(log),
            clock: Arc::clone(clock),
            upcasters: Arc::clone(upcasters),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    async fn load<A: Aggregate>(&self, id: &str) -> Result<Loaded<A>, StoreError> {
        let stored = self.log.get_events::<A>(id).await.map_err(L::meaning)?;
        let mut loaded = Loaded { aggregate: A::default(), sequence: 0 };
        for event in stored {
            loaded.sequence = event.sequence;
            let event = upcast(event, &self.upcasters);
            let payload = serde_json::from_value(event.payload).map_err(|why| {
                StoreError::Corrupt(format!(
                    "event {} of {} {id} ({} version {}): {why}",
                    event.sequence,
                    A::TYPE,
                    event.event_type,
                    event.event_version
                ))
            })?;
            loaded.aggregate.apply(payload);
        }
        Ok(loaded)
    }

    /// The events as they are stored. Moments are kept to the microsecond, as every table keeps them.
    fn stored<A>(
        &self,
        id: &str,
        last: usize,
        events: &[A::Event],
        context: &Context,
    ) -> Result<Vec<SerializedEvent>, StoreError>
    where
        A: Aggregate,
        A::Event: Dated,
    {
        let recorded_at = whole_micros(self.clock.now());
        let unwritable = |why: serde_json::Error| StoreError::Corrupt(format!("{} {id}: {why}", A::TYPE));
        (last + 1..)
            .zip(events)
            .map(|(sequence, event)| {
                let metadata = Metadata {
                    occurred_at: whole_micros(event.occurred_at().unwrap_or(context.occurred_at)),
                    recorded_at,
                    actor: context.actor.clone(),
                    cause: context.cause.clone(),
                    correlation_id: context.correlation_id.clone(),
                };
                Ok(SerializedEvent::new(
                    id.to_owned(),
                    sequence,
                    A::TYPE.to_owned(),
                    event.event_type(),
                    event.event_version(),
                    serde_json::to_value(event).map_err(unwritable)?,
                    serde_json::to_value(metadata).map_err(unwritable)?,
                ))
            })
            .collect()
    }

    /// Carries a command out once; nothing when somebody else was faster.
    async fn attempt<A>(
        &self,
        id: &str,
        command: A::Command,
        context: &Context,
    ) -> Result<Option<Executed<A::Event>>, CommandError<A::Error>>
    where
        A: Aggregate<Services = ()>,
        A::Command: Send,
        A::Event: Dated,
    {
        let Loaded { mut aggregate, sequence } = measured("load", self.load::<A>(id)).await?;
        let sink = EventSink::default();
        let decided = aggregate.handle(command, &(), &sink).await;
        decided.map_err(CommandError::Refused)?;
        let events = sink.collect().await;
        if events.is_empty() {
            let position = match sequence {
                0 => Position::START,
                last => self.log.position_of(A::TYPE, id, last).await?,
            };
            return Ok(Some(Executed { events, position }));
        }
        let stored = self.stored::<A>(id, sequence, &events, context)?;
        fail_point!("command::decided");
        let append = async {
            match self.log.append::<A>(&stored, context.about.as_ref()).await {
                Err(NotAppended::Store(error)) => Err(error),
                appended => Ok(appended),
            }
        };
        let position = match measured("append", append).await? {
            Ok(position) => position,
            Err(NotAppended::Erased(member)) => return Err(CommandError::Erased(member)),
            Err(NotAppended::Conflict | NotAppended::Store(_)) => {
                counter!("membership_command_conflicts_total").increment(1);
                return Ok(None);
            }
        };
        fail_point!("command::appended");
        tracing::debug!(events = events.len(), %position, "events appended");
        Ok(Some(Executed { events, position }))
    }

    fn turn(&self, id: &str) -> &Mutex<()> {
        let hash = self.hasher.hash_one(id);
        &self.turns[usize::try_from(hash % TURNS as u64).unwrap_or_default()]
    }
}

#[async_trait]
impl<L, A> CommandBus<A> for Bus<L>
where
    L: EventLog,
    A: Aggregate<Services = ()> + 'static,
    A::Command: Clone + Send + Sync,
    A::Event: Dated,
    A::Error: Send + Sync,
{
    async fn execute(
        &self,
        id: &str,
        command: A::Command,
        context: Context,
    ) -> Result<Executed<A::Event>, CommandError<A::Error>> {
        let span = debug_span!(
            "command",
            aggregate_type = A::TYPE,
            aggregate_id = id,
            correlation_id = context.correlation_id
        );
        let tries = async {
            let contended = || CommandError::Contended(format!("{} {id}", A::TYPE));
            let _turn = timeout(TURN, self.turn(id).lock()).await.map_err(|_| contended())?;
            for tried in 0..=RETRIES {
                if tried > 0 {
                    sleep(pause(tried)).await;
                }
                if let Some(executed) = self.attempt::<A>(id, command.clone(), &context).await? {
                    return Ok(executed);
                }
            }
            Err(contended())
        };
        tries.instrument(span).await
    }
}

/// A random part of a time that doubles, so that those who collided do not collide again.
fn pause(tried: u32) -> Duration {
    let longest = Duration::from_millis(1 << tried.min(6)).min(LONGEST_PAUSE);
    let random = RandomState::new().hash_one(tried) % 1_000;
    longest.mul_f64(f64::from(u32::try_from(random).unwrap_or_default()) / 1_000.0)
}

fn whole_micros(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment.trunc_subsecs(6)
}
