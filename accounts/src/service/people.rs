//! What an owner does with accounts, and what a member is asked to show again.

use domain::account::{AccountCommand, Lock, Role, StaffLetter};
use domain::ids::{MemberId, RemarkId};
use domain::metadata::{Actor, Context};
use domain::ports::Position;

use super::Accounts;
use super::roles::shown;
use crate::answers::AccountView;
use crate::email::Email;
use crate::error::AccountError;
use crate::store::{Change, Whose, is_last_owner};

/// So many owners are looked at: of more than one who can sign in, none is the last.
const OWNERS: usize = 1_000;

impl Accounts {
    /// Shows again that she is who she says, and changes nothing.
    pub async fn verify_password(&self, member: &MemberId, password: &str) -> Result<(), AccountError> {
        self.proven(member, password).await.map(|_| ())
    }

    /// Accounts after this one, by the ids of their members, with this role if one is given.
    pub async fn list(
        &self,
        role: Option<Role>,
        after: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<AccountView>, AccountError> {
        let records = self.inner.parts.store.accounts(role, after, limit).await?;
        Ok(records.into_iter().filter_map(|record| shown(record, self.now())).collect())
    }

    /// Whether somebody can be invited under an address, and as which member if one is known by it.
    pub async fn may_invite(&self, email: &str) -> Result<Option<MemberId>, AccountError> {
        let email = Email::parse(email)?;
        match self.inner.parts.store.account(&Whose::Email(email.lower)).await? {
            Some(held) if held.opened_at.is_some() && held.verified => {
                Err(AccountError::AccountExists(held.member))
            }
            held => Ok(held.map(|held| held.member)),
        }
    }

    /// Makes an account for an address, without a password and without rights, and says whose it is. [`Self::invite`] does the
    /// rest.
    pub async fn open_for_invitation(
        &self,
        email: &str,
        actor: Actor,
        request_id: &str,
    ) -> Result<MemberId, AccountError> {
        self.may_invite(email).await?;
        let email = Email::parse(email)?;
        let opened = self.open_for(&email, None, None, false).await?;
        let member = opened.ok_or(AccountError::BadToken)?;
        self.announce(&member, self.context(actor, request_id)).await?;
        Ok(member)
    }

    /// Gives somebody who is invited her role, and has a letter sent to her with which she chooses her password: nobody else ever
    /// knows one. Asked again, as long as she has not followed it, it sends another.
    pub async fn invite(
        &self,
        member: &MemberId,
        role: Role,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let letter = self.ready_letter(member, StaffLetter::Invitation).await?;
        let given = self.set_role(member, role, actor.clone(), request_id).await?;
        let sent = self.send_letter(letter, remark, actor, request_id).await?;
        Ok(given.max(sent))
    }

    /// Gives a member other rights, and has it told why. Fewer rights end her sessions at once. Never takes those of the last
    /// owner.
    pub async fn give_role(
        &self,
        member: &MemberId,
        role: Role,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let command = AccountCommand::GiveRole { role, remark };
        self.take_role(member, role, command, self.context(actor, request_id)).await
    }

    /// Has a member's rights be others.
    pub(super) async fn take_role(
        &self,
        member: &MemberId,
        role: Role,
        command: AccountCommand,
        context: Context,
    ) -> Result<Position, AccountError> {
        self.restrict(member, Change::Role { role, now: self.now() }, command, context).await
    }

    /// Makes a change that may end sessions, unless it would take the last owner's rights.
    async fn restrict(
        &self,
        member: &MemberId,
        change: Change,
        command: AccountCommand,
        context: Context,
    ) -> Result<Position, AccountError> {
        let Some(position) = self.change(member, change, command, context.clone()).await? else {
            self.unless_last_owner(member).await?;
            return Err(AccountError::NoAccount);
        };
        Ok(position.max(self.finish_ended_of(member, &context).await?))
    }

    /// Keeps a member from signing in, and ends her sessions, until the lock ends or is taken off. Her membership stays.
    pub async fn lock(
        &self,
        member: &MemberId,
        lock: Lock,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let command = AccountCommand::Lock { until: lock.until, remark };
        let change = Change::Locked { lock, now: self.now() };
        self.restrict(member, change, command, self.context(actor, request_id)).await
    }

    /// Lets a member sign in again. Where there is no lock nothing is done, and the position is the start.
    pub async fn unlock(
        &self,
        member: &MemberId,
        remark: RemarkId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let (command, context) = (AccountCommand::Unlock { remark }, self.context(actor, request_id));
        Ok(self.change(member, Change::Unlocked, command, context).await?.unwrap_or(Position::START))
    }

    /// Whether taking a member's rights would leave nobody who gives any. To be shown: what is changed is asked again.
    pub async fn is_last_owner(&self, member: &MemberId) -> Result<bool, AccountError> {
        let owners = self.inner.parts.store.accounts(Some(Role::Owner), None, OWNERS).await?;
        let owners: Vec<_> =
            owners.iter().map(|held| (held.member.clone(), held.has_way_in(), held.lock)).collect();
        Ok(is_last_owner(member, &owners, self.now()))
    }

    /// An error where a member is an owner: then nothing else than that she is the last one has kept a change from being made.
    pub(super) async fn unless_last_owner(&self, member: &MemberId) -> Result<(), AccountError> {
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        let is_owner = account.is_some_and(|held| held.opened_at.is_some() && held.role == Role::Owner);
        if is_owner { Err(AccountError::LastOwner) } else { Ok(()) }
    }
}
