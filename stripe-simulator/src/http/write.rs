//! What `POST` and `DELETE` do.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::api::{Call, unknown};
use super::params::{Params, Said};
use super::read::get;
use crate::engine::cards::Card;
use crate::engine::clock::{DAY, Interval, Seconds, TRIAL_DAYS, Unit};
use crate::engine::error::ApiError;
use crate::engine::model::{
    CheckoutSession, Customer, Dispute, Invoice, InvoiceStatus, NoMethod, PauseCollection, PaymentIntent,
    PaymentMethod, Phase, PortalSession, Price, Product, Refund, Schedule, Subscription,
};
use crate::engine::{
    Cancellation, Change, CustomerChange, ItemChange, MOST_ITEMS, NewPrice, NewProduct, NewSession,
    NewSubscription, SubscriptionChange, TrialEnd,
};
use crate::simulator::Simulator;

/// How many of an item can be had.
const QUANTITIES: RangeInclusive<i64> = 0..=1_000_000;
/// How many intervals can be counted; for a price, how many of its unit are taken is another question.
const COUNTS: RangeInclusive<i64> = 1..=1_095;
/// What a customer may have in hand or owe.
const BALANCES: RangeInclusive<i64> = -999_999_999_999..=999_999_999_999;

pub(super) fn delete(
    simulator: &mut Simulator,
    segments: &[&str],
    params: &mut Params,
    call: &Call,
) -> Result<Value, ApiError> {
    match *segments {
        ["customers", id] => {
            params.finish()?;
            simulator.engine.delete_customer(id)?;
            get::<Customer>(simulator, id)
        }
        ["subscriptions", id] => cancel(simulator, id, params),
        _ => Err(unknown(call)),
    }
}

fn cancel(simulator: &mut Simulator, id: &str, params: &mut Params) -> Result<Value, ApiError> {
    let mut details = params.part("cancellation_details")?;
    let how = Cancellation {
        comment: details.filled("comment")?,
        feedback: details.filled("feedback")?,
        invoice_now: params.flag("invoice_now")?.unwrap_or(false),
        prorate: params.flag("prorate")?.unwrap_or(false),
    };
    details.finish()?;
    params.finish()?;
    simulator.engine.cancel(id, &how)?;
    get::<Subscription>(simulator, id)
}

pub(super) fn write(
    simulator: &mut Simulator,
    segments: &[&str],
    params: &mut Params,
    call: &Call,
    now: Seconds,
) -> Result<Value, ApiError> {
    match *segments {
        ["customers"] => {
            let change = customer_change(params)?;
            let id = simulator.engine.create_customer(&change)?;
            get::<Customer>(simulator, &id)
        }
        ["customers", id] => {
            let change = customer_change(params)?;
            simulator.engine.update_customer(id, &change)?;
            get::<Customer>(simulator, id)
        }
        ["products"] => create_product(simulator, params),
        ["products", id] => update_product(simulator, id, params, now),
        ["prices"] => create_price(simulator, params),
        ["prices", id] => update_price(simulator, id, params),
        ["payment_methods"] => create_method(simulator, params),
        ["payment_methods", id, "attach"] => {
            let customer = params.required("customer")?;
            params.finish()?;
            let id = simulator.engine.attach(id, &customer)?;
            get::<PaymentMethod>(simulator, &id)
        }
        ["payment_methods", id, "detach"] => {
            params.finish()?;
            simulator.engine.detach(id)?;
            get::<PaymentMethod>(simulator, id)
        }
        ["checkout", "sessions"] => create_session(simulator, params),
        ["checkout", "sessions", id, "expire"] => {
            params.finish()?;
            simulator.engine.expire_session(id)?;
            get::<CheckoutSession>(simulator, id)
        }
        ["billing_portal", "sessions"] => {
            let customer = params.required("customer")?;
            let back = params.filled("return_url")?.map(|url| address(url, "return_url")).transpose()?;
            let locale = params.filled("locale")?;
            params.without_effect(&["configuration", "flow_data"]);
            params.finish()?;
            let id = simulator.engine.create_portal(&customer, back, locale)?;
            get::<PortalSession>(simulator, &id)
        }
        ["subscriptions"] => create_subscription(simulator, params),
        ["subscriptions", id] => {
            let period_end = simulator.engine.find::<Subscription>(id)?.period.end;
            let change = subscription_change(params, period_end)?;
            params.finish()?;
            simulator.engine.update_subscription(id, &change)?;
            get::<Subscription>(simulator, id)
        }
        ["subscriptions", id, "resume"] => {
            let anchor = params.word("billing_cycle_anchor", &["now", "unchanged"])?;
            params.without_effect(&["proration_behavior", "proration_date", "payment_behavior"]);
            params.finish()?;
            simulator.engine.resume(id, anchor.as_deref() != Some("unchanged"))?;
            get::<Subscription>(simulator, id)
        }
        ["subscription_schedules"] => {
            let subscription = params.required("from_subscription")?;
            params.finish()?;
            let id = simulator.engine.schedule_from(&subscription)?;
            get::<Schedule>(simulator, &id)
        }
        ["subscription_schedules", id] => update_schedule(simulator, id, params),
        ["subscription_schedules", id, "release"] => {
            params.without_effect(&["preserve_cancel_date"]);
            params.finish()?;
            simulator.engine.release_schedule(id)?;
            get::<Schedule>(simulator, id)
        }
        ["subscription_schedules", id, "cancel"] => {
            params.without_effect(&["invoice_now", "prorate"]);
            params.finish()?;
            simulator.engine.cancel_schedule(id)?;
            get::<Schedule>(simulator, id)
        }
        ["invoices", "create_preview"] => preview(simulator, params),
        ["invoices", id, action] => write_invoice(simulator, id, action, params, call),
        ["refunds"] => create_refund(simulator, params),
        ["disputes", id, "close"] => {
            params.finish()?;
            let inquiry = simulator.engine.find::<Dispute>(id)?.is_inquiry();
            simulator.engine.move_dispute(id, if inquiry { "warning_closed" } else { "lost" })?;
            get::<Dispute>(simulator, id)
        }
        _ => Err(unknown(call)),
    }
}

