//! Leaves somebody who does not answer alone for a while, so that those who wait for the answer do not have to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Opens after some failures in a row; after a rest it lets one try through, which decides whether it closes.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_allowed: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(failures_allowed: u32, rest: Duration) -> Self {
        Self { failures_allowed, rest, state: Mutex::default() }
    }

    /// Lets a try through, or says how long the rest still is.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.open_until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                // The others wait for what becomes of this one; should it never be told, for another rest.
                state.open_until = Some(now + self.rest);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn worked(&self) {
        *self.state() = State::default();
    }

    pub(crate) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.failures_allowed {
            if state.open_until.is_none() {
                tracing::error!(failures = state.failures, rest = ?self.rest, "the billing provider is left alone for a while");
            }
            state.open_until = Some(now + self.rest);
        }
    }

    /// Whatever was being changed when somebody panicked is two plain values.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_through_after_a_rest() {
        let (breaker, start) = (Breaker::new(3, REST), Instant::now());
        for _ in 0..2 {
            breaker.failed(start);
        }
        breaker.worked();
        for _ in 0..2 {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.failed(start);
        }
        assert_eq!(breaker.admit(start), Ok(()), "an answer in between counts from the start");
        breaker.failed(start);
        assert_eq!(breaker.admit(start), Err(REST));
        let later = start + REST;
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.admit(later), Err(REST), "only one is let through");
        breaker.failed(later);
        assert_eq!(breaker.admit(later), Err(REST));
        let last = later + REST;
        assert_eq!(breaker.admit(last), Ok(()));
        breaker.worked();
        assert_eq!((breaker.admit(last), breaker.admit(last)), (Ok(()), Ok(())));
    }
}
