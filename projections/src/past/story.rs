//! A member's history grouped by cause: what arrived or was asked for, what happened, and what that opened or closed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::access::{Decision, Source};
use domain::catalog::Catalog;
use domain::customer::CustomerEvent;
use domain::events::Event;
use domain::grant::{self, Grant};
use domain::ids::{CustomerId, GrantId, MemberId, PlanId, SubscriptionId};
use domain::metadata::Actor;
use domain::ports::{Position, Recorded};
use domain::subscription::{self, Subscription};

use super::known::{by_plan, next_change};
use super::revisions::Revisions;
use super::words::{plan_name, status};
use super::{AsOf, Chronicle, stamp};
use crate::timeline::TimelineEntry;

/// So many events and deliveries are on a page, if nothing else is said.
pub const USUALLY_TOLD: usize = 200;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Money: attempts to pay, refunds, disputes, checkouts.
    Payments,
    /// What opens and closes videos: subscriptions, links.
    Access,
    /// The account.
    Account,
    /// Done by staff, an operator or another back end.
    Staff,
    /// Something arrived that changed nothing.
    Deliveries,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Payments, Self::Access, Self::Account, Self::Staff, Self::Deliveries];

    /// The kind as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Access => "access",
            Self::Account => "account",
            Self::Staff => "staff",
            Self::Deliveries => "deliveries",
        }
    }

    /// The kind written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind of an event, whoever made it happen.
    pub(crate) fn of(event: &Event) -> Self {
        use domain::account::AccountEvent;
        use domain::member::MemberEvent;
        match event {
            Event::Subscription(_, event) => {
                let of_money = event.attempt().is_some()
                    || event.reversed().is_some()
                    || matches!(event, subscription::SubscriptionEvent::InvoiceNoted { .. });
                if of_money { Self::Payments } else { Self::Access }
            }
            Event::Account(
                _,
                AccountEvent::StaffRead { .. }
                | AccountEvent::StaffSentLetter { .. }
                | AccountEvent::StaffEndedSessions { .. }
                | AccountEvent::AccountLocked { .. }
                | AccountEvent::AccountUnlocked { .. },
            )
            | Event::Member(
                _,
                MemberEvent::NoteAdded { .. }
                | MemberEvent::NoteWithdrawn { .. }
                | MemberEvent::ComparisonRequested { .. }
                | MemberEvent::ComparisonDone { .. }
                | MemberEvent::ComparisonFailed { .. }
                | MemberEvent::MemberErased { .. },
            ) => Self::Staff,
            Event::Member(_, MemberEvent::MemberRegistered) | Event::Account(..) => Self::Account,
            Event::Member(..) | Event::Payment(..) => Self::Payments,
            Event::Customer(..) | Event::Grant(..) | Event::Catalog(_) => Self::Access,
        }
    }
}

/// What the billing provider delivered, as the inbox knows it. The log tells only of those that told it something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySeen {
    /// The provider's event id.
    pub id: String,
    /// Its event type.
    pub event_type: String,
    /// The provider's time of it.
    pub created: Option<DateTime<Utc>>,
    /// When it first arrived.
    pub received_at: DateTime<Utc>,
    /// How many times it arrived.
    pub times_received: u32,
    /// What became of it: `pending`, `applied`, `no_change`, `stale`, `parked`, `ignored`, `failed`.
    pub outcome: String,
    /// Why: a code.
    pub reason: Option<String>,
    /// Why: a sentence.
    pub detail: Option<String>,
    /// When that was decided.
    pub settled_at: Option<DateTime<Utc>>,
}

impl DeliverySeen {
    /// What arrived and what became of it, in words.
    pub fn sentence(&self) -> String {
        let came = match self.times_received {
            0 | 1 => format!("{} arrived", self.event_type),
            times => format!("{} arrived {times} times and counted once", self.event_type),
        };
        let became = match self.outcome.as_str() {
            "pending" => "waits to be looked at",
            "applied" => "was carried out",
            "no_change" => "told what was known already",
            "stale" => "told of something older than what is known, kept as history",
            "parked" => "is parked: somebody has to see to its reason",
            "ignored" => "is not about memberships",
            "failed" => "could not be carried out after many attempts",
            other => other,
        };
        // Of somebody who was erased no details are kept.
        let why = self.detail.as_deref().filter(|detail| !detail.is_empty()).or(self.reason.as_deref());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{came}: {became}{why}")
    }

