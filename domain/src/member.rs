//! A person in the log. Nothing personal: names and addresses live beside the log and can be deleted.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::events::Dated;
use crate::ids::{CustomerId, SourceEventId, SubscriptionId};

/// What can be told to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberCommand {
    /// She is known from now on.
    Register,
    /// She came back from a checkout at the provider.
    RecordCheckout(Checkout),
    /// What became of a checkout beside or after its completion.
    RecordCheckoutEnd(CheckoutEnd),
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
}

/// One member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    registered: bool,
    checkouts: Vec<String>,
    ends: Vec<SourceEventId>,
}

impl Member {
    /// Whether the member exists.
    pub fn is_registered(&self) -> bool {
        self.registered
    }
}

/// The events that follow from `command`; none means already so.
pub fn decide(member: &Member, command: MemberCommand) -> Vec<MemberEvent> {
    match command {
        MemberCommand::Register if member.registered => Vec::new(),
        MemberCommand::Register => vec![MemberEvent::MemberRegistered],
        MemberCommand::RecordCheckout(checkout) if member.checkouts.contains(&checkout.session) => Vec::new(),
        MemberCommand::RecordCheckout(checkout) => vec![MemberEvent::CheckoutCompleted { checkout }],
        MemberCommand::RecordCheckoutEnd(end) if member.ends.contains(&end.source) => Vec::new(),
        MemberCommand::RecordCheckoutEnd(end) => vec![MemberEvent::CheckoutEnded { end }],
    }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(member: &mut Member, event: &MemberEvent) {
    match event {
        MemberEvent::MemberRegistered => member.registered = true,
        MemberEvent::CheckoutCompleted { checkout } => member.checkouts.push(checkout.session.clone()),
        MemberEvent::CheckoutEnded { end } => member.ends.push(end.source.clone()),
    }
}

impl MemberEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MemberRegistered => "MemberRegistered",
            Self::CheckoutCompleted { .. } => "CheckoutCompleted",
            Self::CheckoutEnded { .. } => "CheckoutEnded",
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
            Self::MemberRegistered => None,
            Self::CheckoutCompleted { checkout } => Some(checkout.at),
            Self::CheckoutEnded { end } => Some(end.at),
        }
    }
}

impl Aggregate for Member {
    const TYPE: &'static str = "member";
    type Command = MemberCommand;
    type Event = MemberEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command) {
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
}
