//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use api::DeliveryOutcome;
use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use domain::account::{Lock, Role as AccountRole};
use domain::clock::can_be_written;
use domain::ids::MemberId;
use domain::ports::Position;
use projections::past::{EntryKind, Filter};

use crate::commands::answers::When;
use crate::commands::stripe_sim::{self, StripeSimArgs};
use crate::commands::{self, Failure};
use crate::config::{Role, Settings};
use crate::{demo, metrics, telemetry};

const GROUPS: &str = "\
{about}

{usage-heading} {usage}

Run it:
  demo         Start with a sample catalogue and a cast of members; nothing to install or configure
  serve        Start the service, configured by the environment
  migrate      Bring the database's tables up to date
  stripe-sim   Start a Stripe of one's own to try things with: API, checkout, portal, webhooks, a clock to turn

Catalogue and members:
  catalog      Make the catalogue equal to a file
  member       Create, link and list members
  account      Make accounts for staff and members, and give them rights
  token        Make, list and revoke the tokens of other back ends

Answers:
  explain      May this member watch this video, and why? At any moment
  timeline     A member's history in plain words, event by event or by cause
  state        How it stands with a member. At any moment
  diff         What changed with a member between two moments, and what was learned too late
  flips        When the answer for a video turned, and what turned it

Deliveries and the log:
  deliveries   What Stripe delivered, what became of it, and looking at it again
  ingest       Feed files of Stripe events through the same way as webhooks
  backfill     Fetch events from Stripe that never came
  reconcile    Compare every subscription with Stripe and put right what differs
  replay       Fold every read model from the first event again and compare
  rebuild      Build the member directory anew beside the live one, and switch

Tools:
  doctor       Look an installation over, running or stopped, and name what is wrong
  openapi      Print the OpenAPI document
  completions  Print a completion script for a shell
  help         Print this, or the help of a command

Options:
{options}
{after-help}";

/// The membership service: Stripe sells, this knows who may watch what, and why.
#[derive(Debug, Parser)]
#[command(
    name = "membership",
    version,
    help_template = GROUPS,
    after_help = "Example: membership demo\n\nSettings come from the environment; DATABASE_URL names the store (default sqlite://membership.db)."
)]
pub struct Cli {
    /// A TOML file that may set what the environment can set
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start with a sample catalogue and a cast of members; nothing to install or configure
    #[command(after_help = "Example: membership demo --data ./demo-data")]
    Demo(DemoArgs),

    /// Start the service, configured by the environment
    #[command(after_help = "Example: STRIPE_WEBHOOK_SECRETS=whsec_… CATALOG=catalog.toml membership serve")]
    Serve {
        /// Which part of the service this process does
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
    },

    /// Bring the database's tables up to date
    #[command(after_help = "Example: DATABASE_URL=postgres://localhost/membership membership migrate")]
    Migrate,

    /// Start a Stripe of one's own to try things with: API, checkout, portal, webhooks, a clock to turn
    #[command(after_help = stripe_sim::HELP)]
    StripeSim(StripeSimArgs),

    /// Make the catalogue equal to a file
    #[command(subcommand, after_help = "Example: membership catalog apply catalog.toml")]
    Catalog(CatalogCommand),

    /// Create, link and list members
    #[command(subcommand, after_help = "Example: membership member create --email ada@example.com")]
    Member(MemberCommand),

