//! The bus on Kafka.
//!
//! In: records. Out: the same on a topic, keyed by conversation, acknowledged by all in-sync replicas. Never: a gap: a record
//! is confirmed only after all before it, and one that fails takes its producer with it.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use super::{Bus, NotTaken, Record};

/// How long records may wait for their confirmation: longer than the election of a new leader takes.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long a broker may take to say which topics it has, or to make ours.
const LOOK: Duration = Duration::from_secs(5);
/// Partitions of a topic that is made here: consumers of one group work in parallel up to this many. It cannot be changed later
/// without mixing up the order of conversations that go on meanwhile.
const PARTITIONS: i32 = 12;
/// The broker's own default; needs Kafka 2.4.
const REPLICATION: TopicReplication<'_> = TopicReplication::Fixed(-1);

/// A topic and, while all goes well, a producer for it.
pub struct KafkaBus {
    config: ClientConfig,
    brokers: String,
    topic: String,
    patience: Duration,
    producer: tokio::sync::Mutex<Option<Producer>>,
}

type Client = FutureProducer<Listening>;

struct Producer {
    client: Ending<Client>,
    heard: Listening,
}

/// What the client said last.
#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Option<String>>>);

impl ClientContext for Listening {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl Listening {
    /// In parentheses, for the end of a message.
    fn last(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map(|reason| format!(" ({reason})")).unwrap_or_default()
    }
}

impl KafkaBus {
    /// For a topic of the cluster with these brokers. Nothing is connected yet.
    pub fn new(brokers: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "switchboard-conversation")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Records never run out by themselves: one that did, between two that did not, would be a gap. The whole attempt
            // is given up instead.
            .set("message.timeout.ms", "0")
            // As Java clients do it, so that topics written by both can be joined.
            .set("partitioner", "murmur2_random")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false");
        KafkaBus {
            config,
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            patience: CONFIRM,
            producer: Default::default(),
        }
    }

    /// With another time to wait for confirmations.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        KafkaBus { patience, ..self }
    }

    /// With another option of the client, in the words of librdkafka.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.config.set(option, value);
        self
    }

    async fn start(&self) -> Result<Producer, NotTaken> {
        let heard = Listening::default();
        let failed = |e: KafkaError| NotTaken(format!("Kafka at {}: {e}{}", self.brokers, heard.last()));
        self.make_topic(&heard).await?;
        let client: Client = self.config.create_with_context(heard.clone()).map_err(failed)?;
        Ok(Producer { client: Ending::of(client), heard })
    }

    /// Makes the topic if it is not there. Who may not make topics needs it made before.
    async fn make_topic(&self, heard: &Listening) -> Result<(), NotTaken> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "switchboard-conversation");
        let failed = |e: KafkaError| NotTaken(format!("Kafka at {}: {e}{}", self.brokers, heard.last()));
        let admin: AdminClient<Listening> = config.create_with_context(heard.clone()).map_err(failed)?;
        let (topic, patience) = (self.topic.clone(), LOOK.min(self.patience));
        let look = tokio::task::spawn_blocking(move || {
            // Asked for by name, a broker may make it as it likes.
            let there = admin.inner().fetch_metadata(None, patience);
            (there.map(|all| all.topics().iter().any(|t| t.name() == topic)), admin)
        });
        let (there, admin) = look.await.map_err(|e| NotTaken(e.to_string()))?;
        let admin = Ending::of(admin);
        if there.map_err(failed)? {
            return Ok(());
        }
        let topic = NewTopic::new(&self.topic, PARTITIONS, REPLICATION);
        let options = AdminOptions::new().request_timeout(Some(patience));
        match admin.create_topics([&topic], &options).await.map_err(failed)?.pop() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, why))) => Err(NotTaken(format!(
                "Kafka at {} has no topic {} and does not let it be made ({why}); make it with {PARTITIONS} partitions",
                self.brokers, self.topic
            ))),
        }
    }

    async fn send(&self, client: &Client, records: &[Record]) -> Result<(), String> {
        let mut waiting = Vec::with_capacity(records.len());
        for record in records {
            let key = record.key();
            let headers = record.headers();
            let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
            let out = FutureRecord::to(&self.topic).key(&key).payload(&record.payload).headers(headers);
            waiting.push(client.send_result(out).map_err(|(e, _)| e.to_string())?);
        }
        for confirmed in waiting {
            match confirmed.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error.to_string()),
                Err(_) => return Err("the producer ended".to_owned()),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publish(&self, records: &[Record]) -> Result<(), NotTaken> {
        let mut slot = self.producer.lock().await;
        // Out of its slot: given back only if all went well. A new one sends nothing of what an old one still had.
        let producer = match slot.take() {
            Some(producer) => producer,
            None => self.start().await?,
        };
        let why = match tokio::time::timeout(self.patience, self.send(&producer.client, records)).await {
            Ok(Ok(())) => {
                *slot = Some(producer);
                return Ok(());
            }
            Ok(Err(why)) => why,
            Err(_) => format!("no confirmation within {} s", self.patience.as_secs()),
        };
        Err(NotTaken(format!("Kafka at {}, topic {}: {why}{}", self.brokers, self.topic, producer.heard.last())))
    }
}

/// A client whose end gives up what it has not sent, and joins a thread: not on a worker of the runtime, if there is one left.
struct Ending<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Ending<T> {
    fn of(client: T) -> Self {
        Ending(Some(client))
    }
}

impl<T: Send + 'static> std::ops::Deref for Ending<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Ending<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
            Err(_) => drop(client),
        }
    }
}
