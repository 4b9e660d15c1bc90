//! A knowledge service on a temporary folder, without its wire.
use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use switchboard_knowledge::{
    Knowledge,
    article::NewArticle,
    graph::embedded::EmbeddedGraph,
    import_demo,
    index::tantivy::TantivyIndex,
    knowledge::{Answer, Question},
    store::{Store, sqlite::SqliteStore},
};
use switchboard_runtime::Clock;
use tempfile::TempDir;
use uuid::Uuid;

pub const ORG: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
pub const OTHER_ORG: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002);
pub const ADMIN: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_00aa);

pub struct Bench {
    pub folder: TempDir,
    pub store: Arc<dyn Store>,
    pub knowledge: Knowledge,
    pub clock: Clock,
}

/// The time at which tests begin.
pub fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// Starts it on a store, with its index in a folder.
pub async fn knowledge(store: Arc<dyn Store>, folder: &Path, clock: &Clock) -> Knowledge {
    let index = TantivyIndex::open(&folder.join("index"), clock.new_id()).expect("an index");
    let knowledge = Knowledge::new(store, Arc::new(index), Arc::new(EmbeddedGraph::default()), clock.clone());
    knowledge.start().await.expect("starts");
    knowledge
}

async fn open(folder: &Path, clock: &Clock) -> (Arc<dyn Store>, Knowledge) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder).await.expect("a store"));
    (store.clone(), knowledge(store, folder, clock).await)
}

impl Bench {
    pub async fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual(start());
        let (store, knowledge) = open(folder.path(), &clock).await;
        Bench { folder, store, knowledge, clock }
    }

    pub async fn demo() -> Self {
        let this = Self::empty().await;
        let count = import_demo(&this.knowledge, ORG).await.expect("imports");
        assert!(count >= 84);
        this
    }

    /// The same folder after a restart.
    pub async fn reopened(self, between: impl FnOnce(&Path)) -> Self {
        let Bench { folder, store, knowledge, clock } = self;
        drop(knowledge);
        store.close().await;
        between(folder.path());
        let (store, knowledge) = open(folder.path(), &clock).await;
        Bench { folder, store, knowledge, clock }
    }

    pub async fn ask(&self, text: &str) -> Vec<Answer> {
        self.ask_in(ORG, text).await
    }

    pub async fn ask_in(&self, org: Uuid, text: &str) -> Vec<Answer> {
        let question = Question { text: text.to_owned(), limit: 5, ..Question::default() };
        self.knowledge.search(org, &question).await.expect("searches")
    }

    pub async fn slugs(&self, text: &str) -> Vec<String> {
        self.ask(text).await.into_iter().map(|a| a.passage.slug).collect()
    }
}

pub fn zebra() -> NewArticle {
    NewArticle {
        title: "Zebra mode".into(),
        body: "Zebra mode turns the quokka importer on. Open Settings, choose Labs, and switch Zebra mode on.".into(),
        language: "en".into(),
        source: "api".into(),
        slug: "zebra-mode".into(),
        ..NewArticle::default()
    }
}
