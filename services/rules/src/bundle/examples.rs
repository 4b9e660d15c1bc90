//! Examples: dialogues, routes and texts that a bundle carries, and that have to come out as written.
//!
//! In: a bundle and its examples. Out: nothing, or the first one that fails, with what came out instead.
use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;

use super::{Bundle, BundleError, Files, source::Source};
use crate::{
    decide::{Decision, Disposition},
    facts::{ACTS, Entity, PRIORITIES, TIERS, Turn, name_of, named},
    flow::FlowState,
};

/// When an example does not say: a Monday morning in business hours.
const NOW: &str = "2026-11-23T10:00:00Z";

/// An example: `turns`, or `route`, or `text`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub name: String,
    #[serde(default)]
    pub turns: Vec<Said>,
    pub route: Option<Ticket>,
    pub text: Option<String>,
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    pub reads: Option<String>,
}

/// A turn of a dialogue: what the customer said and what is known. What is left out is as in a calm first message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Said {
    pub say: String,
    pub intent: String,
    pub intent_confidence: Option<f64>,
    pub sentiment: f64,
    pub anger: f64,
    pub entities: BTreeMap<String, String>,
    pub act: Option<String>,
    pub language: Option<String>,
    pub knowledge_score: f64,
    pub confidence: Option<f64>,
    pub channel: Option<String>,
    pub status: Option<String>,
    pub owner: Option<String>,
    pub tier: Option<String>,
    pub user_messages: Option<u32>,
    pub failed_turns: u32,
    pub angry_messages: u32,
    pub now: Option<String>,
    pub customer_email: String,
    pub variables: BTreeMap<String, String>,
    pub expect: Expect,
}

/// What has to come out; what is left out may be anything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    pub disposition: Option<String>,
    pub reply: Vec<String>,
    pub reply_not: Vec<String>,
    pub fallback: Option<String>,
    pub system_message: Option<String>,
    pub actions: Option<Vec<String>>,
    pub with: BTreeMap<String, String>,
    pub flow: Option<String>,
    pub step: Option<String>,
    pub reason: Option<String>,
    pub queue: Option<String>,
    pub category: Option<String>,
    pub priority: Option<String>,
    pub fires: Vec<String>,
    pub near: Vec<String>,
    pub buttons: Option<Vec<String>>,
}

/// A ticket to be routed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    pub category: String,
    pub priority: String,
    #[serde(default)]
    pub tier: Option<String>,
    #[serde(default)]
    pub now: Option<String>,
    pub route: String,
    pub queue: String,
    #[serde(default)]
    pub deadline: Option<String>,
}

/// An example with its place.
#[derive(Debug)]
pub struct Located {
    file: String,
    line: usize,
    example: Example,
}

impl Located {
    /// Notes the examples of a file; a file without any is refused.
    pub fn take(into: &mut Vec<Located>, at: Source<'_>, examples: Vec<Example>) -> Result<(), BundleError> {
        let from = at.line_of("examples", 1);
        if examples.is_empty() {
            return Err(at.error(from, "every file needs an example"));
        }
        for example in examples {
            let line =
                at.text.lines().position(|l| l.contains("name:") && l.contains(&example.name)).map_or(from, |l| l + 1);
            into.push(Located { file: at.name.to_owned(), line, example });
        }
        Ok(())
    }

    fn fails(&self, why: impl std::fmt::Display) -> BundleError {
        BundleError {
            file: self.file.clone(),
            line: self.line,
            message: format!("example `{}`: {why}", self.example.name),
        }
    }
}

/// Runs all of them. Each rule has to fire and each flow has to be open in one: what no example shows may never happen.
pub fn run(bundle: &Bundle, files: &Files, examples: &[Located]) -> Result<(), BundleError> {
    let mut seen = HashSet::new();
    for located in examples {
        let example = &located.example;
        let kinds = [!example.turns.is_empty(), example.route.is_some(), example.text.is_some()];
        if kinds.iter().filter(|k| **k).count() != 1 {
            return Err(located.fails("write exactly one of turns, route and text"));
        }
        dialogue(bundle, &example.turns, &mut seen).map_err(|e| located.fails(e))?;
        if let Some(ticket) = &example.route {
            route(bundle, ticket).map_err(|e| located.fails(e))?;
        }
        if let Some(key) = &example.text {
            let own = &bundle.texts.by_language[&bundle.texts.language];
            let template = own.get(key).ok_or_else(|| {
                located.fails(format!("there is no text `{key}`{}", crate::suggest::nearest(key, own.keys().cloned())))
            })?;
            let read = template.fill(|place| example.with.get(place).map(String::as_str));
            let wanted = example.reads.as_deref().unwrap_or_default().trim();
            if read != wanted {
                return Err(located.fails(format!("it reads `{read}`")));
            }
        }
    }
    let rules = bundle.rules.iter().map(|r| ("rules.yaml".to_owned(), "rule", &r.id));
    let flows = bundle.flows.iter().map(|f| (format!("flows/{}.yaml", f.id), "flow", &f.id));
    for (file, what, id) in rules.chain(flows) {
        if !seen.contains(&format!("{what} {id}")) {
            let message =
                format!("the {what} `{id}` is in no example; add one that shows it, or drop it if it can never happen");
            return Err(files.required(&file).map_or_else(|e| e, |at| at.error(at.line_of_id(id), message)));
        }
    }
    Ok(())
}

