//! The port to what notification keeps.
//!
//! In: deliveries, and whom they are for. Out: the same, without whom. Never: what was said, or to whom other than as a keyed
//! hash, which finds a person's deliveries only for who knows the person.
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{
    Condition,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
    vault::Vault,
};
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Delivery, Status},
};

mod hashes;
pub mod postgres;
pub mod sqlite;

/// The migrations of this service.
pub const MIGRATIONS: Migrations =
    Migrations { owner: "notification", sqlite: &sqlite::MIGRATOR, postgres: &postgres::MIGRATOR };

/// Opens the adapter of a ledger; PostgreSQL is not waited for, the condition says how it is.
pub async fn open(ledger: &Ledger, vault: Vault) -> Result<(Arc<dyn Store>, Condition), OpenError> {
    Ok(match ledger {
        Ledger::Sqlite(folder) => (Arc::new(sqlite::SqliteStore::open(folder, vault).await?), Condition::well()),
        Ledger::Postgres(at) => {
            let store = postgres::PostgresStore::open(at, vault)?;
            let condition = store.condition();
            (Arc::new(store), condition)
        }
    })
}

/// Where a page ends: the last delivery on it.
pub type Position = (Timestamp, Uuid);

/// Whom deliveries are for or about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// By our own id.
    pub user: Option<Uuid>,
    /// By address, any case. A delivery has one at most.
    pub emails: Vec<String>,
}

/// One operation's hold on deliveries: nobody else touches them before it ends. It has to be longer than the operation may take
/// and the clocks of replicas may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The operation; each has an id of its own.
    pub by: Uuid,
    /// When it begins.
    pub now: Timestamp,
    /// When it ends by itself, if its process died.
    pub until: Timestamp,
}

/// A delivery that somebody began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The one that is kept: the first with its key.
    pub delivery: Delivery,
    /// True if it is in the caller's hand now. Else it is delivered, of another kind, or in somebody else's hand.
    pub held: bool,
}

/// What became of a delivery while it was in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was still, and is noted.
    Noted,
    /// The hold had ended, and it is somebody else's.
    Lost,
    /// The hold had ended, and it was erased.
    Erased,
}

/// What notification keeps.
///
/// Laws, each with a test that every adapter passes:
/// - A key of an organization has one delivery, the first, also when many begin at once; of these one holds it.
/// - What one operation holds no other gets before the hold ends, whichever way it asks; what is delivered is not begun again.
/// - What was not settled when its hold ended is found, once.
/// - Nothing is found or changed through another organization.
/// - A listing has everything that is settled, once, newest first, whatever the page size.
/// - A person's deliveries are found by user and by address in any case, and nobody else's; what is removed is gone.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a delivery unless its organization has one with its key, and holds the one that is kept, if it can be.
    async fn begin(&self, delivery: &Delivery, person: &Person, hold: Hold) -> Result<Begun, Error>;

    /// Notes what became of a delivery, and by which transport, and lets go of it.
    async fn settle(&self, org: Uuid, id: Uuid, by: Uuid, status: Status, transport: &str) -> Result<Settled, Error>;

    /// Holds deliveries of all organizations that were begun and not settled before their hold ended: what processes left that
    /// died. Oldest first, `limit` at most.
    async fn unsettled(&self, hold: Hold, limit: u32) -> Result<Vec<Delivery>, Error>;

    /// Settled deliveries of an organization that are older than a position, newest first.
    async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error>;

    /// A person's deliveries, oldest first.
    async fn of_person(&self, org: Uuid, person: &Person) -> Result<Vec<Delivery>, Error>;

    /// Holds a person's deliveries, oldest first, `limit` at most; and tells how many there are that it does not hold.
    async fn hold_person(
        &self,
        org: Uuid,
        person: &Person,
        hold: Hold,
        limit: u32,
    ) -> Result<(Vec<Delivery>, u32), Error>;

    /// Removes all deliveries that an operation holds. Returns how many.
    async fn remove(&self, org: Uuid, by: Uuid) -> Result<u32, Error>;

    /// Wraps all keys that an older master wraps under the newest one. Returns how many; at 0 the older can go.
    async fn rewrap(&self) -> Result<u32, Error>;

    /// Waits for what is running and closes the store.
    async fn close(&self);
}
