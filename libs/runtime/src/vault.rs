//! Personal data at rest: sealed under a key per person, which a master key wraps.
//!
//! In: master keys of the configuration. Out: sealed bytes that open only at the place they were sealed for, keyed hashes
//! to find what is sealed. Never: a key in a log. Destroying a person's wrapped key makes all that was sealed under it noise,
//! in backups too (ADR 0010).
use std::{io::Write as _, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    Secret,
    settings::{Settings, SettingsError},
    stores::Ledger,
};

/// First byte of everything sealed: XChaCha20-Poly1305 with a random nonce of 24 bytes.
const FORMAT: u8 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;
/// Where an installation without configured keys keeps the one it made.
const FILE: &str = "master-keys";

/// Why something did not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VaultError {
    /// It is sealed by a master key that is not configured.
    #[error("sealed under master key {0}, which stores.master_keys does not have")]
    UnknownKey(u8),
    /// It was changed, moved to another place, or its person's key was destroyed.
    #[error("sealed data does not open: it was changed or moved, or its key is another one")]
    NotOpened,
}

/// The master keys. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Vec<(u8, DataKey)>>);

/// A key for one person's data, or for one index.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; KEY]>);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(number, _)| number)).finish()
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Vault {
    /// Keys as they are written in the configuration: `NUMBER:BASE64`, newest first, separated by commas.
    pub fn new(keys: &Secret) -> Result<Self, String> {
        let mut all: Vec<(u8, DataKey)> = Vec::new();
        for part in keys.expose().split(',').map(str::trim) {
            let how = "write NUMBER:BASE64 with a number from 1 to 255 and 32 bytes in base64";
            let (number, key) = part.split_once(':').ok_or(how)?;
            let number: u8 = number.parse().ok().filter(|n| *n > 0).ok_or(how)?;
            let bytes = Zeroizing::new(BASE64.decode(key).map_err(|_| how)?);
            let bytes: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| how)?;
            if all.iter().any(|(n, _)| *n == number) {
                return Err(format!("key {number} is there twice"));
            }
            all.push((number, DataKey(Zeroizing::new(bytes))));
        }
        Ok(Vault(Arc::new(all)))
    }

    /// The configured keys, or for SQLite those that the data folder keeps; made there if it has none.
    pub fn read(settings: &Settings, ledger: &Ledger) -> Result<Self, SettingsError> {
        let keys = settings.secret("stores.master_keys");
        let wrong = |why: &str| settings.wrong("stores.master_keys", "***", "settings", &why);
        match ledger {
            Ledger::Sqlite(folder) if keys.is_empty() => Vault::kept_in(folder).map_err(|why| wrong(&why)),
            _ => Vault::new(&keys).map_err(|why| wrong(&why)),
        }
    }

    /// The keys that a folder keeps; one is made if it has none.
    pub fn kept_in(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let failed = |e: std::io::Error| format!("cannot read or write {}: {e}", path.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        if !path.exists() {
            let key = Zeroizing::new(format!("1:{}\n", BASE64.encode(DataKey::random().0.as_slice())));
            // Written aside and linked: two processes that begin together end up with one key, and a crash with none.
            let aside = folder.join(format!("{FILE}.{}", uuid::Uuid::new_v4()));
            let mut create = std::fs::OpenOptions::new();
            create.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut create, 0o600);
            let mut file = create.open(&aside).map_err(failed)?;
            file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            let linked = std::fs::hard_link(&aside, &path);
            std::fs::remove_file(&aside).map_err(failed)?;
            linked.or_else(|e| if path.exists() { Ok(()) } else { Err(e) }).map_err(failed)?;
        }
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(failed)?);
        Vault::new(&Secret::new(text.trim())).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// A new data key, and what to keep of it. `about` names whose it is.
    pub fn new_key(&self, about: &str) -> (DataKey, Vec<u8>) {
        let key = DataKey::random();
        let wrapped = self.wrap(&key, about);
        (key, wrapped)
    }

    /// Wraps a key under the newest master.
    pub fn wrap(&self, key: &DataKey, about: &str) -> Vec<u8> {
        let (number, master) = &self.0[0];
        let mut wrapped = vec![*number];
        wrapped.extend(master.seal(about, key.0.as_slice()));
        wrapped
    }

    /// The key that was wrapped for the same `about`.
    pub fn unwrap(&self, wrapped: &[u8], about: &str) -> Result<DataKey, VaultError> {
        let (number, sealed) = wrapped.split_first().ok_or(VaultError::NotOpened)?;
        let master = self.0.iter().find(|(n, _)| n == number).ok_or(VaultError::UnknownKey(*number))?;
        let bytes = Zeroizing::new(master.1.open(about, sealed)?);
        let bytes: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| VaultError::NotOpened)?;
        Ok(DataKey(Zeroizing::new(bytes)))
    }

    /// The number of the newest master: the first byte of all that it wraps.
    pub fn newest(&self) -> u8 {
        self.0[0].0
    }

    /// Seals what a replica hands to the others and nothing has to outlive, such as a cached value. `about` names whose it is,
    /// such as an organization. The key follows from the newest master: there is nothing to keep, and nothing to destroy.
    pub fn seal_shared(&self, about: &str, place: &str, plain: &[u8]) -> Vec<u8> {
        let (number, master) = &self.0[0];
        let mut sealed = vec![*number];
        sealed.extend(master.shared(about).seal(place, plain));
        sealed
    }

    /// Opens what a replica with one of the same masters sealed for the same.
    pub fn open_shared(&self, about: &str, place: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (number, sealed) = sealed.split_first().ok_or(VaultError::NotOpened)?;
        let master = self.0.iter().find(|(n, _)| n == number).ok_or(VaultError::UnknownKey(*number))?;
        master.1.shared(about).open(place, sealed)
    }

    /// A keyed hash for what replicas share: the same in every replica with the same newest master.
    pub fn blind_shared(&self, about: &str, text: &str) -> [u8; 32] {
        self.0[0].1.shared(about).blind("vault.name", text)
    }

    /// True if the newest master wraps it: an older one can go when this holds for all keys.
    pub fn is_newest(&self, wrapped: &[u8]) -> bool {
        wrapped.first() == Some(&self.0[0].0)
    }
}

