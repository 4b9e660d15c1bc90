//! The bus on Kafka: on a real broker, and on a scripted one that goes down in the middle.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _, StreamConsumer},
    message::Headers as _,
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use switchboard_conversation::{
    bus::{At, Bus as _, NotTaken, kafka::KafkaBus},
    outbox::Sink,
};
use switchboard_runtime::{Settings, stores};
use switchboard_testkit::{cluster::Door, servers};
use tempfile::tempdir;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Consumer, Effects, Heard, SOON, effects_happen_once, heard, mixed, relay, suite, talk, waiting};
use crate::rig::Rig;

/// A port of this machine where nobody listens.
const NOWHERE: u16 = 1;

/// A topic of a broker, thrown away with the test.
struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    fn on(brokers: &str) -> Self {
        Topic { brokers: brokers.to_owned(), name: format!("switchboard.test-{}.v1", Uuid::new_v4()) }
    }

    /// On the real broker, if there is one.
    fn real() -> Option<Self> {
        Some(Topic::on(servers::server("kafka")?.strip_prefix("kafka://").expect("its scheme")))
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(&self.brokers, &self.name)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "test").set("enable.auto.commit", "false");
        config
    }

    async fn partitions(&self) -> i32 {
        let (config, name) = (self.config(), self.name.clone());
        let look = move || {
            let consumer: BaseConsumer = config.create().expect("a consumer");
            let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(20)).expect("answers");
            i32::try_from(metadata.topics()[0].partitions().len()).expect("few")
        };
        tokio::task::spawn_blocking(look).await.expect("looks")
    }

    /// Reads all of it, from its beginning.
    async fn consumer(&self) -> Reader {
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions().await {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).expect("a partition");
        }
        let consumer: StreamConsumer = self.config().create().expect("a consumer");
        consumer.assign(&all).expect("assigns");
        Reader(consumer)
    }

    async fn delete(self) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin");
        admin.delete_topics(&[&self.name], &AdminOptions::new()).await.expect("deletes");
    }
}

struct Reader(StreamConsumer);

#[async_trait]
impl Consumer for Reader {
    async fn next(&mut self) -> Heard {
        let message = self.0.recv().await.expect("a record");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let headers: BTreeMap<String, String> = message
            .headers()
            .expect("headers")
            .iter()
            .map(|header| (header.key.to_owned(), text(header.value.expect("a value"))))
            .collect();
        Heard {
            key: text(message.key().expect("a key")),
            headers,
            payload: message.payload().expect("a payload").to_vec(),
        }
    }
}

#[tokio::test]
async fn kafka_keeps_the_laws() {
    let Some(topic) = Topic::real() else { return };
    let bus = topic.bus();
    bus.publish(&[]).await.expect("makes the topic");
    assert_eq!(topic.partitions().await, 12, "the topic was made as documented, not by the broker's default");
    suite(&bus, &mut topic.consumer().await).await;
    // Another process finds the topic there.
    topic.bus().publish(&mixed(1, 1)).await.expect("publishes");
    topic.delete().await;
}

#[tokio::test]
async fn effects_happen_once_over_kafka() {
    let Some(topic) = Topic::real() else { return };
    let bus = Arc::new(topic.bus());
    bus.publish(&[]).await.expect("makes the topic");
    let folder = tempdir().expect("folder");
    effects_happen_once(&Rig::start(folder.path()).await, bus, &mut topic.consumer().await).await;
    topic.delete().await;
}

#[tokio::test]
async fn a_broker_that_is_absent_at_the_start_is_waited_for() {
    let Some(topic) = Topic::real() else { return };
    let real: u16 = topic.brokers.rsplit_once(':').expect("a port").1.parse().expect("a port");
    let door = Door::to(NOWHERE).await;
    let bus = Arc::new(KafkaBus::new(&format!("127.0.0.1:{}", door.port), &topic.name));
    let why = bus.publish(&mixed(1, 1)).await.expect_err("nobody is there").to_string();
    assert!(why.contains(&format!("Kafka at 127.0.0.1:{}", door.port)), "{why}");
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let relay = relay(&rig, bus);
    let mut wanted = talk(&rig, 2, 3).await;
    relay.carry(Sink::Bus).await.expect("is down");
    assert_eq!(waiting(&rig).await, 12);
    wanted.extend(talk(&rig, 1, 1).await);
    door.lead_to(real);
    relay.carry(Sink::Bus).await.expect("is back");
    assert_eq!(waiting(&rig).await, 0);
    let mut effects = Effects::default();
    effects.until(&mut topic.consumer().await, &wanted).await;
    topic.delete().await;
}

