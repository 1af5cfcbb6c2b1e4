//! What people, their banks and the owner do to a subscription.

use serde_json::Value;
use stripe_simulator::{ApiError, Simulator};

use super::{ASKS_ALWAYS, DEBIT, DEBIT_FAILS, DECLINED_LATER, GOOD, Lives, REFUND_FAILS, Todo};
use crate::year::truth::{BASIC_MONTH, BASIC_YEAR, MUG, PRO_MONTH, PRO_YEAR};
use crate::year::{DAY, HOUR};

/// What there is to do. Every one of them has to have been done by somebody.
pub(super) const ACTS: [(&str, usize); 36] = [
    ("upgrades now", 5),
    ("downgrades now", 3),
    ("changes to a year", 2),
    ("changes at the end of the period", 4),
    ("takes the change back", 4),
    ("cancels at the end of the period", 4),
    ("cancels in the portal", 3),
    ("cancels at a date", 2),
    ("cancels now", 2),
    ("takes the cancellation back", 6),
    ("is refunded in part", 4),
    ("is refunded", 4),
    ("is refunded in two parts", 3),
    ("disputes", 4),
    ("asks her bank", 3),
    ("has her collection paused", 5),
    ("has her collection resumed", 3),
    ("buys a second subscription", 3),
    ("buys something else", 1),
    ("gives a good card", 4),
    ("gives a card that is declined later", 5),
    ("gives a card that always asks", 3),
    ("gives a bank account", 3),
    ("gives a bank account that fails", 3),
    ("gives a card whose refunds fail", 3),
    ("has her trial extended", 3),
    ("ends her trial now", 2),
    ("pays what is open", 4),
    ("pays the oldest that is open", 3),
    ("has an invoice voided", 2),
    ("has an invoice written off", 2),
    ("upgrades if it is paid", 5),
    ("is deleted", 1),
    ("is paused by the owner", 2),
    ("resumes", 4),
    ("has a note changed", 2),
];

impl Lives {
    /// Something by chance, and perhaps something else in the same second; what Stripe refuses changes nothing.
    pub(super) fn act(&mut self, stripe: &mut Simulator, member: usize) {
        let (now, mut period_end) = (stripe.now(), None);
        if let Some(subscription) = self.living(stripe, member) {
            let held = stripe.call("GET", &format!("/v1/subscriptions/{subscription}"), "").unwrap();
            period_end = held["items"]["data"][0]["current_period_end"].as_i64();
            for _ in 0..=usize::from(self.dice.below(6) == 0) {
                let act = self.choose(stripe, &held);
                if self.perform(stripe, member, &subscription, act).is_ok_and(|done| done) {
                    self.count(act);
                }
            }
        }
        // Now and then in the very second in which a period ends.
        let next = match period_end.filter(|end| *end > now && *end < now + 40 * DAY) {
            Some(end) if self.dice.below(7) == 0 => end,
            _ if self.dice.below(5) == 0 => self.within(now + 60, now + DAY),
            _ => self.within(now + HOUR, now + 26 * DAY),
        };
        self.plan(next, member, Todo::Act);
    }