impl DataKey {
    fn random() -> Self {
        let mut bytes = Zeroizing::new([0; KEY]);
        rand::fill(bytes.as_mut_slice());
        DataKey(bytes)
    }

    /// Seals bytes for one place, such as `identity.users.email/ORG/ID`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce);
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        // The only error is a text of 256 GiB.
        let sealed = sealed.expect("nothing that is stored is that long");
        [&[FORMAT], nonce.as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for the same place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let body = sealed.strip_prefix(&[FORMAT]).ok_or(VaultError::NotOpened)?;
        let (nonce, msg) = body.split_first_chunk::<NONCE>().ok_or(VaultError::NotOpened)?;
        let payload = Payload { msg, aad: place.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::NotOpened)
    }

    /// A keyed hash by which a sealed value is found again: equal for equal texts of one scope, and noise without the key.
    pub fn blind(&self, scope: &str, text: &str) -> [u8; 32] {
        // HMAC takes a key of any length.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.0.as_slice()).expect("32 bytes");
        mac.update(&(scope.len() as u64).to_be_bytes());
        mac.update(scope.as_bytes());
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A key that all who hold this one derive alike.
    fn shared(&self, about: &str) -> DataKey {
        DataKey(Zeroizing::new(self.blind("vault.shared", about)))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(keys: &[(u8, u8)]) -> Vault {
        let keys: Vec<String> = keys.iter().map(|(n, b)| format!("{n}:{}", BASE64.encode([*b; KEY]))).collect();
        Vault::new(&Secret::new(keys.join(","))).expect("good keys")
    }

    #[test]
    fn what_is_sealed_opens_only_unchanged_at_its_place_under_its_key() {
        let vault = vault(&[(1, 7)]);
        let (key, _) = vault.new_key("ada");
        let sealed = key.seal("users.email/1", b"ada@example.com");
        assert!(!sealed.windows(3).any(|w| w == b"ada"));
        assert_ne!(sealed, key.seal("users.email/1", b"ada@example.com"));
        assert_eq!(key.open("users.email/1", &sealed).as_deref(), Ok(b"ada@example.com".as_slice()));
        assert_eq!(key.open("users.email/2", &sealed), Err(VaultError::NotOpened));
        assert_eq!(vault.new_key("ada").0.open("users.email/1", &sealed), Err(VaultError::NotOpened));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("users.email/1", &changed), Err(VaultError::NotOpened), "byte {at}");
        }
        for short in 0..sealed.len() {
            assert_eq!(key.open("users.email/1", &sealed[..short]), Err(VaultError::NotOpened));
        }
    }

