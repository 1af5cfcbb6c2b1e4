//! Codes beside the password.

use domain::account::{AccountCommand, SecondFactor};
use domain::ids::{MemberId, SessionId};
use domain::metadata::Actor;
use domain::ports::Position;

use super::sign_in::Proof;
use super::{Accounts, CODES, FREE, MOST_IN_A_ROW};
use crate::answers::{Enrolment, SignedIn};
use crate::error::AccountError;
use crate::letters::Letter;
use crate::parts::Origin;
use crate::second_factor::{SECRET, backup_code, backup_codes, enrolment, step};
use crate::secrets::{bytes, hash, same};
use crate::store::{AccountRecord, Change, TokenKind, TotpRecord};
use crate::throttle::{Counter, Rule};

impl Accounts {
    /// Signs in with the code of an authenticator app, or a backup code, after a right password.
    pub async fn login_second_factor(
        &self,
        challenge: &str,
        code: &str,
        origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        let provider = challenge.split_once('.').map(|(_, provider)| provider.to_owned());
        let (store, challenge) = (&self.inner.parts.store, hash(challenge));
        let tried = store.try_token(&challenge, CODES, self.now()).await?;
        let tried = tried.filter(|tried| tried.kind == TokenKind::Challenge);
        let member = tried.and_then(|tried| tried.member).ok_or(AccountError::BadToken)?;
        let account = self.open_account_of(&member).await?;
        let (factor, counters) = self.use_code(&account, code, origin).await?;
        if store.take_token(&challenge, TokenKind::Challenge, self.now()).await?.is_none() {
            return Err(AccountError::BadToken);
        }
        let proof = Proof { second_factor: Some(factor), provider };
        self.sign_in_with(&account, proof, origin, counters).await
    }

    /// Uses a code up, and says what it was and which counters a right one clears.
    async fn use_code(
        &self,
        account: &AccountRecord,
        code: &str,
        origin: &Origin,
    ) -> Result<(SecondFactor, Vec<String>), AccountError> {
        let (store, member) = (&self.inner.parts.store, &account.member);
        let totp = account.totp.as_ref().filter(|totp| totp.confirmed).ok_or(AccountError::NoSecondFactor)?;
        let counters = [format!("code:{member}"), format!("codes:{member}")];
        let rules = [Rule::Delays { free: FREE }, Rule::Consecutive { most: MOST_IN_A_ROW }];
        let counted = counters.iter().cloned().zip(rules).map(|(key, rule)| Counter { key, rule });
        // Codes of the app stop counting after too many wrong ones; backup codes cannot be guessed and go on.
        let backup = backup_code(code);
        let counted: Vec<Counter> = counted.take(if backup.is_some() { 1 } else { 2 }).collect();
        self.attempt(counted).await?;
        if let Some(backup) = backup {
            let (change, command) = (Change::BackupCodeUsed(backup), AccountCommand::UseBackupCode);
            let used = self.change(member, change, command, self.by_herself(member, origin)).await?;
            used.ok_or(AccountError::WrongCode)?;
            let left = account.backup_codes.saturating_sub(1);
            self.write_to(account, Letter::BackupCodeUsed { left });
            return Ok((SecondFactor::BackupCode, counters.into()));
        }
        let step = step(totp, code, self.now())?.ok_or(AccountError::WrongCode)?;
        let used = store.change_account(member, Change::TotpStep(step), None).await?;
        used.then(|| (SecondFactor::Totp, counters.into())).ok_or(AccountError::WrongCode)
    }

    fn write_to(&self, account: &AccountRecord, letter: Letter) {
        if let Some(email) = &account.email {
            self.post(email, letter);
        }
    }

    /// Begins to set up a second factor: her app is given a secret. Nothing is asked for until it is confirmed.
    pub async fn enrol_totp(
        &self,
        member: &MemberId,
        password: &str,
        _origin: &Origin,
    ) -> Result<Enrolment, AccountError> {
        let account = self.proven(member, password).await?;
        let secret = bytes::<SECRET>(self.inner.parts.random.as_ref())?;
        let change = Change::TotpSecret(secret.to_vec());
        if !self.inner.parts.store.change_account(member, change, None).await? {
            return Err(AccountError::SecondFactorSet);
        }
        self.given(&account, &secret)
    }

