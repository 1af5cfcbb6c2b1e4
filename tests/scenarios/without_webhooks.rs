//! Webhooks that are lost, late, unclear or switched off: Stripe is asked, and the answers are right all the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::fake_stripe::FakeStripe;
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, bought, changed, days_ago, event, events, now};

/// Longer than anything takes that works.
const HANG: Duration = Duration::from_mins(1);

/// What a member who bought something twenty days ago has delivered.
fn buyer(name: &str, price: Price) -> Vec<Value> {
    let mut story = Story::new(name);
    bought(&mut story, &format!("mem_{name}"), price, days_ago(20));
    events(story)
}

fn subscription(name: &str) -> String {
    format!("sub_demo_{name}")
}

async fn reason(app: &TestApp, name: &str, video: &str) -> String {
    let decision = app.check(&format!("mem_{name}"), video).await;
    decision["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the answer is this one.
async fn becomes(app: &TestApp, name: &str, video: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        app.settled().await;
        let is = reason(app, name, video).await;
        if is == expected {
            return;
        }
        assert!(begun.elapsed() < HANG, "{name} stays {is}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn findings(app: &TestApp, member: &str) -> Vec<String> {
    let reply = app.get(&format!("/v1/support/members/{member}/timeline")).await;
    let entries = reply.body["data"].as_array().cloned().unwrap_or_default();
    let found = entries.into_iter().filter(|entry| entry["event_type"] == "DriftFound");
    found.map(|entry| entry["sentence"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn resync(app: &TestApp, member: &str) -> Value {
    let reply = app.send(Method::POST, &format!("/v1/support/members/{member}/resync"), None, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

on_every_store! {
    async fn events_that_never_came_are_fetched_at_the_start_and_nothing_is_doubled(store: Store) {
        let stripe = FakeStripe::start();
        let home = Home::new(store).await;
        let mut app = home.serve().await;
        let mut came = Vec::new();
        for (name, price) in [("ann", Price::BasicMonth), ("ben", Price::ProMonth)] {
            app.register(&format!("mem_{name}")).await;
            let events = buyer(name, price);
            stripe.happened(&events);
            came.extend(events.into_iter().step_by(2));
        }
        let payout = event("evt_payout", "payout.paid", days_ago(2), &json!({ "id": "po_1", "object": "payout" }));
        stripe.happened([&payout]);
        app.deliver_all(&came).await;
        assert_eq!(reason(&app, "ben", ADVANCED).await, "no_membership", "nobody has told whose it is");
        app.stop("TERM");

        stripe.pages_of(3);
        let app = stripe.known_to(&home).with("BACKFILL_EVERY", "10m").serve().await;
        becomes(&app, "ben", ADVANCED, "subscription").await;
        becomes(&app, "ann", BASIC, "subscription").await;
        let begun = Instant::now();
        while !app.log().contains("events were read") {
            assert!(begun.elapsed() < HANG, "the list is not read to its end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        app.settled().await;
        let deliveries = app.deliveries("").await;
        let all: BTreeSet<&str> = deliveries.iter().filter_map(|delivery| delivery["id"].as_str()).collect();
        assert_eq!((deliveries.len(), all.len(), all.contains("evt_payout")), (8, 8, false), "{all:?}");
        for delivery in &deliveries {
            assert_eq!(delivery["times_received"], 1, "{delivery}");
            let came = came.iter().any(|event| event["id"] == delivery["id"]);
            assert_eq!(delivery["origin"], if came { "webhook" } else { "backfill" }, "{delivery}");
        }
        let history = app.get("/v1/support/members/mem_ben/timeline").await.body;
        app.deliver_all(&buyer("ben", Price::ProMonth)).await;
        assert_eq!(app.get("/v1/support/members/mem_ben/timeline").await.body, history, "what comes late tells nothing new");
        app.home.done(&["replay", "--verify"]);
    }

    async fn a_backfill_that_is_cut_off_goes_on_where_it_was(store: Store) {
        let stripe = FakeStripe::start();
        let home = stripe.known_to(&Home::new(store).await);
        home.done(&["catalog", "apply", "catalog.toml"]);
        for name in ["ann", "ben", "cleo", "dan", "eve"] {
            home.done(&["member", "create", "--id", &format!("mem_{name}")]);
            stripe.happened(&buyer(name, Price::BasicMonth));
        }
        stripe.pages_of(4);
        stripe.goes_down_after(2);
        let cut_off = home.cli(&["backfill", "--json"]);
        assert_eq!(cut_off.code, 3, "{cut_off:?}");
        stripe.is_down(false);
        let before = stripe.asked().len();
        let done = home.done(&["backfill", "--json"]).json();
        assert_eq!((&done["read"], &done["stored"]), (&json!(20), &json!(20)), "both parts together: {done}");
        let asked = stripe.asked()[before..].to_vec();
        assert!(asked.len() == 4 && asked[0].contains("starting_after="), "three pages, and what is new: {asked:?}");
        assert_eq!(home.explain_at("mem_eve", BASIC, now())["decision"]["reason"], "subscription");
        let again = home.done(&["backfill", "--json"]).json();
        assert_eq!((&again["read"], &again["stored"]), (&json!(0), &json!(0)), "what was read is not read again: {again}");
        let since = home.done(&["backfill", "--json", "--since", "2020-01-01"]).json();
        assert_eq!((&since["stored"], &since["reaches_back_too_little"]), (&json!(0), &json!(true)), "{since}");
    }

    async fn with_webhooks_switched_off_one_comparison_gives_the_right_answers(store: Store) {
        let stripe = FakeStripe::start();
        let home = stripe.known_to(&Home::new(store).await);
        home.done(&["catalog", "apply", "catalog.toml"]);
        let begins = days_ago(20);
        let mut told = Vec::new();
        let mut buys = |name: &str, price, status: &str, goes_on: &dyn Fn(&mut Story)| {
            let mut story = Story::new(name);
            story.create(price, status, begins);
            goes_on(&mut story);
            told.push((name.to_owned(), events(story)));
        };
        buys("ann", Price::BasicMonth, "active", &|_| ());
        buys("ben", Price::ProMonth, "active", &|story| {
            story.cancel_at_period_end(days_ago(3));
        });
        buys("cleo", Price::ProMonth, "trialing", &|_| ());
        buys("dan", Price::BasicMonth, "active", &|story| {
            story.status("unpaid", days_ago(1));
        });
        buys("eve", Price::BasicMonth, "active", &|story| {
            story.end(days_ago(1));
        });
        buys("fay", Price::BasicMonth, "incomplete", &|_| ());
        buys("mug", Price::Mug, "active", &|_| ());
        buys("zoe", Price::ProMonth, "active", &|_| ());
        for (name, events) in &told {
            stripe.happened(events);
            if !["mug", "zoe"].contains(&name.as_str()) {
                let member = format!("mem_{name}");
                home.done(&["member", "create", "--id", &member]);
                stripe.change(&subscription(name), |held| held["metadata"] = json!({ "member_id": member }));
            }
        }
        // She is named by her customer only.
        stripe.change(&subscription("ann"), |held| held["metadata"] = json!({}));
        stripe.keep(&json!({ "id": "cus_demo_ann", "object": "customer", "metadata": { "member_id": "mem_ann" } }));
        stripe.pages_of(3);

        let asked = |name: &str, video: &str| {
            let decision = home.explain_at(&format!("mem_{name}"), video, now());
            decision["decision"]["reason"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(asked("ann", BASIC), "no_membership", "nothing is known before");
        let done = home.done(&["reconcile", "--json"]).json();
        for (name, video, expected) in [
            ("ann", BASIC, "subscription"),
            ("ann", ADVANCED, "plan_too_low"),
            ("ben", ADVANCED, "cancels_later"),
            ("cleo", ADVANCED, "trial"),
            ("dan", BASIC, "unpaid"),
            ("eve", BASIC, "ended"),
            ("fay", BASIC, "payment_pending"),
        ] {
            assert_eq!(asked(name, video), expected, "{name} {video}");
        }
        let counts = ["compared", "differing", "repaired", "left", "foreign"].map(|count| done[count].clone());
        assert_eq!(counts, [6, 6, 6, 0, 1].map(|count| json!(count)), "{done}");
        assert_eq!(done["unlinked"][0]["customer"], "cus_demo_zoe", "named, and not guessed: {done}");
        let again = home.done(&["reconcile", "--json"]).json();
        assert_eq!((&again["compared"], &again["differing"]), (&json!(6), &json!(0)), "{again}");
        home.done(&["replay", "--verify"]);
    }

    async fn what_differs_is_found_and_put_right_and_nothing_else_is_touched(store: Store) {
        let stripe = FakeStripe::start();
        let home = Home::new(store).await;
        let mut app = home.serve().await;
        let names: Vec<String> = (0..40).map(|number| format!("m{number:02}")).collect();
        for name in &names {
            app.register(&format!("mem_{name}")).await;
            let events = buyer(name, Price::BasicMonth);
            stripe.happened(&events);
            for event in &events {
                app.deliver(event).await;
            }
        }
        app.settled().await;
        let clean = stripe.known_to(&home);
        app.stop("TERM");
        let untouched = clean.done(&["reconcile", "--json"]).json();
        assert_eq!((&untouched["compared"], &untouched["differing"]), (&json!(40), &json!(0)), "{untouched}");

        let later = (now() + TimeDelta::days(40)).timestamp();
        stripe.change(&subscription("m03"), |held| held["status"] = json!("unpaid"));
        stripe.change(&subscription("m07"), |held| held["items"]["data"][0]["price"]["id"] = json!("price_demo_pro_month"));
        stripe.change(&subscription("m11"), |held| held["items"]["data"][0]["current_period_end"] = json!(later));
        stripe.change(&subscription("m17"), |held| held["cancel_at"] = json!(later));
        stripe.change(&subscription("m23"), |held| {
            held["status"] = json!("canceled");
            held["ended_at"] = json!(days_ago(1).timestamp());
        });
        stripe.change(&subscription("m29"), |held| held["pause_collection"] = json!({ "behavior": "void", "resumes_at": null }));
        let mut second = Story::new("m31").another("m31_second");
        second.create(Price::ProMonth, "active", days_ago(2));
        stripe.add(&events(second)[0]["data"]["object"]);
        stripe.forget(&subscription("m37"));
        stripe.pages_of(7);

        // Without a comparison nobody would ever know.
        let reason_of = |name: &str, video: &str| {
            let said = clean.explain_at(&format!("mem_{name}"), video, now());
            said["decision"]["reason"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!((reason_of("m03", BASIC), reason_of("m07", ADVANCED)), ("subscription".into(), "plan_too_low".into()));

        let told = clean.cli(&["reconcile", "--json"]);
        assert_eq!(told.code, 1, "one is left: {told:?}");
        let done = told.json();
        let drifted: BTreeSet<String> = done["findings"].as_array().into_iter().flatten()
            .map(|finding| format!("{} {} {}", finding["subscription"].as_str().unwrap_or_default(),
                finding["differences"][0]["what"].as_str().unwrap_or_default(), finding["repaired"]))
            .collect();
        let expected = [
            "sub_demo_m03 status true", "sub_demo_m07 items true", "sub_demo_m11 period_end true",
            "sub_demo_m17 ends_at true", "sub_demo_m23 status true", "sub_demo_m29 collection_paused true",
            "sub_demo_m31_second subscription true", "sub_demo_m37 subscription false",
        ];
        assert_eq!(drifted, expected.map(str::to_owned).into(), "{done}");
        assert_eq!((&done["differing"], &done["repaired"], &done["left"]), (&json!(8), &json!(7), &json!(1)));
        for (name, video, expected) in [
            ("m03", BASIC, "unpaid"),
            ("m07", ADVANCED, "subscription"),
            ("m17", BASIC, "cancels_later"),
            ("m23", BASIC, "ended"),
            ("m31", ADVANCED, "subscription"),
            ("m37", BASIC, "subscription"),
            ("m00", BASIC, "subscription"),
        ] {
            assert_eq!(reason_of(name, video), expected, "{name} {video}");
        }
        let again = clean.cli(&["reconcile", "--json"]);
        assert_eq!((again.code, &again.json()["differing"], &again.json()["left"]), (1, &json!(1), &json!(1)), "{again:?}");

        let app = home.serve().await;
        for (name, findings_expected) in [("m00", 0), ("m03", 1), ("m37", 1)] {
            let found = findings(&app, &format!("mem_{name}")).await;
            assert_eq!(found.len(), findings_expected, "{name}: {found:?}");
        }
        let sentence = findings(&app, "mem_m03").await.remove(0);
        assert!(sentence.contains("status was unpaid, not active") && sentence.contains("no delivery told of it"), "{sentence}");
        app.home.done(&["replay", "--verify"]);
    }

    async fn a_comparison_that_is_cut_off_goes_on_where_it_was(store: Store) {
        let stripe = FakeStripe::start();
        let home = stripe.known_to(&Home::new(store).await);
        home.done(&["catalog", "apply", "catalog.toml"]);
        for name in ["ann", "ben", "cleo", "dan"] {
            home.done(&["member", "create", "--id", &format!("mem_{name}")]);
            stripe.happened(&buyer(name, Price::BasicMonth));
            stripe.change(&subscription(name), |held| held["metadata"] = json!({ "member_id": format!("mem_{name}") }));
        }
        stripe.pages_of(2);
        stripe.goes_down_after(1);
        let cut_off = home.cli(&["reconcile"]);
        assert_eq!(cut_off.code, 3, "{cut_off:?}");
        stripe.is_down(false);
        let before = stripe.asked().len();
        let done = home.done(&["reconcile", "--json"]).json();
        assert!(stripe.asked()[before].contains("starting_after="), "{:?}", stripe.asked());
        assert_eq!((&done["compared"], &done["repaired"]), (&json!(4), &json!(4)), "{done}");
    }

    async fn one_member_is_compared_on_demand(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        app.register("mem_ann").await;
        let events = buyer("ann", Price::BasicMonth);
        stripe.happened(&events);
        app.deliver_all(&events).await;
        assert_eq!(resync(&app, "mem_ann").await["differing"], 0);
        stripe.change(&subscription("ann"), |held| held["status"] = json!("unpaid"));
        let told = resync(&app, "mem_ann").await;
        assert_eq!((&told["repaired"], &told["findings"][0]["cause"]), (&json!(1), &json!("not_told")), "{told}");
        becomes(&app, "ann", BASIC, "unpaid").await;
        assert_eq!(findings(&app, "mem_ann").await.len(), 1);

        stripe.is_down(true);
        let path = "/v1/support/members/mem_ann/resync";
        let refused = app.send(Method::POST, path, None, "").await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (503, &json!("billing_unavailable")), "{refused:?}");
        assert_eq!(reason(&app, "ann", BASIC).await, "unpaid", "everything else goes on");
    }

    async fn a_clock_of_stripes_that_was_ahead_hides_nothing(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        app.register("mem_ann").await;
        let mut story = Story::new("ann");
        bought(&mut story, "mem_ann", Price::BasicMonth, now() + TimeDelta::hours(1));
        let events = events(story);
        stripe.happened(&events);
        app.deliver_all(&events).await;
        assert_eq!(resync(&app, "mem_ann").await["differing"], 0);
        stripe.change(&subscription("ann"), |held| held["status"] = json!("unpaid"));
        let told = resync(&app, "mem_ann").await;
        assert_eq!(told["repaired"], 1, "Stripe knew what had come before it was asked: {told}");
        becomes(&app, "ann", BASIC, "unpaid").await;
    }

    async fn all_subscriptions_are_compared_now_and_then_by_themselves(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).with("RECONCILE_EVERY", "1s").serve().await;
        app.register("mem_ann").await;
        let events = buyer("ann", Price::BasicMonth);
        stripe.happened(&events);
        app.deliver_all(&events).await;
        assert_eq!(reason(&app, "ann", BASIC).await, "subscription");
        stripe.change(&subscription("ann"), |held| held["status"] = json!("unpaid"));
        becomes(&app, "ann", BASIC, "unpaid").await;
        let found = findings(&app, "mem_ann").await;
        // On a busy machine a comparison may come while the purchase is still being told.
        let unpaid = found.iter().filter(|found| found.contains("status was unpaid")).count();
        assert_eq!(unpaid, 1, "however often it is compared: {found:?}");
    }

    async fn linking_a_customer_finds_the_subscriptions_nobody_told_of(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        stripe.happened(&buyer("ann", Price::ProMonth));
        app.register("mem_ann").await;
        app.link("mem_ann", "cus_demo_ann").await;
        becomes(&app, "ann", ADVANCED, "subscription").await;
    }

    async fn an_order_nobody_can_tell_is_settled_by_asking(store: Store) {
        let second = days_ago(1);
        let unclear = |name: &str| {
            let mut told = buyer(name, Price::BasicMonth);
            let active = told.iter().rfind(|event| event["type"] == "customer.subscription.updated").cloned();
            let mut active = active.expect("she became active");
            active["data"].as_object_mut().expect("an object").remove("previous_attributes");
            for (id, status) in [("evt_a", "active"), ("evt_z", "unpaid")] {
                let mut event = changed(active.clone(), &json!({ "status": status }));
                event["id"] = json!(format!("{id}_{name}"));
                event["created"] = json!(second.timestamp());
                told.push(event);
            }
            told
        };
        // Nobody to ask: the order of the ids decides, the same for every order of arrival.
        let app = TestApp::on(store).await;
        app.register("mem_ann").await;
        app.deliver_all(&unclear("ann")).await;
        assert_eq!(reason(&app, "ann", BASIC).await, "unpaid");

        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        app.register("mem_ann").await;
        let events = unclear("ann");
        stripe.happened(&events);
        stripe.change(&subscription("ann"), |held| held["status"] = json!("active"));
        app.deliver_all(&events).await;
        becomes(&app, "ann", BASIC, "subscription").await;
        let sentence = findings(&app, "mem_ann").await.remove(0);
        assert!(sentence.contains("the order of two changes could not be told"), "{sentence}");
    }

    async fn an_event_without_its_object_is_looked_up(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        app.register("mem_ann").await;
        let events = buyer("ann", Price::BasicMonth);
        stripe.happened(&events);
        app.deliver_all(&events).await;
        stripe.change(&subscription("ann"), |held| held["status"] = json!("unpaid"));
        let thin = json!({
            "id": "evt_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "livemode": false,
            "created": tests::stripe::rfc3339(now()),
            "related_object": { "id": "sub_demo_ann", "type": "subscription", "url": "/v1/subscriptions/sub_demo_ann" },
        });
        stripe.is_down(true);
        app.deliver_all([&thin]).await;
        let waits = app.delivery("evt_thin").await;
        assert_eq!((&waits["outcome"], &waits["reason"]), (&json!("parked"), &json!("provider_unavailable")), "{waits}");
        stripe.is_down(false);
        app.send(Method::POST, "/v1/support/deliveries/evt_thin/replay", None, "").await;
        becomes(&app, "ann", BASIC, "unpaid").await;
        assert_eq!(app.delivery("evt_thin").await["outcome"], "applied");
    }

    async fn what_a_disputed_payment_paid_for_is_asked(store: Store) {
        let policy = "past_due_grace = \"14d\"\ndispute_open = \"deny\"";
        let catalog = tests::stripe::CATALOG.replacen("past_due_grace = \"14d\"", policy, 1);
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await.with_catalog(&catalog)).serve().await;
        app.register("mem_ann").await;
        let events = buyer("ann", Price::BasicMonth);
        stripe.happened(&events);
        app.deliver_all(&events).await;
        let invoice = events.iter().find(|event| event["type"] == "invoice.paid").expect("she paid");
        let invoice = &invoice["data"]["object"];
        stripe.keep(invoice);
        stripe.keep(&json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice["id"],
            "payment": { "type": "payment_intent", "payment_intent": "pi_ann" } }));
        let dispute = |id: &str, payment: &str| {
            let object = json!({ "id": id, "object": "dispute", "status": "needs_response", "reason": "fraudulent",
                "payment_intent": payment, "charge": "ch_1", "amount": 1_700, "currency": "usd" });
            event(&format!("evt_{id}"), "charge.dispute.created", days_ago(1), &object)
        };
        app.deliver_all([&dispute("dp_mug", "pi_mug")]).await;
        assert_eq!(app.delivery("evt_dp_mug").await["reason"], "no_invoice");
        assert_eq!(reason(&app, "ann", BASIC).await, "subscription");
        app.deliver_all([&dispute("dp_ann", "pi_ann")]).await;
        assert_eq!(reason(&app, "ann", BASIC).await, "disputed");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_asked_and_that_is_said() {
    let home = Home::new(Store::Sqlite).await;
    for command in ["backfill", "reconcile"] {
        let told = home.cli(&[command]);
        assert!(told.code == 2 && told.err.contains("STRIPE_SECRET_KEY"), "{told:?}");
    }
    let app = home.serve().await;
    app.register("mem_ann").await;
    let refused = app.send(Method::POST, "/v1/support/members/mem_ann/resync", None, "").await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("billing_not_configured")));
}
