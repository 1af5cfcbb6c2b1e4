//! Why something was not done.

use std::time::Duration;

use domain::account::Lock;
use domain::ids::MemberId;
use domain::ports::{CommandError, StoreError};
use thiserror::Error;

/// Why something was not done. None of these tells whether an address is known, unless its owner has shown who she is.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The address cannot be one.
    #[error("it is not an address such as ada@example.com of at most 254 bytes")]
    InvalidEmail,
    /// The password cannot be chosen.
    #[error(transparent)]
    Password(#[from] PasswordRefusal),
    /// No account has this address and this password. One whose address was never confirmed is no account, and is not told from
    /// others: whoever registers an address would learn whether it had one.
    #[error(
        "the e-mail address or the password is wrong, or the address has not been confirmed yet: then follow the link \
         in the letter, or have it sent again"
    )]
    WrongCredentials,
    /// Who she is was shown, and her account is locked.
    #[error("this account is locked {}; ask whoever runs this service about it", .0.words())]
    Locked(Lock),
    /// Nobody would be left who gives rights.
    #[error("she is the only owner who can sign in; make somebody else an owner first")]
    LastOwner,
    /// There is an account with the address, and it was shown to be its owner's.
    #[error("the address has an account already, of {0}; change its role instead")]
    AccountExists(MemberId),
    /// The code of the second factor is wrong, too old, or was used before.
    #[error("the code is wrong or was used before; wait for the next one")]
    WrongCode,
    /// Too many attempts; after this time there may be another.
    #[error("too many attempts; try again in {} s", whole_seconds(*retry_after))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// There were too many wrong passwords. From a device that she has used before, or after a reset, it goes on.
    #[error(
        "too many wrong passwords; have a letter sent to choose another, or use a device that has signed in before"
    )]
    Exhausted,
    /// More passwords wait to be checked than is sensible.
    #[error("too many people sign in at this moment; try again in a few seconds")]
    Busy,
    /// A link or challenge is unknown, was used, or is too old.
    #[error("this link is not valid any more; ask for another")]
    BadToken,
    /// The refresh token is of no session that lives.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// No session of hers has this id.
    #[error("there is no such session")]
    NoSession,
    /// The address belongs to somebody else.
    #[error("this address cannot be used; choose another")]
    EmailTaken,
    /// Her account cannot be deleted while she pays.
    #[error("there is a membership that is still being paid for; cancel it first")]
    Paying,
    /// The member has no account.
    #[error("this member has no account")]
    NoAccount,
    /// The member has no address.
    #[error("this member has no e-mail address, so no letter can reach her")]
    NoAddress,
    /// Her address was confirmed before.
    #[error("her address is confirmed already; send the letter to choose a password instead")]
    Confirmed,
    /// There is a second factor already.
    #[error("a second factor is set up already; remove it first")]
    SecondFactorSet,
    /// There is none to confirm, to remove, or to make codes for.
    #[error("no second factor is set up")]
    NoSecondFactor,
    /// There is no provider to sign in with.
    #[error(
        "nobody signs in with a provider here; the operator of this service sets OIDC_PROVIDERS to change that"
    )]
    NoProviders,
    /// None has this name.
    #[error("no provider has this name; GET /v1/auth/providers lists those there are")]
    UnknownProvider,
    /// A provider cannot be asked.
    #[error(
        "the provider does not answer as it should ({0}); try again in a minute, or sign in with your password"
    )]
    ProviderUnavailable(String),
    /// What a provider says is not to be believed.
    #[error("what the provider says cannot be believed ({0}); begin again")]
    ProviderRefused(String),
    /// A provider, or whoever was asked there, said no.
    #[error("nobody was signed in at the provider; begin again, and agree to it there")]
    SignInDenied,
    /// A browser comes from a provider to which it was not sent, or not lately, or comes again.
    #[error(
        "this sign-in was begun in another browser, more than ten minutes ago, or has been used already; begin again"
    )]
    BadFlow,
    /// A provider does not vouch for the address of somebody who comes for the first time.
    #[error(
        "the provider does not say that your e-mail address was confirmed there; confirm it there, or register here with \
         the address and link the provider then"
    )]
    EmailNotVerified,
    /// Somebody here has the address that a provider vouches for. It may well be she.
    #[error(
        "somebody with your e-mail address is known here already; sign in as you did before, or choose a password with \
         POST /v1/auth/forgot-password, then link the provider in your account"
    )]
    EmailKnown,
    /// What a provider calls her is linked to another account.
    #[error("this sign-in is linked to another account; unlink it there first")]
    IdentityTaken,
    /// No identity of hers has this id.
    #[error("there is no such identity; GET /v1/auth/identities lists yours")]
    NoIdentity,
    /// Without it she could not sign in any more.
    #[error(
        "this is your only way to sign in; choose a password with POST /v1/auth/forgot-password or link another provider first"
    )]
    LastWayIn,
    /// Who has no password has to have signed in just now.
    #[error(
        "this needs a sign-in of the last ten minutes, since you have no password; sign in again, then repeat it"
    )]
    SignInAgain,
    /// Somebody else kept changing the same account.
    #[error("{0} is being changed by others; try again")]
    Contended(String),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A wait in whole seconds, none of which is too short.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Why a password cannot be chosen.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum PasswordRefusal {
    /// Guessed too fast.
    #[error("the password is too short: at least 8 characters, better 15 or more")]
    TooShort,
    /// Longer than anybody types.
    #[error("the password is too long: at most 128 characters")]
    TooLong,
    /// It is among the first that anybody tries.
    #[error("this password is one of the most common ones and is guessed at once; choose another")]
    Common,
    /// It follows from what everybody knows.
    #[error("the password is the e-mail address or the name of this service; choose another")]
    Obvious,
}

impl<R: std::error::Error> From<CommandError<R>> for AccountError {
    fn from(error: CommandError<R>) -> Self {
        match error {
            // The rules of both aggregates refuse nothing.
            CommandError::Refused(why) => Self::Contended(why.to_string()),
            CommandError::Contended(what) => Self::Contended(what),
            CommandError::Erased(_) => Self::NoAccount,
            CommandError::Store(error) => Self::Store(error),
        }
    }
}
