//! From wanting an account to having one.
//!
//! Nothing is known under an address before it was shown to be somebody's: a password that is chosen with an address waits
//! beside the token of the letter. Whoever follows the link has the letter box, and whoever chose the password may be somebody
//! else. So the link alone opens the account without a password, and with a secret to choose one; only in the browser that asked
//! for this very letter the password comes into force. Opening an account drops all other registrations of its address.

use std::iter;

use domain::account::{AccountCommand, PasswordChange};
use domain::ids::MemberId;
use domain::metadata::Actor;

use super::{Accounts, LINK_LIFE, RESET_LIFE};
use crate::answers::{NewAccount, Verified, VerifiedWhat};
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::news;
use crate::parts::Origin;
use crate::secrets::{PROOF, bytes, hash, proof, same};
use crate::store::{Change, EmailChange, Hash, Opened, Opening, TokenKind, TokenRecord, Whose};

/// Of so many letters a browser keeps that it asked for them.
const LETTERS_KEPT: usize = 5;

impl Accounts {
    /// Asks for an account. The answer is the same, and takes as long, whether the address has one or not; a letter tells.
    /// Until the link in it is followed nothing is known under this address, and nobody can sign in. Gives what the browser is
    /// to keep in a cookie ([`Origin::registration`]), for as long as the link counts.
    pub async fn register(
        &self,
        email: &str,
        password: &str,
        origin: &Origin,
    ) -> Result<String, AccountError> {
        let email = Email::parse(email)?;
        let password = self.chosen(password, &email.written)?;
        let may_write = self.may_write_to(&email, TokenKind::Registration, origin).await?;
        let password = self.hashed(password).await?;
        let held = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let held = held.is_some_and(|held| held.opened_at.is_some());
        // The same is written in every case, so that the time tells nothing either.
        let kind = if held || !may_write { TokenKind::Void } else { TokenKind::Registration };
        let (token, expires_at) =
            self.new_token(kind, LINK_LIFE, (None, Some(email.written.clone()), Some(password))).await?;
        let kept = kept(origin, &token);
        if may_write {
            let letter =
                if held { Letter::AlreadyRegistered } else { Letter::VerifyEmail { token, expires_at } };
            self.post(&email.written, letter);
        }
        Ok(kept)
    }

    /// Has the letter with the link sent again. The answer tells nothing. Gives what [`Self::register`] does.
    pub async fn resend_verification(&self, email: &str, origin: &Origin) -> Result<String, AccountError> {
        let email = Email::parse(email)?;
        let may_write = self.may_write_to(&email, TokenKind::Registration, origin).await?;
        let waiting = self.inner.parts.store.registrations(&email.lower, self.now()).await?;
        let known = !waiting.is_empty() && may_write;
        let hers = waiting.iter().find(|waiting| asked_for(origin, &waiting.hash));
        let password = hers.and_then(|hers| hers.password.clone());
        let kind = if known { TokenKind::Registration } else { TokenKind::Void };
        let written = hers.or(waiting.first()).and_then(|first| first.email.clone());
        let written = written.unwrap_or(email.written);
        let (token, expires_at) =
            self.new_token(kind, LINK_LIFE, (None, Some(written.clone()), password)).await?;
        let kept = kept(origin, &token);
        if known {
            self.post(&written, Letter::VerifyEmail { token, expires_at });
        }
        Ok(kept)
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
        let password = token.password.filter(|_| asked_for(origin, &token.hash));
        let member =
            self.open_for(&email, password, Some(token.hash), true).await?.ok_or(AccountError::BadToken)?;
        let (new_member, position) = self.announce(&member, self.by_herself(&member, origin)).await?;
        if self.open_account_of(&member).await?.password.is_some() {
            let what = VerifiedWhat::Registration;
            return Ok(Verified { member, what, new_member, password_token: None, position });
        }
        let of = (Some(member.clone()), Some(email.written), None);
        let (password_token, _) = self.new_token(TokenKind::Reset, RESET_LIFE, of).await?;
        let (what, password_token) = (VerifiedWhat::RegistrationWithoutPassword, Some(password_token));
        Ok(Verified { member, what, new_member, password_token, position })
    }

    /// Opens an account for an address; none where the token was spent by somebody faster.
    pub(super) async fn open_for(
        &self,
        email: &Email,
        password: Option<String>,
        token: Option<[u8; 32]>,
        verified: bool,
    ) -> Result<Option<MemberId>, AccountError> {
        let now = self.now();
        let opening = Opening {
            token,
            member: MemberId::generate(now, bytes(self.inner.parts.random.as_ref())?),
            email: email.written.clone(),
            email_lower: email.lower.clone(),
            password,
            verified,
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
        let what = VerifiedWhat::NewEmail;
        Ok(Verified { member, what, new_member: false, password_token: None, position })
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
            Some(password) => Some(self.hashed(self.chosen(password, &email.written)?).await?),
            None => None,
        };
        let held = self.inner.parts.store.account(&Whose::Email(email.lower.clone())).await?;
        let held = held.is_some_and(|held| held.opened_at.is_some());
        let member =
            self.open_for(&email, password.clone(), None, true).await?.ok_or(AccountError::BadToken)?;
        let context = self.context(actor.clone(), request_id);
        let password = password.filter(|_| held);
        if password.is_some() {
            // Whoever is invited could not come in with it else.
            self.inner.parts.store.change_account(&member, Change::Verified, None).await?;
        }
        let (new_member, mut position) = self.announce(&member, context.clone()).await?;
        if let Some(hash) = password {
            let change = Change::Password { hash, keep: None, keep_device: None };
            position = self.change_password_to(&member, change, PasswordChange::Set, context).await?;
        }
        position = position.max(self.set_role(&member, new.role, actor, request_id).await?);
        let what = match new.password {
            Some(_) => VerifiedWhat::Registration,
            None => VerifiedWhat::RegistrationWithoutPassword,
        };
        Ok(Verified { member, what, new_member, password_token: None, position })
    }
}

/// What a browser is to keep that has asked for the letter with this token: its proof, and those of the letters before.
fn kept(origin: &Origin, token: &str) -> String {
    let before = origin.registration.as_deref().unwrap_or_default().split('.');
    let before = before.filter(|proof| proof.len() == PROOF).map(str::to_owned);
    let proofs: Vec<_> = iter::once(proof(&hash(token))).chain(before).take(LETTERS_KEPT).collect();
    proofs.join(".")
}

/// Whether the letter with the token of this hash was asked for in the browser of a request.
fn asked_for(origin: &Origin, token: &Hash) -> bool {
    let proof = hash(&proof(token));
    let shown = origin.registration.as_deref().unwrap_or_default();
    shown.split('.').take(LETTERS_KEPT).any(|shown| same(&hash(shown), &proof))
}
