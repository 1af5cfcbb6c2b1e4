//! `/_sim/`: time, faults, cards, disputes, secrets; and what was really true.

use chrono::DateTime;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api::Call;
use crate::delivery::{Faults, duration};
use crate::engine::Settings;
use crate::engine::cards::Card;
use crate::engine::clock::{DAY, FARTHEST, Seconds};
use crate::engine::error::ApiError;
use crate::engine::model::{Dispute, Invoice, Refund, Subscription};
use crate::shapes::Shown;
use crate::simulator::Simulator;

/// What to do with the clock.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClockChange {
    #[serde(deserialize_with = "duration")]
    pub(crate) advance: Option<Seconds>,
    #[serde(deserialize_with = "moment")]
    pub(crate) to: Option<Seconds>,
    /// Whether time stands still between calls.
    pub(crate) stand: Option<bool>,
    /// Whether to wait until everything due has been delivered; true when absent.
    pub(crate) wait: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCard {
    number: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    secret: String,
    /// How long the old one still signs.
    #[serde(default, deserialize_with = "duration")]
    overlap: Option<Seconds>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDispute {
    charge: Option<String>,
    subscription: Option<String>,
    #[serde(default)]
    inquiry: bool,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStatus {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    passed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pause {
    reason: Option<String>,
}

/// Reads unix seconds or RFC 3339.
fn moment<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Option<Seconds>, D::Error> {
    match Value::deserialize(given)? {
        Value::Null => Ok(None),
        Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| serde::de::Error::custom(NO_MOMENT)),
        other => {
            let text = other.as_str().unwrap_or_default();
            read_moment(text).map(Some).ok_or_else(|| serde::de::Error::custom(NO_MOMENT))
        }
    }
}

const NO_MOMENT: &str = "write a moment like 1793000000 or 2026-11-22T10:00:00Z";

fn read_moment(text: &str) -> Option<Seconds> {
    // A plus sign in a query is a space when it was not escaped.
    let text = text.replace(' ', "+");
    text.parse().ok().or_else(|| DateTime::parse_from_rfc3339(&text).ok().map(|moment| moment.timestamp()))
}

/// Reads a JSON body; an empty one says nothing.
pub(crate) fn body<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text)
        .map_err(|error| ApiError::invalid(format!("The JSON body could not be used: {error}")))
}

/// Reads what a clock call wants.
pub(crate) fn clock_change(text: &str, now: Seconds) -> Result<ClockChange, ApiError> {
    let change: ClockChange = body(text)?;
    if change.advance.is_some() && change.to.is_some() {
        return Err(ApiError::invalid("Give either advance or to, not both."));
    }
    let to = change.to.or(change.advance.map(|by| now.saturating_add(by)));
    if to.is_some_and(|to| to < now) {
        return Err(ApiError::invalid("Time does not run backwards: `to` is before now.").at("to"));
    }
    if to.is_some_and(|to| to - now > FARTHEST) {
        return Err(ApiError::invalid("The clock moves at most ten years at once.").at("advance"));
    }
    Ok(ClockChange { to, ..change })
}

/// The clock as it is told.
pub(crate) fn clock(simulator: &Simulator, stands: bool) -> Value {
    let now = simulator.now();
    let time =
        DateTime::from_timestamp(now, 0).map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    json!({
        "object": "clock", "now": now, "time": time, "stands": stands,
        "deliveries_due": simulator.outbox.due(now), "next_delivery": simulator.outbox.next_due(),
    })
}

/// Everything under `/_sim/` but the clock, which the caller keeps.
pub(crate) fn call(simulator: &mut Simulator, call: &Call) -> Result<Value, ApiError> {
    let path = call.path.strip_prefix("/_sim").unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let answer = carry_out(simulator, call, &segments);
    simulator.put_out();
    answer
}

