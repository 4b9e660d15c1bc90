//! One organization, and a raw connection with another one's name: row security holds without our code.
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use switchboard_notification::MIGRATIONS;
use switchboard_runtime::postgres::code;
use switchboard_testkit::servers::{Database, with_database};
use uuid::Uuid;

use crate::rig::{Ground, email};

const A: Uuid = Uuid::from_u128(0xA);
const B: Uuid = Uuid::from_u128(0xB);

/// Fills every table with rows of A, and connects as a role.
async fn plant(database: &Database, role: &'static str) -> PgConnection {
    MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
    let ground = Ground::new(Some(database.ledger()));
    let sender = ground.sender(&ground.transport()).await;
    sender.send(A, "k", &email(), Some(Uuid::now_v7())).await.expect("delivers");
    let mut raw = PgConnection::connect(&database.url).await.expect("connects");
    for sql in ["SET search_path = notification".to_owned(), format!("SET ROLE {role}")] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut raw).await.expect("sets");
    }
    raw
}

async fn act_as(connection: &mut PgConnection, org: Option<Uuid>) {
    let org = org.map(|o| o.to_string()).unwrap_or_default();
    sqlx::query("SELECT set_config('app.current_org_id', $1, false)")
        .bind(org)
        .execute(connection)
        .await
        .expect("sets");
}

#[tokio::test]
async fn another_organization_sees_and_writes_nothing_in_any_table() {
    with_database(|database| async move {
        let mut raw = plant(&database, "switchboard_notification").await;
        let tables = sqlx::query(
            "SELECT relname::text AS name, relrowsecurity AND relforcerowsecurity AS held FROM pg_class \
             WHERE relnamespace = 'notification'::regnamespace AND relkind IN ('r', 'p') AND relname <> '_sqlx_migrations'",
        );
        let tables = tables.fetch_all(&mut raw).await.expect("lists");
        assert_eq!(tables.len(), 2);
        for table in tables {
            let name: String = table.get("name");
            assert!(table.get::<bool, _>("held"), "{name} has no forced row security");
            act_as(&mut raw, Some(A)).await;
            let read = format!("SELECT to_jsonb(t) FROM {name} t");
            let rows: Vec<serde_json::Value> =
                sqlx::query_scalar(AssertSqlSafe(read.clone())).fetch_all(&mut raw).await.expect("reads");
            assert!(!rows.is_empty(), "{name}: nothing was planted");
            let insert = format!("INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, $1)");
            for stranger in [Some(B), None] {
                act_as(&mut raw, stranger).await;
                let seen: Vec<serde_json::Value> =
                    sqlx::query_scalar(AssertSqlSafe(read.clone())).fetch_all(&mut raw).await.expect("reads");
                assert_eq!(seen, Vec::<serde_json::Value>::new(), "{name}");
                for write in [format!("UPDATE {name} SET organization_id = organization_id"), format!("DELETE FROM {name}")] {
                    match sqlx::query(AssertSqlSafe(write)).execute(&mut raw).await {
                        Ok(done) => assert_eq!(done.rows_affected(), 0, "{name}"),
                        // A verb that nobody was granted.
                        Err(error) => assert_eq!(code(&error).as_deref(), Some("42501")),
                    }
                }
                let forged = sqlx::query(AssertSqlSafe(insert.clone())).bind(&rows[0]).execute(&mut raw).await;
                let error = forged.expect_err("a row of A from somebody else");
                assert_eq!(code(&error).as_deref(), Some("42501"), "{name}: {error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_worker_learns_what_finding_work_takes_and_nothing_else() {
    with_database(|database| async move {
        let mut raw = plant(&database, "switchboard_notification_worker").await;
        let found: Vec<Uuid> =
            sqlx::query_scalar("SELECT organization_id FROM deliveries").fetch_all(&mut raw).await.expect("is granted");
        assert_eq!(found, [A]);
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
             WHERE c.relnamespace = 'notification'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped \
             AND has_column_privilege('switchboard_notification_worker', attrelid, attnum, 'SELECT, INSERT, UPDATE') ORDER BY 1",
        )
        .fetch_all(&mut raw)
        .await
        .expect("lists");
        let granted = ["deliveries.claimed_until", "deliveries.id", "deliveries.organization_id", "deliveries.status"];
        assert_eq!(columns, [granted.as_slice(), &["index_keys.organization_id"]].concat());
    })
    .await;
}
