//! Articles in SQLite.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::sqlite::{OpenError, Sqlite, is_unique_violation};
use uuid::Uuid;

use super::{AuditRow, Behind, By, Known, ListQuery, Store, Write};
use crate::{
    article::{Article, NewArticle, hex},
    error::Error,
};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/knowledge/sqlite");

/// Every column of a version beside its article; [`article`] reads them.
const SELECT: &str = "SELECT v.*, a.usage_count, a.success_rate, a.archived_at, a.created_at AS first_at \
     FROM article_versions v JOIN articles a ON a.org = v.org AND a.id = v.article_id ";

/// The store.
pub struct SqliteStore {
    db: Sqlite,
}

impl SqliteStore {
    /// Opens `FOLDER/knowledge.db`.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore { db: Sqlite::open(folder, "knowledge", &MIGRATOR).await? })
    }

    /// Writes everything out and closes the file.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, org: Uuid, by: By, writes: Vec<Write>) -> Result<Vec<Article>, Error> {
        let mut tx = self.db.write().await?;
        let mut stored = Vec::with_capacity(writes.len());
        for write in writes {
            stored.push(match write {
                Write::Create { id, request, content } => create(&mut tx, org, by, id, request, &content).await?,
                Write::Update { id, seen, content } => update(&mut tx, org, by, id, seen, &content).await?,
            });
        }
        tx.commit().await?;
        Ok(stored)
    }

    async fn get(&self, org: Uuid, id: Uuid, version: Option<u32>) -> Result<Option<Article>, Error> {
        let mut connection = self.db.read().acquire().await?;
        read(&mut connection, org, id, version).await
    }

    async fn list(&self, org: Uuid, query: ListQuery) -> Result<Vec<Article>, Error> {
        let sql = const_str(
            "WHERE v.org = ?1 AND v.is_current = 1 AND a.archived_at IS NULL AND v.article_id > ?2 \
             AND (?3 IS NULL OR v.category = ?3) AND (?4 OR v.internal = 0) \
             AND (?5 IS NULL OR v.expires_at IS NULL OR v.expires_at > ?5) ORDER BY v.article_id LIMIT ?6",
        );
        let rows = sqlx::query(sql)
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
        let row = sqlx::query("SELECT version, archived_at FROM articles WHERE org = ? AND id = ?")
            .bind(org.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if row.try_get::<Option<i64>, _>("archived_at")?.is_some() {
            return Ok(true);
        }
        sqlx::query("UPDATE articles SET archived_at = ? WHERE org = ? AND id = ?")
            .bind(by.now.as_microsecond())
            .bind(org.to_string())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, org, by, "archived", id, row.try_get("version")?).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn known(&self, org: Uuid) -> Result<Vec<Known>, Error> {
        let rows = sqlx::query(
            "SELECT a.id, a.slug, a.archived_at, v.source, v.hash FROM articles a \
             JOIN article_versions v ON v.org = a.org AND v.article_id = a.id AND v.version = a.version WHERE a.org = ? AND a.slug <> ''",
        )
        .bind(org.to_string())
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Known {
                    id: uuid(row, "id")?,
                    slug: row.try_get("slug")?,
                    source: row.try_get("source")?,
                    hash: row.try_get("hash")?,
                    archived: row.try_get::<Option<i64>, _>("archived_at")?.is_some(),
                })
            })
            .collect()
    }

    async fn behind(&self, limit: u32) -> Result<Vec<Behind>, Error> {
        let rows = sqlx::query(
            "SELECT org, id, CASE WHEN archived_at IS NULL THEN version END AS wanted FROM articles \
             WHERE ((archived_at IS NULL AND indexed <> version) OR (archived_at IS NOT NULL AND indexed <> 0)) \
             ORDER BY org, id LIMIT ?",
        )
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| Ok(Behind { org: uuid(row, "org")?, id: uuid(row, "id")?, wanted: row.try_get("wanted")? }))
            .collect()
    }

    async fn mark_indexed(&self, done: &[Behind]) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        for one in done {
            sqlx::query(
                "UPDATE articles SET indexed = ?1 WHERE org = ?2 AND id = ?3 \
                 AND ?1 = CASE WHEN archived_at IS NULL THEN version ELSE 0 END",
            )
            .bind(one.wanted.unwrap_or(0))
            .bind(one.org.to_string())
            .bind(one.id.to_string())
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn index_generation(&self) -> Result<Option<Uuid>, Error> {
        let row = sqlx::query("SELECT generation FROM index_generation").fetch_optional(self.db.read()).await?;
        row.map(|row| uuid(&row, "generation")).transpose()
    }

    async fn start_generation(&self, generation: Uuid) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        sqlx::query("INSERT INTO index_generation (one, generation) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET generation = ?1")
            .bind(generation.to_string())
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE articles SET indexed = 0 WHERE indexed <> 0").execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let rows = sqlx::query("SELECT DISTINCT org FROM articles").fetch_all(self.db.read()).await?;
        rows.iter().map(|row| uuid(row, "org")).collect()
    }

    async fn audit(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let rows = sqlx::query("SELECT * FROM audit WHERE org = ? AND seq >= ? ORDER BY seq LIMIT ?")
            .bind(org.to_string())
            .bind(signed(after))
            .bind(limit.saturating_add(1))
            .fetch_all(self.db.read())
            .await?;
        let mut before = String::new();
        let mut out = Vec::with_capacity(rows.len());
        for row in &rows {
            let (seq, article): (i64, String) = (row.try_get("seq")?, row.try_get("article")?);
            let (action, version, hash): (String, u32, String) =
                (row.try_get("action")?, row.try_get("version")?, row.try_get("hash")?);
            // The row before the first one asked for is read only for its hash.
            let first = out.is_empty() && before.is_empty() && seq > 1;
            let (at, actor): (i64, String) = (row.try_get("at")?, row.try_get("actor")?);
            if !first && hash != chain(&before, &format!("{org} {seq} {at} {actor} {action} {article} {version}")) {
                return Err(Error::Row(format!("audit row {seq} was changed after it was written")));
            }
            before.clone_from(&hash);
            if seq > signed(after) {
                out.push(AuditRow { seq: seq.unsigned_abs(), action, article: uuid(row, "article")?, version, hash });
            }
        }
        Ok(out)
    }
}

