//! Events as older API versions show them. Only what moved or came in between is changed, newest step first.

use serde_json::{Value, json};

use super::{before, catalogue, previous};
use crate::engine::model::Store;

/// Where the shapes change. A version is compared by its date.
const ENDIVE: &str = "2026-09-30";
const CUSTOMER_ACCOUNTS: &str = "2025-09-30";
const BILLING_MODE: &str = "2025-06-30";
const BASIL: &str = "2025-03-31";
const DISCOUNT_LISTS: &str = "2024-04-10";
const TRIAL_SETTINGS: &str = "2022-11-15";

/// Whether this can be a version of the API: a date, and perhaps a name.
pub(crate) fn is_version(version: &str) -> bool {
    let date = version.split('.').next().unwrap_or_default();
    chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok_and(|_| date.len() == 10)
}

/// The event as `version` shows it.
pub(crate) fn event(body: &Value, version: &str, store: &Store) -> Value {
    let mut event = body.clone();
    event["api_version"] = json!(version);
    let after = show(&body["data"]["object"], version, store);
    if let Some(old) = body["data"].get("previous_attributes") {
        let was = show(&before(&body["data"]["object"], old), version, store);
        event["data"]["previous_attributes"] = previous(&was, &after);
    }
    event["data"]["object"] = after;
    event
}

/// An object as `version` shows it.
pub(crate) fn show(object: &Value, version: &str, store: &Store) -> Value {
    let mut shown = object.clone();
    let older_than = |date: &str| version < date;
    let kind = object["object"].as_str().unwrap_or_default().to_owned();
    if older_than(ENDIVE) {
        drop_all(&mut shown, &["billing_schedules", "managed_payments", "status_details"]);
    }
    if older_than(CUSTOMER_ACCOUNTS) {
        drop_all(&mut shown, &["customer_account"]);
    }
    if older_than(BILLING_MODE) {
        drop_all(&mut shown, &["billing_mode"]);
    }
    if older_than(BASIL) {
        match kind.as_str() {
            "subscription" => subscription_before_basil(&mut shown),
            "invoice" => invoice_before_basil(&mut shown, store),
            "charge" => {
                let charge = store.charges.find(object["id"].as_str().unwrap_or_default());
                shown["invoice"] = json!(charge.map(|charge| &charge.invoice));
            }
            "payment_intent" => {
                let intent = store.payment_intents.find(object["id"].as_str().unwrap_or_default());
                shown["invoice"] = json!(intent.map(|intent| &intent.invoice));
            }
            _ => {}
        }
    }
    if older_than(DISCOUNT_LISTS) && kind == "subscription" {
        drop_all(&mut shown, &["discounts"]);
        shown["discount"] = Value::Null;
        for item in items(&mut shown, "items") {
            drop_all(item, &["discounts"]);
        }
    }
    if older_than(TRIAL_SETTINGS) && kind == "subscription" {
        let newer = [
            "trial_settings",
            "cancellation_details",
            "automatic_tax",
            "currency",
            "invoice_settings",
            "on_behalf_of",
            "application",
            "description",
            "test_clock",
            "payment_settings",
            "billing_cycle_anchor_config",
        ];
        drop_all(&mut shown, &newer);
    }
    shown
}

fn drop_all(object: &mut Value, keys: &[&str]) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(&format!("/{list}/data")).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Periods were the subscription's.
fn subscription_before_basil(subscription: &mut Value) {
    for key in ["current_period_start", "current_period_end"] {
        subscription[key] = subscription["items"]["data"][0][key].clone();
    }
    for item in items(subscription, "items") {
        drop_all(item, &["current_period_start", "current_period_end"]);
    }
}

/// An invoice named its subscription and its payment itself; its lines named price and plan.
fn invoice_before_basil(invoice: &mut Value, store: &Store) {
    let kept = store.invoices.find(invoice["id"].as_str().unwrap_or_default()).cloned();
    invoice["subscription"] = invoice["parent"]["subscription_details"]["subscription"].clone();
    invoice["subscription_details"] =
        json!({ "metadata": invoice["parent"]["subscription_details"]["metadata"] });
    let finalized = !invoice["status_transitions"]["finalized_at"].is_null();
    let intent = kept.as_ref().and_then(|kept| kept.payment_intent.clone()).filter(|_| finalized);
    let charge = intent.as_deref().and_then(|id| store.payment_intents.find(id)?.latest_charge.clone());
    invoice["payment_intent"] = json!(intent);
    invoice["charge"] = json!(charge);
    invoice["paid"] = json!(invoice["status"] == "paid");
    invoice["paid_out_of_band"] = json!(kept.is_some_and(|kept| kept.out_of_band));
    invoice["tax"] = Value::Null;
    invoice["discount"] = Value::Null;
    drop_all(invoice, &["parent", "amount_overpaid", "total_taxes", "total_pretax_credit_amounts"]);
    for line in items(invoice, "lines") {
        let details = line["parent"]["subscription_item_details"].clone();
        let price = line["pricing"]["price_details"]["price"].as_str().and_then(|id| store.prices.find(id));
        line["price"] = json!(price.map(|price| catalogue::price(price, store)));
        line["plan"] = json!(price.map(catalogue::plan));
        for key in ["proration", "subscription", "subscription_item"] {
            line[key] = details[key].clone();
        }
        line["type"] = json!("subscription");
        drop_all(line, &["parent", "pricing", "taxes", "subtotal", "quantity_decimal"]);
    }
}
