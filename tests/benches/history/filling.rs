//! Fills a store with members' lives, through the same commands that webhooks end in.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Days, Months, SubsecRound, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use domain::catalog::{CATALOG_ID, CatalogCommand, Content, Course, Plan, Policy, Roadmap, Video};
use domain::clock::{Clock, MovableClock, SystemClock};
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::events::upcasters;
use domain::ids::{CustomerId, MemberId, SourceEventId, SubscriptionId};
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::{CommandBus, PersonRecord};
use domain::subscription::{
    Anchors, Item, Kind, Now, Observation, PaymentAttempt, Standing, Status, Subscription,
    SubscriptionCommand, SubscriptionEvent, Terms, evolve,
};
use serde::{Deserialize, Serialize};
use storage::Storage;
use tokio::task::JoinSet;
use webhook_ingest::inbox::{NewDelivery, Origin, Outcome};

/// How long the ones before whom nobody was a member have been one, which is 199 events.
const MONTHS: u32 = 98;
pub(crate) const VIDEO: &str = "projections";
const BASIC: &str = "price_basic_month";
const PRO: &str = "price_pro_month";
/// Of so many members, the deliveries of one are kept; she is asked about.
pub(crate) const DELIVERIES_OF: u64 = 4;
/// As large as a webhook is as a rule.
const BODY: usize = 2_048;
/// How much one member has who has far more than anybody.
const BUSY: [u64; 3] = [200, 2_000, 20_000];

/// Members with the same number of events.
pub(crate) struct Group {
    pub(crate) name: String,
    /// The first member's number.
    pub(crate) from: u64,
    pub(crate) count: u64,
    /// Paid months.
    months: u32,
    /// How often one of them is asked about.
    pub(crate) asked: u64,
}

/// Everybody. Two events a month, one of them the renewal and one the payment, and three more to begin with.
pub(crate) fn groups(events: u64) -> [Group; 3] {
    let usual = events / 19;
    let group = |from, count, months, asked| Group {
        name: format!("{} events", 2 * months + 3),
        from,
        count,
        months,
        asked,
    };
    [group(0, usual - 250, 8, 1_000), group(usual - 250, 200, 14, 1_000), group(usual - 50, 50, MONTHS, 200)]
}

/// Those who have far more events than anybody, each alone.
pub(crate) fn busy(events: u64) -> [Group; 3] {
    let first = (events / 19).next_multiple_of(DELIVERIES_OF);
    let mut place = 0;
    BUSY.map(|events| {
        place += 1;
        let asked = (20_000 / events).clamp(5, 100);
        let from = first + place * DELIVERIES_OF;
        Group { name: format!("{events} events"), from, count: 1, months: 0, asked }
    })
}

/// Whether her deliveries are kept as well: one in four of everybody, which makes the inbox large enough.
fn has_deliveries(number: u64) -> bool {
    number.is_multiple_of(DELIVERIES_OF)
}

/// The end of all those lives: the program that is asked lives by the clock of the machine.
pub(crate) fn now() -> DateTime<Utc> {
    static NOW: LazyLock<DateTime<Utc>> =
        LazyLock::new(|| SystemClock.now().trunc_subsecs(0) - TimeDelta::hours(1));
    *NOW
}

pub(crate) fn member(number: u64) -> MemberId {
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&number.to_be_bytes());
    MemberId::generate(now(), bits)
}

fn customer(number: u64) -> CustomerId {
    format!("cus_{number:014}").into()
}

/// The store that is filled.
pub(crate) struct Filling {
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<MovableClock>,
    pub(crate) deliveries: AtomicU64,
}

/// Writes what happened to a subscription as it is, many events at once: to decide each on all before it takes hours.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Dictated;

impl Aggregate for Dictated {
    const TYPE: &'static str = Subscription::TYPE;
    type Command = Vec<SubscriptionEvent>;
    type Event = SubscriptionEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        events: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _event: Self::Event) {}
}

impl Filling {
    async fn execute<A>(&self, bus: &Arc<dyn CommandBus<A>>, id: &str, command: A::Command, context: Context)
    where
        A: Aggregate,
    {
        if let Err(why) = bus.execute(id, command, context).await {
            panic!("{id} was not told: {why}");
        }
    }

    fn asked(&self, what: &str, number: u64) -> Context {
        Context::asked_by(Actor::system(), &format!("{what}-{number}"), self.clock.now())
    }

