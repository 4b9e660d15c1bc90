//! What the customer wants: a linear classifier over [`super::features`].
//!
//! In: labelled examples, then any text. Out: an intent with a calibrated confidence, or `oos` if it is none of the known
//! ones. Never: a network, a random number, a dependence on the order of a hash map: the same examples give the same bytes.
//!
//! Out of scope is recognized twice: as a class of its own where the examples have rows for it, and by a floor under the
//! best probability. Floor and temperature come from rows held out of the training data; without `oos` rows in it nothing
//! is ever rejected.
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use serde::Deserialize;

use super::{
    features::{Grams, grams},
    fit::{Fitted, Rows, XorShift, fit, softmax},
};

/// The intent of what is none of the known ones.
pub const OOS: &str = "oos";
/// Other likely intents that are told.
const SECONDARY: usize = 3;
/// Parts of the training data, each held out once to set floor and temperature.
const FOLDS: usize = 3;
/// Rows above which only one part is held out: there is enough in it, and training stays short.
const MANY_ROWS: usize = 6_000;
/// What a point of out-of-scope recall is worth against a point of in-scope accuracy when the floor is set: a question
/// wrongly refused costs more than one that gets a canned refusal later.
const RECALL_WORTH: f64 = 0.25;

/// What a feature that was never seen adds to the length of a text, as a share of what the rarest known one does: a text of
/// strange words then gets small values for those it shares with the examples, and no confidence. Most words bring some strange
/// grams of characters, so these add less.
const UNSEEN: [f32; 2] = [1.0, 0.2];

/// A labelled text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Example {
    /// What somebody might write.
    pub text: String,
    /// What they want by it.
    pub intent: String,
}

/// Reads JSON lines; blank lines are skipped. The error names the line and what is wrong.
pub fn parse_examples(jsonl: &str) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    for (number, line) in jsonl.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let example: Example = serde_json::from_str(line).map_err(|e| {
            // serde counts the one line that it sees as the first.
            let e = e.to_string().replace(" at line 1 column", " at column");
            format!("line {}: {e}; each line is a JSON object {{\"text\": \"...\", \"intent\": \"...\"}}", number + 1)
        })?;
        if example.text.trim().is_empty() || example.intent.trim().is_empty() {
            return Err(format!("line {}: `text` and `intent` must not be empty", number + 1));
        }
        examples.push(example);
    }
    let mut intents: Vec<_> = examples.iter().map(|e| &e.intent).filter(|i| *i != OOS).collect();
    intents.sort_unstable();
    intents.dedup();
    if intents.len() < 2 {
        return Err(format!("it has {} intents besides `{OOS}`; at least 2 are needed", intents.len()));
    }
    Ok(examples)
}

/// What a text was taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The intent; [`OOS`] if out of scope.
    pub intent: String,
    /// 0 to 1, calibrated.
    pub confidence: f64,
    /// The next ones, best first, at most three.
    pub secondary: Vec<(String, f64)>,
    /// True if it is taken for out of scope because no intent is likely, not because it looks like what is.
    pub doubtful: bool,
}

/// A trained classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct IntentModel {
    pub(crate) labels: Vec<String>,
    /// Probabilities are of scores divided by this.
    pub(crate) temperature: f32,
    /// Below this best probability a text is out of scope.
    pub(crate) floor: f32,
    pub(crate) bias: Vec<f32>,
    pub(crate) vocabulary: Vocabulary,
    /// One factor per feature, and its weights for all classes as small integers.
    pub(crate) scales: Vec<f32>,
    pub(crate) weights: Vec<i8>,
}

impl IntentModel {
    /// Trains. Takes well under a second for a few thousand rows.
    pub fn train(examples: &[Example]) -> IntentModel {
        let mut labels: Vec<String> = examples.iter().map(|e| e.intent.clone()).collect();
        labels.sort_unstable();
        labels.dedup();
        let numbers: BTreeMap<&str, u16> = labels.iter().enumerate().map(|(i, l)| (l.as_str(), i as u16)).collect();
        let classes: Vec<u16> = examples.iter().map(|e| numbers[e.intent.as_str()]).collect();
        let texts: Vec<Grams> = examples.iter().map(|e| grams(&e.text)).collect();
        let oos = numbers.get(OOS).copied();
        let (temperature, floor) = calibrate(&texts, &classes, labels.len(), oos);
        let all: Vec<usize> = (0..texts.len()).collect();
        let (vocabulary, fitted) = fit_part(&texts, &classes, &all, labels.len());
        let (scales, weights) = quantized(&fitted, labels.len());
        IntentModel { temperature, floor, bias: fitted.bias, vocabulary, scales, weights, labels }
    }

