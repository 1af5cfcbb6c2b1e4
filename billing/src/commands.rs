//! What is asked of Stripe on a person's behalf.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::billing::{
    Billing, BillingError, ChangePreview, CheckoutState, HostedPage, NewCheckout, PlanChange, When,
};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use serde::Serialize;
use serde_json::Value;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::invoice::{
    CreatePreviewInvoice, CreatePreviewInvoiceSubscriptionDetails,
    CreatePreviewInvoiceSubscriptionDetailsItems, CreatePreviewInvoiceSubscriptionDetailsProrationBehavior,
};
use stripe_billing::subscription::{
    CancelSubscription, ResumeSubscription, UpdateSubscription, UpdateSubscriptionItems,
    UpdateSubscriptionPaymentBehavior, UpdateSubscriptionProrationBehavior,
};
use stripe_billing::subscription_schedule::{
    CreateSubscriptionSchedule, ReleaseSubscriptionSchedule, UpdateSubscriptionSchedule,
    UpdateSubscriptionSchedulePhases, UpdateSubscriptionSchedulePhasesEndDate,
    UpdateSubscriptionSchedulePhasesItems, UpdateSubscriptionSchedulePhasesStartDate,
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::customer::CreateCustomer;
use stripe_shared::{CheckoutSessionMode, SubscriptionScheduleEndBehavior};

use crate::gateway::{Gateway, text};

/// Takes a date back: Stripe reads an empty value as none.
#[derive(Serialize)]
struct NoEnd {
    cancel_at: &'static str,
}

#[async_trait]
impl Billing for Gateway {
    async fn create_customer(
        &self,
        member: &MemberId,
        email: Option<&str>,
        request_id: &str,
    ) -> Result<CustomerId, BillingError> {
        let mut create = CreateCustomer::new().metadata(named(member));
        if let Some(email) = email {
            create = create.email(email);
        }
        let made = self.change(create.build(), &key("customer", request_id)).await?;
        required(&made, "id").map(CustomerId::from)
    }

    async fn begin_checkout(
        &self,
        checkout: &NewCheckout,
        request_id: &str,
    ) -> Result<HostedPage, BillingError> {
        let mut bought = CreateCheckoutSessionLineItems::new();
        bought.price = Some(checkout.price.to_string());
        bought.quantity = Some(1);
        // What the session names is not copied to the subscription.
        let mut subscription = CreateCheckoutSessionSubscriptionData::new();
        subscription.metadata = Some(named(&checkout.member));
        subscription.trial_period_days = checkout.trial_days;
        let create = CreateCheckoutSession::new()
            .mode(CheckoutSessionMode::Subscription)
            .customer(checkout.customer.as_str())
            .client_reference_id(checkout.member.as_str())
            .metadata(named(&checkout.member))
            .line_items(vec![bought])
            .subscription_data(subscription)
            .success_url(checkout.success_url.as_str())
            .cancel_url(checkout.cancel_url.as_str());
        page(&self.change(create.build(), &key("checkout", request_id)).await?)
    }

    async fn checkout(&self, session: &str) -> Result<Option<CheckoutState>, BillingError> {
        let found = self.get(RetrieveCheckoutSession::new(session).build()).await?;
        let state = found.map(|found| {
            Ok(match required(&found.object, "status")?.as_str() {
                "open" => CheckoutState::Open(page(&found.object)?),
                "complete" => CheckoutState::Complete,
                _ => CheckoutState::Expired,
            })
        });
        state.transpose()
    }

    async fn expire_checkout(&self, session: &str, request_id: &str) -> Result<(), BillingError> {
        let expire = ExpireCheckoutSession::new(session).build();
        // One request may have several to close.
        self.change(expire, &key("expire", &format!("{request_id}-{session}"))).await?;
        Ok(())
    }

    async fn open_portal(
        &self,
        customer: &CustomerId,
        return_url: &str,
        request_id: &str,
    ) -> Result<HostedPage, BillingError> {
        let create = CreateBillingPortalSession::new().customer(customer.as_str()).return_url(return_url);
        page(&self.change(create.build(), &key("portal", request_id)).await?)
    }

    async fn preview_change(
        &self,
        change: &PlanChange,
        reckoned_at: Option<DateTime<Utc>>,
    ) -> Result<ChangePreview, BillingError> {
        let subscription = self.needed(&change.subscription).await?;
        let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
        item.id = Some(item_of(&subscription, change)?);
        item.price = Some(change.to.to_string());
        let mut details = CreatePreviewInvoiceSubscriptionDetails::new();
        details.items = Some(vec![item]);
        details.proration_date = reckoned_at.map(|moment| moment.timestamp());
        details.proration_behavior =
            Some(CreatePreviewInvoiceSubscriptionDetailsProrationBehavior::AlwaysInvoice);
        let preview = CreatePreviewInvoice::new()
            .subscription(change.subscription.as_str())
            .subscription_details(details);
        // Nothing is made, so there is nothing that could be made twice.
        let invoice = self.read_only(preview.build()).await?;
        let number = |field: &str| invoice.get(field).and_then(Value::as_i64);
        let reckoned_at = invoice
            .pointer("/parent/subscription_details/subscription_proration_date")
            .or_else(|| invoice.get("subscription_proration_date"))
            .and_then(Value::as_i64)
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Ok(ChangePreview {
            due_now: number("amount_due").ok_or_else(|| unreadable("amount_due"))?,
            currency: required(&invoice, "currency")?,
            reckoned_at,
        })
    }

    async fn change_plan(
        &self,
        change: &PlanChange,
        when: When,
        reckoned_at: Option<DateTime<Utc>>,
        request_id: &str,
    ) -> Result<(), BillingError> {
        let subscription = self.needed(&change.subscription).await?;
        match when {
            When::Now => self.change_now(&subscription, change, reckoned_at, request_id).await,
            When::PeriodEnd => self.change_later(&subscription, change, request_id).await,
        }
    }

    async fn cancel(
        &self,
        subscription: &SubscriptionId,
        when: When,
        request_id: &str,
    ) -> Result<(), BillingError> {
        let held = self.needed(subscription).await?;
        if has_ended(&held) {
            return Ok(());
        }
        let request = match when {
            When::Now => CancelSubscription::new(subscription.as_str()).build(),
            When::PeriodEnd => {
                self.release(&held, request_id).await?;
                UpdateSubscription::new(subscription.as_str()).cancel_at_period_end(true).build()
            }
        };
        self.change(request, &key("cancel", request_id)).await?;
        Ok(())
    }

    async fn resume(&self, subscription: &SubscriptionId, request_id: &str) -> Result<(), BillingError> {
        let held = self.needed(subscription).await?;
        let id = subscription.as_str();
        // Some ways to cancel set only the flag, some only the date, some both; Stripe takes one of them back at a time.
        let request = if text(&held, "status").as_deref() == Some("paused") {
            ResumeSubscription::new(id).build()
        } else if held.get("cancel_at_period_end").and_then(Value::as_bool) == Some(true) {
            UpdateSubscription::new(id).cancel_at_period_end(false).build()
        } else if held.get("cancel_at").is_some_and(|at| !at.is_null()) {
            RequestBuilder::new(StripeMethod::Post, format!("/subscriptions/{id}"))
                .form(&NoEnd { cancel_at: "" })
        } else {
            return Ok(());
        };
        self.change(request, &key("resume", request_id)).await?;
        Ok(())
    }
}

impl Gateway {
    /// At once, and only if what is due is paid.
    async fn change_now(
        &self,
        subscription: &Value,
        change: &PlanChange,
        reckoned_at: Option<DateTime<Utc>>,
        request_id: &str,
    ) -> Result<(), BillingError> {
        self.release(subscription, request_id).await?;
        let mut item = UpdateSubscriptionItems::new();
        item.id = Some(item_of(subscription, change)?);
        item.price = Some(change.to.to_string());
        let mut update = UpdateSubscription::new(change.subscription.as_str())
            .items(vec![item])
            .payment_behavior(UpdateSubscriptionPaymentBehavior::PendingIfIncomplete)
            .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice);
        if let Some(reckoned_at) = reckoned_at {
            update = update.proration_date(reckoned_at.timestamp());
        }
        self.change(update.build(), &key("change", request_id)).await?;
        Ok(())
    }

    /// With the end of the period: a schedule whose first phase is what runs now, and whose second sells the other price.
    async fn change_later(
        &self,
        subscription: &Value,
        change: &PlanChange,
        request_id: &str,
    ) -> Result<(), BillingError> {
        let goes = item_of(subscription, change)?;
        self.release(subscription, request_id).await?;
        let create = CreateSubscriptionSchedule::new().from_subscription(change.subscription.as_str());
        let schedule = self.change(create.build(), &key("schedule", request_id)).await?;
        let current = schedule.pointer("/phases/0").ok_or_else(|| unreadable("phases"))?;
        let moment =
            |field: &str| current.get(field).and_then(Value::as_i64).ok_or_else(|| unreadable(field));
        let items = subscription.pointer("/items/data").and_then(Value::as_array).into_iter().flatten();
        let (mut now, mut next) = (Vec::new(), Vec::new());
        for item in items {
            let mut sold = UpdateSubscriptionSchedulePhasesItems::new();
            sold.price = text(item, "price");
            sold.quantity = item.get("quantity").and_then(Value::as_u64);
            let mut sold_next = sold.clone();
            if text(item, "id").as_ref() == Some(&goes) {
                sold_next.price = Some(change.to.to_string());
            }
            now.push(sold);
            next.push(sold_next);
        }
        let mut phase = UpdateSubscriptionSchedulePhases::new(now);
        let (starts, ends) = (moment("start_date")?, moment("end_date")?);
        phase.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(starts));
        phase.end_date = Some(UpdateSubscriptionSchedulePhasesEndDate::Timestamp(ends));
        let mut following = UpdateSubscriptionSchedulePhases::new(next);
        following.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(ends));
        let update = UpdateSubscriptionSchedule::new(required(&schedule, "id")?)
            .phases(vec![phase, following])
            .end_behavior(SubscriptionScheduleEndBehavior::Release);
        self.change(update.build(), &key("phases", request_id)).await?;
        Ok(())
    }

    /// Takes a subscription out of its schedule, which would not let it be changed.
    async fn release(&self, subscription: &Value, request_id: &str) -> Result<(), BillingError> {
        if let Some(schedule) = text(subscription, "schedule") {
            let release = ReleaseSubscriptionSchedule::new(schedule).build();
            self.change(release, &key("release", request_id)).await?;
        }
        Ok(())
    }
}

