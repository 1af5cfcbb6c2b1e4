//! The HTTP API: what the outside can ask and tell, and how it is answered.
//!
//! | module | routes |
//! |---|---|
//! | [`access`] | may this member watch this video, now or then? |
//! | [`learner`] | what may I watch, what have I bought, and what do I want? |
//! | [`accounts`] | signing up and in, sessions, passwords, second factors |
//! | [`members`] | who is a member, and which payer is hers? |
//! | [`support`] | what happened to a member, and why was an answer what it was? |
//! | [`support::acts`] | what staff does for a member |
//! | [`resync`] | does the billing provider say the same? |
//! | [`deliveries`] | what came in, and what became of it? |
//! | [`projections`] | how far are the read models, and what stands still? |
//! | [`health`] | does the process serve, and is it ready? |
//! | [`metrics`] | what can be measured from outside? |
//! | `webhook` | only in the document: what the billing provider may rely on |
//! | [`docs`] | the `OpenAPI` document and its reader |
//!
//! Every route is in one of [`router`]'s tables, from which [`openapi`] is made too. [`serve_shell`] puts around all routes
//! what all answers share: request ids, problem answers, positions and [`admission`]. Around all but access checks that come
//! from memory is how often one caller may ask ([`rate_limit`]), and around commands their keys ([`idempotency`]).

pub mod access;
pub mod accounts;
pub mod admission;
mod asker;
pub mod auth;
pub mod client_address;
pub mod cookies;
pub mod cursor;
pub mod decision;
pub mod deliveries;
pub mod demo;
pub mod docs;
pub mod error;
pub mod extract;
pub mod health;
pub mod idempotency;
pub mod learner;
pub mod members;
pub mod metrics;
pub mod observe;
pub mod origins;
pub mod position;
pub mod projections;
pub mod rate_limit;
pub mod resync;
pub mod shell;
pub mod sign_in;
pub mod state;
pub mod support;
pub mod viewer;
mod webhook;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use admission::{Admission, RequestLimits};
pub use auth::ServiceTokens;
pub use client_address::TrustedProxies;
pub use cookies::CookieStyle;
pub use learner::events::EventStreams;
pub use learner::looks::Looks;
pub use origins::Origins;
pub use rate_limit::{CallerLimits, Rate, Rates};
pub use shell::serve_shell;
pub use sign_in::{Renewals, SignIn};
pub use state::{
    ApiParts, ApiState, Deliveries, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord,
    DeliveryRehearsal, DeliverySelection, DeliveryStep, LearnerParts, Probe, Purchase, Purchases,
    RebuildReport, RebuildState, Rebuilds, Replayed, Resync, ResyncError, ResyncFinding, ResyncReport,
    ResyncScope, ToldKey,
};
pub use viewer::Viewer;

/// The most bytes the body of a request may have.
pub const BODY_LIMIT: usize = 64 * 1024;

/// All routes of the API. Meant to be merged with other routers and then given to [`serve_shell`].
pub fn router(state: ApiState) -> Router {
    let (unlimited, mut document) = checks_table().merge(health_table()).split_for_parts();
    let (limited, limited_document) = table().split_for_parts();
    document.merge(limited_document);
    let unlimited = unlimited.route_layer(from_fn_with_state(state.clone(), rate_limit::limit_lookups));
    let limited = limited
        .route_layer(from_fn_with_state(state.clone(), idempotency::once))
        .route_layer(from_fn_with_state(state.clone(), rate_limit::limit));
    unlimited
        .merge(limited)
        .merge(demo::router(&state))
        // Around the two above, which tell members apart.
        .layer(from_fn_with_state(state.clone(), sign_in::identify))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
        .merge(docs::router(&docs::complete(document)))
}

/// Puts around pages what is around the routes for people: who is signed in, how often she may ask, each command once for its
/// key. Meant to be merged with [`router`]'s routes.
pub fn around_pages(pages: Router<ApiState>, state: ApiState) -> Router {
    pages
        .route_layer(from_fn_with_state(state.clone(), idempotency::once))
        .route_layer(from_fn_with_state(state.clone(), rate_limit::limit))
        .layer(from_fn_with_state(state.clone(), sign_in::identify))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
}

/// Only the routes of [`health`], for a process that answers nothing else.
pub fn health_router(state: ApiState) -> Router {
    Router::from(health_table()).with_state(state)
}

/// The `OpenAPI` document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    docs::complete(checks_table().merge(health_table()).merge(table()).into_openapi())
}

/// What is asked before a video plays: nothing is put around these that costs anything.
fn checks_table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(docs::preamble())
        .routes(routes!(access::check))
        .routes(routes!(access::check_many))
        .merge(learner::checks_table())
}

/// Everything else, limited in how often one caller may ask; commands are carried out once for each key.
fn table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .merge(learner::table())
        .routes(routes!(members::create, members::list))
        .routes(routes!(members::show))
        .routes(routes!(members::link_customer))
        .merge(account_table())
        .routes(routes!(support::search::search))
        .routes(routes!(support::profile::profile))
        .routes(routes!(support::timeline::timeline))
        .routes(routes!(support::state::state))
        .routes(routes!(support::diff::diff))
        .routes(routes!(support::flips::flips))
        .routes(routes!(support::event::event))
        .routes(routes!(support::export::export))
        .routes(routes!(support::explain::explain))
        .routes(routes!(resync::resync))
        .merge(acts_table())
        .routes(routes!(support::accounts::list, support::accounts::invite))
        .routes(routes!(support::accounts::show))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::replay_some))
        .routes(routes!(projections::list))
        .routes(routes!(projections::redrive))
        .routes(routes!(projections::rebuild))
}

fn acts_table() -> OpenApiRouter<ApiState> {
    use support::acts::routes as acts;

    OpenApiRouter::default()
        .routes(routes!(acts::grant))
        .routes(routes!(acts::revoke_grant))
        .routes(routes!(acts::move_grant))
        .routes(routes!(acts::extend_grace))
        .routes(routes!(acts::add_note))
        .routes(routes!(acts::withdraw_note))
        .routes(routes!(acts::link))
        .routes(routes!(acts::unlink))
        .routes(routes!(acts::send_letter))
        .routes(routes!(acts::end_sessions))
        .routes(routes!(acts::lock))
        .routes(routes!(acts::unlock))
        .routes(routes!(acts::change_role))
        .routes(routes!(acts::erase))
}

fn account_table() -> OpenApiRouter<ApiState> {
    use accounts::{identities, second_factor, sessions};

    OpenApiRouter::default()
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::resend_verification))
        .routes(routes!(accounts::verify_email))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::login_second_factor))
        .routes(routes!(accounts::logout))
        .routes(routes!(accounts::refresh))
        .routes(routes!(accounts::forgot_password))
        .routes(routes!(accounts::reset_password))
        .routes(routes!(accounts::change_password))
        .routes(routes!(accounts::verify_password))
        .routes(routes!(accounts::change_email))
        .routes(routes!(accounts::delete_account))
        .routes(routes!(accounts::show))
        .routes(routes!(sessions::list, sessions::end_others))
        .routes(routes!(sessions::end))
        .routes(routes!(second_factor::enrol))
        .routes(routes!(second_factor::confirm))
        .routes(routes!(second_factor::disable))
        .routes(routes!(second_factor::backup_codes))
        .routes(routes!(identities::providers))
        .routes(routes!(identities::start))
        .routes(routes!(identities::link))
        .routes(routes!(identities::callback))
        .routes(routes!(identities::list))
        .routes(routes!(identities::unlink))
}

fn health_table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
}
