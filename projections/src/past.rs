//! Answers about any moment, with what decided them. Folds the member's own streams; the live index is never asked.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use cqrs_es::Aggregate;
use domain::access::{Decision, Reason, Source, decide_access};
use domain::catalog::{self, CATALOG_ID, Catalog};
use domain::customer::{Customer, CustomerEvent};
use domain::events::{Event, UnreadableEvent, upcasters};
use domain::ids::{CustomerId, MemberId, SourceEventId, SubscriptionId};
use domain::member::Member;
use domain::ports::{EventFeed, Position, Recorded, StoreError};
use domain::subscription::{self, Evidence, Standing, Subscription};
use thiserror::Error;

use crate::directory::NAME;
use crate::runner::Progress;
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

/// Which moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// What was true at this moment.
    pub at: DateTime<Utc>,
    /// Only what this service had recorded by this moment; everything when not given.
    pub known_at: Option<DateTime<Utc>>,
}

impl AsOf {
    fn knows(&self, recorded: &Recorded) -> bool {
        self.known_at.is_none_or(|known_at| recorded.metadata.recorded_at <= known_at)
    }
}

/// A decision with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Who.
    pub member: MemberId,
    /// What.
    pub video: String,
    /// When.
    pub as_of: AsOf,
    /// The decision.
    pub decision: Decision,
    /// The decision in words.
    pub message: String,
    /// Everything that was tried, in the order of its ids.
    pub sources: Vec<ExplainedSource>,
    /// The events of the log that decided, oldest first.
    pub deciding: Vec<DecidingEvent>,
    /// The provider event that last told the same again.
    pub confirmed_by: Option<SourceEventId>,
    /// The end of the log when this was answered.
    pub position: Position,
}

/// One thing that might have opened the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedSource {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Where it stood.
    pub standing: Standing,
    /// What would have been decided with it alone.
    pub decision: Decision,
}

/// An event of the log that made a decision what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidingEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its stored name.
    pub event_type: String,
    /// What it follows from: the provider's event id or a request id.
    pub cause: String,
    /// When it was true.
    pub occurred_at: DateTime<Utc>,
    /// When we learned it.
    pub recorded_at: DateTime<Utc>,
    /// What happened, in words.
    pub sentence: String,
}

/// One event stream, read and understood.
pub(crate) struct Stream {
    pub(crate) events: Vec<(Recorded, Event)>,
}

/// Asks the log about any moment.
#[derive(Clone)]
pub struct Past {
    feed: Arc<dyn EventFeed>,
    pub(crate) views: Arc<dyn ViewStore>,
    directory: Progress,
}

impl Past {
    /// Questions to this log, through a directory that follows it.
    pub fn new(feed: Arc<dyn EventFeed>, views: Arc<dyn ViewStore>, directory: Progress) -> Self {
        Self { feed, views, directory }
    }

    /// May she have watched it then, and why?
    pub async fn explain(
        &self,
        member: &MemberId,
        video: &str,
        as_of: AsOf,
    ) -> Result<Explanation, PastError> {
        self.caught_up().await?;
        let catalog = self.catalog(as_of).await?;
        let streams = self.subscriptions(member, as_of).await?;
        let Some(wanted) = catalog.video(video) else {
            return Err(PastError::UnknownVideo(video.to_owned()));
        };
        let policy = catalog.policy();
        let decide =
            |sources: &[Source]| decide_access(sources.iter().copied(), &catalog, &policy, wanted, as_of.at);
        let mut known = Vec::new();
        for (id, stream) in streams {
            let state = stream.fold(as_of);
            let at = stream.moment(as_of);
            if let Some(standing) = state.standing(at) {
                let plans = catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
                let source = Source::new(&standing, plans);
                known.push((id, standing, source, state.evidence(at), stream));
            }
        }
        let sources: Vec<Source> = known.iter().map(|(_, _, source, ..)| *source).collect();
        let decision = decide(&sources);
        let (mut deciding, mut confirmed_by) = (Vec::new(), None);
        if let Some((.., evidence, stream)) = decision.source.and_then(|index| known.get(index)) {
            deciding = stream.deciding(evidence, as_of);
            confirmed_by.clone_from(&evidence.confirmed_by);
        }
        let explained = |(subscription, standing, source, ..): (_, _, Source, _, _)| ExplainedSource {
            subscription,
            standing,
            decision: decide(&[source]),
        };
        Ok(Explanation {
            member: member.clone(),
            video: video.to_owned(),
            as_of,
            message: decision.message(&catalog),
            decision,
            sources: known.into_iter().map(explained).collect(),
            deciding,
            confirmed_by,
            // Asked last, so that it is not before anything that was read.
            position: self.feed.head().await?,
        })
    }

