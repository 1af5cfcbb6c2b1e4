//! A provider that speaks OpenID Connect as far as this service asks of one, and lies when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::extract::{RawForm, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::app::{Reply, TestApp};
use crate::browser::{Browser, FETCH_SITE, token};
use crate::stripe::now;

/// As whom this service is known there.
const CLIENT: &str = "membership";
/// With a sign that ends an entry of the setting, to see that it can be written.
const SECRET: &str = "hush,hush";

/// What is wrong with the next tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// A claim is another.
    Claim(&'static str, &'static str),
    /// It expired an hour ago.
    Expired,
    /// It is not signed, and says so.
    Unsigned,
    /// It is signed with the provider's public key as a shared secret.
    PublicKeyAsSecret,
    /// It is signed with a key that nobody published.
    OwnKey,
}

/// Somebody at a provider.
#[derive(Debug, Clone)]
struct Person {
    subject: String,
    email: Option<String>,
    verified: bool,
}

struct Inner {
    issuer: String,
    signs: EncodingKey,
    other: EncodingKey,
    public: Jwk,
    script: Mutex<Script>,
}

struct Script {
    person: Person,
    lie: Lie,
    tells_by_user_info: bool,
    codes: BTreeMap<String, BTreeMap<String, String>>,
    count: usize,
}

