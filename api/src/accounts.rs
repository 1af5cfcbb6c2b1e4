//! Accounts: sign up, sign in, and everything a member does with her account.
//!
//! What strangers ask is answered alike whether an address is known or not, in words and in time; a letter tells the rest.

pub mod identities;
pub mod second_factor;
pub mod sessions;

use std::time::Duration;

use ::accounts::{AccountView, Login, SignedIn, VerifiedWhat};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::account::Role;
use domain::ids::{MemberId, SessionId};
use domain::ports::Position;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, Problem};
use crate::extract::Body;
use crate::position::AnsweredAt;
use crate::sign_in::{SignIn, Visit};
use crate::state::ApiState;
use crate::viewer::Viewer;

/// How long a browser keeps that an address was registered in it: as long as the link in the letter counts.
const REGISTRATION: Duration = Duration::from_hours(24);

/// An address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The e-mail address.
    #[schema(max_length = 254, pattern = r"^[^@\s]+@[^@\s]+$", example = "ada@example.com")]
    email: String,
    /// The password: 8 to 128 characters, better 15 or more.
    #[schema(max_length = 128, format = Password)]
    password: String,
}

/// An address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The e-mail address.
    #[schema(max_length = 254, pattern = r"^[^@\s]+@[^@\s]+$", example = "ada@example.com")]
    email: String,
}

/// What a link in a letter holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkToken {
    /// The part of the link behind `#token=`.
    token: String,
}

/// Another password, with what a link in a letter holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The part of the link behind `#token=`.
    token: String,
    /// The new password: 8 to 128 characters, better 15 or more.
    #[schema(max_length = 128, format = Password)]
    password: String,
}

/// Another password in the place of the present one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The present one.
    #[schema(format = Password)]
    current_password: String,
    /// The new one: 8 to 128 characters, better 15 or more.
    #[schema(max_length = 128, format = Password)]
    new_password: String,
}

/// The answer to a right password where a second factor is asked for too.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondStep {
    /// The challenge that `POST /v1/auth/login` was answered with. Left out after a provider vouched for her: then the browser
    /// keeps it, in the cookie `__Host-challenge`.
    challenge: Option<String>,
    /// The code of the authenticator app, or a backup code.
    #[schema(max_length = 64, example = "123456")]
    code: String,
}

/// The password, to show again who she is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// The present password.
    #[schema(format = Password)]
    password: String,
}

/// A letter is on its way, if there is somebody to write to.
#[derive(Debug, Serialize, ToSchema)]
pub struct LetterBody {
    /// Always `letter`.
    #[schema(example = "letter")]
    object: &'static str,
    /// What to do next. The same whether the address is known or not.
    message: &'static str,
}

fn letter(message: &'static str) -> Response {
    (StatusCode::ACCEPTED, Json(LetterBody { object: "letter", message })).into_response()
}

/// Somebody is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SignedIn)]
pub struct SignedInBody {
    /// Always `signed_in`.
    #[schema(example = "signed_in")]
    object: &'static str,
    /// Who.
    #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    member: MemberId,
    /// In which session.
    #[schema(value_type = String)]
    session: SessionId,
    /// With which rights: `member`, `support` or `owner`.
    #[schema(value_type = String, example = "member")]
    role: Role,
    /// When the session ends at the latest.
    expires_at: DateTime<Utc>,
}

/// A code is asked for too.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChallengeBody {
    /// Always `second_factor_required`.
    #[schema(example = "second_factor_required")]
    object: &'static str,
    /// To be sent to `POST /v1/auth/login/second-factor` with the code.
    challenge: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

/// What signing in is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LoginBody {
    /// She is signed in; the cookies are set.
    SignedIn(SignedInBody),
    /// A code is asked for too.
    Challenge(ChallengeBody),
}

