//! Signing in with a provider that speaks OpenID Connect: what it opens, what it never opens, and who tries.

use reqwest::{Method, Url};
use serde_json::{Value, json};
use tests::app::{Home, Reply, Store, TestApp};
use tests::browser::{Browser, FETCH_SITE, PASSWORD, code, signed_up};
use tests::fake_provider::{FakeProvider, Lie, agreed, arrives, back_to, setting_of};
use tests::on_every_store;

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const LEARN: &str = "http://learn.example.com:5173";
const START: &str = "/v1/auth/providers/acme/start";
const LINK: &str = "/v1/auth/providers/acme/link";
const IDENTITIES: &str = "/v1/auth/identities";
/// What a provider calls Ada.
const SUBJECT: &str = "subject-of-ada-4711";

async fn with(store: Store, providers: &str) -> TestApp {
    let home = Home::new(store).await.with_accounts().with("LEARN_ORIGINS", LEARN);
    home.with("OIDC_PROVIDERS", providers).serve().await
}

/// A service, and a provider that it knows.
async fn serving(store: Store) -> (TestApp, FakeProvider) {
    let acme = FakeProvider::start().await;
    acme.is(SUBJECT, ADA, true);
    (with(store, &acme.setting("acme")).await, acme)
}

fn going() -> Value {
    json!({ "return_to": "/learn" })
}

async fn through(browser: &mut Browser, app: &TestApp, provider: &FakeProvider) -> Reply {
    let path = agreed(browser, provider, START, &going()).await;
    arrives(browser, app, &path).await
}

/// What a browser is told that was sent on.
#[track_caller]
fn told(reply: &Reply) -> &str {
    assert_eq!(reply.status, 303, "{reply:?}");
    reply.header("location").and_then(|to| to.split_once("sign_in=")).map_or("", |(_, word)| word)
}

async fn member(browser: &mut Browser) -> String {
    let account = browser.get("/v1/auth/account").await;
    account.is(200);
    account.body["member"].as_str().unwrap_or_default().to_owned()
}

async fn identities(browser: &mut Browser) -> Vec<Value> {
    let reply = browser.get(IDENTITIES).await;
    reply.is(200);
    reply.body["data"].as_array().cloned().unwrap_or_default()
}

async fn history(app: &TestApp, member: &str) -> Vec<(String, String)> {
    app.settled().await;
    let reply = app.get(&format!("/v1/support/members/{member}/timeline")).await;
    let entries = reply.body["data"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| (text(entry, "event_type"), entry.to_string())).collect()
}

