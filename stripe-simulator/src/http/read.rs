//! What `GET` gives: one object, or a page of many, newest first.

use serde_json::{Value, json};

use super::api::{Call, unknown};
use super::params::{Params, Said};
use crate::engine::clock::{DAY, Seconds};
use crate::engine::error::ApiError;
use crate::engine::model::{
    Charge, CheckoutSession, Customer, Dispute, Invoice, PaymentIntent, PaymentMethod, PortalSession, Price,
    Product, Refund, Schedule, Subscription,
};
use crate::shapes::{self, Shown};
use crate::simulator::Simulator;

/// How long events can be listed.
const EVENTS_FOR: Seconds = 30 * DAY;

pub(super) fn read(
    simulator: &mut Simulator,
    segments: &[&str],
    params: &mut Params,
    call: &Call,
) -> Result<Value, ApiError> {
    let store = &simulator.engine.store;
    let one = match *segments {
        ["customers", id] => get::<Customer>(simulator, id),
        ["products", id] => get::<Product>(simulator, id),
        ["prices", id] => get::<Price>(simulator, id),
        ["payment_methods", id] => get::<PaymentMethod>(simulator, id),
        ["customers", customer, "payment_methods", id] => {
            let method = get::<PaymentMethod>(simulator, id)?;
            if method["customer"] == customer {
                Ok(method)
            } else {
                Err(ApiError::missing("PaymentMethod", id))
            }
        }
        ["subscriptions", id] => get::<Subscription>(simulator, id),
        ["invoices", id] => get::<Invoice>(simulator, id),
        ["payment_intents", id] => get::<PaymentIntent>(simulator, id),
        ["charges", id] => get::<Charge>(simulator, id),
        ["refunds", id] => get::<Refund>(simulator, id),
        ["disputes", id] => get::<Dispute>(simulator, id),
        ["checkout", "sessions", id] => get::<CheckoutSession>(simulator, id),
        ["checkout", "sessions", id, "line_items"] => {
            simulator.engine.find::<CheckoutSession>(id).map(|kept| shapes::line_items(kept, store))
        }
        ["billing_portal", "sessions", id] => get::<PortalSession>(simulator, id),
        ["subscription_schedules", id] => get::<Schedule>(simulator, id),
        ["invoices", id, "lines"] => get::<Invoice>(simulator, id).map(|invoice| invoice["lines"].clone()),
        ["events", id] => event(simulator, id),
        ["account"] => Ok(json!({
            "id": "acct_simulator", "object": "account", "charges_enabled": true, "country": "US",
            "default_currency": "usd", "details_submitted": true, "email": null, "payouts_enabled": true,
            "type": "standard",
        })),
        _ => return list(simulator, segments, params, call),
    }?;
    params.without_effect(&["limit"]);
    params.finish()?;
    Ok(one)
}

pub(super) fn get<T: Shown>(simulator: &Simulator, id: &str) -> Result<Value, ApiError> {
    Ok(simulator.engine.find::<T>(id)?.shape(&simulator.engine.store))
}

