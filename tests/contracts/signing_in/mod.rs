//! The service for accounts over a real store.

mod letters;
mod locks;
mod providers;
mod race;
mod tampered;
mod telling;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use accounts::{
    AccountError, AccountStore, Accounts, Keys, Letter, Login, MailError, Mailer, NewAccount, NoProviders,
    Origin, Parts, Paying, Settings, SignedIn, SystemRandom,
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{Account, AccountCommand, AccountEvent, Role};
use domain::clock::{Clock, MovableClock};
use domain::ids::MemberId;
use domain::metadata::{Actor, Context};
use domain::ports::{CommandBus, CommandError, Executed, Recorded, StoreError};
use storage::{Access, Storage};
use tokio::task::AbortHandle;

use crate::store::Place;

const EMAIL: &str = "ada@example.com";
/// Where letters are never taken at once.
const SLOW: &str = "@slow.example";
const PASSWORD: &str = "four wild geese";

/// Everybody is as she says, and nobody reads letters.
struct Outside {
    paying: AtomicBool,
    sent: Mutex<Vec<String>>,
}

#[async_trait]
impl Mailer for Outside {
    async fn send(&self, to: &str, _letter: &Letter) -> Result<(), MailError> {
        if to.ends_with(SLOW) {
            return Err(MailError::Passing("ask me again".to_owned()));
        }
        self.sent.lock().unwrap().push(to.to_owned());
        Ok(())
    }
}

#[async_trait]
impl Paying for Outside {
    async fn is_paying(&self, _member: &MemberId) -> Result<bool, StoreError> {
        Ok(self.paying.load(Ordering::Relaxed))
    }
}

/// Commands that may not arrive.
struct Line {
    bus: Arc<dyn CommandBus<Account>>,
    cut: Mutex<Cut>,
}

/// Whose do not.
#[derive(Clone, PartialEq, Eq)]
enum Cut {
    Nobodys,
    Everybodys,
    Of(MemberId),
}

#[async_trait]
impl CommandBus<Account> for Line {
    async fn execute(
        &self,
        id: &str,
        command: AccountCommand,
        context: Context,
    ) -> Result<Executed<AccountEvent>, CommandError<std::convert::Infallible>> {
        let cut = self.cut.lock().unwrap().clone();
        if cut == Cut::Everybodys || cut == Cut::Of(id.into()) {
            return Err(CommandError::Store(StoreError::Unavailable("the line is cut".to_owned())));
        }
        self.bus.execute(id, command, context).await
    }
}

struct World {
    accounts: Accounts,
    storage: Storage,
    /// What the service uses, which is that of the storage unless it was tampered with.
    store: Arc<dyn AccountStore>,
    clock: Arc<MovableClock>,
    line: Arc<Line>,
    outside: Arc<Outside>,
    background: AbortHandle,
}

impl Drop for World {
    fn drop(&mut self) {
        self.background.abort();
    }
}

impl World {
    async fn at(place: &Place) -> Self {
        Self::with(place, |store| store).await
    }

    async fn with(
        place: &Place,
        tamper: impl FnOnce(Arc<dyn AccountStore>) -> Arc<dyn AccountStore>,
    ) -> Self {
        Self::of(place, |parts| Parts { store: tamper(parts.store.clone()), ..parts }).await
    }

    /// With other parts than the usual ones.
    async fn of(place: &Place, change: impl FnOnce(Parts) -> Parts) -> Self {
        let noon: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let clock = Arc::new(MovableClock::standing_at(noon));
        let storage = storage::open(&place.url(), Access::Write, clock.clone()).await.unwrap();
        let line = Arc::new(Line { bus: storage.accounts.clone(), cut: Mutex::new(Cut::Nobodys) });
        let outside = Arc::new(Outside { paying: AtomicBool::new(false), sent: Mutex::default() });
        let parts = change(Parts {
            store: storage.account_store.clone(),
            identities: storage.identities.clone(),
            providers: Arc::new(NoProviders),
            accounts: line.clone(),
            members: storage.members.clone(),
            clock: clock.clone(),
            random: Arc::new(SystemRandom),
            mailer: outside.clone(),
            paying: outside.clone(),
        });
        let store = parts.store.clone();
        let keys = Keys::parse("one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let settings = Settings { hashing: (8, 1, 1), ..Settings::new(keys, "https://learn.example") };
        let (accounts, background) = Accounts::new(parts, settings);
        let background = tokio::spawn(background.run()).abort_handle();
        Self { accounts, storage, store, clock, line, outside, background }
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now() + TimeDelta::seconds(seconds));
    }

    fn cut_the_line(&self, cut: Cut) {
        *self.line.cut.lock().unwrap() = cut;
    }

    async fn create(&self, email: &str) -> Result<MemberId, AccountError> {
        let new = NewAccount { email, role: Role::Member, password: Some(PASSWORD) };
        Ok(self.accounts.create(new, Actor::operator(), "req_create").await?.member)
    }

    async fn sign_in(&self, email: &str, password: &str) -> Result<SignedIn, AccountError> {
        match self.accounts.login(email, password, &origin("req_login")).await? {
            Login::SignedIn(signed_in) => Ok(*signed_in),
            Login::SecondFactorRequired { .. } => panic!("no code is asked for"),
        }
    }

    /// The history of an account.
    async fn history(&self, member: &MemberId) -> Vec<Recorded> {
        self.storage.feed.read_stream("account", member.as_str()).await.unwrap()
    }

    async fn told(&self, member: &MemberId) -> Vec<String> {
        self.history(member).await.into_iter().map(|event| event.event_type).collect()
    }
}

fn origin(request_id: &str) -> Origin {
    Origin { request_id: request_id.to_owned(), ..Origin::default() }
}
