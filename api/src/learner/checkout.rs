//! Buying, coming back from it, and the provider's pages about payments.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cqrs_es::Aggregate;
use domain::billing::{BillingError, CheckoutState, HostedPage, NewCheckout};
use domain::catalog::{Catalog, Plan};
use domain::customer::{CustomerCommand, CustomerError, LinkedThrough};
use domain::events::{Event, upcasters};
use domain::ids::{CustomerId, MemberId, PlanId, PriceId, SubscriptionId};
use domain::member::{self, Answer, CheckoutEnd, CheckoutOutcome, Member, MemberCommand, Order, Wish};
use domain::ports::{CommandError, Position, StoreError};
use domain::subscription::{self, Status, Subscription};
use projections::dossier::Dossier;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::asking::Asking;
use super::refusal::Refusal;
use crate::error::{ApiError, Problem, not_done};
use crate::extract::Body;
use crate::position::AnsweredAt;
use crate::state::{ApiState, LearnerParts, Purchase};
use crate::viewer::Viewer;

/// How long somebody who comes back from paying waits for her access.
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon what has been told of a purchase is read again.
const AGAIN: Duration = Duration::from_millis(100);

/// How many payers may have been taken from a member since they were made for her.
const MOST_TAKEN: usize = 3;

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
        let there = dossier.customers.iter().filter(|(_, customer)| customer.deletion().is_none());
        let payers: Vec<_> = there.map(|(id, _)| id.clone()).collect();
        for payer in &payers {
            // What was bought a moment ago may not have been told yet, and whoever pays for it, it is hers.
            self.learner().purchases.payer(payer, &self.key).await?;
        }
        if !payers.is_empty() {
            dossier = self.dossier().await?;
        }
        may_buy(&dossier)?;
        let customer = if let Some(customer) = dossier.customer() {
            customer.clone()
        } else {
            let made = self.make_customer(dossier.customers.len()).await?;
            // Another window may have been faster.
            dossier = self.dossier().await?;
            made
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
        self.keep_one(&page, &key, &order).await?;
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
        let mut number = before;
        loop {
            let request = format!("{}-{number}", self.member());
            let customer = self.billing()?.create_customer(self.member(), email.as_deref(), &request).await?;
            let (member, through) = (self.member().clone(), LinkedThrough::Creation);
            let command = CustomerCommand::Link { member, through };
            let linked = self
                .state
                .customers
                .execute(customer.as_str(), command, self.context(&self.key).for_member(self.member()))
                .await;
            match linked {
                Ok(_) => return Ok(customer),
                // The provider answers with one that it made before, and staff has found since that it is not hers.
                Err(CommandError::Refused(_)) if number < before + MOST_TAKEN => number += 1,
                Err(error) => {
                    return Err(not_done(error, |refusal: CustomerError| ApiError::LinkedElsewhere {
                        customer,
                        why: refusal.to_string(),
                    }));
                }
            }
        }
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
                Some(CheckoutState::Expired) => self.expired(session).await?,
                None => self.withdraw(session).await?,
            }
        }
        Ok(found)
    }

    /// Writes down that a page can no longer be paid, so that it is not looked at again.
    async fn withdraw(&self, session: &str) -> Result<(), ApiError> {
        let command = MemberCommand::WithdrawCheckout { session: session.to_owned() };
        self.tell(&self.key, command).await.map(drop)
    }

    /// The same of one that was not paid in time, which no webhook has told.
    async fn expired(&self, session: &str) -> Result<(), ApiError> {
        let (at, source) = (self.state.now(), format!("api:{session}").into());
        let end = CheckoutEnd { session: session.to_owned(), outcome: CheckoutOutcome::Expired, at, source };
        self.tell(&self.key, MemberCommand::RecordCheckoutEnd(end)).await.map(drop)
    }

    async fn close(&self, session: &str) -> Result<(), ApiError> {
        match self.billing()?.expire_checkout(session, &self.key).await {
            Ok(()) => self.withdraw(session).await,
            // She may have paid it this very moment.
            Err(BillingError::Refused { .. }) => self.take_in(session).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in a checkout that was paid while another one was asked for. One that can still be paid is not over, and no second
    /// one is handed out beside it.
    async fn take_in(&self, session: &str) -> Result<(), ApiError> {
        match self.learner().purchases.checkout(self.member(), session).await? {
            Purchase::Complete { .. } => may_buy(&self.dossier().await?),
            Purchase::Expired => self.expired(session).await,
            Purchase::NotHers => self.withdraw(session).await,
            Purchase::Open => {
                let what = "a checkout that you began before is still open and cannot be closed now";
                Err(ApiError::BillingUnavailable(what.to_owned()))
            }
        }
    }

    /// Writes down the order. The same order that waits for its page in another window, or got it since this one looked, is one
    /// with this: its key is used, and so its page.
    async fn asked_for(&self, order: &Order) -> Result<String, ApiError> {
        if self.ask(Wish::Checkout(order.clone())).await? {
            return Ok(self.key.clone());
        }
        let member = self.dossier().await?.member;
        let mine = member.request(&self.key);
        let key = mine.or_else(|| member.checkout_under_way(order)).map(|request| request.key.clone());
        key.ok_or_else(|| Refusal::CheckoutReplaced.into())
    }

    /// Of several pages that were opened at once the one asked for last stays, and none where she has bought meanwhile.
    async fn keep_one(&self, page: &HostedPage, key: &str, order: &Order) -> Result<(), ApiError> {
        let dossier = self.dossier().await?;
        let twice_tried = order.trial_days.is_some() && dossier.membership.had_trial();
        let is_replaced = dossier.member.is_overtaken(key) || twice_tried;
        let replaced = if is_replaced { Err(Refusal::CheckoutReplaced.into()) } else { Ok(()) };
        if let Err(refusal) = may_buy(&dossier).and(replaced) {
            self.close(&page.session).await?;
            return Err(refusal);
        }
        for (_, session) in dossier.member.open_checkouts().filter(|(_, session)| *session != page.session) {
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
    /// What she bought opens nothing at the moment: a payment is missing, or it is suspended.
    OnHold,
    /// What she bought is over.
    Ended,
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

    /// Whether looking again cannot show anything else.
    fn is_known_for_good(self) -> bool {
        matches!(self, Self::Unlocked | Self::Expired | Self::Ended)
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
            Self::OnHold => "Your membership is on hold; your membership page says what is missing.",
            Self::Ended => "What you bought here has ended; you can buy again.",
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
        (status = 200, description = "`unlocked`; `open` or `expired`: nothing was paid; `on_hold` or `ended`: it opens nothing any more", body = ReturnBody),
        (status = 202, description = "`payment_received`, `payment_pending` or `checking`: ask again", body = ReturnBody,
            headers(("Retry-After" = u32, description = "After how many seconds"))),
        (status = 404, description = "`unknown_checkout`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`: too many checkouts are looked up that were not begun here", body = Problem, content_type = "application/problem+json"),
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
    let mut response = (status, AnsweredAt(position), Json(body)).into_response();
    if how.is_on_its_way() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

impl ApiState {
    /// Has the index know of a purchase, looked up at the provider where nothing has told of it, or says how far it is when
    /// that takes too long. Where the provider cannot be asked, what it tells by itself is waited for.
    pub(super) async fn arrive(&self, member: &MemberId, session: &str) -> Result<Arrival, ApiError> {
        let until = Instant::now() + PATIENCE;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !session.starts_with("cs_") || session.len() > LONGEST_SESSION || !session.bytes().all(plain) {
            return Err(Refusal::UnknownCheckout.into());
        }
        let known = self.member(member).await?;
        let told = self.told_of(&known, session).await?;
        let (mut how, subscription) = if told.0.is_known_for_good() {
            told
        } else {
            let is_known = known.knows_checkout(session);
            tokio::select! {
                Some(found) = self.looked_up(member, session, is_known) => self.found(found?).await?,
                told = self.told_until(member, session, until) => told?,
            }
        };
        let position = self.feed.head().await?;
        let left = until.saturating_duration_since(Instant::now());
        if how == ReturnState::Unlocked && !self.index_progress.wait_for(position, left).await {
            how = ReturnState::PaymentReceived;
        }
        Ok(Arrival { how, subscription, position })
    }

    /// How a checkout stands by the provider's account; nothing where it cannot be asked.
    async fn looked_up(
        &self,
        member: &MemberId,
        session: &str,
        is_known: bool,
    ) -> Option<Result<Purchase, ApiError>> {
        let LearnerParts { looks, purchases, .. } = &self.learner;
        // Hers will be told; of one that nobody knows it cannot be said that it is unknown.
        let full = |error| (!is_known).then_some(Err(error));
        let (look, is_shared) = match looks.look(purchases, member, session, is_known) {
            Ok(look) => look,
            Err(error) => return full(error),
        };
        let found = look.await?;
        if !(is_shared && matches!(found, Purchase::Open | Purchase::NotHers)) {
            return Some(Ok(found));
        }
        // It had begun before she came, and may have seen what was before she paid.
        match looks.look(purchases, member, session, is_known) {
            Ok((look, _)) => look.await.map(Ok),
            Err(error) => full(error),
        }
    }

    /// How a checkout stands by the log, as soon as that is known for good, or at this moment.
    async fn told_until(
        &self,
        id: &MemberId,
        session: &str,
        until: Instant,
    ) -> Result<(ReturnState, Option<SubscriptionId>), ApiError> {
        loop {
            let read = self.index_progress.applied();
            let told = self.told_of(&self.member(id).await?, session).await?;
            let left = until.saturating_duration_since(Instant::now());
            if told.0.is_known_for_good() || left.is_zero() {
                return Ok(told);
            }
            // Whatever others do is applied too, and is no reason to read hers ever faster.
            sleep(AGAIN.min(left)).await;
            let next = Position::new(read.map_or(0, Position::get) + 1);
            let left = until.saturating_duration_since(Instant::now());
            self.index_progress.wait_for(next, left).await;
        }
    }

    async fn member(&self, id: &MemberId) -> Result<Member, ApiError> {
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
        Ok(member)
    }

    /// How a checkout stands as far as it has been told, and what it started.
    async fn told_of(
        &self,
        member: &Member,
        session: &str,
    ) -> Result<(ReturnState, Option<SubscriptionId>), ApiError> {
        match member.checkout(session).and_then(|checkout| checkout.subscription.clone()) {
            Some(started) => Ok((self.unlocked(&started).await?, Some(started))),
            None => Ok((ReturnState::Checking, None)),
        }
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
        let recovered = standing.anchors.recovered_at.is_some();
        Ok(match standing.terms.status {
            Status::Incomplete if !recovered => ReturnState::PaymentPending,
            // With days of grace, after which the next state comes.
            Status::Incomplete | Status::Trialing | Status::Active | Status::PastDue => ReturnState::Unlocked,
            Status::IncompleteExpired => ReturnState::Expired,
            Status::Unpaid | Status::Paused | Status::Unknown(_) => ReturnState::OnHold,
            Status::Canceled => ReturnState::Ended,
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
