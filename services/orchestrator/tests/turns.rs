//! Turns through the gRPC stub, with stand-ins for knowledge and rules.
mod stage;

use std::time::Duration;

use stage::{Mood, Stage, turn};
use switchboard_proto::{
    orchestrator::v1::{
        ClassifyIntentRequest, GenerateResponseRequest, HistoryMessage, ProcessRequestRequest, ProcessRequestResponse,
        ResponseStyle, UserProfile,
    },
    rules::v1::{DialogueAct, Disposition, Facts, FlowState, QuickReply},
    types::v1::{Rung, SentimentLabel},
};
use switchboard_runtime::{Fault, Reason};

const EXPORT: &str = "To export your data, open Settings and choose Export. The file is ready within an hour.";

fn cites_what_it_says(answer: &ProcessRequestResponse, passages: &[&str]) {
    for citation in &answer.citations {
        assert!(passages.iter().any(|p| p.contains(&citation.quote)), "{citation:?} stands in no passage");
        assert!(answer.suggested_response.contains(&citation.quote), "{citation:?} is not in the reply");
    }
}

#[tokio::test]
async fn an_answer_quotes_the_best_passage_and_cites_exactly_that() {
    let stage = Stage::start().await;
    stage.holds("export-your-data", EXPORT, "open Settings and choose Export", 0.8);
    stage.holds("other", "Data is stored in Frankfurt.", "Data is stored in Frankfurt.", 0.5);
    let answer = stage.says("how do I export data").await;
    assert_eq!((answer.intent.as_str(), answer.rung()), ("feature_inquiry", Rung::Extract));
    assert!(answer.suggested_response.contains("open Settings and choose Export."));
    assert_eq!(answer.citations.len(), 1);
    assert_eq!((answer.citations[0].article_id.as_str(), answer.citations[0].version), ("export-your-data", 3));
    cites_what_it_says(&answer, &[EXPORT]);
    assert_eq!(answer.knowledge_sources.len(), 2);
    assert!(answer.confidence > 0.7 && answer.confidence <= 1.0);
    assert!(!answer.requires_escalation);
    for step in ["understand", "knowledge", "rules", "compose"] {
        assert!(answer.timings_us.contains_key(step), "{step}");
    }
    assert_eq!(answer.model_version.len(), 16);
    assert!(answer.secondary_intents.len() <= 3);
    let signals = stage.signals();
    assert_eq!(signals.knowledge_score, 0.8);
    assert_eq!(signals.confidence, answer.confidence);
    assert_eq!(signals.text, "how do I export data");
}

#[tokio::test]
async fn without_a_fitting_passage_the_fallback_is_said_without_citations() {
    let stage = Stage::start().await;
    stage.holds("other", "Something about data.", "Something about data.", 0.2);
    let answer = stage.says("how do I export data").await;
    assert_eq!(answer.suggested_response, "I have no answer to that.");
    assert_eq!((answer.rung(), answer.citations.len()), (Rung::Canned, 0));
    assert!(answer.confidence < 0.7);
}

#[tokio::test]
async fn the_question_a_digression_left_open_is_asked_again() {
    let stage = Stage::start().await;
    stage.holds("export-your-data", EXPORT, EXPORT, 0.8);
    stage.decides(Disposition::Respond, "Back to your order: what is its number?");
    let answer = stage.says("how do I export data").await;
    assert_eq!(answer.suggested_response, format!("{EXPORT}\n\nBack to your order: what is its number?"));
    cites_what_it_says(&answer, &[EXPORT]);
    assert_eq!(answer.citations[0].quote, EXPORT);
}

