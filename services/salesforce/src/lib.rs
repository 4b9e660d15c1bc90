//! The connection to Salesforce.
//!
//! In: cases, comments and contacts to write, each under an external id of ours; questions for cases, contacts and orders;
//! a cursor. Out: the records as they stand there, and what people changed. Never: a second record for the same external
//! id, another organization's record, what a person wrote or is called in clear in a store, or a decision about a conversation.
//!
//! Without an org configured, [`org::embedded`] plays one: the same ids, numbers and laws, in the ledger.
use std::{sync::Arc, time::Duration};

use switchboard_proto::salesforce::v1::salesforce_service_server::SalesforceServiceServer;
use switchboard_runtime::{
    Host, Listener, Shutdown, StartError,
    server::{Served, serve as run},
};
use tonic::service::Routes;

pub mod config;
mod demo;
pub mod error;
mod grpc;
mod id;
mod number;
pub mod org;
pub mod replay;
pub mod store;

pub use config::Config;
pub use error::Error;
pub use org::{Org, embedded::Embedded};
pub use store::MIGRATIONS;

/// Between two tries to wrap keys anew while the ledger fails: it is not urgent.
const AGAIN: Duration = Duration::from_secs(60);

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let org = Arc::new(Embedded::open(&config.ledger, config.vault, config.demo, host.clock.clone()).await?);
    let rewrapping = tokio::spawn(rewrap(org.clone()));
    let served = Served {
        routes: Routes::new(SalesforceServiceServer::new(grpc::Service { org: org.clone() })),
        services: &["switchboard.salesforce.v1.SalesforceService"],
        public: &[],
        verifier: host.verifier()?,
        condition: org.condition(),
    };
    let done = run(served, &host, listener, shutdown).await;
    rewrapping.abort();
    org.close().await;
    done
}

/// Brings all keys under the newest master, once per start: a new one is configured by a restart.
async fn rewrap(org: Arc<Embedded>) {
    loop {
        org.condition().until_well().await;
        match org.rewrap().await {
            Ok(0) => return,
            Ok(keys) => return tracing::info!(keys, "wrapped keys under the newest master key"),
            Err(error) => tracing::warn!(%error, "could not wrap keys anew; trying again later"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
