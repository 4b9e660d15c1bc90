//! Tells people and programs: email, Slack, webhooks.
//!
//! In: a notification with an idempotency key; the organization is that of the caller's token. Out: its delivery, once per key
//! as far as the target allows, whichever replica is asked. Never: a call to another service, a retry by itself, what was said or
//! to whom in the store or a log: the store has keyed hashes of whom, to export and erase a person.
//!
//! Until targets are configured every notification becomes a file in `DATA/outbox`.
use std::{sync::Arc, time::Duration};

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
pub use store::MIGRATIONS;

/// Between two tries to wrap keys anew while the store fails: it is not urgent.
const AGAIN: Duration = Duration::from_secs(60);

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let (store, condition) = store::open(&config.ledger, config.vault).await?;
    let transport = Arc::new(transport::file::FileTransport::new(&config.data));
    let sender = Arc::new(sender::Sender::new(store.clone(), transport, host.clock.clone()));
    let recovering = recover(sender.clone(), condition.clone());
    let rewrapping = rewrap(store.clone(), condition.clone());
    let served = Served {
        routes: Routes::new(NotificationServiceServer::new(grpc::Grpc(sender))),
        services: &["switchboard.notification.v1.NotificationService"],
        public: &[],
        verifier: host.verifier()?,
        condition,
    };
    let result = tokio::select! {
        result = switchboard_runtime::server::serve(served, &host, listener, shutdown) => result,
        ((), ()) = async { tokio::join!(recovering, rewrapping) } => Ok(()),
    };
    store.close().await;
    result
}

/// Looks after what processes left that died: this one's last life, or another replica.
async fn recover(sender: Arc<sender::Sender>, mut condition: Condition) {
    loop {
        condition.until_well().await;
        if let Err(error) = sender.recover().await {
            tracing::warn!(%error, "could not settle what was cut off; trying again later");
        }
        tokio::time::sleep(sender::HOLD).await;
    }
}

/// Brings all keys under the newest master, once per start: a new one is configured by a restart.
async fn rewrap(store: Arc<dyn store::Store>, mut condition: Condition) {
    loop {
        condition.until_well().await;
        match store.rewrap().await {
            Ok(0) => return,
            Ok(keys) => return tracing::info!(keys, "wrapped keys under the newest master key"),
            Err(error) => tracing::warn!(%error, "could not wrap keys anew; trying again later"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
