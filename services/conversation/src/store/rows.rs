//! Rows as they are read, the same for both adapters: SQLite and PostgreSQL differ in how they keep an id or a time, not in
//! what a row says.
//!
//! In: a row whose key was read with it. Out: what the domain knows. Never: a statement.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{Column as _, Row as _, TypeInfo as _, postgres::PgRow, sqlite::SqliteRow};
use switchboard_runtime::postgres::Time;
use uuid::Uuid;

use super::{
    Page,
    activity::{Activity, Hash},
    people::Erasure,
    sealed::{Keys, Seal},
};
use crate::{
    error::Error,
    model::{
        ActionStatus, Analysis, CitingAnswer, Conversation, Draft, Effect, Escalation, Event, EventKind, Message, Note,
        Priority, Turn,
    },
    outbox::{Kind, Waiting},
};

/// What conversations are read with: the key that opens them and the newest hand-off. One whose key was destroyed is not
/// there.
macro_rules! conversation_columns {
    () => {
        "SELECT c.*, k.wrapped_key, e.id AS e_id, e.priority AS e_priority, e.queue_name AS e_queue_name, \
         e.case_number AS e_case_number, e.assigned_to AS e_assigned_to, e.assigned_at AS e_assigned_at, \
         e.created_at AS e_created_at, e.sla_deadline AS e_sla_deadline, e.breached AS e_breached, \
         e.resolved_at AS e_resolved_at, e.resolved_by AS e_resolved_by, e.body AS e_body"
    };
}
pub(super) use conversation_columns;

/// Conversations as `c`, each with its key as `k`.
macro_rules! with_key {
    () => {
        " JOIN person_keys k ON k.key_id = c.key_id "
    };
}
pub(super) use with_key;

/// Conversations, to be followed by WHERE.
pub(super) const CONVERSATIONS: &str = concat!(
    conversation_columns!(),
    " FROM conversations c",
    with_key!(),
    "LEFT JOIN escalations e ON e.organization_id = c.organization_id AND e.id = c.escalation_id "
);

/// Columns of a message, without the receipt, which is read alone.
macro_rules! message_columns {
    () => {
        "id, seq, sender_type, sender_id, content, content_type, attachments, intent, intent_confidence, sentiment_score, \
         entities, citations, metadata, created_at, client_message_id, outcome"
    };
}
pub(super) use message_columns;

/// A cell of either database, as what it is.
pub(super) trait Cells {
    fn id(&self, column: &str) -> Result<Uuid, sqlx::Error>;
    fn some_id(&self, column: &str) -> Result<Option<Uuid>, sqlx::Error>;
    fn time(&self, column: &str) -> Result<Timestamp, sqlx::Error>;
    fn some_time(&self, column: &str) -> Result<Option<Timestamp>, sqlx::Error>;
    fn text(&self, column: &str) -> Result<&str, sqlx::Error>;
    fn some_text(&self, column: &str) -> Result<Option<&str>, sqlx::Error>;
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, sqlx::Error>;
    fn some_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn fraction(&self, column: &str) -> Result<Option<f64>, sqlx::Error>;
    fn flag(&self, column: &str) -> Result<bool, sqlx::Error>;
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Error>;

    fn number(&self, column: &str) -> Result<u64, sqlx::Error> {
        Ok(self.some_number(column)?.unwrap_or_default().unsigned_abs())
    }

    fn small(&self, column: &str) -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(self.number(column)?).unwrap_or(u32::MAX))
    }
}

/// What waits in the outbox.
pub(super) fn waiting<R: Cells>(row: &R) -> Result<Waiting, Error> {
    Ok(Waiting {
        position: row.some_number("position")?.unwrap_or_default(),
        kind: Kind::from_name(row.text("kind")?).unwrap_or(Kind::Outcome),
        org: row.id("organization_id")?,
        conversation: row.id("conversation_id")?,
        user: row.id("user_id")?,
        seq: row.number("seq")?,
        at: row.time("created_at")?,
        body: row.bytes("body")?.unwrap_or_default().to_vec(),
    })
}

impl Cells for SqliteRow {
    fn id(&self, column: &str) -> Result<Uuid, sqlx::Error> {
        parsed(column, self.try_get(column)?)
    }

    fn some_id(&self, column: &str) -> Result<Option<Uuid>, sqlx::Error> {
        self.try_get::<Option<&str>, _>(column)?.map(|text| parsed(column, text)).transpose()
    }

