//! Who payers are, in `PostgreSQL`.

use async_trait::async_trait;
use domain::ids::CustomerId;
use domain::ports::{PayerKey, PayerRecord, PayerTold, Payers, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use super::error::store_error;
use super::{Postgres, limit};
use crate::folded::{MOST_WORDS, each_once, words};
use crate::range::range_of;

/// Each part stays unless this one is newer; of two of one moment the greater text stays.
const TELL: &str = "INSERT INTO payers AS held (customer, name, name_at, email, email_lower, email_at) \
    SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM erased_ids WHERE id = $1) \
    AND NOT EXISTS (SELECT 1 FROM erasures WHERE member = ANY($7)) \
    ON CONFLICT (customer) DO UPDATE SET \
    (name, name_at) = (SELECT CASE WHEN newer THEN excluded.name ELSE held.name END, \
    CASE WHEN newer THEN excluded.name_at ELSE held.name_at END FROM (SELECT held.name_at IS NULL \
    OR excluded.name_at > held.name_at \
    OR (excluded.name_at = held.name_at AND coalesce(excluded.name, '') > coalesce(held.name, '')) AS newer) AS part), \
    (email, email_lower, email_at) = (SELECT CASE WHEN newer THEN excluded.email ELSE held.email END, \
    CASE WHEN newer THEN excluded.email_lower ELSE held.email_lower END, \
    CASE WHEN newer THEN excluded.email_at ELSE held.email_at END FROM (SELECT held.email_at IS NULL \
    OR excluded.email_at > held.email_at \
    OR (excluded.email_at = held.email_at AND coalesce(excluded.email, '') > coalesce(held.email, '')) AS newer) AS part) \
    RETURNING name";
/// It may have been told of before it was known whose it is.
const FORGET: &str = "DELETE FROM payers WHERE customer = $1 AND (EXISTS (SELECT 1 FROM erased_ids WHERE id = $1) \
                      OR EXISTS (SELECT 1 FROM erasures WHERE member = ANY($2)))";
const FORGET_WORDS: &str = "DELETE FROM payer_words WHERE customer = $1 AND word <> ALL($2)";
const KEEP_WORDS: &str = "INSERT INTO payer_words (word, customer) SELECT unnest($2::text[]), $1 \
                          ON CONFLICT (word, customer) DO NOTHING";
const GET: &str = "SELECT customer, name, email FROM payers WHERE customer = ANY($1) \
                   AND (name IS NOT NULL OR email IS NOT NULL) ORDER BY customer";
const FIND_BY_ID: &str = "SELECT customer, name, email FROM payers WHERE customer >= $1 AND customer < $2 \
                          AND (name IS NOT NULL OR email IS NOT NULL) ORDER BY customer LIMIT $3";
const FIND_BY_EMAIL: &str = "SELECT customer, name, email FROM payers \
                             WHERE email_lower >= $1 AND email_lower < $2 ORDER BY email_lower, customer LIMIT $3";
const FIND_BY_NAME: &str = "SELECT found.customer, name, email FROM payer_words AS found \
                            JOIN payers ON payers.customer = found.customer WHERE word >= ";
const PAYMENTS: &str = "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = 'payment' \
                        AND aggregate_id >= $1 AND aggregate_id < $2 ORDER BY aggregate_id LIMIT $3";

#[async_trait]
impl Payers for Postgres {
    async fn tell(&self, told: PayerTold) -> Result<(), StoreError> {
        self.connections.call(self.tell_in(&told)).await
    }

    async fn get(&self, customers: &[CustomerId]) -> Result<Vec<PayerRecord>, StoreError> {
        let customers: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let get = sqlx::query(GET).bind(customers);
        payers(self.connections.call(get.fetch_all(&self.connections.pool())).await?)
    }

    async fn find(&self, key: PayerKey, text: &str, at_most: usize) -> Result<Vec<PayerRecord>, StoreError> {
        let (sql, [from, to]) = match key {
            PayerKey::Id => (FIND_BY_ID, range_of(text)),
            PayerKey::Email => (FIND_BY_EMAIL, range_of(&text.to_lowercase())),
            PayerKey::Name => return self.find_by_name(&words(text), at_most).await,
        };
        let find = sqlx::query(sql).bind(from).bind(to).bind(limit(at_most));
        payers(self.connections.call(find.fetch_all(&self.connections.pool())).await?)
    }

    async fn payments(&self, prefix: &str, at_most: usize) -> Result<Vec<String>, StoreError> {
        let [from, to] = range_of(prefix);
        let find = sqlx::query_scalar(PAYMENTS).bind(from).bind(to).bind(limit(at_most));
        self.connections.call(find.fetch_all(&self.connections.pool())).await
    }
}

impl Postgres {
    async fn tell_in(&self, told: &PayerTold) -> sqlx::Result<()> {
        let at = |part: &Option<String>| (part.is_some() || told.is_whole).then_some(told.at);
        let mut transaction = self.connections.pool().begin().await?;
        let tell = sqlx::query_scalar::<_, Option<String>>(TELL)
            .bind(told.customer.as_str())
            .bind(&told.name)
            .bind(at(&told.name))
            .bind(&told.email)
            .bind(told.email.as_ref().map(|email| email.to_lowercase()))
            .bind(at(&told.email))
            .bind(&told.names);
        let Some(name) = tell.fetch_optional(&mut *transaction).await? else {
            let forget = sqlx::query(FORGET).bind(told.customer.as_str()).bind(&told.names);
            forget.execute(&mut *transaction).await?;
            return transaction.commit().await;
        };
        let words = words(&name.unwrap_or_default());
        for sql in [FORGET_WORDS, KEEP_WORDS] {
            sqlx::query(sql).bind(told.customer.as_str()).bind(&words).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    /// The longest word is looked up, and of those who have it the others are asked for.
    async fn find_by_name(&self, words: &[String], at_most: usize) -> Result<Vec<PayerRecord>, StoreError> {
        let Some(first) = words.iter().max_by_key(|word| word.len()) else { return Ok(Vec::new()) };
        let [from, to] = range_of(first);
        let mut sql = QueryBuilder::new(FIND_BY_NAME);
        sql.push_bind(from).push(" AND word < ").push_bind(to);
        for word in words.iter().filter(|word| *word != first) {
            let [from, to] = range_of(word);
            sql.push(" AND EXISTS (SELECT 1 FROM payer_words AS other WHERE other.customer = found.customer");
            sql.push(" AND other.word >= ")
                .push_bind(from)
                .push(" AND other.word < ")
                .push_bind(to)
                .push(")");
        }
        sql.push(" ORDER BY word, found.customer LIMIT ")
            .push_bind(limit(at_most.saturating_mul(MOST_WORDS)));
        let pool = self.connections.pool();
        let found = payers(self.connections.call(sql.build().fetch_all(&pool)).await?)?;
        Ok(each_once(found, at_most))
    }
}

fn payers(rows: Vec<PgRow>) -> Result<Vec<PayerRecord>, StoreError> {
    let payer = |row: PgRow| -> sqlx::Result<PayerRecord> {
        let customer = row.try_get::<String, _>("customer")?.into();
        Ok(PayerRecord { customer, name: row.try_get("name")?, email: row.try_get("email")? })
    };
    rows.into_iter().map(payer).collect::<sqlx::Result<_>>().map_err(store_error)
}
