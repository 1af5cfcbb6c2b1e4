//! The order in which deliveries arrive does not matter: every order ends in one history.

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::app::{Home, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Dice, Price, Story, days_ago, events, now, rfc3339};

const SEED: u64 = 20_261_122;
const ORDERS: usize = 20;

/// The moments at which something happens to her.
struct Times {
    begins: DateTime<Utc>,
    pays: DateTime<Utc>,
    wavers: DateTime<Utc>,
    upgrades: DateTime<Utc>,
    renews: DateTime<Utc>,
    fails: DateTime<Utc>,
    fails_again: DateTime<Utc>,
    grace_ends: DateTime<Utc>,
    recovers: DateTime<Utc>,
    cancels: DateTime<Utc>,
    is_to_end: DateTime<Utc>,
    ends: DateTime<Utc>,
}

impl Times {
    fn new() -> Self {
        let begins = days_ago(120);
        let pays = begins + TimeDelta::days(14);
        let renews = pays + Months::new(1);
        let fails = renews + TimeDelta::hours(1);
        let is_to_end = renews + Months::new(1);
        Self {
            begins,
            pays,
            wavers: begins + TimeDelta::days(17),
            upgrades: begins + TimeDelta::days(20),
            renews,
            fails,
            fails_again: renews + TimeDelta::days(3),
            grace_ends: fails + TimeDelta::days(14),
            recovers: renews + TimeDelta::days(16),
            cancels: renews + TimeDelta::days(18),
            is_to_end,
            ends: is_to_end + TimeDelta::hours(2),
        }
    }

    /// Trial, paid, up and down in one second, upgrade, renewal failed twice, recovered.
    fn recovered(&self, name: &str, member: &str) -> Story {
        let mut story = Story::new(name);
        story.create(Price::BasicMonth, "trialing", self.begins).checkout(member, self.begins);
        story.renew(self.pays);
        story.change_plan(Price::ProMonth, self.wavers).change_plan(Price::BasicMonth, self.wavers);
        story.change_plan(Price::ProMonth, self.upgrades);
        story.renewal_fails(self.renews).payment_fails(2, self.fails_again);
        story.paid(self.recovers).status("active", self.recovers);
        story
    }

    /// And then: an end is scheduled, and comes.
    fn whole(&self, name: &str, member: &str) -> Story {
        let mut story = self.recovered(name, member);
        story.cancel_at_period_end(self.cancels).end(self.ends);
        story
    }

    /// What is true at which moment, of the advanced and of the basic video, written down without asking the program.
    fn expectations(&self) -> Vec<(DateTime<Utc>, Told, Told)> {
        let second = TimeDelta::seconds(1);
        let minute = TimeDelta::minutes(1);
        let no = |reason, plan: &'static str| Told { allowed: false, reason, plan: Some(plan), until: None };
        let yes = |reason, plan: &'static str, until| Told { allowed: true, reason, plan: Some(plan), until };
        let nothing = Told { allowed: false, reason: "no_membership", plan: None, until: None };
        let trial = yes("trial", "basic", Some(self.pays));
        let too_low = no("plan_too_low", "basic");
        let basic = yes("subscription", "basic", None);
        let pro = yes("subscription", "pro", None);
        let grace = yes("grace", "pro", Some(self.grace_ends));
        let due = no("past_due", "pro");
        let leaving = yes("cancels_later", "pro", Some(self.is_to_end));
        let over = no("ended", "pro");
        vec![
            (self.begins - minute, nothing, nothing),
            (self.begins - second, nothing, nothing),
            (self.begins, too_low, trial),
            (self.begins + TimeDelta::days(7), too_low, trial),
            (self.pays - second, too_low, trial),
            (self.pays, too_low, basic),
            (self.wavers - second, too_low, basic),
            (self.wavers, too_low, basic),
            (self.upgrades - second, too_low, basic),
            (self.upgrades, pro, pro),
            (self.renews - second, pro, pro),
            (self.renews, pro, pro),
            (self.fails - second, pro, pro),
            (self.fails, grace, grace),
            (self.fails_again - second, grace, grace),
            (self.fails_again + second, grace, grace),
            (self.grace_ends - second, grace, grace),
            (self.grace_ends, due, due),
            (self.recovers - second, due, due),
            (self.recovers, pro, pro),
            (self.cancels - second, pro, pro),
            (self.cancels, leaving, leaving),
            (self.is_to_end - second, leaving, leaving),
            (self.is_to_end, over, over),
            (self.ends - second, over, over),
            (self.ends, over, over),
            (now(), over, over),
        ]
    }
}

#[derive(Clone, Copy)]
struct Told {
    allowed: bool,
    reason: &'static str,
    plan: Option<&'static str>,
    until: Option<DateTime<Utc>>,
}

impl Told {
    fn assert(self, decision: &Value, case: &str) {
        let told = json!({
            "allowed": decision["allowed"], "reason": decision["reason"], "plan": decision["plan"],
            "until": decision["until"],
        });
        let expected = json!({
            "allowed": self.allowed, "reason": self.reason, "plan": self.plan, "until": self.until.map(rfc3339),
        });
        assert_eq!(told, expected, "{case}: {decision}");
    }
}

