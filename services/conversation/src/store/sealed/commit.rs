//! What of a commit is sealed, before any writer is taken: sealing takes time that others need not wait for.
//!
//! In: a commit and its conversation's seal. Out: the sealed columns, in the order of what they belong to. Never: SQL.
use serde_json::Value;

use super::Seal;
use crate::{
    error::Error,
    model::{Conversation, Effect, Escalation, Event, EventKind, Message, Sender},
    outbox::Leaving,
    store::{Commit, rows::EscalationBody},
};

/// The sealed columns of a commit.
pub(in crate::store) struct SealedCommit {
    pub row: SealedRow,
    /// One for each event.
    pub events: Vec<SealedEvent>,
    /// One for each new effect.
    pub effects: Vec<SealedEffect>,
    /// One for each changed effect.
    pub effects_changed: Vec<SealedEffect>,
    /// The hand-off's body.
    pub escalation: Option<Vec<u8>>,
    /// What was found in the customer's message that is answered.
    pub entities: Option<Vec<u8>>,
    /// The draft's content.
    pub draft: Option<Vec<u8>>,
    /// What goes into the outbox.
    pub leaving: Vec<Leaving>,
}

/// Of a conversation: what changes.
pub(in crate::store) struct SealedRow {
    pub context: Option<Vec<u8>>,
    pub state: Vec<u8>,
    pub rating_comment: Option<Vec<u8>>,
}

/// Of an event.
pub(in crate::store) enum SealedEvent {
    Message(SealedMessage),
    /// The body.
    Status(Vec<u8>),
}

/// Of a message.
#[derive(Default)]
pub(in crate::store) struct SealedMessage {
    pub content: Vec<u8>,
    pub attachments: Option<Vec<u8>>,
    pub entities: Option<Vec<u8>>,
    pub metadata: Option<Vec<u8>>,
    pub outcome: Option<Vec<u8>>,
    pub receipt: Option<Vec<u8>>,
}

/// Of an effect.
pub(in crate::store) struct SealedEffect {
    pub parameters: Vec<u8>,
    pub result: Option<Vec<u8>>,
    pub last_error: Option<Vec<u8>>,
}

impl SealedCommit {
    pub fn of(commit: &Commit, seal: &Seal) -> Result<Self, Error> {
        let effects = |all: &[Effect]| all.iter().map(|e| SealedEffect::of(e, seal)).collect::<Result<_, Error>>();
        let answered = commit.answered.as_ref().filter(|a| !a.analysis.entities.is_empty());
        let entities = answered.map(|a| seal.json("messages.entities", a.seqs.1, &a.analysis.entities));
        Ok(SealedCommit {
            row: SealedRow::of(&commit.next, seal)?,
            events: commit.events.iter().map(|e| event(e, commit.receipt.as_ref(), seal)).collect::<Result<_, _>>()?,
            effects: effects(&commit.effects)?,
            effects_changed: effects(&commit.effects_changed)?,
            escalation: commit.escalation.as_ref().map(|e| escalation(e, seal)).transpose()?,
            entities: entities.transpose()?,
            draft: commit.draft.as_ref().map(|d| seal.text("drafts.content", d.id, &d.content)),
            leaving: commit.outgoing()?.into_iter().map(|out| seal.leaving(out, &commit.next)).collect(),
        })
    }
}

impl SealedRow {
    pub fn of(c: &Conversation, seal: &Seal) -> Result<Self, Error> {
        let context = (!c.context.is_empty()).then(|| seal.json("conversations.context", c.id, &c.context));
        Ok(SealedRow {
            context: context.transpose()?,
            state: seal.json("conversations.state", c.id, &c.state)?,
            rating_comment: seal.some_text("conversations.rating_comment", c.id, &c.rating_comment),
        })
    }
}

impl SealedEffect {
    pub fn of(e: &Effect, seal: &Seal) -> Result<Self, Error> {
        let result = (!e.result.is_empty()).then(|| seal.json("actions.result", &e.key, &e.result));
        Ok(SealedEffect {
            parameters: seal.json("actions.parameters", &e.key, &e.parameters)?,
            result: result.transpose()?,
            last_error: seal.some_text("actions.last_error", &e.key, &e.last_error),
        })
    }
}

fn event(event: &Event, receipt: Option<&Value>, seal: &Seal) -> Result<SealedEvent, Error> {
    match &event.kind {
        EventKind::Message(m) => message(m, receipt.filter(|_| m.sender == Sender::AiAgent), seal),
        EventKind::Status(change) => {
            Ok(SealedEvent::Status(seal.json("status_events.body", event.seq, change.as_ref())?))
        }
    }
}

fn message(m: &Message, receipt: Option<&Value>, seal: &Seal) -> Result<SealedEvent, Error> {
    let mut sealed =
        SealedMessage { content: seal.text("messages.content", m.seq, &m.content), ..SealedMessage::default() };
    // Most messages have none of these, and nothing is not sealed.
    if !m.attachments.is_empty() {
        sealed.attachments = Some(seal.json("messages.attachments", m.seq, &m.attachments)?);
    }
    if !m.analysis.entities.is_empty() {
        sealed.entities = Some(seal.json("messages.entities", m.seq, &m.analysis.entities)?);
    }
    if !m.metadata.is_empty() {
        sealed.metadata = Some(seal.json("messages.metadata", m.seq, &m.metadata)?);
    }
    if let Some(outcome) = &m.outcome {
        sealed.outcome = Some(seal.json("messages.outcome", m.seq, outcome)?);
    }
    if let Some(receipt) = receipt {
        sealed.receipt = Some(seal.json("messages.receipt", m.seq, receipt)?);
    }
    Ok(SealedEvent::Message(sealed))
}

fn escalation(e: &Escalation, seal: &Seal) -> Result<Vec<u8>, Error> {
    let body = EscalationBody {
        reason: e.reason.clone(),
        summary: e.summary.clone(),
        resolution_notes: e.resolution_notes.clone(),
        own_words: e.own_words,
    };
    seal.json("escalations.body", e.id, &body)
}
