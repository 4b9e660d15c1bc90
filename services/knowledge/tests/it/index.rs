//! The laws of the index and of the graph, through the service without its wire.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use jiff::SignedDuration;
use switchboard_knowledge::{
    article::NewArticle,
    demo,
    error::Error,
    graph::{Graph, Node, Solution, Source, embedded::EmbeddedGraph},
    import_demo,
    index::{Change, Document, Found, Index, Query, tantivy::TantivyIndex},
    keep::keep,
    knowledge::{Knowledge, Question},
    store::{By, Write, sqlite::SqliteStore},
};
use switchboard_runtime::{Clock, Condition};
use uuid::Uuid;

use crate::{
    common::{self, ADMIN, Bench, ORG, OTHER_ORG, zebra},
    database::PATIENCE,
};

const ZEBRA: &str = "how do I turn on zebra mode for the quokka importer?";

#[tokio::test]
async fn an_article_is_found_when_the_call_returns_and_never_after_its_deletion() {
    let bench = Bench::demo().await;
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    let article = bench.knowledge.create(ORG, ADMIN, None, zebra()).await.expect("creates");
    let found = bench.ask(ZEBRA).await;
    assert_eq!(found[0].passage.slug, "zebra-mode");
    assert!(found[0].score > 0.7, "{}", found[0].score);
    assert!(found[0].quote.contains("switch Zebra mode on"));
    bench.knowledge.delete(ORG, ADMIN, article.id).await.expect("archives");
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    bench.knowledge.delete(ORG, ADMIN, article.id).await.expect("twice is fine");
    let bench = bench.reopened(|_| {}).await;
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    assert!(matches!(bench.knowledge.delete(ORG, ADMIN, Uuid::from_u128(5)).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn the_only_article_of_an_organization_is_found_too() {
    let bench = Bench::empty().await;
    assert!(bench.ask(ZEBRA).await.is_empty());
    bench.knowledge.create(ORG, ADMIN, None, zebra()).await.expect("creates");
    assert_eq!(bench.slugs(ZEBRA).await, ["zebra-mode"]);
    assert!(bench.ask("what is the weather on mars going to be next tuesday?").await.is_empty());
}

#[tokio::test]
async fn only_the_newest_version_is_found() {
    let bench = Bench::demo().await;
    let first = bench.knowledge.create(ORG, ADMIN, None, zebra()).await.expect("creates");
    let newer =
        NewArticle { title: "Ocelot mode".into(), body: "Ocelot mode runs the wombat exporter.".into(), ..zebra() };
    bench.knowledge.update(ORG, ADMIN, first.id, Some(1), newer).await.expect("updates");
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    let found = bench.ask("ocelot mode for the wombat exporter").await;
    assert_eq!((found[0].passage.slug.as_str(), found[0].passage.version), ("zebra-mode", 2));
}

#[tokio::test]
async fn nothing_is_found_across_organizations() {
    let bench = Bench::demo().await;
    bench.knowledge.create(OTHER_ORG, ADMIN, None, zebra()).await.expect("creates");
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    assert!(bench.ask_in(OTHER_ORG, "how do I reset my password?").await.is_empty());
    assert!(bench.ask_in(OTHER_ORG, "error BF-4012").await.is_empty());
    assert!(bench.ask_in(Uuid::from_u128(99), "password").await.is_empty());
}

#[tokio::test]
async fn another_organizations_articles_hardly_move_a_score() {
    let bench = Bench::demo().await;
    let before = bench.ask("how do I export a report?").await;
    for n in 0..20 {
        let content = NewArticle {
            title: format!("Export a report {n}"),
            slug: format!("r{n}"),
            body: "Export the report report report.".into(),
            ..zebra()
        };
        bench.knowledge.create(OTHER_ORG, ADMIN, None, content).await.expect("creates");
    }
    let after = bench.ask("how do I export a report?").await;
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.passage.slug, after.passage.slug);
        assert!((before.score - after.score).abs() < 0.03, "{} {}", before.score, after.score);
    }
}

#[tokio::test]
async fn internal_articles_are_found_only_if_asked_for() {
    let bench = Bench::demo().await;
    let text = "what are the refund approval limits for a team lead?";
    assert!(bench.ask(text).await.iter().all(|a| !a.passage.slug.starts_with("internal-")));
    let question = Question { text: text.into(), limit: 5, internal: true, ..Question::default() };
    let found = bench.knowledge.search(ORG, &question).await.expect("searches");
    assert_eq!(found[0].passage.slug, "internal-refund-approval-limits");
}

#[tokio::test]
async fn an_article_expires_without_anybodys_doing() {
    let bench = Bench::demo().await;
    let expires = Some(bench.clock.now() + SignedDuration::from_secs(60));
    bench
        .knowledge
        .create(ORG, ADMIN, None, NewArticle { expires, errors: vec!["ZB-9999".into()], ..zebra() })
        .await
        .expect("creates");
    assert_eq!(bench.slugs(ZEBRA).await[0], "zebra-mode");
    assert_eq!(bench.slugs("ZB-9999").await, ["zebra-mode"]);
    bench.clock.advance(SignedDuration::from_secs(60));
    assert!(!bench.slugs(ZEBRA).await.contains(&"zebra-mode".to_owned()));
    assert!(bench.slugs("ZB-9999").await.is_empty());
}

#[tokio::test]
async fn a_lost_or_damaged_index_is_built_anew() {
    let mut bench = Bench::demo().await;
    type Harm = fn(&std::path::Path);
    let harms: [Harm; 4] = [
        |folder| std::fs::remove_dir_all(folder.join("index")).expect("removes"),
        |folder| std::fs::write(folder.join("index/meta.json"), "{").expect("writes"),
        |folder| std::fs::remove_file(folder.join("index/meta.json")).expect("removes"),
        |folder| {
            for entry in std::fs::read_dir(folder.join("index")).expect("reads").flatten() {
                if entry.path().extension().is_some_and(|e| e == "store" || e == "term") {
                    let half = std::fs::read(entry.path()).expect("reads");
                    std::fs::write(entry.path(), &half[..half.len() / 2]).expect("writes");
                }
            }
        },
    ];
    for harm in harms {
        bench = bench.reopened(harm).await;
        assert_eq!(bench.slugs("how do I export a report?").await[0], "export-a-report");
    }
}

#[tokio::test]
async fn a_rebuild_leaves_other_files_of_the_folder_alone() {
    let bench = Bench::demo().await;
    let bench = bench
        .reopened(|folder| {
            std::fs::write(folder.join("index/notes.txt"), "mine").expect("writes");
            std::fs::write(folder.join("index/meta.json"), "{").expect("writes");
        })
        .await;
    assert!(bench.folder.path().join("index/notes.txt").exists());
}

#[tokio::test]
async fn what_a_crash_left_between_store_and_index_is_made_up_for() {
    let bench = Bench::demo().await;
    let by = By { actor: ADMIN, now: bench.clock.now() };
    // Reached the store and not the index, as if the process had died in between.
    let write = Write::Create { id: bench.clock.new_id(), request: None, content: zebra() };
    bench.store.write(ORG, by, vec![write]).await.expect("writes");
    let gone = bench.ask("how do I export a report?").await[0].passage.article;
    bench.store.archive(ORG, by, gone).await.expect("archives");
    let bench = bench.reopened(|_| {}).await;
    assert_eq!(bench.slugs(ZEBRA).await[0], "zebra-mode");
    assert!(!bench.slugs("how do I export a report?").await.contains(&"export-a-report".to_owned()));
    assert_eq!(bench.knowledge.catch_up().await.expect("looks"), 0);
}

#[tokio::test]
async fn writes_at_the_same_time_end_in_the_order_of_the_store() {
    let bench = Bench::empty().await;
    let article = bench.knowledge.create(ORG, ADMIN, None, zebra()).await.expect("creates");
    let mut running = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (knowledge, id) = (bench.knowledge.clone(), article.id);
        running.spawn(async move {
            let content = NewArticle { body: format!("Zebra mode number n{n}x for the quokka importer."), ..zebra() };
            knowledge.update(ORG, ADMIN, id, None, content).await.expect("updates")
        });
    }
    running.join_all().await;
    let newest = bench.knowledge.get(ORG, article.id, None, true).await.expect("reads");
    let found = bench.ask(ZEBRA).await;
    assert_eq!((found.len(), found[0].passage.version), (1, 21));
    assert_eq!(found[0].passage.text, newest.content.body);
}

