//! All events of the log in one type, and how stored ones of older shapes are read.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::account::{Account, AccountEvent};
use crate::catalog::{Catalog, CatalogEvent};
use crate::customer::{Customer, CustomerEvent};
use crate::grant::{Grant, GrantEvent};
use crate::ids::{CustomerId, GrantId, MemberId, PaymentId, RemarkId, SubscriptionId};
use crate::member::{Member, MemberEvent};
use crate::payment::{Payment, PaymentEvent};
use crate::ports::{Position, Recorded};
use crate::subscription::{Subscription, SubscriptionEvent};

/// An event that may know better than its command when it was true.
pub trait Dated {
    /// When it was true, where that is not the moment the command was given with.
    fn occurred_at(&self) -> Option<DateTime<Utc>>;
}

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of a subscription.
    Subscription(SubscriptionId, SubscriptionEvent),
    /// Of a payer.
    Customer(CustomerId, CustomerEvent),
    /// Of a payment.
    Payment(PaymentId, PaymentEvent),
    /// Of access given without a payment.
    Grant(GrantId, GrantEvent),
    /// Of a member.
    Member(MemberId, MemberEvent),
    /// Of a member's account.
    Account(MemberId, AccountEvent),
    /// Of the catalogue.
    Catalog(CatalogEvent),
}

/// A stored event that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{event}: {why}")]
pub struct UnreadableEvent {
    /// Where it is in the log.
    pub position: Position,
    /// The event as staff can find it: number, stream, name, version, position.
    pub event: String,
    /// What is wrong with it.
    pub why: String,
}

impl UnreadableEvent {
    fn new(recorded: &Recorded, why: String) -> Self {
        let Recorded { position, aggregate_type, aggregate_id, sequence, event_type, event_version, .. } =
            recorded;
        let event = format!(
            "event {sequence} of {aggregate_type} {aggregate_id} ({event_type} version {event_version}, at position {position})"
        );
        Self { position: *position, event, why }
    }
}

/// The upcasters of all aggregates: each turns one older shape into the next. Empty while every event is at version 1;
/// the first change of a shape adds an entry here and a golden file of the old shape in `docs/events/`.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}

/// Brings a stored event to the newest shape.
pub fn upcast(event: SerializedEvent, upcasters: &[Box<dyn EventUpcaster>]) -> SerializedEvent {
    upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    })
}

impl Event {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subscription(_, event) => event.name(),
            Self::Customer(_, event) => event.name(),
            Self::Payment(_, event) => event.name(),
            Self::Grant(_, event) => event.name(),
            Self::Member(_, event) => event.name(),
            Self::Account(_, event) => event.name(),
            Self::Catalog(event) => event.name(),
        }
    }

    /// What staff wrote about it, beside the log.
    pub fn remark(&self) -> Option<&RemarkId> {
        match self {
            Self::Grant(_, event) => Some(event.remark()),
            Self::Customer(_, CustomerEvent::MemberUnlinked { remark, .. })
            | Self::Member(
                _,
                MemberEvent::NoteAdded { remark }
                | MemberEvent::NoteWithdrawn { remark, .. }
                | MemberEvent::ComparisonRequested { remark: Some(remark) },
            )
            | Self::Account(
                _,
                AccountEvent::StaffSentLetter { remark, .. }
                | AccountEvent::StaffEndedSessions { remark, .. }
                | AccountEvent::AccountLocked { remark, .. }
                | AccountEvent::AccountUnlocked { remark }
                | AccountEvent::RoleChanged { remark: Some(remark), .. },
            ) => Some(remark),
            Self::Subscription(_, SubscriptionEvent::GraceExtended { extension, .. }) => {
                Some(&extension.remark)
            }
            _ => None,
        }
    }

    /// Reads a stored event.
    pub fn read(recorded: &Recorded, upcasters: &[Box<dyn EventUpcaster>]) -> Result<Self, UnreadableEvent> {
        if let Some(why) = &recorded.garbled {
            return Err(UnreadableEvent::new(recorded, why.clone()));
        }
        let id = recorded.aggregate_id.as_str();
        match recorded.aggregate_type.as_str() {
            Subscription::TYPE => Ok(Self::Subscription(id.into(), payload(recorded, upcasters)?)),
            Customer::TYPE => Ok(Self::Customer(id.into(), payload(recorded, upcasters)?)),
            Payment::TYPE => Ok(Self::Payment(id.into(), payload(recorded, upcasters)?)),
            Grant::TYPE => Ok(Self::Grant(id.into(), payload(recorded, upcasters)?)),
            Member::TYPE => Ok(Self::Member(id.into(), payload(recorded, upcasters)?)),
            Account::TYPE => Ok(Self::Account(id.into(), payload(recorded, upcasters)?)),
            Catalog::TYPE => Ok(Self::Catalog(payload(recorded, upcasters)?)),
            other => Err(UnreadableEvent::new(recorded, format!("no aggregate is called {other:?}"))),
        }
    }
}

fn payload<T: DeserializeOwned>(
    recorded: &Recorded,
    upcasters: &[Box<dyn EventUpcaster>],
) -> Result<T, UnreadableEvent> {
    let current = upcasters
        .iter()
        .any(|upcaster| upcaster.can_upcast(&recorded.event_type, &recorded.event_version))
        .then(|| upcast(recorded.serialized(), upcasters).payload);
    let read = match current {
        Some(payload) => serde_json::from_value(payload),
        None => T::deserialize(&recorded.payload),
    };
    read.map_err(|why| UnreadableEvent::new(recorded, why.to_string()))
}
