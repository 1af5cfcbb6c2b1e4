//! Stripe and her customers as the model imagines them: what happened, what Stripe tells of it, and what has arrived.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;
use serde_json::{Value, json};

pub(super) const MEMBERS: usize = 2;
pub(super) const CUSTOMERS: usize = 2;
pub(super) const SUBSCRIPTIONS: usize = 3;
pub(super) const REVISIONS: usize = 4;

pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;
const MONTH: i64 = 30 * DAY;

/// Everything that is, at Stripe and on the way to us.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The one clock, in seconds.
    pub(super) now: i64,
    /// Which catalogue is in force.
    pub(super) revision: usize,
    pub(super) registered: [bool; MEMBERS],
    /// Whose each customer is.
    pub(super) owner: [Option<usize>; CUSTOMERS],
    /// What staff gave, in the order in which it was given.
    pub(super) grants: Vec<Given>,
    /// Each subscription as Stripe has it.
    at_stripe: [Option<Object>; SUBSCRIPTIONS],
    invoices: usize,
    /// What Stripe tells, in the order in which it happened.
    pub(super) events: Vec<Event>,
}

/// Access that staff gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) member: usize,
    pub(super) plan: &'static str,
    pub(super) from: i64,
    pub(super) until: Option<i64>,
    pub(super) revoked: bool,
}

/// A subscription as Stripe has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) status: &'static str,
    pub(super) price: &'static str,
    pub(super) period_end: i64,
    pub(super) trial_end: Option<i64>,
    pub(super) cancel_at: Option<i64>,
    pub(super) at_period_end: bool,
    pub(super) collection_paused: bool,
    ended_at: Option<i64>,
    /// The invoice that is owed; not part of what Stripe tells.
    pub(super) owes: Option<usize>,
    touched: usize,
}

