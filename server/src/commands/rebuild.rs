//! `rebuild`: builds the directory anew beside the live one, which serves meanwhile.

use std::process::ExitCode;

use projections::parked::ParkedStream;
use projections::rebuild;
use serde_json::json;
use storage::Access;

use super::progress::Progress;
use super::{Failure, open, print, print_json};
use crate::config::Settings;

/// `rebuild`
pub(crate) async fn run(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let app = open(settings, Access::WriteOrRead).await?;
    if !app.storage.writable {
        app.shutdown().await;
        let why = "a running service writes to this file; ask it with POST /v1/support/projections/directory/rebuild, \
                   or stop it first";
        return Err(Failure::Unavailable(why.to_owned()));
    }
    let mut progress = Progress::new(app.storage.feed.head().await?.get(), "positions");
    let (feed, views) = (app.storage.feed.as_ref(), app.storage.views.clone());
    let rebuilt = rebuild::rebuild(feed, views, |position| progress.reached(position.get())).await;
    progress.finish();
    app.shutdown().await;
    let rebuilt = rebuilt.map_err(|error| {
        Failure::Unavailable(format!(
            "the directory was not rebuilt and is as it was: {error}; run this again"
        ))
    })?;
    let parked = || rebuilt.parked.iter();
    if json {
        let shown = |ParkedStream { stream, position, why }: &ParkedStream| json!({ "stream": stream.to_string(), "position": position.to_string(), "why": why });
        return print_json(&json!({
            "object": "rebuild",
            "position": rebuilt.position.to_string(),
            "parked_streams": parked().map(shown).collect::<Vec<_>>(),
        }));
    }
    print(format_args!("the directory was rebuilt, up to position {}", rebuilt.position))?;
    for ParkedStream { stream, position, why } in parked() {
        print(format_args!(
            "{stream} stands still from position {position} on, which cannot be read: {why}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
