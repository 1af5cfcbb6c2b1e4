//! More to do than there is room for: some is refused at once, and what must not be refused is not.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tests::app::{Home, Reply, Store, TestApp};
use tests::stripe::{FREE, event, now};
use tokio::task::JoinSet;

/// Shorter than the time that a request may take.
const HANDLED: Duration = Duration::from_secs(4);

/// A table that nobody can use for a while, so that whoever asks for it waits.
struct Stuck(PgConnection);

impl Stuck {
    async fn on(home: &Home, table: &str) -> Self {
        let mut connection = PgConnection::connect(home.setting("DATABASE_URL")).await.expect("it connects");
        connection.execute("BEGIN").await.expect("a transaction begins");
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        connection.execute(lock.as_str()).await.expect("the table is locked");
        Self(connection)
    }

    async fn end(mut self) {
        self.0.execute("ROLLBACK").await.expect("it ends");
    }
}

fn list_members(app: &TestApp) -> impl Future<Output = (StatusCode, Duration)> + use<> {
    let request = app.request(Method::GET, "/v1/members");
    async move {
        let begun = Instant::now();
        (request.send().await.expect("it is answered").status(), begun.elapsed())
    }
}

fn assert_overloaded(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(reply.header("retry-after"), Some("1"), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    assert_eq!(reply.body["code"], "overloaded", "{reply:?}");
    assert_eq!(reply.body["request_id"].as_str(), reply.header("x-request-id"), "{reply:?}");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "figures for whoever looks at them")]
async fn when_the_store_is_stuck_access_checks_and_webhooks_are_answered_and_the_rest_is_refused_at_once() {
    let home = Home::new(Store::Postgres).await.with("MAX_IN_FLIGHT", "8");
    let app = home.serve().await;
    app.register("mem_ada").await;
    let stuck = Stuck::on(&home, "people").await;
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        waiting.spawn(list_members(&app));
    }
    let mut refusals = Vec::new();
    while refusals.len() < 8 {
        let (status, took) = waiting.join_next().await.expect("some go on").expect("it is asked");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        refusals.push(took);
    }
    // Two wait. Access checks and webhooks have room of their own.
    for _ in 0..5 {
        assert_eq!(app.check("mem_ada", FREE).await["allowed"], true);
        let begun = Instant::now();
        assert_overloaded(&app.get("/v1/members").await);
        refusals.push(begun.elapsed());
    }
    let checks = json!({ "checks": [{ "member": "mem_ada", "video": FREE }] });
    assert_eq!(app.send(Method::POST, "/v1/access/check", Some(&checks), "").await.status, StatusCode::OK);
    app.deliver(&event("evt_meanwhile", "invoice.paid", now(), &json!({}))).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(app.get(path).await.status, StatusCode::OK, "{path}");
    }
    refusals.sort();
    println!("refused after {:.2?} as a rule, {:?} at most", refusals[refusals.len() / 2], refusals.last());

    let in_time = begun.elapsed() < HANDLED;
    stuck.end().await;
    let answered = waiting.join_all().await;
    assert_eq!(answered.len(), 2);
    // On a very slow machine they may have been given up meanwhile.
    assert!(!in_time || answered.iter().all(|(status, _)| *status == StatusCode::OK), "{answered:?}");
    assert_eq!(app.get("/v1/members").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_kept_in_time_is_not_acknowledged_and_comes_again() {
    let home = Home::new(Store::Postgres).await;
    let app = home.serve().await;
    let stuck = Stuck::on(&home, "inbox").await;
    let late = event("evt_late", "invoice.paid", now(), &json!({})).to_string();
    let reply = app.post_signed(late.as_bytes()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    stuck.end().await;
    let reply = app.post_signed(late.as_bytes()).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    app.settled().await;
    assert_eq!(app.delivery("evt_late").await["id"], "evt_late");
}
