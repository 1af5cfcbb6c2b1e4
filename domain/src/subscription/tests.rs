use chrono::{DateTime, Days, TimeDelta, Utc};
use cqrs_es::test::TestFramework;
use proptest::prelude::*;

use super::*;
use crate::customer::Deletion;
use crate::ids::{PlanId, SourceEventId};

mod drift;
mod grace;
mod plain;
mod reversals;

/// The provider's clock, in seconds from the start of a story.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn days(days: u64) -> i64 {
    i64::try_from(days * 86_400).unwrap()
}

fn terms(status: &str, plan: &str) -> Terms {
    Terms {
        items: vec![Item {
            price: Some(format!("price_{plan}").as_str().into()),
            product: None,
            period_end: None,
        }],
        plans: vec![plan.into()],
        started_at: Some(at(0)),
        period_end: Some(at(days(30))),
        ..Terms::new("cus_1".into(), Status::from(status.to_owned()))
    }
}

fn seen(source: &str, seconds: i64, kind: Kind, terms: Terms) -> Observation {
    Observation::new(source.into(), at(seconds), kind, terms)
}

fn changed(source: &str, seconds: i64, replaced: &Terms, terms: &Terms) -> Observation {
    let replaced = Some(Box::new(replaced.clone()));
    Observation { replaced, ..seen(source, seconds, Kind::Changed, terms.clone()) }
}

fn observe(observation: Observation) -> SubscriptionCommand {
    SubscriptionCommand::Observe(Box::new(observation))
}

fn attempt(source: &str, seconds: i64) -> PaymentAttempt {
    PaymentAttempt {
        invoice: "in_1".into(),
        source: source.into(),
        at: at(seconds),
        amount: 1_700,
        currency: Some("usd".to_owned()),
        count: Some(1),
        next_attempt_at: None,
    }
}

fn told(subscription: &mut Subscription, command: SubscriptionCommand) -> Vec<SubscriptionEvent> {
    let events = decide(subscription, command);
    for event in &events {
        evolve(subscription, event);
    }
    events
}

fn after(commands: impl IntoIterator<Item = SubscriptionCommand>) -> Subscription {
    let mut subscription = Subscription::default();
    for command in commands {
        told(&mut subscription, command);
    }
    subscription
}

fn names(events: &[SubscriptionEvent]) -> Vec<&'static str> {
    events.iter().map(SubscriptionEvent::name).collect()
}

fn status(subscription: &Subscription, at: Option<DateTime<Utc>>) -> Option<Status> {
    subscription.standing(at).map(|standing| standing.terms.status)
}

/// Trial, paid, upgraded, failed, recovered, cancellation scheduled, ended.
fn story() -> Vec<SubscriptionCommand> {
    let trial = Terms { trial_end: Some(at(days(14))), ..terms("trialing", "basic") };
    let active = Terms { trial_end: Some(at(days(14))), ..terms("active", "basic") };
    let pro = Terms { trial_end: Some(at(days(14))), ..terms("active", "pro") };
    let past_due = Terms { status: Status::PastDue, ..pro.clone() };
    let canceling = Terms { cancels_at: Some(at(days(60))), cancels_at_period_end: true, ..pro.clone() };
    let ended = Terms { status: Status::Canceled, ended_at: Some(at(days(60))), ..canceling.clone() };
    vec![
        observe(seen("evt_1", 0, Kind::Created, trial.clone())),
        observe(changed("evt_2", days(14), &trial, &active)),
        observe(changed("evt_3", days(20), &active, &pro)),
        observe(changed("evt_4", days(30), &pro, &past_due)),
        observe(changed("evt_5", days(33), &past_due, &pro)),
        observe(changed("evt_6", days(40), &pro, &canceling)),
        observe(seen("evt_7", days(60), Kind::Ended, ended)),
    ]
}

/// Calls `visit` with every order of `items` (Heap's algorithm).
fn every_order<T: Clone>(items: &[T], mut visit: impl FnMut(&[T])) {
    let mut items = items.to_vec();
    let mut counters = vec![0; items.len()];
    visit(&items);
    let mut index = 0;
    while index < items.len() {
        if counters[index] < index {
            items.swap(if index % 2 == 0 { 0 } else { counters[index] }, index);
            visit(&items);
            counters[index] += 1;
            index = 0;
        } else {
            counters[index] = 0;
            index += 1;
        }
    }
}

/// A small generator whose seed is its whole state, so that a failing order can be made again.
fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn a_first_payment_that_was_made_is_not_waited_for_again_however_late_its_beginning_is_told() {
    let mut subscription = Subscription::default();
    told(&mut subscription, observe(seen("look", 9, Kind::Looked, terms("active", "basic"))));
    for (source, kind) in [("evt_1", Kind::Created), ("evt_2", Kind::Changed)] {
        let events = told(&mut subscription, observe(seen(source, 10, kind, terms("incomplete", "basic"))));
        assert!(matches!(events.as_slice(), [SubscriptionEvent::EarlierTermsLearned { .. }]), "{events:?}");
        assert_eq!(subscription.standing(None).unwrap().terms.status, Status::Active);
    }
    told(&mut subscription, observe(seen("evt_3", 20, Kind::Changed, terms("past_due", "basic"))));
    assert_eq!(subscription.standing(None).unwrap().terms.status, Status::PastDue);
}

