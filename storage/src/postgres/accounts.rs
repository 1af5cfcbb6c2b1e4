//! Accounts in `PostgreSQL`. Several processes may change the same account: each change begins with the row that all others of
//! its kind begin with too, or, where there may be none yet, with a lock in its place.

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
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::error::{is, store_error};
use super::{Postgres, identities, limit};
use crate::account_rows::{
    COUNTER_LIFE, DEVICE_LIFE, DEVICES, SESSIONS_AT_ONCE, SWEPT_AT_ONCE, joined, role, split, token_kind, why,
};

macro_rules! account {
    ($which:literal) => {
        concat!(
            "SELECT people.member, email, opened_at, password, role, announced, signed_in_at, totp_secret, totp_confirmed, \
             totp_step, (SELECT count(*) FROM account_backup_codes AS codes WHERE codes.member = people.member) AS codes, \
             EXISTS (SELECT 1 FROM account_identities AS linked WHERE linked.member = people.member) AS has_identity, \
             verified, locked, locked_until \
             FROM people LEFT JOIN accounts ON accounts.member = people.member AND deleted_at IS NULL WHERE ",
            $which
        )
    };
}
const ACCOUNT_BY_EMAIL: &str = account!("email_lower = $1");
const ACCOUNT: &str = account!("people.member = $1");
const ACCOUNTS: &str =
    account!("opened_at IS NOT NULL AND accounts.member > $1 ORDER BY accounts.member LIMIT $2");
const ACCOUNTS_OF_ROLE: &str = account!(
    "opened_at IS NOT NULL AND accounts.member > $1 AND role = $3 ORDER BY accounts.member LIMIT $2"
);
/// Held until the end of the transaction by whoever gives an address to somebody. The first number keeps these apart from
/// others.
pub(super) const LOCK_ADDRESS: &str = "SELECT pg_advisory_xact_lock(1900, hashtext($1))";
const SPEND: &str =
    "DELETE FROM account_tokens WHERE hash = $1 AND kind = 'registration' AND expires_at > $2";
/// Whoever asks has looked whether it still counts.
const SPEND_NEW_EMAIL: &str = "DELETE FROM account_tokens WHERE hash = $1 AND kind = 'new_email'";
pub(super) const HOLDER: &str = "SELECT member FROM people WHERE email_lower = $1";
/// Waits for one who inserts the same at the same time past the lock, and then does nothing if she has.
pub(super) const NEW_PERSON: &str = "INSERT INTO people (member, email, email_lower, external_id, created_at) \
                          VALUES ($1, $2, $3, NULL, $4) ON CONFLICT DO NOTHING";
pub(super) const OPEN: &str = "INSERT INTO accounts (member, opened_at, password, role, announced, totp_confirmed, totp_step, verified) \
                    VALUES ($1, $2, $3, 'member', false, false, 0, $4) \
                    ON CONFLICT (member) DO UPDATE SET opened_at = excluded.opened_at, password = excluded.password, \
                    role = 'member', announced = false, signed_in_at = NULL, deleted_at = NULL, verified = excluded.verified, \
                    locked = false, locked_until = NULL \
                    WHERE accounts.deleted_at IS NOT NULL";
pub(super) const DROP_REGISTRATIONS: &str =
    "DELETE FROM account_tokens WHERE email_lower = $1 AND kind IN ('registration', 'void')";
const SET_PASSWORD: &str = "UPDATE accounts SET password = $2 WHERE member = $1 AND deleted_at IS NULL";
const REHASH: &str = "UPDATE accounts SET password = $3 WHERE member = $1 AND password = $2";
const END_BUT: &str = "UPDATE account_sessions SET ended_why = $3 \
                       WHERE member = $1 AND id IS DISTINCT FROM $2 AND ended_why IS NULL RETURNING id";
const END_ONE: &str = "UPDATE account_sessions SET ended_why = $3 \
                       WHERE member = $1 AND id = $2 AND ended_why IS NULL RETURNING id";
const FORGET_DEVICES: &str = "DELETE FROM account_devices WHERE member = $1 AND hash IS DISTINCT FROM $2";
const DROP_RESETS: &str =
    "DELETE FROM account_tokens WHERE member = $1 AND kind IN ('reset', 'challenge', 'new_email')";
const ROLE: &str = "SELECT role FROM accounts WHERE member = $1 AND deleted_at IS NULL FOR UPDATE";
const SET_ROLE: &str = "UPDATE accounts SET role = $2 WHERE member = $1";
const SET_LOCK: &str =
    "UPDATE accounts SET locked = true, locked_until = $2 WHERE member = $1 AND deleted_at IS NULL";
