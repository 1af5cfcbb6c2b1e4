//! The answer to every access check, in memory: one look-up, no I/O, no lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::access::{Decision, Source, decide_access};
use domain::catalog::{self, Catalog, PlanSet, Policy, Video};
use domain::events::Event;
use domain::ids::{MemberId, PlanId};
use domain::ports::{Position, Recorded};
use domain::subscription::{Item, Standing};
use sha2::{Digest, Sha256};

use crate::directory;
use crate::runner::{Projection, ProjectionError};
use crate::view_store::DirectoryRow;

/// Every member's sources of access, ready to be decided on.
pub struct AccessIndex {
    /// What readers see of members.
    members: papaya::HashMap<Key, Arc<[Indexed]>>,
    /// What readers see of the catalogue.
    view: ArcSwap<View>,
    /// What only the one follower of the log needs.
    links: Mutex<Links>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The decision.
    pub decision: Decision,
    /// The decision in words.
    pub message: String,
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
    catalog: Arc<Catalog>,
    policy: Policy,
    /// The plans that each kind of bundle opens videos with, by [`Bundle`] number.
    opens: Vec<PlanSet>,
}

/// A subscription in the index. Its plans are looked up through its bundle, so that a change of the catalogue touches a
/// few bundles and no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Indexed {
    bundle: u32,
    source: Source,
}

/// What some subscriptions sell: few kinds exist, many subscriptions share each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bundle {
    items: Vec<Item>,
    recorded: Vec<PlanId>,
}

#[derive(Default)]
struct Links {
    payers: HashMap<Key, Payer>,
    subscriptions: HashMap<Key, (Key, Indexed)>,
    payers_of: HashMap<Key, Vec<Key>>,
    bundles: Vec<Bundle>,
    numbers: HashMap<Bundle, u32>,
}

#[derive(Default)]
struct Payer {
    member: Option<Key>,
    subscriptions: Vec<Key>,
}

/// An id in 16 bytes: the UUID of a generated member id, else the start of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    fn of(id: &str) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        let (start, _) = hash.split_at(16);
        Self(start.iter().fold(0, |key, byte| key << 8 | u128::from(*byte)))
    }

    fn of_member(member: &MemberId) -> Self {
        member.uuid().map_or_else(|| Self::of(member.as_str()), |uuid| Self(uuid.as_u128()))
    }
}

impl Default for AccessIndex {
    fn default() -> Self {
        let view = View { catalog: Arc::default(), policy: Policy::default(), opens: Vec::new() };
        Self { members: papaya::HashMap::new(), view: ArcSwap::from_pointee(view), links: Mutex::default() }
    }
}

