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
use super::known::{Held, Of};
use super::words::plan_name;
use super::{AsOf, Chronicle, PastError, stamp};

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
    /// The place of the log that was the end when this was asked: the answer rests on nothing later.
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
    /// Given by staff without a payment.
    Grant,
}

impl SourceKind {
    /// The kind as it is written in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Grant => "grant",
        }
    }
}

/// One thing that might have opened the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedSource {
    /// What kind of thing.
    pub kind: SourceKind,
    /// The subscription's or the grant's id.
    pub id: String,
    /// Who pays for it, if somebody does.
    pub customer: Option<CustomerId>,
    /// Where it stood, in one word: a subscription's is the provider's, a grant is `granted`, `to_come`, `ended` or `revoked`.
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
    /// Why it was given, in words of staff.
    pub remark: Option<String>,
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
                    ..self.explained(held, &catalog, alone, as_of)
                }
            })
            .collect();
        let decider = decision.source.and_then(|index| held.get(index));
        let confirmed_by = decider.and_then(|held| held.evidence(as_of).confirmed_by);
        let deciding = decider.map(|held| held.deciding(as_of)).unwrap_or_default();
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
            confirmed_by,
            position: self.position,
        })
    }
}

impl Chronicle {
    /// A source, and what would be decided with it alone.
    pub(super) fn explained(
        &self,
        held: &Held<'_>,
        catalog: &Catalog,
        decision: Decision,
        as_of: AsOf,
    ) -> ExplainedSource {
        let sentence = decision.message(catalog);
        match &held.of {
            Of::Bought(bought, standing) => {
                let Standing { terms, anchors } = standing.as_ref();
                let today = catalog.plans_of(&terms.items);
                ExplainedSource {
                    kind: SourceKind::Subscription,
                    id: bought.id.to_string(),
                    customer: Some(terms.customer.clone()),
                    status: terms.status.to_string(),
                    plans: if today.is_empty() { anchors.plans.clone() } else { today },
                    from: terms.started_at,
                    until: terms.ended_at.or(terms.cancels_at),
                    giver: None,
                    remark: None,
                    standing: Some(standing.as_ref().clone()),
                    decides: false,
                    decision,
                    sentence,
                }
            }
            Of::Granted(granted, state) => {
                let given = state.given();
                let revoked_at = granted.revoked_at(as_of);
                // What had ended before it was taken back ended then.
                let until = revoked_at.into_iter().chain(given.and_then(|given| given.until)).min();
                let status = match given {
                    _ if revoked_at.is_some() => "revoked",
                    Some(given) if given.from > as_of.at => "to_come",
                    _ if until.is_some_and(|until| until <= as_of.at) => "ended",
                    _ => "granted",
                };
                let remark = granted.given().and_then(|(_, event)| event.remark());
                ExplainedSource {
                    kind: SourceKind::Grant,
                    id: granted.id.to_string(),
                    customer: None,
                    status: status.to_owned(),
                    plans: given.map(|given| given.plan.clone()).into_iter().collect(),
                    from: given.map(|given| given.from),
                    until,
                    giver: granted.giver(),
                    remark: remark.map(|remark| self.words(remark)),
                    standing: None,
                    decides: false,
                    decision,
                    sentence,
                }
            }
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
                (false, false) if opens => "she had it, but it was not good then",
                (false, _) => "she had it",
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

impl Held<'_> {
    /// The events of the log that stand behind it, oldest first. Bookkeeping is left out where there is better.
    pub(super) fn deciding(&self, as_of: AsOf) -> Vec<DecidingEvent> {
        let told = |(recorded, event): &(Recorded, Event)| DecidingEvent::new(recorded, event);
        match &self.of {
            Of::Granted(granted, _) => granted.deciding(as_of).into_iter().map(told).collect(),
            Of::Bought(bought, _) => {
                let evidence = self.evidence(as_of);
                let known = bought.stream.events.iter().filter(|(recorded, _)| as_of.knows(recorded));
                known.filter(|(_, event)| stands_behind(event, &evidence)).map(told).collect()
            }
        }
    }
}

fn stands_behind(event: &Event, evidence: &Evidence) -> bool {
    match event {
        Event::Subscription(_, SubscriptionEvent::OrderAmbiguous { .. }) => false,
        Event::Subscription(_, SubscriptionEvent::GraceExtended { extension, .. }) => {
            evidence.extended.as_ref() == Some(&extension.remark)
        }
        event => tells(event).is_some_and(|source| evidence.deciding.contains(source)),
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
            lines.push("no subscription and no grant was known".to_owned());
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
