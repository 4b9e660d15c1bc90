//! The ledger as one SQLite file.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Error, Transaction, migrate::Migrator};
use switchboard_runtime::{
    Condition,
    sqlite::{OpenError, Sqlite},
};
use uuid::Uuid;

use super::{Row, Store, Tx, Value};

/// The migrations of the file.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/salesforce/sqlite");

/// `FOLDER/salesforce.db`.
#[derive(Debug, Clone)]
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore(Sqlite::open(folder, "salesforce", &MIGRATOR).await?))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self, _: Uuid) -> Result<Box<dyn Tx>, Error> {
        Ok(Box::new(SqliteTx(self.0.read().begin().await?)))
    }

    async fn write(&self, _: Uuid) -> Result<Box<dyn Tx>, Error> {
        Ok(Box::new(SqliteTx(self.0.write().await?)))
    }

    async fn organizations(&self, after: Uuid, limit: u32) -> Result<Vec<Uuid>, Error> {
        let found = sqlx::query_scalar::<_, String>(
            "SELECT DISTINCT organization_id FROM person_keys WHERE organization_id > ? ORDER BY organization_id LIMIT ?",
        );
        let found = found.bind(after.to_string()).bind(limit).fetch_all(self.0.read()).await?;
        found.iter().map(|text| Uuid::try_parse(text).map_err(|e| Error::Decode(Box::new(e)))).collect()
    }

    fn condition(&self) -> Condition {
        Condition::well()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

struct SqliteTx(Transaction<'static, sqlx::Sqlite>);

#[async_trait]
impl Tx for SqliteTx {
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let mut query = sqlx::query(statement);
        for value in values {
            query = match *value {
                Value::Id(id) => query.bind(id.to_string()),
                Value::Text(text) => query.bind(text.to_owned()),
                Value::Filled(text) => query.bind((!text.is_empty()).then(|| text.to_owned())),
                Value::Number(number) => query.bind(number),
                Value::Time(time) => query.bind(time.map(Timestamp::as_microsecond)),
                Value::Bytes(bytes) => query.bind(bytes.map(<[u8]>::to_vec)),
            };
        }
        Ok(query.fetch_all(&mut *self.0).await?.into_iter().map(Row::Sqlite).collect())
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        self.0.commit().await
    }
}