on_every_store! {
    async fn who_comes_for_the_first_time_gets_an_account_without_a_password_and_is_known_the_next_time(store: Store) {
        let (app, acme) = serving(store).await;
        let mut ada = Browser::of(&app);
        let listed = ada.get("/v1/auth/providers").await;
        assert_eq!(listed.body["data"][0]["name"], "acme", "{listed:?}");
        let reply = through(&mut ada, &app, &acme).await;
        assert_eq!(reply.header("location"), Some(format!("{}/learn?sign_in=signed_in", app.url).as_str()));
        assert!(ada.cookie("flow").is_none() && ada.cookie("refresh").is_some() && ada.cookie("device").is_some());
        let account = ada.get("/v1/auth/account").await.body;
        assert_eq!((&account["email"], &account["has_password"]), (&json!(ADA), &json!(false)));
        let who = member(&mut ada).await;
        assert_eq!(app.check(&who, "projections").await["reason"], "no_membership", "a member like any other");

        // Her address there may change; who she is there does not.
        acme.is(SUBJECT, "other@example.com", false);
        let mut phone = Browser::of(&app);
        assert_eq!(told(&through(&mut phone, &app, &acme).await), "signed_in");
        assert_eq!(member(&mut phone).await, who);
        assert_eq!(phone.get("/v1/auth/account").await.body["email"], ADA);
        app.home.letter(ADA, "new device").await;

        let history = history(&app, &who).await;
        for name in ["AccountRegistered", "EmailVerified", "IdentityLinked", "SignedIn"] {
            assert!(history.iter().any(|(event, _)| event == name), "{name} in {history:?}");
        }
        assert!(history.iter().any(|(_, entry)| entry.contains("Signed in with acme")), "{history:?}");
        assert_eq!(app.home.count(&format!("events WHERE payload::text LIKE '%{SUBJECT}%'")).await, 0);
        assert_eq!(app.home.count("events WHERE payload::text LIKE '%@example.com%'").await, 0);

        // With a letter she has a password too.
        ada.post("/v1/auth/forgot-password", &json!({ "email": ADA })).await.is(202);
        let token = app.home.link(ADA, "Choose another password").await;
        let chosen = json!({ "token": token, "password": PASSWORD });
        ada.post("/v1/auth/reset-password", &chosen).await.is(204);
        assert_eq!(ada.login(ADA, PASSWORD).await, who);
    }

    async fn an_address_never_joins_an_account_and_its_owner_links_the_provider_herself(store: Store) {
        let (app, acme) = serving(store).await;
        let (mut ada, who) = signed_up(&app, ADA).await;
        let mut stranger = Browser::of(&app);
        assert_eq!(told(&through(&mut stranger, &app, &acme).await), "email_known");
        assert!(!stranger.is_signed_in().await);
        acme.is("stranger", "Carol@example.com", false);
        assert_eq!(told(&through(&mut stranger, &app, &acme).await), "email_not_verified");
        acme.is("stranger", "", true);
        assert_eq!(told(&through(&mut stranger, &app, &acme).await), "email_not_verified");
        // Somebody known without an account, as from another site, shows by letter that the address is hers.
        let known = json!({ "email": BOB });
        app.send(Method::POST, "/v1/members", Some(&known), "").await.is(201);
        acme.is("stranger", BOB, true);
        assert_eq!(told(&through(&mut stranger, &app, &acme).await), "email_known");
        assert!(!stranger.is_signed_in().await);

        acme.is(SUBJECT, ADA, true);
        let wrong = json!({ "return_to": "/learn", "password": "not the one at all" });
        ada.post(LINK, &wrong).await.problem(401, "wrong_credentials");
        ada.post(LINK, &going()).await.problem(401, "wrong_credentials");
        let body = json!({ "return_to": format!("{LEARN}/account?tab=1"), "password": PASSWORD });
        let path = agreed(&mut ada, &acme, LINK, &body).await;
        let reply = arrives(&mut ada, &app, &path).await;
        assert_eq!(reply.header("location"), Some(format!("{LEARN}/account?tab=1&sign_in=linked").as_str()));
        assert!(app.home.letter(ADA, "Another way to sign in").await.contains("acme"));
        let held = identities(&mut ada).await;
        assert_eq!((held.len(), &held[0]["provider"], &held[0]["email"]), (1, &json!("acme"), &json!(ADA)));
        assert_eq!(told(&through(&mut stranger, &app, &acme).await), "signed_in");
        assert_eq!(member(&mut stranger).await, who);

        // What is hers is nobody else's.
        let (mut bob, _) = signed_up(&app, BOB).await;
        let body = json!({ "return_to": "/learn", "password": PASSWORD });
        let path = agreed(&mut bob, &acme, LINK, &body).await;
        assert_eq!(told(&arrives(&mut bob, &app, &path).await), "identity_taken");
        // A session that ended meanwhile links nothing.
        acme.is("bob", BOB, true);
        let path = agreed(&mut bob, &acme, LINK, &body).await;
        let mut left = bob.clone();
        bob.post("/v1/auth/logout", &json!({})).await.is(204);
        assert_eq!(told(&arrives(&mut left, &app, &path).await), "session_ended");

        let path = format!("{IDENTITIES}/{}/unlink", held[0]["id"].as_str().unwrap_or_default());
        let (proof, other) = (json!({ "password": PASSWORD }), format!("{IDENTITIES}/idn_0/unlink"));
        ada.post(&other, &proof).await.problem(404, "unknown_identity");
        left.login(BOB, PASSWORD).await;
        left.post(&path, &proof).await.problem(404, "unknown_identity");
        ada.post(&path, &json!({})).await.problem(401, "wrong_credentials");
        ada.post(&path, &proof).await.is(204);
        app.home.letter(ADA, "was unlinked").await;
        assert!(identities(&mut ada).await.is_empty());
        let mut again = Browser::of(&app);
        acme.is(SUBJECT, ADA, true);
        assert_eq!(told(&through(&mut again, &app, &acme).await), "email_known");
        let history = history(&app, &who).await;
        assert!(history.iter().any(|(event, _)| event == "IdentityUnlinked"), "{history:?}");
    }

    async fn nobody_unlinks_her_only_way_in(store: Store) {
        let (acme, globex) = (FakeProvider::start().await, FakeProvider::start().await);
        acme.is(SUBJECT, ADA, true);
        globex.is("ada-at-globex", "", false);
        let app = with(store, &format!("{},{}", acme.setting("acme"), globex.setting("globex"))).await;
        let mut ada = Browser::of(&app);
        assert_eq!(told(&through(&mut ada, &app, &acme).await), "signed_in");
        let first = identities(&mut ada).await[0]["id"].as_str().unwrap_or_default().to_owned();
        let unlink = |id: &str| format!("{IDENTITIES}/{id}/unlink");
        ada.post(&unlink(&first), &json!({})).await.problem(409, "last_way_in");
        // Who has no password shows that it is she by having signed in just now.
        let path = agreed(&mut ada, &globex, "/v1/auth/providers/globex/link", &going()).await;
        assert_eq!(told(&arrives(&mut ada, &app, &path).await), "linked");
        ada.post(&unlink(&first), &json!({})).await.is(204);
        let second = identities(&mut ada).await[0]["id"].as_str().unwrap_or_default().to_owned();
        ada.post(&unlink(&second), &json!({})).await.problem(409, "last_way_in");

        // A provider that is no longer set is no way in.
        let path = agreed(&mut ada, &acme, LINK, &going()).await;
        assert_eq!(told(&arrives(&mut ada, &app, &path).await), "linked");
        let home = app.home.clone();
        drop(app);
        let app = home.with("OIDC_PROVIDERS", &globex.setting("globex")).serve().await;
        ada = ada.asking(&app);
        ada.forget("access");
        let held = identities(&mut ada).await;
        assert_eq!(held.iter().map(|held| held["usable"].clone()).collect::<Vec<_>>(), [json!(true), json!(false)]);
        ada.post(&unlink(&second), &json!({})).await.problem(409, "last_way_in");
    }

    async fn an_answer_counts_once_in_the_browser_that_was_sent_for_it(store: Store) {
        let (app, acme) = serving(store).await;
        let (mut ada, mut thief) = (Browser::of(&app), Browser::of(&app));
        // An answer for the thief's account in Ada's browser would have her work in it.
        acme.is("thief", "thief@example.com", true);
        let planted = agreed(&mut thief, &acme, START, &going()).await;
        arrives(&mut ada, &app, &planted).await.problem(400, "bad_flow");
        let mut with_her_own = ada.clone();
        agreed(&mut with_her_own, &acme, START, &going()).await;
        arrives(&mut with_her_own, &app, &planted).await.problem(400, "bad_flow");
        assert_eq!(told(&arrives(&mut thief, &app, &planted).await), "signed_in", "in its own browser it counts");
        arrives(&mut thief, &app, &planted).await.problem(400, "bad_flow");

        // An answer that was overheard is worth nothing elsewhere, nor a second time, nor with another state.
        acme.is(SUBJECT, ADA, true);
        let path = agreed(&mut ada, &acme, START, &going()).await;
        let before = ada.clone();
        let mut elsewhere = Browser::of(&app);
        arrives(&mut elsewhere, &app, &path).await.problem(400, "bad_flow");
        let another = path.replace("state=", "state=x");
        arrives(&mut ada.clone(), &app, &another).await.problem(400, "bad_flow");
        arrives(&mut ada.clone(), &app, "/v1/auth/providers/acme/callback").await.problem(400, "bad_flow");
        assert_eq!(told(&arrives(&mut ada, &app, &path).await), "signed_in", "what was tried in between spent nothing");
        arrives(&mut before.clone(), &app, &path).await.problem(400, "bad_flow");

        // One that began too long ago.
        let mut late = Browser::of(&app);
        let path = agreed(&mut late, &acme, START, &going()).await;
        let past = if store == Store::Sqlite { "1" } else { "now()" };
        app.home.sql(&format!("UPDATE account_flows SET expires_at = {past}")).await;
        arrives(&mut late, &app, &path).await.problem(400, "bad_flow");

        // Whoever says no is sent on, and is nobody.
        let mut unwilling = Browser::of(&app);
        let departure = unwilling.post(START, &going()).await;
        let url: Url = departure.body["url"].as_str().unwrap_or_default().parse().expect("it is an address");
        let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned());
        let path = format!("/v1/auth/providers/acme/callback?error=access_denied&state={}", state.unwrap_or_default());
        assert_eq!(told(&arrives(&mut unwilling, &app, &path).await), "sign_in_denied");
        assert!(!unwilling.is_signed_in().await);
    }

    async fn a_token_that_is_not_the_providers_word_for_this_request_signs_nobody_in(store: Store) {
        let (app, acme) = serving(store).await;
        let mut ada = Browser::of(&app);
        for lie in [
            Lie::Claim("nonce", "of-another-request"),
            Lie::Claim("aud", "another-service"),
            Lie::Claim("azp", "another-service"),
            Lie::Claim("iss", "https://accounts.example"),
            Lie::Claim("sub", ""),
            Lie::Expired,
            Lie::Unsigned,
            Lie::PublicKeyAsSecret,
            Lie::OwnKey,
        ] {
            acme.lies(lie);
            assert_eq!(told(&through(&mut ada, &app, &acme).await), "provider_answer_refused", "{lie:?}");
            assert!(!ada.is_signed_in().await, "{lie:?}");
        }
        assert_eq!(app.home.count("accounts").await, 0);
        acme.lies(Lie::None);
        acme.tells_by_user_info();
        assert_eq!(told(&through(&mut ada, &app, &acme).await), "signed_in", "the same without a lie");
        assert_eq!(ada.get("/v1/auth/account").await.body["email"], ADA);
        assert!(!app.log().contains(SUBJECT) && !app.log().contains("hush"), "{}", app.log());
    }

    async fn a_provider_is_not_taken_for_another(store: Store) {
        let (acme, evil) = (FakeProvider::start().await, FakeProvider::start().await);
        acme.is(SUBJECT, ADA, true);
        evil.is(SUBJECT, "evil@example.com", true);
        let app = with(store, &format!("{},{}", acme.setting("acme"), evil.setting("evil"))).await;
        let mut ada = Browser::of(&app);
        // The answer of the one, sent to where the other's is awaited.
        let path = agreed(&mut ada, &acme, START, &going()).await;
        arrives(&mut ada.clone(), &app, &path.replace("/acme/", "/evil/")).await.problem(400, "bad_flow");
        // A browser that was sent to the one and comes back with what the other says.
        let path = agreed(&mut ada, &acme, START, &going()).await;
        let encoded = |url: &str| url.replace(':', "%3A").replace('/', "%2F");
        let mixed = path.replace(&encoded(acme.issuer()), &encoded(evil.issuer()));
        assert_ne!(mixed, path);
        assert_eq!(told(&arrives(&mut ada, &app, &mixed).await), "provider_answer_refused");
        let path = agreed(&mut ada, &acme, START, &going()).await;
        let silent = path.split("&iss=").next().unwrap_or_default().to_owned();
        assert_eq!(told(&arrives(&mut ada, &app, &silent).await), "provider_answer_refused", "it always says who it is");
        assert_eq!(told(&through(&mut ada, &app, &acme).await), "signed_in");
        // What one calls Ada is not what another calls so.
        let mut other = Browser::of(&app);
        let path = agreed(&mut other, &evil, "/v1/auth/providers/evil/start", &going()).await;
        assert_eq!(told(&arrives(&mut other, &app, &path).await), "signed_in");
        assert_ne!(member(&mut other).await, member(&mut ada).await);
    }

    async fn only_pages_of_ours_send_somebody_away_and_take_her_back(store: Store) {
        let (app, _acme) = serving(store).await;
        let (mut ada, _) = signed_up(&app, BOB).await;
        for evil in ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/x#y",
            "http://learn.example.com:5173.evil.example/", "http://learn.example.com:5173@evil.example/"] {
            ada.post(START, &json!({ "return_to": evil })).await.problem(422, "invalid");
            let body = json!({ "return_to": evil, "password": PASSWORD });
            ada.post(LINK, &body).await.problem(422, "invalid");
        }
        ada.post(START, &json!({ "return_to": format!("{LEARN}/x") })).await.is(200);
        let foreign = ada.clone().saying("origin", "https://evil.example").saying(FETCH_SITE, "cross-site");
        for (path, body) in [(START, going()), (LINK, json!({ "return_to": "/learn", "password": PASSWORD }))] {
            foreign.clone().post(path, &body).await.problem(403, "foreign_origin");
            ada.post(path, &body).await.is(200);
        }
        Browser::of(&app).post(LINK, &going()).await.problem(401, "not_signed_in");
        Browser::of(&app).get(IDENTITIES).await.problem(401, "not_signed_in");
        ada.post("/v1/auth/providers/other/start", &going()).await.problem(404, "unknown_provider");
    }

    async fn who_has_a_second_factor_is_asked_for_it_after_the_provider_too(store: Store) {
        let (app, acme) = serving(store).await;
        let (mut ada, who) = signed_up(&app, ADA).await;
        let body = json!({ "return_to": "/learn", "password": PASSWORD });
        let path = agreed(&mut ada, &acme, LINK, &body).await;
        assert_eq!(told(&arrives(&mut ada, &app, &path).await), "linked");
        let (url, _) = ada.second_factor().await;

        let mut phone = Browser::of(&app);
        assert_eq!(told(&through(&mut phone, &app, &acme).await), "second_factor_required");
        assert!(!phone.is_signed_in().await, "a provider's word was enough");
        let second = "/v1/auth/login/second-factor";
        phone.post(second, &json!({ "code": "000000" })).await.problem(401, "wrong_code");
        Browser::of(&app).post(second, &json!({ "code": code(&url, 30) })).await.problem(400, "bad_token");
        phone.post(second, &json!({ "code": code(&url, 30) })).await.is(200);
        assert!(phone.cookie("challenge").is_none());
        assert_eq!(member(&mut phone).await, who);
        let history = history(&app, &who).await;
        let last = history.iter().filter(|(event, _)| event == "SignedIn").map(|(_, entry)| entry);
        assert!(last.clone().any(|entry| entry.contains("Signed in with acme from a new device, with a code")), "{history:?}");
    }
}

