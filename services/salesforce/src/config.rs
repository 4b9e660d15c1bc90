//! The settings of this service.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError};

/// What can be set.
pub const KEYS: &[Key] = &[Key::new(
    "salesforce.demo",
    "on|off",
    "on",
    "Gives an organization that the embedded org sees for the first time a few accounts, contacts, cases and orders, so \
     that order and case questions have answers without a Salesforce. Turn it off before real data goes in.",
)];

/// The settings as read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the embedded org's file.
    pub data: PathBuf,
    /// Whether a new organization gets demo records.
    pub demo: bool,
}

impl Config {
    /// Reads them.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Config { data: settings.text("data").into(), demo: settings.flag("salesforce.demo")? })
    }
}
