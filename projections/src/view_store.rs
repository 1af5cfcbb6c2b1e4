//! Where views that outlive the process are kept, and how far each has read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::grant::Given;
use domain::ids::{CustomerId, GrantId, MemberId, SubscriptionId};
use domain::ports::{Position, StoreError};
use domain::subscription::Standing;
use thiserror::Error;

use crate::parked::{ParkedStream, ParkedStreams, StreamId};

/// One row of the member directory as it should be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryRow {
    /// A member exists.
    Member {
        /// The member.
        member: MemberId,
        /// When she was registered.
        registered_at: DateTime<Utc>,
        /// The event that says so.
        position: Position,
    },
    /// A payer belongs to a member, or was found not to.
    Customer {
        /// The payer.
        customer: CustomerId,
        /// The member.
        member: MemberId,
        /// Whether she still does.
        linked: bool,
        /// The event that says so.
        position: Position,
    },
    /// A subscription stands like this.
    Subscription {
        /// The subscription.
        subscription: SubscriptionId,
        /// Where it stands.
        standing: Box<Standing>,
        /// The event that says so.
        position: Position,
    },
    /// Access was given.
    Grant {
        /// The grant.
        grant: GrantId,
        /// To whom, what, and for how long.
        given: Given,
        /// Whether it was taken back.
        revoked: bool,
        /// The event that says so.
        position: Position,
    },
    /// A member has or had a page of the provider's to buy on.
    Checkout {
        /// The provider's id of it.
        session: String,
        /// The member.
        member: MemberId,
        /// The event that says so.
        position: Position,
    },
}

impl DirectoryRow {
    /// What it is replaced by: its kind, as a place in the order of a dump, and its id.
    pub fn key(&self) -> (u8, String) {
        match self {
            Self::Member { member, .. } => (0, member.to_string()),
            Self::Customer { customer, member, .. } => (1, format!("{customer} of {member}")),
            Self::Subscription { subscription, .. } => (2, subscription.to_string()),
            Self::Grant { grant, .. } => (3, grant.to_string()),
            Self::Checkout { session, .. } => (4, session.clone()),
        }
    }

    /// What its kind is called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Member { .. } => "member",
            Self::Customer { .. } => "customer",
            Self::Subscription { .. } => "subscription",
            Self::Grant { .. } => "grant",
            Self::Checkout { .. } => "checkout",
        }
    }

    /// The event that says so.
    pub fn position(&self) -> Position {
        match self {
            Self::Member { position, .. }
            | Self::Customer { position, .. }
            | Self::Subscription { position, .. }
            | Self::Grant { position, .. }
            | Self::Checkout { position, .. } => *position,
        }
    }
}

/// What somebody may be looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Her own id.
    Member,
    /// A payer that is hers.
    Customer,
    /// A subscription of such a payer.
    Subscription,
    /// Access that was given to her.
    Grant,
    /// A checkout of hers.
    Checkout,
}

/// How far a view has been built, and what of it is whose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here is in its rows.
    pub position: Position,
    /// Which rows are its own; zero before the first.
    pub generation: u64,
    /// Counts its changes.
    pub revision: u64,
}

/// A view without its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewState {
    /// How far it is.
    pub checkpoint: Checkpoint,
    /// The streams that stand still in it.
    pub parked: ParkedStreams,
}

impl ViewState {
    /// Makes it what it is in `views` now. Asked many times a second, so that what has not changed is not read again.
    pub(crate) async fn refresh(&mut self, views: &dyn ViewStore, view: &str) -> Result<(), StoreError> {
        if views.checkpoint(view).await? != self.checkpoint {
            *self = views.state(view).await?;
        }
        Ok(())
    }
}

/// What changes in a view at once.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Everything up to here is in its rows from now on.
    pub to: Position,
    /// Each replaces the one with its id.
    pub rows: Vec<DirectoryRow>,
    /// These streams no longer stand still.
    pub cured: Vec<StreamId>,
    /// These do from now on.
    pub parked: Vec<ParkedStream>,
}

/// What came of putting a view that was built anew in the place of the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promotion {
    /// It is the live one now, and was built up to here.
    Done(Position),
    /// The live one is further; go on building and try again.
    Behind,
    /// It is not there any more: another build was begun or finished meanwhile.
    Gone,
}

/// The whole directory, for comparing it with one rebuilt from the log. Ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryDump {
    /// How far it has read.
    pub checkpoint: Position,
    /// The streams that stand still in it.
    pub parked: ParkedStreams,
    /// All rows: members, customers, subscriptions, grants and checkouts, each by id.
    pub rows: Vec<DirectoryRow>,
}

/// Why rows were not saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// Another process has moved the checkpoint; read it again and go on from there.
    #[error("another process moved the checkpoint of {0}")]
    CheckpointMoved(String),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps views. A view, its checkpoint and its parked streams always change together. A view is known by its name; readers of
/// a name see one generation of rows, and never two of them in one answer.
#[async_trait]
pub trait ViewStore: Send + Sync {
    /// How far a view is; the start for one that is not known.
    async fn checkpoint(&self, view: &str) -> Result<Checkpoint, StoreError>;

    /// How far a view is and what stands still in it, as of one moment; the start for one that is not known.
    async fn state(&self, view: &str) -> Result<ViewState, StoreError>;

    /// Makes all of a change or none of it, if the view is still as it was `from`, and says how it is then.
    async fn save(&self, view: &str, from: Checkpoint, change: Change) -> Result<Checkpoint, SaveError>;

    /// Begins a view at the start, without rows. Those it may have had stay until they are swept.
    async fn begin(&self, view: &str) -> Result<Checkpoint, StoreError>;

    /// Puts `built`, which is still the generation it was, in the place of `live`, unless that is further. Who reads
    /// `live` sees either all of the one or all of the other.
    async fn promote(&self, built: &str, generation: u64, live: &str) -> Result<Promotion, StoreError>;

    /// Removes some rows of generations that belong to no view, and says whether there may be more.
    async fn sweep(&self) -> Result<bool, StoreError>;

    /// The payers that belong to a member, by id.
    async fn customers_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError>;

    /// The payers that belong to a member or once were thought to, by id.
    async fn customers_ever_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError>;

    /// What was given to a member, also what has ended, by id.
    async fn grants_of(&self, view: &str, member: &MemberId) -> Result<Vec<GrantId>, StoreError>;

    /// The first `limit` ids of a kind that begin with `prefix`, in their order, and whose they are.
    async fn find(
        &self,
        view: &str,
        kind: IdKind,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, MemberId)>, StoreError>;

    /// The subscriptions that some payers have or had, by id.
    async fn subscriptions_of(
        &self,
        view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError>;

    /// When a member was registered, if she was.
    async fn registered_at(&self, view: &str, member: &MemberId)
    -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Everything in a view as of one moment.
    async fn dump(&self, view: &str) -> Result<DirectoryDump, StoreError>;
}
