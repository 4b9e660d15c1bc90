//! Organizations and users.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use switchboard_runtime::{caller::role_name, sqlite::is_unique_violation};
use uuid::Uuid;

use super::{
    SqliteStore, Tx, USER_BY_ID, activity, hash, id, log, number, overwrite, some_time, time, user_row, users,
};
use crate::{
    activity::{Activity, Entry, GENESIS, checked},
    model::{Organization, Tier, User},
    store::{Erased, Export, KeptReset, KeptSession, Made, NewUser, People, StoreError, wrong},
};

const USER_BY_EXTERNAL_ID: &str = users!("WHERE u.organization_id = ? AND u.external_id_blind = ?");
const USER_BY_EMAIL: &str = users!("WHERE u.organization_id = ? AND u.email_blind = ?");
const USER_BY_REQUEST: &str = users!("WHERE u.organization_id = ? AND u.request_id = ?");

/// What of a person is gone; none if there was nothing.
pub(super) async fn wipe(tx: &mut Tx, org: &str, person: &str, now: Timestamp) -> Result<Option<Erased>, StoreError> {
    let wiped = sqlx::query(
        "UPDATE users SET external_id = NULL, external_id_blind = NULL, email = NULL, email_blind = NULL, full_name = NULL, \
         erased_at = ?3, updated_at = ?3 WHERE organization_id = ?1 AND id = ?2 AND erased_at IS NULL",
    );
    let wiped = wiped.bind(org).bind(person).bind(now.as_microsecond()).execute(&mut **tx).await?;
    if wiped.rows_affected() == 0 {
        return Ok(None);
    }
    let mut delete = async |sql: &'static str| -> Result<u64, StoreError> {
        Ok(sqlx::query(sql).bind(org).bind(person).execute(&mut **tx).await?.rows_affected())
    };
    delete("DELETE FROM person_keys WHERE organization_id = ? AND person_id = ?").await?;
    Ok(Some(Erased {
        at: now,
        new: true,
        credentials: delete("DELETE FROM credentials WHERE organization_id = ? AND user_id = ?").await?,
        sessions: delete("DELETE FROM refresh_tokens WHERE organization_id = ? AND user_id = ?").await?,
        resets: delete("DELETE FROM reset_tokens WHERE organization_id = ? AND user_id = ?").await?,
    }))
}

fn organization(row: &SqliteRow) -> Result<Organization, StoreError> {
    let tier: String = row.try_get("subscription_tier")?;
    Ok(Organization {
        id: id(row, "id")?,
        name: row.try_get("name")?,
        tier: Tier::of(&tier).ok_or_else(|| wrong("subscription_tier"))?,
        salesforce_org_id: row.try_get::<Option<String>, _>("salesforce_org_id")?.unwrap_or_default(),
        settings: row.try_get::<sqlx::types::Json<_>, _>("settings")?.0,
        guests_allowed: row.try_get("guests_allowed")?,
        created: time(row, "created_at")?,
    })
}

