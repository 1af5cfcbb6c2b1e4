//! The server around the simulator: routes, the real clock, the sender of webhooks, the file it is kept in.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::api::{self, Call};
use super::steering;
use crate::delivery::SignedDelivery;
use crate::engine::clock::Seconds;
use crate::engine::error::ApiError;
use crate::pages;
use crate::shapes::NEWEST;
use crate::simulator::Simulator;

/// How long the receiver of a webhook may take.
const RECEIVER: Duration = Duration::from_secs(20);
/// How long a call to the clock waits for what it caused to be delivered.
const DELIVERED: Duration = Duration::from_secs(20);
/// How long requests that were begun may take when the simulator is to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// What happened so few seconds ago has happened now.
const LATELY: Seconds = 5;
/// How often time is looked at while nobody calls.
const TICK: Duration = Duration::from_secs(1);

/// How a simulator is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where webhooks go; nowhere when absent.
    pub webhook: Option<String>,
    /// What signs them.
    pub secret: String,
    /// The file that everything is kept in.
    pub data: Option<PathBuf>,
    /// What ids and chance follow from.
    pub seed: u64,
    /// A file of products and prices, instead of the sample.
    pub products: Option<PathBuf>,
}

/// Why a simulator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Something about the options.
    #[error("{0}")]
    Options(String),
    /// The port cannot be opened.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The file cannot be used.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Virtual time: real time and so much more, or a moment at which it stands.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Hand {
    ahead: Seconds,
    stands_at: Option<Seconds>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<S> {
    version: u32,
    hand: Hand,
    simulator: S,
}

const FILE_VERSION: u32 = 1;

struct Inner {
    simulator: Simulator,
    hand: Hand,
    requests: u64,
    /// There is something that the file does not have yet.
    changed: bool,
}

impl Inner {
    /// Lets virtual time catch up with the clock.
    fn catch_up(&mut self) {
        let before = self.simulator.events().len();
        let now = self.hand.stands_at.unwrap_or_else(|| real_now().saturating_add(self.hand.ahead));
        self.simulator.advance_to(now);
        self.changed |= self.simulator.events().len() != before;
    }

    /// The time, for whoever lives by it.
    fn time(&self) -> Time {
        self.hand.stands_at.map_or(Time::Ahead(self.hand.ahead), Time::At)
    }

    /// What is to be delivered now. A companion is told the time of the delivery, or, when there is none, the present.
    fn next(&mut self, companion: Option<&Arc<dyn Companion>>) -> Option<SignedDelivery> {
        let now = self.simulator.now();
        let Some(companion) = companion else { return self.simulator.outbox.next(now, real_now()) };
        let due = self.simulator.outbox.next_due().filter(|due| *due <= now);
        // Those that wait together in no order all come now, and so does what is hardly older than that.
        let then = due.filter(|due| *due + LATELY < now && !self.simulator.outbox.faults.shuffle);
        let signed_at = companion.set_time(then.map_or(self.time(), Time::At));
        self.simulator.outbox.next(now, signed_at)
    }
}

/// The time a [`Companion`] is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// It runs along with the machine's clock, so many seconds ahead of it.
    Ahead(Seconds),
    /// It stands at this moment.
    At(Seconds),
}

/// A receiver of webhooks that lives by the simulator's clock. When time is turned, every delivery reaches it at the moment
/// at which it would have come, signed at that moment, and the next one once it has been carried out.
pub trait Companion: Send + Sync {
    /// What time it is from now on. Says what time its clock tells then, which is later where that was later already.
    fn set_time(&self, time: Time) -> Seconds;

    /// Done when everything that was delivered has been carried out.
    fn carried_out(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A simulator that serves requests.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    webhook: Option<String>,
    companion: Option<Arc<dyn Companion>>,
    data: Option<PathBuf>,
    /// Held while the file is written, so that who comes second finds it written.
    saving: std::sync::Mutex<()>,
    /// There may be something to deliver.
    work: Notify,
    /// A delivery has been made.
    settled: Notify,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the real time that signatures carry and virtual time runs along with"
)]
fn real_now() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX)
}

