//! History as a chain: each row's hash covers the row and the hash of the one before.
//!
//! In: an activation, or rows as they were read. Out: a row to write, or activations that were checked. Never: SQL.
use sha2::{Digest as _, Sha256};
use switchboard_runtime::Fault;
use uuid::Uuid;

use super::Activation;

/// A row.
pub(super) struct Row {
    pub(super) position: i64,
    pub(super) hash: Vec<u8>,
    pub(super) activation: Activation,
}

/// The newest row, without its files.
pub(super) struct Head {
    pub(super) position: i64,
    pub(super) version: String,
    pub(super) hash: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("activation {0} is gone or was changed after it was written")]
struct Forged(i64);

/// The place and hash of the next row. None if it would be the active version again.
pub(super) fn next(org: Uuid, head: Option<Head>, activation: &Activation) -> Option<(i64, Vec<u8>)> {
    if head.as_ref().is_some_and(|head| head.version == activation.version) {
        return None;
    }
    let (position, before) = head.map_or((1, vec![]), |head| (head.position + 1, head.hash));
    Some((position, hash(org, &before, position, activation)))
}

/// Checks rows, newest first, of which one more than asked for was read if there are as many.
pub(super) fn check(org: Uuid, mut rows: Vec<Row>, limit: u32) -> Result<Vec<Activation>, Fault> {
    let limit = limit as usize;
    for (index, row) in rows.iter().enumerate().take(limit) {
        let before = rows.get(index + 1);
        let expected = before.map_or(1, |before| before.position + 1);
        let hashed = hash(org, before.map_or(&[], |before| &before.hash), row.position, &row.activation);
        if row.position != expected || row.hash != hashed {
            return Err(Fault::internal(Forged(row.position)));
        }
    }
    rows.truncate(limit);
    Ok(rows.into_iter().map(|row| row.activation).collect())
}

fn hash(org: Uuid, before: &[u8], position: i64, activation: &Activation) -> Vec<u8> {
    let Activation { version, name, activated_at, files } = activation;
    // As JSON, in which no text of one field can be taken for another's.
    let row = serde_json::json!([org, position, version, name, activated_at.as_microsecond(), files.0]);
    Sha256::new().chain_update(before).chain_update(row.to_string()).finalize().to_vec()
}
