//! A person in the log. Nothing personal: names and addresses live beside the log and can be deleted.

mod request;

use std::fmt;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use request::{Answer, CancelReason, Cancellation, NewPlan, Order, Request, Wish};

use crate::events::Dated;
use crate::ids::{CustomerId, RemarkId, SourceEventId, SubscriptionId};

/// What can be told to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberCommand {
    /// She is known from now on.
    Register,
    /// She came back from a checkout at the provider.
    RecordCheckout(Checkout),
    /// What became of a checkout beside or after its completion.
    RecordCheckoutEnd(CheckoutEnd),
    /// She asks for something that the provider is to do.
    Ask {
        /// Makes the provider do it once.
        key: String,
        /// What.
        wish: Wish,
    },
    /// The provider answered, or did not.
    RecordAnswer {
        /// Of which request.
        key: String,
        /// What it said.
        answer: Answer,
    },
    /// A checkout was closed, since another one took its place.
    WithdrawCheckout {
        /// The provider's id of the session.
        session: String,
    },
    /// Somebody of the staff noted something.
    AddNote {
        /// What, in words beside the log.
        remark: RemarkId,
    },
    /// A note does not hold any more.
    WithdrawNote {
        /// Which.
        note: RemarkId,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// What she has is to be compared with what the provider has.
    RequestComparison {
        /// Why, in words beside the log; none where nobody said.
        remark: Option<RemarkId>,
    },
    /// It was compared, or could not be.
    RecordComparison(Result<Comparison, String>),
    /// What was known of her beside the log is gone.
    Erase(ErasedBecause),
}

/// What comparing a member's subscriptions with the provider came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// How many were compared.
    pub compared: u64,
    /// How many of them differed.
    pub differing: u64,
    /// How many of those do not differ any more.
    pub repaired: u64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared, differing, repaired } = *self;
        let subscriptions = if compared == 1 { "subscription" } else { "subscriptions" };
        write!(f, "Compared {compared} {subscriptions} with the provider")?;
        match (differing, differing.saturating_sub(repaired)) {
            (0, _) => write!(f, ": nothing differed"),
            (_, 0) => write!(f, ": {differing} differed and {} put right", was(differing)),
            (_, left) => {
                write!(f, ": {differing} differed, {repaired} {} put right, {left} not", was(repaired))
            }
        }
    }
}

fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// Why somebody was erased. In the log itself, since words about her would have to be erased too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasedBecause {
    /// She asked for it.
    AskedFor,
    /// She is known a second time.
    Duplicate,
    /// She has been gone for so long that nothing has to be kept.
    NotNeeded,
    /// A court or an authority ordered it.
    Ordered,
}

impl ErasedBecause {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::AskedFor, Self::Duplicate, Self::NotNeeded, Self::Ordered];

    /// The reason as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AskedFor => "asked_for",
            Self::Duplicate => "duplicate",
            Self::NotNeeded => "not_needed",
            Self::Ordered => "ordered",
        }
    }

    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::AskedFor => "she asked for it",
            Self::Duplicate => "she is known a second time",
            Self::NotNeeded => "nothing has to be kept any more",
            Self::Ordered => "it was ordered",
        }
    }
}

/// Why a member cannot be told something.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MemberError {
    /// The key of a request belongs to another one.
    #[error("the key of this request was used for another one; use a new key for a new request")]
    KeyReused,
    /// No request has this key.
    #[error("no request has the key {0:?}")]
    UnknownRequest(String),
    /// There is no such note, or it was withdrawn.
    #[error("no note {0} holds; the member's timeline lists her notes")]
    UnknownNote(RemarkId),
    /// Nothing may be known of her any more.
    #[error("this member was erased, which is for good")]
    Erased,
}

/// One finished checkout at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The provider's id of the session.
    pub session: String,
    /// Who paid.
    pub customer: CustomerId,
    /// What it started, where the provider says.
    pub subscription: Option<SubscriptionId>,
    /// The provider's word for whether the money has come.
    pub payment_status: Option<String>,
    /// When it was finished.
    pub at: DateTime<Utc>,
}

