//! Answers kept by `Idempotency-Key`, so that a retry gets the answer of the first try.
//!
//! In: who asks, the key, a fingerprint of the request. Out: go on, or the stored answer, or a refusal. Never: the only
//! guard: the key travels on as request id or client message id, and the owning service keeps it in the write's transaction.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use moka::{ops::compute::Op, sync::Cache};
use sha2::{Digest as _, Sha256};
use switchboard_errors::{Fault, Reason};

/// What a request says, without keeping it.
pub(crate) type Fingerprint = [u8; 32];

/// Method, path and body of a request as one value.
pub(crate) fn fingerprint(method: &str, path: &str, body: &[u8]) -> Fingerprint {
    let digest =
        Sha256::new().chain_update(method).chain_update([0]).chain_update(path).chain_update([0]).chain_update(body);
    digest.finalize().into()
}

/// An answer as it was given.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Answers by key.
///
/// Laws: of all requests that begin with one key and no stored answer exactly one is told to go on, until it ends or is
/// forgotten; the same key with another fingerprint is always refused; a stored answer comes back for 24 hours unless
/// memory ran out.
pub(crate) trait Idempotency: Send + Sync {
    /// None: go on, and call [`Idempotency::end`] or [`Idempotency::forget`] afterwards.
    fn begin(&self, key: &str, request: Fingerprint) -> Result<Option<Arc<Stored>>, Fault>;
    /// Keeps the answer.
    fn end(&self, key: &str, request: Fingerprint, answer: Stored);
    /// Lets a retry run again.
    fn forget(&self, key: &str);
}

/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Memory for answers of this process.
const BYTES: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its body.
const OVERHEAD: u32 = 512;

#[derive(Clone)]
struct Entry {
    request: Fingerprint,
    /// None while it runs.
    answer: Option<Arc<Stored>>,
}

/// Answers of this process.
pub(crate) struct Memory(Cache<String, Entry>);

impl Default for Memory {
    fn default() -> Self {
        let size = |_: &String, entry: &Entry| {
            OVERHEAD + entry.answer.as_ref().map_or(0, |a| u32::try_from(a.body.len()).unwrap_or(u32::MAX - OVERHEAD))
        };
        Memory(Cache::builder().weigher(size).max_capacity(BYTES).time_to_live(KEPT).build())
    }
}

impl Idempotency for Memory {
    fn begin(&self, key: &str, request: Fingerprint) -> Result<Option<Arc<Stored>>, Fault> {
        let mut found = None;
        self.0.entry_by_ref(key).and_compute_with(|entry| {
            found = entry.map(|e| e.into_value());
            if found.is_none() { Op::Put(Entry { request, answer: None }) } else { Op::Nop }
        });
        match found {
            None => Ok(None),
            Some(entry) if entry.request != request => Err(Fault::new(
                Reason::IdempotencyKeyReused,
                "This Idempotency-Key was used with another request. Take a new key for a new request.",
            )),
            Some(Entry { answer: Some(answer), .. }) => Ok(Some(answer)),
            Some(_) => Err(Fault::new(
                Reason::IdempotencyInFlight,
                "The first request with this Idempotency-Key is still running. Try again in a second.",
            )
            .with_retry_after(Duration::from_secs(1))),
        }
    }

    fn end(&self, key: &str, request: Fingerprint, answer: Stored) {
        self.0.insert(key.to_owned(), Entry { request, answer: Some(Arc::new(answer)) });
    }

    fn forget(&self, key: &str) {
        self.0.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laws_hold_in_memory() {
        let store = Memory::default();
        let (one, other) = (fingerprint("POST", "/a", b"1"), fingerprint("POST", "/a", b"2"));
        let answer =
            || Stored { status: StatusCode::CREATED, headers: HeaderMap::new(), body: Bytes::from_static(b"x") };
        assert!(store.begin("k", one).expect("runs").is_none());
        assert_eq!(store.begin("k", one).expect_err("in flight").http(), 409);
        assert_eq!(store.begin("k", other).expect_err("other body").http(), 422);
        store.end("k", one, answer());
        assert_eq!(store.begin("k", one).expect("stored").expect("an answer").body, "x");
        assert_eq!(store.begin("k", other).expect_err("other body").http(), 422);
        assert!(store.begin("l", other).expect("keys are apart").is_none());
        store.forget("l");
        assert!(store.begin("l", one).expect("runs again").is_none());
    }
}
