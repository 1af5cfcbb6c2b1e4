//! What follows from what is told: pure, and never a refusal, since news cannot be wrong to arrive.

use super::command::{Extension, Noted, PaymentAttempt, ReversedPayment, Schedule, SubscriptionCommand};
use super::drift::{Drift, Look};
use super::event::{Attempt, Now, SubscriptionEvent};
use super::history::Observation;
use super::reversal::{DisputeStatus, RefundTold, Reversal};
use super::standing::Standing;
use super::terms::Status;
use super::{Invoice, Settled, Subscription};
use crate::customer::Deletion;

/// The events that follow from `command`. None means that it was known already.
pub fn decide(subscription: &Subscription, command: SubscriptionCommand) -> Vec<SubscriptionEvent> {
    match command {
        SubscriptionCommand::Observe(observation) => observe(subscription, *observation),
        SubscriptionCommand::Compare(look) => compare(subscription, *look),
        SubscriptionCommand::RecordDrift(drift) => found(subscription, *drift),
        SubscriptionCommand::RecordPaymentFailure(attempt) => {
            unpaid(subscription, attempt, |attempt, late| SubscriptionEvent::PaymentFailed {
                attempt,
                late,
                standing: None,
            })
        }
        SubscriptionCommand::RecordActionRequired(attempt) => {
            unpaid(subscription, attempt, |attempt, late| SubscriptionEvent::PaymentActionRequired {
                attempt,
                late,
                standing: None,
            })
        }
        SubscriptionCommand::RecordReversal(reversed) => reverse(subscription, reversed),
        SubscriptionCommand::NoteInvoice(noted) => note(subscription, noted),
        SubscriptionCommand::RecordSchedule(schedule) => plan_change(subscription, schedule),
        SubscriptionCommand::RecordPayment(attempt) => paid(subscription, attempt),
        SubscriptionCommand::EndWithCustomer(deletion) => end_with_customer(subscription, deletion),
        SubscriptionCommand::ExtendGrace(extension) => extend_grace(subscription, extension),
    }
}

fn observe(subscription: &Subscription, seen: Observation) -> Vec<SubscriptionEvent> {
    if subscription.history.contains(&seen.source) {
        return Vec::new();
    }
    let before = subscription.standing(None);
    let mut told = subscription.clone();
    told.history.insert(seen.clone());
    let Some(after) = told.standing(None) else {
        return Vec::new();
    };
    let Some(current) = told.history.index_at(None).map(|index| &told.history.observations()[index]) else {
        return Vec::new();
    };

    let now = Now { seen: current.clone(), standing: after.clone() };
    let mut events = changes(before.as_ref(), &after, &now);
    if events.is_empty() || current.source != seen.source {
        let (seen, standing) = (Box::new(seen.clone()), Box::new(after.clone()));
        let is_left = |status: &Status| *status == Status::Incomplete && *status != current.terms.status;
        let is_earlier =
            told.history.index_of(&seen.source) < told.history.index_at(None) || is_left(&seen.terms.status);
        let kept = if is_earlier {
            SubscriptionEvent::EarlierTermsLearned { seen, standing }
        } else {
            SubscriptionEvent::TermsConfirmed { seen, standing }
        };
        events.insert(0, kept);
    }
    if let Some(sources) = told.history.ambiguous_with(&seen.source) {
        events.push(SubscriptionEvent::OrderAmbiguous { sources, at: seen.at });
    }
    if after.terms.status.is_final() && !seen.terms.status.is_final() && current.at < seen.at {
        events.push(SubscriptionEvent::TransitionRefused {
            from: after.terms.status,
            to: seen.terms.status,
            source: seen.source,
            at: seen.at,
        });
    }
    events
}

/// What the provider says where it differs from what is known, and that it did.
fn compare(subscription: &Subscription, look: Look) -> Vec<SubscriptionEvent> {
    let Some(drift) = subscription.drift(&look) else { return Vec::new() };
    // What cannot be repaired by looking is not looked at again and again.
    let mut events = if drift.repaired { observe(subscription, look.observation) } else { Vec::new() };
    events.extend(found(subscription, drift));
    events
}

fn found(subscription: &Subscription, drift: Drift) -> Vec<SubscriptionEvent> {
    if subscription.has_drifted_like(&drift) {
        return Vec::new();
    }
    vec![SubscriptionEvent::DriftFound { drift: Box::new(drift) }]
}