/// What became of a checkout whose payment takes days, or that was never finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutEnd {
    /// The provider's id of the session.
    pub session: String,
    /// What became of it.
    pub outcome: CheckoutOutcome,
    /// When.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
}

impl CheckoutEnd {
    /// Whether another one tells the same: it expires once, whoever tells it.
    fn is_told_by(&self, other: &Self) -> bool {
        let expired = |end: &Self| end.outcome == CheckoutOutcome::Expired;
        self.source == other.source || (self.session == other.session && expired(self) && expired(other))
    }
}

/// How a checkout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutOutcome {
    /// The money came after all.
    PaymentSucceeded,
    /// The money did not come.
    PaymentFailed,
    /// It was not finished in time.
    Expired,
}

/// What happened to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum MemberEvent {
    /// She is known from now on.
    #[serde(rename = "MemberRegistered")]
    MemberRegistered,
    /// She finished a checkout. Access follows from the subscription, not from this.
    #[serde(rename = "CheckoutCompleted")]
    CheckoutCompleted {
        /// The checkout.
        checkout: Checkout,
    },
    /// The payment of a checkout came or failed later, or the checkout expired.
    #[serde(rename = "CheckoutEnded")]
    CheckoutEnded {
        /// What became of it.
        end: CheckoutEnd,
    },
    /// She wants to buy.
    #[serde(rename = "CheckoutRequested")]
    CheckoutRequested {
        /// The key of the request.
        key: String,
        /// What.
        order: Order,
    },
    /// The provider has a page for it.
    #[serde(rename = "CheckoutOpened")]
    CheckoutOpened {
        /// The key of the request.
        key: String,
        /// The provider's id of the session.
        session: String,
    },
    /// The page was closed, since she chose to buy something else.
    #[serde(rename = "CheckoutWithdrawn")]
    CheckoutWithdrawn {
        /// The provider's id of the session.
        session: String,
    },
    /// She wants to see the provider's pages about her payments.
    #[serde(rename = "PortalRequested")]
    PortalRequested {
        /// The key of the request.
        key: String,
        /// Who pays.
        customer: CustomerId,
    },
    /// She wants another plan.
    #[serde(rename = "PlanChangeRequested")]
    PlanChangeRequested {
        /// The key of the request.
        key: String,
        /// Which.
        change: NewPlan,
    },
    /// She wants to leave.
    #[serde(rename = "CancellationRequested")]
    CancellationRequested {
        /// The key of the request.
        key: String,
        /// How.
        cancellation: Cancellation,
    },
    /// She wants to stay, or to go on.
    #[serde(rename = "ResumptionRequested")]
    ResumptionRequested {
        /// The key of the request.
        key: String,
        /// Of which subscription.
        subscription: SubscriptionId,
    },
    /// The provider did what she asked for.
    #[serde(rename = "RequestConfirmed")]
    RequestConfirmed {
        /// The key of the request.
        key: String,
    },
    /// The provider refused what she asked for.
    #[serde(rename = "RequestRefused")]
    RequestRefused {
        /// The key of the request.
        key: String,
        /// The provider's word for why.
        code: String,
    },
    /// The provider gave no answer: it may have been done or not. What it tells later decides.
    #[serde(rename = "RequestUnanswered")]
    RequestUnanswered {
        /// The key of the request.
        key: String,
    },
    /// It was found out later that the provider did not do it. Nobody asks for it again but she.
    #[serde(rename = "RequestNotCarriedOut")]
    RequestNotCarriedOut {
        /// The key of the request.
        key: String,
    },
    /// Somebody of the staff noted something.
    #[serde(rename = "NoteAdded")]
    NoteAdded {
        /// What, in words beside the log.
        remark: RemarkId,
    },
    /// A note does not hold any more.
    #[serde(rename = "NoteWithdrawn")]
    NoteWithdrawn {
        /// Which.
        note: RemarkId,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// Somebody of the staff had her subscriptions compared with the provider.
    #[serde(rename = "ComparisonRequested")]
    ComparisonRequested {
        /// Why, in words beside the log; none where nobody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<RemarkId>,
    },
    /// They were compared. What differed is told by each subscription.
    #[serde(rename = "ComparisonDone")]
    ComparisonDone {
        /// What it came to.
        comparison: Comparison,
    },
    /// They could not be compared, or not all of them.
    #[serde(rename = "ComparisonFailed")]
    ComparisonFailed {
        /// A code for why.
        code: String,
    },
    /// What was known of her beside the log is gone. What happened stays, without her.
    #[serde(rename = "MemberErased")]
    MemberErased {
        /// Why.
        because: ErasedBecause,
    },
}

