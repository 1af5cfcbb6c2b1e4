//! What is taught, what is sold, and the rules of access. One stream, so that a change is whole or not at all.

mod content;
mod resolve;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use content::{
    Content, Course, KeepOrDeny, Plan, Playback, Policy, Roadmap, Video, WhileCollectionPaused,
};
pub use resolve::PlanSet;

use crate::events::Dated;
use crate::ids::{CourseId, PlanId, PriceId, ProductId, RoadmapId, VideoId};

/// The id of the one catalogue stream.
pub const CATALOG_ID: &str = "catalog";

/// The most plans a catalogue may ever have had: a set of plans is one word of bits.
pub const MOST_PLANS: usize = 64;

/// What can be told to the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogCommand {
    /// Become this.
    Apply(Box<Content>),
}

/// What happened to the catalogue. A `…Defined` event holds the whole thing, new or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[expect(missing_docs, reason = "each variant is named after what it holds")]
pub enum CatalogEvent {
    #[serde(rename = "PolicySet")]
    PolicySet { policy: Policy },
    #[serde(rename = "PlanDefined")]
    PlanDefined { plan: Plan },
    #[serde(rename = "PlanRemoved")]
    PlanRemoved { id: PlanId },
    #[serde(rename = "RoadmapDefined")]
    RoadmapDefined { roadmap: Roadmap },
    #[serde(rename = "RoadmapRemoved")]
    RoadmapRemoved { id: RoadmapId },
    #[serde(rename = "CourseDefined")]
    CourseDefined { course: Course },
    #[serde(rename = "CourseRemoved")]
    CourseRemoved { id: CourseId },
    #[serde(rename = "VideoDefined")]
    VideoDefined { video: Video },
    #[serde(rename = "VideoRemoved")]
    VideoRemoved { id: VideoId },
}

/// Why a catalogue is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CatalogError {
    /// Two things of one kind have the same id.
    #[error("{kind} {id:?} is there twice; ids are unique per kind")]
    Twice {
        /// What kind of thing.
        kind: &'static str,
        /// The id.
        id: String,
    },
    /// A price or product stands for two plans.
    #[error("{id:?} stands for the plans {first:?} and {second:?}; it can stand for one only")]
    Shared {
        /// The price or product.
        id: String,
        /// A plan.
        first: PlanId,
        /// Another plan.
        second: PlanId,
    },
    /// Something names something that is not there.
    #[error("{kind} {id:?} names {names:?}, which is not in the catalogue")]
    Dangling {
        /// What kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What it names.
        names: String,
    },
    /// More plans, removed ones included, than a set of plans can hold.
    #[error("a catalogue can have {MOST_PLANS} plans over its life; reuse an id that is no longer sold")]
    TooManyPlans,
}

/// The catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    policy: Option<Policy>,
    plans: BTreeMap<PlanId, Plan>,
    roadmaps: BTreeMap<RoadmapId, Roadmap>,
    courses: BTreeMap<CourseId, Course>,
    videos: BTreeMap<VideoId, Video>,
    /// Every plan there ever was, by order of first definition: a plan's bit never changes.
    plan_bits: Vec<PlanId>,
}

impl Catalog {
    /// The rules of access.
    pub fn policy(&self) -> Policy {
        self.policy.clone().unwrap_or_default()
    }

    /// A plan by its id.
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.get(id)
    }

    /// All plans.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }

    /// All roadmaps, in their order.
    pub fn roadmaps(&self) -> Vec<&Roadmap> {
        in_order(self.roadmaps.values(), |roadmap| roadmap.place)
    }

    /// The courses of a roadmap, in their order.
    pub fn courses_of(&self, roadmap: &RoadmapId) -> Vec<&Course> {
        in_order(self.courses.values().filter(|course| course.roadmap == *roadmap), |course| course.place)
    }

    /// The videos of a course, in their order.
    pub fn videos_of(&self, course: &CourseId) -> Vec<&Video> {
        in_order(self.videos.values().filter(|video| video.course == *course), |video| video.place)
    }

    /// A video by its id.
    pub fn video(&self, id: &str) -> Option<&Video> {
        self.videos.get(id)
    }

    /// All videos.
    pub fn videos(&self) -> impl Iterator<Item = &Video> {
        self.videos.values()
    }

    /// Whether nothing has ever been applied.
    pub fn is_empty(&self) -> bool {
        self.policy.is_none() && self.plan_bits.is_empty() && self.roadmaps.is_empty()
    }
}

fn in_order<'c, T>(things: impl Iterator<Item = &'c T>, place: impl Fn(&T) -> u32) -> Vec<&'c T> {
    let mut things: Vec<&T> = things.collect();
    things.sort_by_key(|thing| place(thing));
    things
}

/// The events that make `catalog` what `command` wants; none means already so.
pub fn decide(catalog: &Catalog, command: CatalogCommand) -> Result<Vec<CatalogEvent>, CatalogError> {
    let CatalogCommand::Apply(content) = command;
    let wanted = check(catalog, *content)?;
    let mut events = Vec::new();
    if catalog.policy != wanted.policy
        && let Some(policy) = wanted.policy
    {
        events.push(CatalogEvent::PolicySet { policy });
    }
    changed(&catalog.plans, &wanted.plans, &mut events, |plan| CatalogEvent::PlanDefined { plan });
    changed(&catalog.roadmaps, &wanted.roadmaps, &mut events, |roadmap| CatalogEvent::RoadmapDefined {
        roadmap,
    });
    changed(&catalog.courses, &wanted.courses, &mut events, |course| CatalogEvent::CourseDefined { course });
    changed(&catalog.videos, &wanted.videos, &mut events, |video| CatalogEvent::VideoDefined { video });
    removed(&catalog.videos, &wanted.videos, &mut events, |id| CatalogEvent::VideoRemoved { id });
    removed(&catalog.courses, &wanted.courses, &mut events, |id| CatalogEvent::CourseRemoved { id });
    removed(&catalog.roadmaps, &wanted.roadmaps, &mut events, |id| CatalogEvent::RoadmapRemoved { id });
    removed(&catalog.plans, &wanted.plans, &mut events, |id| CatalogEvent::PlanRemoved { id });
    Ok(events)
}

