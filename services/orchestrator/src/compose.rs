//! An answer out of passages: quoted, never made up.
//!
//! In: passages, best first. Out: a reply that consists of quotes, and for each quote where it stands. Never: a word of fact
//! that is not in a passage, a citation whose words are not in the reply.
use std::ops::Range;

/// Below this a passage is about something else.
pub const GUARD: f64 = 0.35;
/// What a reader takes in at a glance; longer answers end at a sentence before it.
const MAX_ANSWER: usize = 600;
/// Steps are skimmed, not read: a few more characters are fine.
const MAX_STEPS: usize = 900;
/// A shorter quote gets the next sentence too: "Yes." alone answers little.
const MIN_ANSWER: usize = 60;
/// Steps of another passage of the same article count as an answer if they fit nearly as well as the best one.
const STEPS_SHARE: f64 = 0.5;

/// What knowledge found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passage {
    /// The article.
    pub article_id: String,
    /// Its version.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// Where a person can read it; may be empty.
    pub url: String,
    /// Its words.
    pub text: String,
    /// The part that answers best: a substring of `text`.
    pub quote: String,
    /// 0 to 1.
    pub score: f64,
    /// Why it was found.
    pub explanation: String,
}

/// Where a quote stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The article.
    pub article_id: String,
    /// Its version.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// Where a person can read it; may be empty.
    pub url: String,
    /// The very words.
    pub words: String,
}

/// A reply and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The words for the customer.
    pub text: String,
    /// Exactly what is quoted.
    pub quotes: Vec<Quote>,
}

/// How sure the agent is of an answer: the intent's confidence, and half of what is missing to 1 times the passage's score. A good
/// passage lifts a middling intent (0.5 with 0.9 gives 0.73). Where an answer has to be found and no passage fits, half of the
/// intent's confidence is left: to know what is asked is not yet to know the answer.
pub fn confidence(intent: f64, passage: Option<f64>) -> f64 {
    match passage.filter(|score| *score >= GUARD) {
        Some(score) => (intent + (1.0 - intent) * score / 2.0).clamp(0.0, 1.0),
        None => intent / 2.0,
    }
}

/// Quotes the best passage; with the steps of its article if steps are asked for. None if nothing fits.
pub fn extract(passages: &[Passage], asks_how: bool) -> Option<Answer> {
    let best = passages.first().filter(|p| p.score >= GUARD && !p.text.trim().is_empty())?;
    let mut parts = vec![(best, answer(best))];
    if asks_how && let Some((of, range)) = steps_for(passages, best) {
        let (_, said) = &mut parts[0];
        let text = &best.text;
        if !std::ptr::eq(of, best) {
            parts.push((of, range));
        } else if said.start < range.end && range.start < said.end {
            // The quote is one of the steps: all of them say it in order.
            *said = said.start.min(range.start)..range.end;
        } else if said.end <= range.start && text[said.end..range.start].trim().is_empty() {
            said.end = range.end;
        } else {
            parts.push((of, range));
        }
    }
    let mut quotes: Vec<Quote> = Vec::with_capacity(parts.len());
    let mut replies = Vec::with_capacity(parts.len());
    for (passage, range) in parts {
        let words = passage.text[range].trim();
        if words.is_empty() || quotes.iter().any(|q| q.words.contains(words)) {
            continue;
        }
        replies.push(words.to_owned());
        quotes.push(Quote {
            article_id: passage.article_id.clone(),
            version: passage.version,
            title: passage.title.clone(),
            url: passage.url.clone(),
            words: words.to_owned(),
        });
    }
    Some(Answer { text: replies.join("\n\n"), quotes })
}

/// The part of a passage that answers: its quote widened to whole sentences, or its first ones.
fn answer(passage: &Passage) -> Range<usize> {
    let text = passage.text.as_str();
    let quote = passage.quote.trim();
    let sentences = sentences(text);
    let found = (!quote.is_empty()).then(|| text.find(quote)).flatten().map(|start| start..start + quote.len());
    let aim = found.or_else(|| sentences.first().cloned()).unwrap_or(0..text.len());
    let mut range: Option<Range<usize>> = None;
    for sentence in sentences {
        let wanted = sentence.start < aim.end && aim.start < sentence.end;
        let more = range.as_ref().is_some_and(|r| r.len() < MIN_ANSWER && !text[r.end..sentence.start].contains('\n'));
        if !wanted && !more {
            continue;
        }
        let start = range.as_ref().map_or(sentence.start, |r| r.start);
        if range.is_some() && sentence.end - start > MAX_ANSWER {
            break;
        }
        range = Some(start..sentence.end);
    }
    let range = range.unwrap_or(aim);
    if range.len() <= MAX_ANSWER {
        return range;
    }
    // One endless sentence: up to a word's end.
    let mut end = range.start + MAX_ANSWER;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = text[range.start..end].rfind(char::is_whitespace).map_or(end, |i| range.start + i);
    range.start..end
}

/// Sentences and lines of a text, without the space between them.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut push = |start: usize, end: usize| {
        let words = &text[start..end];
        let from = start + (words.len() - words.trim_start().len());
        let to = start + words.trim_end().len();
        if from < to {
            out.push(from..to);
        }
    };
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        let next = chars.peek().map(|n| n.1);
        let line = c == '\n';
        // "1." begins a step and ends nothing; "e.g." and "v2.0" are not followed by a space and a capital.
        let stop = matches!(c, '.' | '!' | '?')
            && next.is_none_or(char::is_whitespace)
            && !text[start..i].trim().chars().all(|d| d.is_ascii_digit())
            && !text[i..].chars().skip(1).find(|n| !n.is_whitespace()).is_some_and(char::is_lowercase);
        let wide = matches!(c, '。' | '！' | '？');
        if line || stop || wide {
            let end = i + c.len_utf8();
            push(start, end);
            start = end;
        }
    }
    push(start, text.len());
    out
}

