//! What happened to a member?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::PlanId;
use domain::metadata::Actor;
use domain::ports::Position;
use projections::past::{AccessChange, DeliverySeen, EntryKind, Filter, Group};
use projections::timeline::TimelineEntry;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::deliveries_seen;
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, cursor, limit, member, moment};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;

/// One thing that happened to a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
pub struct TimelineEntryBody {
    /// Always `timeline_entry`.
    #[schema(example = "timeline_entry")]
    object: &'static str,
    /// Its place in the log.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// The stream it belongs to.
    #[schema(example = "subscription/sub_1")]
    stream: String,
    /// Its stored name.
    event_type: String,
    /// When it was true.
    occurred_at: DateTime<Utc>,
    /// When this service learned it.
    recorded_at: DateTime<Utc>,
    /// Who made it happen.
    #[schema(value_type = String, example = "stripe")]
    actor: Actor,
    /// What it follows from: the provider's event id or a request id.
    cause: String,
    /// What kind of thing.
    kind: TimelineKind,
    /// What happened, in words.
    sentence: String,
    /// What staff wrote about it.
    #[schema(required = true)]
    remark: Option<String>,
    /// The entry as one line.
    text: String,
}

impl From<&TimelineEntry> for TimelineEntryBody {
    fn from(entry: &TimelineEntry) -> Self {
        Self {
            object: "timeline_entry",
            position: entry.position,
            stream: entry.stream.clone(),
            event_type: entry.event_type.clone(),
            occurred_at: entry.occurred_at,
            recorded_at: entry.recorded_at,
            actor: entry.actor.clone(),
            cause: entry.cause.clone(),
            kind: entry.kind.into(),
            sentence: entry.sentence.clone(),
            remark: entry.remark.clone(),
            text: entry.text(),
        }
    }
}

/// Everything that followed from one cause: a delivery, a command, or time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineGroup)]
pub struct TimelineGroupBody {
    /// Always `timeline_group`.
    #[schema(example = "timeline_group")]
    object: &'static str,
    /// Known by this among the groups of her history.
    id: String,
    /// The provider's event id or a request id; `time` where only time passed or the catalogue changed.
    #[schema(example = "evt_1")]
    cause: String,
    /// When it was true.
    at: DateTime<Utc>,
    /// When this service learned it, or it arrived.
    recorded_at: DateTime<Utc>,
    /// Who made it happen.
    #[schema(value_type = String, example = "stripe")]
    actor: Actor,
    /// The events; none where nothing changed.
    entries: Vec<TimelineEntryBody>,
    /// What arrived, where it is still known.
    #[schema(required = true)]
    delivery: Option<DeliverySeenBody>,
    /// What it opened or closed.
    #[schema(required = true)]
    access: Option<AccessChangeBody>,
    /// The whole in one line.
    sentence: String,
}

/// A delivery of the billing provider beside what followed from it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliverySeen)]
pub struct DeliverySeenBody {
    /// The provider's event id.
    id: String,
    /// The event type.
    #[serde(rename = "type")]
    event_type: String,
    /// When it first arrived.
    received_at: DateTime<Utc>,
    /// How many times it arrived.
    times_received: u32,
    /// What became of it.
    #[schema(example = "no_change")]
    outcome: String,
    /// Why: a stable code.
    #[schema(required = true)]
    reason: Option<String>,
    /// Why: a sentence.
    #[schema(required = true)]
    detail: Option<String>,
    /// What arrived and what became of it, in words.
    sentence: String,
}

/// What a group opened or closed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessChange)]
pub struct AccessChangeBody {
    /// The plans that were open before, best first.
    #[schema(value_type = Vec<String>)]
    before: Vec<PlanId>,
    /// The plans that are open since.
    #[schema(value_type = Vec<String>)]
    after: Vec<PlanId>,
    /// The same in words.
    #[schema(example = "closes everything")]
    sentence: String,
}

impl From<Group> for TimelineGroupBody {
    fn from(group: Group) -> Self {
        let access = |AccessChange { before, after, sentence }| AccessChangeBody { before, after, sentence };
        Self {
            object: "timeline_group",
            id: group.id,
            cause: group.cause,
            at: group.at,
            recorded_at: group.recorded_at,
            actor: group.actor,
            entries: group.entries.iter().map(TimelineEntryBody::from).collect(),
            delivery: group.delivery.map(DeliverySeenBody::from),
            access: group.access.map(access),
            sentence: group.sentence,
        }
    }
}

