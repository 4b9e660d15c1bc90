//! Each index of the schema serves a statement, and each statement that is asked often has its index: PostgreSQL says so itself.
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use switchboard_knowledge::store::{
    Store as _,
    postgres::sql::{
        ARCHIVE, ARTICLE, BEHIND, CURRENT, FILL, GET, GET_VERSION, GET_VERSIONS, HEAD, HOLD, KNOWN, LIST,
        LIST_CATEGORY, LOG, MARK, REQUEST, RESUME, RETIRE,
    },
};
use uuid::Uuid;

use crate::{
    database::{owner, raw, with_stores},
    store::{ORG, OTHER, by, content, create},
};

/// Some thousands of articles of two versions each, and what goes with them.
const SEED: &str = "
    INSERT INTO articles (organization_id, id, slug, version, created_at)
    SELECT current_setting('app.current_org_id')::uuid, gen_random_uuid(), 's' || n, 2, now() FROM generate_series(1, 3000) n;
    INSERT INTO knowledge_entries
    SELECT organization_id, id, v.version, v.version = 2, 'Title', repeat('Body ', 100), 'en', 'c' || abs(hashtext(id::text) % 50), '',
        '{}', false, 'api', '', 1, NULL, NULL, slug, '{}', '{}', '{}', '', md5(slug), created_at
    FROM articles CROSS JOIN generate_series(1, 2) AS v (version) WHERE slug <> 'first';
    INSERT INTO requests SELECT organization_id, gen_random_uuid(), id, created_at FROM articles;
    SELECT create_monthly_partition(now()), create_monthly_partition();
    INSERT INTO activity_log
    SELECT current_setting('app.current_org_id')::uuid, n + 10, now() + n % 2 * INTERVAL '1 month', NULL, 'created', 'article',
        gen_random_uuid(), '{}', ''
    FROM generate_series(1, 6000) n;";

/// How a statement is run with any values: the plan that prepared statements end up with.
async fn plan(connection: &mut PgConnection, sql: &str, values: &str) -> String {
    let types = values.split("; ").map(|v| v.split_once("::").map_or("unknown", |(_, kind)| kind));
    let prepare = format!("PREPARE asked ({}) AS {sql}", types.collect::<Vec<_>>().join(", "));
    connection.execute(AssertSqlSafe(prepare)).await.expect("prepares");
    let explain = format!("EXPLAIN EXECUTE asked ({})", values.replace("; ", ", "));
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.expect("explains");
    connection.execute("DEALLOCATE asked").await.expect("forgets it");
    lines.join("\n")
}

#[tokio::test]
async fn every_index_is_used_and_no_statement_reads_a_whole_table() {
    with_stores(async |database, store, _| {
        for org in [ORG, OTHER] {
            create(&*store, org, content("first")).await.expect("creates");
            owner(&database, Some(org)).await.execute(SEED).await.expect("seeds");
        }
        let generation = Uuid::now_v7();
        for generation in [Uuid::now_v7(), generation] {
            store.start_generation(generation, by().now).await.expect("starts");
        }
        let mut service = raw(&database, Some(ORG)).await;
        owner(&database, None).await.execute("ANALYZE").await.expect("counts");
        service.execute("SET plan_cache_mode = force_generic_plan").await.expect("sets");
        let (org, id) = (format!("'{ORG}'::uuid"), format!("'{}'::uuid", Uuid::now_v7()));
        let (ids, numbers) = (format!("'{{{}}}'::uuid[]", Uuid::now_v7()), "'{1}'::int[]");
        let (generation, time) = (format!("'{generation}'::uuid"), "now()::timestamptz");
        let list = format!("{org}; {id}; true::bool; {time}; 50::bigint");
        let rows: [(&str, &str, String); 19] = [
            ("idx_knowledge_current", GET, format!("{org}; {id}")),
            ("knowledge_entries_pkey", GET_VERSION, format!("{org}; {id}; 1::int")),
            ("knowledge_entries_pkey", GET_VERSIONS, format!("{org}; {ids}; {numbers}")),
            ("idx_knowledge_current", CURRENT, format!("{org}; {ids}")),
            ("idx_knowledge_current", LIST, list.clone()),
            ("idx_knowledge_category", LIST_CATEGORY, format!("{list}; 'c7'::text")),
            ("idx_knowledge_current", RETIRE, format!("{org}; {id}")),
            ("articles_pkey", ARTICLE, format!("{org}; {id}")),
            ("articles_pkey", ARCHIVE, format!("{org}; {id}; {time}")),
            ("articles_slug", "SELECT FROM articles WHERE organization_id = $1 AND slug = $2 AND slug <> '' AND archived_at IS NULL", format!("{org}; 's7'::text")),
            ("requests_pkey", REQUEST, format!("{org}; {id}")),
            ("index_behind_pkey", BEHIND, format!("{generation}; 500::bigint")),
            ("index_behind_pkey", MARK, format!("{generation}; {org}; {ids}; {numbers}")),
            ("index_generations_pkey", RESUME, format!("{generation}; {time}")),
            ("activity_heads_pkey", HEAD, org.clone()),
            ("activity_heads_pkey", HOLD, org.clone()),
            ("activity_log_pkey", LOG, format!("{org}; 5::bigint; 50::bigint")),
            // These two are of a whole organization: few, and rarely asked.
            ("", KNOWN, org.clone()),
            ("", FILL, format!("{generation}; {org}")),
        ];
        let mut worker = owner(&database, None).await;
        worker.execute("SET ROLE switchboard_knowledge_worker; SET plan_cache_mode = force_generic_plan").await.expect("sets");
        for (index, sql, values) in &rows {
            let connection = if *sql == BEHIND { &mut worker } else { &mut service };
            // A table of a handful of rows is read as it is unless that is forbidden.
            let small = ["index_generations_pkey", "activity_heads_pkey"].contains(index);
            let scans = if small { "SET enable_seqscan = off" } else { "RESET enable_seqscan" };
            connection.execute(scans).await.expect("sets");
            let plan = plan(connection, sql, values).await;
            // A partition's index is a child of the table's and has a name of its own.
            let name = if *index == "activity_log_pkey" { "_pkey on activity_log_2" } else { index };
            assert!(plan.contains(name), "{index} is not used by {sql}\n{plan}");
            assert!(index.is_empty() || !plan.contains("Seq Scan"), "{sql}\n{plan}");
        }
        let all: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
             WHERE c.relnamespace = 'knowledge'::regnamespace AND NOT c.relispartition AND t.relname <> '_sqlx_migrations'",
        )
        .fetch_all(&mut service)
        .await
        .expect("reads the catalog");
        for index in all {
            assert!(rows.iter().any(|(used, ..)| *used == index), "no statement needs {index}");
        }
    })
    .await;
}
