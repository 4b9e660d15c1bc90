//! The ledger of outside writes.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use switchboard_runtime::page;
use uuid::Uuid;

use super::{SqliteStore, json, micros};
use crate::{
    error::Error,
    model::Effect,
    store::{
        Effects, Page,
        rows::{self, Cells as _, name, paged, with_key},
        sealed::SealedEffect,
    },
};

/// Effects, each with its conversation's key; to be followed by WHERE.
macro_rules! effects {
    () => {
        concat!(
            "SELECT a.*, k.key_id, k.wrapped_key FROM actions a JOIN conversations c ON c.id = a.conversation_id",
            with_key!()
        )
    };
}

/// What is looked up by case.
fn case_number(e: &Effect) -> Option<&String> {
    e.result.get("case_number").filter(|_| e.action_type == "create_case")
}

pub(super) async fn put(tx: &mut SqliteConnection, e: &Effect, sealed: &SealedEffect) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO actions (id, organization_id, idempotency_key, conversation_id, user_id, action_type, parameters, status, \
         attempts, result, case_number, last_error, next_attempt_at, created_at, ended_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization_id, idempotency_key) DO NOTHING",
    )
    .bind(e.id.to_string())
    .bind(e.org.to_string())
    .bind(&e.key)
    .bind(e.conversation.to_string())
    .bind(e.user.to_string())
    .bind(&e.action_type)
    .bind(&sealed.parameters)
    .bind(name(&e.status)?)
    .bind(e.attempts)
    .bind(&sealed.result)
    .bind(case_number(e))
    .bind(&sealed.last_error)
    .bind(micros(e.next_attempt_at))
    .bind(micros(e.created_at))
    .bind(e.ended_at.map(micros))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn change(tx: &mut SqliteConnection, e: &Effect, sealed: &SealedEffect) -> Result<(), Error> {
    // What is completed stays completed: a slow second worker cannot take it back.
    sqlx::query(
        "UPDATE actions SET status = ?, attempts = ?, result = ?, case_number = ?, last_error = ?, next_attempt_at = ?, ended_at = ? \
         WHERE organization_id = ? AND idempotency_key = ? AND conversation_id = ? AND status <> 'completed'",
    )
    .bind(name(&e.status)?)
    .bind(e.attempts)
    .bind(&sealed.result)
    .bind(case_number(e))
    .bind(&sealed.last_error)
    .bind(micros(e.next_attempt_at))
    .bind(e.ended_at.map(micros))
    .bind(e.org.to_string())
    .bind(&e.key)
    .bind(e.conversation.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Of those that are due, a JSON list of ids, the ones that still are.
async fn claim(tx: &mut SqliteConnection, due: &str, now: Timestamp, until: Timestamp) -> Result<Vec<String>, Error> {
    let claim = sqlx::query_scalar(
        "UPDATE actions SET status = 'running', next_attempt_at = ? WHERE id IN (SELECT value FROM json_each(?)) \
         AND status IN ('pending', 'running') AND next_attempt_at <= ? RETURNING id",
    );
    Ok(claim.bind(micros(until)).bind(due).bind(micros(now)).fetch_all(tx).await?)
}

#[async_trait]
impl Effects for SqliteStore {
    async fn effects_by_key(&self, org: Uuid, keys: &[String]) -> Result<Vec<Effect>, Error> {
        let rows = sqlx::query(concat!(
            effects!(),
            "WHERE a.organization_id = ? AND a.idempotency_key IN (SELECT value FROM json_each(?))"
        ))
        .bind(org.to_string())
        .bind(json(keys)?)
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(|row| rows::effect(row, &self.keys)).collect()
    }

    async fn effects(
        &self,
        org: Uuid,
        status: Option<&'static str>,
        size: u32,
        after: &str,
    ) -> Result<Page<Effect>, Error> {
        let key: Option<String> = page::key(after)?;
        let rows = sqlx::query(concat!(
            effects!(),
            "WHERE a.organization_id = ?1 AND (?2 IS NULL OR a.status = ?2) AND (?3 IS NULL OR a.id < ?3) ORDER BY a.id DESC LIMIT ?4"
        ))
        .bind(org.to_string())
        .bind(status)
        .bind(key)
        .bind(size + 1)
        .fetch_all(self.db.read())
        .await?;
        let rows = rows.iter().map(|row| rows::effect(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(paged(rows, size, |e| page::token(&e.id.to_string())))
    }

    async fn effects_of(&self, org: Uuid, id: Uuid) -> Result<Vec<Effect>, Error> {
        let rows =
            sqlx::query(concat!(effects!(), "WHERE a.conversation_id = ? AND a.organization_id = ? ORDER BY a.id"))
                .bind(id.to_string())
                .bind(org.to_string())
                .fetch_all(self.db.read())
                .await?;
        rows.iter().map(|row| rows::effect(row, &self.keys)).collect()
    }

    async fn claim_effects(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Effect>, Error> {
        // Looked at before the one writer is taken: nearly always there is nothing.
        let due: Vec<String> = sqlx::query_scalar(concat!(
            "SELECT a.id FROM actions a JOIN conversations c ON c.id = a.conversation_id",
            with_key!(),
            "WHERE a.status IN ('pending', 'running') AND a.next_attempt_at <= ? ORDER BY a.next_attempt_at LIMIT ?"
        ))
        .bind(micros(now))
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        if due.is_empty() {
            return Ok(vec![]);
        }
        let claimed = self.write(json(&due)?, move |tx, due| Box::pin(claim(tx, due, now, until))).await?;
        let rows = sqlx::query(concat!(effects!(), "WHERE a.id IN (SELECT value FROM json_each(?)) ORDER BY a.id"))
            .bind(json(&claimed)?)
            .fetch_all(self.db.read())
            .await?;
        rows.iter().map(|row| rows::effect(row, &self.keys)).collect()
    }

    async fn save_effect(&self, effect: &Effect) -> Result<(), Error> {
        let Some(seal) = self.seal(effect.org, effect.conversation).await? else { return Ok(()) };
        let (effect, sealed) = (effect.clone(), SealedEffect::of(effect, &seal)?);
        self.write((effect, sealed), |tx, (effect, sealed)| Box::pin(change(tx, effect, sealed))).await
    }

    async fn by_case(&self, org: Uuid, case_number: &str) -> Result<Option<Uuid>, Error> {
        let row = sqlx::query(
            "SELECT conversation_id FROM actions WHERE organization_id = ? AND case_number = ? ORDER BY id DESC LIMIT 1",
        )
        .bind(org.to_string())
        .bind(case_number)
        .fetch_optional(self.db.read())
        .await?;
        Ok(row.map(|row| row.id("conversation_id")).transpose()?)
    }
}
