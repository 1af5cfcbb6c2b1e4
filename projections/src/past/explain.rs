//! Why an answer was what it was.

use chrono::{DateTime, Utc};
use domain::access::{Decision, Reason, Source, decide_access};
use domain::catalog::{Catalog, Policy, Video};
use domain::events::Event;
use domain::ids::{CustomerId, MemberId, PlanId, SourceEventId};
use domain::metadata::Actor;
use domain::ports::{Position, Recorded};
use domain::subscription::{Evidence, Standing, SubscriptionEvent};

use super::flips::{Flip, Scan};
use super::known::Held;
use super::words::plan_name;
use super::{AsOf, Chronicle, PastError, Stream, stamp};

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
    /// The decision in words: the ones that the member reads.
    pub message: String,
    /// What opens this video, in words.
    pub rule: String,
    /// The revision of the catalogue that was in force, with its rules of access.
    pub policy: Option<PolicyInForce>,
    /// Everything that was tried, in the order of its ids.
    pub sources: Vec<ExplainedSource>,
    /// The events of the log that decided, oldest first.
    pub deciding: Vec<DecidingEvent>,
    /// The provider event that last told the same again.
    pub confirmed_by: Option<SourceEventId>,
    /// What each plan of the catalogue says about the video, best plan first.
    pub other_plans: Vec<PlanVerdict>,
    /// The nearest moment, at or before the one asked about, at which the answer had turned.
    pub before: Option<Flip>,
    /// The nearest moment after it at which the answer turns, by what is known.
    pub after: Option<Flip>,
    /// The end of the log when this was answered.
    pub position: Position,
}

/// A revision of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Which revision it is, from 1.
    pub revision: usize,
    /// The event that completed it.
    pub position: Position,
    /// Since when it is in force.
    pub since: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Who applied it.
    pub actor: Actor,
    /// What it follows from.
    pub cause: String,
    /// The rules of access it holds.
    pub policy: Policy,
}

/// What kind of source of access something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Bought from the provider.
    Subscription,
}

impl SourceKind {
    /// The kind as it is written in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
        }
    }
}

/// One thing that might have opened the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedSource {
    /// What kind of thing.
    pub kind: SourceKind,
    /// The subscription's id.
    pub id: String,
    /// Who pays for it, if somebody does.
    pub customer: Option<CustomerId>,
    /// Where it stood, in one word; a subscription's is the provider's.
    pub status: String,
    /// All that was known of a subscription.
    pub standing: Option<Standing>,
    /// What it stands for, best first: ids of plans.
    pub plans: Vec<PlanId>,
    /// Since when it runs.
    pub from: Option<DateTime<Utc>>,
    /// Its end, past or to come, if one is known.
    pub until: Option<DateTime<Utc>>,
    /// Who gave it, where it was given.
    pub giver: Option<Actor>,
    /// Whether the answer is this one's.
    pub decides: bool,
    /// What would have been decided with it alone.
    pub decision: Decision,
    /// That in words.
    pub sentence: String,
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

/// What a plan says about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVerdict {
    /// The plan.
    pub plan: PlanId,
    /// What it is called.
    pub name: String,
    /// Whether it opens the video.
    pub opens: bool,
    /// Whether she had it, good or not.
    pub held: bool,
    /// What it says, in words.
    pub sentence: String,
}

impl Chronicle {
    /// May she have watched it then, and why?
    pub fn explain(&self, video: &str, as_of: AsOf) -> Result<Explanation, PastError> {
        let known = self.known(as_of);
        let (count, catalog) = self.revisions.in_force(as_of);
        let Some(wanted) = catalog.video(video) else {
            return Err(PastError::UnknownVideo(video.to_owned()));
        };
        let policy = catalog.policy();
        let held = known.held(&catalog, as_of);
        let decide = |sources: &mut dyn Iterator<Item = Source>| {
            decide_access(sources, &catalog, &policy, wanted, as_of.at)
        };
        let decision = decide(&mut held.iter().map(|held| held.source));
        let sources: Vec<ExplainedSource> = held
            .iter()
            .enumerate()
            .map(|(index, held)| {
                let alone = decide(&mut std::iter::once(held.source));
                ExplainedSource {
                    decides: decision.source == Some(index),
                    sentence: alone.message(&catalog),
                    ..ExplainedSource::new(held, &catalog, alone)
                }
            })
            .collect();
        let decider = decision.source.and_then(|index| held.get(index));
        let evidence = decider.map(|held| held.bought.evidence(as_of)).unwrap_or_default();
        let deciding = decider.map(|held| held.bought.stream.deciding(&evidence, as_of)).unwrap_or_default();
        let scan = Scan::new(self, &known, video, as_of);
        Ok(Explanation {
            member: self.member.clone(),
            video: video.to_owned(),
            as_of,
            message: decision.message(&catalog),
            rule: rule(wanted, &catalog),
            policy: self.revisions.policy(count, &catalog),
            other_plans: plan_verdicts(wanted, &catalog, &sources),
            before: scan.before(as_of.at),
            after: scan.after(as_of.at),
            decision,
            sources,
            deciding,
            confirmed_by: evidence.confirmed_by,
            position: self.position,
        })
    }
}

impl ExplainedSource {
    pub(super) fn new(held: &Held<'_>, catalog: &Catalog, decision: Decision) -> Self {
        let Standing { terms, anchors } = &held.standing;
        let today = catalog.plans_of(&terms.items);
        Self {
            kind: SourceKind::Subscription,
            id: held.bought.id.to_string(),
            customer: Some(terms.customer.clone()),
            status: terms.status.to_string(),
            plans: if today.is_empty() { anchors.plans.clone() } else { today },
            from: terms.started_at,
            until: terms.ended_at.or(terms.cancels_at),
            giver: None,
            decides: false,
            sentence: decision.message(catalog),
            decision,
            standing: Some(held.standing.clone()),
        }
    }
}

