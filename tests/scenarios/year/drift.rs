//! What no delivery ever tells: changes whose events are lost, and changes that Stripe makes no event of.

use std::collections::BTreeSet;
use std::fmt;

use stripe_simulator::{ApiError, Faults, Simulator};

use super::DAY;
use super::living::Year;
use super::truth::{BASIC_MONTH, MUG, PRO_MONTH};

/// How a subscription is changed behind the service's back, in turn.
const CHANGES: [&str; 7] = ["ends", "changes", "is to end", "is paused", "collection", "trial", "another"];

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Drifted {
    /// Of this many subscriptions.
    pub(super) compared: u64,
    /// Subscriptions that differed before anything was done to them.
    pub(super) before: u64,
    /// Subscriptions that were changed.
    pub(super) seeded: BTreeSet<String>,
    /// Those that one comparison found.
    pub(super) found: BTreeSet<String>,
    /// How many of them it put right.
    pub(super) repaired: u64,
    /// What the list of events brought afterwards, and how many subscriptions differed then.
    pub(super) listed: u64,
    pub(super) after: u64,
    /// Subscriptions that are known otherwise than at Stripe in the end.
    pub(super) differences: Vec<String>,
}

impl Drifted {
    pub(super) fn is_clean(&self) -> bool {
        self.before == 0
            && self.found == self.seeded
            && self.repaired == self.seeded.len() as u64
            && self.listed > 0
            && self.after == 0
            && self.differences.is_empty()
    }
}

impl fmt::Display for Drifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "drift: {} of {} subscriptions were changed without a word, {} found, {} of them rightly, {} repaired; {} \
             differed before, {} after {} lost events were listed, {} at last",
            self.seeded.len(),
            self.compared,
            self.found.len(),
            self.found.intersection(&self.seeded).count(),
            self.repaired,
            self.before,
            self.after,
            self.listed,
            self.differences.len()
        )?;
        self.differences.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Year {
    /// Changes some subscriptions at Stripe without a word, compares once, then reads what Stripe lists all the same.
    pub(super) async fn drift(&mut self) -> Drifted {
        self.now += DAY;
        let now = self.now;
        self.service.set_clock(now);
        // What happens by itself on that day is told in the usual way.
        self.stripe.with(|stripe| stripe.set_faults(Faults::default())).await;
        self.stripe.with(|stripe| stripe.advance_to(now)).await;
        self.deliver().await;
        self.service.backfill().await;
        let before = self.service.reconcile().await;
        let mut drifted =
            Drifted { compared: before.compared, before: before.differing, ..Drifted::default() };

        let mut all: Vec<String> = Vec::new();
        for member in &self.lives.members {
            all.extend(member.subscriptions.iter().cloned());
        }
        self.dice.shuffle(&mut all);
        let wanted = (all.len() / 100).max(CHANGES.len());
        let faults = Faults { drop: 1.0, ..Faults::default() };
        self.stripe.with(|stripe| stripe.set_faults(faults)).await;
        for id in all {
            let place = drifted.seeded.len();
            if place >= wanted {
                break;
            }
            let change = CHANGES[place % CHANGES.len()];
            let changed = self
                .stripe
                .with(|stripe| {
                    // Every other change makes events, which are lost; of the rest Stripe makes none.
                    if place.is_multiple_of(2) {
                        act(stripe, &id, change)
                    } else {
                        stripe.without_events(|stripe| act(stripe, &id, change))
                    }
                })
                .await;
            if let Ok(Some(changed)) = changed {
                if let Some(member) = self.lives.owner_of(&id).filter(|_| changed != id) {
                    member.subscriptions.push(changed.clone());
                }
                drifted.seeded.insert(changed);
            }
        }
        self.deliver().await;
        let found = self.service.reconcile().await;
        drifted.repaired = found.repaired;
        drifted.found = found.findings.iter().map(|finding| finding.subscription.to_string()).collect();
        drifted.listed = self.service.backfill().await.stored;
        drifted.after = self.service.reconcile().await.differing;
        let held = std::mem::take(&mut self.figures.differences);
        self.compare().await;
        drifted.differences = std::mem::replace(&mut self.figures.differences, held);
        drifted
    }
}

/// Changes a subscription, and says which differs then; none when it cannot be changed like this.
fn act(stripe: &mut Simulator, id: &str, change: &str) -> Result<Option<String>, ApiError> {
    let path = format!("/v1/subscriptions/{id}");
    let held = stripe.call("GET", &path, "")?;
    let price = held["items"]["data"][0]["price"]["id"].as_str().unwrap_or_default().to_owned();
    let goes_on = held["status"] == "active" || held["status"] == "trialing";
    if price == MUG || !goes_on {
        return Ok(None);
    }
    match change {
        "ends" => stripe.cancel(id)?,
        "changes" => stripe.change_plan(id, if price == PRO_MONTH { BASIC_MONTH } else { PRO_MONTH })?,
        "is to end" if held["cancel_at"].is_null() => stripe.cancel_in_portal(id)?,
        "is paused" if held["status"] == "active" => stripe.pause(id)?,
        "collection" if held["pause_collection"].is_null() => {
            stripe.pause_collection(id, Some(("void", None)))?;
        }
        "trial" => {
            let end = stripe.now() + 9 * DAY;
            stripe.call("POST", &path, &format!("trial_end={end}&proration_behavior=none"))?;
        }
        "another" => {
            let customer = held["customer"].as_str().unwrap_or_default();
            let form = format!("customer={customer}&items[0][price]={BASIC_MONTH}&trial_period_days=9");
            let made = stripe.call("POST", "/v1/subscriptions", &form)?;
            return Ok(made["id"].as_str().map(str::to_owned));
        }
        _ => return Ok(None),
    }
    Ok(Some(id.to_owned()))
}
