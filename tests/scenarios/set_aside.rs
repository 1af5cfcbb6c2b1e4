//! What cannot be used yet is set aside, and used as soon as what it waits for is there, however close the two come.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, changed, days_ago, event, events, now, rfc3339};

const ROUNDS: usize = 150;

on_every_store! {
    async fn a_link_made_in_the_moment_its_delivery_is_looked_at_loses_nothing(store: Store) {
        let app = TestApp::on(store).await;
        for round in 0..ROUNDS {
            let member = format!("mem_{round}");
            app.register(&member).await;
            let mut story = Story::new(&format!("race{round}"));
            story.create(Price::BasicMonth, "active", days_ago(3));
            let customer = json!({ "customer": story.customer_id() });
            let delivery = events(story).remove(0);
            let path = format!("/v1/members/{member}/stripe-customer");
            let link = async {
                // Spread over the time that carrying a delivery out takes.
                tokio::time::sleep(std::time::Duration::from_micros(100 * (round as u64 % 40))).await;
                app.send(Method::PUT, &path, Some(&customer), "").await
            };
            let ((), linked) = tokio::join!(app.deliver(&delivery), link);
            assert_eq!(linked.status, 200, "{linked:?}");
        }
        app.settled().await;
        let parked = app.deliveries("parked").await;
        assert!(parked.is_empty(), "{} of {ROUNDS} wait for nothing: {parked:?}", parked.len());
        for round in 0..ROUNDS {
            assert_eq!(app.check(&format!("mem_{round}"), BASIC).await["reason"], "subscription", "{round}");
        }
    }

    async fn an_end_that_came_before_the_subscription_was_known_to_be_ours_still_ends_it(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_early").await;
        app.link("mem_early", "cus_demo_early").await;
        let mut story = Story::new("early");
        story.create(Price::ProMonth, "active", days_ago(9));
        story.change_plan(Price::Mug, days_ago(5)).end(days_ago(1));
        let told = events(story);
        for place in [1, 2, 0] {
            app.deliver_all([&told[place]]).await;
        }
        app.settled().await;
        assert_eq!(app.check("mem_early", ADVANCED).await["reason"], "ended");
    }

    async fn deliveries_of_the_other_mode_are_used_once_the_mode_is_set_right(store: Store) {
        let home = Home::new(store).await.with("STRIPE_LIVEMODE", "true");
        let mut wrong = home.serve().await;
        wrong.register("mem_mode").await;
        wrong.link("mem_mode", "cus_demo_mode").await;
        let mut story = Story::new("mode");
        story.create(Price::BasicMonth, "active", days_ago(3));
        wrong.deliver_all(&events(story)).await;
        assert_eq!(wrong.delivery("evt_demo_mode_001").await["reason"], "other_mode");
        wrong.stop("TERM");

        let home = home.with("STRIPE_LIVEMODE", "false");
        let right = home.serve().await;
        right.settled().await;
        assert_eq!(right.check("mem_mode", BASIC).await["reason"], "subscription");
    }

    async fn a_payment_makes_no_foreign_subscription_ours_in_any_order(store: Store) {
        let app = TestApp::on(store).await;
        for (name, payment_first) in [("after", false), ("before", true)] {
            let member = format!("mem_{name}");
            app.register(&member).await;
            app.link(&member, &format!("cus_demo_{name}")).await;
            let mut story = Story::new(name);
            story.create(Price::Mug, "active", days_ago(3)).paid(days_ago(3));
            let mut told = events(story);
            told[1] = changed(told[1].clone(), &json!({ "lines": { "data": [] } }));
            if payment_first {
                told.reverse();
            }
            for event in &told {
                app.deliver_all([event]).await;
            }
            assert_eq!(app.check(&member, BASIC).await["reason"], "no_membership", "{name}");
        }
    }

    async fn another_systems_name_for_a_member_is_no_contradiction(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_known").await;
        app.link("mem_known", "cus_demo_known").await;
        let mut story = Story::new("known");
        story.create(Price::BasicMonth, "active", days_ago(3));
        let named = changed(events(story).remove(0), &json!({ "metadata": { "member_id": "42" } }));
        app.deliver_all([&named]).await;
        assert_eq!(app.check("mem_known", BASIC).await["reason"], "subscription");
    }

    async fn deliveries_are_redriven_by_filter_some_at_a_time_and_each_tells_who_asked(store: Store) {
        let app = TestApp::on(store).await;
        let mut ids = Vec::new();
        for name in ["one", "two", "three"] {
            let mut story = Story::new(name);
            story.create(Price::BasicMonth, "active", days_ago(3));
            let told = events(story).remove(0);
            app.deliver(&told).await;
            ids.push(told["id"].as_str().expect("an id").to_owned());
        }
        app.settled().await;
        let list = async |filter: &str| {
            let reply = app.get(&format!("/v1/support/deliveries?{filter}")).await;
            let data = reply.body["data"].as_array().cloned().unwrap_or_else(|| panic!("{filter}: {reply:?}"));
            data.iter().map(|held| held["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        let waiting = "outcome=parked&reason=unknown_customer&type=customer.subscription.created";
        assert_eq!(list(waiting).await, [ids[2].as_str(), &ids[1], &ids[0]]);
        assert_eq!(list(&format!("{waiting}&customer=cus_demo_two")).await, [ids[1].as_str()]);
        let soon = rfc3339(now() + TimeDelta::hours(1));
        assert_eq!(list(&format!("{waiting}&received_until={soon}")).await.len(), 3);
        assert_eq!(list(&format!("{waiting}&received_from={soon}")).await, [""; 0]);

        let replay = async |cursor: &Value| {
            let body = json!({
                "filter": { "outcome": "parked", "reason": "unknown_customer" }, "why": "a look", "limit": 2,
                "cursor": cursor,
            });
            let reply = app.send(Method::POST, "/v1/support/deliveries/replay", Some(&body), "").await;
            assert_eq!(reply.status, 202, "{reply:?}");
            app.settled().await;
            reply.body
        };
        let first = replay(&Value::Null).await;
        assert_eq!((&first["replayed"], &first["left"]), (&json!(2), &json!(1)));
        let last = replay(&first["next_cursor"]).await;
        assert_eq!((&last["replayed"], &last["left"], &last["next_cursor"]), (&json!(1), &json!(0), &Value::Null));

        let steps = async |id: &str| {
            let shown = app.get(&format!("/v1/support/deliveries/{id}")).await.body;
            let steps = shown["steps"].as_array().cloned().unwrap_or_else(|| panic!("{shown}"));
            steps.iter().map(|step| format!("{} {} {}", step["step"], step["actor"], step["reason"])).collect::<Vec<_>>()
        };
        let parked = r#""parked" null "unknown_customer""#;
        for id in &ids {
            assert_eq!(steps(id).await, [parked, r#""redriven" "service:scenarios" null"#, parked], "{id}");
        }
        app.register("mem_two").await;
        app.link("mem_two", "cus_demo_two").await;
        app.settled().await;
        let cured = [r#""redriven" "system" null"#, r#""applied" null "applied""#];
        assert_eq!(steps(&ids[1]).await[3..], cured, "by itself, when the cause is gone");
        app.home.sql(&format!("UPDATE inbox SET outcome = 'failed' WHERE id = '{}'", ids[1])).await;
        let body = json!({ "why": "it was mended" });
        let path = format!("/v1/support/deliveries/{}/replay", ids[1]);
        assert_eq!(app.send(Method::POST, &path, Some(&body), "").await.status, 202);
        app.settled().await;
        assert_eq!(app.delivery(&ids[1]).await["outcome"], "no_change");
        assert_eq!(app.check("mem_two", BASIC).await["reason"], "subscription");
    }

    async fn what_an_earlier_version_passed_over_is_used_by_the_first_that_knows_it(store: Store) {
        let mut app = TestApp::on(store).await;
        app.register("mem_late").await;
        let mut story = Story::new("late");
        story.create(Price::BasicMonth, "active", days_ago(3));
        let told = events(story).remove(0);
        app.deliver_all([&told, &event("evt_other", "payout.paid", days_ago(3), &json!({ "id": "po_1" }))]).await;
        app.link("mem_late", "cus_demo_late").await;
        app.settled().await;
        app.stop("TERM");
        let passed_over = "UPDATE inbox SET outcome = 'ignored', why_code = 'unhandled_type'";
        app.home.sql(passed_over).await;
        let mut same = app.home.serve().await;
        same.settled().await;
        assert_eq!(same.deliveries("ignored").await.len(), 2, "this version has looked already");
        same.stop("TERM");
        app.home.sql("DELETE FROM notes WHERE name = 'redriven_for_version'").await;
        let newer = app.home.serve().await;
        newer.settled().await;
        let ignored = newer.deliveries("ignored").await;
        assert_eq!(ignored.len(), 1, "{ignored:?}");
        assert_eq!(ignored[0]["id"], "evt_other", "what nobody knows is left where it is");
    }
}
