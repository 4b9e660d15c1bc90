//! The words of a passage that answer a question best.
//!
//! In: a passage, and what each term of the question weighs. Out: a part of the passage, exactly as it stands there.
//! Never: a word that is not in the passage.
use std::ops::Range;

use crate::analysis::{TermId, term_ids};

/// A quote is read in a chat: longer ones are cut to whole sentences.
const LONGEST: usize = 480;
/// Steps of a list belong together up to this length.
const LONGEST_LIST: usize = 700;
/// How much better two sentences have to be than one.
const SECOND: f32 = 0.12;

/// What a line of code counts: it is quoted only if nothing else speaks of the matter.
const CODE: f32 = 0.3;

/// What each term of a question weighs, sorted by term.
#[derive(Debug, Default)]
pub struct Weights {
    terms: Vec<(TermId, f32)>,
    total: f32,
}

impl Weights {
    /// Of a term that comes more than once the greatest weight counts.
    pub fn new(terms: impl Iterator<Item = (TermId, f32)>) -> Self {
        let mut terms: Vec<(TermId, f32)> = terms.collect();
        terms.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        terms.dedup_by_key(|t| t.0);
        let total = terms.iter().map(|t| t.1).sum();
        Weights { terms, total }
    }

    /// The share of the question that a part says.
    fn covered(&self, part: &Part) -> f32 {
        let weight = |term: &TermId| self.terms.binary_search_by_key(term, |t| t.0).ok().map(|at| self.terms[at].1);
        let sum = part.terms.iter().filter_map(weight).sum::<f32>() / self.total.max(f32::EPSILON);
        if part.code { sum * CODE } else { sum }
    }
}

/// A passage as what can be quoted of it: read once, chosen from for every question.
#[derive(Debug)]
pub struct Quotable {
    units: Box<[Unit]>,
    /// The terms of each unit; none for a lead, whose quote the question does not change.
    parts: Box<[Parts]>,
}

/// What a unit says, alone and together with the next.
#[derive(Debug)]
struct Parts {
    alone: Part,
    both: Option<Part>,
}

#[derive(Debug)]
struct Part {
    terms: Box<[TermId]>,
    code: bool,
}

impl Quotable {
    /// Reads a passage.
    pub fn new(text: &str, language: &str, lead: bool) -> Self {
        let units = units(text).into_boxed_slice();
        if lead {
            return Quotable { units, parts: Box::default() };
        }
        let part =
            |span: Range<usize>| Part { terms: term_ids(&text[span.clone()], language), code: is_code(&text[span]) };
        let parts = |(at, unit): (usize, &Unit)| {
            let next = units.get(at + 1);
            let next = next.filter(|n| n.block == unit.block && n.span.end - unit.span.start <= LONGEST);
            Parts { alone: part(unit.span.clone()), both: next.map(|next| part(unit.span.start..next.span.end)) }
        };
        let parts = units.iter().enumerate().map(parts).collect();
        Quotable { units, parts }
    }

    /// Chooses the quote out of the text that was read. For a lead both of its first sentences are preferred: they were
    /// written to answer.
    pub fn quote<'a>(&self, text: &'a str, weights: &Weights) -> &'a str {
        let units = &self.units;
        let Some(first) = units.first() else { return text };
        let Some(parts) = self.parts.first() else {
            let second = units.get(1).filter(|second| second.span.end - first.span.start <= LONGEST);
            return cut(text, first.span.start..second.unwrap_or(first).span.end);
        };
        let mut best = (weights.covered(&parts.alone), 0, 0);
        for (at, parts) in self.parts.iter().enumerate() {
            let alone = weights.covered(&parts.alone);
            if alone > best.0 + 1e-4 {
                best = (alone, at, at);
            }
            if let Some(both) = &parts.both {
                let both = weights.covered(both) - SECOND;
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

    fn weights(words: &[(&str, f32)]) -> Weights {
        Weights::new(words.iter().map(|(word, weight)| (TermId::of(word), *weight)))
    }

    fn quote<'a>(text: &'a str, language: &str, weights: &Weights, lead: bool) -> &'a str {
        Quotable::new(text, language, lead).quote(text, weights)
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