fn write_invoice(
    simulator: &mut Simulator,
    id: &str,
    action: &str,
    params: &mut Params,
    call: &Call,
) -> Result<Value, ApiError> {
    match action {
        "pay" => {
            let (method, out) = (params.filled("payment_method")?, params.flag("paid_out_of_band")?);
            let away = params.flag("off_session")?.unwrap_or(true);
            params.finish()?;
            simulator.engine.pay_invoice(id, method.as_deref(), out.unwrap_or(false), !away)?;
            get::<Invoice>(simulator, id)
        }
        "finalize" => {
            params.without_effect(&["auto_advance"]);
            params.finish()?;
            simulator.engine.finalize_invoice(id)?;
            get::<Invoice>(simulator, id)
        }
        "void" | "mark_uncollectible" => {
            params.finish()?;
            let status = if action == "void" { InvoiceStatus::Void } else { InvoiceStatus::Uncollectible };
            simulator.engine.close_invoice(id, status)?;
            get::<Invoice>(simulator, id)
        }
        _ => Err(unknown(call)),
    }
}

fn customer_change(params: &mut Params) -> Result<CustomerChange, ApiError> {
    let mut settings = params.part("invoice_settings")?;
    let default = settings.filled("default_payment_method")?;
    settings.finish()?;
    let change = CustomerChange {
        email: params.text("email")?,
        name: params.text("name")?,
        phone: params.text("phone")?,
        description: params.text("description")?,
        metadata: params.metadata()?,
        payment_method: params.filled("payment_method")?.or(default),
        balance: params.within("balance", BALANCES)?,
    };
    params.without_effect(&["address", "preferred_locales", "shipping", "tax_exempt", "test_clock", "tax"]);
    params.finish()?;
    Ok(change)
}

fn create_product(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let new = NewProduct {
        id: params.filled("id")?,
        name: params.required("name")?,
        description: params.filled("description")?,
        metadata: params.metadata()?.unwrap_or_default(),
        inactive: params.flag("active")? == Some(false),
    };
    let default = params.has("default_price_data").then(|| params.part("default_price_data")).transpose()?;
    params.without_effect(&[
        "images",
        "tax_code",
        "unit_label",
        "url",
        "statement_descriptor",
        "type",
        "shippable",
    ]);
    params.finish()?;
    let default = default.map(|mut price| new_price(&mut price, String::new())).transpose()?;
    let id = simulator.engine.create_product(new)?;
    if let Some(new) = default {
        let price = simulator.engine.create_price(NewPrice { product: id.clone(), ..new })?;
        simulator.engine.change::<Product>(&id, |kept| kept.default_price = Some(price))?;
    }
    get::<Product>(simulator, &id)
}

