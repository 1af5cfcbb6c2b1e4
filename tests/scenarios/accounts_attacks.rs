//! Attacks on accounts. Each is made for real, and beside most of them the same thing is done rightly, which has to work.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp, caught_up};
use tests::browser::{Browser, FETCH_SITE, KEY, PASSWORD, signed_up, token};
use tests::on_every_store;
use tests::stripe::BASIC;

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const NOBODY: &str = "nobody@example.com";
const OTHER: &str = "quite another passphrase";
const LEARN: &str = "http://learn.example.com:5173";
const ACCOUNT: &str = "/v1/auth/account";

async fn serving(store: Store) -> TestApp {
    Home::new(store).await.with_accounts().with("LEARN_ORIGINS", LEARN).serve().await
}

fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

/// How many passwords have been hashed, for each purpose.
async fn hashes(app: &TestApp) -> BTreeMap<String, u64> {
    // A scrape within a second of the one before says the same.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (_, text) = app.raw(app.strange(Method::GET, "/metrics")).await;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("membership_password_hashes_total")?.rsplit_once(' '));
    lines.map(|(labels, count)| (labels.to_owned(), count.parse().expect("a count"))).collect()
}

/// What a stranger sees of an answer, but for what names the request.
fn seen(reply: &Reply) -> (StatusCode, Value, Vec<String>) {
    let mut body = reply.body.clone();
    if let Some(problem) = body.as_object_mut() {
        problem.remove("request_id");
    }
    let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
    names.sort();
    (reply.status, body, names)
}

