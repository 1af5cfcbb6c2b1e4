//! The service beside a simulated Stripe: what it answers for any moment agrees with what was true at Stripe then.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use chrono::DateTime;
use reqwest::Client;
use serde_json::{Value, json};
use stripe_simulator::{DunningEnd, Faults, Seconds, Simulator};
use tests::app::{Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{BASIC, Dice, SECRETS, now};

const DAY: Seconds = 86_400;
/// What the scenarios' catalogue maps.
const PRODUCTS: &str = r#"[
    { "id": "prod_demo_basic", "name": "Basic", "prices": [{ "id": "price_demo_basic_month", "amount": 1700 }] },
    { "id": "prod_demo_pro", "name": "Pro", "prices": [{ "id": "price_demo_pro_month", "amount": 2500 }] }
]"#;
const PRICE: &str = "price_demo_basic_month";
const PRO: &str = "price_demo_pro_month";

/// A Stripe that stands so many days ago.
fn stripe(days_ago: Seconds, seed: u64) -> Simulator {
    let mut stripe = Simulator::empty(now().timestamp() - days_ago * DAY, seed, SECRETS[1]);
    stripe.sell(PRODUCTS).unwrap();
    stripe
}

/// Somebody buys; her subscription.
fn buys(stripe: &mut Simulator, member: &str, card: &str, trial_days: u32) -> String {
    let session = stripe.checkout(PRICE, member, trial_days).unwrap();
    if stripe.pay(&session, card).unwrap() {
        stripe.authenticate(&session, true).unwrap();
    }
    stripe.bought(&session).unwrap().1
}

/// Delivers everything, signed by the simulator itself.
async fn deliver(app: &TestApp, stripe: &mut Simulator) {
    for delivery in stripe.take_deliveries(now().timestamp()) {
        let reply = app.post_webhook(delivery.body.as_bytes(), &[&delivery.signature]).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", delivery.event);
    }
    app.settled().await;
}

/// The reasons that fit a status.
fn fitting(status: &str) -> &'static [&'static str] {
    match status {
        "trialing" => &["trial", "cancels_later"],
        "active" => &["subscription", "cancels_later"],
        "past_due" => &["grace", "past_due"],
        "unpaid" => &["unpaid"],
        "paused" => &["paused"],
        "incomplete" => &["payment_pending"],
        "canceled" => &["ended"],
        _ => &["ended", "payment_pending", "no_membership"],
    }
}

/// Where the two differ, for moments all along.
async fn difference(app: &TestApp, stripe: &Simulator, member: &str, subscription: &str) -> Option<String> {
    let first =
        (0..1_000).map(|day| stripe.now() - day * DAY).find(|at| stripe.truth(subscription, *at).is_none());
    let (mut at, mut compared) = (first.unwrap() + DAY + 7_000, 0);
    while at < stripe.now() {
        let truth = stripe.truth(subscription, at).unwrap();
        let decision = app.check_at(member, BASIC, DateTime::from_timestamp(at, 0).unwrap()).await;
        let reason = decision["reason"].as_str().unwrap();
        let plan = if truth.price == PRO { "pro" } else { "basic" };
        let same_plan = decision["allowed"] == false || decision["plan"] == plan;
        if !fitting(&truth.status).contains(&reason) || !same_plan {
            return Some(format!("{member} at {at}: {truth:?} and {decision}"));
        }
        at += 5 * DAY + 11_000;
        compared += 1;
    }
    assert!(compared > 10, "only {compared} moments");
    None
}

on_every_store! {
    async fn every_life_at_stripe_is_told_as_it_was_whatever_the_order_of_deliveries(store: Store) {
        let app = TestApp::on(store).await;
        let mut stripe = stripe(200, 5);
        stripe.set_faults(Faults { shuffle: true, duplicate: 0.2, seed: Some(1), ..Faults::default() });
        let cards = [
            ("good", "4242424242424242", 0),
            ("trial", "4242424242424242", 14),
            ("declined", "4000000000000341", 0),
            ("asked", "4000002500003155", 0),
            ("debit", "DE89370400440532013000", 0),
            ("leaves", "4242424242424242", 0),
            ("changes", "4242424242424242", 0),
        ];
        let mut bought = Vec::new();
        for (name, card, trial_days) in cards {
            let member = format!("mem_{name}");
            app.register(&member).await;
            let subscription = buys(&mut stripe, &member, card, trial_days);
            bought.push((member, subscription));
            stripe.advance(DAY / 3);
        }
        stripe.advance(40 * DAY);
        stripe.change_plan(&bought[6].1, PRO).unwrap();
        stripe.cancel_in_portal(&bought[5].1).unwrap();
        stripe.advance(60 * DAY);
        stripe.change_plan_at_period_end(&bought[6].1, PRICE).unwrap();
        stripe.advance_to(now().timestamp());
        deliver(&app, &mut stripe).await;
        for (member, subscription) in &bought {
            assert_eq!(difference(&app, &stripe, member, subscription).await, None);
        }
        // The comparison can fail: whoever pays is not told the story of the one whose card is declined.
        assert!(difference(&app, &stripe, &bought[0].0, &bought[2].1).await.is_some());
    }
}

