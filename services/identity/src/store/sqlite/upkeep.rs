//! What belongs to the installation, and the duties.
use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Row as _;
use uuid::Uuid;

use super::{SqliteStore, id, log, overwrite, people::wipe};
use crate::{
    activity::Entry,
    store::{StoreError, Upkeep, forgotten_before, later, wrong},
};

#[async_trait]
impl Upkeep for SqliteStore {
    async fn keep(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let kept = self.keep_value(name, &self.seals.value(name, value)).await?;
        self.seals.open_value(name, &kept)
    }

    async fn replace(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let new = self.seals.value(name, value);
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO keys (name, wrapped_key, value) VALUES (?, ?, ?) ON CONFLICT (name) \
             DO UPDATE SET wrapped_key = excluded.wrapped_key, value = excluded.value, created_at = excluded.created_at",
        )
        .bind(name)
        .bind(&new.wrapped_key)
        .bind(&new.value)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn claim(&self, duty: &str, now: Timestamp, every: Duration) -> Result<bool, StoreError> {
        let mut tx = self.db.write().await?;
        let claimed = sqlx::query(
            "INSERT INTO duties (name, due) VALUES (?1, ?3) ON CONFLICT (name) \
             DO UPDATE SET due = excluded.due WHERE due <= ?2 OR due > excluded.due",
        )
        .bind(duty)
        .bind(now.as_microsecond())
        .bind(later(now, every).as_microsecond())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.rows_affected() > 0)
    }

    async fn erase_guests(&self, made_before: Timestamp, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut tx = self.db.write().await?;
        overwrite(&mut tx).await?;
        let rows = sqlx::query(
            "SELECT organization_id, id FROM users u WHERE guest AND erased_at IS NULL AND created_at < ? \
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.organization_id = u.organization_id \
                 AND r.user_id = u.id AND r.expires_at > ? AND r.revoked_at IS NULL) ORDER BY created_at LIMIT ?",
        );
        let rows = rows.bind(made_before.as_microsecond()).bind(now.as_microsecond()).bind(limit);
        let mut counts: BTreeMap<Uuid, (u64, u64)> = BTreeMap::new();
        for row in rows.fetch_all(&mut *tx).await? {
            let org = id(&row, "organization_id")?;
            let wiped = wipe(&mut tx, &org.to_string(), row.try_get("id")?, now).await?;
            let count = counts.entry(org).or_default();
            *count = (count.0 + 1, count.1 + wiped.map_or(0, |w| w.sessions));
        }
        for (org, (guests, sessions)) in &counts {
            let entry =
                Entry::organization("guests.erased", *org).count("guests", *guests).count("sessions", *sessions);
            log(&mut tx, *org, now, entry).await?;
        }
        tx.commit().await?;
        if !counts.is_empty() {
            self.scrub().await?;
        }
        Ok(counts.values().map(|(guests, _)| guests).sum())
    }

    async fn forget_ended(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut tx = self.db.write().await?;
        let mut forgotten = 0;
        for (sql, ended) in [
            (
                "DELETE FROM refresh_tokens WHERE hash IN \
                 (SELECT hash FROM refresh_tokens WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
                now,
            ),
            (
                "DELETE FROM reset_tokens WHERE hash IN \
                 (SELECT hash FROM reset_tokens WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
                forgotten_before(now),
            ),
            (
                "DELETE FROM sign_in_failures WHERE name_blind IN \
                 (SELECT name_blind FROM sign_in_failures WHERE last_at <= ? ORDER BY last_at LIMIT ?)",
                forgotten_before(now),
            ),
        ] {
            let done = sqlx::query(sql).bind(ended.as_microsecond()).bind(limit).execute(&mut *tx).await?;
            forgotten += done.rows_affected();
        }
        tx.commit().await?;
        Ok(forgotten)
    }

    async fn rewrap_keys(&self, limit: u32) -> Result<u64, StoreError> {
        let newest = self.seals.newest();
        let mut done = 0;
        let mut tx = self.db.write().await?;
        overwrite(&mut tx).await?;
        for row in sqlx::query("SELECT name, wrapped_key FROM keys").fetch_all(&mut *tx).await? {
            let (name, wrapped): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("wrapped_key")?);
            let Some(fresh) = self.seals.rewrap_value(&name, &wrapped)? else { continue };
            let put = sqlx::query("UPDATE keys SET wrapped_key = ? WHERE name = ?").bind(fresh).bind(&name);
            put.execute(&mut *tx).await?;
            done += 1;
        }
        // Not `<>`, which no index serves.
        let rows = sqlx::query(
            "SELECT organization_id, person_id, wrapped_key FROM person_keys WHERE master < ?1 OR master > ?1 LIMIT ?2",
        );
        for row in rows.bind(newest).bind(limit).fetch_all(&mut *tx).await? {
            let (org, person): (&str, &str) = (row.try_get("organization_id")?, row.try_get("person_id")?);
            let uuid = |text| Uuid::try_parse(text).map_err(|_| wrong("person_id"));
            let wrapped = self.seals.rewrap_person(uuid(org)?, uuid(person)?, row.try_get("wrapped_key")?);
            let Some(fresh) = wrapped else { continue };
            sqlx::query(
                "UPDATE person_keys SET wrapped_key = ?, master = ? WHERE organization_id = ? AND person_id = ?",
            )
            .bind(fresh)
            .bind(newest)
            .bind(org)
            .bind(person)
            .execute(&mut *tx)
            .await?;
            done += 1;
        }
        tx.commit().await?;
        Ok(done)
    }
}
