//! A member's history, oldest first, in plain words.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use domain::catalog::Catalog;
use domain::events::Event;
use domain::ids::MemberId;
use domain::metadata::Actor;
use domain::ports::{Position, Recorded};

use crate::past::{Chronicle, EntryKind, Past, PastError, stamp};

/// One thing that happened to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Its place in the log.
    pub position: Position,
    /// The stream it belongs to, such as `subscription/sub_1`.
    pub stream: String,
    /// Its stored name.
    pub event_type: String,
    /// When it was true.
    pub occurred_at: DateTime<Utc>,
    /// When we learned it.
    pub recorded_at: DateTime<Utc>,
    /// Who made it happen.
    pub actor: Actor,
    /// What it follows from.
    pub cause: String,
    /// What kind of thing, whoever made it happen.
    pub kind: EntryKind,
    /// What happened, in words.
    pub sentence: String,
    /// What staff wrote about it: a reason, or the note itself.
    pub remark: Option<String>,
}

/// One thing that happened to a member, in words for herself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place in the log.
    pub position: Position,
    /// Its stored name.
    pub event_type: String,
    /// When it was true.
    pub occurred_at: DateTime<Utc>,
    /// Who made it happen.
    pub actor: Actor,
    /// What happened.
    pub sentence: String,
    /// It happened to her account and not to what she has.
    pub of_account: bool,
}

impl Past {
    /// A member's own history in words for herself, latest first.
    pub async fn told(&self, member: &MemberId, catalog: &Catalog) -> Result<Vec<Told>, PastError> {
        let mut told = self.chronicle(member).await?.told(catalog);
        told.retain(|told| !told.of_account);
        told.sort_by_key(|told| Reverse((told.occurred_at, told.position)));
        Ok(told)
    }

    /// Everything that happened to a member, her account, her payers and her subscriptions, in the order it was true.
    pub async fn timeline(&self, member: &MemberId) -> Result<Vec<TimelineEntry>, PastError> {
        Ok(self.chronicle(member).await?.entries())
    }
}

impl Chronicle {
    /// Her history in words for herself, in the order it was true.
    pub fn told(&self, catalog: &Catalog) -> Vec<Told> {
        let told = self.events().filter_map(|(recorded, event)| {
            Some(Told {
                sentence: event.tell(catalog)?,
                of_account: matches!(event, Event::Account(..)),
                position: recorded.position,
                event_type: recorded.event_type.clone(),
                occurred_at: recorded.metadata.occurred_at,
                actor: recorded.metadata.actor.clone(),
            })
        });
        let mut told: Vec<Told> = told.collect();
        told.sort_by_key(|told| (told.occurred_at, told.position));
        told
    }

    /// Everything that happened to her, in the order it was true.
    pub fn entries(&self) -> Vec<TimelineEntry> {
        let mut entries: Vec<_> =
            self.events().map(|(recorded, event)| self.entry(recorded, event)).collect();
        entries.sort_by_key(|entry| (entry.occurred_at, entry.position));
        entries
    }

    fn entry(&self, recorded: &Recorded, event: &Event) -> TimelineEntry {
        TimelineEntry {
            kind: EntryKind::of(event),
            sentence: event.describe(),
            remark: event.remark().map(|remark| self.words(remark)),
            position: recorded.position,
            stream: format!("{}/{}", recorded.aggregate_type, recorded.aggregate_id),
            event_type: recorded.event_type.clone(),
            occurred_at: recorded.metadata.occurred_at,
            recorded_at: recorded.metadata.recorded_at,
            actor: recorded.metadata.actor.clone(),
            cause: recorded.metadata.cause.clone(),
        }
    }
}

impl TimelineEntry {
    /// Whether staff, an operator or another back end made it happen.
    pub fn is_by_staff(&self) -> bool {
        let actor = self.actor.to_string();
        let named = ["staff:", "service:"].iter().any(|prefix| actor.starts_with(prefix));
        named || actor == "operator" || self.kind == EntryKind::Staff
    }

    /// What happened in words, and what staff wrote about it.
    pub fn with_remark(&self) -> String {
        let remark = self.remark.as_ref().map(|remark| format!(": {remark}")).unwrap_or_default();
        format!("{}{remark}", self.sentence)
    }

    /// The entry as one line.
    pub fn text(&self) -> String {
        let late = self.recorded_at.signed_duration_since(self.occurred_at);
        // Also the other way round, when the provider's clock is ahead of ours.
        let learned = if late.num_minutes().abs() >= 1 {
            format!(" [learned {}]", stamp(self.recorded_at))
        } else {
            String::new()
        };
        format!(
            "{}  {:<22} {}  ({}, {}){learned}",
            stamp(self.occurred_at),
            self.event_type,
            self.with_remark(),
            self.actor,
            self.cause
        )
    }
}
