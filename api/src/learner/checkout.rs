//! Buying, coming back from it, and the provider's pages about payments.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cqrs_es::Aggregate;
use domain::billing::{BillingError, CheckoutState, HostedPage, NewCheckout};
use domain::catalog::{Catalog, Plan};
use domain::customer::{CustomerCommand, CustomerError, LinkedThrough};
use domain::events::{Event, upcasters};
use domain::ids::{CustomerId, MemberId, PlanId, PriceId, SubscriptionId};
use domain::member::{self, Answer, Member, MemberCommand, Order, Wish};
use domain::ports::{Position, StoreError};
use domain::subscription::{self, Status, Subscription};
use projections::dossier::Dossier;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::Instrument;
use utoipa::ToSchema;

use super::asking::Asking;
use super::refusal::Refusal;
use crate::error::{ApiError, Problem, not_done};
use crate::extract::Body;
use crate::position::AnsweredAt;
use crate::state::{ApiState, Purchase, ResyncError};
use crate::viewer::Viewer;

/// How long somebody who comes back from paying waits for her access.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stripe's ids of sessions are far shorter.
const LONGEST_SESSION: usize = 255;

/// Something to buy.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// The plan.
    #[schema(example = "pro", max_length = 80)]
    plan: String,
    /// One of the plan's prices, such as the yearly one; the first when left out.
    #[schema(example = "price_pro_year", max_length = 255)]
    price: Option<String>,
}

/// A page on which a member can pay.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkout)]
pub struct CheckoutBody {
    /// Always `checkout`.
    #[schema(example = "checkout")]
    object: &'static str,
    /// The provider's id of it; she comes back with it as `session_id`.
    #[schema(example = "cs_test_a1")]
    session: String,
    /// Where she pays. Send her there.
    url: String,
    /// What she buys.
    #[schema(value_type = String, example = "pro")]
    plan: PlanId,
    /// The price.
    #[schema(value_type = String)]
    price: PriceId,
    /// How many days are free; one trial is all a member ever has.
    #[schema(required = true)]
    trial_days: Option<u32>,
    /// Whether this page was there before: she asked for the same in another window.
    is_same: bool,
}