#[test]
fn a_story_told_in_all_5040_orders_with_duplicates_ends_in_one_state() {
    let expected = after(story());
    let moments: Vec<_> = (0..70).map(|day| at(days(day) + 3_600)).collect();
    let answers = |subscription: &Subscription| -> Vec<Option<Standing>> {
        moments.iter().map(|moment| subscription.standing(Some(*moment))).collect()
    };
    let expected_answers = answers(&expected);
    let (mut orders, mut seed) = (0, 0x5EED_u64);
    every_order(&story(), |order| {
        orders += 1;
        let mut with_copies = Vec::new();
        for command in order {
            with_copies.push(command.clone());
            if dice(&mut seed).is_multiple_of(3) {
                let copy = usize::try_from(dice(&mut seed)).unwrap_or(0) % with_copies.len();
                with_copies.push(with_copies[copy].clone());
            }
        }
        let subscription = after(with_copies);
        assert_eq!(subscription, expected);
        assert_eq!(answers(&subscription), expected_answers);
    });
    assert_eq!(orders, 5_040);
}

/// The control: the end is left out, since it is final by itself and would hide what the clock does.
#[test]
fn without_the_providers_clock_the_story_ends_differently_in_most_orders() {
    let story = &story()[..6];
    let expected = after(story.to_vec()).standing(None);
    let (mut with_clock, mut without_clock) = (0, 0);
    every_order(story, |order| {
        let by_arrival = (0..).zip(order).map(|(arrival, command)| match command {
            SubscriptionCommand::Observe(observation) => {
                observe(Observation { at: at(arrival), kind: Kind::Changed, ..*observation.clone() })
            }
            other => other.clone(),
        });
        without_clock += u32::from(after(by_arrival).standing(None) != expected);
        with_clock += u32::from(after(order.to_vec()).standing(None) != expected);
    });
    assert_eq!(with_clock, 0);
    assert!(without_clock > 360, "only {without_clock} of 720 orders differ");
}

#[test]
fn the_story_is_told_in_the_words_of_the_field() {
    let mut subscription = Subscription::default();
    let told: Vec<_> = story().into_iter().map(|command| names(&told(&mut subscription, command))).collect();
    assert_eq!(
        told,
        [
            vec!["SubscriptionStarted", "TrialStarted"],
            vec!["SubscriptionActivated"],
            vec!["PlanChanged"],
            vec!["PaymentFellDue"],
            vec!["SubscriptionActivated"],
            vec!["CancellationScheduled"],
            vec!["SubscriptionEnded"],
        ]
    );
}

#[test]
fn what_is_seen_again_unchanged_is_kept_since_it_makes_older_looks_older() {
    let active = terms("active", "basic");
    let mut subscription = after([observe(seen("evt_1", 0, Kind::Created, active.clone()))]);
    let again = told(&mut subscription, observe(seen("evt_3", 20, Kind::Changed, active)));
    assert_eq!(names(&again), ["TermsConfirmed"]);
    let late = told(&mut subscription, observe(seen("evt_2", 10, Kind::Changed, terms("past_due", "basic"))));
    assert_eq!(names(&late), ["EarlierTermsLearned"]);
    assert_eq!(status(&subscription, None), Some(Status::Active));
    assert_eq!(status(&subscription, Some(at(15))), Some(Status::PastDue));
}

#[test]
fn a_delivery_told_twice_is_told_once() {
    let first = seen("evt_1", 0, Kind::Created, terms("active", "basic"));
    let mut subscription = after([observe(first.clone())]);
    assert_eq!(told(&mut subscription, observe(first)), vec![]);
}

#[test]
fn created_never_overwrites_an_update_of_a_later_second() {
    // laravel/cashier-stripe#1201
    let subscription = after([
        observe(seen("evt_266", 266, Kind::Changed, terms("active", "basic"))),
        observe(seen("evt_265", 265, Kind::Created, terms("incomplete", "basic"))),
    ]);
    assert_eq!(status(&subscription, None), Some(Status::Active));
}

#[test]
fn within_one_second_created_is_first_and_a_notice_comes_before_a_change() {
    let commands = [
        observe(seen("evt_b", 5, Kind::Changed, terms("active", "basic"))),
        observe(seen("evt_z", 5, Kind::Notice, terms("trialing", "basic"))),
        observe(seen("evt_y", 5, Kind::Created, terms("incomplete", "basic"))),
    ];
    every_order(&commands, |order| {
        assert_eq!(status(&after(order.to_vec()), None), Some(Status::Active));
    });
}

