//! Stripe's payloads, read leniently: every field may be missing, null, expanded or of another API version.

use chrono::{DateTime, Utc};
use domain::clock::can_be_written;
use domain::ids::{CustomerId, InvoiceId, PaymentId, PriceId, ProductId, SubscriptionId};
use domain::subscription::{CollectionPause, Item, Status, Terms};
use serde_json::Value;
use thiserror::Error;

/// Ids, words and names of Stripe's are far shorter.
const LONGEST_TEXT: usize = 500;

/// Why a body is not an event.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// It is not JSON, or nested too deeply to be one of Stripe's.
    #[error("the body cannot be read as JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is JSON without what makes an event.
    #[error("the body is JSON but not an event: it has no text {0:?}")]
    NotAnEvent(&'static str),
}

/// One event, as much as is needed to tell what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// `evt_…`
    pub id: String,
    /// Such as `customer.subscription.updated`; newer event destinations write `v1.` before it.
    pub event_type: String,
    /// When Stripe made it, whole seconds.
    pub created: Option<DateTime<Utc>>,
    /// Whether it is about real money.
    pub livemode: Option<bool>,
    /// The connected account it is about.
    pub account: Option<String>,
    /// The object it is about; thin events carry none.
    pub object: Option<Value>,
    /// The values that the change replaced.
    pub previous_attributes: Option<Value>,
    /// The id of the object that a thin event is about.
    pub related: Option<String>,
    /// The key that came with the call which made this happen.
    pub idempotency_key: Option<String>,
}

impl Envelope {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let event: Value = serde_json::from_slice(body)?;
        let required = |field| text(&event, field).ok_or(Unreadable::NotAnEvent(field));
        let data = event.get("data");
        let inside = |field| data.and_then(|data| data.get(field)).filter(|value| value.is_object()).cloned();
        Ok(Self {
            id: required("id")?,
            event_type: required("type")?,
            created: moment(event.get("created")),
            livemode: event.get("livemode").and_then(Value::as_bool),
            account: text(&event, "account"),
            object: inside("object"),
            previous_attributes: inside("previous_attributes"),
            related: id_of(event.get("related_object")),
            idempotency_key: event.get("request").and_then(|request| text(request, "idempotency_key")),
        })
    }

    /// The event type without what newer destinations write before it.
    pub fn plain_type(&self) -> &str {
        self.event_type.strip_prefix("v1.").unwrap_or(&self.event_type)
    }

    /// The payer the event speaks of.
    pub fn customer(&self) -> Option<CustomerId> {
        let object = self.object.as_ref()?;
        if object.get("object").and_then(Value::as_str) == Some("customer") {
            return text(object, "id").map(Into::into);
        }
        id_of(object.get("customer")).map(Into::into)
    }

    /// The payment, invoice or checkout the event speaks of; the subscription, where it is about what is to become of one.
    pub fn concerns(&self) -> Option<String> {
        let object = self.object.as_ref()?;
        match object.get("object").and_then(Value::as_str)? {
            "invoice" | "checkout.session" => text(object, "id"),
            "invoice_payment" => id_of(object.get("invoice")),
            "subscription_schedule" => schedule(object).map(|(subscription, _)| subscription.to_string()),
            "charge" | "refund" | "dispute" | "radar.early_fraud_warning" => {
                payment_of(object).map(|payment| payment.to_string())
            }
            _ => None,
        }
    }

    /// The object as it was before the change, where the event tells what changed.
    pub(super) fn object_before(&self) -> Option<Value> {
        let mut before = self.object.clone()?;
        overlay(&mut before, self.previous_attributes.as_ref()?);
        Some(before)
    }
}

/// The id of a subscription object.
pub(super) fn subscription_id(object: &Value) -> Option<SubscriptionId> {
    text(object, "id").map(Into::into)
}

/// The member a Stripe object names in its metadata.
pub(super) fn named_member(object: &Value) -> Option<String> {
    object.get("metadata").and_then(|metadata| member_in(metadata, "member_id"))
}

/// A member's id. What does not look like one belongs to another system that uses the same field.
pub(super) fn member_in(object: &Value, field: &str) -> Option<String> {
    text(object, field).filter(|text| text.starts_with("mem_"))
}

