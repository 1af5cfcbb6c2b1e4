//! The one place that answers "may this member watch this video?".
//!
//! The live API, a question about the past, the command line and the words a learner reads all come from
//! [`decide_access`], so they cannot disagree.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, KeepOrDeny, PlanSet, Policy, Video, WhileCollectionPaused};
use crate::clock::LAST_MOMENT;
use crate::grant::Given;
use crate::ids::PlanId;
use crate::subscription::{Standing, Status};

/// Why an answer is what it is. Among the yeses and among the noes, the better comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Yes: open to anyone.
    Free,
    /// Yes: paid for.
    Subscription,
    /// Yes: in a free trial.
    Trial,
    /// Yes, for now: a renewal is owed.
    Grace,
    /// Yes, until the end that is scheduled.
    CancelsLater,
    /// Yes: given without a payment.
    Grant,
    /// No: nobody is signed in.
    NotSignedIn,
    /// No: never had a membership.
    NoMembership,
    /// No: has a membership, but not one that includes this.
    PlanTooLow,
    /// No: a renewal is owed and grace is over.
    PastDue,
    /// No: the first payment has not been made.
    PaymentPending,
    /// No: the provider has given up collecting.
    Unpaid,
    /// No: suspended.
    Paused,
    /// No: over.
    Ended,
    /// No: a payment is disputed.
    Disputed,
    /// No: the payment was given back.
    Refunded,
    /// No: the provider used a word this version does not know.
    StatusUnknown,
}

impl Reason {
    /// The reason as it is written in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Subscription => "subscription",
            Self::Trial => "trial",
            Self::Grace => "grace",
            Self::CancelsLater => "cancels_later",
            Self::Grant => "grant",
            Self::NotSignedIn => "not_signed_in",
            Self::NoMembership => "no_membership",
            Self::PlanTooLow => "plan_too_low",
            Self::PaymentPending => "payment_pending",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Disputed => "disputed",
            Self::Refunded => "refunded",
            Self::StatusUnknown => "status_unknown",
        }
    }
}

/// What a member can do about a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sign in.
    SignIn,
    /// Buy a membership.
    Subscribe,
    /// Change to a higher plan.
    Upgrade,
    /// Finish the first payment.
    CompletePayment,
    /// Give a payment method that works.
    UpdatePaymentMethod,
    /// End the suspension.
    Resume,
    /// Write to support.
    ContactSupport,
}

impl Action {
    /// The action as it is written in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Subscribe => "subscribe",
            Self::Upgrade => "upgrade",
            Self::CompletePayment => "complete_payment",
            Self::UpdatePaymentMethod => "update_payment_method",
            Self::Resume => "resume",
            Self::ContactSupport => "contact_support",
        }
    }
}

/// The one thing that would open the video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// What to do.
    pub action: Action,
    /// With which plan, where one has to be chosen.
    pub plan: Option<PlanId>,
}

/// May she watch it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The plan the reason speaks of.
    pub plan: Option<PlanId>,
    /// Until when this yes holds, if an end is known.
    pub until: Option<DateTime<Utc>>,
    /// What would open the video.
    pub fix: Option<Fix>,
    /// Which source of access decided, by its place among those given.
    pub source: Option<usize>,
}

/// One subscription or grant as the decision sees it; small, since a node keeps one for each in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The plans it opens videos with.
    pub plans: PlanSet,
    /// Where it stands.
    pub state: State,
    /// When it ends, if an end is scheduled or past.
    pub ends_at: Option<DateTime<Utc>>,
    /// Set while payment collection is paused.
    pub collection_paused: Option<CollectionPaused>,
    /// What became of its payments.
    pub reversed: Reversed,
}

/// What became of a subscription's payments after they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reversed {
    /// The latest one was given back.
    pub refunded: bool,
    /// One is disputed.
    pub disputed: bool,
    /// A dispute was lost and nothing has been paid since.
    pub lost: bool,
}

/// Payment collection is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionPaused {
    /// The end of the period that was paid for when it was paused.
    pub paid_until: Option<DateTime<Utc>>,
}

/// Where a subscription or a grant stands, with what each state alone needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first payment is awaited.
    Incomplete,
    /// In a free trial.
    Trialing {
        /// Its end.
        until: Option<DateTime<Utc>>,
    },
    /// Paid for.
    Active,
    /// A renewal is owed.
    PastDue {
        /// The first failed attempt.
        since: DateTime<Utc>,
        /// Until when staff gave time to settle it, where it did.
        extended: Option<DateTime<Utc>>,
    },
    /// Given up.
    Unpaid,
    /// Suspended.
    Paused,
    /// Given without a payment.
    Granted {
        /// From when.
        from: DateTime<Utc>,
    },
    /// Over.
    Ended,
    /// Not known to this version.
    Unknown,
}

