//! Another plan, an end, and no end after all.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::{ChangePreview, PlanChange, When};
use domain::catalog::Catalog;
use domain::ids::{PlanId, PriceId, SubscriptionId};
use domain::member::{CancelReason, Cancellation, NewPlan, Request, Wish};
use domain::membership::{Held, Membership};
use domain::ports::Position;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::account::MembershipBody;
use super::asking::{Asking, Before};
use super::checkout::offered;
use super::refusal::Refusal;
use crate::error::{ApiError, Problem};
use crate::extract::Body;
use crate::position::AnsweredAt;

/// How long a cost that was shown is good for, and how far the provider's clock may be ahead of ours. Between them she cannot
/// choose a moment at which it would cost less.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(30);
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// When something takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// At once.
    Now,
    /// With the end of what is paid for.
    PeriodEnd,
}

impl From<Timing> for When {
    fn from(timing: Timing) -> Self {
        match timing {
            Timing::Now => Self::Now,
            Timing::PeriodEnd => Self::PeriodEnd,
        }
    }
}

impl From<When> for Timing {
    fn from(when: When) -> Self {
        match when {
            When::Now => Self::Now,
            When::PeriodEnd => Self::PeriodEnd,
        }
    }
}

/// Another plan.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlanChangeRequest)]
pub struct WantedPlan {
    /// The plan.
    #[schema(example = "pro", max_length = 80)]
    plan: String,
    /// One of its prices; the first when left out.
    #[schema(max_length = 255)]
    price: Option<String>,
    /// When; a better plan at once and a lower one with the end of what is paid for, when left out.
    when: Option<Timing>,
    /// Of which subscription; needed only by who has several.
    #[schema(max_length = 255)]
    subscription: Option<String>,
    /// The cost as the preview showed it: then the change costs this or is refused. Good for 30 minutes.
    expected: Option<Cost>,
}

/// What a change costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlanChangeCost)]
pub struct Cost {
    /// Due at once, in the currency's smallest unit; what was paid already is taken off. Below zero it is kept for the next
    /// payment.
    #[schema(example = 800)]
    due_now: i64,
    /// ISO 4217, lower case.
    #[schema(example = "usd")]
    currency: String,
    /// The moment it was reckoned for; null where the provider does not say.
    #[schema(required = true)]
    reckoned_at: Option<DateTime<Utc>>,
}

/// What a change would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanChangePreview)]
pub struct PreviewBody {
    /// Always `plan_change_preview`.
    #[schema(example = "plan_change_preview")]
    object: &'static str,
    /// The plan that goes.
    #[schema(value_type = Option<String>, required = true)]
    from: Option<PlanId>,
    /// The plan that comes.
    #[schema(value_type = String)]
    to: PlanId,
    /// The price of it.
    #[schema(value_type = String)]
    price: PriceId,
    /// When it takes effect.
    when: Timing,
    /// From when on, where that is not now.
    #[schema(required = true)]
    from_when: Option<DateTime<Utc>>,
    /// What it costs at once; send it along as `expected`.
    cost: Cost,
}

/// What came of a change of plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanChange)]
pub struct ChangeBody {
    /// Always `plan_change`.
    #[schema(example = "plan_change")]
    object: &'static str,
    /// How it stands.
    state: ChangeState,
    /// The membership as it is now.
    membership: MembershipBody,
}

/// How a change of plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// She has the plan.
    Done,
    /// She will have it later.
    Scheduled,
    /// She will have it once it is paid; the portal shows how. It is given up after a day.
    PaymentPending,
}

/// What somebody wants, understood.
struct Wanted {
    held: Held,
    change: PlanChange,
    from: Option<PlanId>,
    to: PlanId,
    when: When,
}

