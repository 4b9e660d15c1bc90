//! What is stored sealed, and how it is found again.
//!
//! In: names, addresses, password hashes, and the wrapped keys beside them. Out: bytes to store, and back. Never: SQL; a key
//! that stays in memory after it was used, apart from the index key: erasing somebody in the store is all it takes.
use jiff::Timestamp;
use switchboard_runtime::{
    caller::role_of,
    vault::{DataKey, Vault, VaultError},
};
use uuid::Uuid;

use super::{StoreError, wrong};
use crate::model::{Tier, User};

/// Under this name the key of the blind indexes is kept.
pub const INDEX: &str = "index";

/// The vault, with what identity seals.
#[derive(Debug, Clone)]
pub struct Seals(Vault);

/// One person's key.
pub struct PersonKey {
    org: Uuid,
    person: Uuid,
    key: DataKey,
}

/// Finds what is sealed. The same in all organizations: whoever signs in says none.
#[derive(Debug, Clone)]
pub struct Index(DataKey);

/// A kept value as it is stored.
pub struct KeptValue {
    /// The key it is sealed under.
    pub wrapped_key: Vec<u8>,
    /// None where the key itself is what is kept.
    pub value: Option<Vec<u8>>,
}

/// What of a user is stored sealed.
pub struct SealedUser {
    /// The external id.
    pub external_id: Option<Vec<u8>>,
    /// Finds it.
    pub external_id_blind: Option<Vec<u8>>,
    /// The address.
    pub email: Option<Vec<u8>>,
    /// Finds it.
    pub email_blind: Option<Vec<u8>>,
    /// The full name; none if it is empty.
    pub full_name: Option<Vec<u8>>,
}

/// A row of `users`, with the key beside it.
pub struct UserRow {
    /// The user.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// Sealed.
    pub external_id: Option<Vec<u8>>,
    /// Sealed.
    pub email: Option<Vec<u8>>,
    /// Sealed.
    pub full_name: Option<Vec<u8>>,
    /// Its name.
    pub role: String,
    /// Its name.
    pub tier: String,
    /// A web visitor who never signed in.
    pub guest: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was erased.
    pub erased: Option<Timestamp>,
    /// None once erased.
    pub wrapped_key: Option<Vec<u8>>,
}

impl Seals {
    /// With these master keys.
    pub fn new(vault: &Vault) -> Self {
        Seals(vault.clone())
    }

    /// The number of the master key that wraps new keys.
    pub fn newest(&self) -> i16 {
        i16::from(self.0.newest())
    }

    /// A value to keep under a name, sealed under a key of its own.
    pub fn value(&self, name: &str, value: &str) -> KeptValue {
        let (key, wrapped_key) = self.0.new_key(&about_value(name));
        KeptValue { wrapped_key, value: Some(key.seal(&place_of_value(name), value.as_bytes())) }
    }

    /// A key to keep under a name.
    pub fn bare_key(&self, name: &str) -> KeptValue {
        KeptValue { wrapped_key: self.0.new_key(&about_value(name)).1, value: None }
    }

    /// A kept value.
    pub fn open_value(&self, name: &str, kept: &KeptValue) -> Result<String, StoreError> {
        let key = self.0.unwrap(&kept.wrapped_key, &about_value(name))?;
        let sealed = kept.value.as_deref().ok_or(VaultError::NotOpened)?;
        text(key.open(&place_of_value(name), sealed)?)
    }

    /// The index key that was kept.
    pub fn index(&self, kept: &KeptValue) -> Result<Index, StoreError> {
        Ok(Index(self.0.unwrap(&kept.wrapped_key, &about_value(INDEX))?))
    }

    /// A key for a new person, and what to keep of it.
    pub fn new_person(&self, org: Uuid, person: Uuid) -> (PersonKey, Vec<u8>) {
        let (key, wrapped) = self.0.new_key(&about_person(org, person));
        (PersonKey { org, person, key }, wrapped)
    }

    /// The key of a person.
    pub fn person(&self, org: Uuid, person: Uuid, wrapped: &[u8]) -> Result<PersonKey, StoreError> {
        Ok(PersonKey { org, person, key: self.0.unwrap(wrapped, &about_person(org, person))? })
    }