on_every_store! {
    async fn no_answer_and_no_work_tells_whether_an_address_is_known(store: Store) {
        let app = serving(store).await;
        signed_up(&app, ADA).await;
        let waiting = "waiting@example.com";
        Browser::of(&app).post("/v1/auth/register", &credentials(waiting, PASSWORD)).await.is(202);
        app.home.letter(waiting, "Confirm").await;
        let mut told = Vec::new();
        let mut before = hashes(&app).await;
        for (number, email) in [ADA, NOBODY, waiting].into_iter().enumerate() {
            let mut stranger = Browser::of(&app).at(&format!("198.51.{number}.7"));
            let mut seen_of = Vec::new();
            for (path, body) in [
                ("/v1/auth/login", credentials(email, OTHER)),
                ("/v1/auth/forgot-password", json!({ "email": email })),
                ("/v1/auth/resend-verification", json!({ "email": email })),
                ("/v1/auth/register", credentials(email, OTHER)),
                // With what a stranger has just registered it, too.
                ("/v1/auth/login", credentials(email, OTHER)),
            ] {
                seen_of.push(seen(&stranger.post(path, &body).await));
            }
            let after = hashes(&app).await;
            let work: BTreeMap<_, _> =
                after.iter().map(|(what, count)| (what.clone(), count - before.get(what).unwrap_or(&0))).collect();
            assert_eq!(work.values().sum::<u64>(), 3, "two to compare, one to keep: {work:?}");
            told.push((seen_of, work));
            before = after;
        }
        assert_eq!(told[0], told[1], "an account is told from none");
        assert_eq!(told[0], told[2], "an account is told from one that waits");
        // Only the owners of the addresses learn more.
        app.home.letter(ADA, "You have an account already").await;
        app.home.letter(waiting, "Confirm").await;
    }

    async fn whoever_registers_an_address_of_somebody_else_gets_no_account_by_its_owners_click(store: Store) {
        let home = Home::new(store).await.with_accounts();
        // One address is new; another is of somebody who has been known for long, and may be paying.
        home.done(&["member", "create", "--id", "mem_known", "--email", BOB]);
        let app = home.serve().await;
        for (email, first) in [(ADA, true), (ADA, false), (BOB, true), (NOBODY, true)] {
            let (mut mallory, mut victim) = (Browser::of(&app), Browser::of(&app));
            if email == NOBODY {
                // The victim has asked for one too, and clicks the wrong letter.
                victim.post("/v1/auth/register", &credentials(email, PASSWORD)).await.is(202);
                app.home.link(email, "Confirm").await;
            }
            mallory.post("/v1/auth/register", &credentials(email, OTHER)).await.is(202);
            if !first {
                app.home.letter(email, "You have an account already").await;
                mallory.try_login(email, OTHER).await.problem(401, "wrong_credentials");
                continue;
            }
            mallory.post("/v1/auth/resend-verification", &json!({ "email": email })).await.is(202);
            app.home.link(email, "Confirm").await;
            let clicked = app.home.link(email, "Confirm").await;
            let reply = victim.post("/v1/auth/verify-email", &json!({ "token": clicked })).await;
            assert_eq!(reply.body["what"], "registration_without_password", "{reply:?}");
            for _ in 0..2 {
                mallory.try_login(email, OTHER).await.problem(401, "wrong_credentials");
            }
            let chosen = json!({ "token": reply.body["password_token"], "password": PASSWORD });
            victim.post("/v1/auth/reset-password", &chosen).await.is(204);
            mallory.try_login(email, OTHER).await.problem(401, "wrong_credentials");
            let member = victim.login(email, PASSWORD).await;
            assert_eq!(member == "mem_known", email == BOB, "{email}");
        }
    }

    async fn no_stranger_uses_up_the_letters_of_somebody_else(store: Store) {
        let app = serving(store).await;
        signed_up(&app, ADA).await;
        signed_up(&app, BOB).await;
        let forgot = json!({ "email": ADA });
        let about = "Choose another password";
        let mut stranger = Browser::of(&app).at("198.51.100.7");
        for _ in 0..7 {
            stranger.post("/v1/auth/forgot-password", &forgot).await.is(202);
            stranger.post("/v1/auth/resend-verification", &forgot).await.is(202);
        }
        Browser::of(&app).at("203.0.113.9").post("/v1/auth/forgot-password", &forgot).await.is(202);
        for _ in 0..6 {
            app.home.letter(ADA, about).await;
        }
        assert_eq!(app.home.unread_letters().await, 0, "five for the stranger and one for her");
        // Nor does anybody bury her in letters from many networks: of the thirty in all, fourteen have been asked for,
        // with those of her registration and those that were not due.
        for network in 0..7 {
            let mut stranger = Browser::of(&app).at(&format!("10.{network}.0.1"));
            for _ in 0..5 {
                stranger.post("/v1/auth/forgot-password", &forgot).await.is(202);
            }
        }
        let left = 30 - (1 + 5 + 5 + 1);
        assert_eq!(app.home.unread_letters_from(left).await, left);
    }

    async fn of_many_who_use_one_link_at_once_one_gets_through(store: Store) {
        let app = serving(store).await;
        signed_up(&app, ADA).await;
        Browser::of(&app).post("/v1/auth/forgot-password", &json!({ "email": ADA })).await.is(202);
        let token = app.home.link(ADA, "Choose another password").await;
        let tries = (0..6).map(|number| {
            let (mut browser, token) = (Browser::of(&app), token.clone());
            tokio::spawn(async move {
                let password = format!("a passphrase of number {number}");
                let reset = json!({ "token": token, "password": password });
                (browser.post("/v1/auth/reset-password", &reset).await.status.as_u16(), password)
            })
        });
        let mut done = Vec::new();
        for one in tries.collect::<Vec<_>>() {
            done.push(one.await.expect("it was asked"));
        }
        let right: Vec<_> = done.iter().filter(|(status, _)| *status == 204).collect();
        assert_eq!(right.len(), 1, "{done:?}");
        assert!(done.iter().all(|(status, _)| matches!(status, 204 | 400)), "{done:?}");
        Browser::of(&app).login(ADA, &right[0].1).await;
    }

    async fn a_session_that_was_planted_before_a_sign_in_is_worth_nothing_after_it(store: Store) {
        let app = serving(store).await;
        let (thief, _) = signed_up(&app, BOB).await;
        signed_up(&app, ADA).await;
        let mut victim = Browser::of(&app);
        for name in ["access", "refresh"] {
            victim.put(name, thief.cookie(name).expect("the thief is signed in"));
        }
        let mut thief = thief;
        assert!(thief.is_signed_in().await);
        let ada = victim.login(ADA, PASSWORD).await;
        for name in ["access", "refresh"] {
            assert_ne!(victim.cookie(name), thief.cookie(name), "{name}");
        }
        assert_eq!(victim.get(ACCOUNT).await.body["member"], json!(ada));
        app.settled().await;
        thief.get(ACCOUNT).await.problem(401, "not_signed_in");
        thief.post("/v1/auth/refresh", &json!({})).await.problem(401, "session_ended");
    }

    async fn a_token_that_was_made_by_somebody_else_says_nothing(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let (_, bob) = signed_up(&app, BOB).await;
        ada.forget("refresh");
        ada.put("access", &ada.token(|_, _| ()));
        assert!(ada.is_signed_in().await, "this test cannot make a token, so it proves nothing");

        let set = |name: &'static str, value: Value| {
            move |header: &mut Value, claims: &mut Value| {
                let part = if ["alg", "typ", "kid", "jwk", "jku"].contains(&name) { header } else { claims };
                if value.is_null() { drop(part.as_object_mut().map(|part| part.remove(name))) } else { part[name] = value }
            }
        };
        let good = ada.token(|_, _| ());
        let (said, signature) = good.rsplit_once('.').expect("a token has parts");
        let mut forged: Vec<(String, String)> = Vec::new();
        for (name, value) in [
            ("alg", json!("HS384")), ("alg", json!("HS512")), ("alg", json!("RS256")), ("alg", json!("ES256")), ("alg", Value::Null),
            ("typ", json!("JWT")), ("typ", json!("rt+jwt")), ("typ", Value::Null),
            ("kid", json!("other")), ("kid", json!("../../../dev/null")), ("kid", Value::Null),
            ("iss", json!("https://evil.example")), ("iss", Value::Null),
            ("aud", json!("somebody-else")), ("aud", Value::Null),
            ("exp", json!(1)), ("exp", json!("never")), ("exp", Value::Null),
            ("iat", json!(32_503_680_000_i64)),
            ("sub", Value::Null), ("sid", Value::Null), ("role", json!("god")),
        ] {
            forged.push((format!("{name} {value}"), ada.token(set(name, value))));
        }
        for alg in ["none", "None", "NONE", "nOnE"] {
            let none = ada.token(set("alg", json!(alg)));
            let unsigned = none.rsplit_once('.').map(|(said, _)| format!("{said}.")).unwrap_or_default();
            forged.extend([(format!("{alg}, signed"), none), (alg.to_owned(), unsigned)]);
        }
        let (mut header, mut claims) = (Value::Null, Value::Null);
        ada.token(|of, what| (header, claims) = (of.clone(), what.clone()));
        claims["sub"] = json!(bob);
        forged.push(("another key".to_owned(), token(&header, &claims, &[b'x'; 32])));
        forged.push(("no key".to_owned(), token(&header, &claims, b"")));
        header["jwk"] = json!({ "kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg" });
        forged.push(("a key it brings along".to_owned(), token(&header, &claims, &[b'x'; 32])));
        forged.extend([
            ("no signature".to_owned(), format!("{said}.")),
            ("two parts".to_owned(), said.to_owned()),
            ("half a signature".to_owned(), format!("{said}.{}", &signature[..20])),
            ("one more part".to_owned(), format!("{good}.{signature}")),
            ("padding".to_owned(), format!("{good}=")),
            ("nothing".to_owned(), String::new()),
            ("rubbish".to_owned(), "..".to_owned()),
            ("much of it".to_owned(), "a".repeat(3_000)),
        ]);
        for (what, forged) in forged {
            assert_ne!(forged, good, "{what}");
            ada.put("access", &forged);
            let reply = ada.get(ACCOUNT).await;
            assert_eq!(reply.status, 401, "{what}: {reply:?}");
        }
        // The key itself signs for whoever has it, which is why it is a secret.
        ada.put("access", &good);
        assert_eq!(token(&header, &claims, KEY).split('.').count(), 3);
        assert!(ada.is_signed_in().await);
    }

    async fn a_secret_of_one_kind_is_none_of_another(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let (access, refresh) = ["access", "refresh"].map(|name| ada.cookie(name).unwrap_or_default().to_owned()).into();
        let device = ada.cookie("device").expect("she is known by it").to_owned();
        ada.post("/v1/auth/forgot-password", &json!({ "email": ADA })).await.is(202);
        let reset = app.home.link(ADA, "Choose another password").await;
        ada.post("/v1/auth/register", &credentials(BOB, PASSWORD)).await.is(202);
        let verify = app.home.link(BOB, "Confirm").await;
        let secrets = [("access", &access), ("refresh", &refresh), ("device", &device), ("reset", &reset), ("verify", &verify)];
        for (kind, secret) in secrets {
            let mut stranger = Browser::of(&app);
            if kind != "verify" {
                stranger.post("/v1/auth/verify-email", &json!({ "token": secret })).await.problem(400, "bad_token");
            }
            if kind != "reset" {
                let reset = json!({ "token": secret, "password": OTHER });
                stranger.post("/v1/auth/reset-password", &reset).await.problem(400, "bad_token");
            }
            let code = json!({ "challenge": secret, "code": "123456" });
            stranger.post("/v1/auth/login/second-factor", &code).await.problem(400, "bad_token");
            if kind != "access" {
                stranger.put("access", secret);
                assert!(!stranger.is_signed_in().await, "{kind} as an access token");
                stranger.forget("access");
            }
            if kind != "refresh" {
                stranger.put("refresh", secret);
                stranger.post("/v1/auth/refresh", &json!({})).await.problem(401, "session_ended");
            }
            let bearer = app.strange(Method::GET, "/v1/members").bearer_auth(secret);
            assert_eq!(app.raw(bearer).await.0, 401, "{kind} as a service token");
        }
        // A service token in a cookie is nobody's.
        let mut stranger = Browser::of(&app);
        stranger.put("access", tests::app::TOKEN);
        assert!(!stranger.is_signed_in().await);
        // Each of them is still good for what it is.
        ada.post("/v1/auth/verify-email", &json!({ "token": verify })).await.is(200);
        assert!(ada.is_signed_in().await);
        ada.post("/v1/auth/refresh", &json!({})).await.is(200);
        ada.post("/v1/auth/reset-password", &json!({ "token": reset, "password": OTHER })).await.is(204);
    }

    async fn of_cookies_that_another_site_has_tossed_in_none_is_believed(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let (thief, _) = signed_up(&app, BOB).await;
        for name in ["access", "refresh"] {
            let other = if name == "access" { "refresh" } else { "access" };
            let (mut alone, tossed) = (ada.clone(), thief.cookie(name).expect("the thief is signed in"));
            alone.forget(other);
            let own = alone.cookie(name).unwrap_or_default().to_owned();
            for both in [format!("{own}; {name}={tossed}"), format!("{tossed}; {name}={own}")] {
                alone.put(name, &both);
                let reply = alone.clone().get(ACCOUNT).await;
                assert_eq!(reply.status, 401, "{name}: {reply:?}");
            }
        }
        // A name that this service does not use here counts for nothing.
        ada.put("__Host-access", thief.cookie("access").unwrap_or_default());
        assert_eq!(ada.get(ACCOUNT).await.body["email"], ADA);
    }

    async fn a_page_of_somebody_else_changes_nothing(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let pages = [
            ("a form elsewhere", "cross-site", "https://evil.example"),
            ("another host of the same site", "same-site", "http://forum.localhost"),
            ("the same host at another port", "same-site", "http://127.0.0.1:1"),
            ("a page in a sandbox", "cross-site", "null"),
            ("an old browser", "", "https://evil.example"),
            ("an old browser, in a sandbox", "", "null"),
            ("a page that hides where it is", "cross-site", ""),
            ("who says nothing", "", ""),
        ];
        for (what, site, origin) in pages {
            let mut page = ada.clone().saying(FETCH_SITE, site).saying("origin", origin);
            for (method, path, body) in [
                (Method::POST, "/v1/auth/logout", json!({})),
                (Method::POST, "/v1/auth/refresh", json!({})),
                (Method::POST, "/v1/auth/change-password", json!({ "current_password": PASSWORD, "new_password": OTHER })),
                (Method::POST, "/v1/auth/delete-account", json!({ "password": PASSWORD })),
                (Method::DELETE, "/v1/auth/sessions", json!({})),
                (Method::POST, "/v1/auth/login", credentials(BOB, PASSWORD)),
            ] {
                let reply = page.send(method, path, Some(&body)).await;
                assert_eq!((reply.status.as_u16(), &reply.body["code"]), (403, &json!("foreign_origin")), "{what}, {path}: {reply:?}");
                assert!(reply.header("access-control-allow-origin").is_none(), "{what}, {path}: {reply:?}");
            }
            let read = page.get(ACCOUNT).await;
            assert!(read.header("access-control-allow-origin").is_none(), "{what} may read: {read:?}");
            if !(site.is_empty() && origin.is_empty()) {
                // Also where nobody is signed in: it would sign her in as somebody else.
                let mut nobody = Browser::of(&app).saying(FETCH_SITE, site).saying("origin", origin);
                nobody.post("/v1/auth/login", &credentials(BOB, PASSWORD)).await.problem(403, "foreign_origin");
            }
        }
        assert!(ada.is_signed_in().await);
        // A form cannot send JSON.
        let form = ada.request(Method::POST, "/v1/auth/logout-everywhere").header("content-type", "text/plain");
        assert_eq!(form.body("{}").send().await.expect("an answer").status(), 404);
        let form = ada.request(Method::POST, "/v1/auth/delete-account").header("content-type", "text/plain");
        assert_eq!(form.body(json!({ "password": PASSWORD }).to_string()).send().await.expect("an answer").status(), 415);

        // The learner's site is listed, and everything else of it goes through.
        let mut learn = ada.clone().saying(FETCH_SITE, "cross-site").saying("origin", LEARN);
        let read = learn.get(ACCOUNT).await;
        assert_eq!(read.header("access-control-allow-origin"), Some(LEARN), "{read:?}");
        assert_eq!(read.header("access-control-allow-credentials"), Some("true"), "{read:?}");
        let asked = |origin: &'static str| {
            let request = Browser::of(&app).saying(FETCH_SITE, "cross-site").saying("origin", origin);
            let request = request.request(Method::OPTIONS, "/v1/auth/logout").header("access-control-request-method", "POST");
            request.header("access-control-request-headers", "content-type,idempotency-key").send()
        };
        let allowed = asked(LEARN).await.expect("an answer");
        assert_eq!(allowed.headers()["access-control-allow-origin"], LEARN, "{allowed:?}");
        assert_eq!(allowed.headers()["access-control-allow-credentials"], "true", "{allowed:?}");
        let refused = asked("https://evil.example").await.expect("an answer");
        assert!(refused.headers().get("access-control-allow-origin").is_none(), "{refused:?}");
        learn.post("/v1/auth/logout", &json!({})).await.is(204);
        app.settled().await;
        assert!(!ada.is_signed_in().await);
    }

    async fn guessing_gets_slower_and_slower_for_a_stranger_and_never_for_its_owner(store: Store) {
        let app = serving(store).await;
        let (ada, _) = signed_up(&app, ADA).await;
        for email in [ADA, NOBODY] {
            let (mut stranger, mut first) = (Browser::of(&app).at("198.51.100.7"), None);
            // Each wait is twice as long as the one before, so there is an end to this.
            loop {
                let reply = stranger.try_login(email, "a guess of a password").await;
                if reply.status == 401 {
                    continue;
                }
                reply.problem(429, "too_many_attempts");
                let wait = reply.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
                let wait = wait.expect("it says how long");
                if wait > *first.get_or_insert(wait) && wait >= 4 {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
            // The right password is no way round, and no way to find out that it is right.
            stranger.try_login(email, PASSWORD).await.problem(429, "too_many_attempts");
        }
        // Her own device waits for nobody, even at the address that the stranger has; nor does she elsewhere.
        let mut known = Browser::of(&app).at("198.51.100.7");
        known.put("device", ada.cookie("device").expect("she is known by it"));
        known.login(ADA, PASSWORD).await;
        Browser::of(&app).at("203.0.113.9").login(ADA, PASSWORD).await;
        let member = known.get(ACCOUNT).await.body["member"].as_str().unwrap_or_default().to_owned();
        app.settled().await;
        let told = app.get(&format!("/v1/support/members/{member}/timeline")).await.body.to_string();
        assert!(told.contains("SignInRefused"), "{told}");
    }

    async fn a_password_that_everybody_tries_first_cannot_be_chosen(store: Store) {
        let app = serving(store).await;
        let mut ada = Browser::of(&app);
        for (password, why) in [
            ("short", "8 characters"),
            ("password", "common"),
            ("PassWord123", "common"),
            ("12345678", "common"),
            ("qwertyuiop", "common"),
            (ADA, "e-mail"),
            ("membership", "name of this service"),
            (&"x".repeat(129), "128"),
            (&"x".repeat(60_000), "128"),
        ] {
            let reply = ada.post("/v1/auth/register", &credentials(ADA, password)).await;
            reply.problem(422, "password_refused");
            assert!(reply.body["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{why}: {reply:?}");
        }
        assert_eq!(app.home.unread_letters().await, 0);
        ada.post("/v1/auth/register", &credentials(ADA, &"x".repeat(70_000))).await.problem(413, "too_large");
        signed_up(&app, ADA).await;
        let before = hashes(&app).await;
        Browser::of(&app).try_login(ADA, &"x".repeat(60_000)).await.problem(401, "wrong_credentials");
        let after = hashes(&app).await;
        assert_eq!(after.values().sum::<u64>(), before.values().sum::<u64>() + 1, "as much work as for any other");
    }

    async fn an_address_takes_no_lines_and_no_letter_leads_elsewhere(store: Store) {
        let app = serving(store).await;
        let mut ada = Browser::of(&app);
        for email in ["ada@example.com\r\nBcc: eve@evil.example", "ada@example.com,eve@evil.example", "ada", "@", "a@\u{0}b", &"a@b".repeat(200)] {
            ada.post("/v1/auth/register", &credentials(email, PASSWORD)).await.problem(422, "invalid");
            ada.post("/v1/auth/forgot-password", &json!({ "email": email })).await.problem(422, "invalid");
        }
        assert_eq!(app.home.unread_letters().await, 0);
        signed_up(&app, ADA).await;
        let poisoned = Browser::of(&app).saying("x-forwarded-host", "evil.example").saying("forwarded", "host=evil.example");
        let poisoned = poisoned.saying("host", "evil.example");
        let sent = poisoned.request(Method::POST, "/v1/auth/forgot-password").json(&json!({ "email": ADA })).send().await;
        assert_eq!(sent.expect("an answer").status(), 202);
        let letter = app.home.letter(ADA, "Choose another password").await;
        assert!(letter.contains(&app.url) && !letter.contains("evil.example"), "{letter}");
    }

    async fn a_link_that_signs_anybody_in_is_only_in_the_demo(store: Store) {
        let app = serving(store).await;
        let (_, member) = signed_up(&app, ADA).await;
        let mut thief = Browser::of(&app);
        let path = format!("/v1/auth/demo-sign-in?member={member}&to=/");
        thief.get(&path).await.problem(404, "no_such_path");
        assert!(!thief.is_signed_in().await);
    }
}

#[tokio::test]
async fn who_guesses_from_everywhere_locks_out_strangers_and_not_the_owner() {
    let app = serving(Store::Sqlite).await;
    let (ada, _) = signed_up(&app, ADA).await;
    for number in 0..100 {
        let mut stranger = Browser::of(&app).at(&format!("10.{number}.0.1"));
        stranger.try_login(ADA, "a guess of a password").await.problem(401, "wrong_credentials");
    }
    Browser::of(&app)
        .at("10.200.0.1")
        .try_login(ADA, PASSWORD)
        .await
        .problem(429, "too_many_wrong_passwords");
    let mut known = Browser::of(&app).at("10.201.0.1");
    known.put("device", ada.cookie("device").expect("she is known by it"));
    known.login(ADA, PASSWORD).await;
    // A letter helps whoever has no device that is known.
    let mut new = Browser::of(&app).at("10.202.0.1");
    new.post("/v1/auth/forgot-password", &json!({ "email": ADA })).await.is(202);
    let token = app.home.link(ADA, "Choose another password").await;
    new.post("/v1/auth/reset-password", &json!({ "token": token, "password": OTHER })).await.is(204);
    new.login(ADA, OTHER).await;
}

#[tokio::test]
async fn a_flood_of_passwords_is_held_back_and_access_checks_go_on() {
    let app = serving(Store::Sqlite).await;
    let (mut ada, member) = signed_up(&app, ADA).await;
    app.settled().await;
    let before: u64 = hashes(&app).await.values().sum();
    let flood = (0..300).map(|number| {
        let mut stranger = Browser::of(&app).at(&format!("10.{number}.0.1"));
        if number > 255 {
            stranger = stranger.at(&format!("11.{}.0.1", number - 256));
        }
        let email = format!("somebody{number}@example.com");
        tokio::spawn(async move { stranger.try_login(&email, "a guess of a password").await })
    });
    let flood: Vec<_> = flood.collect();
    for _ in 0..50 {
        assert_eq!(app.check(&member, BASIC).await["reason"], "no_membership");
    }
    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
    for one in flood {
        let reply = one.await.expect("it was asked");
        *answers.entry(reply.body["code"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let known = ["wrong_credentials", "busy", "overloaded", "took_too_long"];
    assert!(answers.keys().all(|code| known.contains(&code.as_str())), "{answers:?}");
    let refused = answers.get("busy").unwrap_or(&0) + answers.get("overloaded").unwrap_or(&0);
    assert!(refused > 0, "nothing was held back: {answers:?}");
    // No work was done for those that were refused; on a slow machine some was for those that were given up.
    let work = hashes(&app).await.values().sum::<u64>() - before;
    let (answered, late) = (answers["wrong_credentials"], answers.get("took_too_long").unwrap_or(&0));
    assert!((answered..=answered + late).contains(&work), "{work} hashes for {answers:?}");
    assert!(ada.is_signed_in().await);
    Browser::of(&app).login(ADA, PASSWORD).await;
}

#[tokio::test]
async fn a_session_that_ends_at_one_process_ends_at_the_others() {
    let home = Home::new(Store::Postgres).await.with_accounts().with("PUBLIC_URL", "http://localhost:8080");
    let (one, two) = (home.serve().await, home.serve().await);
    let (ada, _) = signed_up(&one, ADA).await;
    let mut stays = Browser::of(&one);
    stays.login(ADA, PASSWORD).await;
    let mut thief = ada.clone().asking(&two);
    assert!(thief.is_signed_in().await, "a session of one process is none at the other");
    let mut ada = ada;
    let ended = ada.post("/v1/auth/logout", &json!({})).await;
    ended.is(204);
    // From the position of the end on, nobody answers it any more.
    let position = ended.header("membership-position").expect("it has a position");
    let asked = thief.request(Method::GET, ACCOUNT).header("membership-position", position);
    caught_up(asked).await.is(401);
    assert!(stays.clone().asking(&two).is_signed_in().await && stays.is_signed_in().await);
}

#[tokio::test]
async fn codes_of_a_second_factor_cannot_be_tried_one_after_the_other() {
    let app = serving(Store::Sqlite).await;
    let (mut ada, _) = signed_up(&app, ADA).await;
    let (_, backup) = ada.second_factor().await;
    let mut thief = Browser::of(&app);
    let challenge = thief.try_login(ADA, PASSWORD).await.body["challenge"].clone();
    let mut tries = Vec::new();
    for number in 0..12 {
        let code = json!({ "challenge": challenge, "code": format!("{number:06}") });
        tries.push(
            thief.post("/v1/auth/login/second-factor", &code).await.body["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    assert!(tries.iter().filter(|code| *code == "wrong_code").count() <= 5, "{tries:?}");
    assert_eq!(tries.last().map(String::as_str), Some("bad_token"), "{tries:?}");
    // Not even a right one helps then.
    let right = json!({ "challenge": challenge, "code": backup[0] });
    thief.post("/v1/auth/login/second-factor", &right).await.problem(400, "bad_token");
    assert!(!thief.is_signed_in().await);
}

mod long {
    use std::time::Instant;

    use super::*;

    const TIMINGS: usize = 1_000;
    /// No address is asked for so often that anything is refused.
    const EACH: usize = 4;

    fn median(times: &mut [Duration]) -> Duration {
        times.sort();
        times[times.len() / 2]
    }

    /// The time of one request, and what a stranger sees of its answer.
    async fn timed(app: &TestApp, number: usize, path: &str, body: &Value) -> (Duration, StatusCode, Value) {
        let mut stranger = Browser::of(app).at(&format!("10.{}.{}.1", number / 256, number % 256));
        let begun = Instant::now();
        let reply = stranger.post(path, body).await;
        let (status, body, _) = seen(&reply);
        (begun.elapsed(), status, body)
    }

    #[expect(clippy::print_stderr, reason = "figures are what the long forms are run for")]
    async fn no_time_tells(store: Store) {
        let app = serving(store).await;
        let mut number = 0;
        for (nth, path) in
            ["/v1/auth/login", "/v1/auth/forgot-password", "/v1/auth/register"].into_iter().enumerate()
        {
            let mut known = Vec::new();
            for number in 0..TIMINGS / EACH {
                let email = format!("somebody{number}.{nth}@example.com");
                let mut owner = Browser::of(&app).at(&format!("11.{nth}.{number}.1"));
                owner.post("/v1/auth/register", &credentials(&email, PASSWORD)).await.is(202);
                let token = app.home.link(&email, "Confirm").await;
                owner.post("/v1/auth/verify-email", &json!({ "token": token })).await.is(200);
                known.push(email);
            }
            app.settled().await;
            let (mut times, mut answers) = ([Vec::new(), Vec::new()], Vec::new());
            for turn in 0..TIMINGS {
                let email = &known[turn % known.len()];
                let stranger = format!("x{email}");
                for (which, email) in [email, &stranger].into_iter().enumerate() {
                    let body = match path {
                        "/v1/auth/forgot-password" => json!({ "email": email }),
                        _ => credentials(email, "a guess of a password"),
                    };
                    let (time, status, body) = timed(&app, number, path, &body).await;
                    number += 1;
                    times[which].push(time);
                    if !answers.contains(&(status, body.clone())) {
                        answers.push((status, body));
                    }
                }
            }
            assert_eq!(answers.len(), 1, "{path}: {answers:?}");
            let [known, unknown] = times.each_mut().map(|times| median(times).as_secs_f64() * 1_000.0);
            let apart = (known - unknown).abs() / unknown * 100.0;
            eprintln!(
                "{store:?} {path}: known {known:.3} ms, unknown {unknown:.3} ms, {apart:.2} % apart, {TIMINGS} each"
            );
            assert!(apart < 5.0, "{path}: {apart:.2} %");
        }
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn no_time_tells_whether_an_address_is_known_on_sqlite() {
        no_time_tells(Store::Sqlite).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn no_time_tells_whether_an_address_is_known_on_postgres() {
        no_time_tells(Store::Postgres).await;
    }
}
