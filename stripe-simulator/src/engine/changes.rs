//! Changes of a subscription: plan, trial, end; what they cost, and what waits until it is paid.

use super::Engine;
use super::cards::Decline;
use super::clock::{Period, Seconds, in_reach, trial_in_reach};
use super::error::ApiError;
use super::invoices::Draft;
use super::model::{
    Invoice, InvoiceStatus, Item, Line, Metadata, NoMethod, PauseCollection, PendingUpdate, Status,
    Subscription, total,
};
use super::payments::{Attempt, Presence};
use super::people::merge;
use super::subscriptions::{MOST_ITEMS, NOTICE, PATIENCE};
use crate::shapes::{self, Shown};

#[derive(Debug, Clone)]
pub(crate) struct ItemChange {
    pub(crate) id: Option<String>,
    pub(crate) price: Option<String>,
    pub(crate) quantity: Option<i64>,
    pub(crate) deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialEnd {
    Now,
    At(Seconds),
}

/// What a call does to something that can also be cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T: Clone> Change<T> {
    fn value(&self) -> Option<T> {
        if let Self::Set(value) = self { Some(value.clone()) } else { None }
    }

    fn is_said(&self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// What a call changes; what is absent stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct SubscriptionChange {
    pub(crate) items: Vec<ItemChange>,
    /// The prices were chosen earlier, so they may have been archived since.
    pub(crate) agreed: bool,
    pub(crate) cancel_at: Change<Seconds>,
    pub(crate) cancel_at_period_end: Option<bool>,
    pub(crate) trial_end: Option<TrialEnd>,
    pub(crate) pause_collection: Change<PauseCollection>,
    pub(crate) proration_behavior: Option<String>,
    /// The moment that the cost is reckoned for; now when not said.
    pub(crate) proration_date: Option<Seconds>,
    pub(crate) payment_behavior: Option<String>,
    pub(crate) payment_method: Option<String>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) description: Option<String>,
    pub(crate) anchor_now: bool,
    pub(crate) no_method: Option<NoMethod>,
    pub(crate) comment: Option<String>,
    pub(crate) feedback: Option<String>,
}

/// What a change of plan costs.
struct Cost {
    items: Vec<Item>,
    prorations: Vec<Line>,
    /// The period starts anew.
    anew: Option<Period>,
}

impl Engine {
    fn changed_items(&self, kept: &Subscription, change: &SubscriptionChange) -> Result<Vec<Item>, ApiError> {
        let mut items = kept.items.clone();
        for (place, item) in change.items.iter().enumerate() {
            let held = |price: &String| kept.items.iter().any(|item| item.price == *price);
            if let Some(price) = item.price.as_ref().filter(|price| !change.agreed && !held(price)) {
                self.on_sale(price, &format!("items[{place}][price]"))?;
            }
        }
        for (place, change) in change.items.iter().enumerate() {
            let at = |field: &str| format!("items[{place}][{field}]");
            let Some(id) = &change.id else {
                let price = change.price.clone().ok_or_else(|| {
                    ApiError::invalid("An item needs an id or a price.")
                        .coded("parameter_missing")
                        .at(&at("price"))
                })?;
                items.extend(self.new_items(&[(price, change.quantity.unwrap_or(1))]));
                continue;
            };
            let Some(item) = items.iter_mut().find(|item| item.id == *id) else {
                return Err(ApiError::missing("subscription_item", id).at(&at("id")));
            };
            item.price = change.price.clone().unwrap_or(item.price.clone());
            item.quantity = change.quantity.unwrap_or(item.quantity);
            if change.deleted {
                items.retain(|item| item.id != *id);
            }
        }
        if items.len() > MOST_ITEMS {
            let why = format!("A subscription can have at most {MOST_ITEMS} items.");
            return Err(ApiError::invalid(why).at("items"));
        }
        Ok(items)
    }