    fn at(&self) -> DateTime<Utc> {
        self.created.unwrap_or(self.received_at)
    }
}

/// Which part of a history. The default is all of it, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only groups with something of this kind.
    pub kind: Option<EntryKind>,
    /// Only groups with an event or delivery type that contains this, in whatever case.
    pub event_type: Option<String>,
    /// Only what was true at this moment or later.
    pub from: Option<DateTime<Utc>>,
    /// Only what was true before this moment.
    pub until: Option<DateTime<Utc>>,
    /// The latest first.
    pub newest_first: bool,
    /// Only what comes after this group, by its id: the end of the page before.
    pub after: Option<String>,
    /// So many events and deliveries at most, if one group alone does not have more; [`USUALLY_TOLD`] when not given.
    pub limit: Option<usize>,
}

/// A member's history, grouped by cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// What arrived, was asked for or came with time, in the order in which it was true.
    pub groups: Vec<Group>,
    /// The id of the last group, when there are more.
    pub next: Option<String>,
}

impl Story {
    /// The part of a whole story that is asked for.
    #[must_use]
    pub fn part(&self, filter: &Filter) -> Self {
        let mut groups: Vec<&Group> = self.groups.iter().filter(|group| filter.takes(group)).collect();
        if filter.newest_first {
            groups.reverse();
        }
        if let Some(after) = &filter.after {
            let seen =
                groups.iter().position(|group| group.id == *after).map_or(groups.len(), |place| place + 1);
            groups.drain(..seen);
        }
        let most = filter.limit.unwrap_or(USUALLY_TOLD);
        let mut told = 0;
        let fitting = groups.iter().take_while(|group| {
            told += group.size();
            told <= most
        });
        // A group that alone is more than a page is a page.
        let count = fitting.count().max(1);
        let has_more = groups.len() > count;
        groups.truncate(count);
        let next = groups.last().filter(|_| has_more).map(|group| group.id.clone());
        Self { groups: groups.into_iter().cloned().collect(), next }
    }
}

/// Everything that followed from one cause: a delivery, a command, or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Known by this among the groups of her history.
    pub id: String,
    /// The provider's event id or a request id; `time` where nothing happened to her and the rules or time did it.
    pub cause: String,
    /// When it was true.
    pub at: DateTime<Utc>,
    /// When it was recorded or arrived.
    pub recorded_at: DateTime<Utc>,
    /// Who made it happen.
    pub actor: Actor,
    /// The events, in the order of the log; none where nothing changed.
    pub entries: Vec<TimelineEntry>,
    /// What arrived, where it is still known.
    pub delivery: Option<DeliverySeen>,
    /// What it opened or closed.
    pub access: Option<AccessChange>,
    /// The whole in one line.
    pub sentence: String,
}

/// What a group opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChange {
    /// The plans that were open before, best first.
    pub before: Vec<PlanId>,
    /// The plans that are open since.
    pub after: Vec<PlanId>,
    /// The same in words: `opens Pro until 3 June 2026, 10:00 UTC`, `closes everything`.
    pub sentence: String,
}

impl Chronicle {
    /// A part of her history grouped by cause, with the deliveries that speak of her payers. `now` bounds what time alone has
    /// done.
    pub fn story(&self, deliveries: Vec<DeliverySeen>, filter: &Filter, now: DateTime<Utc>) -> Story {
        self.whole_story(deliveries, now).part(filter)
    }

    /// All of it, oldest first.
    pub fn whole_story(&self, deliveries: Vec<DeliverySeen>, now: DateTime<Utc>) -> Story {
        let mut groups = self.groups(deliveries, now);
        groups.sort_by(|one, other| (one.at, one.place()).cmp(&(other.at, other.place())));
        Story { groups, next: None }
    }

