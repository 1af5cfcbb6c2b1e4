//! The log in order, read while it grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::member::MemberCommand;
use domain::ports::{CommandError, Page, Position, StoreError};
use sqlx::{Connection, Executor, PgConnection, Row};
use storage::Storage;

use super::{Place, checkout, context, follow, on_both, register};

on_both! {
    an_empty_log_has_no_events_and_ends_at_its_start,
    pages_follow_each_other_without_a_gap,
    a_stream_holds_the_events_of_one_aggregate_only,
    an_event_that_is_garbled_is_handed_out_as_such_and_takes_no_other_with_it,
    a_follower_is_woken_by_an_event,
    a_wait_without_an_event_ends_in_time,
    an_event_can_be_read_soon_after_its_command_returned,
    a_follower_among_concurrent_writers_sees_every_event_once_and_in_order,
}

async fn an_empty_log_has_no_events_and_ends_at_its_start(place: Place) {
    let storage = place.open().await;
    let page = storage.feed.read(Position::START, 10).await.unwrap();
    assert_eq!(page, Page { events: Vec::new(), next: Position::START });
    assert_eq!(storage.feed.head().await.unwrap(), Position::START);
    assert!(storage.feed.read_stream("member", "mem_ada").await.unwrap().is_empty());
}

async fn pages_follow_each_other_without_a_gap(place: Place) {
    let storage = place.open().await;
    for number in 0..25 {
        register(&storage, &format!("mem_{number}")).await;
    }
    let all = follow(&storage, 25).await;
    assert!(all.is_sorted_by(|earlier, later| earlier.position < later.position), "strictly");
    let head = storage.feed.head().await.unwrap();
    assert!(head >= all[24].position);

    let mut at = Position::START;
    for expected in all.chunks(10) {
        let page = storage.feed.read(at, 10).await.unwrap();
        assert_eq!(page.events, expected);
        if expected.len() == 10 {
            assert_eq!(page.next, expected[9].position, "a full page goes on from its last event");
        } else {
            assert_eq!(page.next, head, "a page with room left goes on from the end of the log");
        }
        at = page.next;
    }
    assert_eq!(storage.feed.read(at, 10).await.unwrap(), Page { events: Vec::new(), next: head });
    let exact = storage.feed.read(Position::START, 25).await.unwrap();
    assert_eq!((exact.events.len(), exact.next), (25, all[24].position));
}

async fn a_stream_holds_the_events_of_one_aggregate_only(place: Place) {
    let storage = place.open().await;
    for step in 0..3 {
        for member in ["mem_ada", "mem_bob"] {
            storage.members.execute(member, checkout(&format!("cs_{step}")), context()).await.unwrap();
        }
    }
    let stream = storage.feed.read_stream("member", "mem_bob").await.unwrap();
    assert_eq!(stream.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(stream.iter().all(|event| event.aggregate_id == "mem_bob"));
    assert!(stream.is_sorted_by(|earlier, later| earlier.position < later.position));
    assert!(storage.feed.read_stream("customer", "mem_bob").await.unwrap().is_empty());
}

async fn an_event_that_is_garbled_is_handed_out_as_such_and_takes_no_other_with_it(place: Place) {
    let storage = place.open().await;
    register(&storage, "mem_ada").await;
    let columns =
        "events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)";
    let mut garbled = vec![("mem_bob", "'{\"type\": \"MemberRegistered\"}'", "'{}'")];
    if let Place::Sqlite(_) = place {
        garbled.push(("mem_eve", "'{\"type\": '", "'{}'"));
    }
    for (member, payload, metadata) in &garbled {
        let values = format!("'member', '{member}', 1, 'MemberRegistered', '1', {payload}, {metadata}");
        place.execute(&format!("INSERT INTO {columns} VALUES ({values})")).await.unwrap();
    }
    register(&storage, "mem_fay").await;
    let all = follow(&storage, garbled.len() + 2).await;
    let whole = |member: &str| {
        all.iter().find(|event| event.aggregate_id == member).map(|event| event.garbled.is_none())
    };
    assert_eq!((whole("mem_ada"), whole("mem_fay")), (Some(true), Some(true)));
    for (member, ..) in garbled {
        assert_eq!(whole(member), Some(false), "{member}");
        let stream = storage.feed.read_stream("member", member).await.unwrap();
        let read = domain::events::Event::read(&stream[0], &[]);
        assert!(read.as_ref().is_err_and(|why| why.to_string().contains(member)), "{read:?}");
    }
    let told = storage.members.execute("mem_eve", MemberCommand::Register, context()).await;
    let refused =
        matches!(&told, Err(CommandError::Store(StoreError::Corrupt(why))) if why.contains("mem_eve"));
    assert_eq!(refused, matches!(place, Place::Sqlite(_)), "{told:?}");
}

async fn a_follower_is_woken_by_an_event(place: Place) {
    let storage = Arc::new(place.open().await);
    let feed = Arc::clone(&storage.feed);
    let waiting = tokio::spawn(async move {
        let begun = Instant::now();
        while feed.read(Position::START, 1).await.unwrap().events.is_empty() {
            feed.changed(Duration::from_secs(30)).await;
        }
        begun.elapsed()
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    register(&storage, "mem_ada").await;
    assert!(waiting.await.unwrap() < Duration::from_secs(10));
}

async fn a_wait_without_an_event_ends_in_time(place: Place) {
    let storage = place.open().await;
    let begun = Instant::now();
    storage.feed.changed(Duration::from_millis(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

async fn an_event_can_be_read_soon_after_its_command_returned(place: Place) {
    let storage = place.open().await;
    let begun = Instant::now();
    for number in 0..50 {
        let position = register(&storage, &format!("mem_{number}")).await.position;
        while storage.feed.head().await.unwrap() < position {
            storage.feed.changed(Duration::from_secs(1)).await;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "50 times took {:?}", begun.elapsed());
}

async fn a_follower_among_concurrent_writers_sees_every_event_once_and_in_order(place: Place) {
    const WRITERS: usize = 8;
    const EACH: usize = 50;
    let storage = Arc::new(place.open().await);
    let followers: Vec<_> = (0..2)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { follow(&storage, WRITERS * EACH).await })
        })
        .collect();
    let writing: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&storage), writer, EACH))).collect();
    for writer in writing {
        writer.await.unwrap();
    }
    for follower in followers {
        let seen = follower.await.unwrap();
        assert_eq!(seen.len(), WRITERS * EACH);
        assert!(seen.is_sorted_by(|earlier, later| earlier.position < later.position));
        let ids: BTreeSet<_> = seen.iter().map(|event| (&event.aggregate_id, event.sequence)).collect();
        assert_eq!(ids.len(), seen.len(), "none twice");
        let mut streams = BTreeMap::new();
        for event in &seen {
            let last = streams.entry(&event.aggregate_id).or_insert(0);
            assert_eq!(event.sequence, *last + 1, "in the order of its stream");
            *last = event.sequence;
        }
    }
}

