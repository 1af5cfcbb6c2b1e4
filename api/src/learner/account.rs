//! Who is signed in, what she has bought, and what has happened to her.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::access::grace_end;
use domain::catalog::Catalog;
use domain::ids::{MemberId, PlanId, SubscriptionId};
use domain::membership::{Held, Membership};
use domain::metadata::Actor;
use domain::ports::Position;
use domain::subscription::Status;
use projections::dossier::Dossier;
use projections::timeline::Told;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Visit;
use super::checkout::is_money_under_way;
use super::watch::plan_name;
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, List, Params, cursor, limit, member};
use crate::position::{self, AnsweredAt};
use crate::state::ApiState;
use crate::viewer::Viewer;

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Always `me`.
    #[schema(example = "me")]
    object: &'static str,
    /// The member; null when nobody is signed in.
    #[schema(required = true)]
    member: Option<MySelf>,
}

/// A member as she sees herself.
#[derive(Debug, Serialize, ToSchema)]
pub struct MySelf {
    /// Her id.
    #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    id: MemberId,
    /// Her e-mail address.
    #[schema(required = true)]
    email: Option<String>,
    /// What she may do beside learning: `member`, `support` or `owner`.
    #[schema(example = "member")]
    role: &'static str,
}

/// Who am I?
#[utoipa::path(
    get, path = "/v1/me", operation_id = "showMe", tag = "Learner",
    security((), ("session" = [])),
    responses((status = 200, description = "The member, or null", body = Me)),
)]
pub async fn me(State(state): State<ApiState>, visit: Visit) -> Result<Response, ApiError> {
    let member = match &visit.viewer {
        Some(viewer) => {
            let record = state.people.get(&viewer.member).await?;
            let email = record.and_then(|record| record.email);
            Some(MySelf { id: viewer.member.clone(), email, role: viewer.role.as_str() })
        }
        None => None,
    };
    Ok((AnsweredAt(visit.position), Json(Me { object: "me", member })).into_response())
}

/// What a member has bought, and what she can do with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Membership)]
pub struct MembershipBody {
    /// Always `membership`.
    #[schema(example = "membership")]
    object: &'static str,
    /// The member.
    #[schema(value_type = String)]
    member: MemberId,
    /// Where it stands.
    state: MembershipState,
    /// The same in a sentence.
    message: String,
    /// The plan.
    #[schema(required = true)]
    plan: Option<PlanRef>,
    /// Until when it is paid for, tried or kept open, where that is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// When it ends, if an end is scheduled.
    #[schema(required = true)]
    ends_at: Option<DateTime<Utc>>,
    /// The plan that comes later, if a change is scheduled.
    #[schema(required = true)]
    next: Option<NextPlan>,
    /// What can be done now, most useful first.
    actions: Vec<MembershipAction>,
    /// Every subscription there is or was, the most useful first.
    subscriptions: Vec<SubscriptionBody>,
    /// Only while she pays more than once: which, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    duplicate: Option<Duplicate>,
    /// How much of the log this knows of.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
}

/// Where a membership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MembershipState {
    /// Nothing was ever bought.
    None,
    /// In a free trial.
    Trial,
    /// Paid for.
    Active,
    /// A renewal is owed.
    PastDue,
    /// The first payment has not been made, or is on its way.
    PaymentPending,
    /// The provider has given up collecting.
    Unpaid,
    /// Suspended.
    Paused,
    /// Over.
    Ended,
    /// The provider used a word this version does not know.
    Unknown,
}

/// Something that can be done with a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MembershipAction {
    /// Buy one.
    Checkout,
    /// See invoices and change how it is paid.
    Portal,
    /// Choose another plan.
    ChangePlan,
    /// End it.
    Cancel,
    /// Take the scheduled end back, or end the suspension.
    Resume,
}

/// A plan by its id and name.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanRef {
    /// Its id.
    #[schema(value_type = String, example = "pro")]
    id: PlanId,
    /// Its name.
    #[schema(example = "Pro")]
    name: String,
}

