//! Invoices: drafted, finalised, attempted, retried, and what their payment or failure does to the subscription.

use super::cards::Decline;
use super::clock::{Due, Period, Seconds};
use super::error::ApiError;
use super::model::{Customer, Invoice, InvoiceStatus, Item, Line, PaymentIntent, Status, Subscription};
use super::payments::{Attempt, Presence};
use super::{DunningEnd, Engine};

/// How an invoice moves on from being a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    /// Finalised and charged by whoever makes it.
    AtOnce,
    /// Finalised and charged after the usual hour.
    Later,
    /// Left alone until somebody finalises it.
    Kept,
}

impl Engine {
    /// What a period costs.
    pub(super) fn regular_lines(&self, items: &[Item], period: Period, free: bool) -> Vec<Line> {
        let line = |item: &Item| {
            let price = self.store.prices.find(&item.price);
            let product = price.and_then(|price| self.store.products.find(&price.product));
            let name = product.map_or("Subscription", |product| &product.name);
            let amount = price.map_or(0, |price| price.amount.saturating_mul(item.quantity));
            Line {
                id: String::new(),
                amount: if free { 0 } else { amount },
                description: if free {
                    format!("Trial period for {name}")
                } else {
                    format!("{} × {name}", item.quantity)
                },
                price: item.price.clone(),
                quantity: item.quantity,
                period,
                proration: false,
                item: item.id.clone(),
                invoice_item: None,
            }
        };
        items.iter().map(line).collect()
    }

    /// Keeps a draft without telling: the subscription's own event comes first.
    pub(super) fn draft(
        &mut self,
        subscription: &str,
        reason: &str,
        mut lines: Vec<Line>,
        how: Draft,
    ) -> String {
        for line in &mut lines {
            line.id = self.id("il_");
        }
        let id = self.id("in_");
        let Some(kept) = self.subscription(subscription) else { return id };
        let invoice = self.compose(id.clone(), kept, reason, lines, how);
        self.store.invoices.put(invoice);
        self.plan(Due::Invoice(id.clone()));
        id
    }

    pub(super) fn compose(
        &self,
        id: String,
        kept: &Subscription,
        reason: &str,
        lines: Vec<Line>,
        how: Draft,
    ) -> Invoice {
        let finalizes_at = (how == Draft::Later).then(|| self.now + self.settings.draft_for);
        Invoice {
            id,
            created: self.now,
            customer: kept.customer.clone(),
            subscription: kept.id.clone(),
            status: InvoiceStatus::Draft,
            reason: reason.to_owned(),
            currency: kept.currency.clone(),
            // An invoice's own period is the one that has passed; its lines are about the next.
            period: if reason == "subscription_cycle" {
                kept.period
            } else {
                Period { start: self.now, end: self.now }
            },
            lines,
            attempts: 0,
            auto_advance: how != Draft::Kept,
            finalizes_at,
            next_attempt: finalizes_at,
            number: None,
            finalized_at: None,
            paid_at: None,
            voided_at: None,
            uncollectible_at: None,
            out_of_band: false,
            metadata: kept.metadata.clone(),
            payment_intent: None,
            payment: None,
            balance: 0,
            failures: Vec::new(),
            payer: None,
        }
    }

    pub(super) fn invoice_wakes(&self, id: &str) -> Option<Seconds> {
        let invoice = self.invoice(id)?;
        match invoice.status {
            InvoiceStatus::Draft => invoice.finalizes_at.filter(|_| invoice.auto_advance),
            InvoiceStatus::Open => invoice.next_attempt.filter(|_| invoice.auto_advance),
            _ => None,
        }
    }

