//! More to do than there is room for: some is refused at once, and what must not be refused is not.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tests::app::{Home, Reply, Store, TestApp};
use tests::stripe::{FREE, event, now};
use tokio::task::JoinSet;

/// Shorter than the time that a request may take.
const HANDLED: Duration = Duration::from_secs(4);

/// A table that nobody can use for a while, so that whoever asks for it waits.
struct Stuck(PgConnection);

impl Stuck {
    async fn on(home: &Home, table: &str) -> Self {
        let mut connection = PgConnection::connect(home.setting("DATABASE_URL")).await.expect("it connects");
        connection.execute("BEGIN").await.expect("a transaction begins");
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        connection.execute(lock.as_str()).await.expect("the table is locked");
        Self(connection)
    }

    async fn end(mut self) {
        self.0.execute("ROLLBACK").await.expect("it ends");
    }
}

fn list_members(app: &TestApp) -> impl Future<Output = (StatusCode, Duration)> + use<> {
    let request = app.request(Method::GET, "/v1/members");
    async move {
        let begun = Instant::now();
        (request.send().await.expect("it is answered").status(), begun.elapsed())
    }
}

fn assert_overloaded(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(reply.header("retry-after"), Some("1"), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    assert_eq!(reply.body["code"], "overloaded", "{reply:?}");
    assert_eq!(reply.body["request_id"].as_str(), reply.header("x-request-id"), "{reply:?}");
}

#[tokio::test]
async fn when_the_store_is_stuck_access_checks_and_webhooks_are_answered_and_the_rest_is_refused_at_once() {
    let home = Home::new(Store::Postgres).await.with("MAX_IN_FLIGHT", "8");
    let app = home.serve().await;
    app.register("mem_ada").await;
    let stuck = Stuck::on(&home, "people").await;
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        waiting.spawn(list_members(&app));
    }
    let mut refusals = Vec::new();
    while refusals.len() < 9 {
        let (status, took) = waiting.join_next().await.expect("some go on").expect("it is asked");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        refusals.push(took);
    }
    // One waits, for as long as the database lets it. Access checks and webhooks have room of their own.
    for number in 0..5 {
        assert_eq!(app.check("mem_ada", FREE).await["allowed"], true);
        if number > 0 && begun.elapsed() >= HANDLED {
            break;
        }
        let asked = Instant::now();
        assert_overloaded(&app.get("/v1/members").await);
        refusals.push(asked.elapsed());
    }
    let checks = json!({ "checks": [{ "member": "mem_ada", "video": FREE }] });
    assert_eq!(app.send(Method::POST, "/v1/access/check", Some(&checks), "").await.status, StatusCode::OK);
    app.deliver(&event("evt_meanwhile", "invoice.paid", now(), &json!({}))).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(app.get(path).await.status, StatusCode::OK, "{path}");
    }
    refusals.sort();
    println!("refused after {:.2?} as a rule, {:?} at most", refusals[refusals.len() / 2], refusals.last());

    let in_time = begun.elapsed() < HANDLED;
    stuck.end().await;
    let answered = waiting.join_all().await;
    assert_eq!(answered.len(), 1);
    // On a very slow machine they may have been given up meanwhile.
    assert!(!in_time || answered.iter().all(|(status, _)| *status == StatusCode::OK), "{answered:?}");
    assert_eq!(app.get("/v1/members").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_kept_in_time_is_not_acknowledged_and_comes_again() {
    let home = Home::new(Store::Postgres).await;
    let app = home.serve().await;
    let stuck = Stuck::on(&home, "inbox").await;
    let late = event("evt_late", "invoice.paid", now(), &json!({})).to_string();
    let reply = app.post_signed(late.as_bytes()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    stuck.end().await;
    let reply = app.post_signed(late.as_bytes()).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    app.settled().await;
    assert_eq!(app.delivery("evt_late").await["id"], "evt_late");
}

/// Ten times what the service can do, from clients that do not wait for each other.
///
/// What it can do is limited by a database that takes its time, not by the processors, which the clients use too: every
/// message to the database waits a while on its way. So the figures hold on any machine that can send that many requests.
mod long {
    use std::fs;
    use std::path::Path;
    use std::sync::{Arc, Mutex, MutexGuard};

    use tests::app::TOKEN;
    use tests::raw::Raw;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{UnixListener, UnixStream};
    use tokio::time::{interval, sleep};

    use super::*;

    /// How long each message to the database is on its way.
    const DELAY: Duration = Duration::from_millis(100);
    const STEP: Duration = Duration::from_secs(5);
    const OVERLOAD: Duration = Duration::from_secs(20);
    const PATH: &str = "/v1/members?limit=1";

    /// What was answered in some time, and how fast: shortest first.
    #[derive(Default)]
    struct Measured {
        accepted: Vec<Duration>,
        refused: Vec<Duration>,
        rate: f64,
    }

    impl Measured {
        fn of(answers: Vec<(StatusCode, Duration)>, in_time: Duration) -> Self {
            let mut measured = Self::default();
            for (status, took) in answers {
                match status {
                    StatusCode::OK => measured.accepted.push(took),
                    StatusCode::SERVICE_UNAVAILABLE => measured.refused.push(took),
                    other => panic!("{other}"),
                }
            }
            measured.accepted.sort();
            measured.refused.sort();
            measured.rate =
                f64::from(u32::try_from(measured.accepted.len()).unwrap_or_default()) / in_time.as_secs_f64();
            measured
        }
    }

    fn at(took: &[Duration], percent: usize) -> Duration {
        took.get(took.len() * percent / 100).or(took.last()).copied().unwrap_or_default()
    }

    /// A way to the database that takes longer, on a thread of its own, so that the clients do not make it longer still.
    fn long_way(home: &Home) -> Home {
        let url = home.setting("DATABASE_URL").to_owned();
        let (base, folder) =
            url.split_once("?host=").expect("this needs the throw-away cluster: no TEST_DATABASE_URL");
        let (name, here) = (".s.PGSQL.5432", home.path("far"));
        fs::create_dir_all(&here).expect("the folder can be made");
        let (socket, database) = (here.join(name), Path::new(folder).join(name));
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let listener = UnixListener::bind(socket).expect("the socket can be made");
                ready.send(()).expect("somebody waits for this");
                while let Ok((near, _)) = listener.accept().await {
                    let far = UnixStream::connect(&database).await.expect("the database listens");
                    let (from_near, to_near) = near.into_split();
                    let (from_far, to_far) = far.into_split();
                    tokio::spawn(carry(from_near, to_far, DELAY));
                    tokio::spawn(carry(from_far, to_near, Duration::ZERO));
                }
            });
        });
        is_ready.recv().expect("the thread runs");
        home.clone().with("DATABASE_URL", &format!("{base}?host={}", here.display()))
    }

    async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            sleep(delay).await;
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }

    /// The service, and connections to it that nobody uses at the moment.
    #[derive(Clone)]
    struct Clients {
        app: Arc<TestApp>,
        idle: Arc<Mutex<Vec<Raw>>>,
    }

    impl Clients {
        fn idle(&self) -> MutexGuard<'_, Vec<Raw>> {
            self.idle.lock().expect("nobody panics with it")
        }

        async fn ask(self) -> (StatusCode, Duration) {
            let begun = Instant::now();
            let idle = self.idle().pop();
            let mut client = match idle {
                Some(client) => client,
                None => Raw::to(&self.app).await.expect("there is room"),
            };
            let request =
                format!("GET {PATH} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
            client.send(request).await.expect("it is sent");
            let answer = client.hear().await.expect("it is answered");
            let took = begun.elapsed();
            self.idle().push(client);
            let status = answer.get(9..12).and_then(|status| status.parse().ok());
            (status.unwrap_or_else(|| panic!("{answer}")), took)
        }
    }

    /// So many clients, each of which waits for its answer before it asks again.
    async fn closed_loop(all: &Clients, clients: usize) -> Measured {
        let mut running = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..clients {
            let all = all.clone();
            running.spawn(async move {
                let mut answers = Vec::new();
                while begun.elapsed() < STEP {
                    answers.push(all.clone().ask().await);
                }
                answers
            });
        }
        let answers = running.join_all().await.into_iter().flatten().collect();
        Measured::of(answers, begun.elapsed())
    }

    /// So many requests a second, whatever becomes of them.
    async fn open_loop(all: &Clients, rate: f64, time: Duration) -> Measured {
        let (mut running, begun) = (JoinSet::new(), Instant::now());
        let mut ticks = interval(Duration::from_millis(5));
        let mut sent = 0.0;
        while begun.elapsed() < time {
            ticks.tick().await;
            while sent < begun.elapsed().as_secs_f64() * rate {
                running.spawn(all.clone().ask());
                sent += 1.0;
            }
        }
        Measured::of(running.join_all().await, begun.elapsed())
    }

    fn resident(app: &TestApp) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or_default()
    }

    /// What access checks, webhooks and health take meanwhile.
    async fn meanwhile(app: Arc<TestApp>) -> [Vec<Duration>; 3] {
        let [mut checks, mut webhooks, mut health] = [const { Vec::new() }; 3];
        let begun = Instant::now();
        for number in 0_u32.. {
            if begun.elapsed() >= OVERLOAD {
                break;
            }
            let asked = Instant::now();
            app.check("mem_ada", FREE).await;
            checks.push(asked.elapsed());
            let asked = Instant::now();
            let body = event(&format!("evt_{number}"), "invoice.paid", now(), &json!({})).to_string();
            if app.post_signed(body.as_bytes()).await.status == StatusCode::OK {
                webhooks.push(asked.elapsed());
            }
            let asked = Instant::now();
            let mut client = Raw::to(&app).await.expect("there is room");
            client.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("it is sent");
            client.hear().await.expect("it is answered");
            health.push(asked.elapsed());
        }
        [&mut checks, &mut webhooks, &mut health].map(|took| {
            took.sort();
            std::mem::take(took)
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "long: make soak"]
    async fn ten_times_too_much_hardly_slows_what_is_let_in() {
        let home = Home::new(Store::Postgres).await;
        let app = Arc::new(long_way(&home).serve().await);
        app.register("mem_ada").await;
        let all = Clients { app: app.clone(), idle: Arc::default() };
        let mut steps = Vec::new();
        for clients in [8, 16, 24, 32] {
            let step = closed_loop(&all, clients).await;
            println!("{clients} clients: {:.0}/s, p99 {:.1?}", step.rate, at(&step.accepted, 99));
            steps.push(step);
        }
        let most = steps.iter().map(|step| step.rate).fold(0.0, f64::max);
        let peak = steps.into_iter().find(|step| step.rate >= 0.95 * most).expect("one is the best");
        let (usual, before) = (at(&peak.accepted, 99), resident(&app));
        println!("peak: {:.0}/s, p99 {usual:.1?}", peak.rate);

        let beside = tokio::spawn(meanwhile(app.clone()));
        let over = open_loop(&all, 10.0 * peak.rate, OVERLOAD).await;
        let [checks, webhooks, health] = beside.await.expect("they are answered");
        let offered = over.accepted.len() + over.refused.len();
        let growth = (resident(&app).saturating_sub(before)) * 100 / before.max(1);
        println!("10x: {offered} asked, {} answered, {} refused", over.accepted.len(), over.refused.len());
        println!("goodput {:.0} % of the peak (to be >= 90)", over.rate / peak.rate * 100.0);
        let slower = at(&over.accepted, 99).as_secs_f64() / usual.as_secs_f64();
        println!(
            "answered p99 {:.1?}, {slower:.1} times that at the peak (to be <= 3)",
            at(&over.accepted, 99)
        );
        println!(
            "refused p50 {:.2?}, p99 {:.2?} (to be < 5 ms)",
            at(&over.refused, 50),
            at(&over.refused, 99)
        );
        println!("memory +{growth} % (to be <= 20)");
        for (what, took) in [("access check", checks), ("webhook", webhooks), ("health", health)] {
            println!("{what} meanwhile: {} answered, p99 {:.1?}", took.len(), at(&took, 99));
        }
        sleep(Duration::from_secs(5)).await;
        let after = open_loop(&all, peak.rate / 2.0, STEP).await;
        println!(
            "5 s later, at half the peak: p99 {:.1?}, {} refused",
            at(&after.accepted, 99),
            after.refused.len()
        );

        // Half of what it should be, for machines that others use too.
        assert!(over.rate >= 0.45 * peak.rate, "{:.0}/s of {:.0}/s", over.rate, peak.rate);
        assert!(over.refused.len() > over.accepted.len(), "it was not too much");
        assert!(growth <= 50, "memory grew by {growth} %");
        assert_eq!(after.refused.len(), 0);
    }
}