fn list(
    simulator: &mut Simulator,
    segments: &[&str],
    params: &mut Params,
    call: &Call,
) -> Result<Value, ApiError> {
    match *segments {
        ["customers"] => {
            let email = params.filled("email")?;
            page::<Customer>(simulator, params, call, |kept| {
                !kept.deleted && (email.is_none() || kept.email == email)
            })
        }
        ["products"] => {
            let (active, ids) = (params.flag("active")?, params.texts("ids")?);
            page::<Product>(simulator, params, call, |kept| {
                active.is_none_or(|active| kept.active == active)
                    && (ids.is_empty() || ids.contains(&kept.id))
            })
        }
        ["prices"] => {
            let (active, product) = (params.flag("active")?, params.filled("product")?);
            let keys = params.texts("lookup_keys")?;
            params.without_effect(&["type"]);
            page::<Price>(simulator, params, call, |kept| {
                active.is_none_or(|active| kept.active == active)
                    && is(product.as_deref(), &kept.product)
                    && (keys.is_empty() || kept.lookup_key.as_ref().is_some_and(|key| keys.contains(key)))
            })
        }
        ["payment_methods"] => {
            let customer = params.filled("customer")?;
            methods(simulator, customer.as_deref(), params, call)
        }
        ["customers", customer, "payment_methods"] => methods(simulator, Some(customer), params, call),
        ["subscriptions"] => {
            let (customer, price) = (params.filled("customer")?, params.filled("price")?);
            let status = params.filled("status")?;
            let wanted = |name: &str| match status.as_deref() {
                None => name != "canceled",
                Some("all") => true,
                Some("ended") => matches!(name, "canceled" | "incomplete_expired"),
                Some(status) => name == status,
            };
            page::<Subscription>(simulator, params, call, |kept| {
                wanted(kept.status.name())
                    && is(customer.as_deref(), &kept.customer)
                    && price.as_ref().is_none_or(|price| kept.items.iter().any(|item| item.price == *price))
            })
        }
        ["invoices"] => {
            let (customer, subscription) = (params.filled("customer")?, params.filled("subscription")?);
            let status = params.filled("status")?;
            page::<Invoice>(simulator, params, call, |kept| {
                is(customer.as_deref(), &kept.customer)
                    && is(subscription.as_deref(), &kept.subscription)
                    && is(status.as_deref(), kept.status.name())
            })
        }
        ["invoice_payments"] => invoice_payments(simulator, params, call),
        ["payment_intents"] => {
            let customer = params.filled("customer")?;
            page::<PaymentIntent>(simulator, params, call, |kept| is(customer.as_deref(), &kept.customer))
        }
        ["charges"] => {
            let (customer, intent) = (params.filled("customer")?, params.filled("payment_intent")?);
            page::<Charge>(simulator, params, call, |kept| {
                is(customer.as_deref(), &kept.customer) && is(intent.as_deref(), &kept.payment_intent)
            })
        }
        ["refunds"] => {
            let (charge, intent) = (params.filled("charge")?, params.filled("payment_intent")?);
            page::<Refund>(simulator, params, call, |kept| {
                is(charge.as_deref(), &kept.charge) && is(intent.as_deref(), &kept.payment_intent)
            })
        }
        ["disputes"] => {
            let (charge, intent) = (params.filled("charge")?, params.filled("payment_intent")?);
            page::<Dispute>(simulator, params, call, |kept| {
                is(charge.as_deref(), &kept.charge) && is(intent.as_deref(), &kept.payment_intent)
            })
        }
        ["checkout", "sessions"] => {
            let (customer, subscription) = (params.filled("customer")?, params.filled("subscription")?);
            let status = params.filled("status")?;
            page::<CheckoutSession>(simulator, params, call, |kept| {
                (customer.is_none() || kept.customer == customer)
                    && (subscription.is_none() || kept.subscription == subscription)
                    && is(status.as_deref(), &kept.status)
            })
        }
        ["subscription_schedules"] => {
            let customer = params.filled("customer")?;
            page::<Schedule>(simulator, params, call, |kept| is(customer.as_deref(), &kept.customer))
        }
        ["events"] => events(simulator, params, call),
        _ => Err(unknown(call)),
    }
}

/// Whether a filter, where there is one, lets this through.
fn is(wanted: Option<&str>, held: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == held)
}

fn methods(
    simulator: &Simulator,
    customer: Option<&str>,
    params: &mut Params,
    call: &Call,
) -> Result<Value, ApiError> {
    let kind = params.filled("type")?;
    params.without_effect(&["allow_redisplay"]);
    page::<PaymentMethod>(simulator, params, call, |kept| {
        (customer.is_none() || kept.customer.as_deref() == customer)
            && kind.as_ref().is_none_or(|kind| kept.card.kind() == kind)
    })
}

/// Which part of a list is wanted.
struct Window {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

impl Window {
    fn read(params: &mut Params) -> Result<Self, ApiError> {
        let limit = params.number("limit")?.unwrap_or(10);
        let Some(limit) = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)) else {
            return Err(ApiError::invalid("Invalid limit: it has to be from 1 to 100.").at("limit"));
        };
        Ok(Self { limit, after: params.filled("starting_after")?, before: params.filled("ending_before")? })
    }

    /// Cuts the window out of `all`, newest first.
    fn cut(&self, all: Vec<(String, Value)>, url: &str) -> Result<Value, ApiError> {
        let place = |id: &String| {
            let found = all.iter().position(|(kept, _)| kept == id);
            found.ok_or_else(|| {
                ApiError::invalid(format!("No such object in this list: '{id}'")).coded("resource_missing")
            })
        };
        let (from, to) = match (&self.after, &self.before) {
            (Some(after), _) => {
                let from = place(after)? + 1;
                (from, all.len().min(from + self.limit))
            }
            (None, Some(before)) => {
                let to = place(before)?;
                (to.saturating_sub(self.limit), to)
            }
            (None, None) => (0, all.len().min(self.limit)),
        };
        let has_more = if self.after.is_none() && self.before.is_some() { from > 0 } else { to < all.len() };
        let data: Vec<_> = all.into_iter().skip(from).take(to - from).map(|(_, shape)| shape).collect();
        Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": url }))
    }
}

