//! The service beside a simulated Stripe that sells, with members who are signed in.
//!
//! Everything is the program's own, put together as `serve` does. Only who is signed in is told by a header, in a layer that
//! nothing but these tests has.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use api::{Admission, Rates, ServiceTokens, TrustedProxies, Viewer};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use billing::{Gateway, Limits, Settings};
use domain::account::Role;
use domain::billing::Billing;
use domain::clock::{Clock, SystemClock};
use domain::metadata::Actor;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use server::app::App;
use server::config::Config;
use server::keeper::Schedule;
use server::{catalog_file, limits, metrics, serve};
use storage::Access;
use stripe_simulator::{Options, Server, Simulator};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use webhook_ingest::routes;
use webhook_ingest::stripe::signature::Secrets;

use crate::app::{self, HANG, Home, POLL, Reply, Store, TOKEN, answer, caught_up};
use crate::stripe::{CATALOG, SECRETS, now};

/// What the simulated Stripe sells of the scenarios' catalogue.
const PRODUCTS: &str = r#"[
    { "id": "prod_demo_basic", "name": "Basic", "prices": [{ "id": "price_demo_basic_month", "amount": 1700 }] },
    { "id": "prod_demo_pro", "name": "Pro", "prices": [
        { "id": "price_demo_pro_month", "amount": 2500 },
        { "id": "price_demo_pro_year", "amount": 25000, "interval": "year" }
    ] }
]"#;
/// Names the member who is signed in.
const SIGNED_IN: &str = "x-signed-in-as";
/// Where members come back to.
const SITE: &str = "http://learn.test";
/// A card that pays.
pub const CARD: &str = "4242424242424242";

/// Runs beside the test until it is dropped.
#[derive(Debug)]
pub struct Beside {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Beside {
    fn run<F: Future<Output = ()>>(work: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(work(stopped));
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What went wrong in it has been shown by its panic.
            thread.join().ok();
        }
    }
}

/// The service and its Stripe.
#[derive(Debug)]
pub struct Shop {
    client: Client,
    /// The service's address.
    pub url: String,
    /// The simulator's address.
    pub stripe: String,
    /// Ended in this order: the service last, as what it asks for is then refused instead of waited for.
    beside: [Beside; 2],
    /// Where the service keeps its data.
    pub home: Home,
}

impl Shop {
    /// A shop without trials.
    pub async fn on(store: Store) -> Self {
        Self::selling(store, CATALOG).await
    }

    /// A shop whose plan Pro can be tried for a week.
    pub async fn with_trials_on(store: Store) -> Self {
        let trial = "name = \"Pro\"\nrank = 2\ntrial_days = 7\n";
        Self::selling(store, &CATALOG.replace("name = \"Pro\"\nrank = 2\n", trial)).await
    }

    async fn selling(store: Store, catalog: &str) -> Self {
        let home = Home::new(store).await.with_catalog(catalog);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("the port takes settings");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let (stripe, simulator) = simulator(Some(format!("{url}/webhooks/stripe")));
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let service = service(listener, home.clone(), stripe.clone());
        let shop = Self { client, url, stripe, beside: [simulator, service], home };
        let begun = Instant::now();
        while shop
            .strange(Method::GET, "/readyz")
            .send()
            .await
            .map_or(true, |reply| !reply.status().is_success())
        {
            assert!(begun.elapsed() < HANG, "the shop does not open");
            tokio::time::sleep(POLL).await;
        }
        shop
    }

    /// Ends the service and its Stripe; the place with all its data stays.
    pub async fn end(self) -> Home {
        let Self { beside, home, .. } = self;
        tokio::task::spawn_blocking(move || drop(beside)).await.expect("both end");
        home
    }

