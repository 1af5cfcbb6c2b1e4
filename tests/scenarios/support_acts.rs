//! What staff does for members: each previewed, each told with who and why, and nothing twice.

use chrono::{Months, TimeDelta};
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp, answer, caught_up};
use tests::browser::{Browser, PASSWORD, signed_up};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, bought, days_ago, events, now, rfc3339};

const MEMBER: &str = "mem_ada";
const WHY: &str = "She called: ada.canary@example.com has waited for a week.";

/// The path of something of hers.
fn of(member: &str, what: &str) -> String {
    format!("/v1/support/members/{member}/{what}")
}

fn in_days(days: i64) -> String {
    rfc3339(now() + TimeDelta::days(days))
}

/// Does something of which the answer is good.
async fn done(app: &TestApp, method: Method, path: &str, body: Value) -> Value {
    let reply = app.send(method, path, Some(&body), "").await;
    reply.is(200);
    assert_eq!(reply.body["object"], "act", "{reply:?}");
    assert_eq!(reply.header("membership-position"), reply.body["position"].as_str(), "{reply:?}");
    reply.body
}

async fn given(app: &TestApp, plan: &str, until: &str) -> Value {
    let body = json!({ "plan": plan, "until": until, "reason": WHY });
    done(app, Method::POST, &of(MEMBER, "grants"), body).await
}

/// May she watch it, as of the position that an act was answered with?
async fn check_after(app: &TestApp, act: &Value, video: &str) -> Value {
    let path = format!("/v1/members/{MEMBER}/access/videos/{video}");
    let position = act["position"].as_str().unwrap_or_default();
    let reply = caught_up(app.request(Method::GET, &path).header("membership-position", position)).await;
    reply.is(200);
    reply.body
}

/// What there is of everything that an act may leave behind.
async fn all_there_is(app: &TestApp) -> [i64; 4] {
    let home = &app.home;
    [
        home.count("events").await,
        home.count("remarks").await,
        home.count("idempotency").await,
        home.count("people").await,
    ]
}

/// Ada, who pays for basic and has done so for a month.
async fn paying(app: &TestApp) -> Story {
    app.register(MEMBER).await;
    let mut story = Story::new("ada");
    bought(&mut story, MEMBER, Price::BasicMonth, days_ago(10));
    app.deliver_all(&events(story.clone())).await;
    story
}

/// Ada, whose renewal failed so many days ago.
async fn owing(app: &TestApp, days: i64) -> Story {
    app.register(MEMBER).await;
    let mut story = Story::new("ada");
    let renewal = days_ago(days) - TimeDelta::hours(1);
    bought(&mut story, MEMBER, Price::BasicMonth, renewal - Months::new(1));
    story.renewal_fails(renewal);
    app.deliver_all(&events(story.clone())).await;
    story
}

/// What came after what was delivered of a story already.
async fn deliver_rest(app: &TestApp, story: Story, known: usize) {
    app.deliver_all(&events(story)[known..]).await;
}

/// Every act that needs nothing but a member, with its body.
fn all_acts() -> Vec<(Method, String, Value)> {
    let until = in_days(30);
    vec![
        (Method::POST, "grants".to_owned(), json!({ "plan": "pro", "until": until })),
        (Method::POST, "grants/grt_1/move".to_owned(), json!({ "until": until })),
        (Method::DELETE, "grants/grt_1".to_owned(), json!({})),
        (Method::POST, "grace".to_owned(), json!({ "until": until })),
        (Method::POST, "notes".to_owned(), json!({})),
        (Method::DELETE, "notes/rmk_1".to_owned(), json!({})),
        (Method::POST, "stripe-customers".to_owned(), json!({ "customer": "cus_new" })),
        (Method::DELETE, "stripe-customers/cus_1".to_owned(), json!({})),
        (Method::POST, "letters".to_owned(), json!({ "kind": "password_reset" })),
        (Method::POST, "sessions/end".to_owned(), json!({})),
        (Method::POST, "erase".to_owned(), json!({})),
    ]
}

