//! Money is given back or disputed: access follows the owner's policy, by what was paid for and never by a guess.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{BASIC, CATALOG, Price, Story, bought, changed, days_ago, event, events};

const DAY: TimeDelta = TimeDelta::days(1);

/// A service whose owner ends access with a full refund and with a dispute.
async fn strict(store: Store) -> TestApp {
    let policy = "past_due_grace = \"14d\"\nrefund_full = \"deny\"\ndispute_open = \"deny\"";
    let catalog = CATALOG.replacen("past_due_grace = \"14d\"", policy, 1);
    Home::new(store).await.with_catalog(&catalog).serve().await
}

/// What a member who bought Basic ten days ago has delivered, with the id of her invoice.
async fn buyer(app: &TestApp, name: &str) -> (String, Vec<Value>, String) {
    let member = format!("mem_{name}");
    app.register(&member).await;
    let mut story = Story::new(name);
    bought(&mut story, &member, Price::BasicMonth, days_ago(10));
    let events = events(story);
    let paid = events.iter().find(|event| event["type"] == "invoice.paid").expect("she paid");
    let invoice = paid["data"]["object"]["id"].as_str().expect("invoices have ids").to_owned();
    (member, events, invoice)
}

/// As Stripe tells since 2025-03-31.basil which payment paid an invoice.
fn invoice_payment(name: &str, invoice: &str) -> Value {
    let object = json!({
        "id": format!("inpay_{name}"), "object": "invoice_payment", "invoice": invoice, "status": "paid",
        "payment": { "type": "payment_intent", "payment_intent": format!("pi_{name}") },
    });
    event(&format!("evt_{name}_inpay"), "invoice_payment.paid", days_ago(10), &object)
}

fn refunded(name: &str, given_back: i64, at: DateTime<Utc>) -> Value {
    let object = json!({
        "id": format!("ch_{name}"), "object": "charge", "payment_intent": format!("pi_{name}"), "amount": 1_700,
        "amount_captured": 1_700, "amount_refunded": given_back, "refunded": given_back == 1_700,
        "currency": "usd", "customer": format!("cus_demo_{name}"),
    });
    event(&format!("evt_{name}_refund_{given_back}"), "charge.refunded", at, &object)
}

fn dispute(name: &str, status: &str, at: DateTime<Utc>) -> Value {
    let object = json!({
        "id": format!("dp_{name}"), "object": "dispute", "charge": format!("ch_{name}"), "amount": 1_700,
        "payment_intent": format!("pi_{name}"), "reason": "fraudulent", "status": status, "currency": "usd",
    });
    let kind =
        if ["needs_response", "warning_needs_response"].contains(&status) { "created" } else { "closed" };
    event(&format!("evt_{name}_{status}"), &format!("charge.dispute.{kind}"), at, &object)
}

async fn assert_reason(app: &TestApp, member: &str, reason: &str) {
    let decision = app.check(member, BASIC).await;
    assert_eq!(decision["reason"], reason, "{decision}");
    let path = format!("/v1/support/members/{member}/explain?video={BASIC}");
    let explained = app.get(&path).await.body;
    assert_eq!(explained["decision"]["reason"], reason, "{explained:#}");
}

