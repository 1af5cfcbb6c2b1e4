//! Where a request comes from, as far as that can be known.
//!
//! The listener notes the peer of the connection. Behind proxies that is one of them, and what they say of their own peers
//! is believed as far as each of those is a proxy that is known: anybody can write such a header.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use thiserror::Error;

use crate::state::ApiState;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address. A request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The other end of a connection. An IPv4 address is the same one however the socket writes it.
    pub fn of_peer(peer: SocketAddr) -> Self {
        Self(peer.ip().to_canonical())
    }
}

impl FromRequestParts<ApiState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Infallible> {
        Ok(of(parts))
    }
}

/// The address that a request carries; `0.0.0.0` where none came through a listener.
pub(crate) fn of(parts: &Parts) -> ClientAddress {
    parts.extensions.get().copied().unwrap_or(ClientAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// The proxies whose word is taken for where a request comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// Why a list of proxies cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("entry {entry} ({text:?}) is neither an address nor a network such as 10.0.0.0/8")]
pub struct BadProxies {
    entry: usize,
    text: String,
}

impl TrustedProxies {
    /// Reads addresses and networks, separated by commas. An empty text trusts nobody.
    pub fn parse(text: &str) -> Result<Self, BadProxies> {
        let entries = text.split(',').map(str::trim).enumerate().filter(|_| !text.trim().is_empty());
        let read = |(index, entry): (usize, &str)| {
            let address = entry.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            let network = address.or_else(|_| entry.parse::<IpNet>());
            network.map_err(|_| BadProxies { entry: index + 1, text: entry.to_owned() })
        };
        entries.map(read).collect::<Result<Vec<_>, _>>().map(|networks| Self(networks.into()))
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Puts the client's address in the place of the peer's, where that is a proxy that is trusted.
    pub(crate) fn resolve(&self, parts: &mut Parts) {
        let ClientAddress(peer) = of(parts);
        if self.trust(peer) {
            parts.extensions.insert(ClientAddress(self.client(peer, &parts.headers)));
        }
    }

    /// The last address on the way here that no trusted proxy has. Where both headers are there, one of them may be the
    /// client's own, handed on by a proxy that writes the other: then nothing but the peer is known.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let hops = match (headers.contains_key(header::FORWARDED), headers.contains_key(X_FORWARDED_FOR)) {
            (false, true) => hops(headers, &X_FORWARDED_FOR, |hop| Some(hop)),
            (true, false) => hops(headers, &header::FORWARDED, forwarded_for),
            _ => return peer,
        };
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // Whoever hides, or cannot be read, is as far as one can see.
            let Some(hop) = hop else { return client };
            client = hop;
            if !self.trust(hop) {
                break;
            }
        }
        client
    }
}

/// Every hop that a list header names, in the order it was made.
fn hops(headers: &HeaderMap, name: &HeaderName, address: fn(&str) -> Option<&str>) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
    let hops = lines.flat_map(|line| line.split(','));
    hops.map(|hop| address(hop.trim()).and_then(ip)).collect()
}

/// The `for` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    Some(value.trim_matches('"'))
}

/// An address with or without a port; of version 6 also in brackets.
fn ip(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn client(trusted: &str, peer: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ClientAddress::of_peer(SocketAddr::new(peer.parse().unwrap(), 4711)));
        TrustedProxies::parse(trusted).unwrap().resolve(&mut parts);
        of(&parts).0.to_string()
    }

    #[test]
    fn a_header_is_believed_from_a_trusted_proxy_only() {
        let said = [("x-forwarded-for", "198.51.100.7")];
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &said), "198.51.100.7");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &said), "192.0.2.1");
        assert_eq!(client("", "10.1.2.3", &said), "10.1.2.3");
    }

    #[test]
    fn what_a_client_writes_itself_does_not_count() {
        let said = [("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.9.9.9")];
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &said), "198.51.100.7");
        let on_two_lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &on_two_lines), "198.51.100.7");
    }

    #[test]
    fn the_standard_header_is_read_too() {
        for (said, expected) in [
            ("for=198.51.100.7;proto=https, for=10.0.0.2", "198.51.100.7"),
            ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("proto=https;for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=198.51.100.7:80", "198.51.100.7"),
            ("for=_hidden", "10.1.2.3"),
            ("for=198.51.100.7, for=unknown", "10.1.2.3"),
            ("proto=https", "10.1.2.3"),
        ] {
            assert_eq!(client("10.0.0.0/8", "10.1.2.3", &[("forwarded", said)]), expected, "{said}");
        }
    }

    #[test]
    fn two_headers_that_may_contradict_each_other_say_nothing() {
        let both = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &both), "10.1.2.3");
    }

    #[test]
    fn an_address_of_version_4_is_the_same_in_a_socket_of_version_6() {
        let said = [("x-forwarded-for", "::ffff:198.51.100.7")];
        assert_eq!(client("10.1.2.3", "::ffff:10.1.2.3", &said), "198.51.100.7");
    }

    #[test]
    fn a_bad_entry_is_named() {
        let error = TrustedProxies::parse("10.0.0.0/8, proxy.example").unwrap_err();
        assert!(error.to_string().starts_with("entry 2 (\"proxy.example\")"), "{error}");
        assert!(TrustedProxies::parse("10.0.0.0/8,").is_err());
    }
}
