//! Conversations: the only service that owns their state, and the only one that acts.
//!
//! In: messages of customers and humans, thoughts of the orchestrator, what people do in Salesforce. Out: replies, events in
//! order, effects through the ledger. Never: a decision about what to say (orchestrator and rules make it), a write that is not
//! a compare-and-set, an outside write that has no row.
//!
//! Modules: [`machine`] the states; [`turn`] messages and replies; [`effects`] the ledger of outside writes; [`desk`] humans;
//! [`timers`] what nobody asks for; [`store`] the port beneath; [`mind`] and [`targets`] the ports outward;
//! [`relay`] what leaves by the outbox, to the [`bus`], to [`sessions`] and to [`outcomes`].
pub mod bus;
pub mod cache;
pub mod change;
pub mod config;
pub mod desk;
pub mod effects;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod hub;
pub mod machine;
pub mod mind;
pub mod model;
pub mod outbox;
pub mod outcomes;
pub mod places;
pub mod presence;
pub mod privacy;
pub mod relay;
pub mod sessions;
pub mod shared;
pub mod start;
pub mod store;
pub mod targets;
pub mod timers;
pub mod turn;

pub use store::MIGRATIONS;

use std::sync::Arc;

use switchboard_proto::conversation::v1::conversation_service_server::ConversationServiceServer;
use switchboard_runtime::{
    Host, Listener, Shutdown, StartError,
    server::{Served, serve as serve_routes},
};
use tokio::sync::Notify;
use tonic::service::Routes;

use crate::{
    config::Config, effects::Hands, engine::Engine, mind::MeshMind, relay::Relay, shared::Shared, targets::MeshTargets,
};

/// Largest request: a message with ten attachments sent along.
const MAX_REQUEST: usize = 2 * 1024 * 1024;

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let (store, condition) = store::open(&config.ledger, config.vault.clone()).await?;
    // Ends after the service: what the last answers committed is told to the other replicas too.
    let told = Shutdown::new();
    let _told = told.clone().drop_guard();
    let shared = Arc::new(Shared::open(&config.cache, store.clone(), &config.vault, &host, &told)?);
    let verifier = host.verifier()?;
    let targets = MeshTargets {
        salesforce: host.connect("salesforce")?,
        notification: host.connect("notification")?,
        identity: host.connect("identity")?,
        public_url: config.public_url.clone(),
    };
    let sessions = config.sessions.open().await?;
    let relay = Relay::new(store.clone(), config.bus.open(), sessions.clone(), config.capsule_retention, &host.clock);
    host.metrics.register(|registry| relay.figures.register(registry));
    let places = places::all(
        &store,
        &shared,
        &sessions,
        host.connect("salesforce")?,
        host.connect("notification")?,
        host.connect("identity")?,
    );
    let engine = Arc::new(Engine {
        store: store.clone(),
        mind: Arc::new(MeshMind { orchestrator: host.connect("orchestrator")?, rules: host.connect("rules")? }),
        hands: Hands { targets: Arc::new(targets), clock: host.clock.clone() },
        shared: shared.clone(),
        places,
        clock: host.clock.clone(),
        config,
        wake: Notify::new(),
        identity: host.connect("identity")?,
        host: host.clone(),
        verifier: verifier.clone(),
        relay,
    });
    let worker = tokio::spawn(timers::work(engine.clone(), shutdown.clone()));
    let service = grpc::Conversations { engine, shutdown: shutdown.clone() };
    let served = Served {
        routes: Routes::new(ConversationServiceServer::new(service).max_decoding_message_size(MAX_REQUEST)),
        services: &["switchboard.conversation.v1.ConversationService"],
        public: &[],
        verifier,
        condition,
    };
    let result = serve_routes(served, &host, listener, shutdown).await;
    // The worker ends with the same token; what it was doing is in rows.
    let _ = worker.await;
    told.cancel();
    shared.hub.closed().await;
    sessions.close().await;
    store.close().await;
    result
}
