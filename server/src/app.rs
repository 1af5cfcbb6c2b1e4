//! Puts the service together. Everything that is constructed, is constructed here, from top to bottom.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use accounts::{Accounts, Keys, Mailer, NoProviders, Parts, Paying, Providers, SystemRandom};
use api::{
    ApiParts, ApiState, CallerLimits, CookieStyle, DeliveryFilter, DeliveryOrigin, DeliveryOutcome,
    DeliveryRecord, DeliveryRehearsal, DeliverySelection, DeliveryStep, EventStreams, LearnerParts, Looks,
    Origins, Purchase, Renewals, Replayed, ResyncError, ResyncFinding, ResyncReport, ResyncScope, ToldKey,
};
use async_trait::async_trait;
use domain::access::State;
use domain::billing::{Billing, BillingError};
use domain::catalog::{CATALOG_ID, Catalog, CatalogCommand, CatalogError, CatalogEvent, Content};
use domain::clock::Clock;
use domain::idempotency::IdempotencyStore;
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::metadata::{Actor, Context};
use domain::ports::{CommandError, EventFeed, Executed, StoreError};
use openid::OpenId;
use projections::access_index::{AccessIndex, IndexFollower};
use projections::directory::{self, Directory};
use projections::past::Past;
use projections::runner::{Progress, follow, progress, watch_checkpoint};
use projections::search::Search;
use projections::view_store::ViewStore;
use storage::Storage;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use webhook_ingest::backfill::Backfill;
use webhook_ingest::inbox::{self, Asked, DeliveryKey, Origin, Outcome, Redrive, Redriven, Selection};
use webhook_ingest::provider::Provider;
use webhook_ingest::purchase;
use webhook_ingest::reconcile::ReconcileError;
use webhook_ingest::rehearsal::Rehearsal;
use webhook_ingest::routes::Intake;
use webhook_ingest::stripe::signature::Secrets;
use webhook_ingest::worker::{Registry, Worker};

use crate::config::{self, Config, ConfigError, SignIn};
use crate::index_file::IndexFile;
use crate::keeper::{self, Schedule};
use crate::limits;
use crate::mail::Post;
use crate::metrics::{self, Sampler};
use crate::rebuilds::Rebuilds;
use crate::telemetry;