#[test]
fn changes_of_one_second_follow_the_values_they_replaced() {
    let steps = [terms("trialing", "basic"), terms("active", "basic"), terms("active", "pro")];
    let past_due = Terms { status: Status::PastDue, ..steps[2].clone() };
    // The ids sort against the true order.
    let commands = [
        observe(seen("evt_9", 1, Kind::Created, steps[0].clone())),
        observe(changed("evt_3", 5, &steps[0], &steps[1])),
        observe(changed("evt_2", 5, &steps[1], &steps[2])),
        observe(changed("evt_1", 5, &steps[2], &past_due)),
    ];
    let expected = after(commands.clone());
    assert_eq!(status(&expected, None), Some(Status::PastDue));
    every_order(&commands, |order| {
        let mut subscription = Subscription::default();
        for command in order {
            told(&mut subscription, command.clone());
        }
        assert_eq!(subscription, expected);
    });
}

#[test]
fn a_change_and_its_undoing_in_one_second_follow_what_held_before() {
    let plain = terms("active", "basic");
    let canceling = Terms { cancels_at: Some(at(days(30))), ..plain.clone() };
    let commands = [
        observe(seen("evt_0", 1, Kind::Created, plain.clone())),
        observe(changed("evt_2", 5, &plain, &canceling)),
        observe(changed("evt_1", 5, &canceling, &plain)),
    ];
    every_order(&commands, |order| {
        let standing = after(order.to_vec()).standing(None).unwrap();
        assert_eq!(standing.terms.cancels_at, None);
    });
}

#[test]
fn a_change_that_is_announced_by_a_second_event_of_its_second_is_ordered_by_the_first() {
    let monthly = terms("active", "basic");
    let paused = terms("paused", "basic");
    let yearly = Terms { period_end: Some(at(days(365))), ..paused.clone() };
    let resumed = Terms { status: Status::Active, ..yearly.clone() };
    // The ids sort against the true order, and what only announces does not say what was before.
    let commands = [
        observe(seen("evt_0", 1, Kind::Created, monthly.clone())),
        observe(changed("evt_9", 5, &monthly, &paused)),
        observe(seen("evt_8", 5, Kind::Changed, paused.clone())),
        observe(changed("evt_7", 5, &paused, &yearly)),
        observe(changed("evt_6", 5, &yearly, &resumed)),
        observe(seen("evt_5", 5, Kind::Changed, resumed.clone())),
    ];
    every_order(&commands, |order| {
        assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, resumed);
    });
    let last = told(&mut after(commands[..5].to_vec()), commands[5].clone());
    assert!(!names(&last).contains(&"OrderAmbiguous"), "{:?}", names(&last));
}

#[test]
fn changes_of_one_second_are_ordered_though_each_came_in_the_shape_of_another_version() {
    let in_items = |terms: &Terms| {
        let items = terms.items.iter().map(|item| Item { period_end: terms.period_end, ..item.clone() });
        Terms { items: items.collect(), ..terms.clone() }
    };
    let [basic, pro] =
        ["basic", "pro"].map(|plan| Terms { period_end: Some(at(days(30))), ..terms("active", plan) });
    // In the second something that we do not keep changed first.
    let commands = [
        observe(seen("evt_0", 1, Kind::Created, pro.clone())),
        observe(changed("evt_2", 5, &pro, &pro)),
        observe(changed("evt_1", 5, &in_items(&pro), &in_items(&basic))),
    ];
    every_order(&commands, |order| {
        let subscription = after(order.to_vec());
        assert_eq!(subscription.standing(None).unwrap().terms.plans, basic.plans);
        assert_eq!(subscription.history.ambiguous_with(&"evt_1".into()), None);
    });
}

#[test]
fn an_order_that_cannot_be_told_is_kept_the_same_everywhere_and_reported() {
    let commands = [
        observe(seen("evt_2", 5, Kind::Changed, terms("active", "basic"))),
        observe(seen("evt_1", 5, Kind::Changed, terms("past_due", "basic"))),
    ];
    every_order(&commands, |order| {
        let mut subscription = Subscription::default();
        told(&mut subscription, order[0].clone());
        let second = told(&mut subscription, order[1].clone());
        assert!(names(&second).contains(&"OrderAmbiguous"), "{:?}", names(&second));
        assert_eq!(subscription, after(commands.clone()));
    });
}

/// A look whose answer came a little after it began: Stripe dates answers with whole seconds, so it may be older than a change
/// that the same second has, or newer.
fn looked(source: &str, second: i64, thousandths_before: i64, terms: &Terms) -> Observation {
    let began = at(second) - TimeDelta::milliseconds(thousandths_before);
    Observation { at: began, ..seen(source, second, Kind::Looked, terms.clone()) }
}

#[test]
fn a_change_that_a_look_was_after_takes_nothing_back_though_it_comes_later() {
    let waiting = terms("incomplete", "basic");
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let mut subscription = Subscription::default();
    let bought = [
        observe(seen("evt_1", 10, Kind::Created, waiting.clone())),
        observe(looked("api:1", 10, 9, &basic)),
        observe(looked("api:2", 10, 5, &pro)),
    ];
    for command in bought.clone() {
        told(&mut subscription, command);
    }
    let paid = observe(changed("evt_2", 10, &waiting, &basic));
    let late = told(&mut subscription, paid.clone());
    assert_eq!(names(&late), ["EarlierTermsLearned", "OrderAmbiguous"], "what led to Pro is not known yet");
    assert_eq!(subscription.standing(None).unwrap().terms, pro);
    assert!(subscription.is_order_unknown(&"evt_2".into()), "so it is looked at again");
    let upgraded = observe(changed("evt_3", 10, &basic, &pro));
    assert_eq!(names(&told(&mut subscription, upgraded.clone())), ["EarlierTermsLearned"]);

    let all: Vec<_> = bought.into_iter().chain([paid, upgraded]).collect();
    every_order(&all, |order| assert_eq!(after(order.to_vec()), subscription));
}

