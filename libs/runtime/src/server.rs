//! The server side of every service: the same layers in the same order, health, reflection, drain.
//!
//! In: a service's routes. Out: answers, each with a reason if it is an error. Never: a handler that runs without a checked
//! caller (unless its method is listed as public), past its deadline, or whose panic leaves the process.
//!
//! Order, outer to inner: panic → trace → metrics → load shedding → deadline → calling service → token → handler.
//! Shedding stands before the checks so that a flood costs little; health and reflection pass by all of them.
use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context as Poll_, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response};
use switchboard_errors::{Fault, Reason};
use switchboard_proto::FILE_DESCRIPTOR_SET;
use tokio::{sync::Semaphore, time::Instant};
use tonic::{
    Status,
    body::Body,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::{Layer, Service, ServiceExt as _, util::BoxCloneSyncService};
use tracing::Instrument as _;

use crate::{
    Shutdown, StartError,
    caller::Verifier,
    client::{CALLER_HEADER, KEY_HEADER, REQUEST_ID_HEADER, method},
    condition::{self, Condition},
    context::Context,
    mesh::{Host, Listener},
    topology,
    trace::TraceContext,
};

/// Calls answered at once by one service; above it new ones are refused, so that those inside still end in time.
const CONCURRENCY: usize = 4096;
/// Used where a call brings no deadline and topology.toml has none for the caller.
const DEFAULT_BUDGET: Duration = Duration::from_secs(10);
/// Our answer leaves this much before the wire's deadline, so that DEADLINE_EXCEEDED comes from us, with a reason.
const HEAD_START: Duration = Duration::from_millis(2);
/// Answers of the health service say why.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// What a service serves.
pub struct Served {
    /// Its generated servers.
    pub routes: Routes,
    /// Full names of its gRPC services, for health.
    pub services: &'static [&'static str],
    /// Paths that need no token.
    pub public: &'static [&'static str],
    /// Who verifies tokens.
    pub verifier: Arc<Verifier>,
    /// What it needs to be well: health says NOT_SERVING, and why, while it is not.
    pub condition: Condition,
}

/// Serves until `shutdown`, then drains. Calls are answered also while the service is not well: each says itself what it
/// could not do.
pub async fn serve(served: Served, host: &Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    set(&health, served.services, ServingStatus::NotServing).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| StartError::Other(format!("reflection: {e}")))?;
    let routes = served.routes.add_service(health_service).add_service(reflection).prepare();
    let layer = FrontLayer(Arc::new(Gate {
        host: host.clone(),
        public: served.public,
        verifier: served.verifier,
        permits: Semaphore::new(CONCURRENCY),
        condition: served.condition.clone(),
    }));
    let mut condition = served.condition;
    let announce = async {
        loop {
            let why = condition.why();
            let status = if why.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
            set(&health, served.services, status).await;
            match why {
                None => tracing::debug!(service = host.name, "serving"),
                Some(why) => tracing::warn!(service = host.name, why, "not serving"),
            }
            tokio::select! {
                () = condition.changed() => {}
                () = shutdown.cancelled() => return,
            }
        }
    };
    match listener {
        Listener::InProcess => {
            host.mesh.put(host.name, BoxCloneSyncService::new(layer.layer(routes)))?;
            announce.await;
        }
        Listener::Tcp(socket) => {
            let address = socket.local_addr().map(|a| a.to_string()).unwrap_or_default();
            tracing::info!(service = host.name, address, "listening");
            // Set on each accepted socket: without it a small answer waits 40 ms for the client's delayed acknowledgement.
            let incoming = TcpIncoming::from(socket).with_nodelay(Some(true));
            let server = Server::builder()
                .http2_keepalive_interval(Some(Duration::from_secs(30)))
                // Connections are renewed now and then so that new replicas get their share.
                .max_connection_age(Duration::from_secs(1800))
                .layer(layer)
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
            let (result, ()) = tokio::join!(server, announce);
            result.map_err(|e| StartError::Other(format!("{}: {e}", host.name)))?;
        }
    }
    set(&health, served.services, ServingStatus::NotServing).await;
    Ok(())
}

async fn set(health: &HealthReporter, services: &[&str], status: ServingStatus) {
    for name in services {
        health.set_service_status(name, status).await;
    }
    // The empty name is the whole server; it is SERVING from the start unless told otherwise.
    health.set_service_status("", status).await;
}

struct Gate {
    host: Host,
    public: &'static [&'static str],
    verifier: Arc<Verifier>,
    permits: Semaphore,
    condition: Condition,
}

#[derive(Clone)]
struct FrontLayer(Arc<Gate>);