/// One member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    registered: bool,
    checkouts: Vec<Checkout>,
    ends: Vec<CheckoutEnd>,
    requests: Vec<Request>,
    withdrawn: Vec<String>,
    #[serde(default)]
    notes: Vec<RemarkId>,
    #[serde(default)]
    erased: bool,
}

impl Member {
    /// Whether nothing may be known of her any more.
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// The notes that hold, oldest first.
    pub fn notes(&self) -> &[RemarkId] {
        &self.notes
    }

    /// Whether the member exists.
    pub fn is_registered(&self) -> bool {
        self.registered
    }
}

/// The events that follow from `command`; none means already so.
pub fn decide(member: &Member, command: MemberCommand) -> Result<Vec<MemberEvent>, MemberError> {
    Ok(match command {
        MemberCommand::Erase(_) if member.erased => Vec::new(),
        MemberCommand::Erase(because) => vec![MemberEvent::MemberErased { because }],
        MemberCommand::Register
        | MemberCommand::Ask { .. }
        | MemberCommand::AddNote { .. }
        | MemberCommand::WithdrawNote { .. }
            if member.erased =>
        {
            return Err(MemberError::Erased);
        }
        MemberCommand::AddNote { remark } if member.notes.contains(&remark) => Vec::new(),
        MemberCommand::AddNote { remark } => vec![MemberEvent::NoteAdded { remark }],
        MemberCommand::WithdrawNote { note, .. } if !member.notes.contains(&note) => {
            return Err(MemberError::UnknownNote(note));
        }
        MemberCommand::WithdrawNote { note, remark } => vec![MemberEvent::NoteWithdrawn { note, remark }],
        MemberCommand::RequestComparison { remark } => vec![MemberEvent::ComparisonRequested { remark }],
        MemberCommand::RecordComparison(Ok(comparison)) => vec![MemberEvent::ComparisonDone { comparison }],
        MemberCommand::RecordComparison(Err(code)) => vec![MemberEvent::ComparisonFailed { code }],
        MemberCommand::Register if member.registered => Vec::new(),
        MemberCommand::Register => vec![MemberEvent::MemberRegistered],
        MemberCommand::RecordCheckout(checkout) if member.checkout(&checkout.session).is_some() => Vec::new(),
        MemberCommand::RecordCheckout(checkout) => vec![MemberEvent::CheckoutCompleted { checkout }],
        MemberCommand::RecordCheckoutEnd(end) if member.ends.iter().any(|held| held.is_told_by(&end)) => {
            Vec::new()
        }
        MemberCommand::RecordCheckoutEnd(end) => vec![MemberEvent::CheckoutEnded { end }],
        MemberCommand::Ask { key, wish } => return ask(member, key, wish),
        MemberCommand::RecordAnswer { key, answer } => return record(member, key, answer),
        MemberCommand::WithdrawCheckout { session } if member.withdrawn.contains(&session) => Vec::new(),
        MemberCommand::WithdrawCheckout { session } => vec![MemberEvent::CheckoutWithdrawn { session }],
    })
}

