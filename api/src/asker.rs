//! Who asks, as far as keys and rates are concerned.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::request::Parts;
use domain::ids::MemberId;

use crate::auth;
use crate::client_address;
use crate::state::ApiState;
use crate::viewer::Viewer;

/// How much of an IPv6 address is one customer's, as providers give them out.
const NETWORK: u128 = !0 << 64;

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Another back end, as its events name it.
    Service(String),
    /// Somebody who is signed in.
    Member(MemberId),
    /// Nobody we know, from here.
    SignedOut(IpAddr),
}

impl Asker {
    pub(crate) fn of(parts: &Parts, state: &ApiState) -> Self {
        if let Some(service) = auth::service(parts, state) {
            return Self::Service(service.to_string());
        }
        if let Some(viewer) = parts.extensions.get::<Viewer>() {
            return Self::Member(viewer.member.clone());
        }
        Self::stranger(parts)
    }

    /// Whoever asks from there, as long as it is not known who that is.
    pub(crate) fn stranger(parts: &Parts) -> Self {
        Self::SignedOut(match client_address::of(parts).0 {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}
