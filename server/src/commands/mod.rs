//! What each command does.

pub(crate) mod account;
pub(crate) mod answers;
pub(crate) mod ask;
pub(crate) mod catalog;
pub(crate) mod deliveries;
pub(crate) mod doctor;
pub(crate) mod ingest;
pub(crate) mod member;
mod progress;
pub(crate) mod rebuild;
pub(crate) mod replay;
pub(crate) mod stripe_sim;
pub(crate) mod token;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accounts::AccountError;
use billing::Gateway;
use domain::billing::Billing;
use domain::clock::{Clock, SystemClock};
use domain::metadata::Actor;
use domain::ports::{CommandError, StoreError};
use projections::past::PastError;
use serde::Serialize;
use storage::{Access, OpenError};
use tokio::net::TcpListener;
use webhook_ingest::provider::Provider;

use crate::app::{App, random};
use crate::config::{Config, ConfigError, Role, Settings, SignIn};
use crate::waiting::{self, Waited};
use crate::{catalog_file, serve};

/// Why a command did not do it. Each is told in one line on stderr.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong with what was asked: exit code 2.
    Usage(String),
    /// The store or the log cannot be used now: exit code 3.
    Unavailable(String),
    /// Anything else: exit code 1.
    Failed(String),
}

impl Failure {
    /// For commands whose exit code 1 is an answer: no failure may be taken for one.
    pub(crate) fn not_an_answer(self) -> Self {
        if let Self::Failed(what) = self { Self::Unavailable(what) } else { self }
    }

