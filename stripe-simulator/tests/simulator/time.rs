//! Time: where it stops on the way, and that the same calls give the same history.

use std::collections::BTreeSet;

use super::support::*;

#[test]
fn one_long_step_is_the_same_as_many_short_ones() {
    let run = |step: i64| {
        let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 14);
        world.stripe.change_plan_at_period_end(&subscription, PRO).unwrap();
        for _ in 0..(120 * DAY / step) {
            world.stripe.advance(step);
        }
        world.news()
    };
    assert_eq!(run(120 * DAY), run(6 * HOUR));
}

#[test]
fn a_year_and_a_half_of_renewals_keeps_to_the_last_day_of_the_month() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    world.stripe.advance(540 * DAY);
    let invoices = world.get(&format!("/v1/invoices?subscription={subscription}&limit=100"));
    assert_eq!(invoices["data"].as_array().unwrap().len(), 18);
    let days: BTreeSet<_> = invoices["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|invoice| chrono_day(invoice["lines"]["data"][0]["period"]["start"].as_i64().unwrap()))
        .collect();
    assert_eq!(days, BTreeSet::from([28, 29, 30, 31]), "29 February 2028 is among them");
}

fn chrono_day(moment: i64) -> u32 {
    use chrono::Datelike;
    chrono::DateTime::from_timestamp(moment, 0).unwrap().day()
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_gives_others() {
    let run = |seed| {
        let mut stripe = stripe_simulator::Simulator::new(START, seed, SECRET);
        let session = stripe.checkout(BASIC, "mem_ada", 0).unwrap();
        stripe.pay(&session, GOOD).unwrap();
        stripe.advance(100 * DAY);
        (stripe.events().to_vec(), stripe.take_deliveries(START))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn what_was_true_can_be_asked_for_any_moment() {
    let (mut world, subscription) = World::member(BASIC, DECLINED_LATER, 14);
    world.stripe.advance(100 * DAY);
    let status = |at| world.stripe.truth(&subscription, at).map(|truth| truth.status.clone());
    assert_eq!(status(START - 1), None);
    assert_eq!(status(START).as_deref(), Some("trialing"));
    assert_eq!(status(START + 14 * DAY).as_deref(), Some("active"), "the period rolls before it is paid");
    assert_eq!(status(START + 14 * DAY + HOUR).as_deref(), Some("past_due"));
    assert_eq!(status(START + 29 * DAY + HOUR).as_deref(), Some("canceled"));
    let trial = world.stripe.truth(&subscription, START + DAY).unwrap();
    assert_eq!(trial.paid_until, Some(START + 14 * DAY));
}

#[test]
fn nobody_can_hold_time_up() {
    let mut world = World::new();
    for (place, card) in [GOOD, DECLINED_LATER, DEBIT].into_iter().enumerate() {
        for trial in [0, 2, 30] {
            let customer = world.stripe.customer(&format!("{place}-{trial}@example.com")).unwrap();
            // A card that is declined from the start leaves an incomplete subscription, which is fine here.
            let made = world.stripe.subscribe(&customer, BASIC, card, trial);
            assert!(made.is_ok(), "{made:?}");
        }
    }
    world.stripe.advance(800 * DAY);
    assert_eq!(world.stripe.now(), START + 800 * DAY);
    let events = world.news();
    assert!(events.windows(2).all(|pair| pair[0].created <= pair[1].created), "in order of time");
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn dates_too_far_away_are_refused_and_nothing_hangs() {
    let (mut world, subscription) = World::member(BASIC, GOOD, 0);
    let path = format!("/v1/subscriptions/{subscription}");
    let customer = world.stripe.customer("eve@example.com").unwrap();
    let schedule = world
        .stripe
        .call("POST", "/v1/subscription_schedules", &format!("from_subscription={subscription}"))
        .unwrap();
    let schedule = format!("/v1/subscription_schedules/{}", schedule["id"].as_str().unwrap());
    let phase = format!("phases[0][items][0][price]={BASIC}");
    let session =
        format!("mode=subscription&line_items[0][price]={BASIC}&success_url=http://shop/&subscription_data");
    let new = format!("customer={customer}&items[0][price]={BASIC}");
    for moment in [i64::MAX, i64::MIN, START + 6 * 366 * DAY] {
        let calls = [
            (path.as_str(), format!("trial_end={moment}"), "trial_end"),
            (&path, format!("cancel_at={moment}"), "cancel_at"),
            (
                &path,
                format!("pause_collection[behavior]=void&pause_collection[resumes_at]={moment}"),
                "pause_collection[resumes_at]",
            ),
            ("/v1/subscriptions", format!("{new}&trial_end={moment}"), "trial_end"),
            ("/v1/subscriptions", format!("{new}&cancel_at={moment}"), "cancel_at"),
            (
                "/v1/checkout/sessions",
                format!("{session}[trial_end]={moment}"),
                "subscription_data[trial_end]",
            ),
            (
                "/v1/checkout/sessions",
                format!("{session}[trial_period_days]={moment}"),
                "subscription_data[trial_period_days]",
            ),
            (&schedule, format!("{phase}&phases[0][end_date]={moment}"), "phases[0][end_date]"),
            (&schedule, format!("{phase}&phases[0][start_date]={moment}"), "phases[0][start_date]"),
            (&schedule, format!("{phase}&phases[0][iterations]={moment}"), "phases[0][iterations]"),
            (
                "/v1/invoices/create_preview",
                format!("subscription={subscription}&subscription_details[trial_end]={moment}"),
                "trial_end",
            ),
        ];
        for (path, form, param) in calls {
            let refused = world.stripe.call("POST", path, &form).unwrap_err();
            assert_eq!(refused.status, 400, "{path} {form}");
            assert_eq!(refused.kind, "invalid_request_error");
            assert_eq!(refused.param.as_deref(), Some(param), "{path} {form}: {refused}");
        }
    }
    world.stripe.advance(40 * DAY);
    assert_eq!(world.status(&subscription), "active");
}

#[test]
fn amounts_and_counts_beyond_what_stripe_takes_are_refused() {
    let mut world = World::new();
    let customer = world.stripe.customer("eve@example.com").unwrap();
    let price = "product=prod_basic&currency=usd&recurring[interval]";
    let new = format!("customer={customer}&items[0][price]={BASIC}");
    let calls = [
        ("/v1/prices", format!("{price}=month&unit_amount=100000000"), "unit_amount"),
        ("/v1/prices", format!("{price}=month&unit_amount=-1"), "unit_amount"),
        (
            "/v1/prices",
            format!("{price}=day&unit_amount=1&recurring[interval_count]=1096"),
            "recurring[interval_count]",
        ),
        (
            "/v1/prices",
            format!("{price}=week&unit_amount=1&recurring[interval_count]=157"),
            "recurring[interval_count]",
        ),
        (
            "/v1/prices",
            format!("{price}=month&unit_amount=1&recurring[interval_count]=37"),
            "recurring[interval_count]",
        ),
        (
            "/v1/prices",
            format!("{price}=year&unit_amount=1&recurring[interval_count]=4"),
            "recurring[interval_count]",
        ),
        (
            "/v1/prices",
            format!("{price}=year&unit_amount=1&recurring[interval_count]=4294967295"),
            "recurring[interval_count]",
        ),
        (
            "/v1/prices",
            format!("{price}=year&unit_amount=1&recurring[interval_count]=0"),
            "recurring[interval_count]",
        ),
        ("/v1/subscriptions", format!("{new}&items[0][quantity]=1000001"), "items[0][quantity]"),
        ("/v1/subscriptions", format!("{new}&items[0][quantity]=-1"), "items[0][quantity]"),
        ("/v1/subscriptions", format!("{new}&trial_period_days=731"), "trial_period_days"),
        ("/v1/customers", format!("balance={}", i64::MIN), "balance"),
    ];
    for (path, form, param) in calls {
        let refused = world.stripe.call("POST", path, &form).unwrap_err();
        assert_eq!((refused.status, refused.param.as_deref()), (400, Some(param)), "{form}: {refused}");
    }
}

#[test]
fn the_dearest_that_can_be_bought_is_billed_and_prorated_without_overflow() {
    let mut world = World::new();
    let customer = world.stripe.customer("eve@example.com").unwrap();
    world.stripe.set_card(&customer, GOOD).unwrap();
    let price = |world: &mut World, id: &str, interval: &str| {
        let form = format!(
            "id={id}&product=prod_basic&currency=usd&unit_amount=99999999&recurring[interval]={interval}"
        );
        world.stripe.call("POST", "/v1/prices", &form).unwrap();
    };
    price(&mut world, "price_a", "year&recurring[interval_count]=3");
    price(&mut world, "price_b", "year&recurring[interval_count]=3");
    let most = |price: &str| {
        let item = |place: usize| format!("&items[{place}][price]={price}&items[{place}][quantity]=1000000");
        (0..20).map(item).collect::<String>()
    };
    let made = world
        .stripe
        .call("POST", "/v1/subscriptions", &format!("customer={customer}{}", most("price_a")))
        .unwrap();
    assert_eq!(made["status"], "active");
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    world.stripe.advance(100 * DAY);
    let items = made["items"]["data"].as_array().unwrap();
    let id = |place: usize| items[place]["id"].as_str().unwrap();
    let change = |place| format!("items[{place}][id]={}&items[{place}][price]=price_b", id(place));
    let change = (0..20).map(change).collect::<Vec<_>>().join("&");
    world.stripe.call("POST", &path, &change).unwrap();
    world.stripe.advance(3_653 * DAY);
    assert_eq!(world.status(made["id"].as_str().unwrap()), "active");
    let invoice = &world.get("/v1/invoices")["data"][0];
    assert_eq!(invoice["total"], 20 * 99_999_999_000_000_i64);
    let more = world.stripe.call("POST", &path, &format!("items[0][price]={BASIC}")).unwrap_err();
    assert!(more.message.contains("20"), "{more}");
}
