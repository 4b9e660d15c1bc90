//! The demo organization, which a newcomer's first start talks to.
//!
//! In: a store and the data folder. Out: the organization with its accounts, and the password they share. Never: a password
//! that is known beforehand: each installation makes its own and keeps it in a file.
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rand::Rng as _;
use switchboard_runtime::{Clock, Fault, Role, Secret};
use uuid::Uuid;

use crate::{
    error::Error,
    model::{Organization, User},
    password::{Hasher, misses},
    store::{NewUser, Store, StoreError},
    token,
};

/// The name of the demo organization.
pub const NAME: &str = "Brightfold";
/// The file in the data folder that keeps the demo accounts' password.
pub const PASSWORD_FILE: &str = "demo-password";

/// The demo accounts: user name, which is an address or an external id; full name; role.
const ACCOUNTS: [(&str, &str, Role); 5] = [
    ("agent@brightfold.example", "Alex Agent", Role::Agent),
    ("supervisor@brightfold.example", "Sam Supervisor", Role::Supervisor),
    ("admin@brightfold.example", "Ada Admin", Role::Admin),
    ("jane.doe@example.com", "Jane Doe", Role::Customer),
    // A name that is no address, as programs that talk to the API have it.
    ("test_user", "Test User", Role::Customer),
];

/// One demo account.
#[derive(Debug, Clone)]
pub struct DemoAccount {
    /// What to type when signing in.
    pub username: &'static str,
    /// What it may do.
    pub role: Role,
}

/// The demo organization and how to sign in.
#[derive(Debug, Clone)]
pub struct DemoAccounts {
    /// The organization's id.
    pub organization: Uuid,
    /// The organization's name.
    pub name: &'static str,
    /// The accounts; all have the same password.
    pub accounts: Vec<DemoAccount>,
    /// The password.
    pub password: Secret,
}

/// Makes what is not there yet. Started twice at once, both see the same.
pub async fn prepare(
    store: &dyn Store,
    hasher: &Hasher,
    secret: &[u8],
    password: Secret,
    clock: &Clock,
) -> Result<DemoAccounts, Error> {
    let now = clock.now();
    let kept = store.keep("demo-organization", &clock.new_id().to_string()).await?;
    let org = Uuid::try_parse(&kept).map_err(Fault::internal)?;
    // A password file that was lost or written anew sets the accounts' password again.
    let seal = token::derived(secret, &format!("demo-password:{}", password.expose()), &[org]);
    let sealed = store.keep("demo-password", "").await?;
    if sealed != seal {
        store.add_organization(&Organization { guests_allowed: true, ..Organization::new(org, NAME, now) }).await?;
        let hash = hasher.hash_unchecked(&password).await?;
        for (username, full_name, role) in ACCOUNTS {
            // Derived, so that a start that was cut off, or another at the same time, makes the same request.
            let request = Uuid::from_u128(
                token::hash(&format!("{org}:{username}"))[..16].iter().fold(0, |n, b| n << 8 | u128::from(*b)),
            );
            let mut user = User { full_name: full_name.to_owned(), ..User::new(clock.new_id(), org, role, now) };
            let name = if username.contains('@') { &mut user.email } else { &mut user.external_id };
            *name = Some(username.to_owned());
            let new = NewUser { user, request_id: Some(request), password_hash: None, by: Uuid::nil() };
            let made = store.add_user(&new).await?;
            // Whoever was erased stays so.
            if made.user.erased.is_none() {
                store.set_password(org, made.user.id, &hash, now).await?;
            }
        }
        store.replace("demo-password", &seal).await?;
    }
    let accounts = ACCOUNTS.map(|(username, _, role)| DemoAccount { username, role }).into();
    Ok(DemoAccounts { organization: org, name: NAME, accounts, password })
}

/// The demo password that the owner of the data folder chose, if there is one.
pub fn chosen(data: &Path) -> io::Result<Option<Secret>> {
    match fs::read_to_string(data.join(PASSWORD_FILE)) {
        Ok(text) if text.trim().is_empty() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is empty; remove it, and the next start makes a new one",
        )),
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Where replicas share a store but no folder: the password that the store keeps, made by whoever is first.
pub async fn shared(store: &dyn Store) -> Result<Secret, StoreError> {
    store.keep("demo-password-text", generate().expose()).await.map(Secret::new)
}

/// Reads the demo password from its file, or makes one. Only the file's owner can read it.
pub fn password(data: &Path) -> io::Result<Secret> {
    if let Some(chosen) = chosen(data)? {
        return Ok(chosen);
    }
    let path = data.join(PASSWORD_FILE);
    let fresh = generate();
    let draft = data.join(format!("{PASSWORD_FILE}.{}.tmp", Uuid::new_v4()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(format!("{}\n", fresh.expose()).as_bytes())?;
    file.sync_all()?;
    // A link never replaces: of two first starts at once, one makes the password and the other reads it.
    let linked = fs::hard_link(&draft, &path);
    let linked = match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => fs::rename(&draft, &path), // no links on this file system
        other => {
            fs::remove_file(&draft)?;
            other
        }
    };
    match linked {
        Ok(()) => Ok(fresh),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Secret::new(fs::read_to_string(&path)?.trim())),
        Err(e) => Err(e),
    }
}

/// A password that can be typed: no characters that look alike, in groups of four.
fn generate() -> Secret {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    loop {
        let groups: [String; 4] = std::array::from_fn(|_| {
            (0..4).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
        });
        let password = groups.join("-");
        if misses(&password).is_empty() {
            return Secret::new(password);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_made_once_and_only_its_owner_reads_it() {
        let data = tempfile::tempdir().expect("a folder");
        let first = password(data.path()).expect("made");
        assert!(misses(first.expose()).is_empty());
        assert_eq!(password(data.path()).expect("read").expose(), first.expose());
        let names: Vec<_> = fs::read_dir(data.path()).expect("lists").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, [PASSWORD_FILE]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(data.path().join(PASSWORD_FILE)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn an_empty_file_says_what_to_do() {
        let data = tempfile::tempdir().expect("a folder");
        fs::write(data.path().join(PASSWORD_FILE), "\n").expect("writes");
        assert!(password(data.path()).expect_err("refused").to_string().contains("remove it"));
    }

    #[test]
    fn two_installations_have_two_passwords() {
        assert_ne!(generate().expose(), generate().expose());
    }
}
