//! Activations in PostgreSQL, for any number of replicas.
use async_trait::async_trait;
use sqlx::{Row as _, migrate::Migrator, postgres::PgRow, types::Json};
use switchboard_runtime::{
    Condition, Fault,
    postgres::{Postgres, Time, fault},
    sqlite::OpenError,
    stores::PostgresAt,
};
use uuid::Uuid;

use super::{
    Activation, Store,
    chain::{self, Head},
};
use crate::bundle::Files;

/// The migrations of the schema.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/rules/postgres");

/// Replicas that activate for one organization go one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('rules.activation ' || $1::text, 0))";
/// $1 organization.
pub const HEAD: &str =
    "SELECT position, version, hash FROM activation WHERE organization_id = $1 ORDER BY position DESC LIMIT 1";
/// $1 organization, $2 how many.
pub const HISTORY: &str = "SELECT position, version, name, activated_at, files, hash FROM activation \
     WHERE organization_id = $1 ORDER BY position DESC LIMIT $2";
const INSERT: &str = "INSERT INTO activation (organization_id, position, version, name, activated_at, files, hash) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Activations in the schema `rules`.
pub struct PostgresStore(Postgres);

impl PostgresStore {
    /// Opens the schema; does not wait for the server.
    pub fn open(at: &PostgresAt) -> Result<Self, OpenError> {
        Ok(PostgresStore(Postgres::open(at, "rules", &MIGRATOR)?))
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.0.condition()
    }

    async fn head(&self, org: Uuid) -> Result<Option<Head>, sqlx::Error> {
        let mut tx = self.0.tenant(org).await?;
        sqlx::query(HEAD).bind(org).fetch_optional(&mut *tx).await?.as_ref().map(head).transpose()
    }

    async fn insert(&self, org: Uuid, activation: &Activation) -> Result<bool, sqlx::Error> {
        let mut tx = self.0.tenant(org).await?;
        sqlx::query(LOCK).bind(org).execute(&mut *tx).await?;
        let head = sqlx::query(HEAD).bind(org).fetch_optional(&mut *tx).await?.as_ref().map(head).transpose()?;
        let Some((position, hash)) = chain::next(org, head, activation) else { return Ok(false) };
        sqlx::query(INSERT)
            .bind(org)
            .bind(position)
            .bind(&activation.version)
            .bind(&activation.name)
            .bind(Time(activation.activated_at))
            .bind(Json(&activation.files.0))
            .bind(hash)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn rows(&self, org: Uuid, limit: u32) -> Result<Vec<chain::Row>, sqlx::Error> {
        let mut tx = self.0.tenant(org).await?;
        let rows = sqlx::query(HISTORY).bind(org).bind(i64::from(limit) + 1).fetch_all(&mut *tx).await?;
        rows.iter().map(read).collect()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn activate(&self, org: Uuid, activation: &Activation) -> Result<bool, Fault> {
        self.insert(org, activation).await.map_err(fault)
    }

    async fn active_version(&self, org: Uuid) -> Result<Option<String>, Fault> {
        Ok(self.head(org).await.map_err(fault)?.map(|head| head.version))
    }

    async fn history(&self, org: Uuid, limit: u32) -> Result<Vec<Activation>, Fault> {
        chain::check(org, self.rows(org, limit).await.map_err(fault)?, limit)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

fn head(row: &PgRow) -> Result<Head, sqlx::Error> {
    Ok(Head { position: row.try_get("position")?, version: row.try_get("version")?, hash: row.try_get("hash")? })
}

fn read(row: &PgRow) -> Result<chain::Row, sqlx::Error> {
    let activation = Activation {
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        activated_at: row.try_get::<Time, _>("activated_at")?.0,
        files: Files(row.try_get::<Json<_>, _>("files")?.0),
    };
    Ok(chain::Row { position: row.try_get("position")?, hash: row.try_get("hash")?, activation })
}