    fn groups(&self, deliveries: Vec<DeliverySeen>, now: DateTime<Utc>) -> Vec<Group> {
        let mut by_cause: BTreeMap<String, Vec<TimelineEntry>> = BTreeMap::new();
        for entry in self.entries() {
            by_cause.entry(entry.cause.clone()).or_default().push(entry);
        }
        let mut deliveries: BTreeMap<String, DeliverySeen> =
            deliveries.into_iter().map(|delivery| (delivery.id.clone(), delivery)).collect();
        let Turns { by_cause: mut turned, by_time } = self.turns(now);
        let of_events = by_cause.into_iter().map(|(cause, entries)| {
            let (delivery, access) = (deliveries.remove(&cause), turned.remove(&cause));
            Group::of(cause, entries, delivery, access)
        });
        let mut groups: Vec<Group> = of_events.collect();
        groups.extend(deliveries.into_values().map(Group::of_delivery));
        groups.extend(by_time.into_iter().map(Group::of_time));
        groups
    }

    /// What opened and closed, cause by cause, as this service knew it at the time, and what time alone did.
    fn turns(&self, now: DateTime<Utc>) -> Turns {
        let mut events: Vec<&(Recorded, Event)> = self.sources_events().collect();
        events.sort_by_key(|(recorded, _)| recorded.position);
        let mut turns = Turns::default();
        let mut running = Running {
            member: &self.member,
            customers: Vec::new(),
            subscriptions: BTreeMap::new(),
            grants: BTreeMap::new(),
        };
        for (index, (recorded, event)) in events.iter().enumerate() {
            let Recorded { position, metadata, .. } = recorded;
            let as_of = AsOf { at: metadata.recorded_at, known_at: None, position: Some(*position) };
            let (_, catalog) = self.revisions.in_force(as_of);
            let before = running.open(&catalog, as_of.at);
            running.take(event);
            let after = running.open(&catalog, as_of.at);
            turns.note(&metadata.cause, &before, &after, &catalog);
            let next = events.get(index + 1).map_or(now, |(next, _)| next.metadata.recorded_at);
            turns.by_time.extend(running.by_time(&self.revisions, as_of, next));
        }
        turns
    }
}

/// What opened and closed.
#[derive(Default)]
struct Turns {
    by_cause: BTreeMap<String, AccessChange>,
    by_time: Vec<Passing>,
}

/// What opened or closed without anything happening to her.
struct Passing {
    at: DateTime<Utc>,
    what: &'static str,
    access: AccessChange,
}

impl Turns {
    /// A cause that changes something twice did what lies between its first and its last event.
    fn note(&mut self, cause: &str, before: &Open, after: &Open, catalog: &Catalog) {
        let Some(change) = AccessChange::between(before, after, catalog) else { return };
        let held = self.by_cause.remove(cause);
        let first = held.map_or_else(|| change.before.clone(), |held| held.before);
        self.by_cause.insert(cause.to_owned(), AccessChange { before: first, ..change });
    }
}

/// Her sources while the log is read on.
struct Running<'c> {
    member: &'c MemberId,
    customers: Vec<&'c CustomerId>,
    subscriptions: BTreeMap<&'c SubscriptionId, Subscription>,
    grants: BTreeMap<&'c GrantId, Grant>,
}

/// The plans that are open, best first, each with why.
type Open = Vec<(PlanId, Decision)>;

impl<'c> Running<'c> {
    fn take(&mut self, event: &'c Event) {
        match event {
            Event::Customer(id, CustomerEvent::MemberLinked { member, .. }) if member == self.member => {
                self.customers.push(id);
            }
            Event::Customer(id, CustomerEvent::MemberUnlinked { member, .. }) if member == self.member => {
                self.customers.retain(|held| *held != id);
            }
            Event::Subscription(id, event) => {
                subscription::evolve(self.subscriptions.entry(id).or_default(), event);
            }
            Event::Grant(id, event) => grant::evolve(self.grants.entry(id).or_default(), event),
            _ => {}
        }
    }

    fn sources(&self, catalog: &Catalog) -> Vec<Source> {
        let standings = self.subscriptions.values().filter_map(|state| state.standing(None));
        let hers = standings.filter(|standing| self.customers.contains(&&standing.terms.customer));
        let source = |standing| {
            let domain::subscription::Standing { terms, anchors } = &standing;
            Source::new(&standing, catalog.opened_by(&terms.items, &anchors.plans))
        };
        let granted = self.grants.values().filter_map(|state| {
            let given = state.given()?;
            let plans = catalog.set_of(std::slice::from_ref(&given.plan));
            Some(Source::granted(given, state.is_revoked(), plans))
        });
        hers.map(source).chain(granted).collect()
    }

