//! The laws of [`Store`], one test each, run on every adapter.
use std::{collections::HashSet, sync::Arc};

use super::*;
use crate::message::Kind;

fn new(org: Uuid, key: &str, second: i64) -> Delivery {
    let created = Timestamp::from_second(second).expect("in range");
    let (id, status) = (Uuid::now_v7(), Status::Delivering);
    Delivery { id, org, key: key.into(), kind: Kind::Slack, status, transport: "file".into(), created }
}

pub(super) async fn a_key_has_one_delivery_the_first(store: Arc<dyn Store>) {
    let (org, other) = (Uuid::now_v7(), Uuid::now_v7());
    let first = new(org, "k'; --", 1);
    assert_eq!(store.begin(&first).await.expect("begins"), first);
    assert_eq!(store.begin(&new(org, "k'; --", 2)).await.expect("answers"), first);
    let elsewhere = new(other, "k'; --", 3);
    assert_eq!(store.begin(&elsewhere).await.expect("begins"), elsewhere);
    store.settle(org, first.id, Status::Delivered, "smtp").await.expect("notes");
    let settled = Delivery { status: Status::Delivered, transport: "smtp".into(), ..first };
    assert_eq!(store.begin(&new(org, "k'; --", 4)).await.expect("answers"), settled);
}

pub(super) async fn of_many_at_once_one_begins(store: Arc<dyn Store>) {
    let org = Uuid::now_v7();
    let calls = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.begin(&new(org, "k", n)).await.expect("answers").id })
    });
    let mut ids = HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        ids.insert(call.await.expect("runs"));
    }
    assert_eq!(ids.len(), 1);
}

pub(super) async fn nothing_is_changed_through_another_organization(store: Arc<dyn Store>) {
    let (org, other) = (Uuid::now_v7(), Uuid::now_v7());
    let one = store.begin(&new(org, "k", 1)).await.expect("begins");
    store.settle(other, one.id, Status::Delivered, "file").await.expect("does nothing");
    assert_eq!(store.unsettled().await.expect("reads"), std::slice::from_ref(&one));
    store.settle(org, one.id, Status::Failed, "file").await.expect("notes");
    assert_eq!(store.unsettled().await.expect("reads"), []);
    assert_eq!(store.list(other, None, 9).await.expect("reads"), []);
    assert_eq!(store.list(org, None, 9).await.expect("reads"), [Delivery { status: Status::Failed, ..one }]);
}

pub(super) async fn a_listing_has_everything_once_newest_first(store: Arc<dyn Store>) {
    let org = Uuid::now_v7();
    // Three share each second: only the id tells them apart.
    for n in 0..10 {
        let one = store.begin(&new(org, &n.to_string(), n / 3)).await.expect("begins");
        if n != 4 {
            store.settle(org, one.id, Status::Delivered, "file").await.expect("notes");
        }
    }
    let all = store.list(org, None, 200).await.expect("reads");
    assert_eq!(all.len(), 9, "what is not settled is not listed");
    assert!(all.windows(2).all(|pair| (pair[0].created, pair[0].id) > (pair[1].created, pair[1].id)));
    for size in 1..5 {
        let (mut seen, mut after) = (vec![], None);
        loop {
            let page = store.list(org, after, size).await.expect("reads");
            let Some(last) = page.last() else { break };
            after = Some((last.created, last.id));
            seen.extend(page);
        }
        assert_eq!(seen, all, "pages of {size}");
    }
}

mod on_sqlite {
    use super::super::sqlite::SqliteStore;

    macro_rules! laws {
        ($($law:ident)*) => {$(
            #[tokio::test]
            async fn $law() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = SqliteStore::open(folder.path()).await.expect("opens");
                super::$law(std::sync::Arc::new(store)).await;
            }
        )*};
    }
    laws! {
        a_key_has_one_delivery_the_first
        of_many_at_once_one_begins
        nothing_is_changed_through_another_organization
        a_listing_has_everything_once_newest_first
    }
}
