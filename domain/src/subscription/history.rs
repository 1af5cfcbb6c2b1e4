//! The observations of one subscription, in the order in which they were true, whatever order they arrived in.
//!
//! The order is a function of the set of observations alone: any permutation and any duplication of arrivals ends in
//! the same history. It is, in this order of weight: the provider's clock (whole seconds); an end after everything
//! else of its second; the kind of event; and, between changes of one second, the chain of replaced values. A look from about
//! that second stands where it shows what held.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::terms::{Status, Terms};
use crate::ids::SourceEventId;

/// How long before the second of its answer a look may have begun. Not a whole second: a look that began when an event of a
/// second was known already is dated just after that second's start, and is of that second.
const BEFORE_AN_ANSWER: TimeDelta = TimeDelta::milliseconds(900);

/// What kind of provider event an observation came with, in the order they take within one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The subscription was created.
    Created,
    /// The provider announced something; the state beside it may be older than a change of the same second.
    Notice,
    /// The subscription changed.
    Changed,
    /// No event: the provider was asked. It tells of everything up to the moment of asking, which may be amid the changes of
    /// the second of the answer.
    Looked,
    /// The subscription ended.
    Ended,
}

impl Kind {
    /// Whether the provider was asked, rather than telling by itself.
    pub fn is_look(self) -> bool {
        self == Self::Looked
    }
}

/// What a notice announces, where it is more than another look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The trial ends soon, or has been ended early.
    TrialEnding,
    /// A change that waited for its payment took effect.
    PendingUpdateApplied,
    /// A change that waited for its payment was given up; everything stays as it was.
    PendingUpdateExpired,
}

/// One look at a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The provider event it came with, or the look at the provider.
    pub source: SourceEventId,
    /// The provider's time of that event, whole seconds; of a look, the moment it was asked.
    pub at: DateTime<Utc>,
    /// The kind of that event.
    pub kind: Kind,
    /// What was announced with it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What the subscription looked like.
    pub terms: Terms,
    /// What it looked like before the change, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Box<Terms>>,
    /// Of a look: the newest observation that was known when it began, and that the provider knew of too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SourceEventId>,
}

impl Observation {
    /// An observation of which nothing more is told.
    pub fn new(source: SourceEventId, at: DateTime<Utc>, kind: Kind, terms: Terms) -> Self {
        Self { source, at, kind, notice: None, terms, replaced: None, after: None }
    }

    /// From when on it holds: an end holds from the end itself, which may be before the provider told of it.
    pub fn effective_at(&self) -> DateTime<Utc> {
        match self.terms.ended_at {
            Some(ended_at) if self.is_final() => ended_at.min(self.at),
            _ => self.at,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        self.terms.status.is_final()
    }

    fn rank(&self) -> (DateTime<Utc>, bool, Kind) {
        if self.kind.is_look() {
            // The answer came in that second, whose changes may be older or newer.
            let second = later(self.at, BEFORE_AN_ANSWER).trunc_subsecs(0);
            return (second, self.is_final(), Kind::Changed);
        }
        (self.at, self.is_final(), self.kind)
    }

    fn continues(&self, held: &Self) -> bool {
        self.replaced.as_ref().is_some_and(|replaced| self.terms.continues(replaced, &held.terms))
    }

    /// Whether everything was as in `held` before this. Where the provider does not say what was before, it announces with
    /// another event what one has told already.
    fn follows(&self, held: &Terms) -> bool {
        self.replaced.as_deref().unwrap_or(&self.terms).tell_the_same_as(held)
    }
}

/// All observations of one subscription, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    observations: Vec<Observation>,
    /// What follows from the observations up to each place. A question about a moment looks here instead of going through
    /// all that was before it, since thousands of moments are asked about when a turn of an answer is looked for.
    marks: Vec<Mark>,
    /// The places of the ends.
    ends: Vec<usize>,
    sources: BTreeSet<SourceEventId>,
}

