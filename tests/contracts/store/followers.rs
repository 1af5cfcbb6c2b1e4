//! Followers of a log that many write to at once, on the server that takes the changes and on a standby of it. The control
//! follows as many do, by `position > last`, at the same time and on the same events, and has to miss some.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::ports::Position;
use sqlx::{Connection, Executor, PgConnection, Row};
use storage::{Access, Storage};
use tests::postgres::Cluster;
use tests::stripe::Dice;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{clock, follow, register};

const WRITERS: u64 = 8;
/// How long a transaction is held open at most after it has drawn its position, in thousandths of a millisecond.
const LONGEST_HOLD: usize = 5_000;
/// One transaction of so many is given up.
const GIVEN_UP: usize = 7;
/// How long followers may take to see the last event after it was written.
const PATIENCE: Duration = Duration::from_mins(2);

const APPEND: &str = "INSERT INTO events \
                      (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                      SELECT aggregate_type, $1, $2, event_type, event_version, payload, metadata FROM events \
                      WHERE aggregate_id = 'mem_first'";
const TRUTH: &str = "SELECT position, aggregate_id, sequence FROM events ORDER BY position";
const NAIVE: &str = "SELECT position FROM events WHERE position > $1 ORDER BY position";

type Seen = Vec<(Position, String, u64)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_on_the_primary_and_a_standby_see_every_event_once_and_in_order() {
    followers_among_writers(5_000).await;
}

async fn followers_among_writers(events: u64) {
    let primary = Cluster::start(&["synchronous_commit = on"]);
    let there = Arc::new(storage::open(&primary.url(), Access::Write, clock()).await.unwrap());
    register(&there, "mem_first").await;
    follow(&there, 1).await;
    let standby = primary.standby(&[]);
    let here = Arc::new(reading(&standby).await);

    let (written, _) = watch::channel(false);
    let followers = [
        ("primary", follower(Arc::clone(&there), &written), naive(&primary, &written)),
        ("standby", follower(Arc::clone(&here), &written), naive(&standby, &written)),
    ];
    let begun = Instant::now();
    let appended = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(primary.url(), writer, Arc::clone(&appended), events)))
        .collect();
    let mut given_up = 0;
    for writer in writers {
        given_up += writer.await.unwrap();
    }
    let took = begun.elapsed();
    // One more by the way that commands go; everybody has to get to it.
    let last = register(&there, "mem_last").await.position;
    written.send_replace(true);
    let truth = truth(&primary).await;
    assert!(truth.len() as u64 >= events, "{} events", truth.len());
    assert_eq!(truth.last().map(|(position, ..)| *position), Some(last));
    let count = truth.len();
    eprintln!("{count} events, {given_up} transactions given up, {took:.1?}");

    for (name, follower, control) in followers {
        let figures = Figures::of(&truth, &follower.await.unwrap());
        let missed_by_control = count - control.await.unwrap().len();
        eprintln!("{name}: {figures}; the control missed {missed_by_control} of {count}");
        assert_eq!(figures, Figures::default(), "{name}");
        assert!(missed_by_control * 100 >= count, "{name}: the load is too light to show anything");
    }
}

/// What was wrong with what a follower saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    missed: usize,
    doubled: usize,
    out_of_order: usize,
    out_of_stream_order: usize,
}