    fn time(&self, column: &str) -> Result<Timestamp, sqlx::Error> {
        stamp(column, self.try_get(column)?)
    }

    fn some_time(&self, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
        self.try_get::<Option<i64>, _>(column)?.map(|micros| stamp(column, micros)).transpose()
    }

    fn text(&self, column: &str) -> Result<&str, sqlx::Error> {
        self.try_get(column)
    }

    fn some_text(&self, column: &str) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, sqlx::Error> {
        self.try_get(column)
    }

    fn some_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn fraction(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
        self.try_get(column)
    }

    fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        self.try_get(column)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Error> {
        Ok(self.some_text(column)?.map(serde_json::from_str).transpose()?)
    }
}

impl Cells for PgRow {
    fn id(&self, column: &str) -> Result<Uuid, sqlx::Error> {
        self.try_get(column)
    }

    fn some_id(&self, column: &str) -> Result<Option<Uuid>, sqlx::Error> {
        self.try_get(column)
    }

    fn time(&self, column: &str) -> Result<Timestamp, sqlx::Error> {
        Ok(self.try_get::<Time, _>(column)?.0)
    }

    fn some_time(&self, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(self.try_get::<Option<Time>, _>(column)?.map(|time| time.0))
    }

    fn text(&self, column: &str) -> Result<&str, sqlx::Error> {
        self.try_get(column)
    }

    fn some_text(&self, column: &str) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, sqlx::Error> {
        self.try_get(column)
    }

    fn some_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        match self.try_column(column)?.type_info().name() {
            "INT2" => Ok(self.try_get::<Option<i16>, _>(column)?.map(i64::from)),
            "INT4" => Ok(self.try_get::<Option<i32>, _>(column)?.map(i64::from)),
            _ => self.try_get(column),
        }
    }

    fn fraction(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
        self.try_get(column)
    }

    fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        self.try_get(column)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Error> {
        Ok(self.try_get::<Option<Value>, _>(column)?.map(serde_json::from_value).transpose()?)
    }
}

fn parsed(column: &str, text: &str) -> Result<Uuid, sqlx::Error> {
    Uuid::try_parse(text).map_err(|e| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(e) })
}

fn stamp(column: &str, micros: i64) -> Result<Timestamp, sqlx::Error> {
    let wrong = |e| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(e) };
    Timestamp::from_microsecond(micros).map_err(wrong)
}

/// A word of the interface, such as `active`, as its enum.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    Ok(serde_json::from_value(Value::String(text.to_owned()))?)
}

/// An enum as its word.
pub(super) fn name<T: Serialize>(value: &T) -> Result<String, Error> {
    match serde_json::to_value(value)? {
        Value::String(word) => Ok(word),
        other => Ok(other.to_string()),
    }
}

/// A page of rows that were asked for with one more than wanted.
pub(super) fn paged<T>(mut rows: Vec<T>, size: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next = more.then(|| rows.last().map(key)).flatten();
    (rows, next)
}

/// What of a hand-off is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct EscalationBody {
    pub reason: String,
    pub summary: String,
    pub resolution_notes: String,
    #[serde(default)]
    pub own_words: bool,
}

/// A row of [`CONVERSATIONS`].
pub(super) fn conversation(row: &impl Cells, keys: &Keys) -> Result<Conversation, Error> {
    let (org, id, user) = (row.id("organization_id")?, row.id("id")?, row.id("user_id")?);
    let seal = keys.seal(org, id, user, row.id("key_id")?, row.bytes("wrapped_key")?.unwrap_or_default())?;
    let turn = match (row.some_id("turn_token")?, row.some_time("turn_until")?) {
        (Some(token), Some(until)) => Some(Turn { token, until }),
        _ => None,
    };
    Ok(Conversation {
        id,
        org,
        user,
        channel: row.text("channel")?.to_owned(),
        status: word(row.text("status")?)?,
        owner: word(row.text("owner")?)?,
        seq: row.number("seq")?,
        owner_epoch: row.number("owner_epoch")?,
        assigned_to: row.some_id("assigned_to")?,
        language: row.text("language")?.to_owned(),
        metadata: seal.open("conversations.metadata", id, row.bytes("metadata")?)?.unwrap_or_default(),
        context: seal.open("conversations.context", id, row.bytes("context")?)?.unwrap_or_default(),
        state: seal.open("conversations.state", id, row.bytes("state")?)?.unwrap_or_default(),
        last_user_seq: row.number("last_user_seq")?,
        answered_seq: row.number("answered_seq")?,
        turn,
        created_at: row.time("created_at")?,
        last_activity_at: row.time("last_activity_at")?,
        ended_at: row.some_time("ended_at")?,
        resolution: row.some_text("resolution_type")?.map(word).transpose()?,
        assumed: row.flag("assumed")?,
        rating: row.some_number("rating")?.and_then(|r| u32::try_from(r).ok()),
        rating_comment: seal.open_text("conversations.rating_comment", id, row.bytes("rating_comment")?)?,
        previous: row.some_id("previous_id")?,
        response_count: row.number("response_count")?,
        response_micros: row.number("response_micros")?,
        escalation: row.some_id("e_id")?.map(|_| escalation(row, &seal, "e_")).transpose()?,
    })
}