    /// The intent of a text.
    pub fn predict(&self, text: &str) -> Prediction {
        let mut scores = self.scores(&grams(text));
        scores.iter_mut().for_each(|s| *s /= self.temperature);
        softmax(&mut scores);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        let named = |i: &usize| (self.labels[*i].clone(), f64::from(scores[*i]));
        let Some(&best) = order.first() else {
            return Prediction { intent: OOS.to_owned(), confidence: 0.0, secondary: vec![], doubtful: false };
        };
        let known = |i: &&usize| self.labels[**i] != OOS;
        let mut rest = order.iter().filter(known);
        if self.labels[best] == OOS || scores[best] < self.floor {
            let oos = self.labels.iter().position(|l| l == OOS).map_or(0.0, |i| scores[i]);
            let top = order.iter().find(known).map_or(0.0, |i| scores[*i]);
            let confidence = f64::from(oos.max(1.0 - top));
            return Prediction {
                intent: OOS.to_owned(),
                confidence,
                secondary: rest.take(SECONDARY).map(named).collect(),
                doubtful: oos < 0.5,
            };
        }
        rest.next();
        let (intent, confidence) = named(&best);
        Prediction { intent, confidence, secondary: rest.take(SECONDARY).map(named).collect(), doubtful: false }
    }

    /// The intents it knows, [`OOS`] among them if it was trained on any.
    pub fn intents(&self) -> &[String] {
        &self.labels
    }

    fn scores(&self, text: &Grams) -> Vec<f32> {
        let n = self.labels.len();
        let mut scores = self.bias.clone();
        for (feature, value) in self.vocabulary.vector(text) {
            let feature = feature as usize;
            let times = value * self.scales[feature];
            for (score, weight) in scores.iter_mut().zip(&self.weights[feature * n..][..n]) {
                *score += times * f32::from(*weight);
            }
        }
        scores
    }
}

/// The features a model knows, with their weight by rarity.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Vocabulary {
    /// Sorted: the number of a feature is its place.
    pub(crate) hashes: Vec<u64>,
    pub(crate) rarity: Vec<f32>,
    rarest: f32,
    places: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
}

impl Vocabulary {
    pub(crate) fn new(hashes: Vec<u64>, rarity: Vec<f32>) -> Self {
        let places = hashes.iter().enumerate().map(|(i, h)| (*h, i as u32)).collect();
        let rarest = rarity.iter().copied().fold(0.0, f32::max);
        Vocabulary { hashes, rarity, rarest, places }
    }

    /// From the rows of a part.
    fn of(texts: &[Grams], part: &[usize]) -> Self {
        let of_row = |i: &usize| texts[*i].words.iter().chain(&texts[*i].chars).map(|gram| gram.0);
        let mut all: Vec<u64> = part.iter().flat_map(of_row).collect();
        all.sort_unstable();
        let n = part.len() as f32;
        let rarity = |same: &[u64]| (same[0], ((1.0 + n) / (1.0 + same.len() as f32)).ln() + 1.0);
        let (hashes, rarity) = all.chunk_by(|a, b| a == b).map(rarity).unzip();
        Vocabulary::new(hashes, rarity)
    }

