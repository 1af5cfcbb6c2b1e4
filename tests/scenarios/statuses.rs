//! Every word Stripe has for where a subscription stands, and some it does not have yet.

use chrono::{Months, TimeDelta};
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, CATALOG, Price, Story, changed, days_ago, event, events, rfc3339};

/// A member who is linked to the story's customer.
async fn linked(app: &TestApp, name: &str) -> String {
    let member = format!("mem_{name}");
    app.register(&member).await;
    app.link(&member, &format!("cus_demo_{name}")).await;
    member
}

fn first(story: Story) -> Value {
    events(story).remove(0)
}

on_every_store! {
    async fn each_status_has_its_reason_and_its_remedy(store: Store) {
        let app = TestApp::on(store).await;
        let cases = [
            ("incomplete", false, "payment_pending", Some("complete_payment")),
            ("incomplete_expired", false, "ended", Some("subscribe")),
            ("trialing", true, "trial", None),
            ("active", true, "subscription", None),
            ("past_due", true, "grace", Some("update_payment_method")),
            ("unpaid", false, "unpaid", Some("update_payment_method")),
            ("paused", false, "paused", Some("resume")),
            ("canceled", false, "ended", Some("subscribe")),
            ("hibernating", false, "status_unknown", Some("contact_support")),
        ];
        for (status, allowed, reason, fix) in cases {
            // Seen like this at once, and after it had been active.
            for (number, from) in [status, "active"].into_iter().enumerate() {
                let name = format!("{status}{number}");
                let member = linked(&app, &name).await;
                let mut story = Story::new(&name);
                story.create(Price::BasicMonth, from, days_ago(2));
                if from != status {
                    story.status(status, days_ago(1));
                    // No subscription begins twice: Stripe has none that is tried or waits for its first payment later.
                    if matches!(status, "trialing" | "incomplete") {
                        continue;
                    }
                }
                app.deliver_all(&events(story)).await;
                let decision = app.check(&member, BASIC).await;
                assert_eq!((&decision["allowed"], &decision["reason"]), (&json!(allowed), &json!(reason)), "{status}: {decision}");
                assert_eq!(decision["fix"].get("action"), fix.map(|fix| json!(fix)).as_ref(), "{status}: {decision}");
                let explained = app.get(&format!("/v1/support/members/{member}/explain?video={BASIC}")).await.body;
                assert_eq!(explained["decision"]["reason"], reason, "{status}: {explained}");
                assert_eq!(explained["sources"][0]["status"], status, "{explained}");
            }
        }
    }

    async fn an_end_that_is_scheduled_either_way_leaves_access_until_then(store: Store) {
        let app = TestApp::on(store).await;
        let begun = days_ago(50);
        let ends = begun + Months::new(2);
        for (name, by_date, by_flag, old_shape) in [
            ("dated", true, false, false),
            ("flagged", false, true, false),
            ("both", true, true, false),
            ("olddated", true, false, true),
            ("oldflagged", false, true, true),
        ] {
            let member = linked(&app, name).await;
            let mut story = Story::new(name);
            story.create(Price::BasicMonth, "active", begun).renew(begun + Months::new(1));
            story.cancel_in_portal(days_ago(9)).status("active", days_ago(3));
            let mut told = events(story);
            let canceled = told.iter().position(|event| !event["data"]["object"]["cancel_at"].is_null());
            let (at, last) = (canceled.expect("an event cancels"), told.len() - 1);
            for (place, event) in told.iter_mut().enumerate().filter(|(_, event)| event["data"]["object"]["object"] == "subscription") {
                let item = event["data"]["object"]["items"]["data"][0].clone();
                let set = place >= at && place < last;
                let date = if set && by_date { json!(ends.timestamp()) } else { Value::Null };
                *event = changed(event.clone(), &json!({ "cancel_at": date, "cancel_at_period_end": set && by_flag }));
                if old_shape {
                    let period = &item["current_period_end"];
                    *event = changed(event.clone(), &json!({ "current_period_end": period, "billing_mode": null }));
                    let item = event["data"]["object"]["items"]["data"][0].as_object_mut().expect("an item");
                    item.remove("current_period_end");
                    item.remove("current_period_start");
                }
                // What changed is told by the object alone, as by old versions that leave things out.
                event["data"].as_object_mut().expect("data").remove("previous_attributes");
            }
            let back_again = told.remove(last);
            app.deliver_all(&told).await;
            let decision = app.check(&member, BASIC).await;
            assert_eq!((&decision["reason"], &decision["until"]), (&json!("cancels_later"), &json!(rfc3339(ends))), "{name}: {decision}");
            let later = app.check_at(&member, BASIC, ends).await;
            assert_eq!(later["reason"], "ended", "{name}: {later}");
            let last_second = app.check_at(&member, BASIC, ends - TimeDelta::seconds(1)).await;
            assert_eq!(last_second["reason"], "cancels_later", "{name}: {last_second}");

            app.deliver_all([&back_again]).await;
            let decision = app.check(&member, BASIC).await;
            assert_eq!((&decision["reason"], &decision["until"]), (&json!("subscription"), &Value::Null), "{name}: {decision}");
        }
    }

    async fn a_plan_is_found_by_price_product_or_old_plan_id_and_kept_when_the_price_is_new(store: Store) {
        let catalog = CATALOG.replacen(
            "rank = 2\n",
            "rank = 2\nstripe_products = [\"prod_masters\"]\n",
            1,
        );
        let catalog = catalog.replacen("\"price_demo_pro_month\",", "\"price_demo_pro_month\", \"gold-2014\",", 1);
        let app = Home::new(store).await.with_catalog(&catalog).serve().await;
        let begun = days_ago(2);
        let whole = |name: &str, more: &Value| {
            let object = json!({
                "id": format!("sub_demo_{name}"), "object": "subscription", "customer": format!("cus_demo_{name}"),
                "status": "active", "created": begun.timestamp(), "start_date": begun.timestamp(), "livemode": false,
            });
            changed(event(&format!("evt_{name}"), "customer.subscription.created", begun, &object), more)
        };
        let items = |items: Value| json!({ "items": { "object": "list", "data": items } });
        for (name, more) in [
            ("price", items(json!([{ "id": "si_1", "price": { "id": "price_demo_pro_year", "product": "prod_x" } }]))),
            ("pricetext", items(json!([{ "id": "si_1", "price": "price_demo_pro_year" }]))),
            ("product", items(json!([{ "id": "si_1", "price": { "id": "price_x", "product": "prod_masters" } }]))),
            ("expanded", items(json!([{ "id": "si_1", "price": { "id": "price_x", "product": { "id": "prod_masters" } } }]))),
            ("planitem", items(json!([{ "id": "si_1", "plan": { "id": "gold-2014", "product": "prod_x" } }]))),
            ("planonly", json!({ "plan": { "id": "gold-2014", "object": "plan" } })),
            ("nullplan", {
                let mut two = items(json!([
                    { "id": "si_1", "price": { "id": "price_demo_basic_month" } }, { "id": "si_2", "price": { "id": "price_demo_pro_year" } },
                ]));
                two["plan"] = Value::Null;
                two
            }),
        ] {
            let member = linked(&app, name).await;
            app.deliver_all([&whole(name, &more)]).await;
            let decision = app.check(&member, ADVANCED).await;
            assert_eq!((&decision["reason"], &decision["plan"]), (&json!("subscription"), &json!("pro")), "{name}: {decision}");
        }

        let unknown = items(json!([{ "id": "si_1", "price": { "id": "price_of_next_year", "product": "prod_of_next_year" } }]));
        let mut later = whole("price", &unknown);
        later["id"] = json!("evt_repriced");
        later["type"] = json!("customer.subscription.updated");
        later["created"] = json!(days_ago(1).timestamp());
        app.deliver_all([&later]).await;
        assert_eq!(app.delivery("evt_repriced").await["outcome"], "applied");
        let decision = app.check("mem_price", ADVANCED).await;
        assert_eq!((&decision["reason"], &decision["plan"]), (&json!("subscription"), &json!("pro")), "{decision}");
        let explained = app.get(&format!("/v1/support/members/mem_price/explain?video={ADVANCED}")).await.body;
        assert_eq!(explained["decision"]["plan"], "pro", "{explained}");
        let timeline = app.get("/v1/support/members/mem_price/timeline").await.body;
        let names: Vec<_> = timeline["data"].as_array().into_iter().flatten().map(|entry| &entry["event_type"]).collect();
        assert!(names.contains(&&json!("PriceUnmapped")), "{names:?}");
    }

    async fn ending_one_of_two_subscriptions_takes_nothing_from_the_other(store: Store) {
        let app = TestApp::on(store).await;
        let member = linked(&app, "two").await;
        let mut first = Story::new("two");
        first.create(Price::BasicMonth, "active", days_ago(9));
        let mut second = first.another("two_pro");
        second.create(Price::ProMonth, "active", days_ago(8));
        second.end(days_ago(1));
        first.status("active", days_ago(5));
        app.deliver_all(events(first).iter().chain(&events(second))).await;
        assert_eq!(app.check(&member, BASIC).await["reason"], "subscription");
        assert_eq!(app.check_at(&member, ADVANCED, days_ago(2)).await["reason"], "subscription");
        assert_eq!(app.check(&member, ADVANCED).await["allowed"], false);
    }
}

