//! What happened to a subscription. Names and shapes are stored and never change: see `docs/events/`.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::command::{Extension, Noted, ReversedPayment, Schedule};
use super::drift::Drift;
use super::history::Observation;
use super::standing::Standing;
use super::terms::{CollectionPause, Item, Status};
use crate::customer::Deletion;
use crate::events::Dated;
use crate::ids::{InvoiceId, PlanId, SourceEventId};

/// The subscription as it now is, and what made it so: part of every event that changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The observation that now holds.
    pub seen: Observation,
    /// Where the subscription stands with it.
    pub standing: Standing,
}

/// What happened to a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum SubscriptionEvent {
    /// It was seen for the first time.
    #[serde(rename = "SubscriptionStarted")]
    SubscriptionStarted {
        /// How it is now.
        now: Box<Now>,
    },
    /// A free trial began.
    #[serde(rename = "TrialStarted")]
    TrialStarted {
        /// When the trial ends.
        until: Option<DateTime<Utc>>,
        /// How it is now.
        now: Box<Now>,
    },
    /// The end of the trial was moved.
    #[serde(rename = "TrialEndMoved")]
    TrialEndMoved {
        /// When the trial ends.
        until: Option<DateTime<Utc>>,
        /// How it is now.
        now: Box<Now>,
    },
    /// It is paid for.
    #[serde(rename = "SubscriptionActivated")]
    SubscriptionActivated {
        /// Where it stood before.
        from: Option<Status>,
        /// How it is now.
        now: Box<Now>,
    },
    /// Its first payment is awaited.
    #[serde(rename = "FirstPaymentAwaited")]
    FirstPaymentAwaited {
        /// How it is now.
        now: Box<Now>,
    },
    /// A renewal is owed.
    #[serde(rename = "PaymentFellDue")]
    PaymentFellDue {
        /// How it is now.
        now: Box<Now>,
    },
    /// The provider has given up collecting.
    #[serde(rename = "CollectionGivenUp")]
    CollectionGivenUp {
        /// How it is now.
        now: Box<Now>,
    },
    /// It was suspended.
    #[serde(rename = "Paused")]
    Paused {
        /// How it is now.
        now: Box<Now>,
    },
    /// It is no longer suspended.
    #[serde(rename = "Resumed")]
    Resumed {
        /// Where it stands now.
        to: Status,
        /// How it is now.
        now: Box<Now>,
    },
    /// It stands somewhere this version does not know, which opens nothing.
    #[serde(rename = "StatusUnknown")]
    StatusUnknown {
        /// The provider's word.
        status: Status,
        /// How it is now.
        now: Box<Now>,
    },
    /// It stands for other plans than before.
    #[serde(rename = "PlanChanged")]
    PlanChanged {
        /// The plans before, best first.
        from: Vec<PlanId>,
        /// The plans now, best first.
        to: Vec<PlanId>,
        /// How it is now.
        now: Box<Now>,
    },
    /// Other prices of the same plans, such as yearly for monthly.
    #[serde(rename = "PriceChanged")]
    PriceChanged {
        /// The items before.
        from: Vec<Item>,
        /// How it is now.
        now: Box<Now>,
    },
    /// None of its prices is in the catalogue; the last known plans stay.
    #[serde(rename = "PriceUnmapped")]
    PriceUnmapped {
        /// The items nobody knows.
        items: Vec<Item>,
        /// How it is now.
        now: Box<Now>,
    },
    /// A new period began.
    #[serde(rename = "PeriodRenewed")]
    PeriodRenewed {
        /// When the new period ends.
        until: DateTime<Utc>,
        /// How it is now.
        now: Box<Now>,
    },
    /// It will end.
    #[serde(rename = "CancellationScheduled")]
    CancellationScheduled {
        /// When it will end.
        ends_at: DateTime<Utc>,
        /// How it is now.
        now: Box<Now>,
    },
    /// It will go on after all.
    #[serde(rename = "CancellationReverted")]
    CancellationReverted {
        /// How it is now.
        now: Box<Now>,
    },
    /// Payment collection was paused; the subscription runs on.
    #[serde(rename = "CollectionPaused")]
    CollectionPaused {
        /// How collection is paused.
        pause: CollectionPause,
        /// How it is now.
        now: Box<Now>,
    },
    /// Payment collection goes on.
    #[serde(rename = "CollectionResumed")]
    CollectionResumed {
        /// How it is now.
        now: Box<Now>,
    },
    /// It is over.
    #[serde(rename = "SubscriptionEnded")]
    SubscriptionEnded {
        /// When it ended.
        ended_at: DateTime<Utc>,
        /// Why, in the provider's words.
        reason: Option<String>,
        /// How it is now.
        now: Box<Now>,
    },

    /// It was looked at again and nothing had changed. Kept, since it tells that an older look is older.
    #[serde(rename = "TermsConfirmed")]
    TermsConfirmed {
        /// What it looked like.
        seen: Box<Observation>,
        /// Where it stands now.
        standing: Box<Standing>,
    },
    /// Something older than what was known arrived. It changes the past that is told, not the present.
    #[serde(rename = "EarlierTermsLearned")]
    EarlierTermsLearned {
        /// What it looked like then.
        seen: Box<Observation>,
        /// Where it stands now.
        standing: Box<Standing>,
    },

    /// A payment failed.
    #[serde(rename = "PaymentFailed")]
    PaymentFailed {
        /// The attempt.
        attempt: Attempt,
        /// The invoice had been paid by the time this arrived.
        late: bool,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// A payment waits for the payer to act.
    #[serde(rename = "PaymentActionRequired")]
    PaymentActionRequired {
        /// The attempt.
        attempt: Attempt,
        /// The invoice had been paid by the time this arrived.
        late: bool,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// An invoice that had failed was paid.
    #[serde(rename = "PaymentRecovered")]
    PaymentRecovered {
        /// The attempt.
        attempt: Attempt,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// An invoice was paid.
    #[serde(rename = "PaymentReceived")]
    PaymentReceived {
        /// The attempt.
        attempt: Attempt,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// All of a payment was given back.
    #[serde(rename = "PaymentRefunded")]
    PaymentRefunded {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// A part of a payment was given back, which changes nothing else.
    #[serde(rename = "PaymentPartlyRefunded")]
    PaymentPartlyRefunded {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// Money that was given back did not reach the payer.
    #[serde(rename = "RefundFailed")]
    RefundFailed {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// The payer's bank asks about a payment, which is no dispute yet, or uses a word this version does not know.
    #[serde(rename = "PaymentQuestioned")]
    PaymentQuestioned {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// A payment is disputed.
    #[serde(rename = "DisputeOpened")]
    DisputeOpened {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// A dispute is over.
    #[serde(rename = "DisputeClosed")]
    DisputeClosed {
        /// The payment and what became of it.
        reversed: ReversedPayment,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },
    /// Something happened to an invoice; what follows from it the status tells.
    #[serde(rename = "InvoiceNoted")]
    InvoiceNoted {
        /// What happened.
        noted: Noted,
    },
    /// Its plans will change.
    #[serde(rename = "PlanChangeScheduled")]
    PlanChangeScheduled {
        /// What is to come.
        schedule: Schedule,
    },
    /// Its plans will not change after all, or have changed.
    #[serde(rename = "PlanChangeUnscheduled")]
    PlanChangeUnscheduled {
        /// The word that nothing is to come.
        schedule: Schedule,
    },
    /// It is over, since the payer was deleted at the provider.
    #[serde(rename = "EndedWithCustomer")]
    EndedWithCustomer {
        /// The end of the payer.
        deletion: Deletion,
        /// Where it stands now; nothing while the subscription itself has not been seen.
        standing: Option<Box<Standing>>,
    },

    /// Staff gave more time to settle what is owed, or took some of it back.
    #[serde(rename = "GraceExtended")]
    GraceExtended {
        /// How much, and why.
        extension: Extension,
        /// Where it stands now.
        standing: Option<Box<Standing>>,
    },

    /// Changes of one second whose order nobody can tell; the order kept is arbitrary and a look at the provider due.
    #[serde(rename = "OrderAmbiguous")]
    OrderAmbiguous {
        /// The provider events concerned, in the order kept.
        sources: Vec<SourceEventId>,
        /// The second.
        at: DateTime<Utc>,
    },
    /// The provider was asked and said something else than what was known. What changed by that is told beside this.
    #[serde(rename = "DriftFound")]
    DriftFound {
        /// What differed, why, and whether it does no longer.
        drift: Box<Drift>,
    },
    /// The provider told of life after the end, which was not believed.
    #[serde(rename = "TransitionRefused")]
    TransitionRefused {
        /// Where it stands, for good.
        from: Status,
        /// What was told.
        to: Status,
        /// The provider event that told it.
        source: SourceEventId,
        /// When it was told to be so.
        at: DateTime<Utc>,
    },
}

/// One attempt to pay an invoice, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The provider event that told it.
    pub source: SourceEventId,
    /// When the attempt was made.
    pub at: DateTime<Utc>,
    /// The amount due, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// How many times the provider has tried so far.
    pub count: Option<u32>,
    /// When the provider will try again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

impl SubscriptionEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SubscriptionStarted { .. } => "SubscriptionStarted",
            Self::TrialStarted { .. } => "TrialStarted",
            Self::TrialEndMoved { .. } => "TrialEndMoved",
            Self::SubscriptionActivated { .. } => "SubscriptionActivated",
            Self::FirstPaymentAwaited { .. } => "FirstPaymentAwaited",
            Self::PaymentFellDue { .. } => "PaymentFellDue",
            Self::CollectionGivenUp { .. } => "CollectionGivenUp",
            Self::Paused { .. } => "Paused",
            Self::Resumed { .. } => "Resumed",
            Self::StatusUnknown { .. } => "StatusUnknown",
            Self::PlanChanged { .. } => "PlanChanged",
            Self::PriceChanged { .. } => "PriceChanged",
            Self::PriceUnmapped { .. } => "PriceUnmapped",
            Self::PeriodRenewed { .. } => "PeriodRenewed",
            Self::CancellationScheduled { .. } => "CancellationScheduled",
            Self::CancellationReverted { .. } => "CancellationReverted",
            Self::CollectionPaused { .. } => "CollectionPaused",
            Self::CollectionResumed { .. } => "CollectionResumed",
            Self::SubscriptionEnded { .. } => "SubscriptionEnded",
            Self::TermsConfirmed { .. } => "TermsConfirmed",
            Self::EarlierTermsLearned { .. } => "EarlierTermsLearned",
            Self::PaymentFailed { .. } => "PaymentFailed",
            Self::PaymentActionRequired { .. } => "PaymentActionRequired",
            Self::PaymentRecovered { .. } => "PaymentRecovered",
            Self::PaymentReceived { .. } => "PaymentReceived",
            Self::PaymentRefunded { .. } => "PaymentRefunded",
            Self::PaymentPartlyRefunded { .. } => "PaymentPartlyRefunded",
            Self::RefundFailed { .. } => "RefundFailed",
            Self::PaymentQuestioned { .. } => "PaymentQuestioned",
            Self::DisputeOpened { .. } => "DisputeOpened",
            Self::DisputeClosed { .. } => "DisputeClosed",
            Self::InvoiceNoted { .. } => "InvoiceNoted",
            Self::PlanChangeScheduled { .. } => "PlanChangeScheduled",
            Self::PlanChangeUnscheduled { .. } => "PlanChangeUnscheduled",
            Self::EndedWithCustomer { .. } => "EndedWithCustomer",
            Self::GraceExtended { .. } => "GraceExtended",
            Self::OrderAmbiguous { .. } => "OrderAmbiguous",
            Self::DriftFound { .. } => "DriftFound",
            Self::TransitionRefused { .. } => "TransitionRefused",
        }
    }

    /// The subscription as it is after this event, if the event tells.
    pub fn now(&self) -> Option<&Now> {
        match self {
            Self::SubscriptionStarted { now }
            | Self::TrialStarted { now, .. }
            | Self::TrialEndMoved { now, .. }
            | Self::SubscriptionActivated { now, .. }
            | Self::FirstPaymentAwaited { now }
            | Self::PaymentFellDue { now }
            | Self::CollectionGivenUp { now }
            | Self::Paused { now }
            | Self::Resumed { now, .. }
            | Self::StatusUnknown { now, .. }
            | Self::PlanChanged { now, .. }
            | Self::PriceChanged { now, .. }
            | Self::PriceUnmapped { now, .. }
            | Self::PeriodRenewed { now, .. }
            | Self::CancellationScheduled { now, .. }
            | Self::CancellationReverted { now }
            | Self::CollectionPaused { now, .. }
            | Self::CollectionResumed { now }
            | Self::SubscriptionEnded { now, .. } => Some(now),
            _ => None,
        }
    }

    /// The attempt to pay that this event tells of, if it tells of one.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::PaymentFailed { attempt, .. }
            | Self::PaymentActionRequired { attempt, .. }
            | Self::PaymentRecovered { attempt, .. }
            | Self::PaymentReceived { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// The payment that was reversed or disputed, if this event tells of one.
    pub fn reversed(&self) -> Option<&ReversedPayment> {
        match self {
            Self::PaymentRefunded { reversed, .. }
            | Self::PaymentPartlyRefunded { reversed, .. }
            | Self::RefundFailed { reversed, .. }
            | Self::PaymentQuestioned { reversed, .. }
            | Self::DisputeOpened { reversed, .. }
            | Self::DisputeClosed { reversed, .. } => Some(reversed),
            _ => None,
        }
    }

    /// The provider event this one tells of, if it tells of one.
    pub fn source(&self) -> Option<&SourceEventId> {
        match self {
            Self::EndedWithCustomer { deletion, .. } => Some(&deletion.source),
            Self::InvoiceNoted { noted } => Some(&noted.source),
            Self::PlanChangeScheduled { schedule } | Self::PlanChangeUnscheduled { schedule } => {
                Some(&schedule.source)
            }
            _ => None,
        }
        .or_else(|| self.attempt().map(|attempt| &attempt.source))
        .or_else(|| self.reversed().map(|reversed| reversed.reversal.source()))
        .or_else(|| self.seen().map(|seen| &seen.source))
    }

    /// The observation this event brings, current or not.
    pub fn seen(&self) -> Option<&Observation> {
        match self {
            Self::TermsConfirmed { seen, .. } | Self::EarlierTermsLearned { seen, .. } => Some(seen),
            _ => self.now().map(|now| &now.seen),
        }
    }

    /// Where the subscription stands after this event, if the event tells.
    pub fn standing(&self) -> Option<Standing> {
        match self {
            Self::TermsConfirmed { standing, .. } | Self::EarlierTermsLearned { standing, .. } => {
                Some(standing.as_ref().clone())
            }
            Self::PaymentFailed { standing, .. }
            | Self::PaymentActionRequired { standing, .. }
            | Self::PaymentRecovered { standing, .. }
            | Self::PaymentReceived { standing, .. }
            | Self::PaymentRefunded { standing, .. }
            | Self::PaymentPartlyRefunded { standing, .. }
            | Self::RefundFailed { standing, .. }
            | Self::PaymentQuestioned { standing, .. }
            | Self::DisputeOpened { standing, .. }
            | Self::DisputeClosed { standing, .. }
            | Self::EndedWithCustomer { standing, .. }
            | Self::GraceExtended { standing, .. } => standing.as_deref().cloned(),
            _ => self.now().map(|now| now.standing.clone()),
        }
    }

    /// The place for where the subscription stands, in events that are made before it is known.
    pub(super) fn standing_mut(&mut self) -> Option<&mut Option<Box<Standing>>> {
        match self {
            Self::PaymentFailed { standing, .. }
            | Self::PaymentActionRequired { standing, .. }
            | Self::PaymentRecovered { standing, .. }
            | Self::PaymentReceived { standing, .. }
            | Self::PaymentRefunded { standing, .. }
            | Self::PaymentPartlyRefunded { standing, .. }
            | Self::RefundFailed { standing, .. }
            | Self::PaymentQuestioned { standing, .. }
            | Self::DisputeOpened { standing, .. }
            | Self::DisputeClosed { standing, .. }
            | Self::EndedWithCustomer { standing, .. }
            | Self::GraceExtended { standing, .. } => Some(standing),
            _ => None,
        }
    }
}

impl DomainEvent for SubscriptionEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for SubscriptionEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::EndedWithCustomer { deletion, .. } => Some(deletion.at),
            Self::GraceExtended { extension, .. } => Some(extension.at),
            Self::InvoiceNoted { noted } => Some(noted.at),
            Self::DriftFound { drift } => Some(drift.at),
            Self::PlanChangeScheduled { schedule } | Self::PlanChangeUnscheduled { schedule } => {
                Some(schedule.at)
            }
            Self::OrderAmbiguous { at, .. } | Self::TransitionRefused { at, .. } => Some(*at),
            _ => None,
        }
        .or_else(|| self.attempt().map(|attempt| attempt.at))
        .or_else(|| self.reversed().map(|reversed| reversed.reversal.at()))
        .or_else(|| self.seen().map(Observation::effective_at))
    }
}
