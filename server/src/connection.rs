//! One connection: sees what its client does, and ends it when the client takes too long.
//!
//! hyper's own timer knows only the head of an HTTP/1 request, and nothing of silence, of HTTP/2 or of answers that nobody
//! reads. So the stream and the service tell a [`Pulse`] what happens, and [`attend`] looks at it. As long as requests come
//! and answers go, no timer is moved and nothing is locked.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use api::client_address::ClientAddress;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use crate::limits::Limits;
use crate::refusal;

/// What all connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Serve; so many times there was no room for another connection, and those that rest make some.
    Serving { crowded: u64 },
    /// The process stops: finish what was begun.
    Draining,
    /// End, finished or not.
    CutOff,
}

/// Answers what comes in on a connection until either side ends it.
pub(crate) async fn attend(
    stream: TcpStream,
    router: Router,
    protocol: Arc<Builder<TokioExecutor>>,
    limits: Limits,
    mut stage: watch::Receiver<Stage>,
) {
    let pulse = Arc::new(Pulse::default());
    let told = pulse.clone();
    // A connection that has ended already has no peer any more, and nobody reads what it is answered.
    let client = stream.peer_addr().ok().map(ClientAddress::of_peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let turn = Turn::begin(&told, request.version());
        if let Some(client) = client {
            request.extensions_mut().insert(client);
        }
        let answer = router.clone().call(request.map(Body::new));
        async move { answer.await.map(|answer| answer.map(|body| Answer { body, _turn: turn })) }
    });
    let io = TokioIo::new(Watched { stream, pulse: pulse.clone(), instead: None });
    let mut connection = pin!(protocol.serve_connection(io, service));
    let mut watch = Watch::new(limits);
    let mut timer = pin!(sleep_until(watch.armed));
    let mut changed = pin!(change(stage.clone()));
    let mut listening = false;
    let ended = poll_fn(|context| {
        loop {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            watch.look(&pulse);
            // Waiting for a change takes a lock, so it is begun once; from then on it is enough to look.
            let Ok(news) = stage.has_changed() else { return Poll::Ready(Some("the listener has gone")) };
            if news || !listening {
                let leaves = match *stage.borrow_and_update() {
                    Stage::Serving { crowded } => watch.makes_room(crowded),
                    Stage::Draining => watch.hurries(),
                    Stage::CutOff => return Poll::Ready(Some("the process stops")),
                };
                if leaves {
                    connection.as_mut().graceful_shutdown();
                }
                changed.set(change(stage.clone()));
                listening = changed.as_mut().poll(context).is_pending();
                continue;
            }
            let end = watch.end();
            if end < watch.armed {
                watch.armed = end;
                timer.as_mut().reset(end);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= end {
                match watch.expired() {
                    Expired::Leave => connection.as_mut().graceful_shutdown(),
                    Expired::Close(why) => return Poll::Ready(Some(why)),
                }
            }
            watch.armed = watch.end();
            timer.as_mut().reset(watch.armed);
        }
    });
    if let Some(why) = ended.await {
        tracing::debug!(why, "connection closed");
    }
}

async fn change(mut stage: watch::Receiver<Stage>) {
    // An error says that there is nobody left who could tell of a change; the next look sees that.
    stage.changed().await.ok();
}

/// What happens on a connection, as its stream and its service tell it.
#[derive(Debug, Default)]
struct Pulse {
    /// Counts everything that shows that the client is there: requests, and answers taken.
    beats: AtomicU64,
    /// Requests whose answers are not handed over yet.
    open: AtomicUsize,
    /// Something has come since the last request.
    heard: AtomicBool,
    /// Bytes of an answer are not taken.
    unread: AtomicBool,
    /// Other things come between requests than heads.
    http2: AtomicBool,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request has begun to come, or the first has not.
    Head,
    /// A request is worked on.
    Busy,
    /// An answer is not being read.
    Unread,
    /// Nothing happens.
    Idle,
}

impl Pulse {
    fn phase(&self) -> Phase {
        if self.unread.load(Relaxed) {
            Phase::Unread
        } else if self.open.load(Relaxed) > 0 {
            Phase::Busy
        } else if self.beats.load(Relaxed) == 0 || (self.heard.load(Relaxed) && !self.http2.load(Relaxed)) {
            Phase::Head
        } else {
            Phase::Idle
        }
    }
}

/// A request, until its answer is handed over.
struct Turn(Arc<Pulse>);

