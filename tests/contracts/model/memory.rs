//! The rules without a store: `decide` and `evolve`, a log in memory, and the index that is folded from it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use domain::access::{Source, decide_access};
use domain::catalog::{self, CATALOG_ID, Catalog, CatalogCommand};
use domain::customer::{self, Customer, CustomerCommand, CustomerEvent, LinkedThrough};
use domain::events::{Dated, Event, upcasters};
use domain::grant::{self, Grant, GrantCommand};
use domain::ids::{CustomerId, GrantId, MemberId, SubscriptionId};
use domain::member::{self, Member, MemberCommand, MemberEvent};
use domain::metadata::{Actor, Metadata};
use domain::ports::{Position, Recorded};
use domain::subscription::{self, Subscription, SubscriptionCommand};
use projections::access_index::AccessIndex;
use projections::directory;
use serde_json::Value;
use webhook_ingest::stripe::Envelope;
use webhook_ingest::stripe::translate::{InvoiceTold, Translation, translate};

use super::system::{Answer, System, answer, catalog_of, live_answer};

/// The rules over a log in memory.
#[derive(Default)]
pub(super) struct Rules {
    log: Vec<(Recorded, Event)>,
    index: AccessIndex,
    catalog: Catalog,
    customers: BTreeMap<CustomerId, Customer>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    grants: BTreeMap<GrantId, Grant>,
    /// Deliveries of customers that are nobody's yet.
    parked: Vec<Value>,
    /// Planted for the negative control: what arrives last is taken for what happened last.
    trusts_arrival: bool,
}

/// What a log says up to a moment of learning.
#[derive(Default)]
struct Fold {
    registered: Vec<MemberId>,
    owners: BTreeMap<CustomerId, MemberId>,
    catalog: Catalog,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    grants: BTreeMap<GrantId, Grant>,
}

impl Rules {
    pub(super) fn that_trust_arrival(trusts_arrival: bool) -> Self {
        Self { trusts_arrival, ..Self::default() }
    }

    /// Writes events down as a store does, reads them back, and shows them to the index.
    fn append<E: DomainEvent + Dated>(&mut self, kind: &str, id: &str, events: &[E], now: DateTime<Utc>) {
        for event in events {
            let number = self.log.len() as u64 + 1;
            let recorded = Recorded {
                garbled: None,
                position: Position::new(number),
                aggregate_type: kind.to_owned(),
                aggregate_id: id.to_owned(),
                sequence: number,
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_value(event).unwrap(),
                metadata: Metadata {
                    occurred_at: event.occurred_at().unwrap_or(now),
                    recorded_at: now,
                    actor: Actor::system(),
                    cause: id.to_owned(),
                    correlation_id: id.to_owned(),
                },
            };
            let event = Event::read(&recorded, &upcasters()).unwrap();
            if let Some(row) = directory::row(&recorded, &event) {
                self.index.put(&row);
            }
            self.log.push((recorded, event));
        }
    }

    fn tell(&mut self, id: &SubscriptionId, command: SubscriptionCommand, now: DateTime<Utc>) {
        let state = self.subscriptions.entry(id.clone()).or_default();
        let events = subscription::decide(state, command);
        for event in &events {
            subscription::evolve(state, event);
        }
        self.append(Subscription::TYPE, id.as_str(), &events, now);
    }

    fn take(&mut self, event: &Value, now: DateTime<Utc>) {
        let envelope = Envelope::read(event.to_string().as_bytes()).unwrap();
        let owner = self.customers.get(&envelope.customer().unwrap()).and_then(Customer::member);
        if owner.is_none() {
            self.parked.push(event.clone());
            return;
        }
        match translate(&envelope) {
            Translation::Observation { subscription, mut observation, .. } => {
                self.catalog.fill_in(&mut observation.terms);
                if let Some(replaced) = &mut observation.replaced {
                    self.catalog.fill_in(replaced);
                }
                if self.trusts_arrival {
                    observation.at = now;
                }
                self.tell(&subscription, SubscriptionCommand::Observe(observation), now);
            }
            Translation::Invoice { of, told: InvoiceTold::Paid(attempt, _) } => {
                self.tell(&of.subscription, SubscriptionCommand::RecordPayment(attempt), now);
            }
            Translation::Invoice { of, told: InvoiceTold::Failed(attempt) } => {
                self.tell(&of.subscription, SubscriptionCommand::RecordPaymentFailure(attempt), now);
            }
            other => panic!("{other:?}"),
        }
    }

