//! What an event means: pure, from Stripe's words to commands. Nothing here is an error; what cannot be used is parked
//! or ignored with a reason.

use chrono::{DateTime, Utc};
use domain::customer::Deletion;
use domain::ids::{CustomerId, SubscriptionId};
use domain::member::Checkout;
use domain::subscription::{Item, Kind, Observation, PaymentAttempt, Status, Terms};
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
    /// A payment of a subscription's invoice was made or failed.
    Payment {
        /// The subscription.
        subscription: SubscriptionId,
        /// The attempt.
        attempt: PaymentAttempt,
        /// Whether it succeeded.
        paid: bool,
        /// What the invoice sells.
        items: Vec<Item>,
        /// The member it names.
        named_member: Option<String>,
    },
    /// Somebody finished a checkout.
    Checkout {
        /// The checkout.
        checkout: Checkout,
        /// The members it names; more than one is a contradiction.
        named_members: Vec<String>,
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

/// A reason with its code.
pub(crate) fn why(code: &str, detail: impl Into<String>) -> Why {
    Why { code: code.to_owned(), detail: detail.into() }
}

/// What an event means.
pub fn translate(event: &Envelope) -> Translation {
    let event_type = event.event_type.strip_prefix("v1.").unwrap_or(&event.event_type);
    let handled = event_type.starts_with("customer.subscription.")
        || matches!(
            event_type,
            "checkout.session.completed"
                | "invoice.paid"
                | "invoice.payment_failed"
                | "customer.created"
                | "customer.updated"
                | "customer.deleted"
        );
    if !handled {
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
        "invoice.paid" => payment(event, object, at, true),
        "invoice.payment_failed" => payment(event, object, at, false),
        "customer.created" | "customer.updated" => event
            .customer()
            .map(|customer| Translation::Customer { customer, named_member: wire::named_member(object) }),
        "customer.deleted" => event.customer().map(|customer| {
            let deletion = Deletion { source: event.id.as_str().into(), at };
            Translation::CustomerDeleted { customer, deletion }
        }),
        change => observation(event, object, at, change),
    };
    translated.unwrap_or_else(|| {
        let detail = "the object in the event lacks an id, a customer or a status";
        Translation::Park(why("incomplete_object", detail))
    })
}

fn observation(event: &Envelope, object: &Value, at: DateTime<Utc>, event_type: &str) -> Option<Translation> {
    let kind = match event_type {
        "customer.subscription.created" => Kind::Created,
        "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed" => Kind::Changed,
        "customer.subscription.deleted" => Kind::Ended,
        _ => Kind::Notice,
    };
    let mut terms = wire::terms(object)?;
    if kind == Kind::Ended {
        end(&mut terms, at);
    }
    let replaced = event.object_before().and_then(|before| wire::terms(&before)).map(Box::new);
    Some(Translation::Observation {
        subscription: wire::subscription_id(object)?,
        observation: Box::new(Observation { source: event.id.as_str().into(), at, kind, terms, replaced }),
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

fn payment(event: &Envelope, object: &Value, at: DateTime<Utc>, paid: bool) -> Option<Translation> {
    let invoice = wire::invoice(object)?;
    let Some(subscription) = invoice.subscription else {
        let detail = format!("invoice {} is not for a subscription", invoice.id);
        return Some(Translation::Ignore(why("no_subscription", detail)));
    };
    Some(Translation::Payment {
        subscription,
        attempt: PaymentAttempt {
            invoice: invoice.id,
            source: event.id.as_str().into(),
            at: invoice.paid_at.filter(|_| paid).unwrap_or(at),
            customer: invoice.customer,
            amount: invoice.total,
            currency: invoice.currency,
            count: invoice.attempt_count,
            next_attempt_at: invoice.next_attempt_at,
        },
        paid,
        items: invoice.items,
        named_member: invoice.named_member,
    })
}

fn checkout(object: &Value, at: DateTime<Utc>) -> Option<Translation> {
    let mode = wire::text(object, "mode");
    let subscription = wire::id_of(object.get("subscription"));
    // Sessions from before `mode` existed tell by what they started.
    if mode.as_deref().map_or(subscription.is_none(), |mode| mode != "subscription") {
        return Some(Translation::Ignore(why("no_subscription", "the checkout was not for a subscription")));
    }
    let reference = wire::member_in(object, "client_reference_id");
    let mut named_members: Vec<String> =
        [reference, wire::named_member(object)].into_iter().flatten().collect();
    named_members.dedup();
    Some(Translation::Checkout {
        checkout: Checkout {
            session: wire::text(object, "id")?,
            customer: wire::id_of(object.get("customer"))?.into(),
            subscription: subscription.map(Into::into),
            payment_status: wire::text(object, "payment_status"),
            at,
        },
        named_members,
    })
}

#[cfg(test)]
mod tests;