#[tokio::test]
async fn each_disposition_has_its_rung_and_cites_nothing() {
    let stage = Stage::start().await;
    stage.holds("reset", "Reset your password on the sign-in page.", "", 0.9);
    let table = [
        (Disposition::Flow, Rung::Flow),
        (Disposition::Canned, Rung::Canned),
        (Disposition::Acknowledge, Rung::Canned),
        (Disposition::Resolve, Rung::Canned),
        (Disposition::Escalate, Rung::Human),
    ];
    for (disposition, rung) in table {
        stage.decides(disposition, "Case {action.case_number}.");
        stage.policy.with(|p| {
            p.decision.escalation_reason =
                if disposition == Disposition::Escalate { "customer_request".into() } else { String::new() };
            p.decision.quick_replies = vec![QuickReply { label: "Yes".into(), send: "yes".into() }];
        });
        let answer = stage.says("I need to reset my password").await;
        assert_eq!(answer.rung(), rung);
        assert_eq!(answer.suggested_response, "Case {action.case_number}.");
        assert!(answer.citations.is_empty() && answer.knowledge_sources.len() == 1);
        assert_eq!(answer.requires_escalation, disposition == Disposition::Escalate);
        assert_eq!(answer.escalation_reason.is_empty(), disposition != Disposition::Escalate);
        assert_eq!(answer.suggested_actions.len(), 1);
        assert!(answer.confidence > 0.7);
        assert_eq!(answer.decision.expect("passed through").disposition(), disposition);
    }
}

#[tokio::test]
async fn a_turn_goes_on_when_knowledge_is_down() {
    let stage = Stage::start().await;
    for mood in [Mood::Fails(Reason::Unavailable), Mood::Fails(Reason::Internal)] {
        stage.library.with(|l| l.mood = mood);
        let answer = stage.says("how do I export data").await;
        assert_eq!(answer.rung(), Rung::Canned);
        assert_eq!(stage.signals().knowledge_score, 0.0);
    }
}

#[tokio::test]
async fn a_late_search_leaves_time_for_the_rest() {
    let stage = Stage::start().await;
    stage.library.with(|l| l.mood = Mood::Hangs);
    let answer =
        stage.process_within(Duration::from_millis(500), turn("how do I export data")).await.expect("an answer");
    assert_eq!(answer.rung(), Rung::Canned);
}

#[tokio::test]
async fn a_policy_that_fails_or_is_late_is_told_apart() {
    let stage = Stage::start().await;
    let fails = async |mood| {
        stage.policy.with(|p| p.mood = mood);
        stage
            .process_within(Duration::from_millis(300), turn("billing issue"))
            .await
            .expect_err("no policy, no answer")
            .reason
    };
    assert_eq!(fails(Mood::Fails(Reason::RuleEvaluationFailed)).await, Reason::AiProcessingFailed);
    assert_eq!(fails(Mood::Fails(Reason::Unavailable)).await, Reason::AiProcessingFailed);
    assert_eq!(fails(Mood::Fails(Reason::DeadlineExceeded)).await, Reason::DeadlineExceeded);
    assert_eq!(fails(Mood::Hangs).await, Reason::DeadlineExceeded);
}

fn said(sender: &str, content: &str) -> HistoryMessage {
    HistoryMessage { sender_type: sender.into(), content: content.into(), intent: String::new() }
}

#[tokio::test]
async fn a_follow_up_is_searched_with_the_topic_before_it() {
    let stage = Stage::start().await;
    let history = vec![
        said("user", "How do I import contacts from a CSV file?"),
        said("ai_agent", "Open Import and choose the file."),
    ];
    let answer = stage
        .process(ProcessRequestRequest { conversation_history: history, ..turn("and from Excel?") })
        .await
        .expect("an answer");
    let mut queries = stage.queries();
    queries.sort();
    // In full, and its own words alone: what both find comes first.
    assert_eq!(queries, ["and from Excel?", "import contacts csv file from Excel?"]);
    assert_eq!(answer.intent, "data_import");
}

