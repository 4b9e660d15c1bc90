//! Conversations: start, list, read, context, and what moves them from one hand to another.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{
    conversation::v1 as pb,
    convert::{from_struct, to_struct},
    events::v1::ConversationStatus,
    identity::v1::EnsureCustomerRequest,
    types::v1::Priority,
};
use switchboard_runtime::{Caller, validate::Check};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::page_size;
use crate::{
    app::{App, Edge},
    body::{Ids, Params, Patch, RetryKey, Strict},
    error::Answer,
    names,
    view::{Conversation, ConversationDetail, CreatedConversation, MessageResponse, Page},
};

/// Longest message.
pub(crate) const LONGEST: usize = 5000;

/// A new conversation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    /// A customer's own id, or left out. Agents and programs may name another customer: by id, or by the id that your own
    /// systems use, which is created if it is new.
    #[schema(max_length = 255)]
    pub(crate) user_id: Option<String>,
    /// web, mobile, email, slack, api or phone.
    #[schema(example = "web")]
    pub(crate) channel: String,
    #[schema(min_length = 1, max_length = 5000)]
    pub(crate) initial_message: Option<String>,
    /// The caller's own notes.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Map<String, Value>>,
    /// BCP 47 tag.
    #[schema(example = "en")]
    pub(crate) language: Option<String>,
}

/// The customer that a caller speaks for; empty for the caller.
pub(crate) async fn customer(app: &App, user_id: Option<String>) -> Result<String, Fault> {
    let caller = Caller::current()?;
    let Some(named) = user_id else { return Ok(String::new()) };
    let id = Uuid::try_parse(&named).ok();
    if id == Some(caller.user) {
        return Ok(String::new());
    }
    if !caller.is_staff() {
        return Err(Fault::new(
            Reason::PermissionDenied,
            "A customer's token speaks for that customer only: leave user_id out.",
        )
        .with_field("user_id", "must be the token's own user"));
    }
    match id {
        Some(id) => Ok(id.to_string()),
        None => {
            Check::new().text("user_id", &named, 1, 255).done()?;
            let answer = app.identity().ensure_customer(EnsureCustomerRequest { external_id: named }).await?;
            Ok(answer.into_inner().user.unwrap_or_default().id)
        }
    }
}

/// Starts a conversation, as the route and the socket do.
pub(crate) async fn start(
    app: &App,
    new: NewConversation,
    request_id: String,
) -> Result<pb::CreateConversationResponse, Fault> {
    let mut check = Check::new();
    if let Some(text) = &new.initial_message {
        check.text("initial_message", text, 1, LONGEST);
    }
    check.done()?;
    let ask = pb::CreateConversationRequest {
        channel: names::channel(&new.channel)?,
        user_id: customer(app, new.user_id).await?,
        request_id,
        initial_message: new.initial_message,
        metadata: new.metadata.as_ref().map(to_struct),
        language: new.language.unwrap_or_default(),
    };
    Ok(app.conversation().create_conversation(ask).await?.into_inner())
}

/// Start a conversation.
#[utoipa::path(post, path = "/v1/conversations", operation_id = "createConversation", tag = "Conversations",
    request_body = NewConversation, responses(
    (status = 201, description = "Created; with an initial message also its reply", body = CreatedConversation,
        headers(("Location" = String, description = "Path of the conversation")))))]
async fn create(
    State(app): State<Edge>,
    RetryKey(key): RetryKey,
    Strict(new): Strict<NewConversation>,
) -> Answer<Response> {
    let staff = Caller::current()?.is_staff();
    let made = start(&app, new, key.unwrap_or_default()).await?;
    let conversation = Conversation::from(made.conversation.unwrap_or_default());
    let location = [(header::LOCATION, format!("/v1/conversations/{}", conversation.id))];
    let body = CreatedConversation { conversation, reply: made.reply.map(|o| MessageResponse::seen_by(staff, o)) };
    Ok((StatusCode::CREATED, location, Json(body)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// active, waiting, resolved, escalated or abandoned.
    status: Option<String>,
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List conversations, newest activity first: a customer's own, or for agents the organization's.
#[utoipa::path(get, path = "/v1/conversations", operation_id = "listConversations", tag = "Conversations", params(ListQuery),
    responses((status = 200, description = "A page", body = Page<Conversation>)))]
async fn list(State(app): State<Edge>, Params(query): Params<ListQuery>) -> Answer<Json<Page<Conversation>>> {
    let ask = pb::ListConversationsRequest {
        status: names::read::<ConversationStatus>("status", query.status.as_deref())?,
        page_size: page_size(query.limit)?,
        page_token: query.cursor.unwrap_or_default(),
    };
    let page = app.conversation().list_conversations(ask).await?.into_inner();
    Ok(Json(Page::of(page.conversations, page.next_page_token)))
}

fn etag(seq: u64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{seq}\""))]
}

/// Read a conversation: newest messages, context, hand-off, counts.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}", operation_id = "getConversation", tag = "Conversations",
    params(("conversation_id" = Uuid, Path)), responses(
    (status = 200, description = "The conversation", body = ConversationDetail,
        headers(("ETag" = String, description = "Its newest seq, quoted; for If-Match")))))]
async fn get(State(app): State<Edge>, Ids([conversation_id]): Ids<1>) -> Answer<Response> {
    let state = app.conversation().get_conversation_state(pb::GetConversationStateRequest { conversation_id }).await?;
    let detail = ConversationDetail::seen_by(Caller::current()?.is_staff(), state.into_inner());
    Ok((etag(detail.conversation.seq), Json(detail)).into_response())
}

