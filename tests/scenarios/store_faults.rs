//! Something is wrong with the store: callers are told to come back, learners go on watching, nothing that was acknowledged
//! is lost, and all is well again without a hand.

mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Load, Lost, Told, make_learner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tests::app::{Home, Reply, Store, TestApp};
use tests::postgres::{Cluster, Stop};
use tests::proxy::{Network, Proxy};
use tests::stripe::{Price, Story, days_ago, events};

/// Longer than anything takes that comes back by itself.
const HANG: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// A service over a database at this URL.
async fn home_over(url: &str) -> Home {
    Home::new(Store::Sqlite).await.with("DATABASE_URL", url)
}

async fn for_a_while(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Waits until the service says that it is ready, and says how long that took.
async fn ready(app: &TestApp) -> Duration {
    let begun = Instant::now();
    loop {
        let reply = app.get("/readyz").await;
        if reply.status == StatusCode::OK {
            return begun.elapsed();
        }
        assert_unavailable(&reply);
        assert!(begun.elapsed() < HANG, "the service does not get ready: {reply:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the service says that it is not ready, and gives its words.
async fn unready(app: &TestApp) -> String {
    let begun = Instant::now();
    loop {
        let reply = app.get("/readyz").await;
        if reply.status != StatusCode::OK {
            assert_unavailable(&reply);
            return reply.body["detail"].as_str().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < HANG, "the service says that it is ready: {reply:?}");
        tokio::time::sleep(POLL).await;
    }
}

fn assert_unavailable(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
}

/// All is well: what was acknowledged is there, once, and the live answers are those of the log.
async fn assert_well(name: &str, app: &TestApp, told: &Told, url: &str) {
    ready(app).await;
    app.settled().await;
    told.assert_right(name);
    assert_eq!(told.lost(app).await, Lost::default(), "{name}");
    assert_eq!(app.deliveries("failed").await, [Value::Null; 0], "{name}");
    let mut connection = PgConnection::connect(url).await.expect("the database is there");
    let doubled: i64 = sqlx::query_scalar(DOUBLED).fetch_one(&mut connection).await.expect("it answers");
    assert_eq!(doubled, 0, "{name}: facts that are there twice");
    app.home.done(&["replay", "--verify"]);
    assert!(!app.log().contains("panicked"), "{name}");
}

/// The same fact from the same cause twice, or a stream with a gap.
const DOUBLED: &str = "SELECT (SELECT count(*) FROM (SELECT FROM events \
                       GROUP BY aggregate_type, aggregate_id, event_type, metadata->>'cause', payload HAVING count(*) > 1) AS twice) \
                       + (SELECT count(*) FROM (SELECT FROM events \
                       GROUP BY aggregate_type, aggregate_id HAVING count(*) <> max(sequence)) AS gaps)";

#[expect(clippy::print_stderr, reason = "the figures are what the long forms are run for")]
fn figures(name: &str, told: &Told, more: &str) {
    eprintln!("{name}: {told}; {more}");
}

#[tokio::test]
async fn a_service_whose_database_is_not_there_yet_says_so_and_begins_by_itself() {
    let cluster = Cluster::start(&[]);
    let proxy = Proxy::to(&cluster.socket_file()).await;
    proxy.set(Network::Refusing);
    let home = home_over(&proxy.url()).await;
    let told = home.cli(&["member", "list"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.err.contains("DATABASE_URL") && told.err.contains("see that the server runs"), "{told:?}");

    let app = home.begin_to_serve().await;
    let mut story = Story::new("early");
    story.create(Price::BasicMonth, "active", days_ago(1));
    let event = events(story).remove(0);
    assert_unavailable(&app.post_signed(event.to_string().as_bytes()).await);
    assert_unavailable(&app.get("/v1/members/mem_ada/access/videos/hello").await);
    assert_unavailable(&app.send(Method::POST, "/v1/members", Some(&json!({ "id": "mem_ada" })), "").await);
    assert!(unready(&app).await.contains("the database cannot be opened yet"));
    assert_eq!(app.get("/healthz").await.status, StatusCode::OK);
    assert!(app.log().contains("waiting for the database"), "{}", app.log());

    // While it still waits it stops when it is asked to.
    let mut other = home.begin_to_serve().await;
    assert_eq!(other.stop("TERM"), Some(0));

    proxy.set(Network::Good(cluster.socket_file()));
    ready(&app).await;
    make_learner(&app).await;
    app.deliver(&event).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_restarts_and_hard_stops_of_the_database() {
    restarts(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn what_was_acknowledged_outlives_50_restarts_and_hard_stops_of_the_database() {
    let slowest = restarts(50).await;
    assert!(slowest < Duration::from_secs(5), "ready {slowest:?} after the database");
}

/// The longest time from a database that answers to a service that is ready.
async fn restarts(count: usize) -> Duration {
    let cluster = Cluster::start(&[]);
    let app = Arc::new(home_over(&cluster.url()).await.serve().await);
    make_learner(&app).await;
    let load = Load::on(&app);
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        for_a_while(1_000).await;
        cluster.stop(if number % 2 == 0 { Stop::Immediate } else { Stop::Fast });
        assert!(unready(&app).await.contains("store: "), "it does not say what is wrong");
        cluster.start_again();
        slowest = slowest.max(ready(&app).await);
    }
    for_a_while(500).await;
    let told = load.end().await;
    figures("restarts", &told, &format!("{count} restarts, ready at most {slowest:.1?} after the database"));
    assert!(told.refused > 0, "nobody noticed");
    assert_well("restarts", &app, &told, &cluster.url()).await;
    slowest
}
