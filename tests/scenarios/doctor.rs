//! `doctor` names what is wrong, one line each, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::app::{HANG, Home, Store, TestApp, Told};
use tests::on_every_store;
use tests::stripe::{CATALOG, Price, Story, days_ago, events};

/// What was found, without what the tests' own cluster is without on purpose.
fn found(told: &Told) -> Vec<Value> {
    let checks = told.json()["checks"].as_array().cloned().unwrap_or_default();
    assert!(!checks.is_empty(), "{told:?}");
    checks.into_iter().filter(|finding| finding["check"] != "durability").collect()
}

fn verdict<'f>(findings: &'f [Value], check: &str) -> &'f str {
    let of_it = findings.iter().filter(|finding| finding["check"] == check);
    let verdicts: Vec<_> = of_it.map(|finding| finding["verdict"].as_str().unwrap_or_default()).collect();
    ["problem", "warning", "ok"]
        .into_iter()
        .find(|verdict| verdicts.contains(verdict))
        .unwrap_or("not looked at")
}

/// The one thing that is wrong, which has to be `check` and say these words.
fn assert_named(home: &Home, check: &str, expected: &str, words: &[&str]) {
    let told = home.cli(&["doctor", "--json"]);
    let findings = found(&told);
    let wrong: Vec<_> = findings.iter().filter(|finding| finding["verdict"] == expected).collect();
    let others = wrong.iter().filter(|finding| finding["check"] != check).count();
    assert!(!wrong.is_empty() && others == 0, "{check}: {findings:#?}");
    for word in words {
        assert!(wrong.iter().any(|finding| finding.to_string().contains(word)), "no {word:?} in {wrong:#?}");
    }
    for finding in wrong {
        assert!(finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
    }
    assert_eq!(told.code, i32::from(told.json()["verdict"] == "problem"), "{told:?}");
    assert!(told.code == 1 || expected != "problem", "{told:?}");
}

async fn execute(home: &Home, sql: &str) {
    let url = home.setting("DATABASE_URL");
    if let Some(path) = url.strip_prefix("sqlite://") {
        Connection::open(path).and_then(|connection| connection.execute_batch(sql)).expect(sql);
    } else {
        let pool = PgPool::connect(url).await.expect("the database can be reached");
        sqlx::raw_sql(sql).execute(&pool).await.expect(sql);
        pool.close().await;
    }
}

/// A place where the service has run and been stopped.
async fn stopped(store: Store) -> Home {
    let mut app = TestApp::on(store).await;
    app.register("mem_ada").await;
    assert_eq!(app.stop("TERM"), Some(0));
    alone(&app.home)
}

/// The same place, at an address where nobody listens.
fn alone(home: &Home) -> Home {
    home.clone().with("LISTEN", "127.0.0.1:1")
}

fn path(home: &Home) -> String {
    home.setting("DATABASE_URL").trim_start_matches("sqlite://").to_owned()
}

on_every_store! {
    async fn of_an_installation_that_is_well_nothing_is_named_running_or_stopped(store: Store) {
        let mut app = TestApp::on(store).await;
        app.register("mem_ada").await;
        let running = app.home.clone().with("LISTEN", app.url.trim_start_matches("http://"));
        for deep in [&["doctor", "--json"][..], &["doctor", "--json", "--deep"]] {
            let told = running.cli(deep);
            let findings = found(&told);
            assert!(findings.iter().all(|finding| finding["verdict"] == "ok"), "{findings:#?}");
            let service = findings.iter().find(|finding| finding["check"] == "service").map(ToString::to_string);
            assert!(service.is_some_and(|service| service.contains("is ready")), "{findings:#?}");
            assert!(findings.len() >= 9, "{findings:#?}");
            // The tests' cluster keeps nothing safe, which is named; a file does.
            assert_eq!(told.code, i32::from(store == Store::Postgres), "{told:?}");
        }
        let lines = running.cli(&["doctor"]);
        assert!(lines.out.lines().all(|line| line.starts_with("ok") || line.contains("fsync")), "{}", lines.out);
        if store == Store::Sqlite {
            assert!(lines.out.contains("runs and writes to it"), "{}", lines.out);
        }

        assert_eq!(app.stop("TERM"), Some(0));
        let before = (store == Store::Sqlite).then(|| fs::read(path(&running)).expect("the file can be read"));
        let findings = found(&alone(&running).cli(&["doctor", "--json", "--deep"]));
        assert!(findings.iter().all(|finding| finding["verdict"] == "ok"), "{findings:#?}");
        let after = (store == Store::Sqlite).then(|| fs::read(path(&running)).expect("the file can be read"));
        assert!(before == after, "it changed the file");
    }

    async fn settings_are_named_all_at_once_and_a_file_that_is_none_too(store: Store) {
        let home = stopped(store).await;
        let wrong = home.clone().with("STRIPE_LIVEMODE", "perhaps").with("PUBLIC_URL", "here").with("SESSION_KEYS", "x");
        assert_named(&wrong, "settings", "problem", &["STRIPE_LIVEMODE", "PUBLIC_URL", "SESSION_KEYS"]);
        home.write("membership.toml", "colour = \"blue\"");
        let told = home.cli(&["doctor"]);
        assert!(told.code == 1 && told.out.contains("colour is not a setting"), "{told:?}");
    }

    async fn a_catalogue_file_that_cannot_be_used_or_is_not_applied_is_named(store: Store) {
        let home = stopped(store).await;
        let other = home.clone().with_catalog(&CATALOG.replace("name = \"Pro\"", "name = \"Professional\""));
        assert_named(&other, "catalogue", "warning", &["differs", "1 things"]);
        let broken = home.with_catalog(&CATALOG.replace("rank = 2", "rank = 1"));
        assert_named(&broken, "catalogue", "problem", &["catalog.toml:", "the same rank"]);
    }

    async fn tables_of_another_release_are_named(store: Store) {
        let home = stopped(store).await;
        let (older, newer) = match store {
            Store::Sqlite => ("PRAGMA user_version = 1", "PRAGMA user_version = 99"),
            Store::Postgres => (
                "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
                "UPDATE _sqlx_migrations SET checksum = '\\x00'",
            ),
        };
        execute(&home, older).await;
        assert_named(&home, "tables", "problem", &["older release", "membership migrate"]);
        if store == Store::Sqlite {
            execute(&home, newer).await;
            assert_named(&home, "tables", "problem", &["newer release"]);
        }
    }

    async fn an_event_that_nobody_can_read_is_named(store: Store) {
        let home = stopped(store).await;
        let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                      SELECT 'member', 'mem_odd', 1, 'MemberPainted', '1', '{\"type\":\"MemberPainted\"}', metadata FROM events LIMIT 1";
        execute(&home, insert).await;
        if store == Store::Postgres {
            execute(&home, "UPDATE watermark SET position = (SELECT max(position) FROM events)").await;
        }
        let findings = found(&home.cli(&["doctor", "--json"]));
        assert_eq!(verdict(&findings, "log"), "problem", "{findings:#?}");
        assert!(json!(findings).to_string().contains("MemberPainted"), "{findings:#?}");
    }

    async fn deliveries_that_are_parked_failed_or_have_waited_long_are_named(store: Store) {
        let mut app = TestApp::on(store).await;
        let mut story = Story::new("stranger");
        story.create(Price::BasicMonth, "active", days_ago(2));
        app.deliver_all(&events(story)).await;
        assert_eq!(app.stop("TERM"), Some(0));
        let home = alone(&app.home);
        assert_named(&home, "deliveries", "warning", &["parked", "outcome=parked"]);
        execute(&home, "UPDATE inbox SET outcome = 'failed'").await;
        assert_named(&home, "deliveries", "problem", &["1 could not be carried out"]);
        let long_ago = if store == Store::Sqlite { "1000000" } else { "now() - interval '1 hour'" };
        let sql = format!("UPDATE inbox SET outcome = 'pending', settled_at = NULL, received_at = {long_ago}");
        execute(&home, &sql).await;
        assert_named(&home, "deliveries", "problem", &["1 wait", "nobody carries them out"]);
    }

    async fn a_program_that_is_not_this_service_at_its_address_is_named(store: Store) {
        let home = stopped(store).await;
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = other.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for stream in other.incoming().flatten() {
                std::io::Read::read(&mut &stream, &mut [0; 1_024]).ok();
                std::io::Write::write_all(&mut &stream, b"HTTP/1.0 200 OK\r\n\r\nhello").ok();
            }
        });
        assert_named(&home.with("LISTEN", &address), "service", "problem", &["not this service's answer"]);
    }
}