    /// What to do: often what only a state as hers allows, else anything.
    fn choose(&mut self, stripe: &mut Simulator, held: &Value) -> &'static str {
        let customer = held["customer"].as_str().unwrap_or_default();
        let open = stripe.call("GET", &format!("/v1/invoices?customer={customer}&status=open"), "");
        let owes = open.map_or(0, |open| open["data"].as_array().map_or(0, Vec::len));
        let fitting: &[&str] = match held["status"].as_str() {
            Some("trialing") => &["has her trial extended", "ends her trial now"],
            Some("paused") => &["resumes"],
            _ if owes > 1 => &["pays the oldest that is open"],
            _ if owes > 0 => &["pays what is open", "has an invoice voided", "has an invoice written off"],
            _ => &[],
        };
        if !fitting.is_empty() && self.dice.below(2) == 0 {
            return self.one(fitting);
        }
        let mut chosen = self.dice.below(ACTS.iter().map(|(_, weight)| weight).sum());
        let act = ACTS.iter().find(|(_, weight)| {
            let hit = chosen < *weight;
            chosen = chosen.saturating_sub(*weight);
            hit
        });
        act.map_or(ACTS[0].0, |(act, _)| act)
    }

    /// Does something; false when there is nothing to do it to.
    fn perform(
        &mut self,
        stripe: &mut Simulator,
        member: usize,
        subscription: &str,
        act: &str,
    ) -> Result<bool, ApiError> {
        let now = stripe.now();
        let path = format!("/v1/subscriptions/{subscription}");
        let held = stripe.call("GET", &path, "")?;
        let item = &held["items"]["data"][0];
        let price = item["price"]["id"].as_str().unwrap_or_default();
        let later = self.within(now + DAY, now + 50 * DAY);
        match act {
            "upgrades now" if price == BASIC_MONTH => stripe.change_plan(subscription, PRO_MONTH)?,
            "downgrades now" if price == PRO_MONTH => stripe.change_plan(subscription, BASIC_MONTH)?,
            "changes to a year" if price.ends_with("month") => {
                stripe.change_plan(subscription, self.one(&[BASIC_YEAR, PRO_YEAR]))?;
            }
            "changes at the end of the period" if price != MUG => {
                let to = if price == PRO_MONTH { BASIC_MONTH } else { PRO_MONTH };
                stripe.change_plan_at_period_end(subscription, to)?;
            }
            "takes the change back" => {
                let Some(schedule) = held["schedule"].as_str() else { return Ok(false) };
                post(stripe, &format!("/v1/subscription_schedules/{schedule}/release"), "")?;
            }
            "cancels at the end of the period" => stripe.cancel_at_period_end(subscription, true)?,
            "cancels in the portal" => stripe.cancel_in_portal(subscription)?,
            "cancels at a date" => post(stripe, &path, &format!("cancel_at={later}"))?,
            "cancels now" => stripe.cancel(subscription)?,
            "takes the cancellation back" if !held["cancel_at"].is_null() => {
                stripe.cancel_at_period_end(subscription, false)?;
            }
            "has her collection paused" => {
                let behavior = self.one(&["void", "mark_uncollectible", "keep_as_draft"]);
                let until = (self.dice.below(2) == 0).then_some(later);
                stripe.pause_collection(subscription, Some((behavior, until)))?;
            }
            "has her collection resumed" if !held["pause_collection"].is_null() => {
                stripe.pause_collection(subscription, None)?;
            }
            "has her trial extended" => {
                let end = later.min(now + 20 * DAY);
                post(stripe, &path, &format!("trial_end={end}&proration_behavior=none"))?;
            }
            "ends her trial now" if held["status"] == "trialing" => post(stripe, &path, "trial_end=now")?,
            "upgrades if it is paid" if price == BASIC_MONTH => {
                let item = item["id"].as_str().unwrap_or_default();
                let form = format!(
                    "items[0][id]={item}&items[0][price]={PRO_MONTH}&proration_behavior=always_invoice&payment_behavior=pending_if_incomplete"
                );
                post(stripe, &path, &form)?;
                let at = self.within(now + HOUR, now + 20 * HOUR);
                self.plan(at, member, Todo::Mend);
            }
            "is paused by the owner" if held["status"] == "active" => stripe.pause(subscription)?,
            "has a note changed" => post(stripe, &path, &format!("metadata[note]={now}&description=x"))?,
            _ => return self.perform_with_money(stripe, member, &held, act),
        }
        Ok(true)
    }

    /// What is not done to the subscription itself, but to its payer and her payments.
    fn perform_with_money(
        &mut self,
        stripe: &mut Simulator,
        member: usize,
        held: &Value,
        act: &str,
    ) -> Result<bool, ApiError> {
        let now = stripe.now();
        let text = |field: &str| held[field].as_str().unwrap_or_default().to_owned();
        let (id, customer, invoice) = (&text("id"), &text("customer"), text("latest_invoice"));
        let invoice = format!("/v1/invoices/{invoice}");
        let is_open = stripe.call("GET", &invoice, "").is_ok_and(|held| held["status"] == "open");
        match act {
            "is refunded in part" => drop(stripe.refund(id, Some(100))?),
            "is refunded" => {
                let refund = stripe.refund(id, None)?;
                if self.dice.below(3) == 0 {
                    let at = self.within(now + HOUR, now + 9 * DAY);
                    self.plan(at, member, Todo::RefundFails(refund));
                }
            }
            "is refunded in two parts" => {
                stripe.refund(id, Some(300))?;
                let at = self.within(now, now + 9 * DAY);
                self.plan(at, member, Todo::RefundRest(id.clone()));
                return Ok(false);
            }
            "disputes" => drop(stripe.dispute(id, false)?),
            "asks her bank" => drop(stripe.dispute(id, true)?),
            "buys a second subscription" => {
                let price = self.one(&[BASIC_MONTH, PRO_MONTH]);
                let same = self.dice.below(2) == 0;
                self.checkout(stripe, member, GOOD, price, 0, same);
            }
            "buys something else" => self.checkout(stripe, member, GOOD, MUG, 0, true),
            "gives a good card" => stripe.set_card(customer, GOOD)?,
            "gives a card that is declined later" => stripe.set_card(customer, DECLINED_LATER)?,
            "gives a card that always asks" => stripe.set_card(customer, ASKS_ALWAYS)?,
            "gives a bank account" => stripe.set_card(customer, DEBIT)?,
            "gives a bank account that fails" => stripe.set_card(customer, DEBIT_FAILS)?,
            "gives a card whose refunds fail" => stripe.set_card(customer, REFUND_FAILS)?,
            "pays what is open" if is_open => post(stripe, &format!("{invoice}/pay"), "")?,
            "pays the oldest that is open" => {
                stripe.set_card(customer, GOOD)?;
                pay_open(stripe, customer, true)?;
            }
            "has an invoice voided" if is_open => post(stripe, &format!("{invoice}/void"), "")?,
            "has an invoice written off" if is_open => {
                post(stripe, &format!("{invoice}/mark_uncollectible"), "")?;
            }
            "is deleted" if self.dice.below(2) == 0 => {
                stripe.call("DELETE", &format!("/v1/customers/{customer}"), "")?;
                self.members[member].customers.retain(|held| held != customer);
            }
            "resumes" if held["status"] == "paused" => {
                stripe.set_card(customer, GOOD)?;
                post(stripe, &format!("/v1/subscriptions/{id}/resume"), "")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub(super) fn post(stripe: &mut Simulator, path: &str, form: &str) -> Result<(), ApiError> {
    stripe.call("POST", path, form).map(drop)
}

/// Pays what a customer has open: the latest, or the oldest of several.
pub(super) fn pay_open(
    stripe: &mut Simulator,
    customer: &str,
    oldest_of_several: bool,
) -> Result<(), ApiError> {
    let open = stripe.call("GET", &format!("/v1/invoices?customer={customer}&status=open"), "")?;
    let open = open["data"].as_array().cloned().unwrap_or_default();
    let chosen = if oldest_of_several { open.get(1..).and_then(<[Value]>::last) } else { open.first() };
    let id = chosen.and_then(|invoice| invoice["id"].as_str()).unwrap_or("in_none");
    post(stripe, &format!("/v1/invoices/{id}/pay"), "")
}
