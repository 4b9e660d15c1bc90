//! The laws of the store, on every adapter there is.
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use switchboard_knowledge::{
    article::{Article, NewArticle},
    error::Error,
    store::{Behind, By, ListQuery, Store, Write, sqlite::SqliteStore},
};
use uuid::Uuid;

const ORG: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

fn by() -> By {
    By { actor: Uuid::from_u128(9), now: "2026-11-20T12:00:00Z".parse().expect("a time") }
}

fn content(slug: &str) -> NewArticle {
    NewArticle {
        title: format!("T {slug}"),
        body: "B\n".into(),
        language: "en".into(),
        slug: slug.into(),
        tags: vec!["a".into()],
        ..NewArticle::default()
    }
}

/// Ids that go up: those of the clock do only from one millisecond to the next.
fn new_id() -> Uuid {
    static LAST: AtomicU64 = AtomicU64::new(1000);
    Uuid::from_u128(LAST.fetch_add(1, Ordering::Relaxed).into())
}

async fn create(store: &dyn Store, org: Uuid, content: NewArticle) -> Result<Article, Error> {
    let write = Write::Create { id: new_id(), request: None, content };
    Ok(store.write(org, by(), vec![write]).await?.remove(0))
}

async fn update(
    store: &dyn Store,
    org: Uuid,
    id: Uuid,
    seen: Option<u32>,
    content: NewArticle,
) -> Result<Article, Error> {
    Ok(store.write(org, by(), vec![Write::Update { id, seen, content }]).await?.remove(0))
}

macro_rules! laws {
    ($($law:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $law() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = super::SqliteStore::open(folder.path()).await.expect("a store");
                super::$law(&store).await;
            })*
        }
    };
}
laws! {
    what_is_written_is_read
    an_update_adds_a_version_and_edits_none
    a_stale_update_changes_nothing
    archiving_is_for_ever_and_frees_the_slug
    a_slug_names_one_article
    a_request_has_one_answer
    a_failed_write_leaves_nothing
    another_organization_sees_and_changes_nothing
    what_the_index_lacks_is_listed_until_marked
    lists_go_by_id_and_hide_what_customers_may_not_see
    the_audit_is_a_chain
}

async fn what_is_written_is_read(store: &dyn Store) {
    let full = NewArticle {
        internal: true,
        confidence: 0.5,
        expires: Some(Timestamp::UNIX_EPOCH),
        validated: Some("2026-01-01T00:00:00.000001Z".parse().expect("a time")),
        errors: vec!["401".into()],
        see_also: vec!["b".into()],
        ..content("a")
    };
    let stored = create(store, ORG, full.clone()).await.expect("creates");
    assert_eq!((stored.version, stored.current, &stored.content), (1, true, &full));
    assert_eq!(store.get(ORG, stored.id, None).await.expect("reads"), Some(stored.clone()));
    assert_eq!(store.get(ORG, stored.id, Some(2)).await.expect("reads"), None);
}

async fn an_update_adds_a_version_and_edits_none(store: &dyn Store) {
    let first = create(store, ORG, content("a")).await.expect("creates");
    let second = update(store, ORG, first.id, Some(1), content("b")).await.expect("updates");
    assert_eq!((second.version, second.current, second.created), (2, true, first.created));
    let old = store.get(ORG, first.id, Some(1)).await.expect("reads").expect("is kept");
    assert_eq!(old, Article { current: false, ..first.clone() });
    assert_eq!(store.get(ORG, first.id, None).await.expect("reads"), Some(second));
    let third = update(store, ORG, first.id, None, content("")).await.expect("updates");
    assert_eq!(third.content.slug, "b", "no slug keeps the slug");
}

async fn a_stale_update_changes_nothing(store: &dyn Store) {
    let first = create(store, ORG, content("a")).await.expect("creates");
    update(store, ORG, first.id, Some(1), content("a")).await.expect("updates");
    let error = update(store, ORG, first.id, Some(1), content("c")).await.expect_err("stale");
    assert!(matches!(error, Error::Stale { newest: 2 }));
    assert!(matches!(update(store, ORG, Uuid::from_u128(7), None, content("c")).await, Err(Error::NotFound)));
    assert_eq!(store.get(ORG, first.id, None).await.expect("reads").map(|a| a.version), Some(2));
}

