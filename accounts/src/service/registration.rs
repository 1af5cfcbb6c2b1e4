//! From wanting an account to having one.
//!
//! Nothing is known under an address before it was shown to be somebody's: a password that is chosen with an address waits
//! beside the token of the letter, and only that letter's link brings it into force. So whoever asks first for another's
//! address gains nothing by it: her own letter has her own password, and opening an account drops all others.

use domain::account::{AccountCommand, PasswordChange};
use domain::ids::MemberId;
use domain::metadata::Actor;

use super::{Accounts, LINK_LIFE};
use crate::answers::{NewAccount, Verified, VerifiedWhat};
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::news;
use crate::parts::Origin;
use crate::secrets::{bytes, hash};
use crate::store::{Change, EmailChange, Opened, Opening, TokenKind, TokenRecord, Whose};

impl Accounts {
    /// Asks for an account. The answer is the same, and takes as long, whether the address has one or not; a letter tells.
    /// Until the link in it is followed nothing is known under this address, and nobody can sign in.
    pub async fn register(&self, email: &str, password: &str, origin: &Origin) -> Result<(), AccountError> {
        let email = Email::parse(email)?;
        let password = self.hashed(password, &email.written).await?;
        let may_write = self.may_write_to(&email, origin).await?;
        let held = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let held = held.is_some_and(|held| held.opened_at.is_some());
        // The same is written in every case, so that the time tells nothing either.
        let kind = if held || !may_write { TokenKind::Void } else { TokenKind::Registration };
        let (token, expires_at) =
            self.new_token(kind, LINK_LIFE, (None, Some(email.written.clone()), Some(password))).await?;
        if may_write {
            let letter =
                if held { Letter::AlreadyRegistered } else { Letter::VerifyEmail { token, expires_at } };
            self.post(&email.written, letter);
        }
        Ok(())
    }

    /// Has the letter with the link sent again. The answer tells nothing.
    pub async fn resend_verification(&self, email: &str, origin: &Origin) -> Result<(), AccountError> {
        let email = Email::parse(email)?;
        let may_write = self.may_write_to(&email, origin).await?;
        let waiting = self.inner.parts.store.registrations(&email.lower, self.now()).await?;
        let known = !waiting.is_empty() && may_write;
        // Where several people chose a password, nobody can tell here which of them asks.
        let (first, others) = (waiting.first(), waiting.get(1..).unwrap_or_default());
        let password = first.and_then(|first| first.password.clone());
        let password =
            password.filter(|password| others.iter().all(|other| other.password.as_ref() == Some(password)));
        let kind = if known { TokenKind::Registration } else { TokenKind::Void };
        let written = first.and_then(|first| first.email.clone()).unwrap_or(email.written);
        let (token, expires_at) =
            self.new_token(kind, LINK_LIFE, (None, Some(written.clone()), password)).await?;
        if known {
            self.post(&written, Letter::VerifyEmail { token, expires_at });
        }
        Ok(())
    }

    /// Follows the link of a letter: opens an account, or changes an address. Signs nobody in. Where
    /// [`Verified::new_member`] is set, deliveries that waited for her are to be looked at again.
    pub async fn verify_email(&self, token: &str, origin: &Origin) -> Result<Verified, AccountError> {
        let token = self.inner.parts.store.token(&hash(token), self.now()).await?;
        let token = token.ok_or(AccountError::BadToken)?;
        match token.kind {
            TokenKind::Registration => self.open(token, origin).await,
            TokenKind::NewEmail => self.take_new_email(token, origin).await,
            TokenKind::Reset | TokenKind::Challenge | TokenKind::Void => Err(AccountError::BadToken),
        }
    }

    async fn open(&self, token: TokenRecord, origin: &Origin) -> Result<Verified, AccountError> {
        let email = Email::parse(token.email.as_deref().unwrap_or_default())?;
        let what = match token.password {
            Some(_) => VerifiedWhat::Registration,
            None => VerifiedWhat::RegistrationWithoutPassword,
        };
        let member =
            self.open_for(&email, token.password, Some(token.hash)).await?.ok_or(AccountError::BadToken)?;
        let (new_member, position) = self.announce(&member, self.by_herself(&member, origin)).await?;
        Ok(Verified { member, what, new_member, position })
    }

    /// Opens an account for an address; none where the token was spent by somebody faster.
    pub(super) async fn open_for(
        &self,
        email: &Email,
        password: Option<String>,
        token: Option<[u8; 32]>,
    ) -> Result<Option<MemberId>, AccountError> {
        let now = self.now();
        let opening = Opening {
            token,
            member: MemberId::generate(now, bytes(self.inner.parts.random.as_ref())?),
            email: email.written.clone(),
            email_lower: email.lower.clone(),
            password,
            now,
        };
        Ok(match self.inner.parts.store.open_account(opening).await? {
            Opened::New(member) | Opened::Held(member) => Some(member),
            Opened::Spent => None,
        })
    }

    async fn take_new_email(&self, token: TokenRecord, origin: &Origin) -> Result<Verified, AccountError> {
        let email = Email::parse(token.email.as_deref().unwrap_or_default())?;
        let member = token.member.ok_or(AccountError::BadToken)?;
        let before = self.open_account_of(&member).await?.email;
        let (command, context) = (AccountCommand::ChangeEmail, self.by_herself(&member, origin));
        let (store, random) = (&self.inner.parts.store, self.inner.parts.random.as_ref());
        let news = news::of(&command, &context, random)?;
        let id = news.id.clone();
        let changed = store.change_email(&member, &token.hash, &email.written, &email.lower, news).await?;
        match changed {
            EmailChange::Done => {}
            EmailChange::Taken => return Err(AccountError::EmailTaken),
            EmailChange::Spent => return Err(AccountError::BadToken),
        }
        if let Some(before) = before {
            self.post(&before, Letter::EmailChanged { new_email: email.written });
        }
        let position = self.tell_news(&member, &id, command, context).await?;
        Ok(Verified { member, what: VerifiedWhat::NewEmail, new_member: false, position })
    }

    /// Makes an account without a letter, or gives the one that is there this role and, if one is given, this password.
    pub async fn create(
        &self,
        new: NewAccount<'_>,
        actor: Actor,
        request_id: &str,
    ) -> Result<Verified, AccountError> {
        let email = Email::parse(new.email)?;
        let password = match new.password {
            Some(password) => Some(self.hashed(password, &email.written).await?),
            None => None,
        };
        let held = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let held = held.is_some_and(|held| held.opened_at.is_some());
        let member = self.open_for(&email, password.clone(), None).await?.ok_or(AccountError::BadToken)?;
        let context = self.context(actor.clone(), request_id);
        let (new_member, mut position) = self.announce(&member, context.clone()).await?;
        if let Some(hash) = password.filter(|_| held) {
            let change = Change::Password { hash, keep: None, keep_device: None };
            position = self.change_password_to(&member, change, PasswordChange::Set, context).await?;
        }
        position = position.max(self.set_role(&member, new.role, actor, request_id).await?);
        let what = match new.password {
            Some(_) => VerifiedWhat::Registration,
            None => VerifiedWhat::RegistrationWithoutPassword,
        };
        Ok(Verified { member, what, new_member, position })
    }
}
