//! The embedded store: one SQLite file.
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, Sqlite as Driver, Transaction, migrate::Migrator, sqlite::SqliteRow};
use switchboard_runtime::{
    caller::{role_name, role_of},
    sqlite::{OpenError, Sqlite, is_unique_violation},
};
use uuid::Uuid;

use super::{Candidate, Made, NewUser, Refresh, Reset, Store, StoreError, Trade, Traded};
use crate::{
    lockout::{FORGOTTEN_AFTER, Failures},
    model::{Organization, Tier, User},
    token::Hash,
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/identity/sqlite");

const USER_BY_ID: &str = "SELECT * FROM users WHERE org = ? AND id = ?";
const USER_BY_EXTERNAL_ID: &str = "SELECT * FROM users WHERE org = ? AND external_id = ?";
const USER_BY_EMAIL: &str = "SELECT * FROM users WHERE org = ? AND email = ?";
const USER_BY_REQUEST: &str = "SELECT * FROM users WHERE org = ? AND request_id = ?";
const SET_PASSWORD: &str = "INSERT INTO credentials (org, user, password_hash, updated_at) VALUES (?, ?, ?, ?) \
     ON CONFLICT (org, user) DO UPDATE SET password_hash = excluded.password_hash, updated_at = excluded.updated_at";
const ADD_REFRESH: &str =
    "INSERT INTO refresh_tokens (hash, family, org, user, guest, expires_at) VALUES (?, ?, ?, ?, ?, ?)";

/// Identity's tables in `FOLDER/identity.db`.
#[derive(Debug, Clone)]
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        let store = Sqlite::open(folder, "identity", &MIGRATIONS).await?;
        Ok(SqliteStore(store))
    }

    async fn find(&self, sql: &'static str, org: Uuid, key: &str) -> Result<Option<User>, StoreError> {
        let row =
            sqlx::query(sql).bind(org.to_string()).bind(key).fetch_optional(self.0.read()).await.map_err(failed)?;
        row.as_ref().map(user).transpose().map_err(failed)
    }
}

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Failed(Box::new(error))
}

fn wrong(name: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: name.to_owned(), source: "not a value that was ever written".into() }
}

fn text<T>(row: &SqliteRow, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(name)?;
    read(&text).ok_or_else(|| wrong(name))
}

fn id(row: &SqliteRow, name: &str) -> Result<Uuid, sqlx::Error> {
    text(row, name, |text| Uuid::try_parse(text).ok())
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(row.try_get(name)?).map_err(|_| wrong(name))
}

fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: id(row, "id")?,
        org: id(row, "org")?,
        external_id: row.try_get("external_id")?,
        email: row.try_get("email")?,
        full_name: row.try_get("full_name")?,
        role: text(row, "role", role_of)?,
        tier: text(row, "tier", Tier::of)?,
        created: time(row, "created_at")?,
    })
}

fn organization(row: &SqliteRow) -> Result<Organization, sqlx::Error> {
    Ok(Organization {
        id: id(row, "id")?,
        name: row.try_get("name")?,
        tier: text(row, "tier", Tier::of)?,
        salesforce_org_id: row.try_get("salesforce_org_id")?,
        settings: text(row, "settings", |text| serde_json::from_str(text).ok())?,
        guests_allowed: row.try_get("guests_allowed")?,
        created: time(row, "created_at")?,
    })
}

fn reset(row: &SqliteRow) -> Result<Reset, sqlx::Error> {
    Ok(Reset {
        hash: Hash::try_from(row.try_get::<Vec<u8>, _>("hash")?).map_err(|_| wrong("hash"))?,
        org: id(row, "org")?,
        user: id(row, "user")?,
        request_id: id(row, "request_id")?,
        expires: time(row, "expires_at")?,
    })
}

async fn find_in(
    tx: &mut Transaction<'static, Driver>,
    sql: &'static str,
    org: Uuid,
    key: &str,
) -> Result<Option<User>, StoreError> {
    let row = sqlx::query(sql).bind(org.to_string()).bind(key).fetch_optional(&mut **tx).await.map_err(failed)?;
    row.as_ref().map(user).transpose().map_err(failed)
}

