//! All subscriptions of a member together: what she may do with them, and whether she pays twice.

use chrono::{DateTime, Utc};

use crate::billing::When;
use crate::catalog::Catalog;
use crate::ids::{CustomerId, PlanId, PriceId, SubscriptionId};
use crate::member::{NewPlan, Wish};
use crate::subscription::{Item, NextPlans, Standing, Status, Subscription};

/// A subscription of a member's as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: SubscriptionId,
    /// Where it stands.
    pub standing: Standing,
    /// The change of plans that is to come, if one is.
    pub next: Option<NextPlans>,
    /// Whether it ever was in a trial.
    pub had_trial: bool,
}

/// What a member has bought, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Her subscriptions, the most useful first: those that pay, then those that could again, then the rest, each latest
    /// first.
    pub held: Vec<Held>,
}

impl Held {
    /// A subscription as it is known; nothing before it was first seen.
    pub fn of(id: &SubscriptionId, subscription: &Subscription) -> Option<Self> {
        Some(Self {
            id: id.clone(),
            standing: subscription.standing(None)?,
            next: subscription.schedule().and_then(|schedule| schedule.next.clone()),
            had_trial: subscription.had_trial(),
        })
    }

    /// Who pays.
    pub fn customer(&self) -> &CustomerId {
        &self.standing.terms.customer
    }

    /// Where it stands, in the provider's word.
    pub fn status(&self) -> &Status {
        &self.standing.terms.status
    }

    /// Whether money comes for it, or the provider still tries.
    pub fn is_paying(&self) -> bool {
        matches!(self.status(), Status::Trialing | Status::Active | Status::PastDue)
    }

    /// Whether it runs on, paid or not: another one beside it would be bought twice. A first payment that was never made
    /// is not in the way.
    pub fn is_running(&self) -> bool {
        !self.status().is_final() && *self.status() != Status::Incomplete
    }

    /// The plan it stands for, today's catalogue first.
    pub fn plan(&self, catalog: &Catalog) -> Option<PlanId> {
        let today = catalog.plans_of(&self.standing.terms.items);
        today.first().or(self.standing.anchors.plans.first()).cloned()
    }

    /// When it ends, if an end is scheduled.
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.standing.terms.cancels_at.filter(|_| self.is_running())
    }

    /// Whether it sells this price.
    pub fn sells(&self, price: &PriceId) -> bool {
        sells(&self.standing.terms.items, price)
    }

    /// Whether the plan that was asked for is the next.
    pub fn changes_to(&self, asked: &NewPlan) -> bool {
        self.next
            .as_ref()
            .is_some_and(|next| next.plans.contains(&asked.to) || sells(&next.items, &asked.price))
    }

    /// Whether it is as a member wished, or sure to become so.
    pub fn fulfils(&self, wish: &Wish) -> bool {
        match wish {
            Wish::PlanChange(asked) => match asked.when {
                // The end of the period may have come meanwhile.
                When::PeriodEnd => {
                    self.changes_to(asked) || (self.sells(&asked.price) && self.next.is_none())
                }
                When::Now => self.sells(&asked.price) && self.next.is_none(),
            },
            Wish::Cancellation(asked) => {
                self.status().is_final() || (asked.when == When::PeriodEnd && self.ends_at().is_some())
            }
            Wish::Resumption { .. } => self.is_running() && !self.rests(),
            Wish::Checkout(_) | Wish::Portal { .. } => false,
        }
    }

    /// Whether it has an end or is suspended, which can be taken back.
    pub fn rests(&self) -> bool {
        self.ends_at().is_some() || *self.status() == Status::Paused
    }

    fn rank(&self) -> (bool, bool, bool, Option<DateTime<Utc>>) {
        let usable = matches!(self.status(), Status::Trialing | Status::Active);
        (usable, self.is_paying(), self.is_running(), self.standing.terms.started_at)
    }
}

fn sells(items: &[Item], price: &PriceId) -> bool {
    items.iter().any(|item| item.price.as_ref() == Some(price))
}

