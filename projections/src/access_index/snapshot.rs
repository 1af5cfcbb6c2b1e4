//! The index as bytes, so that a start need not read the whole log.
//!
//! A snapshot is a cache and never the truth: it names the last event it knows of, and is thrown away when anything about
//! it is not exactly right. Then the log is read from its first event, as without one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::access::{CollectionPaused, Reversed, Source, State};
use domain::catalog::{Catalog, PlanSet};
use domain::ports::{EventFeed, Position, Recorded, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::revoked::StoredRevoked;
use super::{AccessIndex, Bundle, Held, Kept, Key};
use crate::parked::ParkedStreams;

/// Raised with every change of what a snapshot holds or of what the fold makes of an event.
const VERSION: u32 = 5;
const MAGIC: [u8; 8] = *b"MBRINDEX";
/// Magic, version, length and digest of what follows.
const HEADER: usize = 8 + 4 + 8 + 32;

/// Why bytes are not a snapshot that can be used.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// They are something else, or not all of it.
    #[error("it is not a whole snapshot")]
    NotWhole,
    /// It was written by another version.
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// Not a bit of it may differ from what was written.
    #[error("it is damaged")]
    Damaged,
    /// It can be read, and means nothing.
    #[error("it makes no sense: {0}")]
    Senseless(&'static str),
}

/// An event by which a log is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMark {
    /// Where it is.
    pub position: Position,
    stream: (String, String),
    sequence: u64,
    digest: [u8; 32],
}

impl EventMark {
    /// What an event is known by.
    pub fn of(recorded: &Recorded) -> Self {
        let Recorded { position, aggregate_type, aggregate_id, sequence, .. } = recorded;
        let mut digest = Sha256::new();
        digest.update(&recorded.event_type);
        digest.update([0]);
        digest.update(&recorded.event_version);
        digest.update([0]);
        digest.update(recorded.payload.to_string());
        digest.update(serde_json::to_vec(&recorded.metadata).unwrap_or_default());
        Self {
            position: *position,
            stream: (aggregate_type.clone(), aggregate_id.clone()),
            sequence: *sequence,
            digest: digest.finalize().into(),
        }
    }

    /// Whether a log has exactly this event.
    pub async fn is_in(&self, feed: &dyn EventFeed) -> Result<bool, StoreError> {
        let Some(before) = self.position.get().checked_sub(1) else { return Ok(false) };
        let page = feed.read(Position::new(before), 1).await?;
        Ok(page.events.first().is_some_and(|found| Self::of(found) == *self))
    }
}

/// A moment, to the nanosecond.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Moment(i64, u32);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum StoredState {
    Incomplete,
    Trialing(Option<Moment>),
    Active,
    PastDue(Moment, Option<Moment>),
    Granted(Moment),
    Unpaid,
    Paused,
    Ended,
    Unknown,
}

/// Collection is paused.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct StoredPause {
    paid_until: Option<Moment>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct StoredHeld {
    payer: u64,
    id: u64,
    bundle: u32,
    state: StoredState,
    ends_at: Option<Moment>,
    collection_paused: Option<StoredPause>,
    /// The latest payment was given back, one is disputed, a dispute was lost.
    reversed: [bool; 3],
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    last: EventMark,
    parked: ParkedStreams,
    /// As JSON, whose shape is kept for the sake of the events anyway.
    catalog: Vec<u8>,
    bundles: Vec<Bundle>,
    members: Vec<(Key, Vec<StoredHeld>)>,
    member_of: Vec<(Key, Key)>,
    waiting: Vec<(Key, Vec<StoredHeld>)>,
    revoked: StoredRevoked,
}

/// An index that was written down and can be used.
#[derive(Debug)]
pub struct Snapshot {
    last: EventMark,
    parked: ParkedStreams,
    catalog: Catalog,
    bundles: Vec<Bundle>,
    members: Vec<(Key, Arc<[Held]>)>,
    member_of: Vec<(Key, Key)>,
    waiting: Vec<(Key, Vec<Held>)>,
    revoked: StoredRevoked,
}

