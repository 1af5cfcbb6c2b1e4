//! How often one caller may ask.
//!
//! A bucket for each service, member and strange address, kept in memory by each node. Access checks do not come by here
//! unless they name a purchase: they are answered from memory at less than the look-up would cost. Answers say what is left,
//! in the fields of the IETF's draft (`RateLimit-Policy`, `RateLimit`).

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use thiserror::Error;

use crate::asker::Asker;
use crate::error::ApiError;
use crate::position::comes_from_a_checkout;
use crate::state::ApiState;

/// What the answers' policy is in.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Buckets that are full again are forgotten every so many requests, so there are never more of them than were used within
/// the time that one takes to fill, and this.
const SWEEP: u64 = 1_024;

/// How often one may ask: so many a second, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU32,
    at_once: NonZeroU32,
}

/// Why a rate cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is neither off nor two numbers from 1 to 1000000, a second and at once")]
pub struct BadRate(String);

impl Rate {
    const MOST: u32 = 1_000_000;

    /// So many a second, and so many at once.
    ///
    /// # Panics
    ///
    /// When one of them is 0.
    pub const fn new(per_second: u32, at_once: u32) -> Self {
        let (Some(per_second), Some(at_once)) = (NonZeroU32::new(per_second), NonZeroU32::new(at_once))
        else {
            panic!("a rate is at least 1");
        };
        Self { per_second, at_once }
    }

    /// Reads `100/200`, or `off`, which is no limit.
    pub fn parse(text: &str) -> Result<Option<Self>, BadRate> {
        if text == "off" {
            return Ok(None);
        }
        let number = |text: &str| text.trim().parse().ok().filter(|n: &NonZeroU32| n.get() <= Self::MOST);
        let rate = text.split_once('/').and_then(|(per_second, at_once)| {
            Some(Self { per_second: number(per_second)?, at_once: number(at_once)? })
        });
        rate.map(Some).ok_or_else(|| BadRate(text.to_owned()))
    }

    /// After how many seconds `missing` of it are there again.
    fn seconds_for(self, missing: u32) -> u32 {
        missing.div_ceil(self.per_second.get())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.per_second, self.at_once)
    }
}

/// The rates of all kinds of callers; nothing is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// For each name of a service token.
    pub service: Option<Rate>,
    /// For each member.
    pub member: Option<Rate>,
    /// For each address of somebody signed out.
    pub signed_out: Option<Rate>,
}

impl Default for Rates {
    /// Far more than anybody needs who does not go through everything.
    fn default() -> Self {
        Self {
            service: Some(Rate::new(100, 200)),
            member: Some(Rate::new(10, 50)),
            signed_out: Some(Rate::new(5, 30)),
        }
    }
}

impl Rates {
    /// No limits.
    pub const OFF: Self = Self { service: None, member: None, signed_out: None };
}

type Buckets = RateLimiter<Asker, DashMapStateStore<Asker>, MonotonicClock, StateInformationMiddleware>;

/// Counts how often each caller asks.
#[derive(Debug, Clone)]
pub struct CallerLimits(Arc<[Option<Policy>; 3]>);

#[derive(Debug)]
struct Policy {
    name: &'static str,
    rate: Rate,
    header: HeaderValue,
    buckets: Buckets,
    asked: AtomicU64,
}

/// What a caller's bucket says.
struct Left {
    header: HeaderValue,
    remaining: u32,
    /// Until it is full, or, if it is empty, until there is something in it.
    seconds: u32,
    name: &'static str,
    allowed: bool,
}

impl CallerLimits {
    /// Full buckets.
    pub fn new(rates: Rates) -> Self {
        let policies =
            [("service", rates.service), ("member", rates.member), ("signed-out", rates.signed_out)];
        Self(Arc::new(policies.map(|(name, rate)| rate.map(|rate| Policy::new(name, rate)))))
    }

    fn ask(&self, asker: &Asker) -> Option<Left> {
        let [service, member, signed_out] = &*self.0;
        let policy = match asker {
            Asker::Service(_) => service,
            Asker::Member(_) => member,
            Asker::SignedOut(_) => signed_out,
        };
        policy.as_ref().map(|policy| policy.ask(asker))
    }

