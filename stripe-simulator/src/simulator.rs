//! A Stripe account with its webhook endpoint, driven by calls and by a clock that only moves when told to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::{Delivery, Faults, Outbox, SignedDelivery};
use crate::engine::cards::Card;
use crate::engine::clock::{Interval, Seconds, Unit};
use crate::engine::error::ApiError;
use crate::engine::model::{Charge, Metadata, PauseCollection, Subscription, Truth};
use crate::engine::{
    Cancellation, Change, CustomerChange, Engine, Event, ItemChange, NewPrice, NewProduct, NewSession,
    NewSubscription, Paying, Settings, SubscriptionChange,
};
use crate::http::api::{self, Call, Remembered};

/// A Stripe account and its one webhook endpoint.
///
/// Everything happens in memory and at once: a call changes objects, [`Simulator::advance`] lets time go by, and
/// [`Simulator::take_deliveries`] gives the signed webhooks of it all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Simulator {
    pub(crate) engine: Engine,
    /// The webhooks.
    pub outbox: Outbox,
    /// Whether there is an endpoint that events are delivered to.
    pub(crate) endpoint: bool,
    pub(crate) remembered: BTreeMap<String, Remembered>,
    told: usize,
}

/// A product with its prices, as `--seed` files list them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedProduct {
    id: String,
    name: String,
    prices: Vec<SeedPrice>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedPrice {
    id: String,
    amount: i64,
    #[serde(default = "usd")]
    currency: String,
    #[serde(default = "month")]
    interval: String,
}

fn usd() -> String {
    "usd".to_owned()
}

fn month() -> String {
    "month".to_owned()
}

/// What is sold when nothing else is said: the prices of the sample catalogue.
const SAMPLE: &str = r#"[
    { "id": "prod_basic", "name": "Basic", "prices": [{ "id": "price_basic_month", "amount": 1700 }] },
    { "id": "prod_pro", "name": "Pro", "prices": [
        { "id": "price_pro_month", "amount": 2500 },
        { "id": "price_pro_year", "amount": 25000, "interval": "year" }
    ] }
]"#;

impl Simulator {
    /// An account at `now` that sells the sample's products, with deliveries signed by `secret`.
    pub fn new(now: Seconds, seed: u64, secret: &str) -> Self {
        let mut simulator = Self::empty(now, seed, secret);
        if let Err(error) = simulator.sell(SAMPLE) {
            tracing::error!(%error, "the sample cannot be sold");
        }
        simulator
    }

    /// An account that sells nothing yet.
    pub fn empty(now: Seconds, seed: u64, secret: &str) -> Self {
        Self {
            engine: Engine::new(now, seed, Settings::default()),
            outbox: Outbox::new(secret, seed),
            endpoint: true,
            remembered: BTreeMap::new(),
            told: 0,
        }
    }

    /// Adds what a list of products in JSON says. No event tells of it: it was there from the start.
    pub fn sell(&mut self, products: &str) -> Result<(), String> {
        let products: Vec<SeedProduct> = serde_json::from_str(products).map_err(|error| error.to_string())?;
        for product in products {
            let new =
                NewProduct { id: Some(product.id.clone()), name: product.name, ..NewProduct::default() };
            self.engine.create_product(new).map_err(|error| error.to_string())?;
            for price in product.prices {
                let Some(unit) = Unit::parse(&price.interval) else {
                    return Err(format!(
                        "{}: interval {:?} is none of day, week, month, year",
                        price.id, price.interval
                    ));
                };
                let new = NewPrice {
                    id: Some(price.id),
                    product: product.id.clone(),
                    currency: price.currency,
                    amount: price.amount,
                    recurring: Some(Interval { unit, count: 1 }),
                    ..NewPrice::default()
                };
                self.engine.create_price(new).map_err(|error| error.to_string())?;
            }
        }
        self.told = self.engine.events().len();
        Ok(())
    }

    /// The virtual time, in unix seconds.
    pub fn now(&self) -> Seconds {
        self.engine.now()
    }

    /// Everything that happened, oldest first, whether delivered or not.
    pub fn events(&self) -> &[Event] {
        self.engine.events()
    }

