//! What was known of a member, folded once: it can be asked about any moment.

use chrono::{DateTime, Utc};
use domain::access::{Decision, Source, decide_plan};
use domain::catalog::{Catalog, Policy};
use domain::customer::{self, Customer};
use domain::events::Event;
use domain::grant::{self, Grant};
use domain::ids::{CustomerId, GrantId, PlanId, SubscriptionId};
use domain::metadata::Actor;
use domain::ports::Recorded;
use domain::subscription::{self, Evidence, Standing, Subscription};

use super::{AsOf, Chronicle, Stream};

/// The sources of access of a member, as they were known.
pub(super) struct Known<'c> {
    subscriptions: Vec<Bought<'c>>,
    grants: Vec<Granted<'c>>,
}

/// A subscription as it was known.
pub(super) struct Bought<'c> {
    pub(super) id: &'c SubscriptionId,
    pub(super) state: Subscription,
    pub(super) stream: &'c Stream,
    /// When the last of what was known of it had been learned.
    learned_at: DateTime<Utc>,
}

/// A grant as it was known.
pub(super) struct Granted<'c> {
    pub(super) id: &'c GrantId,
    stream: &'c Stream,
    /// Those of its events that were known.
    events: Vec<&'c (Recorded, Event)>,
}

/// A source of access as it stood at a moment.
pub(super) struct Held<'k> {
    pub(super) of: Of<'k>,
    pub(super) source: Source,
}

/// What a source of access is.
pub(super) enum Of<'k> {
    Bought(&'k Bought<'k>, Box<Standing>),
    Granted(&'k Granted<'k>, Box<Grant>),
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
        let granted = self.grants.iter().map(|(id, stream)| {
            let events = stream.events.iter().filter(|(recorded, _)| knows(recorded)).collect();
            Granted { id, stream, events }
        });
        Known { subscriptions: bought.collect(), grants: granted.collect() }
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

    fn standing(&self, as_of: AsOf) -> Option<Standing> {
        self.state.standing(self.moment(as_of))
    }

    fn evidence(&self, as_of: AsOf) -> Evidence {
        self.state.evidence(self.moment(as_of))
    }
}

impl<'c> Granted<'c> {
    /// Its known events that had happened.
    fn happened(&self, as_of: AsOf) -> impl Iterator<Item = &'c (Recorded, Event)> {
        let reached =
            move |(recorded, _): &&&(Recorded, Event)| as_of.has_reached(recorded.metadata.occurred_at);
        self.events.iter().filter(reached).copied()
    }

    fn state(&self, as_of: AsOf) -> Grant {
        let mut state = Grant::default();
        for (_, event) in self.happened(as_of) {
            if let Event::Grant(_, event) = event {
                grant::evolve(&mut state, event);
            }
        }
        state
    }

    /// The event that gave it.
    pub(super) fn given(&self) -> Option<&'c (Recorded, Event)> {
        self.events.first().copied()
    }

    /// Who gave it.
    pub(super) fn giver(&self) -> Option<Actor> {
        self.given().map(|(recorded, _)| recorded.metadata.actor.clone())
    }

    /// When it was taken back, if it was.
    pub(super) fn revoked_at(&self, as_of: AsOf) -> Option<DateTime<Utc>> {
        let is_revocation = |event: &Event| matches!(event, Event::Grant(_, event) if event.is_revocation());
        let revoked = self.happened(as_of).find(|(_, event)| is_revocation(event));
        revoked.map(|(recorded, _)| recorded.metadata.occurred_at)
    }

    /// What decides about it: that it was given, and what became of it last.
    pub(super) fn deciding(&self, as_of: AsOf) -> Vec<&'c (Recorded, Event)> {
        let mut events: Vec<_> = self.happened(as_of).collect();
        if events.len() > 2 {
            events.drain(1..events.len() - 1);
        }
        events
    }
}

impl<'c> Known<'c> {
    pub(super) fn subscriptions(&self) -> &[Bought<'c>] {
        &self.subscriptions
    }

    /// All events of the sources, known or not.
    pub(super) fn events(&self) -> impl Iterator<Item = &'c (Recorded, Event)> {
        let bought = self.subscriptions.iter().map(|bought| bought.stream);
        bought.chain(self.grants.iter().map(|granted| granted.stream)).flat_map(|stream| &stream.events)
    }

    /// Everything that might open something at a moment, under a catalogue: what was bought, then what was given.
    pub(super) fn held<'k>(&'k self, catalog: &Catalog, as_of: AsOf) -> Vec<Held<'k>>
    where
        'c: 'k,
    {
        let bought = self.subscriptions.iter().filter_map(|bought| {
            let standing = bought.standing(as_of)?;
            let plans = catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
            let source = Source::new(&standing, plans);
            Some(Held { of: Of::Bought(bought, Box::new(standing)), source })
        });
        let granted = self.grants.iter().filter_map(|granted| {
            let state = granted.state(as_of);
            let given = state.given()?;
            let plans = catalog.set_of(std::slice::from_ref(&given.plan));
            let source = Source::granted(given, state.is_revoked(), plans);
            Some(Held { of: Of::Granted(granted, Box::new(state)), source })
        });
        bought.chain(granted).collect()
    }
}

impl<'k> Held<'k> {
    /// The subscription, where it is one.
    pub(super) fn bought(&self) -> Option<(&'k Bought<'k>, &Standing)> {
        match &self.of {
            Of::Bought(bought, standing) => Some((bought, standing)),
            Of::Granted(..) => None,
        }
    }

    /// What made a subscription what it is; a grant's events do that themselves.
    pub(super) fn evidence(&self, as_of: AsOf) -> Evidence {
        self.bought().map(|(bought, _)| bought.evidence(as_of)).unwrap_or_default()
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
    let decide = |id: &PlanId| decide_plan(id, &sources.iter().copied(), catalog, policy, at);
    plans.into_iter().map(|plan| (plan.id.clone(), decide(&plan.id))).collect()
}

/// The next moment after `at` at which time alone may change the answer.
pub(super) fn next_change(sources: &[Source], policy: &Policy, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    sources.iter().filter_map(|source| source.next_change(policy, at)).min()
}