    /// What her app was given, once more, for a form that came back with a wrong code. None where `secret` is not the one that
    /// waits to be confirmed: another has replaced it, or it was confirmed meanwhile.
    pub async fn enrolment_again(
        &self,
        member: &MemberId,
        secret: &str,
    ) -> Result<Option<Enrolment>, AccountError> {
        let account = self.open_account_of(member).await?;
        let Some(totp) = account.totp.as_ref().filter(|totp| !totp.confirmed) else { return Ok(None) };
        let given = self.given(&account, &totp.secret)?;
        Ok(same(&hash(&given.secret), &hash(secret)).then_some(given))
    }

    fn given(&self, account: &AccountRecord, secret: &[u8]) -> Result<Enrolment, AccountError> {
        let name = account.email.clone().unwrap_or_else(|| account.member.to_string());
        Ok(enrolment(secret, &name, &self.inner.settings.service_name)?)
    }

    /// Confirms it with a code of the app. From now on a code is asked for, and her other sessions, which began without one, end.
    /// The backup codes are shown once.
    pub async fn confirm_totp(
        &self,
        member: &MemberId,
        session: &SessionId,
        code: &str,
        origin: &Origin,
    ) -> Result<(Vec<String>, Position), AccountError> {
        let account = self.open_account_of(member).await?;
        let totp: &TotpRecord = match &account.totp {
            None => return Err(AccountError::NoSecondFactor),
            Some(totp) if totp.confirmed => return Err(AccountError::SecondFactorSet),
            Some(totp) => totp,
        };
        let counter = Counter { key: format!("confirm:{member}"), rule: Rule::Delays { free: FREE } };
        self.attempt(vec![counter]).await?;
        let step = step(totp, code, self.now())?.ok_or(AccountError::WrongCode)?;
        let (codes, backup_codes) = backup_codes(self.inner.parts.random.as_ref())?;
        let (secret, keep) = (totp.secret.clone(), session.clone());
        let change = Change::TotpConfirmed { secret, step, backup_codes, keep };
        let (command, context) = (AccountCommand::EnableSecondFactor, self.by_herself(member, origin));
        let Some(position) = self.change(member, change, command, context.clone()).await? else {
            let set = self.open_account_of(member).await?.has_second_factor();
            // Unless it was confirmed meanwhile, the code is one of a secret that another has replaced.
            return Err(if set { AccountError::SecondFactorSet } else { AccountError::WrongCode });
        };
        let (_, last) = self.finish_ended(Some(member), &context).await?;
        self.inner.parts.store.clear(&[format!("confirm:{member}")]).await?;
        self.write_to(&account, Letter::SecondFactorEnabled);
        Ok((codes, position.max(last)))
    }

    /// Removes the second factor; needs the password and a code.
    pub async fn disable_totp(
        &self,
        member: &MemberId,
        password: &str,
        code: &str,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        let account = self.proven(member, password).await?;
        let (_, counters) = self.use_code(&account, code, origin).await?;
        self.inner.parts.store.clear(&counters).await?;
        let (command, context) = (AccountCommand::DisableSecondFactor, self.by_herself(member, origin));
        let changed = self.change(member, Change::TotpRemoved, command, context).await?;
        self.write_to(&account, Letter::SecondFactorDisabled);
        changed.ok_or(AccountError::NoSecondFactor)
    }

    /// Removes the second factor of somebody who has lost it and her backup codes. Whoever asks has made sure that it is she.
    pub async fn remove_second_factor(
        &self,
        member: &MemberId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        self.open_account_of(member).await?;
        let (command, context) = (AccountCommand::DisableSecondFactor, self.context(actor, request_id));
        let changed = self.change(member, Change::TotpRemoved, command, context).await?;
        self.inner.parts.store.clear(&[format!("code:{member}"), format!("codes:{member}")]).await?;
        changed.ok_or(AccountError::NoSecondFactor)
    }

    /// Makes new backup codes in place of those there are; needs the password and a code.
    pub async fn new_backup_codes(
        &self,
        member: &MemberId,
        password: &str,
        code: &str,
        origin: &Origin,
    ) -> Result<Vec<String>, AccountError> {
        let account = self.proven(member, password).await?;
        let (_, counters) = self.use_code(&account, code, origin).await?;
        self.inner.parts.store.clear(&counters).await?;
        let (codes, hashes) = backup_codes(self.inner.parts.random.as_ref())?;
        self.inner.parts.store.change_account(member, Change::BackupCodes(hashes), None).await?;
        Ok(codes)
    }
}