/// What the request said that made a conversation.
pub(super) fn fingerprint(row: &impl Cells, keys: &Keys) -> Result<String, Error> {
    let (org, id) = (row.id("organization_id")?, row.id("id")?);
    let seal =
        keys.seal(org, id, row.id("user_id")?, row.id("key_id")?, row.bytes("wrapped_key")?.unwrap_or_default())?;
    seal.open_text("conversations.fingerprint", id, row.bytes("fingerprint")?)
}

/// A hand-off, whose columns begin with a prefix.
pub(super) fn escalation(row: &impl Cells, seal: &Seal, prefix: &str) -> Result<Escalation, Error> {
    let column = |name: &str| format!("{prefix}{name}");
    let id = row.id(&column("id"))?;
    let body: Option<EscalationBody> = seal.open("escalations.body", id, row.bytes(&column("body"))?)?;
    let (reason, summary, resolution_notes, own_words) =
        body.map_or_else(Default::default, |b| (b.reason, b.summary, b.resolution_notes, b.own_words));
    Ok(Escalation {
        id,
        reason,
        priority: priority(row.number(&column("priority"))?),
        queue: row.text(&column("queue_name"))?.to_owned(),
        case_number: row.some_text(&column("case_number"))?.map(str::to_owned),
        assigned_to: row.some_id(&column("assigned_to"))?,
        assigned_at: row.some_time(&column("assigned_at"))?,
        sla_deadline: row.time(&column("sla_deadline"))?,
        breached: row.flag(&column("breached"))?,
        resolved_at: row.some_time(&column("resolved_at"))?,
        resolution_notes,
        resolved_by: row.some_id(&column("resolved_by"))?,
        created_at: row.time(&column("created_at"))?,
        summary,
        own_words,
    })
}

fn priority(number: u64) -> Priority {
    match number {
        0 | 1 => Priority::Low,
        2 => Priority::Medium,
        3 => Priority::High,
        _ => Priority::Critical,
    }
}

pub(super) fn message(row: &impl Cells, seal: &Seal) -> Result<Message, Error> {
    let seq = row.number("seq")?;
    Ok(Message {
        id: row.id("id")?,
        seq,
        sender: word(row.text("sender_type")?)?,
        sender_id: row.some_id("sender_id")?,
        content: seal.open_text("messages.content", seq, row.bytes("content")?)?,
        content_type: word(row.text("content_type")?)?,
        attachments: seal.open("messages.attachments", seq, row.bytes("attachments")?)?.unwrap_or_default(),
        analysis: Analysis {
            intent: row.some_text("intent")?.map(str::to_owned),
            confidence: row.fraction("intent_confidence")?,
            sentiment: row.fraction("sentiment_score")?,
            entities: seal.open("messages.entities", seq, row.bytes("entities")?)?.unwrap_or_default(),
        },
        citations: row.json("citations")?.unwrap_or_default(),
        metadata: seal.open("messages.metadata", seq, row.bytes("metadata")?)?.unwrap_or_default(),
        created_at: row.time("created_at")?,
        client_message_id: row.some_text("client_message_id")?.map(str::to_owned),
        outcome: seal.open("messages.outcome", seq, row.bytes("outcome")?)?,
    })
}