impl AccessIndex {
    /// The index as it is after the last whole batch, as bytes; nothing as long as it knows of no event. Blocks, and holds
    /// the follower up for as long as a copy takes; readers never.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        let kept = self.kept.blocking_lock();
        let Kept { last: Some(last), parked } = kept.clone() else { return None };
        let view = self.view.load_full();
        let mut members: Vec<(Key, Arc<[Held]>)> = Vec::with_capacity(self.members.len());
        members.extend(self.members.pin().iter().map(|(member, held)| (*member, held.clone())));
        let links = self.links();
        let mut member_of: Vec<_> = links.member_of.iter().map(|(payer, member)| (*payer, *member)).collect();
        let mut waiting: Vec<_> = links.waiting.iter().map(|(payer, held)| (*payer, held.clone())).collect();
        let bundles = links.bundles.clone();
        let revoked = self.revoked.stored();
        drop(links);
        drop(kept);
        // The same index always makes the same bytes.
        members.sort_unstable_by_key(|(member, _)| *member);
        member_of.sort_unstable();
        waiting.sort_unstable_by_key(|(payer, _)| *payer);
        let stored = |held: &[Held]| held.iter().map(StoredHeld::of).collect::<Vec<_>>();
        let stored = Stored {
            last,
            parked,
            catalog: serde_json::to_vec(view.catalog.as_ref()).ok()?,
            bundles,
            members: members.iter().map(|(member, held)| (*member, stored(held))).collect(),
            member_of,
            waiting: waiting.iter().map(|(payer, held)| (*payer, stored(held))).collect(),
            revoked,
        };
        Some(seal(&postcard::to_stdvec(&stored).ok()?))
    }
}

/// Puts before some bytes what tells that they are whole.
pub fn seal(contents: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + contents.len());
    sealed.extend(MAGIC);
    sealed.extend(VERSION.to_le_bytes());
    sealed.extend((contents.len() as u64).to_le_bytes());
    sealed.extend(Sha256::digest(contents));
    sealed.extend(contents);
    sealed
}

/// Reads a snapshot. Bytes of any kind give a snapshot or an error, and take no more memory than they are long, a few times
/// over.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(SnapshotError::NotWhole)?;
    let (version, rest) = rest.split_first_chunk().ok_or(SnapshotError::NotWhole)?;
    let (length, rest) = rest.split_first_chunk().ok_or(SnapshotError::NotWhole)?;
    let (digest, contents) = rest.split_first_chunk::<32>().ok_or(SnapshotError::NotWhole)?;
    if *magic != MAGIC {
        return Err(SnapshotError::NotWhole);
    }
    if u32::from_le_bytes(*version) != VERSION {
        return Err(SnapshotError::Version(u32::from_le_bytes(*version)));
    }
    if u64::from_le_bytes(*length) != contents.len() as u64 {
        return Err(SnapshotError::NotWhole);
    }
    if *Sha256::digest(contents) != *digest {
        return Err(SnapshotError::Damaged);
    }
    understand(contents)
}

fn understand(contents: &[u8]) -> Result<Snapshot, SnapshotError> {
    let (stored, rest): (Stored, _) =
        postcard::take_from_bytes(contents).map_err(|_| SnapshotError::Damaged)?;
    if !rest.is_empty() {
        return Err(SnapshotError::Senseless("there is more than it should hold"));
    }
    let catalog = serde_json::from_slice(&stored.catalog);
    let bundles = stored.bundles.len();
    let held = |stored: Vec<StoredHeld>| {
        stored.into_iter().map(|held| held.read(bundles)).collect::<Result<Vec<Held>, _>>()
    };
    let members = stored.members.into_iter().map(|(member, stored)| Ok((member, held(stored)?.into())));
    let waiting = stored.waiting.into_iter().map(|(payer, stored)| Ok((payer, held(stored)?)));
    Ok(Snapshot {
        last: stored.last,
        parked: stored.parked,
        catalog: catalog.map_err(|_| SnapshotError::Senseless("its catalogue cannot be read"))?,
        members: members.collect::<Result<_, SnapshotError>>()?,
        waiting: waiting.collect::<Result<_, SnapshotError>>()?,
        bundles: stored.bundles,
        member_of: stored.member_of,
        revoked: stored.revoked,
    })
}

