//! What is measured, and how it is read. Counters and histograms are written where things happen; what has to be asked
//! for (how far, how many, how old) is asked when somebody reads.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
pub use api::observe::decided;
use domain::clock::Clock;
use domain::ports::{EventFeed, Position, StoreError};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use projections::access_index::AccessIndex;
use projections::runner::Progress;
use storage::{Storage, Vitals};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use webhook_ingest::routes;

use crate::app::App;

/// How long the store may take before a reading goes without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was asked less than this ago is not asked again, however many read.
const FRESH: Duration = Duration::from_secs(1);
/// How often samples of histograms are added up when nobody reads.
const TIDY: Duration = Duration::from_secs(5);

/// From an access check in memory to a store that hangs.
const SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const CHANGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
const COMMIT_CHANGES: &str = "membership_sqlite_commit_changes";

const COUNTERS: [(&str, &str); 14] = [
    ("membership_http_requests_total", "Requests answered, by route template, method and class of status"),
    ("membership_access_decisions_total", "Access decisions about the present, by answer and reason"),
    ("membership_webhooks_refused_total", "Webhook requests not taken, by reason"),
    (
        "membership_webhook_secret_used_total",
        "Webhooks that a secret signed, by its place in STRIPE_WEBHOOK_SECRETS",
    ),
    ("membership_deliveries_received_total", "Deliveries stored; duplicate ones were there before"),
    ("membership_deliveries_settled_total", "Deliveries carried out, by outcome and reason"),
    ("membership_deliveries_postponed_total", "Attempts at a delivery that will be made again"),
    ("membership_store_errors_total", "Operations of the store that failed, by kind"),
    (
        "membership_command_conflicts_total",
        "Appends that another writer was faster than; they are made again",
    ),
    ("membership_log_lines_total", "Lines of the log at warn and error, by level"),
    ("membership_sign_ins_total", "Sign-ins tried, by outcome"),
    ("membership_refresh_reuse_total", "Sessions ended since a refresh token was used twice"),
    ("membership_letters_total", "Letters, by what they are about and what became of them"),
    ("membership_password_hashes_total", "Passwords hashed, to be kept or to be compared"),
];
const HISTOGRAMS: [(&str, Unit, &str); 4] = [
    ("membership_http_request_duration_seconds", Unit::Seconds, "From a request's head to its answer"),
    ("membership_store_operation_duration_seconds", Unit::Seconds, "Operations of the store"),
    ("membership_delivery_duration_seconds", Unit::Seconds, "From taking a delivery up to its outcome"),
    (COMMIT_CHANGES, Unit::Count, "Changes that shared a commit"),
];
const GAUGES: [(&str, &str); 22] = [
    ("membership_build_info", "Always 1; the labels say what runs"),
    ("membership_store_up", "Whether the store answered within a second: 1 or 0"),
    ("membership_deliveries", "Deliveries that wait for something, by state"),
    (
        "membership_delivery_oldest_due_age_seconds",
        "How long the delivery that is due longest has waited; 0 for none",
    ),
    (
        "membership_worker_up",
        "Whether deliveries are being looked at: 1 or 0; not there where none are taken",
    ),
    ("membership_log_head_position", "The end of the log"),
    ("membership_projection_position", "What a projection has applied"),
    ("membership_projection_lag_positions", "How far a projection is behind the end of the log"),
    (
        "membership_projection_age_seconds",
        "How long the oldest event that a projection has not applied has been in the log",
    ),
    ("membership_projection_caught_up", "Whether a projection has caught up once since the start: 1 or 0"),
    ("membership_projection_standing_still", "Whether a projection cannot go on: 1 or 0"),
    ("membership_projection_parked_streams", "Streams that stand still since an event cannot be read"),
    ("membership_index_members", "Members in the access index"),
    ("membership_members_paying_twice", "Members who pay for several subscriptions at once"),
    ("membership_sqlite_queued_changes", "Changes that wait for the writer"),
    ("membership_postgres_connections", "Connections of the pool, by state"),
    ("membership_sequencer_up", "Whether the watermark is being looked after: 1 or 0"),
    ("membership_catalog_plans", "Plans in the catalogue in force"),
    ("process_start_time_seconds", "When the process started, in seconds since 1970"),
    ("process_resident_memory_bytes", "Memory in use"),
    ("process_open_fds", "Open files and connections"),
    ("process_threads", "Threads"),
];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to measure. Before this, and in a process where it fails, nothing is measured and everything else works.
pub fn install() {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(COMMIT_CHANGES.to_owned()), &CHANGES)
        });
    match builder.and_then(PrometheusBuilder::install_recorder) {
        Ok(handle) => drop(HANDLE.set(handle)),
        Err(error) => tracing::error!(%error, "nothing is measured"),
    }
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for (name, unit, help) in HISTOGRAMS {
        describe_histogram!(name, unit, help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    begin_at_zero();
    gauge!("process_start_time_seconds").set(seconds(domain::clock::SystemClock.now()));
}

/// The first of something that is not there yet does not look like a change, so what alerts ask for begins at zero.
fn begin_at_zero() {
    api::observe::begin();
    for reason in routes::REASONS {
        counter!("membership_webhooks_refused_total", "reason" => reason).absolute(0);
    }
    for duplicate in ["true", "false"] {
        counter!("membership_deliveries_received_total", "duplicate" => duplicate).absolute(0);
    }
    for level in ["error", "warn"] {
        counter!("membership_log_lines_total", "level" => level).absolute(0);
    }
    for kind in ["unavailable", "corrupt", "read_only", "checkpoint_moved"] {
        counter!("membership_store_errors_total", "kind" => kind).absolute(0);
    }
    counter!("membership_deliveries_postponed_total").absolute(0);
    counter!("membership_command_conflicts_total").absolute(0);
}

/// Everything that is measured, in Prometheus' text format.
pub(crate) fn text() -> String {
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Adds samples up, so that a process that nobody reads does not grow.
pub(crate) async fn keep_small() {
    loop {
        sleep(TIDY).await;
        if let Some(handle) = HANDLE.get() {
            handle.run_upkeep();
        }
    }
}

/// Asks for what is not counted as it happens.
pub(crate) struct Sampler {
    index: Arc<AccessIndex>,
    progress: [(&'static str, Progress); 2],
    clock: Arc<dyn Clock>,
    asked: Mutex<Option<Instant>>,
}

impl Sampler {
    pub(crate) fn new(app: &App) -> Self {
        Self {
            index: app.index.clone(),
            progress: [
                ("access-index", app.index_progress.clone()),
                ("directory", app.directory_progress.clone()),
            ],
            clock: app.clock.clone(),
            asked: Mutex::new(None),
        }
    }

    /// Sets the gauges. Those that a store which does not answer leaves unknown are NaN, never old.
    pub(crate) async fn sample(&self, storage: &Storage, worker_alive: Option<bool>) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < FRESH) {
            return;
        }
        self.of_the_process(storage, worker_alive);
        let answered = timeout(PATIENCE, self.of_the_store(storage)).await;
        let up = match answered {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "store not measured");
                false
            }
            Err(_) => {
                tracing::warn!("store not measured in time");
                false
            }
        };
        gauge!("membership_store_up").set(one_if(up));
        if !up {
            self.unknown();
        }
        *asked = Some(Instant::now());
    }

    fn of_the_process(&self, storage: &Storage, worker_alive: Option<bool>) {
        let store = match storage.vitals() {
            Vitals::Sqlite { queued } => {
                if let Some(queued) = queued {
                    gauge!("membership_sqlite_queued_changes").set(number(queued));
                }
                "sqlite"
            }
            Vitals::Postgres { used, idle, troubled } => {
                gauge!("membership_postgres_connections", "state" => "used").set(number(used));
                gauge!("membership_postgres_connections", "state" => "idle").set(number(idle));
                gauge!("membership_sequencer_up").set(one_if(!troubled));
                "postgres"
            }
        };
        gauge!("membership_build_info", "version" => env!("CARGO_PKG_VERSION"), "store" => store).set(1.0);
        if let Some(alive) = worker_alive {
            gauge!("membership_worker_up").set(one_if(alive));
        }
        gauge!("membership_index_members").set(number(self.index.members()));
        gauge!("membership_members_paying_twice").set(number(self.index.paying_twice()));
        gauge!("membership_catalog_plans").set(number(self.index.catalog().plans().count()));
        for (name, progress) in &self.progress {
            let applied = progress.applied();
            gauge!("membership_projection_caught_up", "projection" => *name).set(one_if(applied.is_some()));
            gauge!("membership_projection_standing_still", "projection" => *name)
                .set(one_if(progress.degraded().is_some()));
            gauge!("membership_projection_parked_streams", "projection" => *name)
                .set(number(progress.parked().len()));
            gauge!("membership_projection_position", "projection" => *name)
                .set(place(applied.unwrap_or(Position::START)));
        }
        for (name, value) in process() {
            gauge!(name).set(value);
        }
    }

    async fn of_the_store(&self, storage: &Storage) -> Result<(), StoreError> {
        storage.healthy().await?;
        let now = self.clock.now();
        let backlog = storage.inbox.backlog(now).await?;
        for (state, count) in
            [("pending", backlog.pending), ("parked", backlog.parked), ("failed", backlog.failed)]
        {
            gauge!("membership_deliveries", "state" => state).set(place(Position::new(count)));
        }
        let age = backlog.waiting_since.map_or(0.0, |since| (seconds(now) - seconds(since)).max(0.0));
        gauge!("membership_delivery_oldest_due_age_seconds").set(age);
        let head = storage.feed.head().await?;
        gauge!("membership_log_head_position").set(place(head));
        for (name, progress) in &self.progress {
            let applied = progress.applied().unwrap_or(Position::START);
            let lag = head.get().saturating_sub(applied.get());
            gauge!("membership_projection_lag_positions", "projection" => *name)
                .set(place(Position::new(lag)));
            let age = if lag == 0 { 0.0 } else { self.age(storage.feed.as_ref(), applied).await? };
            gauge!("membership_projection_age_seconds", "projection" => *name).set(age);
        }
        Ok(())
    }

    /// How long the first event after `applied` has been known.
    async fn age(&self, feed: &dyn EventFeed, applied: Position) -> Result<f64, StoreError> {
        let page = feed.read(applied, 1).await?;
        let since = page.events.first().map(|event| seconds(event.metadata.recorded_at));
        Ok(since.map_or(0.0, |since| (seconds(self.clock.now()) - since).max(0.0)))
    }

    fn unknown(&self) {
        for state in ["pending", "parked", "failed"] {
            gauge!("membership_deliveries", "state" => state).set(f64::NAN);
        }
        gauge!("membership_delivery_oldest_due_age_seconds").set(f64::NAN);
        gauge!("membership_log_head_position").set(f64::NAN);
        for (name, _) in &self.progress {
            gauge!("membership_projection_lag_positions", "projection" => *name).set(f64::NAN);
            gauge!("membership_projection_age_seconds", "projection" => *name).set(f64::NAN);
        }
    }
}

/// What the operating system says of this process, where it says it in files.
fn process() -> Vec<(&'static str, f64)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| number(files.count()));
    let found = [
        ("process_resident_memory_bytes", of("VmRSS").map(|kibibytes| kibibytes * 1024.0)),
        ("process_threads", of("Threads")),
        ("process_open_fds", files),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn seconds(moment: chrono::DateTime<chrono::Utc>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    let millis = moment.timestamp_millis() as f64;
    millis / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^53")]
fn place(position: Position) -> f64 {
    position.get() as f64
}

fn number(count: usize) -> f64 {
    place(Position::new(count as u64))
}

fn one_if(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}
