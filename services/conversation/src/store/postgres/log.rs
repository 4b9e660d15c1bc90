//! The activity log: one partition a month, one chain per organization.
use jiff::Timestamp;
use sqlx::{postgres::PgRow, types::Json};
use switchboard_runtime::postgres::{Time, Tx};
use uuid::Uuid;

use super::{PostgresStore, bound};
use crate::{
    error::Error,
    store::{
        Activity, By, Entry,
        activity::{self, Hash, START},
        rows::{self, Cells as _},
    },
};

/// Adds a row, in the transaction of what it tells. Writers of one organization wait for each other at the chain's end.
pub(super) async fn add(tx: &mut Tx, org: Uuid, by: By, entry: Entry) -> Result<(), Error> {
    prepare(tx, by.now).await?;
    let head = sqlx::query(
        "INSERT INTO activity_heads (organization_id, seq, hash) VALUES ($1, $2, $3) ON CONFLICT (organization_id) \
         DO UPDATE SET seq = activity_heads.seq RETURNING seq, hash",
    )
    .bind(org)
    .bind(START.0 as i64)
    .bind(START.1.as_slice())
    .fetch_one(&mut **tx)
    .await?;
    let row = entry.after(link(&head)?, org, by);
    sqlx::query(
        "WITH head AS (UPDATE activity_heads SET seq = $2, hash = $9 WHERE organization_id = $1) \
         INSERT INTO activity_log (organization_id, seq, created_at, user_id, action, resource_type, resource_id, details, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(org)
    .bind(row.seq as i64)
    .bind(Time(row.at))
    .bind(row.actor)
    .bind(&row.action)
    .bind(&row.resource_type)
    .bind(row.resource)
    .bind(Json(&row.details))
    .bind(row.hash.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes the partitions of a month and the next, if they are not there.
pub(super) async fn prepare(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    sqlx::query("SELECT create_monthly_partition($1)").bind(Time(now)).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn rows(store: &PostgresStore, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, Error> {
    let mut tx = store.db.tenant(org).await?;
    // The end of the chain belongs to the rows.
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    let of = |sql: &'static str| sqlx::query(sql).bind(org);
    let head = of("SELECT seq, hash FROM activity_heads WHERE organization_id = $1").fetch_optional(&mut *tx).await?;
    let before = of("SELECT seq, hash FROM activity_log WHERE organization_id = $1 AND seq = $2")
        .bind(bound(after))
        .fetch_optional(&mut *tx)
        .await?;
    let rows = of("SELECT * FROM activity_log WHERE organization_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
        .bind(bound(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    let (head, before) = (head.as_ref().map(link).transpose()?, before.as_ref().map(link).transpose()?);
    let rows = rows.iter().map(rows::activity).collect::<Result<Vec<_>, _>>()?;
    activity::read(org, after, before, rows, limit, head)
}

fn link(row: &PgRow) -> Result<(u64, Hash), Error> {
    Ok((row.number("seq")?, rows::hash(row.bytes("hash")?)))
}
