//! The migrations of every owner on a real PostgreSQL: there and back, the schema as it is checked in, row security on all
//! of it, and nothing that a tenant could reach around it.
use std::{fs, path::PathBuf, process::Command};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use switchboard::OWNERS;
use switchboard_runtime::{postgres, stores::Migrations};
use switchboard_testkit::servers::{self, Database, with_database};

/// Set to write `schema.sql` anew after a migration was added.
const WRITE: &str = "SWITCHBOARD_WRITE_SCHEMA";

fn schema_file(owner: &Migrations) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../migrations/{}/postgres/schema.sql", owner.owner))
}

/// An owner's schema as `pg_dump` tells it, without what differs from server to server.
fn dump(database: &Database, owner: &str) -> String {
    let bin = PathBuf::from(servers::server("postgres_bin").expect("beside the server"));
    let dumped = Command::new(bin.join("pg_dump"))
        .args([
            "--schema-only",
            "--no-owner",
            "--schema",
            owner,
            "--exclude-table",
            &format!("{owner}._sqlx_migrations"),
        ])
        .arg(&database.url)
        .output()
        .expect("pg_dump runs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let text = String::from_utf8(dumped.stdout).expect("text");
    let noise = |line: &&str| {
        !line.trim().is_empty() && !["--", "SET ", "SELECT pg_catalog.", "\\"].iter().any(|n| line.starts_with(n))
    };
    // Partitions are made for the month in which the test runs.
    let months = |line: &str| {
        let words = line.split('_').collect::<Vec<_>>();
        words.windows(2).any(|w| {
            w[0].len() == 4
                && w[0].starts_with("20")
                && w[1].len() >= 2
                && w[1].as_bytes()[..2].iter().all(u8::is_ascii_digit)
        })
    };
    let mut statements: Vec<String> = Vec::new();
    let mut statement = String::new();
    for line in text.lines().filter(noise) {
        statement.push_str(line);
        statement.push('\n');
        if line.ends_with(';') && statement.matches("$$").count().is_multiple_of(2) {
            statements.push(std::mem::take(&mut statement));
        }
    }
    statements.push(statement);
    statements.retain(|s| !s.is_empty() && !months(s));
    statements.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_goes_there_and_back_and_the_schema_is_the_one_that_is_checked_in() {
    for owner in OWNERS {
        with_database(async |database| {
            let (at, name) = (&database.at, owner.owner);
            postgres::migrate(at, name, owner.postgres).await.expect("up");
            let first = dump(&database, name);
            postgres::undo(at, name, owner.postgres, 0).await.expect("down");
            let left: Vec<String> = {
                let mut connection = PgConnection::connect(&database.url).await.expect("connects");
                sqlx::query_scalar(
                    "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relname NOT LIKE '\\_sqlx%' \
                     UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = $1::regnamespace",
                )
                .bind(name)
                .fetch_all(&mut connection)
                .await
                .expect("lists")
            };
            assert!(left.is_empty(), "{name}: down leaves {left:?}");
            postgres::migrate(at, name, owner.postgres).await.expect("up again");
            assert_eq!(dump(&database, name), first, "{name}: up, down, up is another schema");
            let file = schema_file(&owner);
            if std::env::var_os(WRITE).is_some() {
                fs::write(&file, &first).expect("writes");
            }
            let kept = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(first, kept, "{name}: the schema differs from {}; if that is meant, run this test with {WRITE}=1", file.display());
        })
        .await;
    }
}

#[tokio::test]
async fn no_table_of_any_owner_is_without_forced_row_security_unless_it_belongs_to_nobody() {
    with_database(async |database| {
        for owner in OWNERS {
            owner.apply(&database.ledger()).await.expect("migrates");
        }
        let mut connection = PgConnection::connect(&database.url).await.expect("connects");
        let open: Vec<String> = sqlx::query_scalar(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations' \
             AND (EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id') \
             OR c.relname = 'organizations') AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))",
        )
        .bind(OWNERS.map(|o| o.owner))
        .fetch_all(&mut connection)
        .await
        .expect("lists");
        assert!(open.is_empty(), "tables of tenants without forced row security and a policy: {open:?}");
        let nobodys: Vec<String> = sqlx::query_scalar(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations' \
             AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id') ORDER BY 1",
        )
        .bind(OWNERS.map(|o| o.owner))
        .fetch_all(&mut connection)
        .await
        .expect("lists");
        // Installation keys, names under which nobody signed in, leases of duties: no tenant's. An organization is its own.
        let known = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/tables-of-nobody.txt"));
        assert_eq!(nobodys.join("\n"), known.expect("the list").trim_end(), "a new table without organization_id");
        for owner in OWNERS {
            for (role, verbs) in [(format!("switchboard_{}_worker", owner.owner), "INSERT, UPDATE, DELETE, TRUNCATE")] {
                let sql = format!(
                    "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = '{}'::regnamespace AND c.relkind IN ('r', 'p') \
                     AND has_table_privilege('{role}', c.oid, '{verbs}')",
                    owner.owner
                );
                let writable: Vec<String> =
                    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("lists");
                assert!(writable.is_empty(), "{role} may write {writable:?}");
            }
        }
        connection.close().await.expect("closes");
    })
    .await;
}

#[tokio::test]
async fn an_owner_reads_no_other_owners_schema() {
    with_database(async |database| {
        for owner in OWNERS {
            owner.apply(&database.ledger()).await.expect("migrates");
        }
        let mut connection = PgConnection::connect(&database.url).await.expect("connects");
        for one in OWNERS {
            for other in OWNERS {
                let role = format!("switchboard_{}", one.owner);
                let may: bool = sqlx::query_scalar("SELECT has_schema_privilege($1, $2, 'USAGE')")
                    .bind(&role)
                    .bind(other.owner)
                    .fetch_one(&mut connection)
                    .await
                    .expect("asks");
                assert_eq!(may, one.owner == other.owner, "{role} and {}", other.owner);
            }
        }
        connection.close().await.expect("closes");
    })
    .await;
}