/// A request made again is the same one. So is the same order made in a second window while the first still waits for its
/// page, or has just got it: both get one page, and she cannot pay twice.
fn ask(member: &Member, key: String, wish: Wish) -> Result<Vec<MemberEvent>, MemberError> {
    if let Some(held) = member.request(&key) {
        return if held.wish == wish { Ok(Vec::new()) } else { Err(MemberError::KeyReused) };
    }
    Ok(vec![match wish {
        Wish::Checkout(order) if member.checkout_under_way(&order).is_some() => return Ok(Vec::new()),
        Wish::Checkout(order) => MemberEvent::CheckoutRequested { key, order },
        Wish::Portal { customer } => MemberEvent::PortalRequested { key, customer },
        Wish::PlanChange(change) => MemberEvent::PlanChangeRequested { key, change },
        Wish::Cancellation(cancellation) => MemberEvent::CancellationRequested { key, cancellation },
        Wish::Resumption { subscription } => MemberEvent::ResumptionRequested { key, subscription },
    }])
}

/// The first answer counts, unless it was none.
fn record(member: &Member, key: String, answer: Answer) -> Result<Vec<MemberEvent>, MemberError> {
    let Some(request) = member.request(&key) else { return Err(MemberError::UnknownRequest(key)) };
    let known = match &answer {
        Answer::Opened { session } => request.session.as_ref() == Some(session),
        Answer::Confirmed => request.confirmed,
        Answer::Refused { .. } | Answer::Unanswered => request.answered,
        Answer::NotCarriedOut => request.over,
    };
    if known {
        return Ok(Vec::new());
    }
    Ok(vec![match answer {
        Answer::Opened { session } => MemberEvent::CheckoutOpened { key, session },
        Answer::Confirmed => MemberEvent::RequestConfirmed { key },
        Answer::Refused { code } => MemberEvent::RequestRefused { key, code },
        Answer::Unanswered => MemberEvent::RequestUnanswered { key },
        Answer::NotCarriedOut => MemberEvent::RequestNotCarriedOut { key },
    }])
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(member: &mut Member, event: &MemberEvent) {
    match event.clone() {
        MemberEvent::MemberRegistered => member.registered = true,
        MemberEvent::CheckoutCompleted { checkout } => member.checkouts.push(checkout),
        MemberEvent::CheckoutEnded { end } => member.ends.push(end),
        MemberEvent::CheckoutWithdrawn { session } => member.withdrawn.push(session),
        MemberEvent::CheckoutRequested { key, order } => member.asked(key, Wish::Checkout(order)),
        MemberEvent::PortalRequested { key, customer } => member.asked(key, Wish::Portal { customer }),
        MemberEvent::PlanChangeRequested { key, change } => member.asked(key, Wish::PlanChange(change)),
        MemberEvent::CancellationRequested { key, cancellation } => {
            member.asked(key, Wish::Cancellation(cancellation));
        }
        MemberEvent::ResumptionRequested { key, subscription } => {
            member.asked(key, Wish::Resumption { subscription });
        }
        MemberEvent::CheckoutOpened { key, session } => {
            member.over(&key, |request| (request.session, request.confirmed) = (Some(session), true));
        }
        MemberEvent::RequestConfirmed { key } => member.over(&key, |request| request.confirmed = true),
        MemberEvent::RequestRefused { key, .. } | MemberEvent::RequestNotCarriedOut { key } => {
            member.over(&key, |_| {});
        }
        MemberEvent::RequestUnanswered { key } => member.answered(&key, |_| {}),
        MemberEvent::NoteAdded { remark } => member.notes.push(remark),
        MemberEvent::NoteWithdrawn { note, .. } => member.notes.retain(|held| *held != note),
        MemberEvent::ComparisonRequested { .. }
        | MemberEvent::ComparisonDone { .. }
        | MemberEvent::ComparisonFailed { .. } => {}
        MemberEvent::MemberErased { .. } => member.erased = true,
    }
}

impl Member {
    fn asked(&mut self, key: String, wish: Wish) {
        let (answered, confirmed, over) = (false, false, false);
        self.requests.push(Request { key, wish, session: None, answered, confirmed, over });
    }

    fn over(&mut self, key: &str, how: impl FnOnce(&mut Request)) {
        self.answered(key, |request| {
            request.over = true;
            how(request);
        });
    }

    fn answered(&mut self, key: &str, how: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.key == key) {
            request.answered = true;
            how(request);
        }
    }
}

