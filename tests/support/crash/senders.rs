//! Stripe's side: buyers without end, their deliveries and registrations in a random order, sent until acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use chrono::Months;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use webhook_ingest::stripe::signature::sign;

use super::client;
use crate::app::{Home, TOKEN};
use crate::stripe::{ADVANCED, BASIC, Dice, Price, SECRETS, Story, bought, days_ago, event, events, now};

const SENDERS: usize = 4;
/// How many buyers' stories are told at the same time.
const BUYERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(10);
/// The longest pause of a sender after each request, in milliseconds.
const MOST_PATIENT: u64 = 200;

/// What each of two videos has to be answered with.
pub(super) type Truth = [(&'static str, &'static str); 2];

/// One request, made until it is acknowledged.
#[derive(Debug, Clone)]
enum Post {
    Register(String),
    Deliver { id: String, body: String },
}

/// What was sent and what was said to it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) home: Home,
    url: RwLock<String>,
    state: Mutex<State>,
    ending: AtomicBool,
    behind: AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    dice: Dice,
    buyers: usize,
    queue: VecDeque<Post>,
    truths: BTreeMap<String, Truth>,
    redelivered: usize,
    /// The bodies that were acknowledged, by id.
    pub(super) acknowledged: BTreeMap<String, String>,
    /// The members whose registration was.
    pub(super) registered: Vec<String>,
    /// Answers that nobody should get.
    pub(super) strange: Vec<String>,
}

impl World {
    pub(super) fn new(home: &Home, seed: u64) -> Arc<Self> {
        let state = State {
            dice: Dice::new(seed),
            buyers: 0,
            queue: VecDeque::new(),
            truths: BTreeMap::new(),
            redelivered: 0,
            acknowledged: BTreeMap::new(),
            registered: Vec::new(),
            strange: Vec::new(),
        };
        let url = RwLock::new(format!("http://{}", home.setting("LISTEN")));
        Arc::new(Self {
            home: home.clone(),
            url,
            state: Mutex::new(state),
            ending: AtomicBool::new(false),
            behind: AtomicU64::new(0),
        })
    }

    /// Begins to send.
    pub(super) fn send(self: &Arc<Self>) -> JoinSet<()> {
        let senders = (0..SENDERS).map(|_| {
            let (world, client) = (self.clone(), client());
            async move {
                while let Some(post) = world.next() {
                    world.until_acknowledged(&client, post).await;
                    sleep(Duration::from_millis(world.behind.load(Ordering::Relaxed).min(MOST_PATIENT)))
                        .await;
                }
            }
        });
        senders.collect()
    }

    /// Sends what was begun to another address, and nothing new.
    pub(super) async fn finish(&self, url: &str, senders: JoinSet<()>) {
        url.clone_into(&mut self.url.write().unwrap_or_else(PoisonError::into_inner));
        self.ending.store(true, Ordering::SeqCst);
        self.wait_behind(0);
        senders.join_all().await;
    }

    /// So many deliveries wait to be carried out: senders are to be the slower, or the end would have to wait for them.
    pub(super) fn wait_behind(&self, deliveries: usize) {
        self.behind.store(deliveries as u64, Ordering::Relaxed);
    }

    /// How many deliveries were acknowledged, and how often one had to be made again.
    pub(super) fn figures(&self) -> (usize, usize) {
        let state = self.state();
        (state.acknowledged.len(), state.redelivered)
    }

    /// Who has to be answered what once everything is carried out.
    pub(super) fn truths(&self) -> BTreeMap<String, Truth> {
        self.state().truths.clone()
    }

