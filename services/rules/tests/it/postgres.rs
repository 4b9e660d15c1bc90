//! What only PostgreSQL does: several replicas, organizations that the server itself keeps apart, a schema that goes up and down.
use std::{process::Command, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgConnectOptions};
use switchboard_rules::{
    MIGRATIONS,
    store::{
        Store as _,
        postgres::{HEAD, HISTORY, PostgresStore},
    },
};
use switchboard_runtime::postgres;
use switchboard_testkit::servers::{Database, server, with_database};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::store::{FORGERIES, activation};

/// A server that is not well by then never will be.
pub const PATIENCE: Duration = Duration::from_secs(60);
const ORG: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// Runs a test on a database with the schema and a store, if there is a server.
pub async fn with_store(test: impl AsyncFnOnce(Database, Arc<PostgresStore>)) {
    with_database(async |database| {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        let store = open(&database).await;
        test(database, store.clone()).await;
        store.close().await;
    })
    .await;
}

async fn open(database: &Database) -> Arc<PostgresStore> {
    let store = PostgresStore::open(&database.at).expect("opens");
    let mut condition = store.condition();
    let well = tokio::time::timeout(PATIENCE, condition.until_well()).await;
    well.unwrap_or_else(|_| panic!("still: {:?}", condition.why()));
    Arc::new(store)
}

/// A connection past the adapter, of whoever owns the tables.
async fn owner(database: &Database, org: Option<Uuid>) -> PgConnection {
    let options: PgConnectOptions = database.url.parse().expect("a URL");
    let mut connection =
        PgConnection::connect_with(&options.options([("search_path", "rules")])).await.expect("connects");
    if let Some(org) = org {
        let sql = format!("SET app.current_org_id = '{org}'");
        connection.execute(AssertSqlSafe(sql)).await.expect("names the organization");
    }
    connection
}

