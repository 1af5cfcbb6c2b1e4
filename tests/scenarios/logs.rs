//! What the logs say, and what they never say.

use reqwest::header::{AUTHORIZATION, COOKIE, HOST, USER_AGENT};
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::browser::Browser;
use tests::on_every_store;
use tests::stripe::{ADVANCED, Price, Story, bought, changed, days_ago, event, events, now};
use webhook_ingest::stripe::signature::sign;

/// In everything that is sent and must not be told.
const CANARY: &str = "canary";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SECRET: &str = "whsec_canary_of_the_endpoint";
const TOKEN: &str = "a-canary-token-for-the-logs";

/// The lines of a log that hold the canary.
fn sightings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.to_lowercase().contains(CANARY)).collect()
}

async fn ask(app: &TestApp, method: Method, path: &str, body: &str) -> StatusCode {
    let request = app.strange(method, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    let request = request.header("content-type", "application/json").body(body.to_owned());
    app.raw(request).await.0
}

async fn deliver(app: &TestApp, body: &[u8]) {
    let request = app.strange(Method::POST, "/webhooks/stripe");
    let request = request.header("stripe-signature", sign(SECRET, body, now())).body(body.to_vec());
    assert_eq!(app.raw(request).await.0, StatusCode::OK, "{}", String::from_utf8_lossy(body));
}

/// What a person gives away of herself, in every place where something can be sent.
async fn everything_with_canaries(app: &TestApp) {
    let create = |email: &str, external: &str| json!({ "email": email, "external_id": external }).to_string();
    let mut statuses = Vec::new();
    for body in [
        json!({ "id": "mem_ada", "email": "canary.ada@example.com", "external_id": "canary-7" }).to_string(),
        create("canary.ada@example.com", "canary-8"),
        create("canary.other@example.com", "canary-7"),
        create("canary.\u{0}@example.com", "canary-9"),
        create("canary.nul@example.com", "canary\u{0}"),
        create(&"canary".repeat(100), &"canary".repeat(1_000)),
        create("canary not an address", ""),
        "{\"email\": \"canary.cut@exam".to_owned(),
        "{\"email\": [\"canary@example.com\"]}".to_owned(),
        "{\"canary\": \"canary\"}".to_owned(),
        "\"canary\"".to_owned(),
        format!("{{\"email\": \"{}\"}}", "canary".repeat(20_000)),
    ] {
        statuses.push(ask(app, Method::POST, "/v1/members", &body).await);
    }
    assert_eq!(statuses[0], StatusCode::CREATED, "{statuses:?}");
    assert!(statuses.contains(&StatusCode::CONFLICT), "{statuses:?}");
    for path in [
        "/v1/members?limit=canary",
        "/v1/members?cursor=canary",
        "/v1/members?canary=canary%40example.com",
        "/v1/members/mem_ada",
        "/v1/members/canary@example.com",
        "/v1/members/mem_canary/access/videos/canary",
        "/v1/members/mem_ada/access/videos/canary?at=canary",
        "/v1/support/members/canary%40example.com/timeline",
        "/v1/support/deliveries?outcome=canary",
        "/v1/support/members?q=Canary%20Miller",
        "/canary/canary@example.com?canary=canary",
    ] {
        ask(app, Method::GET, path, "").await;
        ask(app, Method::from_bytes(b"CANARY").expect("a method"), path, "canary").await;
    }
    let checks = json!({ "checks": [{ "member": "canary", "video": "canary" }] });
    assert_eq!(ask(app, Method::POST, "/v1/access/check", &checks.to_string()).await, StatusCode::OK);
    ask(app, Method::PUT, "/v1/members/mem_ada/stripe-customer", "{\"customer\": \"canary@example.com\"}")
        .await;
    let request = app.strange(Method::GET, "/v1/members").header(AUTHORIZATION, "Bearer canary-of-somebody");
    let request =
        request.header(COOKIE, "access=canary").header(USER_AGENT, "canary").header(HOST, "canary.example");
    let request =
        request.header("x-request-id", "canary@example.com").header("membership-position", "canary");
    let request = request.header("traceparent", "canary").header("tracestate", "canary=canary");
    assert_eq!(app.raw(request).await.0, StatusCode::UNAUTHORIZED);

    let mut story = Story::new("ada");
    bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(5));
    let personal = json!({
        "customer_email": "canary.payer@example.com", "customer_name": "Canary Miller", "name": "Canary Miller", "phone": "canary", "description": "canary",
        "customer_details": { "email": "canary.payer@example.com", "name": "Canary Miller", "address": { "line1": "Canary Street 1" } },
    });
    for event in events(story) {
        deliver(app, changed(event, &personal).to_string().as_bytes()).await;
    }
    let mut named = Story::new("named");
    named.create(Price::BasicMonth, "canary_status", days_ago(3));
    for event in events(named) {
        let named = json!({ "metadata": { "member_id": "canary@example.com", "name": "canary" } });
        deliver(app, changed(event, &named).to_string().as_bytes()).await;
    }
    let object =
        json!({ "id": 7, "object": "canary", "email": "canary@example.com", "customer": ["canary"] });
    for (number, kind) in
        ["customer.updated", "customer.subscription.updated", "canary.created", "invoice.paid"]
            .into_iter()
            .enumerate()
    {
        let event = event(&format!("evt_strange_{number}"), kind, now(), &object);
        deliver(app, event.to_string().as_bytes()).await;
    }
    let bodies: [&[u8]; 4] = [
        b"{\"id\": \"evt_cut\", \"email\": \"canary@exam",
        b"{\"id\": [\"canary\"], \"type\": \"canary\"}",
        b"\"canary@example.com\"",
        b"canary\xff\xfe",
    ];
    for body in bodies {
        deliver(app, body).await;
    }
    for signature in ["canary", "t=canary,v1=canary", "t=1,v1=00,canary=canary"] {
        let request = app.strange(Method::POST, "/webhooks/stripe").header("stripe-signature", signature);
        assert_eq!(app.raw(request.body("canary")).await.0, StatusCode::BAD_REQUEST);
    }
}

