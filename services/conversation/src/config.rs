//! The settings of conversation.
//!
//! In: settings. Out: typed values. Never: a default without its reason.
use std::time::Duration;

use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger};

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
];

/// The settings in effect.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the ledger is.
    pub ledger: Ledger,
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
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Config {
            ledger: Ledger::read(settings)?,
            turn_lease: settings.duration("conversation.turn_lease")?,
            reopen_window: settings.duration("conversation.reopen_window")?,
            idle_after: settings.duration("conversation.idle_after")?,
            public_url: public_url(&settings.text("edge.public_url")),
            action_wait: settings.duration("conversation.action_wait")?,
        })
    }
}

fn public_url(text: &str) -> String {
    let text = if text.is_empty() { "http://127.0.0.1:8080" } else { text };
    text.trim_end_matches('/').to_owned()
}
