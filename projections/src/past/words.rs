//! The words that all answers about the past share. What a decision means is said by [`Decision::message`] alone.

use chrono::{DateTime, Utc};
use domain::access::{Decision, Reason};
use domain::catalog::Catalog;
use domain::ids::PlanId;

/// A moment in words, with its zone.
pub(super) fn day(moment: DateTime<Utc>) -> String {
    moment.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// What a plan is called.
pub(super) fn plan_name(plan: &PlanId, catalog: &Catalog) -> String {
    catalog.plan(plan).map_or_else(|| plan.to_string(), |plan| plan.name.clone())
}

/// Where a decision leaves somebody, in a few words that follow a plan's name.
pub(super) fn status(decision: &Decision) -> String {
    let until = decision.until.map(day);
    let with_end = |words: &str| match &until {
        Some(until) => format!("{words} until {until}"),
        None => words.to_owned(),
    };
    match decision.reason {
        Reason::Free => "open to anyone".to_owned(),
        Reason::Subscription => with_end("paid for"),
        Reason::Trial => with_end("in a free trial"),
        Reason::Grace => with_end("a payment failed, in grace"),
        Reason::CancelsLater => with_end("cancelled, runs"),
        Reason::Grant => with_end("given without a payment"),
        Reason::NotSignedIn => "not signed in".to_owned(),
        Reason::NoMembership => "never had a membership".to_owned(),
        Reason::PlanTooLow => "not part of the plan she has".to_owned(),
        Reason::PaymentPending => "the first payment has not been made".to_owned(),
        Reason::PastDue => "a payment failed and grace is over".to_owned(),
        Reason::Unpaid => "collecting was given up".to_owned(),
        Reason::Paused => "paused".to_owned(),
        Reason::Ended => "ended".to_owned(),
        Reason::Disputed => "a payment is disputed".to_owned(),
        Reason::Refunded => "the payment was given back".to_owned(),
        Reason::StatusUnknown => "the provider used a word that is not known".to_owned(),
    }
}
