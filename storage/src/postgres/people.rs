//! Personal data in `PostgreSQL`.

use async_trait::async_trait;
use domain::ids::MemberId;
use domain::ports::{People, PersonKey, PersonRecord, PersonStored, StoreError};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::error::store_error;
use super::{Postgres, limit};
use crate::range::range_of;

/// Waits for one who inserts the same at the same time, and then does nothing if she has.
const INSERT: &str = "INSERT INTO people (member, email, email_lower, external_id, created_at) SELECT $1, $2, $3, $4, $5 \
                      WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE member = $1) ON CONFLICT DO NOTHING";
const ERASED: &str = "SELECT EXISTS (SELECT 1 FROM erasures WHERE member = $1)";
/// The one with the external id first: it is what the caller asked by.
const EXISTING: &str = "SELECT member, email, external_id, created_at FROM people WHERE external_id = $2 OR member = $1 \
                        ORDER BY external_id IS DISTINCT FROM $2 LIMIT 1";
const EMAIL_OWNER: &str = "SELECT member FROM people WHERE email_lower = $1";
const GET: &str = "SELECT member, email, external_id, created_at FROM people WHERE member = $1";
const LIST: &str =
    "SELECT member, email, external_id, created_at FROM people WHERE member > $1 ORDER BY member LIMIT $2";
const FIND_BY_EMAIL: &str = "SELECT member, email, external_id, created_at FROM people \
                             WHERE email_lower >= $1 AND email_lower < $2 ORDER BY email_lower LIMIT $3";
const FIND_BY_EXTERNAL_ID: &str = "SELECT member, email, external_id, created_at FROM people \
                                   WHERE external_id >= $1 AND external_id < $2 ORDER BY external_id LIMIT $3";

/// What stood in the way of an insert may be deleted before it is looked at; then the insert is tried again.
const ATTEMPTS: usize = 5;

#[async_trait]
impl People for Postgres {
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError> {
        let member = record.member.as_str();
        let email_lower = record.email.as_ref().map(|email| email.to_lowercase());
        for _ in 0..ATTEMPTS {
            let pool = self.connections.pool();
            let insert = sqlx::query(INSERT)
                .bind(member)
                .bind(&record.email)
                .bind(&email_lower)
                .bind(&record.external_id)
                .bind(record.created_at);
            let inserted = self.connections.call(insert.execute(&pool)).await?;
            if inserted.rows_affected() == 1 {
                return Ok(PersonStored::Created);
            }
            let existing = sqlx::query(EXISTING).bind(member).bind(&record.external_id);
            if let Some(row) = self.connections.call(existing.fetch_optional(&pool)).await? {
                return person(&row).map(PersonStored::Existing).map_err(store_error);
            }
            let erased = sqlx::query_scalar(ERASED).bind(member);
            if self.connections.call(erased.fetch_one(&pool)).await? {
                return Ok(PersonStored::Erased);
            }
            let owner = sqlx::query_scalar::<_, String>(EMAIL_OWNER).bind(&email_lower);
            if let Some(owner) = self.connections.call(owner.fetch_optional(&pool)).await? {
                return Ok(PersonStored::EmailTaken(owner.into()));
            }
        }
        Err(StoreError::Unavailable("the record of this person keeps changing".to_owned()))
    }

    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError> {
        let get = sqlx::query(GET).bind(member.as_str());
        let row = self.connections.call(get.fetch_optional(&self.connections.pool())).await?;
        row.as_ref().map(person).transpose().map_err(store_error)
    }

    async fn list(&self, after: Option<&MemberId>, at_most: usize) -> Result<Vec<PersonRecord>, StoreError> {
        let after = after.map(MemberId::as_str).unwrap_or_default();
        let list = sqlx::query(LIST).bind(after).bind(limit(at_most));
        let rows = self.connections.call(list.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(|row| person(row).map_err(store_error)).collect()
    }

    async fn find(
        &self,
        key: PersonKey,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        let (sql, [from, to]) = finding(key, prefix);
        let find = sqlx::query(sql).bind(from).bind(to).bind(limit(at_most));
        let rows = self.connections.call(find.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(|row| person(row).map_err(store_error)).collect()
    }
}

/// Where to look for a key, and from where to where.
fn finding(key: PersonKey, prefix: &str) -> (&'static str, [String; 2]) {
    match key {
        PersonKey::Email => (FIND_BY_EMAIL, range_of(&prefix.to_lowercase())),
        PersonKey::ExternalId => (FIND_BY_EXTERNAL_ID, range_of(prefix)),
    }
}

fn person(row: &PgRow) -> sqlx::Result<PersonRecord> {
    Ok(PersonRecord {
        member: row.try_get::<String, _>("member")?.into(),
        email: row.try_get("email")?,
        external_id: row.try_get("external_id")?,
        created_at: row.try_get("created_at")?,
    })
}
