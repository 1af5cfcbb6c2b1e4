//! How far long work is: a bar for people, a plain line now and then for logs.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PAUSE: Duration = Duration::from_secs(2);

/// Progress on stderr.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    begun: Instant,
    told: Instant,
}

impl Progress {
    /// Of `total` things called `what`.
    pub(crate) fn new(total: u64, what: &'static str) -> Self {
        let now = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_message(what);
            match ProgressStyle::with_template("{pos}/{len} {msg}  {per_sec}  {eta} left") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, what, total, begun: now, told: now }
    }

    /// So many are done.
    #[expect(clippy::print_stderr, reason = "progress is for whoever waits")]
    pub(crate) fn reached(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.told.elapsed() >= PAUSE && done > 0 {
            self.told = Instant::now();
            let each = self.begun.elapsed() / u32::try_from(done).unwrap_or(u32::MAX);
            let left = each * u32::try_from(self.total.saturating_sub(done)).unwrap_or(u32::MAX);
            let rate = 1.0 / each.as_secs_f64().max(f64::EPSILON);
            eprintln!("{done}/{} {}  {rate:.0}/s  {} s left", self.total, self.what, left.as_secs());
        }
    }

    /// All are done.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Progress of work whose end is not known before.
pub(crate) struct Counter {
    bar: Option<ProgressBar>,
    what: &'static str,
    begun: Instant,
    told: Instant,
}

impl Counter {
    /// Of things called `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        let now = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length().with_message(what);
            match ProgressStyle::with_template("{spinner} {pos} {msg}  {per_sec}  {elapsed}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, what, begun: now, told: now }
    }

    /// So many are done.
    #[expect(clippy::print_stderr, reason = "progress is for whoever waits")]
    pub(crate) fn reached(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.told.elapsed() >= PAUSE && done > 0 {
            self.told = Instant::now();
            let each = self.begun.elapsed() / u32::try_from(done).unwrap_or(u32::MAX);
            let rate = 1.0 / each.as_secs_f64().max(f64::EPSILON);
            eprintln!("{done} {}  {rate:.0}/s", self.what);
        }
    }

    /// All are done.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
