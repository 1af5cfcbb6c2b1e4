//! The power goes: what was acknowledged is there, and gets its outcome.

use serde_json::Value;
use tests::app::Home;
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Dice, Price, Story, bought, days_ago, events};

const SEED: u64 = 7;
const BUYERS: usize = 12;

/// Who buys what; every third one upgrades, every fourth one ends it.
fn burst(round: usize, buyer: usize, member: &str) -> (Vec<Value>, &'static str, &'static str) {
    let mut story = Story::new(&format!("crash{round}x{buyer}"));
    bought(&mut story, member, Price::BasicMonth, days_ago(20));
    let mut reasons = ("subscription", "plan_too_low");
    if buyer.is_multiple_of(3) {
        story.change_plan(Price::ProMonth, days_ago(10));
        reasons.1 = "subscription";
    }
    if buyer.is_multiple_of(4) {
        story.end(days_ago(5));
        reasons = ("ended", "ended");
    }
    (events(story), reasons.0, reasons.1)
}

on_every_store! {
    async fn what_was_acknowledged_before_the_process_was_killed_is_there_and_carried_out(store: Store) {
        let home = Home::new(store).await;
        let mut dice = Dice::new(SEED);
        for round in 0..2 {
            let mut app = home.serve().await;
            let (mut bodies, mut expected) = (Vec::new(), Vec::new());
            for buyer in 0..BUYERS {
                let member = format!("mem_{round}_{buyer}");
                app.register(&member).await;
                let (events, basic, advanced) = burst(round, buyer, &member);
                bodies.extend(events);
                expected.push((member, basic, advanced));
            }
            dice.shuffle(&mut bodies);
            // The last ones are on their way when it happens: they may be lost, since nobody said they were kept.
            let (first, rest) = bodies.split_at(bodies.len() - 5);
            for event in first {
                app.deliver(event).await;
            }
            let on_their_way = rest.iter().map(Value::to_string);
            let sending: Vec<_> = on_their_way
                .map(|body| {
                    let request = app.signed(body);
                    tokio::spawn(async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) })
                })
                .collect();
            tokio::task::yield_now().await;
            assert_eq!(app.stop("KILL"), None, "it was not killed");
            let mut kept: Vec<&Value> = first.iter().collect();
            for (event, sent) in rest.iter().zip(sending) {
                if sent.await.is_ok_and(|acknowledged| acknowledged) {
                    kept.push(event);
                }
            }

            let app = home.serve().await;
            app.settled().await;
            let deliveries = app.deliveries("").await;
            for event in &kept {
                let found = deliveries.iter().find(|delivery| delivery["id"] == event["id"]);
                let outcome = found.map(|delivery| delivery["outcome"].as_str().unwrap_or_default());
                let settled = outcome.is_some_and(|outcome| !["pending", "failed"].contains(&outcome));
                assert!(settled, "seed {SEED}, round {round}: {} is {outcome:?}", event["id"]);
            }
            // As Stripe does with what was not acknowledged.
            app.deliver_all(rest).await;
            for outcome in ["parked", "failed"] {
                assert_eq!(app.deliveries(outcome).await, [Value::Null; 0], "seed {SEED}, round {round}: {outcome}");
            }
            for (member, basic, advanced) in expected {
                assert_eq!(app.check(&member, BASIC).await["reason"], basic, "{member}, round {round}");
                assert_eq!(app.check(&member, ADVANCED).await["reason"], advanced, "{member}, round {round}");
            }
            home.done(&["replay", "--verify"]);
        }
    }
}
