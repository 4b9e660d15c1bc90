//! How a conversation begins.
//!
//! In: who, where from, with what. Out: its row. Never: a second one for the same request.
use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use switchboard_runtime::{Caller, Role};
use uuid::Uuid;

use crate::{
    engine::Engine,
    error::Error,
    machine::{Owner, Status},
    model::{ContentType, Conversation, Outcome, Sender, State},
    store::NewConversation,
    turn::{CONTINUED, Incoming, is_past_reopening},
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Start {
    /// The request's own id.
    pub request_id: Option<String>,
    /// The customer; the caller by default.
    pub user: Option<Uuid>,
    /// Where they write from.
    pub channel: String,
    /// What they say first.
    pub initial_message: Option<String>,
    /// The caller's notes.
    pub metadata: Map<String, Value>,
    /// Their language; English by default.
    pub language: Option<String>,
}

impl Engine {
    /// Begins a conversation, and with a first message runs its first turn. True if an earlier request had begun it.
    pub async fn begin(
        self: &Arc<Self>,
        caller: &Caller,
        start: Start,
    ) -> Result<(Conversation, Option<Outcome>, bool), Error> {
        let user = start.user.unwrap_or(caller.user);
        if user != caller.user && caller.role == Role::Customer {
            return Err(Error::Forbidden("A customer can only start its own conversations."));
        }
        let fingerprint = fingerprint(user, &start);
        let row = self.new_row(caller.org, user, &start).await;
        // Those who begin conversations for others count their requests apart from the customer's own.
        let foreign = user != caller.user;
        let request_id = start.request_id.clone().map(|id| if foreign { format!("{}:{id}", caller.user) } else { id });
        let new = NewConversation { row: row.clone(), request_id, fingerprint: fingerprint.clone() };
        let (row, repeated) = match self.store.create(new).await? {
            None => {
                self.shared.rows.put(row.clone());
                (row, false)
            }
            Some((_, earlier)) if earlier != fingerprint => return Err(Error::RequestIdReused),
            Some((row, _)) => (row, true),
        };
        let Some(content) = start.initial_message else { return Ok((row, None, repeated)) };
        let first = Incoming {
            sender: Sender::User,
            sender_id: user,
            content,
            content_type: ContentType::Text,
            attachments: vec![],
            // So that a repeated request finds the first message and its answer.
            client_message_id: Some(format!("initial:{}", row.id)),
        };
        let outcome = self.converse(&row, first).await?;
        // As it was created: the turn's consequences are in the reply.
        let created = Conversation { status: Status::Active, owner: Owner::Ai, ..row };
        Ok((created, Some(outcome), repeated))
    }

    /// Where a message goes: into its conversation, or, long after that ended, into a new one that goes on from it.
    pub async fn continued(&self, row: Conversation) -> Result<Conversation, Error> {
        let since = self.before_now(self.config.reopen_window);
        if !is_past_reopening(&row, since) {
            return Ok(row);
        }
        // A new conversation is no compare-and-set: the row must not be an old one.
        let row = self.shared.rows.load(row.org, row.id).await?.ok_or(Error::ConversationNotFound(row.id))?;
        if !is_past_reopening(&row, since) {
            return Ok(row);
        }
        let start = Start {
            // Two messages at once continue in one conversation.
            request_id: Some(format!("{CONTINUED}:{}", row.id)),
            user: Some(row.user),
            channel: row.channel.clone(),
            initial_message: None,
            metadata: row.metadata.clone(),
            language: Some(row.language.clone()),
        };
        let mut next = self.new_row(row.org, row.user, &start).await;
        next.previous = Some(row.id);
        let new =
            NewConversation { row: next.clone(), request_id: start.request_id, fingerprint: CONTINUED.to_owned() };
        Ok(self.store.create(new).await?.map_or(next, |(earlier, _)| earlier))
    }

    async fn new_row(&self, org: Uuid, user: Uuid, start: &Start) -> Conversation {
        let now = self.clock.now();
        let (tier, email) = self.profile(user).await;
        Conversation {
            id: self.clock.new_id(),
            org,
            user,
            channel: start.channel.clone(),
            status: Status::Active,
            owner: Owner::Ai,
            seq: 0,
            owner_epoch: 0,
            assigned_to: None,
            language: start.language.clone().unwrap_or_else(|| "en".to_owned()),
            metadata: start.metadata.clone(),
            context: Map::new(),
            state: State { tier, email, ..State::default() },
            last_user_seq: 0,
            answered_seq: 0,
            turn: None,
            created_at: now,
            last_activity_at: now,
            ended_at: None,
            resolution: None,
            assumed: false,
            rating: None,
            rating_comment: String::new(),
            previous: None,
            response_count: 0,
            response_micros: 0,
            escalation: None,
        }
    }
}

fn fingerprint(user: Uuid, start: &Start) -> String {
    let text =
        serde_json::json!([user, start.channel, start.initial_message, start.metadata, start.language]).to_string();
    format!("{:x}", Sha256::digest(text.as_bytes()))
}