#[test]
fn a_change_that_a_look_was_before_counts_whatever_comes_first() {
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let ending = Terms { cancels_at: Some(at(days(30))), ..pro.clone() };
    let commands = [
        observe(seen("evt_0", 1, Kind::Created, basic.clone())),
        observe(changed("evt_3", 10, &basic, &pro)),
        observe(looked("api:1", 10, 9, &pro)),
        observe(changed("evt_2", 10, &pro, &ending)),
        observe(changed("evt_1", 10, &ending, &basic)),
    ];
    every_order(&commands, |order| assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, basic));
    let newer = after(commands[..4].to_vec());
    assert_eq!(newer.standing(None).unwrap().terms, ending);
    // The look shows what held before, so a change that does not start from there comes after one that is not known yet.
    let unchanged = [&commands[0], &observe(looked("api:1", 10, 9, &basic)), &commands[3]].map(Clone::clone);
    every_order(&unchanged, |order| assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, ending));
}

#[test]
fn changes_after_a_look_stay_after_it_though_the_one_before_it_is_not_known() {
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let owing = Terms { status: Status::PastDue, ..pro.clone() };
    let ending = Terms { cancels_at: Some(at(days(30))), ..owing.clone() };
    let commands = [
        observe(seen("evt_0", 1, Kind::Created, basic)),
        observe(looked("api:1", 10, 9, &pro)),
        observe(changed("evt_3", 10, &pro, &owing)),
        observe(changed("evt_2", 10, &owing, &ending)),
    ];
    every_order(&commands, |order| assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, ending));
}

#[test]
fn a_look_is_after_what_was_known_when_it_began_and_before_what_starts_from_it() {
    let waiting = terms("incomplete", "basic");
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let after_that = |source: &str, look| observe(Observation { after: Some(source.into()), ..look });
    let bought = [
        observe(seen("evt_0", 10, Kind::Created, waiting.clone())),
        after_that("evt_0", looked("api:1", 10, -1, &basic)),
        observe(changed("evt_1", 10, &waiting, &basic)),
        observe(changed("evt_2", 10, &basic, &pro)),
    ];
    every_order(&bought, |order| assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, pro));
    // What took Pro back is not known yet.
    let taken_back = [
        observe(seen("evt_0", 1, Kind::Created, basic.clone())),
        observe(changed("evt_1", 10, &basic, &pro)),
        after_that("evt_1", looked("api:1", 10, -1, &basic)),
    ];
    every_order(&taken_back, |order| {
        let subscription = after(order.to_vec());
        assert_eq!(subscription.standing(None).unwrap().terms, basic);
        assert!(!subscription.is_order_unknown(&"evt_1".into()), "it has been looked at");
    });
}

#[test]
fn neither_a_notice_nor_looks_turn_changes_of_their_second_round() {
    let waiting = terms("incomplete", "basic");
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let ending = |terms: &Terms| Terms { cancels_at: Some(at(days(30))), ..terms.clone() };
    let noticed = [
        observe(seen("evt_4", 10, Kind::Created, waiting.clone())),
        observe(looked("api:1", 10, 23, &waiting)),
        observe(changed("evt_3", 10, &waiting, &basic)),
        observe(changed("evt_2", 10, &basic, &ending(&basic))),
        observe(seen("evt_1", 10, Kind::Notice, basic.clone())),
    ];
    every_order(&noticed, |order| {
        assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, ending(&basic));
    });
    let owing = Terms { status: Status::PastDue, ..pro.clone() };
    let looked_at_often = after([
        observe(seen("evt_9", 10, Kind::Created, waiting.clone())),
        observe(looked("api:1", 10, 63, &pro)),
        observe(looked("api:2", 10, 16, &owing)),
        observe(looked("api:3", 10, 15, &pro)),
        observe(changed("evt_3", 10, &waiting, &basic)),
        observe(changed("evt_8", 10, &basic, &pro)),
        observe(changed("evt_5", 10, &pro, &ending(&pro))),
        observe(changed("evt_7", 10, &ending(&pro), &pro)),
        observe(changed("evt_1", 10, &pro, &owing)),
        observe(changed("evt_2", 10, &owing, &pro)),
    ]);
    assert_eq!(looked_at_often.standing(None).unwrap().terms, pro);
}

#[test]
fn a_look_that_does_not_say_what_it_was_after_is_before_one_that_began_later() {
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let later = Observation { after: Some("evt_1".into()), ..looked("api:2", 10, -20, &pro) };
    every_order(&[observe(looked("api:1", 10, -8, &basic)), observe(later)], |order| {
        assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, pro);
    });
}

