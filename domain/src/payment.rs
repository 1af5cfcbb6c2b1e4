//! One payment at the billing provider, and what it paid for.
//!
//! Refunds and disputes name a payment and neither an invoice nor a subscription, so what it paid for has a stream to be
//! found by; nobody guesses by the payer. Newer payloads tell in two steps, payment to invoice and invoice to subscription,
//! so an invoice has such a stream too, under its own id.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::events::Dated;
use crate::ids::{InvoiceId, SourceEventId, SubscriptionId};

/// What a payment paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The subscription the invoice belongs to.
    pub subscription: SubscriptionId,
    /// When it was paid.
    pub at: DateTime<Utc>,
    /// The provider event that told it.
    pub source: SourceEventId,
}

/// What can be told to a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentCommand {
    /// It paid for this.
    Attribute(Purpose),
}

/// What happened to a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum PaymentEvent {
    /// What it paid for is known.
    #[serde(rename = "PaymentAttributed")]
    PaymentAttributed {
        /// What it paid for.
        purpose: Purpose,
    },
}

/// One payment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    purpose: Option<Purpose>,
}

impl Payment {
    /// What it paid for, as far as anybody has told.
    pub fn purpose(&self) -> Option<&Purpose> {
        self.purpose.as_ref()
    }
}

/// The events that follow from `command`; none means already so. A payment pays one invoice, so the first purpose stays.
pub fn decide(payment: &Payment, command: PaymentCommand) -> Vec<PaymentEvent> {
    let PaymentCommand::Attribute(purpose) = command;
    if payment.purpose.is_some() { Vec::new() } else { vec![PaymentEvent::PaymentAttributed { purpose }] }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(payment: &mut Payment, event: &PaymentEvent) {
    let PaymentEvent::PaymentAttributed { purpose } = event;
    payment.purpose = Some(purpose.clone());
}

impl PaymentEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PaymentAttributed { .. } => "PaymentAttributed",
        }
    }
}

impl DomainEvent for PaymentEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for PaymentEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        let Self::PaymentAttributed { purpose } = self;
        Some(purpose.at)
    }
}

impl Aggregate for Payment {
    const TYPE: &'static str = "payment";
    type Command = PaymentCommand;
    type Event = PaymentEvent;
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
