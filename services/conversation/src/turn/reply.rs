//! A reply in the making: what a turn thought and did, as words, rows and a receipt.
//!
//! In: the thought, what its actions came to, the messages that it answers. Out: a change of the conversation, or a draft.
//! Never: a decision, a write outside, a clock of its own.
use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::{
    change::Change,
    effects::fill,
    error::Error,
    machine::{Actor, Owner, Trigger},
    mind::{Planned, Thought, Verdict, default_route},
    model::{
        Action, ActionStatus, Analysis, Citation, Conversation, Draft, Effect, Escalation, Message, Outcome, Rung,
        Sender, Sentiment,
    },
    sessions::Capsule,
    store::Answered,
};

/// What the actions of a turn came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) actions: Vec<Action>,
    pub(super) results: BTreeMap<String, String>,
    pub(super) any_failed: bool,
    pub(super) made_case: bool,
}

impl Done {
    pub(super) fn went_well(
        &mut self,
        id: Option<Uuid>,
        planned: &Planned,
        status: ActionStatus,
        result: BTreeMap<String, String>,
    ) {
        self.made_case |= planned.action_type == "create_case";
        self.results.extend(result.clone());
        self.actions.push(Action {
            id,
            action_type: planned.action_type.clone(),
            parameters: shown(planned),
            status,
            result,
        });
    }

    pub(super) fn failed(&mut self, id: Option<Uuid>, planned: &Planned, status: ActionStatus) {
        self.any_failed |= status == ActionStatus::Failed;
        let action = Action {
            id,
            action_type: planned.action_type.clone(),
            parameters: shown(planned),
            status,
            result: BTreeMap::new(),
        };
        self.actions.push(action);
    }
}