fn update_product(
    simulator: &mut Simulator,
    id: &str,
    params: &mut Params,
    now: Seconds,
) -> Result<Value, ApiError> {
    let (name, active) = (params.filled("name")?, params.flag("active")?);
    let (description, metadata) = (params.text("description")?, params.metadata()?);
    let default = params.filled("default_price")?;
    params.finish()?;
    if let Some(price) = &default {
        simulator.engine.find::<Price>(price).map_err(|error| error.at("default_price"))?;
    }
    simulator.engine.change::<Product>(id, |kept| {
        kept.name = name.unwrap_or(kept.name.clone());
        kept.active = active.unwrap_or(kept.active);
        kept.description = description.or(kept.description.take()).filter(|text| !text.is_empty());
        kept.default_price = default.or(kept.default_price.take());
        crate::engine::merge(&mut kept.metadata, metadata.as_ref());
        kept.updated = now;
    })?;
    get::<Product>(simulator, id)
}

fn new_price(params: &mut Params, product: String) -> Result<NewPrice, ApiError> {
    let mut recurring = params.part("recurring")?;
    let unit = recurring.word("interval", &["day", "week", "month", "year"])?;
    let count = recurring.within("interval_count", COUNTS)?.unwrap_or(1);
    recurring.without_effect(&["usage_type"]);
    recurring.finish()?;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let interval = unit.as_deref().and_then(Unit::parse);
    let amount = params.number("unit_amount")?;
    let new = NewPrice {
        id: params.filled("id")?,
        product,
        currency: params.required("currency")?,
        amount: amount.ok_or_else(|| {
            ApiError::invalid("Missing required param: unit_amount.")
                .coded("parameter_missing")
                .at("unit_amount")
        })?,
        recurring: interval.map(|unit| Interval { unit, count }),
        nickname: params.filled("nickname")?,
        lookup_key: params.filled("lookup_key")?,
        metadata: params.metadata()?.unwrap_or_default(),
    };
    params.without_effect(&["active", "billing_scheme", "tax_behavior", "transfer_lookup_key"]);
    params.finish()?;
    new.check()?;
    Ok(new)
}

fn create_price(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let data = if params.has("product_data") {
        let mut data = params.part("product_data")?;
        let new = NewProduct {
            id: data.filled("id")?,
            name: data.required("name")?,
            metadata: data.metadata()?.unwrap_or_default(),
            ..NewProduct::default()
        };
        data.finish()?;
        Some(new)
    } else {
        None
    };
    let product = if data.is_some() { String::new() } else { params.required("product")? };
    let mut new = new_price(params, product)?;
    if let Some(data) = data {
        new.product = simulator.engine.create_product(data)?;
    }
    let id = simulator.engine.create_price(new)?;
    get::<Price>(simulator, &id)
}

fn update_price(simulator: &mut Simulator, id: &str, params: &mut Params) -> Result<Value, ApiError> {
    let (active, metadata) = (params.flag("active")?, params.metadata()?);
    let (nickname, key) = (params.text("nickname")?, params.filled("lookup_key")?);
    params.without_effect(&["tax_behavior", "transfer_lookup_key"]);
    params.finish()?;
    simulator.engine.change::<Price>(id, |kept| {
        kept.active = active.unwrap_or(kept.active);
        kept.nickname = nickname.or(kept.nickname.take()).filter(|text| !text.is_empty());
        kept.lookup_key = key.or(kept.lookup_key.take());
        crate::engine::merge(&mut kept.metadata, metadata.as_ref());
    })?;
    get::<Price>(simulator, id)
}

fn create_method(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let kind = params.word("type", &["card", "sepa_debit"])?.unwrap_or_else(|| "card".to_owned());
    let mut details = params.part(&kind)?;
    let (token, number) = (details.filled("token")?, details.filled("number")?.or(details.filled("iban")?));
    details.without_effect(&["exp_month", "exp_year", "cvc"]);
    details.finish()?;
    let card = match (token, number) {
        (Some(token), _) => {
            Card::ready_made(&token).ok_or_else(|| ApiError::missing("token", &token).at("card[token]"))?
        }
        (None, Some(number)) => Card::read(&number)?,
        (None, None) => {
            return Err(ApiError::invalid("Give card[number], card[token] or sepa_debit[iban].").at(&kind));
        }
    };
    let mut owner = params.part("billing_details")?;
    let email = owner.filled("email")?;
    owner.without_effect(&["name", "phone", "address"]);
    owner.finish()?;
    let metadata = params.metadata()?.unwrap_or_default();
    params.without_effect(&["allow_redisplay"]);
    params.finish()?;
    let id = simulator.engine.create_payment_method(card, email, metadata);
    get::<PaymentMethod>(simulator, &id)
}

