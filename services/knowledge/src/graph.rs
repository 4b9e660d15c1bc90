//! What hangs together: products, topics, errors and the articles that solve them.
//!
//! Laws, each with a test: an article's edges are those of its newest version and go when it goes; nothing of one
//! organization is seen by another; the order in which articles come does not matter.
//!
//! The graph is derived: it is built from the store at the start.
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    analysis::{self, TermId},
    article::Article,
    codes,
    error::Error,
};

pub mod embedded;

/// Something that articles are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A product.
    Product(String),
    /// A category, a subcategory or a feature.
    Topic(String),
    /// An error code, in capitals.
    Error(String),
    /// An article, by its slug.
    Solution(String),
}

/// Where an edge was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The title or the slug names it.
    Title,
    /// The owner wrote it beside the article.
    FrontMatter,
    /// The text mentions it.
    Body,
}

/// From an article to what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// What it is about, or a related article.
    pub to: Node,
    /// 0 to 1.
    pub confidence: f32,
    /// Where it was read.
    pub source: Source,
}

/// An article and its edges.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The article.
    pub article: Uuid,
    /// Its slug; may be empty.
    pub slug: String,
    /// Its edges.
    pub edges: Vec<Edge>,
}

/// An article that an edge leads to or comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linked {
    /// The article.
    pub article: Uuid,
    /// 0 to 1.
    pub confidence: f32,
}

/// A topic of an article in terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Its terms; never empty.
    pub terms: Box<[TermId]>,
    /// 0 to 1.
    pub confidence: f32,
}

impl Solution {
    /// The topics among its edges.
    pub fn topics(&self) -> Vec<Topic> {
        let topic = |edge: &Edge| match &edge.to {
            Node::Topic(name) => Some(Topic { terms: analysis::term_ids(name, "en"), confidence: edge.confidence }),
            _ => None,
        };
        self.edges.iter().filter_map(topic).filter(|topic| !topic.terms.is_empty()).collect()
    }

    /// Reads the edges of an article.
    pub fn of(article: &Article) -> Self {
        let content = &article.content;
        let mut edges: Vec<Edge> = vec![];
        let mut add = |to: Node, confidence: f32, source: Source| match edges.iter_mut().find(|e| e.to == to) {
            Some(known) if known.confidence >= confidence => {}
            Some(known) => (known.confidence, known.source) = (confidence, source),
            None => edges.push(Edge { to, confidence, source }),
        };
        if !content.product.is_empty() {
            add(Node::Product(content.product.clone()), 1.0, Source::FrontMatter);
        }
        for topic in
            [&content.category, &content.subcategory].into_iter().chain(&content.features).filter(|t| !t.is_empty())
        {
            add(Node::Topic(topic.to_lowercase()), 0.9, Source::FrontMatter);
        }
        // The more codes an article lists, the less it says about each: an overview knows all and solves none.
        let listed = match content.errors.len() {
            0..=2 => 0.8,
            3..=5 => 0.7,
            6..=8 => 0.5,
            _ => 0.4,
        };
        for code in &content.errors {
            add(Node::Error(codes::canonical(code)), listed, Source::FrontMatter);
        }
        for code in codes::in_article(&content.body) {
            add(Node::Error(code), 0.3, Source::Body);
        }
        for code in &content.errors {
            let code = codes::canonical(code);
            let named =
                |text: &str| text.to_uppercase().split(|c: char| !c.is_alphanumeric() && c != '-').any(|w| w == code);
            if named(&content.title) || content.slug.to_uppercase() == format!("ERROR-{code}") {
                add(Node::Error(code), 1.0, Source::Title);
            }
        }
        for slug in &content.see_also {
            add(Node::Solution(slug.clone()), 0.6, Source::FrontMatter);
        }
        Solution { article: article.id, slug: content.slug.clone(), edges }
    }
}

/// The graph of every organization. See the laws above.
#[async_trait]
pub trait Graph: Send + Sync {
    /// Puts an article with its edges in the place of what was known of it.
    async fn put(&self, org: Uuid, solution: Solution) -> Result<(), Error>;
    /// Forgets an article.
    async fn remove(&self, org: Uuid, article: Uuid) -> Result<(), Error>;
    /// The articles about something, the surest first.
    async fn about(&self, org: Uuid, node: &Node) -> Result<Vec<Linked>, Error>;
    /// The articles that an article names as related.
    async fn related(&self, org: Uuid, article: Uuid) -> Result<Vec<Linked>, Error>;
    /// The topics of an article in the order of its edges. Asked for with every question.
    async fn topics(&self, org: Uuid, article: Uuid) -> Result<Arc<[Topic]>, Error>;
    /// The edges of an article.
    async fn edges(&self, org: Uuid, article: Uuid) -> Result<Vec<Edge>, Error>;
}
