//! What a subscription looks like at a moment.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{CustomerId, PlanId, PriceId, ProductId};

/// The billing provider's word for where a subscription stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// The first payment has not been made yet.
    Incomplete,
    /// The first payment was never made; final.
    IncompleteExpired,
    /// In its free trial.
    Trialing,
    /// Paid for.
    Active,
    /// A renewal has not been paid; the provider is still trying.
    PastDue,
    /// The provider has stopped trying.
    Unpaid,
    /// Suspended, for example because a trial ended without a payment method.
    Paused,
    /// Over; final.
    Canceled,
    /// A word this version does not know. It opens nothing and is kept as written.
    Unknown(String),
}

impl Status {
    /// The provider's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
            Self::Unknown(word) => word,
        }
    }

    /// Whether a subscription never leaves this status.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }
}

impl From<String> for Status {
    fn from(word: String) -> Self {
        match word.as_str() {
            "incomplete" => Self::Incomplete,
            "incomplete_expired" => Self::IncompleteExpired,
            "trialing" => Self::Trialing,
            "active" => Self::Active,
            "past_due" => Self::PastDue,
            "unpaid" => Self::Unpaid,
            "paused" => Self::Paused,
            "canceled" => Self::Canceled,
            _ => Self::Unknown(word),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl FromStr for Status {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(word.to_owned().into())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing a subscription sells. Either id may be missing in old payloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// The price, or the legacy plan where there is no price.
    pub price: Option<PriceId>,
    /// The product of the price.
    pub product: Option<ProductId>,
    /// The end of this item's paid period; items of one subscription may differ.
    pub period_end: Option<DateTime<Utc>>,
}

/// Payment collection is switched off while the subscription runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionPause {
    /// What happens to invoices meanwhile, in the provider's words.
    pub behavior: String,
    /// When collection starts again by itself.
    pub resumes_at: Option<DateTime<Utc>>,
}

/// The part of a subscription that access and history depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Who pays.
    pub customer: CustomerId,
    /// Where the subscription stands.
    pub status: Status,
    /// What it sells, in a fixed order, since the provider may list the same items in another.
    pub items: Vec<Item>,
    /// The plans the items stood for when this was recorded, best first. Empty when none is in the catalogue.
    pub plans: Vec<PlanId>,
    /// When the subscription began.
    pub started_at: Option<DateTime<Utc>>,
    /// When the trial ends or ended.
    pub trial_end: Option<DateTime<Utc>>,
    /// When the current paid period ends.
    pub period_end: Option<DateTime<Utc>>,
    /// It will end with the period. Some ways to cancel set only this, some only the date, some both.
    pub cancels_at_period_end: bool,
    /// When it will end, if an end is scheduled.
    pub cancels_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it ended, in the provider's words.
    pub end_reason: Option<String>,
    /// Set while payment collection is paused.
    pub collection_paused: Option<CollectionPause>,
    /// Why it is suspended, in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
}

impl Terms {
    /// Terms of which nothing is known but the payer and the status.
    pub fn new(customer: CustomerId, status: Status) -> Self {
        Self {
            customer,
            status,
            items: Vec::new(),
            plans: Vec::new(),
            started_at: None,
            trial_end: None,
            period_end: None,
            cancels_at_period_end: false,
            cancels_at: None,
            ended_at: None,
            end_reason: None,
            collection_paused: None,
            pause_reason: None,
        }
    }

    /// Whether `self`, which came with the terms it replaced, directly continues `held`: each thing it changed had,
    /// before the change, the value that `held` has. The provider's clock counts whole seconds; this tells two
    /// changes of one second apart.
    pub(super) fn continues(&self, replaced: &Self, held: &Self) -> bool {
        let mut changed = false;
        let mut links = true;
        let mut compare = |differs: bool, matches: bool| {
            changed |= differs;
            links &= !differs || matches;
        };
        compare(self.status != replaced.status, replaced.status == held.status);
        compare(self.items != replaced.items, same_items(&replaced.items, &held.items));
        compare(self.trial_end != replaced.trial_end, replaced.trial_end == held.trial_end);
        compare(self.period_end != replaced.period_end, replaced.period_end == held.period_end);
        compare(self.cancels_at != replaced.cancels_at, replaced.cancels_at == held.cancels_at);
        compare(
            self.cancels_at_period_end != replaced.cancels_at_period_end,
            replaced.cancels_at_period_end == held.cancels_at_period_end,
        );
        compare(self.ended_at != replaced.ended_at, replaced.ended_at == held.ended_at);
        compare(
            self.collection_paused != replaced.collection_paused,
            replaced.collection_paused == held.collection_paused,
        );
        changed && links
    }

    /// Whether these tell the same as `other`, which may have come in the shape of another version of the provider's API.
    pub(super) fn tell_the_same_as(&self, other: &Self) -> bool {
        self.status == other.status
            && same_items(&self.items, &other.items)
            && self.trial_end == other.trial_end
            && self.period_end == other.period_end
            && self.cancels_at == other.cancels_at
            && self.cancels_at_period_end == other.cancels_at_period_end
            && self.ended_at == other.ended_at
            && self.collection_paused == other.collection_paused
    }
}

/// Older versions of the provider's API do not say when an item's period ends.
fn same_items(some: &[Item], others: &[Item]) -> bool {
    let same_end = |one: &Item, other: &Item| {
        one.period_end.is_none() || other.period_end.is_none() || one.period_end == other.period_end
    };
    let same = |(one, other): (&Item, &Item)| {
        one.price == other.price && one.product == other.product && same_end(one, other)
    };
    some.len() == others.len() && some.iter().zip(others).all(same)
}
