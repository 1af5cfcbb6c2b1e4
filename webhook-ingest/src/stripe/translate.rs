//! What an event means: pure, from Stripe's words to commands. Nothing here is an error; what cannot be used is parked
//! or ignored with a reason.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use domain::customer::Deletion;
use domain::ids::{CustomerId, InvoiceId, PaymentId, SourceEventId, SubscriptionId};
use domain::member::{Checkout, CheckoutEnd, CheckoutOutcome};
use domain::ports::PayerTold;
use domain::subscription::{
    Dispute, DisputeStatus, InvoiceNote, Item, Kind, NextPlans, Noted, Notice, Observation, PaymentAttempt,
    Refund, RefundTold, Reversal, Schedule, Status, Terms,
};
use serde_json::Value;

use super::wire::{self, Envelope};
use crate::inbox::Why;

/// What an event asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Translation {
    /// A subscription looked like this.
    Observation {
        /// The subscription.
        subscription: SubscriptionId,
        /// What it looked like, without its plans.
        observation: Box<Observation>,
        /// The member it names.
        named_member: Option<String>,
    },
    /// Something happened to a subscription's invoice.
    Invoice {
        /// The invoice's place.
        of: InvoiceOf,
        /// What happened.
        told: InvoiceTold,
    },
    /// A payment paid an invoice.
    InvoicePayment {
        /// The payment.
        payment: PaymentId,
        /// The invoice.
        invoice: InvoiceId,
        /// When.
        at: DateTime<Utc>,
    },
    /// A payment was given back, disputed, or asked about.
    Reversal {
        /// The payment.
        payment: PaymentId,
        /// What became of it.
        reversal: Reversal,
    },
    /// What is to become of a subscription's plans was decided, or taken back.
    Schedule {
        /// The subscription.
        subscription: SubscriptionId,
        /// What is to come, without its plans.
        schedule: Schedule,
    },
    /// Somebody finished a checkout.
    Checkout {
        /// The checkout.
        checkout: Checkout,
        /// The members it names; more than one is a contradiction.
        named_members: Vec<String>,
    },
    /// The payment of a checkout came or failed later, or the checkout expired.
    CheckoutEnd {
        /// What became of it.
        end: CheckoutEnd,
        /// The payer, where there was one already.
        customer: Option<CustomerId>,
        /// The member it names.
        named_member: Option<String>,
    },
    /// A payer was created or changed.
    Customer {
        /// The payer.
        customer: CustomerId,
        /// The member it names.
        named_member: Option<String>,
    },
    /// A payer was deleted.
    CustomerDeleted {
        /// The payer.
        customer: CustomerId,
        /// When, and how we know.
        deletion: Deletion,
    },
    /// It cannot be used yet.
    Park(Why),
    /// It is not about memberships.
    Ignore(Why),
}

/// Where an invoice belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceOf {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The payer.
    pub customer: CustomerId,
    /// What the invoice sells.
    pub items: Vec<Item>,
    /// The member its subscription names.
    pub named_member: Option<String>,
}

/// What happened to an invoice.
#[derive(Debug, Clone, PartialEq)]
pub enum InvoiceTold {
    /// It was paid, by this payment where the invoice says so.
    Paid(PaymentAttempt, Option<PaymentId>),
    /// A payment failed.
    Failed(PaymentAttempt),
    /// A payment waits for the payer to act.
    ActionRequired(PaymentAttempt),
    /// Something that is no payment.
    Noted(Noted),
}

/// A reason with its code.
pub(crate) fn why(code: &str, detail: impl Into<String>) -> Why {
    Why { code: code.to_owned(), detail: detail.into() }
}

