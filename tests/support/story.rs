//! Stripe's side of a membership, written as the events that Stripe would send: the newest API shapes, with
//! `previous_attributes`.

use chrono::{DateTime, Days, Months, Utc};
use serde_json::{Map, Value, json};

/// The API version whose shapes these are.
const API_VERSION: &str = "2025-11-17.clover";

/// A price of the demo's catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// Basic, by the month.
    BasicMonth,
    /// Pro, by the month.
    ProMonth,
    /// Pro, by the year.
    ProYear,
    /// Something that is sold beside memberships.
    Mug,
}

impl Price {
    fn id(self) -> &'static str {
        match self {
            Self::BasicMonth => "price_demo_basic_month",
            Self::ProMonth => "price_demo_pro_month",
            Self::ProYear => "price_demo_pro_year",
            Self::Mug => "price_mug_club",
        }
    }

    fn product(self) -> &'static str {
        match self {
            Self::BasicMonth => "prod_demo_basic",
            Self::ProMonth | Self::ProYear => "prod_demo_pro",
            Self::Mug => "prod_mug_club",
        }
    }

    fn amount(self) -> i64 {
        match self {
            Self::BasicMonth => 1_700,
            Self::ProMonth => 2_500,
            Self::ProYear => 25_000,
            Self::Mug => 900,
        }
    }

    fn months(self) -> Months {
        Months::new(if self == Self::ProYear { 12 } else { 1 })
    }

    fn json(self) -> Value {
        let interval = if self == Self::ProYear { "year" } else { "month" };
        json!({
            "id": self.id(), "object": "price", "active": true, "currency": "usd", "product": self.product(),
            "recurring": { "interval": interval, "interval_count": 1, "usage_type": "licensed" },
            "type": "recurring", "unit_amount": self.amount(),
        })
    }
}

/// A delivery that Stripe will make.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// When it arrives.
    pub arrives_at: DateTime<Utc>,
    /// The event.
    pub event: Value,
}

/// One customer's dealings with Stripe. Each step adds the events it would cause.
#[derive(Debug, Clone)]
pub struct Story {
    name: String,
    customer: String,
    price: Price,
    subscription: Value,
    invoices: u32,
    deliveries: Vec<Scheduled>,
}

