//! Sign-ins, refresh tokens, password resets.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{SqliteStore, Tx, hash, id, log, some_time, time, user_row};
use crate::{
    activity::Entry,
    lockout::Failures,
    store::{Candidate, Refresh, Reset, Sessions, StoreError, Trade, Traded, forgotten_before, sealed::PersonKey},
    token::Hash,
};

const OPEN_RESET: &str = "SELECT * FROM reset_tokens WHERE hash = ? AND used_at IS NULL AND expires_at > ?";

fn reset(row: &SqliteRow) -> Result<Reset, StoreError> {
    Ok(Reset {
        hash: hash(row, "hash")?,
        org: id(row, "organization_id")?,
        user: id(row, "user_id")?,
        request_id: id(row, "request_id")?,
        expires: time(row, "expires_at")?,
    })
}

pub(super) async fn put_password(
    tx: &mut Tx,
    [org, user]: [&str; 2],
    key: &PersonKey,
    hash: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO credentials (organization_id, user_id, password_hash, updated_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (organization_id, user_id) \
         DO UPDATE SET password_hash = excluded.password_hash, updated_at = excluded.updated_at",
    )
    .bind(org)
    .bind(user)
    .bind(key.seal_password(hash))
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_refresh(tx: &mut Tx, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO refresh_tokens (hash, family, organization_id, user_id, guest, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&refresh.hash[..])
    .bind(refresh.family.to_string())
    .bind(refresh.org.to_string())
    .bind(refresh.user.to_string())
    .bind(refresh.guest)
    .bind(now.as_microsecond())
    .bind(refresh.expires.as_microsecond())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn candidates(&self, email: &str, external_id: &str, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let index = self.index().await?;
        let rows = sqlx::query(
            "SELECT u.*, k.wrapped_key, c.password_hash FROM users u \
             JOIN person_keys k ON k.organization_id = u.organization_id AND k.person_id = u.id \
             JOIN credentials c ON c.organization_id = u.organization_id AND c.user_id = u.id \
             WHERE u.email_blind = ? OR u.external_id_blind = ? ORDER BY u.created_at, u.id LIMIT ?",
        )
        .bind(index.email(email))
        .bind(index.external_id(external_id))
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        let mut candidates = Vec::with_capacity(rows.len());
        for row in &rows {
            if let (user, Some(key)) = self.seals.user(user_row(row)?)? {
                let password_hash = key.open_password(row.try_get("password_hash")?)?;
                candidates.push(Candidate { user, password_hash });
            }
        }
        Ok(candidates)
    }

    async fn set_password(&self, org: Uuid, user: Uuid, hash: &str, now: Timestamp) -> Result<(), StoreError> {
        let (in_org, whose) = (org.to_string(), user.to_string());
        let mut tx = self.db.write().await?;
        let (_, key) = self.alive(&mut tx, &in_org, &whose).await?.ok_or(StoreError::NoUser)?;
        put_password(&mut tx, [&in_org, &whose], &key, hash, now).await?;
        log(&mut tx, org, now, Entry::user("password.set", user, Uuid::nil())).await?;
        Ok(tx.commit().await?)
    }

    async fn add_refresh(&self, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.write().await?;
        let owner = self.alive(&mut tx, &refresh.org.to_string(), &refresh.user.to_string()).await?;
        owner.ok_or(StoreError::NoUser)?;
        put_refresh(&mut tx, refresh, now).await?;
        if !refresh.guest {
            log(&mut tx, refresh.org, now, Entry::user("session.began", refresh.user, refresh.user)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn trade_refresh(&self, trade: &Trade) -> Result<Traded, StoreError> {
        let now = trade.now.as_microsecond();
        let mut tx = self.db.write().await?;
        let row = sqlx::query(
            "SELECT organization_id, user_id, family, guest, used_at FROM refresh_tokens \
             WHERE hash = ? AND expires_at > ? AND revoked_at IS NULL AND (guest OR NOT ?)",
        );
        let row = row.bind(&trade.shown[..]).bind(now).bind(trade.guests_only);
        let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(Traded::Refused) };
        let (in_org, whose): (String, String) = (row.try_get("organization_id")?, row.try_get("user_id")?);
        let Some((owner, _)) = self.alive(&mut tx, &in_org, &whose).await? else { return Ok(Traded::Refused) };
        let (family, guest) = (id(&row, "family")?, row.try_get("guest")?);
        if some_time(&row, "used_at")?.is_some_and(|used| !trade.forgives(used, guest)) {
            let revoke = sqlx::query(
                "UPDATE refresh_tokens SET revoked_at = ? \
                 WHERE organization_id = ? AND user_id = ? AND family = ? AND revoked_at IS NULL",
            );
            revoke.bind(now).bind(&in_org).bind(&whose).bind(family.to_string()).execute(&mut *tx).await?;
            log(&mut tx, owner.org, trade.now, Entry::user("session.reused", owner.id, Uuid::nil())).await?;
            tx.commit().await?;
            return Ok(Traded::Reused);
        }
        // The first use counts: a grace that every use renewed would never end.
        let mark = sqlx::query("UPDATE refresh_tokens SET used_at = coalesce(used_at, ?) WHERE hash = ?");
        mark.bind(now).bind(&trade.shown[..]).execute(&mut *tx).await?;
        let (org, user) = (owner.org, owner.id);
        let fresh = Refresh { hash: trade.fresh, family, org, user, guest, expires: trade.expires };
        put_refresh(&mut tx, &fresh, trade.now).await?;
        tx.commit().await?;
        Ok(Traded::Fresh(owner, guest))
    }

    async fn begin_reset(&self, new: &Reset, now: Timestamp) -> Result<Reset, StoreError> {
        let (in_org, whose) = (new.org.to_string(), new.user.to_string());
        let mut tx = self.db.write().await?;
        self.alive(&mut tx, &in_org, &whose).await?.ok_or(StoreError::NoUser)?;
        let begun = sqlx::query(
            "INSERT INTO reset_tokens (hash, organization_id, request_id, user_id, expires_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (organization_id, request_id) DO NOTHING",
        )
        .bind(&new.hash[..])
        .bind(&in_org)
        .bind(new.request_id.to_string())
        .bind(&whose)
        .bind(new.expires.as_microsecond())
        .execute(&mut *tx)
        .await?;
        let first = sqlx::query("SELECT * FROM reset_tokens WHERE organization_id = ? AND request_id = ?");
        let row = first.bind(&in_org).bind(new.request_id.to_string()).fetch_one(&mut *tx).await?;
        if begun.rows_affected() > 0 {
            log(&mut tx, new.org, now, Entry::user("password_reset.began", new.user, Uuid::nil())).await?;
        }
        tx.commit().await?;
        reset(&row)
    }

    async fn open_reset(&self, hash: &Hash, now: Timestamp) -> Result<Option<Reset>, StoreError> {
        let open = sqlx::query(OPEN_RESET).bind(&hash[..]).bind(now.as_microsecond());
        open.fetch_optional(self.db.read()).await?.as_ref().map(reset).transpose()
    }

    async fn finish_reset(&self, hash: &Hash, password_hash: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.db.write().await?;
        let open = sqlx::query(OPEN_RESET).bind(&hash[..]).bind(now.as_microsecond());
        let Some(row) = open.fetch_optional(&mut *tx).await? else { return Ok(false) };
        let reset = reset(&row)?;
        let (in_org, whose) = (reset.org.to_string(), reset.user.to_string());
        let Some((_, key)) = self.alive(&mut tx, &in_org, &whose).await? else { return Ok(false) };
        put_password(&mut tx, [&in_org, &whose], &key, password_hash, now).await?;
        for sql in [
            "UPDATE reset_tokens SET used_at = ? WHERE organization_id = ? AND user_id = ? AND used_at IS NULL",
            "UPDATE refresh_tokens SET revoked_at = ? WHERE organization_id = ? AND user_id = ? AND revoked_at IS NULL",
        ] {
            sqlx::query(sql).bind(now.as_microsecond()).bind(&in_org).bind(&whose).execute(&mut *tx).await?;
        }
        log(&mut tx, reset.org, now, Entry::user("password.reset", reset.user, reset.user)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn failures(&self, name: &str, now: Timestamp) -> Result<Option<Failures>, StoreError> {
        let name = self.index().await?.name(name);
        let row = sqlx::query("SELECT failures, last_at FROM sign_in_failures WHERE name_blind = ? AND last_at > ?")
            .bind(name)
            .bind(forgotten_before(now).as_microsecond())
            .fetch_optional(self.db.read())
            .await?;
        let read = |row: SqliteRow| Ok(Failures { count: row.try_get("failures")?, last: time(&row, "last_at")? });
        row.map(read).transpose()
    }

    async fn add_failure(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let name = self.index().await?.name(name);
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO sign_in_failures (name_blind, failures, last_at) VALUES (?1, 1, ?2) \
             ON CONFLICT (name_blind) DO UPDATE SET last_at = excluded.last_at, \
             failures = CASE WHEN last_at > ?3 THEN failures + 1 ELSE 1 END",
        )
        .bind(name)
        .bind(now.as_microsecond())
        .bind(forgotten_before(now).as_microsecond())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn clear_failures(&self, name: &str) -> Result<(), StoreError> {
        let name = self.index().await?.name(name);
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM sign_in_failures WHERE name_blind = ?").bind(name).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