fn carry_out(simulator: &mut Simulator, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    let text = call.form.as_str();
    match (call.method.as_str(), segments) {
        ("GET", ["faults"]) => Ok(json!(simulator.outbox.faults)),
        ("POST", ["faults"]) => {
            let faults: Faults = body(text)?;
            if let Some(mistake) = faults.mistake() {
                return Err(ApiError::invalid(mistake));
            }
            simulator.set_faults(faults);
            Ok(json!(simulator.outbox.faults))
        }
        ("POST", ["flush"]) => {
            let now = simulator.now();
            Ok(json!({ "object": "flush", "flushed": simulator.outbox.flush(now) }))
        }
        ("GET", ["settings"]) => Ok(json!(simulator.engine.settings)),
        ("POST", ["settings"]) => settings(simulator, text),
        ("POST", ["secrets"]) => {
            let new: NewSecret = body(text)?;
            if !new.secret.starts_with("whsec_") {
                return Err(ApiError::invalid("A secret begins with whsec_.").at("secret"));
            }
            let (now, overlap) = (simulator.now(), new.overlap.unwrap_or(0));
            simulator.outbox.roll_secret(&new.secret, now, overlap.min(DAY));
            Ok(json!({ "object": "secrets", "signing": simulator.outbox.secrets(now).len() }))
        }
        ("GET", ["deliveries"]) => {
            let data: Vec<_> =
                simulator.deliveries().into_iter().map(crate::delivery::Delivery::json).collect();
            Ok(json!({ "object": "list", "data": data, "has_more": false, "url": "/_sim/deliveries" }))
        }
        ("GET", ["truth", subscription]) => truth(simulator, subscription, &call.query),
        ("POST", ["customers", customer, "card"]) => {
            let new: NewCard = body(text)?;
            let method = simulator.engine.set_card(customer, Card::read(&new.number)?)?;
            Ok(simulator.engine.shape::<crate::engine::model::PaymentMethod>(&method))
        }
        ("POST", ["disputes"]) => {
            let new: NewDispute = body(text)?;
            let latest = new.subscription.and_then(|subscription| simulator.latest_charge(&subscription));
            let Some(charge) = new.charge.or(latest) else {
                return Err(ApiError::invalid("Give a charge, or a subscription that has paid.").at("charge"));
            };
            let reason = new.reason.as_deref().unwrap_or("fraudulent");
            let id = simulator.engine.open_dispute(&charge, new.inquiry, reason)?;
            Ok(simulator.engine.shape::<Dispute>(&id))
        }
        ("POST", ["disputes", id]) => {
            let new: NewStatus = body(text)?;
            simulator.engine.move_dispute(id, &new.status)?;
            Ok(simulator.engine.shape::<Dispute>(id))
        }
        ("POST", ["refunds", id, "fail"]) => {
            simulator.engine.fail_refund(id)?;
            Ok(simulator.engine.shape::<Refund>(id))
        }
        ("POST", ["invoices", id, "authenticate"]) => {
            let answered: Answered = body(text)?;
            simulator.engine.authenticate(id, answered.passed)?;
            Ok(simulator.engine.shape::<Invoice>(id))
        }
        ("POST", ["subscriptions", id, "pause"]) => {
            let pause: Pause = body(text)?;
            if simulator.engine.find::<Subscription>(id)?.status.is_over() {
                return Err(ApiError::missing(Subscription::KIND, id));
            }
            simulator.engine.pause(id, Some(pause.reason.as_deref().unwrap_or("pause_requested")));
            Ok(simulator.engine.shape::<Subscription>(id))
        }
        _ => {
            let why =
                format!("There is no {} {}; see `membership stripe-sim --help`.", call.method, call.path);
            Err(ApiError::new(404, "invalid_request_error", why))
        }
    }
}

/// Changes the settings that are named and leaves the others.
fn settings(simulator: &mut Simulator, text: &str) -> Result<Value, ApiError> {
    let named: serde_json::Map<String, Value> = body(text)?;
    let mut all = json!(simulator.engine.settings);
    for (key, value) in named {
        all[key] = value;
    }
    let settings: Settings = serde_json::from_value(all)
        .map_err(|error| ApiError::invalid(format!("The settings could not be used: {error}")))?;
    let durations = [settings.draft_for, settings.debit_takes, settings.upcoming_before];
    if settings.retries.iter().chain(&durations).any(|seconds| !(0..=FARTHEST).contains(seconds)) {
        let why = format!("Durations are in seconds, from 0 to {FARTHEST} (ten years).");
        return Err(ApiError::invalid(why));
    }
    simulator.engine.settings = settings;
    Ok(json!(simulator.engine.settings))
}

fn truth(simulator: &Simulator, subscription: &str, query: &str) -> Result<Value, ApiError> {
    simulator.engine.find::<Subscription>(subscription)?;
    let mut params = super::params::Params::read(query)?;
    let at = match params.filled("at")? {
        None => simulator.now(),
        Some(text) => read_moment(&text).ok_or_else(|| ApiError::invalid(NO_MOMENT).at("at"))?,
    };
    params.finish()?;
    let truth = simulator.truth(subscription, at);
    Ok(json!({
        "object": "truth", "subscription": subscription, "at": at,
        "status": truth.map(|truth| &truth.status), "price": truth.map(|truth| &truth.price),
        "paid_until": truth.and_then(|truth| truth.paid_until),
        "ended_at": truth.and_then(|truth| truth.ended_at),
        "cancels_at": truth.and_then(|truth| truth.cancels_at),
        "paused_until": truth.and_then(|truth| truth.paused_until),
        "owed_since": truth.and_then(|truth| truth.owed_since),
        "reversed": truth.map(|truth| truth.reversed),
    }))
}