/// Events whose ids tell nothing about their order, in an order of arrival with some of them twice.
fn arrivals(story: Story, name: &str, dice: &mut Dice) -> Vec<Value> {
    let mut events = events(story);
    let mut numbers: Vec<usize> = (0..events.len()).collect();
    dice.shuffle(&mut numbers);
    for (event, number) in events.iter_mut().zip(numbers) {
        event["id"] = json!(format!("evt_{name}_{number:02}"));
    }
    dice.shuffle(&mut events);
    for _ in 0..dice.below(5) {
        let copy = events[dice.below(events.len())].clone();
        events.insert(dice.below(events.len() + 1), copy);
    }
    events
}

async fn assert_history(app: &TestApp, member: &str, times: &Times, case: &str) {
    for (at, advanced, basic) in times.expectations() {
        for (video, told) in [(ADVANCED, advanced), (BASIC, basic)] {
            let path = format!("/v1/support/members/{member}/explain?video={video}&at={}", rfc3339(at));
            told.assert(&app.get(&path).await.body["decision"], &format!("{case}, {video} at {at}"));
        }
    }
}

on_every_store! {
    async fn every_order_of_arrival_ends_in_one_history(store: Store) {
        let times = Times::new();
        let app = TestApp::on(store).await;
        let mut dice = Dice::new(SEED);
        let mut orders = Vec::new();
        for number in 0..ORDERS {
            let (member, name) = (format!("mem_order_{number}"), format!("order{number}"));
            app.register(&member).await;
            let arrivals = arrivals(times.whole(&name, &member), &name, &mut dice);
            assert!(arrivals.len() >= 9);
            for event in &arrivals {
                app.deliver(event).await;
                // Sometimes one by one, sometimes many at once.
                if dice.below(3) == 0 {
                    app.settled().await;
                }
            }
            let ids: Vec<_> = arrivals.iter().map(|event| format!("{} {}", event["type"], event["created"])).collect();
            orders.push((member, ids.join(", ")));
        }
        app.settled().await;
        let listed = app.deliveries("").await;
        let mut ids: Vec<_> = listed.iter().filter_map(|delivery| delivery["id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let count = events(times.whole("all", "mem_all")).len() * ORDERS;
        assert_eq!((ids.len(), listed.len()), (count, count), "the pages do not hold every delivery once");
        for outcome in ["parked", "failed"] {
            assert_eq!(app.deliveries(outcome).await.len(), 0, "{outcome}, seed {SEED}");
        }
        for (member, order) in &orders {
            assert_history(&app, member, &times, &format!("seed {SEED}, {member}: {order}")).await;
        }
        let (member, order) = &orders[0];
        for (at, advanced, _) in times.expectations() {
            let decision = &app.home.explain_at(member, ADVANCED, at)["decision"];
            advanced.assert(decision, &format!("command line, {order}, at {at}"));
        }
        let verified = app.home.done(&["replay", "--verify", "--json"]).json();
        assert_eq!(verified["equal"], true, "{verified}");
    }

    async fn files_in_any_order_end_in_the_same_history_as_webhooks(store: Store) {
        let times = Times::new();
        let home = Home::new(store).await;
        home.done(&["catalog", "apply", "catalog.toml"]);
        home.done(&["member", "create", "--id", "mem_files"]);
        let mut dice = Dice::new(SEED + 1);
        let arrivals = arrivals(times.whole("files", "mem_files"), "files", &mut dice);
        let mut arguments = vec!["ingest".to_owned(), "--unsigned".to_owned(), "--given-order".to_owned()];
        for (number, event) in arrivals.iter().enumerate() {
            arguments.push(home.write(&format!("{number:02}.json"), &event.to_string()).display().to_string());
        }
        let told = home.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(told.out.lines().count(), arrivals.len(), "{}", told.out);
        let app = home.serve().await;
        assert_history(&app, "mem_files", &times, &format!("seed {SEED} + 1: {}", told.out)).await;
        home.done(&["replay", "--verify"]);
    }

    async fn without_the_times_of_the_events_the_order_of_arrival_would_show(store: Store) {
        let times = Times::new();
        let app = TestApp::on(store).await;
        let mut dice = Dice::new(SEED + 2);
        let mut ends: Vec<[Vec<(Value, Value)>; 2]> = Vec::new();
        for number in 0..ORDERS {
            let mut end = [Vec::new(), Vec::new()];
            for (told, with_times) in [(0, true), (1, false)] {
                let (member, name) = (format!("mem_{told}_{number}"), format!("timed{told}x{number}"));
                app.register(&member).await;
                let mut arrivals = arrivals(times.recovered(&name, &member), &name, &mut dice);
                if !with_times {
                    let mut at = times.begins.timestamp();
                    for event in &mut arrivals {
                        at += 3600;
                        event["created"] = json!(at);
                    }
                }
                app.deliver_all(&arrivals).await;
                for video in [ADVANCED, BASIC] {
                    let decision = app.check(&member, video).await;
                    end[told].push((decision["reason"].clone(), decision["plan"].clone()));
                }
            }
            ends.push(end);
        }
        let truth = vec![(json!("subscription"), json!("pro")); 2];
        assert!(ends.iter().all(|[timed, _]| *timed == truth), "seed {SEED} + 2: {ends:?}");
        assert!(ends.iter().any(|[_, untimed]| *untimed != truth), "these orders prove nothing: {ends:?}");
    }
}
