//! The laws of the ledger, on SQLite and on PostgreSQL: one suite decides for both.
pub mod bed;
mod durability;
mod indexes;
mod laws;
mod people;
pub mod plant;
mod replicas;
mod tenancy;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use switchboard_conversation::{
    model::Sender,
    store::{By, MIGRATIONS, sqlite::SqliteStore},
};
use switchboard_runtime::{Condition, postgres, stores::Ledger};
use switchboard_testkit::servers::{self, Database, with_database};
use tempfile::tempdir;
use uuid::Uuid;

use bed::{Bed, PostgresBed, SqliteBed};
use plant::{change, created, created_for, later};

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
async fn the_routines_of_the_schema_say_what_they_are_called() {
    with_database(async |database: Database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(servers::vault()).await;
        let row = created(&*store).await;
        for (seconds, sender) in [(0, Sender::User), (30, Sender::AiAgent), (100, Sender::User), (110, Sender::HumanAgent)] {
            change(&*store, &row, |change| {
                let mut message = change.message(sender, None, "x");
                message.created_at = later(seconds);
                change.say(message);
                change.row().answered_seq = change.commit.next.last_user_seq;
            })
            .await;
        }
        let mut connection = bed.owner().await;
        let mut tx = connection.begin().await.expect("begins");
        let acting = format!("SET LOCAL ROLE switchboard_conversation; SET LOCAL app.current_org_id = '{}'", row.org);
        tx.execute(AssertSqlSafe(acting)).await.expect("acts");
        let sql = "SELECT total_messages, user_messages, ai_messages, avg_response_time_seconds::float8, unique_intents, escalation_count \
             FROM get_conversation_stats($1)";
        let stats: (i32, i32, i32, Option<f64>, i32, i32) =
            sqlx::query_as(sql).bind(row.id).fetch_one(&mut *tx).await.expect("counts");
        assert_eq!(stats, (4, 2, 1, Some(20.0), 0, 0));
        let nothing: (i32, i32, i32, Option<f64>, i32, i32) =
            sqlx::query_as(sql).bind(Uuid::now_v7()).fetch_one(&mut *tx).await.expect("counts");
        assert_eq!(nothing, (0, 0, 0, None, 0, 0));
        // Partitions for any month, as often as one likes, by a role that owns nothing.
        for _ in 0..2 {
            tx.execute("SELECT create_monthly_partition('2031-12-31T23:59:59Z')").await.expect("makes them");
        }
        tx.commit().await.expect("commits");
        let tables = bed.tables().await;
        for month in ["2031_12", "2032_01"] {
            assert!(tables.contains(&format!("activity_log_{month}")), "{tables:?}");
        }
        let unsafe_: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relname LIKE 'activity_log_2%' AND relkind = 'r' \
             AND NOT (relrowsecurity AND relforcerowsecurity)",
        )
        .fetch_all(&mut connection)
        .await
        .expect("lists");
        assert!(unsafe_.is_empty(), "{unsafe_:?}");
        let mut tx = connection.begin().await.expect("begins");
        tx.execute("SET LOCAL ROLE switchboard_conversation_worker").await.expect("acts");
        let idle: Vec<(Uuid, Uuid)> = sqlx::query_as("SELECT * FROM close_inactive_conversations('2026-04-01T00:00:00Z', 10)")
            .fetch_all(&mut *tx)
            .await
            .expect("finds");
        assert_eq!(idle, [(row.org, row.id)]);
        tx.rollback().await.expect("ends");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_erased_key_is_in_no_file() {
    let folder = tempdir().expect("folder");
    let bed = SqliteBed(folder.path().to_owned());
    let store = bed.open(servers::vault()).await;
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    for _ in 0..20 {
        created_for(&*store, org, Uuid::now_v7()).await;
    }
    created_for(&*store, org, user).await;
    let url = format!("sqlite:{}", folder.path().join("conversation.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("opens");
    let key: Vec<u8> = sqlx::query_scalar("SELECT wrapped_key FROM person_keys WHERE person_id = ?")
        .bind(user.to_string())
        .fetch_one(&mut connection)
        .await
        .expect("reads");
    connection.close().await.expect("closes");
    let holds = |kept: Vec<u8>| kept.windows(key.len()).any(|window| window == key);
    assert!(holds(bed.kept().await), "it is looked for in the right way");
    store.erase_person(org, user, By { actor: user, now: later(0) }).await.expect("erases");
    // The log that it was written to ends with the last connection.
    store.close().await;
    assert!(!holds(bed.kept().await));
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
