//! A service over the stand-ins, and its answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use domain::clock::MovableClock;
use projections::past::Past;
use projections::search::Search;
use serde_json::Value;
use tower::util::ServiceExt;

use super::dial::Dial;
use super::stores::Stores;
use super::story::moment;
use crate::state::{ApiParts, ApiState, LearnerParts};
use crate::{
    Admission, CallerLimits, EventStreams, Looks, Rates, RequestLimits, ServiceTokens, SignIn,
    TrustedProxies, router, serve_shell,
};

pub(super) const ALL: &str = "all-scopes-token-0001";
const LIST: &str = "shop:access.read:access-only-token-01,support:support.read:support-read-token-01,\
all:access.read+support.read+support.write+members.write:all-scopes-token-0001";

/// Room for all that a test does, and time for it.
pub(super) const LIMITS: RequestLimits = RequestLimits {
    in_flight: 100,
    waiting: 100,
    arriving: 100,
    body: Duration::from_mins(1),
    handling: Duration::from_mins(1),
};

/// The service, and what is behind it.
pub(super) struct World {
    pub(super) stores: Arc<Stores>,
    pub(super) state: ApiState,
    pub(super) app: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Checks everything that every problem has, and returns its detail.
    pub(super) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code);
        assert_eq!(problem["type"], format!("urn:membership:problem:{code}"));
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(!self.header("x-request-id").is_empty());
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!self.header("membership-position").is_empty());
        let later = matches!(status, 429 | 503) || code == "idempotency_key_in_use";
        assert_eq!(self.header("retry-after"), if later { "1" } else { "" });
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl World {
    /// A service that has caught up, with a catalogue and with Ada, who has paid for `pro` since February 2025.
    pub(super) async fn new() -> Self {
        let world = Self::starting(true, true).await;
        world.stores.sell();
        world.stores.subscribe("mem_ada", "pro", "2025-02-01T00:00:00Z");
        world.stores.subscribe("mem_bob", "basic", "2025-02-01T00:00:00Z");
        let head = world.stores.head();
        for progress in [&world.state.index_progress, &world.state.directory_progress] {
            assert!(progress.wait_for(head, Duration::from_mins(1)).await);
        }
        world
    }

    /// A service whose index and directory may never have caught up.
    pub(super) async fn starting(index: bool, directory: bool) -> Self {
        Self::made(index, directory, Rates::OFF, None).await
    }

    /// A service that lets each kind of caller ask so often.
    pub(super) async fn limited(rates: Rates) -> Self {
        Self::made(true, true, rates, None).await
    }

    /// A service that people can sign in to.
    pub(super) async fn signing_in(index: bool, rates: Rates, sign_in: SignIn) -> Self {
        Self::made(index, true, rates, Some(sign_in)).await
    }

    async fn made(index: bool, directory: bool, rates: Rates, sign_in: Option<SignIn>) -> Self {
        let stores = Arc::new(Stores::default());
        let [index_dial, directory_dial] = &stores.dials;
        let (index, directory) = (index_dial.progress(index).await, directory_dial.progress(directory).await);
        let state = ApiState::new(ApiParts {
            index: stores.index.clone(),
            index_progress: index,
            directory_progress: directory.clone(),
            past: Past::new(stores.clone(), stores.clone(), stores.clone(), directory),
            search: Search::new(stores.clone(), stores.clone(), stores.clone(), stores.clone()),
            feed: stores.clone(),
            members: stores.clone(),
            customers: stores.clone(),
            grants: stores.clone(),
            subscriptions: stores.clone(),
            people: stores.clone(),
            payers: stores.clone(),
            remarks: stores.clone(),
            erasures: stores.clone(),
            deliveries: stores.clone(),
            rebuilds: stores.clone(),
            resync: stores.clone(),
            learner: LearnerParts {
                billing: None,
                purchases: stores.clone(),
                site: "https://learn.test".to_owned(),
                streams: EventStreams::new(20),
                looks: Looks::default(),
                under_way: tokio::sync::watch::Sender::new(()),
            },
            probe: stores.clone(),
            idempotency: stores.clone(),
            rates: CallerLimits::new(rates),
            clock: Arc::new(MovableClock::standing_at(moment("2026-11-22T10:00:00.123456Z"))),
            tokens: ServiceTokens::parse(LIST).unwrap(),
            proxies: TrustedProxies::default(),
            accounts: None,
            sign_in,
            random: Arc::new(|| [7; 10]),
            continue_trace: |_, _| {},
        });
        Self { app: serve_shell(router(state.clone()), state.clone(), Admission::new(LIMITS)), stores, state }
    }

    pub(super) fn index_dial(&self) -> &Dial {
        &self.stores.dials[0]
    }

    pub(super) fn directory_dial(&self) -> &Dial {
        &self.stores.dials[1]
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(super) async fn with(
        &self,
        headers: &[(&str, &str)],
        method: Method,
        path: &str,
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.with(&[("authorization", &format!("Bearer {ALL}"))], Method::GET, path, "").await
    }

    pub(super) async fn tell(&self, method: Method, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {ALL}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.with(&headers, method, path, body).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.tell(Method::POST, path, body).await
    }
}
