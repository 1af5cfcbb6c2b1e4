//! The plain way to say where a subscription stood: go through all that is known of it. The quick one has to say the same.

use proptest::prelude::*;

use super::*;
use crate::subscription::reversal::Told;

type Moment = Option<DateTime<Utc>>;

/// Where the unbroken run that ends with the last of `known` and satisfies `holds` began.
fn run_start(known: &[Observation], holds: impl Fn(&Observation) -> bool) -> usize {
    known.iter().rposition(|held| !holds(held)).map_or(0, |broken| broken + 1).min(known.len() - 1)
}

fn index_at(subscription: &Subscription, at: Moment) -> Option<usize> {
    let observations = subscription.history.observations();
    let known = |held: &Observation| at.is_none_or(|at| held.effective_at() <= at);
    let has_begun = |held: &Observation| held.terms.status != Status::Incomplete && known(held);
    observations
        .iter()
        .position(|held| held.terms.status.is_final() && known(held))
        .or_else(|| observations.iter().rposition(has_begun))
        .or_else(|| observations.iter().rposition(known))
}

/// Since when grace counts, and when what was owed was paid.
fn renewal(subscription: &Subscription, known: &[Observation], at: Moment) -> (DateTime<Utc>, Moment) {
    let owing =
        |held: &Observation| matches!(held.terms.status, Status::PastDue | Status::Unpaid | Status::Paused);
    let start = run_start(known, owing);
    let past_due = |held: &&Observation| held.terms.status == Status::PastDue;
    let fell_due = known[start..].iter().find(past_due).map_or(known[start].at, |held| held.at);
    let paid_up = start.checked_sub(1).map(|before| known[before].at);
    let (mut since, mut failed, mut settled) = (fell_due, None, None::<DateTime<Utc>>);
    let mut failed_later = None;
    for (_, invoice) in subscription.invoices.iter() {
        let attempts: Vec<_> = invoice.attempts_by(at).map(|(_, made_at)| made_at).collect();
        let in_this_run = |made_at: &DateTime<Utc>| paid_up.is_none_or(|paid_up| *made_at >= paid_up);
        let Some(first) = attempts.iter().min().copied().filter(|_| attempts.iter().any(in_this_run)) else {
            continue;
        };
        let paid_at = invoice.settled_by(at).map(|paid| paid.at);
        match (first <= fell_due + TimeDelta::hours(1), paid_at) {
            (true, Some(paid_at)) => settled = settled.max(Some(paid_at)),
            (true, None) => failed = Some(failed.map_or(first, |held: DateTime<Utc>| held.min(first))),
            (false, None) => {
                failed_later = Some(failed_later.map_or(first, |held: DateTime<Utc>| held.min(first)));
            }
            (false, Some(_)) => {}
        }
    }
    if settled.is_some() {
        failed = failed.or(failed_later);
    }
    let look = known[known.len() - 1].at;
    if let Some(paid_at) = settled.filter(|paid_at| *paid_at < look) {
        since = known[start..].iter().find(|held| held.at > paid_at).map_or(look, |held| held.at);
        settled = None;
    }
    (failed.unwrap_or(since), settled.filter(|_| failed.is_none()))
}

fn standing(subscription: &Subscription, at: Moment) -> Option<Standing> {
    let index = index_at(subscription, at)?;
    let known = &subscription.history.observations()[..=index];
    let terms = subscription.standing(at)?.terms;
    let mapped = known.iter().rev().find(|held| !held.terms.plans.is_empty());
    let mut anchors = Anchors {
        plans: mapped.map(|held| held.terms.plans.clone()).unwrap_or_default(),
        ..Anchors::default()
    };
    let settled = subscription.invoices.iter().filter_map(|(_, invoice)| invoice.settled_by(at));
    match (terms.status.is_final(), &known[index].terms.status) {
        (false, Status::Incomplete) => anchors.recovered_at = settled.min().map(|paid| paid.at),
        (false, Status::PastDue) => {
            let (from, recovered_at) = renewal(subscription, known, at);
            (anchors.grace_from, anchors.recovered_at) = (Some(from), recovered_at);
        }
        _ => {}
    }
    if terms.collection_paused.is_some() {
        let start = run_start(known, |held| held.terms.collection_paused.is_some());
        anchors.paid_until = known[start].terms.period_end;
    }
    let all = || subscription.invoices.iter();
    let is_paid_after = |but: &InvoiceId, moment: DateTime<Utc>| {
        let others = all().filter(|(id, _)| *id != but).filter_map(|(_, invoice)| invoice.settled_by(at));
        others.into_iter().any(|paid| paid.at > moment && paid.amount > 0)
    };
    let moment = |told: Option<Told<'_>>| told.map(|(at, _)| at);
    let refunded = all().filter_map(|(id, invoice)| {
        let paid = invoice.settled_by(at);
        let told = invoice.reversals.refunded(paid.map(|paid| paid.amount), at)?;
        (!is_paid_after(id, paid.map_or(told.0, |paid| paid.at))).then_some(told)
    });
    anchors.refunded_at = moment(refunded.max());
    anchors.disputed_since = moment(all().filter_map(|(_, invoice)| invoice.reversals.disputed(at)).min());
    let lost = all()
        .filter_map(|(id, invoice)| invoice.reversals.lost(at).filter(|told| !is_paid_after(id, told.0)));
    anchors.dispute_lost_at = moment(lost.max());
    Some(Standing { terms, anchors })
}

/// What also happens to subscriptions: nobody knows their price, collecting is paused, periods go on.
fn any_life() -> impl Strategy<Value = Vec<SubscriptionCommand>> {
    let change = (any_command(), 0_u8..4, 0_i64..4).prop_map(|(mut command, kind, month)| {
        if let SubscriptionCommand::Observe(seen) = &mut command {
            seen.terms.period_end = Some(at(days(30) * (month + 1)));
            match kind {
                0 => seen.terms.plans = Vec::new(),
                1 => {
                    let pause = CollectionPause { behavior: "void".to_owned(), resumes_at: None };
                    seen.terms.collection_paused = Some(pause);
                }
                _ => {}
            }
        }
        command
    });
    prop::collection::vec(change, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn where_it_stood_is_found_as_quickly_as_it_is_right(life in any_life()) {
        let subscription = after(life);
        let moments = (-1_000..10_000).step_by(125).map(|thousandths| at(0) + TimeDelta::milliseconds(thousandths));
        for at in moments.map(Some).chain([None]) {
            prop_assert_eq!(subscription.history.index_at(at), index_at(&subscription, at));
            prop_assert_eq!(subscription.standing(at), standing(&subscription, at));
        }
    }
}
