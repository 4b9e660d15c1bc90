//! What is owed to the people in it.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{SqliteStore, bound, json, micros};
use crate::{
    error::Error,
    store::{
        Activity, By, Entry, Erased, Erasure, People,
        activity::{self, Hash, START},
        rows::{self, Cells as _},
        sealed::NewKey,
    },
};

/// Conversations that are removed in one transaction: others wait for it.
const BATCH: i64 = 100;

#[async_trait]
impl People for SqliteStore {
    async fn expired(&self, org: Uuid, before: Timestamp, limit: u32) -> Result<Vec<Uuid>, Error> {
        let rows = sqlx::query(
            "SELECT id FROM conversations WHERE organization_id = ? AND ended_at IS NOT NULL AND ended_at < ? ORDER BY ended_at LIMIT ?",
        )
        .bind(org.to_string())
        .bind(micros(before))
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(|row| Ok(row.id("id")?)).collect()
    }

    async fn delete_conversation(&self, org: Uuid, id: Uuid) -> Result<bool, Error> {
        let deleted = self.write((), move |tx, ()| Box::pin(delete(tx, org, id))).await?;
        self.keys.forget(org, id);
        Ok(deleted)
    }

    async fn erase_person(&self, org: Uuid, user: Uuid, by: By) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        loop {
            let so_far = erased;
            let (ids, removed) = self.write((), move |tx, ()| Box::pin(erase(tx, org, user, by, so_far))).await?;
            ids.iter().for_each(|id| self.keys.forget(org, *id));
            erased += removed;
            if ids.is_empty() {
                return Ok(erased);
            }
        }
    }

    async fn begin_erasure(&self, org: Uuid, user: Uuid, requested_by: Uuid, now: Timestamp) -> Result<Erasure, Error> {
        let new = Erasure::begun(org, user, requested_by, now);
        self.write(new, |tx, new| Box::pin(begin(tx, new))).await
    }

    async fn erasure(&self, org: Uuid, user: Uuid) -> Result<Option<Erasure>, Error> {
        let row = sqlx::query("SELECT * FROM erasures WHERE organization_id = ? AND user_id = ?")
            .bind(org.to_string())
            .bind(user.to_string())
            .fetch_optional(self.db.read())
            .await?;
        row.as_ref().map(rows::erasure).transpose()
    }

    async fn open_erasures(&self, limit: u32) -> Result<Vec<Erasure>, Error> {
        let rows = sqlx::query("SELECT * FROM erasures WHERE completed_at IS NULL ORDER BY requested_at LIMIT ?")
            .bind(limit)
            .fetch_all(self.db.read())
            .await?;
        rows.iter().map(rows::erasure).collect()
    }

    async fn save_erasure(&self, erasure: &Erasure) -> Result<(), Error> {
        self.write(erasure.clone(), |tx, erasure| Box::pin(save(tx, erasure))).await
    }

    async fn rewrap_keys(&self, limit: u32) -> Result<u64, Error> {
        let rows = sqlx::query(
            "SELECT organization_id, person_id, key_id, wrapped_key FROM person_keys WHERE master_key < ?1 OR master_key > ?1 LIMIT ?2",
        )
        .bind(self.keys.newest_master())
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        let mut rewrapped = 0;
        for row in rows {
            let (org, person) = (row.id("organization_id")?, row.id("person_id")?);
            let wrapped = row.bytes("wrapped_key")?.unwrap_or_default();
            let key = self.keys.rewrap(org, person, row.id("key_id")?, wrapped)?;
            rewrapped += self.write(key, move |tx, key| Box::pin(rewrap(tx, org, person, key))).await?;
        }
        Ok(rewrapped)
    }

    async fn audit(&self, org: Uuid, by: By, entry: Entry) -> Result<(), Error> {
        self.write(entry, move |tx, entry| Box::pin(log(tx, org, by, entry.clone()))).await
    }

    async fn audit_rows(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, Error> {
        // One transaction: the end of the chain belongs to the rows.
        let mut tx = self.db.read().begin().await?;
        let of = |sql: &'static str| sqlx::query(sql).bind(org.to_string());
        let head =
            of("SELECT seq, hash FROM activity_heads WHERE organization_id = ?").fetch_optional(&mut *tx).await?;
        let before = of("SELECT seq, hash FROM activity_log WHERE organization_id = ? AND seq = ?")
            .bind(bound(after))
            .fetch_optional(&mut *tx)
            .await?;
        let rows = of("SELECT * FROM activity_log WHERE organization_id = ? AND seq > ? ORDER BY seq LIMIT ?")
            .bind(bound(after))
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        let rows = rows.iter().map(rows::activity).collect::<Result<Vec<_>, _>>()?;
        activity::read(org, after, link(before)?, rows, limit, link(head)?)
    }

    async fn prepare_audit(&self, _: Timestamp) -> Result<(), Error> {
        Ok(())
    }
}

