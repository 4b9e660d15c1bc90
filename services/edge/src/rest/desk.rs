//! What agents and admins need beside the conversation itself: queue, notes, drafts, receipts, effects.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use switchboard_proto::{conversation::v1 as pb, convert::from_struct, types::v1::ActionStatus};
use switchboard_runtime::validate::Check;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    conversations::{LONGEST, Nothing},
    page_size,
};
use crate::{
    app::Edge,
    body::{Ids, Params, RetryKey, Strict},
    error::Answer,
    names::{self, word},
    view::{Citation, Conversation, Escalation, Message, Page, some, time},
};

/// An open hand-off.
#[derive(Debug, Serialize, ToSchema)]
struct QueueItem {
    conversation: Conversation,
    escalation: Escalation,
}

impl From<pb::QueueItem> for QueueItem {
    fn from(item: pb::QueueItem) -> Self {
        QueueItem {
            conversation: item.conversation.unwrap_or_default().into(),
            // The queue is for staff.
            escalation: Escalation::seen_by(true, item.escalation.unwrap_or_default()),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Open hand-offs by priority, then deadline. Agents.
#[utoipa::path(get, path = "/v1/queue", operation_id = "listQueue", tag = "Desk", params(PageQuery),
    responses((status = 200, description = "A page", body = Page<QueueItem>)))]
async fn queue(State(app): State<Edge>, Params(query): Params<PageQuery>) -> Answer<Json<Page<QueueItem>>> {
    let ask = pb::ListQueueRequest { page_size: page_size(query.limit)?, page_token: query.cursor.unwrap_or_default() };
    let page = app.conversation().list_queue(ask).await?.into_inner();
    Ok(Json(Page::of(page.items, page.next_page_token)))
}

/// An internal note.
#[derive(Debug, Serialize, ToSchema)]
struct Note {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid)]
    author_id: String,
    content: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<pb::Note> for Note {
    fn from(n: pb::Note) -> Self {
        Note {
            id: n.id,
            author_id: n.author_id,
            content: n.content,
            created_at: time(&n.create_time).unwrap_or_default(),
        }
    }
}

/// A new note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNote {
    #[schema(min_length = 1, max_length = 5000)]
    content: String,
}

/// Write an internal note, never shown to the customer. Agents.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/notes", operation_id = "addNote", tag = "Desk",
    params(("conversation_id" = Uuid, Path)), request_body = NewNote, responses((status = 201, description = "The note", body = Note)))]
async fn add_note(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    RetryKey(key): RetryKey,
    Strict(note): Strict<NewNote>,
) -> Answer<Response> {
    Check::new().text("content", &note.content, 1, LONGEST).done()?;
    let ask = pb::AddNoteRequest { conversation_id, content: note.content, request_id: key.unwrap_or_default() };
    let note = app.conversation().add_note(ask).await?.into_inner().note.unwrap_or_default();
    Ok((StatusCode::CREATED, Json(Note::from(note))).into_response())
}

/// Internal notes, oldest first. Agents.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/notes", operation_id = "listNotes", tag = "Desk",
    params(("conversation_id" = Uuid, Path)), responses((status = 200, description = "All of them", body = Page<Note>)))]
async fn notes(State(app): State<Edge>, Ids([conversation_id]): Ids<1>) -> Answer<Json<Page<Note>>> {
    let all = app.conversation().list_notes(pb::ListNotesRequest { conversation_id }).await?.into_inner();
    Ok(Json(Page::of(all.notes, String::new())))
}

/// A reply of the AI that came after a human had taken over.
#[derive(Debug, Serialize, ToSchema)]
struct Draft {
    #[schema(format = Uuid)]
    id: String,
    content: String,
    #[schema(format = Uuid)]
    user_message_id: String,
    #[schema(format = DateTime)]
    created_at: String,
    citations: Vec<Citation>,
}

