//! Where views that outlive the process are kept, and how far each has read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::ports::{Position, StoreError};
use domain::subscription::Standing;
use thiserror::Error;

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

/// The whole directory, for comparing it with one rebuilt from the log. Ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryDump {
    /// How far it has read.
    pub checkpoint: Position,
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

/// Keeps views. A view and its checkpoint always change together.
#[async_trait]
pub trait ViewStore: Send + Sync {
    /// How far a projection has read; the start for one that is not known.
    async fn checkpoint(&self, projection: &str) -> Result<Position, StoreError>;

    /// Writes rows (each replacing the one with its id) and moves the checkpoint from `from` to `to`, both or neither.
    async fn save(
        &self,
        projection: &str,
        from: Position,
        to: Position,
        rows: Vec<DirectoryRow>,
    ) -> Result<(), SaveError>;

    /// Empties the directory and sets its checkpoint to the start, both or neither.
    async fn reset(&self, projection: &str) -> Result<(), StoreError>;

    /// The payers that belong to a member, by id.
    async fn customers_of(&self, member: &MemberId) -> Result<Vec<CustomerId>, StoreError>;

    /// The subscriptions that some payers have or had, by id.
    async fn subscriptions_of(&self, customers: &[CustomerId]) -> Result<Vec<SubscriptionId>, StoreError>;

    /// When a member was registered, if she was.
    async fn registered_at(&self, member: &MemberId) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Everything, with the checkpoint of `projection`, as of one moment.
    async fn dump(&self, projection: &str) -> Result<DirectoryDump, StoreError>;
}