on_every_store! {
    async fn a_full_refund_ends_access_where_the_policy_says_so_and_a_partial_one_never(store: Store) {
        let app = strict(store).await;
        let (member, bought, invoice) = buyer(&app, "rita").await;
        app.deliver_all(&bought).await;
        app.deliver_all([&invoice_payment("rita", &invoice), &refunded("rita", 700, days_ago(5))]).await;
        assert_reason(&app, &member, "subscription").await;
        app.deliver_all([&refunded("rita", 1_700, days_ago(3))]).await;
        assert_reason(&app, &member, "refunded").await;
        assert_eq!(app.check_at(&member, BASIC, days_ago(4)).await["reason"], "subscription");
        let explained = app.get(&format!("/v1/support/members/{member}/explain?video={BASIC}")).await.body;
        let text = explained["text"].as_str().unwrap_or_default();
        assert!(text.contains("evt_rita_refund_1700") && text.contains("given back"), "{text}");
    }

    async fn a_dispute_ends_access_while_it_is_open_and_an_inquiry_does_not(store: Store) {
        let app = strict(store).await;
        let (member, bought, invoice) = buyer(&app, "dora").await;
        app.deliver_all(&bought).await;
        app.deliver_all([&invoice_payment("dora", &invoice)]).await;
        for (status, days, reason) in [
            ("warning_needs_response", 8, "subscription"),
            ("needs_response", 6, "disputed"),
            ("won", 4, "subscription"),
        ] {
            app.deliver_all([&dispute("dora", status, days_ago(days))]).await;
            assert_reason(&app, &member, reason).await;
        }
        assert_eq!(app.check_at(&member, BASIC, days_ago(5)).await["reason"], "disputed");
    }

    async fn a_refund_that_is_heard_of_first_waits_for_its_payment(store: Store) {
        let app = strict(store).await;
        let (member, bought, invoice) = buyer(&app, "eva").await;
        app.deliver_all([&refunded("eva", 1_700, days_ago(3)), &invoice_payment("eva", &invoice)]).await;
        let waiting = app.delivery("evt_eva_refund_1700").await;
        assert_eq!((&waiting["outcome"], &waiting["reason"]), (&json!("parked"), &json!("unknown_payment")));
        assert_eq!(app.delivery("evt_eva_inpay").await["reason"], "unknown_invoice");
        app.deliver_all(&bought).await;
        assert_reason(&app, &member, "refunded").await;
        assert_eq!(app.deliveries("parked").await, [Value::Null; 0]);
    }

    async fn old_invoices_name_their_payment_themselves(store: Store) {
        let app = strict(store).await;
        let (member, bought, _) = buyer(&app, "otto").await;
        let old = |event: &Value| {
            if event["type"] != "invoice.paid" {
                return event.clone();
            }
            let subscription = event.pointer("/data/object/parent/subscription_details/subscription");
            changed(event.clone(), &json!({
                "subscription": subscription, "parent": null, "payment_intent": "pi_otto", "charge": "ch_otto",
            }))
        };
        let bought: Vec<_> = bought.iter().map(old).collect();
        app.deliver_all(&bought).await;
        app.deliver_all([&dispute("otto", "lost", days_ago(2))]).await;
        assert_reason(&app, &member, "disputed").await;
    }

    async fn a_dispute_about_something_else_touches_nobody(store: Store) {
        let app = strict(store).await;
        let (member, bought, invoice) = buyer(&app, "nina").await;
        app.deliver_all(&bought).await;
        app.deliver_all([&invoice_payment("nina", &invoice), &dispute("mug", "needs_response", days_ago(1))]).await;
        assert_eq!(app.delivery("evt_mug_needs_response").await["reason"], "unknown_payment");
        assert_reason(&app, &member, "subscription").await;
    }

    async fn paying_again_after_a_refund_opens_again(store: Store) {
        let app = strict(store).await;
        let member = "mem_gina";
        app.register(member).await;
        let mut story = Story::new("gina");
        bought(&mut story, member, Price::BasicMonth, days_ago(40));
        story.renew(days_ago(10));
        let told = events(story);
        let first = told.iter().find(|event| event["type"] == "invoice.paid").expect("she paid");
        let invoice = first["data"]["object"]["id"].as_str().unwrap_or_default();
        let refund = refunded("gina", 1_700, days_ago(30));
        app.deliver_all(told.iter().chain([&invoice_payment("gina", invoice), &refund])).await;
        assert_reason(&app, member, "subscription").await;
        assert_eq!(app.check_at(member, BASIC, days_ago(30) + DAY).await["reason"], "refunded");
        app.home.done(&["replay", "--verify"]);
    }
}
