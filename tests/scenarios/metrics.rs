//! What can be measured from outside, and the alerts that are made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tests::app::{HANG, Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, bought, days_ago, event, events, now};
use webhook_ingest::stripe::signature::sign;

const ALERTS: &str = include_str!("../../docs/alerts.yml");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// What a scrape says: each series with its value.
struct Scrape {
    text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(app: &TestApp) -> Self {
        // Nothing that was asked for is asked again within a second.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let (status, text) = app.raw(app.strange(Method::GET, "/metrics")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let read = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        };
        let series = lines.map(read).collect();
        Self { text, series }
    }

    /// One that the store answered in time, which on a busy machine it may not.
    async fn with_the_store(app: &TestApp) -> Self {
        let begun = Instant::now();
        loop {
            let scrape = Self::of(app).await;
            if scrape.value("membership_store_up") > 0.0 {
                return scrape;
            }
            assert!(begun.elapsed() < HANG, "no scrape says that the store is there: {}", scrape.text);
        }
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// The sum of all series of a name that carry all of these labels.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |series: &&String| {
            series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
        };
        self.series.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.series.keys().filter_map(|series| series.split('{').next()).collect()
    }
}

/// Members who buy, pay, are asked about, and some things that go wrong.
async fn busy(app: &TestApp) {
    app.register("mem_ada").await;
    let mut story = Story::new("ada");
    bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(5));
    let told = events(story);
    app.deliver_all(told.iter().chain(&told)).await;
    let mut stranger = Story::new("stranger");
    stranger.create(Price::BasicMonth, "active", days_ago(2));
    app.deliver_all(&events(stranger)).await;
    for video in [BASIC, BASIC, ADVANCED] {
        app.check("mem_ada", video).await;
    }
    for signatures in [&[][..], &["t=1,v1=00"], &["nonsense"]] {
        assert_eq!(app.post_webhook(b"{}", signatures).await.status, StatusCode::BAD_REQUEST);
    }
    let nothing = app.raw(app.strange(Method::GET, "/v1/members/mem_ada/nothing/here")).await;
    assert_eq!(nothing.0, StatusCode::NOT_FOUND);
    app.raw(app.strange(Method::from_bytes(b"BREW").expect("a method"), "/healthz")).await;
}

