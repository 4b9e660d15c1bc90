//! How passages are found.
//!
//! Laws, each with a test in `tests/it/index.rs`:
//! 1. What was put is found when [`Index::apply`] returns, and what was removed never again.
//! 2. Nothing of one organization is found by another. How rare a word is is counted per organization; only the average
//!    length of passages is shared, which moves scores by a few hundredths at most.
//! 3. Internal passages are found only if they are asked for; expired ones never.
//! 4. Putting an article again replaces all its passages.
//! 5. A passage that is near by its vector is found without a shared word, under the same rules as any other; every hit tells
//!    its cosine. A vector of another width than the index's is refused, and nothing of its change is done.
//! 6. An index has a generation. While it stays, nothing that was put is lost, whatever ends the process; after
//!    [`Index::restart`], and after a loss, it is another one and the index is empty.
//!
//! An index is derived: it may be lost and is then built again from the store.
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

use crate::{
    analysis::{self, Concept, TermId},
    article::Article,
    chunk::chunks,
    error::Error,
    quote::{Quotable, Weights},
};

pub mod tantivy;

/// A passage of an article, with what is shown beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The article.
    pub article: Uuid,
    /// Its version.
    pub version: u32,
    /// From 0 on; 0 is the lead.
    pub chunk: u32,
    /// The article's title.
    pub title: String,
    /// Its slug.
    pub slug: String,
    /// Where a person can read it.
    pub url: String,
    /// The heading that the passage stands under.
    pub heading: String,
    /// Plain text.
    pub text: String,
    /// The article's category.
    pub category: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its language.
    pub language: String,
}

impl Passage {
    /// True for the passage that answers what the title asks.
    pub fn is_lead(&self) -> bool {
        self.chunk == 0
    }
}

/// The current version of an article as passages.
#[derive(Debug, Clone)]
pub struct Document {
    /// The organization.
    pub org: Uuid,
    /// The article.
    pub article: Uuid,
    /// For agents only.
    pub internal: bool,
    /// Not found from then on.
    pub expires: Option<Timestamp>,
    /// Its passages; the first is the lead.
    pub passages: Vec<Passage>,
    /// A unit vector for each passage; empty without an encoder.
    pub vectors: Vec<Vector>,
}

/// A unit vector of an encoder.
pub type Vector = Arc<[f32]>;

impl Document {
    /// Makes the passages of an article.
    pub fn of(org: Uuid, article: &Article) -> Self {
        let content = &article.content;
        let passage = |chunk: crate::chunk::Chunk| Passage {
            article: article.id,
            version: article.version,
            chunk: chunk.number,
            title: content.title.clone(),
            slug: content.slug.clone(),
            url: content.source_url.clone(),
            heading: chunk.heading,
            text: chunk.text,
            category: content.category.clone(),
            tags: content.tags.clone(),
            language: content.language.clone(),
        };
        let passages = chunks(&content.title, &content.body).into_iter().map(passage).collect();
        Document {
            org,
            article: article.id,
            internal: content.internal,
            expires: content.expires,
            passages,
            vectors: vec![],
        }
    }
}

/// One change of the index.
#[derive(Debug, Clone)]
pub enum Change {
    /// These passages, and no others, are what can be found of the article.
    Put(Document),
    /// Nothing of the article can be found.
    Remove {
        /// The organization.
        org: Uuid,
        /// The article.
        article: Uuid,
    },
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The organization, from the token.
    pub org: Uuid,
    /// What the question is about.
    pub concepts: Vec<Concept>,
    /// The question as a unit vector of the encoder that made those of the passages; none: only words count.
    pub vector: Option<Vector>,
    /// Internal passages too.
    pub internal: bool,
    /// What expires by then is not found.
    pub now: Timestamp,
    /// Articles whose passages are wanted whatever the words.
    pub pinned: Vec<Uuid>,
    /// At most so many passages by words, and as many by their vectors.
    pub candidates: usize,
}

/// What was found, and the numbers to judge it by.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Passages: by words, best first by BM25; then those that are near by their vectors only; then pinned ones.
    pub hits: Vec<Hit>,
    /// How many articles of the organization were looked at.
    pub articles: u64,
    /// The concepts asked for; words that are nowhere in the organization have got the word they are a misspelling of.
    pub concepts: Vec<Concept>,
    /// In how many articles each concept occurs.
    pub frequencies: Vec<u64>,
}

/// A passage that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The passage with its terms.
    pub passage: Arc<Analyzed>,
    /// BM25 over its fields; 0 if it shares no word.
    pub bm25: f32,
    /// Cosine with the question, whatever it was found by; none if one of them has no vector.
    pub cosine: Option<f32>,
}

/// A passage and its terms by field, each list sorted.
#[derive(Debug)]
pub struct Analyzed {
    /// The passage.
    pub passage: Passage,
    /// Of the title.
    pub title: Box<[TermId]>,
    /// Of the heading.
    pub heading: Box<[TermId]>,
    /// Of the tags.
    pub tags: Box<[TermId]>,
    /// Of the text.
    pub body: Box<[TermId]>,
    /// Of the category.
    pub category: Box<[TermId]>,
    /// What can be quoted of it. Few passages ever are: it is read when one is.
    quotable: OnceLock<Quotable>,
}

impl Analyzed {
    /// Analyzes a passage.
    pub fn new(passage: Passage) -> Self {
        let terms = |text: &str| analysis::term_ids(text, &passage.language);
        let (title, heading, body) = (terms(&passage.title), terms(&passage.heading), terms(&passage.text));
        let (tags, category) = (terms(&passage.tags.join("; ")), terms(&passage.category));
        Analyzed { passage, title, heading, tags, body, category, quotable: OnceLock::new() }
    }

    /// The words of the passage that answer best.
    pub fn quote(&self, weights: &Weights) -> &str {
        let Passage { text, language, .. } = &self.passage;
        self.quotable.get_or_init(|| Quotable::new(text, language, self.passage.is_lead())).quote(text, weights)
    }

    /// Bytes it takes, about, with what quoting it will add: the terms of each sentence alone and with the next.
    pub fn size(&self) -> usize {
        let terms = self.title.len() + self.heading.len() + self.tags.len() + self.category.len() + 4 * self.body.len();
        terms * size_of::<TermId>() + 2 * self.passage.text.len() + self.passage.title.len() + 768
    }
}

/// Finds passages. See the laws above.
#[async_trait]
pub trait Index: Send + Sync {
    /// Makes all changes, or none; they can be found when it returns.
    async fn apply(&self, changes: Vec<Change>) -> Result<(), Error>;
    /// Which index this is.
    async fn generation(&self) -> Result<Uuid, Error>;
    /// Empties it: from then on it has this generation.
    async fn restart(&self, generation: Uuid) -> Result<(), Error>;
    /// Looks for passages.
    async fn search(&self, query: Query) -> Result<Found, Error>;
}
