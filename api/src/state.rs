//! What the routes need, and the ports the server puts behind them.

use std::ops::Deref;
use std::sync::Arc;

use accounts::Accounts;
use async_trait::async_trait;
use axum::http::HeaderMap;
use chrono::{DateTime, SubsecRound, Utc};
use domain::billing::{Billing, BillingError};
use domain::clock::Clock;
use domain::customer::Customer;
use domain::grant::Grant;
use domain::idempotency::IdempotencyStore;
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::member::Member;
use domain::metadata::Actor;
use domain::ports::{CommandBus, Erasures, EventFeed, Payers, People, Position, Remarks, StoreError};
use domain::subscription::{Difference, DriftCause, Subscription};
use projections::access_index::AccessIndex;
use projections::parked::ParkedStreams;
use projections::past::Past;
use projections::runner::Progress;
use projections::search::Search;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use tracing::Span;
use utoipa::ToSchema;

use crate::auth::ServiceTokens;
use crate::client_address::TrustedProxies;
use crate::error::ApiError;
use crate::learner::events::EventStreams;
use crate::learner::looks::Looks;
use crate::rate_limit::CallerLimits;
use crate::sign_in::SignIn;

/// What all routes share; cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<ApiParts>);

/// The parts of an [`ApiState`].
pub struct ApiParts {
    /// Answers access checks.
    pub index: Arc<AccessIndex>,
    /// How far the index has come.
    pub index_progress: Progress,
    /// How far the member directory has come.
    pub directory_progress: Progress,
    /// Answers questions about any moment.
    pub past: Past,
    /// Finds members.
    pub search: Search,
    /// The log.
    pub feed: Arc<dyn EventFeed>,
    /// Carries out commands on members.
    pub members: Arc<dyn CommandBus<Member>>,
    /// Carries out commands on payers.
    pub customers: Arc<dyn CommandBus<Customer>>,
    /// Carries out commands on access given without a payment.
    pub grants: Arc<dyn CommandBus<Grant>>,
    /// Carries out commands on subscriptions.
    pub subscriptions: Arc<dyn CommandBus<Subscription>>,
    /// Names and addresses.
    pub people: Arc<dyn People>,
    /// Who payers are.
    pub payers: Arc<dyn Payers>,
    /// What staff writes.
    pub remarks: Arc<dyn Remarks>,
    /// Erases what is kept of members.
    pub erasures: Arc<dyn Erasures>,
    /// What the billing provider delivered.
    pub deliveries: Arc<dyn Deliveries>,
    /// Builds the directory anew.
    pub rebuilds: Arc<dyn Rebuilds>,
    /// Compares members with the billing provider.
    pub resync: Arc<dyn Resync>,
    /// What members need beside all this.
    pub learner: LearnerParts,
    /// Tells whether the rest of the process works.
    pub probe: Arc<dyn Probe>,
    /// Remembers commands that may come again.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// How often each caller may ask.
    pub rates: CallerLimits,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Who may ask.
    pub tokens: ServiceTokens,
    /// Who may say where a request comes from.
    pub proxies: TrustedProxies,
    /// Accounts, for service tokens that were made while the service runs.
    pub accounts: Option<Accounts>,
    /// How people sign in, where they can.
    pub sign_in: Option<SignIn>,
    /// Random bits for new ids.
    pub random: Arc<dyn Fn() -> [u8; 10] + Send + Sync>,
    /// Makes a request's span go on with the trace that its headers name.
    pub continue_trace: fn(&Span, &HeaderMap),
}

/// What answers members beside what answers everybody.
pub struct LearnerParts {
    /// The billing provider, where there is a key to ask it with.
    pub billing: Option<Arc<dyn Billing>>,
    /// Finds out at the provider what came of what a member asked for.
    pub purchases: Arc<dyn Purchases>,
    /// Where members come back to from the provider's pages: the address of a site, without a slash at its end.
    pub site: String,
    /// Room for answers that go on and on.
    pub streams: EventStreams,
    /// Looks at purchases that are under way.
    pub looks: Looks,
    /// Followed by everything that is being asked of the provider, also when nobody waits for it any more.
    pub under_way: watch::Sender<()>,
}

/// How a checkout stands, by the provider's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purchase {
    /// There is none with this id, or it is somebody else's.
    NotHers,
    /// It has not been paid.
    Open,
    /// It cannot be paid any more.
    Expired,
    /// It is finished, and what it started is in the log.
    Complete {
        /// What it started.
        subscription: SubscriptionId,
        /// Whether the money has come, or none is needed.
        paid: bool,
    },
}

/// Finds out at the provider what came of what a member asked for, instead of waiting to be told. What is found is in the log
/// when these return.
#[async_trait]
pub trait Purchases: Send + Sync {
    /// A checkout that a member says she came back from.
    async fn checkout(&self, member: &MemberId, session: &str) -> Result<Purchase, ResyncError>;

