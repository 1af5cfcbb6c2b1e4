//! What the provider says when it is asked, compared with what is known.

use super::*;

fn look(seconds: i64, terms: Terms) -> Look {
    let source = format!("api:sub_1@{seconds}");
    Look { observation: seen(&source, seconds, Kind::Looked, terms), cause: DriftCause::NotTold }
}

fn compare(look: Look) -> SubscriptionCommand {
    SubscriptionCommand::Compare(Box::new(look))
}

fn active() -> Subscription {
    after([observe(seen("evt_1", 0, Kind::Changed, terms("active", "basic")))])
}

fn found(events: &[SubscriptionEvent]) -> Option<&Drift> {
    events.iter().find_map(|event| match event {
        SubscriptionEvent::DriftFound { drift } => Some(drift.as_ref()),
        _ => None,
    })
}

#[test]
fn a_look_that_agrees_leaves_no_trace() {
    assert_eq!(told(&mut active(), compare(look(50, terms("active", "basic")))), []);
    let mut other_shape = terms("active", "basic");
    other_shape.items[0].product = Some("prod_basic".into());
    other_shape.items[0].period_end = other_shape.period_end;
    other_shape.end_reason = Some("cancellation_requested".to_owned());
    other_shape.started_at = None;
    assert_eq!(told(&mut active(), compare(look(50, other_shape))), [], "another shape says the same");
}

#[test]
fn a_difference_is_put_right_and_told_once() {
    let mut subscription = active();
    let events = told(&mut subscription, compare(look(50, terms("past_due", "pro"))));
    assert_eq!(names(&events), ["PaymentFellDue", "PlanChanged", "DriftFound"]);
    let drift = found(&events).unwrap();
    let what: Vec<_> = drift.differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!((what, drift.repaired), (vec!["status", "items"], true));
    assert_eq!(status(&subscription, None), Some(Status::PastDue));
    assert_eq!(told(&mut subscription, compare(look(60, terms("past_due", "pro")))), []);
}

#[test]
fn each_thing_that_access_depends_on_counts() {
    let known = terms("active", "basic");
    let cases = [
        ("customer", Terms { customer: "cus_2".into(), ..known.clone() }),
        ("status", Terms { status: Status::Unpaid, ..known.clone() }),
        ("items", Terms { items: terms("active", "pro").items, ..known.clone() }),
        ("period_end", Terms { period_end: Some(at(days(60))), ..known.clone() }),
        ("trial_end", Terms { trial_end: Some(at(5)), ..known.clone() }),
        ("ends_at", Terms { cancels_at: Some(at(days(30))), ..known.clone() }),
        ("ends_at", Terms { cancels_at_period_end: true, ..known.clone() }),
        (
            "collection_paused",
            Terms {
                collection_paused: Some(CollectionPause { behavior: "void".to_owned(), resumes_at: None }),
                ..known.clone()
            },
        ),
    ];
    for (what, found) in cases {
        let differences = known.differences(&found);
        assert_eq!(differences.len(), 1, "{what}: {differences:?}");
        assert_eq!(differences[0].what, what);
    }
    let both = Terms { cancels_at: known.period_end, cancels_at_period_end: true, ..known.clone() };
    let flag = Terms { cancels_at_period_end: true, ..known };
    assert_eq!(both.differences(&flag), [], "some ways to cancel set the flag, some the date, some both");
}

#[test]
fn a_look_tells_nothing_about_what_came_after_it() {
    let mut subscription = active();
    told(&mut subscription, observe(seen("evt_2", 60, Kind::Changed, terms("past_due", "basic"))));
    assert_eq!(told(&mut subscription, compare(look(50, terms("active", "basic")))), []);
    assert_eq!(status(&subscription, None), Some(Status::PastDue));
}

#[test]
fn what_a_look_showed_is_older_than_what_is_told_later() {
    let mut subscription = active();
    told(&mut subscription, compare(look(50, terms("past_due", "basic"))));
    let late = told(&mut subscription, observe(seen("evt_2", 40, Kind::Changed, terms("unpaid", "basic"))));
    assert_eq!(names(&late), ["EarlierTermsLearned"]);
    told(&mut subscription, observe(seen("evt_3", 51, Kind::Changed, terms("active", "basic"))));
    assert_eq!(status(&subscription, None), Some(Status::Active));
}

#[test]
fn a_subscription_that_nobody_told_of_is_found() {
    let mut subscription = Subscription::default();
    let events = told(&mut subscription, compare(look(50, terms("active", "basic"))));
    assert_eq!(names(&events), ["SubscriptionStarted", "SubscriptionActivated", "DriftFound"]);
    assert_eq!(found(&events).unwrap().differences[0].known, None);
}

#[test]
fn an_end_is_believed_whatever_a_look_shows_and_the_difference_is_told_once() {
    let mut subscription = active();
    told(&mut subscription, observe(seen("evt_9", 20, Kind::Ended, terms("canceled", "basic"))));
    let events = told(&mut subscription, compare(look(50, terms("active", "basic"))));
    assert_eq!(names(&events), ["DriftFound"]);
    assert!(!found(&events).unwrap().repaired);
    assert_eq!(told(&mut subscription, compare(look(60, terms("active", "basic")))), []);
    assert_eq!(status(&subscription, None), Some(Status::Canceled));
}

#[test]
fn what_the_provider_does_not_have_is_told_once_and_not_after_the_end() {
    let mut subscription = active();
    let gone = |subscription: &Subscription, seconds| {
        subscription.drift_from_nothing(format!("api:sub_1@{seconds}").as_str().into(), at(seconds))
    };
    let drift = gone(&subscription, 50).unwrap();
    assert_eq!(drift.cause, DriftCause::NotThere);
    let events = told(&mut subscription, SubscriptionCommand::RecordDrift(Box::new(drift)));
    assert_eq!(names(&events), ["DriftFound"]);
    let again = gone(&subscription, 90).unwrap();
    assert_eq!(told(&mut subscription, SubscriptionCommand::RecordDrift(Box::new(again))), []);
    told(&mut subscription, observe(seen("evt_9", 99, Kind::Ended, terms("canceled", "basic"))));
    assert_eq!(gone(&subscription, 100), None);
}

#[test]
fn an_order_nobody_can_tell_is_settled_by_a_look() {
    let mut subscription = after([
        observe(seen("evt_a", 5, Kind::Changed, terms("active", "basic"))),
        observe(seen("evt_b", 5, Kind::Changed, terms("past_due", "basic"))),
    ]);
    assert!(subscription.is_order_unknown(&"evt_b".into()));
    let events = told(&mut subscription, compare(look(6, terms("active", "basic"))));
    assert_eq!(status(&subscription, None), Some(Status::Active));
    assert!(found(&events).is_some() && !subscription.is_order_unknown(&"evt_b".into()));
}
