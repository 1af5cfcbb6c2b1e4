//! What went wrong in other people's integrations, told to ours: each in the newest shapes and in those of 2020.
//!
//! The names in front are the public threads that tell the story.

use std::time::Duration;

use chrono::{Months, TimeDelta};
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::stripe::{
    ADVANCED, BASIC, CATALOG, Price, Story, bought, changed, days_ago, event, events, in_2020, rfc3339,
};

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The shapes a story is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Newest,
    Of2020,
}

impl Shape {
    fn of(self, event: Value) -> Value {
        if self == Self::Newest { event } else { in_2020(event) }
    }
}

/// One buyer at a running service, in one shape.
struct Case {
    app: TestApp,
    shape: Shape,
    member: String,
}

/// Makes one test of a story for each shape.
macro_rules! in_both_shapes {
    ($($(#[$meta:meta])* async fn $name:ident($case:ident: Case) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn scenario($case: Case) $body

            #[tokio::test]
            async fn in_the_newest_shape() {
                scenario(Case::new(Shape::Newest, CATALOG).await).await;
            }

            #[tokio::test]
            async fn in_the_shape_of_2020() {
                scenario(Case::new(Shape::Of2020, CATALOG).await).await;
            }
        }
    )*};
}

impl Case {
    async fn new(shape: Shape, catalog: &str) -> Self {
        let app = Home::new(Store::Sqlite).await.with_catalog(catalog).serve().await;
        let member = "mem_ada".to_owned();
        app.register(&member).await;
        app.link(&member, "cus_demo_ada").await;
        Self { app, shape, member }
    }

    /// The story's events in the case's shape, oldest first.
    fn events(&self, story: Story) -> Vec<Value> {
        events(story).into_iter().map(|event| self.shape.of(event)).collect()
    }

    async fn deliver(&self, story: Story) {
        self.app.deliver_all(&self.events(story)).await;
    }

    /// Delivers all of them at the same time.
    async fn deliver_at_once(&self, events: &[Value]) {
        let send = |event: &Value| tokio::spawn(self.app.signed(event.to_string()).send());
        let sending: Vec<_> = events.iter().map(send).collect();
        for sent in sending {
            let answer = sent.await.expect("it was sent").expect("it was answered");
            assert_eq!(answer.status(), 200);
        }
        self.app.settled().await;
    }

    /// Both answers: the live one, and the one from the history.
    async fn assert(&self, video: &str, reason: &str) -> Value {
        let decision = self.app.check(&self.member, video).await;
        assert_eq!(decision["reason"], reason, "{:?}: {decision}", self.shape);
        let path = format!("/v1/support/members/{}/explain?video={video}", self.member);
        let explained = self.app.get(&path).await.body;
        assert_eq!(explained["decision"]["reason"], reason, "{:?}: {explained:#}", self.shape);
        explained
    }

    /// How many events of a kind her history holds.
    async fn count(&self, event_type: &str) -> usize {
        let timeline = self.app.get(&format!("/v1/support/members/{}/timeline", self.member)).await.body;
        let entries = timeline["data"].as_array().cloned().unwrap_or_default();
        entries.iter().filter(|entry| entry["event_type"] == event_type).count()
    }
}

/// A subscription that was paid for ten days ago.
fn active(name: &str) -> Story {
    let mut story = Story::new(name);
    story.create(Price::BasicMonth, "active", days_ago(10)).paid(days_ago(10));
    story
}

fn of_type<'e>(events: &'e [Value], event_type: &str) -> &'e Value {
    events.iter().find(|event| event["type"] == event_type).expect("the story has it")
}

