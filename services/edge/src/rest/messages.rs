//! Messages and events of a conversation.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, header};
use serde::Deserialize;
use switchboard_errors::Fault;
use switchboard_proto::{
    conversation::v1 as pb,
    events::v1::{ContentType, TurnOutcome},
    types::v1 as types,
};
use switchboard_runtime::{Caller, Context, validate::Check};
use tonic::{Status, Streaming};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{conversations::LONGEST, page_size};
use crate::{
    app::{App, Edge},
    body::{Ids, Params, RetryKey, Strict},
    error::Answer,
    events::{Frame, Seen, Watch, final_response},
    names, sse,
    view::{Attachment, Message, MessageResponse, Page},
};

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    #[schema(min_length = 1, max_length = 5000, example = "How do I export my data?")]
    pub(crate) content: String,
    /// text (default), image, file, code or error_log.
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    #[schema(max_items = 10)]
    pub(crate) attachments: Option<Vec<Attachment>>,
    /// The same again is the same message.
    #[schema(max_length = 255)]
    pub(crate) client_message_id: Option<String>,
}

/// Attachments of one message.
const ATTACHMENTS: usize = 10;
/// What inline content may be.
const INLINE: [&str; 4] = ["text", "image", "file", "code"];

impl NewMessage {
    /// The call that stores it.
    pub(crate) fn ask(
        self,
        conversation_id: String,
        retry_key: Option<String>,
    ) -> Result<pb::ProcessMessageRequest, Fault> {
        let mut check = Check::new();
        check.text("content", &self.content, 1, LONGEST);
        let client_message_id = self.client_message_id.or(retry_key).unwrap_or_default();
        check.text("client_message_id", &client_message_id, 0, 255);
        if let Some(word) = &self.content_type
            && names::value::<ContentType>(word).is_none()
        {
            check.fail("content_type", format!("must be {}", names::words::<ContentType>()));
        }
        let attachments = self.attachments.unwrap_or_default();
        if attachments.len() > ATTACHMENTS {
            check.fail("attachments", format!("must be at most {ATTACHMENTS}"));
        }
        let attachments = attachments
            .into_iter()
            .enumerate()
            .map(|(i, a)| attachment(&mut check, &format!("attachments[{i}]"), a))
            .collect();
        check.done()?;
        Ok(pb::ProcessMessageRequest {
            conversation_id,
            content: self.content,
            content_type: names::read::<ContentType>("content_type", self.content_type.as_deref())?,
            attachments,
            client_message_id,
        })
    }
}

fn attachment(check: &mut Check, at: &str, a: Attachment) -> types::Attachment {
    let field = |name: &str| format!("{at}.{name}");
    check.text(&field("name"), a.name.as_deref().unwrap_or_default(), 0, 255);
    check.text(&field("media_type"), a.media_type.as_deref().unwrap_or_default(), 0, 255);
    match &a.kind {
        Some(kind) => {
            if !INLINE.contains(&kind.as_str()) {
                check.fail(&field("type"), format!("must be {}", INLINE.join(", ")));
            }
            check.required(&field("content"), a.content.as_ref());
        }
        None => {
            check.required(&field("name"), a.name.as_ref());
            check.required(&field("media_type"), a.media_type.as_ref());
            check.required(&field("size"), a.size);
            if a.url.is_none() && a.data.is_none() {
                check.fail(&field("url"), "is required, or data");
            }
        }
    }
    types::Attachment {
        name: a.name.unwrap_or_default(),
        media_type: a.media_type.unwrap_or_default(),
        size: a.size.unwrap_or_default(),
        url: a.url.unwrap_or_default(),
        data: a.data.unwrap_or_default(),
        r#type: a.kind.unwrap_or_default(),
        content: a.content.unwrap_or_default(),
    }
}

/// Send a message and get the reply. An agent's message is the human's; it has no reply. With `Accept: text/event-stream`
/// the reply comes as events: `message_received`, then the final `ai_response`.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/messages", operation_id = "sendMessage", tag = "Messages",
    params(("conversation_id" = Uuid, Path)), request_body = NewMessage, responses(
    (status = 200, description = "The message is stored; this came of it",
        content((MessageResponse = "application/json"), (String = "text/event-stream")))))]
async fn send(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    RetryKey(key): RetryKey,
    headers: HeaderMap,
    Strict(message): Strict<NewMessage>,
) -> Answer<Response> {
    let ask = message.ask(conversation_id, key)?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return stream_reply(app, ask).await;
    }
    let outcome = app.conversation().process_message(ask).await?.into_inner().outcome.unwrap_or_default();
    Ok(Json(MessageResponse::seen_by(Caller::current()?.is_staff(), outcome)).into_response())
}

/// Opens the events of a conversation.
pub(crate) async fn subscribe(
    app: &App,
    conversation_id: &str,
    after_seq: Option<u64>,
) -> Result<Streaming<pb::SubscribeResponse>, Fault> {
    let ask = pb::SubscribeRequest { conversation_id: conversation_id.to_owned(), after_seq };
    Ok(app.conversation().subscribe(ask).await?.into_inner())
}

