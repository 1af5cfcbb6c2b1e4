//! Asks providers, and remembers what they told of themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accounts::identities::{Answer, Claims, Provider, ProviderError, Providers, Request};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::clock::Clock;
use form_urlencoded::{Serializer, byte_serialize};
use jsonwebtoken::jwk::Jwk;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::settings::{ProviderList, Settings, is_safe};
use crate::token::{Doubt, Expected, is_true, read};

const WELL_KNOWN: &str = ".well-known/openid-configuration";
/// How long one request may take.
const REQUEST: Duration = Duration::from_millis(2_500);
/// How long everything together may take: less than a request to this service may.
const ALTOGETHER: Duration = Duration::from_secs(6);
/// How often reading is tried. Spending a code is not tried again: it is worth something once.
const TRIES: usize = 2;
/// How long what a provider tells of itself is taken to be so.
const KEPT: Duration = Duration::from_hours(1);
/// How long one that failed is left alone, and its keys are not read again for the sake of one that is not among them.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// No answer of a provider is longer.
const LONGEST: usize = 512 * 1024;
/// So many ask one provider at once. One that hangs is not to hold all requests that this service takes.
const AT_ONCE: usize = 8;
const BASIC: &str = "client_secret_basic";
const POST: &str = "client_secret_post";

/// An address of a provider, on the way to which nobody can read along.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Address(Url);

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let url: Url = text.parse().map_err(|_| "an address cannot be read")?;
        if is_safe(&url) { Ok(Self(url)) } else { Err("an address is not https") }
    }
}

/// What a provider tells of itself.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Address,
    token_endpoint: Address,
    jwks_uri: Address,
    userinfo_endpoint: Option<Address>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether everything it names is reached as safely as the document itself, which was read from there.
    fn keeps_to(&self, issuer: &str) -> bool {
        let asked = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let mut all = asked.into_iter().chain(&self.userinfo_endpoint);
        !issuer.starts_with("https:") || all.all(|address| address.0.scheme() == "https")
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    email: Option<String>,
    email_verified: Option<Value>,
}

/// Something that was read, and what came of the last attempt.
struct Kept<T> {
    held: Option<(Arc<T>, Instant)>,
    failed: Option<(ProviderError, Instant)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { held: None, failed: None }
    }
}

impl<T> Kept<T> {
    /// What is held unless it is older than this; else what `read` gives, which is not asked soon after it failed. What is too old
    /// is better than nothing.
    async fn get(
        &mut self,
        age: Duration,
        read: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        if let Some((held, at)) = &self.held
            && at.elapsed() < age
        {
            return Ok(held.clone());
        }
        let rests = self.failed.as_ref().filter(|(_, at)| at.elapsed() < LEFT_ALONE);
        let error = match rests {
            Some((error, _)) => error.clone(),
            None => match read.await {
                Ok(read) => {
                    let read = Arc::new(read);
                    (self.held, self.failed) = (Some((read.clone(), Instant::now())), None);
                    return Ok(read);
                }
                Err(error) => {
                    self.failed = Some((error.clone(), Instant::now()));
                    error
                }
            },
        };
        self.held.as_ref().map(|(held, _)| held.clone()).ok_or(error)
    }
}

/// One provider. Of those who want to know something that is not known yet, one asks and the others wait.
struct Known {
    settings: Settings,
    places: Semaphore,
    metadata: Mutex<Kept<Metadata>>,
    keys: Mutex<Kept<Vec<Jwk>>>,
}

/// Speaks to the providers that are set.
pub struct OpenId {
    http: Client,
    clock: Arc<dyn Clock>,
    known: Vec<Known>,
    shown: Vec<Provider>,
}

