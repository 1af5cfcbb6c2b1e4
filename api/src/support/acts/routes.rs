//! What staff does, over HTTP. With `?preview=true` each says what it would do, and changes nothing.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::account::{Role, StaffLetter};
use domain::member::ErasedBecause;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Act, ActBody, By, Until, perform, preview};
use crate::auth::{Allowed, SupportWrite};
use crate::error::{ApiError, Problem};
use crate::extract::{Body, Ids, Params, member, moment};
use crate::idempotency::IdSource;
use crate::position::AnsweredAt;
use crate::shell::Asked;
use crate::state::ApiState;

/// Whether to do it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PreviewQuery {
    /// `true` to be told what it would do; nothing is changed then, and no reason needed.
    #[serde(default)]
    pub(crate) preview: bool,
}

/// A plan that is opened without a payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// A plan of the catalogue.
    #[schema(example = "pro")]
    plan: String,
    /// Until when (RFC 3339), or `forever`.
    #[schema(example = "2027-06-03T10:00:00Z")]
    until: String,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500, example = "Her course was offline for a week.")]
    reason: Option<String>,
}

/// Another end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantEnd {
    /// Until when (RFC 3339), or `forever`.
    #[schema(example = "2027-06-03T10:00:00Z")]
    until: String,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// A reason.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500, example = "Given to the wrong member.")]
    pub(crate) reason: Option<String>,
}

/// More time to settle what is owed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoreGrace {
    /// For which subscription; needed only where several are past due.
    #[schema(example = "sub_1")]
    subscription: Option<String>,
    /// Until when (RFC 3339); not before the rules of access end it.
    #[schema(format = DateTime, example = "2027-06-03T10:00:00Z")]
    until: String,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// A note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNote {
    /// The words, on one line or several; left out only for a preview.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "Called; her card is lost, the new one comes on Monday."
    )]
    text: Option<String>,
}

/// A payer of hers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkedCustomer {
    /// The payer's id at the billing provider.
    #[schema(example = "cus_NffrFeUfNV2Hib", pattern = "^cus_[A-Za-z0-9_]+$", max_length = 255)]
    customer: String,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// A letter to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterAgain {
    /// Which.
    kind: LetterKind,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// A letter that can be sent again.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// To confirm her address, as long as she has not.
    Verification,
    /// To choose another password.
    PasswordReset,
    /// To choose the first password, as long as somebody who was invited has not.
    Invitation,
}

/// Sessions to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionsToEnd {
    /// Which; all of hers, when left out.
    #[schema(example = "ses_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    session: Option<String>,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// How long somebody cannot sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLock {
    /// Until when (RFC 3339), or `forever`: until it is taken off.
    #[schema(example = "2027-06-03T10:00:00Z")]
    until: String,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500, example = "Somebody else reads her letters.")]
    reason: Option<String>,
}

/// Other rights.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// `member`, `support` or `owner`.
    #[schema(value_type = String, example = "support", pattern = "^(member|support|owner)$")]
    role: Role,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500, example = "She joins the support.")]
    reason: Option<String>,
}

/// Why somebody is erased.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EraseReason {
    /// She asked for it.
    AskedFor,
    /// She is known a second time.
    Duplicate,
    /// Nothing has to be kept any more.
    NotNeeded,
    /// A court or an authority ordered it.
    Ordered,
}

/// An erasure.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToErase {
    /// Why: one of these words, as a sentence about her would have to be erased too.
    reason: EraseReason,
}

/// Who asks, and how.
type Request = (Allowed<SupportWrite>, Asked, IdSource);

async fn answer(
    state: &ApiState,
    (Allowed { caller, .. }, asked, ids): Request,
    id: &str,
    PreviewQuery { preview: only }: PreviewQuery,
    act: Act,
    words: Option<String>,
) -> Result<Response, ApiError> {
    let member = member(id)?;
    if only {
        return Ok(Json(preview(state, &caller, &member, &act).await?).into_response());
    }
    let by = By::new(&caller, &asked, ids);
    let done = perform(state, &by, &member, &act, words.as_deref().unwrap_or_default()).await?;
    Ok((done.position.map(AnsweredAt), Json(done)).into_response())
}

