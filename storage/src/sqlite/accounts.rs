//! Accounts in `SQLite`. Every change is one job of the writer, so what it looks at does not change under it.

use accounts::store::{
    AccountRecord, AccountStore, Change, Device, EmailChange, EndedSession, Hash, News, Opened, Opening,
    Rotation, ServiceTokenRecord, SessionRecord, TokenKind, TokenRecord, TotpRecord, Which, Whose,
    is_last_owner,
};
use accounts::throttle::{Count, Counter, Refused};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{Lock, RevokedBecause, Role};
use domain::ids::{MemberId, SessionId};
use domain::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::store_error;
use super::{Sqlite, identities, micros, moment};
use crate::account_rows::{
    COUNTER_LIFE, DEVICE_LIFE, DEVICES, SESSIONS_AT_ONCE, SWEPT_AT_ONCE, joined, role, split, token_kind, why,
};

macro_rules! account {
    ($which:literal) => {
        concat!(
            "SELECT people.member, email, opened_at, password, role, announced, signed_in_at, totp_secret, totp_confirmed, \
             totp_step, (SELECT count(*) FROM account_backup_codes AS codes WHERE codes.member = people.member), \
             verified, locked, locked_until, \
             EXISTS (SELECT 1 FROM account_identities AS linked WHERE linked.member = people.member) \
             FROM people LEFT JOIN accounts ON accounts.member = people.member AND deleted_at IS NULL WHERE ",
            $which
        )
    };
}
const ACCOUNT_BY_EMAIL: &str = account!("email_lower = ?1");
const ACCOUNT: &str = account!("people.member = ?1");
const ACCOUNTS: &str =
    account!("opened_at IS NOT NULL AND accounts.member > ?1 ORDER BY accounts.member LIMIT ?2");
const ACCOUNTS_OF_ROLE: &str = account!(
    "opened_at IS NOT NULL AND accounts.member > ?1 AND role = ?3 ORDER BY accounts.member LIMIT ?2"
);
const SPEND: &str =
    "DELETE FROM account_tokens WHERE hash = ?1 AND kind = 'registration' AND expires_at > ?2";
/// Whoever asks has looked whether it still counts.
const SPEND_NEW_EMAIL: &str = "DELETE FROM account_tokens WHERE hash = ?1 AND kind = 'new_email'";
pub(super) const HOLDER: &str = "SELECT member FROM people WHERE email_lower = ?1";
pub(super) const NEW_PERSON: &str =
    "INSERT INTO people (member, email, email_lower, external_id, created_at) VALUES (?1, ?2, ?3, NULL, ?4)";
pub(super) const OPEN: &str = "INSERT INTO accounts (member, opened_at, password, role, announced, totp_confirmed, totp_step, verified) \
                    VALUES (?1, ?2, ?3, 'member', 0, 0, 0, ?4) \
                    ON CONFLICT (member) DO UPDATE SET opened_at = excluded.opened_at, password = excluded.password, \
                    role = 'member', announced = 0, signed_in_at = NULL, deleted_at = NULL, verified = excluded.verified, \
                    locked = 0, locked_until = NULL WHERE deleted_at IS NOT NULL";
pub(super) const DROP_REGISTRATIONS: &str =
    "DELETE FROM account_tokens WHERE email_lower = ?1 AND kind IN ('registration', 'void')";
const SET_PASSWORD: &str = "UPDATE accounts SET password = ?2 WHERE member = ?1 AND deleted_at IS NULL";
const REHASH: &str = "UPDATE accounts SET password = ?3 WHERE member = ?1 AND password = ?2";
const END_BUT: &str = "UPDATE account_sessions SET ended_why = ?3 \
                       WHERE member = ?1 AND id IS NOT ?2 AND ended_why IS NULL RETURNING id";
const END_ONE: &str = "UPDATE account_sessions SET ended_why = ?3 \
                       WHERE member = ?1 AND id = ?2 AND ended_why IS NULL RETURNING id";
const FORGET_DEVICES: &str = "DELETE FROM account_devices WHERE member = ?1 AND hash IS NOT ?2";
const DROP_RESETS: &str =
    "DELETE FROM account_tokens WHERE member = ?1 AND kind IN ('reset', 'challenge', 'new_email')";
