//! The production store: a schema of PostgreSQL. Row security holds each transaction to its organization.
use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, migrate::Migrator, postgres::PgRow};
use switchboard_runtime::{
    Condition,
    postgres::{Postgres, Time, Tx},
    sqlite::OpenError,
    stores::PostgresAt,
    vault::{DataKey, Vault},
};
use uuid::Uuid;

use super::{
    Begun, Hold, Person, Position, Settled, Store,
    hashes::{Hashes, Keys},
};
use crate::{
    error::Error,
    message::{Delivery, Kind, Status},
};

/// The migrations of the schema.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/notification/postgres");

/// Organizations that are gone through at once when keys are wrapped anew.
const ORGANIZATIONS: i64 = 100;

/// The schema `notification`.
#[derive(Clone)]
pub struct PostgresStore {
    server: Postgres,
    keys: Keys,
}

impl PostgresStore {
    /// Opens the pool; does not wait for the server.
    pub fn open(at: &PostgresAt, vault: Vault) -> Result<Self, OpenError> {
        Ok(PostgresStore { server: Postgres::open(at, "notification", &MIGRATOR)?, keys: Keys::new(vault) })
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.server.condition()
    }

    async fn tenant(&self, org: Uuid) -> Result<Tx, Error> {
        self.server.tenant(org).await.map_err(failed)
    }

    /// The key of an organization. With a time, one that has none gets its own.
    async fn key(&self, org: Uuid, new: Option<Timestamp>) -> Result<Option<DataKey>, Error> {
        if let Some(key) = self.keys.at_hand(org) {
            return Ok(Some(key));
        }
        let mut tx = self.tenant(org).await?;
        if let Some(now) = new {
            let put = sqlx::query(
                "INSERT INTO index_keys (organization_id, wrapped_key, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            );
            put.bind(org).bind(self.keys.make(org)).bind(Time(now)).execute(&mut *tx).await.map_err(failed)?;
        }
        let kept = sqlx::query_scalar("SELECT wrapped_key FROM index_keys WHERE organization_id = $1");
        let wrapped: Option<Vec<u8>> = kept.bind(org).fetch_optional(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        wrapped.map(|wrapped| self.keys.kept(org, &wrapped)).transpose()
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::Store(Box::new(error))
}

fn read<T>(row: &PgRow, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
    let text: String = row.try_get(name).map_err(failed)?;
    read(&text).ok_or_else(|| Error::Store(format!("column {name} holds what was never written").into()))
}

fn delivery(row: &PgRow) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: row.try_get("id").map_err(failed)?,
        org: row.try_get("organization_id").map_err(failed)?,
        key: row.try_get("idempotency_key").map_err(failed)?,
        kind: read(row, "kind", Kind::of)?,
        status: read(row, "status", Status::of)?,
        transport: row.try_get("transport").map_err(failed)?,
        created: row.try_get::<Time, _>("created_at").map_err(failed)?.0,
    })
}

fn deliveries(rows: &[PgRow]) -> Result<Vec<Delivery>, Error> {
    let mut all: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_, _>>()?;
    all.sort_by_key(|d| (d.created, d.id));
    Ok(all)
}

#[async_trait]
impl Store for PostgresStore {
    async fn begin(&self, new: &Delivery, person: &Person, hold: Hold) -> Result<Begun, Error> {
        let hashes = Hashes::of(self.key(new.org, Some(hold.now)).await?.as_ref(), person);
        let mut tx = self.tenant(new.org).await?;
        // Who comes second waits here for the first one's commit, and then looks at what it wrote.
        let held = sqlx::query(
            "INSERT INTO deliveries (organization_id, id, idempotency_key, kind, status, transport, recipient_index, person_index, \
                                     claimed_by, claimed_until, created_at) \
             VALUES ($1, $2, $3, $4, 'delivering', $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (organization_id, idempotency_key) DO UPDATE \
                 SET status = 'delivering', claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until \
                 WHERE deliveries.kind = excluded.kind \
                     AND (deliveries.status = 'failed' OR deliveries.status = 'delivering' AND deliveries.claimed_until <= $11) \
             RETURNING *",
        )
        .bind(new.org)
        .bind(new.id)
        .bind(&new.key)
        .bind(new.kind.name())
        .bind(&new.transport)
        .bind(hashes.emails.into_iter().next())
        .bind(hashes.user)
        .bind(hold.by)
        .bind(Time(hold.until))
        .bind(Time(new.created))
        .bind(Time(hold.now))
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let begun = match held {
            Some(row) => Begun { delivery: delivery(&row)?, held: true },
            None => {
                let kept = sqlx::query("SELECT * FROM deliveries WHERE organization_id = $1 AND idempotency_key = $2");
                let kept = kept.bind(new.org).bind(&new.key).fetch_optional(&mut *tx).await.map_err(failed)?;
                // Erased between the two statements: to the caller the same as if somebody still had it in hand.
                let kept = kept.as_ref().map(delivery).transpose()?;
                Begun { delivery: kept.unwrap_or_else(|| new.clone()), held: false }
            }
        };
        tx.commit().await.map_err(failed)?;
        Ok(begun)
    }

