//! The settings of this service.
use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger, vault::Vault};

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
    /// Where the embedded org is kept.
    pub ledger: Ledger,
    /// What seals its people's data.
    pub vault: Vault,
    /// Whether a new organization gets demo records.
    pub demo: bool,
}

impl Config {
    /// Reads them.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let ledger = Ledger::read(settings)?;
        let vault = Vault::read(settings, &ledger)?;
        Ok(Config { ledger, vault, demo: settings.flag("salesforce.demo")? })
    }
}