impl Snapshot {
    /// The last event it knows of.
    pub fn last(&self) -> &EventMark {
        &self.last
    }

    /// How many members it knows.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) fn parked(&self) -> &ParkedStreams {
        &self.parked
    }

    /// Makes an empty index what this one was.
    pub(super) fn fill(self, index: &AccessIndex) {
        let mut links = index.links();
        links.numbers = (0..).zip(&self.bundles).map(|(number, bundle)| (bundle.clone(), number)).collect();
        links.bundles = self.bundles;
        links.member_of = self.member_of.into_iter().collect();
        links.waiting = self.waiting.into_iter().collect();
        drop(links);
        index.set_catalog(self.catalog);
        index.revoked.fill(self.revoked);
        let members = index.members.pin();
        members.reserve(self.members.len());
        for (member, held) in self.members {
            members.insert(member, held);
        }
        if let Ok(mut kept) = index.kept.try_lock() {
            *kept = Kept { last: Some(self.last), parked: self.parked };
        }
    }
}

impl Moment {
    fn of(moment: DateTime<Utc>) -> Self {
        Self(moment.timestamp(), moment.timestamp_subsec_nanos())
    }

    fn read(self) -> Result<DateTime<Utc>, SnapshotError> {
        DateTime::from_timestamp(self.0, self.1).ok_or(SnapshotError::Senseless("a moment that never comes"))
    }
}

impl StoredHeld {
    fn of(held: &Held) -> Self {
        let Held { payer, id, bundle, source } = *held;
        let state = match source.state {
            State::Incomplete => StoredState::Incomplete,
            State::Trialing { until } => StoredState::Trialing(until.map(Moment::of)),
            State::Active => StoredState::Active,
            State::PastDue { since, extended } => {
                StoredState::PastDue(Moment::of(since), extended.map(Moment::of))
            }
            State::Granted { from } => StoredState::Granted(Moment::of(from)),
            State::Unpaid => StoredState::Unpaid,
            State::Paused => StoredState::Paused,
            State::Ended => StoredState::Ended,
            State::Unknown => StoredState::Unknown,
        };
        let pause = |paused: CollectionPaused| StoredPause { paid_until: paused.paid_until.map(Moment::of) };
        let Reversed { refunded, disputed, lost } = source.reversed;
        Self {
            payer,
            id,
            bundle,
            state,
            ends_at: source.ends_at.map(Moment::of),
            collection_paused: source.collection_paused.map(pause),
            reversed: [refunded, disputed, lost],
        }
    }

    fn read(self, bundles: usize) -> Result<Held, SnapshotError> {
        let state = match self.state {
            StoredState::Incomplete => State::Incomplete,
            StoredState::Trialing(until) => State::Trialing { until: until.map(Moment::read).transpose()? },
            StoredState::Active => State::Active,
            StoredState::PastDue(since, extended) => {
                State::PastDue { since: since.read()?, extended: extended.map(Moment::read).transpose()? }
            }
            StoredState::Granted(from) => State::Granted { from: from.read()? },
            StoredState::Unpaid => State::Unpaid,
            StoredState::Paused => State::Paused,
            StoredState::Ended => State::Ended,
            StoredState::Unknown => State::Unknown,
        };
        let collection_paused = match self.collection_paused {
            Some(StoredPause { paid_until }) => {
                Some(CollectionPaused { paid_until: paid_until.map(Moment::read).transpose()? })
            }
            None => None,
        };
        let [refunded, disputed, lost] = self.reversed;
        let source = Source {
            plans: PlanSet::default(),
            state,
            ends_at: self.ends_at.map(Moment::read).transpose()?,
            collection_paused,
            reversed: Reversed { refunded, disputed, lost },
        };
        let Self { payer, id, bundle, .. } = self;
        if bundle as usize >= bundles {
            return Err(SnapshotError::Senseless("a subscription that sells nothing known"));
        }
        Ok(Held { payer, id, bundle, source })
    }
}

#[cfg(test)]
mod tests;