/// The item of a subscription that a change replaces.
fn item_of(subscription: &Value, change: &PlanChange) -> Result<String, BillingError> {
    let items = subscription.pointer("/items/data").and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let goes = |item: &&Value| {
        text(item, "price").is_some_and(|price| change.from.iter().any(|from| from.as_str() == price))
    };
    let found = match items {
        [only] => Some(only),
        several => several.iter().find(goes),
    };
    found.and_then(|item| text(item, "id")).ok_or_else(|| BillingError::Refused {
        code: "no_such_item".to_owned(),
        message: format!(
            "{} sells several things, and none of them is the plan that goes",
            change.subscription
        ),
    })
}

fn has_ended(subscription: &Value) -> bool {
    matches!(text(subscription, "status").as_deref(), Some("canceled" | "incomplete_expired"))
}

fn named(member: &MemberId) -> HashMap<String, String> {
    HashMap::from([("member_id".to_owned(), member.to_string())])
}

fn key(what: &str, request_id: &str) -> String {
    format!("membership-{what}-{request_id}")
}

fn page(session: &Value) -> Result<HostedPage, BillingError> {
    Ok(HostedPage { session: required(session, "id")?, url: required(session, "url")? })
}

fn required(object: &Value, field: &str) -> Result<String, BillingError> {
    text(object, field).ok_or_else(|| unreadable(field))
}

fn unreadable(field: &str) -> BillingError {
    BillingError::Unavailable(format!("its answer has no {field:?}"))
}
