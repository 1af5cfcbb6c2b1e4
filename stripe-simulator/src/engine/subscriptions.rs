//! Subscriptions: begun, renewed, paused, ended.

use super::Engine;
use super::SubscriptionChange;
use super::cards::Decline;
use super::clock::{DAY, HOUR, Interval, Period, Seconds, in_reach, trial_in_reach};
use super::error::ApiError;
use super::invoices::Draft;
use super::model::{Invoice, InvoiceStatus, Item, Metadata, NoMethod, Price, Schedule, Status, Subscription};
use super::payments::{Attempt, Presence};
use crate::shapes::Shown;

/// How long a first payment, or a change that waits for one, is waited for.
pub(super) const PATIENCE: Seconds = 23 * HOUR;
/// How many items a subscription can have, with Stripe.
pub(crate) const MOST_ITEMS: usize = 20;
/// How long before its end a trial is announced to end.
pub(super) const NOTICE: Seconds = 3 * DAY;

#[derive(Debug, Clone, Default)]
pub(crate) struct NewSubscription {
    pub(crate) customer: String,
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) trial_end: Option<Seconds>,
    pub(crate) no_method: NoMethod,
    /// `allow_incomplete`, `default_incomplete`, `error_if_incomplete` or `pending_if_incomplete`.
    pub(crate) payment_behavior: String,
    pub(crate) payment_method: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) cancel_at: Option<Seconds>,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) classic: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Cancellation {
    pub(crate) comment: Option<String>,
    pub(crate) feedback: Option<String>,
    pub(crate) invoice_now: bool,
    pub(crate) prorate: bool,
}

impl Engine {
    /// How often items recur. An archived price goes on for those who have it.
    pub(super) fn interval(&self, items: &[Item]) -> Result<Interval, ApiError> {
        let mut found: Option<(Interval, &str)> = None;
        for item in items {
            let price = self.find::<Price>(&item.price).map_err(|error| error.at("items[0][price]"))?;
            let Some(interval) = price.recurring else {
                let why = format!("The price {} cannot be subscribed to: it is not recurring.", price.id);
                return Err(ApiError::invalid(why).at("items[0][price]"));
            };
            if found.is_some_and(|(other, currency)| other != interval || currency != price.currency) {
                let why =
                    "This simulator wants all items of a subscription to have one interval and one currency.";
                return Err(ApiError::invalid(why).at("items"));
            }
            found = Some((interval, &price.currency));
        }
        found.map(|(interval, _)| interval).ok_or_else(|| {
            ApiError::invalid("Missing required param: items.").coded("parameter_missing").at("items")
        })
    }

    /// A price that is chosen anew has to be on sale.
    pub(super) fn on_sale(&self, price: &str, at: &str) -> Result<(), ApiError> {
        if self.find::<Price>(price).map_err(|error| error.at(at))?.active {
            return Ok(());
        }
        let why = "The price specified is inactive. This field only accepts active prices.";
        Err(ApiError::invalid(why).at(at))
    }

    /// Items that have no id yet.
    pub(super) fn new_items(&self, wanted: &[(String, i64)]) -> Vec<Item> {
        let item = |(price, quantity): &(String, i64)| Item {
            id: String::new(),
            created: self.now,
            price: price.clone(),
            quantity: *quantity,
            metadata: Metadata::new(),
        };
        wanted.iter().map(item).collect()
    }

    pub(super) fn name_items(&mut self, mut items: Vec<Item>) -> Vec<Item> {
        for item in items.iter_mut().filter(|item| item.id.is_empty()) {
            item.id = self.id("si_");
        }
        items
    }

    pub(crate) fn create_subscription(&mut self, new: NewSubscription) -> Result<String, ApiError> {
        self.begin(new, Presence::Away).map(|(id, _)| id)
    }