impl Source {
    /// The source that a standing is, opening videos with `plans`.
    pub fn new(standing: &Standing, plans: PlanSet) -> Self {
        let Standing { terms, anchors } = standing;
        let state = match &terms.status {
            // Paid, and the provider's status lags behind: a buyer never sees a stale no.
            Status::Incomplete | Status::PastDue if anchors.recovered_at.is_some() => State::Active,
            Status::Incomplete => State::Incomplete,
            Status::Trialing => State::Trialing { until: terms.trial_end },
            Status::Active => State::Active,
            Status::PastDue => anchors
                .grace_from
                .map_or(State::Unknown, |since| State::PastDue { since, extended: anchors.grace_until }),
            Status::Unpaid => State::Unpaid,
            Status::Paused => State::Paused,
            Status::Canceled | Status::IncompleteExpired => State::Ended,
            Status::Unknown(_) => State::Unknown,
        };
        let collection_paused =
            terms.collection_paused.as_ref().map(|_| CollectionPaused { paid_until: anchors.paid_until });
        let reversed = Reversed {
            refunded: anchors.refunded_at.is_some(),
            disputed: anchors.disputed_since.is_some(),
            lost: anchors.dispute_lost_at.is_some(),
        };
        Self { plans, state, ends_at: terms.cancels_at, collection_paused, reversed }
    }

    /// The source that a grant is, opening videos with `plans`. No payment has a part in it.
    pub fn granted(given: &Given, revoked: bool, plans: PlanSet) -> Self {
        let state = if revoked { State::Ended } else { State::Granted { from: given.from } };
        Self { plans, state, ends_at: given.until, collection_paused: None, reversed: Reversed::default() }
    }

    /// The next moment after `at` at which the answer may change with nothing but time passing.
    pub fn next_change(&self, policy: &Policy, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let by_state = match self.state {
            State::Trialing { until } => until,
            State::PastDue { since, extended } => Some(grace_end(policy, since, extended)),
            State::Granted { from } => Some(from),
            _ => None,
        };
        let paused = self.collection_paused.and_then(|pause| pause.paid_until);
        let moments = [by_state, self.ends_at, paused];
        moments.into_iter().flatten().filter(|moment| *moment > at).min()
    }

    /// Whether money comes for it, or is to come.
    pub fn is_paying(&self) -> bool {
        matches!(self.state, State::Trialing { .. } | State::Active | State::PastDue { .. })
    }

    /// Whether it counts at all by `at`; what is given from a later moment on is nothing yet.
    fn has_begun(&self, at: DateTime<Utc>) -> bool {
        !matches!(self.state, State::Granted { from } if from > at)
    }

    /// Whether this source is good at `at`, why, and until when.
    fn verdict(&self, policy: &Policy, at: DateTime<Utc>) -> (Result<Reason, Reason>, Option<DateTime<Utc>>) {
        let (reason, until) = match self.state {
            State::Active => (Reason::Subscription, None),
            State::Trialing { until } => (Reason::Trial, until),
            State::PastDue { since, extended } => {
                let until = grace_end(policy, since, extended);
                if at >= until {
                    return (Err(Reason::PastDue), None);
                }
                (Reason::Grace, Some(until))
            }
            State::Incomplete => return (Err(Reason::PaymentPending), None),
            State::Unpaid => return (Err(Reason::Unpaid), None),
            State::Paused => return (Err(Reason::Paused), None),
            State::Granted { .. } => (Reason::Grant, None),
            State::Ended => return (Err(Reason::Ended), None),
            State::Unknown => return (Err(Reason::StatusUnknown), None),
        };
        if self.ends_at.is_some_and(|ends_at| ends_at <= at) {
            return (Err(Reason::Ended), None);
        }
        if let Some(reason) = self.reversed.objection(policy) {
            return (Err(reason), None);
        }
        let paused_until = match (self.collection_paused, policy.collection_paused) {
            (None, _) | (_, WhileCollectionPaused::Keep) => None,
            (Some(_), WhileCollectionPaused::Deny) => return (Err(Reason::Paused), None),
            (Some(pause), WhileCollectionPaused::EndOfPeriod) => match pause.paid_until {
                Some(paid_until) if at < paid_until => Some(paid_until),
                _ => return (Err(Reason::Paused), None),
            },
        };
        let reason = match reason {
            Reason::Subscription | Reason::Trial if self.ends_at.is_some() => Reason::CancelsLater,
            other => other,
        };
        // The provider ends trials and periods by itself; a moment that has passed without news limits nothing.
        let ahead = |moment: &DateTime<Utc>| *moment > at;
        let until = [until, self.ends_at, paused_until].into_iter().flatten().filter(ahead).min();
        (Ok(reason), until)
    }
}