    async fn settle(&self, org: Uuid, id: Uuid, by: Uuid, status: Status, transport: &str) -> Result<Settled, Error> {
        let mut tx = self.tenant(org).await?;
        let noted = sqlx::query(
            "UPDATE deliveries SET status = $4, transport = $5, claimed_by = NULL, claimed_until = NULL \
             WHERE organization_id = $1 AND id = $2 AND claimed_by = $3",
        );
        let noted = noted.bind(org).bind(id).bind(by).bind(status.name()).bind(transport);
        if noted.execute(&mut *tx).await.map_err(failed)?.rows_affected() == 1 {
            tx.commit().await.map_err(failed)?;
            return Ok(Settled::Noted);
        }
        let left = sqlx::query("SELECT 1 FROM deliveries WHERE organization_id = $1 AND id = $2").bind(org).bind(id);
        let left = left.fetch_optional(&mut *tx).await.map_err(failed)?;
        Ok(if left.is_some() { Settled::Lost } else { Settled::Erased })
    }

    async fn unsettled(&self, hold: Hold, limit: u32) -> Result<Vec<Delivery>, Error> {
        let mut worker = self.server.worker().await.map_err(failed)?;
        let open = sqlx::query_as::<_, (Uuid, Uuid)>(
            "SELECT organization_id, id FROM deliveries WHERE status = 'delivering' AND claimed_until <= $1 \
             ORDER BY claimed_until LIMIT $2",
        );
        let open = open.bind(Time(hold.now)).bind(i64::from(limit)).fetch_all(&mut *worker).await.map_err(failed)?;
        worker.rollback().await.map_err(failed)?;
        let mut orgs: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for (org, id) in open {
            orgs.entry(org).or_default().push(id);
        }
        let mut held = Vec::new();
        for (org, ids) in orgs {
            let mut tx = self.tenant(org).await?;
            // Another replica may look at the same time: whoever locks a row first has it.
            let rows = sqlx::query(
                "UPDATE deliveries SET claimed_by = $3, claimed_until = $4 WHERE organization_id = $1 AND id IN (\
                     SELECT id FROM deliveries WHERE organization_id = $1 AND id = ANY($2) AND status = 'delivering' \
                     AND claimed_until <= $5 FOR UPDATE SKIP LOCKED) \
                 RETURNING *",
            );
            let rows = rows.bind(org).bind(ids).bind(hold.by).bind(Time(hold.until)).bind(Time(hold.now));
            let rows = rows.fetch_all(&mut *tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            held.extend(deliveries(&rows)?);
        }
        held.sort_by_key(|d| (d.created, d.id));
        Ok(held)
    }

    async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error> {
        let mut tx = self.tenant(org).await?;
        let (time, id) = after.unzip();
        let page = sqlx::query(
            "SELECT * FROM deliveries WHERE organization_id = $1 AND status <> 'delivering' \
             AND (created_at, id) < (coalesce($2, 'infinity'), coalesce($3, $4)) \
             ORDER BY created_at DESC, id DESC LIMIT $5",
        );
        let page = page.bind(org).bind(time.map(Time)).bind(id).bind(Uuid::max()).bind(i64::from(limit));
        page.fetch_all(&mut *tx).await.map_err(failed)?.iter().map(delivery).collect()
    }

    async fn of_person(&self, org: Uuid, person: &Person) -> Result<Vec<Delivery>, Error> {
        let hashes = Hashes::of(self.key(org, None).await?.as_ref(), person);
        let mut tx = self.tenant(org).await?;
        let found = sqlx::query(
            "SELECT * FROM deliveries WHERE organization_id = $1 AND (recipient_index = ANY($2) OR person_index = $3)",
        );
        let found = found.bind(org).bind(hashes.emails).bind(hashes.user);
        deliveries(&found.fetch_all(&mut *tx).await.map_err(failed)?)
    }

    async fn hold_person(
        &self,
        org: Uuid,
        person: &Person,
        hold: Hold,
        limit: u32,
    ) -> Result<(Vec<Delivery>, u32), Error> {
        let hashes = Hashes::of(self.key(org, None).await?.as_ref(), person);
        let mut tx = self.tenant(org).await?;
        // In a step of its own, which runs once: as a part of the update's condition it may run again, and lock more.
        let held = sqlx::query(
            "WITH free AS MATERIALIZED (\
                 SELECT id FROM deliveries WHERE organization_id = $1 AND (recipient_index = ANY($2) OR person_index = $3) \
                 AND (status <> 'delivering' OR claimed_until <= $6) ORDER BY created_at, id LIMIT $7 FOR UPDATE SKIP LOCKED) \
             UPDATE deliveries d SET status = 'delivering', claimed_by = $4, claimed_until = $5 FROM free \
             WHERE d.organization_id = $1 AND d.id = free.id RETURNING d.*",
        );
        let held = held.bind(org).bind(&hashes.emails).bind(&hashes.user);
        let held = held.bind(hold.by).bind(Time(hold.until)).bind(Time(hold.now)).bind(i64::from(limit));
        let held = held.fetch_all(&mut *tx).await.map_err(failed)?;
        let others = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM deliveries WHERE organization_id = $1 AND (recipient_index = ANY($2) OR person_index = $3) \
             AND claimed_by IS DISTINCT FROM $4",
        );
        let others = others.bind(org).bind(&hashes.emails).bind(&hashes.user).bind(hold.by);
        let others = others.fetch_one(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok((deliveries(&held)?, u32::try_from(others).unwrap_or(u32::MAX)))
    }

    async fn remove(&self, org: Uuid, by: Uuid) -> Result<u32, Error> {
        let mut tx = self.tenant(org).await?;
        let held = sqlx::query(
            "DELETE FROM deliveries WHERE organization_id = $1 AND status = 'delivering' AND claimed_by = $2",
        );
        let removed = held.bind(org).bind(by).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(u32::try_from(removed.rows_affected()).unwrap_or(u32::MAX))
    }

    async fn rewrap(&self) -> Result<u32, Error> {
        let (mut done, mut after) = (0, Uuid::nil());
        loop {
            let mut worker = self.server.worker().await.map_err(failed)?;
            let orgs = sqlx::query_scalar::<_, Uuid>(
                "SELECT organization_id FROM index_keys WHERE organization_id > $1 ORDER BY organization_id LIMIT $2",
            );
            let orgs = orgs.bind(after).bind(ORGANIZATIONS).fetch_all(&mut *worker).await.map_err(failed)?;
            worker.rollback().await.map_err(failed)?;
            for org in &orgs {
                let mut tx = self.tenant(*org).await?;
                let kept =
                    sqlx::query_scalar("SELECT wrapped_key FROM index_keys WHERE organization_id = $1 FOR UPDATE");
                let wrapped: Vec<u8> = kept.bind(org).fetch_one(&mut *tx).await.map_err(failed)?;
                if let Some(anew) = self.keys.anew(*org, &wrapped)? {
                    let put = sqlx::query("UPDATE index_keys SET wrapped_key = $2 WHERE organization_id = $1");
                    put.bind(org).bind(anew).execute(&mut *tx).await.map_err(failed)?;
                    tx.commit().await.map_err(failed)?;
                    done += 1;
                }
            }
            match orgs.last() {
                Some(last) => after = *last,
                None => return Ok(done),
            }
        }
    }

    async fn close(&self) {
        self.server.close().await;
    }
}