    pub(super) fn invoice_due(&mut self, id: &str) {
        let Some(invoice) = self.invoice(id).cloned() else { return };
        if invoice.status == InvoiceStatus::Draft {
            self.finalize(id);
        }
        if self.invoice(id).is_none_or(|kept| kept.status != InvoiceStatus::Open) {
            return;
        }
        let pause = self.subscription(&invoice.subscription).and_then(|kept| kept.pause_collection.clone());
        match pause.map(|pause| pause.behavior).as_deref() {
            Some("void") => self.close(id, InvoiceStatus::Void),
            Some("mark_uncollectible") => self.close(id, InvoiceStatus::Uncollectible),
            Some(_) => self.update::<Invoice>(id, |kept| kept.next_attempt = None),
            None => {
                self.collect(id, Presence::Away);
            }
        }
    }

    /// Fixes an invoice. One that costs nothing is paid by that.
    pub(super) fn finalize(&mut self, id: &str) {
        let Some(invoice) = self.invoice(id).filter(|kept| kept.status == InvoiceStatus::Draft).cloned()
        else {
            return;
        };
        let now = self.now;
        let (mut number, mut balance, mut payer) = (None, 0, None);
        self.touch::<Customer>(&invoice.customer, |kept| {
            kept.invoices += 1;
            kept.currency.get_or_insert(invoice.currency.clone());
            number = Some(format!("{}-{:04}", kept.invoice_prefix, kept.invoices));
            balance = kept.balance;
            payer = Some((kept.name.clone(), kept.email.clone()));
            kept.balance = invoice.total().saturating_add(balance).min(0);
        });
        self.touch::<Invoice>(id, |kept| {
            kept.status = InvoiceStatus::Open;
            kept.finalized_at = Some(now);
            (kept.finalizes_at, kept.next_attempt) = (None, None);
            (kept.number, kept.balance, kept.payer) = (number, balance, payer);
        });
        let due = self.invoice(id).map_or(0, Invoice::due);
        if due > 0 {
            self.open_payment(id, due);
        }
        self.tell::<Invoice>("invoice.finalized", id);
        if due == 0 {
            self.mark_paid(id, false);
        }
    }

    fn open_payment(&mut self, invoice: &str, amount: i64) {
        let Some(kept) = self.invoice(invoice).cloned() else { return };
        let (intent, payment) = (self.id("pi_"), self.id("inpay_"));
        self.touch::<Invoice>(invoice, |kept| {
            kept.payment_intent = Some(intent.clone());
            kept.payment = Some(payment);
        });
        self.create(PaymentIntent {
            id: intent,
            created: self.now,
            customer: kept.customer,
            invoice: invoice.to_owned(),
            amount,
            currency: kept.currency,
            status: "requires_payment_method".to_owned(),
            payment_method: None,
            latest_charge: None,
            decline: None,
            canceled_at: None,
            settles_at: None,
        });
    }

    /// Tries to get an open invoice paid.
    pub(super) fn collect(&mut self, id: &str, presence: Presence) -> Attempt {
        if self.invoice(id).is_none_or(|kept| kept.status != InvoiceStatus::Open) {
            return Attempt::Paid;
        }
        let attempt = self.charge(id, presence);
        match &attempt {
            Attempt::Paid => self.mark_paid(id, false),
            Attempt::Processing => self.debit_is_under_way(id),
            Attempt::NeedsAction => {
                self.attempted(id);
                self.tell::<Invoice>("invoice.payment_action_required", id);
                if presence == Presence::Away {
                    self.failed(id);
                }
            }
            Attempt::Declined(_) => {
                self.attempted(id);
                self.failed(id);
            }
        }
        attempt
    }

    fn attempted(&mut self, id: &str) {
        let attempts = self.invoice(id).map_or(0, |kept| kept.attempts) + 1;
        self.retry_after(id, attempts);
    }

    /// Says when the next attempt is, if there is to be one.
    pub(super) fn retry_later(&mut self, id: &str) {
        let attempts = self.invoice(id).map_or(0, |kept| kept.attempts);
        self.retry_after(id, attempts);
    }

