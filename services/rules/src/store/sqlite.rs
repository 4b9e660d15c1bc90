//! The embedded store: `rules.db`.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    Fault,
    sqlite::{OpenError, Sqlite, fault},
};
use uuid::Uuid;

use super::{
    Activation, Store,
    chain::{self, Head},
};
use crate::bundle::Files;

/// The migrations of the file.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/rules/sqlite");

/// Activations in SQLite.
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens `FOLDER/rules.db`.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore(Sqlite::open(folder, "rules", &MIGRATOR).await?))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn activate(&self, org: Uuid, activation: &Activation) -> Result<bool, Fault> {
        let mut tx = self.0.write().await.map_err(fault)?;
        let head = sqlx::query(
            "SELECT position, version, hash FROM activation WHERE organization_id = ? ORDER BY position DESC LIMIT 1",
        )
        .bind(org.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(fault)?;
        let head = head.map(|row| {
            Ok(Head {
                position: row.try_get("position")?,
                version: row.try_get("version")?,
                hash: row.try_get("hash")?,
            })
        });
        let head = head.transpose().map_err(fault)?;
        let Some((position, hash)) = chain::next(org, head, activation) else { return Ok(false) };
        let files = serde_json::to_string(&activation.files.0).map_err(Fault::internal)?;
        sqlx::query(
            "INSERT INTO activation (organization_id, position, version, name, activated_at, files, hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(org.to_string())
        .bind(position)
        .bind(&activation.version)
        .bind(&activation.name)
        .bind(activation.activated_at.as_microsecond())
        .bind(files)
        .bind(hash)
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        tx.commit().await.map_err(fault)?;
        Ok(true)
    }

    async fn active_version(&self, org: Uuid) -> Result<Option<String>, Fault> {
        sqlx::query_scalar("SELECT version FROM activation WHERE organization_id = ? ORDER BY position DESC LIMIT 1")
            .bind(org.to_string())
            .fetch_optional(self.0.read())
            .await
            .map_err(fault)
    }

    async fn history(&self, org: Uuid, limit: u32) -> Result<Vec<Activation>, Fault> {
        let rows = sqlx::query(
            "SELECT position, version, name, activated_at, files, hash FROM activation WHERE organization_id = ? \
             ORDER BY position DESC LIMIT ?",
        )
        .bind(org.to_string())
        .bind(i64::from(limit) + 1)
        .fetch_all(self.0.read())
        .await
        .map_err(fault)?;
        chain::check(org, rows.iter().map(read).collect::<Result<_, Fault>>()?, limit)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

fn read(row: &SqliteRow) -> Result<chain::Row, Fault> {
    let activation = Activation {
        version: row.try_get("version").map_err(fault)?,
        name: row.try_get("name").map_err(fault)?,
        activated_at: Timestamp::from_microsecond(row.try_get("activated_at").map_err(fault)?)
            .map_err(Fault::internal)?,
        files: Files(serde_json::from_str(row.try_get("files").map_err(fault)?).map_err(Fault::internal)?),
    };
    Ok(chain::Row {
        position: row.try_get("position").map_err(fault)?,
        hash: row.try_get("hash").map_err(fault)?,
        activation,
    })
}