/// What a subscription object says, except for its plans, which only the catalogue knows.
pub(super) fn terms(object: &Value) -> Option<Terms> {
    let time = |field| moment(object.get(field));
    let mut items: Vec<Item> = object
        .pointer("/items/data")
        .and_then(Value::as_array)
        .map(|items| items.iter().filter_map(item).collect())
        .unwrap_or_default();
    // Payloads from before 2018 have one plan and no items.
    if items.is_empty() {
        items.extend(item(object));
    }
    items.sort();
    let latest_item = items.iter().filter_map(|item| item.period_end).max();
    let collection_paused = object.get("pause_collection").filter(|pause| pause.is_object());
    Some(Terms {
        customer: id_of(object.get("customer"))?.into(),
        status: Status::from(text(object, "status")?),
        items,
        plans: Vec::new(),
        started_at: time("start_date").or_else(|| time("created")),
        trial_end: time("trial_end"),
        period_end: time("current_period_end").or(latest_item),
        cancels_at_period_end: object.get("cancel_at_period_end").and_then(Value::as_bool).unwrap_or(false),
        cancels_at: time("cancel_at"),
        ended_at: time("ended_at"),
        end_reason: object.get("cancellation_details").and_then(|details| text(details, "reason")),
        collection_paused: collection_paused.map(|pause| CollectionPause {
            behavior: text(pause, "behavior").unwrap_or_else(|| "unknown".to_owned()),
            resumes_at: moment(pause.get("resumes_at")),
        }),
        pause_reason: object
            .pointer("/status_details/paused/subscription")
            .and_then(|paused| text(paused, "type")),
    })
}

/// When a change is to come, and what is sold from then on.
type Phase = (DateTime<Utc>, Vec<Item>);

/// What a subscription schedule says: its subscription, and the next change with what it sells then.
pub(super) fn schedule(object: &Value) -> Option<(SubscriptionId, Option<Phase>)> {
    let subscription =
        id_of(object.get("subscription")).or_else(|| id_of(object.get("released_subscription")))?;
    let runs = matches!(text(object, "status").as_deref(), Some("active" | "not_started"));
    let current_ends = moment(object.pointer("/current_phase/end_date"));
    let starts = |phase: &Value| moment(phase.get("start_date"));
    let phases = object.get("phases").and_then(Value::as_array).into_iter().flatten();
    let next = phases
        .filter(|phase| {
            runs && starts(phase).is_some_and(|start| current_ends.is_some_and(|end| start >= end))
        })
        .min_by_key(|phase| starts(phase));
    let next = next.and_then(|phase| {
        let items = phase.get("items").and_then(Value::as_array).into_iter().flatten();
        let mut items: Vec<Item> = items.filter_map(item).collect();
        items.sort();
        Some((starts(phase)?, items))
    });
    Some((subscription.into(), next))
}

/// What an item, an invoice line or an old subscription sells.
fn item(object: &Value) -> Option<Item> {
    let (price, plan) = (object.get("price"), object.get("plan"));
    let product = |of: Option<&Value>| of.and_then(|of| id_of(of.get("product")));
    let price_id = id_of(price).or_else(|| id_of(plan)).map(PriceId::from);
    let product_id = product(price).or_else(|| product(plan)).map(ProductId::from);
    (price_id.is_some() || product_id.is_some()).then(|| Item {
        price: price_id,
        product: product_id,
        period_end: moment(object.get("current_period_end")),
    })
}

/// What an invoice says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Invoice {
    pub(super) id: InvoiceId,
    pub(super) customer: CustomerId,
    pub(super) subscription: Option<SubscriptionId>,
    /// What its lines sell.
    pub(super) items: Vec<Item>,
    /// The member its subscription names.
    pub(super) named_member: Option<String>,
    /// In the currency's smallest unit.
    pub(super) total: i64,
    pub(super) currency: Option<String>,
    pub(super) attempt_count: Option<u32>,
    pub(super) next_attempt_at: Option<DateTime<Utc>>,
    pub(super) paid_at: Option<DateTime<Utc>>,
    /// What was paid of it, in the currency's smallest unit: of what was due, since a credit may have covered some or all.
    pub(super) amount_paid: Option<i64>,
    /// What paid it, where the invoice says.
    pub(super) payment: Option<PaymentId>,
}