/// One action by chance; what Stripe refuses changes nothing.
fn act(stripe: &mut Simulator, dice: &mut Dice, subscription: &str) {
    let held = stripe.call("GET", &format!("/v1/subscriptions/{subscription}"), "").unwrap();
    let (customer, invoice) =
        (held["customer"].as_str().unwrap().to_owned(), held["latest_invoice"].as_str().unwrap().to_owned());
    let price = [PRICE, PRO][dice.below(2)];
    let in_a_week = stripe.now() + 7 * DAY;
    match dice.below(14) {
        0 => drop(stripe.change_plan(subscription, price)),
        1 => drop(stripe.change_plan_at_period_end(subscription, price)),
        2 if dice.below(4) == 0 => drop(stripe.cancel(subscription)),
        3 => drop(stripe.cancel_in_portal(subscription)),
        4 | 5 => drop(stripe.cancel_at_period_end(subscription, dice.below(3) == 0)),
        6 => drop(stripe.pause_collection(subscription, Some(("void", Some(in_a_week))))),
        7 => drop(stripe.pause_collection(subscription, None)),
        8 => drop(stripe.refund(subscription, Some(100))),
        9 | 10 => {
            let cards =
                ["4242424242424242", "4000000000000341", "4000002760003184", "DE89370400440532013000"];
            drop(stripe.set_card(&customer, cards[dice.below(4)]));
        }
        11 => drop(stripe.call("POST", &format!("/v1/invoices/{invoice}/pay"), "")),
        12 => drop(stripe.call("POST", &format!("/v1/subscriptions/{subscription}"), "trial_end=now")),
        _ => {
            drop(stripe.call(
                "POST",
                &format!("/v1/subscriptions/{subscription}"),
                &format!("trial_end={in_a_week}"),
            ));
        }
    }
}

#[tokio::test]
async fn lives_made_by_chance_are_told_as_they_were() {
    let app = TestApp::on(Store::Sqlite).await;
    let mut dice = Dice::new(11);
    let mut stripe = stripe(200, 11);
    stripe.set_faults(Faults { shuffle: true, duplicate: 0.1, ..Faults::default() });
    stripe.settings().dunning_end = DunningEnd::Unpaid;
    let mut bought = Vec::new();
    for number in 0..8 {
        let member = format!("mem_chance{number}");
        app.register(&member).await;
        let card = ["4242424242424242", "4000000000000341"][dice.below(2)];
        let trial_days = [0, 7][dice.below(2)];
        let subscription = buys(&mut stripe, &member, card, trial_days);
        bought.push((member, subscription));
    }
    while stripe.now() < now().timestamp() - 10 * DAY {
        for (_, subscription) in &bought {
            act(&mut stripe, &mut dice, subscription);
        }
        stripe.advance([DAY / 24, DAY, 9 * DAY][dice.below(3)]);
    }
    stripe.advance_to(now().timestamp());
    deliver(&app, &mut stripe).await;
    for (member, subscription) in &bought {
        assert_eq!(difference(&app, &stripe, member, subscription).await, None);
    }
}

/// The command, until it is stopped.
struct Sim {
    child: Child,
    url: String,
}

impl Sim {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let all: Vec<_> =
            ["stripe-sim", "--listen", "127.0.0.1:0"].iter().chain(arguments).copied().collect();
        let mut child = home.command(&all).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("Stripe simulator on ").unwrap_or_else(|| panic!("{line:?}"));
        Self { url: url.to_owned(), child }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_command_sells_by_http_and_the_service_hears_of_it() {
    let app = TestApp::on(Store::Sqlite).await;
    let products = app.home.write("products.json", PRODUCTS);
    let (webhook, products) = (format!("{}/webhooks/stripe", app.url), products.display().to_string());
    let sim =
        Sim::start(&app.home, &["--webhook", &webhook, "--secret", SECRETS[1], "--products", &products]);
    app.register("mem_ada").await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let post = async |url: String, body: String| {
        let request = client.post(url).header("authorization", "Bearer sk_test_x").body(body);
        request.send().await.unwrap()
    };
    let form = format!(
        "mode=subscription&line_items[0][price]={PRICE}&client_reference_id=mem_ada&success_url=http://shop/"
    );
    let session: Value = post(format!("{}/v1/checkout/sessions", sim.url), form).await.json().await.unwrap();
    let page = session["url"].as_str().unwrap().to_owned();
    let paid = post(page, "email=ada%40example.com&number=4000000000000341".to_owned()).await;
    assert_eq!(paid.status(), 303);
    // The call to the clock returns when everything due has been delivered.
    post(format!("{}/_sim/clock", sim.url), json!({ "advance": "1s" }).to_string()).await;
    app.settled().await;
    assert_eq!(app.check("mem_ada", BASIC).await["reason"], "subscription");
    let refused = app.home.cli(&["stripe-sim", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--reachable-by-others"), "{refused:?}");
    let refused = app.home.cli(&["stripe-sim", "--listen", "127.0.0.1:0", "--secret", "x"]);
    assert!(refused.code == 2 && refused.err.contains("whsec_"), "{refused:?}");
}
