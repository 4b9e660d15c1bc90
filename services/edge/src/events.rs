//! Events of a conversation as frames for watchers; the WebSocket and server-sent events share them.
//!
//! In: what `Subscribe` sends. Out: named frames, each durable event once and in order. Never: an event that was seen before.
use serde::Serialize;
use serde_json::{Map, Value};
use switchboard_proto::{
    conversation::v1::{Conversation, Presence, SubscribeResponse, subscribe_response},
    events::v1::{
        ConversationEvent, ConversationStatus, MessageAdded, Owner, SenderType, StatusChanged, TurnOutcome,
        conversation_event,
    },
};

use crate::{names::word, view};

/// One frame for a client.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) event: &'static str,
    /// Of durable events.
    pub(crate) seq: Option<u64>,
    pub(crate) data: Value,
}

impl Frame {
    fn new(event: &'static str, seq: Option<u64>, data: impl Serialize) -> Self {
        Frame { event, seq, data: serde_json::to_value(data).unwrap_or_default() }
    }

    /// As it goes over the WebSocket.
    pub(crate) fn text(&self) -> String {
        let mut frame = Map::new();
        frame.insert("event".to_owned(), self.event.into());
        frame.insert("data".to_owned(), self.data.clone());
        Value::Object(frame).to_string()
    }
}

#[derive(Serialize)]
struct MessageReceived {
    conversation_id: String,
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    seq: u64,
    message: view::Message,
}

#[derive(Serialize)]
struct FinalResponse {
    #[serde(flatten)]
    response: view::MessageResponse,
    done: bool,
    actions: Vec<view::Action>,
}

#[derive(Serialize)]
struct TypingIndicator {
    conversation_id: String,
    who: String,
    typing: bool,
}

#[derive(Serialize)]
struct StatusUpdate {
    conversation_id: String,
    seq: u64,
    status: String,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalation: Option<view::Escalation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<view::Message>,
}

/// A message that is stored.
pub(crate) fn message_received(message: switchboard_proto::events::v1::Message, client_message_id: &str) -> Frame {
    let seq = message.seq;
    let data = MessageReceived {
        conversation_id: message.conversation_id.clone(),
        message_id: message.id.clone(),
        client_message_id: view::some(client_message_id.to_owned()),
        seq,
        message: message.into(),
    };
    Frame::new("message_received", Some(seq), data)
}

/// The final word of a turn, as staff or the customer see it.
pub(crate) fn final_response(staff: bool, outcome: TurnOutcome) -> Frame {
    let response = view::MessageResponse::seen_by(staff, outcome);
    let actions = response.suggested_actions.clone();
    Frame::new("ai_response", Some(response.seq), FinalResponse { response, done: true, actions })
}

/// What a watcher knows of a conversation: enough to say where it stands with each event.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) id: String,
    /// The newest durable event that was passed on.
    pub(crate) seen: u64,
    /// Whether the watcher works for the organization.
    staff: bool,
    status: String,
    owner: String,
    escalation: Option<view::Escalation>,
}

/// An event as far as a session has to know it.
pub(crate) enum Seen {
    /// A message, with the id that its sender gave it.
    Message { frame: Frame, client_message_id: String, by_human: Option<Frame> },
    /// Anything else.
    Other(Frame),
}

impl Watch {
    /// A watcher that has seen everything up to here.
    pub(crate) fn new(staff: bool, id: String, seen: u64) -> Self {
        Watch { id, seen, staff, ..Watch::default() }
    }

    /// Notes where the conversation stands. Who claims to have seen more than there is would be told nothing for long.
    pub(crate) fn stands(&mut self, c: &Conversation) {
        self.seen = self.seen.min(c.seq);
        self.status = word::<ConversationStatus>(c.status).unwrap_or_default();
        self.owner = word::<Owner>(c.owner).unwrap_or_default();
    }

    /// True if there may be a hand-off to tell of.
    pub(crate) fn handed_over(&self) -> bool {
        self.status == "escalated" || self.owner == "human"
    }