/// Messages and status events of one conversation after a seq, as one line of events without a hole: they were read apart,
/// so that what was committed between the reads may have one before it.
pub(super) fn events<R: Cells>(
    messages: Vec<Message>,
    changes: &[R],
    seal: &Seal,
    after: u64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = messages
        .into_iter()
        .map(|m| Event { id: m.id, seq: m.seq, at: m.created_at, kind: EventKind::Message(Box::new(m)) })
        .collect();
    for row in changes {
        let (id, seq, at) = (row.id("id")?, row.number("seq")?, row.time("created_at")?);
        let Some(change) = seal.open("status_events.body", seq, row.bytes("body")?)? else { continue };
        events.push(Event { id, seq, at, kind: EventKind::Status(change) });
    }
    events.sort_by_key(|e| e.seq);
    let whole = events.iter().zip(1..).take_while(|(e, n)| e.seq == after.saturating_add(*n)).count();
    events.truncate(whole.min(limit as usize));
    Ok(events)
}

/// An effect, read with its conversation's key.
pub(super) fn effect(row: &impl Cells, keys: &Keys) -> Result<Effect, Error> {
    let (org, conversation, user) = (row.id("organization_id")?, row.id("conversation_id")?, row.id("user_id")?);
    let wrapped = row.bytes("wrapped_key")?.unwrap_or_default();
    let seal = keys.seal(org, conversation, user, row.id("key_id")?, wrapped)?;
    let key = row.text("idempotency_key")?.to_owned();
    Ok(Effect {
        id: row.id("id")?,
        org,
        conversation,
        user,
        action_type: row.text("action_type")?.to_owned(),
        parameters: seal.open("actions.parameters", &key, row.bytes("parameters")?)?.unwrap_or_default(),
        status: word::<ActionStatus>(row.text("status")?)?,
        attempts: row.small("attempts")?,
        result: seal.open("actions.result", &key, row.bytes("result")?)?.unwrap_or_default(),
        last_error: seal.open_text("actions.last_error", &key, row.bytes("last_error")?)?,
        next_attempt_at: row.time("next_attempt_at")?,
        created_at: row.time("created_at")?,
        ended_at: row.some_time("ended_at")?,
        key,
    })
}

pub(super) fn draft(row: &impl Cells, seal: &Seal) -> Result<Draft, Error> {
    let id = row.id("id")?;
    Ok(Draft {
        id,
        user_message: row.id("user_message_id")?,
        content: seal.open_text("drafts.content", id, row.bytes("content")?)?,
        citations: row.json("citations")?.unwrap_or_default(),
        created_at: row.time("created_at")?,
    })
}

pub(super) fn note(row: &impl Cells, seal: &Seal) -> Result<Note, Error> {
    let id = row.id("id")?;
    Ok(Note {
        id,
        author: row.id("author_id")?,
        content: seal.open_text("notes.content", id, row.bytes("content")?)?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn citing(row: &impl Cells) -> Result<CitingAnswer, Error> {
    Ok(CitingAnswer {
        conversation: row.id("conversation_id")?,
        message: row.id("message_id")?,
        user: row.id("user_id")?,
        version: row.small("version")?,
        created_at: row.time("created_at")?,
        status: word(row.text("status")?)?,
    })
}

pub(super) fn erasure(row: &impl Cells) -> Result<Erasure, Error> {
    Ok(Erasure {
        id: row.id("id")?,
        org: row.id("organization_id")?,
        user: row.id("user_id")?,
        requested_by: row.id("requested_by")?,
        requested_at: row.time("requested_at")?,
        completed_at: row.some_time("completed_at")?,
        steps: row.json("steps")?.unwrap_or_default(),
        receipt: row.json("receipt")?,
    })
}

pub(super) fn activity(row: &impl Cells) -> Result<Activity, Error> {
    Ok(Activity {
        seq: row.number("seq")?,
        at: row.time("created_at")?,
        actor: row.id("user_id")?,
        action: row.text("action")?.to_owned(),
        resource_type: row.text("resource_type")?.to_owned(),
        resource: row.some_id("resource_id")?,
        details: row.json::<BTreeMap<String, u64>>("details")?.unwrap_or_default(),
        hash: hash(row.bytes("hash")?),
    })
}

/// A link of the log's chain; what is none is no link of any chain.
pub(super) fn hash(bytes: Option<&[u8]>) -> Hash {
    bytes.and_then(|b| b.try_into().ok()).unwrap_or_default()
}
