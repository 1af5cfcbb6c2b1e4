//! Somebody with a browser and a letter box: cookies, what browsers say of their requests, and links in letters.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use totp_rs::Totp;

use crate::app::{HANG, Home, POLL, Reply, TestApp, answer};
use crate::stripe::now;

/// A password that may be chosen.
pub const PASSWORD: &str = "correct horse battery staple";
/// The key that signs access tokens in the scenarios: 32 bytes `k`.
pub const KEY: &[u8; 32] = &[b'k'; 32];
/// What browsers say of where a request comes from.
pub const FETCH_SITE: &str = "sec-fetch-site";

const LETTERS: &str = "letters";
/// Twice as long as a letter waits.
const LEAVES_WITHIN: Duration = Duration::from_millis(500);

impl Home {
    /// The same place, where people can sign in and letters become files. `X-Forwarded-For` is believed.
    #[must_use]
    pub fn with_accounts(self) -> Self {
        let folder = self.path(LETTERS);
        fs::create_dir_all(&folder).expect("the folder can be made");
        self.with("SESSION_KEYS", "test:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
            .with("SMTP_URL", &format!("file://{}", folder.display()))
            .with("TRUSTED_PROXIES", "127.0.0.1")
    }

    /// The oldest unread letter to `to` whose subject holds `about`.
    pub async fn letter(&self, to: &str, about: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(letter) = self.take_letter(to, about) {
                return letter;
            }
            assert!(begun.elapsed() < HANG, "no letter to {to} about {about:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn take_letter(&self, to: &str, about: &str) -> Option<String> {
        let files = fs::read_dir(self.path(LETTERS)).expect("there is a letter box").flatten();
        let mut files: Vec<_> = files.map(|file| file.path()).collect();
        files.sort_by_key(|file| {
            file.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        });
        files.into_iter().find_map(|file| {
            let letter = fs::read_to_string(&file).ok()?.replace("=\r\n", "").replace("=3D", "=");
            // One that is still being written does not end so.
            let whole = letter.trim_end().ends_with("--");
            let hers = letter.contains(&format!("To: {to}\r\n"));
            let fits = letter.lines().any(|line| line.starts_with("Subject: ") && line.contains(about));
            (whole && hers && fits && fs::remove_file(&file).is_ok()).then_some(letter)
        })
    }

    /// How many letters nobody has read, once no more come: each leaves a moment after what it follows from.
    pub async fn unread_letters(&self) -> usize {
        loop {
            let before = self.letters();
            tokio::time::sleep(LEAVES_WITHIN).await;
            if self.letters() == before {
                return before;
            }
        }
    }

    /// The same, once there are at least so many.
    pub async fn unread_letters_from(&self, least: usize) -> usize {
        let begun = Instant::now();
        while self.letters() < least {
            assert!(begun.elapsed() < HANG, "{} letters, not {least}", self.letters());
            tokio::time::sleep(POLL).await;
        }
        self.unread_letters().await
    }

    fn letters(&self) -> usize {
        fs::read_dir(self.path(LETTERS)).expect("there is a letter box").count()
    }

    /// The secret of the link in the oldest unread letter to `to` about `about`.
    pub async fn link(&self, to: &str, about: &str) -> String {
        let letter = self.letter(to, about).await;
        let secret = letter.split("#token=").nth(1).unwrap_or_else(|| panic!("no link in {letter}"));
        secret.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
    }
}

/// Somebody's browser. A clone is a thief's, with a copy of the cookies.
#[derive(Debug, Clone)]
pub struct Browser {
    url: String,
    client: reqwest::Client,
    cookies: BTreeMap<String, (String, String)>,
    headers: BTreeMap<&'static str, String>,
}

impl Browser {
    /// A new one, that shows a page of the service.
    pub fn of(app: &TestApp) -> Self {
        let headers = [("origin", app.url.clone()), (FETCH_SITE, "same-origin".to_owned())];
        let client =
            reqwest::Client::builder().no_proxy().timeout(HANG).redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client can be made");
        Self { url: app.url.clone(), client, cookies: BTreeMap::new(), headers: headers.into() }
    }

    /// The same, saying something else with every request; an empty text is not said.
    #[must_use]
    pub fn saying(mut self, name: &'static str, value: &str) -> Self {
        if value.is_empty() {
            self.headers.remove(name)
        } else {
            self.headers.insert(name, value.to_owned())
        };
        self
    }

    /// The same, at another address of the Internet.
    #[must_use]
    pub fn at(self, address: &str) -> Self {
        self.saying("x-forwarded-for", address)
    }

    /// The same with a service that was started anew.
    #[must_use]
    pub fn asking(mut self, app: &TestApp) -> Self {
        self.url.clone_from(&app.url);
        self.saying("origin", &app.url)
    }

    /// Her access token with other headers or claims, signed with the right key.
    pub fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let parts: Vec<&str> = self.cookie("access").expect("she is signed in").split('.').collect();
        let read = |part: &str| -> Value {
            let bytes = URL_SAFE_NO_PAD.decode(part).expect("a part of a token is base64");
            serde_json::from_slice(&bytes).expect("a part of a token is JSON")
        };
        let (mut header, mut claims) = (read(parts[0]), read(parts[1]));
        change(&mut header, &mut claims);
        token(&header, &claims, KEY)
    }

    /// A cookie's value.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(|(value, _)| value.as_str())
    }

