//! Puts the service together. Everything that is constructed, is constructed here, from top to bottom.

use std::sync::Arc;
use std::time::Duration;

use api::{
    ApiParts, ApiState, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord, ResyncError,
    ResyncFinding, ResyncReport, ServiceTokens,
};
use async_trait::async_trait;
use domain::catalog::{CATALOG_ID, Catalog, CatalogCommand, CatalogError, CatalogEvent, Content};
use domain::clock::Clock;
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::metadata::{Actor, Context};
use domain::ports::{CommandError, EventFeed, Executed, StoreError};
use projections::access_index::{AccessIndex, IndexFollower};
use projections::directory::{self, Directory};
use projections::past::Past;
use projections::runner::{Progress, follow, progress, watch_checkpoint};
use projections::view_store::ViewStore;
use storage::Storage;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use webhook_ingest::backfill::Backfill;
use webhook_ingest::inbox::{self, Origin, Outcome, Redrive};
use webhook_ingest::provider::Provider;
use webhook_ingest::reconcile::ReconcileError;
use webhook_ingest::routes::Intake;
use webhook_ingest::stripe::signature::Secrets;
use webhook_ingest::worker::{Registry, Worker};

use crate::keeper::{self, Schedule};

/// How long a delivery or a command waits for the read models to know of everything in the log.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running service, without its listener.
pub struct App {
    /// The store.
    pub storage: Arc<Storage>,
    /// The live answers.
    pub index: Arc<AccessIndex>,
    /// How far those have read.
    pub index_progress: Progress,
    /// How far the member directory has read.
    pub directory_progress: Progress,
    /// Answers about the past.
    pub past: Past,
    /// Carries deliveries out.
    pub worker: Arc<Worker>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    models: Arc<ReadModels>,
    tasks: JoinSet<()>,
    running_worker: Option<AbortHandle>,
}

impl App {
    /// Starts the read models over a store. The worker is there, and runs when it is told to.
    pub fn start(storage: Storage, clock: Arc<dyn Clock>, livemode: Option<bool>) -> Self {
        Self::start_asking(storage, clock, livemode, None)
    }

    /// The same, where Stripe can be asked too.
    pub fn start_asking(
        storage: Storage,
        clock: Arc<dyn Clock>,
        livemode: Option<bool>,
        provider: Option<Arc<dyn Provider>>,
    ) -> Self {
        let storage = Arc::new(storage);
        let mut tasks = JoinSet::new();

        let index = Arc::new(AccessIndex::default());
        let (report, index_progress) = progress();
        tasks.spawn(follow(storage.feed.clone(), IndexFollower::new(index.clone()), report));

        let (report, directory_progress) = progress();
        if storage.writable {
            tasks.spawn(follow(storage.feed.clone(), Directory::new(storage.views.clone()), report));
        } else {
            tasks.spawn(watch_checkpoint(storage.views.clone(), directory::NAME, report));
        }
        let past = Past::new(storage.feed.clone(), storage.views.clone(), directory_progress.clone());

        let models = Arc::new(ReadModels {
            feed: storage.feed.clone(),
            views: storage.views.clone(),
            index: index.clone(),
            index_progress: index_progress.clone(),
            directory_progress: directory_progress.clone(),
        });
        let worker = Arc::new(Worker {
            inbox: storage.inbox.clone(),
            feed: storage.feed.clone(),
            subscriptions: storage.subscriptions.clone(),
            customers: storage.customers.clone(),
            payments: storage.payments.clone(),
            members: storage.members.clone(),
            notebook: storage.notebook.clone(),
            provider,
            looks: Arc::new(Notify::new()),
            registry: models.clone(),
            clock: clock.clone(),
            livemode,
            wake: Arc::new(Notify::new()),
        });
        let running_worker = None;
        Self {
            storage,
            index,
            index_progress,
            directory_progress,
            past,
            worker,
            clock,
            models,
            tasks,
            running_worker,
        }
    }

    /// Lets the worker carry deliveries out as they come, beginning with what may have been waiting for this start.
    pub async fn start_worker(&mut self) -> Result<(), StoreError> {
        self.worker.redrive_curable().await?;
        self.running_worker = Some(self.tasks.spawn(self.worker.clone().run()));
        Ok(())
    }

    /// Keeps what is known equal to what Stripe knows, whatever becomes of webhooks; nothing where Stripe cannot be asked.
    pub fn start_keeper(&mut self, schedule: Schedule) {
        if let Some(backfill) = self.backfill() {
            self.tasks.spawn(keeper::run(self.worker.clone(), backfill, schedule));
        }
    }

