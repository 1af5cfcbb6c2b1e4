//! Accounts, from asking for one to giving it up: over HTTP, with cookies and letters, as a browser would.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp};
use tests::browser::{Browser, PASSWORD, code, signed_up};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, Price, Story, bought, days_ago, events};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const OTHER: &str = "quite another passphrase";
/// Of pages that are not this service's.
const LEARN: &str = "http://learn.example.com:5173";

async fn serving(store: Store) -> TestApp {
    Home::new(store).await.with_accounts().with("LEARN_ORIGINS", LEARN).serve().await
}

/// Sends a code after a right password.
async fn with_code(browser: &mut Browser, code: &str) -> Reply {
    let reply = browser.try_login(ADA, PASSWORD).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body["object"]),
        (200, &json!("second_factor_required")),
        "{reply:?}"
    );
    assert!(!browser.is_signed_in().await, "a password was enough");
    let challenge = &reply.body["challenge"];
    browser.post("/v1/auth/login/second-factor", &json!({ "challenge": challenge, "code": code })).await
}

/// What happened to a member, by its stored names.
async fn history(app: &TestApp, member: &str) -> Vec<Value> {
    app.settled().await;
    let reply = app.get(&format!("/v1/support/members/{member}/timeline")).await;
    reply.is(200);
    reply.body["data"].as_array().cloned().unwrap_or_default()
}

fn named<'e>(history: &'e [Value], name: &str) -> Vec<&'e Value> {
    history.iter().filter(|entry| entry["event_type"] == name).collect()
}

