//! Domain → proto.
//!
//! In: domain values. Out: messages. Never: a decision.
use switchboard_proto::{conversation::v1 as pb, convert, events::v1 as ev, types::v1 as types};

use crate::{
    hub::Sign,
    machine::{Owner, Status},
    mind::to_priority,
    model::{
        Action, ActionStatus, Attachment, Citation, CitingAnswer, ContentType, Conversation, Draft, Effect, Entity,
        Escalation, Event, EventKind, Message, Note, Outcome, Resolution, Rung, Sender, Sentiment,
    },
    store::{Erasure, ErasureStep},
};

pub(crate) fn opt(id: Option<uuid::Uuid>) -> String {
    id.map(|u| u.to_string()).unwrap_or_default()
}

pub(crate) fn status(s: Status) -> ev::ConversationStatus {
    match s {
        Status::Active => ev::ConversationStatus::Active,
        Status::Waiting => ev::ConversationStatus::Waiting,
        Status::Resolved => ev::ConversationStatus::Resolved,
        Status::Escalated => ev::ConversationStatus::Escalated,
        Status::Abandoned => ev::ConversationStatus::Abandoned,
    }
}

pub(crate) fn owner(o: Owner) -> ev::Owner {
    match o {
        Owner::Ai => ev::Owner::Ai,
        Owner::Human => ev::Owner::Human,
        Owner::None => ev::Owner::None,
    }
}

pub(crate) fn channel(name: &str) -> types::Channel {
    types::Channel::from_str_name(&format!("CHANNEL_{}", name.to_uppercase())).unwrap_or_default()
}

pub(crate) fn sender(s: Sender) -> ev::SenderType {
    match s {
        Sender::User => ev::SenderType::User,
        Sender::AiAgent => ev::SenderType::AiAgent,
        Sender::HumanAgent => ev::SenderType::HumanAgent,
        Sender::System => ev::SenderType::System,
    }
}

pub(crate) fn content_type(c: ContentType) -> ev::ContentType {
    match c {
        ContentType::Text => ev::ContentType::Text,
        ContentType::Image => ev::ContentType::Image,
        ContentType::File => ev::ContentType::File,
        ContentType::Code => ev::ContentType::Code,
        ContentType::ErrorLog => ev::ContentType::ErrorLog,
    }
}

pub(crate) fn conversation(c: &Conversation) -> pb::Conversation {
    pb::Conversation {
        id: c.id.to_string(),
        user_id: c.user.to_string(),
        organization_id: c.org.to_string(),
        channel: channel(&c.channel).into(),
        status: status(c.status).into(),
        owner: owner(c.owner).into(),
        seq: c.seq,
        language: c.language.clone(),
        metadata: Some(convert::to_struct(&c.metadata)),
        create_time: Some(convert::timestamp(c.created_at)),
        last_activity_time: Some(convert::timestamp(c.last_activity_at)),
        end_time: c.ended_at.map(convert::timestamp),
        salesforce_case: c.state.case_number.clone().unwrap_or_default(),
        owner_epoch: c.owner_epoch,
        assigned_to: opt(c.assigned_to),
        previous_id: opt(c.previous),
    }
}

pub(crate) fn escalation(e: &Escalation) -> ev::Escalation {
    ev::Escalation {
        reason: e.reason.clone(),
        priority: to_priority(e.priority).into(),
        queue_name: e.queue.clone(),
        case_number: e.case_number.clone().unwrap_or_default(),
        assigned_to: opt(e.assigned_to),
        assign_time: e.assigned_at.map(convert::timestamp),
        sla_deadline: Some(convert::timestamp(e.sla_deadline)),
        resolve_time: e.resolved_at.map(convert::timestamp),
        resolution_notes: e.resolution_notes.clone(),
        resolved_by: opt(e.resolved_by),
        create_time: Some(convert::timestamp(e.created_at)),
        summary: e.summary.clone(),
    }
}

pub(crate) fn resolution(r: Option<Resolution>) -> pb::ResolutionType {
    match r {
        None => pb::ResolutionType::Unspecified,
        Some(Resolution::Automated) => pb::ResolutionType::Automated,
        Some(Resolution::Human) => pb::ResolutionType::Human,
        Some(Resolution::Abandoned) => pb::ResolutionType::Abandoned,
        Some(Resolution::Escalated) => pb::ResolutionType::Escalated,
    }
}

