//! What questions about the past cost in a log of a million events, on both stores: to the projections, and to whoever asks the
//! real program over HTTP, with its pages.
//!
//! `make bench` runs this: it fills a store, has the member directory read it, asks, and then starts the program over it.
//! Nothing here decides whether tests pass. The SQLite file is some 2 GB large, in `TMPDIR`, and so is the throw-away cluster
//! of PostgreSQL, which runs without fsync. `EVENTS=20000` is a smaller log, `STORES=sqlite` only one of the two.

mod asking;
mod filling;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::clock::MovableClock;
use projections::directory::Directory;
use projections::runner::{follow, progress};
use storage::Access;
use tests::app::{Home, Store};

use crate::asking::{Questions, employ, over_http};
use crate::filling::{Filling, busy, fill, groups, now};

const EVENTS: u64 = 1_000_000;

/// What the environment says.
#[expect(clippy::disallowed_methods, reason = "benchmarks are told by the environment how to run")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

#[tokio::main]
async fn main() {
    let stores = setting("STORES");
    for store in [Store::Sqlite, Store::Postgres] {
        if stores.is_empty() || stores.contains(&format!("{store:?}").to_lowercase()) {
            on(store, setting("EVENTS").parse().unwrap_or(EVENTS).max(10_000)).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn on(store: Store, events: u64) {
    let (groups, busy) = (groups(events), busy(events));
    // The catalogue is the one that the store is filled with.
    let home = Home::new(store).await.with_accounts().with("CATALOG", "");
    employ(&home);
    let url = home.setting("DATABASE_URL").to_owned();
    let clock = Arc::new(MovableClock::standing_at(now()));
    let opened = storage::open(&url, Access::Draft, clock.clone()).await;
    let Ok(storage) = opened else { panic!("{url} cannot be made: {opened:?}") };

    let begun = Instant::now();
    let filling = Arc::new(Filling { storage, clock, deliveries: AtomicU64::new(0) });
    // SQLite's one writer takes many together; each of PostgreSQL's connections takes one.
    let at_once = if matches!(store, Store::Sqlite) { 128 } else { 32 };
    fill(&filling, &groups, &busy, at_once).await;
    let Ok(head) = filling.storage.feed.head().await else { panic!("the log has no end") };
    println!(
        "\n{store:?}: {} events of {} members and {} deliveries written in {:.0} s",
        head.get(),
        groups.iter().chain(&busy).map(|group| group.count).sum::<u64>(),
        filling.deliveries.load(Ordering::Relaxed),
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    let (report, directory) = progress();
    let (feed, views) = (filling.storage.feed.clone(), filling.storage.views.clone());
    let following = tokio::spawn(follow(feed, Directory::new(views), report));
    assert!(directory.wait_for(head, Duration::from_hours(1)).await, "the directory does not catch up");
    println!("read by the member directory in {:.0} s", begun.elapsed().as_secs_f64());

    println!("\n{:<34} {:<12} {:>9} {:>9}", "milliseconds", "member with", "median", "p99");
    Questions::to(&filling.storage, directory).ask(&groups, &busy).await;
    following.abort();
    filling.storage.shutdown().await;
    over_http(&home, &groups, &busy).await;
}