    /// A request of a stranger that has not been sent yet.
    pub fn strange(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A request of a member who is signed in that has not been sent yet.
    pub fn request(&self, member: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.strange(method, path).header(SIGNED_IN, member)
    }

    /// Reads as a member.
    pub async fn get(&self, member: &str, path: &str) -> Reply {
        answer(self.request(member, Method::GET, path)).await
    }

    /// Asks for something as a member.
    pub async fn post(&self, member: &str, path: &str, body: &Value) -> Reply {
        answer(self.request(member, Method::POST, path).json(body)).await
    }

    /// The same, which has to go well.
    pub async fn done(&self, member: &str, path: &str, body: &Value) -> Value {
        self.done_at(member, path, body).await.0
    }

    /// The same, and the position that the answer carries.
    pub async fn done_at(&self, member: &str, path: &str, body: &Value) -> (Value, String) {
        let reply = self.post(member, path, body).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        let position = reply.header("membership-position").expect("answers have a position").to_owned();
        (reply.body, position)
    }

    /// Asks as another back end, with all scopes.
    pub async fn staff(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = self.strange(method, path).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// Registers a member.
    pub async fn register(&self, member: &str) {
        let reply = self.staff(Method::POST, "/v1/members", Some(&json!({ "id": member }))).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    }

    /// May she watch it? `position` is sent where it is not empty.
    pub async fn check(&self, member: &str, video: &str, position: &str) -> Value {
        let mut request = self.request(member, Method::GET, &format!("/v1/me/access/videos/{video}"));
        if !position.is_empty() {
            request = request.header("membership-position", position);
        }
        let reply = caught_up(request).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        reply.body
    }

    /// Begins a checkout; the answer.
    pub async fn checkout(&self, member: &str, plan: &str) -> Value {
        self.done(member, "/v1/me/checkout", &json!({ "plan": plan })).await
    }

    /// Pays on the provider's page; the address she is sent back to.
    pub async fn pay(&self, checkout: &Value, card: &str) -> String {
        let page = checkout["url"].as_str().expect("a checkout has a page");
        let field = if card.starts_with("DE") { "method=debit&iban" } else { "number" };
        let form = format!("email=someone%40example.com&{field}={card}");
        let reply = self.client.post(page).body(form).send().await.expect("the simulator answers");
        assert_eq!(reply.status(), StatusCode::SEE_OTHER, "{:?}", reply.text().await);
        reply.headers()["location"].to_str().expect("an address").to_owned()
    }

    /// Comes back from paying.
    pub async fn come_back(&self, member: &str, checkout: &Value) -> Reply {
        let body = json!({ "session": checkout["session"] });
        self.post(member, "/v1/me/checkout/return", &body).await
    }

    /// Comes back until Stripe has been asked and what it said is known.
    pub async fn arrived(&self, member: &str, checkout: &Value) -> Reply {
        let begun = Instant::now();
        loop {
            let reply = self.come_back(member, checkout).await;
            if !matches!(reply.body["state"].as_str(), Some("checking" | "payment_received")) {
                return reply;
            }
            assert!(begun.elapsed() < HANG, "{reply:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Buys, and waits until it is known; the answer's position.
    pub async fn buy(&self, member: &str, plan: &str) -> String {
        let checkout = self.checkout(member, plan).await;
        self.pay(&checkout, CARD).await;
        let begun = Instant::now();
        loop {
            let reply = self.arrived(member, &checkout).await;
            if reply.status != StatusCode::ACCEPTED {
                assert_eq!(reply.body["state"], "unlocked", "{reply:?}");
                return reply.header("membership-position").expect("answers have a position").to_owned();
            }
            assert!(begun.elapsed() < HANG, "{reply:?}");
        }
    }

    /// Waits until nothing waits to be carried out and the answers know of it.
    pub async fn settled(&self) {
        app::settled(self.strange(Method::GET, "/readyz")).await;
    }

    /// Steers the simulator.
    pub async fn steer(&self, path: &str, body: &Value) -> Value {
        let reply = answer(self.client.post(format!("{}/_sim/{path}", self.stripe)).json(body)).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        reply.body
    }

    /// Asks the simulator's API, as the service would.
    pub async fn at_stripe(&self, method: Method, path: &str, form: &str) -> Value {
        let request = self.client.request(method, format!("{}/v1/{path}", self.stripe));
        let request = request.bearer_auth("sk_test_shop").body(form.to_owned());
        let reply = answer(request).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        reply.body
    }
}

/// A Stripe that sells and tells nobody, for a program that is started otherwise; it is there until the second is dropped.
pub fn silent_stripe() -> (String, Beside) {
    simulator(None)
}

fn simulator(webhook: Option<String>) -> (String, Beside) {
    let (told, address) = std::sync::mpsc::channel();
    let beside = Beside::run(async move |stopped| {
        let mut simulator = Simulator::empty(now().timestamp(), 7, SECRETS[1]);
        simulator.sell(PRODUCTS).expect("the products can be sold");
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            webhook,
            secret: SECRETS[1].to_owned(),
            data: None,
            seed: 7,
            products: None,
        };
        let server = Server::open_with(simulator, options).await.expect("the simulator starts");
        told.send(format!("http://{}", server.address())).expect("the test waits");
        server.run(async move { drop(stopped.await) }).await.expect("the simulator stops well");
    });
    (address.recv().expect("the simulator says where it is"), beside)
}

fn service(listener: TcpListener, home: Home, stripe: String) -> Beside {
    Beside::run(async move |stopped| {
        metrics::install();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = Config {
            listen: listener.local_addr().expect("the port is open"),
            database_url: home.setting("DATABASE_URL").to_owned(),
            webhook_secrets: None,
            livemode: Some(false),
            catalog: None,
            service_tokens: ServiceTokens::parse(home.setting("SERVICE_TOKENS"))
                .expect("the tokens are good"),
            trusted_proxies: TrustedProxies::default(),
            limits: limits::Limits { rates: Rates::OFF, ..limits::Limits::default() },
            index_snapshot: None,
            billing: Some(Settings {
                key: "sk_test_shop".to_owned(),
                base: Some(stripe),
                limits: Limits::default(),
            }),
            schedule: Schedule::default(),
            sign_in: None,
        };
        let settings = config.billing.as_ref().expect("they are there");
        let gateway = Arc::new(Gateway::new(settings, clock.clone()).expect("the settings are good"));
        let storage = storage::open(&config.database_url, Access::Write, clock.clone());
        let storage = storage.await.expect("the store opens");
        let mut app = App::start_asking(storage, clock, Some(false), Some(gateway.clone()));
        app.sell_through(Some(gateway as Arc<dyn Billing>), SITE);
        let catalog = catalog_file::read(&home.path("catalog.toml")).expect("the catalogue is good");
        app.apply_catalog(catalog, Actor::system(), "shop").await.expect("the catalogue is applied");
        app.start_worker().await.expect("the worker starts");
        let secrets = Secrets::parse(home.setting("STRIPE_WEBHOOK_SECRETS")).expect("the secrets are good");
        let (state, limits) = (app.api_state(&config), config.limits);
        let router = api::router(state.clone()).merge(routes::router(app.intake(secrets)));
        let router = api::serve_shell(router, state, Admission::new(limits.requests)).layer(from_fn(sign_in));
        let listener = tokio::net::TcpListener::from_std(listener).expect("the port is open");
        let stopping = app.stopping.clone();
        let stop = async move {
            drop(stopped.await);
            stopping.begin();
        };
        serve::serve(listener, router, limits, stop).await;
        serve::close(app).await;
    })
}

async fn sign_in(mut request: Request, next: Next) -> axum::response::Response {
    if let Some(member) = request.headers().get(SIGNED_IN).and_then(|member| member.to_str().ok()) {
        let (member, session) = (member.into(), format!("ses_{member}").as_str().into());
        request.extensions_mut().insert(Viewer { member, session, role: Role::Member });
    }
    next.run(request).await
}