    /// Makes a subscription and tries its first payment.
    pub(super) fn begin(
        &mut self,
        new: NewSubscription,
        presence: Presence,
    ) -> Result<(String, Attempt), ApiError> {
        let customer = self.customer(&new.customer)?.clone();
        for (place, (price, _)) in new.items.iter().enumerate() {
            self.on_sale(price, &format!("items[{place}][price]"))?;
        }
        let items = self.name_items(self.new_items(&new.items));
        let interval = self.interval(&items)?;
        trial_in_reach(self.now, new.trial_end)?;
        in_reach(self.now, new.cancel_at, "cancel_at")?;
        if new.cancel_at.is_some_and(|at| at <= self.now) {
            return Err(ApiError::invalid("cancel_at must be in the future.").at("cancel_at"));
        }
        let payment_method = match &new.payment_method {
            Some(method) => Some(self.attach(method, &customer.id)?),
            None => None,
        };
        let anchor = new.trial_end.unwrap_or(self.now);
        let trial = new.trial_end.map(|end| Period { start: self.now, end });
        let period = trial.unwrap_or_else(|| interval.period_at(anchor, self.now));
        let currency = self.find::<Price>(&items[0].price)?.currency.clone();
        let id = self.id("sub_");
        let kept = Subscription {
            id: id.clone(),
            created: self.now,
            customer: customer.id,
            status: if trial.is_some() { Status::Trialing } else { Status::Incomplete },
            currency,
            items: items.clone(),
            period,
            anchor,
            cancel_at: new.cancel_at.or(new.cancel_at_period_end.then_some(period.end)),
            cancel_at_period_end: new.cancel_at_period_end,
            canceled_at: (new.cancel_at.is_some() || new.cancel_at_period_end).then_some(self.now),
            ended_at: None,
            cancel_reason: None,
            cancel_comment: None,
            cancel_feedback: None,
            payment_method,
            latest_invoice: None,
            description: new.description,
            metadata: new.metadata,
            pause_collection: None,
            paused_for: None,
            pending_update: None,
            pending_lines: Vec::new(),
            schedule: None,
            trial,
            trial_announced: false,
            no_method: new.no_method,
            flexible: !new.classic,
            upcoming_announced: false,
            paid_until: None,
            owing_since: None,
            history: Vec::new(),
        };
        let waits = new.payment_behavior == "default_incomplete" && presence == Presence::Away;
        let costs = trial.is_none() && !waits;
        if costs && presence == Presence::Away {
            match self.would_pay(&kept) {
                Attempt::Declined(why) if why.code == "resource_missing" => {
                    return Err(ApiError::new(400, "invalid_request_error", why.message).coded(&why.code));
                }
                Attempt::Declined(why) if new.payment_behavior == "error_if_incomplete" => {
                    return Err(ApiError::card(&why));
                }
                Attempt::NeedsAction if new.payment_behavior == "error_if_incomplete" => {
                    return Err(ApiError::card(&Decline::of("authentication_required")));
                }
                _ => {}
            }
        }
        self.store.subscriptions.put(kept);
        let lines = self.regular_lines(&items, period, trial.is_some());
        let invoice = self.draft(&id, "subscription_create", lines, Draft::AtOnce);
        self.touch::<Subscription>(&id, |kept| kept.latest_invoice = Some(invoice.clone()));
        self.tell::<Subscription>(Subscription::CREATED, &id);
        self.note(&id);
        self.tell::<Invoice>(Invoice::CREATED, &invoice);
        self.finalize(&invoice);
        let attempt = if costs { self.collect(&invoice, presence) } else { Attempt::Paid };
        if trial.is_some_and(|trial| trial.end - trial.start <= NOTICE) {
            self.announce_trial_end(&id);
        }
        Ok((id, attempt))
    }

    pub(super) fn subscription_wakes(&self, id: &str) -> Option<Seconds> {
        let kept = self.subscription(id)?;
        if kept.status.is_over() {
            return None;
        }
        let mut moments = vec![kept.cancel_at];
        moments.push(kept.pause_collection.as_ref().and_then(|pause| pause.resumes_at));
        moments.push(kept.pending_update.as_ref().map(|pending| pending.expires_at));
        match kept.status {
            Status::Incomplete if self.debit_runs(kept) => {}
            Status::Incomplete => moments.push(Some(kept.created + PATIENCE)),
            Status::Trialing => {
                moments.push(kept.trial_end());
                moments.push(kept.trial_end().filter(|_| !kept.trial_announced).map(|end| end - NOTICE));
            }
            status if status.rolls() => {
                moments.push(Some(kept.period.end));
                moments.push(self.upcoming_at(kept));
            }
            _ => {}
        }
        moments.into_iter().flatten().min()
    }

    fn debit_runs(&self, kept: &Subscription) -> bool {
        let invoice = kept.latest_invoice.as_deref().and_then(|id| self.invoice(id));
        let intent = invoice.and_then(|invoice| invoice.payment_intent.as_deref());
        intent
            .and_then(|id| self.store.payment_intents.find(id))
            .is_some_and(|intent| intent.settles_at.is_some())
    }

    fn upcoming_at(&self, kept: &Subscription) -> Option<Seconds> {
        let before = self.settings.upcoming_before;
        let told = kept.upcoming_announced || kept.cancel_at.is_some() || before == 0;
        (!told && kept.status == Status::Active).then_some((kept.period.end - before).max(kept.period.start))
    }

