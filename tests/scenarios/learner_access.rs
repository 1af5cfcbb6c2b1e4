//! A learner buys, and may watch what she bought.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::app::TestApp;
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, FREE, Price, Story, bought, days_ago, events};

/// Every order of four things.
fn orders() -> Vec<[usize; 4]> {
    let mut orders = Vec::new();
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| *c != a && *c != b) {
                orders.push([a, b, c, 6 - a - b - c]);
            }
        }
    }
    orders
}

on_every_store! {
    async fn a_buyer_may_watch_in_whatever_order_the_deliveries_of_her_checkout_arrive(store: Store) {
        let app = TestApp::on(store).await;
        let mut members = Vec::new();
        for (number, order) in orders().into_iter().enumerate() {
            let (member, name) = (format!("mem_{number}"), format!("buyer{number}"));
            app.register(&member).await;
            let mut story = Story::new(&name);
            bought(&mut story, &member, Price::ProMonth, days_ago(3));
            let events = events(story);
            for place in order {
                app.deliver(&events[place]).await;
                // Half of the buyers have each delivery carried out before the next one comes.
                if number % 2 == 0 {
                    app.settled().await;
                }
            }
            members.push((member, order));
        }
        app.settled().await;
        for (member, order) in members {
            let decision = app.check(&member, ADVANCED).await;
            assert_eq!(decision["allowed"], true, "{order:?}: {decision}");
            assert_eq!((&decision["reason"], &decision["plan"]), (&json!("subscription"), &json!("pro")), "{order:?}");
        }
        for outcome in ["parked", "failed", "pending"] {
            assert_eq!(app.deliveries(outcome).await, [json!(null); 0], "{outcome}");
        }
    }

    async fn basic_opens_the_basic_video_and_an_upgrade_the_advanced_one_until_the_downgrade(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_fay").await;
        let mut story = Story::new("fay");
        bought(&mut story, "mem_fay", Price::BasicMonth, days_ago(9));
        story.change_plan(Price::ProMonth, days_ago(6)).change_plan(Price::BasicMonth, days_ago(3));
        let events = events(story);

        app.deliver_all(&events[..4]).await;
        assert_eq!(app.check("mem_fay", BASIC).await["reason"], "subscription");
        let decision = app.check("mem_fay", ADVANCED).await;
        assert_eq!(decision["allowed"], false);
        assert_eq!(decision["reason"], "plan_too_low");
        assert_eq!(decision["plan"], "basic");
        assert_eq!(decision["fix"], json!({ "action": "upgrade", "plan": "pro" }));
        assert_eq!(decision["message"], "Your Basic membership does not include this video.");

        app.deliver_all([&events[4]]).await;
        assert_eq!(app.check("mem_fay", ADVANCED).await["reason"], "subscription");
        assert_eq!(app.check("mem_fay", BASIC).await["allowed"], true);

        app.deliver_all([&events[5]]).await;
        assert_eq!(app.check("mem_fay", ADVANCED).await["reason"], "plan_too_low");
        assert_eq!(app.check("mem_fay", BASIC).await["allowed"], true);

        for (moment, reason) in [(10, "no_membership"), (8, "plan_too_low"), (5, "subscription"), (2, "plan_too_low")] {
            let decision = app.check_at("mem_fay", ADVANCED, days_ago(moment)).await;
            assert_eq!(decision["reason"], reason, "{moment} days ago: {decision}");
        }
        let cause = &app.check_at("mem_fay", ADVANCED, days_ago(5)).await["deciding_events"][0]["cause"];
        assert_eq!(*cause, events[4]["id"]);
    }

    async fn a_free_video_is_open_to_a_member_without_anything_and_the_unknown_is_not_found(store: Store) {
        let app = TestApp::on(store).await;
        let body = json!({ "email": "max@example.com", "external_id": "django-7" });
        let made = app.send(Method::POST, "/v1/members", Some(&body), "").await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        let again = app.send(Method::POST, "/v1/members", Some(&body), "").await;
        assert_eq!((again.status, &again.body["id"]), (StatusCode::OK, &made.body["id"]));
        app.settled().await;
        let member = made.body["id"].as_str().unwrap_or_default();
        assert!(member.starts_with("mem_"), "{made:?}");

        let free = app.check(member, FREE).await;
        assert_eq!((&free["allowed"], &free["reason"]), (&json!(true), &json!("free")));
        let no = app.check(member, BASIC).await;
        assert_eq!((&no["allowed"], &no["reason"]), (&json!(false), &json!("no_membership")));
        assert_eq!(no["fix"], json!({ "action": "subscribe", "plan": "basic" }));

        for (path, code) in [
            (format!("/v1/members/{member}/access/videos/nothing"), "unknown_video"),
            (format!("/v1/members/{member}/access/videos/nothing?at=2026-01-01T00:00:00Z"), "unknown_video"),
            ("/v1/members/mem_nobody/access/videos/loops".to_owned(), "unknown_member"),
            ("/v1/members/mem_nobody/access/videos/hello".to_owned(), "unknown_member"),
            ("/v1/members/mem_nobody/access/videos/loops?at=2026-01-01T00:00:00Z".to_owned(), "unknown_member"),
        ] {
            let reply = app.get(&path).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}: {reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            assert_eq!(reply.body["code"], code, "{path}");
            assert!(reply.body["request_id"].is_string(), "{reply:?}");
        }
    }

    async fn many_questions_are_answered_in_order_from_one_position(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_one").await;
        app.register("mem_two").await;
        let mut story = Story::new("one");
        bought(&mut story, "mem_one", Price::BasicMonth, days_ago(1));
        app.deliver_all(&events(story)).await;
        let asked = [
            ("mem_one", BASIC, "subscription"),
            ("mem_two", BASIC, "no_membership"),
            ("mem_one", ADVANCED, "plan_too_low"),
            ("mem_three", BASIC, "unknown_member"),
            ("mem_one", "nothing", "unknown_video"),
            ("mem_two", FREE, "free"),
        ];
        let checks: Vec<_> = asked.iter().map(|(member, video, _)| json!({ "member": member, "video": video })).collect();
        let body = json!({ "checks": checks });
        let reply = app.send(Method::POST, "/v1/access/check", Some(&body), "").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let position = reply.body["position"].clone();
        for ((member, video, expected), answer) in asked.iter().zip(reply.body["decisions"].as_array().into_iter().flatten()) {
            assert_eq!((&answer["member"], &answer["video"]), (&json!(member), &json!(video)));
            let told = answer.get("reason").or_else(|| answer.get("code"));
            assert_eq!(told, Some(&json!(expected)), "{answer}");
            if answer["object"] == "access_decision" {
                assert_eq!(answer["position"], position);
            }
        }
        for count in [0, 201] {
            let body = json!({ "checks": vec![json!({ "member": "mem_one", "video": BASIC }); count] });
            let reply = app.send(Method::POST, "/v1/access/check", Some(&body), "").await;
            assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{count}: {reply:?}");
        }
    }

    async fn linking_a_customer_applies_what_was_parked_for_her(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_late").await;
        let mut story = Story::new("late");
        story.create(Price::ProMonth, "incomplete", days_ago(40)).paid(days_ago(40)).status("active", days_ago(40));
        story.renew(days_ago(10));
        let (customer, events) = (story.customer_id().to_owned(), events(story));
        app.deliver_all(&events).await;
        let parked = app.deliveries("parked").await;
        assert_eq!(parked.len(), events.len());
        for delivery in &parked {
            assert_eq!((&delivery["reason"], &delivery["customer"]), (&json!("unknown_customer"), &json!(customer)));
        }
        assert_eq!(app.check("mem_late", ADVANCED).await["reason"], "no_membership");

        app.link("mem_late", &customer).await;

        assert_eq!(app.check("mem_late", ADVANCED).await["reason"], "subscription");
        assert_eq!(app.deliveries("parked").await.len(), 0);
        // The customer was hers all along.
        assert_eq!(app.check_at("mem_late", ADVANCED, days_ago(39)).await["reason"], "subscription");
        assert_eq!(app.check_at("mem_late", ADVANCED, days_ago(41)).await["reason"], "no_membership");
    }

    async fn a_checkout_of_a_member_who_registers_later_is_applied_when_she_does(store: Store) {
        let app = TestApp::on(store).await;
        let mut story = Story::new("early");
        bought(&mut story, "mem_early", Price::BasicMonth, days_ago(2));
        let events = events(story);
        app.deliver_all(&events).await;
        assert_eq!(app.delivery("evt_demo_early_004").await["reason"], "unknown_member");
        app.register("mem_early").await;
        assert_eq!(app.check("mem_early", BASIC).await["reason"], "subscription");
        assert_eq!(app.deliveries("parked").await.len(), 0);
    }
}
