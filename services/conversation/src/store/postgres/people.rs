//! What is owed to the people in it.
//!
//! Whoever needs both locks a person's key before their conversations, so that none waits for another in a ring.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, types::Json};
use switchboard_runtime::postgres::Time;
use uuid::Uuid;

use super::{PostgresStore, by_organization, log};
use crate::{
    error::Error,
    store::{
        Activity, By, Entry, Erased, Erasure, People,
        rows::{self, Cells as _},
    },
};

/// Conversations that are removed in one transaction: well within the time that a statement may take.
const BATCH: i64 = 100;

/// Conversations with all that hangs on them. What hangs on them would go by itself; so it is counted.
const REMOVE: &str = "WITH m AS (DELETE FROM messages WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     s AS (DELETE FROM status_events WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     e AS (DELETE FROM escalations WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     a AS (DELETE FROM actions WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     d AS (DELETE FROM drafts WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     n AS (DELETE FROM notes WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     o AS (DELETE FROM outbox WHERE organization_id = $1 AND conversation_id = ANY($2) AND sink = 'sessions'), \
     x AS (DELETE FROM citations WHERE organization_id = $1 AND conversation_id = ANY($2) RETURNING 1), \
     c AS (DELETE FROM conversations WHERE organization_id = $1 AND id = ANY($2) RETURNING 1) \
     SELECT (SELECT count(*) FROM m) AS messages, (SELECT count(*) FROM s) AS status_events, \
     (SELECT count(*) FROM e) AS escalations, (SELECT count(*) FROM a) AS actions, (SELECT count(*) FROM d) AS drafts, \
     (SELECT count(*) FROM n) AS notes, (SELECT count(*) FROM x) AS citations, (SELECT count(*) FROM c) AS conversations";

impl PostgresStore {
    /// Destroys the key and removes some conversations. Once there is none left it says so in the log.
    async fn erase_some(&self, org: Uuid, user: Uuid, by: By, so_far: Erased) -> Result<(Vec<Uuid>, Erased), Error> {
        let mut tx = self.db.tenant(org).await?;
        let key = sqlx::query("DELETE FROM person_keys WHERE organization_id = $1 AND person_id = $2");
        let keys = key.bind(org).bind(user).execute(&mut *tx).await?.rows_affected();
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM conversations WHERE organization_id = $1 AND user_id = $2 LIMIT $3 FOR UPDATE",
        )
        .bind(org)
        .bind(user)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let mut removed = Erased { keys, ..Erased::default() };
        if ids.is_empty() {
            let mut all = so_far;
            all += removed;
            if all.total() > 0 {
                let entry = Entry { details: all.counts(), ..Entry::person("person_erased", user) };
                log::add(&mut tx, org, by, entry).await?;
            }
        } else {
            let row = sqlx::query(REMOVE).bind(org).bind(&ids).fetch_one(&mut *tx).await?;
            removed.messages = row.number("messages")?;
            removed.status_events = row.number("status_events")?;
            removed.escalations = row.number("escalations")?;
            removed.actions = row.number("actions")?;
            removed.drafts = row.number("drafts")?;
            removed.notes = row.number("notes")?;
            removed.citations = row.number("citations")?;
            removed.conversations = row.number("conversations")?;
        }
        tx.commit().await?;
        Ok((ids, removed))
    }
}