/// The broker goes down while records are on their way, longer than one attempt lasts, and comes back.
#[tokio::test]
async fn a_broker_that_goes_down_in_the_middle_loses_nothing_and_keeps_the_order() {
    let cluster = MockCluster::new(1).expect("a scripted broker");
    let topic = Topic::on(&cluster.bootstrap_servers());
    cluster.create_topic(&topic.name, 4, 1).expect("a topic");
    let bus = Arc::new(topic.bus().patient(Duration::from_secs(2)));
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let relay = Arc::new(relay(&rig, bus));
    let mut wanted = talk(&rig, 3, 3).await;
    relay.carry(Sink::Bus).await.expect("carries");
    assert_eq!(waiting(&rig).await, 0);
    cluster.broker_down(1).expect("goes down");
    for round in 1..=2 {
        wanted.extend(talk(&rig, 2, 2).await);
        relay.carry(Sink::Bus).await.expect("is down");
        assert_eq!(waiting(&rig).await, round * 8, "turns go on");
    }
    // This attempt begins while the broker is down and ends when it is back.
    let carried = tokio::spawn({
        let relay = relay.clone();
        async move { relay.carry(Sink::Bus).await }
    });
    cluster.broker_up(1).expect("comes back");
    carried.await.expect("runs").expect("carries");
    while waiting(&rig).await > 0 {
        relay.carry(Sink::Bus).await.expect("carries");
    }
    Effects::default().until(&mut topic.consumer().await, &wanted).await;
}

/// Requests fail while others are on their way behind them.
#[tokio::test]
async fn a_request_that_fails_is_not_overtaken() {
    let cluster = MockCluster::new(1).expect("a scripted broker");
    let topic = Topic::on(&cluster.bootstrap_servers());
    cluster.create_topic(&topic.name, 2, 1).expect("a topic");
    let bus = topic.bus().with("batch.num.messages", "5");
    bus.publish(&mixed(1, 1)).await.expect("publishes");
    let fails = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR];
    cluster.request_errors(RDKafkaApiKey::Produce, &fails.repeat(10));
    let records = mixed(6, 100);
    bus.publish(&records).await.expect("publishes");
    let mut effects = Effects::default();
    heard(&mut topic.consumer().await, records.len() + 1).await.iter().for_each(|heard| effects.apply(heard));
    assert_eq!((effects.repeated, effects.newest.len()), (0, 7));
}

/// A broker that takes connections and says nothing, as one that hangs does.
#[tokio::test]
async fn a_broker_that_hangs_is_given_up_for_now() {
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let brokers = hole.local_addr().expect("an address").to_string();
    let bus = Topic::on(&brokers).bus().patient(Duration::from_secs(1));
    let NotTaken(why) = timeout(SOON, bus.publish(&mixed(1, 1))).await.expect("ends").expect_err("nobody answers");
    assert!(why.contains(&brokers), "{why}");
}

#[tokio::test]
async fn two_relays_at_once_repeat_and_never_mix_the_order() {
    let Some(topic) = Topic::real() else { return };
    let (a, b) = (topic.bus(), topic.bus());
    a.publish(&[]).await.expect("makes the topic");
    let mut consumer = topic.consumer().await;
    let records = mixed(4, 100);
    // One was paused, lost its lease and wakes up while the other goes on.
    let (first, second) = tokio::join!(a.publish(&records), b.publish(&records));
    first.and(second).expect("publish");
    let mut effects = Effects::default();
    heard(&mut consumer, records.len() * 2).await.iter().for_each(|heard| effects.apply(heard));
    assert_eq!((effects.repeated, effects.newest.len()), (records.len(), 4));
    topic.delete().await;
}

#[test]
fn the_url_names_brokers_and_nothing_else() {
    let read = |url: &str, topic: &str| {
        let flags = [("stores.bus", url.to_owned()), ("conversation.bus_topic", topic.to_owned())];
        At::read(
            &Settings::load(&[stores::KEYS, switchboard_conversation::config::KEYS], None, [], &flags).expect("loads"),
        )
    };
    let kafka = |brokers: &str| At::Kafka { brokers: brokers.into(), topic: "t.v1".into() };
    assert_eq!(read("memory", "t.v1"), Ok(At::Here));
    assert_eq!(read("kafka://a:1", "t.v1"), Ok(kafka("a:1")));
    assert_eq!(read("kafka://a", "t.v1"), Ok(kafka("a:9092")));
    assert_eq!(read("kafka://a:1,b.example,[::1]:3/", "t.v1"), Ok(kafka("a:1,b.example:9092,[::1]:3")));
    for (url, topic) in [
        ("kafka://", "t.v1"),
        ("kafka://a,,b:1", "t.v1"),
        ("kafka://a:1/topic", "t.v1"),
        ("kafka://a:1?acks=0", "t.v1"),
        ("kafka://a:99999", "t.v1"),
        ("kafka://u:hunter2@a:1", "t.v1"),
        ("http://a:1", "t.v1"),
        ("kafka://a:1", ""),
        ("kafka://a:1", "a b"),
    ] {
        let why = read(url, topic).expect_err(url).to_string();
        assert!(why.contains("write ") && !why.contains("hunter2"), "{why}");
    }
}
