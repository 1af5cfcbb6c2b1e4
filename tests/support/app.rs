//! The real program: started as child processes, driven over HTTP and by its command line.

mod home;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use webhook_ingest::stripe::signature::sign;

pub use home::{Home, Store, Told};

use crate::stripe::{SECRETS, now, rfc3339};

/// Longer than anything takes that works; only what hangs comes to it.
pub const HANG: Duration = Duration::from_mins(1);
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// The service token of every scenario, with all scopes; [`TestApp::request`] sends it.
pub const TOKEN: &str = "a-token-for-the-scenarios";

/// Makes one test of a scenario for each store.
#[macro_export]
macro_rules! on_every_store {
    ($($(#[$meta:meta])* async fn $name:ident($store:ident: Store) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn scenario($store: $crate::app::Store) $body

            #[tokio::test]
            async fn on_sqlite() {
                scenario($crate::app::Store::Sqlite).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                scenario($crate::app::Store::Postgres).await;
            }
        }
    )*};
}

/// A running service. It is killed at the end, and what it wrote to stderr is shown if the test failed.
#[derive(Debug)]
pub struct TestApp {
    child: Child,
    log: PathBuf,
    /// Where it runs.
    pub home: Home,
    /// Its address.
    pub url: String,
    client: Client,
    quiet: bool,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; null when it is not JSON.
    pub body: Value,
}

impl Reply {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl TestApp {
    /// A service in a place of its own.
    pub async fn on(store: Store) -> Self {
        Home::new(store).await.serve().await
    }

    /// What it has written to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A request with the token that has not been sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    /// Sends a request with the token; `position` is sent where it is not empty.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>, position: &str) -> Reply {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        if !position.is_empty() {
            request = request.header("membership-position", position);
        }
        answer(request).await
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, "").await
    }

    /// A request without any headers of ours, and its whole answer as text.
    pub async fn raw(&self, request: reqwest::RequestBuilder) -> (StatusCode, String) {
        let response = request.send().await.expect("the service answers");
        (response.status(), response.text().await.expect("the answer is text"))
    }

    /// A request of a stranger that has not been sent yet.
    pub fn strange(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Posts raw bytes to the webhook with these signature headers.
    pub async fn post_webhook(&self, body: &[u8], signatures: &[&str]) -> Reply {
        let mut request = self.client.post(format!("{}/webhooks/stripe", self.url)).body(body.to_vec());
        for signature in signatures {
            request = request.header("stripe-signature", *signature);
        }
        answer(request).await
    }

    /// Posts signed bytes, and says what was answered.
    pub async fn post_signed(&self, body: &[u8]) -> Reply {
        self.post_webhook(body, &[&sign(SECRETS[1], body, now())]).await
    }

    /// A signed delivery that has not been sent yet.
    pub fn signed(&self, body: String) -> reqwest::RequestBuilder {
        let signature = sign(SECRETS[1], body.as_bytes(), now());
        let request = self.client.post(format!("{}/webhooks/stripe", self.url));
        request.header("stripe-signature", signature).body(body)
    }

    /// Delivers an event, which has to be taken.
    pub async fn deliver(&self, event: &Value) {
        let reply = self.post_signed(event.to_string().as_bytes()).await;
        assert_eq!(reply.status, StatusCode::OK, "{event}: {reply:?}");
    }

    /// Delivers events one after the other, and waits until all are carried out.
    pub async fn deliver_all<'e>(&self, events: impl IntoIterator<Item = &'e Value>) {
        for event in events {
            self.deliver(event).await;
        }
        self.settled().await;
    }

    /// Waits until nothing waits to be carried out and the answers know of it, and says how far the log is.
    pub async fn settled(&self) -> String {
        let report = settled(self.request(Method::GET, "/readyz")).await;
        report["head"].as_str().unwrap_or_default().to_owned()
    }

    /// Registers a member with an id of the test's choice.
    pub async fn register(&self, member: &str) {
        let reply = self.send(Method::POST, "/v1/members", Some(&json!({ "id": member })), "").await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        self.settled().await;
    }

    /// Links a customer to a member, and waits for what that sets going.
    pub async fn link(&self, member: &str, customer: &str) {
        let path = format!("/v1/members/{member}/stripe-customer");
        let reply = self.send(Method::PUT, &path, Some(&json!({ "customer": customer })), "").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        self.settled().await;
    }

    /// May she watch it now?
    pub async fn check(&self, member: &str, video: &str) -> Value {
        self.decision(&format!("/v1/members/{member}/access/videos/{video}")).await
    }

    /// Might she have watched it then?
    pub async fn check_at(&self, member: &str, video: &str, at: DateTime<Utc>) -> Value {
        self.decision(&format!("/v1/members/{member}/access/videos/{video}?at={}", rfc3339(at))).await
    }

    async fn decision(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        reply.body
    }

    /// The delivery with this id, as support sees it.
    pub async fn delivery(&self, id: &str) -> Value {
        let deliveries = self.deliveries("").await;
        let found = deliveries.iter().find(|delivery| delivery["id"] == id);
        found.unwrap_or_else(|| panic!("no delivery {id} among {deliveries:?}")).clone()
    }

    /// All deliveries, latest first, or those with an outcome.
    pub async fn deliveries(&self, outcome: &str) -> Vec<Value> {
        let filter = if outcome.is_empty() { String::new() } else { format!("&outcome={outcome}") };
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let reply = self.get(&format!("/v1/support/deliveries?limit=100{filter}{cursor}")).await;
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            all.extend(reply.body["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = reply.body["next_cursor"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal was not sent");
    }

    /// Waits for the end; the exit code, or nothing when a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < HANG, "the service does not stop");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal, such as `TERM`, and waits for the end; the exit code, or nothing when the signal itself ended it.
    pub fn stop(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < HANG, "the service does not stop");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for TestApp {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the service said")]
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() && !self.quiet {
            eprintln!("--- {} said:\n{}---", self.url, self.log());
        }
    }
}

/// Waits until a service reports that nothing waits to be carried out and the answers know of it, for as long as that comes
/// nearer. The report.
pub(crate) async fn settled(readiness: reqwest::RequestBuilder) -> Value {
    let (mut since, mut least, mut carried_out) = (Instant::now(), [u64::MAX; 2], false);
    loop {
        let report = answer(again(&readiness)).await.body;
        let left = ["deliveries_waiting", "lag"].map(|what| report[what].as_u64().unwrap_or(u64::MAX));
        // The parts of one report are read at once, so its head may be older than its count of what waits.
        if carried_out && left == [0, 0] {
            return report;
        }
        carried_out = left[0] == 0;
        if left < least {
            (since, least) = (Instant::now(), left);
        }
        assert!(since.elapsed() < HANG, "deliveries are not carried out: {report}");
        tokio::time::sleep(POLL).await;
    }
}

/// Sends a request with a position, again as often as the service says that it is behind; the answer.
pub async fn caught_up(request: reqwest::RequestBuilder) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = answer(again(&request)).await;
        if reply.body["code"] != "behind" {
            return reply;
        }
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert!(begun.elapsed() < HANG, "it never catches up: {reply:?}");
    }
}

/// Delivers until it is taken, as Stripe does with what was not, which a busy machine does not always manage.
pub async fn deliver_again(request: reqwest::RequestBuilder) {
    let begun = Instant::now();
    while !again(&request).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
        assert!(begun.elapsed() < HANG, "it is never taken");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn again(request: &reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.try_clone().expect("its body is not a stream")
}

/// Sends a request, and reads all of its answer.
pub async fn answer(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.expect("the service answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.expect("the answer is whole");
    Reply { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
}
