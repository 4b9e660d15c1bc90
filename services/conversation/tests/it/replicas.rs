//! Two replicas over one ledger: what one does the other's watchers see, with Redis and without.
use std::sync::Arc;

use switchboard_conversation::{
    hub::{Hub, Signal, memory::MemoryWire},
    model::{Conversation, Sender},
    presence::memory::MemoryPresence,
    shared::Shared,
    store::{MIGRATIONS, Store, open, sqlite::SqliteStore},
};
use switchboard_proto::conversation::v1::{SignalPresenceRequest, SubscribeRequest, subscribe_response::Kind};
use switchboard_runtime::{Clock, Role, Shutdown, redis::Redis, telemetry::Metrics};
use switchboard_testkit::{redis::PrivateRedis, servers};
use tempfile::{TempDir, tempdir};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    fanout::{channel, redis_at, within},
    grpc::served,
    rig::{Rig, incoming},
};

/// Two replicas, and one customer and one agent for both.
struct Two {
    a: Rig,
    b: Rig,
    _folder: TempDir,
}

impl Two {
    async fn with(join: impl Fn(Arc<dyn Store>, &Metrics, &Shutdown) -> Shared) -> Two {
        let folder = tempdir().expect("folder");
        let store = SqliteStore::open(folder.path(), servers::vault()).await.expect("opens");
        let store: Arc<dyn Store> = Arc::new(store);
        Two::over([store.clone(), store], folder, join).await
    }

    async fn over(
        stores: [Arc<dyn Store>; 2],
        folder: TempDir,
        join: impl Fn(Arc<dyn Store>, &Metrics, &Shutdown) -> Shared,
    ) -> Two {
        let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
        let org = Uuid::now_v7();
        let rig = async |store| Rig::over(store, folder.path(), clock.clone(), Arc::default(), org, &join).await;
        let [one, other] = stores;
        let (a, mut b) = (rig(one).await, rig(other).await);
        b.customer = a.customer.clone();
        Two { a, b, _folder: folder }
    }

    async fn in_memory() -> Two {
        let (wire, presence) = (MemoryWire::default(), Arc::new(MemoryPresence::default()));
        Two::with(|store, metrics, shutdown| {
            let hub = Hub::among(store.clone(), Arc::new(wire.clone()), metrics, shutdown.clone());
            // Their caches do not know of each other: the worst that can be.
            Shared { hub, presence: presence.clone(), ..Shared::alone(store, metrics) }
        })
        .await
    }

    async fn on(redis: impl Fn() -> Redis) -> Two {
        let channel = channel();
        Two::with(|store, metrics, shutdown| {
            Shared::among(store, redis(), &channel, &servers::vault(), metrics, shutdown)
        })
        .await
    }
}

async fn a_reply_that_another_replica_makes_reaches_who_waits(two: Two) {
    let Two { a, b, _folder } = two;
    let row = a.begin().await;
    // The turn runs on B and thinks; what is said on A joins it.
    b.mind.gate.forget_permits(1_000_000);
    let (engine, seen, words) = (b.engine.clone(), row.clone(), incoming(&b.customer, "one", None));
    let first = tokio::spawn(async move { engine.converse(&seen, words).await });
    b.mind.thinking.acquire().await.expect("open").forget();
    let (second, ()) = within(async {
        tokio::join!(a.say(&row, "two"), async {
            while a.load(&row).await.last_user_seq < 2 {
                tokio::task::yield_now().await;
            }
            b.mind.gate.add_permits(2);
        })
    })
    .await;
    assert_eq!(within(first).await.expect("joins").expect("answers").response.as_deref(), Some("1: one"));
    assert_eq!(second.expect("answers").response.as_deref(), Some("2: two"));
    assert_eq!(a.mind.thoughts.load(std::sync::atomic::Ordering::SeqCst), 0, "B made both");
}

async fn a_take_over_on_another_replica_ends_the_wait(two: Two) {
    let Two { a, b, _folder } = two;
    let row = a.begin().await;
    a.mind.gate.forget_permits(1_000_000);
    let (said, ()) = within(async {
        tokio::join!(a.say(&row, "hello?"), async {
            a.mind.thinking.acquire().await.expect("open").forget();
            b.engine.assign(&b.agent, row.id, None).await.expect("takes over");
        })
    })
    .await;
    assert_eq!(said.expect("is told").response, None);
    a.mind.gate.add_permits(1);
}

