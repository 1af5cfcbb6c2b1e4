//! The directory is built anew beside the live one: nobody who reads notices, and a build that fails changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, Price, Story, days_ago, events};
use tokio::task::JoinSet;

const HANG: Duration = Duration::from_mins(1);
const READERS: usize = 3;
const REBUILDS: usize = 4;
const MEMBERS: usize = 20;

/// Members with a subscription each, of whom the first gets more and more.
async fn fill(app: &TestApp) {
    for number in 0..MEMBERS {
        let (member, mut story) = (format!("mem_{number}"), Story::new(&format!("reader{number}")));
        app.register(&member).await;
        app.link(&member, story.customer_id()).await;
        story.create(Price::ProMonth, "active", days_ago(9));
        app.deliver_all(&events(story)).await;
    }
}

/// What readers found out about the directory while it was read.
#[derive(Default)]
struct Found {
    reads: AtomicUsize,
    /// Answers that failed or knew less than one before.
    wrong: std::sync::Mutex<Vec<String>>,
    done: AtomicBool,
}

/// Asks through the directory until told to stop: how many subscriptions has the first member, and who are the others?
async fn read(app: Arc<TestApp>, found: Arc<Found>) {
    let (mut most, mut number) = (0, 0);
    while !found.done.load(Ordering::SeqCst) {
        number = (number + 1) % MEMBERS;
        for member in [0, number] {
            let path = format!("/v1/support/members/mem_{member}/explain?video={ADVANCED}");
            let reply = app.get(&path).await;
            let known = reply.body["sources"].as_array().map_or(0, Vec::len);
            let least = if member == 0 { most } else { 1 };
            found.reads.fetch_add(1, Ordering::SeqCst);
            if reply.status != StatusCode::OK || known < least {
                found
                    .wrong
                    .lock()
                    .expect("no reader panicked")
                    .push(format!("mem_{member}: {known} of {least}: {reply:?}"));
            }
            if member == 0 {
                most = most.max(known);
            }
        }
    }
}

/// Gives the first member one subscription after the other.
async fn write(app: Arc<TestApp>, found: Arc<Found>) {
    let story = Story::new("reader0");
    for number in 0.. {
        if found.done.load(Ordering::SeqCst) {
            return;
        }
        let mut more = story.another(&format!("reader0x{number}"));
        more.create(Price::ProMonth, "active", days_ago(3));
        app.deliver_all(&events(more)).await;
    }
}

fn crowd(app: &Arc<TestApp>, found: &Arc<Found>) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..READERS {
        crowd.spawn(read(app.clone(), found.clone()));
    }
    crowd.spawn(write(app.clone(), found.clone()));
    crowd
}

