//! Money: charging a method, debits that take days, refunds, disputes.

use super::Engine;
use super::cards::{Behaviour, Decline};
use super::clock::{DAY, Due};
use super::error::ApiError;
use super::model::{
    Charge, CheckoutSession, Dispute, Invoice, Metadata, PaymentIntent, PaymentMethod, Refund, Status,
    Subscription,
};

/// Whether the customer is there to answer her bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Away,
}

/// How an attempt to get paid went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    Paid,
    Processing,
    NeedsAction,
    Declined(Decline),
}

impl Engine {
    /// What an invoice would be paid with.
    pub(super) fn method_for(&self, subscription: &Subscription) -> Option<&PaymentMethod> {
        let customer = self.store.customers.find(&subscription.customer)?;
        let id = subscription.payment_method.as_ref().or(customer.payment_method.as_ref())?;
        self.store.payment_methods.find(id)
    }

    /// How charging a method would go.
    fn outlook(method: &PaymentMethod, presence: Presence) -> Attempt {
        match method.card.behaviour {
            Behaviour::Declines => Attempt::Declined(method.card.decline()),
            Behaviour::DeclinesLater if presence == Presence::Away => {
                Attempt::Declined(method.card.decline())
            }
            Behaviour::AuthenticateOnce if !method.authenticated => Attempt::NeedsAction,
            Behaviour::AuthenticateAlways => Attempt::NeedsAction,
            Behaviour::DebitSucceeds | Behaviour::DebitFails => Attempt::Processing,
            _ => Attempt::Paid,
        }
    }

    /// Whether a payment by the subscription's method would be taken without further ado.
    pub(super) fn would_pay(&self, subscription: &Subscription) -> Attempt {
        match self.method_for(subscription) {
            Some(method) => Self::outlook(method, Presence::Away),
            None => Attempt::Declined(Decline::of("no_payment_method")),
        }
    }

    /// Charges an invoice's payment intent.
    pub(super) fn charge(&mut self, invoice: &str, presence: Presence) -> Attempt {
        let Some(kept) = self.invoice(invoice).cloned() else { return Attempt::Paid };
        let (Some(intent), Some(subscription)) =
            (kept.payment_intent, self.subscription(&kept.subscription).cloned())
        else {
            return Attempt::Paid;
        };
        let Some(method) = self.method_for(&subscription).cloned() else {
            return Attempt::Declined(Decline::of("no_payment_method"));
        };
        let attempt = Self::outlook(&method, presence);
        self.touch::<PaymentIntent>(&intent, |kept| kept.payment_method = Some(method.id.clone()));
        match &attempt {
            Attempt::Paid => self.succeed(&intent),
            Attempt::NeedsAction => {
                self.touch::<PaymentIntent>(&intent, |kept| "requires_action".clone_into(&mut kept.status));
                self.tell::<PaymentIntent>("payment_intent.requires_action", &intent);
            }
            Attempt::Processing => {
                let charge = self.new_charge(&intent, "pending", None);
                let settles_at = Some(self.now + self.settings.debit_takes);
                self.touch::<PaymentIntent>(&intent, |kept| {
                    "processing".clone_into(&mut kept.status);
                    (kept.latest_charge, kept.settles_at) = (charge.clone(), settles_at);
                });
                if let Some(charge) = charge {
                    self.tell::<Charge>("charge.pending", &charge);
                }
                self.tell::<PaymentIntent>("payment_intent.processing", &intent);
                self.plan(Due::Payment(intent));
            }
            Attempt::Declined(why) => self.decline(&intent, why),
        }
        attempt
    }

    fn new_charge(&mut self, intent: &str, status: &str, decline: Option<Decline>) -> Option<String> {
        let id = self.id("ch_");
        let kept = self.store.payment_intents.find(intent)?.clone();
        Some(self.create(Charge {
            id,
            created: self.now,
            customer: kept.customer,
            payment_intent: kept.id,
            invoice: kept.invoice,
            payment_method: kept.payment_method?,
            amount: kept.amount,
            currency: kept.currency,
            status: status.to_owned(),
            decline,
            refunded: 0,
            disputed: false,
        }))
    }

    fn succeed(&mut self, intent: &str) {
        let Some(charge) = self.new_charge(intent, "succeeded", None) else { return };
        self.touch::<PaymentIntent>(intent, |kept| {
            "succeeded".clone_into(&mut kept.status);
            (kept.latest_charge, kept.decline) = (Some(charge.clone()), None);
        });
        self.tell::<Charge>("charge.succeeded", &charge);
        self.tell::<PaymentIntent>("payment_intent.succeeded", intent);
        let method = self.store.charges.find(&charge).map(|kept| kept.payment_method.clone());
        let card = method.and_then(|id| Some(self.store.payment_methods.find(&id)?.card.behaviour));
        if let Some(Behaviour::Disputed | Behaviour::Inquired) = card {
            self.disputed(&charge, card == Some(Behaviour::Inquired), "fraudulent");
        }
    }

