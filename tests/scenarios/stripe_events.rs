//! Every type of event that informs and decides nothing is kept for whoever asks, and takes nothing from anybody.
//! `docs/stripe-events.md` has the whole table, of those that decide too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, bought, days_ago, event, events, now};
use webhook_ingest::stripe::translate::SUBSCRIBED;

/// What is told of one buyer of Basic, whose strictest rules would take it from her for a refund or a dispute.
struct Told {
    subscription: Value,
    invoice: Value,
    charge: Value,
}

impl Told {
    /// The object of an event: hers, with these fields changed.
    fn object(&self, of: &str, changes: &Value) -> Value {
        let mut object = match of {
            "subscription" => self.subscription.clone(),
            "invoice" => self.invoice.clone(),
            "charge" => self.charge.clone(),
            _ => json!({ "id": format!("{of}_1"), "object": of, "livemode": false }),
        };
        for (name, value) in changes.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    }
}

async fn buyer(app: &TestApp) -> Told {
    app.register("mem_ada").await;
    let mut story = Story::new("ada");
    bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(10));
    let told = events(story);
    app.deliver_all(&told).await;
    let of = |kind: &str| {
        let found = told.iter().rev().find(|event| event["type"] == kind).expect("the story has it");
        found["data"]["object"].clone()
    };
    let (subscription, invoice) = (of("customer.subscription.updated"), of("invoice.paid"));
    let payment = json!({
        "id": "inpay_ada", "object": "invoice_payment", "invoice": invoice["id"], "status": "paid",
        "payment": { "type": "payment_intent", "payment_intent": "pi_ada" },
    });
    app.deliver_all([&event("evt_inpay", "invoice_payment.paid", days_ago(10), &payment)]).await;
    let charge = json!({
        "id": "ch_ada", "object": "charge", "payment_intent": "pi_ada", "amount": 1_700, "amount_captured": 1_700,
        "amount_refunded": 300, "refunded": false, "currency": "usd", "customer": "cus_demo_ada",
    });
    Told { subscription, invoice, charge }
}