    /// The catalogue that was in force: moments before the first revision are judged by the first.
    pub async fn catalog(&self, as_of: AsOf) -> Result<Catalog, PastError> {
        let stream = self.stream(Catalog::TYPE, CATALOG_ID).await?;
        let first = stream.events.first().map(|(recorded, _)| recorded.metadata.correlation_id.clone());
        let in_force = |(recorded, _): &(Recorded, Event)| {
            let is_first = Some(&recorded.metadata.correlation_id) == first.as_ref();
            is_first || recorded.metadata.occurred_at <= as_of.at && as_of.knows(recorded)
        };
        // A revision says what differs from the one before, so it is in force with all before it, also with one that a
        // clock dated later which has been set back since.
        let known = stream.events.iter().rposition(in_force).map_or(0, |latest| latest + 1);
        let mut catalog = Catalog::default();
        for (_, event) in &stream.events[..known] {
            if let Event::Catalog(event) = event {
                catalog::evolve(&mut catalog, event);
            }
        }
        Ok(catalog)
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

    /// The subscriptions that were known to be the member's.
    async fn subscriptions(
        &self,
        member: &MemberId,
        as_of: AsOf,
    ) -> Result<Vec<(SubscriptionId, Stream)>, PastError> {
        let (_, customers, subscriptions) = self.streams(member).await?;
        let linked = |(recorded, event): &(Recorded, Event)| {
            matches!(event, Event::Customer(_, CustomerEvent::MemberLinked { .. })) && as_of.knows(recorded)
        };
        let hers: Vec<CustomerId> = customers
            .into_iter()
            .filter(|(_, stream)| stream.events.iter().any(linked))
            .map(|(id, _)| id)
            .collect();
        let known = |(_, stream): &(SubscriptionId, Stream)| {
            let standing = stream.fold(as_of).standing(None);
            standing.is_some_and(|standing| hers.contains(&standing.terms.customer))
        };
        Ok(subscriptions.into_iter().filter(known).collect())
    }

    pub(crate) async fn stream(&self, aggregate_type: &str, id: &str) -> Result<Stream, PastError> {
        let upcasters = upcasters();
        let read = |recorded: Recorded| Event::read(&recorded, &upcasters).map(|event| (recorded, event));
        let recorded = self.feed.read_stream(aggregate_type, id).await?;
        Ok(Stream { events: recorded.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl Stream {
    fn fold(&self, as_of: AsOf) -> Subscription {
        let mut state = Subscription::default();
        for (_, event) in self.events.iter().filter(|(recorded, _)| as_of.knows(recorded)) {
            if let Event::Subscription(_, event) = event {
                subscription::evolve(&mut state, event);
            }
        }
        state
    }

    /// The moment to ask a subscription about: none, which is the latest, once everything known of it had been learned. The
    /// provider's clock may be ahead of ours, and what has been learned has happened.
    fn moment(&self, as_of: AsOf) -> Option<DateTime<Utc>> {
        let mut known = self.events.iter().filter(|(recorded, _)| as_of.knows(recorded));
        let learned = known.all(|(recorded, _)| recorded.metadata.recorded_at <= as_of.at);
        (!learned).then_some(as_of.at)
    }

    /// The events of the log that stand behind some evidence. Bookkeeping is left out where there is better.
    fn deciding(&self, evidence: &Evidence, as_of: AsOf) -> Vec<DecidingEvent> {
        let bookkeeping = |event: &Event| {
            matches!(event, Event::Subscription(_, subscription::SubscriptionEvent::OrderAmbiguous { .. }))
        };
        self.events
            .iter()
            .filter(|(recorded, event)| as_of.knows(recorded) && !bookkeeping(event))
            .filter(|(_, event)| tells(event).is_some_and(|source| evidence.deciding.contains(source)))
            .map(|(recorded, event)| DecidingEvent {
                position: recorded.position,
                event_type: recorded.event_type.clone(),
                cause: tells(event).map_or_else(|| recorded.metadata.cause.clone(), ToString::to_string),
                occurred_at: recorded.metadata.occurred_at,
                recorded_at: recorded.metadata.recorded_at,
                sentence: event.describe(),
            })
            .collect()
    }
}

/// The provider event that an event of a subscription tells of.
fn tells(event: &Event) -> Option<&SourceEventId> {
    if let Event::Subscription(_, event) = event { event.source() } else { None }
}

impl Explanation {
    /// The explanation as support reads it.
    pub fn text(&self) -> String {
        let verdict = if self.decision.allowed { "ALLOWED" } else { "DENIED" };
        let mut lines = vec![
            format!(
                "{verdict} ({})  {} · video {} · at {}",
                self.decision.reason.as_str(),
                self.member,
                self.video,
                stamp(self.as_of.at)
            ),
            self.message.clone(),
        ];
        lines.extend(self.as_of.known_at.map(|known_at| format!("as known at {}", stamp(known_at))));
        lines.extend(self.decision.plan.as_ref().map(|plan| format!("plan {plan}")));
        lines.extend(self.decision.until.map(|until| format!("until {}", stamp(until))));
        lines.extend(self.decision.fix.as_ref().map(|fix| {
            let plan = fix.plan.as_ref().map(|plan| format!(" ({plan})")).unwrap_or_default();
            format!("fix {}{plan}", fix.action.as_str())
        }));
        if self.decision.reason == Reason::NoMembership {
            lines.push("no subscription was known".to_owned());
        }
        lines.extend(self.sources.iter().enumerate().map(|(index, source)| {
            let decided = if self.decision.source == Some(index) { "decides" } else { "tried" };
            let reason = source.decision.reason.as_str();
            format!("{decided} {}: {} → {reason}", source.subscription, source.standing.terms.status)
        }));
        lines.extend(self.deciding.iter().map(|event| {
            let DecidingEvent { cause, event_type, sentence, .. } = event;
            let (occurred, recorded) = (stamp(event.occurred_at), stamp(event.recorded_at));
            format!("because {cause} {event_type} ({occurred}, learned {recorded}): {sentence}")
        }));
        lines.extend(self.confirmed_by.as_ref().map(|source| format!("confirmed by {source}")));
        lines.join("\n  ") + "\n"
    }
}

/// A moment as it is shown to staff.
pub(crate) fn stamp(moment: DateTime<Utc>) -> String {
    moment.trunc_subsecs(3).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
