//! Clients that take their time, and the others, who do not notice.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tests::app::{Home, Store, TOKEN, TestApp};
use tests::raw::{Closed, Raw, webhook_head};
use tests::stripe::{event, now};
use tokio::task::JoinSet;

/// Far beyond the limits, which are ten seconds.
const GENEROUS: Duration = Duration::from_secs(40);
const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";
const LARGE: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: test\r\n\r\n";

/// What so many health checks on connections of their own take, shortest first.
async fn health(app: &TestApp, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let mut client = Raw::to(app).await.expect("there is room");
        client.send(ASK).await.expect("it is sent");
        let answer = client.hear().await.expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        took.push(begun.elapsed());
    }
    took.sort();
    took
}

fn at(took: &[Duration], percent: usize) -> Duration {
    took.get(took.len() * percent / 100).or(took.last()).copied().unwrap_or_default()
}

/// Resident memory in kilobytes.
fn resident(app: &TestApp) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or_default()
}

async fn longest(closed: JoinSet<Closed>) -> (Duration, Vec<String>) {
    let closed = closed.join_all().await;
    let longest = closed.iter().map(|closed| closed.after).max().unwrap_or_default();
    (longest, closed.into_iter().map(|closed| closed.said).collect())
}

#[expect(clippy::print_stdout, reason = "figures for whoever looks at them")]
fn tell(what: &str, longest: Duration) {
    println!("{what}: closed after {longest:.2?} at the latest");
}

#[tokio::test]
async fn slow_clients_are_closed_in_time_and_everybody_else_is_served() {
    let app = TestApp::on(Store::Sqlite).await;
    let (mut silent, mut heads, mut bodies, mut api_bodies) =
        (JoinSet::new(), JoinSet::new(), JoinSet::new(), JoinSet::new());
    let mut unread = JoinSet::new();
    for number in 0..300 {
        silent.spawn(Raw::to(&app).await.expect("there is room").until_closed());
        if number % 15 > 0 {
            continue;
        }
        let mut head = Raw::to(&app).await.expect("there is room");
        head.send("GET /healthz HTTP/1.1\r\nx-long: ").await.expect("it is sent");
        heads.spawn(head.drip());
        let mut body = Raw::to(&app).await.expect("there is room");
        body.send(webhook_head(&"a".repeat(9_999), now())).await.expect("it is sent");
        bodies.spawn(body.drip());
        let mut body = Raw::to(&app).await.expect("there is room");
        let head = "POST /v1/access/check HTTP/1.1\r\nhost: test\r\ncontent-length: 9999\r\n";
        let head = format!("{head}authorization: Bearer {TOKEN}\r\n\r\n");
        body.send(head).await.expect("it is sent");
        api_bodies.spawn(body.drip());
        let mut client = Raw::narrow(&app).await.expect("there is room");
        client.send(LARGE.repeat(8)).await.expect("it is sent");
        unread.spawn(client.until_gone());
    }
    let took = health(&app, 200).await;
    app.deliver(&event("evt_meanwhile", "invoice.paid", now(), &serde_json::json!({}))).await;

    for (what, clients, told) in [
        ("silent", silent, ""),
        ("heads that trickle in", heads, ""),
        ("webhooks that trickle in", bodies, "slow_body"),
        ("requests that trickle in", api_bodies, "slow_body"),
    ] {
        let (after, said) = longest(clients).await;
        tell(what, after);
        assert!(after < GENEROUS, "{what}: {after:?}");
        for said in said {
            assert!(said.contains(told) && (said.is_empty() == told.is_empty()), "{what}: {said:?}");
            assert!(told.is_empty() || said.starts_with("HTTP/1.1 408"), "{said:?}");
        }
    }
    let after = unread.join_all().await.into_iter().max().unwrap_or_default();
    tell("answers that nobody reads", after);
    assert!(after < GENEROUS, "{after:?}");
    tell("health meanwhile (99 of 100)", at(&took, 99));
    app.settled().await;
}

#[tokio::test]
async fn a_service_that_may_open_no_more_files_waits_without_spinning_and_goes_on() {
    let app = TestApp::on(Store::Sqlite).await;
    let limit = |files: &str| {
        let pid = app.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit of util-linux is missing");
    };
    // Milliseconds of processor time, from two counters of hundredths of a second.
    let used = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
    };
    limit("3");
    let mut client = Raw::to(&app).await.expect("the kernel takes it");
    client.send(ASK).await.expect("the kernel takes it");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = used();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = used() - before;
    assert!(spent < 1_000, "{spent} ms of processor time in two seconds of waiting");
    limit("1000");
    assert!(client.hear().await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")));
    let complaints = app.log().matches("connections cannot be accepted").count();
    assert_eq!(complaints, 1, "it is told once: {}", app.log());
}

#[tokio::test]
async fn more_connections_than_there_is_room_for_are_refused_until_there_is_room() {
    let app = Home::new(Store::Sqlite).await.with("MAX_CONNECTIONS", "20").serve().await;
    let mut kept = Vec::new();
    let refused = loop {
        let mut client = Raw::to(&app).await.expect("it is accepted");
        client.send(ASK).await.expect("it is sent");
        let answer = client.hear().await.expect("it is answered");
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        kept.push(client);
        assert!(kept.len() <= 20, "too many are let in");
    };
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too_many_connections"), "{refused}");
    // Those that rest make room, so it is soon there.
    let begun = Instant::now();
    while !Raw::to(&app).await.is_ok_and(|_| true) || app.get("/healthz").await.status != StatusCode::OK {
        assert!(begun.elapsed() < GENEROUS, "there is no room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn ten_thousand_idle_clients_are_borne_and_closed() {
        let app = Home::new(Store::Sqlite).await.with("MAX_CONNECTIONS", "11000").serve().await;
        let base = health(&app, 1_000).await;
        let before = resident(&app);
        let mut idle = JoinSet::new();
        for _ in 0..10_000 {
            let mut client = Raw::to(&app).await.expect("there is room, and enough open files for this test");
            client.send(ASK).await.expect("it is sent");
            assert!(client.hear().await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")));
            idle.spawn(client.until_closed());
        }
        let weight = (resident(&app).saturating_sub(before)) / 10;
        let took = health(&app, 1_000).await;
        println!("10,000 idle connections weigh {weight} bytes each");
        println!(
            "health p99: {:.2?} alone, {:.2?} beside them (to be < 50 ms)",
            at(&base, 99),
            at(&took, 99)
        );
        let (after, _) = longest(idle).await;
        tell("keep-alive after one answer", after);
        assert!(after < Duration::from_secs(75) + GENEROUS, "{after:?}");
        assert_eq!(app.get("/readyz").await.status, StatusCode::OK);
    }
}
