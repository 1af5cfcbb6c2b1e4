//! Which events come in which order, and what is true afterwards.

use serde_json::json;

use super::support::*;

#[test]
fn a_checkout_creates_pays_activates_and_completes() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    assert!(!world.stripe.pay(&session, GOOD).unwrap());
    let events = world.news();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = [
        "customer.created",
        "payment_method.attached",
        "customer.subscription.created",
        "invoice.created",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(latest(&events, "customer.subscription.created")["data"]["object"]["status"], "incomplete");
    let updated = &latest(&events, "customer.subscription.updated")["data"];
    assert_eq!(updated["object"]["status"], "active");
    assert_eq!(updated["previous_attributes"], json!({ "status": "incomplete" }));
    let completed = &latest(&events, "checkout.session.completed")["data"]["object"];
    assert_eq!(completed["client_reference_id"], "mem_ada");
    assert_eq!(completed["payment_status"], "paid");
}

#[test]
fn a_trial_is_free_announced_and_then_paid() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 14);
    assert_eq!(world.status(&subscription), "trialing");
    world.stripe.advance(11 * DAY);
    assert_eq!(world.story(), ["customer.subscription.trial_will_end"]);
    world.stripe.advance(3 * DAY);
    assert_eq!(world.story(), ["customer.subscription.updated", "invoice.created"]);
    assert_eq!(world.status(&subscription), "active");
    world.stripe.advance(HOUR);
    assert_eq!(world.story(), ["invoice.finalized", "invoice.paid"]);
}

#[test]
fn a_trial_without_a_card_ends_as_its_setting_says() {
    for (setting, status, last) in [
        ("cancel", "canceled", "customer.subscription.deleted"),
        ("pause", "paused", "customer.subscription.paused"),
        ("create_invoice", "past_due", "customer.subscription.updated"),
    ] {
        let mut world = World::new();
        let customer = world.stripe.customer("ada@example.com").unwrap();
        let form = format!(
            "customer={customer}&items[0][price]={BASIC}&trial_period_days=7&trial_settings[end_behavior][missing_payment_method]={setting}"
        );
        let made = world.stripe.call("POST", "/v1/subscriptions", &form).unwrap();
        let subscription = made["id"].as_str().unwrap().to_owned();
        world.news();
        world.stripe.advance(7 * DAY + 2 * HOUR);
        assert_eq!(world.status(&subscription), status, "{setting}");
        assert!(world.story().iter().any(|kind| kind == last), "{setting}");
    }
}

#[test]
fn a_paused_trial_is_resumed_when_it_is_paid_for() {
    let mut world = World::new();
    let customer = world.stripe.customer("ada@example.com").unwrap();
    let form = format!(
        "customer={customer}&items[0][price]={BASIC}&trial_period_days=7&trial_settings[end_behavior][missing_payment_method]=pause"
    );
    let made = world.stripe.call("POST", "/v1/subscriptions", &form).unwrap();
    let subscription = made["id"].as_str().unwrap().to_owned();
    world.stripe.advance(20 * DAY);
    assert_eq!(world.status(&subscription), "paused");
    world.stripe.set_card(&customer, GOOD).unwrap();
    world.news();
    world.stripe.call("POST", &format!("/v1/subscriptions/{subscription}/resume"), "").unwrap();
    assert_eq!(world.status(&subscription), "active");
    assert!(world.story().contains(&"customer.subscription.resumed".to_owned()));
}

#[test]
fn a_renewal_rolls_the_period_before_the_money_comes() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.advance(28 * DAY);
    let events = world.news();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["invoice.upcoming", "customer.subscription.updated", "invoice.created"]);
    assert!(events[0].body["data"]["object"].get("id").is_none(), "what is upcoming has no id");
    let previous = &events[1].body["data"]["previous_attributes"];
    assert_eq!(previous["items"]["data"][0]["current_period_start"], START);
    assert!(previous.get("latest_invoice").is_some() && previous.get("status").is_none());
    let draft = &events[2].body["data"]["object"];
    assert_eq!((&draft["status"], &draft["billing_reason"]), (&json!("draft"), &json!("subscription_cycle")));
    let paid_until =
        |world: &World| world.stripe.truth(&subscription, world.stripe.now()).unwrap().paid_until;
    assert_eq!(paid_until(&world), Some(START + 28 * DAY), "not paid yet");
    world.stripe.advance(HOUR);
    assert_eq!(world.story(), ["invoice.finalized", "invoice.paid"]);
    assert_eq!(paid_until(&world), Some(START + 59 * DAY), "31 March");
}