#[tokio::test]
async fn an_index_keeps_its_generation_with_what_was_put_until_it_is_restarted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let article = Bench::empty().await.knowledge.create(ORG, ADMIN, None, zebra()).await.expect("creates");
    let open = |new| TantivyIndex::open(folder.path(), new).expect("opens");
    let put = async |index: &TantivyIndex| {
        index.apply(vec![Change::Put(Document::of(ORG, &article))]).await.expect("applies");
    };
    let seen = async |index: &TantivyIndex| {
        let query = Query {
            org: ORG,
            concepts: switchboard_knowledge::analysis::concepts("zebra", "en"),
            vector: None,
            internal: false,
            now: common::start(),
            pinned: vec![],
            candidates: 9,
        };
        let hits = index.search(query).await.expect("searches").hits.len();
        (index.generation().await.expect("has one"), hits)
    };
    assert_eq!(seen(&open(one)).await, (one, 0));
    assert_eq!(seen(&open(two)).await, (one, 0), "an empty one is kept too");
    {
        let index = open(two);
        put(&index).await;
        assert_eq!(seen(&index).await, (one, 1));
    }
    {
        let index = open(two);
        assert_eq!(seen(&index).await, (one, 1));
        index.restart(two).await.expect("restarts");
        assert_eq!(seen(&index).await, (two, 0));
    }
    {
        let index = open(one);
        assert_eq!(seen(&index).await, (two, 0));
        put(&index).await;
    }
    assert_eq!(seen(&open(one)).await, (two, 1));
}

