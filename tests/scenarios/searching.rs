//! Search in one box: by name, address and the beginning of any id, whatever came first, and told shortly to staff.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, TestApp};
use tests::browser::signed_up;
use tests::fake_stripe::FakeStripe;
use tests::on_every_store;
use tests::stripe::{Price, Story, bought, changed, days_ago, event, events, now};

const EMAIL: &str = "ada@example.com";
const BILLS: &str = "bills@example.org";

async fn search(app: &TestApp, q: &str) -> Value {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let q: String = q.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect();
    let reply = app.get(&format!("/v1/support/members?q={q}")).await;
    reply.is(200);
    reply.body
}

/// What was found, in words.
async fn found(app: &TestApp, q: &str) -> Vec<String> {
    let matches = search(app, q).await["data"].as_array().cloned().unwrap_or_default();
    let text = |found: &Value, field: &str| found[field].as_str().unwrap_or("none").to_owned();
    let told = |found: &Value| match found["object"].as_str() {
        Some("member_match") => format!("{} by {}", text(found, "member"), text(found, "matched")),
        Some("payer_match") => format!("{} of nobody", text(found, "customer")),
        Some("delivery_match") => format!("{} about nobody", text(found, "delivery")),
        _ => text(found, "video"),
    };
    matches.iter().map(told).collect()
}

async fn register(app: &TestApp, member: &str, email: &str) {
    let body = json!({ "id": member, "email": email });
    app.send(Method::POST, "/v1/members", Some(&body), "").await.is(201);
}

fn customer(id: &str, name: &str, email: &str) -> Value {
    json!({ "id": id, "object": "customer", "name": name, "email": email, "metadata": {} })
}

/// Her purchase, whose checkout and invoice have the name that she had then.
fn purchase(story: &mut Story, member: &str) -> Vec<Value> {
    bought(story, member, Price::BasicMonth, days_ago(20));
    let named = |told: Value| match told["type"].as_str() {
        Some("checkout.session.completed") => changed(
            told,
            &json!({ "customer_details": { "name": "Ada Byron", "email": "byron@example.org" } }),
        ),
        Some("invoice.paid") => {
            changed(told, &json!({ "customer_name": "Ada Byron", "customer_email": "byron@example.org" }))
        }
        _ => told,
    };
    events(story.clone()).into_iter().map(named).collect()
}

fn id_of(told: &[Value], kind: &str) -> String {
    let told = told.iter().find(|told| told["type"] == kind).expect("it was told");
    told["data"]["object"]["id"].as_str().expect("it has an id").to_owned()
}