impl Membership {
    /// Of these subscriptions.
    pub fn new(mut held: Vec<Held>) -> Self {
        held.sort_by(|one, other| other.rank().cmp(&one.rank()).then_with(|| one.id.cmp(&other.id)));
        Self { held }
    }

    /// Those that run on.
    pub fn running(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| held.is_running())
    }

    /// Those that are paid for beside each other: nobody wants two.
    pub fn duplicates(&self) -> Vec<&Held> {
        let paying: Vec<&Held> = self.held.iter().filter(|held| held.is_paying()).collect();
        if paying.len() > 1 { paying } else { Vec::new() }
    }

    /// The subscription with this id.
    pub fn subscription(&self, id: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.id.as_str() == id)
    }

    /// Whether she ever had a trial, with whatever payer: one is all there is.
    pub fn had_trial(&self) -> bool {
        self.held.iter().any(|held| held.had_trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::{self, Kind, Observation, SubscriptionCommand, Terms};

    fn held(id: &str, statuses: &[Status], trial_end: Option<DateTime<Utc>>) -> Held {
        let mut state = Subscription::default();
        for (second, status) in (0..).zip(statuses) {
            let at = DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap();
            let terms = Terms { trial_end, ..Terms::new("cus_1".into(), status.clone()) };
            let source = format!("evt_{id}_{second}").as_str().into();
            let kind = Kind::Changed;
            let seen = Observation::new(source, at, kind, terms);
            for event in subscription::decide(&state, SubscriptionCommand::Observe(Box::new(seen))) {
                subscription::evolve(&mut state, &event);
            }
        }
        Held::of(&id.into(), &state).unwrap()
    }

    #[test]
    fn a_plan_that_was_to_come_at_the_end_of_a_period_is_there_when_it_came_and_nothing_else_is_to_come() {
        let mut held = held("sub_1", &[Status::Active], None);
        let wish = |price: &str| {
            Wish::PlanChange(NewPlan {
                subscription: "sub_1".into(),
                from: None,
                to: "pro".into(),
                price: price.into(),
                when: When::PeriodEnd,
                reckoned_at: None,
            })
        };
        held.standing.terms.items =
            vec![Item { price: Some("price_pro".into()), product: None, period_end: None }];
        assert!(held.fulfils(&wish("price_pro")) && !held.fulfils(&wish("price_basic")));
        let from = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        held.next = Some(NextPlans { from, items: Vec::new(), plans: vec!["basic".into()] });
        assert!(!held.fulfils(&wish("price_pro")), "it is about to go again");
    }

    #[test]
    fn two_that_are_paid_for_are_duplicates_and_an_unpaid_attempt_beside_one_is_not() {
        let active = || held("sub_1", &[Status::Active], None);
        for (other, count) in
            [(Status::PastDue, 2), (Status::Trialing, 2), (Status::Incomplete, 0), (Status::Canceled, 0)]
        {
            let all = Membership::new(vec![held("sub_2", &[other], None), active()]);
            assert_eq!(all.duplicates().len(), count);
            assert!(all.held[0].status() == &Status::Active || count == 2);
        }
    }

    #[test]
    fn what_owes_or_rests_is_in_the_way_of_another_one_and_a_first_payment_never_made_is_not() {
        let runs = |status| held("sub_1", &[status], None).is_running();
        for status in [Status::PastDue, Status::Unpaid, Status::Paused, Status::Unknown("asleep".to_owned())]
        {
            assert!(runs(status));
        }
        assert!(!runs(Status::Incomplete) && !runs(Status::Canceled) && !runs(Status::IncompleteExpired));
    }

    #[test]
    fn a_trial_is_remembered_after_its_end_and_an_attempt_that_was_never_paid_uses_none_up() {
        let end = DateTime::from_timestamp(1_700_000_500, 0);
        assert!(held("sub_1", &[Status::Trialing, Status::Canceled], end).had_trial);
        assert!(held("sub_1", &[Status::Active], end).had_trial, "seen only after its trial");
        assert!(!held("sub_1", &[Status::Incomplete, Status::IncompleteExpired], end).had_trial);
        assert!(!held("sub_1", &[Status::Active], None).had_trial);
    }
}
