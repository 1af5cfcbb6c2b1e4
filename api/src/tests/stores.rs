//! Stand-ins for the ports over a log in memory: what is written to it is seen at once by the index and the directory.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::billing::BillingError;
use domain::customer::{self, Customer, CustomerCommand};
use domain::events::Event;
use domain::grant::{self, Grant, GrantCommand};
use domain::idempotency::{Attempt, Begun, IdempotencyStore, KeptAnswer, KeyedCommand};
use domain::ids::{CustomerId, GrantId, MemberId, RemarkId, SubscriptionId};
use domain::member::{self, Member, MemberCommand};
use domain::metadata::Actor;
use domain::metadata::{Context, Metadata};
use domain::payment::Payment;
use domain::ports::{
    CommandBus, CommandError, Erased, Erasure, Erasures, EventFeed, Executed, Page, PayerKey, PayerRecord,
    PayerTold, Payers, People, PersonKey, PersonRecord, PersonStored, Position, Recorded, Remark, Remarks,
    StoreError,
};
use domain::subscription::{
    self, Difference, DriftCause, Subscription, SubscriptionCommand, SubscriptionEvent,
};
use projections::access_index::AccessIndex;
use projections::directory;
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, DirectoryRow, IdKind, Promotion, SaveError, ViewState, ViewStore,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dial::Dial;
use crate::state::{
    Deliveries, DeliveryFilter, DeliveryOutcome, DeliveryRecord, DeliveryRehearsal, DeliverySelection,
    DeliveryStep, Probe, Purchase, Purchases, RebuildReport, RebuildState, Rebuilds, Replayed, Resync,
    ResyncError, ResyncFinding, ResyncReport, ResyncScope, ToldKey,
};

/// What a store says when it is told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Unavailable,
    Corrupt,
}

/// A command's fingerprint, and how far it is.
type Held = ([u8; 32], Begun);

/// Everything behind the ports.
#[derive(Default)]
pub(super) struct Stores {
    log: Mutex<Vec<Recorded>>,
    rows: Mutex<Vec<DirectoryRow>>,
    pub(super) people: Mutex<Vec<PersonRecord>>,
    pub(super) payers: Mutex<Vec<PayerRecord>>,
    pub(super) kept: Mutex<HashMap<[u8; 32], Held>>,
    pub(super) deliveries: Mutex<Vec<DeliveryRecord>>,
    pub(super) told: Mutex<Vec<String>>,
    pub(super) remarks: Mutex<Vec<Remark>>,
    pub(super) rebuild: Mutex<Option<RebuildReport>>,
    pub(super) failure: Mutex<Option<Failure>>,
    pub(super) log_fails: AtomicBool,
    pub(super) forgetful: AtomicBool,
    pub(super) worker_gone: AtomicBool,
    pub(super) stopping: AtomicBool,
    pub(super) panics: AtomicBool,
    /// How often the provider was asked about a checkout, and whether it ever answers.
    pub(super) looks: AtomicUsize,
    pub(super) provider_hangs: AtomicBool,
    pub(super) index: Arc<AccessIndex>,
    pub(super) dials: [Arc<Dial>; 2],
}

