//! The laws of the wire and of the hub, as plain functions; run in memory and on Redis.
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use switchboard_conversation::{
    change::Change,
    hub::{
        Hub, Sign, Signal, Watch, Who,
        memory::MemoryWire,
        redis::RedisWire,
        wire::{Heard, Letter, Note, Wire},
    },
    model::{Conversation, Sender},
    store::{Committed, Store, sqlite::SqliteStore},
};
use switchboard_runtime::{
    Clock, Shutdown,
    redis::{NoAnswer, Redis},
    telemetry::Metrics,
};
use switchboard_testkit::{redis::PrivateRedis, servers};
use tempfile::{TempDir, tempdir};
use uuid::Uuid;

use crate::store::plant::created;

/// Nothing here takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// A wire that fails on demand.
#[derive(Clone)]
struct Frail {
    wire: Arc<dyn Wire>,
    /// Says that it failed.
    refuses: Arc<AtomicBool>,
    /// Notes that were refused so far.
    refused: Arc<AtomicUsize>,
    /// Says that all is well, and sends nothing: the process died before it could.
    swallows: Arc<AtomicBool>,
}

#[async_trait]
impl Wire for Frail {
    async fn send(&self, letter: &Letter) -> Result<(), NoAnswer> {
        if self.refuses.load(Ordering::SeqCst) {
            self.refused.fetch_add(letter.notes.len(), Ordering::SeqCst);
            return Err(NoAnswer::Away);
        }
        if self.swallows.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.wire.send(letter).await
    }

    async fn listen(&self) -> Result<BoxStream<'static, Heard>, NoAnswer> {
        self.wire.listen().await
    }
}

/// One hub among others, over a ledger that all share.
struct Replica {
    hub: Hub,
    store: Arc<dyn Store>,
    wire: Frail,
    shutdown: Shutdown,
}

impl Replica {
    fn new(store: &Arc<dyn Store>, wire: &Arc<dyn Wire>) -> Self {
        let wire =
            Frail { wire: wire.clone(), refuses: Arc::default(), refused: Arc::default(), swallows: Arc::default() };
        let shutdown = Shutdown::new();
        let hub = Hub::among(store.clone(), Arc::new(wire.clone()), &Metrics::default(), shutdown.clone());
        Replica { hub, store: store.clone(), wire, shutdown }
    }

    /// As the engine does it: commits, then tells.
    async fn write(&self, row: &Conversation, text: &str) {
        let clock = Clock::manual(row.created_at);
        loop {
            let before = self.store.load(row.org, row.id).await.expect("reads").expect("is there");
            let mut change = Change::on(&before, &clock);
            let message = change.message(Sender::System, None, text);
            change.say(message);
            let events = change.commit.events.clone();
            if self.store.commit(change.commit).await.expect("answers") == Committed::Done {
                return self.hub.tell(row.org, row.id, events);
            }
            tokio::task::yield_now().await;
        }
    }