async fn until(what: &str, found: &Found, holds: impl Fn(&Found) -> bool) {
    let begun = Instant::now();
    while !holds(found) {
        assert!(begun.elapsed() < HANG, "{what} does not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has the running service rebuild its directory, and waits for the end of that.
async fn rebuild(app: &TestApp) {
    let begun = app.send(Method::POST, "/v1/support/projections/directory/rebuild", None, "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    let since = Instant::now();
    loop {
        let models = app.get("/v1/support/projections").await.body;
        let rebuild = &models["data"][1]["rebuild"];
        if rebuild["state"] != "running" {
            assert_eq!((&rebuild["state"], &rebuild["detail"]), (&json!("done"), &json!(null)), "{rebuild}");
            return;
        }
        assert!(since.elapsed() < HANG, "the rebuild does not end: {rebuild}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One generation of the directory is left, and it is the truth.
async fn assert_clean(home: &Home) {
    home.done(&["replay", "--verify"]);
    assert_eq!(home.count("generations").await, 1);
    assert_eq!(home.count("projections").await, 1);
    let strangers = "directory_members WHERE generation NOT IN (SELECT generation FROM projections)";
    assert_eq!(home.count(strangers).await, 0);
}

on_every_store! {
    async fn readers_notice_nothing_of_a_rebuild(store: Store) {
        let app = Arc::new(TestApp::on(store).await);
        fill(&app).await;
        let found = Arc::new(Found::default());
        let mut crowd = crowd(&app, &found);
        for round in 0..REBUILDS {
            let seen = found.reads.load(Ordering::SeqCst);
            until("reading", &found, |found| found.reads.load(Ordering::SeqCst) > seen + 5).await;
            // From another process where the store allows two that write.
            if store == tests::app::Store::Postgres && round % 2 == 0 {
                let home = app.home.clone();
                let told = tokio::task::spawn_blocking(move || home.done(&["rebuild", "--json"])).await;
                assert_eq!(told.expect("it ran").json()["object"], "rebuild");
            } else {
                rebuild(&app).await;
            }
        }
        assert_eq!(*found.wrong.lock().expect("no reader panicked"), Vec::<String>::new(), "{REBUILDS} rebuilds were noticed");

        // The same crowd notices a directory that is emptied and filled again in place.
        let begun = Instant::now();
        while found.wrong.lock().expect("no reader panicked").is_empty() {
            assert!(begun.elapsed() < HANG, "the crowd notices nothing, so it proves nothing");
            app.home.sql("INSERT INTO generations (projection) VALUES ('in place')").await;
            let emptied = "UPDATE projections SET position = 0, revision = revision + 1, \
                           generation = (SELECT max(generation) FROM generations)";
            app.home.sql(emptied).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        found.done.store(true, Ordering::SeqCst);
        while let Some(one) = crowd.join_next().await {
            one.expect("the crowd is well");
        }
        app.settled().await;
        rebuild(&app).await;
        assert_clean(&app.home).await;
    }

    async fn a_rebuild_that_fails_says_so_and_leaves_everything_as_it_was(store: Store) {
        let mut app = TestApp::on(store).await;
        fill(&app).await;
        let home = app.home.clone();
        app.stop("TERM");
        let boom = match store {
            tests::app::Store::Sqlite => "CREATE TRIGGER boom BEFORE INSERT ON directory_customers WHEN NEW.generation > 1 \
                 BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END",
            tests::app::Store::Postgres => "CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'the disk is on fire'; END $$; \
                 CREATE TRIGGER boom BEFORE INSERT ON directory_customers FOR EACH ROW WHEN (NEW.generation > 1) \
                 EXECUTE FUNCTION boom()",
        };
        home.sql(boom).await;
        for attempt in 1..=2 {
            let told = home.cli(&["rebuild"]);
            assert!(told.code == 3 && told.err.contains("the disk is on fire"), "{attempt}: {told:?}");
            assert_eq!(home.count("generations").await, 2, "what an earlier build left is gone");
            home.done(&["replay", "--verify"]);
        }
        let on = if store == tests::app::Store::Sqlite { "" } else { " ON directory_customers" };
        home.sql(&format!("DROP TRIGGER boom{on}")).await;
        let told = home.done(&["rebuild"]);
        assert!(told.out.contains("the directory was rebuilt"), "{told:?}");
        assert_clean(&home).await;
        let app = home.serve().await;
        assert_eq!(app.get(&format!("/v1/support/members/mem_1/explain?video={ADVANCED}")).await.status, StatusCode::OK);
    }

    async fn a_new_version_of_the_view_is_built_beside_the_old_one(store: Store) {
        let mut app = TestApp::on(store).await;
        fill(&app).await;
        let home = app.home.clone();
        app.stop("TERM");
        // As if the release that ran until now had kept another version.
        home.sql("UPDATE projections SET name = 'directory-v0'").await;
        let app = home.serve().await;
        assert_eq!(app.get(&format!("/v1/support/members/mem_1/explain?video={ADVANCED}")).await.status, StatusCode::OK);
        rebuild(&app).await;
        let rows = i64::try_from(MEMBERS).unwrap_or_default();
        for name in ["directory-v0", "directory-v2"] {
            let of = format!("directory_members WHERE generation = (SELECT generation FROM projections WHERE name = '{name}')");
            assert_eq!(home.count(&of).await, rows, "{name}");
        }
        home.done(&["replay", "--verify"]);
    }
}

#[tokio::test]
async fn a_file_that_a_service_writes_to_is_rebuilt_by_that_service() {
    let app = TestApp::on(tests::app::Store::Sqlite).await;
    let told = app.home.cli(&["rebuild"]);
    assert!(told.code == 3 && told.err.contains("/v1/support/projections/directory/rebuild"), "{told:?}");
}