/// The `created` filter: a moment, or bounds.
fn created(params: &mut Params) -> Result<impl Fn(Seconds) -> bool + use<>, ApiError> {
    let wrong = |_| ApiError::invalid("Invalid timestamp: created").at("created");
    let (exactly, mut bounds) = match params.said("created")? {
        Some(Said::Text(text)) => (Some(text.parse::<Seconds>().map_err(wrong)?), Params::default()),
        Some(Said::Part(bounds)) => (None, bounds),
        None => (None, Params::default()),
    };
    let (gt, gte, lt, lte) =
        (bounds.number("gt")?, bounds.number("gte")?, bounds.number("lt")?, bounds.number("lte")?);
    bounds.finish()?;
    Ok(move |at: Seconds| {
        exactly.is_none_or(|moment| at == moment)
            && gt.is_none_or(|moment| at > moment)
            && gte.is_none_or(|moment| at >= moment)
            && lt.is_none_or(|moment| at < moment)
            && lte.is_none_or(|moment| at <= moment)
    })
}

fn page<T: Shown>(
    simulator: &Simulator,
    params: &mut Params,
    call: &Call,
    wanted: impl Fn(&T) -> bool,
) -> Result<Value, ApiError> {
    let (window, in_time) = (Window::read(params)?, created(params)?);
    params.finish()?;
    let store = &simulator.engine.store;
    let wanted = T::shelf(store).iter().rev().filter(|kept| wanted(kept) && in_time(kept.created()));
    let all: Vec<_> = wanted.map(|kept| (kept.id().to_owned(), kept)).collect();
    // Shapes are made for what is shown only.
    let ids = all.iter().map(|(id, _)| (id.clone(), json!(id))).collect();
    let mut answer = window.cut(ids, &call.path)?;
    for shown in answer["data"].as_array_mut().into_iter().flatten() {
        let kept = shown.as_str().and_then(|id| T::shelf(store).find(id));
        *shown = kept.map_or(Value::Null, |kept| kept.shape(store));
    }
    Ok(answer)
}

fn invoice_payments(simulator: &Simulator, params: &mut Params, call: &Call) -> Result<Value, ApiError> {
    let (invoice, status) = (params.filled("invoice")?, params.filled("status")?);
    let mut payment = params.part("payment")?;
    let intent = payment.filled("payment_intent")?;
    payment.without_effect(&["type"]);
    payment.finish()?;
    let window = Window::read(params)?;
    params.finish()?;
    let store = &simulator.engine.store;
    let wanted = store.invoices.iter().rev().filter(|kept| {
        is(invoice.as_deref(), &kept.id) && (intent.is_none() || kept.payment_intent == intent)
    });
    let shapes = wanted.filter_map(|kept| {
        let shape = shapes::invoice_payment(kept, store)?;
        let fits = status.as_ref().is_none_or(|status| shape["status"] == *status);
        fits.then(|| (kept.payment.clone().unwrap_or_default(), shape))
    });
    window.cut(shapes.collect(), &call.path)
}

fn shown_event(simulator: &Simulator, event: &crate::engine::Event) -> Value {
    let mut body = event.body.clone();
    let open = simulator.endpoint && !simulator.outbox.reached(&event.id);
    body["pending_webhooks"] = json!(u8::from(open));
    body
}

fn event(simulator: &Simulator, id: &str) -> Result<Value, ApiError> {
    let since = simulator.now() - EVENTS_FOR;
    let found = simulator.events().iter().find(|event| event.id == id && event.created > since);
    found.map(|event| shown_event(simulator, event)).ok_or_else(|| ApiError::missing("event", id))
}

fn events(simulator: &Simulator, params: &mut Params, call: &Call) -> Result<Value, ApiError> {
    let (kind, kinds) = (params.filled("type")?, params.texts("types")?);
    let delivered = params.flag("delivery_success")?;
    let (window, in_time) = (Window::read(params)?, created(params)?);
    params.finish()?;
    let fits = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let since = simulator.now() - EVENTS_FOR;
    let wanted = simulator.events().iter().rev().filter(|event| {
        event.created > since
            && in_time(event.created)
            && kind.as_ref().is_none_or(|kind| fits(&event.kind, kind))
            && (kinds.is_empty() || kinds.iter().any(|kind| fits(&event.kind, kind)))
            && delivered.is_none_or(|delivered| simulator.outbox.reached(&event.id) == delivered)
    });
    let all = wanted.map(|event| (event.id.clone(), json!(event.id))).collect();
    let mut answer = window.cut(all, &call.path)?;
    for shown in answer["data"].as_array_mut().into_iter().flatten() {
        *shown = event(simulator, shown.as_str().unwrap_or_default())?;
    }
    Ok(answer)
}
