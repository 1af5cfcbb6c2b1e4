//! What all answers share.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use axum::routing::post;
use axum::{Json, Router};

use super::stores::Failure;
use super::world::{ALL, LIMITS, World};

const ADA: &str = "/v1/members/mem_ada/access/videos/projections";

impl World {
    async fn from(&self, position: &str, path: &str) -> super::world::Answer {
        let bearer = format!("Bearer {ALL}");
        let headers = [("authorization", bearer.as_str()), ("membership-position", position)];
        self.with(&headers, Method::GET, path, "").await
    }
}

#[tokio::test]
async fn a_request_without_a_known_token_is_not_authenticated() {
    let world = World::new().await;
    for headers in [
        &[][..],
        &[("authorization", "Bearer not-a-token-known-here")],
        &[("authorization", "Basic YWxsLXNjb3Blcy10b2tlbi0wMDAx")],
        &[("authorization", ALL)],
    ] {
        let answer = world.with(headers, Method::GET, ADA, "").await;
        answer.problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let lower = [("authorization", "bearer access-only-token-01")];
    assert_eq!(world.with(&lower, Method::GET, ADA, "").await.status, 200);
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which_one_is_missing() {
    let world = World::new().await;
    let shop = [("authorization", "Bearer access-only-token-01")];
    let staff = [("authorization", "Bearer support-read-token-01")];
    for (headers, method, path, scope) in [
        (&staff, Method::GET, ADA, "access.read"),
        (&staff, Method::POST, "/v1/access/check", "access.read"),
        (&shop, Method::POST, "/v1/members", "members.write"),
        (&shop, Method::GET, "/v1/members", "members.write"),
        (&shop, Method::GET, "/v1/members/mem_ada", "members.write"),
        (&shop, Method::PUT, "/v1/members/mem_ada/stripe-customer", "members.write"),
        (&shop, Method::GET, "/v1/support/members/mem_ada/timeline", "support.read"),
        (&shop, Method::GET, "/v1/support/members/mem_ada/explain?video=welcome", "support.read"),
        (&shop, Method::GET, "/v1/support/deliveries", "support.read"),
        (&staff, Method::POST, "/v1/support/deliveries/evt_1/replay", "support.write"),
        (&shop, Method::GET, "/v1/support/projections", "support.read"),
        (&staff, Method::POST, "/v1/support/projections/redrive", "support.write"),
        (&staff, Method::POST, "/v1/support/projections/directory/rebuild", "support.write"),
    ] {
        let detail = world.with(headers, method, path, "").await.problem(403, "forbidden");
        assert!(detail.contains(scope), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_path_nobody_serves_is_named() {
    let world = World::new().await;
    let detail = world.get("/v2/everything").await.problem(404, "no_such_path");
    assert!(detail.contains("/v2/everything"));
}

#[tokio::test]
async fn a_method_nobody_serves_is_told_what_is_served() {
    let world = World::new().await;
    let answer = world.tell(Method::DELETE, "/v1/members", "").await;
    let detail = answer.problem(405, "method_not_allowed");
    assert!(detail.contains("DELETE") && detail.contains("GET") && detail.contains("POST"), "{detail}");
    assert!(answer.header("allow").contains("POST"));
}

#[tokio::test]
async fn a_body_is_json_and_not_too_large() {
    let world = World::new().await;
    let path = "/v1/access/check";
    for bad in ["", "{", "checks", r#"{"checks":[]} more"#] {
        world.post(path, bad).await.problem(400, "malformed_json");
    }
    let detail = world.post(path, r#"{"checks":[{"member":"mem_ada"}]}"#).await.problem(422, "wrong_shape");
    assert!(detail.contains("checks[0]") && detail.contains("video"), "{detail}");
    world.post(path, &" ".repeat(crate::BODY_LIMIT + 1)).await.problem(413, "too_large");
    let bearer = format!("Bearer {ALL}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    world.with(&headers, Method::POST, path, "checks=1").await.problem(415, "not_json");
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_tells_nothing_of_itself() {
    let world = World::new().await;
    *world.stores.failure.lock().unwrap() = Some(Failure::Unavailable);
    let answer = world.get("/v1/members/mem_eve").await;
    answer.problem(503, "store_unavailable");
    assert!(!answer.text.contains("secret"));
    assert_eq!(world.get(ADA).await.status, 200, "checks need no store");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_500_and_tells_nothing_of_itself() {
    let world = World::new().await;
    *world.stores.failure.lock().unwrap() = Some(Failure::Corrupt);
    for path in ["/v1/members/mem_eve", "/v1/support/members/mem_ada/timeline"] {
        let answer = world.get(path).await;
        answer.problem(500, "internal");
        assert!(!answer.text.contains("secret"));
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_too() {
    let world = World::new().await;
    world.stores.panics.store(true, Ordering::SeqCst);
    world.get("/v1/members/mem_eve").await.problem(500, "internal");
}

#[tokio::test]
async fn a_sane_request_id_is_echoed_and_another_is_replaced() {
    let world = World::new().await;
    let asked = async |id: &str| {
        let answer = world.with(&[("x-request-id", id)], Method::GET, "/healthz", "").await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(asked("order-77:a.b_c").await, "order-77:a.b_c");
    let mut made = BTreeSet::new();
    for bad in ["", "two words", "quote\"d", &"x".repeat(129)] {
        let id = asked(bad).await;
        assert!(id.starts_with("req_07070707070707070707"), "{bad}: {id}");
        assert!(made.insert(id), "{bad}: no two requests have the same id");
    }
    let answer = world.with(&[("x-request-id", "order-77")], Method::GET, "/nowhere", "").await;
    assert_eq!(answer.json()["request_id"], "order-77");
}

#[tokio::test]
async fn an_answer_waits_for_the_position_it_is_asked_from() {
    let world = World::new().await;
    let wanted = world.stores.head().get() + 5;
    let token = domain::ports::Position::new(wanted).to_string();
    let (answer, ()) = tokio::join!(world.from(&token, ADA), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.index_dial().set(wanted);
    });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("membership-position"), token);
    assert_eq!(answer.json()["position"], token);
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_two_seconds_is_behind() {
    let world = World::new().await;
    let began = Instant::now();
    let support = "/v1/support/deliveries";
    let ((), index, directory) = tokio::join!(
        async { world.index_dial().set(0xfff) },
        world.from("p-ffff", ADA),
        world.from("p-fff", support)
    );
    index.problem(503, "behind");
    directory.problem(503, "behind");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(30), "{waited:?}");
    assert_eq!(world.from("p-fff", ADA).await.status, 200, "the index is there");
    world.directory_dial().set(0xfff);
    assert_eq!(world.from("p-fff", support).await.status, 200);
}

#[tokio::test]
async fn a_position_that_is_none_is_refused() {
    let world = World::new().await;
    for bad in ["", "7", "p-", "p-XYZ"] {
        world.from(bad, ADA).await.problem(400, "bad_position");
    }
}

#[tokio::test]
async fn health_never_waits() {
    let world = World::new().await;
    for position in ["p-ffff", "nonsense"] {
        let began = Instant::now();
        assert_eq!(world.from(position, "/healthz").await.status, 200);
        assert_eq!(world.from(position, "/readyz").await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_service_that_works_is_ready_and_says_how_far_it_is() {
    let world = World::new().await;
    let report = world.get("/readyz").await.json();
    let head = world.stores.head().to_string();
    assert_eq!(report["status"], "ready");
    assert_eq!((&report["position"], &report["head"]), (&head.as_str().into(), &head.as_str().into()));
    assert_eq!((&report["lag"], &report["deliveries_waiting"]), (&0.into(), &3.into()));
}

#[tokio::test]
async fn a_service_that_is_not_ready_names_what_fails() {
    let world = World::starting(true, false).await;
    let detail = world.get("/readyz").await.problem(503, "not_ready");
    assert!(detail.contains("directory") && !detail.contains("access_index"), "{detail}");

    let world = World::starting(false, true).await;
    assert!(world.get("/readyz").await.problem(503, "not_ready").contains("access_index"));

    let world = World::new().await;
    world.stores.worker_gone.store(true, Ordering::SeqCst);
    assert!(world.get("/readyz").await.problem(503, "not_ready").contains("worker"));
    world.stores.stopping.store(true, Ordering::SeqCst);
    assert!(world.get("/readyz").await.problem(503, "not_ready").contains("process: it is stopping"));
    *world.stores.failure.lock().unwrap() = Some(Failure::Unavailable);
    let answer = world.get("/readyz").await;
    assert!(answer.problem(503, "not_ready").contains("store"));
    assert!(answer.json()["head"].is_null() && answer.json()["checks"].is_array());
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn routes_of_others_keep_their_own_limits_and_their_own_structured_errors() {
    let mut world = World::new().await;
    let others = Router::new()
        .route("/others/size", post(async |body: Bytes| body.len().to_string()))
        .route("/others/json", post(async || (StatusCode::BAD_REQUEST, Json("theirs"))))
        .route("/others/text", post(async || (StatusCode::IM_A_TEAPOT, "short and stout")))
        .layer(DefaultBodyLimit::max(1 << 20));
    let routes = crate::router(world.state.clone()).merge(others);
    world.app = crate::serve_shell(routes, world.state.clone(), crate::Admission::new(LIMITS));
    let large = " ".repeat(crate::BODY_LIMIT + 1);
    assert_eq!(world.post("/others/size", &large).await.text, large.len().to_string());
    let structured = world.post("/others/json", "").await;
    assert_eq!((structured.status.as_u16(), structured.text.as_str()), (400, "\"theirs\""));
    assert!(!structured.header("x-request-id").is_empty());
    world.post("/others/text", "").await.problem(418, "refused");
    world.post("/v1/access/check", &large).await.problem(413, "too_large");
}
