//! Buyers who buy and learners who watch while something is wrong with the store, and what they were told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::app::{Reply, TestApp};
use tests::stripe::{BASIC, Price, Story, bought, days_ago, events};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::HANG;

/// How many buy at once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Buyers {
    /// A few.
    Few,
    /// More than the service has connections.
    Many,
}

/// As Stripe, but less patient.
const AGAIN: Duration = Duration::from_millis(100);
const BETWEEN_CHECKS: Duration = Duration::from_millis(20);
/// Who watches all the time.
const LEARNER: &str = "mem_learner";

/// How many deliveries show that it goes on.
const SOME: u64 = 10;

static NAMES: AtomicU64 = AtomicU64::new(0);

/// What is going on.
pub(super) struct Load {
    end: watch::Sender<bool>,
    acknowledged: Arc<AtomicU64>,
    buyers: JoinSet<Told>,
    learner: JoinHandle<Told>,
}

/// What the callers were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The ids of deliveries that were acknowledged.
    pub(super) deliveries: Vec<String>,
    /// Members who were made.
    pub(super) members: Vec<String>,
    /// Those of them whose purchase was acknowledged to its end.
    pub(super) buyers: Vec<String>,
    /// Those deliveries whose purchase the end cut short, so that some may wait for what was never sent.
    halves: Vec<String>,
    /// How often a caller was asked to come back later.
    pub(super) refused: u64,
    /// Every answer that nobody may get.
    pub(super) wrong: Vec<String>,
    /// How long each check took.
    checks: Vec<Duration>,
    slowest: Duration,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deliveries, members, refused, checks, slowest, wrong, .. } = self;
        let mut sorted = checks.clone();
        sorted.sort();
        let percent = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
        write!(f, "{} deliveries and {} members acknowledged, ", deliveries.len(), members.len())?;
        write!(f, "{refused} times 503, slowest {slowest:.1?}; {} checks answered, ", checks.len())?;
        write!(f, "p50 {:.1?}, p99 {:.1?}; {} wrong answers", percent(50), percent(99), wrong.len())
    }
}

/// Makes a member who has bought, to ask about.
pub(super) async fn make_learner(app: &TestApp) {
    app.register(LEARNER).await;
    let mut story = Story::new("learner");
    bought(&mut story, LEARNER, Price::BasicMonth, days_ago(3));
    app.deliver_all(&events(story)).await;
    assert_eq!(app.check(LEARNER, BASIC).await["reason"], "subscription");
}

impl Load {
    /// Begins. There has to be a learner.
    pub(super) fn on(app: &Arc<TestApp>, buyers: Buyers) -> Self {
        // With a pause after each thing, or a busy machine would spend its time on what waits in the inbox.
        let (at_once, pause) = match buyers {
            Buyers::Few => (4, Duration::from_millis(100)),
            Buyers::Many => (24, Duration::from_millis(600)),
        };
        let (end, acknowledged) = (watch::channel(false).0, Arc::default());
        let mut buyers = JoinSet::new();
        for _ in 0..at_once {
            buyers.spawn(Caller::new(app, &end, &acknowledged).buy(pause));
        }
        let learner = tokio::spawn(Caller::new(app, &end, &acknowledged).learn());
        Self { end, acknowledged, buyers, learner }
    }

    /// Waits until some deliveries more are acknowledged.
    pub(super) async fn goes_on(&self) {
        let (begun, before) = (Instant::now(), self.acknowledged.load(Ordering::Relaxed));
        while self.acknowledged.load(Ordering::Relaxed) < before + SOME {
            assert!(begun.elapsed() < HANG, "nothing is acknowledged any more");
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
    }

    /// Ends it: nobody begins anything any more, and nobody is asked again.
    pub(super) async fn end(self) -> Told {
        self.end.send_replace(true);
        let mut told = self.learner.await.expect("the learner always gets an answer");
        for one in self.buyers.join_all().await {
            told.deliveries.extend(one.deliveries);
            told.members.extend(one.members);
            told.buyers.extend(one.buyers);
            told.halves.extend(one.halves);
            told.wrong.extend(one.wrong);
            told.refused += one.refused;
            told.slowest = told.slowest.max(one.slowest);
        }
        told
    }
}

struct Caller {
    app: Arc<TestApp>,
    end: watch::Receiver<bool>,
    acknowledged: Arc<AtomicU64>,
    told: Told,
}

impl Caller {
    fn new(app: &Arc<TestApp>, end: &watch::Sender<bool>, acknowledged: &Arc<AtomicU64>) -> Self {
        let (app, acknowledged) = (Arc::clone(app), Arc::clone(acknowledged));
        Self { app, end: end.subscribe(), acknowledged, told: Told::default() }
    }

