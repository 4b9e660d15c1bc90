//! The laws of the store, on every adapter there is.
use std::sync::Arc;

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use switchboard_rules::{
    bundle::Files,
    store::{Activation, Store, sqlite::SqliteStore},
};
use uuid::Uuid;

use crate::postgres::with_store;

pub fn activation(version: &str, second: i64) -> Activation {
    let files = Files([("rules.yaml".to_owned(), format!("# {version}"))].into_iter().collect());
    Activation {
        version: version.into(),
        name: "demo".into(),
        activated_at: jiff::Timestamp::from_second(second).expect("a time"),
        files,
    }
}

/// Each law on each adapter.
macro_rules! laws {
    ($($law:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $law() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = super::SqliteStore::open(folder.path()).await.expect("opens");
                super::$law(&store).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $law() {
                super::with_store(async |_, store| super::$law(&*store).await).await;
            })*
        }
    };
}
laws! {
    the_newest_is_active
    the_active_version_again_changes_nothing
    history_is_kept_newest_first
    organizations_are_apart
}

async fn the_newest_is_active(store: &dyn Store) {
    let org = Uuid::new_v4();
    assert_eq!(
        (store.active(org).await.expect("reads"), store.active_version(org).await.expect("reads")),
        (None, None)
    );
    // By order, not by time: clocks may go backwards.
    for (version, second) in [("a", 2), ("b", 1)] {
        assert!(store.activate(org, &activation(version, second)).await.expect("writes"));
    }
    assert_eq!(store.active(org).await.expect("reads"), Some(activation("b", 1)));
    assert_eq!(store.active_version(org).await.expect("reads").as_deref(), Some("b"));
}

async fn the_active_version_again_changes_nothing(store: &dyn Store) {
    let org = Uuid::new_v4();
    assert!(store.activate(org, &activation("a", 1)).await.expect("writes"));
    assert!(!store.activate(org, &activation("a", 9)).await.expect("writes"));
    assert_eq!(store.history(org, 10).await.expect("reads"), [activation("a", 1)]);
}

async fn history_is_kept_newest_first(store: &dyn Store) {
    let org = Uuid::new_v4();
    for (version, second) in [("a", 1), ("b", 2), ("a", 3)] {
        store.activate(org, &activation(version, second)).await.expect("writes");
    }
    let versions = |rows: Vec<Activation>| rows.into_iter().map(|a| a.version).collect::<Vec<_>>();
    assert_eq!(versions(store.history(org, 10).await.expect("reads")), ["a", "b", "a"]);
    assert_eq!(versions(store.history(org, 3).await.expect("reads")), ["a", "b", "a"]);
    assert_eq!(versions(store.history(org, 2).await.expect("reads")), ["a", "b"]);
    assert!(store.history(org, 0).await.expect("reads").is_empty());
}

async fn organizations_are_apart(store: &dyn Store) {
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    store.activate(one, &activation("a", 1)).await.expect("writes");
    assert_eq!(store.active(other).await.expect("reads"), None);
    assert_eq!(store.active_version(other).await.expect("reads"), None);
    assert!(store.activate(other, &activation("a", 2)).await.expect("its own history"));
    assert_eq!(store.history(one, 9).await.expect("reads"), [activation("a", 1)]);
}

/// What somebody does to the history past the service once its guard is gone. There are three rows, `a`, `b` and `c`.
pub const FORGERIES: [&str; 4] = [
    "UPDATE activation SET activated_at = activated_at - activated_at + (SELECT max(activated_at) FROM activation) WHERE position = 1",
    "UPDATE activation SET files = '{\"rules.yaml\": \"# z\"}' WHERE position = 2",
    "DELETE FROM activation WHERE position = 1",
    "DELETE FROM activation WHERE position = 2",
];

#[tokio::test]
async fn activations_survive_a_restart() {
    let (folder, org) = (tempfile::tempdir().expect("a folder"), Uuid::new_v4());
    let store = SqliteStore::open(folder.path()).await.expect("opens");
    store.activate(org, &activation("a", 1)).await.expect("writes");
    store.close().await;
    let store = SqliteStore::open(folder.path()).await.expect("opens");
    assert_eq!(store.active(org).await.expect("reads"), Some(activation("a", 1)));
}

#[tokio::test]
async fn the_file_refuses_to_edit_history_and_the_chain_shows_who_does_all_the_same() {
    for sql in FORGERIES {
        let (folder, org) = (tempfile::tempdir().expect("a folder"), Uuid::new_v4());
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.expect("opens"));
        for (version, second) in [("a", 1), ("b", 2), ("c", 3)] {
            store.activate(org, &activation(version, second)).await.expect("writes");
        }
        let options = SqliteConnectOptions::new().filename(folder.path().join("rules.db"));
        let mut db = SqliteConnection::connect_with(&options).await.expect("connects");
        let refused = sqlx::query(sql).execute(&mut db).await.expect_err("refused").to_string();
        assert!(refused.contains("never edited or deleted"), "{sql}: {refused}");
        assert_eq!(store.history(org, 9).await.expect("is whole").len(), 3);
        sqlx::raw_sql("DROP TRIGGER activation_is_final; DROP TRIGGER activation_stays")
            .execute(&mut db)
            .await
            .expect("drops");
        sqlx::query(sql).execute(&mut db).await.expect("nothing refuses any more");
        store.history(org, 9).await.expect_err(sql);
    }
}

#[tokio::test]
async fn migrations_go_down_and_up_again() {
    let mut db = SqliteConnection::connect("sqlite::memory:").await.expect("opens");
    let migrations = switchboard_rules::MIGRATIONS.sqlite;
    let schema = async |db: &mut SqliteConnection| -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_master WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND sql IS NOT NULL ORDER BY name";
        sqlx::query_scalar(sql).fetch_all(db).await.expect("reads")
    };
    migrations.run_direct(None, &mut db, false).await.expect("up");
    let first = schema(&mut db).await;
    migrations.undo(&mut db, 0).await.expect("down");
    assert!(schema(&mut db).await.is_empty());
    migrations.run_direct(None, &mut db, false).await.expect("up again");
    assert_eq!(schema(&mut db).await, first);
}
