//! Session documents in one SQLite file.
//!
//! In: sealed documents. Out: the same. Never: a statement without the organization, other than the purge by age.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    page,
    sqlite::{OpenError, Sqlite},
};
use uuid::Uuid;

use super::{Document, Newer, Sessions, failed};
use crate::{error::Error, outbox::Kind, store::Page};

/// The file's migrations.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sessions/sqlite");
/// The file's name without its end.
pub const OWNER: &str = "sessions";

/// Documents in a file.
#[derive(Debug)]
pub struct SqliteSessions {
    db: Sqlite,
    newer: Newer,
}

impl SqliteSessions {
    /// Opens the file of a folder.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteSessions { db: Sqlite::open(folder, OWNER, &MIGRATIONS).await?, newer: Newer::default() })
    }

    /// A row as a document; none if a newer version wrote it.
    fn document(&self, row: &SqliteRow) -> Result<Option<Document>, Error> {
        let read = || -> Result<Document, sqlx::Error> {
            let id = |column: &str| -> Result<Uuid, sqlx::Error> {
                Uuid::try_parse(row.try_get(column)?).map_err(|e| sqlx::Error::Decode(e.into()))
            };
            let number = |column: &str| row.try_get::<i64, _>(column);
            Ok(Document {
                org: id("organization_id")?,
                conversation: id("conversation_id")?,
                person: id("person_id")?,
                kind: kind(row.try_get("kind")?)?,
                seq: number("seq")?.unsigned_abs(),
                at: Timestamp::from_microsecond(number("created_at")?).map_err(|e| sqlx::Error::Decode(e.into()))?,
                schema: u32::try_from(number("schema")?).unwrap_or(u32::MAX),
                body: row.try_get("body")?,
            })
        };
        let document = read().map_err(failed)?;
        Ok(self.newer.is_known(document.schema).then_some(document))
    }
}

fn kind(name: &str) -> Result<Kind, sqlx::Error> {
    Kind::from_name(name).ok_or_else(|| sqlx::Error::Decode(format!("unknown kind {name}").into()))
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn insert(&self, documents: &[Document]) -> Result<(), Error> {
        let mut tx = self.db.write().await.map_err(failed)?;
        for d in documents {
            sqlx::query(
                "INSERT INTO documents (organization_id, conversation_id, person_id, kind, seq, created_at, schema, body) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (conversation_id, seq, kind) DO NOTHING",
            )
            .bind(d.org.to_string())
            .bind(d.conversation.to_string())
            .bind(d.person.to_string())
            .bind(d.kind.name())
            .bind(i64::try_from(d.seq).unwrap_or(i64::MAX))
            .bind(d.at.as_microsecond())
            .bind(d.schema)
            .bind(&d.body)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn get(&self, org: Uuid, conversation: Uuid, kind: Kind, seq: u64) -> Result<Option<Document>, Error> {
        let row = sqlx::query(
            "SELECT * FROM documents WHERE conversation_id = ? AND seq = ? AND kind = ? AND organization_id = ?",
        )
        .bind(conversation.to_string())
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(kind.name())
        .bind(org.to_string())
        .fetch_optional(self.db.read())
        .await
        .map_err(failed)?;
        row.map_or(Ok(None), |row| self.document(&row))
    }

    async fn latest(&self, org: Uuid, conversation: Uuid) -> Result<Option<Document>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM documents WHERE conversation_id = ? AND organization_id = ? AND schema <= ? \
             ORDER BY seq DESC, kind LIMIT 1",
        )
        .bind(conversation.to_string())
        .bind(org.to_string())
        .bind(super::SCHEMA)
        .fetch_optional(self.db.read())
        .await
        .map_err(failed)?;
        rows.map_or(Ok(None), |row| self.document(&row))
    }

    async fn since(
        &self,
        org: Uuid,
        kind: Kind,
        since: Timestamp,
        size: u32,
        after: &str,
    ) -> Result<Page<Document>, Error> {
        let key: Option<(i64, String, i64)> = page::key(after)?;
        let (at, conversation, seq) = key.unwrap_or((since.as_microsecond(), String::new(), -1));
        let mut rows = sqlx::query(
            "SELECT * FROM documents WHERE organization_id = ? AND kind = ? AND (created_at, conversation_id, seq) > (?, ?, ?) \
             ORDER BY created_at, conversation_id, seq LIMIT ?",
        )
        .bind(org.to_string())
        .bind(kind.name())
        .bind(at)
        .bind(conversation)
        .bind(seq)
        .bind(i64::from(size) + 1)
        .fetch_all(self.db.read())
        .await
        .map_err(failed)?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = match rows.last().filter(|_| more) {
            Some(row) => {
                let number = |column: &str| row.try_get::<i64, _>(column).map_err(failed);
                let conversation: String = row.try_get("conversation_id").map_err(failed)?;
                Some(page::token(&(number("created_at")?, conversation, number("seq")?)))
            }
            None => None,
        };
        let documents = rows.iter().filter_map(|row| self.document(row).transpose()).collect::<Result<_, _>>()?;
        Ok((documents, next))
    }

    async fn erase(&self, org: Uuid, conversations: &[Uuid]) -> Result<u64, Error> {
        let mut tx = self.db.write().await.map_err(failed)?;
        let mut erased = 0;
        for conversation in conversations {
            let done = sqlx::query("DELETE FROM documents WHERE conversation_id = ? AND organization_id = ?")
                .bind(conversation.to_string())
                .bind(org.to_string())
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            erased += done.rows_affected();
        }
        tx.commit().await.map_err(failed)?;
        Ok(erased)
    }

    async fn purge(&self, org: Option<Uuid>, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.db.write().await.map_err(failed)?;
        let done = sqlx::query(
            "DELETE FROM documents WHERE rowid IN (SELECT rowid FROM documents WHERE created_at < ?1 \
             AND (?2 IS NULL OR organization_id = ?2) ORDER BY created_at LIMIT ?3)",
        )
        .bind(before.as_microsecond())
        .bind(org.map(|org| org.to_string()))
        .bind(limit)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn is_empty(&self) -> Result<bool, Error> {
        let any = sqlx::query("SELECT 1 FROM documents LIMIT 1").fetch_optional(self.db.read()).await;
        Ok(any.map_err(failed)?.is_none())
    }

    async fn close(&self) {
        self.db.close().await;
    }
}
