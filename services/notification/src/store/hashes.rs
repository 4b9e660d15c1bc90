//! Keyed hashes of whom deliveries are for.
//!
//! In: an organization's wrapped key, a person. Out: hashes. Never: a store.
use moka::sync::Cache;
use switchboard_runtime::vault::{DataKey, Vault};
use uuid::Uuid;

use super::Person;
use crate::error::Error;

/// Keys that are kept at hand, 40 bytes each. They never change; only their wrapping does.
const AT_HAND: u64 = 100_000;

/// Keys of organizations.
#[derive(Clone)]
pub(super) struct Keys {
    vault: Vault,
    at_hand: Cache<Uuid, DataKey>,
}

/// What finds a person's deliveries.
pub(super) struct Hashes {
    pub(super) user: Option<Vec<u8>>,
    pub(super) emails: Vec<Vec<u8>>,
}

fn about(org: Uuid) -> String {
    format!("notification/{org}/index")
}

impl Keys {
    pub(super) fn new(vault: Vault) -> Self {
        Keys { vault, at_hand: Cache::new(AT_HAND) }
    }

    pub(super) fn at_hand(&self, org: Uuid) -> Option<DataKey> {
        self.at_hand.get(&org)
    }

    /// A key for an organization that may have none, wrapped.
    pub(super) fn make(&self, org: Uuid) -> Vec<u8> {
        self.vault.new_key(&about(org)).1
    }

    /// The key that an organization has, as the store keeps it.
    pub(super) fn kept(&self, org: Uuid, wrapped: &[u8]) -> Result<DataKey, Error> {
        let key = self.vault.unwrap(wrapped, &about(org)).map_err(|e| Error::Store(Box::new(e)))?;
        self.at_hand.insert(org, key.clone());
        Ok(key)
    }

    /// The same key under the newest master; none if it is.
    pub(super) fn anew(&self, org: Uuid, wrapped: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if self.vault.is_newest(wrapped) {
            return Ok(None);
        }
        Ok(Some(self.vault.wrap(&self.kept(org, wrapped)?, &about(org))))
    }
}

impl Hashes {
    /// Without a key there is nothing to find: an organization has one from its first delivery on.
    pub(super) fn of(key: Option<&DataKey>, person: &Person) -> Self {
        let Some(key) = key else { return Hashes { user: None, emails: Vec::new() } };
        let email = |text: &String| key.blind("notification.deliveries.recipient", &text.to_lowercase()).to_vec();
        let user = |id: Uuid| key.blind("notification.deliveries.person", &id.to_string()).to_vec();
        Hashes { user: person.user.map(user), emails: person.emails.iter().map(email).collect() }
    }
}
