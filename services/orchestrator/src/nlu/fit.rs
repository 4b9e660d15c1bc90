//! Fits a multinomial logistic regression to sparse rows.
//!
//! In: rows and their classes. Out: weights, feature by feature. Never: chance — the order of the rows comes from a fixed seed.

/// Passes over the rows. The last ones change little; held-out accuracy is flat from here on.
const EPOCHS: usize = 16;
/// First step. Rows have length √2, so steps up to about 2 are stable.
const STEP: f32 = 2.0;
/// How hard large weights are pulled back, as 1 / (STRENGTH × rows); chosen on held-out demo rows.
const STRENGTH: f32 = 60.0;
/// Share of the right class's probability that is spread over all: the model stays less sure of odd texts, and refuses them more
/// often, at no cost in accuracy.
const SMOOTHING: f32 = 0.1;
/// Classes are padded to this many, so that the inner loops run over whole vectors.
const LANES: usize = 8;

/// Sparse rows, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) features: Vec<u32>,
    pub(crate) values: Vec<f32>,
    pub(crate) ends: Vec<usize>,
}

impl Rows {
    pub(crate) fn push(&mut self, row: impl Iterator<Item = (u32, f32)>) {
        for (feature, value) in row {
            self.features.push(feature);
            self.values.push(value);
        }
        self.ends.push(self.features.len());
    }

    fn row(&self, index: usize) -> (&[u32], &[f32]) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        (&self.features[start..self.ends[index]], &self.values[start..self.ends[index]])
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Weights of a fitted model: `weights[feature * stride + class]`.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) stride: usize,
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Fits by stochastic gradient descent with a falling step and L2, which is kept as one factor for all weights.
pub(crate) fn fit(rows: &Rows, classes: &[u16], n_features: usize, n_classes: usize) -> Fitted {
    let stride = n_classes.next_multiple_of(LANES);
    let mut weights = vec![0f32; n_features * stride];
    let mut bias = vec![0f32; stride];
    // Classes that exist only as padding never get any probability.
    bias[n_classes..].fill(f32::MIN / 4.0);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let pull = 1.0 / (STRENGTH * rows.len().max(1) as f32);
    let total = (EPOCHS * rows.len()).max(1) as f32;
    let (mut factor, mut done) = (1f32, 0f32);
    let mut scores = vec![0f32; stride];
    for _ in 0..EPOCHS {
        random.shuffle(&mut order);
        for &index in &order {
            let (features, values) = rows.row(index);
            scores.fill(0.0);
            for (&feature, &value) in features.iter().zip(values) {
                add(&mut scores, &weights[feature as usize * stride..][..stride], value);
            }
            for (score, bias) in scores.iter_mut().zip(&bias) {
                *score = *score * factor + bias;
            }
            softmax(&mut scores);
            scores[..n_classes].iter_mut().for_each(|s| *s -= SMOOTHING / n_classes as f32);
            scores[classes[index] as usize] -= 1.0 - SMOOTHING;
            // Down to a twentieth, in a straight line: the end of the line is an average in all but name.
            let step = STEP * (1.0 - 0.95 * done / total);
            done += 1.0;
            factor *= 1.0 - step * pull;
            let scale = -step / factor;
            for (&feature, &value) in features.iter().zip(values) {
                add(&mut weights[feature as usize * stride..][..stride], &scores, scale * value);
            }
            // A tenth: the bias sees every row, a feature only some.
            add(&mut bias[..n_classes], &scores[..n_classes], -step * 0.1);
        }
    }
    weights.iter_mut().for_each(|w| *w *= factor);
    bias.truncate(n_classes);
    Fitted { stride, weights, bias }
}

fn add(to: &mut [f32], from: &[f32], times: f32) {
    for (a, b) in to.iter_mut().zip(from) {
        *a += times * b;
    }
}

/// Scores into probabilities.
pub(crate) fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - top).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

/// A small generator: the same numbers everywhere, for ever.
pub(crate) struct XorShift(pub(crate) u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
    }
}
