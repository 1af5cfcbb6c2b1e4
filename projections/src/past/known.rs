//! What was known of a member, folded once: it can be asked about any moment.

use chrono::{DateTime, Utc};
use domain::access::{Decision, Source, decide_plan};
use domain::catalog::{Catalog, Policy};
use domain::customer::{self, Customer};
use domain::events::Event;
use domain::ids::{CustomerId, PlanId, SubscriptionId};
use domain::ports::Recorded;
use domain::subscription::{self, Evidence, Standing, Subscription};

use super::{AsOf, Chronicle, Stream};

/// The sources of access of a member, as they were known.
pub(super) struct Known<'c> {
    subscriptions: Vec<Bought<'c>>,
}

/// A subscription as it was known.
pub(super) struct Bought<'c> {
    pub(super) id: &'c SubscriptionId,
    pub(super) state: Subscription,
    pub(super) stream: &'c Stream,
    /// When the last of what was known of it had been learned.
    learned_at: DateTime<Utc>,
}

/// A source of access as it stood at a moment.
pub(super) struct Held<'k> {
    pub(super) bought: &'k Bought<'k>,
    pub(super) standing: Standing,
    pub(super) source: Source,
}

impl Chronicle {
    /// What was known as of a moment or a position.
    pub(super) fn known(&self, as_of: AsOf) -> Known<'_> {
        self.known_of(|recorded| as_of.knows(recorded))
    }

    /// What follows from some of the events alone.
    pub(super) fn known_of(&self, knows: impl Fn(&Recorded) -> bool) -> Known<'_> {
        // Whose a payer is, is about identity: the link that is known counts for every moment.
        let is_hers = |stream: &Stream| {
            let mut customer = Customer::default();
            for (_, event) in stream.events.iter().filter(|(recorded, _)| knows(recorded)) {
                if let Event::Customer(_, event) = event {
                    customer::evolve(&mut customer, event);
                }
            }
            customer.member() == Some(&self.member)
        };
        let hers: Vec<&CustomerId> =
            self.customers.iter().filter(|(_, stream)| is_hers(stream)).map(|(id, _)| id).collect();
        let bought = self.subscriptions.iter().filter_map(|(id, stream)| {
            let (state, learned_at) = stream.fold(&knows)?;
            let customer = state.standing(None)?.terms.customer;
            hers.contains(&&customer).then_some(Bought { id, state, stream, learned_at })
        });
        Known { subscriptions: bought.collect() }
    }
}

impl Stream {
    /// The subscription that the known events make, and when the last of them was learned; nothing without any.
    fn fold(&self, knows: impl Fn(&Recorded) -> bool) -> Option<(Subscription, DateTime<Utc>)> {
        let mut state = Subscription::default();
        let mut learned_at = None;
        for (recorded, event) in self.events.iter().filter(|(recorded, _)| knows(recorded)) {
            learned_at = learned_at.max(Some(recorded.metadata.recorded_at));
            if let Event::Subscription(_, event) = event {
                subscription::evolve(&mut state, event);
            }
        }
        Some((state, learned_at?))
    }
}

impl Bought<'_> {
    /// The moment to ask it about: none, which is the latest, once everything known of it had been learned. The provider's
    /// clock may be ahead of ours, and what has been learned has happened.
    pub(super) fn moment(&self, as_of: AsOf) -> Option<DateTime<Utc>> {
        (!as_of.has_reached(self.learned_at)).then_some(as_of.at)
    }

    pub(super) fn standing(&self, as_of: AsOf) -> Option<Standing> {
        self.state.standing(self.moment(as_of))
    }

    pub(super) fn evidence(&self, as_of: AsOf) -> Evidence {
        self.state.evidence(self.moment(as_of))
    }
}

impl<'c> Known<'c> {
    pub(super) fn subscriptions(&self) -> &[Bought<'c>] {
        &self.subscriptions
    }

    /// All events of the sources, known or not.
    pub(super) fn events(&self) -> impl Iterator<Item = &'c (Recorded, Event)> {
        self.subscriptions.iter().flat_map(|bought| &bought.stream.events)
    }

    /// Everything that might open something at a moment, under a catalogue.
    pub(super) fn held<'k>(&'k self, catalog: &Catalog, as_of: AsOf) -> Vec<Held<'k>>
    where
        'c: 'k,
    {
        let held = self.subscriptions.iter().filter_map(|bought| {
            let standing = bought.standing(as_of)?;
            let plans = catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
            let source = Source::new(&standing, plans);
            Some(Held { bought, standing, source })
        });
        held.collect()
    }
}

/// What each plan of a catalogue opens for the holder of these sources, best plan first.
pub(super) fn by_plan(
    sources: &[Source],
    catalog: &Catalog,
    policy: &Policy,
    at: DateTime<Utc>,
) -> Vec<(PlanId, Decision)> {
    let mut plans: Vec<_> = catalog.plans().collect();
    plans.sort_by(|one, other| other.rank.cmp(&one.rank).then_with(|| one.id.cmp(&other.id)));
    let decide = |id: &PlanId| decide_plan(id, sources.iter().copied(), catalog, policy, at);
    plans.into_iter().map(|plan| (plan.id.clone(), decide(&plan.id))).collect()
}

/// The next moment after `at` at which time alone may change the answer.
pub(super) fn next_change(sources: &[Source], policy: &Policy, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    sources.iter().filter_map(|source| source.next_change(policy, at)).min()
}
