//! The graph in memory.
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Edge, Graph, Linked, Node, Solution, Topic};
use crate::error::Error;

/// Adjacency lists per organization.
#[derive(Debug, Default)]
pub struct EmbeddedGraph {
    orgs: RwLock<HashMap<Uuid, Adjacency>>,
}

#[derive(Debug, Default)]
struct Adjacency {
    solutions: HashMap<Uuid, Solution>,
    topics: HashMap<Uuid, Arc<[Topic]>>,
    by_slug: HashMap<String, Uuid>,
    about: HashMap<Node, Vec<Linked>>,
}

impl Adjacency {
    fn remove(&mut self, article: Uuid) {
        let Some(old) = self.solutions.remove(&article) else { return };
        self.topics.remove(&article);
        if self.by_slug.get(&old.slug) == Some(&article) {
            self.by_slug.remove(&old.slug);
        }
        for edge in &old.edges {
            if let Some(list) = self.about.get_mut(&edge.to) {
                list.retain(|l| l.article != article);
                if list.is_empty() {
                    self.about.remove(&edge.to);
                }
            }
        }
    }

    fn put(&mut self, solution: Solution) {
        self.remove(solution.article);
        if !solution.slug.is_empty() {
            self.by_slug.insert(solution.slug.clone(), solution.article);
        }
        for edge in &solution.edges {
            let list = self.about.entry(edge.to.clone()).or_default();
            list.push(Linked { article: solution.article, confidence: edge.confidence });
            // The id breaks ties, so that the order in which articles came does not matter.
            list.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.article.cmp(&b.article)));
        }
        self.topics.insert(solution.article, solution.topics().into());
        self.solutions.insert(solution.article, solution);
    }
}

impl EmbeddedGraph {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Uuid, Adjacency>> {
        self.orgs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Uuid, Adjacency>> {
        self.orgs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Graph for EmbeddedGraph {
    async fn put(&self, org: Uuid, solution: Solution) -> Result<(), Error> {
        self.write().entry(org).or_default().put(solution);
        Ok(())
    }

    async fn remove(&self, org: Uuid, article: Uuid) -> Result<(), Error> {
        if let Some(adjacency) = self.write().get_mut(&org) {
            adjacency.remove(article);
        }
        Ok(())
    }

    async fn about(&self, org: Uuid, node: &Node) -> Result<Vec<Linked>, Error> {
        Ok(self.read().get(&org).and_then(|a| a.about.get(node)).cloned().unwrap_or_default())
    }

    async fn related(&self, org: Uuid, article: Uuid) -> Result<Vec<Linked>, Error> {
        let orgs = self.read();
        let Some(adjacency) = orgs.get(&org) else { return Ok(vec![]) };
        let edges = adjacency.solutions.get(&article).map(|s| s.edges.as_slice()).unwrap_or_default();
        let linked = edges.iter().filter_map(|edge| match &edge.to {
            Node::Solution(slug) => {
                adjacency.by_slug.get(slug).map(|id| Linked { article: *id, confidence: edge.confidence })
            }
            _ => None,
        });
        Ok(linked.collect())
    }

    async fn topics(&self, org: Uuid, article: Uuid) -> Result<Arc<[Topic]>, Error> {
        Ok(self.read().get(&org).and_then(|a| a.topics.get(&article)).cloned().unwrap_or_default())
    }

    async fn edges(&self, org: Uuid, article: Uuid) -> Result<Vec<Edge>, Error> {
        Ok(self.read().get(&org).and_then(|a| a.solutions.get(&article)).map(|s| s.edges.clone()).unwrap_or_default())
    }
}