    /// Tells it, and gives the exit code.
    #[expect(clippy::print_stderr, reason = "this is where a command says why it failed")]
    pub(crate) fn report(self) -> ExitCode {
        let (code, what) = match self {
            Self::Failed(what) => (1, what),
            Self::Usage(what) => (2, what),
            Self::Unavailable(what) => (3, what),
        };
        eprintln!("membership: {what}");
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Contended(_) | AccountError::Store(_) | AccountError::Busy => {
                Self::Unavailable(error.to_string())
            }
            error => Self::Usage(error.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let what = format!("DATABASE_URL: {error}");
        if matches!(error, OpenError::Url(_)) { Self::Usage(what) } else { Self::Unavailable(what) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<PastError> for Failure {
    fn from(error: PastError) -> Self {
        match error {
            PastError::UnknownMember(_) | PastError::UnknownVideo(_) => Self::Usage(error.to_string()),
            PastError::Unreadable(event) => Self::Unavailable(format!("this version cannot read {event}")),
            PastError::NotCaughtUp | PastError::Store(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl<E: std::error::Error> From<CommandError<E>> for Failure {
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Refused(why) => Self::Usage(why.to_string()),
            CommandError::Erased(_) => Self::Usage(error.to_string()),
            CommandError::Contended(_) | CommandError::Store(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Opens the store and starts the read models over it.
pub(crate) async fn open(settings: &Settings, access: Access) -> Result<App, Failure> {
    open_if_there(settings, access).await?.map_err(Failure::from)
}

/// The same, for a command that can do without a store: the inner error says why there is none.
pub(crate) async fn open_if_there(
    settings: &Settings,
    access: Access,
) -> Result<Result<App, OpenError>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (url, livemode) = (settings.database_url()?, settings.livemode()?);
    let provider = gateway(settings.billing()?.as_ref(), &clock)?.map(|gateway| gateway as Arc<dyn Provider>);
    let opened = storage::open(&url, access, clock.clone()).await;
    Ok(opened.map(|storage| App::start_asking(storage, clock, livemode, provider)))
}

/// Stripe, where there is a key to ask it with.
pub(crate) fn gateway(
    settings: Option<&billing::Settings>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<Gateway>>, Failure> {
    let gateway = settings.map(|settings| Gateway::new(settings, clock.clone())).transpose();
    let gateway = gateway.map_err(|error| Failure::Usage(format!("STRIPE_API_BASE: {error}")))?;
    Ok(gateway.map(Arc::new))
}

/// Who gives commands on this machine.
pub(crate) fn operator() -> Actor {
    Actor::operator()
}

/// An id that joins what follows from one command.
pub(crate) fn command_id() -> String {
    let number = random().iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("cmd_{number:020x}")
}

/// Writes a line of data to stdout. A reader that has gone away is no error.
pub(crate) fn print(line: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes data to stdout as JSON.
pub(crate) fn print_json(data: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(data).map_err(|error| Failure::Failed(error.to_string()))?;
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// `serve`
pub(crate) async fn serve(config: &Config, role: Role) -> Result<ExitCode, Failure> {
    let listener = serve::listen(config.listen)
        .await
        .map_err(|error| Failure::Usage(format!("LISTEN: {} cannot be used: {error}", config.listen)))?
        .into_std()?;
    let content = config.catalog.as_deref().map(catalog_file::read).transpose();
    let content = content.map_err(|error| Failure::Usage(format!("CATALOG: {error}")))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gateway = gateway(config.billing.as_ref(), &clock)?;
    let provider = gateway.clone().map(|gateway| gateway as Arc<dyn Provider>);
    let limits = config.limits.within_the_system();
    // One for all of it, or a signal that comes while the service is put together would not be heard.
    let mut signals = serve::Signals::heard();
    let (answering, url) = (listener.try_clone()?, &config.database_url);
    let storage = match waiting::open(answering, url, &clock, limits, &mut signals).await? {
        Waited::Open(storage) => *storage,
        Waited::Stopped => return Ok(ExitCode::SUCCESS),
        Waited::Failed(error) => return Err(error.into()),
    };
    let mut app = match config.index_snapshot.clone() {
        Some(file) => App::start_with_file(storage, clock, config.livemode, provider, file).await,
        None => App::start_asking(storage, clock, config.livemode, provider),
    };
    let site = match &config.sign_in {
        Some(door) => door.public_url.clone(),
        None => format!("http://{}", config.listen),
    };
    app.sell_through(gateway.map(|gateway| gateway as Arc<dyn Billing>), &site);
    if let Some(content) = content {
        match app.apply_catalog(content, Actor::system(), &command_id()).await {
            // Answers keep to the catalogue as it was before the event that cannot be read; nobody is helped by none.
            Err(CommandError::Store(StoreError::Corrupt(why))) => {
                tracing::error!(why, "CATALOG was not applied");
            }
            applied => drop(applied?),
        }
    }
    if role.ingests() {
        app.start_worker().await?;
        if config.livemode.is_none() {
            tracing::warn!("STRIPE_LIVEMODE is not set: deliveries of both modes are taken");
        }
        if config.billing.is_none() {
            tracing::warn!("STRIPE_SECRET_KEY is not set: what webhooks do not tell is not known");
        }
        app.start_keeper(config.schedule);
    }
    if role.answers() {
        app.let_people_in(config.sign_in.as_ref(), false)?;
        match &config.sign_in {
            None => tracing::warn!(
                "SESSION_KEYS is not set: programs with service tokens are answered, nobody signs in"
            ),
            Some(SignIn { mail: None, .. }) => {
                tracing::warn!("SMTP_URL is not set: nobody can register or choose another password");
            }
            Some(_) => {}
        }
    }
    let router = serve::routes(&app, config, role);
    let listener = TcpListener::from_std(listener)?;
    tracing::info!(address = %listener.local_addr()?, ?role, "listening");
    let (rewritten, storage) = (Arc::new(AtomicBool::new(false)), app.storage.clone());
    let noted = rewritten.clone();
    let asked = serve::asked_to_stop(signals, app.stopping.clone(), config.limits.notice);
    let stop = async move {
        tokio::select! {
            () = asked => {}
            () = storage.rewritten() => noted.store(true, Ordering::Relaxed),
        }
    };
    serve::serve(listener, router, limits, stop).await;
    serve::close(app).await;
    if rewritten.load(Ordering::Relaxed) {
        let what = "the database has lost events that this process had read, as after a failover to a standby that was \
                    behind; start it again, and its answers are made from what the database holds now";
        return Err(Failure::Unavailable(what.to_owned()));
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// `migrate`
pub(crate) async fn migrate(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let storage = storage::open(&settings.database_url()?, Access::Write, Arc::new(SystemClock)).await?;
    storage.shutdown().await;
    if json {
        return print_json(&serde_json::json!({ "object": "migration", "up_to_date": true }));
    }
    print("the tables are up to date")?;
    Ok(ExitCode::SUCCESS)
}