#[tokio::test]
async fn paused_collection_is_judged_by_the_policy() {
    let begun = days_ago(50);
    let paid_until = begun + Months::new(1);
    for (policy, early, late) in [
        ("keep", ("subscription", Value::Null), "subscription"),
        ("end_of_period", ("subscription", json!(rfc3339(paid_until))), "paused"),
        ("deny", ("paused", Value::Null), "paused"),
    ] {
        let text = CATALOG.replacen("[policy]", &format!("[policy]\ncollection_paused = \"{policy}\""), 1);
        let app = Home::new(Store::Sqlite).await.with_catalog(&text).serve().await;
        for behavior in ["keep_as_draft", "mark_uncollectible", "void"] {
            let member = linked(&app, behavior).await;
            let mut story = Story::new(behavior);
            story
                .create(Price::BasicMonth, "active", begun)
                .pause_collection(behavior, begun + TimeDelta::days(5));
            // The period goes on while nothing is collected; that buys nothing.
            story.renew(paid_until);
            let told: Vec<_> =
                events(story).into_iter().filter(|event| event["type"] != "invoice.paid").collect();
            app.deliver_all(&told).await;
            let while_paid = app.check_at(&member, BASIC, begun + TimeDelta::days(10)).await;
            assert_eq!(
                (&while_paid["reason"], &while_paid["until"]),
                (&json!(early.0), &early.1),
                "{policy}, {behavior}: {while_paid}"
            );
            let now = app.check(&member, BASIC).await;
            assert_eq!(now["reason"], late, "{policy}, {behavior}: {now}");
            let before = app.check_at(&member, BASIC, begun + TimeDelta::days(4)).await;
            assert_eq!(before["reason"], "subscription", "{policy}, {behavior}: {before}");
        }
    }
}

#[tokio::test]
async fn a_subscription_that_is_first_seen_long_after_its_start_is_asked_about_from_then_on() {
    let app = TestApp::on(Store::Sqlite).await;
    let member = linked(&app, "seen").await;
    let mut story = Story::new("seen");
    story.create(Price::ProMonth, "active", days_ago(3));
    app.deliver_all([&first(story)]).await;
    assert_eq!(app.check_at(&member, ADVANCED, days_ago(2)).await["reason"], "subscription");
    assert_eq!(app.check_at(&member, ADVANCED, days_ago(4)).await["reason"], "no_membership");
}
