//! Hosted checkout and the customer portal.

use super::Engine;
use super::cards::{Behaviour, Card, Decline};
use super::clock::{DAY, Due, Seconds, trial_in_reach};
use super::error::ApiError;
use super::model::{
    CheckoutSession, InvoiceStatus, Metadata, NoMethod, PaymentMethod, PortalSession, Price, Status,
    Subscription,
};
use super::payments::{Attempt, Presence};
use super::people::CustomerChange;
use super::subscriptions::NewSubscription;

#[derive(Debug, Clone, Default)]
pub(crate) struct NewSession {
    pub(crate) customer: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) trial_days: Option<i64>,
    pub(crate) trial_end: Option<Seconds>,
    pub(crate) no_method: NoMethod,
    pub(crate) subscription_metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) method_if_required: bool,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    pub(crate) expires_at: Option<Seconds>,
    pub(crate) locale: Option<String>,
}

/// Where a buyer stands after she gave her card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Paying {
    /// Done: she goes back to the shop.
    Complete,
    /// Her bank wants to see her.
    Authenticate,
}

/// Whether a card has to be shown to its bank before it can be kept.
fn wants_its_owner(method: &PaymentMethod) -> bool {
    let asks = matches!(method.card.behaviour, Behaviour::AuthenticateOnce | Behaviour::AuthenticateAlways);
    asks && !method.authenticated
}

impl Engine {
    pub(crate) fn create_session(&mut self, new: NewSession) -> Result<String, ApiError> {
        let email = match &new.customer {
            Some(customer) => self.customer(customer)?.email.clone(),
            None => new.email.clone(),
        };
        let (mut amount, mut currency) = (0, "usd".to_owned());
        for (place, (id, quantity)) in new.items.iter().enumerate() {
            let price =
                self.find::<Price>(id).map_err(|error| error.at(&format!("line_items[{place}][price]")))?;
            if price.recurring.is_none() || !price.active {
                let why = format!(
                    "The price {id} is not recurring or not active; this simulator sells subscriptions."
                );
                return Err(ApiError::invalid(why).at(&format!("line_items[{place}][price]")));
            }
            amount = price.amount.saturating_mul(*quantity).saturating_add(amount);
            currency.clone_from(&price.currency);
        }
        let expires_at = new.expires_at.unwrap_or(self.now + DAY);
        if !(self.now + 1_800..=self.now + DAY).contains(&expires_at) {
            let why = "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from now.";
            return Err(ApiError::invalid(why).at("expires_at"));
        }
        trial_in_reach(self.now, new.trial_end).map_err(|error| error.at("subscription_data[trial_end]"))?;
        let on_trial = new.trial_days.is_some() || new.trial_end.is_some();
        let id = self.id("cs_test_");
        let url = format!("{}/pay/{id}", self.settings.base_url);
        self.create(CheckoutSession {
            id: id.clone(),
            created: self.now,
            expires_at,
            customer: new.customer,
            email: new.email.or(email),
            client_reference_id: new.client_reference_id,
            metadata: new.metadata,
            items: new.items,
            trial_days: new.trial_days,
            trial_end: new.trial_end,
            no_method: new.no_method,
            subscription_metadata: new.subscription_metadata,
            description: new.description,
            method_if_required: new.method_if_required,
            success_url: new.success_url,
            cancel_url: new.cancel_url,
            locale: new.locale,
            url,
            status: "open".to_owned(),
            payment_status: "unpaid".to_owned(),
            subscription: None,
            invoice: None,
            payment_method: None,
            amount: if on_trial { 0 } else { amount },
            currency,
        });
        self.plan(Due::Session(id.clone()));
        Ok(id)
    }

    pub(crate) fn open_session(&self, id: &str) -> Result<CheckoutSession, ApiError> {
        let session = self.find::<CheckoutSession>(id)?;
        if session.status == "open" {
            return Ok(session.clone());
        }
        let why = format!("This Checkout Session is {}.", session.status);
        Err(ApiError::invalid(why).coded("checkout_session_not_open"))
    }

    pub(super) fn expire(&mut self, id: &str) {
        self.touch::<CheckoutSession>(id, |kept| "expired".clone_into(&mut kept.status));
        self.tell::<CheckoutSession>("checkout.session.expired", id);
    }

    pub(crate) fn expire_session(&mut self, id: &str) -> Result<(), ApiError> {
        self.open_session(id)?;
        self.expire(id);
        Ok(())
    }

    /// The buyer gives a card or a bank account, or nothing where a trial needs none.
    pub(crate) fn pay_session(
        &mut self,
        id: &str,
        card: Option<Card>,
        email: Option<&str>,
    ) -> Result<Paying, ApiError> {
        let session = self.open_session(id)?;
        let on_trial = session.trial_days.is_some() || session.trial_end.is_some();
        let Some(card) = card else {
            if on_trial && session.method_if_required {
                let customer = self.buyer(&session, email)?;
                return self.start(id, &customer, None);
            }
            return Err(ApiError::invalid("Enter a card number.").at("number"));
        };
        let customer = self.buyer(&session, email)?;
        let email = self.customer(&customer)?.email.clone();
        if on_trial && card.behaviour == Behaviour::Declines {
            return Err(ApiError::card(&card.decline()));
        }
        let method = self.create_payment_method(card, email, Metadata::new());
        // A declined card is charged too, so that the failure is told; attaching it would be refused.
        self.touch::<PaymentMethod>(&method, |kept| kept.customer = Some(customer.clone()));
        let kept = self.find::<PaymentMethod>(&method)?.clone();
        if kept.card.behaviour != Behaviour::Declines {
            self.tell::<PaymentMethod>("payment_method.attached", &method);
        }
        if on_trial && wants_its_owner(&kept) {
            self.touch::<CheckoutSession>(id, |kept| kept.payment_method = Some(method));
            return Ok(Paying::Authenticate);
        }
        self.start(id, &customer, Some(method))
    }

