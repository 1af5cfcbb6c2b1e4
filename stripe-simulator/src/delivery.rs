//! Webhooks on their way: signed, in order, one after the other, tried again; or as disorderly as asked for.
//!
//! Nothing here sends: [`Outbox::next`] says what is to be sent now, [`Outbox::settle`] takes the answer.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::engine::Event;
use crate::engine::clock::{DAY, FARTHEST, HOUR, Seconds};
use crate::engine::model::Store;
use crate::shapes::{NEWEST, older};

/// Seconds until the next try, in virtual time, which runs with real time. Short at first, so that a service that is
/// restarted is not waited for.
const BACKOFF: [Seconds; 9] = [1, 5, 30, 300, 1_800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 12 * HOUR];
/// How long a delivery is tried.
const PATIENCE: Seconds = 3 * DAY;
/// How many deliveries that are over are remembered.
const MEMORY: usize = 20_000;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share of deliveries that is lost, 0 to 1.
    pub drop: f64,
    /// The share of deliveries that is made twice, 0 to 1.
    pub duplicate: f64,
    /// Deliveries that wait together are made in any order; with `delay`, each waits for a random part of it.
    pub shuffle: bool,
    /// How long deliveries wait, in virtual seconds. Read from `"1h"` or a number.
    #[serde(deserialize_with = "duration")]
    pub delay: Option<Seconds>,
    /// The API version in which events are delivered.
    pub api_version: Option<String>,
    /// Makes chance repeatable.
    pub seed: Option<u64>,
    /// Actions within a minute share one second of `created`.
    pub ties: bool,
    /// What goes wrong with the API.
    pub api: ApiFaults,
}

/// What goes wrong with calls to the API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiFaults {
    /// Answered instead of doing anything: 429, 500, 502, 503…
    pub status: Option<u16>,
    /// The share of calls this happens to; all when absent.
    pub rate: Option<f64>,
    /// How many calls this happens to; then no more.
    pub times: Option<u32>,
    /// How long every answer takes, in real seconds. Read from `"2s"` or a number.
    #[serde(deserialize_with = "duration")]
    pub delay: Option<Seconds>,
    /// Only calls whose path begins like this, such as `/v1/subscriptions`.
    pub path: Option<String>,
}

/// Reads `"1h"`, a number of seconds, or null.
pub(crate) fn duration<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Seconds>, D::Error> {
    match Value::deserialize(given)? {
        Value::Null => Ok(None),
        Value::Number(number) if number.as_i64().is_some_and(|seconds| seconds >= 0) => Ok(number.as_i64()),
        Value::String(text) => {
            let parsed = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
            Seconds::try_from(parsed.as_secs()).map(Some).map_err(serde::de::Error::custom)
        }
        other => Err(serde::de::Error::custom(format!("write a duration like \"1h\" or 3600, not {other}"))),
    }
}

impl Faults {
    /// What is wrong with them, if anything.
    pub fn mistake(&self) -> Option<String> {
        let rate = self.api.rate.unwrap_or(0.0);
        for (name, share) in [("drop", self.drop), ("duplicate", self.duplicate), ("api.rate", rate)] {
            if !(0.0..=1.0).contains(&share) {
                return Some(format!("{name}: {share} is not a share between 0 and 1"));
            }
        }
        if self.delay.is_some_and(|delay| !(0..=FARTHEST).contains(&delay)) {
            return Some("delay: deliveries wait for ten years at most".to_owned());
        }
        if self.api.delay.is_some_and(|delay| !(0..=DAY).contains(&delay)) {
            return Some("api.delay: an answer takes a day at most, and that in real time".to_owned());
        }
        let version = self.api_version.as_deref().filter(|version| !older::is_version(version));
        if let Some(version) = version {
            return Some(format!("api_version: {version:?} is not like 2025-03-31.basil"));
        }
        let status = self.api.status.filter(|status| !(400..600).contains(status));
        status.map(|status| format!("api.status: {status} is not an error, like 429 or 500"))
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It waits for its time, or for the next try.
    Waiting,
    /// It is on its way.
    Sending,
    /// It was answered with 2xx.
    Delivered,
    /// It was lost on purpose.
    Dropped,
    /// It was tried for three days.
    GivenUp,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The virtual time.
    pub at: Seconds,
    /// What the receiver answered; absent when it could not be reached.
    pub status: Option<u16>,
    /// Why it could not be reached.
    pub error: Option<String>,
}

/// An event for the receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its place in the order of events.
    pub number: u64,
    /// The event's id.
    pub event: String,
    /// The event's type.
    pub kind: String,
    /// The event's second.
    pub created: Seconds,
    /// When it is to be made, in virtual time.
    pub due: Seconds,
    /// How far it has come.
    pub progress: Progress,
    /// It is the second of two.
    pub duplicate: bool,
    /// Every try.
    pub tries: Vec<Try>,
    body: Value,
}

