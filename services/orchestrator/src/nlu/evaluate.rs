//! How good the classifier is: trained on one set, tested on another.
//!
//! In: two sets of examples. Out: one [`Evaluation`], the JSON of `switchboard nlu evaluate`. Never: a look at the test set
//! before the model is done.
use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use super::intent::{Example, IntentModel, OOS};

/// The figures.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Share of in-scope rows with the right intent; one predicted `oos` is wrong.
    pub accuracy_in_scope: f64,
    /// Share of out-of-scope rows that were recognized; none if the test has no such rows.
    pub oos_recall: Option<f64>,
    /// Share of rows predicted `oos` that are; none if none was.
    pub oos_precision: Option<f64>,
    /// Share of all rows that are right.
    pub accuracy_all: f64,
    /// F1 averaged over the intents of the test set.
    pub macro_f1: f64,
    /// Time to train.
    pub train_seconds: f64,
    /// Time to classify one text.
    pub latency_us: Latency,
    /// Size of the model file.
    pub model_bytes: usize,
    /// Rows trained on.
    pub n_train: usize,
    /// Rows tested on.
    pub n_test: usize,
    /// Expected calibration error over ten equal bins: how far confidence is from being right as often.
    pub calibration_error: f64,
}

/// Microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// All but one of a hundred are faster.
    pub p99: f64,
}

/// Trains on one set and tests on the other.
pub fn evaluate(train: &[Example], test: &[Example]) -> Evaluation {
    let started = Instant::now();
    let model = IntentModel::train(train);
    let train_seconds = started.elapsed().as_secs_f64();
    let mut times = Vec::with_capacity(test.len());
    let predictions: Vec<_> = test
        .iter()
        .map(|example| {
            let started = Instant::now();
            let prediction = model.predict(&example.text);
            times.push(started.elapsed().as_secs_f64() * 1e6);
            prediction
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at =
        |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied();

    // Per intent: right, predicted, there are.
    let mut counts: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    let mut bins = [(0u32, 0u32, 0f64); 10];
    for (example, prediction) in test.iter().zip(&predictions) {
        let right = example.intent == prediction.intent;
        counts.entry(&example.intent).or_default()[2] += 1;
        counts.entry(&prediction.intent).or_default()[1] += 1;
        counts.entry(&example.intent).or_default()[0] += u32::from(right);
        let bin = &mut bins[((prediction.confidence * 10.0) as usize).min(9)];
        *bin = (bin.0 + 1, bin.1 + u32::from(right), bin.2 + prediction.confidence);
    }
    let [oos_right, oos_predicted, oos_there] = counts.get(OOS).copied().unwrap_or_default();
    let right: u32 = counts.values().map(|c| c[0]).sum();
    let there: Vec<_> = counts.values().filter(|c| c[2] > 0).collect();
    let f1 = |c: &&[u32; 3]| 2.0 * f64::from(c[0]) / f64::from(c[1] + c[2]);
    let gap = |b: &(u32, u32, f64)| (f64::from(b.1) - b.2).abs();
    Evaluation {
        accuracy_in_scope: share(right - oos_right, test.len() as u32 - oos_there).unwrap_or_default(),
        oos_recall: share(oos_right, oos_there),
        oos_precision: share(oos_right, oos_predicted),
        accuracy_all: share(right, test.len() as u32).unwrap_or_default(),
        macro_f1: there.iter().map(f1).sum::<f64>() / there.len().max(1) as f64,
        train_seconds,
        latency_us: Latency { p50: at(0.5).unwrap_or_default(), p99: at(0.99).unwrap_or_default() },
        model_bytes: model.to_bytes().len(),
        n_train: train.len(),
        n_test: test.len(),
        calibration_error: bins.iter().map(gap).sum::<f64>() / test.len().max(1) as f64,
    }
}

fn share(part: u32, of: u32) -> Option<f64> {
    (of > 0).then(|| f64::from(part) / f64::from(of))
}