    /// A subscription that was just changed by a request.
    async fn subscription(&self, subscription: &SubscriptionId, request: &str) -> Result<(), ResyncError>;

    /// Remembers that a member's wish is being asked for, so that how it ended is found out should this process end.
    async fn wish_begun(&self, member: &MemberId, key: &str) -> Result<(), StoreError>;

    /// How a wish ended is known.
    async fn wish_ended(&self, key: &str) -> Result<(), StoreError>;

    /// All that a payer has.
    async fn payer(&self, payer: &CustomerId, request: &str) -> Result<(), ResyncError>;
}

impl ApiState {
    /// A state of these parts.
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The present moment, with as many digits of a second as the stores keep, so that it can be asked about again.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(6)
    }

    /// How people sign in.
    pub(crate) fn sign_in(&self) -> Result<&SignIn, ApiError> {
        self.sign_in.as_ref().ok_or(ApiError::SignInNotConfigured)
    }

    /// The streams that stand still in any read model of this node.
    pub fn parked_streams(&self) -> ParkedStreams {
        let (index, directory) = (self.index_progress.parked(), self.directory_progress.parked());
        directory.iter().chain(index.iter()).cloned().collect()
    }

    /// Answers about any moment, once the directory that they go through has caught up.
    pub fn history(&self) -> Result<&Past, ApiError> {
        self.directory_progress.applied().map(|_| &self.past).ok_or(ApiError::NotReady)
    }
}

impl Deref for ApiState {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
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

impl DeliveryOutcome {
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

    /// The outcome in words, after "is" or "would be".
    pub fn words(self) -> &'static str {
        match self {
            Self::Pending => "waiting",
            Self::Applied => "applied",
            Self::NoChange => "known already",
            Self::Stale => "older than what is known",
            Self::Parked => "parked",
            Self::Ignored => "not about memberships",
            Self::Failed => "failed",
        }
    }
}

/// How a delivery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrigin {
    /// The provider delivered it.
    Webhook,
    /// It had never come, and was found in the provider's list of events.
    Backfill,
    /// It was in a file.
    File,
}

/// A delivery of the billing provider, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The provider's event id.
    pub id: String,
    /// The event type.
    pub event_type: String,
    /// The provider's time of the event.
    pub created: Option<DateTime<Utc>>,
    /// The payer it speaks of.
    pub customer: Option<String>,
    /// When it first arrived.
    pub received_at: DateTime<Utc>,
    /// How it first came.
    pub origin: DeliveryOrigin,
    /// How many times it arrived.
    pub times_received: u32,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Why: a stable code.
    pub reason: Option<String>,
    /// Why: a sentence for staff.
    pub detail: Option<String>,
    /// How many times carrying it out was begun.
    pub attempts: u32,
    /// When its outcome was set.
    pub settled_at: Option<DateTime<Utc>>,
    /// Since when its body is not kept, as it speaks of somebody who was erased.
    pub erased_at: Option<DateTime<Utc>>,
}

/// Something that was done with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStep {
    /// When.
    pub at: DateTime<Utc>,
    /// What: `postponed`, `redriven`, `read` or an outcome.
    pub step: String,
    /// Who asked for it or read it, where somebody did.
    pub actor: Option<String>,
    /// The code of the reason for an outcome.
    pub reason: Option<String>,
    /// Why, as a sentence.
    pub detail: Option<String>,
}

/// What looking at a delivery again would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRehearsal {
    /// Its outcome then.
    pub outcome: DeliveryOutcome,
    /// The code of why.
    pub reason: String,
    /// Why, as a sentence.
    pub detail: String,
    /// What would be appended: the stored name of each event, and the event in words.
    pub events: Vec<(String, String)>,
    /// Whose the payer is that it speaks of.
    pub member: Option<MemberId>,
}

/// Some deliveries by what is known of them; all, when nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliverySelection {
    /// Only those with this outcome.
    pub outcome: Option<DeliveryOutcome>,
    /// Only those whose outcome has this code.
    pub reason: Option<String>,
    /// Only those of this event type.
    pub event_type: Option<String>,
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
    pub of: DeliverySelection,
    /// Only those that came before this one, by its id: the end of the page before.
    pub before: Option<String>,
    /// The most to list.
    pub limit: usize,
}

/// Deliveries that are looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many.
    pub count: u64,
    /// How many more there are that arrived later, as far as they were counted.
    pub left: u64,
    /// The last of them, by its id: where to go on.
    pub last: Option<String>,
}

/// What a delivery may be looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldKey {
    /// The provider's event id.
    Event,
    /// The payment, invoice or checkout that it speaks of.
    Subject,
}

