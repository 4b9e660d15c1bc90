//! proto ↔ domain, and the checks of what comes in.
//!
//! In: requests. Out: responses. Never: anything else.
use std::{pin::Pin, sync::Arc};

use futures::Stream;
use switchboard_proto::{
    conversation::v1 as pb, conversation::v1::conversation_service_server::ConversationService, convert,
    events::v1 as ev, types::v1 as types,
};
use switchboard_runtime::{Caller, Fault, Role, Shutdown, caller::STAFF, page, validate::Check};
use tonic::{Request, Response, Status as RpcStatus};
use uuid::Uuid;

use crate::{
    engine::Engine,
    error::Error,
    hub::{Sign, Signal, Who},
    machine::Status,
    mind::from_priority,
    model::{ContentType, Conversation, Sender},
    start::Start,
    turn::{Incoming, silent},
};

#[path = "grpc/convert.rs"]
pub(crate) mod out;

/// Longest message.
const MAX_CONTENT: usize = 5000;
/// Largest metadata and context, as JSON.
const MAX_JSON: usize = 16 * 1024;
/// Messages in a conversation's state.
const NEWEST: u32 = 50;

/// The service.
pub struct Conversations {
    /// The parts.
    pub engine: Arc<Engine>,
    /// Ends streams.
    pub shutdown: Shutdown,
}

type Answer<T> = Result<Response<T>, RpcStatus>;

fn id(field: &str, text: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid(field, text);
    check.done().map(|()| id)
}

fn fault(error: Error) -> RpcStatus {
    Fault::from(error).into()
}

fn sender(caller: &Caller) -> Sender {
    // A service speaks for the customer: that is how channels bring their messages.
    if matches!(caller.role, Role::Customer | Role::Service) { Sender::User } else { Sender::HumanAgent }
}

impl Conversations {
    /// The caller, and a conversation in its sight: for who it is and whose, since the rest may be old.
    async fn seen(&self, conversation_id: &str) -> Result<(Arc<Caller>, Conversation), RpcStatus> {
        let caller = Caller::current()?;
        let id = id("conversation_id", conversation_id)?;
        let row = self.engine.glance(&caller, id).await.map_err(fault)?;
        Ok((caller, row))
    }

    /// A conversation in the caller's sight as it is now, to be shown.
    async fn seen_now(&self, conversation_id: &str) -> Result<Conversation, RpcStatus> {
        let caller = Caller::current()?;
        let id = id("conversation_id", conversation_id)?;
        self.engine.see(&caller, id).await.map_err(fault)
    }

    async fn staff_seen(&self, conversation_id: &str) -> Result<(Arc<Caller>, Conversation), RpcStatus> {
        Caller::with_role(STAFF)?;
        self.seen(conversation_id).await
    }
}