on_every_store! {
    async fn a_grant_opens_at_once_and_ends_at_its_end(store: Store) {
        let app = TestApp::on(store).await;
        app.register(MEMBER).await;
        let until = now() + TimeDelta::days(3);
        let act = given(&app, "pro", &rfc3339(until)).await;
        assert_eq!((&act["events"], &act["decisions"]["closes"]), (&json!(["AccessGranted"]), &json!(0)));
        let decision = check_after(&app, &act, ADVANCED).await;
        assert_eq!((&decision["reason"], &decision["until"]), (&json!("grant"), &json!(rfc3339(until))));
        let second = TimeDelta::seconds(1);
        assert_eq!(app.check_at(MEMBER, ADVANCED, until - second).await["reason"], "grant");
        assert_eq!(app.check_at(MEMBER, ADVANCED, until).await["reason"], "ended");

        let grant = act["id"].as_str().expect("the grant is named");
        let later = until + TimeDelta::days(30);
        let body = json!({ "until": rfc3339(later), "reason": WHY });
        let moved = done(&app, Method::POST, &of(MEMBER, &format!("grants/{grant}/move")), body).await;
        let day = |moment: chrono::DateTime<chrono::Utc>| moment.format("until %-d %B %Y, %H:%M UTC").to_string();
        assert_eq!(moved["sentence"], format!("Access to Pro {} → {}.", day(until), day(later)));
        assert_eq!(moved["decisions"]["at"], rfc3339(until), "there it comes out otherwise: {moved}");
        app.settled().await;
        assert_eq!(app.check_at(MEMBER, ADVANCED, until).await["reason"], "grant");

        let path = of(MEMBER, &format!("grants/{grant}"));
        let revoked = done(&app, Method::DELETE, &path, json!({ "reason": WHY })).await;
        assert_eq!(check_after(&app, &revoked, ADVANCED).await["reason"], "ended");
        let body = json!({ "until": "forever", "reason": WHY });
        app.send(Method::POST, &format!("{path}/move"), Some(&body), "").await.problem(409, "grant_revoked");
    }

    async fn the_end_of_a_grant_takes_no_paid_access_and_the_end_of_a_payment_takes_no_grant(store: Store) {
        let app = TestApp::on(store).await;
        let mut story = paying(&app).await;
        let known = events(story.clone()).len();
        let act = given(&app, "basic", "forever").await;
        assert_eq!(act["warnings"][0]["code"], "pays_already", "{act}");
        let path = of(MEMBER, &format!("grants/{}", act["id"].as_str().unwrap_or_default()));
        let revoked = done(&app, Method::DELETE, &path, json!({ "reason": WHY })).await;
        assert_eq!(check_after(&app, &revoked, BASIC).await["reason"], "subscription");

        given(&app, "basic", "forever").await;
        story.end(days_ago(1));
        deliver_rest(&app, story, known).await;
        assert_eq!(app.check(MEMBER, BASIC).await["reason"], "grant");
    }

    async fn an_act_that_comes_twice_under_a_key_is_done_once(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        owing(&app, 3).await;
        app.register("mem_bob").await;
        let grant = given(&app, "pro", "forever").await["id"].as_str().unwrap_or_default().to_owned();
        let note = done(&app, Method::POST, &of(MEMBER, "notes"), json!({ "text": "One.\nTwo." })).await;
        let note = note["id"].as_str().unwrap_or_default().to_owned();
        for (number, (method, path, mut body)) in (0..).zip(all_acts()) {
            if path == "letters" {
                continue;
            }
            let path = path.replace("grt_1", &grant).replace("rmk_1", &note).replace("cus_1", "cus_new");
            let member = if path == "erase" { "mem_bob" } else { MEMBER };
            body[if path == "notes" { "text" } else { "reason" }] = json!(if path == "erase" { "asked_for" } else { WHY });
            let key = format!("key-{number}");
            let send = || answer(app.request(method.clone(), &of(member, &path)).header("idempotency-key", &key).json(&body));
            let first = send().await;
            first.is(200);
            let there = all_there_is(&app).await;
            let again = send().await;
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
            assert_eq!(all_there_is(&app).await, there, "{path}");
        }
    }

    async fn an_act_that_was_cut_off_is_finished_by_the_same_key_and_done_once(store: Store) {
        let home = Home::new(store).await;
        let app = home.serve().await;
        app.register(MEMBER).await;
        drop(app);
        let body = json!({ "plan": "pro", "until": "forever", "reason": WHY });
        let send = async |app: &TestApp| {
            app.request(Method::POST, &of(MEMBER, "grants")).header("idempotency-key", "one").json(&body).send().await
        };
        for place in ["acts::written", "command::appended"] {
            let mut app = home.clone().with("FAILPOINTS", &format!("{place}=panic")).serve().await;
            assert!(send(&app).await.is_err(), "it ends before it answers");
            app.ended().await;
            home.sql("UPDATE idempotency SET claimed_until = begun_at WHERE status IS NULL").await;
        }
        let app = home.serve().await;
        let response = send(&app).await.expect("the service answers");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(home.count("events WHERE event_type = 'AccessGranted'").await, 1);
        assert_eq!(home.count("remarks").await, 1);
        app.settled().await;
        assert_eq!(app.check(MEMBER, ADVANCED).await["reason"], "grant");
    }

    async fn no_act_is_done_without_a_reason_without_the_scope_or_by_staff_without_a_second_factor(store: Store) {
        let tokens = "scenarios:access.read+support.read+support.write+members.write:a-token-for-the-scenarios,\
                      reader:support.read:a-token-that-only-reads";
        let home = Home::new(store).await.with_accounts().with("SERVICE_TOKENS", tokens);
        let app = home.serve().await;
        let (_, staff) = signed_up(&app, "staff@example.com").await;
        drop(app);
        home.done(&["account", "role", &staff, "support"]);
        let app = home.serve().await;
        owing(&app, 3).await;
        let mut staff = Browser::of(&app);
        staff.login("staff@example.com", PASSWORD).await;
        let (mut learner, _) = signed_up(&app, "bob@example.com").await;
        let grant = given(&app, "pro", "forever").await["id"].as_str().unwrap_or_default().to_owned();
        let there = app.home.count("events").await;
        for (method, path, mut body) in all_acts() {
            let path = of(MEMBER, &path.replace("grt_1", &grant));
            let reply = app.send(method.clone(), &path, Some(&body), "").await;
            assert!(matches!(reply.status.as_u16(), 404 | 409 | 422), "{path}: {reply:?}");
            for bad in ["", "  ", "two\nlines", &"x".repeat(501)] {
                body[if path.ends_with("notes") { "text" } else { "reason" }] = json!(bad);
                let reply = app.send(method.clone(), &path, Some(&body), "").await;
                if bad != "two\nlines" || !path.ends_with("notes") {
                    assert!(matches!(reply.body["code"].as_str(), Some("invalid" | "wrong_shape")), "{path}: {reply:?}");
                }
            }
            body["reason"] = json!("A reason.");
            let reader = app.strange(method.clone(), &path).bearer_auth("a-token-that-only-reads").json(&body);
            answer(reader).await.problem(403, "forbidden");
            staff.send(method.clone(), &path, Some(&body)).await.problem(403, "second_factor_required");
            learner.send(method, &path, Some(&body)).await.problem(403, "forbidden");
        }
        let form = app.strange(Method::GET, &format!("/console/members/{MEMBER}/acts/grant"));
        let form = form.bearer_auth("a-token-that-only-reads").send().await.expect("the service answers");
        assert_eq!(form.status().as_u16(), 403, "nor does the console say what would be done");
        // The one thing that was said well enough: a note of two lines.
        assert_eq!(app.home.count("events").await, there + 1);
        staff.second_factor().await;
        let body = json!({ "plan": "pro", "until": "forever", "reason": "A reason." });
        staff.post(&of(MEMBER, "grants"), &body).await.is(200);
    }

    async fn a_preview_changes_nothing_and_says_exactly_what_is_then_done(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        owing(&app, 20).await;
        let (_, signed_in) = signed_up(&app, "bob@example.com").await;
        let grant = given(&app, "basic", &in_days(5)).await["id"].as_str().unwrap_or_default().to_owned();
        let note = done(&app, Method::POST, &of(MEMBER, "notes"), json!({ "text": "Called." })).await;
        let note = note["id"].as_str().unwrap_or_default().to_owned();
        for (method, path, mut body) in all_acts() {
            let path = path.replace("grt_1", &grant).replace("rmk_1", &note).replace("cus_1", "cus_new");
            let member = if matches!(path.as_str(), "letters" | "sessions/end" | "erase") { &signed_in } else { MEMBER };
            if path == "erase" {
                body["reason"] = json!("ordered");
            }
            let path = of(member, &path);
            app.settled().await;
            let there = all_there_is(&app).await;
            let asked = app.request(method.clone(), &format!("{path}?preview=true")).header("idempotency-key", "one");
            let preview = answer(asked.json(&body)).await;
            preview.is(200);
            assert_eq!(all_there_is(&app).await, there, "{path}");
            let before = app.home.count("events").await;
            if !path.ends_with("erase") {
                body[if path.ends_with("notes") { "text" } else { "reason" }] = json!(WHY);
            }
            let act = done(&app, method, &path, body).await;
            for field in ["act", "member", "sentence", "warnings", "events"] {
                assert_eq!(act[field], preview.body[field], "{field} of {path}");
            }
            for field in ["opens", "closes", "opening", "closing"] {
                assert_eq!(act["decisions"][field], preview.body["decisions"][field], "{field} of {path}");
            }
            let told = act["events"].as_array().map_or(0, Vec::len);
            let appended = usize::try_from(app.home.count("events").await - before).unwrap_or_default();
            assert!(appended >= told && told > 0, "{path} appended {appended}: {act}");
        }
    }

    async fn what_staff_writes_is_beside_the_log_and_never_in_it(store: Store) {
        let app = TestApp::on(store).await;
        owing(&app, 3).await;
        given(&app, "pro", "forever").await;
        done(&app, Method::POST, &of(MEMBER, "notes"), json!({ "text": WHY })).await;
        done(&app, Method::POST, &of(MEMBER, "grace"), json!({ "until": in_days(20), "reason": WHY })).await;
        assert_eq!(app.home.count("events WHERE payload::text LIKE '%canary%' OR metadata::text LIKE '%canary%'").await, 0);
        assert_eq!(app.home.count("remarks WHERE text LIKE '%canary%'").await, 3);
    }

    async fn time_to_settle_keeps_the_video_open_and_closes_it_at_its_new_end(store: Store) {
        let app = TestApp::on(store).await;
        let mut story = owing(&app, 20).await;
        let known = events(story.clone()).len();
        assert_eq!(app.check(MEMBER, BASIC).await["reason"], "past_due");
        let until = now() + TimeDelta::days(5);
        let body = json!({ "until": rfc3339(until), "reason": WHY });
        let act = done(&app, Method::POST, &of(MEMBER, "grace"), body).await;
        assert_eq!(act["decisions"]["closes"], 0, "{act}");
        assert!(act["decisions"]["opens"].as_u64() > Some(0), "{act}");
        let decision = check_after(&app, &act, BASIC).await;
        assert_eq!((&decision["reason"], &decision["until"]), (&json!("grace"), &json!(rfc3339(until))));
        let explained = app.get(&of(MEMBER, &format!("explain?video={BASIC}"))).await.body;
        assert!(explained.to_string().contains("GraceExtended"), "it is among what decided: {explained}");
        let second = TimeDelta::seconds(1);
        assert_eq!(app.check_at(MEMBER, BASIC, until - second).await["reason"], "grace");
        assert_eq!(app.check_at(MEMBER, BASIC, until).await["reason"], "past_due");
        assert_eq!(app.check_at(MEMBER, BASIC, days_ago(1)).await["reason"], "past_due", "it was not given yet");

        let sooner = json!({ "until": in_days(1), "reason": WHY });
        let act = done(&app, Method::POST, &of(MEMBER, "grace"), sooner).await;
        app.settled().await;
        assert_eq!(app.check_at(MEMBER, BASIC, now() + TimeDelta::days(2)).await["reason"], "past_due", "{act}");

        story.paid(now()).status("active", now());
        deliver_rest(&app, story, known).await;
        assert_eq!(app.check(MEMBER, BASIC).await["reason"], "subscription");
        let body = json!({ "until": in_days(5), "reason": WHY });
        app.send(Method::POST, &of(MEMBER, "grace"), Some(&body), "").await.problem(409, "nothing_owed");
    }

    async fn time_to_settle_never_takes_what_the_policy_gives(store: Store) {
        let app = TestApp::on(store).await;
        owing(&app, 3).await;
        let body = json!({ "until": in_days(2), "reason": WHY });
        app.send(Method::POST, &of(MEMBER, "grace"), Some(&body), "").await.problem(422, "invalid");
        assert_eq!(app.home.count("remarks").await, 0, "what is refused leaves no words");
    }

    async fn unlinking_takes_what_the_customer_paid_for_and_linking_gives_it_back(store: Store) {
        let app = TestApp::on(store).await;
        let story = paying(&app).await;
        let customer = story.customer_id().to_owned();
        let nothing = of(MEMBER, "stripe-customers/%00");
        let body = json!({ "reason": WHY });
        app.send(Method::DELETE, &nothing, Some(&body), "").await.problem(404, "not_linked");
        let path = of(MEMBER, &format!("stripe-customers/{customer}"));
        let act = done(&app, Method::DELETE, &path, json!({ "reason": WHY })).await;
        assert_eq!(act["events"], json!(["MemberUnlinked"]));
        assert!(act["decisions"]["closes"].as_u64() > Some(0), "{act}");
        assert_eq!(check_after(&app, &act, BASIC).await["reason"], "no_membership");
        let body = json!({ "customer": customer, "reason": WHY });
        let act = done(&app, Method::POST, &of(MEMBER, "stripe-customers"), body).await;
        assert!(act["decisions"]["opens"].as_u64() > Some(0), "{act}");
        assert_eq!(check_after(&app, &act, BASIC).await["reason"], "subscription");
        app.register("mem_bob").await;
        let theirs = of("mem_bob", &format!("stripe-customers/{customer}"));
        let reply = app.send(Method::DELETE, &theirs, Some(&json!({ "reason": WHY })), "").await;
        reply.problem(409, "linked_elsewhere");
    }

    async fn every_act_is_in_the_timeline_with_who_did_it(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        owing(&app, 3).await;
        let grant = given(&app, "pro", "forever").await["id"].as_str().unwrap_or_default().to_owned();
        let note = done(&app, Method::POST, &of(MEMBER, "notes"), json!({ "text": WHY })).await;
        let note = note["id"].as_str().unwrap_or_default().to_owned();
        for (method, path, mut body) in all_acts() {
            if matches!(path.as_str(), "letters" | "notes" | "grants" | "erase") {
                continue;
            }
            let path = path.replace("grt_1", &grant).replace("rmk_1", &note).replace("cus_1", "cus_new");
            body["reason"] = json!(WHY);
            done(&app, method, &of(MEMBER, &path), body).await;
        }
        app.settled().await;
        let timeline = app.get(&of(MEMBER, "timeline")).await.body;
        let entries = timeline["data"].as_array().expect("the timeline is a list");
        for event in [
            "AccessGranted", "GrantExtended", "GrantRevoked", "GraceExtended", "NoteAdded", "NoteWithdrawn", "StaffEndedSessions",
        ] {
            let entry = entries.iter().find(|entry| entry["event_type"] == event);
            let entry = entry.unwrap_or_else(|| panic!("no {event} in {timeline}"));
            assert_eq!(entry["actor"], "service:scenarios", "{entry}");
        }
    }

    async fn a_letter_that_may_not_be_sent_leaves_nothing(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        let (_, member) = signed_up(&app, "bob@example.com").await;
        let body = json!({ "kind": "password_reset", "reason": WHY });
        let mut sent = 0;
        let refused = loop {
            let reply = app.send(Method::POST, &of(&member, "letters"), Some(&body), "").await;
            if reply.status != 200 {
                break reply;
            }
            sent += 1;
            assert!(sent < 100, "there is an end to letters");
        };
        refused.problem(429, "too_many_attempts");
        assert_eq!(home.count("remarks").await, sent);
        assert_eq!(home.count("events WHERE event_type = 'StaffSentLetter'").await, sent);
    }

    async fn no_letter_leaves_that_the_log_does_not_tell_of(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        let (_, member) = signed_up(&app, "bob@example.com").await;
        drop(app);
        let body = json!({ "kind": "password_reset", "reason": WHY });
        let send = async |app: &TestApp| {
            app.request(Method::POST, &of(&member, "letters")).header("idempotency-key", "one").json(&body).send().await
        };
        let mut app = home.clone().with("FAILPOINTS", "command::appended=panic").serve().await;
        assert!(send(&app).await.is_err(), "it ends when the letter is told, before it leaves");
        app.ended().await;
        assert_eq!(home.count("events WHERE event_type = 'StaffSentLetter'").await, 1);
        home.sql("UPDATE idempotency SET claimed_until = begun_at WHERE status IS NULL").await;
        let app = home.serve().await;
        let response = send(&app).await.expect("the service answers");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(home.count("events WHERE event_type = 'StaffSentLetter'").await, 2, "each attempt is told");
        assert!(!home.link("bob@example.com", "password").await.is_empty());
    }

    async fn a_letter_goes_to_her_own_address_only_and_her_sessions_end_at_once(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let app = home.serve().await;
        let (mut browser, member) = signed_up(&app, "bob@example.com").await;
        let body = json!({ "kind": "password_reset", "reason": WHY });
        let act = done(&app, Method::POST, &of(&member, "letters"), body).await;
        assert_eq!(act["events"], json!(["StaffSentLetter"]));
        let token = home.link("bob@example.com", "password").await;
        assert!(!token.is_empty());
        let confirm = json!({ "kind": "verification", "reason": WHY });
        app.send(Method::POST, &of(&member, "letters"), Some(&confirm), "").await.problem(409, "already_confirmed");
        app.register(MEMBER).await;
        app.send(Method::POST, &of(MEMBER, "letters"), Some(&confirm), "").await.problem(409, "no_address");

        assert!(browser.is_signed_in().await);
        let typed = json!({ "session": "bob@example.com", "reason": WHY });
        app.send(Method::POST, &of(&member, "sessions/end"), Some(&typed), "").await.problem(404, "unknown_session");
        let act = done(&app, Method::POST, &of(&member, "sessions/end"), json!({ "reason": WHY })).await;
        assert_eq!(act["sentence"], "Her session ends at once.");
        app.settled().await;
        assert!(!browser.is_signed_in().await);
    }
}

#[tokio::test]
async fn a_moment_that_has_passed_and_a_plan_that_is_not_there_are_refused_with_what_to_do() {
    let app = TestApp::on(Store::Sqlite).await;
    app.register(MEMBER).await;
    let refused = async |body: Value| -> Reply {
        let mut body = body;
        body["reason"] = json!(WHY);
        app.send(Method::POST, &of(MEMBER, "grants"), Some(&body), "").await
    };
    let reply = refused(json!({ "plan": "pro", "until": "2020-01-01T00:00:00Z" })).await;
    reply.problem(422, "invalid");
    assert!(
        reply.body["detail"].as_str().is_some_and(|told| told.contains("has passed; choose a later")),
        "{reply:?}"
    );
    refused(json!({ "plan": "gold", "until": "forever" })).await.problem(422, "unknown_plan");
    refused(json!({ "plan": "pro", "until": "soon" })).await.problem(400, "bad_time");
    refused(json!({ "plan": "pro" })).await.problem(422, "wrong_shape");
    let twice = [given(&app, "pro", "forever").await, given(&app, "pro", "forever").await];
    assert_eq!(twice[1]["warnings"][0]["code"], "duplicate_grant", "{twice:?}");
}
