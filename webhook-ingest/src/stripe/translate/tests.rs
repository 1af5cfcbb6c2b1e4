use serde_json::json;

use super::*;

fn event(event_type: &str, object: &Value) -> Envelope {
    with_previous(event_type, object, &Value::Null)
}

fn with_previous(event_type: &str, object: &Value, previous: &Value) -> Envelope {
    let body = json!({
        "id": "evt_1", "object": "event", "type": event_type, "created": 1_700_000_000,
        "data": { "object": object, "previous_attributes": previous },
    });
    Envelope::read(body.to_string().as_bytes()).unwrap()
}

fn at(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

/// As Stripe has written it since 2025-03-31.basil: periods on the items.
fn modern() -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "metadata": {},
        "cancel_at": null, "cancel_at_period_end": false, "trial_end": null, "ended_at": null,
        "items": { "data": [{
            "price": { "id": "price_1", "product": "prod_1" }, "current_period_end": 1_702_000_000,
        }] },
    })
}

fn observed(envelope: &Envelope) -> (Observation, Option<String>) {
    match translate(envelope) {
        Translation::Observation { observation, named_member, .. } => (*observation, named_member),
        other => panic!("{other:?}"),
    }
}

fn terms_of(object: &Value) -> Terms {
    observed(&event("customer.subscription.updated", object)).0.terms
}

