//! The JSON shapes of the outside interface, and how they come from the protos.
//!
//! In: messages of the services. Out: serializable values with schemas; a key that has nothing to say is `null`, never
//! missing. Never: a decision.
use jiff::Timestamp;
use prost_types::Struct;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use switchboard_proto::{
    conversation::v1 as conversation,
    convert::{from_struct, from_timestamp},
    events::v1 as events,
    events::v1::{ContentType, ConversationStatus, Owner, SenderType},
    types::v1 as types,
    types::v1::{ActionStatus, Channel, Priority, Rung, SentimentLabel},
};
use utoipa::ToSchema;

use crate::names::word;

/// RFC 3339 in UTC with microseconds.
pub(crate) fn instant(t: Timestamp) -> String {
    format!("{t:.6}")
}

pub(crate) fn time(t: &Option<prost_types::Timestamp>) -> Option<String> {
    t.as_ref().and_then(from_timestamp).map(instant)
}

pub(crate) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(crate) fn object(s: Option<Struct>) -> Map<String, Value> {
    s.as_ref().map(from_struct).unwrap_or_default()
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Ask with it for the next page; null at the end.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn of<P>(items: Vec<P>, next: String) -> Self
    where
        T: From<P>,
    {
        Page { items: items.into_iter().map(T::from).collect(), next_cursor: some(next) }
    }
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversation {
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// The customer.
    #[schema(format = Uuid)]
    pub(crate) user_id: String,
    #[schema(format = Uuid)]
    pub(crate) organization_id: String,
    /// web, mobile, email, slack, api or phone.
    pub(crate) channel: String,
    /// active, waiting, resolved, escalated or abandoned.
    pub(crate) status: String,
    /// Who answers: ai, human or none.
    pub(crate) owner: String,
    /// The newest durable event; the ETag.
    pub(crate) seq: u64,
    /// BCP 47 tag.
    #[schema(required)]
    pub(crate) language: Option<String>,
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) last_activity_at: String,
    #[schema(format = DateTime)]
    pub(crate) ended_at: Option<String>,
    /// The case in Salesforce.
    pub(crate) salesforce_case: Option<String>,
    /// The human who owns it.
    pub(crate) assigned_to: Option<String>,
    /// The conversation that this one goes on from.
    pub(crate) previous_id: Option<String>,
}

impl From<conversation::Conversation> for Conversation {
    fn from(c: conversation::Conversation) -> Self {
        Conversation {
            id: c.id,
            user_id: c.user_id,
            organization_id: c.organization_id,
            channel: word::<Channel>(c.channel).unwrap_or_default(),
            status: word::<ConversationStatus>(c.status).unwrap_or_default(),
            owner: word::<Owner>(c.owner).unwrap_or_default(),
            seq: c.seq,
            language: some(c.language),
            metadata: object(c.metadata),
            created_at: time(&c.create_time).unwrap_or_default(),
            last_activity_at: time(&c.last_activity_time).unwrap_or_default(),
            ended_at: time(&c.end_time),
            salesforce_case: some(c.salesforce_case),
            assigned_to: some(c.assigned_to),
            previous_id: some(c.previous_id),
        }
    }
}

/// A new conversation, with the reply to its first message if it came with one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedConversation {
    #[serde(flatten)]
    pub(crate) conversation: Conversation,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) reply: Option<MessageResponse>,
}

/// Counts of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metrics {
    pub(crate) total_messages: u32,
    pub(crate) user_messages: u32,
    pub(crate) ai_messages: u32,
    pub(crate) avg_response_time_seconds: f64,
    pub(crate) unique_intents: u32,
    pub(crate) escalation_count: u32,
}

/// A conversation with its newest messages and what is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConversationDetail {
    #[serde(flatten)]
    pub(crate) conversation: Conversation,
    /// The newest, ascending by seq.
    pub(crate) messages: Vec<Message>,
    /// What is remembered between turns.
    #[schema(value_type = Object)]
    pub(crate) context: Map<String, Value>,
    pub(crate) escalation: Option<Escalation>,
    pub(crate) metrics: Metrics,
    pub(crate) message_count: u32,
    pub(crate) ai_confidence_avg: Option<f64>,
    pub(crate) sentiment_score: Option<f64>,
    /// automated, human, abandoned or escalated.
    pub(crate) resolution_type: Option<String>,
    pub(crate) resolution_time_seconds: Option<u64>,
    pub(crate) escalated: bool,
    pub(crate) escalation_reason: Option<String>,
    pub(crate) satisfaction_score: Option<u32>,
    pub(crate) satisfaction_feedback: Option<String>,
}

