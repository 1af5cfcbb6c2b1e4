//! What a member sees of the catalogue, and her decisions as they change.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use domain::account::Role;
use domain::member::{Answer as Answered, Checkout, Member, MemberCommand, MemberEvent, Order, Wish, decide};
use domain::metadata::{Actor, Context};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;
use tower::util::ServiceExt;

use super::story::moment;
use super::world::{Answer, World};
use crate::viewer::Viewer;
use crate::{Rate, Rates};

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
    world.stores.subscribe("mem_bob", "pro", "2026-01-01T00:00:00Z");
    let changed = get_again(&world, "mem_bob", path, &tag).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test]
async fn a_tag_is_worth_nothing_to_another_member_who_may_watch_just_the_same() {
    let world = World::new().await;
    let path = "/v1/me/access";
    let first = get(&world, "mem_one", path).await;
    let other = get_again(&world, "mem_two", path, first.header("etag")).await;
    assert_eq!((other.status.as_u16(), &other.json()["member"]), (200, &json!("mem_two")));
    let reasons = |answer: &Answer| {
        let decisions = answer.json()["decisions"].as_array().unwrap().clone();
        decisions.iter().map(|decision| decision["reason"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&first), reasons(&other), "or this shows nothing");
    assert_eq!(get_again(&world, "mem_two", path, other.header("etag")).await.status, 304);
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

async fn come_back(world: &World, member: &str, session: &str) -> Answer {
    let mut back = request(member, "/v1/me/checkout/return");
    *back.method_mut() = Method::POST;
    back.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *back.body_mut() = Body::from(json!({ "session": session }).to_string());
    world.send(back).await
}

fn setup() -> Context {
    Context::asked_by(Actor::operator(), "setup", moment("2026-01-01T00:00:00Z"))
}

#[tokio::test]
async fn what_is_told_while_the_provider_cannot_be_asked_opens_all_the_same() {
    let world = World::new().await;
    let nothing = come_back(&world, "mem_new", "cs_1").await;
    assert_eq!((nothing.status.as_u16(), &nothing.json()["state"]), (202, &json!("checking")), "{nothing:?}");
    assert_eq!(nothing.header("retry-after"), "1");

    let told = async {
        sleep(Duration::from_millis(100)).await;
        world.stores.subscribe("mem_new", "pro", "2026-01-01T00:00:00Z");
        let checkout = Checkout {
            session: "cs_1".to_owned(),
            customer: "cus_new".into(),
            subscription: Some("sub_new".into()),
            payment_status: Some("paid".to_owned()),
            at: moment("2026-01-01T00:00:00Z"),
        };
        let completed = [MemberEvent::CheckoutCompleted { checkout }];
        world.stores.append::<Member>("mem_new", &completed, &setup());
    };
    let (back, ()) = tokio::join!(come_back(&world, "mem_new", "cs_1"), told);
    assert_eq!((back.status.as_u16(), &back.json()["state"]), (200, &json!("unlocked")), "{back:?}");
    assert_eq!(world.stores.looks.load(Ordering::SeqCst), 2, "it was tried each time");
}

#[tokio::test]
async fn a_purchase_is_looked_up_once_at_a_time_and_few_that_nobody_knows_of() {
    let world = World::new().await;
    world.stores.provider_hangs.store(true, Ordering::SeqCst);
    let looks = || world.stores.looks.load(Ordering::SeqCst);
    let same = join_all((0..5).map(|_| come_back(&world, "mem_one", "cs_1"))).await;
    assert!(same.iter().all(|answer| answer.status == 202), "{same:?}");
    assert_eq!(looks(), 1);

    let more = ["mem_one", "mem_two", "mem_two", "mem_three", "mem_three", "mem_four", "mem_four"];
    let more = more
        .into_iter()
        .enumerate()
        .map(async |(number, member)| come_back(&world, member, &format!("cs_other{number}")).await);
    assert!(join_all(more).await.iter().all(|answer| answer.status == 202));
    assert_eq!(looks(), 8);
    for member in ["mem_one", "mem_five"] {
        come_back(&world, member, "cs_another").await.problem(503, "overloaded");
        let check = get(&world, member, "/v1/me/access/videos/projections?session_id=cs_another").await;
        check.problem(503, "overloaded");
    }
    assert_eq!(looks(), 8);

    // What was begun here is looked up all the same.
    let (plan, price, customer) = ("pro".into(), "price_pro".into(), "cus_five".into());
    let wish = Wish::Checkout(Order { plan, price, customer, trial_days: None });
    let answer = Answered::Opened { session: "cs_hers".to_owned() };
    let key = || "k1".to_owned();
    for command in
        [MemberCommand::Ask { key: key(), wish }, MemberCommand::RecordAnswer { key: key(), answer }]
    {
        let events = decide(&world.stores.fold("mem_five"), command).unwrap();
        world.stores.append::<Member>("mem_five", &events, &setup());
    }
    assert_eq!(come_back(&world, "mem_five", "cs_hers").await.status, 202);
    assert_eq!(looks(), 9);
}

#[tokio::test]
async fn a_check_that_names_a_purchase_counts_among_what_a_member_may_ask() {
    let world = World::limited(Rates { member: Some(Rate::new(1, 2)), ..Rates::OFF }).await;
    world.stores.sell();
    let path = "/v1/me/access/videos/projections";
    for name in ["session_id", "%73ession_id"] {
        get(&world, "mem_one", &format!("{path}?{name}=none")).await.problem(404, "unknown_checkout");
    }
    let third = get(&world, "mem_one", &format!("{path}?session%5Fid=none")).await;
    assert_eq!((third.status.as_u16(), &third.json()["code"]), (429, &json!("rate_limited")));
    for _ in 0..5 {
        assert_eq!(get(&world, "mem_one", path).await.status, 200, "without one it does not");
    }
}

#[tokio::test]
async fn a_node_that_is_not_ready_begins_a_stream_of_events_and_refuses_the_rest() {
    let world = World::starting(false, true).await;
    let stream = world.app.clone().oneshot(request("mem_one", "/v1/me/events")).await.unwrap();
    assert_eq!(stream.status(), 200);
    get(&world, "mem_one", "/v1/me/access").await.problem(503, "not_ready");
}

#[tokio::test]
async fn a_member_takes_her_history_along_in_words_for_herself_and_without_the_names_of_staff() {
    let world = World::new().await;
    let everything = get(&world, "mem_ada", "/v1/me/export").await;
    let disposition = everything.headers.get("content-disposition").unwrap().to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"mem_ada.json\"");
    assert_eq!(everything.headers.get("cache-control").unwrap(), "no-store");
    let body = everything.json();
    assert_eq!((&body["object"], &body["member"]), (&json!("my_export"), &json!("mem_ada")));
    let history = body["history"].as_array().unwrap();
    assert!(history.iter().any(|entry| entry["sentence"] == "You joined."), "{body:#}");
    assert!(history.iter().all(|entry| entry.get("actor").is_none() && entry["by"].is_string()), "{body:#}");
    let csv = get(&world, "mem_ada", "/v1/me/export?format=csv").await;
    assert_eq!(csv.headers.get("content-type").unwrap(), "text/csv; charset=utf-8");
    assert_eq!(csv.headers.get("cache-control").unwrap(), "no-store");
    let mut reader = csv::Reader::from_reader(csv.text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let told = rows.iter().filter(|row| &row[2] != "Fact").count();
    assert_eq!(told, history.len(), "{}", csv.text);
    assert!(rows.iter().any(|row| &row[3] == "Your id is mem_ada"), "{}", csv.text);
    world.with(&[], Method::GET, "/v1/me/export", "").await.problem(401, "not_signed_in");
    get(&world, "mem_ada", "/v1/me/export?format=xml").await.problem(400, "bad_query");
}

#[tokio::test]
async fn a_locked_lesson_says_what_support_reads_and_what_other_back_ends_are_told() {
    let world = World::new().await;
    let mut denied = 0;
    for member in ["mem_ada", "mem_bob"] {
        for video in ["projections", "welcome"] {
            let lesson = get(&world, member, &format!("/v1/videos/{video}")).await.json();
            let support =
                world.get(&format!("/v1/support/members/{member}/explain?video={video}")).await.json();
            let check = world.get(&format!("/v1/members/{member}/access/videos/{video}")).await.json();
            let words = &lesson["access"]["message"];
            assert!(words.is_string(), "{lesson:#}");
            assert_eq!(
                (words, words),
                (&support["decision"]["message"], &check["message"]),
                "{member} {video}"
            );
            denied += usize::from(lesson["access"]["allowed"] == false);
        }
    }
    assert!(denied > 0, "no lesson was locked");
}
