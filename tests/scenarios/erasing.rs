//! A member is forgotten: nothing personal is left anywhere, and what happened stays.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp, answer};
use tests::browser::{Browser, PASSWORD, signed_up};
use tests::fake_provider::{FakeProvider, agreed, arrives};
use tests::on_every_store;
use tests::stripe::{BASIC, Price, Story, bought, changed, days_ago, event, events, now};

const EMAIL: &str = "ada.canary@example.com";
const CARD_HOLDER: &str = "Augusta Ada Canary-King";
const NOTE: &str = "Canary note: lives in Marylebone.";
const REASON: &str = "Canary reason: her cat was ill.";
const EXTERNAL: &str = "canary-external-4711";
const SUBJECT: &str = "canary-subject-at-the-provider";
const EMAIL_THERE: &str = "augusta.canary@id.example";
/// A word of her name, as it is looked for.
const FOLDED: &str = "augusta";
const CANARIES: [&str; 8] = [EMAIL, CARD_HOLDER, NOTE, REASON, EXTERNAL, SUBJECT, EMAIL_THERE, FOLDED];

fn of(member: &str, what: &str) -> String {
    format!("/v1/support/members/{member}/{what}")
}

async fn done(app: &TestApp, path: &str, body: Value) -> Value {
    let reply = app.send(Method::POST, path, Some(&body), "").await;
    reply.is(200);
    reply.body
}

async fn erase(app: &TestApp, member: &str) -> Value {
    done(app, &of(member, "erase"), json!({ "reason": "asked_for" })).await
}

/// A service whose members can sign in with a provider, where Ada is.
async fn serving(store: Store) -> (Home, FakeProvider) {
    let provider = FakeProvider::start().await;
    provider.is(SUBJECT, EMAIL_THERE, true);
    (Home::new(store).await.with_accounts().with("OIDC_PROVIDERS", &provider.setting("id")), provider)
}

/// Somebody with an account that a provider is linked to, a membership that has ended, a grant, a note, and a card in her name. Her id, and her story.
async fn known(app: &TestApp, provider: &FakeProvider) -> (String, Story, Browser) {
    let (mut browser, member) = signed_up(app, EMAIL).await;
    let body = json!({ "return_to": "/learn", "password": PASSWORD });
    let back = agreed(&mut browser, provider, "/v1/auth/providers/id/link", &body).await;
    arrives(&mut browser, app, &back).await.is(303);
    app.home.sql(&format!("UPDATE people SET external_id = '{EXTERNAL}' WHERE member = '{member}'")).await;
    let mut story = Story::new("ada");
    bought(&mut story, &member, Price::BasicMonth, days_ago(40));
    story.end(days_ago(5));
    let with_card =
        |told: Value| changed(told, &json!({ "billing_details": { "name": CARD_HOLDER, "email": EMAIL } }));
    let told: Vec<Value> = events(story.clone()).into_iter().map(with_card).collect();
    app.deliver_all(&told).await;
    let charge = json!({ "id": "ch_ada", "object": "charge", "customer": story.customer_id() });
    app.deliver_all([&event("evt_charge_ada", "charge.succeeded", days_ago(40), &charge)]).await;
    let dispute = json!({ "id": "dp_ada", "object": "dispute", "charge": "ch_ada", "status": "lost", "reason": "fraudulent",
        "evidence": { "customer_name": CARD_HOLDER } });
    app.deliver_all([&event("evt_dispute_ada", "charge.dispute.closed", days_ago(4), &dispute)]).await;
    let about_customer =
        json!({ "id": story.customer_id(), "object": "customer", "email": EMAIL, "name": CARD_HOLDER });
    app.deliver_all([&event("evt_customer_ada", "customer.updated", days_ago(3), &about_customer)]).await;
    let body = json!({ "plan": "pro", "until": "forever", "reason": REASON });
    done(app, &of(&member, "grants"), body).await;
    done(app, &of(&member, "notes"), json!({ "text": NOTE })).await;
    let why = json!({ "why": REASON });
    let replayed =
        app.send(Method::POST, "/v1/support/deliveries/evt_customer_ada/replay", Some(&why), "").await;
    replayed.is(202);
    app.settled().await;
    (member, story, browser)
}

/// Which of the canaries are anywhere in the store.
async fn found(home: &Home) -> Vec<&'static str> {
    let dump = home.dump().await;
    let has = |text: &str| dump.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    CANARIES.into_iter().filter(|canary| has(canary)).collect()
}

fn assert_forgotten(left: &[&str]) {
    assert!(left.is_empty(), "{left:?} is still there");
}

/// Where erasing is killed.
const WHILE_ERASING: [&str; 3] = ["erase::begun", "erase::signed_out", "erase::forgotten"];
/// Between the words of an act and its event.
const BEFORE_ITS_EVENT: &str = "acts::written";