/// A simulator with its port open.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    inner: Inner,
    webhook: Option<String>,
    companion: Option<Arc<dyn Companion>>,
    data: Option<PathBuf>,
}

impl Server {
    /// Opens the port and, when there is one, reads the file.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        check(&options)?;
        let (simulator, hand) = load(&options)?;
        Self::with(simulator, hand, options).await
    }

    /// Serves a simulator that has lived already. Its time goes on from where it is.
    pub async fn open_with(simulator: Simulator, options: Options) -> Result<Self, StartError> {
        check(&options)?;
        let hand = Hand { ahead: (simulator.now() - real_now()).max(0), stands_at: None };
        Self::with(simulator, hand, options).await
    }

    async fn with(mut simulator: Simulator, hand: Hand, options: Options) -> Result<Self, StartError> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| StartError::Listen(options.listen, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(options.listen, error))?;
        simulator.settings().base_url = format!("http://{address}");
        simulator.endpoint = options.webhook.is_some();
        let inner = Inner { simulator, hand, requests: 0, changed: false };
        let (webhook, data) = (options.webhook, options.data);
        Ok(Self { listener, address, inner, webhook, companion: None, data })
    }

    /// The same, for a receiver that lives by its clock.
    #[must_use]
    pub fn with_companion(mut self, companion: Arc<dyn Companion>) -> Self {
        self.companion = Some(companion);
        self
    }

    /// The present, as opposed to the moment that the simulator has come to.
    pub fn time(&self) -> Time {
        self.inner.time()
    }

    /// The simulator, while nobody is served yet. What is done to it is kept in the file.
    pub fn simulator(&mut self) -> &mut Simulator {
        self.inner.changed = true;
        &mut self.inner.simulator
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves and delivers until told to stop, then keeps what there is: at once, whatever is still connected, and again
    /// when the requests that were begun are answered or have had their time.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let shared = Arc::new(Shared::new(self.inner, self.webhook, self.companion, self.data));
        let sender = tokio::spawn(send(shared.clone()));
        let told = Arc::new(Notify::new());
        let stop = {
            let (told, shared) = (told.clone(), shared.clone());
            async move {
                stop.await;
                told.notify_one();
                shared.save_aside();
            }
        };
        let served = axum::serve(self.listener, router(shared.clone())).with_graceful_shutdown(stop);
        let too_long = async {
            told.notified().await;
            sleep(DRAIN).await;
        };
        let served = tokio::select! {
            served = served => served,
            () = too_long => {
                tracing::warn!("what was still running has been cut off");
                Ok(())
            }
        };
        sender.abort();
        shared.save_aside().await?;
        served
    }
}