/// What opens a video, in words.
fn rule(video: &Video, catalog: &Catalog) -> String {
    let (free, gate) = catalog.gate_of(video);
    if free {
        return format!("{} is free: open to anyone.", video.name);
    }
    let mut opening: Vec<_> =
        catalog.plans().filter(|plan| catalog.set_of(std::slice::from_ref(&plan.id)).meets(gate)).collect();
    opening.sort_by_key(|plan| plan.rank);
    let names: Vec<&str> = opening.iter().map(|plan| plan.name.as_str()).collect();
    match names.as_slice() {
        [] => format!("No plan opens {}.", video.name),
        [only] => format!("{} opens {}.", only, video.name),
        [first @ .., last] => format!("{} or {last} open {}.", first.join(", "), video.name),
    }
}

fn plan_verdicts(video: &Video, catalog: &Catalog, sources: &[ExplainedSource]) -> Vec<PlanVerdict> {
    let (free, gate) = catalog.gate_of(video);
    let mut plans: Vec<_> = catalog.plans().collect();
    plans.sort_by(|one, other| other.rank.cmp(&one.rank).then_with(|| one.id.cmp(&other.id)));
    plans
        .into_iter()
        .map(|plan| {
            let opens = free || catalog.set_of(std::slice::from_ref(&plan.id)).meets(gate);
            let with_it: Vec<&ExplainedSource> =
                sources.iter().filter(|source| source.plans.contains(&plan.id)).collect();
            let good = with_it.iter().any(|source| source.decision.allowed);
            let includes = if opens { "includes" } else { "does not include" };
            let hers = match (with_it.is_empty(), good) {
                (true, _) => "she did not have it",
                (false, true) => "she had it",
                (false, false) if opens => "she had it, but it was not good then",
                (false, false) => "she had it",
            };
            PlanVerdict {
                plan: plan.id.clone(),
                name: plan.name.clone(),
                opens,
                held: !with_it.is_empty(),
                sentence: format!("{} {includes} this video; {hers}.", plan_name(&plan.id, catalog)),
            }
        })
        .collect()
}

impl Stream {
    /// The events of the log that stand behind some evidence. Bookkeeping is left out where there is better.
    pub(super) fn deciding(&self, evidence: &Evidence, as_of: AsOf) -> Vec<DecidingEvent> {
        let bookkeeping =
            |event: &Event| matches!(event, Event::Subscription(_, SubscriptionEvent::OrderAmbiguous { .. }));
        self.events
            .iter()
            .filter(|(recorded, event)| as_of.knows(recorded) && !bookkeeping(event))
            .filter(|(_, event)| tells(event).is_some_and(|source| evidence.deciding.contains(source)))
            .map(|(recorded, event)| DecidingEvent::new(recorded, event))
            .collect()
    }
}

/// The provider event that an event of a subscription tells of.
fn tells(event: &Event) -> Option<&SourceEventId> {
    if let Event::Subscription(_, event) = event { event.source() } else { None }
}

impl DecidingEvent {
    pub(super) fn new(recorded: &Recorded, event: &Event) -> Self {
        Self {
            position: recorded.position,
            event_type: recorded.event_type.clone(),
            cause: tells(event).map_or_else(|| recorded.metadata.cause.clone(), ToString::to_string),
            occurred_at: recorded.metadata.occurred_at,
            recorded_at: recorded.metadata.recorded_at,
            sentence: event.describe(),
        }
    }
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
        lines.extend(self.as_of.position.map(|position| format!("as the log was at {position}")));
        lines.extend(self.decision.plan.as_ref().map(|plan| format!("plan {plan}")));
        lines.extend(self.decision.until.map(|until| format!("until {}", stamp(until))));
        lines.extend(self.decision.fix.as_ref().map(|fix| {
            let plan = fix.plan.as_ref().map(|plan| format!(" ({plan})")).unwrap_or_default();
            format!("fix {}{plan}", fix.action.as_str())
        }));
        lines.push(format!("rule {}", self.rule));
        lines.extend(self.policy.as_ref().map(|policy| {
            format!(
                "catalogue revision {} ({}, since {})",
                policy.revision,
                policy.position,
                stamp(policy.since)
            )
        }));
        if self.decision.reason == Reason::NoMembership {
            lines.push("no subscription was known".to_owned());
        }
        lines.extend(self.sources.iter().map(|source| {
            let decided = if source.decides { "decides" } else { "tried" };
            let reason = source.decision.reason.as_str();
            format!("{decided} {}: {} → {reason}. {}", source.id, source.status, source.sentence)
        }));
        lines.extend(self.deciding.iter().map(|event| {
            let DecidingEvent { cause, event_type, sentence, .. } = event;
            let (occurred, recorded) = (stamp(event.occurred_at), stamp(event.recorded_at));
            format!("because {cause} {event_type} ({occurred}, learned {recorded}): {sentence}")
        }));
        lines.extend(self.confirmed_by.as_ref().map(|source| format!("confirmed by {source}")));
        lines.extend(self.before.as_ref().map(|flip| format!("before: {}", flip.text())));
        lines.extend(self.after.as_ref().map(|flip| format!("after: {}", flip.text())));
        lines.join("\n  ") + "\n"
    }
}
