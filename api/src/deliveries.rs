//! What came in from the billing provider, and what became of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::MemberId;
use domain::metadata::Actor;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead, SupportWrite};
use crate::cursor::{after, could_be_an_id};
use crate::error::{ApiError, Problem};
use crate::extract::{Body, Ids, List, MaybeBody, Params, cursor, limit, moment};
use crate::position::AnsweredAt;
use crate::state::{
    ApiState, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord, DeliveryRehearsal,
    DeliverySelection, DeliveryStep,
};

/// How many deliveries one call has looked at again, if it does not say.
const USUALLY_REPLAYED: u32 = 100;
/// How many it may say.
const MOST_REPLAYED: u32 = 1_000;
const LONGEST_WHY: usize = 500;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// Only those with this outcome.
    outcome: Option<DeliveryOutcome>,
    /// Only those whose outcome has this code.
    #[param(example = "unknown_customer")]
    reason: Option<String>,
    /// Only those of this event type.
    #[serde(rename = "type")]
    #[param(example = "customer.subscription.updated")]
    event_type: Option<String>,
    /// Only those that speak of this payer.
    customer: Option<String>,
    /// Only those that first arrived at this moment or later.
    #[param(value_type = Option<DateTime<Utc>>)]
    received_from: Option<String>,
    /// Only those that first arrived before this moment.
    #[param(value_type = Option<DateTime<Utc>>)]
    received_until: Option<String>,
    /// How many, 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// What a query and a body may say of deliveries.
struct Said<'a> {
    outcome: Option<DeliveryOutcome>,
    reason: Option<&'a str>,
    event_type: Option<&'a str>,
    customer: Option<&'a str>,
    received_from: Option<&'a str>,
    received_until: Option<&'a str>,
}

impl Said<'_> {
    fn selection(&self) -> Result<DeliverySelection, ApiError> {
        Ok(DeliverySelection {
            outcome: self.outcome,
            reason: word("reason", self.reason)?,
            event_type: word("type", self.event_type)?,
            customer: word("customer", self.customer)?,
            received_from: self.received_from.map(|text| moment("received_from", text)).transpose()?,
            received_until: self.received_until.map(|text| moment("received_until", text)).transpose()?,
        })
    }
}

/// A text that a delivery may have.
pub fn word(field: &'static str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if !could_be_an_id(text) => {
            Err(ApiError::Invalid { field, why: "it is empty or has control characters".into() })
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// A delivery of the billing provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    /// Always `delivery`.
    #[schema(example = "delivery")]
    object: &'static str,
    /// The provider's event id.
    id: String,
    /// The event type.
    #[serde(rename = "type")]
    #[schema(example = "customer.subscription.updated")]
    event_type: String,
    /// The provider's time of the event.
    #[schema(required = true)]
    created: Option<DateTime<Utc>>,
    /// The payer it speaks of.
    #[schema(required = true)]
    customer: Option<String>,
    /// When it first arrived.
    received_at: DateTime<Utc>,
    /// How it first came.
    origin: DeliveryOrigin,
    /// How many times it arrived.
    times_received: u32,
    /// What became of it.
    outcome: DeliveryOutcome,
    /// Why: a stable code.
    #[schema(required = true, example = "unknown_customer")]
    reason: Option<String>,
    /// Why: a sentence.
    #[schema(required = true)]
    detail: Option<String>,
    /// How many times carrying it out was begun.
    attempts: u32,
    /// When its outcome was set.
    #[schema(required = true)]
    settled_at: Option<DateTime<Utc>>,
    /// Since when its body is not kept, as it speaks of somebody who was erased.
    #[schema(required = true)]
    erased_at: Option<DateTime<Utc>>,
}

impl From<DeliveryRecord> for DeliveryBody {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            object: "delivery",
            id: record.id,
            event_type: record.event_type,
            created: record.created,
            customer: record.customer,
            received_at: record.received_at,
            origin: record.origin,
            times_received: record.times_received,
            outcome: record.outcome,
            reason: record.reason,
            detail: record.detail,
            attempts: record.attempts,
            settled_at: record.settled_at,
            erased_at: record.erased_at,
        }
    }
}