on_every_store! {
    async fn what_only_informs_is_kept_and_takes_nothing_from_anybody(store: Store) {
        let app = TestApp::on(store).await;
        let told = buyer(&app).await;
        let of_payment = json!({ "charge": "ch_ada", "payment_intent": "pi_ada", "amount": 300, "currency": "usd" });
        let with = |more: &Value| {
            let mut object = of_payment.clone();
            for (name, value) in more.as_object().into_iter().flatten() {
                object[name] = value.clone();
            }
            object
        };
        let debt = json!({ "id": "in_ada_2", "status": "open", "amount_paid": 0 });
        let session = json!({
            "mode": "subscription", "customer": "cus_demo_ada", "client_reference_id": "mem_ada",
            "payment_status": "unpaid", "metadata": {},
        });
        let schedule = json!({
            "subscription": told.subscription["id"], "customer": "cus_demo_ada", "status": "active",
            "current_phase": { "start_date": days_ago(10).timestamp(), "end_date": days_ago(-20).timestamp() },
            "phases": [
                { "start_date": days_ago(10).timestamp(), "end_date": days_ago(-20).timestamp(),
                  "items": [{ "price": "price_demo_basic_month" }] },
                { "start_date": days_ago(-20).timestamp(), "items": [{ "price": "price_demo_pro_month" }] },
            ],
        });
        let over = |status: &str| {
            let mut schedule = schedule.clone();
            (schedule["status"], schedule["current_phase"]) = (json!(status), Value::Null);
            schedule
        };
        let nothing = json!({});
        let rows: Vec<(&str, &str, Value, &str, &str)> = vec![
            ("customer.subscription.trial_will_end", "subscription", nothing.clone(), "applied", "TermsConfirmed"),
            ("customer.subscription.pending_update_applied", "subscription", nothing.clone(), "applied", "TermsConfirmed"),
            ("customer.subscription.pending_update_expired", "subscription", nothing.clone(), "applied", "TermsConfirmed"),
            ("subscription_schedule.created", "sub_sched", schedule.clone(), "applied", "PlanChangeScheduled"),
            ("subscription_schedule.updated", "sub_sched", schedule.clone(), "no_change", ""),
            ("subscription_schedule.expiring", "sub_sched", schedule.clone(), "no_change", ""),
            ("subscription_schedule.released", "sub_sched", over("released"), "applied", "PlanChangeUnscheduled"),
            ("subscription_schedule.canceled", "sub_sched", over("canceled"), "no_change", ""),
            ("subscription_schedule.completed", "sub_sched", over("completed"), "no_change", ""),
            ("subscription_schedule.aborted", "sub_sched", over("canceled"), "no_change", ""),
            ("checkout.session.expired", "cs", session.clone(), "applied", "CheckoutEnded"),
            ("checkout.session.async_payment_failed", "cs_other", session.clone(), "applied", "CheckoutEnded"),
            ("invoice.overdue", "invoice", debt.clone(), "applied", "InvoiceNoted"),
            ("invoice.marked_uncollectible", "invoice", debt.clone(), "applied", "InvoiceNoted"),
            ("invoice.voided", "invoice", debt.clone(), "applied", "InvoiceNoted"),
            ("invoice.finalization_failed", "invoice", debt.clone(), "applied", "InvoiceNoted"),
            ("invoice.upcoming", "invoice", json!({ "id": null }), "ignored", ""),
            ("invoice.created", "invoice", debt.clone(), "ignored", ""),
            ("invoice.finalized", "invoice", debt.clone(), "ignored", ""),
            ("invoice.payment_succeeded", "invoice", debt, "ignored", ""),
            ("charge.refunded", "charge", nothing.clone(), "applied", "PaymentPartlyRefunded"),
            ("refund.created", "re", with(&json!({ "status": "pending" })), "applied", "PaymentPartlyRefunded"),
            ("refund.updated", "re", with(&json!({ "status": "succeeded" })), "applied", "PaymentPartlyRefunded"),
            ("charge.refund.updated", "re", with(&json!({ "status": "succeeded" })), "applied", "PaymentPartlyRefunded"),
            ("refund.failed", "re", with(&json!({ "status": "failed" })), "applied", "RefundFailed"),
            ("charge.dispute.created", "du", with(&json!({ "status": "warning_needs_response" })), "applied", "PaymentQuestioned"),
            ("charge.dispute.updated", "du", with(&json!({ "status": "warning_under_review" })), "applied", "PaymentQuestioned"),
            ("charge.dispute.closed", "du", with(&json!({ "status": "warning_closed" })), "applied", "DisputeClosed"),
            ("radar.early_fraud_warning.created", "issfr", with(&json!({ "fraud_type": "made_with_stolen_card" })), "applied", "PaymentQuestioned"),
            ("customer.updated", "customer", json!({ "id": "cus_demo_ada", "delinquent": true, "metadata": {} }), "ignored", ""),
            ("entitlements.active_entitlement_summary.updated", "summary", json!({ "customer": "cus_demo_ada" }), "ignored", ""),
            ("product.updated", "product", json!({ "id": "prod_demo_basic", "active": false }), "ignored", ""),
            ("price.updated", "price", json!({ "id": "price_demo_basic_month", "active": false }), "ignored", ""),
            ("price.deleted", "price", json!({ "id": "price_demo_basic_month", "deleted": true }), "ignored", ""),
            ("plan.updated", "plan", json!({ "id": "price_demo_basic_month" }), "ignored", ""),
            ("payment_intent.succeeded", "pi", nothing.clone(), "ignored", ""),
            ("charge.succeeded", "charge", nothing, "ignored", ""),
        ];
        let mut wrong = Vec::new();
        for (place, (kind, of, changes, outcome, kept)) in rows.into_iter().enumerate() {
            let id = format!("evt_{place}");
            app.deliver_all([&event(&id, kind, now(), &told.object(of, &changes))]).await;
            let delivery = app.get(&format!("/v1/support/deliveries/{id}")).await.body;
            let timeline = app.get("/v1/support/members/mem_ada/timeline?limit=100").await.body;
            let entries = timeline["data"].as_array().cloned().unwrap_or_default();
            let caused: Vec<_> = entries.iter().filter(|entry| entry["cause"] == id).collect();
            let events: Vec<_> = caused.iter().filter_map(|entry| entry["event_type"].as_str()).collect();
            if delivery["outcome"] != outcome || events.join(" ") != kept {
                wrong.push(format!("{kind}: {} {} {events:?}", delivery["outcome"], delivery["reason"]));
            }
            let (basic, advanced) = (app.check("mem_ada", BASIC).await, app.check("mem_ada", ADVANCED).await);
            assert_eq!((&basic["reason"], &advanced["reason"]), (&json!("subscription"), &json!("plan_too_low")), "{kind}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn a_suspended_subscription_opens_nothing_until_it_is_resumed(store: Store) {
        let app = TestApp::on(store).await;
        let told = buyer(&app).await;
        for (days, kind, status, reason) in [
            (2, "customer.subscription.paused", "paused", "paused"),
            (1, "customer.subscription.resumed", "active", "subscription"),
        ] {
            let object = told.object("subscription", &json!({ "status": status }));
            app.deliver_all([&event(&format!("evt_{status}"), kind, days_ago(days), &object)]).await;
            assert_eq!(app.check("mem_ada", BASIC).await["reason"], reason, "{kind}");
        }
    }
}

/// What the table promises has to be in the program, and what it calls a proof among the tests.
#[test]
fn the_table_of_events_is_whole_and_names_only_tests_that_exist() {
    let table = include_str!("../../docs/stripe-events.md");
    for kind in SUBSCRIBED {
        assert!(table.contains(&format!("`{kind}`")), "{kind} is not in the table");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    let mut folders: Vec<_> = [
        "tests",
        "domain/src",
        "webhook-ingest/src",
        "stripe-simulator/src",
        "stripe-simulator/tests",
        "storage/src",
    ]
    .map(|folder| root.join(folder))
    .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                sources.push_str(&fs::read_to_string(&path).expect("a source can be read"));
            }
        }
    }
    let is_test = |word: &&str| word.matches('_').count() >= 3 && !word.contains(['.', ' ', '=']);
    let named: BTreeSet<_> = table.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 60, "{named:?}");
    for test in named {
        let is_there = ["fn ", "mod "].iter().any(|before| {
            ["(", " {"].iter().any(|after| sources.contains(&format!("{before}{test}{after}")))
        });
        assert!(is_there, "{test} is named and no test");
    }
}