    /// Make accounts for staff and members, and give them rights
    #[command(
        subcommand,
        after_help = "Example: membership account create --email ada@example.com --role owner"
    )]
    Account(AccountCommand),

    /// Make, list and revoke the tokens of other back ends
    #[command(
        subcommand,
        after_help = "Example: membership token create shop --scope access.read+members.write"
    )]
    Token(TokenCommand),

    /// May this member watch this video, and why? Exit code 0 yes, 1 no, 2 usage, 3 unavailable
    #[command(
        after_help = "Example: membership explain mem_ada --video projections --at 2026-05-03T09:14:00Z"
    )]
    Explain {
        /// The member's id
        member: String,
        /// The video's id
        #[arg(long)]
        video: String,
        /// The moment to answer for, RFC 3339 or a day (default: now)
        #[arg(long, value_parser = moment)]
        at: Option<DateTime<Utc>>,
        /// Answer with what was recorded by this moment (default: everything)
        #[arg(long, value_parser = moment)]
        known_at: Option<DateTime<Utc>>,
        /// Answer with the events up to this place of the log, such as p-1f: the `at` and `position` of a live decision
        /// give that very decision (default: all)
        #[arg(long, value_parser = position)]
        position: Option<Position>,
    },

    /// A member's history in plain words, oldest first
    #[command(after_help = "Example: membership timeline mem_ada --group --kind payments --from 2026-05-01")]
    Timeline {
        /// The member's id
        member: String,
        /// Put together what follows from one delivery or command, with what it opened or closed and what changed nothing
        #[arg(long)]
        group: bool,
        /// Only things of this kind: payments, access, account, staff, or deliveries (with --group) that changed nothing
        #[arg(long, value_parser = kind)]
        kind: Option<EntryKind>,
        /// Only those whose event type contains this, such as Payment
        #[arg(long = "type")]
        event_type: Option<String>,
        /// Only what was true at this moment or later, RFC 3339 or a day
        #[arg(long, value_parser = moment)]
        from: Option<DateTime<Utc>>,
        /// Only what was true before this moment, RFC 3339 or a day
        #[arg(long, value_parser = moment)]
        until: Option<DateTime<Utc>>,
    },

    /// How it stands with a member: plan, sources of access, payments, account. At any moment
    #[command(after_help = "Example: membership state mem_ada --at 2026-05-03T09:14:00Z")]
    State {
        /// The member's id
        member: String,
        /// The moment to answer for, RFC 3339 or a day (default: now)
        #[arg(long, value_parser = moment)]
        at: Option<DateTime<Utc>>,
        /// Answer with what was recorded by this moment (default: everything)
        #[arg(long, value_parser = moment)]
        known_at: Option<DateTime<Utc>>,
    },

    /// What changed with a member between two moments, and what was learned too late
    #[command(after_help = "Example: membership diff mem_ada --from 2026-05-01 --to 2026-06-01")]
    Diff {
        /// The member's id
        member: String,
        /// The first moment, RFC 3339 or a day
        #[arg(long, value_parser = moment)]
        from: DateTime<Utc>,
        /// The second moment (default: now)
        #[arg(long, value_parser = moment)]
        to: Option<DateTime<Utc>>,
    },

    /// When the answer for a video turned from no to yes or back, and what turned it
    #[command(after_help = "Example: membership flips mem_ada --video projections")]
    Flips {
        /// The member's id
        member: String,
        /// The video's id
        #[arg(long)]
        video: String,
        /// Answer with what was recorded by this moment (default: everything)
        #[arg(long, value_parser = moment)]
        known_at: Option<DateTime<Utc>>,
    },

    /// What Stripe delivered, what became of it, and looking at it again
    #[command(subcommand, after_help = "Example: membership deliveries list --outcome parked")]
    Deliveries(DeliveriesCommand),

    /// Feed files of Stripe events through the same way as webhooks
    #[command(after_help = "Example: membership ingest ./events --unsigned --created-order")]
    Ingest(IngestArgs),

    /// Fetch events from Stripe that never came
    #[command(after_help = "Example: STRIPE_SECRET_KEY=sk_test_… membership backfill --since 2026-11-20")]
    Backfill {
        /// Back to this moment, RFC 3339 or a day; Stripe keeps events for 30 days (default: to where it was read before)
        #[arg(long, value_parser = moment)]
        since: Option<DateTime<Utc>>,
    },

    /// Compare every subscription with Stripe and put right what differs. Exit code 0 all agree, 1 some still differ
    #[command(after_help = "Example: STRIPE_SECRET_KEY=sk_test_… membership reconcile")]
    Reconcile,

    /// Fold every read model from the first event again and compare
    #[command(after_help = "Example: membership replay --verify")]
    Replay {
        /// Compare with the live read models; exit code 0 equal, 1 different
        #[arg(long, required = true)]
        verify: bool,
    },

    /// Build the member directory anew beside the live one, which serves meanwhile, and switch
    #[command(after_help = "Example: membership rebuild")]
    Rebuild,

    /// Look an installation over, running or stopped, and name what is wrong. Exit code 0 nothing, 1 a problem
    #[command(after_help = "Example: DATABASE_URL=sqlite://membership.db membership doctor")]
    Doctor {
        /// Look at every event and at every page of a file, however long that takes
        #[arg(long)]
        deep: bool,
        /// Which part of the service the settings are for
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
    },

    /// Print the OpenAPI document
    #[command(after_help = "Example: membership openapi > openapi.json")]
    Openapi,

    /// Print a completion script for a shell
    #[command(after_help = "Example: membership completions bash > /etc/bash_completion.d/membership")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// How the demo starts.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the data in this folder; without it, it is gone when the demo stops
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Begin again in a folder that holds an earlier demo; without a folder it always does
    #[arg(long)]
    pub(crate) fresh: bool,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Make the catalogue equal to a file
    #[command(after_help = "Example: membership catalog apply catalog.toml --dry-run")]
    Apply {
        /// The catalogue file
        file: PathBuf,
        /// Print what would change and who would gain or lose which videos; change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// Create a member
    #[command(after_help = "Example: membership member create --email ada@example.com")]
    Create {
        /// Her e-mail address
        #[arg(long)]
        email: Option<String>,
        /// Her id; made up when not given
        #[arg(long, value_parser = member_id)]
        id: Option<MemberId>,
    },
    /// Link a Stripe customer to a member
    #[command(after_help = "Example: membership member link mem_ada --customer cus_123")]
    Link {
        /// The member's id
        member: String,
        /// The Stripe customer's id
        #[arg(long)]
        customer: String,
    },
    /// List members
    #[command(after_help = "Example: membership member list --json")]
    List,
}

