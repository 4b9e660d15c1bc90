//! The production store: one PostgreSQL schema.
//!
//! In: where PostgreSQL is. Out: the port. Never: a row of another organization: each transaction names its own. What comes
//! without one (a sign-in, a refresh token, a reset token) is found by the worker, which sees ids and keyed hashes of all
//! organizations and nothing else; then the owner's organization is named like any other.
//!
//! Whatever changes a person's sessions, password or resets holds the person's row first, and the head of the
//! organization's log last: so nothing is missed by something else at the same time, and nobody waits in a circle.
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use jiff::{Timestamp, tz::TimeZone};
use sqlx::{Row as _, migrate::Migrator, postgres::PgRow};
use switchboard_runtime::{
    Condition,
    postgres::{Postgres, Time, Tx},
    sqlite::OpenError,
    stores::PostgresAt,
    vault::Vault,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    OWNER, StoreError,
    sealed::{INDEX, Index, KeptValue, PersonKey, Seals, UserRow},
    wrong,
};
use crate::{
    activity::{Activity, Entry},
    model::User,
    token::Hash,
};

mod people;
mod sessions;
mod upkeep;

/// The migrations of the schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/identity/postgres");

/// Users with their keys.
macro_rules! users {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.organization_id, u.external_id, u.email, u.full_name, u.role, u.subscription_tier, u.guest, \
             u.created_at, u.erased_at, k.wrapped_key FROM users u \
             LEFT JOIN person_keys k ON k.organization_id = u.organization_id AND k.person_id = u.id ",
            $rest
        )
    };
}
use users;

/// Identity's tables in the schema `identity`.
#[derive(Debug)]
pub struct PostgresStore {
    db: Postgres,
    seals: Seals,
    index: OnceCell<Index>,
    /// Months whose partition of the log, and the one after, are there.
    months: Mutex<BTreeSet<(i16, i8)>>,
}

impl PostgresStore {
    /// Does not wait for the server.
    pub fn open(at: &PostgresAt, vault: &Vault) -> Result<Self, OpenError> {
        let db = Postgres::open(at, OWNER, &MIGRATIONS)?;
        Ok(PostgresStore { db, seals: Seals::new(vault), index: OnceCell::new(), months: Mutex::default() })
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.db.condition()
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Finds what is sealed. The key is made by whoever is first.
    async fn index(&self) -> Result<&Index, StoreError> {
        let kept = async || self.seals.index(&self.keep_value(INDEX, &self.seals.bare_key(INDEX)).await?);
        self.index.get_or_try_init(kept).await
    }

    async fn keep_value(&self, name: &str, new: &KeptValue) -> Result<KeptValue, StoreError> {
        let mut tx = self.db.shared().await?;
        sqlx::query("INSERT INTO keys (name, wrapped_key, value) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(&new.wrapped_key)
            .bind(&new.value)
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT wrapped_key, value FROM keys WHERE name = $1").bind(name);
        let row = row.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(KeptValue { wrapped_key: row.try_get("wrapped_key")?, value: row.try_get("value")? })
    }

    /// The user, held until the end of the transaction, with the key. None if there is no such user any more.
    async fn hold(&self, tx: &mut Tx, org: Uuid, user: Uuid) -> Result<Option<(User, PersonKey)>, StoreError> {
        let row = sqlx::query(users!("WHERE u.organization_id = $1 AND u.id = $2 FOR NO KEY UPDATE OF u"));
        let Some(row) = row.bind(org).bind(user).fetch_optional(&mut **tx).await? else { return Ok(None) };
        let (user, key) = self.seals.user(user_row(&row)?)?;
        Ok(key.map(|key| (user, key)))
    }

    /// Makes sure that the log has room for a time, and for the month after: nobody waits for a partition then.
    async fn make_room(&self, now: Timestamp) -> Result<(), StoreError> {
        let date = now.to_zoned(TimeZone::UTC).date();
        let month = (date.year(), date.month());
        if self.months.lock().unwrap_or_else(PoisonError::into_inner).contains(&month) {
            return Ok(());
        }
        let mut tx = self.db.shared().await?;
        sqlx::query("SELECT create_monthly_partition($1), create_monthly_partition($1 + INTERVAL '1 month')")
            .bind(Time(now))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.months.lock().unwrap_or_else(PoisonError::into_inner).insert(month);
        Ok(())
    }
}

/// Adds to the log of an organization. The last thing in a transaction: it holds the log.
async fn log(tx: &mut Tx, org: Uuid, now: Timestamp, entry: Entry) -> Result<(), StoreError> {
    let head = sqlx::query("SELECT seq, hash FROM activity_heads WHERE organization_id = $1 FOR UPDATE");
    let head = head.bind(org).fetch_one(&mut **tx).await?;
    let row = entry.after(number(&head, "seq")?, &hash(&head, "hash")?, org, now);
    sqlx::query(
        "WITH head AS (UPDATE activity_heads SET seq = $2, hash = $9 WHERE organization_id = $1) \
         INSERT INTO activity_log \
             (organization_id, seq, timestamp, user_id, action, resource_type, resource_id, details, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(org)
    .bind(row.seq.cast_signed())
    .bind(Time(row.at))
    .bind(row.by)
    .bind(&row.action)
    .bind(&row.resource_type)
    .bind(row.resource_id)
    .bind(sqlx::types::Json(&row.details))
    .bind(&row.hash[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn user_row(row: &PgRow) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        id: row.try_get("id")?,
        org: row.try_get("organization_id")?,
        external_id: row.try_get("external_id")?,
        email: row.try_get("email")?,
        full_name: row.try_get("full_name")?,
        role: row.try_get("role")?,
        tier: row.try_get("subscription_tier")?,
        guest: row.try_get("guest")?,
        created: time(row, "created_at")?,
        erased: some_time(row, "erased_at")?,
        wrapped_key: row.try_get("wrapped_key")?,
    })
}

fn activity(row: &PgRow) -> Result<Activity, StoreError> {
    Ok(Activity {
        seq: number(row, "seq")?,
        at: time(row, "timestamp")?,
        by: row.try_get("user_id")?,
        action: row.try_get("action")?,
        resource_type: row.try_get("resource_type")?,
        resource_id: row.try_get("resource_id")?,
        details: row.try_get::<sqlx::types::Json<_>, _>("details")?.0,
        hash: hash(row, "hash")?,
    })
}

fn number(row: &PgRow, name: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(name)?).map_err(|_| wrong(name))
}

fn hash(row: &PgRow, name: &str) -> Result<Hash, StoreError> {
    Hash::try_from(row.try_get::<Vec<u8>, _>(name)?).map_err(|_| wrong(name))
}

fn time(row: &PgRow, name: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get::<Time, _>(name).map(|time| time.0)
}

fn some_time(row: &PgRow, name: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    row.try_get::<Option<Time>, _>(name).map(|time| time.map(|t| t.0))
}