fn entity(e: &Entity) -> types::Entity {
    types::Entity {
        r#type: e.kind.clone(),
        value: e.value.clone(),
        normalized: e.normalized.clone(),
        start: e.start,
        end: e.end,
        confidence: e.confidence,
    }
}

fn citation(c: &Citation) -> types::Citation {
    types::Citation {
        article_id: c.article.clone(),
        version: c.version,
        title: c.title.clone(),
        url: c.url.clone(),
        quote: c.quote.clone(),
    }
}

fn attachment(a: &Attachment) -> types::Attachment {
    types::Attachment {
        name: a.name.clone(),
        media_type: a.media_type.clone(),
        size: a.size,
        url: a.url.clone(),
        data: a.data.clone(),
        r#type: a.kind.clone(),
        content: a.content.clone(),
    }
}

pub(crate) fn from_attachment(a: types::Attachment) -> Attachment {
    Attachment {
        name: a.name,
        media_type: a.media_type,
        size: a.size,
        url: a.url,
        data: a.data,
        kind: a.r#type,
        content: a.content,
    }
}

fn sentiment(s: Sentiment) -> types::Sentiment {
    // The bounds of the outside interface.
    let label = match s.score {
        x if x < -0.25 => types::SentimentLabel::Negative,
        x if x > 0.25 => types::SentimentLabel::Positive,
        _ => types::SentimentLabel::Neutral,
    };
    types::Sentiment { label: label.into(), score: s.score, anger: s.anger }
}

pub(crate) fn action_status(s: ActionStatus) -> types::ActionStatus {
    match s {
        ActionStatus::Pending => types::ActionStatus::Pending,
        ActionStatus::Running => types::ActionStatus::Running,
        ActionStatus::Completed => types::ActionStatus::Completed,
        ActionStatus::Failed => types::ActionStatus::Failed,
        ActionStatus::Cancelled => types::ActionStatus::Cancelled,
    }
}

fn action(a: &Action) -> types::Action {
    types::Action {
        id: opt(a.id),
        action_type: a.action_type.clone(),
        parameters: a.parameters.clone().into_iter().collect(),
        status: action_status(a.status).into(),
        result: a.result.clone().into_iter().collect(),
    }
}

pub(crate) fn rung(r: Option<Rung>) -> types::Rung {
    match r {
        None => types::Rung::Unspecified,
        Some(Rung::Primary) => types::Rung::Primary,
        Some(Rung::Fallback) => types::Rung::Fallback,
        Some(Rung::Extract) => types::Rung::Extract,
        Some(Rung::Flow) => types::Rung::Flow,
        Some(Rung::Canned) => types::Rung::Canned,
        Some(Rung::Human) => types::Rung::Human,
    }
}

pub(crate) fn outcome(o: &Outcome) -> ev::TurnOutcome {
    ev::TurnOutcome {
        message_id: opt(o.message_id),
        user_message_id: o.user_message_id.to_string(),
        conversation_id: o.conversation_id.to_string(),
        seq: o.seq,
        response: o.response.clone(),
        intent: o.intent.clone(),
        confidence: o.confidence,
        sentiment: Some(sentiment(o.sentiment)),
        entities: o.entities.iter().map(entity).collect(),
        suggested_actions: o.actions.iter().map(action).collect(),
        citations: o.citations.iter().map(citation).collect(),
        requires_escalation: o.requires_escalation,
        escalation: o.escalation.as_ref().map(escalation),
        status: status(o.status).into(),
        owner: owner(o.owner).into(),
        rung: rung(o.rung).into(),
        language: o.language.clone(),
    }
}