const ROLE: &str = "SELECT role FROM accounts WHERE member = ?1 AND deleted_at IS NULL";
const SET_ROLE: &str = "UPDATE accounts SET role = ?2 WHERE member = ?1";
const SET_LOCK: &str =
    "UPDATE accounts SET locked = 1, locked_until = ?2 WHERE member = ?1 AND deleted_at IS NULL";
const UNLOCK: &str = "UPDATE accounts SET locked = 0, locked_until = NULL WHERE member = ?1 AND locked = 1 AND deleted_at IS NULL";
/// The log is to be told of it.
const VERIFIED: &str = "UPDATE accounts SET verified = 1, announced = 0 \
                        WHERE member = ?1 AND verified = 0 AND deleted_at IS NULL";
const OWNERS: &str = "SELECT member, verified AND (password IS NOT NULL OR EXISTS (SELECT 1 FROM account_identities AS linked \
                      WHERE linked.member = accounts.member)), \
                      locked, locked_until FROM accounts \
                      WHERE role = 'owner' AND deleted_at IS NULL";
const ANNOUNCED: &str = "UPDATE accounts SET announced = 1 WHERE member = ?1";
const TOTP_SECRET: &str = "UPDATE accounts SET totp_secret = ?2, totp_step = 0 \
                           WHERE member = ?1 AND totp_confirmed = 0 AND deleted_at IS NULL";
const TOTP_CONFIRMED: &str = "UPDATE accounts SET totp_confirmed = 1, totp_step = ?2 \
                              WHERE member = ?1 AND totp_confirmed = 0 AND totp_secret = ?3 AND deleted_at IS NULL";
const TOTP_STEP: &str =
    "UPDATE accounts SET totp_step = ?2 WHERE member = ?1 AND totp_confirmed = 1 AND totp_step < ?2";
const TOTP_REMOVED: &str = "UPDATE accounts SET totp_secret = NULL, totp_confirmed = 0, totp_step = 0 \
                            WHERE member = ?1 AND totp_confirmed = 1";
const NO_CODES: &str = "DELETE FROM account_backup_codes WHERE member = ?1";
const ADD_CODE: &str = "INSERT INTO account_backup_codes (member, hash) VALUES (?1, ?2)";
const USE_CODE: &str = "DELETE FROM account_backup_codes WHERE member = ?1 AND hash = ?2";
const DELETED: &str = "UPDATE accounts SET deleted_at = ?2, password = NULL, totp_secret = NULL, totp_confirmed = 0 \
                       WHERE member = ?1 AND deleted_at IS NULL";
const NO_ADDRESS: &str = "UPDATE people SET email = NULL, email_lower = NULL WHERE member = ?1";
const NO_TOKENS: &str = "DELETE FROM account_tokens WHERE member = ?1 \
                         OR email_lower = (SELECT email_lower FROM people WHERE member = ?1)";
const SET_EMAIL: &str = "UPDATE people SET email = ?2, email_lower = ?3 WHERE member = ?1";
const UNFINISHED: &str = "SELECT member, deleted_at IS NOT NULL FROM accounts \
                          WHERE (deleted_at IS NOT NULL OR announced = 0) AND coalesce(deleted_at, opened_at) < ?1 LIMIT ?2";
const ADD_NEWS: &str = "INSERT INTO account_news (id, member, text, created_at) VALUES (?1, ?2, ?3, ?4)";
const NEWS: &str = "SELECT member, id, text, created_at FROM account_news WHERE created_at < ?1 ORDER BY created_at, id LIMIT ?2";
const FORGET_NEWS: &str = "DELETE FROM account_news WHERE id = ?1";
const FORGET_ACCOUNT: &str = "DELETE FROM accounts WHERE member = ?1 AND deleted_at IS NOT NULL";
const ADD_TOKEN: &str = "INSERT INTO account_tokens \
                         (hash, kind, member, email, email_lower, password, created_at, expires_at, tries) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
macro_rules! token {
    ($before:literal, $after:literal) => {
        concat!($before, "hash, kind, member, email, password, created_at, expires_at, tries", $after)
    };
}
const TOKEN: &str = token!("SELECT ", " FROM account_tokens WHERE hash = ?1 AND expires_at > ?2");
const REGISTRATIONS: &str = token!(
    "SELECT ",
    " FROM account_tokens WHERE email_lower = ?1 AND kind = 'registration' AND expires_at > ?2 \
     ORDER BY created_at DESC, hash LIMIT 20"
);
const TAKE_TOKEN: &str =
    token!("DELETE FROM account_tokens WHERE hash = ?1 AND kind = ?2 AND expires_at > ?3 RETURNING ", "");
