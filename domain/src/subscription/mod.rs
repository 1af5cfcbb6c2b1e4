//! One paid subscription, from first sight to its end.
//!
//! ```text
//! incomplete ─▶ active ◀──▶ past_due ─▶ unpaid        any but the final two ─▶ paused ─▶ any
//!     │   trialing ─▶ ▲ │        │         │
//!     ▼               └─┴────────┴─────────┴─▶ canceled (final)
//! incomplete_expired (final)
//! ```
//! The provider decides which of these happens; we observe. An observation out of this picture is recorded, not refused.

mod command;
mod decide;
mod drift;
mod event;
mod history;
mod invoices;
mod reversal;
mod standing;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::convert::Infallible;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::{
    Extension, InvoiceNote, NextPlans, Noted, PaymentAttempt, ReversedPayment, Schedule, SubscriptionCommand,
};
pub use decide::decide;
pub use drift::{Difference, Drift, DriftCause, Look};
pub use event::{Attempt, Now, SubscriptionEvent};
pub use history::{History, Kind, Notice, Observation};
pub use invoices::Invoice;
pub use reversal::{Dispute, DisputeStatus, Refund, RefundTold, Reversal};
pub use standing::{Anchors, Evidence, Standing};
pub use terms::{CollectionPause, Item, Status, Terms};

use self::invoices::{Invoices, Settled};
use crate::customer::Deletion;
use crate::ids::{InvoiceId, SourceEventId};

/// One subscription: everything observed of it and of its invoices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    history: History,
    invoices: Invoices,
    /// The end of its payer at the provider.
    deletion: Option<Deletion>,
    /// What the latest comparison that showed something showed.
    drift: Option<Drift>,
    /// The latest word on what is to become of its plans.
    schedule: Option<Schedule>,
    /// The times that staff gave to settle what was owed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    extensions: BTreeSet<Extension>,
}

impl Subscription {
    /// The newest observation, and the latest moment of any.
    pub fn newest(&self) -> Option<(SourceEventId, DateTime<Utc>)> {
        self.history.newest()
    }

    /// The latest word on what is to become of its plans.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// The invoices that are known of it.
    pub fn invoices(&self) -> impl Iterator<Item = &InvoiceId> {
        self.invoices.iter().map(|(id, _)| id)
    }

    /// What had been paid for each invoice by `at`, or until now, and what of that was given back, in the currency's
    /// smallest unit.
    pub fn payments(&self, at: Option<DateTime<Utc>>) -> impl Iterator<Item = (&InvoiceId, i64, i64)> {
        self.invoices.iter().filter_map(move |(id, invoice)| {
            Some((id, invoice.settled_by(at)?.amount, invoice.reversals.given_back(at)))
        })
    }

    /// Whether it ever was in a free trial. A first payment that was never made uses up no trial.
    pub fn had_trial(&self) -> bool {
        let never_begun = |status: &Status| matches!(status, Status::Incomplete | Status::IncompleteExpired);
        let in_trial = |seen: &Observation| {
            seen.terms.status == Status::Trialing
                || (seen.terms.trial_end.is_some() && !never_begun(&seen.terms.status))
        };
        self.history.observations().iter().any(in_trial)
    }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(subscription: &mut Subscription, event: &SubscriptionEvent) {
    if let Some(seen) = event.seen() {
        subscription.history.insert(seen.clone());
    }
    match event {
        SubscriptionEvent::PaymentFailed { attempt, .. }
        | SubscriptionEvent::PaymentActionRequired { attempt, .. } => {
            subscription.invoices.fail(&attempt.invoice, &attempt.source, attempt.at);
        }
        SubscriptionEvent::PaymentRecovered { attempt, .. }
        | SubscriptionEvent::PaymentReceived { attempt, .. } => {
            let settled = Settled { at: attempt.at, source: attempt.source.clone(), amount: attempt.amount };
            subscription.invoices.settle(&attempt.invoice, settled);
        }
        SubscriptionEvent::PaymentRefunded { reversed, .. }
        | SubscriptionEvent::PaymentPartlyRefunded { reversed, .. }
        | SubscriptionEvent::RefundFailed { reversed, .. }
        | SubscriptionEvent::PaymentQuestioned { reversed, .. }
        | SubscriptionEvent::DisputeOpened { reversed, .. }
        | SubscriptionEvent::DisputeClosed { reversed, .. } => {
            let ReversedPayment { invoice, payment, reversal } = reversed;
            subscription.invoices.reverse(invoice, payment.clone(), reversal.clone());
        }
        SubscriptionEvent::InvoiceNoted { noted } => {
            subscription.invoices.note(&noted.invoice, &noted.source);
        }
        SubscriptionEvent::DriftFound { drift } => subscription.drift = Some(drift.as_ref().clone()),
        SubscriptionEvent::PlanChangeScheduled { schedule }
        | SubscriptionEvent::PlanChangeUnscheduled { schedule } => {
            subscription.schedule = Some(schedule.clone());
        }
        SubscriptionEvent::GraceExtended { extension, .. } => {
            subscription.extensions.insert(extension.clone());
        }
        SubscriptionEvent::EndedWithCustomer { deletion, .. } => {
            let held = subscription.deletion.take();
            subscription.deletion = Some(held.map_or(deletion.clone(), |held| held.min(deletion.clone())));
        }
        _ => {}
    }
}

impl Aggregate for Subscription {
    const TYPE: &'static str = "subscription";
    type Command = SubscriptionCommand;
    type Event = SubscriptionEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        evolve(self, &event);
    }
}
