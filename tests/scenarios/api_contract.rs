//! The API is what its `OpenAPI` document says: schemathesis makes requests from the document, good ones and bad ones, and
//! holds every answer of the real program against it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::Value;
use tests::app::{Home, Store, TOKEN, TestApp};
use tests::browser::{Browser, PASSWORD};
use tests::on_every_store;
use tests::stripe::{ADVANCED, BASIC, FREE, Price, SECRETS, Story, bought, days_ago, events};

const OWNER: &str = "owner@example.com";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance";

/// What schemathesis reported.
struct Report {
    good: bool,
    text: String,
}

/// A service with members in several states, deliveries of several outcomes, and what there is to be asked about.
async fn peopled(store: Store) -> (TestApp, Vec<String>, Vec<String>) {
    let home = Home::new(store).await.with_accounts();
    let mut made =
        home.command(&["account", "create", "--email", OWNER, "--role", "owner", "--password-stdin"]);
    let mut made = made.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program can be run");
    let mut stdin = made.stdin.take().expect("it reads");
    writeln!(stdin, "{PASSWORD}").expect("it reads");
    assert!(made.wait().is_ok_and(|status| status.success()), "no owner was made");
    let app = home.serve().await;
    let mut members = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let member = format!("mem_{name}");
        app.register(&member).await;
        members.push(member);
    }
    let mut ada = Story::new("ada");
    bought(&mut ada, "mem_ada", Price::ProMonth, days_ago(10));
    let mut bob = Story::new("bob");
    bought(&mut bob, "mem_bob", Price::BasicMonth, days_ago(40));
    bob.renewal_fails(days_ago(9));
    let mut nobody = Story::new("nobody");
    nobody.create(Price::BasicMonth, "active", days_ago(3));
    let mut mug = Story::new("mug");
    mug.create(Price::Mug, "active", days_ago(3));
    for story in [ada, bob, nobody, mug] {
        app.deliver_all(&events(story)).await;
    }
    let deliveries = app.deliveries("").await;
    let ids = deliveries.iter().filter_map(|delivery| delivery["id"].as_str().map(str::to_owned)).collect();
    (app, members, ids)
}

/// What was reported, unless it is endless: schemathesis shows its own mistakes with all that was in memory.
fn shown(report: &Report) -> String {
    report.text.chars().take(20_000).collect()
}

/// Where `make tools` has put it.
fn schemathesis() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = std::fs::read_dir(root.join("target/tools")).into_iter().flatten().flatten();
    let installed = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("schemathesis-") && folder.join("installed").exists()
    };
    let folder = found.map(|entry| entry.path()).filter(installed).max();
    folder.expect("schemathesis is not installed; run: make tools").join("bin/schemathesis")
}

/// All that schemathesis does. What it calls coverage tries each value of each parameter at its edges, whatever the number of
/// examples.
const ALL_PHASES: &str = "examples,coverage,fuzzing,stateful";

/// Runs schemathesis against the program, with a document of its own where `document` is given.
async fn run(store: Store, examples: u32, document: Option<&Value>) -> Report {
    let phases = if document.is_some() { "fuzzing" } else { ALL_PHASES };
    run_as(Caller::BackEnd, store, phases, examples, document).await
}

/// Who makes the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A back end with a service token.
    BackEnd,
    /// Staff in a browser.
    Staff,
}

/// Signs somebody of the staff in, and gives her cookie.
async fn staff(app: &TestApp) -> String {
    let mut browser = Browser::of(app);
    browser.login(OWNER, PASSWORD).await;
    browser.second_factor().await;
    format!("access={}", browser.cookie("access").unwrap_or_default())
}

