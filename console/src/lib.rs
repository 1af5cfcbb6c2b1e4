//! The support console at `/console`: pages made here and read in a browser, which answer what happened to a member, and why.
//!
//! | module | pages |
//! |---|---|
//! | `sign_in` | signing in and out |
//! | `second_factor` | setting up a second factor, without which staff sees nothing else |
//! | `account` | one's own account: second factor, sessions, password |
//! | `overview` | the search box, and what needs somebody |
//! | `member` | how a member stands, now or then, her history, why an answer was what it was |
//! | `search` | whom a typed word means |
//! | `acts` | what staff does for a member: previewed, then done once |
//! | `deliveries` | what Stripe delivered, and what became of it |
//! | `drift` | where our copy differed from Stripe's |
//! | `accounts` | who has an account, for owners, and inviting somebody |
//! | `health` | how far the read models are |
//!
//! Every page is an address, works without a script and says its moments in UTC. What it shows and does comes from the crate
//! `api`: who may see it, what is recorded of that, what an act does (see `docs/adr/0010-…`).

mod account;
mod accounts;
mod acts;
mod assets;
mod deliveries;
mod desk;
mod drift;
mod form;
mod health;
mod member;
mod overview;
mod page;
mod qr;
mod search;
mod second_factor;
mod sign_in;
mod time;
mod who;

use api::ApiState;
use api::error::ApiError;
use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn;
use axum::routing::{any, get, post};

/// All pages, with what is around them. Meant to be merged with the API's routes.
pub fn router(state: &ApiState) -> Router {
    let pages = pages().layer(from_fn(page::as_page));
    let pages = api::around_pages(pages, state.clone());
    // Once more around what refuses before a page is asked.
    let pages = pages.layer(from_fn(page::around));
    pages.merge(assets::router())
}

fn pages() -> Router<ApiState> {
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/search", get(search::show).post(search::look))
        .route("/console/sign-in", get(sign_in::show))
        .route(sign_in::SIGN_IN, post(sign_in::sign_in))
        .route(sign_in::SECOND_FACTOR, post(sign_in::second_factor))
        .route(sign_in::PROVIDER, post(sign_in::through_provider))
        .route(sign_in::SIGN_OUT, post(sign_in::sign_out))
        .route(sign_in::RENEW, any(sign_in::renew))
        .route(second_factor::SET_UP, get(second_factor::show))
        .route(second_factor::ENROL, post(second_factor::enrol))
        .route(second_factor::CONFIRM, post(second_factor::confirm))
        .route(second_factor::BACKUP_CODES, post(second_factor::backup_codes))
        .route(second_factor::DISABLE, post(second_factor::disable))
        .route(account::ACCOUNT, get(account::show))
        .route(account::END, post(account::end))
        .route(account::END_OTHERS, post(account::end_others))
        .route(account::PASSWORD, post(account::password))
        .route("/console/members/{member}", get(member::show))
        .route("/console/members/{member}/events/{position}", get(member::event::show))
        .route("/console/members/{member}/explain", get(member::explain::show))
        .route("/console/members/{member}/diff", get(member::diff::show))
        .route("/console/members/{member}/view", get(member::view::show))
        .route("/console/members/{member}/print", get(member::print::show))
        .route("/console/members/{member}/acts/{act}", get(acts::show).post(acts::carry_out))
        .route("/console/deliveries", get(deliveries::list))
        .route("/console/deliveries/{event}", get(deliveries::show))
        .route("/console/deliveries/{event}/redrive", post(deliveries::redrive))
        .route("/console/drift", get(drift::show))
        .route(accounts::PATH, get(accounts::list))
        .route(accounts::INVITE, get(accounts::form).post(accounts::invite))
        .route("/console/health", get(health::show))
        .route("/console/", any(nothing))
        .route("/console/{*rest}", any(nothing))
}

async fn nothing(uri: Uri) -> ApiError {
    ApiError::NoSuchPath(uri.path().to_owned())
}