/// What an event means.
pub fn translate(event: &Envelope) -> Translation {
    let event_type = event.plain_type();
    if matches!(event_type, "entitlements.active_entitlement_summary.updated") {
        let detail =
            "the plans of a subscription's prices decide, and the summary may lag behind or be cut short";
        return Translation::Ignore(why("advisory", detail));
    }
    if !is_handled(event_type) {
        let detail = format!("{} events do not change memberships", event.event_type);
        return Translation::Ignore(why("unhandled_type", detail));
    }
    let Some(object) = &event.object else {
        let detail =
            "the event carries no object (a thin event); it needs the object to be fetched from Stripe";
        return Translation::Park(why("thin_event", detail));
    };
    let Some(at) = event.created else {
        return Translation::Park(why("no_time", "the event does not say when it was created"));
    };
    let translated = match event_type {
        "checkout.session.completed" => checkout(object, at),
        "checkout.session.async_payment_succeeded" => {
            checkout_end(event, object, at, CheckoutOutcome::PaymentSucceeded)
        }
        "checkout.session.async_payment_failed" => {
            checkout_end(event, object, at, CheckoutOutcome::PaymentFailed)
        }
        "checkout.session.expired" => checkout_end(event, object, at, CheckoutOutcome::Expired),
        "customer.created" | "customer.updated" => event
            .customer()
            .map(|customer| Translation::Customer { customer, named_member: wire::named_member(object) }),
        "customer.deleted" => event.customer().map(|customer| {
            let deletion = Deletion { source: source(event), at };
            Translation::CustomerDeleted { customer, deletion }
        }),
        "invoice_payment.paid" => invoice_payment(object, at),
        "charge.refunded" => charge_refunded(event, object, at),
        "radar.early_fraud_warning.created" => dispute(event, object, at, Some("early_fraud_warning")),
        told if told.starts_with("subscription_schedule.") => Some(schedule(event, object, at)),
        told if told.starts_with("charge.dispute.") => dispute(event, object, at, None),
        told if told.starts_with("refund.") || told == "charge.refund.updated" => refund(event, object, at),
        told if told.starts_with("invoice.") => invoice(event, object, at, told),
        change => observation(event, object, at, change),
    };
    translated.unwrap_or_else(|| {
        let detail = "the object in the event lacks an id, a customer or a status";
        Translation::Park(why("incomplete_object", detail))
    })
}

/// What a webhook endpoint has to be subscribed to: every type that says something about a membership.
pub const SUBSCRIBED: [&str; 41] = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.refund.updated",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.finalization_failed",
    "invoice.marked_uncollectible",
    "invoice.overdue",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.voided",
    "invoice_payment.paid",
    "radar.early_fraud_warning.created",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "subscription_schedule.aborted",
    "subscription_schedule.canceled",
    "subscription_schedule.completed",
    "subscription_schedule.created",
    "subscription_schedule.expiring",
    "subscription_schedule.released",
    "subscription_schedule.updated",
];

/// The types that say something about a membership. Of families whose every member does, those that are to come too.
pub fn is_handled(event_type: &str) -> bool {
    let families = ["customer.subscription.", "subscription_schedule.", "charge.dispute.", "refund."];
    families.iter().any(|family| event_type.starts_with(family))
        || matches!(
            event_type,
            "checkout.session.completed"
                | "checkout.session.async_payment_succeeded"
                | "checkout.session.async_payment_failed"
                | "checkout.session.expired"
                | "invoice.paid"
                | "invoice.payment_failed"
                | "invoice.payment_action_required"
                | "invoice.marked_uncollectible"
                | "invoice.voided"
                | "invoice.overdue"
                | "invoice.finalization_failed"
                | "invoice_payment.paid"
                | "charge.refunded"
                | "charge.refund.updated"
                | "radar.early_fraud_warning.created"
                | "customer.created"
                | "customer.updated"
                | "customer.deleted"
        )
}

/// A subscription that Stripe was asked for: what it looks like, and the member it names.
pub(crate) fn seen(object: &Value) -> Option<(SubscriptionId, Terms, Option<String>)> {
    Some((wire::subscription_id(object)?, wire::terms(object)?, wire::named_member(object)))
}

/// A finished checkout that Stripe was asked for, and the members it names.
pub(crate) fn checkout_seen(object: &Value, at: DateTime<Utc>) -> Option<(Checkout, Vec<String>)> {
    match checkout(object, at)? {
        Translation::Checkout { checkout, named_members } => Some((checkout, named_members)),
        _ => None,
    }
}

/// A schedule that Stripe was asked for: whose it is, and the change that is to come.
pub(crate) fn schedule_seen(object: &Value) -> Option<(SubscriptionId, Option<NextPlans>)> {
    let (subscription, next) = wire::schedule(object)?;
    Some((subscription, next.map(|(from, items)| NextPlans { from, items, plans: Vec::new() })))
}

/// The members that a checkout names.
pub(crate) fn named_by(checkout: &Value) -> Vec<String> {
    let reference = wire::member_in(checkout, "client_reference_id");
    let mut named: Vec<String> = [reference, wire::named_member(checkout)].into_iter().flatten().collect();
    named.dedup();
    named
}

/// Where an invoice that Stripe was asked for belongs.
pub(crate) fn invoice_seen(object: &Value) -> Option<(InvoiceId, Option<SubscriptionId>)> {
    wire::invoice(object).map(|invoice| (invoice.id, invoice.subscription))
}

/// The member that any object of Stripe's names.
pub(crate) fn member_named(object: &Value) -> Option<String> {
    wire::named_member(object)
}

