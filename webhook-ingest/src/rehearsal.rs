//! What carrying a delivery out would do, without doing it: the very rules that carry it out, over the very log, but what they
//! append stays in memory. Stripe is asked where it would be asked, and told nothing.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use domain::events::{Dated, Event, upcast, upcasters};
use domain::ids::{CustomerId, MemberId};
use domain::metadata::{Context, Metadata};
use domain::ports::{CommandBus, CommandError, EventFeed, Executed, Page, Position, Recorded, StoreError};
use serde::Serialize;
use tokio::sync::Notify;
use tracing::Instrument;

use crate::inbox::{Delivery, Outcome, Why};
use crate::worker::{Trouble, Worker};

/// What would become of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    /// Its outcome.
    pub outcome: Outcome,
    /// Why.
    pub why: Why,
    /// What would be appended to the log.
    pub events: Vec<Event>,
    /// Whose the payer is that it speaks of, then.
    pub member: Option<MemberId>,
}

impl Worker {
    /// What carrying this delivery out now would do.
    pub async fn rehearse(&self, delivery: &Delivery) -> Result<Rehearsal, Trouble> {
        let (feed, now) = (self.feed.clone(), self.clock.now());
        let stage = Arc::new(Stage { feed, told: Mutex::default(), now });
        let worker = Self {
            inbox: self.inbox.clone(),
            feed: stage.clone(),
            subscriptions: stage.clone(),
            customers: stage.clone(),
            payments: stage.clone(),
            members: stage.clone(),
            payers: self.payers.clone(),
            notebook: self.notebook.clone(),
            provider: self.provider.clone(),
            looks: Arc::new(Notify::new()),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            livemode: self.livemode,
            wake: Arc::new(Notify::new()),
            stopping: AtomicBool::new(false),
            rehearsing: true,
        };
        let (worker, delivery) = (Arc::new(worker), Arc::new(delivery.clone()));
        let (carried_out, of) = (worker.clone(), delivery.clone());
        // In a task of its own: what nobody foresaw in a body is what is looked at here.
        let work = tokio::spawn(async move { carried_out.understand(&of).await }.in_current_span());
        let (outcome, why) = work.await.map_err(|panic| Trouble::Panicked(panic.to_string()))??;
        let member = match &delivery.customer {
            Some(customer) => worker.customer(&CustomerId::from(customer.as_str())).await?.member().cloned(),
            None => None,
        };
        Ok(Rehearsal { outcome, why, events: stage.events()?, member })
    }
}

/// A log whose end is in memory.
struct Stage {
    feed: Arc<dyn EventFeed>,
    told: Mutex<Vec<Recorded>>,
    now: DateTime<Utc>,
}

impl Stage {
    fn told_of(&self, aggregate_type: &str, id: &str) -> Vec<Recorded> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |event: &&Recorded| event.aggregate_type == aggregate_type && event.aggregate_id == id;
        told.iter().filter(of).cloned().collect()
    }

    fn events(&self) -> Result<Vec<Event>, StoreError> {
        let (told, upcasters) = (self.told.lock().unwrap_or_else(PoisonError::into_inner), upcasters());
        let read = told.iter().map(|recorded| Event::read(recorded, &upcasters));
        read.collect::<Result<_, _>>().map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    fn append<A>(
        &self,
        id: &str,
        last: usize,
        events: &[A::Event],
        context: &Context,
    ) -> Result<(), StoreError>
    where
        A: Aggregate,
        A::Event: Dated + Serialize,
    {
        let recorded = (last + 1..).zip(events).map(|(sequence, event)| {
            Ok(Recorded {
                position: Position::START,
                aggregate_type: A::TYPE.to_owned(),
                aggregate_id: id.to_owned(),
                sequence: sequence as u64,
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_value(event)?,
                metadata: Metadata {
                    occurred_at: event.occurred_at().unwrap_or(context.occurred_at),
                    recorded_at: self.now,
                    actor: context.actor.clone(),
                    cause: context.cause.clone(),
                    correlation_id: context.correlation_id.clone(),
                },
                garbled: None,
            })
        });
        let recorded: Result<Vec<_>, serde_json::Error> = recorded.collect();
        let recorded = recorded.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(recorded);
        Ok(())
    }
}

#[async_trait]
impl EventFeed for Stage {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        self.feed.read(after, limit).await
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        let mut stream = self.feed.read_stream(aggregate_type, id).await?;
        stream.extend(self.told_of(aggregate_type, id));
        Ok(stream)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.feed.head().await
    }

    async fn changed(&self, at_most: Duration) {
        self.feed.changed(at_most).await;
    }
}

#[async_trait]
impl<A> CommandBus<A> for Stage
where
    A: Aggregate<Services = ()> + 'static,
    A::Command: Send,
    A::Event: Dated,
    A::Error: Send,
{
    async fn execute(
        &self,
        id: &str,
        command: A::Command,
        context: Context,
    ) -> Result<Executed<A::Event>, CommandError<A::Error>> {
        let stream = self.read_stream(A::TYPE, id).await?;
        let mut aggregate = folded::<A>(&stream)?;
        let sink = EventSink::default();
        aggregate.handle(command, &(), &sink).await.map_err(CommandError::Refused)?;
        let events = sink.collect().await;
        self.append::<A>(id, stream.len(), &events, &context)?;
        Ok(Executed { events, position: Position::START })
    }
}

fn folded<A: Aggregate>(stream: &[Recorded]) -> Result<A, StoreError> {
    let (mut aggregate, upcasters) = (A::default(), upcasters());
    for recorded in stream {
        let payload = upcast(recorded.serialized(), &upcasters).payload;
        let event = serde_json::from_value(payload).map_err(|why| StoreError::Corrupt(why.to_string()))?;
        aggregate.apply(event);
    }
    Ok(aggregate)
}