fn code(translation: Translation) -> String {
    match translation {
        Translation::Park(why) | Translation::Ignore(why) => why.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn periods_are_read_from_the_new_and_from_the_old_place() {
    assert_eq!(terms_of(&modern()).period_end, at(1_702_000_000));
    let mut old = modern();
    old["items"]["data"][0]["current_period_end"] = Value::Null;
    assert_eq!(terms_of(&old).period_end, None);
    old["current_period_end"] = json!(1_703_000_000);
    assert_eq!(terms_of(&old).period_end, at(1_703_000_000));
}

#[test]
fn what_is_sold_is_read_as_price_as_legacy_plan_and_without_items() {
    let item = |price: &str| Item {
        price: Some(price.into()),
        product: Some("prod_1".into()),
        period_end: at(1_702_000_000),
    };
    assert_eq!(terms_of(&modern()).items, [item("price_1")]);
    let mut legacy = modern();
    let sold = json!({ "plan": { "id": "gold", "product": { "id": "prod_1" } }, "current_period_end": 1_702_000_000 });
    legacy["items"]["data"][0] = sold.clone();
    assert_eq!(terms_of(&legacy).items, [item("gold")]);
    let mut ancient = modern();
    ancient["items"] = Value::Null;
    ancient["plan"] = sold["plan"].clone();
    assert_eq!(terms_of(&ancient).items, [Item { period_end: None, ..item("gold") }]);
}

#[test]
fn the_same_items_in_another_order_are_the_same() {
    let two = |first: &str, second: &str| {
        let mut object = modern();
        object["items"]["data"] = json!([{ "price": { "id": first } }, { "price": { "id": second } }]);
        terms_of(&object).items
    };
    assert_eq!(two("price_a", "price_b"), two("price_b", "price_a"));
}

#[test]
fn an_expanded_customer_is_its_id() {
    let mut object = modern();
    object["customer"] = json!({ "id": "cus_1", "deleted": true });
    assert_eq!(terms_of(&object).customer, "cus_1".into());
}

#[test]
fn both_ways_to_schedule_an_end_are_seen() {
    let mut by_date = modern();
    by_date["cancel_at"] = json!(1_702_000_000);
    assert_eq!(terms_of(&by_date).cancels_at, at(1_702_000_000));
    let mut by_flag = modern();
    by_flag["cancel_at_period_end"] = json!(true);
    assert!(terms_of(&by_flag).cancels_at_period_end);
}

#[test]
fn deleted_means_over_whatever_the_object_says() {
    let (ended, _) = observed(&event("customer.subscription.deleted", &modern()));
    assert_eq!((ended.kind, ended.terms.status), (Kind::Ended, Status::Canceled));
    assert_eq!(ended.terms.ended_at, at(1_700_000_000));
}

#[test]
fn an_unknown_status_is_kept_as_written() {
    let mut object = modern();
    object["status"] = json!("hibernating");
    assert_eq!(terms_of(&object).status, Status::Unknown("hibernating".to_owned()));
}

#[test]
fn what_a_change_replaced_is_put_together_from_previous_attributes() {
    let mut object = modern();
    object["status"] = json!("past_due");
    let previous = json!({
        "status": "active",
        "items": { "data": [{ "price": { "id": "price_0" } }] },
        "metadata": { "campaign": null },
    });
    let (change, _) = observed(&with_previous("customer.subscription.updated", &object, &previous));
    let replaced = change.replaced.unwrap();
    assert_eq!(replaced.status, Status::Active);
    assert_eq!(replaced.items[0].price, Some("price_0".into()));
    assert_eq!(replaced.items[0].product, Some("prod_1".into()));
    assert_eq!(replaced.items[0].period_end, at(1_702_000_000));
    let (created, _) = observed(&event("customer.subscription.created", &modern()));
    assert_eq!(created.replaced, None);
}

#[test]
fn each_subscription_event_has_its_place_within_a_second() {
    for (event_type, kind) in [
        ("created", Kind::Created),
        ("trial_will_end", Kind::Notice),
        ("pending_update_applied", Kind::Notice),
        ("something_new", Kind::Notice),
        ("updated", Kind::Changed),
        ("paused", Kind::Changed),
        ("resumed", Kind::Changed),
        ("deleted", Kind::Ended),
    ] {
        let (observation, _) = observed(&event(&format!("customer.subscription.{event_type}"), &modern()));
        assert_eq!(observation.kind, kind, "{event_type}");
    }
}

#[test]
fn a_member_is_named_in_metadata() {
    let mut object = modern();
    object["metadata"] = json!({ "member_id": "mem_ada" });
    let (_, named) = observed(&event("customer.subscription.created", &object));
    assert_eq!(named.as_deref(), Some("mem_ada"));
}

fn payment_of(object: &Value) -> (SubscriptionId, PaymentAttempt, Vec<Item>) {
    match translate(&event("invoice.paid", object)) {
        Translation::Invoice { of, told: InvoiceTold::Paid(attempt, _) } => {
            (of.subscription, attempt, of.items)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invoice_finds_its_subscription_in_every_version() {
    let invoice = |field: Value| {
        let mut invoice = json!({ "id": "in_1", "customer": "cus_1", "total": 1_700, "currency": "usd" });
        for (key, value) in field.as_object().unwrap() {
            invoice[key] = value.clone();
        }
        invoice
    };
    let modern = invoice(json!({ "parent": { "subscription_details": { "subscription": "sub_1" } } }));
    let old = invoice(json!({ "subscription": "sub_1" }));
    let expanded = invoice(json!({ "subscription": { "id": "sub_1" } }));
    let by_line = invoice(json!({ "lines": { "data": [{ "subscription": "sub_1" }] } }));
    for object in [modern, old, expanded, by_line] {
        assert_eq!(payment_of(&object).0, "sub_1".into(), "{object}");
    }
    assert_eq!(code(translate(&event("invoice.paid", &invoice(json!({}))))), "no_subscription");
}

#[test]
fn an_invoice_says_what_it_sells_in_every_version() {
    let lines = [
        json!({ "pricing": { "price_details": { "price": "price_1", "product": "prod_1" } } }),
        json!({ "price": { "id": "price_1", "product": "prod_1" } }),
        json!({ "plan": { "id": "price_1", "product": "prod_1" } }),
    ];
    for line in lines {
        let object = json!({
            "id": "in_1", "customer": "cus_1", "subscription": "sub_1", "lines": { "data": [line] },
            "status_transitions": { "paid_at": 1_699_999_990 },
        });
        let (_, attempt, items) = payment_of(&object);
        assert_eq!(items[0].price, Some("price_1".into()));
        assert_eq!(Some(attempt.at), at(1_699_999_990));
    }
}

#[test]
fn what_a_credit_covered_was_not_paid() {
    let paid = |due: i64, paid: i64| {
        let object = json!({
            "id": "in_1", "customer": "cus_1", "subscription": "sub_1", "status": "paid", "total": 1_700,
            "starting_balance": due - 1_700, "ending_balance": 0, "amount_due": due, "amount_paid": paid,
        });
        payment_of(&object).1.amount
    };
    assert_eq!(paid(1_700, 1_700), 1_700);
    assert_eq!(paid(900, 900), 900);
    assert_eq!(paid(0, 0), 0, "all of it by the credit");
    assert_eq!(paid(1_700, 0), 1_700, "elsewhere, as the owner told Stripe");
}

#[test]
fn a_checkout_links_only_through_a_subscription() {
    let session = |change: fn(&mut Value)| {
        let mut session = json!({
            "id": "cs_1", "object": "checkout.session", "mode": "subscription", "customer": "cus_1",
            "subscription": "sub_1", "client_reference_id": "mem_ada", "payment_status": "unpaid", "metadata": {},
        });
        change(&mut session);
        translate(&event("checkout.session.completed", &session))
    };
    let named = |translation| match translation {
        Translation::Checkout { named_members, .. } => named_members,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(session(|_| ())), ["mem_ada"]);
    assert_eq!(named(session(|s| s["metadata"] = json!({ "member_id": "mem_ada" }))), ["mem_ada"]);
    assert_eq!(named(session(|s| s["metadata"] = json!({ "member_id": "mem_bob" }))), ["mem_ada", "mem_bob"]);
    assert!(named(session(|s| s["client_reference_id"] = json!("cart 7"))).is_empty());
    assert_eq!(code(session(|s| s["mode"] = json!("payment"))), "no_subscription");
    assert_eq!(code(session(|s| s["customer"] = Value::Null)), "incomplete_object");
}

#[test]
fn what_cannot_be_used_is_parked_and_what_is_none_of_ours_is_passed_over() {
    let thin = br#"{"id":"evt_1","object":"v2.core.event","type":"v1.customer.subscription.updated",
        "created":"2026-01-01T00:00:00Z","related_object":{"id":"sub_1"}}"#;
    assert_eq!(code(translate(&Envelope::read(thin).unwrap())), "thin_event");
    let timeless =
        br#"{"id":"evt_1","type":"customer.subscription.updated","data":{"object":{"id":"sub_1"}}}"#;
    assert_eq!(code(translate(&Envelope::read(timeless).unwrap())), "no_time");
    assert_eq!(code(translate(&event("customer.subscription.updated", &json!({})))), "incomplete_object");
    for other in [
        "charge.succeeded",
        "invoice.created",
        "payment_intent.succeeded",
        "a.b.c",
        "customer.tax_id.created",
    ] {
        assert_eq!(code(translate(&event(other, &json!({})))), "unhandled_type", "{other}");
    }
}

#[test]
fn a_body_that_is_no_event_says_what_is_missing() {
    for (body, missing) in [
        ("", "as JSON"),
        ("{\"id\":\"evt_1\"", "as JSON"),
        ("[]", "\"id\""),
        ("{\"id\":7,\"type\":\"x\"}", "\"id\""),
        ("{\"id\":\"evt_1\"}", "\"type\""),
        ("null", "\"id\""),
    ] {
        let told = Envelope::read(body.as_bytes()).unwrap_err().to_string();
        assert!(told.contains(missing), "{body}: {told}");
    }
}

/// Every member of `value` in turn replaced by something of another type.
fn mutilations(value: &Value) -> Vec<Value> {
    let replacements =
        [json!(null), json!(-1), json!(1.5e300), json!("text"), json!([]), json!({}), json!([{ "id": 3 }])];
    let mut all: Vec<Value> = replacements.to_vec();
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                all.extend(mutilations(member).into_iter().map(|changed| {
                    let mut members = members.clone();
                    members.insert(key.clone(), changed);
                    Value::Object(members)
                }));
            }
        }
        Value::Array(members) => {
            for (index, member) in members.iter().enumerate() {
                all.extend(mutilations(member).into_iter().map(|changed| {
                    let mut members = members.clone();
                    members[index] = changed;
                    Value::Array(members)
                }));
            }
        }
        _ => {}
    }
    all
}

#[test]
fn no_mutilated_object_makes_the_translation_stumble() {
    let mut tried = 0;
    for object in mutilations(&modern()) {
        for event_type in [
            "customer.subscription.updated",
            "invoice.paid",
            "checkout.session.completed",
            "checkout.session.expired",
            "charge.refunded",
            "refund.failed",
            "charge.dispute.closed",
            "invoice_payment.paid",
            "customer.updated",
        ] {
            let _ = translate(&with_previous(event_type, &object, &object));
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn a_time_that_no_answer_could_write_is_none() {
    for seconds in [i64::MAX, i64::MIN, 253_402_300_800, -62_167_219_201] {
        let mut object = modern();
        object["cancel_at"] = json!(seconds);
        assert_eq!(terms_of(&object).cancels_at, None, "{seconds}");
    }
    let mut object = modern();
    object["cancel_at"] = json!(253_402_300_799_i64);
    assert_eq!(terms_of(&object).cancels_at, at(253_402_300_799));
}

fn reversal_of(event_type: &str, object: &Value) -> (PaymentId, Reversal) {
    match translate(&event(event_type, object)) {
        Translation::Reversal { payment, reversal } => (payment, reversal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_paid_an_invoice_is_read_where_each_version_has_it() {
    let paid_by = |field: Value| {
        let mut invoice = json!({
            "id": "in_1", "customer": "cus_1", "total": 1_700, "subscription": "sub_1", "object": "invoice",
        });
        for (key, value) in field.as_object().unwrap() {
            invoice[key] = value.clone();
        }
        match translate(&event("invoice.paid", &invoice)) {
            Translation::Invoice { told: InvoiceTold::Paid(_, payment), .. } => payment,
            other => panic!("{other:?}"),
        }
    };
    let payments = json!({ "data": [{ "payment": { "type": "payment_intent", "payment_intent": "pi_1" } }] });
    assert_eq!(paid_by(json!({ "payments": payments })), Some("pi_1".into()));
    assert_eq!(paid_by(json!({ "payment_intent": "pi_1", "charge": "ch_1" })), Some("pi_1".into()));
    assert_eq!(paid_by(json!({ "payment_intent": null, "charge": { "id": "ch_1" } })), Some("ch_1".into()));
    assert_eq!(paid_by(json!({})), None, "since 2025-03-31.basil a payment of its own tells");

    let payment = json!({
        "id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "status": "paid",
        "payment": { "type": "payment_intent", "payment_intent": "pi_1" },
    });
    let told = event("invoice_payment.paid", &payment);
    assert_eq!(told.concerns().as_deref(), Some("in_1"));
    let expected = Translation::InvoicePayment {
        payment: "pi_1".into(),
        invoice: "in_1".into(),
        at: at(1_700_000_000).unwrap(),
    };
    assert_eq!(translate(&told), expected);
}

#[test]
fn a_charge_a_refund_and_a_dispute_name_one_payment_alike() {
    let charge = json!({
        "id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount": 1_700, "amount_captured": 1_700,
        "amount_refunded": 700, "refunded": false, "currency": "usd", "customer": "cus_1",
    });
    let (payment, reversal) = reversal_of("charge.refunded", &charge);
    assert_eq!(payment, "pi_1".into());
    let Reversal::Refund(refund) = reversal else { panic!("{reversal:?}") };
    assert_eq!(refund.told, RefundTold::Payment { given_back: 700, paid: 1_700 });

    let refund = json!({
        "id": "re_1", "object": "refund", "amount": 700, "status": "failed", "charge": "ch_1",
        "payment_intent": "pi_1", "currency": "usd",
    });
    for event_type in ["refund.failed", "refund.updated", "charge.refund.updated"] {
        let (payment, reversal) = reversal_of(event_type, &refund);
        assert_eq!(payment, "pi_1".into());
        let Reversal::Refund(refund) = reversal else { panic!("{reversal:?}") };
        assert_eq!(refund.told, RefundTold::One { refund: "re_1".into(), amount: 700, failed: true });
    }

    let dispute = json!({
        "id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1", "reason": "fraudulent",
        "status": "needs_response",
    });
    for event_type in ["charge.dispute.created", "charge.dispute.closed", "charge.dispute.funds_withdrawn"] {
        let told = event(event_type, &dispute);
        assert_eq!((told.concerns().as_deref(), told.customer()), (Some("pi_1"), None));
        let (_, reversal) = reversal_of(event_type, &dispute);
        let Reversal::Dispute(dispute) = reversal else { panic!("{reversal:?}") };
        assert_eq!(dispute.status, DisputeStatus::Open("needs_response".to_owned()));
    }

    let old =
        json!({ "id": "ch_1", "object": "charge", "amount": 5, "amount_refunded": 5, "currency": "usd" });
    assert_eq!(reversal_of("charge.refunded", &old).0, "ch_1".into(), "charges before payment intents");
}

#[test]
fn other_news_of_an_invoice_is_told_as_what_it_is() {
    let invoice = json!({ "id": "in_1", "customer": "cus_1", "total": 1_700, "subscription": "sub_1" });
    let told = |event_type: &str| match translate(&event(event_type, &invoice)) {
        Translation::Invoice { told, .. } => told,
        other => panic!("{other:?}"),
    };
    assert!(matches!(told("invoice.payment_action_required"), InvoiceTold::ActionRequired(_)));
    for (event_type, note) in [
        ("invoice.marked_uncollectible", InvoiceNote::MarkedUncollectible),
        ("invoice.voided", InvoiceNote::Voided),
        ("invoice.overdue", InvoiceNote::Overdue),
        ("invoice.finalization_failed", InvoiceNote::FinalizationFailed),
    ] {
        assert!(matches!(told(event_type), InvoiceTold::Noted(noted) if noted.note == note), "{event_type}");
    }
}

#[test]
fn a_checkout_that_is_paid_days_later_or_never_is_told() {
    let session = json!({
        "id": "cs_1", "object": "checkout.session", "mode": "subscription", "customer": null,
        "client_reference_id": "mem_ada", "metadata": {},
    });
    for (event_type, outcome) in [
        ("checkout.session.async_payment_succeeded", CheckoutOutcome::PaymentSucceeded),
        ("checkout.session.async_payment_failed", CheckoutOutcome::PaymentFailed),
        ("checkout.session.expired", CheckoutOutcome::Expired),
    ] {
        match translate(&event(event_type, &session)) {
            Translation::CheckoutEnd { end, customer: None, named_member: Some(member) } => {
                assert_eq!((end.outcome, member.as_str()), (outcome, "mem_ada"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_only_announced_is_kept_with_what_was_announced() {
    for (event_type, notice) in [
        ("customer.subscription.trial_will_end", Notice::TrialEnding),
        ("customer.subscription.pending_update_applied", Notice::PendingUpdateApplied),
        ("customer.subscription.pending_update_expired", Notice::PendingUpdateExpired),
    ] {
        let (observation, _) = observed(&event(event_type, &modern()));
        assert_eq!((observation.kind, observation.notice), (Kind::Notice, Some(notice)));
    }
    let summary = json!({ "object": "entitlements.active_entitlement_summary", "customer": "cus_1" });
    let told = event("entitlements.active_entitlement_summary.updated", &summary);
    assert_eq!(code(translate(&told)), "advisory");
}

#[test]
fn why_a_subscription_is_suspended_is_read() {
    let mut paused = modern();
    paused["status"] = json!("paused");
    paused["status_details"] = json!({ "paused": { "subscription": { "type": "final_payment_failure" } } });
    assert_eq!(terms_of(&paused).pause_reason.as_deref(), Some("final_payment_failure"));
}

#[test]
fn a_schedule_tells_its_next_change() {
    let schedule = |status: &str| {
        json!({
            "id": "sub_sched_1", "object": "subscription_schedule", "subscription": "sub_1", "status": status,
            "current_phase": { "start_date": 100, "end_date": 200 },
            "phases": [
                { "start_date": 100, "end_date": 200, "items": [{ "price": "price_pro" }] },
                { "start_date": 200, "end_date": 300, "items": [{ "price": { "id": "price_basic" } }] },
            ],
        })
    };
    let next = |object: &Value| match translate(&event("subscription_schedule.updated", object)) {
        Translation::Schedule { subscription, schedule } => {
            assert_eq!(subscription, "sub_1".into());
            schedule.next.map(|next| (next.from, next.items[0].price.clone()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(next(&schedule("active")), Some((at(200).unwrap(), Some("price_basic".into()))));
    assert_eq!(next(&schedule("released")), None);
    let mut last = schedule("active");
    last["current_phase"] = json!({ "start_date": 200, "end_date": 300 });
    assert_eq!(next(&last), None);
    last["subscription"] = Value::Null;
    assert_eq!(code(translate(&event("subscription_schedule.created", &last))), "no_subscription");
}

#[test]
fn who_a_payer_is_is_told_by_herself_her_checkouts_and_her_invoices() {
    let created = at(1_700_000_000).unwrap();
    let told = |kind: &str, object: &Value| payer_told(&event(kind, object)).unwrap();
    let ada = json!({ "id": "cus_1", "object": "customer", "name": "Ada", "email": "ada@example.com",
        "metadata": { "member_id": "mem_ada" } });
    let changed = told("customer.updated", &ada);
    assert_eq!((changed.name.as_deref(), changed.email.as_deref()), (Some("Ada"), Some("ada@example.com")));
    assert_eq!((changed.customer.as_str(), &*changed.names), ("cus_1", &["mem_ada".to_owned()][..]));
    assert!(changed.is_whole, "a name that is missing was taken away");
    let details = json!({ "name": "Ada B.", "email": null });
    let session = json!({ "id": "cs_1", "object": "checkout.session", "customer": "cus_1", "customer_details": details,
        "client_reference_id": "mem_ada", "mode": "subscription" });
    let finished = told("checkout.session.completed", &session);
    assert_eq!((finished.name.as_deref(), finished.email.as_deref()), (Some("Ada B."), None));
    assert!(!finished.is_whole);
    assert_eq!(finished.names, ["mem_ada"]);
    // Of one second, what is told of herself counts for more.
    let begun = told("customer.created", &ada);
    assert!(changed.at > begun.at && begun.at > finished.at && finished.at == created);
    let invoice = json!({ "id": "in_1", "object": "invoice", "customer": "cus_1", "customer_name": "Ada",
        "customer_email": "old@example.com", "status_transitions": { "finalized_at": 1_600_000_000 } });
    let paid = told("invoice.paid", &invoice);
    assert_eq!((paid.name.as_deref(), paid.email.as_deref()), (Some("Ada"), Some("old@example.com")));
    assert_eq!(paid.at, at(1_600_000_000).unwrap(), "an invoice says what was so when it was finalized");
    let mut draft = invoice;
    draft["status_transitions"] = Value::Null;
    assert_eq!(told("invoice.finalization_failed", &draft).at, created);
    // Of a payer who is deleted and nobody's, nothing is known from then on.
    let gone = told("customer.deleted", &ada);
    assert_eq!((gone.name, gone.email, gone.is_whole), (None, None, true));
    assert_eq!(payer_told(&event("customer.subscription.updated", &modern())), None);
    for concerned in [("invoice.paid", &draft, "in_1"), ("checkout.session.completed", &session, "cs_1")] {
        let (kind, object, id) = concerned;
        assert_eq!(event(kind, object).concerns().as_deref(), Some(id));
    }
}

#[test]
fn who_a_payer_is_is_told_by_a_subscription_that_was_asked_for_with_her() {
    let asked = DateTime::from_timestamp(1_700_000_000, 700_000_000).unwrap();
    let mut seen = modern();
    assert_eq!(payer_seen(&seen, asked), None, "her id alone tells nothing");
    seen["customer"] = json!({ "id": "cus_1", "object": "customer", "name": "Ada", "email": null });
    let told = payer_seen(&seen, asked).unwrap();
    assert_eq!((told.name.as_deref(), told.email, told.is_whole), (Some("Ada"), None, true));
    assert_eq!(Some(told.at), at(1_700_000_000), "an event of the same second counts for more");
    assert_eq!(terms_of(&seen).customer.as_str(), "cus_1");
    seen["customer"]["deleted"] = json!(true);
    assert_eq!(payer_seen(&seen, asked), None);
}
