//! The store: the event log, the inbox, personal data and views, on `SQLite` or `PostgreSQL`. Which one it is, is decided in
//! [`open`] and seen nowhere else. One folder per database.

mod account_rows;
mod answer;
mod command_bus;
pub mod examine;
mod folded;
mod head;
mod measured;
mod open_error;
mod postgres;
mod range;
mod sqlite;
mod trouble;

use std::fmt;
use std::sync::Arc;

use accounts::{AccountStore, IdentityStore};
use cqrs_es::Aggregate;
use cqrs_es::persist::EventUpcaster;
use domain::account::Account;
use domain::catalog::Catalog;
use domain::clock::Clock;
use domain::customer::Customer;
use domain::events::{Dated, upcasters};
use domain::grant::Grant;
use domain::idempotency::IdempotencyStore;
use domain::member::Member;
use domain::payment::Payment;
use domain::ports::{CommandBus, Erasures, EventFeed, Payers, People, Remarks, StoreError};
use domain::subscription::Subscription;
use projections::view_store::ViewStore;
use webhook_ingest::inbox::Inbox;
use webhook_ingest::notebook::Notebook;

use crate::command_bus::Bus;
use crate::measured::{Measured, measured};
pub use crate::open_error::OpenError;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing; brings the tables up to date first.
    Write,
    /// Reading only; changes nothing.
    Read,
    /// Writing, or only reading where another process writes to the same `SQLite` file, or on a standby.
    WriteOrRead,
    /// Writing what can be made again: `SQLite` does not wait for the disk, so a power cut may take or spoil all of it.
    Draft,
}

impl Access {
    /// Whether a store that cannot be written to is of no use.
    pub(crate) fn has_to_write(self) -> bool {
        matches!(self, Self::Write | Self::Draft)
    }
}

/// How stored events of older shapes are read.
pub type Upcasters = Arc<[Box<dyn EventUpcaster>]>;

/// What a store can tell of itself without being asked a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vitals {
    /// A file.
    Sqlite {
        /// How many changes wait for the writer; none where another process writes.
        queued: Option<usize>,
    },
    /// A database.
    Postgres {
        /// Connections of this process's pool that are in use.
        used: usize,
        /// Connections that are open and rest.
        idle: usize,
        /// Whether the watermark has not moved for a while because something is wrong.
        troubled: bool,
    },
}

/// An open store.
pub struct Storage {
    /// The log in order.
    pub feed: Arc<dyn EventFeed>,
    /// Commands on subscriptions.
    pub subscriptions: Arc<dyn CommandBus<Subscription>>,
    /// Commands on payers.
    pub customers: Arc<dyn CommandBus<Customer>>,
    /// Commands on payments.
    pub payments: Arc<dyn CommandBus<Payment>>,
    /// Commands on access given without a payment.
    pub grants: Arc<dyn CommandBus<Grant>>,
    /// Commands on members.
    pub members: Arc<dyn CommandBus<Member>>,
    /// Commands on accounts.
    pub accounts: Arc<dyn CommandBus<Account>>,
    /// Commands on the catalogue.
    pub catalog: Arc<dyn CommandBus<Catalog>>,
    /// Webhook deliveries.
    pub inbox: Arc<dyn Inbox>,
    /// What long work remembers.
    pub notebook: Arc<dyn Notebook>,
    /// Views that outlive the process.
    pub views: Arc<dyn ViewStore>,
    /// Commands that may come again.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Personal data.
    pub people: Arc<dyn People>,
    /// Who payers are.
    pub payers: Arc<dyn Payers>,
    /// What staff writes.
    pub remarks: Arc<dyn Remarks>,
    /// Erases what is kept of members.
    pub erasures: Arc<dyn Erasures>,
    /// What people sign in with.
    pub account_store: Arc<dyn AccountStore>,
    /// Who signs in with which provider.
    pub identities: Arc<dyn IdentityStore>,
    /// Whether it may be written to.
    pub writable: bool,
    backend: Backend,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

/// Opens the store at `url`: `sqlite://path`, `postgres://…` or `postgresql://…`.
pub async fn open(url: &str, access: Access, clock: Arc<dyn Clock>) -> Result<Storage, OpenError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let sqlite = Arc::new(Sqlite::open(path.strip_prefix("//").unwrap_or(path), access).await?);
        let writable = sqlite.is_writable();
        Ok(Storage::over(&sqlite, Backend::Sqlite(Arc::clone(&sqlite)), writable, clock))
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let postgres = Arc::new(Postgres::open(url, access).await?);
        let writable = postgres.is_writable();
        Ok(Storage::over(&postgres, Backend::Postgres(Arc::clone(&postgres)), writable, clock))
    } else {
        Err(OpenError::Url("it begins with neither sqlite: nor postgres:".to_owned()))
    }
}