impl OpenId {
    /// Speaks to these. Asks nothing yet.
    pub fn new(list: &ProviderList, clock: Arc<dyn Clock>) -> Result<Self, ProviderError> {
        let http =
            Client::builder().timeout(REQUEST).redirect(Policy::none()).user_agent("membership").build();
        let http = http.map_err(|error| unavailable(&format!("no client can be made: {error}")))?;
        let shown = list
            .0
            .iter()
            .map(|settings| Provider { name: settings.name.clone(), issuer: settings.issuer.clone() });
        let known = list.0.iter().map(|settings| Known {
            settings: settings.clone(),
            places: Semaphore::new(AT_ONCE),
            metadata: Mutex::default(),
            keys: Mutex::default(),
        });
        Ok(Self { http, clock, shown: shown.collect(), known: known.collect() })
    }

    fn known(&self, name: &str) -> Result<&Known, ProviderError> {
        let known = self.known.iter().find(|known| known.settings.name == name);
        known.ok_or_else(|| unavailable("there is none of this name"))
    }

    async fn metadata(&self, known: &Known) -> Result<Arc<Metadata>, ProviderError> {
        known.metadata.lock().await.get(KEPT, self.discover(&known.settings)).await
    }

    async fn discover(&self, settings: &Settings) -> Result<Metadata, ProviderError> {
        let url = format!("{}/{WELL_KNOWN}", settings.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.fetch(&url, "its discovery document").await?;
        // Whoever answers for another name could say anything of it.
        if metadata.issuer != settings.issuer {
            return Err(unavailable("it calls itself by another issuer than OIDC_PROVIDERS does"));
        }
        let is_safe = metadata.keeps_to(&settings.issuer);
        is_safe.then_some(metadata).ok_or_else(|| unavailable("one of its addresses is not https"))
    }

    async fn keys(&self, known: &Known, age: Duration) -> Result<Arc<Vec<Jwk>>, ProviderError> {
        let metadata = self.metadata(known).await?;
        let read = async {
            let set: KeySet = self.fetch(metadata.jwks_uri.0.as_str(), "its keys").await?;
            // A kind of key that is not known here is none of ours to check with.
            Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
        };
        known.keys.lock().await.get(age, read).await
    }

    async fn fetch<T: DeserializeOwned>(&self, url: &str, what: &str) -> Result<T, ProviderError> {
        let mut failed = unavailable("it was not asked");
        for _ in 0..TRIES {
            match self.ask(self.http.get(url)).await {
                Ok((StatusCode::OK, body)) => {
                    return serde_json::from_slice(&body)
                        .map_err(|_| unavailable(&format!("{what} cannot be read")));
                }
                Ok((status, _)) => failed = unavailable(&format!("{what} was answered with {status}")),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        let asked = async {
            let mut response = request.header(ACCEPT, "application/json").send().await?;
            let (status, mut body) = (response.status(), Vec::new());
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > LONGEST {
                    return Ok(None);
                }
            }
            Ok::<_, reqwest::Error>(Some((status, body)))
        };
        let answered = asked.await.map_err(|error| unavailable(what_failed(&error)))?;
        answered.ok_or_else(|| unavailable("its answer is too long"))
    }

    fn spending(&self, settings: &Settings, metadata: &Metadata, answer: Answer<'_>) -> RequestBuilder {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", answer.code)
            .append_pair("redirect_uri", answer.redirect_uri)
            .append_pair("code_verifier", answer.verifier);
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let speaks = |method: &str| methods.is_some_and(|methods| methods.iter().any(|held| held == method));
        let mut request = self.http.post(metadata.token_endpoint.0.clone());
        let Settings { client_id, client_secret, .. } = settings;
        if speaks(POST) && !speaks(BASIC) {
            form.append_pair("client_id", client_id).append_pair("client_secret", client_secret);
        } else {
            let [id, secret] =
                [client_id, client_secret].map(|text| byte_serialize(text.as_bytes()).collect::<String>());
            let credentials = STANDARD.encode(format!("{id}:{secret}"));
            request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
        }
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
    }

    /// Spends a code.
    async fn spend(
        &self,
        settings: &Settings,
        metadata: &Metadata,
        answer: Answer<'_>,
    ) -> Result<Tokens, ProviderError> {
        let request = self.spending(settings, metadata, answer);
        let (status, body) = self.ask(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| unavailable("it gave no signed token"));
        }
        let said = serde_json::from_slice::<Value>(&body).ok();
        let code = said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or_default();
        Err(match code {
            "invalid_grant" => refused("it does not know the code, or it has been used"),
            "invalid_client" | "unauthorized_client" => {
                unavailable("it does not take the client id and secret in OIDC_PROVIDERS")
            }
            _ => unavailable(&format!("the code was answered with {status}")),
        })
    }

    /// Her address, where the signed token does not tell it.
    async fn user_info(
        &self,
        url: &Url,
        access_token: &str,
        subject: &str,
    ) -> Result<(Option<String>, bool), ProviderError> {
        let request = self.http.get(url.clone()).bearer_auth(access_token);
        let (status, body) = self.ask(request).await?;
        if status != StatusCode::OK {
            return Err(unavailable(&format!("what it knows of her was answered with {status}")));
        }
        // A signed answer is not asked for, and cannot be read.
        let told: UserInfo =
            serde_json::from_slice(&body).map_err(|_| unavailable("what it knows of her cannot be read"))?;
        if told.sub != subject {
            return Err(refused("it tells of somebody else"));
        }
        Ok((told.email, is_true(told.email_verified.as_ref())))
    }

    async fn find_out(&self, known: &Known, answer: Answer<'_>) -> Result<Claims, ProviderError> {
        let (settings, metadata) = (&known.settings, self.metadata(known).await?);
        let is_told = answer.issuer.is_some() || !metadata.authorization_response_iss_parameter_supported;
        if !is_told || answer.issuer.is_some_and(|issuer| issuer != settings.issuer) {
            return Err(refused("another provider sent the browser back"));
        }
        let tokens = self.spend(settings, &metadata, answer).await?;
        let expected = Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            nonce: answer.nonce,
            now: self.clock.now().timestamp(),
        };
        let mut told = read(&tokens.id_token, &self.keys(known, KEPT).await?, expected);
        if matches!(told, Err(Doubt::UnknownKey | Doubt::WrongSignature)) {
            // It may have changed its keys within the hour, and called the new one like the old.
            told = read(&tokens.id_token, &self.keys(known, LEFT_ALONE).await?, expected);
        }
        let told = told.map_err(|doubt| match doubt {
            Doubt::UnknownKey => refused("its token is signed with a key that is not its"),
            Doubt::WrongSignature => refused("its token has a wrong signature"),
            Doubt::Bad(why) => refused(why),
        })?;
        let (mut email, mut email_verified) = (told.email, told.email_verified);
        let mut email_failed = None;
        if let (None, Some(url), Some(token)) = (&email, &metadata.userinfo_endpoint, &tokens.access_token) {
            match self.user_info(&url.0, token, &told.subject).await {
                Ok(known) => (email, email_verified) = known,
                // Who she is has been said. Her address is needed where she comes for the first time alone.
                Err(failed @ ProviderError::Unavailable(_)) => {
                    tracing::warn!(provider = settings.name, %failed, "an address is not known");
                    email_failed = Some(failed);
                }
                Err(refused) => return Err(refused),
            }
        }
        let (issuer, subject) = (settings.issuer.clone(), told.subject);
        Ok(Claims { issuer, subject, email, email_verified, email_failed })
    }

