//! The laws of the ledger, on SQLite and on PostgreSQL: one suite decides for both.
pub mod bed;
mod durability;
mod indexes;
mod laws;
mod people;
pub mod plant;
mod replicas;
mod tenancy;

use switchboard_conversation::store::{MIGRATIONS, sqlite::SqliteStore};
use switchboard_runtime::{Condition, postgres, stores::Ledger};
use switchboard_testkit::servers::{self, Database, with_database};
use tempfile::tempdir;

use bed::{Bed, PostgresBed, SqliteBed};

async fn suite(bed: &dyn Bed) {
    let store = bed.open(servers::vault()).await;
    laws::all(&*store).await;
    people::all(bed, &*store).await;
    tenancy::nothing_is_reached_through_the_port(&*store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_laws() {
    let folder = tempdir().expect("folder");
    suite(&SqliteBed(folder.path().to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_laws() {
    with_database(async |database| suite(&PostgresBed::migrated(database).await).await).await;
}

#[tokio::test]
async fn the_ledger_is_opened_as_it_is_chosen() {
    let folder = tempdir().expect("folder");
    let (store, condition) =
        switchboard_conversation::store::open(&Ledger::Sqlite(folder.path().to_owned()), servers::vault())
            .await
            .expect("opens");
    assert_eq!(condition.why(), Condition::well().why());
    store.close().await;
    with_database(async |database: Database| {
        let (store, mut condition) =
            switchboard_conversation::store::open(&database.ledger(), servers::vault()).await.expect("opens");
        condition.changed().await;
        let why = condition.why().expect("is not well yet");
        assert!(why.contains("lacks migrations of conversation: 0001_initial"), "{why}");
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        condition.until_well().await;
        store.organizations().await.expect("answers");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn migrations_go_there_and_back() {
    with_database(async |database: Database| {
        for _ in 0..2 {
            MIGRATIONS.apply(&database.ledger()).await.expect("up");
            postgres::undo(&database.at, MIGRATIONS.owner, MIGRATIONS.postgres, 0).await.expect("down");
        }
    })
    .await;
}

#[tokio::test]
async fn a_damaged_file_says_what_to_do() {
    let folder = tempdir().expect("folder");
    std::fs::write(
        folder.path().join("conversation.db"),
        "this is no database, it is a letter to a friend".repeat(100),
    )
    .expect("writes");
    let error = SqliteStore::open(folder.path(), servers::vault()).await.expect_err("refused").to_string();
    assert!(error.contains("damaged or not a database") && error.contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_newer_file_says_what_to_do() {
    let folder = tempdir().expect("folder");
    let bed = SqliteBed(folder.path().to_owned());
    bed.open(servers::vault()).await.close().await;
    bed.meddle(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
         VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)",
    )
    .await;
    let error = SqliteStore::open(folder.path(), servers::vault()).await.expect_err("refused").to_string();
    assert!(error.contains("newer version of Switchboard (migration 9999)"), "{error}");
}
