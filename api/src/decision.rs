//! How a decision is written: the same in every answer that holds one.

use std::convert::Infallible;

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use chrono::{DateTime, Utc};
use domain::access::{Action, Decision, Fix, Reason};
use domain::ids::{MemberId, PlanId};
use domain::ports::Position;
use projections::past::{DecidingEvent, Explanation};
use projections::runner::Progress;
use serde::Serialize;
use utoipa::ToSchema;

use crate::position;

/// The header that says how many seconds old an answer from memory may be, while the log cannot be read.
pub const DEGRADED: HeaderName = HeaderName::from_static("membership-degraded");

/// Why an answer is what it is.
///
/// Allowed: `free`, `subscription`, `trial`, `grace` (a renewal is owed), `cancels_later`, `grant`.
/// Denied: all others.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessReason {
    /// Open to anyone.
    Free,
    /// Paid for.
    Subscription,
    /// In a free trial.
    Trial,
    /// A renewal is owed, and the time to settle it runs.
    Grace,
    /// Paid for until the end that is scheduled.
    CancelsLater,
    /// Given without a payment.
    Grant,
    /// Nobody is signed in.
    NotSignedIn,
    /// Never had a membership.
    NoMembership,
    /// Has a membership, but not one that includes this.
    PlanTooLow,
    /// The first payment has not been made.
    PaymentPending,
    /// A renewal is owed, and the time to settle it is over.
    PastDue,
    /// The provider has given up collecting.
    Unpaid,
    /// Suspended.
    Paused,
    /// Over.
    Ended,
    /// A payment is disputed.
    Disputed,
    /// The payment was given back.
    Refunded,
    /// The provider used a word this version does not know.
    StatusUnknown,
}

impl From<Reason> for AccessReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Free => Self::Free,
            Reason::Subscription => Self::Subscription,
            Reason::Trial => Self::Trial,
            Reason::Grace => Self::Grace,
            Reason::CancelsLater => Self::CancelsLater,
            Reason::Grant => Self::Grant,
            Reason::NotSignedIn => Self::NotSignedIn,
            Reason::NoMembership => Self::NoMembership,
            Reason::PlanTooLow => Self::PlanTooLow,
            Reason::PaymentPending => Self::PaymentPending,
            Reason::PastDue => Self::PastDue,
            Reason::Unpaid => Self::Unpaid,
            Reason::Paused => Self::Paused,
            Reason::Ended => Self::Ended,
            Reason::Disputed => Self::Disputed,
            Reason::Refunded => Self::Refunded,
            Reason::StatusUnknown => Self::StatusUnknown,
        }
    }
}

/// What a member can do.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixAction {
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

impl From<Action> for FixAction {
    fn from(action: Action) -> Self {
        match action {
            Action::SignIn => Self::SignIn,
            Action::Subscribe => Self::Subscribe,
            Action::Upgrade => Self::Upgrade,
            Action::CompletePayment => Self::CompletePayment,
            Action::UpdatePaymentMethod => Self::UpdatePaymentMethod,
            Action::Resume => Self::Resume,
            Action::ContactSupport => Self::ContactSupport,
        }
    }
}

/// The one thing that would open the video, or keep it open.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessFix {
    /// What to do.
    action: FixAction,
    /// With which plan, where one has to be chosen.
    #[schema(value_type = Option<String>, required = true)]
    plan: Option<PlanId>,
}

impl From<Fix> for AccessFix {
    fn from(Fix { action, plan }: Fix) -> Self {
        Self { action: action.into(), plan }
    }
}

