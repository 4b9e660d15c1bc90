//! Which passages answer a question, and how well.
//!
//! In: passages that share words with the question, and how rare its words are. Out: at most one passage per article with a
//! score that can be compared between questions; nothing if the question is about something else. Never: a search.
//!
//! BM25 alone cannot say "none of these": its best hit for nonsense looks like any other. What can is *coverage*: the share
//! of what the question says, weighed by rarity, that an article speaks of. A word that no article has weighs most.
use std::{collections::HashMap, fmt};

use uuid::Uuid;

use crate::{
    analysis::TermId,
    index::{Analyzed, Found, Hit},
    quote::Weights,
};

/// As if so many more articles existed that have none of the words: in a small help centre every word would look common,
/// and a single shared one would be enough.
const UNSEEN_ARTICLES: f64 = 100.0;
/// What a filler word ("get", "want") weighs against a word of content.
const FILLER: f64 = 0.2;
/// What a missed word counts that other articles have: the question stays within the help centre, unlike one with words
/// that nobody has.
const MISSED: f64 = 0.6;
/// Less of the question than this, and the article is about something else.
const LEAST_COVERAGE: f64 = 0.5;
/// Less than this is not shown.
const LEAST_SCORE: f64 = 0.3;
/// An article that the owner linked to an error in the question comes before all that were only found by words.
const SOLVES: f32 = 0.55;
/// How far a sure link to an error of the question moves a score toward 1.
const LINK: f64 = 0.7;
/// How much better than the lead another passage has to be: leads were written to answer.
const LEAD: f64 = 1.25;

/// What is known beside the words.
#[derive(Debug, Default)]
pub struct Hints {
    /// Articles linked to an error in the question, and how surely.
    pub linked: HashMap<Uuid, f32>,
    /// Terms of the intent found so far.
    pub intent: Box<[TermId]>,
    /// The language to prefer; empty if none.
    pub language: String,
}

/// A passage with its score.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Which of the hits.
    pub hit: Hit,
    /// 0 to 1.
    pub score: f64,
    /// True if it stands before all without an error link.
    pub first: bool,
    /// Why.
    pub why: Why,
}

/// Why a passage was found; displays as words.
#[derive(Debug, Clone)]
pub struct Why {
    bm25: f32,
    coverage: f64,
    named: f64,
    title: f64,
    linked: bool,
}

impl Ranked {
    /// The article.
    pub fn article(&self) -> Uuid {
        self.hit.passage.passage.article
    }
}

/// Weights of the question's terms, for the choice of the quote.
pub fn weights(found: &Found) -> Weights {
    let of_concept = |(concept, weight): (&crate::analysis::Concept, f64)| {
        concept.terms.iter().map(move |(term, share)| (TermId::of(term), weight as f32 * share)).collect::<Vec<_>>()
    };
    Weights::new(found.concepts.iter().zip(concept_weights(found)).flat_map(of_concept))
}

/// The terms of each concept with what a match of them is worth.
type Asked = Vec<Vec<(TermId, f64)>>;

fn asked(found: &Found) -> Asked {
    let terms = |c: &crate::analysis::Concept| c.terms.iter().map(|(t, w)| (TermId::of(t), f64::from(*w))).collect();
    found.concepts.iter().map(terms).collect()
}

fn concept_weights(found: &Found) -> Vec<f64> {
    let articles = found.articles as f64 + UNSEEN_ARTICLES;
    let weigh = |(concept, frequency): (&crate::analysis::Concept, &u64)| {
        let n = *frequency as f64;
        let rarity = (1.0 + (articles - n + 0.5) / (n + 0.5)).ln();
        if concept.filler || common(found, *frequency) { rarity.min(2.0) * FILLER } else { rarity }
    };
    found.concepts.iter().zip(&found.frequencies).map(weigh).collect()
}

/// True for a word that nearly all articles have, such as the product's name: it tells none of them apart.
fn common(found: &Found, frequency: u64) -> bool {
    found.articles >= 10 && frequency * 20 > found.articles * 17
}

/// How well a passage has a concept: in the title, tags and heading; in its text.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    named: f64,
    text: f64,
    title: f64,
    heading: f64,
}

impl Match {
    fn of(passage: &Analyzed, terms: &[(TermId, f64)]) -> Self {
        let best = |list: &[TermId]| {
            let worth = terms.iter().filter(|(term, _)| list.binary_search(term).is_ok()).map(|(_, worth)| *worth);
            worth.fold(0.0, f64::max)
        };
        let (title, heading) = (best(&passage.title), best(&passage.heading));
        Match { named: title.max(best(&passage.tags)), text: best(&passage.body).max(heading), title, heading }
    }
}

struct Candidate<'a> {
    best: &'a Hit,
    bm25: f32,
    coverage: f64,
    /// One word in passing is a coincidence: it takes a title or tag, or two words of content.
    meant: bool,
    named: f64,
    title: f64,
    score: f64,
}

