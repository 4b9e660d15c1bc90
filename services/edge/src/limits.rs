//! How many requests a user may make: a sliding-window counter.
//!
//! In: a key and the time. Out: admitted or not, and what the `RateLimit-*` headers say. Never: a queue; whoever is over
//! the limit is told when to come back.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use moka::sync::Cache;
use switchboard_errors::{Fault, Reason};
use switchboard_runtime::Clock;

use crate::config::Rate;

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
/// even); refused ones are not counted; keys do not influence each other.
#[async_trait]
pub(crate) trait Counters: Send + Sync {
    async fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Result<Decision, Fault>;
}

/// A rate over a store of counters.
pub(crate) struct Limiter {
    rate: Rate,
    counters: Box<dyn Counters>,
    clock: Clock,
}

impl Limiter {
    pub(crate) fn new(rate: Rate, counters: Box<dyn Counters>, clock: Clock) -> Self {
        Limiter { rate, counters, clock }
    }

    /// Counts one request. A store that fails admits it: limits protect the service, they are not worth an outage.
    pub(crate) async fn take(&self, key: &str) -> Decision {
        self.counters.take(key, self.rate, self.clock.now()).await.unwrap_or_else(|fault| {
            tracing::warn!(reason = fault.name(), "requests are not counted");
            Decision { admitted: true, remaining: self.rate.count, reset: self.rate.span }
        })
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

/// Users counted at once. Beyond that the longest unseen is forgotten: some 10 MiB at most.
const KEYS: u64 = 100_000;

/// Counters of this process.
pub(crate) struct Memory(Cache<String, Arc<Mutex<Window>>>);

#[derive(Debug, Default)]
struct Window {
    /// Number of the window since 1970.
    number: u64,
    before: u32,
    now: u32,
}

impl Memory {
    pub(crate) fn new(rate: Rate) -> Self {
        Memory(Cache::builder().max_capacity(KEYS).time_to_idle(rate.span * 2).build())
    }
}

#[async_trait]
impl Counters for Memory {
    async fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Result<Decision, Fault> {
        let window = self.0.get_with_by_ref(key, Arc::default);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(window.take(rate, u128::try_from(now.as_nanosecond()).unwrap_or_default()))
    }
}

impl Window {
    fn take(&mut self, rate: Rate, now: u128) -> Decision {
        let span = rate.span.as_nanos();
        let number = (now / span) as u64;
        match number.saturating_sub(self.number) {
            0 => {}
            1 => *self = Window { number, before: self.now, now: 0 },
            _ => *self = Window { number, before: 0, now: 0 },
        }
        let passed = (now % span) as f64 / span as f64;
        let limit = f64::from(rate.count);
        let used = f64::from(self.before) * (1.0 - passed) + f64::from(self.now);
        let admitted = used + 1.0 <= limit;
        self.now += u32::from(admitted);
        let left = limit - used - f64::from(u8::from(admitted));
        let reset = if left >= 1.0 { 1.0 - passed } else { self.until_next(limit, passed) };
        Decision { admitted, remaining: left.max(0.0) as u32, reset: rate.span.mul_f64(reset.max(0.0)) }
    }

    /// How long, in windows, until one more is admitted: first the window before wanes, then this one does.
    fn until_next(&self, limit: f64, passed: f64) -> f64 {
        let (before, now) = (f64::from(self.before), f64::from(self.now));
        if now + 1.0 <= limit {
            let at = 1.0 - (limit - 1.0 - now) / before.max(1.0);
            return at - passed;
        }
        1.0 - passed + (1.0 - (limit - 1.0) / now.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 100, span: Duration::from_secs(60) };

    #[tokio::test]
    async fn the_window_slides_and_keys_are_apart() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let limiter = Limiter::new(RATE, Box::new(Memory::new(RATE)), clock.clone());
        let admitted = async |key: &str, tries: u32| {
            let mut n = 0;
            for _ in 0..tries {
                n += u32::from(limiter.take(key).await.admitted);
            }
            n
        };
        assert_eq!(admitted("a", 130).await, 100);
        assert_eq!(admitted("b", 1).await, 1);
        let refused = limiter.take("a").await;
        assert!(!refused.admitted && refused.remaining == 0);
        // Whoever waits exactly as long as told gets in; a second earlier nobody does.
        clock.advance(jiff::SignedDuration::from_secs(seconds(refused.reset) as i64 - 2));
        assert_eq!(admitted("a", 1).await, 0);
        clock.advance(jiff::SignedDuration::from_secs(2));
        assert_eq!(admitted("a", 1).await, 1);
        // A third of the next window: the one before weighs two thirds.
        let clock_now = clock.now().as_second() % 60;
        clock.advance(jiff::SignedDuration::from_secs(20 - clock_now));
        let more = admitted("a", 130).await;
        assert!((30..=34).contains(&more), "{more}");
        clock.advance(jiff::SignedDuration::from_secs(180));
        assert_eq!(admitted("a", 130).await, 100);
    }

    #[test]
    fn headers_say_how_much_is_left() {
        let limiter = Limiter::new(RATE, Box::new(Memory::new(RATE)), Clock::system());
        let mut headers = HeaderMap::new();
        limiter
            .put_headers(&mut headers, Decision { admitted: true, remaining: 7, reset: Duration::from_millis(1500) });
        let get = |name: &str| headers[name].to_str().expect("text").to_owned();
        assert_eq!(
            (get("ratelimit-limit"), get("ratelimit-remaining"), get("ratelimit-reset")),
            ("100".into(), "7".into(), "2".into())
        );
        assert_eq!(get("ratelimit-policy"), "100;w=60");
    }
}
