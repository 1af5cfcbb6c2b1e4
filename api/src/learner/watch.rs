//! The catalogue, its videos, and what the viewer may watch of them. All of it comes from memory.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::catalog::{Catalog, Course, Plan, Playback, Roadmap, Video};
use domain::ids::{CourseId, MemberId, PlanId, PriceId, RoadmapId, VideoId};
use domain::ports::Position;
use projections::access_index::{Checked, Viewing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::Visit;
use super::checkout::Arrival;
use crate::decision::{AccessDecision, AccessFix, AccessReason, Degraded, Question};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, Params};
use crate::observe;
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;
use crate::viewer::Viewer;

/// What the viewer may watch, without what is the same for all videos.
#[derive(Debug, Serialize, ToSchema)]
pub struct VideoAccess {
    /// Yes or no; a video that is locked shows a lock.
    allowed: bool,
    /// Why.
    reason: AccessReason,
    /// The plan the reason speaks of.
    #[schema(value_type = Option<String>, required = true)]
    plan: Option<PlanId>,
    /// Until when this yes holds, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// The decision in a sentence for the viewer.
    message: String,
    /// What would open the video.
    #[schema(required = true)]
    fix: Option<AccessFix>,
}

impl From<Checked> for VideoAccess {
    fn from(Checked { decision, message, .. }: Checked) -> Self {
        Self {
            allowed: decision.allowed,
            reason: decision.reason.into(),
            plan: decision.plan,
            until: decision.until,
            message,
            fix: decision.fix.map(AccessFix::from),
        }
    }
}

/// Everything that is taught and sold, with what the viewer may watch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Catalog)]
pub struct CatalogBody<'c> {
    /// Always `catalog`.
    #[schema(example = "catalog")]
    object: &'static str,
    /// The viewer; null when nobody is signed in.
    #[schema(required = true)]
    member: Option<&'c str>,
    /// The plans, lowest first.
    plans: Vec<PlanBody<'c>>,
    /// The roadmaps, in their order.
    roadmaps: Vec<RoadmapBody<'c>>,
    /// The moment of the decisions.
    at: DateTime<Utc>,
    /// How much of the log the decisions know of.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
}

/// Something that is sold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanBody<'c> {
    /// Its id.
    #[schema(value_type = String, example = "pro")]
    id: &'c PlanId,
    /// Its name.
    name: &'c str,
    /// Higher is better.
    rank: i32,
    /// Its prices at the billing provider; the first is what a checkout sells unless told otherwise.
    #[schema(value_type = Vec<String>)]
    prices: &'c [PriceId],
    /// How many days are free for somebody who never had a trial.
    #[schema(required = true)]
    trial_days: Option<u32>,
}

impl<'c> From<&'c Plan> for PlanBody<'c> {
    fn from(plan: &'c Plan) -> Self {
        let Plan { id, name, rank, prices, products: _, trial_days } = plan;
        Self { id, name, rank: *rank, prices, trial_days: *trial_days }
    }
}

/// A row of courses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Roadmap)]
pub struct RoadmapBody<'c> {
    /// Its id.
    #[schema(value_type = String)]
    id: &'c RoadmapId,
    /// Its name.
    name: &'c str,
    /// The plans that open it.
    #[schema(value_type = Vec<String>)]
    plans: &'c [PlanId],
    /// Its courses, in their order.
    courses: Vec<CourseBody<'c>>,
}

/// A course.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Course)]
pub struct CourseBody<'c> {
    /// Its id.
    #[schema(value_type = String)]
    id: &'c CourseId,
    /// Its name.
    name: &'c str,
    /// Whether all of it is open to anyone.
    free: bool,
    /// Its videos, in their order.
    videos: Vec<ListedVideo<'c>>,
}

/// A video of a course.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedVideo<'c> {
    /// Its id.
    #[schema(value_type = String, example = "projections")]
    id: &'c VideoId,
    /// Its name.
    name: &'c str,
    /// Whether it is open to anyone.
    free: bool,
    /// Whether the viewer may watch it.
    access: VideoAccess,
}

/// List what is taught.
///
/// Roadmaps, courses and videos in their order, each video with the viewer's decision. Somebody who is not signed in sees the
/// same, with free videos open and the others `not_signed_in`.
#[utoipa::path(
    get, path = "/v1/catalog", operation_id = "showCatalog", tag = "Learner",
    security((), ("session" = [])),
    responses((status = 200, description = "Everything that is taught and sold", body = CatalogBody)),
)]
pub async fn catalog(State(state): State<ApiState>, visit: Visit) -> Response {
    let viewing = state.index.viewing(visit.member());
    let position = viewing.position().max(visit.position);
    let (at, catalog) = (state.now(), viewing.catalog());
    let mut plans: Vec<&Plan> = catalog.plans().collect();
    plans.sort_by_key(|plan| plan.rank);
    let body = CatalogBody {
        object: "catalog",
        member: visit.member().map(MemberId::as_str),
        plans: plans.into_iter().map(PlanBody::from).collect(),
        roadmaps: catalog.roadmaps().into_iter().map(|roadmap| listed(&viewing, roadmap, at)).collect(),
        at,
        position,
    };
    (Degraded::of(&state.index_progress), AnsweredAt(position), Json(body)).into_response()
}

