//! When an answer turned, and what turned it.
//!
//! Between two moments at which something happened or was learned, only ends that are known can turn an answer, so all
//! moments at which it may turn can be named, and are tried.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::access::{Decision, Reason, decide_access};
use domain::catalog::Catalog;
use domain::ids::PlanId;
use domain::ports::Recorded;

use super::explain::DecidingEvent;
use super::known::{Held, Known, next_change};
use super::{AsOf, Chronicle, PastError, stamp};

/// An answer with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no.
    pub allowed: bool,
    /// Why; nothing where the catalogue of that moment had no such video.
    pub reason: Option<Reason>,
    /// The plan the reason speaks of.
    pub plan: Option<PlanId>,
    /// Until when a yes holds, if an end is known.
    pub until: Option<DateTime<Utc>>,
    /// The answer in words: the ones that the member reads.
    pub sentence: String,
}

/// A moment at which an answer turns from no to yes or back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The first moment of the new answer.
    pub at: DateTime<Utc>,
    /// What was answered until then.
    pub from: Verdict,
    /// What is answered from then on.
    pub to: Verdict,
    /// The event that did it, or that set the end which did.
    pub event: Option<DecidingEvent>,
    /// Nothing happened at that moment: an end that was set before had come.
    pub by_time: bool,
}

impl Flip {
    /// The flip as one line.
    pub fn text(&self) -> String {
        let turned = if self.to.allowed { "opens" } else { "closes" };
        let reason = self.to.reason.map_or("no such video", Reason::as_str);
        let because = match (&self.event, self.by_time) {
            (Some(event), true) => {
                format!("; time alone, after {} {}: {}", event.position, event.event_type, event.sentence)
            }
            (Some(event), false) => {
                format!("; {} {} ({}): {}", event.position, event.event_type, event.cause, event.sentence)
            }
            (None, true) => "; time alone".to_owned(),
            (None, false) => String::new(),
        };
        format!("{} {turned} ({reason}){because}", stamp(self.at))
    }
}

impl Chronicle {
    /// When the answer for a video turned, and will turn by what is known, oldest first. Of `as_of` only what was known
    /// counts.
    pub fn flips(&self, video: &str, as_of: AsOf) -> Result<Vec<Flip>, PastError> {
        if self.revisions.latest().video(video).is_none()
            && self.revisions.in_force(as_of).1.video(video).is_none()
        {
            return Err(PastError::UnknownVideo(video.to_owned()));
        }
        let known = self.known(as_of);
        Ok(Scan::new(self, &known, video, as_of).all())
    }
}

/// Tries the moments at which the answer for a video may turn.
pub(super) struct Scan<'s> {
    chronicle: &'s Chronicle,
    known: &'s Known<'s>,
    video: &'s str,
    as_of: AsOf,
    /// All moments at which something happened or was learned.
    moments: Vec<DateTime<Utc>>,
}

impl<'s> Scan<'s> {
    pub(super) fn new(chronicle: &'s Chronicle, known: &'s Known<'s>, video: &'s str, as_of: AsOf) -> Self {
        let mut moments: Vec<DateTime<Utc>> = vec![DateTime::<Utc>::MIN_UTC];
        for (recorded, _) in known.events().filter(|(recorded, _)| as_of.knows(recorded)) {
            moments.extend([recorded.metadata.occurred_at, recorded.metadata.recorded_at]);
        }
        moments.extend(chronicle.revisions.moments(as_of));
        moments.sort_unstable();
        moments.dedup();
        Self { chronicle, known, video, as_of, moments }
    }

