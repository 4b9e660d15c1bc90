//! Events as programs outside hear of them: domain → protobuf with the attributes of CloudEvents.
//!
//! In: a commit and its events. Out: bytes for the outbox, and from them records for the bus. Never: a word of a person: what
//! people can fill in freely is left out, or is told as a code.
use prost::Message as _;
use serde_json::Value;
use switchboard_proto::{
    convert,
    events::v1::{self as ev, conversation_fact::Kind},
};
use uuid::Uuid;

use crate::{
    error::Error,
    grpc::out,
    mind::to_priority,
    model::{Action, Escalation, Event, EventKind, Message, Outcome, Sender, StatusChange},
    store::Commit,
};

/// A code that was given in somebody's own words.
const OTHER: &str = "other";
/// The longest code: an own word of somebody is longer, or holds more than letters.
const MAX_CODE: usize = 64;
/// The longest language tag that BCP 47 lets one expect.
const MAX_LANGUAGE: usize = 35;

/// The fact of an event, encoded.
pub fn encode(commit: &Commit, event: &Event) -> Vec<u8> {
    let row = &commit.next;
    let kind = match &event.kind {
        EventKind::Message(m) => Kind::MessageAdded(message(m, commit.receipt.as_ref())),
        EventKind::Status(change) => Kind::StatusChanged(status(change)),
    };
    let fact = ev::ConversationFact {
        id: event.id.to_string(),
        organization_id: row.org.to_string(),
        conversation_id: row.id.to_string(),
        seq: event.seq,
        time: Some(convert::timestamp(event.at)),
        user_id: row.user.to_string(),
        channel: out::channel(&row.channel).into(),
        status: out::status(row.status).into(),
        owner: out::owner(row.owner).into(),
        kind: Some(kind),
    };
    fact.encode_to_vec()
}

fn message(m: &Message, receipt: Option<&Value>) -> ev::MessageFact {
    ev::MessageFact {
        message_id: m.id.to_string(),
        sender_type: out::sender(m.sender).into(),
        agent_id: out::opt(m.sender_id.filter(|_| m.sender == Sender::HumanAgent)),
        content_type: out::content_type(m.content_type).into(),
        attachments: u32::try_from(m.attachments.len()).unwrap_or(u32::MAX),
        turn: m.outcome.as_deref().map(|o| turn(o, receipt)),
    }
}

fn turn(o: &Outcome, receipt: Option<&Value>) -> ev::TurnFact {
    let version = |name: &str| {
        let version = receipt.and_then(|r| r.get("versions")?.get(name)?.as_str());
        version.unwrap_or_default().to_owned()
    };
    let timings = receipt.and_then(|r| r.get("timings_us")?.as_object()).into_iter().flatten();
    ev::TurnFact {
        user_message_id: o.user_message_id.to_string(),
        answers_up_to: o.answers_up_to,
        intent: code(&o.intent),
        confidence: o.confidence,
        sentiment_score: o.sentiment.score,
        anger: o.sentiment.anger,
        rung: out::rung(o.rung).into(),
        language: language(&o.language),
        requires_escalation: o.requires_escalation,
        citations: o
            .citations
            .iter()
            .map(|c| ev::CitedArticle { article_id: c.article.clone(), version: c.version })
            .collect(),
        // A proposal has no row and did nothing.
        actions: o.actions.iter().filter(|a| a.action_type != "quick_reply").map(action).collect(),
        timings_us: timings.filter_map(|(step, spent)| Some((step.clone(), spent.as_u64()?))).collect(),
        policy_version: version("policy"),
        model_version: version("model"),
    }
}

fn action(a: &Action) -> ev::ActionFact {
    ev::ActionFact {
        effect_id: out::opt(a.id),
        action_type: a.action_type.clone(),
        status: out::action_status(a.status).into(),
    }
}

fn status(change: &StatusChange) -> ev::StatusFact {
    ev::StatusFact {
        status: out::status(change.status).into(),
        owner: out::owner(change.owner).into(),
        reason: match &change.escalation {
            Some(e) if e.own_words && e.reason == change.reason => OTHER.to_owned(),
            _ => code(&change.reason),
        },
        escalation: change.escalation.as_ref().map(escalation),
    }
}

fn escalation(e: &Escalation) -> ev::EscalationFact {
    ev::EscalationFact {
        id: e.id.to_string(),
        reason: if e.own_words { OTHER.to_owned() } else { code(&e.reason) },
        priority: to_priority(e.priority).into(),
        queue_name: e.queue.clone(),
        assigned_to: out::opt(e.assigned_to),
        assign_time: e.assigned_at.map(convert::timestamp),
        sla_deadline: Some(convert::timestamp(e.sla_deadline)),
        sla_breached: e.breached,
        resolve_time: e.resolved_at.map(convert::timestamp),
        create_time: Some(convert::timestamp(e.created_at)),
    }
}

/// Codes go out as they are. Whoever hands over by the API may write anything as the reason.
fn code(text: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.len() <= MAX_CODE && text.chars().all(plain) { text.to_owned() } else { OTHER.to_owned() }
}

/// Callers give the language, so it may be anything.
fn language(text: &str) -> String {
    let tag = text.len() <= MAX_LANGUAGE && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if tag { text.to_owned() } else { String::new() }
}

/// A fact as the bus carries it: a CloudEvent in binary mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's id.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// The conversation.
    pub conversation: Uuid,
    /// The event's seq.
    pub seq: u64,
    /// The name of its kind.
    pub kind: &'static str,
    /// When it happened, in RFC 3339.
    pub time: String,
    /// The fact, encoded.
    pub payload: Vec<u8>,
}

impl Record {
    /// Reads what waited in the outbox. An older version may have written it; it goes out as it is.
    pub fn read(payload: Vec<u8>) -> Result<Self, Error> {
        let fact = ev::ConversationFact::decode(payload.as_slice()).map_err(|e| unreadable(&e.to_string()))?;
        let id = |text: &str| Uuid::try_parse(text).map_err(|_| unreadable("a fact without its ids"));
        let kind = match fact.kind {
            Some(Kind::MessageAdded(_)) => "message_added",
            Some(Kind::StatusChanged(_)) => "status_changed",
            None => return Err(unreadable("a fact without its kind")),
        };
        let time = fact.time.as_ref().and_then(convert::from_timestamp).ok_or_else(|| unreadable("no time"))?;
        Ok(Record {
            id: id(&fact.id)?,
            org: id(&fact.organization_id)?,
            conversation: id(&fact.conversation_id)?,
            seq: fact.seq,
            kind,
            time: time.to_string(),
            payload,
        })
    }

    /// What keeps a conversation's records in one order.
    pub fn key(&self) -> String {
        self.conversation.to_string()
    }

    /// The headers of the binary content mode.
    pub fn headers(&self) -> [(&'static str, String); 7] {
        [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_type", format!("switchboard.conversation.{}", self.kind)),
            ("ce_source", format!("/organizations/{}", self.org)),
            ("ce_subject", self.key()),
            ("ce_time", self.time.clone()),
            ("content-type", "application/protobuf".to_owned()),
        ]
    }
}

fn unreadable(why: &str) -> Error {
    Error::Unreadable(serde::de::Error::custom(why))
}
