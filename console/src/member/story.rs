//! What happened to a member, grouped by what it followed from.

use api::error::ApiError;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use domain::ports::Position;
use projections::past::{EntryKind, Filter, Group, Story};

use super::{When, boxed, moment};
use crate::form::Fields;
use crate::time::{Moment, length};
use crate::who::{Staff, Who};

/// What was recorded later than this after it was true, is called late.
const LATE: TimeDelta = TimeDelta::minutes(1);

/// Which part of a story an address asks for.
pub(super) struct Asked {
    pub(super) filter: Filter,
    pub(super) kinds: Vec<(&'static str, &'static str, bool)>,
    pub(super) event_type: String,
    pub(super) from: String,
    pub(super) until: String,
    pub(super) oldest_first: bool,
}

impl Asked {
    pub(super) fn of(query: &Fields) -> Result<Self, ApiError> {
        let kind = match query.filled("kind") {
            None => None,
            Some(text) => {
                let known = EntryKind::parse(text);
                Some(
                    known
                        .ok_or_else(|| ApiError::BadQuery(format!("no kind of event is called {text:?}")))?,
                )
            }
        };
        let said = |name| query.filled(name).map(|text| moment(name, text)).transpose();
        let (from, until) = (said("from")?, said("until")?);
        let oldest_first = query.filled("order") == Some("oldest");
        let kinds =
            EntryKind::ALL.into_iter().map(|each| (each.as_str(), in_words(each), Some(each) == kind));
        Ok(Self {
            kinds: kinds.collect(),
            event_type: query.filled("type").unwrap_or_default().to_owned(),
            from: from.map(boxed).unwrap_or_default(),
            until: until.map(boxed).unwrap_or_default(),
            oldest_first,
            filter: Filter {
                kind,
                event_type: query.filled("type").map(str::to_owned),
                from,
                until,
                newest_first: !oldest_first,
                after: query.filled("after").map(str::to_owned),
                limit: None,
            },
        })
    }

    /// The kind that is asked for.
    pub(super) fn chosen(&self) -> Option<&(&'static str, &'static str, bool)> {
        self.kinds.iter().find(|(_, _, chosen)| *chosen)
    }

    /// Whether anything is left out.
    pub(super) fn is_filtered(&self) -> bool {
        let Filter { kind, event_type, from, until, .. } = &self.filter;
        kind.is_some() || event_type.is_some() || from.is_some() || until.is_some()
    }

    /// The address of what follows the group `after`.
    fn next(&self, after: &str, when: &When) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let kind = self.filter.kind.map(EntryKind::as_str);
        let pairs = [
            ("kind", kind.unwrap_or_default()),
            ("type", &self.event_type),
            ("from", &self.from),
            ("until", &self.until),
            ("order", if self.oldest_first { "oldest" } else { "" }),
            ("after", after),
        ];
        query.extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
        format!("?{}{}#events", query.finish(), when.query())
    }
}

fn in_words(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Payments => "Payments",
        EntryKind::Access => "What opens and closes",
        EntryKind::Account => "Account",
        EntryKind::Staff => "Staff",
        EntryKind::Deliveries => "Deliveries that changed nothing",
    }
}

/// A part of a story.
pub(super) struct Told {
    pub(super) groups: Vec<ToldGroup>,
    pub(super) next: Option<String>,
}

/// What followed from one cause.
pub(super) struct ToldGroup {
    pub(super) at: Moment,
    pub(super) learned: Option<(Moment, String)>,
    pub(super) actor: Who,
    pub(super) cause: String,
    /// Whether the cause is a delivery that can be looked at.
    pub(super) delivered: bool,
    pub(super) times: u32,
    pub(super) entries: Vec<ToldEntry>,
    /// What the whole says, where there is no event to say it.
    pub(super) sentence: Option<String>,
    pub(super) access: Option<(&'static str, String)>,
    /// After the moment that is shown.
    pub(super) future: bool,
}

/// An event.
pub(super) struct ToldEntry {
    pub(super) position: Position,
    pub(super) sentence: String,
    /// What staff wrote about it.
    pub(super) remark: Option<String>,
    /// When it was true, where that is another moment than its group's.
    pub(super) at: Option<Moment>,
}

/// When something was learned and how late that is, where it is late.
pub(crate) fn learned(at: DateTime<Utc>, recorded_at: DateTime<Utc>) -> Option<(Moment, String)> {
    let late = recorded_at - at;
    (late.abs() >= LATE).then(|| {
        let how = if late < TimeDelta::zero() { "before its own time" } else { "late" };
        // The event's own page tells the fractions of its seconds.
        (Moment(recorded_at.trunc_subsecs(0)), format!("{} {how}", length(late)))
    })
}

impl Told {
    pub(super) fn of(story: &Story, when: &When, asked: &Asked, staff: &Staff) -> Self {
        Self {
            groups: story.groups.iter().map(|group| ToldGroup::of(group, when, staff)).collect(),
            next: story.next.as_deref().map(|next| asked.next(next, when)),
        }
    }
}

impl ToldGroup {
    pub(super) fn of(group: &Group, when: &When, staff: &Staff) -> Self {
        let entries = group.entries.iter().map(|entry| ToldEntry {
            position: entry.position,
            sentence: entry.sentence.clone(),
            remark: entry.remark.clone(),
            at: (entry.occurred_at != group.at).then_some(Moment(entry.occurred_at)),
        });
        let access = group.access.as_ref().map(|access| {
            let tone = match (access.after.len(), access.before.len()) {
                (0, _) => "bad",
                (after, before) if after < before => "warn",
                _ => "good",
            };
            (tone, access.sentence.clone())
        });
        Self {
            at: Moment(group.at),
            learned: learned(group.at, group.recorded_at),
            actor: staff.name(&group.actor),
            cause: group.cause.clone(),
            delivered: group.delivery.is_some(),
            times: group.delivery.as_ref().map_or(0, |delivery| delivery.times_received),
            entries: entries.collect(),
            sentence: group.entries.is_empty().then(|| group.sentence.clone()),
            access: access.filter(|_| !group.entries.is_empty()),
            future: group.at > when.as_of().at,
        }
    }
}
