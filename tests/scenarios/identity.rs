//! Whose a payment is: found by what Stripe's objects name, never guessed, and in any order.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, CATALOG, Price, Story, changed, days_ago, event, events};

fn subscription(name: &str) -> Value {
    let mut story = Story::new(name);
    story.create(Price::BasicMonth, "active", days_ago(3));
    events(story).remove(0)
}

fn customer(name: &str, kind: &str, more: &Value) -> Value {
    let object = json!({ "id": format!("cus_demo_{name}"), "object": "customer", "livemode": false });
    changed(event(&format!("evt_{kind}_{name}"), &format!("customer.{kind}"), days_ago(1), &object), more)
}

on_every_store! {
    async fn a_member_is_found_by_whatever_names_her(store: Store) {
        let app = TestApp::on(store).await;
        let named = |name: &str| json!({ "metadata": { "member_id": format!("mem_{name}") } });
        let session = |name: &str, more: &Value| {
            let mut story = Story::new(name);
            story.checkout("not-a-member-of-ours", days_ago(3));
            let mut event = changed(events(story).remove(0), more);
            event["id"] = json!(format!("evt_session_{name}"));
            event
        };
        let told: Vec<(&str, Vec<Value>)> = vec![
            ("bysub", vec![changed(subscription("bysub"), &named("bysub"))]),
            ("bycustomer", vec![subscription("bycustomer"), customer("bycustomer", "updated", &named("bycustomer"))]),
            ("bynew", vec![customer("bynew", "created", &named("bynew")), subscription("bynew")]),
            ("bysession", vec![subscription("bysession"), session("bysession", &named("bysession"))]),
        ];
        for (name, events) in &told {
            app.register(&format!("mem_{name}")).await;
            app.deliver_all(events).await;
            assert_eq!(app.check(&format!("mem_{name}"), BASIC).await["reason"], "subscription", "{name}");
        }

        // Somebody else's name on a customer who is known changes nothing.
        app.register("mem_thief").await;
        let stolen = customer("bysub", "updated", &named("thief"));
        let mut other = changed(subscription("bysub"), &named("thief"));
        other["id"] = json!("evt_other");
        let both = session("bothnames", &json!({ "client_reference_id": "mem_bysub", "metadata": { "member_id": "mem_thief" } }));
        app.deliver_all([&stolen, &other, &both]).await;
        for event in [&stolen, &other, &both] {
            let delivery = app.delivery(event["id"].as_str().unwrap_or_default()).await;
            assert_eq!((&delivery["outcome"], &delivery["reason"]), (&json!("parked"), &json!("contradiction")), "{delivery}");
        }
        assert_eq!(app.check("mem_thief", BASIC).await["reason"], "no_membership");
        let reply = app
            .send(reqwest::Method::PUT, "/v1/members/mem_thief/stripe-customer", Some(&json!({ "customer": "cus_demo_bysub" })), "")
            .await;
        assert_eq!((reply.status.as_u16(), &reply.body["code"]), (409, &json!("linked_elsewhere")), "{reply:?}");
        assert_eq!(app.check("mem_bysub", BASIC).await["reason"], "subscription");
    }

    async fn a_deleted_customer_ends_her_subscriptions_whichever_is_heard_of_first(store: Store) {
        let app = TestApp::on(store).await;
        for (name, deleted_first) in [("gone", false), ("gonefirst", true)] {
            let member = format!("mem_{name}");
            app.register(&member).await;
            app.link(&member, &format!("cus_demo_{name}")).await;
            let mut told = [subscription(name), customer(name, "deleted", &json!({ "deleted": true }))];
            if deleted_first {
                told.reverse();
            }
            for event in &told {
                app.deliver_all([event]).await;
            }
            let decision = app.check(&member, BASIC).await;
            assert_eq!(decision["reason"], "ended", "{name}: {decision}");
            assert_eq!(app.check_at(&member, BASIC, days_ago(2)).await["reason"], "subscription", "{name}");
        }
    }

    async fn a_deleted_customer_who_is_linked_afterwards_has_ended_too(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_postum").await;
        app.deliver_all([&subscription("postum"), &customer("postum", "deleted", &json!({ "deleted": true }))]).await;
        app.link("mem_postum", "cus_demo_postum").await;
        let decision = app.check("mem_postum", BASIC).await;
        assert_eq!(decision["reason"], "ended", "{decision}");
    }

    async fn what_waited_for_the_catalogue_is_carried_out_when_it_comes(store: Store) {
        let home = Home::new(store).await;
        let empty = home.clone().with("CATALOG", "").serve().await;
        empty.register("mem_first").await;
        empty.link("mem_first", "cus_demo_first").await;
        empty.deliver_all([&subscription("first")]).await;
        assert_eq!(empty.delivery("evt_demo_first_001").await["reason"], "no_catalog");
        drop(empty);

        let app = home.serve().await;
        app.settled().await;
        assert_eq!(app.check("mem_first", BASIC).await["reason"], "subscription");
        let mut mug = Story::new("first").another("mug");
        mug.create(Price::Mug, "active", days_ago(2) + TimeDelta::seconds(1));
        app.deliver_all(&events(mug)).await;
        assert_eq!(app.delivery("evt_demo_mug_001").await["reason"], "unmapped_product");
        drop(app);

        // From now on that product is sold as Pro.
        let selling = CATALOG.replacen("rank = 2\n", "rank = 2\nstripe_products = [\"prod_mug_club\"]\n", 1);
        let app = home.with_catalog(&selling).serve().await;
        app.settled().await;
        assert_eq!(app.delivery("evt_demo_mug_001").await["outcome"], "applied");
        assert_eq!(app.check("mem_first", ADVANCED).await["reason"], "subscription");
    }
}
