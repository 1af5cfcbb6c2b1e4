//! The HTTP API: what the outside can ask and tell, and how it is answered.
//!
//! | module | routes |
//! |---|---|
//! | [`access`] | may this member watch this video, now or then? |
//! | [`learner`] | what may I watch, what have I bought, and what do I want? |
//! | [`members`] | who is a member, and which payer is hers? |
//! | [`support`] | what happened to a member, and why was an answer what it was? |
//! | [`resync`] | does the billing provider say the same? |
//! | [`deliveries`] | what came in, and what became of it? |
//! | [`projections`] | how far are the read models, and what stands still? |
//! | [`health`] | does the process serve, and is it ready? |
//! | [`metrics`] | what can be measured from outside? |
//! | `webhook` | only in the document: what the billing provider may rely on |
//! | [`docs`] | the `OpenAPI` document and its reader |
//!
//! Every route is in [`router`]'s one table, from which [`openapi`] is made too. [`serve_shell`] puts around all routes
//! what all answers share: request ids, problem answers, positions and [`admission`].

pub mod access;
pub mod admission;
pub mod auth;
pub mod cursor;
pub mod decision;
pub mod deliveries;
pub mod docs;
pub mod error;
pub mod extract;
pub mod health;
pub mod learner;
pub mod members;
pub mod metrics;
pub mod observe;
pub mod position;
pub mod projections;
pub mod resync;
pub mod shell;
pub mod state;
pub mod support;
pub mod viewer;
mod webhook;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use admission::{Admission, RequestLimits};
pub use auth::ServiceTokens;
pub use learner::events::EventStreams;
pub use shell::serve_shell;
pub use state::{
    ApiParts, ApiState, Deliveries, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord,
    LearnerParts, Probe, Purchase, Purchases, RebuildReport, RebuildState, Rebuilds, Resync, ResyncError,
    ResyncFinding, ResyncReport, Sessions,
};
pub use viewer::Viewer;

/// The most bytes the body of a request may have.
pub const BODY_LIMIT: usize = 64 * 1024;

/// All routes of the API. Meant to be merged with other routers and then given to [`serve_shell`].
pub fn router(state: ApiState) -> Router {
    let (routes, document) = table().split_for_parts();
    routes
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
        .merge(docs::router(&docs::complete(document)))
}

/// Only the routes of [`health`], for a process that answers nothing else.
pub fn health_router(state: ApiState) -> Router {
    Router::from(health_table()).with_state(state)
}

/// The `OpenAPI` document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    docs::complete(table().into_openapi())
}

fn table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(docs::preamble())
        .routes(routes!(access::check))
        .routes(routes!(access::check_many))
        .merge(learner::table())
        .routes(routes!(members::create, members::list))
        .routes(routes!(members::show))
        .routes(routes!(members::link_customer))
        .routes(routes!(support::timeline))
        .routes(routes!(support::explain))
        .routes(routes!(resync::resync))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay))
        .routes(routes!(projections::list))
        .routes(routes!(projections::redrive))
        .routes(routes!(projections::rebuild))
        .merge(health_table())
}

fn health_table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
}