    pub(crate) fn set_escalation(&mut self, escalation: Option<switchboard_proto::events::v1::Escalation>) {
        self.escalation = escalation.map(|e| view::Escalation::seen_by(self.staff, e));
    }

    /// Where the conversation stands, as the answer to `connect`.
    pub(crate) fn status(&self, seq: u64) -> Frame {
        self.update(seq, None, None, None)
    }

    fn update(&self, seq: u64, durable: Option<u64>, reason: Option<String>, message: Option<view::Message>) -> Frame {
        let data = StatusUpdate {
            conversation_id: self.id.clone(),
            seq,
            status: self.status.clone(),
            owner: self.owner.clone(),
            reason,
            escalation: self.escalation.clone().filter(|_| self.handed_over()),
            message,
        };
        Frame::new("status_update", durable, data)
    }

    /// The frame for what `Subscribe` sent; none if it was seen before or says nothing new.
    pub(crate) fn take(&mut self, sent: SubscribeResponse) -> Option<Seen> {
        match sent.kind? {
            subscribe_response::Kind::Joined(conversation) => {
                self.stands(&conversation);
                None
            }
            subscribe_response::Kind::Presence(p) => self.presence(p).map(Seen::Other),
            subscribe_response::Kind::Event(event) => self.event(event),
        }
    }

    fn presence(&self, p: Presence) -> Option<Frame> {
        // What somebody has read is no event of the interface.
        let data = TypingIndicator { conversation_id: self.id.clone(), who: p.who, typing: p.typing };
        (p.read_seq == 0).then(|| Frame::new("typing_indicator", None, data))
    }

    fn event(&mut self, event: ConversationEvent) -> Option<Seen> {
        let seq = event.seq;
        if seq <= self.seen {
            return None;
        }
        self.seen = seq;
        match event.kind? {
            conversation_event::Kind::StatusChanged(change) => Some(Seen::Other(self.changed(seq, change))),
            conversation_event::Kind::MessageAdded(added) => self.message(added),
        }
    }

    fn changed(&mut self, seq: u64, change: StatusChanged) -> Frame {
        self.status = word::<ConversationStatus>(change.status).unwrap_or_else(|| std::mem::take(&mut self.status));
        self.owner = word::<Owner>(change.owner).unwrap_or_else(|| std::mem::take(&mut self.owner));
        if change.escalation.is_some() {
            self.set_escalation(change.escalation);
        }
        self.update(seq, Some(seq), view::some(change.reason), None)
    }

    fn message(&mut self, added: MessageAdded) -> Option<Seen> {
        let message = added.message?;
        let client_message_id = added.client_message_id;
        match message.sender_type() {
            SenderType::AiAgent => {
                let outcome = added.outcome.unwrap_or_else(|| TurnOutcome {
                    message_id: message.id.clone(),
                    conversation_id: message.conversation_id.clone(),
                    seq: message.seq,
                    response: Some(message.content.clone()),
                    intent: message.intent.clone(),
                    citations: message.citations.clone(),
                    ..TurnOutcome::default()
                });
                self.status =
                    word::<ConversationStatus>(outcome.status).unwrap_or_else(|| std::mem::take(&mut self.status));
                self.owner = word::<Owner>(outcome.owner).unwrap_or_else(|| std::mem::take(&mut self.owner));
                if outcome.escalation.is_some() {
                    self.set_escalation(outcome.escalation.clone());
                }
                Some(Seen::Other(final_response(self.staff, outcome)))
            }
            SenderType::HumanAgent => {
                let seq = message.seq;
                let told = self.update(seq, Some(seq), None, Some(message.clone().into()));
                let frame = message_received(message, &client_message_id);
                Some(Seen::Message { frame, client_message_id, by_human: Some(told) })
            }
            SenderType::System => {
                let seq = message.seq;
                Some(Seen::Other(self.update(seq, Some(seq), None, Some(message.into()))))
            }
            SenderType::User | SenderType::Unspecified => {
                let frame = message_received(message, &client_message_id);
                Some(Seen::Message { frame, client_message_id, by_human: None })
            }
        }
    }
}