    /// Puts a cookie there, as if it had been sent to this host.
    pub fn put(&mut self, name: &str, value: &str) {
        let path = if name == "refresh" { "/v1" } else { "/" };
        self.cookies.insert(name.to_owned(), (value.to_owned(), path.to_owned()));
    }

    /// Forgets a cookie.
    pub fn forget(&mut self, name: &str) {
        self.cookies.remove(name);
    }

    /// A request with her cookies that has not been sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let sent = self.cookies.iter().filter(|(_, (_, under))| path.starts_with(under.as_str()));
        let sent: Vec<String> = sent.map(|(name, (value, _))| format!("{name}={value}")).collect();
        if sent.is_empty() { request } else { request.header(COOKIE, sent.join("; ")) }
    }

    /// Sends a request, and keeps the cookies of the answer.
    pub async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let request = self.request(method, path);
        let reply = answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await;
        self.keep(&reply.headers);
        reply
    }

    /// Keeps the cookies of an answer.
    pub fn keep(&mut self, headers: &HeaderMap) {
        for set in headers.get_all(SET_COOKIE) {
            let text = set.to_str().expect("cookies are text");
            let (name, rest) = text.split_once('=').expect("a cookie has a name");
            let value = rest.split(';').next().unwrap_or_default();
            let attribute = |name: &str| text.split("; ").find_map(|part| part.strip_prefix(name));
            if attribute("Max-Age=") == Some("0") {
                self.cookies.remove(name);
            } else {
                let path = attribute("Path=").unwrap_or("/").to_owned();
                self.cookies.insert(name.to_owned(), (value.to_owned(), path));
            }
        }
    }

    /// Reads.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    /// Posts.
    pub async fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Tries to sign in.
    pub async fn try_login(&mut self, email: &str, password: &str) -> Reply {
        self.post("/v1/auth/login", &json!({ "email": email, "password": password })).await
    }

    /// Signs in, which has to work, and says who she is.
    pub async fn login(&mut self, email: &str, password: &str) -> String {
        let reply = self.try_login(email, password).await;
        assert_eq!((reply.status, &reply.body["object"]), (StatusCode::OK, &json!("signed_in")), "{reply:?}");
        reply.body["member"].as_str().expect("the answer names her").to_owned()
    }

    /// Sets a second factor up for whoever is signed in, and gives what the app was given, and the backup codes.
    pub async fn second_factor(&mut self) -> (String, Vec<String>) {
        let (url, codes, _) = self.second_factor_with().await;
        (url, codes)
    }

    /// The same, and the code that confirmed it.
    pub async fn second_factor_with(&mut self) -> (String, Vec<String>, String) {
        let reply = self.post("/v1/auth/second-factor/enrol", &json!({ "password": PASSWORD })).await;
        reply.is(200);
        let url = reply.body["url"].as_str().expect("the app is given something").to_owned();
        let spent = code(&url, 0);
        let reply = self.post("/v1/auth/second-factor/confirm", &json!({ "code": spent })).await;
        reply.is(200);
        let codes = reply.body["codes"].as_array().cloned().unwrap_or_default();
        (url, codes.iter().filter_map(|code| code.as_str().map(str::to_owned)).collect(), spent)
    }

    /// Whether the service takes her for somebody.
    pub async fn is_signed_in(&mut self) -> bool {
        let reply = self.get("/v1/auth/account").await;
        assert!(matches!(reply.status.as_u16(), 200 | 401), "{reply:?}");
        reply.status == StatusCode::OK
    }
}

/// The code that an app shows which was given this address, so many seconds from now.
pub fn code(url: &str, ahead: u64) -> String {
    let totp = Totp::from_url(url).expect("apps understand the address");
    let now = u64::try_from(now().timestamp()).expect("it is after 1970");
    totp.generate(now + ahead).to_string()
}

/// A token of these parts, signed as HS256 does with `key`.
pub fn token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let said = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(said.as_bytes());
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Opens an account with [`PASSWORD`] by letter, and gives a browser in which its owner is signed in, and her id.
pub async fn signed_up(app: &TestApp, email: &str) -> (Browser, String) {
    let mut browser = Browser::of(app);
    let reply = browser.post("/v1/auth/register", &json!({ "email": email, "password": PASSWORD })).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
    let token = app.home.link(email, "Confirm").await;
    let reply = browser.post("/v1/auth/verify-email", &json!({ "token": token })).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let member = browser.login(email, PASSWORD).await;
    (browser, member)
}

impl Reply {
    /// Checks that it is a problem with this status and code.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.body["code"]), (status, &json!(code)), "{self:?}");
    }

    /// Checks that it has this status.
    ///
    /// # Panics
    ///
    /// When it has another.
    #[track_caller]
    pub fn is(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
    }
}