impl PlanRef {
    fn new(catalog: &Catalog, id: PlanId) -> Self {
        Self { name: plan_name(catalog, &id), id }
    }
}

/// A change of plan that is to come.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextPlan {
    /// The plan that comes; null where the catalogue does not know it.
    #[schema(required = true)]
    plan: Option<PlanRef>,
    /// From when on.
    from: DateTime<Utc>,
}

/// A subscription at the billing provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MySubscription)]
pub struct SubscriptionBody {
    /// Its id.
    #[schema(value_type = String, example = "sub_1")]
    id: SubscriptionId,
    /// Where it stands.
    state: MembershipState,
    /// Where it stands, in the provider's word.
    #[schema(example = "active")]
    status: String,
    /// Its plan.
    #[schema(required = true)]
    plan: Option<PlanRef>,
    /// When it began.
    #[schema(required = true)]
    started_at: Option<DateTime<Utc>>,
    /// When the period that is paid for ends.
    #[schema(required = true)]
    period_end: Option<DateTime<Utc>>,
    /// When it ends, if an end is scheduled.
    #[schema(required = true)]
    ends_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required = true)]
    ended_at: Option<DateTime<Utc>>,
}

/// Several subscriptions that are paid beside each other.
#[derive(Debug, Serialize, ToSchema)]
pub struct Duplicate {
    /// Which.
    #[schema(value_type = Vec<String>)]
    subscriptions: Vec<SubscriptionId>,
    /// What to do about it.
    message: String,
}

/// What have I bought?
#[utoipa::path(
    get, path = "/v1/me/membership", operation_id = "showMyMembership", tag = "Learner",
    security(("session" = [])),
    responses((status = 200, description = "The membership, also when there is none", body = MembershipBody)),
)]
pub async fn membership(State(state): State<ApiState>, visit: Visit) -> Result<Response, ApiError> {
    let member = &visit.viewer()?.member;
    let dossier = state.history()?.dossier(member).await?;
    let body = MembershipBody::new(&state, member, &dossier);
    Ok((AnsweredAt(dossier.position.max(visit.position)), Json(body)).into_response())
}

/// What has a member bought?
///
/// As she sees it herself. `duplicate` is there while she pays for several subscriptions at once.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/membership", operation_id = "showMembership", tag = "Support",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The membership, also when there is none", body = MembershipBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn membership_of(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let member = member(&id)?;
    let dossier = state.history()?.dossier(&member).await?;
    let body = MembershipBody::new(&state, &member, &dossier);
    Ok((AnsweredAt(dossier.position), Json(body)).into_response())
}

impl MembershipBody {
    pub(super) fn new(state: &ApiState, member: &MemberId, dossier: &Dossier) -> Self {
        let (catalog, now) = (state.index.catalog(), state.clock.now());
        let Dossier { membership, position, .. } = dossier;
        let best = membership.held.first();
        let under_way = is_money_under_way(dossier) && membership.running().next().is_none();
        let stands = match best {
            _ if under_way => MembershipState::PaymentPending,
            None => MembershipState::None,
            Some(held) => MembershipState::of(held, now),
        };
        let running = best.filter(|held| held.is_running());
        let plan = best.and_then(|held| held.plan(&catalog)).map(|plan| PlanRef::new(&catalog, plan));
        let until = running.and_then(|held| until(held, &catalog));
        let ends_at = running.and_then(Held::ends_at);
        let next = running.and_then(|held| held.next.as_ref()).filter(|next| next.from > now).map(|next| {
            let plan = catalog.plans_of(&next.items).into_iter().next().or(next.plans.first().cloned());
            NextPlan { plan: plan.map(|plan| PlanRef::new(&catalog, plan)), from: next.from }
        });
        Self {
            object: "membership",
            member: member.clone(),
            state: stands,
            message: words(stands, plan.as_ref(), until, ends_at, next.as_ref()),
            actions: actions(dossier, running, under_way),
            plan,
            until,
            ends_at,
            next,
            subscriptions: membership
                .held
                .iter()
                .map(|held| SubscriptionBody::new(held, &catalog, now))
                .collect(),
            duplicate: Duplicate::of(membership),
            position: *position,
        }
    }
}

