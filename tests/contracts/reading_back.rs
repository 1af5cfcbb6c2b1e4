//! Answers about the past are of one place of the log, also while it grows and on a database that an older version wrote.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::MovableClock;
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::grant::GrantCommand;
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::{EventFeed, Page, Position, Recorded, StoreError};
use projections::past::{AsOf, Past};
use projections::search::{Search, understand};
use projections::verify::verify;
use server::app::App;
use server::catalog_file;
use tests::stripe::{BASIC, CATALOG};

use crate::store::Place;

const MEMBER: &str = "mem_ada";

fn noon() -> DateTime<Utc> {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

fn context() -> Context {
    Context::asked_by(Actor::operator(), "req_1", noon())
}

async fn start(place: &Place) -> App {
    let clock = Arc::new(MovableClock::standing_at(noon()));
    let storage = storage::open(&place.url(), storage::Access::Write, clock.clone()).await.unwrap();
    App::start(storage, clock, Some(false))
}

/// A member with a payer, and the catalogue.
async fn begin(place: &Place) -> App {
    let app = start(place).await;
    let content = catalog_file::parse(CATALOG).unwrap_or_else(|_| panic!("{CATALOG}"));
    app.apply_catalog(content, Actor::system(), "apply").await.unwrap();
    app.storage.members.execute(MEMBER, MemberCommand::Register, context()).await.unwrap();
    let link = CustomerCommand::Link { member: MEMBER.into(), through: LinkedThrough::Request };
    app.storage.customers.execute("cus_1", link, context()).await.unwrap();
    app.caught_up().await.unwrap();
    app
}

async fn give(app: &App) {
    let (member, plan, remark) = (MEMBER.into(), "basic".into(), "rmk_1".into());
    let until = Some(noon() + TimeDelta::days(3));
    let give = GrantCommand::Give { member, plan, from: noon(), until, remark };
    app.storage.grants.execute("grt_1", give, context()).await.unwrap();
    app.caught_up().await.unwrap();
}

/// A log to which somebody appends just after its end was asked for.
struct GrowsOn {
    log: Arc<dyn EventFeed>,
    end: Position,
}

#[async_trait]
impl EventFeed for GrowsOn {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        self.log.read(after, limit).await
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_stream(aggregate_type, id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(self.end)
    }

    async fn changed(&self, at_most: Duration) {
        self.log.changed(at_most).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_rests_on_nothing_later_than_the_position_it_names() {
    let place = Place::sqlite();
    let app = begin(&place).await;
    let log = app.storage.feed.clone();
    let end = log.head().await.unwrap();
    give(&app).await;
    let (views, remarks) = (app.storage.views.clone(), app.storage.remarks.clone());
    let past = Past::new(Arc::new(GrowsOn { log, end }), views, remarks, app.directory_progress.clone());
    let told = past.explain(&MEMBER.into(), BASIC, AsOf::at(noon())).await.unwrap();
    assert_eq!((told.decision.reason.as_str(), told.position), ("no_membership", end));
    let as_of = AsOf { position: Some(told.position), ..AsOf::at(noon()) };
    let again = app.past.explain(&MEMBER.into(), BASIC, as_of).await.unwrap();
    assert_eq!((again.decision, again.message), (told.decision, told.message));
    let now = app.past.explain(&MEMBER.into(), BASIC, AsOf::at(noon())).await.unwrap();
    assert_eq!(now.decision.reason.as_str(), "grant");
    app.shutdown().await;
}

/// The tables as the version before grants left them, with its view.
fn as_before(place: &Place) -> String {
    let (text, number, forget) = match place {
        Place::Sqlite(_) => ("TEXT", "INTEGER", "PRAGMA user_version = 11"),
        Place::Postgres(_) => {
            ("text", "bigint", "DELETE FROM _sqlx_migrations WHERE version >= 20261122200000")
        }
    };
    format!(
        "DROP TABLE account_identities; DROP TABLE account_flows; DROP INDEX accounts_role; \
         ALTER TABLE accounts DROP COLUMN verified; ALTER TABLE accounts DROP COLUMN locked; \
         ALTER TABLE accounts DROP COLUMN locked_until; DROP TABLE directory_customers; DROP TABLE directory_grants; DROP TABLE directory_checkouts; \
         DROP TABLE payer_words; DROP TABLE payers; DROP TABLE remarks; DROP TABLE erasures; DROP TABLE erased_ids; \
         DROP INDEX inbox_erased; DROP INDEX inbox_concerns; ALTER TABLE inbox DROP COLUMN erased_at; \
         CREATE TABLE directory_customers (generation {number} NOT NULL, customer {text} NOT NULL, \
         member {text} NOT NULL, position {number} NOT NULL, PRIMARY KEY (generation, customer)); \
         CREATE INDEX directory_customers_member ON directory_customers (generation, member, customer); \
         INSERT INTO directory_customers SELECT generation, 'cus_1', 'mem_ada', position FROM projections; \
         UPDATE projections SET name = 'directory-v1'; UPDATE generations SET projection = 'directory-v1'; \
         {forget}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_the_version_before_wrote_is_read_on_with_everything_it_holds() {
    for place in [Place::sqlite(), Place::postgres().await] {
        begin(&place).await.shutdown().await;
        place.execute(&as_before(&place)).await.unwrap();
        let app = start(&place).await;
        app.caught_up().await.unwrap();
        let state = app.past.state(&MEMBER.into(), AsOf::at(noon())).await.unwrap();
        assert_eq!(state.customers.len(), 1, "{state:?}");
        let storage = &app.storage;
        let search = Search::new(
            storage.feed.clone(),
            storage.views.clone(),
            storage.people.clone(),
            storage.payers.clone(),
        );
        let found = search.find(&understand("cus_").unwrap(), &[], 9).await.unwrap();
        assert_eq!(found.members.iter().map(|found| found.member.as_str()).collect::<Vec<_>>(), [MEMBER]);
        give(&app).await;
        let live = app.index.check(&MEMBER.into(), BASIC, noon()).unwrap();
        assert_eq!(live.decision.reason.as_str(), "grant");
        let verified = verify(storage.feed.as_ref(), storage.views.as_ref(), |_| {}).await.unwrap();
        assert!(verified.is_equal(), "{verified:?}");
        app.shutdown().await;
    }
}