fn listed<'c>(viewing: &'c Viewing, roadmap: &'c Roadmap, at: DateTime<Utc>) -> RoadmapBody<'c> {
    let catalog = viewing.catalog();
    let video = |video: &'c Video| ListedVideo {
        id: &video.id,
        name: &video.name,
        free: catalog.gate_of(video).0,
        access: viewing.decide(video, at).into(),
    };
    let course = |course: &'c Course| CourseBody {
        id: &course.id,
        name: &course.name,
        free: course.free,
        videos: catalog.videos_of(&course.id).into_iter().map(video).collect(),
    };
    RoadmapBody {
        id: &roadmap.id,
        name: &roadmap.name,
        plans: &roadmap.plans,
        courses: catalog.courses_of(&roadmap.id).into_iter().map(course).collect(),
    }
}

/// A video, and whether the viewer may watch it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Video)]
pub struct VideoBody<'v> {
    /// Always `video`.
    #[schema(example = "video")]
    object: &'static str,
    /// Its id.
    #[schema(value_type = String, example = "projections")]
    id: &'v VideoId,
    /// Its name.
    name: &'v str,
    /// Its course.
    #[schema(value_type = String)]
    course: &'v CourseId,
    /// Whether it is open to anyone.
    free: bool,
    /// Whether the viewer may watch it.
    access: AccessDecision<'v>,
    /// Where it is played from. Only there when the viewer may watch it and there is something to play.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    playback: Option<PlaybackBody<'v>>,
}

/// Where a video is played from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = Playback)]
pub enum PlaybackBody<'v> {
    /// A video at Vimeo.
    Vimeo {
        /// Vimeo's id.
        id: &'v str,
    },
    /// A file served by this service.
    File {
        /// Its path.
        path: &'v str,
    },
}

impl<'v> From<&'v Playback> for PlaybackBody<'v> {
    fn from(playback: &'v Playback) -> Self {
        match playback {
            Playback::Vimeo { id } => Self::Vimeo { id },
            Playback::File { path } => Self::File { path },
        }
    }
}

/// Show a video.
///
/// With the viewer's decision, and with where it is played from only after a yes. The decision depends on the video alone,
/// not on the way to it.
#[utoipa::path(
    get, path = "/v1/videos/{video}", operation_id = "showVideo", tag = "Learner",
    params(("video" = String, Path, description = "The video's id in the catalogue")),
    security((), ("session" = [])),
    responses(
        (status = 200, description = "The video", body = VideoBody),
        (status = 404, description = "`unknown_video`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn video(
    State(state): State<ApiState>,
    visit: Visit,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let viewing = state.index.viewing(visit.member());
    let (video, access) = decided(&state, &visit, &viewing, &id)?;
    let answered_at = AnsweredAt(access.position());
    let body = VideoBody {
        object: "video",
        id: &video.id,
        name: &video.name,
        course: &video.course,
        free: viewing.catalog().gate_of(video).0,
        playback: video.playback.as_ref().filter(|_| access.is_yes()).map(PlaybackBody::from),
        access,
    };
    Ok((Degraded::of(&state.index_progress), answered_at, Json(body)).into_response())
}

/// Where a check comes from.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// The `session_id` she came back from a checkout with.
    #[param(value_type = Option<String>, pattern = "^cs_[A-Za-z0-9_]+$", max_length = 255)]
    session_id: Option<String>,
}

