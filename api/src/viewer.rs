//! Who is signed in.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use domain::account::Role;
use domain::ids::{MemberId, SessionId};
use domain::metadata::Actor;

use crate::error::ApiError;
use crate::state::ApiState;

/// Somebody who is signed in. A request carries it as an extension from where its cookies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// Who.
    pub member: MemberId,
    /// In which session.
    pub session: SessionId,
    /// With which rights.
    pub role: Role,
}

impl Viewer {
    /// Who her acts on her own account and membership are recorded as.
    pub fn actor(&self) -> Actor {
        Actor::member(&self.member)
    }
}

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or(ApiError::NotSignedIn)
    }
}

impl OptionalFromRequestParts<ApiState> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
