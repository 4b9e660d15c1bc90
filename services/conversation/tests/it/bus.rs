//! The laws of the bus and of its relay, as plain functions over the port; run on every adapter.
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use switchboard_conversation::{
    bus::{Bus, NotTaken, Record, memory::MemoryBus},
    model::Conversation,
    outbox::Sink,
    relay::Relay,
    shared::Shared,
    store::{MIGRATIONS, open},
};
use switchboard_proto::{convert, events::v1 as ev};
use switchboard_runtime::Clock;
use switchboard_testkit::servers::{self, Database, with_database};
use tempfile::tempdir;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use crate::rig::Rig;

mod facts;
#[cfg(feature = "kafka")]
mod kafka;

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// What a program outside reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub payload: Vec<u8>,
}

/// A program outside.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next record.
    async fn next(&mut self) -> Heard;
}

impl Heard {
    pub fn fact(&self) -> ev::ConversationFact {
        ev::ConversationFact::decode(self.payload.as_slice()).expect("a fact")
    }
}

pub fn written(record: &Record) -> Heard {
    Heard {
        key: record.key(),
        headers: record.headers().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        payload: record.payload.clone(),
    }
}

#[async_trait]
impl Consumer for tokio::sync::broadcast::Receiver<Arc<Record>> {
    async fn next(&mut self) -> Heard {
        written(&self.recv().await.expect("a record"))
    }
}

pub async fn heard(consumer: &mut dyn Consumer, count: usize) -> Vec<Heard> {
    let all = async {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            all.push(consumer.next().await);
        }
        all
    };
    timeout(SOON, all).await.expect("they come")
}

/// Events of some conversations, mixed, each conversation's in order.
pub fn mixed(conversations: usize, events: u64) -> Vec<Record> {
    let all: Vec<Conversation> = (0..conversations).map(|_| facts::row(Uuid::now_v7(), Uuid::now_v7())).collect();
    (1..=events).flat_map(|seq| all.iter().map(move |row| facts::status(row, seq))).collect()
}