#[test]
fn a_declined_renewal_is_past_due_until_a_retry_succeeds() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
    world.stripe.advance(28 * DAY + HOUR);
    let events = world.news();
    let failed = &latest(&events, "invoice.payment_failed")["data"]["object"];
    assert_eq!((&failed["attempt_count"], &failed["status"]), (&json!(1), &json!("open")));
    assert_eq!(failed["next_payment_attempt"], START + 31 * DAY + HOUR);
    assert_eq!(latest(&events, "customer.updated")["data"]["object"]["delinquent"], true);
    assert_eq!(world.status(&subscription), "past_due");
    let customer = failed["customer"].as_str().unwrap().to_owned();
    world.stripe.set_card(&customer, GOOD).unwrap();
    world.news();
    world.stripe.advance(3 * DAY);
    assert_eq!(world.story(), ["invoice.paid", "customer.subscription.updated"]);
    assert_eq!(world.status(&subscription), "active");
}

#[test]
fn a_renewal_declined_to_the_end_ends_as_the_owner_set() {
    for (end, status) in
        [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due"), ("pause", "paused")]
    {
        let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
        world.stripe.settings().dunning_end = serde_json::from_value(json!(end)).unwrap();
        world.stripe.advance(28 * DAY + HOUR + 14 * DAY);
        assert_eq!(world.status(&subscription), "past_due", "{end}: the last retry is not over");
        world.stripe.advance(DAY);
        assert_eq!(world.status(&subscription), status, "{end}");
        let events = world.news();
        let failures = events.iter().filter(|event| event.kind == "invoice.payment_failed").count();
        assert_eq!(failures, 4, "{end}: the first and three retries");
        if end == "cancel" {
            let deleted = &latest(&events, "customer.subscription.deleted")["data"]["object"];
            assert_eq!(deleted["cancellation_details"]["reason"], "payment_failed");
            assert_eq!(deleted["ended_at"], world.stripe.now());
        }
        world.stripe.advance(100 * DAY);
    }
}

#[test]
fn an_unpaid_subscription_gets_drafts_and_comes_back_with_its_latest_invoice() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
    world.stripe.settings().dunning_end = stripe_simulator::DunningEnd::Unpaid;
    world.stripe.advance(70 * DAY);
    assert_eq!(world.status(&subscription), "unpaid");
    let held = world.get(&format!("/v1/subscriptions/{subscription}?expand[]=latest_invoice"));
    assert_eq!(held["latest_invoice"]["status"], "draft");
    world.stripe.set_card(held["customer"].as_str().unwrap(), GOOD).unwrap();
    let invoice = held["latest_invoice"]["id"].as_str().unwrap();
    world.stripe.call("POST", &format!("/v1/invoices/{invoice}/pay"), "").unwrap();
    assert_eq!(world.status(&subscription), "active");
}

#[test]
fn three_d_secure_at_checkout_waits_for_the_buyer() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    assert!(world.stripe.pay(&session, ASKS_ONCE).unwrap());
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    assert_eq!(world.status(&subscription), "incomplete");
    let story = world.story();
    assert!(story.contains(&"invoice.payment_action_required".to_owned()), "{story:?}");
    world.stripe.authenticate(&session, true).unwrap();
    assert_eq!(
        world.story(),
        ["invoice.paid", "customer.subscription.updated", "checkout.session.completed"]
    );
    assert_eq!(world.status(&subscription), "active");
    world.stripe.advance(29 * DAY);
    assert_eq!(world.status(&subscription), "active", "once was enough");
}

#[test]
fn three_d_secure_that_fails_can_be_tried_with_another_card() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    world.stripe.pay(&session, ASKS_ONCE).unwrap();
    assert!(world.stripe.authenticate(&session, false).is_err());
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    assert_eq!(world.status(&subscription), "incomplete");
    world.stripe.pay(&session, GOOD).unwrap();
    assert_eq!(world.status(&subscription), "active");
}