    /// What an account's owner can set.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.engine.settings
    }

    /// Sets what goes wrong with deliveries and calls.
    pub fn set_faults(&mut self, faults: Faults) {
        self.engine.settings.ties = faults.ties;
        self.outbox.set_faults(faults);
    }

    /// Lets so many seconds go by.
    pub fn advance(&mut self, seconds: Seconds) {
        self.advance_to(self.now().saturating_add(seconds.max(0)));
    }

    /// Lets time go by until a moment. Events are put out at the moment they happen.
    pub fn advance_to(&mut self, to: Seconds) {
        self.engine.advance_to(to);
        self.put_out();
    }

    /// Hands new events to the outbox.
    pub(crate) fn put_out(&mut self) {
        let new = &self.engine.events()[self.told..];
        if self.endpoint {
            for event in new {
                self.outbox.put(event, event.created.max(0), &self.engine.store);
            }
        }
        self.told = self.engine.events().len();
    }

    /// Takes every delivery that is due, signed at `clock`, as delivered.
    pub fn take_deliveries(&mut self, clock: Seconds) -> Vec<SignedDelivery> {
        self.put_out();
        let now = self.now();
        let mut taken = Vec::new();
        while let Some(delivery) = self.outbox.next(now, clock) {
            self.outbox.settle(delivery.number, now, Ok(200));
            taken.push(delivery);
        }
        taken
    }

    /// Every delivery that is remembered.
    pub fn deliveries(&self) -> Vec<&Delivery> {
        self.outbox.deliveries()
    }

    /// A call to the API, such as `("POST", "/v1/customers", "email=ada@example.com")`.
    pub fn call(&mut self, method: &str, path: &str, form: &str) -> Result<Value, ApiError> {
        let answer = api::call(self, &Call::plain(method, path, form));
        self.put_out();
        answer
    }

    /// Does something to the engine and puts out what follows from it.
    fn act<T>(&mut self, action: impl FnOnce(&mut Engine) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let result = action(&mut self.engine);
        self.put_out();
        result
    }

    /// A new customer.
    pub fn customer(&mut self, email: &str) -> Result<String, ApiError> {
        let email = Some(email.to_owned());
        self.act(|engine| engine.create_customer(&CustomerChange { email, ..CustomerChange::default() }))
    }

    /// The customer pays with this card or bank account from now on.
    pub fn set_card(&mut self, customer: &str, number: &str) -> Result<(), ApiError> {
        let card = Card::read(number)?;
        self.act(|engine| engine.set_card(customer, card).map(|_| ()))
    }

    /// A subscription made through the API, paid with a card; with a trial of so many days if not 0.
    pub fn subscribe(
        &mut self,
        customer: &str,
        price: &str,
        card: &str,
        trial_days: u32,
    ) -> Result<String, ApiError> {
        self.set_card(customer, card)?;
        let now = self.now();
        let new = NewSubscription {
            customer: customer.to_owned(),
            items: vec![(price.to_owned(), 1)],
            trial_end: (trial_days > 0).then(|| now + Seconds::from(trial_days) * 86_400),
            ..NewSubscription::default()
        };
        self.act(|engine| engine.create_subscription(new))
    }

    /// A checkout of one price for a new customer, whom the shop knows as `reference`.
    pub fn checkout(&mut self, price: &str, reference: &str, trial_days: u32) -> Result<String, ApiError> {
        let new = NewSession {
            items: vec![(price.to_owned(), 1)],
            client_reference_id: Some(reference.to_owned()),
            trial_days: (trial_days > 0).then_some(i64::from(trial_days)),
            success_url: "http://127.0.0.1:8080/welcome?session={CHECKOUT_SESSION_ID}".to_owned(),
            ..NewSession::default()
        };
        self.act(|engine| engine.create_session(new))
    }

    /// The buyer gives a card number or an IBAN. True when her bank wants to see her first.
    pub fn pay(&mut self, session: &str, number: &str) -> Result<bool, ApiError> {
        let card = Card::read(number)?;
        let paying = self.act(|engine| engine.pay_session(session, Some(card), None))?;
        Ok(paying == Paying::Authenticate)
    }

    /// The buyer begins a trial for which no card is asked.
    pub fn begin_trial(&mut self, session: &str) -> Result<(), ApiError> {
        self.act(|engine| engine.pay_session(session, None, None)).map(|_| ())
    }

    /// The buyer has been to her bank.
    pub fn authenticate(&mut self, session: &str, passed: bool) -> Result<(), ApiError> {
        self.act(|engine| engine.authenticate_session(session, passed))
    }

    /// The customer and the subscription that a checkout led to.
    pub fn bought(&self, session: &str) -> Option<(String, String)> {
        let session = self.engine.store.sessions.find(session)?;
        Some((session.customer.clone()?, session.subscription.clone()?))
    }

    /// Ends a subscription now.
    pub fn cancel(&mut self, subscription: &str) -> Result<(), ApiError> {
        self.act(|engine| engine.cancel(subscription, &Cancellation::default()))
    }

    /// The customer cancels in the portal: her subscription ends with its period.
    pub fn cancel_in_portal(&mut self, subscription: &str) -> Result<(), ApiError> {
        self.act(|engine| engine.cancel_in_portal(subscription))
    }

    fn change(&mut self, subscription: &str, change: &SubscriptionChange) -> Result<(), ApiError> {
        self.act(|engine| engine.update_subscription(subscription, change))
    }

    /// Sets or clears `cancel_at_period_end`. Clearing takes back any scheduled end.
    pub fn cancel_at_period_end(&mut self, subscription: &str, cancel: bool) -> Result<(), ApiError> {
        let change =
            SubscriptionChange { cancel_at_period_end: Some(cancel), ..SubscriptionChange::default() };
        self.change(subscription, &change)
    }

    /// Another price from now on, the difference billed at once.
    pub fn change_plan(&mut self, subscription: &str, price: &str) -> Result<(), ApiError> {
        let item = self.first_item(subscription)?;
        let change = SubscriptionChange {
            items: vec![ItemChange {
                id: Some(item),
                price: Some(price.to_owned()),
                quantity: None,
                deleted: false,
            }],
            proration_behavior: Some("always_invoice".to_owned()),
            ..SubscriptionChange::default()
        };
        self.change(subscription, &change)
    }

    fn first_item(&self, subscription: &str) -> Result<String, ApiError> {
        let kept = self.engine.find::<Subscription>(subscription)?;
        Ok(kept.items.first().map(|item| item.id.clone()).unwrap_or_default())
    }

    /// Another price from the next period on, by a schedule.
    pub fn change_plan_at_period_end(&mut self, subscription: &str, price: &str) -> Result<(), ApiError> {
        let price = price.to_owned();
        self.act(|engine| engine.switch_at_period_end(subscription, &price))
    }

    /// Pauses the collection of payments (`void`, `mark_uncollectible`, `keep_as_draft`), or resumes it.
    pub fn pause_collection(
        &mut self,
        subscription: &str,
        pause: Option<(&str, Option<Seconds>)>,
    ) -> Result<(), ApiError> {
        let pause = match pause {
            Some((behavior, resumes_at)) => {
                Change::Set(PauseCollection { behavior: behavior.to_owned(), resumes_at })
            }
            None => Change::Clear,
        };
        self.change(
            subscription,
            &SubscriptionChange { pause_collection: pause, ..SubscriptionChange::default() },
        )
    }

    /// The subscription's latest successful charge.
    pub fn latest_charge(&self, subscription: &str) -> Option<String> {
        let store = &self.engine.store;
        let theirs = |charge: &&Charge| {
            let invoice = store.invoices.find(&charge.invoice);
            charge.status == "succeeded"
                && invoice.is_some_and(|invoice| invoice.subscription == subscription)
        };
        store.charges.iter().rfind(theirs).map(|charge| charge.id.clone())
    }

    /// Gives back the subscription's latest payment, or a part of it.
    pub fn refund(&mut self, subscription: &str, amount: Option<i64>) -> Result<String, ApiError> {
        let charge = self.latest_charge(subscription).unwrap_or_default();
        self.act(|engine| engine.refund(&charge, amount, None, Metadata::new()))
    }

    /// The customer disputes the subscription's latest payment, or her bank only asks about it.
    pub fn dispute(&mut self, subscription: &str, inquiry: bool) -> Result<String, ApiError> {
        let charge = self.latest_charge(subscription).unwrap_or_default();
        self.act(|engine| engine.open_dispute(&charge, inquiry, "fraudulent"))
    }

    /// The dispute becomes `won`, `lost`, `under_review`, `warning_closed`…
    pub fn move_dispute(&mut self, dispute: &str, status: &str) -> Result<(), ApiError> {
        self.act(|engine| engine.move_dispute(dispute, status))
    }

    /// The bank sends a refund back.
    pub fn fail_refund(&mut self, refund: &str) -> Result<(), ApiError> {
        self.act(|engine| engine.fail_refund(refund))
    }

    /// The payer of an invoice that waits for her has been to her bank.
    pub fn authenticate_invoice(&mut self, invoice: &str, passed: bool) -> Result<(), ApiError> {
        self.act(|engine| engine.authenticate(invoice, passed))
    }

    /// The owner pauses a subscription.
    pub fn pause(&mut self, subscription: &str) -> Result<(), ApiError> {
        self.act(|engine| {
            engine.alive(subscription)?;
            engine.pause(subscription, Some("pause_requested"));
            Ok(())
        })
    }

    /// What is done here happens without an event: none is delivered, and none is listed.
    pub fn without_events<T>(&mut self, action: impl FnOnce(&mut Self) -> T) -> T {
        self.put_out();
        let (known, endpoint) = (self.told, std::mem::replace(&mut self.endpoint, false));
        let done = action(self);
        self.engine.forget_events(known);
        (self.told, self.endpoint) = (known, endpoint);
        done
    }

    /// What was true of a subscription at a moment; none before it began.
    pub fn truth(&self, subscription: &str, at: Seconds) -> Option<&Truth> {
        self.engine.truth(subscription, at)
    }

    /// All that was ever true of a subscription, oldest first.
    pub fn truths(&self, subscription: &str) -> &[Truth] {
        self.engine.truths(subscription)
    }
}
