//! What people ask for.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::account::Role;
use domain::ids::{MemberId, SessionId};
use domain::metadata::Actor;
use domain::ports::Position;

use crate::access_token::{Access, BadAccessToken};
use crate::error::AccountError;
use crate::parts::{Origin, Parts, Settings};
use crate::service_tokens::{BadServiceToken, NewServiceToken, ServiceCaller};
use crate::store::ServiceTokenRecord;

/// The accounts of this service. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    #[expect(dead_code, reason = "used by the next change")]
    parts: Arc<(Parts, Settings)>,
}

/// What goes on beside requests: letters are sent, what is too old is removed, revocations that were interrupted are
/// finished, service tokens are read again. Run it as long as the service runs.
pub struct Background {
    _accounts: Accounts,
}

impl Background {
    /// Runs until it is dropped.
    pub async fn run(self) {
        todo!()
    }
}

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
    /// A code is asked for too: [`Accounts::login_second_factor`].
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
    /// The account is open and has no password, since several people asked for one with this address: she chooses one through
    /// `forgot-password`.
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
    /// Since when.
    pub created_at: DateTime<Utc>,
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

impl Accounts {
    /// The service, and what goes on beside it.
    pub fn new(parts: Parts, settings: Settings) -> (Self, Background) {
        let accounts = Self { parts: Arc::new((parts, settings)) };
        (accounts.clone(), Background { _accounts: accounts })
    }

    /// Asks for an account. The answer is the same, and takes as long, whether the address has one or not; a letter tells.
    /// Until the link in it is followed nothing is known under this address, and nobody can sign in.
    pub async fn register(
        &self,
        _email: &str,
        _password: &str,
        _origin: &Origin,
    ) -> Result<(), AccountError> {
        todo!()
    }

    /// Has the letter with the link sent again. The answer tells nothing.
    pub async fn resend_verification(&self, _email: &str, _origin: &Origin) -> Result<(), AccountError> {
        todo!()
    }

    /// Follows the link of a letter: opens an account, or changes an address. Signs nobody in. Where
    /// [`Verified::new_member`] is set, deliveries that waited for her are to be looked at again.
    pub async fn verify_email(&self, _token: &str, _origin: &Origin) -> Result<Verified, AccountError> {
        todo!()
    }

    /// Makes an account without a letter, or gives the one that is there this role and, if one is given, this password.
    pub async fn create(
        &self,
        _new: NewAccount<'_>,
        _actor: Actor,
        _request_id: &str,
    ) -> Result<Verified, AccountError> {
        todo!()
    }

    /// Signs in with a password.
    pub async fn login(
        &self,
        _email: &str,
        _password: &str,
        _origin: &Origin,
    ) -> Result<Login, AccountError> {
        todo!()
    }

    /// Signs in with the code of an authenticator app, or a backup code, after a right password.
    pub async fn login_second_factor(
        &self,
        _challenge: &str,
        _code: &str,
        _origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        todo!()
    }

    /// Signs a member in without a password: for the demo's links.
    pub async fn sign_in_as(
        &self,
        _member: &MemberId,
        _actor: Actor,
        _origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        todo!()
    }

    /// Spends a refresh token. [`AccountError::SessionEnded`] means that the cookies are to be removed.
    pub async fn refresh(&self, _refresh_token: &str, _origin: &Origin) -> Result<Renewed, AccountError> {
        todo!()
    }

    /// Reads an access token that a browser sent. No I/O. Whether its session was revoked is to be asked of the access index.
    pub fn authenticate(&self, _access_token: &str) -> Result<Access, BadAccessToken> {
        todo!()
    }

