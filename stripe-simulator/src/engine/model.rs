//! What Stripe remembers: one record per object, in terms of what happens to it. How it looks to others is in
//! [`crate::shapes`].

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::cards::{Card, Decline};
use super::clock::{Interval, Period, Seconds};

/// What callers attach to an object.
pub(crate) type Metadata = BTreeMap<String, String>;

/// Anything that is kept under an id.
pub(crate) trait Kept {
    fn id(&self) -> &str;
    fn created(&self) -> Seconds;
}

/// Records of one kind, in the order in which they were made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<T>", into = "Vec<T>", bound(serialize = "T: Clone + Serialize"))]
#[serde(bound(deserialize = "T: Kept + Deserialize<'de>"))]
pub(crate) struct Shelf<T> {
    records: Vec<T>,
    places: HashMap<String, usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { records: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Kept> From<Vec<T>> for Shelf<T> {
    fn from(records: Vec<T>) -> Self {
        let places =
            records.iter().enumerate().map(|(place, record)| (record.id().to_owned(), place)).collect();
        Self { records, places }
    }
}

impl<T> From<Shelf<T>> for Vec<T> {
    fn from(shelf: Shelf<T>) -> Self {
        shelf.records
    }
}

impl<T: Kept> Shelf<T> {
    pub(crate) fn find(&self, id: &str) -> Option<&T> {
        self.records.get(*self.places.get(id)?)
    }

    pub(crate) fn find_mut(&mut self, id: &str) -> Option<&mut T> {
        self.records.get_mut(*self.places.get(id)?)
    }

    pub(crate) fn put(&mut self, record: T) {
        self.places.insert(record.id().to_owned(), self.records.len());
        self.records.push(record);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.records.iter()
    }
}

macro_rules! kept {
    ($($kind:ty),*) => {$(
        impl Kept for $kind {
            fn id(&self) -> &str {
                &self.id
            }
            fn created(&self) -> Seconds {
                self.created
            }
        }
    )*};
}

kept!(
    Customer,
    Product,
    Price,
    PaymentMethod,
    Subscription,
    Invoice,
    PaymentIntent,
    Charge,
    Refund,
    Dispute,
    CheckoutSession,
    PortalSession,
    Schedule
);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) payment_method: Option<String>,
    pub(crate) currency: Option<String>,
    /// Negative: what the customer has in hand.
    pub(crate) balance: i64,
    pub(crate) delinquent: bool,
    pub(crate) invoice_prefix: String,
    pub(crate) invoices: u32,
    pub(crate) deleted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) updated: Seconds,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) active: bool,
    pub(crate) metadata: Metadata,
    pub(crate) default_price: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Price {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) product: String,
    pub(crate) currency: String,
    pub(crate) amount: i64,
    pub(crate) recurring: Option<Interval>,
    pub(crate) active: bool,
    pub(crate) nickname: Option<String>,
    pub(crate) lookup_key: Option<String>,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaymentMethod {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) card: Card,
    /// The bank asked for authentication once and got it.
    pub(crate) authenticated: bool,
}

/// What may be said of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Unpaid,
    Paused,
    Canceled,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
        }
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }

    /// Whether periods follow each other.
    pub(crate) fn rolls(self) -> bool {
        matches!(self, Self::Active | Self::PastDue | Self::Unpaid)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) price: String,
    pub(crate) quantity: i64,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PauseCollection {
    /// `keep_as_draft`, `mark_uncollectible` or `void`.
    pub(crate) behavior: String,
    pub(crate) resumes_at: Option<Seconds>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PendingUpdate {
    pub(crate) expires_at: Seconds,
    pub(crate) items: Vec<Item>,
    pub(crate) invoice: String,
}

/// What a trial that ends without a payment method leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoMethod {
    #[default]
    CreateInvoice,
    Cancel,
    Pause,
}

impl NoMethod {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateInvoice => "create_invoice",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
        }
    }
}

