//! How people sign up, buy and come back.

use stripe_simulator::Simulator;

use super::{
    ASKS_ALWAYS, ASKS_ONCE, DEBIT, DEBIT_FAILS, DECLINED, DECLINED_LATER, DISPUTED, GOOD, INQUIRED, Lives,
    REFUND_FAILS, Todo,
};
use crate::year::truth::{BASIC_MONTH, BASIC_YEAR, PRO_MONTH, PRO_YEAR};
use crate::year::{DAY, HOUR};

/// How somebody begins, in turn, so that every way occurs.
pub(super) const WAYS: [Way; 16] = [
    Way::Checkout(GOOD, BASIC_MONTH, 0),
    Way::Checkout(GOOD, PRO_MONTH, 14),
    Way::Checkout(DECLINED_LATER, BASIC_MONTH, 0),
    Way::Checkout(ASKS_ONCE, PRO_MONTH, 0),
    Way::Checkout(ASKS_ALWAYS, BASIC_MONTH, 0),
    Way::Checkout(DEBIT, PRO_MONTH, 0),
    Way::Checkout(DEBIT_FAILS, BASIC_MONTH, 0),
    Way::Checkout(DECLINED, PRO_MONTH, 0),
    Way::Checkout(GOOD, PRO_YEAR, 7),
    Way::Checkout(GOOD, BASIC_YEAR, 0),
    Way::WithoutMethod("cancel"),
    Way::WithoutMethod("pause"),
    Way::WithoutMethod("create_invoice"),
    Way::Checkout(REFUND_FAILS, BASIC_MONTH, 0),
    Way::Checkout(DISPUTED, PRO_MONTH, 0),
    Way::Checkout(INQUIRED, BASIC_MONTH, 2),
];

#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// By checkout: a card, a price, days of trial.
    Checkout(&'static str, &'static str, u32),
    /// On trial by the API, and what happens at its end.
    WithoutMethod(&'static str),
}

impl Lives {
    pub(super) fn sign_up(&mut self, stripe: &mut Simulator, member: usize) {
        let (id, registers_after) = (self.members[member].id.clone(), self.members[member].registers_after);
        if registers_after == 0 {
            self.registering.push(id.clone());
        }
        match self.members[member].way {
            Way::Checkout(card, price, days) => {
                self.count(format!("buys {price} with {card}, {days} days of trial"));
                self.checkout(stripe, member, card, price, days, false);
            }
            Way::WithoutMethod(end) => {
                let Ok(customer) = stripe.customer(&format!("{id}@example.com")) else { return };
                let price = self.one(&[BASIC_MONTH, PRO_MONTH]);
                let form = format!(
                    "customer={customer}&items[0][price]={price}&trial_period_days=7&metadata[member_id]={id}&trial_settings[end_behavior][missing_payment_method]={end}"
                );
                if let Ok(made) = stripe.call("POST", "/v1/subscriptions", &form) {
                    self.count(format!("begins a trial without a method that ends in {end}"));
                    self.has(member, customer, made["id"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        let at = stripe.now() + self.within(HOUR, 30 * DAY);
        self.plan(at, member, Todo::Act);
    }

    pub(super) fn checkout(
        &mut self,
        stripe: &mut Simulator,
        member: usize,
        card: &str,
        price: &str,
        trial_days: u32,
        same_customer: bool,
    ) {
        let id = &self.members[member].id;
        // Whoever pays past an unfinished checkout is known by that name only.
        let finishes = ![DECLINED, ASKS_ONCE, ASKS_ALWAYS].contains(&card);
        let name = if self.named_by_checkout_alone && finishes {
            String::new()
        } else {
            format!("&metadata[member_id]={id}&subscription_data[metadata][member_id]={id}")
        };
        let trial = match trial_days {
            0 => String::new(),
            days => format!("&subscription_data[trial_period_days]={days}"),
        };
        let customer = self.members[member].customers.last().filter(|_| same_customer);
        let customer = customer.map_or_else(String::new, |customer| format!("&customer={customer}"));
        let form = format!(
            "mode=subscription&line_items[0][price]={price}&success_url=http://shop/&client_reference_id={id}{name}{trial}{customer}"
        );
        let Ok(session) = stripe.call("POST", "/v1/checkout/sessions", &form) else { return };
        let session = session["id"].as_str().unwrap_or_default().to_owned();
        let now = stripe.now();
        match stripe.pay(&session, card) {
            Ok(false) => {}
            Ok(true) => {
                // Most are back from their bank in minutes, some never go.
                let (late, passed) = (self.within(0, 1_200), self.dice.below(4) > 0);
                if self.dice.below(8) > 0 {
                    self.plan(now + late, member, Todo::ToBank { session: session.clone(), passed });
                }
            }
            Err(_) => {
                let late = self.within(0, 20 * HOUR);
                if self.dice.below(2) == 0 {
                    self.plan(now + late, member, Todo::PayAgain(session.clone()));
                }
            }
        }
        self.notice(stripe, member, &session);
    }

    /// Remembers whose the customer and the subscription of a checkout are.
    pub(super) fn notice(&mut self, stripe: &Simulator, member: usize, session: &str) {
        if let Some((customer, subscription)) = stripe.bought(session) {
            self.has(member, customer, subscription);
        }
    }

    pub(super) fn has(&mut self, member: usize, customer: String, subscription: String) {
        let held = &mut self.members[member];
        if !held.subscriptions.contains(&subscription) {
            held.subscriptions.push(subscription);
        }
        if !held.customers.contains(&customer) {
            held.customers.push(customer.clone());
            self.whose.insert(customer, member);
        }
    }

    pub(super) fn comes_back(&mut self, stripe: &mut Simulator, member: usize) {
        let card = self.one(&[GOOD, GOOD, DECLINED_LATER, ASKS_ONCE, DEBIT]);
        let price = self.one(&[BASIC_MONTH, PRO_MONTH]);
        let same = self.dice.below(3) > 0;
        let before = self.members[member].subscriptions.len();
        self.checkout(stripe, member, card, price, 0, same);
        if self.members[member].subscriptions.len() > before {
            self.count(if same { "returns" } else { "returns as another customer" });
        }
    }
}
