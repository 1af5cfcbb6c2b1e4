//! The power goes, again and again: what was acknowledged is there, nothing is there twice, and the answers are those of the
//! log.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::app::Store;
use tests::crash::{Plan, Report, kill_often, places};
use tests::on_every_store;

use crate::{cut_off, erasing};

/// How often the program is killed in the short form; on PostgreSQL a cycle takes longer.
fn kills(store: Store) -> usize {
    if store == Store::Sqlite { 60 } else { 40 }
}

fn plan(homes: usize, kills: usize) -> Plan {
    Plan { seed: seed(), homes, kills: kills / homes, sabotage: None }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment how to run")]
fn seed() -> u64 {
    std::env::var("CRASH_SEED").map_or(7, |seed| seed.parse().expect("CRASH_SEED is a number, such as 7"))
}

#[expect(clippy::print_stdout, reason = "the figures are half of the result")]
fn show(figures: &str) {
    println!("{figures}");
}

async fn nothing_is_lost(store: Store, plan: Plan) {
    let report = kill_often(store, plan).await;
    show(&format!("{store:?}: {report}"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.kills(), plan.homes * plan.kills);
    for (place, _) in places(store) {
        assert!(report.at_places.contains_key(place), "it was never killed at {place}\n{report}");
    }
}

/// The program is broken in a way in which a crash loses something: this very test has to see it.
async fn is_found(store: Store, sabotage: &'static str) -> Report {
    let report = kill_often(store, Plan { sabotage: Some(sabotage), ..plan(1, 8) }).await;
    show(&format!("{store:?} with {sabotage}: {report}"));
    assert!(!report.lost.is_empty(), "nobody noticed\n{report}");
    report
}

on_every_store! {
    async fn whatever_was_acknowledged_outlives_every_kill_and_happens_once(store: Store) {
        nothing_is_lost(store, plan(2, kills(store))).await;
    }

    async fn a_program_that_acknowledges_before_it_stores_is_caught(store: Store) {
        let report = is_found(store, "sabotage::acknowledge_first").await;
        assert!(report.lost.iter().any(|lost| lost.ends_with("is not in the inbox")), "{report}");
    }

    async fn a_program_that_marks_deliveries_before_it_carries_them_out_is_caught(store: Store) {
        let report = is_found(store, "sabotage::settle_first").await;
        assert!(report.lost.iter().any(|lost| lost.ends_with("changed nothing")), "{report}");
    }
}

#[test]
fn the_program_is_killed_at_every_failpoint_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources =
        ["api", "projections", "server", "storage", "webhook-ingest"].map(|name| root.join(name).join("src"));
    let mut written = BTreeSet::new();
    let mut open = sources.to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let named = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        written.extend(named.map(str::to_owned));
    }
    let killed_at = [Store::Sqlite, Store::Postgres].into_iter().flat_map(places);
    let killed_at = killed_at.map(|(place, _)| place).chain(erasing::places()).chain(cut_off::places());
    let killed_at: BTreeSet<_> = killed_at.map(str::to_owned).collect();
    assert_eq!(written, killed_at);
}

// A third sabotage, SQLite with `synchronous = OFF`, would be no control: what a dead process had written to the file is with
// the kernel, which did not die. Only a machine that loses its power can tell.

mod long {
    use super::*;

    const KILLS: usize = 500;
    const HOMES: usize = 20;

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn five_hundred_kills_on_sqlite() {
        nothing_is_lost(Store::Sqlite, plan(HOMES, KILLS)).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn five_hundred_kills_on_postgres() {
        nothing_is_lost(Store::Postgres, plan(HOMES, KILLS)).await;
    }
}