const TRY_TOKEN: &str = token!(
    "UPDATE account_tokens SET tries = tries + 1 WHERE hash = ?1 AND tries < ?2 AND expires_at > ?3 RETURNING ",
    ""
);
macro_rules! session {
    () => {
        "id, account_sessions.member, family, current, previous, salt, generation, seen, created_at, rotated_at, \
         expires_at, device, network"
    };
}
const ADD_SESSION: &str = "INSERT INTO account_sessions (id, member, family, current, previous, salt, generation, seen, \
                           created_at, rotated_at, expires_at, device, network) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
const SIGNED_IN: &str = "UPDATE accounts SET signed_in_at = ?2 \
                         WHERE member = ?1 AND deleted_at IS NULL AND password IS ?3 AND role = ?4 \
                         AND totp_confirmed = ?5 AND (locked = 0 OR locked_until <= ?2)";
/// All but the one that begins and those in use last.
const END_OLDEST: &str = "UPDATE account_sessions SET ended_why = ?4 \
                          WHERE member = ?1 AND id <> ?2 AND ended_why IS NULL AND id NOT IN \
                          (SELECT id FROM account_sessions WHERE member = ?1 AND id <> ?2 AND ended_why IS NULL \
                          ORDER BY rotated_at DESC, created_at DESC, id DESC LIMIT ?3)";
const USE_DEVICE: &str = "UPDATE account_devices SET used_at = ?3 WHERE hash = ?1 AND member = ?2";
const ADD_DEVICE: &str = "INSERT INTO account_devices (hash, member, used_at) VALUES (?1, ?2, ?3)";
const OLD_DEVICES: &str = "DELETE FROM account_devices WHERE member = ?1 AND hash NOT IN \
                           (SELECT hash FROM account_devices WHERE member = ?1 ORDER BY used_at DESC, hash LIMIT ?2)";
const SESSION: &str = concat!(
    "SELECT ",
    session!(),
    ", role FROM account_sessions JOIN accounts ON accounts.member = account_sessions.member AND deleted_at IS NULL \
     WHERE family = ?1 AND ended_why IS NULL"
);
const ROTATE: &str = "UPDATE account_sessions SET previous = current, current = ?3, salt = ?4, rotated_at = ?5, \
                      generation = generation + 1 WHERE id = ?1 AND current = ?2 AND ended_why IS NULL";
const REPLACE_LOST: &str = "UPDATE account_sessions SET current = ?3, salt = ?4, rotated_at = ?5 \
                            WHERE id = ?1 AND current = ?2 AND seen < generation AND ended_why IS NULL";
const MARK_SEEN: &str = "UPDATE account_sessions SET seen = ?2 WHERE id = ?1 AND seen < ?2";
const SESSIONS: &str = concat!(
    "SELECT ",
    session!(),
    " FROM account_sessions WHERE member = ?1 AND ended_why IS NULL ORDER BY created_at DESC, id DESC"
);
const ENDED: &str = "SELECT member, id, ended_why FROM account_sessions \
                     WHERE ended_why IS NOT NULL AND member = coalesce(?1, member) LIMIT ?2";
const FORGET_SESSION: &str = "DELETE FROM account_sessions WHERE id = ?1 AND ended_why IS NOT NULL";
const KNOWS_DEVICE: &str = "SELECT 1 FROM account_devices WHERE hash = ?1 AND member = ?2";
const COUNT: &str = "SELECT count, since, until FROM account_counters WHERE key = ?1";
const SET_COUNT: &str = "INSERT INTO account_counters (key, count, since, until) VALUES (?1, ?2, ?3, ?4) \
                         ON CONFLICT (key) DO UPDATE SET count = excluded.count, since = excluded.since, until = excluded.until";
const CLEAR: &str = "DELETE FROM account_counters WHERE key = ?1";
const ADD_SERVICE_TOKEN: &str = "INSERT INTO service_tokens (id, name, scopes, hash, created_at, created_by, revoked_at) \
                                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SERVICE_TOKENS: &str = "SELECT id, name, scopes, hash, created_at, created_by, revoked_at FROM service_tokens ORDER BY created_at, id";
