//! Access decisions, one and many.

use std::time::{Duration, Instant};

use serde_json::json;

use super::dial::Fault;
use super::world::{Answer, World};

const ADA: &str = "/v1/members/mem_ada/access/videos/projections";

#[tokio::test]
async fn a_decision_is_written_as_the_contract_says() {
    let world = World::new().await;
    let answer = world.get("/v1/members/mem_bob/access/videos/projections").await;
    assert_eq!(answer.status, 200);
    let position = world.stores.head().to_string();
    assert_eq!(
        answer.json(),
        json!({
            "object": "access_decision", "member": "mem_bob", "video": "projections", "allowed": false,
            "reason": "plan_too_low", "plan": "basic", "until": null,
            "message": "Your Basic membership does not include this video.",
            "fix": {"action": "upgrade", "plan": "pro"},
            "at": "2026-11-22T10:00:00.123456Z", "position": position
        })
    );
    assert_eq!(answer.header("membership-position"), position);
}

#[tokio::test]
async fn a_yes_has_nothing_to_fix() {
    let world = World::new().await;
    let decision = world.get(ADA).await.json();
    assert_eq!(decision["allowed"], true);
    assert_eq!(decision["reason"], "subscription");
    assert!(decision["fix"].is_null() && decision.as_object().unwrap().contains_key("fix"));
}

#[tokio::test]
async fn a_question_about_a_moment_names_the_events_that_decided() {
    let world = World::new().await;
    let now = world.get(&format!("{ADA}?at=2025-03-01T00:00:00Z")).await;
    let decision = now.json();
    assert_eq!(decision["allowed"], true);
    assert_eq!(decision["at"], "2025-03-01T00:00:00Z");
    assert_eq!(decision["position"], world.stores.head().to_string());
    let event = &decision["deciding_events"][0];
    assert_eq!(event["cause"], "evt_ada");
    for field in ["position", "event_type", "occurred_at", "recorded_at", "sentence"] {
        assert!(event[field].is_string(), "{field} in {event}");
    }
    let before = world.get(&format!("{ADA}?at=2025-01-15T01:00:00%2B01:00")).await.json();
    assert_eq!(before["reason"], "no_membership");
    assert_eq!(before["at"], "2025-01-15T00:00:00Z");
    assert_eq!(before["deciding_events"], json!([]));
}

#[tokio::test]
async fn an_unknown_member_and_an_unknown_video_are_told_apart() {
    let world = World::new().await;
    for at in ["", "?at=2025-03-01T00:00:00Z"] {
        let nobody = world.get(&format!("/v1/members/mem_eve/access/videos/projections{at}")).await;
        assert!(nobody.problem(404, "unknown_member").contains("mem_eve"));
        let nothing = world.get(&format!("/v1/members/mem_ada/access/videos/cooking{at}")).await;
        assert!(nothing.problem(404, "unknown_video").contains("cooking"));
    }
    world.get("/v1/members/eve/access/videos/projections").await.problem(404, "unknown_member");
}

#[tokio::test]
async fn a_moment_that_cannot_be_read_is_refused_with_its_format() {
    let world = World::new().await;
    let detail = world.get(&format!("{ADA}?at=yesterday")).await.problem(400, "bad_time");
    assert!(detail.contains("at is not") && detail.contains("RFC 3339"), "{detail}");
    let detail = world.get(&format!("{ADA}?when=now")).await.problem(400, "bad_query");
    assert!(detail.contains("when"), "{detail}");
}