fn link(row: Option<SqliteRow>) -> Result<Option<(u64, Hash)>, Error> {
    Ok(row.map(|row| Ok::<_, sqlx::Error>((row.number("seq")?, rows::hash(row.bytes("hash")?)))).transpose()?)
}

async fn delete(tx: &mut SqliteConnection, org: Uuid, id: Uuid) -> Result<bool, Error> {
    let user: Option<String> =
        sqlx::query_scalar("DELETE FROM conversations WHERE id = ? AND organization_id = ? RETURNING user_id")
            .bind(id.to_string())
            .bind(org.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(user) = user else { return Ok(false) };
    sqlx::query("DELETE FROM outbox WHERE conversation_id = ? AND sink = 'sessions'")
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    destroy_key(tx, org, &user, "AND NOT EXISTS (SELECT 1 FROM conversations c WHERE c.organization_id = person_keys.organization_id AND c.user_id = person_keys.person_id)").await?;
    Ok(true)
}

/// Destroys a person's key: its bytes first, since a deleted row's stay in the file.
async fn destroy_key(tx: &mut SqliteConnection, org: Uuid, person: &str, only_if: &str) -> Result<u64, Error> {
    let mut destroyed = 0;
    for what in ["UPDATE person_keys SET wrapped_key = zeroblob(length(wrapped_key))", "DELETE FROM person_keys"] {
        let sql = format!("{what} WHERE organization_id = ? AND person_id = ? {only_if}");
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(org.to_string()).bind(person).execute(&mut *tx).await?;
        destroyed = done.rows_affected();
    }
    Ok(destroyed)
}

/// Destroys the key and removes some conversations. Once there is none left it says so in the log.
async fn erase(
    tx: &mut SqliteConnection,
    org: Uuid,
    user: Uuid,
    by: By,
    so_far: Erased,
) -> Result<(Vec<Uuid>, Erased), Error> {
    let mut removed = Erased { keys: destroy_key(tx, org, &user.to_string(), "").await?, ..Erased::default() };
    let rows = sqlx::query("SELECT id FROM conversations WHERE organization_id = ? AND user_id = ? LIMIT ?")
        .bind(org.to_string())
        .bind(user.to_string())
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
    let ids = rows.iter().map(|row| row.id("id")).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        let mut all = so_far;
        all += removed;
        if all.total() > 0 {
            log(tx, org, by, Entry { details: all.counts(), ..Entry::person("person_erased", user) }).await?;
        }
        return Ok((ids, removed));
    }
    let list = json(&ids)?;
    let waiting = "DELETE FROM outbox WHERE sink = 'sessions' AND conversation_id IN (SELECT value FROM json_each(?))";
    sqlx::query(waiting).bind(&list).execute(&mut *tx).await?;
    let counted = [
        (&mut removed.messages, "DELETE FROM messages WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (
            &mut removed.status_events,
            "DELETE FROM status_events WHERE conversation_id IN (SELECT value FROM json_each(?))",
        ),
        (&mut removed.escalations, "DELETE FROM escalations WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (&mut removed.actions, "DELETE FROM actions WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (&mut removed.drafts, "DELETE FROM drafts WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (&mut removed.notes, "DELETE FROM notes WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (&mut removed.citations, "DELETE FROM citations WHERE conversation_id IN (SELECT value FROM json_each(?))"),
        (&mut removed.conversations, "DELETE FROM conversations WHERE id IN (SELECT value FROM json_each(?))"),
    ];
    for (count, sql) in counted {
        *count = sqlx::query(sql).bind(&list).execute(&mut *tx).await?.rows_affected();
    }
    Ok((ids, removed))
}

async fn begin(tx: &mut SqliteConnection, new: &Erasure) -> Result<Erasure, Error> {
    let (org, user) = (new.org.to_string(), new.user.to_string());
    let begun = sqlx::query(
        "INSERT INTO erasures (organization_id, user_id, id, requested_by, requested_at, steps) VALUES (?, ?, ?, ?, ?, '[]') \
         ON CONFLICT (organization_id, user_id) DO NOTHING",
    )
    .bind(&org)
    .bind(&user)
    .bind(new.id.to_string())
    .bind(new.requested_by.to_string())
    .bind(micros(new.requested_at))
    .execute(&mut *tx)
    .await?;
    if begun.rows_affected() == 1 {
        let by = By { actor: new.requested_by, now: new.requested_at };
        log(tx, new.org, by, Entry::person("erasure_requested", new.user)).await?;
    }
    let row = sqlx::query("SELECT * FROM erasures WHERE organization_id = ? AND user_id = ?")
        .bind(&org)
        .bind(&user)
        .fetch_one(tx)
        .await?;
    rows::erasure(&row)
}

async fn save(tx: &mut SqliteConnection, erasure: &Erasure) -> Result<(), Error> {
    sqlx::query(
        "UPDATE erasures SET steps = ?, receipt = ?, completed_at = ? WHERE organization_id = ? AND user_id = ? AND id = ?",
    )
    .bind(json(&erasure.steps)?)
    .bind(erasure.receipt.as_ref().map(json).transpose()?)
    .bind(erasure.completed_at.map(micros))
    .bind(erasure.org.to_string())
    .bind(erasure.user.to_string())
    .bind(erasure.id.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Replaces a key's wrapping, unless the key was destroyed meanwhile.
async fn rewrap(tx: &mut SqliteConnection, org: Uuid, person: Uuid, key: &NewKey) -> Result<u64, Error> {
    let saved = sqlx::query(
        "UPDATE person_keys SET wrapped_key = ?, master_key = ? WHERE organization_id = ? AND person_id = ? AND key_id = ?",
    )
    .bind(&key.wrapped)
    .bind(key.master)
    .bind(org.to_string())
    .bind(person.to_string())
    .bind(key.key_id.to_string())
    .execute(tx)
    .await?;
    Ok(saved.rows_affected())
}

/// Adds a row to the activity log, in the transaction of what it tells.
async fn log(tx: &mut SqliteConnection, org: Uuid, by: By, entry: Entry) -> Result<(), Error> {
    let head = sqlx::query("SELECT seq, hash FROM activity_heads WHERE organization_id = ?")
        .bind(org.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let row = entry.after(link(head)?.unwrap_or(START), org, by);
    sqlx::query(
        "INSERT INTO activity_log (organization_id, seq, created_at, user_id, action, resource_type, resource_id, details, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.to_string())
    .bind(row.seq as i64)
    .bind(micros(row.at))
    .bind(row.actor.to_string())
    .bind(&row.action)
    .bind(&row.resource_type)
    .bind(row.resource.map(|id| id.to_string()))
    .bind(json(&row.details)?)
    .bind(row.hash.as_slice())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO activity_heads (organization_id, seq, hash) VALUES (?, ?, ?) \
         ON CONFLICT (organization_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
    )
    .bind(org.to_string())
    .bind(row.seq as i64)
    .bind(row.hash.as_slice())
    .execute(tx)
    .await?;
    Ok(())
}
