//! How does it stand with a member, now or then?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::metadata::Actor;
use domain::ports::Position;
use projections::past::{
    AccountState, CustomerState, LastPayment, MemberState, NextChange, Note, OpenRequest, Paid, PlanAccess,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accounts::LockBody;
use super::as_of;
use super::explain::SourceBody;
use crate::auth::{Allowed, SupportRead};
use crate::decision::AccessReason;
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, Params, member};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

/// Which moment.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// What was true at this moment (RFC 3339). Now when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    at: Option<String>,
    /// Only what this service had learned by this moment (RFC 3339). Everything when left out.
    #[param(format = DateTime, example = "2026-11-22T10:00:00Z")]
    known_at: Option<String>,
}

/// How it stands with a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberState)]
pub struct StateBody<'s> {
    /// Always `member_state`.
    #[schema(example = "member_state")]
    object: &'static str,
    /// The member.
    #[schema(example = "mem_ada")]
    member: &'s str,
    /// The moment that was asked about.
    at: DateTime<Utc>,
    /// Until when what this service had learned counts; null when everything does.
    #[schema(required = true)]
    known_at: Option<DateTime<Utc>>,
    /// When she was registered.
    registered_at: DateTime<Utc>,
    /// The best plan that was open to her.
    #[schema(required = true)]
    plan: Option<&'s str>,
    /// What it is called.
    #[schema(required = true)]
    plan_name: Option<&'s str>,
    /// Why it was open, or why nothing was.
    reason: AccessReason,
    /// Until when it is open, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// How it stood, in one sentence.
    sentence: &'s str,
    /// What each plan opened for her, best plan first.
    access: Vec<PlanAccessBody<'s>>,
    /// Everything that might have opened something.
    sources: Vec<SourceBody<'s>>,
    /// The next moment that changes anything, by what is known.
    #[schema(required = true)]
    next: Option<NextChangeBody<'s>>,
    /// What she has paid, by currency.
    paid: Vec<PaidBody<'s>>,
    /// The latest attempt to pay.
    #[schema(required = true)]
    last_payment: Option<LastPaymentBody<'s>>,
    /// Her payers at the provider.
    customers: Vec<CustomerStateBody<'s>>,
    /// Subscriptions that are paid for beside each other.
    duplicates: Vec<&'s str>,
    /// What she asked for and has no answer to, or has not finished.
    requests: Vec<OpenRequestBody<'s>>,
    /// What the log tells of her account.
    account: AccountStateBody,
    /// What staff noted, as far as it holds.
    notes: Vec<NoteBody<'s>>,
    /// When she was erased.
    #[schema(required = true)]
    erased_at: Option<DateTime<Utc>>,
}

/// What a plan opened for a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanAccess)]
pub struct PlanAccessBody<'s> {
    /// The plan.
    plan: &'s str,
    /// What it is called.
    name: &'s str,
    /// Whether what it opens was open to her.
    allowed: bool,
    /// Why.
    reason: AccessReason,
    /// Until when, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// The same in words.
    sentence: &'s str,
}

/// A moment to come that changes something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextChange)]
pub struct NextChangeBody<'s> {
    /// When.
    at: DateTime<Utc>,
    /// What happens then.
    sentence: &'s str,
}

/// What was paid in one currency, in its smallest unit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaidInAll)]
pub struct PaidBody<'s> {
    /// ISO 4217, lower case.
    #[schema(example = "usd")]
    currency: &'s str,
    /// All that was received.
    received: i64,
    /// What of that was given back.
    given_back: i64,
    /// What is left, in words.
    sentence: &'s str,
}

/// An attempt to pay.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastPayment)]
pub struct LastPaymentBody<'s> {
    /// The event that tells of it.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// When.
    at: DateTime<Utc>,
    /// Whether the money came.
    succeeded: bool,
    /// Whether it waits for the payer to confirm it.
    action_required: bool,
    /// The invoice.
    invoice: &'s str,
    /// How much, in the currency's smallest unit.
    amount: i64,
    /// ISO 4217, lower case.
    #[schema(required = true)]
    currency: Option<&'s str>,
    /// How many times the provider had tried.
    #[schema(required = true)]
    count: Option<u32>,
    /// When it will try again.
    #[schema(required = true)]
    next_attempt_at: Option<DateTime<Utc>>,
    /// The same in words.
    sentence: &'s str,
}

/// A payer of a member's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerState)]
pub struct CustomerStateBody<'s> {
    /// The payer.
    #[schema(example = "cus_1")]
    customer: &'s str,
    /// When that was recorded.
    linked_at: DateTime<Utc>,
    /// The event that says so.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// When the provider deleted it.
    #[schema(required = true)]
    deleted_at: Option<DateTime<Utc>>,
}

/// Something she asked for that is not over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenRequest)]
pub struct OpenRequestBody<'s> {
    /// The event of asking.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// When.
    at: DateTime<Utc>,
    /// What, and what is missing.
    sentence: &'s str,
}

