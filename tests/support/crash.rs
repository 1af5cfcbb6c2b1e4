//! Kills the real program again and again while buyers' stories come in, and looks at what it leaves.
//!
//! Half of the kills are `kill -9` at random moments; for the other half the program ends itself, as suddenly, when it comes
//! to a named place. Several senders deliver meanwhile and do as Stripe does: what was not acknowledged is sent again.

mod remains;
mod senders;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use self::remains::Witness;
use self::senders::World;
use crate::app::{HANG, Home, Store, TestApp};
use crate::stripe::Dice;

/// The places at which the program can be killed on any store, and how often at most it passes by before that.
const ANYWHERE: [(&str, usize); 12] = [
    ("webhook::verified", 20),
    ("webhook::stored", 20),
    ("worker::claimed", 10),
    ("worker::settling", 20),
    ("worker::settled", 20),
    ("command::decided", 20),
    ("command::appended", 20),
    ("handling::linked", 2),
    ("handling::deleting", 1),
    ("members::recorded", 2),
    ("members::registered", 2),
    ("views::saving", 10),
];
const ON_SQLITE: [(&str, usize); 3] =
    [("sqlite::begun", 40), ("sqlite::committing", 40), ("sqlite::committed", 40)];
const ON_POSTGRES: [(&str, usize); 5] = [
    ("postgres::appended", 20),
    ("postgres::committing", 10),
    ("sequencer::drawn", 10),
    ("sequencer::drained", 10),
    ("sequencer::published", 10),
];

const POLL: Duration = Duration::from_millis(3);
/// A random moment is this long after the start at most, which is often before the program is ready.
const LONGEST_LIFE: usize = 400;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// How many homes are lived in at the same time.
const AT_ONCE: usize = 2;

/// The places of a store.
pub fn places(store: Store) -> Vec<(&'static str, usize)> {
    let own: &[_] = if store == Store::Sqlite { &ON_SQLITE } else { &ON_POSTGRES };
    ANYWHERE.iter().chain(own).copied().collect()
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides the stories, their order, the places and the moments; what the machine then makes of it, it cannot.
    pub seed: u64,
    /// How many homes are lived in.
    pub homes: usize,
    /// How often the program is killed in each.
    pub kills: usize,
    /// A way in which the program is broken.
    pub sabotage: Option<&'static str>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    seed: u64,
    seconds: u64,
    /// Kills at random moments.
    pub at_moments: usize,
    /// Kills at places.
    pub at_places: BTreeMap<&'static str, usize>,
    /// Places the program did not come to in time; it was killed elsewhere.
    pub not_reached: usize,
    /// Deliveries that were acknowledged.
    pub acknowledged: usize,
    /// Attempts at delivering that came to nothing and were made again.
    pub redelivered: usize,
    /// What was acknowledged and is not there.
    pub lost: Vec<String>,
    /// What is there twice.
    pub doubled: Vec<String>,
    /// What is not as it should be.
    pub wrong: Vec<String>,
}

impl Report {
    /// How often the program was killed.
    pub fn kills(&self) -> usize {
        self.at_moments + self.at_places.values().sum::<usize>()
    }

    /// Whether nothing is wrong at all.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    fn add(&mut self, other: Self) {
        self.at_moments += other.at_moments;
        for (place, count) in other.at_places {
            *self.at_places.entry(place).or_default() += count;
        }
        self.not_reached += other.not_reached;
        self.acknowledged += other.acknowledged;
        self.redelivered += other.redelivered;
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, at_moments, acknowledged, redelivered, .. } = self;
        let (lost, doubled, wrong) = (self.lost.len(), self.doubled.len(), self.wrong.len());
        writeln!(f, "{} kills in {seconds} s with CRASH_SEED={seed}", self.kills())?;
        writeln!(f, "  acknowledged {acknowledged}, redelivered {redelivered}")?;
        writeln!(f, "  lost {lost}, doubled {doubled}, wrong {wrong}")?;
        writeln!(f, "  at random moments {at_moments}, {} of them for want of the place", self.not_reached)?;
        for (place, count) in &self.at_places {
            writeln!(f, "  at {place} {count}")?;
        }
        for what in self.lost.iter().chain(&self.doubled).chain(&self.wrong).take(20) {
            writeln!(f, "  {what}")?;
        }
        Ok(())
    }
}

/// Does what the plan says.
pub async fn kill_often(store: Store, plan: Plan) -> Report {
    let begun = Instant::now();
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let homes = async {
        let (mut next, mut lives) = (0, JoinSet::new());
        while next < plan.homes || !lives.is_empty() {
            while next < plan.homes && lives.len() < AT_ONCE {
                lives.spawn_local(live(store, plan, next));
                next += 1;
            }
            match lives.join_next().await {
                Some(Ok(of_one)) => report.add(of_one),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => {}
            }
        }
    };
    LocalSet::new().run_until(homes).await;
    report.seconds = begun.elapsed().as_secs();
    report
}