impl Story {
    /// A customer `cus_demo_NAME` with nothing yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            customer: format!("cus_demo_{name}"),
            price: Price::BasicMonth,
            subscription: Value::Null,
            invoices: 0,
            deliveries: Vec::new(),
        }
    }

    /// Another subscription of the same customer.
    #[must_use]
    pub fn another(&self, name: &str) -> Self {
        Self { customer: self.customer.clone(), ..Self::new(name) }
    }

    /// The subscription's id.
    pub fn subscription_id(&self) -> String {
        format!("sub_demo_{}", self.name)
    }

    /// The customer's id.
    pub fn customer_id(&self) -> &str {
        &self.customer
    }

    /// What Stripe will deliver, in the order of the story.
    pub fn deliveries(self) -> Vec<Scheduled> {
        self.deliveries
    }

    /// The customer comes back from a checkout that names the member.
    pub fn checkout(&mut self, member: &str, at: DateTime<Utc>) -> &mut Self {
        let session = json!({
            "id": format!("cs_demo_{}", self.name), "object": "checkout.session", "mode": "subscription",
            "client_reference_id": member, "customer": self.customer, "subscription": self.subscription_id(),
            "payment_status": "paid", "status": "complete", "metadata": {}, "livemode": false,
        });
        self.send("checkout.session.completed", &session, None, at)
    }

    /// A subscription is made; it is `status` from the start.
    pub fn create(&mut self, price: Price, status: &str, at: DateTime<Utc>) -> &mut Self {
        self.price = price;
        let trial_end = (status == "trialing").then(|| at + Days::new(14));
        let period_end = trial_end.unwrap_or(at + price.months());
        self.subscription = json!({
            "id": self.subscription_id(), "object": "subscription", "customer": self.customer, "status": status,
            "billing_mode": { "type": "flexible" }, "collection_method": "charge_automatically", "currency": "usd",
            "created": seconds(at), "start_date": seconds(at), "billing_cycle_anchor": seconds(at),
            "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null, "ended_at": null,
            "cancellation_details": { "comment": null, "feedback": null, "reason": null },
            "items": { "object": "list", "has_more": false, "data": [{
                "id": format!("si_demo_{}", self.name), "object": "subscription_item", "quantity": 1,
                "price": price.json(), "current_period_start": seconds(at), "current_period_end": seconds(period_end),
            }] },
            "latest_invoice": null, "livemode": false, "metadata": {}, "pause_collection": null,
            "pending_update": null, "schedule": null, "trial_start": trial_end.map(|_| seconds(at)),
            "trial_end": trial_end.map(seconds),
            "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
        });
        let created = self.subscription.clone();
        self.send("customer.subscription.created", &created, None, at)
    }

    /// The subscription's status becomes `status`.
    pub fn status(&mut self, status: &str, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| subscription["status"] = json!(status))
    }

    /// It is paid for another period, which begins at `at`.
    pub fn renew(&mut self, at: DateTime<Utc>) -> &mut Self {
        let until = at + self.price.months();
        self.update(at, |subscription| {
            subscription["status"] = json!("active");
            let item = &mut subscription["items"]["data"][0];
            item["current_period_start"] = json!(seconds(at));
            item["current_period_end"] = json!(seconds(until));
        });
        self.invoices += 1;
        self.paid(at)
    }

    /// The latest invoice is paid.
    pub fn paid(&mut self, at: DateTime<Utc>) -> &mut Self {
        let invoice = self.invoice("paid", 1, at);
        self.send("invoice.paid", &invoice, None, at)
    }

    /// A new period begins and its payment fails for the first time.
    pub fn renewal_fails(&mut self, at: DateTime<Utc>) -> &mut Self {
        let until = at + self.price.months();
        self.invoices += 1;
        self.update(at, |subscription| {
            let item = &mut subscription["items"]["data"][0];
            item["current_period_start"] = json!(seconds(at));
            item["current_period_end"] = json!(seconds(until));
        });
        let failed_at = at + chrono::TimeDelta::hours(1);
        self.payment_fails(1, failed_at).status("past_due", failed_at)
    }

    /// The payment of the latest invoice fails, once more.
    pub fn payment_fails(&mut self, attempt: u32, at: DateTime<Utc>) -> &mut Self {
        let invoice = self.invoice("open", attempt, at);
        self.send("invoice.payment_failed", &invoice, None, at)
    }

    /// The plan changes now.
    pub fn change_plan(&mut self, price: Price, at: DateTime<Utc>) -> &mut Self {
        self.price = price;
        self.update(at, |subscription| subscription["items"]["data"][0]["price"] = price.json())
    }

    /// Something more is sold with it from now on.
    pub fn add_item(&mut self, price: Price, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| {
            let mut item = subscription["items"]["data"][0].clone();
            item["id"] = json!(format!("{}_more", item["id"].as_str().unwrap_or_default()));
            item["price"] = price.json();
            if let Some(items) = subscription["items"]["data"].as_array_mut() {
                items.push(item);
            }
        })
    }

    /// Stripe lists the items the other way round.
    pub fn turn_items(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| {
            if let Some(items) = subscription["items"]["data"].as_array_mut() {
                items.reverse();
            }
        })
    }

    /// The customer cancels in Stripe's portal, which sets a date and leaves the flag alone.
    pub fn cancel_in_portal(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| {
            subscription["cancel_at"] = subscription["items"]["data"][0]["current_period_end"].clone();
            subscription["canceled_at"] = json!(seconds(at));
            subscription["cancellation_details"]["reason"] = json!("cancellation_requested");
        })
    }

    /// The end of the period becomes the end of the subscription.
    pub fn cancel_at_period_end(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| {
            subscription["cancel_at_period_end"] = json!(true);
            subscription["cancel_at"] = subscription["items"]["data"][0]["current_period_end"].clone();
            subscription["canceled_at"] = json!(seconds(at));
        })
    }

    /// Payment collection is paused.
    pub fn pause_collection(&mut self, behavior: &str, at: DateTime<Utc>) -> &mut Self {
        self.update(at, |subscription| {
            subscription["pause_collection"] = json!({ "behavior": behavior, "resumes_at": null });
        })
    }

    /// It is over.
    pub fn end(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.subscription["status"] = json!("canceled");
        self.subscription["ended_at"] = json!(seconds(at));
        if self.subscription["canceled_at"].is_null() {
            self.subscription["canceled_at"] = json!(seconds(at));
        }
        let ended = self.subscription.clone();
        self.send("customer.subscription.deleted", &ended, None, at)
    }

    /// The latest delivery arrives late.
    pub fn late(&mut self, arrives_at: DateTime<Utc>) -> &mut Self {
        if let Some(latest) = self.deliveries.last_mut() {
            latest.arrives_at = arrives_at;
        }
        self
    }

    /// The latest delivery is made again.
    pub fn again(&mut self, arrives_at: DateTime<Utc>) -> &mut Self {
        if let Some(latest) = self.deliveries.last().cloned() {
            self.deliveries.push(Scheduled { arrives_at, ..latest });
        }
        self
    }

    fn update(&mut self, at: DateTime<Utc>, change: impl FnOnce(&mut Value)) -> &mut Self {
        let before = self.subscription.clone();
        change(&mut self.subscription);
        let previous = changed(&before, &self.subscription);
        let now = self.subscription.clone();
        self.send("customer.subscription.updated", &now, Some(previous), at)
    }

    fn invoice(&self, status: &str, attempt: u32, at: DateTime<Utc>) -> Value {
        let amount = self.price.amount();
        let paid = status == "paid";
        json!({
            "id": format!("in_demo_{}_{}", self.name, self.invoices), "object": "invoice", "status": status,
            "customer": self.customer, "currency": "usd", "billing_reason": "subscription_cycle",
            "amount_due": amount, "amount_paid": if paid { amount } else { 0 }, "total": amount,
            "attempt_count": attempt, "attempted": true,
            "next_payment_attempt": (!paid).then(|| seconds(at + Days::new(3))),
            "lines": { "object": "list", "has_more": false, "data": [{
                "id": format!("il_demo_{}_{}", self.name, self.invoices), "object": "line_item", "amount": amount,
                "pricing": { "type": "price_details",
                    "price_details": { "price": self.price.id(), "product": self.price.product() } },
            }] },
            "parent": { "type": "subscription_details",
                "subscription_details": { "subscription": self.subscription_id(), "metadata": {} } },
            "status_transitions": { "paid_at": paid.then(|| seconds(at)) }, "livemode": false, "metadata": {},
        })
    }

    fn send(
        &mut self,
        event_type: &str,
        object: &Value,
        previous: Option<Value>,
        at: DateTime<Utc>,
    ) -> &mut Self {
        let number = self.deliveries.len() + 1;
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let event = json!({
            "id": format!("evt_demo_{}_{number:03}", self.name), "object": "event", "api_version": API_VERSION,
            "created": seconds(at), "data": data, "livemode": false, "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null }, "type": event_type,
        });
        self.deliveries.push(Scheduled { arrives_at: at + chrono::TimeDelta::seconds(1), event });
        self
    }
}

fn seconds(moment: DateTime<Utc>) -> i64 {
    moment.timestamp()
}

/// The members of `before` that `after` changed, as Stripe tells them.
fn changed(before: &Value, after: &Value) -> Value {
    let empty = Map::new();
    let members = |value: &Value| value.as_object().cloned().unwrap_or_else(|| empty.clone());
    let after = members(after);
    members(before)
        .into_iter()
        .filter(|(key, value)| after.get(key) != Some(value))
        .collect::<Map<_, _>>()
        .into()
}