    /// A charge is refused; the intent waits for another method.
    pub(super) fn decline(&mut self, intent: &str, why: &Decline) {
        let charge = self.new_charge(intent, "failed", Some(why.clone()));
        self.touch::<PaymentIntent>(intent, |kept| {
            "requires_payment_method".clone_into(&mut kept.status);
            (kept.latest_charge, kept.decline) = (charge.clone(), Some(why.clone()));
        });
        if let Some(charge) = charge {
            self.tell::<Charge>("charge.failed", &charge);
        }
        self.tell::<PaymentIntent>("payment_intent.payment_failed", intent);
        self.touch::<PaymentIntent>(intent, |kept| kept.payment_method = None);
    }

    /// The customer answers her bank, or does not manage to.
    pub(crate) fn authenticate(&mut self, invoice: &str, passed: bool) -> Result<(), ApiError> {
        let kept = self.find::<Invoice>(invoice)?.clone();
        let intent = kept.payment_intent.unwrap_or_default();
        let waiting = self.find::<PaymentIntent>(&intent)?;
        if waiting.status != "requires_action" {
            let why = format!("This payment does not wait for authentication; it is {}.", waiting.status);
            return Err(ApiError::invalid(why).coded("payment_intent_unexpected_state"));
        }
        let method = waiting.payment_method.clone().unwrap_or_default();
        if passed {
            self.touch::<PaymentMethod>(&method, |kept| kept.authenticated = true);
            self.succeed(&intent);
            self.mark_paid(invoice, false);
        } else {
            let why = Decline::of("authentication_failed");
            self.decline(&intent, &why);
            self.failed(invoice);
        }
        Ok(())
    }

    /// A debit has been sent to the bank.
    pub(super) fn debit_is_under_way(&mut self, invoice: &str) {
        let Some(subscription) = self.invoice(invoice).map(|kept| kept.subscription.clone()) else { return };
        self.update::<Invoice>(invoice, |kept| {
            kept.attempts += 1;
            kept.next_attempt = None;
        });
        if self.settings.debit_is_trusted {
            self.update::<Subscription>(&subscription, |kept| {
                if kept.status == Status::Incomplete {
                    kept.status = Status::Active;
                }
            });
            self.note(&subscription);
        }
    }

    /// The bank has answered.
    pub(super) fn debit_turns_out(&mut self, intent: &str) {
        let Some(kept) = self.store.payment_intents.find(intent).cloned() else { return };
        self.touch::<PaymentIntent>(intent, |kept| kept.settles_at = None);
        let (Some(charge), Some(method)) = (kept.latest_charge, kept.payment_method) else { return };
        let card = self.store.payment_methods.find(&method).map(|method| method.card.clone());
        let why = card.filter(|card| card.behaviour == Behaviour::DebitFails).map(|card| card.decline());
        let (word, outcome) =
            if why.is_some() { ("failed", "requires_payment_method") } else { ("succeeded", "succeeded") };
        self.touch::<Charge>(&charge, |kept| {
            word.clone_into(&mut kept.status);
            kept.decline.clone_from(&why);
        });
        self.touch::<PaymentIntent>(intent, |kept| {
            outcome.clone_into(&mut kept.status);
            kept.decline.clone_from(&why);
        });
        self.tell::<Charge>(&format!("charge.{word}"), &charge);
        let told = if why.is_some() { "payment_intent.payment_failed" } else { "payment_intent.succeeded" };
        self.tell::<PaymentIntent>(told, intent);
        if why.is_some() {
            self.retry_later(&kept.invoice);
            self.failed(&kept.invoice);
        } else {
            self.mark_paid(&kept.invoice, false);
        }
        let unpaid = |session: &&CheckoutSession| {
            session.invoice.as_ref() == Some(&kept.invoice) && session.payment_status == "unpaid"
        };
        let session = self.store.sessions.iter().find(unpaid).map(|session| session.id.clone());
        if let Some(session) = session {
            let paid = why.is_none();
            self.touch::<CheckoutSession>(&session, |kept| {
                if paid {
                    "paid".clone_into(&mut kept.payment_status);
                }
            });
            let kind = if paid { "succeeded" } else { "failed" };
            self.tell::<CheckoutSession>(&format!("checkout.session.async_payment_{kind}"), &session);
        }
        let subscription = self.invoice(&kept.invoice).map(|invoice| invoice.subscription.clone());
        self.plan(Due::Subscription(subscription.unwrap_or_default()));
    }

