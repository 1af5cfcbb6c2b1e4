//! What the rules need from the outside, as traits. Nobody who uses these sees which database is behind them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::SerializedEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::ids::{CustomerId, MemberId, RemarkId};
use crate::metadata::{Context, Metadata};

/// A place in the log. Later is greater; the start of the log is zero. To the outside it is an opaque token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads a token made by `Display`.
    pub fn parse(token: &str) -> Option<Self> {
        let digits = token.strip_prefix("p-")?;
        let plain =
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u64::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p-{:x}", self.0)
    }
}

/// Why a store could not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or is too slow. Trying again later may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What it holds cannot be read, which trying again will not change.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// Another process writes to it.
    #[error("{0}")]
    ReadOnly(String),
}

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub position: Position,
    /// The kind of its aggregate.
    pub aggregate_type: String,
    /// The id of its aggregate.
    pub aggregate_id: String,
    /// Its place in its aggregate's stream, from 1.
    pub sequence: u64,
    /// Its stored name.
    pub event_type: String,
    /// The version of its shape.
    pub event_version: String,
    /// What it says.
    pub payload: Value,
    /// When, who, why.
    pub metadata: Metadata,
    /// Why the store could not read the payload or the metadata, if it could not; neither means anything then.
    pub garbled: Option<String>,
}

impl Recorded {
    /// The event in the shape upcasters work on.
    pub fn serialized(&self) -> SerializedEvent {
        SerializedEvent::new(
            self.aggregate_id.clone(),
            usize::try_from(self.sequence).unwrap_or(usize::MAX),
            self.aggregate_type.clone(),
            self.event_type.clone(),
            self.event_version.clone(),
            self.payload.clone(),
            serde_json::to_value(&self.metadata).unwrap_or_default(),
        )
    }
}

/// Some of the log, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<Recorded>,
    /// Where to go on reading. Everything up to here has been handed out; nothing will appear before it any more.
    pub next: Position,
}

/// The log in the order in which it became durable.
#[async_trait]
pub trait EventFeed: Send + Sync {
    /// Up to `limit` events after `after`, oldest first.
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError>;

    /// All events of one aggregate, oldest first.
    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError>;

    /// The end of the log: every event whose append was acknowledged before this call is at or before it. Reading gets
    /// there, though perhaps a little later.
    async fn head(&self) -> Result<Position, StoreError>;

    /// Returns when there may be something new, at the latest after `at_most`. A hint: reading is the truth.
    async fn changed(&self, at_most: Duration);
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed<E> {
    /// The events it made; none when it was so already.
    pub events: Vec<E>,
    /// From here on its events can be seen; the end of the aggregate's stream when it made none.
    pub position: Position,
}

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum CommandError<R: std::error::Error> {
    /// The rules say no.
    #[error(transparent)]
    Refused(R),
    /// Somebody else kept changing the same aggregate.
    #[error("{0} is being changed by others; try again")]
    Contended(String),
    /// It is for somebody who was erased, or is being erased.
    #[error("{0} was erased, which is for good")]
    Erased(MemberId),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries out commands on the aggregates of one kind.
#[async_trait]
pub trait CommandBus<A: Aggregate>: Send + Sync {
    /// Loads, decides and appends; a conflict with another process is tried again a bounded number of times.
    async fn execute(
        &self,
        id: &str,
        command: A::Command,
        context: Context,
    ) -> Result<Executed<A::Event>, CommandError<A::Error>>;
}

/// What is known of a person beside the log. May be deleted without touching history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRecord {
    /// The member.
    pub member: MemberId,
    /// Her e-mail address.
    pub email: Option<String>,
    /// Her id at the site that asked.
    pub external_id: Option<String>,
    /// When the record was made.
    pub created_at: DateTime<Utc>,
}

/// What became of a person's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonStored {
    /// It is new.
    Created,
    /// A record with the same external id, or for the same member, was there; this is it.
    Existing(PersonRecord),
    /// The e-mail address belongs to this other member.
    EmailTaken(MemberId),
    /// The member was erased: nothing is kept of her again.
    Erased,
}

/// What a record may be looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonKey {
    /// The e-mail address, however its letters are written.
    Email,
    /// The id at the site that asked, letter by letter.
    ExternalId,
}

