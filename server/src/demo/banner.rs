//! What the demo says when it has started: where everything is, who is in it, and what to paste.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{DateTime, Days, SecondsFormat, Utc};
use projections::past::AsOf;
use serde_json::{Value, json};

use super::cast::{PRO, Telling, cast};
use super::sign_in::{Click, STAFF};
use super::{KEY, SECRET, TOKEN};
use crate::app::App;
use crate::commands::Failure;

/// Who has nothing yet and may buy.
const BUYER: &str = "mem_max";

/// A command to paste and what it will answer.
struct Example {
    command: String,
    answer: String,
}

/// What is shown.
pub(super) struct Banner<'a> {
    pub(super) app: &'a App,
    pub(super) database: &'a Path,
    /// Where the service is reached.
    pub(super) url: String,
    /// Where the simulated Stripe is reached.
    pub(super) stripe: String,
    pub(super) now: DateTime<Utc>,
    /// When the history ended.
    pub(super) played: DateTime<Utc>,
    pub(super) is_new: bool,
    pub(super) clicks: Vec<Click>,
}

impl Banner<'_> {
    #[expect(clippy::print_stderr, reason = "the banner is for whoever started the demo")]
    pub(super) async fn print(&self, started: Instant, json: bool) -> Result<(), Failure> {
        let (examples, at_stripe) = (self.examples().await?, self.at_stripe());
        let (url, stripe) = (&self.url, &self.stripe);
        let seconds = started.elapsed().as_secs_f64();
        if json {
            let listed = |examples: &[Example]| -> Vec<_> {
                let shown =
                    |example: &Example| json!({ "command": example.command, "answer": example.answer });
                examples.iter().map(shown).collect()
            };
            let banner = json!({
                "version": env!("CARGO_PKG_VERSION"), "data": self.database, "url": url, "docs": format!("{url}/docs"),
                "openapi": format!("{url}/openapi.json"), "service_token": TOKEN, "stripe": stripe,
                "stripe_key": KEY, "webhook_secret": SECRET, "seconds": seconds,
                "sign_in": self.clicks.iter().map(|click| json!({ "member": click.member, "url": click.url })).collect::<Vec<_>>(),
                "cast": self.told_cast(), "examples": listed(&examples), "at_stripe": listed(&at_stripe),
            });
            eprintln!("{banner}");
            return Ok(());
        }
        let history = if self.is_new { "18 months played" } else { "as it was left" };
        let click = |click: &Click| format!("    {}", click.url);
        let member = self.clicks.iter().find(|click| click.member == BUYER);
        let staff = &self.clicks[self.clicks.len().saturating_sub(STAFF.len())..];
        let support = staff.first().map(|support| support.url.as_str()).unwrap_or_default();
        let mut lines = vec![
            format!("membership {} · demo · {history} · ready in {seconds:.2} s", env!("CARGO_PKG_VERSION")),
            String::new(),
            format!("  Console    {support}"),
            format!("  API docs   {url}/docs"),
            format!("  OpenAPI    {url}/openapi.json"),
            format!("  Health     {url}/readyz"),
            format!("  Stripe     {stripe}   (simulated; its clock is the service's)"),
            format!("  Data       {}", self.database.display()),
            format!("  Token      {TOKEN}   (webhook secret {SECRET}, Stripe key {KEY})"),
        ];
        let ahead = (self.app.clock.now() - self.now).num_days();
        if ahead > 0 {
            lines.push(format!("  Clock      {ahead} days ahead of the machine's, as it was turned"));
        }
        let as_of =
            if self.is_new { String::new() } else { self.played.format(", on %-d %B %Y").to_string() };
        lines.extend([String::new(), format!("  The cast{as_of}")]);
        lines.extend(self.cast());
        lines.extend([
            String::new(),
            format!(
                "  Sign in with a click, on this machine: as {BUYER} or anybody else of the cast, as support, and as the owner"
            ),
        ]);
        lines.extend(member.into_iter().chain(staff).map(click));
        for (title, examples) in
            [("Paste these into another terminal", examples), ("Try Stripe's side", at_stripe)]
        {
            lines.extend([String::new(), format!("  {title}")]);
            for Example { command, answer } in examples {
                lines.extend([format!("    {command}"), format!("      # {answer}")]);
            }
        }
        lines.extend([String::new(), "  Ctrl-C stops it".to_owned()]);
        eprintln!("{}", lines.join("\n"));
        Ok(())
    }

    /// Who is in it: a line for each member.
    fn cast(&self) -> Vec<String> {
        let named = cast(self.played);
        named.iter().filter_map(|part| Some(format!("    {:<9} {}", part.member?, part.line))).collect()
    }

    /// The same for a program, with what is best asked about each of them.
    fn told_cast(&self) -> Vec<Value> {
        let named = cast(self.played);
        let told = named.iter().filter_map(|part| {
            let Telling { video, at, known_at } = part.telling;
            let email = (!part.is_erased()).then_some(part.email);
            let moment = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Secs, true);
            Some(json!({
                "member": part.member?, "email": email, "line": part.line,
                "video": video, "at": moment(at), "known_at": known_at.map(moment),
            }))
        });
        told.collect()
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
            // A command asks about the machine's present, wherever Stripe's clock has been turned to.
            let as_of = AsOf::at(midnight.unwrap_or(self.now));
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
            answer: "directory-v2 equal, access-index equal".to_owned(),
        });
        let checked = self.app.index.check(&"mem_dora".into(), "projections", self.app.clock.now());
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

    /// A purchase and a month.
    fn at_stripe(&self) -> Vec<Example> {
        let stripe = &self.stripe;
        let session = format!(
            "curl -s {stripe}/v1/checkout/sessions -u {KEY}: -d mode=subscription -d 'line_items[0][price]={PRO}' \
             -d client_reference_id={BUYER} -d success_url={}/docs",
            self.url
        );
        let clock = format!("curl -s {stripe}/_sim/clock -d '{{\"advance\":\"30d\"}}'");
        let url = "\"url\" is a page where mem_max pays for Pro, with the card 4242 4242 4242 4242 as a rule";
        let month = "everything that is due in 30 days happens, and it is 30 days later for the service too";
        vec![
            Example { command: session, answer: url.to_owned() },
            Example { command: clock, answer: month.to_owned() },
        ]
    }
}

/// The program as it can be typed where the demo was started.
fn program() -> String {
    let here: PathBuf = env::current_dir().unwrap_or_default();
    let program = env::current_exe().unwrap_or_else(|_| "membership".into());
    let short = program.strip_prefix(&here).unwrap_or(&program);
    short.display().to_string()
}