#[tokio::test]
async fn a_file_that_others_can_read_that_is_missing_or_that_is_damaged_is_named() {
    let home = stopped(Store::Sqlite).await;
    fs::set_permissions(path(&home), fs::Permissions::from_mode(0o644)).expect("the mode can be changed");
    assert_named(&home, "permissions", "problem", &["chmod 600"]);
    fs::set_permissions(path(&home), fs::Permissions::from_mode(0o600)).expect("the mode can be changed");

    let missing = home.clone().with("DATABASE_URL", "sqlite://nowhere.db");
    assert_named(&missing, "store", "problem", &["there is no database at nowhere.db"]);
    assert!(!home.path("nowhere.db").exists(), "it made one");

    let mut bytes = fs::read(path(&home)).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    fs::write(path(&home), bytes).expect("the file can be written");
    let findings = found(&home.cli(&["doctor", "--json"]));
    assert_eq!(verdict(&findings, "integrity"), "problem", "{findings:#?}");
}

#[tokio::test]
async fn a_lock_that_a_killed_process_left_is_told_and_harmless() {
    let mut app = TestApp::on(Store::Sqlite).await;
    assert_eq!(app.stop("KILL"), None);
    let told = alone(&app.home).cli(&["doctor"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("ended without being asked to"), "{}", told.out);
}

#[tokio::test]
async fn a_database_that_is_not_there_and_one_that_forgets_are_named() {
    let home = alone(&Home::new(Store::Postgres).await);
    let empty = home.cli(&["doctor", "--json"]);
    assert_eq!(verdict(&found(&empty), "tables"), "problem", "{empty:?}");
    assert!(empty.out.contains("fsync, full_page_writes is off"), "{}", empty.out);
    let gone = home.clone().with("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
    assert_named(&gone, "store", "problem", &["nothing on 127.0.0.1 cannot be reached"]);
    home.done(&["migrate"]);
    assert_eq!(verdict(&found(&home.cli(&["doctor", "--json"])), "tables"), "ok");
}

#[tokio::test]
async fn a_transaction_that_stands_still_and_holds_up_readers_is_named() {
    let app = TestApp::on(Store::Postgres).await;
    app.register("mem_ada").await;
    let pool = PgPool::connect(app.home.setting("DATABASE_URL")).await.expect("the database can be reached");
    let mut open = pool.begin().await.expect("a transaction");
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                  SELECT 'member', 'mem_slow', 1, event_type, event_version, payload, metadata FROM events LIMIT 1";
    sqlx::query(insert).execute(&mut *open).await.expect("it is inserted");
    let begun = Instant::now();
    let told = loop {
        let told = app.home.cli(&["doctor", "--json"]);
        if verdict(&found(&told), "transactions") != "ok" {
            break told;
        }
        assert!(begun.elapsed() < HANG, "{told:?}");
    };
    let findings = found(&told);
    assert_eq!(verdict(&findings, "transactions"), "problem", "{findings:#?}");
    assert_eq!(verdict(&findings, "watermark"), "problem", "{findings:#?}");
    assert!(told.out.contains("pg_terminate_backend"), "{}", told.out);
    open.rollback().await.expect("it is rolled back");
}
