//! One suite for both places, and what only Redis has to show.
use switchboard_runtime::redis::Redis as Server;
use switchboard_testkit::redis::PrivateRedis;

use super::*;
use crate::shared::tests::shared;

/// What people wrote; it is nowhere in the clear.
const WORDS: &str = "my door code is 4711";

#[async_trait]
impl Answers for Memory {
    async fn begin(&self, key: &str, request: Fingerprint) -> Result<Begun, NoAnswer> {
        Ok(Memory::begin(self, key, request))
    }

    async fn end(&self, ticket: &Ticket, answer: Stored) -> Result<(), NoAnswer> {
        Memory::end(self, ticket, answer);
        Ok(())
    }

    async fn forget(&self, ticket: &Ticket) -> Result<(), NoAnswer> {
        Memory::forget(self, ticket);
        Ok(())
    }
}

fn request(body: &str) -> Fingerprint {
    fingerprint("POST", "/a", body.as_bytes())
}

fn answer(body: &str) -> Stored {
    let mut headers = HeaderMap::new();
    headers.insert("location", "/a/1".parse().expect("a value"));
    headers.append("vary", "a".parse().expect("a value"));
    headers.append("vary", "b".parse().expect("a value"));
    Stored { status: StatusCode::CREATED, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn key() -> String {
    format!("org/user/{}", uuid::Uuid::new_v4())
}

async fn run(place: &dyn Answers, key: &str, body: &str) -> Ticket {
    match place.begin(key, request(body)).await.expect("an answer") {
        Begun::Run(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

macro_rules! assert_begun {
    ($place:expr, $key:expr, $body:expr, $pattern:pat) => {
        let begun = $place.begin(&$key, request($body)).await.expect("an answer");
        assert!(matches!(begun, $pattern), "{begun:?}");
    };
}

async fn one_runs_and_its_answer_comes_back(a: &dyn Answers, b: &dyn Answers) {
    let key = key();
    let ticket = run(a, &key, "1").await;
    assert_begun!(a, key, "1", Begun::InFlight);
    assert_begun!(b, key, "1", Begun::InFlight);
    assert_begun!(b, key, "2", Begun::Reused);
    a.end(&ticket, answer(WORDS)).await.expect("an answer");
    for place in [a, b] {
        assert_begun!(place, key, "2", Begun::Reused);
        match place.begin(&key, request("1")).await.expect("an answer") {
            Begun::Again(stored) => assert_eq!(*stored, answer(WORDS)),
            other => panic!("{other:?}"),
        }
    }
    run(b, &super::tests::key(), "2").await;
}

async fn what_is_forgotten_runs_again(a: &dyn Answers, b: &dyn Answers) {
    let key = key();
    let first = run(a, &key, "1").await;
    a.forget(&first).await.expect("an answer");
    let second = run(b, &key, "2").await;
    // The first one's ticket is worth nothing any more.
    a.end(&first, answer("late")).await.expect("an answer");
    a.forget(&first).await.expect("an answer");
    assert_begun!(a, key, "2", Begun::InFlight);
    assert_begun!(a, key, "1", Begun::Reused);
    b.end(&second, answer("2")).await.expect("an answer");
    // Ended twice, or forgotten after its end, it stays as it is.
    b.end(&second, answer("other")).await.expect("an answer");
    b.forget(&second).await.expect("an answer");
    match a.begin(&key, request("2")).await.expect("an answer") {
        Begun::Again(stored) => assert_eq!(stored.body, "2"),
        other => panic!("{other:?}"),
    }
}

async fn of_many_at_once_one_runs(a: &dyn Answers, b: &dyn Answers) {
    let key = key();
    let all = (0..50).map(|i| if i % 2 == 0 { a } else { b }.begin(&key, request("1")));
    let begun = futures::future::join_all(all).await;
    let runs = begun.iter().filter(|b| matches!(b, Ok(Begun::Run(_)))).count();
    let wait = begun.iter().filter(|b| matches!(b, Ok(Begun::InFlight))).count();
    assert_eq!((runs, wait), (1, 49));
}

async fn laws(a: &dyn Answers, b: &dyn Answers) {
    one_runs_and_its_answer_comes_back(a, b).await;
    what_is_forgotten_runs_again(a, b).await;
    of_many_at_once_one_runs(a, b).await;
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let memory = Memory::default();
    laws(&memory, &memory).await;
}

#[tokio::test]
async fn the_laws_hold_for_edges_that_share_a_redis() {
    let (Some(a), Some(b)) = (shared().await, shared().await) else { return };
    laws(&Redis::new(a), &Redis::new(b)).await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_an_answer_lives_ten_minutes_and_its_key_a_day() {
    let (memory, key) = (Memory::default(), key());
    let ticket = run(&memory, &key, "1").await;
    Memory::end(&memory, &ticket, answer(WORDS));
    tokio::time::advance(ANSWER_KEPT - Duration::from_secs(1)).await;
    assert_begun!(&memory as &dyn Answers, key, "1", Begun::Again(_));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_begun!(&memory as &dyn Answers, key, "2", Begun::Reused);
    // The owner answers as it did; if nobody hears of the end, a later one may ask again.
    let ticket = run(&memory, &key, "1").await;
    assert_begun!(&memory as &dyn Answers, key, "1", Begun::InFlight);
    tokio::time::advance(RUNS + Duration::from_secs(1)).await;
    let later = run(&memory, &key, "1").await;
    Memory::end(&memory, &ticket, answer("late"));
    assert_begun!(&memory as &dyn Answers, key, "1", Begun::InFlight);
    Memory::end(&memory, &later, answer("1"));
    tokio::time::advance(KEY_KEPT + Duration::from_secs(1)).await;
    run(&memory, &key, "2").await;
}

/// A command, as whoever else has the password may send it.
async fn ask<T: ::redis::FromRedisValue>(server: &Server, words: &[&[u8]]) -> T {
    let mut command = ::redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    server.run(async |mut c| command.query_async(&mut c).await).await.expect("an answer")
}

#[tokio::test]
async fn in_redis_all_is_sealed_and_goes_away_by_itself() {
    let Some(mut redis) = PrivateRedis::started().await else { return };
    let shared = Shared::at(&redis.url()).await;
    let (server, place, key) = (shared.server.clone(), Redis::new(shared), format!("org/ada@example.com/{WORDS}"));
    let life = async |name: &str| ask::<i64>(&server, &[b"PTTL", name.as_bytes()]).await;
    let ticket = run(&place, &key, WORDS).await;
    let names: Vec<String> = ask(&server, &[b"KEYS", b"*"]).await;
    assert_eq!(names.len(), 1, "{names:?}");
    assert!((1..=20_000).contains(&life(&names[0]).await), "a dead edge's request runs again soon");
    place.end(&ticket, answer(WORDS)).await.expect("an answer");
    let names: Vec<String> = ask(&server, &[b"KEYS", b"*"]).await;
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        let longest = if name.ends_with(":answer") { 600_000 } else { 24 * 3_600_000 };
        assert!((1..=longest).contains(&life(name).await), "{name}");
        let value: Vec<u8> = ask(&server, &[b"GET", name.as_bytes()]).await;
        for planted in [WORDS, "4711", "ada", "example", "location", "org"] {
            let found = |bytes: &[u8]| bytes.windows(planted.len()).any(|w| w == planted.as_bytes());
            assert!(!found(&value) && !found(name.as_bytes()), "{planted} is in {name}");
        }
    }
    // Once the answer has gone, the same request runs and another one does not.
    let answer_name = names.iter().find(|n| n.ends_with(":answer")).expect("an answer");
    let _: i64 = ask(&server, &[b"DEL", answer_name.as_bytes()]).await;
    assert_begun!(place, key, "2", Begun::Reused);
    let again = run(&place, &key, WORDS).await;
    assert_begun!(place, key, WORDS, Begun::InFlight);
    place.end(&again, answer(WORDS)).await.expect("an answer");
    assert_begun!(place, key, WORDS, Begun::Again(_));
    redis.stop();
}

#[tokio::test]
async fn poison_in_redis_is_written_over() {
    let Some(shared) = shared().await else { return };
    let (server, place) = (shared.server.clone(), Redis::new(shared));
    let known = async |key: &str| -> Vec<u8> { ask(&server, &[b"GET", place.place(key).key.as_bytes()]).await };
    // Another key's value, a value that was changed, and nonsense.
    let (other, mine) = (key(), key());
    let ticket = run(&place, &other, "1").await;
    place.end(&ticket, answer("other's")).await.expect("an answer");
    let ticket = run(&place, &mine, "1").await;
    place.end(&ticket, answer("mine")).await.expect("an answer");
    let mut changed = known(&mine).await;
    changed.reverse();
    for poison in [known(&other).await, changed, b"{}".to_vec(), vec![], vec![0; 100]] {
        let _: () = ask(&server, &[b"SET", place.place(&mine).key.as_bytes(), &poison, b"PX", b"60000"]).await;
        let ticket = run(&place, &mine, "1").await;
        assert_begun!(place, mine, "1", Begun::InFlight);
        place.end(&ticket, answer("mine")).await.expect("an answer");
        assert_begun!(place, mine, "1", Begun::Again(_));
    }
    // The same for the answer, and for values of another kind.
    let swapped: Vec<u8> = ask(&server, &[b"GET", place.place(&other).answer.as_bytes()]).await;
    let _: () = ask(&server, &[b"SET", place.place(&mine).answer.as_bytes(), &swapped, b"PX", b"60000"]).await;
    let ticket = run(&place, &mine, "1").await;
    place.forget(&ticket).await.expect("an answer");
    for name in [place.place(&mine).key, place.place(&mine).answer] {
        let _: i64 = ask(&server, &[b"LPUSH", name.as_bytes(), b"x"]).await;
        let _: i64 = ask(&server, &[b"PEXPIRE", name.as_bytes(), b"60000"]).await;
    }
    let ticket = run(&place, &mine, "1").await;
    place.end(&ticket, answer("mine")).await.expect("an answer");
    assert_begun!(place, mine, "1", Begun::Again(_));
}

#[tokio::test]
async fn what_is_too_large_or_no_text_is_left_to_its_owner() {
    let Some(shared) = shared().await else { return };
    let place = Redis::new(shared);
    let no_text = Stored { body: Bytes::from_static(&[0xff]), ..answer("") };
    for unfit in [answer(&"x".repeat(256 * 1024 + 1)), no_text] {
        let key = key();
        let ticket = run(&place, &key, "1").await;
        place.end(&ticket, unfit).await.expect("an answer");
        assert_begun!(place, key, "2", Begun::Reused);
        run(&place, &key, "1").await;
    }
}

#[tokio::test]
async fn without_redis_an_edge_keeps_answers_itself() {
    let Some(mut redis) = PrivateRedis::started().await else { return };
    let shared = Shared::at(&redis.url()).await;
    let (server, answers) = (shared.server.clone(), Idempotency::new(Some(shared)));
    let begin = async |key: &str, body: &str| answers.begin(key, request(body)).await.expect("not refused");
    let (first, second, third) = (key(), key(), key());
    let ticket = begin(&first, "1").await.expect("runs");
    redis.stop();
    // It goes away in between: nothing breaks.
    answers.end(&ticket, answer("1")).await;
    let ticket = begin(&second, "1").await.expect("runs");
    assert_eq!(answers.begin(&second, request("1")).await.expect_err("in flight").http(), 409);
    assert_eq!(answers.begin(&second, request("2")).await.expect_err("other body").http(), 422);
    answers.end(&ticket, answer("2")).await;
    assert_eq!(begin(&second, "1").await.expect_err("stored").body, "2");
    redis.start().await;
    tokio::time::timeout(Duration::from_secs(30), server.until_up()).await.expect("is back");
    let ticket = begin(&third, "1").await.expect("runs");
    assert!(matches!(ticket.mark, Mark::Shared(_)));
    // Begun before Redis was away, forgotten after: as if it had not been.
    answers.forget(&ticket).await;
    begin(&third, "2").await.expect("runs");
}