impl Layer<Routes> for FrontLayer {
    type Service = Front;

    fn layer(&self, routes: Routes) -> Front {
        Front { gate: self.0.clone(), routes }
    }
}

#[derive(Clone)]
struct Front {
    gate: Arc<Gate>,
    routes: Routes,
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Poll_<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (gate, routes) = (self.gate.clone(), self.routes.clone());
        Box::pin(async move { Ok(gate.answer(routes, request).await) })
    }
}

impl Gate {
    async fn answer(&self, routes: Routes, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        // Health, reflection, and paths that nobody serves: no gate.
        let Some(row) = method(&path) else {
            let mut response = routes.oneshot(request).await.unwrap_or_else(|never| match never {});
            let why = self.condition.why().filter(|_| path.starts_with(HEALTH));
            if let Some(why) = why.and_then(|w| HeaderValue::from_str(&w).ok()) {
                response.headers_mut().insert(condition::HEADER, why);
            }
            return response;
        };
        let started = Instant::now();
        let _running = self.host.metrics.running();
        let trace = header(request.headers(), "traceparent").and_then(TraceContext::parse).unwrap_or_default();
        let span =
            tracing::info_span!("rpc", service = self.host.name, method = row.path, trace_id = %trace.trace_id_hex());
        let work = AssertUnwindSafe(self.gated(routes, request, row.streaming, trace)).catch_unwind();
        let result = work.instrument(span.clone()).await;
        let response = match result {
            Ok(Ok(response)) => response,
            Ok(Err(fault)) => {
                span.in_scope(|| tracing::debug!(reason = fault.name(), detail = %fault.detail, "refused"));
                Status::from(fault).into_http()
            }
            Err(_) => {
                span.in_scope(|| tracing::error!("a handler panicked"));
                Status::from(Fault::internal("a handler panicked")).into_http()
            }
        };
        let code = response.headers().get("grpc-status").and_then(|s| s.to_str().ok()).unwrap_or("0");
        self.host.metrics.observe(self.host.name, row.path, code, started.elapsed());
        response
    }

    async fn gated(
        &self,
        routes: Routes,
        request: Request<Body>,
        streaming: bool,
        trace: TraceContext,
    ) -> Result<Response<Body>, Fault> {
        let _permit = self.permits.try_acquire().map_err(|_| {
            Fault::new(Reason::Overloaded, "The service has more to do than it can. Try again in a second.")
                .with_retry_after(Duration::from_secs(1))
        })?;
        let headers = request.headers();
        let peer = header(headers, CALLER_HEADER).unwrap_or_default();
        let budget = topology::budget(peer, self.host.name);
        let limit = timeout(headers).or(budget).unwrap_or(DEFAULT_BUDGET);
        let limit = limit.saturating_sub(HEAD_START.min(limit / 10));
        let mut context = Context {
            deadline: Some(Instant::now() + limit),
            trace,
            caller: None,
            request_id: header(headers, REQUEST_ID_HEADER).map(Into::into),
        };
        let key = self.host.mesh.key();
        if !key.is_empty() {
            let proof = header(headers, KEY_HEADER).unwrap_or_default();
            if budget.is_none() || !key.matches(proof) {
                let detail =
                    format!("topology.toml does not let `{peer}` call {}, or its proof is wrong.", self.host.name);
                return Err(Fault::new(Reason::CallerNotAllowed, detail));
            }
        }
        let late = || {
            Fault::new(Reason::DeadlineExceeded, format!("The time for this request ran out in {}.", self.host.name))
        };
        if !self.public.contains(&request.uri().path()) {
            let token = header(headers, "authorization")
                .and_then(|h| h.strip_prefix("Bearer ").or_else(|| h.strip_prefix("bearer ")))
                .ok_or_else(|| {
                    Fault::new(Reason::Unauthenticated, "A bearer token is required in the authorization header.")
                })?;
            let verify = context.clone().scope(self.verifier.verify(token));
            context.caller = Some(tokio::time::timeout(limit, verify).await.map_err(|_| late())??);
        }
        let deadline = context.deadline.unwrap_or_else(|| Instant::now() + limit);
        if streaming {
            // The stream's own lifetime is its watcher's; it ends with the server's drain.
            context.deadline = None;
        }
        let handled = context.scope(routes.oneshot(request));
        let answer = tokio::time::timeout_at(deadline, handled).await.map_err(|_| late())?;
        Ok(answer.unwrap_or_else(|never| match never {}))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The `grpc-timeout` header: digits and one of H M S m u n.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = header(headers, "grpc-timeout")?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}
