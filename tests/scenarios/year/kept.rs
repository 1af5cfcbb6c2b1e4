//! Decisions that earlier builds gave, with the events that they had then: each build has to explain them as they were given.
//! See `tests/scenarios/kept_decisions/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::app::{Home, Store};

use super::Plan;
use super::decisions::GivenAgain;
use super::living::Year;

const COLUMNS: &str =
    "position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata";

/// A log that was written once, and decisions that were given from it.
struct Sample {
    name: String,
    events: Vec<Value>,
    decisions: Vec<Value>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/kept_decisions")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn samples() -> Vec<Sample> {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".events.ndjson")?.to_owned())).collect();
    names.sort_unstable();
    let read = |name: &String, what: &str| lines(&folder().join(format!("{name}.{what}.ndjson")));
    names
        .into_iter()
        .map(|name| Sample { events: read(&name, "events"), decisions: read(&name, "decisions"), name })
        .collect()
}

/// The kinds of stored events that there are.
fn kinds<'e>(events: impl IntoIterator<Item = &'e Value>) -> BTreeSet<String> {
    let kind = |event: &Value| format!("{} {}", event["event_type"], event["event_version"]);
    events.into_iter().map(kind).collect()
}

/// The log of a place as it is stored.
fn log(home: &Home) -> Vec<Value> {
    let file = rusqlite::Connection::open(home.path("membership.db")).unwrap();
    let mut statement = file.prepare(&format!("SELECT {COLUMNS} FROM events ORDER BY position")).unwrap();
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(json!({
            "position": row.get::<_, i64>(0)?, "aggregate_type": row.get::<_, String>(1)?,
            "aggregate_id": row.get::<_, String>(2)?, "sequence": row.get::<_, i64>(3)?,
            "event_type": row.get::<_, String>(4)?, "event_version": row.get::<_, String>(5)?,
            "payload": json(row.get(6)?), "metadata": json(row.get(7)?),
        }))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Writes a log that was kept into a place whose program has never run.
fn write(home: &Home, events: &[Value]) {
    let file = rusqlite::Connection::open(home.path("membership.db")).unwrap();
    file.execute_batch("BEGIN").unwrap();
    let insert = format!("INSERT INTO events ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    let mut insert = file.prepare(&insert).unwrap();
    for event in events {
        let (text, number) = (|field: &str| event[field].as_str(), |field: &str| event[field].as_i64());
        let (payload, metadata) = (event["payload"].to_string(), event["metadata"].to_string());
        let values = rusqlite::params![
            number("position"),
            text("aggregate_type"),
            text("aggregate_id"),
            number("sequence"),
            text("event_type"),
            text("event_version"),
            payload,
            metadata,
        ];
        insert.execute(values).unwrap();
    }
    file.execute_batch("COMMIT").unwrap();
}

/// Keeps one more sample, under a name that is not taken.
fn keep(events: &[Value], decisions: &[Value]) {
    let name = format!("{:04}", samples().len() + 1);
    for (what, values) in [("events", events), ("decisions", decisions)] {
        let path = folder().join(format!("{name}.{what}.ndjson"));
        assert!(!path.exists(), "{} is never written again", path.display());
        let lines: Vec<String> = values.iter().map(Value::to_string).collect();
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }
}

#[tokio::test]
async fn decisions_of_earlier_builds_are_explained_as_they_were_given() {
    let samples = samples();
    assert!(!samples.is_empty());
    for Sample { name, events, decisions } in samples {
        let home = Home::new(Store::Sqlite).await.with("CATALOG", "");
        home.done(&["migrate"]);
        write(&home, &events);
        let app = home.serve().await;
        let mut again = GivenAgain::default();
        for given in &decisions {
            again.judge(&app, given).await;
        }
        assert!(again.decisions >= 50 && again.is_clean(), "{name}: {again}");
        // Were something of what the program knew gone, the comparison would tell.
        assert!(again.otherwise_now > 0, "{name}: {again}");
    }
}

#[tokio::test]
async fn every_kind_of_event_of_a_year_is_among_what_is_kept() {
    let plan = Plan { decisions: 120, probes: 0, asks: false, ..Plan::short(31, 7) };
    let year = Year::lived(plan).await;
    let decisions = year.decisions.given().to_vec();
    let events = log(&year.service.close().await);
    let kept: BTreeSet<String> = samples().iter().flat_map(|sample| kinds(&sample.events)).collect();
    let new: Vec<_> = kinds(&events).difference(&kept).cloned().collect();
    if new.is_empty() {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment how to run")]
    let add = std::env::var("UPDATE_SNAPSHOTS").is_ok();
    assert!(add, "{new:?} are in no sample: UPDATE_SNAPSHOTS=1 adds one, and leaves those that are there");
    keep(&events, &decisions);
}