const UNLOCK: &str = "UPDATE accounts SET locked = false, locked_until = NULL WHERE member = $1 AND locked AND deleted_at IS NULL";
/// The log is to be told of it.
const VERIFIED: &str = "UPDATE accounts SET verified = true, announced = false \
                        WHERE member = $1 AND NOT verified AND deleted_at IS NULL";
/// In an order, so that two who ask at once wait for each other and none for ever.
const OWNERS: &str = "SELECT member, verified AND (password IS NOT NULL OR EXISTS (SELECT 1 FROM account_identities AS linked \
                      WHERE linked.member = accounts.member)) AS has_way_in, \
                      locked, locked_until FROM accounts \
                      WHERE role = 'owner' AND deleted_at IS NULL ORDER BY member FOR UPDATE";
const ANNOUNCED: &str = "UPDATE accounts SET announced = true WHERE member = $1";
const TOTP_SECRET: &str = "UPDATE accounts SET totp_secret = $2, totp_step = 0 \
                           WHERE member = $1 AND NOT totp_confirmed AND deleted_at IS NULL";
const TOTP_CONFIRMED: &str = "UPDATE accounts SET totp_confirmed = true, totp_step = $2 \
                              WHERE member = $1 AND NOT totp_confirmed AND totp_secret = $3 AND deleted_at IS NULL";
const TOTP_STEP: &str =
    "UPDATE accounts SET totp_step = $2 WHERE member = $1 AND totp_confirmed AND totp_step < $2";
const TOTP_REMOVED: &str = "UPDATE accounts SET totp_secret = NULL, totp_confirmed = false, totp_step = 0 \
                            WHERE member = $1 AND totp_confirmed";
const LOCK_ACCOUNT: &str = "SELECT 1 FROM accounts WHERE member = $1 AND deleted_at IS NULL FOR UPDATE";
const NO_CODES: &str = "DELETE FROM account_backup_codes WHERE member = $1";
const ADD_CODES: &str =
    "INSERT INTO account_backup_codes (member, hash) SELECT $1, hash FROM unnest($2::bytea[]) AS hash";
const USE_CODE: &str = "DELETE FROM account_backup_codes WHERE member = $1 AND hash = $2";
const DELETED: &str = "UPDATE accounts SET deleted_at = $2, password = NULL, totp_secret = NULL, totp_confirmed = false \
                       WHERE member = $1 AND deleted_at IS NULL";
const NO_ADDRESS: &str = "UPDATE people SET email = NULL, email_lower = NULL WHERE member = $1";
const NO_TOKENS: &str = "DELETE FROM account_tokens WHERE member = $1 \
                         OR email_lower = (SELECT email_lower FROM people WHERE member = $1)";
const SET_EMAIL: &str = "UPDATE people SET email = $2, email_lower = $3 WHERE member = $1";
const UNFINISHED: &str = "SELECT member, deleted_at IS NOT NULL FROM accounts \
                          WHERE (deleted_at IS NOT NULL OR NOT announced) AND coalesce(deleted_at, opened_at) < $1 LIMIT $2";
const FORGET_ACCOUNT: &str = "DELETE FROM accounts WHERE member = $1 AND deleted_at IS NOT NULL";
const ADD_NEWS: &str = "INSERT INTO account_news (id, member, text, created_at) VALUES ($1, $2, $3, $4)";
const NEWS: &str = "SELECT member, id, text, created_at FROM account_news WHERE created_at < $1 ORDER BY created_at, id LIMIT $2";
const FORGET_NEWS: &str = "DELETE FROM account_news WHERE id = $1";
const ADD_TOKEN: &str = "INSERT INTO account_tokens \
                         (hash, kind, member, email, email_lower, password, created_at, expires_at, tries) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const TOKEN: &str = "SELECT * FROM account_tokens WHERE hash = $1 AND expires_at > $2";
const REGISTRATIONS: &str = "SELECT * FROM account_tokens WHERE email_lower = $1 AND kind = 'registration' AND expires_at > $2 \
                             ORDER BY created_at DESC, hash LIMIT 20";
const TAKE_TOKEN: &str =
    "DELETE FROM account_tokens WHERE hash = $1 AND kind = $2 AND expires_at > $3 RETURNING *";
const TRY_TOKEN: &str = "UPDATE account_tokens SET tries = tries + 1 \
                         WHERE hash = $1 AND tries < $2 AND expires_at > $3 RETURNING *";
const ADD_SESSION: &str = "INSERT INTO account_sessions (id, member, family, current, previous, salt, generation, seen, \
                           created_at, rotated_at, expires_at, device, network) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const SIGNED_IN: &str = "UPDATE accounts SET signed_in_at = $2 \
                         WHERE member = $1 AND deleted_at IS NULL AND password IS NOT DISTINCT FROM $3 AND role = $4 \
                         AND totp_confirmed = $5 AND (NOT locked OR locked_until <= $2)";