fn changed<K: Ord, V: Clone + PartialEq>(
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    events: &mut Vec<CatalogEvent>,
    event: impl Fn(V) -> CatalogEvent,
) {
    let differs = |(id, value): &(&K, &V)| held.get(*id) != Some(*value);
    events.extend(wanted.iter().filter(differs).map(|(_, value)| event(value.clone())));
}

fn removed<K: Ord + Clone, V>(
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    events: &mut Vec<CatalogEvent>,
    event: impl Fn(K) -> CatalogEvent,
) {
    events.extend(held.keys().filter(|id| !wanted.contains_key(*id)).cloned().map(event));
}

fn check(held: &Catalog, content: Content) -> Result<Catalog, CatalogError> {
    let mut owners = BTreeMap::new();
    for plan in &content.plans {
        let prices = plan.prices.iter().map(PriceId::as_str);
        for id in prices.chain(plan.products.iter().map(ProductId::as_str)) {
            if let Some(first) = owners.insert(id.to_owned(), plan.id.clone())
                && first != plan.id
            {
                return Err(CatalogError::Shared { id: id.to_owned(), first, second: plan.id.clone() });
            }
        }
    }
    let wanted = Catalog {
        policy: Some(content.policy),
        plans: unique("plan", content.plans, |plan| plan.id.clone())?,
        roadmaps: unique("roadmap", content.roadmaps, |roadmap| roadmap.id.clone())?,
        courses: unique("course", content.courses, |course| course.id.clone())?,
        videos: unique("video", content.videos, |video| video.id.clone())?,
        plan_bits: Vec::new(),
    };
    let dangling = |kind, id: &str, names: &str| CatalogError::Dangling {
        kind,
        id: id.to_owned(),
        names: names.to_owned(),
    };
    for roadmap in wanted.roadmaps.values() {
        if let Some(plan) = roadmap.plans.iter().find(|plan| !wanted.plans.contains_key(*plan)) {
            return Err(dangling("roadmap", roadmap.id.as_str(), plan.as_str()));
        }
    }
    if let Some(course) =
        wanted.courses.values().find(|course| !wanted.roadmaps.contains_key(&course.roadmap))
    {
        return Err(dangling("course", course.id.as_str(), course.roadmap.as_str()));
    }
    if let Some(video) = wanted.videos.values().find(|video| !wanted.courses.contains_key(&video.course)) {
        return Err(dangling("video", video.id.as_str(), video.course.as_str()));
    }
    let new_plans = wanted.plans.keys().filter(|id| !held.plan_bits.contains(id)).count();
    if held.plan_bits.len() + new_plans > MOST_PLANS {
        return Err(CatalogError::TooManyPlans);
    }
    Ok(wanted)
}

fn unique<K: Ord + ToString + Clone, V>(
    kind: &'static str,
    values: Vec<V>,
    id: impl Fn(&V) -> K,
) -> Result<BTreeMap<K, V>, CatalogError> {
    let mut map = BTreeMap::new();
    for value in values {
        let key = id(&value);
        if map.insert(key.clone(), value).is_some() {
            return Err(CatalogError::Twice { kind, id: key.to_string() });
        }
    }
    Ok(map)
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(catalog: &mut Catalog, event: &CatalogEvent) {
    match event.clone() {
        CatalogEvent::PolicySet { policy } => catalog.policy = Some(policy),
        CatalogEvent::PlanDefined { plan } => {
            if !catalog.plan_bits.contains(&plan.id) {
                catalog.plan_bits.push(plan.id.clone());
            }
            catalog.plans.insert(plan.id.clone(), plan);
        }
        CatalogEvent::PlanRemoved { id } => drop(catalog.plans.remove(&id)),
        CatalogEvent::RoadmapDefined { roadmap } => {
            drop(catalog.roadmaps.insert(roadmap.id.clone(), roadmap));
        }
        CatalogEvent::RoadmapRemoved { id } => drop(catalog.roadmaps.remove(&id)),
        CatalogEvent::CourseDefined { course } => drop(catalog.courses.insert(course.id.clone(), course)),
        CatalogEvent::CourseRemoved { id } => drop(catalog.courses.remove(&id)),
        CatalogEvent::VideoDefined { video } => drop(catalog.videos.insert(video.id.clone(), video)),
        CatalogEvent::VideoRemoved { id } => drop(catalog.videos.remove(&id)),
    }
}

impl CatalogEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PolicySet { .. } => "PolicySet",
            Self::PlanDefined { .. } => "PlanDefined",
            Self::PlanRemoved { .. } => "PlanRemoved",
            Self::RoadmapDefined { .. } => "RoadmapDefined",
            Self::RoadmapRemoved { .. } => "RoadmapRemoved",
            Self::CourseDefined { .. } => "CourseDefined",
            Self::CourseRemoved { .. } => "CourseRemoved",
            Self::VideoDefined { .. } => "VideoDefined",
            Self::VideoRemoved { .. } => "VideoRemoved",
        }
    }
}

impl DomainEvent for CatalogEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for CatalogEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        None
    }
}

impl Aggregate for Catalog {
    const TYPE: &'static str = "catalog";
    type Command = CatalogCommand;
    type Event = CatalogEvent;
    type Error = CatalogError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        evolve(self, &event);
    }
}

#[cfg(test)]
mod tests;