    /// What fills gaps between deliveries; nothing where Stripe cannot be asked.
    pub fn backfill(&self) -> Option<Backfill> {
        let provider = self.worker.provider.clone()?;
        Some(Backfill {
            inbox: self.storage.inbox.clone(),
            notebook: self.storage.notebook.clone(),
            provider,
            clock: self.clock.clone(),
            wake: self.worker.wake.clone(),
        })
    }

    /// The webhook route's needs.
    pub fn intake(&self, secrets: Secrets) -> Intake {
        Intake {
            inbox: self.storage.inbox.clone(),
            secrets,
            clock: self.clock.clone(),
            wake: self.worker.wake.clone(),
        }
    }

    /// The API's needs.
    pub fn api_state(&self, tokens: ServiceTokens) -> ApiState {
        ApiState::new(ApiParts {
            index: self.index.clone(),
            index_progress: self.index_progress.clone(),
            directory_progress: self.directory_progress.clone(),
            past: self.past.clone(),
            feed: self.storage.feed.clone(),
            members: self.storage.members.clone(),
            customers: self.storage.customers.clone(),
            people: self.storage.people.clone(),
            deliveries: Arc::new(Deliveries { worker: self.worker.clone() }),
            resync: Arc::new(Resync {
                worker: self.worker.clone(),
                storage: self.storage.clone(),
                models: self.models.clone(),
            }),
            probe: Arc::new(Probe { storage: self.storage.clone(), worker: self.running_worker.clone() }),
            clock: self.clock.clone(),
            tokens,
            random: Arc::new(random),
        })
    }

    /// Makes the catalogue equal to `content`, and has another look at deliveries that waited for it.
    pub async fn apply_catalog(
        &self,
        content: Content,
        actor: Actor,
        command_id: &str,
    ) -> Result<Executed<CatalogEvent>, CommandError<CatalogError>> {
        let context = Context::asked_by(actor, command_id, self.clock.now());
        let command = CatalogCommand::Apply(Box::new(content));
        let done = self.storage.catalog.execute(CATALOG_ID, command, context).await?;
        if !done.events.is_empty() {
            self.worker.redrive_set_aside(&["no_catalog", "unmapped_product"]).await?;
        }
        Ok(done)
    }

    /// Waits until the read models know of everything that is in the log now.
    pub async fn caught_up(&self) -> Result<(), StoreError> {
        self.models.caught_up().await
    }

    /// Ends what runs and closes the store.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.storage.shutdown().await;
    }
}

/// Bits nobody can guess, for ids.
pub fn random() -> [u8; 10] {
    let mut bits = [0; 10];
    // The kernel's generator fails on no system this runs on; an id would still be unique by its time.
    if let Err(error) = getrandom::fill(&mut bits) {
        tracing::error!(%error, "no random bits");
    }
    bits
}

/// The read models as the worker asks them.
struct ReadModels {
    feed: Arc<dyn EventFeed>,
    views: Arc<dyn ViewStore>,
    index: Arc<AccessIndex>,
    index_progress: Progress,
    directory_progress: Progress,
}

impl ReadModels {
    async fn reach_head(&self, models: &[&Progress]) -> Result<(), StoreError> {
        let head = self.feed.head().await?;
        for model in models {
            if !model.wait_for(head, PATIENCE).await {
                return Err(StoreError::Unavailable("the read models are behind the log".to_owned()));
            }
        }
        Ok(())
    }

    async fn caught_up(&self) -> Result<(), StoreError> {
        self.reach_head(&[&self.index_progress, &self.directory_progress]).await
    }
}

#[async_trait]
impl Registry for ReadModels {
    fn catalog(&self) -> Arc<Catalog> {
        self.index.catalog()
    }

    async fn latest_catalog(&self) -> Result<Arc<Catalog>, StoreError> {
        self.reach_head(&[&self.index_progress]).await?;
        Ok(self.index.catalog())
    }

    async fn subscriptions_of(&self, customer: &CustomerId) -> Result<Vec<SubscriptionId>, StoreError> {
        self.reach_head(&[&self.directory_progress]).await?;
        self.views.subscriptions_of(std::slice::from_ref(customer)).await
    }
}

/// The inbox as the API shows it.
struct Deliveries {
    worker: Arc<Worker>,
}

#[async_trait]
impl api::Deliveries for Deliveries {
    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRecord>, StoreError> {
        let filter = inbox::DeliveryFilter {
            outcome: filter.outcome.map(kept),
            before: filter.before,
            limit: filter.limit,
        };
        Ok(self.worker.inbox.list(filter).await?.into_iter().map(record).collect())
    }

