//! Lives made by chance: whatever happens is told, and what is over stays over.

use std::collections::BTreeMap;

use serde_json::Value;
use stripe_simulator::{DunningEnd, Simulator};

use super::shapes::assert_valid;
use super::support::*;

/// Dice (`SplitMix64`), so that a life can be lived again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const CARDS: [&str; 8] = [GOOD, GOOD, DECLINED, DECLINED_LATER, ASKS_ONCE, ASKS_ALWAYS, DEBIT, DEBIT_FAILS];

/// One action; what is refused changes nothing that matters here.
fn act(stripe: &mut Simulator, dice: &mut Dice, subscription: &str) {
    let held = stripe.call("GET", &format!("/v1/subscriptions/{subscription}"), "").unwrap();
    let customer = held["customer"].as_str().unwrap().to_owned();
    let invoice = held["latest_invoice"].as_str().unwrap().to_owned();
    let price = dice.one(&[BASIC, PRO, PRO_YEAR]);
    let in_a_week = stripe.now() + 7 * DAY;
    let mut post = |path: String, form: &str| drop(stripe.call("POST", &path, form));
    match dice.below(17) {
        0 => drop(stripe.change_plan(subscription, price)),
        1 => drop(stripe.change_plan_at_period_end(subscription, price)),
        2 => drop(stripe.cancel(subscription)),
        3 => drop(stripe.cancel_in_portal(subscription)),
        4 => drop(stripe.cancel_at_period_end(subscription, dice.below(2) == 0)),
        5 => {
            let behavior = dice.one(&["void", "keep_as_draft", "mark_uncollectible"]);
            drop(stripe.pause_collection(subscription, Some((behavior, Some(in_a_week)))));
        }
        6 => drop(stripe.pause_collection(subscription, None)),
        7 => drop(stripe.refund(subscription, (dice.below(2) == 0).then_some(100))),
        8 => drop(stripe.dispute(subscription, dice.below(2) == 0)),
        9 => drop(stripe.set_card(&customer, dice.one(&CARDS))),
        10 => post(format!("/v1/invoices/{invoice}/pay"), ""),
        11 => post(format!("/v1/invoices/{invoice}/{}", dice.one(&["void", "mark_uncollectible"])), ""),
        12 => post(format!("/v1/subscriptions/{subscription}/resume"), ""),
        13 => post(format!("/v1/subscriptions/{subscription}"), "trial_end=now&metadata[a]=b"),
        14 => post(format!("/v1/subscriptions/{subscription}"), &format!("trial_end={in_a_week}")),
        15 => {
            let item = held["items"]["data"][0]["id"].as_str().unwrap();
            let form = format!(
                "items[0][id]={item}&items[0][price]={price}&proration_behavior=always_invoice&payment_behavior=pending_if_incomplete"
            );
            post(format!("/v1/subscriptions/{subscription}"), &form);
        }
        _ => post(format!("/v1/subscriptions/{subscription}"), "metadata[note]=x&description=y"),
    }
}

/// What the latest event about each object says of it.
fn told(stripe: &Simulator, family: &str) -> BTreeMap<String, Value> {
    let about = |event: &&stripe_simulator::Event| event.body["data"]["object"]["object"] == family;
    let object = |event: &stripe_simulator::Event| event.body["data"]["object"].clone();
    let ids = stripe.events().iter().filter(about).map(object);
    ids.filter_map(|object| Some((object["id"].as_str()?.to_owned(), object))).collect()
}

fn live(seed: u64) -> (Simulator, Vec<String>) {
    let mut dice = Dice(seed);
    let mut stripe = Simulator::new(START, seed, SECRET);
    stripe.settings().dunning_end =
        dice.one(&[DunningEnd::Cancel, DunningEnd::Unpaid, DunningEnd::PastDue, DunningEnd::Pause]);
    stripe.settings().debit_is_trusted = dice.below(2) == 0;
    stripe.settings().dispute_cancels = dice.below(2) == 0;
    let mut subscriptions = Vec::new();
    for _ in 0..2 {
        let trial_days = dice.one(&[0, 0, 2, 14]);
        let session = stripe.checkout(dice.one(&[BASIC, PRO_YEAR]), "mem_ada", trial_days).unwrap();
        if stripe.pay(&session, dice.one(&CARDS)) == Ok(true) {
            drop(stripe.authenticate(&session, dice.below(4) > 0));
        }
        subscriptions.extend(stripe.bought(&session).map(|(_, subscription)| subscription));
    }
    for _ in 0..25 {
        for subscription in &subscriptions {
            act(&mut stripe, &mut dice, subscription);
        }
        stripe.advance([1, HOUR, DAY, 9 * DAY, 31 * DAY][dice.below(5)]);
    }
    (stripe, subscriptions)
}

#[test]
fn whatever_happens_is_told_and_what_is_over_stays_over() {
    let mut lived = 0;
    for seed in 0..40 {
        let (mut stripe, subscriptions) = live(seed);
        for event in stripe.events() {
            assert_valid(&event.body);
        }
        for (family, path) in [("subscription", "subscriptions"), ("invoice", "invoices")] {
            for (id, told) in told(&stripe, family) {
                let is = stripe.call("GET", &format!("/v1/{path}/{id}"), "").unwrap();
                let fields = is.as_object().unwrap().iter();
                let silent: Vec<_> = fields.filter(|(key, value)| told[*key] != **value).collect();
                assert!(silent.is_empty(), "seed {seed}: {id} changed without a word: {silent:?}");
            }
        }
        for subscription in &subscriptions {
            let mut over = None;
            let mut at = START;
            while at <= stripe.now() {
                let Some(truth) = stripe.truth(subscription, at).cloned() else { break };
                if let Some((status, ended_at)) = &over {
                    assert_eq!((&truth.status, &truth.ended_at), (status, ended_at), "seed {seed}");
                }
                if truth.ended_at.is_some() {
                    over = Some((truth.status, truth.ended_at));
                }
                at += DAY;
            }
            lived += 1;
        }
    }
    assert!(lived > 60, "{lived} subscriptions came about");
}
