//! How many requests are worked on at once, and for how long: whatever comes beyond that is refused at once instead of
//! making everybody wait.
//!
//! Access checks, webhooks and everything else have slots of their own, so that none of them can shut another out. Nothing
//! here locks; a slot is one atomic count.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::error::ApiError;
use crate::position::{asks_about_a_moment, comes_from_a_checkout};

/// Access checks have a quarter of the slots, and all that is neither that nor a webhook an eighth: much of it queues for
/// the store, where more at once only makes all of it slower. Webhooks have the rest: they come in bursts and are kept
/// together.
const ACCESS: usize = 4;
const OTHERS: usize = 8;
/// How many readiness checks have slots of their own: a balancer and a few people ask.
const READINESS: usize = 16;

/// What is allowed at once, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// How many requests are worked on at once.
    pub in_flight: usize,
    /// How many requests wait for a position at once.
    pub waiting: usize,
    /// How many webhooks may be arriving at once, without a slot as long as their bodies are not whole.
    pub arriving: usize,
    /// How long a body may take to arrive.
    pub body: Duration,
    /// How long a request may be worked on once its body is there.
    pub handling: Duration,
}

/// Lets requests in while there is room.
#[derive(Debug)]
pub struct Admission {
    limits: RequestLimits,
    access: Slots,
    webhooks: Slots,
    others: Slots,
    readiness: Slots,
    waiting: Slots,
    arriving: Slots,
    refused: AtomicU64,
}

/// Whose slots a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Needs none: it only says that the process runs.
    Liveness,
    Readiness,
    /// Answered from memory, and somebody waits in front of a video.
    Access,
    /// Stripe waits, and gives up after some time.
    Webhook,
    Other,
}

impl Class {
    fn of(request: &Parts) -> Self {
        let path = request.uri.path();
        match path {
            "/healthz" => Self::Liveness,
            "/readyz" | "/metrics" => Self::Readiness,
            _ if path.starts_with("/webhooks/") => Self::Webhook,
            // Answered from memory, too.
            "/v1/catalog" => Self::Access,
            _ if path.starts_with("/v1/videos/") => Self::Access,
            _ if path.contains("/access/") || path.ends_with("/access") => {
                let waits = asks_about_a_moment(&request.uri) || comes_from_a_checkout(&request.uri);
                if waits { Self::Other } else { Self::Access }
            }
            _ => Self::Other,
        }
    }
}

impl Admission {
    /// Room for as much as `limits` say.
    pub fn new(limits: RequestLimits) -> Arc<Self> {
        let (access, others) = (limits.in_flight / ACCESS, limits.in_flight / OTHERS);
        Arc::new(Self {
            limits,
            access: Slots::new(access),
            webhooks: Slots::new(limits.in_flight - access - others),
            others: Slots::new(others),
            readiness: Slots::new(READINESS),
            waiting: Slots::new(limits.waiting),
            arriving: Slots::new(limits.arriving),
            refused: AtomicU64::new(0),
        })
    }

    /// A place for a request that waits for its position.
    pub(crate) fn wait(&self) -> Result<Slot, ApiError> {
        self.waiting.take().ok_or_else(|| self.refuse())
    }