async fn archiving_is_for_ever_and_frees_the_slug(store: &dyn Store) {
    let first = create(store, ORG, content("a")).await.expect("creates");
    for _ in 0..2 {
        assert!(store.archive(ORG, by(), first.id).await.expect("archives"));
    }
    assert!(!store.archive(ORG, by(), Uuid::from_u128(7)).await.expect("answers"));
    assert!(matches!(update(store, ORG, first.id, None, content("a")).await, Err(Error::NotFound)));
    let kept = store.get(ORG, first.id, Some(1)).await.expect("reads").expect("is kept");
    assert!(kept.archived && !kept.current);
    assert_ne!(create(store, ORG, content("a")).await.expect("the slug is free").id, first.id);
    let known = store.known(ORG).await.expect("reads");
    assert_eq!(known.iter().filter(|k| k.archived).count(), 1);
}

async fn a_slug_names_one_article(store: &dyn Store) {
    create(store, ORG, content("a")).await.expect("creates");
    assert!(matches!(create(store, ORG, content("a")).await, Err(Error::SlugTaken(slug)) if slug == "a"));
    let other = create(store, ORG, content("b")).await.expect("creates");
    assert!(matches!(update(store, ORG, other.id, None, content("a")).await, Err(Error::SlugTaken(_))));
    create(store, OTHER, content("a")).await.expect("another organization's slugs are its own");
    for _ in 0..2 {
        create(store, ORG, content("")).await.expect("no slug is no name");
    }
}

async fn a_request_has_one_answer(store: &dyn Store) {
    let request = Some(Uuid::from_u128(77));
    let write = |slug: &str| Write::Create { id: new_id(), request, content: content(slug) };
    let first = store.write(ORG, by(), vec![write("a")]).await.expect("creates").remove(0);
    update(store, ORG, first.id, None, content("b")).await.expect("updates");
    let again = store.write(ORG, by(), vec![write("a")]).await.expect("answers").remove(0);
    assert_eq!((again.id, again.version, again.content.slug.as_str()), (first.id, 1, "a"));
    let other = store.write(OTHER, by(), vec![write("a")]).await.expect("creates").remove(0);
    assert_ne!(other.id, first.id);
}

async fn a_failed_write_leaves_nothing(store: &dyn Store) {
    let writes = ["a", "b", "a"].map(|slug| Write::Create { id: new_id(), request: None, content: content(slug) });
    store.write(ORG, by(), writes.to_vec()).await.expect_err("the slug is taken by the first");
    assert!(store.known(ORG).await.expect("reads").is_empty());
    assert!(store.behind(9).await.expect("reads").is_empty());
}

async fn another_organization_sees_and_changes_nothing(store: &dyn Store) {
    let mine = create(store, ORG, content("a")).await.expect("creates");
    assert_eq!(store.get(OTHER, mine.id, None).await.expect("reads"), None);
    assert!(!store.archive(OTHER, by(), mine.id).await.expect("answers"));
    assert!(matches!(update(store, OTHER, mine.id, None, content("x")).await, Err(Error::NotFound)));
    assert!(
        store
            .list(OTHER, ListQuery { limit: 9, internal: true, ..ListQuery::default() })
            .await
            .expect("reads")
            .is_empty()
    );
    assert!(store.known(OTHER).await.expect("reads").is_empty());
    assert!(store.audit(OTHER, 0, 9).await.expect("reads").is_empty());
    assert_eq!(store.get(ORG, mine.id, None).await.expect("reads"), Some(mine));
}

async fn what_the_index_lacks_is_listed_until_marked(store: &dyn Store) {
    let one = create(store, ORG, content("a")).await.expect("creates");
    let wanted = |wanted| Behind { org: ORG, id: one.id, wanted };
    assert_eq!(store.behind(9).await.expect("reads"), [wanted(Some(1))]);
    store.mark_indexed(&[wanted(Some(1))]).await.expect("marks");
    assert!(store.behind(9).await.expect("reads").is_empty());
    update(store, ORG, one.id, None, content("a")).await.expect("updates");
    store.mark_indexed(&[wanted(Some(1))]).await.expect("a late mark is no harm");
    assert_eq!(store.behind(9).await.expect("reads"), [wanted(Some(2))]);
    store.mark_indexed(&[wanted(Some(2))]).await.expect("marks");
    store.archive(ORG, by(), one.id).await.expect("archives");
    assert_eq!(store.behind(9).await.expect("reads"), [wanted(None)]);
    store.mark_indexed(&[wanted(None)]).await.expect("marks");
    assert!(store.behind(9).await.expect("reads").is_empty());

    let two = create(store, OTHER, content("a")).await.expect("creates");
    let behind = Behind { org: OTHER, id: two.id, wanted: Some(1) };
    store.mark_indexed(&[behind]).await.expect("marks");
    let generation = Uuid::from_u128(5);
    store.start_generation(generation).await.expect("starts");
    assert_eq!(store.index_generation().await.expect("reads"), Some(generation));
    assert_eq!(store.behind(9).await.expect("reads"), [behind]);
}

