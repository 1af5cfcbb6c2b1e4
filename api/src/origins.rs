//! Whose pages may ask with cookies: this service's own, and those of the origins that are listed.
//!
//! A browser sends cookies whoever's page asks, so what changes something is refused unless the browser says that it comes
//! from one of these (Fetch Metadata, or `Origin` from browsers that do not know that). Another host of the same site is
//! as foreign as any: cookies do not tell them apart.

use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION, ORIGIN, RETRY_AFTER, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::error::ApiError;
use crate::extract::is_path;
use crate::position::HEADER as POSITION;
use crate::shell::REQUEST_ID;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const RATE_LIMIT: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit"), HeaderName::from_static("ratelimit-policy")];
/// How long a browser need not ask again whether it may ask.
const PREFLIGHT: Duration = Duration::from_hours(1);
/// No page of ours that somebody goes on at has a longer address.
const LONGEST_PAGE: usize = 1_000;
const DEPENDS: HeaderValue = HeaderValue::from_static("origin, sec-fetch-site");

/// The origins whose pages may ask with cookies.
#[derive(Debug, Clone)]
pub struct Origins {
    own: Arc<str>,
    others: Arc<[Box<str>]>,
}

impl Origins {
    /// This service's own origin, and others; each as browsers write it.
    pub fn new(own: &str, others: &[String]) -> Self {
        Self { own: own.into(), others: others.iter().map(|other| other.as_str().into()).collect() }
    }

    /// Whether a request may change something. `cookies` says whether it carries any of ours.
    pub(crate) fn allow(&self, request: &Parts, cookies: bool) -> Result<(), ApiError> {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
            || by_token(&request.headers)
        {
            return Ok(());
        }
        let origin = request.headers.get(ORIGIN);
        let ours = origin.is_some_and(|origin| self.is_ours(origin));
        let allowed = match request.headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"none") => true,
            Some(_) => ours,
            None if origin.is_some() => ours,
            // Programs send neither. What has cookies of ours and says nothing may be a browser that is kept from saying it.
            None => !cookies,
        };
        if allowed { Ok(()) } else { Err(ApiError::ForeignOrigin) }
    }

    /// The whole address of a page of ours: of a path of this service, or what it is already where its origin is listed. Nothing
    /// where it is anybody else's, or could be taken for that.
    pub fn page(&self, to: &str) -> Option<String> {
        if to.len() > LONGEST_PAGE || to.contains('#') {
            return None;
        }
        if is_path(to) {
            return Some(format!("{}{to}", self.own));
        }
        let plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let mut origins = [&*self.own].into_iter().chain(self.others.iter().map(|other| &**other));
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?']);
        let is_ours = origins.any(|origin| to.strip_prefix(origin).is_some_and(ends));
        (plain && is_ours).then(|| to.to_owned())
    }

    fn is_ours(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        *self.own == *origin || self.others.iter().any(|other| **other == *origin)
    }

    /// Lets pages of the other origins read what is answered, with cookies.
    pub(crate) fn shared(&self) -> CorsLayer {
        let others = self.others.iter().filter_map(|other| HeaderValue::try_from(&**other).ok());
        let sent =
            [ACCEPT, CONTENT_TYPE, IDEMPOTENCY_KEY, IF_NONE_MATCH, LAST_EVENT_ID, POSITION, REQUEST_ID];
        let read = [ETAG, LOCATION, POSITION, REQUEST_ID, RETRY_AFTER];
        CorsLayer::new()
            .allow_credentials(true)
            .allow_origin(AllowOrigin::list(others))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers(sent)
            .expose_headers(read.into_iter().chain(RATE_LIMIT).collect::<Vec<_>>())
            .max_age(PREFLIGHT)
            .vary([])
    }
}

/// Whether a request is a program's, which says who asks itself: no page of another origin can make a browser say it.
pub(crate) fn by_token(headers: &HeaderMap) -> bool {
    let scheme = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}