fn no_method(params: &mut Params) -> Result<Option<NoMethod>, ApiError> {
    let mut end = params.part("trial_settings")?;
    let mut behavior = end.part("end_behavior")?;
    let word = behavior.word("missing_payment_method", &["cancel", "create_invoice", "pause"])?;
    behavior.finish()?;
    end.finish()?;
    Ok(word.map(|word| match word.as_str() {
        "cancel" => NoMethod::Cancel,
        "pause" => NoMethod::Pause,
        _ => NoMethod::CreateInvoice,
    }))
}

fn bought_items(params: &mut Params, key: &str) -> Result<Vec<(String, i64)>, ApiError> {
    let mut items = Vec::new();
    for mut item in params.parts(key)? {
        items.push((item.required("price")?, item.within("quantity", QUANTITIES)?.unwrap_or(1)));
        item.without_effect(&["adjustable_quantity", "tax_rates", "metadata", "discounts"]);
        item.finish()?;
    }
    if items.is_empty() {
        let why = format!("Missing required param: {key}.");
        return Err(ApiError::invalid(why).coded("parameter_missing").at(key));
    }
    if items.len() > MOST_ITEMS {
        let why = format!("Invalid {key}: at most {MOST_ITEMS} of them");
        return Err(ApiError::invalid(why).at(key));
    }
    Ok(items)
}

/// An address that a browser may be sent to.
fn address(url: String, param: &str) -> Result<String, ApiError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url);
    }
    Err(ApiError::invalid("Not a valid URL: it has to begin with http:// or https://")
        .coded("url_invalid")
        .at(param))
}

fn create_session(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let mode = params.required("mode")?;
    if mode != "subscription" {
        let why = format!("This simulator has mode=subscription only, not {mode}.");
        return Err(ApiError::invalid(why).at("mode"));
    }
    let mut data = params.part("subscription_data")?;
    let collection = params.word("payment_method_collection", &["always", "if_required"])?;
    let new = NewSession {
        customer: params.filled("customer")?,
        email: params.filled("customer_email")?,
        client_reference_id: params.filled("client_reference_id")?,
        metadata: params.metadata()?.unwrap_or_default(),
        items: bought_items(params, "line_items")?,
        trial_days: data.within("trial_period_days", 1..=TRIAL_DAYS)?,
        trial_end: data.number("trial_end")?,
        no_method: no_method(&mut data)?.unwrap_or_default(),
        subscription_metadata: data.metadata()?.unwrap_or_default(),
        description: data.filled("description")?,
        method_if_required: collection.as_deref() == Some("if_required"),
        success_url: params.required("success_url").and_then(|url| address(url, "success_url"))?,
        cancel_url: params.filled("cancel_url")?.map(|url| address(url, "cancel_url")).transpose()?,
        expires_at: params.number("expires_at")?,
        locale: params.filled("locale")?,
    };
    data.without_effect(&["billing_mode", "proration_behavior"]);
    data.finish()?;
    params.without_effect(&[
        "allow_promotion_codes",
        "automatic_tax",
        "billing_address_collection",
        "consent_collection",
        "currency",
        "custom_text",
        "customer_update",
        "payment_method_options",
        "payment_method_types",
        "phone_number_collection",
        "saved_payment_method_options",
        "tax_id_collection",
        "ui_mode",
    ]);
    params.finish()?;
    let id = simulator.engine.create_session(new)?;
    get::<CheckoutSession>(simulator, &id)
}

