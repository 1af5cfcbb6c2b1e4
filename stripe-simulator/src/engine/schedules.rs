//! Subscription schedules: what a subscription becomes, and when.

use super::Engine;
use super::changes::{ItemChange, SubscriptionChange};
use super::clock::{Due, Seconds, in_reach};
use super::error::ApiError;
use super::model::{Metadata, Phase, Price, Schedule, Subscription};

impl Engine {
    pub(super) fn phase_ends(&self, id: &str) -> Option<Seconds> {
        let schedule = self.store.schedules.find(id).filter(|kept| kept.status == "active")?;
        Some(schedule.phases.get(schedule.current)?.end)
    }

    /// A schedule that begins with what the subscription is now.
    pub(crate) fn schedule_from(&mut self, subscription: &str) -> Result<String, ApiError> {
        let kept = self.find::<Subscription>(subscription)?.clone();
        if kept.status.is_over() {
            return Err(ApiError::missing("subscription", subscription).at("from_subscription"));
        }
        if kept.schedule.is_some() {
            let why = "You cannot migrate a subscription that is already attached to a schedule.";
            return Err(ApiError::invalid(why).at("from_subscription"));
        }
        let phase = Phase {
            start: kept.period.start,
            end: kept.period.end,
            items: kept.items.iter().map(|item| (item.price.clone(), item.quantity)).collect(),
            proration_behavior: "create_prorations".to_owned(),
            metadata: Metadata::new(),
        };
        let id = self.id("sub_sched_");
        self.create(Schedule {
            id: id.clone(),
            created: self.now,
            customer: kept.customer,
            subscription: Some(kept.id.clone()),
            released_subscription: None,
            status: "active".to_owned(),
            end_behavior: "release".to_owned(),
            phases: vec![phase],
            current: 0,
            canceled_at: None,
            completed_at: None,
            released_at: None,
            metadata: Metadata::new(),
        });
        self.update::<Subscription>(&kept.id, |kept| kept.schedule = Some(id.clone()));
        self.plan(Due::Schedule(id.clone()));
        Ok(id)
    }

    /// Another price from the next period on.
    pub(crate) fn switch_at_period_end(&mut self, subscription: &str, price: &str) -> Result<(), ApiError> {
        let has = self.find::<Subscription>(subscription)?.items.iter().any(|item| item.price == price);
        if !has {
            self.on_sale(price, "price")?;
        }
        let interval = self
            .find::<Price>(price)?
            .recurring
            .ok_or_else(|| ApiError::invalid(format!("The price {price} is not recurring.")).at("price"))?;
        let id = match self.find::<Subscription>(subscription)?.schedule.clone() {
            Some(id) => id,
            None => self.schedule_from(subscription)?,
        };
        let schedule = self.active_schedule(&id)?;
        let mut phases = schedule.phases;
        phases.truncate(schedule.current + 1);
        let Some(on) = phases.last().cloned() else { return Err(ApiError::missing("phase", &id)) };
        let kept = self.find::<Subscription>(subscription)?;
        let held = kept.items.first().and_then(|item| self.store.prices.find(&item.price));
        let same = held.is_some_and(|held| held.recurring == Some(interval));
        let end = interval.period_at(if same { kept.anchor } else { on.end }, on.end).end;
        phases.push(Phase { start: on.end, end, items: vec![(price.to_owned(), 1)], ..on });
        self.update_schedule(&id, Some(phases), None, None)
    }

    fn active_schedule(&self, id: &str) -> Result<Schedule, ApiError> {
        let schedule = self.find::<Schedule>(id)?;
        if schedule.status == "active" {
            return Ok(schedule.clone());
        }
        let why = format!("This schedule is {}; only an active one can be changed.", schedule.status);
        Err(ApiError::invalid(why))
    }

