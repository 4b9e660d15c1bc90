//! How a customer feels, by a lexicon with negation, strengthening words, exclamation marks and capitals. English.
//!
//! In: a text. Out: a score from -1 to 1 and anger from 0 to 1. Never: more than the words say.

use std::{collections::HashMap, sync::LazyLock};

/// Scores beyond this, either way, have a name.
const LABEL: f64 = 0.25;
/// Flattens sums to -1..1: one clear word ends near a half, three near the end.
const FLATTEN: f64 = 12.0;
/// A longer text is pasted: what the customer feels stands at its start.
const MAX_WORDS: usize = 1_000;
/// How many words a negation reaches.
const REACH: usize = 3;

/// What a customer feels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sentiment {
    /// -1 to 1.
    pub score: f64,
    /// 0 to 1.
    pub anger: f64,
}

/// The score in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Below -0.25.
    Negative,
    /// In between.
    Neutral,
    /// Above 0.25.
    Positive,
}

impl Sentiment {
    /// The word for the score.
    pub fn label(&self) -> Label {
        if self.score < -LABEL {
            Label::Negative
        } else if self.score > LABEL {
            Label::Positive
        } else {
            Label::Neutral
        }
    }
}

/// Words by how good or bad they are. Words that only name a topic of support ("problem") weigh little: to have one is not a mood.
const WORDS: &[(f64, &str)] = &[
    (3.0, "love perfect amazing excellent awesome fantastic wonderful brilliant outstanding"),
    (
        2.2,
        "great happy thanks thank thx appreciate appreciated glad pleased delighted helpful impressed grateful best superb",
    ),
    (
        1.5,
        "good nice cool fine solved resolved fixed works worked working easy fast quick enjoy welcome sweet perfectly",
    ),
    (0.7, "ok okay please better hope useful like"),
    (-0.6, "problem problems issue issues error errors bug bugs trouble missing wrong late delayed stuck"),
    (
        -1.3,
        "fails failed failing broken crash crashes crashing slow confusing confused unfortunately annoying annoyed sad worried lost waiting down complaint complain complicated difficult cannot unable",
    ),
    (
        -2.0,
        "bad frustrated frustrating frustration disappointed disappointing disappointment upset poor unhappy dissatisfied incompetent unprofessional rude lousy nightmare mess mad sucks crap stupid",
    ),
    (
        -2.8,
        "terrible horrible awful worst hate useless garbage ridiculous unacceptable pathetic furious angry outraged outrageous disgusting disgusted disgrace disgraceful scam fraud idiots idiot absurd shit bullshit fuck fucking damn wtf liars thieves rubbish joking insane",
    ),
];
const NEGATIONS: &[&str] = &[
    "not", "no", "never", "nothing", "nobody", "cant", "cannot", "wont", "dont", "doesnt", "didnt", "isnt", "wasnt",
    "arent", "aint", "couldnt", "wouldnt", "hasnt", "havent", "without", "hardly", "stopped", "neither",
];
const STRONGER: &[&str] = &[
    "very",
    "so",
    "really",
    "extremely",
    "absolutely",
    "completely",
    "totally",
    "super",
    "such",
    "incredibly",
    "utterly",
    "beyond",
    "truly",
    "too",
];
const WEAKER: &[&str] = &["bit", "slightly", "somewhat", "little", "kind", "fairly"];