#[test]
fn a_card_that_always_asks_needs_the_customer_at_renewal() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    world.stripe.pay(&session, ASKS_ALWAYS).unwrap();
    world.stripe.authenticate(&session, true).unwrap();
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    world.news();
    world.stripe.advance(28 * DAY + HOUR);
    let story = world.story();
    let expected = lines(
        "customer.subscription.updated invoice.created invoice.finalized invoice.payment_action_required
         invoice.payment_failed customer.subscription.updated",
    );
    assert_eq!(story, expected);
    assert_eq!(world.status(&subscription), "past_due");
}

#[test]
fn a_start_that_is_never_paid_expires_after_23_hours() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    assert_eq!(world.stripe.pay(&session, DECLINED).unwrap_err().code.as_deref(), Some("card_declined"));
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    assert_eq!(world.status(&subscription), "incomplete");
    world.news();
    world.stripe.advance(23 * HOUR);
    assert_eq!(world.story(), ["invoice.voided", "customer.subscription.updated"]);
    assert_eq!(world.status(&subscription), "incomplete_expired");
    world.stripe.advance(HOUR);
    assert_eq!(world.story(), ["checkout.session.expired"]);
}

#[test]
fn an_upgrade_is_billed_pro_rata_at_once() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.advance(14 * DAY);
    world.stripe.change_plan(&subscription, PRO).unwrap();
    let events = world.news();
    let updated = &latest(&events, "customer.subscription.updated")["data"];
    assert_eq!(updated["object"]["items"]["data"][0]["price"]["id"], PRO);
    assert_eq!(updated["previous_attributes"]["items"]["data"][0]["price"]["id"], BASIC);
    let paid = &latest(&events, "invoice.paid")["data"]["object"];
    let amounts: Vec<_> =
        paid["lines"]["data"].as_array().unwrap().iter().map(|line| &line["amount"]).collect();
    assert_eq!(amounts, [&json!(-850), &json!(1250)], "half of each, for half of February");
    assert_eq!(paid["amount_paid"], 400);
    assert_eq!(world.stripe.truth(&subscription, world.stripe.now()).unwrap().price, PRO);
}

#[test]
fn another_interval_starts_a_new_period() {
    let (mut world, subscription) = World::member(PRO, GOOD, 0);
    world.stripe.advance(14 * DAY);
    world.stripe.change_plan(&subscription, PRO_YEAR).unwrap();
    let held = world.get(&format!("/v1/subscriptions/{subscription}"));
    assert_eq!(held["items"]["data"][0]["current_period_start"], START + 14 * DAY);
    assert_eq!(held["items"]["data"][0]["current_period_end"], START + (14 + 365) * DAY);
    assert_eq!(latest(&world.news(), "invoice.paid")["data"]["object"]["amount_paid"], 25_000 - 1_250);
}

#[test]
fn a_change_without_an_invoice_waits_for_the_next_one() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let item = world.get(&format!("/v1/subscriptions/{subscription}"))["items"]["data"][0]["id"].clone();
    let form = format!("items[0][id]={}&items[0][price]={PRO}", item.as_str().unwrap());
    world.stripe.call("POST", &format!("/v1/subscriptions/{subscription}"), &form).unwrap();
    assert_eq!(
        world.story(),
        ["customer.subscription.updated", "invoiceitem.created", "invoiceitem.created"]
    );
    world.stripe.advance(29 * DAY);
    let paid = latest(&world.news(), "invoice.paid")["data"]["object"].clone();
    assert_eq!(paid["total"], -1_700 + 2_500 + 2_500);
}

#[test]
fn a_downgrade_at_period_end_comes_with_the_new_period() {
    let (mut world, subscription) = World::member(PRO, GOOD, 0);
    world.stripe.change_plan_at_period_end(&subscription, BASIC).unwrap();
    assert_eq!(
        world.story(),
        ["subscription_schedule.created", "customer.subscription.updated", "subscription_schedule.updated"]
    );
    assert_eq!(world.stripe.truth(&subscription, START).unwrap().price, PRO);
    world.stripe.advance(28 * DAY + HOUR);
    let events = world.news();
    let updated = &latest(&events, "customer.subscription.updated")["data"];
    let (is, was) =
        (&updated["object"]["items"]["data"][0], &updated["previous_attributes"]["items"]["data"][0]);
    assert_eq!((&is["price"]["id"], &was["price"]["id"]), (&json!(BASIC), &json!(PRO)));
    assert_ne!(is["id"], was["id"], "a phase makes its items anew");
    assert_eq!(latest(&events, "invoice.paid")["data"]["object"]["amount_paid"], 1_700);
    world.stripe.advance(32 * DAY);
    assert!(world.story().contains(&"subscription_schedule.released".to_owned()));
}

