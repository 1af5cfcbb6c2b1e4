//! Accounts: who somebody is, and that it is she.
//!
//! No HTTP and no database in here. [`Accounts`] does what people ask for; what it needs is handed to it: an [`AccountStore`],
//! the commands of the aggregates [`Account`](domain::account::Account) and [`Member`](domain::member::Member), a clock,
//! random bits, a [`Mailer`], and [`Paying`].
//!
//! | word | meaning here |
//! |---|---|
//! | access token | says who somebody is for ten minutes, without a look at the store; signed by this service |
//! | refresh token | a secret that is worth a new access token and the next refresh token, once |
//! | session | from a sign-in to its end; all refresh tokens that follow from that one sign-in |
//! | link token | a secret in a letter, good for one thing, once |
//! | challenge | what a right password is answered with where a second factor is asked for too |
//! | provider | somebody else's service that says who somebody is, over OpenID Connect |
//! | identity | what a provider calls somebody: its own name (issuer) and its word for her (subject), never an address |
//! | known device | a browser that somebody has signed in from before, known by a secret of its own |

mod access_token;
mod answers;
mod email;
mod error;
pub mod identities;
mod letters;
mod news;
mod parts;
mod password;
pub mod policy;
mod random;
mod refresh;
mod second_factor;
mod secrets;
mod service;
mod service_tokens;
pub mod store;
pub mod throttle;

pub use access_token::{Access, BadAccessToken, BadKeys, Keys};
pub use answers::{
    AccountView, Enrolment, Login, NewAccount, Renewed, SecondFactorState, SessionView, SignedIn, Verified,
    VerifiedWhat,
};
pub use error::{AccountError, PasswordRefusal, whole_seconds};
pub use identities::{IdentityStore, NoProviders, Provider, Providers};
pub use letters::{Letter, MailError, Mailer};
pub use parts::{Origin, Parts, Paying, Settings};
pub use random::{Random, SystemRandom};
pub use service::identities::{Arrival, Arrived, Departure, IdentityView, Outcome};
pub use service::{Accounts, Background};
pub use service_tokens::{BadServiceToken, NewServiceToken, ServiceCaller};
pub use store::AccountStore;
