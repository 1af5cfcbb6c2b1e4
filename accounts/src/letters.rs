//! Letters to members. The words and the way they travel are the [`Mailer`]'s.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;

/// What a letter is about. Tokens in it are secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Letter {
    /// Follow the link to open the account; whoever did not ask for one must not.
    VerifyEmail {
        /// For `verify-email`.
        token: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// Somebody asked for an account with this address, which has one. Sign in, or choose another password.
    AlreadyRegistered,
    /// Follow the link to choose another password.
    ResetPassword {
        /// For `reset-password`.
        token: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// Staff has made an account for this address. Follow the link to choose its password.
    Invitation {
        /// For `reset-password`.
        token: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// The password was changed. If it was not you, choose another at once.
    PasswordChanged {
        /// When.
        at: DateTime<Utc>,
    },
    /// Follow the link to have this address from now on. Goes to the new address.
    ConfirmNewEmail {
        /// For `verify-email`.
        token: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// Somebody who knows the password asked for another address. Goes to the present address.
    EmailChangeRequested {
        /// The address asked for.
        new_email: String,
    },
    /// The address was changed. Goes to the old one.
    EmailChanged {
        /// The address from now on.
        new_email: String,
    },
    /// Somebody signed in from a device that had not been used before.
    NewDevice {
        /// What the browser calls itself.
        device: Option<String>,
        /// When.
        at: DateTime<Utc>,
    },
    /// A second factor was set up.
    SecondFactorEnabled,
    /// The second factor was removed.
    SecondFactorDisabled,
    /// A backup code was used instead of the second factor.
    BackupCodeUsed {
        /// How many there are left.
        left: usize,
    },
    /// A refresh token was used twice, so one of the two was not hers: the session was ended.
    SessionStolen {
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody who showed that it is she can sign in with this provider from now on.
    IdentityLinked {
        /// Its name.
        provider: String,
    },
    /// She cannot any more.
    IdentityUnlinked {
        /// Its name.
        provider: String,
    },
    /// The account is gone.
    AccountDeleted,
}

impl Letter {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::VerifyEmail { .. } => "verify_email",
            Self::AlreadyRegistered => "already_registered",
            Self::ResetPassword { .. } => "reset_password",
            Self::Invitation { .. } => "invitation",
            Self::PasswordChanged { .. } => "password_changed",
            Self::ConfirmNewEmail { .. } => "confirm_new_email",
            Self::EmailChangeRequested { .. } => "email_change_requested",
            Self::EmailChanged { .. } => "email_changed",
            Self::NewDevice { .. } => "new_device",
            Self::SecondFactorEnabled => "second_factor_enabled",
            Self::SecondFactorDisabled => "second_factor_disabled",
            Self::BackupCodeUsed { .. } => "backup_code_used",
            Self::SessionStolen { .. } => "session_stolen",
            Self::IdentityLinked { .. } => "identity_linked",
            Self::IdentityUnlinked { .. } => "identity_unlinked",
            Self::AccountDeleted => "account_deleted",
        }
    }
}

/// Never what it holds: some of that is secret, some personal.
impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a letter was not sent.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum MailError {
    /// Another attempt may help.
    #[error("{0}")]
    Passing(String),
    /// It will not.
    #[error("{0}")]
    Lasting(String),
}

/// Sends letters. Called in the background, one letter after the other; what passes is tried again.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one letter to one address.
    async fn send(&self, to: &str, letter: &Letter) -> Result<(), MailError>;
}
