//! Lives made from a seed: who signs up, with what, and what she, her bank and the owner do then.

mod acts;
mod buying;

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use stripe_simulator::{DunningEnd, Seconds, Simulator};
use tests::stripe::Dice;

use super::{DAY, HOUR};
use acts::{ACTS, pay_open, post};
use buying::{WAYS, Way};

const GOOD: &str = "4242424242424242";
const DECLINED: &str = "4000000000000002";
const DECLINED_LATER: &str = "4000000000000341";
const ASKS_ONCE: &str = "4000002500003155";
const ASKS_ALWAYS: &str = "4000002760003184";
const DISPUTED: &str = "4000000000000259";
const INQUIRED: &str = "4000000000001976";
const REFUND_FAILS: &str = "4000000000005126";
const DEBIT: &str = "DE89370400440532013000";
const DEBIT_FAILS: &str = "DE62370400440532013001";

/// What follows from something after a while.
const FOLLOWING: [&str; 12] = [
    "returns",
    "returns as another customer",
    "pays again at checkout",
    "goes to her bank at checkout",
    "goes to her bank for a renewal",
    "fails at her bank",
    "mends what was declined",
    "resumes after a pause",
    "wins a dispute",
    "loses a dispute",
    "an inquiry comes to nothing",
    "an inquiry becomes a dispute",
];

#[derive(Debug, Clone)]
enum Todo {
    SignUp,
    Registered,
    Act,
    PayAgain(String),
    ToBank { session: String, passed: bool },
    ToBankFor { invoice: String, passed: bool },
    Mend,
    Resume,
    Return,
    Dispute(String),
    RefundFails(String),
    RefundRest(String),
    Settings,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    customers: Vec<String>,
    pub(super) subscriptions: Vec<String>,
    way: Way,
    /// Registered so long after she bought.
    registers_after: Seconds,
}

/// Everybody, what they are going to do, and what they have done.
#[derive(Debug)]
pub(super) struct Lives {
    dice: Dice,
    pub(super) members: Vec<Member>,
    whose: HashMap<String, usize>,
    agenda: BTreeMap<(Seconds, usize), (usize, Todo)>,
    planned: usize,
    seen: usize,
    pub(super) done: BTreeMap<String, u32>,
    /// Those who are to be registered now.
    pub(super) registering: Vec<String>,
    named_by_checkout_alone: bool,
    end: Seconds,
}

/// Everything that has to occur.
pub(super) fn everything() -> Vec<String> {
    let ways = WAYS.iter().map(|way| match way {
        Way::Checkout(card, price, days) => format!("buys {price} with {card}, {days} days of trial"),
        Way::WithoutMethod(end) => format!("begins a trial without a method that ends in {end}"),
    });
    let acts = ACTS.iter().map(|(name, _)| (*name).to_owned());
    let given = ["is given something", "has something taken back that was given"].map(str::to_owned);
    let following = FOLLOWING.iter().map(|name| (*name).to_owned());
    let states = [
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "paused",
        "canceled",
    ];
    let states = states.iter().map(|status| format!("is {status}"));
    let ends = ["Cancel", "Unpaid", "PastDue", "Pause"].iter().map(|end| format!("retries end in {end}"));
    let told = [
        "customer.subscription.pending_update_applied",
        "customer.subscription.pending_update_expired",
        "refund.failed",
        "charge.dispute.closed",
        "invoice.voided",
        "invoice.marked_uncollectible",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
        "subscription_schedule.released",
        "customer.deleted",
        "customer.subscription.resumed",
    ];
    ways.chain(acts)
        .chain(given)
        .chain(following)
        .chain(states)
        .chain(ends)
        .chain(told.map(str::to_owned))
        .collect()
}