/// How long a delivery or a command waits for the read models to know of everything in the log.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often kept answers are looked through for old ones, how many are deleted at once, and how soon the next of many are.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
const PRUNED_AT_ONCE: usize = 1_000;
const BETWEEN_PRUNINGS: Duration = Duration::from_secs(1);
/// How soon something is tried again that the start could not do.
const AGAIN: Duration = Duration::from_secs(5);

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
    /// Whether it is to stop.
    pub stopping: Stopping,
    models: Arc<ReadModels>,
    accounts: Option<Accounts>,
    sign_in: Option<api::SignIn>,
    tasks: JoinSet<()>,
    running_worker: Option<AbortHandle>,
    index_file: Option<Arc<IndexFile>>,
    billing: Option<Arc<dyn Billing>>,
    site: String,
    under_way: watch::Sender<()>,
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
        let index = Arc::new(AccessIndex::default());
        Self::start_following(storage, clock, livemode, provider, IndexFollower::new(index.clone()), index)
    }

    /// The same, with an index that is kept in a file between starts.
    pub async fn start_with_file(
        storage: Storage,
        clock: Arc<dyn Clock>,
        livemode: Option<bool>,
        provider: Option<Arc<dyn Provider>>,
        file: PathBuf,
    ) -> Self {
        let (index, file) = (Arc::new(AccessIndex::default()), Arc::new(IndexFile::new(file)));
        let follower = match file.load(storage.feed.as_ref()).await {
            Some(snapshot) => IndexFollower::resume(index.clone(), snapshot),
            None => IndexFollower::new(index.clone()),
        };
        let mut app = Self::start_following(storage, clock, livemode, provider, follower, index);
        app.tasks.spawn(file.clone().keep(app.index.clone()));
        app.index_file = Some(file);
        app
    }

    fn start_following(
        storage: Storage,
        clock: Arc<dyn Clock>,
        livemode: Option<bool>,
        provider: Option<Arc<dyn Provider>>,
        follower: IndexFollower,
        index: Arc<AccessIndex>,
    ) -> Self {
        #[cfg(feature = "failpoints")]
        let storage = crate::failpoints::sabotaged(storage);
        let storage = Arc::new(storage);
        let mut tasks = JoinSet::new();

        let (report, index_progress) = progress();
        tasks.spawn(follow(storage.feed.clone(), follower, report));

        let (report, directory_progress) = progress();
        if storage.writable {
            tasks.spawn(follow(storage.feed.clone(), Directory::new(storage.views.clone()), report));
        } else {
            tasks.spawn(watch_checkpoint(storage.views.clone(), directory::NAME, report));
        }
        let past = Past::new(
            storage.feed.clone(),
            storage.views.clone(),
            storage.remarks.clone(),
            directory_progress.clone(),
        );

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
            payers: storage.payers.clone(),
            notebook: storage.notebook.clone(),
            provider,
            looks: Arc::new(Notify::new()),
            registry: models.clone(),
            clock: clock.clone(),
            livemode,
            wake: Arc::new(Notify::new()),
            stopping: AtomicBool::new(false),
            rehearsing: false,
        });
        tasks.spawn(metrics::keep_small());
        if storage.writable {
            tasks.spawn(prune_answers(storage.idempotency.clone(), clock.clone()));
        }
        let running_worker = None;
        Self {
            storage,
            index,
            index_progress,
            directory_progress,
            past,
            worker,
            clock,
            stopping: Stopping::default(),
            models,
            accounts: None,
            sign_in: None,
            tasks,
            running_worker,
            index_file: None,
            billing: None,
            site: "http://127.0.0.1:8080".to_owned(),
            under_way: watch::Sender::new(()),
        }
    }

    /// Lets members buy through Stripe, who come back from its pages to this site: an address without a slash at its end.
    pub fn sell_through(&mut self, billing: Option<Arc<dyn Billing>>, site: &str) {
        self.billing = billing;
        site.clone_into(&mut self.site);
    }

    /// Lets the worker carry deliveries out as they come, beginning with what may have been waiting for this start.
    pub async fn start_worker(&mut self) -> Result<(), StoreError> {
        if let Err(error) = self.worker.redrive_curable().await {
            tracing::warn!(%error, "what was set aside is looked at again a little later");
            let worker = self.worker.clone();
            self.tasks.spawn(async move {
                while worker.redrive_curable().await.is_err() {
                    sleep(AGAIN).await;
                }
            });
        }
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

    /// Opens accounts, and has everything done that goes on beside requests. Returned for commands that work with them.
    pub fn open_accounts(&mut self, keys: Keys, issuer: &str, mailer: Arc<dyn Mailer>) -> Accounts {
        self.open_accounts_with(keys, issuer, mailer, Arc::new(NoProviders))
    }

    /// The same, where others may say who somebody is.
    fn open_accounts_with(
        &mut self,
        keys: Keys,
        issuer: &str,
        mailer: Arc<dyn Mailer>,
        providers: Arc<dyn Providers>,
    ) -> Accounts {
        let parts = Parts {
            store: self.storage.account_store.clone(),
            identities: self.storage.identities.clone(),
            providers,
            accounts: self.storage.accounts.clone(),
            members: self.storage.members.clone(),
            clock: self.clock.clone(),
            random: Arc::new(SystemRandom),
            mailer,
            paying: Arc::new(Payments { index: self.index.clone(), progress: self.index_progress.clone() }),
        };
        let (accounts, background) = Accounts::new(parts, accounts::Settings::new(keys, issuer));
        self.tasks.spawn(background.run());
        self.accounts = Some(accounts.clone());
        accounts
    }

    /// Lets people sign in, as `door` says. Without it, accounts are there for service tokens alone.
    pub fn let_people_in(&mut self, door: Option<&SignIn>, is_demo: bool) -> Result<Accounts, ConfigError> {
        let Some(door) = door else {
            return Ok(self.open_accounts(config::made_up_keys()?, "", Arc::new(Post::none())));
        };
        let post = door.mail.as_ref().map(|mail| Post::new(mail, &door.public_url)).transpose();
        let post = post.map_err(config::bad_smtp_url)?.unwrap_or_else(Post::none);
        let providers = OpenId::new(&door.providers, self.clock.clone()).map_err(config::bad_providers)?;
        let (keys, providers) = (door.keys.clone(), Arc::new(providers));
        let accounts = self.open_accounts_with(keys, &door.public_url, Arc::new(post), providers);
        self.sign_in = Some(api::SignIn {
            accounts: accounts.clone(),
            cookies: CookieStyle::new(door.secure()),
            origins: Origins::new(&door.public_url, &door.learn_origins),
            letters: door.mail.is_some(),
            strict_staff: !is_demo,
            one_click: is_demo,
            renewals: Renewals::default(),
        });
        Ok(accounts)
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

    /// What came in, as the API and the command line ask for it.
    pub(crate) fn deliveries(&self) -> Arc<dyn api::Deliveries> {
        Arc::new(Deliveries { worker: self.worker.clone(), storage: self.storage.clone() })
    }

    /// The API's needs.
    pub fn api_state(&self, config: &Config) -> ApiState {
        ApiState::new(ApiParts {
            index: self.index.clone(),
            index_progress: self.index_progress.clone(),
            directory_progress: self.directory_progress.clone(),
            past: self.past.clone(),
            search: Search::new(
                self.storage.feed.clone(),
                self.storage.views.clone(),
                self.storage.people.clone(),
                self.storage.payers.clone(),
            ),
            feed: self.storage.feed.clone(),
            members: self.storage.members.clone(),
            customers: self.storage.customers.clone(),
            grants: self.storage.grants.clone(),
            subscriptions: self.storage.subscriptions.clone(),
            people: self.storage.people.clone(),
            payers: self.storage.payers.clone(),
            remarks: self.storage.remarks.clone(),
            erasures: self.storage.erasures.clone(),
            deliveries: self.deliveries(),
            resync: Arc::new(Resync {
                worker: self.worker.clone(),
                storage: self.storage.clone(),
                models: self.models.clone(),
            }),
            learner: LearnerParts {
                billing: self.billing.clone(),
                purchases: Arc::new(Purchases { worker: self.worker.clone() }),
                site: self.site.clone(),
                streams: EventStreams::new(limits::EVENT_STREAMS),
                looks: Looks::default(),
                under_way: self.under_way.clone(),
            },
            rebuilds: Arc::new(Rebuilds::new(self.storage.clone(), self.clock.clone())),
            probe: Arc::new(Probe {
                storage: self.storage.clone(),
                worker: self.running_worker.clone(),
                stopping: self.stopping.clone(),
                sampler: Sampler::new(self),
            }),
            clock: self.clock.clone(),
            tokens: config.service_tokens.clone(),
            proxies: config.trusted_proxies.clone(),
            idempotency: self.storage.idempotency.clone(),
            rates: CallerLimits::new(config.limits.rates),
            accounts: self.accounts.clone(),
            sign_in: self.sign_in.clone(),
            random: Arc::new(random),
            continue_trace: telemetry::continue_trace,
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
        // Also when nothing changed: an attempt before this one may have stopped here.
        self.worker.redrive_set_aside(&["no_catalog", "unmapped_product"]).await?;
        Ok(done)
    }

    /// Waits until the read models know of everything that is in the log now.
    pub async fn caught_up(&self) -> Result<(), StoreError> {
        self.models.caught_up().await
    }

    /// Ends what runs, lets the worker finish the delivery that it is at and members' requests hear from the provider, and
    /// closes the store.
    pub async fn shutdown(mut self) {
        self.worker.stop();
        let asked = timeout(limits::WORKER, self.under_way.closed());
        let (worker, tasks) = (&self.running_worker, &mut self.tasks);
        let ended = timeout(limits::WORKER, async {
            let Some(worker) = worker else { return };
            // The others run until they are ended.
            while !worker.is_finished() && tasks.join_next().await.is_some() {}
        });
        let (asked, ended) = tokio::join!(asked, ended);
        if asked.is_err() {
            tracing::warn!(
                "what a member asked the billing provider for is not answered; it may be done all the same"
            );
        }
        if ended.is_err() {
            tracing::warn!("the delivery that was being carried out is begun anew by the next process");
        }
        self.tasks.shutdown().await;
        self.storage.shutdown().await;
        if let Some(file) = &self.index_file {
            file.save(&self.index, 1).await;
        }
    }
}

/// Forgets what was answered under keys once it has been kept for long enough, a little at a time.
async fn prune_answers(answers: Arc<dyn IdempotencyStore>, clock: Arc<dyn Clock>) {
    loop {
        let pruned = answers.prune(clock.now(), PRUNED_AT_ONCE).await;
        if let Err(error) = &pruned {
            tracing::warn!(%error, "what was answered under keys is forgotten later");
        }
        let more = pruned.is_ok_and(|count| count == PRUNED_AT_ONCE as u64);
        sleep(if more { BETWEEN_PRUNINGS } else { PRUNE_EVERY }).await;
    }
}

/// Whether the process has been asked to stop; all copies say the same.
#[derive(Debug, Clone, Default)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// It has.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
        // What an older catalogue does not know may well be sold by the one that cannot be read.
        if self.index_progress.parked().iter().any(|parked| parked.stream.aggregate_id == CATALOG_ID) {
            return Err(StoreError::Unavailable(
                "the catalogue holds an event that cannot be read".to_owned(),
            ));
        }
        Ok(self.index.catalog())
    }

    async fn subscriptions_of(&self, customer: &CustomerId) -> Result<Vec<SubscriptionId>, StoreError> {
        self.reach_head(&[&self.directory_progress]).await?;
        self.views.subscriptions_of(directory::NAME, std::slice::from_ref(customer)).await
    }
}

/// The inbox as the API shows it.
struct Deliveries {
    worker: Arc<Worker>,
    storage: Arc<Storage>,
}

impl Deliveries {
    fn asked(&self, actor: Actor, why: &str) -> Asked {
        Asked { at: self.worker.clock.now(), actor, why: why.to_owned() }
    }
}

#[async_trait]
impl api::Deliveries for Deliveries {
    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRecord>, StoreError> {
        let filter =
            inbox::DeliveryFilter { of: selection(filter.of), before: filter.before, limit: filter.limit };
        Ok(self.worker.inbox.list(filter).await?.into_iter().map(record).collect())
    }

    async fn get(&self, id: &str) -> Result<Option<(DeliveryRecord, Vec<DeliveryStep>)>, StoreError> {
        let inbox = &self.worker.inbox;
        let Some(delivery) = inbox.get(id).await? else { return Ok(None) };
        let steps = inbox.steps(id).await?.into_iter().map(|step| DeliveryStep {
            at: step.at,
            step: step.kind.as_str().to_owned(),
            actor: step.actor,
            reason: step.code,
            detail: step.detail,
        });
        Ok(Some((record(delivery), steps.collect())))
    }

    async fn find(
        &self,
        key: ToldKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, DeliveryRecord)>, StoreError> {
        let key = match key {
            ToldKey::Event => DeliveryKey::Id,
            ToldKey::Subject => DeliveryKey::Concerns,
        };
        let found = self.worker.inbox.find(key, prefix, limit).await?;
        Ok(found.into_iter().map(|(key, held)| (key, record(held))).collect())
    }

    async fn read_body(&self, id: &str, reader: &Actor) -> Result<Option<Vec<u8>>, StoreError> {
        let inbox = &self.worker.inbox;
        let body = inbox.get(id).await?.map(|delivery| delivery.body).filter(|body| !body.is_empty());
        if body.is_some() && reader.is_staff() {
            inbox.note_read(id, reader, self.worker.clock.now()).await?;
        }
        Ok(body)
    }

    async fn rehearse(&self, id: &str) -> Result<Option<DeliveryRehearsal>, ResyncError> {
        let Some(delivery) = self.worker.inbox.get(id).await? else { return Ok(None) };
        let rehearsed = self.worker.rehearse(&delivery).await;
        let Rehearsal { outcome, why, events, member } =
            rehearsed.map_err(|trouble| not_looked_at(trouble.into()))?;
        let events = events.iter().map(|event| (event.name().to_owned(), event.describe()));
        Ok(Some(DeliveryRehearsal {
            outcome: shown(outcome),
            reason: why.code,
            detail: why.detail,
            events: events.collect(),
            member,
        }))
    }

    async fn replay(&self, id: &str, actor: Actor, why: &str) -> Result<bool, StoreError> {
        let known = self.worker.inbox.redrive(Redrive::Id(id.to_owned()), self.asked(actor, why)).await? > 0;
        self.worker.wake.notify_one();
        Ok(known)
    }

    async fn replay_some(
        &self,
        of: DeliverySelection,
        after: Option<String>,
        at_most: usize,
        actor: Actor,
        why: &str,
    ) -> Result<Replayed, StoreError> {
        let (of, asked) = (selection(of), self.asked(actor, why));
        let Redriven { count, left, last } =
            self.worker.inbox.redrive_some(of, after, at_most, asked).await?;
        self.worker.wake.notify_one();
        Ok(Replayed { count, left, last })
    }

    async fn customer_linked(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        let redriven = self.worker.linked(customer).await?;
        // There may be subscriptions of hers that no delivery told of.
        if self.worker.provider.is_some() {
            self.worker.ask_for_a_look(customer.as_str(), "linked").await?;
        }
        Ok(redriven)
    }

    async fn member_registered(&self, _member: &MemberId) -> Result<u64, StoreError> {
        self.worker.redrive_set_aside(&["unknown_member"]).await
    }

    fn member_signed_in(&self, member: &MemberId) {
        if self.worker.provider.is_none() {
            return;
        }
        let (worker, storage, member) = (self.worker.clone(), self.storage.clone(), member.clone());
        tokio::spawn(async move {
            let customers = storage.views.customers_of(directory::NAME, &member).await;
            let asked = async {
                for customer in customers? {
                    worker.ask_for_a_look(customer.as_str(), "sign_in").await?;
                }
                Ok::<(), StoreError>(())
            };
            // The regular comparison comes all the same.
            if let Err(error) = asked.await {
                tracing::warn!(%error, "a comparison at sign-in was not asked for");
            }
        });
    }
}

/// Who is still asked for money, as far as the log tells.
struct Payments {
    index: Arc<AccessIndex>,
    progress: Progress,
}

#[async_trait]
impl Paying for Payments {
    async fn is_paying(&self, member: &MemberId) -> Result<bool, StoreError> {
        if self.progress.applied().is_none() {
            let why = "the access index has not caught up, so it is not known who pays";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        let sources = self.index.sources(member, &self.index.catalog());
        // Whatever has not ended and has no end may be collected for again, also what is owed or suspended now.
        Ok(sources.iter().any(|source| source.state != State::Ended && source.ends_at.is_none()))
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
    async fn scope(&self, member: &MemberId) -> Result<Option<ResyncScope>, ResyncError> {
        self.models.caught_up().await?;
        if self.storage.views.registered_at(directory::NAME, member).await?.is_none() {
            return Ok(None);
        }
        if self.worker.provider.is_none() {
            return Err(BillingError::NotConfigured.into());
        }
        let customers = self.storage.views.customers_of(directory::NAME, member).await?;
        let all_compared_at = keeper::compared_at(&self.worker).await?;
        Ok(Some(ResyncScope { customers, all_compared_at }))
    }

    async fn resync(&self, customers: &[CustomerId], request: &str) -> Result<ResyncReport, ResyncError> {
        let compared = self.worker.resync(customers, Some(request)).await.map_err(not_looked_at)?;
        let findings = compared.findings.into_iter().map(|finding| ResyncFinding {
            subscription: finding.subscription,
            differences: finding.differences,
            cause: finding.cause,
            repaired: finding.repaired,
        });
        Ok(ResyncReport {
            compared: compared.compared,
            differing: compared.differing,
            repaired: compared.repaired,
            left: compared.left,
            findings: findings.collect(),
        })
    }
}

/// What came of purchases, as the API asks for it.
struct Purchases {
    worker: Arc<Worker>,
}

#[async_trait]
impl api::Purchases for Purchases {
    async fn checkout(&self, member: &MemberId, session: &str) -> Result<Purchase, ResyncError> {
        let found = self.worker.take_in_checkout(member, session).await.map_err(not_looked_at)?;
        Ok(match found {
            purchase::Purchase::NotHers => Purchase::NotHers,
            purchase::Purchase::Open => Purchase::Open,
            purchase::Purchase::Expired => Purchase::Expired,
            purchase::Purchase::Complete { subscription, paid } => Purchase::Complete { subscription, paid },
        })
    }

    async fn subscription(&self, subscription: &SubscriptionId, request: &str) -> Result<(), ResyncError> {
        self.worker.follow(subscription, request).await.map_err(not_looked_at)
    }

    async fn wish_begun(&self, member: &MemberId, key: &str) -> Result<(), StoreError> {
        self.worker.wish_begun(member, key).await
    }

    async fn wish_ended(&self, key: &str) -> Result<(), StoreError> {
        self.worker.wish_ended(key).await
    }

    async fn payer(&self, payer: &CustomerId, request: &str) -> Result<(), ResyncError> {
        self.worker.follow_payer(payer, request).await.map_err(not_looked_at)
    }
}

fn not_looked_at(error: ReconcileError) -> ResyncError {
    match error {
        ReconcileError::Billing(error) => ResyncError::Billing(error),
        ReconcileError::Store(error) => ResyncError::Store(error),
        ReconcileError::Other(what) => ResyncError::Contended(what),
    }
}

fn selection(of: DeliverySelection) -> Selection {
    Selection {
        outcome: of.outcome.map(kept),
        reason: of.reason,
        event_types: of.event_type.into_iter().collect(),
        customer: of.customer,
        received_from: of.received_from,
        received_until: of.received_until,
    }
}

pub(crate) fn kept(outcome: DeliveryOutcome) -> Outcome {
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
        erased_at: delivery.erased_at,
    }
}

/// What readiness asks.
struct Probe {
    storage: Arc<Storage>,
    /// None in a process that takes no webhooks.
    worker: Option<AbortHandle>,
    stopping: Stopping,
    sampler: Sampler,
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

    fn stopping(&self) -> bool {
        self.stopping.has_begun()
    }

    async fn metrics(&self) -> String {
        let alive = self.worker.as_ref().map(|worker| !worker.is_finished());
        self.sampler.sample(&self.storage, alive).await;
        metrics::text()
    }
}