/// Everything that somebody does with an account, and the secrets that she was given on the way.
async fn an_account_with_canaries(app: &TestApp) -> Vec<String> {
    let (email, other, password) =
        ("canary.ada@example.com", "canary.other@example.com", "a canary passphrase");
    let mut secrets = Vec::new();
    let mut browser = Browser::of(app).saying("user-agent", "a canary of a browser");
    let mut posts = async |path: &str, body: Value, status: u16| {
        let reply = browser.post(&format!("/v1/auth/{path}"), &body).await;
        reply.is(status);
        let kept = ["access", "refresh", "device", "registration"]
            .map(|name| browser.cookie(name).unwrap_or_default().to_owned());
        (reply.body, kept)
    };
    let credentials = |email: &str, password: &str| json!({ "email": email, "password": password });
    posts("register", credentials(email, password), 202).await;
    posts("login", credentials(email, password), 401).await;
    posts("login", credentials("canary", "canary"), 422).await;
    secrets.push(app.home.link(email, "Confirm").await);
    posts("verify-email", json!({ "token": secrets[0] }), 200).await;
    posts("verify-email", json!({ "token": "canary" }), 400).await;
    posts("login", credentials(email, "a canary of a guess"), 401).await;
    secrets.extend(posts("login", credentials(email, password), 200).await.1);
    posts("register", credentials(email, password), 202).await;
    posts("change-email", credentials(other, password), 202).await;
    secrets.push(app.home.link(other, "Confirm").await);
    posts("verify-email", json!({ "token": secrets.last() }), 200).await;
    let change = json!({ "current_password": password, "new_password": "another canary" });
    posts("change-password", change, 204).await;
    secrets.extend(posts("refresh", json!({}), 200).await.1);
    let enrolled = posts("second-factor/enrol", json!({ "password": "another canary" }), 200).await.0;
    posts("second-factor/confirm", json!({ "code": "canary" }), 401).await;
    secrets.extend(["secret", "url"].map(|name| enrolled[name].as_str().unwrap_or_default().to_owned()));
    posts("forgot-password", json!({ "email": other }), 202).await;
    secrets.push(app.home.link(other, "Choose another password").await);
    posts("reset-password", json!({ "token": secrets.last(), "password": password }), 204).await;
    posts("login", credentials(other, password), 200).await;
    posts("delete-account", json!({ "password": password }), 204).await;
    assert!(secrets.iter().all(|secret| secret.len() > 20), "{secrets:?}");
    secrets
}

