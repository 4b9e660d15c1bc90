//! What replicas share beside the ledger: fan-out, the rows of those who talk, who is there.
//!
//! In: `stores.cache`. Out: the same three ports, in this process or over Redis. Never: anything that the ledger does not
//! make good: without Redis all of it is slower, and nothing is lost.
use std::sync::Arc;

use switchboard_runtime::{Host, Shutdown, StartError, redis::Redis, stores::Choice, telemetry::Metrics, vault::Vault};

use crate::{
    cache::{Cache, Rows, memory::MemoryCache, redis::RedisCache},
    hub::{
        Hub,
        redis::{CHANNEL, RedisWire},
    },
    presence::{Presence, memory::MemoryPresence, redis::RedisPresence},
    store::Store,
};

/// The three ports.
pub struct Shared {
    /// The watchers.
    pub hub: Hub,
    /// The rows of conversations that talk just now.
    pub rows: Rows,
    /// Who is there.
    pub presence: Arc<dyn Presence>,
}

impl Shared {
    /// As it was chosen. Redis is not waited for.
    pub fn open(
        choice: &Choice,
        store: Arc<dyn Store>,
        vault: &Vault,
        host: &Host,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let Choice::Server(url) = choice else { return Ok(Shared::alone(store, &host.metrics)) };
        let redis = Redis::open(url)?;
        redis.register(host);
        Ok(Shared::among(store, redis, CHANNEL, vault, &host.metrics, shutdown))
    }

    /// For one process alone.
    pub fn alone(store: Arc<dyn Store>, metrics: &Metrics) -> Self {
        Shared {
            hub: Hub::alone(store.clone()),
            rows: Rows::new(store, Arc::new(MemoryCache::default()), metrics),
            presence: Arc::new(MemoryPresence::default()),
        }
    }

    /// For one replica among others that use the same Redis and channel, until `shutdown`.
    pub fn among(
        store: Arc<dyn Store>,
        redis: Redis,
        channel: &str,
        vault: &Vault,
        metrics: &Metrics,
        shutdown: &Shutdown,
    ) -> Self {
        let wire = RedisWire::new(redis.clone(), channel);
        let cache: Arc<dyn Cache> = Arc::new(RedisCache::new(redis.clone(), vault.clone()));
        Shared {
            hub: Hub::among(store.clone(), Arc::new(wire), metrics, shutdown.clone()),
            rows: Rows::new(store, cache, metrics),
            presence: Arc::new(RedisPresence::new(redis)),
        }
    }
}