    /// What is given back for the rest of the period, and what the rest costs anew.
    pub(super) fn prorate(&self, kept: &Subscription, items: &[Item], at: Seconds) -> Vec<Line> {
        let rest = Period { start: at, end: kept.period.end };
        let (left, whole) = (rest.end - rest.start, (kept.period.end - kept.period.start).max(1));
        let share = |amount: i64| {
            let part =
                (i128::from(amount) * i128::from(left) + i128::from(whole / 2)).div_euclid(whole.into());
            i64::try_from(part).unwrap_or(amount)
        };
        let part = |mut line: Line, sign: i64, words: &str| {
            line.amount = sign * share(line.amount);
            line.description = format!("{words} {}", line.description);
            line.proration = true;
            line
        };
        let changed = |item: &&Item, others: &[Item]| !others.contains(item);
        let old: Vec<_> = kept.items.iter().filter(|item| changed(item, items)).cloned().collect();
        let new: Vec<_> = items.iter().filter(|item| changed(item, &kept.items)).cloned().collect();
        let credits =
            self.regular_lines(&old, rest, false).into_iter().map(|line| part(line, -1, "Unused time on"));
        let debits =
            self.regular_lines(&new, rest, false).into_iter().map(|line| part(line, 1, "Remaining time on"));
        credits.chain(debits).collect()
    }

    fn cost(
        &self,
        kept: &Subscription,
        change: &SubscriptionChange,
        items: Vec<Item>,
    ) -> Result<Cost, ApiError> {
        let (was, is) = (self.interval(&kept.items)?, self.interval(&items)?);
        let trial_over = change.trial_end == Some(TrialEnd::Now) && kept.status == Status::Trialing;
        let on_trial = kept.status == Status::Trialing && !trial_over;
        let anew = (!on_trial && (was != is || change.anchor_now)) || trial_over;
        let anew = anew.then(|| is.period_at(self.now, self.now));
        let at = change.proration_date.unwrap_or(self.now);
        if !(kept.period.start..=kept.period.end).contains(&at) && change.proration_date.is_some() {
            let why = "Invalid proration_date: it has to be within the current billing period.";
            return Err(ApiError::invalid(why).at("proration_date"));
        }
        let free = on_trial || trial_over || kept.status == Status::Incomplete;
        let prorations = match change.proration_behavior.as_deref() {
            Some("none") => Vec::new(),
            _ if free => Vec::new(),
            // A period that starts anew is billed in full, so only what is left of the old one is given back.
            _ if anew.is_some() => self.prorate(kept, &[], at),
            _ => self.prorate(kept, &items, at),
        };
        Ok(Cost { items, prorations, anew })
    }

    fn dates_in_reach(&self, change: &SubscriptionChange) -> Result<(), ApiError> {
        in_reach(self.now, change.cancel_at.value(), "cancel_at")?;
        let resumes_at = change.pause_collection.value().and_then(|pause| pause.resumes_at);
        in_reach(self.now, resumes_at, "pause_collection[resumes_at]")?;
        match change.trial_end {
            Some(TrialEnd::At(end)) => trial_in_reach(self.now, Some(end)),
            _ => Ok(()),
        }
    }