/// Tells caches what an answer depends on besides its address.
pub(crate) fn depends(headers: &mut HeaderMap) {
    headers.append(VARY, DEPENDS);
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const OWN: &str = "https://membership.example.com";
    const LEARN: &str = "https://learn.example.com";

    fn asked(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request =
            Request::builder().method(method).uri("/v1/auth/login").header("host", "membership.example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn allowed(headers: &[(&str, &str)], cookies: bool) -> bool {
        let origins = Origins::new(OWN, &[LEARN.to_owned()]);
        origins.allow(&asked("POST", headers), cookies).is_ok()
    }

    #[test]
    fn pages_of_this_service_may_ask() {
        assert!(allowed(&[("sec-fetch-site", "same-origin")], true));
        assert!(allowed(&[("sec-fetch-site", "none")], true));
        assert!(allowed(&[("origin", OWN)], true));
        assert!(
            allowed(&[("origin", OWN), ("sec-fetch-site", "same-site")], true),
            "a proxy may have renamed us"
        );
    }

    #[test]
    fn pages_of_listed_origins_may_ask() {
        for site in ["same-site", "cross-site"] {
            assert!(allowed(&[("origin", LEARN), ("sec-fetch-site", site)], true), "{site}");
        }
        assert!(allowed(&[("origin", LEARN)], true));
    }

    #[test]
    fn pages_of_others_may_not_ask_whether_there_are_cookies_or_not() {
        let others = [
            "https://evil.example",
            "https://forum.example.com",
            "http://membership.example.com",
            "https://membership.example.com:8443",
            "https://membership.example.com.evil.example",
            "https://learn.example.com.evil.example",
            "HTTPS://LEARN.EXAMPLE.COM",
            "null",
            "",
        ];
        for origin in others {
            for cookies in [true, false] {
                assert!(!allowed(&[("origin", origin)], cookies), "{origin}");
                for site in ["same-site", "cross-site", "something-new"] {
                    assert!(
                        !allowed(&[("origin", origin), ("sec-fetch-site", site)], cookies),
                        "{origin} {site}"
                    );
                }
            }
        }
        assert!(!allowed(&[("sec-fetch-site", "cross-site")], true));
        assert!(!allowed(&[("sec-fetch-site", "same-site")], false));
    }

    #[test]
    fn what_says_nothing_of_where_it_comes_from_may_not_bring_cookies() {
        assert!(!allowed(&[], true));
        assert!(allowed(&[], false), "programs have no cookies");
    }

    #[test]
    fn a_service_token_says_who_asks_and_other_credentials_that_browsers_keep_do_not() {
        let foreign = ("sec-fetch-site", "cross-site");
        assert!(allowed(&[("authorization", "Bearer x"), foreign], true));
        assert!(!allowed(&[("authorization", "Basic eDp5"), foreign], true));
        assert!(!allowed(&[("authorization", "Bearer"), foreign], true));
    }

    #[test]
    fn somebody_goes_on_at_pages_of_ours_alone() {
        let origins = Origins::new(OWN, &[LEARN.to_owned()]);
        for (to, whole) in [
            ("/learn", format!("{OWN}/learn")),
            ("/learn?x=1", format!("{OWN}/learn?x=1")),
            ("/..//evil.example", format!("{OWN}/..//evil.example")),
            (LEARN, LEARN.to_owned()),
            ("https://learn.example.com/a?b=c", "https://learn.example.com/a?b=c".to_owned()),
            ("https://membership.example.com/learn", format!("{OWN}/learn")),
        ] {
            assert_eq!(origins.page(to), Some(whole), "{to}");
        }
        let long = format!("/{}", "x".repeat(LONGEST_PAGE));
        for evil in [
            "",
            "learn",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https://evil.example/https://learn.example.com/",
            "https://learn.example.com.evil.example/",
            "https://learn.example.com@evil.example/",
            "https://learn.example.com:8443/",
            "https://learn.example.com\\@evil.example/",
            "http://learn.example.com/",
            "HTTPS://LEARN.EXAMPLE.COM/",
            "javascript:alert(1)",
            "/learn\r\nset-cookie: a=b",
            "/learn#token=x",
            " /learn",
            "/\t/evil.example",
            &long,
        ] {
            assert_eq!(origins.page(evil), None, "{evil}");
        }
    }

    #[test]
    fn reading_is_not_held_back() {
        let origins = Origins::new(OWN, &[]);
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(origins.allow(&asked(method, &[("sec-fetch-site", "cross-site")]), true).is_ok());
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "MADE-UP"] {
            assert!(origins.allow(&asked(method, &[("sec-fetch-site", "cross-site")]), true).is_err());
        }
    }
}
