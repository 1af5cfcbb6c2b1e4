//! A member's whole history on paper.

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use api::support::deliveries_seen;
use askama::Template;
use axum::extract::State;
use projections::past::{AsOf, Filter};

use super::story::ToldGroup;
use super::{When, called, read};
use crate::desk::{Desk, Frame};
use crate::page::Page;
use crate::time::Moment;
use crate::who::Staff;

#[derive(Template)]
#[template(path = "print.html")]
struct PrintPage {
    frame: Frame,
    member: String,
    name: String,
    since: Moment,
    now: Moment,
    sentence: String,
    groups: Vec<ToldGroup>,
    earlier: Vec<String>,
}

/// All of it, oldest first.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids(id): Ids<String>,
) -> Result<Page<impl Template>, ApiError> {
    let (chronicle, person) = read(&state, &id).await?;
    let now = state.now();
    let deliveries = deliveries_seen(state.deliveries.as_ref(), &chronicle).await?;
    let story =
        chronicle.story(deliveries.seen, &Filter { limit: Some(usize::MAX), ..Filter::default() }, now);
    let actors = story.groups.iter().map(|group| group.actor.to_string()).collect();
    let staff = Staff::of(&state, actors).await?;
    let when = When { at: None, known_at: None, position: None, now };
    Ok(Page(PrintPage {
        frame: desk.at(""),
        name: called(&chronicle.member, person.as_ref()),
        member: chronicle.member.to_string(),
        since: Moment(chronicle.registered_at),
        now: Moment(now),
        sentence: chronicle.state(AsOf::at(now)).sentence,
        earlier: deliveries.earlier.iter().map(|(customer, _)| customer.to_string()).collect(),
        groups: story.groups.iter().map(|group| ToldGroup::of(group, &when, &staff)).collect(),
    }))
}
