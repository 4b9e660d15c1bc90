//! The embedded store: one SQLite file.
//!
//! In: the data folder. Out: the port. Never: a statement without its organization, but for what comes without one. There is
//! one writer at a time: whatever a write transaction read stays true until it ends.
use std::path::Path;

use jiff::Timestamp;
use sqlx::{Row as _, Sqlite as Driver, Transaction, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    sqlite::{OpenError, Sqlite},
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

/// The migrations of the file.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/identity/sqlite");

type Tx = Transaction<'static, Driver>;

/// Users with their keys.
macro_rules! users {
    ($rest:literal) => {
        concat!(
            "SELECT u.*, k.wrapped_key FROM users u \
             LEFT JOIN person_keys k ON k.organization_id = u.organization_id AND k.person_id = u.id ",
            $rest
        )
    };
}
use users;

const USER_BY_ID: &str = users!("WHERE u.organization_id = ? AND u.id = ?");

/// Identity's tables in `FOLDER/identity.db`.
#[derive(Debug)]
pub struct SqliteStore {
    db: Sqlite,
    seals: Seals,
    index: OnceCell<Index>,
}

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub async fn open(folder: &Path, vault: &Vault) -> Result<Self, OpenError> {
        let db = Sqlite::open(folder, OWNER, &MIGRATIONS).await?;
        Ok(SqliteStore { db, seals: Seals::new(vault), index: OnceCell::new() })
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Finds what is sealed. The key is made by whoever is first. Asked for before a transaction begins: it may write.
    async fn index(&self) -> Result<&Index, StoreError> {
        let kept = async || self.seals.index(&self.keep_value(INDEX, &self.seals.bare_key(INDEX)).await?);
        self.index.get_or_try_init(kept).await
    }

    async fn keep_value(&self, name: &str, new: &KeptValue) -> Result<KeptValue, StoreError> {
        let mut tx = self.db.write().await?;
        sqlx::query("INSERT INTO keys (name, wrapped_key, value) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(&new.wrapped_key)
            .bind(&new.value)
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT wrapped_key, value FROM keys WHERE name = ?").bind(name);
        let row = row.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(KeptValue { wrapped_key: row.try_get("wrapped_key")?, value: row.try_get("value")? })
    }

    /// The user and the key. None if there is no such user any more.
    async fn alive(&self, tx: &mut Tx, org: &str, user: &str) -> Result<Option<(User, PersonKey)>, StoreError> {
        let row = sqlx::query(USER_BY_ID).bind(org).bind(user).fetch_optional(&mut **tx).await?;
        let Some(row) = row else { return Ok(None) };
        let (user, key) = self.seals.user(user_row(&row)?)?;
        Ok(key.map(|key| (user, key)))
    }

    /// Writes what was erased over in the file too: the log of writes still holds it as it was.
    async fn scrub(&self) -> Result<(), StoreError> {
        // If somebody reads an older state right now it stays in the log until the next time.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(self.db.read()).await?;
        Ok(())
    }
}

/// What is deleted in this transaction and after it is overwritten with zeros, instead of left in a free page.
async fn overwrite(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("PRAGMA secure_delete = on").execute(&mut **tx).await?;
    Ok(())
}

/// Adds to the log of an organization.
async fn log(tx: &mut Tx, org: Uuid, now: Timestamp, entry: Entry) -> Result<(), StoreError> {
    let head = sqlx::query("SELECT seq, hash FROM activity_heads WHERE organization_id = ?").bind(org.to_string());
    let head = head.fetch_one(&mut **tx).await?;
    let row = entry.after(number(&head, "seq")?, &hash(&head, "hash")?, org, now);
    let step = sqlx::query("UPDATE activity_heads SET seq = ?, hash = ? WHERE organization_id = ?");
    step.bind(row.seq.cast_signed()).bind(&row.hash[..]).bind(org.to_string()).execute(&mut **tx).await?;
    sqlx::query(
        "INSERT INTO activity_log \
             (organization_id, seq, timestamp, user_id, action, resource_type, resource_id, details, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.to_string())
    .bind(row.seq.cast_signed())
    .bind(row.at.as_microsecond())
    .bind(row.by.map(|by| by.to_string()))
    .bind(&row.action)
    .bind(&row.resource_type)
    .bind(row.resource_id.to_string())
    .bind(sqlx::types::Json(&row.details))
    .bind(&row.hash[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn user_row(row: &SqliteRow) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        id: id(row, "id")?,
        org: id(row, "organization_id")?,
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

fn activity(row: &SqliteRow) -> Result<Activity, StoreError> {
    let by: Option<String> = row.try_get("user_id")?;
    Ok(Activity {
        seq: number(row, "seq")?,
        at: time(row, "timestamp")?,
        by: by.map(|by| Uuid::try_parse(&by).map_err(|_| wrong("user_id"))).transpose()?,
        action: row.try_get("action")?,
        resource_type: row.try_get("resource_type")?,
        resource_id: id(row, "resource_id")?,
        details: row.try_get::<sqlx::types::Json<_>, _>("details")?.0,
        hash: hash(row, "hash")?,
    })
}

fn id(row: &SqliteRow, name: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(row.try_get(name)?).map_err(|_| wrong(name))
}

fn number(row: &SqliteRow, name: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(name)?).map_err(|_| wrong(name))
}

fn hash(row: &SqliteRow, name: &str) -> Result<Hash, StoreError> {
    Hash::try_from(row.try_get::<Vec<u8>, _>(name)?).map_err(|_| wrong(name))
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(row.try_get(name)?).map_err(|_| wrong(name))
}

fn some_time(row: &SqliteRow, name: &str) -> Result<Option<Timestamp>, StoreError> {
    let micros: Option<i64> = row.try_get(name)?;
    micros.map(|m| Timestamp::from_microsecond(m).map_err(|_| wrong(name))).transpose()
}
