//! Answers in Redis, for edges among which a retry may come to another one than its first try.
//!
//! Two values for a key: what is known of the request, and for a shorter time its answer. Both are sealed for their place:
//! what does not open was not put there by an edge, and is written over.
use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use redis::Script;
use serde::{Deserialize, Serialize};
use switchboard_runtime::redis::NoAnswer;

use super::{ANSWER_KEPT, Answers, Begun, Fingerprint, KEY_KEPT, Mark, RUNS, Stored, Ticket};
use crate::shared::Shared;

/// Larger answers are not kept: their owner has them, and Redis has better use for its memory.
const LARGEST: usize = 256 * 1024;
/// Others may change the key between two looks at it; then it runs elsewhere.
const LOOKS: usize = 3;

/// Puts a value where nothing is; returns what is there otherwise.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local there = redis.pcall('GET', KEYS[1]) \
         if type(there) == 'string' then return there end \
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
         return false",
    )
});
/// Puts a value where another one is, and perhaps an answer beside it. 1 if it was there.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) \
         if ARGV[4] then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end \
         return 1",
    )
});
/// Removes a value if it is there, and the answer beside it.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end return 1")
});

/// What is known of a request.
#[derive(Serialize, Deserialize)]
struct Known {
    request: Fingerprint,
    ended: bool,
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// The answers.
pub(super) struct Redis(Shared);

/// Where both values of a key are: in one slot of a cluster.
pub(super) struct Place {
    pub(super) key: String,
    pub(super) answer: String,
}

impl Redis {
    pub(super) fn new(shared: Shared) -> Self {
        Redis(shared)
    }

    pub(super) fn place(&self, key: &str) -> Place {
        let name = self.0.name("edge.answer", key);
        Place { answer: format!("{{{name}}}:answer"), key: format!("{{{name}}}") }
    }

    fn seal<T: Serialize>(&self, place: &str, value: &T) -> Vec<u8> {
        let plain = serde_json::to_vec(value).unwrap_or_default();
        self.0.vault.seal_shared(ABOUT, place, &plain)
    }

    fn open<T: for<'a> Deserialize<'a>>(&self, place: &str, sealed: &[u8]) -> Option<T> {
        let plain = self.0.vault.open_shared(ABOUT, place, sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    async fn claim(&self, place: &Place, mine: &[u8]) -> Result<Option<Vec<u8>>, NoAnswer> {
        let mut ask = CLAIM.key(&place.key);
        ask.arg(mine).arg(millis(RUNS));
        self.0.server.run(async |mut connection| ask.invoke_async(&mut connection).await).await
    }

    async fn swap(
        &self,
        place: &Place,
        (from, to): (&[u8], &[u8]),
        kept: Duration,
        answer: Option<Vec<u8>>,
    ) -> Result<bool, NoAnswer> {
        let mut ask = SWAP.key(&place.key);
        ask.key(&place.answer).arg(from).arg(to).arg(millis(kept));
        if let Some(answer) = answer {
            ask.arg(answer).arg(millis(ANSWER_KEPT));
        }
        self.0.server.run(async |mut connection| ask.invoke_async(&mut connection).await).await
    }

    async fn answer(&self, place: &Place) -> Result<Option<Stored>, NoAnswer> {
        let mut get = redis::cmd("GET");
        get.arg(&place.answer);
        let sealed: Result<Option<Vec<u8>>, NoAnswer> =
            self.0.server.run(async |mut connection| get.query_async(&mut connection).await).await;
        match sealed {
            Ok(sealed) => {
                Ok(sealed.and_then(|sealed| Stored::try_from(self.open::<Kept>(&place.answer, &sealed)?).ok()))
            }
            // Another kind of value: none of ours.
            Err(NoAnswer::Refused(_)) => Ok(None),
            Err(away) => Err(away),
        }
    }
}

/// What the key is derived for.
const ABOUT: &str = "edge.answer/sealed";

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Answers for Redis {
    async fn begin(&self, key: &str, request: Fingerprint) -> Result<Begun, NoAnswer> {
        let place = self.place(key);
        // Sealed anew each time: equal to no other, so that it stands for this request.
        let mine = self.seal(&place.key, &Known { request, ended: false });
        let run = |mine: Vec<u8>| Begun::Run(Ticket { key: key.to_owned(), request, mark: Mark::Shared(mine.into()) });
        for _ in 0..LOOKS {
            let Some(there) = self.claim(&place, &mine).await? else { return Ok(run(mine)) };
            match self.open::<Known>(&place.key, &there) {
                Some(known) if known.request != request => return Ok(Begun::Reused),
                Some(known) if !known.ended => return Ok(Begun::InFlight),
                Some(_) if let Some(answer) = self.answer(&place).await? => return Ok(Begun::Again(answer.into())),
                _ => {}
            }
            // It is none of ours, or its answer is gone: it runs.
            if self.swap(&place, (&there, &mine), RUNS, None).await? {
                return Ok(run(mine));
            }
        }
        Ok(Begun::InFlight)
    }

    async fn end(&self, ticket: &Ticket, answer: Stored) -> Result<(), NoAnswer> {
        let Mark::Shared(mine) = &ticket.mark else { return Ok(()) };
        let place = self.place(&ticket.key);
        let ended = self.seal(&place.key, &Known { request: ticket.request, ended: true });
        let answer = Kept::try_from(answer).ok().map(|kept| self.seal(&place.answer, &kept));
        self.swap(&place, (mine, &ended), KEY_KEPT, answer).await.map(drop)
    }

    async fn forget(&self, ticket: &Ticket) -> Result<(), NoAnswer> {
        let Mark::Shared(mine) = &ticket.mark else { return Ok(()) };
        let place = self.place(&ticket.key);
        let mut ask = REMOVE.key(&place.key);
        ask.key(&place.answer).arg(&mine[..]);
        self.0.server.run(async |mut connection| ask.invoke_async::<()>(&mut connection).await).await
    }
}

/// It cannot be kept: it is too large, or no text.
struct Unfit;

impl TryFrom<Stored> for Kept {
    type Error = Unfit;

    fn try_from(answer: Stored) -> Result<Self, Unfit> {
        let body = std::str::from_utf8(&answer.body).ok().filter(|body| body.len() <= LARGEST).ok_or(Unfit)?;
        let header =
            |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        let headers = answer.headers.iter().map(|h| header(h).ok_or(Unfit)).collect::<Result<_, _>>()?;
        Ok(Kept { status: answer.status.as_u16(), headers, body: body.to_owned() })
    }
}

impl TryFrom<Kept> for Stored {
    type Error = Unfit;

    fn try_from(kept: Kept) -> Result<Self, Unfit> {
        let mut headers = HeaderMap::new();
        for (name, value) in &kept.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit)?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| Unfit)?);
        }
        Ok(Stored { status: StatusCode::from_u16(kept.status).map_err(|_| Unfit)?, headers, body: kept.body.into() })
    }
}
