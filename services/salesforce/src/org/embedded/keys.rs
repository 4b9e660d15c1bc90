//! Keys of an organization: one for each contact, one for cases without a contact, one for blind indexes.
//!
//! In: a transaction. Out: what seals and opens. Never: a person's key that outlives its transaction, so that no replica goes on
//! reading somebody whom another one erased. Keys come with the rows that they open.
use moka::sync::Cache;
use switchboard_runtime::vault::{DataKey, Vault, VaultError};
use uuid::Uuid;

use crate::{
    Error,
    store::{Row, Tx, Value},
};

/// Whose key the words of a case without a contact are under.
pub(super) const ORGANIZATION: &str = "organization";
/// The key of blind indexes.
pub(super) const INDEX: &str = "index";
/// Index keys that are kept at hand: 40 bytes each. They never change; only their wrapping does.
const AT_HAND: u64 = 100_000;
/// Keys that one transaction wraps anew.
const BATCH: i64 = 500;

pub(super) struct Keys {
    vault: Vault,
    indexes: Cache<Uuid, DataKey>,
}

fn about(org: Uuid, person: &str) -> String {
    format!("salesforce/{org}/{person}")
}

impl Keys {
    pub(super) fn new(vault: Vault) -> Self {
        Keys { vault, indexes: Cache::new(AT_HAND) }
    }

    /// The index key of an organization that this process has seen.
    pub(super) fn index(&self, org: Uuid) -> Option<DataKey> {
        self.indexes.get(&org)
    }

    pub(super) fn put_index(&self, org: Uuid, key: DataKey) {
        self.indexes.insert(org, key);
    }

    /// Makes a key.
    pub(super) async fn make(
        &self,
        tx: &mut dyn Tx,
        org: Uuid,
        person: &str,
        now: jiff::Timestamp,
    ) -> Result<DataKey, Error> {
        let (key, wrapped) = self.vault.new_key(&about(org, person));
        let sql =
            "INSERT INTO person_keys (organization_id, person_id, wrapped_key, created_at) VALUES ($1, $2, $3, $4)";
        let values = [Value::Id(org), Value::Text(person), Value::Bytes(Some(&wrapped)), Value::Time(Some(now))];
        tx.rows(sql, &values).await?;
        Ok(key)
    }

    /// A key that is there.
    pub(super) async fn find(&self, tx: &mut dyn Tx, org: Uuid, person: &str) -> Result<Option<DataKey>, Error> {
        let sql = "SELECT wrapped_key FROM person_keys WHERE organization_id = $1 AND person_id = $2";
        let rows = tx.rows(sql, &[Value::Id(org), Value::Text(person)]).await?;
        rows.first().map(|row| self.of(row, org, person)).transpose()
    }

    /// The key that came with a row, in its column `wrapped_key`.
    pub(super) fn of(&self, row: &Row, org: Uuid, person: &str) -> Result<DataKey, Error> {
        // Without a key the row is what a backup brought back of somebody who was erased: noise.
        let wrapped = row.bytes("wrapped_key")?.ok_or(VaultError::NotOpened)?;
        Ok(self.vault.unwrap(&wrapped, &about(org, person))?)
    }

    /// Wraps the next keys of an organization under the newest master, where they are not. Returns how many it did and the
    /// last key it looked at; none at the end.
    pub(super) async fn rewrap(&self, tx: &mut dyn Tx, org: Uuid, after: &str) -> Result<(u64, Option<String>), Error> {
        let sql = "SELECT person_id, wrapped_key FROM person_keys WHERE organization_id = $1 AND person_id > $2 \
                   ORDER BY person_id LIMIT $3";
        let rows = tx.rows(sql, &[Value::Id(org), Value::Text(after), Value::Number(BATCH)]).await?;
        let mut done = 0;
        for row in &rows {
            let person = row.text("person_id")?;
            if row.bytes("wrapped_key")?.is_some_and(|wrapped| self.vault.is_newest(&wrapped)) {
                continue;
            }
            let wrapped = self.vault.wrap(&self.of(row, org, &person)?, &about(org, &person));
            let sql = "UPDATE person_keys SET wrapped_key = $3 WHERE organization_id = $1 AND person_id = $2";
            tx.rows(sql, &[Value::Id(org), Value::Text(&person), Value::Bytes(Some(&wrapped))]).await?;
            done += 1;
        }
        Ok((done, rows.last().map(|row| row.text("person_id")).transpose()?))
    }
}

/// Seals and opens the columns of one row.
pub(super) struct Seal<'a> {
    pub(super) key: &'a DataKey,
    pub(super) org: Uuid,
    pub(super) table: &'static str,
    pub(super) id: &'a str,
}

impl Seal<'_> {
    fn place(&self, column: &str) -> String {
        format!("salesforce.{}.{column}/{}/{}", self.table, self.org, self.id)
    }

    /// What to keep of a text; nothing of an empty one.
    pub(super) fn seal(&self, column: &str, text: &str) -> Option<Vec<u8>> {
        (!text.is_empty()).then(|| self.key.seal(&self.place(column), text.as_bytes()))
    }

    /// The text of a row's column.
    pub(super) fn open(&self, row: &Row, column: &str) -> Result<String, Error> {
        let Some(sealed) = row.bytes(column)? else { return Ok(String::new()) };
        let opened = self.key.open(&self.place(column), &sealed)?;
        Ok(String::from_utf8(opened).map_err(|_| VaultError::NotOpened)?)
    }
}
