//! What a turn reads.
use async_trait::async_trait;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use switchboard_runtime::{
    page,
    postgres::{Time, Tx},
};
use uuid::Uuid;

use super::{PostgresStore, bound, commit, create, limit};
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

const MESSAGES: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE organization_id = $1 AND conversation_id = $2 AND seq > $3 ORDER BY seq LIMIT $4"
);
const LATEST: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE organization_id = $1 AND conversation_id = $2 AND seq <= $3 ORDER BY seq DESC LIMIT $4"
);
const HISTORY: &str = "SELECT id, seq, sender_type, sender_id, content, content_type, NULL::bytea AS attachments, intent, intent_confidence, \
     sentiment_score, NULL::bytea AS entities, NULL::jsonb AS citations, NULL::bytea AS metadata, created_at, client_message_id, \
     NULL::bytea AS outcome FROM messages WHERE organization_id = $1 AND conversation_id = $2 AND seq <= $3 ORDER BY seq DESC LIMIT $4";
const CHANGES: &str = "SELECT id, seq, body, created_at FROM status_events \
     WHERE organization_id = $1 AND conversation_id = $2 AND seq > $3 ORDER BY seq LIMIT $4";

/// Rows of a conversation, as a statement with organization, conversation, a seq and a limit finds them.
async fn found(
    tx: &mut Tx,
    sql: &'static str,
    org: Uuid,
    id: Uuid,
    seq: u64,
    limit: u32,
) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(sql).bind(org).bind(id).bind(bound(seq)).bind(i64::from(limit)).fetch_all(&mut **tx).await
}

fn opened(rows: &[PgRow], seal: &Seal) -> Result<Vec<Message>, Error> {
    let mut messages = rows.iter().map(|row| rows::message(row, seal)).collect::<Result<Vec<_>, _>>()?;
    messages.sort_by_key(|m| m.seq);
    Ok(messages)
}

impl PostgresStore {
    async fn messages_by(
        &self,
        sql: &'static str,
        org: Uuid,
        id: Uuid,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<Message>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let Some(seal) = self.seal(&mut tx, org, id).await? else { return Ok(vec![]) };
        let rows = found(&mut tx, sql, org, id, seq, limit).await?;
        tx.commit().await?;
        opened(&rows, &seal)
    }

    /// One row of a conversation.
    async fn one(
        &self,
        org: Uuid,
        id: Uuid,
        query: sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Option<(Seal, PgRow)>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let Some(seal) = self.seal(&mut tx, org, id).await? else { return Ok(None) };
        let row = query.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        Ok(row.map(|row| (seal, row)))
    }
}

#[async_trait]
impl Turns for PostgresStore {
    async fn create(&self, new: NewConversation) -> Result<Option<(Conversation, String)>, Error> {
        create::create(self, new).await
    }

    async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error> {
        let sql = format!("{CONVERSATIONS} WHERE c.organization_id = $1 AND c.id = $2");
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query(AssertSqlSafe(sql)).bind(org).bind(id).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        row.as_ref().map(|row| rows::conversation(row, &self.keys)).transpose()
    }

    async fn heads(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let sql = "SELECT id, seq FROM conversations WHERE organization_id = $1 AND id = ANY($2)";
        let rows = sqlx::query(sql).bind(org).bind(ids).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.number("seq")?))).collect()
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        commit::commit(self, commit).await
    }

    async fn messages(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Message>, Error> {
        self.messages_by(MESSAGES, org, id, after, limit).await
    }

    async fn history(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        self.messages_by(HISTORY, org, id, up_to, limit).await
    }

    async fn latest_messages(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error> {
        self.messages_by(LATEST, org, id, up_to, limit).await
    }

    async fn events(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let Some(seal) = self.seal(&mut tx, org, id).await? else { return Ok(vec![]) };
        let messages = found(&mut tx, MESSAGES, org, id, after, limit).await?;
        let changes = found(&mut tx, CHANGES, org, id, after, limit).await?;
        tx.commit().await?;
        rows::events(opened(&messages, &seal)?, &changes, &seal, after, limit)
    }

    async fn message_by_client_id(
        &self,
        org: Uuid,
        id: Uuid,
        sender: Sender,
        client_id: &str,
    ) -> Result<Option<Message>, Error> {
        let query = sqlx::query(concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages WHERE organization_id = $1 AND conversation_id = $2 AND sender_type = $3 AND client_message_id = $4"
        ))
        .bind(org)
        .bind(id)
        .bind(name(&sender)?)
        .bind(client_id);
        let Some((seal, row)) = self.one(org, id, query).await? else { return Ok(None) };
        rows::message(&row, &seal).map(Some)
    }

    async fn outcome_of(&self, org: Uuid, id: Uuid, user_seq: u64) -> Result<Option<Outcome>, Error> {
        let query = sqlx::query(
            "SELECT r.seq, r.outcome FROM messages m JOIN messages r ON r.organization_id = m.organization_id \
             AND r.conversation_id = m.conversation_id AND r.seq = m.reply_seq \
             WHERE m.organization_id = $1 AND m.conversation_id = $2 AND m.seq = $3",
        )
        .bind(org)
        .bind(id)
        .bind(bound(user_seq));
        let Some((seal, row)) = self.one(org, id, query).await? else { return Ok(None) };
        seal.open("messages.outcome", row.number("seq")?, row.bytes("outcome")?)
    }

    async fn receipt(&self, org: Uuid, id: Uuid, message: Uuid) -> Result<Option<Value>, Error> {
        let sql = "SELECT conversation_id, seq, receipt FROM messages WHERE organization_id = $1 AND id = $2";
        let query = sqlx::query(sql).bind(org).bind(message);
        let Some((seal, row)) = self.one(org, id, query).await? else { return Ok(None) };
        if row.id("conversation_id")? != id {
            return Ok(None);
        }
        seal.open("messages.receipt", row.number("seq")?, row.bytes("receipt")?)
    }

    async fn metrics(&self, org: Uuid, id: Uuid) -> Result<Metrics, Error> {
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query("SELECT * FROM get_conversation_stats($1)").bind(id).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(Metrics {
            total: row.small("total_messages")?,
            user: row.small("user_messages")?,
            ai: row.small("ai_messages")?,
            intents: row.small("unique_intents")?,
            escalations: row.small("escalation_count")?,
            confidence: row.try_get("avg_confidence")?,
            sentiment: row.try_get("avg_sentiment")?,
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
        let key: Option<(i64, Uuid)> = page::key(after)?;
        let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(CONVERSATIONS);
        sql.push(" WHERE c.organization_id = ").push_bind(org);
        if let Some(user) = user {
            sql.push(" AND c.user_id = ").push_bind(user);
        }
        if let Some(status) = status {
            sql.push(" AND c.status = ").push_bind(status.name());
        }
        if let Some((at, last)) = key {
            sql.push(" AND (c.last_activity_at, c.id) < (").push_bind(time(at)?).push(", ").push_bind(last).push(")");
        }
        sql.push(" ORDER BY c.last_activity_at DESC, c.id DESC").push(limit(size));
        let mut tx = self.db.tenant(org).await?;
        let rows = sql.build().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let rows = rows.iter().map(|row| rows::conversation(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| page::token(&(c.last_activity_at.as_microsecond(), c.id))))
    }
}

/// The time of a page's key.
pub(super) fn time(micros: i64) -> Result<Time, Error> {
    let time = jiff::Timestamp::from_microsecond(micros);
    time.map(Time).map_err(|e| Error::Store(sqlx::Error::Encode(Box::new(e))))
}
