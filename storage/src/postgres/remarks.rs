//! What staff writes, in `PostgreSQL`.

use async_trait::async_trait;
use domain::ids::RemarkId;
use domain::ports::{Remark, Remarks, StoreError};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Postgres;
use super::error::store_error;

const PUT: &str = "INSERT INTO remarks (id, member, text, created_at) SELECT $1, $2, $3, $4 \
                   WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE member = $2) ON CONFLICT (id) DO NOTHING";
const GET: &str = "SELECT id, member, text, created_at FROM remarks WHERE id = ANY($1) ORDER BY id";

#[async_trait]
impl Remarks for Postgres {
    async fn put(&self, remark: Remark) -> Result<(), StoreError> {
        let Remark { id, member, text, at } = remark;
        let put = sqlx::query(PUT).bind(id.as_str()).bind(member.as_str()).bind(text).bind(at);
        self.connections.call(put.execute(&self.connections.pool())).await.map(|_| ())
    }

    async fn get(&self, ids: &[RemarkId]) -> Result<Vec<Remark>, StoreError> {
        let ids: Vec<&str> = ids.iter().map(RemarkId::as_str).collect();
        let get = sqlx::query(GET).bind(ids);
        let rows = self.connections.call(get.fetch_all(&self.connections.pool())).await?;
        rows.iter().map(|row| remark(row).map_err(store_error)).collect()
    }
}

fn remark(row: &PgRow) -> sqlx::Result<Remark> {
    Ok(Remark {
        id: row.try_get::<String, _>("id")?.into(),
        member: row.try_get::<String, _>("member")?.into(),
        text: row.try_get("text")?,
        at: row.try_get("created_at")?,
    })
}
