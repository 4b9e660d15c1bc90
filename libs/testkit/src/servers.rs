//! Real servers for contract suites: found by `SWITCHBOARD_TEST_*`, skipped aloud where they are not.
//!
//! In: the environment. Out: a throw-away database of a server. Never: a quiet pass: what is not run says SKIPPED, and fails
//! where `SWITCHBOARD_TEST_SERVERS=required` is set, as verification does.
use std::{future::Future, sync::Arc};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use switchboard_runtime::{
    Secret,
    stores::{Ledger, PostgresAt},
    vault::Vault,
};
use url::Url;
use uuid::Uuid;

/// Names of throw-away databases begin so.
const PREFIX: &str = "switchboard_test_";
/// Throw-away databases of tests that were killed are dropped when they are older.
const STALE_SECONDS: u64 = 1800;
/// Enough for one suite.
const CONNECTIONS: u32 = 30;

/// The URL of a server for tests, from `SWITCHBOARD_TEST_NAME`. None: the test is skipped, and has said so.
///
/// # Panics
/// If it is not there although `SWITCHBOARD_TEST_SERVERS=required`.
#[expect(clippy::print_stderr, reason = "what is not run says so")]
pub fn server(name: &str) -> Option<String> {
    let variable = format!("SWITCHBOARD_TEST_{}", name.to_ascii_uppercase());
    let url = std::env::var(&variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("SWITCHBOARD_TEST_SERVERS").is_ok_and(|v| v == "required");
        assert!(!required, "{variable} is not set: start the server with `cargo xtask backends up {name}`");
        eprintln!("SKIPPED: {variable} is not set; start the server with `cargo xtask backends up {name}`");
    }
    url
}

/// Master keys for tests, the same for all replicas.
pub fn master_keys() -> Secret {
    Secret::new("1:c3dpdGNoYm9hcmQgdGVzdHM6IGEgbWFzdGVyIGtleS4=")
}

/// A vault with [`master_keys`].
pub fn vault() -> Vault {
    Vault::new(&master_keys()).expect("a good key")
}

/// A throw-away PostgreSQL database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is.
    pub at: PostgresAt,
    /// The same as a URL.
    pub url: String,
    /// Its name.
    pub name: String,
    admin: Arc<str>,
}

impl Database {
    /// Makes one; none if there is no server.
    pub async fn create() -> Option<Self> {
        let admin = server("postgres")?;
        let mut connection = PgConnection::connect(&admin).await.expect("PostgreSQL answers");
        drop_stale(&mut connection).await;
        let name = format!("{PREFIX}{}_{}", now(), Uuid::new_v4().simple());
        let sql = format!("CREATE DATABASE {name}");
        connection.execute(AssertSqlSafe(sql)).await.expect("makes a database");
        connection.close().await.expect("closes");
        let mut url = Url::parse(&admin).expect("a URL");
        url.set_path(&name);
        let at = PostgresAt { url: Secret::new(url.as_str()), connections: CONNECTIONS };
        Some(Database { at, url: url.to_string(), name, admin: admin.into() })
    }

    /// As a setting's value is read.
    pub fn ledger(&self) -> Ledger {
        Ledger::Postgres(self.at.clone())
    }

    /// Ends it, whoever is still connected.
    pub async fn drop(self) {
        let mut connection = PgConnection::connect(&self.admin).await.expect("PostgreSQL answers");
        let name = &self.name;
        // With FORCE it is refused while the server's own autovacuum is in there, which only an administrator may end. Without
        // it the server ends its own and waits for ours.
        for sql in [
            format!("ALTER DATABASE {name} CONNECTION LIMIT 0"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = current_user"
            ),
            format!("DROP DATABASE {name}"),
        ] {
            connection.execute(AssertSqlSafe(sql)).await.expect("drops the database");
        }
        connection.close().await.expect("closes");
    }
}

/// Runs a test on a throw-away database, if there is a server.
pub async fn with_database<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    if let Some(database) = Database::create().await {
        test(database.clone()).await;
        database.drop().await;
    }
}

fn now() -> u64 {
    switchboard_runtime::Clock::system().now().as_second().unsigned_abs()
}

/// A test that was killed could not drop its own.
async fn drop_stale(connection: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE $1")
        .bind(format!("{}%", PREFIX.replace('_', "\\_")))
        .fetch_all(&mut *connection)
        .await
        .expect("lists databases");
    for name in names {
        let made =
            name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()).and_then(|n| n.parse::<u64>().ok());
        if made.is_some_and(|made| made + STALE_SECONDS < now()) {
            // Somebody else may drop it at the same time.
            let _ = connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await;
        }
    }
}
