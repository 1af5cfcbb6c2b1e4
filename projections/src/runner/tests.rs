use std::sync::Mutex;

use domain::metadata::Metadata;
use domain::ports::{Page, Recorded};
use serde_json::json;

use super::*;
use crate::access_index::{AccessIndex, IndexFollower, NotThere};

const HANG: Duration = Duration::from_mins(1);

/// A log in memory, whose events can be repaired.
#[derive(Default)]
struct Log(Mutex<Vec<Recorded>>);

impl Log {
    fn append(&self, kind: &str, id: &str, event: &str) -> Position {
        let mut log = self.0.lock().unwrap();
        let position = log.len() as u64 + 1;
        log.push(Recorded {
            position: Position::new(position),
            aggregate_type: kind.to_owned(),
            aggregate_id: id.to_owned(),
            sequence: position,
            event_type: event.to_owned(),
            event_version: "1".to_owned(),
            payload: json!({ "type": event }),
            metadata: Metadata::unknown(),
            garbled: None,
        });
        Position::new(position)
    }

    fn repair(&self) {
        for event in self.0.lock().unwrap().iter_mut() {
            event.payload = json!({ "type": "MemberRegistered" });
        }
    }
}

#[async_trait]
impl EventFeed for Log {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        let log = self.0.lock().unwrap();
        let events: Vec<_> = log.iter().filter(|event| event.position > after).take(limit).cloned().collect();
        Ok(Page { next: events.last().map_or(after, |last| last.position), events })
    }

    async fn read_stream(&self, kind: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        let log = self.0.lock().unwrap();
        let of_it = |event: &&Recorded| event.aggregate_type == kind && event.aggregate_id == id;
        Ok(log.iter().filter(of_it).cloned().collect())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(self.0.lock().unwrap().len() as u64))
    }

    async fn changed(&self, _at_most: Duration) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn followed() -> (Arc<Log>, Arc<AccessIndex>, Progress) {
    let (log, index) = (Arc::new(Log::default()), Arc::new(AccessIndex::default()));
    let (report, progress) = progress();
    tokio::spawn(follow(log.clone(), IndexFollower::new(index.clone()), report));
    (log, index, progress)
}

fn is_known(index: &AccessIndex, member: &str) -> bool {
    let at = chrono::DateTime::UNIX_EPOCH;
    index.check(&member.into(), "video", at) != Err(NotThere::Member)
}

#[tokio::test]
async fn a_log_that_goes_on_is_followed_past_an_event_that_cannot_be_read() {
    let (log, index, progress) = followed();
    assert!(progress.wait_for(Position::START, HANG).await);
    log.append("member", "mem_ada", "MemberRegistered");
    let poison = log.append("member", "mem_bob", "Teleported");
    log.append("starship", "ncc_1701", "Launched");
    log.append("member", "mem_bob", "MemberRegistered");
    let last = log.append("member", "mem_eve", "MemberRegistered");
    assert!(progress.wait_for(last, HANG).await);
    assert!(is_known(&index, "mem_ada") && is_known(&index, "mem_eve"));
    assert!(!is_known(&index, "mem_bob"), "what follows the event does not count");
    let parked = progress.parked();
    let shown: Vec<_> = parked.iter().map(|parked| parked.stream.to_string()).collect();
    assert_eq!(shown, ["member/mem_bob", "starship/ncc_1701"]);
    let bob = parked.iter().next().unwrap();
    assert_eq!(bob.position, poison);
    assert!(bob.why.contains("Teleported") && bob.why.contains("mem_bob"), "{}", bob.why);
    assert!(progress.degraded().is_none(), "the read model is as fresh as ever");
}

#[tokio::test]
async fn all_parked_streams_go_on_when_asked_once_they_can_be_read() {
    let (log, index, progress) = followed();
    let names: Vec<String> = (0..3 * AT_ONCE).map(|number| format!("mem_{number}")).collect();
    let mut last = Position::START;
    for name in &names {
        last = log.append("member", name, "Teleported");
    }
    assert!(progress.wait_for(last, HANG).await);
    assert_eq!(progress.parked().len(), names.len());
    log.repair();
    progress.redrive();
    let began = Instant::now();
    while !progress.parked().is_empty() {
        assert!(began.elapsed() < HANG, "{} streams still stand still", progress.parked().len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(names.iter().all(|name| is_known(&index, name)));
}

/// A log that is empty at first, and then grows faster than it can be read.
#[derive(Default)]
struct Endless(AtomicBool);

#[async_trait]
impl EventFeed for Endless {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        tokio::task::yield_now().await;
        if !self.0.swap(true, Ordering::SeqCst) {
            return Ok(Page { events: Vec::new(), next: after });
        }
        let (log, limit) = (Log::default(), limit as u64);
        for _ in 0..limit {
            log.append("member", "mem_ada", "MemberRegistered");
        }
        let mut events = log.0.into_inner().unwrap();
        for event in &mut events {
            event.position = Position::new(after.get() + event.position.get());
        }
        Ok(Page { events, next: Position::new(after.get() + limit) })
    }

    async fn read_stream(&self, _kind: &str, _id: &str) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::START)
    }

    async fn changed(&self, _at_most: Duration) {}
}

#[tokio::test]
async fn who_waits_for_a_position_does_not_wait_for_the_end_of_a_log_that_never_pauses() {
    let (report, progress) = progress();
    tokio::spawn(follow(Arc::new(Endless::default()), IndexFollower::new(Arc::default()), report));
    assert!(progress.wait_for(Position::new(3 * PAGE as u64), HANG).await);
}

/// A log whose events can be read some time after they were acknowledged.
struct Late {
    readable: AtomicU64,
}

const END: u64 = 5;

#[async_trait]
impl EventFeed for Late {
    async fn read(&self, _: Position, _: usize) -> Result<Page, StoreError> {
        let next = Position::new(self.readable.load(Ordering::SeqCst));
        Ok(Page { events: Vec::new(), next })
    }

    async fn read_stream(&self, _: &str, _: &str) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(END))
    }

    async fn changed(&self, _: Duration) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[derive(Default)]
struct Nothing(Position, ParkedStreams);

#[async_trait]
impl Projection for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    async fn checkpoint(&mut self) -> Result<Position, ProjectionError> {
        Ok(self.0)
    }

    fn parked(&self) -> &ParkedStreams {
        &self.1
    }

    async fn apply(&mut self, _: Batch, next: Position) -> Result<(), ProjectionError> {
        self.0 = next;
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_told_before_everything_is_read_that_was_acknowledged_before_the_start() {
    let feed = Arc::new(Late { readable: AtomicU64::new(END - 1) });
    let (report, progress) = progress();
    let following = tokio::spawn(follow(feed.clone(), Nothing::default(), report));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(progress.applied(), None);

    feed.readable.store(END, Ordering::SeqCst);
    assert!(progress.wait_for(Position::new(END), Duration::from_mins(1)).await);
    following.abort();
}
