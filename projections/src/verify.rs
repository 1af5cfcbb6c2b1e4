//! Rebuilds every read model from the first event and compares it with the live one.

use std::collections::BTreeMap;

use domain::catalog::{self, Catalog};
use domain::events::{Event, upcasters};
use domain::ids::MemberId;
use domain::ports::{EventFeed, Position, StoreError};
use sha2::{Digest, Sha256};

use crate::access_index::AccessIndex;
use crate::directory;
use crate::parked::{Batch, ParkedStream, ParkedStreams};
use crate::view_store::{DirectoryRow, ViewStore};

const PAGE: usize = 1_000;

/// What came of comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How far both had read.
    pub position: Position,
    /// How many events were folded.
    pub events: u64,
    /// One line for each read model.
    pub models: Vec<ModelDigest>,
    /// The first difference, if there is one.
    pub difference: Option<Difference>,
    /// The streams that stand still in the live directory or in the rebuilt one: nothing later of them was compared.
    pub parked: Vec<ParkedStream>,
}

/// The digests of one read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDigest {
    /// Its name and version.
    pub name: &'static str,
    /// The digest of the live one.
    pub live: String,
    /// The digest of the rebuilt one.
    pub rebuilt: String,
}

/// Where two models part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The member concerned, where one is.
    pub member: Option<MemberId>,
    /// What differs: the row's kind and id.
    pub row: String,
    /// The event that last changed it according to the log, or according to the live row where the log has none.
    pub position: Position,
}

/// Reads the log up to where the live directory is and compares. `tell` is called with the number of events read so far.
pub async fn verify(
    feed: &dyn EventFeed,
    views: &dyn ViewStore,
    mut tell: impl FnMut(u64),
) -> Result<Verification, StoreError> {
    let dump = views.dump(directory::NAME).await?;
    let upcasters = upcasters();
    // The index is folded event by event, as on a node, and compared with one made from the rows that are live.
    let (mut rebuilt, mut catalog, folded) = (BTreeMap::new(), Catalog::default(), AccessIndex::default());
    let (mut at, mut events, mut parked) = (Position::START, 0, ParkedStreams::default());
    while at < dump.checkpoint {
        let page = feed.read(at, PAGE).await?;
        if page.next == at {
            break;
        }
        let mut until_there = page.events;
        until_there.retain(|recorded| recorded.position <= dump.checkpoint);
        events += until_there.len() as u64;
        let batch = Batch::read(until_there, &parked, &upcasters);
        parked.take_in(&batch);
        for (recorded, event) in &batch.events {
            if let Event::Catalog(event) = event {
                catalog::evolve(&mut catalog, event);
            } else if let Some(row) = directory::row(recorded, event) {
                folded.put(&row);
                rebuilt.insert(row.key(), row);
            }
        }
        at = page.next;
        tell(events);
    }
    let live: BTreeMap<_, _> = dump.rows.into_iter().map(|row| (row.key(), row)).collect();
    folded.set_catalog(catalog.clone());
    let digest_of = |index: &AccessIndex| index_digest(index, &live, &rebuilt);
    let (live_index, rebuilt_index) = (digest_of(&index(&live, &catalog)), digest_of(&folded));
    Ok(Verification {
        position: dump.checkpoint,
        events,
        models: vec![
            ModelDigest {
                name: directory::NAME,
                live: digest(live.values()),
                rebuilt: digest(rebuilt.values()),
            },
            ModelDigest { name: "access-index", live: live_index, rebuilt: rebuilt_index },
        ],
        difference: first_difference(&live, &rebuilt),
        parked: dump
            .parked
            .iter()
            .chain(parked.iter().filter(|own| dump.parked.get(&own.stream).is_none()))
            .cloned()
            .collect(),
    })
}

impl Verification {
    /// Whether everything was compared and nothing differs.
    pub fn is_equal(&self) -> bool {
        self.parked.is_empty()
            && self.difference.is_none()
            && self.models.iter().all(|model| model.live == model.rebuilt)
    }
}

type Rows = BTreeMap<(u8, String), DirectoryRow>;

fn first_difference(live: &Rows, rebuilt: &Rows) -> Option<Difference> {
    let keys = rebuilt.keys().chain(live.keys());
    let differing = keys.filter(|key| live.get(*key) != rebuilt.get(*key));
    let found = |key: &(u8, String)| {
        let row = rebuilt.get(key).or_else(|| live.get(key))?;
        let member = member_of(row, rebuilt).or_else(|| member_of(row, live));
        Some(Difference { member, row: format!("{} {}", row.kind(), key.1), position: row.position() })
    };
    differing.filter_map(found).min_by_key(|difference| difference.position)
}

fn member_of(row: &DirectoryRow, rows: &Rows) -> Option<MemberId> {
    match row {
        DirectoryRow::Member { member, .. }
        | DirectoryRow::Customer { member, .. }
        | DirectoryRow::Checkout { member, .. } => Some(member.clone()),
        DirectoryRow::Grant { given, .. } => Some(given.member.clone()),
        DirectoryRow::Subscription { standing, .. } => {
            let payer = format!("{} of ", standing.terms.customer);
            let links = rows.range((1, payer.clone())..).take_while(|((_, id), _)| id.starts_with(&payer));
            links.into_iter().find_map(|(_, row)| match row {
                DirectoryRow::Customer { member, linked: true, .. } => Some(member.clone()),
                _ => None,
            })
        }
    }
}

fn index(rows: &Rows, catalog: &Catalog) -> AccessIndex {
    let index = AccessIndex::default();
    index.set_catalog(catalog.clone());
    for row in rows.values() {
        index.put(row);
    }
    index
}

fn digest<'r>(rows: impl Iterator<Item = &'r DirectoryRow>) -> String {
    hash(rows.map(|row| format!("{row:?}")))
}

fn index_digest(index: &AccessIndex, live: &Rows, rebuilt: &Rows) -> String {
    let catalog = index.catalog();
    let mut members: Vec<&MemberId> = live.values().chain(rebuilt.values()).filter_map(registered).collect();
    members.sort_unstable();
    members.dedup();
    hash(members.into_iter().map(|member| format!("{member} {:?}", index.sources(member, &catalog))))
}

fn registered(row: &DirectoryRow) -> Option<&MemberId> {
    if let DirectoryRow::Member { member, .. } = row { Some(member) } else { None }
}

fn hash(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    hex::encode(hash.finalize())
}