/// A simulator whose API is served while a test drives it. Its time moves only when the test moves it, and whoever drives it
/// takes the deliveries.
pub struct Driven {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Driven {
    /// Serves a simulator on a free port of this machine, until it is dropped.
    pub async fn open(mut simulator: Simulator) -> Result<Self, StartError> {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let failed = |error| StartError::Listen(local, error);
        let listener = TcpListener::bind(local).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        simulator.settings().base_url = format!("http://{address}");
        let hand = Hand { ahead: 0, stands_at: Some(simulator.now()) };
        let inner = Inner { simulator, hand, requests: 0, changed: false };
        let shared = Arc::new(Shared::new(inner, None, None, None));
        let serving = tokio::spawn(axum::serve(listener, router(shared.clone())).into_future());
        Ok(Self { address, shared, serving })
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does something to the simulator.
    pub async fn with<T>(&self, action: impl FnOnce(&mut Simulator) -> T) -> T {
        action(&mut self.shared.inner.lock().await.simulator)
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    if let Some(url) = options.webhook.as_deref().filter(|url| !url.starts_with("http://")) {
        let why = format!(
            "--webhook: {url:?} has to begin with http://, like http://127.0.0.1:8080/webhooks/stripe"
        );
        return Err(StartError::Options(why));
    }
    if !options.secret.starts_with("whsec_") || options.secret.len() < 8 {
        let why = "--secret: it has to begin with whsec_, like whsec_simulator";
        return Err(StartError::Options(why.to_owned()));
    }
    Ok(())
}

fn unusable(path: &Path, why: &impl ToString) -> StartError {
    StartError::File { path: path.display().to_string(), why: why.to_string() }
}

fn load(options: &Options) -> Result<(Simulator, Hand), StartError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| unusable(path, &error));
    if let Some(path) = options.data.as_deref().filter(|path| path.exists()) {
        let kept: Kept<Simulator> = serde_json::from_str(&read(path)?).map_err(|error| {
            unusable(path, &format!("this is no file of a simulator ({error}); name another or remove it"))
        })?;
        let mut simulator = kept.simulator;
        if kept.version != FILE_VERSION {
            let why = format!("it is of version {}, this program writes {FILE_VERSION}", kept.version);
            return Err(unusable(path, &why));
        }
        simulator.outbox.forget_sending();
        let now = simulator.now();
        if simulator.outbox.secrets(now).last() != Some(&options.secret.as_str()) {
            simulator.outbox.roll_secret(&options.secret, now, 0);
        }
        return Ok((simulator, kept.hand));
    }
    let now = real_now();
    let Some(path) = &options.products else {
        return Ok((Simulator::new(now, options.seed, &options.secret), Hand::default()));
    };
    let mut simulator = Simulator::empty(now, options.seed, &options.secret);
    simulator.sell(&read(path)?).map_err(|error| unusable(path, &error))?;
    Ok((simulator, Hand::default()))
}

fn act<T>(inner: &mut Inner, action: impl FnOnce(&mut Inner) -> T) -> T {
    inner.catch_up();
    let result = action(inner);
    inner.simulator.put_out();
    result
}

impl Shared {
    fn new(
        inner: Inner,
        webhook: Option<String>,
        companion: Option<Arc<dyn Companion>>,
        data: Option<PathBuf>,
    ) -> Self {
        Self {
            inner: Mutex::new(inner),
            webhook,
            companion,
            data,
            saving: std::sync::Mutex::default(),
            work: Notify::new(),
            settled: Notify::new(),
        }
    }

    /// Does something at the present time, and wakes whoever delivers.
    async fn at_once<T>(&self, action: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().await;
        let result = act(&mut inner, action);
        drop(inner);
        self.work.notify_one();
        result
    }

    /// The same for what may take long: off the threads that everybody else needs, signals included.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        action: impl FnOnce(&mut Inner) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let shared = self.clone();
        let result = spawn_blocking(move || act(&mut shared.inner.blocking_lock(), action)).await;
        self.work.notify_one();
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "time could not be moved");
            Err(ApiError::new(500, "api_error", "Time could not be moved; the simulator's log says why."))
        })
    }

    /// Writes the file, if there is one and anything is new. The old one stays until the new one is whole.
    fn save(&self) {
        let Some(path) = &self.data else { return };
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner.blocking_lock();
        if !inner.changed {
            return;
        }
        let kept = Kept { version: FILE_VERSION, hand: inner.hand, simulator: &inner.simulator };
        let text = serde_json::to_vec(&kept).map_err(std::io::Error::other);
        inner.changed = false;
        drop(inner);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = text.and_then(|text| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&text)?;
            file.persist(path).map_err(|error| error.error)
        });
        if let Err(error) = written {
            self.inner.blocking_lock().changed = true;
            tracing::error!(path = %path.display(), %error, "the simulator's data could not be kept");
        }
    }

    /// Writes the file while others go on.
    fn save_aside(self: &Arc<Self>) -> JoinHandle<()> {
        let shared = self.clone();
        spawn_blocking(move || shared.save())
    }

    /// Waits until nothing that is due is left, for as long as a caller may be kept.
    async fn delivered(&self) {
        let started = Instant::now();
        while started.elapsed() < DELIVERED {
            let settled = self.settled.notified();
            {
                let inner = self.inner.lock().await;
                if self.webhook.is_none() || inner.simulator.outbox.due(inner.simulator.now()) == 0 {
                    return;
                }
            }
            tokio::select! {
                () = settled => {}
                () = sleep(TICK / 10) => {}
            }
        }
    }
}

