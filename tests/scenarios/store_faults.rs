//! Something is wrong with the store: callers are told to come back, learners go on watching, nothing that was acknowledged
//! is lost, and all is well again without a hand.

mod load;
mod long;

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Buyers, Load, Lost, Told, make_learner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tests::app::{Home, Reply, Store, TestApp};
use tests::postgres::{Cluster, Stop};
use tests::proxy::{Network, Proxy};
use tests::small_disk::SmallDisk;
use tests::stripe::{BASIC, Price, Story, bought, days_ago, events};

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
        // Whoever is amid asking a service that only waits for its database is cut off a second after that has come.
        if let Ok(response) = app.request(Method::GET, "/readyz").send().await {
            if response.status() == StatusCode::OK {
                return begun.elapsed();
            }
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{response:?}");
        }
        assert!(begun.elapsed() < HANG, "the service does not get ready");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the service says that it is not ready, and that one of these is wrong; what is noticed first may be another thing.
async fn unready(app: &TestApp, wrong: &[&str]) {
    let begun = Instant::now();
    loop {
        let reply = app.get("/readyz").await;
        if reply.status != StatusCode::OK {
            assert_unavailable(&reply);
            let told = reply.body["detail"].as_str().unwrap_or_default();
            if wrong.iter().any(|wrong| told.contains(wrong)) {
                return;
            }
        }
        assert!(begun.elapsed() < HANG, "the service does not say that {wrong:?}: {reply:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until everything that was taken is carried out, for as long as that goes on.
async fn carried_out(app: &TestApp) {
    let (mut begun, mut fewest) = (Instant::now(), u64::MAX);
    while fewest > 0 {
        ready(app).await;
        let waiting = app.get("/readyz").await.body["deliveries_waiting"].as_u64().unwrap_or(u64::MAX);
        if waiting < fewest {
            (begun, fewest) = (Instant::now(), waiting);
        }
        assert!(begun.elapsed() < HANG, "{waiting} deliveries are not carried out");
        tokio::time::sleep(POLL).await;
    }
    app.settled().await;
}

fn assert_unavailable(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
}

/// All is well: what was acknowledged is there, once, and the live answers are those of the log.
async fn assert_well(name: &str, app: &TestApp, told: &Told, url: &str) {
    carried_out(app).await;
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
    unready(&app, &["the database cannot be opened yet"]).await;
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
    restarts(2, &[]).await;
}

/// The longest time from a database that answers to a service that is ready.
async fn restarts(count: usize, settings: &[&str]) -> Duration {
    let cluster = Cluster::start(settings);
    let app = Arc::new(home_over(&cluster.url()).await.serve().await);
    make_learner(&app).await;
    let load = Load::on(&app, Buyers::Few);
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        load.goes_on().await;
        cluster.stop(if number % 2 == 0 { Stop::Immediate } else { Stop::Fast });
        unready(&app, &["store: "]).await;
        cluster.start_again();
        slowest = slowest.max(ready(&app).await);
    }
    load.goes_on().await;
    let told = load.end().await;
    figures("restarts", &told, &format!("{count} restarts, ready at most {slowest:.1?} after the database"));
    assert!(told.refused > 0, "nobody noticed");
    assert_well("restarts", &app, &told, &cluster.url()).await;
    slowest
}

/// What an asynchronous standby may lose, and that the service does not go on as if it had not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_behind_loses_what_it_had_not_got_and_the_service_begins_anew() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby(&[]);
    let proxy = Proxy::to(&primary.socket_file()).await;
    let app = home_over(&proxy.url()).await.serve().await;
    make_learner(&app).await;
    standby.set(&["primary_conninfo = ''"]);
    standby.reload();
    alone(&primary).await;
    let (app, told) = busy_until(app, || primary.stop(Stop::Immediate)).await;
    standby.promote();
    proxy.set(Network::Good(standby.socket_file()));
    let (app, lost) = start_again_after_a_loss(app, &told).await;
    figures("asynchronous failover", &told, &format!("{} deliveries lost", lost.deliveries.len()));
    assert!(
        !lost.deliveries.is_empty(),
        "nothing was lost, so the test of synchronous failover proves nothing"
    );
    app.home.done(&["replay", "--verify"]);
    make_another(&app, "after").await;
}

/// Waits until no standby follows a server any more.
async fn alone(primary: &Cluster) {
    let mut connection = PgConnection::connect(&primary.url()).await.expect("it runs");
    let begun = Instant::now();
    let following = "SELECT count(*) FROM pg_stat_replication";
    while sqlx::query_scalar::<_, i64>(following).fetch_one(&mut connection).await.expect("it answers") > 0 {
        assert!(begun.elapsed() < HANG, "the standby goes on following");
        tokio::time::sleep(POLL).await;
    }
}

/// Load for a while, until `fault` is done to the store.
async fn busy_until(app: TestApp, fault: impl FnOnce()) -> (TestApp, Told) {
    let app = Arc::new(app);
    let load = Load::on(&app, Buyers::Few);
    load.goes_on().await;
    fault();
    let told = load.end().await;
    told.assert_right("before the loss");
    (Arc::into_inner(app).expect("nobody else has it"), told)
}

/// The service ends, since what it has read is not in the log any more; whoever watches over it starts it again.
async fn start_again_after_a_loss(mut app: TestApp, told: &Told) -> (TestApp, Lost) {
    assert_eq!(app.ended().await, Some(3), "{}", app.log());
    assert!(app.log().contains("the database has lost events that this process had read"), "{}", app.log());
    let app = app.home.serve().await;
    carried_out(&app).await;
    let lost = told.lost(&app).await;
    (app, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_loses_nothing_when_it_is_promoted_and_holds_writes_up_while_it_is_gone() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby(&[]);
    standby.set(&[&primary.as_upstream("second")]);
    standby.reload();
    primary.set(&["synchronous_standby_names = 'second'"]);
    primary.reload();
    let proxy = Proxy::to(&primary.socket_file()).await;
    let app = Arc::new(home_over(&proxy.url()).await.serve().await);
    make_learner(&app).await;
    let home = home_over(&standby.url()).await;
    home.done(&["explain", "mem_learner", "--video", BASIC]);
    assert_eq!(home.cli(&["member", "create"]).code, 3, "a standby was written to");

    let load = Load::on(&app, Buyers::Few);
    load.goes_on().await;
    standby.stop(Stop::Fast);
    unready(&app, &["store: ", "directory: "]).await;
    for_a_while(2_000).await;
    standby.start_again();
    let back = ready(&app).await;
    load.goes_on().await;

    primary.stop(Stop::Immediate);
    standby.promote();
    proxy.set(Network::Good(standby.socket_file()));
    let promoted = ready(&app).await;
    load.goes_on().await;
    let told = load.end().await;
    figures(
        "synchronous failover",
        &told,
        &format!("ready {back:.1?} after the standby was back, {promoted:.1?} after it was promoted"),
    );
    assert!(told.refused > 0, "nobody noticed");
    assert_well("synchronous failover", &app, &told, &standby.url()).await;
}

/// Connections of such a time never work again, so whoever kept them would have none left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_silent_holds_nobody_up_for_long_and_is_forgotten() {
    networks(&["silent"]).await;
}

/// The tables are locked until the connection is closed.
async fn locked(cluster: &Cluster) -> PgConnection {
    let mut locking = PgConnection::connect(&cluster.url()).await.expect("there is room");
    let lock = "BEGIN; LOCK TABLE inbox, people, events IN ACCESS EXCLUSIVE MODE";
    locking.execute(lock).await.expect("it is locked");
    locking
}

async fn networks(names: &[&str]) {
    let cluster = Cluster::start(&[]);
    let proxy = Proxy::to(&cluster.socket_file()).await;
    let app = Arc::new(home_over(&proxy.url()).await.serve().await);
    make_learner(&app).await;
    for name in names {
        let load = Load::on(&app, Buyers::Many);
        // So that all connections are in use when it happens.
        let held = locked(&cluster).await;
        for_a_while(1_500).await;
        proxy.set(match *name {
            "slow" => Network::Slow(cluster.socket_file(), Duration::from_secs(2)),
            "silent" => Network::Silent,
            _ => Network::Refusing,
        });
        held.close().await.expect("it is let go of");
        unready(&app, &["store: "]).await;
        for_a_while(3_000).await;
        proxy.set(Network::Good(cluster.socket_file()));
        let back = ready(&app).await;
        load.goes_on().await;
        let told = load.end().await;
        figures(name, &told, &format!("ready {back:.1?} after the network"));
        assert!(told.refused > 0, "{name}: nobody noticed");
        assert!(back < Duration::from_secs(30), "{name}: ready {back:?} after the network");
        assert_well(name, &app, &told, &cluster.url()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_takes_again_when_there_is_room_on_sqlite() {
    let Some(disk) = SmallDisk::of_megabytes(64) else { return };
    let url = format!("sqlite://{}", disk.folder().join("membership.db").display());
    let app = Arc::new(home_over(&url).await.serve().await);
    let told = full_disk("full disk under SQLite", &app, &disk).await;
    assert_eq!(told.lost(&app).await, Lost::default());
    assert!(!app.log().contains("panicked"));
    drop(app);
}

async fn full_disk(name: &str, app: &Arc<TestApp>, disk: &SmallDisk) -> Told {
    make_learner(app).await;
    let load = Load::on(app, Buyers::Few);
    load.goes_on().await;
    disk.fill();
    unready(app, &["store: "]).await;
    for_a_while(3_000).await;
    disk.clear();
    let back = ready(app).await;
    load.goes_on().await;
    let told = load.end().await;
    figures(name, &told, &format!("ready {back:.1?} after there was room"));
    assert!(told.refused > 0, "{name}: nobody noticed");
    assert!(back < Duration::from_secs(30), "{name}: ready {back:?} after there was room");
    told.assert_right(name);
    carried_out(app).await;
    make_another(app, "room").await;
    told
}

/// The service takes and carries out what comes now.
async fn make_another(app: &TestApp, name: &str) {
    let member = format!("mem_{name}");
    app.register(&member).await;
    let mut story = Story::new(name);
    bought(&mut story, &member, Price::BasicMonth, days_ago(1));
    app.deliver_all(&events(story)).await;
    assert_eq!(app.check(&member, BASIC).await["reason"], "subscription");
}