/// When an invoice was finalized: what it says of its payer is what was so then, however much later it is told.
pub(super) fn finalized_at(invoice: &Value) -> Option<DateTime<Utc>> {
    moment(invoice.pointer("/status_transitions/finalized_at"))
}

/// Reads an invoice: the link to its subscription moved with API version 2025-03-31.basil.
pub(super) fn invoice(object: &Value) -> Option<Invoice> {
    let lines = || object.pointer("/lines/data").and_then(Value::as_array).into_iter().flatten();
    let parent = object.pointer("/parent/subscription_details");
    let of_line = |line: &Value| {
        id_of(line.pointer("/parent/subscription_item_details/subscription"))
            .or_else(|| id_of(line.get("subscription")))
    };
    let subscription = id_of(parent.and_then(|parent| parent.get("subscription")))
        .or_else(|| id_of(object.get("subscription")))
        .or_else(|| lines().find_map(of_line));
    let line_item = |line: &Value| {
        let pricing = line.pointer("/pricing/price_details");
        pricing.map_or_else(
            || item(line),
            |pricing| {
                Some(Item {
                    price: id_of(pricing.get("price")).map(Into::into),
                    product: id_of(pricing.get("product")).map(Into::into),
                    period_end: None,
                })
            },
        )
    };
    Some(Invoice {
        id: text(object, "id")?.into(),
        customer: id_of(object.get("customer"))?.into(),
        subscription: subscription.map(Into::into),
        items: lines().filter_map(line_item).collect(),
        named_member: parent
            .and_then(named_member)
            .or_else(|| object.get("subscription_details").and_then(named_member)),
        total: number(object, "total").or_else(|| number(object, "amount_due")).unwrap_or(0),
        currency: text(object, "currency"),
        attempt_count: number(object, "attempt_count").and_then(|count| u32::try_from(count).ok()),
        next_attempt_at: moment(object.get("next_payment_attempt")),
        paid_at: moment(object.pointer("/status_transitions/paid_at")),
        // What was paid elsewhere was due all the same.
        amount_paid: number(object, "amount_paid")
            .filter(|paid| *paid > 0)
            .or_else(|| number(object, "amount_due")),
        payment: payment_of(object)
            .or_else(|| object.pointer("/payments/data/0/payment").and_then(payment_of)),
    })
}

/// The payment that an invoice, a charge, a refund, a dispute or an invoice payment speaks of: its payment intent, or its
/// charge where there is none. All that speak of one payment name it alike.
pub(super) fn payment_of(object: &Value) -> Option<PaymentId> {
    let is_charge = object.get("object").and_then(Value::as_str) == Some("charge");
    id_of(object.get("payment_intent"))
        .or_else(|| id_of(object.get("charge")))
        .or_else(|| text(object, "id").filter(|_| is_charge))
        .map(Into::into)
}

/// A whole number, such as an amount in the currency's smallest unit.
pub(super) fn number(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

/// A text that can be one of Stripe's: not empty, not endless, and without control characters, which no database stores
/// alike.
pub(super) fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field).and_then(plain)
}

fn plain(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let fits = (1..=LONGEST_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// The id of something that is written as an id or, expanded, as the object itself.
pub(super) fn id_of(value: Option<&Value>) -> Option<String> {
    match value? {
        id @ Value::String(_) => plain(id),
        object @ Value::Object(_) => text(object, "id"),
        _ => None,
    }
}

/// A time in seconds, or in words as newer events write it. Years that no answer could write are none.
fn moment(value: Option<&Value>) -> Option<DateTime<Utc>> {
    let moment = match value? {
        Value::Number(seconds) => DateTime::from_timestamp(seconds.as_i64()?, 0),
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc()),
        _ => None,
    };
    moment.filter(can_be_written)
}

/// Writes `patch` over `target`. Objects and lists of one length are patched inside, everything else is replaced: Stripe
/// writes only the members that changed.
fn overlay(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                overlay(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(patch)) if target.len() == patch.len() => {
            for (target, patch) in target.iter_mut().zip(patch) {
                overlay(target, patch);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
