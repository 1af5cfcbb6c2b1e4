//! Why an answer was what it was.

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use projections::past::{DecidingEvent, Flip};

use super::{Source, When, called, read};
use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::page::Page;
use crate::time::Moment;
use crate::who::{Staff, Who};

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainPage {
    frame: Frame,
    member: String,
    name: String,
    video: String,
    /// What the video is called, or its id where the catalogue of that moment did not have it.
    title: String,
    videos: Vec<(String, String)>,
    when: When,
    at: Moment,
    allowed: bool,
    reason: &'static str,
    sentence: String,
    until: Option<Moment>,
    rule: String,
    policy: Option<Policy>,
    sources: Vec<Source>,
    deciding: Vec<Deciding>,
    confirmed_by: Option<String>,
    turns: Vec<(&'static str, Turn)>,
    plans: Vec<(String, bool, String)>,
    text: String,
    permalink: String,
}

/// The rules that were in force.
struct Policy {
    revision: usize,
    position: String,
    since: Moment,
    actor: Who,
}

/// An event that decided.
struct Deciding {
    position: String,
    event_type: String,
    cause: String,
    occurred: Moment,
    learned: Option<(Moment, String)>,
    sentence: String,
}

impl From<&DecidingEvent> for Deciding {
    fn from(event: &DecidingEvent) -> Self {
        Self {
            position: event.position.to_string(),
            event_type: event.event_type.clone(),
            cause: event.cause.clone(),
            occurred: Moment(event.occurred_at),
            learned: super::story::learned(event.occurred_at, event.recorded_at),
            sentence: event.sentence.clone(),
        }
    }
}

/// A moment at which the answer turned.
struct Turn {
    at: Moment,
    opens: bool,
    from: String,
    to: String,
    event: Option<Deciding>,
    by_time: bool,
}

impl From<&Flip> for Turn {
    fn from(flip: &Flip) -> Self {
        Self {
            at: Moment(flip.at),
            opens: flip.to.allowed,
            from: flip.from.sentence.clone(),
            to: flip.to.sentence.clone(),
            event: flip.event.as_ref().map(Deciding::from),
            by_time: flip.by_time,
        }
    }
}

/// The page of an explanation.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids(id): Ids<String>,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let when = When::of(&query, state.now())?;
    let video = query.filled("video").unwrap_or_default().to_owned();
    let (chronicle, person) = read(&state, &id).await?;
    let explanation = chronicle.explain(&video, when.as_of())?;
    let catalog = state.history()?.catalog(when.as_of()).await?;
    let title = catalog.video(&video).map_or_else(|| video.clone(), |video| video.name.clone());
    let at = Moment(explanation.as_of.at);
    let member = chronicle.member.to_string();
    // With its moment, so that it says the same tomorrow.
    let fixed = When { at: Some(explanation.as_of.at), ..when };
    let permalink = format!("/console/members/{member}/explain?video={video}{}", fixed.query());
    let givers = explanation.sources.iter().filter_map(|source| source.giver.as_ref());
    let actors = givers.chain(explanation.policy.as_ref().map(|policy| &policy.actor));
    let staff = Staff::of(&state, actors.map(ToString::to_string).collect()).await?;
    let mut sources: Vec<Source> =
        explanation.sources.iter().map(|source| Source::of(source, &staff)).collect();
    sources.sort_by_key(|source| !source.decides);
    let turns = [("Before", &explanation.before), ("After", &explanation.after)].into_iter();
    Ok(Page(ExplainPage {
        frame: desk.at(""),
        name: called(&chronicle.member, person.as_ref()),
        videos: catalog.videos().map(|video| (video.id.to_string(), video.name.clone())).collect(),
        at,
        allowed: explanation.decision.allowed,
        reason: explanation.decision.reason.as_str(),
        sentence: explanation.message.clone(),
        until: explanation.decision.until.map(Moment),
        rule: explanation.rule.clone(),
        policy: explanation.policy.as_ref().map(|policy| Policy {
            revision: policy.revision,
            position: policy.position.to_string(),
            since: Moment(policy.since),
            actor: staff.name(&policy.actor),
        }),
        sources,
        deciding: explanation.deciding.iter().map(Deciding::from).collect(),
        confirmed_by: explanation.confirmed_by.as_ref().map(ToString::to_string),
        turns: turns.filter_map(|(title, flip)| Some((title, Turn::from(flip.as_ref()?)))).collect(),
        plans: explanation
            .other_plans
            .iter()
            .map(|plan| (plan.name.clone(), plan.opens, plan.sentence.clone()))
            .collect(),
        text: explanation.text(),
        permalink,
        member,
        title,
        video,
        when,
    }))
}
