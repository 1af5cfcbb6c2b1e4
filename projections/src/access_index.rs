//! The answer to every access check, in memory: one look-up, no I/O, no lock.

mod revoked;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::access::{Decision, Source, decide_access, decide_for_stranger};
use domain::catalog::{self, Catalog, PlanSet, Policy, Video};
use domain::events::Event;
use domain::ids::{MemberId, PlanId, SessionId};
use domain::ports::Position;
use domain::subscription::{Item, Standing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::revoked::Revoked;
pub use self::snapshot::{EventMark, Snapshot, SnapshotError, decode, seal};

use crate::directory;
use crate::parked::{Batch, ParkedStreams};
use crate::runner::{Projection, ProjectionError};
use crate::view_store::DirectoryRow;

/// Every member's sources of access, ready to be decided on.
pub struct AccessIndex {
    /// What readers see of members.
    members: papaya::HashMap<Key, Known>,
    /// What readers see of the catalogue.
    view: ArcSwap<View>,
    /// What readers see of sessions that have ended.
    revoked: Revoked,
    /// What only the one follower of the log needs.
    links: Mutex<Links>,
    /// How far the follower is. Held while it takes a batch in, so that a snapshot is of whole batches.
    kept: tokio::sync::Mutex<Kept>,
    /// How many events were taken in.
    changes: AtomicU64,
}

/// What a snapshot needs beside what readers see.
#[derive(Debug, Clone, Default)]
struct Kept {
    last: Option<EventMark>,
    parked: ParkedStreams,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The decision.
    pub decision: Decision,
    /// The decision in words.
    pub message: String,
    /// The last event that it rests on, as far as this process has seen one. Together with everything that had been applied
    /// before the check it is the place of the log that the decision is of: it knows all up to there that matters to it, and
    /// nothing later.
    pub position: Position,
}

/// What a member has.
#[derive(Debug, Clone)]
struct Known {
    held: Arc<[Held]>,
    /// The last event that changed it.
    changed: Position,
}

/// What a check asked about is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotThere {
    /// No member has this id.
    Member,
    /// No video has this id.
    Video,
}

struct View {
    /// The last event of the catalogue.
    changed: Position,
    catalog: Arc<Catalog>,
    policy: Policy,
    /// The plans that each kind of bundle opens videos with, by [`Bundle`] number.
    opens: Vec<PlanSet>,
}

/// A subscription or a grant in the index. Its plans are looked up through its bundle, so that a change of the catalogue touches a
/// few bundles and no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    /// Whose it is: its payer, or the member herself where it was given to her. Half a key tells the few of one member apart.
    payer: u64,
    /// Which it is.
    id: u64,
    bundle: u32,
    source: Source,
}

/// What some subscriptions sell, or some grants give: few kinds exist, many subscriptions share each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Bundle {
    items: Vec<Item>,
    recorded: Vec<PlanId>,
}

#[derive(Default)]
struct Links {
    member_of: HashMap<Key, Key>,
    /// Subscriptions of payers that belong to no member, and what was given to members not known yet.
    waiting: HashMap<Key, Vec<Held>>,
    bundles: Vec<Bundle>,
    numbers: HashMap<Bundle, u32>,
}

/// An id in 16 bytes: the UUID of a generated member id, else the start of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Key(u128);

impl Key {
    fn of(id: &str) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        let (start, _) = hash.split_at(16);
        Self(start.iter().fold(0, |key, byte| key << 8 | u128::from(*byte)))
    }

    /// As much of it as tells the few things of one member apart.
    fn half(self) -> u64 {
        u64::try_from(self.0 >> 64).unwrap_or_default()
    }

    fn of_member(member: &MemberId) -> Self {
        member.uuid().map_or_else(|| Self::of(member.as_str()), |uuid| Self(uuid.as_u128()))
    }

    fn of_session(session: &SessionId) -> Self {
        session.uuid().map_or_else(|| Self::of(session.as_str()), |uuid| Self(uuid.as_u128()))
    }
}

impl Links {
    /// Keeps what is not a member's yet, instead of what was known of it before.
    fn wait(&mut self, payer: Key, held: Held) {
        let waiting = self.waiting.entry(payer).or_default();
        waiting.retain(|other| other.id != held.id);
        waiting.push(held);
    }
}

impl Default for AccessIndex {
    fn default() -> Self {
        let view = View {
            changed: Position::START,
            catalog: Arc::default(),
            policy: Policy::default(),
            opens: Vec::new(),
        };
        Self {
            members: papaya::HashMap::new(),
            view: ArcSwap::from_pointee(view),
            revoked: Revoked::default(),
            links: Mutex::default(),
            kept: tokio::sync::Mutex::default(),
            changes: AtomicU64::new(0),
        }
    }
}