    fn watch(&self, row: &Conversation) -> Watch {
        self.hub.watch(row.org, row.id, 0)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Two replicas and a conversation.
struct Pair {
    a: Replica,
    b: Replica,
    row: Conversation,
    _folder: TempDir,
}

impl Pair {
    async fn on(wire: Arc<dyn Wire>) -> Self {
        let folder = tempdir().expect("folder");
        let store = SqliteStore::open(folder.path(), servers::vault()).await.expect("opens");
        let store: Arc<dyn Store> = Arc::new(store);
        let row = created(&*store).await;
        Pair { a: Replica::new(&store, &wire), b: Replica::new(&store, &wire), row, _folder: folder }
    }
}

/// The seqs of events until one, in the order in which they came.
async fn seqs(watch: &mut Watch, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.last() != Some(&last) {
        if let Signal::Event(event) = within(watch.next()).await.expect("goes on") {
            seqs.push(event.seq);
        }
    }
    seqs
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

async fn what_one_replica_writes_the_watchers_of_all_see(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let (mut here, mut there, mut second) = (b.watch(&row), a.watch(&row), a.watch(&row));
    for i in 0..40 {
        b.write(&row, &format!("{i}")).await;
    }
    for watch in [&mut here, &mut there, &mut second] {
        assert_eq!(seqs(watch, 40).await, up_to(40));
    }
}

async fn what_both_write_at_once_comes_in_order_and_once(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let (mut here, mut there) = (a.watch(&row), b.watch(&row));
    let write = async |replica: &Replica| {
        for i in 0..30 {
            replica.write(&row, &format!("{i}")).await;
        }
    };
    tokio::join!(write(&a), write(&b), write(&a), async {
        assert_eq!(seqs(&mut here, 90).await, up_to(90));
    });
    assert_eq!(seqs(&mut there, 90).await, up_to(90));
}

async fn presence_is_seen_once_everywhere_and_costs_no_reading(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let (mut here, mut there) = (a.watch(&row), b.watch(&row));
    // Both listen by now.
    a.write(&row, "1").await;
    assert_eq!((seqs(&mut here, 1).await, seqs(&mut there, 1).await), (vec![1], vec![1]));
    b.write(&row, "2").await;
    assert_eq!((seqs(&mut here, 2).await, seqs(&mut there, 2).await), (vec![2], vec![2]));
    let sign = Sign { who: Who::Human, typing: true, read_seq: 0 };
    a.hub.presence(row.org, row.id, sign);
    // Of another organization: nobody's business here.
    a.hub.presence(Uuid::now_v7(), row.id, sign);
    let first = within(there.next()).await.expect("goes on");
    assert!(matches!(first, Signal::Presence(s) if s == sign), "{first:?}");
    // What is written after it comes after it, and there is nothing between: no echo.
    b.write(&row, "3").await;
    let first = within(here.next()).await.expect("goes on");
    assert!(matches!(first, Signal::Presence(s) if s == sign), "{first:?}");
    for watch in [&mut here, &mut there] {
        let next = within(watch.next()).await.expect("goes on");
        assert!(matches!(&next, Signal::Event(event) if event.seq == 3), "{next:?}");
    }
}

async fn what_could_not_be_told_is_found_when_the_way_is_back(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let mut there = a.watch(&row);
    b.wire.refuses.store(true, Ordering::SeqCst);
    for i in 0..3 {
        b.write(&row, &format!("{i}")).await;
    }
    while b.wire.refused.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    b.wire.refuses.store(false, Ordering::SeqCst);
    // Nothing more is written: the sign of life says that something is missing.
    assert_eq!(seqs(&mut there, 3).await, up_to(3));
}

async fn what_a_replica_took_along_when_it_died_is_found(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let mut there = a.watch(&row);
    b.write(&row, "told").await;
    assert_eq!(seqs(&mut there, 1).await, [1]);
    b.wire.swallows.store(true, Ordering::SeqCst);
    b.write(&row, "committed, and dead before it could tell").await;
    assert_eq!(seqs(&mut there, 2).await, [2]);
}

async fn who_says_what_is_not_so_changes_nothing(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire.clone()).await;
    let mut there = a.watch(&row);
    b.write(&row, "1").await;
    assert_eq!(seqs(&mut there, 1).await, [1]);
    let lie = |org, seq| Note::Committed { org, conversation: row.id, seq };
    let notes = vec![lie(row.org, 1000), lie(Uuid::now_v7(), 2), lie(row.org, 0), Note::Unknown];
    wire.send(&Letter { from: Uuid::new_v4(), lost: 0, notes }).await.expect("is sent");
    for i in 2..10 {
        b.write(&row, &format!("{i}")).await;
    }
    assert_eq!(seqs(&mut there, 9).await, (2..=9).collect::<Vec<_>>());
    // Each of them cost at most one look for what is not there.
    assert!(a.hub.reads() < 20, "{}", a.hub.reads());
}

async fn all_hear_in_order(wire: Arc<dyn Wire>) {
    let mut listeners = vec![within(wire.listen()).await.expect("listens")];
    listeners.push(within(wire.listen()).await.expect("listens"));
    let letter = |lost| Letter { from: Uuid::nil(), lost, notes: vec![Note::Bye] };
    for n in 0..100 {
        wire.send(&letter(n)).await.expect("sends");
    }
    for heard in &mut listeners {
        for n in 0..100 {
            assert_eq!(within(heard.next()).await, Some(Some(letter(n))));
        }
    }
}

async fn what_was_told_before_the_end_goes_out_before_the_farewell(wire: Arc<dyn Wire>) {
    let Pair { a, b, row, _folder } = Pair::on(wire.clone()).await;
    let mut there = a.watch(&row);
    let mut heard = within(wire.listen()).await.expect("listens");
    for i in 0..5 {
        b.write(&row, &format!("{i}")).await;
    }
    b.shutdown.cancel();
    within(b.hub.closed()).await;
    let mut told = 0;
    loop {
        let letter = within(heard.next()).await.expect("goes on").expect("is read");
        told += letter.notes.iter().filter(|note| matches!(note, Note::Committed { .. })).count();
        if letter.notes.contains(&Note::Bye) {
            break;
        }
    }
    assert_eq!(told, 5);
    assert_eq!(seqs(&mut there, 5).await, up_to(5));
    // A turn that nobody waited for ends after the farewell, and the process with it.
    b.write(&row, "late").await;
    assert_eq!(seqs(&mut there, 6).await, [6]);
}

/// All laws that hold on every wire.
async fn suite(wire: &dyn Fn() -> Arc<dyn Wire>) {
    all_hear_in_order(wire()).await;
    what_one_replica_writes_the_watchers_of_all_see(wire()).await;
    what_both_write_at_once_comes_in_order_and_once(wire()).await;
    presence_is_seen_once_everywhere_and_costs_no_reading(wire()).await;
    who_says_what_is_not_so_changes_nothing(wire()).await;
    // Each of these waits for a sign of life.
    tokio::join!(
        what_could_not_be_told_is_found_when_the_way_is_back(wire()),
        what_a_replica_took_along_when_it_died_is_found(wire()),
        what_was_told_before_the_end_goes_out_before_the_farewell(wire()),
    );
}

/// A Redis that answers, however long a busy machine takes for it: what a law says about a Redis that is well must not hang
/// on a tenth of a second.
pub async fn redis_at(url: &str) -> Redis {
    let redis = Redis::patient(&switchboard_runtime::Secret::new(url), PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    redis
}

/// A channel of its own.
pub fn channel() -> String {
    format!("test:{}", Uuid::new_v4())
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    suite(&|| Arc::new(MemoryWire::default())).await;
}

#[tokio::test]
async fn the_laws_hold_on_redis() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    suite(&|| Arc::new(RedisWire::new(redis.clone(), &channel()))).await;
}

#[tokio::test]
async fn a_listener_that_fell_behind_in_memory_hears_the_end() {
    let wire = MemoryWire::default();
    let heard = wire.listen().await.expect("listens");
    for lost in 0..1000 {
        wire.send(&Letter { from: Uuid::nil(), lost, notes: vec![] }).await.expect("sends");
    }
    assert!(within(heard.count()).await < 1000);
}

#[tokio::test]
async fn a_listener_whose_redis_went_away_hears_the_end() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let redis = redis_at(server.url().expose()).await;
    let wire = RedisWire::new(redis, &channel());
    let heard = within(wire.listen()).await.expect("listens");
    server.stop();
    assert_eq!(within(heard.count()).await, 0);
    assert!(within(wire.listen()).await.is_err());
}

#[tokio::test]
async fn a_letter_that_cannot_be_read_is_followed_by_a_look_and_by_the_next() {
    let Some(url) = servers::server("redis") else { return };
    let redis = redis_at(&url).await;
    let channel = channel();
    let wire: Arc<dyn Wire> = Arc::new(RedisWire::new(redis.clone(), &channel));
    let Pair { a, b, row, _folder } = Pair::on(wire).await;
    let mut there = a.watch(&row);
    b.write(&row, "1").await;
    assert_eq!(seqs(&mut there, 1).await, [1]);
    let looked = a.hub.lookups();
    for garbage in [&b"\xff\xfe"[..], b"", b"[]", b"{\"from\":1}"] {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(format!("{channel}:{}", redis.database())).arg(garbage);
        redis.run(async |mut connection| publish.exec_async(&mut connection).await).await.expect("publishes");
    }
    b.write(&row, "2").await;
    assert_eq!(seqs(&mut there, 2).await, [2]);
    within(async {
        while a.hub.lookups() == looked {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Lets virtual time pass, a step at a time, so that everybody does what is due.
async fn pass(seconds: u64) {
    for _ in 0..seconds * 4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn the_ledger_is_left_alone_while_all_is_well_and_asked_while_it_is_not() {
    let Pair { a, b, row: _, _folder } = Pair::on(Arc::new(MemoryWire::default())).await;
    // Nothing is watched: no statement runs, and time may jump.
    tokio::time::pause();
    pass(10).await;
    let begin = a.hub.lookups();
    pass(600).await;
    assert_eq!(a.hub.lookups(), begin, "all is well");
    // A replica that goes says so.
    let (store, wire) = (a.store.clone(), a.wire.wire.clone());
    let third = Replica::new(&store, &wire);
    pass(10).await;
    drop(third);
    pass(100).await;
    let gone = a.hub.lookups() - begin;
    assert!((3..=6).contains(&gone), "who said farewell is dead soon: {gone}");
    let begin = a.hub.lookups();
    // One that falls silent may have committed something: the ledger is asked until that one must be dead.
    b.wire.swallows.store(true, Ordering::SeqCst);
    pass(30).await;
    let during = a.hub.lookups();
    assert!((20..=31).contains(&(during - begin)), "{}", during - begin);
    pass(60).await;
    let after = a.hub.lookups();
    assert!((50..=61).contains(&(after - begin)), "{}", after - begin);
    pass(600).await;
    assert_eq!(a.hub.lookups(), after, "the dead are forgotten");
    // The way is gone for oneself: nothing is heard any more.
    a.wire.refuses.store(true, Ordering::SeqCst);
    pass(30).await;
    assert!(a.hub.lookups() >= after + 20);
    a.wire.refuses.store(false, Ordering::SeqCst);
    pass(5).await;
    let well = a.hub.lookups();
    pass(600).await;
    assert_eq!(a.hub.lookups(), well, "all is well again");
}

#[tokio::test]
async fn a_room_is_gone_with_its_last_watcher() {
    let Pair { a, b: _b, row, _folder } = Pair::on(Arc::new(MemoryWire::default())).await;
    let (one, two) = (a.watch(&row), a.watch(&row));
    drop(one);
    a.write(&row, "1").await;
    drop(two);
    // A new room begins where its first watcher says, and not where the old one was.
    let mut late = a.watch(&row);
    late.look();
    assert_eq!(seqs(&mut late, 1).await, [1]);
}
