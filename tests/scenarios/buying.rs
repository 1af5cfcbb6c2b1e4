//! A member buys, changes and ends her membership, and never hears a stale no.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Reply, answer};
use tests::on_every_store;
use tests::shop::{CARD, Shop};
use tests::stripe::{ADVANCED, BASIC, FREE};

const ADA: &str = "mem_ada";
/// Longer than anything takes that works.
const HANG: Duration = Duration::from_mins(1);

/// What a member asked for, as staff see it: the events in order, and who made each happen.
async fn told(shop: &Shop, member: &str) -> Vec<(String, String)> {
    let path = format!("/v1/support/members/{member}/timeline?limit=100");
    let reply = shop.staff(Method::GET, &path, None).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = reply.body["data"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "event_type"), text(entry, "actor"))).collect()
}

fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), &reply.body["code"]), (status, &json!(code)), "{reply:?}");
    assert!(reply.body["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{reply:?}");
}

fn count(told: &[(String, String)], event: &str) -> usize {
    told.iter().filter(|(name, _)| name == event).count()
}

/// Each answer of Stripe's to calls of this path takes so long.
async fn slow(shop: &Shop, path: &str, delay: &str) {
    shop.steer("faults", &json!({ "drop": 1.0, "api": { "delay": delay, "path": path } })).await;
}

