//! What is taught and sold: plans, roadmaps, courses, videos, and the rules of access.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::ids::{CourseId, PlanId, PriceId, ProductId, RoadmapId, VideoId};

/// Whether access goes on while payment collection is paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhileCollectionPaused {
    /// Yes.
    #[default]
    Keep,
    /// Until the end of the period that was paid for when it was paused.
    EndOfPeriod,
    /// No.
    Deny,
}

/// Whether something leaves access as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepOrDeny {
    /// It does.
    Keep,
    /// It ends access.
    Deny,
}

/// The rules of access that an owner chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How long access goes on after the first failed attempt to collect a renewal, in seconds.
    pub past_due_grace_seconds: u64,
    /// Access while payment collection is paused.
    pub collection_paused: WhileCollectionPaused,
    /// Access after a full refund of the latest period.
    pub refund_full: KeepOrDeny,
    /// Access while a dispute is open.
    pub dispute_open: KeepOrDeny,
    /// A subscription none of whose prices or products is in the catalogue is somebody else's.
    pub ignore_unmapped_products: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            past_due_grace_seconds: 14 * 24 * 60 * 60,
            collection_paused: WhileCollectionPaused::Keep,
            refund_full: KeepOrDeny::Keep,
            dispute_open: KeepOrDeny::Deny,
            ignore_unmapped_products: true,
        }
    }
}

impl Policy {
    /// How long grace lasts.
    pub fn past_due_grace(&self) -> TimeDelta {
        let seconds = i64::try_from(self.past_due_grace_seconds).ok();
        seconds.and_then(TimeDelta::try_seconds).unwrap_or(TimeDelta::MAX)
    }
}

/// Something that is sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its slug.
    pub id: PlanId,
    /// Its name for people.
    pub name: String,
    /// Higher is better; the best of a member's plans is the one shown.
    pub rank: i32,
    /// The provider's prices and legacy plans that stand for it.
    pub prices: Vec<PriceId>,
    /// The provider's products that stand for it.
    pub products: Vec<ProductId>,
    /// How many days are free for somebody who never had a trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
}

/// A row of courses that some plans open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roadmap {
    /// Its slug.
    pub id: RoadmapId,
    /// Its name for people.
    pub name: String,
    /// The plans that open it.
    pub plans: Vec<PlanId>,
    /// Its place among the roadmaps, from 0.
    pub place: u32,
}

/// A course of a roadmap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Its slug.
    pub id: CourseId,
    /// Its name for people.
    pub name: String,
    /// Open to anyone.
    pub free: bool,
    /// Where it belongs.
    pub roadmap: RoadmapId,
    /// Its place in the roadmap, from 0.
    pub place: u32,
}

/// Where a video is played from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Playback {
    /// A video at Vimeo.
    Vimeo {
        /// Vimeo's id.
        id: String,
    },
    /// A file served by this service.
    File {
        /// Its path.
        path: String,
    },
}

/// A video of a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    /// Its slug.
    pub id: VideoId,
    /// Its name for people.
    pub name: String,
    /// Open to anyone.
    pub free: bool,
    /// Where it belongs.
    pub course: CourseId,
    /// Its place in the course, from 0.
    pub place: u32,
    /// Where it is played from.
    pub playback: Option<Playback>,
}

/// A whole catalogue as somebody wants it to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The rules of access.
    pub policy: Policy,
    /// All plans.
    pub plans: Vec<Plan>,
    /// All roadmaps.
    pub roadmaps: Vec<Roadmap>,
    /// All courses.
    pub courses: Vec<Course>,
    /// All videos.
    pub videos: Vec<Video>,
}
