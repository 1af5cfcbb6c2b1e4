//! What is kept about accounts, and the port to where it is kept. Every method does all of what it says, or nothing.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::account::{Lock, RevokedBecause, Role};
use domain::ids::{MemberId, SessionId};
use domain::ports::StoreError;

use crate::throttle::{Counter, Refused};

/// SHA-256 of a secret. The secrets themselves are kept nowhere.
pub type Hash = [u8; 32];

/// Whose account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of whoever has this address, in small letters.
    Email(String),
    /// Of this member.
    Member(MemberId),
}

/// A person and her account.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Who.
    pub member: MemberId,
    /// Her address as she wrote it.
    pub email: Option<String>,
    /// Since when she has an account; none where only the person is known.
    pub opened_at: Option<DateTime<Utc>>,
    /// The hash of her password, in PHC form.
    pub password: Option<String>,
    /// Her rights.
    pub role: Role,
    /// Whether the address was shown to be hers: not yet, where staff has invited her.
    pub verified: bool,
    /// Whether the log knows of the account.
    pub announced: bool,
    /// That she may not sign in.
    pub lock: Option<Lock>,
    /// When she last signed in.
    pub signed_in_at: Option<DateTime<Utc>>,
    /// Her second factor.
    pub totp: Option<TotpRecord>,
    /// How many backup codes are left.
    pub backup_codes: usize,
    /// Whether a provider is linked.
    pub has_identity: bool,
}

impl AccountRecord {
    /// Whether there is something to sign in with: a password or a provider, under an address that was shown to be hers.
    pub fn has_way_in(&self) -> bool {
        self.verified && (self.password.is_some() || self.has_identity)
    }

    /// Whether a code is asked for beside the password.
    pub fn has_second_factor(&self) -> bool {
        self.totp.as_ref().is_some_and(|totp| totp.confirmed)
    }
}

/// The secret of an authenticator app.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpRecord {
    /// What both sides know.
    pub secret: Vec<u8>,
    /// Whether a code of it has been shown.
    pub confirmed: bool,
    /// The step of the last code that was used: none counts twice.
    pub last_step: i64,
}

/// An account to be opened.
#[derive(Clone)]
pub struct Opening {
    /// The token that is spent for it; without one it is opened by staff.
    pub token: Option<Hash>,
    /// Who she is unless the address is known.
    pub member: MemberId,
    /// Her address as she wrote it.
    pub email: String,
    /// The same in small letters.
    pub email_lower: String,
    /// The hash of her password.
    pub password: Option<String>,
    /// Whether the address was shown to be hers.
    pub verified: bool,
    /// When.
    pub now: DateTime<Utc>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The account is new.
    New(MemberId),
    /// There was one, which stays as it was.
    Held(MemberId),
    /// The token was spent before.
    Spent,
}

/// A change of an account.
#[derive(Clone)]
pub enum Change {
    /// Another password. In the same moment her sessions but one end, her known devices but one are forgotten, and the letters
    /// on their way count no more.
    Password {
        /// The hash of the new one.
        hash: String,
        /// The session that goes on.
        keep: Option<SessionId>,
        /// The device that stays known.
        keep_device: Option<Hash>,
    },
    /// The same password hashed in another way, unless it was changed meanwhile.
    Rehashed {
        /// The hash there was.
        from: String,
        /// The hash there is to be.
        to: String,
    },
    /// Other rights. Where they are fewer, her sessions end in the same moment. Never for the [last owner](is_last_owner).
    Role {
        /// These.
        role: Role,
        /// When.
        now: DateTime<Utc>,
    },
    /// She may not sign in. In the same moment her sessions end, and the letters on their way count no more. Never for the
    /// [last owner](is_last_owner).
    Locked {
        /// For how long.
        lock: Lock,
        /// When.
        now: DateTime<Utc>,
    },
    /// She may sign in again.
    Unlocked,
    /// The address was shown to be hers.
    Verified,
    /// The log knows of it.
    Announced,
    /// A secret that is not confirmed yet, in place of one that was not either.
    TotpSecret(Vec<u8>),
    /// The secret is confirmed by the code of this step; these are the backup codes. In the same moment her sessions but one,
    /// which began without a second factor, end.
    TotpConfirmed {
        /// The secret whose code it was.
        secret: Vec<u8>,
        /// The step.
        step: i64,
        /// The hashes of the codes.
        backup_codes: Vec<Hash>,
        /// The session that goes on.
        keep: SessionId,
    },
    /// The code of this step is used, unless it or a later one was before.
    TotpStep(i64),
    /// No second factor.
    TotpRemoved,
    /// Other backup codes.
    BackupCodes(Vec<Hash>),
    /// This backup code is used, unless it was before.
    BackupCodeUsed(Hash),
    /// The account is no more: nothing personal is left, its sessions end. [`AccountStore::forget_account`] removes the rest.
    /// Never that of the [last owner](is_last_owner).
    Deleted(DateTime<Utc>),
}

