//! Ledgers to test on, and what tests need of a PostgreSQL server beyond that.
use std::process::Command;

use switchboard_runtime::{Clock, stores::Ledger};
use switchboard_salesforce::{Config, Embedded, MIGRATIONS, org::CaseChange, org::CaseKey, org::Priority};
use switchboard_testkit::servers::{self, Database, with_database};
use url::Url;
use uuid::Uuid;

pub const A: Uuid = Uuid::from_u128(0xA);
pub const B: Uuid = Uuid::from_u128(0xB);

/// Where a test takes place.
pub struct Ground {
    pub ledger: Ledger,
    pub clock: Clock,
}

impl Ground {
    fn new(ledger: Ledger) -> Self {
        Ground { ledger, clock: Clock::manual("2026-03-02T09:00:00Z".parse().expect("a time")) }
    }

    /// One more replica.
    pub async fn org(&self, demo: bool) -> Embedded {
        Embedded::open(&self.ledger, servers::vault(), demo, self.clock.clone()).await.expect("opens")
    }

    pub fn config(&self, demo: bool) -> Config {
        Config { ledger: self.ledger.clone(), vault: servers::vault(), demo }
    }
}

/// Runs a test on a new file.
pub async fn on_sqlite(test: impl AsyncFnOnce(Ground)) {
    let folder = tempfile::tempdir().expect("a folder");
    test(Ground::new(Ledger::Sqlite(folder.path().to_owned()))).await;
}

/// Runs a test on a new database, migrated, if there is a server.
pub async fn on_postgres(test: impl AsyncFnOnce(Ground)) {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        test(Ground::new(database.ledger())).await;
    })
    .await;
}

/// `pg_dump` of a database, as an administrator, whom row security does not hold; none if it is not said where to find it.
pub fn dump(database: &Database, arguments: &[&str]) -> Option<String> {
    let (folder, admin) = (servers::server("postgres_bin")?, servers::server("postgres_admin")?);
    let mut url = Url::parse(&admin).expect("a URL");
    url.set_path(&database.name);
    let program = std::path::Path::new(&folder).join("pg_dump");
    let output = Command::new(program).args(arguments).arg(url.as_str()).output().expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // Two lines carry a random word of their own.
    Some(text.lines().filter(|line| !line.contains("restrict ")).map(|line| format!("{line}\n")).collect())
}

pub fn broken_import() -> CaseChange {
    CaseChange {
        subject: "Import fails".to_owned(),
        description: "It stops half-way.".to_owned(),
        priority: Some(Priority::High),
        queue: "technical".to_owned(),
        ..CaseChange::default()
    }
}

pub fn external(id: &str) -> CaseKey {
    CaseKey::External(id.to_owned())
}
