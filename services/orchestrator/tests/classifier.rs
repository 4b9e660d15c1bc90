//! The intent classifier on the demo organization's rows.
use std::collections::BTreeMap;

use switchboard_orchestrator::{
    config::{Config, KEYS},
    nlu::{Example, IntentModel, OOS, evaluate, model_file, parse_examples},
};
use switchboard_runtime::{Settings, process};

const TRAIN: &str = include_str!("../../../demo/nlu/train.jsonl");
const TEST: &str = include_str!("../../../demo/nlu/test.jsonl");

fn rows(text: &str) -> Vec<Example> {
    parse_examples(text).expect("the demo rows are right")
}

#[test]
fn it_is_accurate_and_calibrated_on_rows_it_never_saw() {
    let result = evaluate(&rows(TRAIN), &rows(TEST));
    println!("{}", serde_json::to_string_pretty(&result).expect("serializes"));
    assert!(result.accuracy_in_scope >= 0.92, "{result:?}");
    assert!(result.oos_recall.is_some_and(|r| r >= 0.75), "{result:?}");
    assert!(result.calibration_error <= 0.1, "{result:?}");
    assert!(result.model_bytes <= 10 << 20, "{result:?}");
    assert_eq!((result.n_train, result.n_test), (2050, 304));
}

#[test]
fn plain_requests_are_understood_with_confidence() {
    let model = IntentModel::train(&rows(TRAIN));
    let table = [
        ("reset password", "password_reset"),
        ("I need to reset my password", "password_reset"),
        ("billing issue", "billing_inquiry"),
        ("API error 401", "technical_support"),
        ("how do I export data", "feature_inquiry"),
    ];
    for (text, intent) in table {
        let found = model.predict(text);
        assert!(found.intent == intent && found.confidence > 0.7, "{text}: {found:?}");
    }
    for text in ["", "   ", "🙂", "!!!", "\u{0301}"] {
        let found = model.predict(text);
        assert!((0.0..=1.0).contains(&found.confidence), "{text}: {found:?}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let bytes = IntentModel::train(&rows(TRAIN)).to_bytes();
    assert_eq!(bytes, IntentModel::train(&rows(TRAIN)).to_bytes());
    let back = IntentModel::from_bytes(&bytes).expect("whole");
    assert_eq!(back.to_bytes(), bytes);
    assert_eq!(back.predict("billing issue"), IntentModel::train(&rows(TRAIN)).predict("billing issue"));
}

#[test]
fn without_rows_out_of_scope_nothing_is_rejected() {
    let train: Vec<_> = rows(TRAIN).into_iter().filter(|e| e.intent != OOS).collect();
    let model = IntentModel::train(&train);
    for example in rows(TEST) {
        assert_ne!(model.predict(&example.text).intent, OOS);
    }
    let result = evaluate(&train, &rows(TEST));
    assert_eq!((result.oos_recall, result.oos_precision), (Some(0.0), None));
}

#[test]
fn a_kept_model_is_read_and_a_damaged_one_is_trained_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let train: Vec<_> = rows(TRAIN).into_iter().step_by(4).collect();
    let path = model_file(folder.path(), &train);
    let first = IntentModel::load_or_train(folder.path(), &train);
    let kept = std::fs::read(&path).expect("kept");
    assert_eq!(kept, first.to_bytes());
    assert_eq!(IntentModel::load_or_train(folder.path(), &train), first);
    for damage in [&kept[..kept.len() / 2], b"", b"nonsense"] {
        std::fs::write(&path, damage).expect("writes");
        assert_eq!(IntentModel::load_or_train(folder.path(), &train), first);
        assert_eq!(std::fs::read(&path).expect("mended"), kept);
    }
    let mut flipped = kept.clone();
    flipped[kept.len() / 2] ^= 1;
    std::fs::write(&path, &flipped).expect("writes");
    assert_eq!(IntentModel::load_or_train(folder.path(), &train), first);
    assert_ne!(model_file(folder.path(), &train[1..]), path, "other rows, another file");
}

#[test]
fn a_wrong_training_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.jsonl");
    let name = file.display().to_string();
    let read = |text: &str| {
        std::fs::write(&file, text).expect("writes");
        let env = BTreeMap::from([("SWITCHBOARD__ORCHESTRATOR__NLU".to_owned(), name.clone())]);
        let settings = Settings::load(&[process::KEYS, KEYS], None, env, &[]).expect("loads");
        Config::read(&settings).map(|c| c.examples.len()).map_err(|e| e.0)
    };
    let good = "{\"text\":\"hi\",\"intent\":\"a\"}\n\n{\"text\":\"ho\",\"intent\":\"b\"}\n";
    assert_eq!(read(good), Ok(2));
    let error = read(&format!("{good}{{\"text\":\"x\"}}\n")).expect_err("refused");
    assert!(error.contains(&name) && error.contains("line 4") && error.contains("missing field `intent`"), "{error}");
    assert!(read("").expect_err("refused").contains("at least 2"));
    assert!(read("{\"text\":\" \",\"intent\":\"a\"}").expect_err("refused").contains("line 1"));
}
