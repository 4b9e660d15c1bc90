//! Texts and questions as terms.
//!
//! In: text and its language. Out: stemmed terms with their places, and for questions concepts with alternatives. The same
//! code makes the terms of the index, of questions and of quotes, so that they always meet. Never: an index.
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use regex::Regex;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// A term and where its word or phrase stands in the text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The stemmed term, or the name of a synonym.
    pub term: String,
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// One thing that a question is about, and the terms that stand for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    /// Terms with what a match of them is worth; the first is the word itself, at 1.
    pub terms: Vec<(String, f32)>,
    /// It says little by itself ("get", "want"): it hardly counts if it is missing.
    pub filler: bool,
}

/// A term in a number: passages are compared with every question, and numbers compare faster than words and take less room.
/// Two words with the same number are not to be expected within billions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(u64);

impl TermId {
    /// The number of a term.
    pub fn of(term: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        term.hash(&mut hasher);
        TermId(hasher.finish())
    }
}

/// What a match of a near word is worth against the word itself.
const NEAR: f32 = 0.7;
/// Words beyond this many are noise, and would cost time.
const MOST_CONCEPTS: usize = 24;
/// No word is longer; longer runs are keys or garbage, and only their beginning is looked at.
const LONGEST_WORD: usize = 40;

static PERSONAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\S+@\S+|https?://\S+|[\[<{][A-Z_]+_?\d*[\]>}]").expect("a valid pattern"));

struct Tables {
    stop: HashMap<&'static str, HashSet<&'static str>>,
    asking: HashSet<String>,
    /// Stems of a phrase → name; by the first stem, longest phrases first.
    same: HashMap<String, Vec<(Vec<String>, &'static str)>>,
    /// Term → near phrases as terms.
    near: HashMap<String, Vec<Vec<String>>>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables =
        Tables { stop: HashMap::new(), asking: HashSet::new(), same: HashMap::new(), near: HashMap::new() };
    let lines = |text: &'static str| text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    for (name, words) in lines(include_str!("stopwords.txt")).filter_map(|l| l.split_once(':')) {
        if name == "asking" {
            tables.asking = words.split_whitespace().map(|w| stem(w, "en")).collect();
        } else {
            tables.stop.insert(name, words.split_whitespace().collect());
        }
    }
    let stems = |phrase: &str| words(phrase).into_iter().map(|w| stem(&w.text, "en")).collect::<Vec<_>>();
    for (name, phrases) in lines(include_str!("synonyms.txt")).filter_map(|l| l.split_once('=')) {
        for phrase in phrases.split(',').map(stems).filter(|p| !p.is_empty()) {
            tables.same.entry(phrase[0].clone()).or_default().push((phrase, name.trim()));
        }
    }
    for list in tables.same.values_mut() {
        list.sort_by_key(|(phrase, _)| std::cmp::Reverse(phrase.len()));
    }
    // Near phrases may use names from above.
    let named = |phrase: &str| {
        let found =
            merge(&tables.same, words(phrase).into_iter().map(|w| Word { text: stem(&w.text, "en"), ..w }).collect());
        found.into_iter().map(|t| t.term).collect::<Vec<_>>()
    };
    let mut near: HashMap<String, Vec<Vec<String>>> = HashMap::new();
    for (word, phrases) in lines(include_str!("synonyms.txt")).filter_map(|l| l.split_once('~')) {
        let key = named(word).into_iter().next().unwrap_or_default();
        near.entry(key).or_default().extend(phrases.split(',').map(named));
    }
    tables.near = near;
    tables
});

#[derive(Debug, Clone)]
struct Word {
    text: String,
    start: usize,
    end: usize,
}

/// The terms of a text: stemmed, synonyms named, stop words gone.
pub fn tokens(text: &str, language: &str) -> Vec<Token> {
    let language = base(language);
    let words = words(text).into_iter().map(|w| Word { text: stem(&w.text, language), ..w }).collect();
    let stop = TABLES.stop.get(language).or_else(|| TABLES.stop.get("en"));
    // Synonyms first: "sign in" and "log on" contain stop words.
    let mut out = merge(&TABLES.same, words);
    out.retain(|t| {
        !stop.is_some_and(|stop| stop.contains(t.term.as_str()) || stop.contains(lower(&text[t.start..t.end]).as_str()))
    });
    out
}

