//! What may be asked of the billing provider on a person's behalf, as a trait, and how asking can fail.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{CustomerId, MemberId, PriceId, SubscriptionId};

/// Why the billing provider did not do it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum BillingError {
    /// It cannot be reached, or cannot work now. Asking again later may help.
    #[error("the billing provider cannot be reached: {0}")]
    Unavailable(String),
    /// It has been asked too often.
    #[error("the billing provider has been asked too often; ask again {}", later(.retry_after.as_ref()))]
    RateLimited {
        /// How long it wants to be left alone, where it says.
        retry_after: Option<Duration>,
    },
    /// It says no. Asking the same again will not help.
    #[error("the billing provider refuses ({code}): {message}")]
    Refused {
        /// The provider's word for why, such as `resource_missing`.
        code: String,
        /// The provider's sentence for developers.
        message: String,
    },
    /// No key is set to ask with.
    #[error("the billing provider cannot be asked: no key is set")]
    NotConfigured,
}

fn later(retry_after: Option<&Duration>) -> String {
    retry_after.map_or_else(|| "later".to_owned(), |after| format!("in {} s", after.as_secs()))
}

/// Something a member wants to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCheckout {
    /// Who it is for; the provider names her in everything that follows.
    pub member: MemberId,
    /// Who pays.
    pub customer: CustomerId,
    /// What she buys.
    pub price: PriceId,
    /// How many days are free.
    pub trial_days: Option<u32>,
    /// Where she comes back to after paying.
    pub success_url: String,
    /// Where she comes back to without having paid.
    pub cancel_url: String,
}

/// A page of the provider's that a member is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedPage {
    /// The provider's id of the session.
    pub session: String,
    /// Where it is.
    pub url: String,
}

/// A checkout as it is at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutState {
    /// It can be paid here.
    Open(HostedPage),
    /// It was finished.
    Complete,
    /// It cannot be paid any more.
    Expired,
}

/// Another price in the place of one that a subscription sells now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanChange {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The prices of the plan that goes, for subscriptions that sell several things.
    pub from: Vec<PriceId>,
    /// The price that comes.
    pub to: PriceId,
}

/// What a plan change would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePreview {
    /// Due at once, in the currency's smallest unit; what was paid already is taken off.
    pub due_now: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// The moment it was reckoned for, where the provider says. A change made with it costs what was shown.
    pub reckoned_at: Option<DateTime<Utc>>,
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// With the end of the period that is paid for.
    PeriodEnd,
}

/// The billing provider, as people's commands need it. Each command carries the id of the request that it follows from:
/// the same request made again is done once.
#[async_trait]
pub trait Billing: Send + Sync {
    /// A payer of a member's own, bound to her from the start. Asked again, it is the same one.
    async fn create_customer(
        &self,
        member: &MemberId,
        email: Option<&str>,
        request_id: &str,
    ) -> Result<CustomerId, BillingError>;

    /// A page on which she can buy.
    async fn begin_checkout(
        &self,
        checkout: &NewCheckout,
        request_id: &str,
    ) -> Result<HostedPage, BillingError>;

    /// A checkout as it is now; nothing when there is none with this id.
    async fn checkout(&self, session: &str) -> Result<Option<CheckoutState>, BillingError>;

    /// Closes the page of a checkout, so that it cannot be paid any more. Refused for one that was finished.
    async fn expire_checkout(&self, session: &str, request_id: &str) -> Result<(), BillingError>;

    /// A page on which she can see her invoices and change how she pays.
    async fn open_portal(
        &self,
        customer: &CustomerId,
        return_url: &str,
        request_id: &str,
    ) -> Result<HostedPage, BillingError>;

    /// What a change at once would cost, at this moment or as it was reckoned for another one.
    async fn preview_change(
        &self,
        change: &PlanChange,
        reckoned_at: Option<DateTime<Utc>>,
    ) -> Result<ChangePreview, BillingError>;

    /// Changes the plan. A change at once happens only if what is due is paid; `reckoned_at` of a preview makes it cost what
    /// was shown.
    async fn change_plan(
        &self,
        change: &PlanChange,
        when: When,
        reckoned_at: Option<DateTime<Utc>>,
        request_id: &str,
    ) -> Result<(), BillingError>;

    /// Ends a subscription.
    async fn cancel(
        &self,
        subscription: &SubscriptionId,
        when: When,
        request_id: &str,
    ) -> Result<(), BillingError>;

    /// Takes a scheduled end back, or ends a suspension.
    async fn resume(&self, subscription: &SubscriptionId, request_id: &str) -> Result<(), BillingError>;
}
