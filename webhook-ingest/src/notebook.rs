//! What long work remembers between one step and the next, and what it looks up on its way.

use async_trait::async_trait;
use domain::ids::{CustomerId, SubscriptionId};
use domain::ports::StoreError;

use crate::inbox::Outcome;

/// A delivery that has told us nothing so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// Stripe's event id.
    pub id: String,
    /// The event type.
    pub event_type: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The code of why.
    pub code: Option<String>,
}

/// Small notes that survive the process, and questions about what is held.
#[async_trait]
pub trait Notebook: Send + Sync {
    /// The note under a name.
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Writes a note, in the place of the one that was there.
    async fn write_note(&self, name: &str, text: &str) -> Result<(), StoreError>;

    /// Removes a note, if it still says this.
    async fn remove_note(&self, name: &str, text: &str) -> Result<(), StoreError>;

    /// Up to `limit` notes whose names begin like this, by name.
    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, StoreError>;

    /// Which of these events the inbox does not hold, in the order asked.
    async fn not_in_inbox(&self, ids: &[String]) -> Result<Vec<String>, StoreError>;

    /// The latest deliveries that speak of a payer and are pending, parked or failed.
    async fn unused_of(&self, customer: &CustomerId) -> Result<Vec<Unused>, StoreError>;

    /// Up to `limit` subscriptions that the log tells of, after this one, by id.
    async fn subscriptions_after(
        &self,
        after: Option<&SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<SubscriptionId>, StoreError>;
}