async fn create(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    id: Uuid,
    request: Option<Uuid>,
    content: &NewArticle,
) -> Result<Article, Error> {
    if let Some(request) = request {
        let row = sqlx::query("SELECT article_id FROM requests WHERE org = ? AND request_id = ?")
            .bind(org.to_string())
            .bind(request.to_string())
            .fetch_optional(&mut *db)
            .await?;
        if let Some(row) = row {
            let first = read(db, org, uuid(&row, "article_id")?, Some(1)).await?;
            return first.ok_or_else(|| Error::Row("a request names an article that is not there".to_owned()));
        }
    }
    let inserted = sqlx::query("INSERT INTO articles (org, id, slug, version, created_at) VALUES (?, ?, ?, 1, ?)")
        .bind(org.to_string())
        .bind(id.to_string())
        .bind(&content.slug)
        .bind(by.now.as_microsecond())
        .execute(&mut *db)
        .await;
    inserted.map_err(|e| slug_taken(e, content))?;
    insert_version(db, org, by, id, 1, content).await?;
    if let Some(request) = request {
        sqlx::query("INSERT INTO requests (org, request_id, article_id, created_at) VALUES (?, ?, ?, ?)")
            .bind(org.to_string())
            .bind(request.to_string())
            .bind(id.to_string())
            .bind(by.now.as_microsecond())
            .execute(&mut *db)
            .await?;
    }
    audit(db, org, by, "created", id, 1).await?;
    read(db, org, id, None).await?.ok_or(Error::NotFound)
}

async fn update(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    id: Uuid,
    seen: Option<u32>,
    content: &NewArticle,
) -> Result<Article, Error> {
    let row = sqlx::query("SELECT version, slug FROM articles WHERE org = ? AND id = ? AND archived_at IS NULL")
        .bind(org.to_string())
        .bind(id.to_string())
        .fetch_optional(&mut *db)
        .await?;
    let row = row.ok_or(Error::NotFound)?;
    let newest: u32 = row.try_get("version")?;
    let mut content = content.clone();
    if content.slug.is_empty() {
        content.slug = row.try_get("slug")?;
    }
    let content = &content;
    if seen.is_some_and(|seen| seen != newest) {
        return Err(Error::Stale { newest });
    }
    let version = newest + 1;
    sqlx::query("UPDATE article_versions SET is_current = 0 WHERE org = ? AND article_id = ? AND is_current = 1")
        .bind(org.to_string())
        .bind(id.to_string())
        .execute(&mut *db)
        .await?;
    insert_version(db, org, by, id, version, content).await?;
    let updated = sqlx::query("UPDATE articles SET version = ?, slug = ? WHERE org = ? AND id = ?")
        .bind(version)
        .bind(&content.slug)
        .bind(org.to_string())
        .bind(id.to_string())
        .execute(&mut *db)
        .await;
    updated.map_err(|e| slug_taken(e, content))?;
    audit(db, org, by, "updated", id, version).await?;
    read(db, org, id, None).await?.ok_or(Error::NotFound)
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
        "INSERT INTO article_versions (org, article_id, version, is_current, title, body, language, category, subcategory, tags, internal, \
         source, source_url, confidence, validated_at, expires_at, slug, errors, features, see_also, product, hash, created_at) \
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
    let sql =
        const_str("WHERE v.org = ?1 AND v.article_id = ?2 AND ((?3 IS NULL AND v.is_current = 1) OR v.version = ?3)");
    let row = sqlx::query(sql).bind(org.to_string()).bind(id.to_string()).bind(version).fetch_optional(db).await?;
    row.as_ref().map(article).transpose()
}

async fn audit(
    db: &mut SqliteConnection,
    org: Uuid,
    by: By,
    action: &str,
    id: Uuid,
    version: u32,
) -> Result<(), Error> {
    let last = sqlx::query("SELECT seq, hash FROM audit WHERE org = ? ORDER BY seq DESC LIMIT 1")
        .bind(org.to_string())
        .fetch_optional(&mut *db)
        .await?;
    let (seq, before): (i64, String) = match last {
        Some(row) => (row.try_get::<i64, _>("seq")? + 1, row.try_get("hash")?),
        None => (1, String::new()),
    };
    let (at, actor) = (by.now.as_microsecond(), by.actor.to_string());
    sqlx::query(
        "INSERT INTO audit (org, seq, at, actor, action, article, version, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.to_string())
    .bind(seq)
    .bind(at)
    .bind(&actor)
    .bind(action)
    .bind(id.to_string())
    .bind(version)
    .bind(chain(&before, &format!("{org} {seq} {at} {actor} {action} {id} {version}")))
    .execute(db)
    .await?;
    Ok(())
}

fn chain(before: &str, row: &str) -> String {
    hex(&Sha256::new().chain_update(before).chain_update("\n").chain_update(row).finalize())
}

fn slug_taken(error: sqlx::Error, content: &NewArticle) -> Error {
    if is_unique_violation(&error) && error.to_string().contains("slug") {
        return Error::SlugTaken(content.slug.clone());
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
        confidence: row.try_get("confidence")?,
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

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// [`SELECT`] with a tail: both are written in this file, nothing of a request is in them.
fn const_str(tail: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("{SELECT}{tail}"))
}
