//! The connection to Salesforce.
//!
//! In: cases, comments and contacts to write, each under an external id of ours; questions for cases, contacts and orders;
//! a cursor. Out: the records as they stand there, and what people changed. Never: a second record for the same external
//! id, another organization's record, or a decision about a conversation.
//!
//! Without an org configured, [`org::embedded`] plays one: the same ids, numbers and laws, in one SQLite file.
use std::sync::Arc;

use switchboard_proto::salesforce::v1::salesforce_service_server::SalesforceServiceServer;
use switchboard_runtime::{
    Condition, Host, Listener, Shutdown, StartError,
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

pub use config::Config;
pub use error::Error;
pub use org::{Org, embedded::Embedded};

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let org = Arc::new(Embedded::open(&config.data, config.demo, host.clock.clone()).await?);
    let service = grpc::Service { org: org.clone() };
    let served = Served {
        routes: Routes::new(SalesforceServiceServer::new(service)),
        services: &["switchboard.salesforce.v1.SalesforceService"],
        public: &[],
        verifier: host.verifier()?,
        condition: Condition::well(),
    };
    run(served, &host, listener, shutdown).await?;
    org.close().await;
    Ok(())
}