async fn records_arrive_whole(bus: &dyn Bus, consumer: &mut dyn Consumer) {
    let records = mixed(2, 2);
    bus.publish(&records).await.expect("publishes");
    for heard in heard(consumer, records.len()).await {
        let record = records.iter().find(|r| r.id.to_string() == heard.headers["ce_id"]).expect("ours");
        assert_eq!(heard, written(record));
        let fact = heard.fact();
        assert_eq!(heard.key, fact.conversation_id);
        let time: Timestamp = heard.headers["ce_time"].parse().expect("RFC 3339");
        assert_eq!(fact.time, Some(convert::timestamp(time)));
        let expected = BTreeMap::from([
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", fact.id),
            ("ce_type", "switchboard.conversation.status_changed".to_owned()),
            ("ce_source", format!("/organizations/{}", fact.organization_id)),
            ("ce_subject", fact.conversation_id),
            ("ce_time", time.to_string()),
            ("content-type", "application/protobuf".to_owned()),
        ]);
        assert_eq!(heard.headers, expected.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    }
}

async fn a_conversation_keeps_its_order(bus: &dyn Bus, consumer: &mut dyn Consumer) {
    let records = mixed(20, 50);
    for part in records.chunks(300) {
        bus.publish(part).await.expect("publishes");
    }
    let mut last: HashMap<String, u64> = HashMap::new();
    for heard in heard(consumer, records.len()).await {
        let newest = last.entry(heard.key.clone()).or_default();
        assert_eq!(heard.fact().seq, *newest + 1, "in order");
        *newest += 1;
    }
    assert_eq!(last.len(), 20);
}

async fn a_repetition_is_the_same(bus: &dyn Bus, consumer: &mut dyn Consumer) {
    let records = mixed(1, 3);
    bus.publish(&records).await.expect("publishes");
    bus.publish(&records).await.expect("publishes");
    let (first, again) = (heard(consumer, 3).await, heard(consumer, 3).await);
    assert_eq!(first, again);
}

async fn nothing_is_nothing(bus: &dyn Bus) {
    bus.publish(&[]).await.expect("publishes");
}

pub async fn suite(bus: &dyn Bus, consumer: &mut dyn Consumer) {
    records_arrive_whole(bus, consumer).await;
    a_conversation_keeps_its_order(bus, consumer).await;
    a_repetition_is_the_same(bus, consumer).await;
    nothing_is_nothing(bus).await;
}

#[tokio::test]
async fn memory_keeps_the_laws() {
    let bus = MemoryBus::default();
    nothing_is_nothing(&bus).await;
    bus.publish(&mixed(1, 1)).await.expect("nobody listens: that is no failure");
    let mut consumer = bus.listen();
    suite(&bus, &mut consumer).await;
}

/// What happens to a delivery.
pub enum Fate {
    /// It arrives, and the answer is lost.
    AnswerLost,
    /// A beginning arrives.
    Half,
    /// Nothing arrives.
    Refused,
    /// It arrives, and whoever sent it dies before it hears of that.
    Death,
}

/// A bus with failures before those that it has itself.
pub struct Unlucky {
    pub bus: Arc<dyn Bus>,
    pub fates: Mutex<VecDeque<Fate>>,
    /// Told when somebody is about to die.
    pub death: Notify,
}

impl Unlucky {
    pub fn new(bus: Arc<dyn Bus>, fates: impl IntoIterator<Item = Fate>) -> Self {
        Unlucky { bus, fates: Mutex::new(fates.into_iter().collect()), death: Notify::new() }
    }
}

#[async_trait]
impl Bus for Unlucky {
    async fn publish(&self, records: &[Record]) -> Result<(), NotTaken> {
        let fate = self.fates.lock().expect("lock").pop_front();
        match fate {
            None => return self.bus.publish(records).await,
            Some(Fate::AnswerLost) => self.bus.publish(records).await?,
            Some(Fate::Half) => self.bus.publish(&records[..records.len() / 2]).await?,
            Some(Fate::Refused) => {}
            Some(Fate::Death) => {
                self.bus.publish(records).await?;
                self.death.notify_one();
                std::future::pending::<()>().await;
            }
        }
        Err(NotTaken("scripted".into()))
    }
}

/// A relay of another replica over the rig's ledger.
pub fn relay(rig: &Rig, bus: Arc<dyn Bus>) -> Relay {
    let relay = &rig.engine.relay;
    Relay::new(relay.store.clone(), bus, relay.sessions.clone(), relay.keep, &rig.engine.clock)
}

pub async fn waiting(rig: &Rig) -> u64 {
    rig.engine.store.backlog(Sink::Bus).await.expect("reads").rows
}

/// Counts what it was not told before, as a program does whose effects shall happen once.
#[derive(Default)]
pub struct Effects {
    seen: HashSet<String>,
    pub newest: BTreeMap<String, u64>,
    pub repeated: usize,
}

impl Effects {
    pub fn apply(&mut self, heard: &Heard) {
        if !self.seen.insert(heard.headers["ce_id"].clone()) {
            self.repeated += 1;
            return;
        }
        let newest = self.newest.entry(heard.key.clone()).or_default();
        assert_eq!(heard.fact().seq, *newest + 1, "the first appearances come in order");
        *newest += 1;
    }

    /// Reads until all of a rig's conversations are as far as the ledger.
    pub async fn until(&mut self, consumer: &mut dyn Consumer, wanted: &BTreeMap<String, u64>) {
        let all = async {
            while self.newest != *wanted {
                self.apply(&consumer.next().await);
            }
        };
        let came = timeout(SOON, all).await;
        assert!(came.is_ok(), "{:?} came of {wanted:?}", self.newest);
    }
}

/// Talks in some conversations; each one's newest seq.
pub async fn talk(rig: &Rig, conversations: usize, words: usize) -> BTreeMap<String, u64> {
    let mut newest = BTreeMap::new();
    for _ in 0..conversations {
        let row = rig.begin().await;
        for word in 0..words {
            rig.say(&row, &format!("word {word}")).await.expect("answers");
        }
        newest.insert(row.id.to_string(), rig.load(&row).await.seq);
    }
    newest
}

/// Crashes and lost answers: each fact takes effect once, in order, and none is lost.
pub async fn effects_happen_once(rig: &Rig, bus: Arc<dyn Bus>, consumer: &mut dyn Consumer) {
    let mut wanted = talk(rig, 5, 4).await;
    let unlucky = Arc::new(Unlucky::new(
        bus,
        [Fate::Refused, Fate::Half, Fate::AnswerLost, Fate::Death, Fate::Half, Fate::AnswerLost],
    ));
    let first = Arc::new(relay(rig, unlucky.clone()));
    for _ in 0..3 {
        first.carry(Sink::Bus).await.expect("a bus that is down is no error");
        assert_eq!(waiting(rig).await, 40);
    }
    // The next one dies between publishing and forgetting; its lease runs out, and another replica goes on.
    let dying = tokio::spawn({
        let first = first.clone();
        async move { first.carry(Sink::Bus).await }
    });
    timeout(SOON, unlucky.death.notified()).await.expect("publishes");
    dying.abort();
    wanted.extend(talk(rig, 2, 3).await);
    let second = relay(rig, unlucky.clone());
    second.carry(Sink::Bus).await.expect("leaves it alone");
    assert_eq!((waiting(rig).await, unlucky.fates.lock().expect("lock").len()), (52, 2), "one relay at a time");
    rig.engine.clock.advance(SignedDuration::from_secs(31));
    for left in [52, 52, 0] {
        second.carry(Sink::Bus).await.expect("carries");
        assert_eq!(waiting(rig).await, left);
    }
    assert_eq!(second.figures.published.get(), 52);
    let mut effects = Effects::default();
    effects.until(consumer, &wanted).await;
    assert!(effects.repeated >= 40, "there were repetitions: {}", effects.repeated);
}

#[tokio::test]
async fn effects_happen_once_over_memory() {
    let folder = tempdir().expect("folder");
    let bus = Arc::new(MemoryBus::default());
    let mut consumer = bus.listen();
    effects_happen_once(&Rig::start(folder.path()).await, bus, &mut consumer).await;
}

#[tokio::test]
async fn effects_happen_once_from_postgres() {
    with_database(async |database| {
        let folder = tempdir().expect("folder");
        let bus = Arc::new(MemoryBus::default());
        let mut consumer = bus.listen();
        effects_happen_once(&on(&database, folder.path()).await, bus, &mut consumer).await;
    })
    .await;
}

/// A replica over a ledger in PostgreSQL.
pub async fn on(database: &Database, folder: &Path) -> Rig {
    MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
    let (store, mut condition) = open(&database.ledger(), servers::vault()).await.expect("opens");
    timeout(SOON, condition.until_well()).await.expect("PostgreSQL answers");
    let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
    Rig::over(store, folder, clock, Arc::default(), Uuid::now_v7(), |s, metrics, _| Shared::alone(s, metrics)).await
}

#[tokio::test]
async fn a_bus_that_is_down_blocks_no_turn_and_its_backlog_is_measured() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let bus = Arc::new(MemoryBus::default());
    let mut consumer = bus.listen();
    let down = (0..100).map(|_| Fate::Refused);
    let unlucky = Arc::new(Unlucky::new(bus, down));
    let relay = relay(&rig, unlucky.clone());
    let wanted = talk(&rig, 3, 2).await;
    relay.carry(Sink::Bus).await.expect("is down");
    rig.engine.clock.advance(SignedDuration::from_secs(60));
    relay.measure().await.expect("measures");
    let mut registry = prometheus_client::registry::Registry::with_prefix("switchboard");
    relay.figures.register(&mut registry);
    let page = |registry: &prometheus_client::registry::Registry| {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, registry).expect("encodes");
        page
    };
    let text = page(&registry);
    assert!(text.contains("switchboard_outbox_backlog{sink=\"bus\"} 12\n"), "{text}");
    assert!(text.contains("switchboard_outbox_oldest_seconds{sink=\"bus\"} 60\n"), "{text}");
    assert!(text.contains("switchboard_events_published_total 0\n"), "{text}");
    unlucky.fates.lock().expect("lock").clear();
    relay.carry(Sink::Bus).await.expect("is back");
    relay.measure().await.expect("measures");
    let text = page(&registry);
    assert!(text.contains("switchboard_outbox_backlog{sink=\"bus\"} 0\n"), "{text}");
    assert!(text.contains("switchboard_outbox_oldest_seconds{sink=\"bus\"} 0\n"), "{text}");
    assert!(text.contains("switchboard_events_published_total 12\n"), "{text}");
    Effects::default().until(&mut consumer, &wanted).await;
}

