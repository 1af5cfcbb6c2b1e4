//! A member's decisions as they change: server-sent events.
//!
//! The first event of a stream is the state, whole: who comes back after a gap knows everything again, whatever was missed.
//! After it come changes, with the decisions that are new. Both have the position in the log as their id.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::{MemberId, VideoId};
use domain::ports::Position;
use futures_util::stream::unfold;
use projections::access_index::Viewing;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::watch::{AccessOverview, VideoAccess, decisions};
use crate::decision::AccessDecision;
use crate::error::{ApiError, Problem};
use crate::position;
use crate::state::ApiState;
use crate::viewer::Viewer;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Some proxies hold answers back until they are whole, which this one never is.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How often a stream looks at the clock, its session and the process, when nothing happens.
const TICK: Duration = Duration::from_millis(500);
/// How often a comment shows that a stream is alive: before proxies and clients take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream lasts. The client comes again by itself, and shows anew who it is.
const LONGEST: Duration = Duration::from_mins(10);
/// How many streams one member may have open.
const PER_MEMBER: usize = 8;

/// Room for streams of events, which are not counted among the requests that are worked on.
#[derive(Debug, Clone)]
pub struct EventStreams {
    most: usize,
    open: Arc<Mutex<HashMap<MemberId, usize>>>,
}

/// A stream's place, until it is dropped.
#[derive(Debug)]
struct Place {
    member: MemberId,
    streams: EventStreams,
}

impl EventStreams {
    /// Room for so many at once.
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    fn take(&self, member: &MemberId) -> Result<Place, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= self.most {
            return Err(ApiError::Overloaded);
        }
        let count = open.entry(member.clone()).or_default();
        if *count >= PER_MEMBER {
            return Err(ApiError::TooManyStreams(PER_MEMBER));
        }
        *count += 1;
        Ok(Place { member: member.clone(), streams: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.member);
            }
        }
    }
}

/// An event of the stream, as a browser hands it on.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written as lines of text; this tells the document of them")]
pub struct StreamedEvent {
    /// `access_state` or `access_changed`.
    #[schema(example = "access_changed")]
    event: String,
    /// A position, for `Last-Event-ID`.
    #[schema(example = "p-1f")]
    id: String,
    /// The JSON of an `AccessOverview` or an `AccessChanged`.
    data: String,
}

/// Some of a member's decisions are other ones now.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessChanged<'d> {
    /// Always `access_changed`.
    #[schema(example = "access_changed")]
    object: &'static str,
    /// The member.
    member: &'d str,
    /// The decisions that are new.
    decisions: Vec<AccessDecision<'d>>,
    /// Videos that are not in the catalogue any more.
    #[schema(value_type = Vec<String>)]
    gone: Vec<VideoId>,
    /// The moment of the decisions.
    at: DateTime<Utc>,
    /// How much of the log the decisions know of.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
}

/// What is told of a video, in few bytes.
type Known = HashMap<VideoId, [u8; 8]>;

/// Hear of changes.
///
/// Server-sent events. First `access_state` with all decisions (an `AccessOverview`), then `access_changed` with those that
/// are new (an `AccessChanged`), also when only time has passed. The id of each is a position; with `Last-Event-ID` the stream
/// begins with the state again, once this node is as far: until then only comments come. It ends with the session, when the service stops, and
/// after ten minutes: connect again then, as browsers do by themselves. A member may have 8 streams open.
#[utoipa::path(
    get, path = "/v1/me/events", operation_id = "streamMyEvents", tag = "Learner",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard")),
    security(("session" = [])),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = StreamedEvent),
        (status = 429, description = "`too_many_streams`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn stream(
    State(state): State<ApiState>,
    viewer: Viewer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = match headers.get(LAST_EVENT_ID) {
        Some(last) => last.to_str().ok().and_then(Position::parse).ok_or(ApiError::BadEventId)?,
        None => Position::START,
    };
    let from = position::wanted(&headers)?.map_or(last, |wanted| wanted.max(last));
    let place = state.learner.streams.take(&viewer.member)?;
    let telling = Telling { state, viewer, place, began: Instant::now(), from, told: None };
    let events = unfold(telling, |mut telling| async {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let body = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("still here"));
    let unbuffered = [(BUFFERING, HeaderValue::from_static("no"))];
    Ok((unbuffered, body).into_response())
}

/// A stream, and what it has told.
struct Telling {
    state: ApiState,
    viewer: Viewer,
    #[expect(dead_code, reason = "held until the stream ends")]
    place: Place,
    began: Instant,
    /// Nothing older is told. Browsers do not come again after a refusal, so they wait for it in the stream.
    from: Position,
    told: Option<Told>,
}

struct Told {
    viewing: Viewing,
    position: Position,
    /// When time alone may change something.
    next: Option<DateTime<Utc>>,
    known: Known,
}

impl Telling {
    /// The next event; nothing when the stream is to end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.is_over() {
                return None;
            }
            if let Some(event) = self.news() {
                return Some(event);
            }
            let next = self.told.as_ref().map_or(self.from, |told| Position::new(told.position.get() + 1));
            self.state.index_progress.wait_for(next, TICK).await;
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() > LONGEST
            || self.state.probe.stopping()
            || self.state.index.session_is_revoked(&self.viewer.session)
    }

    /// What has changed since the last event, if anything has.
    fn news(&mut self) -> Option<Event> {
        // Before anything is looked up, so that an event is never older than the position it names.
        let position = self.state.index_progress.applied().filter(|applied| *applied >= self.from)?;
        let (viewing, at) = (self.state.index.viewing(Some(&self.viewer.member)), self.state.now());
        if let Some(told) = &mut self.told
            && told.viewing.is_same_as(&viewing)
            && told.next.is_none_or(|next| at < next)
        {
            told.position = position;
            return None;
        }
        let (known, next) = (known(&viewing, at), viewing.next_change(at));
        let event = self.event(&viewing, &known, at, position);
        self.told = Some(Told { viewing, position, next, known });
        event
    }

    fn event(
        &self,
        viewing: &Viewing,
        known: &Known,
        at: DateTime<Utc>,
        position: Position,
    ) -> Option<Event> {
        let member = &self.viewer.member;
        let event = Event::default().id(position.to_string());
        let Some(told) = &self.told else {
            return written(event.event("access_state"), &AccessOverview::new(member, viewing, at, position));
        };
        let mut decisions = decisions(member, viewing, at, position);
        decisions.retain(|decision| told.known.get(decision.video()) != known.get(decision.video()));
        let gone: Vec<VideoId> =
            told.known.keys().filter(|video| !known.contains_key(*video)).cloned().collect();
        if decisions.is_empty() && gone.is_empty() {
            return None;
        }
        let object = "access_changed";
        let changed = AccessChanged { object, member: member.as_str(), decisions, gone, at, position };
        written(event.event(object), &changed)
    }
}

fn written(event: Event, data: &impl Serialize) -> Option<Event> {
    event.json_data(data).inspect_err(|error| tracing::error!(%error, "an event was not written")).ok()
}

/// What the decisions are, without the moment they were made.
fn known(viewing: &Viewing, at: DateTime<Utc>) -> Known {
    let digest = |access: VideoAccess| {
        let hash = Sha256::digest(serde_json::to_vec(&access).unwrap_or_default());
        let mut start = [0; 8];
        start.copy_from_slice(&hash[..8]);
        start
    };
    let videos = viewing.catalog().videos();
    videos.map(|video| (video.id.clone(), digest(viewing.decide(video, at).into()))).collect()
}
