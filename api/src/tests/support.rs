//! Histories, explanations and deliveries.

use axum::http::Method;
use serde_json::json;

use super::story::delivery;
use super::world::World;
use crate::state::DeliveryOutcome::{Applied, Parked};

#[tokio::test]
async fn a_timeline_tells_everything_oldest_first() {
    let world = World::new().await;
    let list = world.get("/v1/support/members/mem_ada/timeline").await.json();
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    let entries = list["data"].as_array().unwrap();
    assert_eq!(entries[0]["event_type"], "MemberRegistered");
    assert_eq!(entries[1]["stream"], "customer/cus_ada");
    assert_eq!(entries[2]["cause"], "evt_ada");
    for field in [
        "object",
        "position",
        "stream",
        "event_type",
        "occurred_at",
        "recorded_at",
        "actor",
        "cause",
        "sentence",
        "text",
    ] {
        assert!(entries.iter().all(|entry| entry[field].is_string()), "{field}");
    }
    world.get("/v1/support/members/mem_eve/timeline").await.problem(404, "unknown_member");
}

#[tokio::test]
async fn a_timeline_can_be_read_page_by_page() {
    let world = World::new().await;
    let path = "/v1/support/members/mem_ada/timeline";
    let whole = world.get(path).await.json();
    let first = world.get(&format!("{path}?limit=1")).await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    assert_eq!(first["has_more"], true);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("{path}?cursor={cursor}")).await.json();
    assert_eq!(rest["data"].as_array().unwrap()[..], whole["data"].as_array().unwrap()[1..]);
    world.get(&format!("{path}?cursor=00")).await.problem(400, "bad_cursor");
}

#[tokio::test]
async fn an_explanation_says_what_was_tried_and_what_was_known() {
    let world = World::new().await;
    let path = "/v1/support/members/mem_ada/explain?video=projections";
    let told = world.get(path).await.json();
    assert_eq!(told["object"], "explanation");
    assert_eq!(told["decision"]["reason"], "subscription");
    assert_eq!(told["decision"]["deciding_events"][0]["cause"], "evt_ada");
    assert_eq!(told["sources"][0]["subscription"], "sub_ada");
    assert_eq!(told["sources"][0]["decides"], true);
    assert!(told["known_at"].is_null());
    assert!(told["text"].as_str().unwrap().starts_with("ALLOWED"));
    let earlier =
        world.get(&format!("{path}&at=2025-03-01T00:00:00Z&known_at=2025-01-15T00:00:00Z")).await.json();
    assert_eq!(earlier["decision"]["reason"], "no_membership");
    assert_eq!(earlier["known_at"], "2025-01-15T00:00:00Z");
}

#[tokio::test]
async fn an_explanation_needs_a_video_and_readable_moments() {
    let world = World::new().await;
    let path = "/v1/support/members/mem_ada/explain";
    assert!(world.get(path).await.problem(400, "bad_query").contains("video"));
    let answer = world.get(&format!("{path}?video=projections&known_at=soon")).await;
    assert!(answer.problem(400, "bad_time").starts_with("known_at"));
    world.get(&format!("{path}?video=cooking")).await.problem(404, "unknown_video");
}

