//! Redis as it really is: late, paused, restarted, wrong.
use std::{future::Future, time::Duration};

use switchboard_runtime::{
    Secret,
    redis::{ANSWER, NoAnswer, Redis},
};
use switchboard_testkit::redis::PrivateRedis;
use tokio::time::Instant;

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

async fn set(redis: &Redis, value: &str) -> Result<(), NoAnswer> {
    let mut set = redis::cmd("SET");
    set.arg("key").arg(value);
    redis.run(async |mut connection| set.exec_async(&mut connection).await).await
}

async fn get(redis: &Redis) -> Result<Option<String>, NoAnswer> {
    let mut get = redis::cmd("GET");
    get.arg("key");
    redis.run(async |mut connection| get.query_async(&mut connection).await).await
}

/// Until it fails: the server was paused or stopped, and this finds out.
async fn until_away(redis: &Redis) {
    while get(redis).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_comes_late_is_used_when_it_is_there() {
    let Some(mut server) = PrivateRedis::new() else { return };
    let redis = Redis::patient(&server.url(), PATIENCE).expect("a good URL");
    assert_eq!(set(&redis, "x").await, Err(NoAnswer::Away), "nobody waits for it");
    server.start().await;
    within(redis.until_up()).await;
    within(set(&redis, "x")).await.expect("is there");
    assert_eq!(get(&redis).await, Ok(Some("x".to_owned())));
}

#[tokio::test]
async fn one_that_is_paused_costs_one_wait_and_not_one_for_each() {
    let Some(server) = PrivateRedis::started().await else { return };
    let redis = Redis::open(&server.url()).expect("a good URL");
    within(redis.until_up()).await;
    server.pause();
    let since = Instant::now();
    assert_eq!(get(&redis).await, Err(NoAnswer::Away));
    assert!(since.elapsed() >= ANSWER, "it had its time");
    let since = Instant::now();
    for _ in 0..1000 {
        assert_eq!(get(&redis).await, Err(NoAnswer::Away));
    }
    assert!(since.elapsed() < 100 * ANSWER, "a thousand more would have taken {:?}", 1000 * ANSWER);
    server.resume();
    within(redis.until_up()).await;
    within(async {
        while set(&redis, "x").await.is_err() {
            redis.until_up().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_that_restarts_is_found_again_also_when_idle() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let redis = Redis::patient(&server.url(), PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    server.stop();
    // Nobody asks anything: the connection itself tells.
    within(async {
        while redis.is_up() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.start().await;
    within(redis.until_up()).await;
    within(set(&redis, "x")).await.expect("is back");
}

#[tokio::test]
async fn an_older_protocol_is_spoken_where_it_is_asked_for() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let url = Secret::new(format!("{}?protocol=resp2", server.url().expose()));
    let redis = Redis::patient(&url, PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    set(&redis, "x").await.expect("is there");
    server.stop();
    within(until_away(&redis)).await;
    server.start().await;
    within(redis.until_up()).await;
    within(set(&redis, "x")).await.expect("is back");
}

#[tokio::test]
async fn what_it_refuses_is_told_and_does_not_cost_the_connection() {
    let Some(server) = PrivateRedis::new() else { return };
    let mut server = server.with(&["--requirepass", "hunter2"]);
    server.start().await;
    let url = |password: &str| Secret::new(format!("redis://:{password}@127.0.0.1:{}/0", server.port()));
    let stranger = Redis::patient(&url("wrong"), PATIENCE).expect("a good URL");
    let redis = Redis::patient(&url("hunter2"), PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    let odd: Result<(), NoAnswer> =
        redis.run(async |mut connection| redis::cmd("SET").arg("key").exec_async(&mut connection).await).await;
    assert!(matches!(odd, Err(NoAnswer::Refused(_))), "{odd:?}");
    set(&redis, "x").await.expect("the connection is as good as before");
    assert!(!stranger.is_up());
    let shown = format!("{redis:?} {}", redis.place());
    assert!(shown.contains(&server.port().to_string()) && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_subscription_hears_what_is_published_and_ends_with_its_connection() {
    let Some(mut server) = PrivateRedis::started().await else { return };
    let redis = Redis::patient(&server.url(), PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    let mut heard = within(redis.subscribe("news")).await.expect("listens");
    for message in ["one", "two"] {
        redis
            .run(async |mut connection| {
                redis::cmd("PUBLISH").arg("news").arg(message).exec_async(&mut connection).await
            })
            .await
            .expect("publishes");
    }
    assert_eq!(within(heard.next()).await.as_deref(), Some(b"one".as_slice()));
    assert_eq!(within(heard.next()).await.as_deref(), Some(b"two".as_slice()));
    server.stop();
    assert_eq!(within(heard.next()).await, None);
    assert!(redis.subscribe("news").await.is_err());
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    for bad in ["redis://:hunter2@host/not-a-number", "rediss://:hunter2@host/#insecure", "http://:hunter2@host"] {
        let error = Redis::open(&Secret::new(bad)).expect_err(bad).to_string();
        assert!(error.contains("redis://USER") && !error.contains("hunter2"), "{error}");
    }
}

/// Which server the test below is to speak with.
const TLS_AT: &str = "SWITCHBOARD_TEST_REDIS_TLS";

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_certificate_is_trusted() {
    let Some(server) = PrivateRedis::new() else { return };
    let path = |name: &str| server.folder().join(name).display().to_string();
    let port = server.port().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=test", "-keyout", &key, "-out", &certificate])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .expect("openssl is there, as redis-server needs it");
    assert!(made.status.success(), "{made:?}");
    let mut server = server.with(&["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
    server =
        server.with(&["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate]);
    server.start().await;
    let url = format!("rediss://127.0.0.1:{port}/0");
    let stranger = Redis::patient(&Secret::new(&url), PATIENCE).expect("a good URL");
    // What a process trusts is in its environment.
    let child = std::process::Command::new(std::env::current_exe().expect("is a program"))
        .args(["redis::a_process_that_trusts_the_server", "--exact", "--ignored"])
        .env("SSL_CERT_FILE", &certificate)
        .env(TLS_AT, &url)
        .output()
        .expect("runs");
    assert!(child.status.success() && String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{child:?}");
    assert!(!stranger.is_up(), "a certificate that nobody vouches for is refused");
}

#[tokio::test]
#[ignore = "the test above runs it in a process of its own"]
async fn a_process_that_trusts_the_server() {
    let redis = Redis::patient(&Secret::new(std::env::var(TLS_AT).expect("is set")), PATIENCE).expect("a good URL");
    within(redis.until_up()).await;
    set(&redis, "x").await.expect("is there");
    within(redis.subscribe("news")).await.expect("listens");
}
