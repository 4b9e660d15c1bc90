//! Presence in Redis, for all replicas. Redis ends the lifetimes: replicas need no common clock.
//!
//! In and out: signs, as ids and numbers. Never: a word of anybody; a wait for a Redis that is away: then nobody is there.
use async_trait::async_trait;
use switchboard_runtime::redis::Redis;
use uuid::Uuid;

use super::{PEOPLE, Presence, READ, TYPING, signs};
use crate::hub::{Sign, Who};

/// Before all keys.
const PREFIX: &str = "switchboard:conversation:presence";

/// The store.
#[derive(Debug, Clone)]
pub struct RedisPresence(Redis);

impl RedisPresence {
    /// In this Redis.
    pub fn new(redis: Redis) -> Self {
        RedisPresence(redis)
    }
}

fn typing(org: Uuid, conversation: Uuid, who: Who) -> String {
    format!("{PREFIX}:typing:{org}:{conversation}:{}", who.name())
}

fn read(org: Uuid, conversation: Uuid) -> String {
    format!("{PREFIX}:read:{org}:{conversation}")
}

#[async_trait]
impl Presence for RedisPresence {
    async fn note(&self, org: Uuid, conversation: Uuid, sign: Sign) {
        let mut note = redis::pipe();
        if sign.read_seq > 0 {
            let key = read(org, conversation);
            // GT: a second device that is behind does not take back what was read.
            note.cmd("ZADD").arg(&key).arg("GT").arg(sign.read_seq).arg(sign.who.name());
            note.cmd("EXPIRE").arg(&key).arg(READ.as_secs());
        } else if sign.typing {
            let key = typing(org, conversation, sign.who);
            note.cmd("SET").arg(key).arg(1).arg("EX").arg(TYPING.as_secs());
        } else {
            note.cmd("DEL").arg(typing(org, conversation, sign.who));
        }
        // The watchers of this moment were told; those who come later do without.
        let _ = self.0.run(async |mut connection| note.exec_async(&mut connection).await).await;
    }

    async fn there(&self, org: Uuid, conversation: Uuid) -> Vec<Sign> {
        let mut ask = redis::pipe();
        ask.cmd("MGET").arg(PEOPLE.map(|who| typing(org, conversation, who)).as_slice());
        ask.cmd("ZMSCORE").arg(read(org, conversation)).arg(PEOPLE.map(Who::name).as_slice());
        let answer = self.0.run(async |mut connection| ask.query_async(&mut connection).await).await;
        let (typing, read): (Vec<Option<u8>>, Vec<Option<f64>>) = answer.unwrap_or_default();
        let of = |((who, typing), read): ((Who, Option<u8>), Option<f64>)| {
            // Seqs are far below what a float holds exactly.
            signs(who, typing.is_some(), read.unwrap_or_default() as u64)
        };
        PEOPLE.into_iter().zip(typing).zip(read).flat_map(of).collect()
    }
}