#[tokio::test]
async fn nothing_is_searched_where_it_would_be_pointless() {
    let stage = Stage::start().await;
    for message in ["Hello", "thanks a lot", "yes please", "no, not that", "bye", "tell me a joke"] {
        stage.says(message).await;
    }
    stage
        .process(ProcessRequestRequest { knowledge_base_enabled: Some(false), ..turn("how do I export data") })
        .await
        .expect("an answer");
    let flow = || Some(FlowState { flow_id: "order_status".into(), step_id: "number".into(), ..FlowState::default() });
    let answer = stage.process(ProcessRequestRequest { flow: flow(), ..turn("10023") }).await.expect("an answer");
    assert_eq!(stage.queries(), [""; 0]);
    assert_eq!(answer.entities[0].r#type, "order_number");
    assert!(stage.signals().confidence >= 0.75, "an answer to a step needs no intent");
    stage
        .process(ProcessRequestRequest { flow: flow(), ..turn("what are your opening hours?") })
        .await
        .expect("an answer");
    assert_eq!(stage.queries().len(), 1, "a digression is searched");
}

#[tokio::test]
async fn what_was_understood_is_told_to_rules() {
    let stage = Stage::start().await;
    stage.says("This is ridiculous!!! Nothing works, I am furious. Get me a real person NOW").await;
    let signals = stage.signals();
    let felt = signals.sentiment.expect("a sentiment");
    assert_eq!(felt.label(), SentimentLabel::Negative);
    assert!(felt.anger >= 0.85);
    stage.says("API error 401").await;
    let signals = stage.signals();
    assert_eq!((signals.intent.as_str(), signals.entities[0].normalized.as_str()), ("technical_support", "401"));
    assert_eq!(stage.library.with(|l| l.asked.last().expect("a search").error_codes.clone()), ["401"]);
    stage.says("no, I meant BS-123456").await;
    assert_eq!(stage.signals().dialogue_act(), DialogueAct::Correct);
    let profile = UserProfile { language: "de".into(), email: "jane@example.com".into(), ..UserProfile::default() };
    let facts = Facts { confidence_threshold: 0.6, ..Facts::default() };
    let request = ProcessRequestRequest { user_profile: Some(profile), context: Some(facts), ..turn("ok") };
    let answer = stage.process(request).await.expect("an answer");
    assert_eq!(answer.language, "de");
    let facts = stage.policy.with(|p| p.asked.last().and_then(|r| r.facts.clone()).expect("facts"));
    assert_eq!((facts.confidence_threshold, facts.customer_email.as_str()), (0.6, "jane@example.com"));
    assert_eq!(facts.now.expect("the clock's").seconds, 1_795_428_000);
}

#[tokio::test]
async fn the_threshold_is_the_requests_else_the_contexts_else_seven_tenths() {
    let stage = Stage::start().await;
    let threshold = async |request| {
        stage.process(request).await.expect("an answer");
        stage.policy.with(|p| p.asked.last().and_then(|r| r.facts.clone()).expect("facts").confidence_threshold)
    };
    assert_eq!(threshold(turn("hello")).await, 0.7);
    let facts = Some(Facts { confidence_threshold: 0.5, ..Facts::default() });
    assert_eq!(threshold(ProcessRequestRequest { context: facts.clone(), ..turn("hello") }).await, 0.5);
    let both = ProcessRequestRequest { context: facts, confidence_threshold: Some(0.9), ..turn("hello") };
    assert_eq!(threshold(both).await, 0.9);
}

#[tokio::test]
async fn a_burst_is_read_by_the_line_that_says_what_is_wanted() {
    let stage = Stage::start().await;
    assert_eq!(stage.says("hello\nI need to reset my password\nthanks").await.intent, "password_reset");
}

#[tokio::test]
async fn out_of_scope_is_never_answered_from_knowledge() {
    let stage = Stage::start().await;
    stage.holds("joke", "A joke about tell.", "A joke about tell.", 0.9);
    let answer = stage.says("tell me a joke").await;
    assert_eq!((answer.intent.as_str(), answer.citations.len(), answer.rung()), ("oos", 0, Rung::Canned));
}

#[tokio::test]
async fn a_doubtful_question_with_a_good_answer_is_in_scope() {
    let stage = Stage::start().await;
    let doubtful = "do you have a sandbox";
    let alone = stage.says(doubtful).await;
    assert_eq!((alone.intent.as_str(), alone.citations.len()), ("oos", 0));
    stage.holds("sandbox", "Each workspace has one sandbox.", "", 0.9);
    let answer = stage.says(doubtful).await;
    assert_ne!(answer.intent, "oos");
    assert_eq!((answer.rung(), answer.citations.len()), (Rung::Extract, 1));
    assert!(answer.confidence > 0.7 && answer.intent_confidence < 0.5);
}

#[tokio::test]
async fn a_thumb_is_an_answer() {
    let stage = Stage::start().await;
    assert_eq!(stage.says("👍").await.intent, "affirm");
    assert_eq!(stage.signals().dialogue_act(), DialogueAct::Affirm);
}

#[tokio::test]
async fn wrong_requests_name_their_fields() {
    let stage = Stage::start().await;
    let request = ProcessRequestRequest {
        context: None,
        confidence_threshold: Some(f64::NAN),
        conversation_history: vec![said("user", "x"); 21],
        ..turn("")
    };
    let fault = stage.process(request).await.expect_err("refused");
    assert_eq!(fault.reason, Reason::ValidationFailed);
    let fields: Vec<_> = fault.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["message", "context", "conversation_history", "confidence_threshold"]);
    let fault = stage.process(turn(&"x".repeat(50_001))).await.expect_err("refused");
    assert_eq!(fault.fields[0].field, "message");
    stage.says(&"lots of words ".repeat(3_500)).await;
}

