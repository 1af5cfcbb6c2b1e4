//! Why something that a member asked for cannot be, and what she can do instead.

use axum::http::StatusCode;
use domain::ids::{PlanId, RemarkId, SubscriptionId};
use domain::member::MemberError;
use thiserror::Error;

/// What a member asked for does not fit what she has.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The catalogue has no such plan.
    #[error("There is no plan {0:?}; GET /v1/catalog lists the plans.")]
    UnknownPlan(String),
    /// The plan has no price, or not this one.
    #[error("The plan {plan:?} is not sold {how}; GET /v1/catalog lists its prices.")]
    NotForSale {
        /// The plan.
        plan: PlanId,
        /// In which way it is not.
        how: String,
    },
    /// She has a subscription that runs on.
    #[error(
        "You have a membership already ({subscription}); change its plan with POST /v1/me/membership/plan instead, or settle \
         what is owed with POST /v1/me/portal. Two would be paid twice."
    )]
    AlreadySubscribed {
        /// Which.
        subscription: SubscriptionId,
    },
    /// A checkout was finished, and its money is on its way.
    #[error("Your payment is on its way, which takes some days; you need not pay again.")]
    PaymentUnderWay,
    /// Something else was asked for in another window.
    #[error("Another checkout was begun in the meantime; go on with that one, or begin again.")]
    CheckoutReplaced,
    /// She has not begun such a checkout.
    #[error("You have no checkout with this id; begin one with POST /v1/me/checkout.")]
    UnknownCheckout,
    /// She has nothing that runs on.
    #[error("You have no membership that runs; buy one with POST /v1/me/checkout.")]
    NoSubscription,
    /// She never bought anything.
    #[error("You have not bought anything yet, so there is nothing to see; begin with POST /v1/me/checkout.")]
    NoCustomer,
    /// She has several, and did not say which.
    #[error("You have several memberships; say which with \"subscription\": {}.", listed(.0))]
    SeveralSubscriptions(Vec<SubscriptionId>),
    /// She has no such subscription that runs on.
    #[error("You have no membership {0:?} that runs; GET /v1/me/membership lists them.")]
    UnknownSubscription(String),
    /// It is the plan she has.
    #[error("You have this plan already; choose another one, or leave everything as it is.")]
    SamePlan,
    /// It ends, and nothing comes after its end.
    #[error(
        "Your membership is about to end, so no plan can come after it; stay with POST /v1/me/membership/resume first."
    )]
    EndScheduled,
    /// It was done, and something else has been done since.
    #[error("This was done and has been taken back since; ask for it again with a new Idempotency-Key.")]
    TakenBack,
    /// No end is scheduled, and it is not paused.
    #[error("Your membership goes on anyway, so there is nothing to resume.")]
    NothingToResume,
    /// What was shown is not what it would cost.
    #[error(
        "The cost that you were shown no longer holds; ask for it again with POST /v1/me/membership/plan/preview."
    )]
    PreviewOutdated,
    /// The key of the request belongs to another one.
    #[error("This request's id or Idempotency-Key was used for another request; use a new one.")]
    KeyReused,
    /// Nothing may be known of her any more.
    #[error("This member was erased, which is for good; make a new one.")]
    Erased,
    /// She has no such note.
    #[error("No note {0:?} of this member holds; her timeline lists them.")]
    UnknownNote(RemarkId),
}

impl Refusal {
    pub(crate) fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownPlan(_) => (S::UNPROCESSABLE_ENTITY, "unknown_plan", "Unknown plan"),
            Self::NotForSale { .. } => (S::UNPROCESSABLE_ENTITY, "not_for_sale", "Not for sale"),
            Self::AlreadySubscribed { .. } => (S::CONFLICT, "already_subscribed", "Has a membership"),
            Self::PaymentUnderWay => (S::CONFLICT, "payment_under_way", "Payment under way"),
            Self::CheckoutReplaced => (S::CONFLICT, "checkout_replaced", "Checkout replaced"),
            Self::UnknownCheckout => (S::NOT_FOUND, "unknown_checkout", "Unknown checkout"),
            Self::NoSubscription => (S::CONFLICT, "no_subscription", "No membership"),
            Self::NoCustomer => (S::CONFLICT, "nothing_bought", "Nothing bought"),
            Self::SeveralSubscriptions(_) => (S::CONFLICT, "several_subscriptions", "Several memberships"),
            Self::UnknownSubscription(_) => (S::NOT_FOUND, "unknown_subscription", "Unknown membership"),
            Self::SamePlan => (S::CONFLICT, "same_plan", "Same plan"),
            Self::EndScheduled => (S::CONFLICT, "end_scheduled", "About to end"),
            Self::TakenBack => (S::CONFLICT, "taken_back", "Taken back since"),
            Self::NothingToResume => (S::CONFLICT, "nothing_to_resume", "Nothing to resume"),
            Self::PreviewOutdated => (S::CONFLICT, "preview_outdated", "Preview outdated"),
            Self::Erased => (S::CONFLICT, "erased", "Erased"),
            Self::UnknownNote(_) => (S::NOT_FOUND, "unknown_note", "Unknown note"),
            Self::KeyReused => (S::UNPROCESSABLE_ENTITY, "key_reused", "Key used for another request"),
        }
    }
}

impl From<MemberError> for Refusal {
    fn from(error: MemberError) -> Self {
        match error {
            // An answer is only recorded for what was asked for, so that there is no second case to speak of.
            MemberError::KeyReused | MemberError::UnknownRequest(_) => Self::KeyReused,
            MemberError::Erased => Self::Erased,
            MemberError::UnknownNote(note) => Self::UnknownNote(note),
        }
    }
}

fn listed(ids: &[SubscriptionId]) -> String {
    ids.iter().map(|id| format!("{:?}", id.as_str())).collect::<Vec<_>>().join(" or ")
}
