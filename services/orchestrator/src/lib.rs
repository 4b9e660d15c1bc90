//! The mind of a turn.
//!
//! In: a customer's words with what is known of the conversation. Out: what was understood, the policy's decision, and a
//! reply that is quoted from knowledge, a step of a flow, or a prepared text. Never: a write of customer state, a memory
//! between calls, a stated fact without a citation, a customer's words in a log.
//!
//! [`understand`] reads the words with the local models of [`nlu`]; [`pipeline`] asks knowledge and rules; [`compose`] quotes.
use std::sync::Arc;

use switchboard_proto::orchestrator::v1::orchestrator_service_server::OrchestratorServiceServer;
use switchboard_runtime::{
    Condition, Host, Listener, Shutdown, StartError,
    server::{self, Served},
};
use tonic::service::Routes;

pub mod compose;
pub mod config;
mod convert;
pub mod error;
mod grpc;
pub mod nlu;
pub mod pipeline;
pub mod understand;

use config::Config;
use nlu::IntentModel;
use pipeline::Pipeline;

/// Serves until `shutdown`. The service is in the mesh only once its classifier is trained or loaded.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let Config { data, examples, confidence_threshold } = config;
    let started = tokio::time::Instant::now();
    let now = host.clock.now();
    let ready = move || {
        let model = IntentModel::load_or_train(&data, &examples);
        understand::warm_up(&model, now);
        model
    };
    let model = tokio::task::spawn_blocking(ready)
        .await
        .map_err(|e| StartError::Other(format!("the intent classifier could not be trained: {e}")))?;
    let pipeline = Pipeline::new(model, confidence_threshold, host.connect("knowledge")?, host.connect("rules")?);
    tracing::info!(
        model = pipeline.version,
        intents = pipeline.model.intents().len(),
        took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "intent classifier ready"
    );
    let grpc = grpc::Grpc { pipeline: Arc::new(pipeline), clock: host.clock.clone() };
    let served = Served {
        routes: Routes::new(OrchestratorServiceServer::new(grpc)),
        services: &["switchboard.orchestrator.v1.OrchestratorService"],
        public: &[],
        verifier: host.verifier()?,
        condition: Condition::well(),
    };
    server::serve(served, &host, listener, shutdown).await
}
