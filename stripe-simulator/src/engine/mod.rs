//! Stripe itself, without I/O: objects, what happens to them as time goes by, and the events that tell of it.
//!
//! Time is a number that only the caller moves, ids come from a seed: the same calls give the same events.

pub(crate) mod cards;
mod changes;
mod checkout;
pub(crate) mod clock;
pub(crate) mod error;
mod invoices;
pub(crate) mod model;
mod payments;
mod people;
mod schedules;
mod subscriptions;
mod truth;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use changes::{Change, ItemChange, SubscriptionChange, TrialEnd};
pub(crate) use checkout::{NewSession, Paying};
pub(crate) use people::{CustomerChange, NewPrice, NewProduct, merge};
pub(crate) use subscriptions::{Cancellation, MOST_ITEMS, NewSubscription};

use crate::shapes::{self, NEWEST, Shown};
use clock::{DAY, Due, HOUR, Seconds};
use error::ApiError;
use model::{Invoice, Store, Subscription};

/// What becomes of a subscription whose payment is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DunningEnd {
    /// It ends.
    #[default]
    Cancel,
    /// It goes on, marked unpaid, and its invoices stay drafts.
    Unpaid,
    /// It stays past due.
    PastDue,
    /// It is paused.
    Pause,
}

/// What an account's owner can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds between a failed attempt and the next.
    pub retries: Vec<Seconds>,
    /// What follows the last failed attempt.
    pub dunning_end: DunningEnd,
    /// Seconds for which a renewal's invoice stays a draft.
    pub draft_for: Seconds,
    /// Seconds after which a bank debit is known to have worked or not.
    pub debit_takes: Seconds,
    /// A subscription whose first bank debit is under way is `active` instead of `incomplete`.
    pub debit_is_trusted: bool,
    /// A dispute cancels the subscription.
    pub dispute_cancels: bool,
    /// Seconds before a renewal at which `invoice.upcoming` is sent; 0 sends none.
    pub upcoming_before: Seconds,
    /// Actions within a minute of each other share one second, as far as `created` of their events tells.
    pub ties: bool,
    /// Where hosted pages are reached.
    pub base_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retries: vec![3 * DAY, 5 * DAY, 7 * DAY],
            dunning_end: DunningEnd::Cancel,
            draft_for: HOUR,
            debit_takes: 3 * DAY,
            debit_is_trusted: false,
            dispute_cancels: false,
            upcoming_before: 7 * DAY,
            ties: false,
            base_url: "http://127.0.0.1:12111".to_owned(),
        }
    }
}

/// Something that happened, in the newest shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// When, in unix seconds.
    pub created: Seconds,
    /// Its type.
    pub kind: String,
    /// The whole event.
    pub body: Value,
}

/// Which call to the API caused what follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) request: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// A Stripe account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) cause: Cause,
    now: Seconds,
    seed: u64,
    agenda: BTreeSet<(Seconds, Due)>,
    events: Vec<Event>,
    stamp: Seconds,
}

impl Engine {
    /// An empty account at `now`, whose ids follow from `seed`.
    pub(crate) fn new(now: Seconds, seed: u64, settings: Settings) -> Self {
        Self {
            store: Store::default(),
            settings,
            cause: Cause::default(),
            now,
            seed,
            agenda: BTreeSet::new(),
            events: Vec::new(),
            stamp: now,
        }
    }

    /// The virtual time.
    pub(crate) fn now(&self) -> Seconds {
        self.now
    }

    /// Everything that happened, oldest first.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Moves time to `to`. Everything that falls due on the way happens at its moment, in order.
    pub(crate) fn advance_to(&mut self, to: Seconds) {
        self.cause = Cause::default();
        while let Some((at, due)) = self.agenda.first().filter(|(at, _)| *at <= to).cloned() {
            self.agenda.pop_first();
            self.now = self.now.max(at);
            self.wake(&due);
            self.plan(due);
        }
        self.now = self.now.max(to);
    }

    /// Does what is due of one object. An object that changed its mind in the meantime is left alone.
    fn wake(&mut self, due: &Due) {
        if self.due(due).is_none_or(|at| at > self.now) {
            return;
        }
        match due {
            Due::Payment(id) => self.debit_turns_out(id),
            Due::Schedule(id) => self.next_phase(id),
            Due::Subscription(id) => self.subscription_due(id),
            Due::Invoice(id) => self.invoice_due(id),
            Due::Session(id) => self.expire(id),
        }
    }

