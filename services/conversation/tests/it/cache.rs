//! The laws of the row cache, run in memory and on Redis; and that an old or spoilt row never does harm.
use std::sync::{Arc, atomic::Ordering};

use switchboard_conversation::{
    cache::{Cache, memory::MemoryCache, redis::RedisCache},
    error::Error,
    machine::{Owner, Status},
    model::{ActionStatus, Conversation, Effect, Sender, State},
    shared::Shared,
    store::sqlite::SqliteStore,
    turn::Incoming,
};
use switchboard_proto::conversation::v1::{GetConversationStateRequest, SubscribeRequest, subscribe_response::Kind};
use switchboard_runtime::{
    Clock, Role, Secret,
    redis::{NoAnswer, Redis},
    vault::Vault,
};
use switchboard_testkit::{redis::PrivateRedis, servers};
use tempfile::tempdir;
use uuid::Uuid;

use crate::{
    fanout::{PATIENCE, channel, redis_at, within},
    grpc::served,
    rig::{Rig, Say, caller, incoming},
    store::plant::row,
};

const CANARY: &str = "canary@example.com";

fn person(org: Uuid) -> Arc<Conversation> {
    let state = State { email: CANARY.into(), ..State::default() };
    Arc::new(Conversation { state, ..row(org, Uuid::now_v7()) })
}

async fn what_was_put_is_got(cache: &dyn Cache) {
    let old = person(Uuid::now_v7());
    assert_eq!(cache.get(old.org, old.id).await, None);
    cache.put(old.clone());
    assert_eq!(cache.get(old.org, old.id).await.as_ref(), Some(&*old));
    let new = Arc::new(Conversation { seq: 7, language: "de".into(), ..Conversation::clone(&old) });
    cache.put(new.clone());
    assert_eq!(cache.get(old.org, old.id).await.as_ref(), Some(&*new));
    for (org, id) in [(Uuid::now_v7(), old.id), (old.org, Uuid::now_v7())] {
        assert_eq!(cache.get(org, id).await, None);
    }
}

async fn what_is_forgotten_is_gone(cache: &dyn Cache) {
    let (gone, stays) = (person(Uuid::now_v7()), person(Uuid::now_v7()));
    cache.put(gone.clone());
    cache.put(stays.clone());
    cache.forget(gone.org, gone.id).await.expect("forgets");
    assert_eq!(cache.get(gone.org, gone.id).await, None);
    assert!(cache.get(stays.org, stays.id).await.is_some());
    cache.forget(gone.org, gone.id).await.expect("twice is once");
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let cache = MemoryCache::default();
    what_was_put_is_got(&cache).await;
    what_is_forgotten_is_gone(&cache).await;
}

#[tokio::test]
async fn the_laws_hold_on_redis() {
    let Some(url) = servers::server("redis") else { return };
    let cache = RedisCache::new(redis_at(&url).await, servers::vault());
    what_was_put_is_got(&cache).await;
    what_is_forgotten_is_gone(&cache).await;
}

/// What Redis has under a row's key.
async fn raw(redis: &Redis, row: &Conversation) -> Option<Vec<u8>> {
    let mut get = redis::cmd("GET");
    get.arg(RedisCache::key(row.org, row.id));
    redis.run(async |mut connection| get.query_async(&mut connection).await).await.expect("answers")
}

async fn put_raw(redis: &Redis, row: &Conversation, value: &[u8]) {
    let mut set = redis::cmd("SET");
    set.arg(RedisCache::key(row.org, row.id)).arg(value).arg("EX").arg(60);
    redis.run(async |mut connection| set.exec_async(&mut connection).await).await.expect("answers");
}