    pub(super) fn url(&self) -> String {
        self.url.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Post> {
        let mut state = self.state();
        if state.queue.is_empty() && !self.ending.load(Ordering::SeqCst) {
            state.more_buyers();
        }
        state.queue.pop_front()
    }

    async fn until_acknowledged(&self, client: &Client, post: Post) {
        loop {
            let request = match &post {
                Post::Register(member) => client
                    .post(format!("{}/v1/members", self.url()))
                    .bearer_auth(TOKEN)
                    .json(&json!({ "id": member })),
                Post::Deliver { body, .. } => {
                    let request = client.post(format!("{}/webhooks/stripe", self.url())).body(body.clone());
                    request.header("stripe-signature", sign(SECRETS[1], body.as_bytes(), now()))
                }
            };
            // What cannot be connected to has not been tried.
            let answer = request.send().await;
            if !answer.as_ref().is_err_and(reqwest::Error::is_connect) {
                let status = answer.ok().map(|answer| answer.status());
                if self.state().note(&post, status) {
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

impl State {
    /// Takes an answer in, or that there was none, and says whether it acknowledges.
    fn note(&mut self, post: &Post, status: Option<StatusCode>) -> bool {
        match (post, status) {
            (Post::Register(member), Some(StatusCode::OK | StatusCode::CREATED)) => {
                self.registered.push(member.clone());
                return true;
            }
            (Post::Deliver { id, body }, Some(StatusCode::OK)) => {
                self.acknowledged.insert(id.clone(), body.clone());
                return true;
            }
            (_, None | Some(StatusCode::SERVICE_UNAVAILABLE)) => {}
            (post, Some(other)) => self.strange.push(format!("{other} to {post:?}")),
        }
        self.redelivered += usize::from(matches!(post, Post::Deliver { .. }));
        false
    }

    /// Some more buyers: most are registered before their deliveries come, some meanwhile; an eighth comes twice.
    fn more_buyers(&mut self) {
        let (mut first, mut posts) = (Vec::new(), Vec::new());
        for _ in 0..BUYERS {
            self.buyers += 1;
            let (name, member) = (format!("crash{}", self.buyers), format!("mem_{}", self.buyers));
            let (events, truth) = buyer(self.buyers, &name, &member);
            let register = Post::Register(member.clone());
            if self.dice.below(4) == 0 {
                posts.push(register);
            } else {
                first.push(register);
            }
            for event in events {
                let id = event["id"].as_str().unwrap_or_default().to_owned();
                let post = Post::Deliver { id, body: event.to_string() };
                if self.dice.below(8) == 0 {
                    posts.push(post.clone());
                }
                posts.push(post);
            }
            self.truths.insert(member, truth);
        }
        self.dice.shuffle(&mut posts);
        self.queue.extend(first.into_iter().chain(posts));
    }
}

/// One of eight kinds of buyers: what Stripe tells of her, and what is true in the end.
fn buyer(number: usize, name: &str, member: &str) -> (Vec<Value>, Truth) {
    let mut story = Story::new(name);
    let begins = days_ago(20);
    let mut deleted = None;
    let (basic, advanced) = match number % 8 {
        0 => {
            story.create(Price::BasicMonth, "trialing", days_ago(5)).checkout(member, days_ago(5));
            ("trial", "plan_too_low")
        }
        1 => {
            bought(&mut story, member, Price::BasicMonth, begins);
            story.change_plan(Price::ProMonth, days_ago(10));
            ("subscription", "subscription")
        }
        2 => {
            bought(&mut story, member, Price::BasicMonth, begins);
            story.end(days_ago(5));
            ("ended", "ended")
        }
        3 => {
            bought(&mut story, member, Price::ProMonth, begins);
            story.change_plan(Price::BasicMonth, days_ago(10));
            ("subscription", "plan_too_low")
        }
        4 => {
            bought(&mut story, member, Price::ProYear, begins);
            deleted = Some(json!({ "id": story.customer_id(), "object": "customer" }));
            ("ended", "ended")
        }
        5 => {
            bought(&mut story, member, Price::BasicMonth, begins);
            story.cancel_at_period_end(days_ago(3));
            ("cancels_later", "plan_too_low")
        }
        6 => {
            let renewal = days_ago(4);
            bought(&mut story, member, Price::BasicMonth, renewal - Months::new(1));
            story.renewal_fails(renewal);
            ("grace", "plan_too_low")
        }
        _ => {
            bought(&mut story, member, Price::ProMonth, begins);
            ("subscription", "subscription")
        }
    };
    let mut told = events(story);
    if let Some(customer) = deleted {
        told.push(event(&format!("evt_{name}_deleted"), "customer.deleted", days_ago(1), &customer));
    }
    (told, [(BASIC, basic), (ADVANCED, advanced)])
}
