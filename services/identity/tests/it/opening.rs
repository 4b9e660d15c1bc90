//! A store that is not there yet, or that the configured keys do not open.
use std::{sync::Arc, time::Duration};

use switchboard_identity::{Config, Identity, MIGRATIONS, serve};
use switchboard_proto::identity::v1::{GetKeysRequest, identity_service_client::IdentityServiceClient};
use switchboard_runtime::{
    Clock, Context, Fault, Listener, Mesh, MeshChannel, Secret, Shutdown, condition, process,
    stores::{Ledger, PostgresAt},
    telemetry::Metrics,
    vault::Vault,
};
use switchboard_testkit::{
    cluster::Door,
    servers::{self, Database},
};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use url::Url;

use crate::ground::Ground;

/// What is not so by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);

on_both! {
    keys_that_do_not_open_end_the_start
}

async fn keys_that_do_not_open_end_the_start(ground: &Ground) {
    ground.identity(&Clock::system()).await;
    let other = Vault::new(&Secret::new("7:c3dpdGNoYm9hcmQgdGVzdHM6IGEgbWFzdGVyIGtleS4=")).expect("a good key");
    let config = Config { vault: other, ..ground.config() };
    for result in [
        Identity::open(&config, Clock::system()).await,
        timeout(PATIENCE, Identity::open_when_ready(&config, Clock::system())).await.expect("waits for nothing"),
    ] {
        let why = result.err().expect("refused").to_string();
        assert!(why.contains("sealed under master key 1, which stores.master_keys does not have"), "{why}");
    }
}

/// A configuration whose server is behind a door.
struct Elsewhere {
    config: Config,
    door: Door,
    /// Where the server is.
    server: u16,
    /// Where nothing is; the door leads there.
    nowhere: u16,
    _data: tempfile::TempDir,
}

async fn elsewhere(database: &Database) -> Elsewhere {
    let data = tempfile::tempdir().expect("a folder");
    let mut url = Url::parse(&database.url).expect("a URL");
    let server = url.port().unwrap_or(5432);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nowhere = free.local_addr().expect("an address").port();
    drop(free);
    let door = Door::to(nowhere).await;
    url.set_port(Some(door.port)).expect("has a port");
    let at = PostgresAt { url: Secret::new(url.as_str()), ..database.at.clone() };
    let config = Config {
        data: data.path().to_owned(),
        ledger: Ledger::Postgres(at),
        vault: servers::vault(),
        demo: true,
        token_ttl: Duration::from_secs(3600),
        guest_retention: Duration::from_secs(30 * 24 * 3600),
    };
    Elsewhere { config, door, server, nowhere, _data: data }
}

#[tokio::test]
async fn a_command_does_not_wait_for_the_server() {
    servers::with_database(async |database| {
        let Elsewhere { config, door, server, _data, .. } = elsewhere(&database).await;
        let open = || timeout(Duration::from_secs(20), Identity::open(&config, Clock::system()));
        let why = open().await.expect("gives up").err().expect("refused").to_string();
        assert!(why.contains("cannot be reached") && why.lines().count() == 1, "{why}");
        assert!(!why.contains("postgres://"), "{why}");
        door.lead_to(server);
        let why = open().await.expect("gives up").err().expect("refused").to_string();
        assert!(why.contains("run `switchboard migrate`"), "{why}");
        MIGRATIONS.apply(&config.ledger).await.expect("migrates");
        open().await.expect("in time").expect("opens");
    })
    .await;
}

async fn health(channel: &MeshChannel) -> (ServingStatus, String) {
    let ask = HealthClient::new(channel.clone()).check(HealthCheckRequest { service: String::new() }).await;
    let answer = ask.expect("health always answers");
    let why = answer.metadata().get(condition::HEADER).map(|why| why.to_str().expect("is text").to_owned());
    (answer.get_ref().status(), why.unwrap_or_default())
}

async fn keys(channel: &MeshChannel) -> Result<String, Fault> {
    let ask = IdentityServiceClient::new(channel.clone()).get_keys(GetKeysRequest {}).await;
    ask.map(|answer| answer.into_inner().jwks_json).map_err(Fault::from)
}

async fn until_health(channel: &MeshChannel, status: ServingStatus, says: &str) {
    let reached = async {
        loop {
            let (now, why) = health(channel).await;
            if now == status && why.contains(says) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let Err(_) = timeout(PATIENCE, reached).await else { return };
    panic!("{status:?} {says:?} is awaited, it is {:?}", health(channel).await);
}

#[tokio::test]
async fn a_service_waits_for_the_server_says_so_and_goes_on_by_itself() {
    servers::with_database(async |database| {
        let Elsewhere { config, door, server, nowhere, _data } = elsewhere(&database).await;
        let mesh = Mesh::new(process::in_process(), process::random_key());
        let host = |name| mesh.host(name, Clock::system(), Metrics::default());
        let shutdown = Shutdown::new();
        let service = tokio::spawn(serve(config.clone(), host("identity"), Listener::InProcess, shutdown.clone()));
        let channel = host("edge").connect("identity").expect("allowed");
        let played = Context::with_timeout(PATIENCE * 3).scope(async {
            while !mesh.is_up("identity") {
                tokio::task::yield_now().await;
            }
            until_health(&channel, ServingStatus::NotServing, "cannot be reached").await;
            let refused = keys(&channel).await.expect_err("refused");
            assert_eq!((refused.name(), refused.http()), ("STORE_FAILED", 503));
            door.lead_to(server);
            until_health(&channel, ServingStatus::NotServing, "run `switchboard migrate`").await;
            MIGRATIONS.apply(&config.ledger).await.expect("migrates");
            until_health(&channel, ServingStatus::Serving, "").await;
            let published = keys(&channel).await.expect("answers");
            // It goes away and comes back: the keys are known, and all else is again as soon as it is there.
            door.lead_to(nowhere);
            until_health(&channel, ServingStatus::NotServing, "PostgreSQL").await;
            assert_eq!(keys(&channel).await.expect("answers"), published);
            door.lead_to(server);
            until_health(&channel, ServingStatus::Serving, "").await;
        });
        played.await;
        shutdown.cancel();
        service.await.expect("runs").expect("ends well");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_waits_can_be_stopped() {
    servers::with_database(async |database| {
        let Elsewhere { config, door: _door, .. } = elsewhere(&database).await;
        let mesh = Mesh::new(process::in_process(), process::random_key());
        let shutdown = Shutdown::new();
        let host = mesh.host("identity", Clock::system(), Metrics::default());
        let server = tokio::spawn(serve(config, host, Listener::InProcess, shutdown.clone()));
        while !mesh.is_up("identity") {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        timeout(PATIENCE, server).await.expect("in time").expect("runs").expect("ends well");
    })
    .await;
}

#[tokio::test]
async fn calls_during_the_start_wait_for_it() {
    let ground = Ground::sqlite();
    let mesh = Mesh::new(process::in_process(), process::random_key());
    let host = |name| mesh.host(name, Clock::system(), Metrics::default());
    let shutdown = Shutdown::new();
    let server = tokio::spawn(serve(ground.config(), host("identity"), Listener::InProcess, shutdown.clone()));
    let channel = Arc::new(host("edge").connect("identity").expect("allowed"));
    while !mesh.is_up("identity") {
        tokio::task::yield_now().await;
    }
    // The demo accounts are still being made: their passwords take a moment to hash.
    Context::with_timeout(PATIENCE).scope(keys(&channel)).await.expect("answers");
    shutdown.cancel();
    server.await.expect("runs").expect("ends well");
}