impl MemberEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MemberRegistered => "MemberRegistered",
            Self::CheckoutCompleted { .. } => "CheckoutCompleted",
            Self::CheckoutEnded { .. } => "CheckoutEnded",
            Self::CheckoutRequested { .. } => "CheckoutRequested",
            Self::CheckoutOpened { .. } => "CheckoutOpened",
            Self::CheckoutWithdrawn { .. } => "CheckoutWithdrawn",
            Self::PortalRequested { .. } => "PortalRequested",
            Self::PlanChangeRequested { .. } => "PlanChangeRequested",
            Self::CancellationRequested { .. } => "CancellationRequested",
            Self::ResumptionRequested { .. } => "ResumptionRequested",
            Self::RequestConfirmed { .. } => "RequestConfirmed",
            Self::RequestRefused { .. } => "RequestRefused",
            Self::RequestUnanswered { .. } => "RequestUnanswered",
            Self::RequestNotCarriedOut { .. } => "RequestNotCarriedOut",
            Self::NoteAdded { .. } => "NoteAdded",
            Self::NoteWithdrawn { .. } => "NoteWithdrawn",
            Self::ComparisonRequested { .. } => "ComparisonRequested",
            Self::ComparisonDone { .. } => "ComparisonDone",
            Self::ComparisonFailed { .. } => "ComparisonFailed",
            Self::MemberErased { .. } => "MemberErased",
        }
    }
}

impl DomainEvent for MemberEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for MemberEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::CheckoutCompleted { checkout } => Some(checkout.at),
            Self::CheckoutEnded { end } => Some(end.at),
            _ => None,
        }
    }
}

impl Aggregate for Member {
    const TYPE: &'static str = "member";
    type Command = MemberCommand;
    type Event = MemberEvent;
    type Error = MemberError;
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
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn registering_twice_is_once() {
        let member = || TestFramework::<Member>::with(());
        let registered = vec![MemberEvent::MemberRegistered];
        member()
            .given_no_previous_events()
            .when(MemberCommand::Register)
            .then_expect_events(registered.clone());
        member().given(registered).when(MemberCommand::Register).then_expect_events(vec![]);
    }

    #[test]
    fn a_note_is_added_once_and_withdrawn_by_another_event() {
        let member = |events| TestFramework::<Member>::with(()).given(events);
        let added = || MemberEvent::NoteAdded { remark: "rmk_1".into() };
        let withdrawn = || MemberEvent::NoteWithdrawn { note: "rmk_1".into(), remark: "rmk_2".into() };
        let add = || MemberCommand::AddNote { remark: "rmk_1".into() };
        let withdraw = || MemberCommand::WithdrawNote { note: "rmk_1".into(), remark: "rmk_2".into() };
        member(vec![]).when(add()).then_expect_events(vec![added()]);
        member(vec![added()]).when(add()).then_expect_events(vec![]);
        member(vec![added()]).when(withdraw()).then_expect_events(vec![withdrawn()]);
        let unknown = || MemberError::UnknownNote("rmk_1".into());
        member(vec![]).when(withdraw()).then_expect_error(unknown());
    }

    #[test]
    fn somebody_who_was_erased_is_not_registered_asked_or_noted_anything_again() {
        let because = ErasedBecause::AskedFor;
        let erased = || MemberEvent::MemberErased { because };
        let member = |events| TestFramework::<Member>::with(()).given(events);
        let known = || vec![MemberEvent::MemberRegistered];
        member(known()).when(MemberCommand::Erase(because)).then_expect_events(vec![erased()]);
        let gone = || vec![MemberEvent::MemberRegistered, erased()];
        member(gone()).when(MemberCommand::Erase(ErasedBecause::Ordered)).then_expect_events(vec![]);
        for command in
            [MemberCommand::Register, MemberCommand::AddNote { remark: "rmk_1".into() }, wants("k1", "pro")]
        {
            member(gone()).when(command).then_expect_error(MemberError::Erased);
        }
    }