    #[test]
    fn masters_rotate_without_touching_what_is_sealed() {
        let (old, both, new) = (vault(&[(1, 7)]), vault(&[(2, 8), (1, 7)]), vault(&[(2, 8)]));
        let (key, wrapped) = old.new_key("ada");
        let sealed = key.seal("place", b"x");
        assert!(!both.is_newest(&wrapped));
        let again = both.unwrap(&wrapped, "ada").expect("both open it");
        let rewrapped = both.wrap(&again, "ada");
        assert!(both.is_newest(&rewrapped));
        let key = new.unwrap(&rewrapped, "ada").expect("the new one opens it");
        assert_eq!(key.open("place", &sealed).as_deref(), Ok(b"x".as_slice()));
        assert_eq!(new.unwrap(&wrapped, "ada").expect_err("the old one is gone"), VaultError::UnknownKey(1));
        assert_eq!(both.unwrap(&wrapped, "bob").expect_err("not his"), VaultError::NotOpened);
    }

    #[test]
    fn what_is_shared_opens_in_every_replica_and_nowhere_else() {
        let key = |number: u8| format!("{number}:{}", BASE64.encode([number; KEY]));
        let vault = |keys: &str| Vault::new(&Secret::new(keys)).expect("good keys");
        let (old, both, new) = (vault(&key(1)), vault(&format!("{},{}", key(2), key(1))), vault(&key(2)));
        let sealed = old.seal_shared("acme", "here", b"x");
        assert_ne!(sealed, old.seal_shared("acme", "here", b"x"), "equal values do not look equal");
        assert_eq!(both.open_shared("acme", "here", &sealed).as_deref(), Ok(b"x".as_slice()));
        assert_eq!(
            new.open_shared("acme", "here", &both.seal_shared("acme", "here", b"y")).as_deref(),
            Ok(b"y".as_slice())
        );
        assert_eq!(new.open_shared("acme", "here", &sealed), Err(VaultError::UnknownKey(1)));
        for (about, place) in [("other", "here"), ("acme", "there")] {
            assert_eq!(old.open_shared(about, place, &sealed), Err(VaultError::NotOpened));
        }
        for bad in [&[][..], &[1], &sealed[..sealed.len() - 1]] {
            assert!(old.open_shared("acme", "here", bad).is_err());
        }
        assert_eq!(both.blind_shared("a", "x"), new.blind_shared("a", "x"));
        let names = [("a", "y"), ("b", "x")].map(|(about, text)| new.blind_shared(about, text));
        assert!(!names.contains(&new.blind_shared("a", "x")) && names[0] != names[1]);
        assert_ne!(old.blind_shared("a", "x"), new.blind_shared("a", "x"));
    }

    #[test]
    fn a_blind_index_is_equal_for_equals_of_a_scope_only() {
        let (key, other) = (DataKey::random(), DataKey::random());
        assert_eq!(key.blind("a", "x"), key.blind("a", "x"));
        assert_ne!(key.blind("a", "x"), key.blind("b", "x"));
        assert_ne!(key.blind("a", "bx"), key.blind("ab", "x"));
        assert_ne!(key.blind("a", "x"), other.blind("a", "x"));
    }

    #[test]
    fn bad_keys_are_named_and_a_folder_keeps_its_key() {
        let twice = format!("1:{0},1:{0}", BASE64.encode([1; KEY]));
        for bad in ["", "x", "0:AAAA", "1:AAAA", "1:not base64", twice.as_str()] {
            Vault::new(&Secret::new(bad)).expect_err(bad);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (_, wrapped) = Vault::kept_in(folder.path()).expect("makes one").new_key("ada");
        Vault::kept_in(folder.path()).expect("reads it").unwrap(&wrapped, "ada").expect("the same key");
        assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 1);
    }
}
