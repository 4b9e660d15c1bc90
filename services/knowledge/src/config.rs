//! The settings of this service.
//!
//! In: [`Settings`]. Out: a checked [`Config`]. Never: a default that is not in [`KEYS`].
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger};
use uuid::Uuid;

/// What can be set.
pub const KEYS: &[Key] = &[
    Key::new(
        "stores.index",
        "embedded:FOLDER",
        "embedded:",
        "Where the search index is kept; without a folder it is `index` in the data folder. It is derived from the articles and rebuilt if it is lost.",
    ),
    Key::new(
        "stores.graph",
        "embedded",
        "embedded",
        "Where the graph of products, topics, errors and solutions is kept; embedded: in memory, rebuilt from the articles at the start.",
    ),
    Key::new(
        "knowledge.demo",
        "on|off",
        "on",
        "Brings the demo articles into the demo organization if it has none; on, so that a first start can answer something.",
    ),
];

/// What this service runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where articles are kept.
    pub ledger: Ledger,
    /// The folder of the index.
    pub index: PathBuf,
    /// Whether demo articles are wanted.
    pub demo: bool,
    /// The organization that gets them. Not a setting: who starts identity in the same process knows it. None: no import.
    pub demo_org: Option<Uuid>,
}

impl Config {
    /// Reads and checks the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let data = PathBuf::from(settings.text("data"));
        let index = settings.text("stores.index");
        let index = match index.strip_prefix("embedded:") {
            Some("") => data.join("index"),
            Some(folder) => PathBuf::from(folder),
            None if index == "embedded" => data.join("index"),
            None => return Err(not_built_in("stores.index", &index, "embedded:FOLDER")),
        };
        let graph = settings.text("stores.graph");
        if graph != "embedded" {
            return Err(not_built_in("stores.graph", &graph, "embedded"));
        }
        let ledger = Ledger::read(settings)?;
        Ok(Config { ledger, index, demo: settings.flag("knowledge.demo")?, demo_org: None })
    }
}

fn not_built_in(key: &str, value: &str, built_in: &str) -> SettingsError {
    SettingsError(format!("setting `{key}` = `{value}`: this driver is not built in; built in: {built_in}"))
}

#[cfg(test)]
mod tests {
    use switchboard_runtime::{process, stores};

    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Config, SettingsError> {
        let env = env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Config::read(&Settings::load(&[process::KEYS, stores::KEYS, KEYS], None, env, &[])?)
    }

    #[test]
    fn the_index_is_in_the_data_folder_unless_told_otherwise() {
        assert_eq!(read(&[("SWITCHBOARD__DATA", "/d")]).expect("reads").index, PathBuf::from("/d/index"));
        assert_eq!(read(&[("SWITCHBOARD__STORES__INDEX", "embedded:/i")]).expect("reads").index, PathBuf::from("/i"));
    }

    #[test]
    fn a_driver_that_is_not_built_in_is_refused_by_name() {
        let error = read(&[("SWITCHBOARD__STORES__INDEX", "https://search:9200")]).expect_err("refused");
        assert!(error.0.contains("stores.index") && error.0.contains("built in: embedded:FOLDER"), "{error}");
        let error = read(&[("SWITCHBOARD__STORES__GRAPH", "bolt://graph")]).expect_err("refused");
        assert!(error.0.contains("stores.graph") && error.0.contains("built in: embedded"), "{error}");
    }
}
