//! Remembers for a while that something could not be written, so that readiness can tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is remembered. Longer would keep a service that gets no requests, since it is not ready, from being ready.
const RECENT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<(Instant, String)>>>);

impl Trouble {
    /// Something could not be written.
    pub(crate) fn note(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), why));
    }

    /// Why, if that was just now.
    pub(crate) fn recent(&self) -> Option<String> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, why)| why.clone())
    }
}