/// Ranks what was found, best first.
pub fn rank(found: &Found, hints: &Hints) -> Vec<Ranked> {
    let (weights, asked) = (concept_weights(found), asked(found));
    let mut groups: HashMap<Uuid, Vec<&Hit>> = HashMap::new();
    for hit in &found.hits {
        groups.entry(hit.passage.passage.article).or_default().push(hit);
    }
    let mut out = vec![];
    for (article, hits) in groups {
        let candidate = candidate(found, &asked, &weights, &hits);
        let link = hints.linked.get(&article).copied();
        if link.is_none() && (candidate.coverage < LEAST_COVERAGE || !candidate.meant) {
            continue;
        }
        let words = (candidate.score + nudges(&candidate.best.passage, hints)).min(1.0);
        let score = 1.0 - (1.0 - words) * (1.0 - LINK * f64::from(link.unwrap_or(0.0)));
        if score >= LEAST_SCORE {
            let first = link.is_some_and(|confidence| confidence >= SOLVES);
            let Candidate { bm25, coverage, named, title, .. } = candidate;
            let why = Why { bm25, coverage, named, title, linked: link.is_some() };
            out.push(Ranked { hit: candidate.best.clone(), score, first, why });
        }
    }
    sort(&mut out);
    out
}

/// Adds what the graph knows of near equals; the best stays the best.
pub fn favor(ranked: &mut [Ranked], bonus: &HashMap<Uuid, f64>) {
    for one in ranked.iter_mut() {
        one.score = (one.score + bonus.get(&one.article()).copied().unwrap_or(0.0)).min(1.0);
    }
    if let Some((best, rest)) = ranked.split_first_mut() {
        sort(rest);
        // Shown scores go down from the first on.
        let ceiling = rest.iter().filter(|r| r.first == best.first).map(|r| r.score).fold(0.0, f64::max);
        best.score = best.score.max(ceiling);
    }
}

fn sort(ranked: &mut [Ranked]) {
    ranked.sort_by(|a, b| {
        let words = b.score.total_cmp(&a.score).then(b.hit.bm25.total_cmp(&a.hit.bm25));
        // The id last, so that the same question has the same answer every time.
        b.first.cmp(&a.first).then(words).then(a.article().cmp(&b.article()))
    });
}

fn candidate<'a>(found: &Found, asked: &Asked, weights: &[f64], hits: &[&'a Hit]) -> Candidate<'a> {
    let count = weights.len();
    let (mut named, mut anywhere, mut shown) = (vec![0.0; count], vec![0.0_f64; count], vec![0.0; count]);
    let (mut best, mut best_fit, mut bm25) = (hits[0], f64::MIN, 0.0_f32);
    for hit in hits {
        let matches: Vec<Match> = asked.iter().map(|terms| Match::of(&hit.passage, terms)).collect();
        let lead = hit.passage.passage.is_lead();
        // The lead answers what the title asks; another passage answers what its heading asks.
        let worth =
            |m: &Match| if lead { m.text.max(m.named) } else { m.text.max(m.heading * 1.15).max(m.title * 0.5) };
        let fit: f64 = matches.iter().zip(weights).map(|(m, weight)| weight * worth(m)).sum();
        let fit = if lead { fit * LEAD + 0.1 } else { fit };
        for (i, m) in matches.iter().enumerate() {
            named[i] = m.named;
            anywhere[i] = anywhere[i].max(m.text);
        }
        if fit > best_fit {
            (best, best_fit) = (hit, fit);
            shown = matches.iter().map(|m| m.text).collect();
        }
        bm25 = bm25.max(hit.bm25);
    }
    let sum = |value: &dyn Fn(usize) -> f64| (0..count).map(|i| weights[i] * value(i)).sum::<f64>();
    let total = sum(&|_| 1.0).max(f64::EPSILON);
    // A word in another passage of the article counts, but less than one in the passage that is shown.
    let has = |i: usize| named[i].max(shown[i] * 0.9).max(anywhere[i] * 0.75);
    let missed = sum(&|i| (1.0 - has(i)) * if found.frequencies[i] > 0 { MISSED } else { 1.0 });
    let covered = sum(&|i| has(i));
    let coverage = covered / (covered + missed).max(f64::EPSILON);
    let named_share = sum(&|i| named[i]) / total;
    let evidence = sum(&|i| named[i].max(shown[i] * 0.9));
    let title = title_share(asked, &best.passage);

    let content: Vec<usize> =
        (0..count).filter(|i| !found.concepts[*i].filler && !common(found, found.frequencies[*i])).collect();
    let meant = content.iter().any(|i| named[*i] > 0.0) || content.iter().filter(|i| shown[**i] > 0.0).count() > 1;

    // BM25 has no upper end; over the demo articles a hit of one word has about 5, a very good one 25 and more.
    let squashed = f64::from(bm25) / (f64::from(bm25) + 12.0);
    let evidence = evidence / (evidence + 1.5);
    let score = coverage * (0.25 + 0.3 * named_share + 0.2 * title + 0.1 * squashed + 0.15 * evidence);
    Candidate { best, bm25, coverage, meant, named: named_share, title, score }
}

