//! Health, metrics and the published keys.
//!
//! In: the health of every service over the mesh. Out: what load balancers, Prometheus and other verifiers read. Never: a
//! probe storm: what was found holds for a second; the name of a host.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use switchboard_proto::identity::v1::GetKeysRequest;
use switchboard_runtime::{Context, Host, MeshChannel, StartError, condition};
use tokio::{sync::Mutex, time::Instant};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Edge, error::Answer, trouble::in_public, view};

/// One service may take this long to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was found holds this long.
const FRESH: Duration = Duration::from_secs(1);
/// Without these nobody gets an answer; without another one the agent is poorer, and says so.
const VITAL: [&str; 2] = ["identity", "conversation"];
const CALLED: [&str; 6] = ["identity", "conversation", "knowledge", "rules", "salesforce", "notification"];

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    Healthy,
    Degraded,
    Unhealthy,
}

/// How the system is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct Report {
    pub(crate) status: Condition,
    pub(crate) version: &'static str,
    #[schema(format = DateTime)]
    pub(crate) timestamp: String,
    /// Each service that the edge calls.
    pub(crate) services: BTreeMap<&'static str, Condition>,
    /// Why, for each service that is not healthy: which part and what kind of trouble. Hosts are named in its log only.
    #[schema(example = json!({ "knowledge": "store: not reachable" }))]
    pub(crate) details: BTreeMap<&'static str, String>,
}

/// Each service; none is well, else why it is not.
type Found = BTreeMap<&'static str, Option<String>>;

pub(crate) struct Health {
    channels: Vec<(&'static str, MeshChannel)>,
    found: Mutex<Option<(Instant, Arc<Found>)>>,
}

impl Health {
    pub(crate) fn new(host: &Host) -> Result<Self, StartError> {
        let channels = CALLED.into_iter().map(|name| Ok((name, host.connect(name)?)));
        Ok(Health { channels: channels.collect::<Result<_, StartError>>()?, found: Mutex::new(None) })
    }

    async fn services(&self) -> Arc<Found> {
        // Whoever comes while it is being asked waits for the same answer.
        let mut found = self.found.lock().await;
        if let Some((at, services)) = &*found
            && at.elapsed() < FRESH
        {
            return services.clone();
        }
        let asked = self.channels.iter().map(|(name, channel)| async move { (*name, ask(channel.clone()).await) });
        let services: Arc<Found> = Arc::new(futures::future::join_all(asked).await.into_iter().collect());
        *found = Some((Instant::now(), services.clone()));
        services
    }
}

/// Why a service is not well; none if it is.
async fn ask(channel: MeshChannel) -> Option<String> {
    let mut client = HealthClient::new(channel);
    let ask = Context::with_timeout(PATIENCE).scope(client.check(HealthCheckRequest { service: String::new() }));
    let Ok(answer) = ask.await else { return Some("not reachable".to_owned()) };
    if answer.get_ref().status() == ServingStatus::Serving {
        return None;
    }
    let why = answer.metadata().get(condition::HEADER).and_then(|why| why.to_str().ok());
    Some(in_public(why.unwrap_or_default()))
}

async fn report(app: &Edge) -> Report {
    let found = app.health.services().await;
    let bad = |names: &[&str]| found.iter().any(|(name, why)| names.contains(name) && why.is_some());
    let status = match (bad(&VITAL), bad(&CALLED)) {
        (true, _) => Condition::Unhealthy,
        (false, true) => Condition::Degraded,
        (false, false) => Condition::Healthy,
    };
    let condition = |why: &Option<String>| if why.is_none() { Condition::Healthy } else { Condition::Unhealthy };
    Report {
        status,
        version: env!("CARGO_PKG_VERSION"),
        timestamp: view::instant(app.host.clock.now()),
        services: found.iter().map(|(name, why)| (*name, condition(why))).collect(),
        details: found.iter().filter_map(|(name, why)| Some((*name, why.clone()?))).collect(),
    }
}

fn answer(report: Report, ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

/// How the system and each of its services is.
#[utoipa::path(get, path = "/health", operation_id = "healthCheck", tag = "System", security(()), responses(
    (status = 200, description = "It answers, perhaps without a service that it can do without", body = Report),
    (status = 503, description = "It cannot answer", body = Report)))]
async fn health(State(app): State<Edge>) -> Response {
    let report = report(&app).await;
    let ready = report.status != Condition::Unhealthy;
    answer(report, ready)
}

/// The same under the base path.
#[utoipa::path(get, path = "/v1/health", operation_id = "healthCheckV1", tag = "System", security(()), responses(
    (status = 200, description = "It answers, perhaps without a service that it can do without", body = Report),
    (status = 503, description = "It cannot answer", body = Report)))]
async fn health_v1(state: State<Edge>) -> Response {
    health(state).await
}

/// The process runs.
#[utoipa::path(get, path = "/health/live", operation_id = "healthLive", tag = "System", security(()), responses(
    (status = 200, description = "The process runs", body = String)))]
async fn live() -> &'static str {
    "live\n"
}

/// Every service answers, and the process is not draining: send traffic.
#[utoipa::path(get, path = "/health/ready", operation_id = "healthReady", tag = "System", security(()), responses(
    (status = 200, description = "Every service answers", body = Report),
    (status = 503, description = "A service does not answer yet, or the process is draining", body = Report)))]
async fn ready(State(app): State<Edge>) -> Response {
    let report = report(&app).await;
    let ready = report.status == Condition::Healthy && !app.drain.is_cancelled();
    answer(report, ready)
}

/// Counts and times of every route and RPC, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "System", security(()), responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<Edge>) -> Response {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], app.host.metrics.page())
        .into_response()
}

/// The public keys that verify tokens of this installation (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "getKeys", tag = "System", security(()), responses(
    (status = 200, description = "A JSON Web Key Set", body = Object)))]
async fn keys(State(app): State<Edge>) -> Answer<Response> {
    let ask = Context::current().within(PATIENCE);
    let answer = ask.scope(app.identity().get_keys(GetKeysRequest {})).await?.into_inner();
    // As long as the services themselves may keep them.
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, answer.jwks_json).into_response())
}

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(health_v1))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(metrics))
        .routes(routes!(keys))
}