/// Waits for everything that was left, however long that takes, as long as it becomes less.
async fn carried_out(app: &TestApp) {
    let (mut least, mut since) = (u64::MAX, Instant::now());
    loop {
        let waiting = app.get("/readyz").await.body["deliveries_waiting"].as_u64().unwrap_or(u64::MAX);
        if waiting == 0 {
            app.settled().await;
            return;
        }
        if waiting < least {
            (least, since) = (waiting, Instant::now());
        }
        assert!(since.elapsed() < HANG, "{waiting} deliveries wait and are not carried out");
        sleep(POLL * 10).await;
    }
}

/// When the program is to end.
enum Kill {
    At { place: &'static str, passes: usize },
    After(Duration),
}

/// One home: its program is killed as often as it has to be, then lives on, and everything has to be right.
async fn live(store: Store, plan: Plan, number: usize) -> Report {
    let home = Home::new(store).await.with("LISTEN", &address()).with("RUST_LOG", "warn");
    let mut dice = Dice::new(plan.seed.wrapping_mul(1_000).wrapping_add(number as u64));
    let world = World::new(&home, dice.below(usize::MAX) as u64);
    let (senders, mut witness) = (world.send(), Witness::new(&world));
    let mut report = Report::default();
    // Each home begins with other places than the one before it.
    let mut places = places(store);
    let first = number * plan.kills.div_ceil(2) % places.len();
    places.rotate_left(first);
    for kill in 0..plan.kills {
        let moment = Duration::from_millis(dice.below(LONGEST_LIFE) as u64);
        let (place, most) = places[0];
        let passes = dice.below(most);
        let planned = if kill % 2 == 0 { Kill::At { place, passes } } else { Kill::After(moment) };
        if kill % 2 == 0 {
            places.rotate_left(1);
        }
        run(&home, &mut witness, &planned, plan.sabotage, &mut report).await;
        witness.look_at_rest(&mut report).await;
    }
    let app = home.serve().await;
    world.finish(&app.url, senders).await;
    carried_out(&app).await;
    witness.look_at_rest(&mut report).await;
    witness.look_at_all(&mut report).await;
    look_at_answers(&app, &world, &mut report).await;
    (report.acknowledged, report.redelivered) = world.figures();
    // What is missing once is missed again after each later kill.
    for found in [&mut report.lost, &mut report.doubled, &mut report.wrong] {
        found.sort();
        found.dedup();
    }
    report
}

/// Starts the program and sees it killed.
async fn run(
    home: &Home,
    witness: &mut Witness,
    planned: &Kill,
    sabotage: Option<&'static str>,
    report: &mut Report,
) {
    let mut armed: Vec<String> = sabotage.map(|name| format!("{name}=return")).into_iter().collect();
    if let Kill::At { place, passes } = planned {
        armed.push(format!(
            "{place}={}panic",
            if *passes > 0 { format!("{passes}*off->") } else { String::new() }
        ));
    }
    let mut program = Program::start(home, &armed.join(";"));
    let born = Instant::now();
    let until = born + if let Kill::After(life) = planned { *life } else { HANG };
    let mut looked = false;
    let ended = loop {
        if let Some(status) = program.ended() {
            break status;
        }
        if Instant::now() >= until {
            break program.kill();
        }
        if !looked && program.is_ready().await {
            looked = true;
            witness.look_while_it_runs(report).await;
        }
        sleep(POLL).await;
    };
    match (planned, ended.signal()) {
        (Kill::At { place, .. }, Some(SIGABRT)) => {
            *report.at_places.entry(place).or_default() += 1;
        }
        (_, Some(SIGKILL)) => {
            report.at_moments += 1;
            report.not_reached += usize::from(matches!(planned, Kill::At { .. }));
        }
        _ => panic!("the program ended by itself, {ended}, and said:\n{}", program.log()),
    }
}

/// The program, killed with the value.
struct Program {
    child: Child,
    home: Home,
    client: Client,
    url: String,
}

const LOG: &str = "killed.log";

impl Program {
    fn start(home: &Home, failpoints: &str) -> Self {
        let log = File::options().create(true).append(true).open(home.path(LOG)).expect("a log can be kept");
        let mut command = home.command(&["serve"]);
        command.env("FAILPOINTS", failpoints).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the program can be started");
        let url = format!("http://{}", home.setting("LISTEN"));
        Self { child, home: home.clone(), client: client(), url }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("the child can be asked")
    }

    async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/readyz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path(LOG)).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(HANG).build().expect("a client can be made")
}

/// An address that is nobody else's: while a program is dead, another one must not take its place and its deliveries.
fn address() -> String {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}:{}", high + 1, PORTS.fetch_add(1, Ordering::Relaxed))
}

/// What an answer's JSON says under `key`.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// Compares with what is known to be true of every buyer, and with a rebuild by the program itself.
async fn look_at_answers(app: &TestApp, world: &World, report: &mut Report) {
    for outcome in ["parked", "failed", "pending"] {
        for delivery in app.deliveries(outcome).await {
            report.wrong.push(format!("{} is {outcome}: {}", delivery["id"], delivery["detail"]));
        }
    }
    for (member, expected) in world.truths() {
        for (video, reason) in expected {
            let decision = app.check(&member, video).await;
            if text(&decision, "reason") != reason {
                report.lost.push(format!("{member} should be told {reason}: {decision}"));
            }
        }
    }
    let told = app.home.cli(&["replay", "--verify"]);
    if told.code != 0 {
        report.wrong.push(format!("replay --verify: {told:?}"));
    }
}
