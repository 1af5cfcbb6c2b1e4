//! How objects look to others: the newest shapes of Stripe's API. Older ones are made from them in [`older`].

mod billing;
mod catalogue;
mod checkout;
pub(crate) mod older;
mod payments;

use serde_json::{Map, Value, json};

use crate::engine::model::{
    Charge, CheckoutSession, Customer, Dispute, Invoice, Kept, PaymentIntent, PaymentMethod, PortalSession,
    Price, Product, Refund, Schedule, Shelf, Store, Subscription,
};

pub(crate) use billing::{invoice_item, invoice_payment, invoice_payments};
pub(crate) use checkout::line_items;

/// The API version whose shapes these are.
pub const NEWEST: &str = "2026-09-30.endive";

/// An object that others see.
pub(crate) trait Shown: Kept + Sized {
    /// Stripe's word for the kind, as in error messages.
    const KIND: &'static str;
    /// The event that tells a change, and the one that tells it is new.
    const UPDATED: &'static str = "";
    const CREATED: &'static str = "";

    fn shelf(store: &Store) -> &Shelf<Self>;
    fn shelf_mut(store: &mut Store) -> &mut Shelf<Self>;
    fn shape(&self, store: &Store) -> Value;
}

macro_rules! shown {
    ($($kind:ty, $shelf:ident, $name:literal, $created:literal, $updated:literal, $shape:path;)*) => {$(
        impl Shown for $kind {
            const KIND: &'static str = $name;
            const UPDATED: &'static str = $updated;
            const CREATED: &'static str = $created;
            fn shelf(store: &Store) -> &Shelf<Self> {
                &store.$shelf
            }
            fn shelf_mut(store: &mut Store) -> &mut Shelf<Self> {
                &mut store.$shelf
            }
            fn shape(&self, store: &Store) -> Value {
                $shape(self, store)
            }
        }
    )*};
}

shown! {
    Customer, customers, "customer", "customer.created", "customer.updated", payments::customer;
    Product, products, "product", "product.created", "product.updated", catalogue::product;
    Price, prices, "price", "price.created", "price.updated", catalogue::price;
    PaymentMethod, payment_methods, "PaymentMethod", "", "payment_method.updated", payments::payment_method;
    Subscription, subscriptions, "subscription", "customer.subscription.created", "customer.subscription.updated", billing::subscription;
    Invoice, invoices, "invoice", "invoice.created", "invoice.updated", billing::invoice;
    PaymentIntent, payment_intents, "payment_intent", "payment_intent.created", "", payments::payment_intent;
    Charge, charges, "charge", "", "charge.updated", payments::charge;
    Refund, refunds, "refund", "refund.created", "refund.updated", payments::refund;
    Dispute, disputes, "dispute", "charge.dispute.created", "charge.dispute.updated", payments::dispute;
    CheckoutSession, sessions, "checkout.session", "", "", checkout::session;
    PortalSession, portals, "billing_portal.session", "", "", checkout::portal;
    Schedule, schedules, "subscription schedule", "subscription_schedule.created", "subscription_schedule.updated", billing::schedule;
}

/// A list as the API gives it, everything on one page.
pub(crate) fn list(url: &str, data: Vec<Value>) -> Value {
    let mut list = json!({ "object": "list", "has_more": false, "url": url });
    list["data"] = data.into();
    list
}

/// The object with this id, of whatever kind.
pub(crate) fn by_id(store: &Store, id: &str) -> Option<Value> {
    fn shape<T: Shown>(store: &Store, id: &str) -> Option<Value> {
        T::shelf(store).find(id).map(|record| record.shape(store))
    }
    shape::<Customer>(store, id)
        .or_else(|| shape::<Subscription>(store, id))
        .or_else(|| shape::<Invoice>(store, id))
        .or_else(|| shape::<Product>(store, id))
        .or_else(|| shape::<Price>(store, id))
        .or_else(|| shape::<PaymentMethod>(store, id))
        .or_else(|| shape::<PaymentIntent>(store, id))
        .or_else(|| shape::<Charge>(store, id))
        .or_else(|| shape::<Schedule>(store, id))
        .or_else(|| shape::<CheckoutSession>(store, id))
}

/// The members of `before` that are different in `after`, as `previous_attributes` tells them: objects by their changed
/// members, lists as a whole, what is new as null.
pub(crate) fn previous(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return before.clone() };
    let mut changed = Map::new();
    for (key, value) in old {
        let now = new.get(key).unwrap_or(&Value::Null);
        if now != value {
            changed.insert(key.clone(), previous(value, now));
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    changed.into()
}

/// What an object was before: the reverse of [`previous`].
pub(crate) fn before(after: &Value, previous: &Value) -> Value {
    let (Value::Object(now), Value::Object(old)) = (after, previous) else { return previous.clone() };
    let mut earlier = now.clone();
    for (key, value) in old {
        let known = earlier.get(key).unwrap_or(&Value::Null);
        let value = before(known, value);
        earlier.insert(key.clone(), value);
    }
    earlier.into()
}

/// Nothing known of where somebody lives.
fn address() -> Value {
    json!({ "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null })
}

fn no_tax() -> Value {
    json!({ "disabled_reason": null, "enabled": false, "liability": null })
}

fn decimal(amount: i64) -> Value {
    json!(amount.to_string())
}
