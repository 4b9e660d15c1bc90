//! The words of a passage that answer a question best.
//!
//! In: a passage, and what each term of the question weighs. Out: a part of the passage, exactly as it stands there.
//! Never: a word that is not in the passage.
use std::{collections::HashMap, ops::Range};

use crate::analysis::tokens;

/// A quote is read in a chat: longer ones are cut to whole sentences.
const LONGEST: usize = 480;
/// Steps of a list belong together up to this length.
const LONGEST_LIST: usize = 700;
/// How much better two sentences have to be than one.
const SECOND: f32 = 0.12;

/// What a line of code counts: it is quoted only if nothing else speaks of the matter.
const CODE: f32 = 0.3;

/// Chooses the quote. For a lead both of its first sentences are preferred: they were written to answer.
pub fn quote<'a>(text: &'a str, language: &str, weights: &HashMap<String, f32>, lead: bool) -> &'a str {
    let units = units(text);
    let Some(first) = units.first() else { return text };
    if lead {
        let second = units.get(1).filter(|second| second.span.end - first.span.start <= LONGEST);
        return cut(text, first.span.start..second.unwrap_or(first).span.end);
    }
    let total: f32 = weights.values().sum::<f32>().max(f32::EPSILON);
    let covered = |span: Range<usize>| -> f32 {
        let words = &text[span];
        let mut found: Vec<String> = tokens(words, language).into_iter().map(|t| t.term).collect();
        found.sort_unstable();
        found.dedup();
        let sum = found.iter().filter_map(|term| weights.get(term)).sum::<f32>() / total;
        if is_code(words) { sum * CODE } else { sum }
    };
    let mut best = (covered(first.span.clone()), 0, 0);
    for (at, unit) in units.iter().enumerate() {
        let alone = covered(unit.span.clone());
        if alone > best.0 + 1e-4 {
            best = (alone, at, at);
        }
        let next = units.get(at + 1).filter(|n| n.block == unit.block && n.span.end - unit.span.start <= LONGEST);
        if next.is_some() {
            let both = covered(unit.span.start..units[at + 1].span.end) - SECOND;
            if both > best.0 + 1e-4 {
                best = (both, at, at + 1);
            }
        }
    }
    let (_, from, to) = best;
    // A step alone helps nobody: the whole list, if it is short enough, else from the step on.
    if units[from].step {
        let same = |unit: &&Unit| unit.block == units[from].block && unit.step;
        let start = units.iter().find(same).map_or(units[from].span.start, |u| u.span.start);
        let end = units.iter().rfind(same).map_or(units[to].span.end, |u| u.span.end);
        if end - start <= LONGEST_LIST {
            return cut(text, start..end);
        }
    }
    cut(text, units[from].span.start..units[to].span.end)
}

/// True if every fifth character is a mark: prose has far fewer.
fn is_code(text: &str) -> bool {
    let marks = text.chars().filter(|c| !c.is_alphanumeric() && !c.is_whitespace()).count();
    marks * 5 > text.chars().count()
}

fn cut(text: &str, span: Range<usize>) -> &str {
    let part = &text[span];
    if part.len() <= LONGEST_LIST {
        return part;
    }
    // One endless sentence: cut it at a word.
    let mut end = LONGEST_LIST;
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    part[..end].rsplit_once(char::is_whitespace).map_or(&part[..end], |(head, _)| head)
}

#[derive(Debug)]
struct Unit {
    span: Range<usize>,
    block: usize,
    step: bool,
}

/// Sentences and list items.
fn units(text: &str) -> Vec<Unit> {
    let mut out = vec![];
    let mut block = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            block += 1;
        } else {
            let from = start + (line.len() - line.trim_start().len());
            let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
            let step = (1..4).contains(&digits) && trimmed[digits..].starts_with(['.', ')']);
            if step {
                out.push(Unit { span: from..from + trimmed.len(), block, step });
            } else {
                out.extend(sentences(trimmed).into_iter().map(|s| Unit {
                    span: from + s.start..from + s.end,
                    block,
                    step,
                }));
            }
        }
        start += line.len();
    }
    out
}

/// Ends a sentence only before something that can begin one; "e.g." and "v1.2" end nothing.
fn sentences(line: &str) -> Vec<Range<usize>> {
    let mut out = vec![];
    let mut start = 0;
    for (at, c) in line.char_indices() {
        if !matches!(c, '.' | '!' | '?' | '…' | '。') {
            continue;
        }
        let behind = at + c.len_utf8();
        let rest = &line[behind..];
        let next = rest.trim_start();
        let begins = next.starts_with(|c: char| {
            c.is_uppercase() || c.is_numeric() || matches!(c, '"' | '“' | '(' | '•' | '¿' | '¡')
        });
        let abbreviation =
            ["e.g.", "i.e.", "etc.", "Mr.", "Ms.", "Dr.", "No.", "vs."].iter().any(|a| line[..behind].ends_with(a));
        if (rest.starts_with(char::is_whitespace) && begins && !abbreviation) || c == '。' {
            out.push(start..behind);
            start = behind + (rest.len() - next.len());
        }
    }
    if start < line.len() {
        out.push(start..line.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(words: &[(&str, f32)]) -> HashMap<String, f32> {
        words.iter().map(|(w, n)| ((*w).to_owned(), *n)).collect()
    }

    #[test]
    fn the_sentence_with_the_rarest_words_wins() {
        let text = "The plan applies to all. Refunds take 5 days, e.g. on cards. Nothing else is sent.";
        assert_eq!(
            quote(text, "en", &weights(&[("refund", 3.0), ("plan", 0.2)]), false),
            "Refunds take 5 days, e.g. on cards."
        );
    }

    #[test]
    fn two_sentences_if_both_are_needed() {
        let text = "Nothing here. Refunds are sent to the card. Cards expire. The end.";
        let found = quote(text, "en", &weights(&[("refund", 2.0), ("expir", 2.0)]), false);
        assert_eq!(found, "Refunds are sent to the card. Cards expire.");
    }

    #[test]
    fn a_step_brings_its_list() {
        let text = "Before you begin, be calm.\n\n1. Open the door.\n2. Choose the gate.\n3. Leave.\n\nAfter that.";
        assert_eq!(
            quote(text, "en", &weights(&[("gate", 1.0)]), false),
            "1. Open the door.\n2. Choose the gate.\n3. Leave."
        );
    }

    #[test]
    fn a_lead_is_quoted_from_its_beginning() {
        let text = "To do it, open v1.2 of it. It takes a day. Third.";
        assert_eq!(quote(text, "en", &weights(&[("third", 1.0)]), true), "To do it, open v1.2 of it. It takes a day.");
    }

    #[test]
    fn every_quote_is_a_part_of_the_text() {
        let long = "wörter ".repeat(300);
        for text in ["", "a", ". . .", "日本語。次。", "1.", "\n\n", long.as_str(), "• a\n• b", "x…\u{a0}Y"]
        {
            for lead in [true, false] {
                let found = quote(text, "en", &weights(&[("wört", 1.0)]), lead);
                assert!(text.contains(found));
                assert!(found.len() <= LONGEST_LIST);
            }
        }
    }
}
