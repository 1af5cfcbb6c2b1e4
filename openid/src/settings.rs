//! The list of providers, as it is set.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use thiserror::Error;

/// What is asked for where nothing is set: who she is, and her address.
const SCOPES: &str = "openid email";

/// A provider, and as whom this service is known there.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Separated by spaces, `openid` among them.
    pub(crate) scopes: String,
}

/// The providers that are set. Holds secrets, and never shows them.
#[derive(Clone, Default)]
pub struct ProviderList(pub(crate) Arc<[Settings]>);

impl fmt::Debug for ProviderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Why a list of providers cannot be used. Never says what an entry holds.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("entry {entry}: {problem}; expected name|issuer|client id|client secret[|scope+scope],…")]
pub struct BadProviders {
    entry: usize,
    problem: &'static str,
}

impl ProviderList {
    /// Reads `name|issuer|client id|client secret[|scope+scope],…`. In an id or a secret, a comma is written `%2C`, `|` is `%7C` and
    /// `%` is `%25`.
    pub fn parse(text: &str) -> Result<Self, BadProviders> {
        let mut list: Vec<Settings> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let bad = |problem| BadProviders { entry: index + 1, problem };
            let settings = Settings::parse(entry).map_err(bad)?;
            if list.iter().any(|held| held.name == settings.name) {
                return Err(bad("its name was given before"));
            }
            if list.iter().any(|held| held.issuer == settings.issuer) {
                return Err(bad("its issuer was given before"));
            }
            list.push(settings);
        }
        Ok(Self(list.into()))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|settings| settings.name.as_str())
    }
}

impl Settings {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = entry.split('|').map(str::trim).collect();
        let (name, issuer, client_id, client_secret, scopes) = match parts[..] {
            [name, issuer, id, secret] => (name, issuer, id, secret, ""),
            [name, issuer, id, secret, scopes] => (name, issuer, id, secret, scopes),
            _ => return Err("it has not four or five parts with '|' between them"),
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
            return Err("its name is not made of 1 to 32 small letters, digits, '-' and '_'");
        }
        let url: Url = issuer.parse().map_err(|_| "its issuer is not a URL")?;
        if !is_safe(&url) {
            return Err("its issuer does not begin with https:// (http:// is for this machine alone)");
        }
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !bare || url.password().is_some() {
            return Err("its issuer has more than a host and a path");
        }
        if client_id.is_empty() || client_secret.is_empty() {
            return Err("its client id or its client secret is empty");
        }
        let asked = |scope: &str| scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
        let mut scopes: Vec<&str> = scopes.split('+').filter(|scope| !scope.is_empty()).collect();
        if !scopes.iter().all(|scope| asked(scope)) {
            return Err("one of its scopes holds something else than visible characters");
        }
        if scopes.is_empty() {
            scopes = SCOPES.split(' ').collect();
        } else if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        Ok(Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            client_id: decoded(client_id),
            client_secret: decoded(client_secret),
            scopes: scopes.join(" "),
        })
    }
}

/// What would end an entry or a part of it is written as a code.
fn decoded(text: &str) -> String {
    let plain = text.replace("%2C", ",").replace("%2c", ",").replace("%7C", "|").replace("%7c", "|");
    plain.replace("%25", "%")
}

/// Whether nobody on the way can read along: TLS, or this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    !host.is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_read_with_what_would_end_a_part_written_as_codes() {
        let text = "google|https://accounts.google.com|id.apps|se%2Cc%7Cr%252C, \
                    keycloak | http://127.0.0.1:9000/realms/x | id | hush | profile+email";
        let list = ProviderList::parse(text).unwrap();
        assert_eq!(list.names().collect::<Vec<_>>(), ["google", "keycloak"]);
        assert_eq!(
            (list.0[0].client_secret.as_str(), list.0[0].scopes.as_str()),
            ("se,c|r%2C", "openid email")
        );
        assert_eq!(list.0[1].scopes, "openid profile email");
        assert_eq!(format!("{list:?}"), r#"["google", "keycloak"]"#);
    }

    #[test]
    fn a_bad_entry_is_named_by_its_number_and_never_shown() {
        let secret = "hush-hush";
        let good = format!("a|https://a.example|id|{secret}");
        for (entry, problem) in [
            (String::new(), "four or five"),
            (format!("a|https://a.example|{secret}"), "four or five"),
            (format!("a|https://a.example|id|{secret}|openid|x"), "four or five"),
            (format!("A B|https://a.example|id|{secret}"), "its name"),
            (format!("|https://a.example|id|{secret}"), "its name"),
            (format!("a|{secret}|id|{secret}"), "not a URL"),
            (format!("a|http://a.example|id|{secret}"), "https://"),
            (format!("a|ftp://a.example|id|{secret}"), "https://"),
            (format!("a|https://a.example?x={secret}|id|{secret}"), "more than"),
            (format!("a|https://u:{secret}@a.example|id|{secret}"), "more than"),
            ("a|https://a.example|id|".to_owned(), "empty"),
            (format!("a|https://a.example||{secret}"), "empty"),
            (format!("a|https://a.example|id|{secret}|a b"), "scopes"),
            (format!("{good},b|https://a.example|id|{secret}"), "issuer was given"),
            (format!("{good},a|https://b.example|id|{secret}"), "name was given"),
            (format!("{good},"), "entry 2"),
        ] {
            let message = ProviderList::parse(&entry).err().unwrap().to_string();
            assert!(message.starts_with("entry ") && message.contains(problem), "{entry}: {message}");
            assert!(!message.contains(secret), "{message}");
        }
    }
}