impl ConversationDetail {
    /// As staff or the customer see it.
    pub(crate) fn seen_by(staff: bool, s: conversation::GetConversationStateResponse) -> Self {
        let m = s.metrics.unwrap_or_default();
        ConversationDetail {
            escalated: m.escalation_count > 0 || s.escalation.is_some(),
            escalation_reason: s.escalation.as_ref().and_then(|e| some(e.reason.clone())),
            conversation: s.conversation.unwrap_or_default().into(),
            messages: s.messages.into_iter().map(Message::from).collect(),
            context: object(s.context),
            escalation: s.escalation.map(|e| Escalation::seen_by(staff, e)),
            message_count: m.total_messages,
            ai_confidence_avg: m.ai_confidence_avg,
            sentiment_score: m.sentiment_score,
            metrics: Metrics {
                total_messages: m.total_messages,
                user_messages: m.user_messages,
                ai_messages: m.ai_messages,
                avg_response_time_seconds: m.avg_response_time_seconds,
                unique_intents: m.unique_intents,
                escalation_count: m.escalation_count,
            },
            resolution_type: word::<conversation::ResolutionType>(s.resolution_type),
            resolution_time_seconds: s.resolution_time_seconds,
            satisfaction_score: s.satisfaction_score,
            satisfaction_feedback: some(s.satisfaction_feedback),
        }
    }
}

/// A message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Message {
    #[schema(format = Uuid)]
    pub(crate) id: String,
    #[schema(format = Uuid)]
    pub(crate) conversation_id: String,
    /// The seq of its event.
    pub(crate) seq: u64,
    /// user, ai_agent, human_agent or system.
    pub(crate) sender_type: String,
    pub(crate) sender_id: Option<String>,
    /// As it was sent.
    pub(crate) content: String,
    /// text, image, file, code or error_log.
    pub(crate) content_type: String,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) intent: Option<String>,
    pub(crate) intent_confidence: Option<f64>,
    pub(crate) sentiment_score: Option<f64>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) citations: Vec<Citation>,
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    pub(crate) edited_at: Option<String>,
    pub(crate) deleted_at: Option<String>,
}

impl From<events::Message> for Message {
    fn from(m: events::Message) -> Self {
        let understood = !m.intent.is_empty();
        Message {
            id: m.id,
            conversation_id: m.conversation_id,
            seq: m.seq,
            sender_type: word::<SenderType>(m.sender_type).unwrap_or_default(),
            sender_id: some(m.sender_id),
            content: m.content,
            content_type: word::<ContentType>(m.content_type).unwrap_or_else(|| "text".to_owned()),
            attachments: m.attachments.into_iter().map(Attachment::from).collect(),
            intent: some(m.intent),
            intent_confidence: understood.then_some(m.intent_confidence),
            sentiment_score: m.sentiment_score,
            entities: m.entities.into_iter().map(Entity::from).collect(),
            citations: m.citations.into_iter().map(Citation::from).collect(),
            metadata: object(m.metadata),
            created_at: time(&m.create_time).unwrap_or_default(),
            // The store keeps messages as they were sent; these are part of the shape for readers of other systems.
            edited_at: None,
            deleted_at: None,
        }
    }
}

/// What a message came to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MessageResponse {
    /// The reply's; null if there is none.
    #[schema(required, format = Uuid)]
    pub(crate) message_id: Option<String>,
    #[schema(format = Uuid)]
    pub(crate) user_message_id: String,
    #[schema(format = Uuid)]
    pub(crate) conversation_id: String,
    /// The reply's; without a reply, the customer message's.
    pub(crate) seq: u64,
    /// The reply; null if there is none, as while a human owns the conversation.
    #[schema(required)]
    pub(crate) response: Option<String>,
    #[schema(required)]
    pub(crate) intent: Option<String>,
    /// 0 to 1.
    pub(crate) confidence: f64,
    #[schema(required)]
    pub(crate) sentiment: Option<Sentiment>,
    pub(crate) entities: Vec<Entity>,
    /// What was done and what is proposed.
    pub(crate) suggested_actions: Vec<Action>,
    /// What the reply rests on.
    pub(crate) citations: Vec<Citation>,
    /// True if a human takes over.
    pub(crate) requires_escalation: bool,
    #[schema(required)]
    pub(crate) escalation: Option<Escalation>,
    /// Status after the turn.
    pub(crate) status: String,
    /// Owner after the turn.
    pub(crate) owner: String,
    /// Where the reply comes from: primary, fallback, extract, flow, canned or human.
    #[schema(required)]
    pub(crate) rung: Option<String>,
    #[schema(required)]
    pub(crate) language: Option<String>,
}

impl MessageResponse {
    /// As staff or the customer see it.
    pub(crate) fn seen_by(staff: bool, o: events::TurnOutcome) -> Self {
        MessageResponse {
            message_id: some(o.message_id),
            user_message_id: o.user_message_id,
            conversation_id: o.conversation_id,
            seq: o.seq,
            response: o.response,
            intent: some(o.intent),
            confidence: o.confidence,
            sentiment: o.sentiment.map(Sentiment::from),
            entities: o.entities.into_iter().map(Entity::from).collect(),
            suggested_actions: o.suggested_actions.into_iter().map(Action::from).collect(),
            citations: o.citations.into_iter().map(Citation::from).collect(),
            requires_escalation: o.requires_escalation,
            escalation: o.escalation.map(|e| Escalation::seen_by(staff, e)),
            status: word::<ConversationStatus>(o.status).unwrap_or_default(),
            owner: word::<Owner>(o.owner).unwrap_or_default(),
            rung: word::<Rung>(o.rung),
            language: some(o.language),
        }
    }
}

