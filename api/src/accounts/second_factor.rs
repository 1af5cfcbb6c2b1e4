//! A second factor beside the password: an authenticator app, and backup codes for when it is lost.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Confirmed;
use crate::error::{ApiError, Problem};
use crate::extract::Body;
use crate::position::AnsweredAt;
use crate::sign_in::Visit;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// A code of the app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The code that the app shows.
    #[schema(max_length = 64, example = "123456")]
    code: String,
}

/// The password and a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordAndCode {
    /// The present password.
    #[schema(format = Password)]
    password: String,
    /// The code that the app shows, or a backup code.
    #[schema(max_length = 64, example = "123456")]
    code: String,
}

/// What an authenticator app is given.
#[derive(Serialize, ToSchema)]
#[schema(as = SecondFactorEnrolment)]
pub struct EnrolmentBody {
    /// Always `second_factor_enrolment`.
    #[schema(example = "second_factor_enrolment")]
    object: &'static str,
    /// The secret in base32, to be typed.
    secret: String,
    /// The same as an `otpauth://` address, for a QR code.
    url: String,
}

/// Codes for when the app is lost. Each works once; they are shown this one time.
#[derive(Serialize, ToSchema)]
#[schema(as = BackupCodes)]
pub struct BackupCodesBody {
    /// Always `backup_codes`.
    #[schema(example = "backup_codes")]
    object: &'static str,
    /// The codes.
    codes: Vec<String>,
}

fn shown(codes: Vec<String>) -> Json<BackupCodesBody> {
    Json(BackupCodesBody { object: "backup_codes", codes })
}

/// Begin to set up a second factor.
///
/// Give the secret to an authenticator app, then send a code of it to `…/confirm`. Until then nothing is asked for.
#[utoipa::path(
    post, path = "/v1/auth/second-factor/enrol", operation_id = "enrolSecondFactor", tag = "Accounts",
    security(("session" = [])),
    request_body = Confirmed,
    responses(
        (status = 200, description = "What the app is given", body = EnrolmentBody),
        (status = 401, description = "`not_signed_in` or `wrong_credentials`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`second_factor_set`: there is one already; remove it first", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn enrol(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    visit: Visit,
    Body(Confirmed { password }): Body<Confirmed>,
) -> Result<Json<EnrolmentBody>, ApiError> {
    let enrolment = state.sign_in()?.accounts.enrol_totp(&member, &password, &visit.origin).await?;
    let (secret, url) = (enrolment.secret, enrolment.url);
    Ok(Json(EnrolmentBody { object: "second_factor_enrolment", secret, url }))
}

/// Confirm a second factor with a code of the app.
///
/// From now on a code is asked for. All other sessions, which began without one, end.
#[utoipa::path(
    post, path = "/v1/auth/second-factor/confirm", operation_id = "confirmSecondFactor", tag = "Accounts",
    security(("session" = [])),
    request_body = Code,
    responses(
        (status = 200, description = "The backup codes, shown this one time", body = BackupCodesBody),
        (status = 401, description = "`not_signed_in` or `wrong_code`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_second_factor`: begin with `…/enrol`; `second_factor_set`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn confirm(
    State(state): State<ApiState>,
    Viewer { member, session, .. }: Viewer,
    visit: Visit,
    Body(Code { code }): Body<Code>,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    let (codes, position) = accounts.confirm_totp(&member, &session, &code, &visit.origin).await?;
    Ok((AnsweredAt(position), shown(codes)).into_response())
}

/// Remove the second factor.
#[utoipa::path(
    post, path = "/v1/auth/second-factor/disable", operation_id = "disableSecondFactor", tag = "Accounts",
    security(("session" = [])),
    request_body = PasswordAndCode,
    responses(
        (status = 204, description = "Only the password is asked for from now on"),
        (status = 401, description = "`not_signed_in`, `wrong_credentials` or `wrong_code`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_second_factor`: there is none", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn disable(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    visit: Visit,
    Body(PasswordAndCode { password, code }): Body<PasswordAndCode>,
) -> Result<Response, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    let position = accounts.disable_totp(&member, &password, &code, &visit.origin).await?;
    Ok((StatusCode::NO_CONTENT, AnsweredAt(position), ()).into_response())
}

/// Make new backup codes.
///
/// Those there were do not work any more.
#[utoipa::path(
    post, path = "/v1/auth/second-factor/backup-codes", operation_id = "makeBackupCodes", tag = "Accounts",
    security(("session" = [])),
    request_body = PasswordAndCode,
    responses(
        (status = 200, description = "The new codes, shown this one time", body = BackupCodesBody),
        (status = 401, description = "`not_signed_in`, `wrong_credentials` or `wrong_code`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_second_factor`: there is none", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn backup_codes(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    visit: Visit,
    Body(PasswordAndCode { password, code }): Body<PasswordAndCode>,
) -> Result<Json<BackupCodesBody>, ApiError> {
    let accounts = &state.sign_in()?.accounts;
    Ok(shown(accounts.new_backup_codes(&member, &password, &code, &visit.origin).await?))
}
