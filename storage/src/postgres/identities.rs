//! Who signs in with which provider, in `PostgreSQL`. Whoever gives an address to somebody begins with its lock, and whoever
//! changes what somebody signs in with begins with the row of her account.

use accounts::IdentityStore;
use accounts::identities::{FirstSignIn, Flow, IdentityRecord, Linked, OpenedWith, Unlinked};
use accounts::store::{Hash, News};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::ports::StoreError;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::Postgres;
use super::accounts::{DROP_REGISTRATIONS, HOLDER, LOCK_ADDRESS, NEW_PERSON, OPEN, add_news, get};
use crate::account_rows::SWEPT_AT_ONCE;

const ADD_FLOW: &str = "INSERT INTO account_flows (state, browser, provider, return_to, member, session, expires_at) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7)";
const TAKE_FLOW: &str =
    "DELETE FROM account_flows WHERE state = $1 AND browser = $2 AND expires_at > $3 RETURNING *";
/// What another process removes at this moment is left to it.
const SWEEP_FLOWS: &str = "DELETE FROM account_flows WHERE state IN \
                           (SELECT state FROM account_flows WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
const USE: &str =
    "UPDATE account_identities SET used_at = $3 WHERE issuer = $1 AND subject = $2 RETURNING member";
const WHOSE: &str = "SELECT member FROM account_identities WHERE issuer = $1 AND subject = $2";
const HERS: &str = "SELECT * FROM account_identities WHERE member = $1 ORDER BY linked_at, id";
/// Waits for one who adds the same at this moment, and then does nothing if she has.
const ADD: &str = "INSERT INTO account_identities (issuer, subject, id, member, provider, email, linked_at, used_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (issuer, subject) DO NOTHING";
const REMOVE: &str = "DELETE FROM account_identities WHERE member = $1 AND id = $2";
const LOCK_ACCOUNT: &str =
    "SELECT password IS NOT NULL FROM accounts WHERE member = $1 AND deleted_at IS NULL FOR UPDATE";
const OTHERS: &str =
    "SELECT count(*) FROM account_identities WHERE member = $1 AND id <> $2 AND issuer = ANY($3)";
const IS_HERS: &str = "SELECT EXISTS (SELECT 1 FROM account_identities WHERE member = $1 AND id = $2)";
/// Whoever ends it at this moment waits until it is linked, or has ended it.
const LIVES: &str =
    "SELECT 1 FROM account_sessions WHERE member = $1 AND id = $2 AND ended_why IS NULL FOR SHARE";
const DROP_CHALLENGES: &str = "DELETE FROM account_tokens WHERE member = $1 AND kind = 'challenge'";
const FORGET_IDENTITIES: &str = "DELETE FROM account_identities WHERE member = $1";
const FORGET_FLOWS: &str = "DELETE FROM account_flows WHERE member = $1";

