//! Members and their payers.

use std::sync::atomic::Ordering;

use axum::http::Method;
use serde_json::{Value, json};

use super::world::World;

const LINK: &str = "/v1/members/mem_ada/stripe-customer";

async fn create(world: &World, body: Value) -> super::world::Answer {
    world.post("/v1/members", &body.to_string()).await
}

#[tokio::test]
async fn a_new_member_is_registered_and_waiting_deliveries_hear_of_her() {
    let world = World::new().await;
    let answer = create(&world, json!({"email": "eve@example.com", "external_id": "user-1"})).await;
    assert_eq!(answer.status, 201);
    let member = answer.json();
    let id = member["id"].as_str().unwrap();
    assert!(id.starts_with("mem_"));
    assert_eq!(
        member,
        json!({"object": "member", "id": id, "email": "eve@example.com", "external_id": "user-1",
            "created_at": "2026-11-22T10:00:00.123456Z"})
    );
    assert_eq!(answer.header("membership-position"), world.stores.head().to_string());
    assert_eq!(*world.stores.told.lock().unwrap(), [format!("registered {id}")]);
    assert_eq!(world.get(&format!("/v1/members/{id}")).await.json(), member);
    let decision = world.get(&format!("/v1/members/{id}/access/videos/projections")).await;
    assert_eq!(decision.json()["reason"], "no_membership");
}

