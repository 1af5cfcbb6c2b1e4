//! What is left of a program that was killed: in the store, and in the one that is started after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::catalog::{Catalog, evolve};
use domain::clock::{Clock, SystemClock};
use domain::events::{Event, upcasters};
use domain::ids::MemberId;
use domain::ports::{Position, Recorded};
use projections::access_index::AccessIndex;
use projections::directory;
use projections::view_store::DirectoryRow;
use rusqlite::OpenFlags;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use storage::{Access, Storage};
use webhook_ingest::inbox::{DeliveryFilter, StepKind};

use super::senders::World;
use super::{Report, client, text};
use crate::app::{Home, TOKEN};
use crate::stripe::{ADVANCED, BASIC};

/// How many members are asked about at once.
const MEMBERS: usize = 100;
const INBOX: &str = "SELECT id, outcome = 'pending' FROM inbox";

/// Looks at what is left, and keeps what it has read of the log: nothing in it ever changes, as the end of a home shows.
pub(super) struct Witness {
    world: Arc<World>,
    /// The members whose registration was acknowledged by a program that is dead.
    registered: Vec<String>,
    log: Vec<Recorded>,
    read: Position,
    directory: Directory,
    index: Index,
}

/// The rows that the first events of the log make.
#[derive(Default)]
struct Directory {
    events: usize,
    rows: BTreeMap<(u8, String), DirectoryRow>,
}

/// The answers that the first events of the log make.
#[derive(Default)]
struct Index {
    events: usize,
    answers: AccessIndex,
    catalog: Catalog,
}

impl Witness {
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self {
            world: world.clone(),
            registered: Vec::new(),
            log: Vec::new(),
            read: Position::START,
            directory: Directory::default(),
            index: Index::default(),
        }
    }

    /// Looks at the store as the dead program left it: every delivery that was acknowledged is there, and the directory is
    /// what the log tells up to where it has read.
    pub(super) async fn look_at_rest(&mut self, report: &mut Report) {
        let acknowledged: Vec<String> = {
            let state = self.world.state();
            self.registered.clone_from(&state.registered);
            state.acknowledged.keys().cloned().collect()
        };
        let inbox = inbox(&self.world.home).await.unwrap_or_default();
        let known: BTreeMap<_, _> = inbox.iter().map(|(id, pending)| (id, pending)).collect();
        if known.len() < inbox.len() {
            report.doubled.push("the inbox holds a delivery twice".to_owned());
        }
        let missing = acknowledged.iter().filter(|id| !known.contains_key(id));
        report.lost.extend(missing.map(|id| format!("{id} was acknowledged and is not in the inbox")));
        self.world.wait_behind(inbox.iter().filter(|(_, pending)| *pending).count());

        // One that died before it had made its tables has left nothing else.
        let Some(storage) = self.world.open().await else { return };
        let dump = storage.views.dump(directory::NAME).await.expect("the directory can be read");
        self.read_on(&storage).await;
        storage.shutdown().await;
        let live: BTreeMap<_, _> = dump.rows.into_iter().map(|row| (row.key(), row)).collect();
        self.directory.fold(&self.log, dump.checkpoint);
        if live != self.directory.rows {
            report.wrong.push(format!("the directory is not what the log tells up to {}", dump.checkpoint));
        }
    }

    /// Asks the program that was started again: every registration that was acknowledged is known, and the answers are what
    /// the log tells up to where they are from.
    pub(super) async fn look_while_it_runs(&mut self, report: &mut Report) {
        let registered = self.registered.clone();
        let members = registered.iter().rev().take(MEMBERS);
        let asked: Vec<_> =
            members.flat_map(|member| [BASIC, ADVANCED].map(|video| (member.as_str(), video))).collect();
        let Some(answer) = self.world.ask(&asked).await else { return };
        let (Some(at), Some(storage)) = (Position::parse(text(&answer, "position")), self.world.open().await)
        else {
            return;
        };
        self.read_on(&storage).await;
        storage.shutdown().await;
        self.index.fold(&self.log, |recorded| recorded.position <= at);
        let decisions = answer["decisions"].as_array().into_iter().flatten();
        let mut open: Vec<_> = asked.into_iter().zip(decisions).collect();
        let mut more = true;
        // Answers know of the log up to their position at least, and may know of a little more.
        while more && !open.is_empty() {
            open.retain(|((member, video), decision)| !self.index.agrees(member, video, decision));
            more = self.index.step(&self.log);
        }
        for ((member, video), decision) in open {
            if decision["code"] == "unknown_member" {
                report.lost.push(format!("the registration of {member} was acknowledged and is not known"));
            } else {
                report
                    .wrong
                    .push(format!("{member} {video} from {at} is not what the log tells: {decision}"));
            }
        }
    }

    /// Looks at everything once more when it has come to rest: the log, read again from its first event, the bodies, and the
    /// traces that every delivery has to have left.
    pub(super) async fn look_at_all(&mut self, report: &mut Report) {
        let kept = std::mem::take(&mut self.log);
        self.read = Position::START;
        let storage = self.world.open().await.expect("the store is there");
        self.read_on(&storage).await;
        if !self.log.starts_with(&kept) {
            report.wrong.push("what had been read of the log has changed".to_owned());
        }
        report.doubled.extend(doubled(&self.log));
        let all = DeliveryFilter { limit: usize::MAX, ..DeliveryFilter::default() };
        let inbox = storage.inbox.list(all).await.expect("the inbox can be read");
        let mut bodies = BTreeMap::new();
        for delivery in &inbox {
            let whole = storage.inbox.get(&delivery.id).await.expect("a delivery can be read");
            bodies.extend(whole.map(|whole| (whole.id, whole.body)));
            let steps = storage.inbox.steps(&delivery.id).await.expect("its steps can be read");
            if steps.last().map(|step| step.kind) != Some(StepKind::Settled(delivery.outcome)) {
                report.wrong.push(format!("{} is {} without a step", delivery.id, delivery.outcome));
            }
        }
        storage.shutdown().await;
        let causes: BTreeSet<_> = self.log.iter().map(|recorded| &recorded.metadata.cause).collect();
        let state = self.world.state();
        for (id, body) in &state.acknowledged {
            if bodies.get(id).is_none_or(|kept| kept.as_slice() != body.as_bytes()) {
                report.lost.push(format!("the body of {id} is not as it was sent"));
            }
            if !causes.contains(id) {
                report.lost.push(format!("{id} was acknowledged and changed nothing"));
            }
        }
        report.wrong.extend(state.strange.iter().cloned());
    }

    async fn read_on(&mut self, storage: &Storage) {
        loop {
            let page = storage.feed.read(self.read, 1_000).await.expect("the log can be read");
            self.log.extend(page.events);
            if page.next == self.read {
                return;
            }
            self.read = page.next;
        }
    }
}