const REVOKE_SERVICE_TOKEN: &str =
    "UPDATE service_tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
const SWEEP_TOKENS: &str = "DELETE FROM account_tokens WHERE hash IN \
                            (SELECT hash FROM account_tokens WHERE expires_at <= ?1 LIMIT ?2)";
const SWEEP_SESSIONS: &str = "DELETE FROM account_sessions WHERE id IN \
                              (SELECT id FROM account_sessions WHERE expires_at <= ?1 AND ended_why IS NULL LIMIT ?2)";
const SWEEP_COUNTERS: &str = "DELETE FROM account_counters WHERE key IN \
                              (SELECT key FROM account_counters WHERE until <= ?1 LIMIT ?2)";
const SWEEP_DEVICES: &str = "DELETE FROM account_devices WHERE hash IN \
                             (SELECT hash FROM account_devices WHERE used_at <= ?1 LIMIT ?2)";

#[async_trait]
impl AccountStore for Sqlite {
    async fn account(&self, whose: &Whose) -> Result<Option<AccountRecord>, StoreError> {
        let (sql, value) = match whose {
            Whose::Email(lower) => (ACCOUNT_BY_EMAIL, lower.clone()),
            Whose::Member(member) => (ACCOUNT, member.to_string()),
        };
        self.readers.read(move |connection| one(connection, sql, [value], account)).await
    }

    async fn accounts(
        &self,
        role: Option<Role>,
        after: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers
            .read(move |connection| match role {
                Some(role) => {
                    all(connection, ACCOUNTS_OF_ROLE, params![after, limit, role.as_str()], account)
                }
                None => all(connection, ACCOUNTS, params![after, limit], account),
            })
            .await
    }

    async fn open_account(&self, opening: Opening) -> Result<Opened, StoreError> {
        self.write(move |connection| open(connection, &opening)).await
    }

    async fn change_account(
        &self,
        member: &MemberId,
        change: Change,
        news: Option<News>,
    ) -> Result<bool, StoreError> {
        let member = member.to_string();
        self.write(move |connection| {
            let changed = apply(connection, &member, change)?;
            match news.filter(|_| changed) {
                Some(news) => add_news(connection, &member, &news).map(|()| true),
                None => Ok(changed),
            }
        })
        .await
    }

    async fn change_email(
        &self,
        member: &MemberId,
        token: &Hash,
        email: &str,
        email_lower: &str,
        news: News,
    ) -> Result<EmailChange, StoreError> {
        let (member, token) = (member.to_string(), *token);
        let (email, lower) = (email.to_owned(), email_lower.to_owned());
        self.write(move |connection| {
            let holder = one(connection, HOLDER, [&lower], |row| get::<String>(row, 0))?;
            if holder.is_some_and(|holder| holder != member) {
                return Ok(EmailChange::Taken);
            }
            if run(connection, SPEND_NEW_EMAIL, [token])? == 0 {
                return Ok(EmailChange::Spent);
            }
            run(connection, DROP_REGISTRATIONS, [&lower])?;
            run(connection, DROP_RESETS, [&member])?;
            run(connection, SET_EMAIL, [&member, &email, &lower])?;
            add_news(connection, &member, &news)?;
            Ok(EmailChange::Done)
        })
        .await
    }

