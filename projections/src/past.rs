//! Answers about any moment, with what decided them. Folds the member's own streams; the live index is never asked.
//!
//! A [`Chronicle`] is all that the log holds of a member, read once. Everything else is folded from it in memory:
//! [`Explanation`], [`Flip`], [`MemberState`], [`Diff`], [`Story`], [`OneEvent`].

mod diff;
mod explain;
mod flips;
mod known;
mod one_event;
mod revisions;
mod state;
mod story;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use cqrs_es::Aggregate;
use domain::account::Account;
use domain::catalog::{CATALOG_ID, Catalog};
use domain::customer::{Customer, CustomerEvent};
use domain::events::{Event, UnreadableEvent, upcasters};
use domain::grant::Grant;
use domain::ids::{CustomerId, GrantId, MemberId, RemarkId, SubscriptionId};
use domain::member::Member;
use domain::ports::{EventFeed, Position, Recorded, Remarks, StoreError};
use domain::subscription::Subscription;
use serde_json::Value;
use thiserror::Error;

pub use self::diff::{Change, Diff};
pub use self::explain::{
    DecidingEvent, ExplainedSource, Explanation, PlanVerdict, PolicyInForce, SourceKind,
};
pub use self::flips::{Flip, Verdict};
pub use self::one_event::OneEvent;
use self::revisions::Revisions;
pub use self::state::{
    AccountState, CustomerState, LastPayment, MemberState, NextChange, Note, OpenRequest, Paid, PlanAccess,
};
pub use self::story::{AccessChange, DeliverySeen, EntryKind, Filter, Group, Story, USUALLY_TOLD};

use crate::directory::NAME;
use crate::runner::Progress;
use crate::timeline::TimelineEntry;
use crate::view_store::ViewStore;

/// How long a question waits for the directory to know of everything in the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum PastError {
    /// No member has this id.
    #[error("no member has the id {0}")]
    UnknownMember(MemberId),
    /// The catalogue of that moment has no such video.
    #[error("the catalogue has no video {0:?} at that time")]
    UnknownVideo(String),
    /// The directory has not read the whole log yet.
    #[error("the member directory is still reading the log; try again shortly")]
    NotCaughtUp,
    /// An event that the answer depends on cannot be read. Everything else of the service goes on without it.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// The log or the directory cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which moment, by both clocks, and how much of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// What was true at this moment.
    pub at: DateTime<Utc>,
    /// Only what this service had recorded by this moment; everything when not given.
    pub known_at: Option<DateTime<Utc>>,
    /// Only the events up to this place of the log; all when not given. A live decision names its moment and its position:
    /// asked with both, the past gives that very decision.
    pub position: Option<Position>,
}

/// The clocks of two nodes that write one log may be this far apart. A live decision cannot be told from a moment picked by hand,
/// so both are given it.
const SKEW: TimeDelta = TimeDelta::minutes(1);

impl AsOf {
    /// What was true at a moment, with all that is known.
    pub fn at(at: DateTime<Utc>) -> Self {
        Self { at, known_at: None, position: None }
    }

    fn knows(&self, recorded: &Recorded) -> bool {
        self.knows_of(recorded.position, recorded.metadata.recorded_at)
    }

    fn knows_of(&self, position: Position, recorded_at: DateTime<Utc>) -> bool {
        self.known_at.is_none_or(|known_at| recorded_at <= known_at)
            && self.position.is_none_or(|last| position <= last)
    }

    fn knows_entry(&self, entry: &TimelineEntry) -> bool {
        self.knows_of(entry.position, entry.recorded_at)
    }

    /// Whether something of this moment had happened. Who names a position saw all up to it, whatever clocks said.
    fn has_reached(&self, moment: DateTime<Utc>) -> bool {
        let skew = if self.position.is_some() { SKEW } else { TimeDelta::zero() };
        moment <= self.at.checked_add_signed(skew).unwrap_or(self.at)
    }
}

/// One event stream, read and understood.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) events: Vec<(Recorded, Event)>,
}

/// All that the log holds of one member, read once: every question about her is answered from it without another look.
#[derive(Debug)]
pub struct Chronicle {
    /// Who.
    pub member: MemberId,
    /// When she was registered.
    pub registered_at: DateTime<Utc>,
    /// The place of the log that this is of: it holds all of hers up to there, and nothing later.
    pub position: Position,
    own: Stream,
    account: Stream,
    customers: Vec<(CustomerId, Stream)>,
    subscriptions: Vec<(SubscriptionId, Stream)>,
    grants: Vec<(GrantId, Stream)>,
    /// Payers that were found not to be hers, and what they pay for: known then, not her history of today.
    former: Vec<String>,
    revisions: Arc<Revisions>,
    remarks: BTreeMap<RemarkId, String>,
}

