//! Answers kept by `Idempotency-Key`, so that a retry gets the answer of the first try.
//!
//! In: who asks, the key, a fingerprint of the request. Out: go on, or the stored answer, or a refusal. Never: the only
//! guard: the key travels on as request id or client message id, and the owning service keeps it in the write's transaction.
//!
//! What is kept here saves that way, and is told apart by its lifetime: which request a key was used for holds for a day; the
//! answer, which has people's words in it, for ten minutes. After that the request goes on to its owner again, who answers
//! as it did before. So nobody's words are here ten minutes after they were erased.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use switchboard_errors::{Fault, Reason};
use switchboard_runtime::redis::NoAnswer;

use crate::{gate::DEADLINE, shared::Shared};

mod memory;
mod redis;

use self::{memory::Memory, redis::Redis};

/// How long it is known which request a key was used for.
const KEY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long an answer is kept; also the longest time that erased words are still here.
const ANSWER_KEPT: Duration = Duration::from_secs(600);
/// After this a request that has not ended never will: its edge died.
const RUNS: Duration = DEADLINE.saturating_add(Duration::from_secs(5));

/// What a request says, without keeping it.
pub(crate) type Fingerprint = [u8; 32];

/// Method, path and body of a request as one value.
pub(crate) fn fingerprint(method: &str, path: &str, body: &[u8]) -> Fingerprint {
    let digest =
        Sha256::new().chain_update(method).chain_update([0]).chain_update(path).chain_update([0]).chain_update(body);
    digest.finalize().into()
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a request with a key is to do.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Go on, and hand the ticket back at the end.
    Run(Ticket),
    /// It ran before, and this came of it.
    Again(Arc<Stored>),
    /// Another one with this key runs just now.
    InFlight,
    /// The key was used for another request.
    Reused,
}

/// Proves that a request was told to go on.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    key: String,
    request: Fingerprint,
    mark: Mark,
}

/// What stands for a running request, and for no other.
#[derive(Debug, Clone)]
enum Mark {
    Here(u64),
    Shared(Arc<[u8]>),
}

/// Where answers are kept.
///
/// Laws: of all requests that begin with one key and no stored answer exactly one is told to go on, until it ends, is
/// forgotten or has run out of time; the same key with another request is refused for a day; a stored answer comes back for
/// ten minutes, unless memory ran out, and after that the request is told to go on; whoever's ticket is not the one that runs
/// changes nothing.
#[async_trait]
pub(crate) trait Answers: Send + Sync {
    async fn begin(&self, key: &str, request: Fingerprint) -> Result<Begun, NoAnswer>;
    /// Keeps the answer.
    async fn end(&self, ticket: &Ticket, answer: Stored) -> Result<(), NoAnswer>;
    /// Lets a retry run.
    async fn forget(&self, ticket: &Ticket) -> Result<(), NoAnswer>;
}

/// Answers of this edge, or of all edges that share a Redis. Without it each keeps its own: the owners keep the truth.
pub(crate) struct Idempotency {
    here: Memory,
    shared: Option<Redis>,
}

impl Idempotency {
    pub(crate) fn new(shared: Option<Shared>) -> Self {
        Idempotency { here: Memory::default(), shared: shared.map(Redis::new) }
    }

    /// What to do with a request.
    pub(crate) async fn begin(&self, key: &str, request: Fingerprint) -> Result<Result<Ticket, Arc<Stored>>, Fault> {
        let shared = match &self.shared {
            Some(shared) => shared.begin(key, request).await.ok(),
            None => None,
        };
        let begun = match shared {
            Some(begun) => begun,
            None => self.here.begin(key, request),
        };
        match begun {
            Begun::Run(ticket) => Ok(Ok(ticket)),
            Begun::Again(answer) => Ok(Err(answer)),
            Begun::Reused => Err(Fault::new(
                Reason::IdempotencyKeyReused,
                "This Idempotency-Key was used with another request. Take a new key for a new request.",
            )),
            Begun::InFlight => Err(Fault::new(
                Reason::IdempotencyInFlight,
                "The first request with this Idempotency-Key is still running. Try again in a second.",
            )
            .with_retry_after(Duration::from_secs(1))),
        }
    }

    /// Keeps the answer where the request began.
    pub(crate) async fn end(&self, ticket: &Ticket, answer: Stored) {
        match (&self.shared, &ticket.mark) {
            // If Redis is away by now, a retry asks the owner.
            (Some(shared), Mark::Shared(_)) => drop(shared.end(ticket, answer).await),
            _ => self.here.end(ticket, answer),
        }
    }

    /// Lets a retry run.
    pub(crate) async fn forget(&self, ticket: &Ticket) {
        match (&self.shared, &ticket.mark) {
            // If Redis is away by now, it forgets by itself.
            (Some(shared), Mark::Shared(_)) => drop(shared.forget(ticket).await),
            _ => self.here.forget(ticket),
        }
    }
}

#[cfg(test)]
mod tests;