on_every_store! {
    async fn a_scrape_counts_what_happened(store: Store) {
        let app = TestApp::on(store).await;
        busy(&app).await;
        let scrape = Scrape::with_the_store(&app).await;
        let route = "route=\"/v1/members/{member}/access/videos/{video}\"";
        for (name, labels, expected) in [
            ("membership_access_decisions_total", &["allowed=\"true\"", "reason=\"subscription\""][..], 2.0),
            ("membership_access_decisions_total", &["allowed=\"false\"", "reason=\"plan_too_low\""], 1.0),
            ("membership_access_decisions_total", &["reason=\"status_unknown\""], 0.0),
            ("membership_http_requests_total", &[route, "method=\"GET\"", "status=\"2xx\""], 3.0),
            ("membership_http_request_duration_seconds_count", &[route, "method=\"GET\""], 3.0),
            ("membership_http_requests_total", &["route=\"/webhooks/stripe\"", "status=\"4xx\""], 3.0),
            ("membership_http_requests_total", &["route=\"unmatched\"", "status=\"4xx\""], 1.0),
            ("membership_http_requests_total", &["route=\"/healthz\"", "method=\"OTHER\"", "status=\"4xx\""], 1.0),
            ("membership_webhooks_refused_total", &["reason=\"signature_missing\""], 1.0),
            ("membership_webhooks_refused_total", &["reason=\"signature_no_match\""], 1.0),
            ("membership_webhooks_refused_total", &["reason=\"signature_malformed\""], 1.0),
            ("membership_deliveries_received_total", &["duplicate=\"false\""], 5.0),
            ("membership_deliveries_received_total", &["duplicate=\"true\""], 4.0),
            ("membership_deliveries", &["state=\"parked\""], 1.0),
            ("membership_deliveries", &["state=\"pending\""], 0.0),
            ("membership_deliveries", &["state=\"failed\""], 0.0),
            ("membership_delivery_oldest_due_age_seconds", &[], 0.0),
            ("membership_index_members", &[], 1.0),
            ("membership_catalog_plans", &[], 2.0),
            ("membership_store_up", &[], 1.0),
            ("membership_worker_up", &[], 1.0),
            ("membership_projection_lag_positions", &[], 0.0),
            ("membership_projection_standing_still", &[], 0.0),
            ("membership_projection_caught_up", &[], 2.0),
            ("membership_build_info", &[], 1.0),
        ] {
            assert!((scrape.sum(name, labels) - expected).abs() < f64::EPSILON, "{name} {labels:?}: {}", scrape.text);
        }
        // Each delivery is parked or ignored before it is applied if its member was linked meanwhile, so more may be counted.
        let settled = |outcome: &str| scrape.sum("membership_deliveries_settled_total", &[outcome]);
        assert!(settled("outcome=\"applied\"") >= 3.0, "{}", scrape.text);
        assert!(settled("outcome=\"parked\",reason=\"unknown_customer\"") >= 1.0, "{}", scrape.text);
        let head = scrape.value("membership_log_head_position");
        assert!(head > 0.0);
        for projection in ["access-index", "directory"] {
            let at = scrape.value(&format!("membership_projection_position{{projection=\"{projection}\"}}"));
            assert!((at - head).abs() < f64::EPSILON, "{projection} at {at} of {head}");
        }
        for operation in ["inbox_store", "inbox_claim", "inbox_settle", "load", "append", "feed_read", "view_save"] {
            let count = scrape.sum(
                "membership_store_operation_duration_seconds_count",
                &[&format!("operation=\"{operation}\"")],
            );
            assert!(count > 0.0, "{operation}: {}", scrape.text);
        }
        for name in ["process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"] {
            assert!(scrape.value(name) > 0.0, "{name}");
        }
    }

    async fn a_metric_is_described_named_by_convention_and_says_nothing_about_a_person(store: Store) {
        let app = TestApp::on(store).await;
        busy(&app).await;
        let scrape = Scrape::of(&app).await;
        let kinds: BTreeMap<&str, &str> = scrape
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        for (name, kind) in &kinds {
            assert!(scrape.text.contains(&format!("# HELP {name} ")), "{name} is not described");
            assert!(name.starts_with("membership_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
        assert!(kinds.len() > 20, "{kinds:?}");
        for series in scrape.series.keys() {
            for id in ["mem_", "cus_", "sub_", "evt_", "req_", "ada", "stranger"] {
                assert!(!series.contains(&format!("\"{id}")), "{series}");
            }
        }
        assert!(scrape.series.len() < 1_000, "{} series", scrape.series.len());
    }
}

/// Every name that looks like one of ours.
fn named(text: &str) -> BTreeSet<&str> {
    let part_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !part_of_a_name(c))
        .filter(|word| word.starts_with("membership_") || word.starts_with("process_"))
        .collect()
}

#[tokio::test]
async fn every_metric_of_an_alert_is_in_a_scrape_and_every_alert_is_explained() {
    let (sqlite, postgres) = (TestApp::on(Store::Sqlite).await, TestApp::on(Store::Postgres).await);
    let mut scraped = BTreeSet::new();
    for app in [&sqlite, &postgres] {
        busy(app).await;
        scraped.extend(Scrape::of(app).await.names().into_iter().map(str::to_owned));
    }
    let expressions: String = ALERTS
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', '-']) && !line.contains("annotations:"))
        .collect();
    let asked = named(&expressions);
    assert!(asked.len() > 15, "{asked:?}");
    let missing = |names: &BTreeSet<&str>| {
        names.iter().filter(|name| !scraped.contains(**name)).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(missing(&asked), [""; 0], "{scraped:?}");
    assert_eq!(missing(&BTreeSet::from(["membership_made_up_total"])), ["membership_made_up_total"]);

    let alerts = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(OPERATIONS.contains(&format!("### {alert}\n")), "{alert} is not in docs/operations.md");
    }
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_by_a_scrape_that_still_comes() {
    let home = Home::new(Store::Postgres).await;
    let app = home.serve().await;
    Scrape::with_the_store(&app).await;
    let options: PgConnectOptions = home.setting("DATABASE_URL").parse().expect("a URL");
    let name = options.get_database().expect("a database").to_owned();
    let mut admin = PgConnection::connect_with(&options.database("postgres")).await.expect("a connection");
    let mut run = async |sql: String| {
        sqlx::query(&sql).execute(&mut admin).await.expect("the database does it");
    };
    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    run(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;

    let scrape = Scrape::of(&app).await;
    assert!(scrape.value("membership_store_up").abs() < f64::EPSILON, "{}", scrape.text);
    assert!(scrape.value("membership_log_head_position").is_nan(), "an old figure: {}", scrape.text);
    assert!(scrape.value("membership_index_members").abs() < f64::EPSILON);
    assert!(scrape.sum("membership_store_errors_total", &["kind=\"unavailable\""]) > 0.0, "{}", scrape.text);

    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    Scrape::with_the_store(&app).await;
}

#[tokio::test]
async fn a_process_of_any_role_can_be_measured_without_a_token() {
    let home = Home::new(Store::Postgres).await;
    let (ingest, api) = (home.serve_as("ingest").await, home.serve_as("api").await);
    api.send(Method::POST, "/v1/members", Some(&json!({ "id": "mem_ada" })), "").await;
    assert!(Scrape::of(&ingest).await.names().contains("membership_worker_up"));
    assert!(!Scrape::of(&api).await.names().contains("membership_worker_up"));
}

#[tokio::test]
async fn which_secret_still_signs_is_seen_so_that_one_is_replaced_without_a_gap() {
    const OLD: &str = "whsec_the_old_one";
    const NEW: &str = "whsec_the_new_one";
    let home = |secrets: &str, home: Home| home.with("STRIPE_WEBHOOK_SECRETS", secrets);
    let send = async |app: &TestApp, id: &str, signers: &[&str]| {
        let body = event(id, "customer.updated", now(), &json!({ "id": "cus_1", "object": "customer" }));
        let (body, at) = (body.to_string(), now());
        let headers: Vec<_> = signers.iter().map(|secret| sign(secret, body.as_bytes(), at)).collect();
        let schemes = headers.iter().filter_map(|header| header.split_once(',').map(|(_, scheme)| scheme));
        let header = [format!("t={}", at.timestamp())].into_iter().chain(schemes.map(str::to_owned));
        app.post_webhook(body.as_bytes(), &[&header.collect::<Vec<_>>().join(",")]).await.status
    };
    let used = async |app: &TestApp| {
        let scrape = Scrape::of(app).await;
        assert!(!scrape.text.contains("whsec_"), "{}", scrape.text);
        let place = |place: &str| {
            scrape.sum("membership_webhook_secret_used_total", &[&format!("secret=\"{place}\"")])
        };
        [place("1"), place("2")].map(|count| format!("{:.0}", count.abs()))
    };
    let before = home(OLD, Home::new(Store::Sqlite).await);
    let mut app = before.serve().await;
    assert_eq!(send(&app, "evt_1", &[OLD]).await, StatusCode::OK);
    assert_eq!(send(&app, "evt_2", &[NEW]).await, StatusCode::BAD_REQUEST, "this would be the gap");
    app.stop("TERM");

    // Both are known before Stripe begins to sign with the new one, and while it signs with both.
    let during = home(&format!("{NEW},{OLD}"), before);
    let mut app = during.serve().await;
    assert_eq!(used(&app).await, ["0", "0"]);
    assert_eq!(send(&app, "evt_3", &[OLD]).await, StatusCode::OK);
    assert_eq!(used(&app).await, ["0", "1"]);
    assert_eq!(send(&app, "evt_4", &[OLD, NEW]).await, StatusCode::OK);
    assert_eq!(used(&app).await, ["1", "2"]);
    for id in ["evt_5", "evt_6"] {
        assert_eq!(send(&app, id, &[NEW]).await, StatusCode::OK);
    }
    assert_eq!(used(&app).await, ["3", "2"], "the old one has stopped");
    app.stop("TERM");

    let after = home(NEW, during);
    let app = after.serve().await;
    assert_eq!(send(&app, "evt_7", &[NEW]).await, StatusCode::OK);
    assert_eq!(send(&app, "evt_8", &[OLD]).await, StatusCode::BAD_REQUEST);
    assert_eq!(used(&app).await, ["1", "0"]);
}