impl Reversed {
    /// Why what became of the payments ends access, if it does. A lost dispute does whatever the policy says: the money
    /// is gone.
    fn objection(self, policy: &Policy) -> Option<Reason> {
        if self.lost || (self.disputed && policy.dispute_open == KeepOrDeny::Deny) {
            return Some(Reason::Disputed);
        }
        (self.refunded && policy.refund_full == KeepOrDeny::Deny).then_some(Reason::Refunded)
    }
}

/// Until when a renewal that is owed since `since` keeps videos open: what the policy gives, and what staff gave if that is
/// later.
pub fn grace_end(policy: &Policy, since: DateTime<Utc>, extended: Option<DateTime<Utc>>) -> DateTime<Utc> {
    let until = since.checked_add_signed(policy.past_due_grace()).unwrap_or(LAST_MOMENT);
    extended.map_or(until, |extended| extended.max(until)).min(LAST_MOMENT)
}

/// May a member with these sources of access watch this video at `at`? The best of the sources answers.
pub fn decide_access(
    sources: impl Iterator<Item = Source>,
    catalog: &Catalog,
    policy: &Policy,
    video: &Video,
    at: DateTime<Utc>,
) -> Decision {
    let (free, gate) = catalog.gate_of(video);
    if free {
        let nothing = (None, None, None);
        let (plan, until, fix) = nothing;
        return Decision { allowed: true, reason: Reason::Free, plan, until, fix, source: None };
    }
    decide_behind(gate, sources, catalog, policy, at)
}

/// May a member with these sources of access use everything that this plan opens at `at`, with whatever plan she has? The
/// decision is about what she may use least.
pub fn decide_plan(
    plan: &PlanId,
    sources: &(impl Iterator<Item = Source> + Clone),
    catalog: &Catalog,
    policy: &Policy,
    at: DateTime<Utc>,
) -> Decision {
    let decide = |gate| decide_behind(gate, sources.clone(), catalog, policy, at);
    let least = |decision: &Decision| (decision.allowed, decision.until.unwrap_or(DateTime::<Utc>::MAX_UTC));
    let decisions = catalog.gates_of(plan).map(decide).min_by_key(least);
    decisions.unwrap_or_else(|| decide(catalog.set_of(std::slice::from_ref(plan))))
}

/// The decision about what the plans of `gate` open.
fn decide_behind(
    gate: PlanSet,
    sources: impl Iterator<Item = Source>,
    catalog: &Catalog,
    policy: &Policy,
    at: DateTime<Utc>,
) -> Decision {
    let mut paying = false;
    let best = sources
        .enumerate()
        .inspect(|(_, source)| paying |= source.is_paying())
        .filter(|(_, source)| source.has_begun(at))
        .map(|(index, source)| {
            let (verdict, until) = source.verdict(policy, at);
            Candidate {
                weight: Weight::of(verdict, until, source.plans, gate, catalog),
                index,
                source,
                verdict,
                until,
            }
        })
        .reduce(|held, next| if next.weight > held.weight { next } else { held });
    let Some(Candidate { index, source, verdict, until, .. }) = best else {
        let fix = Some(Fix { action: Action::Subscribe, plan: catalog.lowest_of(gate) });
        return Decision {
            allowed: false,
            reason: Reason::NoMembership,
            plan: None,
            until: None,
            fix,
            source: None,
        };
    };
    let (allowed, reason) = match verdict {
        Ok(reason) if source.plans.meets(gate) => (true, reason),
        Ok(_) => (false, Reason::PlanTooLow),
        Err(reason) => (false, reason),
    };
    Decision {
        allowed,
        reason,
        plan: catalog.best_of(source.plans),
        until: until.filter(|_| allowed),
        fix: match reason {
            // Who only has what was given has no plan to change.
            Reason::PlanTooLow if !paying => {
                Some(Fix { action: Action::Subscribe, plan: catalog.lowest_of(gate) })
            }
            _ => fix(reason, catalog, gate),
        },
        source: Some(index),
    }
}

/// May somebody who is not signed in watch this video?
pub fn decide_for_stranger(catalog: &Catalog, video: &Video) -> Decision {
    let (free, gate) = catalog.gate_of(video);
    let reason = if free { Reason::Free } else { Reason::NotSignedIn };
    Decision { allowed: free, reason, plan: None, until: None, fix: fix(reason, catalog, gate), source: None }
}

