//! The settings of conversation.
//!
//! In: settings. Out: typed values. Never: a default without its reason.
use std::time::Duration;

use switchboard_runtime::{
    Key, Settings, SettingsError,
    stores::{self, Choice, Ledger},
    vault::Vault,
};

use crate::{bus, sessions};

/// The documented settings.
pub const KEYS: &[Key] = &[
    Key::new(
        "conversation.turn_lease",
        "duration",
        "20s",
        "How long a turn may run before another process may take it up: longer than the edge's deadline for a turn.",
    ),
    Key::new(
        "conversation.reopen_window",
        "duration",
        "7d",
        "A customer who writes within this time reopens the same matter.",
    ),
    Key::new(
        "edge.public_url",
        "URL",
        "",
        "Where customers reach the edge, for links in mails; empty: the address it listens on.",
    ),
    Key::new(
        "conversation.idle_after",
        "duration",
        "24h",
        "An open conversation without a word for this long is closed.",
    ),
    Key::new(
        "conversation.action_wait",
        "duration",
        "1500ms",
        "How long a reply waits for an action; a slower one is told about when it is done.",
    ),
    Key::new(
        "conversation.bus_topic",
        "text",
        bus::TOPIC,
        "The Kafka topic of conversation events. Made if it is not there, with 12 partitions; make it before for others.",
    ),
    Key::new(
        "conversation.capsule_retention",
        "duration",
        "30d",
        "How long session snapshots and turn capsules are kept, so that turns can be replayed; 0s: none are.",
    ),
];

/// The settings in effect.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the ledger is.
    pub ledger: Ledger,
    /// What people's keys are wrapped by.
    pub vault: Vault,
    /// Where rows, presence and fan-out are.
    pub cache: Choice,
    /// How long a turn may run.
    pub turn_lease: Duration,
    /// How long a matter can be reopened.
    pub reopen_window: Duration,
    /// When an open conversation is idle.
    pub idle_after: Duration,
    /// Where customers reach the edge.
    pub public_url: String,
    /// How long a reply waits for an action.
    pub action_wait: Duration,
    /// Where events are published.
    pub bus: bus::At,
    /// Where session documents are kept.
    pub sessions: sessions::At,
    /// How long session documents are kept.
    pub capsule_retention: Duration,
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let ledger = Ledger::read(settings)?;
        // Embedded sessions are beside an embedded ledger; PostgreSQL has no folder.
        let folder = match &ledger {
            Ledger::Sqlite(folder) => folder.clone(),
            Ledger::Postgres(_) => settings.text("data").into(),
        };
        Ok(Config {
            vault: Vault::read(settings, &ledger)?,
            ledger,
            cache: stores::choice(settings, "stores.cache", "memory", &["redis", "rediss"])?,
            turn_lease: settings.duration("conversation.turn_lease")?,
            reopen_window: settings.duration("conversation.reopen_window")?,
            idle_after: settings.duration("conversation.idle_after")?,
            public_url: public_url(&settings.text("edge.public_url")),
            action_wait: settings.duration("conversation.action_wait")?,
            bus: bus::At::read(settings)?,
            sessions: sessions::At::read(settings, &folder)?,
            capsule_retention: settings.duration("conversation.capsule_retention")?,
        })
    }
}

fn public_url(text: &str) -> String {
    let text = if text.is_empty() { "http://127.0.0.1:8080" } else { text };
    text.trim_end_matches('/').to_owned()
}
