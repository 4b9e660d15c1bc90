//! A conversation's first row, and its customer's key.
use sqlx::AssertSqlSafe;
use switchboard_runtime::postgres::{Time, Tx};
use uuid::Uuid;

use super::PostgresStore;
use crate::{
    error::Error,
    model::Conversation,
    store::{
        NewConversation,
        rows::{self, CONVERSATIONS, Cells as _},
        sealed::SealedRow,
    },
};

pub(super) async fn create(
    store: &PostgresStore,
    new: NewConversation,
) -> Result<Option<(Conversation, String)>, Error> {
    let c = &new.row;
    let mut tx = store.db.tenant(c.org).await?;
    let (key_id, wrapped) = key_of(store, &mut tx, c).await?;
    let seal = store.keys.seal(c.org, c.id, c.user, key_id, &wrapped)?;
    let sealed = SealedRow::of(c, &seal)?;
    let metadata = (!c.metadata.is_empty()).then(|| seal.json("conversations.metadata", c.id, &c.metadata));
    let inserted = sqlx::query(
        "INSERT INTO conversations (organization_id, id, user_id, key_id, channel, status, owner, language, metadata, context, \
         state, created_at, last_activity_at, previous_id, request_id, fingerprint) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT (organization_id, user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING",
    )
    .bind(c.org)
    .bind(c.id)
    .bind(c.user)
    .bind(key_id)
    .bind(&c.channel)
    .bind(c.status.name())
    .bind(c.owner.name())
    .bind(&c.language)
    .bind(metadata.transpose()?)
    .bind(sealed.context)
    .bind(sealed.state)
    .bind(Time(c.created_at))
    .bind(Time(c.last_activity_at))
    .bind(c.previous)
    .bind(&new.request_id)
    .bind(seal.some_text("conversations.fingerprint", c.id, &new.fingerprint))
    .execute(&mut *tx)
    .await?;
    let mut earlier = None;
    if inserted.rows_affected() == 0 {
        store.keys.forget(c.org, c.id);
        let sql = format!("{CONVERSATIONS} WHERE c.organization_id = $1 AND c.user_id = $2 AND c.request_id = $3");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(c.org)
            .bind(c.user)
            .bind(&new.request_id)
            .fetch_optional(&mut *tx)
            .await?;
        // It is there and was erased, and is about to go.
        let row = row.ok_or(Error::Contended)?;
        earlier = Some((rows::conversation(&row, &store.keys)?, rows::fingerprint(&row, &store.keys)?));
    }
    tx.commit().await?;
    Ok(earlier)
}

/// The customer's key, which stays until this transaction ends; a new one if they have none.
async fn key_of(store: &PostgresStore, tx: &mut Tx, c: &Conversation) -> Result<(Uuid, Vec<u8>), Error> {
    let found = sqlx::query(
        "SELECT key_id, wrapped_key FROM person_keys WHERE organization_id = $1 AND person_id = $2 FOR KEY SHARE",
    )
    .bind(c.org)
    .bind(c.user)
    .fetch_optional(&mut **tx)
    .await?;
    let row = match found {
        Some(row) => row,
        None => {
            let new = store.keys.make(c.org, c.user);
            // If another replica came first, its key.
            sqlx::query(
                "INSERT INTO person_keys (organization_id, person_id, key_id, wrapped_key, master_key, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (organization_id, person_id) \
                 DO UPDATE SET master_key = person_keys.master_key RETURNING key_id, wrapped_key",
            )
            .bind(c.org)
            .bind(c.user)
            .bind(new.key_id)
            .bind(new.wrapped)
            .bind(new.master)
            .bind(Time(c.created_at))
            .fetch_one(&mut **tx)
            .await?
        }
    };
    Ok((row.id("key_id")?, row.bytes("wrapped_key")?.unwrap_or_default().to_vec()))
}
