//! Commands that come again under an `Idempotency-Key`, and callers who ask too often.

use std::collections::BTreeSet;
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp};
use tests::on_every_store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many send the same at the same time.
const AT_ONCE: i64 = 20;
/// How many of them are let in: who waits too long for one of the connections to the store is refused.
const CONNECTIONS: usize = 16;
const HANG: std::time::Duration = std::time::Duration::from_mins(1);

/// Makes a member, under a key if there is one.
async fn make(app: &TestApp, key: Option<&str>, body: &Value) -> Reply {
    let reply = try_to_make(app, key, body).await;
    reply.expect("the service answers")
}

/// The same; nothing when the service ends meanwhile.
async fn try_to_make(app: &TestApp, key: Option<&str>, body: &Value) -> Option<Reply> {
    let mut request = app.request(Method::POST, "/v1/members").json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or_default();
    Some(Reply { status, headers, body })
}

/// Twenty send the same at once, each until she has an answer that is not to send it again. What they were answered.
async fn all_at_once(app: TestApp, key: Option<&'static str>) -> (TestApp, BTreeSet<(u16, String)>) {
    let app = std::sync::Arc::new(app);
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    let mut senders = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (app, places) = (app.clone(), places.clone());
        senders.spawn(async move {
            let begun = Instant::now();
            loop {
                let place = places.acquire().await;
                let reply = make(&app, key, &json!({})).await;
                drop(place);
                match reply.body["code"].as_str() {
                    Some("idempotency_key_in_use") => assert_eq!(reply.status, StatusCode::CONFLICT),
                    // Only a key says that it is still the same.
                    Some("store_unavailable") if key.is_some() => {}
                    _ => {
                        let id = reply.body["id"].as_str().unwrap_or_default();
                        return (reply.status.as_u16(), id.to_owned());
                    }
                }
                assert!(reply.header("retry-after").is_some());
                assert!(begun.elapsed() < HANG, "it is never carried out");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    }
    let answers = senders.join_all().await.into_iter().collect();
    (std::sync::Arc::into_inner(app).expect("nobody else has it"), answers)
}

/// Another process would wait for the end of the lease; here that moment has come.
async fn the_lease_is_over(home: &Home) {
    home.sql("UPDATE idempotency SET claimed_until = begun_at WHERE status IS NULL").await;
}

/// Makes a member in a process that is killed when she is made and nothing is answered yet, and once more in the next one.
async fn made_once_more_after_a_kill(store: Store, key: Option<&str>) -> (Home, Reply) {
    let home = Home::new(store).await;
    let mut app = home.clone().with("FAILPOINTS", "members::registered=panic").serve().await;
    assert!(try_to_make(&app, key, &json!({})).await.is_none(), "it ends before it answers");
    app.ended().await;
    drop(app);
    let app = home.serve().await;
    the_lease_is_over(&home).await;
    let reply = make(&app, key, &json!({})).await;
    assert!(reply.status.is_success(), "{reply:?}");
    (home, reply)
}

on_every_store! {
    async fn twenty_who_send_the_same_at_once_make_one_member_and_get_one_answer(store: Store) {
        let (app, answers) = all_at_once(TestApp::on(store).await, Some("one")).await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(app.home.count("people").await, 1);
        let again = make(&app, Some("one"), &json!({})).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert!(answers.contains(&(201, again.body["id"].as_str().unwrap_or_default().to_owned())));
        let other = make(&app, Some("one"), &json!({ "external_id": "7" })).await;
        assert_eq!((other.status.as_u16(), &other.body["code"]), (422, &json!("idempotency_key_reused")));
        assert_eq!(app.home.count("people").await, 1);
    }

    async fn without_a_key_each_of_them_makes_a_member(store: Store) {
        let (app, answers) = all_at_once(TestApp::on(store).await, None).await;
        assert_eq!(answers.len(), 20, "{answers:?}");
        assert_eq!(app.home.count("people").await, AT_ONCE);
    }

    async fn a_process_killed_before_it_answers_leaves_one_member_however_often_it_is_sent(store: Store) {
        let (home, _) = made_once_more_after_a_kill(store, Some("one")).await;
        assert_eq!(home.count("people").await, 1);
        assert_eq!(home.count("events WHERE event_type = 'MemberRegistered'").await, 1);
    }

    async fn without_a_key_it_leaves_two(store: Store) {
        let (home, _) = made_once_more_after_a_kill(store, None).await;
        assert_eq!(home.count("people").await, 2);
    }

    async fn answers_outlive_the_process(store: Store) {
        let home = Home::new(store).await;
        let mut app = home.serve().await;
        let first = make(&app, Some("one"), &json!({ "email": "ada@example.com" })).await;
        app.signal("KILL");
        app.ended().await;
        drop(app);
        let app = home.serve().await;
        let again = make(&app, Some("one"), &json!({ "email": "ada@example.com" })).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let without = make(&app, None, &json!({ "email": "ada@example.com" })).await;
        assert_eq!(without.body["code"], "email_taken", "the first was carried out");
    }

    async fn a_key_that_is_being_used_by_a_process_that_is_gone_waits_for_its_lease(store: Store) {
        let app = TestApp::on(store).await;
        make(&app, Some("one"), &json!({})).await;
        let far = if store == Store::Sqlite { "9000000000000000" } else { "'9999-01-01'" };
        app.home.sql(&format!("UPDATE idempotency SET status = NULL, claimed_until = {far}")).await;
        let waits = make(&app, Some("one"), &json!({})).await;
        assert_eq!((waits.status.as_u16(), &waits.body["code"]), (409, &json!("idempotency_key_in_use")));
        the_lease_is_over(&app.home).await;
        assert!(make(&app, Some("one"), &json!({})).await.status.is_success());
        assert_eq!(app.home.count("people").await, 1);
    }
}

#[tokio::test]
async fn a_stranger_who_asks_too_often_is_refused_and_others_are_not() {
    let home = Home::new(Store::Sqlite).await.with("RATE_LIMIT_SIGNED_OUT", "1/3");
    let app = home.with("TRUSTED_PROXIES", "127.0.0.0/8").serve().await;
    let ask = async |from: &str| {
        let request = app.strange(Method::GET, "/v1/members").header("x-forwarded-for", from);
        let answer = request.send().await.expect("the service answers");
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    let mut refused = false;
    let begun = Instant::now();
    while !refused {
        assert!(begun.elapsed() < HANG, "nobody is ever refused");
        refused = ask("192.0.2.1").await == (429, true);
    }
    assert_eq!(ask("192.0.2.2").await, (401, false), "another address");
    for _ in 0..10 {
        assert_eq!(app.get("/v1/members").await.status, StatusCode::OK, "a service has a rate of its own");
    }
}

#[tokio::test]
async fn what_a_client_says_of_its_address_is_not_believed() {
    let app = Home::new(Store::Sqlite).await.with("RATE_LIMIT_SIGNED_OUT", "1/3").serve().await;
    let begun = Instant::now();
    for number in 0_u32.. {
        assert!(begun.elapsed() < HANG, "an address of one's own choice each time gets round the limit");
        let from = format!("192.0.2.{}", number % 250);
        let request = app.strange(Method::GET, "/v1/members").header("x-forwarded-for", from);
        if request.send().await.expect("the service answers").status() == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
}