#[tokio::test]
async fn a_relay_that_ends_lets_another_go_on_at_once() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let bus = Arc::new(MemoryBus::default());
    let (first, second) = (relay(&rig, bus.clone()), relay(&rig, bus));
    talk(&rig, 1, 1).await;
    first.carry(Sink::Bus).await.expect("carries");
    talk(&rig, 1, 1).await;
    second.carry(Sink::Bus).await.expect("leaves it alone");
    assert_eq!(waiting(&rig).await, 2);
    first.release().await;
    second.carry(Sink::Bus).await.expect("carries");
    assert_eq!(waiting(&rig).await, 0);
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_build_without_kafka_says_so_before_anything_starts() {
    use switchboard_conversation::{bus::At, config::KEYS};
    use switchboard_runtime::{Settings, stores};
    let flags = [("stores.bus", "kafka://somewhere:1".to_owned())];
    let settings = Settings::load(&[stores::KEYS, KEYS], None, [], &flags).expect("loads");
    let why = At::read(&settings).expect_err("refused").to_string();
    assert!(why.contains("`stores.bus` = `kafka://somewhere:1`") && why.contains("--features kafka"), "{why}");
}

#[test]
fn a_fact_that_cannot_be_read_is_refused() {
    for broken in [vec![], vec![0xff; 9], ev::ConversationFact::default().encode_to_vec()] {
        Record::read(broken).expect_err("refused");
    }
    let row = facts::row(Uuid::now_v7(), Uuid::now_v7());
    let record = facts::status(&row, 1);
    assert_eq!(Record::read(record.payload.clone()).expect("reads"), record);
}
