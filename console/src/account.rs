//! One's own account: the second factor, where one is signed in, the password.

use accounts::{AccountError, AccountView, SessionView};
use api::ApiState;
use api::accounts::sessions;
use api::auth::account_of_staff;
use api::error::ApiError;
use api::extract::Ids;
use api::sign_in::Visit;
use api::viewer::Viewer;
use askama::Template;
use axum::extract::{FromRequestParts, State};
use axum::http::Uri;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use domain::ids::MemberId;

use crate::desk::Frame;
use crate::form::Fields;
use crate::page::Page;
use crate::sign_in::{self, again, door};
use crate::time::Moment;

/// The page.
pub(crate) const ACCOUNT: &str = "/console/account";
/// Ends one session.
pub(crate) const END: &str = "/v1/auth/console/sessions/end";
/// Ends all other sessions.
pub(crate) const END_OTHERS: &str = "/v1/auth/console/sessions/end-others";
/// Chooses another password.
pub(crate) const PASSWORD: &str = "/v1/auth/console/password";

/// Somebody of the staff at the pages about herself, where she is let in before she has a second factor too.
pub(crate) struct Oneself {
    pub(crate) viewer: Viewer,
    pub(crate) account: AccountView,
    pub(crate) frame: Frame,
}

impl FromRequestParts<ApiState> for Oneself {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let viewer = <Viewer as FromRequestParts<ApiState>>::from_request_parts(parts, state).await?;
        let account = account_of_staff(state, &viewer).await?;
        let lacks_one = door(state)?.strict_staff && !account.second_factor.enabled;
        let mut oneself = Self { viewer, account, frame: Frame::bare() };
        // What the frame leads to is not for her yet.
        oneself.frame.staff = (!lacks_one).then(|| oneself.name());
        Ok(oneself)
    }
}

impl Oneself {
    pub(crate) fn member(&self) -> &MemberId {
        &self.viewer.member
    }

    /// What pages call her.
    pub(crate) fn name(&self) -> String {
        self.account.email.clone().unwrap_or_else(|| self.viewer.member.to_string())
    }

    async fn page(self, state: &ApiState) -> Result<AccountPage, ApiError> {
        let sessions = door(state)?.accounts.sessions(self.member()).await?;
        let sessions = sessions.into_iter().map(|view| Session::of(view, &self.viewer)).collect();
        let frame = Frame { here: ACCOUNT, ..self.frame.clone() };
        Ok(AccountPage {
            frame,
            name: self.name(),
            account: self.account,
            sessions,
            done: None,
            mistake: None,
        })
    }

    /// The page once more, with what was wrong with one of its forms.
    pub(crate) async fn again(
        self,
        state: &ApiState,
        about: About,
        error: AccountError,
    ) -> Result<Response, ApiError> {
        let page = self.page(state).await?;
        again(error, |mistake| Page(AccountPage { mistake: Some((about, mistake)), ..page }).into_response())
    }
}

/// What part of the page a form is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    SecondFactor,
    Sessions,
    Password,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    name: String,
    account: AccountView,
    sessions: Vec<Session>,
    done: Option<&'static str>,
    mistake: Option<(About, String)>,
}

impl AccountPage {
    fn mistake(&self, of: About) -> Option<&str> {
        self.mistake.as_ref().filter(|(about, _)| *about == of).map(|(_, mistake)| mistake.as_str())
    }
}

/// Where she is signed in.
struct Session {
    id: String,
    current: bool,
    device: String,
    network: Option<String>,
    since: Moment,
    last_used: Moment,
}

impl Session {
    fn of(view: SessionView, viewer: &Viewer) -> Self {
        Self {
            current: view.id == viewer.session,
            id: view.id.to_string(),
            device: view.device.unwrap_or_else(|| "A browser without a name".to_owned()),
            network: view.network,
            since: Moment(view.created_at),
            last_used: Moment(view.last_used_at),
        }
    }
}

/// What was done, as the page says it after the form that did it.
fn done(what: Option<&str>) -> Option<&'static str> {
    match what? {
        "ended" => Some("The session has ended."),
        "others_ended" => Some("All other sessions have ended."),
        "password" => Some("Your password is another, and all other sessions have ended."),
        _ => None,
    }
}

/// The page.
pub(crate) async fn show(
    State(state): State<ApiState>,
    oneself: Oneself,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let page = oneself.page(&state).await?;
    Ok(Page(AccountPage { done: done(query.filled("done")), ..page }))
}

/// Ends one of her sessions; her own is signed out of.
pub(crate) async fn end(
    state: State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let id = fields.filled("session").unwrap_or_default().to_owned();
    let ended = sessions::end(State(state.0.clone()), oneself.viewer.clone(), visit, Ids(id)).await;
    match ended {
        Err(ApiError::Account(error)) => oneself.again(&state, About::Sessions, error).await,
        Err(error) => Err(error),
        Ok(ended) if ended.headers().contains_key(SET_COOKIE) => Ok(sign_in::left(ended)),
        Ok(_) => Ok(Redirect::to("/console/account?done=ended").into_response()),
    }
}

/// Ends all of her sessions but this one.
pub(crate) async fn end_others(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
) -> Result<Redirect, ApiError> {
    let Viewer { member, session, .. } = &oneself.viewer;
    let (actor, request) = (oneself.viewer.actor(), &visit.origin.request_id);
    let accounts = &door(&state)?.accounts;
    accounts.revoke_other_sessions(member, Some(session), actor, request).await?;
    Ok(Redirect::to("/console/account?done=others_ended"))
}

/// Chooses another password.
pub(crate) async fn password(
    State(state): State<ApiState>,
    oneself: Oneself,
    visit: Visit,
    fields: Fields,
) -> Result<Response, ApiError> {
    let Viewer { member, session, .. } = &oneself.viewer;
    let (current, new) = (fields.text("current"), fields.text("new"));
    let accounts = &door(&state)?.accounts;
    match accounts.change_password(member, session, current, new, &visit.origin).await {
        Ok(_) => Ok(Redirect::to("/console/account?done=password").into_response()),
        Err(error) => oneself.again(&state, About::Password, error).await,
    }
}