async fn lists_go_by_id_and_hide_what_customers_may_not_see(store: &dyn Store) {
    let soon = by().now + SignedDuration::from_secs(60);
    let rows = [
        content("a"),
        NewArticle { internal: true, ..content("b") },
        NewArticle { expires: Some(soon), category: "C".into(), ..content("c") },
    ];
    for row in rows {
        create(store, ORG, row).await.expect("creates");
    }
    let list = async |query: ListQuery| {
        let found = store.list(ORG, query).await.expect("reads");
        found.into_iter().map(|a| (a.id, a.content.slug)).collect::<Vec<_>>()
    };
    let slugs = |found: &[(Uuid, String)]| found.iter().map(|f| f.1.clone()).collect::<Vec<_>>();
    let all = list(ListQuery { limit: 9, internal: true, ..ListQuery::default() }).await;
    assert_eq!(slugs(&all), ["a", "b", "c"]);
    assert!(all.is_sorted_by_key(|f| f.0));
    assert_eq!(
        slugs(&list(ListQuery { limit: 9, after: Some(all[0].0), internal: true, ..ListQuery::default() }).await),
        ["b", "c"]
    );
    assert_eq!(
        slugs(&list(ListQuery { limit: 9, alive_at: Some(by().now), ..ListQuery::default() }).await),
        ["a", "c"]
    );
    assert_eq!(slugs(&list(ListQuery { limit: 9, alive_at: Some(soon), ..ListQuery::default() }).await), ["a"]);
    assert_eq!(slugs(&list(ListQuery { limit: 9, category: Some("C".into()), ..ListQuery::default() }).await), ["c"]);
    assert_eq!(slugs(&list(ListQuery { limit: 1, ..ListQuery::default() }).await), ["a"]);
}

async fn the_audit_is_a_chain(store: &dyn Store) {
    let one = create(store, ORG, content("a")).await.expect("creates");
    update(store, ORG, one.id, None, content("a")).await.expect("updates");
    store.archive(ORG, by(), one.id).await.expect("archives");
    store.archive(ORG, by(), one.id).await.expect("archives");
    let rows = store.audit(ORG, 0, 9).await.expect("is whole");
    let shown: Vec<_> = rows.iter().map(|r| (r.seq, r.action.as_str(), r.version)).collect();
    assert_eq!(shown, [(1, "created", 1), (2, "updated", 2), (3, "archived", 2)]);
    assert_eq!(store.audit(ORG, 1, 1).await.expect("is whole"), rows[1..2]);
}

mod files {
    use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
    use switchboard_knowledge::store::{Store as _, sqlite::SqliteStore};

    use super::{ORG, content, create};

    async fn tampered(sql: &'static str) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(folder.path()).await.expect("a store");
        create(&store, ORG, content("a")).await.expect("creates");
        let options = SqliteConnectOptions::new().filename(folder.path().join("knowledge.db"));
        let mut db = SqliteConnection::connect_with(&options).await.expect("connects");
        sqlx::query(sql).execute(&mut db).await.map_err(|e| e.to_string())?;
        store.audit(ORG, 0, 9).await.map_err(|e| e.to_string())?;
        Ok(())
    }

    #[tokio::test]
    async fn the_file_itself_refuses_to_edit_a_version() {
        for sql in [
            "UPDATE article_versions SET body = 'x'",
            "UPDATE article_versions SET is_current = 0, title = 'x'",
            "DELETE FROM article_versions",
        ] {
            assert!(tampered(sql).await.expect_err("refused").contains("never"), "{sql}");
        }
    }

    #[tokio::test]
    async fn an_audit_row_that_was_changed_is_noticed() {
        assert!(tampered("UPDATE audit SET action = 'archived'").await.expect_err("noticed").contains("audit row 1"));
    }

    #[tokio::test]
    async fn migrations_go_down_and_up_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteConnectOptions::new().filename(folder.path().join("x.db")).create_if_missing(true);
        let mut db = SqliteConnection::connect_with(&options).await.expect("connects");
        let migrations = sqlx::migrate!("../../migrations/knowledge/sqlite");
        migrations.run_direct(None, &mut db, false).await.expect("up");
        migrations.undo(&mut db, 0).await.expect("down");
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'",
        )
        .fetch_one(&mut db)
        .await
        .expect("counts");
        assert_eq!(left, 0);
        migrations.run_direct(None, &mut db, false).await.expect("up again");
    }
}
