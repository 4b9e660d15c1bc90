//! Roll-ups in the ledger's file.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use switchboard_runtime::sqlite::Sqlite;
use uuid::Uuid;

use super::{Hour, Outcomes, PATTERN, Pattern, rate};
use crate::error::Error;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// A conversation as it stands.
const NOW: &str = "\
SELECT c.created_at - c.created_at % ?3 AS hour, c.channel,
    coalesce((SELECT group_concat(intent, ' > ') FROM (
        SELECT intent, min(seq) AS first FROM messages
        WHERE conversation_id = c.id AND sender_type = 'user' AND intent <> '' GROUP BY intent ORDER BY first LIMIT ?4)), '') AS pattern,
    c.ended_at IS NOT NULL AS ended, coalesce((c.ended_at - c.created_at) / 1000000, 0) AS resolution_seconds,
    count(m.seq) AS message_count,
    coalesce(sum(m.intent_confidence) FILTER (WHERE m.sender_type = 'ai_agent'), 0.0) AS confidence_sum,
    count(m.intent_confidence) FILTER (WHERE m.sender_type = 'ai_agent') AS confidence_count,
    coalesce(c.rating, 0) AS satisfaction, c.escalation_id IS NOT NULL AS escalated,
    coalesce(c.resolution_type = 'automated', 0) AS automated, c.last_activity_at AS last_seen
FROM conversations c LEFT JOIN messages m ON m.conversation_id = c.id
WHERE c.organization_id = ?1 AND c.id = ?2 GROUP BY c.id";

/// What one conversation counts.
#[derive(FromRow)]
struct Counted {
    hour: i64,
    channel: String,
    pattern: String,
    ended: bool,
    resolution_seconds: i64,
    message_count: i64,
    confidence_sum: f64,
    confidence_count: i64,
    satisfaction: i64,
    escalated: bool,
    automated: bool,
    last_seen: i64,
}

/// Roll-ups beside the ledger.
#[derive(Debug, Clone)]
pub struct SqliteOutcomes(pub Sqlite);

impl Counted {
    async fn keep(&self, tx: &mut SqliteConnection, org: &str, conversation: &str) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(org)
            .bind(conversation)
            .bind(self.hour)
            .bind(&self.channel)
            .bind(&self.pattern)
            .bind(self.ended)
            .bind(self.resolution_seconds)
            .bind(self.message_count)
            .bind(self.confidence_sum)
            .bind(self.confidence_count)
            .bind(self.satisfaction)
            .bind(self.escalated)
            .bind(self.automated)
            .bind(self.last_seen)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Adds it to the roll-ups, or takes it away.
    async fn count(&self, tx: &mut SqliteConnection, org: &str, sign: i64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO conversation_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (organization_id, hour, channel) DO UPDATE SET \
             conversation_count = conversation_count + excluded.conversation_count, ended_count = ended_count + excluded.ended_count, \
             resolution_seconds = resolution_seconds + excluded.resolution_seconds, message_count = message_count + excluded.message_count, \
             confidence_sum = confidence_sum + excluded.confidence_sum, confidence_count = confidence_count + excluded.confidence_count, \
             satisfaction_sum = satisfaction_sum + excluded.satisfaction_sum, \
             satisfaction_count = satisfaction_count + excluded.satisfaction_count, \
             escalation_count = escalation_count + excluded.escalation_count, automated_count = automated_count + excluded.automated_count",
        )
        .bind(org)
        .bind(self.hour)
        .bind(&self.channel)
        .bind(sign)
        .bind(sign * i64::from(self.ended))
        .bind(sign * self.resolution_seconds)
        .bind(sign * self.message_count)
        .bind(sign as f64 * self.confidence_sum)
        .bind(sign * self.confidence_count)
        .bind(sign * self.satisfaction)
        .bind(sign * i64::from(self.satisfaction > 0))
        .bind(sign * i64::from(self.escalated))
        .bind(sign * i64::from(self.automated))
        .execute(&mut *tx)
        .await?;
        if self.pattern.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO intent_patterns VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization_id, pattern) DO UPDATE SET \
             frequency = frequency + excluded.frequency, success_count = success_count + excluded.success_count, \
             ended_count = ended_count + excluded.ended_count, resolution_seconds = resolution_seconds + excluded.resolution_seconds, \
             last_seen = max(last_seen, excluded.last_seen)",
        )
        .bind(org)
        .bind(&self.pattern)
        .bind(self.pattern.split(" > ").next())
        .bind(sign)
        .bind(sign * i64::from(self.automated))
        .bind(sign * i64::from(self.ended))
        .bind(sign * self.resolution_seconds)
        .bind(self.last_seen)
        .execute(tx)
        .await?;
        Ok(())
    }
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

#[async_trait]
impl Outcomes for SqliteOutcomes {
    async fn record(&self, org: Uuid, conversations: &[Uuid]) -> Result<(), Error> {
        let org = org.to_string();
        let mut tx = self.0.write().await?;
        for conversation in conversations {
            let id = conversation.to_string();
            let now: Option<Counted> =
                sqlx::query_as(NOW).bind(&org).bind(&id).bind(HOUR).bind(PATTERN).fetch_optional(&mut *tx).await?;
            let Some(now) = now else { continue };
            let before: Option<Counted> =
                sqlx::query_as("SELECT * FROM outcomes WHERE organization_id = ? AND conversation_id = ?")
                    .bind(&org)
                    .bind(&id)
                    .fetch_optional(&mut *tx)
                    .await?;
            if let Some(before) = before {
                before.count(&mut tx, &org, -1).await?;
            }
            now.count(&mut tx, &org, 1).await?;
            now.keep(&mut tx, &org, &id).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn hours(&self, org: Uuid, from: Timestamp, to: Timestamp) -> Result<Vec<Hour>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM conversation_metrics WHERE organization_id = ? AND hour >= ? AND hour < ? AND conversation_count > 0 \
             ORDER BY hour, channel",
        )
        .bind(org.to_string())
        .bind(from.as_microsecond())
        .bind(to.as_microsecond())
        .fetch_all(self.0.read())
        .await?;
        let hour = |row: &SqliteRow| -> Result<Hour, sqlx::Error> {
            Ok(Hour {
                hour: time(row.try_get("hour")?),
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
        let rows = sqlx::query(
            "SELECT * FROM intent_patterns WHERE organization_id = ? AND frequency > 0 ORDER BY frequency DESC, pattern LIMIT ?",
        )
        .bind(org.to_string())
        .bind(limit)
        .fetch_all(self.0.read())
        .await?;
        let pattern = |row: &SqliteRow| -> Result<Pattern, sqlx::Error> {
            let ended = row.try_get("ended_count")?;
            Ok(Pattern {
                pattern: row.try_get("pattern")?,
                intent: row.try_get("intent")?,
                frequency: number(row, "frequency")?,
                success_rate: rate(row.try_get("success_count")?, ended),
                resolution_seconds: rate(row.try_get("resolution_seconds")?, ended),
                last_seen: time(row.try_get("last_seen")?),
            })
        };
        Ok(rows.iter().map(pattern).collect::<Result<_, _>>()?)
    }
}
