//! What may become of a payment after it was made: given back, or disputed by the bank.
//!
//! Facts are kept as a set and put in order by the provider's clock when asked, so that their arrival order never
//! matters.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{DisputeId, PaymentId, RefundId, SourceEventId};

/// Something that happened to a payment after it was made, as the provider told it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reversal {
    /// Money was given back, or giving it back failed.
    Refund(Refund),
    /// The bank asks about the payment, or takes it back.
    Dispute(Dispute),
}

/// What is told of giving money back. Amounts are in the currency's smallest unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refund {
    /// When it was so.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
    /// What was told.
    pub told: RefundTold,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
}

/// The two ways in which refunds are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum RefundTold {
    /// By the payment: so much of it has been given back so far.
    Payment {
        /// All that was given back so far.
        given_back: i64,
        /// All that was paid.
        paid: i64,
    },
    /// By a single refund.
    One {
        /// The refund.
        refund: RefundId,
        /// Its amount.
        amount: i64,
        /// It did not reach the payer, so that the money is ours again.
        failed: bool,
    },
}

/// What is told of a dispute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dispute {
    /// When it was so.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
    /// The dispute.
    pub dispute: DisputeId,
    /// Where it stands.
    pub status: DisputeStatus,
    /// Why the payer disputes, in the provider's words.
    pub reason: Option<String>,
}

/// Where a dispute stands. Of one second, the later in this list holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DisputeStatus {
    /// A word this version does not know; it changes nothing and is kept as written.
    Unknown(String),
    /// An inquiry or a warning, which is no dispute yet.
    Inquiry(String),
    /// Open.
    Open(String),
    /// Over, and the payment stands: won, withdrawn, or an inquiry that came to nothing.
    Lifted(String),
    /// Over, and the money is gone.
    Lost,
}

impl From<String> for DisputeStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "warning_needs_response" | "warning_under_review" | "early_fraud_warning" => Self::Inquiry(word),
            "needs_response" | "under_review" => Self::Open(word),
            "won" | "warning_closed" | "prevented" => Self::Lifted(word),
            "lost" => Self::Lost,
            _ => Self::Unknown(word),
        }
    }
}

impl From<DisputeStatus> for String {
    fn from(status: DisputeStatus) -> Self {
        status.as_str().to_owned()
    }
}

impl DisputeStatus {
    /// The provider's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(word) | Self::Inquiry(word) | Self::Open(word) | Self::Lifted(word) => word,
            Self::Lost => "lost",
        }
    }

    /// Whether a dispute never leaves this status.
    fn is_final(&self) -> bool {
        matches!(self, Self::Lifted(_) | Self::Lost)
    }
}

impl Reversal {
    /// The provider event that told it.
    pub fn source(&self) -> &SourceEventId {
        match self {
            Self::Refund(refund) => &refund.source,
            Self::Dispute(dispute) => &dispute.source,
        }
    }

    /// When it was so.
    pub fn at(&self) -> DateTime<Utc> {
        match self {
            Self::Refund(refund) => refund.at,
            Self::Dispute(dispute) => dispute.at,
        }
    }
}

/// Everything told of what became of the payments of one invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reversals(BTreeSet<(PaymentId, Reversal)>);

/// A moment, and the provider event that tells of it.
pub(super) type Told<'a> = (DateTime<Utc>, &'a SourceEventId);

/// What was given back of one payment.
#[derive(Default)]
struct GivenBack<'r> {
    /// As the payment tells.
    by_payment: i64,
    paid: Option<i64>,
    /// As single refunds tell.
    single: BTreeMap<&'r RefundId, i64>,
    failed: BTreeSet<&'r RefundId>,
}

impl<'r> GivenBack<'r> {
    fn take(&mut self, told: &'r RefundTold) {
        match told {
            RefundTold::Payment { given_back, paid } => {
                (self.by_payment, self.paid) = (*given_back, Some(*paid));
            }
            RefundTold::One { refund, amount, failed: false } => {
                self.single.entry(refund).or_insert(*amount);
            }
            RefundTold::One { refund, amount, failed: true } => {
                // The money is ours again, whether the payment or the refund itself told of it before.
                self.single.insert(refund, 0);
                if self.failed.insert(refund) {
                    self.by_payment -= amount;
                }
            }
        }
    }

    fn all(&self) -> i64 {
        self.by_payment.max(self.single.values().sum())
    }
}

