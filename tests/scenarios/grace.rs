//! A renewal is not paid: there is time to settle it, counted from the first failed attempt and from nothing else.

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{BASIC, CATALOG, Price, Story, bought, days_ago, events, rfc3339};

const HOUR: TimeDelta = TimeDelta::hours(1);

/// A member whose renewal failed so many days ago for the first time, and then again on later days.
async fn owes(app: &TestApp, name: &str, first: i64, later: &[i64]) -> (String, Story, DateTime<Utc>) {
    let member = format!("mem_{name}");
    app.register(&member).await;
    let mut story = Story::new(name);
    let renewal = days_ago(first) - HOUR;
    bought(&mut story, &member, Price::BasicMonth, renewal - Months::new(1));
    story.renewal_fails(renewal);
    for (attempt, day) in (2..).zip(later) {
        story.payment_fails(attempt, days_ago(*day));
    }
    (member, story, renewal + HOUR)
}

fn assert_told(decision: &Value, reason: &str, until: Option<DateTime<Utc>>) {
    assert_eq!(decision["reason"], reason, "{decision}");
    assert_eq!(decision["until"], json!(until.map(rfc3339)), "{decision}");
    let fix = match reason {
        "grace" | "past_due" => json!({ "action": "update_payment_method", "plan": null }),
        _ => Value::Null,
    };
    assert_eq!(decision["fix"], fix, "{decision}");
}

/// The live answer and the one from the history.
async fn assert_now(app: &TestApp, member: &str, reason: &str, until: Option<DateTime<Utc>>) {
    assert_told(&app.check(member, BASIC).await, reason, until);
    let path = format!("/v1/support/members/{member}/explain?video={BASIC}");
    assert_told(&app.get(&path).await.body["decision"], reason, until);
}

on_every_store! {
    async fn grace_lasts_fourteen_days_from_the_first_failed_attempt_and_no_longer(store: Store) {
        let app = TestApp::on(store).await;
        let fortnight = TimeDelta::days(14);

        let (member, story, failed_at) = owes(&app, "recent", 13, &[10, 6, 1]).await;
        app.deliver_all(&events(story)).await;
        assert_now(&app, &member, "grace", Some(failed_at + fortnight)).await;

        let (member, story, failed_at) = owes(&app, "old", 15, &[12, 8, 1]).await;
        app.deliver_all(&events(story)).await;
        assert_now(&app, &member, "past_due", None).await;
        let second = TimeDelta::seconds(1);
        let last = app.check_at(&member, BASIC, failed_at + fortnight - second).await;
        assert_told(&last, "grace", Some(failed_at + fortnight));
        assert_told(&app.check_at(&member, BASIC, failed_at + fortnight).await, "past_due", None);
        assert_told(&app.check_at(&member, BASIC, failed_at - second).await, "subscription", None);

        // The latest attempt is heard of first.
        let (member, story, failed_at) = owes(&app, "backwards", 10, &[7, 3]).await;
        let mut backwards = events(story);
        backwards.reverse();
        app.deliver_all(&backwards).await;
        assert_now(&app, &member, "grace", Some(failed_at + fortnight)).await;

        // Only the second attempt is ever heard of, after the status.
        let (member, story, _) = owes(&app, "deaf", 12, &[9]).await;
        let heard: Vec<_> = events(story).into_iter().filter(|event| event["data"]["object"]["attempt_count"] != 1).collect();
        app.deliver_all(&heard).await;
        let decision = app.check(&member, BASIC).await;
        assert_eq!(decision["reason"], "grace", "{decision}");
    }

    async fn paying_opens_at_once_even_before_the_status_says_so(store: Store) {
        let app = TestApp::on(store).await;
        let (member, mut story, _) = owes(&app, "payer", 20, &[17]).await;
        story.paid(days_ago(1)).status("active", days_ago(1));
        let events = events(story);
        let (before, [paid, active]) = events.split_at(events.len() - 2) else { panic!("two more events") };
        app.deliver_all(before).await;
        assert_now(&app, &member, "past_due", None).await;
        app.deliver_all([paid]).await;
        assert_now(&app, &member, "subscription", None).await;
        app.deliver_all([active]).await;
        assert_now(&app, &member, "subscription", None).await;
        let while_owing = app.check_at(&member, BASIC, days_ago(2)).await;
        assert_told(&while_owing, "past_due", None);
    }

    async fn a_payment_that_is_heard_of_before_its_failure_counts(store: Store) {
        let app = TestApp::on(store).await;
        let (member, mut story, failed_at) = owes(&app, "quick", 20, &[]).await;
        story.paid(days_ago(18));
        let mut events = events(story);
        // The status past_due stays the last word, and the payment arrives first of all.
        events.rotate_right(1);
        app.deliver_all(&events).await;
        assert_now(&app, &member, "subscription", None).await;
        assert_told(&app.check_at(&member, BASIC, failed_at).await, "grace", Some(failed_at + TimeDelta::days(14)));
    }

    async fn each_failed_renewal_has_its_own_grace_and_a_payment_of_another_invoice_ends_none(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_often").await;
        let mut story = Story::new("often");
        let renewal = days_ago(75);
        bought(&mut story, "mem_often", Price::BasicMonth, renewal - Months::new(1));
        story.renewal_fails(renewal).paid(days_ago(70)).status("active", days_ago(70));
        let first = days_ago(70);
        let second = days_ago(40);
        story.renewal_fails(second);
        let events = events(story);
        app.deliver_all(&events).await;
        let failed_at = second + HOUR;
        assert_now(&app, "mem_often", "past_due", None).await;
        let within = app.check_at("mem_often", BASIC, failed_at + TimeDelta::days(13)).await;
        assert_told(&within, "grace", Some(failed_at + TimeDelta::days(14)));
        assert_told(&app.check_at("mem_often", BASIC, first).await, "subscription", None);

        // The first invoice is told to be paid once more; the second still is not.
        let paid = events.iter().find(|event| event["type"] == "invoice.paid" && event["created"] == json!(first.timestamp()));
        let mut again = paid.expect("the first renewal was paid").clone();
        again["id"] = json!("evt_paid_again");
        again["created"] = json!(days_ago(1).timestamp());
        app.deliver_all([&again]).await;
        assert_now(&app, "mem_often", "past_due", None).await;
    }
}

#[tokio::test]
async fn the_length_of_grace_is_the_catalogues() {
    let home = Home::new(Store::Sqlite).await.with_catalog(&CATALOG.replace("\"14d\"", "\"36h\""));
    let app = home.serve().await;
    let (member, story, failed_at) = owes(&app, "short", 1, &[]).await;
    app.deliver_all(&events(story)).await;
    assert_now(&app, &member, "grace", Some(failed_at + TimeDelta::hours(36))).await;
    let (member, story, _) = owes(&app, "over", 2, &[1]).await;
    app.deliver_all(&events(story)).await;
    assert_now(&app, &member, "past_due", None).await;
}