/// One event of Stripe's.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) subscription: usize,
    pub(super) at: i64,
    pub(super) tells: Tells,
    pub(super) arrived: bool,
    /// The catalogue in force when we could use it first: arrived, and its customer's member known.
    pub(super) learned_under: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Tells {
    Look { kind: &'static str, object: Object, before: Option<Box<Object>> },
    Paid { invoice: usize, amount: i64, price: &'static str },
    Failed { invoice: usize, attempt: usize, price: &'static str },
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wait(i64),
    Register(usize),
    /// Refused when the customer is another member's.
    Link {
        customer: usize,
        member: usize,
    },
    /// Refused unless the customer is this member's.
    Unlink {
        customer: usize,
        member: usize,
    },
    /// Refused when it would end before it begins.
    Give {
        member: usize,
        plan: &'static str,
        starts_in: i64,
        ends_in: Option<i64>,
    },
    /// Refused as well when there is no such grant, or it was revoked.
    MoveGrant {
        grant: usize,
        ends_in: Option<i64>,
    },
    /// Refused when there is no such grant.
    Revoke(usize),
    Apply(usize),
    Act {
        subscription: usize,
        act: Act,
    },
    /// One of those that have not arrived does.
    Deliver(usize),
    /// One of those that have arrived does once more.
    Again(usize),
    DeliverAll,
}

/// What may happen to a subscription at Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Begin {
        status: &'static str,
        price: &'static str,
    },
    /// Begun and paid within one second.
    BeginPaid(&'static str),
    FirstPaid,
    FirstFails,
    FirstExpires,
    TrialPaid,
    TrialExtended,
    TrialPauses,
    Renewed,
    RenewalFails,
    Retried,
    DebtPaid,
    GivenUp,
    Suspended,
    Resumed,
    TriedAgain,
    PlanChanged(&'static str),
    /// Two changes of one second.
    PlanChangedAndCancelled(&'static str),
    CancelledAtPeriodEnd,
    CancelledInPortal,
    Reverted,
    CollectionPaused,
    CollectionResumed,
    Touched,
    Ended,
    /// Changed and ended within one second.
    TouchedAndEnded,
}

pub(super) const PRICES: [&str; 2] = ["price_basic", "price_pro"];
pub(super) const MYSTERY: &str = "price_nobody_knows";

impl World {
    pub(super) fn new(now: i64) -> Self {
        Self {
            now,
            revision: 0,
            registered: [false; MEMBERS],
            owner: [None; CUSTOMERS],
            grants: Vec::new(),
            at_stripe: [const { None }; SUBSCRIPTIONS],
            invoices: 0,
            events: Vec::new(),
        }
    }

    /// Who pays for a subscription.
    pub(super) fn customer_of(subscription: usize) -> usize {
        subscription % CUSTOMERS
    }

    /// Whether an event can be used: it has arrived, and whose it is, is known.
    pub(super) fn knows(&self, event: &Event) -> bool {
        event.arrived && self.owner[Self::customer_of(event.subscription)].is_some()
    }

    /// The places of the events that wait to arrive. One about a price that nobody knows is taken for somebody else's
    /// as long as the subscription was never seen, so it waits for that.
    fn on_the_way(&self) -> Vec<usize> {
        let seen: BTreeSet<usize> = self
            .events
            .iter()
            .filter(|event| {
                self.knows(event) && matches!(event.tells, Tells::Look { .. }) && event.price() != MYSTERY
            })
            .map(|event| event.subscription)
            .collect();
        let comes = |event: &Event| {
            !event.arrived && (event.price() != MYSTERY || seen.contains(&event.subscription))
        };
        (0..self.events.len()).filter(|index| comes(&self.events[*index])).collect()
    }

    /// The places of the events that a step brings to us, in the order in which they arrive.
    pub(super) fn arrivals(&self, step: Step) -> Vec<usize> {
        let pick =
            |places: Vec<usize>, n: usize| places.get(n % places.len().max(1)).copied().into_iter().collect();
        match step {
            Step::Deliver(n) => pick(self.on_the_way(), n),
            Step::Again(n) => {
                pick((0..self.events.len()).filter(|index| self.events[*index].arrived).collect(), n)
            }
            Step::DeliverAll => self.on_the_way(),
            _ => Vec::new(),
        }
    }

    /// What may happen next to a subscription.
    fn possible(&self, subscription: usize) -> Vec<Act> {
        let Some(object) = &self.at_stripe[subscription] else {
            let mut acts: Vec<_> = PRICES.map(Act::BeginPaid).to_vec();
            for status in ["incomplete", "trialing", "active"] {
                acts.extend(PRICES.map(|price| Act::Begin { status, price }));
            }
            return acts;
        };
        let mut acts = match object.status {
            "incomplete" => vec![Act::FirstPaid, Act::FirstFails, Act::FirstExpires],
            "trialing" => vec![Act::TrialPaid, Act::TrialExtended, Act::TrialPauses, Act::RenewalFails],
            "active" => vec![Act::Renewed, Act::RenewalFails, Act::RenewalFails],
            "past_due" => vec![Act::Retried, Act::DebtPaid, Act::GivenUp, Act::Suspended],
            "unpaid" => vec![Act::DebtPaid, Act::TriedAgain],
            "paused" if object.owes.is_some() => vec![Act::TriedAgain, Act::DebtPaid],
            "paused" => vec![Act::Resumed],
            _ => return vec![Act::Touched],
        };
        acts.push(Act::Touched);
        if object.status != "incomplete" {
            acts.extend([
                Act::PlanChanged(PRICES[0]),
                Act::PlanChanged(PRICES[1]),
                Act::PlanChanged(MYSTERY),
            ]);
            acts.push(if object.collection_paused { Act::CollectionResumed } else { Act::CollectionPaused });
            if object.cancel_at.is_some() || object.at_period_end {
                acts.push(Act::Reverted);
            } else {
                let other = if object.price == PRICES[0] { PRICES[1] } else { PRICES[0] };
                acts.extend([
                    Act::CancelledAtPeriodEnd,
                    Act::CancelledInPortal,
                    Act::PlanChangedAndCancelled(other),
                ]);
            }
        }
        // Most lives are long.
        acts.extend_from_within(..);
        acts.push(if object.touched.is_multiple_of(2) { Act::Ended } else { Act::TouchedAndEnded });
        acts
    }

    fn act(&mut self, subscription: usize, act: Act) {
        if let Act::Begin { status, price } = act {
            self.begin(subscription, status, price);
            return;
        }
        if let Act::BeginPaid(price) = act {
            self.begin(subscription, "incomplete", price);
            self.pay(subscription);
            self.change(subscription, |object, _| object.status = "active");
            return;
        }
        match act {
            Act::FirstPaid | Act::TrialPaid | Act::DebtPaid => {
                if act == Act::TrialPaid {
                    self.bill(subscription);
                }
                self.pay(subscription);
                self.change(subscription, |object, _| {
                    object.status = "active";
                    object.owes = None;
                });
            }
            Act::FirstFails | Act::Retried => self.fail(subscription),
            Act::FirstExpires => self.change(subscription, |object, now| {
                object.status = "incomplete_expired";
                object.ended_at = Some(now);
            }),
            Act::TrialExtended => self.change(subscription, |object, now| {
                object.trial_end = Some(now + 7 * DAY);
                object.period_end = now + 7 * DAY;
            }),
            Act::TrialPauses => self.change(subscription, |object, _| object.status = "paused"),
            Act::Renewed => {
                self.change(subscription, |object, now| object.period_end = now + MONTH);
                self.bill(subscription);
                self.pay(subscription);
                self.settled(subscription);
            }
            Act::RenewalFails => {
                self.change(subscription, |object, now| object.period_end = now + MONTH);
                self.now += HOUR;
                self.bill(subscription);
                self.fail(subscription);
                self.change(subscription, |object, _| object.status = "past_due");
            }
            Act::GivenUp => self.change(subscription, |object, _| object.status = "unpaid"),
            Act::Suspended => self.change(subscription, |object, _| object.status = "paused"),
            Act::Resumed => self.change(subscription, |object, _| object.status = "active"),
            Act::TriedAgain => self.change(subscription, |object, _| object.status = "past_due"),
            Act::PlanChanged(price) => self.change(subscription, |object, _| object.price = price),
            Act::PlanChangedAndCancelled(price) => {
                self.change(subscription, |object, _| object.price = price);
                self.change(subscription, |object, _| object.cancel_at = Some(object.period_end));
            }
            Act::CancelledAtPeriodEnd => self.change(subscription, |object, _| object.at_period_end = true),
            Act::CancelledInPortal => {
                self.change(subscription, |object, _| object.cancel_at = Some(object.period_end));
            }
            Act::Reverted => self.change(subscription, |object, _| {
                object.cancel_at = None;
                object.at_period_end = false;
            }),
            Act::CollectionPaused => self.change(subscription, |object, _| object.collection_paused = true),
            Act::CollectionResumed => self.change(subscription, |object, _| object.collection_paused = false),
            Act::Touched => self.change(subscription, |object, _| object.touched += 1),
            Act::Ended => self.end(subscription),
            Act::TouchedAndEnded => {
                self.change(subscription, |object, _| object.touched += 1);
                self.end(subscription);
            }
            Act::Begin { .. } | Act::BeginPaid(_) => {}
        }
    }

    fn begin(&mut self, subscription: usize, status: &'static str, price: &'static str) {
        let trial_end = (status == "trialing").then_some(self.now + 14 * DAY);
        let object = Object {
            status,
            price,
            period_end: trial_end.unwrap_or(self.now + MONTH),
            trial_end,
            cancel_at: None,
            at_period_end: false,
            collection_paused: false,
            ended_at: None,
            owes: None,
            touched: 0,
        };
        self.at_stripe[subscription] = Some(object.clone());
        self.tell(subscription, Tells::Look { kind: "created", object, before: None });
        self.bill(subscription);
        match status {
            "active" => {
                self.pay(subscription);
                self.settled(subscription);
            }
            // The first invoice of a trial is over nothing, and paid.
            "trialing" => {
                self.tell(subscription, Tells::Paid { invoice: self.invoices, amount: 0, price });
                self.settled(subscription);
            }
            _ => {}
        }
    }

    fn end(&mut self, subscription: usize) {
        let now = self.now;
        let Some(object) = &mut self.at_stripe[subscription] else { return };
        object.status = "canceled";
        object.ended_at = Some(now);
        let object = object.clone();
        self.tell(subscription, Tells::Look { kind: "deleted", object, before: None });
    }

    fn change(&mut self, subscription: usize, change: impl FnOnce(&mut Object, i64)) {
        let now = self.now;
        let Some(object) = &mut self.at_stripe[subscription] else { return };
        let before = Some(Box::new(object.clone()));
        change(object, now);
        let object = object.clone();
        self.tell(subscription, Tells::Look { kind: "updated", object, before });
    }

    fn bill(&mut self, subscription: usize) {
        self.invoices += 1;
        let invoice = self.invoices;
        if let Some(object) = &mut self.at_stripe[subscription] {
            object.owes = Some(invoice);
        }
    }

    fn settled(&mut self, subscription: usize) {
        if let Some(object) = &mut self.at_stripe[subscription] {
            object.owes = None;
        }
    }

    fn pay(&mut self, subscription: usize) {
        let Some(Object { owes, price, .. }) = self.at_stripe[subscription].clone() else { return };
        let invoice = owes.unwrap_or_default();
        self.tell(subscription, Tells::Paid { invoice, amount: 1_700, price });
    }

    fn fail(&mut self, subscription: usize) {
        let Some(Object { owes, price, .. }) = self.at_stripe[subscription].clone() else { return };
        let (invoice, attempt) = (owes.unwrap_or_default(), self.events.len());
        self.tell(subscription, Tells::Failed { invoice, attempt, price });
    }

    fn tell(&mut self, subscription: usize, tells: Tells) {
        self.events.push(Event { subscription, at: self.now, tells, arrived: false, learned_under: None });
    }

    /// Whether the contract allows what staff does in a step; other steps are nobody's to refuse.
    pub(super) fn is_done(&self, step: Step) -> bool {
        let later =
            |from: i64, ends_in: Option<i64>| ends_in.is_none_or(|ends_in| self.now + 1 + ends_in > from);
        match step {
            Step::Link { customer, member } => self.owner[customer].is_none_or(|held| held == member),
            Step::Unlink { customer, member } => self.owner[customer] == Some(member),
            Step::Give { starts_in, ends_in, .. } => later(self.now + 1 + starts_in, ends_in),
            Step::MoveGrant { grant, ends_in } => {
                self.grants.get(grant).is_some_and(|given| !given.revoked && later(given.from, ends_in))
            }
            Step::Revoke(grant) => grant < self.grants.len(),
            _ => true,
        }
    }

    /// Writes down which catalogue was in force when events could be used first.
    fn learn(&mut self) {
        for index in 0..self.events.len() {
            if self.events[index].learned_under.is_none() && self.knows(&self.events[index]) {
                self.events[index].learned_under = Some(self.revision);
            }
        }
    }
}

impl Event {
    fn price(&self) -> &'static str {
        match &self.tells {
            Tells::Look { object, .. } => object.price,
            Tells::Paid { price, .. } | Tells::Failed { price, .. } => price,
        }
    }
}

/// The world as a state machine. Every step takes a second at least, so that moments tell steps apart.
pub(super) struct Model;

impl ReferenceStateMachine for Model {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        // 2024 begins: a leap day lies ahead. Somebody is known from the start, so that most of what arrives counts.
        let somebody = |customers: usize| {
            let mut world = World::new(1_704_067_200);
            world.registered[0] = true;
            world.owner[..customers].fill(Some(0));
            world
        };
        (0..=CUSTOMERS).prop_map(somebody).boxed()
    }

    fn transitions(world: &World) -> BoxedStrategy<Step> {
        let waits = prop_oneof![1..DAY, DAY..20 * DAY].prop_map(Step::Wait);
        let registers = (0..MEMBERS).prop_map(Step::Register);
        let links = (0..CUSTOMERS, 0..MEMBERS).prop_map(|(customer, member)| Step::Link { customer, member });
        let acts: Vec<Step> = (0..SUBSCRIPTIONS)
            .flat_map(|subscription| {
                world.possible(subscription).into_iter().map(move |act| Step::Act { subscription, act })
            })
            .collect();
        let applies = (1..REVISIONS).prop_map({
            let held = world.revision;
            move |further| Step::Apply((held + further) % REVISIONS)
        });
        let unlinks =
            (0..CUSTOMERS, 0..MEMBERS).prop_map(|(customer, member)| Step::Unlink { customer, member });
        let ends = || prop::option::of(-2 * DAY..40 * DAY);
        let gives = (0..MEMBERS, select(vec!["basic", "pro"]), prop_oneof![Just(0), 0..10 * DAY], ends())
            .prop_map(|(member, plan, starts_in, ends_in)| Step::Give { member, plan, starts_in, ends_in });
        let moves =
            (0..=world.grants.len(), ends()).prop_map(|(grant, ends_in)| Step::MoveGrant { grant, ends_in });
        let revokes = (0..=world.grants.len()).prop_map(Step::Revoke);
        let mut steps = vec![
            (3, waits.boxed()),
            (10, select(acts).boxed()),
            (1, applies.boxed()),
            (2, links.boxed()),
            (1, unlinks.boxed()),
            (1, gives.boxed()),
            (1, moves.boxed()),
            (1, revokes.boxed()),
        ];
        if !world.registered.iter().all(|registered| *registered) {
            steps.push((1, registers.boxed()));
        }
        if !world.on_the_way().is_empty() {
            steps.push((12, (0_usize..64).prop_map(Step::Deliver).boxed()));
            steps.push((2, Just(Step::DeliverAll).boxed()));
        }
        if world.events.iter().any(|event| event.arrived) {
            steps.push((2, (0_usize..64).prop_map(Step::Again).boxed()));
        }
        Union::new_weighted(steps).boxed()
    }

    fn preconditions(world: &World, step: &Step) -> bool {
        match *step {
            Step::Register(member) => !world.registered[member],
            Step::Link { member, .. } => world.registered[member],
            Step::Apply(revision) => revision != world.revision,
            Step::Act { subscription, act } => world.possible(subscription).contains(&act),
            Step::Deliver(_) | Step::Again(_) | Step::DeliverAll => !world.arrivals(*step).is_empty(),
            Step::Wait(_)
            | Step::Unlink { .. }
            | Step::Give { .. }
            | Step::MoveGrant { .. }
            | Step::Revoke(_) => true,
        }
    }

    fn apply(mut world: World, step: &Step) -> World {
        let (arrivals, is_done) = (world.arrivals(*step), world.is_done(*step));
        world.now += 1;
        let until = |ends_in: Option<i64>| ends_in.map(|ends_in| world.now + ends_in);
        match *step {
            Step::Wait(seconds) => world.now += seconds,
            Step::Register(member) => world.registered[member] = true,
            Step::Link { customer, member } => {
                world.owner[customer].get_or_insert(member);
            }
            Step::Unlink { customer, .. } if is_done => world.owner[customer] = None,
            Step::Give { member, plan, starts_in, ends_in } if is_done => {
                let (from, until) = (world.now + starts_in, until(ends_in));
                world.grants.push(Given { member, plan, from, until, revoked: false });
            }
            Step::MoveGrant { grant, ends_in } if is_done => world.grants[grant].until = until(ends_in),
            Step::Revoke(grant) if is_done => world.grants[grant].revoked = true,
            Step::Unlink { .. } | Step::Give { .. } | Step::MoveGrant { .. } | Step::Revoke(_) => {}
            Step::Apply(revision) => world.revision = revision,
            Step::Act { subscription, act } => world.act(subscription, act),
            Step::Deliver(_) | Step::Again(_) | Step::DeliverAll => {
                for index in arrivals {
                    world.events[index].arrived = true;
                }
            }
        }
        world.learn();
        world
    }
}

impl Event {
    /// The event as Stripe writes it; ids begin with `name`.
    pub(super) fn json(&self, index: usize, name: &str) -> Value {
        let (kind, object, previous) = match &self.tells {
            Tells::Look { kind, object, before } => {
                let now = object.json(self.subscription, name);
                let previous =
                    before.as_ref().map(|before| differing(&before.json(self.subscription, name), &now));
                (format!("customer.subscription.{kind}"), now, previous)
            }
            Tells::Paid { invoice, amount, price } => {
                ("invoice.paid".to_owned(), self.invoice(*invoice, *amount, price, name), None)
            }
            Tells::Failed { invoice, attempt, price } => {
                let mut invoice = self.invoice(*invoice, 1_700, price, name);
                invoice["status"] = json!("open");
                invoice["attempt_count"] = json!(attempt);
                invoice["status_transitions"]["paid_at"] = Value::Null;
                ("invoice.payment_failed".to_owned(), invoice, None)
            }
        };
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        // Ids that say nothing about the order.
        let id = format!("evt_{name}_{:03}", (index * 389 + 7) % 1_000);
        json!({ "id": id, "object": "event", "type": kind, "created": self.at, "livemode": false, "data": data })
    }

    fn invoice(&self, invoice: usize, amount: i64, price: &str, name: &str) -> Value {
        let subscription = format!("sub_{name}_{}", self.subscription);
        json!({
            "id": format!("in_{name}_{invoice}"), "object": "invoice", "status": "paid", "attempt_count": 1,
            "customer": format!("cus_{name}_{}", World::customer_of(self.subscription)), "currency": "usd",
            "total": amount, "amount_due": amount,
            "parent": { "subscription_details": { "subscription": subscription, "metadata": {} } },
            "lines": { "data": [{ "pricing": { "price_details": { "price": price, "product": null } } }] },
            "status_transitions": { "paid_at": self.at },
        })
    }
}

impl Object {
    fn json(&self, subscription: usize, name: &str) -> Value {
        json!({
            "id": format!("sub_{name}_{subscription}"), "object": "subscription", "status": self.status,
            "customer": format!("cus_{name}_{}", World::customer_of(subscription)),
            "items": { "data": [{ "price": { "id": self.price }, "current_period_end": self.period_end }] },
            "trial_end": self.trial_end, "cancel_at": self.cancel_at, "cancel_at_period_end": self.at_period_end,
            "ended_at": self.ended_at, "metadata": { "touched": self.touched.to_string() },
            "pause_collection": self.collection_paused.then(|| json!({ "behavior": "void", "resumes_at": null })),
        })
    }
}

/// The members of `before` that are different `now`, as Stripe tells them.
fn differing(before: &Value, now: &Value) -> Value {
    let members = before.as_object().into_iter().flatten();
    members
        .filter(|(key, value)| now[key.as_str()] != **value)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