impl Turn {
    fn begin(pulse: &Arc<Pulse>, version: Version) -> Self {
        pulse.beats.fetch_add(1, Relaxed);
        pulse.open.fetch_add(1, Relaxed);
        pulse.heard.store(false, Relaxed);
        if version == Version::HTTP_2 {
            pulse.http2.store(true, Relaxed);
        }
        Self(pulse.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        // What came meanwhile was the request's body.
        self.0.heard.store(false, Relaxed);
    }
}

/// Knows until when a connection may go on as it does.
struct Watch {
    limits: Limits,
    opened: Instant,
    phase: Phase,
    beats: u64,
    since: Instant,
    leaving: Option<Instant>,
    crowded: Option<u64>,
    /// When the timer goes off; never later than the end.
    armed: Instant,
}

enum Expired {
    Leave,
    Close(&'static str),
}

/// What rests for so long makes room where there is none.
const RESTED: Duration = Duration::from_secs(1);

impl Watch {
    fn new(limits: Limits) -> Self {
        let opened = Instant::now();
        Self {
            limits,
            opened,
            phase: Phase::Head,
            beats: 0,
            since: opened,
            leaving: None,
            crowded: None,
            armed: opened + limits.head,
        }
    }

    fn look(&mut self, pulse: &Pulse) {
        let (phase, beats) = (pulse.phase(), pulse.beats.load(Relaxed));
        if (phase, beats) != (self.phase, self.beats) {
            (self.phase, self.beats, self.since) = (phase, beats, Instant::now());
        }
    }

    fn end(&self) -> Instant {
        let at_most = self.leaving.unwrap_or(self.opened + self.limits.age);
        let limit = match self.phase {
            Phase::Head => self.limits.head,
            Phase::Unread => self.limits.unread,
            Phase::Idle if self.leaving.is_none() => self.limits.idle,
            Phase::Idle | Phase::Busy => return at_most,
        };
        at_most.min(self.since + limit)
    }

    fn expired(&mut self) -> Expired {
        match self.phase {
            Phase::Head => Expired::Close("no request came in time"),
            Phase::Unread => Expired::Close("the answer was not read in time"),
            _ if self.leaving.is_some() => Expired::Close("it was asked to end and did not"),
            Phase::Idle | Phase::Busy => self.leave(),
        }
    }

    fn leave(&mut self) -> Expired {
        self.leaving = Some(Instant::now() + self.limits.leaving);
        Expired::Leave
    }

    /// Whether it leaves because others find no room.
    fn makes_room(&mut self, crowded: u64) -> bool {
        let news = self.crowded.replace(crowded).is_some_and(|before| before != crowded);
        let rests = matches!(self.phase, Phase::Head | Phase::Idle) && self.since.elapsed() >= RESTED;
        if news && rests {
            // One that sends a head byte by byte is not idle to hyper, and closed at once.
            self.limits.head = Duration::ZERO;
            self.leave();
        }
        news && rests
    }

    /// It leaves; a head that is coming in gets a moment more.
    fn hurries(&mut self) -> bool {
        self.limits.head = self.limits.head.min(RESTED);
        self.since = Instant::now();
        self.leave();
        true
    }
}

/// A stream that tells what it sees, and puts a problem in the place of a bare refusal.
struct Watched {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    /// What is being written in the place of something else, and how much of it has been.
    instead: Option<(Vec<u8>, usize)>,
}

impl Watched {
    /// Writes what belongs in the place of `bytes`; nothing when that is `bytes` itself.
    fn replace(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_none() {
            self.instead = Some((refusal::instead_of(bytes)?, 0));
        }
        let (text, written) = self.instead.as_mut()?;
        while *written < text.len() {
            match Pin::new(&mut self.stream).poll_write(context, &text[*written..]) {
                Poll::Ready(Ok(count @ 1..)) => *written += count,
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                other => return Some(other),
            }
        }
        self.instead = None;
        Some(Poll::Ready(Ok(bytes.len())))
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let unread = &self.pulse.unread;
        match &written {
            Poll::Pending => unread.store(true, Relaxed),
            Poll::Ready(Ok(1..)) if unread.load(Relaxed) => {
                self.pulse.beats.fetch_add(1, Relaxed);
                unread.store(false, Relaxed);
            }
            Poll::Ready(_) => {}
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.pulse.heard.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this
            .replace(context, bytes)
            .unwrap_or_else(|| Pin::new(&mut this.stream).poll_write(context, bytes));
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let replaced = if let [bytes] = parts { this.replace(context, bytes) } else { None };
        let written =
            replaced.unwrap_or_else(|| Pin::new(&mut this.stream).poll_write_vectored(context, parts));
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The body of an answer, whose request ends with it.
struct Answer {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