#[test]
fn a_cancellation_later_keeps_the_period_and_can_be_undone() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let path = format!("/v1/subscriptions/{subscription}");
    let set = world.stripe.call("POST", &path, "cancel_at_period_end=true").unwrap();
    assert_eq!((&set["cancel_at"], &set["cancel_at_period_end"]), (&json!(START + 28 * DAY), &json!(true)));
    assert_eq!((&set["status"], &set["canceled_at"]), (&json!("active"), &json!(START)));
    let unset = world.stripe.call("POST", &path, "cancel_at_period_end=false").unwrap();
    assert_eq!((&unset["cancel_at"], &unset["canceled_at"]), (&json!(null), &json!(null)));
    assert_eq!(world.story(), ["customer.subscription.updated", "customer.subscription.updated"]);
    let set = world.stripe.call("POST", &path, "cancel_at=min_period_end").unwrap();
    assert_eq!((&set["cancel_at"], &set["cancel_at_period_end"]), (&json!(START + 28 * DAY), &json!(false)));
    world.stripe.call("POST", &path, "cancel_at=").unwrap();
    world.news();
    world.stripe.cancel_in_portal(&subscription).unwrap();
    let events = world.news();
    let updated = &latest(&events, "customer.subscription.updated")["data"]["object"];
    assert_eq!(updated["cancel_at_period_end"], false, "the portal sets the date only");
    assert_eq!(updated["cancel_at"], START + 28 * DAY);
    world.stripe.advance(28 * DAY - 1);
    assert_eq!(world.status(&subscription), "active");
    world.stripe.advance(1);
    assert_eq!(world.story(), ["customer.subscription.deleted"]);
    let truth = world.stripe.truth(&subscription, START + 28 * DAY).unwrap();
    assert_eq!((truth.status.as_str(), truth.ended_at), ("canceled", Some(START + 28 * DAY)));
}

#[test]
fn a_cancellation_now_ends_it_whatever_was_scheduled() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.cancel_at_period_end(&subscription, true).unwrap();
    world.stripe.advance(DAY);
    world.news();
    world.stripe.cancel(&subscription).unwrap();
    let events = world.news();
    let deleted = &latest(&events, "customer.subscription.deleted")["data"]["object"];
    assert_eq!(deleted["ended_at"], START + DAY);
    assert_eq!(deleted["canceled_at"], START, "when it was asked for");
    world.stripe.advance(60 * DAY);
    assert!(world.story().is_empty(), "nothing happens to what is over");
}

#[test]
fn collection_is_paused_and_resumed_while_the_status_stays() {
    for (behavior, closed) in
        [("void", "invoice.voided"), ("mark_uncollectible", "invoice.marked_uncollectible")]
    {
        let (mut world, subscription) = World::member(BASIC, GOOD, 0);
        let resumes_at = START + 40 * DAY;
        world.stripe.pause_collection(&subscription, Some((behavior, Some(resumes_at)))).unwrap();
        assert_eq!(world.story(), ["customer.subscription.updated"]);
        world.stripe.advance(30 * DAY);
        let expected = ["customer.subscription.updated", "invoice.created", "invoice.finalized", closed];
        assert_eq!(world.story(), expected);
        assert_eq!(world.status(&subscription), "active");
        let truth = world.stripe.truth(&subscription, world.stripe.now()).unwrap();
        assert_eq!(truth.paid_until, Some(START + 28 * DAY), "nobody paid for the second period");
        world.stripe.advance(10 * DAY);
        let events = world.news();
        assert!(
            latest(&events, "customer.subscription.updated")["data"]["object"]["pause_collection"].is_null()
        );
    }
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.pause_collection(&subscription, Some(("keep_as_draft", None))).unwrap();
    world.stripe.advance(35 * DAY);
    assert_eq!(
        world.story(),
        ["customer.subscription.updated", "customer.subscription.updated", "invoice.created"]
    );
}

