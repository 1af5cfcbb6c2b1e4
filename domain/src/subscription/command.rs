//! What can be told to a subscription.

use chrono::{DateTime, Utc};

use super::history::Observation;
use crate::customer::Deletion;
use crate::ids::{CustomerId, InvoiceId, SourceEventId};

/// Everything the outside may tell a subscription. All of it is news, so none of it can be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionCommand {
    /// The subscription looked like this.
    Observe(Box<Observation>),
    /// A payment of an invoice failed.
    RecordPaymentFailure(PaymentAttempt),
    /// An invoice was paid.
    RecordPayment(PaymentAttempt),
    /// The payer was deleted at the provider, which ends her subscriptions.
    EndWithCustomer(Deletion),
}

/// One attempt to pay an invoice, failed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentAttempt {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The provider event that told it.
    pub source: SourceEventId,
    /// When the attempt was made.
    pub at: DateTime<Utc>,
    /// Who pays.
    pub customer: CustomerId,
    /// The amount due, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// How many times the provider has tried so far.
    pub count: Option<u32>,
    /// When the provider will try again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}