/// The places that only these scenarios kill at.
pub(crate) fn places() -> impl Iterator<Item = &'static str> {
    WHILE_ERASING.into_iter().chain([BEFORE_ITS_EVENT])
}

/// Erases Ada while a grant for her has been decided on and not yet been appended. What the grant was answered with.
async fn erased_amid_a_grant(store: Store, sabotage: &str) -> (Home, Reply) {
    let failing = format!("sabotage::give_late=return{sabotage}");
    let home = Home::new(store).await;
    let app = home.clone().with("FAILPOINTS", &failing).serve().await;
    app.register("mem_ada").await;
    let body = json!({ "plan": "pro", "until": "forever", "reason": REASON });
    let given = tokio::spawn(answer(app.request(Method::POST, &of("mem_ada", "grants")).json(&body)));
    let begun = Instant::now();
    while home.count("remarks").await == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the grant is not begun");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    erase(&app, "mem_ada").await;
    home.write("let-go", "");
    let given = given.await.expect("the grant is answered");
    app.settled().await;
    (home, given)
}

on_every_store! {
    async fn nothing_is_given_to_a_member_who_is_erased_in_that_moment(store: Store) {
        let (home, given) = erased_amid_a_grant(store, "").await;
        given.problem(409, "erased");
        assert_eq!(home.count("events WHERE event_type = 'AccessGranted'").await, 0);
        assert_eq!(home.count("remarks").await, 0);
        home.done(&["replay", "--verify"]);
    }

    async fn a_program_that_does_not_look_at_erasures_when_it_appends_is_caught(store: Store) {
        let (home, given) = erased_amid_a_grant(store, ";sabotage::tell_the_erased=return").await;
        given.is(200);
        let late = "events WHERE event_type = 'AccessGranted' AND position > \
                    (SELECT position FROM events WHERE event_type = 'MemberErased')";
        assert_eq!(home.count(late).await, 1, "without the look it lands after her erasure");
    }

    async fn what_was_given_while_a_member_is_being_erased_is_taken_back_with_the_rest(store: Store) {
        let home = Home::new(store).await.with("FAILPOINTS", "erase::signed_out=1*sleep(2000)");
        let app = home.serve().await;
        app.register("mem_ada").await;
        let body = json!({ "reason": "asked_for" });
        let erased = tokio::spawn(answer(app.request(Method::POST, &of("mem_ada", "erase")).json(&body)));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let body = json!({ "plan": "pro", "until": "forever", "reason": REASON });
        let given = app.send(Method::POST, &of("mem_ada", "grants"), Some(&body), "").await;
        erased.await.expect("the erasure is answered").is(200);
        app.settled().await;
        let (granted, revoked) = (
            home.count("events WHERE event_type = 'AccessGranted'").await,
            home.count("events WHERE event_type = 'GrantRevoked'").await,
        );
        assert_eq!(granted, revoked, "{given:?}");
        assert_eq!(home.count("remarks").await, 0);
        let body = json!({ "plan": "pro", "until": "forever", "reason": REASON });
        app.send(Method::POST, &of("mem_ada", "grants"), Some(&body), "").await.problem(409, "erased");
    }

    async fn a_new_customer_that_names_an_erased_member_is_linked_to_nobody_and_what_it_pays_is_kept(store: Store) {
        let home = Home::new(store).await;
        let app = home.serve().await;
        app.register("mem_ada").await;
        erase(&app, "mem_ada").await;
        let mut story = Story::new("late");
        bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(3));
        let with_card =
            |told: Value| changed(told, &json!({ "billing_details": { "name": CARD_HOLDER, "email": EMAIL } }));
        let mut told: Vec<Value> = events(story.clone()).into_iter().map(with_card).collect();
        // Her checkout, which alone names her, comes last: what came before waits for it.
        let about = json!({ "id": story.customer_id(), "object": "customer", "email": EMAIL, "name": CARD_HOLDER });
        told.push(event("evt_customer_late", "customer.updated", days_ago(2), &about));
        app.deliver_all(&told).await;
        app.settled().await;
        assert_forgotten(&found(&home).await);
        assert_eq!(app.check("mem_ada", BASIC).await["allowed"], false);
        assert_eq!(home.count("events WHERE event_type = 'MemberLinked'").await, 0);
        assert_eq!(home.count("events WHERE event_type = 'ErasedMemberNamed'").await, 1);
        assert_eq!(home.count("events WHERE event_type = 'PaymentReceived'").await, 1, "no payment is lost");
        let waiting = app.get("/v1/support/deliveries?outcome=parked&reason=erased_member").await.body;
        let first = &waiting["data"][0];
        assert!(first["detail"].as_str().is_some_and(|told| told.contains("End it in Stripe, or link")), "{waiting}");
        assert!(first["erased_at"].is_string(), "{first}");

        // Whoever pays turns out to be somebody else: all of it counts for her, and her deliveries are kept.
        app.register("mem_new").await;
        app.link("mem_new", story.customer_id()).await;
        app.settled().await;
        assert_eq!(app.check("mem_new", BASIC).await["reason"], "subscription");
        let waiting = app.get("/v1/support/deliveries?outcome=parked").await.body;
        assert_eq!(waiting["data"], json!([]), "nothing waits for anybody any more");
        // What goes on naming her who was erased changes nothing, and takes nothing from who pays.
        let names_her = json!({ "metadata": { "member_id": "mem_ada" } });
        let kept = changed(event("evt_kept", "customer.updated", now(), &about), &names_her);
        story.cancel_in_portal(days_ago(1));
        let canceled = changed(events(story).pop().expect("she canceled"), &names_her);
        app.deliver_all([&kept, &canceled]).await;
        app.settled().await;
        assert_eq!(app.check("mem_new", BASIC).await["reason"], "cancels_later");
        assert!(app.delivery("evt_kept").await["erased_at"].is_null());
        let waiting = app.get("/v1/support/deliveries?outcome=parked").await.body;
        assert_eq!(waiting["data"], json!([]));
        let found = app.get("/v1/support/members?q=augusta").await.body;
        assert_eq!(found["data"][0]["member"], "mem_new", "{found}");
        home.done(&["replay", "--verify"]);
    }

    async fn nothing_is_begun_again_for_her_from_the_moment_she_is_marked(store: Store) {
        let home = Home::new(store).await;
        let app = home.serve().await;
        app.register("mem_ada").await;
        // As after a kill in the middle: marked, and not yet told.
        home.sql("INSERT INTO erasures SELECT 'mem_ada', created_at FROM people").await;
        home.sql("DELETE FROM people").await;
        let body = json!({ "id": "mem_ada", "email": EMAIL });
        app.send(Method::POST, "/v1/members", Some(&body), "").await.problem(409, "erased");
        let link = json!({ "customer": "cus_later" });
        app.send(Method::PUT, "/v1/members/mem_ada/stripe-customer", Some(&link), "").await.problem(409, "erased");
        for (path, body) in [
            ("grants", json!({ "plan": "pro", "until": "forever", "reason": REASON })),
            ("notes", json!({ "text": NOTE })),
            ("stripe-customers", json!({ "customer": "cus_later", "reason": REASON })),
        ] {
            app.send(Method::POST, &of("mem_ada", path), Some(&body), "").await.problem(409, "erased");
        }
        let mut story = Story::new("late");
        bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(3));
        app.deliver_all(&events(story)).await;
        assert_eq!(home.count("events WHERE event_type = 'MemberLinked'").await, 0);
        assert_forgotten(&found(&home).await);
        erase(&app, "mem_ada").await;
        assert_eq!(home.count("events WHERE event_type = 'MemberErased'").await, 1);
    }

    async fn of_an_erased_member_nothing_personal_is_left_and_her_history_stays(store: Store) {
        let (home, provider) = serving(store).await;
        let app = home.serve().await;
        let (member, story, mut browser) = known(&app, &provider).await;
        assert_eq!(found(&home).await, CANARIES, "the test can find what it looks for");
        let before = app.get(&of(&member, "timeline")).await.body["data"].as_array().map_or(0, Vec::len);
        assert_eq!(app.check(&member, BASIC).await["reason"], "grant");

        let her_own = browser.get("/v1/me/export").await.body;
        let payers =
            json!([{ "customer": story.customer_id(), "name": CARD_HOLDER, "email": EMAIL }]);
        assert_eq!(her_own["payers"], payers, "she takes along what is known of her");
        let by_name = || app.get("/v1/support/members?q=augusta");
        assert_eq!(by_name().await.body["data"][0]["member"], *member);

        let act = erase(&app, &member).await;
        assert!(act["decisions"]["closes"].as_u64() > Some(0), "{act}");
        app.settled().await;
        assert_forgotten(&found(&home).await);
        assert!(!browser.is_signed_in().await);
        browser.try_login(EMAIL, PASSWORD).await.problem(401, "wrong_credentials");
        assert_eq!(app.check(&member, BASIC).await["reason"], "ended");
        let timeline = app.get(&of(&member, "timeline")).await.body;
        let entries = timeline["data"].as_array().expect("the timeline is a list");
        assert!(entries.len() > before, "what happened stays: {timeline}");
        let last = entries.iter().find(|entry| entry["event_type"] == "MemberErased");
        assert_eq!(last.expect("it is told")["actor"], "service:scenarios");
        let delivery = app.delivery("evt_customer_ada").await;
        assert!(delivery["erased_at"].is_string() && delivery["outcome"] != "pending", "{delivery}");
        let replay = app.send(Method::POST, "/v1/support/deliveries/evt_customer_ada/replay", None, "").await;
        replay.problem(409, "erased");

        // Stripe goes on telling of her customer, and tells what it told again.
        let about = json!({ "id": story.customer_id(), "object": "customer", "email": EMAIL, "name": CARD_HOLDER });
        app.deliver_all([&event("evt_later_ada", "customer.updated", now(), &about)]).await;
        app.deliver_all([&event("evt_customer_ada", "customer.updated", days_ago(3), &about)]).await;
        let invoice = json!({ "id": "in_later", "object": "invoice", "customer": story.customer_id(), "customer_name": CARD_HOLDER,
            "customer_email": EMAIL, "lines": { "data": [] } });
        app.deliver_all([&event("evt_invoice_ada", "invoice.payment_failed", now(), &invoice)]).await;
        app.settled().await;
        assert_forgotten(&found(&home).await);
        assert_eq!(by_name().await.body["data"], json!([]), "her name stays gone");

        // Nothing is begun again under her id; with her address somebody new may come.
        let body = json!({ "id": member, "email": EMAIL });
        app.send(Method::POST, "/v1/members", Some(&body), "").await.problem(409, "erased");
        let note = json!({ "text": NOTE });
        app.send(Method::POST, &of(&member, "notes"), Some(&note), "").await.problem(409, "erased");
        let link = json!({ "customer": "cus_later" });
        let path = format!("/v1/members/{member}/stripe-customer");
        app.send(Method::PUT, &path, Some(&link), "").await.problem(409, "erased");
        assert_forgotten(&found(&home).await);
        assert_eq!(erase(&app, &member).await["events"], json!([]), "asked again nothing is told again");
        assert_ne!(signed_up(&app, EMAIL).await.1, member);
        assert_eq!(home.cli(&["replay", "--verify"]).code, 0, "her history can be replayed");
    }

    async fn nobody_is_erased_who_may_be_collected_from(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        app.register("mem_ada").await;
        let mut story = Story::new("ada");
        bought(&mut story, "mem_ada", Price::BasicMonth, days_ago(10));
        let known = events(story.clone()).len();
        app.deliver_all(&events(story.clone())).await;
        let body = json!({ "reason": "asked_for" });
        let preview = done(&app, &of("mem_ada", "erase?preview=true"), body.clone()).await;
        assert_eq!(preview["warnings"][0]["code"], "still_paying", "{preview}");
        let reply = app.send(Method::POST, &of("mem_ada", "erase"), Some(&body), "").await;
        reply.problem(409, "still_paying");
        assert!(reply.body["detail"].as_str().is_some_and(|told| told.contains("cancel that in Stripe first")));
        assert_eq!(home.count("people").await, 1, "nothing was erased");
        story.end(now());
        app.deliver_all(&events(story)[known..]).await;
        erase(&app, "mem_ada").await;
        let (_, staff) = signed_up(&app, "staff@example.com").await;
        drop(app);
        home.done(&["account", "role", &staff, "support"]);
        let app = home.serve().await;
        app.send(Method::POST, &of(&staff, "erase"), Some(&body), "").await.problem(403, "not_allowed");
    }

    async fn an_erasure_that_was_killed_anywhere_is_finished_by_asking_again(store: Store) {
        for place in WHILE_ERASING.into_iter().chain(["command::appended"]) {
            let (home, provider) = serving(store).await;
            let app = home.serve().await;
            let (member, ..) = known(&app, &provider).await;
            drop(app);
            let mut app = home.clone().with("FAILPOINTS", &format!("{place}=panic")).serve().await;
            let body = json!({ "reason": "asked_for" });
            let asked = app.request(Method::POST, &of(&member, "erase")).json(&body).send().await;
            assert!(asked.is_err(), "{place}: it ends before it answers");
            app.ended().await;
            let app = home.serve().await;
            erase(&app, &member).await;
            app.settled().await;
            assert_forgotten(&found(&home).await);
            assert_eq!(home.count("events WHERE event_type = 'MemberErased'").await, 1, "{place}");
        }
    }

    async fn words_whose_act_was_killed_are_forgotten_with_her(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let failing = format!("{BEFORE_ITS_EVENT}=panic");
        let mut app = home.clone().with("FAILPOINTS", &failing).serve().await;
        app.register("mem_ada").await;
        let note = json!({ "text": NOTE });
        let asked = app.request(Method::POST, &of("mem_ada", "notes")).json(&note).send().await;
        assert!(asked.is_err(), "it ends before it answers");
        app.ended().await;
        let app = home.serve().await;
        assert_eq!(home.count("events WHERE event_type = 'NoteAdded'").await, 0);
        assert_eq!(home.count("remarks").await, 1);
        erase(&app, "mem_ada").await;
        assert_eq!(home.count("remarks").await, 0);
    }
}
