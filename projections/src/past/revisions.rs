//! The catalogue as it was: every revision, and which one was in force.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::catalog::{self, Catalog, CatalogEvent};
use domain::events::Event;
use domain::ports::Recorded;

use super::{AsOf, DecidingEvent, PolicyInForce, Stream};

/// Everything that happened to the catalogue, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    events: Vec<(Recorded, CatalogEvent)>,
    latest: Arc<Catalog>,
    /// The one before it that was asked for last.
    earlier: Mutex<Option<(usize, Arc<Catalog>)>>,
}

impl Revisions {
    pub(super) fn new(stream: Stream) -> Self {
        let of_catalog = |(recorded, event)| match event {
            Event::Catalog(event) => Some((recorded, event)),
            _ => None,
        };
        let events: Vec<(Recorded, CatalogEvent)> =
            stream.events.into_iter().filter_map(of_catalog).collect();
        let latest = Arc::new(fold(&events));
        Self { events, latest, earlier: Mutex::default() }
    }

    /// How many of its events were in force, and the catalogue that they made: moments before the first revision are
    /// judged by the first.
    pub(super) fn in_force(&self, as_of: AsOf) -> (usize, Arc<Catalog>) {
        let count = self.count_in_force(as_of);
        (count, self.after(count))
    }

    /// How many of its events were in force.
    pub(super) fn count_in_force(&self, as_of: AsOf) -> usize {
        let first = self.events.first().map(|(recorded, _)| &recorded.metadata.correlation_id);
        let in_force = |(recorded, _): &(Recorded, CatalogEvent)| {
            Some(&recorded.metadata.correlation_id) == first
                || as_of.has_reached(recorded.metadata.occurred_at) && as_of.knows(recorded)
        };
        // A revision says what differs from the one before, so it is in force with all before it, also with one that a
        // clock dated later which has been set back since.
        self.events.iter().rposition(in_force).map_or(0, |latest| latest + 1)
    }

    /// The catalogue that the first `count` events made.
    pub(super) fn after(&self, count: usize) -> Arc<Catalog> {
        if count == self.events.len() {
            return self.latest.clone();
        }
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        match &*earlier {
            Some((held, catalog)) if *held == count => catalog.clone(),
            _ => {
                let catalog = Arc::new(fold(&self.events[..count]));
                *earlier = Some((count, catalog.clone()));
                catalog
            }
        }
    }

    /// The latest catalogue.
    pub(super) fn latest(&self) -> &Arc<Catalog> {
        &self.latest
    }

    /// The moments at which it changed, as far as they were known.
    pub(super) fn moments(&self, as_of: AsOf) -> impl Iterator<Item = DateTime<Utc>> {
        let known = self.events.iter().filter(move |(recorded, _)| as_of.knows(recorded));
        known.map(|(recorded, _)| recorded.metadata.occurred_at)
    }

    /// The revision that the first `count` events end with; nothing before the first.
    pub(super) fn policy(&self, count: usize, catalog: &Catalog) -> Option<PolicyInForce> {
        let (last, _) = self.events[..count].last()?;
        let mut revisions: Vec<&str> = self.events[..count]
            .iter()
            .map(|(recorded, _)| recorded.metadata.correlation_id.as_str())
            .collect();
        revisions.dedup();
        Some(PolicyInForce {
            revision: revisions.len(),
            position: last.position,
            since: last.metadata.occurred_at,
            recorded_at: last.metadata.recorded_at,
            actor: last.metadata.actor.clone(),
            cause: last.metadata.cause.clone(),
            policy: catalog.policy(),
        })
    }

    /// The revision that came into force at a moment: its last event.
    pub(super) fn deciding(&self, at: DateTime<Utc>, as_of: AsOf) -> Option<DecidingEvent> {
        let of_moment = |(recorded, _): &&(Recorded, CatalogEvent)| {
            recorded.metadata.occurred_at == at && as_of.knows(recorded)
        };
        let (recorded, event) = self.events.iter().rfind(of_moment)?;
        Some(DecidingEvent::new(recorded, &Event::Catalog(event.clone())))
    }
}

fn fold(events: &[(Recorded, CatalogEvent)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (_, event) in events {
        catalog::evolve(&mut catalog, event);
    }
    catalog
}
