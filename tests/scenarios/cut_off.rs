//! Wishes of members whose asking was cut off by a kill: Stripe is asked how they ended, and nothing is done that nobody confirmed.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp, answer};
use tests::browser::{Browser, signed_up};
use tests::on_every_store;
use tests::shop::{Beside, CARD, silent_stripe};

const HANG: Duration = Duration::from_mins(1);
/// Where the program is killed: before Stripe is asked, and after it has answered.
const PLACES: [&str; 2] = ["asking::asked", "asking::answered"];

/// The places that only these scenarios kill at.
pub(crate) fn places() -> impl Iterator<Item = &'static str> {
    PLACES.into_iter()
}

/// A member who has bought basic, in a home whose Stripe tells nothing by itself.
struct Buyer {
    home: Home,
    stripe: String,
    _beside: Beside,
    browser: Browser,
    member: String,
}

async fn buyer(store: Store) -> (TestApp, Buyer) {
    let (stripe, beside) = silent_stripe();
    let home = Home::new(store).await.with_accounts().with("STRIPE_SECRET_KEY", "sk_test_shop");
    let home =
        home.with("STRIPE_API_BASE", &stripe).with("BACKFILL_EVERY", "off").with("RECONCILE_EVERY", "off");
    let app = home.serve().await;
    let (mut browser, member) = signed_up(&app, "ada@example.com").await;
    let checkout = browser.post("/v1/me/checkout", &json!({ "plan": "basic" })).await.body;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let page = checkout["url"].as_str().unwrap_or_else(|| panic!("{checkout}"));
    let form = format!("email=ada%40example.com&number={CARD}");
    client.post(page).body(form).send().await.expect("the simulator answers");
    let (begun, session) = (Instant::now(), json!({ "session": checkout["session"] }));
    let mut back = browser.post("/v1/me/checkout/return", &session).await;
    while back.status == 202 {
        assert!(begun.elapsed() < HANG, "{back:?}");
        back = browser.post("/v1/me/checkout/return", &session).await;
    }
    assert_eq!(back.body["state"], "unlocked", "{back:?}");
    (app, Buyer { home, stripe, _beside: beside, browser, member })
}

impl Buyer {
    /// Asks for something of a program that is killed at a place.
    async fn asks_and_is_cut_off(&mut self, place: &str, what: &str, body: &Value) {
        let mut app = self.home.clone().with("FAILPOINTS", &format!("{place}=panic")).serve().await;
        self.browser = self.browser.clone().asking(&app);
        let asked = self.browser.request(Method::POST, &format!("/v1/me/membership/{what}")).json(body);
        assert!(asked.send().await.is_err(), "{place}: it ends before it answers");
        app.ended().await;
    }

    /// Her subscription at Stripe.
    async fn at_stripe(&self) -> Value {
        let request =
            Client::new().get(format!("{}/v1/subscriptions", self.stripe)).bearer_auth("sk_test_shop");
        answer(request).await.body["data"][0].clone()
    }

    /// As if her wish had been begun long ago.
    async fn time_passes(&self) {
        let long_ago = format!(
            "UPDATE notes SET text = '2026-01-01T00:00:00Z {}' WHERE name LIKE 'wish:%'",
            self.member
        );
        self.home.sql(&long_ago).await;
    }

    async fn told(&self, event: &str) -> i64 {
        self.home.count(&format!("events WHERE event_type = '{event}'")).await
    }

    async fn is_told(&self, event: &str, times: i64) {
        let begun = Instant::now();
        while self.told(event).await < times {
            assert!(begun.elapsed() < HANG, "{event} is never told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.told(event).await, times, "{event}");
    }
}

on_every_store! {
    async fn a_wish_that_stripe_never_heard_of_is_told_as_not_carried_out_and_never_done(store: Store) {
        let (app, mut buyer) = buyer(store).await;
        drop(app);
        let before = buyer.at_stripe().await;
        for (nth, (what, body)) in (1..).zip([("cancel", json!({})), ("plan", json!({ "plan": "pro" }))]) {
            buyer.asks_and_is_cut_off("asking::asked", what, &body).await;
            let answers = ["RequestConfirmed", "RequestRefused", "RequestUnanswered"];
            for answer in answers {
                assert_eq!(buyer.told(answer).await, 0, "nobody heard how it ended");
            }
            buyer.time_passes().await;
            let app = buyer.home.serve().await;
            buyer.is_told("RequestNotCarriedOut", nth).await;
            assert_eq!(buyer.told("RequestConfirmed").await, 0);
            drop(app);
        }
        let after = buyer.at_stripe().await;
        for field in ["cancel_at_period_end", "items", "status"] {
            assert_eq!(before[field], after[field], "nothing is done that nobody confirmed");
        }
        assert_eq!(buyer.home.count("notes WHERE name LIKE 'wish:%'").await, 0);
        let app = buyer.home.serve().await;
        let again = buyer.browser.clone().asking(&app).post("/v1/me/membership/cancel", &json!({})).await;
        assert!(again.body["ends_at"].is_string(), "she may ask again: {again:?}");
    }

    async fn a_wish_that_stripe_carried_out_is_told_as_done_and_done_once(store: Store) {
        let (app, mut buyer) = buyer(store).await;
        drop(app);
        let steps = [
            ("plan", json!({ "plan": "pro" })), ("cancel", json!({})), ("resume", json!({})), ("cancel", json!({ "when": "now" })),
        ];
        for (nth, (what, body)) in (1..).zip(steps) {
            buyer.asks_and_is_cut_off("asking::answered", what, &body).await;
            let done = buyer.at_stripe().await;
            buyer.time_passes().await;
            let app = buyer.home.serve().await;
            buyer.is_told("RequestConfirmed", nth).await;
            assert_eq!(buyer.at_stripe().await, done, "{what} is not done again");
            drop(app);
        }
        assert_eq!(buyer.told("RequestNotCarriedOut").await, 0);
        assert_eq!(buyer.told("SubscriptionEnded").await, 1, "what was done is in the log too");
    }
}

#[tokio::test]
async fn a_wish_that_was_begun_just_now_is_left_to_whoever_is_at_it() {
    let (app, mut buyer) = buyer(Store::Sqlite).await;
    drop(app);
    buyer.asks_and_is_cut_off("asking::asked", "cancel", &json!({})).await;
    let app = buyer.home.serve().await;
    // Another wish, which waits longer: once that is told, this one has been passed by.
    buyer
        .home
        .sql(&format!("INSERT INTO notes VALUES ('wish:zzz', '2026-01-01T00:00:00Z {}')", buyer.member))
        .await;
    drop(app);
    let app = buyer.home.serve().await;
    let begun = Instant::now();
    while buyer.home.count("notes WHERE name = 'wish:zzz'").await > 0 {
        assert!(begun.elapsed() < HANG, "wishes are not looked at");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(buyer.told("RequestNotCarriedOut").await, 0);
    assert_eq!(buyer.home.count("notes WHERE name LIKE 'wish:%'").await, 1);
    drop(app);
}
