//! The port to what notification keeps.
//!
//! In: deliveries. Out: the same. Never: what was said, or to whom.
use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Delivery, Status},
};

pub mod sqlite;
#[cfg(test)]
mod suite;

/// Where a page ends: the last delivery on it.
pub type Position = (Timestamp, Uuid);

/// What notification keeps.
///
/// Laws, each with a test that every adapter passes:
/// - A key of an organization has one delivery, the first, also when many begin at once.
/// - Nothing is found or changed through another organization.
/// - A listing has everything that is settled, once, newest first, whatever the page size.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a delivery unless its organization has one with its key. Returns the one that is kept: the first.
    async fn begin(&self, delivery: &Delivery) -> Result<Delivery, Error>;

    /// Notes what became of a delivery, and by which transport.
    async fn settle(&self, org: Uuid, id: Uuid, status: Status, transport: &str) -> Result<(), Error>;

    /// Deliveries of all organizations that were begun and not settled: what a process that died left.
    async fn unsettled(&self) -> Result<Vec<Delivery>, Error>;

    /// Settled deliveries of an organization that are older than a position, newest first.
    async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error>;
}
