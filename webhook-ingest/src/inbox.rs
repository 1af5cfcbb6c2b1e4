//! Where deliveries are kept from before they are acknowledged until after they are understood.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{CustomerId, MemberId};
use domain::metadata::Actor;
use domain::ports::StoreError;
use serde::{Deserialize, Serialize};

/// The reason of what names somebody who was erased: such a delivery keeps this reason's sentence, which names ids alone, and no body.
pub const ERASED_MEMBER: &str = "erased_member";

/// The longest time for which a delivery is postponed.
pub const MOST_POSTPONED: Duration = Duration::from_mins(10);

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not looked at yet, or to be looked at again.
    Pending,
    /// It changed something.
    Applied,
    /// It told what was known.
    NoChange,
    /// It told of something older than what is known; kept as history.
    Stale,
    /// It cannot be used yet; somebody has to see to its reason.
    Parked,
    /// It is not about memberships.
    Ignored,
    /// It could not be carried out after many attempts.
    Failed,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Applied,
        Self::NoChange,
        Self::Stale,
        Self::Parked,
        Self::Ignored,
        Self::Failed,
    ];

    /// The outcome as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::NoChange => "no_change",
            Self::Stale => "stale",
            Self::Parked => "parked",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }

    /// The outcome written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a delivery came to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Stripe delivered it.
    #[default]
    Webhook,
    /// It was in Stripe's list of events and had never come.
    Backfill,
    /// It was in a file.
    File,
}

impl Origin {
    /// All origins.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Backfill, Self::File];

    /// The origin as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Backfill => "backfill",
            Self::File => "file",
        }
    }

    /// The origin written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// Why a delivery got its outcome: a code to act on and a sentence to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// A stable code, such as `unknown_customer`.
    pub code: String,
    /// A sentence for staff.
    pub detail: String,
}

/// A delivery as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The provider's event id; for a body without one, `sha256:` and the hash of the body.
    pub id: String,
    /// The event type; empty where the body names none.
    pub event_type: String,
    /// The provider's time of the event.
    pub created: Option<DateTime<Utc>>,
    /// The payer it speaks of, for finding parked deliveries once the payer is linked.
    pub customer: Option<String>,
    /// The payment, invoice or checkout it speaks of, where it is about one, for finding it by that.
    pub concerns: Option<String>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// How it came.
    pub origin: Origin,
}

/// Whether a delivery is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is.
    New,
    /// One with the same id was there.
    Duplicate {
        /// Whether the bodies are the same, byte for byte.
        same_body: bool,
    },
}

/// A delivery as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The provider's event id.
    pub id: String,
    /// The event type.
    pub event_type: String,
    /// The provider's time of the event.
    pub created: Option<DateTime<Utc>>,
    /// The payer it speaks of.
    pub customer: Option<String>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// When it first arrived.
    pub received_at: DateTime<Utc>,
    /// How it first came.
    pub origin: Origin,
    /// How many times it arrived.
    pub times_received: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub why: Option<Why>,
    /// How many times carrying it out was begun.
    pub attempts: u32,
    /// When its outcome was set.
    pub settled_at: Option<DateTime<Utc>>,
    /// Since when its body is not to be kept, since it speaks of somebody who was erased.
    pub erased_at: Option<DateTime<Utc>>,
}

/// Some deliveries by what is known of them; all, when nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those with this outcome.
    pub outcome: Option<Outcome>,
    /// Only those whose outcome has this code.
    pub reason: Option<String>,
    /// Only those of these event types; of any, when none is named.
    pub event_types: Vec<String>,
    /// Only those that speak of this payer.
    pub customer: Option<String>,
    /// Only those that first arrived at this moment or later.
    pub received_from: Option<DateTime<Utc>>,
    /// Only those that first arrived before this moment.
    pub received_until: Option<DateTime<Utc>>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of these.
    pub of: Selection,
    /// Only those that came before this one, by its id: the end of the page before.
    pub before: Option<String>,
    /// The most to list.
    pub limit: usize,
}

/// What a delivery may be looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKey {
    /// Its id.
    Id,
    /// The payment, invoice or checkout that it speaks of; the latest delivery about each.
    Concerns,
}

/// Which deliveries to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrive {
    /// The one with this id, whatever became of it.
    Id(String),
    /// Those that could not be carried out.
    Failed,
    /// Those parked or ignored for a reason with this code, of anybody or of one.
    SetAside {
        /// The reason's code.
        code: String,
        /// Only those that speak of this payer, payment or invoice.
        of: Option<String>,
    },
}

