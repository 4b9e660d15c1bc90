//! Settings of the service.
use std::path::PathBuf;

use switchboard_runtime::{Key, Settings, SettingsError};

use crate::nlu::{Example, parse_examples};

/// The documented keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "orchestrator.nlu",
        "file",
        "",
        "Labelled examples that the intent classifier learns from, one JSON object {\"text\", \"intent\"} per line. Empty: the \
         demo organization's, which are built in so that a first start needs no files.",
    ),
    Key::new(
        "orchestrator.confidence_threshold",
        "0 to 1",
        "0.7",
        "Below this confidence the agent does not answer by itself, unless a request says otherwise. 0.7: confidences are \
         calibrated, so about seven in ten answers at the threshold are right.",
    ),
];

const DEMO: &str = include_str!("../../../demo/nlu/train.jsonl");

/// What the service reads from its settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the trained model is kept.
    pub data: PathBuf,
    /// What the classifier learns from.
    pub examples: Vec<Example>,
    /// Below this the agent does not answer by itself.
    pub confidence_threshold: f64,
}

impl Config {
    /// Reads and checks, the training file too: a wrong line is named before anything starts.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let file = settings.text("orchestrator.nlu");
        let (name, text) = if file.is_empty() {
            ("the built-in examples", DEMO.to_owned())
        } else {
            let text = std::fs::read_to_string(&file)
                .map_err(|e| SettingsError(format!("setting `orchestrator.nlu`: cannot read {file}: {e}")))?;
            (file.as_str(), text)
        };
        let examples =
            parse_examples(&text).map_err(|e| SettingsError(format!("setting `orchestrator.nlu`: {name}: {e}")))?;
        let confidence_threshold: f64 = settings.get("orchestrator.confidence_threshold")?;
        if !(0.0..=1.0).contains(&confidence_threshold) {
            let why = format!(
                "setting `orchestrator.confidence_threshold` = `{confidence_threshold}`: write a number from 0 to 1"
            );
            return Err(SettingsError(why));
        }
        Ok(Config { data: settings.text("data").into(), examples, confidence_threshold })
    }
}