impl AccessIndex {
    /// May this member watch this video at `at`, as things stand?
    pub fn check(&self, member: &MemberId, video: &str, at: DateTime<Utc>) -> Result<Checked, NotThere> {
        let view = self.view.load();
        let members = self.members.pin();
        let sources = members.get(&Key::of_member(member)).ok_or(NotThere::Member)?;
        let video = view.catalog.video(video).ok_or(NotThere::Video)?;
        let decision = view.decide(sources, video, at);
        let message = decision.message(&view.catalog);
        Ok(Checked { decision, message })
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

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// A member's sources of access under `catalog`, for comparing.
    pub fn sources(&self, member: &MemberId, catalog: &Catalog) -> Vec<Source> {
        let links = self.links();
        let members = self.members.pin();
        let Some(sources) = members.get(&Key::of_member(member)) else { return Vec::new() };
        let resolve = |indexed: &Indexed| {
            let bundle = &links.bundles[indexed.bundle as usize];
            Source { plans: catalog.opened_by(&bundle.items, &bundle.recorded), ..indexed.source }
        };
        sources.iter().map(resolve).collect()
    }

    /// Takes a change of the directory in.
    pub fn put(&self, row: &DirectoryRow) {
        let mut links = self.links();
        match row {
            DirectoryRow::Member { member, .. } => {
                self.members.pin().get_or_insert_with(Key::of_member(member), || Arc::new([]));
                self.refresh(&links, Key::of_member(member));
            }
            DirectoryRow::Customer { customer, member, .. } => {
                let (payer, member) = (Key::of(customer.as_str()), Key::of_member(member));
                links.payers.entry(payer).or_default().member = Some(member);
                let payers = links.payers_of.entry(member).or_default();
                if !payers.contains(&payer) {
                    payers.push(payer);
                }
                self.refresh(&links, member);
            }
            DirectoryRow::Subscription { subscription, standing, .. } => {
                let key = Key::of(subscription.as_str());
                let payer = Key::of(standing.terms.customer.as_str());
                let indexed = self.indexed(&mut links, standing);
                links.subscriptions.insert(key, (payer, indexed));
                let entry = links.payers.entry(payer).or_default();
                if !entry.subscriptions.contains(&key) {
                    entry.subscriptions.push(key);
                }
                if let Some(member) = entry.member {
                    self.refresh(&links, member);
                }
            }
        }
    }

    /// Takes another catalogue in.
    pub fn set_catalog(&self, catalog: Catalog) {
        let links = self.links();
        let opens = links.bundles.iter().map(|bundle| catalog.opened_by(&bundle.items, &bundle.recorded));
        let view = View { policy: catalog.policy(), opens: opens.collect(), catalog: Arc::new(catalog) };
        self.view.store(Arc::new(view));
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn indexed(&self, links: &mut Links, standing: &Standing) -> Indexed {
        let kind = |item: &Item| Item { period_end: None, ..item.clone() };
        let bundle = Bundle {
            items: standing.terms.items.iter().map(kind).collect(),
            recorded: standing.anchors.plans.clone(),
        };
        let source = Source::new(standing, PlanSet::default());
        if let Some(number) = links.numbers.get(&bundle) {
            return Indexed { bundle: *number, source };
        }
        let number = u32::try_from(links.bundles.len()).unwrap_or(u32::MAX);
        let view = self.view.load();
        let mut opens = view.opens.clone();
        opens.push(view.catalog.opened_by(&bundle.items, &bundle.recorded));
        let view = View { catalog: view.catalog.clone(), policy: view.policy.clone(), opens };
        self.view.store(Arc::new(view));
        links.bundles.push(bundle.clone());
        links.numbers.insert(bundle, number);
        Indexed { bundle: number, source }
    }

    /// Shows readers what a member has now.
    fn refresh(&self, links: &Links, member: Key) {
        let members = self.members.pin();
        if members.get(&member).is_none() {
            return;
        }
        let payers = links.payers_of.get(&member).into_iter().flatten();
        let mut keys: Vec<Key> = payers
            .filter_map(|payer| links.payers.get(payer))
            .flat_map(|payer| payer.subscriptions.iter().copied())
            .collect();
        keys.sort_unstable();
        let sources = keys.iter().filter_map(|key| links.subscriptions.get(key)).map(|(_, indexed)| *indexed);
        members.insert(member, sources.collect());
    }
}

impl View {
    fn decide(&self, sources: &[Indexed], video: &Video, at: DateTime<Utc>) -> Decision {
        let opened = |indexed: &Indexed| Source {
            plans: self.opens.get(indexed.bundle as usize).copied().unwrap_or_default(),
            ..indexed.source
        };
        decide_access(sources.iter().map(opened), &self.catalog, &self.policy, video, at)
    }
}

/// Keeps an index up to date with the log, from its first event.
pub struct IndexFollower {
    index: Arc<AccessIndex>,
    catalog: Catalog,
    checkpoint: Position,
}

impl IndexFollower {
    /// Fills `index`, which is empty.
    pub fn new(index: Arc<AccessIndex>) -> Self {
        Self { index, catalog: Catalog::default(), checkpoint: Position::START }
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

    async fn apply(&mut self, events: &[(Recorded, Event)], next: Position) -> Result<(), ProjectionError> {
        let mut catalog_changed = false;
        for (recorded, event) in events {
            if let Event::Catalog(event) = event {
                catalog::evolve(&mut self.catalog, event);
                catalog_changed = true;
            } else if let Some(row) = directory::row(recorded, event) {
                self.index.put(&row);
            }
        }
        if catalog_changed {
            self.index.set_catalog(self.catalog.clone());
        }
        self.checkpoint = next;
        Ok(())
    }
}