/// What of an action's parameters the customer sees: not what was put together for the human.
pub(super) fn shown(planned: &Planned) -> BTreeMap<String, String> {
    let internal = ["description", "sla_deadline", "queue", "origin"];
    planned
        .parameters
        .iter()
        .filter(|(k, _)| !internal.contains(&k.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// A reply in the making.
pub(super) struct Reply<'a> {
    pub(super) thought: &'a Thought,
    pub(super) done: &'a Done,
    pub(super) changed: &'a [Effect],
    pub(super) summary: &'a str,
    pub(super) first: &'a Message,
    pub(super) last: &'a Message,
    pub(super) capsule: Option<&'a Arc<Capsule>>,
}

impl Reply<'_> {
    /// The words: with results in their places, or what the policy says of a failure.
    pub(super) fn text(&self) -> String {
        let (good, bad) = (&self.thought.reply, &self.thought.reply_on_failure);
        let filled = if self.done.any_failed { None } else { fill(good, &self.done.results) };
        filled.or_else(|| fill(bad, &self.done.results)).filter(|t| !t.trim().is_empty()).unwrap_or_else(|| {
            "I could not finish that right now. I have written it down and will go on trying; a person looks after it if it does not work."
                .to_owned()
        })
    }

    pub(super) fn citations(&self) -> Vec<Citation> {
        self.thought.citations.clone()
    }

    pub(super) fn as_draft(&self, change: &mut Change<'_>) {
        let id = change.message(Sender::AiAgent, None, "").id;
        if let Some(case) = self.done.results.get("case_number").filter(|_| self.done.made_case) {
            change.row().state.case_number = Some(case.clone());
        }
        change.commit.draft = Some(Draft {
            id,
            user_message: self.last.id,
            content: self.text(),
            citations: self.citations(),
            created_at: change.now,
        });
        change.commit.effects_changed = self.changed.to_vec();
        change.commit.capsule = self.capsule.cloned();
    }

    pub(super) fn write(&self, change: &mut Change<'_>, started: &Conversation) -> Result<(), Error> {
        let thought = self.thought;
        match &thought.verdict {
            Verdict::Reply | Verdict::Acknowledge => {}
            Verdict::Resolve => change.step(Trigger::Resolve, Actor::Customer)?,
            Verdict::Escalate { reason, route } => {
                change.step(Trigger::Escalate, Actor::Ai)?;
                let id = change.message(Sender::System, None, "").id;
                let (now, old) = (change.now, change.row().escalation.clone().filter(|e| e.resolved_at.is_none()));
                change.hand_off(old.unwrap_or_else(|| Escalation {
                    id,
                    reason: reason.clone(),
                    priority: route.priority,
                    queue: route.queue.clone(),
                    case_number: self.done.results.get("case_number").cloned(),
                    assigned_to: None,
                    assigned_at: None,
                    sla_deadline: route.deadline,
                    breached: false,
                    resolved_at: None,
                    resolution_notes: String::new(),
                    resolved_by: None,
                    created_at: now,
                    summary: self.summary.to_owned(),
                    own_words: false,
                }));
            }
        }
        self.remember(change.row());
        let seq = change.row().seq + 1;
        let text = self.text();
        let mut message = change.message(Sender::AiAgent, None, text.clone());
        message.analysis = Analysis {
            intent: Some(thought.intent.clone()),
            confidence: Some(thought.confidence),
            ..Analysis::default()
        };
        message.citations = self.citations();
        let row = change.row().clone();
        message.outcome = Some(Box::new(self.outcome(&row, message.id, seq, text)));
        let changed_status = (started.status, started.owner) != (row.status, row.owner);
        change.commit.answered =
            Some(Answered { seqs: (self.first.seq, self.last.seq), reply_seq: seq, analysis: self.analysis() });
        change.commit.receipt = Some(self.receipt());
        change.commit.capsule = self.capsule.cloned();
        change.commit.effects_changed = self.changed.to_vec();
        change.say(message);
        match &thought.verdict {
            Verdict::Escalate { reason, .. } => {
                change.tell(reason);
                self.system(change);
            }
            Verdict::Acknowledge => self.system(change),
            Verdict::Resolve => {
                change.tell("confirmed_by_customer");
            }
            Verdict::Reply if changed_status => {
                change.tell("");
            }
            Verdict::Reply => {}
        }
        Ok(())
    }

    fn system(&self, change: &mut Change<'_>) {
        let text = if self.thought.system_message.is_empty() {
            "A human agent will take over this conversation."
        } else {
            &self.thought.system_message
        };
        let message = change.message(Sender::System, None, text);
        change.say(message);
    }

    fn remember(&self, row: &mut Conversation) {
        let thought = self.thought;
        // A turn failed if the agent had nothing of its own to say: it refused, or did not know.
        let failed = thought.rung == Rung::Canned && (thought.intent == "oos" || thought.confidence < 0.5);
        row.state.turn_tries = 0;
        row.state.failed_turns = if failed { row.state.failed_turns + 1 } else { 0 };
        row.state.angry_messages = if thought.sentiment.anger >= 0.5 { row.state.angry_messages + 1 } else { 0 };
        row.state.flow.clone_from(&thought.flow);
        if let Some(case) = self.done.results.get("case_number").filter(|_| self.done.made_case) {
            row.state.case_number = Some(case.clone());
        }
        row.language.clone_from(&thought.language);
    }

    fn analysis(&self) -> Analysis {
        Analysis {
            intent: Some(self.thought.intent.clone()),
            confidence: Some(self.thought.intent_confidence),
            sentiment: Some(self.thought.sentiment.score),
            entities: self.thought.entities.clone(),
        }
    }

    pub(super) fn outcome(&self, row: &Conversation, message_id: Uuid, seq: u64, text: String) -> Outcome {
        let thought = self.thought;
        let proposals = thought.quick_replies.iter().map(|(label, send)| Action {
            id: None,
            action_type: "quick_reply".to_owned(),
            parameters: [("label".to_owned(), label.clone()), ("send".to_owned(), send.clone())].into(),
            status: ActionStatus::Pending,
            result: BTreeMap::new(),
        });
        Outcome {
            message_id: Some(message_id),
            user_message_id: self.last.id,
            answers_up_to: self.last.seq,
            conversation_id: row.id,
            seq,
            response: Some(text),
            intent: thought.intent.clone(),
            confidence: thought.confidence,
            sentiment: thought.sentiment,
            entities: thought.entities.clone(),
            actions: self.done.actions.iter().cloned().chain(proposals).collect(),
            citations: self.citations(),
            requires_escalation: matches!(thought.verdict, Verdict::Escalate { .. } | Verdict::Acknowledge),
            escalation: row.escalation.clone().filter(|e| e.resolved_at.is_none()),
            status: row.status,
            owner: row.owner,
            rung: Some(thought.rung),
            language: thought.language.clone(),
        }
    }

    pub(super) fn receipt(&self) -> serde_json::Value {
        let mut receipt = self.thought.receipt.clone();
        if let Some(map) = receipt.as_object_mut() {
            let actions = self
                .done
                .actions
                .iter()
                .map(|a| json!({"action_type": a.action_type, "effect": a.id, "status": a.status}));
            map.insert("actions".to_owned(), actions.collect());
            map.insert("answers".to_owned(), json!({"first": self.first.id, "last": self.last.id}));
        }
        receipt
    }
}

/// An action with what only conversation knows.
pub(super) fn complete(planned: &Planned, row: &Conversation, thought: &Thought, summary: &str, text: &str) -> Planned {
    let mut planned = planned.clone();
    let mut put = |name: &str, value: String| {
        let slot = planned.parameters.entry(name.to_owned()).or_default();
        if slot.is_empty() {
            *slot = value;
        }
    };
    if planned.action_type == "create_case" {
        put("description", summary.to_owned());
        put("origin", origin(&row.channel).to_owned());
        put("email", row.state.email.clone());
        // A case's subject is what people read first in a list.
        put("subject", text.lines().next().unwrap_or_default().chars().take(120).collect());
        if let Verdict::Escalate { route, .. } = &thought.verdict {
            put("status", "Escalated".to_owned());
            put("sla_deadline", route.deadline.to_string());
            put("queue", route.queue.clone());
        }
    }
    planned
}

fn origin(channel: &str) -> &'static str {
    match channel {
        "email" => "Email",
        "phone" => "Phone",
        "slack" => "Slack",
        "api" => "API",
        "mobile" => "Mobile",
        _ => "Web",
    }
}

