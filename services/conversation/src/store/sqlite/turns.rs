//! What a turn reads.
use async_trait::async_trait;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};
use switchboard_runtime::page;
use uuid::Uuid;

use super::{SqliteStore, bound, commit, create, micros};
use crate::{
    error::Error,
    machine::Status,
    model::{Conversation, Event, Message, Metrics, Outcome, Sender},
    store::{
        Commit, Committed, NewConversation, Page, Turns,
        rows::{self, CONVERSATIONS, Cells as _, message_columns, name, paged},
        sealed::Seal,
    },
};

impl SqliteStore {
    /// Messages, as a statement with conversation, organization, a seq and a limit finds them.
    async fn found(&self, sql: &'static str, org: Uuid, id: Uuid, seq: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(vec![]) };
        self.found_with(&seal, sql, org, id, seq, limit).await
    }

    async fn found_with(
        &self,
        seal: &Seal,
        sql: &'static str,
        org: Uuid,
        id: Uuid,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<Message>, Error> {
        let rows = self.after(sql, org, id, seq, limit).await?;
        let mut messages = rows.iter().map(|row| rows::message(row, seal)).collect::<Result<Vec<_>, _>>()?;
        messages.sort_by_key(|m| m.seq);
        Ok(messages)
    }

    async fn after(
        &self,
        sql: &'static str,
        org: Uuid,
        id: Uuid,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(org.to_string())
            .bind(bound(seq))
            .bind(limit)
            .fetch_all(self.db.read())
            .await
    }
}

const MESSAGES: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE conversation_id = ? AND organization_id = ? AND seq > ? ORDER BY seq LIMIT ?"
);

#[async_trait]
impl Turns for SqliteStore {
    async fn create(&self, new: NewConversation) -> Result<Option<(Conversation, String)>, Error> {
        create::create(self, new).await
    }

    async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error> {
        let sql = format!("{CONVERSATIONS} WHERE c.id = ? AND c.organization_id = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(org.to_string())
            .fetch_optional(self.db.read())
            .await?;
        row.as_ref().map(|row| rows::conversation(row, &self.keys)).transpose()
    }

    async fn heads(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>, Error> {
        let sql =
            "SELECT id, seq FROM conversations WHERE organization_id = ? AND id IN (SELECT value FROM json_each(?))";
        let rows =
            sqlx::query(sql).bind(org.to_string()).bind(serde_json::to_string(ids)?).fetch_all(self.db.read()).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.number("seq")?))).collect()
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        commit::commit(self, commit).await
    }

    async fn messages(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Message>, Error> {
        self.found(MESSAGES, org, id, after, limit).await
    }

    async fn history(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let sql = "SELECT id, seq, sender_type, sender_id, content, content_type, NULL AS attachments, intent, intent_confidence, \
             sentiment_score, NULL AS entities, NULL AS citations, NULL AS metadata, created_at, client_message_id, NULL AS outcome \
             FROM messages WHERE conversation_id = ? AND organization_id = ? AND seq <= ? ORDER BY seq DESC LIMIT ?";
        self.found(sql, org, id, up_to, limit).await
    }

    async fn latest_messages(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        let sql = concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages WHERE conversation_id = ? AND organization_id = ? AND seq <= ? ORDER BY seq DESC LIMIT ?"
        );
        self.found(sql, org, id, up_to, limit).await
    }

    async fn events(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(vec![]) };
        let messages = self.found_with(&seal, MESSAGES, org, id, after, limit).await?;
        let sql = "SELECT id, seq, body, created_at FROM status_events WHERE conversation_id = ? AND organization_id = ? AND seq > ? \
             ORDER BY seq LIMIT ?";
        let changes = self.after(sql, org, id, after, limit).await?;
        rows::events(messages, &changes, &seal, after, limit)
    }

    async fn message_by_client_id(
        &self,
        org: Uuid,
        id: Uuid,
        sender: Sender,
        client_id: &str,
    ) -> Result<Option<Message>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(None) };
        let row = sqlx::query(concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages WHERE conversation_id = ? AND sender_type = ? AND client_message_id = ? AND organization_id = ?"
        ))
        .bind(id.to_string())
        .bind(name(&sender)?)
        .bind(client_id)
        .bind(org.to_string())
        .fetch_optional(self.db.read())
        .await?;
        row.as_ref().map(|row| rows::message(row, &seal)).transpose()
    }

    async fn outcome_of(&self, org: Uuid, id: Uuid, user_seq: u64) -> Result<Option<Outcome>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(None) };
        let row = sqlx::query(
            "SELECT r.seq, r.outcome FROM messages m \
             JOIN messages r ON r.conversation_id = m.conversation_id AND r.seq = m.reply_seq \
             WHERE m.conversation_id = ? AND m.seq = ? AND m.organization_id = ?",
        )
        .bind(id.to_string())
        .bind(bound(user_seq))
        .bind(org.to_string())
        .fetch_optional(self.db.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        seal.open("messages.outcome", row.number("seq")?, row.bytes("outcome")?)
    }

    async fn receipt(&self, org: Uuid, id: Uuid, message: Uuid) -> Result<Option<Value>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(None) };
        let row = sqlx::query(
            "SELECT seq, receipt FROM messages WHERE id = ? AND conversation_id = ? AND organization_id = ?",
        )
        .bind(message.to_string())
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_optional(self.db.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        seal.open("messages.receipt", row.number("seq")?, row.bytes("receipt")?)
    }

    async fn metrics(&self, org: Uuid, id: Uuid) -> Result<Metrics, Error> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS total, COUNT(*) FILTER (WHERE sender_type = 'user') AS user, \
             COUNT(*) FILTER (WHERE sender_type = 'ai_agent') AS ai, \
             COUNT(DISTINCT intent) FILTER (WHERE sender_type = 'user') AS intents, \
             AVG(intent_confidence) FILTER (WHERE sender_type = 'ai_agent') AS confidence, \
             AVG(sentiment_score) FILTER (WHERE sender_type = 'user') AS sentiment, \
             (SELECT COUNT(*) FROM escalations e WHERE e.conversation_id = ?1 AND e.organization_id = ?2) AS escalations \
             FROM messages WHERE conversation_id = ?1 AND organization_id = ?2",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_one(self.db.read())
        .await?;
        Ok(Metrics {
            total: row.small("total")?,
            user: row.small("user")?,
            ai: row.small("ai")?,
            intents: row.small("intents")?,
            escalations: row.small("escalations")?,
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
        let mut sql = format!("{CONVERSATIONS} WHERE c.organization_id = ?1");
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
            .fetch_all(self.db.read())
            .await?;
        let rows = rows.iter().map(|row| rows::conversation(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| page::token(&(micros(c.last_activity_at), c.id.to_string()))))
    }
}