/// Plays a dialogue; says which turn came out differently, and how.
pub fn play(bundle: &Bundle, turns: &[Said]) -> Result<(), String> {
    dialogue(bundle, turns, &mut HashSet::new())
}

fn dialogue(bundle: &Bundle, turns: &[Said], seen: &mut HashSet<String>) -> Result<(), String> {
    let mut state = FlowState::default();
    let (mut status, mut owner) = ("active".to_owned(), "ai".to_owned());
    for (number, said) in turns.iter().enumerate() {
        let mut turn = said.turn(number).map_err(|e| format!("turn {}: {e}", number + 1))?;
        turn.status = said.status.clone().unwrap_or_else(|| status.clone());
        turn.owner = said.owner.clone().unwrap_or_else(|| owner.clone());
        let decision = bundle.decide(&turn, &state).map_err(|e| format!("turn {}: {e}", number + 1))?;
        for rule in &decision.fired {
            seen.insert(format!("rule {}", rule.rule_id));
        }
        for pair in decision.fired.windows(2) {
            let equals = (pair[0].kind, pair[0].priority) == (pair[1].kind, pair[1].priority);
            if equals && bundle.differ(&pair[0].rule_id, &pair[1].rule_id) {
                let (a, b) = (&pair[0].rule_id, &pair[1].rule_id);
                return Err(format!(
                    "turn {}: the rules `{a}` and `{b}` conflict: they fire together with the same priority",
                    number + 1
                ));
            }
        }
        for id in [&state.flow_id, &decision.flow.flow_id] {
            seen.insert(format!("flow {id}"));
        }
        if let (Disposition::Flow, Some(flow)) = (decision.disposition, bundle.triggers.get(&turn.intent)) {
            seen.insert(format!("flow {}", bundle.flows[*flow].id));
        }
        said.expect.check(&decision).map_err(|e| format!("turn {}: {e}", number + 1))?;
        if decision.disposition == Disposition::Escalate {
            (status, owner) = ("escalated".to_owned(), "none".to_owned());
        }
        state = decision.flow;
    }
    Ok(())
}

impl Bundle {
    fn differ(&self, a: &str, b: &str) -> bool {
        let then = |id: &str| self.rules.iter().find(|r| r.id == id).map(|r| &r.then);
        then(a) != then(b)
    }
}

impl Said {
    /// The turn that this describes.
    pub fn turn(&self, number: usize) -> Result<Turn, String> {
        let sure = if self.intent.is_empty() { 0.0 } else { 0.95 };
        let intent_confidence = self.intent_confidence.unwrap_or(sure);
        let known = |what: &str, name: &str| format!("`{name}` is no {what}");
        let act = self.act.as_deref().unwrap_or("none");
        let tier = self.tier.as_deref().unwrap_or("standard");
        Ok(Turn {
            intent: self.intent.clone(),
            intent_confidence,
            sentiment: self.sentiment,
            sentiment_label: label(self.sentiment),
            anger: self.anger,
            entities: self
                .entities
                .iter()
                .map(|(kind, value)| Entity { kind: kind.clone(), value: value.clone(), normalized: value.clone() })
                .collect(),
            act: named(ACTS, act).ok_or_else(|| known("act", act))?,
            language: self.language.clone().unwrap_or_else(|| "en".to_owned()),
            knowledge_score: self.knowledge_score,
            confidence: self.confidence.unwrap_or(intent_confidence),
            text: self.say.clone(),
            channel: self.channel.clone().unwrap_or_else(|| "web".to_owned()),
            status: self.status.clone().unwrap_or_else(|| "active".to_owned()),
            owner: self.owner.clone().unwrap_or_else(|| "ai".to_owned()),
            tier: named(TIERS, tier).ok_or_else(|| known("tier", tier))?,
            user_messages: self.user_messages.unwrap_or(number as u32 + 1),
            failed_turns: self.failed_turns,
            angry_messages: self.angry_messages,
            now: time(self.now.as_deref())?,
            customer_email: self.customer_email.clone(),
            variables: self.variables.clone(),
            confidence_threshold: None,
        })
    }
}

