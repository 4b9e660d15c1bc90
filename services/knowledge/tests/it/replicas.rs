//! Several replicas on one PostgreSQL: what they do at the same time happens once, and what one writes is found by all.
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use switchboard_knowledge::{
    article::NewArticle,
    error::Error,
    import_demo,
    knowledge::{Knowledge, Question},
    store::{By, Store, Write, postgres::PostgresStore},
};
use switchboard_runtime::Clock;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    common::{knowledge, start},
    database::{owner, with_stores},
    store::{ORG, OTHER, by, content, create, new_id, update},
};

/// What one replica does in a race.
const EACH: usize = 12;

/// Runs something on both replicas at the same time, [`EACH`] times on each.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    stores: [&Arc<PostgresStore>; 2],
    run: impl Fn(Arc<PostgresStore>) -> F,
) -> Vec<T> {
    let mut running = JoinSet::new();
    for _ in 0..EACH {
        for store in stores {
            running.spawn(run(store.clone()));
        }
    }
    running.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_reaches_both_makes_one_article() {
    with_stores(async |_, one, other| {
        let answers = race([&one, &other], |store| async move {
            let write = Write::Create { id: new_id(), request: Some(Uuid::from_u128(77)), content: content("a") };
            store.write(ORG, by(), vec![write]).await.expect("answers").remove(0).id
        });
        assert_eq!(answers.await.into_iter().collect::<HashSet<_>>().len(), 1);
        assert_eq!(one.audit(ORG, 0, 99).await.expect("is whole").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_that_both_want_is_given_once() {
    with_stores(async |_, one, other| {
        let won = race([&one, &other], |store| async move { create(&*store, ORG, content("a")).await });
        let (won, lost): (Vec<_>, Vec<_>) = won.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|e| matches!(e, Err(Error::SlugTaken(slug)) if slug == "a")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_by_both_are_versions_without_gaps_and_a_chain_without_forks() {
    with_stores(async |_, one, other| {
        let article = create(&*one, ORG, content("a")).await.expect("creates");
        let generation = new_id();
        one.start_generation(generation, by().now).await.expect("starts");
        let versions = race([&one, &other], move |store| async move {
            // One that saw the first version gets through at most once, one that says nothing always.
            let _ = update(&*store, ORG, article.id, Some(1), content("a")).await;
            update(&*store, ORG, article.id, None, content("a")).await.expect("updates").version
        });
        let versions: HashSet<u32> = versions.await.into_iter().collect();
        assert_eq!(versions.len(), 2 * EACH);
        let newest = one.get(ORG, article.id, None).await.expect("reads").expect("is there");
        assert!(newest.current && (2 * EACH as u32 + 1..=2 * EACH as u32 + 2).contains(&newest.version));
        for version in 1..newest.version {
            let old = one.get(ORG, article.id, Some(version)).await.expect("reads").expect("no gap");
            assert!(!old.current);
        }
        let rows = one.audit(ORG, 0, 99).await.expect("is whole");
        assert!(rows.iter().map(|r| r.version).eq(1..=newest.version));
        let behind = one.behind(generation, 9).await.expect("reads");
        assert_eq!(behind.iter().map(|b| b.wanted).collect::<Vec<_>>(), [Some(newest.version)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_begins_while_others_write_lacks_nothing() {
    with_stores(async |_, one, other| {
        // Older articles that change meanwhile, and marks that come late.
        let mut old = vec![];
        for org in [ORG, OTHER] {
            old.push((org, create(&*one, org, content("old")).await.expect("creates").id));
        }
        let old = Arc::new(old);
        let begun = race([&one, &other], |store| {
            let old = old.clone();
            async move {
                let generation = Uuid::now_v7();
                let (starts, writes) = tokio::join!(store.start_generation(generation, by().now), async {
                    for (org, id) in &*old {
                        create(&*store, *org, content("")).await?;
                        update(&*store, *org, *id, None, content("old")).await?;
                    }
                    store.forget_generations(by().now - SignedDuration::from_secs(1)).await
                });
                starts.expect("starts");
                writes.expect("writes");
                let some = store.behind(generation, 3).await.expect("reads");
                store.mark_indexed(generation, &some).await.expect("marks");
                (generation, some)
            }
        });
        for (generation, marked) in begun.await {
            let mut behind = one.behind(generation, 999).await.expect("reads");
            // What was marked and not changed since is not behind; all else is, in its newest version.
            for (org, id) in &*old {
                let newest = one.get(*org, *id, None).await.expect("reads").expect("is there").version;
                let wanted = behind.iter().find(|b| b.id == *id).map(|b| b.wanted);
                let done = marked.iter().find(|b| b.id == *id).map(|b| b.wanted);
                assert!(wanted.or(done) == Some(Some(newest)), "{wanted:?} {done:?} {newest}");
            }
            behind.extend(marked);
            let ids: HashSet<Uuid> = behind.iter().map(|b| b.id).collect();
            assert_eq!(ids.len(), 2 + 2 * 2 * EACH);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_come_and_go_cost_the_first_articles_of_an_organization_nothing() {
    with_stores(async |_, one, other| {
        // Indexes that nobody uses any more, so that one of them ends in each run.
        let ended = |run: usize| by().now - SignedDuration::from_hours(48) + SignedDuration::from_secs(run as i64);
        for run in 0..2 * EACH {
            one.start_generation(Uuid::now_v7(), ended(run)).await.expect("starts");
        }
        let runs = Arc::new(AtomicUsize::new(0));
        let begun = race([&one, &other], |store| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                // An organization that nobody knows yet while an index begins, and one that ends.
                let (generation, org) = (Uuid::now_v7(), Uuid::now_v7());
                let (starts, forgets, writes) = tokio::join!(
                    store.start_generation(generation, by().now),
                    store.forget_generations(ended(run + 1)),
                    create(&*store, org, content("a"))
                );
                starts.expect("starts");
                forgets.expect("forgets");
                (generation, writes.expect("writes").id)
            }
        });
        let begun = begun.await;
        for (generation, _) in &begun {
            let behind: HashSet<Uuid> =
                one.behind(*generation, 999).await.expect("reads").iter().map(|b| b.id).collect();
            assert!(begun.iter().all(|(_, id)| behind.contains(id)), "{} of {}", behind.len(), begun.len());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_without_a_partition_gets_it_from_whoever_writes_first() {
    with_stores(async |database, one, other| {
        let months = ["2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2031-01-01T00:00:00Z", "1999-12-31T23:00:00Z"];
        for month in months {
            let now: Timestamp = month.parse().expect("a time");
            let ids = race([&one, &other], move |store| async move {
                let by = By { now, ..by() };
                let write = Write::Create { id: Uuid::now_v7(), request: None, content: content("") };
                store.write(ORG, by, vec![write]).await.expect("a write never fails for want of a partition")
            });
            ids.await;
        }
        assert_eq!(one.audit(ORG, 0, 999).await.expect("is whole").len(), months.len() * 2 * EACH);
        let mut owner = owner(&database, Some(ORG)).await;
        let made: Vec<(String, i64)> =
            sqlx::query_as("SELECT tableoid::regclass::text, count(*) FROM activity_log GROUP BY 1 ORDER BY 1")
                .fetch_all(&mut owner)
                .await
                .expect("reads");
        let expected = ["1999_12", "2026_11", "2026_12", "2031_01"];
        let expected = expected.map(|month| (format!("activity_log_{month}"), 2 * EACH as i64));
        assert_eq!(made, expected);
        // By hand, ahead of time, and again.
        for _ in 0..2 {
            sqlx::query("SELECT create_monthly_partition()").execute(&mut owner).await.expect("makes the next one");
        }
    })
    .await;
}

/// A replica with an index of its own.
struct Replica {
    knowledge: Knowledge,
    _folder: tempfile::TempDir,
}

impl Replica {
    async fn start(store: &Arc<PostgresStore>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = store.clone();
        let knowledge = knowledge(store, folder.path(), &Clock::manual(start())).await;
        Replica { knowledge, _folder: folder }
    }

    async fn finds(&self, text: &str) -> Vec<String> {
        let question = Question { text: text.to_owned(), limit: 5, ..Question::default() };
        let found = self.knowledge.search(ORG, &question).await.expect("searches");
        found.into_iter().map(|a| format!("{} {}", a.passage.slug, a.passage.version)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_writes_is_found_by_the_other_in_its_own_index_and_graph() {
    with_stores(async |_, one, other| {
        let (one, other) = (Replica::start(&one).await, Replica::start(&other).await);
        let text = "how do I turn on zebra mode for the quokka importer?";
        let article = NewArticle { errors: vec!["ZB-9999".into()], ..crate::common::zebra() };
        let id = one.knowledge.create(ORG, Uuid::nil(), None, article.clone()).await.expect("creates").id;
        assert_eq!(one.finds(text).await, ["zebra-mode 1"]);
        assert!(other.finds(text).await.is_empty());
        assert_eq!(other.knowledge.catch_up().await.expect("looks"), 1);
        assert_eq!(other.finds(text).await, ["zebra-mode 1"]);
        assert_eq!(other.finds("ZB-9999").await, ["zebra-mode 1"]);
        assert_eq!(other.knowledge.catch_up().await.expect("looks"), 0);

        other.knowledge.update(ORG, Uuid::nil(), id, Some(1), article).await.expect("updates");
        one.knowledge.catch_up().await.expect("looks");
        assert_eq!(one.finds(text).await, ["zebra-mode 2"]);
        one.knowledge.delete(ORG, Uuid::nil(), id).await.expect("archives");
        other.knowledge.catch_up().await.expect("looks");
        assert!(other.finds(text).await.is_empty() && other.finds("ZB-9999").await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_import_the_demo_once() {
    with_stores(async |_, one, other| {
        let stores = [one.clone(), other];
        let (first, second) = (Replica::start(&stores[0]).await, Replica::start(&stores[1]).await);
        let (a, b) = tokio::join!(import_demo(&first.knowledge, ORG), import_demo(&second.knowledge, ORG));
        let (a, b) = (a.expect("imports"), b.expect("imports"));
        assert!(a.min(b) == 0 && a.max(b) >= 84, "{a} {b}");
        for replica in [&first, &second] {
            replica.knowledge.catch_up().await.expect("looks");
            assert_eq!(replica.finds("how do I export a report?").await[0], "export-a-report 1");
        }
        assert_eq!(one.known(ORG).await.expect("reads").len(), a.max(b));
    })
    .await;
}
