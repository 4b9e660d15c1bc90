//! Text into counted features: word 1-2 grams and character 2-5 grams within words, each named by a hash.
//!
//! In: any text. Out: [`Grams`], sorted by hash so that nothing depends on the order of a hash map. Never: the text itself —
//! a model file holds hashes only.
use unicode_normalization::UnicodeNormalization as _;

/// More of one text tells nothing new about its intent and would only take time.
const MAX_CHARS: usize = 4_000;
/// Longer numbers are ids: their length says more than their digits. Shorter ones are codes such as 401.
const MAX_CODE_DIGITS: usize = 3;

const WORD: u8 = b'w';
const PAIR: u8 = b'p';
const PIECE: u8 = b'c';

/// How often each feature occurs, words and characters apart: each block is brought to the same length by itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Grams {
    pub(crate) words: Vec<(u64, f32)>,
    pub(crate) chars: Vec<(u64, f32)>,
}

/// Counts the features of a text.
pub(crate) fn grams(text: &str) -> Grams {
    let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(i, _)| i);
    let tokens = tokens(&text[..end]);
    let mut words = Vec::with_capacity(tokens.len() * 2 + 1);
    let mut chars = Vec::with_capacity(end * 4);
    let mut before: &str = "<";
    for token in &tokens {
        words.push(hash(WORD, &[token]));
        words.push(hash(PAIR, &[before, token]));
        before = token;
        pieces(token, &mut chars);
    }
    if !tokens.is_empty() {
        words.push(hash(PAIR, &[before, ">"]));
    }
    Grams { words: counted(words), chars: counted(chars) }
}

/// Lower-case words without apostrophes, marks of question and exclamation, long numbers as zeros, addresses as one word.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut Vec<String>| {
        if !word.is_empty() {
            out.push(shaped(std::mem::take(word)));
        }
    };
    for chunk in text.split_whitespace() {
        if chunk.len() > 3 && chunk.find('@').is_some_and(|at| at > 0 && chunk[at..].contains('.')) {
            out.push("email".to_owned());
            continue;
        }
        for c in chunk.nfkc().flat_map(char::to_lowercase) {
            match c {
                '\'' | '\u{2019}' | '\u{2018}' | '`' => {}
                '?' | '!' => {
                    flush(&mut word, &mut out);
                    // "!!!" is one mark: how loud it is belongs to the sentiment.
                    if out.last().is_none_or(|last| !last.starts_with(c)) {
                        out.push(c.to_string());
                    }
                }
                c if c.is_alphanumeric() => word.push(c),
                _ => flush(&mut word, &mut out),
            }
        }
        flush(&mut word, &mut out);
    }
    // Marks alone say nothing.
    out.retain(|_| text.contains(char::is_alphanumeric));
    out
}

fn shaped(word: String) -> String {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    if digits && word.len() > MAX_CODE_DIGITS { "0".repeat(word.len().min(12)) } else { word }
}

fn pieces(token: &str, out: &mut Vec<u64>) {
    let padded = format!(" {token} ");
    let bounds: Vec<usize> = padded.char_indices().map(|(i, _)| i).chain([padded.len()]).collect();
    let length = bounds.len() - 1;
    for n in 2..=5 {
        if n >= length {
            // The whole word once, however short: longer grams of it would all be the same.
            out.push(hash(PIECE, &[&padded]));
            break;
        }
        for start in 0..=length - n {
            out.push(hash(PIECE, &[&padded[bounds[start]..bounds[start + n]]]));
        }
    }
}

fn counted(mut hashes: Vec<u64>) -> Vec<(u64, f32)> {
    hashes.sort_unstable();
    let mut out: Vec<(u64, f32)> = Vec::with_capacity(hashes.len());
    for hash in hashes {
        match out.last_mut() {
            Some((last, count)) if *last == hash => *count += 1.0,
            _ => out.push((hash, 1.0)),
        }
    }
    out
}

/// FNV-1a with a final mix, so that the low bits are good enough to be a table's index.
fn hash(block: u8, parts: &[&str]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    eat(block);
    for part in parts {
        part.bytes().for_each(&mut eat);
        eat(0xff);
    }
    h ^= h >> 30;
    h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_case_and_apostrophes_and_ids_lose_their_digits() {
        assert_eq!(
            tokens("I can’t LOGIN!!! to order BS-123456?"),
            ["i", "cant", "login", "!", "to", "order", "bs", "000000", "?"]
        );
        assert_eq!(tokens("API error 401 for jane@example.com"), ["api", "error", "401", "for", "email"]);
    }

    #[test]
    fn an_empty_text_has_no_features() {
        for empty in ["", " \n ", " ?!... ", "🙂"] {
            let grams = grams(empty);
            assert!(grams.words.is_empty() && grams.chars.is_empty(), "{empty}");
        }
    }
}