    #[test]
    fn a_checkout_told_twice_is_one_checkout() {
        let checkout = Checkout {
            session: "cs_1".to_owned(),
            customer: "cus_1".into(),
            subscription: None,
            payment_status: Some("paid".to_owned()),
            at: DateTime::UNIX_EPOCH,
        };
        TestFramework::<Member>::with(())
            .given(vec![MemberEvent::CheckoutCompleted { checkout: checkout.clone() }])
            .when(MemberCommand::RecordCheckout(checkout))
            .then_expect_events(vec![]);
    }

    #[test]
    fn a_checkout_that_was_found_expired_and_is_told_to_be_expired_once() {
        let end = |source: &str, outcome| CheckoutEnd {
            session: "cs_1".to_owned(),
            outcome,
            at: DateTime::UNIX_EPOCH,
            source: source.into(),
        };
        let found = MemberEvent::CheckoutEnded { end: end("api:cs_1", CheckoutOutcome::Expired) };
        TestFramework::<Member>::with(())
            .given(vec![found.clone()])
            .when(MemberCommand::RecordCheckoutEnd(end("evt_1", CheckoutOutcome::Expired)))
            .then_expect_events(vec![]);
        let paid = end("evt_2", CheckoutOutcome::PaymentSucceeded);
        TestFramework::<Member>::with(())
            .given(vec![found])
            .when(MemberCommand::RecordCheckoutEnd(paid.clone()))
            .then_expect_events(vec![MemberEvent::CheckoutEnded { end: paid }]);
    }

    fn order(plan: &str) -> Order {
        let price = format!("price_{plan}").into();
        Order { plan: plan.into(), price, customer: "cus_1".into(), trial_days: None }
    }

    fn wants(key: &str, plan: &str) -> MemberCommand {
        MemberCommand::Ask { key: key.to_owned(), wish: Wish::Checkout(order(plan)) }
    }

    fn wanted(key: &str, plan: &str) -> MemberEvent {
        MemberEvent::CheckoutRequested { key: key.to_owned(), order: order(plan) }
    }

    fn opened(key: &str, session: &str) -> MemberEvent {
        MemberEvent::CheckoutOpened { key: key.to_owned(), session: session.to_owned() }
    }

    fn member(events: &[MemberEvent]) -> Member {
        let mut member = Member::default();
        for event in events {
            evolve(&mut member, event);
        }
        member
    }

    #[test]
    fn a_request_made_again_is_the_same_one_and_a_key_is_for_one_request() {
        let held = || TestFramework::<Member>::with(()).given(vec![wanted("k1", "pro")]);
        held().when(wants("k1", "pro")).then_expect_events(vec![]);
        held().when(wants("k1", "basic")).then_expect_error(MemberError::KeyReused);
    }

    #[test]
    fn the_same_order_in_a_second_window_joins_the_first_until_that_cannot_be_paid() {
        let held = || TestFramework::<Member>::with(()).given(vec![wanted("k1", "pro")]);
        held().when(wants("k2", "pro")).then_expect_events(vec![]);
        held().when(wants("k2", "basic")).then_expect_events(vec![wanted("k2", "basic")]);
        TestFramework::<Member>::with(())
            .given(vec![wanted("k1", "pro"), MemberEvent::RequestUnanswered { key: "k1".to_owned() }])
            .when(wants("k2", "pro"))
            .then_expect_events(vec![wanted("k2", "pro")]);
        let got_its_page = || vec![wanted("k1", "pro"), opened("k1", "cs_1")];
        let closed = MemberEvent::CheckoutWithdrawn { session: "cs_1".to_owned() };
        let framework = TestFramework::<Member>::with(());
        framework.given(got_its_page()).when(wants("k2", "pro")).then_expect_events(vec![]);
        TestFramework::<Member>::with(())
            .given([got_its_page(), vec![closed]].concat())
            .when(wants("k2", "pro"))
            .then_expect_events(vec![wanted("k2", "pro")]);
    }

