//! Logs: one line each, to stderr. Spans: to a collector, where one is set.

#[cfg(feature = "otlp")]
#[path = "telemetry/otlp.rs"]
mod export;

use std::io::{IsTerminal, stderr};

use ::metrics::counter;
use tokio::runtime::Handle;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry};

/// It repeats what it does not understand of a database URL, which may be a misspelt password.
const REPEATS_THE_URL: &str = "sqlx_postgres::options";

/// Writes logs at `level` and above to stderr; `RUST_LOG` overrides it. Lines are JSON when nobody is watching. Spans go to
/// a collector besides, where one is set and the program was built for it.
pub(crate) fn start(level: &str, runtime: &Handle) {
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
    let (spans, trouble) = match export::start(runtime) {
        Ok(spans) => (spans, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let started = registry()
        .with(spans)
        .with(lines.with_filter(wanted))
        .with(Troubles.with_filter(LevelFilter::WARN))
        .try_init();
    // A second start, as in tests, keeps the first.
    drop(started);
    if let Some(trouble) = trouble {
        tracing::warn!("no traces are sent: {trouble}");
    }
}

pub(crate) use export::{continue_trace, stop};

#[cfg(not(feature = "otlp"))]
mod export {
    use axum::http::HeaderMap;
    use tokio::runtime::Handle;
    use tracing::Span;
    use tracing_subscriber::layer::Identity;

    use crate::config::{COLLECTOR, collector};

    pub(super) fn start(_runtime: &Handle) -> Result<Option<Identity>, String> {
        match collector() {
            Some(_) => {
                Err(format!("{COLLECTOR} is set, but this program was built without the feature otlp"))
            }
            None => Ok(None),
        }
    }

    /// Makes a request's span go on with the trace that its headers name.
    pub(crate) fn continue_trace(_span: &Span, _headers: &HeaderMap) {}

    /// Sends what has not been sent yet.
    pub(crate) fn stop() {}
}

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