impl MembershipState {
    fn of(held: &Held, now: DateTime<Utc>) -> Self {
        if held.ends_at().is_some_and(|ends_at| ends_at <= now) {
            return Self::Ended;
        }
        // Paid, and the provider's status lags behind.
        if held.standing.anchors.recovered_at.is_some() {
            return Self::Active;
        }
        match held.status() {
            Status::Trialing => Self::Trial,
            Status::Active => Self::Active,
            Status::PastDue => Self::PastDue,
            Status::Incomplete => Self::PaymentPending,
            Status::Unpaid => Self::Unpaid,
            Status::Paused => Self::Paused,
            Status::Canceled | Status::IncompleteExpired => Self::Ended,
            Status::Unknown(_) => Self::Unknown,
        }
    }
}

/// Until when it is tried, kept open or paid for.
fn until(held: &Held, catalog: &Catalog) -> Option<DateTime<Utc>> {
    let terms = &held.standing.terms;
    match terms.status {
        Status::Trialing => terms.trial_end,
        Status::PastDue if held.standing.anchors.recovered_at.is_none() => {
            let anchors = &held.standing.anchors;
            Some(grace_end(&catalog.policy(), anchors.grace_from?, anchors.grace_until))
        }
        Status::Active | Status::PastDue => terms.period_end,
        _ => None,
    }
}

fn words(
    state: MembershipState,
    plan: Option<&PlanRef>,
    until: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    next: Option<&NextPlan>,
) -> String {
    use MembershipState as S;
    let plan = plan.map(|plan| format!("{} ", plan.name)).unwrap_or_default();
    let day = |moment: DateTime<Utc>| moment.format("%-d %B %Y").to_string();
    let until = until.map(day);
    let mut said = match (state, until, ends_at) {
        (S::None, ..) => "You have no membership.".to_owned(),
        (S::Ended, ..) => format!("Your {plan}membership has ended."),
        (S::Trial | S::Active | S::PastDue, _, Some(ends_at)) => {
            format!("Your {plan}membership ends on {}.", day(ends_at))
        }
        (S::Trial, Some(until), None) => format!("Your free {plan}trial lasts until {until}."),
        (S::Trial, None, None) => format!("You are in your free {plan}trial."),
        (S::Active, Some(until), None) => format!("Your {plan}membership renews on {until}."),
        (S::Active, None, None) => format!("Your {plan}membership is active."),
        (S::PastDue, Some(until), None) => {
            format!("A payment for your {plan}membership failed. Please settle it by {until}.")
        }
        (S::PastDue, None, None) => format!("A payment for your {plan}membership failed."),
        (S::PaymentPending, ..) => format!("The first payment of your {plan}membership has not arrived yet."),
        (S::Unpaid, ..) => format!("Your {plan}membership has not been paid."),
        (S::Paused, ..) => format!("Your {plan}membership is paused."),
        (S::Unknown, ..) => {
            "The state of your membership could not be read. Support has been told.".to_owned()
        }
    };
    if let Some(NextPlan { plan: Some(plan), from }) = next {
        said = format!("{said} Your plan will be {} from {} on.", plan.name, day(*from));
    }
    said
}

fn actions(dossier: &Dossier, running: Option<&Held>, under_way: bool) -> Vec<MembershipAction> {
    use MembershipAction as A;
    let mut actions = Vec::new();
    match running {
        None if under_way => {}
        None => actions.push(A::Checkout),
        Some(held) => {
            let (ending, paused) = (held.ends_at().is_some(), *held.status() == Status::Paused);
            if ending || paused {
                actions.push(A::Resume);
            }
            if matches!(held.status(), Status::Trialing | Status::Active) {
                actions.push(A::ChangePlan);
            }
            if !ending {
                actions.push(A::Cancel);
            }
        }
    }
    if dossier.customer().is_some() {
        let owes = running.is_some_and(|held| matches!(held.status(), Status::PastDue | Status::Unpaid));
        actions.insert(if owes { 0 } else { actions.len() }, A::Portal);
    }
    actions
}