    pub(crate) fn update_schedule(
        &mut self,
        id: &str,
        phases: Option<Vec<Phase>>,
        end_behavior: Option<String>,
        metadata: Option<&Metadata>,
    ) -> Result<(), ApiError> {
        let schedule = self.active_schedule(id)?;
        let held: Vec<_> = schedule.phases.iter().flat_map(|phase| &phase.items).collect();
        for (place, phase) in phases.iter().flatten().enumerate() {
            for (nth, (price, _)) in phase.items.iter().enumerate() {
                if !held.iter().any(|(held, _)| held == price) {
                    self.on_sale(price, &format!("phases[{place}][items][{nth}][price]"))?;
                }
            }
            self.interval(&self.new_items(&phase.items)).map_err(|error| error.at("phases"))?;
            in_reach(self.now, Some(phase.start), &format!("phases[{place}][start_date]"))?;
            in_reach(self.now, Some(phase.end), &format!("phases[{place}][end_date]"))?;
            if phase.end <= phase.start {
                return Err(ApiError::invalid("A phase has to end after it starts.").at("phases"));
            }
        }
        let now = self.now;
        let current = phases.as_ref().map(|phases| phases.iter().rposition(|phase| phase.start <= now));
        if let Some(None) = current {
            return Err(ApiError::invalid("The first phase has to be the one that is on.").at("phases"));
        }
        self.update::<Schedule>(id, |kept| {
            if let (Some(phases), Some(Some(current))) = (phases, current) {
                (kept.phases, kept.current) = (phases, current);
            }
            kept.end_behavior = end_behavior.unwrap_or(kept.end_behavior.clone());
            super::people::merge(&mut kept.metadata, metadata);
        });
        self.plan(Due::Schedule(id.to_owned()));
        Ok(())
    }

    /// The phase that is on ends: the next begins, or the schedule does.
    pub(super) fn next_phase(&mut self, id: &str) {
        let Some(schedule) = self.store.schedules.find(id).cloned() else { return };
        let Some(subscription) = schedule.subscription.clone() else { return };
        let Some(next) = schedule.phases.get(schedule.current + 1).cloned() else {
            if schedule.end_behavior == "cancel" {
                self.finish(id, "completed");
                self.end(&subscription, None);
            } else {
                self.finish(id, "released");
            }
            return;
        };
        self.touch::<Schedule>(id, |kept| kept.current += 1);
        let Some(kept) = self.subscription(&subscription).cloned() else { return };
        let same: Vec<_> = kept.items.iter().map(|item| (item.price.clone(), item.quantity)).collect();
        if same != next.items {
            let items = self.name_items(self.new_items(&next.items));
            if kept.status.rolls() && kept.period.end <= self.now {
                self.renew(&subscription, Some(items));
            } else {
                self.switch(&kept, &next);
            }
        }
        self.tell::<Schedule>("subscription_schedule.updated", id);
    }

    /// A phase that begins in the middle of a period.
    fn switch(&mut self, kept: &Subscription, next: &Phase) {
        let gone = kept.items.iter().map(|item| ItemChange {
            id: Some(item.id.clone()),
            price: None,
            quantity: None,
            deleted: true,
        });
        let new = next.items.iter().map(|(price, quantity)| ItemChange {
            id: None,
            price: Some(price.clone()),
            quantity: Some(*quantity),
            deleted: false,
        });
        let change = SubscriptionChange {
            items: gone.chain(new).collect(),
            agreed: true,
            proration_behavior: Some(next.proration_behavior.clone()),
            ..SubscriptionChange::default()
        };
        if let Err(error) = self.update_subscription(&kept.id, &change) {
            tracing::warn!(subscription = kept.id, %error, "a schedule's phase could not begin");
        }
    }

    /// Takes a schedule off its subscription.
    fn finish(&mut self, id: &str, status: &str) {
        let now = self.now;
        let subscription = self.store.schedules.find(id).and_then(|kept| kept.subscription.clone());
        self.touch::<Schedule>(id, |kept| {
            status.clone_into(&mut kept.status);
            match status {
                "released" => {
                    kept.released_at = Some(now);
                    kept.released_subscription = kept.subscription.take();
                }
                "completed" => kept.completed_at = Some(now),
                _ => kept.canceled_at = Some(now),
            }
        });
        self.tell::<Schedule>(&format!("subscription_schedule.{status}"), id);
        if let Some(subscription) = subscription {
            self.update::<Subscription>(&subscription, |kept| kept.schedule = None);
        }
    }

    pub(crate) fn release_schedule(&mut self, id: &str) -> Result<(), ApiError> {
        self.active_schedule(id)?;
        self.finish(id, "released");
        Ok(())
    }

    /// Cancels a schedule, and its subscription with it.
    pub(crate) fn cancel_schedule(&mut self, id: &str) -> Result<(), ApiError> {
        let schedule = self.active_schedule(id)?;
        self.finish(id, "canceled");
        self.end(&schedule.subscription.unwrap_or_default(), Some("cancellation_requested"));
        Ok(())
    }
}
