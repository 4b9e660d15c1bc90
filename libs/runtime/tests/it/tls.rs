//! TLS to the servers of stores, with a CA that only the test knows: who is told of it connects; who is not, or meets another
//! host, refuses and says what to mend.
use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::migrate::Migrator;
use switchboard_runtime::{
    Secret, Settings,
    postgres::{self, Postgres},
    process,
    redis::Redis,
    stores::{self, Choice, Ledger, PostgresAt},
};
use switchboard_testkit::{
    certificates::{Authority, Certificate},
    cluster::Cluster,
    redis::PrivateRedis,
};
use tokio::{sync::Notify, time::timeout};

static MIGRATIONS: Migrator = sqlx::migrate!("./tests/it/migrations");
const OWNER: &str = "probe";
/// What is not there by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);
/// Must be in no message.
const PASSWORD: &str = "hunter2";

/// The settings of a process that was given a URL, and perhaps a CA.
fn settings(name: &'static str, url: &str, ca: Option<&Path>) -> Settings {
    let mut flags = vec![(name, url.to_owned()), ("stores.master_keys", "1:x".to_owned())];
    flags.extend(ca.map(|ca| ("stores.tls_ca", ca.display().to_string())));
    Settings::load(&[process::KEYS, stores::KEYS], None, [], &flags).expect("loads")
}

fn ledger(url: &str, ca: Option<&Path>) -> PostgresAt {
    match Ledger::read(&settings("stores.ledger", url, ca)).expect("a choice") {
        Ledger::Postgres(at) => at,
        Ledger::Sqlite(_) => panic!("chosen by its URL"),
    }
}

fn cache(url: &str, ca: Option<&Path>) -> Secret {
    let settings = settings("stores.cache", url, ca);
    match stores::choice(&settings, "stores.cache", "memory", &["redis", "rediss"]).expect("a choice") {
        Choice::Server(url) => url,
        Choice::Here => panic!("chosen by its URL"),
    }
}

