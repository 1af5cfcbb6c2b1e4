//! The service itself, on a store, without its listener: inbox, worker, log and read models under a clock that is moved.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::clock::MovableClock;
use domain::customer::{CustomerCommand, CustomerError, LinkedThrough};
use domain::grant::GrantCommand;
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::CommandError;
use projections::verify::verify;
use serde_json::Value;
use server::app::App;
use webhook_ingest::inbox::Origin;
use webhook_ingest::routes::delivery;

use super::system::{Answer, System, answer_then, catalog_of, live_answer};

/// The service and its clock.
pub(super) struct Service {
    pub(super) app: App,
    pub(super) clock: Arc<MovableClock>,
}

impl Service {
    pub(super) async fn on(url: &str) -> Self {
        let clock = Arc::new(MovableClock::standing_at(DateTime::UNIX_EPOCH));
        let storage = storage::open(url, storage::Access::Write, clock.clone()).await.unwrap();
        Self { app: App::start(storage, clock.clone(), Some(false)), clock }
    }

    async fn carry_out(&self) {
        self.app.worker.drain().await.unwrap();
        self.app.caught_up().await.unwrap();
    }
}

fn asked_at(now: DateTime<Utc>) -> Context {
    Context::asked_by(Actor::system(), &format!("req_{}", now.timestamp()), now)
}

impl System for Service {
    async fn register(&mut self, member: &str, now: DateTime<Utc>) {
        self.clock.set(now);
        let register = self.app.storage.members.execute(member, MemberCommand::Register, asked_at(now));
        register.await.unwrap();
        self.carry_out().await;
    }

    async fn link(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool {
        self.clock.set(now);
        let link = CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request };
        match self.app.storage.customers.execute(customer, link, asked_at(now)).await {
            Ok(_) => {
                self.app.worker.redrive_of(&customer.into()).await.unwrap();
                self.carry_out().await;
                true
            }
            Err(CommandError::Refused(CustomerError::LinkedElsewhere(_))) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn unlink(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool {
        self.clock.set(now);
        let unlink = CustomerCommand::Unlink { member: member.into(), remark: "rmk_1".into() };
        match self.app.storage.customers.execute(customer, unlink, asked_at(now)).await {
            Ok(_) => {
                self.carry_out().await;
                true
            }
            Err(CommandError::Refused(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn grant(&mut self, id: &str, command: GrantCommand, now: DateTime<Utc>) -> bool {
        self.clock.set(now);
        match self.app.storage.grants.execute(id, command, asked_at(now)).await {
            Ok(_) => {
                self.carry_out().await;
                true
            }
            Err(CommandError::Refused(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn apply(&mut self, file: &str, now: DateTime<Utc>) {
        self.clock.set(now);
        let command = format!("apply {now}");
        self.app.apply_catalog(catalog_of(file), Actor::system(), &command).await.unwrap();
        self.carry_out().await;
    }

    async fn deliver(&mut self, events: &[Value], now: DateTime<Utc>) {
        self.clock.set(now);
        for event in events {
            self.app
                .storage
                .inbox
                .store(delivery(event.to_string().into_bytes(), now, Origin::Webhook))
                .await
                .unwrap();
        }
        self.carry_out().await;
    }

    fn ask(&self, member: &str, video: &str, at: DateTime<Utc>) -> Option<Answer> {
        live_answer(&self.app.index, member, video, at)
    }

    async fn ask_then(&self, member: &str, video: &str, moment: DateTime<Utc>) -> Option<Answer> {
        answer_then(&self.app.past, member, video, moment).await
    }

    async fn verify(&self, _members: &[String], _videos: &[&str], _now: DateTime<Utc>) {
        let storage = &self.app.storage;
        let verified = verify(storage.feed.as_ref(), storage.views.as_ref(), |_| {}).await.unwrap();
        assert!(verified.is_equal(), "{verified:?}");
    }
}
