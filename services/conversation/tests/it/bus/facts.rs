//! Facts hold ids, codes and figures, and never a word of a person.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use switchboard_conversation::{
    bus::Record,
    change::Change,
    machine::{Owner, Status},
    model::{
        Action, ActionStatus, Analysis, Attachment, Citation, Conversation, Entity, Escalation, Outcome, Priority,
        Rung, Sender, Sentiment, State,
    },
    outbox::Sink,
    store::Commit,
};
use switchboard_proto::{
    convert,
    events::v1::{self as ev, conversation_fact::Kind},
    types::v1 as types,
};
use switchboard_runtime::Clock;
use switchboard_testkit::servers;
use uuid::Uuid;

use super::written;

pub fn row(org: Uuid, user: Uuid) -> Conversation {
    let now = Timestamp::from_second(1_772_445_600).expect("time");
    Conversation {
        id: Uuid::now_v7(),
        org,
        user,
        channel: "email".into(),
        status: Status::Active,
        owner: Owner::Ai,
        seq: 0,
        owner_epoch: 0,
        assigned_to: None,
        language: "en".into(),
        metadata: Default::default(),
        context: Default::default(),
        state: State::default(),
        last_user_seq: 0,
        answered_seq: 0,
        turn: None,
        created_at: now,
        last_activity_at: now,
        ended_at: None,
        resolution: None,
        assumed: false,
        rating: None,
        rating_comment: String::new(),
        previous: None,
        response_count: 0,
        response_micros: 0,
        escalation: None,
    }
}

/// What a commit hands to the bus.
fn records(commit: &Commit) -> Vec<Record> {
    let (key, _) = servers::vault().new_key("somebody");
    let facts = commit.outgoing().expect("builds").into_iter().filter(|out| out.kind.sink() == Sink::Bus);
    facts.map(|out| Record::read(out.sealed(&commit.next, &key).body).expect("reads")).collect()
}

/// One event of a conversation.
pub fn status(row: &Conversation, seq: u64) -> Record {
    let clock = Clock::manual(row.created_at);
    let before = Conversation { seq: seq - 1, ..row.clone() };
    let mut change = Change::on(&before, &clock);
    change.tell("tick");
    records(&change.commit).remove(0)
}

/// A word that must not leave.
const SECRET: &str = "Zanzibar";

fn secret() -> String {
    format!("{SECRET} Müller <zanzibar@example.com>")
}

fn secrets() -> BTreeMap<String, String> {
    BTreeMap::from([(secret(), secret())])
}

fn escalation(now: Timestamp) -> Escalation {
    Escalation {
        id: Uuid::now_v7(),
        reason: secret(),
        priority: Priority::High,
        queue: "billing".into(),
        case_number: Some(secret()),
        assigned_to: Some(Uuid::now_v7()),
        assigned_at: Some(now),
        sla_deadline: now,
        breached: true,
        resolved_at: Some(now),
        resolution_notes: secret(),
        resolved_by: Some(Uuid::now_v7()),
        created_at: now,
        summary: secret(),
        own_words: true,
    }
}

/// A conversation, a reply and a hand-off in which everything that a person can fill in is a secret.
fn talkative() -> (Change<'static>, Escalation) {
    let mut before = row(Uuid::now_v7(), Uuid::now_v7());
    let object = json!({ secret(): [secret()] }).as_object().cloned().expect("object");
    (before.metadata, before.context) = (object.clone(), object.clone());
    (before.language, before.rating_comment) = (secret(), secret());
    before.state.email = secret();
    before.state.tier = secret();
    before.state.case_number = Some(secret());
    let clock: &'static Clock = Box::leak(Box::new(Clock::manual(before.created_at)));
    let mut change = Change::on(&before, clock);
    let escalation = escalation(before.created_at);
    let mut asked = change.message(Sender::User, Some(before.user), secret());
    asked.attachments = vec![Attachment { name: secret(), url: secret(), data: secret(), ..Attachment::default() }];
    asked.metadata = object.clone();
    asked.client_message_id = Some(secret());
    let asked_id = asked.id;
    change.say(asked);
    let entity =
        Entity { kind: "person".into(), value: secret(), normalized: secret(), start: 0, end: 8, confidence: 1.0 };
    let citation = Citation { article: "returns".into(), version: 3, title: secret(), url: secret(), quote: secret() };
    let action = |action_type: &str, id| Action {
        id,
        action_type: action_type.into(),
        parameters: secrets(),
        status: ActionStatus::Completed,
        result: secrets(),
    };
    let effect = Uuid::now_v7();
    let mut reply = change.message(Sender::AiAgent, None, secret());
    reply.analysis = Analysis { intent: Some(secret()), entities: vec![entity.clone()], ..Analysis::default() };
    reply.citations = vec![citation.clone()];
    reply.metadata = object;
    reply.outcome = Some(Box::new(Outcome {
        message_id: Some(reply.id),
        user_message_id: asked_id,
        answers_up_to: 1,
        conversation_id: before.id,
        seq: 2,
        response: Some(secret()),
        intent: "refund_request".into(),
        confidence: 0.75,
        sentiment: Sentiment { score: -0.5, anger: 0.25 },
        entities: vec![entity],
        actions: vec![action("create_case", Some(effect)), action("quick_reply", None)],
        citations: vec![citation],
        requires_escalation: true,
        escalation: Some(escalation.clone()),
        status: Status::Escalated,
        owner: Owner::None,
        rung: Some(Rung::Extract),
        language: secret(),
    }));
    change.commit.receipt = Some(json!({
        "timings_us": {"rules": 42},
        "versions": {"policy": "p1", "model": "m1"},
        "citations": [{"title": secret()}],
    }));
    (change.row().status, change.row().owner) = (Status::Escalated, Owner::None);
    change.say(reply);
    change.hand_off(escalation.clone());
    change.tell(&secret());
    change.tell("sla_breached");
    let mut human = change.message(Sender::HumanAgent, escalation.assigned_to, secret());
    human.metadata = Default::default();
    change.say(human);
    (change, escalation)
}