/// A running provider, and whoever is signed in there.
pub struct FakeProvider {
    inner: Arc<Inner>,
    serving: AbortHandle,
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn key() -> EncodingKey {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    EncodingKey::from_ec_der(der.expect("a key can be made").as_ref())
}

impl FakeProvider {
    /// One at an address of its own.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// One at this address, which has to be free.
    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let signs = key();
        let mut public = Jwk::from_encoding_key(&signs, Algorithm::ES256).expect("it has a public part");
        public.common.key_id = Some("one".to_owned());
        let person = Person { subject: "nobody".to_owned(), email: None, verified: false };
        let script =
            Script { person, lie: Lie::None, tells_by_user_info: false, codes: BTreeMap::new(), count: 0 };
        let issuer = format!("http://{}", listener.local_addr().expect("it listens"));
        let inner = Arc::new(Inner { issuer, signs, other: key(), public, script: Mutex::new(script) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(tokens))
            .route("/userinfo", get(user_info))
            .with_state(inner.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Self { inner, serving }
    }

    /// What `OIDC_PROVIDERS` says of it under this name.
    pub fn setting(&self, name: &str) -> String {
        setting_of(name, &self.inner.issuer)
    }

    /// Its own name.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.inner.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is who is signed in there.
    pub fn is(&self, subject: &str, email: &str, verified: bool) {
        let email = (!email.is_empty()).then(|| email.to_owned());
        self.script().person = Person { subject: subject.to_owned(), email, verified };
    }

    /// From now on this is wrong with its tokens.
    pub fn lies(&self, lie: Lie) {
        self.script().lie = lie;
    }

    /// From now on addresses are told only to whoever asks for them.
    pub fn tells_by_user_info(&self) {
        self.script().tells_by_user_info = true;
    }

    /// Goes to its page, where somebody is signed in and agrees; gives where the browser is sent.
    pub async fn agree(&self, url: &str) -> Url {
        assert!(url.starts_with(self.issuer()), "{url} is of another provider");
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client can be made");
        let reply = client.get(url).send().await.expect("it answers");
        assert_eq!(reply.status(), StatusCode::SEE_OTHER, "{}", reply.text().await.unwrap_or_default());
        let location = reply.headers()["location"].to_str().expect("it is text");
        location.parse().expect("it is an address")
    }
}

/// Is sent to the provider, agrees there, and gives where she is sent back to.
pub async fn agreed(browser: &mut Browser, provider: &FakeProvider, path: &str, body: &Value) -> String {
    let departure = browser.post(path, body).await;
    departure.is(200);
    back_to(&provider.agree(departure.body["url"].as_str().expect("it says where to go")).await)
}

/// The path and query of an address.
pub fn back_to(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Comes from another site, as a browser that a provider sends.
pub async fn arrives(browser: &mut Browser, app: &TestApp, path: &str) -> Reply {
    let mut arriving = browser.clone().saying(FETCH_SITE, "cross-site").saying("origin", "");
    let reply = arriving.get(path).await;
    *browser = arriving.saying(FETCH_SITE, "same-origin").asking(app);
    reply
}

/// What `OIDC_PROVIDERS` says of a provider with this name and issuer.
pub fn setting_of(name: &str, issuer: &str) -> String {
    format!("{name}|{issuer}|{CLIENT}|{}", SECRET.replace(',', "%2C"))
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", inner.issuer);
    Json(json!({
        "issuer": inner.issuer, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"), "userinfo_endpoint": at("userinfo"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let unknown = json!({ "kty": "XYZ", "kid": "of-tomorrow", "alg": "XY999" });
    Json(json!({ "keys": [unknown, inner.public] }))
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    let query = format!("http://x/?{}", String::from_utf8_lossy(text));
    let url: Url = query.parse().expect("a query can be read");
    url.query_pairs().into_owned().collect()
}

async fn authorize(State(inner): State<Arc<Inner>>, RawQuery(query): RawQuery) -> Response {
    let asked = pairs(query.unwrap_or_default().as_bytes());
    let said = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let known = said("client_id") == CLIENT && said("response_type") == "code";
    let bound = said("code_challenge_method") == "S256" && said("code_challenge").len() == 43;
    if !known || !bound || said("state").is_empty() || said("nonce").is_empty() {
        return (StatusCode::BAD_REQUEST, format!("not so: {asked:?}")).into_response();
    }
    let mut back: Url = said("redirect_uri").parse().expect("it is an address");
    let mut script = inner.script.lock().unwrap_or_else(PoisonError::into_inner);
    script.count += 1;
    let code = format!("code-{}", script.count);
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", said("state"))
        .append_pair("iss", &inner.issuer);
    script.codes.insert(code, asked);
    Redirect::to(back.as_str()).into_response()
}

async fn tokens(State(inner): State<Arc<Inner>>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    let sent = pairs(&form);
    let said = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{}", SECRET.replace(',', "%2C"))));
    if headers.get("authorization").is_none_or(|held| held.as_bytes() != expected.as_bytes()) {
        return refuse("invalid_client");
    }
    let mut script = inner.script.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(asked) = script.codes.remove(said("code")) else { return refuse("invalid_grant") };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(said("code_verifier")));
    if asked["code_challenge"] != challenge || asked["redirect_uri"] != said("redirect_uri") {
        return refuse("invalid_grant");
    }
    let id_token = signed(&inner, &script, &asked["nonce"]);
    Json(json!({ "access_token": "access", "token_type": "Bearer", "id_token": id_token })).into_response()
}

fn signed(inner: &Inner, script: &Script, nonce: &str) -> String {
    let at = now().timestamp();
    let Person { subject, email, verified } = &script.person;
    let mut claims = json!({ "iss": inner.issuer, "sub": subject, "aud": CLIENT, "iat": at, "exp": at + 300, "nonce": nonce });
    if !script.tells_by_user_info {
        (claims["email"], claims["email_verified"]) = (json!(email), json!(verified));
    }
    let said = |header: &Value, claims: &Value| {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        format!("{}.{}", part(header), part(claims))
    };
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
    let mut key = &inner.signs;
    match script.lie {
        Lie::None => {}
        Lie::Claim(name, value) => claims[name] = json!(value),
        Lie::Expired => (claims["iat"], claims["exp"]) = (json!(at - 7_200), json!(at - 3_600)),
        Lie::Unsigned => return format!("{}.", said(&json!({ "alg": "none", "typ": "JWT" }), &claims)),
        Lie::PublicKeyAsSecret => {
            let public = serde_json::to_vec(&inner.public).expect("a key can be written");
            return token(&json!({ "alg": "HS256", "typ": "JWT", "kid": "one" }), &claims, &public);
        }
        Lie::OwnKey => key = &inner.other,
    }
    encode(&header, &claims, key).expect("a token can be signed")
}

async fn user_info(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|held| held != "Bearer access") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let script = inner.script.lock().unwrap_or_else(PoisonError::into_inner);
    let Person { subject, email, verified } = &script.person;
    Json(json!({ "sub": subject, "email": email, "email_verified": verified })).into_response()
}
