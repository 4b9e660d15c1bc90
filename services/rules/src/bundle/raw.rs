//! The shape of the YAML files, read strictly: an unknown key is an error. Meaning is checked in [`super::check`].
use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::examples::Example;

/// A map whose keys stand once each, in the order of the file.
#[derive(Debug, Clone)]
pub struct Once<T>(pub Vec<(String, T)>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Once<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Once<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once<T>, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if pairs.iter().any(|(k, _)| *k == key) {
                        return Err(A::Error::custom(format_args!("`{key}` stands twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Once(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// `bundle.yaml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBundle {
    pub name: String,
    pub description: String,
    pub language: String,
    pub thresholds: BTreeMap<String, f64>,
    pub actions: Vec<String>,
    pub small_talk: Vec<String>,
    pub examples: Vec<Example>,
}

/// `rules.yaml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRules {
    pub rules: Vec<RawRule>,
    pub examples: Vec<Example>,
}

/// The four kinds of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleType {
    Escalation,
    Routing,
    Automation,
    Validation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: RuleType,
    pub priority: i32,
    pub when: String,
    #[serde(rename = "then")]
    pub then: RawThen,
    pub why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawThen {
    pub reason: Option<String>,
    pub category: Option<String>,
    pub priority: Option<String>,
    pub say: Option<String>,
    pub on_failure: Option<String>,
    pub disposition: Option<String>,
    pub quick_replies: Vec<String>,
    pub act: Option<String>,
    pub with: Once<String>,
    pub read_only: bool,
    pub interrupts: bool,
    pub refuse: Option<String>,
}

/// `routing.yaml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRouting {
    pub categories: Once<Vec<String>>,
    pub calendars: Once<RawCalendar>,
    pub routes: Vec<RawRoute>,
    pub examples: Vec<Example>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCalendar {
    pub always: bool,
    pub zone: String,
    pub week: Once<Vec<String>>,
    pub holidays: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRoute {
    pub id: String,
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default)]
    pub tiers: Vec<String>,
    #[serde(default)]
    pub priorities: Vec<String>,
    pub queue: String,
    #[serde(default)]
    pub skills: Vec<String>,
    pub sla: Once<String>,
    pub calendar: String,
}

/// `flows/*.yaml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFlow {
    pub id: String,
    pub title: String,
    pub category: String,
    pub trigger: RawTrigger,
    #[serde(default)]
    pub again_on_correction: bool,
    #[serde(default)]
    pub slots: Once<RawSlot>,
    pub steps: Vec<RawStep>,
    pub examples: Vec<Example>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrigger {
    pub intents: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSlot {
    pub entity: Option<String>,
    pub text: bool,
    pub choice: Vec<RawChoice>,
    pub optional: bool,
    pub pattern: Option<String>,
    pub pad: usize,
    pub validate: Option<String>,
    pub from_start_with: Vec<String>,
    pub ask: Option<String>,
    pub invalid: Option<String>,
    pub max_attempts: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChoice {
    pub value: String,
    pub label: String,
    #[serde(default)]
    pub words: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawStep {
    pub collect: Option<String>,
    pub confirm: Option<String>,
    pub on_deny: Option<String>,
    pub act: Option<String>,
    pub with: Once<String>,
    pub read_only: bool,
    pub say: Option<String>,
    pub on_failure: Option<String>,
    pub escalate: Option<String>,
    pub end: bool,
}

/// `texts/LANGUAGE.yaml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTexts {
    pub texts: Once<String>,
    pub examples: Vec<Example>,
}