/// The differences between two standings, in the words of the field.
fn changes(before: Option<&Standing>, after: &Standing, now: &Now) -> Vec<SubscriptionEvent> {
    let now = || Box::new(now.clone());
    let (old, new) = (before.map(|standing| &standing.terms), &after.terms);
    let mut events = Vec::new();
    if old.is_none() {
        events.push(SubscriptionEvent::SubscriptionStarted { now: now() });
    }
    if old.is_none_or(|old| old.status != new.status) {
        events.push(status_change(old.map(|old| &old.status), after, now()));
    } else if new.status == Status::Trialing && old.is_some_and(|old| old.trial_end != new.trial_end) {
        events.push(SubscriptionEvent::TrialEndMoved { until: new.trial_end, now: now() });
    }
    if new.status.is_final() {
        return events;
    }

    let unmapped = new.plans.is_empty();
    if unmapped && old.is_none_or(|old| old.items != new.items) {
        events.push(SubscriptionEvent::PriceUnmapped { items: new.items.clone(), now: now() });
    }
    if let (Some(old), Some(before)) = (old, before) {
        let prices = |items: &[super::Item]| -> Vec<_> {
            items.iter().map(|item| (item.price.clone(), item.product.clone())).collect()
        };
        if before.anchors.plans != after.anchors.plans {
            events.push(SubscriptionEvent::PlanChanged {
                from: before.anchors.plans.clone(),
                to: after.anchors.plans.clone(),
                now: now(),
            });
        } else if !unmapped && prices(&old.items) != prices(&new.items) {
            events.push(SubscriptionEvent::PriceChanged { from: old.items.clone(), now: now() });
        }
        if let Some(until) = new.period_end
            && old.period_end.is_some_and(|ended| ended < until)
        {
            events.push(SubscriptionEvent::PeriodRenewed { until, now: now() });
        }
    }
    match (old.and_then(|old| old.cancels_at), new.cancels_at) {
        (was, Some(ends_at)) if was != Some(ends_at) => {
            events.push(SubscriptionEvent::CancellationScheduled { ends_at, now: now() });
        }
        (Some(_), None) => events.push(SubscriptionEvent::CancellationReverted { now: now() }),
        _ => {}
    }
    match (old.and_then(|old| old.collection_paused.as_ref()), &new.collection_paused) {
        (was, Some(pause)) if was != Some(pause) => {
            events.push(SubscriptionEvent::CollectionPaused { pause: pause.clone(), now: now() });
        }
        (Some(_), None) => events.push(SubscriptionEvent::CollectionResumed { now: now() }),
        _ => {}
    }
    events
}

fn status_change(from: Option<&Status>, after: &Standing, now: Box<Now>) -> SubscriptionEvent {
    let terms = &after.terms;
    if from == Some(&Status::Paused) && !terms.status.is_final() {
        return SubscriptionEvent::Resumed { to: terms.status.clone(), now };
    }
    match &terms.status {
        Status::Trialing => SubscriptionEvent::TrialStarted { until: terms.trial_end, now },
        Status::Active => SubscriptionEvent::SubscriptionActivated { from: from.cloned(), now },
        Status::Incomplete => SubscriptionEvent::FirstPaymentAwaited { now },
        Status::PastDue => SubscriptionEvent::PaymentFellDue { now },
        Status::Unpaid => SubscriptionEvent::CollectionGivenUp { now },
        Status::Paused => SubscriptionEvent::Paused { now },
        Status::Canceled | Status::IncompleteExpired => SubscriptionEvent::SubscriptionEnded {
            ended_at: terms.ended_at.unwrap_or(now.seen.at),
            reason: terms.end_reason.clone(),
            now,
        },
        status @ Status::Unknown(_) => SubscriptionEvent::StatusUnknown { status: status.clone(), now },
    }
}

/// The latest word counts; one that is older, or says the same again, changes nothing.
fn plan_change(subscription: &Subscription, schedule: Schedule) -> Vec<SubscriptionEvent> {
    let held = subscription.schedule.as_ref();
    let is_news = held.is_none_or(|held| (held.at, &held.source) < (schedule.at, &schedule.source));
    if !is_news || held.and_then(|held| held.next.as_ref()) == schedule.next.as_ref() {
        return Vec::new();
    }
    vec![if schedule.next.is_some() {
        SubscriptionEvent::PlanChangeScheduled { schedule }
    } else {
        SubscriptionEvent::PlanChangeUnscheduled { schedule }
    }]
}

/// An attempt to pay that brought no money.
fn unpaid(
    subscription: &Subscription,
    attempt: PaymentAttempt,
    event: impl FnOnce(Attempt, bool) -> SubscriptionEvent,
) -> Vec<SubscriptionEvent> {
    let invoice = subscription.invoice(&attempt.invoice);
    if invoice.is_some_and(|invoice| invoice.attempts.contains_key(&attempt.source)) {
        return Vec::new();
    }
    let late = invoice.is_some_and(|invoice| invoice.settled.is_some());
    vec![with_standing(subscription, event(attempt.into(), late))]
}