#[tokio::test]
async fn many_checks_are_answered_in_order_and_an_unknown_one_fails_alone() {
    let world = World::new().await;
    let checks = json!({"checks": [
        {"member": "mem_ada", "video": "projections"}, {"member": "mem_eve", "video": "projections"},
        {"member": "mem_bob", "video": "projections"}, {"member": "mem_ada", "video": "cooking"},
        {"member": "?", "video": "welcome"}, {"member": "mem_bob", "video": "welcome"},
    ]});
    let answer = world.post("/v1/access/check", &checks.to_string()).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["object"], "access_check");
    assert_eq!(body["position"], world.stores.head().to_string());
    let said: Vec<_> = body["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let what = item.get("reason").or_else(|| item.get("code")).unwrap().as_str().unwrap();
            assert!(item.get("position").is_none_or(|position| *position == body["position"]));
            (item["object"].as_str().unwrap(), item["member"].as_str().unwrap(), what)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("access_decision", "mem_ada", "subscription"),
            ("access_error", "mem_eve", "unknown_member"),
            ("access_decision", "mem_bob", "plan_too_low"),
            ("access_error", "mem_ada", "unknown_video"),
            ("access_error", "?", "unknown_member"),
            ("access_decision", "mem_bob", "free"),
        ]
    );
}

#[tokio::test]
async fn a_batch_has_1_to_200_checks() {
    let world = World::new().await;
    let checks = |count: usize| {
        json!({"checks": vec![json!({"member": "mem_ada", "video": "welcome"}); count]}).to_string()
    };
    let most = world.post("/v1/access/check", &checks(200)).await;
    assert_eq!(most.json()["decisions"].as_array().unwrap().len(), 200);
    for count in [0, 201] {
        let detail = world.post("/v1/access/check", &checks(count)).await.problem(422, "invalid");
        assert!(detail.contains("checks") && detail.contains(&count.to_string()), "{detail}");
    }
}

#[tokio::test]
async fn before_the_first_catching_up_nothing_is_decided() {
    let world = World::starting(false, false).await;
    world.get(ADA).await.problem(503, "not_ready");
    world.get(&format!("{ADA}?at=2025-03-01T00:00:00Z")).await.problem(503, "not_ready");
    let checks = r#"{"checks":[{"member":"mem_ada","video":"projections"}]}"#;
    world.post("/v1/access/check", checks).await.problem(503, "not_ready");
    world.get("/v1/support/members/mem_ada/timeline").await.problem(503, "not_ready");
}

const BATCH: &str =
    r#"{"checks":[{"member":"mem_ada","video":"projections"},{"member":"mem_bob","video":"welcome"}]}"#;

/// Asks until answers are degraded, or are no longer.
async fn until_degraded(world: &World, degraded: bool) -> Answer {
    let began = Instant::now();
    loop {
        let answer = world.get(ADA).await;
        assert_eq!(answer.status, 200, "a check is answered whatever becomes of the log");
        assert_eq!(answer.json()["allowed"], true);
        let (field, header) =
            (answer.json()["degraded"].clone(), answer.header("membership-degraded").to_owned());
        assert_eq!(field["age_seconds"].as_u64().map(|age| age.to_string()).unwrap_or_default(), header);
        if field.is_object() == degraded {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "answers do not change: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn while_the_log_cannot_be_read_every_decision_says_so() {
    let world = World::new().await;
    assert!(!world.get(ADA).await.text.contains("degraded"), "nothing is said while all is well");
    assert!(!world.post("/v1/access/check", BATCH).await.text.contains("degraded"));
    world.index_dial().set_fault(Some(Fault::Fails));
    until_degraded(&world, true).await;
    let batch = world.post("/v1/access/check", BATCH).await;
    let decisions = batch.json()["decisions"].as_array().unwrap().clone();
    assert!(decisions.iter().all(|decision| decision["degraded"]["age_seconds"].is_u64()), "{}", batch.text);
    assert!(!batch.header("membership-degraded").is_empty());
    assert!(world.get("/readyz").await.problem(503, "not_ready").contains("access_index"));
    world.index_dial().set_fault(None);
    until_degraded(&world, false).await;
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_noticed_by_the_age_of_what_is_known() {
    let world = World::new().await;
    assert!(world.get("/readyz").await.json()["age_seconds"].is_u64());
    world.index_dial().set_fault(Some(Fault::Hangs));
    let age = until_degraded(&world, true).await.json()["degraded"]["age_seconds"].as_u64();
    assert!(age >= Some(3), "{age:?}");
    let report = world.get("/readyz").await;
    report.problem(503, "not_ready");
    assert!(report.json()["age_seconds"].as_u64() >= age, "{}", report.text);
}