/// What the observations up to a place say together, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The latest that does not wait for a first payment.
    begun: Option<usize>,
    /// The latest whose items were in the catalogue.
    pub(super) mapped: Option<usize>,
    /// Where the unbroken run of debt that it is in began: itself, if it is in none.
    pub(super) owing_from: usize,
    /// The first of that run that is past due.
    pub(super) fell_due: Option<usize>,
    /// Where the unbroken run of paused collection that it is in began: itself, if it is in none.
    pub(super) paused_from: usize,
}

impl Mark {
    fn new(place: usize, this: &Terms, before: Option<(&Terms, Self)>) -> Self {
        // A debt goes on while the provider tries, gives up, suspends and tries again; only another status ends it.
        let owes = |terms: &Terms| matches!(terms.status, Status::PastDue | Status::Unpaid | Status::Paused);
        let is_paused = |terms: &Terms| terms.collection_paused.is_some();
        let goes_on = |holds: &dyn Fn(&Terms) -> bool| {
            before.filter(|(held, _)| holds(held) && holds(this)).map(|(_, mark)| mark)
        };
        let (owing, paused) = (goes_on(&owes), goes_on(&is_paused));
        let latest = |is_one: bool, held: fn(Self) -> Option<usize>| {
            if is_one { Some(place) } else { before.and_then(|(_, mark)| held(mark)) }
        };
        Self {
            begun: latest(this.status != Status::Incomplete, |mark| mark.begun),
            mapped: latest(!this.plans.is_empty(), |mark| mark.mapped),
            owing_from: owing.map_or(place, |mark| mark.owing_from),
            fell_due: owing
                .and_then(|mark| mark.fell_due)
                .or_else(|| (this.status == Status::PastDue).then_some(place)),
            paused_from: paused.map_or(place, |mark| mark.paused_from),
        }
    }
}

impl History {
    /// Puts an observation where it belongs. One that is known already changes nothing.
    pub fn insert(&mut self, observation: Observation) {
        if !self.sources.insert(observation.source.clone()) {
            return;
        }
        let rank = observation.rank();
        let first = self.observations.partition_point(|held| held.rank() < rank);
        let place = self.observations.partition_point(|held| held.rank() <= rank);
        let mut last_before = (place > first).then(|| self.observations[place - 1].source.clone());
        self.observations.insert(place, observation);
        // The order within a second starts from what held before it, so what comes after may move too, as long as each
        // second ends with another observation than it did.
        let mut start = first;
        while start < self.observations.len() {
            let group = self.group_of(start);
            if start > first {
                last_before = Some(self.observations[group.end - 1].source.clone());
            }
            if group.len() > 1 {
                let (ordered, _) = self.ordered(&group);
                self.observations.splice(group.clone(), ordered);
            }
            if last_before.as_ref() == Some(&self.observations[group.end - 1].source) {
                break;
            }
            start = group.end;
        }
        self.mark_from(first);
    }

    fn mark_from(&mut self, first: usize) {
        self.marks.truncate(first);
        self.ends.retain(|end| *end < first);
        for place in first..self.observations.len() {
            let before =
                place.checked_sub(1).map(|before| (&self.observations[before].terms, self.marks[before]));
            self.marks.push(Mark::new(place, &self.observations[place].terms, before));
            if self.observations[place].is_final() {
                self.ends.push(place);
            }
        }
    }

    /// What the observations up to a place say together.
    pub(super) fn mark(&self, place: usize) -> Mark {
        self.marks[place]
    }

    /// The places of the observations that share a second and a rank with the one at `index`.
    fn group_of(&self, index: usize) -> Range<usize> {
        let rank = self.observations[index].rank();
        let start = self.observations.partition_point(|held| held.rank() < rank);
        let end = self.observations.partition_point(|held| held.rank() <= rank);
        start..end
    }