#[async_trait]
impl Store for SqliteStore {
    async fn keep(&self, name: &str, value: &str, now: Timestamp) -> Result<String, StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        sqlx::query("INSERT INTO keys (name, value, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .bind(now.as_microsecond())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let row = sqlx::query("SELECT value FROM keys WHERE name = ?")
            .bind(name)
            .fetch_one(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        row.try_get("value").map_err(failed)
    }

    async fn replace(&self, name: &str, value: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO keys (name, value, created_at) VALUES (?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, created_at = excluded.created_at",
        )
        .bind(name)
        .bind(value)
        .bind(now.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn add_organization(&self, organization: &Organization) -> Result<(), StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO organizations (id, name, tier, salesforce_org_id, settings, guests_allowed, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(organization.id.to_string())
        .bind(&organization.name)
        .bind(organization.tier.name())
        .bind(&organization.salesforce_org_id)
        .bind(serde_json::to_string(&organization.settings).map_err(|e| StoreError::Failed(Box::new(e)))?)
        .bind(organization.guests_allowed)
        .bind(organization.created.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn organization(&self, org: Uuid) -> Result<Option<Organization>, StoreError> {
        let sql = "SELECT * FROM organizations WHERE id = ?";
        let row = sqlx::query(sql).bind(org.to_string()).fetch_optional(self.0.read()).await.map_err(failed)?;
        row.as_ref().map(organization).transpose().map_err(failed)
    }

    async fn add_user(&self, new: &NewUser) -> Result<Made, StoreError> {
        let u = &new.user;
        let mut tx = self.0.write().await.map_err(failed)?;
        if let Some(request) = new.request_id
            && let Some(user) = find_in(&mut tx, USER_BY_REQUEST, u.org, &request.to_string()).await?
        {
            return Ok(Made { user, new: false });
        }
        // Asked before the write, because SQLite's refusal names columns only in words; nobody writes in between.
        if let Some(external_id) = &u.external_id
            && find_in(&mut tx, USER_BY_EXTERNAL_ID, u.org, external_id).await?.is_some()
        {
            return Err(StoreError::Taken("external_id"));
        }
        if let Some(email) = &u.email
            && find_in(&mut tx, USER_BY_EMAIL, u.org, email).await?.is_some()
        {
            return Err(StoreError::Taken("email"));
        }
        sqlx::query(
            "INSERT INTO users (id, org, request_id, external_id, email, full_name, role, tier, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(u.id.to_string())
        .bind(u.org.to_string())
        .bind(new.request_id.map(|r| r.to_string()))
        .bind(&u.external_id)
        .bind(&u.email)
        .bind(&u.full_name)
        .bind(role_name(u.role))
        .bind(u.tier.name())
        .bind(u.created.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(|e| if is_unique_violation(&e) { StoreError::Taken("user_id") } else { failed(e) })?;
        if let Some(hash) = &new.password_hash {
            let set = sqlx::query(SET_PASSWORD).bind(u.org.to_string()).bind(u.id.to_string()).bind(hash);
            set.bind(u.created.as_microsecond()).execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(Made { user: u.clone(), new: true })
    }

    async fn user(&self, org: Uuid, user: Uuid) -> Result<Option<User>, StoreError> {
        self.find(USER_BY_ID, org, &user.to_string()).await
    }

    async fn user_by_external_id(&self, org: Uuid, external_id: &str) -> Result<Option<User>, StoreError> {
        self.find(USER_BY_EXTERNAL_ID, org, external_id).await
    }

    async fn user_by_email(&self, org: Uuid, email: &str) -> Result<Option<User>, StoreError> {
        self.find(USER_BY_EMAIL, org, email).await
    }

    async fn candidates(&self, email: &str, external_id: &str, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let rows = sqlx::query(
            "SELECT u.*, c.password_hash FROM users u JOIN credentials c ON c.org = u.org AND c.user = u.id \
             WHERE u.email = ? OR u.external_id = ? ORDER BY u.created_at, u.id LIMIT ?",
        )
        .bind(email)
        .bind(external_id)
        .bind(limit)
        .fetch_all(self.0.read())
        .await
        .map_err(failed)?;
        let read = |row| Ok(Candidate { user: user(row)?, password_hash: row.try_get("password_hash")? });
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }

    async fn set_password(&self, org: Uuid, user: Uuid, hash: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        let set = sqlx::query(SET_PASSWORD).bind(org.to_string()).bind(user.to_string()).bind(hash);
        set.bind(now.as_microsecond()).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn add_refresh(&self, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        let ended = sqlx::query("DELETE FROM refresh_tokens WHERE expires_at <= ?").bind(now.as_microsecond());
        ended.execute(&mut *tx).await.map_err(failed)?;
        sqlx::query(ADD_REFRESH)
            .bind(&refresh.hash[..])
            .bind(refresh.family.to_string())
            .bind(refresh.org.to_string())
            .bind(refresh.user.to_string())
            .bind(refresh.guest)
            .bind(refresh.expires.as_microsecond())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn trade_refresh(&self, trade: &Trade) -> Result<Traded, StoreError> {
        let now = trade.now.as_microsecond();
        let mut tx = self.0.write().await.map_err(failed)?;
        let row = sqlx::query(
            "SELECT u.*, r.family, r.guest, r.used_at FROM refresh_tokens r JOIN users u ON u.org = r.org AND u.id = r.user \
             WHERE r.hash = ? AND r.expires_at > ? AND r.revoked_at IS NULL AND (r.guest OR NOT ?)",
        )
        .bind(&trade.shown[..])
        .bind(now)
        .bind(trade.guests_only)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(Traded::Refused) };
        let owner = user(&row).map_err(failed)?;
        let (family, guest): (String, bool) =
            (row.try_get("family").map_err(failed)?, row.try_get("guest").map_err(failed)?);
        let used: Option<i64> = row.try_get("used_at").map_err(failed)?;
        let grace = if guest { trade.grace.as_micros() } else { 0 };
        if used.is_some_and(|used| i128::from(now) - i128::from(used) >= grace) {
            let revoke =
                sqlx::query("UPDATE refresh_tokens SET revoked_at = ? WHERE family = ? AND revoked_at IS NULL");
            revoke.bind(now).bind(&family).execute(&mut *tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            return Ok(Traded::Reused);
        }
        // The first use counts: a grace that every use renewed would never end.
        let mark = sqlx::query("UPDATE refresh_tokens SET used_at = coalesce(used_at, ?) WHERE hash = ?");
        mark.bind(now).bind(&trade.shown[..]).execute(&mut *tx).await.map_err(failed)?;
        sqlx::query(ADD_REFRESH)
            .bind(&trade.fresh[..])
            .bind(&family)
            .bind(owner.org.to_string())
            .bind(owner.id.to_string())
            .bind(guest)
            .bind(trade.expires.as_microsecond())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(Traded::Fresh(owner, guest))
    }

    async fn begin_reset(&self, new: &Reset, now: Timestamp) -> Result<Reset, StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        // Kept for a day after they end, so that late retries still get the same answer.
        let ended = now.saturating_sub(FORGOTTEN_AFTER).map_err(|e| StoreError::Failed(Box::new(e)))?;
        let forget = sqlx::query("DELETE FROM reset_tokens WHERE expires_at <= ?").bind(ended.as_microsecond());
        forget.execute(&mut *tx).await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO reset_tokens (hash, org, request_id, user, expires_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (org, request_id) DO NOTHING",
        )
        .bind(&new.hash[..])
        .bind(new.org.to_string())
        .bind(new.request_id.to_string())
        .bind(new.user.to_string())
        .bind(new.expires.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let first = sqlx::query("SELECT * FROM reset_tokens WHERE org = ? AND request_id = ?");
        let first = first.bind(new.org.to_string()).bind(new.request_id.to_string());
        let row = first.fetch_one(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        reset(&row).map_err(failed)
    }

    async fn open_reset(&self, hash: &Hash, now: Timestamp) -> Result<Option<Reset>, StoreError> {
        let open = sqlx::query("SELECT * FROM reset_tokens WHERE hash = ? AND used_at IS NULL AND expires_at > ?");
        let open = open.bind(&hash[..]).bind(now.as_microsecond());
        let row = open.fetch_optional(self.0.read()).await.map_err(failed)?;
        row.as_ref().map(reset).transpose().map_err(failed)
    }

    async fn finish_reset(&self, hash: &Hash, password_hash: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        let open = sqlx::query("SELECT * FROM reset_tokens WHERE hash = ? AND used_at IS NULL AND expires_at > ?");
        let open = open.bind(&hash[..]).bind(now.as_microsecond());
        let Some(row) = open.fetch_optional(&mut *tx).await.map_err(failed)? else { return Ok(false) };
        let reset = reset(&row).map_err(failed)?;
        let (org, user) = (reset.org.to_string(), reset.user.to_string());
        let set = sqlx::query(SET_PASSWORD).bind(&org).bind(&user).bind(password_hash);
        set.bind(now.as_microsecond()).execute(&mut *tx).await.map_err(failed)?;
        for sql in [
            "UPDATE reset_tokens SET used_at = ? WHERE org = ? AND user = ? AND used_at IS NULL",
            "UPDATE refresh_tokens SET revoked_at = ? WHERE org = ? AND user = ? AND revoked_at IS NULL",
        ] {
            sqlx::query(sql)
                .bind(now.as_microsecond())
                .bind(&org)
                .bind(&user)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(true)
    }

    async fn failures(&self, name: &Hash, now: Timestamp) -> Result<Option<Failures>, StoreError> {
        let oldest = now.saturating_sub(FORGOTTEN_AFTER).map_err(|e| StoreError::Failed(Box::new(e)))?;
        let row = sqlx::query("SELECT failures, last_at FROM sign_in_failures WHERE name_hash = ? AND last_at > ?")
            .bind(&name[..])
            .bind(oldest.as_microsecond())
            .fetch_optional(self.0.read())
            .await
            .map_err(failed)?;
        let read = |row: SqliteRow| Ok(Failures { count: row.try_get("failures")?, last: time(&row, "last_at")? });
        row.map(read).transpose().map_err(failed)
    }

    async fn add_failure(&self, name: &Hash, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now.saturating_sub(FORGOTTEN_AFTER).map_err(|e| StoreError::Failed(Box::new(e)))?;
        let mut tx = self.0.write().await.map_err(failed)?;
        let forget = sqlx::query("DELETE FROM sign_in_failures WHERE last_at <= ?").bind(oldest.as_microsecond());
        forget.execute(&mut *tx).await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO sign_in_failures (name_hash, failures, last_at) VALUES (?, 1, ?) \
             ON CONFLICT (name_hash) DO UPDATE SET failures = failures + 1, last_at = excluded.last_at",
        )
        .bind(&name[..])
        .bind(now.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn clear_failures(&self, name: &Hash) -> Result<(), StoreError> {
        let mut tx = self.0.write().await.map_err(failed)?;
        let clear = sqlx::query("DELETE FROM sign_in_failures WHERE name_hash = ?").bind(&name[..]);
        clear.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}
