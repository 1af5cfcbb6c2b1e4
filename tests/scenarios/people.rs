//! What an owner, and support, do with accounts: locks, rights, invitations, lists; and what nobody of the staff may do.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{HANG, Home, Reply, Store, TestApp, answer};
use tests::browser::{Browser, PASSWORD, signed_up};
use tests::on_every_store;
use tests::stripe::{BASIC, Price, Story, bought, days_ago, events};

const OWNER: &str = "owner@example.com";
const SUPPORT: &str = "support@example.com";
const BOB: &str = "bob@example.com";
const EVE: &str = "eve.canary@example.com";
const OTHER: &str = "quite another passphrase";
const WHY: &str = "Canary reason: her letter box was broken into.";
const ACCOUNTS: &str = "/v1/support/accounts";

/// Somebody with an account.
struct Person {
    browser: Browser,
    id: String,
}

impl Person {
    /// The path of something that staff does to her.
    fn path(&self, what: &str) -> String {
        format!("/v1/support/members/{}/{what}", self.id)
    }
}

/// A service with an owner and somebody of the support, both with second factors, and Bob, all of whom are signed in.
async fn staffed(store: Store) -> (TestApp, Person, Person, Person) {
    let home = Home::new(store).await.with_accounts();
    let app = home.serve().await;
    let mut people = Vec::new();
    for email in [OWNER, SUPPORT, BOB] {
        let (mut browser, id) = signed_up(&app, email).await;
        if email != BOB {
            browser.second_factor().await;
        }
        people.push(Person { browser, id });
    }
    drop(app);
    home.done(&["account", "role", &people[0].id, "owner"]);
    home.done(&["account", "role", &people[1].id, "support"]);
    let app = home.serve().await;
    for person in &mut people {
        person.browser = person.browser.clone().asking(&app);
        person.browser.post("/v1/auth/refresh", &json!({})).await.is(200);
    }
    let mut people = people.into_iter();
    let mut next = || people.next().expect("there are three");
    (app, next(), next(), next())
}

/// Has staff do something, which has to work.
async fn done(by: &mut Person, path: &str, mut body: Value) -> Value {
    body["reason"] = json!(WHY);
    let reply = by.browser.post(path, &body).await;
    reply.is(200);
    assert_eq!(reply.header("membership-position"), reply.body["position"].as_str(), "{reply:?}");
    reply.body
}

/// What a stranger sees of an answer, but for what names the request.
fn seen(reply: &Reply) -> (u16, Value) {
    let mut body = reply.body.clone();
    body.as_object_mut().map(|problem| problem.remove("request_id"));
    (reply.status.as_u16(), body)
}

async fn told(app: &TestApp, member: &str) -> Vec<Value> {
    app.settled().await;
    let reply = app.get(&format!("/v1/support/members/{member}/timeline?limit=100")).await;
    reply.body["data"].as_array().cloned().unwrap_or_default()
}

fn named<'e>(history: &'e [Value], name: &str) -> Vec<&'e Value> {
    history.iter().filter(|entry| entry["event_type"] == name).collect()
}

/// How many events there are, but for those that say who looked.
async fn told_in_all(app: &TestApp) -> i64 {
    app.home.count("events WHERE event_type <> 'StaffRead'").await
}

