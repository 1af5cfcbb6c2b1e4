//! A member's life as the log holds it, made by the rules themselves.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use domain::account::{self, Account, AccountCommand};
use domain::catalog::{self, Catalog, CatalogCommand, Content, Course, Plan, Policy, Roadmap, Video};
use domain::customer::{self, Customer, CustomerCommand, LinkedThrough};
use domain::events::{Dated, Event};
use domain::grant::{self, Grant, GrantCommand};
use domain::member::{self, Member, MemberCommand};
use domain::metadata::{Actor, Metadata};
use domain::ports::{Position, Recorded};
use domain::subscription::{
    self, Item, Kind, Observation, PaymentAttempt, Status, Subscription, SubscriptionCommand,
    SubscriptionEvent, Terms,
};

use super::super::{Chronicle, Revisions, Stream};

pub(super) const VIDEO: &str = "loops";
pub(super) const ADVANCED: &str = "projections";
const DAY: i64 = 24 * 60 * 60;

/// The moment so many days into the story.
pub(super) fn day(days: i64) -> DateTime<Utc> {
    after(days * DAY)
}

/// The moment so many seconds into the story.
pub(super) fn after(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

fn plan(id: &str, name: &str, rank: i32) -> Plan {
    Plan {
        id: id.into(),
        name: name.to_owned(),
        rank,
        prices: vec![format!("price_{id}").as_str().into()],
        products: vec![],
        trial_days: None,
    }
}

fn video(id: &str, course: &str, free: bool) -> Video {
    Video { id: id.into(), name: id.to_owned(), free, course: course.into(), place: 0, playback: None }
}

/// Basic and Pro; `loops` is in Basic, `projections` in Pro only, `welcome` free.
pub(super) fn content() -> Content {
    let roadmap = |id: &str, plans: &[&str], place| Roadmap {
        id: id.into(),
        name: id.to_owned(),
        plans: plans.iter().map(|plan| (*plan).into()).collect(),
        place,
    };
    let course = |id: &str, roadmap: &str| Course {
        id: id.into(),
        name: id.to_owned(),
        free: false,
        roadmap: roadmap.into(),
        place: 0,
    };
    Content {
        policy: Policy::default(),
        plans: vec![plan("basic", "Basic", 1), plan("pro", "Pro", 2)],
        roadmaps: vec![roadmap("start", &["basic", "pro"], 0), roadmap("deep", &["pro"], 1)],
        courses: vec![course("rust", "start"), course("events", "deep")],
        videos: vec![
            video(VIDEO, "rust", false),
            video(ADVANCED, "events", false),
            video("welcome", "rust", true),
        ],
    }
}

/// What a subscription looks like.
pub(super) fn terms(status: &str, plan: &str) -> Terms {
    Terms {
        items: vec![Item {
            price: Some(format!("price_{plan}").as_str().into()),
            product: None,
            period_end: None,
        }],
        plans: vec![plan.into()],
        started_at: Some(day(0)),
        period_end: Some(day(30)),
        ..Terms::new("cus_1".into(), Status::from(status.to_owned()))
    }
}

/// A life that goes on.
pub(super) struct Life {
    position: u64,
    own: Vec<(Recorded, Event)>,
    account: Vec<(Recorded, Event)>,
    customer: Vec<(Recorded, Event)>,
    subscription: Vec<(Recorded, Event)>,
    grant: Vec<(Recorded, Event)>,
    catalog: Vec<(Recorded, Event)>,
    state: (Member, Account, Customer, Subscription, Catalog, Grant),
}

impl Life {
    /// A member with one payer, and the catalogue.
    pub(super) fn new() -> Self {
        let mut life = Self {
            position: 0,
            own: Vec::new(),
            account: Vec::new(),
            customer: Vec::new(),
            subscription: Vec::new(),
            grant: Vec::new(),
            catalog: Vec::new(),
            state: Default::default(),
        };
        life.applies(day(-10), content());
        life.does(day(-1), MemberCommand::Register);
        life.links(day(-1));
        life
    }

    pub(super) fn applies(&mut self, at: DateTime<Utc>, content: Content) -> &mut Self {
        let command = CatalogCommand::Apply(Box::new(content));
        for event in catalog::decide(&self.state.4, command).unwrap() {
            catalog::evolve(&mut self.state.4, &event);
            let recorded = self.recorded::<Catalog>("catalog", at, &format!("apply_{at}"), &event);
            self.catalog.push((recorded, Event::Catalog(event)));
        }
        self
    }

    pub(super) fn does(&mut self, at: DateTime<Utc>, command: MemberCommand) -> &mut Self {
        for event in member::decide(&self.state.0, command).unwrap() {
            member::evolve(&mut self.state.0, &event);
            let recorded = self.recorded::<Member>("mem_ada", at, &format!("req_{at}"), &event);
            self.own.push((recorded, Event::Member("mem_ada".into(), event)));
        }
        self
    }

    pub(super) fn signs(&mut self, at: DateTime<Utc>, command: AccountCommand) -> &mut Self {
        for event in account::decide(&self.state.1, command) {
            account::evolve(&mut self.state.1, &event);
            let recorded = self.recorded::<Account>("mem_ada", at, &format!("req_{at}"), &event);
            self.account.push((recorded, Event::Account("mem_ada".into(), event)));
        }
        self
    }

    fn links(&mut self, at: DateTime<Utc>) -> &mut Self {
        let through = LinkedThrough::Request;
        self.pays(at, CustomerCommand::Link { member: "mem_ada".into(), through })
    }

    pub(super) fn pays(&mut self, at: DateTime<Utc>, command: CustomerCommand) -> &mut Self {
        for event in customer::decide(&self.state.2, command).unwrap() {
            customer::evolve(&mut self.state.2, &event);
            let recorded = self.recorded::<Customer>("cus_1", at, &format!("req_{at}"), &event);
            self.customer.push((recorded, Event::Customer("cus_1".into(), event)));
        }
        self
    }

    /// Staff gives her something, or takes it back.
    pub(super) fn gives(&mut self, at: DateTime<Utc>, command: GrantCommand) -> &mut Self {
        for event in grant::decide(&self.state.5, command).unwrap() {
            grant::evolve(&mut self.state.5, &event);
            let recorded = self.recorded::<Grant>("grt_1", at, &format!("req_{at}"), &event);
            self.grant.push((recorded, Event::Grant("grt_1".into(), event)));
        }
        self
    }

    /// Something is told of her subscription, and learned at `learned_at`.
    pub(super) fn told(
        &mut self,
        learned_at: DateTime<Utc>,
        cause: &str,
        command: SubscriptionCommand,
    ) -> &mut Self {
        for event in subscription::decide(&self.state.3, command) {
            subscription::evolve(&mut self.state.3, &event);
            let recorded = self.recorded::<Subscription>("sub_1", learned_at, cause, &event);
            self.subscription.push((recorded, Event::Subscription("sub_1".into(), event)));
        }
        self
    }

    /// Something became of her subscription, as it is.
    pub(super) fn was(&mut self, learned_at: DateTime<Utc>, cause: &str, event: SubscriptionEvent) {
        let recorded = self.recorded::<Subscription>("sub_1", learned_at, cause, &event);
        self.subscription.push((recorded, Event::Subscription("sub_1".into(), event)));
    }

    /// The subscription looked like this at `at`, and that was learned at `learned_at`.
    pub(super) fn seen(
        &mut self,
        source: &str,
        at: DateTime<Utc>,
        learned_at: DateTime<Utc>,
        terms: Terms,
    ) -> &mut Self {
        let kind = if terms.status.is_final() { Kind::Ended } else { Kind::Changed };
        let observation = Observation::new(source.into(), at, kind, terms);
        self.told(learned_at, source, SubscriptionCommand::Observe(Box::new(observation)))
    }

    /// Two seconds after it was so, as a webhook does.
    pub(super) fn soon(&mut self, source: &str, at: DateTime<Utc>, terms: Terms) -> &mut Self {
        self.seen(source, at, at + TimeDelta::seconds(2), terms)
    }

    pub(super) fn attempt(source: &str, invoice: &str, at: DateTime<Utc>) -> PaymentAttempt {
        PaymentAttempt {
            invoice: invoice.into(),
            source: source.into(),
            at,
            amount: 1_700,
            currency: Some("usd".to_owned()),
            count: Some(1),
            next_attempt_at: None,
        }
    }

    pub(super) fn paid(&mut self, source: &str, invoice: &str, at: DateTime<Utc>) -> &mut Self {
        let attempt = Self::attempt(source, invoice, at);
        self.told(at + TimeDelta::seconds(2), source, SubscriptionCommand::RecordPayment(attempt))
    }

    pub(super) fn failed(&mut self, source: &str, invoice: &str, at: DateTime<Utc>) -> &mut Self {
        let next_attempt_at = Some(at + TimeDelta::days(3));
        let attempt = PaymentAttempt { next_attempt_at, ..Self::attempt(source, invoice, at) };
        self.told(at + TimeDelta::seconds(2), source, SubscriptionCommand::RecordPaymentFailure(attempt))
    }

    fn recorded<A: Aggregate>(
        &mut self,
        id: &str,
        at: DateTime<Utc>,
        cause: &str,
        event: &A::Event,
    ) -> Recorded
    where
        A::Event: Dated,
    {
        self.position += 1;
        let provider = cause.starts_with("evt_");
        Recorded {
            position: Position::new(self.position),
            aggregate_type: A::TYPE.to_owned(),
            aggregate_id: id.to_owned(),
            sequence: self.position,
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: serde_json::to_value(event).unwrap(),
            metadata: Metadata {
                occurred_at: event.occurred_at().unwrap_or(at),
                recorded_at: at,
                actor: if provider { Actor::provider("stripe") } else { Actor::operator() },
                cause: cause.to_owned(),
                correlation_id: cause.to_owned(),
            },
            garbled: None,
        }
    }

    /// The end of the log.
    pub(super) fn position(&self) -> Position {
        Position::new(self.position)
    }

    /// Everything the log holds of her.
    pub(super) fn chronicle(&self) -> Chronicle {
        let stream = |events: &Vec<(Recorded, Event)>| Stream { events: events.clone() };
        let mut chronicle = Chronicle {
            member: "mem_ada".into(),
            registered_at: day(-1),
            position: self.position(),
            own: stream(&self.own),
            account: stream(&self.account),
            customers: vec![("cus_1".into(), stream(&self.customer))],
            subscriptions: vec![("sub_1".into(), stream(&self.subscription))],
            grants: vec![("grt_1".into(), stream(&self.grant))],
            former: Vec::new(),
            revisions: Arc::new(Revisions::new(stream(&self.catalog))),
            remarks: std::collections::BTreeMap::new(),
        };
        chronicle.former = chronicle.not_hers();
        chronicle
    }
}

/// Bought Basic, renewed, failed, in grace, and nothing came: two months.
pub(super) fn grace_that_ran_out() -> Life {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"))
        .paid("evt_2", "in_1", day(0))
        .failed("evt_3", "in_2", day(30))
        .soon("evt_4", day(30), terms("past_due", "basic"));
    life
}
