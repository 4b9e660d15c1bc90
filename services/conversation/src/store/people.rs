//! What is owed to a person: a copy of all that is kept, and its erasure.
//!
//! In: the ledger's reads. Out: one JSON value; how far an erasure is. Never: a word of a person in an erasure: it outlives them.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::People;
use crate::{
    error::Error,
    model::{Conversation, Effect, Escalation, Message},
};

/// Rows of one read.
const PAGE: u32 = 100;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Conversations.
    pub conversations: u64,
    /// Their messages.
    pub messages: u64,
    /// Their status events.
    pub status_events: u64,
    /// Their hand-offs.
    pub escalations: u64,
    /// Their effects.
    pub actions: u64,
    /// Their drafts.
    pub drafts: u64,
    /// Their notes.
    pub notes: u64,
    /// Their citations.
    pub citations: u64,
    /// Keys that were destroyed.
    pub keys: u64,
}

impl Erased {
    /// Each kind of row with its name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counts = [
            ("conversations", self.conversations),
            ("messages", self.messages),
            ("status_events", self.status_events),
            ("escalations", self.escalations),
            ("actions", self.actions),
            ("drafts", self.drafts),
            ("notes", self.notes),
            ("citations", self.citations),
            ("keys", self.keys),
        ];
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.counts().values().sum()
    }
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, more: Erased) {
        self.conversations += more.conversations;
        self.messages += more.messages;
        self.status_events += more.status_events;
        self.escalations += more.escalations;
        self.actions += more.actions;
        self.drafts += more.drafts;
        self.notes += more.notes;
        self.citations += more.citations;
        self.keys += more.keys;
    }
}

/// The erasure of a person, as a job over all owners of data.
#[derive(Debug, Clone, PartialEq)]
pub struct Erasure {
    /// UUIDv7.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// Whose.
    pub user: Uuid,
    /// Who asked for it.
    pub requested_by: Uuid,
    /// When.
    pub requested_at: Timestamp,
    /// When the last step was done.
    pub completed_at: Option<Timestamp>,
    /// One for each place.
    pub steps: Vec<ErasureStep>,
    /// What was removed where, without personal data; none before the end.
    pub receipt: Option<Value>,
}

/// Erasing a person in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureStep {
    /// A service, or a store beside the ledger.
    pub place: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed: a reason's name.
    pub last_error: String,
    /// When it was done.
    pub completed_at: Option<Timestamp>,
    /// Rows, documents or files removed.
    pub removed: u64,
}

impl ErasureStep {
    /// One that was not tried yet.
    pub fn of(place: &str) -> Self {
        ErasureStep { place: place.to_owned(), attempts: 0, last_error: String::new(), completed_at: None, removed: 0 }
    }
}

impl Erasure {
    /// One that begins now.
    pub(super) fn begun(org: Uuid, user: Uuid, requested_by: Uuid, now: Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos));
        Erasure { id, org, user, requested_by, requested_at: now, completed_at: None, steps: vec![], receipt: None }
    }
}

/// A person's conversations with all that hangs on them, and how much that is.
pub(super) async fn export<P: People + ?Sized>(
    ledger: &P,
    org: Uuid,
    user: Uuid,
) -> Result<(Value, BTreeMap<String, u64>), Error> {
    let (mut all, mut messages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let (rows, next) = ledger.list(org, Some(user), None, PAGE, &after).await?;
        for row in rows {
            let said = all_messages(ledger, &row).await?;
            messages += said.len() as u64;
            all.push(conversation(ledger, &row, &said).await?);
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    let counts = [("conversations", all.len() as u64), ("messages", messages)];
    let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    Ok((json!({ "conversations": all }), counts))
}

async fn all_messages<P: People + ?Sized>(ledger: &P, row: &Conversation) -> Result<Vec<Message>, Error> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let after = all.last().map_or(0, |m| m.seq);
        let page = ledger.messages(row.org, row.id, after, PAGE).await?;
        let more = page.len() == PAGE as usize;
        all.extend(page);
        if !more {
            return Ok(all);
        }
    }
}

async fn conversation<P: People + ?Sized>(ledger: &P, c: &Conversation, said: &[Message]) -> Result<Value, Error> {
    let notes = ledger.notes(c.org, c.id).await?;
    let drafts = ledger.drafts(c.org, c.id).await?;
    let effects = ledger.effects_of(c.org, c.id).await?;
    let hand_offs = ledger.hand_offs(c.org, c.id).await?;
    Ok(json!({
        "id": c.id,
        "channel": c.channel,
        "language": c.language,
        "status": c.status,
        "resolution_type": c.resolution,
        "created_at": c.created_at,
        "last_activity_at": c.last_activity_at,
        "ended_at": c.ended_at,
        "previous_id": c.previous,
        "metadata": c.metadata,
        "context": c.context,
        "state": c.state,
        "rating": c.rating,
        "rating_comment": c.rating_comment,
        "messages": said.iter().map(message).collect::<Vec<_>>(),
        "escalations": hand_offs.iter().map(escalation).collect::<Vec<_>>(),
        "actions": effects.iter().map(effect).collect::<Vec<_>>(),
        "notes": notes.iter().map(|n| json!({ "id": n.id, "content": n.content, "created_at": n.created_at })).collect::<Vec<_>>(),
        "drafts": drafts.iter().map(|d| json!({ "id": d.id, "content": d.content, "created_at": d.created_at })).collect::<Vec<_>>(),
    }))
}

fn message(m: &Message) -> Value {
    json!({
        "id": m.id,
        "seq": m.seq,
        "sender_type": m.sender,
        "content": m.content,
        "content_type": m.content_type,
        "attachments": m.attachments,
        "intent": m.analysis.intent,
        "sentiment_score": m.analysis.sentiment,
        "entities": m.analysis.entities,
        "metadata": m.metadata,
        "created_at": m.created_at,
    })
}

fn escalation(e: &Escalation) -> Value {
    json!({
        "id": e.id,
        "reason": e.reason,
        "priority": e.priority,
        "queue": e.queue,
        "case_number": e.case_number,
        "summary": e.summary,
        "resolution_notes": e.resolution_notes,
        "created_at": e.created_at,
        "resolved_at": e.resolved_at,
    })
}

fn effect(e: &Effect) -> Value {
    json!({
        "id": e.id,
        "action_type": e.action_type,
        "parameters": e.parameters,
        "status": e.status,
        "result": e.result,
        "created_at": e.created_at,
        "ended_at": e.ended_at,
    })
}
