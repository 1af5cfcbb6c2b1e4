//! Staff has a member compared with Stripe: previewed, told with who and why, and told also where nothing differs.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Store, TestApp};
use tests::fake_stripe::FakeStripe;
use tests::on_every_store;
use tests::stripe::{Price, Story, bought, days_ago, events};

const RESYNC: &str = "/v1/support/members/mem_ann/resync";
const WHY: &str = "She called: ann.canary@example.com pays and sees nothing.";

/// Ann, who bought something twenty days ago, and whose subscription Stripe has too.
async fn ann(store: Store, stripe: &FakeStripe) -> TestApp {
    let app = stripe.known_to(&Home::new(store).await).serve().await;
    app.register("mem_ann").await;
    let mut story = Story::new("ann");
    bought(&mut story, "mem_ann", Price::BasicMonth, days_ago(20));
    let told = events(story);
    stripe.happened(&told);
    app.deliver_all(&told).await;
    app
}

async fn compared(app: &TestApp, body: Option<&Value>) -> Value {
    let reply = app.send(Method::POST, RESYNC, body, "").await;
    reply.is(200);
    app.settled().await;
    reply.body
}

/// The latest group of her history that a comparison was asked for in: its events by name, and the whole.
async fn latest(app: &TestApp) -> (Vec<String>, Value) {
    let path = "/v1/support/members/mem_ann/timeline?group=cause&type=Comparison";
    let groups = app.get(path).await.body;
    let group = groups["data"].as_array().and_then(|groups| groups.last()).cloned().unwrap_or_default();
    let entries = group["entries"].as_array().cloned().unwrap_or_default();
    let names = entries.iter().map(|entry| entry["event_type"].as_str().unwrap_or_default().to_owned());
    (names.collect(), group)
}