/// Puts a row and waits until Redis has it, so that another replica would find it.
async fn stored(cache: &RedisCache, redis: &Redis, row: &Arc<Conversation>) -> Vec<u8> {
    cache.put(row.clone());
    within(async {
        loop {
            if let Some(value) = raw(redis, row).await {
                return value;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_row_in_redis_is_sealed_ends_and_is_the_same_for_every_replica() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    let replica = || RedisCache::new(redis.clone(), servers::vault());
    let row = person(Uuid::now_v7());
    let value = stored(&replica(), &redis, &row).await;
    for clear in [CANARY, "language", &row.user.to_string()] {
        assert!(!value.windows(clear.len()).any(|w| w == clear.as_bytes()), "{clear} is readable");
    }
    let mut left = redis::cmd("PTTL");
    left.arg(RedisCache::key(row.org, row.id));
    let left: u64 = redis.run(async |mut connection| left.query_async(&mut connection).await).await.expect("answers");
    assert!((200_000..=300_000).contains(&left), "{left}");
    assert_eq!(replica().get(row.org, row.id).await.as_ref(), Some(&*row));
    // A replica with other master keys does not read it.
    let stranger =
        RedisCache::new(redis.clone(), Vault::new(&Secret::new(format!("1:{}=", "A".repeat(43)))).expect("key"));
    assert_eq!(stranger.get(row.org, row.id).await, None);
}

#[tokio::test]
async fn a_spoilt_value_is_not_there_and_is_removed_and_counted() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    let cache = RedisCache::new(redis.clone(), servers::vault());
    let (row, other) = (person(Uuid::now_v7()), person(Uuid::now_v7()));
    let good = stored(&cache, &redis, &other).await;
    let seal = |plain: &[u8]| {
        let place = format!("conversation.cache.row/{}/{}", row.org, row.id);
        servers::vault().seal_shared(&format!("conversation.cache/{}", row.org), &place, plain)
    };
    let mut newer = serde_json::to_value(&*row).expect("is JSON");
    newer["mood"] = "fine".into();
    let mut inside = serde_json::to_value(&*row).expect("is JSON");
    inside["state"]["mood"] = "fine".into();
    let mut older = serde_json::to_value(&*row).expect("is JSON");
    older.as_object_mut().expect("an object").remove("language");
    let bad = [
        vec![],
        b"garbage".to_vec(),
        good.clone(),
        good[..good.len() - 1].to_vec(),
        seal(b"garbage"),
        // Rightly sealed, and another conversation's.
        seal(&serde_json::to_vec(&*other).expect("is JSON")),
        // Of a newer and of an older version: what this one does not know would be lost when it writes.
        seal(newer.to_string().as_bytes()),
        seal(inside.to_string().as_bytes()),
        seal(older.to_string().as_bytes()),
    ];
    for (n, value) in bad.iter().enumerate() {
        put_raw(&redis, &row, value).await;
        assert_eq!(cache.get(row.org, row.id).await, None, "{n}");
        assert_eq!(raw(&redis, &row).await, None, "{n} is removed");
        assert_eq!(cache.unreadable().get(), n as u64 + 1);
    }
    put_raw(&redis, &row, &seal(&serde_json::to_vec(&*row).expect("is JSON"))).await;
    assert_eq!(cache.get(row.org, row.id).await.as_ref(), Some(&*row), "the test seals as the cache does");
}

#[tokio::test]
async fn a_cache_that_is_away_has_nothing_and_takes_nothing() {
    let Some(mut server) = PrivateRedis::new() else { return };
    let redis = Redis::patient(&server.url(), PATIENCE).expect("a good URL");
    let cache = RedisCache::new(redis.clone(), servers::vault());
    let row = person(Uuid::now_v7());
    cache.put(row.clone());
    assert_eq!(cache.get(row.org, row.id).await, None);
    assert_eq!(cache.forget(row.org, row.id).await, Err(NoAnswer::Away), "it may still be there");
    server.start().await;
    within(redis.until_up()).await;
    assert_eq!(cache.get(row.org, row.id).await, None);
    stored(&cache, &redis, &row).await;
}

/// What a conversation came to: its row without ids and times, and what was said.
type End = (Status, Owner, u64, u64, u64, Option<u32>, Option<String>, Vec<(Sender, String)>);

/// Which of all rows that ever were the cache has.
type Pick = fn(&[Conversation]) -> Option<&Conversation>;

/// A whole conversation. Before every step the cache gets the row that `old` picks from all that ever were.
async fn play(rig: &Rig, old: Pick) -> End {
    let first = rig.begin().await;
    let mut past = vec![first.clone()];
    let steps = ["hello", "case", "settle", "again", "assign", "speak", "release", "rate", "thanks", "resolve", "more"];
    for step in steps {
        if let Some(row) = old(&past) {
            rig.engine.shared.rows.put(row.clone());
        }
        match step {
            "assign" => drop(rig.engine.assign(&rig.agent, first.id, None).await.expect("takes over")),
            "speak" => {
                let seen = rig.engine.glance(&rig.agent, first.id).await.expect("sees");
                let words = Incoming { sender: Sender::HumanAgent, ..incoming(&rig.agent, step, None) };
                drop(rig.engine.speak(&rig.agent, &seen, words).await.expect("speaks"));
            }
            "release" => drop(rig.engine.release(&rig.agent, first.id).await.expect("gives back")),
            "rate" => drop(rig.engine.rate(&rig.customer, first.id, 5, "good").await.expect("rates")),
            "resolve" => drop(rig.engine.resolve(&rig.agent, first.id, "done").await.expect("resolves")),
            // An action that was slow came through: nothing but the row tells of it.
            "settle" => {
                let (effects, _) = rig.engine.store.effects(rig.org, Some("pending"), 10, "").await.expect("reads");
                let result = [("case_number".to_owned(), "00000001".to_owned())].into();
                let effect = effects.into_iter().next().expect("is pending");
                let done = Effect { status: ActionStatus::Completed, result, ..effect };
                rig.engine.settle(done).await.expect("settles");
            }
            text => {
                let slow = text == "case";
                *rig.mind.say.lock().expect("lock") = if slow { Say::OpenCase } else { Say::Echo };
                rig.targets.lose.store(u32::from(slow), Ordering::SeqCst);
                let seen = rig.engine.glance(&rig.customer, first.id).await.expect("sees");
                let seen = rig.engine.continued(seen).await.expect("goes on");
                assert_eq!(seen.id, first.id);
                assert!(rig.say(&seen, text).await.expect("answers").response.is_some());
            }
        }
        past.push(rig.load(&first).await);
    }
    let now = rig.load(&first).await;
    assert_eq!((now.status, now.rating, now.answered_seq), (Status::Active, Some(5), now.last_user_seq));
    assert_eq!(now.state.case_number.as_deref(), Some("00000001"));
    let said = rig.transcript(&first).await;
    (now.status, now.owner, now.seq, now.owner_epoch, now.answered_seq, now.rating, now.state.case_number, said)
}

#[tokio::test]
async fn an_old_row_changes_nothing_that_is_written() {
    let mut ends = Vec::new();
    let picks: [Pick; 4] =
        [|_| None, |past| past.first(), |past| past.iter().rev().nth(1), |past| past.get(past.len() / 2)];
    for pick in picks {
        let folder = tempdir().expect("folder");
        ends.push(play(&Rig::start(folder.path()).await, pick).await);
    }
    for end in &ends[1..] {
        assert_eq!(end, &ends[0]);
    }
}

#[tokio::test]
async fn an_old_row_does_not_begin_a_second_conversation() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.say(&row, "hello").await.expect("answers");
    let ended = rig.engine.resolve(&rig.agent, row.id, "done").await.expect("resolves");
    rig.engine.clock.advance(jiff::SignedDuration::from_hours(24 * 6));
    rig.say(&ended, "one more thing").await.expect("reopens");
    rig.engine.clock.advance(jiff::SignedDuration::from_hours(24 * 2));
    // As the cache might still have it if Redis was away at the reopening: ended eight days ago.
    rig.engine.shared.rows.put(ended.clone());
    assert_eq!(rig.engine.continued(ended).await.expect("goes on").id, row.id);
}

#[tokio::test]
async fn what_is_shown_is_never_an_old_row() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let old = rig.begin().await;
    rig.say(&old, "hello").await.expect("answers");
    rig.engine.shared.rows.put(old.clone());
    let mut client = served(&rig).await;
    let ask = GetConversationStateRequest { conversation_id: old.id.to_string() };
    let shown = rig.mesh.as_user(Role::Customer, rig.org, old.user, client.get_conversation_state(ask)).await;
    assert_eq!(shown.expect("shows").into_inner().conversation.expect("a row").seq, 2);
    let ask = SubscribeRequest { conversation_id: old.id.to_string(), after_seq: None };
    let stream = rig.mesh.as_user(Role::Customer, rig.org, old.user, client.subscribe(ask)).await;
    let first = stream.expect("watches").into_inner().message().await.expect("goes on").expect("is open").kind;
    assert!(matches!(first, Some(Kind::Joined(row)) if row.seq == 2));
    // What is refused is refused by the ledger's row: an old one that is open does not let a human in twice.
    rig.engine.assign(&rig.agent, old.id, None).await.expect("takes over");
    rig.engine.shared.rows.put(old.clone());
    assert!(matches!(rig.engine.assign(&caller(Role::Agent, rig.org), old.id, None).await, Err(Error::NotOwner)));
    // Whose it is never changes: even an old row keeps strangers out.
    for stranger in [caller(Role::Customer, rig.org), caller(Role::Admin, Uuid::now_v7())] {
        assert!(rig.engine.glance(&stranger, old.id).await.is_err());
    }
}

/// A number of the service's metrics page.
fn figure(rig: &Rig, name: &str) -> f64 {
    let page = rig.engine.host.metrics.page();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {page}"));
    line.trim().parse().expect("a number")
}

/// Many conversations, each of a few messages with a word of an agent in one of four: as people use it.
async fn nine_of_ten_rows_come_from_the_cache(rig: &Rig) {
    for n in 0..20 {
        let row = rig.begin().await;
        for text in ["hello", "and", "then", "thanks"] {
            let seen = rig.engine.glance(&rig.customer, row.id).await.expect("sees");
            rig.say(&seen, text).await.expect("answers");
        }
        if n % 4 == 0 {
            rig.engine.assign(&rig.agent, row.id, None).await.expect("takes over");
            rig.engine.resolve(&rig.agent, row.id, "done").await.expect("resolves");
        }
    }
    let (hits, misses) = (figure(rig, "switchboard_cache_hits_total"), figure(rig, "switchboard_cache_misses_total"));
    assert!(hits >= 80.0 && hits / (hits + misses) > 0.9, "{hits} hits, {misses} misses");
    assert!(figure(rig, "switchboard_cache_unreadable_total") < 1.0);
}

/// A replica on this Redis.
async fn on_redis(folder: &std::path::Path, redis: Redis) -> Rig {
    let store = SqliteStore::open(folder, servers::vault()).await.expect("opens");
    let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
    Rig::over(Arc::new(store), folder, clock, Arc::default(), Uuid::now_v7(), |store, metrics, shutdown| {
        Shared::among(store, redis, &channel(), &servers::vault(), metrics, shutdown)
    })
    .await
}

#[tokio::test]
async fn nine_of_ten_rows_come_from_the_cache_in_memory() {
    let folder = tempdir().expect("folder");
    nine_of_ten_rows_come_from_the_cache(&Rig::start(folder.path()).await).await;
}

#[tokio::test]
async fn nine_of_ten_rows_come_from_the_cache_on_redis() {
    let Some(url) = servers::server("redis") else { return };
    let folder = tempdir().expect("folder");
    nine_of_ten_rows_come_from_the_cache(&on_redis(folder.path(), redis_at(&url).await).await).await;
}

#[tokio::test]
async fn spoilt_rows_in_redis_do_not_stop_a_conversation() {
    let Some(url) = servers::server("redis") else { return };
    let folder = tempdir().expect("folder");
    let redis = redis_at(&url).await;
    let rig = on_redis(folder.path(), redis.clone()).await;
    let row = rig.begin().await;
    for (n, text) in (1_u32..).zip(["one", "two", "three"]) {
        // Until what was on the way to Redis is there, and this is met instead.
        within(async {
            while figure(&rig, "switchboard_cache_unreadable_total") < f64::from(n) {
                put_raw(&redis, &row, text.as_bytes()).await;
                rig.engine.glance(&rig.customer, row.id).await.expect("sees all the same");
            }
        })
        .await;
        put_raw(&redis, &row, text.as_bytes()).await;
        let seen = rig.engine.glance(&rig.customer, row.id).await.expect("sees all the same");
        assert!(rig.say(&seen, text).await.expect("answers").response.is_some());
    }
    assert_eq!(rig.transcript(&row).await.len(), 6);
}
