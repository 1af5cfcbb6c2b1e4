//! What a member sees of the catalogue, and her decisions as they change.

use axum::body::Body;
use axum::http::{Method, Request};
use domain::account::Role;
use serde_json::json;

use super::world::{Answer, World};
use crate::viewer::Viewer;

fn request(member: &str, path: &str) -> Request<Body> {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let session = format!("ses_{member}").as_str().into();
    request.extensions_mut().insert(Viewer { member: member.into(), session, role: Role::Member });
    request
}

async fn get(world: &World, member: &str, path: &str) -> Answer {
    world.send(request(member, path)).await
}

async fn get_again(world: &World, member: &str, path: &str, known: &str) -> Answer {
    let mut request = request(member, path);
    request.headers_mut().insert("if-none-match", known.parse().unwrap());
    world.send(request).await
}

#[tokio::test]
async fn a_video_is_played_only_after_a_yes_and_a_free_one_by_anyone() {
    let world = World::new().await;
    let playable = async |member: &str, video: &str| {
        let path = format!("/v1/videos/{video}");
        let answer = match member {
            "" => world.with(&[], Method::GET, &path, "").await,
            member => get(&world, member, &path).await,
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["access"]["allowed"] == true, body.get("playback").is_some(), "{body}");
        (body["access"]["reason"].as_str().unwrap().to_owned(), body.get("playback").is_some())
    };
    assert_eq!(playable("", "projections").await, ("not_signed_in".to_owned(), false));
    assert_eq!(playable("", "welcome").await, ("free".to_owned(), true));
    assert_eq!(playable("mem_bob", "projections").await, ("plan_too_low".to_owned(), false));
    assert_eq!(playable("mem_ada", "projections").await, ("subscription".to_owned(), true));
    assert_eq!(playable("mem_new", "projections").await, ("no_membership".to_owned(), false));
    get(&world, "mem_ada", "/v1/videos/nowhere").await.problem(404, "unknown_video");
}

#[tokio::test]
async fn the_catalogue_shows_locks_and_their_reasons() {
    let world = World::new().await;
    let body = get(&world, "mem_bob", "/v1/catalog").await.json();
    let videos = &body["roadmaps"][0]["courses"][0]["videos"];
    let lock = |place: usize| (&videos[place]["id"], &videos[place]["access"]["reason"]);
    assert_eq!(lock(0), (&json!("projections"), &json!("plan_too_low")));
    assert_eq!(videos[0]["access"]["fix"], json!({ "action": "upgrade", "plan": "pro" }));
    assert_eq!(lock(1), (&json!("welcome"), &json!("free")));
    assert!(videos[0].get("playback").is_none() && body["member"] == "mem_bob", "{body}");
}

#[tokio::test]
async fn all_decisions_have_a_tag_that_stays_until_one_of_them_changes() {
    let world = World::new().await;
    let path = "/v1/me/access";
    let first = get(&world, "mem_bob", path).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(first.json()["decisions"].as_array().unwrap().len(), 2);
    let again = get_again(&world, "mem_bob", path, &format!("\"other\", {tag}")).await;
    assert_eq!((again.status.as_u16(), again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));
    // Of another member the same tag is worth nothing.
    assert_eq!(get_again(&world, "mem_ada", path, &tag).await.status, 200);
    world.stores.subscribe("mem_bob", "pro", "2026-01-01T00:00:00Z");
    let changed = get_again(&world, "mem_bob", path, &tag).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test]
async fn without_a_provider_nothing_can_be_bought_and_that_is_said() {
    let world = World::new().await;
    let mut wanted = request("mem_new", "/v1/me/checkout");
    *wanted.method_mut() = Method::POST;
    wanted.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *wanted.body_mut() = Body::from(r#"{"plan":"pro"}"#);
    world.send(wanted).await.problem(409, "billing_not_configured");
}
