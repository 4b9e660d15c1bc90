//! What a conversation is made of.
//!
//! In and out: plain values, stored as JSON where a column would say no more. Never: prost types, SQL, the clock.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::machine::{Owner, Status};

/// A conversation's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// UUIDv7.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// The customer.
    pub user: Uuid,
    /// `web`, `mobile`, `email`, `slack`, `api` or `phone`.
    pub channel: String,
    /// Where it stands.
    pub status: Status,
    /// Who answers.
    pub owner: Owner,
    /// The newest event.
    pub seq: u64,
    /// Raised whenever the owner changes; a reply made under an older one is a draft.
    pub owner_epoch: u64,
    /// The human who has it.
    pub assigned_to: Option<Uuid>,
    /// BCP 47 tag.
    pub language: String,
    /// The caller's own notes.
    pub metadata: Map<String, Value>,
    /// What is remembered for callers.
    pub context: Map<String, Value>,
    /// What is remembered for the turn.
    pub state: State,
    /// The newest customer message.
    pub last_user_seq: u64,
    /// The newest customer message that needs no turn any more.
    pub answered_seq: u64,
    /// The running turn.
    pub turn: Option<Turn>,
    /// When it began.
    pub created_at: Timestamp,
    /// The last message.
    pub last_activity_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub resolution: Option<Resolution>,
    /// True if nobody confirmed the resolution.
    pub assumed: bool,
    /// 1 to 5.
    pub rating: Option<u32>,
    /// Words with the rating.
    pub rating_comment: String,
    /// The conversation this one goes on from.
    pub previous: Option<Uuid>,
    /// Replies so far, for the mean response time.
    pub response_count: u64,
    /// Their time in all.
    pub response_micros: u64,
    /// The newest hand-off.
    pub escalation: Option<Escalation>,
}

impl Conversation {
    /// True if the AI has something to say: an unanswered message and no human in charge.
    pub fn wants_turn(&self) -> bool {
        self.answered_seq < self.last_user_seq && self.owner != Owner::Human
    }

    /// True while a turn runs that has not outlived its lease.
    pub fn in_turn(&self, now: Timestamp) -> bool {
        self.turn.as_ref().is_some_and(|t| t.until > now)
    }
}

/// A running turn: held by a lease, so that another process takes it up if this one dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who holds it.
    pub token: Uuid,
    /// Until when.
    pub until: Timestamp,
}

/// How a matter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Without a human.
    Automated,
    /// By a human.
    Human,
    /// The customer left.
    Abandoned,
    /// Ended while it waited for a human.
    Escalated,
}

/// What the turn remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The open flow.
    pub flow: Option<Flow>,
    /// Turns in a row without a sure answer.
    pub failed_turns: u32,
    /// Angry messages in a row.
    pub angry_messages: u32,
    /// How often the waiting turn was taken up again.
    pub turn_tries: u32,
    /// The newest message of a human agent.
    pub last_human_seq: u64,
    /// The newest case that was made for this conversation.
    pub case_number: Option<String>,
    /// What the customer pays for, as it was when the conversation began; empty: standard.
    pub tier: String,
    /// The customer's address, as far as identity knows it.
    pub email: String,
}

impl State {
    /// The flow that waits for the customer, if one does.
    pub fn open_flow(&self) -> Option<&Flow> {
        self.flow.as_ref().filter(|f| !f.flow_id.is_empty())
    }
}

/// Where a flow stands; rules alone looks inside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The flow.
    pub flow_id: String,
    /// The step.
    pub step_id: String,
    /// What was collected.
    pub slots: BTreeMap<String, String>,
    /// How often it was asked.
    pub attempts: u32,
    /// The bundle it began under.
    pub policy_version: String,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// The customer.
    User,
    /// The AI.
    AiAgent,
    /// A human agent.
    HumanAgent,
    /// The system.
    System,
}

/// What a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// Words.
    #[default]
    Text,
    /// A picture.
    Image,
    /// A file.
    File,
    /// Code.
    Code,
    /// Lines of a log.
    ErrorLog,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// UUIDv7.
    pub id: Uuid,
    /// Its event.
    pub seq: u64,
    /// Who wrote it.
    pub sender: Sender,
    /// The user behind it.
    pub sender_id: Option<Uuid>,
    /// As it was sent.
    pub content: String,
    /// What it is.
    pub content_type: ContentType,
    /// What came with it.
    pub attachments: Vec<Attachment>,
    /// What was understood.
    pub analysis: Analysis,
    /// What it rests on.
    pub citations: Vec<Citation>,
    /// The sender's notes.
    pub metadata: Map<String, Value>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The sender's own id of it.
    pub client_message_id: Option<String>,
    /// For a reply: the whole outcome.
    pub outcome: Option<Box<Outcome>>,
}

/// What was understood of a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The intent.
    pub intent: Option<String>,
    /// 0 to 1.
    pub confidence: Option<f64>,
    /// −1 to 1.
    pub sentiment: Option<f64>,
    /// What was found.
    pub entities: Vec<Entity>,
}

/// Something sent along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// File name.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// Where it is.
    pub url: String,
    /// Content in base64.
    pub data: String,
    /// Inline kind.
    pub kind: String,
    /// Inline text.
    pub content: String,
}

/// Something a program can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Kind.
    pub kind: String,
    /// As written.
    pub value: String,
    /// In one form.
    pub normalized: String,
    /// First character.
    pub start: u32,
    /// One past the last.
    pub end: u32,
    /// 0 to 1.
    pub confidence: f64,
}