/// What one viewer may watch: her sources of access and the catalogue, both as of one moment.
pub struct Viewing {
    /// Nothing for somebody who is not signed in.
    sources: Option<Known>,
    view: Arc<View>,
}

impl Viewing {
    /// The catalogue.
    pub fn catalog(&self) -> &Catalog {
        &self.view.catalog
    }

    /// May she watch this video of the catalogue at `at`, and how is that said?
    pub fn decide(&self, video: &Video, at: DateTime<Utc>) -> Checked {
        let decision = match &self.sources {
            Some(sources) => self.view.decide(&sources.held, video, at),
            None => decide_for_stranger(&self.view.catalog, video),
        };
        let message = decision.message(&self.view.catalog);
        Checked { decision, message, position: self.position() }
    }

    /// The last event that decisions about it rest on.
    pub fn position(&self) -> Position {
        let changed = self.sources.as_ref().map_or(Position::START, |sources| sources.changed);
        changed.max(self.view.changed)
    }

    /// The next moment after `at` at which a decision may change with nothing but time passing.
    pub fn next_change(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let sources = self.sources.iter().flat_map(|sources| sources.held.iter());
        sources.filter_map(|held| held.source.next_change(&self.view.policy, at)).min()
    }

    /// Whether nothing that decides has changed between the two but time.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same_sources = match (&self.sources, &other.sources) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.held, &other.held) || one.held == other.held,
            (None, None) => true,
            _ => false,
        };
        same_sources && Arc::ptr_eq(&self.view, &other.view)
    }
}

impl AccessIndex {
    /// What a member may watch as things stand, or, without one, somebody who is not signed in. A member of whom nothing is
    /// known yet has nothing.
    pub fn viewing(&self, member: Option<&MemberId>) -> Viewing {
        let known =
            |member| self.members.pin().get(&Key::of_member(member)).cloned().unwrap_or_else(Known::nothing);
        loop {
            let (sources, view) = (member.map(known), self.view.load_full());
            let changed = |sources: &Option<Known>| sources.as_ref().map(|sources| sources.changed);
            if changed(&sources) == changed(&member.map(known)) {
                return Viewing { sources, view };
            }
        }
    }

    /// How many members pay for several subscriptions at once.
    pub fn paying_twice(&self) -> usize {
        let members = self.members.pin();
        let twice = |known: &Known| known.held.iter().filter(|held| held.source.is_paying()).count() > 1;
        members.values().filter(|known| twice(known)).count()
    }

    /// May this member watch this video at `at`, as things stand?
    pub fn check(&self, member: &MemberId, video: &str, at: DateTime<Utc>) -> Result<Checked, NotThere> {
        // First the member, then the view: a bundle that she has is in every later view. And the member once more, so that
        // both are as of one place of the log.
        let (members, key) = (self.members.pin(), Key::of_member(member));
        let mut known = members.get(&key).ok_or(NotThere::Member)?;
        let view = loop {
            let view = self.view.load();
            let again = members.get(&key).ok_or(NotThere::Member)?;
            if again.changed == known.changed {
                break view;
            }
            known = again;
        };
        let video = view.catalog.video(video).ok_or(NotThere::Video)?;
        let decision = view.decide(&known.held, video, at);
        let message = decision.message(&view.catalog);
        Ok(Checked { decision, message, position: known.changed.max(view.changed) })
    }

    /// Whether a session was ended before its time, so that an access token of it counts no more.
    pub fn session_is_revoked(&self, session: &SessionId) -> bool {
        self.revoked.contains(session)
    }