    /// All flips, oldest first.
    fn all(&self) -> Vec<Flip> {
        let mut flips = Vec::new();
        let mut before: Option<(DateTime<Utc>, Answer<'_>)> = None;
        for index in 0..self.moments.len() {
            for (at, answer) in self.segment(index) {
                if let Some((_, held)) = before.filter(|(_, held)| held.allowed() != answer.allowed()) {
                    flips.push(self.flip(at, &held, &answer));
                }
                before = Some((at, answer));
            }
        }
        flips
    }

    /// The last flip at or before `at`.
    pub(super) fn before(&self, at: DateTime<Utc>) -> Option<Flip> {
        let last = self.moments.partition_point(|moment| *moment <= at);
        let mut after: Option<(DateTime<Utc>, Answer<'_>)> = None;
        for index in (0..last).rev() {
            for (moment, answer) in self.segment(index).into_iter().rev().filter(|(moment, _)| *moment <= at)
            {
                if let Some((turned_at, held)) = after.filter(|(_, held)| held.allowed() != answer.allowed())
                {
                    return Some(self.flip(turned_at, &answer, &held));
                }
                after = Some((moment, answer));
            }
        }
        None
    }

    /// The first flip after `at`.
    pub(super) fn after(&self, at: DateTime<Utc>) -> Option<Flip> {
        let first = self.moments.partition_point(|moment| *moment <= at);
        let mut before = self.answer(at);
        for index in first.saturating_sub(1)..self.moments.len() {
            for (moment, answer) in self.segment(index).into_iter().filter(|(moment, _)| *moment > at) {
                if before.allowed() != answer.allowed() {
                    return Some(self.flip(moment, &before, &answer));
                }
                before = answer;
            }
        }
        None
    }

    /// The answers from one moment at which something happened until the next: the first, and one after each end that time
    /// alone brings.
    fn segment(&self, index: usize) -> Vec<(DateTime<Utc>, Answer<'s>)> {
        let next = self.moments.get(index + 1);
        let mut at = self.moments[index];
        let mut answers = Vec::new();
        loop {
            let answer = self.answer(at);
            let end = answer.next_change.filter(|end| next.is_none_or(|next| end < next));
            answers.push((at, answer));
            match end {
                Some(end) => at = end,
                None => return answers,
            }
        }
    }

    fn answer(&self, at: DateTime<Utc>) -> Answer<'s> {
        Answer::new(self.chronicle, self.known, self.video, AsOf { at, ..self.as_of })
    }

    fn flip(&self, at: DateTime<Utc>, from: &Answer<'_>, to: &Answer<'_>) -> Flip {
        let event = self.event(at, to.allowed());
        let by_time = event.is_none();
        let open = if to.allowed() { to } else { from };
        let event = event.or_else(|| open.deciding(self.as_of));
        Flip { at, from: from.verdict(), to: to.verdict(), event, by_time }
    }

    /// The event of this very moment with which the answer became what it is: the first, in the order of the log, after
    /// which no other of that moment is needed.
    fn event(&self, at: DateTime<Utc>, allowed: bool) -> Option<DecidingEvent> {
        let of_moment = |recorded: &Recorded| {
            let metadata = &recorded.metadata;
            metadata.occurred_at == at || metadata.recorded_at == at
        };
        let mut events: Vec<_> = self
            .known
            .events()
            .filter(|(recorded, _)| self.as_of.knows(recorded) && of_moment(recorded))
            .map(|(recorded, event)| (recorded, DecidingEvent::new(recorded, event)))
            .collect();
        events.sort_by_key(|(recorded, _)| recorded.position);
        let answer_with = |last: Option<&Recorded>| {
            let taken = |recorded: &Recorded| {
                let is_after = last.is_none_or(|last| recorded.position > last.position);
                self.as_of.knows(recorded) && !(of_moment(recorded) && is_after)
            };
            let known = self.chronicle.known_of(taken);
            Answer::new(self.chronicle, &known, self.video, AsOf { at, ..self.as_of }).allowed()
        };
        if !events.is_empty() && answer_with(None) != allowed {
            let did = |(recorded, _): &&(&Recorded, DecidingEvent)| answer_with(Some(recorded)) == allowed;
            let found = events.iter().find(did).map(|(_, event)| event.clone());
            if found.is_some() {
                return found;
            }
        }
        self.chronicle.revisions.deciding(at, self.as_of)
    }
}

/// The answer for a video at a moment, under the catalogue of that moment.
struct Answer<'k> {
    as_of: AsOf,
    catalog: Arc<Catalog>,
    decision: Option<Decision>,
    decider: Option<Held<'k>>,
    next_change: Option<DateTime<Utc>>,
}

impl<'k> Answer<'k> {
    fn new(chronicle: &Chronicle, known: &'k Known<'k>, video: &str, as_of: AsOf) -> Self {
        let (_, catalog) = chronicle.revisions.in_force(as_of);
        let policy = catalog.policy();
        let mut held = known.held(&catalog, as_of);
        let sources: Vec<_> = held.iter().map(|held| held.source).collect();
        let decision = catalog
            .video(video)
            .map(|wanted| decide_access(sources.iter().copied(), &catalog, &policy, wanted, as_of.at));
        let decider =
            decision.as_ref().and_then(|decision| decision.source).map(|index| held.swap_remove(index));
        let next_change = next_change(&sources, &policy, as_of.at);
        Self { as_of, catalog, decision, decider, next_change }
    }

    fn allowed(&self) -> bool {
        self.decision.as_ref().is_some_and(|decision| decision.allowed)
    }

    fn verdict(&self) -> Verdict {
        let decision = self.decision.as_ref();
        let sentence = decision.map_or_else(
            || "The catalogue had no such video.".to_owned(),
            |decision| decision.message(&self.catalog),
        );
        Verdict {
            allowed: self.allowed(),
            reason: decision.map(|decision| decision.reason),
            plan: decision.and_then(|decision| decision.plan.clone()),
            until: decision.and_then(|decision| decision.until),
            sentence,
        }
    }

    /// The latest event behind this answer.
    fn deciding(&self, as_of: AsOf) -> Option<DecidingEvent> {
        let held = self.decider.as_ref()?;
        let deciding = held.deciding(AsOf { at: self.as_of.at, ..as_of });
        deciding.into_iter().max_by_key(|event| (event.occurred_at, event.position))
    }
}