    /// Ends the session she is in.
    pub async fn logout(
        &self,
        _member: &MemberId,
        _session: &SessionId,
        _origin: &Origin,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Ends the session a refresh token belongs to; for when the access token has expired. A token of no session is no error.
    pub async fn logout_with(
        &self,
        _refresh_token: &str,
        _origin: &Origin,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Has a letter sent with which another password can be chosen. The answer tells nothing.
    pub async fn forgot_password(&self, _email: &str, _origin: &Origin) -> Result<(), AccountError> {
        todo!()
    }

    /// Chooses a password with the token of a letter. Ends all sessions, and signs nobody in.
    pub async fn reset_password(
        &self,
        _token: &str,
        _password: &str,
        _origin: &Origin,
    ) -> Result<Verified, AccountError> {
        todo!()
    }

    /// Chooses another password, knowing the present one. Ends all her other sessions.
    pub async fn change_password(
        &self,
        _member: &MemberId,
        _session: &SessionId,
        _current: &str,
        _new: &str,
        _origin: &Origin,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Asks for another address; it is hers once the link in the letter there is followed ([`Self::verify_email`]). The answer
    /// does not tell whether somebody has it.
    pub async fn change_email(
        &self,
        _member: &MemberId,
        _password: &str,
        _email: &str,
        _origin: &Origin,
    ) -> Result<(), AccountError> {
        todo!()
    }

    /// Deletes the account, its sessions and its address. What happened stays in the log, without her.
    pub async fn delete_account(
        &self,
        _member: &MemberId,
        _password: &str,
        _origin: &Origin,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Her sessions that live, the latest first.
    pub async fn sessions(&self, _member: &MemberId) -> Result<Vec<SessionView>, AccountError> {
        todo!()
    }

    /// Ends one of a member's sessions; `actor` is she or somebody of the staff.
    pub async fn revoke_session(
        &self,
        _member: &MemberId,
        _session: &SessionId,
        _actor: Actor,
        _request_id: &str,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Ends all of a member's sessions but `keep`, and says how many.
    pub async fn revoke_other_sessions(
        &self,
        _member: &MemberId,
        _keep: Option<&SessionId>,
        _actor: Actor,
        _request_id: &str,
    ) -> Result<(usize, Position), AccountError> {
        todo!()
    }

    /// Begins to set up a second factor: her app is given a secret. Nothing is asked for until it is confirmed.
    pub async fn enrol_totp(
        &self,
        _member: &MemberId,
        _password: &str,
        _origin: &Origin,
    ) -> Result<Enrolment, AccountError> {
        todo!()
    }

    /// Confirms it with a code of the app. From now on a code is asked for. The backup codes are shown once.
    pub async fn confirm_totp(
        &self,
        _member: &MemberId,
        _code: &str,
        _origin: &Origin,
    ) -> Result<Vec<String>, AccountError> {
        todo!()
    }

    /// Removes the second factor; needs the password and a code.
    pub async fn disable_totp(
        &self,
        _member: &MemberId,
        _password: &str,
        _code: &str,
        _origin: &Origin,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// Makes new backup codes in place of those there are; needs the password and a code.
    pub async fn new_backup_codes(
        &self,
        _member: &MemberId,
        _password: &str,
        _code: &str,
        _origin: &Origin,
    ) -> Result<Vec<String>, AccountError> {
        todo!()
    }

    /// Gives a member other rights. Fewer rights end her sessions at once; more come with the next renewal.
    pub async fn set_role(
        &self,
        _member: &MemberId,
        _role: Role,
        _actor: Actor,
        _request_id: &str,
    ) -> Result<Position, AccountError> {
        todo!()
    }

    /// A member's account, if she has one.
    pub async fn account(&self, _member: &MemberId) -> Result<Option<AccountView>, AccountError> {
        todo!()
    }

    /// The account with an address.
    pub async fn account_by_email(&self, _email: &str) -> Result<Option<AccountView>, AccountError> {
        todo!()
    }

    /// Records in a member's history that somebody of the staff looked at `what` of hers, such as `timeline`: once an hour and
    /// session. The member has to exist. Before the answer is given.
    pub async fn record_staff_read(
        &self,
        _staff: &MemberId,
        _session: &SessionId,
        _member: &MemberId,
        _what: &str,
        _request_id: &str,
    ) -> Result<(), AccountError> {
        todo!()
    }

    /// Makes a service token. The caller has checked that the scopes are known.
    pub async fn create_service_token(
        &self,
        _name: &str,
        _scopes: &[String],
        _actor: Actor,
    ) -> Result<Result<NewServiceToken, BadServiceToken>, AccountError> {
        todo!()
    }

    /// All service tokens, revoked ones too, the oldest first.
    pub async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, AccountError> {
        todo!()
    }

    /// Revokes a service token; false when none has this id. Other processes learn of it within seconds.
    pub async fn revoke_service_token(&self, _id: &str) -> Result<bool, AccountError> {
        todo!()
    }

    /// Who has this service token. No I/O. Knows none before [`Background::run`] has begun or [`Self::load_service_tokens`].
    pub fn find_service_token(&self, _token: &str) -> Option<Arc<ServiceCaller>> {
        todo!()
    }

    /// Reads the service tokens again.
    pub async fn load_service_tokens(&self) -> Result<(), AccountError> {
        todo!()
    }

    /// Waits until all letters have been sent, at most so long; false when some were not.
    pub async fn letters_sent(&self, _at_most: Duration) -> bool {
        todo!()
    }
}
