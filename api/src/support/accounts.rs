//! What an owner keeps: who has an account, with which rights, and whom to invite.

use accounts::AccountView;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::account::{Lock, Role};
use domain::ids::{MemberId, RemarkId};
use domain::ports::{Position, Remark};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::acts::By;
use super::acts::routes::PreviewQuery;
use crate::auth::{Allowed, SupportRead, SupportWrite, record_read};
use crate::deliveries::{A_LINE, sentence};
use crate::error::{ApiError, Problem};
use crate::extract::{Body, Ids, List, Params, cursor, limit, member};
use crate::idempotency::IdSource;
use crate::position::{AnsweredAt, maybe};
use crate::shell::Asked;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// A lock, under which nobody signs in.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AccountLock)]
pub struct LockBody {
    /// When it ends by itself; null where it does not.
    #[schema(required = true)]
    pub until: Option<DateTime<Utc>>,
}

impl From<Lock> for LockBody {
    fn from(Lock { until }: Lock) -> Self {
        Self { until }
    }
}

/// An account as staff sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AccountOverview)]
pub struct OverviewBody {
    /// Always `account_overview`.
    #[schema(example = "account_overview")]
    object: &'static str,
    /// Whose.
    #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    pub member: MemberId,
    /// Her address.
    #[schema(required = true)]
    pub email: Option<String>,
    /// Her rights: `member`, `support` or `owner`.
    #[schema(value_type = String, example = "member")]
    pub role: Role,
    /// Whether the address was shown to be hers; not yet, where she was invited and has not followed the link.
    pub verified: bool,
    /// Whether she has a password.
    pub has_password: bool,
    /// Whether a code is asked for beside the password.
    pub second_factor: bool,
    /// The lock under which she cannot sign in; null where there is none.
    #[schema(required = true)]
    pub lock: Option<LockBody>,
    /// Since when there is an account.
    pub created_at: DateTime<Utc>,
    /// When she last signed in; null where she never did.
    #[schema(required = true)]
    pub signed_in_at: Option<DateTime<Utc>>,
}

impl From<AccountView> for OverviewBody {
    fn from(view: AccountView) -> Self {
        let AccountView { member, email, role, verified, has_password, lock, created_at, .. } = view;
        Self {
            object: "account_overview",
            member,
            email,
            role,
            verified,
            has_password,
            second_factor: view.second_factor.enabled,
            lock: lock.map(LockBody::from),
            created_at,
            signed_in_at: view.signed_in_at,
        }
    }
}

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountsQuery {
    /// Only those with this role: `member`, `support` or `owner`.
    #[param(pattern = "^(member|support|owner)$")]
    role: Option<String>,
    /// How many, 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// Accounts after one, of which there is one more than `limit` if more are to come. That staff looks at each that is shown is
/// recorded first.
pub async fn read(
    state: &ApiState,
    viewer: &Viewer,
    asked: &Asked,
    role: Option<Role>,
    after: Option<&MemberId>,
    limit: usize,
) -> Result<Vec<OverviewBody>, ApiError> {
    let accounts = state.sign_in()?.accounts.list(role, after, limit + 1).await?;
    for account in accounts.iter().take(limit) {
        record_read(state, viewer, &account.member, "accounts", asked.request_id()).await?;
    }
    Ok(accounts.into_iter().map(OverviewBody::from).collect())
}

/// List accounts.
///
/// For owners who are signed in. By the ids of their members, which for ids made here is the order in which they were made. That
/// she looked is in the history of each.
#[utoipa::path(
    get, path = "/v1/support/accounts", operation_id = "listAccounts", tag = "Support",
    params(AccountsQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "A page of accounts", body = List<OverviewBody>),
        (status = 409, description = "`sign_in_not_configured`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportRead>,
    viewer: Option<Viewer>,
    asked: Asked,
    Params(query): Params<AccountsQuery>,
) -> Result<Json<List<OverviewBody>>, ApiError> {
    caller.keeps_accounts()?;
    let viewer = viewer.ok_or(ApiError::NotSignedIn)?;
    let limit = limit(query.limit.as_deref())?;
    let role = query.role.as_deref().map(role).transpose()?;
    let after = cursor(query.cursor.as_deref())?;
    let after = after.map(|id| MemberId::parse(&id).map_err(|_| ApiError::BadCursor)).transpose()?;
    let accounts = read(&state, &viewer, &asked, role, after.as_ref(), limit).await?;
    Ok(Json(List::page(accounts, limit, |account| account.member.to_string(), |account| account)))
}

/// A role as it is written.
pub fn role(text: &str) -> Result<Role, ApiError> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| ApiError::BadQuery("role has to be member, support or owner".to_owned()))
}