/// Personal data, kept apart from the log.
#[async_trait]
pub trait People: Send + Sync {
    /// Keeps a record unless there is one.
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError>;

    /// One record.
    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError>;

    /// Up to `limit` records after `after`, by member id.
    async fn list(&self, after: Option<&MemberId>, limit: usize) -> Result<Vec<PersonRecord>, StoreError>;

    /// The first `limit` records whose key begins with `prefix`, in the order of the key.
    async fn find(&self, key: PersonKey, prefix: &str, limit: usize)
    -> Result<Vec<PersonRecord>, StoreError>;
}

/// What the billing provider said of who a payer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerTold {
    /// The payer.
    pub customer: CustomerId,
    /// Her name.
    pub name: Option<String>,
    /// The e-mail address that bills go to.
    pub email: Option<String>,
    /// Whether what is not said here is not so: without it, a name that is missing stays what it was.
    pub is_whole: bool,
    /// When it was so, by the provider's clock.
    pub at: DateTime<Utc>,
    /// The members that are named with it.
    pub names: Vec<String>,
}

/// Who a payer is, as far as the billing provider said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerRecord {
    /// The payer.
    pub customer: CustomerId,
    /// Her name.
    pub name: Option<String>,
    /// The e-mail address that bills go to.
    pub email: Option<String>,
}

/// What a payer may be looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayerKey {
    /// The id.
    Id,
    /// The address that bills go to, however its letters are written.
    Email,
    /// The name: each word that is looked for begins some word of it, however they are written and accented.
    Name,
}

/// Who payers are, kept apart from the log, and what they paid.
#[async_trait]
pub trait Payers: Send + Sync {
    /// Takes in what was said, each part unless something newer is held; what is said comes in any order. Of two parts of one
    /// moment the greater text stays, so that every order of arrival ends alike. Of the payers of a member who was erased, and
    /// of one that is told with her name, nothing is kept.
    async fn tell(&self, told: PayerTold) -> Result<(), StoreError>;

    /// Those of these of whom something is known, by id.
    async fn get(&self, customers: &[CustomerId]) -> Result<Vec<PayerRecord>, StoreError>;

    /// The first `limit` payers whose key begins with `text`, in the order of the key.
    async fn find(&self, key: PayerKey, text: &str, limit: usize) -> Result<Vec<PayerRecord>, StoreError>;

    /// The first `limit` payments and invoices whose ids begin with `prefix`, by id: those that the log has a stream of.
    async fn payments(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError>;
}

/// Words of somebody of the staff about a member. Who wrote them and why is in the event that carries their id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Its id.
    pub id: RemarkId,
    /// About whom.
    pub member: MemberId,
    /// The words. They may hold personal data, which the log may not.
    pub text: String,
    /// When they were written.
    pub at: DateTime<Utc>,
}

/// What staff writes, kept apart from the log and stored before the event that speaks of it.
#[async_trait]
pub trait Remarks: Send + Sync {
    /// Keeps a remark, unless one with its id is there: that one stays as it is. Of a member who was erased nothing is kept.
    async fn put(&self, remark: Remark) -> Result<(), StoreError>;

    /// Those of these that are there, by id.
    async fn get(&self, ids: &[RemarkId]) -> Result<Vec<Remark>, StoreError>;
}

/// What is to be erased of a member beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Who.
    pub member: MemberId,
    /// What of the provider's is hers: payers, subscriptions, invoices. Whatever is delivered about these from now on is kept
    /// no longer than it takes to carry it out.
    pub ids: Vec<String>,
    /// The provider's events that her history follows from.
    pub deliveries: Vec<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What was erased, this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Bodies of deliveries.
    pub deliveries: u64,
    /// Remarks.
    pub remarks: u64,
}

/// Erases what is kept of members beside the log.
#[async_trait]
pub trait Erasures: Send + Sync {
    /// Deletes a person's record, who her payers are, what was written about her and what waits to be confirmed by her, and the
    /// bodies of the deliveries that speak of her, whose rows stay. All of it or nothing; asked again it does the rest.
    async fn erase(&self, erasure: Erasure) -> Result<Erased, StoreError>;
}
