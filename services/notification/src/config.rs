//! The settings of notification: none of its own yet; where the data folder is, every process knows.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError};

/// What can be set.
pub const KEYS: &[Key] = &[];

/// The settings, read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the store is kept, and the outbox beneath it.
    pub data: PathBuf,
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Config { data: settings.text("data").into() })
    }
}
