//! What people are answered.

use chrono::{DateTime, Utc};
use domain::account::{Lock, Role};
use domain::ids::{MemberId, SessionId};
use domain::ports::Position;

/// Somebody has signed in: what her cookies hold.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub member: MemberId,
    /// In which session.
    pub session: SessionId,
    /// With which rights.
    pub role: Role,
    /// For the access cookie.
    pub access_token: String,
    /// When that ends.
    pub access_expires_at: DateTime<Utc>,
    /// For the refresh cookie.
    pub refresh_token: String,
    /// When the session ends at the latest.
    pub session_expires_at: DateTime<Utc>,
    /// For a cookie of its own that outlives the session (a year): the device is known by it from now on. None where it was
    /// known already.
    pub device: Option<String>,
    /// From here on the log tells of it.
    pub position: Position,
}

/// The answer to a right password.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// She is signed in.
    SignedIn(Box<SignedIn>),
    /// A code is asked for too: [`Accounts::login_second_factor`](crate::Accounts::login_second_factor).
    SecondFactorRequired {
        /// To be sent back with the code.
        challenge: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
}

/// A session goes on. Several who ask with the same refresh token at once are given the same next one.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Who.
    pub member: MemberId,
    /// In which session.
    pub session: SessionId,
    /// With which rights, as they are now.
    pub role: Role,
    /// For the access cookie.
    pub access_token: String,
    /// When that ends.
    pub access_expires_at: DateTime<Utc>,
    /// For the refresh cookie.
    pub refresh_token: String,
    /// When the session ends at the latest.
    pub session_expires_at: DateTime<Utc>,
}

/// What following a link did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedWhat {
    /// The account is open; she signs in with her password.
    Registration,
    /// The account is open and has no password, since the link was not followed in the browser that asked for the letter, and
    /// anybody may have chosen the one that was: she chooses one with [`Verified::password_token`].
    RegistrationWithoutPassword,
    /// She has another address from now on.
    NewEmail,
}

/// An address was shown to be hers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub member: MemberId,
    /// What it did.
    pub what: VerifiedWhat,
    /// Whether the log had not known the member before: deliveries may wait for her.
    pub new_member: bool,
    /// For `reset-password`, where the account that is open now has no password: the letter box was shown to be hers just now.
    pub password_token: Option<String>,
    /// From here on the log tells of it.
    pub position: Position,
}

/// An account that staff makes, or the demo.
#[derive(Debug, Clone)]
pub struct NewAccount<'a> {
    /// The address, taken to be hers.
    pub email: &'a str,
    /// Her password; without one she chooses it through `forgot-password`.
    pub password: Option<&'a str>,
    /// Her rights.
    pub role: Role,
}

/// An account as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// Whose.
    pub member: MemberId,
    /// Her address.
    pub email: Option<String>,
    /// Her rights.
    pub role: Role,
    /// Whether the address was shown to be hers.
    pub verified: bool,
    /// The lock under which she cannot sign in now.
    pub lock: Option<Lock>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When she last signed in.
    pub signed_in_at: Option<DateTime<Utc>>,
    /// Whether she has a password.
    pub has_password: bool,
    /// Her second factor.
    pub second_factor: SecondFactorState,
}

/// Where a second factor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondFactorState {
    /// Whether it is asked for.
    pub enabled: bool,
    /// How many backup codes are left.
    pub backup_codes: usize,
}

/// A session as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it was last renewed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// What the browser calls itself.
    pub device: Option<String>,
    /// The network it began in, such as `203.0.113.0/24`.
    pub network: Option<String>,
}

/// What somebody's authenticator app is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The secret in base32, to be typed.
    pub secret: String,
    /// The same as an `otpauth://` address, for a QR code.
    pub url: String,
}
