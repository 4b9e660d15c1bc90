//! What a test stands on: a store of its own, embedded or on the server.
use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use switchboard_identity::{
    Config, Identity, MIGRATIONS,
    store::{self, Store},
};
use switchboard_runtime::{Clock, stores::Ledger, vault::Vault};
use switchboard_testkit::servers::{self, Database};
use tempfile::TempDir;

/// Runs tests on both stores.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                let ground = crate::ground::Ground::sqlite();
                super::$test(&ground).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                if let Some(ground) = crate::ground::Ground::postgres().await {
                    super::$test(&ground).await;
                    ground.end().await;
                }
            })*
        }
    };
}

pub struct Ground {
    data: TempDir,
    database: Option<Database>,
}

impl Ground {
    pub fn sqlite() -> Self {
        Ground { data: tempfile::tempdir().expect("a folder"), database: None }
    }

    /// None if there is no server.
    pub async fn postgres() -> Option<Self> {
        let database = Database::create().await?;
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        Some(Ground { data: tempfile::tempdir().expect("a folder"), database: Some(database) })
    }

    pub async fn end(self) {
        let Some(database) = self.database else { return };
        if let Some(admin) = servers::server("postgres_admin") {
            // Nobody else ends connections of the superuser.
            let mut connection = PgConnection::connect(&admin).await.expect("connects");
            let sql = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", database.name));
            sqlx::query(sql).execute(&mut connection).await.expect("is dropped");
        } else {
            database.drop().await;
        }
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    pub fn ledger(&self) -> Ledger {
        self.database.as_ref().map_or_else(|| Ledger::Sqlite(self.data().to_owned()), Database::ledger)
    }

    pub fn config(&self) -> Config {
        Config {
            data: self.data().to_owned(),
            ledger: self.ledger(),
            vault: servers::vault(),
            demo: true,
            token_ttl: Duration::from_secs(3600),
            guest_retention: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// One more that is open, as another process has it.
    pub async fn store(&self) -> Arc<dyn Store> {
        self.store_under(&servers::vault()).await
    }

    /// The same under other master keys.
    pub async fn store_under(&self, vault: &Vault) -> Arc<dyn Store> {
        let (store, mut condition) = store::open(&self.ledger(), vault).await.expect("opens");
        condition.until_well().await;
        store
    }

    /// One more that is open, as another process has it.
    pub async fn identity(&self, clock: &Clock) -> Identity {
        Identity::open(&self.config(), clock.clone()).await.expect("opens")
    }

    /// The server's superuser, whom nothing holds; none if the store is embedded.
    pub async fn superuser(&self) -> Option<PgConnection> {
        let name = &self.database.as_ref()?.name;
        let mut url = url::Url::parse(&servers::server("postgres_admin")?).expect("a URL");
        url.set_path(name);
        Some(PgConnection::connect(url.as_str()).await.expect("connects"))
    }

    /// Runs a statement behind the store's back.
    pub async fn tamper(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.database.is_some() {
            let mut connection = self.superuser().await.expect("the tests have an administrator");
            sqlx::query("SET search_path = identity").execute(&mut connection).await.expect("is set");
            sqlx::query(sql).execute(&mut connection).await.expect("is done");
        } else {
            let options = SqliteConnectOptions::new().filename(self.data().join("identity.db"));
            let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
            sqlx::query(sql).execute(&mut connection).await.expect("is done");
            connection.close().await.expect("closes");
        }
    }
}
