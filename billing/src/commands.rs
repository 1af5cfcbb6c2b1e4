//! What is asked of Stripe on a person's behalf.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::billing::{
    Billing, BillingError, ChangePreview, CheckoutState, HostedPage, NewCheckout, PlanChange, When,
};
use domain::ids::{CustomerId, MemberId, PriceId, SubscriptionId};
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
    CreateSubscriptionSchedule, ReleaseSubscriptionSchedule, RetrieveSubscriptionSchedule,
    UpdateSubscriptionSchedule, UpdateSubscriptionSchedulePhases, UpdateSubscriptionSchedulePhasesDiscounts,
    UpdateSubscriptionSchedulePhasesEndDate, UpdateSubscriptionSchedulePhasesItems,
    UpdateSubscriptionSchedulePhasesStartDate, UpdateSubscriptionSchedulePhasesTrialEnd,
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::customer::CreateCustomer;
use stripe_shared::{CheckoutSessionMode, SubscriptionScheduleEndBehavior};

use crate::gateway::{Gateway, text};

/// Names a schedule after the request that it was made for.
const MADE_FOR: &str = "request_id";

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
        match self.change(request, &key("cancel", request_id)).await {
            // It may have ended since the look, even by this request when an answer to it was lost: no key counts for what
            // ends a subscription at once, and Stripe says that there is none.
            Err(refused @ BillingError::Refused { .. }) => {
                if has_ended(&self.needed(subscription).await?) {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            done => done.map(drop),
        }
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

    /// With the end of the period: a schedule that sells what it sells now, and the other price after that.
    ///
    /// A schedule that is there is looked at first and then changed: one that was made by an attempt before this one is not
    /// taken away, as Stripe would answer what made it from memory and make no other.
    async fn change_later(
        &self,
        subscription: &Value,
        change: &PlanChange,
        request_id: &str,
    ) -> Result<(), BillingError> {
        let goes = item_of(subscription, change)?;
        if is_ending(subscription) {
            return Err(refused(
                "end_scheduled",
                "its end is scheduled; take that back before the plan is changed",
            ));
        }
        let held = match text(subscription, "schedule") {
            Some(id) => {
                self.get(RetrieveSubscriptionSchedule::new(id).build()).await?.map(|found| found.object)
            }
            None => None,
        };
        let schedule = match held.filter(is_on) {
            Some(held) if is_made_for(&held, request_id) || sells_next(&held, &change.to) => return Ok(()),
            Some(held) if text(&held, "end_behavior").as_deref() == Some("cancel") => {
                return Err(refused(
                    "end_scheduled",
                    "it ends with its schedule; take that back before the plan is changed",
                ));
            }
            Some(held) => held,
            None => self.begin_schedule(&change.subscription, request_id).await?,
        };
        let (id, on) = (required(&schedule, "id")?, phase_on(&schedule).ok_or_else(|| unreadable("phases"))?);
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
        let starts = moment(on, "start_date").ok_or_else(|| unreadable("start_date"))?;
        // A schedule of somebody else's may go on after the period.
        let items = subscription.pointer("/items/data").and_then(Value::as_array).into_iter().flatten();
        let period = items.filter_map(|item| moment(item, "current_period_end")).min();
        let period = period.or_else(|| moment(subscription, "current_period_end"));
        let ends = period.or_else(|| moment(on, "end_date")).ok_or_else(|| unreadable("end_date"))?;
        let mut phase = UpdateSubscriptionSchedulePhases::new(now);
        phase.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(starts));
        phase.end_date = Some(UpdateSubscriptionSchedulePhasesEndDate::Timestamp(ends));
        phase.trial_end = moment(on, "trial_end").map(UpdateSubscriptionSchedulePhasesTrialEnd::Timestamp);
        phase.discounts = discounts(on);
        let mut following = UpdateSubscriptionSchedulePhases::new(next);
        following.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(ends));
        following.discounts = phase.discounts.clone();
        let update = UpdateSubscriptionSchedule::new(id.as_str())
            .phases(vec![phase, following])
            .metadata(HashMap::from([(MADE_FOR.to_owned(), request_id.to_owned())]))
            .end_behavior(SubscriptionScheduleEndBehavior::Release);
        self.change(update.build(), &key("phases", &format!("{request_id}-{id}"))).await?;
        Ok(())
    }

    /// A schedule that goes on with what the subscription is. Stripe takes its phases and names only afterwards.
    async fn begin_schedule(
        &self,
        subscription: &SubscriptionId,
        request_id: &str,
    ) -> Result<Value, BillingError> {
        let create = CreateSubscriptionSchedule::new().from_subscription(subscription.as_str());
        let made = self.change(create.build(), &key("schedule", request_id)).await?;
        // What was told from memory may be one that was taken away since.
        let id = required(&made, "id")?;
        let there = self.get(RetrieveSubscriptionSchedule::new(id).build()).await?;
        there.map(|found| found.object).filter(is_on).ok_or_else(|| {
            refused("taken_back", "this change was scheduled and taken back since; ask for it with a new key")
        })
    }

    /// Takes a subscription out of its schedule, which would not let it be changed.
    async fn release(&self, subscription: &Value, request_id: &str) -> Result<(), BillingError> {
        if let Some(schedule) = text(subscription, "schedule") {
            let release = ReleaseSubscriptionSchedule::new(schedule.as_str()).build();
            // A later attempt may find another one.
            self.change(release, &key("release", &format!("{request_id}-{schedule}"))).await?;
        }
        Ok(())
    }
}

