//! Rows in Redis: for replicas, each of which renews what it commits.
//!
//! In: rows. Out: sealed values that only a replica with the same master keys opens, and only under the conversation they
//! are of. Never: a wait: rows are written beside the turn, many in one round trip.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use switchboard_runtime::{
    redis::{NoAnswer, Redis},
    vault::Vault,
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Cache, lifetime};
use crate::model::Conversation;

/// Before all keys; raised when a row of the same form means something else.
const PREFIX: &str = "switchboard:conversation:row:1";
/// Rows written in one round trip.
const BATCH: usize = 64;
/// Rows that wait to be written; beyond that they are not cached.
const WAITING: usize = 4096;

/// The cache.
pub struct RedisCache {
    shared: Arc<Shared>,
    _writer: DropGuard,
}

struct Shared {
    redis: Redis,
    vault: Vault,
    /// What this process put and Redis may not have yet: a turn sees what the one before it wrote.
    waiting: Mutex<HashMap<(Uuid, Uuid), Arc<Conversation>>>,
    put: Notify,
    unreadable: Counter,
}

impl RedisCache {
    /// In this Redis, sealed by this vault.
    pub fn new(redis: Redis, vault: Vault) -> Self {
        let (waiting, put, unreadable) = Default::default();
        let shared = Arc::new(Shared { redis, vault, waiting, put, unreadable });
        let end = CancellationToken::new();
        let writer = shared.clone();
        tokio::spawn(end.clone().run_until_cancelled_owned(async move { writer.write().await }));
        RedisCache { shared, _writer: end.drop_guard() }
    }

    /// Where a row is kept.
    pub fn key(org: Uuid, id: Uuid) -> String {
        format!("{PREFIX}:{org}:{id}")
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, org: Uuid, id: Uuid) -> Option<Conversation> {
        if let Some(row) = self.shared.waiting().get(&(org, id)) {
            return Some(Conversation::clone(row));
        }
        let key = RedisCache::key(org, id);
        let mut get = redis::cmd("GET");
        get.arg(&key);
        let value: Option<Vec<u8>> =
            self.shared.redis.run(async |mut connection| get.query_async(&mut connection).await).await.ok()?;
        let row = self.shared.open(org, id, &value?);
        if row.is_none() {
            self.shared.unreadable.inc();
            tracing::warn!(conversation = %id, "a cached row could not be read and is removed");
            // If this fails it is found, and removed, by the next who looks.
            let _ = self.forget(org, id).await;
        }
        row
    }

    fn put(&self, row: Arc<Conversation>) {
        let mut waiting = self.shared.waiting();
        let key = (row.org, row.id);
        if self.shared.redis.is_up() && (waiting.len() < WAITING || waiting.contains_key(&key)) {
            waiting.insert(key, row);
            drop(waiting);
            self.shared.put.notify_one();
        }
    }

    async fn forget(&self, org: Uuid, id: Uuid) -> Result<(), NoAnswer> {
        self.shared.waiting().remove(&(org, id));
        let mut delete = redis::cmd("DEL");
        delete.arg(RedisCache::key(org, id));
        self.shared.redis.run(async |mut connection| delete.exec_async(&mut connection).await).await
    }

    fn unreadable(&self) -> Counter {
        self.shared.unreadable.clone()
    }
}

impl Shared {
    async fn write(&self) {
        loop {
            let rows: Vec<Arc<Conversation>> = self.waiting().values().take(BATCH).cloned().collect();
            if rows.is_empty() {
                self.put.notified().await;
                continue;
            }
            let mut set = redis::pipe();
            for row in &rows {
                if let Some(value) = self.seal(row) {
                    let millis = u64::try_from(lifetime().as_millis()).unwrap_or_default();
                    let key = RedisCache::key(row.org, row.id);
                    set.cmd("SET").arg(key).arg(value).arg("PX").arg(millis).ignore();
                }
            }
            let written = self.redis.run(async |mut connection| set.exec_async(&mut connection).await).await;
            let mut waiting = self.waiting();
            match written {
                Ok(()) => {
                    for row in rows {
                        let key = (row.org, row.id);
                        // A newer one waits for the next round.
                        if waiting.get(&key).is_some_and(|waits| Arc::ptr_eq(waits, &row)) {
                            waiting.remove(&key);
                        }
                    }
                }
                // What is not written now is old by the time Redis is back.
                Err(_) => waiting.clear(),
            }
        }
    }

    fn seal(&self, row: &Conversation) -> Option<Vec<u8>> {
        let plain = serde_json::to_vec(row).ok()?;
        Some(self.vault.seal_shared(&about(row.org), &place(row.org, row.id), &plain))
    }

    /// The row, if it is one, is sealed for this place, and is the one that was asked for. One of another version, which
    /// has more or less to say, is none: what this one does not know would be lost when it writes.
    fn open(&self, org: Uuid, id: Uuid, value: &[u8]) -> Option<Conversation> {
        let plain = self.vault.open_shared(&about(org), &place(org, id), value).ok()?;
        let row: Conversation = serde_json::from_slice(&plain).ok()?;
        let whole = serde_json::to_vec(&row).is_ok_and(|again| again == plain);
        (whole && (row.org, row.id) == (org, id)).then_some(row)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<(Uuid, Uuid), Arc<Conversation>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn about(org: Uuid) -> String {
    format!("conversation.cache/{org}")
}

fn place(org: Uuid, id: Uuid) -> String {
    format!("conversation.cache.row/{org}/{id}")
}