/// The word for a score.
fn label(score: f64) -> &'static str {
    match score {
        s if s < -0.25 => "negative",
        s if s > 0.25 => "positive",
        _ => "neutral",
    }
}

fn time(text: Option<&str>) -> Result<Timestamp, String> {
    let text = text.unwrap_or(NOW);
    text.parse().map_err(|_| format!("`{text}` is no time; write such as {NOW}"))
}

/// Dispositions by name.
pub const DISPOSITIONS: &[(&str, Disposition)] = &[
    ("respond", Disposition::Respond),
    ("flow", Disposition::Flow),
    ("canned", Disposition::Canned),
    ("escalate", Disposition::Escalate),
    ("acknowledge", Disposition::Acknowledge),
    ("resolve", Disposition::Resolve),
];

impl Expect {
    /// Compares; says what came out where it differs.
    pub fn check(&self, decision: &Decision) -> Result<(), String> {
        let same = |what: &str, wanted: &Option<String>, got: &str| match wanted {
            Some(wanted) if wanted != got => Err(format!("{what} is `{got}` and not `{wanted}`")),
            _ => Ok(()),
        };
        same("disposition", &self.disposition, name_of(DISPOSITIONS, decision.disposition))?;
        same("reason", &self.reason, &decision.reason)?;
        same("flow", &self.flow, &decision.flow.flow_id)?;
        same("step", &self.step, &decision.flow.step_id)?;
        let route = decision.route.as_ref();
        same("queue", &self.queue, route.map_or("", |r| &r.queue))?;
        same("category", &self.category, route.map_or("", |r| &r.category))?;
        same("priority", &self.priority, route.map_or("", |r| name_of(PRIORITIES, r.priority)))?;
        let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        for part in &self.reply {
            if !holds(&decision.reply, part) {
                return Err(format!("the reply does not hold `{part}`: {}", decision.reply));
            }
        }
        if let Some(part) = self.reply_not.iter().find(|p| holds(&decision.reply, p)) {
            return Err(format!("the reply holds `{part}`: {}", decision.reply));
        }
        for (what, part, text) in [
            ("fallback", &self.fallback, &decision.fallback_reply),
            ("system message", &self.system_message, &decision.system_message),
        ] {
            if let Some(part) = part.as_ref().filter(|p| !holds(text, p)) {
                return Err(format!("the {what} does not hold `{part}`: {text}"));
            }
        }
        let actions: Vec<String> = decision.actions.iter().map(|a| a.action_type.clone()).collect();
        if let Some(wanted) = self.actions.as_ref().filter(|w| **w != actions) {
            return Err(format!("the actions are {actions:?} and not {wanted:?}"));
        }
        for (name, wanted) in &self.with {
            let got = decision.actions.iter().find_map(|a| a.parameters.get(name)).map_or("", String::as_str);
            same(name, &Some(wanted.clone()), got)?;
        }
        for (what, wanted, got) in [("fire", &self.fires, &decision.fired), ("nearly fire", &self.near, &decision.near)]
        {
            if let Some(rule) = wanted.iter().find(|w| got.iter().all(|f| f.rule_id != **w)) {
                return Err(format!("the rule `{rule}` did not {what}"));
            }
        }
        let buttons: Vec<String> = decision.quick_replies.iter().map(|q| q.label.clone()).collect();
        match &self.buttons {
            Some(wanted) if *wanted != buttons => Err(format!("the quick replies are {buttons:?} and not {wanted:?}")),
            _ => Ok(()),
        }
    }
}

fn route(bundle: &Bundle, ticket: &Ticket) -> Result<(), String> {
    let tier = ticket.tier.as_deref().unwrap_or("standard");
    let tier = named(TIERS, tier).ok_or_else(|| format!("`{tier}` is no tier"))?;
    let priority =
        named(PRIORITIES, &ticket.priority).ok_or_else(|| format!("`{}` is no priority", ticket.priority))?;
    let got = bundle.routing.route(&ticket.category, priority, tier, time(ticket.now.as_deref())?);
    if (&got.route_id, &got.queue) != (&ticket.route, &ticket.queue) {
        return Err(format!("it goes by `{}` to `{}`", got.route_id, got.queue));
    }
    match &ticket.deadline {
        Some(wanted) if time(Some(wanted))? != got.deadline => {
            Err(format!("the deadline is {} and not {wanted}", got.deadline))
        }
        _ => Ok(()),
    }
}
