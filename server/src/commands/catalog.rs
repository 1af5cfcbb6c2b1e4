//! `catalog apply`: makes the catalogue equal to a file, or says what that would change and for whom.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use domain::catalog::{self, Catalog, CatalogCommand, CatalogEvent, Content};
use domain::clock::{Clock, SystemClock};
use domain::events::Event;
use domain::ids::{MemberId, VideoId};
use projections::directory;
use projections::past::AsOf;
use projections::view_store::DirectoryRow;
use serde::Serialize;
use serde_json::json;
use storage::{Access, OpenError};
use webhook_ingest::inbox::{Delivery, DeliveryFilter, Outcome, Selection, Why};

use super::{Failure, command_id, open, open_if_there, operator, print, print_json};
use crate::app::App;
use crate::catalog_file;
use crate::config::Settings;

const PAGE: usize = 500;

/// `catalog apply`
pub(crate) async fn apply(
    settings: &Settings,
    file: &Path,
    dry_run: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let content = catalog_file::read(file).map_err(|error| Failure::Usage(error.to_string()))?;
    if dry_run {
        return preview(settings, content, json).await;
    }
    let app = open(settings, Access::Write).await?;
    let done = app.apply_catalog(content, operator(), &command_id()).await?;
    app.worker.drain().await?;
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        let events: Vec<_> = done.events.iter().map(describe).collect();
        return print_json(
            &json!({ "object": "catalog_applied", "events": events, "position": done.position.to_string() }),
        );
    }
    for event in &done.events {
        print(describe(event))?;
    }
    print(format_args!("{} events; the catalogue is as in {}", done.events.len(), file.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct Effect {
    member: MemberId,
    gains: Vec<VideoId>,
    loses: Vec<VideoId>,
}

async fn preview(settings: &Settings, content: Content, json: bool) -> Result<ExitCode, Failure> {
    // Where there is no store yet, everything would be new and nobody would notice.
    let app = match open_if_there(settings, Access::WriteOrRead).await? {
        Ok(app) => Some(app),
        Err(OpenError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let held = match &app {
        Some(app) => {
            app.caught_up().await?;
            app.past.catalog(AsOf::at(SystemClock.now())).await?
        }
        None => Arc::default(),
    };
    let command = CatalogCommand::Apply(Box::new(content));
    let events = catalog::decide(&held, command).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut wanted = Catalog::clone(&held);
    for event in &events {
        catalog::evolve(&mut wanted, event);
    }
    let (mut effects, mut waiting) = (Vec::new(), 0);
    if let Some(app) = app {
        effects = effects_on_members(&app, &held, &wanted).await?;
        waiting = waiting_for_a_catalogue(&app).await?;
        app.shutdown().await;
    }
    if json {
        let events: Vec<_> = events.iter().map(describe).collect();
        return print_json(&json!({
            "object": "catalog_preview", "events": events, "effects": effects, "deliveries_looked_at_again": waiting,
        }));
    }
    for event in &events {
        print(format_args!("would: {}", describe(event)))?;
    }
    for Effect { member, gains, loses } in &effects {
        if !gains.is_empty() {
            print(format_args!("{member} gains {}", names(gains)))?;
        }
        if !loses.is_empty() {
            print(format_args!("{member} loses {}", names(loses)))?;
        }
    }
    if waiting > 0 && !events.is_empty() {
        print(format_args!(
            "{waiting} deliveries that were set aside for want of a plan would be looked at again"
        ))?;
    }
    print(format_args!("{} events, {} members affected; nothing was changed", events.len(), effects.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// How many deliveries were set aside because nothing they sell was in the catalogue.
async fn waiting_for_a_catalogue(app: &App) -> Result<usize, Failure> {
    let mut waiting = 0;
    for outcome in [Outcome::Ignored, Outcome::Parked] {
        let mut before = None;
        loop {
            let of = Selection { outcome: Some(outcome), ..Selection::default() };
            let filter = DeliveryFilter { of, before, limit: PAGE };
            let page = app.storage.inbox.list(filter).await?;
            let for_want_of_a_plan =
                |why: &Why| ["no_catalog", "unmapped_product"].contains(&why.code.as_str());
            let waits = |delivery: &&Delivery| delivery.why.as_ref().is_some_and(for_want_of_a_plan);
            waiting += page.iter().filter(waits).count();
            match page.last() {
                Some(last) if page.len() == PAGE => before = Some(last.id.clone()),
                _ => break,
            }
        }
    }
    Ok(waiting)
}

async fn effects_on_members(app: &App, held: &Catalog, wanted: &Catalog) -> Result<Vec<Effect>, Failure> {
    let now = SystemClock.now();
    let mut effects = Vec::new();
    for row in app.storage.views.dump(directory::NAME).await?.rows {
        let DirectoryRow::Member { member, .. } = row else { continue };
        let ids = |catalog| -> Vec<VideoId> {
            app.index.open_videos(&member, catalog, now).into_iter().map(|video| video.id.clone()).collect()
        };
        let (before, after) = (ids(held), ids(wanted));
        let only_in = |some: &[VideoId], other: &[VideoId]| -> Vec<VideoId> {
            some.iter().filter(|id| !other.contains(id)).cloned().collect()
        };
        let (gains, loses) = (only_in(&after, &before), only_in(&before, &after));
        if !gains.is_empty() || !loses.is_empty() {
            effects.push(Effect { member, gains, loses });
        }
    }
    Ok(effects)
}

fn describe(event: &CatalogEvent) -> String {
    Event::Catalog(event.clone()).describe()
}

fn names(videos: &[VideoId]) -> String {
    videos.iter().map(VideoId::as_str).collect::<Vec<_>>().join(", ")
}
