//! What tests may do to the program, told by the variable `FAILPOINTS`: `NAME=panic` kills it when it comes to that place,
//! `NAME=3*off->panic` the fourth time. The places are `fail_point!` in the crates; the ways to break it are here.

use std::path::Path;
use std::process::abort;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::grant::{Grant, GrantCommand, GrantError, GrantEvent};
use domain::ids::{CustomerId, MemberId};
use domain::metadata::{Actor, Context};
use domain::ports::{CommandBus, CommandError, Executed, StoreError};
use fail::FailScenario;
use storage::Storage;
use webhook_ingest::inbox::{
    Asked, Backlog, Delivery, DeliveryFilter, DeliveryKey, Inbox, NewDelivery, Outcome, Redrive, Redriven,
    Selection, Step, Stored, Why,
};

/// How long a delivery is only promised while [`ACKNOWLEDGE_FIRST`] is on.
const PROMISED: Duration = Duration::from_millis(100);
/// Deliveries are acknowledged before they are stored.
const ACKNOWLEDGE_FIRST: &str = "sabotage::acknowledge_first";
/// Deliveries are marked as carried out before they are.
const SETTLE_FIRST: &str = "sabotage::settle_first";

/// Grants are given whether or not their member was erased meanwhile.
const TELL_THE_ERASED: &str = "sabotage::tell_the_erased";

/// Grants wait, decided on and not told, until this file is there.
const GIVE_LATE: &str = "sabotage::give_late";
const LET_GO: &str = "let-go";

/// Reads what to do, once, at the start.
pub(crate) fn arm() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let told = panic.payload_as_str().unwrap_or_default();
        // At once, as `kill -9` would: nothing is unwound, dropped or flushed.
        if told.starts_with("failpoint ") {
            abort();
        }
        report(panic);
    }));
    // Ended, it would disarm what it has armed.
    std::mem::forget(FailScenario::setup());
}

/// The store, with its inbox broken in the ways that are asked for.
pub(crate) fn sabotaged(mut storage: Storage) -> Storage {
    storage.inbox = Arc::new(Sabotaged(storage.inbox.clone()));
    storage.grants = Arc::new(Unguarded(storage.grants.clone()));
    storage
}

struct Sabotaged(Arc<dyn Inbox>);

/// Grants as they would be given, were it not asked in the end whether their member was erased.
struct Unguarded(Arc<dyn CommandBus<Grant>>);

#[async_trait]
impl CommandBus<Grant> for Unguarded {
    async fn execute(
        &self,
        id: &str,
        command: GrantCommand,
        context: Context,
    ) -> Result<Executed<GrantEvent>, CommandError<GrantError>> {
        while is_on(GIVE_LATE) && !Path::new(LET_GO).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let about = context.about.filter(|_| !is_on(TELL_THE_ERASED));
        self.0.execute(id, command, Context { about, ..context }).await
    }
}

fn is_on(sabotage: &str) -> bool {
    fail::eval(sabotage, |_| ()).is_some()
}

#[async_trait]
impl Inbox for Sabotaged {
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError> {
        if !is_on(ACKNOWLEDGE_FIRST) {
            return self.0.store(delivery).await;
        }
        let inbox = self.0.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PROMISED).await;
            inbox.store(delivery).await
        });
        Ok(Stored::New)
    }

    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let claimed = self.0.claim(now, lease, limit).await?;
        if is_on(SETTLE_FIRST) {
            for delivery in &claimed {
                self.0.settle(&delivery.id, Outcome::Applied, None, now).await?;
            }
        }
        Ok(claimed)
    }

    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.0.settle(id, outcome, why, now).await
    }

    async fn forget_payer(
        &self,
        payer: &CustomerId,
        erased: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.0.forget_payer(payer, erased, now).await
    }

    async fn keep_payer(
        &self,
        payer: &CustomerId,
        member: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.0.keep_payer(payer, member, now).await
    }

    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.0.postpone(id, why, due, now).await
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        self.0.release(ids).await
    }

    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError> {
        self.0.redrive(which, asked).await
    }

    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError> {
        self.0.redrive_some(of, after, at_most, asked).await
    }

    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError> {
        self.0.steps(id).await
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        self.0.get(id).await
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        self.0.list(filter).await
    }

    async fn find(
        &self,
        key: DeliveryKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>, StoreError> {
        self.0.find(key, prefix, limit).await
    }

    async fn note_read(&self, id: &str, actor: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.0.note_read(id, actor, now).await
    }

    async fn pending(&self) -> Result<u64, StoreError> {
        self.0.pending().await
    }

    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError> {
        self.0.backlog(now).await
    }
}
