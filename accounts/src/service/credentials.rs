//! Passwords and addresses that are forgotten, changed or given up.

use domain::account::{AccountCommand, PasswordChange};
use domain::ids::{MemberId, SessionId};
use domain::metadata::Context;
use domain::ports::Position;

use super::sign_in::in_a_row;
use super::{Accounts, LINK_LIFE, RESET_LIFE};
use crate::answers::{Verified, VerifiedWhat};
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::parts::Origin;
use crate::secrets::hash;
use crate::store::{Change, TokenKind, Whose};

impl Accounts {
    /// Has a letter sent with which another password can be chosen. The answer tells nothing.
    pub async fn forgot_password(&self, email: &str, origin: &Origin) -> Result<(), AccountError> {
        let email = Email::parse(email)?;
        let may_write = self.may_write_to(&email, TokenKind::Reset, origin).await?;
        // Whoever is known without an account, as from another site, opens one by choosing a password.
        let known = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let known = known.filter(|_| may_write);
        let kind = if known.is_some() { TokenKind::Reset } else { TokenKind::Void };
        let to = known.as_ref().and_then(|known| known.email.clone()).unwrap_or(email.written);
        let of = (known.as_ref().map(|known| known.member.clone()), Some(to.clone()), None);
        let (token, expires_at) = self.new_token(kind, RESET_LIFE, of).await?;
        if known.is_some() {
            self.post(&to, Letter::ResetPassword { token, expires_at });
        }
        Ok(())
    }

    /// Chooses a password with the token of a letter. Ends all sessions, and signs nobody in.
    pub async fn reset_password(
        &self,
        token: &str,
        password: &str,
        origin: &Origin,
    ) -> Result<Verified, AccountError> {
        let (store, token) = (&self.inner.parts.store, hash(token));
        let found = store.token(&token, self.now()).await?;
        let found = found.filter(|found| found.kind == TokenKind::Reset).ok_or(AccountError::BadToken)?;
        let email = Email::parse(found.email.as_deref().unwrap_or_default())?;
        let hash = self.hashed(self.chosen(password, &email.written)?).await?;
        let spent = store.take_token(&token, TokenKind::Reset, self.now()).await?;
        let member = spent.and_then(|spent| spent.member).ok_or(AccountError::BadToken)?;
        let account = store.account(&Whose::Member(member.clone())).await?;
        // The letter went to the address she had then.
        let account = account
            .filter(|account| account.email.as_ref().is_some_and(|held| held.to_lowercase() == email.lower));
        let account = account.ok_or(AccountError::BadToken)?;
        let context = self.by_herself(&member, origin);
        if account.opened_at.is_none() {
            let opened = self.open_for(&email, Some(hash.clone()), None, true).await?;
            if opened.as_ref() != Some(&member) {
                return Err(AccountError::BadToken);
            }
        }
        // The letter reached her.
        store.change_account(&member, Change::Verified, None).await?;
        let (new_member, _) = self.announce(&member, context.clone()).await?;
        let change = Change::Password { hash, keep: None, keep_device: None };
        let position = self.change_password_to(&member, change, PasswordChange::Reset, context).await?;
        store.clear(&[in_a_row(&email.lower), format!("code:{member}"), format!("proof:{member}")]).await?;
        self.post(&email.written, Letter::PasswordChanged { at: self.now() });
        let what = VerifiedWhat::Registration;
        Ok(Verified { member, what, new_member, password_token: None, position })
    }

    /// Has the password be another, and says so with the sessions that end for it.
    pub(super) async fn change_password_to(
        &self,
        member: &MemberId,
        change: Change,
        how: PasswordChange,
        context: Context,
    ) -> Result<Position, AccountError> {
        let changed =
            self.change(member, change, AccountCommand::ChangePassword(how), context.clone()).await?;
        let position = changed.ok_or(AccountError::NoAccount)?;
        Ok(position.max(self.finish_ended_of(member, &context).await?))
    }

    /// Chooses another password, knowing the present one. Ends all her other sessions.
    pub async fn change_password(
        &self,
        member: &MemberId,
        session: &SessionId,
        current: &str,
        new: &str,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        let account = self.proven(member, current).await?;
        let email = account.email.unwrap_or_default();
        let change = Change::Password {
            hash: self.hashed(self.chosen(new, &email)?).await?,
            keep: Some(session.clone()),
            keep_device: origin.device.as_deref().map(hash),
        };
        let context = self.by_herself(member, origin);
        let position = self.change_password_to(member, change, PasswordChange::Changed, context).await?;
        if !email.is_empty() {
            self.post(&email, Letter::PasswordChanged { at: self.now() });
        }
        Ok(position)
    }

    /// Asks for another address; it is hers once the link in the letter there is followed ([`Self::verify_email`]). The answer
    /// does not tell whether somebody has it.
    pub async fn change_email(
        &self,
        member: &MemberId,
        password: &str,
        email: &str,
        origin: &Origin,
    ) -> Result<(), AccountError> {
        let email = Email::parse(email)?;
        let account = self.proven(member, password).await?;
        let may_write = self.may_write_to(&email, TokenKind::NewEmail, origin).await?;
        let holder = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let taken = holder.is_some_and(|holder| holder.member != *member);
        let kind = if taken || !may_write { TokenKind::Void } else { TokenKind::NewEmail };
        let of = (Some(member.clone()), Some(email.written.clone()), None);
        let (token, expires_at) = self.new_token(kind, LINK_LIFE, of).await?;
        if may_write {
            let letter =
                if taken { Letter::AlreadyRegistered } else { Letter::ConfirmNewEmail { token, expires_at } };
            self.post(&email.written, letter);
            if let Some(held) = account.email {
                self.post(&held, Letter::EmailChangeRequested { new_email: email.written });
            }
        }
        Ok(())
    }

    /// Deletes the account, its sessions and its address. What happened stays in the log, without her.
    pub async fn delete_account(
        &self,
        member: &MemberId,
        password: &str,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        let account = self.proven(member, password).await?;
        if self.inner.parts.paying.is_paying(member).await? {
            return Err(AccountError::Paying);
        }
        let context = self.by_herself(member, origin);
        let deleted = Change::Deleted(self.now());
        if !self.inner.parts.store.change_account(member, deleted, None).await? {
            self.unless_last_owner(member).await?;
        }
        let position = self.finish_deleted(member, context).await?;
        if let Some(email) = account.email {
            self.post(&email, Letter::AccountDeleted);
        }
        Ok(position)
    }

    /// Has the log know that an account was deleted, and removes the rest of it.
    pub(super) async fn finish_deleted(
        &self,
        member: &MemberId,
        context: Context,
    ) -> Result<Position, AccountError> {
        self.finish_ended_of(member, &context).await?;
        let position = self.tell(member, AccountCommand::Delete, context).await?;
        self.inner.parts.store.forget_account(member).await?;
        Ok(position)
    }
}
