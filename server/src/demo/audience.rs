//! The demo's service as the simulated Stripe's companion: it lives by Stripe's clock, so that a month that is turned there
//! is a month here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::{Clock, MovableClock, SystemClock};
use stripe_simulator::{Companion, Seconds, Time};
use tokio::time::{Instant, sleep};
use webhook_ingest::inbox::Inbox;

/// How often the inbox is looked at while time waits for it.
const LOOK: Duration = Duration::from_millis(2);
/// How long time waits: what has been put off must not hold it up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who hears of it.
pub(super) struct Audience {
    pub(super) clock: Arc<MovableClock>,
    pub(super) inbox: Arc<dyn Inbox>,
}

/// The moment of Stripe's present.
pub(super) fn present(time: Time) -> DateTime<Utc> {
    match time {
        Time::Ahead(seconds) => SystemClock.now() + TimeDelta::seconds(seconds),
        Time::At(seconds) => DateTime::from_timestamp(seconds, 0).unwrap_or_else(|| SystemClock.now()),
    }
}

impl Companion for Audience {
    /// Never goes back: Stripe counts whole seconds, and what was answered for a moment stays answered.
    fn set_time(&self, time: Time) -> Seconds {
        let (is, now) = (present(time), self.clock.now());
        match time {
            Time::At(_) => self.clock.set(is.max(now)),
            Time::Ahead(_) => self.clock.run_ahead(is.max(now) - SystemClock.now()),
        }
        is.max(now).timestamp()
    }

    fn carried_out(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let begun = Instant::now();
            // A store that cannot be asked has nothing that time could wait for.
            while begun.elapsed() < PATIENCE && self.inbox.pending().await.is_ok_and(|waiting| waiting > 0) {
                sleep(LOOK).await;
            }
        })
    }
}
