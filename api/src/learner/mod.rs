//! What a learner may ask for herself: what she may watch, what she has bought, and what she wants.
//!
//! | module | routes |
//! |---|---|
//! | [`watch`] | the catalogue, videos, and her decisions |
//! | [`events`] | her decisions as they change |
//! | [`account`] | who she is, what she has bought, and her history |
//! | [`checkout`] | buying, coming back from it, and the provider's pages |
//! | [`change`] | another plan, an end, and no end after all |
//!
//! Purchases are looked up at the provider by `looks`. Who is signed in comes from [`crate::viewer::Viewer`]. What changes
//! something is written to the log before the provider is asked, and what came of it after (`asking`); `refusal` says why
//! something cannot be.

pub mod account;
pub(crate) mod asking;
pub mod change;
pub mod checkout;
pub mod events;
pub mod export;
pub(crate) mod looks;
pub(crate) mod refusal;
pub mod watch;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::ids::MemberId;
use domain::ports::Position;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::position;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// What is asked before a video plays.
pub(crate) fn checks_table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(watch::video)).routes(routes!(watch::check))
}

pub(crate) fn table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(watch::catalog))
        .routes(routes!(watch::check_all))
        .routes(routes!(events::stream))
        .routes(routes!(account::me))
        .routes(routes!(account::membership))
        .routes(routes!(account::membership_of))
        .routes(routes!(account::history))
        .routes(routes!(export::export))
        .routes(routes!(checkout::begin))
        .routes(routes!(checkout::come_back))
        .routes(routes!(checkout::portal))
        .routes(routes!(change::preview))
        .routes(routes!(change::plan))
        .routes(routes!(change::cancel))
        .routes(routes!(change::resume))
}

/// Somebody looking, signed in or not, and how much of the log the answers know of: at least what she has seen before.
#[derive(Debug)]
pub struct Visit {
    viewer: Option<Viewer>,
    position: Position,
}

impl Visit {
    fn member(&self) -> Option<&MemberId> {
        self.viewer.as_ref().map(|viewer| &viewer.member)
    }

    fn viewer(&self) -> Result<&Viewer, ApiError> {
        self.viewer.as_ref().ok_or(ApiError::NotSignedIn)
    }
}

impl FromRequestParts<ApiState> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let viewer: Option<Viewer> = parts.extensions.get().cloned();
        // Strangers do not get to hold requests open.
        if viewer.is_some() {
            position::reach(state, parts).await?;
        }
        let position = state.index_progress.applied().ok_or(ApiError::NotReady)?;
        Ok(Self { viewer, position })
    }
}