async fn customers_may_come_through_any_replica(two: Two) {
    let Two { a, b, _folder } = two;
    let row = a.begin().await;
    let mut watches = [a.watch(&row), b.watch(&row)];
    for n in 0..20 {
        let (rig, text) = (if n % 2 == 0 { &a } else { &b }, format!("m{n}"));
        let seen = rig.engine.glance(&rig.customer, row.id).await.expect("sees");
        let outcome = rig.say(&seen, &text).await.expect("answers");
        assert!(outcome.response.expect("words").ends_with(&text));
    }
    for watch in &mut watches {
        let mut seqs = Vec::new();
        while seqs.len() < 40 {
            if let Signal::Event(event) = within(watch.next()).await.expect("goes on") {
                seqs.push(event.seq);
            }
        }
        assert_eq!(seqs, (1..=40).collect::<Vec<u64>>());
    }
    assert_eq!(a.transcript(&row).await.len(), 40);
}

async fn a_stream_tells_what_happens_on_another_replica(two: Two) {
    let Two { a, b, _folder } = &two;
    let (mut at_a, mut at_b) = (served(a).await, served(b).await);
    let row = a.begin().await;
    b.say(&row, "before").await.expect("answers");
    let (id, user) = (row.id.to_string(), row.user);
    let types = |typing, read_seq| SignalPresenceRequest { conversation_id: id.clone(), typing, read_seq };
    let signal = async {
        at_b.signal_presence(types(true, 0)).await.expect("tells");
        // A seq that is not there yet was not read.
        at_b.signal_presence(types(false, 1000)).await.expect("tells");
    };
    b.mesh.as_user(Role::Customer, b.org, user, signal).await;
    let watch = async {
        let ask = SubscribeRequest { conversation_id: id.clone(), after_seq: Some(0) };
        let mut stream = at_a.subscribe(ask).await.expect("watches").into_inner();
        let mut next =
            async || within(stream.message()).await.expect("goes on").expect("is open").kind.expect("a kind");
        assert!(matches!(next().await, Kind::Joined(c) if c.id == id));
        // Who types and who has read, from before this watcher came.
        assert!(
            matches!(next().await, Kind::Presence(p) if (p.who.as_str(), p.typing, p.read_seq) == ("user", true, 0))
        );
        assert!(
            matches!(next().await, Kind::Presence(p) if (p.who.as_str(), p.typing, p.read_seq) == ("user", false, 2))
        );
        for seq in 1..=2 {
            assert!(matches!(next().await, Kind::Event(e) if e.seq == seq));
        }
        b.say(&row, "after").await.expect("answers");
        let (mut seqs, mut typed) = (vec![], vec![]);
        // The end of the turn before may still be on its way.
        while seqs.len() < 2 || !typed.ends_with(&[true, false]) {
            match next().await {
                Kind::Event(e) => seqs.push(e.seq),
                Kind::Presence(p) if p.who == "ai" => typed.push(p.typing),
                Kind::Presence(p) => panic!("{p:?}"),
                Kind::Joined(_) => panic!("joined twice"),
            }
        }
        assert_eq!(seqs, [3, 4]);
    };
    a.mesh.as_user(Role::Customer, a.org, user, watch).await;
}

#[tokio::test]
async fn the_replicas_are_one_in_memory() {
    a_reply_that_another_replica_makes_reaches_who_waits(Two::in_memory().await).await;
    a_take_over_on_another_replica_ends_the_wait(Two::in_memory().await).await;
    customers_may_come_through_any_replica(Two::in_memory().await).await;
    a_stream_tells_what_happens_on_another_replica(Two::in_memory().await).await;
}

#[tokio::test]
async fn the_replicas_are_one_on_redis() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    a_reply_that_another_replica_makes_reaches_who_waits(Two::on(|| redis.clone()).await).await;
    a_take_over_on_another_replica_ends_the_wait(Two::on(|| redis.clone()).await).await;
    customers_may_come_through_any_replica(Two::on(|| redis.clone()).await).await;
    a_stream_tells_what_happens_on_another_replica(Two::on(|| redis.clone()).await).await;
}

