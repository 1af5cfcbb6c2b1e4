//! Room and time for requests. Each protection has a control that shows what happens without it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::routing::post;
use http_body::Frame;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::world::{ALL, Answer, LIMITS, World};
use crate::{Admission, RequestLimits};

const ADA: &str = "/v1/members/mem_ada/access/videos/projections";
const SHORT: Duration = Duration::from_millis(100);

/// A service whose webhook reads its body before anything else, and with routes that wait to be released.
struct Busy {
    world: Arc<World>,
    release: Arc<Notify>,
    running: JoinSet<Answer>,
}

impl Busy {
    async fn with(limits: RequestLimits) -> Self {
        let mut world = World::new().await;
        let release = Arc::new(Notify::new());
        let held = |release: &Arc<Notify>| {
            let release = release.clone();
            post(async move |_: Bytes| release.notified().await)
        };
        let others = Router::new()
            .route("/webhooks/test", post(async |body: Bytes| body.len().to_string()))
            .route("/webhooks/held", held(&release))
            .route("/others/held", held(&release))
            .route("/others/access/held", held(&release));
        let routes = crate::router(world.state.clone()).merge(others);
        world.app = crate::serve_shell(routes, world.state.clone(), Admission::new(limits));
        Self { world: Arc::new(world), release, running: JoinSet::new() }
    }

    /// Sends so many requests, which go on.
    async fn occupy(&mut self, count: usize, path: &'static str, body: impl Fn() -> Body) {
        for _ in 0..count {
            let (world, request) = (self.world.clone(), Request::post(path).body(body()).unwrap());
            self.running.spawn(async move { world.send(request).await });
        }
        // All of them run until they wait.
        sleep(SHORT).await;
    }

    async fn post(&self, path: &str, body: Body) -> Answer {
        self.world.send(Request::post(path).body(body).unwrap()).await
    }
}

/// A byte now and then, without an end.
struct Drip(Pin<Box<Sleep>>);