/// May I watch this video?
///
/// With a `session_id` the answer knows of that purchase: it is looked up at the provider where no webhook has told of it. After
/// two seconds at most the answer is `payment_pending` as long as it is paid and not known yet; ask again then.
#[utoipa::path(
    get, path = "/v1/me/access/videos/{video}", operation_id = "checkMyAccess", tag = "Learner",
    params(("video" = String, Path, description = "The video's id in the catalogue"), CheckQuery),
    security(("session" = [])),
    responses(
        (status = 200, description = "The decision, yes or no", body = AccessDecision),
        (status = 404, description = "`unknown_video` or `unknown_checkout`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`: only with a `session_id`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`: too many checkouts are looked up that were not begun here", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn check(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    mut visit: Visit,
    Ids(id): Ids<String>,
    Params(CheckQuery { session_id }): Params<CheckQuery>,
) -> Result<Response, ApiError> {
    let mut on_its_way = None;
    if let Some(session) = session_id {
        let Arrival { how, .. } = state.arrive(&member, &session).await?;
        on_its_way = how.is_on_its_way().then(|| how.message());
        visit.position = state.index_progress.applied().ok_or(ApiError::NotReady)?;
    }
    let viewing = state.index.viewing(visit.member());
    let (_, mut access) = decided(&state, &visit, &viewing, &id)?;
    if let Some(message) = on_its_way.filter(|_| !access.is_yes()) {
        access = access.awaiting_payment(message);
    }
    let answered_at = AnsweredAt(access.position());
    Ok((Degraded::of(&state.index_progress), answered_at, Json(access)).into_response())
}

fn decided<'v>(
    state: &ApiState,
    visit: &'v Visit,
    viewing: &'v Viewing,
    id: &str,
) -> Result<(&'v Video, AccessDecision<'v>), ApiError> {
    let video = viewing.catalog().video(id).ok_or_else(|| ApiError::UnknownVideo(id.to_owned()))?;
    let (at, degraded) = (state.now(), Degraded::of(&state.index_progress));
    let Checked { decision, message, position: of } = viewing.decide(video, at);
    observe::decided(&decision);
    let (member, position) = (visit.member(), visit.position.max(of));
    let question = Question { member, video: video.id.as_str(), at, position, degraded };
    Ok((video, AccessDecision::new(question, decision, message)))
}

/// What the viewer may watch, all of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessOverview<'d> {
    /// Always `access_overview`.
    #[schema(example = "access_overview")]
    object: &'static str,
    /// The viewer.
    member: &'d str,
    /// The decisions, by the ids of the videos.
    decisions: Vec<AccessDecision<'d>>,
    /// The moment of the decisions.
    at: DateTime<Utc>,
    /// How much of the log the decisions know of.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
}

impl<'d> AccessOverview<'d> {
    pub(super) fn new(
        member: &'d MemberId,
        viewing: &'d Viewing,
        at: DateTime<Utc>,
        position: Position,
    ) -> Self {
        let decisions = decisions(member, viewing, at, position);
        Self { object: "access_overview", member: member.as_str(), decisions, at, position }
    }
}

pub(super) fn decisions<'d>(
    member: &'d MemberId,
    viewing: &'d Viewing,
    at: DateTime<Utc>,
    position: Position,
) -> Vec<AccessDecision<'d>> {
    let decide = |video: &'d Video| {
        let Checked { decision, message, .. } = viewing.decide(video, at);
        let question =
            Question { member: Some(member), video: video.id.as_str(), at, position, degraded: None };
        AccessDecision::new(question, decision, message)
    };
    viewing.catalog().videos().map(decide).collect()
}

/// What may I watch?
///
/// Every video's decision in one answer. The `ETag` changes when any decision does, also when only time has passed; send it
/// back as `If-None-Match`, and the answer is 304 as long as nothing has changed.
#[utoipa::path(
    get, path = "/v1/me/access", operation_id = "listMyAccess", tag = "Learner",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer")),
    security(("session" = [])),
    responses(
        (status = 200, description = "All decisions", body = AccessOverview,
            headers(("ETag" = String, description = "Names these decisions"))),
        (status = 304, description = "No decision has changed"),
    ),
)]
pub async fn check_all(
    State(state): State<ApiState>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let member = &visit.viewer()?.member;
    let viewing = state.index.viewing(Some(member));
    let at = state.now();
    let tag = tag(member, &viewing, at);
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').map(str::trim).any(|known| known == "*" || known == tag);
    let cached = [
        (ETAG, HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    let position = viewing.position().max(visit.position);
    let answered = (Degraded::of(&state.index_progress), AnsweredAt(position));
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, answered, cached).into_response());
    }
    let body = AccessOverview::new(member, &viewing, at, position);
    Ok((answered, cached, Json(body)).into_response())
}

/// Names all decisions of a member at a moment: also hers where another one's are equal, since the answer names her and one
/// browser may know several members. Weak, since the moment itself is in the answer too.
fn tag(member: &MemberId, viewing: &Viewing, at: DateTime<Utc>) -> String {
    let mut hash = Sha256::new();
    hash.update(member.as_str().len().to_le_bytes());
    hash.update(member.as_str());
    for video in viewing.catalog().videos() {
        let access = VideoAccess::from(viewing.decide(video, at));
        let line = serde_json::to_vec(&(&video.id, access)).unwrap_or_default();
        hash.update(line.len().to_le_bytes());
        hash.update(line);
    }
    format!("W/\"{}\"", hex::encode(&hash.finalize()[..16]))
}

/// What a plan is called.
pub(super) fn plan_name(catalog: &Catalog, plan: &PlanId) -> String {
    catalog.plan(plan).map_or_else(|| plan.to_string(), |plan| plan.name.clone())
}