/// What the billing provider delivered, as the API needs it.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Some deliveries, latest arrival first.
    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// One delivery, and what was done with it after it arrived, oldest first.
    async fn get(&self, id: &str) -> Result<Option<(DeliveryRecord, Vec<DeliveryStep>)>, StoreError>;

    /// The first `limit` deliveries whose key begins with `prefix`, by key, each with it; the latest of each.
    async fn find(
        &self,
        key: ToldKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, DeliveryRecord)>, StoreError>;

    /// The body of a delivery, byte for byte as it came, while it is kept. Where `reader` is of the staff, her read is among
    /// its steps before it is given.
    async fn read_body(&self, id: &str, reader: &Actor) -> Result<Option<Vec<u8>>, StoreError>;

    /// What looking at a delivery again would do, without doing it; nothing when there is none with this id.
    async fn rehearse(&self, id: &str) -> Result<Option<DeliveryRehearsal>, ResyncError>;

    /// Has a delivery looked at again, whatever became of it; false when there is none with this id.
    async fn replay(&self, id: &str, actor: Actor, why: &str) -> Result<bool, StoreError>;

    /// Has the oldest of these looked at again, those that wait already left out: `at_most` of them, and of those that
    /// arrived after the one that `after` names.
    async fn replay_some(
        &self,
        of: DeliverySelection,
        after: Option<String>,
        at_most: usize,
        actor: Actor,
        why: &str,
    ) -> Result<Replayed, StoreError>;

    /// A payer is known now: has the deliveries that waited for that looked at again, and says how many.
    async fn customer_linked(&self, customer: &CustomerId) -> Result<u64, StoreError>;

    /// A member is known now: has the deliveries that waited for that looked at again, and says how many.
    async fn member_registered(&self, member: &MemberId) -> Result<u64, StoreError>;

    /// A member has signed in: has what she pays for compared with the provider soon. Returns at once.
    fn member_signed_in(&self, member: &MemberId);
}

/// Where a rebuild of the directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    /// It is being built beside the live one.
    Running,
    /// It has become the live one.
    Done,
    /// It was given up; the live one is as it was.
    Failed,
}

/// A rebuild of the directory by this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildReport {
    /// Where it stands.
    pub state: RebuildState,
    /// How far it has read.
    pub position: Position,
    /// The end of the log when it began.
    pub head: Position,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What is to be known of its end.
    pub detail: Option<String>,
}

/// Rebuilds of the directory beside the live one.
#[async_trait]
pub trait Rebuilds: Send + Sync {
    /// Begins one; nothing when one runs.
    async fn start(&self) -> Result<Option<RebuildReport>, StoreError>;

    /// The last one that this process began.
    fn last(&self) -> Option<RebuildReport>;
}

/// What comparing a member with the billing provider showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResyncReport {
    /// How many subscriptions were compared.
    pub compared: u64,
    /// How many differed.
    pub differing: u64,
    /// How many of those do not differ any more.
    pub repaired: u64,
    /// How many still do.
    pub left: u64,
    /// What differed.
    pub findings: Vec<ResyncFinding>,
}

/// A subscription that differed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResyncFinding {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// What differed.
    pub differences: Vec<Difference>,
    /// Why, as far as one can tell.
    pub cause: DriftCause,
    /// Whether it was put right.
    pub repaired: bool,
}

/// Why a member was not compared.
#[derive(Debug, Error)]
pub enum ResyncError {
    /// The provider cannot be asked, or says no.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others keep changing the same thing.
    #[error("{0}")]
    Contended(String),
}

/// What would be compared for a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResyncScope {
    /// Her payers, of which all subscriptions are compared.
    pub customers: Vec<CustomerId>,
    /// When all subscriptions of everybody were last compared.
    pub all_compared_at: Option<DateTime<Utc>>,
}

/// Compares members with the billing provider.
#[async_trait]
pub trait Resync: Send + Sync {
    /// What would be compared for a member; nothing when there is no such member. An error where the provider cannot be asked.
    async fn scope(&self, member: &MemberId) -> Result<Option<ResyncScope>, ResyncError>;

    /// Compares all subscriptions of these payers, and puts right what differs, because of this request.
    async fn resync(&self, customers: &[CustomerId], request: &str) -> Result<ResyncReport, ResyncError>;
}

/// Whether the rest of the process works.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Asks the store something small.
    async fn store(&self) -> Result<(), StoreError>;

    /// How many deliveries wait to be looked at.
    async fn deliveries_waiting(&self) -> Result<u64, StoreError>;

    /// Whether the task that looks at deliveries runs.
    fn worker_alive(&self) -> bool;

    /// Whether the process has been asked to stop.
    fn stopping(&self) -> bool;

    /// Everything that is measured, in Prometheus' text format. Answers in time also when the store does not.
    async fn metrics(&self) -> String;
}