    async fn replay(&self, id: &str) -> Result<bool, StoreError> {
        let known = self.worker.inbox.redrive(Redrive::Id(id.to_owned())).await? > 0;
        self.worker.wake.notify_one();
        Ok(known)
    }

    async fn customer_linked(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        let redriven = self.worker.redrive_of(customer).await?;
        // There may be subscriptions of hers that no delivery told of.
        if self.worker.provider.is_some() {
            self.worker.ask_for_a_look(customer.as_str(), "linked").await?;
        }
        Ok(redriven)
    }

    async fn member_registered(&self, _member: &MemberId) -> Result<u64, StoreError> {
        self.worker.redrive_set_aside(&["unknown_member"]).await
    }
}

/// Comparing with Stripe, as the API asks for it.
struct Resync {
    worker: Arc<Worker>,
    storage: Arc<Storage>,
    models: Arc<ReadModels>,
}

#[async_trait]
impl api::Resync for Resync {
    async fn resync(&self, member: &MemberId) -> Result<Option<ResyncReport>, ResyncError> {
        self.models.caught_up().await?;
        if self.storage.views.registered_at(member).await?.is_none() {
            return Ok(None);
        }
        let customers = self.storage.views.customers_of(member).await?;
        let compared = self.worker.resync(&customers).await.map_err(|error| match error {
            ReconcileError::Billing(error) => ResyncError::Billing(error),
            ReconcileError::Store(error) => ResyncError::Store(error),
            ReconcileError::Other(what) => ResyncError::Contended(what),
        })?;
        let findings = compared.findings.into_iter().map(|finding| ResyncFinding {
            subscription: finding.subscription,
            differences: finding.differences,
            cause: finding.cause,
            repaired: finding.repaired,
        });
        Ok(Some(ResyncReport {
            compared: compared.compared,
            differing: compared.differing,
            repaired: compared.repaired,
            left: compared.left,
            findings: findings.collect(),
        }))
    }
}

fn kept(outcome: DeliveryOutcome) -> Outcome {
    match outcome {
        DeliveryOutcome::Pending => Outcome::Pending,
        DeliveryOutcome::Applied => Outcome::Applied,
        DeliveryOutcome::NoChange => Outcome::NoChange,
        DeliveryOutcome::Stale => Outcome::Stale,
        DeliveryOutcome::Parked => Outcome::Parked,
        DeliveryOutcome::Ignored => Outcome::Ignored,
        DeliveryOutcome::Failed => Outcome::Failed,
    }
}

fn shown(outcome: Outcome) -> DeliveryOutcome {
    match outcome {
        Outcome::Pending => DeliveryOutcome::Pending,
        Outcome::Applied => DeliveryOutcome::Applied,
        Outcome::NoChange => DeliveryOutcome::NoChange,
        Outcome::Stale => DeliveryOutcome::Stale,
        Outcome::Parked => DeliveryOutcome::Parked,
        Outcome::Ignored => DeliveryOutcome::Ignored,
        Outcome::Failed => DeliveryOutcome::Failed,
    }
}

fn record(delivery: inbox::Delivery) -> DeliveryRecord {
    let (reason, detail) = delivery.why.map(|why| (why.code, why.detail)).unzip();
    DeliveryRecord {
        id: delivery.id,
        event_type: delivery.event_type,
        created: delivery.created,
        customer: delivery.customer,
        received_at: delivery.received_at,
        origin: match delivery.origin {
            Origin::Webhook => DeliveryOrigin::Webhook,
            Origin::Backfill => DeliveryOrigin::Backfill,
            Origin::File => DeliveryOrigin::File,
        },
        times_received: delivery.times_received,
        outcome: shown(delivery.outcome),
        reason,
        detail,
        attempts: delivery.attempts,
        settled_at: delivery.settled_at,
    }
}

/// What readiness asks.
struct Probe {
    storage: Arc<Storage>,
    /// None in a process that takes no webhooks.
    worker: Option<AbortHandle>,
}

#[async_trait]
impl api::Probe for Probe {
    async fn store(&self) -> Result<(), StoreError> {
        self.storage.healthy().await
    }

    async fn deliveries_waiting(&self) -> Result<u64, StoreError> {
        self.storage.inbox.pending().await
    }

    fn worker_alive(&self) -> bool {
        self.worker.as_ref().is_none_or(|worker| !worker.is_finished())
    }
}
