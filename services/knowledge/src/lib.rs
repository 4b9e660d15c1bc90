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
pub mod keep;
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
pub use store::MIGRATIONS;

/// Serves until `shutdown`. It comes up also while its store is not there, and says so.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let (store, condition) = store::open(&config.ledger).await?;
    let (folder, generation) = (config.index, host.clock.new_id());
    let index = tokio::task::spawn_blocking(move || index::tantivy::TantivyIndex::open(&folder, generation));
    let index = index.await.map_err(|e| StartError::Other(format!("knowledge: {e}")))?;
    let index = Arc::new(index.map_err(|e| StartError::Other(format!("knowledge: {e}")))?);
    let graph = Arc::new(graph::embedded::EmbeddedGraph::default());
    let knowledge = Knowledge::new(store.clone(), index, graph, host.clock.clone());
    let (reporter, ready) = Condition::new("the search index is being brought up to the articles");
    let demo = config.demo_org.filter(|_| config.demo);
    let keep = keep::keep(knowledge.clone(), demo, condition.clone(), host.clock.clone(), reporter);
    let served = server::Served {
        routes: Routes::new(KnowledgeServiceServer::new(grpc::Grpc { knowledge })),
        services: &["switchboard.knowledge.v1.KnowledgeService"],
        public: &[],
        verifier: host.verifier()?,
        condition: condition.and(ready),
    };
    let result = tokio::select! {
        result = server::serve(served, &host, listener, shutdown) => result,
        () = keep => Ok(()),
    };
    store.close().await;
    result
}