/// What a human should know before they say a word.
pub(super) fn summary(row: &Conversation, history: &[Message], burst: &[&Message], thought: &Thought) -> String {
    let quote = |m: &Message| m.content.chars().take(280).collect::<String>();
    let customers = |m: &&Message| m.sender == Sender::User;
    let mut lines = Vec::new();
    if let Some(opening) = history.iter().find(customers) {
        lines.push(format!("Opened with: {}", quote(opening)));
    }
    if let Some(last) = burst.last() {
        lines.push(format!("Last message: {}", quote(last)));
    }
    lines.push(format!(
        "Intent: {} ({:.0} %). Sentiment: {:+.2}.",
        thought.intent,
        thought.intent_confidence * 100.0,
        thought.sentiment.score
    ));
    if let Some(flow) = row.state.open_flow() {
        let slots: Vec<String> = flow.slots.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        lines.push(format!(
            "In the flow {}: {}.",
            flow.flow_id,
            if slots.is_empty() { "nothing collected yet".into() } else { slots.join(", ") }
        ));
    }
    if let Some(answer) = history.iter().rev().find(|m| m.sender == Sender::AiAgent) {
        lines.push(format!("Last answer of the AI: {}", quote(answer)));
    }
    lines.join("\n")
}

/// When nothing upstream answers: honest words, and a human.
pub(super) fn last_rung(row: &Conversation, why: &str, now: Timestamp) -> Thought {
    tracing::warn!(conversation = %row.id, reason = why, "the turn takes the last rung");
    let handed_over = row.owner == Owner::None;
    let case = Planned {
        action_type: "create_case".to_owned(),
        parameters: [("category".to_owned(), "general".to_owned()), ("priority".to_owned(), "medium".to_owned())]
            .into(),
        read_only: false,
    };
    Thought {
        intent: String::new(),
        confidence: 0.0,
        intent_confidence: 0.0,
        entities: vec![],
        sentiment: Sentiment::default(),
        reply: "I'm sorry, I can't answer right now. I have asked a person to take over: your case number is {action.case_number}.".to_owned(),
        reply_on_failure: "I'm sorry, I can't answer right now. I have asked a person to take over, and your messages are kept.".to_owned(),
        system_message: "A human agent will take over this conversation.".to_owned(),
        quick_replies: vec![],
        citations: vec![],
        verdict: if handed_over {
            Verdict::Acknowledge
        } else {
            Verdict::Escalate { reason: "ai_unavailable".to_owned(), route: default_route(now) }
        },
        actions: if handed_over { vec![] } else { vec![case] },
        flow: None,
        rung: Rung::Human,
        language: row.language.clone(),
        receipt: json!({ "failed": why, "rung": "human" }),
    }
}