    async fn address(&self, known: &Known, request: Request<'_>) -> Result<String, ProviderError> {
        let mut url = self.metadata(known).await?.authorization_endpoint.0.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &known.settings.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &known.settings.scopes)
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }
}

async fn in_time<T>(
    known: &Known,
    work: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let Ok(_place) = known.places.try_acquire() else {
        return Err(unavailable("too many wait for its answer at this moment"));
    };
    timeout(ALTOGETHER, work).await.unwrap_or_else(|_| Err(unavailable("it does not answer in time")))
}

#[async_trait]
impl Providers for OpenId {
    fn list(&self) -> &[Provider] {
        &self.shown
    }

    async fn authorize(&self, provider: &str, request: Request<'_>) -> Result<String, ProviderError> {
        let known = self.known(provider)?;
        let told = in_time(known, self.address(known, request)).await;
        if let Err(ProviderError::Unavailable(why)) = &told {
            tracing::warn!(provider, why, "nobody can be sent to a provider");
        }
        told
    }

    async fn identify(&self, provider: &str, answer: Answer<'_>) -> Result<Claims, ProviderError> {
        let known = self.known(provider)?;
        in_time(known, self.find_out(known, answer)).await
    }
}

fn unavailable(why: &str) -> ProviderError {
    ProviderError::Unavailable(why.to_owned())
}