/// The distinct terms of a text.
pub fn terms(text: &str, language: &str) -> HashSet<String> {
    tokens(text, language).into_iter().map(|t| t.term).collect()
}

/// The distinct terms of a text in numbers, sorted.
pub fn term_ids(text: &str, language: &str) -> Box<[TermId]> {
    let mut ids: Vec<TermId> = tokens(text, language).iter().map(|t| TermId::of(&t.term)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_boxed_slice()
}

/// What a question is about. `language` is that of the question; articles in English are found as well.
pub fn concepts(question: &str, language: &str) -> Vec<Concept> {
    let mut out: Vec<Concept> = vec![];
    // Addresses and the stand-ins for personal data say who, not what.
    let question = &PERSONAL.replace_all(question, " ");
    for token in tokens(question, language) {
        if out.iter().any(|c| c.terms[0].0 == token.term) {
            continue;
        }
        let mut terms = vec![(token.term.clone(), 1.0)];
        let mut add = |term: String, weight: f32| {
            if terms.iter().all(|(known, _)| *known != term) {
                terms.push((term, weight));
            }
        };
        if base(language) != "en" {
            add(stem(&lower(&question[token.start..token.end]), "en"), 1.0);
        }
        for phrase in TABLES.near.get(&token.term).into_iter().flatten() {
            // A near phrase of several words: each of them is a weaker hint.
            let weight = if phrase.len() > 1 { NEAR * 0.8 } else { NEAR };
            phrase.iter().for_each(|term| add(term.clone(), weight));
        }
        // A bare number is an amount or an order's: articles are about neither.
        let filler = TABLES.asking.contains(&token.term) || token.term.bytes().all(|b| b.is_ascii_digit());
        out.push(Concept { terms, filler });
        if out.len() == MOST_CONCEPTS {
            break;
        }
    }
    out
}

fn base(language: &str) -> &str {
    let base = language.split(['-', '_']).next().unwrap_or_default();
    if base.is_empty() { "en" } else { base }
}

/// Words in lower case without accents. An apostrophe stays inside a word, a hyphen only in codes such as BF-4012.
fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = vec![];
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        if !first.is_alphanumeric() {
            continue;
        }
        let mut end = start + first.len_utf8();
        while let Some(&(at, c)) = chars.peek() {
            let inner = matches!(c, '\'' | '’') || (c == ',' && text[..at].ends_with(|c: char| c.is_ascii_digit()));
            let inner = inner
                && text[at + c.len_utf8()..]
                    .starts_with(|n: char| if c == ',' { n.is_ascii_digit() } else { n.is_alphanumeric() });
            let code = c == '-' && is_code(&text[start..at], &text[at + 1..]);
            if !(c.is_alphanumeric() || is_combining_mark(c) || inner || code) {
                break;
            }
            end = at + c.len_utf8();
            chars.next();
        }
        let mut word = lower(&text[start..end]);
        if let Some(at) = word.char_indices().nth(LONGEST_WORD).map(|(at, _)| at) {
            word.truncate(at);
        }
        out.push(Word { text: word, start, end });
    }
    out
}

/// True at the hyphen of `BF-4012`: letters before, at least three digits and nothing else behind.
fn is_code(before: &str, after: &str) -> bool {
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    (2..=5).contains(&before.len())
        && before.bytes().all(|b| b.is_ascii_alphabetic())
        && digits >= 3
        && !after[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '-')
}

fn lower(text: &str) -> String {
    if text.is_ascii() {
        let mut word = text.to_ascii_lowercase();
        word.retain(|c| c != ',');
        return word;
    }
    text.nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .map(|c| if c == '’' { '\'' } else { c })
        .collect()
}

fn stem(word: &str, language: &str) -> String {
    // Codes and numbers stand for themselves.
    if word.bytes().any(|b| b.is_ascii_digit()) {
        return word.to_owned();
    }
    let word = word.strip_suffix("'s").unwrap_or(word);
    match stemmer(language) {
        Some(stemmer) => stemmer.stem(word).into_owned(),
        None => word.to_owned(),
    }
}

