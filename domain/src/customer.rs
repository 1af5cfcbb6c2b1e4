//! One payer at the billing provider, and whose she is.
//!
//! A stream of its own, so that the log itself keeps one payer from ever belonging to two members: both links would be
//! the first event of the same stream, and only one append can win.

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::events::Dated;
use crate::ids::{MemberId, RemarkId, SourceEventId};

/// How a payer was found to be a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkedThrough {
    /// Somebody allowed to said so.
    Request,
    /// She was made for the member.
    Creation,
    /// The checkout she came back from named the member.
    Checkout,
    /// The provider's record of the subscription named the member.
    SubscriptionMetadata,
    /// The provider's record of the payer named the member.
    CustomerMetadata,
}

/// What can be told to a payer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerCommand {
    /// She is this member.
    Link {
        /// The member.
        member: MemberId,
        /// How we know.
        through: LinkedThrough,
    },
    /// She is not this member and never was.
    Unlink {
        /// The member.
        member: MemberId,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// The provider names a member for her who was erased.
    NameErased {
        /// The member.
        member: MemberId,
    },
    /// The provider deleted her.
    Delete(Deletion),
}

/// The end of a payer at the provider. Ordered by when it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deletion {
    /// When.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
}

/// What happened to a payer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum CustomerEvent {
    /// She was linked to a member. Identity: she was that member all along.
    #[serde(rename = "MemberLinked")]
    MemberLinked {
        /// The member.
        member: MemberId,
        /// How we know.
        through: LinkedThrough,
    },
    /// Somebody found out that she is not this member. Identity: she never was.
    #[serde(rename = "MemberUnlinked")]
    MemberUnlinked {
        /// The member.
        member: MemberId,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// The provider names a member for her who was erased, so that she is linked to nobody. What she pays is told all the same.
    #[serde(rename = "ErasedMemberNamed")]
    ErasedMemberNamed {
        /// The member.
        member: MemberId,
    },
    /// The provider deleted her, which ends her subscriptions. The link stays, for the history.
    #[serde(rename = "CustomerDeleted")]
    CustomerDeleted {
        /// When, and how we know.
        deletion: Deletion,
    },
}

/// Why a payer cannot be linked or unlinked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CustomerError {
    /// She belongs to somebody else.
    #[error("this customer belongs to {0} already; unlink it there first, or use another customer")]
    LinkedElsewhere(MemberId),
    /// Staff said that she is not this member, and only a request takes that back.
    #[error("this customer was unlinked from {0}; only linking it on purpose makes it hers again")]
    Unlinked(MemberId),
    /// She is to be unlinked from a member to whom she does not belong, but to this one.
    #[error("this customer belongs to {0}; unlink it there")]
    BelongsTo(MemberId),
    /// She belongs to nobody.
    #[error("this customer is linked to no member")]
    NotLinked,
}

/// One payer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    member: Option<MemberId>,
    /// Whom she was found not to be, and has not been linked to since.
    unlinked: Vec<MemberId>,
    /// Who was erased and is named for her, as long as she is nobody's.
    #[serde(default)]
    names_erased: Option<MemberId>,
    deletion: Option<Deletion>,
}

impl Customer {
    /// Whose payer this is.
    pub fn member(&self) -> Option<&MemberId> {
        self.member.as_ref()
    }

    /// Whether somebody said that she is not this member, and nobody has taken it back.
    pub fn is_unlinked_from(&self, member: &str) -> bool {
        self.unlinked.iter().any(|unlinked| unlinked.as_str() == member)
    }

    /// Whether anybody ever linked her to a member.
    pub fn was_ever_linked(&self) -> bool {
        self.member.is_some() || !self.unlinked.is_empty()
    }

    /// The member who was erased and is named for her, as long as she is nobody's.
    pub fn names_erased(&self) -> Option<&MemberId> {
        self.names_erased.as_ref()
    }

    /// Whether and when the provider deleted her.
    pub fn deletion(&self) -> Option<&Deletion> {
        self.deletion.as_ref()
    }
}

