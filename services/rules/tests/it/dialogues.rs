//! Dialogues against the demo bundle: every flow to its end and every way out of it, every reason to hand over.
use std::sync::LazyLock;

use switchboard_rules::{
    bundle::{
        Bundle, Files,
        examples::{Example, play},
    },
    facts::Turn,
    flow::FlowState,
};

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::load(&Files::demo()).unwrap_or_else(|e| panic!("{e}")));

fn dialogues() -> Vec<Example> {
    serde_yaml_ng::from_str(include_str!("../dialogues.yaml")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn dialogues_come_out_as_written() {
    let failed: Vec<_> =
        dialogues().iter().filter_map(|d| Some(format!("{}: {}", d.name, play(&BUNDLE, &d.turns).err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_same_input_gives_the_same_answer() {
    let again = Bundle::load(&Files::demo()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.version, BUNDLE.version);
    for dialogue in dialogues() {
        let mut state = FlowState::default();
        for (number, said) in dialogue.turns.iter().enumerate() {
            let turn = said.turn(number).expect("a turn");
            let decision = BUNDLE.decide(&turn, &state).expect("decides");
            for bundle in [&*BUNDLE, &again] {
                assert_eq!(bundle.decide(&turn, &state).expect("decides"), decision, "{}", dialogue.name);
            }
            state = decision.flow;
        }
    }
}

#[test]
fn a_step_that_a_newer_bundle_does_not_have_closes_the_flow() {
    let turn =
        Turn { intent: "business_hours".into(), intent_confidence: 0.9, text: "hours?".into(), ..Turn::default() };
    for (flow_id, step_id) in [("password_reset", "collect.phone"), ("gone", "collect.email")] {
        let state = FlowState { flow_id: flow_id.into(), step_id: step_id.into(), attempts: 1, ..FlowState::default() };
        let decision = BUNDLE.decide(&turn, &state).expect("decides");
        assert_eq!(decision.flow, FlowState::default());
        assert!(!decision.fallback_reply.is_empty(), "it answers as if nothing were open");
    }
}

#[test]
fn the_threshold_of_the_request_goes_before_the_bundles() {
    let turn = |threshold| Turn {
        intent: "technical_support".into(),
        intent_confidence: 0.4,
        confidence: 0.6,
        failed_turns: 2,
        text: "it".into(),
        confidence_threshold: threshold,
        ..Turn::default()
    };
    let reason = |threshold| BUNDLE.decide(&turn(threshold), &FlowState::default()).expect("decides").reason;
    assert_eq!(reason(None), "low_confidence");
    assert_eq!(reason(Some(0.5)), "");
}
