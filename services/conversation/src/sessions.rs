//! Session documents: how conversations stood, and what their turns were given, kept beside the ledger.
//!
//! In: documents as they left the ledger, sealed. Out: the same by conversation and by time. Never: an update; a race that is
//! decided here; a word that is not sealed; the truth of anything: the ledger has it, and snapshots are made from it again.
//!
//! Laws, each a function of the contract suite:
//! 1. A document of the same conversation, kind and seq is kept once: the first one stays.
//! 2. The latest document of a conversation is the one of its highest seq.
//! 3. Pages by time hold each document of an organization and kind once; those of a conversation come in the order of seqs.
//! 4. Nothing of one organization is seen or erased under another.
//! 5. What was erased, or purged by its age, is gone, and nothing else.
//! 6. A document of a newer version is passed over, and told of once; it is erased and purged like any other.
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{
    Fault, Reason, Secret, Settings, SettingsError, StartError,
    stores::{self, Choice},
};
use uuid::Uuid;

use crate::{
    error::Error,
    outbox::{Kind, Waiting},
    store::Page,
};

pub mod archive;
pub mod capsule;
#[cfg(feature = "mongodb")]
pub mod mongodb;
pub mod sqlite;

pub use archive::Archive;
pub use capsule::Capsule;

/// The version of documents that this build writes and reads. What names a document (organization, conversation, person, kind,
/// seq, time, version) stays as it is in all versions; what is sealed in it may change.
pub const SCHEMA: u32 = 1;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The organization.
    pub org: Uuid,
    /// The conversation.
    pub conversation: Uuid,
    /// The customer, under whose key it is sealed.
    pub person: Uuid,
    /// [`Kind::Snapshot`] or [`Kind::Capsule`].
    pub kind: Kind,
    /// What it was made from.
    pub seq: u64,
    /// When that was written.
    pub at: Timestamp,
    /// Its version.
    pub schema: u32,
    /// Sealed.
    pub body: Vec<u8>,
}

impl From<Waiting> for Document {
    fn from(waiting: Waiting) -> Self {
        Document {
            org: waiting.org,
            conversation: waiting.conversation,
            person: waiting.user,
            kind: waiting.kind,
            seq: waiting.seq,
            at: waiting.at,
            schema: SCHEMA,
            body: waiting.body,
        }
    }
}

/// The session store.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps documents; those that are there already stay as they are.
    async fn insert(&self, documents: &[Document]) -> Result<(), Error>;
    /// One document.
    async fn get(&self, org: Uuid, conversation: Uuid, kind: Kind, seq: u64) -> Result<Option<Document>, Error>;
    /// The document of the highest seq, of any kind.
    async fn latest(&self, org: Uuid, conversation: Uuid) -> Result<Option<Document>, Error>;
    /// An organization's documents of a kind since a time, oldest first; of one time, each conversation's by seq.
    async fn since(
        &self,
        org: Uuid,
        kind: Kind,
        since: Timestamp,
        size: u32,
        after: &str,
    ) -> Result<Page<Document>, Error>;
    /// Removes all documents of conversations. How many.
    async fn erase(&self, org: Uuid, conversations: &[Uuid]) -> Result<u64, Error>;
    /// Removes some documents that are older than a time, of an organization or of all. How many: fewer than the limit when
    /// none is left.
    async fn purge(&self, org: Option<Uuid>, before: Timestamp, limit: u32) -> Result<u64, Error>;
    /// True if it holds nothing at all: it is new, or it was lost.
    async fn is_empty(&self) -> Result<bool, Error>;
    /// Waits for what is running and closes it.
    async fn close(&self);
}

/// Where documents are kept.
#[derive(Debug, Clone)]
pub enum At {
    /// In a SQLite file of this folder.
    Here(PathBuf),
    /// On a server that speaks MongoDB's protocol; a URL with its password.
    MongoDb(Secret),
}

impl At {
    /// Reads the choice. A build without the client refuses MongoDB here, before anything starts.
    pub fn read(settings: &Settings, folder: &Path) -> Result<Self, SettingsError> {
        match stores::choice(settings, "stores.sessions", "embedded", &["mongodb"])? {
            Choice::Here => Ok(At::Here(folder.to_owned())),
            Choice::Server(_) if cfg!(not(feature = "mongodb")) => {
                let why =
                    "this build has no MongoDB client; build with `--features mongodb`, or take a released binary";
                Err(settings.wrong("stores.sessions", &settings.text("stores.sessions"), "settings", &why))
            }
            Choice::Server(url) => Ok(At::MongoDb(url)),
        }
    }

    /// Opens it. A server that is not there yet is waited for by whoever writes.
    pub async fn open(&self) -> Result<Arc<dyn Sessions>, StartError> {
        match self {
            At::Here(folder) => Ok(Arc::new(sqlite::SqliteSessions::open(folder).await?)),
            #[cfg(feature = "mongodb")]
            At::MongoDb(url) => Ok(Arc::new(mongodb::MongoSessions::open(url).await?)),
            #[cfg(not(feature = "mongodb"))]
            At::MongoDb(_) => unreachable!("refused by At::read"),
        }
    }
}

/// Tells of documents that a newer version wrote, once for each version.
#[derive(Debug, Default)]
pub struct Newer(AtomicU32);

impl Newer {
    /// True if a document of this version can be read here.
    pub fn is_known(&self, schema: u32) -> bool {
        let known = schema <= SCHEMA;
        if !known && self.0.fetch_max(schema, Ordering::Relaxed) < schema {
            tracing::warn!(
                schema,
                known = SCHEMA,
                "the session store holds documents of a newer version of Switchboard; they are passed over"
            );
        }
        known
    }
}

/// A failure of the session store, told without a URL.
pub fn failed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let detail = "The session store is not available right now. Try again.";
    Error::Remote(Fault::new(Reason::StoreFailed, detail).with_source(what.into()))
}
