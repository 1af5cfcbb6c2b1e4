//! One event of a member's, with what it changed.

use domain::metadata::Metadata;
use domain::ports::Position;
use serde_json::Value;

use super::diff::{Change, changes};
use super::{AsOf, Chronicle};
use crate::timeline::TimelineEntry;

/// One event of a member's, with everything the log holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneEvent {
    /// What happened.
    pub entry: TimelineEntry,
    /// Its place in its own stream, from 1.
    pub sequence: u64,
    /// The version of its shape.
    pub event_version: String,
    /// What it says, as stored.
    pub payload: Value,
    /// When, who, why, as stored.
    pub metadata: Metadata,
    /// How it stood before it, by what this service knew then.
    pub before: String,
    /// How it stood after it.
    pub after: String,
    /// What it changed.
    pub changes: Vec<Change>,
    /// What else follows from the same cause, in the order of the log.
    pub siblings: Vec<TimelineEntry>,
    /// The member's event before it, in the order of the log.
    pub previous: Option<Position>,
    /// The member's event after it.
    pub next: Option<Position>,
}

impl Chronicle {
    /// The event at this place of the log, if it is one of hers.
    pub fn event(&self, position: Position) -> Option<OneEvent> {
        let mut entries = self.entries();
        entries.sort_by_key(|entry| entry.position);
        let place = entries.binary_search_by_key(&position, |entry| entry.position).ok()?;
        let (recorded, _) = self.events().find(|(recorded, _)| recorded.position == position)?;
        let at = recorded.metadata.recorded_at;
        let known_at = |position| self.state(AsOf { at, known_at: None, position: Some(position) });
        let before = known_at(Position::new(position.get().saturating_sub(1)));
        let after = known_at(position);
        let entry = entries[place].clone();
        let is_sibling = |other: &&TimelineEntry| other.cause == entry.cause && other.position != position;
        let siblings = entries.iter().filter(is_sibling).cloned().collect();
        let at_place = |place: usize| entries.get(place).map(|entry| entry.position);
        Some(OneEvent {
            sequence: recorded.sequence,
            event_version: recorded.event_version.clone(),
            payload: recorded.payload.clone(),
            metadata: recorded.metadata.clone(),
            changes: changes(&before, &after),
            before: before.sentence,
            after: after.sentence,
            siblings,
            previous: place.checked_sub(1).and_then(at_place),
            next: at_place(place + 1),
            entry,
        })
    }
}