in_both_shapes! {
    /// cashier#1201
    async fn bug_01_a_creation_that_arrives_after_the_activation_changes_nothing(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "incomplete", days_ago(1)).status("active", days_ago(1) + SECOND);
        let events = case.events(story);
        case.app.deliver_all(events.iter().rev()).await;
        case.assert(BASIC, "subscription").await;
    }

    /// cashier#1759, #1761, #1678
    async fn bug_02_two_handlers_at_once_make_one_subscription(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "incomplete", days_ago(1)).status("active", days_ago(1) + SECOND);
        let events = case.events(story);
        case.deliver_at_once(&events).await;
        case.assert(BASIC, "subscription").await;
        assert_eq!(case.count("SubscriptionStarted").await, 1);
    }

    /// stripe/sync-engine#268
    async fn bug_03_a_notice_of_the_same_second_never_beats_a_change(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "trialing", days_ago(5));
        let trialing = events(story.clone()).remove(0)["data"]["object"].clone();
        let at = days_ago(2);
        story.status("active", at);
        let notice = event("evt_notice", "customer.subscription.trial_will_end", at, &trialing);
        let mut told = case.events(story);
        told.push(case.shape.of(notice));
        for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0]] {
            let case = Case::new(case.shape, CATALOG).await;
            case.app.deliver_all(order.map(|index| &told[index])).await;
            case.assert(BASIC, "subscription").await;
        }
    }

    /// PostHog#98651
    async fn bug_04_a_stale_redelivery_of_the_same_second_does_not_unpay_an_invoice(case: Case) {
        let mut story = active("ada");
        story.renewal_fails(days_ago(3));
        let paid_at = days_ago(1);
        story.payment_fails(2, paid_at).paid(paid_at).status("active", paid_at + SECOND);
        let told = case.events(story);
        let failed_again = told.iter().rfind(|event| event["type"] == "invoice.payment_failed").expect("one failed").clone();
        case.app.deliver_all(&told).await;
        case.app.deliver_all([&failed_again]).await;
        case.app.deliver_all([&changed_id(&failed_again, "evt_twin")]).await;
        case.assert(BASIC, "subscription").await;
    }

    /// pay#371, #382
    async fn bug_05_three_events_in_parallel_make_one_subscription(case: Case) {
        let mut story = Story::new("ada");
        bought(&mut story, &case.member, Price::BasicMonth, days_ago(1));
        let events = case.events(story);
        case.deliver_at_once(&events).await;
        case.assert(BASIC, "subscription").await;
        assert_eq!(case.count("SubscriptionStarted").await, 1);
    }

    /// pay#350, dj-stripe#139
    async fn bug_06_an_immediate_end_beats_the_date_that_was_scheduled(case: Case) {
        let ended = days_ago(2);
        let mut story = active("ada");
        story.cancel_at_period_end(days_ago(5)).end(ended);
        case.deliver(story).await;
        case.assert(BASIC, "ended").await;
        for (moment, reason) in [(ended - SECOND, "cancels_later"), (ended, "ended")] {
            assert_eq!(case.app.check_at(&case.member, BASIC, moment).await["reason"], reason);
        }
    }

    /// pay#1201
    async fn bug_07_a_customer_deleted_before_her_subscription_ends_it_once(case: Case) {
        let mut story = active("ada");
        case.deliver(story.clone()).await;
        let customer = json!({ "id": "cus_demo_ada", "object": "customer", "deleted": true });
        let deleted = event("evt_deleted", "customer.deleted", days_ago(1), &customer);
        case.app.deliver_all([&deleted]).await;
        case.assert(BASIC, "ended").await;
        story.end(days_ago(1));
        let told = case.events(story);
        case.app.deliver_all([of_type(&told, "customer.subscription.deleted")]).await;
        case.assert(BASIC, "ended").await;
        assert_eq!(case.app.deliveries("failed").await, [Value::Null; 0]);
        assert_eq!(case.count("EndedWithCustomer").await + case.count("SubscriptionEnded").await, 1, "one end");
    }

    /// better-auth#10534, firezone#9869
    async fn bug_08_a_delivery_that_cannot_be_kept_is_not_acknowledged(case: Case) {
        let told = case.events(active("ada"));
        let broken = Broken::new(&case.app, "inbox", "INSERT");
        let reply = case.app.post_signed(told[0].to_string().as_bytes()).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after").is_some()), (503, true), "{reply:?}");
        broken.repair();
        case.app.deliver_all(&told).await;
        case.assert(BASIC, "subscription").await;
    }

    /// The-Leetcode-City#927, webrenew/unicon#42
    async fn bug_09_a_delivery_whose_handling_failed_is_carried_out_later(case: Case) {
        let told = case.events(active("ada"));
        let broken = Broken::new(&case.app, "events", "INSERT");
        for event in &told {
            case.app.deliver(event).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(case.app.check(&case.member, BASIC).await["reason"], "no_membership");
        broken.repair();
        case.app.settled().await;
        case.assert(BASIC, "subscription").await;
    }

    /// better-auth PR#8124
    async fn bug_10_a_change_of_an_unknown_customers_subscription_is_parked(case: Case) {
        let mut story = Story::new("stranger");
        story.create(Price::BasicMonth, "active", days_ago(2)).status("past_due", days_ago(1));
        let told = case.events(story);
        case.app.deliver_all([of_type(&told, "customer.subscription.updated")]).await;
        let parked = case.app.deliveries("parked").await;
        assert_eq!(parked[0]["reason"], "unknown_customer", "{parked:?}");
        case.assert(BASIC, "no_membership").await;
    }

    /// better-auth's fallback to another subscription, t3#40
    async fn bug_11_news_of_one_subscription_never_touches_another(case: Case) {
        let story = active("ada");
        let mut other = story.another("older");
        other.create(Price::BasicMonth, "active", days_ago(90)).end(days_ago(40));
        case.deliver(story).await;
        let told = case.events(other);
        case.app.deliver_all([of_type(&told, "customer.subscription.deleted")]).await;
        let explained = case.assert(BASIC, "subscription").await;
        assert_eq!(explained["sources"].as_array().map(Vec::len), Some(2), "{explained:#}");
    }

    /// better-auth#2087, dj-stripe#2196, Mirascope/lilypad#723
    async fn bug_12_a_period_is_found_wherever_the_version_puts_it(case: Case) {
        let policy = "past_due_grace = \"14d\"\ncollection_paused = \"end_of_period\"";
        let case = Case::new(case.shape, &CATALOG.replacen("past_due_grace = \"14d\"", policy, 1)).await;
        let started = days_ago(10);
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "active", started).pause_collection("void", days_ago(2));
        case.deliver(story).await;
        let explained = case.assert(BASIC, "subscription").await;
        let period_end = rfc3339(started + Months::new(1));
        assert_eq!(explained["decision"]["until"], json!(period_end), "{explained:#}");
    }

    /// better-auth#5780, stripe-node#2470
    async fn bug_13_a_cancellation_that_sets_only_a_date_is_one(case: Case) {
        let mut story = active("ada");
        story.cancel_in_portal(days_ago(1));
        let told = case.events(story);
        let updated = of_type(&told, "customer.subscription.updated");
        assert_eq!(updated["data"]["object"]["cancel_at_period_end"], false);
        case.app.deliver_all(&told).await;
        case.assert(BASIC, "cancels_later").await;
    }

    /// Azuriom#276
    async fn bug_14_retries_of_an_invoice_without_a_payment_intent_are_one_debt(case: Case) {
        let renewal = days_ago(6);
        let mut story = active("ada");
        story.renewal_fails(renewal).payment_fails(2, days_ago(4)).payment_fails(3, days_ago(2));
        let told = case.events(story.clone());
        assert!(told.iter().all(|event| event.pointer("/data/object/payment_intent").is_none()));
        case.app.deliver_all(&told).await;
        let explained = case.assert(BASIC, "grace").await;
        let first = renewal + TimeDelta::hours(1);
        assert_eq!(explained["decision"]["until"], json!(rfc3339(first + TimeDelta::days(14))), "{explained:#}");
        story.paid(days_ago(1)).status("active", days_ago(1));
        case.deliver(story).await;
        case.assert(BASIC, "subscription").await;
        assert_eq!(case.count("PaymentRecovered").await, 1);
    }

    /// stripe-python#1514
    async fn bug_15_a_dispute_without_an_invoice_is_not_pinned_on_the_latest_subscription(case: Case) {
        case.deliver(active("ada")).await;
        let object = json!({
            "id": "dp_1", "object": "dispute", "charge": "ch_unheard_of", "payment_intent": "pi_unheard_of",
            "status": "needs_response", "reason": "fraudulent", "amount": 900,
        });
        let dispute = event("evt_dispute", "charge.dispute.created", days_ago(1), &object);
        case.app.deliver_all([&case.shape.of(dispute)]).await;
        assert_eq!(case.app.delivery("evt_dispute").await["reason"], "unknown_payment");
        case.assert(BASIC, "subscription").await;
    }

    /// traceroot#1880
    async fn bug_16_items_in_another_order_are_the_same_plan(case: Case) {
        let (first, second) = (Price::ProMonth, Price::Mug);
        let mut story = Story::new("ada");
        story.create(first, "active", days_ago(10)).add_item(second, days_ago(5)).turn_items(days_ago(2));
        case.deliver(story).await;
        case.assert(ADVANCED, "subscription").await;
        assert_eq!(case.count("PlanChanged").await, 0);
    }

    /// dj-stripe#417
    async fn bug_17_of_two_items_without_a_plan_beside_them_the_better_counts(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "active", days_ago(10)).add_item(Price::ProMonth, days_ago(5));
        let told: Vec<_> = case.events(story).into_iter().map(|event| changed(event, &json!({ "plan": null }))).collect();
        case.app.deliver_all(&told).await;
        case.assert(ADVANCED, "subscription").await;
    }

    /// xyflow#48, pay#659
    async fn bug_18_collection_that_is_paused_is_seen_though_the_status_is_active(case: Case) {
        let mut story = active("ada");
        story.pause_collection("void", days_ago(2));
        case.deliver(story).await;
        let explained = case.assert(BASIC, "subscription").await;
        assert_eq!(explained["sources"][0]["status"], "active", "{explained:#}");
        assert_eq!(case.count("CollectionPaused").await, 1);
    }

    /// superset#6732, cashier#1454
    async fn bug_19_the_first_decline_of_a_renewal_opens_grace(case: Case) {
        let mut story = active("ada");
        story.renewal_fails(days_ago(1));
        case.deliver(story).await;
        case.assert(BASIC, "grace").await;
    }

    /// AI-Shipping-Labs#1413
    async fn bug_20_retries_do_not_extend_grace(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "active", days_ago(50)).paid(days_ago(50)).renewal_fails(days_ago(20));
        for (attempt, days) in [(2, 15), (3, 10), (4, 1)] {
            story.payment_fails(attempt, days_ago(days));
        }
        case.deliver(story).await;
        case.assert(BASIC, "past_due").await;
    }

    /// gameserverapp#1216, AI-Shipping-Labs#1423
    async fn bug_21_a_checkout_whose_payment_takes_days_opens_when_the_money_comes(case: Case) {
        let mut story = Story::new("ada");
        story.create(Price::BasicMonth, "incomplete", days_ago(6));
        let session = |status: &str| json!({
            "id": "cs_sepa", "object": "checkout.session", "mode": "subscription", "customer": "cus_demo_ada",
            "client_reference_id": case.member, "subscription": story.subscription_id(), "payment_status": status,
            "metadata": {},
        });
        let completed = event("evt_completed", "checkout.session.completed", days_ago(6), &session("unpaid"));
        let came = event("evt_came", "checkout.session.async_payment_succeeded", days_ago(2), &session("paid"));
        case.deliver(story.clone()).await;
        case.app.deliver_all([&case.shape.of(completed)]).await;
        case.assert(BASIC, "payment_pending").await;
        case.app.deliver_all([&case.shape.of(came)]).await;
        story.paid(days_ago(2)).status("active", days_ago(2));
        case.deliver(story).await;
        case.assert(BASIC, "subscription").await;
        assert_eq!(case.count("CheckoutEnded").await, 1);
    }

    /// DevBetter#406, postiz#2061
    async fn bug_23_the_end_of_one_of_two_subscriptions_takes_nothing_from_the_other(case: Case) {
        let story = active("ada");
        let mut duplicate = story.another("duplicate");
        duplicate.create(Price::BasicMonth, "active", days_ago(9)).end(days_ago(8));
        case.deliver(story).await;
        case.deliver(duplicate).await;
        case.assert(BASIC, "subscription").await;
    }

    /// invertase#109, code-with-ahsan#332
    async fn bug_24_a_subscription_to_something_else_is_passed_over(case: Case) {
        let mut story = Story::new("fan");
        story.create(Price::Mug, "active", days_ago(2)).paid(days_ago(2));
        case.deliver(story).await;
        for delivery in case.app.deliveries("").await {
            assert_eq!((&delivery["outcome"], &delivery["reason"]), (&json!("ignored"), &json!("unmapped_product")));
        }
        case.assert(BASIC, "no_membership").await;
    }

    /// antiwork/gumroad#6568
    async fn bug_25_a_dispute_is_judged_by_what_was_bought_not_by_todays_catalogue(case: Case) {
        let story = active("ada");
        let told = case.events(story);
        let invoice = of_type(&told, "invoice.paid")["data"]["object"]["id"].as_str().unwrap_or_default();
        case.app.deliver_all(&told).await;
        let payment = json!({
            "id": "inpay_1", "object": "invoice_payment", "invoice": invoice, "status": "paid",
            "payment": { "type": "payment_intent", "payment_intent": "pi_1" },
        });
        case.app.deliver_all([&event("evt_inpay", "invoice_payment.paid", days_ago(10), &payment)]).await;

        // What she bought is sold as something else now.
        let retyped = CATALOG.replacen("price_demo_basic_month", "price_of_today", 1);
        let home = case.app.home.clone();
        let Case { mut app, shape, member } = case;
        app.stop("TERM");
        let case = Case { app: home.with_catalog(&retyped).serve().await, shape, member };
        case.assert(BASIC, "subscription").await;

        let object = json!({
            "id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1", "amount": 1_700,
            "status": "needs_response", "reason": "fraudulent",
        });
        case.app.deliver_all([&event("evt_dispute", "charge.dispute.created", days_ago(1), &object)]).await;
        case.assert(BASIC, "disputed").await;
    }
}

