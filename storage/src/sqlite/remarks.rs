//! What staff writes, in `SQLite`.

use async_trait::async_trait;
use domain::ids::RemarkId;
use domain::ports::{Remark, Remarks, StoreError};
use rusqlite::{Connection, Params, params};

use super::error::store_error;
use super::{Sqlite, micros, moment};

const PUT: &str = "INSERT INTO remarks (id, member, text, created_at) SELECT ?1, ?2, ?3, ?4 \
                   WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE member = ?2) ON CONFLICT (id) DO NOTHING";
const GET: &str = "SELECT id, member, text, created_at FROM remarks \
                   WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id";

#[async_trait]
impl Remarks for Sqlite {
    async fn put(&self, remark: Remark) -> Result<(), StoreError> {
        self.write(move |connection| {
            let Remark { id, member, text, at } = &remark;
            execute(connection, PUT, params![id.as_str(), member.as_str(), text, micros(*at)])
        })
        .await
    }

    async fn get(&self, ids: &[RemarkId]) -> Result<Vec<Remark>, StoreError> {
        let ids = serde_json::json!(ids).to_string();
        self.readers.read(move |connection| select(connection, &ids)).await
    }
}

fn select(connection: &Connection, ids: &str) -> Result<Vec<Remark>, StoreError> {
    let mut statement = connection.prepare_cached(GET).map_err(store_error)?;
    let rows = statement.query_map([ids], |row| {
        let (id, member): (String, String) = (row.get(0)?, row.get(1)?);
        Ok((id, member, row.get(2)?, row.get(3)?))
    });
    rows.map_err(store_error)?
        .map(|row| {
            let (id, member, text, at) = row.map_err(store_error)?;
            Ok(Remark { id: id.into(), member: member.into(), text, at: moment(at)? })
        })
        .collect()
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    done.map(|_| ()).map_err(store_error)
}