impl From<DeliverySeen> for DeliverySeenBody {
    fn from(seen: DeliverySeen) -> Self {
        Self {
            sentence: seen.sentence(),
            id: seen.id,
            event_type: seen.event_type,
            received_at: seen.received_at,
            times_received: seen.times_received,
            outcome: seen.outcome,
            reason: seen.reason,
            detail: seen.detail,
        }
    }
}

/// An event, or a group of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TimelineItem)]
pub enum TimelineItem {
    /// An event.
    Entry(TimelineEntryBody),
    /// Everything that followed from one cause.
    Group(TimelineGroupBody),
}

/// What events may be put together by.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// What they follow from.
    Cause,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// Money.
    Payments,
    /// What opens and closes videos.
    Access,
    /// The account.
    Account,
    /// Done by staff, an operator or another back end.
    Staff,
    /// Something arrived that changed nothing; only in groups.
    Deliveries,
}

impl From<TimelineKind> for EntryKind {
    fn from(kind: TimelineKind) -> Self {
        match kind {
            TimelineKind::Payments => Self::Payments,
            TimelineKind::Access => Self::Access,
            TimelineKind::Account => Self::Account,
            TimelineKind::Staff => Self::Staff,
            TimelineKind::Deliveries => Self::Deliveries,
        }
    }
}

impl From<EntryKind> for TimelineKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Payments => Self::Payments,
            EntryKind::Access => Self::Access,
            EntryKind::Account => Self::Account,
            EntryKind::Staff => Self::Staff,
            EntryKind::Deliveries => Self::Deliveries,
        }
    }
}

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// `cause` puts together everything that followed from one delivery or command, says what that opened or closed, and
    /// adds the deliveries that changed nothing. Single events when left out.
    #[param(inline)]
    group: Option<GroupBy>,
    /// Only things of this kind.
    kind: Option<TimelineKind>,
    /// Only those whose event type, or the type of whose delivery, contains this.
    #[serde(rename = "type")]
    #[param(example = "Payment")]
    event_type: Option<String>,
    /// Only what was true at this moment (RFC 3339) or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Only what was true before this moment (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
    /// How many, 1 to 100. All of it when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A member's history.
///
/// Everything that happened to her, her payers and her subscriptions, in the order it was true, in plain words: event by
/// event, or with `group=cause` by what they follow from, which tells of the latest 1,000 deliveries of each payer.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/timeline", operation_id = "showTimeline", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), TimelineQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The history, oldest first", body = List<TimelineItem>),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn timeline(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(page): Params<TimelineQuery>,
) -> Result<Response, ApiError> {
    let most = page.limit.as_deref().map(|asked| limit(Some(asked))).transpose()?;
    let after = cursor(page.cursor.as_deref())?;
    let filter = Filter {
        kind: page.kind.map(EntryKind::from),
        event_type: page.event_type,
        from: page.from.as_deref().map(|from| moment("from", from)).transpose()?,
        until: page.until.as_deref().map(|until| moment("until", until)).transpose()?,
        limit: Some(usize::MAX),
        ..Filter::default()
    };
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let page = if page.group.is_some() {
        let deliveries = deliveries_seen(state.deliveries.as_ref(), &chronicle).await?;
        let groups = chronicle.story(deliveries.seen, &filter, state.now()).groups;
        let group = |group: Group| TimelineItem::Group(group.into());
        of_page(groups, after, most, |group| group.id.clone(), group)?
    } else {
        let entries = chronicle.entries().into_iter().filter(|entry| filter.takes_entry(entry)).collect();
        let entry = |entry: TimelineEntry| TimelineItem::Entry(TimelineEntryBody::from(&entry));
        of_page(entries, after, most, |entry| entry.position.to_string(), entry)?
    };
    Ok((AnsweredAt(chronicle.position), Json(page)).into_response())
}

/// What comes after the thing with the id `after`, `most` of it.
fn of_page<R>(
    mut things: Vec<R>,
    after: Option<String>,
    most: Option<usize>,
    id: impl Fn(&R) -> String,
    show: impl Fn(R) -> TimelineItem,
) -> Result<List<TimelineItem>, ApiError> {
    if let Some(after) = after {
        let seen = things.iter().position(|thing| id(thing) == after);
        things.drain(..=seen.ok_or(ApiError::BadCursor)?);
    }
    let most = most.unwrap_or(things.len());
    Ok(List::page(things, most, id, show))
}
