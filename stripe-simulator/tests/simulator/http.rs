//! The simulator in a process of its own: its API, its pages, its steering and its webhooks over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use stripe_simulator::{Options, Server};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::support::{BASIC, DAY, SECRET, World};

/// How long something may take on a busy machine before it counts as hanging.
const HANGING: Duration = Duration::from_mins(1);

/// What arrived at the webhook, and what it answers.
#[derive(Clone, Default)]
struct Inbox {
    arrived: Arc<Mutex<Vec<(String, String)>>>,
    broken: Arc<Mutex<bool>>,
}

impl Inbox {
    fn kinds(&self) -> Vec<String> {
        let arrived = self.arrived.lock().unwrap();
        let kind = |(_, body): &(String, String)| {
            serde_json::from_str::<Value>(body).unwrap()["type"].as_str().unwrap().to_owned()
        };
        arrived.iter().map(kind).collect()
    }
}

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap, body: String) -> StatusCode {
    if *inbox.broken.lock().unwrap() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    inbox.arrived.lock().unwrap().push((signature, body));
    StatusCode::OK
}

/// A simulator, its shop's webhook and a client.
struct Stripe {
    url: String,
    inbox: Inbox,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Stripe {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(data: Option<PathBuf>) -> Self {
        let inbox = Inbox::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = format!("http://{}/hook", listener.local_addr().unwrap());
        let shop = Router::new().route("/hook", post(receive)).with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(listener, shop).await });
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook: Some(webhook),
            secret: SECRET.to_owned(),
            data,
            seed: 1,
            products: None,
        };
        let server = Server::open(options).await.unwrap();
        let url = format!("http://{}", server.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.run(async move { drop(stopped.await) }));
        let client = Client::builder().redirect(Policy::none()).timeout(HANGING).build().unwrap();
        Self { url, inbox, client, stop: Some(stop), served }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.served.await.unwrap().unwrap();
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.url)).header("authorization", "Bearer sk_test_x")
    }

    async fn form(&self, path: &str, form: &str) -> Response {
        let request = self.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap()
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        let answer = self.form(path, form).await;
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The error an answer tells.
    async fn refused(&self, method: &str, path: &str, form: &str) -> (u16, Value) {
        let answer = self.request(method, path).body(form.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (status, body["error"].clone())
    }

    async fn sim(&self, path: &str, body: Value) -> Value {
        self.post(&format!("/_sim/{path}"), &body.to_string()).await
    }

    async fn checkout(&self) -> Value {
        let form = format!(
            "mode=subscription&line_items[0][price]={BASIC}&client_reference_id=mem_ada&success_url=http%3A%2F%2Fshop%2Fdone%3Fs%3D%7BCHECKOUT_SESSION_ID%7D&cancel_url=http%3A%2F%2Fshop%2Fback"
        );
        self.post("/v1/checkout/sessions", &form).await
    }

    fn path(&self, url: &Value) -> String {
        url.as_str().unwrap().strip_prefix(&self.url).unwrap().to_owned()
    }

    async fn html(&self, path: &str) -> String {
        let answer = self.request("GET", path).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        answer.text().await.unwrap()
    }

    /// Waits until the shop has got something.
    async fn arrived(&self, kind: &str) {
        let started = Instant::now();
        while !self.inbox.kinds().iter().any(|arrived| arrived == kind) {
            assert!(started.elapsed() < HANGING, "{kind} never arrived: {:?}", self.inbox.kinds());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn location(answer: &Response) -> String {
    assert_eq!(answer.status(), 303);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_buyer_clicks_through_checkout_and_the_shop_hears_of_it() {
    let stripe = Stripe::start().await;
    let session = stripe.checkout().await;
    let page = stripe.path(&session["url"]);
    let html = stripe.html(&page).await;
    assert!(html.contains("$17.00") && html.contains("http://shop/back") && !html.contains("<script"));
    let declined = stripe.form(&page, "email=ada%40example.com&method=card&number=4000000000000002").await;
    assert_eq!(declined.status(), 402);
    assert!(declined.text().await.unwrap().contains("Your card was declined."));
    let paid = stripe.form(&page, "email=ada%40example.com&method=card&number=4242+4242+4242+4242").await;
    assert_eq!(location(&paid), format!("http://shop/done?s={}", session["id"].as_str().unwrap()));
    stripe.arrived("checkout.session.completed").await;
    let arrived = stripe.inbox.arrived.lock().unwrap().clone();
    for (signature, body) in &arrived {
        let at: i64 = signature[2..signature.find(',').unwrap()].parse().unwrap();
        assert_eq!(*signature, stripe_simulator::sign(body, at, &[SECRET]));
        let event: Value = serde_json::from_str(body).unwrap();
        assert!((at - event["created"].as_i64().unwrap()).abs() < 120, "signed now, by the real clock");
    }
    let done = stripe
        .get(&format!("/v1/checkout/sessions/{}?expand[]=subscription", session["id"].as_str().unwrap()))
        .await;
    assert_eq!(done["subscription"]["status"], "active");
    assert!(stripe.html(&page).await.contains("This checkout is complete"));
    stripe.stop().await;
}

#[tokio::test]
async fn a_bank_that_asks_is_answered_on_its_page() {
    let stripe = Stripe::start().await;
    for (answer, done) in [("fail", false), ("complete", true)] {
        let session = stripe.checkout().await;
        let page = stripe.path(&session["url"]);
        let bank = location(&stripe.form(&page, "email=a%40b.c&number=4000002760003184").await);
        assert!(stripe.html(&bank).await.contains("is this you?"));
        let answered = stripe.form(&bank, &format!("answer={answer}")).await;
        if done {
            assert!(location(&answered).starts_with("http://shop/done"));
        } else {
            assert_eq!(answered.status(), 402);
        }
    }
    stripe.stop().await;
}

#[tokio::test]
async fn a_customer_runs_her_membership_in_the_portal() {
    let stripe = Stripe::start().await;
    let session = stripe.checkout().await;
    stripe.form(&stripe.path(&session["url"]), "email=ada%40example.com&number=4242424242424242").await;
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", session["id"].as_str().unwrap())).await;
    let (customer, subscription) =
        (session["customer"].as_str().unwrap(), session["subscription"].as_str().unwrap().to_owned());
    let form = format!("customer={customer}&return_url=http%3A%2F%2Fshop%2Faccount");
    let portal = stripe.path(&stripe.post("/v1/billing_portal/sessions", &form).await["url"]);
    assert!(stripe.html(&portal).await.contains("http://shop/account"));
    let held = async || stripe.get(&format!("/v1/subscriptions/{subscription}")).await;

    let to = location(
        &stripe.form(&format!("{portal}/{subscription}/plan"), "price=price_pro_month&when=now").await,
    );
    assert!(stripe.html(&to).await.contains("Your plan has been changed."));
    assert_eq!(held().await["items"]["data"][0]["price"]["id"], "price_pro_month");
    location(
        &stripe.form(&format!("{portal}/{subscription}/plan"), "price=price_basic_month&when=later").await,
    );
    assert!(held().await["schedule"].is_string());
    location(&stripe.form(&format!("{portal}/{subscription}/cancel"), "").await);
    let canceled = held().await;
    assert!(canceled["cancel_at"].is_i64() && canceled["cancel_at_period_end"] == false);
    location(&stripe.form(&format!("{portal}/{subscription}/keep"), "").await);
    assert!(held().await["cancel_at"].is_null());
    location(&stripe.form(&format!("{portal}/card"), "number=4000000000000341").await);
    assert!(stripe.html(&portal).await.contains("0341"));
    assert_eq!(stripe.form(&format!("{portal}/card"), "number=1234").await.status(), 402);

    stripe.sim("clock", json!({ "advance": "32d" })).await;
    assert_eq!(held().await["status"], "past_due");
    let invoice = held().await["latest_invoice"].as_str().unwrap().to_owned();
    location(&stripe.form(&format!("{portal}/card"), "number=4242424242424242").await);
    location(&stripe.form(&format!("{portal}/pay/{invoice}"), "").await);
    assert_eq!(held().await["status"], "active");
    let foreign = stripe.form(&format!("{portal}/sub_of_somebody_else/cancel"), "").await;
    assert_eq!(foreign.status(), 404);
    stripe.stop().await;
}

#[tokio::test]
async fn what_people_type_is_escaped_on_pages() {
    let stripe = Stripe::start().await;
    let session = stripe.checkout().await;
    let page = stripe.path(&session["url"]);
    let answer =
        stripe.form(&page, "email=%3Cscript%3E&number=%3Cscript%3Ealert(1)").await.text().await.unwrap();
    assert!(!answer.contains("<script>"), "{answer}");
    let (status, error) = stripe
        .refused("POST", "/v1/billing_portal/sessions", "customer=cus_x&return_url=javascript:alert(1)")
        .await;
    assert_eq!((status, &error["code"]), (400, &json!("url_invalid")));
    stripe.stop().await;
}

#[tokio::test]
async fn whoever_is_declined_need_not_type_everything_again() {
    let stripe = Stripe::start().await;
    let page = stripe.path(&stripe.checkout().await["url"]);
    let form = "email=ada%40b.c&method=card&number=4000000000000002";
    let declined = stripe.form(&page, form).await.text().await.unwrap();
    assert!(declined.contains(r#"value="ada@b.c""#) && declined.contains(r#"value="4000000000000002""#));
    let form = "email=ada%40b.c&method=debit&number=&iban=DE00";
    let unreadable = stripe.form(&page, form).await.text().await.unwrap();
    assert!(unreadable.contains(r#"value="debit" checked"#) && unreadable.contains(r#"value="DE00""#));
    stripe.stop().await;
}

#[tokio::test]
async fn time_is_turned_and_its_webhooks_have_arrived_when_the_call_returns() {
    let stripe = Stripe::start().await;
    let session = stripe.checkout().await;
    stripe.form(&stripe.path(&session["url"]), "email=a%40b.c&number=4000000000000341").await;
    let clock = stripe.sim("clock", json!({ "advance": "60d" })).await;
    assert_eq!(clock["deliveries_due"], 0);
    let kinds = stripe.inbox.kinds();
    assert!(kinds.iter().any(|kind| kind == "customer.subscription.deleted"), "{kinds:?}");
    let listed = stripe.get("/_sim/deliveries").await;
    let delivered = listed["data"].as_array().unwrap();
    assert_eq!(delivered.len(), kinds.len());
    assert!(delivered.iter().all(|delivery| delivery["state"] == "delivered"));
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", session["id"].as_str().unwrap())).await;
    let subscription = session["subscription"].as_str().unwrap();
    let truth = stripe.get(&format!("/_sim/truth/{subscription}")).await;
    assert_eq!((&truth["status"], &truth["price"]), (&json!("canceled"), &json!(BASIC)));
    let then = session["created"].as_i64().unwrap() + 86_400;
    let truth = stripe.get(&format!("/_sim/truth/{subscription}?at={then}")).await;
    assert_eq!((&truth["status"], &truth["ended_at"]), (&json!("active"), &json!(null)));
    assert!(truth["paid_until"].as_i64().unwrap() > then);
    let long_ago = stripe.get(&format!("/_sim/truth/{subscription}?at=2020-01-01T00:00:00Z")).await;
    assert!(long_ago["status"].is_null());
    let (status, error) = stripe.refused("POST", "/_sim/clock", r#"{"advance":"soon"}"#).await;
    assert_eq!(status, 400, "{error}");
    stripe.stop().await;
}

#[tokio::test]
async fn a_shop_that_was_down_gets_everything_by_a_flush() {
    let stripe = Stripe::start().await;
    *stripe.inbox.broken.lock().unwrap() = true;
    stripe.post("/v1/customers", "email=ada%40example.com").await;
    stripe.sim("clock", json!({ "advance": "1s" })).await;
    *stripe.inbox.broken.lock().unwrap() = false;
    stripe.sim("flush", json!({})).await;
    stripe.arrived("customer.created").await;
    let events = stripe.get("/v1/events?delivery_success=true&types[]=customer.created").await;
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
    assert_eq!(events["data"][0]["pending_webhooks"], 0);
    stripe.stop().await;
}

#[tokio::test]
async fn errors_are_told_as_stripe_tells_them() {
    let stripe = Stripe::start().await;
    for key in ["", "Bearer sk_live_x", "Bearer sk_test_", "Basic !!"] {
        let answer = stripe.client.get(format!("{}/v1/customers", stripe.url)).header("authorization", key);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{key}");
        assert!(answer.text().await.unwrap().contains("sk_test_"));
    }
    let basic = stripe
        .client
        .get(format!("{}/v1/customers", stripe.url))
        .header("authorization", "Basic c2tfdGVzdF94Og==");
    assert_eq!(basic.send().await.unwrap().status(), 200, "sk_test_x:");
    let cases = [
        ("GET", "/v1/subscriptions/sub_none", "", 404, "resource_missing", "id"),
        (
            "POST",
            "/v1/subscriptions",
            "customer=cus_none&items[0][price]=price_basic_month",
            404,
            "resource_missing",
            "customer",
        ),
        ("POST", "/v1/checkout/sessions", "mode=subscription", 400, "parameter_missing", "line_items"),
        ("POST", "/v1/customers", "emial=x", 400, "parameter_unknown", "emial"),
        ("GET", "/v1/customers?limit=101", "", 400, "", "limit"),
        ("POST", "/v1/customers", "a[][b]=1", 400, "", ""),
        ("GET", "/v1/treasury", "", 404, "", ""),
    ];
    for (method, path, form, status, code, param) in cases {
        let (told, error) = stripe.refused(method, path, form).await;
        assert_eq!(told, status, "{path} {error}");
        assert_eq!(error["type"], "invalid_request_error", "{path}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{path}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{path}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    stripe.stop().await;
}

#[tokio::test]
async fn lists_are_paged_newest_first_in_both_directions() {
    let stripe = Stripe::start().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.insert(0, stripe.post("/v1/customers", &format!("name={name}")).await["id"].clone());
    }
    let page = async |query: &str| {
        let list = stripe.get(&format!("/v1/customers?{query}")).await;
        let shown: Vec<_> = list["data"].as_array().unwrap().iter().map(|kept| kept["id"].clone()).collect();
        (shown, list["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (ids[..2].to_vec(), true));
    let after = |place: usize| format!("limit=2&starting_after={}", ids[place].as_str().unwrap());
    assert_eq!(page(&after(1)).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(&after(3)).await, (ids[4..].to_vec(), false));
    let before = format!("limit=2&ending_before={}", ids[3].as_str().unwrap());
    assert_eq!(page(&before).await, (ids[1..3].to_vec(), true));
    assert_eq!(page("created[gt]=1&created[lt]=2").await, (Vec::new(), false));
    let events = stripe.get("/v1/events?type=customer.*&limit=100").await;
    assert_eq!(events["data"][0]["data"]["object"]["name"], "e");
    assert_eq!(events["data"].as_array().unwrap().len(), 5);
    stripe.sim("clock", json!({ "advance": "31d" })).await;
    assert!(stripe.get("/v1/events").await["data"].as_array().unwrap().is_empty(), "kept for 30 days");
    stripe.stop().await;
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_answer() {
    let stripe = Stripe::start().await;
    let send = async |form: &str| {
        let request = stripe.request("POST", "/v1/customers").header("idempotency-key", "k1");
        request.header("stripe-version", "2026-09-30.endive").body(form.to_owned()).send().await.unwrap()
    };
    let first = send("name=Ada").await;
    assert_eq!(first.headers()["stripe-version"], "2026-09-30.endive");
    assert!(first.headers().contains_key("request-id"));
    let first = first.text().await.unwrap();
    let again = send("name=Ada").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), first);
    let other = send("name=Eve").await;
    assert_eq!(other.status(), 400);
    assert!(other.text().await.unwrap().contains("idempotency_error"));
    assert_eq!(stripe.get("/v1/customers").await["data"].as_array().unwrap().len(), 1);
    let event = &stripe.get("/v1/events").await["data"][0];
    assert_eq!(event["request"]["idempotency_key"], "k1");
    stripe.stop().await;
}

#[tokio::test]
async fn a_call_that_was_refused_may_be_put_right_and_sent_with_the_same_key() {
    let stripe = Stripe::start().await;
    let send = async |form: &str| {
        let request = stripe.request("POST", "/v1/customers").header("idempotency-key", "k1");
        let answer = request.body(form.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("idempotent-replayed"))
    };
    assert_eq!(send("name=Ada&balance=lots").await, (400, false));
    assert_eq!(send("name=Ada&balance=lots").await, (400, false), "it is looked at anew");
    assert_eq!(send("name=Ada").await, (200, false));
    assert_eq!(send("name=Ada").await, (200, true));

    let customer = stripe.get("/v1/customers").await["data"][0]["id"].as_str().unwrap().to_owned();
    let attach = async || {
        let path = "/v1/payment_methods/pm_card_chargeDeclined/attach";
        let request = stripe.request("POST", path).header("idempotency-key", "k2");
        let answer = request.body(format!("customer={customer}")).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("idempotent-replayed"))
    };
    assert_eq!(attach().await, (402, false));
    assert_eq!(attach().await, (402, true), "a bank that said no is not asked again");
    stripe.stop().await;
}

#[tokio::test]
async fn what_is_steered_beyond_ten_years_is_refused() {
    let stripe = Stripe::start().await;
    let calls = [
        ("clock", json!({ "advance": "11years" })),
        ("clock", json!({ "advance": i64::MAX })),
        ("clock", json!({ "to": i64::MAX })),
        ("clock", json!({ "to": u64::MAX })),
        ("clock", json!({ "to": "+262000-01-01T00:00:00Z" })),
        ("faults", json!({ "delay": "11years" })),
        ("faults", json!({ "api": { "delay": i64::MAX } })),
        ("settings", json!({ "draft_for": i64::MAX })),
        ("settings", json!({ "debit_takes": -1 })),
        ("settings", json!({ "upcoming_before": i64::MAX })),
        ("settings", json!({ "retries": [1, i64::MAX] })),
    ];
    for (path, body) in calls {
        let (status, error) = stripe.refused("POST", &format!("/_sim/{path}"), &body.to_string()).await;
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{path} {body}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    stripe.sim("clock", json!({ "advance": "10years" })).await;
    stripe.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_stuck_holds_neither_the_file_nor_the_end_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.json");
    let mut stripe = Stripe::start_with(Some(file.clone())).await;
    let mut stuck =
        tokio::net::TcpStream::connect(stripe.url.strip_prefix("http://").unwrap()).await.unwrap();
    stuck.write_all(b"POST /_sim/flush HTTP/1.1\r\nhost: sim\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
    // Once this is answered, the connection before it has been taken too.
    stripe.post("/v1/customers", "name=Grace").await;
    drop(stripe.stop.take());
    let (started, mut served) = (Instant::now(), &mut stripe.served);
    let kept = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("Grace"));
    while !kept() {
        assert!(started.elapsed() < HANGING, "nothing was kept");
        assert!(!served.is_finished(), "the file waits for the connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::timeout(HANGING, &mut served).await.expect("it never ends").unwrap().unwrap();
    drop(stuck);
}

/// With one thread, nothing but the move would go on until it was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn time_that_is_moved_far_keeps_nobody_else_busy() {
    let stripe = Stripe::start().await;
    let price = "id=price_day&product=prod_basic&currency=usd&unit_amount=100&recurring[interval]=day";
    stripe.post("/v1/prices", price).await;
    let customer = stripe.post("/v1/customers", "email=a%40b.c").await["id"].as_str().unwrap().to_owned();
    stripe.sim(&format!("customers/{customer}/card"), json!({ "number": "4242424242424242" })).await;
    stripe.post("/v1/subscriptions", &format!("customer={customer}&items[0][price]=price_day")).await;
    let far = json!({ "advance": "5years", "wait": false });
    let moved = stripe.sim("clock", far);
    // Refused for want of a key, which takes no look at what Stripe keeps.
    let refused = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let path = format!("{}/v1/customers", stripe.url);
        assert_eq!(stripe.client.get(path).send().await.unwrap().status(), 401);
    };
    tokio::select! {
        biased;
        _ = moved => panic!("the move was over first"),
        () = refused => {}
    }
    drop(stripe);
}

#[tokio::test]
async fn the_api_fails_and_dawdles_as_asked() {
    let stripe = Stripe::start().await;
    stripe.sim("faults", json!({ "api": { "status": 429, "times": 2, "path": "/v1/customers" } })).await;
    for expected in [429, 429, 200] {
        let answer = stripe.request("GET", "/v1/customers").send().await.unwrap();
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().contains_key("retry-after"), expected == 429);
    }
    stripe.sim("faults", json!({ "api": { "delay": 1 } })).await;
    let started = Instant::now();
    stripe.get("/v1/prices").await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    stripe.stop().await;
}

#[tokio::test]
async fn what_is_kept_in_a_file_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.json");
    let stripe = Stripe::start_with(Some(file.clone())).await;
    let session = stripe.checkout().await;
    stripe.form(&stripe.path(&session["url"]), "email=a%40b.c&number=4242424242424242").await;
    let now = stripe.sim("clock", json!({ "advance": "40d" })).await["now"].as_i64().unwrap();
    let before = stripe.get("/v1/subscriptions").await;
    stripe.stop().await;

    let stripe = Stripe::start_with(Some(file.clone())).await;
    assert_eq!(stripe.get("/v1/subscriptions").await, before);
    assert!(
        stripe.get("/_sim/clock").await["now"].as_i64().unwrap() >= now,
        "time goes on from where it was"
    );
    stripe.sim("clock", json!({ "advance": "40d" })).await;
    assert!(stripe.inbox.kinds().iter().any(|kind| kind == "invoice.paid"), "and so does everything else");
    stripe.stop().await;

    std::fs::write(&file, "{}").unwrap();
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        webhook: None,
        secret: SECRET.to_owned(),
        data: Some(file),
        seed: 1,
        products: None,
    };
    let refused = Server::open(options).await.err().map(|error| error.to_string());
    assert!(refused.is_some_and(|why| why.contains("no file of a simulator")));
}

#[tokio::test]
async fn a_simulator_that_has_lived_goes_on_as_a_server() {
    let (mut world, subscription) = World::member(BASIC, "4242424242424242", 0);
    world.stripe.advance(40 * DAY);
    world.stripe.take_deliveries(0);
    let then = world.stripe.now();
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        webhook: None,
        secret: SECRET.to_owned(),
        data: None,
        seed: 1,
        products: None,
    };
    let server = Server::open_with(world.stripe, options).await.unwrap();
    let url = format!("http://{}/_sim/truth/{subscription}", server.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.run(async move { drop(stopped.await) }));
    let truth: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(truth["status"], "active");
    assert!(truth["at"].as_i64().unwrap() >= then, "its time goes on");
    drop(stop);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_clock_that_stands_stands() {
    let stripe = Stripe::start().await;
    let stood = stripe.sim("clock", json!({ "to": "2030-01-31T00:00:00Z", "stand": true })).await;
    assert_eq!((&stood["time"], &stood["stands"]), (&json!("2030-01-31T00:00:00Z"), &json!(true)));
    let made = stripe.post("/v1/customers", "name=Ada").await;
    assert_eq!(made["created"], stood["now"]);
    let (status, _) = stripe.refused("POST", "/_sim/clock", r#"{"to":"2020-01-01T00:00:00Z"}"#).await;
    assert_eq!(status, 400, "time does not run backwards");
    stripe.stop().await;
}

#[tokio::test]
async fn the_owner_steers_disputes_refunds_secrets_and_settings() {
    let stripe = Stripe::start().await;
    let session = stripe.checkout().await;
    stripe.form(&stripe.path(&session["url"]), "email=a%40b.c&number=4242424242424242").await;
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", session["id"].as_str().unwrap())).await;
    let subscription = session["subscription"].as_str().unwrap();
    let customer = session["customer"].as_str().unwrap();
    let dispute = stripe.sim("disputes", json!({ "subscription": subscription })).await;
    let id = dispute["id"].as_str().unwrap();
    assert_eq!(stripe.sim(&format!("disputes/{id}"), json!({ "status": "won" })).await["status"], "won");
    let charge = dispute["charge"].as_str().unwrap();
    let refund =
        stripe.post("/v1/refunds", &format!("charge={charge}&amount=100&reason=requested_by_customer")).await;
    let path = format!("refunds/{}/fail", refund["id"].as_str().unwrap());
    assert_eq!(stripe.sim(&path, json!({})).await["status"], "failed");
    assert_eq!(
        stripe.sim("settings", json!({ "dunning_end": "unpaid", "retries": [60] })).await["dunning_end"],
        "unpaid"
    );
    let (status, error) = stripe.refused("POST", "/_sim/settings", r#"{"dunning":"unpaid"}"#).await;
    assert_eq!(status, 400, "{error}");
    let secrets = stripe.sim("secrets", json!({ "secret": "whsec_new", "overlap": "1h" })).await;
    assert_eq!(secrets["signing"], 2);
    let card =
        stripe.sim(&format!("customers/{customer}/card"), json!({ "number": "4000000000000341" })).await;
    assert_eq!(card["card"]["last4"], "0341");
    stripe.sim("clock", json!({ "advance": "32d" })).await;
    assert_eq!(stripe.get(&format!("/v1/subscriptions/{subscription}")).await["status"], "unpaid");
    let (status, _) =
        stripe.refused("POST", "/_sim/customers/cus_none/card", r#"{"number":"4242424242424242"}"#).await;
    assert_eq!(status, 404);
    stripe.stop().await;
}
