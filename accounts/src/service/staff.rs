//! What staff does with an account. Each is told with the id of the words that say why.

use chrono::TimeDelta;
use domain::account::{AccountCommand, StaffLetter};
use domain::ids::{MemberId, RemarkId, SessionId};
use domain::metadata::Actor;
use domain::ports::Position;

use super::{Accounts, LINK_LIFE, RESET_LIFE};
use crate::email::Email;
use crate::error::AccountError;
use crate::letters::Letter;
use crate::parts::Origin;
use crate::secrets::hash;
use crate::store::{Change, TokenKind, Whose};

/// How long whoever asks for one letter too many is told to wait.
const AN_HOUR: TimeDelta = TimeDelta::hours(1);

/// A letter that may be sent.
#[derive(Debug)]
pub struct ReadyLetter {
    member: MemberId,
    letter: StaffLetter,
    to: String,
}

/// What the link of a letter is spent as.
fn kind_of(letter: StaffLetter) -> TokenKind {
    match letter {
        StaffLetter::Verification => TokenKind::Registration,
        StaffLetter::PasswordReset | StaffLetter::Invitation => TokenKind::Reset,
    }
}

impl Accounts {
    /// Whether a letter of this kind can be sent to a member: to confirm her address as long as she has not, to choose a password
    /// from then on.
    pub async fn may_send_letter(&self, member: &MemberId, letter: StaffLetter) -> Result<(), AccountError> {
        self.address_for(member, letter).await.map(|_| ())
    }

    /// Makes a letter to a member's own address ready, and tells and sends nothing yet. No more letters than she could ask for
    /// herself.
    pub async fn ready_letter(
        &self,
        member: &MemberId,
        letter: StaffLetter,
    ) -> Result<ReadyLetter, AccountError> {
        let email = self.address_for(member, letter).await?;
        if !self.may_write_to(&email, kind_of(letter), &Origin::default()).await? {
            return Err(AccountError::Throttled { retry_after: AN_HOUR.to_std().unwrap_or_default() });
        }
        Ok(ReadyLetter { member: member.clone(), letter, to: email.written })
    }

    /// Has a letter told, and then sent: none leaves that is not on record, and of one that is on record only a crash in between
    /// keeps it from leaving. Asked for again after that, it is told and sent once more.
    pub async fn send_letter(
        &self,
        ReadyLetter { member, letter, to }: ReadyLetter,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let (kind, address) = (kind_of(letter), Some(to.clone()));
        let (life, of) = match letter {
            StaffLetter::Verification => (LINK_LIFE, (None, address, None)),
            StaffLetter::PasswordReset => (RESET_LIFE, (Some(member.clone()), address, None)),
            StaffLetter::Invitation => (LINK_LIFE, (Some(member.clone()), address, None)),
        };
        // Its link first: whoever is erased from here on takes it along.
        let (token, expires_at) = self.new_token(kind, life, of).await?;
        let context = self.context(actor, request_id).for_member(&member);
        let position =
            match self.tell(&member, AccountCommand::RecordLetter { letter, remark }, context).await {
                Ok(position) => position,
                Err(error) => {
                    self.inner.parts.store.take_token(&hash(&token), kind, self.now()).await?;
                    return Err(error);
                }
            };
        let posted = match letter {
            StaffLetter::Verification => Letter::VerifyEmail { token, expires_at },
            StaffLetter::PasswordReset => Letter::ResetPassword { token, expires_at },
            StaffLetter::Invitation => Letter::Invitation { token, expires_at },
        };
        self.post(&to, posted);
        Ok(position)
    }

    /// Ends one of a member's sessions, or all of them, for everybody, and has it told why. Says how many.
    pub async fn end_sessions(
        &self,
        member: &MemberId,
        session: Option<&SessionId>,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<(usize, Position), AccountError> {
        let ended = match session {
            Some(session) => match self.revoke_session(member, session, actor.clone(), request_id).await {
                Ok(_) => 1,
                Err(AccountError::NoSession) => 0,
                Err(error) => return Err(error),
            },
            None => self.revoke_other_sessions(member, None, actor.clone(), request_id).await?.0,
        };
        let command = AccountCommand::RecordSessionsEnded { session: session.cloned(), remark };
        let context = self.context(actor, request_id).for_member(member);
        let position = self.tell(member, command, context).await?;
        Ok((ended, position))
    }

    /// Deletes the account of a member who is being erased, if she has one: her sign-in, sessions, devices, tokens and second
    /// factor. Asked again it does the rest.
    pub async fn erase(
        &self,
        member: &MemberId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let deleted = Change::Deleted(self.now());
        if !self.inner.parts.store.change_account(member, deleted, None).await? {
            self.unless_last_owner(member).await?;
        }
        self.finish_deleted(member, self.context(actor, request_id)).await
    }

    async fn address_for(&self, member: &MemberId, letter: StaffLetter) -> Result<Email, AccountError> {
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        let account = account.ok_or(AccountError::NoAddress)?;
        match letter {
            StaffLetter::Verification if account.opened_at.is_some() => return Err(AccountError::Confirmed),
            StaffLetter::Invitation if account.opened_at.is_none() => return Err(AccountError::NoAccount),
            StaffLetter::Invitation if account.verified => return Err(AccountError::Confirmed),
            _ => {}
        }
        Email::parse(&account.email.ok_or(AccountError::NoAddress)?)
    }
}
