//! The articles of the demo organization, which are part of the binary.
//!
//! In: `demo/knowledge`. Out: articles. Never: a change of an article that somebody wrote or archived.
use std::collections::HashMap;

use include_dir::{Dir, include_dir};
use uuid::Uuid;

use crate::{
    article::NewArticle,
    error::Error,
    knowledge::Knowledge,
    parse::{ParseError, parse_article},
    store::{Known, Write},
};

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../demo/knowledge");
/// Says that an article came from here and nobody has written it anew since.
pub const SOURCE: &str = "demo";

/// All demo articles.
pub fn articles() -> Result<Vec<NewArticle>, ParseError> {
    let markdown = FILES
        .files()
        .filter(|file| file.path().extension().is_some_and(|e| e == "md") && !file.path().ends_with("README.md"));
    markdown
        .map(|file| {
            let name = file.path().display().to_string();
            let article = parse_article(&name, file.contents_utf8().unwrap_or_default())?;
            Ok(NewArticle { source: SOURCE.to_owned(), ..article })
        })
        .collect()
}

/// Brings the demo articles into an organization that has no articles, and new versions of them into one that has them
/// from here. Doing it twice changes nothing, not even at the same time. How many were written.
pub async fn import_demo(knowledge: &Knowledge, org: Uuid) -> Result<usize, Error> {
    let known: HashMap<String, Known> = knowledge.known(org).await?.into_iter().map(|k| (k.slug.clone(), k)).collect();
    let empty = known.is_empty() && knowledge.list(org, None, 1, None, true).await?.is_empty();
    if !empty && known.values().all(|k| k.source != SOURCE) {
        return Ok(0);
    }
    let mut writes = vec![];
    for content in articles()? {
        match known.get(&content.slug) {
            None => writes.push(Write::Create { id: knowledge.new_id(), request: None, content }),
            Some(known) if known.source == SOURCE && !known.archived && known.hash != content.hash() => {
                writes.push(Write::Update { id: known.id, seen: Some(known.version), content });
            }
            Some(_) => {}
        }
    }
    let count = writes.len();
    match knowledge.write(org, Uuid::nil(), writes).await {
        Ok(_) => Ok(count),
        // Another replica starts at the same time and was first.
        Err(Error::SlugTaken(_) | Error::Stale { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}