/// Whether a schedule still decides what is sold.
fn is_on(schedule: &Value) -> bool {
    !matches!(text(schedule, "status").as_deref(), Some("released" | "canceled" | "completed"))
}

fn is_made_for(schedule: &Value, request_id: &str) -> bool {
    schedule.pointer("/metadata").and_then(|names| text(names, MADE_FOR)).as_deref() == Some(request_id)
}

/// The phase that a schedule is in: its first one, where it does not say.
fn phase_on(schedule: &Value) -> Option<&Value> {
    let phases = schedule.get("phases")?.as_array()?;
    let began = schedule.pointer("/current_phase/start_date").and_then(Value::as_i64);
    let is_on = |phase: &&Value| began.is_some() && moment(phase, "start_date") == began;
    phases.iter().find(is_on).or_else(|| phases.first())
}

/// Whether the phase after the one that is on sells this price.
fn sells_next(schedule: &Value, price: &PriceId) -> bool {
    let Some(ends) = phase_on(schedule).and_then(|on| moment(on, "end_date")) else { return false };
    let phases = schedule.get("phases").and_then(Value::as_array).into_iter().flatten();
    let next = phases.filter(|phase| moment(phase, "start_date") == Some(ends));
    let mut items = next.filter_map(|next| next.get("items")?.as_array()).flatten();
    items.any(|item| text(item, "price").as_deref() == Some(price.as_str()))
}

/// What a phase takes off the price, to be taken off as before.
fn discounts(phase: &Value) -> Option<Vec<UpdateSubscriptionSchedulePhasesDiscounts>> {
    let held = phase.get("discounts")?.as_array().filter(|held| !held.is_empty())?;
    let same = held.iter().map(|held| {
        let mut same = UpdateSubscriptionSchedulePhasesDiscounts::new();
        // One that runs already keeps its end; the others are what it was begun with.
        same.discount = text(held, "discount");
        if same.discount.is_none() {
            same.promotion_code = text(held, "promotion_code");
        }
        if same.discount.is_none() && same.promotion_code.is_none() {
            same.coupon = text(held, "coupon");
        }
        same
    });
    Some(same.collect())
}

fn moment(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

fn is_ending(subscription: &Value) -> bool {
    subscription.get("cancel_at_period_end").and_then(Value::as_bool) == Some(true)
        || moment(subscription, "cancel_at").is_some()
}

fn refused(code: &str, why: &str) -> BillingError {
    BillingError::Refused { code: code.to_owned(), message: why.to_owned() }
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
