//! One event of a member's, with everything that is known of it.

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use domain::ports::Position;
use serde::Serialize;

use super::diff::Change;
use super::story::learned;
use super::{called, read};
use crate::desk::{Desk, Frame};
use crate::page::Page;
use crate::time::Moment;
use crate::who::{Staff, Who};

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    member: String,
    name: String,
    position: String,
    event_type: String,
    sentence: String,
    remark: Option<String>,
    stream: String,
    sequence: u64,
    version: String,
    actor: Who,
    cause: String,
    correlation: String,
    occurred: Moment,
    recorded: Moment,
    late: Option<String>,
    before: String,
    after: String,
    changes: Vec<Change>,
    siblings: Vec<(String, String, String)>,
    payload: String,
    metadata: String,
    delivery: Option<Delivery>,
    previous: Option<String>,
    next: Option<String>,
}

/// What arrived and made it happen.
struct Delivery {
    id: String,
    event_type: String,
    received: Moment,
    times: u32,
    raw: Option<String>,
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A body as it came, laid out if it is JSON.
pub(crate) fn laid_out(body: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => pretty(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The page of an event.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids((id, position)): Ids<(String, String)>,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let no_page = || ApiError::NoSuchPath(uri.path().to_owned());
    let position = Position::parse(&position).ok_or_else(no_page)?;
    let (chronicle, person) = read(&state, &id).await?;
    let event = chronicle.event(position).ok_or_else(no_page)?;
    let (entry, metadata) = (&event.entry, &event.metadata);
    let delivery = match state.deliveries.get(&entry.cause).await? {
        None => None,
        Some((record, _)) => {
            let raw = state.deliveries.read_body(&record.id, &desk.caller.actor()).await?;
            let raw = raw.map(|body| laid_out(&body));
            let received = Moment(record.received_at);
            let (id, event_type, times) = (record.id, record.event_type, record.times_received);
            Some(Delivery { id, event_type, received, times, raw })
        }
    };
    let staff = Staff::of(&state, vec![entry.actor.to_string()]).await?;
    let sibling = |entry: &projections::timeline::TimelineEntry| {
        (entry.position.to_string(), entry.event_type.clone(), entry.with_remark())
    };
    Ok(Page(EventPage {
        frame: desk.at(""),
        member: chronicle.member.to_string(),
        name: called(&chronicle.member, person.as_ref()),
        position: position.to_string(),
        event_type: entry.event_type.clone(),
        sentence: entry.sentence.clone(),
        remark: entry.remark.clone(),
        stream: entry.stream.clone(),
        sequence: event.sequence,
        version: event.event_version.clone(),
        actor: staff.name(&entry.actor),
        cause: entry.cause.clone(),
        correlation: metadata.correlation_id.clone(),
        occurred: Moment(entry.occurred_at),
        recorded: Moment(entry.recorded_at),
        late: learned(entry.occurred_at, entry.recorded_at).map(|(_, late)| late),
        before: event.before.clone(),
        after: event.after.clone(),
        changes: event.changes.iter().cloned().map(Change::from).collect(),
        siblings: event.siblings.iter().map(sibling).collect(),
        payload: pretty(&event.payload),
        metadata: pretty(metadata),
        delivery,
        previous: event.previous.map(|position| position.to_string()),
        next: event.next.map(|position| position.to_string()),
    }))
}