#[test]
fn refunds_are_partial_full_or_fail_and_leave_the_subscription_alone() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.refund(&subscription, Some(500)).unwrap();
    let events = world.news();
    let charge = &latest(&events, "charge.refunded")["data"];
    assert_eq!(
        (&charge["object"]["amount_refunded"], &charge["object"]["refunded"]),
        (&json!(500), &json!(false))
    );
    assert_eq!(charge["previous_attributes"]["amount_refunded"], 0);
    assert!(events.iter().any(|event| event.kind == "refund.created"));
    let rest = world.stripe.refund(&subscription, None).unwrap();
    assert_eq!(latest(&world.news(), "charge.refunded")["data"]["object"]["refunded"], true);
    assert!(world.stripe.refund(&subscription, None).is_err(), "nothing is left");
    assert_eq!(world.get(&format!("/v1/refunds/{rest}"))["amount"], 1_200);
    assert_eq!(world.status(&subscription), "active");

    let (mut world, subscription) = World::member(BASIC, "4000000000005126", 0);
    world.stripe.refund(&subscription, None).unwrap();
    let expected = [
        "charge.refunded",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.refund.updated",
        "charge.updated",
    ];
    assert_eq!(world.news().iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_dispute_takes_the_money_and_a_won_one_gives_it_back() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let dispute = world.stripe.dispute(&subscription, false).unwrap();
    assert_eq!(
        world.news().iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["charge.dispute.created", "charge.updated", "charge.dispute.funds_withdrawn"]
    );
    world.stripe.move_dispute(&dispute, "won").unwrap();
    let expected = ["charge.dispute.updated", "charge.dispute.funds_reinstated", "charge.dispute.closed"];
    assert_eq!(world.news().iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), expected);
    assert!(world.stripe.move_dispute(&dispute, "lost").is_err(), "it is decided");

    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let inquiry = world.stripe.dispute(&subscription, true).unwrap();
    let events = world.news();
    assert_eq!(
        latest(&events, "charge.dispute.created")["data"]["object"]["status"],
        "warning_needs_response"
    );
    assert!(!events.iter().any(|event| event.kind.contains("funds")));
    world.stripe.move_dispute(&inquiry, "warning_closed").unwrap();

    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.settings().dispute_cancels = true;
    world.stripe.dispute(&subscription, false).unwrap();
    let events = world.news();
    let reason =
        &latest(&events, "customer.subscription.deleted")["data"]["object"]["cancellation_details"]["reason"];
    assert_eq!(reason, "payment_disputed");
}

#[test]
fn a_bank_debit_completes_unpaid_and_turns_out_days_later() {
    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    world.stripe.pay(&session, DEBIT).unwrap();
    let events = world.news();
    assert_eq!(latest(&events, "checkout.session.completed")["data"]["object"]["payment_status"], "unpaid");
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    world.stripe.advance(3 * DAY - 1);
    assert_eq!(world.status(&subscription), "incomplete", "a debit that runs is waited for");
    world.stripe.advance(1);
    assert_eq!(world.status(&subscription), "active");
    let expected =
        ["invoice.paid", "customer.subscription.updated", "checkout.session.async_payment_succeeded"];
    assert_eq!(world.story(), expected);

    let mut world = World::new();
    let session = world.stripe.checkout(BASIC, "mem_ada", 0).unwrap();
    world.stripe.pay(&session, DEBIT_FAILS).unwrap();
    let (_, subscription) = world.stripe.bought(&session).unwrap();
    world.stripe.advance(4 * DAY);
    assert_eq!(world.status(&subscription), "incomplete_expired");
    assert!(world.story().contains(&"checkout.session.async_payment_failed".to_owned()));
}

#[test]
fn a_renewal_by_debit_that_fails_is_tried_again() {
    let (mut world, subscription) = World::member(BASIC, DEBIT, 0);
    world.stripe.advance(4 * DAY);
    let customer = world.get(&format!("/v1/subscriptions/{subscription}"))["customer"].clone();
    world.stripe.set_card(customer.as_str().unwrap(), DEBIT_FAILS).unwrap();
    world.stripe.advance(27 * DAY + 2 * HOUR);
    assert_eq!(world.status(&subscription), "past_due");
    world.stripe.set_card(customer.as_str().unwrap(), GOOD).unwrap();
    world.stripe.advance(4 * DAY);
    assert_eq!(world.status(&subscription), "active");
}

