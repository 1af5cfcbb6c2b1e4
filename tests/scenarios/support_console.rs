//! The support console: pages of the real program as a browser without scripts gets them.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{Months, TimeDelta};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::app::{Home, Store, TestApp};
use tests::browser::{Browser, PASSWORD, code, signed_up};
use tests::stripe::{Price, Story, bought, days_ago, event, events};

const STAFF: &str = "staff@example.com";
const MEMBER: &str = "mem_ada";
/// Would be a script if any page let it through.
const CANARY: &str = "<script>alert('canary')</script>";
const SCRIPT: &str = "<script>alert";

/// What a browser was given.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) location: String,
    kind: String,
    policy: String,
    pub(crate) html: String,
}

impl Page {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.html);
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert!(self.html.contains(text), "{text:?} is not in {}", self.html);
    }

    /// A hidden field's value.
    pub(crate) fn hidden(&self, name: &str) -> String {
        let field = self.html.split(&format!("name=\"{name}\" value=\"")).nth(1);
        field.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    }
}

pub(crate) async fn page(browser: &Browser, path: &str) -> Page {
    given(browser.request(Method::GET, path)).await
}

pub(crate) async fn send(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Page {
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let kind = "application/x-www-form-urlencoded";
    given(browser.request(Method::POST, path).header(CONTENT_TYPE, kind).body(body.join("&"))).await
}

fn encoded(value: &str) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    value.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

async fn given(request: reqwest::RequestBuilder) -> Page {
    let response = request.send().await.expect("the service answers");
    let header = |name| {
        let value = response.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (location, kind, policy) = (header(LOCATION), header(CONTENT_TYPE), header(CONTENT_SECURITY_POLICY));
    let (status, headers) = (response.status(), response.headers().clone());
    Page { status, headers, location, kind, policy, html: response.text().await.expect("a page is text") }
}

/// A service with Ada, who pays, and whose renewal failed.
async fn serving() -> TestApp {
    let app = Home::new(Store::Sqlite)
        .await
        .with_accounts()
        .with("PUBLIC_URL", "http://localhost:8080")
        .serve()
        .await;
    app.register(MEMBER).await;
    let mut story = Story::new("ada");
    bought(&mut story, MEMBER, Price::BasicMonth, days_ago(20));
    app.deliver_all(&events(story)).await;
    app
}

/// The same, and somebody of the staff who is signed in with her second factor, whose app is given too.
async fn with_staff() -> (TestApp, Browser, String) {
    let app = serving().await;
    let (mut staff, id) = signed_up(&app, STAFF).await;
    let (url, _) = staff.second_factor().await;
    let home = app.home.clone();
    drop(app);
    home.done(&["account", "role", &id, "support"]);
    let app = home.serve().await;
    let mut staff = staff.asking(&app);
    staff.post("/v1/auth/refresh", &json!({})).await.is(200);
    (app, staff, url)
}

/// Every page about a member.
fn of_a_member() -> Vec<String> {
    let pages = [
        "",
        "/explain?video=loops",
        "/diff",
        "/view",
        "/print",
        "/acts/grant",
        "/acts/add_note",
        "/acts/erase",
    ];
    pages.iter().map(|page| format!("/console/members/{MEMBER}{page}")).collect()
}

async fn reads(app: &TestApp) -> i64 {
    app.home.count("events WHERE event_type = 'StaffRead'").await
}

#[tokio::test]
async fn pages_are_for_staff_with_a_second_factor_and_what_it_reads_of_a_member_is_on_record() {
    let app = serving().await;
    let (member, _) = signed_up(&app, "bob@example.com").await;
    let (mut staff, id) = signed_up(&app, STAFF).await;
    let home = app.home.clone();
    drop(app);
    home.done(&["account", "role", &id, "support"]);
    let app = home.serve().await;
    let (stranger, member) = (Browser::of(&app), member.asking(&app));
    staff = staff.asking(&app);
    staff.post("/v1/auth/refresh", &json!({})).await.is(200);
    let mut pages = of_a_member();
    pages.extend(["/console", "/console/deliveries", "/console/drift", "/console/health"].map(str::to_owned));
    for path in &pages {
        let door = page(&stranger, path).await.is(303).location;
        assert!(door.starts_with("/v1/auth/console/renew?to=%2Fconsole"), "{path} leads to {door}");
        page(&member, path).await.is(403).says("This is for staff");
        let set_up = page(&staff, path).await.is(303).location;
        assert!(
            set_up.starts_with("/console/account/second-factor?to=%2Fconsole"),
            "{path} leads to {set_up}"
        );
    }
    let sent = send(&staff, "/console/search", &[("q", "ada")]).await.is(403);
    sent.says("Set up a second factor first");
    sent.says("href=\"/console/account/second-factor\"");
    assert_eq!(reads(&app).await, 0, "a page that was refused is on record");
    staff.second_factor().await;
    for path in &pages {
        let shown = page(&staff, path).await.is(200);
        assert_eq!(shown.kind, "text/html; charset=utf-8");
        assert!(shown.policy.starts_with("default-src 'none'") && !shown.policy.contains("unsafe"), "{path}");
        assert!(!shown.html.contains(" style=") && !shown.html.contains(" onclick="), "{path}");
        shown.says(STAFF);
    }
    assert_eq!(
        reads(&app).await,
        3,
        "her reads within minutes are one, but for her view and her history on paper"
    );
    page(&staff, "/console/members/mem_nobody").await.is(404).says("Unknown member");
    page(&staff, "/console/nothing").await.is(404).says("No such page");
}

#[tokio::test]
async fn what_is_seen_of_a_member_without_opening_her_page_is_on_record_too() {
    let (app, staff, _) = with_staff().await;
    let listed = app.get("/v1/support/deliveries?type=customer.subscription.created").await.body;
    let delivery = listed["data"][0]["id"].as_str().expect("one was delivered");
    page(&staff, &format!("/console/deliveries/{delivery}")).await.is(200).says("Show it");
    assert_eq!(reads(&app).await, 1, "what Stripe sent about her");
    app.register("mem_eve").await;
    app.settled().await;
    let form = [("customer", "eve@example.com"), ("words", "It is hers"), ("key", "one")];
    let shown = send(&staff, "/console/members/mem_eve/acts/link", &form).await.is(422);
    shown.says("it is not a Stripe customer id");
    assert_eq!(reads(&app).await, 2, "a form that is shown once more");
    assert_eq!(app.home.count("events WHERE aggregate_id = 'eve@example.com'").await, 0);
}

#[tokio::test]
async fn somebody_signs_in_and_out_with_forms_and_comes_back_to_where_she_was() {
    let (app, mut staff, url) = with_staff().await;
    let to = format!("/console/members/{MEMBER}");
    // The access cookie alone has gone, and what renews it is sent to the door only.
    staff.forget("access");
    let door = page(&staff, &to).await.is(303).location;
    let renewed = staff.get(&door).await;
    renewed.is(303);
    assert_eq!(renewed.header("location"), Some(to.as_str()));
    page(&staff, &to).await.is(200);

    let mut browser = Browser::of(&app);
    page(&browser, "/console/sign-in").await.is(200).says("Sign in");
    let sign_in = "/v1/auth/console/sign-in";
    let wrong =
        send(&browser, sign_in, &[("email", STAFF), ("password", "not the one"), ("to", &to)]).await.is(401);
    wrong.says("role=\"alert\"");
    let asked =
        send(&browser, sign_in, &[("email", STAFF), ("password", PASSWORD), ("to", &to)]).await.is(200);
    let challenge = asked.hidden("challenge");
    let factor = "/v1/auth/console/second-factor";
    send(&browser, factor, &[("challenge", &challenge), ("code", "000000"), ("to", &to)]).await.is(401);
    let body = format!("challenge={}&code={}&to={}", encoded(&challenge), code(&url, 30), encoded(&to));
    let request =
        browser.request(Method::POST, factor).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = request.body(body).send().await.expect("the service answers");
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    for set in response.headers().get_all("set-cookie") {
        let (name, rest) =
            set.to_str().expect("cookies are text").split_once('=').expect("a cookie has a name");
        browser.put(name, rest.split(';').next().unwrap_or_default());
    }
    page(&browser, &to).await.is(200);
    let out = send(&browser, "/v1/auth/console/sign-out", &[]).await.is(303);
    assert_eq!(out.location, "/console/sign-in?signed_out=1");
    app.settled().await;
    page(&browser, &to).await.is(303);
    // Another site is never where one goes on.
    for elsewhere in ["https://evil.example", "//evil.example", "/\\evil.example", "/docs"] {
        let shown =
            page(&Browser::of(&app), &format!("/console/sign-in?to={}", encoded(elsewhere))).await.is(200);
        assert_eq!(shown.hidden("to"), "/console");
    }
}

#[tokio::test]
async fn an_act_is_previewed_done_once_and_shown() {
    let (app, staff, _) = with_staff().await;
    let act = format!("/console/members/{MEMBER}/acts/grant");
    page(&staff, &act).await.is(200).says("Show what it would do");
    let before = app.home.count("events").await;
    let preview = page(&staff, &format!("{act}?plan=pro&forever=yes")).await.is(200);
    preview.says("Access to Pro without a payment, for good.");
    assert_eq!(
        app.home.count("events WHERE event_type = 'AccessGranted'").await,
        0,
        "a preview did something"
    );
    let key = preview.hidden("key");
    let form = [("plan", "pro"), ("forever", "yes"), ("words", "Waited for a week"), ("key", key.as_str())];
    let first = send(&staff, &act, &form).await.is(303);
    assert_eq!(send(&staff, &act, &form).await.is(303).location, first.location, "the same answer twice");
    assert_eq!(app.home.count("events WHERE event_type = 'AccessGranted'").await, 1);
    let shown = page(&staff, &first.location).await.is(200);
    shown.says("<b>Done.</b>");
    shown.says("Pro: given without a payment");
    // What staff wrote, and who did it, are told wherever the grant is.
    let position = first.location.rsplit('=').next().unwrap_or_default();
    let event = page(&staff, &format!("/console/members/{MEMBER}/events/{position}")).await.is(200);
    event.says("<p class=\"note words-of\">Waited for a week</p>");
    let printed = page(&staff, &format!("/console/members/{MEMBER}/print")).await.is(200);
    for told in [&shown, &printed] {
        told.says(": <span class=\"words-of\">Waited for a week</span>");
    }
    for told in [&shown, &printed, &event] {
        told.says(&format!("\">staff {STAFF}</span>"));
        assert!(!told.html.contains(">staff:"), "a bare id of staff is in {}", told.html);
    }
    assert!(app.home.count("events").await > before);
    let other = [("plan", "basic"), ("forever", "yes"), ("words", "Another"), ("key", key.as_str())];
    send(&staff, &act, &other).await.is(422).says("Sent before");
    let wordless = [("plan", "pro"), ("forever", "yes"), ("words", ""), ("key", "another-key")];
    send(&staff, &act, &wordless).await.is(422).says("role=\"alert\"");
    // A page of another site cannot have it done.
    let foreign =
        staff.clone().saying("sec-fetch-site", "cross-site").saying("origin", "https://evil.example");
    send(&foreign, &act, &form).await.is(403);
}

#[tokio::test]
async fn of_somebody_who_was_erased_it_is_said_and_nothing_is_offered_that_is_refused() {
    let (app, staff, _) = with_staff().await;
    app.register("mem_eve").await;
    let (her, acts) = ("/console/members/mem_eve", "/console/members/mem_eve/acts");
    send(&staff, &format!("{acts}/add_note"), &[("words", "Wrote twice"), ("key", "a-note")]).await.is(303);
    for act in ["send_letter", "end_sessions", "erase", "withdraw_note"] {
        page(&staff, her).await.says(&format!("\"{acts}/{act}"));
    }
    let erase = [("because", "asked_for"), ("key", "an-erasure")];
    send(&staff, &format!("{acts}/erase"), &erase).await.is(303);
    let shown = page(&staff, her).await.is(200);
    shown.says("<b>She was erased on <time");
    shown.says(": <span class=\"words-of\">(erased)</span>");
    let offered: Vec<&str> = shown.html.matches(acts).collect();
    assert_eq!(offered.len(), 1, "{}", shown.html);
    shown.says(&format!("\"{acts}/resync\""));
}

#[tokio::test]
async fn what_people_write_is_text_on_every_page() {
    let (app, staff, _) = with_staff().await;
    let body = json!({ "id": "mem_eve", "external_id": CANARY });
    app.send(Method::POST, "/v1/members", Some(&body), "").await.is(201);
    app.settled().await;
    let note = "/console/members/mem_eve/acts/add_note";
    send(&staff, note, &[("words", CANARY), ("key", "canary-note")]).await.is(303);
    let grant = "/console/members/mem_eve/acts/grant";
    let form = [("plan", "pro"), ("forever", "yes"), ("words", CANARY), ("key", "canary-grant")];
    send(&staff, grant, &form).await.is(303);
    let event = app.home.count("events").await;
    assert!(event > 0);
    let shown = page(&staff, "/console/members/mem_eve").await.is(200);
    shown.says("&#60;script&#62;alert");
    let query = encoded(CANARY);
    let mut echoed = vec![shown];
    for path in [
        format!("/console/members/mem_eve/print?x={query}"),
        format!("/console/members/mem_eve?type={query}"),
        format!("/console/members/mem_eve/acts/link?customer={query}"),
        format!("/console/members/mem_eve/explain?video={query}"),
        format!("/console/members/{query}"),
        format!("/console/deliveries?reason={query}&type={query}&customer={query}"),
        format!("/console/deliveries/{query}"),
        format!("/console/search?member={query}&video={query}"),
        format!("/console/sign-in?to={query}"),
        format!("/console/{query}"),
    ] {
        echoed.push(page(&staff, &path).await);
    }
    echoed.push(send(&staff, "/v1/auth/console/sign-in", &[("email", CANARY), ("password", CANARY)]).await);
    echoed.push(
        send(&staff, grant, &[("plan", CANARY), ("forever", "yes"), ("words", CANARY), ("key", "c3")]).await,
    );
    for page in echoed {
        assert_eq!(page.kind, "text/html; charset=utf-8", "{}", page.html);
        assert!(!page.html.contains(SCRIPT), "{}", page.html);
    }
}

#[tokio::test]
async fn a_typed_address_is_in_no_address_of_a_page() {
    let (app, staff, _) = with_staff().await;
    let body = json!({ "id": "mem_eve", "email": "eve@example.com" });
    app.send(Method::POST, "/v1/members", Some(&body), "").await.is(201);
    app.settled().await;
    let found = send(&staff, "/console/search", &[("q", "eve@")]).await.is(303);
    assert_eq!(found.location, "/console/members/mem_eve");
    let several = send(&staff, "/console/search", &[("q", "mem_")]).await.is(303).location;
    assert!(several.starts_with("/console/search?member=mem_"), "{several}");
    page(&staff, &several).await.is(200).says("e…@example.com");
    let nobody = send(&staff, "/console/search", &[("q", "nobody@example.com")]).await.is(303).location;
    assert_eq!(nobody, "/console/search?");
    page(&staff, &nobody).await.is(200).says("Nobody was found");
}

#[tokio::test]
async fn an_owner_sees_who_has_an_account_and_invites_somebody() {
    let (app, staff, _) = with_staff().await;
    let shown = page(&staff, "/console").await.is(200);
    assert!(!shown.html.contains("/console/accounts"), "it is for owners");
    page(&staff, "/console/accounts").await.is(403).says("only an owner may do that");
    page(&staff, &format!("/console/members/{MEMBER}/acts/change_role?role=owner"))
        .await
        .says("only an owner may do that");
    let home = app.home.clone();
    let id =
        staff.clone().get("/v1/auth/account").await.body["member"].as_str().unwrap_or_default().to_owned();
    drop(app);
    home.done(&["account", "role", &id, "owner"]);
    let app = home.serve().await;
    let mut owner = staff.asking(&app);
    owner.post("/v1/auth/refresh", &json!({})).await.is(200);
    let before = reads(&app).await;
    let listed = page(&owner, "/console/accounts?role=owner").await.is(200);
    listed.says(STAFF);
    listed.says("second factor");
    assert_eq!(reads(&app).await, before + 1, "whom she saw is on record");
    page(&owner, "/console/accounts?role=support").await.is(200).says("There is none.");
    page(&owner, "/console/accounts?role=king").await.is(400);

    let invite = "/console/accounts/invite";
    page(&owner, invite).await.is(200).says("Show what it would do");
    let events = app.home.count("events").await;
    let preview = send(&owner, invite, &[("email", "eve@example.com"), ("role", "support")]).await.is(200);
    preview.says("A new member is given an account with the role support");
    assert_eq!(app.home.count("events").await, events, "a preview did something");
    let key = preview.hidden("key");
    let form = [("email", "eve@example.com"), ("role", "support"), ("words", CANARY), ("key", key.as_str())];
    let done = send(&owner, invite, &form).await.is(303);
    assert!(done.location.starts_with("/console/members/mem_"), "{}", done.location);
    assert_eq!(send(&owner, invite, &form).await.is(303).location, done.location, "the same answer twice");
    let shown = page(&owner, &done.location).await.is(200);
    shown.says("<b>Done.</b>");
    assert!(!shown.html.contains(SCRIPT));
    page(&owner, "/console/accounts?role=support").await.is(200).says("invited, address not confirmed");
    let mistake = send(&owner, invite, &[("email", CANARY), ("role", "support")]).await.is(422);
    mistake.says("role=\"alert\"");
    assert!(!mistake.html.contains(SCRIPT) && mistake.html.contains("&#60;script&#62;"), "{}", mistake.html);

    let (her, _) = done.location.split_once('?').expect("it says what was done");
    page(&owner, &format!("{her}/acts/lock?forever=yes")).await.is(200).says("She cannot sign in, for good");
    let form = [("forever", "yes"), ("words", "Wrong address"), ("key", "a-lock")];
    send(&owner, &format!("{her}/acts/lock"), &form).await.is(303);
    let shown = page(&owner, her).await.is(200);
    shown.says("<dt>Locked</dt><dd>for good</dd>");
    shown.says("Unlock her account");
    page(&owner, &format!("{her}/acts/unlock")).await.is(200).says("She can sign in again");
    let form = [("role", "member"), ("words", "Not one of us"), ("key", "a-role")];
    page(&owner, &format!("{her}/acts/change_role?role=member")).await.says("support → member");
    send(&owner, &format!("{her}/acts/change_role"), &form).await.is(303);
    page(&owner, her).await.is(200).says("<dt>Role</dt><dd>member</dd>");
}

fn customer(id: &str, name: &str) -> Value {
    let object = json!({ "id": id, "object": "customer", "name": name, "email": "bills@example.org" });
    event(&format!("evt_of_{id}"), "customer.updated", days_ago(1), &object)
}

#[tokio::test]
async fn names_are_short_among_what_was_found_and_whole_on_the_page_that_is_recorded() {
    let (app, staff, _) = with_staff().await;
    app.deliver_all([&customer("cus_demo_ada", "Ada Lovelace"), &customer("cus_nobody", "Rosa Lovett")])
        .await;
    app.settled().await;
    let before = reads(&app).await;
    let both = send(&staff, "/console/search", &[("q", "LOVE")]).await.is(303).location;
    assert_eq!(both, "/console/search?member=mem_ada&customer=cus_nobody", "no name is in an address");
    let shown = page(&staff, &both).await.is(200);
    shown.says("Ada L.");
    shown.says("Rosa L.");
    shown.says("b…@example.org");
    assert!(!shown.html.contains("Lovelace") && !shown.html.contains("bills@"), "{}", shown.html);
    assert_eq!(reads(&app).await, before, "what is short is no read of hers");
    let only = send(&staff, "/console/search", &[("q", "lovelace")]).await.is(303).location;
    assert_eq!(only, "/console/members/mem_ada");
    let hers = page(&staff, &only).await.is(200);
    hers.says("<dt>Name</dt><dd>Ada Lovelace</dd>");
    hers.says("<dt>Bills go to</dt><dd>bills@example.org</dd>");
    assert_eq!(reads(&app).await, before + 1);
    // What Stripe told of nobody has a page of its own, which keeps who read it.
    let delivery = send(&staff, "/console/search", &[("q", "evt_of_cus_no")]).await.is(303).location;
    assert_eq!(delivery, "/console/deliveries/evt_of_cus_nobody");
    let list = send(&staff, "/console/search", &[("q", "evt_")]).await.is(303).location;
    page(&staff, &list).await.is(200).says("Deliveries that name no member");
    assert_eq!(app.home.count("delivery_steps WHERE step = 'read'").await, 0, "nothing was read yet");
    let shown = page(&staff, &delivery).await.is(200);
    shown.says("Rosa Lovett");
    shown.says("what it says was read");
    shown.says(&format!("staff {STAFF}</span>"));
    page(&staff, &delivery).await.is(200);
    assert_eq!(app.home.count("delivery_steps WHERE step = 'read' AND actor LIKE 'staff:mem_%'").await, 1);
    assert_eq!(reads(&app).await, before + 1, "it is nobody's history");
}

#[tokio::test]
async fn of_very_many_deliveries_it_is_said_which_are_not_told_and_where_they_are() {
    let (app, staff, _) = with_staff().await;
    let her = "/console/members/mem_ada";
    let says_so = "only the latest 1,000 deliveries";
    assert!(!page(&staff, her).await.is(200).html.contains(says_so));
    let home = app.home.clone();
    drop(app);
    home.sql(
        "INSERT INTO inbox (id, event_type, customer, body, received_at, outcome, why_code, why_detail, settled_at) \
         WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 1000) \
         SELECT 'evt_many_' || number, 'customer.updated', 'cus_demo_ada', x'7b7d', 1800000000000000, 'ignored', \
         'no_member_named', 'It names nobody.', 1800000000000000 FROM numbers",
    )
    .await;
    let app = home.serve().await;
    let staff = staff.asking(&app);
    let shown = page(&staff, her).await.is(200);
    shown.says(says_so);
    page(&staff, &format!("{her}/print")).await.is(200).says(says_so);
    let link = shown.html.split("<a href=\"/console/deliveries?customer=cus_demo_ada&").nth(1);
    let link =
        link.and_then(|link| link.split('"').next()).expect("it links to the others").replace("#38;", "");
    let link = link.trim_start_matches("amp;");
    let earlier = page(&staff, &format!("/console/deliveries?customer=cus_demo_ada&{link}")).await.is(200);
    earlier.says("customer.subscription.created");
    assert!(!earlier.html.contains("evt_many_"), "those were told: {}", earlier.html);
}

fn compressed(text: &str) -> usize {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes()).expect("memory is there");
    gzip.finish().expect("memory is there").len()
}

/// An id as long and as much by chance as those of Stripe's events.
fn like_stripes_own(number: usize) -> String {
    let chance = STANDARD.encode(Sha256::digest(number.to_be_bytes()));
    format!("evt_{}", chance.chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>())
}

#[tokio::test]
async fn a_page_of_200_events_its_script_and_its_stylesheet_stay_small() {
    let (app, staff, _) = with_staff().await;
    let mut story = Story::new("bea");
    app.register("mem_bea").await;
    let begun = days_ago(110 * 30);
    bought(&mut story, "mem_bea", Price::BasicMonth, begun);
    for month in 1..105 {
        // Never at the same time of day, which would be packed into less.
        story.renew(begun + Months::new(month) + TimeDelta::seconds(i64::from(month * month * 37)));
    }
    let mut deliveries = events(story);
    for (number, delivery) in deliveries.iter_mut().enumerate() {
        delivery["id"] = json!(like_stripes_own(number));
    }
    app.deliver_all(&deliveries).await;
    let shown = page(&staff, "/console/members/mem_bea").await.is(200);
    let story = shown.html.split("<ol class=\"story\">").nth(1).and_then(|rest| rest.split("</ol>").next());
    let rows = story.unwrap_or_default().matches("<li").count();
    let told = story.unwrap_or_default().matches("data-event").count();
    assert_eq!((rows, told), (200, 200), "rows, and events in them");
    let size = compressed(&shown.html);
    assert!(size <= 15_000, "{rows} rows of one event take {size} bytes");
    for (kind, most) in [("css", 8_000), ("js", 3_000)] {
        let path =
            shown.html.split('"').find(|part| part.starts_with("/console/assets/") && part.ends_with(kind));
        let asset = page(&Browser::of(&app), path.expect("the page names it")).await.is(200);
        let size = compressed(&asset.html);
        assert!(size <= most, "the {kind} takes {size} bytes");
    }
}
