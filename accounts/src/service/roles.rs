//! Rights, what staff does, and the tokens of other back ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{AccountCommand, Role, is_told_by_itself};
use domain::ids::{MemberId, SessionId};
use domain::metadata::Actor;
use domain::ports::Position;

use super::Accounts;
use crate::answers::{AccountView, SecondFactorState};
use crate::email::Email;
use crate::error::AccountError;
use crate::secrets::{bytes, hash, secret};
use crate::service_tokens::{BadServiceToken, NewServiceToken, ServiceCaller};
use crate::store::{AccountRecord, ServiceTokenRecord, Whose};

/// What every token of a back end begins with, so that one in the wrong place is recognised.
const PREFIX: &str = "mst_";
/// Staff that reads the same member again within this time is not recorded again.
const ONE_READ: TimeDelta = TimeDelta::hours(1);
/// How many of those reads are remembered here; the history itself says whether one is new.
const READS: usize = 10_000;

impl Accounts {
    /// Gives a member other rights. Fewer rights end her sessions at once; more come with the next renewal.
    pub async fn set_role(
        &self,
        member: &MemberId,
        role: Role,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let context = self.context(actor, request_id);
        self.take_role(member, role, AccountCommand::ChangeRole(role), context).await
    }

    /// A member's account, if she has one.
    pub async fn account(&self, member: &MemberId) -> Result<Option<AccountView>, AccountError> {
        let account = self.inner.parts.store.account(&Whose::Member(member.clone())).await?;
        Ok(account.and_then(|account| shown(account, self.now())))
    }

    /// The account with an address.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<AccountView>, AccountError> {
        let email = Email::parse(email)?;
        let account = self.inner.parts.store.account(&Whose::Email(email.lower)).await?;
        Ok(account.and_then(|account| shown(account, self.now())))
    }

    /// Records in a member's history that somebody of the staff looked at `what` of hers, such as `timeline`: once an hour and
    /// session, and [some of it](is_told_by_itself) beside that. The member has to exist. Before the answer is given.
    pub async fn record_staff_read(
        &self,
        staff: &MemberId,
        session: &SessionId,
        member: &MemberId,
        what: &str,
        request_id: &str,
    ) -> Result<(), AccountError> {
        let by_itself = is_told_by_itself(what).then(|| what.to_owned());
        let (now, read) = (self.now(), (session.clone(), member.clone(), by_itself));
        let reads = || self.inner.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let just_now = |at: &DateTime<Utc>| now >= *at && now - *at < ONE_READ;
        if reads().get(&read).is_some_and(just_now) {
            return Ok(());
        }
        let (session, what) = (session.clone(), what.to_owned());
        let command = AccountCommand::RecordStaffRead { session, what, at: now };
        self.tell(member, command, self.context(Actor::staff(staff), request_id)).await?;
        let mut reads = reads();
        if reads.len() >= READS {
            reads.clear();
        }
        reads.insert(read, now);
        Ok(())
    }

    /// Makes a service token. The caller has checked that the scopes are known.
    pub async fn create_service_token(
        &self,
        name: &str,
        scopes: &[String],
        actor: Actor,
    ) -> Result<Result<NewServiceToken, BadServiceToken>, AccountError> {
        let plain = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !plain(name) {
            return Ok(Err(BadServiceToken::Name));
        }
        if scopes.is_empty() || !scopes.iter().all(|scope| plain(scope)) {
            return Ok(Err(BadServiceToken::Scopes));
        }
        let random = self.inner.parts.random.as_ref();
        let token = format!("{PREFIX}{}", secret(random)?);
        let id = uuid::Builder::from_random_bytes(bytes(random)?).into_uuid();
        let record = ServiceTokenRecord {
            id: format!("tok_{}", id.simple()),
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            hash: hash(&token),
            created_at: self.now(),
            created_by: actor.to_string(),
            revoked_at: None,
        };
        self.inner.parts.store.add_service_token(record.clone()).await?;
        self.load_service_tokens().await?;
        Ok(Ok(NewServiceToken { record, token }))
    }

    /// All service tokens, revoked ones too, the oldest first.
    pub async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, AccountError> {
        Ok(self.inner.parts.store.service_tokens().await?)
    }

    /// Revokes a service token; false when none has this id. Other processes learn of it within seconds.
    pub async fn revoke_service_token(&self, id: &str) -> Result<bool, AccountError> {
        let known = self.inner.parts.store.revoke_service_token(id, self.now()).await?;
        self.load_service_tokens().await?;
        Ok(known)
    }

    /// Who has this service token. No I/O. Knows none before [`Background::run`](crate::Background::run) has begun or
    /// [`Self::load_service_tokens`].
    pub fn find_service_token(&self, token: &str) -> Option<Arc<ServiceCaller>> {
        let known = self.inner.service_tokens.load();
        token.starts_with(PREFIX).then(|| known.get(&hash(token)).cloned()).flatten()
    }

    /// Reads the service tokens again.
    pub async fn load_service_tokens(&self) -> Result<(), AccountError> {
        let tokens = self.inner.parts.store.service_tokens().await?;
        let valid = tokens.into_iter().filter(|token| token.revoked_at.is_none());
        let caller = |token: ServiceTokenRecord| {
            let caller = ServiceCaller { name: token.name.into(), scopes: token.scopes.into() };
            (token.hash, Arc::new(caller))
        };
        let known: HashMap<_, _> = valid.map(caller).collect();
        self.inner.service_tokens.store(Arc::new(known));
        Ok(())
    }
}

pub(super) fn shown(account: AccountRecord, now: DateTime<Utc>) -> Option<AccountView> {
    let enabled = account.totp.as_ref().is_some_and(|totp| totp.confirmed);
    Some(AccountView {
        created_at: account.opened_at?,
        member: account.member,
        email: account.email,
        role: account.role,
        verified: account.verified,
        lock: account.lock.filter(|lock| lock.holds(now)),
        signed_in_at: account.signed_in_at,
        has_password: account.password.is_some(),
        second_factor: SecondFactorState { enabled, backup_codes: account.backup_codes },
    })
}