/// Whether a change would leave nobody who gives rights. `owners` are all who have that role, each with whether she
/// [has a way in](AccountRecord::has_way_in) and her lock, as they are in the transaction that makes the change. Who cannot sign in
/// gives none.
pub fn is_last_owner(
    member: &MemberId,
    owners: &[(MemberId, bool, Option<Lock>)],
    now: DateTime<Utc>,
) -> bool {
    let stands = |(_, has_way_in, lock): &&(MemberId, bool, Option<Lock>)| {
        *has_way_in && !lock.is_some_and(|lock| lock.holds(now))
    };
    let mut standing = owners.iter().filter(stands);
    standing.any(|(owner, ..)| owner == member) && owners.iter().filter(stands).count() == 1
}

/// What the log is to be told of a change. Kept with the change, in the same moment, until the log knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Its id.
    pub id: String,
    /// What, in a form that only the service reads. Nothing personal.
    pub text: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of a change of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailChange {
    /// It is hers.
    Done,
    /// It is somebody else's by now.
    Taken,
    /// The token was spent before.
    Spent,
}

/// What a token in a letter, or a challenge, is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Opening an account.
    Registration,
    /// Having another address.
    NewEmail,
    /// Choosing a password.
    Reset,
    /// Signing in with a second factor, after a right password.
    Challenge,
    /// Nothing: kept where another would be, so that both take as long.
    Void,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Registration, Self::NewEmail, Self::Reset, Self::Challenge, Self::Void];

    /// The kind as it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::NewEmail => "new_email",
            Self::Reset => "reset",
            Self::Challenge => "challenge",
            Self::Void => "void",
        }
    }

    /// Reads a kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A token as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256 of it.
    pub hash: Hash,
    /// What it is good for.
    pub kind: TokenKind,
    /// Whose it is, where that is known.
    pub member: Option<MemberId>,
    /// The address it is about.
    pub email: Option<String>,
    /// The hash of the password that was chosen with it.
    pub password: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it counts.
    pub expires_at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
}

/// A session as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub member: MemberId,
    /// SHA-256 of the part of its refresh tokens that stays.
    pub family: Hash,
    /// SHA-256 of the other part of the refresh token that counts now.
    pub current: Hash,
    /// The same of the one before.
    pub previous: Option<Hash>,
    /// With what the present one follows from the one before.
    pub salt: [u8; 32],
    /// How many refresh tokens there have been.
    pub generation: u32,
    /// The latest generation an access token of which has been seen in a request.
    pub seen: u32,
    /// When she signed in.
    pub created_at: DateTime<Utc>,
    /// When the present refresh token was made.
    pub rotated_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// What the browser calls itself.
    pub device: Option<String>,
    /// The network it began in.
    pub network: Option<String>,
}

/// The device somebody signs in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Known by this.
    Known(Hash),
    /// To be known by this from now on.
    New(Hash),
}

/// The next refresh token of a session, if `from` still is the present one.
///
/// Where `from` was lost on its way, the next one takes its place: the one before stays the one before, and it is no new
/// generation. Only while nothing of the present generation has been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The session.
    pub session: SessionId,
    /// The refresh token that is spent, or was lost.
    pub from: Hash,
    /// The next one.
    pub to: Hash,
    /// With what it follows.
    pub salt: [u8; 32],
    /// Whether `from` was lost.
    pub lost: bool,
    /// When.
    pub now: DateTime<Utc>,
}

/// Which of a member's sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(SessionId),
    /// All of them.
    All,
}

/// A session that was ended, and of which the log may not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Whose.
    pub member: MemberId,
    /// Which.
    pub id: SessionId,
    /// Why.
    pub why: RevokedBecause,
}

