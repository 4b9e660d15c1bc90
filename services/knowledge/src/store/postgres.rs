//! Articles in PostgreSQL, for any number of replicas.
//!
//! Whoever writes rows of an organization first holds the head of its audit. So writers of one organization go one after the
//! other: the chain has no fork, a request id is looked up after whoever had it before, and nobody waits in a circle.
use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, migrate::Migrator, postgres::PgRow};
use switchboard_runtime::{
    Condition,
    postgres::{Postgres, Time, Tx, constraint},
    sqlite::OpenError,
    stores::PostgresAt,
};
use uuid::Uuid;

use super::{
    AuditRow, Behind, By, Known, ListQuery, Store, Write,
    audit::{self, Change, Head, Page},
};
use crate::{
    article::{Article, NewArticle},
    error::Error,
};

pub mod sql;

/// The migrations of the schema.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/knowledge/postgres");

/// The store.
pub struct PostgresStore {
    db: Postgres,
}

impl PostgresStore {
    /// Opens the schema `knowledge`; does not wait for the server.
    pub fn open(at: &PostgresAt) -> Result<Self, OpenError> {
        Ok(PostgresStore { db: Postgres::open(at, "knowledge", &MIGRATOR)? })
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.db.condition()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn write(&self, org: Uuid, by: By, writes: Vec<Write>) -> Result<Vec<Article>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let head = hold(&mut tx, org, by).await?;
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
        note(&mut tx, org, by, head, &changes).await?;
        let stored = read(&mut tx, org, &written).await?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn get(&self, org: Uuid, id: Uuid, version: Option<u32>) -> Result<Option<Article>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let statement = match version {
            None => sqlx::query(sql::GET).bind(org).bind(id),
            Some(version) => sqlx::query(sql::GET_VERSION).bind(org).bind(id).bind(int(version)),
        };
        statement.fetch_optional(&mut *tx).await?.as_ref().map(article).transpose()
    }

    async fn current(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<Article>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let rows = sqlx::query(sql::CURRENT).bind(org).bind(ids).fetch_all(&mut *tx).await?;
        rows.iter().map(article).collect()
    }