impl Storage {
    fn over<B>(ports: &Arc<B>, backend: Backend, writable: bool, clock: Arc<dyn Clock>) -> Self
    where
        B: EventFeed
            + Inbox
            + Notebook
            + ViewStore
            + IdempotencyStore
            + People
            + Payers
            + Remarks
            + Erasures
            + AccountStore
            + IdentityStore
            + 'static,
    {
        let upcasters: Upcasters = upcasters().into();
        let ports = Arc::new(Measured(Arc::clone(ports)));
        Self {
            feed: Arc::clone(&ports) as Arc<dyn EventFeed>,
            subscriptions: backend.bus(&clock, &upcasters),
            customers: backend.bus(&clock, &upcasters),
            payments: backend.bus(&clock, &upcasters),
            grants: backend.bus(&clock, &upcasters),
            members: backend.bus(&clock, &upcasters),
            accounts: backend.bus(&clock, &upcasters),
            catalog: backend.bus(&clock, &upcasters),
            inbox: Arc::clone(&ports) as Arc<dyn Inbox>,
            notebook: Arc::clone(&ports) as Arc<dyn Notebook>,
            views: Arc::clone(&ports) as Arc<dyn ViewStore>,
            idempotency: Arc::clone(&ports) as Arc<dyn IdempotencyStore>,
            people: Arc::clone(&ports) as Arc<dyn People>,
            payers: Arc::clone(&ports) as Arc<dyn Payers>,
            remarks: Arc::clone(&ports) as Arc<dyn Remarks>,
            erasures: Arc::clone(&ports) as Arc<dyn Erasures>,
            account_store: Arc::clone(&ports) as Arc<dyn AccountStore>,
            identities: ports,
            writable,
            backend,
            clock,
        }
    }

    /// Another bus over the same log, which reads stored events through these upcasters.
    pub fn bus<A>(&self, upcasters: &Upcasters) -> Arc<dyn CommandBus<A>>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Command: Clone + Send + Sync,
        A::Event: Dated,
        A::Error: Send + Sync,
    {
        self.backend.bus(&self.clock, upcasters)
    }

    /// Whether it can do its work now.
    pub async fn healthy(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => measured("health", sqlite.healthy()).await,
            Backend::Postgres(postgres) => measured("health", postgres.healthy()).await,
        }
    }

    /// How busy it is.
    pub fn vitals(&self) -> Vitals {
        match &self.backend {
            Backend::Sqlite(sqlite) => Vitals::Sqlite { queued: sqlite.queued() },
            Backend::Postgres(postgres) => postgres.vitals(),
        }
    }

    /// Returns when the log has lost events that were read from it, as a standby has that is promoted without them. What
    /// this process has folded is then not what the log says.
    pub async fn rewritten(&self) {
        match &self.backend {
            Backend::Sqlite(_) => std::future::pending().await,
            Backend::Postgres(postgres) => postgres.rewritten().await,
        }
    }

    /// Finishes what was begun, ends what runs in the background and releases the file. Whoever still uses the store
    /// then is told that it is not available.
    pub async fn shutdown(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.shutdown().await,
            Backend::Postgres(postgres) => postgres.shutdown().await,
        }
    }
}

impl Backend {
    fn bus<A>(&self, clock: &Arc<dyn Clock>, upcasters: &Upcasters) -> Arc<dyn CommandBus<A>>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Command: Clone + Send + Sync,
        A::Event: Dated,
        A::Error: Send + Sync,
    {
        match self {
            Self::Sqlite(log) => Arc::new(Bus::new(log, clock, upcasters)),
            Self::Postgres(log) => Arc::new(Bus::new(log, clock, upcasters)),
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("writable", &self.writable).finish_non_exhaustive()
    }
}
