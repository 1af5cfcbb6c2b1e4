//! Commands that come again under a key, and how often one may ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, SET_COOKIE};
use axum::http::{Method, Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use domain::account::Role;
use domain::idempotency::Begun;
use domain::ids::SessionId;

use super::world::{ALL, Answer, LIMITS, World};
use crate::client_address::ClientAddress;
use crate::observe::is_check;
use crate::viewer::Viewer;
use crate::{Rate, Rates, idempotency};

impl World {
    /// Sends a command under a key.
    async fn keyed(&self, key: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {ALL}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        self.with(&headers, Method::POST, path, body).await
    }

    fn members(&self) -> usize {
        self.stores.people.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_command_that_comes_again_is_answered_as_before_and_changes_nothing() {
    let world = World::new().await;
    let first = world.keyed("one", "/v1/members", "{}").await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = world.keyed("one", "/v1/members", "{}").await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    for name in ["content-type", "membership-position"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!(world.members(), 1);
    world.keyed("\"one\"", "/v1/members", "{}").await;
    assert_eq!(world.members(), 1, "with the quotes of the draft it is the same key");
    world.keyed("two", "/v1/members", "{}").await;
    assert_eq!(world.members(), 2);
}

#[tokio::test]
async fn a_refusal_is_answered_again_too() {
    let world = World::new().await;
    let first = world.keyed("one", "/v1/members", r#"{"email":"nobody"}"#).await;
    first.problem(422, "invalid");
    let again = world.keyed("one", "/v1/members", r#"{"email":"nobody"}"#).await;
    assert_eq!(
        (again.text, again.headers["idempotent-replayed"].as_bytes()),
        (first.text, b"true".as_slice())
    );
}

#[tokio::test]
async fn a_key_with_another_body_or_query_is_refused() {
    let world = World::new().await;
    world.keyed("one", "/v1/members", "{}").await;
    let other = world.keyed("one", "/v1/members", r#"{"external_id":"7"}"#).await;
    other.problem(422, "idempotency_key_reused");
    world.keyed("one", "/v1/members?a=b", "{}").await.problem(422, "idempotency_key_reused");
    assert_eq!(world.members(), 1);
}

#[tokio::test]
async fn a_key_belongs_to_who_sent_it_and_to_a_path() {
    let world = World::new().await;
    world.keyed("one", "/v1/members", "{}").await;
    let elsewhere = world.keyed("one", "/v1/support/projections/directory/rebuild", "").await;
    assert_eq!(elsewhere.header("idempotent-replayed"), "");
    let support = [("authorization", "Bearer support-read-token-01"), ("idempotency-key", "one")];
    let other = world.with(&support, Method::POST, "/v1/members", "{}").await;
    other.problem(403, "forbidden");
    assert_eq!(other.header("idempotent-replayed"), "");
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_before_anything_is_done() {
    let world = World::new().await;
    let long = "k".repeat(256);
    for bad in ["", "\"\"", "  ", &long, "caf\u{e9}", "a\tb"] {
        world.keyed(bad, "/v1/members", "{}").await.problem(400, "bad_idempotency_key");
    }
    let bearer = format!("Bearer {ALL}");
    let twice = [("authorization", bearer.as_str()), ("idempotency-key", "a"), ("idempotency-key", "a")];
    world.with(&twice, Method::POST, "/v1/members", "{}").await.problem(400, "bad_idempotency_key");
    assert_eq!(world.members(), 0);
    world.keyed(&"k".repeat(255), "/v1/members", "{}").await;
    assert_eq!(world.members(), 1);
}

#[tokio::test]
async fn nothing_is_done_while_the_store_cannot_remember_it() {
    let world = World::new().await;
    world.stores.forgetful.store(true, Ordering::SeqCst);
    let refused = world.keyed("one", "/v1/members", "{}").await;
    refused.problem(503, "store_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    world.stores.forgetful.store(false, Ordering::SeqCst);
    assert_eq!(world.members(), 0);
    assert_eq!(world.keyed("one", "/v1/members", "{}").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn reading_takes_no_key() {
    let world = World::new().await;
    let bearer = format!("Bearer {ALL}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "")];
    let read = world.with(&headers, Method::GET, "/v1/members", "").await;
    assert_eq!(read.status, StatusCode::OK);
    assert!(world.stores.kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_kept_for_strangers_and_nothing_of_what_was_not_done() {
    let world = World::new().await;
    let stranger = [("idempotency-key", "one"), ("content-type", "application/json")];
    world.with(&stranger, Method::POST, "/v1/members", "{}").await.problem(401, "unauthenticated");
    let without_scope = [("authorization", "Bearer support-read-token-01"), ("idempotency-key", "one")];
    world.with(&without_scope, Method::POST, "/v1/members", "{}").await.problem(403, "forbidden");
    assert!(world.stores.kept.lock().unwrap().is_empty());
}

/// A service whose one command answers as told, and counts how often it is carried out.
async fn answering(
    answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static,
) -> (World, Arc<AtomicUsize>) {
    let (mut world, count) = (World::new().await, Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let command = post(async move || answer(counted.fetch_add(1, Ordering::SeqCst)));
    let routes = Router::new().route("/v1/command", command.clone()).route("/v1/auth/login", command);
    let routes = routes.route_layer(from_fn_with_state(world.state.clone(), idempotency::once));
    world.app = crate::serve_shell(routes, world.state.clone(), crate::Admission::new(LIMITS));
    (world, count)
}

#[tokio::test]
async fn a_failure_and_what_passes_are_not_kept() {
    let answer = |count| match count {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => StatusCode::TOO_MANY_REQUESTS.into_response(),
        2 => (StatusCode::CONFLICT, [(RETRY_AFTER, "1")]).into_response(),
        _ => StatusCode::CONFLICT.into_response(),
    };
    let (world, count) = answering(answer).await;
    for status in [503, 429, 409, 409, 409] {
        assert_eq!(world.keyed("one", "/v1/command", "").await.status.as_u16(), status);
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_panic_is_told_and_leaves_the_key_free() {
    let (world, count) = answering(|count| {
        assert!(count > 0, "told to");
        StatusCode::OK.into_response()
    })
    .await;
    world.keyed("one", "/v1/command", "").await.problem(500, "internal");
    assert_eq!(world.keyed("one", "/v1/command", "").await.status, StatusCode::OK);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_sets_cookies_or_must_not_be_stored_is_never_kept() {
    for secret in [(SET_COOKIE, "access=secret"), (CACHE_CONTROL, "private, no-store")] {
        let (world, count) = answering(move |_| ([secret.clone()], "token").into_response()).await;
        for path in ["/v1/command", "/v1/auth/login"] {
            for _ in 0..2 {
                let answer = world.keyed("one", path, "").await;
                assert_eq!((answer.status, answer.header("idempotent-replayed")), (StatusCode::OK, ""));
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 4);
        assert!(world.stores.kept.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_kept_says_nothing_to_whoever_has_not_the_key() {
    let world = World::new().await;
    let body = r#"{"email":"grace@example.com"}"#;
    let first = world.keyed("one", "/v1/members", body).await;
    assert!(first.text.contains("grace@example.com"));
    let kept: Vec<_> = world.stores.kept.lock().unwrap().values().cloned().collect();
    let [(_, Begun::Finished(answer))] = &kept[..] else { panic!("{kept:?}") };
    assert!(answer.body.len() >= first.text.len());
    assert!(!String::from_utf8_lossy(&answer.body).contains("grace"));
    assert!(!format!("{:?}", answer.headers).contains("grace"));
    assert_eq!(world.keyed("one", "/v1/members", body).await.text, first.text);
}

#[tokio::test]
async fn nobody_is_answered_with_what_another_was_told() {
    let (world, count) = answering(|count| format!("answer {count}").into_response()).await;
    let ask = async |viewer: Option<&str>| {
        let mut request = Request::post("/v1/command").header("idempotency-key", "one");
        if let Some(member) = viewer {
            let (member, session) = (member.into(), SessionId::from("ses_1"));
            request = request.extension(Viewer { member, session, role: Role::Member });
        } else {
            request = request.header("authorization", format!("Bearer {ALL}"));
        }
        world.send(request.body(Body::empty()).unwrap()).await.text
    };
    // Called as the service is, she is still somebody else.
    for (viewer, answer) in [(Some("mem_a"), 0), (Some("mem_b"), 1), (Some("all"), 2), (None, 3)] {
        for _ in 0..2 {
            assert_eq!(ask(viewer).await, format!("answer {answer}"), "{viewer:?}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

/// The methods and paths of all routes that the document has, with something in place of their parameters.
fn routes() -> Vec<(Method, String)> {
    let document = serde_json::to_value(crate::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.split('/').map(|part| if part.starts_with('{') { "x_1" } else { part });
        let filled = filled.collect::<Vec<_>>().join("/");
        let operations = item.as_object().unwrap().keys();
        let method = |name: &String| Method::from_bytes(name.to_uppercase().as_bytes()).unwrap();
        routes.extend(operations.map(|name| (method(name), filled.clone())));
    }
    routes
}

#[tokio::test]
async fn every_command_takes_a_key_and_every_route_says_its_rate() {
    let world = World::limited(Rates { service: Some(Rate::new(1, 1_000)), ..Rates::OFF }).await;
    let (mut commands, mut limited) = (0, 0);
    for (method, path) in routes() {
        if !path.starts_with("/v1/") || is_check(&path) {
            continue;
        }
        limited += 1;
        let bearer = format!("Bearer {ALL}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "")];
        let answer = world.with(&headers, method.clone(), &path, "").await;
        assert_eq!(answer.header("ratelimit-policy"), "\"service\";q=1000;w=1000", "{method} {path}");
        if !method.is_safe() && !path.starts_with("/v1/auth/") {
            commands += 1;
            answer.problem(400, "bad_idempotency_key");
        }
    }
    assert!(commands >= 5 && limited > commands, "{commands} of {limited}");
}

#[tokio::test]
async fn a_caller_who_gives_up_comes_back_for_the_answer() {
    let (mut world, count) = (World::new().await, Arc::new(AtomicUsize::new(0)));
    let (counted, go) = (count.clone(), Arc::new(tokio::sync::Notify::new()));
    let gate = go.clone();
    let command = post(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.notified().await;
        "done"
    });
    let routes = Router::new().route("/v1/command", command);
    let routes = routes.route_layer(from_fn_with_state(world.state.clone(), idempotency::once));
    world.app = crate::serve_shell(routes, world.state.clone(), crate::Admission::new(LIMITS));
    {
        let mut first = Box::pin(world.keyed("one", "/v1/command", ""));
        while count.load(Ordering::SeqCst) == 0 {
            tokio::select! {
                answer = &mut first => panic!("answered before it was done: {answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    let meanwhile = world.keyed("one", "/v1/command", "").await;
    meanwhile.problem(409, "idempotency_key_in_use");
    assert_eq!(meanwhile.header("retry-after"), "1");
    go.notify_one();
    let answer = loop {
        let answer = world.keyed("one", "/v1/command", "").await;
        if answer.status != StatusCode::CONFLICT {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((answer.text.as_str(), answer.header("idempotent-replayed")), ("done", "true"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let world = World::limited(Rates { service: Some(Rate::new(1, 3)), ..Rates::OFF }).await;
    for left in ["2", "1", "0"] {
        let answer = world.get("/v1/members").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("ratelimit-policy"), "\"service\";q=3;w=3");
        assert!(answer.header("ratelimit").starts_with(&format!("\"service\";r={left};t=")));
    }
    let refused = world.get("/v1/members").await;
    refused.problem(429, "rate_limited");
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), ("1", "\"service\";r=0;t=1"));
    let other = [("authorization", "Bearer support-read-token-01")];
    world.with(&other, Method::GET, "/v1/members", "").await.problem(403, "forbidden");
}

#[tokio::test]
async fn access_checks_by_token_and_health_are_not_limited() {
    let world = World::limited(Rates {
        service: Some(Rate::new(1, 1)),
        signed_out: Some(Rate::new(1, 1)),
        ..Rates::OFF
    })
    .await;
    for path in ["/v1/members/mem_nobody/access/videos/none", "/healthz"] {
        for _ in 0..5 {
            let answer = world.get(path).await;
            assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
            assert_eq!(answer.header("ratelimit"), "", "{path}");
        }
    }
}

#[tokio::test]
async fn strangers_are_told_apart_by_their_address_and_members_by_who_they_are() {
    let world = World::limited(Rates {
        signed_out: Some(Rate::new(1, 1)),
        member: Some(Rate::new(1, 2)),
        ..Rates::OFF
    })
    .await;
    let ask = async |address: &str, member: Option<&str>| {
        let mut request = Request::builder().uri("/v1/members").body(Body::empty()).unwrap();
        request.extensions_mut().insert(ClientAddress(address.parse().unwrap()));
        if let Some(member) = member {
            request.extensions_mut().insert(Viewer {
                member: member.into(),
                session: SessionId::from("ses_1"),
                role: Role::Member,
            });
        }
        world.send(request).await.status.as_u16()
    };
    assert_eq!(ask("192.0.2.1", None).await, 401);
    assert_eq!(ask("192.0.2.1", None).await, 429);
    assert_eq!(ask("192.0.2.2", None).await, 401);
    assert_eq!(ask("2001:db8::1", None).await, 401);
    assert_eq!(ask("2001:db8::2", None).await, 429, "one customer has all of a /64");
    for (member, status) in [("mem_a", 401), ("mem_a", 401), ("mem_a", 429), ("mem_b", 401)] {
        assert_eq!(ask("192.0.2.1", Some(member)).await, status, "{member}");
    }
}
