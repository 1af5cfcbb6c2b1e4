//! Why staff cannot do something, and what to do first.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::customer::CustomerError;
use domain::grant::GrantError;
use domain::ids::{CustomerId, GrantId, SubscriptionId};
use thiserror::Error;

/// Something does not fit how it stands with a member.
#[derive(Debug, Error)]
pub enum ActRefusal {
    /// She has no such grant.
    #[error("This member has no grant {0:?}; her timeline and her profile list her grants.")]
    UnknownGrant(GrantId),
    /// The rules of grants say no.
    #[error("The grant was not changed: {0}.")]
    Grant(GrantError),
    /// Nothing is past due.
    #[error(
        "This member owes no renewal, so there is no grace to extend; to open videos without a payment, give her a grant."
    )]
    NothingOwed,
    /// Several are.
    #[error("Several subscriptions of this member are past due; say which with \"subscription\": {}.", listed(.0))]
    SeveralOwe(Vec<SubscriptionId>),
    /// Not this one.
    #[error("No renewal is owed for {0:?}; leave \"subscription\" out, or name one that is past due.")]
    NotOwing(SubscriptionId),
    /// The end would be before that of the rules of access.
    #[error(
        "The rules of access give until {} anyway, which is not shortened; choose that moment or a later one.", .0.to_rfc3339()
    )]
    BeforePolicy(DateTime<Utc>),
    /// A payer is somebody else's or nobody's.
    #[error("The customer {customer} was not changed: {why}.")]
    Customer {
        /// The payer.
        customer: CustomerId,
        /// Why.
        why: CustomerError,
    },
    /// She is still asked for money.
    #[error(
        "This member is still asked for money through {}: cancel that in Stripe first, at once or for the end of the period, \
         then erase her.", listed(.0)
    )]
    StillPaying(Vec<SubscriptionId>),
    /// Staff is not erased.
    #[error(
        "This member is of the staff; take that from her first with `membership account role`, then erase her."
    )]
    Staff,
}

impl ActRefusal {
    pub(crate) fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownGrant(_) | Self::Grant(GrantError::NotGiven) => {
                (S::NOT_FOUND, "unknown_grant", "Unknown grant")
            }
            Self::Grant(GrantError::EndsBeforeItBegins { .. }) | Self::BeforePolicy(_) => {
                (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid value")
            }
            Self::Grant(GrantError::AlreadyRevoked) => (S::CONFLICT, "grant_revoked", "Grant revoked"),
            Self::Grant(GrantError::GivenToAnother(_)) => {
                (S::UNPROCESSABLE_ENTITY, "key_reused", "Key used for another request")
            }
            Self::NothingOwed | Self::NotOwing(_) => (S::CONFLICT, "nothing_owed", "Nothing owed"),
            Self::SeveralOwe(_) => (S::CONFLICT, "several_subscriptions", "Several memberships"),
            Self::Customer { why: CustomerError::NotLinked, .. } => {
                (S::NOT_FOUND, "not_linked", "Customer not linked")
            }
            Self::Customer { .. } => (S::CONFLICT, "linked_elsewhere", "Customer linked elsewhere"),
            Self::StillPaying(_) => (S::CONFLICT, "still_paying", "Still paying"),
            Self::Staff => (S::CONFLICT, "staff", "Of the staff"),
        }
    }
}

fn listed(ids: &[SubscriptionId]) -> String {
    ids.iter().map(SubscriptionId::as_str).collect::<Vec<_>>().join(" and ")
}
