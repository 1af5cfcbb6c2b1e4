//! A simulator with a memory of what was already looked at.

use serde_json::Value;
use stripe_simulator::{Event, Seconds, Simulator};

pub(crate) const DAY: Seconds = 86_400;
pub(crate) const HOUR: Seconds = 3_600;
pub(crate) const GOOD: &str = "4242424242424242";
pub(crate) const DECLINED: &str = "4000000000000002";
pub(crate) const DECLINED_LATER: &str = "4000000000000341";
pub(crate) const ASKS_ONCE: &str = "4000002500003155";
pub(crate) const ASKS_ALWAYS: &str = "4000002760003184";
pub(crate) const DEBIT: &str = "DE89370400440532013000";
pub(crate) const DEBIT_FAILS: &str = "DE62370400440532013001";
pub(crate) const BASIC: &str = "price_basic_month";
pub(crate) const PRO: &str = "price_pro_month";
pub(crate) const PRO_YEAR: &str = "price_pro_year";
/// 31 January 2027, noon.
pub(crate) const START: Seconds = 1_801_396_800;
pub(crate) const SECRET: &str = "whsec_test";

pub(crate) struct World {
    pub(crate) stripe: Simulator,
    seen: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        let stripe = Simulator::new(START, 7, SECRET);
        let seen = stripe.events().len();
        Self { stripe, seen }
    }

    /// Somebody who bought through checkout, and what followed is not looked at.
    pub(crate) fn member(price: &str, card: &str, trial_days: u32) -> (Self, String) {
        let mut world = Self::new();
        let session = world.stripe.checkout(price, "mem_ada", trial_days).unwrap();
        world.stripe.pay(&session, card).unwrap();
        let (_, subscription) = world.stripe.bought(&session).unwrap();
        world.news();
        (world, subscription)
    }

    /// The events since the last look.
    pub(crate) fn news(&mut self) -> Vec<Event> {
        let new = self.stripe.events()[self.seen..].to_vec();
        self.seen = self.stripe.events().len();
        new
    }

    /// Their types, in order, without those that only tell of money moving inside Stripe.
    pub(crate) fn story(&mut self) -> Vec<String> {
        let told = |event: &Event| {
            let kind = event.kind.as_str();
            !(kind.starts_with("payment_intent.")
                || kind.starts_with("charge.s")
                || kind.starts_with("charge.f")
                || kind.starts_with("charge.p")
                || kind.starts_with("invoice_payment.")
                || matches!(
                    kind,
                    "invoice.updated"
                        | "invoice.payment_succeeded"
                        | "customer.updated"
                        | "invoice.upcoming"
                        | "payment_method.attached"
                ))
        };
        self.news().into_iter().filter(told).map(|event| event.kind).collect()
    }

    pub(crate) fn status(&self, subscription: &str) -> String {
        self.stripe.truth(subscription, self.stripe.now()).unwrap().status.clone()
    }

    pub(crate) fn get(&mut self, path: &str) -> Value {
        self.stripe.call("GET", path, "").unwrap()
    }
}

/// The latest event of a type.
pub(crate) fn latest<'a>(events: &'a [Event], kind: &str) -> &'a Value {
    &events.iter().rfind(|event| event.kind == kind).unwrap_or_else(|| panic!("no {kind}")).body
}

/// Types one under the other, as tests write them.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