#[async_trait]
impl People for PostgresStore {
    async fn expired(&self, org: Uuid, before: Timestamp, limit: u32) -> Result<Vec<Uuid>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let ids = sqlx::query_scalar(
            "SELECT id FROM conversations WHERE organization_id = $1 AND ended_at < $2 ORDER BY ended_at LIMIT $3",
        )
        .bind(org)
        .bind(Time(before))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(ids)
    }

    async fn delete_conversation(&self, org: Uuid, id: Uuid) -> Result<bool, Error> {
        let mut tx = self.db.tenant(org).await?;
        let user: Option<Uuid> =
            sqlx::query_scalar("SELECT user_id FROM conversations WHERE organization_id = $1 AND id = $2")
                .bind(org)
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(user) = user else { return Ok(false) };
        let of_person = |sql: &'static str| sqlx::query(sql).bind(org).bind(user);
        // Whoever begins a conversation at this moment holds the key until it is there: then it is not their last.
        of_person("SELECT FROM person_keys WHERE organization_id = $1 AND person_id = $2 FOR UPDATE")
            .execute(&mut *tx)
            .await?;
        let delete = sqlx::query("DELETE FROM conversations WHERE organization_id = $1 AND id = $2").bind(org).bind(id);
        let deleted = delete.execute(&mut *tx).await?.rows_affected() == 1;
        sqlx::query("DELETE FROM outbox WHERE organization_id = $1 AND conversation_id = $2 AND sink = 'sessions'")
            .bind(org)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        of_person(
            "DELETE FROM person_keys WHERE organization_id = $1 AND person_id = $2 \
             AND NOT EXISTS (SELECT FROM conversations c WHERE c.organization_id = $1 AND c.user_id = $2)",
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.keys.forget(org, id);
        Ok(deleted)
    }

    async fn erase_person(&self, org: Uuid, user: Uuid, by: By) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        loop {
            let (ids, removed) = self.erase_some(org, user, by, erased).await?;
            ids.iter().for_each(|id| self.keys.forget(org, *id));
            erased += removed;
            if ids.is_empty() {
                return Ok(erased);
            }
        }
    }

    async fn begin_erasure(&self, org: Uuid, user: Uuid, requested_by: Uuid, now: Timestamp) -> Result<Erasure, Error> {
        let new = Erasure::begun(org, user, requested_by, now);
        let mut tx = self.db.tenant(org).await?;
        let begun = sqlx::query(
            "INSERT INTO erasures (organization_id, user_id, id, requested_by, requested_at, steps) \
             VALUES ($1, $2, $3, $4, $5, '[]') ON CONFLICT (organization_id, user_id) DO NOTHING",
        )
        .bind(org)
        .bind(user)
        .bind(new.id)
        .bind(requested_by)
        .bind(Time(now))
        .execute(&mut *tx)
        .await?;
        if begun.rows_affected() == 1 {
            let by = By { actor: requested_by, now };
            log::add(&mut tx, org, by, Entry::person("erasure_requested", user)).await?;
        }
        let row = sqlx::query("SELECT * FROM erasures WHERE organization_id = $1 AND user_id = $2");
        let row = row.bind(org).bind(user).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        rows::erasure(&row)
    }

    async fn erasure(&self, org: Uuid, user: Uuid) -> Result<Option<Erasure>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query("SELECT * FROM erasures WHERE organization_id = $1 AND user_id = $2");
        let row = row.bind(org).bind(user).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        row.as_ref().map(rows::erasure).transpose()
    }

    async fn open_erasures(&self, limit: u32) -> Result<Vec<Erasure>, Error> {
        let mut tx = self.db.worker().await?;
        let open = sqlx::query(
            "SELECT organization_id, user_id FROM erasures WHERE completed_at IS NULL ORDER BY requested_at LIMIT $1",
        );
        let open = open.bind(i64::from(limit)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let mut erasures = Vec::with_capacity(open.len());
        for row in open {
            let erasure = self.erasure(row.id("organization_id")?, row.id("user_id")?).await?;
            erasures.extend(erasure.filter(|e| e.completed_at.is_none()));
        }
        Ok(erasures)
    }

    async fn save_erasure(&self, erasure: &Erasure) -> Result<(), Error> {
        let mut tx = self.db.tenant(erasure.org).await?;
        sqlx::query(
            "UPDATE erasures SET steps = $1, receipt = $2, completed_at = $3 WHERE organization_id = $4 AND user_id = $5 AND id = $6",
        )
        .bind(Json(&erasure.steps))
        .bind(&erasure.receipt)
        .bind(erasure.completed_at.map(Time))
        .bind(erasure.org)
        .bind(erasure.user)
        .bind(erasure.id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn rewrap_keys(&self, limit: u32) -> Result<u64, Error> {
        let newest = self.keys.newest_master();
        let mut tx = self.db.worker().await?;
        // The number is no parameter: most keys have the newest master, which a plan for any number cannot know.
        let sql = format!(
            "SELECT organization_id, person_id FROM person_keys WHERE master_key < {newest} OR master_key > {newest} LIMIT {limit}"
        );
        let old = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let old = old.iter().map(|row| Ok((row.id("organization_id")?, row.id("person_id")?)));
        let mut rewrapped = 0;
        for (org, persons) in by_organization(old.collect::<Result<Vec<_>, sqlx::Error>>()?) {
            let mut tx = self.db.tenant(org).await?;
            let rows = sqlx::query(
                "SELECT person_id, key_id, wrapped_key FROM person_keys WHERE organization_id = $1 AND person_id = ANY($2) FOR NO KEY UPDATE",
            );
            let rows = rows.bind(org).bind(&persons).fetch_all(&mut *tx).await?;
            let (mut key_ids, mut wrapped, mut masters) = (Vec::new(), Vec::new(), Vec::new());
            for row in &rows {
                let old = row.bytes("wrapped_key")?.unwrap_or_default();
                let new = self.keys.rewrap(org, row.id("person_id")?, row.id("key_id")?, old)?;
                key_ids.push(new.key_id);
                wrapped.push(new.wrapped);
                masters.push(new.master);
            }
            let saved = sqlx::query(
                "UPDATE person_keys k SET wrapped_key = new.wrapped_key, master_key = new.master_key \
                 FROM unnest($2, $3, $4) AS new (key_id, wrapped_key, master_key) \
                 WHERE k.organization_id = $1 AND k.person_id = ANY($5) AND k.key_id = new.key_id",
            )
            .bind(org)
            .bind(key_ids)
            .bind(wrapped)
            .bind(masters)
            .bind(&persons)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            rewrapped += saved.rows_affected();
        }
        Ok(rewrapped)
    }

    async fn audit(&self, org: Uuid, by: By, entry: Entry) -> Result<(), Error> {
        let mut tx = self.db.tenant(org).await?;
        log::add(&mut tx, org, by, entry).await?;
        Ok(tx.commit().await?)
    }

    async fn audit_rows(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, Error> {
        log::rows(self, org, after, limit).await
    }

    async fn prepare_audit(&self, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.shared().await?;
        log::prepare(&mut tx, now).await?;
        Ok(tx.commit().await?)
    }
}
