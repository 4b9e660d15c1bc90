//! The language of a text as a BCP 47 tag.
//!
//! In: a text and the language expected so far. Out: a tag. Never: a guess from a few Latin words — short texts of many
//! languages look alike, and a wrong guess is worse than the expectation.
use whatlang::{Info, Lang, Script, detect};

/// Fewer letters than this are too few to tell Latin or Cyrillic languages apart.
const LETTERS: usize = 28;
/// Below this the detector is right too seldom.
const SURE: f64 = 0.85;
/// More of it tells nothing new.
const MAX_CHARS: usize = 2_000;

/// English words that other languages hardly have. Those that many share, such as "in", "for" and "have", tell nothing.
const ENGLISH: &[&str] = &[
    "about", "adding", "after", "again", "ago", "always", "and", "another", "any", "anybody", "anymore", "anyone",
    "anything", "are", "aren't", "back", "because", "been", "before", "better", "billed", "broken", "but", "called",
    "can't", "cannot", "cant", "change", "changed", "charged", "checking", "could", "couldn't", "couldnt", "day",
    "days", "did", "didn't", "does", "doesn't", "doesnt", "doing", "don't", "dont", "each", "enable", "enough",
    "entered", "every", "expired", "fails", "first", "found", "from", "get", "getting", "give", "gives", "goodbye",
    "got", "happened", "happens", "hasn't", "haven't", "having", "hear", "help", "here", "hour", "hours", "how", "i'd",
    "i'm", "i've", "if", "into", "isn't", "it", "it's", "ive", "just", "keep", "keeps", "know", "leave", "locked",
    "looking", "lost", "make", "many", "missing", "month", "months", "moved", "much", "my", "need", "never", "new",
    "nobody", "not", "nothing", "off", "only", "orders", "our", "ours", "out", "overdue", "own", "paying", "people",
    "please", "really", "receive", "received", "remember", "remove", "right", "said", "same", "says", "send",
    "sending", "sent", "setting", "should", "showing", "shows", "since", "some", "somebody", "someone", "still",
    "stopped", "stuck", "stupid", "suddenly", "take", "takes", "talk", "tell", "than", "thank", "thanks", "that",
    "that's", "the", "their", "them", "then", "there", "these", "they", "this", "through", "time", "times", "today",
    "told", "too", "took", "tried", "trying", "turn", "two", "updated", "upgrade", "used", "using", "waiting",
    "wasn't", "went", "were", "what", "what's", "when", "whenever", "where", "whether", "which", "while", "who", "why",
    "with", "without", "won't", "work", "working", "works", "would", "wrong", "year", "years", "yet", "you", "your",
    "yourself",
];
/// So many different ones, and one in so many words: a quotation or a product's name in another language has fewer.
const ENGLISH_WORDS: usize = 2;
const ENGLISH_SHARE: usize = 4;

/// The language of a text; `expected` (or English) where the text cannot tell.
pub fn language(text: &str, expected: &str) -> String {
    let expected = if expected.is_empty() { "en" } else { expected };
    let text = text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| &text[..end]);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < LETTERS && text.is_ascii() {
        return expected.to_owned();
    }
    // The detector compares a text with every language it knows, which takes longer than all else that is read from it.
    if same("en", expected) && plainly_english(text) {
        return expected.to_owned();
    }
    let Some(info) = detect(text) else { return expected.to_owned() };
    match tag(info.lang()) {
        Some(found) if enough(&info, letters) && !same(found, expected) => found.to_owned(),
        _ => expected.to_owned(),
    }
}

/// True where the words leave no doubt. Never where they do, even if it is English.
fn plainly_english(text: &str) -> bool {
    if text.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
        return false;
    }
    let words = text.split(|c: char| !(c.is_ascii_alphabetic() || c == '\'' || c == '’'));
    let (mut all, mut seen) = (0, 0);
    let mut different: Vec<usize> = vec![];
    let mut lower = String::new();
    for word in words.filter(|w| !w.is_empty()) {
        all += 1;
        lower.clear();
        lower.extend(word.chars().map(|c| if c == '’' { '\'' } else { c.to_ascii_lowercase() }));
        // "I" is a word of its own in English; one at the beginning may be another language's.
        let known =
            if word == "I" && all > 1 { Some(ENGLISH.len()) } else { ENGLISH.binary_search(&lower.as_str()).ok() };
        if let Some(at) = known {
            seen += 1;
            if !different.contains(&at) {
                different.push(at);
            }
        }
    }
    different.len() >= ENGLISH_WORDS && seen * ENGLISH_SHARE >= all
}

