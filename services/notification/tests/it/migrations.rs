//! Down leaves nothing, and up again makes the same.
use sqlx::{Connection as _, PgConnection};
use switchboard_notification::{
    MIGRATIONS,
    store::{postgres::MIGRATOR, sqlite},
};
use switchboard_runtime::{postgres, stores::Ledger};
use switchboard_testkit::servers::with_database;

use crate::rig::{dump, on_sqlite};

#[tokio::test]
async fn sqlite_goes_down_and_up_again() {
    on_sqlite(async |ground| {
        ground.store().await.close().await;
        let Ledger::Sqlite(folder) = &ground.ledger else { panic!("a folder") };
        let file = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("notification.db"));
        let pool = sqlx::SqlitePool::connect_with(file).await.expect("opens");
        sqlite::MIGRATOR.undo(&pool, 0).await.expect("goes down");
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
        )
        .fetch_one(&pool)
        .await
        .expect("counts");
        assert_eq!(left, 0);
        pool.close().await;
        let org = uuid::Uuid::now_v7();
        assert_eq!(ground.store().await.list(org, None, 9).await.expect("reads"), []);
    })
    .await;
}

#[tokio::test]
async fn postgres_goes_down_and_up_to_the_same() {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("goes up");
        let first = dump(&database, &["--schema-only", "--schema=notification"]);
        postgres::undo(&database.at, "notification", &MIGRATOR, 0).await.expect("goes down");
        let mut raw = PgConnection::connect(&database.url).await.expect("connects");
        let left: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'notification'::regnamespace \
                 AND relname NOT LIKE '\\_sqlx\\_migrations%' \
             UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'notification'::regnamespace",
        )
        .fetch_all(&mut raw)
        .await
        .expect("lists");
        assert_eq!(left, Vec::<String>::new());
        MIGRATIONS.apply(&database.ledger()).await.expect("goes up again");
        assert_eq!(dump(&database, &["--schema-only", "--schema=notification"]), first);
    })
    .await;
}
