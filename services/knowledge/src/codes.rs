//! Error codes in texts.
//!
//! In: text. Out: codes in capitals, such as `BF-4012` and `401`. Never: a judgment whether a code exists.
use std::sync::LazyLock;

use regex::Regex;

static WRITTEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b([A-Z]{2,5})-(\d{3,5})\b").expect("a valid pattern"));
// Customers leave out the hyphen and the capitals.
static TYPED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b([a-z]{2,5})[-_ ]?(\d{3,5})\b").expect("a valid pattern"));
static STATUS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[1-5]\d\d\b").expect("a valid pattern"));
static ABOUT_STATUS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(error|errors|http|https|status|code|codes|api|response|responses|returns?|returned|getting|got|unauthorized|forbidden)\b").expect("a valid pattern")
});
static HTTP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:http|http status|http error|error|status|status code)\s+(?:code\s+)?([1-5]\d\d)\b")
        .expect("a valid pattern")
});

/// A code as the graph spells it.
pub fn canonical(code: &str) -> String {
    code.trim().to_uppercase()
}

/// Codes that an article mentions.
pub fn in_article(text: &str) -> Vec<String> {
    let written = WRITTEN.find_iter(text).map(|m| m.as_str().to_owned());
    let status = HTTP.captures_iter(text).filter_map(|c| c.get(1)).map(|m| m.as_str().to_owned());
    unique(written.chain(status))
}

/// What may be codes in a question; the graph knows which of them are. A bare number is one only if the question speaks of
/// errors: "I have 500 contacts" is about contacts.
pub fn in_question(text: &str) -> Vec<String> {
    if !text.contains(char::is_numeric) {
        return vec![];
    }
    let typed = TYPED.captures_iter(text).map(|c| format!("{}-{}", c[1].to_uppercase(), &c[2]));
    let alone = text.trim().trim_end_matches(['?', '!', '.']);
    let status = (ABOUT_STATUS.is_match(text) || alone.len() == 3)
        .then(|| STATUS.find_iter(text).map(|m| m.as_str().to_owned()));
    unique(typed.chain(status.into_iter().flatten()))
}

/// The question with a known code in its one spelling, so that it is found as a word too.
pub fn respell(text: &str, known: &[String]) -> String {
    if known.is_empty() {
        return text.to_owned();
    }
    let spell = |c: &regex::Captures<'_>| {
        let code = format!("{}-{}", c[1].to_uppercase(), &c[2]);
        if known.contains(&code) { code } else { c[0].to_owned() }
    };
    TYPED.replace_all(text, spell).into_owned()
}

fn unique(codes: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = vec![];
    for code in codes {
        if !out.contains(&code) {
            out.push(code);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_they_are_typed() {
        for text in ["BF-4012", "error bf4012!", "Bf 4012", "got bf_4012"] {
            assert!(in_question(text).contains(&"BF-4012".to_owned()), "{text}");
        }
        assert_eq!(respell("my bf 4012 and utf 888", &["BF-4012".to_owned()]), "my BF-4012 and utf 888");
    }

    #[test]
    fn a_number_is_a_code_only_among_errors() {
        assert_eq!(in_question("I'm getting a 401 error when calling the REST API"), ["401"]);
        assert_eq!(in_question("429?"), ["429"]);
        assert!(in_question("I have 500 contacts").iter().all(|c| c != "500"));
        assert_eq!(in_article("See HTTP 429, BF-1005 and 300 rows."), ["BF-1005", "429"]);
    }
}
