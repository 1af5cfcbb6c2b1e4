//! What a member asks of the billing provider through this service, and what came of it.
//!
//! That she asked is recorded before the provider hears of it, what it answered after: a request without an answer is one
//! whose end nobody saw. Nothing here is personal: reasons are codes, and pages are known by the ids of their sessions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Member;
use crate::billing::When;
use crate::ids::{CustomerId, PlanId, PriceId, SubscriptionId};

/// Something she wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Wish {
    /// To buy.
    Checkout(Order),
    /// To see her invoices and change how she pays.
    Portal {
        /// Who pays.
        customer: CustomerId,
    },
    /// Another plan.
    PlanChange(NewPlan),
    /// An end.
    Cancellation(Cancellation),
    /// No end after all, or the end of a suspension.
    Resumption {
        /// Of which subscription.
        subscription: SubscriptionId,
    },
}

/// Something to be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The plan.
    pub plan: PlanId,
    /// The price of it.
    pub price: PriceId,
    /// Who pays.
    pub customer: CustomerId,
    /// How many days are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
}

/// Another plan, or another price of the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPlan {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// The plan that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PlanId>,
    /// The plan that comes.
    pub to: PlanId,
    /// The price of it.
    pub price: PriceId,
    /// From when on.
    pub when: When,
    /// The moment for which the cost that she was shown was reckoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reckoned_at: Option<DateTime<Utc>>,
}

/// The end of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// When.
    pub when: When,
    /// Why, if she says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
}

/// Why somebody leaves. Codes only: what people write about themselves does not belong in a log that forgets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// It costs too much.
    TooExpensive,
    /// Something is not taught here.
    MissingContent,
    /// It is not as good as it should be.
    LowQuality,
    /// There is no time for it.
    Unused,
    /// Another site is better.
    SwitchedService,
    /// Something does not work.
    TechnicalProblems,
    /// Learned what there was to learn.
    Finished,
    /// Something else.
    Other,
}

impl CancelReason {
    /// The reason in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooExpensive => "too expensive",
            Self::MissingContent => "something is missing",
            Self::LowQuality => "not good enough",
            Self::Unused => "not used",
            Self::SwitchedService => "went to another site",
            Self::TechnicalProblems => "technical problems",
            Self::Finished => "learned what there was to learn",
            Self::Other => "another reason",
        }
    }
}

/// What the provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A checkout can be paid on its page.
    Opened {
        /// The provider's id of the session.
        session: String,
    },
    /// Done.
    Confirmed,
    /// It said no.
    Refused {
        /// The provider's word for why.
        code: String,
    },
    /// Nothing that could be understood: it may have been done or not.
    Unanswered,
    /// It was found out later that it was not done.
    NotCarriedOut,
}

/// A request with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Makes the provider do it once, however often it is asked.
    pub key: String,
    /// What she wants.
    pub wish: Wish,
    /// The session that a checkout opened.
    pub session: Option<String>,
    /// Whether the provider has answered, or asking it was given up.
    pub answered: bool,
    /// Whether it was done.
    pub confirmed: bool,
    /// Whether it is known how it ended.
    #[serde(default)]
    pub over: bool,
}

impl Wish {
    /// The subscription that is to be changed, where the wish is about one.
    pub fn subscription(&self) -> Option<&SubscriptionId> {
        match self {
            Self::PlanChange(change) => Some(&change.subscription),
            Self::Cancellation(cancellation) => Some(&cancellation.subscription),
            Self::Resumption { subscription } => Some(subscription),
            Self::Checkout(_) | Self::Portal { .. } => None,
        }
    }
}

impl Member {
    /// All her requests, oldest first.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The request with this key.
    pub fn request(&self, key: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.key == key)
    }

    /// Her requests about what she has that wait for an answer, but for the one with this key.
    pub fn unanswered(&self, but: &str) -> impl Iterator<Item = &Request> {
        let of_these = |wish: &Wish| {
            matches!(wish, Wish::PlanChange(_) | Wish::Cancellation(_) | Wish::Resumption { .. })
        };
        self.requests
            .iter()
            .filter(move |request| !request.answered && request.key != but && of_these(&request.wish))
    }

    /// A request for the same order that the provider is being asked about, or whose page may still be paid.
    pub fn checkout_under_way(&self, order: &Order) -> Option<&Request> {
        let is_open = |session: &str| !self.is_over(session);
        let same = |request: &&Request| {
            (!request.answered || request.session.as_deref().is_some_and(is_open))
                && matches!(&request.wish, Wish::Checkout(held) if held == order)
        };
        self.requests.iter().rev().find(same)
    }

    /// Her checkouts that may still be paid, oldest request first: nothing has told of their end.
    pub fn open_checkouts(&self) -> impl Iterator<Item = (&Order, &str)> {
        self.requests.iter().filter_map(|request| {
            let session = request.session.as_deref().filter(|session| !self.is_over(session))?;
            match &request.wish {
                Wish::Checkout(order) => Some((order, session)),
                _ => None,
            }
        })
    }

    /// Whether a checkout for something else was asked for after this one.
    pub fn is_overtaken(&self, key: &str) -> bool {
        let Some(place) = self.requests.iter().position(|request| request.key == key) else { return false };
        let wish = &self.requests[place].wish;
        self.requests[place + 1..]
            .iter()
            .any(|later| matches!(later.wish, Wish::Checkout(_)) && later.wish != *wish)
    }

    /// Whether she asked for something else of the same subscription after this request.
    pub fn is_followed(&self, key: &str) -> bool {
        let Some(place) = self.requests.iter().position(|request| request.key == key) else { return false };
        let of = self.requests[place].wish.subscription();
        of.is_some() && self.requests[place + 1..].iter().any(|later| later.wish.subscription() == of)
    }

    /// Whether she began or finished this checkout.
    pub fn knows_checkout(&self, session: &str) -> bool {
        let begun = |request: &Request| request.session.as_deref() == Some(session);
        self.requests.iter().any(begun) || self.checkout(session).is_some()
    }

    /// A checkout that she finished.
    pub fn checkout(&self, session: &str) -> Option<&super::Checkout> {
        self.checkouts.iter().find(|checkout| checkout.session == session)
    }

    /// Whether a finished checkout still waits for its money: a bank debit takes days.
    pub fn awaits_money(&self) -> Option<&super::Checkout> {
        let settled =
            |checkout: &super::Checkout| self.ends.iter().any(|end| end.session == checkout.session);
        let unpaid = |checkout: &&super::Checkout| {
            checkout.payment_status.as_deref() == Some("unpaid") && !settled(checkout)
        };
        self.checkouts.iter().rev().find(unpaid)
    }

    fn is_over(&self, session: &str) -> bool {
        self.checkout(session).is_some()
            || self.ends.iter().any(|end| end.session == session)
            || self.withdrawn.iter().any(|withdrawn| withdrawn == session)
    }
}