/// May she watch it, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessDecision<'d> {
    /// Always `access_decision`.
    #[schema(example = "access_decision")]
    object: &'static str,
    /// The member; null when nobody is signed in.
    #[schema(required = true, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    member: Option<&'d str>,
    /// The video.
    #[schema(example = "projections")]
    video: &'d str,
    /// Yes or no.
    allowed: bool,
    /// Why.
    reason: AccessReason,
    /// The plan the reason speaks of.
    #[schema(value_type = Option<String>, required = true)]
    plan: Option<PlanId>,
    /// Until when this yes holds, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// The decision in a sentence for the member.
    message: String,
    /// What would open the video.
    #[schema(required = true)]
    fix: Option<AccessFix>,
    /// The moment that was asked about.
    at: DateTime<Utc>,
    /// How much of the log this answer knows of.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// Only while this node cannot see the end of the log: the answer is from what it knew before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    degraded: Option<Degraded>,
    /// Only where a moment was asked about: the events that made the decision what it is, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deciding_events: Option<Vec<DecidingEventBody>>,
}

/// This node cannot read its log at present. What happened meanwhile is not in its answers.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Degraded {
    /// How many seconds ago it last knew of everything.
    age_seconds: u64,
}

impl Degraded {
    /// How it stands with an index; nothing while all is well.
    pub(crate) fn of(progress: &Progress) -> Option<Self> {
        progress.degraded().map(|age| Self { age_seconds: age.as_secs() })
    }
}

impl IntoResponseParts for Degraded {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.headers_mut().insert(DEGRADED, HeaderValue::from(self.age_seconds));
        Ok(parts)
    }
}

/// An event of the log that made a decision what it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecidingEvent)]
pub struct DecidingEventBody {
    /// Its place in the log.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// Its stored name.
    event_type: String,
    /// What it follows from: the provider's event id or a request id.
    cause: String,
    /// When it was true.
    occurred_at: DateTime<Utc>,
    /// When this service learned it.
    recorded_at: DateTime<Utc>,
    /// What happened, in words.
    sentence: String,
}

impl From<DecidingEvent> for DecidingEventBody {
    fn from(event: DecidingEvent) -> Self {
        let DecidingEvent { position, event_type, cause, occurred_at, recorded_at, sentence } = event;
        Self { position, event_type, cause, occurred_at, recorded_at, sentence }
    }
}

/// Who asks about what, and when.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    pub(crate) member: Option<&'q MemberId>,
    pub(crate) video: &'q str,
    pub(crate) at: DateTime<Utc>,
    pub(crate) position: Position,
    pub(crate) degraded: Option<Degraded>,
}

impl<'d> AccessDecision<'d> {
    /// The answer to a question.
    pub(crate) fn new(question: Question<'d>, decision: Decision, message: String) -> Self {
        let Question { member, video, at, position, degraded } = question;
        let Decision { allowed, reason, plan, until, fix, source: _ } = decision;
        Self {
            object: "access_decision",
            member: member.map(MemberId::as_str),
            video,
            allowed,
            reason: reason.into(),
            plan,
            until,
            message,
            fix: fix.map(AccessFix::from),
            at,
            position,
            degraded,
            deciding_events: None,
        }
    }

    /// The same while a payment is on its way: nothing is to be done about it but to ask again.
    pub(crate) fn awaiting_payment(self, message: &str) -> Self {
        let (reason, message) = (AccessReason::PaymentPending, message.to_owned());
        Self { reason, message, plan: None, fix: None, ..self }
    }

    /// How much of the log it knows of.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether it is a yes.
    pub(crate) fn is_yes(&self) -> bool {
        self.allowed
    }

    /// Which video it is about.
    pub(crate) fn video(&self) -> &'d str {
        self.video
    }

    /// The decision that was explained, with its deciding events taken along.
    pub(crate) fn explained(explanation: &'d Explanation) -> Self {
        let Explanation { member, video, as_of, position: head, .. } = explanation;
        let position = as_of.position.map_or(*head, |asked| asked.min(*head));
        let question = Question { member: Some(member), video, at: as_of.at, position, degraded: None };
        let events = explanation.deciding.iter().cloned().map(DecidingEventBody::from).collect();
        let decision = Self::new(question, explanation.decision.clone(), explanation.message.clone());
        Self { deciding_events: Some(events), ..decision }
    }
}