#[test]
fn no_word_of_a_person_leaves() {
    let (change, _) = talkative();
    let records = records(&change.commit);
    assert_eq!(records.len(), 5);
    for record in &records {
        let heard = written(record);
        let words = [heard.payload, heard.key.into_bytes(), format!("{:?}", heard.headers).into_bytes()].concat();
        let text = String::from_utf8_lossy(&words).to_lowercase();
        for word in ["zanzibar", "müller", "example.com"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

#[test]
fn a_fact_says_what_happened() {
    let (change, escalation) = talkative();
    let (next, events) = (&change.commit.next, &change.commit.events);
    let facts: Vec<ev::ConversationFact> = records(&change.commit).iter().map(|r| written(r).fact()).collect();
    for (fact, event) in facts.iter().zip(events) {
        let time = Some(convert::timestamp(event.at));
        assert_eq!((fact.id.as_str(), fact.seq, fact.time), (event.id.to_string().as_str(), event.seq, time));
        assert_eq!(
            (fact.organization_id.as_str(), fact.user_id.as_str()),
            (&*next.org.to_string(), &*next.user.to_string())
        );
        assert_eq!((fact.conversation_id.as_str(), fact.channel()), (&*next.id.to_string(), types::Channel::Email));
        assert_eq!((fact.status(), fact.owner()), (ev::ConversationStatus::Escalated, ev::Owner::None));
    }
    let message = |at: usize| match &facts[at].kind {
        Some(Kind::MessageAdded(message)) => message.clone(),
        other => panic!("{other:?}"),
    };
    let asked = message(0);
    assert_eq!((asked.sender_type(), asked.attachments, asked.turn.is_none()), (ev::SenderType::User, 1, true));
    assert_eq!((asked.message_id, asked.agent_id), (events[0].id.to_string(), String::new()));
    assert_eq!(message(4).agent_id, escalation.assigned_to.expect("somebody").to_string());
    let turn = message(1).turn.expect("a turn");
    assert_eq!((turn.user_message_id.as_str(), turn.answers_up_to), (&*events[0].id.to_string(), 1));
    assert_eq!((turn.intent.as_str(), turn.confidence), ("refund_request", 0.75));
    assert_eq!((turn.sentiment_score, turn.anger, turn.rung()), (-0.5, 0.25, types::Rung::Extract));
    assert_eq!((turn.policy_version.as_str(), turn.model_version.as_str(), turn.language.as_str()), ("p1", "m1", ""));
    assert_eq!(turn.timings_us, [("rules".to_owned(), 42)].into());
    assert_eq!(turn.citations, [ev::CitedArticle { article_id: "returns".into(), version: 3 }]);
    assert!(turn.requires_escalation);
    let [action] = turn.actions.as_slice() else { panic!("{:?}: a proposal is no action", turn.actions) };
    assert_eq!((action.action_type.as_str(), action.status()), ("create_case", types::ActionStatus::Completed));
    let status = |at: usize| match &facts[at].kind {
        Some(Kind::StatusChanged(status)) => status.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((status(2).reason.as_str(), status(3).reason.as_str()), ("other", "sla_breached"));
    let hand_off = status(2).escalation.expect("a hand-off");
    assert_eq!((hand_off.id, hand_off.reason), (escalation.id.to_string(), "other".to_owned()));
    assert_eq!((hand_off.priority.try_into(), hand_off.queue_name), (Ok(types::Priority::High), "billing".to_owned()));
    assert!(hand_off.sla_breached && hand_off.sla_deadline.is_some() && hand_off.resolve_time.is_some());
}

#[test]
fn a_code_stays_and_own_words_become_another() {
    for (reason, own_words, told) in [
        ("low_confidence", false, "low_confidence"),
        ("maria", true, "other"),
        ("Maria called", false, "other"),
        ("ä", false, "other"),
        ("", false, ""),
    ] {
        let before = row(Uuid::now_v7(), Uuid::now_v7());
        let clock = Clock::manual(before.created_at);
        let mut change = Change::on(&before, &clock);
        change.hand_off(Escalation { reason: reason.into(), own_words, ..escalation(before.created_at) });
        change.tell(reason);
        let fact = written(&records(&change.commit)[0]).fact();
        let Some(Kind::StatusChanged(status)) = fact.kind else { panic!("a status") };
        assert_eq!(status.reason, told);
        assert_eq!(status.escalation.expect("there").reason, told);
    }
}
