//! Every limit of the listener and of the requests it takes, in one place. `docs/limits.md` tells what a client sees.

use std::time::Duration;

use api::{Rates, RequestLimits};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many connections are open at once: far more than any front ends and balancers keep, at some 30 KB each.
pub const CONNECTIONS: usize = 10_000;
/// How many requests are worked on at once: a quarter of them access checks, which take microseconds, five eighths
/// webhooks, and an eighth anything else, which is four for each connection to the database: one that runs, three that
/// wait. Fewer would answer sooner under overload, and refuse harmless bursts.
pub const IN_FLIGHT: usize = 512;
/// How many requests wait for their position at once; they do nothing meanwhile.
const WAITING: usize = 1_024;
/// How many webhooks arrive at once. Each may hold a body of up to a megabyte of somebody unknown.
const ARRIVING: usize = 512;

/// How many streams of events members may have open at once, each a connection that rests. Beside them connections stay free
/// for everything else.
pub const EVENT_STREAMS: usize = 2_000;

/// How long the head of a request may take to arrive, from its first byte, or from the first moment of a connection.
const HEAD: Duration = Duration::from_secs(10);
/// How large the head of a request may be, in bytes: cookies and a token take a few kilobytes.
const HEAD_BYTES: u32 = 32 * 1024;
/// How long the body of a request may take to arrive.
const BODY: Duration = Duration::from_secs(10);
/// How long a request may be worked on. Longer than every wait of the stores, shorter than [`DRAIN`] and than Stripe's
/// patience.
const HANDLING: Duration = Duration::from_millis(7_500);
/// How long a client may leave an answer unread without taking any of it.
const UNREAD: Duration = Duration::from_secs(10);
/// How long a connection may rest between requests: longer than balancers keep theirs, which is a minute as a rule, so
/// that they never send into one that is being closed.
const IDLE: Duration = Duration::from_secs(75);
/// How long a connection is kept at all, so that load spreads over processes that were started later.
const AGE: Duration = Duration::from_hours(1);
/// How long a connection that was asked to end may take for what it has begun.
const LEAVING: Duration = Duration::from_secs(30);

/// How many requests one HTTP/2 connection may have open at once.
const STREAMS: u32 = 64;
/// How often an HTTP/2 peer is asked for a sign of life, and how long it may take to give it.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// How long the requests that were begun may take to finish once the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the delivery that is being carried out may take then.
pub const WORKER: Duration = Duration::from_secs(1);
/// How long the store may take to close after that.
pub const STORE: Duration = Duration::from_millis(750);

/// How many open files are kept free for the store and everything else but connections.
const OTHER_FILES: usize = 128;

/// The limits of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are open at once.
    pub connections: usize,
    /// Of the requests.
    pub requests: RequestLimits,
    /// How often one caller may ask.
    pub rates: Rates,
    /// For a request's head to arrive.
    pub head: Duration,
    /// For a client to take some of an answer.
    pub unread: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Of a connection.
    pub age: Duration,
    /// For a connection that was asked to end.
    pub leaving: Duration,
    /// For requests that were begun, once the process is asked to stop.
    pub drain: Duration,
    /// How long it goes on as before then, but for `/readyz`, so that a balancer sees it and sends no more.
    pub notice: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            requests: RequestLimits {
                in_flight: IN_FLIGHT,
                waiting: WAITING,
                arriving: ARRIVING,
                body: BODY,
                handling: HANDLING,
            },
            rates: Rates::default(),
            head: HEAD,
            unread: UNREAD,
            idle: IDLE,
            age: AGE,
            leaving: LEAVING,
            drain: DRAIN,
            notice: Duration::ZERO,
        }
    }
}

impl Limits {
    /// The same, with no more connections than the system lets the process have files. Lifts the soft limit where it can.
    #[must_use]
    pub fn within_the_system(mut self) -> Self {
        let wanted = self.connections + OTHER_FILES;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted_files = wanted as u64;
        let lifted = maximum.map_or(wanted_files, |most| wanted_files.min(most));
        let mut files = current.unwrap_or(u64::MAX);
        if files < lifted {
            match setrlimit(Resource::Nofile, Rlimit { current: Some(lifted), maximum }) {
                Ok(()) => files = lifted,
                Err(error) => tracing::warn!(%error, "the limit of open files cannot be lifted"),
            }
        }
        let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES).max(1);
        if room < self.connections {
            tracing::warn!(
                connections = room,
                files,
                "fewer connections than MAX_CONNECTIONS are taken; raise the limit of open files (ulimit -n)"
            );
            self.connections = room;
        }
        self
    }
}

/// How connections speak HTTP, with the limits that hyper sees to by itself.
pub(crate) fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Its timer for heads also runs between requests, where ours is longer.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES);
    builder
}
