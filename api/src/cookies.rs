//! The cookies of somebody who is signed in: a short-lived access token for every path, and what renews it for the API's.

use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};

/// Browsers keep no cookie that is longer, its name and attributes included.
const LONGEST: usize = 4_096;
/// Where the cookie goes that renews: to every path that may have to renew, and to no page.
const RENEWING: &str = "/v1";

/// How the cookies are named and written: `Secure` and host-only but on plain HTTP, which only loopback may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieStyle {
    secure: bool,
}

/// What a request says a cookie holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Held<'h> {
    /// There is none.
    #[default]
    Nothing,
    /// This.
    One(&'h str),
    /// Several values, of which another site of the same domain may have put all but one there. None of them is believed.
    Several,
}

impl<'h> Held<'h> {
    /// The one value.
    pub fn one(self) -> Option<&'h str> {
        if let Self::One(value) = self { Some(value) } else { None }
    }

    fn also(self, value: &'h str) -> Self {
        if self == Self::Nothing && value.len() <= LONGEST { Self::One(value) } else { Self::Several }
    }
}

/// The cookies of a request that are ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cookies<'h> {
    /// The access token.
    pub access: Held<'h>,
    /// What renews it.
    pub refresh: Held<'h>,
    /// What tells a browser again in which somebody has signed in before.
    pub device: Held<'h>,
    /// What tells a browser again in which an address was registered.
    pub registration: Held<'h>,
    /// What tells the browser again that was sent to a provider.
    pub flow: Held<'h>,
    /// What waits for a code after a provider has vouched for somebody.
    pub challenge: Held<'h>,
}

impl Cookies<'_> {
    /// Whether any of them came.
    pub fn any(&self) -> bool {
        self.access != Held::Nothing || self.refresh != Held::Nothing
    }
}

impl CookieStyle {
    /// For a service that is reached over TLS, or not.
    pub fn new(secure: bool) -> Self {
        Self { secure }
    }

    /// The name of the access cookie. A browser takes one that begins with `__Host-` from this host alone.
    pub fn access(self) -> &'static str {
        if self.secure { "__Host-access" } else { "access" }
    }

    /// The name of the cookie that renews.
    pub fn refresh(self) -> &'static str {
        "refresh"
    }

    /// The name of the cookie that tells a browser again.
    pub fn device(self) -> &'static str {
        if self.secure { "__Host-device" } else { "device" }
    }

    /// The name of the cookie that tells the browser again in which an address was registered.
    pub fn registration(self) -> &'static str {
        if self.secure { "__Host-registration" } else { "registration" }
    }

    /// The name of the cookie of a browser that was sent to a provider.
    pub fn flow(self) -> &'static str {
        if self.secure { "__Host-flow" } else { "flow" }
    }

    /// The name of the cookie that waits for a code.
    pub fn challenge(self) -> &'static str {
        if self.secure { "__Host-challenge" } else { "challenge" }
    }

    /// The cookies of a request.
    pub fn read(self, headers: &HeaderMap) -> Cookies<'_> {
        let mut cookies = Cookies::default();
        let texts = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        for (name, value) in texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('=')) {
            let held = match name.trim() {
                name if name == self.access() => &mut cookies.access,
                name if name == self.refresh() => &mut cookies.refresh,
                name if name == self.device() => &mut cookies.device,
                name if name == self.registration() => &mut cookies.registration,
                name if name == self.flow() => &mut cookies.flow,
                name if name == self.challenge() => &mut cookies.challenge,
                _ => continue,
            };
            *held = held.also(value.trim());
        }
        cookies
    }

    /// Has the browser keep an access token. It is kept for as long as it can be renewed, though it ends before.
    pub fn give_access(self, headers: &mut HeaderMap, token: &str, keep: Duration) {
        set(headers, &self.cookie(self.access(), token, "/", keep));
    }

    /// Has the browser keep what renews the access token.
    pub fn give_refresh(self, headers: &mut HeaderMap, token: &str, keep: Duration) {
        set(headers, &self.cookie(self.refresh(), token, RENEWING, keep));
    }

    /// Has the browser keep what tells it again.
    pub fn give_device(self, headers: &mut HeaderMap, token: &str, keep: Duration) {
        set(headers, &self.cookie(self.device(), token, "/", keep));
    }

    /// Has the browser keep that an address was registered in it.
    pub fn give_registration(self, headers: &mut HeaderMap, proof: &str, keep: Duration) {
        set(headers, &self.cookie(self.registration(), proof, "/", keep));
    }

    /// Has the browser keep that it was sent to a provider; for no time, forget it.
    pub fn give_flow(self, headers: &mut HeaderMap, secret: &str, keep: Duration) {
        set(headers, &self.cookie(self.flow(), secret, "/", keep));
    }

    /// Has the browser keep what waits for a code; for no time, forget it.
    pub fn give_challenge(self, headers: &mut HeaderMap, challenge: &str, keep: Duration) {
        set(headers, &self.cookie(self.challenge(), challenge, "/", keep));
    }

    /// Has the browser forget that anybody is signed in.
    pub fn take_away(self, headers: &mut HeaderMap) {
        set(headers, &self.cookie(self.access(), "", "/", Duration::ZERO));
        set(headers, &self.cookie(self.refresh(), "", RENEWING, Duration::ZERO));
    }

    fn cookie<'c>(self, name: &'c str, value: &'c str, path: &'c str, keep: Duration) -> Cookie<'c> {
        let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
        Cookie::build((name, value))
            .path(path)
            .secure(self.secure)
            .http_only(true)
            .same_site(SameSite::Lax)
            .max_age(cookie::time::Duration::seconds(keep))
            .build()
    }
}