/// Open a plan for a member.
///
/// Beside whatever she pays for: the end of one never takes the other. There is no grant without an end, except one that is said
/// to be for good (`forever`).
#[utoipa::path(
    post, path = "/v1/support/members/{member}/grants", operation_id = "grantAccess", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = NewGrant,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`unknown_plan` or `invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn grant(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(NewGrant { plan, until, reason }): Body<NewGrant>,
) -> Result<Response, ApiError> {
    let act = Act::Grant { plan: plan.into(), until: Until::parse(&until)? };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Let a grant end at another moment.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/grants/{grant}/move", operation_id = "moveGrant", tag = "Support",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("grant" = String, Path, description = "The grant's id"),
        PreviewQuery
    ),
    security(("bearer" = ["support.write"])),
    request_body = GrantEnd,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member` or `unknown_grant`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`grant_revoked` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn move_grant(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids((id, grant)): Ids<(String, String)>,
    Params(query): Params<PreviewQuery>,
    Body(GrantEnd { until, reason }): Body<GrantEnd>,
) -> Result<Response, ApiError> {
    let act = Act::MoveGrant { grant: grant.into(), until: Until::parse(&until)? };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Take a grant back.
///
/// At once and for good; the reason is in the body.
#[utoipa::path(
    delete, path = "/v1/support/members/{member}/grants/{grant}", operation_id = "revokeGrant", tag = "Support",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("grant" = String, Path, description = "The grant's id"),
        PreviewQuery
    ),
    security(("bearer" = ["support.write"])),
    request_body = Because,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member` or `unknown_grant`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn revoke_grant(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids((id, grant)): Ids<(String, String)>,
    Params(query): Params<PreviewQuery>,
    Body(Because { reason }): Body<Because>,
) -> Result<Response, ApiError> {
    let act = Act::RevokeGrant { grant: grant.into() };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Give a member more time to settle what she owes.
///
/// Only while a renewal is past due, and for that debt alone: it ends when the debt does. The one given last counts, so that an
/// earlier end takes time back, though never what the rules of access give anyway.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/grace", operation_id = "extendGrace", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = MoreGrace,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`nothing_owed`, `several_subscriptions` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn extend_grace(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(MoreGrace { subscription, until, reason }): Body<MoreGrace>,
) -> Result<Response, ApiError> {
    let until: DateTime<Utc> = moment("until", &until)?;
    let act = Act::ExtendGrace { subscription: subscription.map(Into::into), until };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Note something about a member.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/notes", operation_id = "addNote", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = NewNote,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn add_note(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(NewNote { text }): Body<NewNote>,
) -> Result<Response, ApiError> {
    answer(&state, (caller, asked, ids), &id, query, Act::AddNote, text).await
}

/// Withdraw a note.
///
/// It holds no more; that it did, and its words, stay in her history. The reason is in the body.
#[utoipa::path(
    delete, path = "/v1/support/members/{member}/notes/{note}", operation_id = "withdrawNote", tag = "Support",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("note" = String, Path, description = "The note's id"),
        PreviewQuery
    ),
    security(("bearer" = ["support.write"])),
    request_body = Because,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member` or `unknown_note`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn withdraw_note(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids((id, note)): Ids<(String, String)>,
    Params(query): Params<PreviewQuery>,
    Body(Because { reason }): Body<Because>,
) -> Result<Response, ApiError> {
    let act = Act::WithdrawNote { note: note.into() };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Link a Stripe customer to a member, with a reason.
///
/// As `PUT /v1/members/{member}/stripe-customer`; the reason becomes a note in her history.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/stripe-customers", operation_id = "linkCustomerWithReason", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = LinkedCustomer,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`linked_elsewhere` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn link(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(LinkedCustomer { customer, reason }): Body<LinkedCustomer>,
) -> Result<Response, ApiError> {
    let act = Act::Link { customer: customer.into() };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Unlink a Stripe customer from a member.
///
/// It never was hers: what it paid for counts for nobody until it is linked again. The reason is in the body.
#[utoipa::path(
    delete, path = "/v1/support/members/{member}/stripe-customers/{customer}", operation_id = "unlinkCustomer", tag = "Support",
    params(
        ("member" = String, Path, description = "The member's id"),
        ("customer" = String, Path, description = "The payer's id at the billing provider"),
        PreviewQuery
    ),
    security(("bearer" = ["support.write"])),
    request_body = Because,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member` or `not_linked`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`linked_elsewhere` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn unlink(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids((id, customer)): Ids<(String, String)>,
    Params(query): Params<PreviewQuery>,
    Body(Because { reason }): Body<Because>,
) -> Result<Response, ApiError> {
    let act = Act::Unlink { customer: customer.into() };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Send a letter to a member again.
///
/// Only to her own address, and no more often than she could ask for it herself.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/letters", operation_id = "sendLetter", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = LetterAgain,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_address`, `already_confirmed`, `mail_not_configured`, `sign_in_not_configured` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn send_letter(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(LetterAgain { kind, reason }): Body<LetterAgain>,
) -> Result<Response, ApiError> {
    let letter = match kind {
        LetterKind::Verification => StaffLetter::Verification,
        LetterKind::PasswordReset => StaffLetter::PasswordReset,
        LetterKind::Invitation => StaffLetter::Invitation,
    };
    answer(&state, (caller, asked, ids), &id, query, Act::SendLetter(letter), reason).await
}

/// End a member's sessions.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/sessions/end", operation_id = "endMembersSessions", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = SessionsToEnd,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member` or `unknown_session`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`sign_in_not_configured` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn end_sessions(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(SessionsToEnd { session, reason }): Body<SessionsToEnd>,
) -> Result<Response, ApiError> {
    let act = Act::EndSessions { session: session.map(Into::into) };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Lock a member's account.
///
/// She cannot sign in and her sessions end at once, until the lock ends or is taken off. Nothing else changes: what she pays for is
/// charged and stays open to her, where she reaches it without an account. Only whoever gives her right password is told.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/lock", operation_id = "lockAccount", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = NewLock,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_account`, `last_owner`, `sign_in_not_configured` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn lock(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(NewLock { until, reason }): Body<NewLock>,
) -> Result<Response, ApiError> {
    let act = Act::Lock { until: Until::parse(&until)? };
    answer(&state, (caller, asked, ids), &id, query, act, reason).await
}

