//! Organizations and users.
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, postgres::PgRow};
use switchboard_runtime::{
    caller::role_name,
    postgres::{Time, Tx, constraint},
};
use uuid::Uuid;

use super::{PostgresStore, activity, hash, log, number, some_time, time, user_row, users};
use crate::{
    activity::{Activity, Entry, GENESIS, checked},
    model::{Organization, Tier, User},
    store::{Erased, Export, KeptReset, KeptSession, Made, NewUser, People, StoreError, wrong},
};

/// What of people is gone.
pub(super) struct Wiped {
    pub(super) people: u64,
    pub(super) credentials: u64,
    pub(super) sessions: u64,
    pub(super) resets: u64,
}

/// Erases people of an organization who are not erased yet.
pub(super) async fn wipe(tx: &mut Tx, org: Uuid, people: &[Uuid], now: Timestamp) -> Result<Wiped, StoreError> {
    let wiped: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE users SET external_id = NULL, external_id_blind = NULL, email = NULL, email_blind = NULL, full_name = NULL, \
         erased_at = $3, updated_at = $3 WHERE organization_id = $1 AND id = ANY ($2) AND erased_at IS NULL RETURNING id",
    )
    .bind(org)
    .bind(people)
    .bind(Time(now))
    .fetch_all(&mut **tx)
    .await?;
    // A statement of its own: it sees what those wrote whom the one before waited for.
    let row = sqlx::query(
        "WITH c AS (DELETE FROM credentials WHERE organization_id = $1 AND user_id = ANY ($2) RETURNING 1), \
              s AS (DELETE FROM refresh_tokens WHERE organization_id = $1 AND user_id = ANY ($2) RETURNING 1), \
              r AS (DELETE FROM reset_tokens WHERE organization_id = $1 AND user_id = ANY ($2) RETURNING 1), \
              k AS (DELETE FROM person_keys WHERE organization_id = $1 AND person_id = ANY ($2)) \
         SELECT (SELECT count(*) FROM c) AS credentials, (SELECT count(*) FROM s) AS sessions, \
                (SELECT count(*) FROM r) AS resets",
    )
    .bind(org)
    .bind(&wiped)
    .fetch_one(&mut **tx)
    .await?;
    Ok(Wiped {
        people: wiped.len() as u64,
        credentials: number(&row, "credentials")?,
        sessions: number(&row, "sessions")?,
        resets: number(&row, "resets")?,
    })
}

fn organization(row: &PgRow) -> Result<Organization, StoreError> {
    let tier: String = row.try_get("subscription_tier")?;
    Ok(Organization {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        tier: Tier::of(&tier).ok_or_else(|| wrong("subscription_tier"))?,
        salesforce_org_id: row.try_get::<Option<String>, _>("salesforce_org_id")?.unwrap_or_default(),
        settings: row.try_get::<sqlx::types::Json<_>, _>("settings")?.0,
        guests_allowed: row.try_get("guests_allowed")?,
        created: time(row, "created_at")?,
    })
}