fn drip() -> Body {
    Body::new(Drip(Box::pin(sleep(Duration::ZERO))))
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::ready!(self.0.as_mut().poll(context));
        self.0 = Box::pin(sleep(Duration::from_millis(10)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

#[tokio::test]
async fn when_all_is_taken_access_checks_and_webhooks_still_have_room_and_others_are_refused() {
    let mut busy = Busy::with(RequestLimits { in_flight: 8, ..LIMITS }).await;
    busy.occupy(10, "/others/held", Body::empty).await;
    busy.post("/others/held", Body::empty()).await.problem(503, "overloaded");
    busy.world.get("/v1/support/deliveries").await.problem(503, "overloaded");
    busy.world.get(&format!("{ADA}?at=2026-01-01T00:00:00Z")).await.problem(503, "overloaded");
    // However the name of a field is written.
    busy.world.get(&format!("{ADA}?%61t=2026-01-01T00:00:00Z")).await.problem(503, "overloaded");
    busy.world.get(&format!("{ADA}?%73ession_id=cs_1")).await.problem(503, "overloaded");
    assert_eq!(busy.world.get(ADA).await.status, 200);
    let checks = r#"{"checks":[{"member":"mem_ada","video":"projections"}]}"#;
    assert_eq!(busy.world.post("/v1/access/check", checks).await.status, 200);
    assert_eq!(busy.post("/webhooks/test", Body::from("told")).await.text, "4");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(busy.world.get(path).await.status, 200, "{path}");
    }
    busy.release.notify_waiters();
    while let Some(answer) = busy.running.join_next().await {
        assert!([200, 503].contains(&answer.unwrap().status.as_u16()));
    }
    assert_eq!(busy.world.get("/v1/support/deliveries").await.status, 200, "there is room again");
}

#[tokio::test]
async fn where_what_takes_long_counts_as_an_access_check_it_shuts_access_checks_out() {
    let mut control = Busy::with(RequestLimits { in_flight: 8, ..LIMITS }).await;
    control.occupy(10, "/others/access/held", Body::empty).await;
    control.world.get(ADA).await.problem(503, "overloaded");
    assert_eq!(control.world.get("/v1/support/deliveries").await.status, 200);
    assert_eq!(control.world.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn webhooks_that_take_long_leave_room_for_access_checks() {
    let mut busy = Busy::with(RequestLimits { in_flight: 10, ..LIMITS }).await;
    busy.occupy(20, "/webhooks/held", || Body::from("x")).await;
    busy.post("/webhooks/test", Body::from("told")).await.problem(503, "overloaded");
    assert_eq!(busy.world.get(ADA).await.status, 200);
}

#[tokio::test]
async fn webhooks_that_trickle_in_take_no_room_from_others() {
    let mut busy = Busy::with(RequestLimits { in_flight: 10, arriving: 30, ..LIMITS }).await;
    busy.occupy(29, "/webhooks/test", drip).await;
    assert_eq!(busy.post("/webhooks/test", Body::from("told")).await.text, "4");
    assert_eq!(busy.world.get("/v1/support/deliveries").await.status, 200);
    busy.occupy(1, "/webhooks/test", drip).await;
    busy.post("/webhooks/test", Body::from("told")).await.problem(503, "overloaded");
    assert_eq!(busy.world.get("/v1/support/deliveries").await.status, 200);

    // Where a body takes a slot from the first, it is the others that are refused.
    let mut control = Busy::with(RequestLimits { in_flight: 10, ..LIMITS }).await;
    control.occupy(10, "/others/held", drip).await;
    control.world.get("/v1/support/deliveries").await.problem(503, "overloaded");
}

#[tokio::test]
async fn a_body_that_trickles_in_is_ended() {
    let busy = Busy::with(RequestLimits { body: SHORT, ..LIMITS }).await;
    busy.post("/webhooks/test", drip()).await.problem(408, "slow_body");
    let bearer = format!("Bearer {ALL}");
    let request = Request::post("/v1/access/check").header("authorization", bearer).body(drip()).unwrap();
    busy.world.send(request).await.problem(408, "slow_body");

    let mut control = Busy::with(LIMITS).await;
    control.occupy(1, "/webhooks/test", drip).await;
    sleep(3 * SHORT).await;
    assert!(control.running.try_join_next().is_none(), "it goes on");
}

#[tokio::test]
async fn what_takes_too_long_is_not_acknowledged() {
    let limits = RequestLimits { handling: SHORT, body: SHORT, ..LIMITS };
    let mut busy = Busy::with(limits).await;
    for (path, body) in [("/others/held", ""), ("/webhooks/held", "told")] {
        busy.post(path, Body::from(body)).await.problem(503, "took_too_long");
    }
    // The time that a body takes is not the handler's.
    busy.occupy(1, "/webhooks/test", drip).await;
    let answer = busy.running.join_next().await.unwrap().unwrap();
    answer.problem(408, "slow_body");
}

#[tokio::test]
async fn requests_that_wait_for_a_position_take_no_room_from_others_and_are_not_without_number() {
    let limits = RequestLimits { in_flight: 10, waiting: 20, ..LIMITS };
    let mut busy = Busy::with(limits).await;
    let bearer = format!("Bearer {ALL}");
    let ahead = |bearer: &str| {
        let request = Request::get(ADA).header("authorization", bearer);
        request.header("membership-position", "p-ffff").body(Body::empty()).unwrap()
    };
    for _ in 0..20 {
        let (world, request) = (busy.world.clone(), ahead(&bearer));
        busy.running.spawn(async move { world.send(request).await });
    }
    sleep(SHORT).await;
    busy.world.send(ahead(&bearer)).await.problem(503, "overloaded");
    assert_eq!(busy.world.get(ADA).await.status, 200);
    assert_eq!(busy.world.get("/v1/support/deliveries").await.status, 200);
    while let Some(answer) = busy.running.join_next().await {
        answer.unwrap().problem(503, "behind");
    }
}