/// Asks the log about any moment.
#[derive(Clone)]
pub struct Past {
    feed: Arc<dyn EventFeed>,
    pub(crate) views: Arc<dyn ViewStore>,
    remarks: Arc<dyn Remarks>,
    directory: Progress,
}

impl Past {
    /// Questions to this log, through a directory that follows it.
    pub fn new(
        feed: Arc<dyn EventFeed>,
        views: Arc<dyn ViewStore>,
        remarks: Arc<dyn Remarks>,
        directory: Progress,
    ) -> Self {
        Self { feed, views, remarks, directory }
    }

    /// All that the log holds of a member.
    pub async fn chronicle(&self, member: &MemberId) -> Result<Chronicle, PastError> {
        // What is appended while the streams are read one after the other is left out of all of them: the answer is of this
        // very place of the log, and asked with it once more it is the same.
        let position = self.caught_up().await?;
        let Some(registered_at) = self.views.registered_at(NAME, member).await? else {
            return Err(PastError::UnknownMember(member.clone()));
        };
        let mut streams = Vec::new();
        let customers = self.views.customers_ever_of(NAME, member).await?;
        for id in self.views.subscriptions_of(NAME, &customers).await? {
            let stream = self.stream_until(Subscription::TYPE, id.as_str(), position).await?;
            streams.push((id, stream));
        }
        let mut chronicle = Chronicle {
            member: member.clone(),
            registered_at,
            position,
            own: self.stream_until(Member::TYPE, member.as_str(), position).await?,
            account: self.stream_until(Account::TYPE, member.as_str(), position).await?,
            customers: Vec::new(),
            subscriptions: streams,
            grants: Vec::new(),
            former: Vec::new(),
            revisions: self.revisions(position).await?,
            remarks: BTreeMap::new(),
        };
        for id in customers {
            let stream = self.stream_until(Customer::TYPE, id.as_str(), position).await?;
            chronicle.customers.push((id, stream));
        }
        for id in self.views.grants_of(NAME, member).await? {
            let stream = self.stream_until(Grant::TYPE, id.as_str(), position).await?;
            chronicle.grants.push((id, stream));
        }
        chronicle.former = chronicle.not_hers();
        let ids: Vec<RemarkId> =
            chronicle.events().filter_map(|(_, event)| event.remark().cloned()).collect();
        if !ids.is_empty() {
            let remarks = self.remarks.get(&ids).await?;
            chronicle.remarks = remarks.into_iter().map(|remark| (remark.id, remark.text)).collect();
        }
        Ok(chronicle)
    }

    /// May she have watched it then, and why?
    pub async fn explain(
        &self,
        member: &MemberId,
        video: &str,
        as_of: AsOf,
    ) -> Result<Explanation, PastError> {
        self.chronicle(member).await?.explain(video, as_of)
    }

    /// When the answer for a video turned from no to yes or back, oldest first, and what did it.
    pub async fn flips(&self, member: &MemberId, video: &str, as_of: AsOf) -> Result<Vec<Flip>, PastError> {
        self.chronicle(member).await?.flips(video, as_of)
    }

    /// How it stood with her.
    pub async fn state(&self, member: &MemberId, as_of: AsOf) -> Result<MemberState, PastError> {
        Ok(self.chronicle(member).await?.state(as_of))
    }

    /// What was otherwise with her at another moment.
    pub async fn diff(&self, member: &MemberId, from: AsOf, to: AsOf) -> Result<Diff, PastError> {
        Ok(self.chronicle(member).await?.diff(from, to))
    }

    /// The catalogue that was in force: moments before the first revision are judged by the first.
    pub async fn catalog(&self, as_of: AsOf) -> Result<Arc<Catalog>, PastError> {
        let head = self.feed.head().await?;
        Ok(self.revisions(head).await?.in_force(as_of).1)
    }

    async fn revisions(&self, last: Position) -> Result<Arc<Revisions>, PastError> {
        Ok(Arc::new(Revisions::new(self.stream_until(Catalog::TYPE, CATALOG_ID, last).await?)))
    }

    /// Waits until the directory has read the log to its present end, and returns that end.
    pub(crate) async fn caught_up(&self) -> Result<Position, PastError> {
        let head = self.feed.head().await?;
        if self.directory.wait_for(head, PATIENCE).await { Ok(head) } else { Err(PastError::NotCaughtUp) }
    }