impl PostgresStore {
    async fn find(
        &self,
        org: Uuid,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Option<User>, StoreError> {
        let mut tx = self.db.tenant(org).await?;
        let row = query.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        let row = row.as_ref().map(user_row).transpose()?;
        Ok(row.map(|row| self.seals.user(row)).transpose()?.map(|(user, _)| user))
    }

    async fn insert(&self, new: &NewUser) -> Result<(), StoreError> {
        let u = &new.user;
        let (key, wrapped) = self.seals.new_person(u.org, u.id);
        let sealed = key.seal_user(u, self.index().await?);
        let mut tx = self.db.tenant(u.org).await?;
        let made = sqlx::query(
            "WITH person AS ( \
                 INSERT INTO users (id, organization_id, request_id, external_id, external_id_blind, email, email_blind, \
                     full_name, role, subscription_tier, guest, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) \
                 RETURNING organization_id, id, created_at) \
             INSERT INTO person_keys (organization_id, person_id, master, wrapped_key, created_at) \
             SELECT organization_id, id, $13, $14, created_at FROM person",
        )
        .bind(u.id)
        .bind(u.org)
        .bind(new.request_id)
        .bind(sealed.external_id)
        .bind(sealed.external_id_blind)
        .bind(sealed.email)
        .bind(sealed.email_blind)
        .bind(sealed.full_name)
        .bind(role_name(u.role))
        .bind(u.tier.name())
        .bind(u.guest)
        .bind(Time(u.created))
        .bind(self.seals.newest())
        .bind(&wrapped)
        .execute(&mut *tx)
        .await;
        made.map_err(|e| match constraint(&e) {
            Some("users_request_id_key") => StoreError::Taken("request_id"),
            Some("users_external_id_key") => StoreError::Taken("external_id"),
            Some("users_email_key") => StoreError::Taken("email"),
            Some("users_pkey") => StoreError::Taken("user_id"),
            _ => e.into(),
        })?;
        if let Some(hash) = &new.password_hash {
            sqlx::query(
                "INSERT INTO credentials (organization_id, user_id, password_hash, updated_at) VALUES ($1, $2, $3, $4)",
            )
            .bind(u.org)
            .bind(u.id)
            .bind(key.seal_password(hash))
            .bind(Time(u.created))
            .execute(&mut *tx)
            .await?;
        }
        // Guests make themselves, by the thousand; nobody did anything to anybody.
        if !u.guest {
            log(&mut tx, u.org, u.created, Entry::user("user.created", u.id, new.by)).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl People for PostgresStore {
    async fn add_organization(&self, o: &Organization) -> Result<(), StoreError> {
        self.make_room(o.created).await?;
        let mut tx = self.db.tenant(o.id).await?;
        let made = sqlx::query(
            "WITH o AS ( \
                 INSERT INTO organizations \
                     (id, name, subscription_tier, salesforce_org_id, settings, guests_allowed, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO NOTHING RETURNING id) \
             INSERT INTO activity_heads (organization_id, seq, hash) SELECT id, 0, $8 FROM o",
        )
        .bind(o.id)
        .bind(&o.name)
        .bind(o.tier.name())
        .bind(Some(&o.salesforce_org_id).filter(|id| !id.is_empty()))
        .bind(sqlx::types::Json(&o.settings))
        .bind(o.guests_allowed)
        .bind(Time(o.created))
        .bind(&GENESIS[..])
        .execute(&mut *tx)
        .await;
        let made = made.map_err(|e| match constraint(&e) {
            Some("organizations_salesforce_org_id_key") => StoreError::Taken("salesforce_org_id"),
            _ => e.into(),
        })?;
        if made.rows_affected() > 0 {
            log(&mut tx, o.id, o.created, Entry::organization("organization.created", o.id)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn organization(&self, org: Uuid) -> Result<Option<Organization>, StoreError> {
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query("SELECT * FROM organizations WHERE id = $1").bind(org);
        let row = row.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        row.as_ref().map(organization).transpose()
    }

    async fn add_user(&self, new: &NewUser) -> Result<Made, StoreError> {
        self.make_room(new.user.created).await?;
        let taken = match self.insert(new).await {
            Ok(()) => return Ok(Made { user: new.user.clone(), new: true }),
            Err(taken @ StoreError::Taken(_)) => taken,
            Err(error) => return Err(error),
        };
        // A retry meets its own names too, and perhaps those first.
        if let Some(request) = new.request_id {
            let first = sqlx::query(users!("WHERE u.organization_id = $1 AND u.request_id = $2"));
            if let Some(user) = self.find(new.user.org, first.bind(new.user.org).bind(request)).await? {
                return Ok(Made { user, new: false });
            }
        }
        Err(taken)
    }

    async fn user(&self, org: Uuid, user: Uuid) -> Result<Option<User>, StoreError> {
        let by_id = sqlx::query(users!("WHERE u.organization_id = $1 AND u.id = $2"));
        self.find(org, by_id.bind(org).bind(user)).await
    }

    async fn user_by_external_id(&self, org: Uuid, external_id: &str) -> Result<Option<User>, StoreError> {
        let blind = self.index().await?.external_id(external_id);
        let by_name = sqlx::query(users!("WHERE u.external_id_blind = $2 AND u.organization_id = $1"));
        self.find(org, by_name.bind(org).bind(blind)).await
    }

    async fn user_by_email(&self, org: Uuid, email: &str) -> Result<Option<User>, StoreError> {
        let blind = self.index().await?.email(email);
        let by_name = sqlx::query(users!("WHERE u.email_blind = $2 AND u.organization_id = $1"));
        self.find(org, by_name.bind(org).bind(blind)).await
    }

    async fn export_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Export>, StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.tenant(org).await?;
        let row = sqlx::query(users!("WHERE u.organization_id = $1 AND u.id = $2"));
        let Some(row) = row.bind(org).bind(user).fetch_optional(&mut *tx).await? else { return Ok(None) };
        let (found, _) = self.seals.user(user_row(&row)?)?;
        let password =
            sqlx::query_scalar("SELECT updated_at FROM credentials WHERE organization_id = $1 AND user_id = $2");
        let password: Option<Time> = password.bind(org).bind(user).fetch_optional(&mut *tx).await?;
        let sessions = sqlx::query(
            "SELECT family, created_at, expires_at, used_at, revoked_at FROM refresh_tokens \
             WHERE organization_id = $1 AND user_id = $2 ORDER BY created_at, hash",
        );
        let sessions = sessions.bind(org).bind(user).fetch_all(&mut *tx).await?;
        let resets = sqlx::query(
            "SELECT request_id, expires_at, used_at FROM reset_tokens \
             WHERE organization_id = $1 AND user_id = $2 ORDER BY expires_at, hash",
        );
        let resets = resets.bind(org).bind(user).fetch_all(&mut *tx).await?;
        let rows = sqlx::query(
            "SELECT * FROM activity_log WHERE organization_id = $1 AND (user_id = $2 OR resource_id = $2) ORDER BY seq",
        );
        let rows = rows.bind(org).bind(user).fetch_all(&mut *tx).await?;
        log(&mut tx, org, now, Entry::user("user.exported", user, by)).await?;
        tx.commit().await?;
        let session = |row: &PgRow| -> Result<_, StoreError> {
            Ok(KeptSession {
                family: row.try_get("family")?,
                created: time(row, "created_at")?,
                expires: time(row, "expires_at")?,
                used: some_time(row, "used_at")?,
                revoked: some_time(row, "revoked_at")?,
            })
        };
        let reset = |row: &PgRow| -> Result<_, StoreError> {
            Ok(KeptReset {
                request_id: row.try_get("request_id")?,
                expires: time(row, "expires_at")?,
                used: some_time(row, "used_at")?,
            })
        };
        Ok(Some(Export {
            user: found,
            password_set: password.map(|t| t.0),
            sessions: sessions.iter().map(session).collect::<Result<_, _>>()?,
            resets: resets.iter().map(reset).collect::<Result<_, _>>()?,
            activity: rows.iter().map(activity).collect::<Result<_, _>>()?,
        }))
    }

    async fn erase_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Erased>, StoreError> {
        self.make_room(now).await?;
        let mut tx = self.db.tenant(org).await?;
        let wiped = wipe(&mut tx, org, &[user], now).await?;
        if wiped.people == 0 {
            let at = sqlx::query("SELECT erased_at FROM users WHERE organization_id = $1 AND id = $2");
            let row = at.bind(org).bind(user).fetch_optional(&mut *tx).await?;
            let at = row.map(|row| some_time(&row, "erased_at")).transpose()?.flatten();
            return Ok(at.map(|at| Erased { at, new: false, credentials: 0, sessions: 0, resets: 0 }));
        }
        let Wiped { credentials, sessions, resets, .. } = wiped;
        let entry = Entry::user("user.erased", user, by);
        let entry = entry.count("credentials", credentials).count("sessions", sessions).count("resets", resets);
        log(&mut tx, org, now, entry).await?;
        tx.commit().await?;
        Ok(Some(Erased { at: now, new: true, credentials, sessions, resets }))
    }

    async fn activity(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, StoreError> {
        // In one statement, so that the end that is read is the end there is.
        let mut tx = self.db.tenant(org).await?;
        let rows = sqlx::query(
            "SELECT l.*, h.seq AS last_seq, h.hash AS last_hash \
             FROM activity_heads h LEFT JOIN activity_log l ON l.organization_id = h.organization_id AND l.seq >= $2 \
             WHERE h.organization_id = $1 ORDER BY l.seq LIMIT $3",
        );
        // The row before the first one asked for is read only for its hash.
        let wanted = i64::from(limit) + i64::from(after > 0);
        let rows = rows.bind(org).bind(after.cast_signed()).bind(wanted).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let last = (number(first, "last_seq")?, hash(first, "last_hash")?);
        // A log without a row at or after the one that was asked for joins to one row without a number.
        let found = rows.iter().filter(|row| !matches!(row.try_get::<Option<i64>, _>("seq"), Ok(None)));
        let found: Vec<Activity> = found.map(activity).collect::<Result<_, _>>()?;
        let to_the_end = (found.len() as i64) < wanted;
        Ok(checked(org, after, found, to_the_end.then_some(last))?)
    }
}
