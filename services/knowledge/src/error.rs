//! What can go wrong here, and what callers are told.
//!
//! In: failures of the domain and its adapters. Out: [`Fault`]s; the only place of this service that names a reason.
use switchboard_runtime::{Fault, Reason};

/// A failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such article, or none that the caller may see.
    #[error("no such article")]
    NotFound,
    /// The version that was named is not the newest.
    #[error("the newest version is {newest}")]
    Stale {
        /// The newest version.
        newest: u32,
    },
    /// Another article of the organization has the slug.
    #[error("the slug {0} is taken")]
    SlugTaken(String),
    /// A demo article that is part of the binary cannot be read.
    #[error("demo article: {0}")]
    Demo(#[from] crate::parse::ParseError),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
    /// A row of the store cannot be read.
    #[error("store: a row cannot be read: {0}")]
    Row(String),
    /// The index was not compared with the articles yet.
    #[error("the index is still being brought up to the articles")]
    Starting,
    /// The index failed.
    #[error("index: {0}")]
    Index(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Fault::new(Reason::ArticleNotFound, "There is no such article."),
            Error::Stale { newest } => {
                let detail = format!("The newest version is {newest}. Read it again and repeat your change.");
                Fault::new(Reason::Stale, detail).with_metadata("version", newest.to_string())
            }
            Error::SlugTaken(slug) => {
                let detail = format!("Another article has the slug `{slug}`. Choose a different one.");
                Fault::new(Reason::AlreadyExists, detail)
            }
            Error::Store(e) => switchboard_runtime::postgres::fault(e),
            Error::Starting => Fault::new(
                Reason::StoreFailed,
                "The search index is still being brought up to the articles. Try again in a few seconds.",
            ),
            Error::Index(_) => {
                Fault::new(Reason::StoreFailed, "The search index is not available right now. Try again.")
                    .with_source(error)
            }
            Error::Demo(_) | Error::Row(_) => Fault::internal(error),
        }
    }
}