on_every_store! {
    async fn comparing_is_told_with_who_and_why_also_where_nothing_differs(store: Store) {
        let stripe = FakeStripe::start();
        let app = ann(store, &stripe).await;
        let why = json!({ "reason": WHY });
        let done = compared(&app, Some(&why)).await;
        assert_eq!(done["sentence"], "Compared 1 subscription with the provider: nothing differed");
        let (names, group) = latest(&app).await;
        assert_eq!(names, ["ComparisonRequested", "ComparisonDone"], "{group}");
        assert_eq!(group["actor"], "service:scenarios", "{group}");
        assert_eq!(group["entries"][0]["remark"], WHY, "{group}");
        assert_eq!(group["entries"][1]["sentence"], done["sentence"], "{group}");
        assert_eq!(app.home.count("events WHERE payload::text LIKE '%canary%'").await, 0);

        stripe.change("sub_demo_ann", |held| held["status"] = json!("unpaid"));
        let done = compared(&app, None).await;
        assert_eq!(done["sentence"], "Compared 1 subscription with the provider: 1 differed and was put right");
        let (names, group) = latest(&app).await;
        let found = names.iter().any(|name| name == "DriftFound");
        assert!(found && names.len() > 3, "what was found follows from what was asked for: {group}");
        let first = group["entries"][0]["sentence"].as_str().unwrap_or_default();
        assert!(first.ends_with("without saying why"), "{group}");

        stripe.is_down(true);
        let refused = app.send(Method::POST, RESYNC, Some(&why), "").await;
        refused.problem(503, "billing_unavailable");
        let (names, group) = latest(&app).await;
        assert_eq!(names, ["ComparisonRequested", "ComparisonFailed"], "{group}");
        app.home.done(&["replay", "--verify"]);
    }

    async fn a_preview_of_comparing_says_what_is_looked_at_and_asks_nobody(store: Store) {
        let stripe = FakeStripe::start();
        let app = ann(store, &stripe).await;
        let (there, asked) = (app.home.count("events").await, stripe.asked().len());
        let preview = async || {
            let reply = app.send(Method::POST, &format!("{RESYNC}?preview=true"), None, "").await;
            reply.is(200);
            reply.body
        };
        let first = preview().await;
        assert_eq!((app.home.count("events").await, stripe.asked().len()), (there, asked), "{first}");
        let compares = &first["compares"][0];
        assert_eq!((&compares["subscription"], &compares["status"]), (&json!("sub_demo_ann"), &json!("active")));
        assert!(compares["heard_at"].is_string() && first["compared_at"].is_null(), "{first}");
        let said = first["sentence"].as_str().unwrap_or_default();
        assert!(said.starts_with("Stripe is asked about 1 customer and 1 subscription of hers"), "{first}");
        compared(&app, Some(&json!({ "reason": WHY }))).await;
        let second = preview().await;
        assert!(second["compared_at"].is_string(), "{second}");
        let (names, _) = latest(&app).await;
        assert_eq!(second["events"], json!(names), "exactly what was then told");
    }

    async fn of_somebody_who_was_erased_what_stripe_has_is_compared_and_no_words_are_kept(store: Store) {
        let stripe = FakeStripe::start();
        let app = stripe.known_to(&Home::new(store).await).serve().await;
        app.register("mem_ann").await;
        let erase = json!({ "reason": "asked_for" });
        app.send(Method::POST, "/v1/support/members/mem_ann/erase", Some(&erase), "").await.is(200);
        app.settled().await;
        compared(&app, Some(&json!({ "reason": WHY }))).await;
        let (names, group) = latest(&app).await;
        assert_eq!(names, ["ComparisonRequested", "ComparisonDone"], "{group}");
        assert_eq!(app.home.count("remarks").await, 0);
        for bad in ["", "two\nlines"] {
            let body = json!({ "reason": bad });
            app.send(Method::POST, RESYNC, Some(&body), "").await.problem(422, "invalid");
        }
    }

    async fn a_preview_of_looking_again_says_exactly_what_is_then_told(store: Store) {
        let app = TestApp::on(store).await;
        app.register("mem_ann").await;
        app.register("mem_bob").await;
        let mut story = Story::new("ann");
        bought(&mut story, "mem_ann", Price::BasicMonth, days_ago(20));
        let customer = story.customer_id().to_owned();
        app.link("mem_bob", &customer).await;
        let told = events(story);
        app.deliver_all(&told).await;
        let names_her = told.iter().find(|event| event["type"] == "checkout.session.completed");
        let event = names_her.and_then(|event| event["id"].as_str()).expect("her checkout names her");
        let path = format!("/v1/support/deliveries/{event}/replay");
        let preview = async || {
            let there = app.home.count("events").await;
            let reply = app.send(Method::POST, &format!("{path}?preview=true"), None, "").await;
            reply.is(200);
            assert_eq!(app.home.count("events").await, there, "{reply:?}");
            assert_eq!(app.delivery(event).await["outcome"], "parked");
            reply.body
        };
        let first = preview().await;
        assert_eq!((&first["outcome"], &first["events"]), (&json!("parked"), &json!([])), "{first}");
        let said = first["sentence"].as_str().unwrap_or_default();
        assert!(said.contains("is parked (contradiction)") && said.contains("nothing would change"), "{first}");

        let unlink = format!("/v1/support/members/mem_bob/stripe-customers/{customer}");
        app.send(Method::DELETE, &unlink, Some(&json!({ "reason": WHY })), "").await.is(200);
        app.settled().await;
        let second = preview().await;
        assert_eq!((&second["outcome"], &second["member"]), (&json!("applied"), &json!("mem_ann")), "{second}");
        let would: Vec<&Value> = second["events"].as_array().into_iter().flatten().map(|event| &event["type"]).collect();
        assert!(would.contains(&&json!("MemberLinked")) && would.len() > 1, "{second}");

        app.send(Method::POST, &path, None, "").await.is(202);
        app.settled().await;
        assert_eq!(app.delivery(event).await["outcome"], "applied");
        let timeline = app.get("/v1/support/members/mem_ann/timeline").await.body;
        let entries = timeline["data"].as_array().expect("the timeline is a list");
        let mut did: Vec<(&str, &Value)> = entries
            .iter()
            .filter(|entry| entry["cause"] == event)
            .map(|entry| (entry["position"].as_str().unwrap_or_default(), &entry["event_type"]))
            .collect();
        did.sort_by_key(|(position, _)| (position.len(), *position));
        assert_eq!(did.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), would, "{timeline}");
    }
}
