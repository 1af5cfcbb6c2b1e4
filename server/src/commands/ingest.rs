//! `ingest`: files of events, through the same inbox and the same worker as webhooks.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use domain::clock::{Clock, SystemClock};
use serde_json::json;
use storage::Access;
use webhook_ingest::inbox::{NewDelivery, Origin, Outcome, Stored};
use webhook_ingest::routes::delivery;

use super::progress::Progress;
use super::{Failure, open, print};
use crate::app::App;
use crate::cli::IngestArgs;
use crate::config::Settings;

/// How long another process may take to carry out what was stored here.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// `ingest`
pub(crate) async fn run(settings: &Settings, args: &IngestArgs, json: bool) -> Result<ExitCode, Failure> {
    let mut files = Vec::new();
    for path in files_of(&args.paths)? {
        let body = fs::read(&path)
            .map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", path.display())))?;
        files.push(delivery(body, SystemClock.now(), Origin::File));
    }
    if args.created_order {
        files.sort_by_key(|file| file.created);
    }
    let app = open(settings, Access::Write).await?;
    let mut progress = Progress::new(files.len() as u64, "files");
    // Outcomes are told at the end: a later file may link the customer that an earlier one waited for.
    let mut received = Vec::with_capacity(files.len());
    for file in files {
        let NewDelivery { id, event_type, .. } = file.clone();
        let stored = app.worker.inbox.store(file).await?;
        app.worker.drain().await?;
        received.push(Received { id, event_type, stored });
        progress.reached(received.len() as u64);
    }
    progress.finish();
    for file in received {
        print(file.line(&app, json).await?)?;
    }
    app.caught_up().await?;
    app.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

struct Received {
    id: String,
    event_type: String,
    stored: Stored,
}

impl Received {
    async fn line(self, app: &App, json: bool) -> Result<String, Failure> {
        let Self { id, mut event_type, stored } = self;
        if event_type.is_empty() {
            event_type.push('-');
        }
        let (outcome, why) = settled(app, &id).await?;
        let (outcome, reason) = match stored {
            Stored::New => (outcome, why),
            Stored::Duplicate { same_body } => {
                let copy =
                    if same_body { "a copy" } else { "the same id with another body; the first was kept" };
                (Outcome::NoChange, format!("{copy}, which was {outcome}: {why}"))
            }
        };
        Ok(if json {
            json!({ "id": id, "type": event_type, "outcome": outcome, "reason": reason }).to_string()
        } else {
            format!("{id}  {event_type}  {outcome}  {reason}")
        })
    }
}

/// What became of a delivery, once it is known: another process on the same database may be carrying it out.
async fn settled(app: &App, id: &str) -> Result<(Outcome, String), Failure> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let kept = app.worker.inbox.get(id).await?;
        let outcome = kept.as_ref().map_or(Outcome::Pending, |kept| kept.outcome);
        if outcome != Outcome::Pending || Instant::now() > patience {
            return Ok((outcome, kept.and_then(|kept| kept.why).map(|why| why.detail).unwrap_or_default()));
        }
        tokio::time::sleep(PAUSE).await;
    }
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
