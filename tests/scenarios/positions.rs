//! A decision says how much of the log it knows of, and with that it is explained as it was given, also one that was given
//! in the middle of a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::Value;
use tests::app::TestApp;
use tests::on_every_store;
use tests::stripe::{ADVANCED, Price, Story, days_ago, events};
use tokio::task::JoinSet;

const MEMBER: &str = "mem_ada";
const CHANGES: i64 = 60;
const ASKING: usize = 4;

on_every_store! {
    async fn a_decision_amid_changes_is_explained_by_its_position_as_it_was_given(store: Store) {
        let app = TestApp::on(store).await;
        app.register(MEMBER).await;
        let mut story = Story::new("ada");
        let begins = days_ago(30);
        story.create(Price::BasicMonth, "active", begins).checkout(MEMBER, begins);
        for change in 0..CHANGES {
            let price = if change % 2 == 0 { Price::ProMonth } else { Price::BasicMonth };
            story.change_plan(price, begins + TimeDelta::minutes(change + 1));
        }
        let mut told = events(story);
        let rest = told.split_off(2);
        app.deliver_all(&told).await;

        let app = Arc::new(app);
        let changing = tokio::spawn({
            let app = app.clone();
            async move {
                for event in &rest {
                    app.deliver(event).await;
                }
                app.settled().await;
            }
        });
        let mut asking = JoinSet::new();
        let over = changing.abort_handle();
        for _ in 0..ASKING {
            let (app, over) = (app.clone(), over.clone());
            asking.spawn(async move {
                let mut given = Vec::new();
                while !over.is_finished() {
                    given.push(app.check(MEMBER, ADVANCED).await);
                }
                given
            });
        }
        changing.await.expect("all changes are told");
        // One of those that say the same at the same position is enough.
        let mut given: BTreeMap<String, Value> = BTreeMap::new();
        for decision in asking.join_all().await.into_iter().flatten() {
            given.insert(format!("{} {}", decision["position"], decision["reason"]), decision);
        }
        let mut otherwise = Vec::new();
        for given in given.values() {
            let mut told = explained(&app, given).await;
            told.as_object_mut().expect("a decision").remove("deciding_events");
            if told != *given {
                otherwise.push(format!("{given}\n    {told}"));
            }
        }
        let asked = given.len();
        assert!(asked > 10, "{asked} decisions are too few to tell");
        assert!(otherwise.is_empty(), "{} of {asked} decisions: {}", otherwise.len(), otherwise.join("\n"));
    }
}

async fn explained(app: &TestApp, given: &Value) -> Value {
    let bound = |field: &str| given[field].as_str().unwrap_or_default().to_owned();
    let (at, position) = (bound("at"), bound("position"));
    let path = format!("/v1/support/members/{MEMBER}/explain?video={ADVANCED}&at={at}&position={position}");
    let mut reply = app.get(&path).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body["decision"].take()
}
