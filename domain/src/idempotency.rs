//! Commands that may come again under a key that their caller chose: each is carried out once, and answered alike.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ports::StoreError;

/// A command under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedCommand {
    /// Names the key, whose it is, and what it is used for: a hash of all that.
    pub id: [u8; 32],
    /// A hash of what is asked for in particular.
    pub fingerprint: [u8; 32],
}

/// A try at carrying a command out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Tells it from other tries; one that lost its claim to a later one cannot write over it.
    pub number: i64,
    /// When the first try began.
    pub first_begun_at: DateTime<Utc>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status.
    pub status: u16,
    /// The headers that mean something later too.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What is known of a command that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is to be carried out: nobody has, or whoever began is gone.
    Mine(Attempt),
    /// Somebody is at it.
    Running,
    /// It was carried out, and this was the answer.
    Finished(KeptAnswer),
    /// The key was used for something else.
    Different,
}

/// Remembers commands and what was answered to them.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Claims a command for `lease`, unless it was carried out or somebody else is at it. Of all who ask at once, one may.
    async fn begin(
        &self,
        command: &KeyedCommand,
        now: DateTime<Utc>,
        lease: Duration,
        keep: Duration,
    ) -> Result<Begun, StoreError>;

    /// Keeps the answer until a moment; false when the claim was lost meanwhile.
    async fn finish(
        &self,
        id: &[u8; 32],
        attempt: Attempt,
        answer: KeptAnswer,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Gives the claim up: it may have been done in part, and the same command may be tried again at once.
    async fn release(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError>;

    /// Forgets the command: nothing was done, and the key is as good as new.
    async fn withdraw(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError>;

    /// Deletes up to `limit` of those that have been kept for long enough, and says how many.
    async fn prune(&self, now: DateTime<Utc>, limit: usize) -> Result<u64, StoreError>;
}
