//! Stripe's side of a scenario: the catalogue that stories buy from, and changes to what Stripe would have sent.

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use domain::clock::{Clock, SystemClock};
use serde_json::{Map, Value, json};

pub use crate::story::{Price, Story};

/// The secrets of the service under test. Deliveries are signed with the second, as while a secret is rolled.
pub const SECRETS: [&str; 2] = ["whsec_rolled_away", "whsec_in_use"];

/// A video that is open to anyone.
pub const FREE: &str = "hello";
/// A video that every membership opens.
pub const BASIC: &str = "loops";
/// A video that only Pro opens.
pub const ADVANCED: &str = "projections";

/// What the stories' prices stand for, and one video of each kind.
pub const CATALOG: &str = r#"[policy]
past_due_grace = "14d"

[[plans]]
id = "basic"
name = "Basic"
rank = 1
stripe_prices = ["price_demo_basic_month"]

[[plans]]
id = "pro"
name = "Pro"
rank = 2
stripe_prices = ["price_demo_pro_month", "price_demo_pro_year"]

[[roadmaps]]
id = "start"
name = "Start"
plans = ["basic", "pro"]

  [[roadmaps.courses]]
  id = "python"
  name = "Python"

    [[roadmaps.courses.videos]]
    id = "hello"
    name = "Hello"
    free = true
    vimeo_id = "76979871"

    [[roadmaps.courses.videos]]
    id = "loops"
    name = "Loops"
    vimeo_id = "76979872"

[[roadmaps]]
id = "advanced"
name = "Advanced"
plans = ["pro"]

  [[roadmaps.courses]]
  id = "event-sourcing"
  name = "Event sourcing"

    [[roadmaps.courses.videos]]
    id = "projections"
    name = "Projections"
    vimeo_id = "76979873"
"#;

/// The present, in whole seconds, as Stripe tells time.
pub fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(0)
}

/// So many days before now.
pub fn days_ago(days: i64) -> DateTime<Utc> {
    now() - TimeDelta::days(days)
}

/// A moment as requests and answers write it.
pub fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The events of a story, oldest first.
pub fn events(story: Story) -> Vec<Value> {
    story.deliveries().into_iter().map(|delivery| delivery.event).collect()
}

/// The event of a delivery about any object.
pub fn event(id: &str, kind: &str, created: DateTime<Utc>, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "type": kind, "created": created.timestamp(), "livemode": false,
        "api_version": "2025-11-17.clover", "pending_webhooks": 1, "data": { "object": object },
    })
}

/// An event whose object was changed by hand: `before` of each change is told as `previous_attributes`.
#[must_use]
pub fn changed(mut event: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().into_iter().flatten() {
        event["data"]["object"][key] = value.clone();
    }
    event
}

/// The same event as Stripe wrote it in 2020: periods on the subscription, an invoice's subscription at its top.
#[must_use]
pub fn in_2020(mut event: Value) -> Value {
    event["api_version"] = json!("2020-08-27");
    let data = &mut event["data"];
    let kind = data["object"]["object"].clone();
    for place in ["object", "previous_attributes"] {
        let Some(object) = data.get_mut(place).and_then(Value::as_object_mut) else { continue };
        if kind == "subscription" {
            older_subscription(object);
        } else if kind == "invoice" {
            older_invoice(object);
        }
    }
    event
}

fn older_subscription(object: &mut Map<String, Value>) {
    for newer in ["billing_mode", "cancellation_details"] {
        object.remove(newer);
    }
    let items = object.get_mut("items").and_then(|items| items["data"].as_array_mut());
    let mut period = None;
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        period = period.or(item.remove("current_period_start").zip(item.remove("current_period_end")));
        if let Some(price) = item.get("price").cloned() {
            item.insert("plan".to_owned(), price);
        }
    }
    if let Some((start, end)) = period {
        object.insert("current_period_start".to_owned(), start);
        object.insert("current_period_end".to_owned(), end);
    }
}

fn older_invoice(object: &mut Map<String, Value>) {
    let parent = object.remove("parent").unwrap_or_default();
    object.insert("subscription".to_owned(), parent["subscription_details"]["subscription"].clone());
    let lines = object.get_mut("lines").and_then(|lines| lines["data"].as_array_mut());
    for line in lines.into_iter().flatten().filter_map(Value::as_object_mut) {
        let priced = line.remove("pricing").unwrap_or_default();
        let price =
            json!({ "id": priced["price_details"]["price"], "product": priced["price_details"]["product"] });
        line.insert("price".to_owned(), price);
    }
}

/// The events of somebody who buys and pays at once: created, paid, active, and the checkout that names the member.
pub fn bought(story: &mut Story, member: &str, price: Price, at: DateTime<Utc>) {
    story.create(price, "incomplete", at).paid(at).status("active", at).checkout(member, at);
}

/// Numbers that are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap_or_default()
    }

    /// Brings `things` into another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for index in (1..things.len()).rev() {
            things.swap(index, self.below(index + 1));
        }
    }
}