#[derive(Debug, Subcommand)]
enum DeliveriesCommand {
    /// List deliveries, latest arrival first
    #[command(
        after_help = "Example: membership deliveries list --outcome parked --reason unknown_customer --limit 50"
    )]
    List {
        /// Only those with this outcome
        #[arg(long, value_parser = outcome)]
        outcome: Option<DeliveryOutcome>,
        #[command(flatten)]
        of: DeliveriesArgs,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Only those that came before this one
        #[arg(long, value_name = "EVENT")]
        before: Option<String>,
    },
    /// Show a delivery, and every step of what was done with it
    #[command(after_help = "Example: membership deliveries show evt_1OzxA2eZvKYlo2C")]
    Show {
        /// Stripe's event id
        event: String,
    },
    /// Look at deliveries again: at one, or at all that fit, oldest first
    #[command(
        after_help = "Example: membership deliveries replay --outcome parked --reason unmapped_product --why 'the price is back'"
    )]
    Replay {
        /// Stripe's event id
        #[arg(conflicts_with_all = ["outcome", "reason", "event_type", "customer", "received_from", "received_until"])]
        event: Option<String>,
        /// Those with this outcome
        #[arg(long, value_parser = outcome, required_unless_present = "event")]
        outcome: Option<DeliveryOutcome>,
        #[command(flatten)]
        of: DeliveriesArgs,
        /// How many at most; those that are left are counted
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        /// Why: a line that is kept with each of them
        #[arg(long)]
        why: String,
    },
}

/// Which deliveries.
#[derive(Debug, Args)]
pub(crate) struct DeliveriesArgs {
    /// Only those whose outcome has this code
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Option<String>,
    /// Only those of this event type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Only those that speak of this Stripe customer
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Only those that first arrived at this moment or later, RFC 3339 or a day
    #[arg(long, value_parser = moment)]
    pub(crate) received_from: Option<DateTime<Utc>>,
    /// Only those that first arrived before this moment
    #[arg(long, value_parser = moment)]
    pub(crate) received_until: Option<DateTime<Utc>>,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Make an account, or give the one that is there this role, and print a link to choose its password with
    #[command(after_help = "Example: membership account create --email ada@example.com --role owner")]
    Create {
        /// Her e-mail address, which is taken to be hers
        #[arg(long)]
        email: String,
        /// Her rights
        #[arg(long, value_parser = role, default_value = "member", value_name = "member|support|owner")]
        role: AccountRole,
        /// Take the password from stdin, one line, instead of printing a link
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a member other rights; fewer end her sessions at once
    #[command(after_help = "Example: membership account role mem_ada support")]
    Role {
        /// The member's id
        member: String,
        /// Her rights
        #[arg(value_parser = role, value_name = "member|support|owner")]
        role: AccountRole,
    },
    /// List accounts: member, role, address, and what is out of the ordinary
    #[command(after_help = "Example: membership account list --role support")]
    List {
        /// Only those with this role
        #[arg(long, value_parser = role, value_name = "member|support|owner")]
        role: Option<AccountRole>,
    },
    /// Show one account
    #[command(after_help = "Example: membership account show mem_ada")]
    Show {
        /// The member's id
        member: String,
    },
    /// Keep a member from signing in and end her sessions; her membership stays as it is, and Stripe goes on charging
    #[command(
        after_help = "Example: membership account lock mem_ada --until 2027-06-03 --reason 'Somebody else reads her letters'"
    )]
    Lock {
        /// The member's id
        member: String,
        /// Until when, RFC 3339 or a day; until it is taken off, when left out
        #[arg(long, value_parser = moment)]
        until: Option<DateTime<Utc>>,
        /// Why, in a line
        #[arg(long)]
        reason: String,
    },
    /// Let a member sign in again
    #[command(
        after_help = "Example: membership account unlock mem_ada --reason 'She has her letter box back'"
    )]
    Unlock {
        /// The member's id
        member: String,
        /// Why, in a line
        #[arg(long)]
        reason: String,
    },
    /// Remove the second factor of somebody who has lost it, and her backup codes; first make sure that it is she who asks
    #[command(after_help = "Example: membership account second-factor-off mem_ada")]
    SecondFactorOff {
        /// The member's id
        member: String,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token; it is printed this one time
    #[command(after_help = "Example: membership token create shop --scope access.read+members.write")]
    Create {
        /// The name of the back end, which its events carry
        name: String,
        /// What it may do, joined by +: access.read, support.read, support.write, members.write
        #[arg(long, required = true)]
        scope: String,
    },
    /// List tokens, revoked ones too
    #[command(after_help = "Example: membership token list --json")]
    List,
    /// Revoke a token, by its id or its name
    #[command(after_help = "Example: membership token revoke shop")]
    Revoke {
        /// Its id (tok_…), or its name where only one token has it
        token: String,
    },
}