    fn open(&self, catalog: &Catalog, at: DateTime<Utc>) -> Open {
        open(&self.sources(catalog), catalog, at)
    }

    /// What ends by time alone from one event until the next, by the rules in force then, and what other rules did.
    fn by_time(&self, revisions: &Revisions, from: AsOf, until: DateTime<Utc>) -> Vec<Passing> {
        let known = AsOf::at(until);
        let between = |moment: &DateTime<Utc>| *moment > from.at && *moment < until;
        let mut moments: Vec<DateTime<Utc>> = revisions.moments(known).filter(between).collect();
        moments.push(until);
        moments.sort_unstable();
        moments.dedup();
        let (mut changes, mut as_of) = (Vec::new(), from);
        let (_, mut catalog) = revisions.in_force(as_of);
        for at in moments {
            changes.extend(self.by_time_under(&catalog, as_of.at, at));
            if at >= until {
                break;
            }
            as_of = AsOf::at(at);
            let (_, next) = revisions.in_force(as_of);
            let change = AccessChange::between(&self.open(&catalog, at), &self.open(&next, at), &next);
            let turned = change.filter(|change| change.before != change.after);
            let what = "The catalogue changed";
            changes.extend(turned.map(|access| Passing { at, what, access }));
            catalog = next;
        }
        changes
    }

    /// The same under one catalogue.
    fn by_time_under(&self, catalog: &Catalog, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Passing> {
        let (sources, policy) = (self.sources(catalog), catalog.policy());
        let mut changes = Vec::new();
        let mut at = from;
        while let Some(next) = next_change(&sources, &policy, at).filter(|next| *next < until) {
            let (before, after) = (open(&sources, catalog, at), open(&sources, catalog, next));
            // The provider ends trials and periods itself; a date that passes without turning anything is no news.
            let turns = before.len() != after.len();
            let change = AccessChange::between(&before, &after, catalog).filter(|_| turns);
            changes.extend(change.map(|access| Passing { at: next, what: "Time passed", access }));
            at = next;
        }
        changes
    }
}

fn open(sources: &[Source], catalog: &Catalog, at: DateTime<Utc>) -> Open {
    let plans = by_plan(sources, catalog, &catalog.policy(), at);
    plans.into_iter().filter(|(_, decision)| decision.allowed).collect()
}

impl AccessChange {
    fn between(before: &Open, after: &Open, catalog: &Catalog) -> Option<Self> {
        let told = |open: &Open| -> Vec<_> {
            let told = open.iter().map(|(plan, decision)| (plan.clone(), decision.reason, decision.until));
            told.collect()
        };
        if told(before) == told(after) {
            return None;
        }
        let ids = |open: &Open| -> Vec<PlanId> { open.iter().map(|(plan, _)| plan.clone()).collect() };
        let (held, holds) = (ids(before), ids(after));
        // Whoever reads that Pro is open needs not be told the same of what is within Pro.
        let widest = |plans: &[PlanId]| -> Vec<String> {
            let more = |plan: &PlanId, other: &PlanId| {
                catalog.is_within(plan, other) && !catalog.is_within(other, plan)
            };
            let widest = plans.iter().filter(|plan| !plans.iter().any(|other| more(plan, other)));
            widest.map(|plan| plan_name(plan, catalog)).collect()
        };
        let names = |plans: &[PlanId]| widest(plans).join(" and ");
        let stay = |plans: &[PlanId]| {
            let verb = if widest(plans).len() == 1 { "stays" } else { "stay" };
            format!("{} {verb} open", names(plans))
        };
        let gone: Vec<PlanId> = held.iter().filter(|plan| !holds.contains(plan)).cloned().collect();
        let new: Vec<PlanId> = holds.iter().filter(|plan| !held.contains(plan)).cloned().collect();
        let why = |plans: &[PlanId]| {
            let decision = after.iter().find(|(plan, _)| plans.contains(plan)).map(|(_, decision)| decision);
            decision.map(status).unwrap_or_default()
        };
        let sentence = match (new.is_empty(), gone.is_empty()) {
            (true, false) if holds.is_empty() => "closes everything".to_owned(),
            (true, false) => format!("closes {}; {}", names(&gone), stay(&holds)),
            (false, true) => format!("opens {}: {}", names(&new), why(&new)),
            (false, false) => format!("opens {} instead of {}: {}", names(&new), names(&gone), why(&new)),
            (true, true) => format!("{}: {}", stay(&holds), why(&holds)),
        };
        Some(Self { before: held, after: holds, sentence })
    }
}

impl Group {
    fn of(
        cause: String,
        mut entries: Vec<TimelineEntry>,
        delivery: Option<DeliverySeen>,
        access: Option<AccessChange>,
    ) -> Self {
        entries.sort_by_key(|entry| entry.position);
        let sentences: Vec<&str> = entries.iter().map(|entry| entry.sentence.as_str()).collect();
        let mut sentence = sentences.join("; ");
        if let Some(access) = &access {
            sentence = format!("{sentence}: {}", access.sentence);
        }
        if let Some(times) =
            delivery.as_ref().map(|delivery| delivery.times_received).filter(|times| *times > 1)
        {
            sentence = format!("{sentence} (arrived {times} times, counted once)");
        }
        let first = &entries[0];
        Self {
            id: first.position.to_string(),
            cause,
            at: first.occurred_at,
            recorded_at: first.recorded_at,
            actor: first.actor.clone(),
            delivery,
            access,
            sentence,
            entries,
        }
    }

