//! The ground of PostgreSQL stores, on a real server: tenants, roles, and what happens when the server does not behave.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{SqlSafeStr as _, migrate::Migrator};
use switchboard_runtime::{
    Reason, Secret,
    postgres::{self, Postgres, Time, code},
    stores::PostgresAt,
};
use switchboard_testkit::{
    cluster::{Cluster, Door},
    disk::SmallDisk,
    servers::with_database,
};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use url::Url;
use uuid::Uuid;

static MIGRATIONS: Migrator = sqlx::migrate!("./tests/it/migrations");
const OWNER: &str = "probe";
/// A server that is not well again by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(at: &PostgresAt) -> Postgres {
    postgres::migrate(at, OWNER, &MIGRATIONS).await.expect("migrates");
    let store = Postgres::open(at, OWNER, &MIGRATIONS).expect("opens");
    until_well(&store).await;
    store
}

async fn until_well(store: &Postgres) {
    let mut condition = store.condition();
    timeout(PATIENCE, condition.until_well()).await.unwrap_or_else(|_| panic!("still: {:?}", condition.why()));
}

async fn until_ill(store: &Postgres, says: &str) {
    let mut condition = store.condition();
    let ill = async {
        while !condition.why().is_some_and(|why| why.contains(says)) {
            condition.changed().await;
        }
    };
    timeout(PATIENCE, ill).await.unwrap_or_else(|_| panic!("{says:?} is awaited, it is {:?}", store.condition().why()));
}

