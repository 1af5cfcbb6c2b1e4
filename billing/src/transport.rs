//! The way to Stripe and back: one time limit for each attempt, few attempts, and a breaker.
//!
//! async-stripe's own client is not used: it drops `Retry-After` and the status of answers that are not JSON, opens a
//! connection for each call, and parses answers into types that leave no room for fields that are missing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::BillingError;
use domain::clock::Clock;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use stripe_client_core::{RequestBuilder, StripeMethod, VERSION};
use thiserror::Error;
use webhook_ingest::provider::Asked;

use crate::breaker::Breaker;

/// Stripe's own address.
const STRIPE: &str = "https://api.stripe.com/";
/// An answer may ask for a longer pause than this; then somebody else has to try again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How Stripe is reached.
#[derive(Clone)]
pub struct Settings {
    /// The secret key.
    pub key: String,
    /// Where the API is; Stripe's own when not given.
    pub base: Option<String>,
    /// How long to wait and how often to try.
    pub limits: Limits,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base", &self.base)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How long to wait for Stripe and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Attempts at most.
    pub attempts: usize,
    /// Before the second attempt, about; each further pause is twice as long.
    pub pause: Duration,
    /// So many failures in a row, and Stripe is left alone.
    pub failures: u32,
    /// For so long.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempts: 4,
            pause: Duration::from_millis(300),
            failures: 5,
            rest: Duration::from_secs(30),
        }
    }
}

/// What is wrong with the settings.
#[derive(Debug, Error)]
pub enum BadSettings {
    /// The address.
    #[error("is not an http or https address: {0}")]
    Base(String),
    /// The key.
    #[error("holds characters that no key has")]
    Key,
    /// This machine.
    #[error("cannot be used from here: {0}")]
    Tls(String),
}

/// The way to Stripe.
pub(crate) struct Transport {
    http: Client,
    base: Url,
    limits: Limits,
    breaker: Breaker,
    clock: Arc<dyn Clock>,
}

/// What Stripe answered.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) asked: Asked,
}

/// Why an attempt brought nothing, and whether another may.
struct Failure {
    error: BillingError,
    again: bool,
    pause: Option<Duration>,
}

impl Transport {
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, BadSettings> {
        let limits = settings.limits;
        let base = settings.base.as_deref().unwrap_or(STRIPE);
        let bad = |what: &str| BadSettings::Base(format!("{base:?} {what}"));
        let mut base = Url::parse(base).map_err(|error| bad(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(bad("begins with neither http:// nor https://"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", settings.key)).map_err(|_| BadSettings::Key)?;
        bearer.set_sensitive(true);
        let version = HeaderValue::try_from(VERSION.as_str()).map_err(|_| BadSettings::Key)?;
        let headers =
            [(AUTHORIZATION, bearer), ("stripe-version".parse().map_err(|_| BadSettings::Key)?, version)];
        let http = Client::builder()
            .default_headers(HeaderMap::from_iter(headers))
            .user_agent(concat!("membership/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(limits.timeout)
            .connect_timeout(limits.timeout / 2)
            .build()
            .map_err(|error| BadSettings::Tls(error.to_string()))?;
        Ok(Self { http, base, limits, breaker: Breaker::new(limits.failures, limits.rest), clock })
    }

    /// Sends a request that async-stripe wrote. What changes something carries a key that makes sending it twice do it once.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        key: Option<&str>,
    ) -> Result<Answer, BillingError> {
        // The ids in it come from outside.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-');
        if !request.path.bytes().all(plain) {
            let message = "an id holds characters that no id has".to_owned();
            return Err(BillingError::Refused { code: "bad_id".to_owned(), message });
        }
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.limits.pause)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(self.limits.attempts.saturating_sub(1));
        let attempt = || self.attempt(&request, key);
        let answer = attempt
            .retry(pauses)
            .when(|failure: &Failure| failure.again)
            .adjust(|failure, pause| match (failure.pause, pause) {
                (Some(asked), Some(_)) if asked > LONGEST_PAUSE => None,
                (Some(asked), Some(pause)) => Some(asked.max(pause)),
                (_, pause) => pause,
            })
            .notify(|failure, pause| tracing::warn!(error = %failure.error, ?pause, "asking the billing provider again"));
        answer.await.map_err(|failure| failure.error)
    }

    async fn attempt(&self, request: &RequestBuilder, key: Option<&str>) -> Result<Answer, Failure> {
        if let Err(rest) = self.breaker.admit(Instant::now()) {
            let seconds = rest.as_secs() + 1;
            let what = format!(
                "it has failed {} times in a row and is left alone for {seconds} s",
                self.limits.failures
            );
            return Err(Failure { error: BillingError::Unavailable(what), again: false, pause: None });
        }
        let (began, clock) = (self.clock.now(), Instant::now());
        let answered = async {
            let response = self.request(request, key).send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, body(response).await?))
        };
        let (status, headers, body) = answered.await.map_err(|error| {
            self.breaker.failed(Instant::now());
            Failure { error: BillingError::Unavailable(what_failed(&error)), again: true, pause: None }
        })?;
        if status.is_success() {
            self.breaker.worked();
            let elapsed = TimeDelta::from_std(clock.elapsed()).unwrap_or_default();
            let as_of = date(&headers).map_or(began, |date| date - elapsed);
            return Ok(Answer { body, asked: Asked { began, as_of } });
        }
        if status.is_server_error() {
            self.breaker.failed(Instant::now());
        } else {
            self.breaker.worked();
        }
        Err(refusal(status, &headers, &body))
    }

    fn request(&self, request: &RequestBuilder, key: Option<&str>) -> reqwest::RequestBuilder {
        let method = match request.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}v1{}", self.base.path(), request.path));
        url.set_query(request.query.as_deref().filter(|query| !query.is_empty()));
        let mut sent = self.http.request(method, url);
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.clone());
        }
        if let Some(key) = key {
            sent = sent.header("idempotency-key", key);
        }
        sent
    }
}

async fn body(response: Response) -> Result<Vec<u8>, reqwest::Error> {
    response.bytes().await.map(Vec::from)
}

fn what_failed(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "it does not answer in time".to_owned()
    } else if error.is_connect() {
        "no connection can be made".to_owned()
    } else {
        "the connection broke".to_owned()
    }
}

/// Stripe's time of an answer.
fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(date.to_utc())
}

/// What Stripe says beside a status that is not a success.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Told,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    code: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = serde_json::from_slice::<Refusal>(body).unwrap_or_default().error;
    let pause = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
    let pause = pause.map(Duration::from_secs);
    let transient = status.is_server_error()
        || matches!(
            status,
            StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::FAILED_DEPENDENCY
        );
    // Stripe knows best.
    let again = header("stripe-should-retry").map_or(transient, |should| should == "true");
    let message = told.message.unwrap_or_else(|| format!("it answered {status}"));
    let error = if status == StatusCode::TOO_MANY_REQUESTS {
        BillingError::RateLimited { retry_after: pause }
    } else if status.is_server_error() {
        BillingError::Unavailable(message)
    } else {
        let missing = (status == StatusCode::NOT_FOUND).then(|| "resource_missing".to_owned());
        let code = told.code.or(missing).or(told.kind).unwrap_or_else(|| format!("http_{}", status.as_u16()));
        BillingError::Refused { code, message }
    };
    Failure { error, again, pause }
}
