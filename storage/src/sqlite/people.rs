//! Personal data in `SQLite`.

use async_trait::async_trait;
use domain::ids::MemberId;
use domain::ports::{People, PersonKey, PersonRecord, PersonStored, StoreError};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::store_error;
use super::{Sqlite, micros, moment};
use crate::range::range_of;

const INSERT: &str =
    "INSERT INTO people (member, email, email_lower, external_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
/// The one with the external id first: it is what the caller asked by.
const EXISTING: &str = "SELECT member, email, external_id, created_at FROM people WHERE external_id = ?2 OR member = ?1 \
                        ORDER BY external_id IS NOT ?2 LIMIT 1";
const ERASED: &str = "SELECT 1 FROM erasures WHERE member = ?1";
const EMAIL_OWNER: &str = "SELECT member FROM people WHERE email_lower = ?1";
const GET: &str = "SELECT member, email, external_id, created_at FROM people WHERE member = ?1";
const LIST: &str =
    "SELECT member, email, external_id, created_at FROM people WHERE member > ?1 ORDER BY member LIMIT ?2";
const FIND_BY_EMAIL: &str = "SELECT member, email, external_id, created_at FROM people \
                             WHERE email_lower >= ?1 AND email_lower < ?2 ORDER BY email_lower LIMIT ?3";
const FIND_BY_EXTERNAL_ID: &str = "SELECT member, email, external_id, created_at FROM people \
                                   WHERE external_id >= ?1 AND external_id < ?2 ORDER BY external_id LIMIT ?3";

#[async_trait]
impl People for Sqlite {
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError> {
        self.write(move |connection| create(connection, &record)).await
    }

    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError> {
        let member = member.clone();
        let found = self.readers.read(move |connection| select(connection, GET, [member.as_str()])).await;
        found.map(|people| people.into_iter().next())
    }

    async fn list(&self, after: Option<&MemberId>, limit: usize) -> Result<Vec<PersonRecord>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers.read(move |connection| select(connection, LIST, params![after, limit])).await
    }

    async fn find(
        &self,
        key: PersonKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        let (sql, [from, to]) = finding(key, prefix);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers.read(move |connection| select(connection, sql, params![from, to, limit])).await
    }
}

/// Where to look for a key, and from where to where.
fn finding(key: PersonKey, prefix: &str) -> (&'static str, [String; 2]) {
    match key {
        PersonKey::Email => (FIND_BY_EMAIL, range_of(&prefix.to_lowercase())),
        PersonKey::ExternalId => (FIND_BY_EXTERNAL_ID, range_of(prefix)),
    }
}

fn create(connection: &Connection, record: &PersonRecord) -> Result<PersonStored, StoreError> {
    let member = record.member.as_str();
    let existing = select(connection, EXISTING, params![member, record.external_id])?;
    if let Some(existing) = existing.into_iter().next() {
        return Ok(PersonStored::Existing(existing));
    }
    if connection.prepare_cached(ERASED).and_then(|mut look| look.exists([member])).map_err(store_error)? {
        return Ok(PersonStored::Erased);
    }
    let email_lower = record.email.as_ref().map(|email| email.to_lowercase());
    let owner = connection.query_row(EMAIL_OWNER, [&email_lower], |row| row.get::<_, String>(0)).optional();
    if let Some(owner) = owner.map_err(store_error)? {
        return Ok(PersonStored::EmailTaken(owner.into()));
    }
    let values = params![member, record.email, email_lower, record.external_id, micros(record.created_at)];
    connection.execute(INSERT, values).map_err(store_error)?;
    Ok(PersonStored::Created)
}

fn select(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<PersonRecord>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(values, person).map_err(store_error)?;
    rows.map(|row| {
        let (record, created_at) = row.map_err(store_error)?;
        Ok(PersonRecord { created_at: moment(created_at)?, ..record })
    })
    .collect()
}

fn person(row: &Row<'_>) -> rusqlite::Result<(PersonRecord, i64)> {
    let record = PersonRecord {
        member: row.get::<_, String>(0)?.into(),
        email: row.get(1)?,
        external_id: row.get(2)?,
        created_at: chrono::DateTime::UNIX_EPOCH,
    };
    Ok((record, row.get(3)?))
}