/// The events that follow from `command`; none means already so.
pub fn decide(customer: &Customer, command: CustomerCommand) -> Result<Vec<CustomerEvent>, CustomerError> {
    match (command, &customer.member) {
        (CustomerCommand::Link { member, .. }, Some(held)) if *held == member => Ok(Vec::new()),
        (CustomerCommand::Link { .. }, Some(held)) => Err(CustomerError::LinkedElsewhere(held.clone())),
        (CustomerCommand::Link { member, through }, None)
            if through != LinkedThrough::Request && customer.is_unlinked_from(member.as_str()) =>
        {
            Err(CustomerError::Unlinked(member))
        }
        (CustomerCommand::Link { member, through }, None) => {
            Ok(vec![CustomerEvent::MemberLinked { member, through }])
        }
        (CustomerCommand::Unlink { .. }, None) => Err(CustomerError::NotLinked),
        (CustomerCommand::Unlink { member, remark }, Some(held)) if *held == member => {
            Ok(vec![CustomerEvent::MemberUnlinked { member, remark }])
        }
        (CustomerCommand::Unlink { .. }, Some(held)) => Err(CustomerError::BelongsTo(held.clone())),
        (CustomerCommand::NameErased { .. }, held) if held.is_some() || customer.names_erased.is_some() => {
            Ok(Vec::new())
        }
        (CustomerCommand::NameErased { member }, _) => Ok(vec![CustomerEvent::ErasedMemberNamed { member }]),
        (CustomerCommand::Delete(_), _) if customer.deletion.is_some() => Ok(Vec::new()),
        (CustomerCommand::Delete(deletion), _) => Ok(vec![CustomerEvent::CustomerDeleted { deletion }]),
    }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(customer: &mut Customer, event: &CustomerEvent) {
    match event {
        CustomerEvent::MemberLinked { member, .. } => {
            customer.unlinked.retain(|unlinked| unlinked != member);
            customer.member = Some(member.clone());
            // What goes on naming her who was erased contradicts nothing any more.
            let erased = customer.names_erased.take().filter(|erased| erased != member);
            if let Some(erased) = erased.filter(|erased| !customer.is_unlinked_from(erased.as_str())) {
                customer.unlinked.push(erased);
            }
        }
        CustomerEvent::MemberUnlinked { member, .. } => {
            if customer.member.as_ref() == Some(member) {
                customer.member = None;
            }
            if !customer.is_unlinked_from(member.as_str()) {
                customer.unlinked.push(member.clone());
            }
        }
        CustomerEvent::ErasedMemberNamed { member } => customer.names_erased = Some(member.clone()),
        CustomerEvent::CustomerDeleted { deletion } => customer.deletion = Some(deletion.clone()),
    }
}

impl CustomerEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MemberLinked { .. } => "MemberLinked",
            Self::MemberUnlinked { .. } => "MemberUnlinked",
            Self::ErasedMemberNamed { .. } => "ErasedMemberNamed",
            Self::CustomerDeleted { .. } => "CustomerDeleted",
        }
    }
}

