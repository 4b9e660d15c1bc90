//! The ledger in one SQLite file.
//!
//! In: the port's writes. Out: its rows. Never: a statement without the organization, other than the workers' scans.
use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{SqliteConnection, migrate::Migrator};
use switchboard_runtime::{
    sqlite::{OpenError, Sqlite},
    vault::Vault,
};
use uuid::Uuid;

use super::{
    Store,
    rows::{Cells as _, with_key},
    sealed::{Keys, Seal},
};
use crate::{
    error::Error,
    outcomes::{Outcomes, sqlite::SqliteOutcomes},
};

mod commit;
mod create;
mod desk;
mod effects;
mod people;
mod turns;
mod work;

/// Its schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/conversation/sqlite");

/// The ledger.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    db: Sqlite,
    keys: Keys,
}

impl SqliteStore {
    /// Opens the file. One process has it: turns and effects that an earlier process left running are free at once, and
    /// duties have no holder.
    pub async fn open(folder: &Path, vault: Vault) -> Result<Self, OpenError> {
        let db = Sqlite::open(folder, "conversation", &MIGRATIONS).await?;
        free(&db).await.map_err(|e| OpenError::Other {
            file: folder.join("conversation.db").display().to_string(),
            detail: e.to_string(),
        })?;
        Ok(SqliteStore { db, keys: Keys::new(vault) })
    }

    /// What seals a conversation; none if it is not there, or its key was destroyed.
    async fn seal(&self, org: Uuid, id: Uuid) -> Result<Option<Seal>, Error> {
        if let Some(seal) = self.keys.known(org, id) {
            return Ok(Some(seal));
        }
        let row = sqlx::query(concat!(
            "SELECT c.user_id, c.key_id, k.wrapped_key FROM conversations c",
            with_key!(),
            "WHERE c.id = ? AND c.organization_id = ?"
        ))
        .bind(id.to_string())
        .bind(org.to_string())
        .fetch_optional(self.db.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let wrapped = row.bytes("wrapped_key")?.unwrap_or_default();
        Ok(Some(self.keys.seal(org, id, row.id("user_id")?, row.id("key_id")?, wrapped)?))
    }

    /// Writes in a transaction that others may share; what `job` wrote is taken back if it fails.
    async fn write<D, T, E, J>(&self, data: D, job: J) -> Result<T, E>
    where
        D: Send + Sync + 'static,
        J: for<'a> Fn(&'a mut SqliteConnection, &'a D) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<sqlx::Error> + Send + 'static,
    {
        self.db.grouped(data, job).await
    }
}

async fn free(db: &Sqlite) -> Result<(), sqlx::Error> {
    let mut tx = db.write().await?;
    for sql in [
        "UPDATE conversations SET turn_token = NULL, turn_until = NULL WHERE turn_token IS NOT NULL",
        "UPDATE actions SET status = 'pending', next_attempt_at = 0 WHERE status = 'running'",
        "DELETE FROM duties",
    ] {
        sqlx::query(sql).execute(&mut *tx).await?;
    }
    tx.commit().await
}

#[async_trait]
impl Store for SqliteStore {
    fn outcomes(&self) -> Arc<dyn Outcomes> {
        Arc::new(SqliteOutcomes(self.db.clone()))
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

fn micros(t: Timestamp) -> i64 {
    t.as_microsecond()
}

/// A seq as a bound: beyond what a number of SQLite can be it is the largest one.
fn bound(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    Ok(serde_json::to_string(value)?)
}
