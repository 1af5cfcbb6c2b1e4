//! What staff said about whose a payer is stands against what Stripe's metadata names.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::MovableClock;
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::grant::GrantCommand;
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use projections::search::{FoundBy, Search, understand};
use projections::verify::verify;
use projections::view_store::IdKind;
use serde_json::{Value, json};
use server::app::App;
use server::catalog_file;
use tests::stripe::{BASIC, CATALOG, Price, Story, changed, events};
use webhook_ingest::inbox::Origin;
use webhook_ingest::routes::delivery;

use crate::store::Place;

struct Service {
    app: App,
    search: Search,
    place: Place,
}

fn noon() -> DateTime<Utc> {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

fn context() -> Context {
    Context::asked_by(Actor::operator(), "req_1", noon())
}

impl Service {
    async fn on(place: Place) -> Self {
        let clock = Arc::new(MovableClock::standing_at(noon()));
        let storage = storage::open(&place.url(), storage::Access::Write, clock.clone()).await.unwrap();
        let (feed, views) = (storage.feed.clone(), storage.views.clone());
        let search = Search::new(feed, views, storage.people.clone(), storage.payers.clone());
        let service = Self { app: App::start(storage, clock, Some(false)), search, place };
        let content = catalog_file::parse(CATALOG).unwrap_or_else(|_| panic!("{CATALOG}"));
        service.app.apply_catalog(content, Actor::system(), "apply").await.unwrap();
        for member in ["mem_ada", "mem_bob"] {
            let register = MemberCommand::Register;
            service.app.storage.members.execute(member, register, context()).await.unwrap();
        }
        service
    }

    async fn tell(&self, command: CustomerCommand) {
        self.app.storage.customers.execute("cus_demo_ann", command, context()).await.unwrap();
        self.app.worker.redrive_of(&"cus_demo_ann".into()).await.unwrap();
        self.carry_out().await;
    }

    async fn deliver(&self, events: &[Value]) {
        for event in events {
            let delivery = delivery(event.to_string().into_bytes(), noon(), Origin::Webhook);
            self.app.storage.inbox.store(delivery).await.unwrap();
        }
        self.carry_out().await;
    }

    async fn carry_out(&self) {
        self.app.worker.drain().await.unwrap();
        self.app.caught_up().await.unwrap();
    }

    fn reasons(&self) -> [&'static str; 2] {
        ["mem_ada", "mem_bob"].map(|member| {
            self.app.index.check(&member.into(), BASIC, noon()).unwrap().decision.reason.as_str()
        })
    }

    async fn outcome_of(&self, event: &Value) -> (String, String) {
        let id = event["id"].as_str().unwrap();
        let held = self.app.storage.inbox.get(id).await.unwrap().unwrap();
        (held.outcome.to_string(), held.why.map(|why| why.code).unwrap_or_default())
    }

    async fn find(&self, text: &str) -> Vec<(String, FoundBy)> {
        let found = self.search.find(&understand(text).unwrap(), &[], 9).await.unwrap();
        found.members.into_iter().map(|found| (found.member.to_string(), found.by)).collect()
    }

    async fn end(self) {
        let storage = &self.app.storage;
        let verified = verify(storage.feed.as_ref(), storage.views.as_ref(), |_| {}).await.unwrap();
        assert!(verified.is_equal(), "{verified:?}");
        self.app.shutdown().await;
        drop(self.place);
    }
}

async fn places() -> [Place; 2] {
    [Place::sqlite(), Place::postgres().await]
}

/// A subscription that names Ada in its metadata: its beginning, and then a renewal, as Stripe tells them.
fn named() -> (Vec<Value>, Vec<Value>) {
    let mut story = Story::new("ann");
    let began = noon() - TimeDelta::days(40);
    story.create(Price::BasicMonth, "active", began).paid(began).renew(began + TimeDelta::days(31));
    let names = |event: Value| {
        let about = event["data"]["object"]["object"] == "subscription";
        if about { changed(event, &json!({ "metadata": { "member_id": "mem_ada" } })) } else { event }
    };
    let mut told: Vec<Value> = events(story).into_iter().map(names).collect();
    let later = told.split_off(2);
    (told, later)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_names_links_a_payer_and_never_undoes_that_staff_unlinked_her() {
    for place in places().await {
        let service = Service::on(place).await;
        let (first, later) = named();
        service.deliver(&first).await;
        assert_eq!(service.reasons(), ["subscription", "no_membership"], "what is named links");
        let unlink = CustomerCommand::Unlink { member: "mem_ada".into(), remark: "rmk_1".into() };
        service.tell(unlink).await;
        assert_eq!(service.reasons(), ["no_membership", "no_membership"]);
        service.deliver(&later).await;
        assert_eq!(service.reasons(), ["no_membership", "no_membership"], "what is named now links nobody");
        let renewed = &later[0];
        assert_eq!(service.outcome_of(renewed).await, ("parked".to_owned(), "unlinked".to_owned()));
        assert_eq!(service.find("sub_demo_ann").await, []);

        let through = LinkedThrough::Request;
        service.tell(CustomerCommand::Link { member: "mem_bob".into(), through }).await;
        assert_eq!(service.reasons(), ["no_membership", "subscription"]);
        assert_eq!(
            service.outcome_of(renewed).await.0,
            "applied",
            "what it names contradicts nothing any more"
        );
        for (text, kind) in [("cus_demo_a", IdKind::Customer), ("sub_demo_ann", IdKind::Subscription)] {
            assert_eq!(service.find(text).await, [("mem_bob".to_owned(), FoundBy::Id(kind))]);
        }
        let invoice = later.iter().find(|event| event["type"] == "invoice.paid").unwrap();
        let paid = invoice["data"]["object"]["id"].as_str().unwrap();
        assert_eq!(service.find(paid).await, [("mem_bob".to_owned(), FoundBy::Payment)]);
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_linked_on_purpose_again_has_what_her_payer_pays_for() {
    for place in places().await {
        let service = Service::on(place).await;
        let (first, later) = named();
        service.deliver(&first).await;
        let unlink = CustomerCommand::Unlink { member: "mem_ada".into(), remark: "rmk_1".into() };
        service.tell(unlink).await;
        service.deliver(&later).await;
        let through = LinkedThrough::Request;
        service.tell(CustomerCommand::Link { member: "mem_ada".into(), through }).await;
        assert_eq!(service.reasons(), ["subscription", "no_membership"]);
        assert_eq!(service.outcome_of(&later[0]).await.0, "applied");
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_stays_when_her_payer_is_unlinked_and_ends_by_itself() {
    for place in places().await {
        let service = Service::on(place).await;
        service.deliver(&named().0).await;
        let (plan, remark) = ("basic".into(), "rmk_2".into());
        let end = noon() + TimeDelta::days(3);
        let (member, until) = ("mem_ada".into(), Some(end));
        let give = GrantCommand::Give { member, plan, from: noon(), until, remark };
        service.app.storage.grants.execute("grt_1", give, context()).await.unwrap();
        service.carry_out().await;
        assert_eq!(service.reasons()[0], "subscription", "what is paid for has no end");
        let unlink = CustomerCommand::Unlink { member: "mem_ada".into(), remark: "rmk_1".into() };
        service.tell(unlink).await;
        assert_eq!(service.reasons()[0], "grant");
        assert_eq!(service.find("grt_").await, [("mem_ada".to_owned(), FoundBy::Id(IdKind::Grant))]);
        let then = service.app.index.check(&"mem_ada".into(), BASIC, end).unwrap().decision;
        assert_eq!(then.reason.as_str(), "ended");
        service.end().await;
    }
}