/// What would another plan cost?
#[utoipa::path(
    post, path = "/v1/me/membership/plan/preview", operation_id = "previewPlanChange", tag = "Learner",
    security(("session" = [])),
    request_body = WantedPlan,
    responses(
        (status = 200, description = "What it costs and when it takes effect; nothing was changed", body = PreviewBody),
        (status = 409, description = "`no_subscription`, `several_subscriptions`, `same_plan`, `end_scheduled` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn preview(asking: Asking, Body(wanted): Body<WantedPlan>) -> Result<Response, ApiError> {
    let reckon = async move {
        let billing = asking.billing()?;
        let wanted = asking.understood(&wanted).await?;
        let cost = match wanted.when {
            When::Now => billing.preview_change(&wanted.change, None).await?.into(),
            // What is paid for stays; the next period costs what the plan costs.
            When::PeriodEnd => {
                let preview = billing.preview_change(&wanted.change, None).await?;
                Cost { due_now: 0, currency: preview.currency, reckoned_at: None }
            }
        };
        let later = wanted.held.standing.terms.period_end.filter(|_| wanted.when == When::PeriodEnd);
        Ok(PreviewBody {
            object: "plan_change_preview",
            from: wanted.from,
            to: wanted.to,
            price: wanted.change.to,
            when: wanted.when.into(),
            from_when: later,
            cost,
        })
    };
    Ok(Json(Asking::to_its_end(reckon).await?).into_response())
}

impl From<ChangePreview> for Cost {
    fn from(ChangePreview { due_now, currency, reckoned_at }: ChangePreview) -> Self {
        Self { due_now, currency, reckoned_at }
    }
}

/// Change the plan.
///
/// A better plan is bought at once, and its difference charged; a lower one comes with the end of what is paid for. With
/// `expected` it costs what the preview showed. The videos follow as soon as this has answered.
#[utoipa::path(
    post, path = "/v1/me/membership/plan", operation_id = "changePlan", tag = "Learner",
    security(("session" = [])),
    request_body = WantedPlan,
    responses(
        (status = 200, description = "What came of it", body = ChangeBody),
        (status = 409, description = "`no_subscription`, `several_subscriptions`, `same_plan`, `end_scheduled`, `taken_back`, `preview_outdated` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: it may or may not have been done; ask again later", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn plan(asking: Asking, Body(wanted): Body<WantedPlan>) -> Result<Response, ApiError> {
    let (body, position) = Asking::to_its_end(async move { asking.change_plan(wanted).await }).await?;
    Ok((AnsweredAt(position), Json(body)).into_response())
}

impl Asking {
    async fn understood(&self, wanted: &WantedPlan) -> Result<Wanted, ApiError> {
        let catalog = self.state.index.catalog();
        let (plan, price) = offered(&catalog, &wanted.plan, wanted.price.as_deref())?;
        let membership = self.dossier().await?.membership;
        let held = chosen(&membership, wanted.subscription.as_deref())?.clone();
        let from = held.plan(&catalog);
        let same_plan = from.as_ref() == Some(&plan.id);
        let same = same_plan && (wanted.price.is_none() || held.sells(&price));
        // The plan she has is chosen to take back another one that was to come.
        let takes_back = same && held.next.is_some();
        if same && !takes_back {
            return Err(Refusal::SamePlan.into());
        }
        let rank = |plan: &PlanId| catalog.plan(plan).map(|plan| plan.rank);
        let is_lower = from.as_ref().and_then(rank).is_some_and(|rank| plan.rank < rank);
        let usual = if is_lower { When::PeriodEnd } else { When::Now };
        let to = if takes_back { current(&held).unwrap_or(price) } else { price };
        let change =
            PlanChange { subscription: held.id.clone(), from: prices(&catalog, from.as_ref(), &held), to };
        let when = if takes_back { When::Now } else { wanted.when.map_or(usual, When::from) };
        if when == When::PeriodEnd && held.ends_at().is_some() {
            return Err(Refusal::EndScheduled.into());
        }
        Ok(Wanted { held, change, from, to: plan.id.clone(), when })
    }

    async fn change_plan(self, wanted: WantedPlan) -> Result<(ChangeBody, Position), ApiError> {
        let billing = self.billing()?;
        let (request, before) = match self.before().await? {
            Some(Request { wish: Wish::PlanChange(asked), confirmed, .. }) if wanted.is(&asked) => {
                self.look(&asked.subscription).await?;
                let wish = Wish::PlanChange(asked.clone());
                let is_so = self.held(&asked.subscription).await?.is_some_and(|held| held.fulfils(&wish));
                (asked, Before::of(confirmed, is_so))
            }
            Some(_) => return Err(Refusal::KeyReused.into()),
            None => (self.new_plan(&wanted).await?, Before::Open),
        };
        let held = self.held(&request.subscription).await?.ok_or(Refusal::NoSubscription)?;
        let is_old = |at: DateTime<Utc>| at < self.state.now() - GOOD_FOR;
        if before == Before::Open && request.reckoned_at.is_some_and(is_old) {
            return Err(Refusal::PreviewOutdated.into());
        }
        let from = prices(&self.state.index.catalog(), request.from.as_ref(), &held);
        let change = PlanChange { subscription: held.id.clone(), from, to: request.price.clone() };
        let done = billing.change_plan(&change, request.when, request.reckoned_at, &self.key);
        self.carry_out(&held.id, Wish::PlanChange(request.clone()), before, done).await?;
        let (membership, held, position) = self.seen(&held.id).await?;
        let held = held.ok_or(Refusal::TakenBack)?;
        let state = match request.when {
            When::PeriodEnd if held.changes_to(&request) => ChangeState::Scheduled,
            _ if held.sells(&request.price) => ChangeState::Done,
            When::Now => ChangeState::PaymentPending,
            When::PeriodEnd => return Err(Refusal::TakenBack.into()),
        };
        Ok((ChangeBody { object: "plan_change", state, membership }, position))
    }

    async fn new_plan(&self, wanted: &WantedPlan) -> Result<NewPlan, ApiError> {
        let Wanted { held, change, from, to, when } = self.understood(wanted).await?;
        let reckoned_at = match &wanted.expected {
            Some(expected) if when == When::Now => self.as_shown(&change, expected).await?,
            _ => None,
        };
        Ok(NewPlan { subscription: held.id, from, to, price: change.to, when, reckoned_at })
    }

    /// A subscription of hers as the log knows it.
    async fn held(&self, id: &SubscriptionId) -> Result<Option<Held>, ApiError> {
        Ok(self.dossier().await?.membership.subscription(id.as_str()).cloned())
    }

    /// The subscription that is meant, as it is now.
    async fn looked_at(&self, named: Option<&str>) -> Result<Held, ApiError> {
        let id = chosen(&self.dossier().await?.membership, named)?.id.clone();
        self.look(&id).await?;
        self.held(&id).await?.ok_or_else(|| Refusal::NoSubscription.into())
    }

    /// The moment that a cost was reckoned for, if it still is what was shown.
    async fn as_shown(&self, change: &PlanChange, shown: &Cost) -> Result<Option<DateTime<Utc>>, ApiError> {
        let now = self.state.now();
        if shown.reckoned_at.is_some_and(|at| at < now - GOOD_FOR || at > now + AHEAD) {
            return Err(Refusal::PreviewOutdated.into());
        }
        let cost = self.billing()?.preview_change(change, shown.reckoned_at).await?;
        if (cost.due_now, &cost.currency) != (shown.due_now, &shown.currency) {
            return Err(Refusal::PreviewOutdated.into());
        }
        Ok(shown.reckoned_at.or(cost.reckoned_at))
    }

    /// The membership as it is now that something was done, and the subscription it was done to.
    async fn seen(&self, id: &SubscriptionId) -> Result<(MembershipBody, Option<Held>, Position), ApiError> {
        let dossier = self.dossier().await?;
        self.known(dossier.position).await;
        let body = MembershipBody::new(&self.state, self.member(), &dossier);
        let held = dossier.membership.subscription(id.as_str()).cloned();
        Ok((body, held, dossier.position))
    }

    async fn end(self, wanted: WantedEnd) -> Result<(MembershipBody, Position), ApiError> {
        let billing = self.billing()?;
        let named = wanted.subscription.as_deref();
        let (end, before) = match self.before().await? {
            Some(Request { wish: Wish::Cancellation(asked), confirmed, .. })
                if is_named(named, &asked.subscription) =>
            {
                self.look(&asked.subscription).await?;
                let held = self.held(&asked.subscription).await?;
                let wish = Wish::Cancellation(asked.clone());
                let is_so = held.is_some_and(|held| held.fulfils(&wish));
                (asked, Before::of(confirmed, is_so))
            }
            Some(_) => return Err(Refusal::KeyReused.into()),
            None => {
                let held = self.looked_at(named).await?;
                let when = wanted.when.map_or(When::PeriodEnd, When::from);
                let reason = wanted.reason.map(CancelReason::from);
                let asked = Cancellation { subscription: held.id.clone(), when, reason };
                if held.fulfils(&Wish::Cancellation(asked.clone())) {
                    let (body, _, position) = self.seen(&held.id).await?;
                    return Ok((body, position));
                }
                (asked, Before::Open)
            }
        };
        let done = billing.cancel(&end.subscription, end.when, &self.key);
        self.carry_out(&end.subscription, Wish::Cancellation(end.clone()), before, done).await?;
        let (body, _, position) = self.seen(&end.subscription).await?;
        Ok((body, position))
    }

    async fn go_on(self, wanted: WantedResumption) -> Result<(MembershipBody, Position), ApiError> {
        let billing = self.billing()?;
        let named = wanted.subscription.as_deref();
        let (subscription, before) = match self.before().await? {
            Some(Request { wish: Wish::Resumption { subscription }, confirmed, .. })
                if is_named(named, &subscription) =>
            {
                self.look(&subscription).await?;
                let held = self.held(&subscription).await?;
                let is_so = held.is_some_and(|held| held.is_running() && !held.rests());
                (subscription, Before::of(confirmed, is_so))
            }
            Some(_) => return Err(Refusal::KeyReused.into()),
            None => {
                let held = self.looked_at(named).await?;
                if !held.rests() {
                    return Err(Refusal::NothingToResume.into());
                }
                (held.id, Before::Open)
            }
        };
        let done = billing.resume(&subscription, &self.key);
        let wish = Wish::Resumption { subscription: subscription.clone() };
        self.carry_out(&subscription, wish, before, done).await?;
        let (body, _, position) = self.seen(&subscription).await?;
        Ok((body, position))
    }
}

impl WantedPlan {
    /// Whether it is this that was asked for.
    fn is(&self, asked: &NewPlan) -> bool {
        self.plan == asked.to.as_str() && is_named(self.subscription.as_deref(), &asked.subscription)
    }
}

/// Whether this subscription is named, or none is.
fn is_named(named: Option<&str>, id: &SubscriptionId) -> bool {
    named.is_none_or(|named| named == id.as_str())
}

/// The subscription that is meant.
fn chosen<'m>(membership: &'m Membership, named: Option<&str>) -> Result<&'m Held, ApiError> {
    let running: Vec<&Held> = membership.running().collect();
    match (named, running.as_slice()) {
        (Some(named), all) => {
            let found = all.iter().find(|held| held.id.as_str() == named);
            let unknown = || Refusal::UnknownSubscription(named.chars().take(80).collect());
            Ok(found.ok_or_else(unknown)?)
        }
        (None, [only]) => Ok(only),
        (None, []) => Err(Refusal::NoSubscription.into()),
        (None, several) => {
            Err(Refusal::SeveralSubscriptions(several.iter().map(|held| held.id.clone()).collect()).into())
        }
    }
}

fn current(held: &Held) -> Option<PriceId> {
    held.standing.terms.items.iter().find_map(|item| item.price.clone())
}

/// The prices of the plan that goes: those it has now, and the one that is sold.
fn prices(catalog: &Catalog, plan: Option<&PlanId>, held: &Held) -> Vec<PriceId> {
    let known = plan.and_then(|plan| catalog.plan(plan)).map(|plan| plan.prices.clone()).unwrap_or_default();
    if known.is_empty() { current(held).into_iter().collect() } else { known }
}

/// An end.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancellationRequest)]
pub struct WantedEnd {
    /// When; with the end of what is paid for when left out.
    when: Option<Timing>,
    /// Why, if she says.
    reason: Option<WhyCancelled>,
    /// Which subscription; needed only by who has several.
    #[schema(max_length = 255)]
    subscription: Option<String>,
}

/// Why somebody leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyCancelled {
    /// It costs too much.
    TooExpensive,
    /// Something is not taught here.
    MissingContent,
    /// It is not as good as it should be.
    LowQuality,
    /// There is no time for it.
    Unused,
    /// Another site is better.
    SwitchedService,
    /// Something does not work.
    TechnicalProblems,
    /// Learned what there was to learn.
    Finished,
    /// Something else.
    Other,
}