impl Figures {
    fn of(truth: &Seen, seen: &Seen) -> Self {
        let once: BTreeSet<_> = seen.iter().collect();
        let mut streams = BTreeMap::new();
        let mut follows = |(_, stream, sequence): &&(Position, String, u64)| {
            streams.insert(stream.clone(), *sequence).unwrap_or(0) + 1 == *sequence
        };
        Self {
            missed: truth.iter().filter(|event| !once.contains(event)).count(),
            doubled: seen.len() - once.len(),
            out_of_order: seen.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count(),
            out_of_stream_order: seen.len() - seen.iter().filter(|event| follows(event)).count(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missed, doubled, out_of_order, out_of_stream_order } = self;
        write!(f, "{missed} missed, {doubled} doubled, {out_of_order} out of order, ")?;
        write!(f, "{out_of_stream_order} out of the order of their stream")
    }
}

/// Appends one to three events to a stream in a transaction that is held open for a while, and gives some up. Says how many
/// it gave up.
async fn write(url: String, writer: u64, appended: Arc<AtomicU64>, events: u64) -> u64 {
    let mut dice = Dice::new(writer + 1);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let (mut given_up, mut sequence, stream) = (0, 0, format!("mem_writer_{writer}"));
    while appended.load(Ordering::Relaxed) < events {
        let count = 1 + i64::try_from(dice.below(3)).unwrap();
        let mut transaction = connection.begin().await.unwrap();
        for number in 1..=count {
            let append = sqlx::query(APPEND).bind(&stream).bind(sequence + number);
            transaction.execute(append).await.unwrap();
        }
        tokio::time::sleep(Duration::from_micros(dice.below(LONGEST_HOLD) as u64)).await;
        if dice.below(GIVEN_UP) == 0 {
            transaction.rollback().await.unwrap();
            given_up += 1;
        } else {
            transaction.commit().await.unwrap();
            sequence += count;
            appended.fetch_add(count.unsigned_abs(), Ordering::Relaxed);
        }
    }
    given_up
}

/// Follows the feed as a projection does, until everything is written and the last event has come.
fn follower(storage: Arc<Storage>, written: &watch::Sender<bool>) -> JoinHandle<Seen> {
    let written = written.subscribe();
    tokio::spawn(async move {
        let (mut seen, mut at, mut finished) = (Seen::new(), Position::START, None);
        loop {
            let page = storage.feed.read(at, 500).await.unwrap();
            assert!(page.next >= at, "the feed goes back from {at} to {}", page.next);
            at = page.next;
            let ended = page.events.iter().any(|event| event.aggregate_id == "mem_last");
            let events = page.events.into_iter();
            seen.extend(events.map(|event| (event.position, event.aggregate_id, event.sequence)));
            if ended {
                return seen;
            }
            if *written.borrow() {
                let since = *finished.get_or_insert_with(Instant::now);
                assert!(since.elapsed() < PATIENCE, "the last event does not come; {} came", seen.len());
            }
            storage.feed.changed(Duration::from_millis(50)).await;
        }
    })
}

/// The control. It goes on for a while after everything is written.
fn naive(cluster: &Cluster, written: &watch::Sender<bool>) -> JoinHandle<Vec<i64>> {
    let (url, written) = (cluster.url(), written.subscribe());
    tokio::spawn(async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let mut seen: Vec<i64> = Vec::new();
        let mut quiet = 0;
        while !*written.borrow() || quiet < 50 {
            let last = seen.last().copied().unwrap_or(0);
            let rows: Vec<i64> =
                sqlx::query_scalar(NAIVE).bind(last).fetch_all(&mut connection).await.unwrap();
            quiet = if rows.is_empty() { quiet + 1 } else { 0 };
            seen.extend(rows);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen
    })
}

async fn truth(cluster: &Cluster) -> Seen {
    let mut connection = PgConnection::connect(&cluster.url()).await.unwrap();
    let rows = sqlx::query(TRUTH).fetch_all(&mut connection).await.unwrap();
    let number = |row: &sqlx::postgres::PgRow, column: &str| row.get::<i64, _>(column).unsigned_abs();
    rows.iter()
        .map(|row| (Position::new(number(row, "position")), row.get("aggregate_id"), number(row, "sequence")))
        .collect()
}

async fn reading(standby: &Cluster) -> Storage {
    storage::open(&standby.url(), Access::Read, clock()).await.expect("a standby can be read")
}

/// A standby knows the sequence in steps that are ahead of the log, so whoever waited for its last number would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_standby_everything_can_be_read_up_to_its_head_and_nothing_written() {
    let primary = Cluster::start(&[]);
    let there = storage::open(&primary.url(), Access::Write, clock()).await.unwrap();
    for number in 0..5 {
        register(&there, &format!("mem_{number}")).await;
    }
    follow(&there, 5).await;
    let standby = primary.standby(&[]);
    let here = reading(&standby).await;
    register(&there, "mem_later").await;
    let seen = follow(&here, 6).await;
    assert_eq!(seen, follow(&there, 6).await);
    let head = here.feed.head().await.unwrap();
    assert_eq!(here.feed.read(seen[5].position, 10).await.unwrap().next, head, "the head can be reached");
    assert_eq!(head, there.feed.head().await.unwrap());
    here.healthy().await.unwrap();
    assert_eq!(here.feed.read_stream("member", "mem_later").await.unwrap().len(), 1);
    assert_eq!(here.views.dump("directory").await.unwrap().rows.len(), 0);
    assert_eq!(here.inbox.pending().await.unwrap(), 0);
    let refused = here.members.execute("mem_x", domain::member::MemberCommand::Register, super::context());
    assert!(refused.await.unwrap_err().to_string().contains("opened for reading, or it is a standby"));
    let error = storage::open(&standby.url(), Access::Write, clock()).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("standby"), "{error}");
}

mod long {
    use super::followers_among_writers;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "long: make soak"]
    async fn followers_on_the_primary_and_a_standby_see_100_000_events_once_and_in_order() {
        followers_among_writers(100_000).await;
    }
}
