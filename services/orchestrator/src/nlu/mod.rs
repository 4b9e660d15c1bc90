//! What a text means: intent, entities, sentiment, dialogue act, language. Local, deterministic, microseconds each.
//!
//! In: a text. Out: plain values. Never: a network call, a wall clock, or the text in a log.
mod cache;
pub mod dialogue;
pub mod entities;
mod evaluate;
mod features;
mod fit;
pub mod followup;
mod intent;
pub mod language;
pub mod sentiment;

pub use cache::file as model_file;
pub use evaluate::{Evaluation, Latency, evaluate};
pub use intent::{Example, IntentModel, OOS, Prediction, parse_examples};
