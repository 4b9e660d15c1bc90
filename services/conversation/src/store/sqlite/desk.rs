//! What humans read and write.
use async_trait::async_trait;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use switchboard_runtime::page;
use uuid::Uuid;

use super::{SqliteStore, micros};
use crate::{
    error::Error,
    model::{CitingAnswer, Conversation, Draft, Escalation, Note},
    store::{
        Desk, Page,
        rows::{self, conversation_columns, paged, with_key},
    },
};

#[async_trait]
impl Desk for SqliteStore {
    async fn queue(&self, org: Uuid, size: u32, after: &str) -> Result<Page<Conversation>, Error> {
        let key: Option<(i64, i64, String)> = page::key(after)?;
        let (priority, deadline, last) = key.unwrap_or((i64::from(u8::MAX), 0, String::new()));
        let rows = sqlx::query(concat!(
            conversation_columns!(),
            " FROM escalations e JOIN conversations c ON c.id = e.conversation_id",
            with_key!(),
            "WHERE e.organization_id = ?1 AND e.resolved_at IS NULL \
             AND (e.priority < ?2 OR (e.priority = ?2 AND (e.sla_deadline, e.id) > (?3, ?4))) \
             ORDER BY e.priority DESC, e.sla_deadline, e.id LIMIT ?5"
        ))
        .bind(org.to_string())
        .bind(priority)
        .bind(deadline)
        .bind(last)
        .bind(size + 1)
        .fetch_all(self.db.read())
        .await?;
        let rows = rows.iter().map(|row| rows::conversation(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| {
            let e = c.escalation.as_ref();
            page::token(&(
                e.map_or(0, |e| e.priority as i64),
                e.map_or(0, |e| micros(e.sla_deadline)),
                e.map(|e| e.id.to_string()).unwrap_or_default(),
            ))
        }))
    }

    async fn hand_offs(&self, org: Uuid, id: Uuid) -> Result<Vec<Escalation>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(vec![]) };
        let rows = sqlx::query(
            "SELECT * FROM escalations WHERE conversation_id = ? AND organization_id = ? ORDER BY created_at, id",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(|row| rows::escalation(row, &seal, "")).collect()
    }

    async fn drafts(&self, org: Uuid, id: Uuid) -> Result<Vec<Draft>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(vec![]) };
        let rows = sqlx::query(
            "SELECT * FROM drafts WHERE conversation_id = ? AND organization_id = ? AND sent_at IS NULL ORDER BY id",
        )
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(|row| rows::draft(row, &seal)).collect()
    }

    async fn add_note(&self, org: Uuid, id: Uuid, note: Note, request_id: Option<&str>) -> Result<Note, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Err(Error::ConversationNotFound(id)) };
        let sealed = seal.text("notes.content", note.id, &note.content);
        let row = self
            .write((note, sealed, request_id.map(str::to_owned)), move |tx, (note, sealed, request_id)| {
                Box::pin(put_note(tx, org, id, note, sealed, request_id.as_deref()))
            })
            .await?;
        rows::note(&row, &seal)
    }

    async fn notes(&self, org: Uuid, id: Uuid) -> Result<Vec<Note>, Error> {
        let Some(seal) = self.seal(org, id).await? else { return Ok(vec![]) };
        let rows = sqlx::query("SELECT * FROM notes WHERE conversation_id = ? AND organization_id = ? ORDER BY id")
            .bind(id.to_string())
            .bind(org.to_string())
            .fetch_all(self.db.read())
            .await?;
        rows.iter().map(|row| rows::note(row, &seal)).collect()
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
        let rows = sqlx::query(concat!(
            "SELECT x.*, c.user_id, c.status FROM citations x JOIN conversations c ON c.id = x.conversation_id",
            with_key!(),
            "WHERE x.organization_id = ?1 AND x.article_id = ?2 AND (?3 IS NULL OR x.version = ?3) \
             AND (x.created_at, x.message_id) < (?4, ?5) ORDER BY x.created_at DESC, x.message_id DESC LIMIT ?6"
        ))
        .bind(org.to_string())
        .bind(article)
        .bind(version)
        .bind(at)
        .bind(last)
        .bind(size + 1)
        .fetch_all(self.db.read())
        .await?;
        let answers = rows.iter().map(rows::citing).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(answers, size, |a| page::token(&(micros(a.created_at), a.message.to_string()))))
    }
}

/// Writes a note; if its author's request made one before, that one.
async fn put_note(
    tx: &mut SqliteConnection,
    org: Uuid,
    id: Uuid,
    note: &Note,
    sealed: &[u8],
    request_id: Option<&str>,
) -> Result<SqliteRow, Error> {
    let insert = sqlx::query(
        "INSERT INTO notes (id, organization_id, conversation_id, author_id, content, created_at, request_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (conversation_id, author_id, request_id) DO UPDATE SET request_id = excluded.request_id \
         RETURNING id, author_id, content, created_at",
    );
    let row = insert
        .bind(note.id.to_string())
        .bind(org.to_string())
        .bind(id.to_string())
        .bind(note.author.to_string())
        .bind(sealed)
        .bind(micros(note.created_at))
        .bind(request_id)
        .fetch_one(tx)
        .await?;
    Ok(row)
}
