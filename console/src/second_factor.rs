//! Setting up a second factor, without which staff sees nothing of anybody, and the codes for when it is lost.
//!
//! What is sent goes to paths under `/v1/auth/`, like the API's own: its answers are kept under no key, and what renews a session
//! goes along. The secret is in the page that shows it and in the form that confirms it, and in no address.

use accounts::{AccountError, Enrolment, Origin};
use api::error::ApiError;
use api::sign_in::Visit;
use api::{ApiState, SignIn};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use domain::ids::MemberId;

use crate::account::{ACCOUNT, About, Oneself};
use crate::desk::Frame;
use crate::form::Fields;
use crate::page::Page;
use crate::qr::Qr;
use crate::sign_in::{again, destination, door};
use crate::time::Moment;

/// The page to set one up at.
pub(crate) const SET_UP: &str = "/console/account/second-factor";
/// Takes the password, and gives the app its secret.
pub(crate) const ENROL: &str = "/v1/auth/console/second-factor/enrol";
/// Takes the first code.
pub(crate) const CONFIRM: &str = "/v1/auth/console/second-factor/confirm";
/// Makes new backup codes.
pub(crate) const BACKUP_CODES: &str = "/v1/auth/console/second-factor/backup-codes";
/// Removes it, so that another app can be given a secret.
pub(crate) const DISABLE: &str = "/v1/auth/console/second-factor/disable";

#[derive(Template)]
#[template(path = "enrol.html")]
pub(crate) struct EnrolPage {
    frame: Frame,
    to: String,
    mistake: Option<String>,
    step: Step,
}

/// How far it has come.
enum Step {
    /// There is one already.
    Set,
    /// There is no password that it could go beside.
    NoPassword,
    /// The password is asked for.
    Password,
    /// The app is given its secret, and a code of it asked for.
    App { secret: String, groups: String, qr: Qr },
}

impl EnrolPage {
    fn of(oneself: &Oneself, to: &str, mistake: Option<String>) -> Self {
        let step = match &oneself.account {
            account if account.second_factor.enabled => Step::Set,
            account if account.has_password => Step::Password,
            _ => Step::NoPassword,
        };
        Self { frame: oneself.frame.clone(), to: to.to_owned(), mistake, step }
    }

    fn given(frame: Frame, to: &str, enrolment: Enrolment) -> Result<Self, ApiError> {
        let Enrolment { secret, url } = enrolment;
        let qr = Qr::of(&url);
        let qr = qr.map_err(|error| ApiError::Panicked(format!("a QR code cannot be drawn: {error}")))?;
        let groups: Vec<&str> =
            secret.as_bytes().chunks(4).filter_map(|four| str::from_utf8(four).ok()).collect();
        let step = Step::App { groups: groups.join(" "), secret, qr };
        Ok(Self { frame, to: to.to_owned(), mistake: None, step })
    }
}

#[derive(Template)]
#[template(path = "backup_codes.html")]
struct CodesPage {
    frame: Frame,
    /// Whether the second factor was set up just now.
    first: bool,
    codes: Vec<String>,
    whose: String,
    made: Moment,
    to: String,
}

impl CodesPage {
    fn of(state: &ApiState, oneself: &Oneself, codes: Vec<String>) -> Self {
        let (frame, whose) = (oneself.frame.clone(), oneself.name());
        Self { frame, first: false, codes, whose, made: Moment(state.now()), to: ACCOUNT.to_owned() }
    }
}

/// What somebody is shown who has just signed in with a password alone and needs more: her app's secret.
pub(crate) async fn begun(
    sign_in: &SignIn,
    member: &MemberId,
    password: &str,
    origin: &Origin,
    to: &str,
) -> Result<Page<EnrolPage>, ApiError> {
    let enrolment = sign_in.accounts.enrol_totp(member, password, origin).await?;
    EnrolPage::given(Frame::bare(), to, enrolment).map(Page)
}

/// The page to begin at, for whoever has signed in before.
pub(crate) async fn show(oneself: Oneself, uri: Uri) -> Page<EnrolPage> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    Page(EnrolPage::of(&oneself, destination(query.filled("to")), None))
}

/// Takes the password once more, and gives the app a secret.
pub(crate) async fn enrol(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let to = destination(fields.filled("to"));
    let accounts = &door(&state)?.accounts;
    match accounts.enrol_totp(oneself.member(), fields.text("password"), &visit.origin).await {
        Ok(enrolment) => Ok(Page(EnrolPage::given(oneself.frame, to, enrolment)?).into_response()),
        Err(error) => {
            again(error, |mistake| Page(EnrolPage::of(&oneself, to, Some(mistake))).into_response())
        }
    }
}

/// Takes a code of the app, which has to be right once; then it counts, and the backup codes are shown this one time.
pub(crate) async fn confirm(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let (to, code) = (destination(fields.filled("to")), fields.filled("code").unwrap_or_default());
    let accounts = &door(&state)?.accounts;
    let member = oneself.member();
    let error = match accounts.confirm_totp(member, &oneself.viewer.session, code, &visit.origin).await {
        Ok((codes, _)) => {
            let page = CodesPage { first: true, to: to.to_owned(), ..CodesPage::of(&state, &oneself, codes) };
            return Ok(Page(page).into_response());
        }
        Err(error) => error,
    };
    let mut page = match accounts.enrolment_again(member, fields.text("secret")).await? {
        Some(enrolment) => EnrolPage::given(oneself.frame.clone(), to, enrolment)?,
        None => EnrolPage::of(&oneself, to, None),
    };
    let replaced = matches!((&error, &page.step), (AccountError::WrongCode, Step::Password));
    if matches!(error, AccountError::SecondFactorSet) {
        page.step = Step::Set;
    }
    again(error, |mistake| {
        let replaced = replaced.then(|| {
            "It was begun again elsewhere, and the secret that you were shown here counts no more. Begin again.".to_owned()
        });
        page.mistake = replaced.or(Some(mistake));
        Page(page).into_response()
    })
}

/// Makes new backup codes in place of those there are.
pub(crate) async fn backup_codes(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let (password, code) = (fields.text("password"), fields.filled("code").unwrap_or_default());
    let made = door(&state)?.accounts.new_backup_codes(oneself.member(), password, code, &visit.origin).await;
    match made {
        Ok(codes) => Ok(Page(CodesPage::of(&state, &oneself, codes)).into_response()),
        Err(error) => oneself.again(&state, About::SecondFactor, error).await,
    }
}

/// Removes the second factor, and leads to setting up another.
pub(crate) async fn disable(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let (password, code) = (fields.text("password"), fields.filled("code").unwrap_or_default());
    match door(&state)?.accounts.disable_totp(oneself.member(), password, code, &visit.origin).await {
        Ok(_) => Ok(Redirect::to(&format!("{SET_UP}?to={ACCOUNT}")).into_response()),
        Err(error) => oneself.again(&state, About::SecondFactor, error).await,
    }
}
