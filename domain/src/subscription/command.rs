//! What can be told to a subscription.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::drift::{Drift, Look};
use super::history::Observation;
use super::reversal::Reversal;
use super::terms::Item;
use crate::customer::Deletion;
use crate::ids::{InvoiceId, PaymentId, PlanId, RemarkId, SourceEventId};

/// Everything the outside may tell a subscription. All of it but the last is news, so none of it can be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionCommand {
    /// The subscription looked like this.
    Observe(Box<Observation>),
    /// The provider was asked, and it looked like this. Nothing happens where that is what was known.
    Compare(Box<Look>),
    /// The provider was asked, and something is otherwise that cannot be put right from here.
    RecordDrift(Box<Drift>),
    /// A payment of an invoice failed.
    RecordPaymentFailure(PaymentAttempt),
    /// A payment of an invoice needs the payer to act, such as to confirm it with her bank.
    RecordActionRequired(PaymentAttempt),
    /// An invoice was paid.
    RecordPayment(PaymentAttempt),
    /// Something became of a payment after it was made.
    RecordReversal(ReversedPayment),
    /// Something happened to an invoice that is no payment.
    NoteInvoice(Noted),
    /// What is to become of its plans later was decided, or taken back.
    RecordSchedule(Schedule),
    /// The payer was deleted at the provider, which ends her subscriptions.
    EndWithCustomer(Deletion),
    /// Staff gives more time to settle what is owed, or takes some of it back. Nothing happens where nothing is owed.
    ExtendGrace(Extension),
}

/// More time to settle what is owed. The one given last counts; it ends with the debt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extension {
    /// When it was given: from then on it counts.
    pub at: DateTime<Utc>,
    /// Why, in words beside the log.
    pub remark: RemarkId,
    /// Until when. What the rules of access give is never shortened by it.
    pub until: DateTime<Utc>,
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
    /// The amount due, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// How many times the provider has tried so far.
    pub count: Option<u32>,
    /// When the provider will try again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// A payment of an invoice, and what became of it after it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReversedPayment {
    /// The invoice it had paid.
    pub invoice: InvoiceId,
    /// The payment.
    pub payment: PaymentId,
    /// What became of it.
    pub reversal: Reversal,
}

/// Something that happened to an invoice. The subscription's status tells what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The invoice.
    pub invoice: InvoiceId,
    /// What happened.
    pub note: InvoiceNote,
    /// When.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
}

/// What happened to an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceNote {
    /// It is not expected to be paid any more, though it still may be.
    MarkedUncollectible,
    /// It is owed no more.
    Voided,
    /// Its due date has passed.
    Overdue,
    /// The provider could not finish it, so nothing is collected.
    FinalizationFailed,
}

/// What is to become of a subscription's plans later, as the provider told it. Access follows only once it has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// When it was told.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
    /// The next change; none when nothing is scheduled any more.
    pub next: Option<NextPlans>,
}

/// A change of plans that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextPlans {
    /// From when on.
    pub from: DateTime<Utc>,
    /// What it will sell.
    pub items: Vec<Item>,
    /// The plans the items stood for when this was recorded, best first.
    pub plans: Vec<PlanId>,
}