    fn is_over(&self) -> bool {
        *self.end.borrow()
    }

    async fn buy(mut self, pause: Duration) -> Told {
        while !self.is_over() {
            let number = NAMES.fetch_add(1, Ordering::Relaxed);
            let (member, mut story) = (format!("mem_buyer_{number}"), Story::new(&format!("buyer{number}")));
            bought(&mut story, &member, Price::BasicMonth, days_ago(2));
            if !self.register(&member).await {
                continue;
            }
            self.told.members.push(member.clone());
            let (mut whole, before) = (true, self.told.deliveries.len());
            for event in events(story) {
                tokio::time::sleep(pause).await;
                whole = whole && self.deliver(&event).await;
            }
            if whole {
                self.told.buyers.push(member);
            } else {
                self.told.halves.extend_from_slice(&self.told.deliveries[before..]);
            }
        }
        self.told
    }

    async fn register(&mut self, member: &str) -> bool {
        let body = json!({ "id": member });
        loop {
            let begun = Instant::now();
            let reply = self.app.send(Method::POST, "/v1/members", Some(&body), "").await;
            if let Some(done) = self.understand(&reply, begun) {
                return done;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn deliver(&mut self, event: &Value) -> bool {
        let id = event["id"].as_str().unwrap_or_default();
        loop {
            let begun = Instant::now();
            let reply = self.app.post_signed(event.to_string().as_bytes()).await;
            match self.understand(&reply, begun) {
                Some(true) => {
                    self.told.deliveries.push(id.to_owned());
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Some(false) => return false,
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Whether it was done; nothing when it has to be asked for again.
    fn understand(&mut self, reply: &Reply, begun: Instant) -> Option<bool> {
        self.told.slowest = self.told.slowest.max(begun.elapsed());
        if reply.status.is_success() {
            return Some(true);
        }
        if reply.status == StatusCode::SERVICE_UNAVAILABLE && reply.header("retry-after").is_some() {
            self.told.refused += 1;
        } else {
            self.told.wrong.push(format!("{reply:?}"));
        }
        self.is_over().then_some(false)
    }

    async fn learn(mut self) -> Told {
        let path = format!("/v1/members/{LEARNER}/access/videos/{BASIC}");
        while !self.is_over() {
            let begun = Instant::now();
            let reply = self.app.get(&path).await;
            self.told.checks.push(begun.elapsed());
            if reply.status != StatusCode::OK || reply.body["allowed"] != true {
                self.told.wrong.push(format!("{reply:?}"));
            }
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
        self.told
    }
}

/// What was acknowledged and is not there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Deliveries that are not known or have no outcome.
    pub(super) deliveries: Vec<String>,
    /// Members and buyers of whom nothing is known.
    pub(super) members: Vec<String>,
}

impl Told {
    /// Looks for everything that was acknowledged.
    pub(super) async fn lost(&self, app: &TestApp) -> Lost {
        let known: BTreeMap<String, String> = app
            .deliveries("")
            .await
            .iter()
            .map(|delivery| {
                let text = |field: &str| delivery[field].as_str().unwrap_or_default().to_owned();
                (text("id"), text("outcome"))
            })
            .collect();
        let is_one_of = |outcomes: &[&str], id: &String| {
            known.get(id).is_some_and(|outcome| outcomes.contains(&outcome.as_str()))
        };
        let is_kept = |id: &&String| {
            is_one_of(&["applied", "no_change", "stale"], id)
                || (self.halves.contains(id) && is_one_of(&["parked"], id))
        };
        let mut lost = Lost::default();
        lost.deliveries.extend(self.deliveries.iter().filter(|id| !is_kept(id)).cloned());
        for member in &self.members {
            let path = format!("/v1/members/{member}/access/videos/{BASIC}");
            let reply = app.get(&path).await;
            let right =
                if self.buyers.contains(member) { reply.body["reason"] == "subscription" } else { true };
            if reply.status != StatusCode::OK || !right {
                lost.members.push(format!("{member}: {}", reply.body));
            }
        }
        lost
    }

    /// Nobody got an answer that nobody may get, and nobody waited for ever.
    pub(super) fn assert_right(&self, name: &str) {
        let first: Vec<_> = self.wrong.iter().take(3).collect();
        assert!(self.wrong.is_empty(), "{name}: {} wrong answers, such as {first:?}", self.wrong.len());
        assert!(!self.checks.is_empty() && !self.deliveries.is_empty(), "{name}: nothing was going on");
        assert!(self.slowest < Duration::from_secs(40), "{name}: a caller waited {:?}", self.slowest);
    }
}
