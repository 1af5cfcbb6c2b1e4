//! The demo says what to paste, and what it says is so; beside it runs a Stripe that sells, renews and can be turned.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tests::app::{Home, Store};
use tests::stripe::now;

const HANG: Duration = Duration::from_mins(2);

struct Demo {
    child: Child,
    banner: String,
}

impl Demo {
    fn start(home: &Home, run: &str, arguments: &[&str]) -> Self {
        let log = home.path(&format!("demo-{run}.log"));
        let mut command = home.command(arguments);
        command.env("LISTEN", "127.0.0.1:0").stdout(Stdio::null());
        command.stderr(File::create(&log).expect("the log can be written"));
        let mut demo = Self { child: command.spawn().expect("the demo starts"), banner: String::new() };
        let begun = Instant::now();
        while !demo.banner.contains("Ctrl-C stops it") && demo.told().is_none() {
            assert!(begun.elapsed() < HANG, "no banner: {}", demo.banner);
            assert!(
                demo.child.try_wait().is_ok_and(|ended| ended.is_none()),
                "the demo ended: {}",
                demo.banner
            );
            std::thread::sleep(Duration::from_millis(20));
            demo.banner = fs::read_to_string(&log).unwrap_or_default();
        }
        demo
    }

    /// What it says to programs, with `--json`.
    fn told(&self) -> Option<Value> {
        let told = self.banner.lines().filter_map(|line| serde_json::from_str(line).ok());
        told.into_iter().find(|told: &Value| told["service_token"].is_string())
    }

    /// The commands it offers, and the answers it promises.
    fn examples(&self) -> Vec<(String, String)> {
        let lines = self.banner.lines().skip_while(|line| !line.contains("Paste these")).skip(1);
        let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        let pairs = lines.chunks(2).filter_map(|pair| {
            let answer = pair.get(1)?.trim().strip_prefix("# ")?;
            Some((pair[0].trim().to_owned(), answer.to_owned()))
        });
        pairs.collect()
    }

    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("it can be asked to stop");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < HANG, "the demo does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pasted(home: &Home, command: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(home.path("."))
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/local/bin");
    let output = shell.output().expect("there is a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn assert_as_promised(home: &Home, demo: &Demo) {
    let examples = demo.examples();
    assert_eq!(examples.len(), 5, "{}", demo.banner);
    for (command, answer) in examples {
        let told = pasted(home, &command);
        if let Some(count) = answer.strip_suffix(" events, oldest first") {
            assert_eq!(told.lines().count().to_string(), count, "{command}: {told}");
        } else if answer == "directory-v2 equal, access-index equal" {
            for model in ["directory-v2", "access-index"] {
                let line = told.lines().find(|line| line.starts_with(model));
                assert!(line.is_some_and(|line| line.contains("equal")), "{command}: {told}");
            }
        } else {
            assert!(told.contains(&answer), "{command}: promised {answer}, got {told}");
        }
    }
}

/// What every member of the cast is answered for a video that only Pro opens, right after the history, and what to the
/// question that tells the most about her.
const ANSWERS: [(&str, &str, &str); 22] = [
    ("ada", "plan_too_low", "plan_too_low"),
    ("ben", "subscription", "trial"),
    ("cleo", "trial", "trial"),
    ("dora", "grace", "grace"),
    ("emil", "past_due", "past_due"),
    ("fay", "subscription", "plan_too_low"),
    ("gus", "cancels_later", "cancels_later"),
    ("hana", "ended", "ended"),
    ("ivo", "payment_pending", "payment_pending"),
    ("june", "plan_too_low", "grace"),
    ("kit", "subscription", "subscription"),
    ("lou", "subscription", "subscription"),
    ("max", "no_membership", "no_membership"),
    ("nils", "refunded", "refunded"),
    ("olga", "disputed", "disputed"),
    ("pete", "paused", "paused"),
    ("rosa", "subscription", "past_due"),
    ("sam", "plan_too_low", "grant"),
    ("tess", "grant", "grant"),
    ("ulf", "subscription", "subscription"),
    ("vera", "ended", "cancels_later"),
    ("wim", "plan_too_low", "plan_too_low"),
];

impl Demo {
    /// What the banner says beside `name`.
    fn named(&self, name: &str) -> String {
        if let Some(told) = self.told() {
            let field = match name {
                "API docs" => "docs",
                "Token" => "service_token",
                name => &name.to_lowercase(),
            };
            return told[field].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        }
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| panic!("no {name}")).to_owned()
    }

