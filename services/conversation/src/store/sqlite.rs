//! The ledger in one SQLite file.
//!
//! In: the port's writes. Out: its rows. Never: a statement without the organization, other than the workers' scans.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    page,
    sqlite::{OpenError, Sqlite, is_unique_violation},
};
use uuid::Uuid;

use super::{Answered, Commit, Committed, NewConversation, Page, Store};
use crate::{
    error::Error,
    machine::{Owner, Status},
    model::{
        Analysis, CitingAnswer, Conversation, Draft, Effect, Escalation, Event, EventKind, Message, Metrics, Note,
        Outcome, Sender, StatusChange, Turn,
    },
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/conversation/sqlite");

/// Brings the file to the newest migration without starting the service.
pub async fn migrate(folder: &Path) -> Result<(), OpenError> {
    Sqlite::open(folder, "conversation", &MIGRATIONS).await?.close().await;
    Ok(())
}

/// The ledger.
#[derive(Debug, Clone)]
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens the file. One process has it: turns and effects that an earlier process left running are free at once.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        let db = Sqlite::open(folder, "conversation", &MIGRATIONS).await?;
        let failed = |e: sqlx::Error| OpenError::Other {
            file: folder.join("conversation.db").display().to_string(),
            detail: e.to_string(),
        };
        let mut tx = db.write().await.map_err(failed)?;
        sqlx::query("UPDATE conversations SET turn_token = NULL, turn_until = NULL WHERE turn_token IS NOT NULL")
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query("UPDATE effects SET status = 'pending', next_attempt_at = 0 WHERE status = 'running'")
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(SqliteStore(db))
    }

    /// Waits for the last write and closes the file.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

fn micros(t: Timestamp) -> i64 {
    t.as_microsecond()
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(serde_json::to_string(value)?)
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    Ok(serde_json::from_str(text)?)
}

/// A word of the interface, such as `active`, as its enum.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    Ok(serde_json::from_value(Value::String(text.to_owned()))?)
}

fn name<T: Serialize>(value: &T) -> Result<String, Error> {
    match serde_json::to_value(value)? {
        Value::String(s) => Ok(s),
        other => Ok(other.to_string()),
    }
}

fn id(row: &SqliteRow, column: &str) -> Result<Uuid, Error> {
    Ok(Uuid::try_parse(row.try_get(column)?).unwrap_or_default())
}

fn optional_id(row: &SqliteRow, column: &str) -> Result<Option<Uuid>, Error> {
    Ok(row.try_get::<Option<&str>, _>(column)?.and_then(|s| Uuid::try_parse(s).ok()))
}

/// Each organization once, by jumping from one to the next in the index: as many steps as organizations, not as conversations.
const ORGANIZATIONS: &str = "WITH RECURSIVE o (org) AS (SELECT MIN(org) FROM conversations UNION ALL \
     SELECT (SELECT MIN(org) FROM conversations WHERE org > o.org) FROM o WHERE o.org IS NOT NULL) \
     SELECT org FROM o WHERE org IS NOT NULL";

const CONVERSATION: &str = "SELECT c.*, (SELECT e.body FROM escalations e WHERE e.conversation_id = c.id \
     ORDER BY e.created_at DESC LIMIT 1) AS escalation FROM conversations c";

