//! Where articles are kept.
//!
//! In: changes of articles by an organization. Out: articles, and what the indexes lack of them. Never: personal data beside
//! the ids of who changed something; articles are the company's own text, written to be read, so they are not sealed.
//!
//! Laws, each with a test in `tests/it/store.rs` that every adapter passes:
//! 1. A version is never edited: an update adds a row, and `current` moves from the old to the new one in one transaction.
//! 2. At most one version of an article is current; versions count from 1 without gaps.
//! 3. Archiving is for ever and may be repeated; an archived article keeps its versions and gives its slug free.
//! 4. A slug names at most one article of an organization that is not archived.
//! 5. The same request id gives the same article, however often it comes.
//! 6. Nothing of one organization is seen or changed through another.
//! 7. What an index does not hold yet is listed by [`Store::behind`] until [`Store::mark_indexed`] says otherwise, for each
//!    index by itself: replicas have one each, and what one of them writes is behind in the others. An index goes by its
//!    generation; one that was not in use for long is forgotten and has to start anew.
//! 8. Every change leaves an audit row that carries the hash of the one before. A row that was changed or is gone shows.
//! 9. All of this holds however many replicas write at the same time.
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{
    Condition,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
};
use uuid::Uuid;

use crate::{
    article::{Article, NewArticle},
    error::Error,
};

mod audit;
pub mod postgres;
pub mod sqlite;

/// The migrations of both kinds of ledger.
pub const MIGRATIONS: Migrations =
    Migrations { owner: "knowledge", sqlite: &sqlite::MIGRATOR, postgres: &postgres::MIGRATOR };

/// Opens the chosen store. PostgreSQL need not be there yet: the condition says how it is.
pub async fn open(ledger: &Ledger) -> Result<(Arc<dyn Store>, Condition), OpenError> {
    Ok(match ledger {
        Ledger::Sqlite(folder) => (Arc::new(sqlite::SqliteStore::open(folder).await?), Condition::well()),
        Ledger::Postgres(at) => {
            let store = postgres::PostgresStore::open(at)?;
            let condition = store.condition();
            (Arc::new(store), condition)
        }
    })
}

/// Who does something, and when.
#[derive(Debug, Clone, Copy)]
pub struct By {
    /// The user; nil for the service itself.
    pub actor: Uuid,
    /// The time of the change.
    pub now: Timestamp,
}

/// One change of the articles of an organization.
#[derive(Debug, Clone)]
pub enum Write {
    /// Version 1 of a new article.
    Create {
        /// Its id.
        id: Uuid,
        /// The caller's id of the request.
        request: Option<Uuid>,
        /// What is in it.
        content: NewArticle,
    },
    /// The next version. An empty slug keeps the one it has: others may refer to it.
    Update {
        /// Which article.
        id: Uuid,
        /// The version that the caller saw; any if it does not say.
        seen: Option<u32>,
        /// What is in it.
        content: NewArticle,
    },
}

/// What of an article an import has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The article.
    pub id: Uuid,
    /// Its slug.
    pub slug: String,
    /// The newest version.
    pub version: u32,
    /// Where the newest version came from.
    pub source: String,
    /// Hash of the newest version.
    pub hash: String,
    /// Whether it is archived.
    pub archived: bool,
}

/// An article whose index is behind, and what the index should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The organization.
    pub org: Uuid,
    /// The article.
    pub id: Uuid,
    /// The version that should be found; none: it should not be found at all.
    pub wanted: Option<u32>,
}

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// From 1 on, without gaps.
    pub seq: u64,
    /// `created`, `updated` or `archived`.
    pub action: String,
    /// The article.
    pub article: Uuid,
    /// Its version.
    pub version: u32,
    /// The hash over this row and the one before.
    pub hash: String,
}

/// Articles with their versions. See the laws above.
#[async_trait]
pub trait Store: Send + Sync {
    /// Does all of it, or nothing. The articles as they are after all of it, in the order of the writes.
    async fn write(&self, org: Uuid, by: By, writes: Vec<Write>) -> Result<Vec<Article>, Error>;
    /// The current version, or the one asked for; archived ones too.
    async fn get(&self, org: Uuid, id: Uuid, version: Option<u32>) -> Result<Option<Article>, Error>;
    /// The current versions of those of these articles that are not archived, in any order.
    async fn current(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<Article>, Error>;
    /// Current versions of articles that are not archived, by id, after `after`.
    async fn list(&self, org: Uuid, query: ListQuery) -> Result<Vec<Article>, Error>;
    /// Archives it. False if there is no such article.
    async fn archive(&self, org: Uuid, by: By, id: Uuid) -> Result<bool, Error>;
    /// All articles that have a slug, archived ones too, for an import.
    async fn known(&self, org: Uuid) -> Result<Vec<Known>, Error>;
    /// Articles that the index of this generation lacks, of all organizations; at most `limit`.
    async fn behind(&self, generation: Uuid, limit: u32) -> Result<Vec<Behind>, Error>;
    /// Notes what the index holds now, where that is still what is wanted.
    async fn mark_indexed(&self, generation: Uuid, done: &[Behind]) -> Result<(), Error>;
    /// Notes that the index of this generation is in use. False if nothing is known of it: [`Store::behind`] then lists
    /// nothing, and the index has to start anew.
    async fn resume_generation(&self, generation: Uuid, now: Timestamp) -> Result<bool, Error>;
    /// Begins to note what an empty index of this generation lacks: everything.
    async fn start_generation(&self, generation: Uuid, now: Timestamp) -> Result<(), Error>;
    /// Forgets indexes that nobody used since. How many.
    async fn forget_generations(&self, unused_since: Timestamp) -> Result<u64, Error>;
    /// The organizations that have articles.
    async fn organizations(&self) -> Result<Vec<Uuid>, Error>;
    /// The audit rows after `after`, checked against their hashes.
    async fn audit(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<AuditRow>, Error>;
    /// Ends what is running and lets go of the store.
    async fn close(&self);
}

/// Which articles to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only those with a greater id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: u32,
    /// Only this category.
    pub category: Option<String>,
    /// Internal ones too.
    pub internal: bool,
    /// Leaves out those that have expired by then.
    pub alive_at: Option<Timestamp>,
}