    /// The streams of a member: her own, her payers', her subscriptions'.
    pub(crate) async fn streams(
        &self,
        member: &MemberId,
    ) -> Result<(Stream, Vec<(CustomerId, Stream)>, Vec<(SubscriptionId, Stream)>), PastError> {
        if self.views.registered_at(NAME, member).await?.is_none() {
            return Err(PastError::UnknownMember(member.clone()));
        }
        let own = self.stream(Member::TYPE, member.as_str()).await?;
        let ids = self.views.customers_of(NAME, member).await?;
        let mut subscriptions = Vec::new();
        for id in self.views.subscriptions_of(NAME, &ids).await? {
            let stream = self.stream(Subscription::TYPE, id.as_str()).await?;
            subscriptions.push((id, stream));
        }
        let mut customers = Vec::new();
        for id in ids {
            let stream = self.stream(Customer::TYPE, id.as_str()).await?;
            customers.push((id, stream));
        }
        Ok((own, customers, subscriptions))
    }

    /// A stream as far as the log went at `last`.
    async fn stream_until(
        &self,
        aggregate_type: &str,
        id: &str,
        last: Position,
    ) -> Result<Stream, PastError> {
        let mut stream = self.stream(aggregate_type, id).await?;
        stream.events.retain(|(recorded, _)| recorded.position <= last);
        Ok(stream)
    }

    pub(crate) async fn stream(&self, aggregate_type: &str, id: &str) -> Result<Stream, PastError> {
        let upcasters = upcasters();
        let read = |recorded: Recorded| Event::read(&recorded, &upcasters).map(|event| (recorded, event));
        let recorded = self.feed.read_stream(aggregate_type, id).await?;
        Ok(Stream { events: recorded.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl Chronicle {
    /// Her payers at the provider.
    pub fn payers(&self) -> Vec<CustomerId> {
        self.customers(AsOf::at(DateTime::<Utc>::MAX_UTC)).into_iter().map(|held| held.customer).collect()
    }

    /// What each of her events says, as stored.
    pub fn payloads(&self) -> BTreeMap<Position, &Value> {
        self.events().map(|(recorded, _)| (recorded.position, &recorded.payload)).collect()
    }

    /// What staff wrote; once she is erased it is gone.
    pub(crate) fn words(&self, remark: &RemarkId) -> String {
        self.remarks.get(remark).cloned().unwrap_or_else(|| "(erased)".to_owned())
    }

    /// Everything that happened to her, her account, her payers, her subscriptions and what was given to her, in no order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &(Recorded, Event)> {
        let own = [&self.own, &self.account].into_iter().flat_map(|stream| &stream.events);
        let hers = |event: &Event| match event {
            Event::Subscription(id, _) => !self.is_former(id.as_str()),
            Event::Customer(id, CustomerEvent::CustomerDeleted { .. }) => !self.is_former(id.as_str()),
            // A payer that is somebody else's now has a history of its own beyond what was about her.
            Event::Customer(
                _,
                CustomerEvent::MemberLinked { member, .. } | CustomerEvent::MemberUnlinked { member, .. },
            ) => *member == self.member,
            _ => true,
        };
        own.chain(self.sources_events().filter(move |(_, event)| hers(event)))
    }

    /// What happened to her payers, their subscriptions and what was given to her, in no order; also of payers that were
    /// found not to be hers.
    fn sources_events(&self) -> impl Iterator<Item = &(Recorded, Event)> {
        let customers = self.customers.iter().map(|(_, stream)| stream);
        let bought = self.subscriptions.iter().map(|(_, stream)| stream);
        let given = self.grants.iter().map(|(_, stream)| stream);
        customers.chain(bought).chain(given).flat_map(|stream| &stream.events)
    }

    /// What is not hers by all that is known: payers, and what these pay for.
    fn not_hers(&self) -> Vec<String> {
        let (known, payers) = (self.known_of(|_| true), self.payers());
        let is_hers = |id: &SubscriptionId| known.subscriptions().iter().any(|bought| bought.id == id);
        let customers = self.customers.iter().map(|(id, _)| id).filter(|id| !payers.contains(id));
        let subscriptions = self.subscriptions.iter().map(|(id, _)| id).filter(|id| !is_hers(id));
        customers.map(ToString::to_string).chain(subscriptions.map(ToString::to_string)).collect()
    }

    fn is_former(&self, id: &str) -> bool {
        self.former.iter().any(|former| former == id)
    }
}

/// A moment as it is shown to staff.
pub(crate) fn stamp(moment: DateTime<Utc>) -> String {
    moment.trunc_subsecs(3).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