/// Numbered steps: in the best passage, or in another one of its article that fits nearly as well.
fn steps_for<'a>(passages: &'a [Passage], best: &'a Passage) -> Option<(&'a Passage, Range<usize>)> {
    let same = |p: &&Passage| {
        p.article_id == best.article_id && p.version == best.version && p.score >= best.score * STEPS_SHARE
    };
    passages.iter().filter(same).find_map(|p| steps(&p.text).map(|range| (p, range)))
}

/// The first run of at least two numbered lines.
fn steps(text: &str) -> Option<Range<usize>> {
    let mut run: Option<(Range<usize>, u32)> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let range = offset..offset + line.trim_end().len();
        offset += line.len();
        let digits = line.trim_start().bytes().take_while(u8::is_ascii_digit).count();
        let rest = &line.trim_start()[digits..];
        let step = (1..=2).contains(&digits) && (rest.starts_with(". ") || rest.starts_with(") "));
        match &mut run {
            Some((so_far, count)) if step && range.end - so_far.start <= MAX_STEPS => {
                so_far.end = range.end;
                *count += 1;
            }
            None if step => run = Some((range, 1)),
            Some((_, count)) if *count >= 2 => break,
            _ => run = None,
        }
    }
    run.filter(|(_, count)| *count >= 2).map(|(range, _)| range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(text: &str, quote: &str, score: f64) -> Passage {
        Passage {
            article_id: "a".into(),
            version: 1,
            title: "T".into(),
            url: String::new(),
            text: text.into(),
            quote: quote.into(),
            score,
            explanation: String::new(),
        }
    }

    fn check(answer: &Answer, passages: &[Passage]) {
        for quote in &answer.quotes {
            assert!(passages.iter().any(|p| p.text.contains(&quote.words)), "quoted word for word");
            assert!(answer.text.contains(&quote.words), "what is cited is in the reply");
        }
    }

    #[test]
    fn a_quote_is_widened_to_whole_sentences() {
        let passages = [passage(
            "Intro here. To export data, open Settings and choose Export. Files are kept for 7 days. The end.",
            "open Settings and choose",
            0.8,
        )];
        let answer = extract(&passages, false).expect("an answer");
        assert_eq!(answer.text, "To export data, open Settings and choose Export. Files are kept for 7 days.");
        check(&answer, &passages);
    }

    #[test]
    fn steps_are_added_only_if_they_are_asked_for() {
        let text = "Reset it by email.\n\n1. Open the page.\n2. Enter your email.\n3. Choose Send.\n\nLinks expire.";
        let passages = [passage(text, "Reset it by email.", 0.8)];
        assert!(!extract(&passages, false).expect("an answer").text.contains("2."));
        let answer = extract(&passages, true).expect("an answer");
        assert_eq!(answer.text, "Reset it by email.\n\n1. Open the page.\n2. Enter your email.\n3. Choose Send.");
        assert_eq!(answer.quotes.len(), 1);
        check(&answer, &passages);
    }

    #[test]
    fn steps_of_another_passage_are_cited_by_themselves() {
        let mut other = passage("1. Open it.\n2. Close it.", "Open it.", 0.7);
        let passages = [passage("To do it, open and close it.", "", 0.8), other.clone()];
        let answer = extract(&passages, true).expect("an answer");
        assert_eq!(answer.quotes.len(), 2);
        check(&answer, &passages);
        other.article_id = "b".into();
        assert_eq!(extract(&[passages[0].clone(), other], true).expect("an answer").quotes.len(), 1);
    }

    #[test]
    fn a_quote_that_is_a_step_brings_all_of_them() {
        let passages = [passage("First this.\n\n1. Open it.\n2. Close it.", "Close it.", 0.8)];
        assert_eq!(extract(&passages, true).expect("an answer").text, "1. Open it.\n2. Close it.");
    }

    #[test]
    fn what_does_not_fit_is_not_said() {
        assert_eq!(extract(&[], false), None);
        assert_eq!(extract(&[passage("Something.", "Something.", 0.34)], false), None);
        assert_eq!(extract(&[passage(" ", "", 0.9)], false), None);
    }

    #[test]
    fn long_answers_end_at_a_sentence_or_a_word() {
        let long = "This sentence has some words in it. ".repeat(60);
        let passages = [passage(&long, long.trim(), 0.9)];
        let answer = extract(&passages, false).expect("an answer");
        assert!(answer.text.len() <= MAX_ANSWER && answer.text.ends_with("in it."));
        let endless = "wörter ".repeat(300);
        let passages = [passage(&endless, "", 0.9)];
        let answer = extract(&passages, false).expect("an answer");
        assert!(answer.text.len() <= MAX_ANSWER && answer.text.ends_with("wörter"));
        check(&answer, &passages);
    }

    #[test]
    fn confidence_grows_with_both_parts() {
        assert_eq!(confidence(0.8, None), 0.4);
        assert_eq!(confidence(0.8, Some(0.2)), 0.4);
        assert!(confidence(0.5, Some(0.9)) > 0.7);
        assert!(confidence(0.3, Some(0.9)) < 0.7);
        assert!(confidence(1.0, Some(1.0)) <= 1.0);
    }
}
