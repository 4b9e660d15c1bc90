//! The bus: tells programs outside what happened in conversations.
//!
//! In: facts from the outbox, in their order. Out: the same as CloudEvents, on a topic or to listeners of this process.
//! Never: a word of a person; a turn that waits for it; the truth: whoever needs that reads the API.
//!
//! Laws, each a function of the contract suite:
//! 1. What was confirmed is there for every consumer; what was not is given again.
//! 2. A record keeps id, key, attributes and bytes over all repetitions.
//! 3. The first appearances of a conversation's records come in the order of their seqs, whatever failed in between.
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_runtime::{
    Settings, SettingsError,
    stores::{self, Choice},
};

pub mod fact;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;

pub use fact::Record;

/// The topic's default name: the version is that of the protobuf package.
pub const TOPIC: &str = "switchboard.conversation-events.v1";
/// The longest name that Kafka takes.
const MAX_TOPIC: usize = 249;
/// Where Kafka listens unless told otherwise.
const KAFKA_PORT: u16 = 9092;

/// Publishes.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes records in the order given, and returns when all of them are kept. After an error any beginning of each
    /// conversation's part may be there already: the caller gives all of it again.
    async fn publish(&self, records: &[Record]) -> Result<(), NotTaken>;
}

/// Why records were not confirmed, in one line for an operator.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NotTaken(pub String);

/// Where events are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// To listeners of this process.
    Here,
    /// On a topic of Kafka.
    Kafka {
        /// `HOST:PORT`, separated by commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
}

impl At {
    /// Reads the choice. A build without the client refuses Kafka here, before anything starts.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let Choice::Server(url) = stores::choice(settings, "stores.bus", "memory", &["kafka"])? else {
            return Ok(At::Here);
        };
        let wrong = |name: &str, value: &str, why: &str| Err(settings.wrong(name, value, "settings", &why));
        if cfg!(not(feature = "kafka")) {
            let why = "this build has no Kafka client; build with `--features kafka`, or take a released binary";
            return wrong("stores.bus", url.expose(), why);
        }
        let topic = settings.text("conversation.bus_topic");
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.is_empty() || topic.len() > MAX_TOPIC || !topic.chars().all(allowed) {
            return wrong("conversation.bus_topic", &topic, "write letters, digits, dots, hyphens and underscores");
        }
        match brokers(url.expose()) {
            Some(brokers) => Ok(At::Kafka { brokers, topic }),
            None => wrong(
                "stores.bus",
                url.expose(),
                "write kafka://HOST:PORT, or several HOST:PORT with commas between them",
            ),
        }
    }

    /// Opens it. A broker that is not there yet is waited for by whoever publishes.
    pub fn open(&self) -> Arc<dyn Bus> {
        match self {
            At::Here => Arc::new(memory::MemoryBus::default()),
            #[cfg(feature = "kafka")]
            At::Kafka { brokers, topic } => Arc::new(kafka::KafkaBus::new(brokers, topic)),
            #[cfg(not(feature = "kafka"))]
            At::Kafka { .. } => unreachable!("refused by At::read"),
        }
    }
}

/// `kafka://a,b:1` as `a:9092,b:1`. Nothing else may be in it: a password would be ignored without a word.
fn brokers(url: &str) -> Option<String> {
    let hosts = url.strip_prefix("kafka://")?.trim_end_matches('/').split(',');
    let hosts: Option<Vec<String>> = hosts.map(broker).collect();
    Some(hosts?.join(","))
}

fn broker(place: &str) -> Option<String> {
    let url = url::Url::parse(&format!("kafka://{place}")).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.path().is_empty() && url.query().is_none();
    let host = url.host_str().filter(|host| !host.is_empty() && plain)?;
    Some(format!("{host}:{}", url.port().unwrap_or(KAFKA_PORT)))
}