/// Merge into what is remembered between turns (RFC 7396). Refused unless `If-Match` is the newest ETag.
#[utoipa::path(patch, path = "/v1/conversations/{conversation_id}/context", operation_id = "updateContext", tag = "Conversations",
    params(("conversation_id" = Uuid, Path), ("If-Match" = String, Header, description = "The newest ETag", example = "\"7\"")),
    request_body(content = Object, content_type = "application/merge-patch+json"), responses(
    (status = 200, description = "The context as it stands", body = Object,
        headers(("ETag" = String, description = "The new seq, quoted"))),
    (status = 412, description = "It was changed in the meantime"), (status = 428, description = "If-Match is required")))]
async fn patch(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    headers: HeaderMap,
    Patch(patch): Patch,
) -> Answer<Response> {
    let expected_seq = expected(&app, &conversation_id, &headers).await?;
    let ask = pb::UpdateContextRequest { conversation_id, patch: Some(to_struct(&patch)), expected_seq };
    let answer = app.conversation().update_context(ask).await?.into_inner();
    let context = answer.context.as_ref().map(from_struct).unwrap_or_default();
    Ok((etag(answer.seq), Json(context)).into_response())
}

/// The seq that `If-Match` names.
async fn expected(app: &App, conversation_id: &str, headers: &HeaderMap) -> Result<u64, Fault> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Err(Fault::new(Reason::PreconditionRequired, "Send If-Match with the ETag that you read."));
    };
    let tag = tag.to_str().unwrap_or_default().trim();
    if tag == "*" {
        let ask = pb::GetConversationStateRequest { conversation_id: conversation_id.to_owned() };
        let state = app.conversation().get_conversation_state(ask).await?.into_inner();
        return Ok(state.conversation.unwrap_or_default().seq);
    }
    let seq = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).and_then(|t| t.parse().ok());
    seq.ok_or_else(|| Fault::new(Reason::Stale, "If-Match is not the newest ETag. Read the conversation again."))
}

/// Why a human is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EscalateBody {
    #[schema(max_length = 255)]
    reason: Option<String>,
    /// low, medium, high or critical; the policy decides without it.
    priority: Option<String>,
}

/// Hand over to humans.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/escalate", operation_id = "escalateConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = EscalateBody,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn escalate(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(body): Strict<EscalateBody>,
) -> Answer<Response> {
    let reason = body.reason.unwrap_or_default();
    Check::new().text("reason", &reason, 0, 255).done()?;
    let priority = names::read::<Priority>("priority", body.priority.as_deref())?;
    let ask = pb::EscalateRequest { conversation_id, reason, priority };
    Ok(stands(app.conversation().escalate(ask).await?.into_inner().conversation))
}

fn stands(conversation: Option<pb::Conversation>) -> Response {
    let conversation = Conversation::from(conversation.unwrap_or_default());
    (etag(conversation.seq), Json(conversation)).into_response()
}

/// Who takes it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignBody {
    /// The agent; the caller by default. Supervisors may name another.
    #[schema(format = Uuid)]
    agent_id: Option<String>,
}

/// Take a conversation over: from then on the AI is silent. Agents.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/assign", operation_id = "assignConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = AssignBody,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn assign(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(body): Strict<AssignBody>,
) -> Answer<Response> {
    let mut check = Check::new();
    let agent_id = body.agent_id.map(|id| check.uuid("agent_id", &id).to_string()).unwrap_or_default();
    check.done()?;
    Ok(stands(
        app.conversation().assign(pb::AssignRequest { conversation_id, agent_id }).await?.into_inner().conversation,
    ))
}

/// Nothing to say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Give a conversation back to the AI. Agents.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/release", operation_id = "releaseConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn release(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Answer<Response> {
    Ok(stands(app.conversation().release(pb::ReleaseRequest { conversation_id }).await?.into_inner().conversation))
}

/// How it ended.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    #[schema(max_length = 5000)]
    summary: Option<String>,
}

/// End a matter: the customer their own, or an agent.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/resolve", operation_id = "resolveConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = ResolveBody,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn resolve(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(body): Strict<ResolveBody>,
) -> Answer<Response> {
    let summary = body.summary.unwrap_or_default();
    Check::new().text("summary", &summary, 0, LONGEST).done()?;
    Ok(stands(
        app.conversation().resolve(pb::ResolveRequest { conversation_id, summary }).await?.into_inner().conversation,
    ))
}

/// Take an ended matter up again, within 7 days.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/reopen", operation_id = "reopenConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn reopen(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Answer<Response> {
    Ok(stands(app.conversation().reopen(pb::ReopenRequest { conversation_id }).await?.into_inner().conversation))
}

/// A rating.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RatingBody {
    #[schema(minimum = 1, maximum = 5)]
    score: u32,
    #[schema(max_length = 5000)]
    comment: Option<String>,
}

/// Rate a conversation: its customer. A later rating replaces an earlier one.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/rating", operation_id = "rateConversation",
    tag = "Conversations", params(("conversation_id" = Uuid, Path)), request_body = RatingBody,
    responses((status = 200, description = "As it stands", body = Conversation)))]
async fn rate(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Strict(body): Strict<RatingBody>,
) -> Answer<Response> {
    let comment = body.comment.unwrap_or_default();
    Check::new().range("score", body.score.into(), 1, 5).text("comment", &comment, 0, LONGEST).done()?;
    let ask = pb::RateRequest { conversation_id, score: body.score, comment };
    Ok(stands(app.conversation().rate(ask).await?.into_inner().conversation))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(patch))
        .routes(routes!(escalate))
        .routes(routes!(assign))
        .routes(routes!(release))
        .routes(routes!(resolve))
        .routes(routes!(reopen))
        .routes(routes!(rate))
}
