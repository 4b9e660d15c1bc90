//! Which bundle decided when: the history of activations.
//!
//! In: a bundle that decides from now on. Out: the active one, and those before. Never: personal data; policies are the
//! company's own text, so they are not sealed.
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{
    Condition, Fault,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
};
use uuid::Uuid;

use crate::bundle::Files;

mod chain;
pub mod postgres;
pub mod sqlite;

/// The organization of what holds for the whole installation.
pub const INSTALLATION: Uuid = Uuid::nil();

/// The migrations of both kinds of ledger.
pub const MIGRATIONS: Migrations =
    Migrations { owner: "rules", sqlite: &sqlite::MIGRATOR, postgres: &postgres::MIGRATOR };

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

/// A bundle that was made to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    pub version: String,
    pub name: String,
    pub activated_at: Timestamp,
    pub files: Files,
}

/// Keeps activations.
///
/// Laws, each with a test in `tests/it/store.rs` that every adapter passes:
/// 1. The newest activation is the active one, by order and not by time.
/// 2. Activating the active version again changes nothing, however many replicas do it at the same time.
/// 3. History is never lost or changed, newest first; each row carries the hash of the one before, so that it shows if
///    somebody else changes it.
/// 4. One organization sees nothing of another.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes a bundle the active one. True if it was not already.
    async fn activate(&self, org: Uuid, activation: &Activation) -> Result<bool, Fault>;

    /// The version of the active bundle; asked for all the time.
    async fn active_version(&self, org: Uuid) -> Result<Option<String>, Fault>;

    /// The active bundle.
    async fn active(&self, org: Uuid) -> Result<Option<Activation>, Fault> {
        Ok(self.history(org, 1).await?.pop())
    }

    /// At most `limit` activations, newest first.
    async fn history(&self, org: Uuid, limit: u32) -> Result<Vec<Activation>, Fault>;

    /// Ends what is running and lets go of the store.
    async fn close(&self);
}