/// What an event says of who its payer is. Stripe's times are whole seconds: of two events of one, what is told of the payer
/// itself counts for more than what something else says of her beside.
pub(crate) fn payer_told(event: &Envelope) -> Option<PayerTold> {
    let (object, created) = (event.object.as_ref()?, event.created?);
    let (at, weight, of, name, email) = match event.plain_type() {
        // What nobody is known to have could be forgotten on nobody's behalf.
        "customer.deleted" => (created, 3, &Value::Null, "name", "email"),
        "customer.updated" => (created, 2, object, "name", "email"),
        "customer.created" => (created, 1, object, "name", "email"),
        "checkout.session.completed" => (created, 0, object.get("customer_details")?, "name", "email"),
        told if told.starts_with("invoice.") => {
            (wire::finalized_at(object).unwrap_or(created), 0, object, "customer_name", "customer_email")
        }
        _ => return None,
    };
    let mut names = named_by(object);
    names.extend(wire::invoice(object).and_then(|invoice| invoice.named_member));
    Some(PayerTold {
        customer: event.customer()?,
        name: wire::text(of, name),
        email: wire::text(of, email),
        is_whole: weight > 0,
        at: at + TimeDelta::microseconds(weight),
        names,
    })
}

/// What Stripe said of who pays for a subscription that it was asked for, if it was asked for that too. An event of the same
/// second may have been made after the answer.
pub(crate) fn payer_seen(subscription: &Value, at: DateTime<Utc>) -> Option<PayerTold> {
    let payer = subscription.get("customer").filter(|payer| payer.is_object())?;
    if payer.get("deleted").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let names = [wire::named_member(subscription), wire::named_member(payer)].into_iter().flatten();
    Some(PayerTold {
        customer: wire::text(payer, "id")?.into(),
        name: wire::text(payer, "name"),
        email: wire::text(payer, "email"),
        is_whole: true,
        at: at.trunc_subsecs(0),
        names: names.collect(),
    })
}

fn source(event: &Envelope) -> SourceEventId {
    event.id.as_str().into()
}

fn observation(event: &Envelope, object: &Value, at: DateTime<Utc>, event_type: &str) -> Option<Translation> {
    let (kind, notice) = match event_type {
        "customer.subscription.created" => (Kind::Created, None),
        "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed" => (Kind::Changed, None),
        "customer.subscription.deleted" => (Kind::Ended, None),
        "customer.subscription.trial_will_end" => (Kind::Notice, Some(Notice::TrialEnding)),
        "customer.subscription.pending_update_applied" => (Kind::Notice, Some(Notice::PendingUpdateApplied)),
        "customer.subscription.pending_update_expired" => (Kind::Notice, Some(Notice::PendingUpdateExpired)),
        _ => (Kind::Notice, None),
    };
    let mut terms = wire::terms(object)?;
    if kind == Kind::Ended {
        end(&mut terms, at);
    }
    let replaced = event.object_before().and_then(|before| wire::terms(&before)).map(Box::new);
    Some(Translation::Observation {
        subscription: wire::subscription_id(object)?,
        observation: Box::new(Observation {
            notice,
            replaced,
            ..Observation::new(source(event), at, kind, terms)
        }),
        named_member: wire::named_member(object),
    })
}

/// Whatever the object beside it says, `deleted` means that the subscription is over.
fn end(terms: &mut Terms, at: DateTime<Utc>) {
    if !terms.status.is_final() {
        terms.status = Status::Canceled;
    }
    terms.ended_at.get_or_insert(at);
}

fn invoice(event: &Envelope, object: &Value, at: DateTime<Utc>, event_type: &str) -> Option<Translation> {
    let invoice = wire::invoice(object)?;
    let Some(subscription) = invoice.subscription else {
        let detail = format!("invoice {} is not for a subscription", invoice.id);
        return Some(Translation::Ignore(why("no_subscription", detail)));
    };
    let paid = event_type == "invoice.paid";
    let attempt = PaymentAttempt {
        invoice: invoice.id.clone(),
        source: source(event),
        at: invoice.paid_at.filter(|_| paid).unwrap_or(at),
        amount: invoice.amount_paid.filter(|_| paid).unwrap_or(invoice.total),
        currency: invoice.currency,
        count: invoice.attempt_count,
        next_attempt_at: invoice.next_attempt_at,
    };
    let noted = |note| InvoiceTold::Noted(Noted { invoice: invoice.id, note, at, source: source(event) });
    let told = match event_type {
        "invoice.paid" => InvoiceTold::Paid(attempt, invoice.payment),
        "invoice.payment_failed" => InvoiceTold::Failed(attempt),
        "invoice.payment_action_required" => InvoiceTold::ActionRequired(attempt),
        "invoice.marked_uncollectible" => noted(InvoiceNote::MarkedUncollectible),
        "invoice.voided" => noted(InvoiceNote::Voided),
        "invoice.overdue" => noted(InvoiceNote::Overdue),
        _ => noted(InvoiceNote::FinalizationFailed),
    };
    let of = InvoiceOf {
        subscription,
        customer: invoice.customer,
        items: invoice.items,
        named_member: invoice.named_member,
    };
    Some(Translation::Invoice { of, told })
}