    async fn news(&self, before: DateTime<Utc>, limit: usize) -> Result<Vec<(MemberId, News)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let news = |row: &Row<'_>| {
            let news = News { id: get(row, 1)?, text: get(row, 2)?, at: moment(get(row, 3)?)? };
            Ok((get::<String>(row, 0)?.into(), news))
        };
        self.readers.read(move |connection| all(connection, NEWS, params![micros(before), limit], news)).await
    }

    async fn forget_news(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection| run(connection, FORGET_NEWS, [id]).map(|_| ())).await
    }

    async fn unfinished_accounts(
        &self,
        before: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(MemberId, bool)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = |row: &Row<'_>| Ok((get::<String>(row, 0)?.into(), get(row, 1)?));
        let before = micros(before);
        self.readers.read(move |connection| all(connection, UNFINISHED, params![before, limit], found)).await
    }

    async fn forget_account(&self, member: &MemberId) -> Result<(), StoreError> {
        let member = member.to_string();
        self.write(move |connection| run(connection, FORGET_ACCOUNT, [&member]).map(|_| ())).await
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.write(move |connection| {
            let lower = token.email.as_ref().map(|email| email.to_lowercase());
            let values = params![
                token.hash,
                token.kind.as_str(),
                token.member.as_ref().map(MemberId::as_str),
                token.email,
                lower,
                token.password,
                micros(token.created_at),
                micros(token.expires_at),
                token.tries
            ];
            run(connection, ADD_TOKEN, values).map(|_| ())
        })
        .await
    }

    async fn token(&self, hash: &Hash, now: DateTime<Utc>) -> Result<Option<TokenRecord>, StoreError> {
        let (hash, now) = (*hash, micros(now));
        self.readers.read(move |connection| one(connection, TOKEN, params![hash, now], token)).await
    }

    async fn registrations(
        &self,
        email_lower: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let (lower, now) = (email_lower.to_owned(), micros(now));
        self.readers.read(move |connection| all(connection, REGISTRATIONS, params![lower, now], token)).await
    }

    async fn take_token(
        &self,
        hash: &Hash,
        kind: TokenKind,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let (hash, now) = (*hash, micros(now));
        self.write(move |connection| one(connection, TAKE_TOKEN, params![hash, kind.as_str(), now], token))
            .await
    }

    async fn try_token(
        &self,
        hash: &Hash,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let (hash, now) = (*hash, micros(now));
        self.write(move |connection| one(connection, TRY_TOKEN, params![hash, at_most, now], token)).await
    }

    async fn begin_session(
        &self,
        account: &AccountRecord,
        session: SessionRecord,
        device: Device,
        counters: &[String],
    ) -> Result<bool, StoreError> {
        let (account, counters) = (account.clone(), counters.to_vec());
        self.write(move |connection| begin(connection, &account, &session, device, &counters)).await
    }

    async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError> {
        let family = *family;
        let found = |row: &Row<'_>| Ok((session(row)?, role(&get::<String>(row, 13)?)?));
        self.readers.read(move |connection| one(connection, SESSION, [family], found)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let Rotation { session, from, to, salt, lost, now } = &rotation;
            let values = params![session.as_str(), from, to, salt, micros(*now)];
            Ok(run(connection, if *lost { REPLACE_LOST } else { ROTATE }, values)? == 1)
        })
        .await
    }

    async fn mark_seen(&self, seen: &[(SessionId, u32)]) -> Result<(), StoreError> {
        let seen = seen.to_vec();
        self.write(move |connection| {
            for (session, generation) in &seen {
                run(connection, MARK_SEEN, params![session.as_str(), generation])?;
            }
            Ok(())
        })
        .await
    }

    async fn sessions(&self, member: &MemberId) -> Result<Vec<SessionRecord>, StoreError> {
        let member = member.to_string();
        self.readers.read(move |connection| all(connection, SESSIONS, [member], session)).await
    }

    async fn end_sessions(
        &self,
        member: &MemberId,
        which: Which,
        why: RevokedBecause,
    ) -> Result<Vec<SessionId>, StoreError> {
        let member = member.to_string();
        self.write(move |connection| {
            let (sql, session) = match &which {
                Which::One(session) => (END_ONE, Some(session.as_str())),
                Which::AllBut(session) => (END_BUT, Some(session.as_str())),
                Which::All => (END_BUT, None),
            };
            end(connection, sql, &member, session, why)
        })
        .await
    }

    async fn ended_sessions(
        &self,
        member: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<EndedSession>, StoreError> {
        let (member, limit) = (member.map(ToString::to_string), i64::try_from(limit).unwrap_or(i64::MAX));
        let ended = |row: &Row<'_>| {
            Ok(EndedSession {
                member: get::<String>(row, 0)?.into(),
                id: get::<String>(row, 1)?.into(),
                why: why(&get::<String>(row, 2)?)?,
            })
        };
        self.readers.read(move |connection| all(connection, ENDED, params![member, limit], ended)).await
    }

    async fn forget_sessions(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        let sessions = sessions.to_vec();
        self.write(move |connection| {
            for session in &sessions {
                run(connection, FORGET_SESSION, [session.as_str()])?;
            }
            Ok(())
        })
        .await
    }

    async fn knows_device(&self, member: &MemberId, device: &Hash) -> Result<bool, StoreError> {
        let (member, device) = (member.to_string(), *device);
        let known = move |connection: &mut Connection| {
            one(connection, KNOWS_DEVICE, params![device, member], |_| Ok(())).map(|known| known.is_some())
        };
        self.readers.read(known).await
    }

    async fn attempt(
        &self,
        counters: Vec<Counter>,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refused>, StoreError> {
        self.write(move |connection| attempt(connection, &counters, now)).await
    }

    async fn clear(&self, keys: &[String]) -> Result<(), StoreError> {
        let keys = keys.to_vec();
        self.write(move |connection| clear(connection, &keys)).await
    }

    async fn add_service_token(&self, token: ServiceTokenRecord) -> Result<(), StoreError> {
        self.write(move |connection| {
            let values = params![
                token.id,
                token.name,
                joined(&token.scopes),
                token.hash,
                micros(token.created_at),
                token.created_by,
                token.revoked_at.map(micros)
            ];
            run(connection, ADD_SERVICE_TOKEN, values).map(|_| ())
        })
        .await
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, StoreError> {
        let token = |row: &Row<'_>| {
            Ok(ServiceTokenRecord {
                id: get(row, 0)?,
                name: get(row, 1)?,
                scopes: split(&get::<String>(row, 2)?),
                hash: get(row, 3)?,
                created_at: moment(get(row, 4)?)?,
                created_by: get(row, 5)?,
                revoked_at: get::<Option<i64>>(row, 6)?.map(moment).transpose()?,
            })
        };
        self.readers.read(move |connection| all(connection, SERVICE_TOKENS, [], token)).await
    }

    async fn revoke_service_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(
            move |connection| Ok(run(connection, REVOKE_SERVICE_TOKEN, params![id, micros(now)])? == 1),
        )
        .await
    }

    async fn sweep(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let mut swept = 0;
            for (sql, life) in [
                (SWEEP_TOKENS, TimeDelta::zero()),
                (SWEEP_SESSIONS, TimeDelta::zero()),
                (SWEEP_COUNTERS, COUNTER_LIFE),
                (SWEEP_DEVICES, DEVICE_LIFE),
            ] {
                swept += run(connection, sql, params![micros(now - life), SWEPT_AT_ONCE])?;
            }
            Ok(swept > 0)
        })
        .await
    }
}