    async fn catalog(&self) {
        let named = |id: &str, name: &str, rank, price: &str| Plan {
            id: id.into(),
            name: name.to_owned(),
            rank,
            prices: vec![price.into()],
            products: Vec::new(),
            trial_days: None,
        };
        let content = Content {
            policy: Policy::default(),
            plans: vec![named("basic", "Basic", 1, BASIC), named("pro", "Pro", 2, PRO)],
            roadmaps: vec![Roadmap {
                id: "advanced".into(),
                name: "Advanced".to_owned(),
                plans: vec!["pro".into()],
                place: 0,
            }],
            courses: vec![Course {
                id: "event-sourcing".into(),
                name: "Event sourcing".to_owned(),
                free: false,
                roadmap: "advanced".into(),
                place: 0,
            }],
            videos: (0..20)
                .map(|place| Video {
                    id: if place == 0 { VIDEO.into() } else { format!("video-{place}").into() },
                    name: format!("Video {place}"),
                    free: false,
                    course: "event-sourcing".into(),
                    place,
                    playback: None,
                })
                .collect(),
        };
        let command = CatalogCommand::Apply(Box::new(content));
        self.execute(&self.storage.catalog, CATALOG_ID, command, self.asked("catalog", 0)).await;
    }

    /// She signs up and buys.
    async fn begin(&self, number: u64) {
        self.sign_up(number).await;
        self.renew(number, 0).await;
    }

    async fn sign_up(&self, number: u64) {
        let member = member(number);
        let email = Some(format!("member{number}@example.com"));
        let record =
            PersonRecord { member: member.clone(), email, external_id: None, created_at: self.clock.now() };
        assert!(self.storage.people.create(record).await.is_ok(), "{member} has no record");
        let asked = self.asked("register", number);
        self.execute(&self.storage.members, member.as_str(), MemberCommand::Register, asked).await;
        let link = CustomerCommand::Link { member, through: LinkedThrough::Creation };
        let asked = self.asked("link", number);
        self.execute(&self.storage.customers, customer(number).as_str(), link, asked).await;
    }

    /// A month begins, and is paid.
    async fn renew(&self, number: u64, month: u32) {
        let at = self.clock.now() - TimeDelta::seconds(2);
        let terms = terms(number, at, at - Months::new(month));
        let kind = if month == 0 { Kind::Created } else { Kind::Changed };
        let renewed = self.delivery(number, month, "customer.subscription.updated").await;
        let seen = Observation::new(renewed, at, kind, terms);
        self.tell(number, SubscriptionCommand::Observe(Box::new(seen)), at).await;
        let paid = self.delivery(number, month, "invoice.paid").await;
        let attempt = attempt(format!("in_{number:012}{month:04}"), paid, at);
        self.tell(number, SubscriptionCommand::RecordPayment(attempt), at).await;
    }

    /// A life of so many events within a year: a subscription that is told of again and again, and paid again and again.
    async fn dictate(&self, number: u64, events: u64) {
        let begin = now() - Months::new(12);
        self.clock.set(begin);
        self.sign_up(number).await;
        let bus = self.storage.bus::<Dictated>(&Arc::from(upcasters()));
        let id = format!("sub_{number:024}");
        let step = TimeDelta::days(360) / i32::try_from(events).unwrap_or(i32::MAX);
        let (mut state, mut told) = (Subscription::default(), Vec::new());
        for place in 0..events - 2 {
            let at = (begin + step * i32::try_from(place).unwrap_or(i32::MAX)).trunc_subsecs(0);
            let source = SourceEventId::from(format!("evt_{number:012}{place:012}"));
            let event = if place % 2 == 0 {
                let kind = if place == 0 { Kind::Created } else { Kind::Changed };
                let terms = terms(number, at, begin);
                let seen = Observation::new(source, at, kind, terms);
                // Nothing but the last observation is in force while it is told in order.
                let plans = seen.terms.plans.clone();
                let anchors = Anchors { plans, ..Anchors::default() };
                let standing = Standing { terms: seen.terms.clone(), anchors };
                let now = Box::new(Now { seen, standing });
                match place {
                    0 => SubscriptionEvent::SubscriptionStarted { now },
                    _ => SubscriptionEvent::PeriodRenewed { until: at + Months::new(1), now },
                }
            } else {
                let attempt = attempt(format!("in_{number:012}{place:08}"), source, at).into();
                SubscriptionEvent::PaymentReceived { attempt, standing: state.standing(None).map(Box::new) }
            };
            evolve(&mut state, &event);
            told.push(event);
            // As many come at once as a backfill brings.
            if told.len() as u64 >= (events / 100).max(1) || place + 3 == events {
                self.clock.set(at + TimeDelta::seconds(2));
                let context = self.asked("dictated", place);
                self.execute(&bus, &id, std::mem::take(&mut told), context).await;
            }
        }
    }