/// Delivers one webhook after the other, and lets time go by while nobody calls.
async fn send(shared: Arc<Shared>) {
    let client =
        reqwest::Client::builder().timeout(RECEIVER).redirect(reqwest::redirect::Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks cannot be delivered"),
    };
    let mut saved = Instant::now();
    loop {
        let next = {
            let mut inner = shared.inner.lock().await;
            inner.catch_up();
            shared.webhook.as_ref().and_then(|_| inner.next(shared.companion.as_ref()))
        };
        if let (Some(delivery), Some(url)) = (next, &shared.webhook) {
            let answer = deliver(&client, url, &delivery).await;
            if let Some(companion) = &shared.companion {
                companion.carried_out().await;
            }
            let mut inner = shared.inner.lock().await;
            let now = inner.simulator.now();
            inner.simulator.outbox.settle(delivery.number, now, answer);
            inner.changed = true;
            if let Some(companion) =
                shared.companion.as_ref().filter(|_| inner.simulator.outbox.due(now) == 0)
            {
                companion.set_time(inner.time());
            }
            drop(inner);
            shared.settled.notify_waiters();
        } else {
            tokio::select! {
                () = shared.work.notified() => {}
                () = sleep(TICK) => {}
            }
        }
        if saved.elapsed() >= TICK {
            if let Err(error) = shared.save_aside().await {
                tracing::error!(%error, "the simulator's data could not be kept");
            }
            saved = Instant::now();
        }
    }
}

async fn deliver(client: &reqwest::Client, url: &str, delivery: &SignedDelivery) -> Result<u16, String> {
    let request = client
        .post(url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("stripe-signature", &delivery.signature)
        .body(delivery.body.clone());
    match request.send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => {
            tracing::debug!(event = delivery.event, %error, "a webhook did not arrive");
            Err(error.to_string())
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(1 << 20)).with_state(shared)
}

/// Every request: the path's beginning says what it is for.
async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return told(
            413,
            &ApiError::new(413, "invalid_request_error", "The body is larger than 1 MiB.").body(),
        );
    };
    let Ok(form) = String::from_utf8(body.to_vec()) else {
        return told(400, &ApiError::invalid("The body is not UTF-8.").body());
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let call = Call {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        form,
        idempotency_key: header("idempotency-key"),
        request: None,
    };
    if call.path == "/v1" || call.path.starts_with("/v1/") {
        return answer_api(&shared, call, &headers).await;
    }
    if call.path == "/_sim/clock" {
        return clock(&shared, &call).await;
    }
    if call.path.starts_with("/_sim/") {
        let answer = shared
            .at_once(|inner| {
                inner.changed |= call.method != "GET";
                steering::call(&mut inner.simulator, &call)
            })
            .await;
        if call.path == "/_sim/flush" && answer.is_ok() {
            shared.delivered().await;
        }
        return match answer {
            Ok(answer) => told(200, &answer),
            Err(error) => told(error.status, &error.body()),
        };
    }
    let page = shared
        .at_once(|inner| {
            inner.changed |= call.method != "GET";
            pages::page(&mut inner.simulator, &call)
        })
        .await;
    page.into_response()
}

async fn clock(shared: &Arc<Shared>, call: &Call) -> Response {
    if call.method == "GET" {
        return shared
            .at_once(|inner| told(200, &steering::clock(&inner.simulator, inner.hand.stands_at.is_some())))
            .await;
    }
    let form = call.form.clone();
    let moved = shared
        .aside(move |inner| {
            let now = inner.simulator.now();
            let change = steering::clock_change(&form, now)?;
            let to = change.to.unwrap_or(now);
            inner.simulator.advance_to(to);
            let stands = change.stand.unwrap_or(inner.hand.stands_at.is_some());
            inner.hand = Hand { ahead: to - real_now(), stands_at: stands.then_some(to) };
            inner.changed = true;
            Ok((change.wait.unwrap_or(true), stands))
        })
        .await;
    match moved {
        Ok((wait, stands)) => {
            if wait {
                shared.delivered().await;
            }
            let inner = shared.inner.lock().await;
            told(200, &steering::clock(&inner.simulator, stands))
        }
        Err(error) => told(error.status, &error.body()),
    }
}