    fn ordered(&self, group: &Range<usize>) -> (Vec<Observation>, bool) {
        let before = group.start.checked_sub(1).map(|index| &self.observations[index]);
        order_within_a_second(before, self.observations[group.clone()].to_vec())
    }

    /// Whether an observation that came with `source` is held.
    pub fn contains(&self, source: &SourceEventId) -> bool {
        self.sources.contains(source)
    }

    /// Where the observation that came with `source` is in the order.
    pub fn index_of(&self, source: &SourceEventId) -> Option<usize> {
        self.observations.iter().position(|held| held.source == *source)
    }

    /// All observations, oldest first.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// The index of the observation that held at `at`, or holds now. An end is never left again, and a first payment is waited
    /// for once: a look is dated a little early, so that what it has left behind may seem to come after it.
    pub fn index_at(&self, at: Option<DateTime<Utc>>) -> Option<usize> {
        let known = |held: &Observation| at.is_none_or(|at| held.effective_at() <= at);
        if let Some(end) = self.ends.iter().find(|end| known(&self.observations[**end])) {
            return Some(*end);
        }
        // All but an end hold from their own moments on, in which order they are, but for looks, which may be after changes of
        // the second that follows.
        let until = |at: DateTime<Utc>| {
            self.observations.partition_point(|held| held.rank().0 <= later(at, BEFORE_AN_ANSWER))
        };
        let end = at.map_or(self.observations.len(), until);
        let last = (0..end).rev().find(|place| known(&self.observations[*place]))?;
        let mut begun = self.marks[last].begun;
        while let Some(place) = begun.filter(|place| !known(&self.observations[*place])) {
            begun = place.checked_sub(1).and_then(|before| self.marks[before].begun);
        }
        begun.or(Some(last))
    }

    /// The place of the first observation from `start` on that is newer than `at`.
    pub(super) fn first_after(&self, start: usize, at: DateTime<Utc>) -> Option<usize> {
        // The seconds that the observations belong to are in order, their own moments not: a look may be dated a little after
        // the start of its second.
        let second = |held: &Observation| later(held.rank().0, TimeDelta::seconds(1));
        let near = start + self.observations[start..].partition_point(|held| second(held) <= at);
        (near..self.observations.len()).find(|place| self.observations[*place].at > at)
    }

    /// Whether somebody has looked since one of the observations that share a second with the one at `index` was known.
    pub(super) fn has_been_looked_at_since(&self, index: usize) -> bool {
        let group = self.group_of(index);
        let later = self.observations[group.end..].iter().any(|later| later.kind.is_look());
        let group = &self.observations[group];
        let is_held = |source: &SourceEventId| group.iter().any(|held| held.source == *source);
        later || group.iter().any(|look| look.after.as_ref().is_some_and(is_held))
    }

    /// The newest observation, and the latest moment of any.
    pub fn newest(&self) -> Option<(SourceEventId, DateTime<Utc>)> {
        let newest = self.observations.last()?;
        let latest = self.observations.iter().map(|held| held.at).max()?;
        Some((newest.source.clone(), latest))
    }

    /// The sources of the observations that share a second and a rank with `source` and whose order the provider's
    /// data does not tell, if there are any.
    pub fn ambiguous_with(&self, source: &SourceEventId) -> Option<Vec<SourceEventId>> {
        let (group, ambiguous) = self.ordered(&self.group_of(self.index_of(source)?));
        ambiguous.then(|| group.into_iter().map(|held| held.source).collect())
    }
}

fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Orders the changes of one second by themselves, starting from what held `before`, and puts each look from about then where
/// it shows what held. The second half of the answer is true where the order is not told.
fn order_within_a_second(before: Option<&Observation>, rest: Vec<Observation>) -> (Vec<Observation>, bool) {
    let (mut looks, changes): (Vec<_>, Vec<_>) = rest.into_iter().partition(|held| held.kind.is_look());
    looks.sort_by(|a, b| (a.at, &a.source).cmp(&(b.at, &b.source)));
    let has_changes = !changes.is_empty();
    let (mut ordered, mut ambiguous) = order_changes(before, changes);
    let mut from = 0;
    for look in looks {
        let held_at = |place: usize| place.checked_sub(1).map_or(before, |last| ordered.get(last));
        let shows = |place: &usize| {
            let replaced = ordered.get(*place).and_then(|next| next.replaced.as_deref());
            let held = held_at(*place).map(|held| &held.terms);
            held.into_iter().chain(replaced).any(|terms| look.terms.tell_the_same_as(terms))
        };
        // A change that does not say what was before counts as newer, if it is news.
        let is_newer = |place: &usize| {
            ordered.get(*place).is_some_and(|next| {
                next.replaced.is_none() && !held_at(*place).is_some_and(|held| next.follows(&held.terms))
            })
        };
        let after = ordered.iter().position(|held| look.after.as_ref() == Some(&held.source));
        let mut places = after.map_or(0, |after| after + 1).max(from)..=ordered.len();
        let shown = places.clone().find(shows);
        // It shows what no change has led to that is known yet.
        ambiguous |= shown.is_none() && has_changes && after.is_none();
        let place = shown.or_else(|| places.find(is_newer)).unwrap_or(ordered.len());
        ordered.insert(place, look);
        from = place + 1;
    }
    (ordered, ambiguous)
}

/// Orders changes of one second by their chain of replaced values, starting from what held `before`. Where the chain
/// does not tell, the event id decides, so that every arrival order gives the same result, and the second half of the
/// answer is true.
fn order_changes(before: Option<&Observation>, mut rest: Vec<Observation>) -> (Vec<Observation>, bool) {
    rest.sort_by(|a, b| a.source.cmp(&b.source));
    if let Some(before) = before.filter(|_| rest.len() <= MOST_CHAINED)
        && let Some(chain) = chain(&before.terms, &rest.iter().collect::<Vec<_>>())
    {
        return (chain, false);
    }
    let mut ordered: Vec<Observation> = Vec::with_capacity(rest.len());
    let mut ambiguous = false;
    while !rest.is_empty() {
        let last = ordered.last().or(before);
        let waits = |candidate: &Observation| {
            rest.iter().any(|other| candidate.continues(other) && !other.continues(candidate))
        };
        let free: Vec<usize> = (0..rest.len()).filter(|&index| !waits(&rest[index])).collect();
        let candidates = if free.is_empty() { (0..rest.len()).collect() } else { free };
        let linked: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|&index| last.is_some_and(|last| rest[index].continues(last)))
            .collect();
        let choice = if linked.is_empty() { &candidates } else { &linked };
        ambiguous |= choice.iter().any(|&index| rest[index].terms != rest[choice[0]].terms);
        ordered.push(rest.remove(choice[0]));
    }
    (ordered, ambiguous)
}

/// More changes of one second than this are not tried in every order.
const MOST_CHAINED: usize = 8;

/// All of `rest` in an order in which each follows from the one before it and the first from `held`, if there is one. All
/// such orders end alike.
fn chain(held: &Terms, rest: &[&Observation]) -> Option<Vec<Observation>> {
    let is_repeat = |next: &&&Observation| next.terms.tell_the_same_as(held) && next.follows(held);
    let (repeats, changes): (Vec<&Observation>, Vec<&Observation>) = rest.iter().partition(is_repeat);
    let mut chained: Vec<Observation> = repeats.into_iter().cloned().collect();
    if changes.is_empty() {
        return Some(chained);
    }
    let follow = changes.iter().enumerate().filter(|(_, next)| next.follows(held));
    let tail = follow.map(|(index, next)| {
        let others = [&changes[..index], &changes[index + 1..]].concat();
        Some((*next, chain(&next.terms, &others)?))
    });
    let (next, tail) = tail.flatten().next()?;
    chained.push(next.clone());
    chained.extend(tail);
    Some(chained)
}
