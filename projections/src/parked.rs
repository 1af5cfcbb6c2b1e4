//! Streams with an event that cannot be read: they stand still, everything else goes on.
//!
//! A projection that skipped such an event would answer wrongly, and one that stopped would answer nobody. So it keeps what
//! it knew of that one aggregate before the event, and reads its stream again from the first event once that may help.

use std::collections::BTreeMap;
use std::fmt;

use cqrs_es::persist::EventUpcaster;
use domain::events::{Event, UnreadableEvent};
use domain::ports::{Position, Recorded};
use serde::{Deserialize, Serialize};

/// The stream of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate_id: String,
}

impl StreamId {
    /// The stream that an event belongs to.
    pub fn of(recorded: &Recorded) -> Self {
        let Recorded { aggregate_type, aggregate_id, .. } = recorded;
        Self { aggregate_type: aggregate_type.clone(), aggregate_id: aggregate_id.clone() }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

/// A stream that stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedStream {
    /// The stream.
    pub stream: StreamId,
    /// Its first event that cannot be read.
    pub position: Position,
    /// That event and what is wrong with it.
    pub why: String,
}

impl ParkedStream {
    fn new(stream: StreamId, unreadable: &UnreadableEvent) -> Self {
        Self { stream, position: unreadable.position, why: unreadable.to_string() }
    }
}

/// The streams that stand still in a projection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedStreams(BTreeMap<StreamId, ParkedStream>);

impl ParkedStreams {
    /// The stream, if it stands still.
    pub fn get(&self, stream: &StreamId) -> Option<&ParkedStream> {
        self.0.get(stream)
    }

    /// All of them, by stream.
    pub fn iter(&self) -> impl Iterator<Item = &ParkedStream> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is parked once a batch has been applied.
    pub fn take_in(&mut self, batch: &Batch) {
        for cured in &batch.cured {
            self.0.remove(cured);
        }
        self.0.extend(batch.parked.iter().map(|parked| (parked.stream.clone(), parked.clone())));
    }
}

impl FromIterator<ParkedStream> for ParkedStreams {
    fn from_iter<I: IntoIterator<Item = ParkedStream>>(parked: I) -> Self {
        Self(parked.into_iter().map(|parked| (parked.stream.clone(), parked)).collect())
    }
}

/// What a projection takes in at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events to fold, oldest first.
    pub events: Vec<(Recorded, Event)>,
    /// The streams that stand still from now on.
    pub parked: Vec<ParkedStream>,
    /// The streams that stood still and do so no longer: `events` holds them from their first event.
    pub cured: Vec<StreamId>,
}

impl Batch {
    /// Some of the log, without the streams in `known` and without what follows an event that cannot be read.
    pub fn read(events: Vec<Recorded>, known: &ParkedStreams, upcasters: &[Box<dyn EventUpcaster>]) -> Self {
        let mut batch = Self::default();
        for recorded in events {
            let stands_still = |stream: &StreamId| {
                known.get(stream).is_some() || batch.parked.iter().any(|parked| parked.stream == *stream)
            };
            let all_well = known.is_empty() && batch.parked.is_empty();
            if !all_well && stands_still(&StreamId::of(&recorded)) {
                continue;
            }
            match Event::read(&recorded, upcasters) {
                Ok(event) => batch.events.push((recorded, event)),
                Err(why) => batch.parked.push(ParkedStream::new(StreamId::of(&recorded), &why)),
            }
        }
        batch
    }

    /// The whole stream of a parked aggregate, read again; nothing when that is of no use.
    pub(crate) fn again(
        parked: &ParkedStream,
        stream: Vec<Recorded>,
        upcasters: &[Box<dyn EventUpcaster>],
    ) -> Option<Self> {
        let batch = Self::read(stream, &ParkedStreams::default(), upcasters);
        let helped = batch.parked.first() != Some(parked);
        helped.then(|| Self { cured: vec![parked.stream.clone()], ..batch })
    }
}
