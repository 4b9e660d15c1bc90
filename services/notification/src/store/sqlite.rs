//! The embedded store: one SQLite file.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, Sqlite as Database, Transaction, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    sqlite::{OpenError, Sqlite},
    vault::{DataKey, Vault},
};
use uuid::Uuid;

use super::{
    Begun, Hold, Person, Position, Settled, Store,
    hashes::{Hashes, Keys},
};
use crate::{
    error::Error,
    message::{Delivery, Kind, Status},
};

/// The migrations of the file.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/notification/sqlite");

/// Notification's tables in `FOLDER/notification.db`.
#[derive(Clone)]
pub struct SqliteStore {
    file: Sqlite,
    keys: Keys,
}

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub async fn open(folder: &Path, vault: Vault) -> Result<Self, OpenError> {
        Ok(SqliteStore { file: Sqlite::open(folder, "notification", &MIGRATOR).await?, keys: Keys::new(vault) })
    }

    async fn write(&self) -> Result<Transaction<'static, Database>, Error> {
        self.file.write().await.map_err(failed)
    }

    /// The key of an organization. With a time, one that has none gets its own.
    async fn key(&self, org: Uuid, new: Option<Timestamp>) -> Result<Option<DataKey>, Error> {
        if let Some(key) = self.keys.at_hand(org) {
            return Ok(Some(key));
        }
        let mut tx = self.write().await?;
        if let Some(now) = new {
            let put = sqlx::query(
                "INSERT INTO index_keys (organization_id, wrapped_key, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            );
            let put = put.bind(org.to_string()).bind(self.keys.make(org)).bind(now.as_microsecond());
            put.execute(&mut *tx).await.map_err(failed)?;
        }
        let kept = sqlx::query_scalar("SELECT wrapped_key FROM index_keys WHERE organization_id = ?");
        let wrapped: Option<Vec<u8>> = kept.bind(org.to_string()).fetch_optional(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        wrapped.map(|wrapped| self.keys.kept(org, &wrapped)).transpose()
    }

    /// The deliveries that any of the hashes finds, oldest first.
    async fn find(
        &self,
        org: Uuid,
        hashes: &Hashes,
        tx: &mut Transaction<'_, Database>,
    ) -> Result<Vec<Delivery>, Error> {
        let by_user = "SELECT * FROM deliveries WHERE organization_id = ? AND person_index = ?";
        let by_email = "SELECT * FROM deliveries WHERE organization_id = ? AND recipient_index = ?";
        let all =
            hashes.user.iter().map(|hash| (by_user, hash)).chain(hashes.emails.iter().map(|hash| (by_email, hash)));
        let mut found = Vec::new();
        for (sql, hash) in all {
            let rows = sqlx::query(sql).bind(org.to_string()).bind(hash).fetch_all(&mut **tx).await.map_err(failed)?;
            for row in &rows {
                found.push(delivery(row)?);
            }
        }
        found.sort_by_key(|d| (d.created, d.id));
        found.dedup_by_key(|d| d.id);
        Ok(found)
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::Store(Box::new(error))
}

fn read<T>(row: &SqliteRow, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
    let text: String = row.try_get(name).map_err(failed)?;
    read(&text).ok_or_else(|| Error::Store(format!("column {name} holds what was never written").into()))
}

fn delivery(row: &SqliteRow) -> Result<Delivery, Error> {
    let created = row.try_get("created_at").map_err(failed)?;
    Ok(Delivery {
        id: read(row, "id", |text| Uuid::try_parse(text).ok())?,
        org: read(row, "organization_id", |text| Uuid::try_parse(text).ok())?,
        key: row.try_get("idempotency_key").map_err(failed)?,
        kind: read(row, "kind", Kind::of)?,
        status: read(row, "status", Status::of)?,
        transport: row.try_get("transport").map_err(failed)?,
        created: Timestamp::from_microsecond(created).map_err(|e| Error::Store(Box::new(e)))?,
    })
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin(&self, new: &Delivery, person: &Person, hold: Hold) -> Result<Begun, Error> {
        let hashes = Hashes::of(self.key(new.org, Some(hold.now)).await?.as_ref(), person);
        let mut tx = self.write().await?;
        let held = sqlx::query(
            "INSERT INTO deliveries (organization_id, id, idempotency_key, kind, status, transport, recipient_index, person_index, \
                                     claimed_by, claimed_until, created_at) \
             VALUES ($1, $2, $3, $4, 'delivering', $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (organization_id, idempotency_key) DO UPDATE \
                 SET status = 'delivering', claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until \
                 WHERE deliveries.kind = excluded.kind \
                     AND (deliveries.status = 'failed' OR deliveries.status = 'delivering' AND deliveries.claimed_until <= $11) \
             RETURNING *",
        )
        .bind(new.org.to_string())
        .bind(new.id.to_string())
        .bind(&new.key)
        .bind(new.kind.name())
        .bind(&new.transport)
        .bind(hashes.emails.into_iter().next())
        .bind(hashes.user)
        .bind(hold.by.to_string())
        .bind(hold.until.as_microsecond())
        .bind(new.created.as_microsecond())
        .bind(hold.now.as_microsecond())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let begun = match held {
            Some(row) => Begun { delivery: delivery(&row)?, held: true },
            None => {
                let kept = sqlx::query("SELECT * FROM deliveries WHERE organization_id = ? AND idempotency_key = ?");
                let kept = kept.bind(new.org.to_string()).bind(&new.key).fetch_one(&mut *tx).await.map_err(failed)?;
                Begun { delivery: delivery(&kept)?, held: false }
            }
        };
        tx.commit().await.map_err(failed)?;
        Ok(begun)
    }

    async fn settle(&self, org: Uuid, id: Uuid, by: Uuid, status: Status, transport: &str) -> Result<Settled, Error> {
        let mut tx = self.write().await?;
        let noted = sqlx::query(
            "UPDATE deliveries SET status = ?, transport = ?, claimed_by = NULL, claimed_until = NULL \
             WHERE organization_id = ? AND id = ? AND claimed_by = ?",
        )
        .bind(status.name())
        .bind(transport)
        .bind(org.to_string())
        .bind(id.to_string())
        .bind(by.to_string())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let left = sqlx::query("SELECT 1 FROM deliveries WHERE organization_id = ? AND id = ?");
        let left = left.bind(org.to_string()).bind(id.to_string()).fetch_optional(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(match (noted.rows_affected(), left) {
            (1, _) => Settled::Noted,
            (_, Some(_)) => Settled::Lost,
            (_, None) => Settled::Erased,
        })
    }

    async fn unsettled(&self, hold: Hold, limit: u32) -> Result<Vec<Delivery>, Error> {
        let mut tx = self.write().await?;
        let open = sqlx::query(
            "UPDATE deliveries SET claimed_by = ?, claimed_until = ? WHERE (organization_id, id) IN (\
                 SELECT organization_id, id FROM deliveries WHERE status = 'delivering' AND claimed_until <= ? \
                 ORDER BY claimed_until LIMIT ?) \
             RETURNING *",
        )
        .bind(hold.by.to_string())
        .bind(hold.until.as_microsecond())
        .bind(hold.now.as_microsecond())
        .bind(limit)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        let mut open: Vec<Delivery> = open.iter().map(delivery).collect::<Result<_, _>>()?;
        open.sort_by_key(|d| (d.created, d.id));
        Ok(open)
    }

    async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error> {
        let (time, id) = after.unwrap_or((Timestamp::MAX, Uuid::max()));
        let page = sqlx::query(
            "SELECT * FROM deliveries WHERE organization_id = ? AND status <> 'delivering' AND (created_at, id) < (?, ?) \
             ORDER BY created_at DESC, id DESC LIMIT ?",
        );
        let page = page.bind(org.to_string()).bind(time.as_microsecond()).bind(id.to_string()).bind(limit);
        page.fetch_all(self.file.read()).await.map_err(failed)?.iter().map(delivery).collect()
    }

    async fn of_person(&self, org: Uuid, person: &Person) -> Result<Vec<Delivery>, Error> {
        let hashes = Hashes::of(self.key(org, None).await?.as_ref(), person);
        let mut tx = self.file.read().begin().await.map_err(failed)?;
        self.find(org, &hashes, &mut tx).await
    }

    async fn hold_person(
        &self,
        org: Uuid,
        person: &Person,
        hold: Hold,
        limit: u32,
    ) -> Result<(Vec<Delivery>, u32), Error> {
        let hashes = Hashes::of(self.key(org, None).await?.as_ref(), person);
        let mut tx = self.write().await?;
        let (mut held, mut others) = (Vec::new(), 0);
        for found in self.find(org, &hashes, &mut tx).await? {
            let free = sqlx::query(
                "UPDATE deliveries SET status = 'delivering', claimed_by = ?, claimed_until = ? \
                 WHERE organization_id = ? AND id = ? AND (status <> 'delivering' OR claimed_until <= ?)",
            );
            let free = free.bind(hold.by.to_string()).bind(hold.until.as_microsecond()).bind(org.to_string());
            let free = free.bind(found.id.to_string()).bind(hold.now.as_microsecond());
            if held.len() < limit as usize && free.execute(&mut *tx).await.map_err(failed)?.rows_affected() == 1 {
                held.push(Delivery { status: Status::Delivering, ..found });
            } else {
                others += 1;
            }
        }
        tx.commit().await.map_err(failed)?;
        Ok((held, others))
    }

    async fn remove(&self, org: Uuid, by: Uuid) -> Result<u32, Error> {
        let mut tx = self.write().await?;
        let held = sqlx::query(
            "DELETE FROM deliveries WHERE organization_id = ? AND status = 'delivering' AND claimed_by = ?",
        );
        let removed = held.bind(org.to_string()).bind(by.to_string()).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(u32::try_from(removed.rows_affected()).unwrap_or(u32::MAX))
    }

    async fn rewrap(&self) -> Result<u32, Error> {
        let mut done = 0;
        let orgs = sqlx::query_scalar::<_, String>("SELECT organization_id FROM index_keys");
        for text in orgs.fetch_all(self.file.read()).await.map_err(failed)? {
            let org = Uuid::try_parse(&text).map_err(|e| Error::Store(Box::new(e)))?;
            let mut tx = self.write().await?;
            let kept = sqlx::query_scalar("SELECT wrapped_key FROM index_keys WHERE organization_id = ?");
            let wrapped: Vec<u8> = kept.bind(&text).fetch_one(&mut *tx).await.map_err(failed)?;
            if let Some(anew) = self.keys.anew(org, &wrapped)? {
                let put = sqlx::query("UPDATE index_keys SET wrapped_key = ? WHERE organization_id = ?");
                put.bind(anew).bind(&text).execute(&mut *tx).await.map_err(failed)?;
                tx.commit().await.map_err(failed)?;
                done += 1;
            }
        }
        Ok(done)
    }

    async fn close(&self) {
        self.file.close().await;
    }
}