    /// Does one thing that is due; whatever else is due at the same moment comes up right after.
    pub(super) fn subscription_due(&mut self, id: &str) {
        let Some(kept) = self.subscription(id).cloned() else { return };
        let now = self.now;
        let due = |moment: Option<Seconds>| moment.is_some_and(|moment| moment <= now);
        let resumes_at = kept.pause_collection.as_ref().and_then(|pause| pause.resumes_at);
        let pending = kept.pending_update.as_ref();
        if due(kept.cancel_at) {
            self.end(id, kept.cancel_reason.as_deref());
        } else if due(resumes_at) {
            self.update::<Subscription>(id, |kept| kept.pause_collection = None);
        } else if due(pending.map(|pending| pending.expires_at)) {
            self.expire_pending(id);
        } else if kept.status == Status::Incomplete {
            self.expire_incomplete(id);
        } else if due(kept.trial_end().filter(|_| kept.status == Status::Trialing)) {
            self.end_trial(id);
        } else if kept.status == Status::Trialing {
            self.announce_trial_end(id);
        } else if due(Some(kept.period.end)) {
            self.renew(id, None);
        } else {
            self.announce_renewal(&kept);
        }
        self.note(id);
    }

    pub(super) fn announce_trial_end(&mut self, id: &str) {
        self.touch::<Subscription>(id, |kept| kept.trial_announced = true);
        self.tell::<Subscription>("customer.subscription.trial_will_end", id);
    }

    /// Tells of the next invoice, which does not exist yet and so has no id.
    fn announce_renewal(&mut self, kept: &Subscription) {
        self.touch::<Subscription>(&kept.id, |kept| kept.upcoming_announced = true);
        if let Ok(mut invoice) = self.preview(kept, &SubscriptionChange::default()) {
            if let Some(fields) = invoice.as_object_mut() {
                fields.remove("id");
            }
            self.emit("invoice.upcoming", invoice, None);
        }
    }

    pub(super) fn expire_incomplete(&mut self, id: &str) {
        let Some(kept) = self.subscription(id).cloned() else { return };
        let open = |id: &String| self.invoice(id).is_some_and(|kept| kept.status == InvoiceStatus::Open);
        if let Some(invoice) = kept.latest_invoice.filter(open) {
            self.close(&invoice, InvoiceStatus::Void);
        }
        let now = self.now;
        self.update::<Subscription>(id, |kept| {
            kept.status = Status::IncompleteExpired;
            kept.ended_at = Some(now);
        });
        self.note(id);
    }

    /// The trial is over: somebody who can pay does, for anybody else the owner's setting decides.
    fn end_trial(&mut self, id: &str) {
        let Some(kept) = self.subscription(id) else { return };
        let no_method = kept.no_method;
        match (self.method_for(kept).is_some(), no_method) {
            (false, NoMethod::Cancel) => self.end(id, None),
            (false, NoMethod::Pause) => self.pause(id, None),
            _ => {
                self.touch::<Subscription>(id, |kept| {
                    kept.anchor = kept.trial_end().unwrap_or(kept.anchor);
                });
                self.renew(id, None);
            }
        }
    }

    /// A new period begins. It begins before it is paid for.
    pub(super) fn renew(&mut self, id: &str, items: Option<Vec<Item>>) {
        let Some(kept) = self.subscription(id).cloned() else { return };
        let items = items.unwrap_or_else(|| kept.items.clone());
        let interval = match self.interval(&items) {
            Ok(interval) => interval,
            Err(error) => {
                // Items are checked before a subscription gets them.
                tracing::error!(subscription = id, %error, "nothing to renew for");
                return self.end(id, None);
            }
        };
        let same = self.interval(&kept.items).is_ok_and(|was| was == interval);
        let anchor = if same { kept.anchor } else { kept.period.end };
        let period = interval.period_at(anchor, kept.period.end);
        let how = match &kept.pause_collection {
            Some(pause) if pause.behavior == "keep_as_draft" => Draft::Kept,
            _ if kept.status == Status::Unpaid => Draft::Kept,
            _ => Draft::Later,
        };
        let mut lines = kept.pending_lines.clone();
        lines.extend(self.regular_lines(&items, period, false));
        let invoice = self.draft(id, "subscription_cycle", lines, how);
        self.update::<Subscription>(id, |kept| {
            if kept.status == Status::Trialing {
                kept.status = Status::Active;
            }
            (kept.period, kept.anchor) = (period, anchor);
            kept.latest_invoice = Some(invoice.clone());
            kept.items = items;
            kept.pending_lines.clear();
            kept.upcoming_announced = false;
        });
        self.note(id);
        self.tell::<Invoice>(Invoice::CREATED, &invoice);
    }

