//! The process is asked to stop: what was begun is finished, nothing acknowledged is lost, and it does not take long.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::app::{HANG, Home, Store, TestApp, deliver_again};
use tests::on_every_store;
use tests::raw::{Raw, webhook_head};
use tests::stripe::{event, now};
use tokio::task::JoinSet;

/// Ten seconds are allowed.
const GENEROUS: Duration = Duration::from_secs(30);

async fn seen() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn small(id: &str) -> String {
    event(id, "invoice.paid", now(), &json!({})).to_string()
}

on_every_store! {
    async fn a_webhook_that_was_being_sent_is_finished_and_kept(store: Store) {
        let home = Home::new(store).await;
        let mut app = home.serve().await;
        let body = small("evt_on_its_way");
        let mut sending = Raw::to(&app).await.expect("it connects");
        let (first, rest) = body.split_at(body.len() / 2);
        sending.send(webhook_head(&body, now()) + first).await.expect("it is sent");
        let resting = Raw::to(&app).await.expect("it connects");
        seen().await;
        app.signal("TERM");
        resting.until_closed().await;
        assert!(Raw::to(&app).await.is_err(), "a new connection is accepted");
        sending.send(rest).await.expect("it is sent");
        let answer = sending.hear().await.expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(app.ended().await, Some(0));

        let app = home.serve().await;
        app.settled().await;
        assert_eq!(app.delivery("evt_on_its_way").await["times_received"], 1);
    }
}

#[tokio::test]
async fn clients_that_are_stuck_do_not_hold_it_up() {
    let mut app = TestApp::on(Store::Sqlite).await;
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let mut body = Raw::to(&app).await.expect("it connects");
        body.send(webhook_head(&"a".repeat(9_999), now())).await.expect("it is sent");
        stuck.push(tokio::spawn(body.drip()));
        let mut head = Raw::to(&app).await.expect("it connects");
        head.send("GET / HTTP/1.1\r\nx-long: ").await.expect("it is sent");
        stuck.push(tokio::spawn(head.drip()));
        let mut unread = Raw::narrow(&app).await.expect("it connects");
        let large = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: test\r\n\r\n";
        unread.send(large.repeat(8)).await.expect("it is sent");
        std::mem::forget(unread);
    }
    seen().await;
    let begun = Instant::now();
    app.signal("TERM");
    assert_eq!(app.ended().await, Some(0), "{}", app.log());
    println!("stopped after {:.2?} beside stuck clients (10 s are allowed)", begun.elapsed());
    assert!(begun.elapsed() < GENEROUS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_who_asks_twice_does_not_wait() {
    let mut app = TestApp::on(Store::Sqlite).await;
    let mut body = Raw::to(&app).await.expect("it connects");
    body.send(webhook_head(&"a".repeat(9_999), now())).await.expect("it is sent");
    seen().await;
    app.signal("INT");
    let begun = Instant::now();
    while !app.log().contains("once more") {
        assert!(begun.elapsed() < HANG, "it is not asked to stop: {}", app.log());
        seen().await;
    }
    assert!(body.send("a").await.is_ok(), "the first time it waits for what was begun");
    app.signal("INT");
    assert_eq!(app.ended().await, Some(130));
}

#[tokio::test]
async fn a_balancer_sees_that_it_will_stop_before_it_does() {
    let mut app = Home::new(Store::Sqlite).await.with("SHUTDOWN_NOTICE", "3").serve().await;
    assert_eq!(app.get("/readyz").await.status, StatusCode::OK);
    app.signal("TERM");
    let begun = Instant::now();
    let report = loop {
        let reply = app.get("/readyz").await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        assert!(begun.elapsed() < GENEROUS, "readiness does not change");
    };
    assert_eq!(report.status, StatusCode::SERVICE_UNAVAILABLE);
    let told = report.body["detail"].as_str().unwrap_or_default();
    assert!(told.contains("stopping"), "{report:?}");
    let reply = app.post_signed(small("evt_late").as_bytes()).await;
    assert_eq!(reply.status, StatusCode::OK, "what still comes is answered");
    assert_eq!(app.ended().await, Some(0));
}

/// Stops a process in the midst of a burst in a way of one's choice, and returns what became of the deliveries once another
/// has carried out the rest, and how long that took.
async fn stopped_in_a_burst(signal: &str) -> (Vec<Value>, Duration) {
    let home = Home::new(Store::Postgres).await;
    // They take so long that some are in hand when it is told to stop.
    let mut one = home.clone().with("FAILPOINTS", "worker::settling=sleep(100)").serve_as("ingest").await;
    let api = home.serve_as("api").await;
    let mut sending = JoinSet::new();
    for number in 0..100 {
        let id = format!("evt_{number}");
        let body = event(&id, "payout.paid", now(), &json!({})).to_string();
        sending.spawn(deliver_again(one.signed(body)));
    }
    sending.join_all().await;
    let begun = Instant::now();
    while !api.deliveries("").await.iter().any(|delivery| delivery["attempts"] == 1) {
        assert!(begun.elapsed() < HANG, "it takes nothing");
    }
    one.signal(signal);
    one.ended().await;
    let begun = Instant::now();
    let other = home.serve_as("ingest").await;
    other.settled().await;
    let took = begun.elapsed();
    (api.deliveries("").await, took)
}

#[tokio::test]
async fn what_a_stopped_worker_had_taken_is_carried_out_by_another_process_as_if_it_had_not_been() {
    let (deliveries, took) = stopped_in_a_burst("TERM").await;
    println!("the rest was carried out {took:.2?} after the stop");
    assert_eq!(deliveries.len(), 100);
    for delivery in deliveries {
        assert_eq!(
            (&delivery["outcome"], &delivery["attempts"]),
            (&json!("ignored"), &json!(1)),
            "{delivery}"
        );
    }

    // One that is killed cannot give anything back, so its lease has to end first.
    let (deliveries, took) = stopped_in_a_burst("KILL").await;
    let again = deliveries.iter().filter(|delivery| delivery["attempts"] == 2).count();
    println!("the rest was carried out {took:.2?} after the kill; {again} had been taken");
    assert!(deliveries.len() == 100 && again > 0, "it had nothing in hand, so the stop shows nothing either");
}
