//! `doctor`: looks an installation over and says in a line each what is so, what is wrong and what to do. It changes
//! nothing, and works beside a service that runs on the same store.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use cqrs_es::Aggregate;
use domain::catalog::{self, CATALOG_ID, Catalog, CatalogCommand};
use domain::clock::{Clock, SystemClock};
use domain::events::{Event, upcasters};
use domain::ports::{EventFeed, Position, StoreError};
use projections::directory;
use serde_json::{Value, json};
use storage::examine::{Finding, Verdict, examine};
use storage::{Access, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, print, print_json};
use crate::catalog_file;
use crate::config::{ConfigError, Role, Settings};

/// How many of the last events are read.
const LAST: u64 = 1_000;
const PAGE: usize = 1_000;
/// A delivery that is due is taken within half a second, so this is long.
const OLD: TimeDelta = TimeDelta::minutes(5);
/// How long a running service may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
const MOST_OF_AN_ANSWER: u64 = 1024 * 1024;

/// `doctor`
pub(crate) async fn run(
    settings: Result<Settings, ConfigError>,
    role: Role,
    deep: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut findings = Vec::new();
    match settings {
        Ok(settings) => look(&settings, role, deep, &mut findings).await,
        Err(mistake) => findings.push(Finding::problem("settings", mistake.to_string(), "correct it")),
    }
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    if json {
        print_json(&json!({ "object": "examination", "verdict": worst, "checks": findings }))?;
    } else {
        for Finding { check, verdict, what, remedy } in &findings {
            let remedy = remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            print(format_args!("{verdict:<8} {check:<13} {what}{remedy}"))?;
        }
    }
    Ok(ExitCode::from(u8::from(worst == Verdict::Problem)))
}

async fn look(settings: &Settings, role: Role, deep: bool, findings: &mut Vec<Finding>) {
    let mistakes = settings.mistakes(role);
    if mistakes.is_empty() {
        findings.push(Finding::ok("settings", format!("{} are set, all can be read", settings.count())));
    }
    for mistake in mistakes {
        let what = format!("{}: {}", mistake.name, mistake.what);
        findings.push(Finding::problem("settings", what, format!("for example {}", mistake.example)));
    }
    if let Ok(url) = settings.database_url() {
        findings.extend(examine(&url, deep).await);
        let can_be_read = ["store", "tables"].iter().all(|check| {
            findings.iter().any(|finding| finding.check == *check && finding.verdict != Verdict::Problem)
        });
        if can_be_read {
            match storage::open(&url, Access::Read, Arc::new(SystemClock)).await {
                Ok(storage) => {
                    look_inside(&storage, settings.catalog().as_deref(), deep, findings).await;
                    storage.shutdown().await;
                }
                Err(why) => findings.push(Finding::problem("store", why.to_string(), "see above")),
            }
        }
    }
    findings.extend(service(settings).await);
}

async fn look_inside(storage: &Storage, file: Option<&Path>, deep: bool, findings: &mut Vec<Finding>) {
    let feed = storage.feed.as_ref();
    let unreadable = |check, error: StoreError| {
        Finding::problem(check, error.to_string(), "see the checks of the store above")
    };
    match feed.head().await {
        Ok(head) => {
            findings.push(log(feed, head, deep).await);
            let behind = projections_behind(storage, head).await;
            findings.push(behind.unwrap_or_else(|error| unreadable("projections", error)));
        }
        Err(error) => findings.push(unreadable("log", error)),
    }
    let applied = catalogue(feed, file).await;
    findings.push(applied.unwrap_or_else(|error| unreadable("catalogue", error)));
    match deliveries(storage).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(unreadable("deliveries", error)),
    }
}

/// Reads events as every follower does.
async fn log(feed: &dyn EventFeed, head: Position, deep: bool) -> Finding {
    let upcasters = upcasters();
    let mut at = if deep { Position::START } else { Position::new(head.get().saturating_sub(LAST)) };
    let remedy =
        "every reader stops there: use the release that wrote the event, or restore a backup of the log";
    let mut count = 0;
    loop {
        let page = match feed.read(at, PAGE).await {
            Ok(page) => page,
            Err(error) => return Finding::problem("log", format!("after {at}: {error}"), remedy),
        };
        for recorded in &page.events {
            if let Err(error) = Event::read(recorded, &upcasters) {
                return Finding::problem("log", error.to_string(), remedy);
            }
            count += 1;
        }
        if page.next <= at {
            let which = if deep { "all" } else { "the last" };
            let more = if deep { "" } else { " (--deep reads all)" };
            return Finding::ok("log", format!("{which} {count} events can be read, up to {head}{more}"));
        }
        at = page.next;
    }
}

async fn projections_behind(storage: &Storage, head: Position) -> Result<Finding, StoreError> {
    let at = storage.views.checkpoint(directory::NAME).await?.position;
    let lag = head.get().saturating_sub(at.get());
    let what = format!("{} is {lag} positions behind the end of the log", directory::NAME);
    if lag == 0 {
        return Ok(Finding::ok("projections", format!("{} knows the whole log", directory::NAME)));
    }
    // While a service runs, a moment later it is further.
    tokio::time::sleep(Duration::from_millis(500)).await;
    if storage.views.checkpoint(directory::NAME).await?.position > at {
        return Ok(Finding::ok("projections", format!("{what} and catching up")));
    }
    let remedy =
        "start the service, which catches up; where it runs, look for \"projection stands still\" in its log";
    Ok(Finding::warning("projections", what, remedy))
}