    async fn tell(&self, number: u64, command: SubscriptionCommand, at: DateTime<Utc>) {
        let source = match &command {
            SubscriptionCommand::Observe(seen) => seen.source.clone(),
            SubscriptionCommand::RecordPayment(attempt) => attempt.source.clone(),
            _ => return,
        };
        let id = SubscriptionId::from(format!("sub_{number:024}"));
        let context = Context::told_by("stripe", &source, at);
        self.execute(&self.storage.subscriptions, id.as_str(), command, context).await;
    }

    /// A webhook that was carried out.
    async fn delivery(&self, number: u64, month: u32, event_type: &str) -> SourceEventId {
        let now = self.clock.now();
        let id = format!("evt_{number:012}{month:06}{:06}", event_type.len());
        if !has_deliveries(number) {
            return id.into();
        }
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let body = format!("{{\"id\":\"{id}\",\"month\":{month},\"filled\":\"{}\"}}", "x".repeat(BODY));
        let stored = self.storage.inbox.store(NewDelivery {
            id: id.clone(),
            event_type: event_type.to_owned(),
            created: Some(now - TimeDelta::seconds(2)),
            customer: Some(customer(number).to_string()),
            concerns: None,
            body: body.into_bytes(),
            received_at: now,
            origin: Origin::Webhook,
        });
        assert!(stored.await.is_ok(), "{id} was not stored");
        let settled = self.storage.inbox.settle(&id, Outcome::Applied, None, now).await;
        assert!(settled.is_ok(), "{id} was not settled");
        id.into()
    }
}

fn terms(number: u64, at: DateTime<Utc>, began: DateTime<Utc>) -> Terms {
    let price = if number.is_multiple_of(3) { PRO } else { BASIC };
    let until = at + Months::new(1);
    Terms {
        items: vec![Item { price: Some(price.into()), product: None, period_end: Some(until) }],
        plans: vec![if price == PRO { "pro" } else { "basic" }.into()],
        started_at: Some(began),
        period_end: Some(until),
        ..Terms::new(customer(number), Status::Active)
    }
}

fn attempt(invoice: String, source: SourceEventId, at: DateTime<Utc>) -> PaymentAttempt {
    PaymentAttempt {
        invoice: invoice.into(),
        source,
        at,
        amount: 1_700,
        currency: Some("eur".to_owned()),
        count: Some(1),
        next_attempt_at: None,
    }
}

/// Month after month, everybody who is a member then, many at once. Says how many members there are.
/// At most `at_once` commands wait for the store.
pub(crate) async fn fill(filling: &Arc<Filling>, groups: &[Group], busy: &[Group], at_once: usize) {
    filling.catalog().await;
    let begin = now() - Months::new(MONTHS);
    for month in 0..MONTHS {
        let mut at_work = JoinSet::new();
        for group in groups {
            let Some(lived) = (month + group.months).checked_sub(MONTHS) else { continue };
            for number in group.from..group.from + group.count {
                if number % 512 == 0 || at_work.is_empty() {
                    // All of a month within a few days, as the clock goes.
                    let days = Days::new((number * 20 / (group.from + group.count)).min(20));
                    filling.clock.set(begin + Months::new(month) + days);
                }
                while at_work.len() >= at_once {
                    at_work.join_next().await;
                }
                let filling = filling.clone();
                at_work.spawn(async move {
                    if lived == 0 { filling.begin(number).await } else { filling.renew(number, lived).await }
                });
            }
        }
        while let Some(done) = at_work.join_next().await {
            assert!(done.is_ok(), "a month of a member was not written");
        }
    }
    for (group, events) in busy.iter().zip(BUSY) {
        filling.dictate(group.from, events).await;
    }
    filling.clock.set(now());
}