impl Stores {
    fn works(&self) -> Result<(), StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "a stand-in was told to panic");
        match *self.failure.lock().unwrap() {
            None => Ok(()),
            Some(Failure::Unavailable) => Err(StoreError::Unavailable("secret-host refused".to_owned())),
            Some(Failure::Corrupt) => Err(StoreError::Corrupt("secret row 7".to_owned())),
        }
    }

    fn stream(&self, kind: &str, id: &str) -> Vec<Recorded> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|event| event.aggregate_type == kind && event.aggregate_id == id).cloned().collect()
    }

    pub(super) fn fold<A: Aggregate>(&self, id: &str) -> A
    where
        A::Event: DeserializeOwned,
    {
        let mut state = A::default();
        for recorded in self.stream(A::TYPE, id) {
            state.apply(serde_json::from_value(recorded.payload).unwrap());
        }
        state
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.log.lock().unwrap().len() as u64)
    }

    pub(super) fn append<A: Aggregate>(&self, id: &str, events: &[A::Event], context: &Context) -> Position
    where
        A::Event: Serialize + cqrs_es::DomainEvent,
    {
        use cqrs_es::DomainEvent;
        for event in events {
            let sequence = self.stream(A::TYPE, id).len() as u64 + 1;
            let recorded = Recorded {
                position: Position::new(self.head().get() + 1),
                aggregate_type: A::TYPE.to_owned(),
                aggregate_id: id.to_owned(),
                sequence,
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_value(event).unwrap(),
                metadata: Metadata {
                    occurred_at: context.occurred_at,
                    recorded_at: context.occurred_at,
                    actor: context.actor.clone(),
                    cause: context.cause.clone(),
                    correlation_id: context.correlation_id.clone(),
                },
                garbled: None,
            };
            if let Some(row) = directory::row(&recorded, &Event::read(&recorded, &[]).unwrap()) {
                self.index.put(&row);
                self.rows.lock().unwrap().push(row);
            }
            self.log.lock().unwrap().push(recorded);
        }
        for dial in &self.dials {
            dial.set(self.head().get());
        }
        self.head()
    }
}

#[async_trait]
impl EventFeed for Stores {
    async fn read(&self, _after: Position, _limit: usize) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    async fn read_stream(&self, kind: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        self.works()?;
        Ok(self.stream(kind, id))
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.works()?;
        Ok(Stores::head(self))
    }

    async fn changed(&self, _at_most: Duration) {}
}

#[async_trait]
impl CommandBus<Member> for Stores {
    async fn execute(
        &self,
        id: &str,
        command: MemberCommand,
        context: Context,
    ) -> Result<Executed<member::MemberEvent>, CommandError<member::MemberError>> {
        self.works()?;
        if self.log_fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("down".to_owned()).into());
        }
        let events = member::decide(&self.fold(id), command).map_err(CommandError::Refused)?;
        let position = self.append::<Member>(id, &events, &context);
        Ok(Executed { events, position })
    }
}

#[async_trait]
impl CommandBus<Customer> for Stores {
    async fn execute(
        &self,
        id: &str,
        command: CustomerCommand,
        context: Context,
    ) -> Result<Executed<customer::CustomerEvent>, CommandError<customer::CustomerError>> {
        self.works()?;
        if self.log_fails.load(Ordering::SeqCst) {
            return Err(CommandError::Contended(id.to_owned()));
        }
        let events = customer::decide(&self.fold(id), command).map_err(CommandError::Refused)?;
        let position = self.append::<Customer>(id, &events, &context);
        Ok(Executed { events, position })
    }
}

#[async_trait]
impl CommandBus<Grant> for Stores {
    async fn execute(
        &self,
        id: &str,
        command: GrantCommand,
        context: Context,
    ) -> Result<Executed<grant::GrantEvent>, CommandError<grant::GrantError>> {
        self.works()?;
        let events = grant::decide(&self.fold(id), command).map_err(CommandError::Refused)?;
        let position = self.append::<Grant>(id, &events, &context);
        Ok(Executed { events, position })
    }
}

#[async_trait]
impl CommandBus<Subscription> for Stores {
    async fn execute(
        &self,
        id: &str,
        command: SubscriptionCommand,
        context: Context,
    ) -> Result<Executed<SubscriptionEvent>, CommandError<Infallible>> {
        self.works()?;
        let events = subscription::decide(&self.fold(id), command);
        let position = self.append::<Subscription>(id, &events, &context);
        Ok(Executed { events, position })
    }
}

#[async_trait]
impl Remarks for Stores {
    async fn put(&self, remark: Remark) -> Result<(), StoreError> {
        self.works()?;
        self.remarks.lock().unwrap().push(remark);
        Ok(())
    }

    async fn get(&self, ids: &[RemarkId]) -> Result<Vec<Remark>, StoreError> {
        self.works()?;
        let remarks = self.remarks.lock().unwrap();
        Ok(remarks.iter().filter(|remark| ids.contains(&remark.id)).cloned().collect())
    }
}

