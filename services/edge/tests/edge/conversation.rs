//! A small conversation service that keeps state as the real one does.
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _};
use serde_json::Value;
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{
    conversation::v1::{self as pb, conversation_service_server as server},
    convert::{from_struct, to_struct},
    events::v1::{self as events, conversation_event::Kind},
    types::v1::{Priority, Rung},
};
use switchboard_runtime::{Caller, Clock, Role, page};
use tokio::sync::broadcast;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// What colleagues write for each other about a hand-off.
pub const INTERNAL: &str = "for colleagues only";

struct One {
    org: Uuid,
    conversation: pb::Conversation,
    context: serde_json::Map<String, Value>,
    escalation: Option<events::Escalation>,
    events: Vec<events::ConversationEvent>,
    outcomes: HashMap<String, (String, events::TurnOutcome)>,
    live: broadcast::Sender<pb::SubscribeResponse>,
}

pub struct Fake {
    clock: Clock,
    all: Arc<Mutex<HashMap<String, One>>>,
    repeated: Arc<tokio::sync::Notify>,
    erasures: Arc<Mutex<HashMap<String, pb::Erasure>>>,
}

/// A message whose events come at once, but whose call returns only when it was sent again.
pub const ANSWERED_LATE: &str = "answered late";

fn not_found() -> Fault {
    Fault::new(Reason::ConversationNotFound, "There is no such conversation.")
}

impl One {
    fn add(&mut self, clock: &Clock, kind: impl FnOnce(u64) -> Kind) -> u64 {
        let seq = self.conversation.seq + 1;
        self.conversation.seq = seq;
        let event = events::ConversationEvent {
            id: clock.new_id().to_string(),
            organization_id: self.conversation.organization_id.clone(),
            conversation_id: self.conversation.id.clone(),
            seq,
            time: Some(switchboard_proto::convert::timestamp(clock.now())),
            kind: Some(kind(seq)),
        };
        self.events.push(event.clone());
        // Nobody watching is fine.
        let _ = self.live.send(pb::SubscribeResponse { kind: Some(pb::subscribe_response::Kind::Event(event)) });
        seq
    }

    fn message(&self, clock: &Clock, seq: u64, sender: events::SenderType, content: &str) -> events::Message {
        events::Message {
            id: clock.new_id().to_string(),
            conversation_id: self.conversation.id.clone(),
            seq,
            sender_type: sender.into(),
            content: content.to_owned(),
            content_type: events::ContentType::Text.into(),
            create_time: Some(switchboard_proto::convert::timestamp(clock.now())),
            ..events::Message::default()
        }
    }

