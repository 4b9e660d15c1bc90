//! Two edges before the same services: one limit, one answer for a key, with a Redis and while it is away.
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_edge::config::{Cache, Config, Rate};
use switchboard_runtime::Role;
use switchboard_testkit::{redis::PrivateRedis, servers};

use crate::support::{Client, Edge, problem, start};

/// One client at two edges that share a Redis.
async fn two(redis: &PrivateRedis, rate: Option<Rate>) -> (Edge, Client, Client) {
    let config =
        Config { cache: Cache::Redis { url: redis.url(), vault: servers::vault() }, rate, ..Config::default() };
    let edge = start(config.clone()).await;
    let here = edge.client(Role::Customer);
    let there = Client { address: edge.another(config).await, ..here.clone() };
    for client in [&here, &there] {
        let up = async {
            let url = format!("http://{}/metrics", client.address);
            while !client.http.get(&url).send().await.expect("an answer").text().await.expect("text").contains(UP) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), up).await.expect("reaches Redis");
    }
    (edge, here, there)
}

/// A line of its own: the help text has nearly the same words.
const UP: &str = "_edge_redis_up 1\n";

#[tokio::test]
async fn two_edges_share_one_limit_and_neither_opens_nor_closes_without_redis() {
    let Some(mut redis) = PrivateRedis::started().await else { return };
    // A window that does not end meanwhile.
    let rate = Some(Rate { count: 5, span: Duration::from_secs(36_000) });
    let (edge, here, there) = two(&redis, rate).await;
    for (client, left) in [(&here, "4"), (&there, "3"), (&there, "2"), (&here, "1"), (&here, "0")] {
        let response = client.get("/v1/conversations").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["ratelimit-remaining"]),
            (200, &left.parse().expect("a value"))
        );
    }
    for client in [&here, &there] {
        assert_eq!(problem(client.get("/v1/conversations").await, 429).await["reason"], "RATE_LIMITED");
    }
    let other = edge.client(Role::Customer);
    assert_eq!(other.get("/v1/conversations").await.status(), 200);
    redis.stop();
    // This edge has admitted one of the other client's five, so four are left here.
    for left in ["3", "2", "1", "0"] {
        let response = other.get("/v1/conversations").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["ratelimit-remaining"]),
            (200, &left.parse().expect("a value"))
        );
    }
    problem(other.get("/v1/conversations").await, 429).await;
}

#[tokio::test]
async fn a_key_gives_one_answer_at_both_edges() {
    let Some(mut redis) = PrivateRedis::started().await else { return };
    let (_edge, here, there) = two(&redis, None).await;
    let post = async |who: &Client, key: &str, channel: &str| {
        let request = who.request("POST", "/v1/conversations").header("idempotency-key", key);
        request.json(&json!({ "channel": channel })).send().await.expect("an answer")
    };
    let first = post(&here, "k", "web").await;
    assert_eq!(first.status(), 201);
    let location = first.headers()["location"].clone();
    let first: Value = first.json().await.expect("JSON");
    let again = post(&there, "k", "web").await;
    assert_eq!((again.status().as_u16(), &again.headers()["location"]), (201, &location));
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.expect("JSON"), first);
    assert_eq!(problem(post(&there, "k", "api").await, 422).await["reason"], "IDEMPOTENCY_KEY_REUSED");
    // Without Redis each edge keeps its own.
    redis.stop();
    let first: Value = post(&here, "l", "web").await.json().await.expect("JSON");
    let again = post(&here, "l", "web").await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.expect("JSON"), first);
}