/// A service token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTokenRecord {
    /// Its id (`tok_…`), by which it is revoked.
    pub id: String,
    /// The name of the back end.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// SHA-256 of the token.
    pub hash: Hash,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Where accounts are kept.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// A person, with her account if she has one.
    async fn account(&self, whose: &Whose) -> Result<Option<AccountRecord>, StoreError>;

    /// Accounts after this one, by the ids of their members, with this role if one is given.
    async fn accounts(
        &self,
        role: Option<Role>,
        after: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<AccountRecord>, StoreError>;

    /// Opens an account for whoever has the address. Spends the token, and with it all others that would open one for it.
    async fn open_account(&self, opening: Opening) -> Result<Opened, StoreError>;

    /// Changes an account and keeps the news of it; false, with nothing done, where it is not as the change needs it.
    async fn change_account(
        &self,
        member: &MemberId,
        change: Change,
        news: Option<News>,
    ) -> Result<bool, StoreError>;

    /// Gives a member another address, spending the token, and keeps the news of it.
    async fn change_email(
        &self,
        member: &MemberId,
        token: &Hash,
        email: &str,
        email_lower: &str,
        news: News,
    ) -> Result<EmailChange, StoreError>;

    /// News from before a moment of which the log may not know yet, the oldest first.
    async fn news(&self, before: DateTime<Utc>, limit: usize) -> Result<Vec<(MemberId, News)>, StoreError>;

    /// Removes news.
    async fn forget_news(&self, id: &str) -> Result<(), StoreError>;

    /// Accounts that were opened, or deleted (then true), before a moment, and of which the log may not know yet.
    async fn unfinished_accounts(
        &self,
        before: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(MemberId, bool)>, StoreError>;

    /// Removes what is left of a deleted account.
    async fn forget_account(&self, member: &MemberId) -> Result<(), StoreError>;

    /// Keeps a token.
    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError>;

    /// A token that counts at `now`.
    async fn token(&self, hash: &Hash, now: DateTime<Utc>) -> Result<Option<TokenRecord>, StoreError>;

    /// The tokens that would open an account for an address at `now`, the latest first.
    async fn registrations(
        &self,
        email_lower: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<TokenRecord>, StoreError>;

    /// Spends a token of this kind: of those who ask, one gets it.
    async fn take_token(
        &self,
        hash: &Hash,
        kind: TokenKind,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError>;

    /// Counts a try of a token, and gives the token unless it was tried so often before.
    async fn try_token(
        &self,
        hash: &Hash,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError>;

    /// Begins a session, from this device, and forgets these counters; false, with nothing done, where her password, her rights or
    /// whether she has a second factor are not those of `account` any more, or her account is locked: whoever ended her sessions
    /// meanwhile has ended this one too. Of her sessions only the fifty used last go on.
    async fn begin_session(
        &self,
        account: &AccountRecord,
        session: SessionRecord,
        device: Device,
        counters: &[String],
    ) -> Result<bool, StoreError>;

    /// The session that has this family of refresh tokens and has not been ended, and the rights of its member.
    async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError>;

    /// Spends a refresh token, or replaces one that was lost: of those who ask at once, one does.
    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError>;

    /// Notes of which generations access tokens have been seen.
    async fn mark_seen(&self, seen: &[(SessionId, u32)]) -> Result<(), StoreError>;

    /// A member's sessions that have not been ended, the latest first.
    async fn sessions(&self, member: &MemberId) -> Result<Vec<SessionRecord>, StoreError>;

    /// Ends sessions of a member and says which.
    async fn end_sessions(
        &self,
        member: &MemberId,
        which: Which,
        why: RevokedBecause,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Ended sessions of a member, or of anybody, that are still there.
    async fn ended_sessions(
        &self,
        member: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<EndedSession>, StoreError>;

    /// Removes ended sessions.
    async fn forget_sessions(&self, sessions: &[SessionId]) -> Result<(), StoreError>;

    /// Whether a member is known to have this device.
    async fn knows_device(&self, member: &MemberId, device: &Hash) -> Result<bool, StoreError>;

    /// Counts an attempt on all of these, unless one of them refuses: then on none.
    async fn attempt(
        &self,
        counters: Vec<Counter>,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refused>, StoreError>;

    /// Forgets counters.
    async fn clear(&self, keys: &[String]) -> Result<(), StoreError>;

    /// Keeps a service token.
    async fn add_service_token(&self, token: ServiceTokenRecord) -> Result<(), StoreError>;

    /// All service tokens, the oldest first.
    async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, StoreError>;

    /// Revokes a service token; false when none has this id.
    async fn revoke_service_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Removes some of what counts no more at `now`: tokens, counters, sessions past their end, and devices nobody has signed in
    /// from for more than a year. False when nothing was left to remove.
    async fn sweep(&self, now: DateTime<Utc>) -> Result<bool, StoreError>;
}
