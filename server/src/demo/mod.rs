//! `demo`: the service with a sample catalogue and a cast of members, whose histories are signed deliveries posted to
//! its own webhook under a moved clock, so that both times of every event are as they would have been.

mod cast;
mod sign_in;
pub mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use api::ServiceTokens;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chrono::{DateTime, Days, SubsecRound, Utc};
use domain::clock::{Clock, MovableClock, SystemClock};
use domain::ids::MemberId;
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::PersonRecord;
use projections::past::AsOf;
use serde_json::json;
use storage::Access;
use tempfile::TempDir;
use tower::ServiceExt;
use webhook_ingest::stripe::signature::{Secrets, sign};

use crate::app::App;
use crate::catalog_file;
use crate::cli::DemoArgs;
use crate::commands::{Failure, command_id};
use crate::config::{Config, Role, Settings};
use crate::keeper::Schedule;
use crate::serve;
use cast::{Role as Part, cast, strays};
use sign_in::Click;
use story::Scheduled;

const CATALOG: &str = include_str!("catalog.toml");
const SECRET: &str = "whsec_demo";
const TOKEN: &str = "demo-service-token";
/// Not the name of a service's own database, which `--fresh` must never delete.
const DATABASE: &str = "membership-demo.db";

/// Starts the demo and serves it until told to stop.
pub(crate) async fn run(args: DemoArgs, settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let folder = Folder::new(&args)?;
    let database = folder.path().join(DATABASE);
    let config = Config {
        listen: settings.listen()?,
        database_url: format!("sqlite://{}", database.display()),
        webhook_secrets: Secrets::parse(SECRET).ok(),
        livemode: Some(false),
        catalog: None,
        service_tokens: tokens()?,
        trusted_proxies: settings.trusted_proxies()?,
        limits: settings.limits()?,
        index_snapshot: None,
        billing: None,
        schedule: Schedule::default(),
        sign_in: None,
    };
    let listener = serve::listen(config.listen)
        .await
        .map_err(|error| Failure::Usage(format!("LISTEN: {} cannot be used: {error}", config.listen)))?;
    let address = listener.local_addr()?;
    let door = settings.demo_sign_in(address)?;
    let is_new = !database.exists();

    let now = SystemClock.now().trunc_subsecs(0);
    let clock = Arc::new(MovableClock::standing_at(cast::beginning(now)));
    let storage = storage::open(&config.database_url, Access::Write, clock.clone()).await?;
    let mut app = App::start(storage, clock.clone(), config.livemode);
    let router = serve::routes(&app, &config, Role::All);
    if is_new {
        play(&app, &router, &clock, now).await?;
    }
    clock.run();
    let emails: Vec<&str> = cast(now).iter().map(|part| part.email).collect();
    let clicks = sign_in::let_in(&mut app, &door, &emails).await?;
    app.start_worker().await?;
    app.caught_up().await?;

    let shown =
        Shown { app: &app, database: &database, url: format!("http://{address}"), now, is_new, clicks };
    shown.print(started, json).await?;
    // The routes are made again, now that there is a worker whose health they can tell.
    let stop = serve::asked_to_stop(serve::Signals::heard(), app.stopping.clone(), config.limits.notice);
    let limits = config.limits.within_the_system();
    serve::serve(listener, serve::routes(&app, &config, Role::All), limits, stop).await;
    drop(router);
    serve::close(app).await;
    Ok(ExitCode::SUCCESS)
}

fn tokens() -> Result<ServiceTokens, Failure> {
    let text = format!("demo:access.read+support.read+support.write+members.write:{TOKEN}");
    ServiceTokens::parse(&text).map_err(|error| Failure::Failed(error.to_string()))
}