/// What was made pending again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redriven {
    /// How many.
    pub count: u64,
    /// How many more there are that arrived later, counted up to [`MOST_COUNTED`].
    pub left: u64,
    /// The last of them, by its id: where to go on.
    pub last: Option<String>,
}

/// What is left is not counted any further.
pub const MOST_COUNTED: usize = 10_000;

/// Who has deliveries looked at again, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// Why, as a sentence.
    pub why: String,
}

/// So many steps of a delivery are kept at least, as many that people asked for, and as many of their reads. Those before them go when it is
/// looked at again: between two such moments there are no more than a delivery has attempts.
pub const KEPT_STEPS: u32 = 50;

/// What one reads of a delivery within this time is one read.
pub const ONE_READ: TimeDelta = TimeDelta::hours(1);

/// Something that was done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// It could not be carried out, and will be tried again.
    Postponed,
    /// It was made pending again.
    Redriven,
    /// Somebody looked at its body.
    Read,
    /// Its outcome was set.
    Settled(Outcome),
}

impl StepKind {
    /// The step as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postponed => "postponed",
            Self::Redriven => "redriven",
            Self::Read => "read",
            Self::Settled(outcome) => outcome.as_str(),
        }
    }

    /// The step written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = [Self::Postponed, Self::Redriven, Self::Read];
        let named = plain.into_iter().find(|step| step.as_str() == text);
        named.or_else(|| Outcome::parse(text).map(Self::Settled))
    }
}

/// A step of a delivery, after its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: DateTime<Utc>,
    /// What was done.
    pub kind: StepKind,
    /// Who asked for it or read it, where somebody did.
    pub actor: Option<String>,
    /// The code of the reason for an outcome.
    pub code: Option<String>,
    /// Why, as a sentence.
    pub detail: Option<String>,
}

/// How much waits in an inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that are pending.
    pub pending: u64,
    /// Deliveries that are parked.
    pub parked: u64,
    /// Deliveries that could not be carried out.
    pub failed: u64,
    /// Since when the one that waits longest is due. One that is looked at again counts from the moment it was put off
    /// to, if it was: when somebody asked for that is not kept.
    pub waiting_since: Option<DateTime<Utc>>,
}

/// Keeps deliveries. What it has said to have stored survives a power cut.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Keeps a delivery unless one with its id is there. Durable when it returns.
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError>;

    /// Takes up to `limit` pending deliveries that are due, oldest arrival first, and counts an attempt for each. Those
    /// that are looked at again wait behind those that are new. Nobody else gets them before `lease` is over.
    ///
    /// A lease that has more than twice `lease` to run, and a postponement of more than twice [`MOST_POSTPONED`], were
    /// given by a clock that has been set back since; they are over, so that nothing waits for that clock's time.
    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Writes down what became of a delivery. The body of one that speaks of somebody who was erased is gone from then on, and what
    /// else is delivered about the payment it concerns is not kept either.
    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Keeps nothing of who a payer is, and of what is delivered about her, as somebody who was erased is named for her: neither from
    /// now on, nor what was carried out before.
    async fn forget_payer(
        &self,
        payer: &CustomerId,
        erased: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Keeps what is delivered about a payer, and about what she paid for, again, since she turned out to be a member's. What was parked
    /// as [`ERASED_MEMBER`] for her waits for nobody any more: what it told has been kept. Of an erased member's payer nothing is kept.
    async fn keep_payer(
        &self,
        payer: &CustomerId,
        member: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Gives a claimed delivery back, to be taken again at `due`.
    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Gives claimed deliveries back that were not begun: as if they had never been claimed.
    async fn release(&self, ids: &[String]) -> Result<(), StoreError>;

    /// Makes deliveries pending again and says how many; those whose body was erased stay as they are. Who asked is kept with
    /// each.
    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError>;

    /// Makes the oldest of these pending again that are not, `at_most` of them and never more than a thousand; of those that
    /// arrived after the one that `after` names.
    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError>;

    /// What was done with a delivery, oldest first.
    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError>;

    /// One delivery.
    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError>;

    /// Some deliveries, latest arrival first, without their bodies.
    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError>;

    /// The first `limit` deliveries whose key begins with `prefix`, by key, each with it and without its body.
    async fn find(
        &self,
        key: DeliveryKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>, StoreError>;

    /// Keeps among the steps of a delivery that somebody looks at its body; once for each and [`ONE_READ`].
    async fn note_read(&self, id: &str, actor: &Actor, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// How many deliveries are pending.
    async fn pending(&self) -> Result<u64, StoreError>;

    /// How much waits.
    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError>;
}