#[tokio::test]
async fn the_replicas_are_one_on_postgres_and_redis() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    servers::with_database(async |database| {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        // Each replica has connections and keys of its own.
        let open = async || {
            let (store, mut condition) = open(&database.ledger(), servers::vault()).await.expect("opens");
            within(condition.until_well()).await;
            store
        };
        let stores = [open().await, open().await];
        let channel = channel();
        let two = async || {
            Two::over(stores.clone(), tempdir().expect("folder"), |store, metrics, shutdown| {
                Shared::among(store, redis.clone(), &channel, &servers::vault(), metrics, shutdown)
            })
            .await
        };
        a_reply_that_another_replica_makes_reaches_who_waits(two().await).await;
        a_take_over_on_another_replica_ends_the_wait(two().await).await;
        customers_may_come_through_any_replica(two().await).await;
        a_stream_tells_what_happens_on_another_replica(two().await).await;
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

/// A watcher on A, and how far it has seen; it insists on every event in order and once.
fn follow(rig: &Rig, row: &Conversation) -> watch::Receiver<u64> {
    let (seen, progress) = watch::channel(0);
    let mut events = rig.watch(row);
    tokio::spawn(async move {
        while let Ok(signal) = events.next().await {
            if let Signal::Event(event) = signal {
                assert_eq!(event.seq, *seen.borrow() + 1);
                seen.send_replace(event.seq);
            }
        }
    });
    progress
}

/// Says something through B, and waits until A's watcher has seen it and its answer.
async fn said_and_seen(two: &Two, row: &Conversation, seen: &mut watch::Receiver<u64>, texts: std::ops::Range<u32>) {
    for n in texts {
        let outcome = two.b.say(row, &format!("m{n}")).await.expect("answers, with Redis or without");
        assert!(outcome.response.is_some());
    }
    let newest = two.b.load(row).await.seq;
    within(seen.wait_for(|seq| *seq >= newest)).await.expect("the watcher goes on");
}

async fn nothing_is_missed_while(server: &mut PrivateRedis, away: bool) -> (Two, Conversation, watch::Receiver<u64>) {
    let url = server.url();
    // Each replica has a Redis client of its own.
    let two = Two::on(|| Redis::open(&url).expect("a good URL")).await;
    let row = two.a.begin().await;
    let mut seen = follow(&two.a, &row);
    said_and_seen(&two, &row, &mut seen, 0..5).await;
    if away {
        server.start().await;
        said_and_seen(&two, &row, &mut seen, 5..10).await;
    }
    (two, row, seen)
}

#[tokio::test]
async fn nothing_is_missed_while_redis_restarts() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let (two, row, mut seen) = nothing_is_missed_while(&mut server, false).await;
    server.stop();
    said_and_seen(&two, &row, &mut seen, 5..10).await;
    server.start().await;
    said_and_seen(&two, &row, &mut seen, 10..15).await;
    assert_eq!(two.a.transcript(&row).await.len(), 30);
}

#[tokio::test]
async fn nothing_is_missed_while_redis_is_paused() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let (two, row, mut seen) = nothing_is_missed_while(&mut server, false).await;
    server.pause();
    said_and_seen(&two, &row, &mut seen, 5..10).await;
    server.resume();
    said_and_seen(&two, &row, &mut seen, 10..15).await;
    assert_eq!(two.a.transcript(&row).await.len(), 30);
}

#[tokio::test]
async fn nothing_is_missed_while_redis_is_not_there_yet() {
    let Some(mut server) = PrivateRedis::new() else { return };
    let (two, row, _) = nothing_is_missed_while(&mut server, true).await;
    let said = two.a.transcript(&row).await;
    assert_eq!(said.iter().filter(|(sender, _)| *sender == Sender::User).count(), 10);
}

#[tokio::test]
async fn restarts_in_the_middle_of_many_turns_lose_and_double_nothing() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let url = server.url();
    let two = Two::on(|| Redis::open(&url).expect("a good URL")).await;
    let row = two.a.begin().await;
    let mut seen = follow(&two.a, &row);
    let write = async |rig: &Rig, name: &str| {
        for n in 0..30 {
            rig.say(&row, &format!("{name}{n}.")).await.expect("answers, with Redis or without");
        }
    };
    let mut half = seen.clone();
    within(async {
        tokio::join!(write(&two.a, "a"), write(&two.b, "b"), async {
            half.wait_for(|seq| *seq >= 10).await.expect("goes on");
            server.stop();
            half.wait_for(|seq| *seq >= 30).await.expect("goes on");
            server.start().await;
            half.wait_for(|seq| *seq >= 50).await.expect("goes on");
            server.pause();
            half.wait_for(|seq| *seq >= 60).await.expect("goes on");
            server.resume();
        })
    })
    .await;
    let newest = two.b.load(&row).await.seq;
    within(seen.wait_for(|seq| *seq >= newest)).await.expect("the watcher goes on");
    let said = two.a.transcript(&row).await;
    let of = |sender| said.iter().filter(move |(s, _)| *s == sender).map(|(_, text)| text);
    assert_eq!(of(Sender::User).count(), 60);
    for text in of(Sender::User) {
        assert_eq!(of(Sender::AiAgent).filter(|reply| reply.contains(text.as_str())).count(), 1, "{text}");
    }
}
