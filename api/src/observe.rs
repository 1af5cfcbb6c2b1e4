//! What is seen of every request from outside: a span that its log lines carry, the caller's trace, and its metrics.
//!
//! Nothing here names what was asked for: addresses and ids in paths, queries, headers and bodies stay out of logs and
//! metrics. A request is known by its route's template.

use std::cell::Cell;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use domain::access::{Decision, Reason};
use metrics::{Counter, Histogram, counter, histogram};
use tower::util::MapRequestLayer;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span, info_span};

use crate::shell::REQUEST_ID;
use crate::state::ApiState;

/// The route of whatever is not served.
const UNMATCHED: &str = "unmatched";
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const OTHER_METHOD: &str = "OTHER";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

tokio::task_local! {
    static ROUTE: Cell<Option<MatchedPath>>;
}

/// Notes which route a request takes, so that [`observe`], which is around the router, knows.
pub(crate) fn noted(router: Router) -> Router {
    router.layer(MapRequestLayer::new(|request: Request| {
        if let Some(path) = request.extensions().get::<MatchedPath>() {
            Span::current().record("route", path.as_str());
            // Without a task's slot nobody asks.
            ROUTE.try_with(|route| route.set(Some(path.clone()))).ok();
        }
        request
    }))
}

/// Runs a request in its span, and measures it.
pub(crate) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = place_of(request.method());
    let is_check = is_check(request.uri().path());
    let span = span(method, is_check);
    if !span.is_disabled() {
        if let Some(trace) = trace_of(request.headers()) {
            span.record("trace_id", trace);
        }
        (state.continue_trace)(&span, request.headers());
    }
    let answered = async {
        let response = next.run(request).await;
        (response, ROUTE.with(Cell::take))
    };
    let (response, route) = ROUTE.scope(Cell::new(None), answered).instrument(span.clone()).await;
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let took = begun.elapsed();
    measure(route, method, response.status(), took);
    span.in_scope(|| tell(route, method, &response, took, is_check));
    response
}

/// Access checks are many and short, so they have a span only where somebody wants details.
fn span(method: usize, is_check: bool) -> Span {
    let method = name_of(method);
    if is_check {
        debug_span!("request", request_id = Empty, method, route = Empty, trace_id = Empty)
    } else {
        info_span!("request", request_id = Empty, method, route = Empty, trace_id = Empty)
    }
}

fn tell(route: &str, method: usize, response: &Response, took: Duration, is_check: bool) {
    let (method, status) = (name_of(method), response.status().as_u16());
    let request_id =
        || response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if response.status().is_server_error() {
        tracing::warn!(request_id = request_id(), method, route, status, micros, "request not answered");
    } else if is_check || matches!(route, "/healthz" | "/readyz" | "/metrics") {
        tracing::debug!(request_id = request_id(), method, route, status, micros, "request answered");
    } else {
        tracing::info!(request_id = request_id(), method, route, status, micros, "request answered");
    }
}

pub(crate) fn is_check(path: &str) -> bool {
    path == "/v1/access/check"
        || path.starts_with("/v1/videos/")
        || (path.contains("/access/videos/")
            && (path.starts_with("/v1/me/") || path.starts_with("/v1/members/")))
}

fn place_of(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len())
}

fn name_of(method: usize) -> &'static str {
    METHODS.get(method).copied().unwrap_or(OTHER_METHOD)
}

/// The trace id of a W3C `traceparent` header that can be read.
fn trace_of(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_id = |text: &str, length| text.len() == length && hex(text) && text.bytes().any(|b| b != b'0');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let fits = version.len() == 2 && hex(version) && version != "ff" && flags.len() == 2 && hex(flags);
    (fits && is_id(trace, 32) && is_id(parent, 16)).then_some(trace)
}

/// The metrics of one route: found without a lock and made once, so that a request costs two additions.
#[derive(Default)]
struct Measured {
    requests: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len() + 1],
    durations: [OnceLock<Histogram>; METHODS.len() + 1],
}

static MEASURED: LazyLock<papaya::HashMap<Box<str>, Arc<Measured>>> = LazyLock::new(papaya::HashMap::new);

fn measure(route: &str, method: usize, status: StatusCode, took: Duration) {
    let routes = MEASURED.pin();
    let measured = match routes.get(route) {
        Some(measured) => measured,
        None => routes.get_or_insert_with(route.into(), Arc::default),
    };
    let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
    let name = name_of(method);
    let requests = measured.requests[method][class].get_or_init(|| {
        let (route, status) = (route.to_owned(), CLASSES[class]);
        counter!("membership_http_requests_total", "route" => route, "method" => name, "status" => status)
    });
    requests.increment(1);
    let duration = measured.durations[method].get_or_init(|| {
        let route = route.to_owned();
        histogram!("membership_http_request_duration_seconds", "route" => route, "method" => name)
    });
    duration.record(took);
}

/// Every reason with its answer, in the order of their numbers.
const REASONS: [(Reason, &str); 17] = [
    (Reason::Free, "true"),
    (Reason::Subscription, "true"),
    (Reason::Trial, "true"),
    (Reason::Grace, "true"),
    (Reason::CancelsLater, "true"),
    (Reason::Grant, "true"),
    (Reason::NotSignedIn, "false"),
    (Reason::NoMembership, "false"),
    (Reason::PlanTooLow, "false"),
    (Reason::PastDue, "false"),
    (Reason::PaymentPending, "false"),
    (Reason::Unpaid, "false"),
    (Reason::Paused, "false"),
    (Reason::Ended, "false"),
    (Reason::Disputed, "false"),
    (Reason::Refunded, "false"),
    (Reason::StatusUnknown, "false"),
];

static DECISIONS: LazyLock<[Counter; REASONS.len()]> = LazyLock::new(|| {
    REASONS.map(|(reason, allowed)| {
        counter!("membership_access_decisions_total", "allowed" => allowed, "reason" => reason.as_str())
    })
});

/// Begins to count decisions, all from zero, so that the first of a kind is seen as a change.
pub fn begin() {
    LazyLock::force(&DECISIONS);
}

/// Counts a decision: one addition, no lock.
pub fn decided(decision: &Decision) {
    if let Some(counter) = DECISIONS.get(decision.reason as usize) {
        counter.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_whole_traceparent_names_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let cases = [
            (format!("00-{trace}-00f067aa0ba902b7-01"), Some(trace)),
            (format!("cc-{trace}-00f067aa0ba902b7-01-what-comes-later"), Some(trace)),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), None),
            (format!("00-{trace}-0000000000000000-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), None),
            (format!("00-{trace}-00f067aa0ba902b7"), None),
            ("ada@example.com".to_owned(), None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::try_from(&text).unwrap());
            assert_eq!(trace_of(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_method_that_somebody_made_up_does_not_become_a_label() {
        assert_eq!(name_of(place_of(&Method::from_bytes(b"ADA").unwrap())), OTHER_METHOD);
        assert_eq!(name_of(place_of(&Method::DELETE)), "DELETE");
    }

    #[test]
    fn every_reason_has_its_counter() {
        for (place, (reason, _)) in REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason:?}");
        }
        assert_eq!(Reason::StatusUnknown as usize + 1, REASONS.len(), "the last one");
    }
}