#[tokio::test]
async fn an_index_of_other_articles_is_never_searched() {
    let bench = Bench::demo().await;
    let Bench { folder, store, knowledge, clock } = bench;
    drop(knowledge);
    store.close().await;
    // The articles are elsewhere from now on, the index folder is the same.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteStore::open(elsewhere.path()).await.expect("a store"));
    let index = TantivyIndex::open(&folder.path().join("index"), clock.new_id()).expect("an index");
    let knowledge = Knowledge::new(store, Arc::new(index), Arc::new(EmbeddedGraph::default()), clock);
    let question = Question { text: "how do I export a report?".into(), limit: 5, ..Question::default() };
    assert!(matches!(knowledge.search(ORG, &question).await, Err(Error::Starting)));
    assert!(matches!(knowledge.create(ORG, ADMIN, None, zebra()).await, Err(Error::Starting)));
    assert!(matches!(knowledge.delete(ORG, ADMIN, Uuid::from_u128(5)).await, Err(Error::Starting)));
    assert!(knowledge.list(ORG, None, 9, None, true).await.expect("the store alone answers").is_empty());
    knowledge.start().await.expect("starts");
    assert!(knowledge.search(ORG, &question).await.expect("searches").is_empty());
}

/// An index whose disk is full while it is told so.
struct Full {
    index: TantivyIndex,
    full: AtomicBool,
}

#[async_trait::async_trait]
impl Index for Full {
    async fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::Index("no space left".to_owned()));
        }
        self.index.apply(changes).await
    }

    async fn generation(&self) -> Result<Uuid, Error> {
        self.index.generation().await
    }

    async fn restart(&self, generation: Uuid) -> Result<(), Error> {
        self.index.restart(generation).await
    }

    async fn search(&self, query: Query) -> Result<Found, Error> {
        self.index.search(query).await
    }
}