#[test]
fn a_change_that_does_not_say_what_was_before_is_newer_than_a_look_only_where_it_is_news() {
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let paused = terms("paused", "basic");
    for id in ["evt_1", "aaa_1"] {
        let news = [
            observe(seen("evt_0", 1, Kind::Created, basic.clone())),
            observe(looked("api:1", 10, 300, &pro)),
            observe(seen(id, 10, Kind::Changed, paused.clone())),
        ];
        every_order(&news, |order| assert_eq!(status(&after(order.to_vec()), None), Some(Status::Paused)));
    }
    let announced_again = [
        observe(seen("evt_0", 1, Kind::Created, paused.clone())),
        observe(changed("evt_1", 10, &paused, &basic)),
        observe(seen("evt_2", 10, Kind::Changed, basic.clone())),
        observe(looked("api:1", 10, 9, &pro)),
    ];
    every_order(&announced_again, |order| {
        assert_eq!(after(order.to_vec()).standing(None).unwrap().terms, pro);
    });
}

#[test]
fn what_a_look_showed_holds_from_its_own_moment_on() {
    let [basic, pro] = ["basic", "pro"].map(|plan| terms("active", plan));
    let subscription = after([
        observe(seen("evt_0", 1, Kind::Created, basic.clone())),
        observe(looked("api:1", 10, 9, &pro)),
        observe(changed("evt_1", 10, &basic, &pro)),
    ]);
    let held = |thousandths| {
        let moment = at(10) - TimeDelta::milliseconds(thousandths);
        subscription.standing(Some(moment)).unwrap().terms
    };
    assert_eq!([held(600), held(10), held(9), held(0)], [basic.clone(), basic, pro.clone(), pro]);
}

#[test]
fn an_end_beats_everything_else_of_its_second_and_is_never_left() {
    let ended = Terms { ended_at: Some(at(50)), ..terms("canceled", "basic") };
    let commands = [
        observe(seen("evt_1", 0, Kind::Created, terms("active", "basic"))),
        observe(seen("evt_2", 50, Kind::Ended, ended)),
        observe(seen("evt_3", 50, Kind::Changed, terms("active", "basic"))),
        observe(seen("evt_4", 60, Kind::Changed, terms("active", "pro"))),
    ];
    every_order(&commands, |order| {
        assert_eq!(status(&after(order.to_vec()), None), Some(Status::Canceled));
    });
    let mut subscription = after(commands[..3].to_vec());
    let refused = told(&mut subscription, commands[3].clone());
    assert_eq!(names(&refused), ["TermsConfirmed", "TransitionRefused"]);
}

#[test]
fn ending_now_beats_an_end_that_was_scheduled_for_later() {
    // pay-rails/pay#350
    let canceling = Terms { cancels_at: Some(at(days(30))), ..terms("active", "basic") };
    let ended = Terms { status: Status::Canceled, ended_at: Some(at(100)), ..canceling.clone() };
    let subscription = after([
        observe(seen("evt_1", 0, Kind::Created, canceling)),
        observe(seen("evt_2", 101, Kind::Ended, ended)),
    ]);
    assert_eq!(status(&subscription, Some(at(99))), Some(Status::Active));
    assert_eq!(status(&subscription, Some(at(100))), Some(Status::Canceled));
}

#[test]
fn a_deleted_payer_ends_the_subscription_once_whatever_comes_first() {
    // pay-rails/pay#1201
    let active = observe(seen("evt_1", 0, Kind::Created, terms("active", "basic")));
    let deleted = SubscriptionCommand::EndWithCustomer(Deletion { source: "evt_2".into(), at: at(100) });
    let ended = Terms { ended_at: Some(at(100)), ..terms("canceled", "basic") };
    let own = observe(seen("evt_3", 100, Kind::Ended, ended));
    every_order(&[active, deleted, own], |order| {
        let subscription = after(order.to_vec());
        assert_eq!(status(&subscription, Some(at(99))), Some(Status::Active));
        assert_eq!(status(&subscription, Some(at(100))), Some(Status::Canceled));
    });
}

#[test]
fn a_deleted_payer_ends_the_subscription_without_its_own_end() {
    let active = observe(seen("evt_1", 0, Kind::Created, terms("active", "basic")));
    let changed = observe(seen("evt_3", 50, Kind::Changed, terms("active", "pro")));
    let deleted = SubscriptionCommand::EndWithCustomer(Deletion { source: "evt_2".into(), at: at(100) });
    every_order(&[active, changed, deleted], |order| {
        let subscription = after(order.to_vec());
        let standing = subscription.standing(None).unwrap();
        assert_eq!(standing.terms.status, Status::Canceled);
        assert_eq!(standing.anchors.plans, ["pro".into()]);
        assert_eq!(subscription.evidence(None).deciding, ["evt_2".into()]);
    });
}