fn stemmer(language: &str) -> Option<&'static Stemmer> {
    static STEMMERS: LazyLock<HashMap<&'static str, Stemmer>> = LazyLock::new(|| {
        use Algorithm::{
            Danish, Dutch, English, Finnish, French, German, Hungarian, Italian, Norwegian, Portuguese, Romanian,
            Russian, Spanish, Swedish, Turkish,
        };
        let all = [
            ("da", Danish),
            ("de", German),
            ("en", English),
            ("es", Spanish),
            ("fi", Finnish),
            ("fr", French),
            ("hu", Hungarian),
            ("it", Italian),
            ("nb", Norwegian),
            ("nl", Dutch),
            ("no", Norwegian),
            ("pt", Portuguese),
            ("ro", Romanian),
            ("ru", Russian),
            ("sv", Swedish),
            ("tr", Turkish),
        ];
        all.into_iter().map(|(name, algorithm)| (name, Stemmer::create(algorithm))).collect()
    });
    STEMMERS.get(language)
}

/// Puts names in the place of phrases that the table knows.
fn merge(same: &HashMap<String, Vec<(Vec<String>, &'static str)>>, words: Vec<Word>) -> Vec<Token> {
    let mut out = Vec::with_capacity(words.len());
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let phrases = same.get(&word.text).map(Vec::as_slice).unwrap_or_default();
        let fits = |phrase: &[String]| {
            words.len() - at >= phrase.len() && phrase.iter().zip(&words[at..]).all(|(p, w)| *p == w.text)
        };
        match phrases.iter().find(|(phrase, _)| fits(phrase)) {
            Some((phrase, name)) => {
                let end = words[at + phrase.len() - 1].end;
                out.push(Token { term: (*name).to_owned(), start: word.start, end });
                at += phrase.len();
            }
            None => {
                out.push(Token { term: word.text.clone(), start: word.start, end: word.end });
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        tokens(text, "en").into_iter().map(|t| t.term).collect()
    }

    #[test]
    fn words_are_stemmed_and_stop_words_go() {
        assert_eq!(list("How do I import my contacts?"), ["import", "contact"]);
        assert_eq!(list("the importer's columns"), ["import", "column"]);
        assert_eq!(list("I'm what's you're don’t"), [] as [&str; 0]);
    }

    #[test]
    fn codes_and_numbers_stay_whole() {
        assert_eq!(
            list("Error BF-4012, BF-4012x and 100,000 rows"),
            ["error", "bf-4012", "bf", "4012x", "100000", "row"]
        );
    }

    #[test]
    fn the_same_thing_has_one_name() {
        for text in ["sign in", "Sign-in", "log in", "logged in", "login", "signing in"] {
            assert_eq!(list(text), ["login"], "{text}");
        }
        assert_eq!(list("two-factor authentication, 2FA, MFA"), ["2fa", "2fa", "2fa"]);
        assert_eq!(list("E-mail email .xlsx single sign-on"), ["email", "email", "excel", "sso"]);
    }

    #[test]
    fn tokens_know_their_place() {
        let text = "Ä b: réset, sign in!";
        for token in tokens(text, "en") {
            assert!(text.get(token.start..token.end).is_some());
        }
        let last = tokens(text, "en").pop().expect("one");
        assert_eq!(&text[last.start..last.end], "sign in");
    }

    #[test]
    fn questions_know_near_words() {
        let found = concepts("can I upload a spreadsheet", "en");
        assert_eq!(found[0].terms, [("upload".to_owned(), 1.0), ("import".to_owned(), NEAR)]);
        assert_eq!(found[1].terms[1].0, "excel");
        assert!(concepts("I want help", "en").iter().all(|c| c.filler));
    }

    #[test]
    fn other_languages_have_their_own_stems() {
        assert_eq!(terms("die Rechnungen", "de"), terms("eine Rechnung", "de-AT"));
        assert!(concepts("Rechnungen export", "de").iter().any(|c| c.terms.iter().any(|(t, _)| t == "export")));
    }

    #[test]
    fn any_text_is_taken() {
        for text in [
            "",
            "'",
            "a'",
            "-",
            "BF-",
            "é",
            "\u{301}",
            "日本語",
            "🦀 crab",
            "1,",
            "a,b",
            "''''",
            "x\u{0}y",
            "ﬁle",
            "İstanbul",
        ] {
            tokens(text, "en");
            concepts(text, "tr");
        }
    }
}
