//! Guided dialogues: slots to fill, steps to take.
//!
//! In: a flow, where it stands, a turn. Out: what to say and do, and where it stands then. Never: a question whose answer
//! was given already.
mod play;

use std::collections::BTreeMap;

pub use play::Play;
use regex::Regex;

use crate::{
    bundle::Deed,
    decide::{Planned, QuickReply},
};

/// A flow.
#[derive(Debug)]
pub struct Flow {
    pub id: String,
    /// As it is spoken of: `password reset`.
    pub title: String,
    pub category: String,
    pub intents: Vec<String>,
    /// True if a correction after the end runs it again.
    pub again: bool,
    pub slots: Vec<Slot>,
    pub steps: Vec<Step>,
}

/// A value to be found out.
#[derive(Debug)]
pub struct Slot {
    pub name: String,
    pub take: Take,
    pub validate: Option<Regex>,
    pub ask: String,
    pub invalid: String,
    pub max_attempts: u32,
    pub optional: bool,
}

/// Where a slot's value comes from.
#[derive(Debug)]
pub enum Take {
    /// An entity; while it is asked for, also what the pattern finds. Digits are padded with zeros to `pad`.
    Entity {
        kind: String,
        pattern: Option<Regex>,
        pad: usize,
    },
    /// The customer's words; those that started the flow if they hold one of these entities.
    Text {
        from_start_with: Vec<String>,
    },
    Choice(Vec<Choice>),
}

/// One of several answers.
#[derive(Debug)]
pub struct Choice {
    pub value: String,
    pub label: String,
    pub words: Vec<String>,
}

/// A step.
#[derive(Debug)]
pub enum Step {
    Collect(usize),
    Confirm { text: String, on_deny: String },
    Act { deed: Deed, say: Option<String> },
    Say(String),
    Escalate(String),
    End,
}

impl Step {
    /// The name of a step that waits for the customer.
    pub fn id(&self, slots: &[Slot]) -> Option<String> {
        match self {
            Step::Collect(slot) => Some(format!("collect.{}", slots[*slot].name)),
            Step::Confirm { text, .. } => Some(format!("confirm.{text}")),
            _ => None,
        }
    }
}

/// Where a flow stands between turns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowState {
    pub flow_id: String,
    pub step_id: String,
    pub slots: BTreeMap<String, String>,
    pub attempts: u32,
    pub policy_version: String,
}

/// What a turn did to a flow.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Said or done; the state says whether it goes on.
    Step(Move),
    /// Another matter that the flow of this intent takes up.
    Switch,
    /// A question in between: answer it, then say this and show these buttons.
    Digress(String, FlowState, Vec<QuickReply>),
    /// A person has to help.
    Escalate { reason: String, reply: Option<String> },
    /// The step is not in this bundle any more.
    Gone,
}

/// What to say and do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Move {
    pub reply: Vec<String>,
    pub on_failure: Option<String>,
    pub actions: Vec<Planned>,
    pub state: FlowState,
    pub quick_replies: Vec<QuickReply>,
}
