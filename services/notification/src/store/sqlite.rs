//! The embedded store: one SQLite file.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::sqlite::{OpenError, Sqlite};
use uuid::Uuid;

use super::{Position, Store};
use crate::{
    error::Error,
    message::{Delivery, Kind, Status},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/notification/sqlite");

/// Notification's table in `FOLDER/notification.db`.
#[derive(Debug, Clone)]
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore(Sqlite::open(folder, "notification", &MIGRATIONS).await?))
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
        org: read(row, "org", |text| Uuid::try_parse(text).ok())?,
        key: row.try_get("key").map_err(failed)?,
        kind: read(row, "kind", Kind::of)?,
        status: read(row, "status", Status::of)?,
        transport: row.try_get("transport").map_err(failed)?,
        created: Timestamp::from_microsecond(created).map_err(|e| Error::Store(Box::new(e)))?,
    })
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin(&self, new: &Delivery) -> Result<Delivery, Error> {
        let mut tx = self.0.write().await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO deliveries (id, org, key, kind, status, transport, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (org, key) DO NOTHING",
        )
        .bind(new.id.to_string())
        .bind(new.org.to_string())
        .bind(&new.key)
        .bind(new.kind.name())
        .bind(new.status.name())
        .bind(&new.transport)
        .bind(new.created.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let kept =
            sqlx::query("SELECT * FROM deliveries WHERE org = ? AND key = ?").bind(new.org.to_string()).bind(&new.key);
        let row = kept.fetch_one(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        delivery(&row)
    }

    async fn settle(&self, org: Uuid, id: Uuid, status: Status, transport: &str) -> Result<(), Error> {
        let mut tx = self.0.write().await.map_err(failed)?;
        sqlx::query("UPDATE deliveries SET status = ?, transport = ? WHERE org = ? AND id = ?")
            .bind(status.name())
            .bind(transport)
            .bind(org.to_string())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn unsettled(&self) -> Result<Vec<Delivery>, Error> {
        let open = sqlx::query("SELECT * FROM deliveries WHERE status = 'delivering' ORDER BY created_at, id");
        open.fetch_all(self.0.read()).await.map_err(failed)?.iter().map(delivery).collect()
    }

    async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error> {
        let (time, id) = after.unwrap_or((Timestamp::MAX, Uuid::max()));
        let page = sqlx::query(
            "SELECT * FROM deliveries WHERE org = ? AND status <> 'delivering' AND (created_at, id) < (?, ?) \
             ORDER BY created_at DESC, id DESC LIMIT ?",
        );
        let page = page.bind(org.to_string()).bind(time.as_microsecond()).bind(id.to_string()).bind(limit);
        page.fetch_all(self.0.read()).await.map_err(failed)?.iter().map(delivery).collect()
    }
}