/// A passage a reply rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The article.
    pub article: String,
    /// Its version.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// Where to read it.
    pub url: String,
    /// The words.
    pub quote: String,
}

/// How the customer feels: the label follows from the score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sentiment {
    /// −1 to 1.
    pub score: f64,
    /// 0 to 1.
    pub anger: f64,
}

/// The rung a reply stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The primary model.
    Primary,
    /// The fallback model.
    Fallback,
    /// A quote.
    Extract,
    /// A flow's step.
    Flow,
    /// A prepared text.
    Canned,
    /// A person.
    Human,
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// Written down.
    Pending,
    /// Being tried.
    Running,
    /// Confirmed.
    Completed,
    /// Given up.
    Failed,
    /// Withdrawn.
    Cancelled,
}

/// What was done, or is proposed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The ledger's row; none for a proposal.
    pub id: Option<Uuid>,
    /// Kind.
    pub action_type: String,
    /// With what.
    pub parameters: BTreeMap<String, String>,
    /// How far.
    pub status: ActionStatus,
    /// What came of it.
    pub result: BTreeMap<String, String>,
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The reply's id.
    pub message_id: Option<Uuid>,
    /// The newest message that it answers.
    pub user_message_id: Uuid,
    /// That message's seq: every customer message up to here is answered.
    pub answers_up_to: u64,
    /// The conversation.
    pub conversation_id: Uuid,
    /// The reply's seq, or the message's.
    pub seq: u64,
    /// The reply.
    pub response: Option<String>,
    /// What was understood.
    pub intent: String,
    /// How sure.
    pub confidence: f64,
    /// How the customer feels.
    pub sentiment: Sentiment,
    /// What was found.
    pub entities: Vec<Entity>,
    /// What was done and is proposed.
    pub actions: Vec<Action>,
    /// What it rests on.
    pub citations: Vec<Citation>,
    /// True if a human takes over.
    pub requires_escalation: bool,
    /// The hand-off.
    pub escalation: Option<Escalation>,
    /// Status after.
    pub status: Status,
    /// Owner after.
    pub owner: Owner,
    /// The rung.
    pub rung: Option<Rung>,
    /// Language of the reply.
    pub language: String,
}

/// How soon somebody has to look; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Can wait.
    Low = 1,
    /// The usual.
    Medium = 2,
    /// Before the usual.
    High = 3,
    /// At once.
    Critical = 4,
}

/// A hand-off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// UUIDv7.
    pub id: Uuid,
    /// Why.
    pub reason: String,
    /// How soon.
    pub priority: Priority,
    /// Where it waits.
    pub queue: String,
    /// The case.
    pub case_number: Option<String>,
    /// Who took it.
    pub assigned_to: Option<Uuid>,
    /// When.
    pub assigned_at: Option<Timestamp>,
    /// When the first answer is due.
    pub sla_deadline: Timestamp,
    /// True once the deadline passed with nobody there.
    #[serde(default)]
    pub breached: bool,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// What the human wrote.
    pub resolution_notes: String,
    /// Who ended it.
    pub resolved_by: Option<Uuid>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the human should know.
    pub summary: String,
    /// True if somebody gave the reason in words of their own: then it is no code, and stays among those who may read words.
    #[serde(default)]
    pub own_words: bool,
}

/// A durable event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// UUIDv7.
    pub id: Uuid,
    /// Counted per conversation.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A message.
    Message(Box<Message>),
    /// Status, owner or context.
    Status(Box<StatusChange>),
}

/// A change without a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusChange {
    /// Status now.
    pub status: Status,
    /// Owner now.
    pub owner: Owner,
    /// Why, as a word.
    pub reason: String,
    /// The hand-off as it stands.
    pub escalation: Option<Escalation>,
}

/// A row of the effect ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// UUIDv7.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// What the target gets.
    pub key: String,
    /// The conversation.
    pub conversation: Uuid,
    /// The customer.
    pub user: Uuid,
    /// Kind.
    pub action_type: String,
    /// With what.
    pub parameters: BTreeMap<String, String>,
    /// How far.
    pub status: ActionStatus,
    /// Tries so far.
    pub attempts: u32,
    /// What came of it.
    pub result: BTreeMap<String, String>,
    /// Why the last try failed.
    pub last_error: String,
    /// When to try next.
    pub next_attempt_at: Timestamp,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A reply that came too late.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// UUIDv7.
    pub id: Uuid,
    /// The message it answers.
    pub user_message: Uuid,
    /// The words.
    pub content: String,
    /// What it rests on.
    pub citations: Vec<Citation>,
    /// When.
    pub created_at: Timestamp,
}

/// An internal note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// UUIDv7.
    pub id: Uuid,
    /// Who wrote it.
    pub author: Uuid,
    /// The words.
    pub content: String,
    /// When.
    pub created_at: Timestamp,
}

/// A reply that cites an article.
#[derive(Debug, Clone, PartialEq)]
pub struct CitingAnswer {
    /// The conversation.
    pub conversation: Uuid,
    /// The message.
    pub message: Uuid,
    /// The customer.
    pub user: Uuid,
    /// The version.
    pub version: u32,
    /// When.
    pub created_at: Timestamp,
    /// Where the conversation stands.
    pub status: Status,
}

/// What can be counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Of everybody.
    pub total: u32,
    /// Of the customer.
    pub user: u32,
    /// Of the AI.
    pub ai: u32,
    /// Different intents.
    pub intents: u32,
    /// Hand-offs.
    pub escalations: u32,
    /// Mean confidence of replies.
    pub confidence: Option<f64>,
    /// Mean sentiment of the customer.
    pub sentiment: Option<f64>,
}
