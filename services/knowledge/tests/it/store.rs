//! The laws of the store, on every adapter there is.
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use switchboard_knowledge::{
    article::{Article, NewArticle},
    error::Error,
    store::{Behind, By, ListQuery, Store, Write, sqlite::SqliteStore},
};
use uuid::Uuid;

use crate::database::with_store;

pub const ORG: Uuid = Uuid::from_u128(1);
pub const OTHER: Uuid = Uuid::from_u128(2);

pub fn by() -> By {
    By { actor: Uuid::from_u128(9), now: "2026-11-20T12:00:00Z".parse().expect("a time") }
}

pub fn content(slug: &str) -> NewArticle {
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
pub fn new_id() -> Uuid {
    static LAST: AtomicU64 = AtomicU64::new(1000);
    Uuid::from_u128(LAST.fetch_add(1, Ordering::Relaxed).into())
}

pub async fn create(store: &dyn Store, org: Uuid, content: NewArticle) -> Result<Article, Error> {
    let write = Write::Create { id: new_id(), request: None, content };
    Ok(store.write(org, by(), vec![write]).await?.remove(0))
}

pub async fn update(
    store: &dyn Store,
    org: Uuid,
    id: Uuid,
    seen: Option<u32>,
    content: NewArticle,
) -> Result<Article, Error> {
    Ok(store.write(org, by(), vec![Write::Update { id, seen, content }]).await?.remove(0))
}

/// Each law on each adapter.
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
        mod postgres {
            $(#[tokio::test]
            async fn $law() {
                super::with_store(async |store| super::$law(&*store).await).await;
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
    writes_in_one_go_answer_in_their_order
    a_failed_write_leaves_nothing
    another_organization_sees_and_changes_nothing
    what_an_index_lacks_is_listed_until_marked
    each_index_is_behind_by_itself
    an_index_that_nobody_used_is_forgotten
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
    let current = store.current(ORG, &[stored.id, Uuid::from_u128(7)]).await.expect("reads");
    assert_eq!(current, std::slice::from_ref(&stored));
    assert_eq!(store.organizations().await.expect("reads"), [ORG]);
    assert!(store.archive(ORG, by(), stored.id).await.expect("archives"));
    assert!(store.current(ORG, &[stored.id]).await.expect("reads").is_empty());
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
    assert_eq!(known.iter().filter(|k| k.archived && k.version == 1).count(), 1);
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

async fn writes_in_one_go_answer_in_their_order(store: &dyn Store) {
    let (one, other, request) = (new_id(), new_id(), Some(Uuid::from_u128(77)));
    let writes = vec![
        Write::Create { id: other, request, content: content("b") },
        Write::Create { id: one, request: None, content: content("a") },
        Write::Update { id: one, seen: Some(1), content: content("c") },
        Write::Create { id: new_id(), request, content: content("b") },
    ];
    let stored = store.write(ORG, by(), writes).await.expect("writes");
    let shown: Vec<_> = stored.iter().map(|a| (a.id, a.version, a.current, a.content.slug.as_str())).collect();
    assert_eq!(shown, [(other, 1, true, "b"), (one, 1, false, "a"), (one, 2, true, "c"), (other, 1, true, "b")]);
    assert_eq!(store.audit(ORG, 0, 9).await.expect("is whole").len(), 3);
}

async fn a_failed_write_leaves_nothing(store: &dyn Store) {
    let generation = new_id();
    store.start_generation(generation, by().now).await.expect("starts");
    let writes = ["a", "b", "a"].map(|slug| Write::Create { id: new_id(), request: None, content: content(slug) });
    store.write(ORG, by(), writes.to_vec()).await.expect_err("the slug is taken by the first");
    assert!(store.known(ORG).await.expect("reads").is_empty());
    assert!(store.behind(generation, 9).await.expect("reads").is_empty());
    assert!(store.organizations().await.expect("reads").is_empty());
    assert!(store.audit(ORG, 0, 9).await.expect("is whole").is_empty());
}

async fn another_organization_sees_and_changes_nothing(store: &dyn Store) {
    let generation = new_id();
    store.start_generation(generation, by().now).await.expect("starts");
    let mine = create(store, ORG, content("a")).await.expect("creates");
    assert_eq!(store.get(OTHER, mine.id, None).await.expect("reads"), None);
    assert_eq!(store.get(OTHER, mine.id, Some(1)).await.expect("reads"), None);
    assert!(store.current(OTHER, &[mine.id]).await.expect("reads").is_empty());
    assert!(!store.archive(OTHER, by(), mine.id).await.expect("answers"));
    assert!(matches!(update(store, OTHER, mine.id, None, content("x")).await, Err(Error::NotFound)));
    let all = ListQuery { limit: 9, internal: true, ..ListQuery::default() };
    assert!(store.list(OTHER, all.clone()).await.expect("reads").is_empty());
    let of_a_category = ListQuery { category: Some(String::new()), ..all };
    assert!(store.list(OTHER, of_a_category).await.expect("reads").is_empty());
    assert!(store.known(OTHER).await.expect("reads").is_empty());
    assert!(store.audit(OTHER, 0, 9).await.expect("reads").is_empty());
    let (behind, theirs) = (Behind { org: ORG, id: mine.id, wanted: Some(1) }, |b| Behind { org: OTHER, ..b });
    store.mark_indexed(generation, &[theirs(behind)]).await.expect("marks nothing");
    assert_eq!(store.behind(generation, 9).await.expect("reads"), [behind]);
    assert_eq!(store.get(ORG, mine.id, None).await.expect("reads"), Some(mine));
}

async fn what_an_index_lacks_is_listed_until_marked(store: &dyn Store) {
    let one = create(store, ORG, content("a")).await.expect("creates");
    let gone = create(store, ORG, content("b")).await.expect("creates");
    store.archive(ORG, by(), gone.id).await.expect("archives");
    let generation = new_id();
    store.start_generation(generation, by().now).await.expect("starts");
    let wanted = |wanted| Behind { org: ORG, id: one.id, wanted };
    let behind = async || store.behind(generation, 9).await.expect("reads");
    let mark = async |done| store.mark_indexed(generation, &[done]).await.expect("marks");
    assert_eq!(behind().await, [wanted(Some(1))], "an empty index lacks all, archived ones aside");
    mark(wanted(Some(1))).await;
    assert!(behind().await.is_empty());
    update(store, ORG, one.id, None, content("a")).await.expect("updates");
    mark(wanted(Some(1))).await;
    assert_eq!(behind().await, [wanted(Some(2))], "a late mark is no harm");
    mark(wanted(Some(2))).await;
    store.archive(ORG, by(), one.id).await.expect("archives");
    assert_eq!(behind().await, [wanted(None)]);
    mark(wanted(Some(2))).await;
    assert_eq!(behind().await, [wanted(None)]);
    mark(wanted(None)).await;
    assert!(behind().await.is_empty());
}

async fn each_index_is_behind_by_itself(store: &dyn Store) {
    let (one, other) = (new_id(), new_id());
    store.start_generation(one, by().now).await.expect("starts");
    let mut all = vec![];
    for org in [OTHER, ORG, ORG] {
        let article = create(store, org, content(&new_id().to_string())).await.expect("creates");
        all.push(Behind { org, id: article.id, wanted: Some(1) });
    }
    all.sort_by_key(|b| (b.org, b.id));
    store.start_generation(other, by().now).await.expect("starts");
    assert_eq!(store.behind(one, 9).await.expect("reads"), all);
    assert_eq!(store.behind(one, 2).await.expect("reads"), all[..2]);
    store.mark_indexed(one, &all).await.expect("marks");
    assert!(store.behind(one, 9).await.expect("reads").is_empty());
    assert_eq!(store.behind(other, 9).await.expect("reads"), all);
    update(store, ORG, all[0].id, None, content("a")).await.expect("updates");
    let newer = Behind { wanted: Some(2), ..all[0] };
    assert_eq!(store.behind(one, 9).await.expect("reads"), [newer]);
    assert_eq!(store.behind(other, 9).await.expect("reads"), [&[newer], &all[1..]].concat());
}

async fn an_index_that_nobody_used_is_forgotten(store: &dyn Store) {
    let (used, unused, unknown) = (new_id(), new_id(), new_id());
    create(store, ORG, content("a")).await.expect("creates");
    let later = by().now + SignedDuration::from_secs(60);
    for generation in [used, unused] {
        store.start_generation(generation, by().now).await.expect("starts");
    }
    assert!(store.resume_generation(used, later).await.expect("is known"));
    assert!(!store.resume_generation(unknown, later).await.expect("is not known"));
    assert_eq!(store.forget_generations(by().now).await.expect("forgets"), 0);
    assert_eq!(store.forget_generations(later).await.expect("forgets"), 1);
    create(store, ORG, content("b")).await.expect("creates");
    assert_eq!(store.behind(used, 9).await.expect("reads").len(), 2);
    for generation in [unused, unknown] {
        assert!(!store.resume_generation(generation, later).await.expect("is not known"));
        assert!(store.behind(generation, 9).await.expect("reads").is_empty());
    }
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
    assert_eq!(store.audit(ORG, 0, 2).await.expect("is whole"), rows[..2]);
    for after in [3, 4, u64::MAX] {
        assert!(store.audit(ORG, after, 9).await.expect("is whole").is_empty());
    }
    let hashes: std::collections::HashSet<_> = rows.iter().map(|r| r.hash.len() == 64).collect();
    assert_eq!(hashes, [true].into());
}

/// What somebody does to the tables past the service.
pub const EDITS: [&str; 4] = [
    "UPDATE knowledge_entries SET body = 'x'",
    "UPDATE knowledge_entries SET is_current = false, category = 'x'",
    "UPDATE knowledge_entries SET is_current = true",
    "DELETE FROM knowledge_entries",
];
/// The same with the audit, and what is then said of it. There are two rows.
pub const FORGERIES: [(&str, &str); 5] = [
    ("UPDATE activity_log SET action = 'archived' WHERE seq = 1", "audit row 1 was changed"),
    ("UPDATE activity_log SET user_id = NULL WHERE seq = 2", "audit row 2 was changed"),
    ("DELETE FROM activity_log WHERE seq = 1", "audit row 1 is gone"),
    ("DELETE FROM activity_log WHERE seq = 2", "audit rows up to 2 are gone"),
    ("DELETE FROM activity_log", "audit rows up to 2 are gone"),
];

mod files {
    use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
    use switchboard_knowledge::store::{Store as _, sqlite::SqliteStore};

    use super::{EDITS, FORGERIES, ORG, content, create};

    async fn tampered(sql: &'static str) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(folder.path()).await.expect("a store");
        for slug in ["a", "b"] {
            create(&store, ORG, content(slug)).await.expect("creates");
        }
        let options = SqliteConnectOptions::new().filename(folder.path().join("knowledge.db"));
        let mut db = SqliteConnection::connect_with(&options).await.expect("connects");
        sqlx::query(sql).execute(&mut db).await.map_err(|e| e.to_string())?;
        store.audit(ORG, 0, 9).await.map_err(|e| e.to_string())?;
        Ok(())
    }

    #[tokio::test]
    async fn the_file_itself_refuses_to_edit_a_version() {
        for sql in EDITS {
            assert!(tampered(sql).await.expect_err("refused").contains("never edited or deleted"), "{sql}");
        }
    }

    #[tokio::test]
    async fn an_audit_row_that_was_changed_or_deleted_is_noticed() {
        for (sql, says) in FORGERIES {
            let said = tampered(sql).await.expect_err("noticed");
            assert!(said.contains(says), "{sql}: {said}");
        }
    }

    #[tokio::test]
    async fn migrations_go_down_and_up_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteConnectOptions::new().filename(folder.path().join("x.db")).create_if_missing(true);
        let mut db = SqliteConnection::connect_with(&options).await.expect("connects");
        let migrations = switchboard_knowledge::MIGRATIONS.sqlite;
        let schema = async |db: &mut SqliteConnection| -> Vec<String> {
            sqlx::query_scalar(
                "SELECT sql FROM sqlite_master WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND sql IS NOT NULL ORDER BY name",
            )
            .fetch_all(db)
            .await
            .expect("reads")
        };
        migrations.run_direct(None, &mut db, false).await.expect("up");
        let first = schema(&mut db).await;
        migrations.undo(&mut db, 0).await.expect("down");
        assert!(schema(&mut db).await.is_empty());
        migrations.run_direct(None, &mut db, false).await.expect("up again");
        assert_eq!(schema(&mut db).await, first);
    }
}
