//! What the company knows: articles with versions, search, and the graph of products, topics, errors and solutions.
//!
//! In: articles from admins and services, questions from anybody with a token. Out: articles, and the passages that answer a
//! question, or none. Never: a word about conversations, an article of another organization, or one that is archived,
//! expired or internal to somebody who may not see it.
use std::sync::Arc;

use switchboard_proto::knowledge::v1::knowledge_service_server::KnowledgeServiceServer;
use switchboard_runtime::{Condition, Host, Listener, Shutdown, StartError, server};
use tonic::service::Routes;

pub mod analysis;
pub mod article;
pub mod chunk;
pub mod codes;
pub mod config;
pub mod demo;
pub mod error;
pub mod graph;
mod grpc;
pub mod index;
pub mod knowledge;
pub mod markdown;
pub mod parse;
pub mod quote;
pub mod relevance;
pub mod store;

pub use config::Config;
pub use demo::import_demo;
pub use knowledge::Knowledge;
pub use parse::{ParseError, parse_article};

/// Serves until `shutdown`.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let store = Arc::new(store::sqlite::SqliteStore::open(&config.data).await?);
    let failed = |e: error::Error| StartError::Other(format!("knowledge: {e}"));
    let graph = Arc::new(graph::embedded::EmbeddedGraph::default());
    let knowledge = Knowledge::open(store.clone(), &config.index, graph, host.clock.clone()).await.map_err(failed)?;
    if let Some(org) = config.demo_org.filter(|_| config.demo) {
        let count = import_demo(&knowledge, org).await.map_err(failed)?;
        if count > 0 {
            tracing::info!(articles = count, "demo articles imported");
        }
    }
    let served = server::Served {
        routes: Routes::new(KnowledgeServiceServer::new(grpc::Grpc { knowledge })),
        services: &["switchboard.knowledge.v1.KnowledgeService"],
        public: &[],
        verifier: host.verifier()?,
        condition: Condition::well(),
    };
    let result = server::serve(served, &host, listener, shutdown).await;
    store.close().await;
    result
}
