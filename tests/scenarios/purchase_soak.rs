//! Many purchases with webhooks that are late, lost, doubled and shuffled: who comes back from paying is never told no.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::app::Store;
use tests::on_every_store;
use tests::shop::{CARD, Shop};
use tests::stripe::{BASIC, Dice};
use tokio::task::JoinSet;

/// Longer than anything takes that works.
const HANG: Duration = Duration::from_mins(2);
/// Who buys at the same time.
const AT_ONCE: usize = 4;

/// What somebody comes back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// Her session; then she goes on with the position she was answered with.
    Session,
    /// Her session, with which she goes straight to the video.
    SessionAlone,
    /// Nothing, as where there is no such thing.
    Nothing,
}

#[derive(Debug, Default)]
struct Figures {
    purchases: usize,
    /// Denials after the return.
    stale: Vec<Value>,
    /// Returns that were to be asked again.
    asked_again: usize,
    /// What coming back added.
    waits: Vec<Duration>,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.purchases += other.purchases;
        self.stale.extend(other.stale);
        self.asked_again += other.asked_again;
        self.waits.extend(other.waits);
    }

    fn wait(&mut self, share: f64) -> Duration {
        self.waits.sort_unstable();
        let last = self.waits.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a place in a short list")]
        self.waits.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// One purchase, from the button to the video.
async fn purchase(shop: &Shop, member: &str, plan: &str, how: Brings) -> Figures {
    let mut figures = Figures { purchases: 1, ..Figures::default() };
    shop.register(member).await;
    let checkout = shop.checkout(member, plan).await;
    shop.pay(&checkout, CARD).await;
    let began = Instant::now();
    let decision = match how {
        Brings::Session => {
            let position = come_back(shop, member, &checkout, &mut figures).await;
            figures.waits.push(began.elapsed());
            shop.check(member, BASIC, &position).await
        }
        Brings::SessionAlone => {
            let decision = check_with_the_session(shop, member, &checkout, &mut figures).await;
            figures.waits.push(began.elapsed());
            decision
        }
        Brings::Nothing => shop.check(member, BASIC, "").await,
    };
    figures.stale.extend((decision["allowed"] != true).then_some(decision));
    figures
}

/// Comes back until it is known; the position she goes on with.
async fn come_back(shop: &Shop, member: &str, checkout: &Value, figures: &mut Figures) -> String {
    let began = Instant::now();
    loop {
        let reply = shop.come_back(member, checkout).await;
        if reply.status == StatusCode::OK {
            assert_eq!(reply.body["state"], "unlocked", "{reply:?}");
            return reply.header("membership-position").expect("answers have a position").to_owned();
        }
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        assert!(began.elapsed() < HANG, "{reply:?}");
        figures.asked_again += 1;
    }
}

/// Asks for the video until the payment is not under way any more; the decision.
async fn check_with_the_session(shop: &Shop, member: &str, checkout: &Value, figures: &mut Figures) -> Value {
    let video = format!("{BASIC}?session_id={}", checkout["session"].as_str().expect("it has an id"));
    let began = Instant::now();
    loop {
        let decision = shop.check(member, &video, "").await;
        if decision["reason"] != "payment_pending" {
            return decision;
        }
        assert!(began.elapsed() < HANG, "{decision}");
        figures.asked_again += 1;
    }
}

/// What becomes of the webhooks of the next purchases.
fn disorder(dice: &mut Dice) -> Value {
    let seed = dice.below(1_000_000);
    match dice.below(4) {
        0 => json!({ "drop": 1.0, "seed": seed }),
        1 => json!({ "delay": "1h", "shuffle": true, "seed": seed }),
        2 => json!({ "drop": 0.5, "duplicate": 0.5, "shuffle": true, "delay": "2s", "seed": seed }),
        _ => json!({ "duplicate": 0.2, "shuffle": true, "seed": seed }),
    }
}

/// So many purchases, a few at a time; then all that was held back is delivered, and everybody is asked about again.
async fn buy_many(store: Store, count: usize, seed: u64, how: Brings) -> Figures {
    let (shop, mut dice, mut figures) =
        (Arc::new(Shop::on(store).await), Dice::new(seed), Figures::default());
    let mut bought = Vec::new();
    for batch in 0..count.div_ceil(AT_ONCE) {
        let faults = match how {
            Brings::Nothing => json!({ "delay": "1h" }),
            _ => disorder(&mut dice),
        };
        shop.steer("faults", &faults).await;
        let mut buying = JoinSet::new();
        for number in 0..AT_ONCE.min(count - batch * AT_ONCE) {
            let (shop, member) = (shop.clone(), format!("mem_buyer_{batch}_{number}"));
            let plan = ["basic", "pro"][dice.below(2)];
            bought.push(member.clone());
            let how = match how {
                Brings::Session if number % 2 == 1 => Brings::SessionAlone,
                how => how,
            };
            buying.spawn(async move { purchase(&shop, &member, plan, how).await });
        }
        while let Some(done) = buying.join_next().await {
            figures.add(done.expect("a purchase goes through"));
        }
        // What was held back of earlier ones comes among those of later ones.
        if dice.below(3) == 0 {
            shop.steer("flush", &json!({})).await;
        }
    }
    shop.steer("faults", &json!({})).await;
    let flushed = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.steer("flush", &json!({})).await })
    };
    loop {
        let over = flushed.is_finished();
        for member in &bought {
            let decision = shop.check(member, BASIC, "").await;
            if how != Brings::Nothing && decision["allowed"] != true {
                figures.stale.push(decision);
            }
        }
        if over {
            flushed.await.expect("they are delivered");
            return figures;
        }
    }
}

on_every_store! {
    async fn who_comes_back_from_paying_is_never_told_no_whatever_becomes_of_webhooks(store: Store) {
        let figures = buy_many(store, 40, 11, Brings::Session).await;
        assert_eq!((figures.purchases, figures.stale.as_slice()), (40, [].as_slice()));
    }
}

/// Why the test above can find a stale no.
#[tokio::test]
async fn without_the_session_that_she_comes_back_with_a_stale_no_is_found() {
    let figures = buy_many(Store::Sqlite, 4, 11, Brings::Nothing).await;
    assert_eq!(
        (figures.purchases, figures.stale.len()),
        (4, 4),
        "nothing was stale, so the other test proves nothing"
    );
}

mod long {
    use super::*;

    async fn a_thousand(store: Store) {
        let mut figures = buy_many(store, 1_000, 12, Brings::Session).await;
        let [half, most, nearly_all, all] = [0.5, 0.95, 0.99, 1.0].map(|share| figures.wait(share));
        eprintln!(
            "{store:?}: {} purchases, {} stale denials after the return, {} returns asked again; added wait: median {half:?}, \
             p95 {most:?}, p99 {nearly_all:?}, longest {all:?}",
            figures.purchases,
            figures.stale.len(),
            figures.asked_again,
        );
        assert_eq!(figures.stale, Vec::<Value>::new());
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn a_thousand_purchases_on_sqlite() {
        a_thousand(Store::Sqlite).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn a_thousand_purchases_on_postgres() {
        a_thousand(Store::Postgres).await;
    }
}
