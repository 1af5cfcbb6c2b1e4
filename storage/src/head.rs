//! The end of the log as this process knows it, and the wait for it to move.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long a wait lasts at most, which is how long a follower can miss a hint.
const WAIT: Duration = Duration::from_millis(20);
/// Who begins to wait this soon after a move may have read just before it; she is asked to look again at once.
const FRESH: Duration = Duration::from_millis(5);
const AT_ONCE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy)]
struct Moved {
    position: i64,
    at: Instant,
}

/// Says where the end is.
pub(crate) struct Publisher(watch::Sender<Moved>);

/// Knows where it is.
#[derive(Clone)]
pub(crate) struct Head(watch::Receiver<Moved>);

/// An end at `position`.
pub(crate) fn head(position: i64) -> (Publisher, Head) {
    let (sender, receiver) = watch::channel(Moved { position, at: Instant::now() });
    (Publisher(sender), Head(receiver))
}

impl Publisher {
    /// The end is at `position` now.
    pub(crate) fn publish(&self, position: i64) {
        self.0.send_if_modified(|moved| {
            let modified = moved.position != position;
            if modified {
                *moved = Moved { position, at: Instant::now() };
            }
            modified
        });
    }
}

impl Head {
    /// Where the end is.
    pub(crate) fn position(&self) -> i64 {
        self.0.borrow().position
    }

    /// Waits for it to move, and no longer than that.
    pub(crate) async fn changed(&self, at_most: Duration) {
        let mut moving = self.0.clone();
        let fresh = moving.borrow_and_update().at.elapsed() < FRESH;
        let at_most = at_most.min(if fresh { AT_ONCE } else { WAIT });
        if let Ok(Err(_gone)) = timeout(at_most, moving.changed()).await {
            sleep(at_most).await;
        }
    }
}