fn changed_id(event: &Value, id: &str) -> Value {
    let mut twin = event.clone();
    twin["id"] = json!(id);
    twin
}

/// A table that refuses a change until it is repaired.
struct Broken {
    file: rusqlite::Connection,
}

impl Broken {
    fn new(app: &TestApp, table: &str, change: &str) -> Self {
        let file = rusqlite::Connection::open(app.home.path("membership.db")).expect("the file opens");
        file.busy_timeout(Duration::from_secs(10)).expect("a wait can be set");
        let trigger = format!(
            "CREATE TRIGGER broken BEFORE {change} ON {table} BEGIN SELECT RAISE(ABORT, 'the disk says no'); END"
        );
        file.execute_batch(&trigger).expect("the trigger can be made");
        Self { file }
    }

    fn repair(self) {
        self.file.execute_batch("DROP TRIGGER broken").expect("the trigger can be dropped");
    }
}

/// The stories of this one are the simulator's, which tells them in the shapes of any version.
#[cfg(test)]
mod bug_22_who_leaves_and_buys_again_has_no_second_trial {
    use tests::shop::{CARD, Shop};

    use super::*;

    async fn told_in(version: &str) {
        let shop = Shop::with_trials_on(Store::Sqlite).await;
        shop.steer("faults", &json!({ "api_version": version })).await;
        shop.register("mem_ada").await;
        let first = shop.checkout("mem_ada", "pro").await;
        assert_eq!(first["trial_days"], 7);
        shop.pay(&first, CARD).await;
        becomes(&shop, "trial").await;
        let bought = shop.at_stripe(Method::GET, "subscriptions", "").await["data"][0].clone();
        let (subscription, payer) = (bought["id"].as_str().unwrap(), bought["customer"].as_str().unwrap());
        shop.at_stripe(Method::DELETE, &format!("subscriptions/{subscription}"), "").await;
        becomes(&shop, "ended").await;
        let same_payer = shop.checkout("mem_ada", "pro").await;
        assert!(same_payer["trial_days"].is_null(), "{same_payer}");
        // Nor by being somebody else at the provider, which then has nothing to tell of the first time.
        shop.at_stripe(Method::DELETE, &format!("customers/{payer}"), "").await;
        let begun = std::time::Instant::now();
        let other_payer = loop {
            let checkout = shop.checkout("mem_ada", "pro").await;
            let session = format!("checkout/sessions/{}", checkout["session"].as_str().unwrap());
            if shop.at_stripe(Method::GET, &session, "").await["customer"] != payer {
                break checkout;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{checkout}");
        };
        assert!(other_payer["trial_days"].is_null(), "{other_payer}");
        shop.pay(&other_payer, CARD).await;
        becomes(&shop, "subscription").await;
    }

    async fn becomes(shop: &Shop, reason: &str) {
        let begun = std::time::Instant::now();
        loop {
            let decision = shop.check("mem_ada", ADVANCED, "").await;
            if decision["reason"] == reason {
                return;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{decision}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn in_the_newest_shape() {
        told_in("2026-09-30.endive").await;
    }

    #[tokio::test]
    async fn in_the_shape_of_2020() {
        told_in("2020-08-27").await;
    }
}
