//! Roll-ups in the owner's schema.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, postgres::PgRow};
use switchboard_runtime::postgres::{Postgres, Time};
use uuid::Uuid;

use super::{Hour, Outcomes, PATTERN, Pattern, rate};
use crate::error::Error;

/// Rows to lock, in one order so that two recorders cannot wait for each other. A new one counts nothing yet.
const ENSURE: &str = "INSERT INTO outcomes (organization_id, conversation_id, hour, channel, last_seen) \
    SELECT organization_id, id, '-infinity', '', created_at FROM conversations WHERE organization_id = $1 AND id = ANY($2) \
    ORDER BY id ON CONFLICT DO NOTHING";
const LOCK: &str = "SELECT 1 FROM outcomes WHERE organization_id = $1 AND conversation_id = ANY($2) \
    ORDER BY conversation_id FOR UPDATE";
/// Counts anew, takes away what was counted, adds what is counted now.
const COUNT: &str = "\
WITH now_ AS (
    SELECT c.id, date_trunc('hour', c.created_at, 'UTC') AS hour, c.channel, coalesce(p.pattern, '') AS pattern,
        c.ended_at IS NOT NULL AS ended,
        coalesce(extract(epoch FROM c.ended_at - c.created_at)::bigint, 0) AS resolution_seconds,
        m.messages, m.confidence_sum, m.confidence_count, coalesce(c.rating, 0)::bigint AS satisfaction,
        c.escalation_id IS NOT NULL AS escalated, coalesce(c.resolution_type = 'automated', false) AS automated,
        c.last_activity_at AS last_seen
    FROM conversations c
    CROSS JOIN LATERAL (
        SELECT count(*) AS messages,
            coalesce(sum(intent_confidence) FILTER (WHERE sender_type = 'ai_agent'), 0) AS confidence_sum,
            count(intent_confidence) FILTER (WHERE sender_type = 'ai_agent') AS confidence_count
        FROM messages WHERE organization_id = $1 AND conversation_id = c.id) m
    LEFT JOIN LATERAL (
        SELECT string_agg(intent, ' > ' ORDER BY first) AS pattern FROM (
            SELECT intent, min(seq) AS first FROM messages
            WHERE organization_id = $1 AND conversation_id = c.id AND sender_type = 'user' AND intent <> ''
            GROUP BY intent ORDER BY first LIMIT $3) i) p ON true
    WHERE c.organization_id = $1 AND c.id = ANY($2)
), before AS (
    SELECT * FROM outcomes WHERE organization_id = $1 AND conversation_id = ANY($2)
), kept AS (
    UPDATE outcomes o SET hour = n.hour, channel = n.channel, pattern = n.pattern, ended = n.ended,
        resolution_seconds = n.resolution_seconds, message_count = n.messages, confidence_sum = n.confidence_sum,
        confidence_count = n.confidence_count, satisfaction = n.satisfaction, escalated = n.escalated,
        automated = n.automated, last_seen = n.last_seen
    FROM now_ n WHERE o.organization_id = $1 AND o.conversation_id = n.id
), moves AS (
    SELECT hour, channel, pattern, 1 AS sign, ended, resolution_seconds, messages, confidence_sum, confidence_count,
        satisfaction, escalated, automated, last_seen FROM now_
    UNION ALL
    SELECT hour, channel, pattern, -1, ended, resolution_seconds, message_count, confidence_sum, confidence_count,
        satisfaction, escalated, automated, last_seen FROM before WHERE hour > '-infinity' AND conversation_id IN (SELECT id FROM now_)
), metrics AS (
    INSERT INTO conversation_metrics AS t
    SELECT $1, hour, channel, sum(sign), sum(sign * ended::int), sum(sign * resolution_seconds), sum(sign * messages),
        sum(sign * confidence_sum), sum(sign * confidence_count), sum(sign * satisfaction),
        sum(sign * (satisfaction > 0)::int), sum(sign * escalated::int), sum(sign * automated::int)
    FROM moves GROUP BY hour, channel ORDER BY hour, channel
    ON CONFLICT (organization_id, hour, channel) DO UPDATE SET
        conversation_count = t.conversation_count + excluded.conversation_count, ended_count = t.ended_count + excluded.ended_count,
        resolution_seconds = t.resolution_seconds + excluded.resolution_seconds, message_count = t.message_count + excluded.message_count,
        confidence_sum = t.confidence_sum + excluded.confidence_sum, confidence_count = t.confidence_count + excluded.confidence_count,
        satisfaction_sum = t.satisfaction_sum + excluded.satisfaction_sum,
        satisfaction_count = t.satisfaction_count + excluded.satisfaction_count,
        escalation_count = t.escalation_count + excluded.escalation_count, automated_count = t.automated_count + excluded.automated_count
)
INSERT INTO intent_patterns AS t
SELECT $1, pattern, split_part(pattern, ' > ', 1), sum(sign), sum(sign * automated::int), sum(sign * ended::int),
    sum(sign * resolution_seconds), max(last_seen)