/// What to ingest, and in which order.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Files of one event each, or folders of such files
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Confirms that files carry no signature, so that whoever can write them is trusted
    #[arg(long, required = true)]
    pub(crate) unsigned: bool,
    /// In the order in which Stripe created the events
    #[arg(long, conflicts_with = "given_order")]
    pub(crate) created_order: bool,
    /// In the order given, folders by file name (default)
    #[arg(long)]
    pub(crate) given_order: bool,
}

/// Reads a moment: RFC 3339, or a day, which means its start in UTC.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let day = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    DateTime::parse_from_rfc3339(text)
        .map(|moment| moment.to_utc())
        .ok()
        .or_else(|| day().map(|midnight| midnight.and_utc()))
        .filter(can_be_written)
        .ok_or_else(|| "write it like 2026-05-03T09:14:00Z or 2026-05-03".to_owned())
}

fn position(text: &str) -> Result<Position, String> {
    Position::parse(text).ok_or_else(|| "write it as an answer has it, such as p-1f".to_owned())
}

fn kind(text: &str) -> Result<EntryKind, String> {
    let kinds = EntryKind::ALL.map(EntryKind::as_str).join(", ");
    EntryKind::parse(text).ok_or_else(|| format!("it is one of {kinds}"))
}

fn outcome(text: &str) -> Result<DeliveryOutcome, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn role(text: &str) -> Result<AccountRole, String> {
    let role = AccountRole::ALL.into_iter().find(|role| role.as_str() == text);
    role.ok_or_else(|| "write member, support or owner".to_owned())
}

fn member_id(text: &str) -> Result<MemberId, String> {
    MemberId::parse(text).map_err(|error| error.to_string())
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm();
    let cli = Cli::parse();
    metrics::install();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::Failed(format!("the runtime did not start: {error}")).report();
        }
    };
    let serves = matches!(cli.command, Command::Serve { .. } | Command::StripeSim(_));
    let level = if serves { "info" } else { "warn" };
    telemetry::start(level, runtime.handle());
    let done = runtime.block_on(carry_out(cli));
    telemetry::stop();
    // A read that hangs must not keep a process that has nothing more to do.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done.unwrap_or_else(Failure::report)
}

