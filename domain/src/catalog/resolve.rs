//! Which plans stand behind prices, and which plans open a video.

use std::cmp::Reverse;

use super::{Catalog, Plan, Video};
use crate::ids::PlanId;
use crate::subscription::{Item, Terms};

/// A set of plans of one catalogue, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanSet(u64);

impl PlanSet {
    /// Whether the two sets share a plan.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Catalog {
    /// The plan an item stands for: by price or legacy plan id first, by product otherwise.
    pub fn plan_of(&self, item: &Item) -> Option<&Plan> {
        let by_price = |plan: &&Plan| item.price.as_ref().is_some_and(|price| plan.prices.contains(price));
        let by_product =
            |plan: &&Plan| item.product.as_ref().is_some_and(|product| plan.products.contains(product));
        self.plans.values().find(by_price).or_else(|| self.plans.values().find(by_product))
    }

    /// The plans some items stand for, best first.
    pub fn plans_of(&self, items: &[Item]) -> Vec<PlanId> {
        let mut plans: Vec<&Plan> = items.iter().filter_map(|item| self.plan_of(item)).collect();
        plans.sort_by_key(|plan| (Reverse(plan.rank), plan.id.clone()));
        plans.dedup_by_key(|plan| &plan.id);
        plans.into_iter().map(|plan| plan.id.clone()).collect()
    }

    /// Writes down in `terms` what its items stand for now, and takes the paid period from the item of the best plan,
    /// since items of one subscription may be paid for different lengths of time.
    pub fn fill_in(&self, terms: &mut Terms) {
        terms.plans = self.plans_of(&terms.items);
        let best = terms.plans.first();
        let of_best = |item: &&Item| best.is_some() && self.plan_of(item).map(|plan| &plan.id) == best;
        let period_end = terms.items.iter().find(of_best).and_then(|item| item.period_end);
        terms.period_end = period_end.or(terms.period_end);
        if terms.cancels_at_period_end && terms.cancels_at.is_none() {
            terms.cancels_at = terms.period_end;
        }
    }

    /// The plans that a subscription opens videos with: what its items stand for in this catalogue, else `recorded`,
    /// what they stood for when the catalogue last knew them.
    pub fn opened_by(&self, items: &[Item], recorded: &[PlanId]) -> PlanSet {
        let plans = self.plans_of(items);
        self.set_of(if plans.is_empty() { recorded } else { &plans })
    }

    /// The plans of `ids` as a set.
    pub fn set_of(&self, ids: &[PlanId]) -> PlanSet {
        let bits = ids.iter().filter_map(|id| self.plan_bits.iter().position(|known| known == id));
        PlanSet(bits.fold(0, |set, bit| set | (1 << bit)))
    }

    /// The best plan of a set.
    pub fn best_of(&self, set: PlanSet) -> Option<PlanId> {
        self.members_of(set)
            .max_by_key(|plan| (plan.rank, Reverse(plan.id.clone())))
            .map(|plan| plan.id.clone())
    }

    /// The rank of the best plan of a set.
    pub fn highest_rank(&self, set: PlanSet) -> Option<i32> {
        self.members_of(set).map(|plan| plan.rank).max()
    }

    /// The lowest plan of a set: what somebody without any of them is asked to buy.
    pub fn lowest_of(&self, set: PlanSet) -> Option<PlanId> {
        self.members_of(set).min_by_key(|plan| (plan.rank, plan.id.clone())).map(|plan| plan.id.clone())
    }

    fn members_of(&self, set: PlanSet) -> impl Iterator<Item = &Plan> {
        let in_set = move |(bit, _): &(usize, &PlanId)| set.0 & (1 << bit) != 0;
        self.plan_bits.iter().enumerate().filter(in_set).filter_map(|(_, id)| self.plans.get(id))
    }

    /// For each roadmap that a plan opens, all plans that open it.
    pub fn gates_of(&self, plan: &PlanId) -> impl Iterator<Item = PlanSet> {
        let opened = self.roadmaps.values().filter(move |roadmap| roadmap.plans.contains(plan));
        opened.map(|roadmap| self.set_of(&roadmap.plans))
    }

    /// Whether everything that one plan opens is opened by another one too.
    pub fn is_within(&self, plan: &PlanId, other: &PlanId) -> bool {
        let other = self.set_of(std::slice::from_ref(other));
        self.gates_of(plan).all(|gate| gate.meets(other))
    }

    /// The plans that open a video, and whether it is free.
    pub fn gate_of(&self, video: &Video) -> (bool, PlanSet) {
        let Some(course) = self.courses.get(&video.course) else {
            return (video.free, PlanSet::default());
        };
        let plans = self.roadmaps.get(&course.roadmap).map(|roadmap| self.set_of(&roadmap.plans));
        (video.free || course.free, plans.unwrap_or_default())
    }
}
