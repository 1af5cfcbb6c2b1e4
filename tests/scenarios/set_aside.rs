//! What cannot be used yet is set aside, and used as soon as what it waits for is there, however close the two come.

use reqwest::Method;
use serde_json::json;
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, changed, days_ago, events};

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
}