#[tokio::test]
async fn deliveries_are_listed_by_outcome_and_page() {
    let world = World::new().await;
    *world.stores.deliveries.lock().unwrap() =
        vec![delivery(5, Applied), delivery(4, Parked), delivery(3, Applied), delivery(2, Applied)];
    let page = world.get("/v1/support/deliveries?outcome=applied&limit=2").await.json();
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|held| held["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&page), ["evt_5", "evt_3"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let last =
        world.get(&format!("/v1/support/deliveries?outcome=applied&limit=2&cursor={cursor}")).await.json();
    assert_eq!(ids(&last), ["evt_2"]);
    assert_eq!(last["has_more"], false);
    let parked = world.get("/v1/support/deliveries?outcome=parked").await.json();
    assert_eq!(parked["data"][0]["reason"], "unknown_customer");
    assert_eq!(parked["data"][0]["type"], "customer.subscription.updated");
    let none = world.get("/v1/support/deliveries?type=invoice.paid&reason=x&customer=cus_0").await.json();
    assert_eq!(none["data"], json!([]));
    let early = world.get("/v1/support/deliveries?received_until=1999-01-01T00:00:00Z").await.json();
    assert_eq!(early["data"], json!([]));
    world.get("/v1/support/deliveries?received_from=soon").await.problem(400, "bad_time");
    world.get("/v1/support/deliveries?type=%00").await.problem(422, "invalid");
    for cursor in ["", "00", "zz", "ff"] {
        world.get(&format!("/v1/support/deliveries?cursor={cursor}")).await.problem(400, "bad_cursor");
    }
    let detail = world.get("/v1/support/deliveries?outcome=lost").await.problem(400, "bad_query");
    assert!(detail.contains("parked"), "{detail}");
}

#[tokio::test]
async fn a_known_delivery_is_looked_at_again() {
    let world = World::new().await;
    world.stores.deliveries.lock().unwrap().push(delivery(1, Parked));
    let answer = world.tell(Method::POST, "/v1/support/deliveries/evt_1/replay", "").await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.json(),
        json!({"object": "delivery_replay", "delivery": "evt_1", "outcome": "pending"})
    );
    let path = "/v1/support/deliveries/evt_1/replay";
    assert_eq!(world.tell(Method::POST, path, r#"{"why":" The price is back. "}"#).await.status, 202);
    let told = world.stores.told.lock().unwrap().clone();
    let ends = ["replays evt_1: asked for by its id", "replays evt_1: The price is back."];
    assert!(told.iter().zip(ends).all(|(told, end)| told.ends_with(end)), "{told:?}");
    for unknown in ["evt_2", "%00", "evt_1%0A"] {
        let path = format!("/v1/support/deliveries/{unknown}");
        world.post(&format!("{path}/replay"), "").await.problem(404, "unknown_delivery");
        world.get(&path).await.problem(404, "unknown_delivery");
    }
    for why in ["", "two\nlines", &"x".repeat(501)] {
        world.post(path, &json!({ "why": why }).to_string()).await.problem(422, "invalid");
    }
    world.post(path, r#"{"reason":"x"}"#).await.problem(422, "wrong_shape");
}

#[tokio::test]
async fn a_delivery_is_shown_with_what_was_done_with_it() {
    let world = World::new().await;
    world.stores.deliveries.lock().unwrap().push(delivery(1, Parked));
    let shown = world.get("/v1/support/deliveries/evt_1").await.json();
    assert_eq!((&shown["object"], &shown["id"]), (&json!("delivery"), &json!("evt_1")));
    assert_eq!((&shown["steps"][0]["step"], &shown["steps"][0]["actor"]), (&json!("parked"), &json!(null)));
    assert_eq!(shown["steps"][0]["reason"], "unknown_customer");
}

#[tokio::test]
async fn deliveries_are_looked_at_again_some_at_a_time() {
    let world = World::new().await;
    *world.stores.deliveries.lock().unwrap() =
        vec![delivery(5, Parked), delivery(4, Applied), delivery(3, Parked), delivery(2, Parked)];
    let path = "/v1/support/deliveries/replay";
    let mut body = json!({
        "filter": { "outcome": "parked", "reason": "unknown_customer", "type": "customer.subscription.updated" },
        "why": "The link was made.", "limit": 2,
    });
    let first = world.tell(Method::POST, path, &body.to_string()).await;
    assert_eq!(first.status, 202);
    let first = first.json();
    assert_eq!((&first["replayed"], &first["left"]), (&json!(2), &json!(1)));
    body["cursor"] = first["next_cursor"].clone();
    let last = world.tell(Method::POST, path, &body.to_string()).await.json();
    assert_eq!(last, json!({ "object": "deliveries_replay", "replayed": 1, "left": 0, "next_cursor": null }));
    for (field, value) in [("limit", json!(0)), ("limit", json!(1001)), ("why", json!(" "))] {
        let mut bad = body.clone();
        bad[field] = value;
        assert!(world.post(path, &bad.to_string()).await.problem(422, "invalid").contains(field));
    }
    for filter in [json!({ "outcome": "pending" }), json!({ "outcome": "parked", "reason": "\u{0}" })] {
        let bad = json!({ "filter": filter, "why": "x" });
        world.post(path, &bad.to_string()).await.problem(422, "invalid");
    }
    let early = json!({ "filter": { "outcome": "parked", "received_from": "soon" }, "why": "x" });
    world.post(path, &early.to_string()).await.problem(400, "bad_time");
    for bad in [json!({ "filter": {}, "why": "x" }), json!({ "filter": { "outcome": "parked" } })] {
        world.post(path, &bad.to_string()).await.problem(422, "wrong_shape");
    }
}

#[tokio::test]
async fn the_read_models_are_listed_and_one_is_rebuilt_at_a_time() {
    let world = World::new().await;
    let list = world.get("/v1/support/projections").await.json();
    assert_eq!(
        (&list["data"][0]["name"], &list["data"][1]["name"]),
        (&json!("access_index"), &json!("directory"))
    );
    assert_eq!(list["data"][1]["position"], world.stores.head().to_string());
    assert!(list["data"][1]["rebuild"].is_null());
    let path = "/v1/support/projections/directory/rebuild";
    let begun = world.post(path, "").await;
    assert_eq!((begun.status.as_u16(), &begun.json()["state"]), (202, &json!("running")));
    assert!((40..=50).contains(&begun.json()["percent"].as_u64().unwrap()), "{}", begun.text);
    world.post(path, "").await.problem(409, "rebuild_running");
    let list = world.get("/v1/support/projections").await.json();
    assert_eq!(list["data"][1]["rebuild"], begun.json());
    let redrive = world.post("/v1/support/projections/redrive", "").await;
    assert_eq!(
        (redrive.status.as_u16(), redrive.json()),
        (202, json!({"object": "redrive", "parked_streams": 0}))
    );
}

#[tokio::test]
async fn a_member_is_compared_with_the_billing_provider() {
    let world = World::new().await;
    let told = world.post("/v1/support/members/mem_ada/resync", "").await;
    assert_eq!(told.status, 200, "{}", told.text);
    let finding = json!({
        "subscription": "sub_ada", "cause": "not_used", "delivery": "evt_9", "repaired": true,
        "differences": [{ "what": "status", "known": "active", "found": "past_due" }],
    });
    let expected = json!({
        "object": "resync", "member": "mem_ada",
        "sentence": "Compared 2 subscriptions with the provider: 1 differed and was put right", "compared": 2, "differing": 1, "repaired": 1, "left": 0,
        "findings": [finding],
    });
    assert_eq!(told.json(), expected);
}

#[tokio::test]
async fn a_comparison_that_cannot_be_made_says_why() {
    let world = World::new().await;
    let post = |member: &str| format!("/v1/support/members/{member}/resync");
    world.post(&post("mem_eve"), "").await.problem(404, "unknown_member");
    world.post(&post("mem_down"), "").await.problem(503, "billing_unavailable");
    world.post(&post("mem_keyless"), "").await.problem(409, "billing_not_configured");
    let detail = world.post(&post("mem_refused"), "").await.problem(502, "billing_refused");
    assert!(detail.contains("Expired API Key"), "{detail}");
    let reader = [("authorization", "Bearer support-read-token-01")];
    let told = world.with(&reader, Method::POST, &post("mem_ada"), "").await;
    told.problem(403, "forbidden");
}

#[tokio::test]
async fn one_box_finds_members_and_videos() {
    let world = World::new().await;
    let record = domain::ports::PersonRecord {
        member: "mem_ada".into(),
        email: Some("Ada@Example.com".to_owned()),
        external_id: Some("42".to_owned()),
        created_at: chrono::DateTime::UNIX_EPOCH,
    };
    world.stores.people.lock().unwrap().push(record);
    let payer = |customer: &str, name: &str, email: &str| domain::ports::PayerRecord {
        customer: customer.into(),
        name: Some(name.to_owned()),
        email: Some(email.to_owned()),
    };
    *world.stores.payers.lock().unwrap() = vec![
        payer("cus_ada", "Ada Lovelace", "bills@example.com"),
        payer("cus_nobodys", "Rosa Klein", "rosa@example.com"),
    ];
    let held = delivery(7, Parked);
    let about_ada = crate::state::DeliveryRecord { customer: Some("cus_ada".to_owned()), ..held };
    *world.stores.deliveries.lock().unwrap() =
        vec![about_ada, crate::state::DeliveryRecord { customer: None, ..delivery(9, Parked) }];
    let find = async |q: &str| world.get(&format!("/v1/support/members?q={q}")).await.json()["data"].clone();
    let ada = |matched: &str, value: &str| {
        json!([{ "object": "member_match", "member": "mem_ada", "matched": matched, "value": value,
                 "email": "Ada@Example.com", "name": "Ada Lovelace" }])
    };
    assert_eq!(find("aDA@").await, ada("email", "Ada@Example.com"));
    assert_eq!(find("42").await, ada("external_id", "42"));
    assert_eq!(find("mem_ad").await, ada("member", "mem_ada"));
    assert_eq!(find("%20cus_ad%20").await, ada("customer", "cus_ada"));
    assert_eq!(find("evt_7").await, ada("delivery", "evt_7"));
    assert_eq!(find("bills@").await, ada("billing_email", "bills@example.com"));
    assert_eq!(find("Ada%20Love").await, ada("name", "Ada Lovelace"));
    let both = find("evt_").await;
    assert_eq!(both[0], ada("delivery", "evt_7")[0]);
    assert_eq!((&both[1]["object"], &both[1]["delivery"]), (&json!("delivery_match"), &json!("evt_9")));
    for q in ["cus_n", "Rosa", "rosa@"] {
        let nobodys = json!([{ "object": "payer_match", "customer": "cus_nobodys", "email": "rosa@example.com",
                               "name": "Rosa Klein" }]);
        assert_eq!(find(q).await, nobodys, "{q}");
    }
    for nothing in ["evt_8", "in_1", "nobody", "%25", "_", "%00", "%20"] {
        assert_eq!(find(nothing).await, json!([]), "{nothing}");
    }
    let videos = find("Proj").await;
    assert_eq!((&videos[0]["object"], &videos[0]["video"]), (&json!("video_match"), &json!("projections")));
}

#[tokio::test]
async fn a_search_says_whether_there_is_more_and_what_is_wrong_with_it() {
    let world = World::new().await;
    let some = world.get("/v1/support/members?q=mem_&limit=1").await.json();
    assert_eq!((some["data"].as_array().unwrap().len(), &some["has_more"]), (1, &json!(true)));
    let all = world.get("/v1/support/members?q=mem_").await.json();
    assert_eq!((all["data"].as_array().unwrap().len(), &all["has_more"]), (2, &json!(false)));
    world.get("/v1/support/members").await.problem(400, "bad_query");
    world.get("/v1/support/members?q=").await.problem(422, "invalid");
    world.get(&format!("/v1/support/members?q={}", "a".repeat(255))).await.problem(422, "invalid");
    world.get("/v1/support/members?q=a&limit=0").await.problem(400, "bad_query");
    let headers = [("authorization", "Bearer access-only-token-01")];
    let refused = world.with(&headers, Method::GET, "/v1/support/members?q=a", "").await;
    refused.problem(403, "forbidden");
}