FROM moves WHERE pattern <> '' GROUP BY pattern ORDER BY pattern
ON CONFLICT (organization_id, pattern) DO UPDATE SET frequency = t.frequency + excluded.frequency,
    success_count = t.success_count + excluded.success_count, ended_count = t.ended_count + excluded.ended_count,
    resolution_seconds = t.resolution_seconds + excluded.resolution_seconds, last_seen = greatest(t.last_seen, excluded.last_seen)";

/// Roll-ups beside the ledger.
#[derive(Debug, Clone)]
pub struct PostgresOutcomes(pub Postgres);

fn number(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

#[async_trait]
impl Outcomes for PostgresOutcomes {
    async fn record(&self, org: Uuid, conversations: &[Uuid]) -> Result<(), Error> {
        let mut tx = self.0.tenant(org).await?;
        for step in [ENSURE, LOCK] {
            sqlx::query(step).bind(org).bind(conversations).execute(&mut *tx).await?;
        }
        sqlx::query(COUNT).bind(org).bind(conversations).bind(PATTERN).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn hours(&self, org: Uuid, from: Timestamp, to: Timestamp) -> Result<Vec<Hour>, Error> {
        let mut tx = self.0.tenant(org).await?;
        let rows = sqlx::query(
            "SELECT * FROM conversation_metrics WHERE organization_id = $1 AND hour >= $2 AND hour < $3 AND conversation_count > 0 \
             ORDER BY hour, channel",
        )
        .bind(org)
        .bind(Time(from))
        .bind(Time(to))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let hour = |row: &PgRow| -> Result<Hour, sqlx::Error> {
            Ok(Hour {
                hour: row.try_get::<Time, _>("hour")?.0,
                channel: row.try_get("channel")?,
                conversations: number(row, "conversation_count")?,
                ended: number(row, "ended_count")?,
                resolution_seconds: number(row, "resolution_seconds")?,
                messages: number(row, "message_count")?,
                confidence: (row.try_get("confidence_sum")?, number(row, "confidence_count")?),
                satisfaction: (number(row, "satisfaction_sum")?, number(row, "satisfaction_count")?),
                escalated: number(row, "escalation_count")?,
                automated: number(row, "automated_count")?,
            })
        };
        Ok(rows.iter().map(hour).collect::<Result<_, _>>()?)
    }

    async fn patterns(&self, org: Uuid, limit: u32) -> Result<Vec<Pattern>, Error> {
        let mut tx = self.0.tenant(org).await?;
        let rows = sqlx::query(
            "SELECT * FROM intent_patterns WHERE organization_id = $1 AND frequency > 0 ORDER BY frequency DESC, pattern LIMIT $2",
        )
        .bind(org)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let pattern = |row: &PgRow| -> Result<Pattern, sqlx::Error> {
            let ended = row.try_get("ended_count")?;
            Ok(Pattern {
                pattern: row.try_get("pattern")?,
                intent: row.try_get("intent")?,
                frequency: number(row, "frequency")?,
                success_rate: rate(row.try_get("success_count")?, ended),
                resolution_seconds: rate(row.try_get("resolution_seconds")?, ended),
                last_seen: row.try_get::<Time, _>("last_seen")?.0,
            })
        };
        Ok(rows.iter().map(pattern).collect::<Result<_, _>>()?)
    }
}
