//! PostgreSQL itself keeps organizations apart, versions as they were written, and the schema as it was planned: asked past the
//! adapter, as whoever stole its connection would.
use std::process::Command;

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use switchboard_knowledge::{MIGRATIONS, store::Store as _};
use switchboard_runtime::postgres;
use switchboard_testkit::servers::{Database, server, with_database};
use uuid::Uuid;

use crate::{
    database::{owner, raw, with_stores},
    store::{EDITS, FORGERIES, ORG, OTHER, by, content, create, update},
};

/// Tables without organizations.
const OF_ALL: [&str; 2] = ["_sqlx_migrations", "index_generations"];

struct Table {
    name: String,
    partition: bool,
}

/// The tables of organizations, each of which must be held to them.
async fn tables(connection: &mut PgConnection) -> Vec<Table> {
    let rows = connection
        .fetch_all(
            "SELECT c.relname::text AS name, c.relispartition, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id') AS owned,
                (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polwithcheck IS NOT NULL) AS policies
             FROM pg_class c WHERE c.relnamespace = 'knowledge'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1",
        )
        .await
        .expect("reads the catalog");
    let mut out = vec![];
    for row in rows {
        let name: String = row.get("name");
        if OF_ALL.contains(&name.as_str()) {
            continue;
        }
        assert!(row.get::<bool, _>("owned"), "{name} has no organization");
        assert!(row.get::<bool, _>("forced"), "{name} does not force row security");
        assert_eq!(row.get::<i64, _>("policies"), 1, "{name} has one policy that holds reading and writing");
        out.push(Table { name, partition: row.get("relispartition") });
    }
    out
}

/// How many rows a statement saw or changed; none if it was not allowed at all.
async fn rows(connection: &mut PgConnection, sql: String) -> u64 {
    match connection.execute(AssertSqlSafe(sql.clone())).await {
        Ok(done) => done.rows_affected(),
        Err(error) => {
            assert_eq!(postgres::code(&error).as_deref(), Some("42501"), "{sql}: {error}");
            0
        }
    }
}

#[tokio::test]
async fn a_stolen_connection_reaches_one_organization_only() {
    with_stores(async |database, store, _| {
        for org in [ORG, OTHER] {
            store.start_generation(Uuid::now_v7(), by().now).await.expect("starts");
            let request = switchboard_knowledge::store::Write::Create {
                id: Uuid::now_v7(),
                request: Some(Uuid::now_v7()),
                content: content("a"),
            };
            let id = store.write(org, by(), vec![request]).await.expect("creates")[0].id;
            update(&*store, org, id, None, content("a")).await.expect("updates");
        }
        let mut own = raw(&database, Some(ORG)).await;
        let tables = tables(&mut own).await;
        assert!(tables.iter().any(|t| t.partition) && tables.len() > 6);
        for Table { name, partition } in &tables {
            let seen = rows(&mut own, format!("SELECT FROM {name}")).await;
            assert!(*partition || seen > 0, "{name} is not empty, so that the rest says something");
            let row: Option<String> = if *partition {
                None
            } else {
                let sql = format!("SELECT to_jsonb(t)::text FROM {name} t LIMIT 1");
                Some(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut own).await.expect("reads"))
            };
            for thief in [Some(OTHER), None] {
                let mut thief = raw(&database, thief).await;
                for sql in [
                    format!("SELECT FROM {name} WHERE organization_id = '{ORG}'"),
                    format!("UPDATE {name} SET organization_id = organization_id WHERE organization_id = '{ORG}'"),
                    format!("DELETE FROM {name} WHERE organization_id = '{ORG}'"),
                ] {
                    assert_eq!(rows(&mut thief, sql.clone()).await, 0, "{sql}");
                }
                if let Some(row) = &row {
                    let sql =
                        format!("INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, $1::jsonb)");
                    let forged = sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut thief).await;
                    let code = forged.map_err(|e| postgres::code(&e).unwrap_or_default());
                    assert_eq!(code.err().as_deref(), Some("42501"), "a row of another organization in {name}");
                }
            }
            assert_eq!(rows(&mut own, format!("SELECT FROM {name}")).await, seen);
        }
        // What finds work sees which articles, and no word of them.
        let mut worker = owner(&database, None).await;
        worker.execute("SET ROLE switchboard_knowledge_worker").await.expect("may act as the worker");
        for Table { name, .. } in &tables {
            let seen = rows(&mut worker, format!("SELECT organization_id FROM {name}")).await;
            assert_eq!(seen > 0, ["index_behind", "activity_heads"].contains(&name.as_str()), "{name}");
            assert_eq!(rows(&mut worker, format!("DELETE FROM {name}")).await, 0);
        }
        assert_eq!(rows(&mut worker, "SELECT hash FROM activity_heads".to_owned()).await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_edit_a_version() {
    with_stores(async |database, store, _| {
        create(&*store, ORG, content("a")).await.expect("creates");
        for sql in EDITS {
            // Whoever owns the tables, and the service.
            let refused = owner(&database, Some(ORG)).await.execute(sql).await.expect_err("refused");
            assert!(refused.to_string().contains("never edited or deleted"), "{sql}: {refused}");
            raw(&database, Some(ORG)).await.execute(sql).await.expect_err("refused");
        }
        assert_eq!(store.known(ORG).await.expect("reads").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_audit_row_that_was_changed_or_deleted_is_noticed() {
    for (sql, says) in FORGERIES {
        with_stores(async |database, store, _| {
            for slug in ["a", "b"] {
                create(&*store, ORG, content(slug)).await.expect("creates");
            }
            let denied = raw(&database, Some(ORG)).await.execute(sql).await.expect_err("not for the service");
            assert_eq!(postgres::code(&denied).as_deref(), Some("42501"));
            owner(&database, Some(ORG)).await.execute(sql).await.expect("whoever owns the tables can");
            let said = store.audit(ORG, 0, 9).await.expect_err("noticed").to_string();
            assert!(said.contains(says), "{sql}: {said}");
        })
        .await;
    }
}

#[tokio::test]
async fn migrations_go_down_to_nothing_and_up_to_the_same() {
    let Some(programs) = server("postgres_bin") else { return };
    let dump = |database: &Database| {
        let dump = Command::new(format!("{programs}/pg_dump"))
            .args(["--schema-only", "--schema=knowledge", "--exclude-table=knowledge._sqlx_migrations", &database.url])
            .output()
            .expect("runs pg_dump");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let text = String::from_utf8_lossy(&dump.stdout).into_owned();
        // Newer releases guard a dump with a key that is made anew each time.
        text.lines().filter(|line| !line.starts_with("\\") && !line.starts_with("--")).collect::<Vec<_>>().join("\n")
    };
    with_database(async |database| {
        let up = async || MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        up().await;
        let first = dump(&database);
        assert!(first.contains("CREATE TABLE knowledge.knowledge_entries"));
        postgres::undo(&database.at, "knowledge", MIGRATIONS.postgres, 0).await.expect("undoes");
        let left = dump(&database);
        for word in ["TABLE", "FUNCTION", "TRIGGER", "INDEX", "POLICY", "TYPE"] {
            assert!(!left.contains(&format!("CREATE {word}")), "{left}");
        }
        up().await;
        assert_eq!(dump(&database), first);
    })
    .await;
}