/// The same as the service.
async fn raw(database: &Database, org: Option<Uuid>) -> PgConnection {
    let mut connection = owner(database, org).await;
    connection.execute("SET ROLE switchboard_rules").await.expect("may act as the service");
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replicas_activate_together_is_one_history() {
    with_store(async |database, one| {
        let other = open(&database).await;
        let mut running = JoinSet::new();
        for round in 0..8 {
            for store in [one.clone(), other.clone()] {
                // Both start with the same bundle, and in between with another one.
                running.spawn(async move { store.activate(ORG, &activation("a", round)).await.expect("notes") });
            }
        }
        assert_eq!(running.join_all().await.into_iter().filter(|new| *new).count(), 1);
        let mut running = JoinSet::new();
        for round in 0..24 {
            let store = if round % 2 == 0 { one.clone() } else { other.clone() };
            let version = ["b", "c", "d"][round as usize % 3];
            running.spawn(async move { store.activate(ORG, &activation(version, round)).await.expect("notes") });
        }
        let noted = running.join_all().await.into_iter().filter(|new| *new).count();
        let history = one.history(ORG, 99).await.expect("is whole");
        assert_eq!(history.len(), noted + 1);
        assert!(history.windows(2).all(|pair| pair[0].version != pair[1].version));
        assert_eq!(other.active_version(ORG).await.expect("reads").as_ref(), Some(&history[0].version));
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_stolen_connection_reaches_one_organization_only() {
    with_store(async |database, store| {
        for org in [ORG, OTHER] {
            store.activate(org, &activation("a", 1)).await.expect("notes");
        }
        let mut own = raw(&database, Some(ORG)).await;
        let tables = own
            .fetch_all(
                "SELECT c.relname::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                    (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polwithcheck IS NOT NULL) AS policies
                 FROM pg_class c WHERE c.relnamespace = 'rules'::regnamespace AND c.relkind IN ('r', 'p')
                 AND c.relname <> '_sqlx_migrations'",
            )
            .await
            .expect("reads the catalog");
        assert!(!tables.is_empty());
        for table in tables {
            let name: String = table.get("name");
            assert!(table.get::<bool, _>("forced"), "{name} does not force row security");
            assert_eq!(table.get::<i64, _>("policies"), 1, "{name} has one policy that holds reading and writing");
            let sql = format!("SELECT to_jsonb(t)::text FROM {name} t");
            let seen: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut own).await.expect("reads");
            assert_eq!(seen.len(), 1, "its own row, so that the rest says something");
            for thief in [Some(OTHER), None] {
                let mut thief = raw(&database, thief).await;
                let sql = format!("SELECT FROM {name} WHERE organization_id = '{ORG}'");
                assert_eq!(thief.execute(AssertSqlSafe(sql)).await.expect("reads").rows_affected(), 0);
                for sql in [format!("UPDATE {name} SET organization_id = organization_id"), format!("DELETE FROM {name}")] {
                    let refused = thief.execute(AssertSqlSafe(sql)).await.expect_err("refused");
                    assert_eq!(postgres::code(&refused).as_deref(), Some("42501"));
                }
                let sql = format!("INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, $1::jsonb)");
                let forged = sqlx::query(AssertSqlSafe(sql)).bind(&seen[0]).execute(&mut thief).await;
                assert_eq!(postgres::code(&forged.expect_err("refused")).as_deref(), Some("42501"));
            }
            let mut worker = owner(&database, None).await;
            worker.execute("SET ROLE switchboard_rules_worker").await.expect("may act as the worker");
            let sql = format!("SELECT organization_id FROM {name}");
            let refused = worker.execute(AssertSqlSafe(sql)).await.expect_err("nothing to find here");
            assert_eq!(postgres::code(&refused).as_deref(), Some("42501"));
        }
    })
    .await;
}

#[tokio::test]
async fn the_database_refuses_to_edit_history_and_the_chain_shows_who_does_all_the_same() {
    for sql in FORGERIES {
        with_store(async |database, store| {
            for (version, second) in [("a", 1), ("b", 2), ("c", 3)] {
                store.activate(ORG, &activation(version, second)).await.expect("notes");
            }
            let mut owner = owner(&database, Some(ORG)).await;
            let refused = owner.execute(sql).await.expect_err("refused").to_string();
            assert!(refused.contains("never edited or deleted"), "{sql}: {refused}");
            assert_eq!(store.history(ORG, 9).await.expect("is whole").len(), 3);
            owner.execute("ALTER TABLE activation DISABLE TRIGGER activation_is_final").await.expect("disables it");
            owner.execute(sql).await.expect("nothing refuses any more");
            store.history(ORG, 9).await.expect_err(sql);
        })
        .await;
    }
}

#[tokio::test]
async fn the_newest_activation_is_found_by_its_index() {
    with_store(async |database, _| {
        for org in [ORG, OTHER] {
            owner(&database, Some(org))
                .await
                .execute(
                    "INSERT INTO activation SELECT current_setting('app.current_org_id')::uuid, n, n::text, '', now(), '{}', ''
                     FROM generate_series(1, 3000) n",
                )
                .await
                .expect("seeds");
        }
        owner(&database, None).await.execute("ANALYZE").await.expect("counts");
        let mut service = raw(&database, Some(ORG)).await;
        service.execute("SET plan_cache_mode = force_generic_plan").await.expect("sets");
        for (types, sql, values) in [("uuid", HEAD, ""), ("uuid, bigint", HISTORY, ", 10")] {
            let prepare = format!("PREPARE asked ({types}) AS {sql}");
            service.execute(AssertSqlSafe(prepare)).await.expect("prepares");
            let explain = format!("EXPLAIN EXECUTE asked ('{ORG}'{values})");
            let plan: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut service).await.expect("explains");
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan Backward using activation_pkey") && !plan.contains("Sort"), "{plan}");
            service.execute("DEALLOCATE asked").await.expect("forgets it");
        }
        let indexes: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_indexes WHERE schemaname = 'rules' AND tablename = 'activation'")
            .fetch_one(&mut service)
            .await
            .expect("reads the catalog");
        assert_eq!(indexes, 1, "one that no statement needs");
    })
    .await;
}

#[tokio::test]
async fn migrations_go_down_to_nothing_and_up_to_the_same() {
    let Some(programs) = server("postgres_bin") else { return };
    let dump = |database: &Database| {
        let dump = Command::new(format!("{programs}/pg_dump"))
            .args(["--schema-only", "--schema=rules", "--exclude-table=rules._sqlx_migrations", &database.url])
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
        assert!(first.contains("CREATE TABLE rules.activation"));
        postgres::undo(&database.at, "rules", MIGRATIONS.postgres, 0).await.expect("undoes");
        let left = dump(&database);
        for word in ["TABLE", "FUNCTION", "TRIGGER", "INDEX", "POLICY", "TYPE"] {
            assert!(!left.contains(&format!("CREATE {word}")), "{left}");
        }
        up().await;
        assert_eq!(dump(&database), first);
    })
    .await;
}
