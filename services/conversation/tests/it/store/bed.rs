//! What a suite needs of an adapter beside the port: to open it again, to meddle with its rows, to see what is really kept.
use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use switchboard_conversation::store::{MIGRATIONS, Store, postgres::PostgresStore, sqlite::SqliteStore};
use switchboard_runtime::vault::Vault;
use switchboard_testkit::servers::Database;

#[async_trait]
pub trait Bed: Sync {
    /// Another replica; for SQLite another life.
    async fn open(&self, vault: Vault) -> Arc<dyn Store>;
    /// Runs a statement past all rules. How many rows it touched.
    async fn meddle(&self, sql: &str) -> u64;
    /// All that is kept, as bytes.
    async fn kept(&self) -> Vec<u8>;
    /// An id as a literal of a statement.
    fn id(&self, id: uuid::Uuid) -> String {
        format!("'{id}'")
    }
}

/// A folder.
pub struct SqliteBed(pub PathBuf);

#[async_trait]
impl Bed for SqliteBed {
    async fn open(&self, vault: Vault) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0, vault).await.expect("opens"))
    }

    async fn meddle(&self, sql: &str) -> u64 {
        let url = format!("sqlite:{}", self.0.join("conversation.db").display());
        let mut connection = SqliteConnection::connect(&url).await.expect("opens");
        let done = connection.execute(AssertSqlSafe(sql.to_owned())).await.expect("runs");
        connection.close().await.expect("closes");
        done.rows_affected()
    }

    async fn kept(&self) -> Vec<u8> {
        let files = std::fs::read_dir(&self.0).expect("reads").flatten();
        files.flat_map(|file| std::fs::read(file.path()).expect("reads")).collect()
    }
}

/// A throw-away database.
pub struct PostgresBed(pub Database);

impl PostgresBed {
    /// With the newest schema.
    pub async fn migrated(database: Database) -> Self {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        PostgresBed(database)
    }

    /// A connection as whoever migrated: the owner of the tables.
    pub async fn owner(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.0.url).await.expect("connects");
        connection.execute("SET search_path = conversation").await.expect("sets");
        connection
    }

    /// The tables of the schema, those of the migrator aside.
    pub async fn tables(&self) -> Vec<String> {
        let mut connection = self.owner().await;
        sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'conversation'::regnamespace AND relkind IN ('r', 'p') \
             AND relname <> '_sqlx_migrations' ORDER BY 1",
        )
        .fetch_all(&mut connection)
        .await
        .expect("lists")
    }

    /// Lets the owner of the tables past row security, in this transaction only.
    async fn unlocked(&self, connection: &mut PgConnection) {
        connection.execute("BEGIN").await.expect("begins");
        for table in self.tables().await {
            let sql = format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY");
            connection.execute(AssertSqlSafe(sql)).await.expect("unlocks");
        }
    }
}

#[async_trait]
impl Bed for PostgresBed {
    async fn open(&self, vault: Vault) -> Arc<dyn Store> {
        let store = PostgresStore::open(&self.0.at, vault).expect("opens");
        store.condition().until_well().await;
        Arc::new(store)
    }

    async fn meddle(&self, sql: &str) -> u64 {
        let mut connection = self.owner().await;
        self.unlocked(&mut connection).await;
        let done = connection.execute(AssertSqlSafe(sql.to_owned())).await.expect("runs");
        for table in self.tables().await {
            let sql = format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY");
            connection.execute(AssertSqlSafe(sql)).await.expect("locks");
        }
        connection.execute("COMMIT").await.expect("commits");
        connection.close().await.expect("closes");
        done.rows_affected()
    }

    async fn kept(&self) -> Vec<u8> {
        let mut connection = self.owner().await;
        self.unlocked(&mut connection).await;
        let mut all = Vec::new();
        for table in self.tables().await {
            let columns: Vec<(String, String)> = sqlx::query_as(
                "SELECT column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = 'conversation' AND table_name = $1",
            )
            .bind(&table)
            .fetch_all(&mut connection)
            .await
            .expect("lists");
            // Bytes as they are, not as hexadecimal digits.
            let shown = columns.iter().map(|(name, kind)| match kind.as_str() {
                "bytea" => format!("encode({name}, 'escape')"),
                _ => format!("{name}::text"),
            });
            let shown: Vec<String> = shown.collect();
            let sql = format!("SELECT concat_ws(' ', {}) AS kept FROM {table}", shown.join(", "));
            for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("reads") {
                all.extend(row.get::<String, _>("kept").into_bytes());
            }
        }
        connection.execute("ROLLBACK").await.expect("ends");
        all
    }
}
