//! `replay --verify`: rebuilds every read model from the first event and compares it with the live one.

use std::process::ExitCode;

use projections::parked::ParkedStream;
use projections::verify;
use serde_json::json;
use storage::Access;

use super::progress::Progress;
use super::{Failure, open, print, print_json};
use crate::config::Settings;

/// `replay --verify`
pub(crate) async fn verify(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let app = open(settings, Access::WriteOrRead).await?;
    app.caught_up().await?;
    let head = app.storage.feed.head().await?;
    let mut progress = Progress::new(head.get(), "events");
    let (feed, views) = (app.storage.feed.as_ref(), app.storage.views.as_ref());
    let compared = verify::verify(feed, views, |events| progress.reached(events)).await;
    progress.finish();
    app.shutdown().await;
    let verification = compared.map_err(|error| Failure::Unavailable(error.to_string()))?;

    let equal = verification.is_equal();
    let difference = verification.difference.as_ref();
    if json {
        let models: Vec<_> = verification
            .models
            .iter()
            .map(|model| json!({ "name": model.name, "live": model.live, "rebuilt": model.rebuilt }))
            .collect();
        print_json(&json!({
            "object": "verification",
            "equal": equal,
            "events": verification.events,
            "position": verification.position.to_string(),
            "models": models,
            "parked_streams": verification.parked.iter().map(|parked| json!({
                "stream": parked.stream.to_string(),
                "position": parked.position.to_string(),
                "why": parked.why,
            })).collect::<Vec<_>>(),
            "difference": difference.map(|difference| json!({
                "member": difference.member,
                "row": difference.row,
                "position": difference.position.to_string(),
            })),
        }))?;
    } else {
        for model in &verification.models {
            let verdict = if model.live == model.rebuilt { "equal" } else { "DIFFERENT" };
            print(format_args!("{:<14} {verdict:<10} {}", model.name, &model.rebuilt[..16]))?;
        }
        print(format_args!("{} events, up to position {}", verification.events, verification.position))?;
        for ParkedStream { stream, position, why } in &verification.parked {
            print(format_args!(
                "not compared: {stream} from position {position} on, which cannot be read: {why}"
            ))?;
        }
        if let Some(difference) = difference {
            let member =
                difference.member.as_ref().map_or_else(|| "no member".to_owned(), ToString::to_string);
            print(format_args!(
                "first difference: {member}, {}, event at position {}",
                difference.row, difference.position
            ))?;
        }
    }
    Ok(ExitCode::from(u8::from(!equal)))
}