#[tokio::test]
async fn an_index_that_cannot_follow_says_so_until_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteStore::open(folder.path()).await.expect("a store"));
    let index = TantivyIndex::open(&folder.path().join("index"), Uuid::from_u128(1)).expect("an index");
    let index = Arc::new(Full { index, full: AtomicBool::new(false) });
    let clock = Clock::manual(common::start());
    let knowledge = Knowledge::new(store, index.clone(), Arc::new(EmbeddedGraph::default()), clock.clone());
    let (ready, mut condition) = Condition::new("starting");
    let keep = tokio::spawn(keep(knowledge.clone(), None, Condition::well(), clock, ready));
    let mut until = async |says: Option<&str>| {
        let told = async {
            while !match (condition.why(), says) {
                (None, None) => true,
                (Some(why), Some(says)) => why.contains(says),
                _ => false,
            } {
                condition.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{says:?} is awaited"));
    };
    until(None).await;
    index.full.store(true, Ordering::SeqCst);
    knowledge.create(ORG, ADMIN, None, zebra()).await.expect_err("it cannot be found");
    until(Some("no space left")).await;
    index.full.store(false, Ordering::SeqCst);
    until(None).await;
    // What failed half-way is whole by itself.
    let question = Question { text: ZEBRA.into(), limit: 5, ..Question::default() };
    assert_eq!(knowledge.search(ORG, &question).await.expect("searches")[0].passage.slug, "zebra-mode");
    keep.abort();
}

#[tokio::test]
async fn an_index_that_was_forgotten_starts_anew() {
    let bench = Bench::demo().await;
    assert!(bench.knowledge.stay().await.expect("says so"));
    bench.store.forget_generations(bench.clock.now() + SignedDuration::from_secs(1)).await.expect("forgets");
    let by = By { actor: ADMIN, now: bench.clock.now() };
    let write = Write::Create { id: bench.clock.new_id(), request: None, content: zebra() };
    bench.store.write(ORG, by, vec![write]).await.expect("writes");
    assert_eq!(bench.knowledge.catch_up().await.expect("looks"), 0, "nothing is noted for it");
    assert!(!bench.knowledge.stay().await.expect("says so"));
    bench.knowledge.start().await.expect("starts");
    assert_eq!(bench.slugs(ZEBRA).await[0], "zebra-mode");
    assert_eq!(bench.slugs("how do I export a report?").await[0], "export-a-report");
}

#[tokio::test]
async fn errors_lead_to_the_articles_that_solve_them() {
    let bench = Bench::demo().await;
    for text in ["BF-4012", "i get bf 4012 since yesterday", "what is error bf4012"] {
        assert_eq!(bench.slugs(text).await[0], "error-bf-4012", "{text}");
    }
    assert_eq!(bench.slugs("I'm getting a 401 error when calling the REST API with OAuth").await[0], "error-401");
    let question = Question {
        text: "my contacts do not arrive".into(),
        limit: 5,
        error_codes: vec!["bf-2003".into()],
        ..Question::default()
    };
    let found = bench.knowledge.search(ORG, &question).await.expect("searches");
    assert_eq!(found[0].passage.slug, "error-bf-2003");
    assert!(found[0].why.contains("error link"));
    // Unknown codes lead nowhere.
    assert!(bench.ask("XY-9999").await.is_empty());
}

#[tokio::test]
async fn the_demo_is_imported_once_and_never_over_somebodys_work() {
    let bench = Bench::demo().await;
    assert_eq!(import_demo(&bench.knowledge, ORG).await.expect("imports"), 0);
    let find = async |slug: &str| {
        bench.store.known(ORG).await.expect("reads").into_iter().find(|k| k.slug == slug).expect("is there")
    };
    let id = find("export-a-report").await.id;
    let read = async || bench.knowledge.get(ORG, id, None, true).await.expect("reads");
    let edited = NewArticle { title: "Our own words".into(), ..read().await.content };

    // As an older demo file would have left it: it is brought up to date.
    bench.knowledge.update(ORG, ADMIN, id, None, edited.clone()).await.expect("updates");
    assert_eq!(import_demo(&bench.knowledge, ORG).await.expect("imports"), 1);
    assert_eq!((read().await.version, read().await.content.title.as_str()), (3, "Export a report"));

    // Written by somebody: it stays.
    bench.knowledge.update(ORG, ADMIN, id, None, NewArticle { source: "api".into(), ..edited }).await.expect("updates");
    bench.knowledge.delete(ORG, ADMIN, find("free-trial").await.id).await.expect("archives");
    assert_eq!(import_demo(&bench.knowledge, ORG).await.expect("imports"), 0);
    assert_eq!(read().await.content.title, "Our own words");

    bench.knowledge.create(OTHER_ORG, ADMIN, None, zebra()).await.expect("creates");
    assert_eq!(import_demo(&bench.knowledge, OTHER_ORG).await.expect("imports"), 0);
}

#[tokio::test]
async fn the_graph_forgets_what_an_article_does_not_say_any_more() {
    let graph = EmbeddedGraph::default();
    let bench = Bench::empty().await;
    let article = async |slug: &str, errors: &[&str], see_also: &[&str]| {
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let content = NewArticle {
            slug: slug.into(),
            errors: list(errors),
            see_also: list(see_also),
            body: "See BF-1001.".into(),
            ..zebra()
        };
        bench.knowledge.create(ORG, ADMIN, None, content).await.expect("creates")
    };
    // The one that is pointed at comes later: the order does not matter.
    let first = article("first", &["BF-1000"], &["second", "nowhere"]).await;
    let second = article("second", &[], &[]).await;
    for one in [&first, &second] {
        graph.put(ORG, Solution::of(one)).await.expect("puts");
    }
    let about = async |org, code: &str| {
        let found = graph.about(org, &Node::Error(code.into())).await.expect("reads");
        found.into_iter().map(|l| (l.article, l.confidence)).collect::<Vec<_>>()
    };
    assert_eq!(about(ORG, "BF-1000").await, [(first.id, 0.8)]);
    assert_eq!(about(ORG, "BF-1001").await.len(), 2);
    assert!(about(OTHER_ORG, "BF-1000").await.is_empty());
    let edges = graph.edges(ORG, first.id).await.expect("reads");
    assert!(edges.iter().any(|e| e.to == Node::Error("BF-1001".into()) && e.source == Source::Body));
    assert_eq!(
        graph.related(ORG, first.id).await.expect("reads").iter().map(|l| l.article).collect::<Vec<_>>(),
        [second.id]
    );

    let mut newer = first.clone();
    newer.content.errors.clear();
    newer.content.body = "Nothing.".into();
    graph.put(ORG, Solution::of(&newer)).await.expect("puts");
    assert!(about(ORG, "BF-1000").await.is_empty());
    graph.remove(ORG, second.id).await.expect("removes");
    assert!(about(ORG, "BF-1001").await.is_empty());
    assert!(graph.related(ORG, first.id).await.expect("reads").is_empty());
}

#[test]
fn every_demo_article_can_be_read() {
    let articles = demo::articles().expect("they parse");
    assert!(articles.len() >= 84);
    let slugs: std::collections::HashSet<_> = articles.iter().map(|a| a.slug.as_str()).collect();
    assert_eq!(slugs.len(), articles.len());
    for article in &articles {
        assert_eq!(article.source_url, "", "{}: a link that leads nowhere", article.slug);
        for other in &article.see_also {
            assert!(slugs.contains(other.as_str()), "{}: see_also {other}", article.slug);
        }
    }
}
