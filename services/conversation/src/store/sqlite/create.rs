//! A conversation's first row, and its customer's key.
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use super::{SqliteStore, micros};
use crate::{
    error::Error,
    model::Conversation,
    store::{
        NewConversation,
        rows::{self, CONVERSATIONS, Cells as _},
        sealed::{Keys, SealedRow},
    },
};

pub(super) async fn create(store: &SqliteStore, new: NewConversation) -> Result<Option<(Conversation, String)>, Error> {
    let (org, id, user, request) = (new.row.org, new.row.id, new.row.user, new.request_id.clone());
    let data = (store.keys.clone(), new);
    if store.write(data, |tx, (keys, new)| Box::pin(insert(tx, keys, new))).await? {
        return Ok(None);
    }
    store.keys.forget(org, id);
    let sql = format!("{CONVERSATIONS} WHERE c.organization_id = ? AND c.user_id = ? AND c.request_id = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(org.to_string())
        .bind(user.to_string())
        .bind(request)
        .fetch_optional(store.db.read())
        .await?;
    // It is there and was erased, and is about to go.
    let row = row.ok_or(Error::Contended)?;
    Ok(Some((rows::conversation(&row, &store.keys)?, rows::fingerprint(&row, &store.keys)?)))
}

/// False if the request made one before.
async fn insert(tx: &mut SqliteConnection, keys: &Keys, new: &NewConversation) -> Result<bool, Error> {
    let c = &new.row;
    let (key_id, wrapped) = key_of(tx, keys, c).await?;
    let seal = keys.seal(c.org, c.id, c.user, key_id, &wrapped)?;
    let sealed = SealedRow::of(c, &seal)?;
    let metadata = (!c.metadata.is_empty()).then(|| seal.json("conversations.metadata", c.id, &c.metadata));
    let inserted = sqlx::query(
        "INSERT INTO conversations (id, organization_id, user_id, key_id, channel, status, owner, language, metadata, context, \
         state, created_at, last_activity_at, previous_id, request_id, fingerprint) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (organization_id, user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING",
    )
    .bind(c.id.to_string())
    .bind(c.org.to_string())
    .bind(c.user.to_string())
    .bind(key_id.to_string())
    .bind(&c.channel)
    .bind(c.status.name())
    .bind(c.owner.name())
    .bind(&c.language)
    .bind(metadata.transpose()?)
    .bind(sealed.context)
    .bind(sealed.state)
    .bind(micros(c.created_at))
    .bind(micros(c.last_activity_at))
    .bind(c.previous.map(|u| u.to_string()))
    .bind(&new.request_id)
    .bind(seal.some_text("conversations.fingerprint", c.id, &new.fingerprint))
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The customer's key; a new one if they have none.
async fn key_of(tx: &mut SqliteConnection, keys: &Keys, c: &Conversation) -> Result<(Uuid, Vec<u8>), Error> {
    let row = sqlx::query("SELECT key_id, wrapped_key FROM person_keys WHERE organization_id = ? AND person_id = ?")
        .bind(c.org.to_string())
        .bind(c.user.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(row) = row {
        return Ok((row.id("key_id")?, row.bytes("wrapped_key")?.unwrap_or_default().to_vec()));
    }
    let new = keys.make(c.org, c.user);
    sqlx::query(
        "INSERT INTO person_keys (organization_id, person_id, key_id, wrapped_key, master_key, created_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(c.org.to_string())
    .bind(c.user.to_string())
    .bind(new.key_id.to_string())
    .bind(&new.wrapped)
    .bind(new.master)
    .bind(micros(c.created_at))
    .execute(tx)
    .await?;
    Ok((new.key_id, new.wrapped))
}
