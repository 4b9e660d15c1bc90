//! One suite for both places, and what happens when one of them goes away.
use jiff::SignedDuration;
use switchboard_testkit::{redis::PrivateRedis, servers};

use super::*;
use crate::shared::{Shared, tests::shared};

const RATE: Rate = Rate { count: 100, span: Duration::from_secs(60) };

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

#[async_trait]
impl Counters for Memory {
    async fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Result<Decision, NoAnswer> {
        Ok(Memory::take(self, key, rate, now))
    }
}

/// Two edges that count in one place, at a time that the test sets; each test has keys of its own.
struct Place {
    edges: [Box<dyn Counters>; 2],
    prefix: String,
    clock: Clock,
}

impl Place {
    fn memory(rate: Rate) -> Self {
        let counters = Memory::new(rate);
        Place::of([Box::new(counters.clone()), Box::new(counters)])
    }

    async fn redis() -> Option<Self> {
        let (a, b) = (shared().await?, shared().await?);
        Some(Place::of([a, b].map(|s| Box::new(Redis::at_given_times(s)) as Box<dyn Counters>)))
    }

    fn of(edges: [Box<dyn Counters>; 2]) -> Self {
        Place { edges, prefix: uuid::Uuid::new_v4().to_string(), clock: Clock::manual(start()) }
    }

    async fn take(&self, edge: usize, key: &str, rate: Rate) -> Decision {
        let key = format!("{}/{key}", self.prefix);
        self.edges[edge].take(&key, rate, self.clock.now()).await.expect("an answer")
    }

