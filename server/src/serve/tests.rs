//! What clients see that are slow, silent, too many or there when it stops. Each limit has a control that shows what
//! happens without it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Short, for what a test waits for.
const SHORT: Duration = Duration::from_millis(200);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);
/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(800);
/// Only what hangs comes to it.
const HANG: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// No limit but those that a test sets.
fn unlimited() -> Limits {
    let mut limits = Limits { connections: 100, ..Limits::default() };
    for limit in
        [&mut limits.head, &mut limits.unread, &mut limits.idle, &mut limits.age, &mut limits.leaving]
    {
        *limit = NEVER;
    }
    limits
}

/// A listener with some routes to be slow with.
struct Service {
    address: SocketAddr,
    /// Lets the answers of `/held` go.
    release: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Service {
    async fn with(limits: Limits) -> Self {
        let release = Arc::new(Notify::new());
        let held = release.clone();
        let problem = [(CONTENT_TYPE, "application/problem+json")];
        let routes = Router::new()
            .route("/", get(async || "answered"))
            .route("/large", get(async || vec![b'x'; 32 * 1024 * 1024]))
            .route("/refused", get(async move || (axum::http::StatusCode::CONFLICT, problem, "{}")))
            .route("/held", get(async move || drop((held.notified().await, Body::empty()))));
        let listener = listen((std::net::Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let ended = tokio::spawn(serve(listener, routes, limits, stopped));
        Self { address, release, stop, ended }
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    async fn asks(&self, request: &[u8]) -> Client {
        let mut client = self.client().await;
        client.send(request).await;
        client
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends a byte now and then for as long as it can.
    async fn drip(mut self, bytes: &'static [u8]) -> Ended {
        for byte in bytes.iter().cycle() {
            if self.0.write_all(&[*byte]).await.is_err() || self.is_closed_within(SHORT / 4).await {
                return Ended::Closed;
            }
        }
        Ended::Open
    }

    async fn is_closed_within(&mut self, time: Duration) -> bool {
        let mut byte = [0];
        // Closed with bytes of ours unread is a reset.
        timeout(time, self.0.read(&mut byte)).await.is_ok_and(|read| matches!(read, Ok(0) | Err(_)))
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(HANG, self.0.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "it is not closed after {:?}", String::from_utf8_lossy(&bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One answer to [`REQUEST`].
    async fn answer(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("answered") {
            let mut bytes = [0; 1024];
            let count = timeout(HANG, self.0.read(&mut bytes)).await.unwrap().unwrap();
            assert!(count > 0, "closed after {text:?}");
            text += &String::from_utf8_lossy(&bytes[..count]);
        }
        text
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    Open,
}

#[tokio::test]
async fn one_that_says_nothing_is_closed() {
    let service = Service::with(Limits { head: SHORT, ..unlimited() }).await;
    assert!(service.client().await.is_closed_within(HANG).await);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    assert_ne!(service.asks(preface).await.rest().await, "", "HTTP/2 begins");

    let control = Service::with(unlimited()).await;
    assert!(!control.client().await.is_closed_within(A_WHILE).await);
}

#[tokio::test]
async fn one_whose_head_trickles_in_is_closed() {
    let service = Service::with(Limits { head: SHORT, ..unlimited() }).await;
    let head = b"GET / HTTP/1.1\r\nx-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(timeout(HANG, service.client().await.drip(head)).await, Ok(Ended::Closed));
    let mut kept = service.asks(REQUEST).await;
    kept.answer().await;
    assert_eq!(timeout(HANG, kept.drip(head)).await, Ok(Ended::Closed), "a later head too");

    let control = Service::with(unlimited()).await;
    assert!(timeout(A_WHILE, control.client().await.drip(head)).await.is_err());
}

#[tokio::test]
async fn one_that_rests_is_closed_later_than_one_that_has_begun_a_head() {
    let service = Service::with(Limits { head: SHORT, ..unlimited() }).await;
    let mut kept = service.asks(REQUEST).await;
    kept.answer().await;
    assert!(!kept.is_closed_within(A_WHILE).await, "the limit of heads does not count between requests");
    kept.send(REQUEST).await;
    kept.answer().await;

    let service = Service::with(Limits { idle: SHORT, ..unlimited() }).await;
    let mut kept = service.asks(REQUEST).await;
    kept.answer().await;
    assert!(kept.is_closed_within(HANG).await);
}

#[tokio::test]
async fn one_that_does_not_read_is_closed() {
    let large = b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n";
    let service = Service::with(Limits { unread: SHORT, ..unlimited() }).await;
    let mut client = service.asks(large).await;
    sleep(A_WHILE).await;
    assert!(client.rest().await.len() < 32 * 1024 * 1024, "it was cut off");

    let control = Service::with(unlimited()).await;
    let mut client = control.asks(b"GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    sleep(A_WHILE).await;
    assert!(client.rest().await.len() > 32 * 1024 * 1024);
}

#[tokio::test]
async fn one_that_waits_for_its_answer_is_not_closed() {
    let limits = Limits { head: SHORT, idle: SHORT, unread: SHORT, ..unlimited() };
    let service = Service::with(limits).await;
    let mut client = service.asks(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(!client.is_closed_within(A_WHILE).await);
    service.release.notify_one();
    assert!(client.rest().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_connection_does_not_grow_old() {
    let service = Service::with(Limits { age: SHORT, ..unlimited() }).await;
    let mut client = service.asks(REQUEST).await;
    client.answer().await;
    assert!(client.is_closed_within(HANG).await);
    let stuck = Limits { age: SHORT, leaving: SHORT, ..unlimited() };
    let service = Service::with(stuck).await;
    let mut client = service.asks(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.rest().await, "", "one that does not leave is closed");
}

#[tokio::test]
async fn one_that_finds_no_room_is_told_and_those_that_rest_make_some() {
    let service = Service::with(Limits { connections: 2, ..unlimited() }).await;
    let mut busy = service.asks(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut resting = service.asks(REQUEST).await;
    resting.answer().await;
    let told = service.asks(REQUEST).await.rest().await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 1\r\n"), "{told}");
    assert!(told.contains("application/problem+json") && told.contains("too_many_connections"), "{told}");

    sleep(Duration::from_millis(1_500)).await;
    service.asks(REQUEST).await.rest().await;
    assert!(resting.is_closed_within(HANG).await, "it has made room");
    let mut next = service.asks(REQUEST).await;
    next.answer().await;
    assert!(!busy.is_closed_within(SHORT).await);
    service.release.notify_one();
    assert!(!busy.is_closed_within(SHORT).await, "an answer has come");
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_a_problem() {
    let service = Service::with(unlimited()).await;
    let long = format!("GET / HTTP/1.1\r\nx-long: {}\r\n\r\n", "a".repeat(64 * 1024));
    for (head, status, code) in [
        (b"NONSENSE\r\n\r\n".as_slice(), "400", "malformed_request"),
        (b"GET / HTTP/9.1\r\n\r\n", "400", "malformed_request"),
        (long.as_bytes(), "431", "head_too_large"),
    ] {
        let mut client = service.client().await;
        // It may be refused, and closed, before all of it is sent.
        client.0.write_all(head).await.ok();
        let mut bytes = Vec::new();
        while let Ok(1..) = client.0.read_buf(&mut bytes).await {}
        let told = String::from_utf8_lossy(&bytes);
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains(code), "{told}");
        assert!(told.contains("content-type: application/problem+json\r\n"), "{told}");
    }
    let own =
        service.asks(b"GET /refused HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.rest().await;
    assert!(own.ends_with("{}"), "an answer of the routes is left as it is: {own}");
}

#[tokio::test]
async fn stopping_finishes_what_was_begun_and_closes_the_rest_at_once() {
    let service = Service::with(Limits { drain: NEVER, ..unlimited() }).await;
    let mut busy = service.asks(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut resting = service.asks(REQUEST).await;
    resting.answer().await;
    let mut silent = service.client().await;
    let mut half = service.asks(b"GET / HTTP/1.1\r\nhost:").await;
    // All are seen before it stops.
    sleep(SHORT).await;
    service.stop.send(()).unwrap();
    for client in [&mut resting, &mut silent, &mut half] {
        assert_eq!(client.rest().await, "");
    }
    assert!(TcpStream::connect(service.address).await.is_err(), "nobody is accepted");
    assert!(!service.ended.is_finished());
    service.release.notify_one();
    assert!(busy.rest().await.starts_with("HTTP/1.1 200"));
    assert!(timeout(HANG, service.ended).await.is_ok());
}

#[tokio::test]
async fn stopping_does_not_wait_for_one_that_is_stuck() {
    let service = Service::with(Limits { drain: SHORT, ..unlimited() }).await;
    let mut stuck = service.asks(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    sleep(SHORT).await;
    service.stop.send(()).unwrap();
    assert!(timeout(HANG, service.ended).await.is_ok());
    assert_eq!(stuck.rest().await, "");
}