/// List deliveries.
///
/// What the billing provider delivered and what became of it, latest arrival first.
#[utoipa::path(
    get, path = "/v1/support/deliveries", operation_id = "listDeliveries", tag = "Support",
    params(DeliveriesQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "A page of deliveries", body = List<DeliveryBody>),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Params(query): Params<DeliveriesQuery>,
) -> Result<Response, ApiError> {
    let limit = limit(query.limit.as_deref())?;
    let before = cursor(query.cursor.as_deref())?;
    let said = Said {
        outcome: query.outcome,
        reason: query.reason.as_deref(),
        event_type: query.event_type.as_deref(),
        customer: query.customer.as_deref(),
        received_from: query.received_from.as_deref(),
        received_until: query.received_until.as_deref(),
    };
    let filter = DeliveryFilter { of: said.selection()?, before, limit: limit + 1 };
    let records = state.deliveries.list(filter).await?;
    let page = List::page(records, limit, |record| record.id.clone(), DeliveryBody::from);
    // Asked after the list was read, so that it is not before what the listed deliveries did.
    let answered_at = AnsweredAt(state.feed.head().await?);
    Ok((answered_at, Json(page)).into_response())
}

/// Something that was done with a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryStep)]
pub struct StepBody {
    /// When.
    at: DateTime<Utc>,
    /// What: `postponed`, `redriven`, `read`, or the outcome that it got.
    #[schema(example = "redriven")]
    step: String,
    /// Who had it looked at again, or read what it says.
    #[schema(required = true, example = "service:helpdesk")]
    actor: Option<String>,
    /// A stable code for the outcome.
    #[schema(required = true)]
    reason: Option<String>,
    /// Why, as a sentence.
    #[schema(required = true)]
    detail: Option<String>,
}

/// A delivery, and what was done with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryHistory)]
pub struct HistoryBody {
    #[serde(flatten)]
    delivery: DeliveryBody,
    /// What was done with it after it arrived, oldest first. Of very many steps the oldest are forgotten.
    steps: Vec<StepBody>,
}

impl From<(DeliveryRecord, Vec<DeliveryStep>)> for HistoryBody {
    fn from((record, steps): (DeliveryRecord, Vec<DeliveryStep>)) -> Self {
        let steps = steps.into_iter().map(|DeliveryStep { at, step, actor, reason, detail }| StepBody {
            at,
            step,
            actor,
            reason,
            detail,
        });
        Self { delivery: record.into(), steps: steps.collect() }
    }
}

/// Show a delivery.
///
/// What became of it, and every step on the way: when, what, why, and who asked for it.
#[utoipa::path(
    get, path = "/v1/support/deliveries/{event}", operation_id = "getDelivery", tag = "Support",
    params(("event" = String, Path, description = "The provider's event id")),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The delivery", body = HistoryBody),
        (status = 404, description = "`unknown_delivery`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(event): Ids<String>,
) -> Result<Response, ApiError> {
    let history = HistoryBody::from(find(&state, &event).await?);
    let answered_at = AnsweredAt(state.feed.head().await?);
    Ok((answered_at, Json(history)).into_response())
}

/// A delivery, and what was done with it.
pub async fn find(state: &ApiState, event: &str) -> Result<(DeliveryRecord, Vec<DeliveryStep>), ApiError> {
    let found = if could_be_an_id(event) { state.deliveries.get(event).await? } else { None };
    found.ok_or_else(|| ApiError::UnknownDelivery(event.to_owned()))
}

/// Has a delivery looked at again.
pub async fn look_again(state: &ApiState, event: &str, actor: Actor, why: &str) -> Result<(), ApiError> {
    if could_be_an_id(event) && state.deliveries.replay(event, actor, why).await? {
        return Ok(());
    }
    let (held, _) = find(state, event).await?;
    let error = if held.erased_at.is_some() { ApiError::DeliveryErased } else { ApiError::UnknownDelivery };
    Err(error(event.to_owned()))
}

