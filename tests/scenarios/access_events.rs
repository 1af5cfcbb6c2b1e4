//! A member hears of changes of her access as they happen, and misses none.

use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tests::app::{Home, Store};
use tests::browser::signed_up;
use tests::on_every_store;
use tests::shop::{CARD, Shop, silent_stripe};
use tests::stripe::{ADVANCED, BASIC};
use tokio::time::timeout;

const ADA: &str = "mem_ada";
const EVENTS: &str = "/v1/me/events";
/// Longer than anything takes that works.
const HANG: Duration = Duration::from_mins(1);

/// A stream that is listened to.
struct Listening {
    response: Response,
    heard: String,
}

/// One event.
#[derive(Debug)]
struct Heard {
    kind: String,
    id: String,
    data: Value,
}

impl Heard {
    fn reason(&self, video: &str) -> &str {
        let decisions = self.data["decisions"].as_array().unwrap();
        let decision = decisions.iter().find(|decision| decision["video"] == video);
        decision.map_or("not told", |decision| decision["reason"].as_str().unwrap())
    }
}

impl Listening {
    async fn to(shop: &Shop, member: &str, last: Option<&str>) -> Self {
        let mut request = shop.request(member, Method::GET, EVENTS);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::of(request.send().await.unwrap())
    }

    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, heard: String::new() }
    }

    /// The next event; nothing at the end of the stream.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((event, rest)) = self.heard.clone().split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
                };
                let heard = (field("event: "), field("id: "), field("data: "));
                rest.clone_into(&mut self.heard);
                if let (kind, id, data) = heard
                    && !kind.is_empty()
                {
                    return Some(Heard { kind, id, data: serde_json::from_str(&data).unwrap() });
                }
                continue;
            }
            let more = timeout(HANG, self.response.chunk()).await.expect("it is alive").unwrap()?;
            self.heard.push_str(std::str::from_utf8(&more).unwrap());
        }
    }
}

on_every_store! {
    async fn a_purchase_is_told_to_who_listens_and_to_who_comes_back(store: Store) {
        let shop = Shop::on(store).await;
        for member in [ADA, "mem_eve"] {
            shop.register(member).await;
        }
        let mut listening = Listening::to(&shop, ADA, None).await;
        let first = listening.next().await.unwrap();
        assert_eq!((first.kind.as_str(), first.reason(ADVANCED)), ("access_state", "no_membership"));
        assert!(first.data["decisions"].as_array().unwrap().iter().all(|decision| decision.get("playback").is_none()));

        // What happens to others is not hers to hear: the next event is about her, and later than theirs.
        let others = shop.buy("mem_eve", "pro").await;
        shop.buy(ADA, "basic").await;
        let mut changed = listening.next().await.unwrap();
        // That it waited for its first payment is told where somebody looked in that moment.
        while changed.reason(BASIC) == "payment_pending" {
            changed = listening.next().await.unwrap();
        }
        assert_eq!((changed.kind.as_str(), changed.reason(BASIC)), ("access_changed", "subscription"), "{changed:?}");
        assert_eq!(changed.data["member"], ADA);
        assert!(place(&changed.id) > place(&others), "{changed:?}");

        // A change that nobody listened to is in the state that the next stream begins with.
        drop(listening);
        let (_, position) = shop.done_at(ADA, "/v1/me/membership/plan", &json!({ "plan": "pro" })).await;
        let mut again = Listening::to(&shop, ADA, Some(&position)).await;
        let state = again.next().await.unwrap();
        assert_eq!((state.kind.as_str(), state.reason(ADVANCED)), ("access_state", "subscription"), "{state:?}");
        assert!(place(&state.id) >= place(&position));
        shop.done(ADA, "/v1/me/membership/cancel", &json!({ "when": "now" })).await;
        let ended = again.next().await.unwrap();
        assert_eq!((ended.kind.as_str(), ended.reason(ADVANCED)), ("access_changed", "ended"), "{ended:?}");

        // The service stops, though somebody listens; her stream ends, and is not cut off.
        let (_, over) = tokio::join!(shop.end(), again.next());
        assert!(over.is_none(), "{over:?}");
    }
}

fn place(position: &str) -> u64 {
    u64::from_str_radix(position.trim_start_matches("p-"), 16).unwrap()
}