#[tokio::test]
async fn staff_comes_to_the_console_through_a_provider_and_her_second_factor() {
    let (app, acme) = serving(Store::Sqlite).await;
    let (mut staff, id) = signed_up(&app, ADA).await;
    let body = json!({ "return_to": "/learn", "password": PASSWORD });
    let path = agreed(&mut staff, &acme, LINK, &body).await;
    assert_eq!(told(&arrives(&mut staff, &app, &path).await), "linked");
    let (url, _) = staff.second_factor().await;
    let home = app.home.clone();
    drop(app);
    home.done(&["account", "role", &id, "support"]);
    let app = home.serve().await;

    let mut browser = Browser::of(&app);
    let form = async |browser: &Browser, path: &str, body: &str| {
        let request = browser.request(Method::POST, path).body(body.to_owned());
        let response = request.header("content-type", "application/x-www-form-urlencoded").send().await;
        response.expect("the service answers")
    };
    let door = app.raw(browser.request(Method::GET, "/console/sign-in")).await.1;
    assert!(door.contains("Sign in with acme"), "{door}");
    let sent = form(&browser, "/v1/auth/console/provider", "provider=acme&to=%2Fconsole%2Fhealth").await;
    assert_eq!(sent.status(), 200);
    let flow = sent.headers()["set-cookie"].to_str().expect("it is text").to_owned();
    browser.put("flow", flow.trim_start_matches("flow=").split(';').next().unwrap_or_default());
    let leave = sent.headers()["refresh"].to_str().expect("it is text").to_owned();
    let page = sent.text().await.expect("it is text");
    let address = leave.trim_start_matches("0; url=");
    assert!(page.contains("Go on to acme") && address.starts_with(acme.issuer()), "{leave}");
    let path = back_to(&acme.agree(address).await);
    let reply = arrives(&mut browser, &app, &path).await;
    assert_eq!(told(&reply), "second_factor_required");
    let path = reply.header("location").unwrap_or_default().replace(&app.url, "");
    let asked = app.raw(browser.request(Method::GET, &path)).await.1;
    assert!(asked.contains("Your code") && !asked.contains(browser.cookie("challenge").expect("it is kept")));
    let body = format!("challenge=&code={}&to=%2Fconsole%2Fhealth", code(&url, 30));
    let sent = form(&browser, "/v1/auth/console/second-factor", &body).await;
    assert_eq!(
        (sent.status().as_u16(), &sent.headers()["location"]),
        (303, &"/console/health".parse().unwrap())
    );
}