    fn due(&self, due: &Due) -> Option<Seconds> {
        match due {
            Due::Payment(id) => self.store.payment_intents.find(id)?.settles_at,
            Due::Schedule(id) => self.phase_ends(id),
            Due::Subscription(id) => self.subscription_wakes(id),
            Due::Invoice(id) => self.invoice_wakes(id),
            Due::Session(id) => {
                self.store.sessions.find(id).filter(|kept| kept.status == "open").map(|kept| kept.expires_at)
            }
        }
    }

    /// Puts the next thing that will happen to an object on the agenda. An earlier entry for it does no harm.
    fn plan(&mut self, due: Due) {
        if let Some(at) = self.due(&due) {
            self.agenda.insert((at, due));
        }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let number = dice.u64(..limit.max(1));
        self.seed = dice.get_seed();
        number
    }

    fn id(&mut self, prefix: &str) -> String {
        const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = prefix.to_owned();
        for _ in 0..if prefix == "cs_test_" { 58 } else { 24 } {
            let place = usize::try_from(self.below(LETTERS.len() as u64)).unwrap_or_default();
            id.push(char::from(LETTERS[place % LETTERS.len()]));
        }
        id
    }

    /// Which second events of now are stamped with.
    fn stamp(&mut self) -> Seconds {
        if !self.settings.ties || self.now - self.stamp >= 60 {
            self.stamp = self.now;
        }
        self.stamp
    }

    /// Forgets everything that happened after the first `known` events, as when Stripe fails to make events at all.
    pub(crate) fn forget_events(&mut self, known: usize) {
        self.events.truncate(known);
    }

    fn emit(&mut self, kind: &str, object: Value, previous: Option<Value>) {
        let (id, created) = (self.id("evt_"), self.stamp());
        let mut body = json!({
            "id": id, "object": "event", "api_version": NEWEST, "created": created, "data": {},
            "livemode": false, "pending_webhooks": 1,
            "request": { "id": self.cause.request, "idempotency_key": self.cause.idempotency_key },
            "type": kind,
        });
        body["data"]["object"] = object;
        if let Some(previous) = previous {
            body["data"]["previous_attributes"] = previous;
        }
        self.events.push(Event { id, created, kind: kind.to_owned(), body });
    }

    pub(crate) fn find<T: Shown>(&self, id: &str) -> Result<&T, ApiError> {
        T::shelf(&self.store).find(id).ok_or_else(|| ApiError::missing(T::KIND, id))
    }

    pub(crate) fn shape<T: Shown>(&self, id: &str) -> Value {
        T::shelf(&self.store).find(id).map_or(Value::Null, |record| record.shape(&self.store))
    }

    /// Keeps a new object, and tells of it where its kind has an event for that.
    fn create<T: Shown>(&mut self, record: T) -> String {
        let id = record.id().to_owned();
        T::shelf_mut(&mut self.store).put(record);
        if !T::CREATED.is_empty() {
            self.tell::<T>(T::CREATED, &id);
        }
        id
    }

    /// Sends an event with the object as it is.
    fn tell<T: Shown>(&mut self, kind: &str, id: &str) {
        let shape = self.shape::<T>(id);
        self.emit(kind, shape, None);
    }

    /// Changes an object without a word.
    fn touch<T: Shown>(&mut self, id: &str, change: impl FnOnce(&mut T)) {
        if let Some(record) = T::shelf_mut(&mut self.store).find_mut(id) {
            change(record);
        }
    }

    /// Changes an object, and tells of it when others can see a difference.
    fn update<T: Shown>(&mut self, id: &str, change: impl FnOnce(&mut T)) {
        self.update_as::<T>(T::UPDATED, id, change);
    }

    /// The same, with an event that is not the usual one.
    fn update_as<T: Shown>(&mut self, kind: &str, id: &str, change: impl FnOnce(&mut T)) {
        let before = self.shape::<T>(id);
        self.touch(id, change);
        let after = self.shape::<T>(id);
        if before != after {
            let previous = shapes::previous(&before, &after);
            self.emit(kind, after, Some(previous));
        }
    }

    fn invoice(&self, id: &str) -> Option<&Invoice> {
        self.store.invoices.find(id)
    }

    fn subscription(&self, id: &str) -> Option<&Subscription> {
        self.store.subscriptions.find(id)
    }
}
