//! How many requests a user may make: a sliding-window counter.
//!
//! In: a key and the time. Out: admitted or not, and what the `RateLimit-*` headers say. Never: a queue; whoever is over
//! the limit is told when to come back.
//!
//! Edges that share a Redis share one limit. While Redis is away each edge counts for itself, with what it has admitted
//! until then: the gate neither closes nor opens.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use switchboard_errors::{Fault, Reason};
use switchboard_runtime::{Clock, redis::NoAnswer};

use crate::config::Rate;

mod memory;
mod redis;
mod window;

pub(crate) use self::{memory::Memory, redis::Redis};

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) admitted: bool,
    /// Requests left right now.
    pub(crate) remaining: u32,
    /// Until one more is admitted if none is left, else until the window ends.
    pub(crate) reset: Duration,
}

/// Where requests are counted.
///
/// Laws: over any span as long as the window at most about `count` requests are admitted (the window before is taken as
/// even); refused ones are not counted; keys do not influence each other; a clock that jumps admits at most one more `count`
/// and refuses for at most two windows more; all who count in one place share one limit.
#[async_trait]
pub(crate) trait Counters: Send + Sync {
    /// Counts a request. A place with a clock of its own takes that for `now`: clocks of several edges differ.
    async fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Result<Decision, NoAnswer>;
}

/// A rate, and where it is counted.
pub(crate) struct Limiter {
    rate: Rate,
    here: Memory,
    shared: Option<Box<dyn Counters>>,
    refused: AtomicBool,
    clock: Clock,
}

impl Limiter {
    /// Counts in this process, and where others count too if there is such a place.
    pub(crate) fn new(rate: Rate, shared: Option<Box<dyn Counters>>, clock: Clock) -> Self {
        Limiter { rate, here: Memory::new(rate), shared, refused: AtomicBool::new(false), clock }
    }

    /// Counts one request.
    pub(crate) async fn take(&self, key: &str) -> Decision {
        let now = self.clock.now();
        // Counted here in any case: if Redis goes away, this edge knows whom it has admitted.
        let here = self.here.take(key, self.rate, now);
        let Some(shared) = &self.shared else { return here };
        match shared.take(key, self.rate, now).await {
            Ok(decision) => {
                self.refused.store(false, Ordering::Relaxed);
                decision
            }
            // That Redis is away is said where its connection is kept.
            Err(NoAnswer::Away) => here,
            Err(NoAnswer::Refused(why)) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(why, "Redis does not count requests; each edge counts its own");
                }
                here
            }
        }
    }

    /// What a refused request is told.
    pub(crate) fn refusal(&self, decision: Decision) -> Fault {
        let Rate { count, span } = self.rate;
        let detail =
            format!("More than {count} requests in {} s. Try again in {} s.", span.as_secs(), seconds(decision.reset));
        Fault::new(Reason::RateLimited, detail).with_retry_after(Duration::from_secs(seconds(decision.reset)))
    }

    /// The headers of every limited route.
    pub(crate) fn put_headers(&self, headers: &mut HeaderMap, decision: Decision) {
        headers.insert("ratelimit-limit", HeaderValue::from(self.rate.count));
        headers.insert("ratelimit-remaining", HeaderValue::from(decision.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(seconds(decision.reset)));
        if let Ok(policy) = HeaderValue::from_str(&format!("{};w={}", self.rate.count, self.rate.span.as_secs())) {
            headers.insert("ratelimit-policy", policy);
        }
    }
}

/// Whole seconds, rounded up: nobody comes back too early.
fn seconds(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