fn refused(why: &str) -> ProviderError {
    ProviderError::Refused(why.to_owned())
}

/// Not the error's own words, which name addresses.
fn what_failed(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "it does not answer in time"
    } else if error.is_connect() {
        "no connection can be made"
    } else {
        "the connection broke"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Json;
    use axum::Router;
    use axum::routing::{get, post};
    use domain::clock::SystemClock;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::token::tests::{pair, signed};

    const REQUEST: super::Request<'static> =
        super::Request { state: "s", nonce: "n", challenge: "c", redirect_uri: "http://127.0.0.1/back" };

    /// A provider that tells this of itself, and how often it was asked.
    async fn telling(document: impl Fn(&str) -> Value) -> (OpenId, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (document, asked) = (document(&url), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let told = get(move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            Json(document)
        });
        let router = Router::new().route("/.well-known/openid-configuration", told);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (speaking_to(&url), asked)
    }

    fn speaking_to(issuer: &str) -> OpenId {
        let list = ProviderList::parse(&format!("id|{issuer}|membership|hush")).unwrap();
        OpenId::new(&list, Arc::new(SystemClock)).unwrap()
    }

    fn document(issuer: &str) -> Value {
        json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize?tenant=x"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys") })
    }

    #[tokio::test]
    async fn a_browser_is_sent_with_everything_that_binds_the_answer_to_it_and_discovery_is_asked_once() {
        let (openid, asked) = telling(document).await;
        for _ in 0..3 {
            let url: Url = openid.authorize("id", REQUEST).await.unwrap().parse().unwrap();
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            for (name, value) in [
                ("tenant", "x"),
                ("response_type", "code"),
                ("client_id", "membership"),
                ("scope", "openid email"),
                ("state", "s"),
                ("nonce", "n"),
                ("code_challenge", "c"),
                ("code_challenge_method", "S256"),
                ("redirect_uri", "http://127.0.0.1/back"),
            ] {
                assert!(pairs.contains(&(name.to_owned(), value.to_owned())), "{name} in {url}");
            }
            assert!(!url.as_str().contains("hush"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_provider_that_answers_for_another_or_without_tls_is_not_used() {
        let (another, _) = telling(|_| document("https://accounts.example")).await;
        let told = another.authorize("id", REQUEST).await.unwrap_err();
        assert!(told.to_string().contains("another issuer"), "{told}");
        for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            let (plain, _) = telling(|url| {
                let mut document = document(url);
                document[endpoint] = json!("http://id.example/x");
                document
            })
            .await;
            let told = plain.authorize("id", REQUEST).await.unwrap_err();
            assert!(matches!(told, ProviderError::Unavailable(_)), "{endpoint}: {told}");
        }
    }

    #[test]
    fn a_provider_behind_tls_names_no_address_without_it() {
        let names = |issuer: &str, endpoint: &str, url: &str| {
            let mut document = document(issuer);
            document[endpoint] = json!(url);
            serde_json::from_value::<Metadata>(document).unwrap().keeps_to(issuer)
        };
        for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            assert!(names("https://id.example", endpoint, "https://other.example/x"), "{endpoint}");
            assert!(!names("https://id.example", endpoint, "http://127.0.0.1/x"), "{endpoint}");
            assert!(names("http://127.0.0.1", endpoint, "http://localhost/x"), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn of_those_who_wait_for_a_provider_that_hangs_there_are_few() {
        let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let openid = Arc::new(speaking_to(&format!("http://{}", hangs.local_addr().unwrap())));
        let mut asking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let openid = openid.clone();
            asking.spawn(async move { openid.authorize("id", REQUEST).await.map(|_| ()) });
        }
        while openid.known[0].places.available_permits() > 0 {
            yield_now().await;
        }
        let told = openid.authorize("id", REQUEST).await.unwrap_err();
        assert!(told.to_string().contains("too many"), "{told}");
        asking.shutdown().await;
        assert_eq!(openid.known[0].places.available_permits(), AT_ONCE, "who leaves gives the place back");
    }

    #[tokio::test]
    async fn a_key_that_changed_under_its_name_and_an_address_that_is_not_told_stop_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (before, now) = (pair("one"), SystemClock.now().timestamp());
        let after = pair("one");
        let claims = json!({ "iss": url, "sub": "4711", "aud": "membership", "exp": now + 300, "iat": now, "nonce": "n" });
        let tokens = json!({ "id_token": signed(&after, &claims), "access_token": "a" });
        let (mut document, keys) = (document(&url), json!({ "keys": [after.public] }));
        document["userinfo_endpoint"] = json!(format!("{url}/userinfo"));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async || Json(document)))
            .route("/token", post(async || Json(tokens)))
            .route("/keys", get(async || Json(keys)))
            .route("/userinfo", get(async || axum::http::StatusCode::SERVICE_UNAVAILABLE));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let openid = speaking_to(&url);
        let known = async |read: Option<Instant>| {
            openid.known[0].keys.lock().await.held =
                Some((Arc::new(vec![before.public.clone()]), read.unwrap()));
        };
        let redirect_uri = "http://127.0.0.1/back";
        let answer = Answer { code: "c", issuer: None, verifier: "v", nonce: "n", redirect_uri };
        known(Some(Instant::now())).await;
        let told = openid.identify("id", answer).await.unwrap_err();
        assert_eq!(told, refused("its token has a wrong signature"), "they were read just now");
        known(Instant::now().checked_sub(LEFT_ALONE)).await;
        let told = openid.identify("id", answer).await.unwrap();
        assert_eq!((told.subject.as_str(), told.email, told.email_verified), ("4711", None, false));
        assert!(matches!(told.email_failed, Some(ProviderError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_provider_that_is_not_there_is_said_so_and_left_alone_for_a_moment() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let openid = speaking_to(&format!("http://{free}"));
        let told = openid.authorize("id", REQUEST).await.unwrap_err();
        assert_eq!(told, ProviderError::Unavailable("no connection can be made".to_owned()));
        assert_eq!(openid.authorize("id", REQUEST).await.unwrap_err(), told);
        assert!(openid.authorize("other", REQUEST).await.is_err());
    }

    #[tokio::test]
    async fn what_is_too_old_is_better_than_nothing_and_what_failed_is_not_asked_again_at_once() {
        let mut kept = Kept::default();
        let down = || ProviderError::Unavailable("down".to_owned());
        assert_eq!(kept.get(KEPT, async { Err(down()) }).await, Err(down()));
        assert_eq!(kept.get(KEPT, async { Ok(1) }).await, Err(down()), "it is left alone");
        kept.failed = None;
        assert_eq!(kept.get(KEPT, async { Ok(1) }).await, Ok(Arc::new(1)));
        assert_eq!(kept.get(KEPT, async { Ok(2) }).await, Ok(Arc::new(1)));
        assert_eq!(kept.get(Duration::ZERO, async { Err(down()) }).await, Ok(Arc::new(1)));
    }
}