    /// A person's key under the newest master. None if it does not open: then it stays, and all others go on.
    pub fn rewrap_person(&self, org: Uuid, person: Uuid, wrapped: &[u8]) -> Option<Vec<u8>> {
        let fresh = self.rewrap(&about_person(org, person), wrapped);
        fresh.inspect_err(|error| tracing::warn!(%org, %person, %error, "the key of a person does not open")).ok()
    }

    /// The key of a kept value under the newest master; none if it is.
    pub fn rewrap_value(&self, name: &str, wrapped: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.0.is_newest(wrapped) { Ok(None) } else { Ok(Some(self.rewrap(&about_value(name), wrapped)?)) }
    }

    fn rewrap(&self, about: &str, wrapped: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(self.0.wrap(&self.0.unwrap(wrapped, about)?, about))
    }

    /// A user, with the key; of one who was erased there is none.
    pub fn user(&self, row: UserRow) -> Result<(User, Option<PersonKey>), StoreError> {
        let key = match (&row.wrapped_key, row.erased) {
            (Some(wrapped), None) => Some(self.person(row.org, row.id, wrapped)?),
            (None, None) => return Err(VaultError::NotOpened.into()),
            (_, Some(_)) => None,
        };
        let open = |column, sealed: &Option<Vec<u8>>| match (&key, sealed) {
            (Some(key), Some(sealed)) => key.open(column, sealed).map(Some),
            _ => Ok(None),
        };
        let user = User {
            id: row.id,
            org: row.org,
            external_id: open("users.external_id", &row.external_id)?,
            email: open("users.email", &row.email)?,
            full_name: open("users.full_name", &row.full_name)?.unwrap_or_default(),
            role: role_of(&row.role).ok_or_else(|| wrong("role"))?,
            tier: Tier::of(&row.tier).ok_or_else(|| wrong("subscription_tier"))?,
            guest: row.guest,
            created: row.created,
            erased: row.erased,
        };
        Ok((user, key))
    }
}

impl PersonKey {
    /// A user as it is stored.
    pub fn seal_user(&self, user: &User, index: &Index) -> SealedUser {
        let seal = |column, text: &str| self.seal(column, text);
        SealedUser {
            external_id: user.external_id.as_deref().map(|t| seal("users.external_id", t)),
            external_id_blind: user.external_id.as_deref().map(|t| index.external_id(t)),
            email: user.email.as_deref().map(|t| seal("users.email", t)),
            email_blind: user.email.as_deref().map(|t| index.email(t)),
            full_name: Some(user.full_name.as_str()).filter(|t| !t.is_empty()).map(|t| seal("users.full_name", t)),
        }
    }

    /// What a password is checked against, as it is stored: whoever has only the store cannot even guess.
    pub fn seal_password(&self, hash: &str) -> Vec<u8> {
        self.seal("credentials.password_hash", hash)
    }

    /// What a password is checked against.
    pub fn open_password(&self, sealed: &[u8]) -> Result<String, StoreError> {
        self.open("credentials.password_hash", sealed)
    }

    fn seal(&self, column: &str, plain: &str) -> Vec<u8> {
        self.key.seal(&self.place(column), plain.as_bytes())
    }

    fn open(&self, column: &str, sealed: &[u8]) -> Result<String, StoreError> {
        text(self.key.open(&self.place(column), sealed)?)
    }

    fn place(&self, column: &str) -> String {
        format!("identity.{column}/{}/{}", self.org, self.person)
    }
}

impl Index {
    /// Finds an address.
    pub fn email(&self, text: &str) -> Vec<u8> {
        self.0.blind("identity.users.email", text).to_vec()
    }

    /// Finds an external id.
    pub fn external_id(&self, text: &str) -> Vec<u8> {
        self.0.blind("identity.users.external_id", text).to_vec()
    }

    /// Finds the failed sign-ins of a name. Upper and lower case are one name, as they are one address: else each spelling
    /// would have tries of its own.
    pub fn name(&self, text: &str) -> Vec<u8> {
        self.0.blind("identity.sign_in_failures.name", &text.to_lowercase()).to_vec()
    }
}

fn about_person(org: Uuid, person: Uuid) -> String {
    format!("identity.person_keys/{org}/{person}")
}

fn about_value(name: &str) -> String {
    format!("identity.keys/{name}")
}

fn place_of_value(name: &str) -> String {
    format!("identity.keys.value/{name}")
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| VaultError::NotOpened.into())
}