/// All but the one that begins and those in use last.
const END_OLDEST: &str = "UPDATE account_sessions SET ended_why = $4 \
                          WHERE member = $1 AND id <> $2 AND ended_why IS NULL AND id NOT IN \
                          (SELECT id FROM account_sessions WHERE member = $1 AND id <> $2 AND ended_why IS NULL \
                          ORDER BY rotated_at DESC, created_at DESC, id DESC LIMIT $3)";
const USE_DEVICE: &str = "UPDATE account_devices SET used_at = $3 WHERE hash = $1 AND member = $2";
const ADD_DEVICE: &str = "INSERT INTO account_devices (hash, member, used_at) VALUES ($1, $2, $3)";
const OLD_DEVICES: &str = "DELETE FROM account_devices WHERE member = $1 AND hash NOT IN \
                           (SELECT hash FROM account_devices WHERE member = $1 ORDER BY used_at DESC, hash LIMIT $2)";
const SESSION: &str = "SELECT account_sessions.*, role FROM account_sessions \
                       JOIN accounts ON accounts.member = account_sessions.member AND deleted_at IS NULL \
                       WHERE family = $1 AND ended_why IS NULL";
const ROTATE: &str = "UPDATE account_sessions SET previous = current, current = $3, salt = $4, rotated_at = $5, \
                      generation = generation + 1 WHERE id = $1 AND current = $2 AND ended_why IS NULL";
const REPLACE_LOST: &str = "UPDATE account_sessions SET current = $3, salt = $4, rotated_at = $5 \
                            WHERE id = $1 AND current = $2 AND seen < generation AND ended_why IS NULL";
const MARK_SEEN: &str = "UPDATE account_sessions SET seen = noted.seen \
                         FROM (SELECT id, max(seen) AS seen FROM unnest($1::text[], $2::bigint[]) AS noted (id, seen) \
                         GROUP BY id) AS noted \
                         WHERE account_sessions.id = noted.id AND account_sessions.seen < noted.seen";
const SESSIONS: &str = "SELECT * FROM account_sessions WHERE member = $1 AND ended_why IS NULL \
                        ORDER BY created_at DESC, id DESC";
const ENDED: &str = "SELECT member, id, ended_why FROM account_sessions \
                     WHERE ended_why IS NOT NULL AND ($1::text IS NULL OR member = $1) LIMIT $2";
const FORGET_SESSIONS: &str = "DELETE FROM account_sessions WHERE id = ANY($1) AND ended_why IS NOT NULL";
const KNOWS_DEVICE: &str = "SELECT EXISTS (SELECT 1 FROM account_devices WHERE hash = $1 AND member = $2)";
/// In one order, so that two who count the same never wait for each other in a circle.
const LOCK_COUNTERS: &str = "SELECT pg_advisory_xact_lock(1901, number) FROM \
                             (SELECT DISTINCT hashtext(key) AS number FROM unnest($1::text[]) AS key ORDER BY number) AS sorted";
const COUNTS: &str = "SELECT key, count, since, until FROM account_counters WHERE key = ANY($1)";
const SET_COUNT: &str = "INSERT INTO account_counters (key, count, since, until) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (key) DO UPDATE SET count = excluded.count, since = excluded.since, until = excluded.until";
/// In the order of the keys, as they are written too.
const CLEAR: &str = "DELETE FROM account_counters WHERE key IN \
                     (SELECT key FROM account_counters WHERE key = ANY($1) ORDER BY key FOR UPDATE)";
const ADD_SERVICE_TOKEN: &str = "INSERT INTO service_tokens (id, name, scopes, hash, created_at, created_by, revoked_at) \
                                 VALUES ($1, $2, $3, $4, $5, $6, $7)";
const SERVICE_TOKENS: &str = "SELECT * FROM service_tokens ORDER BY created_at, id";
const REVOKE_SERVICE_TOKEN: &str =
    "UPDATE service_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1";
/// What another process removes at this moment is left to it.
const SWEEP: [(&str, TimeDelta); 4] = [
    (
        "DELETE FROM account_tokens WHERE hash IN \
         (SELECT hash FROM account_tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        TimeDelta::zero(),
    ),
    (
        "DELETE FROM account_sessions WHERE id IN (SELECT id FROM account_sessions \
         WHERE expires_at <= $1 AND ended_why IS NULL LIMIT $2 FOR UPDATE SKIP LOCKED)",
        TimeDelta::zero(),
    ),
    (
        "DELETE FROM account_counters WHERE key IN \
         (SELECT key FROM account_counters WHERE until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        COUNTER_LIFE,
    ),
    (
        "DELETE FROM account_devices WHERE hash IN \
         (SELECT hash FROM account_devices WHERE used_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        DEVICE_LIFE,
    ),
];
/// Two rows are not to have the same value.
const UNIQUE_VIOLATION: &str = "23505";