    fn fold(&self, known_at: DateTime<Utc>) -> Fold {
        let mut fold = Fold::default();
        for (_, event) in self.log.iter().filter(|(recorded, _)| recorded.metadata.recorded_at <= known_at) {
            match event {
                Event::Member(id, MemberEvent::MemberRegistered) => fold.registered.push(id.clone()),
                Event::Customer(id, CustomerEvent::MemberLinked { member, .. }) => {
                    fold.owners.insert(id.clone(), member.clone());
                }
                Event::Customer(id, CustomerEvent::MemberUnlinked { .. }) => {
                    fold.owners.remove(id);
                }
                Event::Grant(id, event) => grant::evolve(fold.grants.entry(id.clone()).or_default(), event),
                Event::Subscription(id, event) => {
                    subscription::evolve(fold.subscriptions.entry(id.clone()).or_default(), event);
                }
                Event::Catalog(event) => catalog::evolve(&mut fold.catalog, event),
                _ => {}
            }
        }
        fold
    }
}

impl Fold {
    fn ask(
        &self,
        member: &MemberId,
        video: &str,
        at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Answer> {
        self.registered.contains(member).then(|| {
            let standings = self.subscriptions.values().filter_map(|held| held.standing(at));
            let hers = standings.filter(|standing| self.owners.get(&standing.terms.customer) == Some(member));
            let sources = hers.map(|standing| {
                let plans = self.catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
                Source::new(&standing, plans)
            });
            let given = self.grants.values().filter_map(|grant| {
                let given = grant.given().filter(|given| given.member == *member)?;
                let plans = self.catalog.set_of(std::slice::from_ref(&given.plan));
                Some(Source::granted(given, grant.is_revoked(), plans))
            });
            let sources = sources.chain(given);
            let video = self.catalog.video(video).unwrap();
            answer(&decide_access(sources, &self.catalog, &self.catalog.policy(), video, now))
        })
    }
}

impl System for Rules {
    async fn register(&mut self, member: &str, now: DateTime<Utc>) {
        let events = member::decide(&Member::default(), MemberCommand::Register).unwrap();
        self.append(Member::TYPE, member, &events, now);
    }

    async fn link(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool {
        let state = self.customers.entry(customer.into()).or_default();
        let link = CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request };
        let Ok(events) = customer::decide(state, link) else { return false };
        for event in &events {
            customer::evolve(state, event);
        }
        self.append(Customer::TYPE, customer, &events, now);
        for event in std::mem::take(&mut self.parked) {
            self.take(&event, now);
        }
        true
    }

    async fn unlink(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool {
        let state = self.customers.entry(customer.into()).or_default();
        let unlink = CustomerCommand::Unlink { member: member.into(), remark: "rmk_1".into() };
        let Ok(events) = customer::decide(state, unlink) else { return false };
        for event in &events {
            customer::evolve(state, event);
        }
        self.append(Customer::TYPE, customer, &events, now);
        true
    }

    async fn grant(&mut self, id: &str, command: GrantCommand, now: DateTime<Utc>) -> bool {
        let state = self.grants.entry(id.into()).or_default();
        let Ok(events) = grant::decide(state, command) else { return false };
        for event in &events {
            grant::evolve(state, event);
        }
        self.append(Grant::TYPE, id, &events, now);
        true
    }

    async fn apply(&mut self, file: &str, now: DateTime<Utc>) {
        let apply = CatalogCommand::Apply(Box::new(catalog_of(file)));
        let events = catalog::decide(&self.catalog, apply).unwrap();
        for event in &events {
            catalog::evolve(&mut self.catalog, event);
        }
        self.append(Catalog::TYPE, CATALOG_ID, &events, now);
        self.index.set_catalog(self.catalog.clone());
    }

    async fn deliver(&mut self, events: &[Value], now: DateTime<Utc>) {
        for event in events {
            self.take(event, now);
        }
    }

    fn ask(&self, member: &str, video: &str, at: DateTime<Utc>) -> Option<Answer> {
        live_answer(&self.index, member, video, at)
    }

    async fn ask_then(&self, member: &str, video: &str, moment: DateTime<Utc>) -> Option<Answer> {
        self.fold(moment).ask(&member.into(), video, Some(moment), moment)
    }

    /// The rows, of which each event tells the latest, say the same as the events themselves.
    async fn verify(&self, members: &[String], videos: &[&str], now: DateTime<Utc>) {
        let fold = self.fold(now);
        for member in members {
            for video in videos {
                let folded = fold.ask(&member.as_str().into(), video, None, now);
                assert_eq!(self.ask(member, video, now), folded, "{member} {video}");
            }
        }
    }
}
