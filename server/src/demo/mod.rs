//! `demo`: the service beside a simulated Stripe, with a sample catalogue and a cast of members. What they did at Stripe was
//! delivered to the service's own webhook under a moved clock, so that both times of every event are as they would have
//! been; from then on both live by the simulator's clock, which runs with the machine's until somebody turns it.

mod audience;
mod banner;
mod cast;
mod history;
mod sign_in;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ServiceTokens;
use chrono::{DateTime, SubsecRound, Utc};
use domain::billing::Billing;
use domain::clock::{Clock, MovableClock, SystemClock};
use storage::Access;
use stripe_simulator::{Companion, Options, Seconds, Server, Simulator, StartError};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;
use webhook_ingest::provider::Provider;
use webhook_ingest::stripe::signature::Secrets;
use webhook_ingest::stripe::translate::SUBSCRIBED;

use crate::app::App;
use crate::cli::DemoArgs;
use crate::commands::{Failure, gateway};
use crate::config::{Config, Role, Settings};
use crate::keeper::Schedule;
use crate::serve;
use audience::{Audience, present};
use banner::Banner;
use history::Stage;

const CATALOG: &str = include_str!("catalog.toml");
const SECRET: &str = "whsec_demo";
const TOKEN: &str = "demo-service-token";
/// What the service asks the simulated Stripe with.
const KEY: &str = "sk_test_demo";
/// What ids and chance at the simulated Stripe follow from.
const SEED: u64 = 18;
/// Not the name of a service's own database, which `--fresh` must never delete.
const DATABASE: &str = "membership-demo.db";
/// What the simulated Stripe is kept in, beside the database.
const STRIPE: &str = "stripe-demo.json";
/// Where the simulated Stripe is reached, if that is free.
const STRIPE_PORT: u16 = 12_111;
/// How soon webhooks that were lost on purpose stop mattering.
const COMPARED_EVERY: Duration = Duration::from_mins(1);
/// Where the notebook has when the history ended.
const PLAYED: &str = "demo_played";
/// How long the simulated Stripe may take to keep what there is.
const KEEPING: Duration = Duration::from_secs(5);
const DAY: Seconds = 86_400;

/// Starts the demo and serves it until told to stop.
pub(crate) async fn run(args: DemoArgs, settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let folder = Folder::new(&args)?;
    let is_new = folder.is_new()?;
    let database = folder.path().join(DATABASE);
    let listen = settings.listen()?;
    let listener = serve::listen(listen)
        .await
        .map_err(|error| Failure::Usage(format!("LISTEN: {listen} cannot be used: {error}")))?;
    let address = listener.local_addr()?;
    let now = SystemClock.now().trunc_subsecs(0);
    let beginning = cast::beginning(now);
    let mut stripe = open_stripe(&folder, address, is_new.then_some(beginning.timestamp())).await?;
    let url = format!("http://{}", stripe.address());

    let config = Config {
        listen,
        database_url: format!("sqlite://{}", database.display()),
        webhook_secrets: Secrets::parse(SECRET).ok(),
        livemode: Some(false),
        catalog: None,
        service_tokens: tokens()?,
        trusted_proxies: settings.trusted_proxies()?,
        limits: settings.limits()?,
        index_snapshot: None,
        billing: Some(billing::Settings {
            key: KEY.to_owned(),
            base: Some(url.clone()),
            limits: billing::Limits::default(),
        }),
        // No list of events: where time is turned by months, it reaches back too little as a rule. Comparing finds all.
        schedule: Schedule { backfill: None, reconcile: Some(COMPARED_EVERY) },
        sign_in: None,
    };
    let door = settings.demo_sign_in(address)?;
    if is_new {
        history::write(&database, stripe.simulator(), &config, now).await?;
    }
    let clock = Arc::new(MovableClock::standing_at(moment(stripe.simulator().now())));
    let shared: Arc<dyn Clock> = clock.clone();
    let provider = gateway(config.billing.as_ref(), &shared)?;
    let storage = storage::open(&config.database_url, Access::Write, shared.clone()).await?;
    let asked = provider.clone().map(|gateway| gateway as Arc<dyn Provider>);
    let mut app = App::start_asking(storage, shared, config.livemode, asked);
    app.sell_through(provider.map(|gateway| gateway as Arc<dyn Billing>), &door.public_url);
    let router = serve::routes(&app, &config, Role::All);
    // What has happened since it was left.
    let present = present(stripe.time());
    let mut stage = Stage { app: &app, router: &router, clock: &clock, stripe: stripe.simulator() };
    stage.until(present).await?;
    let audience = Audience { clock: clock.clone(), inbox: app.storage.inbox.clone() };
    audience.set_time(stripe.time());
    let stripe = stripe.with_companion(Arc::new(audience));
    let (end, ended) = oneshot::channel::<()>();
    let stripe = tokio::spawn(stripe.run(async { drop(ended.await) }));
    let played = app.storage.notebook.note(PLAYED).await?.and_then(|note| note.parse().ok()).unwrap_or(now);
    let emails: Vec<&str> =
        cast::cast(played).iter().filter(|part| !part.is_erased()).map(|part| part.email).collect();
    let clicks = sign_in::let_in(&mut app, &door, &emails).await?;
    app.start_worker().await?;
    app.caught_up().await?;
    app.start_keeper(config.schedule);

    let shown = Banner {
        app: &app,
        database: &database,
        url: format!("http://{address}"),
        stripe: url,
        now,
        played,
        is_new,
        clicks,
    };
    shown.print(started, json).await?;
    // The routes are made again, now that there is a worker whose health they can tell.
    let stop = serve::asked_to_stop(serve::Signals::heard(), app.stopping.clone(), config.limits.notice);
    let limits = config.limits.within_the_system();
    serve::serve(listener, serve::routes(&app, &config, Role::All), limits, stop).await;
    drop((router, end));
    if timeout(KEEPING, stripe).await.is_err() {
        tracing::warn!("the simulated Stripe did not end in time");
    }
    serve::close(app).await;
    Ok(ExitCode::SUCCESS)
}