    /// How many members it knows.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The videos a member may watch at `at` under `catalog`, which need not be the one in force.
    pub fn open_videos<'c>(
        &self,
        member: &MemberId,
        catalog: &'c Catalog,
        at: DateTime<Utc>,
    ) -> Vec<&'c Video> {
        let sources = self.sources(member, catalog);
        let policy = catalog.policy();
        let open =
            |video: &&Video| decide_access(sources.iter().copied(), catalog, &policy, video, at).allowed;
        catalog.videos().filter(open).collect()
    }

    /// The catalogue in force.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.view.load().catalog.clone()
    }

    /// A member's sources of access under `catalog`, for comparing.
    pub fn sources(&self, member: &MemberId, catalog: &Catalog) -> Vec<Source> {
        let links = self.links();
        let members = self.members.pin();
        let Some(known) = members.get(&Key::of_member(member)) else { return Vec::new() };
        let resolve = |held: &Held| {
            let bundle = &links.bundles[held.bundle as usize];
            Source { plans: catalog.opened_by(&bundle.items, &bundle.recorded), ..held.source }
        };
        known.held.iter().map(resolve).collect()
    }

    /// Takes a change of the directory in.
    pub fn put(&self, row: &DirectoryRow) {
        let mut links = self.links();
        let position = row.position();
        match row {
            DirectoryRow::Member { member, .. } => {
                let member = Key::of_member(member);
                self.members
                    .pin()
                    .get_or_insert_with(member, || Known { changed: position, ..Known::nothing() });
                let of_hers =
                    |payer: &&Key| **payer == member || links.member_of.get(*payer) == Some(&member);
                let payers: Vec<Key> = links.waiting.keys().filter(of_hers).copied().collect();
                for payer in payers {
                    self.welcome(&mut links, payer, member, position);
                }
            }
            DirectoryRow::Customer { customer, member, linked, .. } => {
                let (payer, member) = (Key::of(customer.as_str()), Key::of_member(member));
                let held = links.member_of.get(&payer).copied();
                if let Some(held) = held.filter(|held| (*held == member) != *linked) {
                    links.member_of.remove(&payer);
                    self.part(&mut links, payer, held, position);
                }
                if *linked {
                    links.member_of.insert(payer, member);
                    self.welcome(&mut links, payer, member, position);
                }
            }
            DirectoryRow::Subscription { subscription, standing, .. } => {
                let payer = Key::of(standing.terms.customer.as_str());
                let held = self.bought(&mut links, payer, subscription.as_str(), standing);
                links.wait(payer, held);
                if let Some(member) = links.member_of.get(&payer).copied() {
                    self.welcome(&mut links, payer, member, position);
                }
            }
            DirectoryRow::Grant { grant, given, revoked, .. } => {
                let member = Key::of_member(&given.member);
                let bundle = Bundle { items: Vec::new(), recorded: vec![given.plan.clone()] };
                let held = Held {
                    payer: member.half(),
                    id: Key::of(grant.as_str()).half(),
                    bundle: self.number(&mut links, bundle),
                    source: Source::granted(given, *revoked, PlanSet::default()),
                };
                links.wait(member, held);
                self.welcome(&mut links, member, member, position);
            }
            DirectoryRow::Checkout { .. } => {}
        }
    }

    /// Takes another catalogue in.
    pub fn set_catalog(&self, catalog: Catalog) {
        self.set_catalog_of(catalog, Position::START);
    }

    /// The same, as of its last event.
    fn set_catalog_of(&self, catalog: Catalog, changed: Position) {
        let links = self.links();
        let opens = links.bundles.iter().map(|bundle| catalog.opened_by(&bundle.items, &bundle.recorded));
        let (policy, opens) = (catalog.policy(), opens.collect());
        let view = View { changed, policy, opens, catalog: Arc::new(catalog) };
        self.view.store(Arc::new(view));
    }

    /// How many events were taken in by this process.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bought(&self, links: &mut Links, payer: Key, subscription: &str, standing: &Standing) -> Held {
        let kind = |item: &Item| Item { period_end: None, ..item.clone() };
        let bundle = Bundle {
            items: standing.terms.items.iter().map(kind).collect(),
            recorded: standing.anchors.plans.clone(),
        };
        Held {
            payer: payer.half(),
            id: Key::of(subscription).half(),
            bundle: self.number(links, bundle),
            source: Source::new(standing, PlanSet::default()),
        }
    }

    /// The number of a bundle, which readers know of from then on.
    fn number(&self, links: &mut Links, bundle: Bundle) -> u32 {
        if let Some(number) = links.numbers.get(&bundle) {
            return *number;
        }
        let number = u32::try_from(links.bundles.len()).unwrap_or(u32::MAX);
        let view = self.view.load();
        let mut opens = view.opens.clone();
        opens.push(view.catalog.opened_by(&bundle.items, &bundle.recorded));
        let (catalog, policy) = (view.catalog.clone(), view.policy.clone());
        let view = View { changed: view.changed, catalog, policy, opens };
        self.view.store(Arc::new(view));
        links.bundles.push(bundle.clone());
        links.numbers.insert(bundle, number);
        number
    }

    /// Takes what a payer pays for from a member to whom she does not belong; it waits for her to belong to somebody.
    fn part(&self, links: &mut Links, payer: Key, member: Key, position: Position) {
        let members = self.members.pin();
        let Some(known) = members.get(&member) else { return };
        let (theirs, hers): (Vec<Held>, Vec<Held>) =
            known.held.iter().copied().partition(|held| held.payer == payer.half());
        for held in theirs {
            links.wait(payer, held);
        }
        members.insert(member, known.changed_to(hers, position));
    }

    /// Shows readers what waited for a payer to belong to a member, once that member exists.
    fn welcome(&self, links: &mut Links, payer: Key, member: Key, position: Position) {
        let members = self.members.pin();
        let Some(known) = members.get(&member) else { return };
        let Some(waiting) = links.waiting.remove(&payer) else { return };
        let is_replaced = |held: &&Held| waiting.iter().any(|new| new.id == held.id);
        let mut all: Vec<Held> = known.held.iter().filter(|held| !is_replaced(held)).copied().collect();
        all.extend(waiting.iter().copied());
        all.sort_unstable_by_key(|held| held.id);
        members.insert(member, known.changed_to(all, position));
    }
}

