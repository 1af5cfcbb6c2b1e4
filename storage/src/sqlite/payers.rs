//! Who payers are, in `SQLite`.

use async_trait::async_trait;
use domain::ids::CustomerId;
use domain::ports::{PayerKey, PayerRecord, PayerTold, Payers, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::error::store_error;
use super::{Sqlite, micros};
use crate::folded::{MOST_WORDS, each_once, words};
use crate::range::range_of;

/// Each part stays unless this one is newer; of two of one moment the greater text stays.
const TELL: &str = "INSERT INTO payers AS held (customer, name, name_at, email, email_lower, email_at) \
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM erased_ids WHERE id = ?1) \
    AND NOT EXISTS (SELECT 1 FROM erasures WHERE member IN (SELECT value FROM json_each(?7))) \
    ON CONFLICT (customer) DO UPDATE SET \
    (name, name_at) = (SELECT CASE WHEN newer THEN excluded.name ELSE held.name END, \
    CASE WHEN newer THEN excluded.name_at ELSE held.name_at END FROM (SELECT held.name_at IS NULL \
    OR excluded.name_at > held.name_at \
    OR (excluded.name_at = held.name_at AND coalesce(excluded.name, '') > coalesce(held.name, '')) AS newer)), \
    (email, email_lower, email_at) = (SELECT CASE WHEN newer THEN excluded.email ELSE held.email END, \
    CASE WHEN newer THEN excluded.email_lower ELSE held.email_lower END, \
    CASE WHEN newer THEN excluded.email_at ELSE held.email_at END FROM (SELECT held.email_at IS NULL \
    OR excluded.email_at > held.email_at \
    OR (excluded.email_at = held.email_at AND coalesce(excluded.email, '') > coalesce(held.email, '')) AS newer)) \
    RETURNING name";
/// It may have been told of before it was known whose it is.
const FORGET: &str = "DELETE FROM payers WHERE customer = ?1 AND (EXISTS (SELECT 1 FROM erased_ids WHERE id = ?1) \
                      OR EXISTS (SELECT 1 FROM erasures WHERE member IN (SELECT value FROM json_each(?2))))";
const FORGET_WORDS: &str =
    "DELETE FROM payer_words WHERE customer = ?1 AND word NOT IN (SELECT value FROM json_each(?2))";
const KEEP_WORDS: &str = "INSERT INTO payer_words (word, customer) SELECT value, ?1 FROM json_each(?2) WHERE true \
                          ON CONFLICT (word, customer) DO NOTHING";
const GET: &str = "SELECT customer, name, email FROM payers WHERE customer IN (SELECT value FROM json_each(?1)) \
                   AND (name IS NOT NULL OR email IS NOT NULL) ORDER BY customer";
const FIND_BY_ID: &str = "SELECT customer, name, email FROM payers WHERE customer >= ?1 AND customer < ?2 \
                          AND (name IS NOT NULL OR email IS NOT NULL) ORDER BY customer LIMIT ?3";
const FIND_BY_EMAIL: &str = "SELECT customer, name, email FROM payers \
                             WHERE email_lower >= ?1 AND email_lower < ?2 ORDER BY email_lower, customer LIMIT ?3";
const FIND_BY_NAME: &str = "SELECT found.customer, name, email FROM payer_words AS found \
                            JOIN payers ON payers.customer = found.customer WHERE word >= ?1 AND word < ?2";
const PAYMENTS: &str = "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = 'payment' \
                        AND aggregate_id >= ?1 AND aggregate_id < ?2 ORDER BY aggregate_id LIMIT ?3";

#[async_trait]
impl Payers for Sqlite {
    async fn tell(&self, told: PayerTold) -> Result<(), StoreError> {
        if self.write(move |connection| tell(connection, &told).map_err(store_error)).await? {
            // It is in the write-ahead log too.
            self.writer()?.checkpoint().await;
        }
        Ok(())
    }

    async fn get(&self, customers: &[CustomerId]) -> Result<Vec<PayerRecord>, StoreError> {
        let customers = serde_json::json!(customers).to_string();
        self.readers.read(move |connection| select(connection, GET, [customers])).await
    }

    async fn find(&self, key: PayerKey, text: &str, limit: usize) -> Result<Vec<PayerRecord>, StoreError> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let (sql, [from, to]) = match key {
            PayerKey::Id => (FIND_BY_ID, range_of(text)),
            PayerKey::Email => (FIND_BY_EMAIL, range_of(&text.to_lowercase())),
            PayerKey::Name => {
                let Some((sql, values)) = by_name(&words(text), limit) else { return Ok(Vec::new()) };
                let found = self
                    .readers
                    .read(move |connection| select(connection, &sql, params_from_iter(values)))
                    .await?;
                return Ok(each_once(found, limit));
            }
        };
        self.readers.read(move |connection| select(connection, sql, params![from, to, most])).await
    }

    async fn payments(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let ([from, to], most) = (range_of(prefix), i64::try_from(limit).unwrap_or(i64::MAX));
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(PAYMENTS)?;
            statement.query_map(params![from, to, most], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        self.readers.read(move |connection| read(connection).map_err(store_error)).await
    }
}

/// The longest word is looked up, and of those who have it the others are asked for.
fn by_name(words: &[String], limit: usize) -> Option<(String, Vec<Value>)> {
    let first = words.iter().max_by_key(|word| word.len())?;
    let others: Vec<_> = words.iter().filter(|word| *word != first).collect();
    let has = |place: usize| {
        format!(
            " AND EXISTS (SELECT 1 FROM payer_words AS other WHERE other.customer = found.customer \
             AND other.word >= ?{} AND other.word < ?{})",
            2 * place + 3,
            2 * place + 4
        )
    };
    let have: String = (0..others.len()).map(has).collect();
    let rows = limit.saturating_mul(MOST_WORDS);
    let sql = format!("{FIND_BY_NAME}{have} ORDER BY word, found.customer LIMIT {rows}");
    let values = std::iter::once(first).chain(others).flat_map(|word| range_of(word).map(Value::from));
    Some((sql, values.collect()))
}

/// Says whether something had to be forgotten instead.
fn tell(connection: &Connection, told: &PayerTold) -> rusqlite::Result<bool> {
    let at = |part: &Option<String>| (part.is_some() || told.is_whole).then(|| micros(told.at));
    let email_lower = told.email.as_ref().map(|email| email.to_lowercase());
    let (customer, name_at, email_at) = (told.customer.as_str(), at(&told.name), at(&told.email));
    let names = serde_json::json!(told.names).to_string();
    let values = params![customer, told.name, name_at, told.email, email_lower, email_at, names];
    let mut statement = connection.prepare_cached(TELL)?;
    let kept = statement.query_row(values, |row| row.get::<_, Option<String>>(0)).optional()?;
    let Some(name) = kept else {
        return Ok(connection.prepare_cached(FORGET)?.execute([customer, &names])? > 0);
    };
    let words = serde_json::json!(words(&name.unwrap_or_default())).to_string();
    connection.prepare_cached(FORGET_WORDS)?.execute([customer, &words])?;
    connection.prepare_cached(KEEP_WORDS)?.execute([customer, &words])?;
    Ok(false)
}

fn select(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<PayerRecord>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(values, payer).map_err(store_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(store_error)
}

fn payer(row: &Row<'_>) -> rusqlite::Result<PayerRecord> {
    Ok(PayerRecord { customer: row.get::<_, String>(0)?.into(), name: row.get(1)?, email: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use super::super::views::CUSTOMERS_OF;
    use super::*;

    /// How each statement finds its rows, line by line.
    fn plan(sql: &str) -> Vec<String> {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::sqlite().to_latest(&mut connection).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.raw_query();
        rows.mapped(|row| row.get(3)).collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn whatever_is_typed_an_index_answers_it_and_no_table_is_gone_through_or_sorted() {
        let names = |typed: &str| by_name(&words(typed), 20).unwrap().0;
        let searches = [FIND_BY_ID, FIND_BY_EMAIL, PAYMENTS].map(str::to_owned);
        for sql in searches.into_iter().chain([names("ada"), names("ada king of lovelace")]) {
            let plan = plan(&sql);
            let by_index = plan.iter().all(|line| line.starts_with("SEARCH") || line.contains("SUBQUERY"));
            assert!(by_index && !plan.is_empty(), "{sql}\n{plan:#?}");
        }
        let named = plan(CUSTOMERS_OF);
        assert!(
            named[0].contains("member=?"),
            "who was found is named without going through all payers: {named:?}"
        );
        let control = plan("SELECT customer FROM payers WHERE name LIKE '%ada%'");
        assert!(control[0].starts_with("SCAN"), "{control:?}");
    }
}
