//! What the service is put together from.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::account::Account;
use domain::clock::Clock;
use domain::ids::MemberId;
use domain::member::Member;
use domain::ports::{CommandBus, StoreError};

use crate::access_token::Keys;
use crate::identities::{IdentityStore, Providers};
use crate::letters::Mailer;
use crate::random::Random;
use crate::store::AccountStore;

/// Whether a member is still being asked for money.
#[async_trait]
pub trait Paying: Send + Sync {
    /// Whether she has a membership that will be collected for again.
    async fn is_paying(&self, member: &MemberId) -> Result<bool, StoreError>;
}

/// What the service needs from the outside.
#[derive(Clone)]
pub struct Parts {
    /// Where accounts are kept.
    pub store: Arc<dyn AccountStore>,
    /// Where it is kept who signs in with which provider.
    pub identities: Arc<dyn IdentityStore>,
    /// Speaks to providers.
    pub providers: Arc<dyn Providers>,
    /// Commands on accounts.
    pub accounts: Arc<dyn CommandBus<Account>>,
    /// Commands on members.
    pub members: Arc<dyn CommandBus<Member>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub random: Arc<dyn Random>,
    /// Sends letters.
    pub mailer: Arc<dyn Mailer>,
    /// Who is still being asked for money.
    pub paying: Arc<dyn Paying>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// How the service is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Signs access tokens.
    pub keys: Keys,
    /// Who signs them, and where providers send browsers back to: `PUBLIC_URL`.
    pub issuer: String,
    /// Who they are for.
    pub audience: String,
    /// What the service is called: beside the code in somebody's app, and never a password.
    pub service_name: String,
    /// How long an access token lives.
    pub access_life: TimeDelta,
    /// How long a session lives that nobody uses.
    pub idle_life: TimeDelta,
    /// How long a session lives at most.
    pub session_life: TimeDelta,
    /// The argon2 memory in KiB, rounds and lanes.
    pub hashing: (u32, u32, u32),
}

impl Settings {
    /// The usual ones.
    pub fn new(keys: Keys, issuer: &str) -> Self {
        Self {
            keys,
            issuer: issuer.to_owned(),
            audience: "membership".to_owned(),
            service_name: "membership".to_owned(),
            access_life: TimeDelta::minutes(10),
            idle_life: TimeDelta::days(30),
            session_life: TimeDelta::days(90),
            hashing: (19 * 1_024, 2, 1),
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Joins everything that follows from the request.
    pub request_id: String,
    /// The address it came from.
    pub address: Option<IpAddr>,
    /// What the browser calls itself.
    pub user_agent: Option<String>,
    /// The secret by which the device is known, if it is ([`SignedIn::device`](crate::SignedIn)).
    pub device: Option<String>,
    /// What the browser keeps of the letters that registrations in it have asked for ([`Accounts::register`](crate::Accounts)).
    pub registration: Option<String>,
}