/// Buy a membership.
///
/// Answers with a page of the provider's. A member has one paying membership: who has one is told to change its plan instead.
/// A page that is open is given back when the same is asked for again, and closed when something else is.
#[utoipa::path(
    post, path = "/v1/me/checkout", operation_id = "beginCheckout", tag = "Learner",
    security(("session" = [])),
    request_body = NewOrder,
    responses(
        (status = 200, description = "The page to send her to", body = CheckoutBody),
        (status = 409, description = "`already_subscribed`, `payment_under_way`, `checkout_replaced` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`unknown_plan`, `not_for_sale`, `key_reused`, `wrong_shape`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: ask again later; nothing is bought twice", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn begin(asking: Asking, Body(order): Body<NewOrder>) -> Result<Response, ApiError> {
    let page = Asking::to_its_end(async move { asking.begin_checkout(order).await }).await?;
    Ok(Json(page).into_response())
}

/// A plan and the price that is sold of it.
pub(super) fn offered<'c>(
    catalog: &'c Catalog,
    plan: &str,
    price: Option<&str>,
) -> Result<(&'c Plan, PriceId), ApiError> {
    let known =
        catalog.plan(&plan.into()).ok_or_else(|| Refusal::UnknownPlan(plan.chars().take(80).collect()))?;
    let not_sold = |how: String| Refusal::NotForSale { plan: known.id.clone(), how }.into();
    match price {
        None => known.prices.first().ok_or_else(|| not_sold("at any price".to_owned())),
        Some(price) => known.prices.iter().find(|held| held.as_str() == price).ok_or_else(|| {
            not_sold(format!("at the price {:?}", price.chars().take(80).collect::<String>()))
        }),
    }
    .map(|price| (known, price.clone()))
}

impl Asking {
    async fn begin_checkout(self, wanted: NewOrder) -> Result<CheckoutBody, ApiError> {
        self.billing()?;
        let catalog = self.state.index.catalog();
        let (plan, price) = offered(&catalog, &wanted.plan, wanted.price.as_deref())?;
        let mut dossier = self.dossier().await?;
        if let Some(payer) = dossier.customer() {
            // What was bought a moment ago may not have been told yet.
            self.learner().purchases.payer(payer, &self.key).await?;
            dossier = self.dossier().await?;
        }
        may_buy(&dossier)?;
        let customer = match dossier.customer() {
            Some(customer) => customer.clone(),
            None => self.make_customer(dossier.customers.len()).await?,
        };
        let trial_days = plan.trial_days.filter(|_| !dossier.membership.had_trial());
        let order = Order { plan: plan.id.clone(), price, customer, trial_days };
        if let Some(page) = self.open_page(&dossier.member, &order).await? {
            return Ok(CheckoutBody::new(page, order, true));
        }
        let key = self.asked_for(&order).await?;
        let checkout = NewCheckout {
            member: self.member().clone(),
            customer: order.customer.clone(),
            price: order.price.clone(),
            trial_days,
            success_url: self.back("session_id={CHECKOUT_SESSION_ID}"),
            cancel_url: self.back("checkout=left"),
        };
        let page = self.billing()?.begin_checkout(&checkout, &key).await;
        let opened = |page: &HostedPage| Answer::Opened { session: page.session.clone() };
        let page = self.answered(&key, page, opened).await?;
        self.keep_one(&page, &key).await?;
        Ok(CheckoutBody::new(page, order, key != self.key))
    }

    /// A page of the learning app's, as the provider sends her back to it.
    pub(super) fn back(&self, query: &str) -> String {
        format!("{}/learn/membership?{query}", self.learner().site)
    }

    /// A payer of her own, hers in the log before anything is bought. Two windows make one, and another one only where those
    /// before it are gone.
    async fn make_customer(&self, before: usize) -> Result<CustomerId, ApiError> {
        let record = self.state.people.get(self.member()).await?;
        let email = record.and_then(|record| record.email);
        let request = format!("{}-{before}", self.member());
        let customer = self.billing()?.create_customer(self.member(), email.as_deref(), &request).await?;
        let (member, through) = (self.member().clone(), LinkedThrough::Creation);
        let command = CustomerCommand::Link { member, through };
        let linked = self.state.customers.execute(customer.as_str(), command, self.context(&self.key)).await;
        linked.map_err(|error| {
            not_done(error, |refusal: CustomerError| ApiError::LinkedElsewhere {
                customer: customer.clone(),
                why: refusal.to_string(),
            })
        })?;
        Ok(customer)
    }

    /// The page of this order that is open already. Pages of other orders are closed, and one that turns out to be paid is
    /// taken in.
    async fn open_page(&self, member: &Member, order: &Order) -> Result<Option<HostedPage>, ApiError> {
        let mut found = None;
        for (held, session) in member.open_checkouts() {
            match self.billing()?.checkout(session).await? {
                Some(CheckoutState::Open(page)) if held == order => found = Some(page),
                Some(CheckoutState::Open(_)) => self.close(session).await?,
                Some(CheckoutState::Complete) => self.take_in(session).await?,
                Some(CheckoutState::Expired) | None => {}
            }
        }
        Ok(found)
    }

    async fn close(&self, session: &str) -> Result<(), ApiError> {
        match self.billing()?.expire_checkout(session, &self.key).await {
            Ok(()) => {
                let command = MemberCommand::WithdrawCheckout { session: session.to_owned() };
                self.tell(&self.key, command).await.map(drop)
            }
            // She may have paid it this very moment.
            Err(BillingError::Refused { .. }) => self.take_in(session).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in a checkout that was paid while another one was asked for.
    async fn take_in(&self, session: &str) -> Result<(), ApiError> {
        self.learner().purchases.checkout(self.member(), session).await?;
        may_buy(&self.dossier().await?)
    }

    /// Writes down the order. The same order that waits for its page in another window is one with this: its key is used, and
    /// so its page.
    async fn asked_for(&self, order: &Order) -> Result<String, ApiError> {
        if self.ask(Wish::Checkout(order.clone())).await? {
            return Ok(self.key.clone());
        }
        let member = self.dossier().await?.member;
        let mine = member.request(&self.key);
        let key = mine.or_else(|| member.checkout_in_flight(order)).map(|request| request.key.clone());
        key.ok_or_else(|| Refusal::CheckoutReplaced.into())
    }

    /// Of several pages that were opened at once the one asked for last stays.
    async fn keep_one(&self, page: &HostedPage, key: &str) -> Result<(), ApiError> {
        let member = self.dossier().await?.member;
        if member.is_overtaken(key) {
            self.close(&page.session).await?;
            return Err(Refusal::CheckoutReplaced.into());
        }
        for (_, session) in member.open_checkouts().filter(|(_, session)| *session != page.session) {
            self.close(session).await?;
        }
        Ok(())
    }
}

/// One paying membership for each member.
fn may_buy(dossier: &Dossier) -> Result<(), ApiError> {
    if let Some(held) = dossier.membership.running().next() {
        return Err(Refusal::AlreadySubscribed { subscription: held.id.clone() }.into());
    }
    if is_money_under_way(dossier) { Err(Refusal::PaymentUnderWay.into()) } else { Ok(()) }
}

/// Whether a checkout is finished whose money has not come, and what it started is not over.
pub(super) fn is_money_under_way(dossier: &Dossier) -> bool {
    let is_over = |id: &SubscriptionId| {
        dossier.membership.subscription(id.as_str()).is_some_and(|held| held.status().is_final())
    };
    let awaited = dossier.member.awaits_money();
    awaited.is_some_and(|checkout| !checkout.subscription.as_ref().is_some_and(is_over))
}

impl CheckoutBody {
    fn new(page: HostedPage, order: Order, is_same: bool) -> Self {
        let (HostedPage { session, url }, Order { plan, price, trial_days, .. }) = (page, order);
        Self { object: "checkout", session, url, plan, price, trial_days, is_same }
    }
}

/// A page of the provider's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Portal)]
pub struct PortalBody {
    /// Always `portal`.
    #[schema(example = "portal")]
    object: &'static str,
    /// Where it is. Send her there; it is good for a few minutes.
    url: String,
}

/// See invoices, and change how it is paid.
#[utoipa::path(
    post, path = "/v1/me/portal", operation_id = "openPortal", tag = "Learner",
    security(("session" = [])),
    responses(
        (status = 200, description = "The page to send her to", body = PortalBody),
        (status = 409, description = "`nothing_bought` or `billing_not_configured`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn portal(asking: Asking) -> Result<Response, ApiError> {
    let open = async move {
        let billing = asking.billing()?;
        let dossier = asking.dossier().await?;
        let customer = dossier.customer().ok_or(Refusal::NoCustomer)?.clone();
        asking.ask(Wish::Portal { customer: customer.clone() }).await?;
        let page = billing.open_portal(&customer, &asking.back("portal=left"), &asking.key).await;
        asking.answered(&asking.key, page, |_| Answer::Confirmed).await
    };
    let HostedPage { url, .. } = Asking::to_its_end(open).await?;
    Ok(Json(PortalBody { object: "portal", url }).into_response())
}

/// The checkout that a member comes back from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// The `session_id` she came back with.
    #[schema(example = "cs_test_a1", pattern = "^cs_[A-Za-z0-9_]+$", max_length = 255)]
    session: String,
}

/// How a purchase stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckoutReturn)]
pub struct ReturnBody {
    /// Always `checkout_return`.
    #[schema(example = "checkout_return")]
    object: &'static str,
    /// The checkout.
    session: String,
    /// How it stands.
    state: ReturnState,
    /// The same in a sentence.
    message: &'static str,
    /// What she bought, once it is known.
    #[schema(value_type = Option<String>, required = true)]
    subscription: Option<SubscriptionId>,
}

/// How a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnState {
    /// She may watch what she bought, now.
    Unlocked,
    /// It is paid, and her access is on its way.
    PaymentReceived,
    /// Her bank takes some days.
    PaymentPending,
    /// The provider is being asked.
    Checking,
    /// It has not been paid.
    Open,
    /// It was not paid in time.
    Expired,
}

/// How a purchase stands to who comes back from it.
pub(super) struct Arrival {
    pub(super) how: ReturnState,
    subscription: Option<SubscriptionId>,
    /// What an answer has to know of, so as not to be older than the purchase.
    position: Position,
}

impl ReturnState {
    /// Whether it is not settled yet: asking again is worth it.
    pub(super) fn is_on_its_way(self) -> bool {
        matches!(self, Self::PaymentReceived | Self::PaymentPending | Self::Checking)
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Unlocked => "Welcome! Your membership is open.",
            Self::PaymentReceived => "Payment received, unlocking your membership.",
            Self::PaymentPending => {
                "Your bank takes some days; your membership opens when the payment arrives."
            }
            Self::Checking => "We are asking the payment provider about your payment.",
            Self::Open => "The checkout has not been finished; nothing was paid.",
            Self::Expired => "The checkout was not finished in time; nothing was paid.",
        }
    }
}

/// Come back from a checkout.
///
/// Answers `unlocked` as soon as her access is known, looking it up at the provider instead of waiting for a webhook; send the
/// answer's `Membership-Position` along from then on, and no answer is older than the purchase. After two seconds at most the
/// answer is 202 with how far it is; ask again then.
#[utoipa::path(
    post, path = "/v1/me/checkout/return", operation_id = "returnFromCheckout", tag = "Learner",
    security(("session" = [])),
    request_body = Return,
    responses(
        (status = 200, description = "`unlocked`, or `open` or `expired`: then nothing was paid", body = ReturnBody),
        (status = 202, description = "`payment_received`, `payment_pending` or `checking`: ask again", body = ReturnBody),
        (status = 404, description = "`unknown_checkout`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn come_back(
    State(state): State<ApiState>,
    Viewer { member, .. }: Viewer,
    Body(Return { session }): Body<Return>,
) -> Result<Response, ApiError> {
    let Arrival { how, subscription, position } = state.arrive(&member, &session).await?;
    let status = if how.is_on_its_way() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let (object, message) = ("checkout_return", how.message());
    let body = ReturnBody { object, session, state: how, message, subscription };
    Ok((status, AnsweredAt(position), Json(body)).into_response())
}

impl ApiState {
    /// Has the index know of a purchase, looked up at the provider where nothing has told of it, or says how far it is when
    /// that takes too long.
    pub(super) async fn arrive(&self, member: &MemberId, session: &str) -> Result<Arrival, ApiError> {
        let began = Instant::now();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !session.starts_with("cs_") || session.len() > LONGEST_SESSION || !session.bytes().all(plain) {
            return Err(Refusal::UnknownCheckout.into());
        }
        let (mut how, mut subscription) = (ReturnState::Checking, None);
        if let Some(known) = self.told_of(member, session).await? {
            (how, subscription) = (self.unlocked(&known).await?, Some(known));
        }
        if how != ReturnState::Unlocked {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let (purchases, of, asked) = (self.learner.purchases.clone(), member.clone(), session.to_owned());
            // Goes on when this answer does not wait for it any longer.
            let look = async move { purchases.checkout(&of, &asked).await };
            match timeout(left, tokio::spawn(look.in_current_span())).await {
                Ok(Ok(Ok(found))) => (how, subscription) = self.found(found).await?,
                Ok(Ok(Err(ResyncError::Billing(
                    error @ (BillingError::Refused { .. } | BillingError::NotConfigured),
                )))) => {
                    return Err(error.into());
                }
                Ok(Ok(Err(error))) => tracing::warn!(%error, "a purchase could not be looked up"),
                Ok(Err(panic)) => return Err(ApiError::Panicked(panic.to_string())),
                Err(_) => {}
            }
        }
        let position = self.feed.head().await?;
        let left = PATIENCE.saturating_sub(began.elapsed());
        if how == ReturnState::Unlocked && !self.index_progress.wait_for(position, left).await {
            how = ReturnState::PaymentReceived;
        }
        Ok(Arrival { how, subscription, position })
    }

    /// What a checkout of hers started, if that has been told.
    async fn told_of(&self, id: &MemberId, session: &str) -> Result<Option<SubscriptionId>, ApiError> {
        let mut member = Member::default();
        let (upcasters, recorded) = (upcasters(), self.feed.read_stream(Member::TYPE, id.as_str()).await?);
        for recorded in &recorded {
            match Event::read(recorded, &upcasters).map_err(ApiError::Unreadable)? {
                Event::Member(_, event) => member::evolve(&mut member, &event),
                _ => {
                    return Err(
                        StoreError::Corrupt("a member's stream holds something else".to_owned()).into()
                    );
                }
            }
        }
        Ok(member.checkout(session).and_then(|checkout| checkout.subscription.clone()))
    }

    /// Whether a subscription opens anything yet.
    async fn unlocked(&self, id: &SubscriptionId) -> Result<ReturnState, ApiError> {
        let mut subscription = Subscription::default();
        let upcasters = upcasters();
        for recorded in &self.feed.read_stream(Subscription::TYPE, id.as_str()).await? {
            if let Event::Subscription(_, event) =
                Event::read(recorded, &upcasters).map_err(ApiError::Unreadable)?
            {
                subscription::evolve(&mut subscription, &event);
            }
        }
        let Some(standing) = subscription.standing(None) else { return Ok(ReturnState::Checking) };
        Ok(match standing.terms.status {
            Status::Incomplete if standing.anchors.recovered_at.is_none() => ReturnState::PaymentPending,
            Status::IncompleteExpired => ReturnState::Expired,
            _ => ReturnState::Unlocked,
        })
    }

    async fn found(&self, found: Purchase) -> Result<(ReturnState, Option<SubscriptionId>), ApiError> {
        Ok(match found {
            Purchase::NotHers => return Err(Refusal::UnknownCheckout.into()),
            Purchase::Open => (ReturnState::Open, None),
            Purchase::Expired => (ReturnState::Expired, None),
            Purchase::Complete { subscription, paid } => {
                let how = match self.unlocked(&subscription).await? {
                    ReturnState::PaymentPending | ReturnState::Checking if paid => {
                        ReturnState::PaymentReceived
                    }
                    ReturnState::Checking => ReturnState::PaymentPending,
                    how => how,
                };
                (how, Some(subscription))
            }
        })
    }
}