impl DomainEvent for CustomerEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for CustomerEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::MemberLinked { .. } | Self::MemberUnlinked { .. } | Self::ErasedMemberNamed { .. } => None,
            Self::CustomerDeleted { deletion } => Some(deletion.at),
        }
    }
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Error = CustomerError;
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

    fn link(member: &str) -> CustomerCommand {
        CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request }
    }

    fn linked(member: &str) -> CustomerEvent {
        CustomerEvent::MemberLinked { member: member.into(), through: LinkedThrough::Request }
    }

    #[test]
    fn a_payer_is_linked_once() {
        let payer = || TestFramework::<Customer>::with(());
        payer().given_no_previous_events().when(link("mem_a")).then_expect_events(vec![linked("mem_a")]);
        payer().given(vec![linked("mem_a")]).when(link("mem_a")).then_expect_events(vec![]);
    }

    #[test]
    fn a_payer_never_belongs_to_two_members() {
        TestFramework::<Customer>::with(())
            .given(vec![linked("mem_a")])
            .when(link("mem_b"))
            .then_expect_error(CustomerError::LinkedElsewhere("mem_a".into()));
    }

    fn unlink(member: &str) -> CustomerCommand {
        CustomerCommand::Unlink { member: member.into(), remark: "rmk_1".into() }
    }

    fn unlinked(member: &str) -> CustomerEvent {
        CustomerEvent::MemberUnlinked { member: member.into(), remark: "rmk_1".into() }
    }

    #[test]
    fn a_payer_is_unlinked_only_from_the_member_she_belongs_to() {
        let payer = |history| TestFramework::<Customer>::with(()).given(history);
        payer(vec![linked("mem_a")]).when(unlink("mem_a")).then_expect_events(vec![unlinked("mem_a")]);
        payer(vec![linked("mem_a")])
            .when(unlink("mem_b"))
            .then_expect_error(CustomerError::BelongsTo("mem_a".into()));
        for history in [vec![], vec![linked("mem_a"), unlinked("mem_a")]] {
            payer(history).when(unlink("mem_a")).then_expect_error(CustomerError::NotLinked);
        }
    }

    #[test]
    fn an_unlinked_payer_may_be_linked_to_another_member_or_on_purpose_to_the_same() {
        for member in ["mem_a", "mem_b"] {
            TestFramework::<Customer>::with(())
                .given(vec![linked("mem_a"), unlinked("mem_a")])
                .when(link(member))
                .then_expect_events(vec![linked(member)]);
        }
    }

    #[test]
    fn what_the_provider_names_never_takes_back_that_somebody_unlinked_a_payer() {
        let named = |member: &str| CustomerCommand::Link {
            member: member.into(),
            through: LinkedThrough::SubscriptionMetadata,
        };
        let mut customer = Customer::default();
        for event in [linked("mem_a"), unlinked("mem_a"), linked("mem_b"), unlinked("mem_b")] {
            evolve(&mut customer, &event);
        }
        for member in ["mem_a", "mem_b"] {
            assert_eq!(decide(&customer, named(member)), Err(CustomerError::Unlinked(member.into())));
        }
        assert!(decide(&customer, named("mem_c")).is_ok(), "nobody said anything about her");
        for event in [linked("mem_a"), linked("mem_c")] {
            evolve(&mut customer, &event);
        }
        customer.member = None;
        assert!(decide(&customer, named("mem_a")).is_ok(), "linking on purpose took it back");
    }

    #[test]
    fn a_payer_for_whom_an_erased_member_is_named_is_nobodys_until_somebody_links_her() {
        let named = || CustomerEvent::ErasedMemberNamed { member: "mem_gone".into() };
        let name = || CustomerCommand::NameErased { member: "mem_gone".into() };
        let payer = |history| TestFramework::<Customer>::with(()).given(history);
        payer(vec![]).when(name()).then_expect_events(vec![named()]);
        payer(vec![named()]).when(name()).then_expect_events(vec![]);
        payer(vec![linked("mem_a")]).when(name()).then_expect_events(vec![]);
        payer(vec![named()]).when(link("mem_a")).then_expect_events(vec![linked("mem_a")]);
        let mut customer = Customer::default();
        evolve(&mut customer, &named());
        assert!(customer.member().is_none() && customer.names_erased() == Some(&"mem_gone".into()));
        assert!(!customer.is_unlinked_from("mem_gone"));
        evolve(&mut customer, &linked("mem_a"));
        assert_eq!(customer.names_erased(), None);
        assert!(customer.is_unlinked_from("mem_gone"), "what goes on naming her contradicts nothing");
    }

    #[test]
    fn a_deleted_payer_stays_linked() {
        let deletion = Deletion { source: "evt_1".into(), at: DateTime::UNIX_EPOCH };
        let mut customer = Customer::default();
        for event in [linked("mem_a"), CustomerEvent::CustomerDeleted { deletion: deletion.clone() }] {
            evolve(&mut customer, &event);
        }
        assert_eq!(customer.member(), Some(&"mem_a".into()));
        assert_eq!(decide(&customer, CustomerCommand::Delete(deletion)), Ok(vec![]));
    }
}
