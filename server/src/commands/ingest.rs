//! `ingest`: files of events, through the same inbox and the same worker as webhooks.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use domain::clock::{Clock, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use storage::Access;
use webhook_ingest::inbox::{NewDelivery, Outcome, Stored};
use webhook_ingest::routes::delivery;

use super::{Failure, open, print};
use crate::cli::IngestArgs;
use crate::config::Settings;

/// `ingest`
pub(crate) async fn run(settings: &Settings, args: &IngestArgs, json: bool) -> Result<ExitCode, Failure> {
    let mut files = Vec::new();
    for path in files_of(&args.paths)? {
        let body = fs::read(&path)
            .map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", path.display())))?;
        files.push(delivery(body, SystemClock.now()));
    }
    if args.created_order {
        files.sort_by_key(|file| file.created);
    }
    let app = open(settings, Access::Write).await?;
    let bar = ProgressBar::new(files.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} files  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    // Ids of this run, so that a line about a copy does not claim the outcome of the first for itself.
    let mut seen = BTreeSet::new();
    for file in files {
        let NewDelivery { id, event_type, .. } = file.clone();
        let stored = app.worker.inbox.store(file).await?;
        app.worker.drain().await?;
        let kept = app.worker.inbox.get(&id).await?;
        let outcome = kept.as_ref().map_or(Outcome::Pending, |kept| kept.outcome);
        let why = kept.and_then(|kept| kept.why).map(|why| why.detail).unwrap_or_default();
        let (outcome, reason) = match stored {
            Stored::New => (outcome, why),
            Stored::Duplicate { same_body } => {
                let copy = if same_body { "a copy" } else { "the same id with another body" };
                let when = if seen.contains(&id) { "in this run" } else { "before" };
                (
                    Outcome::NoChange,
                    format!("{copy} of a delivery received {when}, which was {outcome}: {why}"),
                )
            }
        };
        let line = if json {
            json!({ "id": id, "type": event_type, "outcome": outcome, "reason": reason }).to_string()
        } else {
            format!("{id}  {event_type}  {outcome}  {reason}")
        };
        bar.suspend(|| print(line))?;
        bar.inc(1);
        seen.insert(id);
    }
    bar.finish_and_clear();
    app.caught_up().await?;
    app.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// The files that paths stand for: folders stand for the `.json` files in them, by name.
fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |error| Failure::Usage(format!("{}: cannot be read: {error}", path.display()));
        if !path.metadata().map_err(unreadable)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = fs::read_dir(path)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
            })
            .map_err(unreadable)?;
        inside.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