#[async_trait]
impl Erasures for Stores {
    async fn erase(&self, erasure: Erasure) -> Result<Erased, StoreError> {
        self.works()?;
        self.people.lock().unwrap().retain(|held| held.member != erasure.member);
        self.remarks.lock().unwrap().retain(|held| held.member != erasure.member);
        Ok(Erased::default())
    }
}

#[async_trait]
impl People for Stores {
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError> {
        self.works()?;
        let mut people = self.people.lock().unwrap();
        let same = |held: &&PersonRecord| {
            held.member == record.member
                || (held.external_id.is_some() && held.external_id == record.external_id)
        };
        if let Some(held) = people.iter().find(same) {
            return Ok(PersonStored::Existing(held.clone()));
        }
        if let Some(held) = people.iter().find(|held| held.email.is_some() && held.email == record.email) {
            return Ok(PersonStored::EmailTaken(held.member.clone()));
        }
        people.push(record);
        people.sort_by(|a, b| a.member.cmp(&b.member));
        Ok(PersonStored::Created)
    }

    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError> {
        self.works()?;
        Ok(self.people.lock().unwrap().iter().find(|held| held.member == *member).cloned())
    }

    async fn list(&self, after: Option<&MemberId>, limit: usize) -> Result<Vec<PersonRecord>, StoreError> {
        let people = self.people.lock().unwrap();
        let later = people.iter().filter(|held| after.is_none_or(|after| held.member > *after));
        Ok(later.take(limit).cloned().collect())
    }

    async fn find(
        &self,
        key: PersonKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        let begins = |held: &&PersonRecord| match key {
            PersonKey::Email => held
                .email
                .as_ref()
                .is_some_and(|held| held.to_lowercase().starts_with(&prefix.to_lowercase())),
            PersonKey::ExternalId => held.external_id.as_ref().is_some_and(|held| held.starts_with(prefix)),
        };
        Ok(self.people.lock().unwrap().iter().filter(begins).take(limit).cloned().collect())
    }
}

#[async_trait]
impl Payers for Stores {
    async fn tell(&self, told: PayerTold) -> Result<(), StoreError> {
        let PayerTold { customer, name, email, .. } = told;
        self.payers.lock().unwrap().push(PayerRecord { customer, name, email });
        Ok(())
    }

    async fn get(&self, customers: &[CustomerId]) -> Result<Vec<PayerRecord>, StoreError> {
        self.works()?;
        let payers = self.payers.lock().unwrap();
        Ok(payers.iter().filter(|held| customers.contains(&held.customer)).cloned().collect())
    }

    async fn find(&self, key: PayerKey, text: &str, limit: usize) -> Result<Vec<PayerRecord>, StoreError> {
        let begins = |held: &&PayerRecord| match key {
            PayerKey::Id => held.customer.as_str().starts_with(text),
            PayerKey::Email => held.email.as_ref().is_some_and(|held| held.starts_with(text)),
            PayerKey::Name => held.name.as_ref().is_some_and(|held| held.starts_with(text)),
        };
        Ok(self.payers.lock().unwrap().iter().filter(begins).take(limit).cloned().collect())
    }

    async fn payments(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let log = self.log.lock().unwrap();
        let of_payments = log.iter().filter(|event| event.aggregate_type == Payment::TYPE);
        let ids: BTreeSet<&str> = of_payments.map(|event| event.aggregate_id.as_str()).collect();
        Ok(ids.into_iter().filter(|id| id.starts_with(prefix)).take(limit).map(str::to_owned).collect())
    }
}

fn fits(held: &DeliveryRecord, of: &DeliverySelection) -> bool {
    of.outcome.is_none_or(|outcome| held.outcome == outcome)
        && of.reason.as_ref().is_none_or(|reason| held.reason.as_ref() == Some(reason))
        && of.event_type.as_ref().is_none_or(|event_type| held.event_type == *event_type)
        && of.customer.as_ref().is_none_or(|customer| held.customer.as_ref() == Some(customer))
        && of.received_from.is_none_or(|from| held.received_at >= from)
        && of.received_until.is_none_or(|until| held.received_at < until)
}