impl Directory {
    fn fold(&mut self, log: &[Recorded], until: Position) {
        let rest = log[self.events..].iter().take_while(|recorded| recorded.position <= until);
        for recorded in rest {
            self.events += 1;
            if let Some(row) = directory::row(recorded, &event(recorded)) {
                self.rows.insert(row.key(), row);
            }
        }
    }
}

impl Index {
    fn fold(&mut self, log: &[Recorded], may: impl Fn(&Recorded) -> bool) {
        while log.get(self.events).is_some_and(&may) && self.step(log) {}
    }

    /// Takes one more event in, if there is one.
    fn step(&mut self, log: &[Recorded]) -> bool {
        let Some(recorded) = log.get(self.events) else { return false };
        self.events += 1;
        match event(recorded) {
            Event::Catalog(event) => {
                evolve(&mut self.catalog, &event);
                self.answers.set_catalog(self.catalog.clone());
            }
            event => {
                if let Some(row) = directory::row(recorded, &event) {
                    self.answers.put(&row);
                }
            }
        }
        true
    }

    fn agrees(&self, member: &str, video: &str, decision: &Value) -> bool {
        let checked = self.answers.check(&MemberId::from(member), video, SystemClock.now());
        checked.is_ok_and(|checked| json!(checked.decision.reason) == decision["reason"])
    }
}

impl World {
    /// The answers to many questions; nothing when the program dies over it.
    async fn ask(&self, asked: &[(&str, &str)]) -> Option<Value> {
        let checks: Vec<_> =
            asked.iter().map(|(member, video)| json!({ "member": member, "video": video })).collect();
        if checks.is_empty() {
            return None;
        }
        let request = client().post(format!("{}/v1/access/check", self.url())).bearer_auth(TOKEN);
        request.json(&json!({ "checks": checks })).send().await.ok()?.json().await.ok()
    }

    /// The store, for reading; nothing when it has no tables yet.
    async fn open(&self) -> Option<Storage> {
        storage::open(self.home.setting("DATABASE_URL"), Access::Read, Arc::new(SystemClock)).await.ok()
    }
}

/// The ids in the inbox, and which of them wait to be carried out; nothing when there is no inbox yet.
async fn inbox(home: &Home) -> Option<Vec<(String, bool)>> {
    let url = home.setting("DATABASE_URL");
    let Some(path) = url.strip_prefix("sqlite://") else {
        let mut connection = PgConnection::connect(url).await.ok()?;
        let rows = sqlx::query_as(INBOX).fetch_all(&mut connection).await.ok();
        connection.close().await.ok();
        return rows;
    };
    let connection = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let mut statement = connection.prepare(INBOX).ok()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    Some(rows.collect::<Result<_, _>>().expect("the inbox can be read"))
}

fn event(recorded: &Recorded) -> Event {
    Event::read(recorded, &upcasters()).expect("every event can be read")
}

/// What the log holds twice, or holds holes in.
fn doubled(log: &[Recorded]) -> Vec<String> {
    let (mut found, mut last) = (Vec::new(), Position::START);
    let (mut ends, mut effects) = (BTreeMap::new(), BTreeSet::new());
    for Recorded { position, aggregate_type, aggregate_id, sequence, event_type, metadata, .. } in log {
        let end = ends.entry((aggregate_type, aggregate_id)).or_insert(0);
        let effect = (aggregate_type, aggregate_id, event_type, &metadata.cause);
        *end += 1;
        if sequence != end || *position <= last {
            found.push(format!("{position} is event {sequence} of {aggregate_id}, where {end} comes next"));
        }
        // A catalogue defines many things of one kind at once.
        if aggregate_type != "catalog" && !effects.insert(effect) {
            found.push(format!("{effect:?} happened twice"));
        }
        last = *position;
    }
    found
}