/// How the customer feels.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Sentiment {
    /// negative, neutral or positive.
    pub(crate) label: String,
    /// -1 to 1.
    pub(crate) score: f64,
}

impl From<types::Sentiment> for Sentiment {
    fn from(s: types::Sentiment) -> Self {
        Sentiment { label: word::<SentimentLabel>(s.label).unwrap_or_else(|| "neutral".to_owned()), score: s.score }
    }
}

/// Something in the text that a program can use.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Entity {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The words as written.
    pub(crate) value: String,
    pub(crate) normalized: String,
    /// First character, counted in Unicode scalar values.
    pub(crate) start: u32,
    /// One past the last.
    pub(crate) end: u32,
    pub(crate) confidence: f64,
}

impl From<types::Entity> for Entity {
    fn from(e: types::Entity) -> Self {
        Entity {
            kind: e.r#type,
            value: e.value,
            normalized: e.normalized,
            start: e.start,
            end: e.end,
            confidence: e.confidence,
        }
    }
}

/// A passage that a reply rests on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Citation {
    #[schema(format = Uuid)]
    pub(crate) article_id: String,
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) url: Option<String>,
    /// The words of the article, exactly as they stand there.
    pub(crate) quote: String,
}

impl From<types::Citation> for Citation {
    fn from(c: types::Citation) -> Self {
        Citation { article_id: c.article_id, version: c.version, title: c.title, url: some(c.url), quote: c.quote }
    }
}

/// What is done, or proposed, beside the reply.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Action {
    /// The row of the effect ledger; null for a proposal such as a quick reply.
    pub(crate) id: Option<String>,
    pub(crate) action_type: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// pending, running, completed, failed or cancelled.
    pub(crate) status: String,
    pub(crate) result: Option<BTreeMap<String, String>>,
}

impl From<types::Action> for Action {
    fn from(a: types::Action) -> Self {
        Action {
            id: some(a.id),
            action_type: a.action_type,
            parameters: a.parameters.into_iter().collect(),
            // A proposal waits for the customer.
            status: word::<ActionStatus>(a.status).unwrap_or_else(|| "pending".to_owned()),
            result: (!a.result.is_empty()).then(|| a.result.into_iter().collect()),
        }
    }
}

/// A hand-off to humans.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Escalation {
    pub(crate) reason: String,
    /// low, medium, high or critical.
    pub(crate) priority: String,
    pub(crate) queue_name: String,
    /// The case in Salesforce.
    pub(crate) case_number: Option<String>,
    pub(crate) assigned_to: Option<String>,
    pub(crate) assigned_at: Option<String>,
    /// When the first human answer is due.
    #[schema(required, format = DateTime)]
    pub(crate) sla_deadline: Option<String>,
    pub(crate) resolved_at: Option<String>,
    /// Null for customers.
    pub(crate) resolution_notes: Option<String>,
    /// Null for customers.
    pub(crate) resolved_by: Option<String>,
    pub(crate) created_at: Option<String>,
    /// What the human should know, in a few lines; null for customers.
    pub(crate) summary: Option<String>,
}

impl Escalation {
    /// As staff or the customer see it: what colleagues write for each other stays among them.
    pub(crate) fn seen_by(staff: bool, e: events::Escalation) -> Self {
        let internal = |text: String| some(text).filter(|_| staff);
        Escalation {
            reason: e.reason,
            priority: word::<Priority>(e.priority).unwrap_or_else(|| "medium".to_owned()),
            queue_name: e.queue_name,
            case_number: some(e.case_number),
            assigned_to: some(e.assigned_to),
            assigned_at: time(&e.assign_time),
            sla_deadline: time(&e.sla_deadline),
            resolved_at: time(&e.resolve_time),
            resolution_notes: internal(e.resolution_notes),
            resolved_by: internal(e.resolved_by),
            created_at: time(&e.create_time),
            summary: internal(e.summary),
        }
    }
}

/// Something sent with a message: a file with `name`, `media_type`, `size` and `url` or `data`; or inline content with
/// `type` and `content`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub(crate) name: Option<String>,
    /// Such as `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// Where the content is, if it is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The content in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
    /// For inline content: text, image, file or code.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// For inline content: the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
}

impl From<types::Attachment> for Attachment {
    fn from(a: types::Attachment) -> Self {
        let inline = !a.r#type.is_empty();
        Attachment {
            name: some(a.name),
            media_type: some(a.media_type),
            size: (!inline || a.size > 0).then_some(a.size),
            url: some(a.url),
            data: some(a.data),
            kind: some(a.r#type),
            content: some(a.content),
        }
    }
}
