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

/// The language of a text; `expected` (or English) where the text cannot tell.
pub fn language(text: &str, expected: &str) -> String {
    let expected = if expected.is_empty() { "en" } else { expected };
    let text: String = text.chars().take(MAX_CHARS).collect();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < LETTERS && text.is_ascii() {
        return expected.to_owned();
    }
    let Some(info) = detect(&text) else { return expected.to_owned() };
    match tag(info.lang()) {
        Some(found) if enough(&info, letters) && !same(found, expected) => found.to_owned(),
        _ => expected.to_owned(),
    }
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
        ];
        for (text, expected, tag) in table {
            assert_eq!(language(text, expected), tag, "{text}");
        }
    }
}
