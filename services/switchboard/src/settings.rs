//! All settings of all services, and where this command reads them from.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError, process, stores, telemetry};

/// Settings of the all-in-one itself.
const KEYS: &[Key] = &[Key::new(
    "edge.listen",
    "ADDRESS:PORT",
    "127.0.0.1:8080",
    "Where the all-in-one listens. Loopback by default: nothing from outside reaches a first start.",
)];

/// Every documented setting there is.
pub(crate) fn tables() -> [&'static [Key]; 12] {
    [
        KEYS,
        process::KEYS,
        telemetry::KEYS,
        stores::KEYS,
        switchboard_edge::config::KEYS,
        switchboard_identity::config::KEYS,
        switchboard_conversation::config::KEYS,
        switchboard_orchestrator::config::KEYS,
        switchboard_knowledge::config::KEYS,
        switchboard_rules::config::KEYS,
        switchboard_salesforce::config::KEYS,
        switchboard_notification::config::KEYS,
    ]
}

/// Reads every service's settings once: a wrong value is found before anything is opened.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    switchboard_edge::config::Config::read(settings)?;
    switchboard_identity::config::Config::read(settings)?;
    switchboard_conversation::config::Config::read(settings)?;
    switchboard_orchestrator::config::Config::read(settings)?;
    switchboard_knowledge::config::Config::read(settings)?;
    switchboard_rules::config::Config::read(settings)?;
    switchboard_salesforce::config::Config::read(settings)?;
    switchboard_notification::config::Config::read(settings)?;
    Ok(())
}

/// The setting of a name.
pub(crate) fn key(name: &str) -> Option<&'static Key> {
    tables().into_iter().flatten().find(|k| k.name == name)
}

/// Where settings come from, as every command that needs them takes it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Sources {
    /// Folder of the embedded stores [default: ./.switchboard]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Configuration as TOML [default: the file that SWITCHBOARD_CONFIG names]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Sources {
    /// Reads all layers; `flags` come last.
    pub(crate) fn load(&self, flags: &[(&'static str, String)]) -> Result<Settings, SettingsError> {
        let mut all: Vec<_> = self.data.iter().map(|d| ("data", d.display().to_string())).collect();
        all.extend_from_slice(flags);
        Settings::load(&tables(), self.file().as_deref(), environment(), &all)
    }

    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| std::env::var_os("SWITCHBOARD_CONFIG").map(PathBuf::from))
    }
}

/// The process environment; what is not text is nobody's setting.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}
