//! The command line: what it answers, how it ends, and what it refuses.

use chrono::{SubsecRound, TimeDelta};
use domain::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp, Told};
use tests::on_every_store;
use tests::stripe::{
    ADVANCED, BASIC, CATALOG, FREE, Price, SECRETS, Story, bought, days_ago, events, rfc3339,
};

fn assert_one_line(told: &Told, code: i32, words: &[&str]) {
    assert_eq!(told.code, code, "{told:?}");
    assert_eq!(told.err.trim_end().lines().count(), 1, "{told:?}");
    for word in words {
        assert!(told.err.contains(word), "no {word:?} in {told:?}");
    }
}

/// A service with a Basic member, and what was delivered about her.
async fn with_ada(store: Store) -> (TestApp, Vec<Value>) {
    let app = TestApp::on(store).await;
    app.register("mem_ada").await;
    let mut story = Story::new("ada");
    bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(5));
    let events = events(story);
    app.deliver_all(&events).await;
    (app, events)
}

on_every_store! {
    async fn deliveries_are_listed_shown_and_looked_at_again(store: Store) {
        let (mut app, events) = with_ada(store).await;
        let mut story = Story::new("stranger");
        story.create(Price::BasicMonth, "active", days_ago(3));
        let unknown = tests::stripe::events(story).remove(0);
        app.deliver_all([&unknown]).await;
        app.stop("TERM");
        let home = &app.home;
        let id = unknown["id"].as_str().expect("an id");
        let listed = home.done(&["deliveries", "list", "--outcome", "parked", "--reason", "unknown_customer"]);
        assert_eq!(listed.out.lines().count(), 1, "{listed:?}");
        for part in [id, "cus_demo_stranger", "parked", "unknown_customer"] {
            assert!(listed.out.contains(part), "no {part} in {listed:?}");
        }
        let first = home.done(&["deliveries", "list", "--limit", "1"]).out;
        let before = home.done(&["deliveries", "list", "--before", id]).out;
        assert!(first.contains(id) && !before.contains(id) && before.lines().count() == events.len(), "{before}");

        let why = "--why=the link is to come";
        let many = home.done(&["deliveries", "replay", "--outcome", "parked", "--type", "invoice.paid", why]);
        assert_eq!(many.out, "0 deliveries looked at again, 0 left\n");
        let many = home.done(&["--json", "deliveries", "replay", "--outcome", "parked", why]).json();
        assert_eq!((&many["replayed"], &many["left"]), (&json!(1), &json!(0)));
        let shown = home.done(&["deliveries", "show", id]).out;
        for part in ["redriven by operator: the link is to come", "  parked unknown_customer: "] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        let one = home.done(&["--json", "deliveries", "replay", id, why]).json();
        let steps = one["steps"].as_array().expect("steps");
        let kinds: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["parked", "redriven", "parked", "redriven", "parked"]);

        for (arguments, part) in [
            (vec!["deliveries", "show", "evt_none"], "evt_none"),
            (vec!["deliveries", "replay", "evt_none", why], "evt_none"),
            (vec!["deliveries", "replay", id, "--why", " "], "--why"),
            (vec!["deliveries", "replay", "--outcome", "pending", why], "--outcome"),
        ] {
            assert_one_line(&home.cli(&arguments), 2, &[part]);
        }
        for arguments in [vec!["list", "--outcome", "lost"], vec!["replay", id, "--outcome", "failed", why], vec!["replay", why]] {
            let told = home.cli(&[vec!["deliveries"], arguments].concat());
            assert_eq!(told.code, 2, "{told:?}");
        }
    }

    async fn explain_ends_with_0_for_yes_1_for_no_2_for_a_bad_question_and_names_the_events(store: Store) {
        let (app, events) = with_ada(store).await;
        let home = &app.home;
        for (arguments, code) in [
            (vec!["explain", "mem_ada", "--video", BASIC], 0),
            (vec!["explain", "mem_ada", "--video", FREE], 0),
            (vec!["explain", "mem_ada", "--video", ADVANCED], 1),
            (vec!["explain", "mem_ada", "--video", "nothing"], 2),
            (vec!["explain", "mem_nobody", "--video", BASIC], 2),
            (vec!["explain", "ada", "--video", BASIC], 2),
            (vec!["explain", "mem_ada"], 2),
            (vec!["explain", "mem_ada", "--video", BASIC, "--at", "yesterday"], 2),
            (vec!["explain", "mem_ada", "--video", BASIC, "--colour", "blue"], 2),
        ] {
            let told = home.cli(&arguments);
            assert_eq!(told.code, code, "{arguments:?}: {told:?}");
        }
        let decider = events[2]["id"].as_str().unwrap_or_default();
        let told = home.cli(&["explain", "mem_ada", "--video", BASIC]);
        assert!(told.out.starts_with("ALLOWED (subscription)"), "{}", told.out);
        assert!(told.out.contains(decider), "{decider} is not in {}", told.out);
        let told = home.cli(&["explain", "mem_ada", "--video", ADVANCED]);
        assert!(told.out.starts_with("DENIED (plan_too_low)"), "{}", told.out);
        assert!(told.out.contains(decider), "{decider} is not in {}", told.out);

        // What was true, and what was known.
        let at = rfc3339(days_ago(6));
        assert_eq!(home.cli(&["explain", "mem_ada", "--video", BASIC, "--at", &at]).code, 1);
        let at = rfc3339(days_ago(4));
        assert_eq!(home.cli(&["explain", "mem_ada", "--video", BASIC, "--at", &at]).code, 0);
        let now = rfc3339(SystemClock.now() + TimeDelta::seconds(1));
        let known = home.cli(&["explain", "mem_ada", "--video", BASIC, "--at", &at, "--known-at", &now]);
        assert_eq!(known.code, 0, "{known:?}");
    }

    async fn before_anything_was_recorded_nothing_was_known_of_her(store: Store) {
        let (app, _) = with_ada(store).await;
        let at = rfc3339(days_ago(4));
        let told = app.home.cli(&["explain", "mem_ada", "--video", BASIC, "--at", &at, "--known-at", &at, "--json"]);
        assert_eq!((told.code, &told.json()["decision"]["reason"]), (1, &json!("no_membership")), "{told:?}");
    }

    async fn the_timeline_tells_what_happened_oldest_first(store: Store) {
        let (app, events) = with_ada(store).await;
        let told = app.home.done(&["timeline", "mem_ada", "--json"]).json();
        let entries = told.as_array().cloned().unwrap_or_default();
        let moments: Vec<_> = entries.iter().map(|entry| entry["occurred_at"].as_str().unwrap_or_default()).collect();
        assert!(moments.is_sorted(), "{moments:?}");
        for event in &events {
            assert!(entries.iter().any(|entry| entry["cause"] == event["id"]), "{} is not in {told:#}", event["id"]);
        }
        let words = app.home.done(&["timeline", "mem_ada"]);
        assert_eq!(words.out.lines().count(), entries.len(), "{}", words.out);
        assert_eq!(app.home.cli(&["timeline", "mem_nobody"]).code, 2);
    }

    async fn a_catalogue_is_previewed_without_change_and_then_applied(store: Store) {
        let (app, _) = with_ada(store).await;
        let (home, log) = (app.home.clone(), app.log());
        drop(app);
        let explain = |video| home.cli(&["explain", "mem_ada", "--video", video]).code;
        // The basic video goes to Pro alone, the advanced one is opened to Basic.
        let swapped = CATALOG
            .replacen("plans = [\"basic\", \"pro\"]", "plans = [\"PRO\"]", 1)
            .replacen("plans = [\"pro\"]", "plans = [\"basic\", \"pro\"]", 1)
            .replacen("[\"PRO\"]", "[\"pro\"]", 1);
        home.write("swapped.toml", &swapped);

        let told = home.done(&["catalog", "apply", "swapped.toml", "--dry-run"]);
        assert!(told.out.contains("mem_ada gains projections"), "{log} {}", told.out);
        assert!(told.out.contains("mem_ada loses loops"), "{}", told.out);
        let data = home.done(&["catalog", "apply", "swapped.toml", "--dry-run", "--json"]).json();
        assert_eq!(data["effects"], json!([{ "member": "mem_ada", "gains": [ADVANCED], "loses": [BASIC] }]), "{data}");
        assert_eq!((explain(BASIC), explain(ADVANCED)), (0, 1), "a preview changed something");

        home.done(&["catalog", "apply", "swapped.toml"]);
        assert_eq!((explain(BASIC), explain(ADVANCED)), (1, 0));
        let again = home.done(&["catalog", "apply", "swapped.toml", "--json"]).json();
        assert_eq!(again["events"], json!([]), "{again}");
        let preview = home.done(&["catalog", "apply", "swapped.toml", "--dry-run", "--json"]).json();
        assert_eq!((&preview["events"], &preview["effects"]), (&json!([]), &json!([])), "{preview}");
        home.done(&["replay", "--verify"]);
        let before = (SystemClock.now() - TimeDelta::hours(1)).trunc_subsecs(0);
        assert_eq!(home.explain_at("mem_ada", BASIC, before)["decision"]["reason"], "subscription");
    }

    async fn a_catalogue_with_a_mistake_is_refused_with_file_line_and_reason(store: Store) {
        let home = Home::new(store).await;
        home.done(&["catalog", "apply", "catalog.toml"]);
        // What is written, what is written instead, which of its lines is named, and what is said.
        let cases = [
            ("rank = 2", "rank = \"two\"", "two", "invalid type"),
            ("\"price_demo_pro_month\", ", "\"price_demo_basic_month\", ", "price_demo_pro_year", "price_demo_basic_month"),
            ("id = \"projections\"", "id = \"loops\"  # again", "again", "loops"),
            ("plans = [\"pro\"]", "plans = [\"gold\"]", "gold", "gold"),
            ("\"14d\"", "\"soon\"", "soon", "soon"),
            ("vimeo_id = \"76979872\"", "vimeo = \"1\"", "vimeo = ", "vimeo"),
            ("id = \"hello\"", "id = \"Hello World\"", "Hello World", "slug"),
            ("[[roadmaps]]\nid = \"start\"", "[[roadmaps]\nid = \"start\"", "[[roadmaps]\n", "]"),
        ];
        for (right, wrong, place, words) in cases {
            let text = CATALOG.replacen(right, wrong, 1);
            let before = text.find(place).map_or("", |place| &text[..place]);
            let line = 1 + before.matches('\n').count();
            home.write("mistake.toml", &text);
            for arguments in [vec!["catalog", "apply", "mistake.toml"], vec!["catalog", "apply", "mistake.toml", "--dry-run"]] {
                let told = home.cli(&arguments);
                assert_eq!(told.code, 2, "{told:?}");
                assert!(told.err.contains(&format!("mistake.toml:{line}: ")), "line {line} is not named in {}", told.err);
                assert!(told.err.contains(words), "{words} is not in {}", told.err);
            }
        }
        assert_one_line(&home.cli(&["catalog", "apply", "absent.toml"]), 2, &["absent.toml"]);
        let again = home.done(&["catalog", "apply", "catalog.toml", "--json"]).json();
        assert_eq!(again["events"], json!([]), "a refused catalogue left something: {again}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_had_ends_a_command_with_3_in_one_line() {
    let home = Home::new(Store::Sqlite).await;
    let explain = ["explain", "mem_ada", "--video", BASIC];
    let closed = home.clone().with("DATABASE_URL", "postgres://ada:hush-hush@127.0.0.1:1/none");
    let told = closed.cli(&explain);
    assert_one_line(&told, 3, &[]);
    assert!(!told.err.contains("hush-hush"), "a password was told: {told:?}");
    home.write("no-database.db", "this is a letter, not a database, and it is long enough to be looked at");
    let letter = home.clone().with("DATABASE_URL", "sqlite://no-database.db");
    assert_one_line(&letter.cli(&explain), 3, &["no-database.db"]);
}

#[tokio::test]
async fn a_question_to_a_file_that_is_not_there_ends_with_3_and_makes_none() {
    let home = Home::new(Store::Sqlite).await.with("DATABASE_URL", "sqlite://absent.db");
    for arguments in [
        vec!["explain", "mem_ada", "--video", BASIC],
        vec!["timeline", "mem_ada"],
        vec!["member", "list"],
        vec!["replay", "--verify"],
    ] {
        let told = home.cli(&arguments);
        assert!(!home.path("absent.db").exists(), "{arguments:?} made a file: {told:?}");
        assert_one_line(&told, 3, &["absent.db"]);
    }
}

#[tokio::test]
async fn files_are_carried_out_beside_a_service_that_takes_from_the_same_inbox() {
    let (app, _) = with_ada(Store::Postgres).await;
    let home = &app.home;
    for round in 0..20 {
        let mut story = Story::new("ada").another(&format!("files{round}"));
        story.create(Price::BasicMonth, "active", days_ago(3)).end(days_ago(2));
        let names: Vec<String> = events(story)
            .iter()
            .enumerate()
            .map(|(number, event)| {
                let name = format!("{round}-{number}.json");
                home.write(&name, &event.to_string());
                name
            })
            .collect();
        let told = home.done(&["ingest", &names[0], &names[1], "--unsigned"]);
        for line in told.out.lines() {
            // Each process may have taken one of them, and the end may have come first.
            let carried_out = ["  applied  ", "  stale  "].iter().any(|outcome| line.contains(outcome));
            assert!(carried_out, "round {round}: {line}");
        }
    }
}

#[tokio::test]
async fn a_second_writer_on_a_file_is_refused_while_questions_are_answered() {
    let (app, _) = with_ada(Store::Sqlite).await;
    let home = &app.home;
    for arguments in [
        vec!["member", "create", "--id", "mem_eve"],
        vec!["member", "link", "mem_ada", "--customer", "cus_other"],
        vec!["catalog", "apply", "catalog.toml"],
        vec!["ingest", "catalog.toml", "--unsigned"],
        vec!["migrate"],
    ] {
        assert_one_line(&home.cli(&arguments), 3, &["another process", "membership.db"]);
    }
    let second = home.clone().with("LISTEN", "127.0.0.1:0").cli(&["serve"]);
    assert_eq!(second.code, 3, "{second:?}");
    assert!(second.err.contains("another process"), "{second:?}");
    for (arguments, code) in [
        (vec!["explain", "mem_ada", "--video", BASIC], 0),
        (vec!["explain", "mem_ada", "--video", ADVANCED], 1),
        (vec!["timeline", "mem_ada"], 0),
        (vec!["member", "list"], 0),
        (vec!["replay", "--verify"], 0),
        (vec!["catalog", "apply", "catalog.toml", "--dry-run"], 0),
    ] {
        let told = home.cli(&arguments);
        assert_eq!(told.code, code, "{arguments:?}: {told:?}");
    }
    app.deliver_all([&json!({ "id": "evt_after", "type": "ping", "created": 1 })]).await;
}

#[tokio::test]
async fn a_view_that_was_tampered_with_is_found_with_its_member_and_event() {
    let (app, _) = with_ada(Store::Sqlite).await;
    app.register("mem_ben").await;
    let home = app.home.clone();
    let file = home.path("membership.db");
    let mut app = app;
    assert_eq!(app.stop("TERM"), Some(0));
    home.done(&["replay", "--verify"]);
    let tamper = |sql: &str| {
        let database = rusqlite::Connection::open(&file).expect("the file can be opened");
        assert!(database.execute(sql, []).expect("the row can be changed") > 0, "{sql} changed nothing");
    };
    for (sql, row) in [
        (
            "UPDATE directory_subscriptions SET standing = replace(standing, '\"active\"', '\"unpaid\"')",
            "subscription sub_demo_ada",
        ),
        ("UPDATE directory_customers SET member = 'mem_ben'", "customer cus_demo_ada"),
        ("DELETE FROM directory_customers", "customer cus_demo_ada"),
        ("DELETE FROM directory_subscriptions", "subscription sub_demo_ada"),
        ("DELETE FROM directory_members WHERE member = 'mem_ada'", "member mem_ada"),
    ] {
        let copy = std::fs::read(&file).expect("the file can be read");
        tamper(sql);
        let told = home.cli(&["replay", "--verify"]);
        assert_eq!(told.code, 1, "{sql}: {told:?}");
        let data = home.cli(&["replay", "--verify", "--json"]);
        let (position, member) =
            (&data.json()["difference"]["position"], &data.json()["difference"]["member"]);
        assert_eq!(*member, "mem_ada", "{sql}: {data:?}");
        let position = position.as_str().unwrap_or_default();
        for words in [row, "mem_ada", position, "DIFFERENT"] {
            assert!(told.out.contains(words), "{sql}: no {words} in {}", told.out);
        }
        std::fs::write(&file, copy).expect("the file can be put back");
        home.done(&["replay", "--verify"]);
    }
}

#[tokio::test]
async fn a_bad_setting_stops_the_start_with_one_line_that_names_it() {
    let home = Home::new(Store::Sqlite).await;
    for (name, value) in [
        ("STRIPE_WEBHOOK_SECRETS", ""),
        ("STRIPE_WEBHOOK_SECRETS", "sk_test_1"),
        ("LISTEN", "here"),
        ("DATABASE_URL", "mysql://ada:hush-hush@here/db"),
        ("STRIPE_LIVEMODE", "maybe"),
        ("SERVICE_TOKENS", "shop:fly:hush-hush-hush-hush"),
        ("EVENT_STORE_URL", "kurrentdb://here"),
    ] {
        let told = home.clone().with("LISTEN", "127.0.0.1:0").with(name, value).cli(&["serve"]);
        assert_one_line(&told, 2, &[name]);
        assert!(!told.err.contains("hush-hush"), "a secret was told: {told:?}");
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = held.local_addr().expect("it has an address").to_string();
    let told = home.with("LISTEN", &address).cli(&["serve"]);
    assert_one_line(&told, 2, &["LISTEN", &address]);
    assert!(!SECRETS.iter().any(|secret| told.err.contains(secret)));
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_used_stops_the_start_with_one_line_before_anything_is_made() {
    let home = Home::new(Store::Sqlite).await.with("LISTEN", "127.0.0.1:0");
    home.write("mistake.toml", "[[plans]]\nid = 7\n");
    for (file, words) in [("absent.toml", "absent.toml"), ("mistake.toml", "mistake.toml:2:")] {
        let told = home.clone().with("CATALOG", file).cli(&["serve"]);
        assert_one_line(&told, 2, &["CATALOG", words]);
    }
}