impl Known {
    fn nothing() -> Self {
        Self { held: Arc::new([]), changed: Position::START }
    }

    /// Something else since an event. One that is read again late does not turn its place back.
    fn changed_to(&self, held: Vec<Held>, position: Position) -> Self {
        Self { held: held.into(), changed: self.changed.max(position) }
    }
}

impl View {
    fn decide(&self, sources: &[Held], video: &Video, at: DateTime<Utc>) -> Decision {
        let opened = |held: &Held| Source {
            plans: self.opens.get(held.bundle as usize).copied().unwrap_or_default(),
            ..held.source
        };
        decide_access(sources.iter().map(opened), &self.catalog, &self.policy, video, at)
    }
}

/// Keeps an index up to date with the log, from its first event.
pub struct IndexFollower {
    index: Arc<AccessIndex>,
    catalog: Catalog,
    checkpoint: Position,
    parked: ParkedStreams,
}

impl IndexFollower {
    /// Fills `index`, which is empty.
    pub fn new(index: Arc<AccessIndex>) -> Self {
        let (catalog, checkpoint) = (Catalog::default(), Position::START);
        Self { index, catalog, checkpoint, parked: ParkedStreams::default() }
    }

    /// Fills `index`, which is empty, with a snapshot, and goes on from there.
    pub fn resume(index: Arc<AccessIndex>, snapshot: Snapshot) -> Self {
        let (catalog, checkpoint, parked) =
            (snapshot.catalog().clone(), snapshot.last().position, snapshot.parked().clone());
        snapshot.fill(&index);
        Self { index, catalog, checkpoint, parked }
    }
}

#[async_trait]
impl Projection for IndexFollower {
    fn name(&self) -> &'static str {
        "access-index"
    }

    async fn checkpoint(&mut self) -> Result<Position, ProjectionError> {
        Ok(self.checkpoint)
    }

    fn parked(&self) -> &ParkedStreams {
        &self.parked
    }

    async fn apply(&mut self, batch: Batch, next: Position) -> Result<(), ProjectionError> {
        let index = self.index.clone();
        let mut kept = index.kept.lock().await;
        let cured = !batch.cured.is_empty();
        if batch.cured.iter().any(|stream| stream.aggregate_type == Catalog::TYPE) {
            self.catalog = Catalog::default();
        }
        let (mut catalog_changed, mut last) = (None, BTreeMap::new());
        for (recorded, event) in &batch.events {
            self.index.revoked.take_in(recorded, event);
            if let Event::Catalog(event) = event {
                catalog::evolve(&mut self.catalog, event);
                catalog_changed = Some(recorded.position);
            } else if let Some(row) = directory::row(recorded, event) {
                // Of a stream that is read again readers only ever see the end.
                if cured {
                    last.insert(row.key(), row);
                } else {
                    // In the order of the log: who sees a change sees all before it.
                    if let Some(changed) = catalog_changed.take() {
                        self.index.set_catalog_of(self.catalog.clone(), changed);
                    }
                    self.index.put(&row);
                }
            }
        }
        for row in last.values() {
            self.index.put(row);
        }
        if let Some(changed) = catalog_changed {
            self.index.set_catalog_of(self.catalog.clone(), changed);
        }
        self.parked.take_in(&batch);
        kept.parked.clone_from(&self.parked);
        if let Some((last, _)) = batch.events.last().filter(|_| !cured) {
            kept.last = Some(EventMark::of(last));
        }
        index.changes.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        self.checkpoint = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
