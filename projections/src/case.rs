//! A member as she stands, and as she would stand after something that has not happened: what staff decides on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::access::{Source, decide_access};
use domain::account::{self, Account};
use domain::catalog::{Catalog, Video};
use domain::customer::{self, Customer};
use domain::events::Event;
use domain::grant::{self, Grant};
use domain::ids::{CustomerId, GrantId, MemberId, SubscriptionId};
use domain::member::{self, Member, MemberEvent};
use domain::membership::{Held, Membership};
use domain::ports::Position;
use domain::subscription::{self, Subscription};

use crate::directory::NAME;
use crate::past::{Past, PastError, Stream};

/// Everything of a member's, folded.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who.
    pub id: MemberId,
    /// What she asked for and what staff noted.
    pub member: Member,
    /// Her account.
    pub account: Account,
    /// Her payers, and the one that was asked for beside them.
    pub customers: Vec<(CustomerId, Customer)>,
    /// What these pay for.
    pub subscriptions: Vec<(SubscriptionId, Subscription)>,
    /// What was given to her.
    pub grants: Vec<(GrantId, Grant)>,
    /// What opens what.
    pub catalog: Arc<Catalog>,
    /// The provider's events that her history follows from.
    pub causes: BTreeSet<String>,
    /// When something was last recorded of each subscription.
    pub heard: BTreeMap<SubscriptionId, DateTime<Utc>>,
    /// When what she has was last compared with the provider on demand.
    pub compared_at: Option<DateTime<Utc>>,
    /// How much of the log this knows of, at least.
    pub position: Position,
}

impl Past {
    /// A member as of the end of the log, under this catalogue. `also` is a payer that need not be hers.
    pub async fn case(
        &self,
        id: &MemberId,
        also: Option<&CustomerId>,
        catalog: Arc<Catalog>,
    ) -> Result<Case, PastError> {
        let position = self.caught_up().await?;
        let (own, mut payers, mut bought) = self.streams(id).await?;
        if let Some(also) = also.filter(|also| payers.iter().all(|(held, _)| held != *also)) {
            payers.push((also.clone(), self.stream(Customer::TYPE, also.as_str()).await?));
            for id in self.views.subscriptions_of(NAME, std::slice::from_ref(also)).await? {
                let stream = self.stream(Subscription::TYPE, id.as_str()).await?;
                bought.push((id, stream));
            }
        }
        let mut streams = vec![own, self.stream(Account::TYPE, id.as_str()).await?];
        for grant in self.views.grants_of(NAME, id).await? {
            streams.push(self.stream(Grant::TYPE, grant.as_str()).await?);
        }
        streams.extend(payers.into_iter().map(|(_, stream)| stream));
        streams.extend(bought.into_iter().map(|(_, stream)| stream));
        let mut case = Case {
            id: id.clone(),
            member: Member::default(),
            account: Account::default(),
            customers: Vec::new(),
            subscriptions: Vec::new(),
            grants: Vec::new(),
            catalog,
            causes: BTreeSet::new(),
            heard: BTreeMap::new(),
            compared_at: None,
            position,
        };
        for (recorded, event) in streams.iter().flat_map(|Stream { events }| events) {
            let recorded_at = recorded.metadata.recorded_at;
            case.causes.insert(recorded.metadata.cause.clone());
            case.note(event, recorded_at);
            case.take_in(event);
        }
        Ok(case)
    }
}

impl Case {
    fn note(&mut self, event: &Event, recorded_at: DateTime<Utc>) {
        match event {
            Event::Subscription(id, _) => {
                self.heard.insert(id.clone(), recorded_at);
            }
            Event::Member(_, MemberEvent::ComparisonDone { .. }) => self.compared_at = Some(recorded_at),
            _ => {}
        }
    }

    /// Takes in something that happened, or would.
    pub fn take_in(&mut self, event: &Event) {
        match event {
            Event::Member(_, event) => member::evolve(&mut self.member, event),
            Event::Account(_, event) => account::evolve(&mut self.account, event),
            Event::Customer(id, event) => customer::evolve(held(&mut self.customers, id), event),
            Event::Subscription(id, event) => subscription::evolve(held(&mut self.subscriptions, id), event),
            Event::Grant(id, event) => grant::evolve(held(&mut self.grants, id), event),
            Event::Payment(..) | Event::Catalog(_) => {}
        }
    }

    /// The payer with this id.
    pub fn customer(&self, id: &CustomerId) -> Customer {
        self.customers.iter().find(|(held, _)| held == id).map(|(_, held)| held.clone()).unwrap_or_default()
    }

    /// The grant with this id, if it was given to her.
    pub fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.iter().find(|(held, _)| held == id).map(|(_, grant)| grant)
    }

    /// What she has bought.
    pub fn membership(&self) -> Membership {
        Membership::new(self.hers().filter_map(|(id, held)| Held::of(id, held)).collect())
    }

    /// Her sources of access.
    pub fn sources(&self) -> Vec<Source> {
        let bought = self.hers().filter_map(|(_, held)| {
            let standing = held.standing(None)?;
            let plans = self.catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
            Some(Source::new(&standing, plans))
        });
        let given = self.grants.iter().filter_map(|(_, grant)| {
            let given = grant.given()?;
            let plans = self.catalog.opened_by(&[], std::slice::from_ref(&given.plan));
            Some(Source::granted(given, grant.is_revoked(), plans))
        });
        bought.chain(given).collect()
    }

    /// The videos that are open to her at `at`.
    pub fn open_at(&self, at: DateTime<Utc>) -> Vec<&Video> {
        let (sources, policy) = (self.sources(), self.catalog.policy());
        let open = |video: &&Video| {
            decide_access(sources.iter().copied(), &self.catalog, &policy, video, at).allowed
        };
        self.catalog.videos().filter(open).collect()
    }

    fn hers(&self) -> impl Iterator<Item = &(SubscriptionId, Subscription)> {
        self.subscriptions.iter().filter(|(_, held)| {
            let payer = held.standing(None).map(|standing| standing.terms.customer);
            payer.is_some_and(|payer| self.customer(&payer).member() == Some(&self.id))
        })
    }
}

fn held<'c, I: Clone + PartialEq, A: Default>(all: &'c mut Vec<(I, A)>, id: &I) -> &'c mut A {
    let place = all.iter().position(|(held, _)| held == id).unwrap_or_else(|| {
        all.push((id.clone(), A::default()));
        all.len() - 1
    });
    &mut all[place].1
}