fn open(connection: &Connection, opening: &Opening) -> Result<Opened, StoreError> {
    let Opening { token, member, email, email_lower, password, verified, now } = opening;
    let now = micros(*now);
    if let Some(token) = token
        && run(connection, SPEND, params![token, now])? == 0
    {
        return Ok(Opened::Spent);
    }
    run(connection, DROP_REGISTRATIONS, [email_lower])?;
    let holder = one(connection, HOLDER, [email_lower], |row| get::<String>(row, 0))?;
    let member = if let Some(holder) = holder {
        holder.into()
    } else {
        run(connection, NEW_PERSON, params![member.as_str(), email, email_lower, now])?;
        member.clone()
    };
    let opened = run(connection, OPEN, params![member.as_str(), now, password, verified])?;
    Ok(if opened == 1 { Opened::New(member) } else { Opened::Held(member) })
}

fn apply(connection: &Connection, member: &str, change: Change) -> Result<bool, StoreError> {
    let changed = match change {
        Change::Password { hash, keep, keep_device } => {
            let changed = run(connection, SET_PASSWORD, params![member, hash])?;
            if changed == 1 {
                let keep = keep.as_ref().map(SessionId::as_str);
                end(connection, END_BUT, member, keep, RevokedBecause::PasswordChanged)?;
                run(connection, FORGET_DEVICES, params![member, keep_device])?;
                run(connection, DROP_RESETS, [member])?;
            }
            changed
        }
        Change::Rehashed { from, to } => run(connection, REHASH, params![member, from, to])?,
        Change::Role { role: to, now } => {
            if to != Role::Owner && is_the_last_owner(connection, member, now)? {
                return Ok(false);
            }
            let Some(before) = one(connection, ROLE, [member], |row| role(&get::<String>(row, 0)?))? else {
                return Ok(false);
            };
            if to < before {
                end(connection, END_BUT, member, None, RevokedBecause::RoleChanged)?;
            }
            run(connection, SET_ROLE, [member, to.as_str()])?
        }
        Change::Locked { now, .. } if is_the_last_owner(connection, member, now)? => 0,
        Change::Locked { lock, .. } => {
            let changed = run(connection, SET_LOCK, params![member, lock.until.map(micros)])?;
            if changed == 1 {
                end(connection, END_BUT, member, None, RevokedBecause::Locked)?;
                run(connection, DROP_RESETS, [member])?;
            }
            changed
        }
        Change::Unlocked => run(connection, UNLOCK, [member])?,
        Change::Verified => run(connection, VERIFIED, [member])?,
        Change::Announced => run(connection, ANNOUNCED, [member])?,
        Change::TotpSecret(secret) => run(connection, TOTP_SECRET, params![member, secret])?,
        Change::TotpConfirmed { secret, step, backup_codes, keep } => {
            let changed = run(connection, TOTP_CONFIRMED, params![member, step, secret])?;
            if changed == 1 {
                end(connection, END_BUT, member, Some(keep.as_str()), RevokedBecause::Revoked)?;
                replace_codes(connection, member, &backup_codes)?;
            }
            changed
        }
        Change::TotpStep(step) => run(connection, TOTP_STEP, params![member, step])?,
        Change::TotpRemoved => {
            let changed = run(connection, TOTP_REMOVED, [member])?;
            if changed == 1 {
                replace_codes(connection, member, &[])?;
            }
            changed
        }
        Change::BackupCodes(codes) => {
            let known = one(connection, ROLE, [member], |_| Ok(()))?;
            if known.is_some() {
                replace_codes(connection, member, &codes)?;
            }
            usize::from(known.is_some())
        }
        Change::BackupCodeUsed(code) => run(connection, USE_CODE, params![member, code])?,
        Change::Deleted(now) if is_the_last_owner(connection, member, now)? => 0,
        Change::Deleted(now) => {
            let changed = run(connection, DELETED, params![member, micros(now)])?;
            if changed == 1 {
                end(connection, END_BUT, member, None, RevokedBecause::AccountDeleted)?;
                replace_codes(connection, member, &[])?;
                run(connection, FORGET_DEVICES, params![member, None::<Hash>])?;
                run(connection, NO_TOKENS, [member])?;
                identities::forget(connection, member)?;
                run(connection, NO_ADDRESS, [member])?;
            }
            changed
        }
    };
    Ok(changed == 1)
}

