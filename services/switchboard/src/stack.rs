//! All services in one process.
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, select_all};
use switchboard_identity::Identity;
use switchboard_runtime::{
    Clock, Context, Fault, Host, Listener, Mesh, Role, Settings, Shutdown, StartError, process,
    telemetry::{self, Metrics},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use crate::{lock, settings};

/// Services behind the edge in the order in which they start, each with one that may call it: that one's name is on the
/// question whether it serves. What is called comes before who calls; stopping goes the other way.
const BEHIND: [(&str, &str); 7] = [
    ("identity", "edge"),
    ("notification", "edge"),
    ("salesforce", "edge"),
    ("rules", "edge"),
    ("knowledge", "edge"),
    ("orchestrator", "conversation"),
    ("conversation", "edge"),
];
/// Between two questions whether a service serves: short beside the start of any of them.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// A service that is not up by then never will be; training and indexing on a slow laptop take seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A service that has not drained by then is cut off: longer than the longest turn.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How services of one stack reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// By calls in this process.
    #[default]
    Inprocess,
    /// Over loopback sockets.
    Tcp,
}

/// What a stack starts with.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Folder of the embedded stores.
    pub data: PathBuf,
    /// Where the edge listens; port 0 takes a free one.
    pub listen: String,
    /// How services reach each other.
    pub transport: Transport,
    /// A configuration file.
    pub file: Option<PathBuf>,
    /// The environment; empty unless it is given.
    pub env: Vec<(String, String)>,
    /// Settings that outrank all others.
    pub overrides: Vec<(&'static str, String)>,
    /// The time.
    pub clock: Clock,
}

impl StackConfig {
    /// A stack on a free port, in process, with the defaults and the system's time; nothing is read from outside.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        StackConfig {
            data: data.into(),
            listen: "127.0.0.1:0".to_owned(),
            transport: Transport::default(),
            file: None,
            env: Vec::new(),
            overrides: Vec::new(),
            clock: Clock::system(),
        }
    }

    /// With one more setting.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.overrides.push((name, value.into()));
        self
    }

    pub(crate) fn settings(&self) -> Result<Settings, StartError> {
        let mut flags = vec![("data", self.data.display().to_string())];
        flags.extend_from_slice(&self.overrides);
        Ok(Settings::load(&settings::tables(), self.file.as_deref(), self.env.iter().cloned(), &flags)?)
    }
}

/// A running service.
struct Running {
    name: &'static str,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), StartError>>,
}

/// All services, running. Dropping it lets go of them without waiting; [`Stack::stop`] waits.
pub struct Stack {
    /// The mesh, for tests that call a service directly.
    pub mesh: Mesh,
    url: String,
    data: PathBuf,
    clock: Clock,
    identity: Arc<Identity>,
    services: Vec<Running>,
    /// Keeps other servers off the data folder.
    _lock: File,
}

impl Stack {
    /// Starts every service; returns when all serve and the edge says that it is ready.
    pub async fn start(config: StackConfig) -> Result<Stack, StartError> {
        let mut settings = config.settings()?;
        telemetry::init(&settings)?;
        settings::check(&settings)?;
        // Before anything is opened: an address in use is the commonest mistake.
        let listener = process::listen(&config.listen, "edge.listen").await?;
        let lock = lock::take(&config.data)?;
        let url = format!("http://{}", local(&listener)?);
        // Links in mails lead to where this very server listens, unless somebody says otherwise.
        settings.fill("edge.public_url", &url);
        let identity = switchboard_identity::config::Config::read(&settings)?;
        let identity = Arc::new(Identity::open_when_ready(&identity, config.clock.clone()).await?);
        let (mesh, mut listeners) = mesh(config.transport).await?;
        let metrics = Metrics::default();
        let mut stack = Stack {
            mesh: mesh.clone(),
            url,
            data: config.data,
            clock: config.clock.clone(),
            identity,
            services: Vec::new(),
            _lock: lock,
        };
        for (name, _) in BEHIND {
            let host = mesh.host(name, config.clock.clone(), metrics.clone());
            let listener = listeners.remove(name).unwrap_or(Listener::InProcess);
            let shutdown = Shutdown::new();
            let service = stack.service(name, &settings, host, listener, shutdown.clone())?;
            stack.services.push(Running { name, shutdown, task: tokio::spawn(service) });
        }
        for (index, (name, caller)) in BEHIND.into_iter().enumerate() {
            let host = mesh.host(caller, config.clock.clone(), Metrics::default());
            stack.until(index, serving(host, name)).await?;
        }
        let host = mesh.host("edge", config.clock, metrics);
        let shutdown = Shutdown::new();
        let edge = switchboard_edge::serve(
            switchboard_edge::config::Config::read(&settings)?,
            host,
            Listener::Tcp(listener),
            shutdown.clone(),
        );
        stack.services.push(Running { name: "edge", shutdown, task: tokio::spawn(edge) });
        let ready = ready(stack.url.clone());
        stack.until(BEHIND.len(), ready).await?;
        Ok(stack)
    }