/// The message that an outcome answers, for those who were not there when it was stored.
pub(crate) async fn answered(
    app: &App,
    outcome: &TurnOutcome,
) -> Result<Option<switchboard_proto::events::v1::Message>, Fault> {
    // It stands at the reply's seq or shortly before: a turn adds few events.
    let ask = pb::ListMessagesRequest {
        conversation_id: outcome.conversation_id.clone(),
        after_seq: outcome.seq.saturating_sub(50),
        page_size: 50,
        page_token: String::new(),
    };
    let page = app.conversation().list_messages(ask).await?.into_inner();
    Ok(page.messages.into_iter().find(|m| m.id == outcome.user_message_id))
}

/// Sends a message and answers with events. Until the first one is there a refusal is a plain problem.
async fn stream_reply(app: Edge, mut ask: pb::ProcessMessageRequest) -> Answer<Response> {
    if ask.client_message_id.is_empty() {
        // Recognizes our own message among the events.
        ask.client_message_id = app.host.clock.new_id().to_string();
    }
    let id = ask.conversation_id.clone();
    let mine = ask.client_message_id.clone();
    let mut events = subscribe(&app, &id, None).await?;
    let (context, client) = (Context::current(), app.conversation());
    // The turn goes on if the client goes away: its message is stored.
    let mut turn = tokio::spawn(context.scope(async move { { client }.process_message(ask).await }));
    let staff = Caller::current()?.is_staff();
    let (mut watch, mut over) = (Watch::new(staff, id, 0), false);
    loop {
        tokio::select! {
            biased;
            event = events.message(), if !over => match event?.map(|e| watch.take(e)) {
                Some(Some(Seen::Message { frame, client_message_id, .. })) if client_message_id == mine => {
                    let rest = Context::current().scope(async move {
                        outcome(turn.await).map_or_else(|fault| problem_frame(&fault), |o| final_response(staff, o))
                    });
                    let frames = futures::stream::iter([frame]).chain(futures::stream::once(rest));
                    return Ok(sse::answer(&app, frames));
                }
                Some(_) => {}
                None => over = true,
            },
            done = &mut turn => {
                // A retry: it was stored before we looked.
                let outcome = outcome(done)?;
                let message = answered(&app, &outcome).await?;
                let first = message.map(|m| crate::events::message_received(m, &mine));
                let frames = first.into_iter().chain([final_response(staff, outcome)]);
                return Ok(sse::answer(&app, futures::stream::iter(frames)));
            }
        }
    }
}

type Turn = Result<Result<tonic::Response<pb::ProcessMessageResponse>, Status>, tokio::task::JoinError>;

fn outcome(done: Turn) -> Result<TurnOutcome, Fault> {
    let answer = done.map_err(Fault::internal)?.map_err(Fault::from)?;
    Ok(answer.into_inner().outcome.unwrap_or_default())
}

/// A refusal that comes when the answer has begun already.
fn problem_frame(fault: &Fault) -> Frame {
    let problem = crate::error::problem(fault);
    Frame { event: "error", seq: None, data: serde_json::to_value(problem).unwrap_or_default() }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only messages after this seq.
    after_seq: Option<u64>,
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List messages by ascending seq.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/messages", operation_id = "listMessages", tag = "Messages",
    params(("conversation_id" = Uuid, Path), ListQuery), responses((status = 200, description = "A page", body = Page<Message>)))]
async fn list(
    State(app): State<Edge>,
    Ids([conversation_id]): Ids<1>,
    Params(query): Params<ListQuery>,
) -> Answer<Json<Page<Message>>> {
    let ask = pb::ListMessagesRequest {
        conversation_id,
        after_seq: query.after_seq.unwrap_or_default(),
        page_size: page_size(query.limit)?,
        page_token: query.cursor.unwrap_or_default(),
    };
    let page = app.conversation().list_messages(ask).await?.into_inner();
    Ok(Json(Page::of(page.messages, page.next_page_token)))
}

/// Watch a conversation: server-sent events with the names and data of the WebSocket. `Last-Event-ID` resumes after that
/// seq (0: from the start); without it the stream starts now.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/events", operation_id = "watchConversation", tag = "Messages",
    params(("conversation_id" = Uuid, Path), ("Last-Event-ID" = Option<u64>, Header, description = "The last seq that was seen")),
    responses((status = 200, description = "Events until the client goes", body = String, content_type = "text/event-stream")))]
async fn watch(State(app): State<Edge>, Ids([conversation_id]): Ids<1>, headers: HeaderMap) -> Answer<Response> {
    let last = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let seq = value.to_str().ok().and_then(|v| v.trim().parse::<u64>().ok());
            Some(seq.ok_or_else(|| Fault::field("Last-Event-ID", "must be the id of an event of this stream"))?)
        }
    };
    let events = subscribe(&app, &conversation_id, last).await?;
    let watch = Watch::new(Caller::current()?.is_staff(), conversation_id, last.unwrap_or_default());
    Ok(sse::answer(&app, frames(events, watch)))
}

/// The frames of a stream of events. It ends where the stream does: the client resumes after the last it saw.
fn frames(events: Streaming<pb::SubscribeResponse>, watch: Watch) -> impl Stream<Item = Frame> + Send {
    futures::stream::unfold((events, watch), |(mut events, mut watch)| async move {
        loop {
            let frame = match watch.take(events.next().await?.ok()?) {
                Some(
                    Seen::Other(frame) | Seen::Message { by_human: Some(frame), .. } | Seen::Message { frame, .. },
                ) => frame,
                None => continue,
            };
            return Some((frame, (events, watch)));
        }
    })
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(send, list)).routes(routes!(watch))
}
