//! Which bundle decided when: the history of activations.
mod sqlite;
#[cfg(test)]
mod suite;

use async_trait::async_trait;
use jiff::Timestamp;
pub use sqlite::SqliteStore;
use switchboard_runtime::Fault;
use uuid::Uuid;

use crate::bundle::Files;

/// The organization of what holds for the whole installation.
pub const INSTALLATION: Uuid = Uuid::nil();

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
/// Laws: the newest activation is the active one. Activating the active version again changes nothing. History is never
/// lost or changed, newest first. One organization sees nothing of another.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes a bundle the active one. True if it was not already.
    async fn activate(&self, org: Uuid, activation: &Activation) -> Result<bool, Fault>;

    /// The active bundle.
    async fn active(&self, org: Uuid) -> Result<Option<Activation>, Fault>;

    /// At most `limit` activations, newest first.
    async fn history(&self, org: Uuid, limit: u32) -> Result<Vec<Activation>, Fault>;
}