/// Words and phrases of anger and how much of it they show. Phrases are whole words in a row.
const ANGER: &[(f64, &[&str])] = &[
    (0.80, &["furious", "outraged", "livid", "enraged", "fuck", "fucking", "fuckers", "bullshit"]),
    (0.70, &["angry", "idiot", "idiots", "morons", "moron", "pissed", "liars", "thieves", "shit", "assholes"]),
    (
        0.62,
        &[
            "ridiculous",
            "unacceptable",
            "outrageous",
            "disgusting",
            "disgraceful",
            "disgrace",
            "pathetic",
            "wtf",
            "fed up",
            "sick of",
            "sick and tired",
            "lawyer",
            "lawsuit",
            "sue you",
            "legal action",
            "scam",
            "fraud",
            "ripped off",
            "rip off",
            "shame on you",
            "had enough",
            "enough is enough",
            "for hours",
            "for days",
            "for weeks",
            "absurd",
        ],
    ),
    (
        0.52,
        &[
            "useless",
            "stupid",
            "hate",
            "worst",
            "incompetent",
            "garbage",
            "rubbish",
            "hours on",
            "all day",
            "is a joke",
            "what a joke",
            "are a joke",
            "kidding me",
            "waste of time",
            "wasting my time",
            "wasted my time",
            "take my business elsewhere",
            "switch to a competitor",
            "going to a competitor",
            "switching to a competitor",
            "leaving you",
            "never again",
            "last chance",
            "losing my patience",
            "lost my patience",
            "report you",
            "chargeback",
            "bad review",
            "how dare",
            "what the hell",
            "the hell",
            "damn",
        ],
    ),
    (
        0.35,
        &[
            "terrible",
            "horrible",
            "awful",
            "sucks",
            "crap",
            "insane",
            "third time",
            "your manager",
            "a manager",
            "supervisor",
            "fourth time",
            "fifth time",
            "how many times",
            "again and again",
            "still nothing",
            "still waiting",
            "nobody helps",
            "nobody answers",
            "no one answers",
            "nothing works",
            "unprofessional",
            "rude",
            "mad",
            "cancel everything",
            "nightmare",
        ],
    ),
    (0.20, &["frustrated", "frustrating", "annoying", "annoyed", "disappointed", "disappointing", "upset"]),
];

/// Feels a text.
pub fn feel(text: &str) -> Sentiment {
    let written: Vec<&str> = text
        .split(|c: char| !(c.is_alphanumeric() || "'’".contains(c)))
        .filter(|w| !w.is_empty())
        .take(MAX_WORDS)
        .collect();
    let words: Vec<String> = written.iter().map(|w| w.replace(['\'', '’'], "").to_lowercase()).collect();
    let marks = text.matches('!').count();
    let capitals = shouted(&written);
    let mut sum = 0.0;
    for (i, word) in words.iter().enumerate() {
        let Some(mut value) = valence(word) else { continue };
        let before = &words[i.saturating_sub(REACH)..i];
        if is_capital(written[i]) && capitals > 0.0 {
            value *= 1.3;
        }
        if before.iter().any(|w| STRONGER.contains(&w.as_str())) {
            value *= 1.3;
        }
        if before.iter().any(|w| WEAKER.contains(&w.as_str())) {
            value *= 0.6;
        }
        if before.iter().any(|w| NEGATIONS.contains(&w.as_str())) {
            // "not good" is bad, "not bad" is not yet good.
            value *= if value > 0.0 { -0.9 } else { -0.4 };
        }
        sum += value;
    }
    sum *= 1.0 + 0.1 * marks.min(4) as f64;
    let score = sum / (sum * sum + FLATTEN).sqrt();
    Sentiment { score, anger: anger(&words, marks, capitals, score) }
}

static VALENCE: LazyLock<HashMap<&str, f64>> =
    LazyLock::new(|| WORDS.iter().flat_map(|(value, words)| words.split(' ').map(|w| (w, *value))).collect());

fn valence(word: &str) -> Option<f64> {
    VALENCE.get(word).copied()
}

/// Words and phrases of anger by their first word.
static PHRASES: LazyLock<HashMap<&str, Vec<(f64, &str)>>> = LazyLock::new(|| {
    let mut out: HashMap<&str, Vec<(f64, &str)>> = HashMap::new();
    for (value, phrase) in ANGER.iter().flat_map(|(value, phrases)| phrases.iter().map(move |p| (*value, *p))) {
        out.entry(phrase.split(' ').next().unwrap_or_default()).or_default().push((value, phrase));
    }
    out
});

