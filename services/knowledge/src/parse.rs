//! Markdown files with a front matter as articles.
//!
//! In: a file's name and text. Out: a [`NewArticle`], or an error that names the file and the line. Never: a file system.
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

use crate::article::NewArticle;

/// Why a file is no article.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}:{line}: {detail}")]
pub struct ParseError {
    /// The file.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong, and what to write.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    id: Option<String>,
    title: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    subcategory: String,
    #[serde(default)]
    product: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    validated: Option<String>,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    see_also: Vec<String>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    confidence: Option<f64>,
}

const FENCE: &str = "---";

/// Reads one file. Its slug is the `id` of the front matter, or the file's name.
pub fn parse_article(file_name: &str, text: &str) -> Result<NewArticle, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let at = |line: usize, detail: String| ParseError { file: file_name.to_owned(), line, detail };
    let rest = text.strip_prefix("---\n").ok_or_else(|| {
        at(1, "the file must begin with a line `---` and a front matter of at least `title: …`".to_owned())
    })?;
    let matter_lines = rest.lines().position(|line| line.trim_end() == FENCE);
    let matter_lines = matter_lines.ok_or_else(|| at(1, "the front matter has no closing line `---`".to_owned()))?;
    let matter: String = rest.lines().take(matter_lines).flat_map(|line| [line, "\n"]).collect();
    let body: String = rest.lines().skip(matter_lines + 1).flat_map(|line| [line, "\n"]).collect();

    // Lines of the front matter stand one below the opening fence.
    let line_of = |key: &str| matter.lines().position(|l| l.starts_with(&format!("{key}:"))).map_or(1, |l| l + 2);
    let read: FrontMatter = serde_yaml_ng::from_str(&matter).map_err(|e| {
        let line = e.location().map_or(1, |l| l.line() + 1);
        // Its own position counts from the front matter's first line and would contradict ours.
        let detail = e.to_string();
        at(line, detail.split(" at line ").next().unwrap_or(&detail).to_owned())
    })?;
    if read.title.trim().is_empty() {
        return Err(at(line_of("title"), "`title` must not be empty".to_owned()));
    }
    if body.trim().is_empty() {
        return Err(at(matter_lines + 2, "the article has no text after the front matter".to_owned()));
    }
    let internal = match read.audience.as_deref() {
        None | Some("public") => false,
        Some("internal") => true,
        Some(other) => {
            return Err(at(line_of("audience"), format!("`audience` must be public or internal, not `{other}`")));
        }
    };
    let time = |key: &str, value: Option<String>| {
        value
            .map(|v| {
                moment(&v)
                    .ok_or_else(|| at(line_of(key), format!("`{key}` must be a date such as 2026-11-05, not `{v}`")))
            })
            .transpose()
    };
    let stem = file_name.rsplit('/').next().unwrap_or(file_name);
    Ok(NewArticle {
        title: read.title.trim().to_owned(),
        body: body.trim().to_owned() + "\n",
        language: read.language.unwrap_or_else(|| "en".to_owned()),
        category: read.category,
        subcategory: read.subcategory,
        tags: read.tags,
        internal,
        source: "file".to_owned(),
        source_url: read.url,
        confidence: read.confidence.unwrap_or(1.0),
        validated: time("validated", read.validated)?,
        expires: time("expires", read.expires)?,
        slug: read.id.unwrap_or_else(|| stem.strip_suffix(".md").unwrap_or(stem).to_owned()),
        errors: read.errors,
        features: read.features,
        see_also: read.see_also,
        product: read.product,
    })
}

fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let date: Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_an_article() {
        let text = "---\ntitle: T\nerrors: [\"401\"]\naudience: internal\nvalidated: 2026-11-05\n---\nHello.\n";
        let article = parse_article("a/reset-it.md", text).expect("parses");
        assert_eq!(
            (article.slug.as_str(), article.title.as_str(), article.body.as_str()),
            ("reset-it", "T", "Hello.\n")
        );
        assert!(article.internal);
        assert_eq!(article.errors, ["401"]);
        assert_eq!(article.validated.map(|t| t.to_string()).as_deref(), Some("2026-11-05T00:00:00Z"));
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let line = |text: &str| parse_article("x.md", text).expect_err("refused").to_string();
        assert!(line("# Title\n").starts_with("x.md:1: "), "{}", line("# Title\n"));
        assert!(line("---\ntitle: a\n").contains("closing"));
        assert!(
            line("---\ntitle: a\nlanguage: en\ncolour: red\n---\nb\n").starts_with("x.md:4: "),
            "{}",
            line("---\ntitle: a\nlanguage: en\ncolour: red\n---\nb\n")
        );
        assert!(line("---\ntitle: a\ntags: [x\n---\nb\n").starts_with("x.md:"));
        assert!(line("---\ntitle: a\n\naudience: everyone\n---\nb\n").starts_with("x.md:4: `audience`"));
        assert!(line("---\ntitle: a\nexpires: soon\n---\nb\n").starts_with("x.md:3: `expires`"));
        assert!(line("---\ntitle: a\n---\n").starts_with("x.md:3: "));
    }
}
