//! An event that cannot be read stops its own stream and nothing else, says so loudly, and counts again once it can be read.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, CATALOG, Price, Story, days_ago, events};

const HANG: Duration = Duration::from_mins(1);
/// Of an event that no version knows.
const POISON: &str = "SubscriptionTeleported";

fn subscription_of(name: &str) -> String {
    format!("sub_demo_{name}")
}

/// A member with an active Pro subscription.
async fn buy(app: &TestApp, name: &str) -> Story {
    let (member, mut story) = (format!("mem_{name}"), Story::new(name));
    app.register(&member).await;
    app.link(&member, story.customer_id()).await;
    story.create(Price::ProMonth, "active", days_ago(9));
    app.deliver_all(&events(story.clone())).await;
    assert_eq!(app.check(&member, ADVANCED).await["reason"], "subscription");
    story
}

/// Puts an event that no version knows after the last of a stream, and behind it the last event of another stream, made
/// to be of this one.
async fn poison(home: &Home, kind: &str, id: &str, follow: &str, replacing: [&str; 2]) {
    let end = format!(
        "(SELECT max(sequence) FROM events WHERE aggregate_type = '{kind}' AND aggregate_id = '{id}')"
    );
    let columns = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)";
    let copied = |event: &str, payload: &str, from: &str| {
        format!(
            "{columns} SELECT '{kind}', '{id}', {end} + 1, {event}, event_version, {payload}::jsonb, metadata FROM events \
             WHERE aggregate_type = '{kind}' AND aggregate_id = '{from}' AND event_type <> '{POISON}' ORDER BY sequence DESC LIMIT 1"
        )
    };
    home.sql(&copied(&format!("'{POISON}'"), &format!("'{{\"type\": \"{POISON}\"}}'"), id)).await;
    let [theirs, ours] = replacing;
    let payload = format!("replace(payload::text, '{theirs}', '{ours}')");
    home.sql(&copied("event_type", &payload, follow)).await;
}

/// Gives the event that could not be read the content of the one behind it.
async fn repair(home: &Home) {
    let trigger = if home.path("membership.db").exists() {
        "events_refuse_update"
    } else {
        "events_refuse_change ON events"
    };
    home.sql(&format!("DROP TRIGGER {trigger}")).await;
    home.sql(&format!(
        "UPDATE events SET (event_type, payload) = (SELECT event_type, payload FROM events AS behind \
         WHERE behind.aggregate_type = events.aggregate_type AND behind.aggregate_id = events.aggregate_id \
         AND behind.sequence = events.sequence + 1) WHERE event_type = '{POISON}'"
    ))
    .await;
}