struct Candidate {
    weight: Weight,
    index: usize,
    source: Source,
    verdict: Result<Reason, Reason>,
    until: Option<DateTime<Utc>>,
}

/// Which of several sources answers: a yes before a no, the longest yes, the no that is closest to a yes. Total in
/// everything that an answer shows, so that the order of the sources never matters.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    rank: u8,
    until: DateTime<Utc>,
    reason: Reverse<u8>,
    plan: Option<i32>,
    plans: PlanSet,
}

impl Weight {
    fn of(
        verdict: Result<Reason, Reason>,
        until: Option<DateTime<Utc>>,
        plans: PlanSet,
        gate: PlanSet,
        catalog: &Catalog,
    ) -> Self {
        let rank = match (verdict, plans.meets(gate)) {
            (Ok(_), true) => 5,
            (Err(Reason::Ended), true) => 2,
            (Err(_), true) => 4,
            (Ok(_), false) => 3,
            (Err(Reason::Ended), false) => 0,
            (Err(_), false) => 1,
        };
        let (Ok(reason) | Err(reason)) = verdict;
        Self {
            rank,
            until: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
            reason: Reverse(reason as u8),
            plan: catalog.highest_rank(plans),
            plans,
        }
    }
}

fn fix(reason: Reason, catalog: &Catalog, gate: PlanSet) -> Option<Fix> {
    let with_plan = |action| Some(Fix { action, plan: catalog.lowest_of(gate) });
    let alone = |action| Some(Fix { action, plan: None });
    match reason {
        Reason::Free | Reason::Subscription | Reason::Trial | Reason::Grant | Reason::CancelsLater => None,
        Reason::Grace | Reason::PastDue | Reason::Unpaid => alone(Action::UpdatePaymentMethod),
        Reason::NotSignedIn => alone(Action::SignIn),
        Reason::NoMembership | Reason::Ended | Reason::Refunded => with_plan(Action::Subscribe),
        Reason::PlanTooLow => with_plan(Action::Upgrade),
        Reason::PaymentPending => alone(Action::CompletePayment),
        Reason::Paused => alone(Action::Resume),
        Reason::Disputed | Reason::StatusUnknown => alone(Action::ContactSupport),
    }
}

impl Decision {
    /// The decision in a sentence for the member, the same on every screen.
    pub fn message(&self, catalog: &Catalog) -> String {
        let name = |id: &PlanId| catalog.plan(id).map_or_else(|| id.to_string(), |plan| plan.name.clone());
        let plan = self.plan.as_ref().map_or_else(String::new, |id| format!("{} ", name(id)));
        let until = self.until.map(|until| until.format("%-d %B %Y, %H:%M UTC").to_string());
        match self.reason {
            Reason::Free => "This video is free.".to_owned(),
            Reason::Subscription => format!("Your {plan}membership includes this video."),
            Reason::Trial => match until {
                Some(until) => format!("Your {plan}trial includes this video until {until}."),
                None => format!("Your {plan}trial includes this video."),
            },
            Reason::Grace => format!(
                "A payment for your {plan}membership failed. You can watch until {}; please update your payment method.",
                until.unwrap_or_else(|| "further notice".to_owned())
            ),
            Reason::CancelsLater => format!(
                "Your {plan}membership ends on {}. You can watch until then.",
                until.unwrap_or_else(|| "a date that is not known yet".to_owned())
            ),
            Reason::Grant => match until {
                Some(until) => format!("You were given access to this video until {until}."),
                None => "You were given access to this video.".to_owned(),
            },
            Reason::NotSignedIn => "Sign in to watch this video.".to_owned(),
            Reason::NoMembership => "This video needs a membership.".to_owned(),
            Reason::PlanTooLow => format!("Your {plan}membership does not include this video."),
            Reason::PaymentPending => {
                format!("The first payment of your {plan}membership has not been completed.")
            }
            Reason::PastDue => {
                format!("A payment for your {plan}membership failed and the time to settle it is over.")
            }
            Reason::Unpaid => format!("Your {plan}membership has not been paid."),
            Reason::Paused => format!("Your {plan}membership is paused."),
            Reason::Ended => format!("Your {plan}membership has ended."),
            Reason::Disputed => "A payment for your membership is disputed.".to_owned(),
            Reason::Refunded => "The payment for your membership was refunded.".to_owned(),
            Reason::StatusUnknown => {
                "The state of your membership could not be read. Support has been told.".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