/// What looking at a delivery again would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryReplayPreview)]
pub struct ReplayPreview {
    /// Always `delivery_replay_preview`.
    #[schema(example = "delivery_replay_preview")]
    object: &'static str,
    /// The delivery as it is.
    delivery: DeliveryBody,
    /// Whose the payer is that it speaks of, as far as it is known or would be then.
    #[schema(required = true, value_type = Option<String>, example = "mem_ada")]
    pub member: Option<MemberId>,
    /// What it comes to.
    #[schema(
        example = "customer.subscription.updated is parked (unknown_customer). Looked at again it would be applied: Active with pro."
    )]
    pub sentence: String,
    /// The outcome that it would get.
    outcome: DeliveryOutcome,
    /// Why: a stable code.
    reason: String,
    /// Why: a sentence.
    detail: String,
    /// What it would append to the log, in order; nothing when it would change nothing.
    pub events: Vec<Following>,
}

/// An event that would follow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FollowingEvent)]
pub struct Following {
    /// Its stored name.
    #[serde(rename = "type")]
    #[schema(example = "SubscriptionActivated")]
    pub event_type: String,
    /// The event in words.
    pub sentence: String,
}

/// What looking at a delivery again would do. Changes nothing: the rules that carry it out are asked over the log as it is.
pub async fn preview_replay(state: &ApiState, event: &str) -> Result<ReplayPreview, ApiError> {
    let (held, _) = find(state, event).await?;
    if held.erased_at.is_some() {
        return Err(ApiError::DeliveryErased(event.to_owned()));
    }
    let unknown = || ApiError::UnknownDelivery(event.to_owned());
    let DeliveryRehearsal { outcome, reason, detail, events, member } =
        state.deliveries.rehearse(event).await?.ok_or_else(unknown)?;
    let now = held.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let would = if events.is_empty() {
        format!("it would be {}, and nothing would change: {detail}", outcome.words())
    } else {
        let words: Vec<&str> = events.iter().map(|(_, words)| words.as_str()).collect();
        format!("it would be {}: {}", outcome.words(), words.join("; "))
    };
    let sentence = format!("{} is {}{now}. Looked at again {would}.", held.event_type, held.outcome.words());
    let following = |(event_type, sentence)| Following { event_type, sentence };
    Ok(ReplayPreview {
        object: "delivery_replay_preview",
        delivery: held.into(),
        member,
        sentence,
        outcome,
        reason,
        detail,
        events: events.into_iter().map(following).collect(),
    })
}

/// Whether to do it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReplayQuery {
    /// `true` to be told what it would do; nothing is changed then.
    #[serde(default)]
    preview: bool,
}

/// Why a delivery is to be looked at again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWhy {
    /// A sentence that is kept with the delivery.
    #[schema(min_length = 1, max_length = 500, example = "The catalogue had lost a price; it is back.")]
    why: String,
}

/// A delivery that is looked at again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryReplay)]
pub struct Replay {
    /// Always `delivery_replay`.
    #[schema(example = "delivery_replay")]
    object: &'static str,
    /// The provider's event id.
    delivery: String,
    /// Always `pending`.
    outcome: DeliveryOutcome,
}