on_every_store! {
    async fn nothing_of_an_account_is_in_logs_or_metrics_even_at_the_finest_level(store: Store) {
        let app = Home::new(store).await.with_accounts().with("RUST_LOG", "trace").serve().await;
        let secrets = an_account_with_canaries(&app).await;
        app.settled().await;
        let log = app.log();
        assert!(log.contains("request answered") && log.contains("/v1/auth/reset-password"), "the log says too little to prove anything");
        let (_, metrics) = app.raw(app.strange(Method::GET, "/metrics")).await;
        assert!(metrics.contains("membership_sign_ins_total"), "{metrics}");
        for text in [&log, &metrics] {
            assert_eq!(sightings(text), [""; 0]);
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{secret}");
            }
        }
        // Nor in the log of events, which is kept for ever.
        assert_eq!(app.home.count("events WHERE CAST(payload AS TEXT) LIKE '%canary%' OR CAST(metadata AS TEXT) LIKE '%canary%'").await, 0);
    }

    async fn nothing_about_a_person_and_no_secret_is_in_logs_or_metrics_even_at_the_finest_level(store: Store) {
        let scopes = "access.read+support.read+support.write+members.write";
        let mut home = Home::new(store).await.with("RUST_LOG", "trace").with("STRIPE_WEBHOOK_SECRETS", SECRET);
        let url = home.setting("DATABASE_URL").to_owned();
        if store == Store::Postgres {
            // The server trusts whoever comes through its socket, so a password changes nothing.
            let joint = if url.contains('?') { '&' } else { '?' };
            home = home.with("DATABASE_URL", &format!("{url}{joint}password=canary&canary=canary"));
        }
        home = home.with("SERVICE_TOKENS", &format!("logs:{scopes}:{TOKEN}"));
        home = home.with("SMTP_URL", "smtps://canary:canary@mail.example.com");
        let app = home.serve().await;
        everything_with_canaries(&app).await;
        app.settled().await;

        let log = app.log();
        for expected in ["delivery carried out", "delivery stored", "request answered", "events appended", "webhook refused"] {
            assert!(log.contains(expected), "the log says too little to prove anything: no {expected:?}");
        }
        assert_eq!(sightings(&log), [""; 0]);
        let (_, metrics) = app.raw(app.strange(Method::GET, "/metrics")).await;
        assert!(metrics.contains("membership_deliveries_settled_total"), "{metrics}");
        assert_eq!(sightings(&metrics), [""; 0]);

        // The search finds what is there: a request id is the caller's own name for a request, and is told.
        app.raw(app.strange(Method::GET, "/v1/members").header("x-request-id", "canary.planted")).await;
        assert!(!sightings(&app.log()).is_empty(), "the planted one is not found");
    }

    async fn a_log_line_a_delivery_and_a_domain_event_are_joined_by_one_id(store: Store) {
        let home = Home::new(store).await.with("RUST_LOG", "debug,sqlx=warn,hyper=warn");
        let app = home.serve().await;
        app.register("mem_ada").await;
        let mut story = Story::new("ada");
        bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(5));
        let told = events(story);
        app.deliver_all(&told).await;

        let log = app.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |message: &str, id: &str| {
            let in_span = |line: &&Value| {
                let spans = line["spans"].as_array().cloned().unwrap_or_default();
                line["message"] == message && spans.iter().any(|span| span["correlation_id"] == id)
            };
            lines.iter().filter(in_span).count()
        };
        let applied: Vec<Value> = app.deliveries("applied").await;
        assert!(!applied.is_empty());
        for delivery in &applied {
            let id = delivery["id"].as_str().unwrap_or_default();
            assert!(of("delivery carried out", id) > 0, "{id}: {log}");
            assert!(of("events appended", id) > 0, "{id}: {log}");
            assert!(correlated(&app, id).await > 0, "no event of {id}");
        }
    }
}

