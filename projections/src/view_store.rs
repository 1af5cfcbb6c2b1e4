//! Where views that outlive the process are kept, and how far each has read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
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
    /// A payer belongs to a member.
    Customer {
        /// The payer.
        customer: CustomerId,
        /// The member.
        member: MemberId,
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
    /// All rows: members, then customers, then subscriptions, each by id.
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