on_every_store! {
    async fn a_locked_account_is_shut_at_once_and_only_its_owner_is_told(store: Store) {
        let (app, _, mut support, mut bob) = staffed(store).await;
        let mut story = Story::new("bob");
        bought(&mut story, &bob.id, Price::BasicMonth, days_ago(3));
        app.deliver_all(&events(story)).await;
        bob.browser.post("/v1/auth/forgot-password", &json!({ "email": BOB })).await.is(202);
        let before = app.home.link(BOB, "password").await;

        let events = told_in_all(&app).await;
        let preview = support.browser.post(&bob.path("lock?preview=true"), &json!({ "until": "forever" })).await;
        preview.is(200);
        assert_eq!((&preview.body["events"], told_in_all(&app).await), (&json!(["AccountLocked"]), events));
        assert_eq!(preview.body["warnings"][0]["code"], "still_charged", "{preview:?}");
        assert!(bob.browser.is_signed_in().await);
        let act = done(&mut support, &bob.path("lock"), json!({ "until": "forever" })).await;
        assert_eq!(act["sentence"], preview.body["sentence"]);
        app.settled().await;
        assert!(!bob.browser.is_signed_in().await, "her session goes on");
        bob.browser.post("/v1/auth/refresh", &json!({})).await.problem(401, "session_ended");

        // Whoever does not know the password learns nothing.
        let mut stranger = Browser::of(&app).at("198.51.100.7");
        let [locked, nobody] = [stranger.try_login(BOB, OTHER).await, stranger.try_login("nobody@example.com", OTHER).await];
        assert_eq!(seen(&locked), seen(&nobody));
        let right = Browser::of(&app).try_login(BOB, PASSWORD).await;
        right.problem(403, "account_locked");
        let detail = right.body["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("locked for good") && detail.contains("ask whoever runs"), "{detail}");

        // A letter from before counts no more, and one from now chooses a password and lets nobody in.
        let choose = |token: &str| json!({ "token": token, "password": OTHER });
        Browser::of(&app).post("/v1/auth/reset-password", &choose(&before)).await.problem(400, "bad_token");
        Browser::of(&app).post("/v1/auth/forgot-password", &json!({ "email": BOB })).await.is(202);
        let token = app.home.link(BOB, "password").await;
        let mut chooses = Browser::of(&app);
        chooses.post("/v1/auth/reset-password", &choose(&token)).await.is(204);
        assert!(!chooses.is_signed_in().await);
        chooses.try_login(BOB, OTHER).await.problem(403, "account_locked");

        // A lock is about signing in: what is paid for is open, where she reaches it otherwise.
        assert_eq!(app.check(&bob.id, BASIC).await["reason"], "subscription");
        let overview = support.browser.get(&bob.path("account")).await.body;
        assert_eq!(overview["lock"], json!({ "until": null }), "{overview}");
        let history = told(&app, &bob.id).await;
        let lock = named(&history, "AccountLocked");
        assert_eq!((lock.len(), &lock[0]["actor"]), (1, &json!(format!("staff:{}", support.id))), "{lock:?}");
        let ended = named(&history, "SessionRevoked");
        assert!(ended.iter().any(|entry| entry.to_string().contains("locked")), "{ended:?}");

        // What is so already is done without an event.
        let again = done(&mut support, &bob.path("lock"), json!({ "until": "forever" })).await;
        assert_eq!(again["events"], json!([]));
        let act = done(&mut support, &bob.path("unlock"), json!({})).await;
        assert_eq!(act["events"], json!(["AccountUnlocked"]));
        let mut bob = Browser::of(&app);
        bob.login(BOB, OTHER).await;
        let own = bob.get("/v1/me/export").await.body.to_string();
        for sentence in ["Your account was locked for good: you cannot sign in.", "Your account was unlocked: you can sign in again."] {
            assert!(own.contains(sentence), "{own}");
        }
        assert!(!own.contains("Canary"), "the reason is for colleagues");
        assert_eq!(app.home.count("events WHERE payload::text LIKE '%Canary%'").await, 0);
        assert_eq!(app.home.count("remarks WHERE text LIKE '%Canary%'").await, 3);
    }

    async fn staff_does_what_the_rules_say_and_no_more(store: Store) {
        let (app, mut owner, mut support, bob) = staffed(store).await;
        app.register("mem_nobody").await;
        let handling = || vec![
            ("lock", json!({ "until": "forever" })),
            ("unlock", json!({})),
            ("sessions/end", json!({})),
            ("letters", json!({ "kind": "password_reset" })),
            ("erase", json!({})),
        ];
        let giving = || vec![
            ("grants", json!({ "plan": "pro", "until": "forever" })),
            ("grants/grt_1/move", json!({ "until": "forever" })),
            ("grace", json!({ "until": "2030-01-01T00:00:00Z" })),
            ("stripe-customers", json!({ "customer": "cus_new" })),
        ];
        let role = || vec![("role", json!({ "role": "owner" }))];
        let ids = [&owner, &support, &bob].map(|person| person.id.clone());
        let [owner_id, support_id, bob_id] = [0, 1, 2].map(|number| ids[number].as_str());
        let path = |member: &str, what: &str, query: &str| format!("/v1/support/members/{member}/{what}{query}");
        let before = told_in_all(&app).await;
        let refused = [
            [(owner_id, handling()), (support_id, handling()), (support_id, giving()), (bob_id, role())],
            [(support_id, role()), (owner_id, role()), ("mem_nobody", role()), (owner_id, handling())],
        ];
        for (target, acts) in refused.into_iter().flatten() {
            for (what, mut body) in acts {
                body["reason"] = json!(if what == "erase" { "ordered" } else { WHY });
                for query in ["", "?preview=true"] {
                    let path = path(target, what, query);
                    support.browser.post(&path, &body).await.problem(403, "not_allowed");
                    // A back end may do what support may, and is nobody who could do it to herself.
                    if target != support_id || what == "role" || handling().iter().any(|(act, _)| *act == what) {
                        app.send(Method::POST, &path, Some(&body), "").await.problem(403, "not_allowed");
                    }
                }
            }
        }
        for (what, mut body) in handling() {
            body["reason"] = json!(if what == "erase" { "ordered" } else { WHY });
            owner.browser.post(&path(owner_id, what, ""), &body).await.problem(403, "not_allowed");
        }
        let invitation = json!({ "email": EVE, "role": "owner", "reason": WHY });
        for query in ["", "?preview=true"] {
            let path = format!("{ACCOUNTS}{query}");
            support.browser.post(&path, &invitation).await.problem(403, "not_allowed");
            app.send(Method::POST, &path, Some(&invitation), "").await.problem(403, "not_allowed");
        }
        support.browser.get(ACCOUNTS).await.problem(403, "not_allowed");
        app.get(ACCOUNTS).await.problem(403, "not_allowed");
        for page in ["/console/accounts", "/console/accounts/invite"] {
            let page = support.browser.request(Method::GET, page).send().await.expect("the service answers");
            assert_eq!(page.status().as_u16(), 403);
        }
        assert_eq!(told_in_all(&app).await, before, "something was done");

        // The same where the rules let them: what was refused was refused for who does it to whom.
        for (by, target, acts) in [
            (&mut owner, support_id, [&handling()[..4], &role()].concat()),
            (&mut support, bob_id, [&handling()[..4], &giving()[..1]].concat()),
        ] {
            for (what, body) in acts {
                let reply = by.browser.post(&path(target, what, "?preview=true"), &body).await;
                assert_eq!(reply.status, 200, "{what}: {reply:?}");
            }
        }
        // Even an owner erases nobody of the staff before she has taken her rights.
        let erase = json!({ "reason": "ordered" });
        owner.browser.post(&path(support_id, "erase", ""), &erase).await.problem(409, "staff");
        // An owner may, and it is in the log.
        let act = done(&mut owner, &path(owner_id, "grants", ""), json!({ "plan": "pro", "until": "forever" })).await;
        assert_eq!(act["events"], json!(["AccessGranted"]));
    }

    async fn rights_are_given_and_taken_by_owners_and_the_last_one_stays(store: Store) {
        let (app, mut owner, mut support, mut bob) = staffed(store).await;
        let last = ["role", "lock"].map(|what| owner.path(what));
        let less = json!({ "role": "member", "reason": WHY });
        for query in ["", "?preview=true"] {
            owner.browser.post(&format!("{}{query}", last[0]), &less).await.problem(409, "last_owner");
        }
        owner.browser.post("/v1/auth/delete-account", &json!({ "password": PASSWORD })).await.problem(409, "last_owner");
        let preview = owner.browser.post(&bob.path("role?preview=true"), &json!({ "role": "owner" })).await;
        assert_eq!(preview.body["sentence"], "Her role member → owner, within ten minutes.");
        let act = done(&mut owner, &bob.path("role"), json!({ "role": "owner" })).await;
        assert_eq!(act["events"], json!(["RoleChanged"]));
        let history = told(&app, &bob.id).await;
        assert_eq!(named(&history, "RoleChanged")[0]["actor"], format!("staff:{}", owner.id));
        bob.browser.post("/v1/auth/refresh", &json!({})).await.is(200);
        bob.browser.post(&support.path("role"), &less).await.problem(403, "second_factor_required");
        bob.browser.second_factor().await;

        // Each takes the other's rights at the same moment.
        let (mut ones, mut others) = (owner.browser.clone(), bob.browser.clone());
        let (to_bob, to_owner) = (bob.path("role"), owner.path("role"));
        let (one, other) = tokio::join!(ones.post(&to_bob, &less), others.post(&to_owner, &less));
        let worked = [&one, &other].into_iter().filter(|reply| reply.status == 200).count();
        assert_eq!(worked, 1, "{one:?} {other:?}");
        let refused = if one.status == 200 { &other } else { &one };
        // Whose rights were gone before she was asked for them was refused for that.
        assert!(matches!(refused.status.as_u16(), 401 | 403 | 409), "{refused:?}");
        assert_eq!(app.home.count("accounts WHERE role = 'owner'").await, 1);
        let (left, gone) = if one.status == 200 { (&mut owner, &mut bob) } else { (&mut bob, &mut owner) };
        app.settled().await;
        assert!(!gone.browser.is_signed_in().await, "fewer rights end her sessions");
        let own = left.path("role");
        left.browser.post(&own, &less).await.problem(409, "last_owner");
        done(left, &support.path("role"), json!({ "role": "member" })).await;
        app.settled().await;
        support.browser.get(ACCOUNTS).await.problem(401, "unauthenticated");
    }

    async fn an_owner_lists_accounts_in_pages_and_every_look_is_recorded(store: Store) {
        let (app, mut owner, mut support, bob) = staffed(store).await;
        app.register("mem_nobody").await;
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = owner.browser.get(&format!("{ACCOUNTS}?limit=2{cursor}")).await;
            page.is(200);
            let data = page.body["data"].as_array().cloned().unwrap_or_default();
            assert!(data.len() <= 2);
            listed.extend(data);
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut ids: Vec<&str> = listed.iter().filter_map(|account| account["member"].as_str()).collect();
        let mut expected = [&owner.id, &support.id, &bob.id].map(String::as_str);
        expected.sort_unstable();
        ids.sort_unstable();
        assert_eq!(ids, expected, "who has no account is not listed");
        let of_bob = listed.iter().find(|account| account["email"] == BOB).expect("he is listed");
        assert_eq!((&of_bob["role"], &of_bob["verified"], &of_bob["lock"]), (&json!("member"), &json!(true), &Value::Null));
        assert!(of_bob["signed_in_at"].is_string() && of_bob["second_factor"] == false, "{of_bob}");
        let one = support.browser.get(&bob.path("account")).await;
        assert_eq!(one.body, *of_bob, "and alone she is the same");
        let staff = owner.browser.get(&format!("{ACCOUNTS}?role=support")).await;
        assert_eq!(staff.body["data"][0]["member"], json!(support.id));
        assert_eq!(staff.body["data"].as_array().map(Vec::len), Some(1));
        owner.browser.get(&format!("{ACCOUNTS}?role=king")).await.problem(400, "bad_query");
        owner.browser.get("/v1/support/members/mem_gone/account").await.problem(404, "unknown_member");
        owner.browser.get("/v1/support/members/mem_nobody/account").await.problem(409, "no_account");
        let history = told(&app, &bob.id).await;
        let mut readers: Vec<_> = named(&history, "StaffRead").into_iter().map(|read| read["actor"].clone()).collect();
        readers.sort_by_key(ToString::to_string);
        let mut expected = [&owner.id, &support.id].map(|id| json!(format!("staff:{id}")));
        expected.sort_by_key(ToString::to_string);
        assert_eq!(readers, expected);
    }

    async fn somebody_is_invited_and_chooses_a_password_that_nobody_else_knows(store: Store) {
        let (app, mut owner, _, _) = staffed(store).await;
        let invitation = json!({ "email": EVE, "role": "support", "reason": WHY });
        let before = told_in_all(&app).await;
        let preview = owner.browser.post(&format!("{ACCOUNTS}?preview=true"), &invitation).await;
        preview.is(200);
        assert_eq!((told_in_all(&app).await, app.home.count("remarks").await), (before, 0));
        let letters = app.home.unread_letters().await;
        let wordless = json!({ "email": EVE, "role": "support" });
        owner.browser.post(ACCOUNTS, &wordless).await.problem(422, "invalid");
        assert_eq!(told_in_all(&app).await, before);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = owner.browser.request(Method::POST, ACCOUNTS).header("idempotency-key", "one");
            answers.push(answer(request.json(&invitation)).await);
        }
        answers[0].is(200);
        assert_eq!(answers[0].body, answers[1].body, "the same command twice is done once");
        let eve = Person { browser: Browser::of(&app), id: answers[0].body["member"].as_str().unwrap_or_default().to_owned() };
        let first = app.home.link(EVE, "You have an account").await;
        assert_eq!(app.home.unread_letters().await, letters, "one letter was sent, and none by the preview");
        let account = owner.browser.get(&eve.path("account")).await.body;
        assert_eq!((&account["verified"], &account["has_password"], &account["role"]), (&json!(false), &json!(false), &json!("support")));
        Browser::of(&app).try_login(EVE, PASSWORD).await.problem(401, "wrong_credentials");

        // The letter comes again, by the letters of staff and by another invitation.
        done(&mut owner, &eve.path("letters"), json!({ "kind": "invitation" })).await;
        let second = app.home.link(EVE, "You have an account").await;
        owner.browser.post(ACCOUNTS, &invitation).await.is(200);
        let third = app.home.link(EVE, "You have an account").await;
        let history = told(&app, &eve.id).await;
        let count = |name| named(&history, name).len();
        assert_eq!([count("AccountRegistered"), count("RoleChanged"), count("StaffSentLetter"), count("EmailVerified")], [1, 1, 3, 0]);

        let choose = |token: &str| json!({ "token": token, "password": OTHER });
        let mut eves = eve.browser.clone();
        eves.post("/v1/auth/reset-password", &choose(&second)).await.is(204);
        for spent in [&first, &second, &third] {
            eves.post("/v1/auth/reset-password", &choose(spent)).await.problem(400, "bad_token");
        }
        assert_eq!(eves.login(EVE, OTHER).await, eve.id);
        eves.get("/v1/support/deliveries").await.problem(403, "second_factor_required");
        let account = owner.browser.get(&eve.path("account")).await.body;
        assert_eq!((&account["verified"], &account["has_password"]), (&json!(true), &json!(true)));
        let history = told(&app, &eve.id).await;
        assert_eq!(named(&history, "EmailVerified").len(), 1, "{history:#?}");
        owner.browser.post(ACCOUNTS, &invitation).await.problem(409, "account_exists");
        let body = json!({ "kind": "invitation", "reason": WHY });
        owner.browser.post(&eve.path("letters"), &body).await.problem(409, "already_confirmed");

        // Of whoever was invited and is erased nothing stays.
        done(&mut owner, &eve.path("role"), json!({ "role": "member" })).await;
        owner.browser.post(&eve.path("erase"), &json!({ "reason": "asked_for" })).await.is(200);
        let dump = app.home.dump().await;
        for canary in [EVE, "Canary reason"] {
            assert!(!dump.windows(canary.len()).any(|bytes| bytes == canary.as_bytes()), "{canary} is still there");
        }
    }

    async fn an_invitation_that_was_cut_off_is_finished_by_the_same_key(store: Store) {
        let (app, mut owner, _, _) = staffed(store).await;
        let home = app.home.clone();
        drop(app);
        let invitation = json!({ "email": EVE, "role": "support", "reason": WHY });
        let mut app = home.clone().with("FAILPOINTS", "command::appended=panic").serve().await;
        let send = async |owner: &Person| {
            let request = owner.browser.request(Method::POST, ACCOUNTS).header("idempotency-key", "one");
            request.json(&invitation).send().await
        };
        owner.browser = owner.browser.clone().asking(&app);
        assert!(send(&owner).await.is_err(), "it ends before it answers");
        app.ended().await;
        home.sql("UPDATE idempotency SET claimed_until = begun_at WHERE status IS NULL").await;
        let app = home.serve().await;
        owner.browser = owner.browser.clone().asking(&app);
        let done = send(&owner).await.expect("the service answers");
        assert_eq!(done.status().as_u16(), 200);
        assert_eq!(home.count("people WHERE email_lower LIKE 'eve%'").await, 1);
        assert_eq!(home.count("accounts WHERE role = 'support'").await, 2);
        assert!(!home.link(EVE, "You have an account").await.is_empty());
    }

    async fn a_password_is_shown_again_and_guessed_as_slowly_as_at_signing_in(store: Store) {
        let app = Home::new(store).await.with_accounts().serve().await;
        let (mut bob, _) = signed_up(&app, BOB).await;
        let verify = "/v1/auth/verify-password";
        let password = |text: &str| json!({ "password": text });
        Browser::of(&app).post(verify, &password(PASSWORD)).await.problem(401, "not_signed_in");
        let before = app.home.count("events").await;
        bob.post(verify, &password(PASSWORD)).await.is(204);
        // Each wait is twice as long as the one before, until one is longer than a slow machine takes to ask again.
        let begun = Instant::now();
        loop {
            let wrong = bob.post(verify, &password(OTHER)).await;
            assert!(begun.elapsed() < HANG, "{wrong:?}");
            if wrong.status == 401 {
                wrong.problem(401, "wrong_credentials");
                continue;
            }
            wrong.problem(429, "too_many_attempts");
            let wait = wrong.header("retry-after").and_then(|wait| wait.parse().ok()).expect("it says how long");
            if wait >= 4 {
                break;
            }
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
        // The right one is no way round.
        bob.post(verify, &password(PASSWORD)).await.problem(429, "too_many_attempts");
        assert_eq!(app.home.count("events").await, before, "it changes nothing");
        // A page of another site learns nothing by it.
        let mut foreign = bob.clone().saying("sec-fetch-site", "cross-site").saying("origin", "https://evil.example");
        foreign.post(verify, &password(PASSWORD)).await.problem(403, "foreign_origin");
    }

    async fn the_command_line_lists_shows_and_locks_accounts(store: Store) {
        let (app, owner, support, bob) = staffed(store).await;
        let home = app.home.clone();
        drop(app);
        let listed = home.done(&["account", "list"]).out;
        for (person, role) in [(&owner, "owner"), (&support, "support"), (&bob, "member")] {
            assert!(listed.lines().any(|line| line.starts_with(&format!("{}  {role}", person.id))), "{listed}");
        }
        let staff = home.done(&["account", "list", "--role", "support", "--json"]).json();
        assert_eq!((&staff["member"], &staff["second_factor"]), (&json!(support.id), &json!(true)));
        let lock = |member: &str, more: &[&str]| home.cli(&[&["account", "lock", member], more].concat());
        let locked = lock(&bob.id, &["--until", "2030-06-03", "--reason", "A reason"]);
        assert!(locked.code == 0 && locked.out.contains("locked until 3 June 2030, 00:00 UTC"), "{locked:?}");
        assert!(home.done(&["account", "show", &bob.id]).out.contains("locked until"));
        for (member, more) in [
            (bob.id.as_str(), &["--until", "2020-01-01", "--reason", "A reason"][..]),
            (&bob.id, &["--reason", "two\nlines"]),
            (&owner.id, &["--reason", "A reason"]),
            ("mem_nobody", &["--reason", "A reason"]),
        ] {
            let refused = lock(member, more);
            assert!(refused.code != 0 && !refused.err.is_empty(), "{refused:?}");
        }
        let refused = home.cli(&["account", "role", &owner.id, "member"]);
        assert!(refused.code != 0 && refused.err.contains("only owner"), "{refused:?}");
        let app = home.serve().await;
        Browser::of(&app).try_login(BOB, PASSWORD).await.problem(403, "account_locked");
        drop(app);
        home.done(&["account", "unlock", &bob.id, "--reason", "A reason"]);
        let app = home.serve().await;
        Browser::of(&app).login(BOB, PASSWORD).await;
        let history = told(&app, &bob.id).await;
        assert_eq!([named(&history, "AccountLocked").len(), named(&history, "AccountUnlocked").len()], [1, 1]);
    }
}