impl Delivery {
    /// How it is listed.
    pub fn json(&self) -> Value {
        json!({
            "object": "delivery", "number": self.number, "event": self.event, "type": self.kind,
            "created": self.created, "due": self.due, "state": self.progress, "duplicate": self.duplicate,
            "api_version": self.body["api_version"], "attempts": self.tries,
        })
    }
}

/// A delivery as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDelivery {
    /// Which delivery this is.
    pub number: u64,
    /// The event's id.
    pub event: String,
    /// The event's second.
    pub created: Seconds,
    /// The body, byte for byte what was signed.
    pub body: String,
    /// The `Stripe-Signature` header.
    pub signature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Secret {
    secret: String,
    until: Option<Seconds>,
}

/// Deliveries by when they are due, and among those of one second by their order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Delivery>", into = "Vec<Delivery>")]
struct Queue(BTreeMap<(Seconds, u64), Delivery>);

impl From<Vec<Delivery>> for Queue {
    fn from(deliveries: Vec<Delivery>) -> Self {
        Self(deliveries.into_iter().map(|delivery| ((delivery.due, delivery.number), delivery)).collect())
    }
}

impl From<Queue> for Vec<Delivery> {
    fn from(queue: Queue) -> Self {
        queue.0.into_values().collect()
    }
}

impl Queue {
    fn put(&mut self, delivery: Delivery) {
        self.0.insert((delivery.due, delivery.number), delivery);
    }
}

/// Deliveries that wait, the one on its way, and those that are over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outbox {
    waiting: Queue,
    sending: Option<Delivery>,
    over: VecDeque<Delivery>,
    /// The events that have reached the receiver.
    reached: HashSet<String>,
    secrets: Vec<Secret>,
    /// What goes wrong.
    pub faults: Faults,
    /// The types of events that the endpoint is subscribed to; all, when none is named.
    #[serde(default)]
    types: BTreeSet<String>,
    seed: u64,
    made: u64,
}

impl Outbox {
    /// An outbox whose deliveries are signed with `secret`.
    pub fn new(secret: &str, seed: u64) -> Self {
        let secrets = vec![Secret { secret: secret.to_owned(), until: None }];
        Self { secrets, seed, ..Self::default() }
    }

    /// Subscribes the endpoint to these types of events only, from now on.
    pub fn subscribe(&mut self, types: &[&str]) {
        self.types = types.iter().map(|kind| (*kind).to_owned()).collect();
    }

    /// Signs with another secret from now on, and with the older ones too for `overlap` more seconds.
    pub fn roll_secret(&mut self, secret: &str, now: Seconds, overlap: Seconds) {
        for old in &mut self.secrets {
            old.until = Some(old.until.unwrap_or(Seconds::MAX).min(now + overlap));
        }
        self.secrets.retain(|old| old.until.is_some_and(|until| until > now) && old.secret != secret);
        self.secrets.push(Secret { secret: secret.to_owned(), until: None });
    }

    /// The secrets that sign now, the newest last.
    pub fn secrets(&self, now: Seconds) -> Vec<&str> {
        let valid = self.secrets.iter().filter(|kept| kept.until.is_none_or(|until| until > now));
        valid.map(|kept| kept.secret.as_str()).collect()
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.seed = faults.seed.unwrap_or(self.seed);
        self.faults = faults;
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let number = dice.f64();
        self.seed = dice.get_seed();
        number < share
    }

    fn below(&mut self, limit: u64) -> u64 {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let number = dice.u64(..limit.max(1));
        self.seed = dice.get_seed();
        number
    }

    pub(crate) fn put(&mut self, event: &Event, now: Seconds, store: &Store) {
        if !self.types.is_empty() && !self.types.contains(&event.kind) {
            return;
        }
        let version = self.faults.api_version.clone();
        let body = match version.as_deref() {
            Some(version) if version != NEWEST => older::event(&event.body, version, store),
            _ => event.body.clone(),
        };
        let mut delivery = Delivery {
            number: 0,
            event: event.id.clone(),
            kind: event.kind.clone(),
            created: event.created,
            due: now,
            progress: Progress::Waiting,
            duplicate: false,
            tries: Vec::new(),
            body,
        };
        let (drop, duplicate) = (self.faults.drop, self.faults.duplicate);
        let lost = drop > 0.0 && self.chance(drop);
        let twice = duplicate > 0.0 && self.chance(duplicate);
        if lost {
            delivery.progress = Progress::Dropped;
            return self.retire(delivery);
        }
        for copy in 0..=usize::from(twice) {
            let mut delivery = delivery.clone();
            self.made += 1;
            (delivery.number, delivery.duplicate) = (self.made, copy == 1);
            delivery.due = now + self.wait();
            self.waiting.put(delivery);
        }
    }