/// What following a link did.
#[derive(Serialize, ToSchema)]
pub struct VerifiedBody {
    /// Always `verification`.
    #[schema(example = "verification")]
    object: &'static str,
    /// `registration`: the account is open, sign in. `registration_without_password`: the account is open, and has no
    /// password, since the link was followed in another browser than the one that registered, and so the password that was
    /// sent there may be anybody's; have one chosen with `password_token`. `new_email`: the account has this address from now
    /// on.
    #[schema(example = "registration")]
    what: &'static str,
    /// With `registration_without_password`: the token for `POST /v1/auth/reset-password`, with which a password is chosen.
    /// Good once, within the hour. Keep it nowhere.
    #[schema(required = true)]
    password_token: Option<String>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountBody {
    /// Always `account`.
    #[schema(example = "account")]
    object: &'static str,
    /// Whose.
    #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    member: MemberId,
    /// Her address, which she has shown to be hers.
    #[schema(required = true)]
    email: Option<String>,
    /// Her rights: `member`, `support` or `owner`.
    #[schema(value_type = String, example = "member")]
    role: Role,
    /// Since when.
    created_at: DateTime<Utc>,
    /// Whether she has a password.
    has_password: bool,
    /// Her second factor.
    second_factor: SecondFactorBody,
}

/// Where a second factor stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecondFactor)]
pub struct SecondFactorBody {
    /// Whether it is asked for.
    enabled: bool,
    /// How many backup codes are left.
    backup_codes: usize,
}

impl From<AccountView> for AccountBody {
    fn from(view: AccountView) -> Self {
        let AccountView { member, email, role, created_at, has_password, second_factor, .. } = view;
        let (enabled, backup_codes) = (second_factor.enabled, second_factor.backup_codes);
        let second_factor = SecondFactorBody { enabled, backup_codes };
        Self { object: "account", member, email, role, created_at, has_password, second_factor }
    }
}

/// Show the password again.
///
/// For pages that guard something themselves. Changes nothing, and counts wrong passwords like signing in does. What this service
/// guards asks for the password in the same request.
#[utoipa::path(
    post, path = "/v1/auth/verify-password", operation_id = "verifyPassword", tag = "Accounts",
    security(("session" = [])),
    request_body = Confirmed,
    responses(
        (status = 204, description = "It is the right one"),
        (status = 401, description = "`not_signed_in` or `wrong_credentials`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn verify_password(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    Body(Confirmed { password }): Body<Confirmed>,
) -> Result<StatusCode, ApiError> {
    state.sign_in()?.accounts.verify_password(&member, &password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for an account.
///
/// A letter with a link goes to the address; nothing is known of it, and nobody can sign in, until the link is followed. The
/// answer is the same where the address has an account; its owner is told by letter. The password comes into force when the
/// link is followed in the same browser, which is told by the cookie `__Host-registration`; in another one, she chooses one then.
#[utoipa::path(
    post, path = "/v1/auth/register", operation_id = "register", tag = "Accounts",
    request_body = Credentials,
    responses(
        (status = 202, description = "A letter is on its way", body = LetterBody),
        (status = 422, description = "`password_refused` or `invalid`: the password or the address cannot be used", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn register(
    State(state): State<ApiState>,
    visit: Visit,
    Body(Credentials { email, password }): Body<Credentials>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?.with_letters()?;
    let proof = sign_in.accounts.register(&email, &password, &visit.origin).await?;
    let letter = letter("A letter is on its way to this address. Follow the link in it, then sign in.");
    Ok((registered(sign_in, &proof), letter).into_response())
}

/// Have the letter with the link sent again.
#[utoipa::path(
    post, path = "/v1/auth/resend-verification", operation_id = "resendVerification", tag = "Accounts",
    request_body = Address,
    responses((status = 202, description = "A letter is on its way, if one is due", body = LetterBody)),
)]
pub async fn resend_verification(
    State(state): State<ApiState>,
    visit: Visit,
    Body(Address { email }): Body<Address>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?.with_letters()?;
    let proof = sign_in.accounts.resend_verification(&email, &visit.origin).await?;
    let letter =
        letter("If an account waits for this address to be confirmed, a letter is on its way to it.");
    Ok((registered(sign_in, &proof), letter).into_response())
}

/// Has the browser keep that it asked for a letter.
fn registered(sign_in: &SignIn, proof: &str) -> HeaderMap {
    let mut set = HeaderMap::new();
    sign_in.cookies.give_registration(&mut set, proof, REGISTRATION);
    set
}

/// Follow the link of a letter.
///
/// Opens an account, or gives it another address. Signs nobody in. An account that is opened in another browser than the one
/// that registered has no password yet: the answer has what is needed to choose one.
#[utoipa::path(
    post, path = "/v1/auth/verify-email", operation_id = "verifyEmail", tag = "Accounts",
    request_body = LinkToken,
    responses(
        (status = 200, description = "The address is hers", body = VerifiedBody),
        (status = 400, description = "`bad_token`: the link is unknown, was used before, or is too old", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`: somebody else has the address by now; `sign_in_not_configured`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn verify_email(
    State(state): State<ApiState>,
    visit: Visit,
    Body(LinkToken { token }): Body<LinkToken>,
) -> Result<Response, ApiError> {
    let verified = state.sign_in()?.accounts.verify_email(&token, &visit.origin).await?;
    if verified.new_member {
        state.deliveries.member_registered(&verified.member).await?;
    }
    let what = match verified.what {
        VerifiedWhat::Registration => "registration",
        VerifiedWhat::RegistrationWithoutPassword => "registration_without_password",
        VerifiedWhat::NewEmail => "new_email",
    };
    let body = VerifiedBody { object: "verification", what, password_token: verified.password_token };
    Ok((AnsweredAt(verified.position), Json(body)).into_response())
}

/// Sign in.
///
/// Sets the cookies `__Host-access` and `refresh`. Ends the session that the request's cookies belong to, if there is one.
#[utoipa::path(
    post, path = "/v1/auth/login", operation_id = "login", tag = "Accounts",
    request_body = Credentials,
    responses(
        (status = 200, description = "She is signed in, or a code is asked for too", body = LoginBody),
        (status = 401, description = "`wrong_credentials`: the address or the password is wrong, or the address has not been confirmed yet", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`foreign_origin`; `account_locked`: the password is right, and staff has locked the account", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn login(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    Body(Credentials { email, password }): Body<Credentials>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    match sign_in.accounts.login(&email, &password, &visit.origin).await? {
        Login::SignedIn(signed_in) => welcome(&state, sign_in, before, visit, *signed_in).await,
        Login::SecondFactorRequired { challenge, expires_at } => {
            let body = ChallengeBody { object: "second_factor_required", challenge, expires_at };
            Ok(Json(LoginBody::Challenge(body)).into_response())
        }
    }
}

/// Sign in with the code of a second factor.
#[utoipa::path(
    post, path = "/v1/auth/login/second-factor", operation_id = "loginSecondFactor", tag = "Accounts",
    request_body = SecondStep,
    responses(
        (status = 200, description = "She is signed in", body = SignedInBody),
        (status = 400, description = "`bad_token`: the challenge is unknown, too old, or was tried too often; sign in with the password again", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`wrong_code`: the code is wrong, too old, or was used before", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn login_second_factor(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    Body(SecondStep { challenge, code }): Body<SecondStep>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let challenge = challenge.or_else(|| visit.challenge.clone()).unwrap_or_default();
    let signed_in = sign_in.accounts.login_second_factor(&challenge, &code, &visit.origin).await?;
    welcome(&state, sign_in, before, visit, signed_in).await
}

/// Gives her the cookies of a new session. The one that the browser had, whoever put it there, ends.
async fn welcome(
    state: &ApiState,
    sign_in: &SignIn,
    before: Option<Viewer>,
    visit: Visit,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let (member, session) = (signed_in.member.clone(), signed_in.session.clone());
    let SignedIn { role, session_expires_at: expires_at, .. } = signed_in;
    let body = SignedInBody { object: "signed_in", member, session, role, expires_at };
    welcome_with(Json(LoginBody::SignedIn(body)), state, sign_in, before, visit, signed_in).await
}

/// The same for a page: it goes on at `to`, a page of ours.
pub async fn welcome_to(
    to: &str,
    state: &ApiState,
    sign_in: &SignIn,
    before: Option<Viewer>,
    visit: Visit,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    welcome_with(Redirect::to(to), state, sign_in, before, visit, signed_in).await
}

/// The same with any answer, such as a page.
pub async fn welcome_with(
    answer: impl IntoResponse,
    state: &ApiState,
    sign_in: &SignIn,
    before: Option<Viewer>,
    visit: Visit,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let ended = leave(sign_in, before, &visit).await?;
    state.deliveries.member_signed_in(&signed_in.member);
    let mut set = HeaderMap::new();
    sign_in.give(&mut set, &signed_in, state.now());
    if visit.challenge.is_some() {
        sign_in.cookies.give_challenge(&mut set, "", Duration::ZERO);
    }
    let position = signed_in.position.max(ended.unwrap_or_default());
    Ok((set, AnsweredAt(position), answer).into_response())
}

/// Ends the session that a request's cookies belong to.
async fn leave(
    sign_in: &SignIn,
    viewer: Option<Viewer>,
    visit: &Visit,
) -> Result<Option<Position>, ApiError> {
    let accounts = &sign_in.accounts;
    let by_access = match viewer {
        Some(Viewer { member, session, .. }) => {
            Some(accounts.logout(&member, &session, &visit.origin).await?)
        }
        None => None,
    };
    // The two cookies may be of different sessions.
    let by_refresh = match &visit.refresh {
        Some(token) => Some(accounts.logout_with(token, &visit.origin).await?),
        None => None,
    };
    Ok(by_access.max(by_refresh))
}

/// Sign out.
///
/// Ends the session, also for whoever else may have its cookies. Signing out when nobody is signed in is no mistake.
#[utoipa::path(
    post, path = "/v1/auth/logout", operation_id = "logout", tag = "Accounts",
    responses((status = 204, description = "Nobody is signed in any more; the cookies are taken away")),
)]
pub async fn logout(
    State(state): State<ApiState>,
    viewer: Option<Viewer>,
    visit: Visit,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let ended = leave(sign_in, viewer, &visit).await?;
    Ok(goodbye(sign_in, ended))
}

/// Takes the cookies away.
pub(crate) fn goodbye(sign_in: &SignIn, position: Option<Position>) -> Response {
    let mut set = HeaderMap::new();
    sign_in.cookies.take_away(&mut set);
    (StatusCode::NO_CONTENT, set, AnsweredAt(position.unwrap_or_default()), ()).into_response()
}

/// Renew the session.
///
/// Rarely needed: any request with an access cookie that has expired renews it, and is answered at once.
#[utoipa::path(
    post, path = "/v1/auth/refresh", operation_id = "refreshSession", tag = "Accounts",
    responses(
        (status = 200, description = "The session goes on; the cookies are renewed", body = SignedInBody),
        (status = 401, description = "`session_ended`: sign in again; the cookies are taken away", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn refresh(State(state): State<ApiState>, visit: Visit) -> Result<Response, ApiError> {
    use ::accounts::AccountError;

    let sign_in = state.sign_in()?;
    let mut set = HeaderMap::new();
    let renewed = match &visit.refresh {
        Some(token) => sign_in.accounts.refresh(token, &visit.origin).await,
        None => Err(AccountError::SessionEnded),
    };
    let renewed = match renewed {
        Err(error @ AccountError::SessionEnded) => {
            sign_in.cookies.take_away(&mut set);
            return Ok((set, ApiError::from(error)).into_response());
        }
        renewed => renewed?,
    };
    sign_in.give_renewed(&mut set, &renewed, state.now());
    let body = SignedInBody {
        object: "signed_in",
        member: renewed.member,
        session: renewed.session,
        role: renewed.role,
        expires_at: renewed.session_expires_at,
    };
    Ok((set, Json(body)).into_response())
}

/// Have a letter sent with which another password can be chosen.
#[utoipa::path(
    post, path = "/v1/auth/forgot-password", operation_id = "forgotPassword", tag = "Accounts",
    request_body = Address,
    responses((status = 202, description = "A letter is on its way, if there is an account", body = LetterBody)),
)]
pub async fn forgot_password(
    State(state): State<ApiState>,
    visit: Visit,
    Body(Address { email }): Body<Address>,
) -> Result<Response, ApiError> {
    state.sign_in()?.with_letters()?.accounts.forgot_password(&email, &visit.origin).await?;
    Ok(letter("If there is an account with this address, a letter is on its way to it."))
}

/// Choose another password with the link of a letter.
///
/// Ends all sessions. Signs nobody in.
#[utoipa::path(
    post, path = "/v1/auth/reset-password", operation_id = "resetPassword", tag = "Accounts",
    request_body = NewPassword,
    responses(
        (status = 204, description = "The password is another; sign in with it"),
        (status = 400, description = "`bad_token`: the link is unknown, was used before, or is too old", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`password_refused`: the password cannot be used; the link still can", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn reset_password(
    State(state): State<ApiState>,
    visit: Visit,
    Body(NewPassword { token, password }): Body<NewPassword>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let reset = sign_in.accounts.reset_password(&token, &password, &visit.origin).await?;
    if reset.new_member {
        state.deliveries.member_registered(&reset.member).await?;
    }
    Ok(goodbye(sign_in, Some(reset.position)))
}

/// Choose another password.
///
/// Ends all other sessions.
#[utoipa::path(
    post, path = "/v1/auth/change-password", operation_id = "changePassword", tag = "Accounts",
    security(("session" = [])),
    request_body = PasswordChange,
    responses(
        (status = 204, description = "The password is another"),
        (status = 401, description = "`not_signed_in` or `wrong_credentials`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`password_refused`: the new password cannot be used", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change_password(
    State(state): State<ApiState>,
    Viewer { member, session, .. }: Viewer,
    visit: Visit,
    Body(PasswordChange { current_password, new_password }): Body<PasswordChange>,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    let changed =
        accounts.change_password(&member, &session, &current_password, &new_password, &visit.origin);
    Ok((StatusCode::NO_CONTENT, AnsweredAt(changed.await?), ()).into_response())
}

/// Ask for another e-mail address.
///
/// A letter with a link goes to the new address, another to the present one, which counts until the link is followed.
#[utoipa::path(
    post, path = "/v1/auth/change-email", operation_id = "changeEmail", tag = "Accounts",
    security(("session" = [])),
    request_body = Credentials,
    responses(
        (status = 202, description = "A letter is on its way to the new address", body = LetterBody),
        (status = 401, description = "`not_signed_in` or `wrong_credentials`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change_email(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    visit: Visit,
    Body(Credentials { email, password }): Body<Credentials>,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.with_letters()?.accounts;
    accounts.change_email(&member, &password, &email, &visit.origin).await?;
    Ok(letter(
        "A letter is on its way to the new address. Follow the link in it; until then the present one counts.",
    ))
}

/// Delete the account.
///
/// Its sessions, its address and everything personal go; what happened stays in the history, without her. Refused while a
/// membership is being paid for: cancel that first.
#[utoipa::path(
    post, path = "/v1/auth/delete-account", operation_id = "deleteAccount", tag = "Accounts",
    security(("session" = [])),
    request_body = Confirmed,
    responses(
        (status = 204, description = "It is gone; the cookies are taken away"),
        (status = 401, description = "`not_signed_in` or `wrong_credentials`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`still_paying`: a membership is being paid for; cancel it first", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete_account(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    visit: Visit,
    Body(Confirmed { password }): Body<Confirmed>,
) -> Result<Response, ApiError> {
    let sign_in = state.sign_in()?;
    let deleted = sign_in.accounts.delete_account(&member, &password, &visit.origin).await?;
    Ok(goodbye(sign_in, Some(deleted)))
}

/// The account of whoever is signed in.
#[utoipa::path(
    get, path = "/v1/auth/account", operation_id = "showAccount", tag = "Accounts",
    security(("session" = [])),
    responses((status = 200, description = "The account", body = AccountBody)),
)]
pub async fn show(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
) -> Result<Json<AccountBody>, ApiError> {
    let account = state.sign_in()?.accounts.account(&member).await?;
    account.map(|account| Json(account.into())).ok_or(ApiError::NotSignedIn)
}