#[tonic::async_trait]
impl ConversationService for Conversations {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Answer<pb::CreateConversationResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let mut check = Check::new();
        let channel = r.channel();
        if channel == types::Channel::Unspecified {
            check.fail("channel", "is required: web, mobile, email, slack, api or phone");
        }
        let user = (!r.user_id.is_empty()).then(|| check.uuid("user_id", &r.user_id));
        if let Some(text) = &r.initial_message {
            check.text("initial_message", text, 1, MAX_CONTENT);
        }
        check.text("request_id", &r.request_id, 0, 255).text("language", &r.language, 0, 35);
        let metadata = r.metadata.as_ref().map(convert::from_struct).unwrap_or_default();
        if serde_json::to_string(&metadata).is_ok_and(|s| s.len() > MAX_JSON) {
            check.fail("metadata", "must be at most 16 KiB as JSON");
        }
        check.done()?;
        let start = Start {
            request_id: Some(r.request_id).filter(|s| !s.is_empty()),
            user,
            channel: convert::short_name(channel.as_str_name(), "CHANNEL_"),
            initial_message: r.initial_message,
            metadata,
            language: Some(r.language).filter(|s| !s.is_empty()),
        };
        let (row, reply, repeated_request) = self.engine.begin(&caller, start).await.map_err(fault)?;
        Ok(Response::new(pb::CreateConversationResponse {
            conversation: Some(out::conversation(&row)),
            reply: reply.as_ref().map(out::outcome),
            repeated_request,
        }))
    }

    async fn process_message(&self, request: Request<pb::ProcessMessageRequest>) -> Answer<pb::ProcessMessageResponse> {
        let r = request.into_inner();
        let content_type = match r.content_type() {
            ev::ContentType::Unspecified | ev::ContentType::Text => ContentType::Text,
            ev::ContentType::Image => ContentType::Image,
            ev::ContentType::File => ContentType::File,
            ev::ContentType::Code => ContentType::Code,
            ev::ContentType::ErrorLog => ContentType::ErrorLog,
        };
        let mut check = Check::new();
        check.text("content", &r.content, 1, MAX_CONTENT).text("client_message_id", &r.client_message_id, 0, 255);
        if r.attachments.len() > 10 {
            check.fail("attachments", "must be at most 10");
        }
        for (i, a) in r.attachments.iter().enumerate() {
            check.text(&format!("attachments[{i}].name"), &a.name, 0, 255);
        }
        check.done()?;
        let (caller, row) = self.seen(&r.conversation_id).await?;
        let incoming = Incoming {
            sender: sender(&caller),
            sender_id: caller.user,
            content: r.content,
            content_type,
            attachments: r.attachments.into_iter().map(out::from_attachment).collect(),
            client_message_id: Some(r.client_message_id).filter(|s| !s.is_empty()),
        };
        let outcome = if incoming.sender == Sender::HumanAgent {
            let (row, message) = self.engine.speak(&caller, &row, incoming).await.map_err(fault)?;
            silent(&row, &message)
        } else {
            let row = self.engine.continued(row).await.map_err(fault)?;
            self.engine.converse(&row, incoming).await.map_err(fault)?
        };
        Ok(Response::new(pb::ProcessMessageResponse { outcome: Some(out::outcome(&outcome)) }))
    }

    async fn get_conversation_state(
        &self,
        request: Request<pb::GetConversationStateRequest>,
    ) -> Answer<pb::GetConversationStateResponse> {
        let row = self.seen_now(&request.get_ref().conversation_id).await?;
        let messages = self.engine.store.latest_messages(row.org, row.id, row.seq, NEWEST).await.map_err(fault)?;
        let m = self.engine.store.metrics(row.org, row.id).await.map_err(fault)?;
        let mean_micros = row.response_micros.checked_div(row.response_count).unwrap_or_default();
        Ok(Response::new(pb::GetConversationStateResponse {
            conversation: Some(out::conversation(&row)),
            messages: messages.iter().map(|m| out::message(row.id, m)).collect(),
            context: Some(convert::to_struct(&row.context)),
            escalation: row.escalation.as_ref().map(out::escalation),
            metrics: Some(pb::Metrics {
                total_messages: m.total,
                user_messages: m.user,
                ai_messages: m.ai,
                avg_response_time_seconds: mean_micros as f64 / 1e6,
                unique_intents: m.intents,
                escalation_count: m.escalations,
                ai_confidence_avg: m.confidence,
                sentiment_score: m.sentiment,
            }),
            resolution_type: out::resolution(row.resolution).into(),
            resolution_time_seconds: row
                .ended_at
                .map(|e| u64::try_from(e.duration_since(row.created_at).as_secs()).unwrap_or_default()),
            satisfaction_score: row.rating,
            satisfaction_feedback: row.rating_comment.clone(),
        }))
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Answer<pb::ListConversationsResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let status = match r.status() {
            ev::ConversationStatus::Unspecified => None,
            ev::ConversationStatus::Active => Some(Status::Active),
            ev::ConversationStatus::Waiting => Some(Status::Waiting),
            ev::ConversationStatus::Resolved => Some(Status::Resolved),
            ev::ConversationStatus::Escalated => Some(Status::Escalated),
            ev::ConversationStatus::Abandoned => Some(Status::Abandoned),
        };
        let own = (caller.role == Role::Customer).then_some(caller.user);
        let size = page::size(r.page_size)?;
        let (rows, next) = self.engine.store.list(caller.org, own, status, size, &r.page_token).await.map_err(fault)?;
        Ok(Response::new(pb::ListConversationsResponse {
            conversations: rows.iter().map(out::conversation).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn list_messages(&self, request: Request<pb::ListMessagesRequest>) -> Answer<pb::ListMessagesResponse> {
        let r = request.into_inner();
        let size = page::size(r.page_size)?;
        let after = page::key::<u64>(&r.page_token)?.unwrap_or(0).max(r.after_seq);
        let (_, row) = self.seen(&r.conversation_id).await?;
        let mut messages = self.engine.store.messages(row.org, row.id, after, size + 1).await.map_err(fault)?;
        let more = messages.len() > size as usize;
        messages.truncate(size as usize);
        let next = messages.last().filter(|_| more).map(|m| page::token(&m.seq));
        Ok(Response::new(pb::ListMessagesResponse {
            messages: messages.iter().map(|m| out::message(row.id, m)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn update_context(&self, request: Request<pb::UpdateContextRequest>) -> Answer<pb::UpdateContextResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let mut check = Check::new();
        let id = check.uuid("conversation_id", &r.conversation_id);
        let patch = check.required("patch", r.patch.as_ref()).map(convert::from_struct).unwrap_or_default();
        if serde_json::to_string(&patch).is_ok_and(|s| s.len() > MAX_JSON) {
            check.fail("patch", "must be at most 16 KiB as JSON");
        }
        check.done()?;
        let row = self.engine.merge_context(&caller, id, &patch, r.expected_seq).await.map_err(fault)?;
        Ok(Response::new(pb::UpdateContextResponse { context: Some(convert::to_struct(&row.context)), seq: row.seq }))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<pb::SubscribeResponse, RpcStatus>> + Send>>;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Answer<Self::SubscribeStream> {
        let r = request.into_inner();
        let row = self.seen_now(&r.conversation_id).await?;
        let last = r.after_seq.unwrap_or(row.seq).min(row.seq);
        let (engine, shutdown) = (self.engine.clone(), self.shutdown.clone());
        let (org, id) = (row.org, row.id);
        let mut watch = engine.shared.hub.watch(org, id, last);
        // What was written before the watch began, and after what the watcher saw.
        watch.look();
        let stream = async_stream(move |send| async move {
            use pb::subscribe_response::Kind;
            let put = |kind| pb::SubscribeResponse { kind: Some(kind) };
            send.put(Ok(put(Kind::Joined(out::conversation(&row))))).await?;
            for sign in engine.shared.presence.there(org, id).await {
                send.put(Ok(put(Kind::Presence(out::presence(sign))))).await?;
            }
            loop {
                let signal = tokio::select! {
                    () = shutdown.cancelled() => return Some(()),
                    // The watcher is gone: nothing will come that it could read.
                    () = send.0.closed() => return None,
                    signal = watch.next() => signal,
                };
                let item = match signal {
                    Ok(Signal::Event(event)) => Kind::Event(out::event(org, id, &event)),
                    Ok(Signal::Presence(sign)) => Kind::Presence(out::presence(sign)),
                    Err(error) => return send.put(Err(fault(error))).await,
                };
                send.put(Ok(put(item))).await?;
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn escalate(&self, request: Request<pb::EscalateRequest>) -> Answer<pb::EscalateResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let mut check = Check::new();
        let id = check.uuid("conversation_id", &r.conversation_id);
        check.text("reason", &r.reason, 0, 255).done()?;
        let row = self.engine.escalate(&caller, id, &r.reason, from_priority(r.priority())).await.map_err(fault)?;
        Ok(Response::new(pb::EscalateResponse {
            conversation: Some(out::conversation(&row)),
            escalation: row.escalation.as_ref().map(out::escalation),
        }))
    }

    async fn assign(&self, request: Request<pb::AssignRequest>) -> Answer<pb::AssignResponse> {
        let caller = Caller::with_role(STAFF)?;
        let r = request.into_inner();
        let mut check = Check::new();
        let id = check.uuid("conversation_id", &r.conversation_id);
        let agent = (!r.agent_id.is_empty()).then(|| check.uuid("agent_id", &r.agent_id));
        check.done()?;
        let row = self.engine.assign(&caller, id, agent).await.map_err(fault)?;
        Ok(Response::new(pb::AssignResponse { conversation: Some(out::conversation(&row)) }))
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Answer<pb::ReleaseResponse> {
        let (caller, row) = self.staff_seen(&request.get_ref().conversation_id).await?;
        let row = self.engine.release(&caller, row.id).await.map_err(fault)?;
        Ok(Response::new(pb::ReleaseResponse { conversation: Some(out::conversation(&row)) }))
    }

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Answer<pb::ResolveResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let mut check = Check::new();
        let id = check.uuid("conversation_id", &r.conversation_id);
        check.text("summary", &r.summary, 0, MAX_CONTENT).done()?;
        let row = self.engine.resolve(&caller, id, &r.summary).await.map_err(fault)?;
        Ok(Response::new(pb::ResolveResponse { conversation: Some(out::conversation(&row)) }))
    }

    async fn reopen(&self, request: Request<pb::ReopenRequest>) -> Answer<pb::ReopenResponse> {
        let (caller, row) = self.seen(&request.get_ref().conversation_id).await?;
        let row = self.engine.reopen(&caller, row.id).await.map_err(fault)?;
        Ok(Response::new(pb::ReopenResponse { conversation: Some(out::conversation(&row)) }))
    }

    async fn rate(&self, request: Request<pb::RateRequest>) -> Answer<pb::RateResponse> {
        let (caller, r) = (Caller::current()?, request.into_inner());
        let mut check = Check::new();
        let id = check.uuid("conversation_id", &r.conversation_id);
        check.range("score", r.score.into(), 1, 5).text("comment", &r.comment, 0, MAX_CONTENT).done()?;
        let row = self.engine.rate(&caller, id, r.score, &r.comment).await.map_err(fault)?;
        Ok(Response::new(pb::RateResponse { conversation: Some(out::conversation(&row)) }))
    }

    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Answer<pb::ListQueueResponse> {
        let (caller, r) = (Caller::with_role(STAFF)?, request.into_inner());
        let size = page::size(r.page_size)?;
        let (rows, next) = self.engine.store.queue(caller.org, size, &r.page_token).await.map_err(fault)?;
        let item = |row: &Conversation| pb::QueueItem {
            conversation: Some(out::conversation(row)),
            escalation: row.escalation.as_ref().map(out::escalation),
        };
        Ok(Response::new(pb::ListQueueResponse {
            items: rows.iter().map(item).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn add_note(&self, request: Request<pb::AddNoteRequest>) -> Answer<pb::AddNoteResponse> {
        let r = request.into_inner();
        Check::new().text("content", &r.content, 1, MAX_CONTENT).text("request_id", &r.request_id, 0, 255).done()?;
        let (caller, row) = self.staff_seen(&r.conversation_id).await?;
        let note = self.engine.note(&caller, row.id, &r.content, &r.request_id).await.map_err(fault)?;
        Ok(Response::new(pb::AddNoteResponse { note: Some(out::note(&note)) }))
    }

    async fn list_notes(&self, request: Request<pb::ListNotesRequest>) -> Answer<pb::ListNotesResponse> {
        let (_, row) = self.staff_seen(&request.get_ref().conversation_id).await?;
        let notes = self.engine.store.notes(row.org, row.id).await.map_err(fault)?;
        Ok(Response::new(pb::ListNotesResponse { notes: notes.iter().map(out::note).collect() }))
    }

    async fn list_drafts(&self, request: Request<pb::ListDraftsRequest>) -> Answer<pb::ListDraftsResponse> {
        let (_, row) = self.staff_seen(&request.get_ref().conversation_id).await?;
        let drafts = self.engine.store.drafts(row.org, row.id).await.map_err(fault)?;
        Ok(Response::new(pb::ListDraftsResponse { drafts: drafts.iter().map(out::draft).collect() }))
    }

    async fn send_draft(&self, request: Request<pb::SendDraftRequest>) -> Answer<pb::SendDraftResponse> {
        let r = request.into_inner();
        let (caller, row) = self.staff_seen(&r.conversation_id).await?;
        let message = self.engine.send_draft(&caller, row.id, id("draft_id", &r.draft_id)?).await.map_err(fault)?;
        Ok(Response::new(pb::SendDraftResponse { message: Some(out::message(row.id, &message)) }))
    }

    async fn get_receipt(&self, request: Request<pb::GetReceiptRequest>) -> Answer<pb::GetReceiptResponse> {
        let r = request.into_inner();
        let (_, row) = self.staff_seen(&r.conversation_id).await?;
        let message = id("message_id", &r.message_id)?;
        let receipt = self.engine.store.receipt(row.org, row.id, message).await.map_err(fault)?;
        let receipt = receipt.ok_or_else(|| fault(Error::MessageNotFound(message)))?;
        Ok(Response::new(pb::GetReceiptResponse { receipt: receipt.as_object().map(convert::to_struct) }))
    }

    async fn list_answers_citing(
        &self,
        request: Request<pb::ListAnswersCitingRequest>,
    ) -> Answer<pb::ListAnswersCitingResponse> {
        let (caller, r) = (Caller::with_role(STAFF)?, request.into_inner());
        id("article_id", &r.article_id)?;
        let (size, version) = (page::size(r.page_size)?, (r.version > 0).then_some(r.version));
        let found =
            self.engine.store.citing(caller.org, &r.article_id, version, size, &r.page_token).await.map_err(fault)?;
        Ok(Response::new(pb::ListAnswersCitingResponse {
            answers: found.0.iter().map(out::citing).collect(),
            next_page_token: found.1.unwrap_or_default(),
        }))
    }

    async fn signal_presence(&self, request: Request<pb::SignalPresenceRequest>) -> Answer<pb::SignalPresenceResponse> {
        let r = request.into_inner();
        let (caller, mut row) = self.seen(&r.conversation_id).await?;
        if r.read_seq > row.seq {
            row = self.seen_now(&r.conversation_id).await?;
        }
        let who = if sender(&caller) == Sender::User { Who::User } else { Who::Human };
        self.engine.presence(&row, Sign { who, typing: r.typing, read_seq: r.read_seq.min(row.seq) }).await;
        Ok(Response::new(pb::SignalPresenceResponse {}))
    }

    async fn list_effects(&self, request: Request<pb::ListEffectsRequest>) -> Answer<pb::ListEffectsResponse> {
        let (caller, r) = (Caller::with_role(&[Role::Admin, Role::Supervisor, Role::Service])?, request.into_inner());
        let status = match r.status() {
            types::ActionStatus::Unspecified => None,
            types::ActionStatus::Pending => Some("pending"),
            types::ActionStatus::Running => Some("running"),
            types::ActionStatus::Completed => Some("completed"),
            types::ActionStatus::Failed => Some("failed"),
            types::ActionStatus::Cancelled => Some("cancelled"),
        };
        let size = page::size(r.page_size)?;
        let (rows, next) = self.engine.store.effects(caller.org, status, size, &r.page_token).await.map_err(fault)?;
        Ok(Response::new(pb::ListEffectsResponse {
            effects: rows.iter().map(out::effect).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn export_person(&self, request: Request<pb::ExportPersonRequest>) -> Answer<pb::ExportPersonResponse> {
        let (caller, user) = person(&request.get_ref().user_id)?;
        let all = self.engine.export_person(caller.org, user, caller.user).await.map_err(fault)?;
        Ok(Response::new(pb::ExportPersonResponse { person: Some(convert::to_struct(&all)) }))
    }

    async fn erase_person(&self, request: Request<pb::ErasePersonRequest>) -> Answer<pb::ErasePersonResponse> {
        let (caller, user) = person(&request.get_ref().user_id)?;
        let erasure = self.engine.erase_person(caller.org, user, caller.user).await.map_err(fault)?;
        Ok(Response::new(pb::ErasePersonResponse { erasure: Some(out::erasure(&erasure)) }))
    }

    async fn get_erasure(&self, request: Request<pb::GetErasureRequest>) -> Answer<pb::GetErasureResponse> {
        let (caller, user) = person(&request.get_ref().user_id)?;
        let erasure = self.engine.erasure(caller.org, user).await.map_err(fault)?;
        Ok(Response::new(pb::GetErasureResponse { erasure: Some(out::erasure(&erasure)) }))
    }
}

/// Whom an admin asks about.
fn person(user_id: &str) -> Result<(Arc<Caller>, Uuid), Fault> {
    Ok((Caller::with_role(&[Role::Admin])?, id("user_id", user_id)?))
}

/// How a stream's maker hands items on; none once the watcher is gone.
struct Giver<T>(tokio::sync::mpsc::Sender<T>);

impl<T> Giver<T> {
    async fn put(&self, item: T) -> Option<()> {
        self.0.send(item).await.ok()
    }
}

/// A stream that a future writes. It ends when the future does; the future ends when the watcher goes.
fn async_stream<T, M, F>(make: M) -> impl Stream<Item = T>
where
    T: Send + 'static,
    M: FnOnce(Giver<T>) -> F,
    F: Future<Output = Option<()>> + Send + 'static,
{
    // One item ahead: a watcher that does not read holds its own future back, not memory.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(make(Giver(sender)));
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}