/// Some events on an aggregate of one's own, some on one shared by all.
async fn write(storage: Arc<Storage>, writer: usize, count: usize) {
    for step in 0..count {
        let member = if step % 5 == 0 { "mem_shared".to_owned() } else { format!("mem_{writer}") };
        let command = checkout(&format!("cs_{writer}_{step}"));
        storage.members.execute(&member, command, context()).await.unwrap();
    }
}

/// Why there is a watermark: the control reads as many do, and passes by an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_transaction_still_open_is_not_passed_by() {
    const NAIVE: &str = "SELECT position, aggregate_id FROM events WHERE position > $1 ORDER BY position";
    const APPEND: &str = "INSERT INTO events \
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
        SELECT 'member', 'mem_slow', 1, event_type, event_version, payload, metadata FROM events LIMIT 1";
    let place = Place::postgres().await;
    let storage = Arc::new(place.open().await);
    register(&storage, "mem_first").await;
    let first = follow(&storage, 1).await[0].position;

    let mut slow = PgConnection::connect(&place.url()).await.unwrap();
    let mut open = slow.begin().await.unwrap();
    open.execute(APPEND).await.unwrap();
    let later = register(&storage, "mem_later").await.position;
    assert!(later > first);

    let mut control = PgConnection::connect(&place.url()).await.unwrap();
    let seen = sqlx::query(NAIVE).bind(1_i64).fetch_all(&mut control).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].get::<String, _>("aggregate_id"), "mem_later");
    let last: i64 = seen[0].get("position");

    tokio::time::sleep(Duration::from_millis(100)).await;
    let page = storage.feed.read(first, 10).await.unwrap();
    assert_eq!(page.events, [], "the feed waits for the open transaction");
    assert!(page.next < later);

    open.commit().await.unwrap();
    let missed = sqlx::query(NAIVE).bind(last).fetch_all(&mut control).await.unwrap();
    assert!(missed.is_empty(), "the control never sees mem_slow");
    let ids: Vec<_> = follow(&storage, 3).await.into_iter().map(|event| event.aggregate_id).collect();
    assert_eq!(ids, ["mem_first", "mem_slow", "mem_later"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_a_transaction_given_up_hold_nobody_up() {
    let place = Place::postgres().await;
    let storage = place.open().await;
    register(&storage, "mem_first").await;
    let mut connection = PgConnection::connect(&place.url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let append = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
                  VALUES ('member', 'mem_none', 1, 'T', '1', '{}', '{}')";
    transaction.execute(append).await.unwrap();
    transaction.rollback().await.unwrap();
    let position = register(&storage, "mem_later").await.position;
    assert_eq!(position, Position::new(3));
    assert_eq!(follow(&storage, 2).await[1].position, position);
}

/// Each process has a sequencer; they do not disturb each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_in_several_processes_see_the_events_of_all() {
    let place = Place::postgres().await;
    let processes = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let followers: Vec<_> = processes
        .iter()
        .map(|process| {
            let process = Arc::clone(process);
            tokio::spawn(async move { follow(&process, 200).await })
        })
        .collect();
    let writers: Vec<_> = processes
        .iter()
        .enumerate()
        .map(|(writer, process)| tokio::spawn(write(Arc::clone(process), writer, 100)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = Vec::new();
    for follower in followers {
        seen.push(follower.await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sequencer_outlives_a_lost_connection() {
    let place = Place::postgres().await;
    let storage = place.open().await;
    register(&storage, "mem_ada").await;
    follow(&storage, 1).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    place.execute(cut).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    register(&storage, "mem_bob").await;
    assert_eq!(follow(&storage, 2).await.len(), 2);
    storage.healthy().await.unwrap();
}