impl SqliteStore {
    async fn find<K>(&self, sql: &'static str, org: Uuid, key: K) -> Result<Option<User>, StoreError>
    where
        K: for<'q> sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Send,
    {
        let row = sqlx::query(sql).bind(org.to_string()).bind(key).fetch_optional(self.db.read()).await?;
        let row = row.as_ref().map(user_row).transpose()?;
        Ok(row.map(|row| self.seals.user(row)).transpose()?.map(|(user, _)| user))
    }
}

async fn there<K>(tx: &mut Tx, sql: &'static str, org: Uuid, key: K) -> Result<Option<SqliteRow>, StoreError>
where
    K: for<'q> sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Send,
{
    Ok(sqlx::query(sql).bind(org.to_string()).bind(key).fetch_optional(&mut **tx).await?)
}

#[async_trait]
impl People for SqliteStore {
    async fn add_organization(&self, o: &Organization) -> Result<(), StoreError> {
        let mut tx = self.db.write().await?;
        let made = sqlx::query(
            "INSERT INTO organizations \
                 (id, name, subscription_tier, salesforce_org_id, settings, guests_allowed, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (id) DO NOTHING",
        )
        .bind(o.id.to_string())
        .bind(&o.name)
        .bind(o.tier.name())
        .bind(Some(&o.salesforce_org_id).filter(|id| !id.is_empty()))
        .bind(sqlx::types::Json(&o.settings))
        .bind(o.guests_allowed)
        .bind(o.created.as_microsecond())
        .execute(&mut *tx)
        .await;
        let taken = |e| if is_unique_violation(&e) { StoreError::Taken("salesforce_org_id") } else { e.into() };
        if made.map_err(taken)?.rows_affected() > 0 {
            let head = sqlx::query("INSERT INTO activity_heads (organization_id, seq, hash) VALUES (?, 0, ?)");
            head.bind(o.id.to_string()).bind(&GENESIS[..]).execute(&mut *tx).await?;
            log(&mut tx, o.id, o.created, Entry::organization("organization.created", o.id)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn organization(&self, org: Uuid) -> Result<Option<Organization>, StoreError> {
        let row = sqlx::query("SELECT * FROM organizations WHERE id = ?").bind(org.to_string());
        row.fetch_optional(self.db.read()).await?.as_ref().map(organization).transpose()
    }

    async fn add_user(&self, new: &NewUser) -> Result<Made, StoreError> {
        let u = &new.user;
        let (key, wrapped) = self.seals.new_person(u.org, u.id);
        let sealed = key.seal_user(u, self.index().await?);
        let mut tx = self.db.write().await?;
        if let Some(request) = new.request_id
            && let Some(row) = there(&mut tx, USER_BY_REQUEST, u.org, request.to_string()).await?
        {
            return Ok(Made { user: self.seals.user(user_row(&row)?)?.0, new: false });
        }
        // Asked before the write, because SQLite's refusal names columns only in words; nobody writes in between.
        if let Some(blind) = &sealed.external_id_blind
            && there(&mut tx, USER_BY_EXTERNAL_ID, u.org, blind.clone()).await?.is_some()
        {
            return Err(StoreError::Taken("external_id"));
        }
        if let Some(blind) = &sealed.email_blind
            && there(&mut tx, USER_BY_EMAIL, u.org, blind.clone()).await?.is_some()
        {
            return Err(StoreError::Taken("email"));
        }
        let (org, id) = (u.org.to_string(), u.id.to_string());
        let made = sqlx::query(
            "INSERT INTO users (id, organization_id, request_id, external_id, external_id_blind, email, email_blind, \
                 full_name, role, subscription_tier, guest, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)",
        )
        .bind(&id)
        .bind(&org)
        .bind(new.request_id.map(|r| r.to_string()))
        .bind(sealed.external_id)
        .bind(sealed.external_id_blind)
        .bind(sealed.email)
        .bind(sealed.email_blind)
        .bind(sealed.full_name)
        .bind(role_name(u.role))
        .bind(u.tier.name())
        .bind(u.guest)
        .bind(u.created.as_microsecond())
        .execute(&mut *tx)
        .await;
        made.map_err(|e| if is_unique_violation(&e) { StoreError::Taken("user_id") } else { e.into() })?;
        sqlx::query(
            "INSERT INTO person_keys (organization_id, person_id, master, wrapped_key, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&org)
        .bind(&id)
        .bind(self.seals.newest())
        .bind(&wrapped)
        .bind(u.created.as_microsecond())
        .execute(&mut *tx)
        .await?;
        if let Some(hash) = &new.password_hash {
            super::sessions::put_password(&mut tx, [&org, &id], &key, hash, u.created).await?;
        }
        // Guests make themselves, by the thousand; nobody did anything to anybody.
        if !u.guest {
            log(&mut tx, u.org, u.created, Entry::user("user.created", u.id, new.by)).await?;
        }
        tx.commit().await?;
        Ok(Made { user: u.clone(), new: true })
    }

    async fn user(&self, org: Uuid, user: Uuid) -> Result<Option<User>, StoreError> {
        self.find(USER_BY_ID, org, user.to_string()).await
    }

    async fn user_by_external_id(&self, org: Uuid, external_id: &str) -> Result<Option<User>, StoreError> {
        let blind = self.index().await?.external_id(external_id);
        self.find(USER_BY_EXTERNAL_ID, org, blind).await
    }

    async fn user_by_email(&self, org: Uuid, email: &str) -> Result<Option<User>, StoreError> {
        let blind = self.index().await?.email(email);
        self.find(USER_BY_EMAIL, org, blind).await
    }

    async fn export_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Export>, StoreError> {
        let mut tx = self.db.write().await?;
        let (in_org, whose) = (org.to_string(), user.to_string());
        let row = there(&mut tx, USER_BY_ID, org, whose.clone()).await?;
        let Some(row) = row else { return Ok(None) };
        let (found, _) = self.seals.user(user_row(&row)?)?;
        let mut rows = async |sql: &'static str| -> Result<Vec<SqliteRow>, StoreError> {
            Ok(sqlx::query(sql).bind(&in_org).bind(&whose).fetch_all(&mut *tx).await?)
        };
        let password = rows("SELECT updated_at FROM credentials WHERE organization_id = ? AND user_id = ?").await?;
        let sessions = rows(
            "SELECT family, created_at, expires_at, used_at, revoked_at FROM refresh_tokens \
             WHERE organization_id = ? AND user_id = ? ORDER BY created_at, hash",
        )
        .await?;
        let resets = rows(
            "SELECT request_id, expires_at, used_at FROM reset_tokens \
             WHERE organization_id = ? AND user_id = ? ORDER BY expires_at, hash",
        )
        .await?;
        let log_of = rows(
            "SELECT * FROM activity_log WHERE organization_id = ?1 AND (user_id = ?2 OR resource_id = ?2) ORDER BY seq",
        )
        .await?;
        log(&mut tx, org, now, Entry::user("user.exported", user, by)).await?;
        tx.commit().await?;
        let session = |row: &SqliteRow| -> Result<_, StoreError> {
            Ok(KeptSession {
                family: id(row, "family")?,
                created: time(row, "created_at")?,
                expires: time(row, "expires_at")?,
                used: some_time(row, "used_at")?,
                revoked: some_time(row, "revoked_at")?,
            })
        };
        let reset = |row: &SqliteRow| -> Result<_, StoreError> {
            Ok(KeptReset {
                request_id: id(row, "request_id")?,
                expires: time(row, "expires_at")?,
                used: some_time(row, "used_at")?,
            })
        };
        Ok(Some(Export {
            user: found,
            password_set: password.first().map(|row| time(row, "updated_at")).transpose()?,
            sessions: sessions.iter().map(session).collect::<Result<_, _>>()?,
            resets: resets.iter().map(reset).collect::<Result<_, _>>()?,
            activity: log_of.iter().map(activity).collect::<Result<_, _>>()?,
        }))
    }

    async fn erase_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Erased>, StoreError> {
        let mut tx = self.db.write().await?;
        overwrite(&mut tx).await?;
        let Some(erased) = wipe(&mut tx, &org.to_string(), &user.to_string(), now).await? else {
            let row = there(&mut tx, USER_BY_ID, org, user.to_string()).await?;
            let at = row.map(|row| some_time(&row, "erased_at")).transpose()?.flatten();
            return Ok(at.map(|at| Erased { at, new: false, credentials: 0, sessions: 0, resets: 0 }));
        };
        let entry = Entry::user("user.erased", user, by).count("credentials", erased.credentials);
        let entry = entry.count("sessions", erased.sessions).count("resets", erased.resets);
        log(&mut tx, org, now, entry).await?;
        tx.commit().await?;
        self.scrub().await?;
        Ok(Some(erased))
    }

    async fn activity(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, StoreError> {
        let mut tx = self.db.read().begin().await?;
        let head = sqlx::query("SELECT seq, hash FROM activity_heads WHERE organization_id = ?").bind(org.to_string());
        let Some(head) = head.fetch_optional(&mut *tx).await? else { return Ok(Vec::new()) };
        // The row before the first one asked for is read only for its hash.
        let wanted = i64::from(limit) + i64::from(after > 0);
        let rows =
            sqlx::query("SELECT * FROM activity_log WHERE organization_id = ? AND seq >= ? ORDER BY seq LIMIT ?");
        let rows = rows.bind(org.to_string()).bind(after.cast_signed()).bind(wanted).fetch_all(&mut *tx).await?;
        let found: Vec<Activity> = rows.iter().map(activity).collect::<Result<_, _>>()?;
        let last = (number(&head, "seq")?, hash(&head, "hash")?);
        let to_the_end = (found.len() as i64) < wanted;
        Ok(checked(org, after, found, to_the_end.then_some(last))?)
    }
}