    fn url(&self) -> String {
        self.named("API docs").trim_end_matches("/docs").to_owned()
    }

    async fn asked(&self, method: &str, path: &str) -> Value {
        let client = Client::builder().no_proxy().timeout(HANG).build().unwrap();
        let request = client.request(method.parse().unwrap(), format!("{}{path}", self.url()));
        request.bearer_auth(self.named("Token")).send().await.unwrap().json().await.unwrap()
    }

    /// What the API explains to the question about one of the cast.
    async fn explained(&self, part: &Value) -> Value {
        let text = |field: &str| part[field].as_str().map(str::to_owned);
        let known_at = text("known_at").map(|known_at| format!("&known_at={known_at}")).unwrap_or_default();
        let bound = |field| text(field).unwrap_or_default();
        let (member, video, at) = (bound("member"), bound("video"), bound("at"));
        self.asked("GET", &format!("/v1/support/members/{member}/explain?video={video}&at={at}{known_at}"))
            .await
    }

    async fn decision(&self, name: &str, at: &str) -> Value {
        self.asked("GET", &format!("/v1/members/mem_{name}/access/videos/projections{at}")).await
    }

    /// Calls the simulated Stripe.
    async fn stripe(&self, path: &str, body: &str) -> Value {
        let client = Client::builder().no_proxy().timeout(HANG).build().unwrap();
        let request = client.post(format!("{}{path}", self.named("Stripe"))).bearer_auth("sk_test_demo");
        request.body(body.to_owned()).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the answer is this one.
    async fn becomes(&self, name: &str, expected: &str) -> Value {
        let begun = Instant::now();
        loop {
            let decision = self.decision(name, "").await;
            if decision["reason"] == expected {
                return decision;
            }
            assert!(begun.elapsed() < HANG, "{decision}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All deliveries of an outcome, or of any.
    async fn deliveries(&self, outcome: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.asked("GET", &format!("/v1/support/deliveries?limit=100{outcome}{cursor}")).await;
            found.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }
}

/// What the command explains to the same question.
fn explained_by_command(home: &Home, part: &Value) -> String {
    let bound = |field: &str| part[field].as_str().unwrap_or_default().to_owned();
    let (member, video, at, known_at) = (bound("member"), bound("video"), bound("at"), bound("known_at"));
    let mut arguments = vec!["explain", &member, "--video", &video, "--at", &at];
    if !known_at.is_empty() {
        arguments.extend(["--known-at", &known_at]);
    }
    home.cli(&arguments).out
}

fn moment(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no moment"))
}

#[tokio::test]
async fn every_member_of_the_cast_is_where_the_banner_says_and_stripe_agrees() {
    let home = Home::new(Store::Sqlite).await;
    let demo = Demo::start(&home, "cast", &["demo", "--json"]);
    let told = demo.told().expect("a program is told");
    let cast = told["cast"].as_array().expect("who is in it");
    assert_eq!(cast.len(), ANSWERS.len());
    let home = home.with("DATABASE_URL", &format!("sqlite://{}", told["data"].as_str().expect("a file")));
    for ((name, reason, telling), part) in ANSWERS.into_iter().zip(cast) {
        assert_eq!(part["member"], format!("mem_{name}"));
        assert_eq!(demo.decision(name, "").await["reason"], reason, "{name}");
        let explained = demo.explained(part).await;
        assert_eq!(explained["decision"]["reason"], telling, "{name}: {explained}");
        assert_eq!(explained["text"], explained_by_command(&home, part), "{name}");
        if part["email"].is_null() {
            assert_eq!(name, "vera", "who was erased");
            continue;
        }
        let resync = demo.asked("POST", &format!("/v1/support/members/mem_{name}/resync")).await;
        assert_eq!(resync["differing"], 0, "what was played is what Stripe knows: {name} {resync}");
    }
    let ago = |days| format!("?at={}", tests::stripe::rfc3339(now() - chrono::TimeDelta::days(days)));
    let nils = [50, 30, 2].map(ago);
    for (at, reason) in nils.iter().zip(["subscription", "subscription", "refunded"]) {
        assert_eq!(demo.decision("nils", at).await["reason"], reason, "by the policy of its time: {at}");
    }
    // Had it been told in time, she would not have been locked out; asked for what was known then, the program says so.
    let rosa = cast.iter().find(|part| part["member"] == "mem_rosa").expect("she is in it");
    let mut known_now = rosa.clone();
    known_now["known_at"].take();
    assert_eq!(demo.explained(&known_now).await["decision"]["reason"], "subscription");
    let deliveries = demo.deliveries("").await;
    let of = |what: &dyn Fn(&&Value) -> bool| deliveries.iter().filter(what).count();
    let late =
        |delivery: &&Value| (moment(&delivery["received_at"]) - moment(&delivery["created"])).num_days() >= 2;
    assert!(of(&late) > 0, "some came days late");
    assert!(of(&|delivery| delivery["times_received"] == 2) > 0, "some came twice");
    assert!(of(&|delivery| delivery["outcome"] == "stale") > 0, "some came in the wrong order");
    let at_once =
        of(&|delivery| (moment(&delivery["received_at"]) - moment(&delivery["created"])).num_seconds() == 1);
    assert!(at_once > 150, "all others at their moment: {at_once} of {}", deliveries.len());
    let parked = demo.deliveries("&outcome=parked").await;
    assert!(!parked.is_empty() && parked.iter().all(|delivery| delivery["reason"] == "unknown_customer"));
    assert_eq!(demo.stop(), Some(0));
}

#[tokio::test]
async fn the_demos_stripe_sells_and_its_clock_is_the_services_and_both_outlive_a_restart() {
    let home = Home::new(Store::Sqlite).await;
    let data = home.path("data").display().to_string();
    let demo = Demo::start(&home, "sells", &["demo", "--data", &data]);
    let form = "mode=subscription&line_items[0][price]=price_demo_pro_month&client_reference_id=mem_max\
                &success_url=http://127.0.0.1:8080/";
    let session = demo.stripe("/v1/checkout/sessions", form).await;
    let browser = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let paid = browser
        .post(session["url"].as_str().unwrap())
        .body("email=max%40example.com&number=4242424242424242");
    assert_eq!(paid.send().await.unwrap().status(), 303);
    demo.becomes("max", "subscription").await;

    demo.stripe("/_sim/clock", &json!({ "advance": "33d" }).to_string()).await;
    let ahead = |decision: &Value| (moment(&decision["at"]) - now()).num_days();
    // On a busy machine it goes on turning after the answer.
    let begun = Instant::now();
    let mut turned = demo.becomes("max", "subscription").await;
    while ahead(&turned) < 32 {
        assert!(begun.elapsed() < HANG, "{turned}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        turned = demo.becomes("max", "subscription").await;
    }
    assert!((32..=33).contains(&ahead(&turned)), "{turned}");
    for (name, reason) in [("gus", "ended"), ("cleo", "subscription"), ("ivo", "ended"), ("emil", "ended")] {
        demo.becomes(name, reason).await;
    }
    let told = demo.deliveries("").await;
    let since = now() + chrono::TimeDelta::days(1);
    let live: Vec<_> = told.iter().filter(|delivery| moment(&delivery["created"]) > since).collect();
    assert!(live.len() > 20, "{}", live.len());
    for delivery in live {
        let took = moment(&delivery["received_at"]) - moment(&delivery["created"]);
        assert!((0..=60).contains(&took.num_seconds()), "each at its moment: {delivery}");
    }
    let metrics = browser.get(format!("{}/metrics", demo.url())).send().await.unwrap().text().await.unwrap();
    let refused = metrics.lines().filter(|line| line.starts_with("membership_webhooks_refused_total{"));
    assert!(refused.into_iter().all(|line| line.ends_with(" 0")), "{metrics}");
    assert_eq!(demo.stop(), Some(0));

    let again = Demo::start(&home, "again", &["demo", "--data", &data]);
    assert!(again.banner.contains("days ahead"), "{}", again.banner);
    let decision = again.becomes("max", "subscription").await;
    assert!((32..=33).contains(&ahead(&decision)), "{decision}");
    let resync = again.asked("POST", "/v1/support/members/mem_max/resync").await;
    assert_eq!((&resync["compared"], &resync["differing"]), (&json!(1), &json!(0)), "{resync}");
    assert_eq!(again.stop(), Some(0));

    fs::remove_file(home.path("data").join("stripe-demo.json")).unwrap();
    let refused = home.cli(&["demo", "--data", &data]);
    assert!(refused.code == 2 && refused.err.contains("--fresh"), "{refused:?}");
}

#[tokio::test]
async fn what_the_demo_offers_to_paste_answers_as_printed_and_its_history_outlives_it() {
    let home = Home::new(Store::Sqlite).await;
    let data = home.path("data").display().to_string();
    let first = Demo::start(&home, "first", &["demo", "--data", &data]);
    assert!(first.banner.contains("18 months played"), "{}", first.banner);
    assert_as_promised(&home, &first);
    let timeline = |demo: &Demo| {
        let (command, _) =
            demo.examples().into_iter().find(|(command, _)| command.contains(" timeline ")).expect("one");
        pasted(&home, &command)
    };
    let history = timeline(&first);
    assert_eq!(first.stop(), Some(0));

    let second = Demo::start(&home, "second", &["demo", "--data", &data]);
    assert!(second.banner.contains("as it was left"), "{}", second.banner);
    assert_as_promised(&home, &second);
    assert_eq!(timeline(&second), history);
    assert_eq!(second.stop(), Some(0));

    let third = Demo::start(&home, "third", &["demo", "--data", &data, "--fresh"]);
    assert!(third.banner.contains("18 months played"), "{}", third.banner);
    assert_as_promised(&home, &third);
    assert_eq!(third.stop(), Some(0));
}

#[tokio::test]
async fn a_click_in_the_demo_signs_in_on_this_machine_and_leads_nowhere_else() {
    let home = Home::new(Store::Sqlite).await;
    let demo = Demo::start(&home, "clicks", &["demo"]);
    let clicks: Vec<&str> = demo
        .banner
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.contains("/v1/auth/demo-sign-in?"))
        .collect();
    let (first, last) = (clicks[0], clicks[clicks.len() - 1]);
    let base = first.split("/v1/").next().unwrap_or_default();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client can be made");
    for (click, role, to) in [(first, "member", "/docs"), (last, "owner", "/console/accounts")] {
        let moved = client.get(click).send().await.expect("the demo answers");
        assert_eq!((moved.status().as_u16(), &moved.headers()["location"].as_bytes()), (303, &to.as_bytes()));
        let cookies = moved.headers().get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
        let cookies: Vec<&str> = cookies.filter_map(|set| set.split(';').next()).collect();
        let asked = client.get(format!("{base}/v1/auth/account")).header("cookie", cookies.join("; "));
        let account: serde_json::Value = asked.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(account["role"], role, "{account}");
        let support =
            client.get(format!("{base}/v1/support/deliveries")).header("cookie", cookies.join("; "));
        let support = support.send().await.expect("an answer").status().as_u16();
        assert_eq!(support, if role == "owner" { 200 } else { 403 });
    }
    for (what, request) in [
        ("a name of somebody else's", client.get(first).header("host", "evil.example")),
        ("a proxy in front", client.get(first).header("host", "membership.example.com")),
    ] {
        assert_eq!(request.send().await.expect("an answer").status(), 404, "{what}");
    }
    for to in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        let elsewhere = client.get(format!("{first}&to={to}").replace("&to=/docs&", "&"));
        let answer = elsewhere.send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers().get("set-cookie")), (400, None), "{to}");
    }
    let nobody = client.get(format!("{base}/v1/auth/demo-sign-in?member=mem_nobody"));
    assert_eq!(nobody.send().await.expect("an answer").status(), 404);
    assert_eq!(demo.stop(), Some(0));
}

#[tokio::test]
async fn a_service_that_is_asked_to_stop_ends_well() {
    let home = Home::new(Store::Sqlite).await;
    for signal in ["TERM", "INT"] {
        let mut app = home.serve().await;
        assert_eq!(app.stop(signal), Some(0), "{}", app.log());
        home.done(&["replay", "--verify"]);
    }
}
