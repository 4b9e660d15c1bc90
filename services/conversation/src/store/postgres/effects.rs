//! The ledger of outside writes.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Postgres, QueryBuilder};
use switchboard_runtime::{page, postgres::Time};
use uuid::Uuid;

use super::{PostgresStore, by_organization, commit::Parts, limit};
use crate::{
    error::Error,
    model::Effect,
    store::{
        Effects, Page,
        rows::{self, Cells as _, name, with_key},
        sealed::SealedEffect,
    },
};

/// Effects, each with its conversation's key; to be followed by WHERE.
macro_rules! effects {
    () => {
        concat!(
            "SELECT a.*, k.key_id, k.wrapped_key FROM actions a \
             JOIN conversations c ON c.organization_id = a.organization_id AND c.id = a.conversation_id",
            with_key!()
        )
    };
}

/// What is looked up by case.
fn case_number(e: &Effect) -> Option<&String> {
    e.result.get("case_number").filter(|_| e.action_type == "create_case")
}

/// A part of a commit that writes an effect down.
pub(super) fn put(parts: &mut Parts, e: &Effect, sealed: SealedEffect) -> Result<(), Error> {
    let insert = parts.part(
        "INSERT INTO actions (organization_id, conversation_id, id, idempotency_key, user_id, action_type, parameters, status, attempts, \
         result, case_number, last_error, next_attempt_at, created_at, ended_at) SELECT organization_id, id, ",
    );
    let mut values = insert.separated(", ");
    values
        .push_bind(e.id)
        .push_bind(&e.key)
        .push_bind(e.user)
        .push_bind(&e.action_type)
        .push_bind(sealed.parameters)
        .push_bind(name(&e.status)?)
        .push_bind(e.attempts.cast_signed())
        .push_bind(sealed.result)
        .push_bind(case_number(e))
        .push_bind(sealed.last_error)
        .push_bind(Time(e.next_attempt_at))
        .push_bind(Time(e.created_at))
        .push_bind(e.ended_at.map(Time));
    parts.end(" FROM cas ON CONFLICT ON CONSTRAINT actions_key DO NOTHING");
    Ok(())
}

/// What follows `UPDATE actions SET` to write an effect's progress.
pub(super) fn change(sql: &mut QueryBuilder<Postgres>, e: &Effect, sealed: SealedEffect) -> Result<(), Error> {
    sql.push("status = ").push_bind(name(&e.status)?);
    sql.push(", attempts = ").push_bind(e.attempts.cast_signed());
    sql.push(", result = ").push_bind(sealed.result);
    sql.push(", case_number = ").push_bind(case_number(e));
    sql.push(", last_error = ").push_bind(sealed.last_error);
    sql.push(", next_attempt_at = ").push_bind(Time(e.next_attempt_at));
    sql.push(", ended_at = ").push_bind(e.ended_at.map(Time));
    sql.push(" WHERE organization_id = ").push_bind(e.org);
    sql.push(" AND idempotency_key = ").push_bind(&e.key);
    // What is completed stays completed: a slow second worker cannot take it back.
    sql.push(" AND conversation_id = ").push_bind(e.conversation).push(" AND status <> 'completed'");
    Ok(())
}

#[async_trait]
impl Effects for PostgresStore {
    async fn effects_by_key(&self, org: Uuid, keys: &[String]) -> Result<Vec<Effect>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let rows = sqlx::query(concat!(effects!(), "WHERE a.organization_id = $1 AND a.idempotency_key = ANY($2)"))
            .bind(org)
            .bind(keys)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        rows.iter().map(|row| rows::effect(row, &self.keys)).collect()
    }

    async fn effects(
        &self,
        org: Uuid,
        status: Option<&'static str>,
        size: u32,
        after: &str,
    ) -> Result<Page<Effect>, Error> {
        let key: Option<Uuid> = page::key(after)?;
        let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(concat!(effects!(), "WHERE a.organization_id = "));
        sql.push_bind(org);
        if let Some(status) = status {
            sql.push(" AND a.status = ").push_bind(status);
        }
        if let Some(last) = key {
            sql.push(" AND a.id < ").push_bind(last);
        }
        sql.push(" ORDER BY a.id DESC").push(limit(size));
        let mut tx = self.db.tenant(org).await?;
        let rows = sql.build().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let rows = rows.iter().map(|row| rows::effect(row, &self.keys)).collect::<Result<Vec<_>, _>>()?;
        Ok(rows::paged(rows, size, |e| page::token(&e.id)))
    }

    async fn effects_of(&self, org: Uuid, id: Uuid) -> Result<Vec<Effect>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let sql = concat!(effects!(), "WHERE a.organization_id = $1 AND a.conversation_id = $2 ORDER BY a.id");
        let rows = sqlx::query(sql).bind(org).bind(id).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(|row| rows::effect(row, &self.keys)).collect()
    }

    async fn claim_effects(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Effect>, Error> {
        let mut tx = self.db.worker().await?;
        let due = sqlx::query(
            "SELECT organization_id, id FROM actions WHERE status IN ('pending', 'running') AND next_attempt_at <= $1 \
             ORDER BY next_attempt_at LIMIT $2",
        )
        .bind(Time(now))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let due = due.iter().map(|row| Ok((row.id("organization_id")?, row.id("id")?)));
        let due = due.collect::<Result<Vec<_>, sqlx::Error>>()?;
        let mut claimed = Vec::with_capacity(due.len());
        for (org, ids) in by_organization(due) {
            // Another replica saw the same rows: who locks one first has it, and the other passes by or finds it no longer due.
            let mut tx = self.db.tenant(org).await?;
            let rows = sqlx::query(concat!(
                "WITH due AS (SELECT organization_id, id FROM actions WHERE organization_id = $1 AND id = ANY($2) \
                 AND status IN ('pending', 'running') AND next_attempt_at <= $3 FOR NO KEY UPDATE SKIP LOCKED) \
                 UPDATE actions a SET status = 'running', next_attempt_at = $4 FROM due, conversations c",
                with_key!(),
                "WHERE a.organization_id = due.organization_id AND a.id = due.id \
                 AND c.organization_id = a.organization_id AND c.id = a.conversation_id RETURNING a.*, k.key_id, k.wrapped_key"
            ))
            .bind(org)
            .bind(&ids)
            .bind(Time(now))
            .bind(Time(until))
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            for row in &rows {
                claimed.push(rows::effect(row, &self.keys)?);
            }
        }
        Ok(claimed)
    }

    async fn save_effect(&self, effect: &Effect) -> Result<(), Error> {
        let mut tx = self.db.tenant(effect.org).await?;
        let Some(seal) = self.seal(&mut tx, effect.org, effect.conversation).await? else { return Ok(()) };
        let mut sql = QueryBuilder::new("UPDATE actions SET ");
        change(&mut sql, effect, SealedEffect::of(effect, &seal)?)?;
        sql.build().execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn by_case(&self, org: Uuid, case_number: &str) -> Result<Option<Uuid>, Error> {
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query(
            "SELECT conversation_id FROM actions WHERE organization_id = $1 AND case_number = $2 ORDER BY id DESC LIMIT 1",
        )
        .bind(org)
        .bind(case_number)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(row.map(|row| row.id("conversation_id")).transpose()?)
    }
}