    /// How many of so many tries are admitted, by turns at both edges.
    async fn admitted(&self, key: &str, tries: usize) -> u32 {
        let mut n = 0;
        for edge in 0..tries {
            n += u32::from(self.take(edge % 2, key, RATE).await.admitted);
        }
        n
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

async fn the_window_slides_and_keys_are_apart(place: &Place) {
    assert_eq!(place.admitted("a", 130).await, 100);
    assert_eq!(place.admitted("b", 1).await, 1);
    let refused = place.take(0, "a", RATE).await;
    assert!(!refused.admitted && refused.remaining == 0);
    // Whoever waits exactly as long as told gets in; a second earlier nobody does.
    place.advance(seconds(refused.reset) as i64 - 2);
    assert_eq!(place.admitted("a", 1).await, 0);
    place.advance(2);
    assert_eq!(place.admitted("a", 1).await, 1);
    // A third of the next window: the one before weighs two thirds.
    place.advance(20 - place.clock.now().as_second() % 60);
    let more = place.admitted("a", 130).await;
    assert!((30..=34).contains(&more), "{more}");
    place.advance(180);
    assert_eq!(place.admitted("a", 130).await, 100);
}

async fn a_clock_that_jumps_neither_opens_nor_closes_for_long(place: &Place) {
    const YEAR: i64 = 365 * 24 * 3600;
    assert_eq!(place.admitted("a", 130).await, 100);
    // Forward, and back: one more budget, not one for each try.
    place.advance(YEAR);
    assert_eq!(place.admitted("a", 130).await, 100);
    place.advance(-YEAR);
    assert_eq!(place.admitted("a", 130).await, 0);
    // Two windows later all is as ever.
    place.advance(120);
    assert_eq!(place.admitted("a", 130).await, 100);
    // A step back over the border of a window, as clocks are set: nothing is forgotten, nothing stands still.
    place.advance(60 - place.clock.now().as_second() % 60);
    place.advance(60);
    assert_eq!(place.admitted("b", 60).await, 60);
    place.advance(-1);
    assert_eq!(place.admitted("b", 60).await, 40);
    place.advance(121);
    assert_eq!(place.admitted("b", 130).await, 100);
}

async fn all_at_once_are_not_more_than_the_limit(place: &Place) {
    let tries = (0..300).map(|edge| place.take(edge % 2, "a", RATE));
    let decisions = futures::future::join_all(tries).await;
    assert_eq!(decisions.iter().filter(|d| d.admitted).count(), 100);
    // Each was counted by itself: nobody was told the same.
    let mut left: Vec<_> = decisions.iter().filter(|d| d.admitted).map(|d| d.remaining).collect();
    left.sort_unstable();
    assert_eq!(left, (0..100).collect::<Vec<_>>());
}

async fn a_lower_limit_holds_at_once(place: &Place) {
    assert_eq!(place.admitted("a", 100).await, 100);
    let low = Rate { count: 3, ..RATE };
    assert!(!place.take(0, "a", low).await.admitted);
    place.advance(120);
    assert!(place.take(0, "a", low).await.admitted);
}

async fn laws(place: impl AsyncFn() -> Place) {
    the_window_slides_and_keys_are_apart(&place().await).await;
    a_clock_that_jumps_neither_opens_nor_closes_for_long(&place().await).await;
    all_at_once_are_not_more_than_the_limit(&place().await).await;
    a_lower_limit_holds_at_once(&place().await).await;
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    laws(async || Place::memory(RATE)).await;
}

#[tokio::test]
async fn the_laws_hold_in_redis() {
    if servers::server("redis").is_some() {
        laws(async || Place::redis().await.expect("Redis is there")).await;
    }
}

/// Whatever comes, both say the very same.
#[tokio::test]
async fn memory_and_redis_agree_on_every_request() {
    let Some(redis) = Place::redis().await else { return };
    for round in 0..40 {
        let rate =
            Rate { count: rand::random_range(1..=12), span: Duration::from_micros(rand::random_range(1..=90_000_000)) };
        let memory = Place::memory(rate);
        memory.clock.advance(redis.clock.now().duration_since(memory.clock.now()));
        let key = format!("agree-{round}");
        let mut story = vec![];
        for _ in 0..60 {
            let span = rate.span.as_micros() as i64;
            let by = match rand::random_range(0..10) {
                0..=5 => rand::random_range(0..=span / 4),
                6..=7 => rand::random_range(0..=span * 3),
                8 => -rand::random_range(0..=span),
                _ => -rand::random_range(0..=span * 20),
            };
            for place in [&memory, &redis] {
                place.clock.advance(SignedDuration::from_micros(by));
            }
            story.push((by, memory.take(0, &key, rate).await));
            assert_eq!(redis.take(0, &key, rate).await, story[story.len() - 1].1, "{rate:?}: {story:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_counter_counts_as_nothing() {
    let Some(shared) = shared().await else { return };
    let (server, counters) = (shared.server.clone(), Redis::new(shared));
    for (i, poison) in
        ["", "x", "1 2", "-1 -1 -1", "1 2 3 4", "nan inf 0", "7 99999999999999999999 1e9"].iter().enumerate()
    {
        let key = format!("{}/{i}", uuid::Uuid::new_v4());
        let mut set = ::redis::cmd("SET");
        set.arg(counters.name(&key)).arg(poison).arg("PX").arg(60_000);
        server.run(async |mut c| set.exec_async(&mut c).await).await.expect("sets");
        let decision = counters.take(&key, RATE, start()).await.expect("an answer");
        assert_eq!((decision.admitted, decision.remaining), (true, 99), "{poison}");
    }
    // Neither does another kind of value; and what is counted goes away by itself and does not say whose it is.
    let key = format!("address/{}", uuid::Uuid::new_v4());
    let name = counters.name(&key);
    assert!(!name.contains(&key[8..]) && name.starts_with("switchboard:edge.rate:"), "{name}");
    let mut push = ::redis::cmd("LPUSH");
    push.arg(&name).arg("x");
    server.run(async |mut c| push.exec_async(&mut c).await).await.expect("pushes");
    assert!(counters.take(&key, RATE, start()).await.expect("an answer").admitted);
    let mut left = ::redis::cmd("PTTL");
    left.arg(&name);
    let left: i64 = server.run(async |mut c| left.query_async(&mut c).await).await.expect("an answer");
    assert!((1..=120_000).contains(&left), "{left}");
}

#[tokio::test]
async fn without_redis_an_edge_counts_on_by_itself_and_with_it_again_together() {
    let Some(mut redis) = PrivateRedis::started().await else { return };
    // Windows of an hour: none ends in between.
    let rate = Rate { count: 10, span: Duration::from_secs(3600) };
    let clock = Clock::manual(start());
    let edge = async || {
        let shared = Shared::at(&redis.url()).await;
        let server = shared.server.clone();
        (Limiter::new(rate, Some(Box::new(Redis::new(shared))), clock.clone()), server)
    };
    let ((a, server), (b, _)) = (edge().await, edge().await);
    let admitted = async |limiter: &Limiter, tries: u32| {
        let mut n = 0;
        for _ in 0..tries {
            n += u32::from(limiter.take("u").await.admitted);
        }
        n
    };
    assert_eq!((admitted(&a, 4).await, admitted(&b, 3).await), (4, 3));
    // Away: neither all nor none. Each goes on from what it has admitted itself.
    redis.stop();
    assert_eq!((admitted(&a, 30).await, admitted(&b, 30).await), (6, 7));
    // Paused, as a machine that hangs: no answer is an answer too, and soon.
    redis.start().await;
    tokio::time::timeout(Duration::from_secs(30), server.until_up()).await.expect("is back");
    assert_eq!(admitted(&a, 3).await, 3, "it counts in Redis again, which is empty");
    redis.pause();
    assert_eq!(admitted(&a, 3).await, 0, "it counts here, where the limit was reached");
    redis.resume();
}

#[tokio::test]
async fn headers_say_how_much_is_left() {
    let limiter = Limiter::new(RATE, None, Clock::system());
    let mut headers = HeaderMap::new();
    limiter.put_headers(&mut headers, Decision { admitted: true, remaining: 7, reset: Duration::from_millis(1500) });
    let get = |name: &str| headers[name].to_str().expect("text").to_owned();
    assert_eq!(
        (get("ratelimit-limit"), get("ratelimit-remaining"), get("ratelimit-reset")),
        ("100".into(), "7".into(), "2".into())
    );
    assert_eq!(get("ratelimit-policy"), "100;w=60");
}
