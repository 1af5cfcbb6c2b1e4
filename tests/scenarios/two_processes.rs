//! One process takes the webhooks, others answer: a buyer never sees an older answer than the one she has caused.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::app::{HANG, Home, Store, TestApp, caught_up, deliver_again};
use tests::stripe::{ADVANCED, Dice, Price, Story, bought, days_ago, events};

const ROUNDS: usize = 50;

async fn ask(api: &TestApp, member: &str, position: &str) -> (StatusCode, serde_json::Value) {
    let path = format!("/v1/members/{member}/access/videos/{ADVANCED}");
    let reply = caught_up(api.request(Method::GET, &path).header("membership-position", position)).await;
    (reply.status, reply.body)
}

#[tokio::test]
async fn a_check_that_carries_the_position_of_a_write_is_never_older_than_it() {
    let home = Home::new(Store::Postgres).await;
    let ingest = home.serve_as("ingest").await;
    let api = home.serve_as("api").await;
    api.register("mem_toggle").await;
    let base = Story::new("toggle");
    api.link("mem_toggle", base.customer_id()).await;
    let mut stale = Vec::new();
    for round in 0..ROUNDS {
        let mut story = base.another(&format!("toggle{round}"));
        story.create(Price::ProMonth, "active", days_ago(2)).end(days_ago(1));
        for (event, allowed) in events(story).iter().zip([true, false]) {
            ingest.deliver(event).await;
            let head = ingest.settled().await;
            let header =
                ingest.get("/readyz").await.header("membership-position").unwrap_or_default().to_owned();
            let position = if round % 2 == 0 { head } else { header };
            let (status, decision) = ask(&api, "mem_toggle", &position).await;
            assert_eq!(status, StatusCode::OK, "round {round}: {decision}");
            if decision["allowed"] != allowed {
                stale.push((round, position, decision));
            }
        }
    }
    assert!(stale.is_empty(), "{} of {} answers were stale: {stale:?}", stale.len(), 2 * ROUNDS);
}

#[tokio::test]
async fn what_support_sees_applied_is_in_every_check_that_carries_its_position() {
    let home = Home::new(Store::Postgres).await;
    let ingest = home.serve_as("ingest").await;
    let (api, other) = (home.serve_as("api").await, home.serve_as("api").await);
    api.register("mem_seen").await;
    let base = Story::new("seen");
    api.link("mem_seen", base.customer_id()).await;
    for round in 0..ROUNDS {
        let mut story = base.another(&format!("seen{round}"));
        story.create(Price::ProMonth, "active", days_ago(2)).end(days_ago(1));
        for (event, allowed) in events(story).iter().zip([true, false]) {
            ingest.deliver(event).await;
            let begun = Instant::now();
            let position = loop {
                let list = api.get("/v1/support/deliveries?limit=1").await;
                if list.body["data"][0]["id"] == event["id"] && list.body["data"][0]["outcome"] == "applied" {
                    break list.header("membership-position").unwrap_or_default().to_owned();
                }
                assert!(begun.elapsed() < HANG, "round {round}: {list:?}");
            };
            for node in [&api, &other] {
                let (status, decision) = ask(node, "mem_seen", &position).await;
                assert_eq!(
                    (status, &decision["allowed"]),
                    (StatusCode::OK, &json!(allowed)),
                    "round {round}: {decision}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_member_who_was_made_at_one_process_is_known_at_the_other_from_her_position_on() {
    let home = Home::new(Store::Postgres).await;
    let ingest = home.serve_as("ingest").await;
    let (one, other) = (home.serve_as("api").await, home.serve_as("api").await);
    for round in 0..ROUNDS {
        let (member, mut story) = (format!("mem_{round}"), Story::new(&format!("early{round}")));
        let made = one.send(Method::POST, "/v1/members", Some(&json!({ "id": member })), "").await;
        let position = made.header("membership-position").unwrap_or_default();
        let (status, decision) = ask(&other, &member, position).await;
        assert_eq!(
            (status, &decision["reason"]),
            (StatusCode::OK, &json!("no_membership")),
            "round {round}: {decision}"
        );

        // Deliveries that came before the link are carried out by the other process once it is made.
        story.create(Price::ProMonth, "active", days_ago(2));
        let customer = story.customer_id().to_owned();
        if round < 5 {
            ingest.deliver_all(&events(story)).await;
            let path = format!("/v1/members/{member}/stripe-customer");
            one.send(Method::PUT, &path, Some(&json!({ "customer": customer })), "").await;
            let head = ingest.settled().await;
            let (_, decision) = ask(&other, &member, &head).await;
            assert_eq!(decision["reason"], "subscription", "round {round}: {decision}");
        }
    }
}

#[tokio::test]
async fn a_position_that_has_not_come_is_waited_for_and_one_that_is_none_is_refused() {
    let home = Home::new(Store::Postgres).await;
    let api = home.serve_as("api").await;
    api.register("mem_ada").await;
    let path = format!("/v1/members/mem_ada/access/videos/{ADVANCED}");
    for path in
        [path.as_str(), &format!("{path}?at=2026-01-01T00:00:00Z"), "/v1/support/members/mem_ada/timeline"]
    {
        let reply = api.send(Method::GET, path, None, "p-ffffffff").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.body["code"], "behind", "{reply:?}");
        for position in ["nonsense", "p-", "p-xyz", "1", "p-fffffffffffffffff", "P-1"] {
            let reply = api.send(Method::GET, path, None, position).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{position}: {reply:?}");
            assert_eq!(reply.body["code"], "bad_position", "{reply:?}");
        }
    }
}

#[tokio::test]
async fn each_role_serves_its_part_only() {
    let home = Home::new(Store::Postgres).await;
    let ingest = home.serve_as("ingest").await;
    let api = home.with("STRIPE_WEBHOOK_SECRETS", "").serve_as("api").await;
    assert_eq!(api.post_signed(b"{}").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ingest.get("/v1/support/deliveries").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ingest.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(ingest.post_signed(b"{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn two_processes_that_carry_out_one_inbox_end_in_the_same_state_as_one() {
    let home = Home::new(Store::Postgres).await;
    let (one, other) = (home.serve_as("ingest").await, home.serve_as("ingest").await);
    let api = home.serve_as("api").await;
    let mut dice = Dice::new(5);
    let mut all = Vec::new();
    for number in 0..15 {
        let (member, name) = (format!("mem_{number}"), format!("race{number}"));
        api.register(&member).await;
        let mut story = Story::new(&name);
        bought(&mut story, &member, Price::BasicMonth, days_ago(30));
        story.change_plan(Price::ProMonth, days_ago(20)).change_plan(Price::BasicMonth, days_ago(10));
        story.change_plan(Price::ProMonth, days_ago(5));
        all.extend(events(story));
    }
    dice.shuffle(&mut all);
    let mut sending = Vec::new();
    for event in &all {
        let to = if dice.below(2) == 0 { &one } else { &other };
        sending.push(tokio::spawn(deliver_again(to.signed(event.to_string()))));
    }
    for sent in sending {
        sent.await.expect("it is taken");
    }
    one.settled().await;
    let head = other.settled().await;
    for number in 0..15 {
        let (status, decision) = ask(&api, &format!("mem_{number}"), &head).await;
        assert_eq!(
            (status, &decision["reason"]),
            (StatusCode::OK, &json!("subscription")),
            "{number}: {decision}"
        );
    }
    for outcome in ["parked", "failed"] {
        assert_eq!(api.deliveries(outcome).await.len(), 0, "{outcome}");
    }
    home.done(&["replay", "--verify"]);
}
