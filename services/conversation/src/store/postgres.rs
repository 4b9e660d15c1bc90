//! The ledger in a PostgreSQL schema, for any number of replicas.
//!
//! In: the port's writes. Out: its rows. Never: a statement outside a transaction of one organization, other than the workers'
//! scans, which see ids, times and states; never: a lease that is freed because this process began: another one may hold it.
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use switchboard_runtime::{
    Condition,
    postgres::{Postgres, Tx},
    sqlite::OpenError,
    stores::PostgresAt,
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
    outcomes::{Outcomes, postgres::PostgresOutcomes},
};

mod commit;
mod create;
mod desk;
mod effects;
mod log;
mod people;
mod turns;
mod work;

/// Its schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/conversation/postgres");

/// The ledger.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    db: Postgres,
    keys: Keys,
}

impl PostgresStore {
    /// Opens it without waiting for the server.
    pub fn open(at: &PostgresAt, vault: Vault) -> Result<Self, OpenError> {
        Ok(PostgresStore { db: Postgres::open(at, "conversation", &MIGRATIONS)?, keys: Keys::new(vault) })
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.db.condition()
    }

    /// What seals a conversation; none if it is not there, or its key was destroyed.
    async fn seal(&self, tx: &mut Tx, org: Uuid, id: Uuid) -> Result<Option<Seal>, Error> {
        if let Some(seal) = self.keys.known(org, id) {
            return Ok(Some(seal));
        }
        let row = sqlx::query(concat!(
            "SELECT c.user_id, c.key_id, k.wrapped_key FROM conversations c",
            with_key!(),
            "WHERE c.organization_id = $1 AND c.id = $2"
        ))
        .bind(org)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let wrapped = row.bytes("wrapped_key")?.unwrap_or_default();
        Ok(Some(self.keys.seal(org, id, row.id("user_id")?, row.id("key_id")?, wrapped)?))
    }

    /// The same outside a transaction: known nearly always.
    async fn seal_of(&self, org: Uuid, id: Uuid) -> Result<Option<Seal>, Error> {
        if let Some(seal) = self.keys.known(org, id) {
            return Ok(Some(seal));
        }
        let mut tx = self.db.tenant(org).await?;
        let seal = self.seal(&mut tx, org, id).await?;
        tx.commit().await?;
        Ok(seal)
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn outcomes(&self) -> Arc<dyn Outcomes> {
        Arc::new(PostgresOutcomes(self.db.clone()))
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

/// A seq as a bound: beyond what a number of PostgreSQL can be it is the largest one.
fn bound(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// One row more than a page has, as the end of a statement. It is no parameter: a plan that has to do for any limit reads and
/// sorts all there is.
fn limit(size: u32) -> String {
    format!(" LIMIT {}", u64::from(size) + 1)
}

/// Ids by organization, each organization once, in the order of their first id.
fn by_organization(pairs: impl IntoIterator<Item = (Uuid, Uuid)>) -> Vec<(Uuid, Vec<Uuid>)> {
    let mut groups: Vec<(Uuid, Vec<Uuid>)> = Vec::new();
    for (org, id) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == org) {
            Some((_, ids)) => ids.push(id),
            None => groups.push((org, vec![id])),
        }
    }
    groups
}