impl Lives {
    pub(super) fn new(
        seed: u64,
        members: usize,
        begin: Seconds,
        end: Seconds,
        named_by_checkout_alone: bool,
    ) -> Self {
        let mut lives = Self {
            dice: Dice::new(seed),
            members: Vec::new(),
            whose: HashMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            seen: 0,
            done: BTreeMap::new(),
            registering: Vec::new(),
            named_by_checkout_alone,
            end,
        };
        for number in 0..members {
            let registers_after = if lives.dice.below(10) == 0 { lives.within(HOUR, 2 * DAY) } else { 0 };
            lives.members.push(Member {
                id: format!("mem_{number:03}"),
                customers: Vec::new(),
                subscriptions: Vec::new(),
                way: WAYS[number % WAYS.len()],
                registers_after,
            });
            // Most sign up in the first half, so that much can happen to them.
            let latest = if lives.dice.below(3) == 0 { end - 20 * DAY } else { begin.midpoint(end) };
            let at = lives.within(begin, latest);
            lives.plan(at, number, Todo::SignUp);
            if registers_after > 0 {
                lives.plan(at + registers_after, number, Todo::Registered);
            }
        }
        for change in 1..=(end - begin) / (40 * DAY) {
            lives.plan(begin + change * 40 * DAY, 0, Todo::Settings);
        }
        lives
    }

    fn within(&mut self, from: Seconds, to: Seconds) -> Seconds {
        let span = usize::try_from((to - from).max(1)).unwrap();
        from + Seconds::try_from(self.dice.below(span)).unwrap()
    }

    fn plan(&mut self, at: Seconds, member: usize, todo: Todo) {
        self.planned += 1;
        if at < self.end {
            self.agenda.insert((at, self.planned), (member, todo));
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.below(of.len())]
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.done.entry(what.into()).or_default() += 1;
    }

