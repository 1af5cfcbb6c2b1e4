//! Logs: one line each, to stderr.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Writes logs at `level` and above to stderr; `RUST_LOG` overrides it. Lines are JSON when nobody is watching.
pub(crate) fn start(level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},rusqlite_migration=warn")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = if stderr().is_terminal() {
        lines.compact().try_init()
    } else {
        lines.json().flatten_event(true).with_ansi(false).try_init()
    };
    // A second start, as in tests, keeps the first.
    drop(started);
}