/// A moment of Stripe's.
fn moment(seconds: Seconds) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn tokens() -> Result<ServiceTokens, Failure> {
    let text = format!("demo:access.read+support.read+support.write+members.write:{TOKEN}");
    ServiceTokens::parse(&text).map_err(|error| Failure::Failed(error.to_string()))
}

/// The simulated Stripe that tells the service at `address`: a new one at the moment `new_at`, or the one that was kept.
async fn open_stripe(
    folder: &Folder,
    address: SocketAddr,
    new_at: Option<Seconds>,
) -> Result<Server, Failure> {
    let (local, ip) = (IpAddr::V4(Ipv4Addr::LOCALHOST), address.ip());
    let reached = SocketAddr::new(if ip.is_unspecified() { local } else { ip }, address.port());
    let options = |port| Options {
        listen: SocketAddr::new(local, port),
        webhook: Some(format!("http://{reached}/webhooks/stripe")),
        secret: SECRET.to_owned(),
        data: folder.keeps().then(|| folder.path().join(STRIPE)),
        seed: SEED,
        products: None,
    };
    let simulator = new_at.map(new_stripe).transpose()?;
    let open = async |port| match simulator.clone() {
        Some(simulator) => Server::open_with(simulator, options(port)).await,
        None => Server::open(options(port)).await,
    };
    let opened = match open(STRIPE_PORT).await {
        Err(StartError::Listen(..)) => open(0).await,
        opened => opened,
    };
    opened.map_err(|error| Failure::Failed(format!("the simulated Stripe: {error}")))
}

fn new_stripe(at: Seconds) -> Result<Simulator, Failure> {
    let mut stripe = Simulator::empty(at, SEED, SECRET);
    stripe.sell(cast::PRODUCTS).map_err(|error| Failure::Failed(format!("the demo's products: {error}")))?;
    stripe.outbox.subscribe(&SUBSCRIBED);
    // A week more than by default, so that somebody is past due when grace is over.
    stripe.settings().retries = vec![3 * DAY, 5 * DAY, 7 * DAY, 7 * DAY];
    Ok(stripe)
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
            let database = [DATABASE.to_owned(), format!("{DATABASE}-wal"), format!("{DATABASE}-shm")];
            for name in database.into_iter().chain([STRIPE.to_owned()]) {
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

    fn keeps(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// Whether there is nothing yet. A service without its Stripe, or the other way round, is of no use: a demo that was
    /// ended while its history was played, or one of an earlier version.
    fn is_new(&self) -> Result<bool, Failure> {
        match [DATABASE, STRIPE].map(|name| self.path().join(name).exists()) {
            [false, false] => Ok(true),
            [true, true] => Ok(false),
            [has_database, _] => {
                let (is, lacks) = if has_database { (DATABASE, STRIPE) } else { (STRIPE, DATABASE) };
                let path = self.path().display();
                Err(Failure::Usage(format!(
                    "--data: {path} holds {is} without {lacks}, so its history is not whole; begin again with --fresh"
                )))
            }
        }
    }
}