    fn retry_after(&mut self, id: &str, attempts: u32) {
        let Some(invoice) = self.invoice(id).cloned() else { return };
        let first =
            self.subscription(&invoice.subscription).is_none_or(|kept| kept.status == Status::Incomplete);
        let retries = &self.settings.retries;
        let made = usize::try_from(attempts).unwrap_or(usize::MAX);
        let wait = made.checked_sub(1).and_then(|last| retries.get(last)).copied();
        let next = wait.filter(|_| !first && invoice.auto_advance).map(|wait| self.now + wait);
        self.update::<Invoice>(id, |kept| (kept.attempts, kept.next_attempt) = (attempts, next));
        self.plan(Due::Invoice(id.to_owned()));
    }

    /// What follows when an invoice could not be paid.
    pub(super) fn failed(&mut self, id: &str) {
        let now = self.now;
        self.touch::<Invoice>(id, |kept| kept.failures.push(now));
        self.tell::<Invoice>("invoice.payment_failed", id);
        let Some(invoice) = self.invoice(id).cloned() else { return };
        let Some(subscription) = self.subscription(&invoice.subscription).cloned() else { return };
        if subscription.pending_update.as_ref().is_some_and(|pending| pending.invoice == id) {
            return;
        }
        // Like its payment, the failure of an older invoice says nothing about the subscription.
        let latest = subscription.latest_invoice.as_deref() == Some(id);
        if latest && subscription.status == Status::Active {
            self.update::<Subscription>(&subscription.id, |kept| kept.status = Status::PastDue);
        }
        self.note(&subscription.id);
        self.update::<Customer>(&invoice.customer, |kept| kept.delinquent = true);
        if latest && invoice.next_attempt.is_none() && subscription.status.rolls() {
            self.give_up(&subscription.id);
        }
    }

    /// The last retry has failed.
    fn give_up(&mut self, subscription: &str) {
        match self.settings.dunning_end {
            DunningEnd::Cancel => self.end(subscription, Some("payment_failed")),
            DunningEnd::PastDue => {}
            DunningEnd::Unpaid => {
                self.update::<Subscription>(subscription, |kept| kept.status = Status::Unpaid);
                self.note(subscription);
            }
            DunningEnd::Pause => self.pause(subscription, Some("final_payment_failure")),
        }
    }

    /// An invoice is settled, by money or by word.
    pub(super) fn mark_paid(&mut self, id: &str, out_of_band: bool) {
        let now = self.now;
        self.update::<Invoice>(id, |kept| {
            kept.status = InvoiceStatus::Paid;
            kept.paid_at = Some(now);
            kept.attempts = kept.attempts.max(u32::from(kept.payment_intent.is_some() && !out_of_band));
            kept.next_attempt = None;
            kept.out_of_band = out_of_band;
        });
        if let Some(payment) =
            self.invoice(id).and_then(|kept| crate::shapes::invoice_payment(kept, &self.store))
            && payment["status"] == "paid"
        {
            self.emit("invoice_payment.paid", payment, None);
        }
        self.tell::<Invoice>("invoice.paid", id);
        self.tell::<Invoice>("invoice.payment_succeeded", id);
        let Some(invoice) = self.invoice(id).cloned() else { return };
        self.update::<Customer>(&invoice.customer, |kept| kept.delinquent = false);
        self.settled(&invoice);
    }

    fn settled(&mut self, invoice: &Invoice) {
        let Some(subscription) = self.subscription(&invoice.subscription).cloned() else { return };
        let id = subscription.id.as_str();
        self.touch::<Subscription>(id, |kept| kept.paid_until = kept.paid_until.max(invoice.reaches()));
        if let Some(pending) = subscription.pending_update.filter(|pending| pending.invoice == invoice.id) {
            self.apply_pending(id, pending.items);
        }
        let latest = subscription.latest_invoice.as_deref() == Some(&invoice.id);
        match subscription.status {
            Status::Incomplete => self.update::<Subscription>(id, |kept| kept.status = Status::Active),
            Status::PastDue | Status::Unpaid if latest => {
                self.update::<Subscription>(id, |kept| kept.status = Status::Active);
            }
            Status::Paused if latest => {
                self.update::<Subscription>(id, |kept| {
                    kept.status = Status::Active;
                    kept.paused_for = None;
                });
                self.tell::<Subscription>("customer.subscription.resumed", id);
            }
            _ => {}
        }
        self.note(id);
    }