/// Whether what is applied is what the file says.
async fn catalogue(feed: &dyn EventFeed, file: Option<&Path>) -> Result<Finding, StoreError> {
    let upcasters = upcasters();
    let mut applied = Catalog::default();
    for recorded in feed.read_stream(Catalog::TYPE, CATALOG_ID).await? {
        match Event::read(&recorded, &upcasters) {
            Ok(Event::Catalog(event)) => catalog::evolve(&mut applied, &event),
            Ok(_) => {}
            Err(error) => {
                return Ok(Finding::problem("catalogue", error.to_string(), "use the release that wrote it"));
            }
        }
    }
    let Some(file) = file else {
        let plans = applied.plans().count();
        return Ok(if plans == 0 {
            let what = "none has been applied, so every delivery about a subscription is parked";
            Finding::warning("catalogue", what, "set CATALOG, or run membership catalog apply FILE")
        } else {
            Finding::ok(
                "catalogue",
                format!("{plans} plans and {} videos are applied", applied.videos().count()),
            )
        });
    };
    let content = match catalog_file::read(file) {
        Ok(content) => content,
        Err(error) => {
            return Ok(Finding::problem(
                "catalogue",
                format!("CATALOG: {error}"),
                "the service does not start with it",
            ));
        }
    };
    Ok(match catalog::decide(&applied, CatalogCommand::Apply(Box::new(content))) {
        Ok(changes) if changes.is_empty() => {
            Finding::ok("catalogue", format!("what is applied is as in {}", file.display()))
        }
        Ok(changes) => {
            let what = format!("{} differs from what is applied in {} things", file.display(), changes.len());
            Finding::warning(
                "catalogue",
                what,
                "restart the service, or run membership catalog apply; --dry-run tells who gains or loses what",
            )
        }
        Err(error) => Finding::problem("catalogue", error.to_string(), "correct the file"),
    })
}

async fn deliveries(storage: &Storage) -> Result<Vec<Finding>, StoreError> {
    let now = SystemClock.now();
    let backlog = storage.inbox.backlog(now).await?;
    let mut found = Vec::new();
    if backlog.failed > 0 {
        let what = format!("{} could not be carried out after many attempts", backlog.failed);
        let remedy = "GET /v1/support/deliveries?outcome=failed tells why; mend it, then replay them or restart the service";
        found.push(Finding::problem("deliveries", what, remedy));
    }
    if let Some(since) = backlog.waiting_since.filter(|since| now - *since > OLD) {
        let minutes = (now - since).num_minutes();
        let what =
            format!("{} wait, the oldest for {minutes} minutes: nobody carries them out", backlog.pending);
        let remedy =
            "start the service with a role that takes webhooks; where it runs, see GET /readyz and its log";
        found.push(Finding::problem("deliveries", what, remedy));
    }
    if backlog.parked > 0 {
        let what = format!("{} are parked: each waits for a member, a link or a catalogue", backlog.parked);
        let remedy = "GET /v1/support/deliveries?outcome=parked names each reason";
        found.push(Finding::warning("deliveries", what, remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok("deliveries", format!("{} wait, none is parked or failed", backlog.pending)));
    }
    Ok(found)
}

/// What a service says that runs with these settings.
async fn service(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Ok(listen) = settings.listen() {
        found.push(service_at(&reachable(listen).to_string()).await);
    }
    if let Ok(Some(url)) = settings.public_url() {
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let is_plain = url.scheme_str() == Some("http");
        let port = if is_plain { 80 } else { 443 };
        let address = if url.port().is_some() { authority } else { format!("{authority}:{port}") };
        let finding = if is_plain { service_at(&address).await } else { door_at(&address).await };
        found.push(Finding { check: "public_url", ..finding });
    }
    found
}

/// Who listens everywhere is reached at home.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

async fn service_at(address: &str) -> Finding {
    let Ok(Ok(_)) = timeout(ANSWER, TcpStream::connect(address)).await else {
        return Finding::ok("service", format!("nothing runs at {address}"));
    };
    let remedy = "see its log; if another program has this port, change LISTEN";
    match ask(address, "/healthz").await {
        Some((200, body)) if body["object"] == "health" => {}
        Some((status, _)) => {
            let what =
                format!("{address} answers GET /healthz with {status}, which is not this service's answer");
            return Finding::problem("service", what, remedy);
        }
        None => {
            let what = format!("{address} takes connections and gives no answer to GET /healthz");
            return Finding::problem("service", what, remedy);
        }
    }
    match ask(address, "/readyz").await {
        Some((200, body)) => Finding::ok(
            "service",
            format!("runs at {address} and is ready, {} positions behind", body["lag"]),
        ),
        Some((_, body)) => {
            let why = body["detail"].as_str().unwrap_or("Not ready.").to_owned();
            Finding::problem("service", format!("runs at {address}. {why}"), "see its log")
        }
        None => Finding::problem("service", format!("{address} gives no answer to GET /readyz"), remedy),
    }
}

/// Behind TLS only the door is looked at: certificates are the proxy's business.
async fn door_at(address: &str) -> Finding {
    match timeout(ANSWER, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::ok("service", format!("{address} takes connections (TLS is not looked into)")),
        _ => Finding::warning(
            "service",
            format!("{address} takes no connections, so nobody outside reaches this service"),
            "see the proxy in front of it and the name's DNS",
        ),
    }
}

/// One small request. The program holds no HTTP client, and two lines of HTTP are enough here.
async fn ask(address: &str, path: &str) -> Option<(u16, Value)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(MOST_OF_AN_ANSWER).read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    };
    timeout(ANSWER, asked).await.ok().flatten()
}