    #[test]
    fn an_answer_told_twice_is_one_answer_and_an_answer_after_none_counts() {
        let answer = |answer| MemberCommand::RecordAnswer { key: "k1".to_owned(), answer };
        let confirmed = || MemberEvent::RequestConfirmed { key: "k1".to_owned() };
        let unanswered = || MemberEvent::RequestUnanswered { key: "k1".to_owned() };
        let asked = |more: &[MemberEvent]| {
            let all = [&[wanted("k1", "pro")], more].concat();
            TestFramework::<Member>::with(()).given(all)
        };
        asked(&[]).when(answer(Answer::Confirmed)).then_expect_events(vec![confirmed()]);
        asked(&[confirmed()]).when(answer(Answer::Confirmed)).then_expect_events(vec![]);
        asked(&[confirmed()]).when(answer(Answer::Unanswered)).then_expect_events(vec![]);
        asked(&[unanswered()]).when(answer(Answer::Confirmed)).then_expect_events(vec![confirmed()]);
        TestFramework::<Member>::with(())
            .given_no_previous_events()
            .when(answer(Answer::Confirmed))
            .then_expect_error(MemberError::UnknownRequest("k1".to_owned()));
    }

    #[test]
    fn a_checkout_is_open_until_it_is_finished_expires_or_is_withdrawn() {
        let begun = [wanted("k1", "pro"), opened("k1", "cs_1")];
        let open = |member: &Member| member.open_checkouts().map(|(_, id)| id.to_owned()).collect::<Vec<_>>();
        assert_eq!(open(&member(&begun)), ["cs_1"]);
        assert!(member(&begun).knows_checkout("cs_1") && !member(&begun).knows_checkout("cs_2"));
        let end = CheckoutEnd {
            session: "cs_1".to_owned(),
            outcome: CheckoutOutcome::Expired,
            at: DateTime::UNIX_EPOCH,
            source: "evt_1".into(),
        };
        for over in [
            MemberEvent::CheckoutEnded { end },
            MemberEvent::CheckoutWithdrawn { session: "cs_1".to_owned() },
        ] {
            assert!(open(&member(&[begun.as_slice(), &[over]].concat())).is_empty());
        }
    }

    #[test]
    fn of_two_checkouts_for_different_things_the_one_asked_for_later_stays() {
        let both = member(&[wanted("k1", "pro"), wanted("k2", "basic"), opened("k2", "cs_2")]);
        assert!(both.is_overtaken("k1") && !both.is_overtaken("k2"));
        assert!(!member(&[wanted("k1", "pro"), wanted("k2", "pro")]).is_overtaken("k1"));
    }

    #[test]
    fn a_request_is_followed_by_what_she_asks_of_the_same_subscription_later() {
        let resumed = |key: &str, of: &str| MemberEvent::ResumptionRequested {
            key: key.to_owned(),
            subscription: of.into(),
        };
        let asked =
            [resumed("k1", "sub_1"), resumed("k2", "sub_2"), wanted("k3", "pro"), resumed("k4", "sub_1")];
        let asked = member(&asked);
        let followed = ["k1", "k2", "k3", "k4", "k5"].map(|key| asked.is_followed(key));
        assert_eq!(followed, [true, false, false, false, false]);
    }

    #[test]
    fn money_that_takes_days_is_awaited_until_it_comes_or_does_not() {
        let checkout = |status: &str| Checkout {
            session: "cs_1".to_owned(),
            customer: "cus_1".into(),
            subscription: None,
            payment_status: Some(status.to_owned()),
            at: DateTime::UNIX_EPOCH,
        };
        let completed = |status| MemberEvent::CheckoutCompleted { checkout: checkout(status) };
        assert!(member(&[completed("paid")]).awaits_money().is_none());
        assert!(member(&[completed("unpaid")]).awaits_money().is_some());
        let end = CheckoutEnd {
            session: "cs_1".to_owned(),
            outcome: CheckoutOutcome::PaymentFailed,
            at: DateTime::UNIX_EPOCH,
            source: "evt_1".into(),
        };
        assert!(member(&[completed("unpaid"), MemberEvent::CheckoutEnded { end }]).awaits_money().is_none());
    }
}