fn enough(info: &Info, letters: usize) -> bool {
    match info.script() {
        // Many languages share these: it takes words to tell which.
        Script::Latin | Script::Cyrillic | Script::Arabic | Script::Devanagari => {
            letters >= LETTERS && info.is_reliable() && info.confidence() >= SURE
        }
        // The script alone names the language, given more than a stray sign.
        _ => letters >= 2,
    }
}

/// "en" found where "en-GB" is expected is the expectation.
fn same(found: &str, expected: &str) -> bool {
    expected.split('-').next().is_some_and(|e| e.eq_ignore_ascii_case(found))
}

fn tag(lang: Lang) -> Option<&'static str> {
    Some(match lang {
        Lang::Eng => "en",
        Lang::Deu => "de",
        Lang::Fra => "fr",
        Lang::Spa => "es",
        Lang::Ita => "it",
        Lang::Por => "pt",
        Lang::Nld => "nl",
        Lang::Pol => "pl",
        Lang::Rus => "ru",
        Lang::Ukr => "uk",
        Lang::Tur => "tr",
        Lang::Swe => "sv",
        Lang::Dan => "da",
        Lang::Nob => "nb",
        Lang::Fin => "fi",
        Lang::Ces => "cs",
        Lang::Slk => "sk",
        Lang::Hun => "hu",
        Lang::Ron => "ro",
        Lang::Bul => "bg",
        Lang::Hrv => "hr",
        Lang::Srp => "sr",
        Lang::Slv => "sl",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Est => "et",
        Lang::Ell => "el",
        Lang::Heb => "he",
        Lang::Ara => "ar",
        Lang::Pes => "fa",
        Lang::Urd => "ur",
        Lang::Hin => "hi",
        Lang::Ben => "bn",
        Lang::Tam => "ta",
        Lang::Tel => "te",
        Lang::Tha => "th",
        Lang::Vie => "vi",
        Lang::Ind => "id",
        Lang::Cmn => "zh",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Cat => "ca",
        Lang::Afr => "af",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_english_is_known_by_its_words_alone() {
        assert!(ENGLISH.is_sorted());
        for text in ["How do I reset the password of my account?", "The import fails and I don’t know why"] {
            assert!(plainly_english(text), "{text}");
        }
        let others = [
            "reset password of account manager",
            "No puedo iniciar sesion en mi cuenta desde ayer",
            "Jeg kan ikke logge ind, har I en anden adresse at skrive til?",
            "Ich habe the best Kollegen with mir im Team und wir kommen nicht weiter mit dem Import",
            "",
        ];
        for text in others {
            assert!(!plainly_english(text), "{text}");
        }
    }

    #[test]
    fn long_texts_tell_and_short_ones_do_not() {
        let table = [
            ("Ich habe mein Passwort vergessen und kann mich nicht mehr anmelden", "", "de"),
            ("No puedo iniciar sesión en mi cuenta desde ayer por la mañana, ¿me ayudan?", "en", "es"),
            ("Hello, I need help", "", "en"),
            ("reset password", "de", "de"),
            ("ok", "fr", "fr"),
            ("パスワードを忘れました", "en", "ja"),
            ("비밀번호를 잊었어요", "en", "ko"),
            ("I would like to change the plan of my company, how do I do that?", "en-GB", "en-GB"),
            ("", "", "en"),
            ("12345 🙂", "", "en"),
            ("The app says \"Bitte melden Sie sich an\" and I don’t know what it wants from me", "", "en"),
            ("Wo ist the Button, ich finde das Menü nicht und mein Chef wartet with me", "", "de"),
            ("Ik kan niet inloggen op mijn account, kunt u mij alstublieft helpen met de update?", "", "nl"),
        ];
        for (text, expected, tag) in table {
            assert_eq!(language(text, expected), tag, "{text}");
        }
    }
}
