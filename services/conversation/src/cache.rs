//! The rows of conversations that talk just now: the port of the cache, and the one way to read through it.
//!
//! In: rows as the ledger has them. Out: the same, perhaps an older state of them. Never: an answer to anybody, a decision
//! that is not confirmed: whoever reads here goes on to a compare-and-set on the ledger, which refuses an old row, or only
//! needs what never changes in one. So a cache that is empty, old or gone costs time and nothing else (ADR 0029).
//!
//! Laws of the port, each a function of the contract suite:
//! 1. What was put is got again, the newest last put by this process, until its lifetime ends. It may be forgotten earlier.
//! 2. Nothing of one organization is got under another.
//! 3. What cannot be read is not there, and is removed.
//! 4. What is forgotten is gone for all replicas.
//! 5. Putting never waits, and getting waits for no cache that is away.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use switchboard_runtime::{redis::NoAnswer, telemetry::Metrics};
use uuid::Uuid;

use crate::{error::Error, model::Conversation, store::Store};

mod flight;
pub mod memory;
pub mod redis;

use flight::Flights;

/// Longer than a customer takes to answer; short, since a row that another replica failed to renew is old for so long.
const LIFETIME: Duration = Duration::from_secs(300);
/// How much shorter it may be: rows that were put together do not end together.
const JITTER: f64 = 0.2;

/// Where rows are kept. See the laws above.
#[async_trait]
pub trait Cache: Send + Sync {
    /// A row, if it is there.
    async fn get(&self, org: Uuid, id: Uuid) -> Option<Conversation>;
    /// Keeps a row that the ledger has.
    fn put(&self, row: Arc<Conversation>);
    /// Removes a row. An error: it may still be there until its lifetime ends.
    async fn forget(&self, org: Uuid, id: Uuid) -> Result<(), NoAnswer>;
    /// Values so far that could not be read.
    fn unreadable(&self) -> Counter;
}

/// A row's lifetime.
fn lifetime() -> Duration {
    LIFETIME.mul_f64(1.0 - rand::random_range(0.0..JITTER))
}

/// The ledger's rows, read through the cache.
pub struct Rows {
    store: Arc<dyn Store>,
    cache: Arc<dyn Cache>,
    /// What is read of the ledger at this moment, once for all who ask.
    flights: Flights<(Uuid, Uuid), Option<Conversation>>,
    hits: Counter,
    misses: Counter,
}

impl Rows {
    /// Over a cache, counted in the service's metrics.
    pub fn new(store: Arc<dyn Store>, cache: Arc<dyn Cache>, metrics: &Metrics) -> Self {
        let (hits, misses) = (Counter::default(), Counter::default());
        metrics.register(|registry| {
            registry.register("cache_hits", "Rows of conversations that the cache had", hits.clone());
            registry.register("cache_misses", "Rows of conversations that the ledger was asked for", misses.clone());
            registry.register("cache_unreadable", "Cached values that could not be read", cache.unreadable());
        });
        Rows { store, cache, flights: Flights::default(), hits, misses }
    }

    /// A row, perhaps an older state of it; none if the organization has no such conversation.
    pub async fn glance(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error> {
        if let Some(row) = self.cache.get(org, id).await {
            self.hits.inc();
            return Ok(Some(row));
        }
        self.misses.inc();
        self.flights.join((org, id), || self.load(org, id)).await
    }

    /// A row as the ledger has it now.
    pub async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error> {
        let row = self.store.load(org, id).await?;
        if let Some(row) = &row {
            self.put(row.clone());
        }
        Ok(row)
    }

    /// Keeps a row that was just committed.
    pub fn put(&self, row: Conversation) {
        self.cache.put(Arc::new(row));
    }

    /// Removes a row of a person who is erased.
    pub async fn forget(&self, org: Uuid, id: Uuid) -> Result<(), NoAnswer> {
        self.cache.forget(org, id).await
    }
}
