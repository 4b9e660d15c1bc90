//! The settings of notification: none of its own yet; where stores and files are, every process knows.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger, vault::Vault};

/// What can be set.
pub const KEYS: &[Key] = &[];

/// The settings, read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where deliveries are kept.
    pub ledger: Ledger,
    /// What wraps the keys of indexes.
    pub vault: Vault,
    /// The outbox is beneath it.
    pub data: PathBuf,
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let ledger = Ledger::read(settings)?;
        let vault = Vault::read(settings, &ledger)?;
        Ok(Config { ledger, vault, data: settings.text("data").into() })
    }
}
