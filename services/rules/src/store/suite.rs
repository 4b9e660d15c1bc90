//! The laws of [`Store`], one test each.
use uuid::Uuid;

use super::{Activation, SqliteStore, Store};
use crate::bundle::Files;

fn activation(version: &str, second: i64) -> Activation {
    let files = Files([("rules.yaml".to_owned(), format!("# {version}"))].into_iter().collect());
    Activation {
        version: version.into(),
        name: "demo".into(),
        activated_at: jiff::Timestamp::from_second(second).expect("a time"),
        files,
    }
}

async fn the_newest_is_active(store: &dyn Store) {
    let org = Uuid::new_v4();
    assert_eq!(store.active(org).await.expect("reads"), None);
    // By order, not by time: clocks may go backwards.
    for (version, second) in [("a", 2), ("b", 1)] {
        assert!(store.activate(org, &activation(version, second)).await.expect("writes"));
    }
    assert_eq!(store.active(org).await.expect("reads"), Some(activation("b", 1)));
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
    assert_eq!(versions(store.history(org, 2).await.expect("reads")), ["a", "b"]);
}

async fn organizations_are_apart(store: &dyn Store) {
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    store.activate(one, &activation("a", 1)).await.expect("writes");
    assert_eq!(store.active(other).await.expect("reads"), None);
}

async fn activations_survive_a_restart(folder: &std::path::Path) {
    let org = Uuid::new_v4();
    let store = SqliteStore::open(folder).await.expect("opens");
    store.activate(org, &activation("a", 1)).await.expect("writes");
    drop(store);
    let store = SqliteStore::open(folder).await.expect("opens");
    assert_eq!(store.active(org).await.expect("reads"), Some(activation("a", 1)));
}

#[tokio::test]
async fn sqlite_keeps_the_laws() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path()).await.expect("opens");
    the_newest_is_active(&store).await;
    the_active_version_again_changes_nothing(&store).await;
    history_is_kept_newest_first(&store).await;
    organizations_are_apart(&store).await;
    activations_survive_a_restart(folder.path()).await;
}
