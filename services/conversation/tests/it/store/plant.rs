//! Conversations to try the laws on: plain ones, and one that has something in every place.
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_conversation::{
    change::Change,
    machine::{Owner, Status},
    model::{
        Action, ActionStatus, Analysis, Attachment, Citation, ContentType, Conversation, Draft, Effect, Entity,
        Escalation, Flow, Message, Note, Outcome, Priority, Resolution, Rung, Sender, Sentiment, State, Turn,
    },
    store::{Answered, Committed, NewConversation, Store},
};
use switchboard_runtime::Clock;
use uuid::Uuid;

/// When everything happens, unless it says otherwise.
pub fn start() -> Timestamp {
    Timestamp::from_second(1_772_445_600).expect("a time")
}

/// So many seconds later.
pub fn later(seconds: i64) -> Timestamp {
    start().checked_add(SignedDuration::from_secs(seconds)).expect("a time")
}

pub fn row(org: Uuid, user: Uuid) -> Conversation {
    Conversation {
        id: Uuid::now_v7(),
        org,
        user,
        channel: "web".into(),
        status: Status::Active,
        owner: Owner::Ai,
        seq: 0,
        owner_epoch: 0,
        assigned_to: None,
        language: "en".into(),
        metadata: json!({"a": [1, "ü"]}).as_object().cloned().expect("an object"),
        context: Default::default(),
        state: State::default(),
        last_user_seq: 0,
        answered_seq: 0,
        turn: None,
        created_at: start(),
        last_activity_at: start(),
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

pub async fn created_for(store: &dyn Store, org: Uuid, user: Uuid) -> Conversation {
    let row = row(org, user);
    let new = NewConversation { row: row.clone(), request_id: None, fingerprint: String::new() };
    assert!(store.create(new).await.expect("creates").is_none());
    row
}

pub async fn created(store: &dyn Store) -> Conversation {
    created_for(store, Uuid::now_v7(), Uuid::now_v7()).await
}

pub async fn now(store: &dyn Store, row: &Conversation) -> Conversation {
    store.load(row.org, row.id).await.expect("reads").expect("is there")
}

/// Commits a change of the row as it is now.
pub async fn change(store: &dyn Store, row: &Conversation, make: impl FnOnce(&mut Change<'_>)) -> Conversation {
    let before = now(store, row).await;
    let clock = Clock::manual(before.last_activity_at);
    let mut change = Change::on(&before, &clock);
    make(&mut change);
    let next = change.commit.next.clone();
    assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
    next
}

/// Says something on a row as the writer saw it.
pub async fn say(store: &dyn Store, before: &Conversation, text: &str, client_id: Option<&str>) -> Committed {
    let clock = Clock::manual(before.created_at);
    let mut change = Change::on(before, &clock);
    let mut message = change.message(Sender::User, Some(before.user), text);
    message.client_message_id = client_id.map(str::to_owned);
    change.say(message);
    store.commit(change.commit).await.expect("answers")
}

pub fn escalation(word: &str) -> Escalation {
    Escalation {
        id: Uuid::now_v7(),
        reason: format!("{word}-reason"),
        priority: Priority::High,
        queue: "support".into(),
        case_number: None,
        assigned_to: None,
        assigned_at: None,
        sla_deadline: later(60),
        breached: false,
        resolved_at: None,
        resolution_notes: format!("{word}-notes"),
        resolved_by: None,
        created_at: start(),
        summary: format!("{word}-summary"),
        own_words: true,
    }
}

pub fn effect(c: &Conversation, key: &str, word: &str) -> Effect {
    Effect {
        id: Uuid::now_v7(),
        org: c.org,
        key: key.into(),
        conversation: c.id,
        user: c.user,
        action_type: "create_case".into(),
        parameters: BTreeMap::from([("subject".into(), format!("{word}-subject"))]),
        status: ActionStatus::Pending,
        attempts: 0,
        result: BTreeMap::new(),
        last_error: String::new(),
        next_attempt_at: start(),
        created_at: start(),
        ended_at: None,
    }
}

fn entity(word: String) -> Entity {
    Entity { kind: "person".into(), normalized: word.clone(), value: word, start: 0, end: 3, confidence: 0.5 }
}

fn citation() -> Citation {
    Citation {
        article: "article-1".into(),
        version: 3,
        title: "Returns".into(),
        url: "https://example.com/returns".into(),
        quote: "Within 30 days.".into(),
    }
}

fn outcome(c: &Conversation, question: &Message, word: &str) -> Outcome {
    Outcome {
        message_id: Some(Uuid::now_v7()),
        user_message_id: question.id,
        answers_up_to: question.seq,
        conversation_id: c.id,
        seq: question.seq + 1,
        response: Some(format!("{word}-response")),
        intent: "returns".into(),
        confidence: 0.9,
        sentiment: Sentiment { score: 0.25, anger: 0.0 },
        entities: vec![entity(format!("{word}-found"))],
        actions: vec![Action {
            id: Some(Uuid::now_v7()),
            action_type: "create_case".into(),
            parameters: BTreeMap::from([("subject".into(), format!("{word}-shown"))]),
            status: ActionStatus::Completed,
            result: BTreeMap::new(),
        }],
        citations: vec![citation()],
        requires_escalation: false,
        escalation: None,
        status: Status::Active,
        owner: Owner::Ai,
        rung: Some(Rung::Flow),
        language: "en".into(),
    }
}

/// What was planted, beside the conversation.
pub struct Planted {
    pub row: Conversation,
    pub question: Message,
    pub reply: Message,
    pub draft: Draft,
    pub note: Note,
    pub effect: Effect,
    pub hand_off: Escalation,
}

/// A conversation with a word of its customer in every place where words can be.
pub async fn planted(store: &dyn Store, org: Uuid, user: Uuid, word: &str) -> Planted {
    let mut row = row(org, user);
    row.metadata = json!({ "note": format!("{word}-metadata") }).as_object().cloned().expect("an object");
    row.state.email = format!("{word}-email@example.com");
    let new = NewConversation {
        row: row.clone(),
        request_id: Some("request".into()),
        fingerprint: format!("{word}-fingerprint"),
    };
    assert!(store.create(new).await.expect("creates").is_none());

    let mut question = None;
    change(store, &row, |change| {
        let mut message = change.message(Sender::User, Some(user), format!("{word}-question"));
        message.client_message_id = Some("client-1".into());
        message.content_type = ContentType::ErrorLog;
        message.attachments = vec![Attachment { name: format!("{word}-file"), size: 7, ..Attachment::default() }];
        message.metadata = json!({ "from": format!("{word}-sender") }).as_object().cloned().expect("an object");
        message.seq = change.say(message.clone());
        change.row().turn = Some(Turn { token: Uuid::now_v7(), until: later(20) });
        question = Some(message);
    })
    .await;
    let mut question = question.expect("was said");

    let mut hand_off = escalation(word);
    let mut effect = effect(&row, &format!("key-{}", row.id), word);
    change(store, &row, |change| {
        change.commit.effects = vec![effect.clone()];
        change.hand_off(hand_off.clone());
        change.tell("customer_request");
    })
    .await;

    let analysis = Analysis {
        intent: Some("returns".into()),
        confidence: Some(0.75),
        sentiment: Some(-0.5),
        entities: vec![entity(format!("{word}-entity"))],
    };
    let receipt = json!({ "why": format!("{word}-receipt") });
    let mut reply = None;
    (effect.status, effect.attempts, effect.ended_at) = (ActionStatus::Completed, 1, Some(later(1)));
    effect.result =
        BTreeMap::from([("case_number".into(), format!("C-{}", row.id)), ("url".into(), format!("{word}-url"))]);
    effect.last_error = format!("{word}-error");
    hand_off.case_number = Some(format!("C-{}", row.id));
    let draft = Draft {
        id: Uuid::now_v7(),
        user_message: question.id,
        content: format!("{word}-draft"),
        citations: vec![citation()],
        created_at: start(),
    };
    let row = change(store, &row, |change| {
        let mut message = change.message(Sender::AiAgent, None, format!("{word}-reply"));
        message.citations = vec![citation()];
        message.analysis.confidence = Some(0.9);
        message.outcome = Some(Box::new(outcome(&row, &question, word)));
        message.seq = change.say(message.clone());
        change.commit.receipt = Some(receipt);
        change.commit.answered =
            Some(Answered { seqs: (question.seq, question.seq), reply_seq: message.seq, analysis: analysis.clone() });
        change.commit.effects_changed = vec![effect.clone()];
        change.commit.draft = Some(draft.clone());
        change.commit.cursor = Some(("salesforce", "42".into()));
        change.hand_off(hand_off.clone());
        let next = change.row();
        next.context = json!({ "city": format!("{word}-context") }).as_object().cloned().expect("an object");
        next.state.flow = Some(Flow {
            flow_id: "returns".into(),
            slots: BTreeMap::from([("name".into(), format!("{word}-slot"))]),
            ..Flow::default()
        });
        next.turn = None;
        next.answered_seq = question.seq;
        (next.rating, next.rating_comment) = (Some(4), format!("{word}-rating"));
        (next.status, next.resolution, next.ended_at) = (Status::Resolved, Some(Resolution::Automated), Some(later(5)));
        (next.response_count, next.response_micros, next.assumed) = (1, 1_500_000, true);
        next.assigned_to = Some(Uuid::now_v7());
        reply = Some(message);
    })
    .await;
    question.analysis = analysis;
    let note =
        Note { id: Uuid::now_v7(), author: Uuid::now_v7(), content: format!("{word}-note"), created_at: start() };
    let note = store.add_note(org, row.id, note, Some("note-1")).await.expect("adds");
    Planted { row, question, reply: reply.expect("was said"), draft, note, effect, hand_off }
}

/// Every word that [`planted`] plants and that is a person's.
pub const PLACES: [&str; 23] = [
    "metadata",
    "email",
    "fingerprint",
    "question",
    "file",
    "sender",
    "reason",
    "notes",
    "summary",
    "subject",
    "found",
    "shown",
    "response",
    "entity",
    "receipt",
    "url",
    "error",
    "draft",
    "reply",
    "context",
    "slot",
    "rating",
    "note",
];