    /// Takes one from the bucket of the address, before it is known who asks; a refusal is said in `headers` too.
    pub(crate) fn ask_as_stranger(&self, parts: &Parts, headers: &mut HeaderMap) -> Result<(), ApiError> {
        let Some(left) = self.ask(&Asker::stranger(parts)).filter(|left| !left.allowed) else {
            return Ok(());
        };
        let seconds = left.seconds;
        left.say(headers);
        Err(ApiError::AskedTooOften { seconds })
    }
}

impl Left {
    fn say(self, headers: &mut HeaderMap) {
        let said = format!("\"{}\";r={};t={}", self.name, self.remaining, self.seconds);
        if let Ok(said) = HeaderValue::try_from(said) {
            headers.insert(RATE_LIMIT, said);
        }
        headers.insert(RATE_LIMIT_POLICY, self.header);
    }
}

impl Policy {
    fn new(name: &'static str, rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.at_once);
        let window = rate.seconds_for(rate.at_once.get());
        let header = HeaderValue::try_from(format!("\"{name}\";q={};w={window}", rate.at_once));
        Self {
            name,
            rate,
            header: header.unwrap_or_else(|_| HeaderValue::from_static("")),
            buckets: RateLimiter::dashmap_with_clock(quota, MonotonicClock).with_middleware(),
            asked: AtomicU64::new(0),
        }
    }

    fn ask(&self, asker: &Asker) -> Left {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.buckets.retain_recent();
        }
        let (remaining, seconds, allowed) = match self.buckets.check_key(asker) {
            Ok(left) => (left.remaining_burst_capacity(), self.until_full(&left), true),
            Err(not_until) => (0, whole_seconds(not_until.wait_time_from(MonotonicClock.now())), false),
        };
        Left { header: self.header.clone(), remaining, seconds, name: self.name, allowed }
    }

    fn until_full(&self, left: &StateSnapshot) -> u32 {
        self.rate.seconds_for(self.rate.at_once.get().saturating_sub(left.remaining_burst_capacity()))
    }
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

/// Lets a request through as long as its caller does not ask too often, and says what is left.
pub(crate) async fn limit(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let left = state.rates.ask(&Asker::of(&parts, &state));
    let Some(left) = left else { return next.run(Request::from_parts(parts, body)).await };
    let mut response = if left.allowed {
        next.run(Request::from_parts(parts, body)).await
    } else {
        ApiError::AskedTooOften { seconds: left.seconds }.into_response()
    };
    left.say(response.headers_mut());
    response
}

/// The same for an access check where it may have the provider asked about a purchase, which costs far more than memory.
pub(crate) async fn limit_lookups(state: State<ApiState>, request: Request, next: Next) -> Response {
    if comes_from_a_checkout(request.uri()) {
        limit(state, request, next).await
    } else {
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn stranger(last: u8) -> Asker {
        Asker::SignedOut(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_rate_is_two_numbers_or_off() {
        assert_eq!(Rate::parse("100/200"), Ok(Some(Rate::new(100, 200))));
        assert_eq!(Rate::parse(" 5 / 30 "), Ok(Some(Rate::new(5, 30))));
        assert_eq!(Rate::parse("off"), Ok(None));
        for bad in ["", "100", "0/1", "1/0", "1/2/3", "1000001/1", "-1/1", "many"] {
            assert_eq!(Rate::parse(bad), Err(BadRate(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn each_caller_has_a_bucket_of_its_own() {
        let limits = CallerLimits::new(Rates { signed_out: Some(Rate::new(1, 2)), ..Rates::OFF });
        let ask = |asker: &Asker| limits.ask(asker).map(|left| (left.allowed, left.remaining));
        let one = [0; 3].map(|_| ask(&stranger(1)));
        assert_eq!(one, [Some((true, 1)), Some((true, 0)), Some((false, 0))]);
        assert_eq!(ask(&stranger(2)), Some((true, 1)));
        assert_eq!(ask(&Asker::Service("service:shop".to_owned())), None, "no limit, nothing to say");
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let limits = CallerLimits::new(Rates { signed_out: Some(Rate::new(1_000_000, 1)), ..Rates::OFF });
        let mut most = 0;
        for number in 0..20 * SWEEP {
            let [.., a, b] = number.to_be_bytes();
            limits.ask(&Asker::SignedOut(IpAddr::from([10, 0, a, b])));
            most = most.max(limits.0[2].as_ref().map_or(0, |policy| policy.buckets.len()));
        }
        assert!(most <= 2 * usize::try_from(SWEEP).unwrap(), "{most} buckets are kept");
    }
}