#[async_trait]
impl IdentityStore for Postgres {
    async fn add_flow(&self, flow: Flow) -> Result<(), StoreError> {
        let (member, session) = flow.link.as_ref().map(|(member, session)| (member, session)).unzip();
        let add = sqlx::query(ADD_FLOW)
            .bind(flow.state)
            .bind(flow.browser)
            .bind(&flow.provider)
            .bind(&flow.return_to)
            .bind(member.map(MemberId::as_str))
            .bind(session.map(SessionId::as_str))
            .bind(flow.expires_at);
        self.connections.call(add.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn take_flow(
        &self,
        state: &Hash,
        browser: &Hash,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, StoreError> {
        let take = sqlx::query(TAKE_FLOW).bind(state).bind(browser).bind(now);
        let row = self.connections.call(take.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(flow).transpose()
    }

    async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberId>, StoreError> {
        let used = sqlx::query_scalar::<_, String>(USE).bind(issuer).bind(subject).bind(now);
        let member = self.connections.call(used.fetch_optional(&self.connections.pool())).await?;
        Ok(member.map(MemberId::from))
    }

    async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityRecord>, StoreError> {
        let query = sqlx::query(HERS).bind(member.as_str());
        let rows = self.connections.call(query.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(identity).collect()
    }

    async fn open_with(&self, first: FirstSignIn, news: News) -> Result<OpenedWith, StoreError> {
        self.connections.call(self.open_with_in(&first, &news)).await
    }

    async fn link_identity(&self, identity: IdentityRecord, news: News) -> Result<Linked, StoreError> {
        self.connections.call(self.link_in(&identity, &news)).await
    }

    async fn unlink_identity(
        &self,
        member: &MemberId,
        identity: &IdentityId,
        issuers: &[String],
        news: News,
    ) -> Result<Unlinked, StoreError> {
        self.connections.call(self.unlink_in(member.as_str(), identity.as_str(), issuers, &news)).await
    }

    async fn sweep_flows(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let sweep = sqlx::query(SWEEP_FLOWS).bind(now).bind(SWEPT_AT_ONCE);
        let swept = self.connections.call(sweep.execute(&self.connections.pool())).await?;
        Ok(swept.rows_affected() > 0)
    }
}

impl Postgres {
    /// What was begun is undone where it returns before the commit.
    async fn open_with_in(&self, first: &FirstSignIn, news: &News) -> sqlx::Result<OpenedWith> {
        let FirstSignIn { identity, email, email_lower } = first;
        let (member, now) = (identity.member.as_str(), identity.linked_at);
        let mut transaction = self.connections.pool().begin().await?;
        sqlx::query(LOCK_ADDRESS).bind(email_lower).execute(&mut *transaction).await?;
        if let Some(held) = whose(&mut transaction, identity).await? {
            return Ok(OpenedWith::Held(held));
        }
        sqlx::query(DROP_REGISTRATIONS).bind(email_lower).execute(&mut *transaction).await?;
        let holder = sqlx::query_scalar::<_, String>(HOLDER).bind(email_lower);
        if holder.fetch_optional(&mut *transaction).await?.is_some() {
            return Ok(OpenedWith::Taken);
        }
        let person = sqlx::query(NEW_PERSON).bind(member).bind(email).bind(email_lower).bind(now);
        // Somebody who is added past the lock.
        if person.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(OpenedWith::Taken);
        }
        sqlx::query(OPEN)
            .bind(member)
            .bind(now)
            .bind(None::<String>)
            .bind(true)
            .execute(&mut *transaction)
            .await?;
        if !add(&mut transaction, identity).await? {
            let held = whose(&mut transaction, identity).await?;
            return Ok(held.map_or(OpenedWith::Taken, OpenedWith::Held));
        }
        add_news(&mut transaction, member, news).await?;
        transaction.commit().await?;
        Ok(OpenedWith::New)
    }

    async fn link_in(&self, identity: &IdentityRecord, news: &News) -> sqlx::Result<Linked> {
        let member = identity.member.as_str();
        let mut transaction = self.connections.pool().begin().await?;
        let locked = sqlx::query_scalar::<_, bool>(LOCK_ACCOUNT).bind(member);
        if locked.fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(Linked::NoAccount);
        }
        let lives = sqlx::query(LIVES).bind(member).bind(identity.asked_in.as_ref().map(SessionId::as_str));
        if lives.fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(Linked::SessionEnded);
        }
        if !add(&mut transaction, identity).await? {
            let held = whose(&mut transaction, identity).await?;
            return Ok(if held.as_ref() == Some(&identity.member) { Linked::Held } else { Linked::Taken });
        }
        add_news(&mut transaction, member, news).await?;
        transaction.commit().await?;
        Ok(Linked::Done)
    }

    async fn unlink_in(
        &self,
        member: &str,
        identity: &str,
        issuers: &[String],
        news: &News,
    ) -> sqlx::Result<Unlinked> {
        let mut transaction = self.connections.pool().begin().await?;
        let locked = sqlx::query_scalar::<_, bool>(LOCK_ACCOUNT).bind(member);
        let has_password = locked.fetch_optional(&mut *transaction).await?;
        let is_hers = sqlx::query_scalar::<_, bool>(IS_HERS).bind(member).bind(identity);
        if !is_hers.fetch_one(&mut *transaction).await? {
            return Ok(Unlinked::Unknown);
        }
        let others = sqlx::query_scalar::<_, i64>(OTHERS).bind(member).bind(identity).bind(issuers);
        if has_password != Some(true) && others.fetch_one(&mut *transaction).await? == 0 {
            return Ok(Unlinked::LastWayIn);
        }
        sqlx::query(REMOVE).bind(member).bind(identity).execute(&mut *transaction).await?;
        sqlx::query(DROP_CHALLENGES).bind(member).execute(&mut *transaction).await?;
        add_news(&mut transaction, member, news).await?;
        transaction.commit().await?;
        Ok(Unlinked::Done)
    }
}

/// Removes what of this is somebody's who gives her account up.
pub(super) async fn forget(connection: &mut PgConnection, member: &str) -> sqlx::Result<()> {
    sqlx::query(FORGET_IDENTITIES).bind(member).execute(&mut *connection).await?;
    sqlx::query(FORGET_FLOWS).bind(member).execute(connection).await.map(|_| ())
}

/// False where somebody has it.
async fn add(connection: &mut PgConnection, identity: &IdentityRecord) -> sqlx::Result<bool> {
    let IdentityRecord { id, issuer, subject, member, provider, email, linked_at, used_at, asked_in: _ } =
        identity;
    let add = sqlx::query(ADD).bind(issuer).bind(subject).bind(id.as_str()).bind(member.as_str());
    let add = add.bind(provider).bind(email).bind(linked_at).bind(used_at);
    Ok(add.execute(connection).await?.rows_affected() == 1)
}

async fn whose(connection: &mut PgConnection, identity: &IdentityRecord) -> sqlx::Result<Option<MemberId>> {
    let whose = sqlx::query_scalar::<_, String>(WHOSE).bind(&identity.issuer).bind(&identity.subject);
    Ok(whose.fetch_optional(connection).await?.map(MemberId::from))
}

fn flow(row: &PgRow) -> Result<Flow, StoreError> {
    let (member, session): (Option<String>, Option<String>) = (get(row, "member")?, get(row, "session")?);
    Ok(Flow {
        state: get(row, "state")?,
        browser: get(row, "browser")?,
        provider: get(row, "provider")?,
        return_to: get(row, "return_to")?,
        link: member.zip(session).map(|(member, session)| (member.into(), session.into())),
        expires_at: get(row, "expires_at")?,
    })
}

fn identity(row: &PgRow) -> Result<IdentityRecord, StoreError> {
    Ok(IdentityRecord {
        id: get::<String>(row, "id")?.into(),
        issuer: get(row, "issuer")?,
        subject: get(row, "subject")?,
        member: get::<String>(row, "member")?.into(),
        provider: get(row, "provider")?,
        email: get(row, "email")?,
        linked_at: get(row, "linked_at")?,
        used_at: get(row, "used_at")?,
        asked_in: None,
    })
}
