//! The ledger as a schema of PostgreSQL. Row security holds each transaction to its organization, whatever its statements say.
use async_trait::async_trait;
use sqlx::{Error, migrate::Migrator};
use switchboard_runtime::{
    Condition,
    postgres::{self, Postgres, Time},
    sqlite::OpenError,
    stores::PostgresAt,
};
use uuid::Uuid;

use super::{Row, Store, Tx, Value};

/// The migrations of the schema.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/salesforce/postgres");

/// Writers of an organization wait here for each other. The number is ours: other owners' locks of the same organization are
/// other locks.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 8106))";

/// The schema `salesforce`.
#[derive(Debug, Clone)]
pub struct PostgresStore(Postgres);

impl PostgresStore {
    /// Opens the pool; does not wait for the server.
    pub fn open(at: &PostgresAt) -> Result<Self, OpenError> {
        Ok(PostgresStore(Postgres::open(at, "salesforce", &MIGRATOR)?))
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn read(&self, org: Uuid) -> Result<Box<dyn Tx>, Error> {
        let mut tx = self.0.tenant(org).await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
        Ok(Box::new(PostgresTx(tx)))
    }

    async fn write(&self, org: Uuid) -> Result<Box<dyn Tx>, Error> {
        let mut tx = self.0.tenant(org).await?;
        sqlx::query(LOCK).bind(org.to_string()).execute(&mut *tx).await?;
        Ok(Box::new(PostgresTx(tx)))
    }

    async fn organizations(&self, after: Uuid, limit: u32) -> Result<Vec<Uuid>, Error> {
        let mut tx = self.0.worker().await?;
        sqlx::query_scalar(
            "SELECT DISTINCT organization_id FROM person_keys WHERE organization_id > $1 ORDER BY organization_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
    }

    fn condition(&self) -> Condition {
        self.0.condition()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

struct PostgresTx(postgres::Tx);

#[async_trait]
impl Tx for PostgresTx {
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let mut query = sqlx::query(statement);
        for value in values {
            query = match *value {
                Value::Id(id) => query.bind(id),
                Value::Text(text) => query.bind(text.to_owned()),
                Value::Filled(text) => query.bind((!text.is_empty()).then(|| text.to_owned())),
                Value::Number(number) => query.bind(number),
                Value::Time(time) => query.bind(time.map(Time)),
                Value::Bytes(bytes) => query.bind(bytes.map(<[u8]>::to_vec)),
            };
        }
        Ok(query.fetch_all(&mut *self.0).await?.into_iter().map(Row::Postgres).collect())
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        self.0.commit().await
    }
}