/// The share of the title that the question says.
fn title_share(asked: &Asked, passage: &Analyzed) -> f64 {
    if passage.title.is_empty() {
        return 0.0;
    }
    let worth = |term: &TermId| {
        let all = asked.iter().flatten().filter(|(t, _)| t == term);
        all.map(|(_, worth)| *worth).fold(0.0, f64::max)
    };
    passage.title.iter().map(worth).sum::<f64>() / passage.title.len() as f64
}

/// Small additions that only decide between near equals.
fn nudges(passage: &Analyzed, hints: &Hints) -> f64 {
    let mut sum = 0.0;
    if !hints.intent.is_empty() {
        let known = |term: &&TermId| {
            [&passage.title, &passage.tags, &passage.category].iter().any(|list| list.binary_search(term).is_ok())
        };
        sum += 0.03 * hints.intent.iter().filter(known).count() as f64 / hints.intent.len() as f64;
    }
    let base = |language: &str| language.split('-').next().unwrap_or_default().to_lowercase();
    if !hints.language.is_empty() && base(&hints.language) == base(&passage.passage.language) {
        sum += 0.02;
    }
    sum
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bm25 {:.1}, covers {:.0} %", self.bm25, self.coverage * 100.0)?;
        if self.title > 0.0 {
            write!(f, ", title {:.0} %", self.title * 100.0)?;
        } else if self.named > 0.0 {
            f.write_str(", tags")?;
        }
        if self.linked {
            f.write_str(", error link")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{analysis::concepts, index::Passage};

    fn hit(id: u128, title: &str, text: &str, bm25: f32) -> Hit {
        let passage = Passage {
            article: Uuid::from_u128(id),
            version: 1,
            chunk: 0,
            title: title.into(),
            slug: String::new(),
            url: String::new(),
            heading: String::new(),
            text: text.into(),
            category: "Billing".into(),
            tags: vec![],
            language: "en".into(),
        };
        Hit { passage: Arc::new(Analyzed::new(passage)), bm25, cosine: None }
    }

    fn found(question: &str, frequencies: &[u64], hits: Vec<Hit>) -> Found {
        let concepts = concepts(question, "en");
        assert_eq!(concepts.len(), frequencies.len());
        Found { hits, articles: 50, concepts, frequencies: frequencies.to_vec() }
    }

    #[test]
    fn a_word_that_nobody_has_outweighs_one_that_many_have() {
        let question = "refund my spaceship";
        let found = found(question, &[10, 0], vec![hit(1, "Refunds", "How a refund works.", 9.0)]);
        assert!(rank(&found, &Hints::default()).is_empty());
    }

    #[test]
    fn one_word_in_passing_is_a_coincidence() {
        let hits = vec![hit(1, "Plans", "Before a holiday the team is small.", 9.0)];
        assert!(rank(&found("holiday", &[3], hits.clone()), &Hints::default()).is_empty());
        assert_eq!(rank(&found("holiday team", &[3, 9], hits), &Hints::default()).len(), 1);
    }

    #[test]
    fn an_article_linked_to_the_error_comes_first_and_scores_higher() {
        let hits = vec![
            hit(1, "Refund of a payment", "A refund of a payment.", 20.0),
            hit(2, "Declined", "See the bank.", 0.0),
        ];
        let found = found("refund payment", &[5, 20], hits);
        let hints = Hints { linked: HashMap::from([(Uuid::from_u128(2), 0.8)]), ..Hints::default() };
        let ranked = rank(&found, &hints);
        assert_eq!(ranked.iter().map(|r| r.article().as_u128()).collect::<Vec<_>>(), [2, 1]);
        assert!(ranked[0].score > 0.5 && ranked[0].why.to_string().contains("error link"));
        let weak = Hints { linked: HashMap::from([(Uuid::from_u128(2), 0.4)]), ..Hints::default() };
        assert_ne!(rank(&found, &weak).first().map(|r| r.article().as_u128()), Some(2));
    }

    #[test]
    fn intent_and_language_decide_between_equals_only() {
        let hits = vec![hit(1, "Refund", "A refund.", 9.0), hit(2, "Refund", "A refund.", 9.1)];
        let found = found("refund", &[5], hits);
        let plain = rank(&found, &Hints::default());
        assert_eq!(plain[0].article().as_u128(), 2);
        let hints = Hints { intent: [TermId::of("bill")].into(), language: "en-GB".into(), ..Hints::default() };
        let nudged = rank(&found, &hints);
        assert!(nudged[0].score > plain[0].score && nudged[0].score - plain[0].score < 0.06);
    }

    #[test]
    fn the_graph_never_lifts_a_neighbor_over_the_best() {
        let hits = vec![
            hit(1, "Refund of a payment", "A refund.", 9.0),
            hit(2, "Refund", "A payment refund.", 9.0),
            hit(3, "Refund", "A payment refund.", 8.9),
        ];
        let mut ranked = rank(&found("refund payment", &[5, 9], hits), &Hints::default());
        let best = ranked[0].article();
        favor(&mut ranked, &HashMap::from([(Uuid::from_u128(3), 0.9)]));
        assert_eq!((ranked[0].article(), ranked[1].article().as_u128()), (best, 3));
        assert!(ranked.windows(2).all(|w| w[0].score >= w[1].score));
    }
}
