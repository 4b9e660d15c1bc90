//! What an article is.
//!
//! In and out: plain values. Never: where they are kept or sent.
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The content of one version of an article: everything its owner writes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewArticle {
    /// The title.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// BCP 47 tag.
    pub language: String,
    /// The topic, such as `Billing`.
    pub category: String,
    /// The topic within the topic.
    pub subcategory: String,
    /// Words that customers use for it.
    pub tags: Vec<String>,
    /// For agents only.
    pub internal: bool,
    /// Where it came from.
    pub source: String,
    /// Where a person can read it; may be empty.
    pub source_url: String,
    /// How sure the owner is, 0 to 1.
    pub confidence: f64,
    /// When somebody last checked it.
    pub validated: Option<Timestamp>,
    /// From then on it is never cited.
    pub expires: Option<Timestamp>,
    /// Readable name, unique in the organization; may be empty.
    pub slug: String,
    /// Error codes that it explains.
    pub errors: Vec<String>,
    /// Features that it is about.
    pub features: Vec<String>,
    /// Slugs of related articles.
    pub see_also: Vec<String>,
    /// The product it is about; may be empty.
    pub product: String,
}

impl NewArticle {
    /// A hash of all of it: equal hashes, equal content.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update(text.len().to_le_bytes());
            hash.update(text.as_bytes());
        };
        for text in [
            &self.title,
            &self.body,
            &self.language,
            &self.category,
            &self.subcategory,
            &self.source,
            &self.source_url,
            &self.slug,
            &self.product,
        ] {
            part(text);
        }
        for list in [&self.tags, &self.errors, &self.features, &self.see_also] {
            part(&list.len().to_string());
            list.iter().for_each(|item| part(item));
        }
        let micros = |t: Option<Timestamp>| t.map(|t| t.as_microsecond().to_string()).unwrap_or_default();
        part(&format!("{} {} {} {}", self.internal, self.confidence, micros(self.validated), micros(self.expires)));
        hex(&hash.finalize())
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// One version of an article, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Article {
    /// The same for all its versions.
    pub id: Uuid,
    /// From 1 on.
    pub version: u32,
    /// The one that is cited now.
    pub current: bool,
    /// Never cited again.
    pub archived: bool,
    /// What its owner wrote.
    pub content: NewArticle,
    /// How many replies cite it.
    pub usage_count: u64,
    /// Share of those conversations that were resolved.
    pub success_rate: Option<f64>,
    /// When the first version was made.
    pub created: Timestamp,
    /// When this version was made.
    pub updated: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_every_kind_of_change() {
        let base = NewArticle { title: "a".into(), body: "b".into(), tags: vec!["x".into()], ..NewArticle::default() };
        let others = [
            NewArticle { title: "ab".into(), body: String::new(), ..base.clone() },
            NewArticle { internal: true, ..base.clone() },
            NewArticle { tags: vec![], errors: vec!["x".into()], ..base.clone() },
            NewArticle { expires: Some(Timestamp::UNIX_EPOCH), ..base.clone() },
        ];
        for other in others {
            assert_ne!(base.hash(), other.hash(), "{other:?}");
        }
        assert_eq!(base.hash(), base.clone().hash());
    }
}
