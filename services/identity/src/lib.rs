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
};
use tonic::service::Routes;

pub mod config;
pub mod demo;
pub mod error;
pub mod grpc;
pub mod identity;
pub mod lockout;
pub mod model;
pub mod password;
pub mod store;
pub mod token;

pub use config::Config;
pub use demo::{DemoAccount, DemoAccounts};
pub use identity::Identity;

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let identity = Arc::new(Identity::open(&config, host.clock.clone()).await?);
    serve_with(identity, host, listener, shutdown).await
}

/// Serves an identity that is open already, as the all-in-one has it to print its sign-in.
pub async fn serve_with(
    identity: Arc<Identity>,
    host: Host,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let verifier = Arc::new(Verifier::new(Box::new(OwnKeys(identity.clone())), host.clock.clone()));
    let routes = Routes::new(IdentityServiceServer::new(grpc::Grpc(identity)));
    let served = Served {
        routes,
        services: &["switchboard.identity.v1.IdentityService"],
        public: grpc::PUBLIC,
        verifier,
        condition: Condition::well(),
    };
    switchboard_runtime::server::serve(served, &host, listener, shutdown).await
}

/// Identity verifies tokens as everybody does, but asks nobody for the keys.
struct OwnKeys(Arc<Identity>);

#[async_trait]
impl KeySource for OwnKeys {
    async fn jwks(&self) -> Result<String, Fault> {
        Ok(self.0.jwks().to_owned())
    }
}
