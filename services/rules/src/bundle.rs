//! A policy bundle, checked and compiled.
//!
//! In: YAML files. Out: a [`Bundle`] that decides, or one line that says what is wrong and where. Never: a bundle of which
//! one of its own examples fails.
mod check;
mod check_flow;
mod check_routing;
pub mod examples;
pub mod raw;
pub mod source;

use std::collections::{HashMap, HashSet};

pub use raw::RuleType;
pub use source::{BundleError, Files};

use crate::{
    expr::{Condition, Thresholds},
    facts::{Priority, Turn, View},
    flow::Flow,
    routing::Routing,
    text::Template,
};

/// What decides.
#[derive(Debug)]
pub struct Bundle {
    pub version: String,
    pub name: String,
    pub description: String,
    pub thresholds: Thresholds,
    /// Intents that are no matter of their own: they never end or interrupt a flow.
    pub small_talk: HashSet<String>,
    /// By type in the order of the decision, then by priority.
    pub rules: Vec<Rule>,
    pub flows: Vec<Flow>,
    /// The flow that an intent starts.
    pub triggers: HashMap<String, usize>,
    pub routing: Routing,
    pub texts: Texts,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    pub id: String,
    pub kind: RuleType,
    pub priority: i32,
    pub when: Condition,
    pub then: Then,
    pub why: String,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Escalate { reason: String, category: Option<String>, priority: Option<Priority>, say: String, on_failure: String },
    Route { category: Option<String>, priority: Option<Priority> },
    Automate { say: String, resolve: bool, quick_replies: Vec<String>, act: Option<Deed>, interrupts: bool },
    Refuse { text: String },
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub action_type: String,
    pub with: Vec<(String, Template)>,
    pub read_only: bool,
    pub on_failure: Option<String>,
}

/// Texts by language and key.
#[derive(Debug, Default)]
pub struct Texts {
    pub language: String,
    pub by_language: HashMap<String, HashMap<String, Template>>,
}

impl Texts {
    /// A text in a language such as `de-AT`, or in the bundle's own. Keys are checked at load.
    pub fn get(&self, language: &str, key: &str) -> &Template {
        let base = language.split(['-', '_']).next().unwrap_or_default();
        let own = self.by_language.get(base).and_then(|t| t.get(key));
        own.or_else(|| self.by_language[&self.language].get(key))
            .expect("every key is in the bundle's own language: checked at load")
    }
}

impl Bundle {
    /// Reads, checks and compiles a bundle, and runs its examples.
    pub fn load(files: &Files) -> Result<Self, BundleError> {
        let (bundle, examples) = check::bundle(files)?;
        examples::run(&bundle, files, &examples)?;
        Ok(bundle)
    }

    /// The flow of a name.
    pub fn flow(&self, id: &str) -> Option<&Flow> {
        self.flows.iter().find(|f| f.id == id)
    }

    /// The facts of a turn, with what the bundle adds.
    pub fn view<'a>(&self, turn: &'a Turn, flow_id: &'a str) -> View<'a> {
        let confidence_threshold = turn.confidence_threshold.unwrap_or(self.thresholds["confidence"]);
        let mut view = View { turn, flow_id, starts_flow: false, confidence_threshold };
        view.starts_flow = self.started(&view).is_some();
        view
    }

    /// The flow that the turn's intent starts. A sure intent does; an unsure one only where knowledge has no good answer
    /// either.
    pub fn started(&self, view: &View<'_>) -> Option<&Flow> {
        let turn = view.turn;
        let flow = self.triggers.get(&turn.intent)?;
        let sure = turn.intent_confidence >= view.confidence_threshold;
        let alone =
            turn.intent_confidence >= self.thresholds["intent"] && turn.knowledge_score < view.confidence_threshold;
        (sure || alone).then(|| &self.flows[*flow])
    }
}