#[test]
fn a_payment_settles_no_debt_that_is_seen_after_it() {
    let [active, failed, past_due, _] = owing();
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_5", 200));
    let still = observe(seen("evt_6", 300, Kind::Changed, terms("past_due", "pro")));
    every_order(&[active, failed, past_due, paid, still], |order| {
        let anchors = after(order.to_vec()).standing(None).unwrap().anchors;
        assert_eq!((anchors.recovered_at, anchors.grace_from), (None, Some(at(300))));
    });
}

#[test]
fn paying_another_invoice_settles_nothing_and_moves_no_grace() {
    let active = observe(seen("evt_1", 0, Kind::Created, terms("active", "basic")));
    let past_due = observe(seen("evt_2", days(10), Kind::Changed, terms("past_due", "basic")));
    let failed = SubscriptionCommand::RecordPaymentFailure(attempt("evt_3", days(40)));
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_4", days(40) + 10));
    let still = observe(seen("evt_5", days(41), Kind::Changed, terms("past_due", "basic")));
    every_order(&[active, past_due, failed, paid, still], |order| {
        let anchors = after(order.to_vec()).standing(None).unwrap().anchors;
        assert_eq!((anchors.recovered_at, anchors.grace_from), (None, Some(at(days(10)))));
    });
}

#[test]
fn a_debt_that_is_suspended_and_tried_again_is_the_same_debt() {
    for between in ["paused", "unpaid"] {
        let subscription = after(owing().into_iter().chain([
            observe(seen("evt_7", days(20), Kind::Changed, terms(between, "basic"))),
            observe(seen("evt_8", days(21), Kind::Changed, terms("past_due", "basic"))),
        ]));
        assert_eq!(subscription.standing(None).unwrap().anchors.grace_from, Some(at(100)), "{between}");
    }
}

#[test]
fn a_first_payment_stays_made_whatever_else_is_seen_before_the_status() {
    let subscription = after([
        observe(seen("evt_1", 0, Kind::Created, terms("incomplete", "basic"))),
        SubscriptionCommand::RecordPayment(attempt("evt_2", 5)),
        observe(seen("evt_3", 6, Kind::Changed, terms("incomplete", "basic"))),
    ]);
    assert_eq!(subscription.standing(None).unwrap().anchors.recovered_at, Some(at(5)));
}

#[test]
fn a_first_payment_counts_before_the_status_says_so() {
    let waiting = observe(seen("evt_1", 0, Kind::Created, terms("incomplete", "basic")));
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_2", 5));
    every_order(&[waiting, paid], |order| {
        let mut subscription = Subscription::default();
        let mut last = None;
        for command in order {
            last = told(&mut subscription, command.clone())
                .iter()
                .find_map(SubscriptionEvent::standing)
                .or(last);
        }
        assert_eq!(last.unwrap().anchors.recovered_at, Some(at(5)));
    });
}

fn owing() -> [SubscriptionCommand; 4] {
    let active = terms("active", "basic");
    [
        observe(seen("evt_1", 0, Kind::Created, active.clone())),
        SubscriptionCommand::RecordPaymentFailure(attempt("evt_2", 100)),
        observe(changed("evt_3", 102, &active, &terms("past_due", "basic"))),
        SubscriptionCommand::RecordPaymentFailure(attempt("evt_4", days(3))),
    ]
}

#[test]
fn grace_counts_from_the_first_failed_attempt_and_retries_do_not_extend_it() {
    every_order(&owing(), |order| {
        let standing = after(order.to_vec()).standing(None).unwrap();
        assert_eq!(standing.anchors.grace_from, Some(at(100)));
    });
}

#[test]
fn without_a_known_attempt_grace_counts_from_when_it_fell_due() {
    let [active, _, past_due, _] = owing();
    let standing = after([active, past_due]).standing(None).unwrap();
    assert_eq!(standing.anchors.grace_from, Some(at(102)));
}

#[test]
fn when_what_made_it_fall_due_is_paid_grace_counts_from_what_failed_next() {
    let [active, failed, past_due, _] = owing();
    let next = PaymentAttempt { invoice: "in_2".into(), ..attempt("evt_8", days(30)) };
    let next = SubscriptionCommand::RecordPaymentFailure(next);
    let renewed = Terms { period_end: Some(at(days(60))), ..terms("past_due", "basic") };
    let renewed = observe(changed("evt_7", days(30), &terms("past_due", "basic"), &renewed));
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_9", days(31)));
    every_order(&[active, failed, past_due, renewed, next, paid], |order| {
        let anchors = after(order.to_vec()).standing(None).unwrap().anchors;
        assert_eq!((anchors.recovered_at, anchors.grace_from), (None, Some(at(days(30)))));
    });
}

