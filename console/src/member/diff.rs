//! What is otherwise with a member at another moment.

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use projections::past::{self, AsOf};

use super::{boxed, called, moment, read};
use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::page::Page;
use crate::time::Moment;

/// Something that is otherwise.
pub(crate) struct Change {
    pub(crate) what: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl From<past::Change> for Change {
    fn from(change: past::Change) -> Self {
        let nothing = || "–".to_owned();
        Self {
            what: change.what,
            before: change.before.unwrap_or_else(nothing),
            after: change.after.unwrap_or_else(nothing),
        }
    }
}

#[derive(Template)]
#[template(path = "diff.html")]
struct DiffPage {
    frame: Frame,
    member: String,
    name: String,
    from: Moment,
    to: Moment,
    from_box: String,
    to_box: String,
    before: String,
    after: String,
    changes: Vec<Change>,
    between: Vec<(String, Moment, String)>,
    later: String,
    learned_later: Vec<(String, Moment, String)>,
    corrections: Vec<Change>,
}

/// The page of a difference.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids(id): Ids<String>,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let (chronicle, person) = read(&state, &id).await?;
    let said = |name| query.filled(name).map(|text| moment(name, text)).transpose();
    let from = said("from")?.unwrap_or(chronicle.registered_at);
    let to = said("to")?.unwrap_or_else(|| state.now());
    let diff = chronicle.diff(AsOf::at(from), AsOf::at(to));
    let listed = |entries: Vec<projections::timeline::TimelineEntry>| {
        let row = |entry: projections::timeline::TimelineEntry| {
            (entry.position.to_string(), Moment(entry.occurred_at), entry.with_remark())
        };
        entries.into_iter().map(row).collect()
    };
    Ok(Page(DiffPage {
        frame: desk.at(""),
        name: called(&chronicle.member, person.as_ref()),
        member: chronicle.member.to_string(),
        from: Moment(from),
        to: Moment(to),
        from_box: boxed(from),
        to_box: boxed(to),
        before: diff.from.sentence,
        after: diff.to.sentence,
        changes: diff.changes.into_iter().map(Change::from).collect(),
        between: listed(diff.between),
        later: diff.sentence,
        learned_later: listed(diff.learned_later),
        corrections: diff.corrections.into_iter().map(Change::from).collect(),
    }))
}
