//! Stripe, asked instead of listened to: what carrying deliveries out, filling gaps and comparing need of it, as a trait.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::billing::BillingError;
use domain::ids::{CustomerId, PaymentId, SubscriptionId};
use serde_json::Value;
use serde_json::value::RawValue;

/// When Stripe was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// By our clock: what was recorded before this, the answer knows too.
    pub began: DateTime<Utc>,
    /// By Stripe's clock, or a little earlier: the answer knows everything up to here.
    pub as_of: DateTime<Utc>,
}

/// An object as Stripe wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The object.
    pub object: Value,
    /// When it looked like this.
    pub asked: Asked,
}

/// Some objects of a list as Stripe wrote them, newest first.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The objects.
    pub objects: Vec<Box<RawValue>>,
    /// Whether the list goes on after the last of them.
    pub has_more: bool,
    /// When the list looked like this.
    pub asked: Asked,
}

/// Stripe, as far as it is asked for what it did not tell, or not clearly. Answers are Stripe's own words, since whoever reads
/// deliveries reads these too.
#[async_trait]
pub trait Provider: Send + Sync {
    /// A subscription as it is now; nothing when there is none with this id.
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Found>, BillingError>;

    /// Some subscriptions, ended ones too, of one payer or of everybody: those after the one with the id `after`.
    async fn subscriptions(
        &self,
        of: Option<&CustomerId>,
        after: Option<&str>,
    ) -> Result<Listed, BillingError>;

    /// Some events made at `since` or later: those after the one with the id `after`. Stripe keeps them for 30 days.
    async fn events(&self, since: DateTime<Utc>, after: Option<&str>) -> Result<Listed, BillingError>;

    /// Any object whose kind its id tells; nothing when there is none, or when the id tells of no kind we use.
    async fn object(&self, id: &str) -> Result<Option<Value>, BillingError>;

    /// The invoice that a payment paid; nothing when it paid none.
    async fn invoice_paid_by(&self, payment: &PaymentId) -> Result<Option<Value>, BillingError>;
}