    async fn list(&self, org: Uuid, query: ListQuery) -> Result<Vec<Article>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let statement = if query.category.is_none() { sql::LIST } else { sql::LIST_CATEGORY };
        let mut list = sqlx::query(statement)
            .bind(org)
            .bind(query.after.unwrap_or_default())
            .bind(query.internal)
            .bind(query.alive_at.map(Time))
            .bind(i64::from(query.limit));
        if let Some(category) = query.category {
            list = list.bind(category);
        }
        list.fetch_all(&mut *tx).await?.iter().map(article).collect()
    }

    async fn archive(&self, org: Uuid, by: By, id: Uuid) -> Result<bool, Error> {
        let mut tx = self.db.tenant(org).await?;
        let head = hold(&mut tx, org, by).await?;
        let row = sqlx::query(sql::ARTICLE).bind(org).bind(id).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(false) };
        if row.try_get("archived")? {
            return Ok(true);
        }
        sqlx::query(sql::ARCHIVE).bind(org).bind(id).bind(Time(by.now)).execute(&mut *tx).await?;
        let change = Change { action: "archived", article: id, version: number(&row, "version")? };
        note(&mut tx, org, by, head, &[change]).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn known(&self, org: Uuid) -> Result<Vec<Known>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let rows = sqlx::query(sql::KNOWN).bind(org).fetch_all(&mut *tx).await?;
        rows.iter()
            .map(|row| {
                Ok(Known {
                    id: row.try_get("id")?,
                    slug: row.try_get("slug")?,
                    version: number(row, "version")?,
                    source: row.try_get("source")?,
                    hash: row.try_get("hash")?,
                    archived: row.try_get("archived")?,
                })
            })
            .collect()
    }

    async fn behind(&self, generation: Uuid, limit: u32) -> Result<Vec<Behind>, Error> {
        let mut tx = self.db.worker().await?;
        let rows = sqlx::query(sql::BEHIND).bind(generation).bind(i64::from(limit)).fetch_all(&mut *tx).await?;
        rows.iter()
            .map(|row| {
                let wanted = row.try_get::<Option<i32>, _>("version")?.map(|_| number(row, "version")).transpose()?;
                Ok(Behind { org: row.try_get("organization_id")?, id: row.try_get("article_id")?, wanted })
            })
            .collect()
    }

    async fn mark_indexed(&self, generation: Uuid, done: &[Behind]) -> Result<(), Error> {
        let mut done = done.to_vec();
        done.sort_by_key(|one| one.org);
        for same in done.chunk_by(|one, other| one.org == other.org) {
            let org = same[0].org;
            let ids: Vec<Uuid> = same.iter().map(|one| one.id).collect();
            let versions: Vec<Option<i32>> = same.iter().map(|one| one.wanted.map(int)).collect();
            let mut tx = self.db.tenant(org).await?;
            sqlx::query(sql::HOLD).bind(org).execute(&mut *tx).await?;
            sqlx::query(sql::MARK).bind(generation).bind(org).bind(ids).bind(versions).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn resume_generation(&self, generation: Uuid, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.shared().await?;
        let done = sqlx::query(sql::RESUME).bind(generation).bind(Time(now)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn start_generation(&self, generation: Uuid, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.shared().await?;
        sqlx::query(sql::LOCK_GENERATIONS).execute(&mut *tx).await?;
        sqlx::query(sql::START).bind(generation).bind(Time(now)).execute(&mut *tx).await?;
        tx.commit().await?;
        // From here on every write puts this generation behind too; what was written before is added.
        for org in self.organizations().await? {
            let mut tx = self.db.tenant(org).await?;
            sqlx::query(sql::HOLD).bind(org).execute(&mut *tx).await?;
            sqlx::query(sql::FILL).bind(generation).bind(org).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        let mut tx = self.db.shared().await?;
        sqlx::query(sql::COMPLETE).bind(generation).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn forget_generations(&self, unused_since: Timestamp) -> Result<u64, Error> {
        let mut tx = self.db.shared().await?;
        sqlx::query(sql::LOCK_GENERATIONS).execute(&mut *tx).await?;
        let gone = sqlx::query(sql::FORGET).bind(Time(unused_since)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let mut tx = self.db.worker().await?;
        Ok(sqlx::query_scalar(sql::ORGANIZATIONS).fetch_all(&mut *tx).await?)
    }

    async fn audit(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let page = Page::after(after, limit);
        let mut tx = self.db.tenant(org).await?;
        // One snapshot: the head is that of these rows.
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
        let head = sqlx::query(sql::HEAD).bind(org).fetch_optional(&mut *tx).await?;
        let head = head.as_ref().map(read_head).transpose()?.unwrap_or_default();
        let log = sqlx::query(sql::LOG).bind(org).bind(page.from).bind(page.limit).fetch_all(&mut *tx).await?;
        let row = |row: &PgRow| {
            Ok(audit::Row {
                seq: row.try_get("seq")?,
                at: row.try_get::<Time, _>("timestamp")?.0,
                actor: row.try_get("user_id")?,
                action: row.try_get("action")?,
                article: row.try_get("resource_id")?,
                version: number(row, "version")?,
                hash: row.try_get("hash")?,
            })
        };
        head.check(org, page, log.iter().map(row).collect::<Result<_, Error>>()?)
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

/// Holds the organization, and makes sure that there is a partition for what will be noted.
async fn hold(tx: &mut Tx, org: Uuid, by: By) -> Result<Head, Error> {
    let row = sqlx::query(sql::HOLD_AND_PREPARE).bind(org).bind(Time(by.now)).fetch_one(&mut **tx).await?;
    Ok(read_head(&row)?)
}

fn read_head(row: &PgRow) -> Result<Head, sqlx::Error> {
    Ok(Head { seq: row.try_get("seq")?, hash: row.try_get("hash")? })
}

/// Adds changes to the audit.
async fn note(tx: &mut Tx, org: Uuid, by: By, mut head: Head, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let rows = head.append(org, by, changes);
    sqlx::query(sql::NOTE)
        .bind(org)
        .bind(head.seq)
        .bind(head.hash)
        .bind(Time(by.now))
        .bind(rows.first().and_then(|row| row.actor))
        .bind(audit::RESOURCE)
        .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.action.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.article).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| int(row.version)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.hash.clone()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The article that a request was answered with.
async fn replied(tx: &mut Tx, org: Uuid, request: Option<Uuid>) -> Result<Option<Uuid>, Error> {
    let Some(request) = request else { return Ok(None) };
    Ok(sqlx::query_scalar(sql::REQUEST).bind(org).bind(request).fetch_optional(&mut **tx).await?)
}

async fn create(
    tx: &mut Tx,
    org: Uuid,
    by: By,
    id: Uuid,
    request: Option<Uuid>,
    content: &NewArticle,
) -> Result<Change, Error> {
    let inserted = sqlx::query(sql::INSERT_ARTICLE)
        .bind(org)
        .bind(id)
        .bind(&content.slug)
        .bind(Time(by.now))
        .execute(&mut **tx)
        .await;
    inserted.map_err(|e| slug_taken(e, &content.slug))?;
    insert_version(tx, org, by, id, 1, content).await?;
    if let Some(request) = request {
        let insert = sqlx::query(sql::INSERT_REQUEST).bind(org).bind(request).bind(id).bind(Time(by.now));
        insert.execute(&mut **tx).await?;
    }
    Ok(Change { action: "created", article: id, version: 1 })
}

async fn update(
    tx: &mut Tx,
    org: Uuid,
    by: By,
    id: Uuid,
    seen: Option<u32>,
    content: &NewArticle,
) -> Result<Change, Error> {
    let row = sqlx::query(sql::ARTICLE).bind(org).bind(id).fetch_optional(&mut **tx).await?.ok_or(Error::NotFound)?;
    if row.try_get("archived")? {
        return Err(Error::NotFound);
    }
    let newest = number(&row, "version")?;
    if seen.is_some_and(|seen| seen != newest) {
        return Err(Error::Stale { newest });
    }
    let mut content = content.clone();
    if content.slug.is_empty() {
        content.slug = row.try_get("slug")?;
    }
    let version = newest + 1;
    sqlx::query(sql::RETIRE).bind(org).bind(id).execute(&mut **tx).await?;
    insert_version(tx, org, by, id, version, &content).await?;
    let update = sqlx::query(sql::UPDATE_ARTICLE).bind(org).bind(id).bind(int(version)).bind(&content.slug);
    update.execute(&mut **tx).await.map_err(|e| slug_taken(e, &content.slug))?;
    Ok(Change { action: "updated", article: id, version })
}

async fn insert_version(
    tx: &mut Tx,
    org: Uuid,
    by: By,
    id: Uuid,
    version: u32,
    content: &NewArticle,
) -> Result<(), Error> {
    sqlx::query(sql::INSERT_VERSION)
        .bind(org)
        .bind(id)
        .bind(int(version))
        .bind(&content.title)
        .bind(&content.body)
        .bind(&content.language)
        .bind(&content.category)
        .bind(&content.subcategory)
        .bind(&content.tags)
        .bind(content.internal)
        .bind(&content.source)
        .bind(&content.source_url)
        .bind(content.confidence)
        .bind(content.validated.map(Time))
        .bind(content.expires.map(Time))
        .bind(&content.slug)
        .bind(&content.errors)
        .bind(&content.features)
        .bind(&content.see_also)
        .bind(&content.product)
        .bind(content.hash())
        .bind(Time(by.now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Reads versions back in the order of `wanted`.
async fn read(tx: &mut Tx, org: Uuid, wanted: &[(Uuid, u32)]) -> Result<Vec<Article>, Error> {
    let ids: Vec<Uuid> = wanted.iter().map(|(id, _)| *id).collect();
    let versions: Vec<i32> = wanted.iter().map(|(_, version)| int(*version)).collect();
    let rows = sqlx::query(sql::GET_VERSIONS).bind(org).bind(ids).bind(versions).fetch_all(&mut **tx).await?;
    let found = rows.iter().map(|row| article(row).map(|a| ((a.id, a.version), a)));
    let found: HashMap<(Uuid, u32), Article> = found.collect::<Result<_, Error>>()?;
    let all: Option<Vec<Article>> = wanted.iter().map(|one| found.get(one).cloned()).collect();
    all.ok_or_else(|| Error::Row("a request names an article that is not there".to_owned()))
}

fn slug_taken(error: sqlx::Error, slug: &str) -> Error {
    if constraint(&error) == Some("articles_slug") { Error::SlugTaken(slug.to_owned()) } else { error.into() }
}

fn article(row: &PgRow) -> Result<Article, Error> {
    let content = NewArticle {
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        language: row.try_get("language")?,
        category: row.try_get("category")?,
        subcategory: row.try_get("subcategory")?,
        tags: row.try_get("tags")?,
        internal: row.try_get("internal")?,
        source: row.try_get("source")?,
        source_url: row.try_get("source_url")?,
        confidence: row.try_get("confidence_score")?,
        validated: row.try_get::<Option<Time>, _>("validated_at")?.map(|t| t.0),
        expires: row.try_get::<Option<Time>, _>("expires_at")?.map(|t| t.0),
        slug: row.try_get("slug")?,
        errors: row.try_get("errors")?,
        features: row.try_get("features")?,
        see_also: row.try_get("see_also")?,
        product: row.try_get("product")?,
    };
    let archived = row.try_get::<Option<Time>, _>("archived_at")?.is_some();
    Ok(Article {
        id: row.try_get("article_id")?,
        version: number(row, "version")?,
        current: row.try_get::<bool, _>("is_current")? && !archived,
        archived,
        content,
        usage_count: row.try_get::<i64, _>("usage_count")?.unsigned_abs(),
        success_rate: row.try_get("success_rate")?,
        created: row.try_get::<Time, _>("first_at")?.0,
        updated: row.try_get::<Time, _>("created_at")?.0,
    })
}

/// PostgreSQL has no unsigned numbers. No article has two thousand million versions.
fn int(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

fn number(row: &PgRow, column: &str) -> Result<u32, Error> {
    u32::try_from(row.try_get::<i32, _>(column)?).map_err(|e| Error::Row(format!("{column}: {e}")))
}