    /// Gives money back; all that is left when no amount is named.
    pub(crate) fn refund(
        &mut self,
        charge: &str,
        amount: Option<i64>,
        reason: Option<String>,
        metadata: Metadata,
    ) -> Result<String, ApiError> {
        let kept = self.find::<Charge>(charge)?.clone();
        let left = if kept.status == "succeeded" { kept.amount - kept.refunded } else { 0 };
        if left == 0 {
            let why = format!("Charge {charge} has already been refunded.");
            return Err(ApiError::invalid(why).coded("charge_already_refunded"));
        }
        let amount = amount.unwrap_or(left);
        if !(1..=left).contains(&amount) {
            let why = format!(
                "Refund amount ({amount}) must be positive and at most what is left of the charge ({left})."
            );
            return Err(ApiError::invalid(why).at("amount"));
        }
        let id = self.id("re_");
        let refund = Refund {
            id: id.clone(),
            created: self.now,
            charge: charge.to_owned(),
            payment_intent: kept.payment_intent,
            amount,
            currency: kept.currency,
            status: "succeeded".to_owned(),
            reason,
            metadata,
            failure_reason: None,
        };
        self.store.refunds.put(refund);
        self.update_as::<Charge>("charge.refunded", charge, |kept| kept.refunded += amount);
        self.tell::<Refund>("refund.created", &id);
        let method = self.store.payment_methods.find(&kept.payment_method);
        if method.is_some_and(|method| method.card.behaviour == Behaviour::RefundFails) {
            self.fail_refund(&id)?;
        }
        self.note_of_charge(charge);
        Ok(id)
    }

    /// The bank sends a refund back.
    pub(crate) fn fail_refund(&mut self, id: &str) -> Result<(), ApiError> {
        let refund = self.find::<Refund>(id)?.clone();
        if refund.status == "failed" {
            return Err(ApiError::invalid("This refund has failed already."));
        }
        self.update::<Refund>(id, |kept| {
            "failed".clone_into(&mut kept.status);
            kept.failure_reason = Some("lost_or_stolen_card".to_owned());
        });
        self.tell::<Refund>("refund.failed", id);
        self.tell::<Refund>("charge.refund.updated", id);
        self.update::<Charge>(&refund.charge, |kept| kept.refunded -= refund.amount);
        self.note_of_charge(&refund.charge);
        Ok(())
    }

    /// A customer goes to her bank about a charge.
    pub(crate) fn open_dispute(
        &mut self,
        charge: &str,
        inquiry: bool,
        reason: &str,
    ) -> Result<String, ApiError> {
        let kept = self.find::<Charge>(charge)?;
        if kept.status != "succeeded" || kept.disputed {
            return Err(ApiError::invalid("Only a succeeded charge without a dispute can be disputed."));
        }
        Ok(self.disputed(charge, inquiry, reason))
    }

    fn disputed(&mut self, charge: &str, inquiry: bool, reason: &str) -> String {
        let id = self.id("du_");
        let Some(kept) = self.store.charges.find(charge).cloned() else { return id };
        self.create(Dispute {
            id: id.clone(),
            created: self.now,
            charge: charge.to_owned(),
            payment_intent: kept.payment_intent,
            amount: kept.amount,
            currency: kept.currency,
            status: if inquiry { "warning_needs_response" } else { "needs_response" }.to_owned(),
            reason: reason.to_owned(),
            due_by: self.now + 9 * DAY,
            lost_at: None,
        });
        self.update::<Charge>(charge, |kept| kept.disputed = true);
        if !inquiry {
            self.tell::<Dispute>("charge.dispute.funds_withdrawn", &id);
            let subscription = self.invoice(&kept.invoice).map(|invoice| invoice.subscription.clone());
            if let Some(subscription) = subscription.filter(|_| self.settings.dispute_cancels) {
                self.end(&subscription, Some("payment_disputed"));
            }
        }
        self.note_of_charge(charge);
        id
    }

    /// An inquiry becomes a chargeback, or the bank decides.
    pub(crate) fn move_dispute(&mut self, id: &str, status: &str) -> Result<(), ApiError> {
        let kept = self.find::<Dispute>(id)?;
        let inquiry = kept.is_inquiry();
        let open = matches!(
            kept.status.as_str(),
            "needs_response" | "under_review" | "warning_needs_response" | "warning_under_review"
        );
        let known = match status {
            "won" | "lost" | "under_review" => !inquiry,
            "warning_closed" | "warning_under_review" | "needs_response" => inquiry,
            _ => false,
        };
        if !open || !known {
            let why = format!("A dispute that is {} cannot become {status}.", kept.status);
            return Err(ApiError::invalid(why).at("status"));
        }
        let (charge, now) = (kept.charge.clone(), self.now);
        self.update::<Dispute>(id, |kept| {
            status.clone_into(&mut kept.status);
            kept.lost_at = (status == "lost").then_some(now);
        });
        match status {
            "needs_response" => self.tell::<Dispute>("charge.dispute.funds_withdrawn", id),
            "won" => {
                self.tell::<Dispute>("charge.dispute.funds_reinstated", id);
                self.tell::<Dispute>("charge.dispute.closed", id);
            }
            "lost" | "warning_closed" => self.tell::<Dispute>("charge.dispute.closed", id),
            _ => {}
        }
        self.note_of_charge(&charge);
        Ok(())
    }
}