impl From<WhyCancelled> for CancelReason {
    fn from(why: WhyCancelled) -> Self {
        match why {
            WhyCancelled::TooExpensive => Self::TooExpensive,
            WhyCancelled::MissingContent => Self::MissingContent,
            WhyCancelled::LowQuality => Self::LowQuality,
            WhyCancelled::Unused => Self::Unused,
            WhyCancelled::SwitchedService => Self::SwitchedService,
            WhyCancelled::TechnicalProblems => Self::TechnicalProblems,
            WhyCancelled::Finished => Self::Finished,
            WhyCancelled::Other => Self::Other,
        }
    }
}

/// End the membership.
///
/// With the end of what is paid for, unless told otherwise: until then everything stays open.
#[utoipa::path(
    post, path = "/v1/me/membership/cancel", operation_id = "cancelMembership", tag = "Learner",
    security(("session" = [])),
    request_body = WantedEnd,
    responses(
        (status = 200, description = "The membership as it is now; also when its end was scheduled before", body = MembershipBody),
        (status = 409, description = "`no_subscription`, `several_subscriptions` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: it may or may not have been done; ask again later", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cancel(asking: Asking, Body(wanted): Body<WantedEnd>) -> Result<Response, ApiError> {
    let (body, position) = Asking::to_its_end(async move { asking.end(wanted).await }).await?;
    Ok((AnsweredAt(position), Json(body)).into_response())
}

/// Which subscription goes on.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResumptionRequest)]
pub struct WantedResumption {
    /// Needed only by who has several.
    #[schema(max_length = 255)]
    subscription: Option<String>,
}

/// Stay after all.
///
/// Takes the scheduled end back, or ends a suspension.
#[utoipa::path(
    post, path = "/v1/me/membership/resume", operation_id = "resumeMembership", tag = "Learner",
    security(("session" = [])),
    request_body = WantedResumption,
    responses(
        (status = 200, description = "The membership as it is now", body = MembershipBody),
        (status = 409, description = "`no_subscription`, `several_subscriptions`, `nothing_to_resume` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: it may or may not have been done; ask again later", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn resume(asking: Asking, Body(wanted): Body<WantedResumption>) -> Result<Response, ApiError> {
    let (body, position) = Asking::to_its_end(async move { asking.go_on(wanted).await }).await?;
    Ok((AnsweredAt(position), Json(body)).into_response())
}