fn set(headers: &mut HeaderMap, cookie: &Cookie<'_>) {
    let text = cookie.to_string();
    debug_assert!(text.len() <= LONGEST, "a browser would not keep this");
    match HeaderValue::try_from(text) {
        Ok(value) => drop(headers.append(SET_COOKIE, value)),
        Err(error) => tracing::error!(%error, "a cookie cannot be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookies: &[&'static str]) -> HeaderMap {
        let values = cookies.iter().map(|text| (COOKIE, HeaderValue::from_static(text)));
        values.collect()
    }

    #[test]
    fn cookies_are_found_among_others_and_over_several_headers() {
        let secure = CookieStyle::new(true);
        let headers = sent(&["theme=dark; __Host-access=a.b.c", "refresh=r=; x"]);
        let cookies = secure.read(&headers);
        assert_eq!((cookies.access.one(), cookies.refresh.one()), (Some("a.b.c"), Some("r=")));
        assert!(cookies.any() && !secure.read(&sent(&["theme=dark"])).any());
    }

    #[test]
    fn a_cookie_of_the_other_style_is_not_ours() {
        let headers = sent(&["access=tossed; __Host-access=ours"]);
        assert_eq!(CookieStyle::new(true).read(&headers).access, Held::One("ours"));
        assert_eq!(CookieStyle::new(false).read(&headers).access, Held::One("tossed"));
    }

    #[test]
    fn of_several_cookies_of_one_name_none_is_believed() {
        for cookies in
            [["refresh=a; refresh=b", ""], ["refresh=a", "refresh=b"], ["refresh=a; refresh=a", ""]]
        {
            let headers = sent(&cookies);
            let cookies = CookieStyle::new(true).read(&headers);
            assert_eq!((cookies.refresh, cookies.refresh.one(), cookies.any()), (Held::Several, None, true));
        }
    }

    #[test]
    fn what_no_browser_would_have_kept_is_not_believed() {
        let long = format!("refresh={}", "x".repeat(LONGEST + 1));
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(long).unwrap())]);
        assert_eq!(CookieStyle::new(true).read(&headers).refresh.one(), None);
    }

    #[test]
    fn cookies_are_written_for_this_host_alone_and_out_of_reach_of_scripts() {
        let (mut secure, mut plain) = (HeaderMap::new(), HeaderMap::new());
        let keep = Duration::from_mins(10);
        CookieStyle::new(true).give_access(&mut secure, "a.b.c", keep);
        CookieStyle::new(true).give_refresh(&mut secure, "r", keep);
        CookieStyle::new(false).give_access(&mut plain, "a.b.c", keep);
        let text = |headers: &HeaderMap, nth| {
            headers.get_all(SET_COOKIE).iter().nth(nth).unwrap().to_str().unwrap().to_owned()
        };
        let access = "__Host-access=a.b.c; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600";
        assert_eq!(text(&secure, 0), access);
        assert_eq!(text(&secure, 1), "refresh=r; HttpOnly; SameSite=Lax; Secure; Path=/v1; Max-Age=600");
        assert_eq!(text(&plain, 0), "access=a.b.c; HttpOnly; SameSite=Lax; Path=/; Max-Age=600");
    }

    #[test]
    fn cookies_are_taken_away_with_the_paths_they_were_given_with() {
        let mut headers = HeaderMap::new();
        CookieStyle::new(true).take_away(&mut headers);
        let set: Vec<_> = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(set[0].contains("Path=/;") && set[0].contains("Max-Age=0"), "{set:?}");
        assert!(set[1].contains("Path=/v1;") && set[1].contains("Max-Age=0"), "{set:?}");
    }
}
