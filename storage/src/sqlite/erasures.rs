//! Erasing in `SQLite`. What was deleted is overwritten in the file (`secure_delete`), and the write-ahead log is emptied.

use async_trait::async_trait;
use domain::ports::{Erased, Erasure, Erasures, StoreError};
use rusqlite::{Connection, Params, params};

use super::error::store_error;
use super::{Sqlite, micros};

const MARK: &str = "INSERT INTO erasures (member, erased_at) VALUES (?1, ?2) ON CONFLICT (member) DO NOTHING";
const MARK_IDS: &str = "INSERT INTO erased_ids (id, member) SELECT value, ?2 FROM json_each(?1) WHERE true \
                        ON CONFLICT (id) DO NOTHING";
/// The payments that what is known to be hers speaks of: disputes name nothing else.
const MARK_PAYMENTS: &str = "INSERT INTO erased_ids (id, member) SELECT DISTINCT concerns, ?2 FROM inbox \
                             WHERE concerns IS NOT NULL AND (id IN (SELECT value FROM json_each(?1)) \
                             OR customer IN (SELECT id FROM erased_ids WHERE member = ?2)) ON CONFLICT (id) DO NOTHING";
const MARK_DELIVERIES: &str = "UPDATE inbox SET erased_at = ?3 WHERE erased_at IS NULL \
                               AND (id IN (SELECT value FROM json_each(?1)) \
                               OR customer IN (SELECT id FROM erased_ids WHERE member = ?2) \
                               OR concerns IN (SELECT id FROM erased_ids WHERE member = ?2))";
/// What is pending still has to be carried out, and is emptied when it is settled.
const EMPTY_BODIES: &str = "UPDATE inbox SET body = x'', why_detail = CASE WHEN why_code IS NULL THEN NULL ELSE '' END \
                            WHERE erased_at IS NOT NULL AND outcome <> 'pending' AND length(body) > 0";
const EMPTY_STEPS: &str = "UPDATE delivery_steps SET detail = NULL WHERE detail IS NOT NULL \
                           AND arrival IN (SELECT arrival FROM inbox WHERE erased_at IS NOT NULL)";
const DELETE_REMARKS: &str = "DELETE FROM remarks WHERE member = ?1";
const DELETE_TOKENS: &str = "DELETE FROM account_tokens WHERE member = ?1 \
                             OR email_lower = (SELECT email_lower FROM people WHERE member = ?1)";
/// What they are found by goes with them.
const DELETE_PAYERS: &str =
    "DELETE FROM payers WHERE customer IN (SELECT id FROM erased_ids WHERE member = ?1)";
const DELETE_PERSON: &str = "DELETE FROM people WHERE member = ?1";

#[async_trait]
impl Erasures for Sqlite {
    async fn erase(&self, erasure: Erasure) -> Result<Erased, StoreError> {
        let erased = self.write(move |connection| erase(connection, &erasure)).await?;
        self.writer()?.checkpoint().await;
        Ok(erased)
    }
}

fn erase(connection: &Connection, erasure: &Erasure) -> Result<Erased, StoreError> {
    let Erasure { member, ids, deliveries, at } = erasure;
    let (member, at) = (member.as_str(), micros(*at));
    let (ids, deliveries) = (serde_json::json!(ids).to_string(), serde_json::json!(deliveries).to_string());
    run(connection, MARK, params![member, at])?;
    run(connection, MARK_IDS, params![ids, member])?;
    run(connection, MARK_PAYMENTS, params![deliveries, member])?;
    run(connection, MARK_DELIVERIES, params![deliveries, member, at])?;
    let emptied = run(connection, EMPTY_BODIES, [])?;
    run(connection, EMPTY_STEPS, [])?;
    let remarks = run(connection, DELETE_REMARKS, [member])?;
    run(connection, DELETE_TOKENS, [member])?;
    run(connection, DELETE_PAYERS, [member])?;
    run(connection, DELETE_PERSON, [member])?;
    Ok(Erased { deliveries: emptied, remarks })
}

fn run(connection: &Connection, sql: &str, values: impl Params) -> Result<u64, StoreError> {
    connection.execute(sql, values).map(|rows| rows as u64).map_err(store_error)
}
