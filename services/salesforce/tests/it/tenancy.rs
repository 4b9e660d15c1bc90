//! One organization, and a raw connection with another one's name: row security holds without our code.
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use switchboard_salesforce::{
    MIGRATIONS,
    org::{CaseChange, ContactChange, Org as _, People as _},
    replay::{Replay as _, Replayed},
    store,
};
use switchboard_testkit::servers::with_database;
use uuid::Uuid;

use crate::rig::{A, B, Ground, broken_import, external};

/// Fills every table with rows of A.
async fn plant(ground: &Ground) {
    let org = ground.org(true).await;
    let contact = ContactChange { email: "kim@example.com".into(), name: "Kim".into() };
    let contact_id = org.upsert_contact(A, "user:1", &contact).await.expect("written").record.id;
    let change = CaseChange { contact_id, ..broken_import() };
    org.upsert_case(A, "case:1", &change).await.expect("written");
    org.human_comment(A, &external("case:1"), "Dana", "Hello.").await.expect("written");
    let replay = Replayed::new(store::open(&ground.ledger).await.expect("opens"), ground.clock.clone());
    replay.step(A, "topic", None, &[1], &["e".to_owned()]).await.expect("steps").expect("moves");
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
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        plant(&Ground { ledger: database.ledger(), clock: switchboard_runtime::Clock::system() }).await;
        let mut raw = PgConnection::connect(&database.url).await.expect("connects");
        for sql in ["SET search_path = salesforce", "SET ROLE switchboard_salesforce"] {
            sqlx::query(sql).execute(&mut raw).await.expect("sets");
        }
        let tables = sqlx::query(
            "SELECT relname::text AS name, relrowsecurity AND relforcerowsecurity AS held FROM pg_class \
             WHERE relnamespace = 'salesforce'::regnamespace AND relkind IN ('r', 'p') AND relname <> '_sqlx_migrations'",
        );
        let tables = tables.fetch_all(&mut raw).await.expect("lists");
        assert_eq!(tables.len(), 10);
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
                        Err(error) => assert_eq!(switchboard_runtime::postgres::code(&error).as_deref(), Some("42501")),
                    }
                }
                let forged = sqlx::query(AssertSqlSafe(insert.clone())).bind(&rows[0]).execute(&mut raw).await;
                let error = forged.expect_err("a row of A from somebody else");
                assert_eq!(switchboard_runtime::postgres::code(&error).as_deref(), Some("42501"), "{name}: {error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_worker_learns_which_organizations_there_are_and_nothing_else() {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        plant(&Ground { ledger: database.ledger(), clock: switchboard_runtime::Clock::system() }).await;
        let mut raw = PgConnection::connect(&database.url).await.expect("connects");
        for sql in ["SET search_path = salesforce", "SET ROLE switchboard_salesforce_worker"] {
            sqlx::query(sql).execute(&mut raw).await.expect("sets");
        }
        let found: Vec<Uuid> = sqlx::query_scalar("SELECT DISTINCT organization_id FROM person_keys")
            .fetch_all(&mut raw)
            .await
            .expect("is granted");
        assert_eq!(found, [A]);
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
             WHERE c.relnamespace = 'salesforce'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped \
             AND has_column_privilege('switchboard_salesforce_worker', attrelid, attnum, 'SELECT, INSERT, UPDATE')",
        )
        .fetch_all(&mut raw)
        .await
        .expect("lists");
        assert_eq!(columns, ["person_keys.organization_id"]);
    })
    .await;
}