fn is_the_last_owner(connection: &Connection, member: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let owner = |row: &Row<'_>| {
        let lock = lock(get(row, 2)?, get(row, 3)?)?;
        Ok((get::<String>(row, 0)?.into(), get(row, 1)?, lock))
    };
    Ok(is_last_owner(&member.to_owned().into(), &all(connection, OWNERS, [], owner)?, now))
}

fn lock(locked: Option<bool>, until: Option<i64>) -> Result<Option<Lock>, StoreError> {
    let until = until.map(moment).transpose()?;
    Ok((locked == Some(true)).then_some(Lock { until }))
}

fn replace_codes(connection: &Connection, member: &str, codes: &[Hash]) -> Result<(), StoreError> {
    run(connection, NO_CODES, [member])?;
    for code in codes {
        run(connection, ADD_CODE, params![member, code])?;
    }
    Ok(())
}

fn end(
    connection: &Connection,
    sql: &str,
    member: &str,
    session: Option<&str>,
    why: RevokedBecause,
) -> Result<Vec<SessionId>, StoreError> {
    let id = |row: &Row<'_>| get::<String>(row, 0).map(SessionId::from);
    let mut ended = all(connection, sql, params![member, session, why.as_str()], id)?;
    ended.sort_unstable();
    Ok(ended)
}

fn begin(
    connection: &Connection,
    account: &AccountRecord,
    session: &SessionRecord,
    device: Device,
    counters: &[String],
) -> Result<bool, StoreError> {
    let (member, now) = (session.member.as_str(), micros(session.created_at));
    let known = params![member, now, account.password, account.role.as_str(), account.has_second_factor()];
    if run(connection, SIGNED_IN, known)? == 0 {
        return Ok(false);
    }
    let values = params![
        session.id.as_str(),
        member,
        session.family,
        session.current,
        session.previous,
        session.salt,
        session.generation,
        session.seen,
        now,
        micros(session.rotated_at),
        micros(session.expires_at),
        session.device,
        session.network
    ];
    run(connection, ADD_SESSION, values)?;
    let why = RevokedBecause::Revoked.as_str();
    run(connection, END_OLDEST, params![member, session.id.as_str(), SESSIONS_AT_ONCE - 1, why])?;
    match device {
        Device::Known(hash) => run(connection, USE_DEVICE, params![hash, member, now])?,
        Device::New(hash) => run(connection, ADD_DEVICE, params![hash, member, now])?,
    };
    run(connection, OLD_DEVICES, params![member, DEVICES])?;
    clear(connection, counters).map(|()| true)
}