async fn answer_api(shared: &Shared, mut call: Call, headers: &HeaderMap) -> Response {
    if let Err(error) = authorized(headers) {
        return told(401, &error.body());
    }
    let (slow, broken) = shared.at_once(|inner| faults(inner, &call)).await;
    if let Some(seconds) = slow {
        sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or_default())).await;
    }
    if let Some(status) = broken {
        return fault(status);
    }
    let (answer, request, again, now) = shared
        .at_once(|inner| {
            let now = inner.simulator.now();
            inner.requests += 1;
            let request = format!("req_{:08x}{:06}", real_now(), inner.requests);
            call.request = Some(request.clone());
            let simulator = &mut inner.simulator;
            if call.method == "POST"
                && let Some(answer) = api::remembered(simulator, &call)
            {
                return (answer, request, true, now);
            }
            let before = simulator.events().len();
            let answer = api::call(simulator, &call).map_err(|error| (error.status, error.body()));
            let happened = simulator.events().len() != before;
            api::remember(simulator, &call, &answer, happened);
            inner.changed |= call.method != "GET";
            (answer, request, false, now)
        })
        .await;
    let mut response = match answer {
        Ok(answer) => told(200, &answer),
        Err((status, body)) => told(status, &body),
    };
    let version = headers.get("stripe-version").cloned().unwrap_or(HeaderValue::from_static(NEWEST));
    let fields = response.headers_mut();
    fields.insert("stripe-version", version);
    if let Ok(request) = HeaderValue::from_str(&request) {
        fields.insert("request-id", request);
    }
    // Who asks takes this for the moment that the answer tells of.
    let date =
        DateTime::from_timestamp(now, 0).map(|now| now.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Some(date) = date.and_then(|date| HeaderValue::from_str(&date).ok()) {
        fields.insert(header::DATE, date);
    }
    if let Some(key) = headers.get("idempotency-key") {
        fields.insert("idempotency-key", key.clone());
    }
    if again {
        fields.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// What goes wrong with this call: how slow it is, and which error it gets.
fn faults(inner: &mut Inner, call: &Call) -> (Option<Seconds>, Option<u16>) {
    let outbox = &mut inner.simulator.outbox;
    let api = outbox.faults.api.clone();
    if api.path.as_ref().is_some_and(|path| !call.path.starts_with(path)) {
        return (None, None);
    }
    let hit = api.status.is_some()
        && api.times.is_none_or(|times| times > 0)
        && api.rate.is_none_or(|rate| outbox.chance(rate));
    if hit {
        outbox.faults.api.times = api.times.map(|times| times - 1);
    }
    (api.delay, api.status.filter(|_| hit))
}

fn fault(status: u16) -> Response {
    let error = if status == 429 {
        ApiError::new(429, "invalid_request_error", "Too many requests hit the API too quickly.")
            .coded("rate_limit")
    } else {
        ApiError::new(status, "api_error", "An unknown error occurred (asked for by /_sim/faults).")
    };
    let mut response = told(status, &error.body());
    let fields = response.headers_mut();
    fields.insert("stripe-should-retry", HeaderValue::from_static("true"));
    fields.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Any test key will do.
fn authorized(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, rest) = given.split_once(' ').unwrap_or((given, ""));
    let key = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => rest.trim().to_owned(),
        "basic" => basic_user(rest.trim()).unwrap_or_default(),
        _ => String::new(),
    };
    let fits = |prefix: &str| key.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    if fits("sk_test_") || fits("rk_test_") {
        return Ok(());
    }
    let why = if key.is_empty() {
        "You did not provide an API key. Provide it in the Authorization header: 'Authorization: Bearer sk_test_…'."
    } else {
        "Invalid API Key provided. This simulator takes any key that begins with sk_test_ or rk_test_, and no live key."
    };
    Err(ApiError::new(401, "invalid_request_error", why))
}

/// The user of basic authentication, which is where Stripe takes a key too.
fn basic_user(encoded: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split(':').next().map(str::to_owned)
}

fn told(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache, no-store")];
    (status, fields, Body::from(format!("{body:#}"))).into_response()
}