    pub(crate) fn update_subscription(
        &mut self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<(), ApiError> {
        let kept = self.alive(id)?;
        self.dates_in_reach(change)?;
        let past = |moment: Option<Seconds>| moment.is_some_and(|moment| moment <= self.now);
        if past(change.cancel_at.value()) {
            return Err(ApiError::invalid("cancel_at must be in the future.").at("cancel_at"));
        }
        let payment_method = match &change.payment_method {
            Some(method) => Some(self.attach(method, &kept.customer)?),
            None => None,
        };
        let items = self.changed_items(&kept, change)?;
        let items = self.name_items(items);
        let cost = self.cost(&kept, change, items)?;
        let trial_over = change.trial_end == Some(TrialEnd::Now) && kept.status == Status::Trialing;
        let at_once = cost.anew.is_some() || change.proration_behavior.as_deref() == Some("always_invoice");
        let mut lines = cost.prorations;
        for line in &mut lines {
            line.invoice_item = Some(self.id("ii_"));
        }
        let billed: Vec<Line> = if at_once {
            let regular = cost.anew.map(|period| self.regular_lines(&cost.items, period, false));
            let waiting = kept.pending_lines.iter().cloned();
            waiting.chain(lines.iter().cloned()).chain(regular.into_iter().flatten()).collect()
        } else {
            Vec::new()
        };
        if !billed.is_empty() && total(&billed) > 0 {
            let outlook = self.would_pay(&Subscription {
                payment_method: payment_method.clone().or(kept.payment_method.clone()),
                ..kept.clone()
            });
            match (outlook, change.payment_behavior.as_deref()) {
                (Attempt::Paid | Attempt::Processing, _) => {}
                (_, Some("pending_if_incomplete")) => return self.park(id, cost.items, billed),
                (Attempt::Declined(why), Some("error_if_incomplete")) => return Err(ApiError::card(&why)),
                (Attempt::NeedsAction, Some("error_if_incomplete")) => {
                    return Err(ApiError::card(&Decline::of("authentication_required")));
                }
                _ => {}
            }
        }
        let invoice =
            (!billed.is_empty()).then(|| self.draft(id, "subscription_update", billed, Draft::AtOnce));
        let now = self.now;
        self.update::<Subscription>(id, |kept| {
            kept.items = cost.items;
            if trial_over {
                kept.status = Status::Active;
                kept.trial = kept.trial.map(|trial| Period { end: now, ..trial });
            }
            if let Some(period) = cost.anew {
                (kept.period, kept.anchor, kept.upcoming_announced) = (period, now, false);
                kept.cancel_at = if kept.cancel_at_period_end { Some(period.end) } else { kept.cancel_at };
            }
            if let Some(invoice) = &invoice {
                kept.latest_invoice = Some(invoice.clone());
                kept.pending_lines.clear();
            } else {
                kept.pending_lines.extend(lines.iter().cloned());
            }
            set_rest(kept, change, now);
            kept.payment_method = payment_method.or(kept.payment_method.take());
        });
        self.note(id);
        if trial_over && !kept.trial_announced {
            self.announce_trial_end(id);
        }
        if invoice.is_none()
            && let Some(kept) = self.subscription(id).cloned()
        {
            for line in &lines {
                let item = shapes::invoice_item(line, &kept, now, &self.store);
                self.emit("invoiceitem.created", item, None);
            }
        }
        if let Some(invoice) = invoice {
            self.tell::<Invoice>(Invoice::CREATED, &invoice);
            self.finalize(&invoice);
            self.collect(&invoice, Presence::Away);
        }
        Ok(())
    }

    /// Puts a change aside until its invoice is paid.
    fn park(&mut self, id: &str, items: Vec<Item>, lines: Vec<Line>) -> Result<(), ApiError> {
        if self.subscription(id).is_some_and(|kept| kept.pending_update.is_some()) {
            return Err(ApiError::invalid("This subscription has a pending update already."));
        }
        let invoice = self.draft(id, "subscription_update", lines, Draft::AtOnce);
        let pending = PendingUpdate { expires_at: self.now + PATIENCE, items, invoice: invoice.clone() };
        self.update::<Subscription>(id, |kept| {
            kept.pending_update = Some(pending);
            kept.latest_invoice = Some(invoice.clone());
        });
        self.note(id);
        self.tell::<Invoice>(Invoice::CREATED, &invoice);
        self.finalize(&invoice);
        self.touch::<Invoice>(&invoice, |kept| kept.auto_advance = false);
        self.collect(&invoice, Presence::Away);
        Ok(())
    }

    pub(super) fn apply_pending(&mut self, id: &str, items: Vec<Item>) {
        let same =
            self.subscription(id).map(|kept| (self.interval(&kept.items).ok(), self.interval(&items).ok()));
        let anew = same.filter(|(was, is)| was != is).and_then(|(_, is)| is);
        let now = self.now;
        self.update::<Subscription>(id, |kept| {
            kept.items = items;
            kept.pending_update = None;
            if let Some(interval) = anew {
                (kept.period, kept.anchor) = (interval.period_at(now, now), now);
            }
        });
        self.tell::<Subscription>("customer.subscription.pending_update_applied", id);
    }

    pub(super) fn expire_pending(&mut self, id: &str) {
        let pending = self.subscription(id).and_then(|kept| kept.pending_update.clone());
        self.update::<Subscription>(id, |kept| kept.pending_update = None);
        self.tell::<Subscription>("customer.subscription.pending_update_expired", id);
        if let Some(pending) = pending {
            self.close(&pending.invoice, InvoiceStatus::Void);
        }
    }

    /// The next invoice, or the one a change would make, as the API previews it.
    pub(crate) fn preview(
        &self,
        kept: &Subscription,
        change: &SubscriptionChange,
    ) -> Result<serde_json::Value, ApiError> {
        self.dates_in_reach(change)?;
        let cost = self.cost(kept, change, self.changed_items(kept, change)?)?;
        let interval = self.interval(&cost.items)?;
        let mut lines = kept.pending_lines.clone();
        lines.extend(cost.prorations);
        let only = change.proration_behavior.as_deref() == Some("always_invoice");
        if let Some(period) = cost.anew {
            lines.extend(self.regular_lines(&cost.items, period, false));
        } else if !only {
            let next = interval.period_at(kept.anchor, kept.period.end);
            lines.extend(self.regular_lines(&cost.items, next, false));
        }
        for (place, line) in lines.iter_mut().enumerate() {
            line.id = format!("il_tmp_{place}_{}", kept.id);
        }
        let now = if only || cost.anew.is_some() { self.now } else { kept.period.end };
        let id = format!("upcoming_in_{}", kept.id);
        let balance = self.store.customers.find(&kept.customer).map_or(0, |customer| customer.balance);
        let draft = self.compose(id, kept, "upcoming", lines, Draft::Kept);
        let period = Period { start: kept.period.start, end: now };
        let mut shown = Invoice { created: now, balance, period, ..draft }.shape(&self.store);
        if !change.items.is_empty() {
            let reckoned_at = change.proration_date.unwrap_or(self.now);
            shown["parent"]["subscription_details"]["subscription_proration_date"] = reckoned_at.into();
        }
        Ok(shown)
    }
}

/// The parts of a change that cost nothing.
fn set_rest(kept: &mut Subscription, change: &SubscriptionChange, now: Seconds) {
    if change.cancel_at.is_said() {
        kept.cancel_at = change.cancel_at.value();
        kept.cancel_at_period_end = false;
    }
    if let Some(wanted) = change.cancel_at_period_end {
        kept.cancel_at_period_end = wanted;
        kept.cancel_at = wanted.then_some(kept.period.end);
    }
    if change.cancel_at.is_said() || change.cancel_at_period_end.is_some() {
        let scheduled = kept.cancel_at.is_some();
        kept.canceled_at = scheduled.then_some(now);
        kept.cancel_reason = scheduled.then(|| "cancellation_requested".to_owned());
    }
    if let Some(TrialEnd::At(end)) = change.trial_end {
        kept.trial = Some(Period { start: kept.trial.map_or(now, |trial| trial.start), end });
        (kept.status, kept.anchor, kept.trial_announced) = (Status::Trialing, end, end - now <= NOTICE);
        kept.period = Period { start: kept.period.start, end };
        kept.paid_until = kept.paid_until.max(Some(end));
    }
    if change.pause_collection.is_said() {
        kept.pause_collection = change.pause_collection.value();
    }
    merge(&mut kept.metadata, change.metadata.as_ref());
    let texts = [
        (&mut kept.description, &change.description),
        (&mut kept.cancel_comment, &change.comment),
        (&mut kept.cancel_feedback, &change.feedback),
    ];
    for (text, new) in texts {
        *text = new.clone().or(text.take());
    }
    kept.no_method = change.no_method.unwrap_or(kept.no_method);
}
