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

use super::{Activation, Store};
use crate::bundle::Files;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/rules/sqlite");

/// Activations in SQLite.
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens `FOLDER/rules.db`.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(SqliteStore(Sqlite::open(folder, "rules", &MIGRATOR).await?))
    }
}

const NEWEST: &str = "SELECT version, name, activated_at, files FROM activation WHERE organization_id = ? ORDER BY position DESC LIMIT ?";

#[async_trait]
impl Store for SqliteStore {
    async fn activate(&self, org: Uuid, activation: &Activation) -> Result<bool, Fault> {
        let mut tx = self.0.write().await.map_err(fault)?;
        let active: Option<String> = sqlx::query_scalar(
            "SELECT version FROM activation WHERE organization_id = ? ORDER BY position DESC LIMIT 1",
        )
        .bind(org.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(fault)?;
        if active.as_deref() == Some(activation.version.as_str()) {
            return Ok(false);
        }
        let files = serde_json::to_string(&activation.files.0).map_err(Fault::internal)?;
        sqlx::query(
            "INSERT INTO activation (organization_id, version, name, activated_at, files) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(org.to_string())
        .bind(&activation.version)
        .bind(&activation.name)
        .bind(activation.activated_at.as_microsecond())
        .bind(files)
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        tx.commit().await.map_err(fault)?;
        Ok(true)
    }

    async fn active(&self, org: Uuid) -> Result<Option<Activation>, Fault> {
        Ok(self.history(org, 1).await?.pop())
    }

    async fn history(&self, org: Uuid, limit: u32) -> Result<Vec<Activation>, Fault> {
        let rows =
            sqlx::query(NEWEST).bind(org.to_string()).bind(limit).fetch_all(self.0.read()).await.map_err(fault)?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Activation, Fault> {
    Ok(Activation {
        version: row.try_get("version").map_err(fault)?,
        name: row.try_get("name").map_err(fault)?,
        activated_at: Timestamp::from_microsecond(row.try_get("activated_at").map_err(fault)?)
            .map_err(Fault::internal)?,
        files: Files(serde_json::from_str(row.try_get("files").map_err(fault)?).map_err(Fault::internal)?),
    })
}

#[cfg(test)]
mod tests {
    use super::MIGRATOR;

    #[tokio::test]
    async fn migrations_go_down_and_up_again() {
        let pool =
            sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("opens");
        MIGRATOR.run(&pool).await.expect("up");
        MIGRATOR.undo(&pool, 0).await.expect("down");
        MIGRATOR.run(&pool).await.expect("up again");
    }
}