#[test]
fn after_a_payment_grace_counts_from_the_first_look_since_though_a_change_of_its_second_follows() {
    let [active, owed] = ["active", "past_due"].map(|status| terms(status, "basic"));
    let ending = Terms { cancels_at: Some(at(days(30))), ..owed.clone() };
    let look = Observation { after: Some("evt_3".into()), ..looked("api:1", 20, -1, &owed) };
    let still_owed = look.at;
    let story = [
        observe(seen("evt_1", 0, Kind::Created, active.clone())),
        SubscriptionCommand::RecordPaymentFailure(attempt("evt_2", 19)),
        observe(changed("evt_3", 20, &active, &owed)),
        SubscriptionCommand::RecordPayment(attempt("evt_4", 20)),
        observe(look),
        observe(changed("evt_5", 20, &owed, &ending)),
        observe(changed("evt_6", 22, &ending, &owed)),
    ];
    every_order(&story, |order| {
        let anchors = after(order.to_vec()).standing(None).unwrap().anchors;
        assert_eq!(anchors.grace_from, Some(still_owed));
    });
}

#[test]
fn an_old_debt_that_was_settled_does_not_shorten_a_later_grace() {
    let [active, failed, past_due, _] = owing();
    let later = PaymentAttempt { invoice: "in_2".into(), ..attempt("evt_8", days(40)) };
    let subscription = after([
        active,
        failed,
        past_due,
        observe(seen("evt_5", days(5), Kind::Changed, terms("active", "basic"))),
        SubscriptionCommand::RecordPaymentFailure(later),
        observe(seen("evt_9", days(40), Kind::Changed, terms("past_due", "basic"))),
    ]);
    assert_eq!(subscription.standing(None).unwrap().anchors.grace_from, Some(at(days(40))));
}

#[test]
fn a_debt_that_is_paid_is_over_before_the_status_says_so() {
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_5", days(4)));
    let [active, failed, past_due, _] = owing();
    every_order(&[active, failed, past_due, paid], |order| {
        let standing = after(order.to_vec()).standing(None).unwrap();
        assert_eq!(standing.anchors.recovered_at, Some(at(days(4))));
    });
}

#[test]
fn a_failure_that_arrives_after_the_payment_is_history() {
    let mut subscription = after([SubscriptionCommand::RecordPayment(attempt("evt_2", 200))]);
    let late = told(&mut subscription, SubscriptionCommand::RecordPaymentFailure(attempt("evt_1", 100)));
    assert!(matches!(late.as_slice(), [SubscriptionEvent::PaymentFailed { late: true, .. }]));
}

#[test]
fn an_invoice_over_nothing_is_no_payment() {
    let nothing = PaymentAttempt { amount: 0, ..attempt("evt_1", 0) };
    TestFramework::<Subscription>::with(())
        .given_no_previous_events()
        .when(SubscriptionCommand::RecordPayment(nothing))
        .then_expect_events(vec![]);
}

#[test]
fn an_unknown_price_keeps_the_last_known_plan_and_says_so() {
    let unknown = Terms { plans: vec![], ..terms("active", "mystery") };
    let mut subscription = after([observe(seen("evt_1", 0, Kind::Created, terms("active", "pro")))]);
    let events = told(&mut subscription, observe(seen("evt_2", 10, Kind::Changed, unknown)));
    assert_eq!(names(&events), ["PriceUnmapped"]);
    let pro: PlanId = "pro".into();
    assert_eq!(subscription.standing(None).unwrap().anchors.plans, vec![pro]);
}

#[test]
fn a_pause_of_collection_remembers_the_period_that_ran() {
    let pause = Some(CollectionPause { behavior: "void".to_owned(), resumes_at: None });
    let paused = Terms { collection_paused: pause, ..terms("active", "basic") };
    let rolled = Terms { period_end: Some(at(days(60))), ..paused.clone() };
    let mut subscription = after([observe(seen("evt_1", 0, Kind::Created, terms("active", "basic")))]);
    assert_eq!(
        names(&told(&mut subscription, observe(seen("evt_2", 10, Kind::Changed, paused)))),
        ["CollectionPaused"]
    );
    told(&mut subscription, observe(seen("evt_3", days(30), Kind::Changed, rolled)));
    assert_eq!(subscription.standing(None).unwrap().anchors.paid_until, Some(at(days(30))));
}

#[test]
fn the_evidence_names_what_decided_and_what_only_confirmed() {
    let active = terms("active", "basic");
    let subscription = after([
        observe(seen("evt_1", 0, Kind::Created, active.clone())),
        observe(seen("evt_2", 10, Kind::Changed, active)),
    ]);
    let evidence = subscription.evidence(None);
    assert_eq!(evidence.deciding, ["evt_1".into()]);
    assert_eq!(evidence.confirmed_by, Some("evt_2".into()));
    assert_eq!(after(owing()).evidence(None).deciding, ["evt_3".into(), "evt_2".into()]);

    let ended = Terms { ended_at: Some(at(50)), ..terms("canceled", "basic") };
    let subscription = after([
        observe(seen("evt_1", 50, Kind::Changed, ended.clone())),
        observe(seen("evt_2", 51, Kind::Ended, ended)),
    ]);
    assert_eq!(subscription.evidence(None).confirmed_by, Some("evt_2".into()));
    assert_eq!(subscription.evidence(Some(at(50))).confirmed_by, None);
}