async fn write(store: &Postgres, org: Uuid, id: Uuid) -> Result<(), sqlx::Error> {
    let mut tx = store.tenant(org).await?;
    sqlx::query(
        "INSERT INTO notes (id, organization_id, body, created_at) VALUES ($1, $2, 'x', $3) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(org)
    .bind(Time(Timestamp::UNIX_EPOCH))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

async fn ids(store: &Postgres, org: Uuid) -> Vec<Uuid> {
    let mut tx = store.tenant(org).await.expect("begins");
    sqlx::query_scalar("SELECT id FROM notes").fetch_all(&mut *tx).await.expect("reads")
}

#[tokio::test]
async fn a_transaction_sees_its_organization_and_a_worker_no_content() {
    with_database(async |database| {
        let store = open(&database.at).await;
        let (ours, theirs, id) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        write(&store, ours, id).await.expect("writes");
        assert_eq!(ids(&store, ours).await, [id]);
        assert!(ids(&store, theirs).await.is_empty());
        let mut tx = store.tenant(theirs).await.expect("begins");
        let forged = sqlx::query("INSERT INTO notes VALUES (gen_random_uuid(), $1, 'x', now())").bind(ours);
        assert_eq!(code(&forged.execute(&mut *tx).await.expect_err("refused")).as_deref(), Some("42501"));
        drop(tx);
        // Without an organization there is nothing to see, also on a connection that had one before.
        let mut tx = store.shared().await.expect("begins");
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut *tx).await.expect("reads");
        assert_eq!(count, 0);
        drop(tx);
        let mut tx = store.worker().await.expect("begins");
        let found: Vec<(Uuid, Uuid)> =
            sqlx::query_as("SELECT organization_id, id FROM notes").fetch_all(&mut *tx).await.expect("reads");
        assert_eq!(found, [(ours, id)]);
        let content = sqlx::query("SELECT body FROM notes").fetch_all(&mut *tx).await;
        assert_eq!(code(&content.expect_err("refused")).as_deref(), Some("42501"));
        drop(tx);
        let mut tx = store.worker().await.expect("begins");
        let written = sqlx::query("INSERT INTO notes (id) VALUES (gen_random_uuid())").execute(&mut *tx).await;
        assert!(matches!(code(&written.expect_err("refused")).as_deref(), Some("25006" | "42501")));
        drop(tx);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_time_is_read_as_it_was_written() {
    with_database(async |database| {
        let store = open(&database.at).await;
        let mut tx = store.shared().await.expect("begins");
        for micros in [0, 1, -1, 946_684_800_000_000, 1_772_445_600_123_456] {
            let time = Timestamp::from_microsecond(micros).expect("in range");
            let row: (Time, i64) = sqlx::query_as("SELECT $1, (extract(epoch FROM $1) * 1000000)::bigint")
                .bind(Time(time))
                .fetch_one(&mut *tx)
                .await
                .expect("reads");
            assert_eq!((row.0.0, row.1), (time, micros));
        }
        drop(tx);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_schema_that_is_behind_is_named_and_one_that_is_ahead_serves() {
    with_database(async |database| {
        let store = Postgres::open(&database.at, OWNER, &MIGRATIONS).expect("opens");
        until_ill(&store, "0001_initial; run `switchboard migrate`").await;
        assert_eq!(postgres::missing(&database.at, OWNER, &MIGRATIONS).await.expect("asks"), ["0001_initial"]);
        postgres::migrate(&database.at, OWNER, &MIGRATIONS).await.expect("migrates");
        until_well(&store).await;
        // What a newer version adds does not stop an older one that still serves.
        let mut later = sqlx::migrate!("./tests/it/migrations");
        let mut more = later.migrations.to_vec();
        for migration in &mut more {
            migration.version += 1;
            migration.sql = sqlx::AssertSqlSafe("SELECT 1").into_sql_str();
        }
        later.migrations.to_mut().extend(more);
        postgres::migrate(&database.at, OWNER, &later).await.expect("migrates");
        let older = Postgres::open(&database.at, OWNER, &MIGRATIONS).expect("opens");
        until_well(&older).await;
        postgres::migrate(&database.at, OWNER, &MIGRATIONS).await.expect_err("an older version does not migrate");
        older.close().await;
        store.close().await;
        postgres::undo(&database.at, OWNER, &later, 0).await.expect("undoes");
        assert_eq!(postgres::missing(&database.at, OWNER, &MIGRATIONS).await.expect("asks"), ["0001_initial"]);
    })
    .await;
}

#[tokio::test]
async fn wrong_credentials_and_databases_are_named_without_the_password() {
    with_database(async |database| {
        type Spoil = fn(&mut Url);
        let spoils: [(Spoil, &str); 3] = [
            (|url| url.set_path("nowhere"), "has no such database"),
            (|url| url.set_password(Some("hunter2")).expect("a URL with a host"), "refuses the user or password"),
            (|url| url.set_port(Some(1)).expect("a URL with a host"), "cannot be reached"),
        ];
        for (spoil, says) in spoils {
            let mut url = Url::parse(&database.url).expect("a URL");
            spoil(&mut url);
            let at = PostgresAt { url: Secret::new(url.as_str()), ..database.at.clone() };
            let store = Postgres::open(&at, OWNER, &MIGRATIONS).expect("opens");
            until_ill(&store, says).await;
            let why = store.condition().why().expect("ill");
            assert!(!why.contains("hunter2") && !why.contains("switchboard:"), "{why}");
            assert!(store.tenant(Uuid::now_v7()).await.is_err());
            store.close().await;
        }
    })
    .await;
}

/// Writers that go on until told, with the ids that were acknowledged.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(Vec<Uuid>, u32)>,
    org: Uuid,
    written: Arc<Notify>,
}

impl Writers {
    fn start(store: &Postgres) -> Self {
        let (stop, org, written) = (Arc::new(AtomicBool::new(false)), Uuid::now_v7(), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (store, stop, told) = (store.clone(), stop.clone(), written.clone());
            tasks.spawn(async move {
                let (mut done, mut failed) = (Vec::new(), 0);
                while !stop.load(SeqCst) {
                    // A customer who got no answer sends the same again.
                    let id = Uuid::now_v7();
                    while !stop.load(SeqCst) {
                        match write(&store, org, id).await {
                            Ok(()) => {
                                done.push(id);
                                told.notify_waiters();
                                break;
                            }
                            Err(_) => failed += 1,
                        }
                        tokio::task::yield_now().await;
                    }
                }
                (done, failed)
            });
        }
        Writers { stop, tasks, org, written }
    }

    /// Waits until some more was written.
    async fn some(&self) {
        for _ in 0..50 {
            timeout(PATIENCE, self.written.notified()).await.expect("writes go on");
        }
    }

    /// What was acknowledged, and how often a write failed.
    async fn end(self) -> (Vec<Uuid>, u32) {
        self.stop.store(true, SeqCst);
        let all = self.tasks.join_all().await;
        let failed = all.iter().map(|(_, failed)| failed).sum();
        (all.into_iter().flat_map(|(done, _)| done).collect(), failed)
    }
}

async fn all_there(store: &Postgres, org: Uuid, acknowledged: Vec<Uuid>) {
    let mut there = ids(store, org).await;
    there.sort();
    let lost: Vec<_> = acknowledged.iter().filter(|id| there.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost", lost.len(), acknowledged.len());
    assert!(!acknowledged.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_restarts_or_crashes_is_found_again_and_loses_nothing() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.down("fast");
    let store = Postgres::open(&cluster.at(cluster.port), OWNER, &MIGRATIONS).expect("opens without a server");
    until_ill(&store, "cannot be reached").await;
    cluster.up();
    until_ill(&store, "run `switchboard migrate`").await;
    postgres::migrate(&cluster.at(cluster.port), OWNER, &MIGRATIONS).await.expect("migrates");
    until_well(&store).await;
    let writers = Writers::start(&store);
    let org = writers.org;
    for mode in ["fast", "immediate"] {
        writers.some().await;
        cluster.down(mode);
        cluster.up();
        writers.some().await;
    }
    // Idle connections that broke do not fail the next write.
    let (acknowledged, _) = writers.end().await;
    all_there(&store, org, acknowledged).await;
    cluster.down("fast");
    cluster.up();
    write(&store, org, Uuid::now_v7()).await.expect("the first write after a restart");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_costs_time_only() {
    let Some(cluster) = Cluster::start() else { return };
    let store = open(&cluster.at(cluster.port)).await;
    let writers = Writers::start(&store);
    let org = writers.org;
    writers.some().await;
    cluster.signal("STOP");
    let hung = timeout(Duration::from_millis(300), write(&store, org, Uuid::now_v7())).await;
    assert!(hung.is_err() || hung.is_ok_and(|r| r.is_err()), "nothing is acknowledged by a server that stands still");
    cluster.signal("CONT");
    writers.some().await;
    let (acknowledged, _) = writers.end().await;
    all_there(&store, org, acknowledged).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_none_that_it_took() {
    let Some(disk) = SmallDisk::mount(192) else { return };
    let Some(cluster) = Cluster::start_in(disk.path()) else { return };
    let store = open(&cluster.at(cluster.port)).await;
    let writers = Writers::start(&store);
    let org = writers.org;
    writers.some().await;
    disk.fill();
    // A table that grows needs pages that are not there.
    let mut tx = store.tenant(org).await.expect("reading and beginning need no disk");
    let grow =
        "INSERT INTO notes SELECT gen_random_uuid(), $1, repeat('x', 2000), now() FROM generate_series(1, 100000)";
    let refused = sqlx::query(grow).bind(org).execute(&mut *tx).await.expect_err("there is no room");
    drop(tx);
    // Out of room for data, or for the log, which ends the server: both are told as what they are, a failed store.
    assert_eq!(postgres::fault(refused).reason, Reason::StoreFailed);
    disk.free();
    if cluster.try_sql("SELECT 1").is_err() {
        cluster.up();
    }
    until_well(&store).await;
    writers.some().await;
    let (acknowledged, _) = writers.end().await;
    all_there(&store, org, acknowledged).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_has_every_acknowledged_write() {
    let Some(primary) = Cluster::start() else { return };
    let door = Door::to(primary.port).await;
    let store = open(&primary.at(door.port)).await;
    let standby = primary.standby();
    let writers = Writers::start(&store);
    let org = writers.org;
    writers.some().await;
    primary.down("immediate");
    standby.promote();
    // What was the standby must not wait for a standby of its own.
    standby.sql("ALTER SYSTEM RESET synchronous_standby_names");
    standby.sql("SELECT pg_reload_conf()");
    door.lead_to(standby.port);
    writers.some().await;
    let (acknowledged, failed) = writers.end().await;
    assert!(failed > 0, "the failover was noticed");
    all_there(&store, org, acknowledged).await;
    store.close().await;
}
