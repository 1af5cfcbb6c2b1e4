//! Erasing in `PostgreSQL`. Rows that were deleted are in its files until it vacuums them, and in its backups.

use async_trait::async_trait;
use domain::ports::{Erased, Erasure, Erasures, StoreError};

use super::Postgres;

const MARK: &str = "INSERT INTO erasures (member, erased_at) VALUES ($1, $2) ON CONFLICT (member) DO NOTHING";
const MARK_IDS: &str =
    "INSERT INTO erased_ids (id, member) SELECT unnest($1::text[]), $2 ON CONFLICT (id) DO NOTHING";
/// The payments that what is known to be hers speaks of: disputes name nothing else.
const MARK_PAYMENTS: &str = "INSERT INTO erased_ids (id, member) SELECT DISTINCT concerns, $2 FROM inbox \
                             WHERE concerns IS NOT NULL AND (id = ANY($1) \
                             OR customer IN (SELECT id FROM erased_ids WHERE member = $2)) ON CONFLICT (id) DO NOTHING";
const MARK_DELIVERIES: &str = "UPDATE inbox SET erased_at = $3 WHERE erased_at IS NULL AND (id = ANY($1) \
                               OR customer IN (SELECT id FROM erased_ids WHERE member = $2) \
                               OR concerns IN (SELECT id FROM erased_ids WHERE member = $2))";
/// What is pending still has to be carried out, and is emptied when it is settled.
const EMPTY_BODIES: &str = "UPDATE inbox SET body = '', why_detail = CASE WHEN why_code IS NULL THEN NULL ELSE '' END \
                            WHERE erased_at IS NOT NULL AND outcome <> 'pending' AND length(body) > 0";
const EMPTY_STEPS: &str = "UPDATE delivery_steps SET detail = NULL WHERE detail IS NOT NULL \
                           AND arrival IN (SELECT arrival FROM inbox WHERE erased_at IS NOT NULL)";
/// The first half of the advisory lock that is held, shared, by whoever appends for a member; the second is her hash.
pub(super) const ERASURE_LOCK: i32 = 723_683_724;
/// What is being told for her at this moment is in the log before she is marked, or finds her marked.
const WAIT_FOR_EVENTS: &str = "SELECT pg_advisory_xact_lock($1, hashtext($2))";
/// What is being written or told of her at this moment is either there to be deleted or finds her erased. Late, since everybody else who
/// writes waits until the end.
const WAIT_FOR_WRITERS: &str = "LOCK TABLE remarks, people, payers IN SHARE ROW EXCLUSIVE MODE";
const DELETE_REMARKS: &str = "DELETE FROM remarks WHERE member = $1";
const DELETE_TOKENS: &str = "DELETE FROM account_tokens WHERE member = $1 \
                             OR email_lower = (SELECT email_lower FROM people WHERE member = $1)";
/// What they are found by goes with them.
const DELETE_PAYERS: &str =
    "DELETE FROM payers WHERE customer IN (SELECT id FROM erased_ids WHERE member = $1)";
const DELETE_PERSON: &str = "DELETE FROM people WHERE member = $1";

#[async_trait]
impl Erasures for Postgres {
    async fn erase(&self, erasure: Erasure) -> Result<Erased, StoreError> {
        self.connections.call(self.erase_in(&erasure)).await
    }
}

impl Postgres {
    async fn erase_in(&self, erasure: &Erasure) -> sqlx::Result<Erased> {
        let Erasure { member, ids, deliveries, at } = erasure;
        let member = member.as_str();
        let mut transaction = self.connections.pool().begin().await?;
        let wait = sqlx::query(WAIT_FOR_EVENTS).bind(ERASURE_LOCK).bind(member);
        wait.execute(&mut *transaction).await?;
        sqlx::query(MARK).bind(member).bind(at).execute(&mut *transaction).await?;
        sqlx::query(MARK_IDS).bind(ids).bind(member).execute(&mut *transaction).await?;
        sqlx::query(MARK_PAYMENTS).bind(deliveries).bind(member).execute(&mut *transaction).await?;
        let mark = sqlx::query(MARK_DELIVERIES).bind(deliveries).bind(member).bind(at);
        mark.execute(&mut *transaction).await?;
        let emptied = sqlx::query(EMPTY_BODIES).execute(&mut *transaction).await?.rows_affected();
        sqlx::query(EMPTY_STEPS).execute(&mut *transaction).await?;
        sqlx::query(DELETE_TOKENS).bind(member).execute(&mut *transaction).await?;
        sqlx::query(WAIT_FOR_WRITERS).execute(&mut *transaction).await?;
        let remarks = sqlx::query(DELETE_REMARKS).bind(member).execute(&mut *transaction).await?;
        sqlx::query(DELETE_PAYERS).bind(member).execute(&mut *transaction).await?;
        sqlx::query(DELETE_PERSON).bind(member).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Erased { deliveries: emptied, remarks: remarks.rows_affected() })
    }
}
