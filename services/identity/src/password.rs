//! Passwords: the policy, and hashing on threads where it blocks nobody.
//!
//! In: a password. Out: what it misses, a hash to keep (Argon2id as a PHC string), or whether it fits one. Never: a password
//! in an error or a log.
use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::SaltString,
};
use switchboard_runtime::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Shortest password.
const SHORTEST: usize = 12;
/// Longest password: longer ones protect no better, and hashing must not become a way to keep us busy.
pub const LONGEST: usize = 128;

/// Memory in KiB, passes and lanes: what OWASP asks of Argon2id at least; about 15 ms of one core.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// A hash that no password fits, of the same cost as real ones: unknown names are checked against it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5aGFzdGhpc29uZQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What the policy misses in a password, in words that follow "needs"; empty if it is good.
pub fn misses(password: &str) -> Vec<&'static str> {
    let length = password.chars().count();
    let has = |test: fn(char) -> bool| password.chars().any(test);
    [
        (length < SHORTEST, "at least 12 characters"),
        (length > LONGEST, "at most 128 characters"),
        (!has(char::is_uppercase), "an upper case letter"),
        (!has(char::is_lowercase), "a lower case letter"),
        (!has(char::is_numeric), "a digit"),
        (!has(|c| !c.is_alphanumeric()), "a special character such as !@#$%^&*(),.?\":{}|<>"),
    ]
    .into_iter()
    .filter_map(|(missed, what)| missed.then_some(what))
    .collect()
}

/// Hashes and checks passwords, a few at once: each takes 19 MiB and a core.
#[derive(Clone)]
pub struct Hasher(Arc<Semaphore>);

/// Leave to do one hash at a time; dropping it lets the next one in.
pub struct Turn(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

impl Hasher {
    /// As many at once as there are cores.
    pub fn new() -> Self {
        Hasher(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from))))
    }

    /// Waits for leave. What has to be true when the hash begins is checked after this.
    pub async fn turn(&self) -> Result<Turn, Error> {
        self.0.clone().acquire_owned().await.map(Turn).map_err(|e| Error::Hashing(e.to_string()))
    }

    /// A hash to keep. WeakPassword with everything that the policy misses.
    pub async fn hash(&self, password: &Secret) -> Result<String, Error> {
        let misses = misses(password.expose());
        if !misses.is_empty() {
            return Err(Error::WeakPassword(misses));
        }
        self.hash_unchecked(password).await
    }

    /// A hash to keep of a password that the operator chose, whatever it is.
    pub async fn hash_unchecked(&self, password: &Secret) -> Result<String, Error> {
        let password = password.clone();
        blocking(self.turn().await?, move || {
            let (memory, passes, lanes) = COST;
            let params = Params::new(memory, passes, lanes, None).map_err(|e| e.to_string())?;
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(|e| e.to_string())?;
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password(password.expose().as_bytes(), &salt).map(|h| h.to_string()).map_err(|e| e.to_string())
        })
        .await
        .map(|(hash, _)| hash)
    }

    /// Which of these hashes the password fits. With none to check it takes as long as with one. The turn comes back, so that
    /// the result is noted before the next one begins.
    pub async fn fits(
        &self,
        turn: Turn,
        password: &Secret,
        hashes: Vec<String>,
    ) -> Result<(Option<usize>, Turn), Error> {
        let password = password.clone();
        blocking(turn, move || {
            if hashes.is_empty() {
                fits(&password, NOBODY)?;
                return Ok(None);
            }
            for (index, hash) in hashes.iter().enumerate() {
                if fits(&password, hash)? {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })
        .await
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

fn fits(password: &Secret, hash: &str) -> Result<bool, String> {
    let hash = PasswordHash::new(hash).map_err(|e| e.to_string())?;
    match Argon2::default().verify_password(password.expose().as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(e) => Err(e.to_string()),
    }
}

/// Runs on a thread for blocking work. The turn goes along, so that a caller who gave up frees nothing early.
async fn blocking<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<(T, Turn), Error> {
    let done = tokio::task::spawn_blocking(move || Ok((work()?, turn)));
    done.await.map_err(|e| Error::Hashing(e.to_string()))?.map_err(Error::Hashing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_says_everything_that_is_missing() {
        let words = |password: &str| {
            misses(password).iter().map(|m| m.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        for (password, missing) in [
            ("Correct-Horse-7", none.as_slice()),
            ("Aa1!Aa1!Aa1!", &none),
            ("Über Straße 42", &none),
            ("Passwort٣_ÄÖß", &none),
            ("Aa1!Aa1!Aa1", &["at least 12"]),
            ("correct-horse-7", &["an upper case"]),
            ("CORRECT-HORSE-7", &["a lower case"]),
            ("Correct-Horse-", &["a digit"]),
            ("CorrectHorse7", &["a special character"]),
            ("", &["at least 12", "an upper case", "a lower case", "a digit", "a special character"]),
            ("password", &["at least 12", "an upper case", "a digit", "a special character"]),
        ] {
            assert_eq!(words(password), missing, "{password}");
        }
        assert!(misses(&format!("Aa1!{}", "x".repeat(124))).is_empty());
        assert_eq!(words(&format!("Aa1!{}", "x".repeat(125))), ["at most 128"]);
    }

    #[test]
    fn every_special_character_of_the_policy_counts() {
        for special in "!@#$%^&*(),.?\":{}|<>_-+=~ €".chars() {
            assert!(misses(&format!("Passwordpass1{special}")).is_empty(), "{special}");
        }
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let hasher = Hasher::new();
        let (good, other) = (Secret::new("Correct-Horse-7"), Secret::new("Correct-Horse-8"));
        let hash = hasher.hash(&good).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash(&good).await.expect("hashes"), "each has its own salt");
        let second = vec![hasher.hash(&other).await.expect("hashes"), hash];
        let fits =
            async |password: &Secret, hashes| hasher.fits(hasher.turn().await?, password, hashes).await.map(|f| f.0);
        assert_eq!(fits(&good, second.clone()).await.expect("checks"), Some(1));
        assert_eq!(fits(&Secret::new("Correct-Horse-9"), second).await.expect("checks"), None);
    }

    #[tokio::test]
    async fn nobody_costs_the_same_and_fits_nothing() {
        let hasher = Hasher::new();
        let turn = hasher.turn().await.expect("free");
        assert_eq!(hasher.fits(turn, &Secret::new("x"), vec![]).await.expect("checks").0, None);
        let real = hasher.hash(&Secret::new("Correct-Horse-7")).await.expect("hashes");
        let shape = |phc: &str| {
            let hash = PasswordHash::new(phc).expect("parses");
            (
                hash.algorithm.to_string(),
                hash.version,
                hash.params.to_string(),
                hash.hash.map(|h| h.len()),
                hash.salt.map(|s| s.len()),
            )
        };
        assert_eq!(shape(NOBODY), shape(&real));
    }
}