/// What was true of a subscription from a moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Since when, in unix seconds.
    pub from: Seconds,
    /// Stripe's word for its state.
    pub status: String,
    /// The price of its first item.
    pub price: String,
    /// Until when it is paid for or free on trial; absent while nothing was ever paid.
    pub paid_until: Option<Seconds>,
    /// When it ended.
    pub ended_at: Option<Seconds>,
    /// When it is to end, if an end is scheduled.
    #[serde(default)]
    pub cancels_at: Option<Seconds>,
    /// While collection is paused: the end of the period that ran when it was.
    #[serde(default)]
    pub paused_until: Option<Seconds>,
    /// Past due: the first failed attempt at what is owed; none once what failed is paid.
    #[serde(default)]
    pub owed_since: Option<Seconds>,
    /// What became of its payments.
    #[serde(default)]
    pub reversed: Reversed,
}

/// What became of a subscription's payments after they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reversed {
    /// The latest one has been given back, all of it.
    pub refunded: bool,
    /// One is disputed; an inquiry does not count.
    pub disputed: bool,
    /// A dispute was lost, and nothing has been paid since.
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, most of them Stripe's")]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) status: Status,
    pub(crate) currency: String,
    pub(crate) items: Vec<Item>,
    pub(crate) period: Period,
    /// From where periods are counted.
    pub(crate) anchor: Seconds,
    pub(crate) cancel_at: Option<Seconds>,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) canceled_at: Option<Seconds>,
    pub(crate) ended_at: Option<Seconds>,
    pub(crate) cancel_reason: Option<String>,
    pub(crate) cancel_comment: Option<String>,
    pub(crate) cancel_feedback: Option<String>,
    pub(crate) payment_method: Option<String>,
    pub(crate) latest_invoice: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) pause_collection: Option<PauseCollection>,
    pub(crate) paused_for: Option<String>,
    pub(crate) pending_update: Option<PendingUpdate>,
    /// Proration lines that wait for the next invoice.
    pub(crate) pending_lines: Vec<Line>,
    pub(crate) schedule: Option<String>,
    pub(crate) trial: Option<Period>,
    pub(crate) trial_announced: bool,
    pub(crate) no_method: NoMethod,
    pub(crate) flexible: bool,
    pub(crate) upcoming_announced: bool,
    pub(crate) paid_until: Option<Seconds>,
    /// Since when it has been neither paid for nor free.
    #[serde(default)]
    pub(crate) owing_since: Option<Seconds>,
    pub(crate) history: Vec<Truth>,
}

impl Subscription {
    pub(crate) fn trial_end(&self) -> Option<Seconds> {
        self.trial.map(|trial| trial.end)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) description: String,
    pub(crate) price: String,
    pub(crate) quantity: i64,
    pub(crate) period: Period,
    pub(crate) proration: bool,
    pub(crate) item: String,
    /// The invoice item of a proration.
    pub(crate) invoice_item: Option<String>,
}

/// What lines come to. Changes that wait for the next invoice can pile up without end.
pub(crate) fn total(lines: &[Line]) -> i64 {
    lines.iter().fold(0, |sum, line| sum.saturating_add(line.amount))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

impl InvoiceStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
            Self::Uncollectible => "uncollectible",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) subscription: String,
    pub(crate) status: InvoiceStatus,
    pub(crate) reason: String,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) period: Period,
    pub(crate) attempts: u32,
    pub(crate) auto_advance: bool,
    pub(crate) finalizes_at: Option<Seconds>,
    pub(crate) next_attempt: Option<Seconds>,
    pub(crate) number: Option<String>,
    pub(crate) finalized_at: Option<Seconds>,
    pub(crate) paid_at: Option<Seconds>,
    pub(crate) voided_at: Option<Seconds>,
    pub(crate) uncollectible_at: Option<Seconds>,
    pub(crate) out_of_band: bool,
    /// The subscription's metadata when the invoice was made.
    pub(crate) metadata: Metadata,
    pub(crate) payment_intent: Option<String>,
    pub(crate) payment: Option<String>,
    /// The customer's balance when it was finalised.
    pub(crate) balance: i64,
    /// When attempts failed.
    #[serde(default)]
    pub(crate) failures: Vec<Seconds>,
    /// Who paid when it was finalised, which is what it says from then on: name and address.
    #[serde(default)]
    pub(crate) payer: Option<(Option<String>, Option<String>)>,
}