pub(crate) fn message(conversation: uuid::Uuid, m: &Message) -> ev::Message {
    ev::Message {
        id: m.id.to_string(),
        conversation_id: conversation.to_string(),
        seq: m.seq,
        sender_type: sender(m.sender).into(),
        sender_id: opt(m.sender_id),
        content: m.content.clone(),
        content_type: content_type(m.content_type).into(),
        attachments: m.attachments.iter().map(attachment).collect(),
        intent: m.analysis.intent.clone().unwrap_or_default(),
        intent_confidence: m.analysis.confidence.unwrap_or_default(),
        sentiment_score: m.analysis.sentiment,
        entities: m.analysis.entities.iter().map(entity).collect(),
        citations: m.citations.iter().map(citation).collect(),
        metadata: Some(convert::to_struct(&m.metadata)),
        create_time: Some(convert::timestamp(m.created_at)),
    }
}

pub(crate) fn event(org: uuid::Uuid, id: uuid::Uuid, e: &Event) -> ev::ConversationEvent {
    let kind = match &e.kind {
        EventKind::Message(m) => ev::conversation_event::Kind::MessageAdded(ev::MessageAdded {
            message: Some(message(id, m)),
            client_message_id: m.client_message_id.clone().unwrap_or_default(),
            outcome: m.outcome.as_deref().map(outcome),
        }),
        EventKind::Status(c) => ev::conversation_event::Kind::StatusChanged(ev::StatusChanged {
            status: status(c.status).into(),
            owner: owner(c.owner).into(),
            reason: c.reason.clone(),
            escalation: c.escalation.as_ref().map(escalation),
        }),
    };
    ev::ConversationEvent {
        id: e.id.to_string(),
        organization_id: org.to_string(),
        conversation_id: id.to_string(),
        seq: e.seq,
        time: Some(convert::timestamp(e.at)),
        kind: Some(kind),
    }
}

pub(crate) fn note(n: &Note) -> pb::Note {
    pb::Note {
        id: n.id.to_string(),
        author_id: n.author.to_string(),
        content: n.content.clone(),
        create_time: Some(convert::timestamp(n.created_at)),
    }
}

pub(crate) fn draft(d: &Draft) -> pb::Draft {
    pb::Draft {
        id: d.id.to_string(),
        content: d.content.clone(),
        user_message_id: d.user_message.to_string(),
        create_time: Some(convert::timestamp(d.created_at)),
        citations: d.citations.iter().map(citation).collect(),
    }
}

pub(crate) fn citing(a: &CitingAnswer) -> pb::CitingAnswer {
    pb::CitingAnswer {
        conversation_id: a.conversation.to_string(),
        message_id: a.message.to_string(),
        user_id: a.user.to_string(),
        version: a.version,
        create_time: Some(convert::timestamp(a.created_at)),
        status: status(a.status).into(),
    }
}

pub(crate) fn effect(e: &Effect) -> pb::Effect {
    pb::Effect {
        id: e.id.to_string(),
        idempotency_key: e.key.clone(),
        action_type: e.action_type.clone(),
        conversation_id: e.conversation.to_string(),
        status: action_status(e.status).into(),
        attempts: e.attempts,
        last_error: e.last_error.clone(),
        create_time: Some(convert::timestamp(e.created_at)),
        end_time: e.ended_at.map(convert::timestamp),
    }
}

/// Somebody types or has read.
pub fn presence(sign: Sign) -> pb::Presence {
    pb::Presence { who: sign.who.name().to_owned(), typing: sign.typing, read_seq: sign.read_seq }
}

pub(crate) fn erasure(e: &Erasure) -> pb::Erasure {
    let state =
        |completed: bool| if completed { pb::ErasureState::Completed } else { pb::ErasureState::Running }.into();
    let step = |s: &ErasureStep| pb::ErasureStep {
        place: s.place.clone(),
        state: state(s.completed_at.is_some()),
        attempts: s.attempts,
        last_error: s.last_error.clone(),
        complete_time: s.completed_at.map(convert::timestamp),
        removed: s.removed,
    };
    pb::Erasure {
        id: e.id.to_string(),
        user_id: e.user.to_string(),
        state: state(e.completed_at.is_some()),
        request_time: Some(convert::timestamp(e.requested_at)),
        complete_time: e.completed_at.map(convert::timestamp),
        steps: e.steps.iter().map(step).collect(),
        receipt: e.receipt.as_ref().and_then(|r| r.as_object()).map(convert::to_struct),
    }
}