#[tokio::test]
async fn an_intent_can_be_asked_for_alone() {
    let stage = Stage::start().await;
    let classify = async |message: &str| {
        let request = ClassifyIntentRequest { message: message.to_owned(), context: None };
        let answer = stage.as_customer(stage.client().classify_intent(request)).await;
        answer.map(tonic::Response::into_inner).map_err(|s| Fault::from_status(&s))
    };
    let answer = classify("reset password").await.expect("an answer");
    let primary = answer.primary.expect("an intent");
    assert_eq!(primary.intent, "password_reset");
    assert!(primary.confidence > 0.7);
    assert_eq!(answer.secondary.len(), 3);
    assert!(answer.secondary.is_sorted_by(|a, b| a.confidence >= b.confidence));
    assert_eq!(classify("").await.expect_err("refused").reason, Reason::ValidationFailed);
    assert!(stage.queries().is_empty());
}

#[tokio::test]
async fn a_reply_for_a_known_intent_is_grounded_or_refused() {
    let stage = Stage::start().await;
    let text = "Reset your password on the sign-in page.\n\n1. Choose Forgot password.\n2. Open the link.";
    stage.holds("reset-your-password", text, "Reset your password on the sign-in page.", 0.9);
    let generate = async |intent: &str, style: ResponseStyle| {
        let request = GenerateResponseRequest {
            intent: intent.to_owned(),
            style: style.into(),
            ..GenerateResponseRequest::default()
        };
        let answer = stage.as_customer(stage.client().generate_response(request)).await;
        answer.map(tonic::Response::into_inner).map_err(|s| Fault::from_status(&s))
    };
    let plain = generate("password_reset", ResponseStyle::Unspecified).await.expect("a reply");
    assert_eq!(plain.response, "Reset your password on the sign-in page.");
    assert_eq!((plain.rung(), plain.citations[0].quote.as_str()), (Rung::Extract, plain.response.as_str()));
    let friendly = generate("password_reset", ResponseStyle::Friendly).await.expect("a reply");
    assert!(friendly.response.ends_with(&plain.response) && friendly.response.len() > plain.response.len());
    assert_eq!(friendly.citations, plain.citations);
    assert_eq!(stage.queries()[0], "password reset");
    assert_eq!(
        generate("weather", ResponseStyle::Unspecified).await.expect_err("nothing known").reason,
        Reason::GenerationFailed
    );
    stage.library.with(|l| l.mood = Mood::Fails(Reason::Unavailable));
    assert_eq!(
        generate("password_reset", ResponseStyle::Unspecified).await.expect_err("no library").reason,
        Reason::GenerationFailed
    );
}
