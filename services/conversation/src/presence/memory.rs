//! Presence in this process.
//!
//! In and out: signs. Never: more than a bounded number of conversations.
use async_trait::async_trait;
use moka::sync::Cache;
use uuid::Uuid;

use super::{PEOPLE, Presence, READ, TYPING, signs};
use crate::hub::{Sign, Who};

/// Conversations in which somebody is there at the same time.
const CONVERSATIONS: u64 = 16_384;

type Key = (Uuid, Uuid, Who);

/// The store.
pub struct MemoryPresence {
    typing: Cache<Key, ()>,
    read: Cache<Key, u64>,
}

impl Default for MemoryPresence {
    fn default() -> Self {
        MemoryPresence {
            typing: Cache::builder().max_capacity(CONVERSATIONS).time_to_live(TYPING).build(),
            read: Cache::builder().max_capacity(CONVERSATIONS).time_to_live(READ).build(),
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn note(&self, org: Uuid, conversation: Uuid, sign: Sign) {
        let key = (org, conversation, sign.who);
        if sign.read_seq > 0 {
            self.read.entry(key).and_upsert_with(|old| old.map_or(0, |old| old.into_value()).max(sign.read_seq));
        } else if sign.typing {
            self.typing.insert(key, ());
        } else {
            self.typing.invalidate(&key);
        }
    }

    async fn there(&self, org: Uuid, conversation: Uuid) -> Vec<Sign> {
        let of = |who| {
            let key = (org, conversation, who);
            signs(who, self.typing.contains_key(&key), self.read.get(&key).unwrap_or_default())
        };
        PEOPLE.into_iter().flat_map(of).collect()
    }
}