    fn messages(&self) -> Vec<events::Message> {
        let message = |e: &events::ConversationEvent| match &e.kind {
            Some(Kind::MessageAdded(added)) => added.message.clone(),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    fn turn(
        &mut self,
        clock: &Clock,
        ask: &pb::ProcessMessageRequest,
        sender: events::SenderType,
    ) -> events::TurnOutcome {
        let mut stored = self.message(clock, 0, sender, &ask.content);
        stored.attachments = ask.attachments.clone();
        let user_message_id = stored.id.clone();
        let client_message_id = ask.client_message_id.clone();
        let seq = self.add(clock, move |seq| {
            stored.seq = seq;
            Kind::MessageAdded(events::MessageAdded { message: Some(stored), client_message_id, outcome: None })
        });
        let mut outcome = events::TurnOutcome {
            user_message_id,
            conversation_id: self.conversation.id.clone(),
            seq,
            intent: "export_data".to_owned(),
            confidence: 0.9,
            status: self.conversation.status,
            owner: self.conversation.owner,
            language: "en".to_owned(),
            escalation: self.escalation.clone(),
            ..events::TurnOutcome::default()
        };
        if sender != events::SenderType::User || self.conversation.owner == i32::from(events::Owner::Human) {
            return outcome;
        }
        let mut reply = self.message(clock, 0, events::SenderType::AiAgent, &format!("You said: {}", ask.content));
        outcome.message_id = reply.id.clone();
        outcome.response = Some(reply.content.clone());
        outcome.rung = Rung::Extract.into();
        outcome.seq = seq + 1;
        let told = outcome.clone();
        self.add(clock, move |seq| {
            reply.seq = seq;
            Kind::MessageAdded(events::MessageAdded {
                message: Some(reply),
                client_message_id: String::new(),
                outcome: Some(told),
            })
        });
        outcome
    }
}

/// Whom the service does not know.
pub const NOBODY: &str = "0190a0a0-0000-7000-8000-00000000dead";

fn person(user_id: &str) -> Result<(), Fault> {
    Caller::with_role(&[Role::Admin])?;
    if user_id == NOBODY { Err(Fault::new(Reason::UserNotFound, "There is no such user.")) } else { Ok(()) }
}

impl Fake {
    pub fn new(clock: Clock) -> Self {
        Fake { clock, all: Arc::default(), repeated: Arc::default(), erasures: Arc::default() }
    }

    /// Asked once it runs, asked again it is completed.
    fn erasure(&self, user_id: &str, ask: bool) -> Result<pb::Erasure, Fault> {
        person(user_id)?;
        let mut all = self.erasures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some(switchboard_proto::convert::timestamp(self.clock.now()));
        if let Some(erasure) = all.get_mut(user_id) {
            if ask {
                erasure.set_state(pb::ErasureState::Completed);
                erasure.complete_time = now;
                let receipt = serde_json::json!({ "removed": { "identity": 3 } });
                erasure.receipt = receipt.as_object().map(to_struct);
            }
            return Ok(erasure.clone());
        }
        if !ask {
            return Err(Fault::new(Reason::UserNotFound, "Nobody asked to erase that user."));
        }
        let step = pb::ErasureStep {
            place: "identity".to_owned(),
            state: pb::ErasureState::Running.into(),
            attempts: 1,
            last_error: "identity cannot be reached".to_owned(),
            ..pb::ErasureStep::default()
        };
        let erasure = pb::Erasure {
            id: self.clock.new_id().to_string(),
            user_id: user_id.to_owned(),
            state: pb::ErasureState::Running.into(),
            request_time: now,
            steps: vec![step],
            ..pb::Erasure::default()
        };
        Ok(all.entry(user_id.to_owned()).or_insert(erasure).clone())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, One>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, id: &str, work: impl FnOnce(&mut One, &Caller) -> Result<T, Fault>) -> Result<T, Fault> {
        let caller = Caller::current()?;
        let mut all = self.all();
        let mine = |one: &&mut One| {
            one.org == caller.org && (caller.is_staff() || one.conversation.user_id == caller.user.to_string())
        };
        work(all.get_mut(id).filter(mine).ok_or_else(not_found)?, &caller)
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::SubscribeResponse, Status>> + Send>>;

macro_rules! conversation_service {
    ({$($played:tt)*} $($name:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl server::ConversationService for Fake {
            $($played)*
            $(async fn $name(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Fault::new(Reason::NotImplemented, "not played").into())
            })*
        }
    };
}
conversation_service! {
    {
        type SubscribeStream = Watched;

        async fn create_conversation(&self, r: Request<pb::CreateConversationRequest>) -> Result<Response<pb::CreateConversationResponse>, Status> {
            let (caller, ask) = (Caller::current()?, r.into_inner());
            let user_id = if ask.user_id.is_empty() { caller.user.to_string() } else { ask.user_id.clone() };
            let now = Some(switchboard_proto::convert::timestamp(self.clock.now()));
            let conversation = pb::Conversation {
                id: self.clock.new_id().to_string(),
                user_id,
                organization_id: caller.org.to_string(),
                channel: ask.channel,
                status: events::ConversationStatus::Active.into(),
                owner: events::Owner::Ai.into(),
                metadata: ask.metadata.clone(),
                create_time: now,
                last_activity_time: now,
                ..pb::Conversation::default()
            };
            let mut one = One {
                org: caller.org,
                conversation: conversation.clone(),
                context: serde_json::Map::new(),
                escalation: None,
                events: vec![],
                outcomes: HashMap::new(),
                live: broadcast::channel(64).0,
            };
            let reply = ask.initial_message.map(|content| {
                let ask = pb::ProcessMessageRequest { content, ..pb::ProcessMessageRequest::default() };
                one.turn(&self.clock, &ask, events::SenderType::User)
            });
            self.all().insert(conversation.id.clone(), one);
            Ok(Response::new(pb::CreateConversationResponse { conversation: Some(conversation), reply, repeated_request: false }))
        }

        async fn process_message(&self, r: Request<pb::ProcessMessageRequest>) -> Result<Response<pb::ProcessMessageResponse>, Status> {
            let ask = r.into_inner();
            let mut again = false;
            let outcome = self.with(&ask.conversation_id, |one, caller| {
                if let Some((content, outcome)) = one.outcomes.get(&ask.client_message_id).filter(|_| !ask.client_message_id.is_empty()) {
                    if *content != ask.content {
                        return Err(Fault::new(Reason::MessageIdReused, "This client_message_id was used with other content."));
                    }
                    again = true;
                    return Ok(outcome.clone());
                }
                let sender = if caller.role == Role::Customer { events::SenderType::User } else { events::SenderType::HumanAgent };
                let outcome = one.turn(&self.clock, &ask, sender);
                one.outcomes.insert(ask.client_message_id.clone(), (ask.content.clone(), outcome.clone()));
                Ok(outcome)
            })?;
            match (ask.content == ANSWERED_LATE, again) {
                (true, false) => self.repeated.notified().await,
                (true, true) => self.repeated.notify_one(),
                (false, _) => {}
            }
            Ok(Response::new(pb::ProcessMessageResponse { outcome: Some(outcome) }))
        }

        async fn get_conversation_state(&self, r: Request<pb::GetConversationStateRequest>) -> Result<Response<pb::GetConversationStateResponse>, Status> {
            let state = self.with(&r.get_ref().conversation_id, |one, _| {
                Ok(pb::GetConversationStateResponse {
                    conversation: Some(one.conversation.clone()),
                    messages: one.messages(),
                    context: Some(to_struct(&one.context)),
                    escalation: one.escalation.clone(),
                    ..pb::GetConversationStateResponse::default()
                })
            })?;
            Ok(Response::new(state))
        }

        async fn list_messages(&self, r: Request<pb::ListMessagesRequest>) -> Result<Response<pb::ListMessagesResponse>, Status> {
            let ask = r.into_inner();
            let size = page::size(ask.page_size)? as usize;
            let after = page::key::<u64>(&ask.page_token)?.unwrap_or_default().max(ask.after_seq);
            let page = self.with(&ask.conversation_id, |one, _| {
                let mut messages: Vec<_> = one.messages().into_iter().filter(|m| m.seq > after).collect();
                let more = messages.len() > size;
                messages.truncate(size);
                let next_page_token = messages.last().filter(|_| more).map(|m| page::token(&m.seq)).unwrap_or_default();
                Ok(pb::ListMessagesResponse { messages, next_page_token })
            })?;
            Ok(Response::new(page))
        }

        async fn update_context(&self, r: Request<pb::UpdateContextRequest>) -> Result<Response<pb::UpdateContextResponse>, Status> {
            let ask = r.into_inner();
            let answer = self.with(&ask.conversation_id, |one, _| {
                if ask.expected_seq != one.conversation.seq {
                    return Err(Fault::new(Reason::Stale, "It was changed in the meantime."));
                }
                one.context.extend(ask.patch.as_ref().map(from_struct).unwrap_or_default());
                one.conversation.seq += 1;
                Ok(pb::UpdateContextResponse { context: Some(to_struct(&one.context)), seq: one.conversation.seq })
            })?;
            Ok(Response::new(answer))
        }

        async fn subscribe(&self, r: Request<pb::SubscribeRequest>) -> Result<Response<Watched>, Status> {
            let ask = r.into_inner();
            let stream = self.with(&ask.conversation_id, |one, _| {
                let live = one.live.subscribe();
                let past: Vec<_> = one.events.iter().filter(|e| ask.after_seq.is_some_and(|after| e.seq > after)).cloned().collect();
                let joined = pb::subscribe_response::Kind::Joined(one.conversation.clone());
                let past = past.into_iter().map(pb::subscribe_response::Kind::Event);
                let first = futures::stream::iter([joined].into_iter().chain(past)).map(|kind| Ok(pb::SubscribeResponse { kind: Some(kind) }));
                let live = futures::stream::unfold(live, |mut live| async move { Some((Ok(live.recv().await.ok()?), live)) });
                Ok(first.chain(live).boxed())
            })?;
            Ok(Response::new(stream))
        }

        async fn escalate(&self, r: Request<pb::EscalateRequest>) -> Result<Response<pb::EscalateResponse>, Status> {
            let ask = r.into_inner();
            let answer = self.with(&ask.conversation_id, |one, _| {
                one.conversation.status = events::ConversationStatus::Escalated.into();
                one.conversation.owner = events::Owner::None.into();
                let escalation = events::Escalation {
                    reason: ask.reason.clone(),
                    priority: Priority::High.into(),
                    queue_name: "billing".to_owned(),
                    summary: INTERNAL.to_owned(),
                    resolution_notes: INTERNAL.to_owned(),
                    resolved_by: INTERNAL.to_owned(),
                    ..events::Escalation::default()
                };
                one.escalation = Some(escalation.clone());
                let change = events::StatusChanged {
                    status: one.conversation.status,
                    owner: one.conversation.owner,
                    reason: ask.reason.clone(),
                    escalation: Some(escalation.clone()),
                };
                one.add(&self.clock, |_| Kind::StatusChanged(change));
                Ok(pb::EscalateResponse { conversation: Some(one.conversation.clone()), escalation: Some(escalation) })
            })?;
            Ok(Response::new(answer))
        }

        async fn assign(&self, r: Request<pb::AssignRequest>) -> Result<Response<pb::AssignResponse>, Status> {
            Caller::with_role(switchboard_runtime::caller::STAFF)?;
            let conversation = self.with(&r.get_ref().conversation_id, |one, caller| {
                one.conversation.owner = events::Owner::Human.into();
                one.conversation.assigned_to = caller.user.to_string();
                let mut told = one.message(&self.clock, 0, events::SenderType::System, "A human agent has joined.");
                one.add(&self.clock, move |seq| {
                    told.seq = seq;
                    Kind::MessageAdded(events::MessageAdded { message: Some(told), ..events::MessageAdded::default() })
                });
                Ok(one.conversation.clone())
            })?;
            Ok(Response::new(pb::AssignResponse { conversation: Some(conversation) }))
        }

        async fn export_person(&self, r: Request<pb::ExportPersonRequest>) -> Result<Response<pb::ExportPersonResponse>, Status> {
            let user_id = r.into_inner().user_id;
            person(&user_id)?;
            // Each answer is another one, so that a stored one would be seen.
            let all = serde_json::json!({ "identity": { "id": user_id, "asked": self.clock.new_id().to_string() } });
            Ok(Response::new(pb::ExportPersonResponse { person: all.as_object().map(to_struct) }))
        }

        async fn erase_person(&self, r: Request<pb::ErasePersonRequest>) -> Result<Response<pb::ErasePersonResponse>, Status> {
            Ok(Response::new(pb::ErasePersonResponse { erasure: Some(self.erasure(&r.get_ref().user_id, true)?) }))
        }

        async fn get_erasure(&self, r: Request<pb::GetErasureRequest>) -> Result<Response<pb::GetErasureResponse>, Status> {
            Ok(Response::new(pb::GetErasureResponse { erasure: Some(self.erasure(&r.get_ref().user_id, false)?) }))
        }

        async fn list_conversations(&self, _: Request<pb::ListConversationsRequest>) -> Result<Response<pb::ListConversationsResponse>, Status> {
            let user = Caller::current()?.user.to_string();
            let all = self.all();
            let conversations = all.values().map(|one| one.conversation.clone()).filter(|c| c.user_id == user).collect();
            Ok(Response::new(pb::ListConversationsResponse { conversations, next_page_token: String::new() }))
        }

        async fn list_queue(&self, _: Request<pb::ListQueueRequest>) -> Result<Response<pb::ListQueueResponse>, Status> {
            Caller::with_role(switchboard_runtime::caller::STAFF)?;
            Ok(Response::new(pb::ListQueueResponse::default()))
        }

        async fn signal_presence(&self, r: Request<pb::SignalPresenceRequest>) -> Result<Response<pb::SignalPresenceResponse>, Status> {
            let ask = r.into_inner();
            self.with(&ask.conversation_id, |one, caller| {
                let who = if caller.is_staff() { "human" } else { "user" }.to_owned();
                let presence = pb::Presence { who, typing: ask.typing, read_seq: ask.read_seq };
                let _ = one.live.send(pb::SubscribeResponse { kind: Some(pb::subscribe_response::Kind::Presence(presence)) });
                Ok(())
            })?;
            Ok(Response::new(pb::SignalPresenceResponse {}))
        }
    }
    release: ReleaseRequest => ReleaseResponse;
    resolve: ResolveRequest => ResolveResponse;
    reopen: ReopenRequest => ReopenResponse;
    rate: RateRequest => RateResponse;
    add_note: AddNoteRequest => AddNoteResponse;
    list_notes: ListNotesRequest => ListNotesResponse;
    list_drafts: ListDraftsRequest => ListDraftsResponse;
    send_draft: SendDraftRequest => SendDraftResponse;
    get_receipt: GetReceiptRequest => GetReceiptResponse;
    list_answers_citing: ListAnswersCitingRequest => ListAnswersCitingResponse;
    list_effects: ListEffectsRequest => ListEffectsResponse;
}
