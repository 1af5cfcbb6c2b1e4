//! What has happened before a test begins.

use chrono::{DateTime, Utc};
use domain::catalog::{
    self, CATALOG_ID, Catalog, CatalogCommand, Content, Course, Plan, Playback, Policy, Roadmap, Video,
};
use domain::customer::{self, Customer, CustomerCommand, LinkedThrough};
use domain::member::{self, Member, MemberCommand};
use domain::metadata::{Actor, Context};
use domain::subscription::{Item, Kind, Observation, Status, Subscription, SubscriptionCommand, Terms};

use super::stores::Stores;
use crate::state::{DeliveryOrigin, DeliveryOutcome, DeliveryRecord};

pub(super) fn moment(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

impl Stores {
    pub(super) fn sell(&self) {
        let plan = |id: &str, rank| Plan {
            id: id.into(),
            name: id[..1].to_uppercase() + &id[1..],
            rank,
            prices: vec![format!("price_{id}").into()],
            products: Vec::new(),
            trial_days: None,
        };
        let video = |id: &str, free| Video {
            id: id.into(),
            name: id.to_owned(),
            free,
            course: "event-sourcing".into(),
            place: 0,
            playback: Some(Playback::Vimeo { id: "76979871".to_owned() }),
        };
        let content = Content {
            policy: Policy::default(),
            plans: vec![plan("basic", 1), plan("pro", 2)],
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
            videos: vec![video("projections", false), video("welcome", true)],
        };
        let events = catalog::decide(&Catalog::default(), CatalogCommand::Apply(Box::new(content))).unwrap();
        let now = moment("2025-01-01T00:00:00Z");
        self.append::<Catalog>(CATALOG_ID, &events, &Context::asked_by(Actor::system(), "apply", now));
        self.index.set_catalog(self.fold(CATALOG_ID));
    }

    /// A member with a payer who has paid for `plan` since `since`.
    pub(super) fn subscribe(&self, member: &str, plan: &str, since: &str) {
        let at = moment(since);
        let name = member.strip_prefix("mem_").unwrap();
        let asked = Context::asked_by(Actor::operator(), "setup", at);
        self.append::<Member>(
            member,
            &member::decide(&Member::default(), MemberCommand::Register).unwrap(),
            &asked,
        );
        let (customer, subscription) = (format!("cus_{name}"), format!("sub_{name}"));
        let link = CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request };
        self.append::<Customer>(&customer, &customer::decide(&Customer::default(), link).unwrap(), &asked);
        let source = format!("evt_{name}");
        let terms = terms(&customer, plan);
        let seen = Observation::new(source.as_str().into(), at, Kind::Created, terms);
        let told = Context::told_by("stripe", &source.as_str().into(), at);
        let observe = SubscriptionCommand::Observe(Box::new(seen));
        let events = domain::subscription::decide(&Subscription::default(), observe);
        self.append::<Subscription>(&subscription, &events, &told);
    }
}

fn terms(customer: &str, plan: &str) -> Terms {
    let item = Item { price: Some(format!("price_{plan}").into()), product: None, period_end: None };
    Terms { items: vec![item], plans: vec![plan.into()], ..Terms::new(customer.into(), Status::Active) }
}

pub(super) fn delivery(number: u32, outcome: DeliveryOutcome) -> DeliveryRecord {
    DeliveryRecord {
        id: format!("evt_{number}"),
        event_type: "customer.subscription.updated".to_owned(),
        created: Some(moment("2026-11-01T00:00:00Z")),
        customer: Some("cus_ada".to_owned()),
        received_at: moment("2026-11-01T00:00:01Z"),
        origin: DeliveryOrigin::Webhook,
        times_received: 1,
        outcome,
        reason: (outcome == DeliveryOutcome::Parked).then(|| "unknown_customer".to_owned()),
        detail: None,
        attempts: 1,
        settled_at: None,
        erased_at: None,
    }
}
