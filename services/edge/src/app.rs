//! What every handler is given: clients, the verifier, the limits.
use std::sync::Arc;

use switchboard_proto::{
    conversation::v1::conversation_service_client::ConversationServiceClient,
    identity::v1::identity_service_client::IdentityServiceClient,
    knowledge::v1::knowledge_service_client::KnowledgeServiceClient,
};
use switchboard_runtime::{Host, MeshChannel, Shutdown, StartError, caller::Verifier};
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    health::Health,
    idempotency::Idempotency,
    limits::{Counters, Limiter, Redis as SharedCounters},
    shared::Shared,
};

/// A page of 200 messages with attachments of up to 1 MiB has to fit; tonic's own limit is 4 MiB.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// The edge of one process.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) host: Host,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) health: Health,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) answers: Idempotency,
    /// Cancelled when the process stops.
    pub(crate) drain: Shutdown,
    /// Connections and sockets that a drain waits for.
    pub(crate) tasks: TaskTracker,
    conversation: ConversationServiceClient<MeshChannel>,
    identity: IdentityServiceClient<MeshChannel>,
    knowledge: KnowledgeServiceClient<MeshChannel>,
}

pub(crate) type Edge = Arc<App>;

impl App {
    pub(crate) fn new(config: Config, host: Host, drain: Shutdown) -> Result<Edge, StartError> {
        let shared = Shared::open(&config.cache, &host)?;
        let limiter = config.rate.map(|rate| {
            let counters = shared.clone().map(|s| Box::new(SharedCounters::new(s)) as Box<dyn Counters>);
            Limiter::new(rate, counters, host.clock.clone())
        });
        let conversation = ConversationServiceClient::new(host.connect("conversation")?);
        Ok(Arc::new(App {
            verifier: host.verifier()?,
            health: Health::new(&host)?,
            limiter,
            answers: Idempotency::new(shared),
            drain,
            tasks: TaskTracker::new(),
            conversation: conversation.max_decoding_message_size(LARGEST_ANSWER),
            identity: IdentityServiceClient::new(host.connect("identity")?),
            knowledge: KnowledgeServiceClient::new(host.connect("knowledge")?),
            config,
            host,
        }))
    }

    pub(crate) fn conversation(&self) -> ConversationServiceClient<MeshChannel> {
        self.conversation.clone()
    }

    pub(crate) fn identity(&self) -> IdentityServiceClient<MeshChannel> {
        self.identity.clone()
    }

    pub(crate) fn knowledge(&self) -> KnowledgeServiceClient<MeshChannel> {
        self.knowledge.clone()
    }
}