impl From<pb::Draft> for Draft {
    fn from(d: pb::Draft) -> Self {
        Draft {
            id: d.id,
            content: d.content,
            user_message_id: d.user_message_id,
            created_at: time(&d.create_time).unwrap_or_default(),
            citations: d.citations.into_iter().map(Citation::from).collect(),
        }
    }
}

/// Drafts that were not sent, oldest first. Agents.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/drafts", operation_id = "listDrafts", tag = "Desk",
    params(("conversation_id" = Uuid, Path)), responses((status = 200, description = "All of them", body = Page<Draft>)))]
async fn drafts(State(app): State<Edge>, Ids([conversation_id]): Ids<1>) -> Answer<Json<Page<Draft>>> {
    let all = app.conversation().list_drafts(pb::ListDraftsRequest { conversation_id }).await?.into_inner();
    Ok(Json(Page::of(all.drafts, String::new())))
}

/// Send a draft as the human's message. The agent who owns the conversation.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/drafts/{draft_id}/send", operation_id = "sendDraft", tag = "Desk",
    params(("conversation_id" = Uuid, Path), ("draft_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "The message", body = Message)))]
async fn send_draft(
    State(app): State<Edge>,
    Ids([conversation_id, draft_id]): Ids<2>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Answer<Json<Message>> {
    let sent = app.conversation().send_draft(pb::SendDraftRequest { conversation_id, draft_id }).await?.into_inner();
    Ok(Json(sent.message.unwrap_or_default().into()))
}

/// Why the AI said what it said. Agents and admins.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/receipts/{message_id}", operation_id = "getReceipt", tag = "Desk",
    params(("conversation_id" = Uuid, Path), ("message_id" = Uuid, Path)),
    responses((status = 200, description = "The decision receipt", body = Object)))]
async fn receipt(
    State(app): State<Edge>,
    Ids([conversation_id, message_id]): Ids<2>,
) -> Answer<Json<Map<String, Value>>> {
    let found =
        app.conversation().get_receipt(pb::GetReceiptRequest { conversation_id, message_id }).await?.into_inner();
    Ok(Json(found.receipt.as_ref().map(from_struct).unwrap_or_default()))
}

/// A write to an outside system.
#[derive(Debug, Serialize, ToSchema)]
struct Effect {
    #[schema(format = Uuid)]
    id: String,
    /// The target gets it, so that a repeated try never doubles the write.
    idempotency_key: String,
    action_type: String,
    #[schema(format = Uuid)]
    conversation_id: String,
    /// pending, running, completed, failed or cancelled.
    status: String,
    attempts: u32,
    last_error: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    ended_at: Option<String>,
}

impl From<pb::Effect> for Effect {
    fn from(e: pb::Effect) -> Self {
        Effect {
            id: e.id,
            idempotency_key: e.idempotency_key,
            action_type: e.action_type,
            conversation_id: e.conversation_id,
            status: word::<ActionStatus>(e.status).unwrap_or_default(),
            attempts: e.attempts,
            last_error: some(e.last_error),
            created_at: time(&e.create_time).unwrap_or_default(),
            ended_at: time(&e.end_time),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EffectQuery {
    /// pending, running, completed, failed or cancelled.
    status: Option<String>,
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The effect ledger, newest first. Admins.
#[utoipa::path(get, path = "/v1/effects", operation_id = "listEffects", tag = "Desk", params(EffectQuery),
    responses((status = 200, description = "A page", body = Page<Effect>)))]
async fn effects(State(app): State<Edge>, Params(query): Params<EffectQuery>) -> Answer<Json<Page<Effect>>> {
    let ask = pb::ListEffectsRequest {
        status: names::read::<ActionStatus>("status", query.status.as_deref())?,
        page_size: page_size(query.limit)?,
        page_token: query.cursor.unwrap_or_default(),
    };
    let page = app.conversation().list_effects(ask).await?.into_inner();
    Ok(Json(Page::of(page.effects, page.next_page_token)))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(queue))
        .routes(routes!(add_note, notes))
        .routes(routes!(drafts))
        .routes(routes!(send_draft))
        .routes(routes!(receipt))
        .routes(routes!(effects))
}
