//! Rows in this process: for one process alone, where every commit renews them.
//!
//! In and out: rows. Never: more than a bounded number, so that memory is too.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use moka::{Expiry, sync};
use prometheus_client::metrics::counter::Counter;
use switchboard_runtime::redis::NoAnswer;
use uuid::Uuid;

use super::{Cache, lifetime};
use crate::model::Conversation;

/// Conversations that talk at the same time; a row has about two kilobytes.
const ROWS: u64 = 8192;

/// The cache.
pub struct MemoryCache(sync::Cache<(Uuid, Uuid), Arc<Conversation>>);

impl Default for MemoryCache {
    fn default() -> Self {
        MemoryCache(sync::Cache::builder().max_capacity(ROWS).expire_after(Lifetime).build())
    }
}

struct Lifetime;

impl<K, V> Expiry<K, V> for Lifetime {
    fn expire_after_create(&self, _: &K, _: &V, _: Instant) -> Option<Duration> {
        Some(lifetime())
    }

    fn expire_after_update(&self, _: &K, _: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(lifetime())
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, org: Uuid, id: Uuid) -> Option<Conversation> {
        self.0.get(&(org, id)).map(|row| Conversation::clone(&row))
    }

    fn put(&self, row: Arc<Conversation>) {
        self.0.insert((row.org, row.id), row);
    }

    async fn forget(&self, org: Uuid, id: Uuid) -> Result<(), NoAnswer> {
        self.0.invalidate(&(org, id));
        Ok(())
    }

    fn unreadable(&self) -> Counter {
        Counter::default()
    }
}