    /// A text as known features, tf-idf, each block of length 1, less what is unknown.
    fn vector(&self, text: &Grams) -> Vec<(u32, f32)> {
        let mut out = Vec::with_capacity(text.words.len() + text.chars.len());
        for (block, unseen) in [&text.words, &text.chars].into_iter().zip(UNSEEN) {
            let start = out.len();
            let mut square = 0f32;
            for (hash, count) in block {
                let Some(place) = self.places.get(hash) else {
                    square += unseen * self.rarest * self.rarest;
                    continue;
                };
                let value = (1.0 + count.ln()) * self.rarity[*place as usize];
                square += value * value;
                out.push((*place, value));
            }
            if square > 0.0 {
                let scale = 1.0 / square.sqrt();
                out[start..].iter_mut().for_each(|f| f.1 *= scale);
            }
        }
        out
    }
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

fn fit_part(texts: &[Grams], classes: &[u16], part: &[usize], n_classes: usize) -> (Vocabulary, Fitted) {
    let vocabulary = Vocabulary::of(texts, part);
    let mut rows = Rows::default();
    let mut part_classes = Vec::with_capacity(part.len());
    for &i in part {
        rows.push(vocabulary.vector(&texts[i]).into_iter());
        part_classes.push(classes[i]);
    }
    let fitted = fit(&rows, &part_classes, vocabulary.hashes.len(), n_classes);
    (vocabulary, fitted)
}

/// Temperature and floor from held-out rows.
fn calibrate(texts: &[Grams], classes: &[u16], n_classes: usize, oos: Option<u16>) -> (f32, f32) {
    let parts = folds(classes, n_classes);
    let mut held: Vec<(Vec<f32>, u16)> = Vec::new();
    for out in parts.iter().take(if texts.len() > MANY_ROWS { 1 } else { FOLDS }) {
        let mut kept: Vec<usize> = parts.iter().filter(|p| !std::ptr::eq(*p, out)).flatten().copied().collect();
        kept.sort_unstable();
        let (vocabulary, fitted) = fit_part(texts, classes, &kept, n_classes);
        for &i in out {
            let mut scores = fitted.bias.clone();
            for (feature, value) in vocabulary.vector(&texts[i]) {
                let weights = &fitted.weights[feature as usize * fitted.stride..];
                scores.iter_mut().zip(weights).for_each(|(s, w)| *s += value * w);
            }
            held.push((scores, classes[i]));
        }
    }
    let temperature = temperature(&held);
    let Some(oos) = oos else { return (temperature, 0.0) };
    for (scores, _) in &mut held {
        scores.iter_mut().for_each(|s| *s /= temperature);
        softmax(scores);
    }
    (temperature, floor(&held, oos))
}

/// Rows of every class spread evenly over the parts.
fn folds(classes: &[u16], n_classes: usize) -> Vec<Vec<usize>> {
    let mut random = XorShift(0x2545_f491_4f6c_dd1d);
    let mut parts = vec![Vec::new(); FOLDS];
    let mut rows = vec![Vec::new(); n_classes];
    classes.iter().enumerate().for_each(|(i, c)| rows[*c as usize].push(i));
    for of_class in &mut rows {
        random.shuffle(of_class);
        of_class.iter().enumerate().for_each(|(i, row)| parts[i % FOLDS].push(*row));
    }
    parts
}

/// The divisor of scores under which the held-out rows are likeliest: over-sure models get one above 1.
fn temperature(held: &[(Vec<f32>, u16)]) -> f32 {
    let loss = |t: f32| -> f64 {
        let row = |(scores, class): &(Vec<f32>, u16)| {
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = scores.iter().map(|s| ((s - top) / t).exp()).sum();
            f64::from(sum.ln() - (scores[*class as usize] - top) / t)
        };
        held.iter().map(row).sum()
    };
    // From 0.2 to 3.0 in steps of 4 %: finer than what the held-out rows can tell apart.
    let steps = (0..70).map(|i| 0.2 * 1.04f32.powi(i));
    steps.map(|t| (loss(t), t)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |best| best.1)
}

/// The floor that serves held-out rows best.
fn floor(held: &[(Vec<f32>, u16)], oos: u16) -> f32 {
    let n_oos = held.iter().filter(|h| h.1 == oos).count().max(1) as f64;
    let n_known = held.iter().filter(|h| h.1 != oos).count().max(1) as f64;
    let worth = |floor: f32| {
        let (mut right, mut refused) = (0u32, 0u32);
        for (scores, class) in held {
            let (best, top) = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, &0.0));
            let is_oos = best == oos as usize || *top < floor;
            right += u32::from(*class != oos && !is_oos && best == *class as usize);
            refused += u32::from(*class == oos && is_oos);
        }
        f64::from(right) / n_known + RECALL_WORTH * f64::from(refused) / n_oos
    };
    let floors = (0..90).map(|i| i as f32 * 0.01);
    floors
        .map(|f| (worth(f), f))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map_or(0.0, |best| best.1)
}

/// Weights as small integers, a quarter of the memory: one factor per feature keeps the error far below what matters.
fn quantized(fitted: &Fitted, n_classes: usize) -> (Vec<f32>, Vec<i8>) {
    let n_features = fitted.weights.len() / fitted.stride;
    let mut scales = Vec::with_capacity(n_features);
    let mut weights = Vec::with_capacity(n_features * n_classes);
    for row in fitted.weights.chunks_exact(fitted.stride) {
        let row = &row[..n_classes];
        let scale = row.iter().fold(0f32, |m, w| m.max(w.abs())).max(f32::MIN_POSITIVE) / 127.0;
        scales.push(scale);
        weights.extend(row.iter().map(|w| (w / scale).round() as i8));
    }
    (scales, weights)
}
