//! What the answer has to be, from what was true at the simulator, what was given and the catalogue's policy. None of the
//! service's code.

use stripe_simulator::{Seconds, Simulator, Truth};
use tests::stripe::{ADVANCED, CATALOG, FREE};

use super::gifts::Gift;

const DAY: Seconds = 86_400;
/// What the year sells. The last is not of the catalogue.
pub(super) const PRODUCTS: &str = r#"[
    { "id": "prod_demo_basic", "name": "Basic", "prices": [
        { "id": "price_demo_basic_month", "amount": 1700 },
        { "id": "price_demo_basic_year", "amount": 17000, "interval": "year" }
    ] },
    { "id": "prod_demo_pro", "name": "Pro", "prices": [
        { "id": "price_demo_pro_month", "amount": 2500 },
        { "id": "price_demo_pro_year", "amount": 25000, "interval": "year" }
    ] },
    { "id": "prod_mug", "name": "Mug of the month", "prices": [{ "id": "price_mug", "amount": 900 }] }
]"#;
pub(super) const BASIC_MONTH: &str = "price_demo_basic_month";
pub(super) const BASIC_YEAR: &str = "price_demo_basic_year";
pub(super) const PRO_MONTH: &str = "price_demo_pro_month";
pub(super) const PRO_YEAR: &str = "price_demo_pro_year";
pub(super) const MUG: &str = "price_mug";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paused {
    Keep,
    EndOfPeriod,
    Deny,
}

/// What the catalogue says of money that does not come or does not stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) grace_days: i64,
    pub(super) paused: Paused,
    pub(super) deny_refunded: bool,
    pub(super) deny_disputed: bool,
}

/// Every seed has one of these.
pub(super) const POLICIES: [Policy; 3] = [
    Policy { grace_days: 14, paused: Paused::EndOfPeriod, deny_refunded: true, deny_disputed: true },
    Policy { grace_days: 3, paused: Paused::Deny, deny_refunded: true, deny_disputed: false },
    Policy { grace_days: 7, paused: Paused::Keep, deny_refunded: false, deny_disputed: true },
];

impl Policy {
    /// The scenarios' catalogue with this policy and the yearly price.
    pub(super) fn catalog(self) -> String {
        let word = |deny: bool| if deny { "deny" } else { "keep" };
        let paused = match self.paused {
            Paused::Keep => "keep",
            Paused::EndOfPeriod => "end_of_period",
            Paused::Deny => "deny",
        };
        let policy = format!(
            "past_due_grace = \"{}d\"\ncollection_paused = \"{paused}\"\nrefund_full = \"{}\"\ndispute_open = \"{}\"\n",
            self.grace_days,
            word(self.deny_refunded),
            word(self.deny_disputed)
        );
        let text = CATALOG.replacen("past_due_grace = \"14d\"\n", &policy, 1);
        text.replacen(
            "[\"price_demo_basic_month\"]",
            "[\"price_demo_basic_month\", \"price_demo_basic_year\"]",
            1,
        )
    }

    /// When grace ends, if it runs.
    pub(super) fn grace_ends(self, truth: &Truth) -> Option<Seconds> {
        Some(truth.owed_since? + self.grace_days * DAY)
    }
}

/// What has to be answered. Where several subscriptions say no, which of them is told is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) reasons: Vec<&'static str>,
    pub(super) plans: Vec<&'static str>,
}

fn plan_of(price: &str) -> Option<&'static str> {
    match price {
        BASIC_MONTH | BASIC_YEAR => Some("basic"),
        PRO_MONTH | PRO_YEAR => Some("pro"),
        _ => None,
    }
}

/// Whether a subscription's state is good for anything, and why.
fn verdict(truth: &Truth, policy: Policy, at: Seconds) -> Result<&'static str, &'static str> {
    let reason = match truth.status.as_str() {
        "active" => "subscription",
        "trialing" => "trial",
        // Stripe's status waits for the next invoice to be tried; whoever paid what had failed owes nothing until then.
        "past_due" if truth.owed_since.is_none() => "subscription",
        "past_due" if policy.grace_ends(truth).is_some_and(|ends| at < ends) => "grace",
        "past_due" => return Err("past_due"),
        "incomplete" => return Err("payment_pending"),
        "unpaid" => return Err("unpaid"),
        "paused" => return Err("paused"),
        _ => return Err("ended"),
    };
    if truth.reversed.lost || (truth.reversed.disputed && policy.deny_disputed) {
        return Err("disputed");
    }
    if truth.reversed.refunded && policy.deny_refunded {
        return Err("refunded");
    }
    match (truth.paused_until, policy.paused) {
        (Some(_), Paused::Deny) => return Err("paused"),
        (Some(until), Paused::EndOfPeriod) if at >= until => return Err("paused"),
        _ => {}
    }
    Ok(if truth.cancels_at.is_some() && reason != "grace" { "cancels_later" } else { reason })
}

/// May the owner of these subscriptions and gifts have watched this then?
pub(super) fn answer(
    stripe: &Simulator,
    subscriptions: &[String],
    gifts: &[Gift],
    policy: Policy,
    video: &str,
    at: Seconds,
) -> Answer {
    if video == FREE {
        return Answer { allowed: true, reasons: vec!["free"], plans: Vec::new() };
    }
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for truth in subscriptions.iter().filter_map(|subscription| stripe.truth(subscription, at)) {
        let Some(plan) = plan_of(&truth.price) else { continue };
        match verdict(truth, policy, at) {
            Ok(reason) if plan == "pro" || video != ADVANCED => yes.push((reason, plan)),
            Ok(_) => no.push(("plan_too_low", plan)),
            Err(reason) => no.push((reason, plan)),
        }
    }
    for gift in gifts {
        match gift.is_good(at) {
            Some(true) if gift.plan == "pro" || video != ADVANCED => yes.push(("grant", gift.plan)),
            Some(true) => no.push(("plan_too_low", gift.plan)),
            Some(false) => no.push(("ended", gift.plan)),
            None => {}
        }
    }
    let allowed = !yes.is_empty();
    let mut said = if allowed { yes } else { no };
    if said.is_empty() {
        said.push(("no_membership", ""));
    }
    let (reasons, plans) = said.into_iter().unzip();
    Answer { allowed, reasons, plans }
}

/// The moments at which an answer may change.
pub(super) fn edges(
    stripe: &Simulator,
    subscriptions: &[String],
    gifts: &[Gift],
    policy: Policy,
) -> Vec<Seconds> {
    let truths = subscriptions.iter().flat_map(|subscription| stripe.truths(subscription));
    let mut edges: Vec<_> = truths
        .flat_map(|truth| {
            let ends = [policy.grace_ends(truth), truth.paused_until, truth.paid_until, truth.cancels_at];
            std::iter::once(truth.from).chain(ends.into_iter().flatten())
        })
        .chain(gifts.iter().flat_map(Gift::edges))
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}