#[async_trait]
impl IdempotencyStore for Stores {
    async fn begin(
        &self,
        command: &KeyedCommand,
        now: DateTime<Utc>,
        _lease: Duration,
        _keep: Duration,
    ) -> Result<Begun, StoreError> {
        if self.forgetful.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("as told".to_owned()));
        }
        let mut kept = self.kept.lock().unwrap();
        let Some((fingerprint, held)) = kept.get(&command.id) else {
            kept.insert(command.id, (command.fingerprint, Begun::Running));
            return Ok(Begun::Mine(Attempt { number: 1, first_begun_at: now }));
        };
        Ok(if *fingerprint == command.fingerprint { held.clone() } else { Begun::Different })
    }

    async fn finish(
        &self,
        id: &[u8; 32],
        _attempt: Attempt,
        answer: KeptAnswer,
        _until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        if let Some((_, held)) = self.kept.lock().unwrap().get_mut(id) {
            *held = Begun::Finished(answer);
        }
        Ok(true)
    }

    async fn release(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        self.withdraw(id, attempt).await
    }

    async fn withdraw(&self, id: &[u8; 32], _attempt: Attempt) -> Result<(), StoreError> {
        self.kept.lock().unwrap().remove(id);
        Ok(())
    }

    async fn prune(&self, _now: DateTime<Utc>, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Deliveries for Stores {
    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRecord>, StoreError> {
        let deliveries = self.deliveries.lock().unwrap();
        let start =
            filter.before.map_or(0, |id| deliveries.iter().position(|held| held.id == id).unwrap() + 1);
        let wanted = |held: &&DeliveryRecord| fits(held, &filter.of);
        Ok(deliveries.iter().skip(start).filter(wanted).take(filter.limit).cloned().collect())
    }

    async fn get(&self, id: &str) -> Result<Option<(DeliveryRecord, Vec<DeliveryStep>)>, StoreError> {
        let held = self.deliveries.lock().unwrap().iter().find(|held| held.id == id).cloned();
        let step = |held: &DeliveryRecord| DeliveryStep {
            at: held.received_at,
            step: "parked".to_owned(),
            actor: None,
            reason: held.reason.clone(),
            detail: held.detail.clone(),
        };
        Ok(held.map(|held| (held.clone(), vec![step(&held)])))
    }

    async fn find(
        &self,
        key: ToldKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, DeliveryRecord)>, StoreError> {
        let deliveries = self.deliveries.lock().unwrap();
        let begins = |held: &&DeliveryRecord| key == ToldKey::Event && held.id.starts_with(prefix);
        Ok(deliveries.iter().filter(begins).map(|held| (held.id.clone(), held.clone())).take(limit).collect())
    }

    async fn read_body(&self, id: &str, reader: &Actor) -> Result<Option<Vec<u8>>, StoreError> {
        self.told.lock().unwrap().push(format!("{reader} reads {id}"));
        let known = self.deliveries.lock().unwrap().iter().any(|held| held.id == id);
        Ok(known.then(|| format!("{{\"id\":\"{id}\"}}").into_bytes()))
    }

    async fn rehearse(&self, id: &str) -> Result<Option<DeliveryRehearsal>, ResyncError> {
        let known = self.deliveries.lock().unwrap().iter().any(|held| held.id == id);
        Ok(known.then(|| DeliveryRehearsal {
            outcome: DeliveryOutcome::Applied,
            reason: "applied".to_owned(),
            detail: "MemberLinked".to_owned(),
            events: vec![("MemberLinked".to_owned(), "cus_1 linked to mem_ada".to_owned())],
            member: Some("mem_ada".into()),
        }))
    }

    async fn replay(&self, id: &str, actor: Actor, why: &str) -> Result<bool, StoreError> {
        self.told.lock().unwrap().push(format!("{actor} replays {id}: {why}"));
        Ok(self.deliveries.lock().unwrap().iter().any(|held| held.id == id))
    }

    async fn replay_some(
        &self,
        of: DeliverySelection,
        after: Option<String>,
        at_most: usize,
        actor: Actor,
        why: &str,
    ) -> Result<Replayed, StoreError> {
        self.told.lock().unwrap().push(format!("{actor} replays: {why}"));
        let deliveries = self.deliveries.lock().unwrap();
        let end =
            after.map_or(deliveries.len(), |id| deliveries.iter().position(|held| held.id == id).unwrap());
        let fitting: Vec<_> = deliveries[..end].iter().rev().filter(|held| fits(held, &of)).collect();
        let taken = fitting.len().min(at_most);
        Ok(Replayed {
            count: taken as u64,
            left: (fitting.len() - taken) as u64,
            last: fitting[..taken].last().map(|held| held.id.clone()),
        })
    }

    async fn customer_linked(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        self.told.lock().unwrap().push(format!("linked {customer}"));
        Ok(1)
    }

    fn member_signed_in(&self, _member: &MemberId) {}

    async fn member_registered(&self, member: &MemberId) -> Result<u64, StoreError> {
        self.told.lock().unwrap().push(format!("registered {member}"));
        Ok(1)
    }
}

#[async_trait]
impl Rebuilds for Stores {
    async fn start(&self) -> Result<Option<RebuildReport>, StoreError> {
        self.works()?;
        let begun = RebuildReport {
            state: RebuildState::Running,
            position: Position::new(self.head().get() / 2),
            head: self.head(),
            started_at: DateTime::UNIX_EPOCH,
            finished_at: None,
            detail: None,
        };
        let mut rebuild = self.rebuild.lock().unwrap();
        Ok(rebuild.is_none().then(|| rebuild.insert(begun).clone()))
    }

    fn last(&self) -> Option<RebuildReport> {
        self.rebuild.lock().unwrap().clone()
    }
}

#[async_trait]
impl Resync for Stores {
    async fn scope(&self, member: &MemberId) -> Result<Option<ResyncScope>, ResyncError> {
        match member.as_str() {
            "mem_keyless" => Err(BillingError::NotConfigured.into()),
            "mem_ada" | "mem_down" | "mem_refused" => {
                let customers = vec![member.as_str().replace("mem_", "cus_").into()];
                Ok(Some(ResyncScope { customers, all_compared_at: None }))
            }
            _ => Ok(None),
        }
    }

    async fn resync(&self, customers: &[CustomerId], _request: &str) -> Result<ResyncReport, ResyncError> {
        let difference = |what: &str, known: &str, found: &str| Difference {
            what: what.to_owned(),
            known: Some(known.to_owned()),
            found: Some(found.to_owned()),
        };
        match customers[0].as_str() {
            "cus_ada" => Ok(ResyncReport {
                compared: 2,
                differing: 1,
                repaired: 1,
                left: 0,
                findings: vec![ResyncFinding {
                    subscription: "sub_ada".into(),
                    differences: vec![difference("status", "active", "past_due")],
                    cause: DriftCause::NotUsed { delivery: "evt_9".into(), outcome: "failed".to_owned() },
                    repaired: true,
                }],
            }),
            "cus_down" => Err(BillingError::Unavailable("it does not answer in time".to_owned()).into()),
            _ => Err(BillingError::Refused {
                code: "api_key_expired".to_owned(),
                message: "Expired API Key provided".to_owned(),
            }
            .into()),
        }
    }
}

/// Nothing is sold by these stand-ins.
#[async_trait]
impl Purchases for Stores {
    async fn checkout(&self, _member: &MemberId, _session: &str) -> Result<Purchase, ResyncError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.provider_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Err(BillingError::NotConfigured.into())
    }

    async fn subscription(&self, _id: &SubscriptionId, _request: &str) -> Result<(), ResyncError> {
        Err(BillingError::NotConfigured.into())
    }

    async fn wish_begun(&self, _member: &MemberId, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn wish_ended(&self, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn payer(&self, _payer: &CustomerId, _request: &str) -> Result<(), ResyncError> {
        Err(BillingError::NotConfigured.into())
    }
}

#[async_trait]
impl Probe for Stores {
    async fn store(&self) -> Result<(), StoreError> {
        self.works()
    }

    async fn deliveries_waiting(&self) -> Result<u64, StoreError> {
        self.works().map(|()| 3)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn worker_alive(&self) -> bool {
        !self.worker_gone.load(Ordering::SeqCst)
    }

    async fn metrics(&self) -> String {
        "membership_store_up 1\n".to_owned()
    }
}

#[async_trait]
impl ViewStore for Stores {
    async fn checkpoint(&self, _view: &str) -> Result<Checkpoint, StoreError> {
        Ok(Checkpoint { position: Stores::head(self), ..Checkpoint::default() })
    }

    async fn state(&self, view: &str) -> Result<ViewState, StoreError> {
        Ok(ViewState { checkpoint: self.checkpoint(view).await?, ..ViewState::default() })
    }

    async fn save(&self, _: &str, from: Checkpoint, _: Change) -> Result<Checkpoint, SaveError> {
        Ok(from)
    }

    async fn begin(&self, _view: &str) -> Result<Checkpoint, StoreError> {
        Ok(Checkpoint::default())
    }

    async fn promote(&self, _: &str, _: u64, _: &str) -> Result<Promotion, StoreError> {
        Ok(Promotion::Gone)
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn customers_of(&self, _view: &str, wanted: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        let hers = |row: &DirectoryRow| match row {
            DirectoryRow::Customer { customer, member, .. } if member == wanted => Some(customer.clone()),
            _ => None,
        };
        Ok(self.rows.lock().unwrap().iter().filter_map(hers).collect())
    }

    async fn customers_ever_of(&self, view: &str, wanted: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        self.customers_of(view, wanted).await
    }

    async fn grants_of(&self, _view: &str, wanted: &MemberId) -> Result<Vec<GrantId>, StoreError> {
        let hers = |row: &DirectoryRow| match row {
            DirectoryRow::Grant { grant, given, .. } if given.member == *wanted => Some(grant.clone()),
            _ => None,
        };
        Ok(self.rows.lock().unwrap().iter().filter_map(hers).collect())
    }

    async fn find(
        &self,
        _view: &str,
        kind: IdKind,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, MemberId)>, StoreError> {
        self.works()?;
        let found = |row: &DirectoryRow| {
            let (of, id, member) = match row {
                DirectoryRow::Member { member, .. } => (IdKind::Member, member.to_string(), member),
                DirectoryRow::Customer { customer, member, .. } => {
                    (IdKind::Customer, customer.to_string(), member)
                }
                _ => return None,
            };
            (of == kind && id.starts_with(prefix)).then(|| (id, member.clone()))
        };
        Ok(self.rows.lock().unwrap().iter().filter_map(found).take(limit).collect())
    }

    async fn subscriptions_of(
        &self,
        _view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        let theirs = |row: &DirectoryRow| match row {
            DirectoryRow::Subscription { subscription, standing, .. } => {
                customers.contains(&standing.terms.customer).then(|| subscription.clone())
            }
            _ => None,
        };
        let mut ids: Vec<_> = self.rows.lock().unwrap().iter().filter_map(theirs).collect();
        ids.dedup();
        Ok(ids)
    }

    async fn registered_at(
        &self,
        _view: &str,
        wanted: &MemberId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.works()?;
        let hers = |row: &DirectoryRow| match row {
            DirectoryRow::Member { member, registered_at, .. } if member == wanted => Some(*registered_at),
            _ => None,
        };
        Ok(self.rows.lock().unwrap().iter().find_map(hers))
    }

    async fn dump(&self, _view: &str) -> Result<DirectoryDump, StoreError> {
        Ok(DirectoryDump::default())
    }
}