    /// Who has a subscription.
    pub(super) fn owner_of(&mut self, subscription: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.subscriptions.iter().any(|held| held == subscription))
    }

    /// Who pays as this customer.
    pub(super) fn payer(&self, customer: &str) -> Option<&Member> {
        self.members.get(*self.whose.get(customer)?)
    }

    /// When somebody does something next.
    pub(super) fn next(&self) -> Option<Seconds> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Everything that is to be done by now is done, and everybody hears of what Stripe told her.
    pub(super) fn go_on(&mut self, stripe: &mut Simulator) {
        loop {
            self.hear(stripe);
            if self.next().is_none_or(|at| at > stripe.now()) {
                return;
            }
            let Some((_, (member, todo))) = self.agenda.pop_first() else { return };
            self.carry_out(stripe, member, todo);
        }
    }

    /// What happened makes people do something.
    fn hear(&mut self, stripe: &mut Simulator) {
        let now = stripe.now();
        let news: Vec<(String, Value)> = stripe.events()[self.seen..]
            .iter()
            .map(|event| (event.kind.clone(), event.body["data"]["object"].clone()))
            .collect();
        self.seen = stripe.events().len();
        for (kind, object) in news {
            let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            if object["object"] == "subscription" {
                self.count(format!("is {}", text("status")));
            }
            self.count(kind.as_str());
            let Some(member) = self.whose.get(&text("customer")).copied() else {
                if kind == "charge.dispute.created" {
                    let at = self.within(now + HOUR, now + 40 * DAY);
                    self.plan(at, 0, Todo::Dispute(text("id")));
                }
                continue;
            };
            let chance = self.dice.below(100);
            match kind.as_str() {
                "invoice.payment_action_required" if chance < 60 => {
                    let (at, passed) = (self.within(now + 60, now + 6 * DAY), self.dice.below(5) > 0);
                    self.plan(at, member, Todo::ToBankFor { invoice: text("id"), passed });
                }
                "invoice.payment_failed" if chance < 30 => {
                    let at = self.within(now + HOUR, now + 20 * DAY);
                    self.plan(at, member, Todo::Mend);
                }
                "customer.subscription.paused" if chance < 60 => {
                    let at = self.within(now + HOUR, now + 20 * DAY);
                    self.plan(at, member, Todo::Resume);
                }
                "customer.subscription.deleted" if chance < 60 => {
                    let at = self.within(now, now + 50 * DAY);
                    self.plan(at, member, Todo::Return);
                }
                _ => {}
            }
        }
    }

    fn carry_out(&mut self, stripe: &mut Simulator, member: usize, todo: Todo) {
        let now = stripe.now();
        match todo {
            Todo::SignUp => self.sign_up(stripe, member),
            Todo::Registered => self.registering.push(self.members[member].id.clone()),
            Todo::Act => self.act(stripe, member),
            Todo::PayAgain(session) => {
                if stripe.pay(&session, GOOD).is_ok() {
                    self.count("pays again at checkout");
                }
                self.notice(stripe, member, &session);
            }
            Todo::ToBank { session, passed } => {
                if stripe.authenticate(&session, passed).is_ok() {
                    self.count("goes to her bank at checkout");
                } else {
                    let at = self.within(now, now + 2 * DAY);
                    self.plan(at, member, Todo::PayAgain(session.clone()));
                }
                self.notice(stripe, member, &session);
            }
            Todo::ToBankFor { invoice, passed } => {
                if stripe.authenticate_invoice(&invoice, passed).is_ok() {
                    self.count(if passed { "goes to her bank for a renewal" } else { "fails at her bank" });
                }
            }
            Todo::Mend => {
                let customer = self.customer(member);
                let mended =
                    stripe.set_card(&customer, GOOD).and_then(|()| pay_open(stripe, &customer, false));
                if mended.is_ok() {
                    self.count("mends what was declined");
                }
            }
            Todo::Resume => {
                let customer = self.customer(member);
                let _ = stripe.set_card(&customer, GOOD);
                if let Some(subscription) = self.living(stripe, member)
                    && post(stripe, &format!("/v1/subscriptions/{subscription}/resume"), "").is_ok()
                {
                    self.count("resumes after a pause");
                }
            }
            Todo::Return => self.comes_back(stripe, member),
            Todo::Dispute(dispute) => self.decide(stripe, &dispute),
            Todo::RefundFails(refund) => drop(stripe.fail_refund(&refund)),
            Todo::RefundRest(subscription) => {
                if stripe.refund(&subscription, None).is_ok() {
                    self.count("is refunded in two parts");
                }
            }
            Todo::Settings => {
                let end = self.one(&[
                    DunningEnd::Cancel,
                    DunningEnd::Unpaid,
                    DunningEnd::PastDue,
                    DunningEnd::Pause,
                ]);
                self.settings(stripe, end);
            }
        }
    }

    /// What the owner sets for the next weeks.
    pub(super) fn settings(&mut self, stripe: &mut Simulator, end: DunningEnd) {
        let (trusted, cancels) = (self.dice.below(3) == 0, self.dice.below(4) == 0);
        let settings = stripe.settings();
        (settings.dunning_end, settings.debit_is_trusted, settings.dispute_cancels) = (end, trusted, cancels);
        self.count(format!("retries end in {end:?}"));
    }

    fn customer(&self, member: usize) -> String {
        self.members[member].customers.last().cloned().unwrap_or_default()
    }

    /// One of her subscriptions that goes on.
    fn living(&mut self, stripe: &Simulator, member: usize) -> Option<String> {
        let lives = |id: &&String| {
            let truth = stripe.truth(id, stripe.now());
            truth.is_some_and(|truth| truth.ended_at.is_none())
        };
        let living: Vec<_> = self.members[member].subscriptions.iter().filter(lives).cloned().collect();
        if living.is_empty() { None } else { Some(living[self.dice.below(living.len())].clone()) }
    }

    fn decide(&mut self, stripe: &mut Simulator, dispute: &str) {
        let Ok(held) = stripe.call("GET", &format!("/v1/disputes/{dispute}"), "") else { return };
        let (status, now) = (held["status"].as_str().unwrap_or_default().to_owned(), stripe.now());
        let (next, what) = match (status.as_str(), self.dice.below(3)) {
            ("warning_needs_response", 0) => ("warning_under_review", ""),
            ("warning_needs_response" | "warning_under_review", 1) => {
                ("needs_response", "an inquiry becomes a dispute")
            }
            ("warning_needs_response" | "warning_under_review", _) => {
                ("warning_closed", "an inquiry comes to nothing")
            }
            ("needs_response", 0) => ("under_review", ""),
            ("needs_response" | "under_review", 1) => ("won", "wins a dispute"),
            ("needs_response" | "under_review", _) => ("lost", "loses a dispute"),
            _ => return,
        };
        if stripe.move_dispute(dispute, next).is_ok() {
            if !what.is_empty() {
                self.count(what);
            }
            let at = self.within(now + HOUR, now + 30 * DAY);
            self.plan(at, 0, Todo::Dispute(dispute.to_owned()));
        }
    }
}