#[tokio::test]
async fn the_event_names_the_service_and_the_request() {
    let world = World::new().await;
    let headers = [("authorization", "Bearer all-scopes-token-0001"), ("x-request-id", "order-77")];
    let answer = world.with(&headers, Method::POST, "/v1/members", r#"{"id":"mem_eve"}"#).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let timeline = world.get("/v1/support/members/mem_eve/timeline").await.json();
    assert_eq!(timeline["data"][0]["actor"], "service:all");
    assert_eq!(timeline["data"][0]["cause"], "order-77");
}

#[tokio::test]
async fn asking_again_with_the_same_external_id_answers_with_the_same_member() {
    let world = World::new().await;
    let wanted = json!({"external_id": "user-1", "email": "eve@example.com"});
    let first = create(&world, wanted.clone()).await;
    let head = world.stores.head();
    let second = create(&world, wanted).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    assert_eq!(first.json(), second.json());
    assert_eq!(world.stores.head(), head);
}

#[tokio::test]
async fn asking_again_finishes_what_an_interruption_left_undone() {
    let world = World::new().await;
    world.stores.log_fails.store(true, Ordering::SeqCst);
    let wanted = json!({"id": "mem_eve", "external_id": "user-1"});
    create(&world, wanted.clone()).await.problem(503, "store_unavailable");
    let only_mail = json!({"email": "mail@example.com", "id": "mem_mail"});
    create(&world, only_mail).await.problem(503, "store_unavailable");
    world.get("/v1/members/mem_eve/access/videos/welcome").await.problem(404, "unknown_member");
    world.stores.log_fails.store(false, Ordering::SeqCst);
    assert_eq!(create(&world, wanted).await.status, 200);
    create(&world, json!({"email": "mail@example.com"})).await.problem(409, "email_taken");
    for member in ["mem_eve", "mem_mail"] {
        let answer = world.get(&format!("/v1/members/{member}/access/videos/welcome")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn an_address_or_id_that_is_taken_is_refused_with_its_holder() {
    let world = World::new().await;
    create(&world, json!({"id": "mem_eve", "email": "eve@example.com", "external_id": "user-1"})).await;
    let detail = create(&world, json!({"email": "eve@example.com"})).await.problem(409, "email_taken");
    assert!(detail.contains("mem_eve"), "{detail}");
    create(&world, json!({"id": "mem_eva", "external_id": "user-1"})).await.problem(409, "external_id_taken");
    create(&world, json!({"id": "mem_eve", "external_id": "user-2"})).await.problem(409, "id_taken");
    let other_address = json!({"external_id": "user-1", "email": "other@example.com"});
    create(&world, other_address).await.problem(409, "external_id_taken");
    assert_eq!(create(&world, json!({"id": "mem_eve"})).await.status, 200);
}

#[tokio::test]
async fn a_field_that_cannot_be_used_is_named() {
    let world = World::new().await;
    for (field, value) in [
        ("email", "nobody".to_owned()),
        ("email", "a b@example.com".to_owned()),
        ("email", "a@b@example.com".to_owned()),
        ("email", "@example.com".to_owned()),
        ("email", format!("{}@example.com", "a".repeat(250))),
        ("external_id", "x".repeat(201)),
        ("external_id", String::new()),
        ("id", "eve".to_owned()),
    ] {
        let detail = create(&world, json!({field: value})).await.problem(422, "invalid");
        assert!(detail.starts_with(field), "{detail}");
    }
    let detail = create(&world, json!({"e_mail": "eve@example.com"})).await.problem(422, "wrong_shape");
    assert!(detail.contains("e_mail"), "{detail}");
    let detail = create(&world, json!({"email": 7})).await.problem(422, "wrong_shape");
    assert!(detail.contains("email"), "{detail}");
}

#[tokio::test]
async fn members_are_listed_page_by_page() {
    let world = World::new().await;
    for number in 0..3 {
        create(&world, json!({"id": format!("mem_{number}")})).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/members?limit=2".to_owned();
    loop {
        let page = world.get(&path).await.json();
        assert_eq!(page["object"], "list");
        seen.extend(
            page["data"].as_array().unwrap().iter().map(|member| member["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/members?limit=2&cursor={cursor}"),
            None => break assert_eq!(page["has_more"], false),
        }
    }
    assert_eq!(seen, ["mem_0", "mem_1", "mem_2"]);
    for limit in ["0", "101", "many"] {
        let detail = world.get(&format!("/v1/members?limit={limit}")).await.problem(400, "bad_query");
        assert!(detail.contains("limit"), "{detail}");
    }
    world.get("/v1/members?cursor=zz").await.problem(400, "bad_cursor");
    world.get("/v1/members?cursor=6162").await.problem(400, "bad_cursor");
}

#[tokio::test]
async fn a_member_of_the_log_is_shown_even_where_nothing_personal_is_kept() {
    let world = World::new().await;
    let ada = world.get("/v1/members/mem_ada").await.json();
    assert_eq!(ada["created_at"], "2025-02-01T00:00:00Z");
    assert!(ada["email"].is_null());
    world.get("/v1/members/mem_eve").await.problem(404, "unknown_member");
}

#[tokio::test]
async fn a_payer_is_linked_once_and_waiting_deliveries_hear_of_it() {
    let world = World::new().await;
    for _ in 0..2 {
        let answer = world.tell(Method::PUT, LINK, r#"{"customer":"cus_new"}"#).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.json(),
            json!({"object": "customer_link", "member": "mem_ada", "customer": "cus_new"})
        );
        assert_eq!(answer.header("membership-position"), world.stores.head().to_string());
    }
    assert_eq!(*world.stores.told.lock().unwrap(), ["linked cus_new", "linked cus_new"]);
}

#[tokio::test]
async fn a_payer_of_somebody_else_is_not_linked() {
    let world = World::new().await;
    let answer = world.tell(Method::PUT, LINK, r#"{"customer":"cus_bob"}"#).await;
    assert!(answer.problem(409, "linked_elsewhere").contains("mem_bob"));
    let nobody = "/v1/members/mem_eve/stripe-customer";
    world.tell(Method::PUT, nobody, r#"{"customer":"cus_new"}"#).await.problem(404, "unknown_member");
    for bad in ["", "sub_1", "cus_", "cus_a b"] {
        let answer = world.tell(Method::PUT, LINK, &json!({"customer": bad}).to_string()).await;
        assert!(answer.problem(422, "invalid").starts_with("customer"));
    }
    world.stores.log_fails.store(true, Ordering::SeqCst);
    world.tell(Method::PUT, LINK, r#"{"customer":"cus_new"}"#).await.problem(503, "contended");
}