    /// It is over.
    pub(super) fn end(&mut self, id: &str, reason: Option<&str>) {
        let now = self.now;
        if self.subscription(id).is_none_or(|kept| kept.status.is_over()) {
            return;
        }
        self.touch::<Subscription>(id, |kept| {
            kept.status = Status::Canceled;
            kept.ended_at = Some(now);
            kept.canceled_at = kept.canceled_at.or(Some(now));
            kept.cancel_reason = reason.map(str::to_owned).or(kept.cancel_reason.take());
            kept.pending_update = None;
        });
        let schedule = self.subscription(id).and_then(|kept| kept.schedule.clone());
        if let Some(schedule) = schedule {
            self.touch::<Schedule>(&schedule, |kept| {
                "canceled".clone_into(&mut kept.status);
                kept.canceled_at = Some(now);
            });
            self.tell::<Schedule>("subscription_schedule.canceled", &schedule);
        }
        self.tell::<Subscription>("customer.subscription.deleted", id);
        self.note(id);
        let open = |kept: &&Invoice| {
            kept.subscription == id && matches!(kept.status, InvoiceStatus::Draft | InvoiceStatus::Open)
        };
        let left: Vec<_> = self.store.invoices.iter().filter(open).map(|kept| kept.id.clone()).collect();
        for invoice in left {
            self.update::<Invoice>(&invoice, |kept| {
                kept.auto_advance = false;
                (kept.next_attempt, kept.finalizes_at) = (None, None);
            });
        }
    }

    /// Service and billing stop until it is resumed.
    pub(crate) fn pause(&mut self, id: &str, reason: Option<&str>) {
        self.update::<Subscription>(id, |kept| {
            kept.status = Status::Paused;
            kept.paused_for = reason.map(str::to_owned);
        });
        self.tell::<Subscription>("customer.subscription.paused", id);
        self.note(id);
    }

    pub(crate) fn cancel(&mut self, id: &str, how: &Cancellation) -> Result<(), ApiError> {
        let kept = self.alive(id)?;
        let prorations = if how.prorate {
            let credits = self.prorate(&kept, &[], self.now);
            credits.into_iter().chain(kept.pending_lines.clone()).collect()
        } else {
            kept.pending_lines.clone()
        };
        self.touch::<Subscription>(id, |kept| {
            kept.cancel_comment.clone_from(&how.comment);
            kept.cancel_feedback.clone_from(&how.feedback);
        });
        self.end(id, Some("cancellation_requested"));
        if how.invoice_now && !prorations.is_empty() {
            let invoice = self.draft(id, "subscription_update", prorations, Draft::AtOnce);
            self.tell::<Invoice>(Invoice::CREATED, &invoice);
            self.finalize(&invoice);
            self.collect(&invoice, Presence::Away);
        }
        Ok(())
    }

    pub(crate) fn alive(&self, id: &str) -> Result<Subscription, ApiError> {
        let kept = self.find::<Subscription>(id)?;
        if kept.status.is_over() {
            // Stripe too no longer finds a subscription that is over, as far as changes go.
            return Err(ApiError::missing("subscription", id));
        }
        Ok(kept.clone())
    }

    /// Leaves the status `paused`.
    pub(crate) fn resume(&mut self, id: &str, anchor_now: bool) -> Result<(), ApiError> {
        let kept = self.alive(id)?;
        if kept.status != Status::Paused {
            let why =
                format!("Only a paused subscription can be resumed; this one is {}.", kept.status.name());
            return Err(ApiError::invalid(why));
        }
        let interval = self.interval(&kept.items)?;
        let anchor = if anchor_now { self.now } else { kept.anchor };
        let period = interval.period_at(anchor, self.now);
        let starts_anew = period != kept.period;
        let (mut invoice, now) = (None, self.now);
        if starts_anew {
            let billed = Period { start: now.max(period.start), end: period.end };
            let lines = self.regular_lines(&kept.items, billed, false);
            invoice = Some(self.draft(id, "subscription_update", lines, Draft::AtOnce));
        }
        self.update::<Subscription>(id, |kept| {
            (kept.period, kept.anchor) = (period, anchor);
            kept.latest_invoice = invoice.clone().or(kept.latest_invoice.take());
            if invoice.is_none() {
                kept.status = Status::Active;
                kept.paused_for = None;
            }
        });
        match invoice {
            Some(invoice) => {
                self.tell::<Invoice>(Invoice::CREATED, &invoice);
                self.finalize(&invoice);
                self.collect(&invoice, Presence::Away);
            }
            None => self.tell::<Subscription>("customer.subscription.resumed", id),
        }
        self.note(id);
        Ok(())
    }
}
