//! What timers and relays look for.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{SqliteStore, json, micros};
use crate::{
    error::Error,
    outbox::{self, Backlog, Kind, Sink, Waiting},
    store::{
        Work,
        rows::{Cells as _, waiting, with_key},
    },
};

/// Each organization once, by jumping from one to the next in the index: as many steps as organizations, not as conversations.
const ORGANIZATIONS: &str = "WITH RECURSIVE o (org) AS (SELECT MIN(organization_id) FROM conversations UNION ALL \
     SELECT (SELECT MIN(organization_id) FROM conversations WHERE organization_id > o.org) FROM o WHERE o.org IS NOT NULL) \
     SELECT org FROM o WHERE org IS NOT NULL";

impl SqliteStore {
    async fn pairs(&self, sql: &'static str, at: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let rows = sqlx::query(sql).bind(micros(at)).bind(limit).fetch_all(self.db.read()).await?;
        rows.iter().map(|row| Ok((row.id("organization_id")?, row.id("id")?))).collect()
    }
}

#[async_trait]
impl Work for SqliteStore {
    async fn unanswered(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let sql = concat!(
            "SELECT c.organization_id, c.id FROM conversations c",
            with_key!(),
            "WHERE c.answered_seq < c.last_user_seq AND c.owner <> 'human' AND (c.turn_until IS NULL OR c.turn_until <= ?) LIMIT ?"
        );
        self.pairs(sql, now, limit).await
    }

    async fn idle(&self, since: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let sql = concat!(
            "SELECT c.organization_id, c.id FROM conversations c",
            with_key!(),
            "WHERE c.status IN ('active', 'waiting') AND c.last_activity_at <= ? AND c.answered_seq >= c.last_user_seq \
             AND c.turn_until IS NULL ORDER BY c.last_activity_at LIMIT ?"
        );
        self.pairs(sql, since, limit).await
    }

    async fn breached(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let sql = concat!(
            "SELECT e.organization_id, e.conversation_id AS id FROM escalations e JOIN conversations c ON c.id = e.conversation_id",
            with_key!(),
            "WHERE e.resolved_at IS NULL AND e.sla_deadline <= ? AND e.breached = 0 AND e.assigned_to IS NULL LIMIT ?"
        );
        self.pairs(sql, now, limit).await
    }

    async fn outbox(&self, sink: Sink, limit: u32) -> Result<Vec<Waiting>, Error> {
        let rows = sqlx::query("SELECT * FROM outbox WHERE sink = ? ORDER BY position LIMIT ?")
            .bind(sink.name())
            .bind(limit)
            .fetch_all(self.db.read())
            .await?;
        rows.iter().map(waiting).collect()
    }

    async fn backlog(&self, sink: Sink) -> Result<Backlog, Error> {
        let row = sqlx::query("SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE sink = ?")
            .bind(sink.name())
            .fetch_one(self.db.read())
            .await?;
        Ok(Backlog { rows: row.number("waiting")?, oldest: row.some_time("oldest")? })
    }

    async fn seal_document(
        &self,
        org: Uuid,
        conversation: Uuid,
        kind: Kind,
        seq: u64,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let seal = self.seal(org, conversation).await?;
        Ok(seal.map(|seal| seal.document(&outbox::place(org, conversation, kind, seq), plain)))
    }

    async fn open_document(
        &self,
        org: Uuid,
        conversation: Uuid,
        kind: Kind,
        seq: u64,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let seal = self.seal(org, conversation).await?;
        Ok(seal.and_then(|seal| seal.open_document(&outbox::place(org, conversation, kind, seq), sealed)))
    }

    async fn outbox_done(&self, done: &[Waiting]) -> Result<(), Error> {
        let positions: Vec<i64> = done.iter().map(|waiting| waiting.position).collect();
        self.write(json(&positions)?, |tx, positions| {
            let forget = sqlx::query("DELETE FROM outbox WHERE position IN (SELECT value FROM json_each(?))");
            Box::pin(async move { Ok(forget.bind(positions).execute(tx).await.map(drop)?) })
        })
        .await
    }

    async fn cursor(&self, org: Uuid, feed: &str) -> Result<Option<String>, Error> {
        let value = sqlx::query_scalar("SELECT value FROM cursors WHERE organization_id = ? AND feed = ?");
        Ok(value.bind(org.to_string()).bind(feed).fetch_optional(self.db.read()).await?)
    }

    async fn set_cursor(&self, org: Uuid, feed: &str, value: &str) -> Result<(), Error> {
        let data = (feed.to_owned(), value.to_owned());
        self.write(data, move |tx, (feed, value)| Box::pin(put_cursor(tx, org, feed, value))).await
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let rows = sqlx::query(ORGANIZATIONS).fetch_all(self.db.read()).await?;
        rows.iter().map(|row| Ok(row.id("org")?)).collect()
    }

    async fn claim_duty(&self, name: &str, holder: Uuid, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
        self.write(name.to_owned(), move |tx, name| {
            let claim = sqlx::query(
                "INSERT INTO duties (name, holder, held_until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE \
                 SET holder = excluded.holder, held_until = excluded.held_until WHERE holder = ?2 OR held_until <= ?4",
            );
            let claim = claim.bind(name).bind(holder.to_string()).bind(micros(until)).bind(micros(now));
            Box::pin(async move { Ok(claim.execute(tx).await?.rows_affected() == 1) })
        })
        .await
    }

    async fn release_duty(&self, name: &str, holder: Uuid) -> Result<(), Error> {
        self.write(name.to_owned(), move |tx, name| {
            let release = sqlx::query("DELETE FROM duties WHERE name = ? AND holder = ?");
            let release = release.bind(name).bind(holder.to_string());
            Box::pin(async move { Ok(release.execute(tx).await.map(drop)?) })
        })
        .await
    }
}

pub(super) async fn put_cursor(tx: &mut SqliteConnection, org: Uuid, feed: &str, value: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO cursors (organization_id, feed, value) VALUES (?, ?, ?) \
         ON CONFLICT (organization_id, feed) DO UPDATE SET value = excluded.value",
    )
    .bind(org.to_string())
    .bind(feed)
    .bind(value)
    .execute(tx)
    .await?;
    Ok(())
}