/// What the log tells of an account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountState)]
pub struct AccountStateBody {
    /// Whether there is one.
    open: bool,
    /// When it was opened.
    #[schema(required = true)]
    opened_at: Option<DateTime<Utc>>,
    /// When the address was last shown to be hers.
    #[schema(required = true)]
    verified_at: Option<DateTime<Utc>>,
    /// When the address was last changed.
    #[schema(required = true)]
    email_changed_at: Option<DateTime<Utc>>,
    /// When the password was last changed.
    #[schema(required = true)]
    password_changed_at: Option<DateTime<Utc>>,
    /// When she last signed in.
    #[schema(required = true)]
    signed_in_at: Option<DateTime<Utc>>,
    /// Whether that was from a device that had not been used before.
    new_device: bool,
    /// When sign-ins were last refused.
    #[schema(required = true)]
    refused_at: Option<DateTime<Utc>>,
    /// Whether a code is asked for.
    second_factor: bool,
    /// Her rights.
    #[schema(example = "member")]
    role: &'static str,
    /// The lock under which she cannot sign in; null where there is none.
    #[schema(required = true)]
    lock: Option<LockBody>,
    /// When it was deleted.
    #[schema(required = true)]
    deleted_at: Option<DateTime<Utc>>,
}

/// A note of staff.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffNote)]
pub struct NoteBody<'s> {
    /// The event of noting it.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// Its id.
    #[schema(example = "rmk_1")]
    id: &'s str,
    /// When.
    at: DateTime<Utc>,
    /// Who.
    #[schema(value_type = String, example = "staff:mem_grace")]
    actor: &'s Actor,
    /// The words.
    text: &'s str,
}

/// How does it stand with her?
///
/// `at` asks what was true at a moment, `known_at` what this service knew at a moment; both default to now.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/state", operation_id = "showMemberState", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), StateQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "How it stood with her", body = StateBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn state(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(StateQuery { at, known_at }): Params<StateQuery>,
) -> Result<Response, ApiError> {
    let as_of = as_of(&state, at.as_deref(), known_at.as_deref(), None)?;
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let held = chronicle.state(as_of);
    Ok((AnsweredAt(chronicle.position), Json(StateBody::from(&held))).into_response())
}

impl<'s> From<&'s MemberState> for StateBody<'s> {
    fn from(state: &'s MemberState) -> Self {
        Self {
            object: "member_state",
            member: state.member.as_str(),
            at: state.as_of.at,
            known_at: state.as_of.known_at,
            registered_at: state.registered_at,
            plan: state.plan.as_ref().map(domain::ids::PlanId::as_str),
            plan_name: state.plan_name.as_deref(),
            reason: state.reason.into(),
            until: state.until,
            sentence: &state.sentence,
            access: state.access.iter().map(PlanAccessBody::from).collect(),
            sources: state.sources.iter().map(SourceBody::from).collect(),
            next: state.next.as_ref().map(|NextChange { at, sentence }| NextChangeBody { at: *at, sentence }),
            paid: state.paid.iter().map(PaidBody::from).collect(),
            last_payment: state.last_payment.as_ref().map(LastPaymentBody::from),
            customers: state.customers.iter().map(CustomerStateBody::from).collect(),
            duplicates: state.duplicates.iter().map(domain::ids::SubscriptionId::as_str).collect(),
            requests: state.requests.iter().map(OpenRequestBody::from).collect(),
            account: AccountStateBody::from(&state.account),
            notes: state.notes.iter().map(NoteBody::from).collect(),
            erased_at: state.erased_at,
        }
    }
}

impl<'s> From<&'s PlanAccess> for PlanAccessBody<'s> {
    fn from(access: &'s PlanAccess) -> Self {
        let PlanAccess { plan, name, allowed, reason, until, sentence, source: _ } = access;
        let (plan, reason) = (plan.as_str(), (*reason).into());
        Self { plan, name, allowed: *allowed, reason, until: *until, sentence }
    }
}

impl<'s> From<&'s Paid> for PaidBody<'s> {
    fn from(Paid { currency, received, given_back, sentence }: &'s Paid) -> Self {
        Self { currency, received: *received, given_back: *given_back, sentence }
    }
}

impl<'s> From<&'s LastPayment> for LastPaymentBody<'s> {
    fn from(payment: &'s LastPayment) -> Self {
        Self {
            position: payment.position,
            at: payment.at,
            succeeded: payment.succeeded,
            action_required: payment.action_required,
            invoice: payment.invoice.as_str(),
            amount: payment.amount,
            currency: payment.currency.as_deref(),
            count: payment.count,
            next_attempt_at: payment.next_attempt_at,
            sentence: &payment.sentence,
        }
    }
}

impl<'s> From<&'s CustomerState> for CustomerStateBody<'s> {
    fn from(customer: &'s CustomerState) -> Self {
        let CustomerState { customer, linked_at, position, deleted_at, through: _ } = customer;
        Self {
            customer: customer.as_str(),
            linked_at: *linked_at,
            position: *position,
            deleted_at: *deleted_at,
        }
    }
}

impl<'s> From<&'s OpenRequest> for OpenRequestBody<'s> {
    fn from(OpenRequest { position, at, sentence }: &'s OpenRequest) -> Self {
        Self { position: *position, at: *at, sentence }
    }
}

impl From<&AccountState> for AccountStateBody {
    fn from(account: &AccountState) -> Self {
        let AccountState { open, opened_at, verified_at, email_changed_at, password_changed_at, .. } =
            *account;
        let AccountState {
            signed_in_at, new_device, refused_at, second_factor, role, deleted_at, lock, ..
        } = *account;
        Self {
            open,
            opened_at,
            verified_at,
            email_changed_at,
            password_changed_at,
            signed_in_at,
            new_device,
            refused_at,
            second_factor,
            role: role.as_str(),
            lock: lock.map(LockBody::from),
            deleted_at,
        }
    }
}

impl<'s> From<&'s Note> for NoteBody<'s> {
    fn from(Note { position, remark, at, actor, text }: &'s Note) -> Self {
        Self { position: *position, id: remark.as_str(), at: *at, actor, text }
    }
}
