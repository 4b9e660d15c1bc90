//! Personal data in rows, the same for both adapters.
//!
//! In: what people wrote, and the wrapped key of the conversation's customer. Out: bytes to store, and back. Never: SQL.
use std::{fmt::Display, time::Duration};

use moka::sync::Cache;
use serde::{Serialize, de::DeserializeOwned};
use switchboard_runtime::vault::{DataKey, Vault};
use uuid::Uuid;

use crate::{
    error::Error,
    model::Conversation,
    outbox::{Leaving, Outgoing},
};

mod commit;

pub(super) use commit::{SealedCommit, SealedEffect, SealedEvent, SealedMessage, SealedRow};

/// Conversations whose key is kept unwrapped: those that talk just now.
const KNOWN: u64 = 20_000;
/// How long: an erased person's conversation is read no longer than this by a replica that did not erase it.
const KNOWN_FOR: Duration = Duration::from_secs(120);

/// The vault, and the keys of conversations that are busy.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    vault: Vault,
    known: Cache<(Uuid, Uuid), Seal>,
}

/// What seals one conversation: the key of its customer.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    org: Uuid,
    conversation: Uuid,
    /// The key's name in the rows.
    pub key_id: Uuid,
    key: DataKey,
}

/// A person's new key as it is stored.
pub(super) struct NewKey {
    /// Its name.
    pub key_id: Uuid,
    /// Itself, wrapped.
    pub wrapped: Vec<u8>,
    /// Number of the master key that wraps it.
    pub master: i16,
}

impl Keys {
    pub fn new(vault: Vault) -> Self {
        Keys { vault, known: Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build() }
    }

    /// The seal of a conversation, if it is known.
    pub fn known(&self, org: Uuid, conversation: Uuid) -> Option<Seal> {
        self.known.get(&(org, conversation))
    }

    /// Forgets a conversation's.
    pub fn forget(&self, org: Uuid, conversation: Uuid) {
        self.known.invalidate(&(org, conversation));
    }

    /// The seal of a conversation whose key was read with it.
    pub fn seal(
        &self,
        org: Uuid,
        conversation: Uuid,
        person: Uuid,
        key_id: Uuid,
        wrapped: &[u8],
    ) -> Result<Seal, Error> {
        if let Some(seal) = self.known(org, conversation).filter(|seal| seal.key_id == key_id) {
            return Ok(seal);
        }
        let key = self.vault.unwrap(wrapped, &about(org, person, key_id))?;
        let seal = Seal { org, conversation, key_id, key };
        self.known.insert((org, conversation), seal.clone());
        Ok(seal)
    }

    /// A new key for a person.
    pub fn make(&self, org: Uuid, person: Uuid) -> NewKey {
        let key_id = Uuid::new_v4();
        let (_, wrapped) = self.vault.new_key(&about(org, person, key_id));
        NewKey { key_id, master: master_of(&wrapped), wrapped }
    }

    /// The same key under the newest master.
    pub fn rewrap(&self, org: Uuid, person: Uuid, key_id: Uuid, wrapped: &[u8]) -> Result<NewKey, Error> {
        let about = about(org, person, key_id);
        let wrapped = self.vault.wrap(&self.vault.unwrap(wrapped, &about)?, &about);
        Ok(NewKey { key_id, master: master_of(&wrapped), wrapped })
    }

    /// Number of the master key that wraps new keys.
    pub fn newest_master(&self) -> i16 {
        self.vault.newest().into()
    }
}

/// Number of the master key that wraps a key: its first byte.
fn master_of(wrapped: &[u8]) -> i16 {
    wrapped.first().copied().unwrap_or_default().into()
}

fn about(org: Uuid, person: Uuid, key_id: Uuid) -> String {
    format!("conversation.person_keys/{org}/{person}/{key_id}")
}

impl Seal {
    /// Seals words of a row of this conversation. `column` is `TABLE.COLUMN`.
    pub fn text(&self, column: &'static str, row: impl Display, text: &str) -> Vec<u8> {
        self.key.seal(&self.place(column, row), text.as_bytes())
    }

    /// Seals words; nothing if there are none.
    pub fn some_text(&self, column: &'static str, row: impl Display, text: &str) -> Option<Vec<u8>> {
        (!text.is_empty()).then(|| self.text(column, row, text))
    }

    /// Seals a value of a row.
    pub fn json<T: Serialize + ?Sized>(
        &self,
        column: &'static str,
        row: impl Display,
        value: &T,
    ) -> Result<Vec<u8>, Error> {
        Ok(self.key.seal(&self.place(column, row), &serde_json::to_vec(value)?))
    }

    /// Opens words; none were stored as none.
    pub fn open_text(&self, column: &'static str, row: impl Display, sealed: Option<&[u8]>) -> Result<String, Error> {
        let Some(sealed) = sealed else { return Ok(String::new()) };
        let plain = self.key.open(&self.place(column, row), sealed)?;
        Ok(String::from_utf8_lossy(&plain).into_owned())
    }

    /// Opens a value.
    pub fn open<T: DeserializeOwned>(
        &self,
        column: &'static str,
        row: impl Display,
        sealed: Option<&[u8]>,
    ) -> Result<Option<T>, Error> {
        let Some(sealed) = sealed else { return Ok(None) };
        let plain = self.key.open(&self.place(column, row), sealed)?;
        Ok(Some(serde_json::from_slice(&plain)?))
    }

    /// Seals what goes into the outbox.
    pub fn leaving(&self, out: Outgoing, row: &Conversation) -> Leaving {
        out.sealed(row, &self.key)
    }

    /// Seals a document for its place.
    pub fn document(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        self.key.seal(place, plain)
    }

    /// Opens a document of its place; none if another key sealed it.
    pub fn open_document(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.key.open(place, sealed).ok()
    }

    fn place(&self, column: &'static str, row: impl Display) -> String {
        format!("conversation.{column}/{}/{}/{row}", self.org, self.conversation)
    }
}
