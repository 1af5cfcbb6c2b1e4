//! What may become of a payment after it was made: given back, or disputed by the bank.
//!
//! Facts are kept as a set and put in order by the provider's clock when asked, so that their arrival order never
//! matters.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{DisputeId, RefundId, SourceEventId};

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

/// Everything told of what became of one payment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reversals(BTreeSet<Reversal>);

/// A moment, and the provider event that tells of it.
pub(super) type Told<'a> = (DateTime<Utc>, &'a SourceEventId);

impl Reversals {
    pub(super) fn insert(&mut self, reversal: Reversal) {
        self.0.insert(reversal);
    }

    pub(super) fn contains(&self, source: &SourceEventId) -> bool {
        self.0.iter().any(|reversal| reversal.source() == source)
    }

    /// When, by `at`, all of a payment of `amount` had been given back, if it had.
    pub(super) fn refunded(&self, amount: Option<i64>, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let mut refunds: Vec<&Refund> = self.by(at).filter_map(as_refund).collect();
        refunds.sort_by_key(|refund| (refund.at, &refund.source));
        let (mut given_back, mut paid) = (0, amount);
        let mut single = BTreeMap::new();
        let mut whole: Option<Told<'_>> = None;
        for refund in refunds {
            match &refund.told {
                RefundTold::Payment { given_back: so_far, paid: all } => {
                    (given_back, paid) = (*so_far, Some(*all));
                }
                RefundTold::One { refund: id, amount, failed: false } => {
                    single.entry(id).or_insert(*amount);
                }
                RefundTold::One { refund: id, amount, failed: true } => {
                    // The money is ours again, whether the payment or the refund itself told of it before.
                    single.insert(id, 0);
                    given_back -= amount;
                }
            }
            let all = given_back.max(single.values().sum());
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

    fn by(&self, at: Option<DateTime<Utc>>) -> impl Iterator<Item = &Reversal> {
        self.0.iter().filter(move |reversal| at.is_none_or(|at| reversal.at() <= at))
    }

    /// What was told of each dispute, in the order in which it was so.
    fn disputes(&self, at: Option<DateTime<Utc>>) -> BTreeMap<&DisputeId, Vec<&Dispute>> {
        let mut disputes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for dispute in self.by(at).filter_map(as_dispute) {
            disputes.entry(&dispute.dispute).or_default().push(dispute);
        }
        for told in disputes.values_mut() {
            told.sort_by_key(|dispute| (dispute.at, &dispute.status, &dispute.source));
        }
        disputes
    }
}

/// What holds of a dispute: the first end, else the latest word that is understood.
fn last<'d>(told: &[&'d Dispute]) -> Option<&'d Dispute> {
    let known = |dispute: &&&Dispute| !matches!(dispute.status, DisputeStatus::Unknown(_));
    let end = told.iter().find(|dispute| dispute.status.is_final());
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