/// Look at a delivery again.
///
/// Whatever became of it before. Telling the same twice changes nothing. Who asked, and why, is kept with it.
#[utoipa::path(
    post, path = "/v1/support/deliveries/{event}/replay", operation_id = "replayDelivery", tag = "Support",
    params(("event" = String, Path, description = "The provider's event id"), ReplayQuery),
    request_body = Option<ReplayWhy>,
    security(("bearer" = ["support.write"])),
    responses(
        (status = 200, description = "What it would do", body = ReplayPreview),
        (status = 202, description = "It waits to be looked at", body = Replay),
        (status = 404, description = "`unknown_delivery`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`erased`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_shape` or `invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replay(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportWrite>,
    Ids(event): Ids<String>,
    Params(query): Params<ReplayQuery>,
    MaybeBody(body): MaybeBody<ReplayWhy>,
) -> Result<Response, ApiError> {
    if query.preview {
        return Ok(Json(preview_replay(&state, &event).await?).into_response());
    }
    let why = body.map_or_else(|| Ok("asked for by its id".to_owned()), |body| given(&body.why))?;
    look_again(&state, &event, caller.actor(), &why).await?;
    let replay = Replay { object: "delivery_replay", delivery: event, outcome: DeliveryOutcome::Pending };
    Ok((StatusCode::ACCEPTED, Json(replay)).into_response())
}

/// Which deliveries are to be looked at again, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayMany {
    /// Which.
    filter: ReplayFilter,
    /// A sentence that is kept with each of them.
    #[schema(min_length = 1, max_length = 500, example = "The catalogue had lost a price; it is back.")]
    why: String,
    /// How many at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before: go on with those that arrived later.
    #[schema(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// Some deliveries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// Those with this outcome, which cannot be `pending`: what waits is looked at anyway.
    outcome: DeliveryOutcome,
    /// Only those whose outcome has this code.
    #[schema(example = "unmapped_product")]
    reason: Option<String>,
    /// Only those of this event type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only those that speak of this payer.
    customer: Option<String>,
    /// Only those that first arrived at this moment or later.
    #[schema(value_type = Option<DateTime<Utc>>)]
    received_from: Option<String>,
    /// Only those that first arrived before this moment.
    #[schema(value_type = Option<DateTime<Utc>>)]
    received_until: Option<String>,
}

/// Deliveries that are looked at again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveriesReplay)]
pub struct ReplayedMany {
    /// Always `deliveries_replay`.
    #[schema(example = "deliveries_replay")]
    object: &'static str,
    /// How many wait to be looked at now.
    replayed: u64,
    /// How many there are that arrived after them. It is counted to 10,000 and no further.
    left: u64,
    /// Where to go on, if any are left: send it as `cursor`.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Look at many deliveries again.
///
/// Those that arrived first come first. One call takes some of them and says how many are left; with its cursor the next
/// one goes on, so that what keeps its outcome is looked at once and not for ever.
#[utoipa::path(
    post, path = "/v1/support/deliveries/replay", operation_id = "replayDeliveries", tag = "Support",
    request_body = ReplayMany,
    security(("bearer" = ["support.write"])),
    responses(
        (status = 202, description = "They wait to be looked at", body = ReplayedMany),
        (status = 422, description = "`wrong_shape` or `invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replay_some(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportWrite>,
    Body(asked): Body<ReplayMany>,
) -> Result<Response, ApiError> {
    let ReplayMany { filter, why, limit, cursor: from } = asked;
    if filter.outcome == DeliveryOutcome::Pending {
        let why = "what is pending is looked at anyway; name another outcome";
        return Err(ApiError::Invalid { field: "filter.outcome", why: why.into() });
    }
    let at_most = limit.unwrap_or(USUALLY_REPLAYED);
    if !(1..=MOST_REPLAYED).contains(&at_most) {
        return Err(ApiError::Invalid { field: "limit", why: "it has to be a number from 1 to 1000".into() });
    }
    let said = Said {
        outcome: Some(filter.outcome),
        reason: filter.reason.as_deref(),
        event_type: filter.event_type.as_deref(),
        customer: filter.customer.as_deref(),
        received_from: filter.received_from.as_deref(),
        received_until: filter.received_until.as_deref(),
    };
    let (of, why, from) = (said.selection()?, given(&why)?, cursor(from.as_deref())?);
    let done = state.deliveries.replay_some(of, from, at_most as usize, caller.actor(), &why).await?;
    let next_cursor = done.last.filter(|_| done.left > 0).map(|last| after(&last));
    let replayed =
        ReplayedMany { object: "deliveries_replay", replayed: done.count, left: done.left, next_cursor };
    Ok((StatusCode::ACCEPTED, Json(replayed)).into_response())
}

/// What a reason has to be.
pub const A_LINE: &str = "it has to be one line of 1 to 500 characters";

/// A reason that somebody gave, if it is [`A_LINE`].
pub fn sentence(why: &str) -> Option<String> {
    let why = why.trim();
    (could_be_an_id(why) && why.chars().count() <= LONGEST_WHY).then(|| why.to_owned())
}

fn given(why: &str) -> Result<String, ApiError> {
    sentence(why).ok_or(ApiError::Invalid { field: "why", why: A_LINE.into() })
}
