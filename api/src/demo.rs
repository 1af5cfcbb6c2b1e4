//! Signing in by opening an address: only in the demo, and only from the machine that it runs on.

use std::net::IpAddr;

use axum::Router;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use domain::metadata::Actor;
use serde::Deserialize;

use crate::accounts::welcome_to;
use crate::client_address::ClientAddress;
use crate::error::ApiError;
use crate::extract::{Params, is_path, member};
use crate::sign_in::Visit;
use crate::state::ApiState;
use crate::viewer::Viewer;

const PATH: &str = "/v1/auth/demo-sign-in";

/// A link that signs `member` in and leads to the path `to`, for the demo's banner. `url` is the service's own.
pub fn link(url: &str, member: &str, to: &str) -> String {
    format!("{url}{PATH}?member={member}&to={to}")
}

/// As whom, and where to go then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Click {
    member: String,
    to: Option<String>,
}

/// The route, where there is one.
pub(crate) fn router(state: &ApiState) -> Router<ApiState> {
    let one_click = state.sign_in.as_ref().is_some_and(|sign_in| sign_in.one_click);
    if one_click { Router::new().route(PATH, get(sign_in)) } else { Router::new() }
}

async fn sign_in(
    State(state): State<ApiState>,
    before: Option<Viewer>,
    visit: Visit,
    ClientAddress(address): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    Params(Click { member: id, to }): Params<Click>,
) -> Result<Response, ApiError> {
    // A name that somebody else's server gives to this machine leads here too.
    if !address.is_loopback() || !names_loopback(&headers) {
        return Err(ApiError::NoSuchPath(uri.path().to_owned()));
    }
    let to = to.unwrap_or_else(|| "/".to_owned());
    if !is_path(&to) {
        return Err(ApiError::BadQuery("to has to be a path of this service, such as /learn/".to_owned()));
    }
    let (door, member) = (state.sign_in()?, member(&id)?);
    if door.accounts.account(&member).await?.is_none() {
        return Err(ApiError::UnknownMember(id));
    }
    let signed_in = door.accounts.sign_in_as(&member, Actor::system(), &visit.origin).await?;
    welcome_to(&to, &state, door, before, visit, signed_in).await
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let host: Option<Authority> = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    host.is_some_and(|host| {
        let name = host.host().trim_matches(['[', ']']);
        let address: Result<IpAddr, _> = name.parse();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_click_leads_to_this_service_only() {
        for path in ["/", "/learn/", "/console/members?q=ada"] {
            assert!(is_path(path), "{path}");
        }
        for elsewhere in
            ["//evil.example", "/\\evil.example", "https://evil.example", "learn", "", "/\n/evil.example"]
        {
            assert!(!is_path(elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn only_names_of_this_machine_count() {
        let named = |host| names_loopback(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]));
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(named(host), "{host}");
        }
        for host in ["evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example"] {
            assert!(!named(host), "{host}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }
}
