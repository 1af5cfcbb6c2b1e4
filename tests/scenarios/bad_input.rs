//! Whatever comes in, the service answers as agreed, keeps what was signed, and goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::on_every_store;
use tests::stripe::{BASIC, Price, SECRETS, Story, bought, changed, days_ago, event, events, now, rfc3339};
use tokio::sync::Semaphore;
use webhook_ingest::routes::MOST_BYTES;
use webhook_ingest::stripe::signature::sign;

/// The service still takes and carries out good deliveries, and nothing has panicked.
async fn assert_goes_on(app: &TestApp, name: &str) {
    let member = format!("mem_{name}");
    app.register(&member).await;
    let mut story = Story::new(name);
    bought(&mut story, &member, Price::BasicMonth, days_ago(1));
    app.deliver_all(&events(story)).await;
    assert_eq!(app.check(&member, BASIC).await["reason"], "subscription");
    assert!(!app.log().contains("panicked"), "{}", app.log());
}

/// What is answered to a webhook of which `rest` is all that is sent after its first headers.
fn answer_to(app: &TestApp, rest: &str) -> String {
    let address = app.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the service listens");
    let head = format!("POST /webhooks/stripe HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    stream.write_all(format!("{head}{rest}").as_bytes()).expect("it is sent");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a limit can be set");
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        answer.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn seen(name: &str) -> Value {
    let mut story = Story::new(name);
    story.create(Price::BasicMonth, "active", days_ago(1));
    events(story).remove(0)
}

on_every_store! {
    async fn what_is_not_signed_by_us_is_refused_and_not_kept(store: Store) {
        let app = TestApp::on(store).await;
        let text = seen("forged").to_string();
        let body = text.as_bytes();
        let good = sign(SECRETS[1], body, now());
        let old = sign(SECRETS[1], body, now() - TimeDelta::seconds(301));
        let other = sign("whsec_of_somebody_else", body, now());
        let another_body = sign(SECRETS[1], b"{}", now());
        let cases: [(&str, &[&str]); 9] = [
            ("no signature", &[]),
            ("two signatures", &[&good, &good]),
            ("too old", &[&old]),
            ("another secret", &[&other]),
            ("another body", &[&another_body]),
            ("empty", &[""]),
            ("no time", &["v1=00"]),
            ("no signature for the time", &["t=1"]),
            ("nonsense", &["nonsense"]),
        ];
        for (case, signatures) in cases {
            let reply = app.post_webhook(body, signatures).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{case}: {reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{case}");
            for field in ["type", "title", "status", "detail", "code", "request_id"] {
                assert!(!reply.body[field].is_null(), "{case}: no {field} in {}", reply.body);
            }
        }
        assert_eq!(app.deliveries("").await.len(), 0);

        let first = sign(SECRETS[0], body, now());
        let ahead = sign(SECRETS[1], body, now() + TimeDelta::hours(1));
        for (duplicate, signature) in [(false, first), (true, ahead), (true, good)] {
            let reply = app.post_webhook(body, &[&signature]).await;
            assert_eq!((reply.status, &reply.body["duplicate"]), (StatusCode::OK, &json!(duplicate)), "{reply:?}");
        }
        assert_goes_on(&app, "honest").await;
    }

    async fn a_body_of_two_mebibytes_is_too_large_and_one_below_the_limit_is_not(store: Store) {
        let app = TestApp::on(store).await;
        // An ordinary client, which writes it all before it reads; then one that stops in the middle, the size told
        // beforehand or found out on the way.
        let reply = app.post_webhook(&vec![b'x'; 2 * 1024 * 1024], &["t=1,v1=00"]).await;
        assert_eq!((reply.status, &reply.body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
        let announced = format!("content-length: {}\r\n\r\n", 2 * 1024 * 1024);
        let chunk = "x".repeat(MOST_BYTES + 1);
        let found_out = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}", 2 * 1024 * 1024);
        for rest in [announced, found_out] {
            let answer = answer_to(&app, &rest);
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }

        let mut padded = seen("large");
        padded["data"]["object"]["description"] = json!("x".repeat(1000 * 1024));
        app.deliver_all([&padded]).await;
        assert_eq!(app.delivery("evt_demo_large_001").await["reason"], "unknown_customer");
        assert_goes_on(&app, "small").await;
    }

    async fn what_was_signed_is_kept_whatever_it_says_and_support_sees_why(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_known").await;
        let mut known = Story::new("known");
        bought(&mut known, "mem_known", Price::BasicMonth, days_ago(5));
        known.end(days_ago(1));
        let known = events(known);
        app.deliver_all(&known).await;

        let renamed = |event: &Value, id: &str| {
            let mut event = event.clone();
            event["id"] = json!(id);
            event
        };
        let with = |event: Value, field: &str, value: Value| {
            let mut event = event;
            event[field] = value;
            event
        };
        let mut mug = Story::new("mug");
        mug.create(Price::Mug, "active", days_ago(1));
        let contradicting = {
            let mut story = Story::new("known");
            story.checkout("mem_other", days_ago(1));
            renamed(&events(story)[0], "evt_contradicting")
        };
        app.register("mem_other").await;
        let thin = json!({
            "id": "evt_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
            "created": rfc3339(now()), "livemode": false, "related_object": { "id": "sub_demo_known", "type": "subscription" },
        });
        let customer = json!({ "id": "cus_demo_known", "object": "customer", "deleted": true });
        let stranger = json!({ "id": "cus_demo_stranger", "object": "customer", "deleted": true });
        let no_status = event("evt_no_status", "customer.subscription.updated", now(), &json!({ "id": "sub_x" }));
        let text_as_time = with(renamed(&seen("timeless"), "evt_timeless"), "created", json!("soon"));
        let cases: Vec<(Value, &str, &str)> = vec![
            (event("evt_new_type", "customer.subscription.teleported", now(), &json!({})), "parked", "incomplete_object"),
            (event("evt_unhandled", "payout.paid", now(), &json!({})), "ignored", "unhandled_type"),
            (events(mug).remove(0), "ignored", "unmapped_product"),
            (renamed(&seen("nobody"), "evt_nobody"), "parked", "unknown_customer"),
            (with(renamed(&seen("live"), "evt_live"), "livemode", json!(true)), "parked", "other_mode"),
            (with(renamed(&seen("connected"), "evt_connected"), "account", json!("acct_1")), "parked", "other_account"),
            (thin, "parked", "thin_event"),
            (contradicting, "parked", "contradiction"),
            (no_status, "parked", "incomplete_object"),
            (text_as_time, "parked", "no_time"),
            (event("evt_stranger_deleted", "customer.deleted", now(), &stranger), "ignored", "unknown_customer"),
            (event("evt_customer_deleted", "customer.deleted", now(), &customer), "applied", "applied"),
            (renamed(&known[2], "evt_told_late"), "stale", "stale"),
            (changed(renamed(&known[2], "evt_after_the_end"), &json!({ "status": "active" })), "stale", "stale"),
        ];
        for (event, ..) in &cases {
            app.deliver(event).await;
        }
        let bodies: [&[u8]; 6] =
            [b"{\"id\":\"evt_cut\",\"type\":\"invo", b"[1,2]", b"null", b"\xff\xfe", b"", b"{\"id\":7,\"type\":[]}"];
        for body in bodies {
            let reply = app.post_signed(body).await;
            assert_eq!(reply.status, StatusCode::OK, "{body:?}: {reply:?}");
        }
        app.settled().await;

        for (event, outcome, reason) in &cases {
            let delivery = app.delivery(event["id"].as_str().unwrap_or_default()).await;
            assert_eq!((&delivery["outcome"], &delivery["reason"]), (&json!(outcome), &json!(reason)), "{delivery}");
            assert!(delivery["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{delivery}");
        }
        let parked = app.deliveries("parked").await;
        let unreadable: Vec<_> = parked.iter().filter(|delivery| delivery["reason"] == "unreadable").collect();
        assert_eq!(unreadable.len(), bodies.len(), "{unreadable:?}");
        for outcome in ["applied", "parked", "ignored", "stale", "no_change", "failed", "pending"] {
            let listed = app.deliveries(outcome).await;
            assert!(listed.iter().all(|delivery| delivery["outcome"] == outcome), "{outcome}: {listed:?}");
            let expected = cases.iter().filter(|(_, told, _)| *told == outcome);
            for (event, ..) in expected {
                assert!(listed.iter().any(|delivery| delivery["id"] == event["id"]), "{outcome}: {}", event["id"]);
            }
        }
        assert_eq!(app.get("/v1/support/deliveries?outcome=lost").await.status, StatusCode::BAD_REQUEST);
        assert_eq!(app.deliveries("failed").await.len(), 0);
        assert_goes_on(&app, "after").await;
    }

    async fn a_delivery_made_twice_is_counted_and_carried_out_once(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_twice").await;
        let mut story = Story::new("twice");
        bought(&mut story, "mem_twice", Price::BasicMonth, days_ago(2));
        let events = events(story);
        app.deliver_all(events.iter().chain(&events)).await;
        for event in &events {
            let delivery = app.delivery(event["id"].as_str().unwrap_or_default()).await;
            assert_eq!(delivery["times_received"], 2, "{delivery}");
            assert_eq!(delivery["outcome"], "applied", "{delivery}");
        }
        let timeline = app.get("/v1/support/members/mem_twice/timeline").await;
        let count = timeline.body["data"].as_array().map_or(0, Vec::len);

        app.deliver_all(&events).await;
        let after = app.get("/v1/support/members/mem_twice/timeline").await;
        assert_eq!(after.body["data"].as_array().map_or(0, Vec::len), count);

        // Support looks at one again: nothing changes either.
        for event in &events {
            let path = format!("/v1/support/deliveries/{}/replay", event["id"].as_str().unwrap_or_default());
            let reply = app.send(reqwest::Method::POST, &path, None, "").await;
            assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        }
        app.settled().await;
        let after = app.get("/v1/support/members/mem_twice/timeline").await;
        assert_eq!(after.body["data"].as_array().map_or(0, Vec::len), count);
        assert_eq!(app.check("mem_twice", BASIC).await["reason"], "subscription");
    }

    async fn a_delivery_made_many_times_at_once_is_kept_once(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_many").await;
        let mut story = Story::new("many");
        bought(&mut story, "mem_many", Price::BasicMonth, days_ago(2));
        let events = events(story);
        let mut sending = Vec::new();
        // No more than there are connections to the store: one that is refused would be sent again, and counted again.
        let at_once = Arc::new(Semaphore::new(16));
        for copy in 0..20 {
            for event in &events {
                let (request, at_once) = (app.signed(event.to_string()), at_once.clone());
                sending.push(tokio::spawn(async move {
                    let _place = at_once.acquire().await;
                    (copy, request.send().await)
                }));
            }
        }
        for sent in sending {
            let (copy, answer) = sent.await.expect("it is sent");
            assert_eq!(answer.expect("it is answered").status(), StatusCode::OK, "copy {copy}");
        }
        app.settled().await;
        for event in &events {
            let delivery = app.delivery(event["id"].as_str().unwrap_or_default()).await;
            assert_eq!(delivery["times_received"], 20, "{delivery}");
            let outcome = delivery["outcome"].as_str().unwrap_or_default();
            assert!(["applied", "stale", "no_change"].contains(&outcome), "{delivery}");
        }
        assert_eq!(app.deliveries("").await.len(), events.len());
        assert_eq!(app.check("mem_many", BASIC).await["reason"], "subscription");
    }
}