async fn run_as(
    caller: Caller,
    store: Store,
    phases: &str,
    examples: u32,
    document: Option<&Value>,
) -> Report {
    let (app, members, deliveries) = peopled(store).await;
    let cookie = staff(&app).await;
    let position = app.settled().await;
    let quoted =
        |values: &[&str]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    let texts = |values: &[String]| quoted(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/schemathesis_hooks.py");
    // Ids that are there most of the time, and a position that is reached, since one that is not is waited for.
    let config = app.home.write(
        "schemathesis.toml",
        &format!(
            "hooks = '{}'\n\
             [dictionaries.members]\nvalues = [{}]\n[dictionaries.videos]\nvalues = [{}]\n\
             [dictionaries.deliveries]\nvalues = [{}]\n[dictionaries.positions]\nvalues = [{}]\n\
             [dictionaries.moments]\nvalues = [\"2026-01-01T00:00:00Z\", \"2030-02-28T23:59:59.999999+01:00\"]\n\
             [parameters]\n\
             \"path.member\" = {{ dictionary = \"members\", probability = 0.8 }}\n\
             \"path.video\" = {{ dictionary = \"videos\", probability = 0.8 }}\n\
             \"query.video\" = {{ dictionary = \"videos\", probability = 0.8 }}\n\
             \"path.event\" = {{ dictionary = \"deliveries\", probability = 0.8 }}\n\
             \"query.at\" = {{ dictionary = \"moments\", probability = 0.5 }}\n\
             \"header.Membership-Position\" = {{ dictionary = \"positions\", probability = 1.0 }}\n",
            hooks.display(),
            texts(&members),
            quoted(&[FREE, BASIC, ADVANCED]),
            texts(&deliveries),
            quoted(&[&position]),
        ),
    );
    let mut command = Command::new(schemathesis());
    command.arg("--config-file").arg(config).arg("run");
    match document {
        None => command.arg(format!("{}/openapi.json", app.url)),
        Some(document) => command.arg(app.home.write("openapi.json", &document.to_string())),
    };
    command.args(["--url", &app.url, "--phases", phases]);
    match caller {
        Caller::BackEnd => command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]),
        // What signs her out is left alone.
        Caller::Staff => command
            .args(["--header", &format!("Cookie: {cookie}"), "--header", "Sec-Fetch-Site: same-origin"])
            .args(["--exclude-path-regex", "^/v1/auth/(login|logout|refresh|delete-account)"])
            .args(["--exclude-operation-id", "endSession"])
            // A stream stays open for minutes; `access_events` listens to it.
            .args(["--exclude-operation-id", "streamMyEvents"]),
    };
    // What it would send to have a cookie refused is not sent: the header above takes its place.
    let refusals = if caller == Caller::Staff { "" } else { ",negative_data_rejection" };
    command.args([
        "--checks",
        &format!("{CHECKS}{refusals}"),
        "--max-examples",
        &examples.to_string(),
        "--seed",
        "20261122",
    ]);
    command.args(["--workers", "1", "--no-color", "--warnings", "off"]);
    command
        .env("CONTRACT_POSITION", &position)
        .env("CONTRACT_SECRET", SECRETS[1])
        .env("CONTRACT_MEMBERS", members.join(","));
    command.env("CONTRACT_VIDEOS", [FREE, BASIC, ADVANCED].join(","));
    command.current_dir(app.home.path("."));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it is waited for");
    let output = output.expect("schemathesis can be run");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    // Stateful calls and signed deliveries are the last that came in: it still carries out what it took.
    app.settled().await;
    assert_eq!(app.check("mem_ada", ADVANCED).await["reason"], "subscription");
    Report { good: output.status.success(), text }
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let report = run(Store::Sqlite, 10, None).await;
    assert!(report.good, "{}", shown(&report));
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(report.text.contains(&format!("✅ {phase}")), "{phase}: {}", shown(&report));
    }
}

#[tokio::test]
async fn every_answer_to_somebody_who_is_signed_in_is_as_the_document_says() {
    let report = run_as(Caller::Staff, Store::Sqlite, "examples,fuzzing", 5, None).await;
    assert!(report.good, "{}", shown(&report));
}

#[tokio::test]
async fn a_document_that_promises_something_else_is_noticed() {
    let home = Home::new(Store::Sqlite).await;
    let mut document = home.done(&["openapi"]).json();
    let paths = document["paths"].as_object_mut().expect("the document has paths");
    paths.retain(|path, _| path == "/healthz");
    document["components"]["schemas"]["Health"]["properties"]["status"]["type"] = "integer".into();
    let report = run(Store::Sqlite, 5, Some(&document)).await;
    assert!(!report.good && report.text.contains("Response violates schema"), "{}", shown(&report));
}

on_every_store! {
    async fn an_id_that_a_store_could_not_look_for_is_nobodys(store: Store) {
        let app = TestApp::on(store).await;
        for (method, path, status) in [
            (Method::POST, "/v1/support/deliveries/%00/replay", 404),
            (Method::POST, "/v1/support/deliveries/evt_%F0%9F%A6%80/replay", 404),
            (Method::GET, "/v1/support/deliveries?cursor=00", 400),
            (Method::GET, "/v1/support/members/mem_%00/timeline", 404),
            (Method::GET, "/v1/members/mem_ada/access/videos/%00", 404),
            (Method::GET, "/v1/support/members/mem_ada/explain?video=%00", 404),
            (Method::GET, "/v1/members?cursor=6d656d5f00", 400),
        ] {
            let reply = app.send(method, path, None, "").await;
            assert_eq!(reply.status, status, "{path}: {reply:?}");
        }
    }
}

mod long {
    use super::*;

    #[expect(clippy::print_stderr, reason = "figures are what the long forms are run for")]
    async fn many(store: Store) {
        let report = run(store, 1_000, None).await;
        assert!(report.good, "{}", shown(&report));
        eprintln!("{store:?}: {}", report.text.split("SUMMARY").last().unwrap_or_default());
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn every_answer_to_somebody_who_is_signed_in_is_as_the_document_says_at_all_edges() {
        let report = run_as(Caller::Staff, Store::Sqlite, ALL_PHASES, 100, None).await;
        assert!(report.good, "{}", shown(&report));
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn every_answer_is_as_the_document_says_a_thousand_times_on_sqlite() {
        many(Store::Sqlite).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn every_answer_is_as_the_document_says_a_thousand_times_on_postgres() {
        many(Store::Postgres).await;
    }
}