impl Invoice {
    pub(crate) fn total(&self) -> i64 {
        total(&self.lines)
    }

    pub(crate) fn due(&self) -> i64 {
        self.total().saturating_add(self.balance).max(0)
    }

    pub(crate) fn paid(&self) -> i64 {
        if self.status == InvoiceStatus::Paid { self.due() } else { 0 }
    }

    /// Until when its regular lines reach.
    pub(crate) fn reaches(&self) -> Option<Seconds> {
        self.lines.iter().filter(|line| !line.proration || line.amount >= 0).map(|line| line.period.end).max()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaymentIntent {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) invoice: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// `requires_payment_method`, `requires_action`, `processing`, `succeeded` or `canceled`.
    pub(crate) status: String,
    pub(crate) payment_method: Option<String>,
    pub(crate) latest_charge: Option<String>,
    pub(crate) decline: Option<Decline>,
    pub(crate) canceled_at: Option<Seconds>,
    /// When a delayed payment turns out.
    pub(crate) settles_at: Option<Seconds>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) payment_intent: String,
    pub(crate) invoice: String,
    pub(crate) payment_method: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// `pending`, `succeeded` or `failed`.
    pub(crate) status: String,
    pub(crate) decline: Option<Decline>,
    pub(crate) refunded: i64,
    pub(crate) disputed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) charge: String,
    pub(crate) payment_intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// `pending`, `succeeded` or `failed`.
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) failure_reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) charge: String,
    pub(crate) payment_intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) due_by: Seconds,
    #[serde(default)]
    pub(crate) lost_at: Option<Seconds>,
}

impl Dispute {
    /// An inquiry takes no money and is no chargeback.
    pub(crate) fn is_inquiry(&self) -> bool {
        self.status.starts_with("warning_")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckoutSession {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) expires_at: Seconds,
    pub(crate) customer: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) items: Vec<(String, i64)>,
    /// What the subscription is to be like.
    pub(crate) trial_days: Option<i64>,
    pub(crate) trial_end: Option<Seconds>,
    pub(crate) no_method: NoMethod,
    pub(crate) subscription_metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) method_if_required: bool,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) url: String,
    /// `open`, `complete` or `expired`.
    pub(crate) status: String,
    /// `paid`, `unpaid` or `no_payment_required`.
    pub(crate) payment_status: String,
    pub(crate) subscription: Option<String>,
    pub(crate) invoice: Option<String>,
    /// What the buyer chose to pay with, while the bank wants to see her first.
    pub(crate) payment_method: Option<String>,
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PortalSession {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) return_url: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) url: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) start: Seconds,
    pub(crate) end: Seconds,
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) proration_behavior: String,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) id: String,
    pub(crate) created: Seconds,
    pub(crate) customer: String,
    pub(crate) subscription: Option<String>,
    pub(crate) released_subscription: Option<String>,
    /// `active`, `completed`, `released` or `canceled`.
    pub(crate) status: String,
    /// `release` or `cancel`.
    pub(crate) end_behavior: String,
    pub(crate) phases: Vec<Phase>,
    /// The place of the phase that is on.
    pub(crate) current: usize,
    pub(crate) canceled_at: Option<Seconds>,
    pub(crate) completed_at: Option<Seconds>,
    pub(crate) released_at: Option<Seconds>,
    pub(crate) metadata: Metadata,
}

/// Everything Stripe keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    pub(crate) customers: Shelf<Customer>,
    pub(crate) products: Shelf<Product>,
    pub(crate) prices: Shelf<Price>,
    pub(crate) payment_methods: Shelf<PaymentMethod>,
    pub(crate) subscriptions: Shelf<Subscription>,
    pub(crate) invoices: Shelf<Invoice>,
    pub(crate) payment_intents: Shelf<PaymentIntent>,
    pub(crate) charges: Shelf<Charge>,
    pub(crate) refunds: Shelf<Refund>,
    pub(crate) disputes: Shelf<Dispute>,
    pub(crate) sessions: Shelf<CheckoutSession>,
    pub(crate) portals: Shelf<PortalSession>,
    pub(crate) schedules: Shelf<Schedule>,
}