/// The store, if it becomes well; if not, why.
async fn outcome(at: &PostgresAt) -> Result<Postgres, String> {
    let store = Postgres::open(at, OWNER, &MIGRATIONS).expect("opens");
    let mut condition = store.condition();
    let known = async {
        while condition.why().is_some_and(|why| why.contains("was not asked yet")) {
            condition.changed().await;
        }
        condition.why()
    };
    match timeout(PATIENCE, known).await.expect("it was asked") {
        Some(why) => {
            store.close().await;
            Err(why)
        }
        None => Ok(store),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_reached_only_with_the_right_ca_and_host() {
    let Some(cluster) = Cluster::start() else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = authority.file();
    cluster.tls(&authority.certificate("localhost"));
    postgres::migrate(&cluster.at(cluster.port), OWNER, &MIGRATIONS).await.expect("migrates");
    let url = format!("postgres://postgres:{PASSWORD}@localhost:{}/postgres", cluster.port);
    let full = format!("{url}?sslmode=verify-full");

    // By the setting alone, by the URL alone, by both: the same.
    let own = format!("{full}&sslrootcert={}", ca.display());
    for (at, tls) in [
        (ledger(&url, Some(&ca)), "t"),
        (ledger(&full, Some(&ca)), "t"),
        (ledger(&own, None), "t"),
        (ledger(&own, Some(&stranger.file())), "t"),
        (ledger(&format!("{url}?sslmode=disable"), Some(&ca)), "f"),
    ] {
        let store = outcome(&at).await.expect("is reached");
        let mut tx = store.shared().await.expect("begins");
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await.expect("tells");
        assert_eq!(cluster.sql(&format!("SELECT ssl FROM pg_stat_ssl WHERE pid = {pid}")).trim(), tls);
        drop(tx);
        store.close().await;
    }
    postgres::migrate(&ledger(&url, Some(&ca)), OWNER, &MIGRATIONS).await.expect("migrates by TLS");

    let refused = async |at: PostgresAt, says: &str| {
        let why = outcome(&at).await.expect_err(says);
        assert!(why.contains(says) && !why.contains(PASSWORD), "{why}");
        let error = postgres::migrate(&at, OWNER, &MIGRATIONS).await.expect_err(says).to_string();
        assert!(error.contains(says) && !error.contains(PASSWORD), "{error}");
    };
    for at in [ledger(&full, None), ledger(&url, Some(&stranger.file()))] {
        refused(at, "not trusted here; name the file of that CA in stores.tls_ca").await;
    }
    let number = url.replace("localhost", "127.0.0.1");
    refused(ledger(&number, Some(&ca)), "not for 127.0.0.1; mend the host in stores.ledger").await;
    cluster.tls(&authority.certificate("elsewhere.example"));
    refused(
        ledger(&url, Some(&ca)),
        "a certificate for elsewhere.example, not for localhost; mend the host in stores.ledger",
    )
    .await;
    cluster.tls(&authority.expired("localhost"));
    refused(ledger(&url, Some(&ca)), "has expired").await;
    cluster.sql("ALTER SYSTEM SET ssl = off");
    cluster.down("fast");
    cluster.up();
    refused(ledger(&url, Some(&ca)), "server does not support TLS").await;
}

/// What was logged, line by line.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<u8>>, Notify)>);

impl Log {
    async fn until(&self, says: &str) -> String {
        let there = async {
            loop {
                let next = self.0.1.notified();
                let text = String::from_utf8_lossy(&self.0.0.lock().expect("lock")).into_owned();
                if text.contains(says) {
                    return text;
                }
                next.await;
            }
        };
        timeout(PATIENCE, there).await.unwrap_or_else(|_| {
            panic!("{says:?} is awaited, there is {}", String::from_utf8_lossy(&self.0.0.lock().expect("lock")))
        })
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().expect("lock").extend_from_slice(bytes);
        self.0.1.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A Redis that speaks TLS only.
async fn redis(certificate: &Certificate, ca: &Path, asks_for_ours: &str) -> Option<PrivateRedis> {
    let redis = PrivateRedis::new()?;
    let (port, shown) = (redis.port().to_string(), |path: &Path| path.display().to_string());
    let mut redis = redis.with(&["--port", "0", "--tls-port", &port, "--tls-auth-clients", asks_for_ours]).with(&[
        "--tls-cert-file",
        &shown(&certificate.file),
        "--tls-key-file",
        &shown(&certificate.key),
        "--tls-ca-cert-file",
        &shown(ca),
    ]);
    redis.start().await;
    Some(redis)
}

async fn answers(url: &Secret) {
    let redis = Redis::patient(url, PATIENCE).expect("opens");
    timeout(PATIENCE, redis.until_up()).await.expect("is reached");
    let mut listening = redis.subscribe("news").await.expect("subscribes");
    let publish = |mut c: redis::aio::MultiplexedConnection| async move {
        redis::cmd("PUBLISH").arg("news").arg("x").exec_async(&mut c).await
    };
    redis.run(publish).await.expect("publishes");
    assert_eq!(timeout(PATIENCE, listening.next()).await.expect("comes").as_deref(), Some(&b"x"[..]));
}

/// Opens it, and waits for the one line that says why it is not reached.
async fn is_refused(url: &Secret, says: &str) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // Of this thread only, which runs all of the test.
    let _guard = tracing::subscriber::set_default(subscriber);
    let redis = Redis::open(url).expect("opens");
    let text = log.until(says).await;
    assert!(!text.contains(PASSWORD) && !redis.is_up(), "{text}");
}

#[tokio::test]
async fn redis_is_reached_only_with_the_right_ca_and_host() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (ca, good) = (authority.file(), authority.certificate("localhost"));
    let url = |redis: &PrivateRedis| format!("rediss://:{PASSWORD}@localhost:{}/0", redis.port());
    let Some(server) = redis(&good, &ca, "no").await else { return };
    // No password is set there: one that is sent is refused, which is not what this test is about.
    let open = url(&server).replace(&format!(":{PASSWORD}@"), "");
    answers(&cache(&open, Some(&ca))).await;
    answers(&cache(&format!("{open}?ssl_ca_certs={}", ca.display()), Some(&stranger.file()))).await;
    for other in [None, Some(stranger.file())] {
        let says = "it shows a certificate of a CA that is not trusted here; name the file of that CA in stores.tls_ca";
        is_refused(&cache(&url(&server), other.as_deref()), says).await;
    }
    let Some(elsewhere) = redis(&authority.certificate("elsewhere.example"), &ca, "no").await else { return };
    is_refused(&cache(&url(&elsewhere), Some(&ca)), "not for localhost; mend the host in stores.cache").await;
}

#[tokio::test]
async fn a_redis_that_asks_for_a_certificate_of_ours_gets_it() {
    let authority = Authority::new();
    let (ca, ours) = (authority.file(), authority.certificate("switchboard"));
    let Some(server) = redis(&authority.certificate("localhost"), &ca, "yes").await else { return };
    let files = format!("ssl_certfile={}&ssl_keyfile={}", ours.file.display(), ours.key.display());
    answers(&cache(&format!("rediss://localhost:{}?{files}", server.port()), Some(&ca))).await;
    let half = cache("rediss://localhost:1?ssl_certfile=/no/file", None);
    assert!(Redis::open(&half).expect_err("refused").to_string().contains("cannot read /no/file"));
    let half = cache(&format!("rediss://localhost:1?ssl_certfile={}", ours.file.display()), None);
    assert!(Redis::open(&half).expect_err("refused").to_string().contains("name both"));
}
