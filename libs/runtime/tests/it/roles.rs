//! The roles of production: made by an administrator as docs/stores.md says, one login per service, one that migrates.
use std::time::Duration;

use sqlx::migrate::Migrator;
use switchboard_runtime::{
    Secret,
    postgres::{self, Postgres, code},
    stores::PostgresAt,
};
use switchboard_testkit::cluster::Cluster;
use tokio::time::timeout;
use uuid::Uuid;

static MIGRATIONS: Migrator = sqlx::migrate!("./tests/it/migrations");
const OWNER: &str = "probe";
/// What is not there by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);
const GUIDE: &str = include_str!("../../../../docs/stores.md");

/// The guide's SQL, for owners of this test.
fn sql() -> String {
    let blocks = GUIDE.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let sql = blocks.into_iter().find(|sql| sql.contains("CREATE ROLE switchboard_migrate")).expect("is in the guide");
    let owners = "['identity', 'conversation', 'knowledge', 'rules', 'salesforce', 'notification']";
    assert!(sql.contains(owners), "all who keep something, and nobody else");
    sql.replace(owners, "['probe', 'other']")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_per_service_works_and_reaches_nothing_of_another() {
    let Some(cluster) = Cluster::start() else { return };
    let at = |login: &str| PostgresAt {
        url: Secret::new(format!("postgres://{login}@127.0.0.1:{}/switchboard", cluster.port)),
        connections: 20,
    };
    cluster.sql("CREATE DATABASE switchboard");
    cluster.sql(&sql());
    for _ in 0..2 {
        postgres::migrate(&at("switchboard_migrate"), OWNER, &MIGRATIONS)
            .await
            .expect("needs no more rights than these");
    }
    assert!(postgres::missing(&at("switchboard_migrate"), OWNER, &MIGRATIONS).await.expect("asks").is_empty());

    let service = Postgres::open(&at("switchboard_probe_login"), OWNER, &MIGRATIONS).expect("opens");
    let mut condition = service.condition();
    timeout(PATIENCE, condition.until_well()).await.unwrap_or_else(|_| panic!("still: {:?}", condition.why()));
    let org = Uuid::now_v7();
    let mut tx = service.tenant(org).await.expect("begins");
    let insert = sqlx::query("INSERT INTO notes VALUES (gen_random_uuid(), $1, 'x', now())").bind(org);
    insert.execute(&mut *tx).await.expect("writes");
    tx.commit().await.expect("commits");
    let mut tx = service.worker().await.expect("begins");
    let found: Vec<Uuid> =
        sqlx::query_scalar("SELECT organization_id FROM notes").fetch_all(&mut *tx).await.expect("finds");
    assert_eq!(found, [org]);
    drop(tx);
    for forbidden in [
        "DROP TABLE notes",
        "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE more (id int)",
        "SET ROLE switchboard_migrate",
        "SET ROLE switchboard_other",
    ] {
        let mut tx = service.shared().await.expect("begins");
        let refused = sqlx::query(forbidden).execute(&mut *tx).await.expect_err(forbidden);
        assert_eq!(code(&refused).as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    service.close().await;

    let stranger = Postgres::open(&at("switchboard_other_login"), OWNER, &MIGRATIONS).expect("opens");
    let mut condition = stranger.condition();
    let refused = async {
        while !condition.why().is_some_and(|why| why.contains("does not let this user do that")) {
            condition.changed().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap_or_else(|_| panic!("it is {:?}", stranger.condition().why()));
    stranger.close().await;
    for login in ["switchboard_probe_login", "switchboard_other_login"] {
        postgres::migrate(&at(login), OWNER, &MIGRATIONS).await.expect_err("a service's login does not migrate");
    }
}