/// How many events of the log carry this correlation id.
async fn correlated(app: &TestApp, id: &str) -> i64 {
    let url = app.home.setting("DATABASE_URL");
    if let Some(path) = url.strip_prefix("sqlite://") {
        let connection = Connection::open(path).expect("the file can be opened");
        let sql = "SELECT count(*) FROM events WHERE json_extract(metadata, '$.correlation_id') = ?1";
        return connection.query_row(sql, [id], |row| row.get(0)).expect("the log can be counted");
    }
    let pool = sqlx::PgPool::connect(url).await.expect("the database can be reached");
    let sql = "SELECT count(*) FROM events WHERE metadata->>'correlation_id' = $1";
    sqlx::query_scalar(sql).bind(id).fetch_one(&pool).await.expect("the log can be counted")
}

#[tokio::test]
async fn a_request_is_one_line_with_its_route_its_time_and_the_callers_trace() {
    let app = TestApp::on(Store::Sqlite).await;
    let traced = |path: &str, id: &str| {
        let request = app.strange(Method::GET, path).header("x-request-id", id);
        request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
    };
    for (path, id) in [
        ("/v1/members/mem_ada", "list-1"),
        (&format!("/v1/members/mem_ada/access/videos/{ADVANCED}"), "check-1"),
        ("/readyz", "ready-1"),
    ] {
        app.raw(traced(path, id)).await;
    }
    let log = app.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |id: &str| lines.iter().filter(|line| line["request_id"] == id).cloned().collect::<Vec<_>>();
    let told = of("list-1");
    assert_eq!(told.len(), 1, "{log}");
    let line = &told[0];
    assert_eq!((&line["route"], &line["method"]), (&json!("/v1/members/{member}"), &json!("GET")), "{line}");
    assert_eq!((&line["status"], &line["level"]), (&json!(401), &json!("INFO")), "{line}");
    assert!(line["micros"].is_u64(), "{line}");
    assert_eq!(line["spans"][0]["trace_id"], TRACE, "{line}");
    // Many and short, and not told unless somebody asks for details.
    assert!(of("check-1").is_empty() && of("ready-1").is_empty(), "{log}");
}

#[tokio::test]
async fn what_is_wrong_with_a_database_url_is_told_without_its_password() {
    let home = Home::new(Store::Sqlite).await.with("RUST_LOG", "trace");
    for url in [
        "postgres://ada:canary@127.0.0.1:1/membership",
        "postgres://ada:canary@127.0.0.1:1/membership?passwrod=canary",
        "postgres://ada:canary@127.0.0.1:port/membership",
        "postgres://ada:canary@[127.0.0.1/membership",
        "mysql://ada:canary@127.0.0.1/membership",
    ] {
        let home = home.clone().with("DATABASE_URL", url);
        for command in [&["migrate"][..], &["doctor"], &["member", "list"]] {
            let told = home.cli(command);
            assert_ne!(told.code, 0, "{url}: {told:?}");
            assert_eq!(sightings(&told.err), [""; 0], "{url}: {command:?}");
            assert_eq!(sightings(&told.out), [""; 0], "{url}: {command:?}");
        }
    }
}