#[test]
fn a_change_that_waits_for_its_payment_is_applied_or_expires() {
    for paid in [true, false] {
        let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 0);
        let path = format!("/v1/subscriptions/{subscription}");
        let held = world.get(&path);
        let item = held["items"]["data"][0]["id"].as_str().unwrap();
        let form = format!(
            "items[0][id]={item}&items[0][price]={PRO}&proration_behavior=always_invoice&payment_behavior=pending_if_incomplete"
        );
        let parked = world.stripe.call("POST", &path, &form).unwrap();
        assert_eq!(parked["items"]["data"][0]["price"]["id"], BASIC, "the plan is still the old one");
        assert_eq!(parked["pending_update"]["subscription_items"][0]["price"]["id"], PRO);
        assert_eq!(parked["status"], "active");
        world.news();
        if paid {
            world.stripe.set_card(held["customer"].as_str().unwrap(), GOOD).unwrap();
            let invoice = parked["latest_invoice"].as_str().unwrap();
            world.stripe.call("POST", &format!("/v1/invoices/{invoice}/pay"), "").unwrap();
        } else {
            world.stripe.advance(23 * HOUR);
        }
        let kind = if paid { "applied" } else { "expired" };
        assert!(world.story().contains(&format!("customer.subscription.pending_update_{kind}")));
        let price = world.stripe.truth(&subscription, world.stripe.now()).unwrap().price.clone();
        assert_eq!(price, if paid { PRO } else { BASIC });
        assert!(world.get(&path)["pending_update"].is_null());
    }
}

#[test]
fn a_deleted_customer_ends_what_she_subscribed_to() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let customer = world.get(&format!("/v1/subscriptions/{subscription}"))["customer"].clone();
    let path = format!("/v1/customers/{}", customer.as_str().unwrap());
    assert_eq!(world.stripe.call("DELETE", &path, "").unwrap()["deleted"], true);
    assert_eq!(world.story(), ["customer.subscription.deleted", "customer.deleted"]);
    assert_eq!(world.get(&path)["deleted"], true);
}

#[test]
fn an_archived_price_goes_on_for_those_who_have_it_and_is_for_nobody_else() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let path = format!("/v1/subscriptions/{subscription}");
    let item = world.get(&path)["items"]["data"][0]["id"].as_str().unwrap().to_owned();
    let archive = |world: &mut World, price: &str| {
        world.stripe.call("POST", &format!("/v1/prices/{price}"), "active=false").unwrap();
    };
    archive(&mut world, BASIC);
    world.stripe.advance(70 * DAY);
    assert_eq!(world.status(&subscription), "active", "it was renewed twice");
    let invoices = world.get(&format!("/v1/invoices?subscription={subscription}"));
    assert_eq!(invoices["data"].as_array().unwrap().len(), 3);

    let more = format!("items[0][id]={item}&items[0][price]={BASIC}&items[0][quantity]=2");
    let changed = world.stripe.call("POST", &path, &more).unwrap();
    assert_eq!(changed["items"]["data"][0]["quantity"], 2, "she may have more of it");

    archive(&mut world, PRO);
    let change = format!("items[0][id]={item}&items[0][price]={PRO}");
    let customer = world.stripe.customer("eve@example.com").unwrap();
    let refusals = [
        world.stripe.call("POST", &path, &change).unwrap_err(),
        world.stripe.subscribe(&customer, BASIC, GOOD, 0).unwrap_err(),
        world.stripe.change_plan_at_period_end(&subscription, PRO).unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.status, 400);
        assert!(refusal.message.contains("inactive"), "{refusal}");
    }
}

#[test]
fn a_plan_that_was_agreed_on_comes_although_its_price_is_archived_by_then() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.change_plan_at_period_end(&subscription, PRO).unwrap();
    world.stripe.call("POST", &format!("/v1/prices/{PRO}"), "active=false").unwrap();
    world.stripe.advance(70 * DAY);
    assert_eq!(world.status(&subscription), "active");
    let truth = world.stripe.truth(&subscription, world.stripe.now()).unwrap();
    assert_eq!(truth.price, PRO);
}
