//! Sign-ins, refresh tokens, password resets.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, postgres::PgRow};
use switchboard_runtime::postgres::{Time, Tx};
use uuid::Uuid;

use super::{PostgresStore, hash, log, some_time, time, user_row};
use crate::{
    activity::Entry,
    lockout::Failures,
    store::{
        Candidate, Refresh, Reset, Sessions, StoreError, Trade, Traded, forgotten_before, sealed::PersonKey, wrong,
    },
    token::Hash,
};

fn reset(row: &PgRow) -> Result<Reset, StoreError> {
    Ok(Reset {
        hash: hash(row, "hash")?,
        org: row.try_get("organization_id")?,
        user: row.try_get("user_id")?,
        request_id: row.try_get("request_id")?,
        expires: time(row, "expires_at")?,
    })
}

async fn put_password(
    tx: &mut Tx,
    (org, user): (Uuid, Uuid),
    key: &PersonKey,
    hash: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO credentials (organization_id, user_id, password_hash, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (organization_id, user_id) \
         DO UPDATE SET password_hash = excluded.password_hash, updated_at = excluded.updated_at",
    )
    .bind(org)
    .bind(user)
    .bind(key.seal_password(hash))
    .bind(Time(now))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_refresh(tx: &mut Tx, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO refresh_tokens (hash, family, organization_id, user_id, guest, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&refresh.hash[..])
    .bind(refresh.family)
    .bind(refresh.org)
    .bind(refresh.user)
    .bind(refresh.guest)
    .bind(Time(now))
    .bind(Time(refresh.expires))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl PostgresStore {
    /// Whose token has this hash.
    async fn owner(&self, sql: &'static str, hash: &Hash) -> Result<Option<(Uuid, Uuid)>, StoreError> {
        let mut tx = self.db.worker().await?;
        let owner = sqlx::query_as(sql).bind(&hash[..]).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        Ok(owner)
    }

    async fn reset_owner(&self, hash: &Hash) -> Result<Option<(Uuid, Uuid)>, StoreError> {
        self.owner("SELECT organization_id, user_id FROM reset_tokens WHERE hash = $1", hash).await
    }
}

const OPEN_RESET: &str =
    "SELECT * FROM reset_tokens WHERE organization_id = $1 AND hash = $2 AND used_at IS NULL AND expires_at > $3";

#[async_trait]
impl Sessions for PostgresStore {
    async fn candidates(&self, email: &str, external_id: &str, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let index = self.index().await?;
        let mut tx = self.db.worker().await?;
        let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT u.organization_id, u.id FROM users u \
             JOIN credentials c ON c.organization_id = u.organization_id AND c.user_id = u.id \
             WHERE u.email_blind = $1 OR u.external_id_blind = $2 ORDER BY u.created_at, u.id LIMIT $3",
        )
        .bind(index.email(email))
        .bind(index.external_id(external_id))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut candidates = Vec::with_capacity(found.len());
        for (org, user) in found {
            let mut tx = self.db.tenant(org).await?;
            let row = sqlx::query(
                "SELECT u.*, k.wrapped_key, c.password_hash FROM users u \
                 JOIN person_keys k ON k.organization_id = u.organization_id AND k.person_id = u.id \
                 JOIN credentials c ON c.organization_id = u.organization_id AND c.user_id = u.id \
                 WHERE u.organization_id = $1 AND u.id = $2",
            );
            let row = row.bind(org).bind(user).fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            // Whoever was erased meanwhile is none.
            let Some(row) = row else { continue };
            if let (user, Some(key)) = self.seals.user(user_row(&row)?)? {
                let password_hash = key.open_password(row.try_get("password_hash")?)?;
                candidates.push(Candidate { user, password_hash });
            }
        }
        Ok(candidates)
    }

    async fn set_password(&self, org: Uuid, user: Uuid, hash: &str, now: Timestamp) -> Result<(), StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.tenant(org).await?;
        let (_, key) = self.hold(&mut tx, org, user).await?.ok_or(StoreError::NoUser)?;
        put_password(&mut tx, (org, user), &key, hash, now).await?;
        log(&mut tx, org, now, Entry::user("password.set", user, Uuid::nil())).await?;
        Ok(tx.commit().await?)
    }

    async fn add_refresh(&self, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.tenant(refresh.org).await?;
        self.hold(&mut tx, refresh.org, refresh.user).await?.ok_or(StoreError::NoUser)?;
        put_refresh(&mut tx, refresh, now).await?;
        if !refresh.guest {
            log(&mut tx, refresh.org, now, Entry::user("session.began", refresh.user, refresh.user)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn trade_refresh(&self, trade: &Trade) -> Result<Traded, StoreError> {
        self.make_room(trade.now).await?;
        let owner = "SELECT organization_id, user_id FROM refresh_tokens WHERE hash = $1";
        let Some((org, user)) = self.owner(owner, &trade.shown).await? else { return Ok(Traded::Refused) };
        let mut tx = self.db.tenant(org).await?;
        let Some((owner, _)) = self.hold(&mut tx, org, user).await? else { return Ok(Traded::Refused) };
        // A statement of its own: it sees what those wrote whom the one before waited for.
        let row = sqlx::query(
            "SELECT family, guest, used_at FROM refresh_tokens WHERE organization_id = $1 AND hash = $2 \
             AND expires_at > $3 AND revoked_at IS NULL AND (guest OR NOT $4)",
        );
        let row = row.bind(org).bind(&trade.shown[..]).bind(Time(trade.now)).bind(trade.guests_only);
        let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(Traded::Refused) };
        let (family, guest): (Uuid, bool) = (row.try_get("family")?, row.try_get("guest")?);
        if some_time(&row, "used_at")?.is_some_and(|used| !trade.forgives(used, guest)) {
            let revoke = sqlx::query(
                "UPDATE refresh_tokens SET revoked_at = $4 \
                 WHERE organization_id = $1 AND user_id = $2 AND family = $3 AND revoked_at IS NULL",
            );
            revoke.bind(org).bind(user).bind(family).bind(Time(trade.now)).execute(&mut *tx).await?;
            log(&mut tx, org, trade.now, Entry::user("session.reused", user, Uuid::nil())).await?;
            tx.commit().await?;
            return Ok(Traded::Reused);
        }
        // The first use counts: a grace that every use renewed would never end.
        let mark = sqlx::query(
            "UPDATE refresh_tokens SET used_at = coalesce(used_at, $3) WHERE organization_id = $1 AND hash = $2",
        );
        mark.bind(org).bind(&trade.shown[..]).bind(Time(trade.now)).execute(&mut *tx).await?;
        let fresh = Refresh { hash: trade.fresh, family, org, user, guest, expires: trade.expires };
        put_refresh(&mut tx, &fresh, trade.now).await?;
        tx.commit().await?;
        Ok(Traded::Fresh(owner, guest))
    }

    async fn begin_reset(&self, new: &Reset, now: Timestamp) -> Result<Reset, StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.tenant(new.org).await?;
        self.hold(&mut tx, new.org, new.user).await?.ok_or(StoreError::NoUser)?;
        let begun = sqlx::query(
            "INSERT INTO reset_tokens (hash, organization_id, request_id, user_id, expires_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (organization_id, request_id) DO NOTHING",
        )
        .bind(&new.hash[..])
        .bind(new.org)
        .bind(new.request_id)
        .bind(new.user)
        .bind(Time(new.expires))
        .execute(&mut *tx)
        .await?;
        let first = sqlx::query("SELECT * FROM reset_tokens WHERE organization_id = $1 AND request_id = $2");
        let row = first.bind(new.org).bind(new.request_id).fetch_one(&mut *tx).await?;
        if begun.rows_affected() > 0 {
            log(&mut tx, new.org, now, Entry::user("password_reset.began", new.user, Uuid::nil())).await?;
        }
        tx.commit().await?;
        reset(&row)
    }

    async fn open_reset(&self, hash: &Hash, now: Timestamp) -> Result<Option<Reset>, StoreError> {
        let Some((org, _)) = self.reset_owner(hash).await? else { return Ok(None) };
        let mut tx = self.db.tenant(org).await?;
        let open = sqlx::query(OPEN_RESET).bind(org).bind(&hash[..]).bind(Time(now));
        let row = open.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        row.as_ref().map(reset).transpose()
    }

    async fn finish_reset(&self, hash: &Hash, password_hash: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.make_room(now).await?;
        let Some((org, user)) = self.reset_owner(hash).await? else { return Ok(false) };
        let mut tx = self.db.tenant(org).await?;
        let Some((_, key)) = self.hold(&mut tx, org, user).await? else { return Ok(false) };
        let open = sqlx::query(OPEN_RESET).bind(org).bind(&hash[..]).bind(Time(now));
        if open.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        put_password(&mut tx, (org, user), &key, password_hash, now).await?;
        for sql in [
            "UPDATE reset_tokens SET used_at = $3 WHERE organization_id = $1 AND user_id = $2 AND used_at IS NULL",
            "UPDATE refresh_tokens SET revoked_at = $3 WHERE organization_id = $1 AND user_id = $2 AND revoked_at IS NULL",
        ] {
            sqlx::query(sql).bind(org).bind(user).bind(Time(now)).execute(&mut *tx).await?;
        }
        log(&mut tx, org, now, Entry::user("password.reset", user, user)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn failures(&self, name: &str, now: Timestamp) -> Result<Option<Failures>, StoreError> {
        let name = self.index().await?.name(name);
        let mut tx = self.db.shared().await?;
        let row = sqlx::query("SELECT failures, last_at FROM sign_in_failures WHERE name_blind = $1 AND last_at > $2");
        let row = row.bind(name).bind(Time(forgotten_before(now))).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        let read = |row: PgRow| -> Result<_, StoreError> {
            let count = u32::try_from(row.try_get::<i32, _>("failures")?).map_err(|_| wrong("failures"))?;
            Ok(Failures { count, last: time(&row, "last_at")? })
        };
        row.map(read).transpose()
    }

    async fn add_failure(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let name = self.index().await?.name(name);
        let mut tx = self.db.shared().await?;
        sqlx::query(
            "INSERT INTO sign_in_failures AS f (name_blind, failures, last_at) VALUES ($1, 1, $2) \
             ON CONFLICT (name_blind) DO UPDATE SET last_at = excluded.last_at, \
             failures = CASE WHEN f.last_at > $3 THEN f.failures + 1 ELSE 1 END",
        )
        .bind(name)
        .bind(Time(now))
        .bind(Time(forgotten_before(now)))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn clear_failures(&self, name: &str) -> Result<(), StoreError> {
        let name = self.index().await?.name(name);
        let mut tx = self.db.shared().await?;
        sqlx::query("DELETE FROM sign_in_failures WHERE name_blind = $1").bind(name).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