/// Where the demo's data are.
enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(args: &DemoArgs) -> Result<Self, Failure> {
        let Some(path) = &args.data else {
            return Ok(Self::Temporary(TempDir::with_prefix("membership-demo-")?));
        };
        fs::create_dir_all(path)?;
        if args.fresh {
            for name in [DATABASE.to_owned(), format!("{DATABASE}-wal"), format!("{DATABASE}-shm")] {
                match fs::remove_file(path.join(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(Self::Kept(path.canonicalize()?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Plays eighteen months: the catalogue, the members, then every delivery at its time.
async fn play(app: &App, router: &Router, clock: &MovableClock, now: DateTime<Utc>) -> Result<(), Failure> {
    let content = catalog_file::parse(CATALOG).map_err(|error| Failure::Failed(error.to_string()))?;
    app.apply_catalog(content, Actor::system(), &command_id()).await?;
    let parts = cast(now);
    for part in &parts {
        register(app, part, clock.now()).await?;
    }
    let mut deliveries: Vec<Scheduled> = parts.into_iter().flat_map(|part| part.deliveries).collect();
    deliveries.extend(strays(now));
    deliveries.sort_by_key(|delivery| delivery.arrives_at);
    for delivery in deliveries {
        clock.set(delivery.arrives_at);
        post(router, &delivery).await?;
        app.worker.drain().await?;
    }
    Ok(())
}

async fn register(app: &App, part: &Part, now: DateTime<Utc>) -> Result<(), Failure> {
    let member = MemberId::from(part.member);
    let email = Some(part.email.to_owned());
    let record = PersonRecord { member: member.clone(), email, external_id: None, created_at: now };
    app.storage.people.create(record).await?;
    let context = Context::asked_by(Actor::system(), &command_id(), now);
    app.storage.members.execute(member.as_str(), MemberCommand::Register, context).await?;
    Ok(())
}

async fn post(router: &Router, delivery: &Scheduled) -> Result<(), Failure> {
    let body = delivery.event.to_string();
    let request = Request::post("/webhooks/stripe")
        .header("stripe-signature", sign(SECRET, body.as_bytes(), delivery.arrives_at))
        .body(Body::from(body))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let Ok(response) = router.clone().oneshot(request).await;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("the demo's webhook answered {}", response.status())))
    }
}

/// A command to paste and what it will answer.
struct Example {
    command: String,
    answer: String,
}

/// What the demo shows when it has started.
struct Shown<'a> {
    app: &'a App,
    database: &'a Path,
    url: String,
    now: DateTime<Utc>,
    is_new: bool,
    clicks: Vec<Click>,
}

impl Shown<'_> {
    #[expect(clippy::print_stderr, reason = "the banner is for whoever started the demo")]
    async fn print(&self, started: Instant, json: bool) -> Result<(), Failure> {
        let examples = self.examples().await?;
        let url = &self.url;
        let seconds = started.elapsed().as_secs_f64();
        if json {
            let examples: Vec<_> = examples
                .iter()
                .map(|example| json!({ "command": example.command, "answer": example.answer }))
                .collect();
            let clicks = self.clicks.iter();
            let clicks: Vec<_> =
                clicks.map(|click| json!({ "member": click.member, "url": click.url })).collect();
            let banner = json!({
                "version": env!("CARGO_PKG_VERSION"), "data": self.database, "url": url, "docs": format!("{url}/docs"),
                "openapi": format!("{url}/openapi.json"), "service_token": TOKEN, "webhook_secret": SECRET,
                "seconds": seconds, "sign_in": clicks, "examples": examples,
            });
            eprintln!("{banner}");
            return Ok(());
        }
        let history = if self.is_new { "18 months played" } else { "as it was left" };
        let mut lines = vec![
            format!("membership {} · demo · {history} · ready in {seconds:.2} s", env!("CARGO_PKG_VERSION")),
            String::new(),
            format!("  API docs   {url}/docs"),
            format!("  OpenAPI    {url}/openapi.json"),
            format!("  Health     {url}/readyz"),
            format!("  Data       {}", self.database.display()),
            format!("  Token      {TOKEN}   (webhook secret {SECRET})"),
            String::new(),
            "  The cast".to_owned(),
        ];
        lines.extend(cast(self.now).iter().map(|part| format!("    {:<9} {}", part.member, part.line)));
        lines.extend([
            String::new(),
            "  Sign in with a click, on this machine (the last one is staff)".to_owned(),
        ]);
        lines.extend(self.clicks.iter().map(|click| format!("    {}", click.url)));
        lines.extend([String::new(), "  Paste these into another terminal".to_owned()]);
        for Example { command, answer } in examples {
            lines.extend([format!("    {command}"), format!("      # {answer}")]);
        }
        lines.extend([String::new(), "  Ctrl-C stops it".to_owned()]);
        eprintln!("{}", lines.join("\n"));
        Ok(())
    }

    /// Five commands, with the answers they give now.
    async fn examples(&self) -> Result<Vec<Example>, Failure> {
        let program = program();
        let with_data = format!("DATABASE_URL=sqlite://{} {program}", self.database.display());
        let mut examples = Vec::new();
        let before = (self.now - Days::new(5)).format("%Y-%m-%d").to_string();
        for (member, video, at) in
            [("mem_emil", "projections", None), ("mem_fay", "projections", Some(before.as_str()))]
        {
            let midnight = at.and_then(|day| format!("{day}T00:00:00Z").parse().ok());
            let as_of = AsOf { at: midnight.unwrap_or_else(|| SystemClock.now()), known_at: None };
            let explanation = self.app.past.explain(&member.into(), video, as_of).await?;
            let at = at.map(|day| format!(" --at {day}")).unwrap_or_default();
            examples.push(Example {
                command: format!("{with_data} explain {member} --video {video}{at}"),
                // The first line up to the question, which holds a moment that will have passed.
                answer: explanation.text().split("  ").next().unwrap_or_default().to_owned(),
            });
        }
        let timeline = self.app.past.timeline(&"mem_june".into()).await?;
        examples.push(Example {
            command: format!("{with_data} timeline mem_june"),
            answer: format!("{} events, oldest first", timeline.len()),
        });
        examples.push(Example {
            command: format!("{with_data} replay --verify"),
            answer: "directory-v1 equal, access-index equal".to_owned(),
        });
        let checked = self.app.index.check(&"mem_dora".into(), "projections", SystemClock.now());
        let reason = checked.map_or("unknown", |checked| checked.decision.reason.as_str());
        examples.push(Example {
            command: format!(
                "curl -s -H 'Authorization: Bearer {TOKEN}' {}/v1/members/mem_dora/access/videos/projections",
                self.url
            ),
            answer: format!("\"reason\":\"{reason}\""),
        });
        Ok(examples)
    }
}

/// The program as it can be typed where the demo was started.
fn program() -> String {
    let here = env::current_dir().unwrap_or_default();
    let program = env::current_exe().unwrap_or_else(|_| "membership".into());
    let short = program.strip_prefix(&here).unwrap_or(&program);
    short.display().to_string()
}
