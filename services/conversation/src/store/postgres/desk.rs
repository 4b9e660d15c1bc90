//! What humans read and write.
use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder, postgres::PgRow};
use switchboard_runtime::{page, postgres::Time};
use uuid::Uuid;

use super::{PostgresStore, limit, turns::time};
use crate::{
    error::Error,
    model::{CitingAnswer, Conversation, Draft, Escalation, Note},
    store::{
        Desk, Page,
        rows::{self, conversation_columns, paged, with_key},
        sealed::Seal,
    },
};

impl PostgresStore {
    /// Rows of a conversation, as a statement with organization and conversation finds them.
    async fn all_of(&self, org: Uuid, id: Uuid, sql: &'static str) -> Result<Option<(Seal, Vec<PgRow>)>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let Some(seal) = self.seal(&mut tx, org, id).await? else { return Ok(None) };
        let rows = sqlx::query(sql).bind(org).bind(id).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some((seal, rows)))
    }
}

#[async_trait]
impl Desk for PostgresStore {
    async fn queue(&self, org: Uuid, size: u32, after: &str) -> Result<Page<Conversation>, Error> {
        let key: Option<(i16, i64, Uuid)> = page::key(after)?;
        let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(concat!(
            conversation_columns!(),
            " FROM escalations e JOIN conversations c ON c.organization_id = e.organization_id AND c.id = e.conversation_id",
            with_key!(),
            "WHERE e.resolved_at IS NULL AND e.organization_id = "
        ));
        sql.push_bind(org);
        if let Some((priority, deadline, last)) = key {
            // What is below in priority, or as high and later; the first bound is what the index can begin at.
            sql.push(" AND e.priority <= ").push_bind(priority).push(" AND (e.priority < ").push_bind(priority);
            sql.push(" OR (e.sla_deadline, e.id) > (").push_bind(time(deadline)?).push(", ").push_bind(last).push("))");
        }
        sql.push(" ORDER BY e.priority DESC, e.sla_deadline, e.id").push(limit(size));
        let mut tx = self.db.tenant(org).await?;
        let rows = sql.build().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let rows = rows.iter().map(|row| rows::conversation(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |c| {
            let e = c.escalation.as_ref();
            let key = e.map(|e| (e.priority as i16, e.sla_deadline.as_microsecond(), e.id));
            page::token(&key.unwrap_or_default())
        }))
    }

    async fn hand_offs(&self, org: Uuid, id: Uuid) -> Result<Vec<Escalation>, Error> {
        let sql =
            "SELECT * FROM escalations WHERE organization_id = $1 AND conversation_id = $2 ORDER BY created_at, id";
        let Some((seal, rows)) = self.all_of(org, id, sql).await? else { return Ok(vec![]) };
        rows.iter().map(|row| rows::escalation(row, &seal, "")).collect()
    }

    async fn drafts(&self, org: Uuid, id: Uuid) -> Result<Vec<Draft>, Error> {
        let sql =
            "SELECT * FROM drafts WHERE organization_id = $1 AND conversation_id = $2 AND sent_at IS NULL ORDER BY id";
        let Some((seal, rows)) = self.all_of(org, id, sql).await? else { return Ok(vec![]) };
        rows.iter().map(|row| rows::draft(row, &seal)).collect()
    }

    async fn add_note(&self, org: Uuid, id: Uuid, note: Note, request_id: Option<&str>) -> Result<Note, Error> {
        let mut tx = self.db.tenant(org).await?;
        let Some(seal) = self.seal(&mut tx, org, id).await? else { return Err(Error::ConversationNotFound(id)) };
        let row = sqlx::query(
            "INSERT INTO notes (organization_id, conversation_id, id, author_id, content, created_at, request_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT ON CONSTRAINT notes_request \
             DO UPDATE SET request_id = excluded.request_id RETURNING id, author_id, content, created_at",
        )
        .bind(org)
        .bind(id)
        .bind(note.id)
        .bind(note.author)
        .bind(seal.text("notes.content", note.id, &note.content))
        .bind(Time(note.created_at))
        .bind(request_id)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        rows::note(&row, &seal)
    }

    async fn notes(&self, org: Uuid, id: Uuid) -> Result<Vec<Note>, Error> {
        let sql = "SELECT * FROM notes WHERE organization_id = $1 AND conversation_id = $2 ORDER BY id";
        let Some((seal, rows)) = self.all_of(org, id, sql).await? else { return Ok(vec![]) };
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
        let key: Option<(i64, Uuid)> = page::key(after)?;
        let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(concat!(
            "SELECT x.*, c.user_id, c.status FROM citations x \
             JOIN conversations c ON c.organization_id = x.organization_id AND c.id = x.conversation_id",
            with_key!(),
            "WHERE x.organization_id = "
        ));
        sql.push_bind(org).push(" AND x.article_id = ").push_bind(article);
        if let Some(version) = version {
            sql.push(" AND x.version = ").push_bind(version.cast_signed());
        }
        if let Some((at, last)) = key {
            sql.push(" AND (x.created_at, x.message_id) < (").push_bind(time(at)?).push(", ").push_bind(last).push(")");
        }
        sql.push(" ORDER BY x.created_at DESC, x.message_id DESC").push(limit(size));
        let mut tx = self.db.tenant(org).await?;
        let rows = sql.build().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let answers = rows.iter().map(rows::citing).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(answers, size, |a| page::token(&(a.created_at.as_microsecond(), a.message))))
    }
}
