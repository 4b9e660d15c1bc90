//! The laws of presence, run in memory and on Redis.
use switchboard_conversation::{
    hub::{Sign, Who},
    presence::{Presence, READ, TYPING, memory::MemoryPresence, redis::RedisPresence},
};
use switchboard_runtime::redis::Redis;
use switchboard_testkit::{redis::PrivateRedis, servers};
use uuid::Uuid;

use crate::fanout::{PATIENCE, redis_at, within};

fn types(who: Who, typing: bool) -> Sign {
    Sign { who, typing, read_seq: 0 }
}

fn has_read(who: Who, read_seq: u64) -> Sign {
    Sign { who, typing: false, read_seq }
}

async fn who_types_is_there_until_they_stop(presence: &dyn Presence) {
    let (org, id) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(presence.there(org, id).await, []);
    presence.note(org, id, types(Who::User, true)).await;
    presence.note(org, id, types(Who::User, true)).await;
    presence.note(org, id, types(Who::Human, true)).await;
    assert_eq!(presence.there(org, id).await, [types(Who::Human, true), types(Who::User, true)]);
    presence.note(org, id, types(Who::User, false)).await;
    assert_eq!(presence.there(org, id).await, [types(Who::Human, true)]);
    for (org, id) in [(Uuid::now_v7(), id), (org, Uuid::now_v7())] {
        assert_eq!(presence.there(org, id).await, []);
    }
}

async fn who_has_read_is_there_with_the_highest_seq(presence: &dyn Presence) {
    let (org, id) = (Uuid::now_v7(), Uuid::now_v7());
    for seq in [3, 9, 4] {
        presence.note(org, id, has_read(Who::User, seq)).await;
    }
    presence.note(org, id, has_read(Who::Human, 2)).await;
    presence.note(org, id, types(Who::User, true)).await;
    let there = [has_read(Who::Human, 2), types(Who::User, true), has_read(Who::User, 9)];
    assert_eq!(presence.there(org, id).await, there);
    assert_eq!(presence.there(Uuid::now_v7(), id).await, []);
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let presence = MemoryPresence::default();
    who_types_is_there_until_they_stop(&presence).await;
    who_has_read_is_there_with_the_highest_seq(&presence).await;
}

#[tokio::test]
async fn the_laws_hold_on_redis() {
    let Some(url) = servers::server("redis") else { return };
    let presence = RedisPresence::new(redis_at(&url).await);
    who_types_is_there_until_they_stop(&presence).await;
    who_has_read_is_there_with_the_highest_seq(&presence).await;
}

#[tokio::test]
async fn lifetimes_end_in_redis_and_without_redis_nobody_is_there() {
    let Some(mut server) = PrivateRedis::new() else { return };
    let redis = Redis::patient(&server.url(), PATIENCE).expect("a good URL");
    let presence = RedisPresence::new(redis.clone());
    let (org, id) = (Uuid::now_v7(), Uuid::now_v7());
    presence.note(org, id, types(Who::User, true)).await;
    assert_eq!(presence.there(org, id).await, []);
    server.start().await;
    within(redis.until_up()).await;
    presence.note(org, id, types(Who::User, true)).await;
    presence.note(org, id, has_read(Who::User, 5)).await;
    let keys: Vec<String> = redis
        .run(async |mut connection| redis::cmd("KEYS").arg("*").query_async(&mut connection).await)
        .await
        .expect("answers");
    assert_eq!(keys.len(), 2);
    for key in keys {
        let mut ask = redis::cmd("TTL");
        ask.arg(&key);
        let left: u64 = redis.run(async |mut connection| ask.query_async(&mut connection).await).await.expect("ends");
        let whole = if key.contains("typing") { TYPING } else { READ }.as_secs();
        assert!((whole - 5..=whole).contains(&left), "{key}: {left}");
    }
}