#[tokio::test]
async fn where_there_is_no_provider_the_routes_say_so() {
    let app = Home::new(Store::Sqlite).await.with_accounts().serve().await;
    let mut ada = Browser::of(&app);
    assert_eq!(ada.get("/v1/auth/providers").await.body["data"], json!([]));
    ada.post(START, &going()).await.problem(409, "providers_not_configured");
    ada.get("/v1/auth/providers/acme/callback").await.problem(409, "providers_not_configured");
    let app =
        Home::new(Store::Sqlite).await.with("OIDC_PROVIDERS", &setting_of("acme", "https://acme.example"));
    let app = app.serve().await;
    Browser::of(&app).get("/v1/auth/providers").await.problem(409, "sign_in_not_configured");
}

#[tokio::test]
async fn a_provider_that_is_down_stops_no_start_and_is_used_once_it_is_up() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("there is a free address").to_string();
    let app = with(Store::Sqlite, &setting_of("acme", &format!("http://{address}"))).await;
    let mut ada = Browser::of(&app);
    let reply = ada.post(START, &going()).await;
    reply.problem(503, "provider_unavailable");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert!(reply.body["detail"].as_str().is_some_and(|told| told.contains("sign in with your password")));
    signed_up(&app, BOB).await;
    let acme = FakeProvider::at(&address).await;
    acme.is(SUBJECT, ADA, true);
    let begun = std::time::Instant::now();
    while ada.post(START, &going()).await.status != 200 {
        assert!(begun.elapsed() < tests::app::HANG, "it is never asked again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(told(&through(&mut ada, &app, &acme).await), "signed_in");
}
