//! What an access check and the fold of an event cost, and what a membership weighs in memory.
//! `make bench` runs this; nothing here decides whether tests pass.

use std::fs;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use divan::Bencher;
use domain::catalog::{Catalog, CatalogCommand, decide, evolve};
use domain::ids::MemberId;
use domain::metadata::Metadata;
use domain::ports::{Position, Recorded};
use domain::subscription::{Anchors, Item, Standing, Status, Terms};
use projections::access_index::{AccessIndex, IndexFollower, decode};
use projections::parked::{Batch, ParkedStreams};
use projections::runner::Projection;
use projections::view_store::DirectoryRow;
use server::{catalog_file, metrics};

const MEMBERS: u32 = 1_000_000;
const CATALOG: &str = include_str!("../../server/src/demo/catalog.toml");

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap_or_default()
}

fn member(number: u32) -> MemberId {
    let [a, b, c, d] = number.to_be_bytes();
    MemberId::generate(now(), [a, b, c, d, 0, 0, 0, 0, 0, 0])
}

fn standing(number: u32) -> Standing {
    let plan = if number.is_multiple_of(3) { "pro" } else { "basic" };
    Standing {
        terms: Terms {
            items: vec![Item {
                price: Some(format!("price_demo_{plan}_month").into()),
                product: None,
                period_end: Some(now()),
            }],
            plans: vec![plan.into()],
            started_at: Some(now()),
            period_end: Some(now()),
            ..Terms::new(format!("cus_{number:014}").into(), Status::Active)
        },
        anchors: Anchors { plans: vec![plan.into()], ..Anchors::default() },
    }
}

fn put(index: &AccessIndex, number: u32) {
    let (member, position) = (member(number), Position::new(u64::from(number)));
    let standing = Box::new(standing(number));
    let customer = standing.terms.customer.clone();
    index.put(&DirectoryRow::Member { member: member.clone(), registered_at: now(), position });
    index.put(&DirectoryRow::Customer { customer, member, linked: true, position });
    let subscription = format!("sub_{number:024}").into();
    index.put(&DirectoryRow::Subscription { subscription, standing, position });
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let content = catalog_file::parse(CATALOG).unwrap_or_default();
    let command = CatalogCommand::Apply(Box::new(content));
    for event in decide(&Catalog::default(), command).unwrap_or_default() {
        evolve(&mut catalog, &event);
    }
    catalog
}

static INDEX: LazyLock<AccessIndex> = LazyLock::new(|| {
    let index = AccessIndex::default();
    index.set_catalog(catalog());
    for number in 0..MEMBERS {
        put(&index, number);
    }
    index
});

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4_096
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    let before = resident();
    LazyLock::force(&INDEX);
    let weight = (resident() - before) / u64::from(MEMBERS);
    println!("{MEMBERS} memberships in the index: {weight} bytes each (resident)");
    println!("in its file: {} bytes each", FILE.len() / MEMBERS as usize);
    divan::main();
}

#[divan::bench]
fn check_one_of_a_million_members(bencher: Bencher) {
    let members: Vec<MemberId> = (0..10_000).map(|number| member(number * 97)).collect();
    let mut next = members.iter().cycle();
    bencher.bench_local(move || next.next().map(|member| INDEX.check(member, "projections", now())));
}

/// The index of a million members as the file that it is kept in.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let index = Arc::new(AccessIndex::default());
    index.set_catalog(catalog());
    for number in 0..MEMBERS {
        put(&index, number);
    }
    let event = Recorded {
        position: Position::new(1),
        aggregate_type: "member".to_owned(),
        aggregate_id: "mem_last".to_owned(),
        sequence: 1,
        event_type: "MemberRegistered".to_owned(),
        event_version: "1".to_owned(),
        payload: serde_json::json!({ "type": "MemberRegistered" }),
        metadata: Metadata::unknown(),
        garbled: None,
    };
    let batch = Batch::read(vec![event], &ParkedStreams::default(), &[]);
    let mut follower = IndexFollower::new(index.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let taken_in = runtime.map(|runtime| runtime.block_on(follower.apply(batch, Position::new(1))));
    assert!(matches!(taken_in, Ok(Ok(()))), "the last event is taken in");
    index.snapshot().unwrap_or_default()
});

#[divan::bench(sample_count = 5, sample_size = 1)]
fn read_a_million_members_from_the_file(bencher: Bencher) {
    LazyLock::force(&FILE);
    bencher.bench_local(|| {
        let index = Arc::new(AccessIndex::default());
        decode(&FILE).map(|snapshot| IndexFollower::resume(index, snapshot)).ok()
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn write_a_million_members_to_the_file(bencher: Bencher) {
    let index = Arc::new(AccessIndex::default());
    let read = decode(&FILE).map(|snapshot| IndexFollower::resume(index.clone(), snapshot));
    assert!(read.is_ok(), "the file can be read");
    bencher.bench_local(|| index.snapshot());
}

#[divan::bench]
fn check_one_of_a_million_members_and_count_the_answer(bencher: Bencher) {
    metrics::install();
    let members: Vec<MemberId> = (0..10_000).map(|number| member(number * 97)).collect();
    let mut next = members.iter().cycle();
    bencher.bench_local(move || {
        let checked = next.next().map(|member| INDEX.check(member, "projections", now()));
        if let Some(Ok(checked)) = &checked {
            metrics::decided(&checked.decision);
        }
        checked
    });
}

#[divan::bench]
fn take_in_a_changed_subscription(bencher: Bencher) {
    let mut numbers = (0..MEMBERS).step_by(97).cycle();
    bencher
        .with_inputs(|| {
            let number = numbers.next().unwrap_or_default();
            DirectoryRow::Subscription {
                subscription: format!("sub_{number:024}").into(),
                standing: Box::new(standing(number)),
                position: Position::START,
            }
        })
        .bench_local_refs(|row| INDEX.put(row));
}