#[async_trait]
impl AccountStore for Postgres {
    async fn account(&self, whose: &Whose) -> Result<Option<AccountRecord>, StoreError> {
        let query = match whose {
            Whose::Email(lower) => sqlx::query(ACCOUNT_BY_EMAIL).bind(lower),
            Whose::Member(member) => sqlx::query(ACCOUNT).bind(member.as_str()),
        };
        let row = self.connections.call(query.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(account).transpose()
    }

    async fn accounts(
        &self,
        role: Option<Role>,
        after: Option<&MemberId>,
        at_most: usize,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let sql = if role.is_some() { ACCOUNTS_OF_ROLE } else { ACCOUNTS };
        let query = sqlx::query(sql).bind(after.map_or("", MemberId::as_str)).bind(limit(at_most));
        let query = if let Some(role) = role { query.bind(role.as_str()) } else { query };
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(account).collect()
    }

    async fn open_account(&self, opening: Opening) -> Result<Opened, StoreError> {
        let opened = self.connections.call(self.open_in(&opening)).await?;
        opened.ok_or_else(|| StoreError::Unavailable("the record of this person keeps changing".to_owned()))
    }

    async fn change_account(
        &self,
        member: &MemberId,
        change: Change,
        news: Option<News>,
    ) -> Result<bool, StoreError> {
        self.connections.call(self.change_in(member.as_str(), &change, news.as_ref())).await
    }

    async fn change_email(
        &self,
        member: &MemberId,
        token: &Hash,
        email: &str,
        email_lower: &str,
        news: News,
    ) -> Result<EmailChange, StoreError> {
        let change = self.change_email_in(member.as_str(), token, email, email_lower, &news);
        self.connections
            .call(async {
                match change.await {
                    // Somebody who was added past the lock.
                    Err(why) if is(&why, UNIQUE_VIOLATION) => Ok(EmailChange::Taken),
                    other => other,
                }
            })
            .await
    }

    async fn news(&self, before: DateTime<Utc>, at_most: usize) -> Result<Vec<(MemberId, News)>, StoreError> {
        let news = sqlx::query_as::<_, (String, String, String, DateTime<Utc>)>(NEWS)
            .bind(before)
            .bind(limit(at_most));
        let found = self.connections.call(news.fetch_all(&self.connections.pool())).await?;
        Ok(found.into_iter().map(|(member, id, text, at)| (member.into(), News { id, text, at })).collect())
    }

    async fn forget_news(&self, id: &str) -> Result<(), StoreError> {
        let forget = sqlx::query(FORGET_NEWS).bind(id);
        self.connections.call(forget.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn unfinished_accounts(
        &self,
        before: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Vec<(MemberId, bool)>, StoreError> {
        let found = sqlx::query_as::<_, (String, bool)>(UNFINISHED).bind(before).bind(limit(at_most));
        let found = self.connections.call(found.fetch_all(&self.connections.pool())).await?;
        Ok(found.into_iter().map(|(member, deleted)| (member.into(), deleted)).collect())
    }

    async fn forget_account(&self, member: &MemberId) -> Result<(), StoreError> {
        let forget = sqlx::query(FORGET_ACCOUNT).bind(member.as_str());
        self.connections.call(forget.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        let add = sqlx::query(ADD_TOKEN)
            .bind(token.hash)
            .bind(token.kind.as_str())
            .bind(token.member.as_ref().map(MemberId::as_str))
            .bind(&token.email)
            .bind(token.email.as_ref().map(|email| email.to_lowercase()))
            .bind(&token.password)
            .bind(token.created_at)
            .bind(token.expires_at)
            .bind(i64::from(token.tries));
        self.connections.call(add.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn token(&self, hash: &Hash, now: DateTime<Utc>) -> Result<Option<TokenRecord>, StoreError> {
        let query = sqlx::query(TOKEN).bind(hash).bind(now);
        let row = self.connections.call(query.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(token).transpose()
    }

    async fn registrations(
        &self,
        email_lower: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let query = sqlx::query(REGISTRATIONS).bind(email_lower).bind(now);
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(token).collect()
    }

    async fn take_token(
        &self,
        hash: &Hash,
        kind: TokenKind,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let query = sqlx::query(TAKE_TOKEN).bind(hash).bind(kind.as_str()).bind(now);
        let row = self.connections.call(query.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(token).transpose()
    }

    async fn try_token(
        &self,
        hash: &Hash,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let query = sqlx::query(TRY_TOKEN).bind(hash).bind(i64::from(at_most)).bind(now);
        let row = self.connections.call(query.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(token).transpose()
    }

    async fn begin_session(
        &self,
        account: &AccountRecord,
        session: SessionRecord,
        device: Device,
        counters: &[String],
    ) -> Result<bool, StoreError> {
        self.connections.call(self.begin_in(account, &session, device, counters)).await
    }

    async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError> {
        let query = sqlx::query(SESSION).bind(family);
        let row = self.connections.call(query.fetch_optional(&self.connections.pool())).await?;
        row.map(|row| Ok((session(&row)?, role(&get::<String>(&row, "role")?)?))).transpose()
    }

    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
        let Rotation { session, from, to, salt, lost, now } = rotation;
        let rotate = sqlx::query(if lost { REPLACE_LOST } else { ROTATE });
        let rotate = rotate.bind(session.as_str()).bind(from).bind(to).bind(salt).bind(now);
        let done = self.connections.call(rotate.execute(&self.connections.pool())).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_seen(&self, seen: &[(SessionId, u32)]) -> Result<(), StoreError> {
        let (ids, seen): (Vec<&str>, Vec<i64>) =
            seen.iter().map(|(id, seen)| (id.as_str(), i64::from(*seen))).unzip();
        let mark = sqlx::query(MARK_SEEN).bind(ids).bind(seen);
        self.connections.call(mark.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn sessions(&self, member: &MemberId) -> Result<Vec<SessionRecord>, StoreError> {
        let query = sqlx::query(SESSIONS).bind(member.as_str());
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(session).collect()
    }

    async fn end_sessions(
        &self,
        member: &MemberId,
        which: Which,
        why: RevokedBecause,
    ) -> Result<Vec<SessionId>, StoreError> {
        let (sql, session) = match &which {
            Which::One(session) => (END_ONE, Some(session.as_str())),
            Which::AllBut(session) => (END_BUT, Some(session.as_str())),
            Which::All => (END_BUT, None),
        };
        let end = sqlx::query_scalar::<_, String>(sql).bind(member.as_str()).bind(session).bind(why.as_str());
        let mut ended = self.connections.call(end.fetch_all(&self.connections.pool())).await?;
        ended.sort_unstable();
        Ok(ended.into_iter().map(SessionId::from).collect())
    }

    async fn ended_sessions(
        &self,
        member: Option<&MemberId>,
        at_most: usize,
    ) -> Result<Vec<EndedSession>, StoreError> {
        let query = sqlx::query(ENDED).bind(member.map(MemberId::as_str)).bind(limit(at_most));
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        let ended = |row: &PgRow| {
            Ok(EndedSession {
                member: get::<String>(row, "member")?.into(),
                id: get::<String>(row, "id")?.into(),
                why: why(&get::<String>(row, "ended_why")?)?,
            })
        };
        rows.iter().map(ended).collect()
    }

    async fn forget_sessions(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        let ids: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
        let forget = sqlx::query(FORGET_SESSIONS).bind(ids);
        self.connections.call(forget.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn knows_device(&self, member: &MemberId, device: &Hash) -> Result<bool, StoreError> {
        let known = sqlx::query_scalar(KNOWS_DEVICE).bind(device).bind(member.as_str());
        self.connections.call(known.fetch_one(&self.connections.pool())).await
    }

    async fn attempt(
        &self,
        counters: Vec<Counter>,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refused>, StoreError> {
        self.connections.call(self.attempt_in(&counters, now)).await
    }

    async fn clear(&self, keys: &[String]) -> Result<(), StoreError> {
        let clear = sqlx::query(CLEAR).bind(keys);
        self.connections.call(clear.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn add_service_token(&self, token: ServiceTokenRecord) -> Result<(), StoreError> {
        let add = sqlx::query(ADD_SERVICE_TOKEN)
            .bind(token.id)
            .bind(token.name)
            .bind(joined(&token.scopes))
            .bind(token.hash)
            .bind(token.created_at)
            .bind(token.created_by)
            .bind(token.revoked_at);
        self.connections.call(add.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, StoreError> {
        let query = sqlx::query(SERVICE_TOKENS);
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        let token = |row: &PgRow| {
            Ok(ServiceTokenRecord {
                id: get(row, "id")?,
                name: get(row, "name")?,
                scopes: split(&get::<String>(row, "scopes")?),
                hash: get(row, "hash")?,
                created_at: get(row, "created_at")?,
                created_by: get(row, "created_by")?,
                revoked_at: get(row, "revoked_at")?,
            })
        };
        rows.iter().map(token).collect()
    }

    async fn revoke_service_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let revoke = sqlx::query(REVOKE_SERVICE_TOKEN).bind(id).bind(now);
        let done = self.connections.call(revoke.execute(&self.connections.pool())).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn sweep(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut swept = 0;
        for (sql, life) in SWEEP {
            let sweep = sqlx::query(sql).bind(now - life).bind(SWEPT_AT_ONCE);
            swept += self.connections.call(sweep.execute(&self.connections.pool())).await?.rows_affected();
        }
        Ok(swept > 0)
    }
}

impl Postgres {
    /// None where somebody who is added past the lock comes and goes.
    async fn open_in(&self, opening: &Opening) -> sqlx::Result<Option<Opened>> {
        let Opening { token, member, email, email_lower, password, verified, now } = opening;
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(LOCK_ADDRESS).bind(email_lower).execute(&mut *transaction).await?;
        if let Some(token) = token {
            let spend = sqlx::query(SPEND).bind(token).bind(now);
            if spend.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(Some(Opened::Spent));
            }
        }
        sqlx::query(DROP_REGISTRATIONS).bind(email_lower).execute(&mut *transaction).await?;
        let holder = || sqlx::query_scalar::<_, String>(HOLDER).bind(email_lower);
        let mut held = holder().fetch_optional(&mut *transaction).await?;
        if held.is_none() {
            let person =
                sqlx::query(NEW_PERSON).bind(member.as_str()).bind(email).bind(email_lower).bind(now);
            person.execute(&mut *transaction).await?;
            held = holder().fetch_optional(&mut *transaction).await?;
        }
        let Some(held) = held.map(MemberId::from) else { return Ok(None) };
        let open = sqlx::query(OPEN).bind(held.as_str()).bind(now).bind(password).bind(verified);
        let opened = open.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(Some(if opened == 1 { Opened::New(held) } else { Opened::Held(held) }))
    }

    async fn change_in(&self, member: &str, change: &Change, news: Option<&News>) -> sqlx::Result<bool> {
        let mut transaction = self.connections.pool().begin().await?;
        if !apply(&mut transaction, member, change).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        if let Some(news) = news {
            add_news(&mut transaction, member, news).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn change_email_in(
        &self,
        member: &str,
        token: &Hash,
        email: &str,
        lower: &str,
        news: &News,
    ) -> sqlx::Result<EmailChange> {
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(LOCK_ADDRESS).bind(lower).execute(&mut *transaction).await?;
        let holder = sqlx::query_scalar::<_, String>(HOLDER).bind(lower);
        let holder = holder.fetch_optional(&mut *transaction).await?;
        if holder.is_some_and(|holder| holder != member) {
            return Ok(EmailChange::Taken);
        }
        let spend = sqlx::query(SPEND_NEW_EMAIL).bind(token);
        if spend.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(EmailChange::Spent);
        }
        sqlx::query(DROP_REGISTRATIONS).bind(lower).execute(&mut *transaction).await?;
        sqlx::query(DROP_RESETS).bind(member).execute(&mut *transaction).await?;
        sqlx::query(SET_EMAIL).bind(member).bind(email).bind(lower).execute(&mut *transaction).await?;
        add_news(&mut transaction, member, news).await?;
        transaction.commit().await?;
        Ok(EmailChange::Done)
    }

    async fn begin_in(
        &self,
        account: &AccountRecord,
        session: &SessionRecord,
        device: Device,
        counters: &[String],
    ) -> sqlx::Result<bool> {
        let (member, now) = (session.member.as_str(), session.created_at);
        let mut transaction = self.connections.pool().begin().await?;
        let signed_in = sqlx::query(SIGNED_IN)
            .bind(member)
            .bind(now)
            .bind(&account.password)
            .bind(account.role.as_str())
            .bind(account.has_second_factor());
        if signed_in.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let add = sqlx::query(ADD_SESSION)
            .bind(session.id.as_str())
            .bind(member)
            .bind(session.family)
            .bind(session.current)
            .bind(session.previous)
            .bind(session.salt)
            .bind(i64::from(session.generation))
            .bind(i64::from(session.seen))
            .bind(now)
            .bind(session.rotated_at)
            .bind(session.expires_at)
            .bind(&session.device)
            .bind(&session.network);
        add.execute(&mut *transaction).await?;
        let end = sqlx::query(END_OLDEST).bind(member).bind(session.id.as_str()).bind(SESSIONS_AT_ONCE - 1);
        end.bind(RevokedBecause::Revoked.as_str()).execute(&mut *transaction).await?;
        let (sql, hash) = match device {
            Device::Known(hash) => (USE_DEVICE, hash),
            Device::New(hash) => (ADD_DEVICE, hash),
        };
        sqlx::query(sql).bind(hash).bind(member).bind(now).execute(&mut *transaction).await?;
        sqlx::query(OLD_DEVICES).bind(member).bind(DEVICES).execute(&mut *transaction).await?;
        sqlx::query(CLEAR).bind(counters).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn attempt_in(
        &self,
        counters: &[Counter],
        now: DateTime<Utc>,
    ) -> sqlx::Result<Result<(), Refused>> {
        let keys: Vec<&str> = counters.iter().map(|counter| counter.key.as_str()).collect();
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(LOCK_COUNTERS).bind(&keys).execute(&mut *transaction).await?;
        let held: Vec<(String, i64, DateTime<Utc>, DateTime<Utc>)> =
            sqlx::query_as(COUNTS).bind(&keys).fetch_all(&mut *transaction).await?;
        let mut counts = Vec::with_capacity(counters.len());
        for Counter { key, rule } in counters {
            let held = held.iter().find(|(held, ..)| held == key).map(|(_, count, since, until)| Count {
                count: u32::try_from(*count).unwrap_or(u32::MAX),
                since: *since,
                until: *until,
            });
            match rule.attempt(held, now) {
                Ok(count) => counts.push((key, count)),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        counts.sort_unstable_by_key(|(key, _)| *key);
        for (key, Count { count, since, until }) in counts {
            let set = sqlx::query(SET_COUNT).bind(key).bind(i64::from(count)).bind(since).bind(until);
            set.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }
}

async fn apply(connection: &mut PgConnection, member: &str, change: &Change) -> sqlx::Result<bool> {
    let changed = match change {
        Change::Password { hash, keep, keep_device } => {
            let changed = sqlx::query(SET_PASSWORD).bind(member).bind(hash).execute(&mut *connection).await?;
            let keep = keep.as_ref().map(SessionId::as_str);
            end_but(connection, member, keep, RevokedBecause::PasswordChanged).await?;
            sqlx::query(FORGET_DEVICES).bind(member).bind(keep_device).execute(&mut *connection).await?;
            sqlx::query(DROP_RESETS).bind(member).execute(&mut *connection).await?;
            changed
        }
        Change::Rehashed { from, to } => {
            sqlx::query(REHASH).bind(member).bind(from).bind(to).execute(connection).await?
        }
        Change::Role { role: to, now } => {
            if *to != Role::Owner && is_the_last_owner(connection, member, *now).await? {
                return Ok(false);
            }
            let before = sqlx::query_scalar::<_, String>(ROLE).bind(member).fetch_optional(&mut *connection);
            let Some(before) = before.await? else { return Ok(false) };
            if *to < role(&before).map_err(|why| sqlx::Error::Decode(why.into()))? {
                end_but(connection, member, None, RevokedBecause::RoleChanged).await?;
            }
            sqlx::query(SET_ROLE).bind(member).bind(to.as_str()).execute(connection).await?
        }
        Change::Locked { lock, now } => {
            if is_the_last_owner(connection, member, *now).await? {
                return Ok(false);
            }
            let changed =
                sqlx::query(SET_LOCK).bind(member).bind(lock.until).execute(&mut *connection).await?;
            end_but(connection, member, None, RevokedBecause::Locked).await?;
            sqlx::query(DROP_RESETS).bind(member).execute(&mut *connection).await?;
            changed
        }
        Change::Unlocked => sqlx::query(UNLOCK).bind(member).execute(connection).await?,
        Change::Verified => sqlx::query(VERIFIED).bind(member).execute(connection).await?,
        Change::Announced => sqlx::query(ANNOUNCED).bind(member).execute(connection).await?,
        Change::TotpSecret(secret) => {
            sqlx::query(TOTP_SECRET).bind(member).bind(secret).execute(connection).await?
        }
        Change::TotpConfirmed { secret, step, backup_codes, keep } => {
            let confirm = sqlx::query(TOTP_CONFIRMED).bind(member).bind(step).bind(secret);
            let changed = confirm.execute(&mut *connection).await?;
            end_but(connection, member, Some(keep.as_str()), RevokedBecause::Revoked).await?;
            replace_codes(connection, member, backup_codes).await?;
            changed
        }
        Change::TotpStep(step) => sqlx::query(TOTP_STEP).bind(member).bind(step).execute(connection).await?,
        Change::TotpRemoved => {
            let changed = sqlx::query(TOTP_REMOVED).bind(member).execute(&mut *connection).await?;
            replace_codes(connection, member, &[]).await?;
            changed
        }
        Change::BackupCodes(codes) => {
            let locked = sqlx::query(LOCK_ACCOUNT).bind(member).execute(&mut *connection).await?;
            replace_codes(connection, member, codes).await?;
            locked
        }
        Change::BackupCodeUsed(code) => {
            sqlx::query(USE_CODE).bind(member).bind(code).execute(connection).await?
        }
        Change::Deleted(now) => {
            if is_the_last_owner(connection, member, *now).await? {
                return Ok(false);
            }
            let changed = sqlx::query(DELETED).bind(member).bind(now).execute(&mut *connection).await?;
            end_but(connection, member, None, RevokedBecause::AccountDeleted).await?;
            replace_codes(connection, member, &[]).await?;
            sqlx::query(FORGET_DEVICES).bind(member).bind(None::<Hash>).execute(&mut *connection).await?;
            sqlx::query(NO_TOKENS).bind(member).execute(&mut *connection).await?;
            identities::forget(connection, member).await?;
            sqlx::query(NO_ADDRESS).bind(member).execute(connection).await?;
            changed
        }
    };
    Ok(changed.rows_affected() == 1)
}

async fn is_the_last_owner(
    connection: &mut PgConnection,
    member: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let rows = sqlx::query(OWNERS).fetch_all(connection).await?;
    let owner = |row: &PgRow| {
        let lock = lock(Some(row.try_get("locked")?), row.try_get("locked_until")?);
        Ok((MemberId::from(row.try_get::<String, _>("member")?), row.try_get("has_way_in")?, lock))
    };
    let owners = rows.iter().map(owner).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(is_last_owner(&member.to_owned().into(), &owners, now))
}

fn lock(locked: Option<bool>, until: Option<DateTime<Utc>>) -> Option<Lock> {
    (locked == Some(true)).then_some(Lock { until })
}

async fn end_but(
    connection: &mut PgConnection,
    member: &str,
    keep: Option<&str>,
    why: RevokedBecause,
) -> sqlx::Result<()> {
    let end = sqlx::query(END_BUT).bind(member).bind(keep).bind(why.as_str());
    end.execute(connection).await.map(|_| ())
}

async fn replace_codes(connection: &mut PgConnection, member: &str, codes: &[Hash]) -> sqlx::Result<()> {
    sqlx::query(NO_CODES).bind(member).execute(&mut *connection).await?;
    let codes: Vec<&[u8]> = codes.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query(ADD_CODES).bind(member).bind(codes).execute(connection).await.map(|_| ())
}

pub(super) async fn add_news(connection: &mut PgConnection, member: &str, news: &News) -> sqlx::Result<()> {
    let add = sqlx::query(ADD_NEWS).bind(&news.id).bind(member).bind(&news.text).bind(news.at);
    add.execute(connection).await.map(|_| ())
}

fn account(row: &PgRow) -> Result<AccountRecord, StoreError> {
    let secret: Option<Vec<u8>> = get(row, "totp_secret")?;
    let totp = secret.map(|secret| -> Result<_, StoreError> {
        Ok(TotpRecord { secret, confirmed: get(row, "totp_confirmed")?, last_step: get(row, "totp_step")? })
    });
    let role = get::<Option<String>>(row, "role")?.map(|text| role(&text)).transpose()?;
    Ok(AccountRecord {
        member: get::<String>(row, "member")?.into(),
        email: get(row, "email")?,
        opened_at: get(row, "opened_at")?,
        password: get(row, "password")?,
        role: role.unwrap_or_default(),
        verified: get::<Option<bool>>(row, "verified")?.unwrap_or_default(),
        announced: get::<Option<bool>>(row, "announced")?.unwrap_or_default(),
        lock: lock(get(row, "locked")?, get(row, "locked_until")?),
        signed_in_at: get(row, "signed_in_at")?,
        totp: totp.transpose()?,
        backup_codes: usize::try_from(get::<i64>(row, "codes")?).unwrap_or_default(),
        has_identity: get(row, "has_identity")?,
    })
}

fn token(row: &PgRow) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        hash: get(row, "hash")?,
        kind: token_kind(&get::<String>(row, "kind")?)?,
        member: get::<Option<String>>(row, "member")?.map(MemberId::from),
        email: get(row, "email")?,
        password: get(row, "password")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
        tries: number(row, "tries")?,
    })
}

fn session(row: &PgRow) -> Result<SessionRecord, StoreError> {
    Ok(SessionRecord {
        id: get::<String>(row, "id")?.into(),
        member: get::<String>(row, "member")?.into(),
        family: get(row, "family")?,
        current: get(row, "current")?,
        previous: get(row, "previous")?,
        salt: get(row, "salt")?,
        generation: number(row, "generation")?,
        seen: number(row, "seen")?,
        created_at: get(row, "created_at")?,
        rotated_at: get(row, "rotated_at")?,
        expires_at: get(row, "expires_at")?,
        device: get(row, "device")?,
        network: get(row, "network")?,
    })
}

fn number(row: &PgRow, column: &str) -> Result<u32, StoreError> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|why| StoreError::Corrupt(format!("{column} is {number}: {why}")))
}

pub(super) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}