/// Show a member's account.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/account", operation_id = "showAccountOverview", tag = "Support",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "Her account", body = OverviewBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_account` or `sign_in_not_configured`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
) -> Result<Json<OverviewBody>, ApiError> {
    let member = member(&id)?;
    let account = state.sign_in()?.accounts.account(&member).await?;
    match account {
        Some(account) => Ok(Json(account.into())),
        None if state.people.get(&member).await?.is_none() => Err(ApiError::UnknownMember(id)),
        None => Err(::accounts::AccountError::NoAccount.into()),
    }
}

/// Somebody to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// Her e-mail address.
    #[schema(max_length = 254, pattern = r"^[^@\s]+@[^@\s]+$", example = "ada@example.com")]
    email: String,
    /// Her rights: `member`, `support` or `owner`.
    #[schema(value_type = String, example = "support", pattern = "^(member|support|owner)$")]
    role: Role,
    /// Why, in a line; left out only for a preview.
    #[schema(min_length = 1, max_length = 500, example = "She joins the support.")]
    reason: Option<String>,
}

/// What an invitation does, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
pub struct InvitationBody {
    /// `invitation_preview` for what would be done, `invitation` for what was.
    #[schema(example = "invitation_preview")]
    object: &'static str,
    /// Who she is; null in a preview where nobody has the address yet.
    #[schema(required = true, value_type = Option<String>, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    pub member: Option<MemberId>,
    /// Her rights.
    #[schema(value_type = String, example = "support")]
    role: Role,
    /// What it comes to.
    pub sentence: String,
    /// From here on it can be seen, once it is done: send it as `Membership-Position`.
    #[serde(serialize_with = "maybe")]
    #[schema(required = true, value_type = Option<String>, example = "p-1f")]
    pub position: Option<Position>,
}

/// What inviting somebody would do. Changes nothing.
pub async fn preview(state: &ApiState, email: &str, role: Role) -> Result<InvitationBody, ApiError> {
    let member = state.sign_in()?.with_letters()?.accounts.may_invite(email).await?;
    let whose = if member.is_some() { "The member with this address" } else { "A new member" };
    let sentence = format!(
        "{whose} is given an account with the role {role}, and a letter goes to the address: with the link in it, which works \
         once within 24 hours, she chooses her password. Nobody else knows it."
    );
    Ok(InvitationBody { object: "invitation_preview", member, role, sentence, position: None })
}

/// Invites somebody. Asked again, as long as she has not chosen a password, it sends another letter and does what was interrupted.
pub async fn perform(
    state: &ApiState,
    by: &By,
    email: &str,
    role: Role,
    words: &str,
) -> Result<InvitationBody, ApiError> {
    let text = sentence(words).ok_or(ApiError::Invalid { field: "reason", why: A_LINE.into() })?;
    let mut body = preview(state, email, role).await?;
    let accounts = &state.sign_in()?.accounts;
    let member = accounts.open_for_invitation(email, by.actor.clone(), &by.request_id).await?;
    state.deliveries.member_registered(&member).await?;
    let (remark, at) = (RemarkId::generate(by.ids.at, by.ids.bits), by.ids.at);
    state.remarks.put(Remark { id: remark.clone(), member: member.clone(), text, at }).await?;
    let invited = accounts.invite(&member, role, remark, by.actor.clone(), &by.request_id).await?;
    (body.object, body.member, body.position) = ("invitation", Some(member), Some(invited));
    Ok(body)
}

/// Invite somebody.
///
/// For owners who are signed in. Makes an account for the address and has a letter sent there, with which its owner chooses her
/// password: staff never knows one. Asked again before she has, it sends another letter.
#[utoipa::path(
    post, path = "/v1/support/accounts", operation_id = "inviteAccount", tag = "Support",
    params(PreviewQuery),
    security(("bearer" = ["support.write"])),
    request_body = NewInvitation,
    responses(
        (status = 200, description = "What was done, or would be", body = InvitationBody),
        (status = 409, description = "`account_exists`, `mail_not_configured` or `sign_in_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn invite(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Params(PreviewQuery { preview: only }): Params<PreviewQuery>,
    Body(NewInvitation { email, role, reason }): Body<NewInvitation>,
) -> Result<Response, ApiError> {
    caller.keeps_accounts()?;
    if only {
        return Ok(Json(preview(&state, &email, role).await?).into_response());
    }
    let by = By::new(&caller, &asked, ids);
    let done = perform(&state, &by, &email, role, reason.as_deref().unwrap_or_default()).await?;
    Ok((done.position.map(AnsweredAt), Json(done)).into_response())
}
