//! How services reach each other: in process, or over sockets; the same stubs, layers and messages both ways.
//!
//! In: which services run here and where the others listen. Out: a [`Host`] per service, from which it gets its clients.
//! Never: a link that `services/topology.toml` does not have.
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use switchboard_errors::Fault;
use switchboard_proto::identity::v1::{
    GetKeysRequest, IssueServiceTokenRequest, identity_service_client::IdentityServiceClient,
};
use tokio::{net::TcpListener, sync::OnceCell};
use tonic::{body::Body, transport::Endpoint};
use tower::util::BoxCloneSyncService;
use uuid::Uuid;

pub use crate::client::MeshChannel;
use crate::{
    Secret, StartError,
    caller::{KeySource, Verifier},
    client::Link,
    clock::Clock,
    context::Context,
    telemetry::Metrics,
    topology,
};

/// A service with its layers, ready to be called in process.
pub type MeshService = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// Where services of this process are put when they start.
pub type Slots = BTreeMap<String, OnceCell<MeshService>>;

/// How to reach every service.
#[derive(Clone)]
pub struct Mesh {
    slots: Arc<Slots>,
    addresses: Arc<BTreeMap<String, String>>,
    /// Proves that a caller is a service of this mesh where no mTLS does. Empty: the mesh proves it.
    key: Secret,
}

impl Mesh {
    /// Services call each other in this process unless an address is given. `key` is shared by all services.
    pub fn new(addresses: BTreeMap<String, String>, key: Secret) -> Self {
        let slots = topology::services().keys().map(|name| (name.clone(), OnceCell::new())).collect();
        Mesh { slots: Arc::new(slots), addresses: Arc::new(addresses), key }
    }

    /// What one service gets.
    pub fn host(&self, name: &'static str, clock: Clock, metrics: Metrics) -> Host {
        Host { name, mesh: self.clone(), clock, metrics }
    }

    /// The proof that callers have to bring.
    pub fn key(&self) -> &Secret {
        &self.key
    }

    /// True once a service of this process has started.
    pub fn is_up(&self, name: &str) -> bool {
        self.slots.get(name).is_some_and(|slot| slot.get().is_some())
    }

    pub(crate) fn put(&self, name: &str, service: MeshService) -> Result<(), StartError> {
        let slot = self.slots.get(name).ok_or_else(|| StartError::Other(format!("{name} is not in topology.toml")))?;
        slot.set(service).map_err(|_| StartError::Other(format!("{name} runs in this process already")))
    }
}

/// Where a service listens.
pub enum Listener {
    /// In this process.
    InProcess,
    /// On a bound socket.
    Tcp(TcpListener),
}

/// What a service is given to live on.
#[derive(Clone)]
pub struct Host {
    /// Its own name.
    pub name: &'static str,
    /// The mesh.
    pub mesh: Mesh,
    /// The time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Host {
    /// A channel to another service, for its generated client. Refused if topology.toml does not have the link.
    pub fn connect(&self, callee: &'static str) -> Result<MeshChannel, StartError> {
        let budget = topology::budget(self.name, callee)
            .ok_or_else(|| StartError::Other(format!("topology.toml does not let {} call {callee}", self.name)))?;
        let link = match self.mesh.addresses.get(callee) {
            None => Link::InProcess(self.mesh.slots.clone()),
            Some(address) => {
                let endpoint = Endpoint::from_shared(address.clone())
                    .map_err(|e| StartError::Other(format!("`{address}` is no address for {callee}: {e}")))?
                    .tcp_nodelay(true)
                    // A dead peer behind a healed network is noticed, and the connection made anew.
                    .http2_keep_alive_interval(std::time::Duration::from_secs(20))
                    .keep_alive_timeout(std::time::Duration::from_secs(5))
                    .keep_alive_while_idle(true)
                    .connect_timeout(std::time::Duration::from_secs(2));
                #[expect(clippy::disallowed_methods, reason = "this is the one place that makes channels")]
                Link::Tcp(endpoint.connect_lazy())
            }
        };
        Ok(MeshChannel::new(self.name, callee, budget, link, self.mesh.key.clone()))
    }

    /// Verifies tokens with the keys that identity publishes.
    pub fn verifier(&self) -> Result<Arc<Verifier>, StartError> {
        Ok(Arc::new(Verifier::new(Box::new(PublishedKeys(self.connect("identity")?)), self.clock.clone())))
    }

    /// Runs work that nobody asked for just now, under a service token of the organization it is for.
    pub async fn as_service<F: Future>(
        &self,
        verifier: &Verifier,
        org: Uuid,
        limit: std::time::Duration,
        work: F,
    ) -> Result<F::Output, Fault> {
        let channel = self.connect("identity").map_err(Fault::internal)?;
        let context = Context::with_timeout(limit);
        let ask = IssueServiceTokenRequest { organization_id: org.to_string() };
        let mut identity = IdentityServiceClient::new(channel);
        let answer = context.clone().scope(identity.issue_service_token(ask)).await?.into_inner();
        let token = answer.token.unwrap_or_default().access_token;
        let caller = context.clone().scope(verifier.verify(&token)).await?;
        Ok(Context { caller: Some(caller), ..context }.scope(work).await)
    }
}

struct PublishedKeys(MeshChannel);

#[async_trait::async_trait]
impl KeySource for PublishedKeys {
    async fn jwks(&self) -> Result<String, Fault> {
        let mut identity = IdentityServiceClient::new(self.0.clone());
        Ok(identity.get_keys(GetKeysRequest {}).await?.into_inner().jwks_json)
    }
}