fn any_command() -> impl Strategy<Value = SubscriptionCommand> {
    let statuses = prop::sample::select(vec![
        "incomplete",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "paused",
        "canceled",
    ]);
    let kinds = prop::sample::select(vec![Kind::Created, Kind::Notice, Kind::Changed, Kind::Ended]);
    let plans = prop::sample::select(vec!["basic", "pro"]);
    let observation =
        (0_u32..30, 0_i64..8, kinds, statuses.clone(), plans.clone(), any::<bool>(), statuses.clone())
            .prop_map(|(id, second, kind, now, plan, cancels, before)| {
                let terms = Terms { cancels_at: cancels.then(|| at(days(30))), ..terms(now, plan) };
                let replaced = (kind == Kind::Changed)
                    .then(|| Box::new(Terms { status: Status::from(before.to_owned()), ..terms.clone() }));
                observe(Observation { replaced, ..seen(&format!("evt_{id}"), second, kind, terms) })
            });
    let known = prop::option::of(0_u32..30);
    let look = (60_u32..70, 0_i64..8, -50_i64..1_000, statuses, plans, known).prop_map(
        |(id, second, before, now, plan, known)| {
            let after = known.map(|known| format!("evt_{known}").into());
            let look = looked(&format!("api:{id}"), second, before, &terms(now, plan));
            observe(Observation { after, ..look })
        },
    );
    let payment = (30_u32..40, 0_i64..8, 0_u32..3).prop_map(|(id, second, invoice)| PaymentAttempt {
        invoice: format!("in_{invoice}").into(),
        ..attempt(&format!("evt_{id}"), second)
    });
    let paid = (40_u32..50, 0_i64..8, 0_u32..3).prop_map(|(id, second, invoice)| PaymentAttempt {
        invoice: format!("in_{invoice}").into(),
        ..attempt(&format!("evt_{id}"), second)
    });
    let deletion = (50_u32..52, 0_i64..8)
        .prop_map(|(id, second)| Deletion { source: format!("evt_{id}").into(), at: at(second) });
    prop_oneof![
        8 => observation,
        3 => look,
        2 => payment.prop_map(SubscriptionCommand::RecordPaymentFailure),
        2 => paid.prop_map(SubscriptionCommand::RecordPayment),
        1 => deletion.prop_map(SubscriptionCommand::EndWithCustomer),
        2 => reversals::any_reversal(),
    ]
}

fn source(command: &SubscriptionCommand) -> SourceEventId {
    match command {
        SubscriptionCommand::Observe(observation) => observation.source.clone(),
        SubscriptionCommand::RecordPaymentFailure(attempt) | SubscriptionCommand::RecordPayment(attempt) => {
            attempt.source.clone()
        }
        SubscriptionCommand::RecordActionRequired(attempt) => attempt.source.clone(),
        SubscriptionCommand::RecordReversal(reversed) => reversed.reversal.source().clone(),
        SubscriptionCommand::NoteInvoice(noted) => noted.source.clone(),
        SubscriptionCommand::RecordSchedule(schedule) => schedule.source.clone(),
        SubscriptionCommand::EndWithCustomer(deletion) => deletion.source.clone(),
        SubscriptionCommand::Compare(look) => look.observation.source.clone(),
        SubscriptionCommand::RecordDrift(drift) => drift.source.clone(),
        SubscriptionCommand::ExtendGrace(extension) => extension.remark.as_str().into(),
    }
}

/// Deliveries as a provider makes them: one content per event id, any order, any number of copies.
fn any_deliveries() -> impl Strategy<Value = (Vec<SubscriptionCommand>, Vec<SubscriptionCommand>)> {
    prop::collection::vec(any_command(), 1..9).prop_flat_map(|mut commands| {
        let mut known = std::collections::BTreeSet::new();
        commands.retain(|command| known.insert(source(command)));
        let copies = commands.iter().chain(commands.iter().step_by(2)).cloned().collect::<Vec<_>>();
        (Just(commands), Just(copies).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_order_and_any_copies_of_any_deliveries_end_in_one_state((given, shuffled) in any_deliveries()) {
        prop_assert_eq!(after(given), after(shuffled));
    }

    #[test]
    fn looks_stay_in_the_order_in_which_they_began((given, _) in any_deliveries()) {
        let subscription = after(given);
        let lasting = |held: &&Observation| held.kind.is_look() && !held.is_final();
        let looks = subscription.history.observations().iter().filter(lasting);
        prop_assert!(looks.map(|look| look.at).is_sorted());
    }

    #[test]
    fn the_last_event_that_tells_the_standing_tells_the_truth((_, shuffled) in any_deliveries()) {
        let mut subscription = Subscription::default();
        let mut last = None;
        for command in shuffled {
            for event in told(&mut subscription, command) {
                last = event.standing().or(last);
            }
            prop_assert_eq!(&subscription.standing(None), &last);
        }
    }

    #[test]
    fn where_it_stands_now_is_where_it_stands_at_the_end_of_time((given, _) in any_deliveries()) {
        let subscription = after(given);
        let end = at(0) + Days::new(400) + TimeDelta::seconds(1);
        prop_assert_eq!(subscription.standing(None), subscription.standing(Some(end)));
    }
}
