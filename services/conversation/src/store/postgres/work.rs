//! What timers and relays look for.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};
use switchboard_runtime::postgres::Time;
use uuid::Uuid;

use super::PostgresStore;
use crate::{
    error::Error,
    outbox::{self, Backlog, Kind, Sink, Waiting},
    store::{
        Work,
        rows::{Cells as _, waiting, with_key},
    },
};

/// Each organization once, by jumping from one to the next in the index: as many steps as organizations, not as conversations.
const ORGANIZATIONS: &str = "WITH RECURSIVE o (org) AS (
     (SELECT organization_id FROM conversations ORDER BY organization_id LIMIT 1) UNION ALL \
     SELECT (SELECT organization_id FROM conversations WHERE organization_id > o.org ORDER BY organization_id LIMIT 1) \
     FROM o WHERE o.org IS NOT NULL) SELECT org FROM o WHERE org IS NOT NULL";

impl PostgresStore {
    /// Conversations that a statement finds by a time.
    async fn pairs(&self, sql: String, at: Timestamp) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let mut tx = self.db.worker().await?;
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(Time(at)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(|row| Ok((row.id("organization_id")?, row.id("conversation_id")?))).collect()
    }
}

#[async_trait]
impl Work for PostgresStore {
    async fn unanswered(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let sql = concat!(
            "SELECT c.organization_id, c.id AS conversation_id FROM conversations c",
            with_key!(),
            "WHERE c.unanswered AND c.owner <> 'human' AND coalesce(c.turn_until, '-infinity') <= $1 \
             ORDER BY coalesce(c.turn_until, '-infinity')"
        );
        self.pairs(format!("{sql} LIMIT {limit}"), now).await
    }

    async fn idle(&self, since: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        self.pairs(format!("SELECT * FROM close_inactive_conversations($1, {limit})"), since).await
    }

    async fn breached(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let sql = concat!(
            "SELECT e.organization_id, e.conversation_id FROM escalations e \
             JOIN conversations c ON c.organization_id = e.organization_id AND c.id = e.conversation_id",
            with_key!(),
            "WHERE e.resolved_at IS NULL AND e.sla_deadline <= $1 AND NOT e.breached AND e.assigned_to IS NULL \
             ORDER BY e.sla_deadline"
        );
        self.pairs(format!("{sql} LIMIT {limit}"), now).await
    }

    async fn outbox(&self, sink: Sink, limit: u32) -> Result<Vec<Waiting>, Error> {
        let mut tx = self.db.worker().await?;
        let sql = "SELECT * FROM outbox WHERE sink = $1 ORDER BY position LIMIT $2";
        let rows = sqlx::query(sql).bind(sink.name()).bind(i64::from(limit)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(waiting).collect()
    }

    async fn outbox_done(&self, done: &[Waiting]) -> Result<(), Error> {
        let mut left: Vec<&Waiting> = done.iter().collect();
        left.sort_by_key(|waiting| (waiting.org, waiting.kind.sink().name()));
        let Some(first) = left.first().map(|waiting| waiting.org) else { return Ok(()) };
        let mut tx = self.db.tenant(first).await?;
        // If the server crashes before this is on its disk the rows are there again, and are handed over twice, as they
        // may be: no reason to wait for the disk.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
        for of_one in left.chunk_by(|a, b| (a.org, a.kind.sink()) == (b.org, b.kind.sink())) {
            if of_one[0].org != first {
                let act_as = sqlx::query("SELECT set_config('app.current_org_id', $1, true)");
                act_as.bind(of_one[0].org.to_string()).execute(&mut *tx).await?;
            }
            let positions: Vec<i64> = of_one.iter().map(|waiting| waiting.position).collect();
            let forget = sqlx::query("DELETE FROM outbox WHERE sink = $1 AND position = ANY($2)");
            forget.bind(of_one[0].kind.sink().name()).bind(positions).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn backlog(&self, sink: Sink) -> Result<Backlog, Error> {
        let mut tx = self.db.worker().await?;
        let sql = "SELECT count(*) AS waiting, min(created_at) AS oldest FROM outbox WHERE sink = $1";
        let row = sqlx::query(sql).bind(sink.name()).fetch_one(&mut *tx).await?;
        tx.commit().await?;
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
        let seal = self.seal_of(org, conversation).await?;
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
        let seal = self.seal_of(org, conversation).await?;
        Ok(seal.and_then(|seal| seal.open_document(&outbox::place(org, conversation, kind, seq), sealed)))
    }

    async fn cursor(&self, org: Uuid, feed: &str) -> Result<Option<String>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let value = sqlx::query_scalar("SELECT value FROM cursors WHERE organization_id = $1 AND feed = $2");
        let value = value.bind(org).bind(feed).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        Ok(value)
    }

    async fn set_cursor(&self, org: Uuid, feed: &str, value: &str) -> Result<(), Error> {
        let mut tx = self.db.tenant(org).await?;
        sqlx::query(
            "INSERT INTO cursors (organization_id, feed, value) VALUES ($1, $2, $3) \
             ON CONFLICT (organization_id, feed) DO UPDATE SET value = excluded.value",
        )
        .bind(org)
        .bind(feed)
        .bind(value)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn organizations(&self) -> Result<Vec<Uuid>, Error> {
        let mut tx = self.db.worker().await?;
        let rows = sqlx::query(ORGANIZATIONS).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(|row| Ok(row.try_get("org")?)).collect()
    }

    async fn claim_duty(&self, name: &str, holder: Uuid, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.shared().await?;
        let claimed = sqlx::query(
            "INSERT INTO duties (name, holder, held_until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET holder = excluded.holder, held_until = excluded.held_until \
             WHERE duties.holder = excluded.holder OR duties.held_until <= $4",
        )
        .bind(name)
        .bind(holder)
        .bind(Time(until))
        .bind(Time(now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.rows_affected() == 1)
    }

    async fn release_duty(&self, name: &str, holder: Uuid) -> Result<(), Error> {
        let mut tx = self.db.shared().await?;
        let release = sqlx::query("DELETE FROM duties WHERE name = $1 AND holder = $2").bind(name).bind(holder);
        release.execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