on_every_store! {
    async fn somebody_is_found_by_name_address_and_the_beginning_of_any_id(store: Store) {
        let app = Home::new(store).await.serve().await;
        register(&app, "mem_ada", EMAIL).await;
        let mut story = Story::new("ada");
        let told = purchase(&mut story, "mem_ada");
        let payer = story.customer_id().to_owned();

        // What is newest comes first, before anybody knows whose it is.
        let newest = customer(&payer, "Ada Lovel\u{e1}ce", BILLS);
        app.deliver_all([&event("evt_ada_newest", "customer.updated", days_ago(1), &newest)]).await;
        app.settled().await;
        for q in ["lovelace", "lace ada", BILLS, &payer, "cus_"] {
            let nobodys = if q == "lace ada" { vec![] } else { vec![format!("{payer} of nobody")] };
            assert_eq!(found(&app, q).await, nobodys, "{q}");
        }
        app.deliver_all(&told).await;
        let oldest = customer(&payer, "Augusta Ada", "augusta@example.org");
        app.deliver_all([&event("evt_ada_oldest", "customer.created", days_ago(30), &oldest)]).await;
        app.settled().await;
        for (q, by) in [
            ("lovelace", "name"),
            ("LOVELA\u{301}CE a", "name"),
            ("bills@", "billing_email"),
            ("ada@", "email"),
            (&payer[..6], "customer"),
            ("mem_a", "member"),
            ("sub_demo_", "subscription"),
            ("cs_demo", "checkout"),
            ("evt_ada_", "delivery"),
            (&id_of(&told, "invoice.paid")[..7], "payment"),
        ] {
            assert_eq!(found(&app, q).await, [format!("mem_ada by {by}")], "{q}");
        }
        for older in ["byron", "augusta", "byron@", "ovelace", "lovelace byron", "%", "in_none", "evt_none"] {
            assert_eq!(found(&app, older).await, [""; 0], "{older}");
        }
        let profile = app.get("/v1/support/members/mem_ada").await.body;
        let payers = json!([{ "customer": payer, "name": "Ada Lovel\u{e1}ce", "email": BILLS }]);
        assert_eq!((&profile["email"], &profile["payers"]), (&json!(EMAIL), &payers));
        assert_eq!(app.get("/v1/support/members/mem_ada/export").await.body["payers"], payers);

        // Deleted at Stripe, she stays known as long as the member does.
        app.deliver_all([&event("evt_ada_gone", "customer.deleted", now(), &newest)]).await;
        app.settled().await;
        assert_eq!(found(&app, "lovelace").await, ["mem_ada by name"]);
    }

    async fn of_a_deleted_customer_who_was_nobodys_nothing_stays(store: Store) {
        let app = Home::new(store).await.serve().await;
        let nobody = customer("cus_nobody", "Rosa Klein", "rosa@example.com");
        app.deliver_all([&event("evt_made", "customer.created", days_ago(9), &nobody)]).await;
        app.settled().await;
        assert_eq!(found(&app, "klein").await, ["cus_nobody of nobody"]);
        app.deliver_all([&event("evt_gone", "customer.deleted", days_ago(2), &nobody)]).await;
        app.deliver_all([&event("evt_late", "customer.updated", days_ago(5), &nobody)]).await;
        app.settled().await;
        assert_eq!(found(&app, "klein").await, [""; 0], "also when an older event comes later");
        // Of something else that is sold beside memberships, no payer is kept.
        let mut story = Story::new("mug");
        story.create(Price::Mug, "active", days_ago(4)).paid(days_ago(4));
        let named = json!({ "customer_name": "Max Becher", "customer_email": "max@example.com" });
        let told: Vec<Value> = events(story).into_iter().map(|told| changed(told, &named)).collect();
        app.deliver_all(&told).await;
        app.settled().await;
        assert_eq!(found(&app, "becher").await, [""; 0]);
        let dispute = json!({ "id": "dp_1", "object": "dispute", "charge": "ch_unknown", "status": "lost" });
        app.deliver_all([&event("evt_dispute", "charge.dispute.closed", now(), &dispute)]).await;
        app.settled().await;
        assert_eq!(found(&app, "evt_disp").await, ["evt_dispute about nobody"]);
        assert_eq!(found(&app, "ch_unk").await, ["evt_dispute about nobody"]);
    }

    async fn twenty_are_shown_and_it_is_said_that_there_are_more(store: Store) {
        let app = Home::new(store).await.serve().await;
        let made: Vec<Value> = (0..21)
            .map(|number| {
                let payer = customer(&format!("cus_{number}"), &format!("Zoe Nr{number}"), "zoe@example.com");
                event(&format!("evt_{number}"), "customer.created", days_ago(3), &payer)
            })
            .collect();
        app.deliver_all(&made).await;
        app.settled().await;
        for (q, count, more) in [("zoe", 20, true), ("zoe nr1", 11, false), ("zoe@", 20, true), ("evt_", 20, true)] {
            let answer = search(&app, q).await;
            let shown = answer["data"].as_array().map_or(0, Vec::len);
            assert_eq!((shown, &answer["has_more"]), (count, &json!(more)), "{q}");
        }
    }

    async fn a_comparison_with_stripe_tells_names_that_no_event_told(store: Store) {
        let stripe = FakeStripe::start();
        let home = stripe.known_to(&Home::new(store).await);
        let app = home.serve().await;
        register(&app, "mem_ada", EMAIL).await;
        let mut story = Story::new("ada");
        bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(20));
        let told = events(story.clone());
        stripe.happened(&told);
        stripe.keep(&customer(story.customer_id(), "Ada Lovelace", BILLS));
        app.deliver_all(&told).await;
        app.settled().await;
        assert_eq!(found(&app, "lovelace").await, [""; 0]);
        app.send(Method::POST, "/v1/support/members/mem_ada/resync", None, "").await.is(200);
        assert_eq!(found(&app, "lovelace").await, ["mem_ada by name"]);
        let later = customer(story.customer_id(), "Ada King", BILLS);
        app.deliver_all([&event("evt_old", "customer.updated", days_ago(2), &later)]).await;
        app.settled().await;
        assert_eq!(found(&app, "king").await, [""; 0], "an older event does not take its place");
    }
}

#[tokio::test]
async fn staff_that_searches_sees_short_names_and_addresses_and_a_back_end_whole_ones() {
    let app = Home::new(tests::app::Store::Sqlite).await.with_accounts().serve().await;
    register(&app, "mem_ada", EMAIL).await;
    let mut story = Story::new("ada");
    app.deliver_all(&purchase(&mut story, "mem_ada")).await;
    let (mut staff, id) = signed_up(&app, "staff@example.net").await;
    staff.second_factor().await;
    let home = app.home.clone();
    drop(app);
    home.done(&["account", "role", &id, "support"]);
    let app = home.serve().await;
    app.settled().await;
    let mut staff = staff.asking(&app);
    staff.post("/v1/auth/refresh", &json!({})).await.is(200);
    let mut by_staff =
        async |q: &str| staff.get(&format!("/v1/support/members?q={q}")).await.body["data"][0].clone();
    let short = by_staff("ada%20byr").await;
    assert_eq!(
        (&short["email"], &short["name"], &short["value"]),
        (&json!("a…@example.com"), &json!("Ada B."), &json!("Ada B."))
    );
    assert_eq!(by_staff(EMAIL).await["email"], EMAIL, "what she typed whole is no secret to her");
    let whole = &search(&app, "ada byron").await["data"][0];
    assert_eq!((&whole["email"], &whole["name"]), (&json!(EMAIL), &json!("Ada Byron")));
    assert_eq!(home.count("events WHERE event_type = 'StaffRead'").await, 0, "nothing of hers was opened");
    staff.get("/v1/support/members/mem_ada").await.is(200);
    assert_eq!(home.count("events WHERE event_type = 'StaffRead'").await, 1);
}