impl SubscriptionBody {
    fn new(held: &Held, catalog: &Catalog, now: DateTime<Utc>) -> Self {
        let terms = &held.standing.terms;
        Self {
            id: held.id.clone(),
            state: MembershipState::of(held, now),
            status: terms.status.to_string(),
            plan: held.plan(catalog).map(|plan| PlanRef::new(catalog, plan)),
            started_at: terms.started_at,
            period_end: terms.period_end,
            ends_at: held.ends_at(),
            ended_at: terms.ended_at,
        }
    }
}

impl Duplicate {
    fn of(membership: &Membership) -> Option<Self> {
        let duplicates = membership.duplicates();
        let subscriptions: Vec<_> = duplicates.iter().map(|held| held.id.clone()).collect();
        let message =
            "You pay for several memberships at once. End the one you do not need, or write to support.";
        (!subscriptions.is_empty()).then(|| Self { subscriptions, message: message.to_owned() })
    }
}

/// One thing that happened, in words for the member.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Always `history_entry`.
    #[schema(example = "history_entry")]
    object: &'static str,
    /// Its place in the log.
    #[serde(serialize_with = "position::token")]
    #[schema(value_type = String, example = "p-1f")]
    position: Position,
    /// What kind of thing.
    #[schema(example = "SubscriptionActivated")]
    kind: String,
    /// When.
    at: DateTime<Utc>,
    /// Who made it happen.
    by: HistoryActor,
    /// What happened.
    #[schema(example = "Your Pro membership is active.")]
    sentence: String,
}

/// Who made something happen, as a member is told.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryActor {
    /// She herself.
    You,
    /// The billing provider.
    PaymentProvider,
    /// Somebody who works here.
    Support,
    /// The site by itself.
    Site,
}

impl HistoryActor {
    fn as_str(self) -> &'static str {
        match self {
            Self::You => "you",
            Self::PaymentProvider => "payment_provider",
            Self::Support => "support",
            Self::Site => "site",
        }
    }

    fn of(actor: &Actor) -> Self {
        let text = actor.to_string();
        match text.split(':').next() {
            Some("member") => Self::You,
            Some("stripe") => Self::PaymentProvider,
            Some("staff" | "operator") => Self::Support,
            _ => Self::Site,
        }
    }
}

impl HistoryEntry {
    /// The entry as a row of an export: when, by whom, what kind, in words.
    pub(crate) fn into_row(self) -> [String; 4] {
        [self.at.to_rfc3339(), self.by.as_str().to_owned(), self.kind, self.sentence]
    }
}

impl From<Told> for HistoryEntry {
    fn from(told: Told) -> Self {
        let by = HistoryActor::of(&told.actor);
        let Told { position, event_type, occurred_at, sentence, .. } = told;
        Self { object: "history_entry", position, kind: event_type, at: occurred_at, by, sentence }
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many, 1 to 100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// What has happened to my membership?
///
/// In plain words, latest first.
#[utoipa::path(
    get, path = "/v1/me/history", operation_id = "listMyHistory", tag = "Learner",
    params(PageQuery),
    security(("session" = [])),
    responses((status = 200, description = "The history, latest first", body = List<HistoryEntry>)),
)]
pub async fn history(
    State(state): State<ApiState>,
    viewer: Viewer,
    visit: Visit,
    Params(PageQuery { limit: most, cursor: after }): Params<PageQuery>,
) -> Result<Response, ApiError> {
    let (most, after) = (limit(most.as_deref())?, cursor(after.as_deref())?);
    let mut told = state.history()?.told(&viewer.member, &state.index.catalog()).await?;
    if let Some(after) = after {
        let seen = told.iter().position(|told| told.position.to_string() == after);
        told.drain(..=seen.ok_or(ApiError::BadCursor)?);
    }
    told.truncate(most + 1);
    let page = List::page(told, most, |told| told.position.to_string(), HistoryEntry::from);
    Ok((AnsweredAt(visit.position), Json(page)).into_response())
}