/// Waits until so many streams stand still, which the service is ready in spite of.
async fn parked(app: &TestApp, count: usize) -> Value {
    let begun = Instant::now();
    loop {
        let report = app.get("/readyz").await;
        assert_eq!(report.status, StatusCode::OK, "{report:?}");
        if report.body["parked_streams"] == count {
            return report.body;
        }
        assert!(begun.elapsed() < HANG, "not {count} streams stand still: {report:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn check_of<'r>(report: &'r Value, name: &str) -> &'r Value {
    let checks = report["checks"].as_array().expect("there are checks");
    checks.iter().find(|check| check["name"] == name).expect("it is checked")
}

on_every_store! {
    async fn an_event_nobody_knows_parks_its_stream_and_nothing_else(store: Store) {
        let mut app = TestApp::on(store).await;
        let home = app.home.clone();
        let ada = buy(&app, "ada").await;
        let mut eve = buy(&app, "eve").await;
        eve.end(days_ago(2));
        app.deliver_all(&events(eve)).await;
        app.stop("TERM");
        let stream = format!("subscription/{}", subscription_of("ada"));
        let replacing = ["demo_eve", "demo_ada"];
        poison(&home, "subscription", &subscription_of("ada"), &subscription_of("eve"), replacing).await;
        let app = home.serve().await;

        // It is loud, and everybody else is served.
        let report = parked(&app, 1).await;
        let check = check_of(&report, "parked_streams");
        assert_eq!((&check["ok"], &check["required"]), (&json!(false), &json!(false)));
        assert!(check["detail"].as_str().is_some_and(|detail| detail.contains(&stream)), "{check}");
        let (begun, alarms) = (Instant::now(), || app.log().matches("stream parked").count());
        while alarms() < 2 {
            assert!(begun.elapsed() < HANG, "a read model is silent:\n{}", app.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(app.log().contains(&stream));
        buy(&app, "ben").await;
        assert_eq!(alarms(), 2, "once for each read model:\n{}", app.log());
        assert_eq!(app.check("mem_eve", ADVANCED).await["reason"], "ended");

        // What was known of her before the event stays; the end that came after it does not count.
        assert_eq!(app.check("mem_ada", ADVANCED).await["reason"], "subscription");
        for model in app.get("/v1/support/projections").await.body["data"].as_array().expect("there are read models") {
            let parked = &model["parked_streams"][0];
            assert_eq!(parked["stream"], stream, "{model}");
            assert!(parked["why"].as_str().is_some_and(|why| why.contains(POISON)), "{model}");
        }

        // What goes through her history says what is in its way.
        let support = "/v1/support/members/mem_ada";
        for path in [
            format!("{support}/timeline"),
            format!("{support}/explain?video={ADVANCED}"),
            format!("/v1/members/mem_ada/access/videos/{ADVANCED}?at=2026-01-01T00:00:00Z"),
        ] {
            let reply = app.get(&path).await;
            assert_eq!((reply.status.as_u16(), &reply.body["code"]), (500, &json!("unreadable_event")), "{reply:?}");
            let detail = reply.body["detail"].as_str().unwrap_or_default().to_owned();
            assert!(detail.contains(&subscription_of("ada")) && detail.contains(POISON), "{detail}");
        }
        let told = home.cli(&["explain", "mem_ada", "--video", ADVANCED]);
        assert!(told.code == 3 && told.err.contains(POISON), "{told:?}");
        assert_eq!(app.get(&format!("/v1/support/members/mem_ben/explain?video={ADVANCED}")).await.status, StatusCode::OK);

        // Nothing is decided on what cannot be read.
        let mut story = ada.clone();
        story.change_plan(Price::BasicMonth, days_ago(1));
        let news = events(story).pop().expect("there is one");
        let id = news["id"].as_str().unwrap_or_default().to_owned();
        app.deliver_all([&news]).await;
        let failed = app.delivery(&id).await;
        assert_eq!((&failed["outcome"], &failed["attempts"]), (&json!("failed"), &json!(1)), "{failed}");
        assert!(failed["detail"].as_str().is_some_and(|why| why.contains(POISON) && why.contains("sub_demo_ada")), "{failed}");

        // Nobody is told that all is equal.
        let told = home.cli(&["replay", "--verify"]);
        assert!(told.code == 1 && told.out.contains(&stream) && told.out.contains(POISON), "{told:?}");

        // Once it can be read, everything counts: also what came after it.
        repair(&home).await;
        let asked = app.send(Method::POST, "/v1/support/projections/redrive", None, "").await;
        assert_eq!((asked.status, &asked.body["parked_streams"]), (StatusCode::ACCEPTED, &json!(1)), "{asked:?}");
        let report = parked(&app, 0).await;
        assert_eq!(check_of(&report, "parked_streams")["ok"], true);
        assert_eq!(app.check("mem_ada", ADVANCED).await["reason"], "ended");
        let again = app.send(Method::POST, &format!("/v1/support/deliveries/{id}/replay"), None, "").await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
        app.settled().await;
        assert_ne!(app.delivery(&id).await["outcome"], "failed");
        home.done(&["replay", "--verify"]);
    }

    async fn a_parked_stream_goes_on_by_itself_in_a_process_that_can_read_it(store: Store) {
        let mut app = TestApp::on(store).await;
        let home = app.home.clone();
        buy(&app, "ada").await;
        let mut eve = buy(&app, "eve").await;
        eve.end(days_ago(2));
        app.deliver_all(&events(eve)).await;
        app.stop("TERM");
        let replacing = ["demo_eve", "demo_ada"];
        poison(&home, "subscription", &subscription_of("ada"), &subscription_of("eve"), replacing).await;
        let mut app = home.serve().await;
        parked(&app, 1).await;
        app.stop("TERM");
        repair(&home).await;
        let app = home.serve().await;
        parked(&app, 0).await;
        assert_eq!(app.check("mem_ada", ADVANCED).await["reason"], "ended");
        home.done(&["replay", "--verify"]);
    }

    async fn a_catalogue_that_cannot_be_read_on_stays_as_it_was(store: Store) {
        let mut app = TestApp::on(store).await;
        let home = app.home.clone();
        buy(&app, "ada").await;
        app.stop("TERM");
        home.done(&["catalog", "apply", &home.write("renamed.toml", &CATALOG.replace("Loops", "Rings")).display().to_string()]);
        poison(&home, "catalog", "catalog", "catalog", ["Rings", "Hoops"]).await;
        let app = home.serve().await;
        parked(&app, 1).await;
        assert!(app.log().contains("CATALOG was not applied"));
        for video in [ADVANCED, BASIC] {
            assert_eq!(app.check("mem_ada", video).await["reason"], "subscription");
        }
        let refused = home.cli(&["explain", "mem_ada", "--video", BASIC]);
        assert!(refused.code == 3 && refused.err.contains(POISON), "{refused:?}");
        repair(&home).await;
        app.send(Method::POST, "/v1/support/projections/redrive", None, "").await;
        parked(&app, 0).await;
        assert_eq!(app.check("mem_ada", BASIC).await["reason"], "subscription");
        home.done(&["replay", "--verify"]);
    }
}
