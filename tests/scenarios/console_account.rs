//! The console's pages about oneself, as a browser without scripts gets them: a second factor from nothing, the codes for when
//! it is lost, where one is signed in, the password.

use reqwest::header::{CACHE_CONTROL, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use rqrr::PreparedImage;
use serde_json::json;
use tests::app::{Home, Store, TestApp};
use tests::browser::{Browser, FETCH_SITE, PASSWORD, code, signed_up};
use tests::on_every_store;

use crate::support_console::{Page, page, send};

const STAFF: &str = "staff@example.com";
const OTHER: &str = "quite another battery staple";
const ACCOUNT: &str = "/console/account";
const SET_UP: &str = "/console/account/second-factor";
const SIGN_IN: &str = "/v1/auth/console/sign-in";
const CODE: &str = "/v1/auth/console/second-factor";
const ENROL: &str = "/v1/auth/console/second-factor/enrol";
const CONFIRM: &str = "/v1/auth/console/second-factor/confirm";
const BACKUP_CODES: &str = "/v1/auth/console/second-factor/backup-codes";
const DISABLE: &str = "/v1/auth/console/second-factor/disable";
const END: &str = "/v1/auth/console/sessions/end";
const END_OTHERS: &str = "/v1/auth/console/sessions/end-others";
const PASSWORD_FORM: &str = "/v1/auth/console/password";
/// Where she wants to go.
const TO: &str = "/console/deliveries?outcome=parked";

/// A service with somebody of the staff who has a password and nothing else.
async fn serving(store: Store) -> TestApp {
    let home = Home::new(store).await.with_accounts();
    let made = home.done(&["account", "create", "--email", STAFF, "--role", "support", "--json"]).json();
    let link = made["link"].as_str().expect("a password is chosen with a link").to_owned();
    let app = home.serve().await;
    let token = link.split("#token=").nth(1).expect("the link has a secret");
    let body = json!({ "token": token, "password": PASSWORD });
    Browser::of(&app).post("/v1/auth/reset-password", &body).await.is(204);
    app
}

/// Sends a form, and keeps the cookies of the answer, which no cache may keep.
async fn form(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Page {
    let page = send(browser, path, fields).await;
    browser.keep(&page.headers);
    let said = page.headers.get(CACHE_CONTROL).expect("it is said what caches may do");
    assert_eq!(said, "no-store", "{path}");
    page
}

async fn sign_in(browser: &mut Browser) -> Page {
    form(browser, SIGN_IN, &[("email", STAFF), ("password", PASSWORD), ("to", TO)]).await
}

/// What an app reads from the picture on a page.
fn scanned(page: &Page) -> String {
    let part = |before: &str, end: char| {
        let rest = page.html.split(before).nth(1).expect("the page has a picture");
        rest.split(end).next().unwrap_or_default().to_owned()
    };
    let size: usize = part("viewBox=\"0 0 ", ' ').parse().expect("it has a size");
    let mut dark = vec![false; size * size];
    for run in part("<path d=\"", '"').split('M').skip(1) {
        let numbers = run.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let numbers: Vec<usize> = numbers.collect();
        let from = numbers[1] * size + numbers[0];
        dark[from..from + numbers[2]].fill(true);
    }
    let wide = size * 4;
    let light = |x: usize, y: usize| if dark[y / 4 * size + x / 4] { 0 } else { 255 };
    let mut image = PreparedImage::prepare_from_greyscale(wide, wide, light);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one picture is found in {}", page.html);
    grids[0].decode().expect("an app can read it").1
}

/// The backup codes of a page.
fn codes(page: &Page) -> Vec<String> {
    let list = page.html.split("id=\"codes\">").nth(1).and_then(|rest| rest.split('<').next());
    list.expect("the page has codes").lines().map(str::to_owned).collect()
}

/// Sets a second factor up in the browser, and gives what the app was given, and the backup codes.
async fn enrolled(browser: &mut Browser) -> (String, Vec<String>) {
    let begun = sign_in(browser).await.is(200);
    let (url, secret) = (scanned(&begun), begun.hidden("secret"));
    let fields = [("secret", secret.as_str()), ("code", &code(&url, 0)), ("to", TO)];
    let done = form(browser, CONFIRM, &fields).await.is(200);
    (url, codes(&done))
}

/// Signs in with the password and a code.
async fn with_code(browser: &mut Browser, code: &str) -> Page {
    let asked = sign_in(browser).await.is(200);
    asked.says("Now the six digits that your app shows");
    let challenge = asked.hidden("challenge");
    form(browser, CODE, &[("challenge", &challenge), ("code", code), ("to", TO)]).await
}

on_every_store! {
    async fn staff_goes_from_nothing_to_the_page_it_wanted_by_what_the_pages_show_and_signs_in_with_codes(store: Store) {
        let app = serving(store).await;
        let mut before = Browser::of(&app);
        before.login(STAFF, PASSWORD).await;
        let led = page(&before, TO).await.is(303).location;
        assert_eq!(led, format!("{SET_UP}?to=%2Fconsole%2Fdeliveries%3Foutcome%3Dparked"));
        let begin = page(&before, &led).await.is(200);
        assert_eq!(begin.hidden("to"), TO);
        begin.says("name=\"password\"");

        let mut staff = Browser::of(&app);
        let begun = sign_in(&mut staff).await.is(200);
        let (url, secret) = (scanned(&begun), begun.hidden("secret"));
        assert!(url.starts_with("otpauth://totp/") && url.contains(&format!("secret={secret}")), "{url} is not of {secret}");
        let groups: Vec<String> = secret.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect();
        begun.says(&format!(">{}</p>", groups.join(" ")));
        // Nothing is asked for yet, and nothing is shown.
        page(&staff, TO).await.is(303);
        let wrong = form(&mut staff, CONFIRM, &[("secret", &secret), ("code", &code(&url, 3_600)), ("to", TO)]).await.is(401);
        wrong.says("The code is wrong or was used before; wait for the next one.");
        assert_eq!((wrong.hidden("secret"), scanned(&wrong), wrong.hidden("to")), (secret.clone(), url.clone(), TO.to_owned()));

        let confirm = code(&url, 0);
        let done = form(&mut staff, CONFIRM, &[("secret", &secret), ("code", &confirm), ("to", TO)]).await.is(200);
        let backup = codes(&done);
        assert_eq!(backup.len(), 10, "{}", done.html);
        done.says(&format!("<a class=\"button\" href=\"{TO}\">I kept them</a>"));
        page(&staff, TO).await.is(200).says(STAFF);
        app.home.letter(STAFF, "second factor was set up").await;
        app.settled().await;
        assert!(!before.is_signed_in().await, "a session that began without a second factor goes on");
        assert_eq!(app.home.count("events WHERE event_type = 'SecondFactorEnabled'").await, 1);
        // The same form once more, as a page that is loaded again sends it.
        let again = form(&mut staff, CONFIRM, &[("secret", &secret), ("code", &confirm), ("to", TO)]).await.is(409);
        again.says("A second factor is set up already");
        assert!(again.hidden("secret").is_empty(), "{}", again.html);
        form(&mut staff, ENROL, &[("password", PASSWORD), ("to", TO)]).await.is(409).says("A second factor is set up already");

        let mut later = Browser::of(&app);
        with_code(&mut later, &confirm).await.is(401);
        let ahead = code(&url, 30);
        assert_eq!(with_code(&mut later, &ahead).await.is(303).location, TO);
        page(&later, TO).await.is(200);
        let mut without_app = Browser::of(&app);
        assert_eq!(with_code(&mut without_app, &backup[3]).await.is(303).location, TO);
        page(&without_app, ACCOUNT).await.is(200).says("<b>9</b> backup codes are left");
        with_code(&mut Browser::of(&app), &backup[3]).await.is(401);
        let log = app.log();
        for hidden in [PASSWORD, &secret, &groups.join(" "), &backup[0], &backup[3], &confirm, &ahead] {
            assert!(!log.contains(hidden), "{hidden} is in the log");
        }
    }

    async fn a_secret_that_another_has_replaced_is_shown_no_more_and_wrong_codes_have_to_wait(store: Store) {
        let app = serving(store).await;
        let mut staff = Browser::of(&app);
        let left = sign_in(&mut staff).await.is(200);
        let (old, url) = (left.hidden("secret"), scanned(&left));
        // She leaves, and comes back: the password once more, and another secret.
        page(&staff, SET_UP).await.is(200).says("name=\"password\"");
        form(&mut staff, ENROL, &[("password", OTHER), ("to", TO)]).await.is(401).says("role=\"alert\"");
        let begun = form(&mut staff, ENROL, &[("password", PASSWORD), ("to", TO)]).await.is(200);
        let new = begun.hidden("secret");
        assert_ne!(new, old);
        let stale = form(&mut staff, CONFIRM, &[("secret", &old), ("code", &code(&url, 0)), ("to", TO)]).await.is(401);
        stale.says("counts no more. Begin again.");
        for secret in [&old, &new] {
            assert!(!stale.html.contains(secret), "{}", stale.html);
        }
        // Each wrong one makes the wait longer, until it is longer than a slow machine takes to ask again.
        let mut tried = 0;
        let refused = loop {
            let answer = form(&mut staff, CONFIRM, &[("secret", &new), ("code", "000000"), ("to", TO)]).await;
            tried += 1;
            if answer.status != StatusCode::UNAUTHORIZED {
                break answer.is(429);
            }
            assert!(tried < 15, "{tried} wrong codes in a row had to wait for nothing");
        };
        refused.says("Too many attempts; try again in ");
        assert!(refused.headers.contains_key(RETRY_AFTER), "{:?}", refused.headers);
        assert_eq!(refused.hidden("secret"), new, "she goes on with the same one");
        assert_eq!(app.home.count("events WHERE event_type = 'SecondFactorEnabled'").await, 0);
    }

    async fn she_makes_new_backup_codes_ends_sessions_changes_her_password_and_moves_to_another_app(store: Store) {
        let app = serving(store).await;
        let mut staff = Browser::of(&app).saying("user-agent", "A laptop");
        let (_, backup) = enrolled(&mut staff).await;
        let mut phone = Browser::of(&app).saying("user-agent", "A phone");
        with_code(&mut phone, &backup[0]).await.is(303);
        let mut tablet = Browser::of(&app).saying("user-agent", "A tablet");
        with_code(&mut tablet, &backup[1]).await.is(303);

        let account = page(&staff, ACCOUNT).await.is(200);
        account.says("<b>8</b> backup codes are left");
        let this_one: Vec<&str> = account.html.split("<li>").filter(|part| part.contains("this one")).collect();
        assert!(this_one.len() == 1 && this_one[0].contains("A laptop"), "{}", account.html);
        let phones = account.html.split("<li>").find(|part| part.contains("A phone")).unwrap_or_default();
        let phones = phones.split("name=\"session\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let ended = form(&mut staff, END, &[("session", phones)]).await.is(303).location;
        page(&staff, &ended).await.is(200).says("The session has ended.");
        form(&mut staff, END, &[("session", phones)]).await.is(404).says("There is no such session.");
        app.settled().await;
        assert!(!phone.is_signed_in().await && tablet.is_signed_in().await);
        let ended = form(&mut staff, END_OTHERS, &[]).await.is(303).location;
        page(&staff, &ended).await.is(200).says("All other sessions have ended.");
        app.settled().await;
        assert!(!tablet.is_signed_in().await && staff.is_signed_in().await);

        form(&mut staff, BACKUP_CODES, &[("password", OTHER), ("code", &backup[2])]).await.is(401).says("role=\"alert\"");
        form(&mut staff, BACKUP_CODES, &[("password", PASSWORD), ("code", "123456")]).await.is(401).says("The code is wrong");
        let made = form(&mut staff, BACKUP_CODES, &[("password", PASSWORD), ("code", &backup[2])]).await.is(200);
        let new = codes(&made);
        assert_eq!(new.len(), 10, "{}", made.html);
        with_code(&mut Browser::of(&app), &backup[4]).await.is(401);
        with_code(&mut phone, &new[0]).await.is(303);

        form(&mut staff, PASSWORD_FORM, &[("current", OTHER), ("new", OTHER)]).await.is(401).says("role=\"alert\"");
        form(&mut staff, PASSWORD_FORM, &[("current", PASSWORD), ("new", "short")]).await.is(422).says("The password is too short");
        let changed = form(&mut staff, PASSWORD_FORM, &[("current", PASSWORD), ("new", OTHER)]).await.is(303).location;
        page(&staff, &changed).await.is(200).says("Your password is another");
        app.settled().await;
        assert!(!phone.is_signed_in().await && staff.is_signed_in().await);
        Browser::of(&app).try_login(STAFF, PASSWORD).await.problem(401, "wrong_credentials");

        form(&mut staff, DISABLE, &[("password", OTHER), ("code", "123456")]).await.is(401).says("The code is wrong");
        let moving = form(&mut staff, DISABLE, &[("password", OTHER), ("code", &new[1])]).await.is(303).location;
        assert_eq!(moving, format!("{SET_UP}?to={ACCOUNT}"));
        assert_eq!(page(&staff, &moving).await.is(200).hidden("to"), ACCOUNT);
        page(&staff, TO).await.is(303);
        let begun = form(&mut staff, ENROL, &[("password", OTHER), ("to", ACCOUNT)]).await.is(200);
        let (url, secret) = (scanned(&begun), begun.hidden("secret"));
        form(&mut staff, CONFIRM, &[("secret", &secret), ("code", &code(&url, 0)), ("to", ACCOUNT)]).await.is(200);
        page(&staff, TO).await.is(200);
        // Ending her own is signing out.
        let own = page(&staff, ACCOUNT).await.is(200);
        assert!(!own.html.contains("name=\"session\""), "her own session is signed out of: {}", own.html);
        let own = staff.get("/v1/auth/sessions").await.body["data"][0]["id"].as_str().unwrap_or_default().to_owned();
        assert_eq!(form(&mut staff, END, &[("session", &own)]).await.is(303).location, "/console/sign-in?signed_out=1");
        assert_eq!(staff.cookie("access"), None);
    }

    async fn these_pages_are_for_staff_and_their_forms_are_sent_by_none_but_themselves(store: Store) {
        let app = serving(store).await;
        let mut staff = Browser::of(&app);
        let (_, backup) = enrolled(&mut staff).await;
        let (member, _) = signed_up(&app, "bob@example.com").await;
        for path in [ACCOUNT, SET_UP] {
            page(&member, path).await.is(403).says("This is for staff");
            let door = page(&Browser::of(&app), path).await.is(303).location;
            assert!(door.starts_with("/v1/auth/console/renew?to=%2Fconsole%2Faccount"), "{path} leads to {door}");
        }
        let fields = [
            ("password", PASSWORD),
            ("current", PASSWORD),
            ("new", OTHER),
            ("code", backup[0].as_str()),
            ("session", "ses_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e"),
        ];
        let elsewhere = staff.clone().saying(FETCH_SITE, "cross-site").saying("origin", "https://evil.example");
        let events = app.home.count("events").await;
        for path in [ENROL, CONFIRM, BACKUP_CODES, DISABLE, END, END_OTHERS, PASSWORD_FORM] {
            form(&mut member.clone(), path, &fields).await.is(403).says("This is for staff");
            form(&mut Browser::of(&app), path, &fields).await.is(307);
            form(&mut elsewhere.clone(), path, &fields).await.is(403).says("This was asked by a page of another origin");
        }
        assert_eq!(app.home.count("events").await, events, "what was refused did something");
        // The same form of a page of ours does what it says, with the code that nobody used up.
        form(&mut staff, BACKUP_CODES, &fields).await.is(200).says("count no more");
        let by_token = app.request(Method::GET, ACCOUNT);
        assert_eq!(app.raw(by_token).await.0, 401, "back ends have no account");
    }
}