async fn carry_out(cli: Cli) -> Result<ExitCode, Failure> {
    let json = cli.json;
    let settings = || Settings::read(cli.config.as_deref());
    match cli.command {
        Command::Demo(args) => demo::run(args, &settings()?, json).await,
        Command::Serve { role } => commands::serve(&settings()?.config(role)?, role).await,
        Command::StripeSim(args) => stripe_sim::run(args, json).await,
        Command::Migrate => commands::migrate(&settings()?, json).await,
        Command::Catalog(CatalogCommand::Apply { file, dry_run }) => {
            commands::catalog::apply(&settings()?, &file, dry_run, json).await
        }
        Command::Member(MemberCommand::Create { email, id }) => {
            commands::member::create(&settings()?, email, id, json).await
        }
        Command::Member(MemberCommand::Link { member, customer }) => {
            commands::member::link(&settings()?, &member, &customer, json).await
        }
        Command::Member(MemberCommand::List) => commands::member::list(&settings()?, json).await,
        Command::Account(command) => keep_accounts(command, &settings()?, json).await,
        Command::Token(TokenCommand::Create { name, scope }) => {
            commands::token::create(&settings()?, &name, &scope, json).await
        }
        Command::Token(TokenCommand::List) => commands::token::list(&settings()?, json).await,
        Command::Token(TokenCommand::Revoke { token }) => {
            commands::token::revoke(&settings()?, &token, json).await
        }
        Command::Explain { member, video, at, known_at, position } => {
            let when = When { at, known_at, position };
            commands::answers::explain(&settings()?, &member, &video, when, json)
                .await
                .map_err(Failure::not_an_answer)
        }
        Command::Timeline { member, group, kind, event_type, from, until } => {
            let filter =
                Filter { kind, event_type, from, until, limit: Some(usize::MAX), ..Filter::default() };
            commands::answers::timeline(&settings()?, &member, group, &filter, json).await
        }
        Command::State { member, at, known_at } => {
            let when = When { at, known_at, position: None };
            commands::answers::state(&settings()?, &member, when, json).await
        }
        Command::Diff { member, from, to } => {
            commands::answers::diff(&settings()?, &member, from, to, json).await
        }
        Command::Flips { member, video, known_at } => {
            let when = When { at: None, known_at, position: None };
            commands::answers::flips(&settings()?, &member, &video, when, json).await
        }
        Command::Deliveries(command) => {
            use commands::deliveries;
            match command {
                DeliveriesCommand::List { outcome, of, limit, before } => {
                    deliveries::list(&settings()?, of.selection(outcome), before, limit, json).await
                }
                DeliveriesCommand::Show { event } => deliveries::show(&settings()?, &event, json).await,
                DeliveriesCommand::Replay { event: Some(event), why, .. } => {
                    deliveries::replay(&settings()?, &event, &why, json).await
                }
                DeliveriesCommand::Replay { event: None, outcome, of, limit, why } => {
                    deliveries::replay_some(&settings()?, of.selection(outcome), limit, &why, json).await
                }
            }
        }
        Command::Ingest(args) => commands::ingest::run(&settings()?, &args, json).await,
        Command::Backfill { since } => commands::ask::backfill(&settings()?, since, json).await,
        Command::Reconcile => {
            commands::ask::reconcile(&settings()?, json).await.map_err(Failure::not_an_answer)
        }
        Command::Replay { verify: _ } => {
            commands::replay::verify(&settings()?, json).await.map_err(Failure::not_an_answer)
        }
        Command::Rebuild => commands::rebuild::run(&settings()?, json).await,
        Command::Doctor { deep, role } => {
            commands::doctor::run(Settings::read(cli.config.as_deref()), role, deep, json).await
        }
        Command::Openapi => commands::print_json(&api::openapi()),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "membership", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn keep_accounts(
    command: AccountCommand,
    settings: &Settings,
    json: bool,
) -> Result<ExitCode, Failure> {
    use commands::account;
    match command {
        AccountCommand::Create { email, role, password_stdin } => {
            account::create(settings, &email, role, password_stdin, json).await
        }
        AccountCommand::Role { member, role } => account::role(settings, &member, role, json).await,
        AccountCommand::List { role } => account::list(settings, role, json).await,
        AccountCommand::Show { member } => account::show(settings, &member, json).await,
        AccountCommand::Lock { member, until, reason } => {
            account::lock(settings, &member, Some(Lock { until }), &reason, json).await
        }
        AccountCommand::Unlock { member, reason } => {
            account::lock(settings, &member, None, &reason, json).await
        }
        AccountCommand::SecondFactorOff { member } => {
            account::second_factor_off(settings, &member, json).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_a_group_and_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(GROUPS.contains(&format!("  {name} ")), "{name} is in no group");
            let leaves: Vec<_> = command.get_subcommands().collect();
            for leaf in if leaves.is_empty() { vec![command] } else { leaves } {
                let after = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Example: "), "{} has no example", leaf.get_name());
            }
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_day() {
        assert_eq!(moment("2026-05-03").unwrap().to_rfc3339(), "2026-05-03T00:00:00+00:00");
        assert_eq!(moment("2026-05-03T09:14:00+02:00").unwrap().to_rfc3339(), "2026-05-03T07:14:00+00:00");
        assert!(moment("yesterday").is_err());
    }
}