    fn of_delivery(delivery: DeliverySeen) -> Self {
        Self {
            id: delivery.id.clone(),
            cause: delivery.id.clone(),
            at: delivery.at(),
            recorded_at: delivery.received_at,
            actor: Actor::provider("stripe"),
            entries: Vec::new(),
            access: None,
            sentence: delivery.sentence(),
            delivery: Some(delivery),
        }
    }

    fn of_time(Passing { at, what, access }: Passing) -> Self {
        Self {
            id: format!("time-{}", at.timestamp_micros()),
            cause: "time".to_owned(),
            at,
            recorded_at: at,
            actor: Actor::system(),
            entries: Vec::new(),
            delivery: None,
            sentence: format!("{what}: {}", access.sentence),
            access: Some(access),
        }
    }

    /// The group as support reads it: one line, and one for each event of several or with words of staff.
    pub fn text(&self) -> String {
        let mut lines =
            vec![format!("{}  {}  ({}, {})", stamp(self.at), self.sentence, self.actor, self.cause)];
        if self.entries.len() > 1 || self.entries.iter().any(|entry| entry.remark.is_some()) {
            lines.extend(self.entries.iter().map(TimelineEntry::text));
        }
        lines.join("\n    ")
    }

    /// How many events and deliveries it has.
    fn size(&self) -> usize {
        self.entries.len().max(1)
    }

    /// Its place among those of one moment.
    fn place(&self) -> (Option<Position>, &str) {
        (self.entries.first().map(|entry| entry.position), &self.id)
    }

    fn is_of(&self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Deliveries => self.entries.is_empty() && self.delivery.is_some(),
            EntryKind::Staff => self.entries.iter().any(TimelineEntry::is_by_staff),
            EntryKind::Access => self.access.is_some() || self.entries.iter().any(|entry| entry.kind == kind),
            EntryKind::Payments | EntryKind::Account => self.entries.iter().any(|entry| entry.kind == kind),
        }
    }
}

impl Filter {
    /// Whether a single event is among what is asked for.
    pub fn takes_entry(&self, entry: &TimelineEntry) -> bool {
        let is_of = |kind| entry.kind == kind || kind == EntryKind::Staff && entry.is_by_staff();
        let named = |wanted: &String| entry.event_type.to_lowercase().contains(&wanted.to_lowercase());
        self.kind.is_none_or(is_of)
            && self.event_type.as_ref().is_none_or(named)
            && self.from.is_none_or(|from| entry.occurred_at >= from)
            && self.until.is_none_or(|until| entry.occurred_at < until)
    }

    fn takes(&self, group: &Group) -> bool {
        let types = group.entries.iter().map(|entry| entry.event_type.as_str());
        let types = types.chain(group.delivery.as_ref().map(|delivery| delivery.event_type.as_str()));
        let named = |wanted: &String| {
            let wanted = wanted.to_lowercase();
            types.clone().any(|held| held.to_lowercase().contains(&wanted))
        };
        self.kind.is_none_or(|kind| group.is_of(kind))
            && self.event_type.as_ref().is_none_or(named)
            && self.from.is_none_or(|from| group.at >= from)
            && self.until.is_none_or(|until| group.at < until)
    }
}
