//! Settings of the service.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger};

/// The documented keys.
pub const KEYS: &[Key] = &[Key::new(
    "rules.bundle",
    "folder",
    "",
    "The policy bundle that decides. Empty: the demo bundle that is built in, so that a first start needs no files.",
)];

/// What the service reads from its settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where activations are kept.
    pub ledger: Ledger,
    /// The bundle's folder; none for the built-in one.
    pub bundle: Option<PathBuf>,
}

impl Config {
    /// Reads and checks.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let bundle = settings.text("rules.bundle");
        let bundle = (!bundle.is_empty()).then(|| PathBuf::from(bundle));
        Ok(Config { ledger: Ledger::read(settings)?, bundle })
    }
}