const BEHAVIORS: [&str; 4] =
    ["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];
const PRORATIONS: [&str; 3] = ["create_prorations", "always_invoice", "none"];

fn create_subscription(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let now = simulator.now();
    let days = params.within("trial_period_days", 0..=TRIAL_DAYS)?;
    let days = days.filter(|days| *days > 0).map(|days| now + days * DAY);
    let mut mode = params.part("billing_mode")?;
    let classic = mode.word("type", &["flexible", "classic"])?.as_deref() == Some("classic");
    mode.without_effect(&["flexible"]);
    mode.finish()?;
    let new = NewSubscription {
        customer: params.required("customer")?,
        items: bought_items(params, "items")?,
        trial_end: params.filled("trial_end")?.filter(|end| end != "now").map_or(Ok(days), |end| {
            end.parse()
                .map(Some)
                .map_err(|_| ApiError::invalid("Invalid timestamp: trial_end").at("trial_end"))
        })?,
        no_method: no_method(params)?.unwrap_or_default(),
        payment_behavior: params.word("payment_behavior", &BEHAVIORS)?.unwrap_or_default(),
        payment_method: params.filled("default_payment_method")?,
        metadata: params.metadata()?.unwrap_or_default(),
        description: params.filled("description")?,
        cancel_at: params.number("cancel_at")?,
        cancel_at_period_end: params.flag("cancel_at_period_end")?.unwrap_or(false),
        classic,
    };
    params.word("collection_method", &["charge_automatically"])?;
    params.without_effect(&[
        "off_session",
        "payment_settings",
        "proration_behavior",
        "automatic_tax",
        "currency",
    ]);
    params.finish()?;
    let id = simulator.engine.create_subscription(new)?;
    get::<Subscription>(simulator, &id)
}

fn item_changes(params: &mut Params, key: &str) -> Result<Vec<ItemChange>, ApiError> {
    let mut items = Vec::new();
    for mut item in params.parts(key)? {
        items.push(ItemChange {
            id: item.filled("id")?,
            price: item.filled("price")?,
            quantity: item.within("quantity", QUANTITIES)?,
            deleted: item.flag("deleted")?.unwrap_or(false),
        });
        item.without_effect(&["clear_usage", "metadata", "tax_rates", "discounts"]);
        item.finish()?;
    }
    Ok(items)
}

fn trial_end(params: &mut Params) -> Result<Option<TrialEnd>, ApiError> {
    match params.filled("trial_end")?.as_deref() {
        None => Ok(None),
        Some("now") => Ok(Some(TrialEnd::Now)),
        Some(end) => {
            let wrong = |_| ApiError::invalid("Invalid timestamp: trial_end").at("trial_end");
            end.parse().map(|end| Some(TrialEnd::At(end))).map_err(wrong)
        }
    }
}

fn subscription_change(params: &mut Params, period_end: Seconds) -> Result<SubscriptionChange, ApiError> {
    let mut details = params.part("cancellation_details")?;
    let pause = match params.said("pause_collection")? {
        None => Change::Keep,
        Some(Said::Text(text)) if text.is_empty() => Change::Clear,
        Some(Said::Text(_)) => {
            return Err(ApiError::invalid("Invalid object: pause_collection").at("pause_collection"));
        }
        Some(Said::Part(mut part)) => {
            let behavior = part.word("behavior", &["keep_as_draft", "mark_uncollectible", "void"])?;
            let resumes_at = part.number("resumes_at")?;
            part.finish()?;
            let behavior = behavior.ok_or_else(|| {
                let at = "pause_collection[behavior]";
                ApiError::invalid(format!("Missing required param: {at}.")).coded("parameter_missing").at(at)
            })?;
            Change::Set(PauseCollection { behavior, resumes_at })
        }
    };
    let change = SubscriptionChange {
        items: item_changes(params, "items")?,
        agreed: false,
        cancel_at: params.moment_or_clear("cancel_at", period_end)?,
        cancel_at_period_end: params.flag("cancel_at_period_end")?,
        trial_end: trial_end(params)?,
        pause_collection: pause,
        proration_behavior: params.word("proration_behavior", &PRORATIONS)?,
        proration_date: params.number("proration_date")?,
        payment_behavior: params.word("payment_behavior", &BEHAVIORS)?,
        payment_method: params.filled("default_payment_method")?,
        metadata: params.metadata()?,
        description: params.text("description")?,
        anchor_now: params.word("billing_cycle_anchor", &["now", "unchanged"])?.as_deref() == Some("now"),
        no_method: no_method(params)?,
        comment: details.filled("comment")?,
        feedback: details.filled("feedback")?,
    };
    details.finish()?;
    params.without_effect(&["off_session", "payment_settings", "automatic_tax"]);
    Ok(change)
}

fn update_schedule(simulator: &mut Simulator, id: &str, params: &mut Params) -> Result<Value, ApiError> {
    let end_behavior = params.word("end_behavior", &["release", "cancel"])?;
    let metadata = params.metadata()?;
    params.without_effect(&["proration_behavior", "default_settings"]);
    let given = params.has("phases");
    let parts = params.parts("phases")?;
    params.finish()?;
    let now = simulator.now();
    let held = simulator.engine.find::<Schedule>(id)?.phases.clone();
    let mut phases: Vec<Phase> = Vec::new();
    for mut part in parts {
        let items = bought_items(&mut part, "items")?;
        let start = match part.filled("start_date")?.as_deref() {
            Some("now") => now,
            Some(text) => text.parse().map_err(|_| {
                ApiError::invalid("Invalid timestamp: start_date").at("phases[0][start_date]")
            })?,
            None => {
                phases.last().map_or_else(|| held.first().map_or(now, |phase| phase.start), |phase| phase.end)
            }
        };
        let end = phase_end(simulator, &mut part, &items, start)?;
        phases.push(Phase {
            start,
            end,
            items,
            proration_behavior: part
                .word("proration_behavior", &PRORATIONS)?
                .unwrap_or_else(|| "create_prorations".to_owned()),
            metadata: part.metadata()?.unwrap_or_default(),
        });
        part.without_effect(&[
            "billing_cycle_anchor",
            "collection_method",
            "currency",
            "default_payment_method",
        ]);
        part.finish()?;
    }
    simulator.engine.update_schedule(id, given.then_some(phases), end_behavior, metadata.as_ref())?;
    get::<Schedule>(simulator, id)
}

/// A phase ends at a date, after a duration, after some periods, or after one.
fn phase_end(
    simulator: &Simulator,
    part: &mut Params,
    items: &[(String, i64)],
    start: Seconds,
) -> Result<Seconds, ApiError> {
    if let Some(end) = part.number("end_date")? {
        return Ok(end);
    }
    let mut duration = part.part("duration")?;
    let unit = duration.word("interval", &["day", "week", "month", "year"])?;
    let count =
        duration.within("interval_count", COUNTS)?.or(part.within("iterations", COUNTS)?).unwrap_or(1);
    duration.finish()?;
    let price = simulator
        .engine
        .find::<Price>(&items[0].0)
        .map_err(|error| error.at("phases[0][items][0][price]"))?;
    let own = price.recurring.unwrap_or(Interval { unit: Unit::Month, count: 1 });
    let interval = unit.as_deref().and_then(Unit::parse).map_or(own, |unit| Interval { unit, count: 1 });
    Ok(interval.after(start, u32::try_from(count).unwrap_or(u32::MAX)))
}

fn preview(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let subscription = params.required("subscription")?;
    params.without_effect(&["customer", "automatic_tax"]);
    let mut details = params.part("subscription_details")?;
    params.finish()?;
    let change = SubscriptionChange {
        items: item_changes(&mut details, "items")?,
        proration_behavior: details.word("proration_behavior", &PRORATIONS)?,
        proration_date: details.number("proration_date")?,
        anchor_now: details.word("billing_cycle_anchor", &["now", "unchanged"])?.as_deref() == Some("now"),
        trial_end: trial_end(&mut details)?,
        ..SubscriptionChange::default()
    };
    details.finish()?;
    let kept = simulator.engine.find::<Subscription>(&subscription)?;
    if kept.status.is_over() {
        return Err(ApiError::missing("subscription", &subscription).at("subscription"));
    }
    simulator.engine.preview(kept, &change)
}

fn create_refund(simulator: &mut Simulator, params: &mut Params) -> Result<Value, ApiError> {
    let charge = match (params.filled("charge")?, params.filled("payment_intent")?) {
        (Some(charge), _) => charge,
        (None, Some(intent)) => {
            simulator.engine.find::<PaymentIntent>(&intent)?.latest_charge.clone().unwrap_or_default()
        }
        (None, None) => {
            let why = "Missing required param: charge or payment_intent.";
            return Err(ApiError::invalid(why).coded("parameter_missing").at("charge"));
        }
    };
    let amount = params.number("amount")?;
    let reason = params.word("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
    let metadata = params.metadata()?.unwrap_or_default();
    params.finish()?;
    let id = simulator.engine.refund(&charge, amount, reason, metadata)?;
    get::<Refund>(simulator, &id)
}
