//! Questions that lean on the one before: "and from Excel?".
//!
//! In: a message and what the customer wrote earlier. Out: the words to search for. Never: a changed meaning of a question
//! that stands on its own.
use std::sync::LazyLock;

use regex::Regex;

/// Longer messages say what they mean.
const MAX_WORDS: usize = 7;
/// A question without a verb or an opener leans on what was said only if it is very short.
const MAX_VERBLESS: usize = 4;
/// Key words taken over from the message before.
const MAX_KEY_WORDS: usize = 12;

static OPENER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^\W*(?:and(?:\s+what\s+about)?|what\s+about|how\s+about|what\s+if|also|or|but|same\s+for|then)\b\W*",
    )
    .expect("the pattern is a constant, compiled by every test")
});

/// Words by which a short message continues a sentence that was begun before.
const PREPOSITIONS: &[&str] =
    &["as", "at", "by", "for", "from", "in", "into", "on", "per", "to", "via", "with", "without"];

/// Verbs and helpers by which a short message stands on its own.
const VERBS: &[&str] = &[
    "am", "are", "be", "buy", "can", "cancel", "cant", "change", "charge", "charged", "connect", "could", "delete",
    "did", "do", "does", "dont", "download", "export", "fail", "fails", "find", "fix", "forgot", "get", "give", "has",
    "have", "help", "import", "invite", "is", "isnt", "keep", "keeps", "know", "log", "login", "lost", "make", "need",
    "pay", "refund", "remove", "reset", "see", "send", "set", "should", "show", "stop", "talk", "tell", "turn",
    "update", "upgrade", "use", "want", "was", "were", "will", "work", "working", "works", "would",
];

/// Words that carry no topic.
const EMPTY: &[&str] = &[
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do",
    "does", "for", "from", "get", "have", "hello", "help", "hey", "hi", "how", "i", "id", "if", "im", "in", "is", "it",
    "its", "ive", "just", "know", "like", "me", "my", "need", "of", "on", "or", "our", "out", "please", "s", "should",
    "so", "some", "tell", "thanks", "that", "the", "their", "there", "this", "to", "want", "was", "we", "what", "when",
    "where", "which", "who", "why", "will", "with", "would", "you", "your",
];

/// What a follow-up asks in full; none if the message stands on its own. `earlier` are the customer's messages, newest last;
/// `unsure`: the message alone was not understood.
pub fn in_full(message: &str, earlier: &[&str], unsure: bool) -> Option<String> {
    let own = OPENER.replace(message.trim(), "");
    if own.is_empty() || !leans(message, unsure) {
        return None;
    }
    // A chain of follow-ups leans on the question that began it.
    let before = earlier.iter().rev().find(|m| !opens(m) && key_words(m).len() >= 2)?;
    let mut words = key_words(before);
    words.truncate(MAX_KEY_WORDS);
    Some(format!("{} {own}", words.join(" ")))
}

fn leans(message: &str, unsure: bool) -> bool {
    let words = words(message);
    let verbless = || !words.iter().any(|w| VERBS.contains(&w.as_str()));
    let continues = |first: &String| PREPOSITIONS.contains(&first.as_str()) || message.trim_end().ends_with('?');
    opens(message) || (unsure && words.first().is_some_and(continues) && words.len() <= MAX_VERBLESS && verbless())
}

fn opens(message: &str) -> bool {
    let rest = OPENER.find(message).map(|m| &message[m.end()..]);
    rest.is_some_and(|r| !r.trim().is_empty()) && words(message).len() <= MAX_WORDS
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || "'’-".contains(c)));
    words.filter(|w| !w.is_empty()).map(|w| w.replace(['\'', '’'], "").to_lowercase()).collect()
}

fn key_words(text: &str) -> Vec<String> {
    let mut words = words(text);
    words.retain(|w| !EMPTY.contains(&w.as_str()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_up_takes_the_topic_along() {
        let earlier = ["Hello", "How do I import contacts from a CSV file?"];
        assert_eq!(
            in_full("and from Excel?", &earlier, false).as_deref(),
            Some("import contacts csv file from Excel?")
        );
        let longer = [earlier[0], earlier[1], "and from Excel?"];
        assert_eq!(
            in_full("What about Google Sheets", &longer, false).as_deref(),
            Some("import contacts csv file Google Sheets")
        );
        assert_eq!(in_full("from Excel?", &earlier, true).as_deref(), Some("import contacts csv file from Excel?"));
    }

    #[test]
    fn a_message_that_stands_on_its_own_is_left_alone() {
        let earlier = ["How do I import contacts from a CSV file?"];
        assert_eq!(in_full("API error 401", &earlier, false), None);
        assert_eq!(in_full("how do I export data", &earlier, true), None);
        assert_eq!(in_full("and", &earlier, true), None);
        assert_eq!(in_full("asdfgh", &earlier, true), None);
        assert_eq!(in_full("and then I would like to know something else entirely, please", &earlier, false), None);
        assert_eq!(in_full("and from Excel?", &["Hello"], false), None);
    }
}
