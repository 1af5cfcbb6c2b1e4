//! What long work remembers, in `PostgreSQL`.

use async_trait::async_trait;
use domain::ids::{CustomerId, SubscriptionId};
use domain::ports::StoreError;
use webhook_ingest::inbox::Outcome;
use webhook_ingest::notebook::{Notebook, Unused};

use super::{Postgres, limit};

const NOTE: &str = "SELECT text FROM notes WHERE name = $1";
const WRITE: &str =
    "INSERT INTO notes (name, text) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET text = excluded.text";
const REMOVE: &str = "DELETE FROM notes WHERE name = $1 AND text = $2";
const NOTES: &str = "SELECT name, text FROM notes WHERE starts_with(name, $1) ORDER BY name LIMIT $2";
const NOT_IN_INBOX: &str = "SELECT asked.id FROM unnest($1::text[]) WITH ORDINALITY AS asked (id, place) \
                            WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.id = asked.id) ORDER BY asked.place";
const UNUSED: &str = "SELECT id, event_type, outcome, why_code FROM inbox \
                      WHERE customer = $1 AND outcome IN ('pending', 'parked', 'failed') ORDER BY arrival DESC LIMIT 20";
/// By bytes, as the index is and as ids are compared here.
const SUBSCRIPTIONS: &str = "SELECT DISTINCT aggregate_id COLLATE \"C\" AS id FROM events \
                             WHERE aggregate_type = 'subscription' AND aggregate_id COLLATE \"C\" > $1 ORDER BY id LIMIT $2";

#[async_trait]
impl Notebook for Postgres {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let note = sqlx::query_scalar(NOTE).bind(name);
        self.connections.call(note.fetch_optional(&self.connections.pool())).await
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let write = sqlx::query(WRITE).bind(name).bind(text);
        self.connections.call(write.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn remove_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let remove = sqlx::query(REMOVE).bind(name).bind(text);
        self.connections.call(remove.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn notes(&self, prefix: &str, at_most: usize) -> Result<Vec<(String, String)>, StoreError> {
        let notes = sqlx::query_as(NOTES).bind(prefix).bind(limit(at_most));
        self.connections.call(notes.fetch_all(&self.connections.pool())).await
    }

    async fn not_in_inbox(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        let missing = sqlx::query_scalar(NOT_IN_INBOX).bind(ids);
        self.connections.call(missing.fetch_all(&self.connections.pool())).await
    }

    async fn unused_of(&self, customer: &CustomerId) -> Result<Vec<Unused>, StoreError> {
        let found =
            sqlx::query_as::<_, (String, String, String, Option<String>)>(UNUSED).bind(customer.as_str());
        let found = self.connections.call(found.fetch_all(&self.connections.pool())).await?;
        let unused = |(id, event_type, outcome, code): (_, _, String, _)| {
            let outcome = Outcome::parse(&outcome)
                .ok_or_else(|| StoreError::Corrupt(format!("{outcome:?} is not an outcome")))?;
            Ok(Unused { id, event_type, outcome, code })
        };
        found.into_iter().map(unused).collect()
    }

    async fn subscriptions_after(
        &self,
        after: Option<&SubscriptionId>,
        at_most: usize,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let ids = sqlx::query_scalar::<_, String>(SUBSCRIPTIONS).bind(after).bind(limit(at_most));
        let ids = self.connections.call(ids.fetch_all(&self.connections.pool())).await?;
        Ok(ids.into_iter().map(SubscriptionId::from).collect())
    }
}