fn invoice_payment(object: &Value, at: DateTime<Utc>) -> Option<Translation> {
    Some(Translation::InvoicePayment {
        payment: object.get("payment").and_then(wire::payment_of)?,
        invoice: wire::id_of(object.get("invoice"))?.into(),
        at,
    })
}

fn charge_refunded(event: &Envelope, object: &Value, at: DateTime<Utc>) -> Option<Translation> {
    let told = RefundTold::Payment {
        given_back: wire::number(object, "amount_refunded")?,
        paid: wire::number(object, "amount_captured")
            .filter(|captured| *captured > 0)
            .or_else(|| wire::number(object, "amount"))?,
    };
    let currency = wire::text(object, "currency");
    let refund = Refund { at, source: source(event), told, currency };
    Some(Translation::Reversal { payment: wire::payment_of(object)?, reversal: Reversal::Refund(refund) })
}

fn refund(event: &Envelope, object: &Value, at: DateTime<Utc>) -> Option<Translation> {
    let failed = matches!(wire::text(object, "status").as_deref(), Some("failed" | "canceled"));
    let told = RefundTold::One {
        refund: wire::text(object, "id")?.into(),
        amount: wire::number(object, "amount")?,
        failed,
    };
    let currency = wire::text(object, "currency");
    let refund = Refund { at, source: source(event), told, currency };
    Some(Translation::Reversal { payment: wire::payment_of(object)?, reversal: Reversal::Refund(refund) })
}

/// A dispute, or, with a `status` of its own, the card network's warning of fraud, which comes before one.
fn dispute(event: &Envelope, object: &Value, at: DateTime<Utc>, status: Option<&str>) -> Option<Translation> {
    let status = status.map(str::to_owned).or_else(|| wire::text(object, "status"))?;
    let dispute = Dispute {
        at,
        source: source(event),
        dispute: wire::text(object, "id")?.into(),
        status: DisputeStatus::from(status),
        reason: wire::text(object, "reason").or_else(|| wire::text(object, "fraud_type")),
    };
    Some(Translation::Reversal { payment: wire::payment_of(object)?, reversal: Reversal::Dispute(dispute) })
}

fn schedule(event: &Envelope, object: &Value, at: DateTime<Utc>) -> Translation {
    let Some((subscription, next)) = wire::schedule(object) else {
        return Translation::Ignore(why("no_subscription", "the schedule has no subscription yet"));
    };
    let next = next.map(|(from, items)| NextPlans { from, items, plans: Vec::new() });
    Translation::Schedule { subscription, schedule: Schedule { at, source: source(event), next } }
}

fn checkout_end(
    event: &Envelope,
    object: &Value,
    at: DateTime<Utc>,
    outcome: CheckoutOutcome,
) -> Option<Translation> {
    if wire::text(object, "mode").is_some_and(|mode| mode != "subscription") {
        return Some(Translation::Ignore(why("no_subscription", "the checkout was not for a subscription")));
    }
    Some(Translation::CheckoutEnd {
        end: CheckoutEnd { session: wire::text(object, "id")?, outcome, at, source: source(event) },
        customer: wire::id_of(object.get("customer")).map(Into::into),
        named_member: wire::member_in(object, "client_reference_id").or_else(|| wire::named_member(object)),
    })
}

fn checkout(object: &Value, at: DateTime<Utc>) -> Option<Translation> {
    let mode = wire::text(object, "mode");
    let subscription = wire::id_of(object.get("subscription"));
    // Sessions from before `mode` existed tell by what they started.
    if mode.as_deref().map_or(subscription.is_none(), |mode| mode != "subscription") {
        return Some(Translation::Ignore(why("no_subscription", "the checkout was not for a subscription")));
    }
    Some(Translation::Checkout {
        checkout: Checkout {
            session: wire::text(object, "id")?,
            customer: wire::id_of(object.get("customer"))?.into(),
            subscription: subscription.map(Into::into),
            payment_status: wire::text(object, "payment_status"),
            at,
        },
        named_members: named_by(object),
    })
}

#[cfg(test)]
mod tests;
