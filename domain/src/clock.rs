//! The one clock.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Datelike, TimeDelta, Utc};

/// The last second that RFC 3339 can write: its years have four digits.
pub const LAST_MOMENT: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(moment) => moment,
    None => DateTime::<Utc>::MAX_UTC,
};

/// Whether RFC 3339 can write a moment. One that it cannot is nobody's end of a period, and no answer could tell it.
pub fn can_be_written(moment: &DateTime<Utc>) -> bool {
    (0..=9_999).contains(&moment.year())
}

/// Tells the time. Everything that needs "now" is given one of these.
pub trait Clock: Send + Sync + Debug {
    /// The present moment.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock the others are replaced by")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock that can be set: it stands still until it is let go, then runs with the machine's clock, or ahead of it.
#[derive(Debug)]
pub struct MovableClock {
    /// Microseconds since 1970, or [`RUNNING`].
    standing_at: AtomicI64,
    /// Microseconds by which it is ahead of the machine's clock while it runs.
    ahead: AtomicI64,
}

const RUNNING: i64 = i64::MIN;

impl MovableClock {
    /// A clock standing at `moment`.
    pub fn standing_at(moment: DateTime<Utc>) -> Self {
        Self { standing_at: AtomicI64::new(moment.timestamp_micros()), ahead: AtomicI64::new(0) }
    }

    /// Moves a clock to `moment`, where it stands.
    pub fn set(&self, moment: DateTime<Utc>) {
        self.standing_at.store(moment.timestamp_micros(), Ordering::SeqCst);
    }

    /// Lets it run with the machine's clock from now on.
    pub fn run(&self) {
        self.run_ahead(TimeDelta::zero());
    }

    /// Lets it run so far ahead of the machine's clock from now on.
    pub fn run_ahead(&self, by: TimeDelta) {
        self.ahead.store(by.num_microseconds().unwrap_or_default(), Ordering::SeqCst);
        self.standing_at.store(RUNNING, Ordering::SeqCst);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> DateTime<Utc> {
        match self.standing_at.load(Ordering::SeqCst) {
            RUNNING => SystemClock.now() + TimeDelta::microseconds(self.ahead.load(Ordering::SeqCst)),
            micros => DateTime::from_timestamp_micros(micros).unwrap_or_else(|| SystemClock.now()),
        }
    }
}
