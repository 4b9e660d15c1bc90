//! Articles in SQLite.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::sqlite::{OpenError, Sqlite, is_unique_violation};
use uuid::Uuid;

use super::{
    AuditRow, Behind, By, Known, ListQuery, Store, Write,
    audit::{self, Change, Head, Page},
};
use crate::{
    article::{Article, NewArticle},
    error::Error,
};

/// The migrations of the file.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/knowledge/sqlite");

/// Every column of a version beside its article, which [`article`] reads, and what follows.
macro_rules! articles {
    ($tail:literal) => {
        concat!(
            "SELECT v.*, a.usage_count, a.success_rate, a.archived_at, a.created_at AS first_at FROM knowledge_entries v \
             JOIN articles a ON a.organization_id = v.organization_id AND a.id = v.article_id ",
            $tail
        )
    };
}

/// The store.
pub struct SqliteStore {
    db: Sqlite,
}

impl SqliteStore {
    /// Opens `FOLDER/knowledge.db`.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore { db: Sqlite::open(folder, "knowledge", &MIGRATOR).await? })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, org: Uuid, by: By, writes: Vec<Write>) -> Result<Vec<Article>, Error> {
        let mut tx = self.db.write().await?;
        let mut changes = Vec::with_capacity(writes.len());
        let mut written = Vec::with_capacity(writes.len());
        for write in &writes {
            let change = match write {
                Write::Create { id, request, content } => match replied(&mut tx, org, *request).await? {
                    Some(first) => {
                        written.push((first, 1));
                        continue;
                    }
                    None => create(&mut tx, org, by, *id, *request, content).await?,
                },
                Write::Update { id, seen, content } => update(&mut tx, org, by, *id, *seen, content).await?,
            };
            written.push((change.article, change.version));
            changes.push(change);
        }
        note(&mut tx, org, by, &changes).await?;
        let mut stored = Vec::with_capacity(written.len());
        for (id, version) in written {
            let row = read(&mut tx, org, id, Some(version)).await?;
            stored.push(row.ok_or_else(|| Error::Row("a request names an article that is not there".to_owned()))?);
        }
        tx.commit().await?;
        Ok(stored)
    }

    async fn get(&self, org: Uuid, id: Uuid, version: Option<u32>) -> Result<Option<Article>, Error> {
        let mut connection = self.db.read().acquire().await?;
        read(&mut connection, org, id, version).await
    }

    async fn current(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<Article>, Error> {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let rows = sqlx::query(articles!(
            "WHERE v.organization_id = ? AND v.article_id IN (SELECT value FROM json_each(?)) AND v.is_current = 1 \
             AND a.archived_at IS NULL"
        ))
        .bind(org.to_string())
        .bind(json(&ids))
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(article).collect()
    }

    async fn list(&self, org: Uuid, query: ListQuery) -> Result<Vec<Article>, Error> {
        let rows = sqlx::query(articles!(
            "WHERE v.organization_id = ?1 AND v.is_current = 1 AND a.archived_at IS NULL AND v.article_id > ?2 \
             AND (?3 IS NULL OR v.category = ?3) AND (?4 OR v.internal = 0) \
             AND (?5 IS NULL OR v.expires_at IS NULL OR v.expires_at > ?5) ORDER BY v.article_id LIMIT ?6"
        ))
        .bind(org.to_string())
        .bind(query.after.map(|id| id.to_string()).unwrap_or_default())
        .bind(query.category)
        .bind(query.internal)
        .bind(query.alive_at.map(Timestamp::as_microsecond))
        .bind(query.limit)
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(article).collect()
    }

    async fn archive(&self, org: Uuid, by: By, id: Uuid) -> Result<bool, Error> {
        let mut tx = self.db.write().await?;
        let row = sqlx::query("SELECT version, archived_at FROM articles WHERE organization_id = ? AND id = ?")
            .bind(org.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if row.try_get::<Option<i64>, _>("archived_at")?.is_some() {
            return Ok(true);
        }
        sqlx::query("UPDATE articles SET archived_at = ? WHERE organization_id = ? AND id = ?")
            .bind(by.now.as_microsecond())
            .bind(org.to_string())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        note(&mut tx, org, by, &[Change { action: "archived", article: id, version: row.try_get("version")? }]).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn known(&self, org: Uuid) -> Result<Vec<Known>, Error> {
        let rows = sqlx::query(
            "SELECT a.id, a.slug, a.version, a.archived_at, v.source, v.hash FROM articles a JOIN knowledge_entries v \
             ON v.organization_id = a.organization_id AND v.article_id = a.id AND v.version = a.version \
             WHERE a.organization_id = ? AND a.slug <> ''",
        )
        .bind(org.to_string())
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Known {
                    id: uuid(row, "id")?,
                    slug: row.try_get("slug")?,
                    version: row.try_get("version")?,
                    source: row.try_get("source")?,
                    hash: row.try_get("hash")?,
                    archived: row.try_get::<Option<i64>, _>("archived_at")?.is_some(),
                })
            })
            .collect()
    }

    async fn behind(&self, generation: Uuid, limit: u32) -> Result<Vec<Behind>, Error> {
        let rows = sqlx::query(
            "SELECT organization_id, article_id, version FROM index_behind WHERE generation = ? \
             ORDER BY organization_id, article_id LIMIT ?",
        )
        .bind(generation.to_string())
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| {
                let (org, id) = (uuid(row, "organization_id")?, uuid(row, "article_id")?);
                Ok(Behind { org, id, wanted: row.try_get("version")? })
            })
            .collect()
    }

    async fn mark_indexed(&self, generation: Uuid, done: &[Behind]) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        for one in done {
            sqlx::query(
                "DELETE FROM index_behind WHERE generation = ? AND organization_id = ? AND article_id = ? AND version IS ?",
            )
            .bind(generation.to_string())
            .bind(one.org.to_string())
            .bind(one.id.to_string())
            .bind(one.wanted)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn resume_generation(&self, generation: Uuid, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.write().await?;
        let done = sqlx::query("UPDATE index_generations SET seen_at = ? WHERE generation = ? AND complete")
            .bind(now.as_microsecond())
            .bind(generation.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn start_generation(&self, generation: Uuid, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        sqlx::query("INSERT INTO index_generations (generation, seen_at, complete) VALUES (?, ?, 1)")
            .bind(generation.to_string())
            .bind(now.as_microsecond())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO index_behind (generation, organization_id, article_id, version) \
             SELECT ?, organization_id, id, version FROM articles WHERE archived_at IS NULL",
        )
        .bind(generation.to_string())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn forget_generations(&self, unused_since: Timestamp) -> Result<u64, Error> {
        let mut tx = self.db.write().await?;
        let gone = sqlx::query("DELETE FROM index_generations WHERE seen_at < ?")
            .bind(unused_since.as_microsecond())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let rows = sqlx::query("SELECT organization_id FROM activity_heads").fetch_all(self.db.read()).await?;
        rows.iter().map(|row| uuid(row, "organization_id")).collect()
    }

    async fn audit(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let page = Page::after(after, limit);
        // One transaction: the head is that of these rows.
        let mut tx = self.db.read().begin().await?;
        let head = head(&mut tx, org).await?;
        let rows =
            sqlx::query("SELECT * FROM activity_log WHERE organization_id = ? AND seq >= ? ORDER BY seq LIMIT ?")
                .bind(org.to_string())
                .bind(page.from)
                .bind(page.limit)
                .fetch_all(&mut *tx)
                .await?;
        let row = |row: &SqliteRow| {
            let actor: Option<String> = row.try_get("user_id")?;
            let details: serde_json::Value = row.try_get("details")?;
            Ok(audit::Row {
                seq: row.try_get("seq")?,
                at: time(row.try_get("timestamp")?)?,
                actor: actor.map(|id| Uuid::try_parse(&id)).transpose().map_err(|e| Error::Row(e.to_string()))?,
                action: row.try_get("action")?,
                article: uuid(row, "resource_id")?,
                version: details["version"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or_default(),
                hash: row.try_get("hash")?,
            })
        };
        head.check(org, page, rows.iter().map(row).collect::<Result<_, Error>>()?)
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

/// The article that a request was answered with.
async fn replied(db: &mut SqliteConnection, org: Uuid, request: Option<Uuid>) -> Result<Option<Uuid>, Error> {
    let Some(request) = request else { return Ok(None) };
    let row = sqlx::query("SELECT article_id FROM requests WHERE organization_id = ? AND request_id = ?")
        .bind(org.to_string())
        .bind(request.to_string())
        .fetch_optional(db)
        .await?;
    row.map(|row| uuid(&row, "article_id")).transpose()
}

async fn create(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    id: Uuid,
    request: Option<Uuid>,
    content: &NewArticle,
) -> Result<Change, Error> {
    let inserted =
        sqlx::query("INSERT INTO articles (organization_id, id, slug, version, created_at) VALUES (?, ?, ?, 1, ?)")
            .bind(org.to_string())
            .bind(id.to_string())
            .bind(&content.slug)
            .bind(by.now.as_microsecond())
            .execute(&mut *db)
            .await;
    inserted.map_err(|e| slug_taken(e, &content.slug))?;
    insert_version(db, org, by, id, 1, content).await?;
    if let Some(request) = request {
        sqlx::query("INSERT INTO requests (organization_id, request_id, article_id, created_at) VALUES (?, ?, ?, ?)")
            .bind(org.to_string())
            .bind(request.to_string())
            .bind(id.to_string())
            .bind(by.now.as_microsecond())
            .execute(db)
            .await?;
    }
    Ok(Change { action: "created", article: id, version: 1 })
}

async fn update(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    id: Uuid,
    seen: Option<u32>,
    content: &NewArticle,
) -> Result<Change, Error> {
    let row =
        sqlx::query("SELECT version, slug FROM articles WHERE organization_id = ? AND id = ? AND archived_at IS NULL")
            .bind(org.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *db)
            .await?;
    let row = row.ok_or(Error::NotFound)?;
    let newest: u32 = row.try_get("version")?;
    if seen.is_some_and(|seen| seen != newest) {
        return Err(Error::Stale { newest });
    }
    let mut content = content.clone();
    if content.slug.is_empty() {
        content.slug = row.try_get("slug")?;
    }
    let version = newest + 1;
    sqlx::query(
        "UPDATE knowledge_entries SET is_current = 0 WHERE organization_id = ? AND article_id = ? AND is_current = 1",
    )
    .bind(org.to_string())
    .bind(id.to_string())
    .execute(&mut *db)
    .await?;
    insert_version(db, org, by, id, version, &content).await?;
    let updated = sqlx::query("UPDATE articles SET version = ?, slug = ? WHERE organization_id = ? AND id = ?")
        .bind(version)
        .bind(&content.slug)
        .bind(org.to_string())
        .bind(id.to_string())
        .execute(db)
        .await;
    updated.map_err(|e| slug_taken(e, &content.slug))?;
    Ok(Change { action: "updated", article: id, version })
}

async fn insert_version(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    id: Uuid,
    version: u32,
    content: &NewArticle,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO knowledge_entries (organization_id, article_id, version, is_current, title, body, language, category, \
         subcategory, tags, internal, source, source_url, confidence_score, validated_at, expires_at, slug, errors, features, \
         see_also, product, hash, created_at) \
         VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.to_string())
    .bind(id.to_string())
    .bind(version)
    .bind(&content.title)
    .bind(&content.body)
    .bind(&content.language)
    .bind(&content.category)
    .bind(&content.subcategory)
    .bind(json(&content.tags))
    .bind(content.internal)
    .bind(&content.source)
    .bind(&content.source_url)
    .bind(content.confidence)
    .bind(content.validated.map(Timestamp::as_microsecond))
    .bind(content.expires.map(Timestamp::as_microsecond))
    .bind(&content.slug)
    .bind(json(&content.errors))
    .bind(json(&content.features))
    .bind(json(&content.see_also))
    .bind(&content.product)
    .bind(content.hash())
    .bind(by.now.as_microsecond())
    .execute(db)
    .await?;
    Ok(())
}

async fn read(db: &mut SqliteConnection, org: Uuid, id: Uuid, version: Option<u32>) -> Result<Option<Article>, Error> {
    let row = sqlx::query(articles!(
        "WHERE v.organization_id = ?1 AND v.article_id = ?2 AND ((?3 IS NULL AND v.is_current = 1) OR v.version = ?3)"
    ))
    .bind(org.to_string())
    .bind(id.to_string())
    .bind(version)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(article).transpose()
}

async fn head(db: &mut SqliteConnection, org: Uuid) -> Result<Head, Error> {
    let row = sqlx::query("SELECT seq, hash FROM activity_heads WHERE organization_id = ?")
        .bind(org.to_string())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(Head::default()) };
    Ok(Head { seq: row.try_get("seq")?, hash: row.try_get("hash")? })
}

/// Adds changes to the audit.
async fn note(db: &mut SqliteConnection, org: Uuid, by: By, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut head = head(db, org).await?;
    for row in head.append(org, by, changes) {
        sqlx::query(
            "INSERT INTO activity_log (organization_id, seq, timestamp, user_id, action, resource_type, resource_id, details, hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?, json_object('version', ?), ?)",
        )
        .bind(org.to_string())
        .bind(row.seq)
        .bind(row.at.as_microsecond())
        .bind(row.actor.map(|id| id.to_string()))
        .bind(row.action)
        .bind(audit::RESOURCE)
        .bind(row.article.to_string())
        .bind(row.version)
        .bind(row.hash)
        .execute(&mut *db)
        .await?;
    }
    sqlx::query(
        "INSERT INTO activity_heads (organization_id, seq, hash) VALUES (?1, ?2, ?3) \
         ON CONFLICT (organization_id) DO UPDATE SET seq = ?2, hash = ?3",
    )
    .bind(org.to_string())
    .bind(head.seq)
    .bind(head.hash)
    .execute(db)
    .await?;
    Ok(())
}

fn slug_taken(error: sqlx::Error, slug: &str) -> Error {
    if is_unique_violation(&error) && error.to_string().contains("slug") {
        return Error::SlugTaken(slug.to_owned());
    }
    error.into()
}

fn article(row: &SqliteRow) -> Result<Article, Error> {
    let content = NewArticle {
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        language: row.try_get("language")?,
        category: row.try_get("category")?,
        subcategory: row.try_get("subcategory")?,
        tags: list(row, "tags")?,
        internal: row.try_get("internal")?,
        source: row.try_get("source")?,
        source_url: row.try_get("source_url")?,
        confidence: row.try_get("confidence_score")?,
        validated: row.try_get::<Option<i64>, _>("validated_at")?.map(time).transpose()?,
        expires: row.try_get::<Option<i64>, _>("expires_at")?.map(time).transpose()?,
        slug: row.try_get("slug")?,
        errors: list(row, "errors")?,
        features: list(row, "features")?,
        see_also: list(row, "see_also")?,
        product: row.try_get("product")?,
    };
    let archived = row.try_get::<Option<i64>, _>("archived_at")?.is_some();
    Ok(Article {
        id: uuid(row, "article_id")?,
        version: row.try_get("version")?,
        current: row.try_get::<bool, _>("is_current")? && !archived,
        archived,
        content,
        usage_count: row.try_get::<i64, _>("usage_count")?.unsigned_abs(),
        success_rate: row.try_get("success_rate")?,
        created: time(row.try_get("first_at")?)?,
        updated: time(row.try_get("created_at")?)?,
    })
}

fn time(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros).map_err(|e| Error::Row(e.to_string()))
}

fn uuid(row: &SqliteRow, column: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(row.try_get(column)?).map_err(|e| Error::Row(format!("{column}: {e}")))
}

fn json(items: &[String]) -> String {
    serde_json::Value::from(items).to_string()
}

fn list(row: &SqliteRow, column: &str) -> Result<Vec<String>, Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|e| Error::Row(format!("{column}: {e}")))
}