/// Take the lock off a member's account.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/unlock", operation_id = "unlockAccount", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = Because,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_account`, `sign_in_not_configured` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn unlock(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(Because { reason }): Body<Because>,
) -> Result<Response, ApiError> {
    answer(&state, (caller, asked, ids), &id, query, Act::Unlock, reason).await
}

/// Give a member other rights.
///
/// For owners who are signed in. Fewer rights end her sessions at once; more count within ten minutes. The last owner who can sign
/// in stays one.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/role", operation_id = "changeRole", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = NewRole,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_account`, `last_owner`, `sign_in_not_configured` or `erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change_role(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(NewRole { role, reason }): Body<NewRole>,
) -> Result<Response, ApiError> {
    answer(&state, (caller, asked, ids), &id, query, Act::ChangeRole(role), reason).await
}

/// Forget a member.
///
/// For good: her record, her account with all that signs her in, what staff wrote about her, and the bodies of what Stripe
/// delivered about her payers, now and later. What happened stays in the log, which holds nothing personal. Refused as long as
/// something may be collected from her; asked again after an interruption, it finishes.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/erase", operation_id = "eraseMember", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = ToErase,
    responses(
        (status = 200, description = "What was done, or would be", body = ActBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`still_paying` or `staff`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_shape`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn erase(
    State(state): State<ApiState>,
    caller: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    Body(ToErase { reason }): Body<ToErase>,
) -> Result<Response, ApiError> {
    let because = match reason {
        EraseReason::AskedFor => ErasedBecause::AskedFor,
        EraseReason::Duplicate => ErasedBecause::Duplicate,
        EraseReason::NotNeeded => ErasedBecause::NotNeeded,
        EraseReason::Ordered => ErasedBecause::Ordered,
    };
    answer(&state, (caller, asked, ids), &id, query, Act::Erase(because), None).await
}