    /// Has a request answered within the limits.
    pub(crate) async fn run(self: &Arc<Self>, request: Request, next: Next) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let class = Class::of(&parts);
        if !body.is_end_stream() {
            return self.run_with_body(class, parts, body, next).await;
        }
        let _slot = self.slot(class)?;
        let answer = next.run(Request::from_parts(parts, body));
        timeout(self.limits.handling, answer).await.map_err(|_| self.too_long())
    }

    async fn run_with_body(
        self: &Arc<Self>,
        class: Class,
        parts: Parts,
        body: Body,
        next: Next,
    ) -> Result<Response, ApiError> {
        // Anyone may send to the webhook, as slowly as they like, and is only known by the whole body. Until that is
        // there it does not take a slot from those who are known.
        let (seat, _slot) = if class == Class::Webhook {
            (Some(self.arriving.take().ok_or_else(|| self.refuse())?), None)
        } else {
            (None, self.slot(class)?)
        };
        let arrival = Arc::new(Arrival::default());
        let late_at = Instant::now() + self.limits.body;
        let admission = self.clone();
        let body = Arriving { body, late_at, timer: None, seat, admission, arrival: arrival.clone() };
        let mut answer = pin!(next.run(Request::from_parts(parts, Body::new(body))));
        let answer = if let Ok(answer) = timeout(self.limits.handling, &mut answer).await {
            answer
        } else {
            // The time that the body took is the sender's, not the handler's.
            let whole_at = arrival.whole_at.get().copied().unwrap_or(late_at);
            let late = timeout_at(whole_at + self.limits.handling, answer).await;
            late.map_err(|_| self.too_long())?
        };
        match arrival.trouble.get() {
            Some(Trouble::Late) => Err(ApiError::SlowBody(self.limits.body)),
            Some(Trouble::Full) => Err(self.refuse()),
            None => Ok(answer),
        }
    }

    /// A slot where one is needed.
    fn slot(&self, class: Class) -> Result<Option<Slot>, ApiError> {
        let slots = match class {
            Class::Liveness => return Ok(None),
            Class::Readiness => &self.readiness,
            Class::Access => &self.access,
            Class::Webhook => &self.webhooks,
            Class::Other => &self.others,
        };
        slots.take().map(Some).ok_or_else(|| self.refuse())
    }

    fn refuse(&self) -> ApiError {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // Ever more rarely: whoever is overloaded has no time to write a line for each.
        if refused.is_power_of_two() {
            tracing::warn!(refused, "too many requests at once; some are refused");
        }
        ApiError::Overloaded
    }

    fn too_long(&self) -> ApiError {
        ApiError::TookTooLong(self.limits.handling)
    }
}

/// So many at once.
#[derive(Debug)]
struct Slots(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Slots {
    fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    fn take(&self) -> Option<Slot> {
        let taken = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |free| free.checked_sub(1));
        taken.is_ok().then(|| Slot(self.0.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// How the body of a request came in, for the one who answers it.
#[derive(Debug, Default)]
struct Arrival {
    whole_at: OnceLock<Instant>,
    trouble: OnceLock<Trouble>,
    /// What the request works with once its body is there.
    slot: OnceLock<Slot>,
}

/// Why a body was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum Trouble {
    #[error("the body did not arrive in time")]
    Late,
    #[error("too many requests at once")]
    Full,
}

/// A body that has to be whole in time, however much of it trickles in meanwhile.
struct Arriving {
    body: Body,
    late_at: Instant,
    /// Made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
    /// A place among those that arrive, to be exchanged for a slot.
    seat: Option<Slot>,
    admission: Arc<Admission>,
    arrival: Arc<Arrival>,
}

impl Arriving {
    fn fail(&self, trouble: Trouble) -> axum::Error {
        axum::Error::new(*self.arrival.trouble.get_or_init(|| trouble))
    }

    /// The body is there: takes a slot where the request has none.
    fn arrived(&mut self) -> Result<(), axum::Error> {
        self.arrival.whole_at.get_or_init(Instant::now);
        if self.seat.take().is_some() {
            let slot = self.admission.webhooks.take().ok_or_else(|| self.fail(Trouble::Full))?;
            self.arrival.slot.get_or_init(|| slot);
        }
        Ok(())
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Some(trouble) = this.arrival.trouble.get() {
            return Poll::Ready(Some(Err(this.fail(*trouble))));
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(None) => Poll::Ready(this.arrived().err().map(Err)),
            // One who sends without a pause is never waited for, so the clock is looked at here too.
            Poll::Ready(Some(_)) if Instant::now() >= this.late_at => {
                Poll::Ready(Some(Err(this.fail(Trouble::Late))))
            }
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => {
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(this.late_at)));
                ready!(timer.as_mut().poll(context));
                Poll::Ready(Some(Err(this.fail(Trouble::Late))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