impl Reversals {
    pub(super) fn insert(&mut self, payment: PaymentId, reversal: Reversal) {
        self.0.insert((payment, reversal));
    }

    pub(super) fn contains(&self, source: &SourceEventId) -> bool {
        self.0.iter().any(|(_, reversal)| reversal.source() == source)
    }

    /// When, by `at`, all that was paid for the invoice had been given back, if it had: `amount`, or what its payments say
    /// of themselves.
    pub(super) fn refunded(&self, amount: Option<i64>, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let refunds = self.by(at).filter_map(|(payment, reversal)| Some((payment, as_refund(reversal)?)));
        let mut refunds: Vec<(&PaymentId, &Refund)> = refunds.collect();
        // Of one second, what the payment tells is from before what failed.
        refunds.sort_by_key(|(_, refund)| (refund.at, &refund.told, &refund.source));
        let mut payments: BTreeMap<&PaymentId, GivenBack<'_>> = BTreeMap::new();
        let mut whole: Option<Told<'_>> = None;
        for (payment, refund) in refunds {
            payments.entry(payment).or_default().take(&refund.told);
            let all: i64 = payments.values().map(GivenBack::all).sum();
            let paid = amount.or_else(|| payments.values().map(|payment| payment.paid).sum());
            let is_whole = all > 0 && paid.is_some_and(|paid| all >= paid);
            whole = is_whole.then(|| whole.unwrap_or((refund.at, &refund.source)));
        }
        whole
    }

    /// Since when, by `at`, a dispute had been open, if one was.
    pub(super) fn disputed(&self, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let is_open = |dispute: &Dispute| matches!(dispute.status, DisputeStatus::Open(_));
        let open = self.disputes(at).into_values().filter(|told| last(told).is_some_and(is_open));
        open.filter_map(|told| told.into_iter().find(|dispute| is_open(dispute))).map(said).min()
    }

    /// When, by `at`, a dispute had been lost, if one was.
    pub(super) fn lost(&self, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let held = self.disputes(at).into_values().filter_map(|told| last(&told));
        held.filter(|dispute| dispute.status == DisputeStatus::Lost).map(said).max()
    }

    /// What had been given back by `at`, in the currency's smallest unit.
    pub(super) fn given_back(&self, at: Option<DateTime<Utc>>) -> i64 {
        let refunds = self.by(at).filter_map(|(payment, reversal)| Some((payment, as_refund(reversal)?)));
        let mut refunds: Vec<(&PaymentId, &Refund)> = refunds.collect();
        refunds.sort_by_key(|(_, refund)| (refund.at, &refund.told, &refund.source));
        let mut payments: BTreeMap<&PaymentId, GivenBack<'_>> = BTreeMap::new();
        for (payment, refund) in refunds {
            payments.entry(payment).or_default().take(&refund.told);
        }
        payments.values().map(GivenBack::all).sum()
    }

    fn by(&self, at: Option<DateTime<Utc>>) -> impl Iterator<Item = &(PaymentId, Reversal)> {
        self.0.iter().filter(move |(_, reversal)| at.is_none_or(|at| reversal.at() <= at))
    }

    /// What was told of each dispute, in the order in which it was so.
    fn disputes(&self, at: Option<DateTime<Utc>>) -> BTreeMap<&DisputeId, Vec<&Dispute>> {
        let mut disputes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for dispute in self.by(at).filter_map(|(_, reversal)| as_dispute(reversal)) {
            disputes.entry(&dispute.dispute).or_default().push(dispute);
        }
        for told in disputes.values_mut() {
            told.sort_by_key(|dispute| (dispute.at, &dispute.status, &dispute.source));
        }
        disputes
    }
}

/// What holds of a dispute: its latest end, since some are decided again, else the latest word that is understood.
fn last<'d>(told: &[&'d Dispute]) -> Option<&'d Dispute> {
    let known = |dispute: &&&Dispute| !matches!(dispute.status, DisputeStatus::Unknown(_));
    let end = told.iter().rfind(|dispute| dispute.status.is_final());
    end.or_else(|| told.iter().rfind(known)).copied()
}

fn said(dispute: &Dispute) -> Told<'_> {
    (dispute.at, &dispute.source)
}

fn as_refund(reversal: &Reversal) -> Option<&Refund> {
    if let Reversal::Refund(refund) = reversal { Some(refund) } else { None }
}

fn as_dispute(reversal: &Reversal) -> Option<&Dispute> {
    if let Reversal::Dispute(dispute) = reversal { Some(dispute) } else { None }
}