on_every_store! {
    async fn an_account_is_open_once_the_link_in_the_letter_was_followed(store: Store) {
        let app = serving(store).await;
        let mut ada = Browser::of(&app);
        ada.post("/v1/auth/register", &json!({ "email": "Ada@Example.com", "password": PASSWORD })).await.is(202);
        for password in [PASSWORD, OTHER] {
            ada.try_login(ADA, password).await.problem(401, "wrong_credentials");
        }
        assert!(!ada.is_signed_in().await);
        let token = app.home.link("Ada@Example.com", "Confirm").await;
        let follow = json!({ "token": token });
        let reply = ada.post("/v1/auth/verify-email", &follow).await;
        assert_eq!((reply.status.as_u16(), &reply.body["what"]), (200, &json!("registration")), "{reply:?}");
        assert!(!ada.is_signed_in().await, "a letter does not sign in whoever opens it");
        ada.post("/v1/auth/verify-email", &follow).await.problem(400, "bad_token");

        let member = ada.login(ADA, PASSWORD).await;
        let account = ada.get("/v1/auth/account").await;
        account.is(200);
        assert_eq!((&account.body["member"], &account.body["email"]), (&json!(member), &json!("Ada@Example.com")));
        assert_eq!((&account.body["role"], &account.body["has_password"]), (&json!("member"), &json!(true)));
        assert_eq!(account.header("cache-control"), Some("no-store"), "{account:?}");
        // A member like any other.
        app.settled().await;
        assert_eq!(app.check(&member, ADVANCED).await["reason"], "no_membership");
    }

    async fn a_link_that_is_followed_in_another_browser_opens_the_account_and_asks_for_a_password(store: Store) {
        let app = serving(store).await;
        let (mut ada, mut phone) = (Browser::of(&app), Browser::of(&app));
        ada.post("/v1/auth/register", &json!({ "email": ADA, "password": PASSWORD })).await.is(202);
        let token = app.home.link(ADA, "Confirm").await;
        let reply = phone.post("/v1/auth/verify-email", &json!({ "token": token })).await;
        assert_eq!(reply.body["what"], "registration_without_password", "{reply:?}");
        let chosen = json!({ "token": reply.body["password_token"], "password": OTHER });
        phone.post("/v1/auth/reset-password", &chosen).await.is(204);
        phone.post("/v1/auth/reset-password", &chosen).await.problem(400, "bad_token");
        ada.try_login(ADA, PASSWORD).await.problem(401, "wrong_credentials");
        phone.login(ADA, OTHER).await;
    }

    async fn the_letter_comes_again_when_it_is_asked_for(store: Store) {
        let app = serving(store).await;
        let mut ada = Browser::of(&app);
        ada.post("/v1/auth/register", &json!({ "email": ADA, "password": PASSWORD })).await.is(202);
        let first = app.home.link(ADA, "Confirm").await;
        ada.post("/v1/auth/resend-verification", &json!({ "email": ADA })).await.is(202);
        let second = app.home.link(ADA, "Confirm").await;
        assert_ne!(first, second);
        ada.post("/v1/auth/verify-email", &json!({ "token": second })).await.is(200);
        ada.post("/v1/auth/verify-email", &json!({ "token": first })).await.problem(400, "bad_token");
        ada.login(ADA, PASSWORD).await;
    }

    async fn signing_out_ends_the_session_also_for_a_copy_of_its_cookies(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let (mut copy, mut elsewhere) = (ada.clone(), Browser::of(&app));
        elsewhere.login(ADA, PASSWORD).await;
        assert!(copy.is_signed_in().await);
        ada.post("/v1/auth/logout", &json!({})).await.is(204);
        assert_eq!((ada.cookie("access"), ada.cookie("refresh")), (None, None));
        app.settled().await;
        copy.get("/v1/auth/account").await.problem(401, "not_signed_in");
        copy.post("/v1/auth/refresh", &json!({})).await.problem(401, "session_ended");
        assert_eq!(copy.cookie("refresh"), None, "it is of no use any more");
        assert!(elsewhere.is_signed_in().await, "another session was ended too");
        // Nothing to sign out of is no mistake.
        ada.post("/v1/auth/logout", &json!({})).await.is(204);
    }

    async fn any_request_renews_an_access_cookie_that_has_expired_and_answers_at_once(store: Store) {
        let app = serving(store).await;
        let (mut ada, member) = signed_up(&app, ADA).await;
        let before = ada.clone();
        let expired = ada.token(|_, claims| {
            for time in ["iat", "exp"] {
                claims[time] = json!(claims[time].as_i64().expect("a moment") - 3_600);
            }
        });
        ada.put("access", &expired);
        let mut without = ada.clone();
        without.forget("refresh");
        assert!(!without.is_signed_in().await, "an access token counts after its end");

        let reply = ada.get("/v1/auth/account").await;
        assert_eq!((reply.status.as_u16(), &reply.body["member"]), (200, &json!(member)), "{reply:?}");
        assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2, "{reply:?}");
        assert_ne!(ada.cookie("access"), Some(expired.as_str()));
        assert_ne!(ada.cookie("refresh"), before.cookie("refresh"));
        let again = ada.get("/v1/auth/account").await;
        assert!(again.status == 200 && again.header("set-cookie").is_none(), "{again:?}");

        // Without the access cookie it is the same, also where something is changed, and by its own route.
        ada.forget("access");
        assert_eq!(ada.post("/v1/auth/change-email", &json!({ "email": BOB, "password": PASSWORD })).await.status, 202);
        let reply = ada.post("/v1/auth/refresh", &json!({})).await;
        assert_eq!((reply.status.as_u16(), &reply.body["member"]), (200, &json!(member)), "{reply:?}");
        assert!(ada.is_signed_in().await);
    }

    async fn tabs_that_renew_at_the_same_moment_stay_signed_in_and_a_thief_who_comes_later_ends_the_session(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        ada.forget("access");
        let mut thief = ada.clone();
        let mut tabs = [ada.clone(), ada.clone(), ada.clone()];
        let [one, two, three] = &mut tabs;
        tokio::join!(one.get("/v1/auth/account"), two.get("/v1/auth/account"), three.get("/v1/auth/account"));
        for tab in &mut tabs {
            assert!(tab.is_signed_in().await);
        }
        assert_eq!(tabs[0].cookie("refresh"), tabs[1].cookie("refresh"), "they share a cookie jar, and one was given another");
        // Renewed once more, what was spent first is two steps old: nobody's honest mistake.
        let [mut ada, ..] = tabs;
        ada.post("/v1/auth/refresh", &json!({})).await.is(200);
        thief.get("/v1/auth/account").await.problem(401, "not_signed_in");
        app.settled().await;
        assert!(!ada.is_signed_in().await, "of two that have it, one is a thief");
        app.home.letter(ADA, "signed out for your safety").await;
    }

    async fn a_forgotten_password_is_chosen_anew_and_ends_every_session(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let mut stranger = Browser::of(&app);
        stranger.post("/v1/auth/forgot-password", &json!({ "email": ADA })).await.is(202);
        let token = app.home.link(ADA, "Choose another password").await;
        let reset = json!({ "token": token, "password": OTHER });
        // A password that cannot be used does not use up the link.
        stranger.post("/v1/auth/reset-password", &json!({ "token": token, "password": "password1" })).await.problem(422, "password_refused");
        assert!(ada.is_signed_in().await);
        stranger.post("/v1/auth/reset-password", &reset).await.is(204);
        assert!(!stranger.is_signed_in().await, "a letter does not sign in whoever opens it");
        app.settled().await;
        assert!(!ada.is_signed_in().await, "who knew the old password is still signed in");
        stranger.post("/v1/auth/reset-password", &reset).await.problem(400, "bad_token");
        ada.try_login(ADA, PASSWORD).await.problem(401, "wrong_credentials");
        ada.login(ADA, OTHER).await;
        app.home.letter(ADA, "Your password was changed").await;
    }

    async fn another_password_ends_the_other_sessions_and_not_this_one(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let mut elsewhere = Browser::of(&app);
        elsewhere.login(ADA, PASSWORD).await;
        let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
        ada.post("/v1/auth/change-password", &change(OTHER, "yet another passphrase")).await.problem(401, "wrong_credentials");
        ada.post("/v1/auth/change-password", &change(PASSWORD, "short")).await.problem(422, "password_refused");
        assert!(elsewhere.is_signed_in().await);
        ada.post("/v1/auth/change-password", &change(PASSWORD, OTHER)).await.is(204);
        app.settled().await;
        assert!(ada.is_signed_in().await);
        assert!(!elsewhere.is_signed_in().await);
        elsewhere.post("/v1/auth/refresh", &json!({})).await.problem(401, "session_ended");
        elsewhere.try_login(ADA, PASSWORD).await.problem(401, "wrong_credentials");
        elsewhere.login(ADA, OTHER).await;
        Browser::of(&app).post("/v1/auth/change-password", &change(OTHER, PASSWORD)).await.problem(401, "not_signed_in");
    }

    async fn another_address_counts_once_its_letter_was_answered_and_the_old_one_is_told(store: Store) {
        let app = serving(store).await;
        let (mut ada, member) = signed_up(&app, ADA).await;
        let new = "countess@example.com";
        ada.post("/v1/auth/change-email", &json!({ "email": new, "password": OTHER })).await.problem(401, "wrong_credentials");
        ada.post("/v1/auth/change-email", &json!({ "email": new, "password": PASSWORD })).await.is(202);
        app.home.letter(ADA, "Another e-mail address was asked for").await;
        let token = app.home.link(new, "Confirm your new").await;
        ada.try_login(new, PASSWORD).await.problem(401, "wrong_credentials");
        let reply = ada.post("/v1/auth/verify-email", &json!({ "token": token })).await;
        assert_eq!((reply.status.as_u16(), &reply.body["what"]), (200, &json!("new_email")), "{reply:?}");
        app.home.letter(ADA, "Your e-mail address was changed").await;
        ada.try_login(ADA, PASSWORD).await.problem(401, "wrong_credentials");
        assert_eq!(ada.login(new, PASSWORD).await, member);

        // An address that is taken is not told to be; its owner is.
        let (mut bob, _) = signed_up(&app, BOB).await;
        bob.post("/v1/auth/change-email", &json!({ "email": new, "password": PASSWORD })).await.is(202);
        app.home.letter(new, "You have an account already").await;
        assert_eq!(bob.get("/v1/auth/account").await.body["email"], BOB);
    }

    async fn who_gives_her_account_up_leaves_no_address_and_who_still_pays_cannot(store: Store) {
        let app = serving(store).await;
        let (mut ada, member) = signed_up(&app, ADA).await;
        let mut story = Story::new("ada");
        bought(&mut story, &member, Price::ProMonth, days_ago(10));
        app.deliver_all(&events(story)).await;
        assert_eq!(app.check(&member, ADVANCED).await["reason"], "subscription");
        ada.post("/v1/auth/delete-account", &json!({ "password": PASSWORD })).await.problem(409, "still_paying");
        assert!(ada.is_signed_in().await);

        let (mut bob, member) = signed_up(&app, BOB).await;
        let mut copy = bob.clone();
        bob.post("/v1/auth/delete-account", &json!({ "password": OTHER })).await.problem(401, "wrong_credentials");
        bob.post("/v1/auth/delete-account", &json!({ "password": PASSWORD })).await.is(204);
        assert_eq!((bob.cookie("access"), bob.cookie("refresh")), (None, None));
        let told = history(&app, &member).await;
        assert_eq!(named(&told, "AccountDeleted").len(), 1, "{told:#?}");
        assert!(!copy.is_signed_in().await);
        bob.try_login(BOB, PASSWORD).await.problem(401, "wrong_credentials");
        let reply = app.get(&format!("/v1/members/{member}")).await;
        assert!(!reply.body.to_string().contains(BOB), "{reply:?}");
        app.home.letter(BOB, "deleted").await;
        // The address is free, and leads to somebody new.
        let (_, again) = signed_up(&app, BOB).await;
        assert_ne!(again, member);
    }

    async fn she_sees_where_she_is_signed_in_and_ends_what_is_not_hers(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let mut phone = Browser::of(&app).saying("user-agent", "A phone").at("203.0.113.77");
        phone.login(ADA, PASSWORD).await;
        let mut tablet = Browser::of(&app).saying("user-agent", "A tablet");
        tablet.login(ADA, PASSWORD).await;
        app.home.letter(ADA, "new device").await;

        let sessions = ada.get("/v1/auth/sessions").await;
        sessions.is(200);
        let listed = sessions.body["data"].as_array().cloned().unwrap_or_default();
        assert_eq!(listed.len(), 3, "{sessions:?}");
        let of = |device: &str| listed.iter().find(|session| session["device"] == device).cloned().unwrap_or_default();
        assert_eq!((&of("A phone")["network"], &of("A phone")["current"]), (&json!("203.0.113.0/24"), &json!(false)));
        assert_eq!(listed.iter().filter(|session| session["current"] == true).count(), 1, "{sessions:?}");
        let path = |session: &Value| format!("/v1/auth/sessions/{}", session["id"].as_str().unwrap_or_default());

        let (mut bob, _) = signed_up(&app, BOB).await;
        bob.send(Method::DELETE, &path(&of("A phone")), None).await.problem(404, "unknown_session");
        assert!(phone.is_signed_in().await);
        ada.send(Method::DELETE, &path(&of("A phone")), None).await.is(204);
        ada.send(Method::DELETE, &path(&of("A phone")), None).await.problem(404, "unknown_session");
        ada.send(Method::DELETE, "/v1/auth/sessions/ses_%00", None).await.problem(404, "unknown_session");
        app.settled().await;
        assert!(!phone.is_signed_in().await);
        assert!(tablet.is_signed_in().await);
        let ended = ada.send(Method::DELETE, "/v1/auth/sessions", None).await;
        assert_eq!((ended.status.as_u16(), &ended.body["count"]), (200, &json!(1)), "{ended:?}");
        app.settled().await;
        assert!(!tablet.is_signed_in().await);
        assert!(ada.is_signed_in().await && bob.is_signed_in().await);
        // Ending her own is signing out.
        let own = ada.get("/v1/auth/sessions").await.body["data"][0].clone();
        ada.send(Method::DELETE, &path(&own), None).await.is(204);
        assert_eq!(ada.cookie("access"), None);
    }

    async fn a_second_factor_is_asked_for_and_each_code_counts_once(store: Store) {
        let app = serving(store).await;
        let (mut ada, _) = signed_up(&app, ADA).await;
        let mut before = Browser::of(&app);
        before.login(ADA, PASSWORD).await;
        ada.post("/v1/auth/second-factor/confirm", &json!({ "code": "000000" })).await.problem(409, "no_second_factor");
        let (url, codes, spent) = ada.second_factor_with().await;
        assert_eq!(codes.len(), 10);
        assert_eq!(ada.get("/v1/auth/account").await.body["second_factor"], json!({ "enabled": true, "backup_codes": 10 }));
        app.home.letter(ADA, "second factor was set up").await;
        app.settled().await;
        assert!(!before.is_signed_in().await, "a session that began without a second factor goes on");
        ada.post("/v1/auth/second-factor/enrol", &json!({ "password": PASSWORD })).await.problem(409, "second_factor_set");

        let mut phone = Browser::of(&app);
        // What confirmed it is used up.
        with_code(&mut phone, &spent).await.problem(401, "wrong_code");
        let ahead = code(&url, 30);
        with_code(&mut phone, &ahead).await.is(200);
        assert!(phone.is_signed_in().await);
        let mut thief = Browser::of(&app);
        with_code(&mut thief, &ahead).await.problem(401, "wrong_code");
        with_code(&mut thief, &codes[0]).await.is(200);
        app.home.letter(ADA, "A backup code was used").await;
        with_code(&mut Browser::of(&app), &codes[0]).await.problem(401, "wrong_code");
        assert_eq!(ada.get("/v1/auth/account").await.body["second_factor"]["backup_codes"], 9);

        let new = json!({ "password": PASSWORD, "code": codes[1] });
        let more = ada.post("/v1/auth/second-factor/backup-codes", &new).await;
        more.is(200);
        with_code(&mut Browser::of(&app), &codes[2]).await.problem(401, "wrong_code");
        let left = more.body["codes"][0].as_str().unwrap_or_default().to_owned();
        let remove = |password: &str, code: &str| json!({ "password": password, "code": code });
        ada.post("/v1/auth/second-factor/disable", &remove(OTHER, &left)).await.problem(401, "wrong_credentials");
        ada.post("/v1/auth/second-factor/disable", &remove(PASSWORD, "123456")).await.problem(401, "wrong_code");
        ada.post("/v1/auth/second-factor/disable", &remove(PASSWORD, &left)).await.is(204);
        app.home.letter(ADA, "second factor was removed").await;
        Browser::of(&app).login(ADA, PASSWORD).await;
    }

    async fn staff_with_a_second_factor_does_what_support_does_and_what_it_reads_is_on_record(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let made = home.done(&["account", "create", "--email", ADA, "--role", "owner", "--json"]).json();
        let link = made["link"].as_str().unwrap_or_default().to_owned();
        let app = home.serve().await;
        let (mut bob, bobs) = signed_up(&app, BOB).await;
        let path = format!("/v1/support/members/{bobs}/timeline");
        bob.get(&path).await.problem(403, "forbidden");
        Browser::of(&app).get(&path).await.problem(401, "unauthenticated");

        let mut ada = Browser::of(&app);
        let token = link.split("#token=").nth(1).unwrap_or_default();
        ada.post("/v1/auth/reset-password", &json!({ "token": token, "password": PASSWORD })).await.is(204);
        let staff = ada.login(ADA, PASSWORD).await;
        assert_eq!(made["member"], json!(staff));
        let refused = ada.get(&path).await;
        refused.problem(403, "second_factor_required");
        assert!(refused.body["detail"].as_str().unwrap_or_default().contains("/v1/auth/second-factor/enrol"), "{refused:?}");
        ada.second_factor().await;
        let asked = ada.request(Method::GET, &path).header("x-request-id", "looked-1");
        assert_eq!(asked.send().await.expect("the service answers").status(), 200);
        ada.get(&format!("/v1/support/members/{bobs}/explain?video={BASIC}")).await.is(200);
        ada.get("/v1/support/deliveries").await.is(200);
        // What back ends do is not for people.
        ada.get(&format!("/v1/members/{bobs}/access/videos/{BASIC}")).await.problem(401, "unauthenticated");
        ada.get("/v1/support/members/mem_nobody/timeline").await.problem(404, "unknown_member");

        let told = history(&app, &bobs).await;
        let reads = named(&told, "StaffRead");
        assert_eq!(reads.len(), 1, "once an hour and session: {told:#?}");
        let read = reads[0];
        assert_eq!((&read["actor"], &read["cause"]), (&json!(format!("staff:{staff}")), &json!("looked-1")), "{read}");
        let nobody = app.home.count("events WHERE aggregate_id = 'mem_nobody'").await;
        assert_eq!(nobody, 0, "a look at nobody made somebody");
        assert!(!told.iter().any(|entry| entry.to_string().contains("example.com")), "{told:#?}");
    }

    async fn fewer_rights_end_what_staff_may_do(store: Store) {
        // One name for all of its addresses, so that its tokens count after a restart.
        let home = Home::new(store).await.with_accounts().with("PUBLIC_URL", "http://localhost:8080");
        let app = home.serve().await;
        let (mut ada, member) = signed_up(&app, ADA).await;
        ada.second_factor().await;
        drop(app);
        home.done(&["account", "role", &member, "support"]);
        let app = home.serve().await;
        let mut ada = ada.asking(&app);
        ada.get("/v1/support/deliveries").await.problem(403, "forbidden");
        ada.post("/v1/auth/refresh", &json!({})).await.is(200);
        ada.get("/v1/support/deliveries").await.is(200);
        drop(app);
        home.done(&["account", "role", &member, "member"]);
        home.done(&["account", "second-factor-off", &member]);
        let app = home.serve().await;
        let mut ada = ada.asking(&app);
        ada.get("/v1/support/deliveries").await.problem(401, "unauthenticated");
        let told = history(&app, &member).await;
        assert_eq!(named(&told, "RoleChanged").len(), 2, "{told:#?}");
        // Nor does she need a code any more, which is in her history.
        let removed = named(&told, "SecondFactorDisabled");
        assert!(removed.len() == 1 && removed[0]["actor"].as_str().is_some_and(|actor| !actor.contains(&member)), "{told:#?}");
        Browser::of(&app).login(ADA, PASSWORD).await;
        drop(app);
        for command in [&["role", "mem_nobody", "owner"][..], &["second-factor-off", "mem_nobody"], &["second-factor-off", &member]] {
            let refused = home.cli(&[&["account"], command].concat());
            assert!(refused.code != 0, "{refused:?}");
        }
    }

    async fn a_token_of_a_back_end_is_made_used_listed_and_revoked(store: Store) {
        let home = Home::new(store).await.with_accounts();
        let made = home.done(&["token", "create", "shop", "--scope", "access.read+members.write", "--json"]).json();
        let (id, token) = (made["id"].as_str().unwrap_or_default(), made["token"].as_str().unwrap_or_default());
        let refused = home.cli(&["token", "create", "shop", "--scope", "everything"]);
        assert!(refused.code == 2 && refused.err.contains("access.read"), "{refused:?}");
        let app = home.serve().await;
        app.register("mem_ada").await;
        let with = |token: &str, path: &str| app.strange(Method::GET, path).bearer_auth(token);
        let access = format!("/v1/members/mem_ada/access/videos/{BASIC}");
        assert_eq!(app.raw(with(token, &access)).await.0, 200);
        assert_eq!(app.raw(with(token, "/v1/support/deliveries")).await.0, 403);
        assert_eq!(app.raw(with(&token[1..], &access)).await.0, 401);
        drop(app);
        let listed = home.done(&["token", "list"]).out;
        assert!(listed.contains(id) && listed.contains("in use") && !listed.contains(token), "{listed}");
        home.done(&["token", "revoke", "shop"]);
        assert!(home.done(&["token", "list"]).out.contains("revoked"));
        assert_eq!(home.cli(&["token", "revoke", "shop"]).code, 2, "none of that name is in use any more");
        let app = home.serve().await;
        assert_eq!(app.raw(app.strange(Method::GET, &access).bearer_auth(token)).await.0, 401);
    }

    async fn what_happens_to_an_account_is_in_the_members_history_without_anything_personal(store: Store) {
        let app = serving(store).await;
        let (mut ada, member) = signed_up(&app, ADA).await;
        for number in 0..6 {
            Browser::of(&app).try_login(ADA, &format!("a wrong guess {number}")).await;
        }
        ada.post("/v1/auth/change-password", &json!({ "current_password": PASSWORD, "new_password": OTHER })).await.is(204);
        ada.post("/v1/auth/logout", &json!({})).await.is(204);
        let told = history(&app, &member).await;
        for name in ["MemberRegistered", "AccountRegistered", "EmailVerified", "SignedIn", "PasswordChanged", "SessionRevoked"] {
            assert_eq!(named(&told, name).len(), 1, "{name}: {told:#?}");
        }
        assert_eq!(named(&told, "PasswordChanged")[0]["actor"], json!(format!("member:{member}")), "{told:#?}");
        let said = json!(told).to_string();
        for personal in ["example.com", PASSWORD, OTHER, "127.0.0"] {
            assert!(!said.contains(personal), "{personal}: {told:#?}");
        }
        app.home.done(&["timeline", &member]);
    }

    async fn where_no_keys_are_set_nobody_signs_in_and_the_answer_says_why(store: Store) {
        let app = TestApp::on(store).await;
        let mut ada = Browser::of(&app);
        ada.try_login(ADA, PASSWORD).await.problem(409, "sign_in_not_configured");
        let home = Home::new(store).await.with_accounts().with("SMTP_URL", "");
        let app = home.serve().await;
        let mut ada = Browser::of(&app);
        ada.post("/v1/auth/register", &json!({ "email": ADA, "password": PASSWORD })).await.problem(409, "mail_not_configured");
        ada.try_login(ADA, PASSWORD).await.problem(401, "wrong_credentials");
    }
}