pub(super) fn add_news(connection: &Connection, member: &str, news: &News) -> Result<(), StoreError> {
    run(connection, ADD_NEWS, params![news.id, member, news.text, micros(news.at)]).map(|_| ())
}

fn attempt(
    connection: &Connection,
    counters: &[Counter],
    now: DateTime<Utc>,
) -> Result<Result<(), Refused>, StoreError> {
    let mut counts = Vec::with_capacity(counters.len());
    for Counter { key, rule } in counters {
        let held = one(connection, COUNT, [key], |row| {
            let (since, until) = (moment(get(row, 1)?)?, moment(get(row, 2)?)?);
            Ok(Count { count: get(row, 0)?, since, until })
        })?;
        match rule.attempt(held, now) {
            Ok(count) => counts.push((key, count)),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    for (key, Count { count, since, until }) in counts {
        run(connection, SET_COUNT, params![key, count, micros(since), micros(until)])?;
    }
    Ok(Ok(()))
}

fn clear(connection: &Connection, keys: &[String]) -> Result<(), StoreError> {
    for key in keys {
        run(connection, CLEAR, [key])?;
    }
    Ok(())
}

fn account(row: &Row<'_>) -> Result<AccountRecord, StoreError> {
    let secret: Option<Vec<u8>> = get(row, 7)?;
    let totp = secret.map(|secret| -> Result<_, StoreError> {
        Ok(TotpRecord { secret, confirmed: get(row, 8)?, last_step: get(row, 9)? })
    });
    let role = get::<Option<String>>(row, 4)?.map(|text| role(&text)).transpose()?;
    Ok(AccountRecord {
        member: get::<String>(row, 0)?.into(),
        email: get(row, 1)?,
        opened_at: get::<Option<i64>>(row, 2)?.map(moment).transpose()?,
        password: get(row, 3)?,
        role: role.unwrap_or_default(),
        verified: get::<Option<bool>>(row, 11)?.unwrap_or_default(),
        announced: get::<Option<bool>>(row, 5)?.unwrap_or_default(),
        lock: lock(get(row, 12)?, get(row, 13)?)?,
        signed_in_at: get::<Option<i64>>(row, 6)?.map(moment).transpose()?,
        totp: totp.transpose()?,
        backup_codes: get(row, 10)?,
        has_identity: get(row, 14)?,
    })
}

fn token(row: &Row<'_>) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        hash: get(row, 0)?,
        kind: token_kind(&get::<String>(row, 1)?)?,
        member: get::<Option<String>>(row, 2)?.map(MemberId::from),
        email: get(row, 3)?,
        password: get(row, 4)?,
        created_at: moment(get(row, 5)?)?,
        expires_at: moment(get(row, 6)?)?,
        tries: get(row, 7)?,
    })
}

fn session(row: &Row<'_>) -> Result<SessionRecord, StoreError> {
    Ok(SessionRecord {
        id: get::<String>(row, 0)?.into(),
        member: get::<String>(row, 1)?.into(),
        family: get(row, 2)?,
        current: get(row, 3)?,
        previous: get(row, 4)?,
        salt: get(row, 5)?,
        generation: get(row, 6)?,
        seen: get(row, 7)?,
        created_at: moment(get(row, 8)?)?,
        rotated_at: moment(get(row, 9)?)?,
        expires_at: moment(get(row, 10)?)?,
        device: get(row, 11)?,
        network: get(row, 12)?,
    })
}

pub(super) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T, StoreError> {
    row.get(index).map_err(store_error)
}

pub(super) fn run(connection: &Connection, sql: &str, values: impl Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(store_error)
}

pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let found = statement.query_row(values, |row| Ok(read(row))).optional().map_err(store_error)?;
    found.transpose()
}

pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(values, |row| Ok(read(row))).map_err(store_error)?;
    rows.map(|row| row.map_err(store_error)?).collect()
}
