//! The narrow port to the ledger: statements that SQLite and PostgreSQL both understand, so that there is one text of each.
//!
//! In: statements with `$1`, `$2`…, and values. Out: rows. Never: what a statement means, or a value inside its text.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Error, Row as _, postgres::PgRow, sqlite::SqliteRow};
use switchboard_runtime::{
    Condition,
    postgres::Time,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
};
use uuid::Uuid;

pub mod postgres;
pub mod sqlite;

/// The migrations of this service.
pub const MIGRATIONS: Migrations =
    Migrations { owner: "salesforce", sqlite: &sqlite::MIGRATOR, postgres: &postgres::MIGRATOR };

/// Opens the adapter of a ledger. PostgreSQL is not waited for.
pub async fn open(ledger: &Ledger) -> Result<Box<dyn Store>, OpenError> {
    Ok(match ledger {
        Ledger::Sqlite(folder) => Box::new(sqlite::SqliteStore::open(folder).await?),
        Ledger::Postgres(at) => Box::new(postgres::PostgresStore::open(at)?),
    })
}

/// The ledger.
///
/// Laws, which both adapters keep and the contract suite needs:
/// - all reads of one transaction see one state;
/// - writing transactions of an organization come one after another, and each sees what was committed before it;
/// - a transaction that is dropped leaves nothing;
/// - a transaction sees and writes rows of its organization only.
#[async_trait]
pub trait Store: Send + Sync {
    /// A transaction that reads.
    async fn read(&self, org: Uuid) -> Result<Box<dyn Tx>, Error>;

    /// A transaction that writes.
    async fn write(&self, org: Uuid) -> Result<Box<dyn Tx>, Error>;

    /// Organizations that have keys, in the order of their ids, after one of them: `limit` at most.
    async fn organizations(&self, after: Uuid, limit: u32) -> Result<Vec<Uuid>, Error>;

    /// How the server is.
    fn condition(&self) -> Condition;

    /// Waits for what is running and closes it.
    async fn close(&self);
}

/// A transaction.
#[async_trait]
pub trait Tx: Send {
    /// Runs a statement; its rows, which are none for one that returns nothing.
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error>;

    /// Ends it well.
    async fn commit(self: Box<Self>) -> Result<(), Error>;
}

/// A value of a statement. What is empty is NULL where the variant says so.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// An id of ours.
    Id(Uuid),
    /// Text.
    Text(&'a str),
    /// Text; NULL if it is empty.
    Filled(&'a str),
    /// A number.
    Number(i64),
    /// A point in time, or NULL.
    Time(Option<Timestamp>),
    /// Bytes, or NULL.
    Bytes(Option<&'a [u8]>),
}

/// A row.
#[derive(Debug)]
pub enum Row {
    /// Of SQLite.
    Sqlite(SqliteRow),
    /// Of PostgreSQL.
    Postgres(PgRow),
}

impl Row {
    /// Text; empty where there is NULL.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        let text: Option<String> = match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        };
        Ok(text.unwrap_or_default())
    }

    /// A number.
    pub fn number(&self, column: &str) -> Result<i64, Error> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
    }

    /// Bytes, if there are any.
    pub fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
    }

    /// A point in time, if there is one.
    pub fn time(&self, column: &str) -> Result<Option<Timestamp>, Error> {
        match self {
            Row::Sqlite(row) => {
                let micros: Option<i64> = row.try_get(column)?;
                micros.map(Timestamp::from_microsecond).transpose().map_err(|e| Error::Decode(Box::new(e)))
            }
            Row::Postgres(row) => Ok(row.try_get::<Option<Time>, _>(column)?.map(|t| t.0)),
        }
    }
}