/// Each sign of anger takes its share of what calm is left; marks and capitals only make louder what is there.
fn anger(words: &[String], marks: usize, capitals: f64, score: f64) -> f64 {
    let mut calm = 1.0;
    // Where each phrase is said first.
    let mut said: Vec<(&str, usize, f64)> = vec![];
    for (at, word) in words.iter().enumerate() {
        for (value, phrase) in PHRASES.get(word.as_str()).into_iter().flatten() {
            let says = phrase.split(' ').enumerate().all(|(i, part)| words.get(at + i).is_some_and(|w| w == part));
            if says && said.iter().all(|(known, ..)| known != phrase) {
                said.push((phrase, at, *value));
            }
        }
    }
    for (_, at, value) in said {
        if !words[at.saturating_sub(2)..at].iter().any(|w| w == "not" || w == "never" || w == "isnt") {
            calm *= 1.0 - value;
        }
    }
    let upset = calm < 1.0 || score < -LABEL;
    if upset && marks > 0 {
        calm *= if marks >= 3 { 0.75 } else { 0.9 };
    }
    if upset || (capitals >= 0.6 && score <= LABEL) {
        calm *= 1.0 - 0.5 * capitals;
    }
    1.0 - calm
}

fn is_capital(word: &str) -> bool {
    word.chars().filter(|c| c.is_alphabetic()).count() >= 2 && !word.chars().any(char::is_lowercase)
}

/// Share of words in capitals. Up to two are names such as API, unless one of them is a word that is shouted.
fn shouted(words: &[&str]) -> f64 {
    let letters = words.iter().filter(|w| w.chars().any(char::is_alphabetic)).count();
    let capitals = words.iter().filter(|w| is_capital(w)).count();
    let urgent = words
        .iter()
        .any(|w| matches!(*w, "NOW" | "STOP" | "HELP" | "NOT" | "NEVER" | "AGAIN" | "NOTHING" | "IMMEDIATELY"));
    if capitals >= 3 || urgent { capitals as f64 / letters.max(1) as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anger_is_what_the_words_show() {
        let table = [
            ("This is ridiculous!!! Nothing works, I am furious. Get me a real person NOW", 0.85, 1.0),
            ("This is ridiculous!", 0.6, 0.9),
            ("I've been trying to fix this for hours!", 0.6, 0.8),
            ("I want to speak to a manager NOW!", 0.35, 0.8),
            ("how do I export data", 0.0, 0.0),
            ("Thanks a lot!!!", 0.0, 0.0),
            ("I am not angry", 0.0, 0.0),
            ("API error 401", 0.0, 0.0),
            ("tell me a joke", 0.0, 0.0),
            ("WHERE IS MY ORDER", 0.3, 0.7),
            ("billing issue", 0.0, 0.0),
            ("I am a bit frustrated", 0.1, 0.4),
        ];
        for (text, least, most) in table {
            let anger = feel(text).anger;
            assert!((least..=most).contains(&anger), "{text}: {anger}");
        }
    }

    #[test]
    fn the_label_follows_the_score() {
        let table = [
            ("Thank you, that was great", Label::Positive),
            ("that fixed it, perfect!", Label::Positive),
            ("this is terrible", Label::Negative),
            ("the answer was not helpful", Label::Negative),
            ("it is not working", Label::Negative),
            ("how do I export data", Label::Neutral),
            ("billing issue", Label::Neutral),
            ("API error 401", Label::Neutral),
            ("not bad", Label::Neutral),
            ("", Label::Neutral),
        ];
        for (text, label) in table {
            let felt = feel(text);
            assert_eq!(felt.label(), label, "{text}: {}", felt.score);
            assert!((-1.0..=1.0).contains(&felt.score));
        }
    }
}
