//! `switchboard nlu evaluate`: trains the intent classifier on one file and tests it on another.
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use switchboard_orchestrator::nlu::{Example, evaluate, parse_examples};

use crate::{failure::Failure, out};

/// What can be done with the classifier.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Train on one file of labelled texts, test on another
    Evaluate {
        /// Examples to train on, as JSON lines {"text", "intent"}
        #[arg(long, value_name = "F.jsonl")]
        train: PathBuf,
        /// Examples to test on
        #[arg(long, value_name = "F.jsonl")]
        test: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let Command::Evaluate { train, test, json } = command;
    let (train, test) = (examples(train)?, examples(test)?);
    out::progress(format!("training on {} examples, testing on {}", train.len(), test.len()));
    let result = evaluate(&train, &test);
    if *json {
        out::line(serde_json::to_string(&result).map_err(|e| Failure::failed(e.to_string()))?);
        return Ok(ExitCode::SUCCESS);
    }
    let percent = |share: f64| format!("{:5.1} %", share * 100.0);
    let or_none = |share: Option<f64>| share.map_or_else(|| "   –".to_owned(), percent);
    out::line(format!("accuracy in scope    {}", percent(result.accuracy_in_scope)));
    out::line(format!("accuracy, all rows   {}", percent(result.accuracy_all)));
    out::line(format!("macro F1             {}", percent(result.macro_f1)));
    out::line(format!(
        "out of scope: recall {}  precision {}",
        or_none(result.oos_recall),
        or_none(result.oos_precision)
    ));
    out::line(format!("latency              p50 {:.0} µs  p99 {:.0} µs", result.latency_us.p50, result.latency_us.p99));
    out::line(format!("training             {:.2} s, model {} KiB", result.train_seconds, result.model_bytes / 1024));
    Ok(ExitCode::SUCCESS)
}

fn examples(path: &Path) -> Result<Vec<Example>, Failure> {
    let wrong = |e: String| Failure::failed(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    parse_examples(&text).map_err(wrong)
}
