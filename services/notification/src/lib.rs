//! Tells people and programs: email, Slack, webhooks.
//!
//! In: a notification with an idempotency key; the organization is that of the caller's token. Out: its delivery, once per key
//! as far as the target allows. Never: a call to another service, a retry by itself, what was said or to whom in the store or
//! a log.
//!
//! Until targets are configured every notification becomes a file in `DATA/outbox`.
use std::sync::Arc;

use switchboard_proto::notification::v1::notification_service_server::NotificationServiceServer;
use switchboard_runtime::{Condition, Host, Listener, Shutdown, StartError, server::Served};
use tonic::service::Routes;

pub mod config;
pub mod email;
pub mod error;
pub mod grpc;
pub mod message;
pub mod sender;
pub mod store;
pub mod transport;
pub mod turns;

pub use config::Config;

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let store = Arc::new(store::sqlite::SqliteStore::open(&config.data).await?);
    let transport = Arc::new(transport::file::FileTransport::new(&config.data));
    let sender = Arc::new(sender::Sender::new(store, transport, host.clock.clone()));
    sender.recover().await.map_err(|e| StartError::Other(format!("notification: {e}")))?;
    let served = Served {
        routes: Routes::new(NotificationServiceServer::new(grpc::Grpc(sender))),
        services: &["switchboard.notification.v1.NotificationService"],
        public: &[],
        verifier: host.verifier()?,
        condition: Condition::well(),
    };
    switchboard_runtime::server::serve(served, &host, listener, shutdown).await
}