async fn keyed(shop: &Shop, path: &str, key: &str, body: &Value) -> Reply {
    answer(shop.request(ADA, Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// Asks again under the same key, with Stripe quick again, until there is an answer.
async fn answered(shop: &Shop, path: &str, key: &str, body: &Value) -> Value {
    no_webhooks(shop).await;
    let begun = Instant::now();
    loop {
        let reply = keyed(shop, path, key, body).await;
        if reply.status == 200 {
            return reply.body;
        }
        let code = reply.body["code"].as_str().unwrap_or_default().to_owned();
        assert!(
            matches!(code.as_str(), "billing_unavailable" | "idempotency_key_in_use"),
            "{path}: {reply:?}"
        );
        assert!(begun.elapsed() < HANG, "{reply:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Why she is answered as she is, where she brings along what she was answered before.
async fn reason(shop: &Shop, video: &str, position: &str) -> Value {
    shop.check(ADA, video, position).await["reason"].take()
}

async fn no_webhooks(shop: &Shop) {
    shop.steer("faults", &json!({ "drop": 1.0 })).await;
}

on_every_store! {
    async fn who_pays_watches_at_once_though_no_webhook_ever_comes(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        let before = shop.get(ADA, &format!("/v1/videos/{ADVANCED}")).await.body;
        assert_eq!((&before["access"]["reason"], before.get("playback")), (&json!("no_membership"), None));

        let checkout = shop.checkout(ADA, "pro").await;
        let session = checkout["session"].as_str().unwrap().to_owned();
        // She is the payer before she pays, so that nothing has to be guessed afterwards.
        let bound = shop.at_stripe(Method::GET, &format!("checkout/sessions/{session}"), "").await;
        let payer = shop.at_stripe(Method::GET, &format!("customers/{}", bound["customer"].as_str().unwrap()), "").await;
        assert_eq!(payer["metadata"]["member_id"], ADA);
        assert_eq!(shop.arrived(ADA, &checkout).await.body["state"], "open");

        let address = shop.pay(&checkout, CARD).await;
        assert_eq!(address, format!("http://learn.test/learn/membership?session_id={session}"));
        let back = shop.arrived(ADA, &checkout).await;
        assert_eq!((back.status.as_u16(), &back.body["state"]), (200, &json!("unlocked")), "{back:?}");
        let position = back.header("membership-position").unwrap();
        assert_eq!(shop.check(ADA, ADVANCED, position).await["reason"], "subscription");
        let video = shop.get(ADA, &format!("/v1/videos/{ADVANCED}")).await.body;
        assert_eq!(video["playback"], json!({ "kind": "vimeo", "id": "76979873" }));
        let membership = shop.get(ADA, "/v1/me/membership").await.body;
        assert_eq!((&membership["state"], &membership["plan"]["id"]), (&json!("active"), &json!("pro")));
        assert!(membership.get("duplicate").is_none());

        // Somebody else gains nothing by her session, and learns nothing of it.
        shop.register("mem_eve").await;
        refused(&shop.come_back("mem_eve", &checkout).await, 404, "unknown_checkout");
        refused(&shop.come_back(ADA, &json!({ "session": "cs_test_unknown" })).await, 404, "unknown_checkout");
        assert_eq!(shop.check("mem_eve", ADVANCED, position).await["reason"], "no_membership");

        let told = told(&shop, ADA).await;
        let by = |event: &str| told.iter().find(|(name, _)| name == event).map(|(_, actor)| actor.as_str());
        assert_eq!(by("CheckoutRequested"), Some("member:mem_ada"), "{told:?}");
        assert_eq!(by("CheckoutOpened"), Some("member:mem_ada"), "{told:?}");
        assert_eq!(by("SubscriptionActivated").or(by("SubscriptionStarted")), Some("stripe"), "{told:?}");
        shop.end().await.done(&["replay", "--verify"]);
    }

    async fn what_webhooks_tell_later_changes_nothing_of_what_was_looked_up(store: Store) {
        let shop = Shop::on(store).await;
        shop.steer("faults", &json!({ "delay": "30d", "shuffle": true, "duplicate": 0.5, "seed": 3 })).await;
        shop.register(ADA).await;
        shop.buy(ADA, "basic").await;
        assert_eq!(shop.check(ADA, BASIC, "").await["reason"], "subscription");
        // Mostly in the same second, so that what is told later of the purchase could be taken for newer than Pro.
        let (_, position) = shop.done_at(ADA, "/v1/me/membership/plan", &json!({ "plan": "pro" })).await;
        assert_eq!(reason(&shop, ADVANCED, &position).await, "subscription");
        let known = told(&shop, ADA).await;
        shop.steer("faults", &json!({})).await;
        shop.steer("flush", &json!({})).await;
        shop.settled().await;
        assert_eq!(shop.check(ADA, ADVANCED, "").await["reason"], "subscription");
        let count = |told: &[(String, String)], event: &str| told.iter().filter(|(name, _)| name == event).count();
        let later = told(&shop, ADA).await;
        for event in ["CheckoutRequested", "CheckoutCompleted", "SubscriptionStarted", "SubscriptionActivated", "PlanChanged"] {
            assert_eq!(count(&later, event), count(&known, event), "{event}: {later:?}");
        }
        assert_eq!(count(&later, "CheckoutCompleted"), 1);
        never_locked_out_since("SubscriptionActivated", &shop, ADA, BASIC).await;
        never_locked_out_since("PlanChanged", &shop, ADA, ADVANCED).await;
    }

    async fn a_provider_that_is_slow_is_waited_for_a_little_and_then_it_is_said_so(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        let checkout = shop.checkout(ADA, "pro").await;
        shop.pay(&checkout, CARD).await;
        let slow = json!({ "delay": "8s", "path": "/v1/checkout/sessions", "times": 1 });
        shop.steer("faults", &json!({ "drop": 1.0, "api": slow })).await;
        let back = shop.come_back(ADA, &checkout).await;
        assert_eq!((back.status.as_u16(), &back.body["state"]), (202, &json!("checking")), "{back:?}");
        let with_session = format!("{ADVANCED}?session_id={}", checkout["session"].as_str().unwrap());
        shop.steer("faults", &json!({ "drop": 1.0, "api": slow })).await;
        let decision = shop.check(ADA, &with_session, "").await;
        assert_eq!((&decision["allowed"], &decision["reason"]), (&json!(false), &json!("payment_pending")), "{decision}");
        no_webhooks(&shop).await;
        let (begun, mut decision) = (Instant::now(), decision);
        while decision["reason"] == "payment_pending" {
            assert!(begun.elapsed() < HANG, "{decision}");
            decision = shop.check(ADA, &with_session, "").await;
        }
        assert_eq!(decision["reason"], "subscription", "{decision}");
        assert_eq!(shop.arrived(ADA, &checkout).await.body["state"], "unlocked");
        refused(&shop.get(ADA, "/v1/me/access/videos/loops?session_id=cs_test_other").await, 404, "unknown_checkout");
    }

    async fn a_webhook_that_is_faster_than_the_provider_works_again_unlocks(store: Store) {
        let shop = Shop::on(store).await;
        let refusing = json!({ "status": 402, "path": "/v1/checkout/sessions" });
        shop.register(ADA).await;
        shop.steer("faults", &json!({ "delay": "30d" })).await;
        let checkout = shop.checkout(ADA, "pro").await;
        shop.pay(&checkout, CARD).await;
        shop.steer("faults", &json!({ "delay": "30d", "api": refusing })).await;
        let waiting = shop.come_back(ADA, &checkout).await;
        assert_eq!((waiting.status.as_u16(), &waiting.body["state"]), (202, &json!("checking")), "{waiting:?}");
        assert_eq!(waiting.header("retry-after"), Some("1"));
        let told = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            shop.steer("flush", &json!({})).await;
        };
        let (mut back, ()) = tokio::join!(shop.come_back(ADA, &checkout), told);
        // On a busy machine the webhooks may take longer than the answer waits.
        let begun = Instant::now();
        while back.status == 202 {
            assert!(begun.elapsed() < HANG, "{back:?}");
            back = shop.come_back(ADA, &checkout).await;
        }
        assert_eq!((back.status.as_u16(), &back.body["state"]), (200, &json!("unlocked")), "{back:?}");
        let end = json!({ "when": "now" });
        shop.steer("faults", &json!({})).await;
        shop.done(ADA, "/v1/me/membership/cancel", &end).await;
        assert_eq!(shop.come_back(ADA, &checkout).await.body["state"], "ended");
    }

    async fn a_page_that_cannot_be_closed_is_not_followed_by_a_second_one(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        let first = shop.checkout(ADA, "basic").await;
        let page = format!("checkout/sessions/{}", first["session"].as_str().unwrap());
        let api = json!({ "status": 402, "path": format!("/v1/{page}/expire") });
        shop.steer("faults", &json!({ "drop": 1.0, "api": api })).await;
        refused(&shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "pro" })).await, 503, "billing_unavailable");
        assert_eq!(shop.at_stripe(Method::GET, &page, "").await["status"], "open");
        let count = |told: &[(String, String)], event: &str| told.iter().filter(|(name, _)| name == event).count();
        assert_eq!(count(&told(&shop, ADA).await, "CheckoutOpened"), 1);

        // One that expired, which nobody told, is known to be over from then on.
        no_webhooks(&shop).await;
        shop.at_stripe(Method::POST, &format!("{page}/expire"), "").await;
        for _ in 0..2 {
            shop.checkout(ADA, "pro").await;
        }
        let told = told(&shop, ADA).await;
        assert_eq!((count(&told, "CheckoutEnded"), count(&told, "CheckoutWithdrawn")), (1, 0), "{told:?}");
    }

    async fn what_any_payer_of_hers_bought_is_found_and_one_that_is_gone_is_no_hindrance(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        for (member, payer) in [(ADA, "cus_zzzzzzzz"), ("mem_eve", "cus_zzzzzzzy")] {
            shop.register(member).await;
            let pro = shop.checkout(member, "pro").await;
            if member == ADA {
                shop.pay(&pro, CARD).await;
            }
            let link = json!({ "customer": payer });
            let linked = shop.staff(Method::PUT, &format!("/v1/members/{member}/stripe-customer"), Some(&link)).await;
            assert!(linked.status.is_success(), "{linked:?}");
        }
        refused(&shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "basic" })).await, 409, "already_subscribed");
        // Who has bought nothing buys, through the payer that is there.
        shop.buy("mem_eve", "basic").await;
        for member in [ADA, "mem_eve"] {
            let told = told(&shop, member).await;
            assert_eq!(told.iter().filter(|(name, _)| name == "CustomerDeleted").count(), 1, "{told:?}");
        }
    }

    async fn two_windows_are_one_purchase(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        let basic = json!({ "plan": "basic" });
        let begin = || shop.post(ADA, "/v1/me/checkout", &basic);
        let (one, other) = tokio::join!(begin(), begin());
        let sessions: Vec<&Value> = [&one, &other].into_iter().filter(|reply| reply.status == 200).map(|reply| &reply.body["session"]).collect();
        assert!(!sessions.is_empty(), "{one:?} {other:?}");
        assert!(sessions.iter().all(|session| *session == sessions[0]), "{one:?} {other:?}");
        let again = shop.checkout(ADA, "basic").await;
        assert_eq!((&again["session"], &again["is_same"]), (sessions[0], &json!(true)));

        // Another plan closes the page of the first.
        let pro = shop.checkout(ADA, "pro").await;
        assert_ne!(&pro["session"], sessions[0]);
        let path = format!("checkout/sessions/{}", sessions[0].as_str().unwrap());
        assert_eq!(shop.at_stripe(Method::GET, &path, "").await["status"], "expired");

        // Paid, and nobody has told: a third window is refused all the same.
        shop.pay(&pro, CARD).await;
        refused(&shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "basic" })).await, 409, "already_subscribed");
        refused(&shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "pro" })).await, 409, "already_subscribed");
        let bought = shop.at_stripe(Method::GET, "subscriptions?status=all", "").await;
        assert_eq!(bought["data"].as_array().unwrap().len(), 1, "{bought}");
    }

    async fn what_is_bought_twice_all_the_same_is_shown_to_her_and_to_staff(store: Store) {
        let shop = Shop::on(store).await;
        shop.register(ADA).await;
        shop.buy(ADA, "basic").await;
        let membership = shop.get(ADA, "/v1/me/membership").await.body;
        let first = membership["subscriptions"][0]["id"].as_str().unwrap().to_owned();
        let held = shop.at_stripe(Method::GET, &format!("subscriptions/{first}"), "").await;
        let text = |field: &str| held[field].as_str().unwrap_or_else(|| panic!("{field} of {held}"));
        let (payer, card) = (text("customer"), text("default_payment_method"));
        let form = format!("customer={payer}&default_payment_method={card}&items[0][price]=price_demo_pro_month");
        shop.at_stripe(Method::POST, "subscriptions", &form).await;
        let begun = Instant::now();
        loop {
            shop.settled().await;
            let membership = shop.get(ADA, "/v1/me/membership").await.body;
            if let Some(twice) = membership.get("duplicate") {
                assert_eq!(twice["subscriptions"].as_array().unwrap().len(), 2, "{membership}");
                break;
            }
            assert!(begun.elapsed() < HANG, "{membership}");
        }
        let seen = shop.staff(Method::GET, "/v1/support/members/mem_ada/membership", None).await;
        assert_eq!(seen.body["duplicate"]["subscriptions"].as_array().map(Vec::len), Some(2), "{seen:?}");
        let metrics = shop.strange(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("membership_members_paying_twice 1"), "{metrics}");
        // Which of them is meant has to be said.
        refused(&shop.post(ADA, "/v1/me/membership/cancel", &json!({})).await, 409, "several_subscriptions");
        let end = json!({ "subscription": first, "when": "now" });
        let left = shop.done(ADA, "/v1/me/membership/cancel", &end).await;
        assert!(left.get("duplicate").is_none() && left["plan"]["id"] == "pro", "{left}");
    }

    async fn a_plan_is_changed_at_the_cost_that_was_shown_and_every_wish_is_on_record(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        refused(&shop.post(ADA, "/v1/me/membership/plan", &json!({ "plan": "pro" })).await, 409, "no_subscription");
        refused(&shop.post(ADA, "/v1/me/portal", &json!({})).await, 409, "nothing_bought");
        shop.buy(ADA, "basic").await;
        let path = "/v1/me/membership/plan";
        refused(&shop.post(ADA, path, &json!({ "plan": "basic" })).await, 409, "same_plan");
        refused(&shop.post(ADA, path, &json!({ "plan": "gold" })).await, 422, "unknown_plan");

        let shown = shop.done(ADA, &format!("{path}/preview"), &json!({ "plan": "pro" })).await;
        assert!(shown["when"] == "now" && shown["cost"]["due_now"].as_i64().unwrap() > 0, "{shown}");
        let mut cheaper = shown["cost"].clone();
        cheaper["due_now"] = json!(1);
        let wrong = json!({ "plan": "pro", "expected": cheaper });
        refused(&shop.post(ADA, path, &wrong).await, 409, "preview_outdated");
        let wanted = json!({ "plan": "pro", "expected": shown["cost"] });
        let (changed, position) = shop.done_at(ADA, path, &wanted).await;
        assert_eq!((&changed["state"], &changed["membership"]["plan"]["id"]), (&json!("done"), &json!("pro")));
        assert_eq!(reason(&shop, ADVANCED, &position).await, "subscription");

        // A lower plan comes with the end of what is paid for.
        let lower = shop.done(ADA, &format!("{path}/preview"), &json!({ "plan": "basic" })).await;
        assert_eq!((&lower["when"], &lower["cost"]["due_now"]), (&json!("period_end"), &json!(0)));
        let (scheduled, position) = shop.done_at(ADA, path, &json!({ "plan": "basic" })).await;
        assert_eq!(scheduled["state"], "scheduled", "{scheduled}");
        assert_eq!(scheduled["membership"]["next"]["plan"]["id"], "basic", "{scheduled}");
        assert_eq!(reason(&shop, ADVANCED, &position).await, "subscription");

        let end = json!({ "reason": "too_expensive" });
        let (ending, position) = shop.done_at(ADA, "/v1/me/membership/cancel", &end).await;
        assert!(ending["ends_at"].is_string() && ending["actions"][0] == "resume", "{ending}");
        assert_eq!(reason(&shop, ADVANCED, &position).await, "cancels_later");
        let resumed = shop.done(ADA, "/v1/me/membership/resume", &json!({})).await;
        assert!(resumed["ends_at"].is_null() && resumed["state"] == "active", "{resumed}");
        refused(&shop.post(ADA, "/v1/me/membership/resume", &json!({})).await, 409, "nothing_to_resume");
        let portal = shop.done(ADA, "/v1/me/portal", &json!({})).await;
        assert!(portal["url"].as_str().unwrap().contains("/portal/"), "{portal}");
        let (over, position) = shop.done_at(ADA, "/v1/me/membership/cancel", &json!({ "when": "now" })).await;
        assert_eq!(over["state"], "ended", "{over}");
        assert_eq!(reason(&shop, ADVANCED, &position).await, "ended");

        let told = told(&shop, ADA).await;
        for event in ["PlanChangeRequested", "CancellationRequested", "ResumptionRequested", "PortalRequested"] {
            assert!(told.contains(&(event.to_owned(), "member:mem_ada".to_owned())), "{event}: {told:?}");
        }
        let history = shop.get(ADA, "/v1/me/history?limit=100").await.body;
        let said = history["data"].as_array().unwrap();
        assert!(said.iter().any(|entry| entry["sentence"] == "You asked to buy Basic." && entry["by"] == "you"), "{history}");
        assert!(!history.to_string().contains("sub_"), "ids mean nothing to her: {history}");
    }

    async fn a_lower_plan_that_is_asked_for_again_under_its_key_is_scheduled_once_and_stays(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        shop.buy(ADA, "pro").await;
        let path = "/v1/me/membership/plan";
        slow(&shop, "/v1/subscription_schedules", "4s").await;
        let first = keyed(&shop, path, "later", &json!({ "plan": "basic" })).await;
        refused(&first, 503, "billing_unavailable");
        let again = answered(&shop, path, "later", &json!({ "plan": "basic" })).await;
        assert_eq!(again["state"], "scheduled", "{again}");
        assert_eq!(again["membership"]["next"]["plan"]["id"], "basic", "{again}");
        let schedules = shop.at_stripe(Method::GET, "subscription_schedules", "").await;
        let states: Vec<&Value> = schedules["data"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
        assert_eq!(states, [&json!("active")], "{schedules}");
        assert_eq!(count(&told(&shop, ADA).await, "PlanChangeRequested"), 1);

        // Before the end that she wants now there is no other plan.
        shop.done(ADA, "/v1/me/membership/cancel", &json!({})).await;
        refused(&shop.post(ADA, path, &json!({ "plan": "basic" })).await, 409, "end_scheduled");
        shop.end().await.done(&["replay", "--verify"]);
    }

    async fn what_was_done_though_its_answer_was_lost_is_told_under_the_same_key_and_done_once(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        shop.buy(ADA, "basic").await;
        let path = "/v1/me/membership";
        let steps = [
            ("plan", json!({ "plan": "pro" })),
            ("cancel", json!({})),
            ("resume", json!({})),
            ("cancel", json!({ "when": "now" })),
        ];
        // One key for all of them: it belongs to a route, too.
        for (nth, (what, body)) in steps.into_iter().enumerate() {
            let (path, key) = (format!("{path}/{what}"), if nth == 3 { "two" } else { "\"one\"" });
            slow(&shop, "/v1/subscriptions", "3s").await;
            refused(&keyed(&shop, &path, key, &body).await, 503, "billing_unavailable");
            let membership = answered(&shop, &path, key.trim_matches('"'), &body).await;
            match nth {
                0 => assert_eq!((&membership["state"], &membership["membership"]["plan"]["id"]), (&json!("done"), &json!("pro"))),
                1 => assert!(membership["ends_at"].is_string(), "{membership}"),
                2 => assert!(membership["ends_at"].is_null() && membership["state"] == "active", "{membership}"),
                _ => assert_eq!(membership["state"], "ended", "{membership}"),
            }
        }
        let told = told(&shop, ADA).await;
        let counts = ["PlanChangeRequested", "CancellationRequested", "ResumptionRequested"].map(|event| count(&told, event));
        assert_eq!(counts, [1, 2, 1], "{told:?}");
    }

    async fn requests_without_a_key_are_each_done_whatever_id_they_come_with(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        shop.buy(ADA, "basic").await;
        for what in ["cancel", "resume", "cancel"] {
            let request = shop.request(ADA, Method::POST, &format!("/v1/me/membership/{what}"));
            let reply = answer(request.header("x-request-id", "one-tab").json(&json!({}))).await;
            assert_eq!(reply.status, 200, "{what}: {reply:?}");
            let held = shop.at_stripe(Method::GET, "subscriptions", "").await;
            assert_eq!(held["data"][0]["cancel_at_period_end"], what == "cancel", "{what}: {held}");
        }
    }

    async fn an_end_that_was_taken_back_elsewhere_and_never_told_is_scheduled_again(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        shop.buy(ADA, "basic").await;
        shop.done(ADA, "/v1/me/membership/cancel", &json!({})).await;
        let held = shop.at_stripe(Method::GET, "subscriptions", "").await;
        let path = format!("subscriptions/{}", held["data"][0]["id"].as_str().unwrap());
        shop.at_stripe(Method::POST, &path, "cancel_at_period_end=false").await;
        let ending = shop.done(ADA, "/v1/me/membership/cancel", &json!({})).await;
        assert!(ending["ends_at"].is_string(), "{ending}");
        assert_eq!(shop.at_stripe(Method::GET, &path, "").await["cancel_at_period_end"], true);
        shop.at_stripe(Method::POST, &path, "cancel_at_period_end=false").await;
        refused(&shop.post(ADA, "/v1/me/membership/resume", &json!({})).await, 409, "nothing_to_resume");
    }

    async fn a_refusal_of_the_provider_is_another_fact_than_the_wish_and_than_no_answer(store: Store) {
        let shop = Shop::on(store).await;
        no_webhooks(&shop).await;
        shop.register(ADA).await;
        shop.steer("faults", &json!({ "drop": 1.0, "api": { "status": 402, "path": "/v1/checkout/sessions" } })).await;
        let reply = shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "pro" })).await;
        refused(&reply, 502, "billing_refused");
        shop.steer("faults", &json!({ "drop": 1.0, "api": { "status": 500, "path": "/v1/checkout/sessions" } })).await;
        let reply = shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "pro" })).await;
        refused(&reply, 503, "billing_unavailable");
        no_webhooks(&shop).await;
        shop.buy(ADA, "pro").await;
        let told = told(&shop, ADA).await;
        let count = |event: &str| told.iter().filter(|(name, _)| name == event).count();
        assert_eq!((count("CheckoutRequested"), count("RequestRefused"), count("RequestUnanswered")), (3, 1, 1), "{told:?}");
        assert_eq!(count("CheckoutOpened"), 1);
    }

    async fn a_payment_that_takes_days_is_told_as_such_and_asked_for_once(store: Store) {
        let shop = Shop::on(store).await;
        shop.register(ADA).await;
        let checkout = shop.checkout(ADA, "basic").await;
        shop.pay(&checkout, "DE89370400440532013000").await;
        let back = shop.arrived(ADA, &checkout).await;
        assert_eq!((back.status.as_u16(), &back.body["state"]), (202, &json!("payment_pending")), "{back:?}");
        let position = back.header("membership-position").unwrap();
        assert_eq!(shop.check(ADA, BASIC, position).await["reason"], "payment_pending");
        refused(&shop.post(ADA, "/v1/me/checkout", &json!({ "plan": "basic" })).await, 409, "payment_under_way");
    }

    async fn nobody_hears_of_another_member_or_of_anything_without_signing_in(store: Store) {
        let shop = Shop::on(store).await;
        let me = shop.strange(Method::GET, "/v1/me").send().await.unwrap();
        assert_eq!((me.status().as_u16(), me.json::<Value>().await.unwrap()), (200, json!({ "object": "me", "member": null })));
        let catalog: Value = shop.strange(Method::GET, "/v1/catalog").send().await.unwrap().json().await.unwrap();
        let locks: Vec<Value> = catalog["roadmaps"].as_array().unwrap().iter()
            .flat_map(|roadmap| roadmap["courses"].as_array().unwrap())
            .flat_map(|course| course["videos"].as_array().unwrap())
            .map(|video| json!([video["id"], video["access"]["reason"]])).collect();
        assert_eq!(locks, [json!([FREE, "free"]), json!([BASIC, "not_signed_in"]), json!([ADVANCED, "not_signed_in"])]);
        for path in ["/v1/me/access", "/v1/me/membership", "/v1/me/history", "/v1/me/events", "/v1/me/access/videos/loops"] {
            let reply = shop.strange(Method::GET, path).send().await.unwrap();
            assert_eq!(reply.status(), 401, "{path}");
        }
        for path in ["checkout", "portal", "membership/plan", "membership/cancel", "membership/resume", "checkout/return"] {
            let body = json!({ "plan": "pro", "session": "cs_1" });
            let reply = shop.strange(Method::POST, &format!("/v1/me/{path}")).json(&body).send().await.unwrap();
            assert_eq!(reply.status(), 401, "{path}");
        }
    }
}

/// Whatever was known at any moment after the purchase was, it was a yes. Asked of the past, so that no moment is missed.
async fn never_locked_out_since(event: &str, shop: &Shop, member: &str, video: &str) {
    let timeline = shop.staff(Method::GET, &format!("/v1/support/members/{member}/timeline"), None).await;
    let entries = timeline.body["data"].as_array().cloned().unwrap_or_default();
    let recorded = |entry: &Value| entry["recorded_at"].as_str().unwrap_or_default().to_owned();
    let started = entries.iter().find(|entry| entry["event_type"] == event).map(recorded);
    let started = started.expect("it was unlocked");
    let later: Vec<String> = entries.iter().map(recorded).filter(|moment| *moment >= started).collect();
    assert!(later.len() > 3, "nothing came later: {timeline:?}");
    for moment in later {
        let path = format!("/v1/support/members/{member}/explain?video={video}&known_at={moment}");
        let told = shop.staff(Method::GET, &path, None).await;
        assert_eq!(told.body["decision"]["allowed"], true, "{moment}: {told:?} {timeline:?}");
    }
}
