//! What belongs to the installation, and the duties.
use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Row as _;
use switchboard_runtime::postgres::Time;
use uuid::Uuid;

use super::{PostgresStore, log, people::wipe};
use crate::{
    activity::Entry,
    store::{StoreError, Upkeep, forgotten_before, later},
};

/// Rows by their organization: each is dealt with in a transaction of its own.
fn by_organization<T>(found: Vec<(Uuid, T)>) -> BTreeMap<Uuid, Vec<T>> {
    let mut all: BTreeMap<Uuid, Vec<T>> = BTreeMap::new();
    for (org, id) in found {
        all.entry(org).or_default().push(id);
    }
    all
}

impl PostgresStore {
    async fn forget_tokens(
        &self,
        [find, forget]: [&'static str; 2],
        ended: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tx = self.db.worker().await?;
        let found = sqlx::query_as(find).bind(Time(ended)).bind(i64::from(limit));
        let found: Vec<(Uuid, Vec<u8>)> = found.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let mut forgotten = 0;
        for (org, hashes) in by_organization(found) {
            let mut tx = self.db.tenant(org).await?;
            let done = sqlx::query(forget).bind(org).bind(&hashes).execute(&mut *tx).await?;
            tx.commit().await?;
            forgotten += done.rows_affected();
        }
        Ok(forgotten)
    }

    async fn rewrap_values(&self) -> Result<u64, StoreError> {
        let mut tx = self.db.shared().await?;
        let rows =
            sqlx::query("SELECT name, wrapped_key FROM keys ORDER BY name FOR UPDATE").fetch_all(&mut *tx).await?;
        let mut done = 0;
        for row in &rows {
            let (name, wrapped): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("wrapped_key")?);
            let Some(fresh) = self.seals.rewrap_value(&name, &wrapped)? else { continue };
            let put = sqlx::query("UPDATE keys SET wrapped_key = $2 WHERE name = $1").bind(&name).bind(&fresh);
            put.execute(&mut *tx).await?;
            done += 1;
        }
        tx.commit().await?;
        Ok(done)
    }

    async fn rewrap_people(&self, org: Uuid, people: &[Uuid]) -> Result<u64, StoreError> {
        let newest = self.seals.newest();
        let mut tx = self.db.tenant(org).await?;
        let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT person_id, wrapped_key FROM person_keys \
             WHERE organization_id = $1 AND person_id = ANY ($2) AND master <> $3 FOR UPDATE SKIP LOCKED",
        )
        .bind(org)
        .bind(people)
        .bind(newest)
        .fetch_all(&mut *tx)
        .await?;
        let (mut ids, mut keys) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (person, wrapped) in rows {
            let Some(fresh) = self.seals.rewrap_person(org, person, &wrapped) else { continue };
            keys.push(fresh);
            ids.push(person);
        }
        sqlx::query(
            "UPDATE person_keys k SET wrapped_key = fresh.key, master = $2 \
             FROM unnest($3::uuid[], $4::bytea[]) AS fresh (person, key) \
             WHERE k.organization_id = $1 AND k.person_id = fresh.person",
        )
        .bind(org)
        .bind(newest)
        .bind(&ids)
        .bind(&keys)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(ids.len() as u64)
    }
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn keep(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let kept = self.keep_value(name, &self.seals.value(name, value)).await?;
        self.seals.open_value(name, &kept)
    }

    async fn replace(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let new = self.seals.value(name, value);
        let mut tx = self.db.shared().await?;
        sqlx::query(
            "INSERT INTO keys (name, wrapped_key, value) VALUES ($1, $2, $3) ON CONFLICT (name) \
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
        let mut tx = self.db.shared().await?;
        let claimed = sqlx::query(
            "INSERT INTO duties AS d (name, due) VALUES ($1, $3) ON CONFLICT (name) \
             DO UPDATE SET due = excluded.due WHERE d.due <= $2 OR d.due > excluded.due",
        )
        .bind(duty)
        .bind(Time(now))
        .bind(Time(later(now, every)))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.rows_affected() > 0)
    }

    async fn erase_guests(&self, made_before: Timestamp, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.worker().await?;
        let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT organization_id, id FROM users u WHERE guest AND erased_at IS NULL AND created_at < $1 \
             AND NOT EXISTS (SELECT FROM refresh_tokens r WHERE r.organization_id = u.organization_id \
                 AND r.user_id = u.id AND r.expires_at > $2 AND r.revoked_at IS NULL) ORDER BY created_at LIMIT $3",
        )
        .bind(Time(made_before))
        .bind(Time(now))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut erased = 0;
        // Without a session that can go on nobody becomes a guest with one: what was found stays true.
        for (org, guests) in by_organization(found) {
            let mut tx = self.db.tenant(org).await?;
            let held = sqlx::query_scalar(
                "SELECT id FROM users WHERE organization_id = $1 AND id = ANY ($2) FOR UPDATE SKIP LOCKED",
            );
            let held: Vec<Uuid> = held.bind(org).bind(&guests).fetch_all(&mut *tx).await?;
            let wiped = wipe(&mut tx, org, &held, now).await?;
            if wiped.people > 0 {
                let entry = Entry::organization("guests.erased", org);
                log(&mut tx, org, now, entry.count("guests", wiped.people).count("sessions", wiped.sessions)).await?;
            }
            tx.commit().await?;
            erased += wiped.people;
        }
        Ok(erased)
    }

    async fn forget_ended(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        // What somebody else holds right now is forgotten the next time.
        let sessions = [
            "SELECT organization_id, hash FROM refresh_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2",
            "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens \
             WHERE organization_id = $1 AND hash = ANY ($2) FOR UPDATE SKIP LOCKED)",
        ];
        let resets = [
            "SELECT organization_id, hash FROM reset_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2",
            "DELETE FROM reset_tokens WHERE hash IN (SELECT hash FROM reset_tokens \
             WHERE organization_id = $1 AND hash = ANY ($2) FOR UPDATE SKIP LOCKED)",
        ];
        let mut forgotten = self.forget_tokens(sessions, now, limit).await?;
        forgotten += self.forget_tokens(resets, forgotten_before(now), limit).await?;
        let mut tx = self.db.shared().await?;
        let failures = sqlx::query(
            "DELETE FROM sign_in_failures WHERE name_blind IN (SELECT name_blind FROM sign_in_failures \
             WHERE last_at <= $1 ORDER BY last_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        );
        let failures = failures.bind(Time(forgotten_before(now))).bind(i64::from(limit)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(forgotten + failures.rows_affected())
    }

    async fn rewrap_keys(&self, limit: u32) -> Result<u64, StoreError> {
        let mut done = self.rewrap_values().await?;
        let mut tx = self.db.worker().await?;
        // Not `<>`, which no index serves.
        let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT organization_id, person_id FROM person_keys WHERE master < $1 OR master > $1 LIMIT $2",
        )
        .bind(self.seals.newest())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        for (org, people) in by_organization(found) {
            done += self.rewrap_people(org, &people).await?;
        }
        Ok(done)
    }
}