    fn buyer(&mut self, session: &CheckoutSession, email: Option<&str>) -> Result<String, ApiError> {
        if let Some(customer) = &session.customer {
            return Ok(customer.clone());
        }
        let email = email.map(str::to_owned).or(session.email.clone());
        let customer = self.create_customer(&CustomerChange { email, ..CustomerChange::default() })?;
        self.touch::<CheckoutSession>(&session.id, |kept| kept.customer = Some(customer.clone()));
        Ok(customer)
    }

    fn start(&mut self, id: &str, customer: &str, method: Option<String>) -> Result<Paying, ApiError> {
        let session = self.open_session(id)?;
        let earlier = session.subscription.as_deref().and_then(|id| self.subscription(id));
        let (subscription, attempt) =
            if let Some(kept) = earlier.filter(|kept| kept.status == Status::Incomplete).cloned() {
                self.touch::<Subscription>(&kept.id, |kept| kept.payment_method = method);
                let invoice = kept.latest_invoice.unwrap_or_default();
                (kept.id, self.collect(&invoice, Presence::There))
            } else {
                let days = session.trial_days.map(|days| self.now + days * DAY);
                let new = NewSubscription {
                    customer: customer.to_owned(),
                    items: session.items,
                    trial_end: session.trial_end.or(days),
                    no_method: session.no_method,
                    payment_method: method,
                    metadata: session.subscription_metadata,
                    description: session.description,
                    ..NewSubscription::default()
                };
                self.begin(new, Presence::There)?
            };
        let invoice = self.subscription(&subscription).and_then(|kept| kept.latest_invoice.clone());
        self.touch::<CheckoutSession>(id, |kept| {
            (kept.subscription, kept.invoice) = (Some(subscription), invoice);
        });
        match attempt {
            Attempt::Paid if session.amount == 0 => self.complete(id, "no_payment_required"),
            Attempt::Paid => self.complete(id, "paid"),
            Attempt::Processing => self.complete(id, "unpaid"),
            Attempt::NeedsAction => return Ok(Paying::Authenticate),
            Attempt::Declined(why) => return Err(ApiError::card(&why)),
        }
        Ok(Paying::Complete)
    }

    fn complete(&mut self, id: &str, payment_status: &str) {
        self.touch::<CheckoutSession>(id, |kept| {
            "complete".clone_into(&mut kept.status);
            payment_status.clone_into(&mut kept.payment_status);
        });
        self.tell::<CheckoutSession>("checkout.session.completed", id);
    }

    /// The buyer has been to her bank.
    pub(crate) fn authenticate_session(&mut self, id: &str, passed: bool) -> Result<(), ApiError> {
        let session = self.open_session(id)?;
        let refused = Decline::of("authentication_failed");
        if let Some(method) = session.payment_method {
            self.touch::<CheckoutSession>(id, |kept| kept.payment_method = None);
            if !passed {
                return Err(ApiError::card(&refused));
            }
            self.touch::<PaymentMethod>(&method, |kept| kept.authenticated = true);
            let customer = session.customer.unwrap_or_default();
            return self.start(id, &customer, Some(method)).map(|_| ());
        }
        self.authenticate(session.invoice.as_deref().unwrap_or_default(), passed)?;
        if !passed {
            return Err(ApiError::card(&refused));
        }
        self.complete(id, "paid");
        Ok(())
    }

    pub(crate) fn create_portal(
        &mut self,
        customer: &str,
        return_url: Option<String>,
        locale: Option<String>,
    ) -> Result<String, ApiError> {
        self.customer(customer)?;
        let id = self.id("bps_");
        let url = format!("{}/portal/{id}", self.settings.base_url);
        let (created, customer) = (self.now, customer.to_owned());
        Ok(self.create(PortalSession { id, created, customer, return_url, locale, url }))
    }

    /// A cancellation in the portal. In flexible mode it sets a date and leaves the flag alone.
    pub(crate) fn cancel_in_portal(&mut self, subscription: &str) -> Result<(), ApiError> {
        let flexible = self.find::<Subscription>(subscription)?.flexible;
        let now = self.now;
        self.update::<Subscription>(subscription, |kept| {
            kept.cancel_at = Some(kept.period.end);
            kept.cancel_at_period_end = !flexible;
            kept.canceled_at = Some(now);
            kept.cancel_reason = Some("cancellation_requested".to_owned());
        });
        self.note(subscription);
        Ok(())
    }

    /// A customer's invoices that wait for money.
    pub(crate) fn owed(&self, customer: &str) -> Vec<String> {
        let all = self.store.invoices.iter();
        let open = all.filter(|kept| kept.customer == customer && kept.status == InvoiceStatus::Open);
        open.map(|kept| kept.id.clone()).collect()
    }
}