    /// Closes an invoice without money.
    pub(super) fn close(&mut self, id: &str, status: InvoiceStatus) {
        let now = self.now;
        self.update::<Invoice>(id, |kept| {
            kept.status = status;
            kept.next_attempt = None;
            kept.auto_advance = false;
            *(if status == InvoiceStatus::Void { &mut kept.voided_at } else { &mut kept.uncollectible_at }) =
                Some(now);
        });
        let voided = status == InvoiceStatus::Void;
        self.tell::<Invoice>(if voided { "invoice.voided" } else { "invoice.marked_uncollectible" }, id);
        let intent = self.invoice(id).and_then(|kept| kept.payment_intent.clone());
        if let Some(intent) = intent.filter(|_| voided) {
            self.touch::<PaymentIntent>(&intent, |kept| {
                "canceled".clone_into(&mut kept.status);
                kept.canceled_at = Some(now);
                kept.settles_at = None;
            });
            self.tell::<PaymentIntent>("payment_intent.canceled", &intent);
        }
    }

    /// Somebody asks for an invoice to be paid now.
    pub(crate) fn pay_invoice(
        &mut self,
        id: &str,
        method: Option<&str>,
        out_of_band: bool,
        present: bool,
    ) -> Result<(), ApiError> {
        let invoice = self.find::<Invoice>(id)?.clone();
        match invoice.status {
            InvoiceStatus::Paid => {
                return Err(ApiError::invalid("Invoice is already paid").coded("invoice_already_paid"));
            }
            InvoiceStatus::Void => {
                return Err(ApiError::invalid("Invoice is void and cannot be paid").coded("invoice_not_open"));
            }
            InvoiceStatus::Uncollectible => {
                self.touch::<Invoice>(id, |kept| kept.status = InvoiceStatus::Open);
            }
            InvoiceStatus::Draft => self.finalize(id),
            InvoiceStatus::Open => {}
        }
        if out_of_band {
            self.mark_paid(id, true);
            return Ok(());
        }
        if let Some(method) = method {
            let method = self.attach(method, &invoice.customer)?;
            self.touch::<Subscription>(&invoice.subscription, |kept| kept.payment_method = Some(method));
        }
        match self.collect(id, if present { Presence::There } else { Presence::Away }) {
            Attempt::Paid | Attempt::Processing => Ok(()),
            Attempt::NeedsAction => Err(ApiError::card(&Decline::of("authentication_required"))),
            Attempt::Declined(why) => Err(ApiError::card(&why)),
        }
    }

    /// Somebody closes an invoice by hand.
    pub(crate) fn close_invoice(&mut self, id: &str, status: InvoiceStatus) -> Result<(), ApiError> {
        let invoice = self.find::<Invoice>(id)?.clone();
        if !matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible) {
            let why =
                format!("You can only do this to an open invoice; this one is {}.", invoice.status.name());
            return Err(ApiError::invalid(why).coded("invoice_not_open"));
        }
        self.close(id, status);
        let Some(subscription) = self.subscription(&invoice.subscription).cloned() else { return Ok(()) };
        if subscription.latest_invoice.as_deref() == Some(id) {
            match subscription.status {
                Status::Incomplete if status == InvoiceStatus::Void => {
                    self.expire_incomplete(&subscription.id);
                }
                Status::PastDue => {
                    self.update::<Subscription>(&subscription.id, |kept| kept.status = Status::Active);
                    self.note(&subscription.id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn finalize_invoice(&mut self, id: &str) -> Result<(), ApiError> {
        if self.find::<Invoice>(id)?.status != InvoiceStatus::Draft {
            return Err(ApiError::invalid("This invoice is already finalized.").coded("invoice_not_editable"));
        }
        self.finalize(id);
        Ok(())
    }
}
