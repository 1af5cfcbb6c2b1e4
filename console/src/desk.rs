//! Who sits at the console: somebody of the staff, whose reads and acts are hers.

use api::ApiState;
use api::auth::{Allowed, Caller, SupportRead, SupportWrite};
use api::error::ApiError;
use api::viewer::Viewer;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::assets::{SCRIPT_PATH, STYLE_PATH};

/// What is the same on every page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
    /// Who is signed in, as the foot of the page says it; nobody before she is.
    pub(crate) staff: Option<String>,
    /// Which entry of the navigation this page is.
    pub(crate) here: &'static str,
    /// Whether she keeps accounts, so that the navigation has them.
    pub(crate) keeps_accounts: bool,
}

impl Frame {
    /// Of a page for whoever asks.
    pub(crate) fn bare() -> Self {
        Self { style: &STYLE_PATH, script: &SCRIPT_PATH, staff: None, here: "", keeps_accounts: false }
    }
}

/// Somebody of the staff who may read here. What she reads of a member has been recorded.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) frame: Frame,
    pub(crate) caller: Caller,
}

impl Desk {
    /// The frame of a page that is this entry of the navigation.
    pub(crate) fn at(self, here: &'static str) -> Frame {
        Frame { here, ..self.frame }
    }

    async fn of(state: &ApiState, parts: &Parts, caller: Caller) -> Result<Self, ApiError> {
        let staff = match (parts.extensions.get::<Viewer>(), &state.sign_in) {
            (Some(viewer), Some(sign_in)) => {
                let account = sign_in.accounts.account(&viewer.member).await?;
                account.and_then(|account| account.email).unwrap_or_else(|| viewer.member.to_string())
            }
            _ => caller.actor().to_string(),
        };
        let keeps_accounts = caller.keeps_accounts().is_ok();
        Ok(Self { frame: Frame { staff: Some(staff), keeps_accounts, ..Frame::bare() }, caller })
    }
}

impl FromRequestParts<ApiState> for Desk {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let allowed = Allowed::<SupportRead>::from_request_parts(parts, state).await?;
        Self::of(state, parts, allowed.caller).await
    }
}

/// Somebody of the staff who may act here.
#[derive(Debug, Clone)]
pub(crate) struct ActingDesk(pub(crate) Desk);

impl FromRequestParts<ApiState> for ActingDesk {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let allowed = Allowed::<SupportWrite>::from_request_parts(parts, state).await?;
        Desk::of(state, parts, allowed.caller).await.map(Self)
    }
}
