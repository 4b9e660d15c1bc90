//! Who somebody is: organizations, users, credentials, tokens and the keys that verify them.
//!
//! In: names, passwords, refresh tokens; for everything else a verified token, from which the organization is taken. Out:
//! signed tokens that every service verifies by the published keys, users, organizations. Never: a password or an opaque token
//! in clear in the store, a word on which part of a sign-in was wrong, a call to another service.
//!
//! The command line uses [`Identity`] without any server: `switchboard token` mints tokens beside a running one.
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_proto::identity::v1::identity_service_server::IdentityServiceServer;
use switchboard_runtime::{
    Condition, Fault, Host, Listener, Shutdown, StartError,
    caller::{KeySource, Verifier},
    server::Served,
    stores::Migrations,
};
use tonic::service::Routes;

pub mod activity;
pub mod config;
pub mod demo;
pub mod duties;
pub mod error;
pub mod export;
pub mod grpc;
pub mod identity;
pub mod lockout;
pub mod model;
pub mod opening;
pub mod password;
pub mod store;
pub mod token;

pub use config::Config;
pub use demo::{DemoAccount, DemoAccounts};
pub use identity::Identity;
use opening::{Door, Opening};

/// The migrations of both ledgers.
pub const MIGRATIONS: Migrations =
    Migrations { owner: store::OWNER, sqlite: &store::sqlite::MIGRATIONS, postgres: &store::postgres::MIGRATIONS };

/// Serves until `shutdown`. While the store is not there it listens all the same, and health says why it is not well.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let opening = Opening::begin(&config, host.clock.clone()).await?;
    let (opener, door) = Door::closed(opening.condition());
    let (reporter, opened) = Condition::new("identity has not read its keys yet");
    let condition = opening.condition().and(opened);
    let work = async {
        let identity = tokio::select! {
            identity = opening.when_ready() => Arc::new(identity?),
            () = shutdown.cancelled() => return Ok(()),
        };
        opener.send_replace(Some(identity.clone()));
        reporter.well();
        duties::run(&identity, &shutdown).await;
        Ok(())
    };
    tokio::try_join!(serve_behind(door, condition, host, listener, shutdown.clone()), work).map(|_| ())
}

/// Serves an identity that is open already, as the all-in-one has it to print its sign-in.
pub async fn serve_with(
    identity: Arc<Identity>,
    host: Host,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let work = async {
        duties::run(&identity, &shutdown).await;
        Ok(())
    };
    let door = Door::open(identity.clone());
    let serving = serve_behind(door, identity.condition(), host, listener, shutdown.clone());
    tokio::try_join!(serving, work).map(|_| ())
}

async fn serve_behind(
    door: Door,
    condition: Condition,
    host: Host,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let verifier = Arc::new(Verifier::new(Box::new(OwnKeys(door.clone())), host.clock.clone()));
    let routes = Routes::new(IdentityServiceServer::new(grpc::Grpc(door)));
    let services = &["switchboard.identity.v1.IdentityService"];
    let served = Served { routes, services, public: grpc::PUBLIC, verifier, condition };
    switchboard_runtime::server::serve(served, &host, listener, shutdown).await
}

/// Identity verifies tokens as everybody does, but asks nobody for the keys.
struct OwnKeys(Door);

#[async_trait]
impl KeySource for OwnKeys {
    async fn jwks(&self) -> Result<String, Fault> {
        Ok(self.0.identity().await?.jwks().to_owned())
    }
}