    fn wait(&mut self) -> Seconds {
        match self.faults.delay {
            Some(delay) if self.faults.shuffle => {
                let part = self.below(u64::try_from(delay).unwrap_or_default() + 1);
                Seconds::try_from(part).unwrap_or_default()
            }
            Some(delay) => delay,
            None => 0,
        }
    }

    fn retire(&mut self, delivery: Delivery) {
        if self.over.len() == MEMORY {
            self.over.pop_front();
        }
        self.over.push_back(delivery);
    }

    /// Makes everything that waits due now, and tells how much that is.
    pub fn flush(&mut self, now: Seconds) -> usize {
        let mut held = Vec::from(std::mem::take(&mut self.waiting));
        for delivery in &mut held {
            delivery.due = delivery.due.min(now);
        }
        let count = held.len();
        self.waiting = Queue::from(held);
        count
    }

    /// How many deliveries are due or on their way.
    pub fn due(&self, now: Seconds) -> usize {
        self.waiting.0.range(..=(now, u64::MAX)).count() + usize::from(self.sending.is_some())
    }

    /// When the next delivery falls due.
    pub fn next_due(&self) -> Option<Seconds> {
        self.waiting.0.first_key_value().map(|((due, _), _)| *due)
    }

    /// The delivery to make now, signed at `clock`, the real time. One at a time: there is none while one is on its way.
    pub fn next(&mut self, now: Seconds, clock: Seconds) -> Option<SignedDelivery> {
        if self.sending.is_some() {
            return None;
        }
        let shuffled = if self.faults.shuffle { self.due(now) as u64 } else { 1 };
        let place = usize::try_from(self.below(shuffled)).unwrap_or_default();
        let key = *self.waiting.0.range(..=(now, u64::MAX)).nth(place)?.0;
        let mut delivery = self.waiting.0.remove(&key)?;
        delivery.progress = Progress::Sending;
        let (number, event, created) = (delivery.number, delivery.event.clone(), delivery.created);
        let body = format!("{:#}", delivery.body);
        let signature = sign(&body, clock, &self.secrets(now));
        self.sending = Some(delivery);
        Some(SignedDelivery { number, event, created, body, signature })
    }

    /// Takes the answer to the delivery on its way: a status, or why there is none.
    pub fn settle(&mut self, number: u64, now: Seconds, answer: Result<u16, String>) {
        let Some(mut delivery) = self.sending.take_if(|delivery| delivery.number == number) else { return };
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        delivery.tries.push(Try { at: now, status, error });
        if status.is_some_and(|status| (200..300).contains(&status)) {
            delivery.progress = Progress::Delivered;
            self.reached.insert(delivery.event.clone());
            return self.retire(delivery);
        }
        let first = delivery.tries.first().map_or(now, |first| first.at);
        let wait = BACKOFF[(delivery.tries.len() - 1).min(BACKOFF.len() - 1)];
        if now + wait - first > PATIENCE {
            delivery.progress = Progress::GivenUp;
            return self.retire(delivery);
        }
        (delivery.progress, delivery.due) = (Progress::Waiting, now + wait);
        self.waiting.put(delivery);
    }

    /// A delivery that was on its way when the simulator stopped is made again.
    pub(crate) fn forget_sending(&mut self) {
        if let Some(mut delivery) = self.sending.take() {
            delivery.progress = Progress::Waiting;
            self.waiting.put(delivery);
        }
    }

    /// Every delivery that is remembered, oldest first.
    pub fn deliveries(&self) -> Vec<&Delivery> {
        let mut all: Vec<_> = self.over.iter().chain(&self.sending).chain(self.waiting.0.values()).collect();
        all.sort_by_key(|delivery| delivery.number);
        all
    }

    /// Whether an event has reached the receiver.
    pub fn reached(&self, event: &str) -> bool {
        self.reached.contains(event)
    }
}

/// The `Stripe-Signature` header: when it was signed, and one `v1` for every secret that is valid.
pub fn sign(body: &str, at: Seconds, secrets: &[&str]) -> String {
    let mut header = format!("t={at}");
    for secret in secrets {
        // A key of any length will do for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { continue };
        mac.update(format!("{at}.{body}").as_bytes());
        header.push_str(",v1=");
        header.push_str(&hex::encode(mac.finalize().into_bytes()));
    }
    header
}