    fn service(
        &self,
        name: &'static str,
        settings: &Settings,
        host: Host,
        listener: Listener,
        shutdown: Shutdown,
    ) -> Result<BoxFuture<'static, Result<(), StartError>>, StartError> {
        Ok(match name {
            "identity" => Box::pin(switchboard_identity::serve_with(self.identity.clone(), host, listener, shutdown)),
            "notification" => {
                let config = switchboard_notification::config::Config::read(settings)?;
                Box::pin(switchboard_notification::serve(config, host, listener, shutdown))
            }
            "salesforce" => {
                let config = switchboard_salesforce::config::Config::read(settings)?;
                Box::pin(switchboard_salesforce::serve(config, host, listener, shutdown))
            }
            "rules" => {
                let config = switchboard_rules::config::Config::read(settings)?;
                Box::pin(switchboard_rules::serve(config, host, listener, shutdown))
            }
            "knowledge" => {
                let mut config = switchboard_knowledge::config::Config::read(settings)?;
                config.demo_org = self.identity.demo().map(|d| d.organization);
                Box::pin(switchboard_knowledge::serve(config, host, listener, shutdown))
            }
            "orchestrator" => {
                let config = switchboard_orchestrator::config::Config::read(settings)?;
                Box::pin(switchboard_orchestrator::serve(config, host, listener, shutdown))
            }
            "conversation" => {
                let config = switchboard_conversation::config::Config::read(settings)?;
                Box::pin(switchboard_conversation::serve(config, host, listener, shutdown))
            }
            other => return Err(StartError::Other(format!("{other} is not part of the all-in-one"))),
        })
    }

    /// Waits for a service; its own error comes first if it ends instead.
    async fn until(&mut self, index: usize, up: impl Future<Output = ()>) -> Result<(), StartError> {
        let name = self.services[index].name;
        let result = tokio::select! {
            biased;
            ended = &mut self.services[index].task => Some(ended),
            up = tokio::time::timeout(START_LIMIT, up) => {
                return up.map_err(|_| StartError::Other(format!("{name} did not start in {} s", START_LIMIT.as_secs())));
            }
        };
        self.services.remove(index);
        match result {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(StartError::Other(format!("{name} ended while it started"))),
        }
    }

    /// Where the edge listens, such as `http://127.0.0.1:8080`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Folder of the embedded stores.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The time that all services see.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The installation's identity: demo accounts, and tokens for whoever owns the process.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The demo organization; none if it is turned off.
    pub fn demo_organization(&self) -> Option<Uuid> {
        self.identity.demo().map(|d| d.organization)
    }

    /// A token for a new user of a role in the demo organization, good for an hour.
    pub async fn token(&self, role: Role) -> Result<String, Fault> {
        self.identity.mint(role, None, None, Duration::from_secs(3600)).await
    }

    /// A token for a user of an organization; what is not there yet is made.
    pub async fn token_for(&self, role: Role, org: Uuid, user: Uuid) -> Result<String, Fault> {
        self.identity.mint(role, Some(org), Some(user), Duration::from_secs(3600)).await
    }

    /// What one service gets, for tests that call another as it.
    pub fn host(&self, name: &'static str) -> Host {
        self.mesh.host(name, self.clock.clone(), Metrics::default())
    }

    /// Ends when a service does, which none should; says which and why.
    pub async fn failed(&mut self) -> String {
        let tasks: Vec<_> = self.services.iter_mut().map(|s| &mut s.task).collect();
        if tasks.is_empty() {
            return std::future::pending().await;
        }
        let (result, index, _) = select_all(tasks).await;
        let service = self.services.remove(index);
        match result {
            Ok(Ok(())) => format!("{} ended by itself", service.name),
            Ok(Err(e)) => format!("{}: {e}", service.name),
            Err(e) => format!("{} crashed: {e}", service.name),
        }
    }

    /// Drains: the edge first, so that nothing new comes in, then conversation, then what it calls.
    pub async fn stop(mut self) {
        while let Some(mut service) = self.services.pop() {
            service.shutdown.cancel();
            match tokio::time::timeout(DRAIN_LIMIT, &mut service.task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(service = service.name, %error, "ended badly"),
                Ok(Err(error)) => tracing::error!(service = service.name, %error, "crashed"),
                Err(_) => {
                    tracing::warn!(service = service.name, "did not drain in time and was cut off");
                    service.task.abort();
                }
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for service in &self.services {
            service.shutdown.cancel();
        }
    }
}

/// The mesh, and a listener for each service behind the edge if they talk over sockets.
async fn mesh(transport: Transport) -> Result<(Mesh, BTreeMap<&'static str, Listener>), StartError> {
    let (mut addresses, mut listeners) = (process::in_process(), BTreeMap::new());
    if transport == Transport::Tcp {
        for (name, _) in BEHIND {
            let listener = process::listen("127.0.0.1:0", "edge.listen").await?;
            addresses.insert(name.to_owned(), format!("http://{}", local(&listener)?));
            listeners.insert(name, Listener::Tcp(listener));
        }
    }
    Ok((Mesh::new(addresses, process::random_key()), listeners))
}

fn local(listener: &TcpListener) -> Result<std::net::SocketAddr, StartError> {
    listener.local_addr().map_err(|e| StartError::Other(format!("cannot tell the address that was bound: {e}")))
}

/// Ends when a service says that it serves.
async fn serving(host: Host, name: &'static str) {
    let Ok(channel) = host.connect(name) else { return std::future::pending().await };
    let mut health = HealthClient::new(channel);
    loop {
        let ask = health.check(HealthCheckRequest { service: String::new() });
        let answer = Context::with_timeout(Duration::from_secs(1)).scope(ask).await;
        if answer.is_ok_and(|a| a.get_ref().status() == ServingStatus::Serving) {
            return;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Ends when the edge says that all of it is ready.
async fn ready(url: String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
    loop {
        let answer = client.get(format!("{url}/health/ready")).timeout(Duration::from_secs(2)).send().await;
        if answer.is_ok_and(|a| a.status().is_success()) {
            return;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