fn reverse(subscription: &Subscription, reversed: ReversedPayment) -> Vec<SubscriptionEvent> {
    let invoice = subscription.invoice(&reversed.invoice);
    if invoice.is_some_and(|invoice| invoice.reversals.contains(reversed.reversal.source())) {
        return Vec::new();
    }
    let standing = None;
    let event = match &reversed.reversal {
        Reversal::Refund(refund) => {
            let failed = matches!(refund.told, RefundTold::One { failed: true, .. });
            let mut reversals = invoice.map(|invoice| invoice.reversals.clone()).unwrap_or_default();
            reversals.insert(reversed.payment.clone(), reversed.reversal.clone());
            let paid = invoice.and_then(|invoice| invoice.settled.as_ref()).map(|settled| settled.amount);
            match reversals.refunded(paid, None) {
                _ if failed => SubscriptionEvent::RefundFailed { reversed, standing },
                Some(_) => SubscriptionEvent::PaymentRefunded { reversed, standing },
                None => SubscriptionEvent::PaymentPartlyRefunded { reversed, standing },
            }
        }
        Reversal::Dispute(dispute) => match dispute.status {
            DisputeStatus::Open(_) => SubscriptionEvent::DisputeOpened { reversed, standing },
            DisputeStatus::Lifted(_) | DisputeStatus::Lost => {
                SubscriptionEvent::DisputeClosed { reversed, standing }
            }
            DisputeStatus::Inquiry(_) | DisputeStatus::Unknown(_) => {
                SubscriptionEvent::PaymentQuestioned { reversed, standing }
            }
        },
    };
    vec![with_standing(subscription, event)]
}

fn note(subscription: &Subscription, noted: Noted) -> Vec<SubscriptionEvent> {
    let invoice = subscription.invoice(&noted.invoice);
    if invoice.is_some_and(|invoice| invoice.notes.contains(&noted.source)) {
        return Vec::new();
    }
    vec![SubscriptionEvent::InvoiceNoted { noted }]
}

fn paid(subscription: &Subscription, attempt: PaymentAttempt) -> Vec<SubscriptionEvent> {
    let invoice = subscription.invoice(&attempt.invoice);
    let settled = Settled { at: attempt.at, source: attempt.source.clone(), amount: attempt.amount };
    let known = invoice.and_then(|invoice| invoice.settled.as_ref()).is_some_and(|held| *held <= settled);
    let owed = invoice.is_some_and(Invoice::has_failed);
    // An invoice over nothing, as at the start of a trial, or a credit is no payment; it cannot have failed either.
    if known || (attempt.amount <= 0 && !owed) {
        return Vec::new();
    }
    let attempt = attempt.into();
    let event = if owed {
        SubscriptionEvent::PaymentRecovered { attempt, standing: None }
    } else {
        SubscriptionEvent::PaymentReceived { attempt, standing: None }
    };
    vec![with_standing(subscription, event)]
}

/// The event, with where the subscription stands once it is taken in.
fn with_standing(subscription: &Subscription, mut event: SubscriptionEvent) -> SubscriptionEvent {
    let mut told = subscription.clone();
    super::evolve(&mut told, &event);
    if let Some(standing) = event.standing_mut() {
        *standing = told.standing(None).map(Box::new);
    }
    event
}

fn end_with_customer(subscription: &Subscription, deletion: Deletion) -> Vec<SubscriptionEvent> {
    if subscription.deletion.as_ref().is_some_and(|held| *held <= deletion) {
        return Vec::new();
    }
    vec![with_standing(subscription, SubscriptionEvent::EndedWithCustomer { deletion, standing: None })]
}

fn extend_grace(subscription: &Subscription, mut extension: Extension) -> Vec<SubscriptionEvent> {
    let known = |held: &Extension| held.remark == extension.remark;
    let Some(anchors) = subscription.standing(None).map(|standing| standing.anchors) else {
        return Vec::new();
    };
    let Some(owed_since) = anchors.grace_from.filter(|_| anchors.recovered_at.is_none()) else {
        return Vec::new();
    };
    if anchors.grace_until == Some(extension.until) || subscription.extensions.iter().any(known) {
        return Vec::new();
    }
    // The provider's clock may be ahead of ours, and an extension is of a debt that is there.
    extension.at = extension.at.max(owed_since);
    vec![with_standing(subscription, SubscriptionEvent::GraceExtended { extension, standing: None })]
}

impl From<PaymentAttempt> for Attempt {
    fn from(attempt: PaymentAttempt) -> Self {
        Self {
            invoice: attempt.invoice,
            source: attempt.source,
            at: attempt.at,
            amount: attempt.amount,
            currency: attempt.currency,
            count: attempt.count,
            next_attempt_at: attempt.next_attempt_at,
        }
    }
}