fn conversation(row: &SqliteRow) -> Result<Conversation, Error> {
    let number = |column: &str| -> Result<u64, Error> { Ok(row.try_get::<i64, _>(column)?.unsigned_abs()) };
    let turn = match (optional_id(row, "turn_token")?, row.try_get::<Option<i64>, _>("turn_until")?) {
        (Some(token), Some(until)) => Some(Turn { token, until: time(until) }),
        _ => None,
    };
    Ok(Conversation {
        id: id(row, "id")?,
        org: id(row, "org")?,
        user: id(row, "user_id")?,
        channel: row.try_get("channel")?,
        status: word(row.try_get("status")?)?,
        owner: word(row.try_get("owner")?)?,
        seq: number("seq")?,
        owner_epoch: number("owner_epoch")?,
        assigned_to: optional_id(row, "assigned_to")?,
        language: row.try_get("language")?,
        metadata: read(row.try_get("metadata")?)?,
        context: read(row.try_get("context")?)?,
        state: read(row.try_get("state")?)?,
        last_user_seq: number("last_user_seq")?,
        answered_seq: number("answered_seq")?,
        turn,
        created_at: time(row.try_get("created_at")?),
        last_activity_at: time(row.try_get("last_activity_at")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(time),
        resolution: row.try_get::<Option<&str>, _>("resolution_type")?.map(word).transpose()?,
        assumed: row.try_get("assumed")?,
        rating: row.try_get::<Option<i64>, _>("rating")?.and_then(|r| u32::try_from(r).ok()),
        rating_comment: row.try_get("rating_comment")?,
        previous: optional_id(row, "previous_id")?,
        response_count: number("response_count")?,
        response_micros: number("response_micros")?,
        escalation: row.try_get::<Option<&str>, _>("escalation")?.map(read).transpose()?,
    })
}

fn message(row: &SqliteRow) -> Result<Message, Error> {
    Ok(Message {
        id: id(row, "id")?,
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        sender: word(row.try_get("sender_type")?)?,
        sender_id: optional_id(row, "sender_id")?,
        content: row.try_get("content")?,
        content_type: word(row.try_get("content_type")?)?,
        attachments: read(row.try_get("attachments")?)?,
        analysis: Analysis {
            intent: row.try_get("intent")?,
            confidence: row.try_get("intent_confidence")?,
            sentiment: row.try_get("sentiment_score")?,
            entities: read(row.try_get("entities")?)?,
        },
        citations: read(row.try_get("citations")?)?,
        metadata: read(row.try_get("metadata")?)?,
        created_at: time(row.try_get("created_at")?),
        client_message_id: row.try_get("client_message_id")?,
        outcome: row.try_get::<Option<&str>, _>("outcome")?.map(read).transpose()?,
    })
}

fn effect(row: &SqliteRow) -> Result<Effect, Error> {
    Ok(Effect {
        id: id(row, "id")?,
        org: id(row, "org")?,
        key: row.try_get("idempotency_key")?,
        conversation: id(row, "conversation_id")?,
        user: id(row, "user_id")?,
        action_type: row.try_get("action_type")?,
        parameters: read(row.try_get("parameters")?)?,
        status: word(row.try_get("status")?)?,
        attempts: row.try_get::<i64, _>("attempts")?.try_into().unwrap_or_default(),
        result: read(row.try_get("result")?)?,
        last_error: row.try_get("last_error")?,
        next_attempt_at: time(row.try_get("next_attempt_at")?),
        created_at: time(row.try_get("created_at")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(time),
    })
}

async fn put_conversation(tx: &mut SqliteConnection, commit: &Commit) -> Result<bool, Error> {
    let (c, expect) = (&commit.next, commit.expect);
    let done = sqlx::query(
        "UPDATE conversations SET status = ?, owner = ?, seq = ?, owner_epoch = ?, assigned_to = ?, language = ?, context = ?, \
         state = ?, last_user_seq = ?, answered_seq = ?, turn_token = ?, turn_until = ?, last_activity_at = ?, ended_at = ?, \
         resolution_type = ?, assumed = ?, rating = ?, rating_comment = ?, response_count = ?, response_micros = ? \
         WHERE id = ? AND org = ? AND seq = ? AND owner_epoch = ? AND turn_token IS ?",
    )
    .bind(c.status.name())
    .bind(c.owner.name())
    .bind(c.seq as i64)
    .bind(c.owner_epoch as i64)
    .bind(c.assigned_to.map(|u| u.to_string()))
    .bind(&c.language)
    .bind(json(&c.context)?)
    .bind(json(&c.state)?)
    .bind(c.last_user_seq as i64)
    .bind(c.answered_seq as i64)
    .bind(c.turn.as_ref().map(|t| t.token.to_string()))
    .bind(c.turn.as_ref().map(|t| micros(t.until)))
    .bind(micros(c.last_activity_at))
    .bind(c.ended_at.map(micros))
    .bind(c.resolution.as_ref().map(name).transpose()?)
    .bind(c.assumed)
    .bind(c.rating)
    .bind(&c.rating_comment)
    .bind(c.response_count as i64)
    .bind(c.response_micros as i64)
    .bind(c.id.to_string())
    .bind(c.org.to_string())
    .bind(expect.0 as i64)
    .bind(expect.1 as i64)
    .bind(commit.expect_turn.map(|t| t.to_string()))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn put_event(
    tx: &mut SqliteConnection,
    c: &Conversation,
    event: &Event,
    receipt: Option<&Value>,
) -> Result<(), Error> {
    let (org, conversation) = (c.org.to_string(), c.id.to_string());
    match &event.kind {
        EventKind::Message(m) => {
            sqlx::query(
                "INSERT INTO messages (conversation_id, seq, id, org, sender_type, sender_id, content, content_type, attachments, \
                 intent, intent_confidence, sentiment_score, entities, citations, metadata, created_at, client_message_id, outcome, \
                 receipt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&conversation)
            .bind(event.seq as i64)
            .bind(m.id.to_string())
            .bind(&org)
            .bind(name(&m.sender)?)
            .bind(m.sender_id.map(|u| u.to_string()))
            .bind(&m.content)
            .bind(name(&m.content_type)?)
            .bind(json(&m.attachments)?)
            .bind(&m.analysis.intent)
            .bind(m.analysis.confidence)
            .bind(m.analysis.sentiment)
            .bind(json(&m.analysis.entities)?)
            .bind(json(&m.citations)?)
            .bind(json(&m.metadata)?)
            .bind(micros(m.created_at))
            .bind(&m.client_message_id)
            .bind(m.outcome.as_ref().map(json).transpose()?)
            .bind(receipt.filter(|_| m.sender == Sender::AiAgent).map(json).transpose()?)
            .execute(&mut *tx)
            .await?;
            for citation in &m.citations {
                sqlx::query("INSERT OR IGNORE INTO citations (org, article_id, message_id, version, conversation_id, created_at) VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(&org)
                    .bind(&citation.article)
                    .bind(m.id.to_string())
                    .bind(citation.version)
                    .bind(&conversation)
                    .bind(micros(m.created_at))
                    .execute(&mut *tx)
                    .await?;
            }
        }
        EventKind::Status(change) => {
            sqlx::query(
                "INSERT INTO status_events (conversation_id, seq, id, org, body, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&conversation)
            .bind(event.seq as i64)
            .bind(event.id.to_string())
            .bind(&org)
            .bind(json(change.as_ref())?)
            .bind(micros(event.at))
            .execute(&mut *tx)
            .await?;
        }
    }
    sqlx::query("INSERT INTO outbox (org, conversation_id, seq) VALUES (?, ?, ?)")
        .bind(&org)
        .bind(&conversation)
        .bind(event.seq as i64)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn put_effect(tx: &mut SqliteConnection, e: &Effect) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO effects (id, org, idempotency_key, conversation_id, user_id, action_type, parameters, status, attempts, result, \
         last_error, next_attempt_at, created_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (org, idempotency_key) DO NOTHING",
    )
    .bind(e.id.to_string())
    .bind(e.org.to_string())
    .bind(&e.key)
    .bind(e.conversation.to_string())
    .bind(e.user.to_string())
    .bind(&e.action_type)
    .bind(json(&e.parameters)?)
    .bind(name(&e.status)?)
    .bind(e.attempts)
    .bind(json(&e.result)?)
    .bind(&e.last_error)
    .bind(micros(e.next_attempt_at))
    .bind(micros(e.created_at))
    .bind(e.ended_at.map(micros))
    .execute(tx)
    .await?;
    Ok(())
}

async fn change_effect(tx: &mut SqliteConnection, e: &Effect) -> Result<(), Error> {
    // What is completed stays completed: a slow second worker cannot take it back.
    sqlx::query(
        "UPDATE effects SET status = ?, attempts = ?, result = ?, last_error = ?, next_attempt_at = ?, ended_at = ? \
         WHERE org = ? AND idempotency_key = ? AND status <> 'completed'",
    )
    .bind(name(&e.status)?)
    .bind(e.attempts)
    .bind(json(&e.result)?)
    .bind(&e.last_error)
    .bind(micros(e.next_attempt_at))
    .bind(e.ended_at.map(micros))
    .bind(e.org.to_string())
    .bind(&e.key)
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_escalation(tx: &mut SqliteConnection, c: &Conversation, e: &Escalation) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO escalations (id, org, conversation_id, priority, sla_deadline, created_at, resolved_at, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET priority = excluded.priority, \
         sla_deadline = excluded.sla_deadline, resolved_at = excluded.resolved_at, body = excluded.body",
    )
    .bind(e.id.to_string())
    .bind(c.org.to_string())
    .bind(c.id.to_string())
    .bind(e.priority as i64)
    .bind(micros(e.sla_deadline))
    .bind(micros(e.created_at))
    .bind(e.resolved_at.map(micros))
    .bind(json(e)?)
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_answered(tx: &mut SqliteConnection, c: &Conversation, a: &Answered) -> Result<(), Error> {
    let conversation = c.id.to_string();
    sqlx::query(
        "UPDATE messages SET reply_seq = ? WHERE conversation_id = ? AND seq BETWEEN ? AND ? AND sender_type = 'user'",
    )
    .bind(a.reply_seq as i64)
    .bind(&conversation)
    .bind(a.seqs.0 as i64)
    .bind(a.seqs.1 as i64)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE messages SET intent = ?, intent_confidence = ?, sentiment_score = ?, entities = ? WHERE conversation_id = ? AND seq = ?")
        .bind(&a.analysis.intent)
        .bind(a.analysis.confidence)
        .bind(a.analysis.sentiment)
        .bind(json(&a.analysis.entities)?)
        .bind(&conversation)
        .bind(a.seqs.1 as i64)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// A page of rows that were asked for with one more than wanted.
fn paged<T>(mut rows: Vec<T>, size: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next = more.then(|| rows.last().map(key)).flatten();
    (rows, next)
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, new: NewConversation) -> Result<Option<(Conversation, String)>, Error> {
        let c = &new.row;
        let mut tx = self.0.write().await?;
        let inserted = sqlx::query(
            "INSERT INTO conversations (id, org, user_id, channel, status, owner, seq, owner_epoch, language, metadata, context, state, \
             last_user_seq, answered_seq, created_at, last_activity_at, previous_id, request_id, fingerprint) \
             VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?)",
        )
        .bind(c.id.to_string())
        .bind(c.org.to_string())
        .bind(c.user.to_string())
        .bind(&c.channel)
        .bind(c.status.name())
        .bind(c.owner.name())
        .bind(&c.language)
        .bind(json(&c.metadata)?)
        .bind(json(&c.context)?)
        .bind(json(&c.state)?)
        .bind(micros(c.created_at))
        .bind(micros(c.last_activity_at))
        .bind(c.previous.map(|u| u.to_string()))
        .bind(&new.request_id)
        .bind(&new.fingerprint)
        .execute(&mut *tx)
        .await;
        match inserted {
            Ok(_) => {
                tx.commit().await?;
                Ok(None)
            }
            Err(e) if is_unique_violation(&e) => {
                drop(tx);
                let sql = format!("{CONVERSATION} WHERE c.org = ? AND c.user_id = ? AND c.request_id = ?");
                let row = sqlx::query(AssertSqlSafe(sql))
                    .bind(c.org.to_string())
                    .bind(c.user.to_string())
                    .bind(&new.request_id)
                    .fetch_one(self.0.read())
                    .await?;
                Ok(Some((conversation(&row)?, row.try_get::<Option<String>, _>("fingerprint")?.unwrap_or_default())))
            }
            Err(e) => Err(e.into()),
        }
    }

    async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error> {
        let sql = format!("{CONVERSATION} WHERE c.id = ? AND c.org = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(org.to_string())
            .fetch_optional(self.0.read())
            .await?;
        row.as_ref().map(conversation).transpose()
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let c = &commit.next;
        let mut tx = self.0.write().await?;
        if !put_conversation(&mut tx, &commit).await? {
            return Ok(Committed::Conflict);
        }
        for event in &commit.events {
            match put_event(&mut tx, c, event, commit.receipt.as_ref()).await {
                Err(Error::Store(e)) if is_unique_violation(&e) => return Ok(Committed::DuplicateMessage),
                other => other?,
            }
        }
        for effect in &commit.effects {
            put_effect(&mut tx, effect).await?;
        }
        for effect in &commit.effects_changed {
            change_effect(&mut tx, effect).await?;
        }
        if let Some(escalation) = &commit.escalation {
            put_escalation(&mut tx, c, escalation).await?;
        }
        if let Some(answered) = &commit.answered {
            put_answered(&mut tx, c, answered).await?;
        }
        if let Some(draft) = &commit.draft {
            sqlx::query("INSERT INTO drafts (id, org, conversation_id, user_message_id, content, citations, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)")
                .bind(draft.id.to_string())
                .bind(c.org.to_string())
                .bind(c.id.to_string())
                .bind(draft.user_message.to_string())
                .bind(&draft.content)
                .bind(json(&draft.citations)?)
                .bind(micros(draft.created_at))
                .execute(&mut *tx)
                .await?;
        }
        if let Some(draft) = commit.draft_sent {
            let sent =
                sqlx::query("UPDATE drafts SET sent_at = ? WHERE id = ? AND conversation_id = ? AND sent_at IS NULL")
                    .bind(micros(c.last_activity_at))
                    .bind(draft.to_string())
                    .bind(c.id.to_string())
                    .execute(&mut *tx)
                    .await?;
            if sent.rows_affected() == 0 {
                return Ok(Committed::DraftGone);
            }
        }
        if let Some((feed, value)) = &commit.cursor {
            put_cursor(&mut tx, c.org, feed, value).await?;
        }
        tx.commit().await?;
        Ok(Committed::Done)
    }

    async fn messages(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let rows = sqlx::query(
            "SELECT *, NULL AS receipt FROM messages WHERE conversation_id = ? AND org = ? AND seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.0.read())
        .await?;
        rows.iter().map(message).collect()
    }

    async fn history(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let rows = sqlx::query(
            "SELECT id, seq, sender_type, sender_id, content, content_type, '[]' AS attachments, intent, intent_confidence, \
             sentiment_score, '[]' AS entities, '[]' AS citations, '{}' AS metadata, created_at, client_message_id, \
             NULL AS outcome FROM messages WHERE conversation_id = ? AND org = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .bind(i64::try_from(up_to).unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.0.read())
        .await?;
        rows.iter().rev().map(message).collect()
    }

    async fn latest_messages(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM messages WHERE conversation_id = ? AND org = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .bind(i64::try_from(up_to).unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.0.read())
        .await?;
        rows.iter().rev().map(message).collect()
    }

    async fn events(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let (messages, changes) = (
            self.messages(org, id, after, limit).await?,
            sqlx::query(
                "SELECT * FROM status_events WHERE conversation_id = ? AND org = ? AND seq > ? ORDER BY seq LIMIT ?",
            )
            .bind(id.to_string())
            .bind(org.to_string())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(self.0.read())
            .await?,
        );
        let mut events: Vec<Event> = messages
            .into_iter()
            .map(|m| Event { id: m.id, seq: m.seq, at: m.created_at, kind: EventKind::Message(Box::new(m)) })
            .collect();
        for row in &changes {
            let change: StatusChange = read(row.try_get("body")?)?;
            events.push(Event {
                id: self::id(row, "id")?,
                seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
                at: time(row.try_get("created_at")?),
                kind: EventKind::Status(Box::new(change)),
            });
        }
        events.sort_by_key(|e| e.seq);
        // Two reads: what was committed between them may have a hole before it. Give only what has none.
        let whole = events.iter().zip(after + 1..).take_while(|(e, seq)| e.seq == *seq).count();
        events.truncate(whole.min(limit as usize));
        Ok(events)
    }

    async fn message_by_client_id(
        &self,
        org: Uuid,
        id: Uuid,
        sender: Sender,
        client_id: &str,
    ) -> Result<Option<Message>, Error> {
        let row = sqlx::query(
            "SELECT * FROM messages WHERE conversation_id = ? AND sender_type = ? AND client_message_id = ? AND org = ?",
        )
        .bind(id.to_string())
        .bind(name(&sender)?)
        .bind(client_id)
        .bind(org.to_string())
        .fetch_optional(self.0.read())
        .await?;
        row.as_ref().map(message).transpose()
    }

    async fn outcome_of(&self, org: Uuid, id: Uuid, user_seq: u64) -> Result<Option<Outcome>, Error> {
        let text: Option<Option<String>> = sqlx::query_scalar(
            "SELECT r.outcome FROM messages m JOIN messages r ON r.conversation_id = m.conversation_id AND r.seq = m.reply_seq \
             WHERE m.conversation_id = ? AND m.seq = ? AND m.org = ?",
        )
        .bind(id.to_string())
        .bind(user_seq as i64)
        .bind(org.to_string())
        .fetch_optional(self.0.read())
        .await?;
        text.flatten().map(|t| read(&t)).transpose()
    }

    async fn receipt(&self, org: Uuid, id: Uuid, message: Uuid) -> Result<Option<Value>, Error> {
        let text: Option<Option<String>> =
            sqlx::query_scalar("SELECT receipt FROM messages WHERE id = ? AND conversation_id = ? AND org = ?")
                .bind(message.to_string())
                .bind(id.to_string())
                .bind(org.to_string())
                .fetch_optional(self.0.read())
                .await?;
        text.flatten().map(|t| read(&t)).transpose()
    }

    async fn metrics(&self, org: Uuid, id: Uuid) -> Result<Metrics, Error> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS total, COUNT(*) FILTER (WHERE sender_type = 'user') AS user, \
             COUNT(*) FILTER (WHERE sender_type = 'ai_agent') AS ai, \
             COUNT(DISTINCT intent) FILTER (WHERE sender_type = 'user') AS intents, \
             AVG(intent_confidence) FILTER (WHERE sender_type = 'ai_agent') AS confidence, \
             AVG(sentiment_score) FILTER (WHERE sender_type = 'user') AS sentiment, \
             (SELECT COUNT(*) FROM escalations e WHERE e.conversation_id = ?1) AS escalations \
             FROM messages WHERE conversation_id = ?1 AND org = ?2",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_one(self.0.read())
        .await?;
        let count = |column: &str| -> Result<u32, Error> {
            Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
        };
        Ok(Metrics {
            total: count("total")?,
            user: count("user")?,
            ai: count("ai")?,
            intents: count("intents")?,
            escalations: count("escalations")?,
            confidence: row.try_get("confidence")?,
            sentiment: row.try_get("sentiment")?,
        })
    }

    async fn list(
        &self,
        org: Uuid,
        user: Option<Uuid>,
        status: Option<Status>,
        size: u32,
        after: &str,
    ) -> Result<Page<Conversation>, Error> {
        let key: Option<(i64, String)> = page::key(after)?;
        let mut sql = format!("{CONVERSATION} WHERE c.org = ?1");
        if user.is_some() {
            sql.push_str(" AND c.user_id = ?2");
        }
        if status.is_some() {
            sql.push_str(" AND c.status = ?3");
        }
        if key.is_some() {
            sql.push_str(" AND (c.last_activity_at, c.id) < (?4, ?5)");
        }
        sql.push_str(" ORDER BY c.last_activity_at DESC, c.id DESC LIMIT ?6");
        let (at, last) = key.unwrap_or_default();
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(org.to_string())
            .bind(user.map(|u| u.to_string()))
            .bind(status.map(Status::name))
            .bind(at)
            .bind(last)
            .bind(size + 1)
            .fetch_all(self.0.read())
            .await?;
        let rows = rows.iter().map(conversation).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| page::token(&(micros(c.last_activity_at), c.id.to_string()))))
    }

    async fn queue(&self, org: Uuid, size: u32, after: &str) -> Result<Page<Conversation>, Error> {
        let key: Option<(i64, i64, String)> = page::key(after)?;
        let (priority, deadline, last) = key.clone().unwrap_or((i64::from(u8::MAX), 0, String::new()));
        let rows = sqlx::query(
            "SELECT c.*, q.body AS escalation FROM escalations q JOIN conversations c ON c.id = q.conversation_id \
             WHERE q.org = ?1 AND q.resolved_at IS NULL AND (q.priority < ?2 OR (q.priority = ?2 AND (q.sla_deadline, q.id) > (?3, ?4))) \
             ORDER BY q.priority DESC, q.sla_deadline, q.id LIMIT ?5",
        )
        .bind(org.to_string())
        .bind(priority)
        .bind(deadline)
        .bind(last)
        .bind(size + 1)
        .fetch_all(self.0.read())
        .await?;
        let rows = rows.iter().map(conversation).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| {
            let e = c.escalation.as_ref();
            page::token(&(
                e.map_or(0, |e| e.priority as i64),
                e.map_or(0, |e| micros(e.sla_deadline)),
                e.map(|e| e.id.to_string()).unwrap_or_default(),
            ))
        }))
    }

    async fn drafts(&self, org: Uuid, id: Uuid) -> Result<Vec<Draft>, Error> {
        let rows =
            sqlx::query("SELECT * FROM drafts WHERE conversation_id = ? AND org = ? AND sent_at IS NULL ORDER BY id")
                .bind(id.to_string())
                .bind(org.to_string())
                .fetch_all(self.0.read())
                .await?;
        rows.iter()
            .map(|row| {
                Ok(Draft {
                    id: self::id(row, "id")?,
                    user_message: self::id(row, "user_message_id")?,
                    content: row.try_get("content")?,
                    citations: read(row.try_get("citations")?)?,
                    created_at: time(row.try_get("created_at")?),
                })
            })
            .collect()
    }

    async fn add_note(&self, org: Uuid, id: Uuid, note: Note, request_id: Option<&str>) -> Result<Note, Error> {
        let mut tx = self.0.write().await?;
        let row = sqlx::query(
            "INSERT INTO notes (id, org, conversation_id, author_id, content, created_at, request_id) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (conversation_id, author_id, request_id) DO UPDATE SET request_id = excluded.request_id \
             RETURNING id, author_id, content, created_at",
        )
        .bind(note.id.to_string())
        .bind(org.to_string())
        .bind(id.to_string())
        .bind(note.author.to_string())
        .bind(&note.content)
        .bind(micros(note.created_at))
        .bind(request_id)
        .fetch_one(&mut *tx)
        .await?;
        let stored = self::note(&row)?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn notes(&self, org: Uuid, id: Uuid) -> Result<Vec<Note>, Error> {
        let rows = sqlx::query("SELECT * FROM notes WHERE conversation_id = ? AND org = ? ORDER BY id")
            .bind(id.to_string())
            .bind(org.to_string())
            .fetch_all(self.0.read())
            .await?;
        rows.iter().map(note).collect()
    }

    async fn citing(
        &self,
        org: Uuid,
        article: &str,
        version: Option<u32>,
        size: u32,
        after: &str,
    ) -> Result<Page<CitingAnswer>, Error> {
        let key: Option<(i64, String)> = page::key(after)?;
        let (at, last) = key.unwrap_or((i64::MAX, String::new()));
        let rows = sqlx::query(
            "SELECT x.*, c.user_id, c.status FROM citations x JOIN conversations c ON c.id = x.conversation_id \
             WHERE x.org = ?1 AND x.article_id = ?2 AND (?3 IS NULL OR x.version = ?3) AND (x.created_at, x.message_id) < (?4, ?5) \
             ORDER BY x.created_at DESC, x.message_id DESC LIMIT ?6",
        )
        .bind(org.to_string())
        .bind(article)
        .bind(version)
        .bind(at)
        .bind(last)
        .bind(size + 1)
        .fetch_all(self.0.read())
        .await?;
        let answers = rows
            .iter()
            .map(|row| {
                Ok(CitingAnswer {
                    conversation: self::id(row, "conversation_id")?,
                    message: self::id(row, "message_id")?,
                    user: self::id(row, "user_id")?,
                    version: u32::try_from(row.try_get::<i64, _>("version")?).unwrap_or_default(),
                    created_at: time(row.try_get("created_at")?),
                    status: word(row.try_get("status")?)?,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(paged(answers, size, |a| page::token(&(micros(a.created_at), a.message.to_string()))))
    }

    async fn effects_by_key(&self, org: Uuid, keys: &[String]) -> Result<Vec<Effect>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let row = sqlx::query("SELECT * FROM effects WHERE org = ? AND idempotency_key = ?")
                .bind(org.to_string())
                .bind(key)
                .fetch_optional(self.0.read())
                .await?;
            found.extend(row.as_ref().map(effect).transpose()?);
        }
        Ok(found)
    }

    async fn effects(
        &self,
        org: Uuid,
        status: Option<&'static str>,
        size: u32,
        after: &str,
    ) -> Result<Page<Effect>, Error> {
        let key: Option<String> = page::key(after)?;
        let rows = sqlx::query(
            "SELECT * FROM effects WHERE org = ?1 AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
        )
        .bind(org.to_string())
        .bind(status)
        .bind(key)
        .bind(size + 1)
        .fetch_all(self.0.read())
        .await?;
        let rows = rows.iter().map(effect).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |e| page::token(&e.id.to_string())))
    }

    async fn claim_effects(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Effect>, Error> {
        let due: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM effects WHERE status IN ('pending', 'running') AND next_attempt_at <= ?",
        )
        .bind(micros(now))
        .fetch_one(self.0.read())
        .await?;
        if due == 0 {
            return Ok(vec![]);
        }
        let mut tx = self.0.write().await?;
        let rows = sqlx::query(
            "UPDATE effects SET status = 'running', next_attempt_at = ?2 WHERE id IN (SELECT id FROM effects \
             WHERE status IN ('pending', 'running') AND next_attempt_at <= ?1 ORDER BY next_attempt_at LIMIT ?3) RETURNING *",
        )
        .bind(micros(now))
        .bind(micros(until))
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
        let claimed = rows.iter().map(effect).collect::<Result<Vec<_>, _>>()?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn save_effect(&self, effect: &Effect) -> Result<(), Error> {
        let mut tx = self.0.write().await?;
        change_effect(&mut tx, effect).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn unanswered(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        self.pairs(
            "SELECT org, id FROM conversations WHERE answered_seq < last_user_seq AND owner <> 'human' AND (turn_until IS NULL OR turn_until <= ?) LIMIT ?",
            now,
            limit,
        )
        .await
    }

    async fn idle(&self, since: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        self.pairs(
            "SELECT org, id FROM conversations WHERE status IN ('active', 'waiting') AND last_activity_at <= ? \
             AND answered_seq >= last_user_seq AND turn_token IS NULL LIMIT ?",
            since,
            limit,
        )
        .await
    }

    async fn breached(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        self.pairs(
            "SELECT org, conversation_id AS id FROM escalations WHERE resolved_at IS NULL AND sla_deadline <= ? \
             AND json_extract(body, '$.breached') = 0 AND json_extract(body, '$.assigned_to') IS NULL LIMIT ?",
            now,
            limit,
        )
        .await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<(i64, Uuid, Uuid, u64)>, Error> {
        let rows =
            sqlx::query("SELECT * FROM outbox ORDER BY position LIMIT ?").bind(limit).fetch_all(self.0.read()).await?;
        rows.iter()
            .map(|row| {
                let seq = row.try_get::<i64, _>("seq")?.unsigned_abs();
                Ok((row.try_get("position")?, id(row, "org")?, id(row, "conversation_id")?, seq))
            })
            .collect()
    }

    async fn outbox_done(&self, up_to: i64) -> Result<(), Error> {
        let mut tx = self.0.write().await?;
        sqlx::query("DELETE FROM outbox WHERE position <= ?").bind(up_to).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn cursor(&self, org: Uuid, feed: &str) -> Result<Option<String>, Error> {
        let value =
            sqlx::query_scalar("SELECT value FROM cursors WHERE org = ? AND feed = ?").bind(org.to_string()).bind(feed);
        Ok(value.fetch_optional(self.0.read()).await?)
    }

    async fn set_cursor(&self, org: Uuid, feed: &str, value: &str) -> Result<(), Error> {
        let mut tx = self.0.write().await?;
        put_cursor(&mut tx, org, feed, value).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let rows: Vec<String> = sqlx::query_scalar(ORGANIZATIONS).fetch_all(self.0.read()).await?;
        Ok(rows.iter().filter_map(|r| Uuid::try_parse(r).ok()).collect())
    }

    async fn by_case(&self, org: Uuid, case_number: &str) -> Result<Option<Uuid>, Error> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT conversation_id FROM effects WHERE org = ? AND action_type = 'create_case' \
             AND json_extract(result, '$.case_number') = ? ORDER BY id DESC LIMIT 1",
        )
        .bind(org.to_string())
        .bind(case_number)
        .fetch_optional(self.0.read())
        .await?;
        Ok(found.and_then(|f| Uuid::try_parse(&f).ok()))
    }
}

impl SqliteStore {
    async fn pairs(&self, sql: &'static str, at: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let rows = sqlx::query(sql).bind(micros(at)).bind(limit).fetch_all(self.0.read()).await?;
        rows.iter().map(|row| Ok((id(row, "org")?, id(row, "id")?))).collect()
    }
}

async fn put_cursor(tx: &mut SqliteConnection, org: Uuid, feed: &str, value: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO cursors (org, feed, value) VALUES (?, ?, ?) ON CONFLICT (org, feed) DO UPDATE SET value = excluded.value")
        .bind(org.to_string())
        .bind(feed)
        .bind(value)
        .execute(tx)
        .await?;
    Ok(())
}

fn note(row: &SqliteRow) -> Result<Note, Error> {
    Ok(Note {
        id: id(row, "id")?,
        author: id(row, "author_id")?,
        content: row.try_get("content")?,
        created_at: time(row.try_get("created_at")?),
    })
}

// The words of the table's CHECKs are those of the enums.
const _: fn(Owner) -> &'static str = Owner::name;