#[tokio::test]
async fn an_id_that_no_stream_gave_out_and_more_streams_than_one_needs_are_refused() {
    let shop = Shop::on(Store::Sqlite).await;
    shop.register(ADA).await;
    let bad =
        shop.request(ADA, Method::GET, EVENTS).header("last-event-id", "yesterday").send().await.unwrap();
    assert_eq!(
        (bad.status().as_u16(), &bad.json::<Value>().await.unwrap()["code"]),
        (400, &json!("bad_event_id"))
    );
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Listening::to(&shop, ADA, None).await);
    }
    let ninth = shop.get(ADA, EVENTS).await;
    assert_eq!((ninth.status.as_u16(), &ninth.body["code"]), (429, &json!("too_many_streams")));
    shop.register("mem_eve").await;
    assert!(Listening::to(&shop, "mem_eve", None).await.next().await.is_some(), "others have room");
    drop(open);
    // The service notices at the latest when it next looks whether to say something.
    let begun = Instant::now();
    while shop.request(ADA, Method::GET, EVENTS).send().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < HANG, "places are not given back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A browser does not come again after a refusal, so one that has heard more elsewhere is let in, and waits.
#[tokio::test]
async fn a_node_that_is_behind_begins_a_stream_with_nothing_older_than_was_heard() {
    let shop = Shop::on(Store::Sqlite).await;
    shop.register(ADA).await;
    let first = Listening::to(&shop, ADA, None).await.next().await.unwrap();
    let ahead = place(&first.id) + 3;
    let mut waiting = Listening::to(&shop, ADA, Some(&format!("p-{ahead:x}"))).await;
    for number in 0..3 {
        shop.register(&format!("mem_other{number}")).await;
    }
    let begins = waiting.next().await.unwrap();
    assert_eq!(begins.kind, "access_state");
    assert!(place(&begins.id) >= ahead, "{begins:?}");
}

/// The whole way of a learner through the program as it is shipped, with the cookies of her browser; no webhook comes.
#[tokio::test]
async fn who_signs_up_buys_and_watches_and_hears_nothing_more_once_she_has_signed_out() {
    let (stripe, _beside) = silent_stripe();
    let home = Home::new(Store::Sqlite).await.with_accounts().with("STRIPE_SECRET_KEY", "sk_test_shop");
    let home =
        home.with("STRIPE_API_BASE", &stripe).with("BACKFILL_EVERY", "off").with("RECONCILE_EVERY", "off");
    let app = home.serve().await;
    let (mut ada, member) = signed_up(&app, "ada@example.com").await;
    let me = ada.get("/v1/me").await.body;
    assert_eq!(
        (&me["member"]["id"], &me["member"]["email"]),
        (&json!(member), &json!("ada@example.com")),
        "{me}"
    );

    let wanted = json!({ "plan": "pro" });
    let elsewhere =
        ada.clone().saying("origin", "https://elsewhere.test").saying("sec-fetch-site", "cross-site");
    let foreign = { elsewhere }.post("/v1/me/checkout", &wanted).await;
    assert_eq!(
        (foreign.status.as_u16(), &foreign.body["code"]),
        (403, &json!("foreign_origin")),
        "{foreign:?}"
    );
    let checkout = ada.post("/v1/me/checkout", &wanted).await.body;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let page = checkout["url"].as_str().unwrap_or_else(|| panic!("{checkout}"));
    let paid = client.post(page).body(format!("email=ada%40example.com&number={CARD}")).send().await.unwrap();
    let back = format!("{}/learn/membership?session_id=", app.url);
    assert!(paid.headers()["location"].to_str().unwrap().starts_with(&back), "{paid:?}");
    let path =
        format!("/v1/me/access/videos/{ADVANCED}?session_id={}", checkout["session"].as_str().unwrap());
    let (begun, mut decision) = (Instant::now(), ada.get(&path).await.body);
    while decision["reason"] == "payment_pending" {
        assert!(begun.elapsed() < HANG, "{decision}");
        decision = ada.get(&path).await.body;
    }
    assert_eq!(decision["reason"], "subscription", "{decision}");
    assert!(ada.get(&format!("/v1/videos/{ADVANCED}")).await.body.get("playback").is_some());

    let cookie = format!("access={}", ada.cookie("access").unwrap());
    let request = client.get(format!("{}{EVENTS}", app.url)).header("cookie", cookie);
    let mut listening = Listening::of(request.send().await.unwrap());
    assert_eq!(listening.next().await.unwrap().reason(ADVANCED), "subscription");
    ada.post("/v1/auth/logout", &json!({})).await;
    assert!(listening.next().await.is_none(), "she is told nothing more");
}
